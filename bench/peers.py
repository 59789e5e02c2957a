"""Servers of disks that ours is compared with: each over a file of its own that is as large, until the block ends.

All are given what they do best with and what is equal for all: the page cache (a flush is an fdatasync) and trimming.
"""

import contextlib
import subprocess

from service import run as tool, wait_until


class Peer:
    """A server that runs."""

    def __init__(self, process, socket):
        self.process, self.socket = process, socket

    @property
    def pid(self):
        return self.process.pid

    @property
    def uri(self):
        return f"nbd+unix:///?socket={self.socket}"


@contextlib.contextmanager
def serving(directory, name, gib, command, form="raw"):
    """`command(file, socket)` serves the file on the socket."""
    file, socket, log = (directory / f"{name}.{end}" for end in (form, "sock", "log"))
    tool("qemu-img", "create", "-q", "-f", form, file, f"{gib}G")
    with open(log, "wb") as out:
        process = subprocess.Popen([str(word) for word in command(file, socket)], stdout=out, stderr=out)

    def ready():
        assert process.poll() is None, log.read_text()
        return socket.exists()

    try:
        wait_until(ready, f"{name} serves", 30)
        yield Peer(process, socket)
    finally:
        process.terminate()
        process.wait(30)
        file.unlink()


def qemu_nbd(file, socket, form="raw"):
    return ["qemu-nbd", "-f", form, "-k", socket, "-e", "64", "-t", "--cache=writeback", "--discard=unmap", file]


def qemu_nbd_qcow2(file, socket):
    return qemu_nbd(file, socket, "qcow2")


def nbdkit(file, socket):
    return ["nbdkit", "-f", "-U", socket, "file", file]


def storage_daemon_nbd(file, socket):
    export = ["--nbd-server", f"addr.type=unix,addr.path={socket}", "--export", "nbd,id=export,node-name=disk,name=,writable=on"]
    return [*storage_daemon(file), *export]


def storage_daemon_vhost(file, socket, queues=2, aio="threads"):
    export = f"vhost-user-blk,id=export,node-name=disk,addr.type=unix,addr.path={socket},writable=on,num-queues={queues}"
    return [*storage_daemon(file, aio), "--export", export]


def storage_daemon(file, aio="threads"):
    return ["qemu-storage-daemon", "--blockdev", f"file,filename={file},node-name=disk,discard=unmap,aio={aio}"]
