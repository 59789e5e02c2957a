"""A virtual machine of QEMU with disks of a caller's choice, a Debian kernel, and a shell script.

The kernel is taken out of its package without installing it, once for each target directory. The script is the
machine's first process; what it prints on the console is how the caller follows it, and `tell` is how it is told something.
All of it is emulated unless another accelerator is asked for.
"""

import lzma
import os
import pathlib
import re
import shutil
import subprocess
import threading

from service import run, wait_until

TARGET = pathlib.Path(__file__).parents[2] / os.environ.get("CARGO_TARGET_DIR", "target")
MODULES = ["virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_blk"]
START = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /tmp
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox --install -s /bin
export PATH=/bin:/usr/bin
for module in %s; do insmod /modules/$module.ko; done
while [ ! -b /dev/vda ]; do sleep 0.1; done
%s
dmesg | grep -i -c "I/O error" | sed 's/^/ERRORS /'
poweroff -f
"""


def kernel():
    """(the kernel, the directory of its modules)."""
    place = TARGET / "guest-kernel"
    if not (place / "complete").exists():
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        run("dpkg-deb", "-x", download("linux-image-cloud-amd64", place / "packages"), place)
        shutil.rmtree(place / "packages")
        (place / "complete").touch()
    (image,) = (place / "boot").glob("vmlinuz-*")
    return image, place


def download(name, place):
    """The package that the one of this name stands for. The lists are fetched here: the system's may be old or not there at all."""
    apt = [f"-oDir::State::lists={place}/lists", f"-oDir::Cache={place}/cache"]
    (place / "lists" / "partial").mkdir(parents=True)
    (place / "cache" / "archives" / "partial").mkdir(parents=True)
    run("apt-get", *apt, "update", timeout=600)
    said = run("apt-cache", *apt, "depends", name).stdout
    found = re.findall(r"Depends: (linux-image-\S+)", said)
    assert found, f"{name} is in none of apt's sources, or depends on no kernel:\n{said}"
    run("apt-get", *apt, "download", found[0], cwd=place, timeout=600)
    (package,) = place.glob("*.deb")
    return package


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


def initramfs(script, files=(), modules=()):
    """The script, what it needs to see disks, and some files of this machine under the same names."""
    _, tree = kernel()
    modules = [*MODULES, *modules]
    entries = [("init", 0o100755, (START % (" ".join(modules), script)).encode())]
    entries.append(("bin/busybox", 0o100755, pathlib.Path(shutil.which("busybox")).read_bytes()))
    for name in modules:
        entries.append((f"modules/{name}.ko", 0o100644, module(tree, name)))
    for path in files:
        entries.append((str(path).lstrip("/"), 0o100755, pathlib.Path(path).read_bytes()))
    folders = {str(parent) for path, _, _ in entries for parent in pathlib.Path(path).parents} - {"."}
    return archive([(name, 0o040755, b"") for name in sorted(folders)] + entries)


def module(tree, name):
    (found,) = [path for path in tree.rglob(f"{name}.ko*") if path.suffix in (".ko", ".xz")]
    return lzma.decompress(found.read_bytes()) if found.suffix == ".xz" else found.read_bytes()


def with_libraries(program):
    """A program and the shared libraries that it is linked with, as paths of this machine."""
    path = shutil.which(program)
    return [path, *re.findall(r"(/\S+) \(0x", run("ldd", path).stdout)]


def kvm_works():
    """Whether a guest runs on the processor itself. KVM without that (as a hypervisor in software offers it to a guest
    of its own) is slower than QEMU's own emulation, and needs a kernel made for it."""
    flags = re.search(r"^flags\s*:(.*)", pathlib.Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    words = ["-accel", "kvm", "-machine", "none", "-display", "none", "-nodefaults", "-monitor", "stdio"]
    return (
        bool(flags and {"vmx", "svm"} & set(flags[1].split()))
        and run("qemu-system-x86_64", *words, input="quit\n", check=False).returncode == 0
    )


def vhost_user_disk(name, socket, queues=2):
    """The words that make a disk of a vhost-user-blk socket."""
    chardev = f"socket,id={name},path={socket},reconnect=1"
    return ["-chardev", chardev, "-device", f"vhost-user-blk-pci,chardev={name},num-queues={queues}"]


class Guest:
    """A running machine; `disks` are words for QEMU, and the guest sees them as /dev/vda, /dev/vdb and so on."""

    def __init__(self, where, script, disks, files=(), accelerator="tcg", memory="256M", modules=()):
        (where / "initramfs").write_bytes(initramfs(script, files, modules))
        image, _ = kernel()
        command = ["qemu-system-x86_64", "-accel", accelerator, "-cpu", "max", "-smp", "2", "-m", memory]
        command += ["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio"]
        command += ["-object", f"memory-backend-memfd,id=memory,size={memory},share=on", "-machine", "q35,memory-backend=memory"]
        command += [*disks, "-kernel", str(image), "-initrd", str(where / "initramfs")]
        command += ["-append", "console=ttyS0 quiet panic=-1"]
        self.start(command)

    def start(self, command):
        self.lines = []
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def tell(self, line):
        """A line for the script to read."""
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line.decode(errors="replace").strip())

    def said(self, pattern, timeout=60):
        """What the first line that matches says, once there is one."""

        def look():
            if found := [match for line in list(self.lines) if (match := re.search(pattern, line))]:
                return found[0]
            assert not any("KVM internal error" in line for line in self.lines), "KVM gave up"
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
