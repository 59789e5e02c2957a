"""What a snapshot stores follows what changed, never the disk's size and never the clock.

Covers S14, S16 to S20, S29. The vault's directory is weighed; nothing here looks at a watch.
"""

import data
from cloud import Cloud
from service import wait_until

MIB = data.MIB


def vault_growth(service, action):
    before = data.directory_bytes(service.vault)
    action()
    return data.directory_bytes(service.vault) - before


def test_stored_bytes_follow_the_change(new_service):
    """0, 1, 4 and 16 MiB changed, on disks of very different size (S17, S18, S19)."""
    service = new_service()
    cloud = Cloud(service)
    instance = cloud.new_instance()
    costs = {}
    for gib in (1, 1024):
        _, disk = cloud.attached_disk(gib, instance)
        with service.client(disk) as client:
            client.write_all(0, data.random_bytes(32 * MIB, seed=gib))
            full = vault_growth(service, lambda: cloud.take_snapshot(disk))
            assert 32 * MIB <= full <= 33 * MIB, f"32 MiB written on {gib} GiB, {full} bytes stored"
            for changed in (0, 1, 4, 16):
                if changed:
                    client.write_all(2 * MIB, data.random_bytes(changed * MIB, seed=gib + changed))
                grown = vault_growth(service, lambda: cloud.take_snapshot(disk))
                assert changed * MIB <= grown <= changed * MIB + MIB // 2, f"{changed} MiB changed, {grown} stored"
                costs[gib, changed] = grown
    for changed in (0, 1, 4, 16):
        assert abs(costs[1, changed] - costs[1024, changed]) < 128 * 1024, costs


def test_scattered_changes_cost_their_chunks(v3, service):
    """100 scattered 4 KiB writes cost at most 100 chunks of 64 KiB, and at least their own bytes (S18)."""
    _, disk = v3.attached_disk(4)
    with service.client(disk) as client:
        client.write_all(0, data.random_bytes(16 * MIB, seed=1))
        v3.take_snapshot(disk)
        for number in range(100):
            client.write(number * 163840, data.random_bytes(4096, seed=number))
        client.flush()
        grown = vault_growth(service, lambda: v3.take_snapshot(disk))
    assert 100 * 4096 <= grown <= 100 * 65536 + MIB // 2, grown


def test_rewriting_the_same_bytes_stores_nothing(v3, service):
    """A write that changes no byte is found out by its hash (S18)."""
    _, disk = v3.attached_disk(1)
    content = data.random_bytes(8 * MIB, seed=2)
    with service.client(disk) as client:
        client.write_all(0, content)
        v3.take_snapshot(disk)
        client.write_all(0, content)
        grown = vault_growth(service, lambda: v3.take_snapshot(disk))
    assert grown < MIB // 4, f"nothing changed, {grown} bytes stored"


def test_zeros_cost_nothing(v3, service):
    """Written zeros, zeroed and trimmed ranges are not stored (S17)."""
    _, disk = v3.attached_disk(4)
    with service.client(disk) as client:
        client.write_all(0, bytes(64 * MIB))
        client.write_zeroes(64 * MIB, 64 * MIB)
        client.write_all(128 * MIB, data.random_bytes(MIB, seed=3))
        client.trim(128 * MIB, MIB)
        client.flush()
        grown = vault_growth(service, lambda: v3.take_snapshot(disk))
    assert grown < MIB // 4, f"only zeros, {grown} bytes stored"


def test_deleting_frees_what_nothing_else_holds(new_service):
    """Space comes back after the last snapshot that needs it is deleted, and not before (S29, S20)."""
    service = new_service(extra=["--undelete-window", "0s"])
    cloud = Cloud(service)
    instance, disk = cloud.attached_disk(1)
    content = data.random_bytes(32 * MIB, seed=4)
    with service.client(disk) as client:
        client.write_all(0, content)
        first = cloud.take_snapshot(disk)
        second = cloud.take_snapshot(disk)
        cloud.call("DeleteSnapshot", SnapshotId=first)
        with service.client(second) as frozen:
            assert frozen.read_all(0, 32 * MIB) == content
        client.write_all(0, bytes(32 * MIB))
        third = cloud.take_snapshot(disk)
        cloud.call("DeleteSnapshot", SnapshotId=second)
    wait_until(lambda: data.directory_bytes(service.vault) < 4 * MIB, "the vault gives its space back", 120)
    with service.client(third) as frozen:
        assert frozen.read_all(0, 32 * MIB) == bytes(32 * MIB)
