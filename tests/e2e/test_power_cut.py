"""Nothing that was flushed is lost when the power goes, and every snapshot that was answered completes.

The real binary runs on a file system whose power can be cut (`powercut`): it keeps what was synced and
any part of what was not. The disk lives on over all rounds, so a later cut strikes what an earlier one
left behind. Needs root, to mount; that is how CI runs.
"""

import errno
import os
import pathlib
import shutil
import tempfile
import time

import pytest

from cloud import Cloud
from ledger import Ledger, Stamper
from powercut import PowerCut
from served import Served
from service import Service
from snapshotting import compare_snapshots, snapshots_while
from strikes import keep_evidence

MIB = 1 << 20
# Between the cut and the kill the engine sees EIO, and its guest may.
EIO = (errno.EIO, errno.ENOSPC, errno.ESHUTDOWN)


@pytest.fixture
def outside():
    """A short path, for sockets and logs that survive the cuts."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="tm"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


def strike(tally, choose, layer, kill):
    """Cuts the power: at once, or under a process that lives on for a while and must not take EIO for success."""
    if choose.random() < 0.5:
        kill()
        tally.kills += 1
        layer.cut()
    else:
        layer.cut()
        time.sleep(choose.uniform(0, 0.1))
        kill()
        tally.kills += 1
    tally.cuts += 1
    layer.mount()


def test_the_layer_loses_what_was_not_synced(outside):
    """The test of the test: a program that syncs keeps its data, one that does not loses some."""
    lost = 0
    for seed in range(20):
        with PowerCut(outside / "disk", seed) as layer:
            for name, sync in (("synced", True), ("unsynced", False)):
                with open(layer.mountpoint / name, "wb", buffering=0) as file:
                    file.write(b"x" * (1 << 16))
                    if sync:
                        os.fsync(file.fileno())
                        directory = os.open(layer.mountpoint, os.O_RDONLY)
                        os.fsync(directory)
                        os.close(directory)
            assert layer.status()["unsynced"] == "true"
            layer.cut()
            with pytest.raises(OSError):
                (layer.mountpoint / "new").write_bytes(b"x")
            layer.mount()
            assert layer.status()["unsynced"] == "false"
            assert (layer.mountpoint / "synced").read_bytes() == b"x" * (1 << 16)
            unsynced = layer.mountpoint / "unsynced"
            lost += not unsynced.exists() or unsynced.read_bytes() != b"x" * (1 << 16)
    assert 10 <= lost, f"only {lost} of 20 cuts lost anything"
    assert not (outside / "disk" / "synced").exists(), "it is still mounted"


def test_a_volume_survives_power_cuts(outside, striking):
    rounds = striking(8)
    with PowerCut(outside / "disk", rounds.seed) as layer:
        volume, ledger = Served(layer.mountpoint / "volume", outside), Ledger(3 * MIB, 8192)
        try:
            volume.create()
            # What `volume create` has made when it returns, it has made for good.
            layer.cut()
            layer.mount()
            for number, choose in rounds:
                volume_round(rounds, choose, layer, volume, ledger, seed=rounds.seed + number)
        except BaseException:
            print(f"--- log of the volume ---\n{volume.log_tail()}")
            volume.kill()
            keep_evidence(layer.mountpoint)
            raise
        finally:
            volume.kill()


def volume_round(rounds, choose, layer, volume, ledger, seed):
    volume.start()
    with_client(rounds, choose, layer, volume, ledger, seed)
    # Some cuts come while the last one is being recovered from.
    while choose.random() < 0.4:
        volume.launch()
        time.sleep(choose.uniform(0, 0.4))
        strike(rounds.tally, choose, layer, volume.kill)
    volume.start()
    with volume.client() as client, rounds.judged():
        found = ledger.read(client.read_all)
        ledger.check_power_cut(found)
        client.flush()
        assert ledger.read(client.read_all) == found
        rounds.tally.acknowledged += ledger.settle(found)
    if choose.random() < 0.25:
        volume.stop()
    else:
        volume.kill()
        rounds.tally.kills += 1


def with_client(rounds, choose, layer, volume, ledger, seed):
    connection = volume.client()
    stamper = Stamper(connection, ledger, seed, depth=choose.choice([1, 8, 32]), tolerated=EIO)
    stamper.start()
    stamper.wait_for(choose.randrange(1, 3000))
    strike(rounds.tally, choose, layer, volume.kill)
    stamper.end()
    connection.abandon()


def test_a_service_survives_power_cuts(outside, striking, services):
    """The same under `tidemark up`, with its catalogue, its vault and its snapshots on that file system."""
    rounds = striking(6)
    service = Service(directory=outside)
    services.append(service)
    with PowerCut(service.data, rounds.seed) as layer:
        try:
            service.start()
            cloud = Cloud(service)
            instance, disk = cloud.attached_disk(2)
            layer.cut()
            service.kill()
            layer.mount()
            service.start()
            assert cloud.disk(disk)["Status"] == "In_use" and cloud.instance(instance)["Status"] == "Running"
            ledger = Ledger(3 * MIB, 4096)
            for number, choose in rounds:
                service_round(rounds, choose, layer, service, disk, ledger, seed=rounds.seed + number)
        except BaseException:
            service.kill()
            keep_evidence(layer.mountpoint)
            raise
        finally:
            service.kill()


def service_round(rounds, choose, layer, service, disk, ledger, seed):
    cloud = Cloud(service)
    connection = service.client(disk)
    stamper = Stamper(connection, ledger, seed, depth=choose.choice([1, 8, 32]), tolerated=EIO)
    stamper.start()
    taken = snapshots_while(choose, cloud, disk, stamper, choose.randrange(3))
    stamper.wait_for(len(ledger.changes) + choose.randrange(1, 1500))
    strike(rounds.tally, choose, layer, service.kill)
    stamper.end()
    connection.abandon()
    service.start()
    if choose.random() < 0.4:
        # Once more, with the captures that have just been resumed.
        time.sleep(choose.uniform(0, 0.5))
        strike(rounds.tally, choose, layer, service.kill)
        service.start()

    life = ledger.freeze()
    with service.client(disk) as client, rounds.judged():
        found = ledger.read(client.read_all)
        # A snapshot is a point in the log that is safe: what was acknowledged before its call is safe, too.
        ledger.check_power_cut(found, marks=[one.called for one in taken])
        client.flush()
        rounds.tally.acknowledged += ledger.settle(found)
    with rounds.judged():
        compare_snapshots(rounds.tally, cloud, service, disk, life, taken)
