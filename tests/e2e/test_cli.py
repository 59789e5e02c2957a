"""The command line: `tidemark ecs` prints the tables of the documented walk, and the verbs for people work.

Covers S44 to S53, and S46's defaults: the key, endpoint and region come from the credentials file of `up`.
"""

import json
import re
import signal
import stat
import subprocess

import pytest

import data
import nbd
from cloud import Cloud
from service import BINARY, REGION, run, wait_until

MIB = data.MIB


def table(text):
    """Rows of an `--output` table: header, dashed line, rows, cells parted by a vertical bar."""
    lines = text.rstrip("\n").split("\n")
    rows = [[cell.strip() for cell in line.split("|")] for line in lines]
    assert [set(cell) for cell in rows[1]] == [{"-"}] * len(rows[0]), f"no dashed line below the header:\n{text}"
    assert [len(dashes) for dashes in rows[1]] == [len(name) for name in rows[0]]
    widths = {tuple(at for at, char in enumerate(line) if char == "|") for line in lines}
    assert len(widths) == 1, f"the bars are not below each other:\n{text}"
    return rows[0], rows[2:]


@pytest.fixture(scope="module")
def walk(service):
    """What the walk needs: an instance with a disk that has data on it."""
    cloud = Cloud(service)
    instance, disk = cloud.attached_disk(1, cloud.new_instance("cli-box"))
    with service.client(disk) as client:
        client.write_all(0, data.random_bytes(4 * MIB, seed=1))
    return instance, disk


def test_the_documented_walk(service, walk):
    instance, disk = walk
    listed = service.cli(
        "ecs", "DescribeInstances", "--RegionId", REGION,
        "--output", "cols=InstanceId,InstanceName", "rows=Instances.Instance[]",
    )  # fmt: skip
    header, rows = table(listed.stdout)
    assert header == ["InstanceId", "InstanceName"] and [instance, "cli-box"] in rows

    # The system disk is among them (S45); it is the older of the two.
    disks = service.cli(
        "ecs", "DescribeDisks", "--RegionId", REGION, "--InstanceId", instance,
        "--output", "cols=DiskId,Type", "rows=Disks.Disk[]",
    )  # fmt: skip
    header, rows = table(disks.stdout)
    assert header == ["DiskId", "Type"]
    assert [disk, "data"] in rows and [kind for _, kind in rows].count("system") == 1 and len(rows) == 2

    # Only the disk is named; the region comes from the profile.
    answer = json.loads(service.cli("ecs", "CreateSnapshot", "--DiskId", disk).stdout)
    assert set(answer) == {"RequestId", "SnapshotId"}
    assert re.fullmatch(r"s-bp1[a-z0-9]{17}", answer["SnapshotId"]), "ids of Hangzhou carry its code (S48)"
    assert re.fullmatch(r"i-bp1[a-z0-9]{17}", instance) and re.fullmatch(r"d-bp1[a-z0-9]{17}", disk)

    words = ["ecs", "DescribeSnapshots", "--RegionId", REGION, "--InstanceId", instance]
    output = ["--output", "cols=SnapshotId,Status", "rows=Snapshots.Snapshot[]"]
    header, rows = table(service.cli(*words, *output).stdout)
    assert header == ["SnapshotId", "Status"] and rows[0][0] == answer["SnapshotId"]
    assert rows[0][1] in ("progressing", "accomplished")
    waited = service.cli(
        "ecs", "DescribeSnapshots", "--SnapshotIds", json.dumps([answer["SnapshotId"]]),
        "--waiter", "expr=Snapshots.Snapshot[0].Status", "to=accomplished", "interval=2", "timeout=60",
    )  # fmt: skip
    assert json.loads(waited.stdout)["Snapshots"]["Snapshot"][0]["Progress"] == "100%"
    assert [answer["SnapshotId"], "accomplished"] in table(service.cli(*words, *output).stdout)[1]


def test_columns_that_are_not_there(service, walk):
    """A field that no row has prints <nil>; `num=true` counts the rows."""
    ids = json.dumps([walk[1]])
    words = ["ecs", "DescribeDisks", "--DiskIds", ids, "--output", "cols=DiskId,Nothing", "rows=Disks.Disk[]"]
    assert table(service.cli(*words).stdout)[1] == [[walk[1], "<nil>"]]
    header, rows = table(service.cli(*words, "num=true").stdout)
    assert header[0] == "Num" and rows[0][0] == "0"


def test_an_empty_list_is_an_empty_table(service):
    words = ["ecs", "DescribeDisks", "--DiskIds", "[]", "--output", "cols=DiskId", "rows=Disks.Disk[]"]
    assert table(service.cli(*words).stdout) == (["DiskId"], [])


def test_rows_that_are_no_list_are_an_error(service):
    words = ["ecs", "DescribeDisks", "--output", "cols=DiskId", "rows=TotalCount"]
    failed = service.cli(*words, check=False)
    assert failed.returncode != 0 and "rray" in failed.stderr


def test_a_waiter_gives_up(service, walk):
    """A state that does not come ends in an error after the time-out, not in an endless loop."""
    failed = service.cli(
        "ecs", "DescribeDisks", "--DiskIds", json.dumps([walk[1]]),
        "--waiter", "expr=Disks.Disk[0].Status", "to=Available", "timeout=3", "interval=2", check=False,
    )  # fmt: skip
    assert failed.returncode != 0 and "imeout" in failed.stderr.replace(" ", "")


def test_the_pager_fetches_every_page(service, walk):
    """12 disks, pages of 10: all of them come, once each."""
    cloud = Cloud(service)
    made = {cloud.new_disk(1, DiskName="paged") for _ in range(12)}
    words = ["ecs", "DescribeDisks", "--RegionId", REGION, "--DiskName", "paged", "--pager"]
    pages = json.loads(service.cli(*words).stdout)
    listed = [row["DiskId"] for row in pages["Disks"]["Disk"]]
    assert sorted(listed) == sorted(made)
    one = json.loads(service.cli(*words[:-1]).stdout)
    assert len(one["Disks"]["Disk"]) == 10


def test_an_error_is_told_and_fails(service):
    failed = service.cli("ecs", "CreateSnapshot", "--DiskId", "d-none", check=False)
    assert failed.returncode != 0
    assert "InvalidDiskId.NotFound" in failed.stderr and "RequestId" in failed.stderr


def test_credentials_are_for_the_owner_only(service):
    mode = (service.data / "credentials.toml").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600
    assert "ready:" in service.ready_line and service.endpoint in service.ready_line


def test_disk_endpoint_is_a_uri_that_works(service, walk):
    uri = service.cli("disk", "endpoint", walk[1]).stdout.strip()
    assert uri == service.uri(walk[1])
    assert json.loads(run("nbdinfo", "--json", uri).stdout)["exports"][0]["export-size"] == 1 << 30


def test_verbs_for_people(service, walk):
    """Create, snapshot with --wait, list, delete; tables for people and the same rows as JSON."""
    instance, disk = walk
    snapshot = json.loads(service.cli("snapshot", "create", disk, "--name", "by-hand", "--wait", "--json").stdout)
    listed = service.cli("snapshot", "list").stdout
    assert snapshot["SnapshotId"] in listed and "accomplished" in listed
    rows = json.loads(service.cli("snapshot", "list", "--json").stdout)
    assert snapshot["SnapshotId"] in [row["SnapshotId"] for row in rows]
    service.cli("snapshot", "delete", snapshot["SnapshotId"])
    assert snapshot["SnapshotId"] not in service.cli("snapshot", "list").stdout
    assert disk in service.cli("disk", "list").stdout and instance in service.cli("instance", "list").stdout


def test_completions_and_help(service):
    for shell in ("bash", "zsh", "fish"):
        assert "tidemark" in service.cli("completions", shell).stdout
    assert "volume" in service.cli("--help").stdout


def test_a_volume_without_a_control_plane(scratch):
    """`volume create`, `serve`, `info`, `log`: one volume, no service."""
    directory, socket = scratch / "vol", scratch / "s"
    run(BINARY, "volume", "create", directory, "--size", "1G")
    content = data.random_bytes(MIB, seed=3)
    for turn in range(2):
        server = subprocess.Popen([BINARY, "volume", "serve", directory, "--socket", socket, "--export", "x"])
        try:
            wait_until(socket.exists, "the volume is served")
            with wait_until(lambda: connect(socket), "the socket answers") as client:
                assert client.size == 1 << 30
                if turn == 0:
                    client.write_all(4096, content)
                assert client.read(4096, MIB) == content
        finally:
            # The first time cleanly, the second time not.
            server.send_signal(signal.SIGTERM if turn == 0 else signal.SIGKILL)
            server.wait(30)
        socket.unlink(missing_ok=True)
    assert "1" in run(BINARY, "volume", "info", directory).stdout
    assert run(BINARY, "volume", "log", directory).stdout


def connect(socket):
    try:
        return nbd.Client(socket, "x")
    except (ConnectionRefusedError, FileNotFoundError):
        return None
