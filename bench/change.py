"""An increment's time and bytes as its disk's change grows.

A disk that is full of data that compresses to a little over half, of which a share is rewritten, in whole 64 KiB chunks
(what the vault stores) or in 4 KiB writes, scattered evenly; then a snapshot, straight after the writes: from the call
until it is accomplished, and what the vault grew by. Beside it are the bytes of the chunks that have changed, each
compressed alone by zstd's level 1, counted here: what is above them is what the vault needs to find them again. Shares and
kinds come in another order each round.
"""

import random

import data
import zstandard
from calls import Caller
from cloud import Cloud
from report import bar, figure, median, progress, spread, table
from service import Service

KIB, MIB = 1 << 10, 1 << 20
CHUNK = 64 * KIB
SHARES = [0, 0.1, 1, 5, 10, 25, 50, 75, 100]  # per cent
KINDS = {"64 KiB chunks": CHUNK, "4 KiB writes": 4 * KIB}
BYTES_BAR, BYTES_BAR_FROM = 1.10, 1
DEPTH = 32


class Content:
    """Pieces that all differ, two thirds words and one third noise, as data on a disk may be."""

    def __init__(self, seed):
        self.choose = random.Random(seed)
        words = [self.choose.randbytes(self.choose.randint(2, 9)).hex().encode() for _ in range(500)]
        text = b" ".join(self.choose.choices(words, k=1_000_000))
        blocks = [text[turn * 4 * KIB :][: 4 * KIB] if turn % 3 else self.choose.randbytes(4 * KIB) for turn in range(2048)]
        self.pool = b"".join(blocks)

    def piece(self, length):
        """A random key, and what lies somewhere in the pool."""
        at = self.choose.randrange(len(self.pool) - length)
        return self.choose.randbytes(16) + self.pool[at : at + length - 16]


class Disk:
    """A disk that is full, and what is on it."""

    def __init__(self, service, size):
        self.service, self.size, self.content = service, size, Content(1)
        _, self.name = Cloud(service).attached_disk(-(-size // (1 << 30)))
        self.mirror = bytearray(size)
        self.write(CHUNK, range(0, size, CHUNK))

    def write(self, length, places):
        """Returns the chunks that changed."""
        flight = []
        with self.service.client(self.name) as client:
            for at in places:
                piece = self.content.piece(length)
                self.mirror[at : at + length] = piece
                flight.append(client.write_later(at, piece))
                if len(flight) == DEPTH:
                    flight.pop(0).wait()
            for pending in flight:
                pending.wait()
            client.flush()
        return sorted({at // CHUNK for at in places})

    def compressed(self, chunks):
        packer = zstandard.ZstdCompressor(level=1)
        return sum(min(CHUNK, len(packer.compress(self.mirror[at * CHUNK : (at + 1) * CHUNK]))) for at in chunks)


def run(options, directory):
    size = 32 * MIB if options.quick else 512 * MIB
    rounds = min(options.rounds, 3)
    service = Service(directory=directory / "ours")
    service.directory.mkdir()
    shares = SHARES[::4] if options.quick else SHARES
    found = {(kind, share): [] for kind in KINDS for share in shares}
    try:
        service.start()
        disk = Disk(service, size)
        full = Caller(service).take(disk.name)[2]
        for turn in range(rounds):
            order = list(found)
            random.Random(turn).shuffle(order)
            for kind, share in order:
                found[kind, share].append(one(service, disk, KINDS[kind], share))
            progress(f"change: round {turn + 1}")
    finally:
        service.destroy()
    show(found, shares, size, full, rounds)


def one(service, disk, length, share):
    places = random.Random(share).sample(range(0, disk.size, length), round(disk.size // length * share / 100))
    chunks = disk.write(length, places)
    before = data.directory_bytes(service.vault)
    _, _, seconds = Caller(service).take(disk.name)
    return {
        "seconds": seconds,
        "stored": data.directory_bytes(service.vault) - before,
        "chunks": len(chunks),
        "compressed": disk.compressed(chunks),
    }


def show(found, shares, size, full, rounds):
    rows, worst = [], 0
    for (kind, share), figures in found.items():
        stored, compressed = ([one[name] for one in figures] for name in ("stored", "compressed"))
        ratios = [a / b for a, b in zip(stored, compressed) if b]
        rows.append(
            [
                kind,
                f"{share} %",
                f"{median([one['chunks'] for one in figures]) * CHUNK / size:.1%}",
                f"{spread([one['seconds'] * 1000 for one in figures])} ms",
                f"{median(stored) / MIB:,.2f} MiB",
                f"{median(compressed) / MIB:,.2f} MiB",
                spread(ratios, ".3f") if ratios else "",
            ]
        )
        if share >= BYTES_BAR_FROM:
            worst = max(worst, median(ratios))
    header = [
        "written in",
        "of the disk",
        "chunks touched",
        "until accomplished",
        "stored",
        "changed chunks, compressed",
        "stored / compressed",
    ]
    note = f"A disk of {size // MIB:,} MiB, full; its first snapshot, of all of it, took {full:.2f} s. {rounds} rounds: medians (smallest–largest)."
    table("Increments", header, rows, note)
    what = f"an increment's bytes beside those of its changed chunks, compressed; {BYTES_BAR_FROM} % of a disk and more"
    bar(what, f"at most {BYTES_BAR:.2f}", f"{worst:.3f} at most", worst <= BYTES_BAR)
    draw(found, shares)


def draw(found, shares):
    def curve(kind, name, unit):
        return [median([one[name] for one in found[kind, share]]) / unit for share in shares]

    def by_share(axes, label):
        axes.set_xscale("symlog", linthresh=SHARES[1])
        axes.set_xticks(shares, [f"{share} %" for share in shares], rotation=45)
        axes.set_xlim(0, 110)
        axes.set_xlabel("of the disk written since the last snapshot")
        axes.set_ylabel(label)
        axes.legend()

    with figure("change-time", "An increment's time by change", "From CreateSnapshot until it is accomplished; medians.") as axes:
        for kind in KINDS:
            axes.plot(shares, curve(kind, "seconds", 1), marker="o", label=f"in {kind}")
        axes.set_yscale("log")
        by_share(axes, "seconds")
    caption = "What the vault grew by, beside the chunks that changed, each compressed alone by zstd's level 1 (dashed)."
    with figure("change-bytes", "An increment's bytes by change", caption) as axes:
        for kind in KINDS:
            (line,) = axes.plot(shares, curve(kind, "stored", MIB), marker="o", label=f"in {kind}")
            axes.plot(shares, curve(kind, "compressed", MIB), linestyle="--", color=line.get_color())
        axes.set_yscale("symlog", linthresh=0.01)
        by_share(axes, "MiB")
