"""Content to put on disks, and ways to compare it."""

import errno
import hashlib
import json
import os
import pathlib
import random
import shutil
import sysconfig

from service import run

MIB = 1 << 20


def random_bytes(count, seed):
    """Bytes that do not compress; the same for the same seed."""
    source = random.Random(seed)
    return b"".join(source.randbytes(min(16 * MIB, count - at)) for at in range(0, count, 16 * MIB))


def directory_tree(where, seed=1):
    """A directory of real files (the interpreter's own library) and a few large ones; about 100 MiB."""
    tree = pathlib.Path(where)
    library = pathlib.Path(sysconfig.get_paths()["stdlib"])
    skip = shutil.ignore_patterns("site-packages", "__pycache__", "test", "config-*", "*.a")
    shutil.copytree(library, tree / "library", ignore=skip, symlinks=True)
    (tree / "large").mkdir()
    for number in range(4):
        (tree / "large" / f"{number}.bin").write_bytes(random_bytes(8 * MIB, seed * 100 + number))
    return tree


def ext4_image(where, tree, size):
    """A file system of `size` bytes that holds the tree, in a sparse file."""
    run("mke2fs", "-q", "-F", "-t", "ext4", "-d", tree, where, f"{size // 1024}k")
    assert os.path.getsize(where) == size
    return where


def file_system_is_clean(path):
    """`e2fsck -fn` finds nothing to mend."""
    checked = run("e2fsck", "-fn", path, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def same_bytes(first, second, length, step=8 * MIB):
    """The first `length` bytes of two files are the same; otherwise says where they part."""
    with open(first, "rb") as a, open(second, "rb") as b:
        for at in range(0, length, step):
            one, other = a.read(min(step, length - at)), b.read(min(step, length - at))
            if one != other:
                where = next((i for i, (x, y) in enumerate(zip(one, other)) if x != y), min(len(one), len(other)))
                raise AssertionError(f"{first} and {second} differ from byte {at + where} on")


def extents(file):
    """The parts (start, end) of a file that are no holes."""
    at, size = 0, os.fstat(file.fileno()).st_size
    while at < size:
        try:
            at = os.lseek(file.fileno(), at, os.SEEK_DATA)
        except OSError as nothing_more:
            assert nothing_more.errno == errno.ENXIO
            return
        end = os.lseek(file.fileno(), at, os.SEEK_HOLE)
        yield at, end
        at = end


def same_sparse(first, second, step=8 * MIB):
    """Two files hold the same bytes; only what is no hole in either is read."""
    assert os.path.getsize(first) == os.path.getsize(second)
    with open(first, "rb") as a, open(second, "rb") as b:
        for begin, end in sorted({*extents(a), *extents(b)}):
            for at in range(begin, end, step):
                length = min(step, end - at)
                same = os.pread(a.fileno(), length, at) == os.pread(b.fileno(), length, at)
                assert same, f"{first} and {second} differ within bytes {at} to {at + length}"


def compare(one, other, format="raw"):
    """An image in `format` and a raw one, files or NBD URIs, have the same size and hold the same bytes."""
    sizes = []
    for kind, image in ((format, one), ("raw", other)):
        info = run("qemu-img", "info", "--output=json", "-f", kind, image)
        sizes.append(json.loads(info.stdout)["virtual-size"])
    assert sizes[0] == sizes[1], f"{one} has {sizes[0]} bytes, {other} {sizes[1]}"
    compared = run("qemu-img", "compare", "-f", format, "-F", "raw", one, other, check=False)
    assert compared.returncode == 0, compared.stdout + compared.stderr


def digest(client, offset, length):
    """A hash of a range of an export."""
    return hashlib.blake2b(client.read_all(offset, length)).hexdigest()


def directory_bytes(directory):
    """Bytes of all files below a directory; files that go away meanwhile do not count."""
    total = 0
    for path in pathlib.Path(directory).rglob("*"):
        try:
            if path.is_file():
                total += path.stat().st_size
        except FileNotFoundError:
            pass
    return total
