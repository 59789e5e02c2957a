"""A snapshot is the disk at one instant between the call and its answer.

Covers S1, S2, S3, S4, S14, S15, S20, S21, S23, S25, S26.
"""

import threading
import time

import pytest

import data
from cloud import GIB
from oracle import BLOCK, Writer, block_content, check_point_in_time

MIB = data.MIB


def test_every_snapshot_under_load_is_an_instant(v3, service):
    """Several snapshots in a row while three clients write; each is checked against all three (S2, S23, S25)."""
    instance, disk = v3.attached_disk(4)
    connections = [service.client(disk) for _ in range(3)]
    # Far apart and with different depths: partitions of one disk are cut at the same instant.
    writers = [
        Writer(connection, at * GIB, region_blocks=1024, seed=at, depth=depth)
        for connection, at, depth in zip(connections, (0, 1, 3), (1, 8, 32))
    ]
    for writer in writers:
        writer.start()
    taken = []
    for _ in range(4):
        for writer in writers:
            writer.wait_for(len(writer.history) + 300)
        called = time.monotonic()
        snapshot = v3.call("CreateSnapshot", DiskId=disk)["SnapshotId"]
        taken.append((snapshot, called, time.monotonic()))
        v3.wait_snapshot(snapshot)
    for writer in writers:
        writer.stop()
    for snapshot, called, answered in taken:
        with service.client(snapshot) as frozen:
            found = [writer.found_in(frozen.read_all) for writer in writers]
        for writer, state in zip(writers, found):
            check_point_in_time(writer, state, called, answered)
        # Across the writers too: what one of them had acknowledged before another's write in the snapshot began.
        latest = max(
            writer.history[sequence - 1].issued
            for writer, state in zip(writers, found)
            for sequence in state
            if sequence
        )
        for writer, state in zip(writers, found):
            check_point_in_time(writer, state, max(called, latest), answered)
    for connection in connections:
        connection.close()


def test_a_write_after_the_answer_is_not_in_it(v3, service):
    """T is fixed at the call, not at completion (S15), though the data below it is still being read (S23)."""
    instance, disk = v3.attached_disk(4)
    with service.client(disk) as client:
        client.write_all(0, data.random_bytes(128 * MIB, seed=3))
        before = data.digest(client, 0, 128 * MIB)
        snapshot = v3.call("CreateSnapshot", DiskId=disk)["SnapshotId"]
        # Overwrite everything, last byte first, as fast as possible.
        for at in range(127, -1, -1):
            client.write(at * MIB, bytes([at]) * MIB)
        client.trim(0, 16 * MIB)
        client.flush()
    v3.wait_snapshot(snapshot)
    with service.client(snapshot) as frozen:
        assert data.digest(frozen, 0, 128 * MIB) == before


def test_no_agent_and_no_file_system_are_needed(v3, service):
    """Random bytes on a disk that no guest ever mounted; the disk is not even attached any more (S1, S12)."""
    instance, disk = v3.attached_disk(1)
    content = data.random_bytes(4 * MIB, seed=4)
    with service.client(disk) as client:
        client.write_all(300 * MIB, content)
    v3.detach(instance, disk)
    snapshot = v3.take_snapshot(disk)
    with service.client(snapshot) as frozen:
        assert frozen.read_all(300 * MIB, 4 * MIB) == content
        assert frozen.read_all(0, 4 * MIB) == bytes(4 * MIB)


def test_a_system_disk_is_no_different(v3, service):
    """Snapshot, rollback and a data disk made from it, for the disk that an instance was made with (S3)."""
    instance = v3.new_instance()
    disk = v3.system_disk(instance)
    content = data.random_bytes(4 * MIB, seed=12)
    with service.client(disk) as client:
        client.write_all(MIB, content)
        snapshot = v3.take_snapshot(disk)
        client.write_all(0, bytes(8 * MIB))
    assert v3.snapshot(snapshot)["SourceDiskType"] == "system"
    v3.stop_instance(instance)
    v3.call("ResetDisk", DiskId=disk, SnapshotId=snapshot)
    v3.wait_disk(disk, "In_use")
    v3.start_instance(instance)
    for export in (disk, v3.restore(snapshot, instance)):
        with service.client(export) as client:
            assert client.read_all(MIB, 4 * MIB) == content and client.read(0, MIB) == bytes(MIB)


def test_each_snapshot_alone_is_the_whole_disk(v3, service):
    """Any one of a chain is right after all others are deleted, the first included (S16, S20)."""
    instance, disk = v3.attached_disk(1)
    expected = {}
    content = bytearray(8 * MIB)
    with service.client(disk) as client:
        for step in range(5):
            piece = data.random_bytes(MIB, seed=step)
            at = step * MIB + step * BLOCK
            content[at : at + MIB] = piece
            client.write_all(at, piece)
            expected[v3.take_snapshot(disk)] = bytes(content)
    survivor = list(expected)[2]
    for snapshot in expected:
        if snapshot != survivor:
            v3.call("DeleteSnapshot", SnapshotId=snapshot)
    copy = v3.restore(survivor, instance)
    with service.client(copy) as client:
        assert client.read_all(0, 8 * MIB) == expected[survivor]


def test_stopping_the_instance_midway_does_no_harm(v3, service):
    """The snapshot ends accomplished and right although its instance was stopped meanwhile (S21)."""
    instance, disk = v3.attached_disk(4)
    with service.client(disk) as client:
        client.write_all(0, data.random_bytes(96 * MIB, seed=5))
        before = data.digest(client, 0, 96 * MIB)
    snapshot = v3.call("CreateSnapshot", DiskId=disk)["SnapshotId"]
    v3.stop_instance(instance)
    v3.start_instance(instance)
    with service.client(disk) as client:
        client.write_all(0, bytes(96 * MIB))
    v3.wait_snapshot(snapshot)
    with service.client(snapshot) as frozen:
        assert data.digest(frozen, 0, 96 * MIB) == before


def test_quiesced_disks_form_a_set(v3, service):
    """With writes stopped, single snapshots of several disks belong together (S26)."""
    instance = v3.new_instance()
    disks = [v3.attached_disk(1, instance)[1] for _ in range(3)]
    clients = [service.client(disk) for disk in disks]
    for stripe in range(300):
        clients[stripe % 3].write(stripe // 3 * BLOCK, block_content(stripe + 1, stripe // 3))
    for client in clients:
        client.flush()
    snapshots = [v3.call("CreateSnapshot", DiskId=disk)["SnapshotId"] for disk in disks]
    for client in clients:
        client.write(0, bytes(100 * BLOCK))
        client.close()
    for snapshot in snapshots:
        v3.wait_snapshot(snapshot)
    for place, snapshot in enumerate(snapshots):
        with service.client(snapshot) as frozen:
            for stripe in range(place, 300, 3):
                index = stripe // 3
                assert frozen.read(index * BLOCK, BLOCK) == block_content(stripe + 1, index)


@pytest.mark.parametrize("operation", ["trim", "write_zeroes"])
def test_freed_ranges_are_part_of_the_instant(v3, service, operation):
    """Trimmed and zeroed ranges read as zeros in later snapshots and keep their bytes in earlier ones (S2, S4)."""
    instance, disk = v3.attached_disk(1)
    content = data.random_bytes(2 * MIB, seed=6)
    with service.client(disk) as client:
        client.write_all(0, content)
        earlier = v3.take_snapshot(disk)
        # Not aligned to chunks: the ends of the range share chunks with data that stays.
        getattr(client, operation)(20 * BLOCK, 100 * BLOCK)
        client.flush()
        later = v3.take_snapshot(disk)
        assert client.read(0, 20 * BLOCK) == content[: 20 * BLOCK]
    with service.client(earlier) as frozen:
        assert frozen.read_all(0, 2 * MIB) == content
    with service.client(later) as frozen:
        assert frozen.read_all(0, 2 * MIB) == (
            content[: 20 * BLOCK] + bytes(100 * BLOCK) + content[120 * BLOCK :]
        )


def test_reads_of_a_snapshot_and_writes_of_its_source_do_not_meet(v3, service):
    """Reading a snapshot's export while the source is overwritten always shows the old bytes (S4)."""
    instance, disk = v3.attached_disk(1)
    content = data.random_bytes(8 * MIB, seed=8)
    with service.client(disk) as client:
        client.write_all(0, content)
        snapshot = v3.take_snapshot(disk)
        stop = threading.Event()

        def overwrite():
            turn = 0
            while not stop.is_set():
                client.write((turn % 8) * MIB, bytes([turn % 251]) * MIB)
                turn += 1

        thread = threading.Thread(target=overwrite)
        thread.start()
        try:
            with service.client(snapshot) as frozen:
                for _ in range(8):
                    assert frozen.read_all(0, 8 * MIB) == content
        finally:
            stop.set()
            thread.join()
