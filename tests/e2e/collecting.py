"""Two services and any number of collectors in one vault, each of which is stopped (SIGSTOP) for a while now and then."""

import json
import os
import random
import signal
import subprocess
import threading
import time

import data
from cloud import Cloud
from service import BINARY

MIB = data.MIB
SIZE = 48 * MIB


def stop_for(pid, seconds):
    """Passes a process over, as a machine does that is suspended or starved."""
    try:
        os.kill(pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(pid, signal.SIGCONT)
    except ProcessLookupError:
        pass


class Collectors:
    """`tidemark gc` again and again, some at a time, each stopped at random moments."""

    def __init__(self, vault, env, count, seed):
        self.vault, self.env, self.seed = vault, dict(os.environ, **env), seed
        self.ended, self.freed, self.runs, self.failed = threading.Event(), 0, 0, []
        self.threads = [threading.Thread(target=self.work, args=(n,), daemon=True) for n in range(count)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        for thread in self.threads:
            thread.join(120)
            assert not thread.is_alive(), "a collector does not end"

    def work(self, number):
        choose = random.Random(self.seed * 100 + number)
        while not self.ended.is_set():
            command = [BINARY, "gc", "--vault", self.vault, "--purge-deleted", "--json"]
            process = subprocess.Popen(
                command, env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            for _ in range(choose.randrange(3)):
                time.sleep(choose.uniform(0, 0.4))
                stop_for(process.pid, choose.uniform(0, 3))
            out, err = process.communicate(timeout=120)
            self.runs += 1
            if process.returncode == 0:
                self.freed += json.loads(out)["FreedPacks"]
            else:
                self.failed.append(err)


class Writer:
    """A service of its own on the shared vault, with one disk and what its snapshots must hold."""

    def __init__(self, service, choose):
        self.service, self.choose, self.cloud = service, choose, Cloud(service)
        self.instance, self.disk = self.cloud.attached_disk(1)
        self.content, self.snapshots = bytearray(SIZE), {}

    def turn(self):
        """Changes the disk, takes a snapshot, is stopped meanwhile, deletes what is old, and compares what is left."""
        choose = self.choose
        change = data.random_bytes(6 * MIB, seed=choose.randrange(1 << 30))
        at = choose.randrange(0, SIZE - len(change), 4096)
        with self.service.client(self.disk) as client:
            client.write_all(at, change)
        self.content[at : at + len(change)] = change
        snapshot = self.cloud.call("CreateSnapshot", DiskId=self.disk)["SnapshotId"]
        if choose.random() < 0.7:
            time.sleep(choose.uniform(0, 0.2))
            stop_for(self.service.process.pid, choose.uniform(0.5, 3))
        self.cloud.wait_snapshot(snapshot)
        self.snapshots[snapshot] = bytes(self.content)
        while len(self.snapshots) > 2:
            gone = choose.choice(list(self.snapshots))
            del self.snapshots[gone]
            self.cloud.call("DeleteSnapshot", SnapshotId=gone)
        self.compare()

    def compare(self):
        for snapshot, wanted in self.snapshots.items():
            with self.service.client(snapshot) as frozen:
                assert frozen.read_all(0, SIZE) == wanted, f"snapshot {snapshot} is not what it was"

    def restored(self):
        """A new disk of the newest snapshot, and its content."""
        snapshot = list(self.snapshots)[-1]
        with self.service.client(self.cloud.restore(snapshot, self.instance)) as client:
            return client.read_all(0, SIZE) == self.snapshots[snapshot]


def play(new_service, vault, env, strikes):
    """Rounds of two writers beside three collectors; gives how much was freed beside them."""
    # Long enough that only the collectors beside the services purge.
    services = [new_service(extra=["--vault", vault, "--undelete-window", "1h"], env=env) for _ in range(2)]
    writers = [Writer(service, random.Random(n)) for n, service in enumerate(services)]
    with Collectors(vault, env, 3, seed=7) as collectors:
        for _, _ in strikes:
            for writer in writers:
                with strikes.judged():
                    writer.turn()
                strikes.tally.snapshots += len(writer.snapshots)
    print(f"{collectors.runs} runs of gc freed {collectors.freed} packs, {len(collectors.failed)} failed")
    assert collectors.runs > len(collectors.failed), collectors.failed[-1]
    for error in collectors.failed:
        # Another collector was quicker with something that this one had come across: the run ends, and frees nothing.
        assert "nothing was freed" in error, error
    for writer in writers:
        writer.compare()
        assert writer.restored()
    for service in services:
        service.kill()
        service.start()
    for writer in writers:
        writer.compare()
    for service in services:
        service.stop()
    return collectors.freed
