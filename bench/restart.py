"""Back in service after kill -9 with a log as full as a guest's writes can make it.

The time is from the start of the process until a client has read a block of the disk. How much of the log
was replayed is taken from the service's log; the checkpointer works against filling it, so it differs.
"""

import re
import signal
import subprocess
import time

import nbd
from cloud import Cloud
from report import median, progress, table
from service import Service

MIB = 1 << 20
RECORD_KIB = {"4 KiB": 4, "64 KiB": 64}


def run(options, directory):
    rows = []
    for name, kib in RECORD_KIB.items():
        service = Service(directory=directory / f"ours{kib}")
        service.directory.mkdir()
        try:
            service.start()
            _, disk = Cloud(service).attached_disk(20)
            rounds = [one(service, disk, kib, directory) for _ in range(1 if options.quick else min(options.rounds, 5))]
        finally:
            service.destroy()
        seconds = [took for took, _ in rounds]
        replayed = [records * kib / 1024 for _, records in rounds]
        progress(f"restart, {name}: {median(seconds):.2f} s for {median(replayed):.0f} MiB")
        rows.append(
            [name, f"{median(replayed):.0f} MiB", f"{median(seconds):.2f} s", f"{max(seconds):.2f} s"]
            + [f"{median([512 * s / max(m, 1) for s, m in zip(seconds, replayed)]):.2f} s"]
        )
    table(
        "Back in service after kill -9",
        ["guest writes", "replayed (median)", "until the first read (median)", "slowest", "for a full 512 MiB, scaled"],
        rows,
        "Bar: under 1 s for a full log of 512 MiB.",
    )


def one(service, disk, kib, directory):
    """(seconds until the first read, records replayed)"""
    guest = subprocess.Popen(
        ["fio", "--name=fill", "--ioengine=nbd", f"--uri={service.uri(disk)}", "--rw=randwrite", f"--bs={kib}k"]
        + ["--iodepth=32", "--size=16g", "--norandommap", "--time_based", "--runtime=600"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=directory,
    )
    # Long enough for the log to be filled once and more.
    time.sleep(12)
    service.kill()
    guest.send_signal(signal.SIGTERM)
    guest.wait(60)
    said = service.log.stat().st_size
    begun = time.monotonic()
    service.launch()
    while True:
        try:
            with nbd.Client(service.socket, disk) as client:
                client.read(0, 4096)
                took = time.monotonic() - begun
            break
        except (OSError, nbd.Refused):
            assert service.process.poll() is None, service.log_tail()
            time.sleep(0.005)
    service.wait_ready()
    with open(service.log, "rb") as log:
        log.seek(said)
        text = re.sub(r"\x1b\[[0-9;]*m", "", log.read().decode(errors="replace"))
    records = [int(number) for number in re.findall(r"log replayed.*records=(\d+)", text)]
    return took, max(records, default=0)
