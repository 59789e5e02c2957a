"""An external instance as it sees itself: it speaks to the metadata service from its own address."""

import contextlib
import http.client
import json
import os

import urllib3.connection
from service import REGION, ZONE, wait_until
from signed import Wire

RAM = "2015-05-01"
# Lets instances have a role.
TRUST = json.dumps(
    {
        "Version": "1",
        "Statement": {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": ["ecs.aliyuncs.com"]}},
    }
)
TOKEN, SECONDS = "X-aliyun-ecs-metadata-token", "X-aliyun-ecs-metadata-token-ttl-seconds"


def call(service, action, version="2014-05-26", **parameters):
    """One call of the API as the root key; the answer's body."""
    answer = Wire(service).call(action, {name: str(value) for name, value in parameters.items()}, method="POST", Version=version)
    assert answer.status == 200, (action, answer.text)
    return answer.body


class Instance:
    """Running, with an address of this machine's loopback network."""

    def __init__(self, service, address, **more):
        self.service, self.address = service, address
        asked = {"RegionId": REGION, "ZoneId": ZONE, "InstanceType": "tidemark.external", "PrivateIpAddress": address, **more}
        (self.id,) = call(service, "RunInstances", **asked)["InstanceIdSets"]["InstanceIdSet"]
        self.wait("Running")

    @property
    def row(self):
        (row,) = call(self.service, "DescribeInstances", RegionId=REGION, InstanceIds=json.dumps([self.id]))["Instances"]["Instance"]
        return row

    def wait(self, status):
        wait_until(lambda: self.row["Status"] == status, f"instance {self.id} becomes {status}")

    @property
    def url(self):
        return f"http://127.0.0.1:{self.service.metadata_port}"

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.service.metadata_port, timeout=10, source_address=(self.address, 0))

    def ask(self, path, method="GET", **headers):
        """Status and body of one request, on a connection of its own."""
        connection = self.connect()
        try:
            connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def get(self, path, **headers):
        """A value that must be there, as text."""
        status, body = self.ask(f"/latest/{path}", **headers)
        assert status == 200, (path, status, body)
        return body.decode()

    def token(self, seconds=21600):
        status, body = self.ask("/latest/api/token", "PUT", **{SECONDS: str(seconds)})
        assert status == 200, body
        return body.decode()

    def walk(self, path="/2016-01-01/meta-data/"):
        """Every value below a directory, by path."""
        found = {}
        for entry in self.ask(path)[1].decode().splitlines():
            below = path + entry
            if entry.endswith("/"):
                found.update(self.walk(below))
            else:
                status, body = self.ask(below)
                assert status == 200, below
                found[below] = body
        return found


@contextlib.contextmanager
def source_address(address):
    """What this process asks by `requests` comes from there: a library that cannot be told where it is."""
    module = urllib3.connection.connection
    usual = module.create_connection

    def create(target, timeout=None, source_address=None, socket_options=None):
        return usual(target, timeout, (address, 0), socket_options)

    module.create_connection = create
    # A proxy of the surroundings would hide who asks.
    proxies = {name: os.environ.pop(name) for name in list(os.environ) if name.lower().endswith("_proxy")}
    try:
        yield
    finally:
        module.create_connection = usual
        os.environ.update(proxies)
