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
from ledger import Ledger, Stamper
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


@pytest.fixture
def mount_memory():
    """Mounts small file systems in memory; they can grow later."""
    assert os.geteuid() == 0, "this test mounts a small file system: run it as root"
    mounted = []

    def mount(directory, mib):
        directory.mkdir(parents=True, exist_ok=True)
        run("mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", directory)
        mounted.append(directory)
        return directory

    yield mount
    for directory in reversed(mounted):
        run("umount", "-l", directory, check=False)


@pytest.fixture
def empty():
    return pathlib.Path(tempfile.mkdtemp(prefix="tm"))


def test_a_file_system_that_fills_up_and_grows(mount_memory, empty, services):
    """A client that stamps its blocks meets ENOSPC, goes on when the file system has grown, and is killed in
    between: whatever was acknowledged is there, whatever was refused is not garbage."""
    service = Service(directory=mount_memory(empty, 1024))
    services.append(service)
    service.start()
    cloud = Cloud(service)
    _, disk = cloud.attached_disk(8)
    fill(empty, leave=160 * MIB)
    ledger = Ledger(0, 128 * 1024)

    client = service.client(disk)
    stamper = Stamper(client, ledger, seed=1, depth=16, tolerated=(errno.ENOSPC,))
    stamper.start()
    wait_until(lambda: stamper.refusals > 0 or not stamper.is_alive(), "the disk refuses a write for want of space")
    stamper.stop()
    with_room = sum(change.acknowledged is not None for change in ledger.changes)
    assert with_room > 100, "it refused from the start: the test tests nothing"
    ledger.check_killed(ledger.read(client.read_all))
    assert service.process.poll() is None
    client.close()

    # A kill while it is full; the log has its space already, so it is recovered without more.
    service.kill()
    service.start()
    with service.client(disk) as client:
        found = ledger.read(client.read_all)
        ledger.check_killed(found)
        client.flush()
        ledger.settle(found)

    run("mount", "-o", "remount,size=2048m", empty)
    with service.client(disk) as client:
        probe = bytes(4096)

        def writes_again():
            try:
                client.write(4 << 30, probe)
                return True
            except nbd.NbdError as error:
                assert error.errno == errno.ENOSPC, error
                return False

        wait_until(writes_again, "the disk takes writes after its file system has grown", 60)
        stamper = Stamper(client, ledger, seed=2, depth=16)
        stamper.start()
        stamper.wait_for(500)
        stamper.stop()
        ledger.check_killed(ledger.read(client.read_all))
    snapshot = cloud.take_snapshot(disk)
    with service.client(snapshot) as frozen:
        ledger.check_killed(ledger.read(frozen.read_all))


def test_a_full_vault_on_its_own_file_system_is_no_trouble_for_the_guest(mount_memory, empty, services):
    """The vault is full, the disk's own file system is not: guests write on, and nothing they wrote is lost."""
    service = Service(directory=empty)
    services.append(service)
    vault = mount_memory(service.vault, 48)
    service.start()
    cloud = Cloud(service)
    _, disk = cloud.attached_disk(2)
    content = data.random_bytes(96 * MIB, seed=3)
    ledger = Ledger(1 << 30, 8192)
    with service.client(disk) as client:
        client.write_all(0, content)
        snapshot = cloud.call("CreateSnapshot", DiskId=disk)["SnapshotId"]
        stamper = Stamper(client, ledger, seed=4)
        stamper.start()
        stamper.wait_for(3000)
        stamper.stop()
        # It waits, or it has failed loudly; it is not there.
        assert cloud.snapshot(snapshot)["Status"] in ("progressing", "failed")
        ledger.check_killed(ledger.read(client.read_all))
    run("mount", "-o", "remount,size=1024m", vault)
    ended = wait_until(
        lambda: (row := cloud.snapshot(snapshot))["Status"] != "progressing" and row, "the snapshot ends", 180
    )
    if ended["Status"] == "failed":
        snapshot = cloud.take_snapshot(disk)
    with service.client(snapshot) as frozen:
        assert frozen.read_all(0, len(content)) == content
    with service.client(disk) as client:
        ledger.check_killed(ledger.read(client.read_all))
