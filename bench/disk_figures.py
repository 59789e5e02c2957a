"""What a user notices of one disk, measured in turn: a snapshot, a clone, a list, a deletion, a restart."""

import random
import time

import data
import footprint
import nbd
from calls import Caller
from report import timed

MIB = 1 << 20
CHANGED_MIB = 16
PAGE = 10
CALL, INCREMENT, FIRST, LIST, DELETE, RESTART = (
    "CreateSnapshot answers",
    f"{CHANGED_MIB} MiB changed, accomplished",
    "first byte of a clone",
    f"list of {PAGE} snapshots",
    "delete a snapshot",
    "back after kill -9",
)
ALL = (CALL, INCREMENT, FIRST, LIST, DELETE, RESTART)


class Disk:
    """A sparse disk with a MiB of data at each of some places."""

    def __init__(self, service, instance, name, size, places):
        self.service, self.instance, self.name, self.peak = service, instance, name, 0
        step = size // places // MIB * MIB
        self.places = [number * step for number in range(places)]

    def write(self, places, seed, length=MIB):
        with self.service.client(self.name) as client:
            pending = [client.write_later(place, data.random_bytes(length, seed=seed << 24 | place // MIB)) for place in places]
            for one in pending:
                one.wait()
            client.flush()

    def measure(self, turn):
        """Seconds of each. The disk has as many snapshots afterwards as before. `peak` is the most memory that any of it took."""
        caller, found = Caller(self.service), {}
        self.write(random.Random(turn).sample(self.places, CHANGED_MIB), turn)
        snapshot, found[CALL], found[INCREMENT] = caller.take(self.name)
        found[LIST], _ = timed(lambda: caller.call("DescribeSnapshots", DiskId=self.name, PageSize=str(PAGE)))
        found[FIRST] = self.first_byte(caller, snapshot)
        found[DELETE], _ = timed(lambda: caller.delete(snapshot))
        self.peak = max(self.peak, footprint.peak(self.service.process.pid))
        found[RESTART] = restart(self.service, [self.name])
        return found

    def first_byte(self, caller, snapshot):
        begun = time.monotonic()
        clone = caller.new_disk(SnapshotId=snapshot)
        caller.attach(self.instance, clone)
        with self.service.client(clone) as client:
            client.read(self.places[-1], 4096)
            took = time.monotonic() - begun
        caller.release(self.instance, clone)
        return took


def restart(service, disks):
    """Seconds from the start of the process, after kill -9, until a block of each disk was read."""
    service.kill()
    begun = time.monotonic()
    service.launch()
    for disk in disks:
        while True:
            try:
                with nbd.Client(service.socket, disk) as client:
                    client.read(0, 4096)
                break
            except (OSError, nbd.Refused):
                assert service.process.poll() is None, service.log_tail()
                time.sleep(0.002)
    took = time.monotonic() - begun
    service.wait_ready()
    return took
