"""Whether a guest notices: its I/O while snapshots are marked, captured, uploaded, collected and read through.

A guest's load runs without a break, every request of it is logged, and the service's own work is done meanwhile, one kind
after the other. What a kind of work does to the guest is told by comparing the requests while it really went on
with those of the pause right before it, in the same run: the ratio of requests a second, and percentiles of latency.
The load that is most like a guest is the one at a fixed rate. As fast as it goes, fio and the service take all processors,
and the ratio says how they are shared with the work. Work that takes longer than a few seconds is measured for that
long; the guest then stands still until it is over.

Marks are measured on their own, with a guest that writes to one MiB only, so that there is next to nothing to capture: 16
chunks, which are captured and committed as those of any snapshot.
The vault is in a directory on the file system of the disks; for uploads it is in a light S3 store on this machine, over
loopback. The store's work is not the service's, but takes its processors here. The service has no limit on the rate of uploads.
"""

import contextlib
import dataclasses
import resource
import time

import invisible_report
import threads
from background import Capture, Command, Marks, PacedScrub, Scrub, api
from cloud import Cloud
from guest_load import FAST, FULL, SLOW, SYNCED, running
from report import progress
from rest import rest
from service import Service, run as tool, wait_until
from store import BUCKET, Store

NEEDS = {"fio": "fio"}
MIB = 1 << 20
STRIDE_KIB = 256  # of each so much three quarters are rewritten, so that what is garbage lies among what is not
QUIET = ["--scrub-rate", "0"]
LIMITS = "[limits]\nmanual-snapshots-per-disk = 10000\n"


@dataclasses.dataclass
class Window:
    """A stretch of time in which the guest was left alone, or in which work of some kind went on."""

    kind: str
    begin: float
    end: float
    threads: dict = dataclasses.field(default_factory=dict)
    calls: list = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Scene:
    """One uninterrupted run of a load: pairs of a pause and the work after it."""

    load: object
    pairs: list
    requests: object = None


class Sizes:
    def __init__(self, quick):
        self.data, self.area = (192 * MIB, 32 * MIB) if quick else (3072 * MIB, 512 * MIB)
        self.gap, self.pause, self.longest = (0.2, 0.7, 1.5) if quick else (0.5, 2, 4)
        self.disk_gib = -(-(self.data + self.area) // (1 << 30))
        self.loads = [SLOW, SYNCED] if quick else [SLOW, FAST, FULL, SYNCED]
        self.marking = (1, 1.5) if quick else (3, 2)  # times, and seconds of each


def run(options, directory):
    sizes, scenes = Sizes(options.quick), []
    rounds = min(options.rounds, 2)
    with disk_of(directory / "ours", sizes) as (service, disk):
        place = Place(service, disk, service.vault, sizes, directory)
        for turn in range(rounds):
            for load in sizes.loads:
                scenes += in_a_directory(place, load)
                progress(f"round {turn + 1}, vault in a directory: {load.title}")
    store = Store(directory / "store")
    with contextlib.ExitStack() as stack:
        stack.callback(store.kill)
        extra = ["--undelete-window", "0s", "--vault", store.start().url()]
        service, disk = stack.enter_context(disk_of(directory / "s3", sizes, extra, store.env))
        place = Place(service, disk, store.root / BUCKET / "tidemark", sizes, directory, store)
        for turn in range(rounds):
            for load in sizes.loads:
                scenes.append(in_a_bucket(place, load))
                progress(f"round {turn + 1}, vault in S3: {load.title}")
    invisible_report.show(scenes, sizes)


@contextlib.contextmanager
def disk_of(home, sizes, extra=(), env=None):
    """A service that does not scrub by itself, and a disk."""
    home.mkdir()
    config = home / "tidemark.toml"
    config.write_text(LIMITS)
    service = Service(directory=home, extra=[*extra, "--config", str(config), *QUIET], env=env)
    try:
        service.start()
        _, disk = Cloud(service).attached_disk(sizes.disk_gib)
        yield service, disk
    finally:
        service.destroy()


class Place:
    """A disk, the vault of its snapshots, and the snapshot that was taken last."""

    def __init__(self, service, disk, vault, sizes, directory, store=None):
        self.service, self.disk, self.vault, self.sizes, self.directory = service, disk, vault, sizes, directory
        self.store, self.turn, self.extra = store, 0, service.extra[: -len(QUIET)]
        self.write("--bs=1m", f"--size={sizes.data + sizes.area}")
        self.last = Cloud(service).take_snapshot(disk)

    def write(self, *words):
        """New bytes, which do not compress."""
        command = ["fio", "--name=fill", "--ioengine=nbd", f"--uri={self.service.uri(self.disk)}", "--rw=write", "--iodepth=8"]
        tool(*command, "--refill_buffers", "--randrepeat=0", "--end_fsync=1", *words, cwd=self.directory, timeout=900)

    def rewrite(self):
        """Three quarters of the data, other ones each time."""
        size, kept = self.sizes.data - STRIDE_KIB * 1024, 64 * 1024
        place = ["--zonemode=strided", f"--zonerange={STRIDE_KIB}k", f"--zonesize={STRIDE_KIB * 1024 - kept}"]
        self.turn += 1
        self.write("--bs=64k", *place, f"--offset={self.turn % 4 * kept}", f"--size={size}", f"--io_size={size * 3 // 4}")

    @contextlib.contextmanager
    def guest(self, load, size=None):
        """A scene; the load writes to what lies behind the data."""
        rest(self.service.process.pid, self.directory)
        scene = Scene(load, [])
        with running(load, self.service.socket, self.disk, self.directory, self.sizes.data, size or self.sizes.area) as guest:
            yield scene, lambda kind, work: scene.pairs.append(self.phase(guest, kind, work))
            scene.requests = guest.end()

    def phase(self, guest, kind, work):
        """The windows of a pause and of the work after it. What the work before has left behind is let pass."""
        time.sleep(self.sizes.gap)
        begin = time.time()
        time.sleep(self.sizes.pause)
        pause = Window("pause", begin, time.time())
        work.wait()
        before = self.used()
        window = Window(kind, time.time(), 0)
        work.begin()
        while not (over := work.over()) and time.time() < window.begin + self.sizes.longest:
            time.sleep(0.01)
        window.end = time.time()
        window.threads = threads.between(before, self.used())
        window.calls = list(work.calls)
        guest.check()
        if not over:
            self.finish(guest, work)
        return pause, window

    def used(self):
        """Processor time up to now of the service's threads, of commands that have ended, and of the store."""
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        found = threads.used(self.service.process.pid)
        found["command"] = ("command", ended.ru_utime + ended.ru_stime)
        if self.store:
            found["store"] = ("S3 store", sum(seconds for _, seconds in threads.used(self.store.process.pid).values()))
        return found

    def restart(self, scrub):
        """The service again, with other settings of its scrub."""
        self.service.stop()
        self.service.extra = [*self.extra, *scrub]
        self.service.start()

    def finish(self, guest, work):
        guest.pause()
        while not work.over():
            time.sleep(0.05)
        guest.resume()
        time.sleep(0.5)


def in_a_directory(place, load):
    service, sizes = place.service, place.sizes
    scenes, dead = [], [place.last, Cloud(service).take_snapshot(place.disk)]
    with place.guest(load, size=MIB) as (scene, phase):
        times, seconds = sizes.marking
        for marks in [Marks(service, place.disk, seconds) for _ in range(times)]:
            phase("marks", marks)
            Cloud(service).wait_snapshot(marks.snapshots[-1])
            dead += marks.snapshots
        scenes.append(scene)
    place.rewrite()
    with place.guest(load) as (scene, phase):
        capture = Capture(service, place.disk, place.vault)
        phase("capture", capture)
        place.last = capture.snapshot
        Cloud(service).wait_snapshot(place.last)
        for snapshot in dead:
            api(service, "DeleteSnapshot", SnapshotId=snapshot)
        phase("scrub, all at once", Scrub(service))
        phase("tidemark verify", Command(service, "verify"))
        phase("tidemark gc", Command(service, "gc", "--purge-deleted", "--repack", "100"))
        scenes.append(scene)
    if load == SLOW:
        scenes.append(beside_the_scrub(place, load))
    return scenes


def beside_the_scrub(place, load):
    """The service again, with the scrub at the rate that it has by default; it begins a while after the start."""
    begins = round(place.sizes.pause + 2.5)
    place.restart(["--scrub-rate", "8M", "--scrub-every", f"{begins}s"])
    work = PacedScrub(place.service, place.sizes.longest)
    with place.guest(load) as (scene, phase):
        phase("scrub at 8 MiB/s", work)
    place.restart(QUIET)
    return scene


def in_a_bucket(place, load):
    place.write("--bs=1m", f"--size={place.sizes.data}")
    with place.guest(load) as (scene, phase):
        capture = Capture(place.service, place.disk, place.vault)
        phase("upload", capture)
    Cloud(place.service).wait_snapshot(capture.snapshot)
    packs = len(list(place.vault.glob("packs/*/*")))
    api(place.service, "DeleteSnapshot", SnapshotId=place.last)
    place.last = capture.snapshot
    # The service frees them a while later by itself, which nobody is to be measured beside.
    wait_until(lambda: len(list(place.vault.glob("packs/*/*"))) < packs, "the space comes back", 120, step=0.2)
    return scene
