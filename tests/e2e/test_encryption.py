"""An encrypted vault under the real binary: `tidemark vault`, and a service that is given its key in a file."""

import json
import pathlib

import data
from cloud import Cloud
from service import BINARY, Service, run

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
