"""A disk made of a snapshot of a sparse 1 TiB disk: how long until the first 4 KiB of it are read over NBD.

The vault is in a directory, and in a light S3 store on this machine (`tidemark-s3light`: its requests cost no network, so
the figure is the least there is; add the round trips of yours, at most five). The service is started again before each
round: nothing of the vault is in its memory. The system's page cache is warm.
"""

import http.client
import json
import os
import random
import time

import data
from cloud import Cloud
from large_disk import request
from report import median, progress, table, timed
from service import ZONE, Service, run as tool
from store import BINARY as STORE_BINARY, Store

GIB, MIB = 1 << 30, 1 << 20
SIZE_GIB = 1024


def run(options, directory):
    data_mib = 256 if options.quick else 3072
    rounds = 1 if options.quick else max(options.rounds, 3)
    rows = []
    for place in ("directory", "S3"):
        home = directory / place
        home.mkdir()
        rows += measure(place, home, data_mib, rounds)
    note = f"{data_mib} MiB of data all over 1 TiB; {rounds} rounds, each after a restart of the service."
    table("First byte from a snapshot of 1 TiB", ["vault", "what", "median", "slowest"], rows, note)


def measure(place, home, data_mib, rounds):
    store = None
    if place == "S3":
        if not os.path.exists(STORE_BINARY):
            tool("cargo", "build", "--quiet", "--package", "tidemark-s3light", timeout=3600)
        store = Store(home / "store").start()
    extra, env = (["--vault", store.url()], store.env) if store else ([], {})
    service = Service(directory=home / "ours", extra=extra, env=env)
    service.directory.mkdir()
    times = {"CreateDisk, until Available": [], "AttachDisk, until In_use": [], "first 4 KiB read": [], "100 further 4 KiB, each": []}
    try:
        service.start()
        instance, snapshot, places = fill(service, data_mib)
        for turn in range(rounds):
            service.stop()
            service.start()
            one_round(service, instance, snapshot, random.Random(turn).sample(places, 101), times)
            progress(f"{place}, round {turn + 1}: first 4 KiB after {times['first 4 KiB read'][-1] * 1000:.1f} ms")
        complete = until_complete(service, snapshot)
    finally:
        service.destroy()
        if store:
            store.kill()
    rows = [[place, what, f"{median(took) * 1000:.1f} ms", f"{max(took) * 1000:.1f} ms"] for what, took in times.items()]
    return [*rows, [place, "all of it local", f"{complete:.1f} s", ""]]


def fill(service, data_mib):
    """Writes a MiB here and a MiB there; gives the instance, the snapshot, and where the data is."""
    cloud = Cloud(service)
    instance, disk = cloud.attached_disk(SIZE_GIB)
    step = SIZE_GIB * GIB // data_mib // MIB * MIB
    places = [place * step for place in range(data_mib)]
    with service.client(disk) as client:
        for number, place in enumerate(places):
            client.write(place, data.random_bytes(MIB, seed=number))
        client.flush()
    snapshot = cloud.take_snapshot(disk)
    return instance, snapshot, places


def one_round(service, instance, snapshot, places, times):
    connection = http.client.HTTPConnection("127.0.0.1", service.port)

    def call(action, **parameters):
        return request(connection, Action=action, **parameters)

    def until(disk, status):
        while call("DescribeDisks", DiskIds=json.dumps([disk]))["Disks"]["Disk"][0]["Status"] != status:
            time.sleep(0.001)

    begun = time.monotonic()
    disk = call("CreateDisk", ZoneId=ZONE, DiskCategory="cloud_essd", PerformanceLevel="PL0", SnapshotId=snapshot)["DiskId"]
    until(disk, "Available")
    made = time.monotonic()
    call("AttachDisk", InstanceId=instance, DiskId=disk)
    until(disk, "In_use")
    attached = time.monotonic()
    with service.client(disk) as client:
        first, _ = timed(lambda: client.read(places[0], 4096))
        others = [timed(lambda place=place: client.read(place, 4096))[0] for place in places[1:]]
    call("DetachDisk", InstanceId=instance, DiskId=disk)
    until(disk, "Available")
    call("DeleteDisk", DiskId=disk)
    for what, took in zip(times, (made - begun, attached - made, first, median(others))):
        times[what].append(took)


def until_complete(service, snapshot):
    """Seconds until a disk has all of its data."""
    begun = time.monotonic()
    disk = Cloud(service).new_disk(snapshot=snapshot)
    service.cli("disk", "hydration", disk, "--watch")
    return time.monotonic() - begun
