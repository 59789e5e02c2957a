"""A disk from a snapshot of 1 TiB: its first byte, its file system, all of it, and a guest meanwhile.

The snapshot is of a sparse 1 TiB disk with an ext4 of real files, in a vault in a directory, and in a light S3 store on this
machine (`tidemark-s3light`: its requests cost no network, so the figures are the least there is; a first byte takes at most
five requests one after the other). The service is started again before each round: nothing of the vault is in its memory.
The system's page cache is warm, for all. restic, borg and qemu-img restore the same files in an image only as large as they
need, since two of them would read and write a tebibyte of zeros; nothing can be used before all is there. Who restores does
not sync: neither do they; ours has synced what it calls complete.

A guest's requests are counted while its disk is being filled, and after it: random reads of an area that was read once, and
random writes over an area that was not touched. The share of the run in which the disk really was being filled is shown.
"""

import contextlib
import functools
import os
import random
import threading
import time

import data
import fio
import images
import mounted
import restore_peers
from calls import Caller, poll
from cloud import Cloud
from report import bar, figure, median, progress, spread, table, timed
from service import Service, run as tool
from store import Store

NEEDS = {
    "nbdcopy": "libnbd-bin",
    "mke2fs": "e2fsprogs",
    "debugfs": "e2fsprogs",
    "fio": "fio",
    **mounted.NEEDS,
    **restore_peers.NEEDS,
}
GIB, MIB = 1 << 30, 1 << 20
FIRST_BYTE_BAR = 50  # milliseconds
TABLE = "/database/table"  # a file whose places on the disk are known
CREATED, ATTACHED, FIRST, READY, OTHERS, ALL = (
    "CreateDisk, until Available",
    "AttachDisk, until In_use",
    "first 4 KiB read: from the call on",
    "ext4 mounted and a file of 1 MiB read: from the call on",
    "100 further reads of 4 KiB, each",
    "all of it local: from the call on",
)
JOBS = {  # rw, depth, whether the area was read before
    "4 KiB random read of what was read before, depth 8": ("randread", 8, True),
    "4 KiB random write, depth 8": ("randwrite", 8, False),
}


def run(options, directory):
    gib, mib = (16, 64) if options.quick else (1024, 2048)
    rounds = min(options.rounds, 3)
    with contextlib.ExitStack() as stack:
        image, small, content = make_images(directory, gib, mib)
        sources = {place: stack.enter_context(source(place, directory / place, image, gib)) for place in ("directory", "S3")}
        image.unlink()
        peers = restore_peers.Peers(directory / "peers", small)
        times, others = {place: [] for place in sources}, {name: [] for name in peers.ways}
        for turn in range(rounds):
            for place, one in sources.items():
                times[place].append(one.restore(content, turn))
                progress(
                    f"restore: round {turn + 1}, {place}: first byte after {times[place][-1][FIRST] * 1000:.0f} ms, all after {times[place][-1][ALL]:.1f} s"
                )
            for name in others:
                others[name].append(peers.restore(name))
                progress(f"restore: round {turn + 1}, {name}: {others[name][-1]:.1f} s")
        guests = {(job, place): [] for job in JOBS for place in sources}
        for _ in range(min(rounds, 2)):
            for job, place in guests:
                guests[job, place].append(sources[place].guest(options, content, job))
    show_ours(times, gib, mib, rounds)
    show_peers(times, others)
    show_guests(guests)


class Content:
    """Where something is on the disk, and what it is."""

    def __init__(self, image):
        self.places = images.offsets(image, TABLE)
        with open(image, "rb") as file:
            self.first_mib = b"".join(os.pread(file.fileno(), images.BLOCK, at) for at in self.places[: MIB // images.BLOCK])
        # The longest stretch of the file in one piece.
        starts = [
            0,
            *(n for n in range(1, len(self.places)) if self.places[n] != self.places[n - 1] + images.BLOCK),
            len(self.places),
        ]
        longest, at = max((after - start, start) for start, after in zip(starts, starts[1:]))
        self.stretch_at, self.stretch_bytes = self.places[at], longest * images.BLOCK


def make_images(directory, gib, mib):
    """The same files on a large disk, and on a file system of as much as they need; the first's content."""
    tree = images.file_tree(directory, mib * MIB, images.Database(mib * MIB // 8, mib * MIB // 48))
    large = data.ext4_image(directory / "large.raw", tree, gib * GIB)
    small = data.ext4_image(directory / "small.raw", tree, mib * 125 // 100 * MIB)
    tool("rm", "-rf", tree)
    return large, small, Content(large)


@contextlib.contextmanager
def source(place, home, image, gib):
    """A vault with the snapshot in it, behind a service."""
    home.mkdir()
    store = Store(home / "store").start() if place == "S3" else None
    extra, env = (["--vault", store.url()], store.env) if store else ([], {})
    service = Service(directory=home / "ours", extra=extra, env=env)
    service.directory.mkdir()
    try:
        service.start()
        cloud = Cloud(service)
        instance, disk = cloud.attached_disk(gib)
        tool("nbdcopy", "--flush", "--destination-is-zero", image, service.uri(disk), timeout=1800)
        snapshot = cloud.take_snapshot(disk)
        cloud.release(disk)
        yield Source(service, home, instance, snapshot)
    finally:
        service.destroy()
        if store:
            store.kill()


class Source:
    def __init__(self, service, home, instance, snapshot):
        self.service, self.home, self.instance, self.snapshot = service, home, instance, snapshot

    @contextlib.contextmanager
    def disk(self):
        """(calls, a disk, when it was asked for, seconds until Available, seconds until In_use), of a service that knows nothing yet."""
        self.service.stop()
        self.service.start()
        caller = Caller(self.service)
        caller.call("DescribeRegions")  # connects
        begun = time.monotonic()
        disk = caller.new_disk(SnapshotId=self.snapshot)
        created = time.monotonic() - begun
        caller.attach(self.instance, disk)
        attached = time.monotonic() - begun
        try:
            yield caller, disk, begun, created, attached
        finally:
            caller.release(self.instance, disk)

    def restore(self, content, turn):
        """Seconds of each step."""
        with self.disk() as (caller, disk, begun, created, attached):
            with self.service.client(disk) as client:
                place, *places = random.Random(turn).sample(content.places, 101)
                client.read(place, images.BLOCK)
                first = time.monotonic() - begun
                with mounted.mounted(self.service.uri(disk), self.home) as file_system:
                    with open(file_system / TABLE[1:], "rb") as file:
                        assert file.read(MIB) == content.first_mib, "the restored file is another"
                    ready = time.monotonic() - begun
                others = [timed(functools.partial(client.read, place, images.BLOCK))[0] for place in places]
            poll(lambda: caller.is_complete(disk), f"disk {disk} is complete")
            complete = time.monotonic() - begun
        return {CREATED: created, ATTACHED: attached - created, FIRST: first, READY: ready, OTHERS: median(others), ALL: complete}

    def guest(self, options, content, job):
        """Requests a second while the disk is being filled, and after it; the share of the first run in which it was."""
        rw, depth, warm = JOBS[job]
        where = (f"--offset={content.stretch_at}",)
        with self.disk() as (_, disk, _, _, _):
            uri, length = self.service.uri(disk), content.stretch_bytes
            if warm:
                length = min(length, 64 * MIB)
                with self.service.client(disk) as client:
                    client.read_all(content.stretch_at, length)
            completed = []

            def watch():
                watcher = Caller(self.service)
                poll(lambda: watcher.is_complete(disk), f"disk {disk} is complete")
                completed.append(time.monotonic())

            watching = threading.Thread(target=watch)
            watching.start()
            begun = time.monotonic()
            during = fio.run(uri, self.home, rw, "4k", depth, options.seconds, f"{length}", where)
            lasted = time.monotonic() - begun
            watching.join()
            after = fio.run(uri, self.home, rw, "4k", depth, options.seconds, f"{length}", where)
        progress(f"restore: {job}: {during['iops']:,.0f}/s while it is filled, {after['iops']:,.0f}/s after it")
        return during["iops"], after["iops"], min(1, (completed[0] - begun) / lasted)


def show_ours(times, gib, mib, rounds):
    rows = []
    for what in (CREATED, ATTACHED, FIRST, READY, OTHERS, ALL):
        form = (1, ".1f", "s") if what == ALL else (1000, ".1f", "ms")
        cells = [f"{spread([one[what] * form[0] for one in found], form[1])} {form[2]}" for found in times.values()]
        rows.append([what, *cells])
    note = (
        f"{mib:,} MiB of files on {gib:,} GiB; {rounds} rounds, each after a restart of the service: medians (smallest–largest)."
    )
    table("A disk from a snapshot", ["what", *(f"vault: {place}" for place in times)], rows, note)
    first = [one[FIRST] * 1000 for one in times["directory"]]
    what = f"first byte of a disk made from a snapshot of {gib:,} GiB, from the call on, vault in a directory"
    bar(what, f"under {FIRST_BYTE_BAR} ms", f"{spread(first, '.0f')} ms", median(first) < FIRST_BYTE_BAR)


def show_peers(times, others):
    lines = {
        f"tidemark, vault: {place}": ([one[FIRST] for one in found], [one[ALL] for one in found])
        for place, found in times.items()
    }
    lines |= {name: (took, took) for name, took in others.items()}
    ours = [median(figures) for figures in next(iter(lines.values()))]
    rows = [
        [
            name,
            f"{spread(first, '.2f')} s",
            f"{spread(whole, '.1f')} s",
            f"{median(first) / ours[0]:,.1f}",
            f"{median(whole) / ours[1]:.2f}",
        ]
        for name, (first, whole) in lines.items()
    ]
    header = [
        "tool",
        "until its first byte can be used",
        "until all is there",
        "first byte: its time / ours",
        "all: its time / ours",
    ]
    table("Restores of the same files", header, rows)
    caption = "Medians, on a logarithmic scale. Where there is one point, nothing can be used before all is there."
    with figure("restore", "A restore: until it can be used, until all is there", caption, height=3) as axes:
        names = list(lines)[::-1]
        usable, whole = ([median(lines[name][which]) for name in names] for which in range(2))
        axes.hlines(names, usable, whole, color="lightgrey", linewidth=4, zorder=1)
        axes.scatter(usable, names, label="the first byte can be used", zorder=3)
        axes.scatter(whole, names, label="all is there", zorder=2)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(lambda *_: "")
        axes.set_xlabel("seconds")
        axes.margins(y=0.15)
        axes.legend(bbox_to_anchor=(1.01, 1), loc="upper left")


def show_guests(guests):
    rows = []
    for (job, place), found in guests.items():
        during, after, share = zip(*found)
        ratios = [d / a for d, a in zip(during, after)]
        rows.append([job, place, f"{spread(during)} /s", f"{spread(after)} /s", spread(ratios, ".2f"), f"{median(share):.0%}"])
    header = ["job", "vault", "while it is filled", "after it", "ratio", "being filled for"]
    table("A guest on a disk that is being filled", header, rows)
