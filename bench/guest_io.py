"""NBD I/O of a disk of ours against qemu-nbd on a raw file and nbdkit's file plug-in.

All three serve 2 GiB that were written before, on the same file system, over a unix socket, through the
page cache, to the same fio. Ours runs behind the whole service, as a user has it.
"""

import contextlib
import subprocess
import time

import fio
from cloud import Cloud
from report import median, progress, table
from service import Service, run as tool

SIZE_GIB = 2
JOBS = [  # title, rw, bs, depth, figure, extra
    ("4 KiB random read, depth 1", "randread", "4k", 1, "iops", ()),
    ("4 KiB random read, depth 32", "randread", "4k", 32, "iops", ()),
    ("4 KiB random write, depth 1", "randwrite", "4k", 1, "iops", ()),
    ("4 KiB random write, depth 32", "randwrite", "4k", 32, "iops", ()),
    ("4 KiB synced write, depth 1", "randwrite", "4k", 1, "iops", ("--fsync=1",)),
    ("4 KiB write, sync every 32, depth 32", "randwrite", "4k", 32, "iops", ("--fsync=32",)),
    ("1 MiB read stream, depth 4", "read", "1m", 4, "mib", ()),
    ("1 MiB write stream, depth 4", "write", "1m", 4, "mib", ()),
]


def run(options, directory):
    names = ["tidemark", "qemu-nbd", "nbdkit"]
    figures = {(job[0], name): [] for job in JOBS for name in names}
    with contextlib.ExitStack() as stack:
        uris = {
            "tidemark": stack.enter_context(tidemark(directory)),
            "qemu-nbd": stack.enter_context(other(directory, "qemu-nbd", qemu_nbd)),
            "nbdkit": stack.enter_context(other(directory, "nbdkit", nbdkit)),
        }
        for name, uri in uris.items():
            progress(f"fill {name}")
            fill = ["fio", "--name=fill", "--ioengine=nbd", f"--uri={uri}", "--rw=write", "--bs=1m", "--iodepth=4"]
            tool(*fill, f"--size={SIZE_GIB}g", "--end_fsync=1", cwd=directory)
        for turn in range(options.rounds):
            for title, rw, bs, depth, figure, extra in JOBS:
                for name in names[turn % 3 :] + names[: turn % 3]:
                    got = fio.run(uris[name], directory, rw, bs, depth, options.seconds, f"{SIZE_GIB}g", extra)
                    figures[title, name].append(got[figure])
                progress(f"round {turn + 1}: {title}")
    rows = []
    for title, _, _, _, figure, _ in JOBS:
        ours, qemu, kit = (median(figures[title, name]) for name in names)
        unit = "MiB/s" if figure == "mib" else "/s"
        rows.append([title, *(f"{value:,.0f} {unit}" for value in (ours, qemu, kit)), f"{ours / qemu:.2f}", f"{ours / kit:.2f}"])
    header = ["job", *names, "ratio to qemu-nbd", "ratio to nbdkit"]
    table("Guest I/O over NBD", header, rows, f"Medians of {options.rounds} interleaved rounds of {options.seconds} s.")


@contextlib.contextmanager
def tidemark(directory):
    service = Service(directory=directory / "ours")
    service.directory.mkdir()
    try:
        service.start()
        yield service.uri(Cloud(service).attached_disk(SIZE_GIB)[1])
    finally:
        service.destroy()


@contextlib.contextmanager
def other(directory, name, command):
    """A server over a raw file, until the block ends."""
    raw, socket = directory / f"{name}.raw", directory / f"{name}.sock"
    with open(raw, "wb") as file:
        file.truncate(SIZE_GIB << 30)
    with open(directory / f"{name}.log", "wb") as log:
        server = subprocess.Popen(command(raw, socket), stdout=log, stderr=log)
    try:
        while not socket.exists():
            assert server.poll() is None, (directory / f"{name}.log").read_text()
            time.sleep(0.05)
        yield f"nbd+unix:///?socket={socket}"
    finally:
        server.terminate()
        server.wait(30)
        raw.unlink()


def qemu_nbd(raw, socket):
    return ["qemu-nbd", "-f", "raw", "-k", socket, "-e", "8", "-t", "--cache=writeback", "--discard=unmap", raw]


def nbdkit(raw, socket):
    return ["nbdkit", "-f", "-U", socket, "file", raw]
