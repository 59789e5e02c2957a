"""What a process and its files take of the machine."""

import os
import time


def memory(pid):
    """Bytes of memory that are its own, and its part of what it shares (PSS of proc(5))."""
    with open(f"/proc/{pid}/smaps_rollup") as rollup:
        return next(int(line.split()[1]) * 1024 for line in rollup if line.startswith("Pss:"))


def peak(pid):
    """The most bytes that it ever had in memory."""
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))


def processor_seconds(pid):
    """Of all its threads, the ended ones too; to the nanosecond, where /proc/<pid>/stat counts hundredths of a second."""
    clock = (~pid << 3) | 2  # clock_getcpuclockid(3)
    return time.clock_gettime(clock)


def idle(pids, seconds):
    """Per cent of a core that each of the processes takes while nobody asks anything of them."""
    before = [processor_seconds(pid) for pid in pids]
    begun = time.monotonic()
    time.sleep(seconds)
    lasted = time.monotonic() - begun
    return [(processor_seconds(pid) - used) / lasted * 100 for pid, used in zip(pids, before)]


def allocated(directory):
    """Bytes that the files below take of the file system: holes do not count."""
    total = 0
    for folder, _, files in os.walk(directory):
        for name in files:
            try:
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512
            except FileNotFoundError:  # went away meanwhile
                pass
    return total
