"""A disk's file system, mounted on this machine: nbdfuse makes a file of the export, a loop device a block device of that.

`nbd-client` does the same in one step where the kernel has its module; a container's or a cloud's often has not.
"""

import contextlib
import os
import subprocess

from service import run as tool, wait_until

NEEDS = {"nbdfuse": "libnbd-bin", "mount": "mount"}


@contextlib.contextmanager
def mounted(uri, where):
    """The directory that it is mounted on, below `where`."""
    if os.geteuid() != 0:
        raise PermissionError("this mounts a file system: run it as root")
    file, directory = where / "nbdfuse", where / "mounted"
    for path in (file, directory):
        path.mkdir(exist_ok=True)
    image = file / "disk"
    server = subprocess.Popen(["nbdfuse", image, uri], stdin=subprocess.DEVNULL)
    try:
        wait_until(lambda: image.exists() and image.stat().st_size, f"{uri} is a file", 30, step=0.001)
        tool("mount", "-t", "ext4", "-o", "loop", image, directory)
        try:
            yield directory
        finally:
            tool("umount", directory)
    finally:
        tool("umount", file, check=False)  # there is nothing to undo if it never came so far
        server.terminate()
        server.wait(30)
