"""Commits as a database makes them: a 4 KiB write and a flush, one after the other, over NBD, until the process is told to end.

A process of its own, started by `guest_load.py`: fio has no log of how long syncs take. Writes one line per commit as
fio's latency logs have them: when it was over (ms since 1970), how long it took (ns).
"""

import os
import pathlib
import random
import signal
import struct
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests" / "e2e"))

import nbd  # noqa: E402

BLOCK = 4096


def main():
    socket, export, offset, size, log = sys.argv[1:]
    offset, blocks = int(offset), int(size) // BLOCK
    handshake, name = nbd.Handshake(socket), export.encode()
    handshake.option(nbd.OPT_GO, struct.pack(">I", len(name)) + name + struct.pack(">H", 0))
    told, commits, choose = [], [], random.Random()
    signal.signal(signal.SIGINT, lambda *_: told.append(True))
    while not told:
        data, at = os.urandom(BLOCK), offset + choose.randrange(blocks) * BLOCK
        begun = time.perf_counter_ns()
        ask(handshake.sock, nbd.WRITE, at, BLOCK, data)
        ask(handshake.sock, nbd.FLUSH, 0, 0)
        commits.append((time.time_ns() // 1_000_000, time.perf_counter_ns() - begun))
    with open(log, "w") as file:
        file.writelines(f"{over}, {took}\n" for over, took in commits)


def ask(sock, command, offset, length, data=b""):
    sock.sendall(struct.pack(">IHHQQI", nbd.REQUEST_MAGIC, 0, command, 0, offset, length) + data)
    magic, error, _ = struct.unpack(">IIQ", nbd.receive_exactly(sock, 16))
    if magic != nbd.SIMPLE_MAGIC or error:
        raise RuntimeError(f"reply {magic:#x} to command {command}: error {error}")


main()
