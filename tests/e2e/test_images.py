"""Disks that grow and are made anew, images, and instances of them, by each vendor SDK over the real service."""

import json
import os

import pytest

from clients import EcsError
from cloud import GIB
from service import REGION, run, wait_until

MIB = 1 << 20


def refusal(call, *arguments, **parameters):
    with pytest.raises(EcsError) as refused:
        call(*arguments, **parameters)
    return refused.value.status, refused.value.code


def image_row(cloud, image):
    found = cloud.call("DescribeImages", RegionId=REGION, ImageId=image, Status="ALL")["Images"]["Image"]
    return found[0] if found else None


def wait_image(cloud, image):
    wait_until(lambda: image_row(cloud, image)["Status"] == "Available", f"image {image} becomes Available")


def content(service, scratch, disk, length):
    """The first bytes of an export."""
    run("qemu-img", "dd", "-f", "raw", "-O", "raw", f"if={service.uri(disk)}", f"of={scratch}/out", "bs=1M", f"count={length // MIB}")
    return (scratch / "out").read_bytes()


def size_of(service, disk):
    info = run("qemu-img", "info", "--output=json", "-f", "raw", service.uri(disk))
    return json.loads(info.stdout)["virtual-size"]


def fill(service, scratch, disk, data):
    (scratch / "in").write_bytes(data)
    run("qemu-io", "-f", "raw", "-c", f"write -s {scratch}/in 0 {len(data)}", "-c", "flush", service.uri(disk))


def test_a_disk_grows_and_is_made_anew(cloud, service, scratch):
    instance, disk = cloud.attached_disk(8)
    first = os.urandom(4 * MIB)
    fill(service, scratch, disk, first)
    snapshot = cloud.take_snapshot(disk)
    cloud.call("ResizeDisk", DiskId=disk, NewSize=12, Type="online")
    assert cloud.disk(disk)["Size"] == 12
    assert size_of(service, disk) == 12 * GIB, "who connects now sees it"
    run("qemu-io", "-f", "raw", "-c", "write -P 7 11G 1M", "-c", "flush", service.uri(disk))
    assert refusal(cloud.call, "ResizeDisk", DiskId=disk, NewSize=8) == (403, "InvalidDiskSize.TooSmall")

    # It keeps its size in a rollback; a disk of the snapshot goes back to that, with the size of today.
    copy = cloud.restore(snapshot, instance)
    fill(service, scratch, copy, os.urandom(4 * MIB))
    cloud.call("ResizeDisk", DiskId=copy, NewSize=10)
    cloud.stop_instance(instance)
    cloud.call("ResetDisk", DiskId=disk, SnapshotId=snapshot)
    cloud.call("ReInitDisk", DiskId=copy)
    for id in (disk, copy):
        cloud.wait_disk(id, "In_use")
    service.kill()
    service.start()
    cloud.start_instance(instance)
    assert (size_of(service, disk), size_of(service, copy)) == (12 * GIB, 10 * GIB)
    assert content(service, scratch, disk, len(first)) == first
    assert content(service, scratch, copy, len(first)) == first
    run("qemu-io", "-f", "raw", "-c", "read -P 0 11G 1M", service.uri(disk))


def test_instances_of_an_image(cloud, service, scratch):
    instance = cloud.new_instance()
    system = cloud.system_disk(instance)
    data = os.urandom(4 * MIB)
    fill(service, scratch, system, data)
    name = f"golden-{instance}"
    image = cloud.call("CreateImage", RegionId=REGION, InstanceId=instance, ImageName=name)["ImageId"]
    assert image_row(cloud, image) is not None, "visible to the very next Describe"
    wait_image(cloud, image)
    row = image_row(cloud, image)
    (mapping,) = row["DiskDeviceMappings"]["DiskDeviceMapping"]
    assert (mapping["Size"], row["Size"], row["Progress"]) == ("40", 40, "100%")
    snapshot = mapping["SnapshotId"]
    assert cloud.snapshot(snapshot)["Usage"] == "image"
    assert refusal(cloud.call, "DeleteSnapshot", SnapshotId=snapshot, Force=True) == (403, "SnapshotCreatedImage")

    # One that is not started, as old tools make them, and started with the next call.
    made = cloud.call(
        "CreateInstance", RegionId=REGION, InstanceType="tidemark.external", ImageId=image, InstanceName="copy"
    )["InstanceId"]
    cloud.call("StartInstance", InstanceId=made)
    cloud.wait_instance(made, "Running")
    assert content(service, scratch, cloud.system_disk(made), len(data)) == data
    assert refusal(cloud.call, "DeleteImage", RegionId=REGION, ImageId=image) == (403, "ImageUsingByInstance")

    # Another one's system disk is replaced by it.
    other = cloud.new_instance()
    old = cloud.system_disk(other)
    cloud.stop_instance(other)
    new = cloud.call("ReplaceSystemDisk", InstanceId=other, ImageId=image)["DiskId"]
    wait_until(lambda: cloud.disk(old) is None, "the old system disk is released")
    cloud.wait_disk(new, "In_use")
    cloud.start_instance(other)
    assert content(service, scratch, new, len(data)) == data

    cloud.call("DeleteImage", RegionId=REGION, ImageId=image, Force=True)
    assert image_row(cloud, image) is None
    assert cloud.snapshot(snapshot)["Usage"] == "disk"
    cloud.call("DeleteSnapshot", SnapshotId=snapshot, Force=True)


def test_what_tools_ask_before_they_make_anything(cloud):
    """Each list has one thing that RunInstances then takes."""
    ask = lambda action, **more: cloud.call(action, RegionId=REGION, **more)
    (group,) = ask("DescribeSecurityGroups")["SecurityGroups"]["SecurityGroup"]
    (vpc,) = ask("DescribeVpcs")["Vpcs"]["Vpc"]
    (switch,) = ask("DescribeVSwitches", VpcId=vpc["VpcId"])["VSwitches"]["VSwitch"]
    kind = cloud.call("DescribeInstanceTypes")["InstanceTypes"]["InstanceType"][0]
    (image,) = ask("DescribeImages", ImageOwnerAlias="system")["Images"]["Image"]
    (zone,) = ask("DescribeAvailableResource", DestinationResource="SystemDisk")["AvailableZones"]["AvailableZone"]
    assert zone["AvailableResources"]["AvailableResource"][0]["SupportedResources"]["SupportedResource"]
    answer = ask(
        "RunInstances",
        InstanceType=kind["InstanceTypeId"],
        ImageId=image["ImageId"],
        SecurityGroupId=group["SecurityGroupId"],
        VSwitchId=switch["VSwitchId"],
        ZoneId=switch["ZoneId"],
        Amount=2,
    )
    made = answer["InstanceIdSets"]["InstanceIdSet"]
    for instance in made:
        cloud.wait_instance(instance, "Running")
    stopped = ask("StopInstances", InstanceId=made)["InstanceResponses"]["InstanceResponse"]
    assert [row["Code"] for row in stopped] == ["200", "200"]
    for instance in made:
        cloud.wait_instance(instance, "Stopped")
    tag = [{"Key": "old", "Value": made[0]}]
    ask("AddTags", ResourceType="instance", ResourceId=made[0], Tag=tag)
    (row,) = ask("DescribeResourceByTags", Tag=tag)["Resources"]["Resource"]
    assert (row["ResourceId"], row["ResourceType"]) == (made[0], "instance")
    ask("DeleteInstances", InstanceId=made)
    assert all(cloud.instance(instance) is None for instance in made)


def test_what_is_not_offered_says_so(cloud):
    assert refusal(cloud.call, "RunCommand") == (400, "UnsupportedOperation")
