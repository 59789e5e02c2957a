"""A real file system to snapshot, and two ways in which a guest changes it.

The image is an ext4 of real files of this machine and, for a third, files as a database writes them: pages of rows of
words and random keys, a log. Loads give (offset, bytes) writes in the image; the same seed gives the same writes.
"""

import os
import random
import shutil
import struct
import subprocess

import data
from service import run as tool

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
CHUNK = 64 * KIB
PAGE, BLOCK = 8 * KIB, 4 * KIB
SOURCES = ["/usr/lib", "/usr/share", "/usr/bin", "/opt", "/usr/local"]  # real files of this machine


class Database:
    """A table in pages and a log, as files in the image."""

    def __init__(self, table_bytes, log_bytes, seed=1):
        self.pages, self.log_bytes = table_bytes // PAGE, log_bytes
        self.choose = random.Random(seed)
        words = [self.choose.randbytes(self.choose.randint(2, 9)).hex().encode() for _ in range(5000)]
        self.words = b" ".join(self.choose.choices(words, k=300_000))
        self.lsn = 0

    def row(self):
        """240 bytes: a random key, and words."""
        at = self.choose.randrange(len(self.words) - 224)
        return self.choose.randbytes(16) + self.words[at : at + 224]

    def page(self, number):
        self.lsn += 1
        rows = b"".join(self.row() for _ in range(30))
        return (struct.pack("<QQQ", number, self.lsn, 30) + rows).ljust(PAGE, b"\0")

    def write_files(self, folder):
        folder.mkdir()
        with open(folder / "table", "wb") as table:
            for number in range(self.pages):
                table.write(self.page(number))
        with open(folder / "log", "wb") as log:
            for _ in range(self.log_bytes // PAGE):  # what is left of a log that went round
                log.write(self.page(0))


def build(where, wanted, database):
    """An image of `wanted` bytes, about 85 % full. Returns its path."""
    tree = file_tree(where, wanted * 85 // 100, database)
    image = data.ext4_image(where / "image.raw", tree, wanted)
    shutil.rmtree(tree)
    return image


def file_tree(where, wanted, database):
    """A directory of about `wanted` bytes. Returns its path."""
    tree = where / "tree"
    tree.mkdir()
    database.write_files(tree / "database")
    left = wanted - data.directory_bytes(tree)
    for source in SOURCES:
        for folder, folders, files in os.walk(source):
            folders.sort()
            for name in sorted(files):
                path = os.path.join(folder, name)
                if os.path.islink(path) or not os.path.isfile(path) or not os.access(path, os.R_OK):
                    continue
                room = -(-os.path.getsize(path) // BLOCK) * BLOCK
                if room > left:
                    continue
                left -= room
                target = tree / path.lstrip("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
    return tree


class Places:
    """Where the database's files lie in the image."""

    def __init__(self, image):
        self.table, self.log = (offsets(image, f"/database/{name}") for name in ("table", "log"))


def offsets(image, path):
    """Where each block of a file lies in the image."""
    listed = tool("debugfs", "-R", f"blocks {path}", image).stdout.split()
    assert listed, f"no blocks of {path} are found in {image}"
    return [int(block) * BLOCK for block in listed if block != "0"]


def scattered(image, count, seed):
    """`count` writes of 4 KiB that do not compress, anywhere that is in use."""
    choose = random.Random(seed)
    used = used_blocks(image)
    return [(block * BLOCK, choose.randbytes(BLOCK)) for block in choose.sample(used, count)]


def used_blocks(image):
    """The image's blocks that are not a hole in its file."""
    used = []
    with open(image, "rb") as file:
        at, end = 0, os.path.getsize(image)
        while at < end:
            try:
                start = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                break
            at = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            used.extend(range(start // BLOCK, at // BLOCK))
    return used


def transactions(image, database, places, count, seed):
    """Updates of rows, nine in ten of them in a tenth of the pages, and the log of them.

    The log gets a page whole when it is changed first and the row from then on, in blocks, 16 transactions at a time;
    the pages go to the table at the end, as a checkpoint writes them.
    """
    choose = random.Random(seed)
    table, log = places.table, places.log
    hot = choose.sample(range(database.pages), database.pages // 10)
    pages, logged, writes = {}, bytearray(), []
    tail = choose.randrange(len(log))
    with open(image, "rb") as file:
        for turn in range(count):
            number = choose.choice(hot) if choose.random() < 0.9 else choose.randrange(database.pages)
            if number not in pages:
                halves = table[number * 2 : number * 2 + 2]
                pages[number] = bytearray(b"".join(os.pread(file.fileno(), BLOCK, half) for half in halves))
                logged += pages[number]
            page, row, slot = pages[number], database.row(), choose.randrange(30)
            database.lsn += 1
            page[8:16] = struct.pack("<Q", database.lsn)
            page[24 + slot * 240 : 24 + (slot + 1) * 240] = row
            logged += struct.pack("<QQQ", number, slot, database.lsn) + row
            if turn % 16 == 15:
                logged += bytes(-len(logged) % BLOCK)
                for at in range(0, len(logged), BLOCK):
                    writes.append((log[tail % len(log)], bytes(logged[at : at + BLOCK])))
                    tail += 1
                logged.clear()
    for number, page in sorted(pages.items()):
        for half in range(2):
            writes.append((table[number * 2 + half], bytes(page[half * BLOCK : (half + 1) * BLOCK])))
    return writes


def apply(writes, image, client=None):
    """Makes the writes to the file, and to the disk. Returns the chunks of the image that they really changed."""
    touched = {at // CHUNK for at, _ in writes}
    with open(image, "r+b") as file:
        before = {chunk: os.pread(file.fileno(), CHUNK, chunk * CHUNK) for chunk in touched}
        for at, piece in writes:
            os.pwrite(file.fileno(), piece, at)
            if client is not None:
                client.write(at, piece)
        if client is not None:
            client.flush()
        return sorted(c for c in touched if os.pread(file.fileno(), CHUNK, c * CHUNK) != before[c])


def compressed_bytes(image, chunks, where):
    """What these chunks take when each is compressed by `zstd -1`, or left as it is where that saves nothing."""
    where.mkdir()
    with open(image, "rb") as file:
        for chunk in chunks:
            (where / str(chunk)).write_bytes(os.pread(file.fileno(), CHUNK, chunk * CHUNK))
    total = 0
    if chunks:
        subprocess.run(["zstd", "-1", "-q", "--no-check", "--rm", "-r", str(where)], check=True)
        total = sum(min(CHUNK, path.stat().st_size) for path in where.iterdir())
    shutil.rmtree(where)
    return total
