"""Benchmarks: `cargo xtask bench [-- --quick] [-- --only io,snapshot,busy,upload,mark,restart,first-byte,scale,api]`. Prints Markdown.

Every comparison is made in one run on one machine, in interleaved rounds, and shown as medians and as
ratios to the others. Absolute figures are for orientation; the ratios are what is meant to be compared.
"""

import argparse
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests" / "e2e"))

import api  # noqa: E402
import busy_guest  # noqa: E402
import first_byte  # noqa: E402
import guest_io  # noqa: E402
import large_disk  # noqa: E402
import restart  # noqa: E402
import scale  # noqa: E402
import snapshots  # noqa: E402
import upload  # noqa: E402

PARTS = {
    "io": guest_io.run,  # NBD I/O against qemu-nbd and nbdkit
    "snapshot": snapshots.run,  # full and incremental against restic, borg and qemu-img
    "busy": busy_guest.run,  # a guest's I/O while a snapshot is made, against idle
    "upload": upload.run,  # a snapshot into an S3 store against plain PUTs
    "mark": large_disk.run,  # CreateSnapshot on 1 TiB, and 64 MiB changed in it
    "first-byte": first_byte.run,  # a disk from a snapshot of 1 TiB: until its first 4 KiB are read
    "restart": restart.run,  # back in service after kill -9 with a full log
    "scale": scale.run,  # huge sparse disks, long chains, scattered change: metadata, requests, memory
    "api": api.run,  # 10,000 snapshots and 5,000 disks: lists, deep pages, 2,000 signed calls a second
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round: shows that it works, proves nothing")
    parser.add_argument("--only", default=",".join(PARTS), help=f"some of {', '.join(PARTS)}")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default: 5)")
    parser.add_argument("--seconds", type=int, default=4, help="length of one fio run (default: 4)")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 1, 1
    unknown = set(options.only.split(",")) - set(PARTS)
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}")
    for name in options.only.split(","):
        with tempfile.TemporaryDirectory(prefix="tm") as directory:
            PARTS[name](options, pathlib.Path(directory))


main()
