"""A deleted snapshot comes back, until it is gone for good."""

import json

import data
from cloud import Cloud
from service import wait_until

SIZE = 4 * data.MIB


def test_a_deleted_snapshot_comes_back_until_it_is_gone_for_good(new_service):
    service = new_service()
    cloud = Cloud(service)
    _, disk = cloud.attached_disk(1)
    content = data.random_bytes(SIZE, seed=7)
    with service.client(disk) as client:
        client.write_all(0, content)
    snapshot = cloud.take_snapshot(disk, SnapshotName="precious", Tag=[{"Key": "env", "Value": "test"}])
    with service.client(disk) as client:
        client.write_all(0, data.random_bytes(SIZE, seed=8))
    before = cloud.snapshot(snapshot)

    def deleted():
        return json.loads(service.cli("snapshot", "deleted", "--json").stdout)

    def delete():
        service.cli("snapshot", "delete", snapshot)
        wait_until(lambda: cloud.snapshot(snapshot) is None, "the snapshot is off the list")
        wait_until(deleted, "it can be brought back")

    assert deleted() == []
    delete()
    (row,) = deleted()
    assert (row["SnapshotId"], row["SourceDiskId"], row["SnapshotName"]) == (snapshot, disk, "precious")
    assert row["DeletedUntil"].endswith("Z")
    assert "precious" in service.cli("snapshot", "deleted").stdout
    assert "is back" in service.cli("snapshot", "undelete", snapshot).stdout
    back = cloud.snapshot(snapshot)
    same = ("SnapshotName", "Tags", "Status", "SourceDiskId", "SnapshotSN", "CreationTime", "SnapshotLinkId")
    assert {name: back.get(name) for name in same} == {name: before.get(name) for name in same}
    assert back["Status"] == "accomplished" and deleted() == []
    with service.client(snapshot) as frozen:
        assert frozen.read_all(0, SIZE) == content

    delete()
    service.cli("gc", "--vault", str(service.vault), "--purge-deleted")
    refused = service.cli("snapshot", "undelete", snapshot, check=False)
    assert refused.returncode == 1 and "gone for good" in refused.stderr
    assert deleted() == [] and cloud.snapshot(snapshot) is None
