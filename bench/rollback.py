"""ResetDisk of a 1 TiB disk of which 1 GiB was written since the snapshot: until it is usable, until all is local.

A rollback is asked for while the instance is stopped, as the API wants it. Usable is: the instance was started again
and a client has connected to the disk and read a block that was overwritten, with its old content, all counted from the
call. What follows behind the client's back is the fetching of the old chunks. The disk holds as much data beside as was
written, which stays where it is.
"""

import time

import data
from calls import Caller, poll
from cloud import Cloud
from report import bar, progress, spread, table
from service import Service

GIB, MIB = 1 << 30, 1 << 20
SIZE_GIB = 1024
USABLE_BAR = 1.0  # seconds
CALL, SETTLED, STARTED, USABLE, COMPLETE = (
    "ResetDisk answers",
    "the disk is In_use again",
    "its instance is started again",
    "usable: an old block is read",
    "all of it local",
)


def run(options, directory):
    mib = 64 if options.quick else 1024
    rounds = min(options.rounds, 3)
    service = Service(directory=directory / "ours")
    service.directory.mkdir()
    try:
        service.start()
        cloud = Cloud(service)
        instance, disk = cloud.attached_disk(SIZE_GIB)
        places = [number * (SIZE_GIB * GIB // (2 * mib) // MIB * MIB) for number in range(2 * mib)]
        write(service, disk, places, 0)
        snapshot = cloud.take_snapshot(disk)
        found = []
        for turn in range(rounds):
            write(service, disk, places[::2], turn + 1)
            found.append(one(service, instance, disk, snapshot, places[0]))
            progress(
                f"rollback: round {turn + 1}: usable after {found[-1][USABLE]:.3f} s, complete after {found[-1][COMPLETE]:.1f} s"
            )
    finally:
        service.destroy()
    rows = [[what, f"{spread([one[what] * 1000 for one in found])} ms"] for what in found[0]]
    note = f"{mib:,} MiB written since the snapshot, a MiB here and a MiB there; {rounds} rounds."
    table("A 1 TiB disk rolled back", ["from the call until", "time"], rows, note)
    usable = [one[USABLE] for one in found]
    what = f"a 1 TiB disk rolled back, {mib:,} MiB written since the snapshot: usable after"
    bar(what, f"under {USABLE_BAR:.0f} s", f"{spread(usable, '.3f')} s", max(usable) < USABLE_BAR)


def write(service, disk, places, seed):
    """A MiB at each place; the same for the same seed."""
    flight = []
    with service.client(disk) as client:
        for place in places:
            flight.append(client.write_later(place, content(place, seed)))
            if len(flight) == 8:
                flight.pop(0).wait()
        for pending in flight:
            pending.wait()
        client.flush()


def content(place, seed):
    return data.random_bytes(MIB, seed=seed << 20 | place // MIB)


def one(service, instance, disk, snapshot, place):
    """Seconds of each step, from the call on."""
    caller = Caller(service)
    caller.call("StopInstance", InstanceId=instance)
    poll(lambda: caller.instance(instance)["Status"] == "Stopped", f"instance {instance} is stopped")
    begun = time.monotonic()
    caller.call("ResetDisk", DiskId=disk, SnapshotId=snapshot)
    answered = time.monotonic()
    caller.until(disk, "In_use")
    settled = time.monotonic()
    caller.call("StartInstance", InstanceId=instance)
    poll(lambda: caller.instance(instance)["Status"] == "Running", f"instance {instance} is started")
    started = time.monotonic()
    with service.client(disk) as client:
        old = client.read(place, 4096)
        read = time.monotonic()
    assert old == content(place, 0)[:4096], "the block is not what it was"
    poll(lambda: caller.is_complete(disk), f"disk {disk} is complete")
    complete = time.monotonic()
    return {
        what: at - begun
        for what, at in ((CALL, answered), (SETTLED, settled), (STARTED, started), (USABLE, read), (COMPLETE, complete))
    }
