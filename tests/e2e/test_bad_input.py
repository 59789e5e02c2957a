"""Bad input, one row per case, through the real binary: `tidemark up` says what is wrong, where, and what to do, serves
nothing, and changes nothing in the vault. `crates/vault/tests/bad_input.rs` has the rows of damage in detail."""

import email.utils
import http.server
import pathlib
import shutil
import subprocess
import threading
import time

import data
import pytest
from cloud import Cloud
from service import Service, run, wait_until
from store import BUCKET, KEY, SECRET, Store

MIB = data.MIB


class Refusing:
    """A store that refuses every request with the same code, as S3 does."""

    def __init__(self, status, code, ahead=0):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def date_time_string(self, timestamp=None):
                return email.utils.formatdate(time.time() + ahead, usegmt=True)

            def refuse(self):
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                body = f"<Error><Code>{code}</Code><Message>in its own words</Message></Error>".encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = refuse

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def url(self):
        return f"s3://{BUCKET}/tidemark?endpoint=http://127.0.0.1:{self.server.server_port}&retry-seconds=0"


def contents(directory):
    """Every object below a directory, with its bytes."""
    root = pathlib.Path(directory)
    paths = [path for path in root.rglob("*") if path.is_file() and ".tidemark" not in str(path) and path.name != "lock"]
    return {str(path.relative_to(root)): path.read_bytes() for path in paths}


def refused(service, *words):
    """The service ends by itself, with one error that has all of these words, and served nothing."""
    service.launch()
    try:
        status = service.process.wait(60)
    except subprocess.TimeoutExpired:
        service.kill()
        raise AssertionError(f"it did not end:\n{service.log_tail()}") from None
    out, log = (service.directory / "out").read_text(), service.log_tail()
    assert status == 1 and "ready:" not in out, f"{status}\n{out}\n{log}"
    for word in words:
        assert word in log, f"{word!r} is not said:\n{log}"
    assert "panicked" not in log and SECRET not in log
    service.log.unlink()


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "store").start()
    yield store
    store.kill()


@pytest.fixture
def fresh(services):
    """A service that was never started."""

    def make(**options):
        service = Service(**options)
        services.append(service)
        return service

    return make


STORES = {
    "credentials": (403, "SignatureDoesNotMatch", 0, ["does not accept the credentials", "check the key in the environment"]),
    "a bucket of somebody else's": (403, "AccessDenied", 0, ["refuses this to our key", "the bucket has to be yours"]),
    "no such bucket": (404, "NoSuchBucket", 0, [f"there is no bucket {BUCKET}", "make it first"]),
    "clock skew": (403, "RequestTimeTooSkewed", 1200, ["clock is too far from the store's", "set the clock"]),
    "another region": (400, "AuthorizationHeaderMalformed", 0, ["?region="]),
}


@pytest.mark.parametrize("case", STORES)
def test_a_store_that_refuses_is_told_in_words(fresh, case):
    status, code, ahead, words = STORES[case]
    store = Refusing(status, code, ahead)
    env = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    refused(fresh(extra=["--vault", store.url()], env=env), "the vault in s3://", "cannot be used", code, *words)


def test_a_real_store_with_a_wrong_key_stays_as_it_is(fresh, store):
    before = contents(store.root)
    env = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": "not the secret"}
    refused(fresh(extra=["--vault", store.url()], env=env), "check the key in the environment")
    assert contents(store.root) == before
    refused(fresh(extra=["--vault", store.url()]), "AWS_ACCESS_KEY_ID")


@pytest.mark.parametrize("kind", ["directory", "bucket"])
def test_a_place_that_holds_other_things_is_no_place_for_a_new_vault(fresh, store, tmp_path, kind):
    place = tmp_path / "photos" if kind == "directory" else store.root / BUCKET / "tidemark"
    (place / "holiday").mkdir(parents=True)
    (place / "holiday" / "beach.jpg").write_bytes(b"\xff\xd8\xff")
    before = contents(place)
    vault, env = (str(place), {}) if kind == "directory" else (store.url(), store.env)
    refused(fresh(extra=["--vault", vault], env=env), "holiday/beach.jpg", "needs an empty place")
    assert contents(place) == before


@pytest.fixture(scope="module")
def used(tmp_path_factory):
    """The data directory of a stopped service with a snapshot in its vault."""
    service = Service()
    service.start()
    try:
        cloud = Cloud(service)
        instance, disk = cloud.attached_disk(1)
        with service.client(disk) as client:
            client.write_all(0, data.random_bytes(MIB, seed=1))
        cloud.take_snapshot(disk)
        # Snapshots outlive their disk, and a directory without volumes is quickly copied.
        cloud.release(disk)
        wait_until(lambda: cloud.disk(disk) is None, "the disk is gone")
        cloud.call("DeleteInstance", InstanceId=instance, Force=True)
        wait_until(lambda: cloud.instance(instance) is None, "the instance is gone")
        service.stop()
        kept = tmp_path_factory.mktemp("used") / "tidemark-data"
        shutil.copytree(service.data, kept)
        yield kept
    finally:
        service.destroy()


def of(used, fresh, **options):
    """A service with a copy of that directory."""
    service = fresh(**options)
    shutil.copytree(used, service.data)
    return service


def forge(path, change):
    """Changes an object of text, and puts its hash right."""
    from blake3 import blake3

    line = change(path.read_bytes().split(b"\n")[0]) + b"\n"
    path.write_bytes(line + b"blake3:" + blake3(line).hexdigest().encode() + b"\n")


def newer(format):
    forge(format, lambda line: line.replace(b'"version":1', b'"version":2'))


def other(format):
    forge(format, another_id)


def another_id(line):
    at = line.index(b'"vault":"', 10) + 9
    return line[:at] + b"ab" * 16 + line[at + 32 :]


VAULTS = {
    "a newer release's": (newer, ["version 2", "newer release"]),
    "another vault": (other, ["it holds vault abab", "this data belongs to vault"]),
    "no format object": (pathlib.Path.unlink, ["`format` is gone", "put the object back", "vault.format"]),
    "a cut format object": (lambda format: format.write_bytes(format.read_bytes()[:40]), ["format", "hash"]),
}


@pytest.mark.parametrize("case", VAULTS)
def test_a_vault_that_is_not_what_it_was_is_left_alone(used, fresh, case):
    harm, words = VAULTS[case]
    service = of(used, fresh)
    whole = contents(service.vault)
    harm(service.vault / "format")
    before = contents(service.vault)
    refused(service, *words)
    assert contents(service.vault) == before
    # What the message says to do about a lost format object helps.
    kept = b"".join((service.data / "vault.format").read_bytes().splitlines(keepends=True)[:2])
    (service.vault / "format").write_bytes(kept)
    assert contents(service.vault) == whole
    service.start()
    assert len(Cloud(service).call("DescribeSnapshots", RegionId="cn-hangzhou")["Snapshots"]["Snapshot"]) == 1


def test_a_lost_format_object_does_not_make_a_vault_of_a_new_machine_on_top(used, fresh, tmp_path):
    vault = tmp_path / "vault"
    shutil.copytree(used / "vault", vault)
    (vault / "format").unlink()
    before = contents(vault)
    refused(fresh(extra=["--vault", str(vault)]), "something here already", "put its `format` back")
    assert contents(vault) == before


def test_wrong_keys_are_told_apart(used, fresh, tmp_path):
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.write_text("high water\n")
    wrong.write_text("low water\n")
    service = fresh(extra=["--vault-passphrase-file", str(right)])
    service.start()
    service.stop()
    before = contents(service.vault)
    service.log.unlink()
    for extra, word in (([], "no key was given"), (["--vault-passphrase-file", str(wrong)], "wrong passphrase")):
        service.extra = extra
        refused(service, word)
    assert contents(service.vault) == before
    refused(of(used, fresh, extra=["--vault-passphrase-file", str(right)]), "not encrypted", "when it is created")


def test_a_second_service_on_the_same_data_is_told_and_the_first_goes_on(new_service, fresh):
    first = new_service()
    second = fresh()
    second.data = first.data
    before = contents(first.vault)
    refused(second, f"{first.data} is in use by process {first.process.pid}", "choose another with --data-dir")
    assert contents(first.vault) == before
    Cloud(first).attached_disk(1)


def test_a_copied_machine_is_told_that_the_other_has_the_disk(new_service, fresh, tmp_path):
    """Two services with copies of one disk, on one vault: the last to claim it goes on; the other says so and loses nothing."""
    vault = tmp_path / "vault"
    first = new_service(extra=["--vault", str(vault)])
    cloud = Cloud(first)
    _, disk = cloud.attached_disk(1)
    with first.client(disk) as client:
        client.write_all(0, data.random_bytes(MIB, seed=1))
    kept = cloud.take_snapshot(disk)
    first.stop()
    second = fresh(extra=["--vault", str(vault)])
    run("cp", "-a", "--sparse=always", first.data, second.data)
    first.start()
    with first.client(disk) as client:
        client.write_all(0, data.random_bytes(MIB, seed=2))
    cloud.take_snapshot(disk)
    second.start()
    theirs = Cloud(second)
    with second.client(disk) as client:
        client.write_all(0, data.random_bytes(MIB, seed=3))
    last = theirs.take_snapshot(disk)

    with first.client(disk) as client:
        client.write_all(0, data.random_bytes(MIB, seed=4))
    lost = cloud.call("CreateSnapshot", DiskId=disk)["SnapshotId"]
    wait_until(lambda: cloud.snapshot(lost)["Status"] == "failed", "the snapshot of the disk that was lost fails")
    said = first.log_tail(400)
    assert "has taken the disk over" in said and "stop one of them" in said, said
    # Neither the old snapshots nor the disk's own content are touched.
    for service, snapshot in ((second, last), (second, kept), (first, kept)):
        with service.client(snapshot) as frozen:
            seed = 3 if snapshot == last else 1
            assert frozen.read_all(0, MIB) == data.random_bytes(MIB, seed=seed)
    with first.client(disk) as client:
        assert client.read_all(0, MIB) == data.random_bytes(MIB, seed=4)
