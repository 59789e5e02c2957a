"""One fio run over NBD (or, of its words and figures only, elsewhere), and the few figures that we look at."""

import json
import subprocess


def words(rw, bs, depth, seconds, size="1g", extra=()):
    """The command, without what it works on."""
    command = ["fio", "--name=bench", f"--rw={rw}", f"--bs={bs}", f"--iodepth={depth}", f"--size={size}", "--time_based"]
    command += [
        f"--runtime={seconds * 1000:.0f}ms",
        f"--ramp_time={min(seconds / 4, 0.5) * 1000:.0f}ms",
        "--randrepeat=0",
        "--group_reporting",
    ]
    return [*command, "--output-format=json", "--percentile_list=50:99:99.9", *extra]


def run(uri, directory, rw, bs, depth, seconds, size="1g", extra=()):
    """Operations and MiB per second, and latencies in microseconds (median, p99, p99.9)."""
    done = subprocess.run(
        [*words(rw, bs, depth, seconds, size, extra), "--ioengine=nbd", f"--uri={uri}"],
        capture_output=True,
        text=True,
        cwd=directory,
        timeout=seconds + 120,
    )
    if done.returncode != 0:
        raise RuntimeError(f"fio {rw} on {uri}: {done.stdout} {done.stderr}")
    return figures(done.stdout)


def figures(output):
    """Of all jobs together: rates are sums, latencies those of the worst."""
    jobs = json.loads(output[output.index("{") :])["jobs"]
    failed = [job["jobname"] for job in jobs if job["error"]]
    if failed:
        raise RuntimeError(f"fio: {failed} ended with an error: {output}")
    sides = [job[side] for job in jobs for side in ("read", "write") if job[side]["total_ios"]]
    percentiles = [side["clat_ns"]["percentile"] for side in sides]
    return {
        "iops": sum(side["iops"] for side in sides),
        "mib": sum(side["bw_bytes"] for side in sides) / (1 << 20),
        "p50": max(p["50.000000"] for p in percentiles) / 1000,
        "p99": max(p["99.000000"] for p in percentiles) / 1000,
        "p999": max(p["99.900000"] for p in percentiles) / 1000,
    }
