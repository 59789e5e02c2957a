"""A snapshot by reflink, against one of ours: what each costs the guest, at once and afterwards.

The peer is what is at hand on a host with XFS: the disk is a raw file that qemu-nbd serves, a snapshot is `cp --reflink=always`
of it. Ours is the whole service, its data and its vault on the same XFS file system (in a file, mounted over a loop device). A
guest's load goes on without a break; it is measured before the first snapshot, after it, and after the tenth.

The two are not worth the same. The reflink is on the same disk, shares its blocks and is lost with it; nothing says what
changed since the one before, so that a copy elsewhere has to read all of it. It exists when `cp` is done and survives a
power cut when it is synced; both are shown. Ours is durable when the call returns, and then captured: another copy, checked
by hashes, that may be in another place. That work goes on while "after" is measured. The next one of ours has to wait for it.
"""

import contextlib
import dataclasses
import os
import shutil
import time
from types import SimpleNamespace

import numpy

import peers
import xfs
from background import api
from cloud import Cloud
from guest_load import FULL, SLOW, running
from report import progress, spread, table
from rest import rest
from service import Service, run as tool

NEEDS = {"fio": "fio", "qemu-nbd": "qemu-utils", "mkfs.xfs": "xfsprogs", "mount": "mount"}
MIB = 1 << 20
SNAPSHOTS = 10
WINDOWS = ["before", "after 1", f"after {SNAPSHOTS}"]


@dataclasses.dataclass
class Taken:
    """When a snapshot was begun, when it was there, and since when a power cut would not undo it."""

    begun: float
    exists: float
    safe: float


@dataclasses.dataclass
class Round:
    requests: object
    windows: list
    taken: list

    def rate(self, number):
        begin, end = self.windows[number]
        return len(self.requests.between(begin, end).over) / (end - begin)

    def seconds(self):
        begin, end = self.windows[0]
        return end - begin


def run(options, directory):
    mib, area, seconds = (512, 128, 1.5) if options.quick else (1024, 256, 5)
    loads = [SLOW] if options.quick else [SLOW, FULL]
    servers = {"tidemark": ours, "cp --reflink": copies}
    found = {}
    with xfs.mounted(directory, 6 if options.quick else 10) as place:
        for turn in range(min(options.rounds, 2)):
            for load in loads:
                for name in list(servers)[:: 1 if turn % 2 == 0 else -1]:
                    with servers[name](place, mib) as server:
                        found.setdefault((load, name), []).append(one_round(server, load, directory, area, seconds))
                    progress(f"round {turn + 1}: {load.title}: {name}")
    for load in loads:
        show(load, {name: found[load, name] for name in servers})


@contextlib.contextmanager
def ours(place, mib):
    service = Service(directory=place / "ours", extra=["--scrub-rate", "0"])
    service.directory.mkdir()
    try:
        service.start()
        cloud = Cloud(service)
        disk = cloud.attached_disk(-(-mib // 1024))[1]
        fill(service.uri(disk), mib, place)
        made = [cloud.take_snapshot(disk)]

        def snapshot():
            begun = time.time()
            made.append(api(service, "CreateSnapshot", DiskId=disk)["SnapshotId"])
            return Taken(begun, time.time(), time.time())

        def settle():
            cloud.wait_snapshot(made[-1])

        yield SimpleNamespace(pid=service.process.pid, socket=service.socket, export=disk, snapshot=snapshot, settle=settle)
    finally:
        service.destroy()


@contextlib.contextmanager
def copies(place, mib):
    copied = place / "copies"
    copied.mkdir()
    try:
        with peers.serving(place, "disk", -(-mib // 1024), peers.qemu_nbd) as server:
            fill(server.uri, mib, place)

            def snapshot():
                copy, begun = copied / f"{len(list(copied.iterdir()))}.raw", time.time()
                tool("cp", "--reflink=always", place / "disk.raw", copy)
                exists = time.time()
                with open(copy, "rb") as file:
                    os.fsync(file.fileno())
                return Taken(begun, exists, time.time())

            yield SimpleNamespace(pid=server.pid, socket=server.socket, export="", snapshot=snapshot, settle=lambda: None)
    finally:
        shutil.rmtree(copied)


def fill(uri, mib, directory):
    command = ["fio", "--name=fill", "--ioengine=nbd", f"--uri={uri}", "--rw=write", "--bs=1m", "--iodepth=4", f"--size={mib}m"]
    tool(*command, "--refill_buffers", "--end_fsync=1", cwd=directory)


def one_round(server, load, directory, area, seconds):
    windows, taken = [], []

    def look():
        begin = time.time()
        time.sleep(seconds)
        windows.append((begin, time.time()))

    rest(server.pid, directory)
    with running(load, server.socket, server.export, directory, 0, area * MIB) as guest:
        look()
        taken.append(server.snapshot())
        look()
        for _ in range(SNAPSHOTS - 1):
            server.settle()
            taken.append(server.snapshot())
        look()
        return Round(guest.end(), windows, taken)


def show(load, found):
    rows = []
    for name, rounds in found.items():
        rates = [[one.rate(number) for one in rounds] for number in range(len(WINDOWS))]
        taken = [[(one.requests, one.taken[0])] for one in rounds], [[(one.requests, t) for t in one.taken[1:]] for one in rounds]
        for number, window in enumerate(WINDOWS):
            slow = numpy.concatenate([one.requests.between(*one.windows[number]).waits() for one in rounds])
            row = [name, window, spread(rates[number]), spread([a / b for a, b in zip(rates[number], rates[0])], ".3f")]
            row += [f"{value:,.0f}" for value in numpy.percentile(slow, (50, 99, 99.9))]
            rows.append(row + (costs([t for of_round in taken[number - 1] for t in of_round]) if number else [""] * 3))
    header = ["snapshots by", "when", "guest /s", "to before", "p50 µs", "p99 µs", "p99.9 µs"]
    header += ["until it exists, ms", "until it survives a power cut, ms", "slowest request meanwhile, ms"]
    note = f"Time of the first snapshot, and of the {SNAPSHOTS - 1} after it. Each window has {rounds[0].seconds():.1f} s."
    table(f"Snapshots by reflink and ours, guest: {load.title}", header, rows, note)


def costs(taken):
    return [
        spread([1000 * (one.exists - one.begun) for _, one in taken], ".1f"),
        spread([1000 * (one.safe - one.begun) for _, one in taken], ".1f"),
        spread([requests.slowest_touching(one.begun, one.safe) / 1000 for requests, one in taken], ".1f"),
    ]
