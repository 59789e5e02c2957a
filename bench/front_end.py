"""A disk of ours over vhost-user-blk against qemu-storage-daemon, measured from the front end, without a virtual machine.

Where no guest runs on the processor itself (part `vhost` says whether), an emulated one is so slow that it hides what disks
differ in. So a front end in user space takes its place, `crates/vhost/benches/front_end`: it shares memory, fills rings and
kicks as a guest's driver does, and waits for interrupts. It is the same program for all, and what a hypervisor adds is
missing for all.

The others: a vhost-user-blk export of qemu-storage-daemon on a raw file, with its threads and with io_uring. *tidemark over
NBD* is the same disk through its NBD socket, by fio; it is shown, and no other: fio's own cost is another one, and of a synced
write it counts the write's latency only, the front end that of write and flush together.

What is equal: all disks are as large and were written before, on the same file system; all go through the host's page cache,
acknowledge a write when it is there and answer a flush, which is negotiated with all, after an fdatasync. Reads check what
they get. What is not: ours runs behind the whole service, writes each block to its log first and to its base later, and keeps
a checksum of each; and it notes in the front end's memory what is in flight, so that a virtual machine outlives its death.
"""

import contextlib
import functools

import compare
import fio
import harness
import peers
from cloud import Cloud
from compare import OURS, Job
from report import median, progress, table
from service import Service, run as tool

NEEDS = {"qemu-storage-daemon": "qemu-system-common", "qemu-img": "qemu-utils", "fio": "fio"}
NBD = f"{OURS} over NBD"
QUEUES = "--numjobs="  # as fio says it, a connection each
SYNCED = "--fsync=1"
JOBS = [
    Job("4 KiB random read, depth 1", "randread", "4k", 1, "iops", 1.0),
    Job("4 KiB random read, depth 32", "randread", "4k", 32, "iops", 1.0),
    Job("4 KiB random read, 4 queues, depth 8 each", "randread", "4k", 8, "iops", 1.0, (f"{QUEUES}4",)),
    Job("4 KiB random write, depth 1", "randwrite", "4k", 1, "iops", 1.0),
    Job("4 KiB random write, depth 32", "randwrite", "4k", 32, "iops", 1.0),
    Job("4 KiB random write, 4 queues, depth 8 each", "randwrite", "4k", 8, "iops", 1.0, (f"{QUEUES}4",)),
    Job("4 KiB random 70 % read, depth 32", "randrw", "4k", 32, "iops", 1.0, ("--rwmixread=70",)),
    Job("4 KiB write and flush, depth 1", "randwrite", "4k", 1, "iops", 1.0, (SYNCED,)),
    # At first; then 1.0, too.
    Job("1 MiB read stream, depth 4", "read", "1m", 4, "mib", 0.8),
    Job("1 MiB write stream, depth 4", "write", "1m", 4, "mib", 0.8),
]
BYTES = {"4k": 4096, "1m": 1 << 20}


def run(options, directory):
    gib, mib = (1, 256) if options.quick else (4, 1024)
    executable = harness.build("front_end", "tidemark-vhost")
    service = Service(directory=directory / "ours")
    service.directory.mkdir()
    with contextlib.ExitStack() as stack:
        stack.callback(service.destroy)
        service.start()
        _, disk = Cloud(service).attached_disk(gib)
        sockets, pids = {OURS: service.data / "vhost" / f"{disk}.sock"}, [service.process.pid]
        for aio in ("threads", "io_uring"):
            command = functools.partial(peers.storage_daemon_vhost, queues=4, aio=aio)
            daemon = stack.enter_context(peers.serving(directory, f"daemon-{aio}", gib, command))
            sockets[f"qemu-storage-daemon {aio}"] = daemon.socket
            pids.append(daemon.pid)
        for name, socket in sockets.items():
            progress(f"fill {name}")
            front_end(executable, directory, socket, "fill", BYTES["1m"], 1, 4, mib, 0)
        # Beside what the front end has filled and checks.
        beside = (f"--offset={mib}m",)
        filling = ["fio", "--name=fill", "--ioengine=nbd", f"--uri={service.uri(disk)}", "--rw=write", "--bs=1m", "--iodepth=4"]
        tool(*filling, f"--size={mib}m", "--end_fsync=1", *beside, cwd=directory)

        def one(name, job):
            if name == NBD:
                extra = job.extra + beside
                return fio.run(service.uri(disk), directory, job.rw, job.bs, job.depth, options.seconds, f"{mib}m", extra)
            words = [work(job), BYTES[job.bs], queues(job), job.depth, mib, options.seconds]
            return front_end(executable, directory, sockets[name], *words)

        names = [*sockets, NBD]
        found = compare.measure(JOBS, names, options.rounds, pids, one)
    note = f"{mib} MiB each. Medians (least–most) of {options.rounds} interleaved rounds of {options.seconds} s."
    compare.show("front-end", "Disks over vhost-user-blk, from the front end", JOBS, names, found, note)
    signals(list(sockets), found)


def work(job):
    """What the front end calls it."""
    return "synced" if SYNCED in job.extra else job.rw


def queues(job):
    return next((int(word.removeprefix(QUEUES)) for word in job.extra if word.startswith(QUEUES)), 1)


def front_end(executable, directory, socket, *words):
    """Its figures, of which errors must be none."""
    (figures,) = harness.run(executable, socket, *words, cwd=directory)
    if figures["errors"]:
        raise RuntimeError(f"{figures['errors']} requests to {socket} failed or gave wrong data: {words}")
    return figures


def signals(names, found):
    rows = []
    for job in JOBS:
        cells = [job.title]
        for name in names:
            cells += [f"{median(figures[what] for figures in found[job.title, name]):.2f}" for what in ("kicks", "interrupts")]
        rows.append(cells)
    header = ["job", *(f"{name}: {what}" for name in names for what in ("kicks", "interrupts"))]
    table("Kicks and interrupts for each operation", header, rows, "A hypervisor and a guest would pay for each.")
