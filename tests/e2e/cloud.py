"""What tests do over and over, in the words of the service: make, attach, snapshot, wait, restore."""

import itertools
import json

import clients
from service import REGION, ZONE, wait_until

GIB = 1 << 30
_numbers = itertools.count(1)


class Cloud:
    """A service as seen through one SDK."""

    def __init__(self, service, sdk=clients.V3):
        self.service, self.sdk = service, sdk(service)

    def call(self, action, **parameters):
        return self.sdk.call(action, **parameters)

    # Rows.

    def disk(self, disk):
        return self.one("DescribeDisks", DiskIds=json.dumps([disk]))

    def instance(self, instance):
        return self.one("DescribeInstances", InstanceIds=json.dumps([instance]))

    def snapshot(self, snapshot):
        return self.one("DescribeSnapshots", SnapshotIds=json.dumps([snapshot]))

    def one(self, action, **filters):
        found = clients.rows(self.sdk, action, **filters)
        return found[0] if found else None

    def snapshots(self, disk):
        return clients.rows(self.sdk, "DescribeSnapshots", DiskId=disk)

    # Makers. Each returns as soon as the call does; the waits are separate so that a test can look in between.

    def new_instance(self, name=None):
        name = name or f"box-{next(_numbers)}"
        answer = self.call(
            "RunInstances",
            RegionId=REGION,
            ZoneId=ZONE,
            InstanceType="tidemark.external",
            InstanceName=name,
        )
        (instance,) = answer["InstanceIdSets"]["InstanceIdSet"]
        self.wait_instance(instance, "Running")
        return instance

    def new_disk(self, gib=None, snapshot=None, **more):
        parameters = dict(RegionId=REGION, ZoneId=ZONE, DiskCategory="cloud_essd", PerformanceLevel="PL0", **more)
        if gib is not None:
            parameters["Size"] = gib
        if snapshot is not None:
            parameters["SnapshotId"] = snapshot
        disk = self.call("CreateDisk", **parameters)["DiskId"]
        self.wait_disk(disk, "Available")
        return disk

    def attach(self, instance, disk):
        self.call("AttachDisk", InstanceId=instance, DiskId=disk)
        self.wait_disk(disk, "In_use")

    def detach(self, instance, disk):
        self.call("DetachDisk", InstanceId=instance, DiskId=disk)
        self.wait_disk(disk, "Available")

    def attached_disk(self, gib, instance=None, **more):
        """A disk that a client can connect to, on an instance of its own unless one is given."""
        instance = instance or self.new_instance()
        disk = self.new_disk(gib, **more)
        self.attach(instance, disk)
        return instance, disk

    def system_disk(self, instance):
        """The id of the disk that the instance was made with."""
        (row,) = clients.rows(self.sdk, "DescribeDisks", InstanceId=instance, DiskType="system")
        return row["DiskId"]

    def stop_instance(self, instance):
        self.call("StopInstance", InstanceId=instance)
        self.wait_instance(instance, "Stopped")

    def start_instance(self, instance):
        self.call("StartInstance", InstanceId=instance)
        self.wait_instance(instance, "Running")

    def take_snapshot(self, disk, **more):
        """CreateSnapshot, then waits until it is accomplished. Returns its id."""
        snapshot = self.call("CreateSnapshot", DiskId=disk, **more)["SnapshotId"]
        self.wait_snapshot(snapshot)
        return snapshot

    def restore(self, snapshot, instance, gib=None):
        """A new disk from a snapshot, attached. Returns its id."""
        disk = self.new_disk(gib, snapshot=snapshot)
        self.attach(instance, disk)
        return disk

    def release(self, disk):
        row = self.disk(disk)
        if row["Status"] == "In_use":
            self.detach(row["InstanceId"], disk)
        self.call("DeleteDisk", DiskId=disk)

    # Waits.

    def wait_instance(self, instance, status):
        wait_until(lambda: self.instance(instance)["Status"] == status, f"instance {instance} becomes {status}")

    def wait_disk(self, disk, status):
        wait_until(lambda: self.disk(disk)["Status"] == status, f"disk {disk} becomes {status}")

    def wait_snapshot(self, snapshot, timeout=300):
        """Until it is accomplished; returns every progress seen on the way, in percent."""
        seen = []

        def accomplished():
            row = self.snapshot(snapshot)
            seen.append(int(row["Progress"].rstrip("%")))
            assert row["Status"] in ("progressing", "accomplished"), f"snapshot {snapshot} ended as {row}"
            assert (row["Status"] == "accomplished") == (row["Progress"] == "100%"), row
            return row["Status"] == "accomplished"

        wait_until(accomplished, f"snapshot {snapshot} is accomplished", timeout)
        assert seen == sorted(seen), f"progress went back: {seen}"
        return seen
