"""Snapshots of several disks as of one instant, locks that hold, and figures that agree with each other and with the vault."""

import csv
import io
import json
import time

import pytest

import data
from clients import EcsError
from cloud import Cloud, GIB
from oracle import Writer, check_point_in_time
from service import REGION, wait_until

MIB = data.MIB


def group_of(cloud, group):
    answer = cloud.call("DescribeSnapshotGroups", RegionId=REGION, SnapshotGroupId=[group])
    found = answer["SnapshotGroups"]["SnapshotGroup"]
    return found[0] if found else None


def wait_group(cloud, group):
    def accomplished():
        row = group_of(cloud, group)
        assert row["Status"] in ("progressing", "accomplished"), row
        return row if row["Status"] == "accomplished" else None

    return wait_until(accomplished, f"group {group} is accomplished", 300)


def refusal(cloud, action, **parameters):
    with pytest.raises(EcsError) as refused:
        cloud.call(action, **parameters)
    return refused.value.status, refused.value.code


def test_a_group_is_one_instant_of_all_its_disks(v3, service):
    instance, first = v3.attached_disk(4)
    disks = [first, v3.attached_disk(4, instance)[1]]
    connections = [service.client(disk) for disk in disks]
    writers = [
        Writer(connection, 1 * GIB, region_blocks=1024, seed=seed, depth=8) for seed, connection in enumerate(connections)
    ]
    for writer in writers:
        writer.start()
    taken = []
    for _ in range(3):
        for writer in writers:
            writer.wait_for(len(writer.history) + 300)
        called = time.monotonic()
        answer = v3.call(
            "CreateSnapshotGroup", RegionId=REGION, InstanceId=instance, DiskId=disks, Name="both", Tag=[{"Key": "k", "Value": "v"}]
        )
        taken.append((answer["SnapshotGroupId"], called, time.monotonic()))
        wait_group(v3, answer["SnapshotGroupId"])
    for writer in writers:
        writer.stop()
    for group, called, answered in taken:
        row = group_of(v3, group)
        assert (row["InstanceId"], row["Name"], row["Tags"]["Tag"]) == (instance, "both", [{"Key": "k", "Value": "v"}])
        members = {member["SourceDiskId"]: member["SnapshotId"] for member in row["Snapshots"]["Snapshot"]}
        assert sorted(members) == sorted(disks)
        found = []
        for disk, writer in zip(disks, writers):
            with service.client(members[disk]) as frozen:
                found.append(writer.found_in(frozen.read_all))
            check_point_in_time(writer, found[-1], called, answered)
        # Across the disks: what one writer had acknowledged before another's write in the group was issued is in it.
        latest = max(
            writer.history[sequence - 1].issued
            for writer, state in zip(writers, found)
            for sequence in state
            if sequence
        )
        for writer, state in zip(writers, found):
            check_point_in_time(writer, state, max(called, latest), answered)
    for connection in connections:
        connection.close()

    # All disks go back together, and only while the instance is stopped.
    group = group_of(v3, taken[0][0])
    pairs = [
        {"DiskId": member["SourceDiskId"], "SnapshotId": member["SnapshotId"]}
        for member in group["Snapshots"]["Snapshot"]
    ]
    assert refusal(v3, "ResetDisks", RegionId=REGION, Disk=pairs) == (403, "IncorrectInstanceStatus")
    v3.stop_instance(instance)
    answer = v3.call("ResetDisks", RegionId=REGION, Disk=pairs)
    outcomes = answer["OperationProgressSet"]["OperationProgress"]
    assert [outcome["OperationStatus"] for outcome in outcomes] == ["Success", "Success"]
    for disk in disks:
        v3.wait_disk(disk, "In_use")
    v3.start_instance(instance)
    for pair in pairs:
        data.compare(service.uri(pair["SnapshotId"]), service.uri(pair["DiskId"]))

    # A locked member outlives its group; the command line says so and fails.
    locked, other = pairs[0]["SnapshotId"], pairs[1]["SnapshotId"]
    service.cli("snapshot", "lock", locked, "--days", "1", "--cool-off", "1")
    listed = v3.call("DescribeLockedSnapshots", RegionId=REGION, SnapshotIds=[locked])["LockedSnapshotsInfo"]
    assert [(lock["SnapshotId"], lock["LockStatus"]) for lock in listed] == [(locked, "compliance-cooloff")]
    deleted = service.cli("group", "delete", group["SnapshotGroupId"], check=False)
    assert deleted.returncode != 0 and "locked" in deleted.stdout, deleted.stdout + deleted.stderr
    assert group_of(v3, group["SnapshotGroupId"]) is None and v3.snapshot(other) is None
    assert v3.snapshot(locked)["Status"] == "accomplished"
    assert refusal(v3, "DeleteSnapshot", SnapshotId=locked, Force=True) == (403, "InvalidOperation.SnapshotLocked")
    service.cli("snapshot", "unlock", locked)
    v3.call("DeleteSnapshot", SnapshotId=locked)
    assert v3.snapshot(locked) is None


def test_a_killed_service_has_all_of_a_group_or_nothing(new_service):
    service = new_service()
    cloud = Cloud(service)
    instance, first = cloud.attached_disk(1)
    disks = [first, cloud.attached_disk(1, instance)[1]]
    for seed, disk in enumerate(disks):
        with service.client(disk) as client:
            client.write_all(0, data.random_bytes(16 * MIB, seed=seed))
    group = cloud.call("CreateSnapshotGroup", RegionId=REGION, InstanceId=instance, DiskId=disks, ClientToken="T")
    service.kill()
    service.start()
    row = wait_group(cloud, group["SnapshotGroupId"])
    assert len(row["Snapshots"]["Snapshot"]) == 2
    again = cloud.call("CreateSnapshotGroup", RegionId=REGION, InstanceId=instance, DiskId=disks, ClientToken="T")
    assert again["SnapshotGroupId"] == group["SnapshotGroupId"]
    for member in row["Snapshots"]["Snapshot"]:
        data.compare(service.uri(member["SnapshotId"]), service.uri(member["SourceDiskId"]))


def test_every_figure_is_the_vaults(new_service, scratch):
    (scratch / "t.toml").write_text("snapshot-price = '0.12 CNY'\n[limits]\ndisks-per-snapshot-group = 1\n")
    service = new_service(extra=["--config", str(scratch / "t.toml")])
    cloud = Cloud(service)
    instance, disk = cloud.attached_disk(1)
    for seed in range(2):
        with service.client(disk) as client:
            client.write_all(seed * 4 * MIB, data.random_bytes(8 * MIB, seed=seed))
        cloud.take_snapshot(disk)
    assert refusal(cloud, "CreateSnapshotGroup", RegionId=REGION, InstanceId=instance) == (403, "NumberExceed.TooManyDisks")

    def figures():
        usage = cloud.call("DescribeSnapshotsUsage", RegionId=REGION)
        links = cloud.call("DescribeSnapshotLinks", RegionId=REGION)["SnapshotLinks"]["SnapshotLink"]
        metered = json.loads(service.cli("usage", "--by", "snapshot", "--json").stdout)
        return usage["SnapshotSize"], [(link["SourceDiskId"], link["TotalSize"]) for link in links], {
            item["SnapshotId"]: item["Size"] for item in metered if item["Size"]
        }

    def agree():
        du = json.loads(service.cli("vault", "du", service.vault, "--json").stdout)
        expected = (
            du["Packs"]["All"]["LiveBytes"],
            [(one["DiskId"], one["CountedBytes"]) for one in du["Disks"]],
            {one["SnapshotId"]: one["CountedBytes"] for one in du["Snapshots"]},
        )
        return figures() == expected and expected

    total, _, each = wait_until(agree, "the service's figures are the vault's")
    assert total == sum(each.values()) > 12 * MIB
    oldest = cloud.snapshots(disk)[-1]["SnapshotId"]
    cloud.call("DeleteSnapshot", SnapshotId=oldest)
    after, _, rest = wait_until(
        lambda: cloud.snapshot(oldest) is None and oldest not in figures()[2] and agree(), "the rest is the vault's, too"
    )
    assert after < total and len(rest) == 1

    # Nothing is forgotten by a kill, and files for others say the same as the tables.
    service.kill()
    service.start()
    assert figures()[0] == after
    rows = list(csv.DictReader(io.StringIO(service.cli("usage", "--by", "region", "--csv").stdout)))
    assert [(row["RegionId"], row["Size"]) for row in rows] == [(REGION, str(after))]
    assert rows[0]["Currency"] == "CNY" and rows[0]["StartTime"] < rows[0]["EndTime"]
    assert int(rows[0]["ByteHours"]) >= total and float(rows[0]["Cost"]) > 0
    assert disk in service.cli("usage").stdout
    left = cloud.snapshots(disk)[0]["SnapshotId"]
    cloud.call("TagResources", RegionId=REGION, ResourceType="snapshot", ResourceId=[left], Tag=[{"Key": "team", "Value": "red"}])
    by_tag = json.loads(service.cli("usage", "--by", "tag", "--tag", "team", "--json").stdout)
    assert {item["TagValue"]: item["Size"] for item in by_tag} == {"red": after, "": 0}
    refused = service.cli("usage", "--by", "tag", check=False)
    assert refused.returncode != 0 and "--tag" in refused.stderr
