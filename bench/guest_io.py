"""NBD I/O of a disk of ours against other NBD servers.

The others: qemu-nbd on a raw file and on a qcow2 file, nbdkit's file plug-in, and qemu-storage-daemon on a raw file. Ours
runs behind the whole service, as a user has it.

What is equal: all serve as much, all of it written before, on the same file system, each over a unix socket of its own, to the
same fio; all go through the page cache, acknowledge a write when it is there, and answer a flush after an fdatasync. What is not:
ours writes each block to its log first and to its base later, and keeps a checksum of each; a raw file has one place for each
block and none.
"""

import contextlib
from types import SimpleNamespace

import compare
import fio
import peers
from cloud import Cloud
from compare import OURS, Job
from report import progress
from service import Service, run as tool

NEEDS = {
    "fio": "fio",
    "qemu-nbd": "qemu-utils",
    "qemu-storage-daemon": "qemu-system-common",
    "nbdkit": "nbdkit",
}
JOBS = [
    Job("4 KiB random read, depth 1", "randread", "4k", 1, "iops", 1.0),
    Job("4 KiB random read, depth 32", "randread", "4k", 32, "iops", 1.0),
    Job("4 KiB random write, depth 1", "randwrite", "4k", 1, "iops", 1.0),
    Job("4 KiB random write, depth 32", "randwrite", "4k", 32, "iops", 1.0),
    Job("4 KiB random 70 % read, depth 32", "randrw", "4k", 32, "iops", 1.0, ("--rwmixread=70",)),
    Job("4 KiB synced write, depth 1", "randwrite", "4k", 1, "iops", 1.0, ("--fsync=1",)),
    Job("4 KiB synced write, 8 connections", "randwrite", "4k", 1, "iops", 1.0, ("--fsync=1", "--numjobs=8")),
    Job("4 KiB write, sync every 32, depth 32", "randwrite", "4k", 32, "iops", 1.0, ("--fsync=32",)),
    # At first; then 1.0, too.
    Job("1 MiB read stream, depth 4", "read", "1m", 4, "mib", 0.8),
    Job("1 MiB write stream, depth 4", "write", "1m", 4, "mib", 0.8),
    Job("1 MiB write stream, sync every 64 MiB", "write", "1m", 4, "mib", 0.8, ("--fsync=64",)),
]
OTHERS = {  # name: (command, the file's format)
    "qemu-nbd raw": (peers.qemu_nbd, "raw"),
    "qemu-nbd qcow2": (peers.qemu_nbd_qcow2, "qcow2"),
    "nbdkit file": (peers.nbdkit, "raw"),
    "qemu-storage-daemon": (peers.storage_daemon_nbd, "raw"),
}


def run(options, directory):
    gib, used = (1, "256m") if options.quick else (2, "2g")
    with contextlib.ExitStack() as stack:
        servers = {OURS: stack.enter_context(tidemark(directory, gib))}
        for name, (command, form) in OTHERS.items():
            servers[name] = stack.enter_context(peers.serving(directory, name.replace(" ", "-"), gib, command, form))
        for name, server in servers.items():
            progress(f"fill {name}")
            fill = ["fio", "--name=fill", "--ioengine=nbd", f"--uri={server.uri}", "--rw=write", "--bs=1m", "--iodepth=4"]
            tool(*fill, f"--size={used}", "--end_fsync=1", cwd=directory)

        def one(name, job):
            return fio.run(servers[name].uri, directory, job.rw, job.bs, job.depth, options.seconds, used, job.extra)

        names = list(servers)
        found = compare.measure(JOBS, names, options.rounds, [server.pid for server in servers.values()], one)
    note = f"{used[:-1]} {used[-1].upper()}iB each. Medians (least–most) of {options.rounds} interleaved rounds of {options.seconds} s."
    compare.show("io", "Guest I/O over NBD", JOBS, names, found, note)


@contextlib.contextmanager
def tidemark(directory, gib):
    service = Service(directory=directory / "ours")
    service.directory.mkdir()
    try:
        service.start()
        yield SimpleNamespace(uri=service.uri(Cloud(service).attached_disk(gib)[1]), pid=service.process.pid)
    finally:
        service.destroy()
