"""Upload into an S3 store: a snapshot of data that does not compress, against plain PUTs of as much to the same store.

Both go over loopback to a light S3 server on the same machine, so the cores are what is scarce and the server has its
share of them. A snapshot also reads, hashes and spools what it sends; plain PUTs send the same 16 MiB from memory, four
at a time, as a capture uploads packs.
"""

import concurrent.futures
import datetime
import hashlib
import hmac
import http.client
import os
import time

import data
from cloud import Cloud
from report import median, progress, table
from service import Service
from snapshots import processor_seconds, take
from store import BUCKET, KEY, SECRET, Store

MIB = 1 << 20
PACK_MIB, WIDTH = 16, 4


def run(options, directory):
    mib = 128 if options.quick else 2048
    store = Store(directory / "store")
    service = Service(directory=directory / "ours", extra=["--vault", store.start().url()], env=store.env)
    service.directory.mkdir()
    plain, ours, cpu = [], [], []
    try:
        service.start()
        cloud = Cloud(service)
        _, disk = cloud.attached_disk(-(-mib // 1024))
        for turn in range(min(options.rounds, 3)):
            with service.client(disk) as client:
                for at in range(mib):
                    client.write(at * MIB, data.random_bytes(MIB, seed=turn * mib + at))
                client.flush()
            plain.append(mib / put_all(store, mib // PACK_MIB, turn))
            used, begun = processor_seconds(service), time.monotonic()
            take(cloud, disk)
            ours.append(mib / (time.monotonic() - begun))
            cpu.append(processor_seconds(service) - used)
            progress(f"round {turn + 1}: plain {plain[-1]:,.0f} MiB/s, a snapshot {ours[-1]:,.0f} MiB/s")
    finally:
        service.destroy()
        store.kill()
    rows = [
        ["plain PUTs of 16 MiB, 4 at a time", f"{median(plain):,.0f} MiB/s", ""],
        ["a full snapshot, until accomplished", f"{median(ours):,.0f} MiB/s", f"{median(o / p for o, p in zip(ours, plain)):.2f}"],
    ]
    note = f"{mib:,} MiB each; the service used {median(cpu):.1f} s of processor time, {os.cpu_count()} cores."
    table("Upload to an S3 store over loopback", ["what", "rate", "ratio"], rows, note)


def put_all(store, count, seed):
    """Seconds for so many PUTs."""
    body = data.random_bytes(PACK_MIB * MIB, seed=10_000 + seed)
    begun = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(WIDTH) as pool:
        list(pool.map(lambda number: put(store, f"plain/{seed}-{number}", body), range(count)))
    return time.monotonic() - begun


def put(store, name, body):
    """One PUT, signed as version 4 has it, its payload unsigned."""
    host, path = f"127.0.0.1:{store.port}", f"/{BUCKET}/{name}"
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    headers = {"host": host, "x-amz-content-sha256": "UNSIGNED-PAYLOAD", "x-amz-date": now}
    signed = ";".join(headers)
    lines = "".join(f"{key}:{value}\n" for key, value in headers.items())
    request = f"PUT\n{path}\n\n{lines}\n{signed}\nUNSIGNED-PAYLOAD"
    scope = f"{now[:8]}/us-east-1/s3/aws4_request"
    to_sign = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = b"AWS4" + SECRET.encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.new(key, to_sign.encode(), "sha256").hexdigest()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={KEY}/{scope}, SignedHeaders={signed}, Signature={signature}"
    )
    connection = http.client.HTTPConnection(host, timeout=120)
    connection.request("PUT", path, body=body, headers=headers)
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    connection.close()
