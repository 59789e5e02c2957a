"""Automatic snapshot policies: the API through both SDKs, the verbs for people, and a real service that runs one.

The hour cannot be waited for. So the service is down when it strikes: while it is stopped, the test moves the slot into
the past, as if the time had gone by; what was missed is made up for when the service is back. When slots are, and what is
skipped, is tested in the control plane, on a clock of its own.
"""

import json
import sqlite3
import time

import pytest

import clients
import data
from clients import EcsError
from cloud import Cloud
from service import REGION, wait_until

EVERY_DAY = json.dumps([str(day) for day in range(1, 8)])


def create(cloud, **more):
    parameters = dict(regionId=REGION, timePoints='["3","15"]', repeatWeekdays=EVERY_DAY, retentionDays=7)
    return cloud.call("CreateAutoSnapshotPolicy", **parameters | more)["AutoSnapshotPolicyId"]


def policy(cloud, identifier):
    answer = cloud.call("DescribeAutoSnapshotPolicyEx", RegionId=REGION, AutoSnapshotPolicyId=identifier)
    found = answer["AutoSnapshotPolicies"]["AutoSnapshotPolicy"]
    return found[0] if found else None


def test_the_walk_through_both_sdks(cloud):
    _, disk = cloud.attached_disk(1)
    made = create(cloud, autoSnapshotPolicyName="nightly", Tag=[{"Key": "env", "Value": "test"}])
    row = policy(cloud, made)
    assert json.loads(row["TimePoints"]) == ["3", "15"] and json.loads(row["RepeatWeekdays"]) == list("1234567")
    assert (row["AutoSnapshotPolicyName"], row["RetentionDays"], row["DiskNums"]) == ("nightly", 7, 0)
    assert row["Tags"]["Tag"] == [{"TagKey": "env", "TagValue": "test"}]

    cloud.call("ApplyAutoSnapshotPolicy", regionId=REGION, autoSnapshotPolicyId=made, diskIds=json.dumps([disk]))
    shown = cloud.disk(disk)
    assert shown["EnableAutomatedSnapshotPolicy"] and shown["AutoSnapshotPolicyId"] == made
    listed = clients.rows(cloud.sdk, "DescribeDisks", AutoSnapshotPolicyId=made)
    assert [row["DiskId"] for row in listed] == [disk]
    cloud.call("ModifyAutoSnapshotPolicyEx", regionId=REGION, autoSnapshotPolicyId=made, timePoints='["0"]')
    row = policy(cloud, made)
    assert (row["TimePoints"], row["RetentionDays"], row["DiskNums"]) == ('["0"]', 7, 1)

    with pytest.raises(EcsError) as failure:
        cloud.call("ModifyAutoSnapshotPolicyEx", regionId=REGION, autoSnapshotPolicyId=made, timePoints='["24"]')
    assert (failure.value.status, failure.value.code) == (403, "ParameterInvalid")
    assert "timePoints" in failure.value.message

    cloud.call("CancelAutoSnapshotPolicy", regionId=REGION, diskIds=json.dumps([disk]))
    assert not cloud.disk(disk)["EnableAutomatedSnapshotPolicy"]
    cloud.call("DeleteAutoSnapshotPolicy", regionId=REGION, autoSnapshotPolicyId=made)
    assert policy(cloud, made) is None
    with pytest.raises(EcsError) as failure:
        cloud.call("DeleteAutoSnapshotPolicy", regionId=REGION, autoSnapshotPolicyId=made)
    assert (failure.value.status, failure.value.code) == (404, "ParameterInvalid")


def test_associations(v3):
    _, disk = v3.attached_disk(1)
    made = create(v3)
    v3.call("ApplyAutoSnapshotPolicy", regionId=REGION, autoSnapshotPolicyId=made, diskIds=json.dumps([disk]))
    for one_side in ({"AutoSnapshotPolicyId": made}, {"DiskId": disk}):
        answer = v3.call("DescribeAutoSnapshotPolicyAssociations", RegionId=REGION, **one_side)
        rows = answer["AutoSnapshotPolicyAssociations"]["AutoSnapshotPolicyAssociation"]
        assert rows == [{"AutoSnapshotPolicyId": made, "DiskId": disk}]
    v3.call("DeleteAutoSnapshotPolicy", regionId=REGION, autoSnapshotPolicyId=made)


def test_verbs_for_people(service, v3):
    _, disk = v3.attached_disk(1)
    made = json.loads(service.cli("policy", "create", "--at", "3,15", "--on", "mon,sun", "--for-ever", "--json").stdout)
    identifier = made["AutoSnapshotPolicyId"]
    assert made["RetentionDays"] == -1 and json.loads(made["RepeatWeekdays"]) == ["1", "7"]
    assert identifier in service.cli("policy", "list").stdout
    service.cli("policy", "apply", identifier, disk)
    shown = service.cli("policy", "show", identifier).stdout
    assert disk in shown and "mon,sun" in shown and "for ever" in shown
    rows = json.loads(service.cli("policy", "next", identifier, "--count", "4", "--json").stdout)
    assert len(rows) == 4 and [row["Next"] for row in rows] == sorted(row["Next"] for row in rows)
    assert {row["NextInUtc8"].split()[2] for row in rows} == {"03:00", "15:00"}
    assert all(row["NextInUtc8"][:3] in ("Mon", "Sun") for row in rows)
    changed = json.loads(service.cli("policy", "modify", identifier, "--at", "4", "--retention-days", "14", "--json").stdout)
    assert (changed["TimePoints"], changed["RetentionDays"], changed["DiskNums"]) == ('["4"]', 14, 1)
    assert changed["RepeatWeekdays"] == '["1","7"]', "what is not named stays"
    refused = service.cli("policy", "modify", identifier, check=False)
    assert refused.returncode != 0 and "nothing to change" in refused.stderr
    service.cli("policy", "cancel", disk)
    assert not v3.disk(disk)["EnableAutomatedSnapshotPolicy"]
    service.cli("policy", "delete", identifier)
    refused = service.cli("policy", "show", identifier, check=False)
    assert refused.returncode == 1 and identifier in refused.stderr


def test_a_slot_that_passed_while_the_service_was_down(new_service):
    service = new_service()
    cloud = Cloud(service)
    _, disk = cloud.attached_disk(1)
    content = data.random_bytes(4 * data.MIB, seed=3)
    with service.client(disk) as client:
        client.write_all(0, content)
    made = create(cloud, Tag=[{"Key": "env", "Value": "test"}])
    cloud.call("ApplyAutoSnapshotPolicy", regionId=REGION, autoSnapshotPolicyId=made, diskIds=json.dumps([disk]))
    assert cloud.snapshots(disk) == []

    service.stop()
    catalogue = sqlite3.connect(service.data / "catalogue.db")
    with catalogue:
        catalogue.execute("UPDATE policy_disks SET due_ms = ?", [int(time.time() * 1000) - 3 * 24 * 3600 * 1000])
    catalogue.close()
    began = time.time()
    service.start()

    cloud = Cloud(service)
    wait_until(lambda: cloud.snapshots(disk), "the missed snapshot is made up for")
    (row,) = cloud.snapshots(disk)
    cloud.wait_snapshot(row["SnapshotId"])
    # Midnight may pass while we look.
    days = [time.strftime("%Y%m%d", time.gmtime(at + 8 * 3600)) for at in (began, time.time())]
    assert row["SnapshotName"] in [f"auto2.0_{day}_{made}" for day in days], "named by the day in UTC+8"
    assert (row["SnapshotType"], row["RetentionDays"]) == ("timer", 7)
    assert row["Tags"]["Tag"] == [{"TagKey": "env", "TagValue": "test"}]
    with service.client(row["SnapshotId"]) as frozen:
        assert frozen.read_all(0, len(content)) == content
    # One for three days; and the rounds that follow add none.
    time.sleep(12)
    assert [one["SnapshotId"] for one in cloud.snapshots(disk)] == [row["SnapshotId"]]
