"""The same fio jobs done by us and by others, in interleaved rounds: tables, ratios of ours to the best other, bars, a chart.

Before each run what earlier ones left is waited for: the system's dirty pages are written, and every server is idle. So
nobody pays for another's writes, and nobody's writes that were put off are in the figures (neither ours, from the log to
the base, nor the page cache's).

The order within a round is drawn anew each time, from a fixed seed. A ratio is made within a round and compares with the one
that was best in the median; what is shown is the median of the rounds and their spread.
"""

import os
import random
import time
from typing import NamedTuple

import machine
from report import bar, figure, median, progress, spread, table

OURS = "tidemark"


class Job(NamedTuple):
    title: str
    rw: str
    bs: str
    depth: int
    figure: str  # iops or mib
    wanted: float  # the bar: ours to the best of the others
    extra: tuple = ()

    @property
    def unit(self):
        return "MiB/s" if self.figure == "mib" else "/s"


def measure(jobs, names, rounds, servers, one):
    """`one(name, job)` gives fio's figures; `servers` are the processes that serve. Returns each round's by (job's title, name)."""
    found = {(job.title, name): [] for job in jobs for name in names}
    for turn in range(rounds):
        for job in jobs:
            for name in random.Random(f"{turn} {job.title}").sample(names, len(names)):
                settle(servers)
                found[job.title, name].append(one(name, job))
            rates = ", ".join(f"{name} {found[job.title, name][-1][job.figure]:,.0f}" for name in names)
            progress(f"round {turn + 1}: {job.title} ({job.unit}): {rates}")
    return found


def settle(servers, at_most=20):
    """Until nothing is left to write and the servers have been idle for a while."""
    os.sync()
    deadline = time.monotonic() + at_most
    used = used_by(servers)
    while time.monotonic() < deadline:
        time.sleep(0.2)
        before, used = used, used_by(servers)
        if used - before <= 0.01:
            return


def used_by(servers):
    return sum(machine.processor_seconds(pid) for pid in servers)


def show(part, title, jobs, names, found, note):
    """Tables of rates and latencies, a bar for each job, the chart `<part>-ratios`. A name that begins as ours is ours, too."""
    others = [name for name in names if not name.startswith(OURS)]
    rates, latencies, ratios = [], [], []
    for job in jobs:
        values = {name: [figures[job.figure] for figures in found[job.title, name]] for name in names}
        best = max(others, key=lambda name: median(values[name]))
        ratio = [ours / other for ours, other in zip(values[OURS], values[best])]
        ratios.append(ratio)
        rates.append([job.title, job.unit, *(spread(values[name]) for name in names), best, spread(ratio, ".2f")])
        p99 = {name: median(figures["p99"] for figures in found[job.title, name]) for name in names}
        latencies.append([job.title, *(f"{p99[name]:,.0f}" for name in names)])
        bar(
            f"{title}: {job.title}",
            f"{job.wanted} of the best other",
            f"{spread(ratio, '.2f')} of {best}",
            median(ratio) >= job.wanted,
        )
    table(title, ["job", "", *names, "best other", "ours / best other"], rates, note)
    table(f"{title}: 99th percentile, µs", ["job", *names], latencies, "Medians of the rounds' percentiles.")
    chart(part, title, jobs, ratios)


def chart(part, title, jobs, ratios):
    middles = [median(ratio) for ratio in ratios]
    whiskers = [[m - min(r) for m, r in zip(middles, ratios)], [max(r) - m for m, r in zip(middles, ratios)]]
    colours = ["#2a7f62" if middle >= job.wanted else "#b5483a" for middle, job in zip(middles, jobs)]
    caption = "Above 1: faster than the fastest other at this job. Green: the bar is kept. Whiskers: least and most of the rounds."
    with figure(f"{part}-ratios", f"{title}: ours / best other", caption, height=0.8 + 0.36 * len(jobs)) as axes:
        axes.barh(
            [job.title for job in jobs], middles, xerr=whiskers, color=colours, error_kw={"ecolor": "#444444", "capsize": 3}
        )
        axes.axvline(1, color="#222222", linewidth=1)
        axes.invert_yaxis()
        axes.set_xlim(left=0)
        axes.grid(axis="x", color="#dddddd")
