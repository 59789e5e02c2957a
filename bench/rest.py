"""Waiting until what was done before leaves the machine alone, so that it is not measured."""

import os
import statistics
import time

import threads

BUSY = 0.05  # of a processor
PROMPT = 0.010  # seconds for a small write and its sync; a medium that still frees what was deleted takes far longer
PATIENCE = 20  # seconds; others may keep the machine busy for ever


def rest(pid, directory):
    """Until nothing waits to be written, the process does next to nothing and the medium answers promptly, or patience ends."""
    os.sync()
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        before, begun = threads.used(pid), time.monotonic()
        time.sleep(0.3)
        synced = statistics.median([sync_time(directory) for _ in range(7)])
        used = sum(threads.between(before, threads.used(pid)).values())
        if used <= BUSY * (time.monotonic() - begun) and synced <= PROMPT:
            return


def sync_time(directory):
    begun = time.monotonic()
    with open(directory / "rest", "wb") as file:
        file.write(bytes(4096))
        file.flush()
        os.fdatasync(file.fileno())
    return time.monotonic() - begun
