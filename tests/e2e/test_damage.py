"""Damaged bytes in the vault are detected, named, and never served as data. Covers S4, S20 on a bad medium."""

import json

import pytest

import data
import nbd
from cloud import Cloud
from service import wait_until

MIB = data.MIB
CONTENT = data.random_bytes(24 * MIB, seed=1)


@pytest.fixture
def snapshotted(new_service):
    """A fresh service with one snapshot, stopped so that nothing is cached."""
    service = new_service()
    cloud = Cloud(service)
    instance, disk = cloud.attached_disk(1)
    with service.client(disk) as client:
        client.write_all(0, CONTENT)
    return service, cloud, instance, disk, cloud.take_snapshot(disk)


def packs(service, kind):
    found = sorted(path for path in (service.vault / kind).rglob("*") if path.is_file())
    assert found, f"the vault has no {kind}"
    return found


def damage(path, places):
    """Flips one bit at each place (a fraction of the file's length)."""
    with open(path, "r+b") as file:
        size = path.stat().st_size
        for place in places:
            at = int(size * place)
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 0x10]))


def read_what_can_be_read(service, export, step=65536):
    """Reads piece by piece; every piece that is served must be right. Returns how many were refused."""
    refused = 0
    with service.client(export) as client:
        for at in range(0, len(CONTENT), step):
            try:
                piece = client.read(at, step)
            except nbd.NbdError:
                refused += 1
                continue
            assert piece == CONTENT[at : at + step], f"wrong bytes were served at {at}"
    return refused


def test_a_flipped_bit_in_a_data_pack(snapshotted):
    service, cloud, instance, disk, snapshot = snapshotted
    service.stop()
    path = packs(service, "packs")[0]
    damage(path, [0.3, 0.6])
    service.start()
    refused = read_what_can_be_read(service, snapshot)
    assert 1 <= refused <= 4, f"{refused} pieces were refused for two damaged chunks"
    assert path.name in service.log.read_text(errors="replace"), "the damaged pack is not named in the log"
    # The disk itself has its own bytes and does not suffer.
    assert read_what_can_be_read(service, disk) == 0
    # A disk made from the damaged snapshot serves what is whole and refuses the rest.
    copy = cloud.restore(snapshot, instance)
    assert 1 <= read_what_can_be_read(service, copy) <= 4


def test_a_missing_data_pack(snapshotted):
    service, cloud, instance, disk, snapshot = snapshotted
    service.stop()
    path = packs(service, "packs")[0]
    path.unlink()
    service.start()
    assert read_what_can_be_read(service, snapshot) >= 1
    assert path.name in service.log.read_text(errors="replace")
    assert read_what_can_be_read(service, disk) == 0


@pytest.mark.parametrize("kind", ["nodes", "packs"])
def test_a_cut_off_pack(snapshotted, kind):
    service, cloud, instance, disk, snapshot = snapshotted
    service.stop()
    for path in packs(service, kind):
        with open(path, "r+b") as file:
            file.truncate(path.stat().st_size // 2)
    service.start()
    try:
        assert read_what_can_be_read(service, snapshot) >= 1
    except nbd.Refused:
        pass  # without its tree a snapshot cannot even be opened
    assert read_what_can_be_read(service, disk) == 0
    assert cloud.snapshot(snapshot) is not None


def test_a_damaged_tree(snapshotted):
    service, cloud, instance, disk, snapshot = snapshotted
    service.stop()
    for path in packs(service, "nodes"):
        damage(path, [n / 20 for n in range(1, 19)])
    service.start()
    try:
        assert read_what_can_be_read(service, snapshot) >= 1
    except nbd.Refused:
        pass
    assert any(path.name in service.log.read_text(errors="replace") for path in packs(service, "nodes"))
    assert read_what_can_be_read(service, disk) == 0


def test_a_later_snapshot_does_not_build_on_damage(snapshotted):
    """The disk can still be snapshotted; what changed since is right in the new snapshot."""
    service, cloud, instance, disk, snapshot = snapshotted
    service.stop()
    damage(packs(service, "packs")[0], [0.3])
    service.start()
    with service.client(disk) as client:
        client.write_all(20 * MIB, CONTENT[:MIB])
    following = cloud.take_snapshot(disk)
    with service.client(following) as frozen:
        assert frozen.read_all(20 * MIB, MIB) == CONTENT[:MIB]


def test_a_damaged_log_is_not_replayed_over(new_service):
    """A log that was synced and then damaged is refused by name, not cut off in silence."""
    service = new_service()
    cloud = Cloud(service)
    _, disk = cloud.attached_disk(1)
    with service.client(disk) as client:
        for at in range(200):
            client.write(at * 65536, data.random_bytes(4096, seed=at), fua=True)
    service.kill()
    segments = [path for path in (service.data / "volumes" / disk / "log").iterdir() if path.is_file()]
    assert segments, "no log segments found"
    for path in segments:
        written = path.read_bytes().rstrip(b"\0")
        if len(written) > 65536:
            with open(path, "r+b") as file:
                file.seek(len(written) // 2 // 4096 * 4096 + 100)
                file.write(b"\xff" * 64)
    service.start()
    with pytest.raises((nbd.Refused, nbd.NbdError, ConnectionError)):
        with service.client(disk) as client:
            client.read(0, 4096)
    assert disk in service.log.read_text(errors="replace")
    # Other disks are not concerned.
    wait_until(lambda: service.get("/healthz")[0] == 200, "the service is up")
    other = cloud.attached_disk(1)[1]
    with service.client(other) as client:
        client.write(0, b"x" * 4096)
    assert json.loads(json.dumps(cloud.disk(disk)))["DiskId"] == disk
