"""The whole walk, by each vendor SDK: a disk in use, a snapshot of it, and everything that follows.

Covers S1, S4, S5, S7 to S9, S14 to S20, S46, S47, S49 to S51, S53 to S57.
"""

import re
import subprocess
import time

import pytest

import data
from cloud import GIB
from clients import EcsError
from oracle import Writer, check_point_in_time
from service import run, wait_until

MIB = data.MIB
DISK_GIB, IMAGE_BYTES = 8, 1 * GIB
FIO_OFFSET, ORACLE_OFFSET = 4 * GIB, 6 * GIB


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """An ext4 file system built from a directory tree, and the directory it lives in."""
    directory = tmp_path_factory.mktemp("image")
    tree = data.directory_tree(directory / "tree")
    return data.ext4_image(directory / "ext4.raw", tree, IMAGE_BYTES)


@pytest.fixture
def fio(service, scratch):
    """Starts fio writing to a part of an export until the test ends or stops it."""
    running = []

    def start(disk):
        process = subprocess.Popen(
            ["fio", "--name=load", "--ioengine=nbd", f"--uri={service.uri(disk)}", "--rw=randwrite", "--bs=16k"]
            + [f"--offset={FIO_OFFSET}", "--size=256m", "--iodepth=8", "--time_based", "--runtime=300"]
            + ["--rate_iops=2000", "--thread"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=scratch,
        )
        running.append(process)
        return process

    yield start
    for process in running:
        if process.poll() is None:
            process.kill()
        process.wait(30)


def test_the_walk(cloud, service, image, fio, scratch):
    # An instance, a disk on it, and a real file system copied in from outside.
    instance, disk = cloud.attached_disk(DISK_GIB)
    run("nbdcopy", "--flush", image, service.uri(disk))

    # CreateSnapshot while others keep writing to the rest of the disk.
    load = fio(disk)
    connection = service.client(disk)
    writer = Writer(connection, ORACLE_OFFSET, region_blocks=2048, seed=1)
    writer.start()
    writer.wait_for(2000)
    called = time.monotonic()
    answer = cloud.call("CreateSnapshot", DiskId=disk, SnapshotName="first", Description="before the change")
    answered = time.monotonic()
    assert set(answer) == {"RequestId", "SnapshotId"}
    assert re.fullmatch(r"[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}", answer["RequestId"])
    first = answer["SnapshotId"]

    # It is listed at once, and it is a normal one by default.
    row = cloud.snapshot(first)
    assert row["Status"] in ("progressing", "accomplished")
    assert (row["SnapshotType"], row["Category"], row["Usage"]) == ("user", "standard", "none")
    assert (row["SourceDiskId"], row["SourceDiskSize"], row["SourceDiskType"]) == (disk, str(DISK_GIB), "data")
    cloud.wait_snapshot(first)
    writer.wait_for(len(writer.history) + 500)
    writer.stop()
    assert load.poll() is None, f"fio ended during the snapshot:\n{load.stdout.read().decode()}"
    load.kill()

    # A disk made from it holds the file system byte for byte, and the writer's blocks as of one instant.
    copy = cloud.restore(first, instance)
    run("nbdcopy", service.uri(copy), scratch / "copy.raw")
    data.same_bytes(image, scratch / "copy.raw", IMAGE_BYTES)
    data.file_system_is_clean(scratch / "copy.raw")
    with service.client(copy) as restored:
        found = writer.found_in(restored.read_all)
    check_point_in_time(writer, found, called, answered)
    assert any(found), "the snapshot holds none of the writes that came before it"
    data.compare(service.uri(first), service.uri(copy))

    # A second snapshot stores only what changed.
    assert wait_until(lambda: not cloud.snapshot(first)["Status"] == "progressing", "the first is done")
    settle = cloud.take_snapshot(disk, SnapshotName="settled")
    before = data.directory_bytes(service.vault)
    connection.write_all(64 * MIB, data.random_bytes(4 * MIB, seed=7))
    second = cloud.take_snapshot(disk, SnapshotName="second")
    grown = data.directory_bytes(service.vault) - before
    assert 4 * MIB <= grown <= 5 * MIB, f"4 MiB changed, {grown} bytes were stored"
    connection.close()

    # Roll back: only with the instance stopped, and then every byte is back.
    with pytest.raises(EcsError) as refused:
        cloud.call("ResetDisk", DiskId=disk, SnapshotId=first)
    assert (refused.value.code, refused.value.status) == ("IncorrectInstanceStatus", 403)
    cloud.stop_instance(instance)
    cloud.call("ResetDisk", DiskId=disk, SnapshotId=first)
    cloud.wait_disk(disk, "In_use")
    cloud.start_instance(instance)
    data.compare(service.uri(first), service.uri(disk))
    run("nbdcopy", service.uri(disk), scratch / "back.raw")
    data.same_bytes(image, scratch / "back.raw", IMAGE_BYTES)
    assert {row["SnapshotId"] for row in cloud.snapshots(disk)} >= {first, settle, second}

    # Snapshots outlive what they came from.
    cloud.stop_instance(instance)
    for gone in (disk, copy):
        cloud.release(gone)
    cloud.call("DeleteInstance", InstanceId=instance)
    assert cloud.instance(instance) is None and cloud.disk(disk) is None
    survivor = cloud.snapshot(first)
    assert (survivor["Status"], survivor["SourceDiskId"]) == ("accomplished", disk)
    instance = cloud.new_instance()
    again = cloud.restore(first, instance)
    run("nbdcopy", service.uri(again), scratch / "again.raw")
    data.same_bytes(image, scratch / "again.raw", IMAGE_BYTES)
    data.file_system_is_clean(scratch / "again.raw")

    # And end when they are deleted; the one that a disk came from only by force.
    for snapshot in (settle, second):
        cloud.call("DeleteSnapshot", SnapshotId=snapshot)
        assert cloud.snapshot(snapshot) is None
    with pytest.raises(EcsError) as refused:
        cloud.call("DeleteSnapshot", SnapshotId=first)
    assert (refused.value.code, refused.value.status) == ("SnapshotCreatedDisk", 403)
    cloud.call("DeleteSnapshot", SnapshotId=first, Force=True)
    assert cloud.snapshots(disk) == []
    with service.client(again) as client:
        assert client.read(IMAGE_BYTES - 4096, 4096) == open(image, "rb").read()[-4096:]
