"""An XFS file system in a file, mounted until the block ends."""

import contextlib
import os
import subprocess

from service import run as tool


@contextlib.contextmanager
def mounted(directory, gib):
    if os.geteuid() != 0:
        raise RuntimeError("only root can mount an XFS file system in a file; run this part as root")
    image, where = directory / "xfs.img", directory / "xfs"
    where.mkdir()
    with open(image, "wb") as file:
        file.truncate(gib << 30)
    tool("mkfs.xfs", "-q", "-m", "reflink=1", image)
    # The loop device is given back with the unmounting. Not `discard`: that goes on long after files are deleted.
    tool("mount", "-o", "loop", image, where)
    try:
        yield where
    finally:
        if subprocess.run(["umount", where], check=False).returncode != 0:
            tool("umount", "--lazy", where)  # gone as soon as the last file is closed
        image.unlink()
