"""A virtual machine of QEMU whose disk is ours over vhost-user, all of it emulated: a Debian kernel and a shell script.

The kernel is taken out of its package without installing it, once for each target directory. The script is the
machine's first process; what it prints on the console is how the test follows it.
"""

import os
import pathlib
import re
import shutil
import subprocess
import threading

from service import BINARY, run, wait_until

MODULES = ["virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_blk"]
START = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /tmp
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox --install -s /bin
export PATH=/bin
for module in %s; do insmod /modules/$module.ko; done
while [ ! -b /dev/vda ]; do sleep 0.1; done
%s
dmesg | grep -i -c "I/O error" | sed 's/^/ERRORS /'
poweroff -f
"""


def kernel():
    """(the kernel, the directory of its modules)."""
    place = pathlib.Path(BINARY).parent.parent / "guest-kernel"
    if not (place / "complete").exists():
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        said = run("apt-cache", "depends", "linux-image-cloud-amd64").stdout
        (package,) = re.findall(r"Depends: (linux-image-\S+)", said)[:1]
        run("apt-get", "download", package, cwd=place)
        (archive,) = place.glob("*.deb")
        run("dpkg-deb", "-x", archive, place)
        (place / "complete").touch()
    (image,) = (place / "boot").glob("vmlinuz-*")
    return image, place / "lib" / "modules"


def archive(entries):
    """A newc cpio archive of (path, mode, content); directories have no content."""
    out = bytearray()
    for number, (path, mode, content) in enumerate([*entries, ("TRAILER!!!", 0, b"")], 1):
        name = path.encode() + b"\0"
        words = [number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name), 0]
        out += b"070701" + b"".join(b"%08x" % word for word in words) + name
        out += bytes(-len(out) % 4) + content
        out += bytes(-len(out) % 4)
    return bytes(out)


def initramfs(script):
    _, modules = kernel()
    entries = [(name, 0o040755, b"") for name in ("bin", "modules")]
    entries.append(("init", 0o100755, (START % (" ".join(MODULES), script)).encode()))
    entries.append(("bin/busybox", 0o100755, pathlib.Path(shutil.which("busybox")).read_bytes()))
    for name in MODULES:
        (found,) = modules.rglob(f"{name}.ko")
        entries.append((f"modules/{name}.ko", 0o100644, found.read_bytes()))
    return archive(entries)


class Guest:
    """A running machine."""

    def __init__(self, where, socket, script):
        (where / "initramfs").write_bytes(initramfs(script))
        image, _ = kernel()
        command = ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", "256M"]
        command += ["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio"]
        command += ["-object", "memory-backend-memfd,id=memory,size=256M,share=on", "-machine", "q35,memory-backend=memory"]
        command += ["-chardev", f"socket,id=disk,path={socket},reconnect=1"]
        command += ["-device", "vhost-user-blk-pci,chardev=disk,num-queues=2"]
        command += ["-kernel", str(image), "-initrd", str(where / "initramfs")]
        command += ["-append", "console=ttyS0 quiet panic=-1"]
        self.lines = []
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line.decode(errors="replace").strip())

    def said(self, pattern, timeout=60):
        """What the first line that matches says, once there is one."""

        def look():
            if found := [match for line in list(self.lines) if (match := re.search(pattern, line))]:
                return found[0]
            assert self.process.poll() is None or self.reader.is_alive(), f"the machine ended:\n{self.text()}"
            return None

        try:
            return wait_until(look, f"the guest says {pattern}", timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.text()}") from error

    def text(self):
        return "\n".join(self.lines[-60:])

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(30)
