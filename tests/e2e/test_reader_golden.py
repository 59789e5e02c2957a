"""The independent reader (`tools/tidemark_restore.py`) on the pinned objects of the format."""

import json
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
GOLDEN = ROOT / "crates" / "vault" / "tests" / "golden"
sys.path.insert(0, str(ROOT / "tools"))

import tidemark_restore as reader  # noqa: E402


def text(name):
    return (GOLDEN / name).read_text()


def from_hex(name):
    return bytes.fromhex(text(name).replace("\n", ""))


def text_objects(name):
    lines = (GOLDEN / name).read_bytes().splitlines(keepends=True)
    return [b"".join(lines[at : at + 2]) for at in range(0, len(lines), 2)]


def encrypted():
    return {name: bytes.fromhex(value) for name, value in (line.split() for line in text("encrypted.txt").splitlines())}


def vault_of(tmp_path, objects):
    for key, body in objects.items():
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).write_bytes(body)
    return str(tmp_path)


def test_a_chunk_a_node_and_a_root_are_what_their_names_say():
    assert reader.crc32c(b"123456789") == 0xE3069283, "the check value of CRC-32C"
    for name in ("leaf", "inner"):
        node = reader.Node(from_hex(f"{name}.hex"), name)
        assert node.id(None).hex() == text(f"{name}-id.txt").strip()
    root = reader.Root(from_hex("root.hex"), "root")
    assert root.top.hex() == text("inner-id.txt").strip()
    for damaged in range(84):
        body = bytearray(from_hex("root.hex"))
        body[damaged] ^= 1
        with pytest.raises(reader.Damage, match="checksum"):
            reader.Root(bytes(body), "root")


def test_text_objects_are_read_and_a_log_of_them_is_followed(tmp_path):
    format, *rest = text_objects("text-objects.txt")
    (record,) = [entry for entry in rest if entry.startswith(b'{"tidemark":"snapshot"')]
    entries = [entry for entry in rest if entry.startswith(b'{"tidemark":"head"')]
    keys = {f"d/d-golden/h/{number:020}": entry for number, entry in enumerate(entries)}
    vault = reader.Vault(vault_of(tmp_path, {"format": format, "snapshots/s-golden": record, **keys}))
    assert vault.id == b"the golden vault"
    # Dropped, nothing, dropped again, brought back, a purge of what exists (which means nothing), and two that say nothing of it.
    states = []
    for late in sorted(keys, reverse=True)[:-1]:
        ((snapshot,), wrong) = reader.read_all(vault)
        assert (snapshot.id, snapshot.disk, wrong) == ("s-golden", "d-golden", [])
        assert snapshot.record["meta"] == {"SnapshotName": "before the upgrade"} and snapshot.wrong is None
        states.append(snapshot.state)
        (tmp_path / late).unlink()
    exists, deleted = reader.EXISTS, reader.DELETED
    assert states == [exists, exists, exists, exists, deleted, deleted, deleted, exists]
    assert reader.read_all(vault) == ([], []), "only an owner is left"


def test_footers_of_both_kinds_of_packs_are_read(tmp_path):
    format = text_objects("text-objects.txt")[0]
    for name, folder, kind in (("data-pack.hex", "packs", reader.STORED), ("tree-pack.hex", "nodes", reader.NODE)):
        body = from_hex(name)
        key = f"{folder}/{body[16:17].hex()}/{body[16:32].hex()}"
        vault = reader.Vault(vault_of(tmp_path / name, {"format": format, key: body}))
        entries = reader.read_footer(vault, key)
        assert entries and all(found == kind for found, _, _ in entries)


def test_a_key_set_opens_with_both_kinds_of_secrets():
    golden = encrypted()
    fields = reader.read_text(text_objects("key-set.txt")[0], "keys", "key set")
    masters = [golden["master-0"], golden["master-1"]]
    for secret in (
        reader.Secret("passphrase", b"the golden passphrase"),
        reader.Secret("key-file", b"\x6b" * 32),
    ):
        assert reader.open_key_set(fields, "key set", golden["vault"], secret) == masters
    for secret, word in (
        (reader.Secret("passphrase", b"another"), "wrong passphrase"),
        (reader.Secret("key-file", b"\x6c" * 32), "not this vault's key file"),
        (None, "--passphrase-file"),
    ):
        with pytest.raises(reader.Refused, match=word):
            reader.open_key_set(fields, "key set", golden["vault"], secret)
    moved = json.loads(json.dumps(fields))
    moved["slots"][0]["label"] = "another's"
    with pytest.raises(reader.Damage, match="does not decrypt"):
        reader.open_key_set(moved, "key set", golden["vault"], reader.Secret("passphrase", b"the golden passphrase"))


def test_boxes_of_every_kind_open_and_only_as_what_they_are(tmp_path):
    golden = encrypted()
    keys = reader.Keys(golden["vault"], [golden["master-0"], golden["master-1"]])
    assert keys.disk_id and golden["key-id-1"] in keys.bases
    assert reader.keyed(keys.disk_id, b"\0d-golden")[:16] == golden["disk-key-id"]

    plain = keys.open(golden["chunk-box"], reader.BOX_CHUNK, golden["chunk-id"], "a chunk")
    under_disk = golden["chunk-box-by-disk-key"]
    assert keys.open(under_disk, reader.BOX_CHUNK, golden["chunk-id"], "a chunk", lambda *_: golden["disk-key"]) == plain
    node = reader.Node(keys.open(golden["leaf-box"], reader.BOX_NODE, golden["leaf-id"], "a node"), "a node")
    assert node.id(keys) == golden["leaf-id"]

    boxes = {
        "d/d-golden/h/00000000000000000007": reader.BOX_HEAD,
        "snapshots/s-golden": reader.BOX_RECORD,
        f"diskkeys/{golden['disk-key-id'].hex()}": reader.BOX_DISK_KEY,
    }
    for key, kind in boxes.items():
        assert golden[key][:8] == b"TMCRYP1\n"
        assert keys.open(golden[key][8:], kind, key.encode(), key)
        for wrong in range(1, 7):
            if wrong != kind:
                with pytest.raises(reader.Damage, match=key):
                    keys.open(golden[key][8:], wrong, key.encode(), key)
    disk_key = keys.open(golden[key][8:], reader.BOX_DISK_KEY, key.encode(), key)
    assert disk_key == golden["disk-key"] + b"d-golden"

    pack = f"packs/74/{golden['pack'][16:32].hex()}"
    format = json.loads(text_objects("text-objects.txt")[0].split(b"\n")[0])
    format["crypto"] = [reader.CRYPTO]
    line = json.dumps(format).encode() + b"\n"
    set = f"keys/{golden['vault'].hex()}/{3:020}"
    objects = {
        "format": line + b"blake3:" + reader.blake3(line).hexdigest().encode() + b"\n",
        set: text_objects("key-set.txt")[0],
        pack: golden["pack"],
    }
    vault = reader.Vault(vault_of(tmp_path, objects), reader.Secret("key-file", b"\x6b" * 32))
    ((kind, id, _),) = reader.read_footer(vault, pack)
    assert (kind, id) == (reader.STORED, golden["chunk-id"])
