"""Images from files and to files, and the small bootable image of our own.

Files are compared by all their bytes. Whatever fails or is interrupted must leave the service as it was: the tests compare
everything that there is before and after.
"""

import hashlib
import json
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import sys

import pytest

import data
from cloud import Cloud
from guest import TARGET, Guest
from service import BINARY, REGION, run, wait_until

MIB, GIB = 1 << 20, 1 << 30
RECORDS = pathlib.Path(__file__).parents[2] / "crates/cli/src/image/guest/records.awk"


def sparse(path, length, seed=1):
    """A sparse file with data here and there, zeros that are no holes, and an end of any length."""
    with open(path, "wb") as file:
        file.truncate(length)
        for at in (0, 70_001, 9 * MIB - 3, length // 2, length - 4097):
            file.seek(at)
            file.write(data.random_bytes(min(2 * MIB + 77, length - at), seed=seed + at))
        file.seek(20 * MIB)
        file.write(bytes(MIB))
    return path


def digest(path, padded_to):
    """SHA-256 of a file with zeros behind it."""
    sha = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(4 * MIB):
            sha.update(part)
        for at in range(file.tell(), padded_to, MIB):
            sha.update(bytes(min(MIB, padded_to - at)))
    return sha.hexdigest()


def everything(service):
    """Ids of all that an import makes."""
    ask = lambda *words: json.loads(service.cli(*words, "--json").stdout or "[]")
    return {
        (kind, row[name])
        for kind, name in [("instance", "InstanceId"), ("disk", "DiskId"), ("snapshot", "SnapshotId"), ("image", "ImageId")]
        for row in ask(kind, "list")
    }


def import_file(service, path, *words, **options):
    return json.loads(service.cli("image", "import", path, *words, "--json", **options).stdout)


def system_snapshot(image):
    (mapping,) = image["DiskDeviceMappings"]["DiskDeviceMapping"]
    return mapping["SnapshotId"]


def test_a_raw_file_there_and_back(service, scratch):
    before = everything(service)
    file = sparse(scratch / "disk with, comma=.img", 300 * MIB + 12_345)
    image = import_file(service, file, "--name", "there-and-back", "--family", "files", "--tag", "from=file", "--boot-mode", "BIOS")
    assert (image["Status"], image["Size"], image["ImageName"]) == ("Available", 1, "there-and-back")
    assert (image["ImageFamily"], image["BootMode"]) == ("files", "BIOS") and image["Tags"]["Tag"][0]["TagValue"] == "file"
    assert "disk with, comma=.img" in image["Description"]
    snapshot = system_snapshot(image)
    made = {("image", image["ImageId"]), ("snapshot", snapshot)}
    assert everything(service) - before == made, "the machine in between is gone, with its disk"

    wanted = digest(file, GIB)
    out = scratch / "out.raw"
    service.cli("image", "export", image["ImageId"], out)
    assert out.stat().st_size == GIB and digest(out, GIB) == wanted
    assert out.stat().st_blocks * 512 < 16 * MIB, "holes stay holes"
    refused = service.cli("image", "export", image["ImageId"], out, check=False)
    assert refused.returncode == 1 and "--force" in refused.stderr
    out.write_bytes(b"old")
    service.cli("snapshot", "export", snapshot, out, "--force")
    assert "Images are identical" in run("qemu-img", "compare", "-f", "raw", "-F", "raw", file, out).stdout
    assert sorted(path.name for path in scratch.iterdir()) == [file.name, "out.raw"], "nothing else is left there"


@pytest.mark.parametrize("options", [["-c"], ["-o", "compat=0.10"], ["-o", "extended_l2=on,cluster_size=128k"]], ids=" ".join)
def test_a_qcow2_file_there_and_back(service, scratch, options):
    raw = sparse(scratch / "disk.raw", 200 * MIB + 512, seed=2)
    file = scratch / "disk,x.qcow2"
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", *options, raw, file)
    image = import_file(service, file, "--size", "2G")
    assert image["Size"] == 2
    out = scratch / "out.qcow2"
    service.cli("image", "export", image["ImageId"], out, "--format", "qcow2")
    run("qemu-img", "check", "-f", "qcow2", out)
    # Behind the shorter one the longer one has zeros.
    assert "Images are identical" in run("qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, out).stdout
    assert json.loads(run("qemu-img", "info", "--output=json", "-f", "qcow2", out).stdout)["virtual-size"] == 2 * GIB
    assert out.stat().st_blocks * 512 < 32 * MIB


def makers(scratch):
    """(what is imported, more words, what the refusal names)."""
    base, good = scratch / "base.raw", scratch / "good.qcow2"
    sparse(base, 64 * MIB)
    create = lambda kind, name, *words: run("qemu-img", "create", "-f", kind, *words, scratch / name, "64M") and scratch / name
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", base, good)
    yield create("qcow2", "overlay", "-b", base, "-F", "raw"), [], "backing_file_offset"
    yield create("qcow2", "outside", "-o", f"data_file={scratch}/data,data_file_raw=on"), [], "external data file"
    half = scratch / "half.qcow2"
    half.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    yield half, [], "cut short"
    for kind, name in [("vmdk", "VMDK"), ("vpc", "VHD"), ("vdi", "VDI"), ("vhdx", "VHDX")]:
        yield create(kind, f"other-{kind}"), [], name
    yield base, ["--format", "qcow2"], "magic"
    yield base, ["--size", "32M"], "nothing is cut off"
    yield 'json:{"driver":"raw","file":{"driver":"file","filename":"%s"}}' % base, [], "no protocol"
    yield f"nbd+unix:///x?socket={scratch}/nbd.sock", [], "no protocol"
    yield f"file:{base}", [], "no protocol"
    yield "-", [], "standard input"
    yield scratch, [], "no regular file"
    yield scratch / "gone.raw", [], "No such file"


def test_what_is_refused_is_named_and_leaves_nothing(service, scratch):
    before = everything(service)
    for file, words, reason in makers(scratch):
        refused = service.cli("image", "import", *words, "--", file, check=False)
        assert refused.returncode == 1 and reason in refused.stderr, f"{file}: {refused.stderr}"
        assert refused.stderr.startswith("ERROR:"), "it was refused before anything was begun"
    assert everything(service) == before


def test_a_late_failure_takes_everything_away(service, scratch):
    file = sparse(scratch / "disk.raw", 64 * MIB)
    import_file(service, file, "--name", "only-one")
    before = everything(service)
    refused = service.cli("image", "import", file, "--name", "only-one", check=False)
    assert refused.returncode == 1 and "InvalidImageName.Duplicated" in refused.stderr
    assert "taken away again" in refused.stderr
    assert everything(service) == before


@pytest.mark.parametrize("kind", ["raw", "qcow2"])
def test_an_interrupted_import_takes_everything_away(service, scratch, kind):
    file = scratch / f"large.{kind}"
    raw = scratch / "large.raw"
    with open(raw, "wb") as out:
        for number in range(256):
            out.write(number.to_bytes(8, "little") * (MIB // 8))
        out.write(b"last")
    if kind == "qcow2":
        run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, file)
    before = everything(service)
    importing = subprocess.Popen([BINARY, "image", "import", file], cwd=service.directory, stderr=subprocess.PIPE, text=True)
    words = ""
    for line in importing.stderr:
        words += line
        if line.startswith("write d-"):
            importing.send_signal(signal.SIGSTOP)
            assert len(everything(service) - before) == 2, "a machine and its disk"
            importing.send_signal(signal.SIGTERM)
            importing.send_signal(signal.SIGCONT)
            break
    words += importing.stderr.read()
    assert importing.wait(60) == 1 and "interrupted" in words and "taken away again" in words, words
    assert everything(service) == before


def test_qemu_img_has_limits_and_ends_with_us(service, scratch):
    """`kill -9` leaves a machine with a name that tells, and nobody who writes to it."""
    raw, file = scratch / "large.raw", scratch / "large.qcow2"
    with open(raw, "wb") as out:
        for number in range(1, 257):
            out.write(number.to_bytes(2, "little") * (MIB // 2))
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, file)
    importing = subprocess.Popen([BINARY, "image", "import", file], cwd=service.directory, stderr=subprocess.PIPE, text=True)
    while not importing.stderr.readline().startswith("write d-"):
        assert importing.poll() is None
    (child,) = pathlib.Path(f"/proc/{importing.pid}/task/{importing.pid}/children").read_text().split()
    process = pathlib.Path("/proc") / child
    wait_until(lambda: b"convert" in (process / "cmdline").read_bytes().split(b"\0")[1:2], "it is qemu-img", step=0.001)
    os.kill(int(child), signal.SIGSTOP)
    words = (process / "cmdline").read_text().split("\0")
    assert not any(str(file) in word for word in words), "no name of a file reaches it"
    assert os.readlink(process / "fd/0") == str(file)
    assert (process / "environ").read_text() == "LC_ALL=C\0"
    limits = dict(re.findall(r"^Max (.+?)  +(\d+) ", (process / "limits").read_text(), re.MULTILINE))
    assert int(limits["address space"]) <= 4 * GIB and limits["file size"] == "0" and int(limits["cpu time"]) < 600
    importing.kill()
    importing.wait(60)
    wait_until(lambda: not process.exists() or "Z" in (process / "stat").read_text().split()[2], "it is gone")
    (left,) = [row for row in json.loads(service.cli("instance", "list", "--json").stdout) if "image-import" in row["InstanceName"]]
    service.cli("instance", "delete", left["InstanceId"], "--force", "--wait")


def test_an_interrupted_export_leaves_no_file(service, scratch):
    with open(scratch / "large.raw", "wb") as out:
        for number in range(256):
            out.write(data.random_bytes(MIB, seed=number))
    image = import_file(service, scratch / "large.raw")
    (scratch / "large.raw").unlink()
    words = [BINARY, "image", "export", image["ImageId"], scratch / "out.raw"]
    exporting = subprocess.Popen(words, cwd=service.directory, stderr=subprocess.PIPE, text=True)
    assert exporting.stderr.readline().startswith("read s-")
    exporting.send_signal(signal.SIGINT)
    assert "interrupted" in exporting.stderr.read() and exporting.wait(60) == 1
    assert list(scratch.iterdir()) == []


def test_a_disk_of_an_image_is_filled_as_the_last_one_was_read(new_service, scratch):
    """The boot trace of the image's snapshot (decision 53): read in an order of its own, kept when the disk is closed."""
    service = new_service()
    cloud = Cloud(service)
    with open(scratch / "disk.raw", "wb") as out:
        out.write(data.random_bytes(32 * MIB, seed=5))
    image = import_file(service, scratch / "disk.raw")["ImageId"]

    def new_machine():
        answer = cloud.call("RunInstances", RegionId=REGION, InstanceType="tidemark.external", ImageId=image)
        (instance,) = answer["InstanceIdSets"]["InstanceIdSet"]
        cloud.wait_instance(instance, "Running")
        return cloud.system_disk(instance)

    def traced(disk):
        return json.loads(service.cli("disk", "hydration", disk, "--json").stdout)["TracedChunks"]

    first = new_machine()
    assert traced(first) == 0, "nobody has read it before"
    with service.client(first) as client:
        for at in (9, 2, 30, 17, 5):
            client.read(at * MIB, 4096)
    service.stop()
    service.start()
    second = new_machine()
    wait_until(lambda: traced(second) == 5, "the second disk is filled by the first one's trace")


# The bootable image.


@pytest.fixture(scope="module")
def small_image(tmp_path_factory):
    """Built once; its packages are fetched once for each target directory."""
    image = tmp_path_factory.mktemp("built") / "small.raw"
    built = run(BINARY, "image", "build", image, "--cache", TARGET / "guest-packages", "--json", timeout=900)
    assert json.loads(built.stdout)["Size"] == GIB == image.stat().st_size
    yield image
    image.unlink()


# A metadata service that knows one instance and wants tokens: a process for each request.
METADATA = """import sys
said = {
    "GET /2016-01-01/meta-data/instance-id": "i-bp1small",
    "GET /2016-01-01/meta-data/hostname": "small-guest",
    "GET /2016-01-01/user-data": "#!/bin/sh\\necho HELLO from $(hostname)\\n\\nexit 7\\n",
    "PUT /latest/api/token": "dG9rZW4=",
}
line, *headers = [line.strip() for line in iter(sys.stdin.readline, "\\r\\n")]
body = said.get(line.removesuffix(" HTTP/1.0"))
wanted = "X-aliyun-ecs-metadata-token: dG9rZW4=" if line.startswith("GET") else "X-aliyun-ecs-metadata-token-ttl-seconds: 600"
status = "404 Not Found" if body is None else "200 OK" if wanted in headers else "401 Unauthorized"
print("HTTP/1.0 " + status, "Content-Type: text/plain", "", "", sep="\\r\\n", end="")
print(body or "", end="", flush=True)
"""


class Machine(Guest):
    """QEMU as anybody would start it with a raw disk: SeaBIOS, virtio, a serial console; emulated.

    Its network is in QEMU and leads to the metadata service alone.
    """

    def __init__(self, where, disk):
        self.monitor, self.agent = where / "qmp", where / "agent"
        command = ["qemu-system-x86_64", "-accel", "tcg", "-m", "256M", "-nodefaults", "-no-user-config", "-no-reboot"]
        command += ["-display", "none", "-serial", "stdio", "-drive", f"file={disk},format=raw,if=virtio"]
        command += ["-qmp", f"unix:{self.monitor},server=on,wait=off", "-device", "virtio-serial-pci"]
        command += ["-chardev", f"socket,path={self.agent},server=on,wait=off,id=agent"]
        command += ["-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"]
        (where / "metadata.py").write_text(METADATA)
        metadata = f"guestfwd=tcp:100.100.100.200:80-cmd:{sys.executable} {where}/metadata.py"
        command += ["-netdev", f"user,id=net,restrict=on,net=100.100.100.0/24,{metadata}", "-device", "virtio-net-pci,netdev=net"]
        self.start(command)

    def durable(self):
        """The last record that it said to be durable."""
        found = [int(match[1]) for line in list(self.lines) if (match := re.fullmatch(r"DURABLE (\d+)", line))]
        return found[-1] if found else 0

    def power_button(self):
        with Words(self.monitor) as qmp:
            qmp.ask("qmp_capabilities")
            qmp.ask("system_powerdown")


class Words:
    """Questions and answers in JSON over a unix socket: QMP, and the guest agent."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(str(path))
        self.lines = self.sock.makefile("rb")

    def ask(self, what):
        self.sock.sendall(json.dumps({"execute": what}).encode() + b"\n")
        while True:
            answer = json.loads(self.lines.readline())
            assert "error" not in answer, answer
            if "return" in answer:
                return answer["return"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.lines.close()
        self.sock.close()


def partition(disk, number):
    """Where a partition begins."""
    entry = disk.open("rb").read(512)[446 + 16 * (number - 1) :][:16]
    return struct.unpack("<I", entry[8:12])[0] * 512


def check_records(scratch, lines, ended=True):
    """What the guest says of a file of records; its own script under busybox, as there."""
    (scratch / "records").write_text("\n".join(lines) + ("\n" if ended else ""))
    words = ["-v", "what=check", "-v", f"ended={'yes' if ended else 'no'}", "-v", f"result={scratch}/result", "-f", RECORDS]
    return run("busybox", "awk", *words, scratch / "records").stdout.split("\n")[:-1]


def test_the_built_image_boots_and_remembers(small_image, scratch):
    disk = scratch / "disk.raw"
    run("cp", "--sparse=always", small_image, disk)
    machine = Machine(scratch, disk)
    try:
        machine.said("TIDEMARK-GUEST READY", timeout=60)
        machine.said("^FOUND 0$")
        assert not any("MODULE" in line or "DATA MISSING" in line for line in machine.lines), machine.text()
        machine.said(r"^NETWORK 100\.100\.100\.\d+$")
        machine.said("^INSTANCE-ID i-bp1small$")
        machine.said("^HOSTNAME small-guest$")
        machine.said("^HELLO from small-guest$")
        machine.said("^USER-DATA ran 7$")
        wait_until(lambda: machine.durable() >= 10, f"ten records are durable:\n{machine.text()}", timeout=60)
    finally:
        machine.end()  # kill -9
    machine.reader.join(30)
    promised = machine.durable()

    machine = Machine(scratch, disk)
    try:
        found = int(machine.said(r"^(?:FOUND|DAMAGED.*) ?(\d+)", timeout=60)[1])
        assert not any("DAMAGED" in line for line in machine.lines), machine.text()
        assert promised <= found <= promised + 1, "all that was promised, and at most the one that was under way"
        machine.said("^INSTANCE-ID i-bp1small$")
        assert not any("USER-DATA" in line for line in machine.lines), "it ran for this instance"
        wait_until(lambda: machine.durable() > found, "it goes on after what it found", timeout=60)
        # The agent can hold the file system still; no record becomes durable meanwhile.
        machine.said("AGENT started")
        with Words(machine.agent) as agent:
            assert agent.ask("guest-fsfreeze-freeze") == 1
            held = machine.durable()
            assert agent.ask("guest-fsfreeze-status") == "frozen"
            assert machine.durable() <= held + 1, "a line may have been on its way"
            assert agent.ask("guest-fsfreeze-thaw") == 1
        wait_until(lambda: machine.durable() > held + 2, "it goes on after the thaw", timeout=60)
        machine.power_button()
        machine.said("TIDEMARK-GUEST DOWN clean")
        assert machine.process.wait(30) == 0, "the power went off"
    finally:
        machine.end()
    machine.reader.join(30)
    last = machine.durable()

    # What is on the disk, without the guest.
    place = f"{disk}?offset={partition(disk, 2)}"
    checked = run("e2fsck", "-fn", place, check=False)
    assert checked.returncode == 0, checked.stdout
    assert "needs_recovery" not in run("debugfs", "-R", "stats -h", place).stdout, "it was unmounted"
    lines = run("debugfs", "-R", "cat /records", place).stdout.split("\n")[:-1]
    assert last <= len(lines) <= last + 1
    assert check_records(scratch, lines) == [f"FOUND {len(lines)}"]
    assert (scratch / "result").read_text() == f"{len(lines)} {sum(len(line) + 1 for line in lines)}\n"


def test_what_a_guest_made_durable_is_in_the_image_of_its_snapshot(service, v3, small_image, scratch):
    """The built image imported, an instance of it, a guest on its disk; a snapshot while it writes, an image of that, a second guest."""

    def guest_of(image):
        answer = v3.call("RunInstances", RegionId=REGION, InstanceType="tidemark.external", ImageId=image)
        (instance,) = answer["InstanceIdSets"]["InstanceIdSet"]
        v3.wait_instance(instance, "Running")
        disk = v3.system_disk(instance)
        return instance, disk, Machine(scratch, service.uri(disk))

    image = import_file(service, small_image, "--boot-mode", "BIOS")["ImageId"]
    instance, disk, machine = guest_of(image)
    try:
        wait_until(lambda: machine.durable() >= 5, "five records are durable", timeout=60)
        promised = machine.durable()
        snapshot = v3.call("CreateSnapshot", DiskId=disk)["SnapshotId"]
        at_most = machine.durable()
    finally:
        machine.end()
    v3.wait_snapshot(snapshot)
    v3.call("DeleteInstance", InstanceId=instance, Force=True)
    image = v3.call("CreateImage", RegionId=REGION, SnapshotId=snapshot, BootMode="BIOS")["ImageId"]
    _, _, machine = guest_of(image)
    try:
        found = int(machine.said(r"^(?:FOUND|DAMAGED.*) ?(\d+)", timeout=60)[1])
        assert promised <= found <= at_most + 2, machine.text()
        wait_until(lambda: machine.durable() > found, "it goes on after what it found", timeout=60)
    finally:
        machine.end()


def test_records_that_are_not_what_was_written(small_image, scratch):
    # Made by the guest's own function, with what it says of them the other way round.
    script = scratch / "make.awk"
    script.write_text(RECORDS.read_text() + '\nBEGIN { for (n = 1; n <= 5; n++) print record(n) }\n')
    lines = run("busybox", "awk", "-f", script, "-v", "what=make", input="").stdout.split("\n")[:-1]
    assert len(lines) == 5
    assert check_records(scratch, lines) == ["FOUND 5"]
    assert check_records(scratch, lines[:4] + [lines[4][:9]], ended=False) == ["TORN 4", "FOUND 4"]
    assert check_records(scratch, lines, ended=False) == ["TORN 4", "FOUND 4"], "a line without its end"
    assert check_records(scratch, lines[:2] + lines[3:]) == ["DAMAGED record 3 of 4"], "a gap"
    assert check_records(scratch, [lines[0], lines[1].replace(" ", "_"), *lines[2:]]) == ["DAMAGED record 2 of 5"]
    assert check_records(scratch, [lines[0], "x", lines[2]], ended=False) == ["DAMAGED record 2 of 3"]


def test_a_build_says_what_it_lacks_and_is_always_the_same(small_image, scratch):
    again = scratch / "again.raw"
    words = ["image", "build", again, "--cache", TARGET / "guest-packages"]
    run(BINARY, *words)
    assert digest(again, GIB) == digest(small_image, GIB)
    refused = run(BINARY, *words, check=False)
    assert refused.returncode == 1 and "--force" in refused.stderr
    again.unlink()
    refused = run(BINARY, *words, "--size", "100M", check=False)
    assert refused.returncode == 1 and "256 MiB" in refused.stderr
    empty = scratch / "empty"
    empty.mkdir()
    refused = run(BINARY, *words, check=False, env={"PATH": str(empty), "HOME": str(scratch)})
    assert not again.exists() and sorted(os.listdir(scratch)) == ["empty"]
    # Tools are found in the usual places of an administrator, too; mcopy and syslinux are in none of these.
    assert refused.returncode == 1 and "apt-get install" in refused.stderr and "mtools" in refused.stderr
