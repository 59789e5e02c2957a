"""What one core allows of the work on each chunk, and what a full snapshot makes of it.

The harness `crates/vault/benches/limits` hashes, compresses and encrypts the chunks of an image of real files in memory, on
one thread, with the crates and settings that the vault has. Then the service takes full snapshots of a disk with the same image, each in an
empty vault. A snapshot must at least hash and compress every chunk that is not zero: the cores' rate of these two together is
what it is compared with. It also reads the disk, writes and syncs the packs, and answers a client that asks how far it is.
Encryption is for comparison: the vault here has none. lz4 is not there: the vault does not know it.
"""

import os

import footprint
import harness
import images
from calls import Caller
from cloud import Cloud
from images import CHUNK, GIB, MIB
from report import bar, figure, median, progress, spread, table
from service import Service, run as tool

NEEDS = {"nbdcopy": "libnbd-bin", "mke2fs": "e2fsprogs"}
LEAST = "BLAKE3, then zstd -1"  # the harness calls it so
BAR = 0.8


def run(options, directory):
    size = 256 * MIB if options.quick else 2 * GIB
    rounds = min(options.rounds, 3)
    executable = harness.build("limits")
    image = images.build(directory, size, images.Database(size // 8, size // 48))
    used = used_bytes(image)
    progress("limits: the harness")
    kinds = harness.run(executable, image, min(size, GIB) // MIB, max(rounds, 2), cwd=directory)
    snapshots = []
    for turn in range(rounds):
        snapshots.append(full(directory / str(turn), image, size))
        progress(f"limits: a full snapshot: {used / MIB / snapshots[-1][0]:,.0f} MiB/s")
    rates = {kind["what"]: [kind["bytes"] / MIB / seconds for seconds in kind["seconds"]] for kind in kinds}
    ours = [used / MIB / seconds for seconds, _ in snapshots]
    allowed = median(rates[LEAST]) * os.cpu_count()
    rows = [[kind["what"], f"{spread(rates[kind['what']])} MiB/s"] for kind in kinds]
    (least,) = [kind for kind in kinds if kind["what"] == LEAST]
    table(
        "One core, 64 KiB chunks",
        ["work", "rate"],
        rows,
        f"zstd -1 leaves {least['out'] / least['bytes']:.2f} of these chunks' bytes.",
    )
    rows = [
        [f"{LEAST}, on all {os.cpu_count()} cores", f"{allowed:,.0f} MiB/s", ""],
        ["a full snapshot", f"{spread(ours)} MiB/s", spread([rate / allowed for rate in ours], ".2f")],
        ["the same, by processor time", f"{spread([used / MIB / cpu * os.cpu_count() for _, cpu in snapshots])} MiB/s", ""],
    ]
    note = (
        f"{used / MIB:,.0f} MiB that are not zero. By processor time: if the cores did nothing but what the service used of them, "
        f"{spread([cpu for _, cpu in snapshots], '.2f')} s."
    )
    table("A full snapshot of the same data", ["what", "rate", "of what the cores allow"], rows, note)
    reached = median(ours) / allowed
    bar(
        "a full snapshot's rate beside BLAKE3 and zstd -1 on all cores",
        f"at least {BAR}",
        f"{spread([rate / allowed for rate in ours], '.2f')}",
        reached >= BAR,
    )
    draw(rates, ours)


def used_bytes(image):
    zeros, used = bytes(CHUNK), 0
    with open(image, "rb") as file:
        while chunk := file.read(CHUNK):
            used += len(chunk) if chunk != zeros[: len(chunk)] else 0
    return used


def full(directory, image, size):
    """(seconds, the service's processor seconds)"""
    service = Service(directory=directory)
    directory.mkdir()
    try:
        service.start()
        _, disk = Cloud(service).attached_disk(-(-size // GIB))
        tool("nbdcopy", "--flush", image, service.uri(disk), timeout=900)
        used = footprint.processor_seconds(service.process.pid)
        _, _, seconds = Caller(service).take(disk)
        return seconds, footprint.processor_seconds(service.process.pid) - used
    finally:
        service.destroy()


def draw(rates, ours):
    caption = f"Medians; the snapshot has all {os.cpu_count()} cores, the others one."
    with figure("limits", "What a core allows, and a full snapshot", caption) as axes:
        lines = [*((name, median(found)) for name, found in rates.items()), ("a full snapshot", median(ours))][::-1]
        bars = axes.barh([name for name, _ in lines], [rate for _, rate in lines], color=["C1"] + ["C0"] * len(rates))
        axes.bar_label(bars, [f"{rate:,.0f}" for _, rate in lines], padding=3)
        axes.margins(x=0.12)
        axes.set_xlabel("MiB/s")
