"""What a point in time must contain: a writer that knows when each of its writes was issued and
acknowledged, and checks that decide from a copy of the disk which writes are in it (S2, S15, S23).

Every 4 KiB block that the writer writes names its own sequence number and place, and all its bytes
follow from them, so a torn, misplaced or invented block cannot pass. At most one write per block is in
flight, so a block's content decides its whole history: the writes up to the one found are in the copy,
the later ones are not.
"""

import hashlib
import random
import struct
import threading
import time

import nbd

BLOCK = 4096
HEADER = struct.Struct(">8sQQ")
STAMP = b"tidemark"


def block_content(sequence, index):
    """The only right bytes for a write of this number at this block."""
    header = HEADER.pack(STAMP, sequence, index)
    unit = hashlib.blake2b(header).digest()
    return header + (unit * (BLOCK // len(unit)))[: BLOCK - HEADER.size]


def sequence_of(data, index):
    """Which write this block holds: 0 for none yet (zeros). Raises on any other content."""
    if data == bytes(BLOCK):
        return 0
    stamp, sequence, place = HEADER.unpack_from(data)
    assert stamp == STAMP and place == index, f"block {index} holds foreign bytes: {data[:32].hex()}"
    assert data == block_content(sequence, index), f"block {index} is a mixture (write {sequence})"
    return sequence


class Write:
    def __init__(self, sequence, index, pending):
        self.sequence, self.index, self.pending = sequence, index, pending

    @property
    def issued(self):
        return self.pending.issued

    @property
    def acknowledged(self):
        """When it was acknowledged; never, if it failed."""
        return self.pending.acknowledged if self.pending.error is None else None


class Writer(threading.Thread):
    """Writes random blocks of `region_blocks` from `first_byte` on, `depth` at a time, with a flush every
    `flush_every` writes, until `stop()` or until the connection breaks."""

    def __init__(self, client, first_byte, region_blocks, seed, depth=16, flush_every=50):
        super().__init__(daemon=True)
        self.client, self.first_byte, self.region_blocks = client, first_byte, region_blocks
        self.random, self.depth, self.flush_every = random.Random(seed), depth, flush_every
        self.history, self.flushes = [], []
        self.stopping, self.failure = threading.Event(), None

    def run(self):
        flight, busy = [], set()
        try:
            while not self.stopping.is_set():
                while len(flight) >= self.depth or (flight and flight[0].pending.done.is_set()):
                    oldest = flight.pop(0)
                    oldest.pending.wait()
                    busy.discard(oldest.index)
                index = self.random.randrange(self.region_blocks)
                if index in busy:
                    continue
                sequence = len(self.history) + 1
                pending = self.client.write_later(
                    self.first_byte + index * BLOCK, block_content(sequence, index), fua=sequence % 97 == 0
                )
                write = Write(sequence, index, pending)
                self.history.append(write)
                flight.append(write)
                busy.add(index)
                if sequence % self.flush_every == 0:
                    self.flushes.append(self.client.flush_later())
            for write in flight:
                write.pending.wait()
            for flush in self.flushes:
                flush.wait()
        except (OSError, TimeoutError) as failure:
            self.failure = failure

    def stop(self):
        self.stopping.set()
        self.join(60)
        assert not self.is_alive(), "the writer does not end"
        if self.failure is not None:
            raise self.failure

    def wait_for(self, writes, timeout=60):
        """Until that many writes have been issued."""
        deadline = time.monotonic() + timeout
        while len(self.history) < writes:
            assert self.failure is None, f"the writer failed: {self.failure}"
            assert time.monotonic() < deadline, f"only {len(self.history)} writes in {timeout} s"
            time.sleep(0.01)

    def found_in(self, read):
        """For each block of the region the number of the write that `read(offset, length)` shows."""
        data = read(self.first_byte, self.region_blocks * BLOCK)
        return [sequence_of(data[i * BLOCK : (i + 1) * BLOCK], i) for i in range(self.region_blocks)]


def check_point_in_time(writer, found, called, answered):
    """`found` is a state that the disk had at one instant between `called` and `answered`.

    (1) Every write acknowledged before the call is in it. (2) No write issued after the answer is.
    (3) It is closed: what was acknowledged before some write in it was issued, is in it too.
    """
    history = writer.history
    latest_issue = 0.0
    for index, sequence in enumerate(found):
        if sequence:
            assert sequence <= len(history), f"block {index} holds write {sequence}, which was never issued"
            write = history[sequence - 1]
            assert write.index == index
            assert write.issued < answered, f"write {sequence} was issued after the snapshot's answer and is in it"
            latest_issue = max(latest_issue, write.issued)
    horizon = max(called, latest_issue)
    for write in history:
        if write.acknowledged is not None and write.acknowledged < horizon:
            assert found[write.index] >= write.sequence, (
                f"write {write.sequence} (block {write.index}) was acknowledged "
                f"{'before the call' if write.acknowledged < called else 'before a write that is in the snapshot'} "
                f"and is missing: the block holds write {found[write.index]}"
            )


def check_nothing_lost(writer, found):
    """After the service was killed: every acknowledged write is there, flushed or not, and nothing is there
    that was never issued. Returns how many writes that covers."""
    history = writer.history
    for index, sequence in enumerate(found):
        assert sequence <= len(history), f"block {index} holds write {sequence}, which was never issued"
        assert sequence == 0 or history[sequence - 1].index == index
    acknowledged = [write for write in history if write.acknowledged is not None]
    for write in acknowledged:
        assert found[write.index] >= write.sequence, (
            f"write {write.sequence} (block {write.index}) was acknowledged and is lost: "
            f"the block holds write {found[write.index]}"
        )
    return len(acknowledged)
