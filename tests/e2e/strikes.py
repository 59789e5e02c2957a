"""Rounds of striking a service: their number, their seed, their tally.

`--rounds N` (or TIDEMARK_ROUNDS) says how many, `--seed N` (or TIDEMARK_SEED) repeats the choices of a
run; what runs at the same time in several processes never repeats exactly. The tally is printed when all
tests are over, and that line is what `cargo xtask soak` ends with.
"""

import contextlib
import os
import random
import subprocess
import sys
import time


class Tally:
    """What was tried in one run of the tests."""

    def __init__(self):
        self.rounds = self.kills = self.cuts = self.acknowledged = self.snapshots = self.losses = 0

    def __str__(self):
        return (
            f"strikes: {self.rounds} rounds, {self.kills} kills, {self.cuts} power cuts, "
            f"{self.acknowledged} writes acknowledged, {self.snapshots} snapshots compared, {self.losses} losses"
        )


class Strikes:
    """Hands out the rounds of one test."""

    def __init__(self, name, rounds, seed, tally, progress):
        self.name, self.rounds, self.seed, self.tally, self.progress = name, rounds, seed, tally, progress

    def __iter__(self):
        """The numbers of the rounds, each with its own source of choices."""
        print(f"seed {self.seed}: repeat with --seed {self.seed}")
        begun = time.monotonic()
        for number in range(self.rounds):
            yield number, random.Random(f"{self.seed} {self.name} {number}")
            self.tally.rounds += 1
            if self.progress:
                done, spent = number + 1, time.monotonic() - begun
                print(
                    f"\r{self.name}: round {done} of {self.rounds}, {spent / done:.1f} s each; {self.tally}",
                    file=sys.stderr,
                    flush=True,
                )

    @contextlib.contextmanager
    def judged(self):
        """Around the checks: what fails in here is a loss."""
        try:
            yield
        except AssertionError:
            self.tally.losses += 1
            raise


def keep_evidence(directory):
    """Copies what a failed round left behind to TIDEMARK_EVIDENCE, if that names a directory."""
    target = os.environ.get("TIDEMARK_EVIDENCE")
    if target:
        subprocess.run(["cp", "-a", "--sparse=always", str(directory), target], check=False)
        print(f"what was left is in {target}")


def default_seed():
    return int(os.environ.get("TIDEMARK_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
