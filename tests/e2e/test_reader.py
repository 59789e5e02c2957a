"""A second implementation reads what the service wrote: `tools/tidemark_restore.py`, from the format's document alone."""

import os
import pathlib
import re
import shutil
import struct
import sys

import data
import pytest
from cloud import GIB, Cloud
from service import BINARY, Service, run, wait_until
from test_reader_golden import reader

READER = pathlib.Path(__file__).parents[2] / "tools" / "tidemark_restore.py"
MIB, CHUNK = data.MIB, 65536


def read(vault, *words, check=True):
    return run(sys.executable, READER, vault, *words, check=check)


class Written:
    """A service whose vault has snapshots of every kind; gone when the vault is read, as after the loss of its machine."""

    def __init__(self, service, own_key):
        self.service, self.vault = service, pathlib.Path(service.vault)
        self.cloud = Cloud(service)
        more = {"Encrypted": True} if own_key else {}
        instance, self.disk = self.cloud.attached_disk(1, **more)
        with service.client(self.disk) as client:
            client.write_all(0, data.random_bytes(9 * MIB, seed=1))
            client.write_all(100 * MIB, b"what compresses well " * (4 * MIB // 21))
            client.write_all(GIB - 3 * CHUNK - 512, data.random_bytes(3 * CHUNK + 512, seed=2))
            self.full = self.cloud.take_snapshot(self.disk, SnapshotName="full")
            client.write(5 * MIB + 4096, data.random_bytes(8192, seed=3))
            client.trim(MIB, 2 * MIB)
            client.write_zeroes(100 * MIB + 77 * 512, 3 * CHUNK)
            client.write_all(700 * MIB, data.random_bytes(MIB, seed=4))
            self.second = self.cloud.take_snapshot(self.disk, SnapshotName="second")
            client.trim(0, GIB)
            client.write_all(64 * CHUNK, data.random_bytes(CHUNK, seed=5))
            self.third = self.cloud.take_snapshot(self.disk)
            client.trim(0, GIB)
            self.nothing = self.cloud.take_snapshot(self.disk)
        self.clone = self.cloud.restore(self.second, instance)
        with service.client(self.clone) as client:
            client.write_all(200 * MIB, data.random_bytes(MIB, seed=6))
        self.of_clone = self.cloud.take_snapshot(self.clone)
        # The others stand alone; what the full one stored and they share stays.
        self.cloud.call("DeleteSnapshot", SnapshotId=self.full)
        wait_until(lambda: self.cloud.snapshot(self.full) is None, "the full snapshot is gone")
        self.live = [self.second, self.third, self.nothing, self.of_clone]

    def keep_exports(self, where):
        """What the service itself says that each snapshot holds."""
        self.exports = {}
        for snapshot in self.live:
            self.exports[snapshot] = where / f"{snapshot}.raw"
            run("qemu-img", "convert", "-f", "raw", "-O", "raw", self.service.uri(snapshot), self.exports[snapshot])


def key_file(where):
    path = where / "vault.key"
    path.write_bytes(bytes(range(32)))
    return ["--key-file", path]


def passphrase(where):
    path = where / "passphrase"
    path.write_text("high water\n")
    return ["--passphrase-file", path]


@pytest.fixture(params=["plain", "passphrase", "key file", "disk keys"])
def written(request, new_service, scratch):
    secret = {"plain": lambda _: [], "passphrase": passphrase}.get(request.param, key_file)(scratch)
    flags = [str(word).replace("--", "--vault-", 1) if str(word).startswith("--") else str(word) for word in secret]
    written = Written(new_service(extra=flags), own_key=request.param == "disk keys")
    written.secret = secret
    written.keep_exports(scratch)
    written.service.stop()
    return written


def test_every_snapshot_is_restored_to_the_byte(written, scratch):
    listed = read(written.vault, "list", *written.secret).stdout
    for snapshot in written.live:
        (row,) = [line.split() for line in listed.splitlines() if line.startswith(snapshot)]
        assert str(GIB) in row
    assert written.full not in listed and "second" in listed
    for snapshot in written.live:
        restored = scratch / "restored.raw"
        told = read(written.vault, "restore", snapshot, restored, *written.secret).stdout
        assert "every hash compared" in told
        data.same_sparse(restored, written.exports[snapshot])
        assert os.path.getsize(restored) == GIB
        assert os.stat(restored).st_blocks * 512 < 64 * MIB, "what is zeros takes no space"
        restored.unlink()
    gone = read(written.vault, "restore", written.full, scratch / "none", *written.secret, check=False)
    assert gone.returncode == 1 and "is deleted" in gone.stderr and not (scratch / "none").exists()
    assert written.full in read(written.vault, "list", "--deleted", *written.secret).stdout
    read(written.vault, "restore", written.full, scratch / "deleted", "--deleted", *written.secret)
    unknown = read(written.vault, "restore", "s-none", scratch / "none", *written.secret, check=False)
    assert unknown.returncode == 1 and "there is no snapshot s-none" in unknown.stderr
    there = read(written.vault, "restore", snapshot, written.exports[snapshot], *written.secret, check=False)
    assert there.returncode == 1 and "is there already" in there.stderr


def test_a_lost_secret_a_newer_release_and_no_vault_are_told_apart(new_service, scratch):
    service = new_service(extra=["--vault-key-file", str(key_file(scratch)[1])])
    service.stop()
    (scratch / "other").write_bytes(b"\x01" * 32)
    for secret, word in (
        ([], "give --passphrase-file or --key-file"),
        (["--key-file", scratch / "other"], "not this vault's key file"),
        (passphrase(scratch), "the vault has no passphrase slot"),
        (["--key-file", scratch / "passphrase"], "is no key file"),
        (["--key-file", scratch / "absent"], "absent"),
    ):
        refused = read(service.vault, "list", *secret, check=False)
        assert refused.returncode == 1 and word in refused.stderr, refused.stderr
        assert "Traceback" not in refused.stderr
    empty = read(scratch, "list", check=False)
    assert empty.returncode == 1 and "holds no vault" in empty.stderr
    usage = read("--help").stdout
    for word in ("list", "restore", "VAULT", "bucket"):
        assert word in usage


def test_after_a_rotation_old_and_new_snapshots_are_read(new_service, scratch):
    old, new = passphrase(scratch), ["--key-file", scratch / "new.key"]
    new[1].write_bytes(b"\x07" * 32)
    service = new_service(extra=["--vault-passphrase-file", str(old[1])])
    cloud = Cloud(service)
    _, disk = cloud.attached_disk(1)
    contents = {}
    with service.client(disk) as client:
        client.write_all(0, data.random_bytes(MIB, seed=1))
        contents[cloud.take_snapshot(disk)] = client.read_all(0, MIB)
    service.stop()
    run(BINARY, "vault", "key", "rotate", service.vault, "--vault-passphrase-file", old[1], "--replace", "--new-key-file", new[1])
    service.extra = ["--vault-key-file", str(new[1])]
    service.start()
    with service.client(disk) as client:
        client.write_all(CHUNK, data.random_bytes(CHUNK, seed=2))
        contents[cloud.take_snapshot(disk)] = client.read_all(0, MIB)
    service.stop()
    for snapshot, content in contents.items():
        read(service.vault, "restore", snapshot, scratch / snapshot, *new)
        with open(scratch / snapshot, "rb") as restored:
            assert restored.read(MIB) == content
    assert "wrong passphrase" in (told := read(service.vault, "list", *old, check=False).stderr) or "no passphrase slot" in told


# Damage. Every case names the object; none leaves an output behind.


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    body = bytearray(path.read_bytes())
    body[len(body) // 3] ^= 0x10
    path.write_bytes(body)


HARMS = {"flipped": flip, "cut": cut, "removed": pathlib.Path.unlink}


@pytest.fixture(scope="module", params=["plain", "encrypted"])
def vault(request, tmp_path_factory):
    """A vault with two disks, made once; tests damage copies of it."""
    where = tmp_path_factory.mktemp("reader")
    secret = key_file(where) if request.param == "encrypted" else []
    service = Service(extra=["--vault-key-file", str(secret[1])] if secret else [])
    service.start()
    try:
        cloud = Cloud(service)
        instance = cloud.new_instance()
        snapshots = []
        for seed in (1, 2):
            _, disk = cloud.attached_disk(1, instance)
            with service.client(disk) as client:
                client.write_all(3 * MIB, data.random_bytes(4 * MIB, seed=seed))
                client.write_all(500 * MIB, data.random_bytes(MIB, seed=seed + 10))
            snapshots.append((disk, cloud.take_snapshot(disk)))
        service.stop()
        shutil.copytree(service.vault, where / "vault")
    finally:
        service.destroy()
    return where / "vault", secret, snapshots


@pytest.mark.parametrize("harm", HARMS)
def test_damage_is_named_and_the_rest_is_saved(vault, harm, scratch):
    whole, secret, ((_, first), (_, second)) = vault
    whole_image = scratch / "whole"
    read(whole, "restore", first, whole_image, *secret)
    for kind in ("packs", "nodes"):
        for pack in sorted((whole / kind).rglob("*")):
            if not pack.is_file():
                continue
            damaged, output = scratch / "damaged", scratch / "output"
            shutil.copytree(whole, damaged)
            HARMS[harm](damaged / pack.relative_to(whole))
            ends = {}
            for snapshot in (first, second):
                done = read(damaged, "restore", snapshot, output, *secret, check=False)
                ends[snapshot] = done.returncode
                if done.returncode != 0:
                    assert pack.name in done.stderr, done.stderr
                    assert f"snapshot {snapshot}: bytes" in done.stderr
                    assert "Traceback" not in done.stderr
                    assert not output.exists() and not (scratch / "output.unfinished").exists()
                output.unlink(missing_ok=True)
            assert sorted(ends.values()) == [0, 1], "each pack is one snapshot's"
            if ends[first] == 1:
                kept = read(damaged, "restore", first, output, "--keep-going", *secret, check=False)
                assert kept.returncode == 1 and "holes" in kept.stderr
                different(output, whole_image, kept.stderr)
            output.unlink(missing_ok=True)
            shutil.rmtree(damaged)


def different(output, whole, told):
    """Where two images differ is within what was told, and there the output is zeros."""
    ranges = [tuple(map(int, found)) for found in re.findall(r"bytes (\d+) to (\d+) cannot be restored", told)]
    assert ranges
    with open(output, "rb") as one, open(whole, "rb") as other:
        for begin, end in data.extents(other):
            for at in range(begin, end, CHUNK):
                found = os.pread(one.fileno(), CHUNK, at)
                if found != os.pread(other.fileno(), CHUNK, at):
                    assert not any(found), f"byte {at} is neither right nor zero"
                    assert any(first <= at < last for first, last in ranges), f"byte {at} was lost silently"


@pytest.mark.parametrize("harm", HARMS)
def test_a_lost_record_or_log_does_not_take_the_rest_with_it(vault, harm, scratch):
    whole, secret, ((disk, first), (_, second)) = vault
    damaged = scratch / "damaged"
    shutil.copytree(whole, damaged)
    HARMS[harm](damaged / "snapshots" / first)
    listed = read(damaged, "list", *secret, check=False)
    assert listed.returncode == 1 and f"snapshots/{first}" in listed.stderr
    assert first in listed.stdout and second in listed.stdout
    read(damaged, "restore", first, scratch / "one", *secret)
    read(whole, "restore", first, scratch / "other", *secret)
    data.same_sparse(scratch / "one", scratch / "other")

    entry = damaged / "d" / disk / "h" / f"{0:020}"
    HARMS[harm](entry)
    listed = read(damaged, "list", *secret, check=False)
    assert listed.returncode == 1 and f"d/{disk}/h/{0:020}" in listed.stderr
    assert second in listed.stdout
    lost = read(damaged, "restore", first, scratch / "two", *secret, check=False)
    assert lost.returncode == 1 and disk in lost.stderr and not (scratch / "two").exists()


def test_what_only_a_footer_still_finds_is_found(vault, scratch):
    """A pack under another id is not where the tree says: its chunks are found by all packs' footers."""
    whole, secret, ((_, first), _) = vault
    moved = scratch / "moved"
    shutil.copytree(whole, moved)
    if secret:
        return  # a box names its pack: what is sealed cannot be renamed by a test
    for pack in [path for path in (moved / "packs").rglob("*") if path.is_file()]:
        rename(pack, reader.blake3(pack.name.encode()).digest()[:16])
    read(whole, "restore", first, scratch / "before")
    read(moved, "restore", first, scratch / "after")
    data.same_sparse(scratch / "before", scratch / "after")


def test_forwards_are_followed(vault, scratch):
    """What was rewritten has gone elsewhere, perhaps twice; the packs there are cut, so that no footer helps."""
    whole, secret, ((_, first), _) = vault
    moved = scratch / "moved"
    shutil.copytree(whole, moved)
    if secret:
        return  # a forward is in a box that only the service makes
    source = reader.Vault(str(whole))
    for pack in [path for path in (moved / "packs").rglob("*") if path.is_file()]:
        rows = [(id, place) for _, id, place in reader.read_footer(source, str(pack.relative_to(moved)))]
        old, middle, new = bytes.fromhex(pack.name), *(reader.blake3(f"{pack.name} {n}".encode()).digest()[:16] for n in range(2))
        forward(moved, old, middle, rows)
        forward(moved, middle, new, rows)
        body = pack.read_bytes()
        place = moved / "packs" / new.hex()[:2] / new.hex()
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(body[: len(body) - int.from_bytes(body[-4:], "little")])
        pack.unlink()
    read(whole, "restore", first, scratch / "before")
    read(moved, "restore", first, scratch / "after")
    data.same_sparse(scratch / "before", scratch / "after")
    for path in (moved / "moved").rglob("*"):
        if path.is_file():
            flip(path)
    lost = read(moved, "restore", first, scratch / "lost", check=False)
    assert lost.returncode == 1 and "the object is missing" in lost.stderr


def forward(vault, old, new, rows):
    body = b"TMMOVE1\n" + bytes([1, 0, 0, 0]) + struct.pack("<I", len(rows)) + old + new
    for at, (id, (_, offset, length, codec)) in enumerate(rows):
        body += struct.pack("<32sIIHHB3x", id, offset, length, at, at, codec)
    place = vault / "moved" / old.hex()[:2] / old.hex()
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(body + reader.blake3(body).digest())


def rename(pack, id):
    """Gives a pack another id, everywhere where it stands."""
    body = bytearray(pack.read_bytes())
    footer = len(body) - int.from_bytes(body[-4:], "little")
    body[16:32] = body[footer + 24 : footer + 40] = id
    body[-44:-12] = reader.blake3(bytes(body[footer:-44])).digest()
    place = pack.parent.parent / id.hex()[:2] / id.hex()
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(body)
    pack.unlink()
