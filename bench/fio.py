"""One fio run over NBD, and the few figures that we look at."""

import json
import subprocess


def run(uri, directory, rw, bs, depth, seconds, size="1g", extra=()):
    """Operations and MiB per second, and latencies in microseconds (mean, p99, p99.9)."""
    done = subprocess.run(
        ["fio", "--name=bench", "--ioengine=nbd", f"--uri={uri}", f"--rw={rw}", f"--bs={bs}", f"--iodepth={depth}"]
        + [f"--size={size}", "--time_based", f"--runtime={seconds}", "--ramp_time=0.5", "--randrepeat=0"]
        + ["--output-format=json", "--percentile_list=50:99:99.9", *extra],
        capture_output=True,
        text=True,
        cwd=directory,
        timeout=seconds + 120,
    )
    if done.returncode != 0:
        raise RuntimeError(f"fio {rw} on {uri}: {done.stdout} {done.stderr}")
    (job,) = json.loads(done.stdout[done.stdout.index("{") :])["jobs"]
    sides = [job[side] for side in ("read", "write") if job[side]["total_ios"]]
    percentiles = [side["clat_ns"]["percentile"] for side in sides]
    return {
        "iops": sum(side["iops"] for side in sides),
        "mib": sum(side["bw_bytes"] for side in sides) / (1 << 20),
        "p50": max(p["50.000000"] for p in percentiles) / 1000,
        "p99": max(p["99.000000"] for p in percentiles) / 1000,
        "p999": max(p["99.900000"] for p in percentiles) / 1000,
    }
