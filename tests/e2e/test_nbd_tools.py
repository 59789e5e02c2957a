"""Everyday NBD tools work on exports of disks and of snapshots.

qemu-img info, convert and compare; nbdinfo; nbdcopy; fio with verification. Covers S4, S55 and the
front end's promises: names, sizes, read-only snapshots, holes.
"""

import json
import random

import pytest

import data
import nbd
from cloud import GIB, Cloud
from service import run

MIB = data.MIB


@pytest.fixture(scope="module")
def exports(service):
    """A disk with known content and its snapshot: (disk, snapshot, first 16 MiB)."""
    cloud = Cloud(service)
    _, disk = cloud.attached_disk(2)
    content = data.random_bytes(16 * MIB, seed=1)
    with service.client(disk) as client:
        client.write_all(0, content)
        client.write_all(GIB, content[:MIB])
    return disk, cloud.take_snapshot(disk), content


def test_list_names_disks_and_snapshots(service, exports):
    disk, snapshot, _ = exports
    listed = json.loads(run("nbdinfo", "--list", "--json", f"nbd+unix:///?socket={service.socket}").stdout)
    names = {export["export-name"]: export for export in listed["exports"]}
    assert {disk, snapshot} <= set(names)
    assert names[disk]["export-size"] == names[snapshot]["export-size"] == 2 * GIB
    assert not names[disk]["is_read_only"] and names[snapshot]["is_read_only"]
    assert all(names[disk][ability] for ability in ("can_flush", "can_fua", "can_trim", "can_zero"))


@pytest.mark.parametrize("which", [0, 1], ids=["disk", "snapshot"])
def test_qemu_img(service, exports, scratch, which):
    export, content = exports[which], exports[2]
    info = json.loads(run("qemu-img", "info", "--output=json", "-f", "raw", service.uri(export)).stdout)
    assert info["virtual-size"] == 2 * GIB
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", service.uri(export), scratch / "copy.qcow2")
    data.compare(scratch / "copy.qcow2", service.uri(export), format="qcow2")
    # Holes are seen as holes: the copy is about as large as what was written.
    assert (scratch / "copy.qcow2").stat().st_size < 24 * MIB
    run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", scratch / "copy.qcow2", scratch / "copy.raw")
    with open(scratch / "copy.raw", "rb") as raw:
        assert raw.read(16 * MIB) == content


@pytest.mark.parametrize("which", [0, 1], ids=["disk", "snapshot"])
def test_nbdcopy_out(service, exports, scratch, which):
    run("nbdcopy", service.uri(exports[which]), scratch / "out.raw")
    with open(scratch / "out.raw", "rb") as raw:
        assert raw.read(16 * MIB) == exports[2]
        raw.seek(GIB)
        assert raw.read(MIB) == exports[2][:MIB] and raw.read(MIB) == bytes(MIB)


def test_nbdcopy_in_and_qemu_convert_in(v3, service, scratch):
    """An image copied in by each tool reads back the same, holes included."""
    image = scratch / "in.raw"
    with open(image, "wb") as file:
        file.truncate(GIB)
        for piece in range(8):
            file.seek(piece * 100 * MIB + piece * 4096)
            file.write(data.random_bytes(MIB + piece * 512, seed=piece))
    for command in (
        lambda uri: ["nbdcopy", "--flush", image, uri],
        lambda uri: ["qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", image, uri],
    ):
        _, disk = v3.attached_disk(1)
        run(*command(service.uri(disk)))
        data.compare(image, service.uri(disk))


def test_fio_verifies_a_disk(v3, service, scratch):
    """Random writes of mixed sizes with checksums in them, read back and verified, over several connections."""
    _, disk = v3.attached_disk(4)
    run(
        "fio", "--name=verify", "--ioengine=nbd", f"--uri={service.uri(disk)}", "--rw=randwrite",
        "--bsrange=4k-64k", "--size=128m", "--iodepth=16", "--verify=crc32c",
        "--verify_fatal=1", "--do_verify=1", "--fsync=64", "--randseed=7",
        cwd=scratch,
    )  # fmt: skip


def test_fio_verifies_a_snapshot(v3, service, scratch):
    """What fio wrote before a snapshot verifies on the snapshot's export after the disk was overwritten."""
    _, disk = v3.attached_disk(1)
    job = [
        "fio", "--name=verify", "--ioengine=nbd", "--bs=8k", "--size=64m", "--iodepth=16",
        "--verify=crc32c", "--verify_fatal=1", "--randseed=9",
    ]  # fmt: skip
    run(*job, f"--uri={service.uri(disk)}", "--rw=randwrite", "--do_verify=0", "--end_fsync=1", cwd=scratch)
    snapshot = v3.take_snapshot(disk)
    with service.client(disk) as client:
        client.write_all(0, bytes(64 * MIB))
    # The same seed reads the blocks in the order in which they were written, as fio's headers demand.
    run(*job, f"--uri={service.uri(snapshot)}", "--rw=randread", cwd=scratch)
    with pytest.raises(AssertionError, match="verify"):
        run(*job, f"--uri={service.uri(disk)}", "--rw=randread", cwd=scratch)


def test_a_snapshot_cannot_be_written(service, exports):
    """A snapshot's export refuses every change and stays what it was."""
    _, snapshot, content = exports
    with service.client(snapshot) as frozen:
        assert frozen.flags & nbd.CAN_READ_ONLY
        for change in (
            lambda: frozen.write(0, bytes(4096)),
            lambda: frozen.trim(0, 4096),
            lambda: frozen.write_zeroes(0, 4096),
        ):
            with pytest.raises(nbd.NbdError):
                change()
        assert frozen.read(0, MIB) == content[:MIB]


@pytest.mark.parametrize("structured", [True, False], ids=["structured", "simple"])
def test_small_and_odd_requests(v3, service, structured):
    """Requests of any alignment down to one sector behave as one array of bytes."""
    choose = random.Random(11)
    _, disk = v3.attached_disk(1)
    model = bytearray(256 * 1024)
    with service.client(disk, structured) as client:
        for step in range(400):
            start = choose.randrange(len(model) // 512) * 512
            length = min(choose.choice([512, 1024, 4096, 4608, 65536, 70144]), len(model) - start)
            kind = choose.choice(["write", "write", "read", "zero", "trim"])
            if kind == "write":
                piece = choose.randbytes(length)
                client.write(start, piece, fua=step % 10 == 0)
                model[start : start + length] = piece
            elif kind == "zero":
                client.write_zeroes(start, length)
                model[start : start + length] = bytes(length)
            elif kind == "trim":
                client.trim(start, length)
                # What a trim leaves is for the server to choose, block by block; learn it.
                now = client.read(start, length)
                assert all(a in (0, b) for a, b in zip(now, model[start : start + length]))
                model[start : start + length] = now
            assert client.read(start, length) == model[start : start + length], f"step {step}: {kind}"
        assert client.read(0, len(model)) == model


def test_block_status_tells_holes_from_data(v3, service):
    _, disk = v3.attached_disk(1)
    with service.client(disk) as client:
        client.write_all(64 * MIB, data.random_bytes(MIB, seed=1))
        covered, zero_bytes = 0, 0
        while covered < 128 * MIB:
            for length, flags in client.block_status(covered, 128 * MIB - covered):
                if covered < 65 * MIB and covered + length > 64 * MIB:
                    assert not flags & nbd.STATUS_ZERO, "written data is called zeros"
                zero_bytes += length if flags & nbd.STATUS_ZERO else 0
                covered += length
        assert zero_bytes >= 126 * MIB, f"of 127 MiB never written only {zero_bytes} bytes are known to be zeros"
