"""Freeing space: `tidemark gc`, beside services and alone, and snapshots that come back after they were deleted."""

import json

import collecting
import data
import pytest
from cloud import Cloud
from service import wait_until
from store import Store

MIB = data.MIB


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "store").start()
    yield store
    store.kill()


def test_collectors_that_are_stopped_beside_two_services(store, new_service, striking):
    """Two services share a vault; collectors on their own, all of them stopped at times, never free what is needed."""
    freed = collecting.play(new_service, store.url(), store.env, striking(4))
    assert freed > 0, "the collectors had nothing to free: the test shows nothing"


def test_gc_says_first_and_then_frees(new_service):
    service = new_service()
    cloud = Cloud(service)
    _, disk = cloud.attached_disk(1)
    with service.client(disk) as client:
        client.write_all(0, data.random_bytes(16 * MIB, seed=5))
    first = cloud.take_snapshot(disk)
    with service.client(disk) as client:
        client.write_all(0, data.random_bytes(16 * MIB, seed=6))
    second = cloud.take_snapshot(disk)
    cloud.call("DeleteSnapshot", SnapshotId=first)
    wait_until(lambda: cloud.snapshot(first) is None, "the snapshot is off the list")
    before = data.directory_bytes(service.vault)

    def gc(*flags):
        return json.loads(service.cli("gc", "--vault", str(service.vault), "--json", *flags).stdout)

    kept = gc()
    assert kept["PurgedSnapshots"] == [] and kept["FreedBytes"] == 0, "it can still be brought back"
    # Looking changes nothing.
    gc("--dry-run", "--purge-deleted")
    assert data.directory_bytes(service.vault) == before
    # The service's disk no longer needs the first snapshot, and says so soon; who then frees its packs is all one.
    def freed():
        found = gc("--purge-deleted")
        return data.directory_bytes(service.vault) < before - 12 * MIB and found

    done = wait_until(freed, "the space of the first snapshot is freed")
    assert [holder["Disk"] for holder in done["Holders"]] == [disk]
    with service.client(second) as frozen:
        assert frozen.read_all(0, 16 * MIB) == data.random_bytes(16 * MIB, seed=6)
    text = service.cli("gc", "--vault", str(service.vault)).stdout
    assert "stored" in text and "holds content for 1 disks" in text
    refused = service.cli("gc", "--vault", str(service.vault), "--forget-node", "node-nobody", check=False)
    assert refused.returncode == 1 and "node-nobody" in refused.stderr
