"""Users, their keys and what they may do; temporary keys; and that no secret is ever written where others read."""

import json

import clients
import pytest
from cloud import Cloud
from service import SECRET, wait_until

SDKS = [clients.V3, clients.V1]


def cli(service, *words, **options):
    return json.loads(service.cli(*words, "--json", **options).stdout)


def permission(service, name, *statements):
    document = service.directory / f"{name}.json"
    document.write_text(json.dumps({"Version": "1", "Statement": list(statements)}))
    service.cli("permission", "create", name, "--document", document)


def refused(call, *args, **parameters):
    with pytest.raises(clients.EcsError) as told:
        call(*args, **parameters)
    return told.value.status, told.value.code


def as_user(service, key, sdk):
    return Cloud(service, lambda s: sdk(s, key["AccessKeyId"], key["AccessKeySecret"], key.get("SecurityToken")))


def files_hold(directory, text):
    return [path.name for path in directory.iterdir() if path.is_file() and text.encode() in path.read_bytes()]


def test_two_users_may_do_what_their_permissions_say(new_service):
    service = new_service(env={"TIDEMARK_LOG": "trace"})
    root = Cloud(service)
    _, hers = root.attached_disk(1)
    _, other = root.attached_disk(1)
    root.call("TagResources", RegionId="cn-hangzhou", ResourceType="disk", ResourceId=[other], Tag=[{"Key": "env", "Value": "prod"}])

    # Alice may do everything, but nothing to what is in production; Bob may look.
    permission(
        service,
        "not-prod",
        {"Effect": "Allow", "Action": "ecs:*", "Resource": "*", "Condition": {"IpAddress": {"acs:SourceIp": "127.0.0.0/8"}}},
        {"Effect": "Deny", "Action": "ecs:*", "Resource": "*", "Condition": {"StringEquals": {"ecs:tag/env": "prod"}}},
    )
    service.cli("user", "create", "alice")
    service.cli("user", "create", "bob", "--name", "Bob the reader")
    service.cli("permission", "attach", "not-prod", "--user", "alice")
    service.cli("permission", "attach", "AliyunECSReadOnlyAccess", "--user", "bob")
    alice = cli(service, "key", "create", "--user", "alice")
    bob = cli(service, "key", "create", "--user", "bob")

    snapshots = []
    for sdk in SDKS:
        she, he = as_user(service, alice, sdk), as_user(service, bob, sdk)
        assert he.disk(hers)["DiskId"] == hers
        assert refused(he.call, "CreateSnapshot", DiskId=hers) == (403, "Forbidden.RAM")
        snapshots.append(she.take_snapshot(hers))
        # What she may not touch is told her as what is not there.
        assert refused(she.call, "CreateSnapshot", DiskId=other) == (403, "Forbidden.RAM")
        assert refused(she.call, "CreateSnapshot", DiskId="d-none") == (403, "Forbidden.RAM")
        assert refused(he.call, "DeleteSnapshot", SnapshotId=snapshots[-1]) == (403, "Forbidden.RAM")
    assert {row["SnapshotId"] for row in root.snapshots(hers)} == set(snapshots)
    listed = service.cli("permission", "list", "--user", "alice").stdout
    assert "not-prod" in listed and "AliyunECSReadOnlyAccess" not in listed

    # A user manages nobody's keys, not even with the command line.
    words = ["key", "create", "--user", "bob", "--endpoint", service.endpoint]
    env = {"TIDEMARK_ACCESS_KEY_ID": alice["AccessKeyId"], "TIDEMARK_ACCESS_KEY_SECRET": alice["AccessKeySecret"]}
    assert "NoPermission" in service.cli(*words, check=False, env=env).stderr

    # A change counts at once; a key is rotated, disabled and deleted; a kill changes nothing.
    service.cli("permission", "detach", "AliyunECSReadOnlyAccess", "--user", "bob")
    assert refused(as_user(service, bob, clients.V3).disk, hers) == (403, "Forbidden.RAM")
    new = cli(service, "key", "rotate", alice["AccessKeyId"], "--user", "alice")
    service.kill()
    service.start()
    for sdk in SDKS:
        assert refused(as_user(service, alice, sdk).disk, hers) == (403, "Forbidden.AccessKeyDisabled")
        # She may list only what she is certain not to be denied.
        assert refused(as_user(service, new, sdk).call, "DescribeDisks", RegionId="cn-hangzhou") == (403, "Forbidden.RAM")
        assert as_user(service, new, sdk).disk(hers)["DiskId"] == hers
    service.cli("key", "delete", alice["AccessKeyId"], "--user", "alice")
    assert refused(as_user(service, alice, clients.V1).disk, hers) == (404, "InvalidAccessKeyId.NotFound")
    (left,) = cli(service, "key", "list", "--user", "alice")
    assert left["AccessKeyId"] == new["AccessKeyId"] and left["Status"] == "Active" and left["LastUsedDate"]

    log = service.log.read_text(errors="replace")
    assert "not authorized" in log, "the log tells of refusals"
    for secret in [SECRET] + [key["AccessKeySecret"] for key in (alice, bob, new)]:
        assert secret not in log
        assert files_hold(service.data, secret) in ([], ["credentials.toml"])
    assert (service.data / "secrets.key").stat().st_mode & 0o777 == 0o600


def test_temporary_keys_do_what_their_role_may(new_service):
    service = new_service(env={"TIDEMARK_LOG": "trace"})
    root = Cloud(service)
    disk = root.new_disk(1)
    service.cli("role", "create", "auditor")
    service.cli("permission", "attach", "AliyunECSReadOnlyAccess", "--role", "auditor")
    service.cli("user", "create", "carol")
    carol = cli(service, "key", "create", "--user", "carol")
    env = {"TIDEMARK_ACCESS_KEY_ID": carol["AccessKeyId"], "TIDEMARK_ACCESS_KEY_SECRET": carol["AccessKeySecret"]}
    assume = ["role", "assume", "auditor", "--as", "tonight", "--seconds", "900", "--endpoint", service.endpoint]
    assert "NoPermission" in service.cli(*assume, check=False, env=env).stderr
    service.cli("permission", "attach", "AliyunSTSAssumeRoleAccess", "--user", "carol")
    keys = cli(service, *assume, env=env)
    assert keys["AccessKeyId"].startswith("STS.")
    for sdk in SDKS:
        with_role = as_user(service, keys, sdk)
        assert with_role.disk(disk)["DiskId"] == disk
        assert refused(with_role.call, "DeleteDisk", DiskId=disk) == (403, "Forbidden.RAM")
        other = dict(keys, SecurityToken="x" * 64)
        assert refused(as_user(service, other, sdk).disk, disk) == (400, "InvalidSecurityToken.MismatchWithAccessKey")
        alone = {name: value for name, value in keys.items() if name != "SecurityToken"}
        assert refused(as_user(service, alone, sdk).disk, disk) == (400, "InvalidSecurityToken.Malformed")
        # A wrong secret with the right token: what was signed is not repeated in the log.
        wrong = dict(keys, AccessKeySecret="wrong")
        status, code = refused(as_user(service, wrong, sdk).disk, disk)
        # The V1 SDK finds its own string in the answer, and blames the secret.
        assert status == 400 and code in ("SignatureDoesNotMatch", "InvalidAccessKeySecret")
    service.cli("permission", "detach", "AliyunECSReadOnlyAccess", "--role", "auditor")
    service.cli("role", "delete", "auditor")
    assert refused(as_user(service, keys, clients.V3).disk, disk) == (404, "InvalidAccessKeyId.NotFound")
    log = service.log.read_text(errors="replace")
    for name in ("AccessKeySecret", "SecurityToken"):
        assert keys[name] not in log
        assert files_hold(service.data, keys[name]) == []
    wait_until(lambda: "Role:Deleted" in service.cli("events").stdout, "the role's end is told")
