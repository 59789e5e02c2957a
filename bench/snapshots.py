"""Snapshots of a real ext4 image of 6 GiB against restic, borg and `qemu-img convert -c`, and what increments store.

All read the same image, warm in the page cache, and write to the same file system, in interleaved rounds. Time is from
the command (or the call) until the copy is complete; processor time is of all processes that work for it; bytes are
what the repository grew by. An increment's bytes are compared with those of the changed chunks, each
compressed alone by `zstd -1`, counted here from the image and not by us.
"""

import os
import resource

import data
import images
import machine
from cloud import Cloud
from images import GIB, MIB
from report import bar, median, progress, table, timed
from service import Service, run as tool, wait_until

NEEDS = {
    "restic": "restic",
    "borg": "borgbackup",
    "qemu-img": "qemu-utils",
    "nbdcopy": "libnbd-bin",
    "zstd": "zstd",
    "mke2fs": "e2fsprogs",
    "debugfs": "e2fsprogs",
}
OURS = "tidemark"
QEMU_IMG = "qemu-img convert -c"


def run(options, directory):
    size = 128 * MIB if options.quick else 6 * GIB
    database = images.Database(size // 8, size // 48)
    image = images.build(directory, size, database)
    # Found out before anything writes: the scattered writes hit what the file system knows of its files, too.
    places = images.Places(image)
    loads = {
        "64 MiB of scattered 4 KiB writes": lambda work, seed: images.scattered(work, size // (384 * 1024), seed),
        "a database's transactions": lambda work, seed: images.transactions(work, database, places, size // (256 * 1024), seed),
    }
    found = {}
    for turn in range(min(options.rounds, 3)):
        for kind, name, figures in one_round(directory / str(turn), image, turn, loads):
            found.setdefault((kind, name), []).append(figures)
            progress(f"round {turn + 1}: {kind}: {name}: {figures['seconds']:.2f} s, {figures['bytes'] / MIB:,.1f} MiB")
    full_table(found, os.stat(image).st_blocks * 512)
    increments_table(found)


def middle(found, kind, name, figure):
    return median([figures[figure] for figures in found[kind, name]])


def full_table(found, used):
    names = [name for kind, name in found if kind == "full"]
    seconds = {name: middle(found, "full", name, "seconds") for name in names}
    stored = {name: middle(found, "full", name, "bytes") for name in names}
    rows = [
        [
            name,
            f"{seconds[name]:.2f} s",
            f"{middle(found, 'full', name, 'cpu'):.2f} s",
            f"{stored[name] / MIB:,.0f} MiB",
            f"{seconds[name] / seconds[OURS]:.2f}",
            f"{stored[OURS] / stored[name]:.2f}",
        ]
        for name in names
    ]
    header = ["tool", "time", "processor time", "stored", "its time / ours", "our bytes / its"]
    fastest = min(value for name, value in seconds.items() if name != OURS)
    smallest = min(value for name, value in stored.items() if name != OURS)
    table("Full snapshot of an ext4 image", header, rows, f"{used / MIB:,.0f} MiB in use.")
    faster, larger = fastest / seconds[OURS], stored[OURS] / smallest
    bar("a full snapshot: speed", "2 of the fastest other", f"{faster:.2f}", faster >= 2)
    bar("a full snapshot: bytes stored", "at most 1.10 of the smallest other", f"{larger:.2f}", larger <= 1.1)


def increments_table(found):
    rows = []
    for kind, name in found:
        if kind == "full":
            continue
        row = [kind, name, f"{middle(found, kind, name, 'seconds'):.2f} s", f"{middle(found, kind, name, 'bytes') / MIB:,.1f} MiB"]
        if name == OURS:
            changed = middle(found, kind, name, "compressed")
            row.append(f"{middle(found, kind, name, 'chunks'):,.0f} chunks, {changed / MIB:,.1f} MiB")
            share = middle(found, kind, name, "bytes") / changed
            row.append(f"{share:.3f}")
            bar(f"an increment's bytes: {kind}", "at most 1.10 of the changed chunks, compressed", f"{share:.3f}", share <= 1.1)
        rows.append(row + [""] * (6 - len(row)))
    header = ["load", "tool", "time", "stored", "changed, compressed", "stored / changed"]
    table("Increments", header, rows, "qemu-img has no increments: it would copy all again.")


def one_round(directory, image, turn, loads):
    """Yields (kind, tool, figures)."""
    directory.mkdir()
    work = directory / "work.raw"
    tool("cp", "--sparse=always", image, work)
    service = Service(directory=directory / "service")
    service.directory.mkdir()
    try:
        service.start()
        cloud = Cloud(service)
        _, disk = cloud.attached_disk(-(-os.path.getsize(image) // GIB))
        tool("nbdcopy", "--flush", work, service.uri(disk), timeout=900)
        os.environ.update(RESTIC_REPOSITORY=str(directory / "restic"), RESTIC_PASSWORD="bench")
        os.environ.update(BORG_REPO=str(directory / "borg"), BORG_BASE_DIR=str(directory / "borg-base"))
        tool("restic", "init", "--repository-version", "2")
        tool("borg", "init", "--encryption=none")
        (directory / "out").mkdir()
        ways = {
            OURS: (lambda _: take(cloud, disk), service.vault),
            "restic": (lambda _: tool("restic", "backup", "--no-cache", "--quiet", work, timeout=1800), directory / "restic"),
            "borg": (lambda kind: borg(work, kind), directory / "borg"),
            QEMU_IMG: (lambda _: convert(work, directory), directory / "out"),
        }
        yield from measure("full", ways, service, turn, {})
        # It has no increments: the same minutes again would tell nothing.
        del ways[QEMU_IMG]
        for kind, load in loads.items():
            with service.client(disk) as client:
                changed = images.apply(load(work, turn), work, client)
            compressed = images.compressed_bytes(work, changed, directory / "chunks")
            yield from measure(kind, ways, service, turn, {"chunks": len(changed), "compressed": compressed})
    finally:
        service.destroy()
        tool("rm", "-rf", directory)


def measure(kind, ways, service, turn, more):
    os.sync()
    items = list(ways.items())
    for name, (action, grows) in items[turn % len(items) :] + items[: turn % len(items)]:
        for path in service.directory.parent.glob("work.raw"):
            warm(path)
        before = 0 if name.startswith("qemu") else data.directory_bytes(grows)
        used = processor_seconds(service)
        seconds, _ = timed(lambda: action(kind))
        yield kind, name, {
            "seconds": seconds,
            "cpu": processor_seconds(service) - used,
            "bytes": data.directory_bytes(grows) - before,
            **more,
        }


def warm(path):
    with open(path, "rb") as file:
        while file.read(8 * MIB):
            pass


def processor_seconds(service):
    """Of everything that was started here and has ended, and of the service."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime + machine.processor_seconds(service.process.pid)


def take(cloud, disk):
    snapshot = cloud.call("CreateSnapshot", DiskId=disk)["SnapshotId"]
    wait_until(lambda: cloud.snapshot(snapshot)["Status"] == "accomplished", "the snapshot", 1800, step=0.01)


def borg(work, kind):
    archive = kind.split()[0] + str(os.getpid())
    tool("borg", "create", "--files-cache", "disabled", f"::{archive}-{len(kind)}", work, timeout=1800)


def convert(work, directory):
    out = directory / "out" / "copy.qcow2"
    tool("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", work, out, timeout=1800)
