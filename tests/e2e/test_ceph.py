"""A vault in a real Ceph RADOS gateway: `cargo xtask soak --only ceph`. Not part of every run."""

import json

import ceph
import collecting
import data
import pytest
from cloud import Cloud

MIB = data.MIB
SIZE = 64 * MIB


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    assert not ceph.missing(), f"not installed: {ceph.missing()}; `cargo xtask soak --only ceph` installs them"
    cluster = ceph.Ceph(tmp_path_factory.mktemp("ceph"))
    try:
        yield cluster.start()
    finally:
        cluster.stop()


def test_check_finds_what_a_vault_needs(cluster, new_service):
    service = new_service()
    done = service.cli("vault", "check", cluster.url(), "--json", check=False, env=cluster.env)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    verdicts = {check["Check"]: check["Verdict"] for check in json.loads(done.stdout)["Checks"]}
    for needed in ("write", "read back", "ranged read", "list", "create-only", "delete"):
        assert verdicts[needed] == "OK", done.stdout
    wrong = dict(cluster.env, AWS_SECRET_ACCESS_KEY="hunter2hunter2")
    done = service.cli("vault", "check", cluster.url(), check=False, env=wrong)
    assert done.returncode == 1 and "check the key" in done.stdout, done.stdout


def test_rounds_of_snapshots_beside_a_dying_gateway(cluster, new_service, striking):
    """Each round changes a disk, takes a snapshot while the gateway is killed and started again, and compares."""
    service = new_service(extra=["--vault", cluster.url("&retry-seconds=5")], env=cluster.env)
    cloud = Cloud(service)
    instance, disk = cloud.attached_disk(1)
    content, snapshots = bytearray(SIZE), {}
    strikes = striking(3)
    for _, choose in strikes:
        change = data.random_bytes(16 * MIB, seed=choose.randrange(1 << 30))
        at = choose.randrange(0, SIZE - len(change), 4096)
        with service.client(disk) as client:
            client.write_all(at, change)
        content[at : at + len(change)] = change
        snapshot = cloud.call("CreateSnapshot", DiskId=disk)["SnapshotId"]
        cluster.kill_gateway()
        cluster.start_gateway()
        cloud.wait_snapshot(snapshot)
        snapshots = dict([*list(snapshots.items())[-2:], (snapshot, bytes(content))])
        service.kill()
        service.start()
        strikes.tally.kills += 2
        for one, wanted in snapshots.items():
            with strikes.judged(), service.client(one) as frozen:
                assert frozen.read_all(0, SIZE) == wanted, one
            strikes.tally.snapshots += 1
    with service.client(cloud.restore(snapshot, instance)) as client:
        assert client.read_all(0, SIZE) == bytes(content)
    service.stop()


def test_collectors_that_are_stopped_beside_two_services(cluster, new_service, striking):
    freed = collecting.play(new_service, cluster.url("&retry-seconds=5"), cluster.env, striking(3))
    assert freed > 0
