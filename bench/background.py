"""What the service does behind a guest's back, each kind as something that can be begun and asked whether it is over.

Asking costs next to nothing (a file's presence, a process's state), so that it is not the asking that the guest notices.
"""

import json
import os
import subprocess
import time

from calls import Caller
from service import BINARY, wait_until


class Work:
    """`wait` comes before it, and is no part of it."""

    calls = ()

    def wait(self):
        pass


class Capture(Work):
    """A snapshot, from the call until its record is in the vault."""

    def __init__(self, service, disk, vault):
        self.service, self.disk, self.vault, self.snapshot = service, disk, vault, None

    def begin(self):
        self.snapshot = api(self.service, "CreateSnapshot", DiskId=self.disk)["SnapshotId"]

    def over(self):
        return (self.vault / "snapshots" / self.snapshot).exists()


class Marks(Work):
    """CreateSnapshot again and again, while next to nothing has changed; `calls` says when each call was under way."""

    EVERY = 0.25

    def __init__(self, service, disk, seconds):
        self.service, self.disk, self.seconds = service, disk, seconds
        self.calls, self.snapshots = [], []

    def begin(self):
        self.caller = Caller(self.service)
        self.next = time.time()
        self.end = self.next + self.seconds

    def over(self):
        now = time.time()
        if now >= self.next and self.is_captured():
            begun = time.time()
            self.snapshots.append(self.caller.call("CreateSnapshot", DiskId=self.disk)["SnapshotId"])
            self.calls.append((begun, time.time()))
            self.next = begun + self.EVERY
        return now >= self.end

    def is_captured(self):
        """The one before, that is: a disk has one capture at a time."""
        return not self.snapshots or self.caller.snapshot(self.snapshots[-1])["Status"] == "accomplished"


class Scrub(Work):
    """The service reads its whole vault through at once, because somebody asked for it."""

    def __init__(self, service):
        self.service = service

    def begin(self):
        self.number = api(self.service, "StartVaultScrub")["ScrubNumber"]

    def over(self):
        state = scrub_state(self.service)
        return state is not None and state["Asked"] >= self.number


class PacedScrub(Work):
    """The scrub that runs by itself, at its settled rate; it begins some time after the service, and notes that it has."""

    def __init__(self, service, seconds):
        self.service, self.seconds, self.before = service, seconds, scrub_state(service)

    def wait(self):
        wait_until(lambda: scrub_state(self.service) != self.before, "the scrub begins")

    def begin(self):
        self.end = time.time() + self.seconds

    def over(self):
        return time.time() >= self.end


class Command(Work):
    """A command of ours beside the service, until it ends."""

    def __init__(self, service, *words):
        self.service, self.words = service, words

    def begin(self):
        self.out = open(self.service.directory / "command.out", "w+")
        command = [BINARY, *self.words, "--data-dir", self.service.data]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.out, stderr=self.out)

    def over(self):
        if self.process.poll() is None:
            return False
        if self.process.returncode != 0:
            self.out.seek(0)
            raise RuntimeError(f"tidemark {' '.join(self.words)}: {self.out.read()}")
        return True


def api(service, action, **parameters):
    return Caller(service).call(action, **parameters)


def scrub_state(service):
    path = service.data / "scrub.json"
    return json.loads(path.read_text()) if os.path.exists(path) else None
