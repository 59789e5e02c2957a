"""A vault in an S3-compatible bucket: the same promises as in a directory, over a network that fails."""

import json
import time

import data
import pytest
from cloud import Cloud
from service import Service, wait_until
from store import BUCKET, SECRET, Store

MIB = data.MIB
SIZE = 24 * MIB


@pytest.fixture
def new_store(tmp_path):
    started = []

    def make(*options):
        store = Store(tmp_path / f"store{len(started)}", *options)
        started.append(store)
        return store.start()

    yield make
    for store in started:
        store.kill()


def check_of(service, store, *options, env=None, url=None):
    """`tidemark vault check --json`: its exit status, and the verdict of each check."""
    done = service.cli("vault", "check", url or store.url(*options), "--json", check=False, env=env or store.env)
    checks = json.loads(done.stdout)["Checks"] if done.stdout else []
    return done, {check["Check"]: check for check in checks}


def test_snapshots_survive_restarts_of_everything(new_service, new_store):
    """Snapshot, restore, both processes killed and started again, and every byte compared."""
    store = new_store()
    service = new_service(extra=["--vault", store.url()], env=store.env)
    cloud = Cloud(service)
    instance, disk = cloud.attached_disk(1)
    first, second = data.random_bytes(SIZE, seed=1), data.random_bytes(SIZE // 2, seed=2)
    with service.client(disk) as client:
        client.write_all(0, first)
        one = cloud.take_snapshot(disk)
        client.write_all(0, second)
        two = cloud.take_snapshot(disk)
    wanted = {one: first, two: second + first[SIZE // 2 :]}
    assert not (service.data / "vault").exists(), "the vault is in the bucket"
    assert "format" in store.keys() and any(key.startswith("packs/") for key in store.keys())
    restored = cloud.restore(one, instance)
    with service.client(restored) as client:
        assert client.read_all(0, SIZE) == first

    service.kill()
    store.kill()
    store.start()
    service.start()
    for snapshot, content in wanted.items():
        with service.client(snapshot) as frozen:
            assert frozen.read_all(0, SIZE) == content
    with service.client(cloud.restore(two, instance)) as client:
        assert client.read_all(0, SIZE) == wanted[two]
    service.stop()
    doctor = service.cli("doctor", "--vault", store.url(), env=store.env)
    assert "2 snapshots in s3://" in doctor.stdout, doctor.stdout


def test_a_bucket_that_is_down_for_a_while(new_service, new_store):
    """Disks are served, marks are taken, and the captures complete once the bucket is back; also after a restart without it."""
    store = new_store()
    service = new_service(extra=["--vault", store.url("&retry-seconds=2")], env=store.env)
    cloud = Cloud(service)
    _, disk = cloud.attached_disk(1)
    content, later = data.random_bytes(SIZE, seed=3), data.random_bytes(MIB, seed=4)
    with service.client(disk) as client:
        client.write_all(0, content)
        store.kill()
        snapshot = cloud.call("CreateSnapshot", DiskId=disk)["SnapshotId"]
        client.write_all(0, later)
        assert client.read_all(0, MIB) == later
    service.stop()
    service.start()
    assert cloud.snapshot(snapshot)["Status"] == "progressing"
    with service.client(disk) as client:
        assert client.read_all(0, SIZE) == later + content[MIB:]
    store.start()
    cloud.wait_snapshot(snapshot)
    with service.client(snapshot) as frozen:
        assert frozen.read_all(0, SIZE) == content
    service.stop()


def test_a_bad_network_costs_time_and_nothing_else(new_service, new_store):
    """Every fault of the proxy in 2 % of the requests: snapshots and restores are right to the byte."""
    store = new_store("--faults", "20", "--seed", "5")
    service = new_service(extra=["--vault", store.url("&retry-seconds=60")], env=store.env)
    cloud = Cloud(service)
    instance, disk = cloud.attached_disk(1)
    content = bytearray(data.random_bytes(SIZE, seed=6))
    for round in range(4):
        change = data.random_bytes(MIB, seed=10 + round)
        with service.client(disk) as client:
            if round == 0:
                client.write_all(0, bytes(content))
            client.write_all(round * 5 * MIB, change)
        content[round * 5 * MIB : round * 5 * MIB + MIB] = change
        snapshot = cloud.take_snapshot(disk)
        with service.client(snapshot) as frozen:
            assert frozen.read_all(0, SIZE) == bytes(content)
    with service.client(cloud.restore(snapshot, instance)) as client:
        assert client.read_all(0, SIZE) == bytes(content)
    service.stop()


def test_check_says_what_works(new_service, new_store):
    service, store = Service(), new_store()
    try:
        done, checks = check_of(service, store)
        assert done.returncode == 0, done.stdout
        assert {c["Verdict"] for name, c in checks.items() if name != "encryption"} == {"OK"}, done.stdout
        assert checks["encryption"]["Verdict"] == "WARNING"
        assert not [key for key in store.keys() if "check" in key or "probe" in key], "a check leaves nothing"

        wrong = dict(store.env, AWS_SECRET_ACCESS_KEY="hunter2hunter2")
        done, checks = check_of(service, store, env=wrong)
        assert done.returncode == 1 and checks["credentials"]["Verdict"] == "FAILED", done.stdout
        assert checks["latency"]["Verdict"] == "SKIPPED"
        assert "hunter2" not in done.stdout + done.stderr

        done, checks = check_of(service, store, url=store.url().replace(BUCKET, "another-bucket"))
        assert done.returncode == 1 and "another-bucket" in checks["reach"]["Found"], done.stdout

        done, _ = check_of(service, store, env={"AWS_ACCESS_KEY_ID": "only-half"})
        assert done.returncode == 1 and "AWS_SECRET_ACCESS_KEY" in done.stderr, done.stderr

        store.kill()
        done, checks = check_of(service, store, "&retry-seconds=0")
        assert done.returncode == 1 and "cannot be reached" in checks["reach"]["Found"], done.stdout
    finally:
        service.destroy()


@pytest.mark.parametrize("conditions", ["ignored", "refused"])
def test_a_store_without_conditions_is_said_loudly(new_service, new_store, conditions):
    store = new_store("--conditions", conditions)
    service = new_service(extra=["--vault", store.url()], env=store.env)
    wait_until(lambda: "single-writer mode" in service.log.read_text(), "the log warns", 30)
    done, checks = check_of(service, store)
    assert done.returncode == 0 and checks["create-only"]["Verdict"] == "WARNING", done.stdout
    assert "single-writer mode" in checks["create-only"]["Found"]
    cloud = Cloud(service)
    _, disk = cloud.attached_disk(1)
    content = data.random_bytes(4 * MIB, seed=8)
    with service.client(disk) as client:
        client.write_all(0, content)
        snapshot = cloud.take_snapshot(disk)
    with service.client(snapshot) as frozen:
        assert frozen.read_all(0, 4 * MIB) == content
    service.stop()


def test_a_vault_that_cannot_be_used_is_refused_at_the_first_start(services, new_store):
    """With the reason, without a secret, and without a trace in the catalogue's place."""
    store = new_store()
    for env, words in [
        ({}, "AWS_ACCESS_KEY_ID"),
        (dict(store.env, AWS_SECRET_ACCESS_KEY="hunter2hunter2"), "check the key"),
    ]:
        service = Service(extra=["--vault", store.url()], env=env)
        services.append(service)
        service.launch()
        assert service.process.wait(60) == 1
        log = service.log.read_text()
        assert words in log and "hunter2" not in log, log
        assert not (service.data / "vault.format").exists()


def test_no_log_holds_the_secret(new_service, new_store):
    """Not even with everything logged that can be."""
    store = new_store()
    service = new_service(extra=["--vault", store.url()], env=dict(store.env, TIDEMARK_LOG="trace"))
    cloud = Cloud(service)
    _, disk = cloud.attached_disk(1)
    with service.client(disk) as client:
        client.write_all(0, data.random_bytes(MIB, seed=9))
        cloud.take_snapshot(disk)
    store.kill()
    with service.client(disk) as client:
        client.write_all(0, data.random_bytes(MIB, seed=10))
    cloud.call("CreateSnapshot", DiskId=disk)
    time.sleep(1)
    service.kill()
    log = service.log.read_text(errors="replace")
    assert "s3://" in log and SECRET not in log
    for command in (("up", "--help"), ("vault", "check", "--help"), ("doctor", "--help")):
        told = service.cli(*command, env=dict(store.env, TIDEMARK_VAULT=store.url()))
        assert SECRET not in told.stdout and BUCKET not in told.stdout
