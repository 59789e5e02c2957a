"""The metadata service, asked as instances ask it: from their own addresses, by curl, by a credential library, by cloud-init."""

import base64
import json
import os
import pathlib
import socket
import subprocess
import sys
import time

import pytest
from alibabacloud_credentials.provider.ecs_ram_role import EcsRamRoleCredentialsProvider
from cloud import Cloud
import clients
from instance import RAM, SECONDS, TOKEN, TRUST, Instance, call, source_address
from service import BINARY, REGION, Service, free_port, run, wait_until

CLOUD_INIT = pathlib.Path(os.environ.get("TIDEMARK_CLOUD_INIT", "target/cloud-init"))
NOBODY = (404, b"404 No running instance has this address")


@pytest.fixture(scope="module")
def own():
    """A service of its own: instances with addresses would be in other tests' way."""
    service = Service()
    try:
        yield service.start()
        assert "panicked" not in service.log.read_text(errors="replace")
    finally:
        service.destroy()


def test_an_instance_reads_what_the_api_has_of_it(own):
    box = Instance(own, "127.0.0.5", InstanceName="box", HostName="web-1", **{"Tag.1.Key": "team", "Tag.1.Value": "red"})
    row = box.row
    # As users' scripts do it; no line break at the end.
    asked = run("curl", "-s", "--interface", box.address, f"{box.url}/latest/meta-data/instance-id")
    assert asked.stdout == box.id
    for path, value in {
        "instance/instance-name": "box",
        "instance/instance-type": row["InstanceType"],
        "hostname": "web-1",
        "serial-number": row["SerialNumber"],
        "region-id": row["RegionId"],
        "zone-id": row["ZoneId"],
        "image-id": row["ImageId"],
        "private-ipv4": box.address,
        "network-type": "vpc",
        "vswitch-id": row["VpcAttributes"]["VSwitchId"],
        "sub-private-ipv4-list": "",
    }.items():
        assert box.get(f"meta-data/{path}") == value, path
    mac = box.get("meta-data/mac")
    (card,) = row["NetworkInterfaces"]["NetworkInterface"]
    assert (card["MacAddress"], card["PrimaryIpAddress"]) == (mac, box.address)
    assert card["NetworkInterfaceId"] == box.get(f"meta-data/network/interfaces/macs/{mac}/network-interface-id")
    assert box.get("meta-data/network/interfaces/macs/") == f"{mac}/"
    assert json.loads(box.get(f"meta-data/network/interfaces/macs/{mac}/private-ipv4s")) == [box.address]
    assert box.ask("/") == (200, b"2016-01-01\nlatest")
    assert box.ask("/latest/meta-data") == box.ask("/2016-01-01/meta-data/")

    # The serial is what the guest sees of the disk; a disk that is detached is gone.
    cloud = Cloud(own)
    disk = cloud.new_disk(20, DiskName="data")
    cloud.attach(box.id, disk)
    serial = disk.removeprefix("d-")
    assert f"{serial}/" in box.get("meta-data/disks/").splitlines()
    assert (box.get(f"meta-data/disks/{serial}/id"), box.get(f"meta-data/disks/{serial}/name")) == (disk, "data")
    cloud.detach(box.id, disk)
    assert box.ask(f"/latest/meta-data/disks/{serial}/id")[0] == 404

    # All of it at once is the same as one by one.
    whole = json.loads(box.get("meta-data/all"))
    walked = box.walk()
    for path, body in walked.items():
        place = whole
        for part in path.removeprefix("/2016-01-01/meta-data/").split("/"):
            place = place[part]
        assert place == body.decode(), path

    # What there is none of is not there, and nothing answers 200 with an excuse.
    for path in ("user-data", "vendor-data", "meta-data/eipv4", "meta-data/ram/", "meta-data/tags/instance/team",
                 "meta-data/instance/spot/termination-time", "meta-data/region-id/", "meta-data/Region-Id", "nothing"):  # fmt: skip
        assert box.ask(f"/latest/{path}")[0] == 404, path
    assert box.ask("/2014-01-01/meta-data/")[0] == 404
    assert box.get("maintenance/active-system-events") == "None"

    # A change by the API is seen by the next request.
    call(own, "ModifyInstanceMetadataOptions", RegionId=REGION, InstanceId=box.id, HttpEndpoint="enabled", InstanceMetadataTags="enabled")
    assert box.get("meta-data/tags/instance/") == "team" and box.get("meta-data/tags/instance/team") == "red"
    call(own, "ModifyInstanceAttribute", InstanceId=box.id, HostName="web-2")
    assert box.get("meta-data/hostname") == "web-2"
    for method in ("POST", "PUT", "DELETE", "HEAD"):
        assert box.ask("/latest/meta-data/hostname", method)[0] == 405, method


def test_nobody_sees_anothers_data(own):
    one = Instance(own, "127.0.1.1", InstanceName="one", UserData=base64.b64encode(b"secret of one").decode())
    two = Instance(own, "127.0.1.2", InstanceName="two", UserData=base64.b64encode(b"secret of two").decode())
    for own_self, other in ((one, two), (two, one)):
        seen = b"\n".join([*own_self.walk().values(), own_self.ask("/latest/user-data")[1], own_self.ask("/latest/dynamic/instance-identity/document")[1]])
        assert own_self.id.encode() in seen and own_self.address.encode() in seen
        for secret in (other.id, other.row["SerialNumber"], f"secret of {other.row['InstanceName']}"):
            assert secret.encode() not in seen
        # Whatever the request says of who it is.
        for header in ("X-Forwarded-For", "X-Real-IP", "Forwarded", "Host"):
            assert own_self.ask("/latest/meta-data/instance-id", **{header: other.address})[1] == own_self.id.encode()
        assert own_self.ask("/latest/meta-data/instance-id", **{TOKEN: other.token()})[0] == 401

    # An address that no instance has; one that is not running; and one that two have.
    one.address, at = "127.0.1.3", one.address
    assert one.ask("/latest/meta-data/instance-id") == NOBODY and one.ask("/") == NOBODY
    one.address = at
    call(own, "StopInstance", InstanceId=one.id)
    one.wait("Stopped")
    assert one.ask("/latest/meta-data/instance-id") == NOBODY
    call(own, "StartInstance", InstanceId=one.id)
    one.wait("Running")
    assert one.get("meta-data/instance-id") == one.id
    twin = Instance(own, one.address)
    assert one.ask("/latest/meta-data/instance-id") == NOBODY
    assert f"two running instances have one address" in own.log.read_text()
    call(own, "DeleteInstance", InstanceId=twin.id, Force="true")
    wait_until(lambda: one.ask("/latest/meta-data/instance-id")[1] == one.id.encode(), "it alone has the address again")


def test_tokens(own):
    box = Instance(own, "127.0.2.1")
    path = "/latest/meta-data/instance-id"
    token = box.token()
    assert len(token) <= 256 and token.isprintable() and "\n" not in token
    assert box.ask(path)[0] == box.ask(path, **{TOKEN: token})[0] == box.ask(path, **{TOKEN.upper(): token})[0] == 200
    # A wrong one is refused, needed or not: cloud-init then gets a new one.
    for wrong in ("", "x", token[:-1], token + "x", token[::-1]):
        assert box.ask(path, **{TOKEN: wrong})[0] == 401, wrong
    for seconds in ("0", "21601", "-1", "ten", "1.5", ""):
        assert box.ask("/latest/api/token", "PUT", **{SECONDS: seconds}) == (400, b"Missing or Invalid Parameters"), seconds
    assert box.ask("/latest/api/token", "PUT") == (400, b"Missing or Invalid Parameters")
    assert box.ask("/latest/api/token", "PUT", **{SECONDS: "60", "X-Forwarded-For": "10.0.0.1"})[0] == 403
    assert box.ask("/latest/api/token")[0] == 405

    call(own, "ModifyInstanceMetadataOptions", RegionId=REGION, InstanceId=box.id, HttpEndpoint="enabled", HttpTokens="required")
    for locked in (path, "/", "/latest/user-data", "/2016-01-01/meta-data/"):
        assert box.ask(locked)[0] == 403, locked
        assert box.ask(locked, **{TOKEN: token})[0] in (200, 404), locked
    short = box.token(seconds=1)
    assert box.ask(path, **{TOKEN: short})[0] == 200
    wait_until(lambda: box.ask(path, **{TOKEN: short})[0] == 401, "a token of one second ends", timeout=10)

    call(own, "ModifyInstanceMetadataOptions", RegionId=REGION, InstanceId=box.id, HttpEndpoint="disabled")
    for closed in (path, "/", "/latest/nothing"):
        assert box.ask(closed, **{TOKEN: token})[0] == 403, closed
    assert box.ask("/latest/api/token", "PUT", **{SECONDS: "60"})[0] == 403


def test_a_token_goes_one_hop_unless_more_are_allowed(own):
    """Read off the packets, which takes root, as the tests have for mounts."""
    box = Instance(own, "127.0.2.2", HttpPutResponseHopLimit="1")

    def hops(method, path, **headers):
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
        raw.settimeout(10)
        with raw:
            raw.bind((box.address, 0))
            assert box.ask(path, method, **headers)[0] == 200
            while True:
                packet = raw.recv(65536)
                from_port = int.from_bytes(packet[20:22], "big")
                if from_port == own.metadata_port and b"HTTP/1.1 200" in packet:
                    return packet[8]

    usual = hops("GET", "/latest/meta-data/mac")
    assert usual > 1
    assert hops("PUT", "/latest/api/token", **{SECONDS: "60"}) == 1
    call(own, "ModifyInstanceMetadataOptions", RegionId=REGION, InstanceId=box.id, HttpEndpoint="enabled", HttpPutResponseHopLimit=2)
    assert hops("PUT", "/latest/api/token", **{SECONDS: "60"}) == usual


def test_user_data_is_given_byte_for_byte(own):
    data = bytes(range(256)) * 64 + b"\r\n\0"
    box = Instance(own, "127.0.3.1", UserData=base64.b64encode(data).decode())
    assert box.ask("/latest/user-data") == (200, data)
    assert box.ask("/2016-01-01/user-data") == (200, data)


def test_the_identity_document_is_signed(own, tmp_path):
    box = Instance(own, "127.0.4.1")
    document = box.get("dynamic/instance-identity/document")
    facts = json.loads(document)
    assert list(facts) == [
        "zone-id", "serial-number", "instance-id", "region-id", "private-ipv4", "owner-account-id", "mac", "image-id", "instance-type",
    ]  # fmt: skip
    assert (facts["instance-id"], facts["private-ipv4"], facts["mac"]) == (box.id, box.address, box.get("meta-data/mac"))
    certificate = own.data / "metadata-identity.pem"
    assert (own.data / "metadata-identity.key").stat().st_mode & 0o777 == 0o600

    def verify(signature, *how):
        """With lines around it, as the vendor's own instructions have it."""
        pem = tmp_path / "pkcs7"
        pem.write_text(f"-----BEGIN CERTIFICATE-----\n{signature}\n-----END CERTIFICATE-----\n")
        words = ["openssl", "smime", "-verify", "-inform", "PEM", "-in", pem, "-certfile", certificate, "-noverify", *how]
        return run(*words, check=False)

    signature = box.get("dynamic/instance-identity/pkcs7")
    content = tmp_path / "document"
    content.write_text(document)
    assert verify(signature, "-content", content).returncode == 0
    assert verify(signature).stdout == document
    content.write_text(document.replace(box.id, "i-other"))
    assert verify(signature, "-content", content).returncode != 0
    said = box.get("dynamic/instance-identity/pkcs7?audience=an%20%22app%22&x=1")
    assert json.loads(verify(said).stdout) == {**facts, "audience": 'an "app"'}
    assert verify(said).stdout == document.removesuffix("}") + ',"audience":"an \\"app\\""}'


def test_a_role_gives_keys_that_work(own):
    call(own, "CreateRole", RAM, RoleName="reader", AssumeRolePolicyDocument=TRUST)
    call(own, "AttachPolicyToRole", RAM, RoleName="reader", PolicyName="AliyunECSReadOnlyAccess", PolicyType="System")
    box = Instance(own, "127.0.5.1", RamRoleName="reader")
    listing = "meta-data/ram/security-credentials/"
    assert box.get(listing) == "reader" == box.get("meta-data/Ram/security-credentials/")
    keys = json.loads(box.get(listing + "reader"))
    assert set(keys) == {"AccessKeyId", "AccessKeySecret", "Expiration", "SecurityToken", "LastUpdated", "Code"}
    assert keys["Code"] == "Success" and keys["AccessKeyId"].startswith("STS.")
    ends, made = (time.mktime(time.strptime(keys[name], "%Y-%m-%dT%H:%M:%SZ")) for name in ("Expiration", "LastUpdated"))
    assert ends - made == 6 * 3600
    assert json.loads(box.get(listing + "reader")) == keys
    assert box.ask(f"/latest/{listing}other")[0] == 404
    assert "ram" not in json.loads(box.get("meta-data/all"))

    # A role may be read by its instance alone, and needs to let instances in.
    bare = Instance(own, "127.0.5.2")
    assert bare.ask(f"/latest/{listing}reader")[0] == 404
    assert "ram/" not in bare.get("meta-data/").splitlines()

    # The vendor's own library finds them by itself; they work, and do what the role may, no more.
    provider = EcsRamRoleCredentialsProvider(async_update_enabled=False)
    provider._EcsRamRoleCredentialsProvider__metadata_service_host = box.url.removeprefix("http://")
    for tokens in ("optional", "required"):
        call(own, "ModifyInstanceMetadataOptions", RegionId=REGION, InstanceId=box.id, HttpEndpoint="enabled", HttpTokens=tokens)
        with source_address(box.address):
            found = provider.get_credentials()
        assert found.get_access_key_id() == keys["AccessKeyId"] and found.get_provider_name() == "ecs_ram_role"
    for sdk in (clients.V3, clients.V1):
        as_box = Cloud(own, lambda s: sdk(s, found.get_access_key_id(), found.get_access_key_secret(), found.get_security_token()))
        assert as_box.instance(box.id)["InstanceId"] == box.id
        with pytest.raises(clients.EcsError) as refused:
            as_box.call("StopInstance", InstanceId=box.id)
        assert (refused.value.status, refused.value.code) == (403, "Forbidden.RAM")


def test_a_key_pair_lets_its_holder_in(own, tmp_path):
    private = tmp_path / "web"
    made = json.loads(own.cli("keypair", "create", "web", "--to", private, "--json").stdout)
    assert "PrivateKeyBody" not in made and private.stat().st_mode & 0o777 == 0o600
    # The private key fits the public one, and the finger print is the key's.
    public = run("ssh-keygen", "-y", "-f", private).stdout.split()[:2]
    print_of = run("ssh-keygen", "-l", "-E", "md5", "-f", private).stdout.split()[1]
    assert print_of == f"MD5:{made['KeyPairFingerPrint']}"
    box = Instance(own, "127.0.6.1", KeyPairName="web")
    (entry,) = box.get("meta-data/public-keys/").splitlines()
    assert box.get(f"meta-data/public-keys/{entry}openssh-key").split()[:2] == public

    run("ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", tmp_path / "home")
    own.cli("keypair", "import", "home", tmp_path / "home.pub")
    own.cli("keypair", "attach", "home", box.id)
    (entry,) = box.get("meta-data/public-keys/").splitlines()
    assert box.get(f"meta-data/public-keys/{entry}openssh-key") == (tmp_path / "home.pub").read_text().strip()
    assert "bound to the instance" in own.cli("keypair", "delete", "home", check=False).stderr
    assert "home" in own.cli("keypair", "list").stdout
    own.cli("keypair", "detach", "home", box.id)
    assert box.ask("/latest/meta-data/public-keys/")[0] == 404
    own.cli("keypair", "delete", "home", "web")
    assert own.cli("keypair", "list").stderr == "no key pairs\n"


def test_one_that_asks_too_often_is_held_back_alone(own):
    box, other = Instance(own, "127.0.7.1"), Instance(own, "127.0.7.2")
    connection = box.connect()
    answers = []
    for _ in range(400):
        connection.request("GET", "/latest/meta-data/mac")
        answer = connection.getresponse()
        answer.read()
        answers.append(answer.status)
        if answer.status == 429:
            break
    else:
        pytest.fail("nobody was held back: 400 requests in a row were answered")
    assert set(answers) == {200, 429} and len(answers) > 100
    assert other.ask("/latest/meta-data/mac")[0] == 200
    wait_until(lambda: box.ask("/latest/meta-data/mac")[0] == 200, "it may ask again", timeout=10)


def test_a_restart_changes_nothing_for_an_instance(new_service, tmp_path):
    config = tmp_path / "tidemark.toml"
    config.write_text('[metadata]\nnameservers = ["10.0.0.2", "10.0.0.3"]\nsource-addresses = ["http://mirror.example/debian"]\n')
    service = new_service(extra=["--config", str(config)])
    assert f"metadata http://127.0.0.1:{service.metadata_port}" in service.ready_line
    box = Instance(service, "127.0.8.1")
    assert box.get("meta-data/dns-conf/nameservers") == "10.0.0.2\r\n10.0.0.3"
    assert box.get("meta-data/source-address") == "http://mirror.example/debian"
    assert "ntp-conf/" not in box.get("meta-data/").splitlines()
    token, mac = box.token(), box.get("meta-data/mac")
    certificate = (service.data / "metadata-identity.pem").read_text()
    service.kill()
    service.start()
    assert box.get("meta-data/mac", **{TOKEN: token}) == mac
    assert (service.data / "metadata-identity.pem").read_text() == certificate
    service.stop()


def test_the_usual_port_may_be_taken_and_a_named_one_may_not(tmp_path):
    taken = socket.socket()
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind(("127.0.0.1", 7481))
        taken.listen()
    except OSError:
        pass  # By somebody else, which is as good.
    with taken:
        words = [BINARY, "up", "--listen", f"127.0.0.1:{free_port()}", "--data-dir"]
        ended = subprocess.run([*words, tmp_path / "a", "--metadata-listen", "127.0.0.1:7481"], capture_output=True, text=True, timeout=60)
        assert ended.returncode == 1 and "127.0.0.1:7481 is in use" in ended.stderr and "ready:" not in ended.stdout
        service = subprocess.Popen([*words, tmp_path / "b"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            assert service.stdout.readline().startswith("ready: ")
        finally:
            service.terminate()
            _, log = service.communicate(timeout=60)
        assert "the metadata service does not listen: 127.0.0.1:7481 is in use" in log


def probe(box, cloud_init, directory):
    """What cloud-init's data source makes of the instance."""
    here = pathlib.Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": f"{cloud_init}:{here}"}
    done = run(sys.executable, here / "cloudinit_probe.py", box.url, box.address, directory, env=environment, timeout=120)
    return json.loads(done.stdout)


def test_cloud_init_reads_all_that_it_needs(own, tmp_path):
    """Debian's, which walks the tree without a token."""
    user_data = b"#cloud-config\nruncmd:\n - [touch, /done]\n"
    own.cli("keypair", "create", "cloud", "--to", tmp_path / "cloud.pem")
    box = Instance(own, "127.0.9.1", HostName="cloudy", KeyPairName="cloud", UserData=base64.b64encode(user_data).decode())
    (entry,) = box.get("meta-data/public-keys/").splitlines()
    found = probe(box, CLOUD_INIT.absolute() / "usr/lib/python3/dist-packages", tmp_path)
    assert found == {
        "found": True,
        "hostname": "cloudy",
        "instance": box.id,
        "keys": [box.get(f"meta-data/public-keys/{entry}openssh-key")],
        "user_data": base64.b64encode(user_data).decode(),
        "macs": [box.get("meta-data/mac")],
    }


@pytest.mark.parametrize("tokens", ["optional", "required"])
def test_what_newer_cloud_init_asks_is_answered_as_it_needs(own, tokens):
    """Its own data source of this platform, request by request: the token first, always; then data; all at once."""
    address = {"optional": "127.0.9.2", "required": "127.0.9.3"}[tokens]
    user_data = b"#!/bin/sh\n"
    box = Instance(own, address, HttpTokens=tokens, HostName="newer", UserData=base64.b64encode(user_data).decode())
    status, token = box.ask("/latest/api/token", "PUT", **{SECONDS: "21600"})
    assert status == 200
    sent = {TOKEN: token.decode()}
    assert box.ask("/2016-01-01/user-data", **sent) == (200, user_data)
    assert box.ask("/2016-01-01/vendor-data", **sent)[0] == 404
    status, body = box.ask("/2016-01-01/meta-data/all", **sent)
    whole = json.loads(body)
    assert status == 200
    assert (whole["instance-id"], whole["hostname"]) == (box.id, "newer")
    assert list(whole["network"]["interfaces"]["macs"]) == [whole["mac"]]
    # With a token that has ended it gets a new one, if the answer is 401.
    assert box.ask("/2016-01-01/meta-data/all", **{TOKEN: "stale"})[0] == 401
