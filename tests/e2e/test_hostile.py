"""Requests that no client sends, and connections that are no clients: each gets its documented code or a bounded close,
the service holds no more than it may, goes on serving, and its log shows no secret.
"""

import socket
import time

import pytest

import signed
from cloud import Cloud
from service import KEY, REGION, SECRET, ZONE, Service, wait_until
from signed import Wire

MIB = 1 << 20
WORDS = "Specified signature is not matched with our calculation. server string to sign is:"


@pytest.fixture(scope="module")
def own():
    service = Service(env={"TIDEMARK_LOG": "debug"})
    try:
        yield service.start()
    finally:
        service.destroy()


@pytest.fixture
def wire(own):
    return Wire(own)


def refused(answer, status, code):
    assert answer.check_error().code == (status, code), answer.text
    return answer


@pytest.mark.parametrize(
    ("spoilt", "status", "code"),
    [
        ({"AccessKeyId": None}, 400, "MissingParameter"),
        ({"SignatureNonce": None}, 400, "MissingParameter"),
        ({"SignatureMethod": None}, 400, "MissingParameter"),
        ({"SignatureMethod": "HMAC-MD5"}, 400, "InvalidParamater"),
        ({"SignatureVersion": "2.0"}, 400, "InvalidParamater"),
        ({"SignatureType": "BEARERTOKEN"}, 400, "InvalidParamater"),
        ({"Timestamp": None}, 400, "IllegalTimestamp"),
        ({"Timestamp": "yesterday"}, 400, "IllegalTimestamp"),
        # Made when the tests are collected, which may be minutes before: far enough in the future.
        ({"Timestamp": signed.timestamp(-16 * 60)}, 400, "InvalidTimeStamp.Expired"),
        ({"Timestamp": signed.timestamp(+3600)}, 400, "InvalidTimeStamp.Expired"),
        ({"Timestamp": "2999-12-31T23:59:59Z"}, 400, "InvalidTimeStamp.Expired"),
        ({"AccessKeyId": "nobody"}, 404, "InvalidAccessKeyId.NotFound"),
        ({"AccessKeyId": "' OR 1=1 --"}, 404, "InvalidAccessKeyId.NotFound"),
        ({"Version": "2014-05-27"}, 400, "InvalidParameter"),
        ({"Version": None}, 400, "MissingParameter"),
        ({"Action": None}, 400, "MissingParameter"),
        ({"Action": "describeRegions"}, 404, "InvalidAction.NotFound"),
        ({"Action": "../DescribeRegions"}, 404, "InvalidAction.NotFound"),
    ],
)  # fmt: skip
def test_what_a_signature_needs(wire, spoilt, status, code):
    refused(wire.call("DescribeRegions", **spoilt), status, code)


def test_unsigned_and_signed_wrongly(wire):
    refused(wire.send("GET", "/?Action=DescribeRegions&Version=2014-05-26&Format=JSON"), 400, "MissingParameter")
    parameters = signed.v1("DescribeRegions", secret="not the secret")
    answer = refused(wire.send("GET", f"/?{signed.query(parameters)}"), 400, "SignatureDoesNotMatch")
    assert answer.body["Message"].startswith(WORDS)
    for signature in ("", "A" * 28, "é", "=" * 5000):
        spoilt = {**signed.v1("DescribeRegions"), "Signature": signature}
        answer = wire.send("GET", f"/?{signed.query(spoilt)}").check_error()
        assert answer.code in [(400, "SignatureDoesNotMatch"), (400, "MissingParameter")]


def test_methods_and_paths(wire):
    parameters = signed.query(signed.v1("DescribeRegions"))
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS"):
        refused(wire.send(method, f"/?{parameters}"), 403, "UnsupportedHTTPMethod")
    # Signed for one method and sent with the other.
    refused(wire.send("POST", f"/?{parameters}"), 400, "SignatureDoesNotMatch")
    for path in ("/ecs", "/..%2f..%2fetc/passwd", "//", "/?/"):
        assert wire.send("GET", path).check_error().status in (400, 404)


FAULTS = [  # in the order of the checks; each changes the keyword arguments of `signed.v1` or the method
    ("method", {"http": "PUT"}, "UnsupportedHTTPMethod"),
    ("not signed", {"SignatureMethod": None}, "MissingParameter"),
    ("key", {"AccessKeyId": "nobody"}, "InvalidAccessKeyId.NotFound"),
    ("timestamp", {"Timestamp": signed.timestamp(-3600)}, "InvalidTimeStamp.Expired"),
    ("signature", {"secret": "wrong"}, "SignatureDoesNotMatch"),
    ("nonce", {"SignatureNonce": "used-before"}, "SignatureNonceUsed"),
    ("action", {"action": "MakeSnapshot"}, "InvalidAction.NotFound"),
    ("required", {"DiskId": None}, "MissingParameter"),
    ("syntax", {"SnapshotName": "1"}, "InvalidSnapshotName.Malformed"),
    ("region", {"RegionId": "cn-nowhere"}, "InvalidRegionId.NotFound"),
    ("existence", {"DiskId": "d-bp1nosuchdisk000000"}, "InvalidDiskId.NotFound"),
]


def test_checks_come_in_their_order(wire):
    """Of two faults the one is answered that is checked first."""
    wire.call("DescribeRegions", SignatureNonce="used-before")
    for at, (first, one, code) in enumerate(FAULTS):
        for second, other, _ in FAULTS[at:]:
            if set(one) & set(other) and first != second:
                continue
            how = {"DiskId": "d-bp1nosuchdisk000000", "RegionId": REGION, "http": "POST", "action": "CreateSnapshot", **other, **one}
            http, action = how.pop("http"), how.pop("action")
            answer = wire.send(http, f"/?{signed.query(signed.v1(action, method=http, **how))}").check_error()
            assert answer.body["Code"] == code, (first, second, answer.text)


def test_a_replay_is_refused_also_after_a_crash(new_service):
    """Also what only reads, whose nonce is not synced: a killed process has written it all the same."""
    service = new_service()
    wire = Wire(service)
    place = {"RegionId": REGION, "ZoneId": ZONE, "DiskCategory": "cloud_essd", "Size": "20"}
    sent = [signed.query(signed.v1("DescribeRegions")), signed.query(signed.v1("CreateDisk", place))]
    for target in sent:
        assert wire.send("GET", f"/?{target}").status == 200
    service.kill()
    service.start()
    for target in sent:
        refused(wire.send("GET", f"/?{target}"), 400, "SignatureNonceUsed")
    nonce = signed.nonce()
    assert wire.call("DescribeRegions", SignatureNonce=nonce).status == 200
    refused(wire.call("DescribeZones", {"RegionId": REGION}, SignatureNonce=nonce), 400, "SignatureNonceUsed")
    assert len(Cloud(service).call("DescribeDisks", RegionId=REGION)["Disks"]["Disk"]) == 1


def test_spellings_that_confuse(wire):
    """The wire may spell a value in many ways, and means the same by all; a name cannot be made to look like two."""
    plain = signed.v1("DescribeDisks", {"RegionId": REGION, "DiskName": "a b~c*", "DryRun": "false"})
    target = signed.query(plain)
    assert wire.send("GET", f"/?{target.replace('a%20b~c%2A', 'a+b%7Ec*')}").status == 200
    plain = signed.v1("DescribeDisks", {"RegionId": REGION, "DiskName": "a b"})
    target = signed.query(plain).replace("DiskName", "%44iskName").replace("%20", "+")
    assert wire.send("GET", f"/?{target}&&").status == 200
    # Encoded twice is another value.
    plain = signed.query(signed.v1("DescribeDisks", {"RegionId": REGION, "DiskName": "a b"}))
    refused(wire.send("GET", f"/?{plain.replace('%20', '%2520')}"), 400, "SignatureDoesNotMatch")
    # A parameter more, or one less.
    plain = signed.query(signed.v1("DescribeDisks", {"RegionId": REGION}))
    refused(wire.send("GET", f"/?{plain}&DiskName=x"), 400, "SignatureDoesNotMatch")
    refused(wire.send("GET", f"/?{plain.replace(f'RegionId={REGION}', 'X=')}"), 400, "SignatureDoesNotMatch")
    # The same name twice, in the query and in the body.
    refused(wire.send("GET", f"/?{plain}&RegionId=other"), 400, "InvalidParameter")
    form = {"content-type": "application/x-www-form-urlencoded"}
    refused(wire.send("POST", f"/?{plain}", b"RegionId=other", form), 400, "InvalidParameter")


def test_a_parameter_cannot_be_hidden_in_the_name_of_another(wire):
    """V3 signs names as they are, so `A=1&DryRun=true` as a name is signed like two parameters."""
    text, headers = signed.v3("CreateDisk", {"A": "1", "DryRun": "true"}, host=wire.service.endpoint)
    assert text == "A=1&DryRun=true"
    refused(wire.send("POST", "/?A%3D1%26DryRun=true", b"", headers), 400, "InvalidParameter")


def test_v3_covers_what_it_must(wire):
    assert wire.call_v3("DescribeRegions").status == 200
    form = {"content-type": "application/x-www-form-urlencoded"}
    body = b"RegionId=" + REGION.encode()
    assert wire.call_v3("DescribeZones", body=body, content_type=form["content-type"]).status == 200
    text, headers = signed.v3("DescribeZones", body=body, host=wire.service.endpoint, content_type=form["content-type"])
    refused(wire.send("POST", f"/?{text}", body + b"&X=1", headers), 400, "SignatureDoesNotMatch")
    for change in ({"x-acs-action": "DescribeRegions"}, {"x-acs-version": "2015-04-01"}, {"host": "elsewhere"}):
        text, headers = signed.v3("DescribeZones", {"RegionId": REGION}, host=wire.service.endpoint)
        refused(wire.send("POST", f"/?{text}", b"", {**headers, **change}), 400, "SignatureDoesNotMatch")
    # A form that is signed without its type: nobody on the way may say that it is none, nor that it is one.
    text, headers = signed.v3("DescribeZones", body=body, host=wire.service.endpoint)
    for kind in ("text/plain", form["content-type"]):
        refused(wire.send("POST", f"/?{text}", body, {**headers, "content-type": kind}), 400, "IncompleteSignature")
    assert wire.send("POST", f"/?{text}", body, headers).status == 200
    text, headers = signed.v3("DescribeZones", {"RegionId": REGION}, host=wire.service.endpoint)
    for authorization in (
        "ACS3-HMAC-SHA256",
        "ACS3-HMAC-SHA256 Credential=,SignedHeaders=,Signature=",
        f"ACS3-HMAC-SHA256 Credential={KEY},SignedHeaders=host,Signature=00",
        f"ACS3-HMAC-SHA256 Credential={KEY},SignedHeaders={'host;' * 2000},Signature=00",
        "ACS3-RSA-SHA256 Credential=a,SignedHeaders=host,Signature=00",
        "ACS3-HMAC-SHA256 \xff",
    ):
        answer = wire.send("POST", f"/?{text}", b"", {**headers, "Authorization": authorization}).check_error()
        assert answer.status in (400, 404), (authorization, answer.text)


def test_bytes_that_are_no_text(wire):
    plain = signed.query(signed.v1("DescribeDisks", {"RegionId": REGION, "DiskName": "name"}))
    refused(wire.send("GET", f"/?{plain.replace('=name', '=hush%ff')}"), 400, "InvalidParameter")
    refused(wire.send("GET", f"/?{plain}&%c0%ae=1"), 400, "InvalidParameter")
    refused(wire.send("POST", f"/?{plain}", b"DiskName=\xff\xfe"), 400, "InvalidParameter")
    # A body that is no form holds no parameters: then the method is what does not fit.
    kind = {"content-type": "application/octet-stream"}
    refused(wire.send("POST", f"/?{plain}", b"\xff\xfe", kind), 400, "SignatureDoesNotMatch")


def test_ids_with_path_characters_name_nothing(own, wire):
    before = sorted(str(path) for path in own.data.rglob("*") if not path.name.startswith("catalogue"))
    for value in ("../../etc/passwd", "d-1/../d-2", "..", "/", "d-1\x00", "d-1\n", "d" * 5000, "%2e%2e%2f"):
        for action, name, code in (
            ("DeleteDisk", "DiskId", "InvalidDiskId.NotFound"),
            ("CreateSnapshot", "DiskId", "InvalidDiskId.NotFound"),
            ("DeleteSnapshot", "SnapshotId", "InvalidSnapshotId.NotFound"),
            ("StopInstance", "InstanceId", "InvalidInstanceId.NotFound"),
        ):
            answer = wire.call(action, {name: value}, method="POST").check_error()
            assert answer.status == 404 and answer.body["Code"] == code, (action, value, answer.text)
    after = sorted(str(path) for path in own.data.rglob("*") if not path.name.startswith("catalogue"))
    assert after == before


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("s-1", (403, "InvalidSnapshotIds.Malformed")),
        ('["s-1"', (403, "InvalidSnapshotIds.Malformed")),
        ('{"a": 1}', (403, "InvalidSnapshotIds.Malformed")),
        ('[["s-1"]]', (403, "InvalidSnapshotIds.Malformed")),
        ("[null]", (403, "InvalidSnapshotIds.Malformed")),
        ("[" * 10_000, (403, "InvalidSnapshotIds.Malformed")),
        ("[" + ",".join(['"s-1"'] * 101) + "]", (403, "InvalidSnapshotIds.Malformed")),
        ("[]", (200, None)),
        ('["s-1", "s-1"]', (200, None)),
    ],
)  # fmt: skip
def test_arrays_that_are_none(wire, text, code):
    assert wire.call("DescribeSnapshots", {"RegionId": REGION, "SnapshotIds": text}).code == code


def test_too_much_of_everything(own, wire):
    """100,001 tags, bodies and heads without end: refused early, and nothing is kept of them."""
    begun = time.monotonic()
    place = {"RegionId": REGION, "DiskId": "d-1"}
    tags = "&".join(f"Tag.{n}.Key=k{n}" for n in range(1, 100_002)).encode()
    form = {"content-type": "application/x-www-form-urlencoded"}
    answer = Wire(own).send("POST", f"/?{signed.query(signed.v1('CreateSnapshot', place, 'POST'))}", tags, form)
    refused(answer, 413, "InvalidParameter")
    few = "&".join(f"T{n}=" for n in range(5_000)).encode()
    refused(Wire(own).send("POST", "/?Format=JSON", few, form), 400, "InvalidParameter")
    many = {**place, **{f"Tag.{n}.Key": f"k{n}" for n in range(1, 22)}}
    refused(wire.call("CreateSnapshot", many, method="POST"), 403, "QuotaExceed.Tags")
    for head in (b"GET /?" + b"a" * MIB + b" HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 100_000 + b"\r\n"):
        answer = raw(own, head)
        assert b" 200 " not in answer.split(b"\r\n")[0]
    assert wire.call("DescribeRegions").status == 200
    assert time.monotonic() - begun < 60


def raw(service, sent, timeout=60):
    """What comes back until the other side closes."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=timeout) as connection:
        answer = b""
        try:
            connection.sendall(sent)
            while chunk := connection.recv(65536):
                answer += chunk
        except ConnectionError:
            pass
        return answer


def test_things_that_are_no_requests(own):
    for sent in (b"\x16\x03\x01\x02\x00\x01\x00", b"\x00" * 1000, b"HELLO\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"):
        assert b" 200 " not in raw(own, sent).split(b"\r\n")[0]
    two_lengths = b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab"
    both = b"POST /?Format=JSON HTTP/1.1\r\nhost: h\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n0\r\n\r\n"
    assert raw(own, two_lengths).startswith(b"HTTP/1.1 400")
    assert b" 200 " not in raw(own, both).split(b"\r\n")[0]


def resident(service):
    with open(f"/proc/{service.process.pid}/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))


def test_connections_that_only_hold(own, wire):
    """More half requests than connections are allowed, each with a large head: a bounded sum, words for those beyond,
    and service again when they are gone."""
    before = resident(own)
    held = []
    try:
        for _ in range(600):
            connection = socket.create_connection(("127.0.0.1", own.port), timeout=10)
            held.append(connection)
            try:
                connection.sendall(b"GET / HTTP/1.1\r\nhost: h\r\na: " + b"x" * 100_000)
            except ConnectionError:
                pass  # one too many
        answer = raw(own, b"")
        assert answer.startswith(b"HTTP/1.1 503") and b"<Code>ServiceUnavailable</Code>" in answer
        assert resident(own) - before < 120 * MIB, f"{before / MIB:.0f} MiB became {resident(own) / MIB:.0f} MiB"
    finally:
        for connection in held:
            connection.close()

    def served():
        try:
            return Wire(own).call("DescribeRegions").status == 200
        except (OSError, ValueError):
            return False

    wait_until(served, "requests are served again")


def test_a_body_that_does_not_come_does_not_keep_others(own):
    """A hundred bodies that stop half way: who sends whole ones is answered meanwhile."""
    held = []
    for _ in range(100):
        connection = socket.create_connection(("127.0.0.1", own.port), timeout=10)
        connection.sendall(b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 1000\r\n\r\nA=")
        held.append(connection)
    wire = Wire(own)
    assert wire.call("DescribeRegions").status == 200
    form = {"content-type": "application/x-www-form-urlencoded"}
    parameters = signed.query(signed.v1("DescribeZones", {"RegionId": REGION}, "POST")).encode()
    assert wire.send("POST", "/?Format=JSON", parameters, form).status == 200
    for connection in held:
        connection.close()


def test_the_log_shows_no_secret(own, wire):
    """With every detail in it, and after all of the above."""
    hush = {"Password": "Hush1-hush", "UserData": "aHVzaDItaHVzaA==", "SecurityToken": "hush3-hush"}
    place = {"RegionId": REGION, "InstanceType": "tidemark.external", **hush}
    wire.call("RunInstances", place, method="POST", secret="hush4-hush")
    wire.call("RunInstances", {**place, "Password": "hush5"}, method="POST")
    spoilt = signed.query(signed.v1("RunInstances", place)).replace("Hush1-hush", "hush6%ff")
    wire.send("GET", f"/?{spoilt}")
    wire.call_v3("RunInstances", place, secret="hush4-hush")
    log = own.log.read_text(errors="replace")
    assert "SignatureDoesNotMatch" in log and "panicked" not in log
    for secret in [*hush.values(), "hush4-hush", "hush5", "hush6", SECRET]:
        assert secret not in log, f"{secret} is in the log"
