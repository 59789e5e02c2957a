"""What a disk may hold after its service was killed or its power cut: a client that stamps every block,
and checks that know which contents are still possible.

A `Ledger` knows a region of a disk block by block: what was found there last, and every change issued
since, in order. At most one change per block is in flight, so a block's changes are a sequence, and its
content says how much of that sequence happened. What must have happened depends on what struck: after a
killed process everything acknowledged, after a power cut everything that a flush, FUA or a snapshot
covered. Changes are writes of one or more blocks, zeroes and trims (both read as zeros here).
"""

import random
import threading
import time

from oracle import BLOCK, block_content, sequence_of

SIZES = [1] * 14 + [2, 3, 5, 8, 16, 64]


class Change:
    """One request, over `count` blocks from `index` on. `stamp` is 0 where it leaves zeros."""

    def __init__(self, stamp, index, count, pending, fua):
        self.stamp, self.index, self.count, self.pending, self.fua = stamp, index, count, pending, fua

    @property
    def issued(self):
        return self.pending.issued

    @property
    def acknowledged(self):
        """When it was; None if never, or if it was refused."""
        return self.pending.acknowledged if self.pending.error is None else None


class Ledger:
    """The blocks of one region, from `first_byte` on, over many lives of the service."""

    def __init__(self, first_byte, blocks):
        self.first_byte, self.blocks = first_byte, blocks
        self.settled = [0] * blocks
        self.changes, self.barriers = [], []
        self.next_stamp = 1

    def stamp(self):
        stamp, self.next_stamp = self.next_stamp, self.next_stamp + 1
        return stamp

    def read(self, read_all):
        """The stamp of each block, as `read_all(offset, length)` shows it; fails on bytes nobody wrote."""
        data = read_all(self.first_byte, self.blocks * BLOCK)
        return [sequence_of(data[i * BLOCK : (i + 1) * BLOCK], i) for i in range(self.blocks)]

    def settle(self, found):
        """From now on this is what the disk holds: the caller has checked it, and flushed. Returns how many
        changes were acknowledged since the last time."""
        acknowledged = sum(change.acknowledged is not None for change in self.changes)
        self.settled, self.changes, self.barriers = found, [], []
        return acknowledged

    # What must be there.

    def check_killed(self, found):
        """The process was killed: all that it acknowledged is there."""
        self._check(found, lambda change: change.acknowledged is not None, "acknowledged")

    def check_power_cut(self, found, marks=()):
        """The power was cut: what a flush, a FUA or one of the `marks` (moments of calls that take a snapshot
        and were answered) covers is there."""
        barriers = [flush.issued for flush in self.barriers if flush.acknowledged and flush.error is None]
        latest = max([*barriers, *marks], default=float("-inf"))

        def safe(change):
            return change.acknowledged is not None and (change.fua or change.acknowledged < latest)

        self._check(found, safe, "acknowledged and flushed")

    def freeze(self):
        """The ledger as it is now, to check later what a snapshot of this life holds."""
        frozen = Ledger(self.first_byte, self.blocks)
        frozen.settled, frozen.changes = list(self.settled), list(self.changes)
        return frozen

    def check_snapshot(self, found, called, answered):
        """The state of one instant between `called` and `answered`: all that was acknowledged before the call,
        nothing issued after the answer, and whatever a change in it could have seen."""
        issued = {change.stamp: change.issued for change in self.changes if change.stamp}
        latest = max((issued[stamp] for stamp in found if stamp in issued), default=float("-inf"))
        assert latest < answered, "the snapshot holds a write that was issued after its answer"
        horizon = max(called, latest)
        candidates = self._candidates(
            lambda change: change.acknowledged is not None and change.acknowledged < horizon,
            lambda change: change.issued < answered,
        )
        self._compare(found, candidates, f"acknowledged before {'the call' if horizon == called else 'a write in it'}")

    def _check(self, found, safe, what):
        self._compare(found, self._candidates(safe, lambda _: True), what)

    def _candidates(self, must, may):
        """For each block the stamps that it can hold: the last that must be there, and later possible ones."""
        candidates = [[stamp] for stamp in self.settled]
        for change in self.changes:
            if may(change):
                for index in range(change.index, change.index + change.count):
                    if must(change):
                        candidates[index] = [change.stamp]
                    else:
                        candidates[index].append(change.stamp)
        return candidates

    def _compare(self, found, candidates, what):
        for index, (stamp, possible) in enumerate(zip(found, candidates, strict=True)):
            if stamp not in possible:
                history = [
                    (change.stamp, change.fua, change.acknowledged is not None)
                    for change in self.changes
                    if change.index <= index < change.index + change.count
                ]
                raise AssertionError(
                    f"block {index} holds write {stamp}, but {possible[0]} was {what}, and later ones are "
                    f"{possible[1:]}; settled {self.settled[index]}; since then (stamp, FUA, acknowledged): {history}"
                )


class Stamper(threading.Thread):
    """Changes random places of a ledger's region, up to `depth` at a time, until `stop()` or until the
    connection breaks. Refusals that are listed in `tolerated` (errno) are taken as not acknowledged."""

    def __init__(self, client, ledger, seed, depth=16, tolerated=()):
        super().__init__(daemon=True)
        self.client, self.ledger, self.depth, self.tolerated = client, ledger, depth, tolerated
        self.random = random.Random(seed)
        self.flush_every = self.random.choice([5, 40, 400])
        self.stopping, self.failure, self.refusals = threading.Event(), None, 0

    def run(self):
        flight, busy = [], set()
        try:
            while not self.stopping.is_set():
                while len(flight) >= self.depth or (flight and flight[0].pending.done.is_set()):
                    self._land(flight.pop(0), busy)
                self._issue(flight, busy)
            for change in flight:
                self._land(change, busy)
        except (OSError, TimeoutError) as failure:
            self.failure = failure

    def _land(self, change, busy):
        busy.difference_update(range(change.index, change.index + change.count))
        change.pending.done.wait(60)
        error = change.pending.error
        if error is not None and getattr(error, "errno", None) not in self.tolerated:
            raise error
        self.refusals += error is not None
        if not change.pending.done.is_set():
            raise TimeoutError("no answer in 60 s")

    def _issue(self, flight, busy):
        ledger, choose = self.ledger, self.random
        count = choose.choice(SIZES)
        index = choose.randrange(ledger.blocks - count + 1)
        places = range(index, index + count)
        if not busy.isdisjoint(places):
            return
        offset, kind = ledger.first_byte + index * BLOCK, choose.random()
        if kind < 0.04:
            stamp, fua = 0, False
            pending = self.client.zero_later(offset, count * BLOCK, trim=kind < 0.02)
        else:
            stamp, fua = ledger.stamp(), kind < 0.06
            content = b"".join(block_content(stamp, place) for place in places)
            pending = self.client.write_later(offset, content, fua=fua)
        change = Change(stamp, index, count, pending, fua)
        ledger.changes.append(change)
        flight.append(change)
        busy.update(places)
        if len(ledger.changes) % self.flush_every == 0:
            ledger.barriers.append(self.client.flush_later())

    def stop(self):
        """Ends it while the service lives; anything that went wrong is raised."""
        self.end()
        if self.failure is not None:
            raise self.failure

    def end(self):
        """Ends it after the service was struck: its connection is broken or about to be."""
        self.stopping.set()
        self.join(90)
        assert not self.is_alive(), "the client does not end"

    def wait_for(self, changes, timeout=60):
        """Until so many changes of this life have been issued, or the connection broke."""
        deadline = time.monotonic() + timeout
        while len(self.ledger.changes) < changes and self.is_alive():
            assert time.monotonic() < deadline, f"only {len(self.ledger.changes)} changes in {timeout} s"
            time.sleep(0.01)
