"""What holds for every action, asked of every action: the list is the published description, so a new one is in it.

Both formats are one tree, regions and DryRun are the same everywhere, tokens and pages too, and no value of any
parameter is our fault (spec 1.2 to 1.9).
"""

import pytest

import signed
from service import REGION, ZONE, Service
from signed import Wire

HOSTILE = [
    "../../../etc/passwd",
    "d-bp1\x00",
    "-1",
    "99999999999999999999",
    '["',
    '[[["a"]]]',
    '{"a": 1}',
    "'; DROP TABLE snapshots; --",
    "\u202e\U0001f4be" * 40,
    "%00%2e%2e/",
    "x" * 3000,
]


# What the actions with a code of their own say of a region that is not served (spec 4); all others say the common one.
UNKNOWN_REGION = {
    **dict.fromkeys(
        ("AttachDisk", "DeleteDisk", "DetachDisk", "ModifyDiskAttribute", "ReInitDisk", "ResetDisk", "ResetDisks", "ResizeDisk"),
        (400, "InvalidRegionId.MalFormed"),
    ),
    **dict.fromkeys(
        ("CancelTask", "DescribeAutoSnapshotPolicyEx", "DescribeTaskAttribute", "DescribeTasks"), (400, "InvalidRegionId.NotFound")
    ),
    "DescribeDisks": (400, "InvalidRegion.NotFound"),
    "DescribeSnapshotLinks": (400, "InvalidRegionId"),
    "DescribeSnapshotsUsage": (403, "InvalidParam.RegionId"),
}


@pytest.fixture(scope="module")
def own():
    """A service of its own: hostile values may well make things."""
    service = Service()
    try:
        yield service.start()
        assert "panicked" not in service.log.read_text(errors="replace")
    finally:
        service.destroy()


@pytest.fixture(scope="module")
def wire(own):
    return Wire(own)


@pytest.fixture(scope="module")
def every(wire):
    return signed.operations(wire)


def texts(value):
    """A tree with all its values as XML writes them, one-item lists as their item, and empty lists as nothing."""
    match value:
        case dict():
            members = {name: texts(member) for name, member in value.items()}
            return {name: member for name, member in members.items() if member != []} or ""
        case [item]:
            return texts(item)
        case list():
            return [texts(item) for item in value]
        case bool():
            return str(value).lower()
        case None:
            return ""
    return str(value)


def test_the_description_is_public_and_has_every_action(wire, every):
    assert wire.send("GET", "/openapi.json").headers["content-type"] == "application/json"
    named = {operation.action for operation in every}
    assert {"CreateSnapshot", "DescribeSnapshots", "ResetDisk", "RunInstances", "GetCallerIdentity"} <= named


def test_both_formats_are_one_tree(wire, every):
    compared = 0
    for operation in (one for one in every if one.reads):
        json, xml = (
            wire.call(operation.action, operation.smallest(), Format=format, Version=operation.version)
            for format in ("JSON", "XML")
        )
        assert json.status == xml.status, (operation, json.text, xml.text)
        root = "Error" if json.status != 200 else f"{operation.action}Response"
        assert xml.text.startswith(f'<?xml version="1.0" encoding="UTF-8"?>\n<{root}>'), xml.text
        for answer in (json, xml):
            answer.body.pop("RequestId")
        # An answer of nothing but its id is no element's text.
        assert (texts(json.body) or {}) == xml.body, operation
        compared += json.status == 200
    assert compared > 5


def test_dry_run_of_what_only_reads(wire, every):
    for operation in (one for one in every if one.reads):
        plain = wire.call(operation.action, operation.smallest(), Version=operation.version)
        dry = wire.call(operation.action, operation.smallest(DryRun="true"), Version=operation.version)
        wanted = (400, "DryRunOperation") if plain.status == 200 else plain.code
        assert dry.code == wanted, (operation, dry.text)


def test_an_unknown_region_is_refused_before_what_is_in_it(wire, every):
    for operation in (one for one in every if "RegionId" in one.parameters):
        answer = wire.call(operation.action, operation.smallest(RegionId="cn-nowhere"), Version=operation.version)
        assert answer.code == UNKNOWN_REGION.get(operation.action, (404, "InvalidRegionId.NotFound")), (operation, answer.text)


def test_every_list_is_followed_by_its_token(wire, every):
    """Also in page mode, as the vendor's command line does it: the token, and the page size that it began with."""
    made = [wire.call("CreateDisk", disk(), method="POST").body["DiskId"] for _ in range(3)]
    for operation in (one for one in every if "NextToken" in one.parameters):
        seen, token = [], None
        for _ in range(50):
            more = {"PageSize": "1", **({"NextToken": token} if token else {})}
            answer = wire.call(operation.action, operation.smallest(**more), Version=operation.version)
            if answer.status != 200:
                answer.check_error()
                break
            seen.append(answer.body)
            token = answer.body.get("NextToken")
            if not token:
                break
        assert not token, f"{operation} has no end: {seen[-1:]}"
        if operation.action == "DescribeDisks":
            ids = [row["DiskId"] for page in seen for row in page["Disks"]["Disk"]]
            assert ids == made[::-1]


def disk(**more):
    return {"RegionId": REGION, "ZoneId": ZONE, "DiskCategory": "cloud_essd", "Size": "20", **more}


def test_a_token_is_answered_again_after_a_crash(own, wire):
    first = wire.call("CreateDisk", disk(ClientToken="once"), method="POST")
    own.kill()
    own.start()
    again = wire.call("CreateDisk", disk(ClientToken="once"), method="POST")
    assert (again.status, again.body["DiskId"]) == (200, first.body["DiskId"])
    other = wire.call("CreateDisk", disk(ClientToken="once", DiskName="other"), method="POST")
    assert other.code == (403, "IdempotentParameterMismatch")


def test_no_value_of_any_parameter_is_our_fault(wire, every):
    """Each parameter with a few hostile values in turn; the answer is one of the contract's, in the caller's format."""
    turn = 0
    for operation in every:
        for name in operation.parameters:
            for _ in range(2):
                turn += 1
                parameters = {**operation.smallest(), name: HOSTILE[turn % len(HOSTILE)]}
                method = "GET" if turn % 3 else "POST"
                answer = wire.call(operation.action, parameters, method=method, Version=operation.version)
                assert answer.status < 500, (operation, name, parameters[name], answer.text)
                if answer.status != 200:
                    answer.check_error()


def test_flow_control_says_when_to_come_again(new_service, tmp_path):
    config = tmp_path / "tidemark.toml"
    config.write_text("[throttle]\nactions.DescribeRegions = 1\n")
    wire = Wire(new_service(extra=["--config", str(config)]))
    answers = [wire.call("DescribeRegions") for _ in range(12)]
    refused = [answer for answer in answers if answer.status != 200]
    assert refused and len(refused) < len(answers)
    for answer in refused:
        assert answer.check_error().code == (400, "Throttling")
        assert 0 < int(answer.headers["x-acs-retry-after"]) <= 1001
    assert wire.call("DescribeZones", {"RegionId": REGION}).status == 200
