"""The vault alone is enough: a lost catalogue is made again from it, and its snapshots are copied to other vaults."""

import json
import os
import signal
import subprocess

import pytest

import clients
import data
from cloud import Cloud
from service import BINARY, Service, run, wait_until
from store import Store

MIB = data.MIB
SIZE = 8 * MIB
# What a record cannot know: who uses the snapshot here, and of one that was never changed, when its capture was done.
HERE = ("Usage", "LastModifiedTime")


def tidemark(*words, check=True, env=None):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TIDEMARK_")}
    environment.update(env or {})
    return run(BINARY, *words, check=check, env=environment)


def as_json(*words, **options):
    return json.loads(tidemark(*words, "--json", **options).stdout)


@pytest.fixture
def place(services):
    """Makes a service that is not started; it is removed at the end."""

    def make(**options):
        service = Service(**options)
        services.append(service)
        return service

    return make


def filled(service, sizes=(SIZE, MIB), **more):
    """A disk of a running service with a snapshot per size; the first bytes change in between. Ids and contents."""
    cloud = Cloud(service)
    _, disk = cloud.attached_disk(1)
    content, made = bytearray(sizes[0]), []
    with service.client(disk) as client:
        for number, size in enumerate(sizes):
            content[:size] = data.random_bytes(size, seed=number + 1)
            client.write_all(0, bytes(content[:size]))
            snapshot = cloud.take_snapshot(disk, SnapshotName=f"number-{number}", **more)
            made.append((snapshot, bytes(content)))
    return cloud, disk, made


def snapshots(service):
    listed = clients.rows(Cloud(service).sdk, "DescribeSnapshots")
    return [{name: value for name, value in row.items() if name not in HERE} for row in listed]


def check_restores(service, made):
    """A disk from each snapshot holds what the snapshot held."""
    cloud = Cloud(service)
    instance = cloud.new_instance()
    for snapshot, content in made:
        with service.client(cloud.restore(snapshot, instance)) as client:
            assert client.read_all(0, len(content)) == content
            assert client.read_all(len(content), MIB) == bytes(MIB)


@pytest.mark.parametrize("encrypted", [False, True], ids=["open", "encrypted"])
def test_a_new_machine_has_the_same_snapshots(place, tmp_path, encrypted):
    vault, key, secret = tmp_path / "vault", tmp_path / "key", []
    if encrypted:
        key.write_bytes(bytes(range(32)))
        secret = ["--vault-key-file", str(key)]
    old = place(extra=["--vault", str(vault), *secret]).start()
    cloud, disk, made = filled(old, Description="what people see", **{"Tag": [{"Key": "env", "Value": "test"}]})
    first = made[0][0]
    cloud.call("ModifySnapshotAttribute", SnapshotId=first, SnapshotName="renamed")
    tags = dict(RegionId="cn-hangzhou", ResourceType="snapshot", ResourceId=[first])
    cloud.call("TagResources", Tag=[{"Key": "env", "Value": "prod"}, {"Key": "more", "Value": ""}], **tags)

    def written_back():
        meta = as_json("vault", "show", vault, first, *secret)["Meta"]
        return meta["name"] == "renamed" and len(meta["tags"]) == 2

    wait_until(written_back, "the record tells of the change")
    before = snapshots(old)
    old.stop()

    new = place(extra=["--vault", str(vault), *secret])
    words = ["rebuild", "--vault", vault, "--data-dir", new.data, *secret]
    assert "2 snapshots of 1 disks would be added" in tidemark(*words, "--dry-run").stdout
    assert not new.data.exists()
    report = as_json(*words)
    assert report["Complete"] and [row["SnapshotName"] for row in report["Added"]] == ["renamed", "number-1"]
    new.start()
    assert snapshots(new) == before
    assert Cloud(new).disk(disk) is None
    check_restores(new, made)
    # It goes on from there: a snapshot of a new disk, a deletion, and nothing of it hurts the others.
    Cloud(new).call("DeleteSnapshot", SnapshotId=made[1][0], Force=True)
    wait_until(lambda: Cloud(new).snapshot(made[1][0]) is None, "the snapshot is gone")
    with new.client(first) as frozen:
        assert frozen.read_all(0, SIZE) == made[0][1]
    new.stop()


def test_what_must_not_be_rebuilt_is_refused(place, tmp_path):
    vault, key = tmp_path / "vault", tmp_path / "key"
    service = place(extra=["--vault", str(vault)]).start()
    _, _, made = filled(service, sizes=(MIB,))

    def refused(*words, env=None):
        done = tidemark("rebuild", *words, check=False, env=env)
        assert done.returncode == 1 and not done.stdout, done.stdout
        return done.stderr

    here = ["--vault", vault, "--data-dir", service.data]
    assert "in use by process" in refused(*here)
    service.stop()
    assert "--merge" in refused(*here)
    other = tmp_path / "other"
    tidemark("vault", "init", other)
    assert "belongs to vault" in refused("--vault", other, "--data-dir", service.data, "--merge")
    fresh = tmp_path / "fresh"
    assert "there is no vault in" in refused("--vault", tmp_path / "nothing", "--data-dir", fresh)
    key.write_bytes(bytes(32))
    closed = tmp_path / "closed"
    tidemark("vault", "init", closed, "--vault-key-file", key)
    assert "no key was given" in refused("--vault", closed, "--data-dir", fresh)
    wrong = {"TIDEMARK_VAULT_PASSPHRASE": "not it"}
    assert "no passphrase slot" in refused("--vault", closed, "--data-dir", fresh, env=wrong)
    assert not fresh.exists(), "a refusal leaves nothing behind"
    # Adding what is there already changes nothing.
    assert "0 snapshots of 0 disks added, 1 there already" in tidemark("rebuild", *here, "--merge").stdout
    # And a directory that was rebuilt from one vault is not used with another.
    tidemark("rebuild", "--vault", vault, "--data-dir", fresh)
    stray = place(directory=None, extra=["--vault", str(other)])
    tidemark("rebuild", "--vault", vault, "--data-dir", stray.data)
    stray.launch()
    assert stray.process.wait(60) == 1 and "belongs to vault" in stray.log_tail()


def test_a_damaged_record_costs_its_snapshot_only(place, tmp_path):
    vault = tmp_path / "vault"
    service = place(extra=["--vault", str(vault)]).start()
    _, disk, made = filled(service, sizes=(MIB, MIB, MIB))
    service.stop()
    (lost, _), *rest = made
    record = vault / "snapshots" / lost
    record.write_bytes(record.read_bytes().replace(b"number-0", b"number-X"))

    listed = tidemark("vault", "ls", vault, check=False)
    assert listed.returncode == 1 and lost in listed.stderr and lost not in listed.stdout.splitlines()[1].split()[0]
    assert [line.split()[0] for line in listed.stdout.splitlines()[1:]] == [snapshot for snapshot, _ in rest]
    assert lost in tidemark("vault", "show", vault, lost, check=False).stderr

    new = place(extra=["--vault", str(vault)])
    done = tidemark("rebuild", "--vault", vault, "--data-dir", new.data, check=False)
    assert done.returncode == 1 and lost in done.stderr and disk in done.stderr
    assert "2 snapshots of 1 disks added, 0 there already, 1 unreadable" in done.stdout
    new.start()
    assert {row["SnapshotId"] for row in snapshots(new)} == {snapshot for snapshot, _ in rest}
    check_restores(new, rest)
    new.stop()


def test_copies_go_to_a_directory_and_to_a_bucket(place, tmp_path):
    """Incrementally, encrypted anew, over a network that fails; and a service on the copy serves the same bytes."""
    source, target, key = tmp_path / "vault", tmp_path / "copy", tmp_path / "key"
    key.write_bytes(bytes(range(32)))
    service = place(extra=["--vault", str(source)]).start()
    cloud, disk, made = filled(service)
    tidemark("vault", "init", target, "--vault-key-file", key)
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    words = ["vault", "cp", source, target, "--dst-key-file", key]
    # Beside the running service: the source is only read.
    first = as_json(*words, env=cache)["Snapshots"]
    assert [(row["SnapshotId"], row["Outcome"]) for row in first] == [(snapshot, "copied") for snapshot, _ in made]
    assert first[0]["RelativeTo"] is None and first[1]["RelativeTo"] == made[0][0]
    assert first[0]["ReadBytes"] == SIZE and first[1]["ReadBytes"] == MIB
    assert "0 copied (0 B stored), 2 there already" in tidemark(*words, env=cache).stdout

    store = Store(tmp_path / "store", "--faults", "20", "--seed", "3").start()
    try:
        url = store.url("&retry-seconds=60")
        tidemark("vault", "init", url, env=store.env)
        onward = tidemark("vault", "cp", target, url, "--vault-key-file", key, env={**cache, **store.env})
        assert "2 copied" in onward.stdout and "SRC is encrypted and DST is not" in onward.stderr
        # What two others got from one is known to be the same.
        again = tidemark("vault", "cp", source, url, env={**cache, **store.env})
        assert "0 copied (0 B stored), 2 there already" in again.stdout
        shown = as_json("vault", "show", url, made[1][0], env=store.env)
        assert shown["Chain"] == [{"SnapshotId": made[0][0], "Exists": True}] and shown["SnapshotName"] == "number-1"

        # Deleted here, it stays away unless it is named.
        before = snapshots(service)
        copy = place(extra=["--vault", url], env=store.env)
        tidemark("rebuild", "--vault", url, "--data-dir", copy.data, env=store.env)
        copy.start()
        strip = lambda rows: [{k: v for k, v in row.items() if k != "SnapshotSN"} for row in rows]  # noqa: E731
        assert strip(snapshots(copy)) == strip(before)
        check_restores(copy, made)
        copy.stop()
    finally:
        store.kill()
    service.stop()


def test_a_deleted_copy_stays_away_until_it_is_brought_back(place, tmp_path):
    source, target = tmp_path / "vault", tmp_path / "copy"
    service = place(extra=["--vault", str(source)]).start()
    _, disk, made = filled(service, sizes=(MIB, MIB))
    service.stop()
    tidemark("vault", "init", target)
    words = ["vault", "cp", source, target, "--spool", tmp_path / "spool"]
    assert "1 copied" in tidemark(*words, made[1][0]).stdout
    holder = place(extra=["--vault", str(target)])
    tidemark("rebuild", "--vault", target, "--data-dir", holder.data)
    holder.start()
    Cloud(holder).call("DeleteSnapshot", SnapshotId=made[1][0])
    wait_until(lambda: not as_json("vault", "ls", target)["Snapshots"], "it is deleted")
    holder.stop()
    done = tidemark(*words)
    assert "1 copied" in done.stdout and "1 deleted there" in done.stdout and made[1][0] in done.stderr
    named = tidemark(*words, made[1][0], check=False)
    assert named.returncode == 1 and "tidemark snapshot undelete" in named.stderr
    holder.start()
    holder.cli("snapshot", "undelete", made[1][0])
    holder.stop()
    assert {row["SnapshotId"] for row in as_json("vault", "ls", target)["Snapshots"]} == {name for name, _ in made}
    unknown = tidemark(*words, "s-none", check=False)
    assert unknown.returncode == 1 and "no snapshot s-none in SRC" in unknown.stderr
    same = tidemark("vault", "cp", source, source, check=False)
    assert same.returncode == 1 and "the same vault" in same.stderr


@pytest.mark.parametrize("bucket", [False, True], ids=["directory", "bucket"])
def test_a_copy_that_is_killed_goes_on(place, tmp_path, bucket):
    source, size = tmp_path / "vault", 96 * MIB
    service = place(extra=["--vault", str(source)]).start()
    _, _, made = filled(service, sizes=(size,))
    service.stop()
    store = Store(tmp_path / "store").start() if bucket else None
    try:
        target, env = (store.url(), store.env) if bucket else (tmp_path / "copy", {})
        packs = (store.root / "vault-bucket" / "tidemark" if bucket else target) / "packs"
        tidemark("vault", "init", target, env=env)
        words = ["vault", "cp", str(source), str(target), "--json", "--spool", str(tmp_path / "spool")]

        def arrived():
            return {path.name: path.stat().st_ino for path in packs.rglob("*") if path.is_file()} if packs.exists() else {}

        kills = 0
        while kills < 2:
            killed = subprocess.Popen([BINARY, *words], env=dict(os.environ, **env), stdout=subprocess.DEVNULL)
            had = len(arrived())
            wait_until(lambda: len(arrived()) > had or killed.poll() is not None, "a pack arrives", step=0.005)
            killed.send_signal(signal.SIGKILL)
            killed.wait(60)
            kills += 1
            if not tidemark("vault", "ls", target, env=env).stderr.startswith("no snapshots"):
                break
        before = arrived()
        assert before, "the test is about copies that had begun"
        (row,) = json.loads(tidemark(*words, env=env).stdout)["Snapshots"]
        after = arrived()
        if row["Outcome"] == "copied":
            assert row["Resumed"] and row["ReadBytes"] < size, row
        assert before.keys() <= after.keys()
        # Up to four are sent at once: one that arrived while the sender died is sent again, no other.
        again = [name for name, inode in before.items() if after[name] != inode]
        assert len(again) <= (4 if bucket else 0), "what had arrived was sent again"
        assert sum(path.stat().st_size for path in packs.rglob("*") if path.is_file()) < 1.5 * size
        new = place(extra=["--vault", str(target)], env=env)
        tidemark("rebuild", "--vault", target, "--data-dir", new.data, env=env)
        new.start()
        with new.client(made[0][0]) as frozen:
            assert frozen.read_all(0, size) == made[0][1]
        new.stop()
    finally:
        if store:
            store.kill()


def test_two_copies_at_once(place, tmp_path):
    source, target = tmp_path / "vault", tmp_path / "copy"
    service = place(extra=["--vault", str(source)]).start()
    _, _, made = filled(service, sizes=(32 * MIB, MIB, MIB))
    service.stop()
    tidemark("vault", "init", target)

    def start(spool):
        words = [BINARY, "vault", "cp", source, target, "--json", "--spool", tmp_path / spool]
        return subprocess.Popen([str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    both = [start("one"), start("two")]
    refused = start("one").communicate(timeout=120)[1]
    outs = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], outs
    assert "--spool" in refused or "another copy" not in refused
    listed = as_json("vault", "ls", target)
    assert [row["SnapshotId"] for row in listed["Snapshots"]] == [snapshot for snapshot, _ in made]
    new = place(extra=["--vault", str(target)])
    tidemark("rebuild", "--vault", target, "--data-dir", new.data)
    new.start()
    check_restores(new, made)
    new.stop()
