"""A guest's load on one export that goes on until it is ended, and how long every request of it took.

All requests are logged, so that what happened meanwhile can be laid over them to the millisecond, and percentiles are of
the requests themselves. A load at a fixed rate is what a guest looks like that has something to do but is not limited by
its disk: fio sends each request when it is due, but none while it waits for the one before. Those that should have been
sent meanwhile are counted as having waited, too (the correction for coordinated omission, as HdrHistogram does it):
otherwise one long stop would be one slow request and no more.
"""

import contextlib
import dataclasses
import pathlib
import signal
import subprocess
import sys
import time

import numpy


@dataclasses.dataclass(frozen=True)
class Load:
    title: str
    rate: int = 0  # requests a second; 0: as many as there can be
    synced: bool = False


SLOW = Load("4 KiB random 70 % read, 2,000/s", rate=2000)
FAST = Load("4 KiB random 70 % read, 5,000/s", rate=5000)
FULL = Load("4 KiB random 70 % read, depth 8, as fast as it goes")
SYNCED = Load("4 KiB write and flush, depth 1, as fast as it goes", synced=True)


class Guest:
    """A load that runs."""

    def __init__(self, load, socket, export, directory, offset, size):
        self.load, self.directory = load, pathlib.Path(directory)
        with open(self.directory / "guest.out", "wb") as out:
            command = self.commits if load.synced else self.fio
            self.process = subprocess.Popen(command(socket, export, offset, size), stdout=out, stderr=out, cwd=self.directory)

    def fio(self, socket, export, offset, size):
        command = ["fio", "--name=guest", "--ioengine=nbd", f"--uri=nbd+unix:///{export}?socket={socket}", "--thread"]
        command += ["--rw=randrw", "--rwmixread=70", "--bs=4k", "--iodepth=8", f"--offset={offset}", f"--size={size}"]
        command += ["--time_based", "--runtime=86400", "--norandommap", "--randrepeat=0"]
        command += ["--write_lat_log=guest", "--disable_slat=1", "--disable_clat=1"]
        command += ["--log_unix_epoch=1", "--log_entries=1048576"]
        if self.load.rate:
            command.append(f"--rate_iops={self.load.rate * 7 // 10},{self.load.rate * 3 // 10}")
        return command

    def commits(self, socket, export, offset, size):
        program = pathlib.Path(__file__).resolve().parent / "synced.py"
        return [sys.executable, program, socket, export, str(offset), str(size), self.directory / "guest_lat.1.log"]

    def check(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"the guest's load ended: {(self.directory / 'guest.out').read_text()}")

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def end(self):
        """Ends it and gives what it did."""
        self.check()
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)
        log = self.directory / "guest_lat.1.log"
        over, took = numpy.loadtxt(log, delimiter=",", usecols=(0, 1), ndmin=2, unpack=True)
        log.unlink()
        return Requests(over / 1000, took / 1000, self.load.rate)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(30)


@contextlib.contextmanager
def running(load, socket, export, directory, offset, size, settle=0.7):
    """A guest that has found its pace."""
    guest = Guest(load, socket, export, directory, offset, size)
    try:
        time.sleep(settle)
        guest.check()
        yield guest
    finally:
        guest.kill()


class Requests:
    """When requests were over (seconds since 1970) and how long they took (µs)."""

    def __init__(self, over, took, rate):
        self.over, self.took, self.rate = over, took, rate

    def between(self, begin, end):
        inside = (self.over >= begin) & (self.over < end)
        return Requests(self.over[inside], self.took[inside], self.rate)

    def slowest_touching(self, begin, end):
        """µs of the slowest request that was under way at some time between the two; 0 if there was none."""
        touching = (self.over >= begin) & (self.over - self.took / 1e6 < end)
        return self.took[touching].max(initial=0)

    def waits(self):
        """µs that each request took, and each that was due while another made it wait; see above."""
        if not self.rate:
            return self.took
        apart = 1e6 / self.rate
        missed = numpy.maximum(self.took / apart - 1, 0).astype(int)
        late = numpy.repeat(self.took, missed)
        nth = numpy.arange(len(late)) - numpy.repeat(numpy.cumsum(missed) - missed, missed) + 1
        return numpy.concatenate([self.took, late - nth * apart])
