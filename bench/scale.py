"""How the vault scales by structure: the harness of `crates/vault/benches/scale`, one process per case.

What it prints are the tables of `docs/scale.md`. Requests are counted as a store over the network would see them.
"""

import subprocess

import harness
from report import progress, table

CASES = {
    "sparse": ("A 64 TiB disk with 4,096 scattered chunks, then 256 more", {}, {"chunks": 256, "changes": 16}),
    "dense": ("Scattered change on a disk that is full where it changes", {}, {"dense": 1}),
    "chain": ("1,000 snapshots of a 1 TiB disk, 256 scattered chunks each", {}, {"dense": 1, "snapshots": 100}),
    "million": ("A million scattered chunks in one capture of a 64 TiB disk", {}, {"chunks": 20_000}),
}
REQUESTS = ["put", "get", "size", "list", "delete"]


def run(options, directory):
    executable = harness.build("scale")
    for case, (title, settings, quick) in CASES.items():
        progress(title)
        work = directory / case
        work.mkdir()
        words = [f"{name}={number}" for name, number in (quick if options.quick else settings).items()]
        show(title, harness.run(executable, case, *words, cwd=work))
        subprocess.run(["rm", "-rf", str(work)], check=True)


def show(title, steps):
    rows, notes = [], []
    for step in steps:
        if step["step"] == "totals":
            held = ", ".join(f"{name} {one['bytes']:,} B in {one['objects']:,}" for name, one in step["more"].items())
            notes.append(f"In the bucket at the end: {held}. Peak of memory: {mib(step['peak'])}.")
        elif step["step"] == "metadata":
            more = step["more"]
            rows[-1][-1] = f"{more['tree bytes']:,} B of tree, {more['per chunk']:,.0f} per chunk"
        else:
            requests = ", ".join(f"{step[name]:,} {name}" for name in REQUESTS if step[name])
            more = ", ".join(f"{name}: {value}" for name, value in (step["more"] or {}).items())
            rows.append([step["step"], step["at"], f"{step['seconds']:.3f} s", requests, mib(step["read"]), mib(step["written"]), mib(step["memory"]), more])
    header = ["step", "at snapshot", "time", "requests", "read", "written", "memory after", ""]
    table(title, header, rows, "\n".join(notes))


def mib(count):
    return f"{count / (1 << 20):,.2f} MiB"
