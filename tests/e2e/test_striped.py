"""A guest whose file system lies across two disks (ext4 on md RAID 0): two snapshots of the group, taken while it writes and nobody
tells it, restore to sets that assemble and mount, check clean once the journal is replayed, and hold the records that were durable
before the call, and at most one that was not told of at its answer. For S26 and S27: that the members are of one instant is seen
as far as a file system and its records show it.
"""

import hashlib
import itertools
import os
import re
import shutil

import pytest

from cloud import Cloud
from guest import Guest, vhost_user_disk, with_libraries
from service import REGION, wait_until

MODULES = ["md-mod", "raid0"]

SEARCH = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"
# By their whole names: the guest's shell has small ones of the same names built in.
MDADM, MKE2FS, E2FSCK = (shutil.which(tool, path=SEARCH) for tool in ("mdadm", "mke2fs", "e2fsck"))

WRITER = f"""
{MDADM} --create /dev/md0 --run --level=0 --raid-devices=2 --chunk=64 --metadata=1.2 /dev/vda /dev/vdb 2>&1 | tail -1
{MKE2FS} -q -t ext4 /dev/md0 && mkdir -p /data && mount -t ext4 /dev/md0 /data && echo MOUNTED
# A load that is never synced, in files that come and go.
(n=0; while :; do n=$(( (n + 1) % 8 )); dd if=/dev/urandom of=/data/load$n bs=64k count=16 >/dev/null 2>&1; done) &
i=0
while :; do
  i=$((i + 1))
  echo "record $i $(echo $i | md5sum | cut -c1-32)" | dd of=/data/records oflag=append conv=notrunc,fsync >/dev/null 2>&1 || echo FAILED
  echo "DURABLE $i"
done
"""

# What the file holds is told line by line and checked outside: the guest is emulated, and each process that it starts is slow.
READER = f"""
{MDADM} --assemble --run /dev/md0 /dev/vda /dev/vdb 2>&1 | tail -1
mkdir -p /data && mount -t ext4 /dev/md0 /data && echo MOUNTED
cat /data/records
umount /data && echo UNMOUNTED
{E2FSCK} -fn /dev/md0 > /tmp/check 2>&1; code=$?; cat /tmp/check; echo "CHECK $code"
"""


@pytest.fixture
def machines():
    started = []
    yield started
    for guest in started:
        guest.end()


def machine(machines, where, service, script, disks):
    where.mkdir()
    words = [vhost_user_disk(f"disk{n}", service.data / "vhost" / f"{disk}.sock") for n, disk in enumerate(disks)]
    files = sorted({path for tool in (MDADM, MKE2FS, E2FSCK) for path in with_libraries(tool)})
    guest = Guest(where, script, list(itertools.chain(*words)), files, modules=MODULES)
    machines.append(guest)
    return guest


def durable(guest):
    return max((int(n) for line in list(guest.lines) for n in re.findall(r"DURABLE (\d+)", line)), default=0)


def members(cloud, group):
    """The snapshots of a group by their disks, once all are there."""

    def look():
        (row,) = cloud.call("DescribeSnapshotGroups", RegionId=REGION, SnapshotGroupId=[group])["SnapshotGroups"]["SnapshotGroup"]
        assert row["Status"] in ("progressing", "accomplished"), row
        return row["Snapshots"]["Snapshot"] if row["Status"] == "accomplished" else None

    return {row["SourceDiskId"]: row["SnapshotId"] for row in wait_until(look, f"group {group} is accomplished", 300)}


def test_a_set_across_two_disks(new_service, scratch, machines):
    service = new_service()
    cloud = Cloud(service)
    instance, first = cloud.attached_disk(20)
    disks = [first, cloud.attached_disk(20, instance)[1]]
    guest = machine(machines, scratch / "writer", service, WRITER, disks)
    guest.said("MOUNTED", 120)
    taken = []
    for _ in range(2):
        before = durable(guest)
        guest.said(rf"DURABLE {before + 8}\b", 120)
        least = durable(guest)
        answer = cloud.call("CreateSnapshotGroup", RegionId=REGION, InstanceId=instance, DiskId=disks)
        # What was told of before the answer bounds what can be in it: the mark is made by then.
        most = durable(guest)
        taken.append((members(cloud, answer["SnapshotGroupId"]), least, most))
    guest.said(rf"DURABLE {taken[-1][2] + 8}\b", 120)
    guest.end()
    assert "FAILED" not in guest.text()

    for number, (found, least, most) in enumerate(taken):
        copies = [cloud.restore(found[disk], instance) for disk in disks]
        reader = machine(machines, scratch / f"reader{number}", service, READER, copies)
        reader.said("MOUNTED", 120)
        reader.said("UNMOUNTED", 120)
        records = [match for line in list(reader.lines) if (match := re.search(r"record (\d+) ([0-9a-f]{32})$", line))]
        for n, match in enumerate(records, 1):
            assert match.groups() == (str(n), hashlib.md5(b"%d\n" % n).hexdigest())
        # One that was written and not yet told of may be there.
        assert least <= len(records) <= most + 1, f"durable before the call: {least}, after it: {most}"
        assert reader.said(r"CHECK (\d+)", 120)[1] == "0", reader.text()
        reader.end()
