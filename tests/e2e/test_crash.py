"""kill -9 at any moment loses nothing that was acknowledged, and every snapshot that was answered completes.

Covers S2, S15, S21, S28. The moments come from a seed that is printed; TIDEMARK_SEED=... repeats it.
"""

import os
import random
import time

import pytest

import data
from cloud import Cloud
from oracle import Writer, check_nothing_lost, check_point_in_time
from service import run

MIB = data.MIB
SEED = int(os.environ.get("TIDEMARK_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
FILLED = 160 * MIB


@pytest.mark.parametrize("round", range(4))
def test_kill_in_the_middle_of_a_snapshot(new_service, round):
    print(f"TIDEMARK_SEED={SEED}")
    choose = random.Random(SEED * 10 + round)
    service = new_service()
    cloud = Cloud(service)
    instance, disk = cloud.attached_disk(4)
    content = data.random_bytes(FILLED, seed=round)
    connection = service.client(disk)
    connection.write_all(1 << 30, content)
    writer = Writer(connection, 0, region_blocks=2048, seed=round, depth=choose.choice([1, 16, 64]))
    writer.start()
    writer.wait_for(1500)

    # Some crashes come within the capture, some right at its start, some after the next one began.
    called = time.monotonic()
    snapshot = cloud.call("CreateSnapshot", DiskId=disk)["SnapshotId"]
    answered = time.monotonic()
    time.sleep(choose.uniform(0, 0.8))
    service.kill()
    writer.stopping.set()
    writer.join(30)
    assert not writer.is_alive()
    connection.abandon()

    service.start()
    assert cloud.disk(disk)["Status"] == "In_use" and cloud.instance(instance)["Status"] == "Running"
    with service.client(disk) as client:
        kept = check_nothing_lost(writer, writer.found_in(client.read_all))
        assert kept >= 1400, f"only {kept} writes were ever acknowledged: the test tests nothing"
        assert client.read_all(1 << 30, FILLED) == content
        # The disk goes on in use while the snapshot goes on by itself.
        client.write_all(1 << 30, bytes(MIB))
    cloud.wait_snapshot(snapshot)
    with service.client(snapshot) as frozen:
        check_point_in_time(writer, writer.found_in(frozen.read_all), called, answered)
        assert frozen.read_all(1 << 30, FILLED) == content

    # And its changes were tracked across the crash: the next snapshot is right, and small.
    before = data.directory_bytes(service.vault)
    following = cloud.take_snapshot(disk)
    assert data.directory_bytes(service.vault) - before < 2048 * 65536 + 4 * MIB
    data.compare(service.uri(following), service.uri(disk))


def test_killed_again_and_again(new_service):
    """Ten kills in a row, some while it is still recovering; writes go on in between."""
    print(f"TIDEMARK_SEED={SEED}")
    choose = random.Random(SEED)
    service = new_service()
    cloud = Cloud(service)
    _, disk = cloud.attached_disk(1)
    snapshots = []
    for turn in range(10):
        with_writes = turn % 3 != 2
        if with_writes:
            connection = service.client(disk)
            writer = Writer(connection, turn * 64 * MIB, region_blocks=512, seed=turn)
            writer.start()
            writer.wait_for(choose.randrange(50, 1500))
            if turn % 2 == 0:
                snapshots.append(cloud.call("CreateSnapshot", DiskId=disk)["SnapshotId"])
        else:
            time.sleep(choose.uniform(0, 0.1))
        service.kill()
        if with_writes:
            writer.stopping.set()
            writer.join(30)
            connection.abandon()
        service.start()
        if with_writes:
            with service.client(disk) as client:
                check_nothing_lost(writer, writer.found_in(client.read_all))
        for snapshot in snapshots:
            cloud.wait_snapshot(snapshot)
    assert [row["SnapshotId"] for row in reversed(cloud.snapshots(disk))] == snapshots


def test_killed_while_a_new_disk_is_being_filled(new_service, scratch):
    """A disk made from a snapshot keeps what was written to it, and still gets the rest (S55)."""
    service = new_service()
    cloud = Cloud(service)
    instance, disk = cloud.attached_disk(4)
    content = data.random_bytes(FILLED, seed=5)
    with service.client(disk) as client:
        client.write_all(0, content)
    snapshot = cloud.take_snapshot(disk)
    copy = cloud.restore(snapshot, instance)
    expected = bytearray(content)
    with service.client(copy) as client:
        for at in range(0, FILLED, 5 * MIB):
            piece = data.random_bytes(4096, seed=at)
            client.write(at + 8192, piece)
            expected[at + 8192 : at + 8192 + 4096] = piece
    service.kill()
    service.start()
    with service.client(copy) as client:
        assert client.read_all(0, FILLED) == expected
    again = cloud.take_snapshot(copy)
    with service.client(again) as frozen:
        assert frozen.read_all(0, FILLED) == expected


def test_killed_right_after_a_rollback(new_service):
    """Once ResetDisk is over, the old content is there also after a crash; the newer one never comes back (S54)."""
    service = new_service()
    cloud = Cloud(service)
    instance, disk = cloud.attached_disk(1)
    content = data.random_bytes(48 * MIB, seed=6)
    with service.client(disk) as client:
        client.write_all(0, content)
        snapshot = cloud.take_snapshot(disk)
        client.write_all(16 * MIB, data.random_bytes(48 * MIB, seed=7))
    cloud.stop_instance(instance)
    cloud.call("ResetDisk", DiskId=disk, SnapshotId=snapshot)
    service.kill()
    service.start()
    cloud.wait_disk(disk, "In_use")
    cloud.start_instance(instance)
    with service.client(disk) as client:
        assert client.read_all(0, 64 * MIB) == content + bytes(16 * MIB)


def test_a_clean_restart_keeps_everything(new_service, scratch):
    """Stop, start: disks, snapshots, tags and tokens are what they were (S28), and the base is a raw image."""
    service = new_service()
    cloud = Cloud(service)
    instance, disk = cloud.attached_disk(1)
    content = data.random_bytes(8 * MIB, seed=8)
    with service.client(disk) as client:
        client.write_all(0, content)
    snapshot = cloud.take_snapshot(disk, SnapshotName="kept", ClientToken="token")
    rows = cloud.disk(disk), cloud.snapshot(snapshot), cloud.instance(instance)
    service.stop()
    service.start()
    assert (cloud.disk(disk), cloud.snapshot(snapshot), cloud.instance(instance)) == rows
    again = cloud.call("CreateSnapshot", DiskId=disk, SnapshotName="kept", ClientToken="token")
    assert again["SnapshotId"] == snapshot
    with service.client(disk) as client:
        assert client.read_all(0, 8 * MIB) == content
    run("qemu-img", "compare", "-f", "raw", "-F", "raw", service.uri(disk), service.uri(snapshot))


def test_only_one_owner(new_service, services):
    """A second `up` on the same data directory refuses and harms nothing."""
    service = new_service()
    Cloud(service).attached_disk(1)
    second = type(service)(directory=service.directory)
    second.data, second.log = service.data, service.directory / "second.log"
    with pytest.raises(AssertionError, match="ended at once"):
        second.start()
    assert service.get("/healthz")[0] == 200
