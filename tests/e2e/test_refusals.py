"""Every refusal has its documented code, names the cause, and leaves no trace.

Covers S10 to S13 as far as a state can be held still from outside (the full table is tested in the
control plane), names, descriptions, retention, tags, quotas, tokens, deletes and signatures.
"""

import json
import time

import pytest

import clients
import data
from clients import EcsError
from cloud import Cloud
from service import REGION, ZONE, wait_until

MIB = data.MIB
NOBODY = "d-bp1nosuchdisk00000000"


@pytest.fixture
def refused(v3, service):
    """Checks that a call is refused with (code, status), that the message holds `naming`, and that disks,
    snapshots, instances and the vault are as they were."""

    def world():
        listed = {}
        for action, (_, item) in clients.LISTS.items():
            for row in clients.rows(v3.sdk, action):
                listed[row[f"{item}Id"]] = row
        return listed, data.directory_bytes(service.vault)

    def check(code, status, action, naming="", cloud=v3, **parameters):
        before = world()
        with pytest.raises(EcsError) as failure:
            cloud.call(action, **parameters)
        assert (failure.value.code, failure.value.status) == (code, status), failure.value
        assert naming in failure.value.message, f"{naming!r} is not named in: {failure.value.message}"
        after = world()
        assert after == before, f"{action} was refused with {code} and left something behind"

    return check


@pytest.fixture
def attached(v3):
    return v3.attached_disk(1)


@pytest.fixture
def used(v3, service, attached):
    """A disk that a client has written to."""
    with service.client(attached[1]) as client:
        client.write(0, data.random_bytes(MIB, seed=1))
    return attached[1]


def test_unknown_things(refused):
    for cloud_action, code, parameters in [
        ("CreateSnapshot", "InvalidDiskId.NotFound", {"DiskId": NOBODY}),
        ("DeleteDisk", "InvalidDiskId.NotFound", {"DiskId": NOBODY}),
        ("DeleteSnapshot", "InvalidSnapshotId.NotFound", {"SnapshotId": "s-bp1nosuch"}),
        ("ResetDisk", "InvalidDiskId.NotFound", {"DiskId": NOBODY, "SnapshotId": "s-bp1nosuch"}),
        ("StartInstance", "InvalidInstanceId.NotFound", {"InstanceId": "i-bp1nosuch"}),
        ("StopInstance", "InvalidInstanceId.NotFound", {"InstanceId": "i-bp1nosuch"}),
        ("DeleteInstance", "InvalidInstanceId.NotFound", {"InstanceId": "i-bp1nosuch"}),
        ("AttachDisk", "InvalidInstanceId.NotFound", {"InstanceId": "i-bp1nosuch", "DiskId": NOBODY}),
        ("CreateDisk", "InvalidSnapshotId.NotFound", {"RegionId": REGION, "ZoneId": ZONE, "SnapshotId": "s-bp1no"}),
        ("CreateDisk", "InvalidZoneId.NotFound", {"RegionId": REGION, "ZoneId": "cn-hangzhou-zz", "Size": 20}),
        ("CreateDisk", "InvalidRegionId.NotFound", {"RegionId": "mars-north-1", "ZoneId": ZONE, "Size": 20}),
    ]:
        refused(code, 404, cloud_action, **parameters)


def test_filters_that_match_nothing_are_no_error(v3):
    """Unknown ids in Describe calls give an empty list, never a missing one (S52)."""
    for action, parameters in [
        ("DescribeSnapshots", {"DiskId": NOBODY}),
        ("DescribeSnapshots", {"SnapshotIds": "[]"}),
        ("DescribeDisks", {"DiskIds": json.dumps([NOBODY])}),
        ("DescribeDisks", {"DiskIds": "[]"}),
        ("DescribeInstances", {"InstanceIds": '["i-none"]'}),
    ]:
        assert clients.rows(v3.sdk, action, **parameters) == []


def test_a_disk_that_was_never_attached(v3, refused):
    disk = v3.new_disk(1)
    refused("IncorrectDiskStatus.NeverAttached", 403, "CreateSnapshot", naming=disk, DiskId=disk)


def test_states_of_disk_and_instance(v3, refused, attached):
    instance, disk = attached
    other = v3.new_instance()
    refused("IncorrectDiskStatus", 403, "DeleteDisk", naming="In_use", DiskId=disk)
    refused("InvalidDisk.InUse", 404, "AttachDisk", InstanceId=other, DiskId=disk)
    refused("DependencyViolation", 403, "DetachDisk", InstanceId=other, DiskId=disk)
    refused("IncorrectInstanceStatus", 403, "StartInstance", naming="Running", InstanceId=instance)
    refused("IncorrectInstanceStatus", 403, "DeleteInstance", naming="Running", InstanceId=instance)
    v3.detach(instance, disk)
    refused("InvalidDisk.AlreadyDetached", 404, "DetachDisk", InstanceId=instance, DiskId=disk)
    v3.stop_instance(instance)
    refused("IncorrectInstanceStatus", 403, "StopInstance", naming="Stopped", InstanceId=instance)


@pytest.mark.parametrize(
    ("parameter", "value", "code", "status"),
    [
        ("SnapshotName", "x", "InvalidSnapshotName.Malformed", 400),
        ("SnapshotName", "1starts-with-a-digit", "InvalidSnapshotName.Malformed", 400),
        ("SnapshotName", "automatic", "InvalidSnapshotName.Malformed", 400),
        ("SnapshotName", "http://name", "InvalidSnapshotName.Malformed", 400),
        ("SnapshotName", "n" * 129, "InvalidSnapshotName.Malformed", 400),
        ("SnapshotName", "no spaces", "InvalidSnapshotName.Malformed", 400),
        ("Description", "x", "InvalidDescription.Malformed", 404),
        ("Description", "https://description", "InvalidDescription.Malformed", 404),
        ("Description", "d" * 257, "InvalidDescription.Malformed", 404),
        ("RetentionDays", 0, "InvalidRetentionDays.Malformed", 400),
        ("RetentionDays", 65537, "InvalidRetentionDays.Malformed", 400),
        ("RetentionDays", -1, "InvalidRetentionDays.Malformed", 400),
        ("ClientToken", "t" * 65, "InvalidClientToken.Malformed", 403),
        ("Tag", [{"Key": "acs:mine", "Value": "v"}], "InvalidTagKey.Malformed", 400),
        ("Tag", [{"Key": "k" * 129, "Value": "v"}], "InvalidTagKey.Malformed", 400),
        ("Tag", [{"Key": "k", "Value": "http://v"}], "InvalidTagValue.Malformed", 400),
        ("Tag", [{"Key": "k", "Value": "a"}, {"Key": "k", "Value": "b"}], "Duplicate.TagKey", 400),
    ],
)
def test_malformed_parameters_of_create_snapshot(refused, used, parameter, value, code, status):
    refused(code, status, "CreateSnapshot", DiskId=used, **{parameter: value})


@pytest.mark.parametrize("name", ["ab", "快照-1", "a" * 128, "Over:the_top.v-1"])
def test_names_that_are_right(v3, used, name):
    snapshot = v3.take_snapshot(used, SnapshotName=name, Description="x" * 256, RetentionDays=65536)
    row = v3.snapshot(snapshot)
    assert (row["SnapshotName"], row["Description"], row["RetentionDays"]) == (name, "x" * 256, 65536)


def test_malformed_parameters_of_create_disk(refused):
    place = {"RegionId": REGION, "ZoneId": ZONE}
    refused("MissingParameter", 400, "CreateDisk", **place)
    refused("InvalidDiskCategory.ValueNotSupported", 400, "CreateDisk", DiskCategory="floppy", Size=40, **place)
    refused("InvalidSize.ValueNotSupported", 400, "CreateDisk", DiskCategory="cloud_ssd", Size=19, **place)
    refused("InvalidSize.ValueNotSupported", 400, "CreateDisk", DiskCategory="cloud_ssd", Size=32769, **place)
    refused("InvalidDiskName.Malformed", 400, "CreateDisk", DiskName="-", Size=40, **place)


def test_one_snapshot_at_a_time_and_cancelling_it(v3, service, refused, attached):
    """While one is being made: no second, no rollback, no release. Deleting it cancels it (2021 rules)."""
    instance, disk = attached
    earlier = None
    with service.client(disk) as client:
        client.write(0, data.random_bytes(MIB, seed=2))
        earlier = v3.take_snapshot(disk)
        client.write_all(0, data.random_bytes(600 * MIB, seed=3))
    v3.stop_instance(instance)
    snapshot = v3.call("CreateSnapshot", DiskId=disk)["SnapshotId"]
    outcomes = []
    for action, parameters in [
        ("CreateSnapshot", {"DiskId": disk}),
        ("ResetDisk", {"DiskId": disk, "SnapshotId": earlier}),
        ("CreateDisk", {"RegionId": REGION, "ZoneId": ZONE, "SnapshotId": snapshot}),
    ]:
        with pytest.raises(EcsError) as failure:
            v3.call(action, **parameters)
        outcomes.append((failure.value.code, failure.value.status))
    assert v3.snapshot(snapshot)["Status"] == "progressing", "600 MiB were captured before three calls were over"
    assert outcomes == [
        ("IncorrectDiskStatus.CreatingSnapshot", 403),
        ("IncorrectDiskStatus.HasUnfinishedSnapshot", 403),
        ("InvalidSnapshotId.NotReady", 403),
    ]
    v3.call("DeleteSnapshot", SnapshotId=snapshot)
    assert [row["SnapshotId"] for row in v3.snapshots(disk)] == [earlier]
    # What the cancelled one would have held is in the next one.
    following = v3.take_snapshot(disk)
    with service.client(following) as frozen:
        assert frozen.read_all(0, 64 * MIB) == data.random_bytes(600 * MIB, seed=3)[: 64 * MIB]


def test_rollback_to_what_is_not_its_own(v3, service, refused, used, attached):
    snapshot = v3.take_snapshot(used)
    other_instance, other = v3.attached_disk(1)
    refused("IncorrectInstanceStatus", 403, "ResetDisk", naming="Running", DiskId=used, SnapshotId=snapshot)
    v3.stop_instance(other_instance)
    refused("InvalidParameter.Mismatch", 403, "ResetDisk", DiskId=other, SnapshotId=snapshot)


def test_client_tokens(v3, refused, used):
    """The same token again is the same snapshot; with other parameters it is an error (S13)."""
    first = v3.call("CreateSnapshot", DiskId=used, ClientToken="once", SnapshotName="name-1")
    again = v3.call("CreateSnapshot", DiskId=used, ClientToken="once", SnapshotName="name-1")
    assert first["SnapshotId"] == again["SnapshotId"] and first["RequestId"] != again["RequestId"]
    v3.wait_snapshot(first["SnapshotId"])
    refused(
        "IdempotentParameterMismatch", 403, "CreateSnapshot", DiskId=used, ClientToken="once", SnapshotName="other"
    )
    assert len(v3.snapshots(used)) == 1


def test_the_quota_of_manual_snapshots(v3, refused, used):
    """256 per disk, and a refused one does not count; deleting one makes room."""
    for number in range(256):
        snapshot = v3.take_snapshot(used, SnapshotName=f"number-{number}")
    refused("QuotaExceed.Snapshot", 403, "CreateSnapshot", naming="256", DiskId=used)
    v3.call("DeleteSnapshot", SnapshotId=snapshot)
    v3.take_snapshot(used)


def test_too_many_disks_on_an_instance(v3, refused):
    instance = v3.new_instance()
    for _ in range(16):
        v3.attached_disk(1, instance)
    disk = v3.new_disk(1)
    refused("InstanceDiskLimitExceeded", 403, "AttachDisk", naming="16", InstanceId=instance, DiskId=disk)


def test_modify_and_tags(v3, service, refused, used):
    snapshot = v3.take_snapshot(used, RetentionDays=10, Tag=[{"Key": "team", "Value": "blue"}])
    assert v3.snapshot(snapshot)["Tags"]["Tag"] == [{"TagKey": "team", "TagValue": "blue"}]
    refused("NoAttributeToModify", 400, "ModifySnapshotAttribute", SnapshotId=snapshot)
    refused(
        "InvalidOperation.DecreaseRetentionDaysUnsupported", 400, "ModifySnapshotAttribute",
        SnapshotId=snapshot, RetentionDays=9,
    )  # fmt: skip
    v3.call("ModifySnapshotAttribute", SnapshotId=snapshot, SnapshotName="renamed", RetentionDays=11)
    assert (v3.snapshot(snapshot)["SnapshotName"], v3.snapshot(snapshot)["RetentionDays"]) == ("renamed", 11)
    where = {"RegionId": REGION, "ResourceType": "snapshot"}
    v3.call("TagResources", ResourceId=[snapshot], Tag=[{"Key": "team", "Value": "red"}, {"Key": "x", "Value": ""}], **where)
    # The record in the vault follows in the background; it must not be taken for a trace of the refusal.
    record = service.vault / "snapshots" / snapshot
    wait_until(lambda: '"red"' in record.read_text(errors="replace"), "the record has the new tags")
    refused(
        "InvalidResourceId.NotFound", 404, "TagResources",
        ResourceId=[snapshot, "s-bp1none"], Tag=[{"Key": "y", "Value": ""}], **where,
    )  # fmt: skip
    listed = v3.call("ListTagResources", ResourceId=[snapshot], **where)["TagResources"]["TagResource"]
    assert {(row["TagKey"], row["TagValue"]) for row in listed} == {("team", "red"), ("x", "")}
    found = clients.rows(v3.sdk, "DescribeSnapshots", Tag=[{"Key": "team", "Value": "red"}])
    assert [row["SnapshotId"] for row in found] == [snapshot]
    v3.call("UntagResources", ResourceId=[snapshot], All=True, **where)
    assert v3.snapshot(snapshot)["Tags"]["Tag"] == []


@pytest.mark.parametrize("sdk", [clients.V3, clients.V1], ids=lambda sdk: sdk.name)
def test_wrong_keys(service, sdk):
    with pytest.raises(EcsError) as failure:
        sdk(service, key="nobody").call("DescribeRegions")
    assert (failure.value.code, failure.value.status) == ("InvalidAccessKeyId.NotFound", 404)
    with pytest.raises(EcsError) as failure:
        sdk(service, secret="wrong").call("DescribeRegions")
    # The V1 SDK compares our string-to-sign with its own; finding them equal, it blames the secret by this code.
    code = "SignatureDoesNotMatch" if sdk is clients.V3 else "InvalidAccessKeySecret"
    assert (failure.value.code, failure.value.status) == (code, 400)


def test_plain_requests(service):
    """Without a signature: an error body in XML, the default of the old protocol. Health needs none."""
    status, body = service.get("/?Action=DescribeRegions&Version=2014-05-26")
    assert status == 400 and body.startswith(b"<?xml") and b"<Code>" in body
    status, body = service.get("/?Action=DescribeRegions&Version=2014-05-26&Format=JSON")
    assert status == 400 and set(json.loads(body)) >= {"Code", "Message", "RequestId", "HostId", "Recommend"}
    assert service.get("/healthz")[0] == 200


def test_pages(v3, used):
    """Every snapshot is on exactly one page, newest first, by page number and by token."""
    made = [v3.take_snapshot(used) for _ in range(12)]
    by_number = []
    for page in (1, 2, 3):
        answer = v3.call("DescribeSnapshots", RegionId=REGION, DiskId=used, PageNumber=page, PageSize=5)
        assert (answer["PageNumber"], answer["PageSize"], answer["TotalCount"]) == (page, 5, 12)
        by_number += [row["SnapshotId"] for row in answer["Snapshots"]["Snapshot"]]
    by_token, token = [], None
    while True:
        more = {"NextToken": token} if token else {}
        answer = v3.call("DescribeSnapshots", RegionId=REGION, DiskId=used, MaxResults=10, **more)
        by_token += [row["SnapshotId"] for row in answer["Snapshots"]["Snapshot"]]
        token = answer.get("NextToken")
        if not token:
            break
    assert sorted(by_number) == sorted(made) and by_number == by_token
    times = [v3.snapshot(snapshot)["CreationTime"] for snapshot in by_number]
    assert times == sorted(times, reverse=True)


def test_the_call_does_not_wait_for_the_data(v3, service, attached):
    """CreateSnapshot answers while almost nothing has been copied (S14)."""
    _, disk = attached
    with service.client(disk) as client:
        client.write_all(0, data.random_bytes(512 * MIB, seed=5))
    snapshot = v3.call("CreateSnapshot", DiskId=disk)["SnapshotId"]
    row = v3.snapshot(snapshot)
    assert row["Status"] == "progressing" and int(row["Progress"].rstrip("%")) < 90, row
    seen = v3.wait_snapshot(snapshot)
    assert len(set(seen)) > 2, f"progress was only ever seen as {sorted(set(seen))}"
    assert time.strptime(v3.snapshot(snapshot)["CreationTime"], "%Y-%m-%dT%H:%M:%SZ")
