"""A full file system under the data directory: the guest sees ENOSPC before any acknowledgement, nothing that
was acknowledged is lost, the service stays up, and all goes on when space returns.

Needs root, for a small file system of its own; that is how CI runs.
"""

import errno
import os
import pathlib
import tempfile

import pytest

import data
import nbd
from cloud import Cloud
from service import Service, run, wait_until

MIB = data.MIB


@pytest.fixture
def small_file_system():
    if os.geteuid() != 0:
        pytest.fail("this test mounts a small file system: run it as root")
    directory = pathlib.Path(tempfile.mkdtemp(prefix="tm"))
    # ext4 on a loop device, as a server would have it: tmpfs can neither punch holes nor reserve the same way.
    image = pathlib.Path(tempfile.mkdtemp(prefix="tm")) / "small.img"
    with open(image, "wb") as file:
        file.truncate(1536 * MIB)
    run("mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", image)
    mounted = run("mount", "-o", "loop", image, directory, check=False)
    if mounted.returncode != 0:
        # A container without loop devices: a file system in memory then.
        run("mount", "-t", "tmpfs", "-o", "size=1536m", "tmpfs", directory)
    yield directory
    run("umount", "-l", directory, check=False)
    image.unlink()


def fill(directory, leave):
    """Takes the free space of a file system but for `leave` bytes."""
    free = os.statvfs(directory)
    count = free.f_bavail * free.f_frsize - leave
    ballast = directory / "ballast"
    with open(ballast, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(count, 4096))
    return ballast


def test_a_full_disk_and_back(small_file_system, services):
    service = Service(directory=small_file_system)
    services.append(service)
    service.start()
    cloud = Cloud(service)
    instance, disk = cloud.attached_disk(8)
    _, bystander = cloud.attached_disk(1, instance)
    with service.client(bystander) as client:
        client.write_all(0, b"b" * MIB)
    ballast = fill(small_file_system, leave=96 * MIB)

    # Write until it refuses. What was acknowledged must stay.
    piece = data.random_bytes(MIB, seed=1)
    written, refusal = [], None
    client = service.client(disk)
    for number in range(2000):
        try:
            client.write(number * MIB, number.to_bytes(8, "big") + piece[8:])
            written.append(number)
        except nbd.NbdError as error:
            refusal = error
            break
    assert refusal is not None, "2 GB went into a file system that has no room for them"
    assert refusal.errno == errno.ENOSPC, refusal
    client.flush()
    for number in written:
        assert client.read(number * MIB, MIB) == number.to_bytes(8, "big") + piece[8:]
    # Overwriting what has its space already goes on, the other disk too, and so do questions.
    assert service.process.poll() is None
    assert cloud.disk(disk)["Status"] == "In_use"
    with service.client(bystander) as other:
        assert other.read(0, MIB) == b"b" * MIB

    # Space returns: the same connection writes on, and a snapshot works.
    ballast.unlink()

    def writes_again():
        try:
            client.write(len(written) * MIB, piece)
            return True
        except nbd.NbdError as error:
            assert error.errno == errno.ENOSPC, error
            return False

    wait_until(writes_again, "the disk takes writes after space has returned", 60)
    client.flush()
    client.close()
    snapshot = cloud.take_snapshot(disk)
    with service.client(snapshot) as frozen:
        for number in written[:: max(1, len(written) // 20)]:
            assert frozen.read(number * MIB, MIB) == number.to_bytes(8, "big") + piece[8:]

    # And nothing was lost over a crash.
    service.kill()
    service.start()
    with service.client(disk) as client:
        for number in written:
            assert client.read(number * MIB, 8) == number.to_bytes(8, "big")


def test_a_vault_without_room_delays_the_snapshot(small_file_system, services):
    """No room for packs: the guest is served, the snapshot waits or fails loudly, and a later one is right."""
    service = Service(directory=small_file_system)
    services.append(service)
    service.start()
    cloud = Cloud(service)
    _, disk = cloud.attached_disk(4)
    content = data.random_bytes(256 * MIB, seed=2)
    with service.client(disk) as client:
        client.write_all(0, content)
        ballast = fill(small_file_system, leave=48 * MIB)
        snapshot = cloud.call("CreateSnapshot", DiskId=disk)["SnapshotId"]
        # The guest goes on: reads, and overwrites of what has its space already.
        for at in range(0, 256, 16):
            assert client.read(at * MIB, 65536) == content[at * MIB : at * MIB + 65536]
        assert cloud.snapshot(snapshot)["Status"] in ("progressing", "failed")
        ballast.unlink()
    ended = wait_until(
        lambda: (row := cloud.snapshot(snapshot))["Status"] != "progressing" and row, "the snapshot ends", 120
    )
    if ended["Status"] == "failed":
        snapshot = cloud.take_snapshot(disk)
    with service.client(snapshot) as frozen:
        assert frozen.read_all(0, 256 * MIB) == content
