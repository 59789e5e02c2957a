"""CreateSnapshot on a sparse 1 TiB disk with a busy guest, and a 1 TiB disk of which 64 MiB changed.

The call's latency is measured with requests signed here, over one kept connection, so that it is the
service's and not an SDK's; a call that does nothing is shown beside it.
"""

import base64
import hashlib
import hmac
import http.client
import json
import subprocess
import time
import urllib.parse
import uuid

import data
from cloud import Cloud
from report import median, progress, table, timed
from service import KEY, REGION, SECRET, Service, wait_until

MIB = 1 << 20


def run(options, directory):
    service = Service(directory=directory / "ours")
    service.directory.mkdir()
    try:
        service.start()
        cloud = Cloud(service)
        instance, disk = cloud.attached_disk(1024)
        plain, calls = call_latency(options, service, cloud, disk, directory)
        changed = changed_in_a_tebibyte(options, service, cloud, instance)
    finally:
        service.destroy()
    rows = [
        ["DescribeRegions, for comparison", f"{median(plain) * 1000:.1f} ms", f"{max(plain) * 1000:.1f} ms"],
        ["CreateSnapshot, guest busy", f"{median(calls) * 1000:.1f} ms", f"{max(calls) * 1000:.1f} ms"],
        ["64 MiB changed, until accomplished", f"{median(changed) * 1000:.0f} ms", f"{max(changed) * 1000:.0f} ms"],
    ]
    table("A sparse 1 TiB disk", ["what", "median", "slowest"], rows, f"{len(calls)} calls, {len(changed)} changes.")


def call_latency(options, service, cloud, disk, directory):
    connection = http.client.HTTPConnection("127.0.0.1", service.port)
    guest = subprocess.Popen(
        ["fio", "--name=busy", "--ioengine=nbd", f"--uri={service.uri(disk)}", "--rw=randwrite", "--bs=4k"]
        + ["--iodepth=16", "--offset=500g", "--size=16g", "--time_based", "--runtime=600", "--rate_iops=5000", "--norandommap", "--thread"],
        stdout=subprocess.DEVNULL,
        cwd=directory,
    )
    try:
        time.sleep(2)
        plain, calls = [], []
        for _ in range(5 if options.quick else 30):
            plain.append(timed(lambda: request(connection, Action="DescribeRegions"))[0])
            seconds, answer = timed(lambda: request(connection, Action="CreateSnapshot", DiskId=disk))
            calls.append(seconds)
            cloud.wait_snapshot(answer["SnapshotId"])
            assert guest.poll() is None, "the guest's load ended"
        progress("CreateSnapshot on 1 TiB")
    finally:
        guest.kill()
        guest.wait()
    return plain, calls


def changed_in_a_tebibyte(options, service, cloud, instance):
    _, disk = cloud.attached_disk(1024, instance)
    took = []
    with service.client(disk) as client:
        for place in range(64):  # something everywhere, so that the tree has its height
            client.write(place * (16 << 30), data.random_bytes(MIB, seed=place))
        client.flush()
        cloud.take_snapshot(disk)
        for turn in range(1 if options.quick else 5):
            for place in range(64):
                client.write(place * (16 << 30) + turn * MIB, data.random_bytes(MIB, seed=1000 * turn + place))
            client.flush()
            begun = time.monotonic()
            snapshot = cloud.call("CreateSnapshot", DiskId=disk)["SnapshotId"]
            wait_until(lambda: cloud.snapshot(snapshot)["Status"] == "accomplished", "the snapshot", 300, step=0.01)
            took.append(time.monotonic() - begun)
    return took


def request(connection, **parameters):
    """One call, signed the V1 way, over a connection that is kept."""
    parameters.update(
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
    connection.request("GET", f"/?{canonical}&Signature={urllib.parse.quote(signature, safe='')}")
    answer = connection.getresponse()
    body = json.loads(answer.read())
    assert answer.status == 200, body
    return body
