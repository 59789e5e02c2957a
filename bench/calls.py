"""Calls of the API signed here, over one kept connection, so that their time is the service's and not an SDK's."""

import base64
import hashlib
import hmac
import http.client
import json
import time
import urllib.parse
import uuid

from service import KEY, REGION, SECRET, ZONE


def poll(condition, what, timeout=3600):
    """Until the condition is true. Looks often at first, then at every fiftieth of what has passed: looking costs processor time."""
    begun = time.monotonic()
    while not condition():
        passed = time.monotonic() - begun
        assert passed < timeout, f"in {timeout} s this did not happen: {what}"
        time.sleep(max(0.002, passed / 50))


class Refused(Exception):
    """The service's answer was an error."""

    def __init__(self, status, body):
        super().__init__(f"{status} {body}")
        self.code = body.get("Code", "")


class Caller:
    """One connection to a service; make a new one after the service was started again."""

    def __init__(self, service):
        self.connection = http.client.HTTPConnection("127.0.0.1", service.port)

    def call(self, action, **parameters):
        """One call, signed the V1 way."""
        parameters.update(
            Action=action,
            AccessKeyId=KEY,
            Format="JSON",
            RegionId=REGION,
            SignatureMethod="HMAC-SHA1",
            SignatureNonce=str(uuid.uuid4()),
            SignatureVersion="1.0",
            Timestamp=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            Version="2014-05-26",
        )
        canonical = urllib.parse.urlencode(sorted(parameters.items()), quote_via=urllib.parse.quote, safe="~")
        to_sign = f"GET&%2F&{urllib.parse.quote(canonical, safe='~')}"
        signature = base64.b64encode(hmac.new(f"{SECRET}&".encode(), to_sign.encode(), hashlib.sha1).digest())
        self.connection.request("GET", f"/?{canonical}&Signature={urllib.parse.quote(signature, safe='')}")
        answer = self.connection.getresponse()
        body = json.loads(answer.read())
        if answer.status != 200:
            raise Refused(answer.status, body)
        return body

    def disk(self, disk):
        return self.call("DescribeDisks", DiskIds=json.dumps([disk]))["Disks"]["Disk"][0]

    def instance(self, instance):
        return self.call("DescribeInstances", InstanceIds=json.dumps([instance]))["Instances"]["Instance"][0]

    def snapshot(self, snapshot):
        """Its row; None if there is none."""
        found = self.call("DescribeSnapshots", SnapshotIds=json.dumps([snapshot]))["Snapshots"]["Snapshot"]
        return found[0] if found else None

    def until(self, disk, status):
        poll(lambda: self.disk(disk)["Status"] == status, f"disk {disk} becomes {status}")

    def attach(self, instance, disk):
        """AttachDisk, until a client can connect."""
        self.call("AttachDisk", InstanceId=instance, DiskId=disk)
        self.until(disk, "In_use")

    def new_disk(self, **more):
        """CreateDisk, until it is Available."""
        disk = self.call("CreateDisk", ZoneId=ZONE, DiskCategory="cloud_essd", PerformanceLevel="PL0", **more)["DiskId"]
        self.until(disk, "Available")
        return disk

    def release(self, instance, disk):
        self.call("DetachDisk", InstanceId=instance, DiskId=disk)
        self.until(disk, "Available")
        self.call("DeleteDisk", DiskId=disk)

    def take(self, disk):
        """CreateSnapshot. (its id, seconds until it answered, seconds until it is accomplished)"""
        while True:
            begun = time.monotonic()
            try:
                snapshot = self.call("CreateSnapshot", DiskId=disk)["SnapshotId"]
                break
            except Refused as refused:
                # Right after a kill the disk may have to find out first that the snapshot before is complete.
                if not refused.code.startswith("IncorrectDiskStatus"):
                    raise
        answered = time.monotonic() - begun

        def accomplished():
            status = self.snapshot(snapshot)["Status"]
            assert status != "failed", f"snapshot {snapshot} failed"
            return status == "accomplished"

        poll(accomplished, f"snapshot {snapshot} is accomplished")
        return snapshot, answered, time.monotonic() - begun

    def delete(self, snapshot):
        """DeleteSnapshot, until no list has it."""
        self.call("DeleteSnapshot", SnapshotId=snapshot)
        poll(lambda: self.snapshot(snapshot) is None, f"snapshot {snapshot} is gone")

    def is_complete(self, disk):
        """Whether all of a disk's data is local."""
        return self.call("DescribeDiskHydration", DiskId=disk)["Status"] == "complete"
