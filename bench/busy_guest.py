"""A guest's I/O while a snapshot is captured, against the same I/O while none is.

Each round rewrites the disk with bytes that do not compress, measures idle, then measures again from the
moment CreateSnapshot has answered. The share of the run that the capture really lasted is shown: a ratio
over a run that was mostly idle would flatter.
"""

import threading
import time

import fio
from cloud import Cloud
from report import median, progress, table
from service import Service, run as tool, wait_until

JOBS = [
    ("4 KiB random read/write, depth 8", "randrw", "4k", 8, ()),
    ("4 KiB synced write, depth 1", "randwrite", "4k", 1, ("--fsync=1",)),
    ("4 KiB random read/write at a fixed 2,000/s", "randrw", "4k", 8, ("--rate_iops=1000,1000",)),
]


def run(options, directory):
    gib = 1 if options.quick else 4
    service = Service(directory=directory / "ours")
    service.directory.mkdir()
    rows = []
    try:
        service.start()
        cloud = Cloud(service)
        _, disk = cloud.attached_disk(2 * gib)
        for job in JOBS:
            rounds = [one_round(options, service, cloud, disk, directory, gib, job) for _ in range(min(options.rounds, 3))]
            idle, during, share = zip(*rounds)
            rows.append(
                [
                    job[0],
                    f"{median([x['iops'] for x in idle]):,.0f}",
                    f"{median([x['iops'] for x in during]):,.0f}",
                    f"{median([d['iops'] / i['iops'] for i, d in zip(idle, during)]):.2f}",
                    *(f"{median([x[p] for x in idle]):,.0f} / {median([x[p] for x in during]):,.0f}" for p in ("p99", "p999")),
                    f"{median(share):.0%}",
                ]
            )
    finally:
        service.destroy()
    header = ["job", "idle /s", "during /s", "ratio", "p99 µs idle / during", "p99.9 µs idle / during", "capturing"]
    table("A guest during a snapshot", header, rows, f"{gib} GiB of incompressible data captured each time.")


def one_round(options, service, cloud, disk, directory, gib, job):
    title, rw, bs, depth, extra = job
    uri = service.uri(disk)
    fill = ["fio", "--name=fill", "--ioengine=nbd", f"--uri={uri}", "--rw=write", "--bs=1m", "--iodepth=4"]
    tool(*fill, f"--size={gib}g", "--refill_buffers", "--randrepeat=0", "--end_fsync=1", cwd=directory, timeout=900)
    cloud.take_snapshot(disk) if options.quick else None
    # The guest works beside the data being captured, in a gigabyte that is written once before.
    where = (f"--offset={gib}g",)
    fio.run(uri, directory, "write", "1m", 4, 2, "512m", where)
    idle = fio.run(uri, directory, rw, bs, depth, options.seconds, "512m", where + extra)
    tool(*fill, "--size=1g", "--refill_buffers", "--randrepeat=0", "--end_fsync=1", cwd=directory, timeout=900)
    time.sleep(1)

    snapshot = cloud.call("CreateSnapshot", DiskId=disk)["SnapshotId"]
    begun, ended = time.monotonic(), []

    def watch():
        wait_until(lambda: cloud.snapshot(snapshot)["Status"] != "progressing", "the snapshot", 900, step=0.2)
        ended.append(time.monotonic())

    watcher = threading.Thread(target=watch)
    watcher.start()
    during = fio.run(uri, directory, rw, bs, depth, options.seconds, "512m", where + extra)
    over = time.monotonic()
    watcher.join()
    share = min(1.0, (ended[0] - begun) / (over - begun))
    progress(f"{title}: idle {idle['iops']:,.0f}/s, during {during['iops']:,.0f}/s, capturing {share:.0%} of the run")
    return idle, during, share
