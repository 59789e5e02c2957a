"""An encrypted vault under the real binary: `tidemark vault`, and a service that is given its key in a file."""

import json
import pathlib

import data
import pytest
from cloud import Cloud
from service import BINARY, Service, run, wait_until

MIB = data.MIB


def tidemark(*words, check=True):
    return run(BINARY, *words, check=check)


def slots(vault, *secret):
    listed = tidemark("vault", "key", "list", vault, "--json", *secret)
    return [(slot["id"], slot["kind"], slot["label"]) for slot in json.loads(listed.stdout)["slots"]]


def test_keys_are_listed_added_removed_and_rotated(tmp_path):
    vault, passphrase, other, key = (str(tmp_path / name) for name in ("vault", "passphrase", "other", "key"))
    (tmp_path / "passphrase").write_text("high water\n")
    (tmp_path / "other").write_text("low water\n")
    (tmp_path / "key").write_text("ab" * 32 + "\n")
    by_passphrase, by_other = ("--vault-passphrase-file", passphrase), ("--vault-passphrase-file", other)
    by_key = ("--vault-key-file", key)
    assert "encrypted" in tidemark("vault", "init", vault, *by_passphrase).stdout

    refusals = {
        (): "no key was given",
        by_other: "wrong passphrase",
        by_key: "no key file slot",
        ("--vault-key-file", passphrase): "no key file",
        by_passphrase + by_key: "not several",
    }
    for secret, word in refusals.items():
        refused = tidemark("vault", "key", "list", vault, *secret, check=False)
        assert refused.returncode == 1 and word in refused.stderr, refused.stderr
        assert "water" not in refused.stderr

    tidemark("vault", "key", "add", vault, *by_passphrase, "--new-key-file", key, "--label", "the safe's")
    (first, kind, _), (second, *rest) = slots(vault, *by_key)
    assert kind == "passphrase" and rest == ["key-file", "the safe's"]
    tidemark("vault", "key", "remove", vault, first, *by_key)
    last = tidemark("vault", "key", "remove", vault, second, *by_key, check=False)
    assert last.returncode == 1 and "last slot" in last.stderr

    rotate = ("vault", "key", "rotate", vault, *by_key, "--replace")
    assert "--replace needs" in tidemark(*rotate, check=False).stderr
    rotated = tidemark(*rotate, "--new-passphrase-file", other)
    assert "generation 1" in rotated.stdout and second in rotated.stdout
    assert [kind for _, kind, _ in slots(vault, *by_other)] == ["passphrase"]
    assert tidemark("vault", "key", "list", vault, *by_key, check=False).returncode == 1


def test_a_service_with_a_key_stores_nothing_open(tmp_path):
    key = tmp_path / "key"
    key.write_bytes(bytes(range(32)))
    needle = b"what only the guest may know. "
    service = Service(extra=("--vault-key-file", str(key)))
    service.start()
    try:
        cloud = Cloud(service)
        instance, disk = cloud.attached_disk(1, cloud.new_instance("closed"))
        with service.client(disk) as client:
            client.write_all(0, needle * (MIB // len(needle)))
        cloud.take_snapshot(disk, SnapshotName="the-name-of-it")
        service.stop()
        look(service, key, needle)
    finally:
        service.destroy()


def look(service, key, needle):
    bodies = {path: path.read_bytes() for path in pathlib.Path(service.vault).rglob("*") if path.is_file()}
    assert any(len(body) > 100 for body in bodies.values())
    for path, body in bodies.items():
        assert needle not in body and b"the-name-of-it" not in body, path

    doctor = ("doctor", "--data-dir", str(service.data))
    closed = tidemark(*doctor)
    assert "no key was given" in closed.stdout and "WARNING" in closed.stdout
    assert "1 snapshots" in tidemark(*doctor, "--vault-key-file", str(key)).stdout


def keyed_service(tmp_path, new_service, *flags):
    key = tmp_path / "key"
    key.write_bytes(bytes(range(32)))
    return new_service(extra=("--vault-key-file", str(key), *flags))


def disk_keys(service):
    """Keys of encrypted disks that the bucket holds."""
    return sorted(path.name for path in (pathlib.Path(service.vault) / "diskkeys").glob("*"))


def test_an_encrypted_disk_is_asked_for_shown_and_inherited(tmp_path, new_service):
    service = keyed_service(tmp_path, new_service)
    cloud = Cloud(service)
    instance = cloud.new_instance()
    made = json.loads(service.cli("disk", "create", "--size", "1G", "--encrypted", "--wait", "--json").stdout)
    disk = made["DiskId"]
    assert cloud.disk(disk)["Encrypted"] is True
    cloud.attach(instance, disk)
    content = data.random_bytes(MIB, seed=1)
    with service.client(disk) as client:
        client.write_all(0, content)
    snapshot = cloud.take_snapshot(disk)
    assert cloud.snapshot(snapshot)["Encrypted"] is True
    copy = cloud.restore(snapshot, instance)
    assert cloud.disk(copy)["Encrypted"] is True
    with service.client(copy) as client:
        assert client.read_all(0, MIB) == content

    shown = {"disk": disk, "snapshot": snapshot}
    for kind, id in shown.items():
        table = service.cli(kind, "list").stdout.splitlines()
        (row,) = [line for line in table if line.startswith(id)]
        assert "ENCRYPTED" in table[0] and "yes" in row, table
        assert "yes" in service.cli(kind, "show", id).stdout
    plain = service.cli("disk", "create", "--snapshot", snapshot, "--encrypted", "--json")
    assert cloud.disk(json.loads(plain.stdout)["DiskId"])["Encrypted"] is True


def test_a_plain_vault_says_what_to_do(service, v3):
    refused = service.cli("disk", "create", "--size", "1G", "--encrypted", check=False)
    assert refused.returncode == 1
    assert "the vault of this region is not encrypted" in refused.stderr and "tidemark vault init" in refused.stderr


@pytest.mark.parametrize("window", ["0s", "1h"])
def test_deleting_an_encrypted_disk_and_its_snapshots_destroys_its_key(tmp_path, new_service, window):
    """Not while a snapshot needs it, nor while one that was deleted could be brought back."""
    service = keyed_service(tmp_path, new_service, "--undelete-window", window)
    cloud = Cloud(service)
    instance = cloud.new_instance()
    disk = cloud.new_disk(1, Encrypted=True)
    (key,) = disk_keys(service)
    cloud.attach(instance, disk)
    with service.client(disk) as client:
        client.write_all(0, data.random_bytes(MIB, seed=1))
    snapshots = [cloud.take_snapshot(disk), cloud.take_snapshot(disk)]
    cloud.release(disk)
    wait_until(lambda: cloud.disk(disk) is None, "the disk is gone")
    cloud.call("DeleteSnapshot", SnapshotId=snapshots[0])
    wait_until(lambda: cloud.snapshot(snapshots[0]) is None, "one snapshot is gone")
    assert disk_keys(service) == [key], "the other snapshot needs it"
    cloud.call("DeleteSnapshot", SnapshotId=snapshots[1])
    wait_until(lambda: cloud.snapshot(snapshots[1]) is None, "the other is gone")
    if window != "0s":
        assert disk_keys(service) == [key], "they can be brought back"
        return
    wait_until(lambda: not disk_keys(service), "the key is destroyed")
    # The node's copy goes after the bucket's.
    wait_until(lambda: not list((service.data / "diskkeys").glob("*")), "the node's copy is gone")
