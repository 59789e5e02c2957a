#!/usr/bin/env python3
"""Reads a Tidemark vault in a directory: lists its snapshots and restores one into a file.

A second implementation of docs/format-vault.md, made from that document alone: it shares no code with Tidemark, and it
is here to prove that snapshots can be read without it. It only reads the vault. Nothing is written to the output
before its hash was compared with its name; a restore that fails leaves no output.

Needs Python 3.10 and, from PyPI: blake3, zstandard; for an encrypted vault also cryptography, argon2-cffi.

The parts: errors, bytes, keys (section 10), the vault's objects (1 to 4, 12), head logs (7), trees (5, 6), restoring,
the command line. All in one file, so that it can be kept beside a vault.
"""

import argparse
import json
import os
import re
import struct
import sys
import time

try:
    import zstandard
    from blake3 import blake3
except ImportError as missing:
    sys.exit(f"{missing.name} is missing: python3 -m pip install blake3 zstandard cryptography argon2-cffi")

CHUNK = 65536
NODE_MOST = 17460
LEAF_SLOTS, FANOUT, LEVELS_MOST = 128, 256, 5
PACK_MOST, FOOTER_MOST, ENTRIES_MOST = 33554432, 8388608, 65535
CRYPTO = "aes256gcm-blake3-1"
BOX_EXTRA = 16 + 12 + 16
BOX_CHUNK, BOX_NODE, BOX_FOOTER, BOX_HEAD, BOX_RECORD, BOX_DISK_KEY = range(1, 7)
BOX_FORWARD = 9
FORWARDS_MOST = 64
STORED, ZERO, COPY, SAME, NODE = range(1, 6)
CHUNK_THING, NODE_THING = "chunk", "node"


# Errors. Their texts name the object and the place in it.


class Failure(Exception):
    """The vault cannot be read as asked."""


class Missing(Failure):
    """An object is not there."""


class Damage(Failure):
    """Bytes are not what they must be."""


class Refused(Failure):
    """Not damaged, but not for this program: a newer format, or a key that does not open it."""


def check(condition, what, cause):
    if not condition:
        raise Damage(f"{what}: {cause}")


# Bytes.


def table():
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        yield byte


CRC_TABLE = list(table())


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC_TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def derive(context, key):
    return blake3(key, derive_key_context=f"tidemark vault 2026 {context}").digest()


def keyed(key, data):
    return blake3(data, key=key).digest()


def unhex(text, length, what):
    try:
        data = bytes.fromhex(text)
    except (TypeError, ValueError):
        raise Damage(f"{what}: {text!r} is not hex") from None
    check(length is None or len(data) == length, what, f"{len(data)} bytes where {length} belong")
    return data


def decompressed(codec, stored, most, what):
    """The plain bytes of something stored. Takes no more memory than the thing may have bytes."""
    if codec == 0:
        check(len(stored) <= most, what, f"{len(stored)} bytes, more than {most}")
        return stored
    check(codec == 1, what, f"codec {codec} is not known")
    try:
        frame = zstandard.get_frame_parameters(stored)
        unknown = frame.content_size in (zstandard.CONTENTSIZE_UNKNOWN, zstandard.CONTENTSIZE_ERROR)
        check(unknown or frame.content_size <= most, what, f"{frame.content_size} bytes, more than {most}")
        check(frame.dict_id == 0, what, "its frame wants a dictionary")
        decompressor = zstandard.ZstdDecompressor(max_window_size=8 << 20)
        return decompressor.decompress(stored, max_output_size=most, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise Damage(f"{what}: it does not decompress: {error}") from None


def read_text(data, kind, what):
    """A text object (section 2): its JSON."""
    lines = data.split(b"\n")
    check(len(lines) == 3 and lines[2] == b"", what, "it is not two lines of text")
    hashed = b"blake3:" + blake3(lines[0] + b"\n").hexdigest().encode()
    check(lines[1] == hashed, what, "its hash does not match")
    try:
        fields = json.loads(lines[0])
    except ValueError as error:
        raise Damage(f"{what}: {error}") from None
    check(isinstance(fields, dict), what, "it is no JSON object")
    check(fields.get("tidemark") == kind, what, f"it is of kind {fields.get('tidemark')!r}, where {kind!r} belongs")
    if fields.get("version") != 1:
        raise Refused(f"{what}: version {fields.get('version')} is not known here: a newer release wrote it")
    return fields


class Fields:
    """The fields of a JSON object, each of the type that the format gives it."""

    def __init__(self, fields, what):
        self.fields, self.what = fields, what

    def get(self, name, kind):
        value = self.fields.get(name)
        fits = isinstance(value, kind) and not (kind is int and isinstance(value, bool))
        check(fits, self.what, f"its field {name!r} is {value!r}")
        check(kind is not int or value >= 0, self.what, f"its field {name!r} is negative")
        return value

    def hex(self, name, length=None):
        return unhex(self.get(name, str), length, f"{self.what}: its field {name!r}")


# Keys.


def aes_open(key, nonce, sealed, associated, what):
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        return AESGCM(key).decrypt(nonce, sealed, associated)
    except InvalidTag:
        raise Damage(f"{what}: it does not decrypt as what it must be, where it is") from None


def u32(number):
    return struct.pack("<I", number)


class Secret:
    """A passphrase or a key file."""

    def __init__(self, kind, content):
        self.kind, self.content = kind, content

    def root_key(self, slot, what):
        salt = slot.hex("salt", 16)
        if self.kind == "key-file":
            return keyed(self.content, b"\0" + salt), (0, 0, 0)
        import argon2.low_level

        cost = Fields(slot.get("argon2id", dict), what)
        memory, passes, lanes = (cost.get(name, int) for name in ("memory_kib", "passes", "lanes"))
        affordable = lanes and passes and 8 * lanes <= memory <= 1048576 and lanes <= 64 and memory * passes <= 8388608
        check(affordable, what, f"a passphrase would cost {memory} KiB, {passes} passes and {lanes} lanes")
        made = argon2.low_level.hash_secret_raw(
            self.content, salt, passes, memory, lanes, 32, argon2.low_level.Type.ID, version=0x13
        )
        return made, (memory, passes, lanes)


class Keys:
    """What opens boxes: the master keys of all generations, and disks' keys as they are met."""

    def __init__(self, vault_id, masters):
        self.vault_id, self.bases = vault_id, {}
        for master in masters:
            self.bases[derive("key id", master)[:16]] = self.pair(master)
        self.masters_ids = set(self.bases)
        self.chunk_id, self.node_id = derive("chunk id key", masters[0]), derive("node id key", masters[0])
        self.disk_id = derive("disk key id", masters[0])

    @staticmethod
    def pair(key):
        return derive("data key", key), derive("metadata key", key)

    def open(self, box, kind, name, what, find=None):
        check(len(box) >= BOX_EXTRA, what, f"{len(box)} bytes are too few for a box")
        key_id, nonce, sealed = box[:16], box[16:28], box[28:]
        if key_id not in self.bases and find is not None:
            self.bases[key_id] = self.pair(find(key_id, what))
        check(key_id in self.bases, what, f"it is under key {key_id.hex()}, which is none of the vault's")
        base = self.bases[key_id][0 if kind in (BOX_CHUNK, BOX_NODE) else 1]
        key = keyed(base, bytes([kind]) + name)
        return aes_open(key, nonce, sealed, self.vault_id + bytes([kind]) + key_id + name, what)


def slot_master(vault_id, generation, slot, secret, what):
    """The newest master key from a slot, or `None` if the slot is another secret's."""
    root, cost = secret.root_key(slot, what)
    own_check = derive("key slot check", root)[:16]
    if own_check != slot.hex("check", 16):
        return None
    kind = {"passphrase": 1, "key-file": 2}[secret.kind]
    associated = vault_id + u32(generation) + bytes([kind]) + b"".join(map(u32, cost))
    associated += slot.hex("salt", 16) + own_check + struct.pack("<Q", slot.get("created_ms", int))
    for name in ("id", "label"):
        text = slot.get(name, str).encode()
        associated += u32(len(text)) + text
    wrapping = derive("key slot wrapping key", root)
    return aes_open(wrapping, slot.hex("nonce", 12), slot.hex("wrapped", 48), associated, what)


def open_key_set(fields, what, vault_id, secret):
    """The master keys of all generations, oldest first."""
    fields = Fields(fields, what)
    check(fields.hex("vault", 16) == vault_id, what, "it is another vault's")
    generation, slots = fields.get("generation", int), fields.get("slots", list)
    check(generation < 1000, what, f"generation {generation} is too high")
    check(1 <= len(slots) <= 32 and all(isinstance(slot, dict) for slot in slots), what, "its slots are wrong")
    kinds = [slot.get("kind") for slot in slots]
    if secret is None:
        raise Refused(f"the vault is encrypted and opens with: {', '.join(map(str, kinds))}; give "
                      "--passphrase-file or --key-file")
    for slot in slots:
        if slot.get("kind") == secret.kind:
            newest = slot_master(vault_id, generation, Fields(slot, f"{what}: a slot"), secret, f"{what}: a slot")
            if newest is not None:
                break
    else:
        wrong = "wrong passphrase" if secret.kind == "passphrase" else "not this vault's key file"
        why = wrong if secret.kind in kinds else f"the vault has no {secret.kind} slot"
        raise Refused(f"{why}; it opens with: {', '.join(map(str, kinds))}")
    older, sealed = [], fields.hex("older")
    if generation > 0:
        key, associated = derive("older master keys", newest), vault_id + u32(generation)
        plain = aes_open(key, sealed[:12], sealed[12:], associated, f"{what}: the older keys")
        check(len(plain) == 32 * generation, what, f"{len(plain)} bytes of older keys for generation {generation}")
        older = [plain[at : at + 32] for at in range(0, len(plain), 32)]
    return older + [newest]


# Objects.


class Vault:
    """The objects of a vault: a key is the path of its file below the directory."""

    def __init__(self, directory, secret=None):
        self.directory, self.files, self.places, self.forwards = directory, {}, None, {}
        try:
            fields = Fields(read_text(self.get("format"), "vault", "format"), "format")
        except Missing:
            raise Refused(f"{directory} holds no vault: there is no object `format`") from None
        self.id, crypto = fields.hex("vault", 16), fields.get("crypto", list)
        shape = [fields.fields.get(name) for name in ("chunk_bytes", "leaf_slots", "fanout", "hash")]
        if shape != [CHUNK, LEAF_SLOTS, FANOUT, "blake3"] or crypto not in ([], [CRYPTO]):
            raise Refused(f"format: {shape} with encryption {crypto} is not known here: a newer release made this vault")
        if not crypto and secret is not None:
            raise Refused("the vault is not encrypted, and a key for it was given")
        self.keys = self.unlock(secret) if crypto else None

    def unlock(self, secret):
        sets = sorted(self.list(f"keys/{self.id.hex()}"))
        check(sets, f"keys/{self.id.hex()}/", "the vault is encrypted, and its key sets are gone")
        newest = sets[-1]
        fields = read_text(self.get(newest), "keys", newest)
        check(f"{Fields(fields, newest).get('seq', int):020}" == newest.split("/")[-1], newest, "its number is not its key's")
        return Keys(self.id, open_key_set(fields, newest, self.id, secret))

    # Reading files.

    def open(self, key):
        if key not in self.files:
            if len(self.files) >= 64:
                self.files.pop(next(iter(self.files))).close()
            try:
                self.files[key] = open(os.path.join(self.directory, key), "rb", buffering=0)
            except FileNotFoundError:
                raise Missing(f"{key}: the object is missing") from None
            except OSError as error:
                raise Failure(f"{key}: it cannot be read: {error.strerror}") from None
        return self.files[key].fileno()

    def get_range(self, key, start, length):
        data, descriptor = b"", self.open(key)
        try:
            while len(data) < length:
                more = os.pread(descriptor, length - len(data), start + len(data))
                check(more, key, f"it ends at byte {start + len(data)}, before byte {start + length}")
                data += more
        except OSError as error:
            raise Failure(f"{key}: bytes {start} to {start + length} cannot be read: {error.strerror}") from None
        return data

    def size(self, key):
        return os.fstat(self.open(key)).st_size

    def get(self, key):
        return self.get_range(key, 0, self.size(key))

    def list(self, prefix):
        """Keys below a prefix; names that begin with a dot are none."""
        for at, directories, names in os.walk(os.path.join(self.directory, prefix)):
            directories[:] = [name for name in directories if not name.startswith(".")]
            for name in names:
                if not name.startswith("."):
                    yield os.path.relpath(os.path.join(at, name), self.directory)

    # Text objects and disks' keys.

    def text(self, key, kind, box_kind):
        data = self.get(key)
        if self.keys is not None:
            check(data[:8] == b"TMCRYP1\n", key, "it is not encrypted, in an encrypted vault")
            data = self.keys.open(data[8:], box_kind, key.encode(), key)
        return Fields(read_text(data, kind, key), key)

    def disk_key(self, key_id, what):
        """A disk's own key, by its id."""
        key = f"diskkeys/{key_id.hex()}"
        try:
            data = self.get(key)
        except Missing:
            raise Missing(f"{what}: it is under a disk's own key ({key}), which was destroyed") from None
        check(data[:8] == b"TMCRYP1\n", key, "it is not encrypted")
        check(data[8:24] in self.keys.masters_ids, key, "it is not under a key of the vault")
        plain = self.keys.open(data[8:], BOX_DISK_KEY, key.encode(), key)
        own = keyed(self.keys.disk_id, b"\0" + plain[32:])[:16]
        check(len(plain) > 32 and own == key_id, key, "it is another disk's key")
        return plain[:32]

    # Chunks and nodes.

    def fetch(self, thing, wanted, place):
        """The plain bytes of a chunk or a node: where its parent says, where forwards say that it has gone, or wherever a
        pack's footer says."""
        name = f"{thing} {wanted.hex()}"
        failure = None
        for _ in range(FORWARDS_MOST):
            try:
                return self.read(thing, wanted, place, name)
            except (Damage, Missing) as found:
                failure = failure or found
                place = self.forwarded(wanted, place) if isinstance(found, Missing) else None
            if place is None:
                break
        for other in self.elsewhere(thing, wanted):
            try:
                return self.read(thing, wanted, other, name)
            except (Damage, Missing):
                pass
        raise failure

    def forwarded(self, wanted, place):
        """Where an id has gone whose pack is not there, if the pack has a forward that names it."""
        pack = place[0]
        key = f"moved/{pack.hex()[:2]}/{pack.hex()}"
        if key not in self.forwards:
            try:
                self.forwards[key] = read_forward(self, key, pack)
            except (Damage, Missing):
                self.forwards[key] = {}  # the footers may still help
        return self.forwards[key].get(wanted)

    def read(self, thing, wanted, place, name):
        pack, offset, length, codec = place
        kind, folder, most = {
            CHUNK_THING: (BOX_CHUNK, "packs", CHUNK),
            NODE_THING: (BOX_NODE, "nodes", NODE_MOST),
        }[thing]
        key = f"{folder}/{pack.hex()[:2]}/{pack.hex()}"
        what = f"{key}: {name} at byte {offset}"
        extra = 0 if self.keys is None else BOX_EXTRA
        check(32 <= offset and 0 < length <= most + extra and offset + length <= PACK_MOST, what, "it cannot be there")
        stored = self.get_range(key, offset, length)
        if self.keys is not None:
            stored = self.keys.open(stored, kind, wanted, what, self.disk_key)
        plain = decompressed(codec, stored, most, what)
        found = self.chunk_id(plain, what) if thing == CHUNK_THING else Node(plain, what).id(self.keys)
        check(found == wanted, what, "its bytes do not match its name")
        return plain

    def chunk_id(self, plain, what):
        check(len(plain) == CHUNK, what, f"{len(plain)} bytes are no chunk")
        return blake3(plain).digest() if self.keys is None else keyed(self.keys.chunk_id, plain)

    def elsewhere(self, thing, wanted):
        """Every place that a footer gives for an id. Reads all footers, once."""
        if self.places is None:
            self.places = {}
            for folder, kind in (("packs", STORED), ("nodes", NODE)):
                for key in self.list(folder):
                    try:
                        entries = read_footer(self, key)
                    except Failure:
                        continue  # whoever needs this pack is told of the thing that is missing
                    for entry_kind, id, place in entries:
                        if entry_kind == kind:
                            self.places.setdefault((folder, id), []).append(place)
        return self.places.get(("packs" if thing == CHUNK_THING else "nodes", wanted), [])


def read_forward(vault, key, pack):
    """Where the things have gone that a rewritten pack had, by id; section 12."""
    data = vault.get(key)
    if vault.keys is not None:
        check(data[:8] == b"TMCRYP1\n", key, "it is not encrypted, in an encrypted vault")
        data = vault.keys.open(data[8:], BOX_FORWARD, key.encode(), key, vault.disk_key)
    check(len(data) >= 80 and data[:8] == b"TMMOVE1\n", key, "it is no forward")
    check(blake3(data[:-32]).digest() == data[-32:], key, "its hash does not match")
    count, old, new = struct.unpack_from("<I16s16s", data, 12)
    check(old == pack and len(data) == 80 + 48 * count, key, "it is another pack's")
    rows = struct.iter_unpack("<32sIIHHB3x", data[48:-32])
    return {id: (new, offset, length, codec) for id, offset, length, _, _, codec in rows}


def read_footer(vault, key):
    """A pack's STORED and NODE entries, as (kind, id, place); section 4."""
    folder, size = key.split("/")[0], vault.size(key)
    pack = unhex(key.split("/")[-1], 16, key)
    check(44 <= size <= PACK_MOST, key, f"a pack of {size} bytes")
    header = vault.get_range(key, 0, 32)
    kind = {"packs": 1, "nodes": 2}[folder]
    fits = header[:8] == b"TMPACK1\n" and header[8] == kind and header[16:] == pack
    check(fits, key, "its header is not that of this pack")
    magic, length = struct.unpack("<8sI", vault.get_range(key, size - 12, 12))
    check(12 <= length <= min(size - 32, FOOTER_MOST), key, f"a footer of {length} bytes")
    body_end = size - length
    footer = vault.get_range(key, body_end, length)
    if vault.keys is not None:
        check(magic == b"TMFOOTE\n", key, "its footer is not encrypted, in an encrypted vault")
        footer = vault.keys.open(footer[:-12], BOX_FOOTER, key.encode(), f"{key}: footer", vault.disk_key)
        magic = footer[-12:-4]
    check(magic == b"TMFOOT1\n" and len(footer) >= 96, key, "its footer is not one")
    check(blake3(footer[:-44]).digest() == footer[-44:-12], key, "its footer's hash does not match")
    version, own_kind, hash, crypto, vault_id, own_id, end, others, count = struct.unpack("<HBBB3x16s16sIII", footer[:52])
    if version != 1 or hash != 1 or crypto != 0:
        raise Refused(f"{key}: footer version {version}, hash {hash}, crypto {crypto}: a newer release wrote it")
    fits = (own_kind, vault_id, own_id, end) == (kind, vault.id, pack, body_end)
    check(fits and others <= count <= ENTRIES_MOST, key, "its footer is that of another pack")
    check(len(footer) == 52 + 16 * others + 52 * count + 44, key, "its footer's length does not fit its entries")
    return list(read_entries(footer, 52 + 16 * others, count, pack, body_end, key))


def read_entries(footer, start, count, pack, body_end, key):
    for at in range(start, start + 52 * count, 52):
        id, _, offset, length, slot, ordinal, kind, codec = struct.unpack_from("<32sIIIHHBB", footer, at)
        if kind in (STORED, NODE):
            where = f"{key}: entry {(at - start) // 52}"
            check(slot == 0 and ordinal == (at - start) // 52, where, "it is stored in another place than its own")
            check(32 <= offset and offset + length <= body_end, where, "it lies outside of the body")
            yield kind, id, (pack, offset, length, codec)


# Head logs.


EXISTS, DELETED, PURGED = "exists", "is deleted", "is purged"


class Snapshot:
    """A snapshot that a head log has: its head entry says what its content is, its record (`None`: damaged) the rest."""

    def __init__(self, id, disk, root, what):
        self.id, self.disk, self.root, self.record, self.wrong = id, disk, Root(root, what), None, None
        self.state = EXISTS


def writers_own(snapshots, entry):
    """Who may write, and what writers need: nothing that says what exists."""


def add(snapshots, entry):
    id = entry.get("id", str)
    if id not in snapshots:
        snapshots[id] = Snapshot(id, entry.get("disk", str), entry.hex("root"), f"{entry.what}: root")


def change(before, after):
    def step(snapshots, entry):
        snapshot = snapshots.get(entry.get("id", str))
        if snapshot is not None and snapshot.state == before:
            snapshot.state = after

    return step


ENTRIES = {
    "own": writers_own,
    "fence": writers_own,
    "hold": writers_own,
    "end": writers_own,
    "snapshot": add,
    "drop": change(EXISTS, DELETED),
    "undelete": change(DELETED, EXISTS),
    "purge": change(DELETED, PURGED),
}


def read_head_log(vault, disk):
    """The snapshots of a disk that exist, or are deleted and not purged yet; oldest first."""
    prefix, snapshots = f"d/{disk}/h", {}
    keys = sorted(vault.list(prefix))
    for number, key in enumerate(keys):
        wanted = f"{prefix}/{number:020}"
        check(key == wanted, wanted, "the entry is missing from the disk's head log")
        entry = vault.text(key, "head", BOX_HEAD)
        own_place = (entry.get("disk", str), entry.get("seq", int))
        check(own_place == (disk, number), key, f"it is entry {own_place[1]} of disk {own_place[0]}")
        act = ENTRIES.get(entry.get("entry", str))
        if act is None:
            raise Refused(f"{key}: entries of kind {entry.get('entry', str)!r} are not known here: a newer release wrote it")
        act(snapshots, entry)
    found = [snapshot for snapshot in snapshots.values() if snapshot.state != PURGED]
    for snapshot in found:
        read_record(vault, snapshot)
    return found


def read_record(vault, snapshot):
    key = f"snapshots/{snapshot.id}"
    try:
        record = vault.text(key, "snapshot", BOX_RECORD)
        names = (record.get("snapshot", str), record.get("disk", str))
        check(names == (snapshot.id, snapshot.disk), key, f"it is that of snapshot {names[0]} of disk {names[1]}")
        check(Root(record.hex("root"), key).data == snapshot.root.data, key, "its root is not the head entry's")
        snapshot.record = record.fields
    except Failure as failure:
        snapshot.wrong = str(failure)


def all_disks(vault):
    return sorted({key.split("/")[1] for key in vault.list("d") if key.count("/") >= 3})


def read_all(vault):
    """All snapshots, and what is wrong with disks whose head logs cannot be read."""
    found, wrong = [], []
    for disk in all_disks(vault):
        try:
            found += read_head_log(vault, disk)
        except Failure as failure:
            wrong.append(f"disk {disk}: {failure}")
    return found, wrong


def find_snapshot(vault, id, deleted):
    found, wrong = read_all(vault)
    for snapshot in found:
        if snapshot.id == id:
            if snapshot.state == DELETED and not deleted:
                raise Missing(f"the snapshot {id} is deleted; until it is purged, --deleted restores it all the same")
            return snapshot
    hint = f"; it may be in a head log that cannot be read: {wrong[0]}" if wrong else ""
    raise Missing(f"there is no snapshot {id} in this vault (`list` shows those that are){hint}")


# Trees.


class Root:
    """Section 6."""

    def __init__(self, data, what):
        check(len(data) == 84, what, f"{len(data)} bytes where 84 belong")
        check(crc32c(data[:80]) == struct.unpack("<I", data[80:])[0], what, "its checksum does not match")
        version, self.depth, flags, codec, _, _, self.size, self.filled, self.top, pack, offset, length = struct.unpack(
            "<BBBBHHQQ32s16sII", data[:80]
        )
        if version != 1:
            raise Refused(f"{what}: version {version} is not known here: a newer release wrote it")
        self.data, self.has_top, self.place = data, bool(flags & 1), (pack, offset, length, codec)
        self.chunks = -(-self.size // CHUNK)
        depth = 1
        while LEAF_SLOTS * FANOUT ** (depth - 1) < self.chunks:
            depth += 1
        check(self.depth == depth <= LEVELS_MOST and flags & ~1 == 0, what, "its depth or its flags cannot be")
        check(self.has_top == (self.filled > 0) and self.filled <= self.chunks, what, "its chunks cannot be counted")
        check(self.has_top or (self.top, self.place) == (bytes(32), (bytes(16), 0, 0, 0)), what, "it has half a top")


class Node:
    """Section 5."""

    def __init__(self, data, what):
        check(16 <= len(data) <= NODE_MOST, what, f"{len(data)} bytes are no node")
        check(crc32c(data[:-4]) == struct.unpack("<I", data[-4:])[0], what, "its checksum does not match")
        magic, version, self.level, packs, filled = struct.unpack("<4sBBHH6x", data[:16])
        check(magic == b"TMTN", what, "it is no node")
        if version != 1:
            raise Refused(f"{what}: node version {version} is not known here: a newer release wrote it")
        inner = self.level > 0
        bits = 32 if inner else 16
        length = 16 + bits + 16 * packs + 44 * filled + (8 * filled if inner else 0) + 4
        fits = len(data) == length and self.level < LEVELS_MOST and packs <= filled and filled >= 1
        check(fits, what, "its length does not fit its counts")
        self.bitmap = data[16 : 16 + bits]
        self.slots = [slot for slot in range(8 * bits) if self.bitmap[slot // 8] >> slot % 8 & 1]
        check(len(self.slots) == filled, what, "its bitmap does not fit its count")
        at = 16 + bits
        ids = [data[at + 16 * n : at + 16 * n + 16] for n in range(packs)]
        at += 16 * packs
        self.rows = []
        for row in struct.iter_unpack("<32sIIHBB", data[at : at + 44 * filled]):
            id, offset, stored, _, slot, codec = row
            check(slot < packs, what, f"a row points to pack {slot} of {packs}")
            self.rows.append((id, (ids[slot], offset, stored, codec)))
        at += 44 * filled
        self.counts = [1] * filled
        if inner:
            self.counts = [count for (count,) in struct.iter_unpack("<Q", data[at : at + 8 * filled])]
            check(all(self.counts), what, "a child has no chunks")

    def id(self, keys):
        named = bytes([self.level]) + self.bitmap
        for (id, _), count in zip(self.rows, self.counts):
            named += id + (struct.pack("<Q", count) if self.level > 0 else b"")
        return derive("tree node", named) if keys is None else keyed(keys.node_id, named)


def walk(vault, root, wrong):
    """Every chunk that is not zeros, as (index, id, place), in order. `wrong(first, count, failure)` is told of subtrees
    that cannot be read, and may raise."""

    def below(level, position, count, id, place):
        span = LEAF_SLOTS * FANOUT**level
        try:
            node = Node(vault.fetch(NODE_THING, id, place), f"node {id.hex()}")
            what = f"node {id.hex()}"
            check(node.level == level, what, f"it is of level {node.level}, where one of {level} belongs")
            check(sum(node.counts) == count, what, f"it holds {sum(node.counts)} chunks, and its parent says {count}")
            last = position * span + node.slots[-1] * span // (FANOUT if level else LEAF_SLOTS)
            check(last < root.chunks, what, "it goes past the end of the disk")
        except Failure as failure:
            wrong(position * span, min(span, root.chunks - position * span), failure)
            return
        for slot, row, inside in zip(node.slots, node.rows, node.counts):
            if level == 0:
                yield position * LEAF_SLOTS + slot, *row
            else:
                yield from below(level - 1, position * FANOUT + slot, inside, *row)

    if root.has_top:
        yield from below(root.depth - 1, 0, root.filled, root.top, root.place)


# Restoring.


def restore(vault, snapshot, output, keep_going=False, progress=lambda done, of: None):
    """Writes the snapshot's content to `output`, a sparse file. Returns the ranges of bytes that could not be read,
    with the reason; there are none unless `keep_going`."""
    lost, root = [], snapshot.root

    def wrong(first, count, failure):
        begin, end = first * CHUNK, min((first + count) * CHUNK, root.size)
        text = f"snapshot {snapshot.id}: bytes {begin} to {end} cannot be restored: {failure}"
        if not keep_going:
            raise type(failure)(text)
        lost.append(text)

    unfinished = f"{output}.unfinished"
    with open(unfinished, "wb") as file:
        try:
            file.truncate(root.size)
            done = 0
            for index, id, place in walk(vault, root, wrong):
                try:
                    plain = vault.fetch(CHUNK_THING, id, place)
                except Failure as failure:
                    wrong(index, 1, failure)
                    continue
                file.seek(index * CHUNK)
                file.write(plain[: root.size - index * CHUNK])
                done += 1
                progress(done, root.filled)
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            os.unlink(unfinished)
            raise
    os.rename(unfinished, output)
    return lost


# The command line.


def read_secret(args):
    if args.passphrase_file:
        with open(args.passphrase_file, "rb") as file:
            return Secret("passphrase", file.read().rstrip(b"\r\n"))
    if args.key_file:
        with open(args.key_file, "rb") as file:
            content = file.read()
        if len(content) != 32:
            digits = content.strip()
            if not re.fullmatch(rb"[0-9a-fA-F]{64}", digits):
                raise Refused(f"{args.key_file} is no key file: 32 bytes, or 64 hex digits")
            content = bytes.fromhex(digits.decode())
        return Secret("key-file", content)
    return None


def show_list(vault, deleted):
    found, wrong = read_all(vault)
    found = [snapshot for snapshot in found if (snapshot.state == DELETED) == deleted]
    rows = [("SNAPSHOT", "DISK", "CREATED (UTC)", "DISK BYTES", "DATA BYTES", "NAME")]
    for snapshot in found:
        record = snapshot.record or {}
        made = record.get("created_ms")
        created = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(made / 1000)) if isinstance(made, int) else "?"
        meta = record.get("meta")
        name = str(meta.get("name") or "") if isinstance(meta, dict) else ""
        name = "".join(letter if letter.isprintable() else "?" for letter in name)
        data = min(snapshot.root.filled * CHUNK, snapshot.root.size)
        rows.append((snapshot.id, snapshot.disk, created, str(snapshot.root.size), str(data), name))
        if snapshot.wrong:
            wrong.append(f"snapshot {snapshot.id}: its content can be restored, but its record cannot be read: {snapshot.wrong}")
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    for text in wrong:
        print(f"damaged: {text}", file=sys.stderr)
    return 1 if wrong else 0


def run_restore(vault, args):
    if os.path.exists(args.output):
        raise Refused(f"{args.output} is there already; name a file that is not")
    snapshot = find_snapshot(vault, args.snapshot, args.deleted)
    shown = [0.0]

    def progress(done, of):
        if sys.stderr.isatty() and (done == of or time.monotonic() - shown[0] > 0.2):
            shown[0] = time.monotonic()
            print(f"\r{done * 100 // of}%", end="\n" if done == of else "", file=sys.stderr, flush=True)

    lost = restore(vault, snapshot, args.output, args.keep_going, progress)
    for text in lost:
        print(f"damaged: {text}", file=sys.stderr)
    if lost:
        print(f"{args.output}: restored with {len(lost)} holes; see above", file=sys.stderr)
        return 1
    size, filled = snapshot.root.size, snapshot.root.filled
    print(f"{args.output}: {size} bytes of snapshot {snapshot.id}, {filled} chunks of data, every hash compared")
    return 0


def main():
    parser = argparse.ArgumentParser(
        description="Reads a Tidemark vault in a directory without Tidemark: lists its snapshots, restores one into a file.",
        epilog="A vault in a bucket: copy the bucket's prefix into a directory with any tool first. An encrypted vault opens "
        "with the passphrase or the key file that it was made with. Ends with 0, or 1 if something is damaged or refused.",
    )
    parser.add_argument("vault", metavar="VAULT", help="the vault's directory")
    secret = argparse.ArgumentParser(add_help=False)
    one = secret.add_mutually_exclusive_group()
    one.add_argument("--passphrase-file", metavar="FILE", help="a file with the passphrase of an encrypted vault")
    one.add_argument("--key-file", metavar="FILE", help="the key file of an encrypted vault")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="list|restore")
    verb = verbs.add_parser("list", parents=[secret], help="list the snapshots of all disks, also of those that are gone")
    verb.add_argument("--deleted", action="store_true", help="those that are deleted and not purged yet, instead")
    verb = verbs.add_parser("restore", parents=[secret], help="write a snapshot's content into a new, sparse file")
    verb.add_argument("snapshot", metavar="SNAPSHOT", help="its id, from `list`")
    verb.add_argument("output", metavar="OUTPUT", help="the file to make; it must not exist")
    verb.add_argument("--deleted", action="store_true", help="also if it is deleted, as long as it is not purged")
    verb.add_argument(
        "--keep-going", action="store_true", help="leave what is damaged as zeros, name every such range, and end with 1"
    )
    args = parser.parse_args()
    try:
        vault = Vault(args.vault, read_secret(args))
        return show_list(vault, args.deleted) if args.verb == "list" else run_restore(vault, args)
    except ImportError as missing:
        print(f"{missing.name} is missing: python3 -m pip install cryptography argon2-cffi", file=sys.stderr)
    except Failure as failure:
        print(f"{type(failure).__name__.lower()}: {failure}", file=sys.stderr)
    except OSError as error:
        print(f"{error.filename or args.vault}: {error.strerror}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
