"""A Ceph cluster of one: monitor, manager, one OSD and a RADOS gateway on the loopback, from Debian's packages."""

import datetime
import hashlib
import hmac
import os
import pathlib
import subprocess
import urllib.request
import uuid

from service import free_port, run, wait_until

KEY, SECRET, BUCKET, REGION = "cephkey", "cephsecret", "vault-bucket", "us-east-1"
CAPS = {
    "mon.": {"mon": "allow *"},
    "client.admin": {"mon": "allow *", "mgr": "allow *", "osd": "allow *", "mds": "allow *"},
    "mgr.x": {"mon": "allow profile mgr", "osd": "allow *", "mds": "allow *"},
    "osd.0": {"mon": "allow profile osd", "mgr": "allow profile osd", "osd": "allow *"},
    "client.rgw": {"mon": "allow rw", "mgr": "allow rw", "osd": "allow rwx"},
}
NEEDED = ["ceph", "ceph-authtool", "ceph-mon", "ceph-mgr", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin"]


class Ceph:
    """Everything of it is below one directory, and nothing of it listens anywhere but on 127.0.0.1."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.port, self.mon_port = free_port(), free_port()
        self.fsid, self.daemons = str(uuid.uuid4()), {}
        self.conf = self.directory / "ceph.conf"

    def start(self):
        for name in ("mon", "mgr", "osd", "rgw", "run"):
            (self.directory / name).mkdir(parents=True)
        self.conf.write_text(self.configuration())
        monmap = self.directory / "monmap"
        address = f"[v2:127.0.0.1:{self.mon_port}/0]"
        run("monmaptool", "--create", "--fsid", self.fsid, "--addv", "a", address, monmap)
        keyring = self.directory / "keyring"
        run("ceph-authtool", "--create-keyring", keyring)
        for name, caps in CAPS.items():
            words = [word for part, cap in caps.items() for word in ("--cap", part, cap)]
            run("ceph-authtool", keyring, "--gen-key", "-n", name, *words)
        self.tool("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", keyring)
        self.daemon("mon", "ceph-mon", "-i", "a")
        self.tool("ceph", "config", "set", "mon", "mon_allow_pool_size_one", "true")
        self.daemon("mgr", "ceph-mgr", "-i", "x")
        osd = str(uuid.uuid4())
        self.tool("ceph", "osd", "new", osd)
        self.tool("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        self.daemon("osd", "ceph-osd", "-i", "0")
        wait_until(lambda: "1 up" in self.tool("ceph", "osd", "stat").stdout, "the OSD is up", 120, step=1)
        self.tool("radosgw-admin", "user", "create", "--uid=t", "--display-name=t", f"--access-key={KEY}", f"--secret={SECRET}")
        self.start_gateway()
        self.make_bucket()
        return self

    def start_gateway(self):
        self.daemon("rgw", "radosgw", "-n", "client.rgw")
        wait_until(self.answers, "the gateway answers", 120, step=0.5)

    def configuration(self):
        here = self.directory
        return f"""[global]
fsid = {self.fsid}
mon host = [v2:127.0.0.1:{self.mon_port}/0]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
keyring = {here}/keyring
run dir = {here}/run
admin socket = {here}/run/$name.asok
log file = {here}/$name.log
log to stderr = false
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd crush chooseleaf type = 0
mon allow pool size one = true
mon data = {here}/mon
mon pg warn min per osd = 0
mgr data = {here}/mgr
mgr initial modules =
osd data = {here}/osd
osd objectstore = bluestore
bluestore block size = 10737418240
osd memory target = 939524096
osd class load list = *
osd class default list = *
[client.rgw]
rgw data = {here}/rgw
rgw frontends = beast endpoint=127.0.0.1:{self.port}
"""

    def tool(self, *command):
        program, *rest = command
        return run(program, "--conf", self.conf, *rest, timeout=120)

    def daemon(self, name, *command):
        program, *rest = command
        with open(self.directory / f"{name}.out", "ab") as out:
            words = [program, "--conf", str(self.conf), "-f", *map(str, rest)]
            self.daemons[name] = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    def kill_gateway(self):
        gateway = self.daemons.pop("rgw")
        gateway.kill()
        gateway.wait(60)

    def stop(self):
        # In this order none waits for another.
        for name in ("rgw", "osd", "mgr", "mon"):
            daemon = self.daemons.pop(name, None)
            if daemon is not None:
                daemon.kill()
                daemon.wait(60)

    def answers(self):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=5).read()
            return True
        except OSError:
            for name, daemon in self.daemons.items():
                assert daemon.poll() is None, f"{name} ended:\n" + (self.directory / f"{name}.out").read_text()
            return False

    def url(self, options=""):
        return f"s3://{BUCKET}/tidemark?endpoint=http://127.0.0.1:{self.port}{options}"

    @property
    def env(self):
        return {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}

    def make_bucket(self):
        """PUT /bucket, signed (AWS Signature Version 4): the administrator's tool cannot make one."""
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        host, empty = f"127.0.0.1:{self.port}", hashlib.sha256(b"").hexdigest()
        headers = {"host": host, "x-amz-content-sha256": empty, "x-amz-date": now}
        names = ";".join(headers)
        lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
        canonical = f"PUT\n/{BUCKET}\n\n{lines}\n{names}\n{empty}"
        scope = f"{now[:8]}/{REGION}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        key = f"AWS4{SECRET}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        signature = hmac.new(key, text.encode(), "sha256").hexdigest()
        credential = f"AWS4-HMAC-SHA256 Credential={KEY}/{scope}, SignedHeaders={names}, Signature={signature}"
        request = urllib.request.Request(f"http://{host}/{BUCKET}", method="PUT", headers=headers)
        request.add_header("Authorization", credential)
        urllib.request.urlopen(request, timeout=60).read()


def missing():
    """Programs that are not installed."""
    paths = os.environ["PATH"].split(":")
    return [name for name in NEEDED if not any((pathlib.Path(path) / name).exists() for path in paths)]
