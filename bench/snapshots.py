"""A full and an incremental snapshot of a real ext4 image, against restic and `qemu-img convert -c`.

All read the same image, warm in the page cache, and write to the same file system. Time is from the
command (or the call) until the copy is complete; bytes are what the repository grew by.
"""

import os
import random
import shutil

import data
from cloud import Cloud
from report import median, progress, table, timed
from service import Service, run as tool, wait_until

SOURCES = ["/usr/lib", "/usr/share", "/usr/bin"]  # real files of this machine
CHANGES, CHANGE_BYTES = 1024, 64 << 10


def run(options, directory):
    image = build_image(options, directory)
    disk_gib = -(-os.path.getsize(image) // (1 << 30))
    used = os.stat(image).st_blocks * 512
    names = ["tidemark", "restic", "qemu-img convert -c"]
    times = {(name, kind): [] for name in names for kind in ("full", "incremental")}
    sizes = dict(times.fromkeys(times, 0))
    for turn in range(min(options.rounds, 3)):
        for kind, name, seconds, grown in one_round(directory / str(turn), image, disk_gib, turn):
            times[name, kind].append(seconds)
            sizes[name, kind] = grown
            progress(f"round {turn + 1}: {kind} {name} {seconds:.2f} s")
    rows = []
    for kind in ("full", "incremental"):
        ours = median(times["tidemark", kind])
        for name in names:
            took = median(times[name, kind])
            mib = f"{sizes[name, kind] / (1 << 20):,.0f} MiB"
            rows.append([kind, name, f"{took:.2f} s", mib, f"{took / ours:.2f}"])
    note = f"{used / (1 << 20):,.0f} MiB in the image; {CHANGES * CHANGE_BYTES >> 20} MiB changed in {CHANGES} places."
    table("Snapshot of an ext4 image", ["kind", "tool", "time", "stored", "time / ours"], rows, note)


def build_image(options, directory):
    """As many of the machine's own directories as make about 2 GiB (300 MiB when quick)."""
    image, wanted = directory / "image.raw", (300 << 20) if options.quick else (2 << 30)
    tree = directory / "tree"
    tree.mkdir()
    total = 0
    for source in SOURCES:
        for folder, folders, files in os.walk(source):
            if total >= wanted:
                break
            for name in sorted(files):
                path = os.path.join(folder, name)
                if os.path.islink(path) or not os.access(path, os.R_OK) or total >= wanted:
                    continue
                total += os.path.getsize(path)
                target = tree / path.lstrip("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
    return data.ext4_image(image, tree, (total * 5 // 4 + (256 << 20)) >> 20 << 20)


def one_round(directory, image, disk_gib, turn):
    """Yields (kind, name, seconds, bytes stored)."""
    directory.mkdir()
    work = directory / "work.raw"
    tool("cp", "--sparse=always", image, work)
    service = Service(directory=directory / "service")
    service.directory.mkdir()
    try:
        service.start()
        cloud = Cloud(service)
        _, disk = cloud.attached_disk(disk_gib)
        tool("nbdcopy", "--flush", work, service.uri(disk))
        os.environ.update(RESTIC_REPOSITORY=str(directory / "restic"), RESTIC_PASSWORD="bench")
        tool("restic", "init", "--repository-version", "2")
        ways = {
            "tidemark": (lambda: take(cloud, disk), service.vault),
            "restic": (lambda: tool("restic", "backup", "--no-cache", "--quiet", work), directory / "restic"),
            "qemu-img convert -c": (lambda: convert(work, directory), directory / "out"),
        }
        (directory / "out").mkdir()
        for kind in ("full", "incremental"):
            if kind == "incremental":
                change(work, service.client(disk), seed=turn)
            for name, (action, grows) in rotated(ways, turn):
                before = 0 if name.startswith("qemu") else data.directory_bytes(grows)
                seconds, _ = timed(action)
                yield kind, name, seconds, data.directory_bytes(grows) - before
    finally:
        service.destroy()
        tool("rm", "-rf", directory)


def rotated(ways, turn):
    items = list(ways.items())
    return items[turn % 3 :] + items[: turn % 3]


def take(cloud, disk):
    snapshot = cloud.call("CreateSnapshot", DiskId=disk)["SnapshotId"]
    wait_until(lambda: cloud.snapshot(snapshot)["Status"] == "accomplished", "the snapshot", 900, step=0.01)


def convert(work, directory):
    tool("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", work, directory / "out" / "copy.qcow2")


def change(work, client, seed):
    """The same scattered changes to the file and to the disk."""
    choose = random.Random(seed)
    with client, open(work, "r+b") as file:
        chunks = os.path.getsize(work) // CHANGE_BYTES
        for place in choose.sample(range(chunks), CHANGES):
            piece = choose.randbytes(CHANGE_BYTES)
            file.seek(place * CHANGE_BYTES)
            file.write(piece)
            client.write(place * CHANGE_BYTES, piece)
        client.flush()
