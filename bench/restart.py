"""Back in service after kill -9 with a log as full as a guest's writes can make it.

The time is from the start of the process until a client has read a block of the disk. How much of the log
was replayed is taken from the service's log; the checkpointer works against filling it, so it differs. The guest writes all over
2 GiB: to remove a file that lies scattered over more takes minutes where the file system discards what it frees.
"""

import re
import signal
import subprocess
import time

import nbd
from cloud import Cloud
from report import bar, median, progress, table
from service import Service

NEEDS = {"fio": "fio"}
RECORD_KIB = {"4 KiB": 4, "64 KiB": 64}
# How long the guest writes, and over how much: in 12 seconds the log is filled once and more.
FULL, QUICK = (12, "2g"), (3, "512m")


def run(options, directory):
    rows = []
    for name, kib in RECORD_KIB.items():
        service = Service(directory=directory / f"ours{kib}")
        service.directory.mkdir()
        try:
            service.start()
            _, disk = Cloud(service).attached_disk(20)
            load = QUICK if options.quick else FULL
            rounds = [one(service, disk, kib, directory, *load) for _ in range(min(options.rounds, 5))]
        finally:
            service.destroy()
        seconds = [took for took, _ in rounds]
        replayed = [records * kib / 1024 for _, records in rounds]
        progress(f"restart, {name}: {median(seconds):.2f} s for {median(replayed):.0f} MiB")
        full = median([512 * s / max(m, 1) for s, m in zip(seconds, replayed)])
        bar(f"back in service after kill -9, log of 512 MiB, writes of {name}", "under 1 s", f"{full:.2f} s", full < 1)
        rows.append(
            [name, f"{median(replayed):.0f} MiB", f"{median(seconds):.2f} s", f"{max(seconds):.2f} s", f"{full:.2f} s"]
        )
    table(
        "Back in service after kill -9",
        ["guest writes", "replayed (median)", "until the first read (median)", "slowest", "for a full 512 MiB, scaled"],
        rows,
    )


def one(service, disk, kib, directory, seconds, size):
    """(seconds until the first read, records replayed)"""
    guest = subprocess.Popen(
        ["fio", "--name=fill", "--ioengine=nbd", f"--uri={service.uri(disk)}", "--rw=randwrite", f"--bs={kib}k"]
        + ["--iodepth=32", f"--size={size}", "--norandommap", "--time_based", "--runtime=600"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=directory,
    )
    time.sleep(seconds)
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
