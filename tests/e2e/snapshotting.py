"""Snapshots taken beside a stamping client, and their content compared with what the client knows."""

import time

from clients import EcsError
from service import wait_until


class Answered:
    """A snapshot that CreateSnapshot answered, and between which moments."""

    def __init__(self, snapshot, called, answered):
        self.snapshot, self.called, self.answered = snapshot, called, answered


def snapshots_while(choose, cloud, disk, stamper, count):
    """Takes snapshots beside the writes; returns those that were answered."""
    answered = []
    for _ in range(count):
        stamper.wait_for(len(stamper.ledger.changes) + choose.randrange(1, 400))
        answered.append(take_snapshot(cloud, disk))
        time.sleep(choose.uniform(0, 0.3))
    return answered


def take_snapshot(cloud, disk):
    """Not waiting for its end; but a disk whose snapshot is still being captured takes no other (decision 11)."""

    def call():
        called = time.monotonic()
        try:
            snapshot = cloud.call("CreateSnapshot", DiskId=disk)["SnapshotId"]
        except EcsError as refusal:
            assert refusal.code.startswith("IncorrectDiskStatus"), refusal
            return None
        return Answered(snapshot, called, time.monotonic())

    return wait_until(call, f"disk {disk} takes a snapshot")


def compare_snapshots(tally, cloud, service, disk, life, taken):
    for one in taken:
        assert cloud.snapshot(one.snapshot) is not None, f"snapshot {one.snapshot} was answered and is gone"
        cloud.wait_snapshot(one.snapshot)
        with service.client(one.snapshot) as frozen:
            life.check_snapshot(life.read(frozen.read_all), one.called, one.answered)
        tally.snapshots += 1
    # They have done their work; the next one's changes are tracked from the newest on.
    for row in cloud.snapshots(disk):
        if row["Status"] == "accomplished" and len(cloud.snapshots(disk)) > 2:
            cloud.call("DeleteSnapshot", SnapshotId=row["SnapshotId"])
            gone = row["SnapshotId"]
            wait_until(lambda: cloud.snapshot(gone) is None, f"snapshot {gone} is deleted")
