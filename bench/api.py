"""The API with 10,000 snapshots and 5,000 disks: lists by each filter, deep pages, many signed calls beside a busy disk, memory.

The rows are written straight into the catalogue while the service is down, the disks as "Creating", so that no volume is
looked for. A list is timed right after a change of the catalogue, so that no count is in memory. The many calls are sent by a
clock, whether or not answers come (two in a row that are late count twice), over 16 connections, from one process that
signs before it starts.
"""

import json
import multiprocessing
import os
import selectors
import socket
import sqlite3
import threading
import time

import fio
import signed
from cloud import Cloud
from machine import processor_seconds, stolen_seconds
from report import bar, median, progress, table
from service import REGION, Service
from signed import Wire

NEEDS = {"fio": "fio"}
SNAPSHOTS, DISKS = 10_000, 5_000
CALLS_A_SECOND = 2_000
CONNECTIONS = 16
MIB = 1 << 20


def run(options, directory):
    service = Service(directory=directory / "ours")
    service.directory.mkdir()
    snapshots, disks = (SNAPSHOTS // 10, DISKS // 10) if options.quick else (SNAPSHOTS, DISKS)
    try:
        service.start()
        cloud = Cloud(service)
        instance, disk = cloud.attached_disk(2)
        cloud.take_snapshot(disk)
        service.stop()
        seed(service.data / "catalogue.db", snapshots, disks)
        service.start()
        lists(options, service, snapshots, disks, instance)
        load(options, service, disk, directory, disks)
        resident = peak(service) / MIB
        table("The process after all of it", ["resident at most"], [[f"{resident:.0f} MiB"]])
        bar(f"memory with {snapshots:,} snapshots and {disks:,} disks", "at most 200 MiB", f"{resident:.0f} MiB", resident <= 200)
    finally:
        service.destroy()


def seed(path, snapshots, disks):
    """Rows as the service would write them: two snapshots a disk, tags, some disks of some instance."""
    catalogue = sqlite3.connect(path)
    catalogue.execute("PRAGMA foreign_keys = ON")

    def columns(name):
        return [row[1] for row in catalogue.execute(f"PRAGMA table_info({name})")]

    def like(name, changes):
        """Copies of the newest row with some columns changed, so that a column that is added later is there, too."""
        names = columns(name)
        template = catalogue.execute(f"SELECT {', '.join(names)} FROM {name} ORDER BY ordinal DESC LIMIT 1").fetchone()
        rows = [tuple({**dict(zip(names, template)), **change}[column] for column in names) for change in changes]
        catalogue.executemany(f"INSERT INTO {name} VALUES ({', '.join('?' * len(names))})", rows)

    (newest,) = catalogue.execute("SELECT MAX(created_ms) FROM snapshots").fetchone()
    account = catalogue.execute("SELECT account FROM snapshots").fetchone()[0]
    like(
        "disks",
        (
            {"id": disk_id(n), "ordinal": 1_000 + n, "status": "Creating", "name": f"disk-{n}", "instance_id": None,
             "source_snapshot_id": snapshot_id(n * 2) if n % 50 == 0 else "", "created_ms": newest + n}
            for n in range(disks)
        ),
    )  # fmt: skip
    like(
        "snapshots",
        (
            {"id": snapshot_id(n), "ordinal": 1_000 + n, "name": f"snapshot-{n}", "source_disk_id": disk_id(n // 2),
             "link_id": f"sl-{n // 2:020}", "snapshot_type": "timer" if n % 5 else "user", "created_ms": newest + n * 1_000,
             "source_disk_kind": "system" if n % 10 == 0 else "data", "status": "failed" if n % 100 == 0 else "accomplished"}
            for n in range(snapshots)
        ),
    )  # fmt: skip
    catalogue.executemany("INSERT INTO links (id, source_disk_id, region) VALUES (?, ?, ?)", ((f"sl-{n:020}", disk_id(n), REGION) for n in range(disks)))
    tags = ((account, "snapshot", snapshot_id(n), "team", f"team-{n % 10}") for n in range(snapshots))
    catalogue.executemany("INSERT INTO tags (account, resource_type, resource_id, tag_key, tag_value) VALUES (?, ?, ?, ?, ?)", tags)
    catalogue.execute("UPDATE counters SET value = 1000000 WHERE name IN ('snapshot', 'disk')")
    catalogue.commit()
    catalogue.close()


def disk_id(n):
    return f"d-bp1{n:017}"


def snapshot_id(n):
    return f"s-bp1{n:017}"


def lists(options, service, snapshots, disks, instance):
    wire = Wire(service)
    rounds = 5 if options.quick else 40
    newest = time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime())

    def timed(action, **filters):
        """Median milliseconds, and how many rows there are."""
        took = []
        for n in range(rounds):
            # A change, so that nothing is counted already.
            tag = {"ResourceType": "disk", "ResourceId.1": disk_id(0), "Tag.1.Key": "turn", "Tag.1.Value": str(n)}
            assert wire.call("TagResources", {"RegionId": REGION, **tag}, "POST").status == 200
            target = f"/?{signed.query(signed.v1(action, {'RegionId': REGION, **filters}))}"
            begun = time.perf_counter()
            answer = wire.send("GET", target)
            took.append(time.perf_counter() - begun)
            assert answer.status == 200, answer.text
        return median(took) * 1000, answer.body["TotalCount"], answer.body

    rows = []
    for title, filters in {
        "nothing": {},
        "SnapshotIds (100)": {"SnapshotIds": json.dumps([snapshot_id(n) for n in range(100)]), "PageSize": "100"},
        "DiskId": {"DiskId": disk_id(disks // 2)},
        "InstanceId": {"InstanceId": instance},
        "SnapshotLinkId": {"SnapshotLinkId": f"sl-{disks // 2:020}"},
        "SnapshotName": {"SnapshotName": f"snapshot-{snapshots // 2}"},
        "Status": {"Status": "accomplished"},
        "Status, few": {"Status": "failed"},
        "SnapshotType": {"SnapshotType": "auto"},
        "SourceDiskType": {"SourceDiskType": "system"},
        "Usage=disk": {"Usage": "disk"},
        "Usage=none": {"Usage": "none"},
        "Category": {"Category": "standard"},
        "Encrypted, none": {"Encrypted": "true"},
        "ResourceGroupId": {"ResourceGroupId": "rg-default"},
        "Tag, a tenth": {"Tag.1.Key": "team", "Tag.1.Value": "team-3"},
        "Tag, none": {"Tag.1.Key": "team", "Tag.1.Value": "team-x"},
        "created since now": {"Filter.1.Key": "CreationStartTime", "Filter.1.Value": newest},
        "created until now": {"Filter.1.Key": "CreationEndTime", "Filter.1.Value": newest},
    }.items():
        took, count, _ = timed("DescribeSnapshots", **filters)
        rows.append([title, f"{count:,}", f"{took:.1f} ms"])
        progress(f"DescribeSnapshots by {title}: {took:.1f} ms, {count:,}")
    worst = max(float(row[2].split()[0]) for row in rows)
    table(f"DescribeSnapshots among {snapshots:,}", ["by", "rows", "time"], rows, f"Medians of {rounds}, whole calls.")
    bar(f"the slowest filter of DescribeSnapshots among {snapshots:,}", "under 50 ms", f"{worst:.1f} ms", worst < 50)

    rows = []
    last = min(100, snapshots // 100)
    for size in ("10", "100"):
        for action, most in (("DescribeSnapshots", snapshots), ("DescribeDisks", disks)):
            deep = min(100, most // int(size))
            first, _, _ = timed(action, PageNumber="1", PageSize=size)
            by_number, _, _ = timed(action, PageNumber=str(deep), PageSize=size)
            before, token = wire.call(action, {"RegionId": REGION, "PageNumber": str(deep - 1), "PageSize": size}), None
            token = before.body["NextToken"]
            by_token, _, _ = timed(action, PageSize=size, NextToken=token)
            rows.append([action, size, f"{first:.1f} ms", f"{deep}", f"{by_number:.1f} ms", f"{by_token:.1f} ms", f"{by_number / first:.2f}", f"{by_token / first:.2f}"])
    header = ["list", "PageSize", "page 1", "deep page", "by number", "by token", "number / page 1", "token / page 1"]
    table("Deep pages", header, rows, f"Of {last * 100:,} snapshots; medians of {rounds}.")


def load(options, service, disk, directory, disks):
    seconds = 3 if options.quick else 15
    calls = [
        ("DescribeSnapshots", {"PageSize": "10"}),
        ("DescribeSnapshots", {"DiskId": disk_id(disks // 3)}),
        ("DescribeDisks", {"PageSize": "10"}),
        ("DescribeInstances", {}),
        ("DescribeSnapshots", {"SnapshotIds": json.dumps([snapshot_id(n) for n in range(5)])}),
    ]
    rows = []
    for title, busy in (("idle", False), ("busy", True)):
        guest = []
        worker = threading.Thread(
            target=lambda: guest.append(
                fio.run(service.uri(disk), directory, "randwrite", "4k", 8, seconds + 3, "1g", ("--rate_iops=2000", "--fsync=32"))
            )
        )
        requests = [
            signed.query(signed.v1(action, {"RegionId": REGION, **more}))
            for action, more in (calls[n % len(calls)] for n in range(CALLS_A_SECOND * seconds))
        ]
        if busy:
            worker.start()
            time.sleep(1.5)
        used, taken = processor_seconds(service.process.pid), stolen_seconds()
        found = multiprocessing.get_context("fork").Pool(1).apply(send_all, (service.port, requests))
        used, taken = processor_seconds(service.process.pid) - used, stolen_seconds() - taken
        if busy:
            worker.join()
        took, wrong, lasted = found
        took.sort()
        rows.append(
            [
                title,
                f"{len(took) / lasted:,.0f}",
                *(f"{took[int(len(took) * share)] * 1000:.1f} ms" for share in (0.5, 0.99, 0.999)),
                f"{wrong}",
                f"{used / lasted:.2f}",
                f"{taken / lasted:.2f}",
                f"{guest[0]['iops']:,.0f} /s" if guest else "",
            ]
        )
        progress(f"{title}: {rows[-1]}")
        p99 = took[int(len(took) * 0.99)] * 1000
        reached = wrong == 0 and p99 < 20
        bar(f"{CALLS_A_SECOND:,} signed calls a second, disk {title}", "all answered, p99 under 20 ms", f"{wrong} refused, {p99:.1f} ms", reached)
    header = ["disk", "answers /s", "p50", "p99", "p99.9", "refused", "processors used", "processors stolen", "guest's writes"]
    note = f"{CALLS_A_SECOND:,} calls a second are sent, on {os.cpu_count()} processors with their sender. Stolen: what the host gave to others while somebody here wanted to run."
    table("Signed Describe calls", header, rows, note)


def send_all(port, requests):
    """Sends by the clock; answers (latencies from the time each was due, how many were not 200, seconds)."""
    texts = [f"GET /?{request} HTTP/1.1\r\nhost: h\r\n\r\n".encode() for request in requests]
    selector = selectors.DefaultSelector()
    waiting, idle, took, wrong = {}, [], [], 0
    for _ in range(CONNECTIONS):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(connection, selectors.EVENT_READ)
        idle.append(connection)
    begun = time.perf_counter()
    sent, buffers = 0, {connection: b"" for connection in idle}
    while len(took) < len(texts):
        now = time.perf_counter()
        while idle and sent < len(texts) and begun + sent / CALLS_A_SECOND <= now:
            connection = idle.pop()
            waiting[connection] = begun + sent / CALLS_A_SECOND
            connection.sendall(texts[sent])
            sent += 1
        due = begun + sent / CALLS_A_SECOND - now if idle and sent < len(texts) else 1
        for key, _ in selector.select(max(due, 0)):
            connection = key.fileobj
            buffers[connection] += connection.recv(1 << 20)
            whole = buffers[connection]
            head, found, body = whole.partition(b"\r\n\r\n")
            if not found or len(body) < length(head):
                continue
            took.append(time.perf_counter() - waiting.pop(connection))
            wrong += not head.startswith(b"HTTP/1.1 200")
            buffers[connection] = b""
            idle.append(connection)
    return took, wrong, time.perf_counter() - begun


def length(head):
    at = head.index(b"content-length: ") + 16
    return int(head[at:].split(b"\r\n", 1)[0])


def peak(service):
    with open(f"/proc/{service.process.pid}/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
