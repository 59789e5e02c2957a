"""CreateSnapshot on a sparse 1 TiB disk with a busy guest, and a 1 TiB disk of which 64 MiB changed.

The call's latency is measured with requests signed here, over one kept connection, so that it is the
service's and not an SDK's; a call that does nothing is shown beside it.
"""

import subprocess
import time

import data
from calls import Caller
from cloud import Cloud
from report import bar, median, progress, spread, table, timed
from service import Service

NEEDS = {"fio": "fio"}
MIB = 1 << 20
CHANGED_BAR = 2.0  # seconds


def run(options, directory):
    service = Service(directory=directory / "ours")
    service.directory.mkdir()
    try:
        service.start()
        cloud = Cloud(service)
        instance, disk = cloud.attached_disk(1024)
        plain, calls = call_latency(options, service, disk, directory)
        changed = changed_in_a_tebibyte(options, service, cloud, instance)
    finally:
        service.destroy()
    rows = [
        ["DescribeRegions, for comparison", f"{spread([took * 1000 for took in plain], '.1f')} ms"],
        ["CreateSnapshot, guest busy", f"{spread([took * 1000 for took in calls], '.1f')} ms"],
        ["64 MiB of scattered change, until accomplished", f"{spread(changed, '.2f')} s"],
    ]
    table("A sparse 1 TiB disk", ["what", "time"], rows, f"{len(calls)} calls, {len(changed)} changes.")
    what = "a snapshot of 64 MiB of scattered change in a 1 TiB disk"
    bar(what, f"under {CHANGED_BAR:.0f} s", f"{spread(changed, '.2f')} s", median(changed) < CHANGED_BAR)


def call_latency(options, service, disk, directory):
    caller = Caller(service)
    guest = subprocess.Popen(
        ["fio", "--name=busy", "--ioengine=nbd", f"--uri={service.uri(disk)}", "--rw=randwrite", "--bs=4k"]
        + [
            "--iodepth=16",
            "--offset=500g",
            "--size=16g",
            "--time_based",
            "--runtime=600",
            "--rate_iops=5000",
            "--norandommap",
            "--thread",
        ],
        stdout=subprocess.DEVNULL,
        cwd=directory,
    )
    try:
        time.sleep(2)
        plain, calls = [], []
        for _ in range(5 if options.quick else 30):
            plain.append(timed(lambda: caller.call("DescribeRegions"))[0])
            calls.append(caller.take(disk)[1])
            assert guest.poll() is None, "the guest's load ended"
        progress("CreateSnapshot on 1 TiB")
    finally:
        guest.kill()
        guest.wait()
    return plain, calls


def changed_in_a_tebibyte(options, service, cloud, instance):
    _, disk = cloud.attached_disk(1024, instance)
    caller, took = Caller(service), []
    with service.client(disk) as client:
        for place in range(64):  # something everywhere, so that the tree has its height
            client.write(place * (16 << 30), data.random_bytes(MIB, seed=place))
        client.flush()
        cloud.take_snapshot(disk)
        for turn in range(1 if options.quick else 5):
            for place in range(64):
                client.write(place * (16 << 30) + turn * MIB, data.random_bytes(MIB, seed=1000 * turn + place))
            client.flush()
            took.append(caller.take(disk)[2])
    return took
