"""Benchmarks: `cargo xtask bench [-- --quick] [-- --only io,snapshot]`. Prints Markdown and writes a report (`results.py`).

A part is one module: its text says what it measures and why that is fair, and opens its section of the report; NEEDS are
the programs that it runs and the Debian packages that bring them; `run(options, directory)` measures, in an empty directory.
A part that fails is shown as failed, the others go on, and the exit code is 1.
"""

import argparse
import importlib
import inspect
import pathlib
import sys
import tempfile
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests" / "e2e"))

import machine  # noqa: E402
import report  # noqa: E402
from results import Results, default_directory  # noqa: E402

PARTS = {
    "io": "guest_io",  # NBD I/O against qemu-nbd, nbdkit and qemu-storage-daemon
    "vhost": "vhost",  # disks inside a guest of QEMU, over vhost-user-blk and otherwise
    "front-end": "front_end",  # disks over vhost-user-blk from a front end in user space: no guest, no hypervisor
    "snapshot": "snapshots",  # full and incremental against restic, borg and qemu-img
    "invisible": "invisible",  # a guest while snapshots are marked, captured, uploaded, collected, read through
    "reflink": "reflink",  # a snapshot against `cp --reflink` on XFS, and the guest after it
    "upload": "upload",  # a snapshot into an S3 store against plain PUTs
    "mark": "large_disk",  # CreateSnapshot on 1 TiB, and 64 MiB changed in it
    "change": "change",  # an increment's time and bytes by how much of the disk changed
    "restore": "restore",  # a disk from a snapshot of 1 TiB: first byte, mounted, complete; against restic, borg and qemu-img
    "rollback": "rollback",  # ResetDisk of a 1 TiB disk: until usable, until complete
    "growth": "growth",  # the same figures by size of the disk, number of snapshots, number of attached volumes
    "restart": "restart",  # back in service after kill -9 with a full log
    "limits": "limits",  # what one core allows of hashing, compressing, encrypting, beside a full snapshot
    "scale": "scale",  # huge sparse disks, long chains, scattered change: metadata, requests, memory
    "api": "api",  # 10,000 snapshots and 5,000 disks: lists, deep pages, 2,000 signed calls a second
}
DEFAULTS = {"rounds": 3, "seconds": 2}


def main():
    options = arguments()
    results = Results(options.results, PARTS, options)
    outcomes = [run_part(name, options, results) for name in options.only.split(",")]
    report.progress(f"the report: {options.results / 'report.md'}")
    sys.exit(0 if all(outcomes) else 1)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round: shows that it works, proves nothing")
    parser.add_argument("--only", default=",".join(PARTS), help=f"some of {', '.join(PARTS)}")
    parser.add_argument("--rounds", type=int, default=DEFAULTS["rounds"], help="interleaved rounds (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=DEFAULTS["seconds"], help="length of one fio run (default: %(default)s)")
    parser.add_argument(
        "--results", type=pathlib.Path, help="where the report goes (default: bench/results, or target/bench of a quick run)"
    )
    options = parser.parse_args()
    unknown = set(options.only.split(",")) - set(PARTS)
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}")
    if options.quick:
        options.rounds, options.seconds = 1, 0.5
    options.defaults = DEFAULTS
    options.results = options.results or default_directory(options.quick)
    return options


def run_part(name, options, results):
    """Whether it went well."""
    said, title, packages, error = report.begin(options.results), name, {}, None
    with tempfile.TemporaryDirectory(prefix="tm") as directory:
        facts = results.begin(name, directory)
        try:
            module = importlib.import_module(PARTS[name])
            title, _, text = inspect.getdoc(module).partition("\n")
            title = title.rstrip(".")
            print(f"\n## {title}", flush=True)
            report.say(text.strip())
            packages = machine.versions(getattr(module, "NEEDS", {}))
            module.run(options, pathlib.Path(directory))
        except Exception as failure:
            traceback.print_exc()
            error = f"{type(failure).__name__}: {failure}"
    results.end(facts, title, packages, said, error)
    return error is None


if __name__ == "__main__":
    main()
