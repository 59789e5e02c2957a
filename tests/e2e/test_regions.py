"""Two regions in one service: each its own, and snapshots copied between them."""

import json
import pathlib

import clients
import data
import nbd
import pytest
from cloud import Cloud
from service import REGION, ZONE, wait_until

FAR, FAR_ZONE = "cn-beijing", "cn-beijing-a"
SIZE = 64 * data.MIB


class Far:
    """The second region of a service, through the SDK that names it in each call."""

    def __init__(self, cloud):
        self.cloud, self.service = cloud, cloud.service

    @property
    def place(self):
        return self.service.data / "regions" / FAR

    def rows(self, action, **filters):
        return clients.rows(self.cloud.sdk, action, RegionId=FAR, **filters)

    def snapshot(self, snapshot):
        return next(iter(self.rows("DescribeSnapshots", SnapshotIds=json.dumps([snapshot]))), None)

    def wait_snapshot(self, snapshot, status="accomplished"):
        seen = []

        def there():
            row = self.snapshot(snapshot)
            seen.append(int(row["Progress"].rstrip("%")))
            return row["Status"] == status

        wait_until(there, f"{snapshot} in {FAR} becomes {status}", timeout=300)
        assert seen == sorted(seen), f"progress went back: {seen}"
        return self.snapshot(snapshot)

    def client(self, export):
        return nbd.Client(self.place / "run" / "nbd.sock", export, True)

    def attached_disk(self, snapshot):
        """A disk from a snapshot, on an instance of its own."""
        answer = self.cloud.call("RunInstances", RegionId=FAR, InstanceType="tidemark.external", InstanceName="far")
        (instance,) = answer["InstanceIdSets"]["InstanceIdSet"]

        def is_(action, key, resource, status):
            wait_until(
                lambda: self.rows(action, **{key: json.dumps([resource])})[0]["Status"] == status,
                f"{resource} becomes {status}",
            )

        is_("DescribeInstances", "InstanceIds", instance, "Running")
        wanted = dict(RegionId=FAR, ZoneId=FAR_ZONE, DiskCategory="cloud_essd", SnapshotId=snapshot)
        disk = self.cloud.call("CreateDisk", **wanted)["DiskId"]
        is_("DescribeDisks", "DiskIds", disk, "Available")
        self.cloud.call("AttachDisk", InstanceId=instance, DiskId=disk)
        is_("DescribeDisks", "DiskIds", disk, "In_use")
        return disk


def copy(cloud, snapshot, **more):
    wanted = dict(RegionId=REGION, SnapshotId=snapshot, DestinationRegionId=FAR, **more)
    return cloud.call("CopySnapshot", **wanted)["SnapshotId"]


def size_of(place):
    return sum(path.stat().st_size for path in pathlib.Path(place).rglob("*") if path.is_file())


@pytest.fixture
def two(new_service):
    service = new_service(extra=["--region", REGION, "--region", FAR])
    cloud = Cloud(service)
    return cloud, Far(cloud)


def written(cloud, disk, seed, offset=0, size=SIZE):
    content = data.random_bytes(size, seed)
    with cloud.service.client(disk) as client:
        client.write_all(offset, content)
        client.flush()
    return content


def test_a_disk_of_a_copy_has_the_same_bytes_in_the_other_region(two):
    cloud, far = two
    regions = cloud.call("DescribeRegions")["Regions"]["Region"]
    assert [row["RegionId"] for row in regions] == [REGION, FAR]
    instance, disk = cloud.attached_disk(1)
    content = written(cloud, disk, seed=1)
    first = cloud.take_snapshot(disk)
    copied = copy(cloud, first, DestinationSnapshotName="far-copy", Tag=[{"Key": "of", "Value": "tide"}])
    assert far.snapshot(copied)["SnapshotName"] == "far-copy", "listed at once"
    row = far.wait_snapshot(copied)
    assert (row["SourceSnapshotId"], row["SourceRegionId"], row["RegionId"]) == (first, REGION, FAR)
    assert cloud.snapshot(copied) is None, "not in the region that it came from"
    assert size_of(far.place / "vault") > SIZE

    restored = far.attached_disk(copied)
    with far.client(restored) as client:
        assert client.read_all(0, SIZE) == content
    cloud.stop_instance(instance)
    with pytest.raises(clients.EcsError) as refused:
        cloud.call("ResetDisk", DiskId=disk, SnapshotId=copied)
    assert refused.value.code == "InvalidParameter.Mismatch", "a copy rolls its source back nowhere"
    cloud.start_instance(instance)
    with pytest.raises(clients.EcsError) as refused:
        cloud.call("CreateDisk", RegionId=FAR, ZoneId=ZONE, Size=20, DiskCategory="cloud_essd")
    assert refused.value.code == "InvalidZoneId.NotFound"

    # 2 MiB changed: that is what the second copy brings, and what is sent of it.
    changed = written(cloud, disk, seed=2, offset=16 * data.MIB, size=2 * data.MIB)
    second = cloud.take_snapshot(disk)
    had = size_of(far.place / "vault")
    words = ("snapshot", "copy", second, "--to", FAR, "--name", "second", "--wait", "--json")
    shown = json.loads(cloud.service.cli(*words).stdout)
    brought = size_of(far.place / "vault") - had
    assert 2 * data.MIB <= brought < 3 * data.MIB, f"{brought} bytes for 2 MiB"
    with far.client(shown["SnapshotId"]) as frozen:
        assert frozen.read_all(16 * data.MIB, len(changed)) == changed

    # The other commands, on the other region's directory and over the API.
    endpoint = cloud.service.cli("disk", "endpoint", restored, "--region", FAR).stdout
    assert str(far.place / "run" / "nbd.sock") in endpoint
    listed = cloud.service.cli("snapshot", "list", "--region", FAR).stdout
    assert copied in listed and first not in listed
    collected = cloud.service.cli("gc", "--data-dir", str(far.place), "--dry-run").stdout
    assert collected
    cloud.service.stop()
    looked = cloud.service.cli("doctor", "--data-dir", str(far.place))
    assert "0 damaged" in looked.stdout and "2 snapshots" in looked.stdout


def test_a_copy_is_cancelled_where_it_arrives(two):
    cloud, far = two
    _, disk = cloud.attached_disk(1)
    written(cloud, disk, seed=3, size=2 * SIZE)
    snapshot = cloud.take_snapshot(disk)
    copied = copy(cloud, snapshot)
    with pytest.raises(clients.EcsError) as refused:
        cloud.call("DeleteSnapshot", SnapshotId=snapshot)
    assert (refused.value.status, refused.value.code) == (403, "Operation.Conflict")
    assert far.snapshot(copied)["Status"] == "progressing"
    cloud.call("DeleteSnapshot", SnapshotId=copied)
    assert far.snapshot(copied) is None
    wait_until(lambda: not list((far.place / "copies").iterdir()), "what was copied is thrown away")
    cloud.call("DeleteSnapshot", SnapshotId=snapshot)
    assert cloud.snapshot(snapshot) is None


def test_a_copy_goes_on_after_kill_nine(two):
    cloud, far = two
    _, disk = cloud.attached_disk(1)
    content = written(cloud, disk, seed=4, size=2 * SIZE)
    snapshot = cloud.take_snapshot(disk)
    copied = copy(cloud, snapshot, RetentionDays=9)
    wait_until(lambda: far.snapshot(copied)["Progress"] != "0%", "it has begun")
    cloud.service.kill()
    cloud.service.start()
    assert far.snapshot(copied)["Status"] == "progressing", "it was not done when the service was killed"
    row = far.wait_snapshot(copied)
    assert row["RetentionDays"] == 9
    with far.client(copied) as frozen:
        assert frozen.read_all(0, len(content)) == content


def test_a_lost_catalogue_of_both_regions_is_made_again(two):
    cloud, far = two
    _, disk = cloud.attached_disk(1)
    written(cloud, disk, seed=5, size=data.MIB)
    snapshot = cloud.take_snapshot(disk)
    copied = copy(cloud, snapshot, RetentionDays=9)
    before = far.wait_snapshot(copied)
    service = cloud.service
    service.stop()
    for name in ("catalogue.db", "catalogue.db-wal", "catalogue.db-shm"):
        (service.data / name).unlink(missing_ok=True)
    service.cli("rebuild")
    service.cli("rebuild", "--region", FAR, "--merge")
    service.start()
    assert cloud.snapshot(snapshot)["RegionId"] == REGION
    after = far.snapshot(copied)
    same = ("SourceSnapshotId", "SourceRegionId", "RegionId", "CreationTime", "RetentionDays", "SourceDiskId")
    assert {name: after[name] for name in same} == {name: before[name] for name in same}


def test_regions_that_do_not_go_with_the_data_are_refused(two):
    cloud, _ = two
    cloud.attached_disk(1)
    service = cloud.service
    service.stop()
    for regions, word in [(["--region", FAR, "--region", REGION], "home region"), (["--region", FAR], "home region")]:
        service.extra = regions
        service.launch()
        assert service.process.wait(60) == 1
        assert word in service.log_tail(), service.log_tail()
