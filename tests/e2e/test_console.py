"""The console over plain HTTP, as without a script: signing in, permissions, hostile names, headers, the walk of S30 to S42."""

import datetime
import http.client
import json
import os
import re
import shlex
import time
import urllib.parse

import pytest
from cloud import Cloud
from console import Browser, fields
from service import KEY, REGION, SECRET, ZONE, wait_until

HOSTILE = "x<script>alert(1)</script>\"'&amp;<img/src=y/onerror=z>"


@pytest.fixture
def browser(service):
    """Signed in as the account."""
    browser = Browser(service)
    page = browser.sign_in()
    assert page.status == 200 and page.root.one("h1").text == "Overview"
    return browser


def as_user(service, name, *policies):
    service.cli("user", "create", name)
    for policy in policies:
        service.cli("permission", "attach", policy, "--user", name)
    key = json.loads(service.cli("key", "create", "--user", name, "--json").stdout)
    browser = Browser(service)
    assert browser.sign_in(key["AccessKeyId"], key["AccessKeySecret"]).root.one("h1").text != "Sign in"
    return browser, key


# The way in


def test_who_is_not_signed_in_lands_on_the_page_for_it_and_comes_back(service):
    browser = Browser(service)
    page = browser.get("/console/disks?Status=In_use")
    assert page.root.one("h1").text == "Sign in"
    assert page.headers["cache-control"] == "no-store"
    (form,) = page.root.all("form")
    page = browser.submit(page, form, name=KEY, secret=SECRET)
    assert page.root.one("h1").text == "Disks" and "Status=In_use" in page.path
    (cookie,) = [cookie for name, cookie in browser.cookies.items() if name == "tidemark_console"]
    assert len(cookie) == 64


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(service):
    browser = Browser(service)
    pairs = {"name": KEY, "secret": SECRET, "then": "/console"}
    answer = browser.post("/console/sign-in", pairs, follow=False)
    cookie = answer.headers["set-cookie"]
    assert answer.status == 303 and "HttpOnly" in cookie and "SameSite=Strict" in cookie and "Path=/console" in cookie


@pytest.mark.parametrize("name, secret", [(KEY, "wrong"), ("nobody", SECRET), ("", ""), (KEY, ""), ("STS.x", SECRET)])
def test_whatever_is_wrong_the_answer_is_the_same(service, name, secret):
    page = Browser(service).sign_in(name, secret)
    assert page.status == 401
    assert "The name or the secret is wrong." in page.text
    assert SECRET not in page.raw.decode() and "set-cookie" not in page.headers


def test_a_redirect_leads_to_no_other_site(service):
    for then in ("https://evil.example", "//evil.example", "/console//evil.example", "/console\\evil"):
        answer = Browser(service).post(
            "/console/sign-in", {"name": KEY, "secret": SECRET, "then": then}, follow=False
        )
        assert answer.headers["location"] == "/console", then


def test_who_tries_too_often_waits(new_service):
    service = new_service()
    browser = Browser(service)
    answers = [browser.sign_in(KEY, "wrong").status for _ in range(6)]
    assert answers[:5] == [401] * 5 and answers[5] == 429
    page = browser.sign_in(KEY, "wrong")
    assert page.status == 429 and "Try again in" in page.text and int(page.headers["retry-after"]) >= 1
    # Nobody else is locked out by that.
    wait_until(lambda: Browser(service).sign_in("other", "wrong").status == 401, "another name may be tried")


def test_signing_out_ends_the_session(browser):
    cookies = dict(browser.cookies)
    page = browser.get("/console")
    (form,) = [form for form in page.root.all("form") if form["action"] == "/console/sign-out"]
    assert browser.submit(page, form).root.one("h1").text == "Sign in"
    browser.cookies = cookies
    assert browser.get("/console").root.one("h1").text == "Sign in"


def test_another_browser_has_no_use_for_the_cookie(browser):
    browser.agent = "another browser"
    assert browser.get("/console").root.one("h1").text == "Sign in"


def test_a_key_that_is_disabled_ends_its_session(service):
    browser, key = as_user(service, "leaver", "AliyunECSReadOnlyAccess")
    assert browser.get("/console/disks").root.one("h1").text == "Disks"
    service.cli("key", "disable", key["AccessKeyId"], "--user", "leaver")
    assert browser.get("/console/disks").root.one("h1").text == "Sign in"


# Forms


def test_a_form_without_its_token_does_nothing(browser, v3):
    disk = v3.new_disk(1)
    page = browser.get(f"/console/dialog/modify-disk?DiskId={disk}")
    form = page.form("ModifyDiskAttribute")
    for token in (None, "", "0" * 64):
        answer = browser.submit(page, form, _csrf=token, DiskName="renamed")
        assert answer.status == 403 and "nothing was done" in answer.text
    answer = browser.submit(page, form, headers={"Origin": "http://evil.example"}, DiskName="renamed")
    assert answer.status == 403
    answer = browser.submit(page, form, headers={"Sec-Fetch-Site": "cross-site"}, DiskName="renamed")
    assert answer.status == 403
    assert v3.disk(disk)["DiskName"] != "renamed"
    browser.submit(page, form, DiskName="renamed")
    assert v3.disk(disk)["DiskName"] == "renamed"
    v3.release(disk)


def test_a_token_of_another_session_does_nothing(service, browser, v3):
    disk = v3.new_disk(1)
    other = Browser(service)
    other.sign_in()
    page = other.get(f"/console/dialog/modify-disk?DiskId={disk}")
    token = dict(fields(page.form("ModifyDiskAttribute")))["_csrf"]
    own = browser.get(f"/console/dialog/modify-disk?DiskId={disk}")
    answer = browser.submit(own, own.form("ModifyDiskAttribute"), _csrf=token, DiskName="renamed")
    assert answer.status == 403
    v3.release(disk)


def test_a_get_changes_nothing(browser, v3):
    disk = v3.new_disk(1)
    answer = browser.get(f"/console/do/DeleteDisk?DiskId={disk}")
    assert answer.status == 404 and v3.disk(disk) is not None
    v3.release(disk)


def test_a_refused_form_comes_back_with_what_was_typed_and_what_to_do(browser, v3):
    _, disk = v3.attached_disk(1)
    page = browser.get(f"/console/dialog/create-snapshot?DiskId={disk}&_then=/console/disks")
    page = browser.submit(page, page.form("CreateSnapshot"), SnapshotName="auto-is-not-allowed", Description="kept as it was typed")
    assert page.status == 400
    values = dict(fields(page.form("CreateSnapshot")))
    assert (values["SnapshotName"], values["Description"], values["DiskId"]) == ("auto-is-not-allowed", "kept as it was typed", disk)
    (wrong,) = [field for field in page.root.all("input") if field.get("aria-invalid") == "true"]
    assert wrong["name"] == "SnapshotName"
    assert "InvalidSnapshotName.Malformed" in page.root.one("div", role="alert").text
    assert v3.snapshots(disk) == []


# What every page has


def test_pages_carry_a_strict_policy_and_nothing_inline(browser, v3):
    instance, disk = v3.attached_disk(1)
    snapshot = v3.take_snapshot(disk)
    places = ["", "instances", "images", "disks", f"disks/{disk}", "snapshots", f"snapshots/{snapshot}", f"chains/{disk}"]
    places += [f"snapshots?tab={tab}" for tab in ("groups", "chains", "size", "policies", "deleted")]
    places += ["tags", "tasks", "events", "users", f"instances/{instance}?tab=monitoring", f"dialog/create-snapshot?DiskId={disk}", f"dialog/delete-snapshot?SnapshotId={snapshot}"]
    for place in places:
        page = browser.get(f"/console/{place}")
        assert page.status == 200, (place, page.text)
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
        assert page.headers["x-content-type-options"] == "nosniff" and page.headers["x-frame-options"] == "DENY"
        raw = page.raw.decode()
        assert not re.search(r"\sstyle=|\son[a-z]+=|javascript:", raw), place
        for script in page.root.all("script"):
            assert script["src"].startswith("/console/assets/") and not script.children
        assert len(page.root.all("h1")) == 1 and page.root.one("main") and page.root.one("head").one("title").text
        for name in ("href", "src", "action"):
            for element in page.root.walk():
                if element.get(name):
                    assert element[name].startswith(("/console", "#")), (place, element[name])
        assert len(raw) < 100 * 1024, (place, len(raw))
        assert SECRET not in raw


@pytest.mark.parametrize("place", ["disks", "snapshots"])
def test_a_page_with_its_files_is_small_and_the_files_are_kept(browser, place):
    page = browser.get(f"/console/{place}")
    files = [link["href"] for link in page.root.all("link")] + [script["src"] for script in page.root.all("script")]
    total = len(page.raw)
    for file in files:
        answer = browser.get(file)
        assert answer.status == 200 and "immutable" in answer.headers["cache-control"]
        total += len(answer.raw)
    assert total < 100 * 1024, total
    assert browser.get("/console/assets/0000000000000000/console.css").status == 404


def test_hostile_names_and_tags_are_shown_as_they_are(browser, v3):
    tag = [{"Key": "<b>key</b>\"'", "Value": HOSTILE}]
    _, disk = v3.attached_disk(1)
    v3.call("ModifyDiskAttribute", DiskId=disk, Description=HOSTILE)
    v3.service.cli("user", "create", "mallory", "--name", HOSTILE, "--comments", HOSTILE)
    v3.call("TagResources", RegionId=REGION, ResourceType="disk", ResourceId=[disk], Tag=tag)
    snapshot = v3.take_snapshot(disk, Description=HOSTILE)
    v3.call("TagResources", RegionId=REGION, ResourceType="snapshot", ResourceId=[snapshot], Tag=tag)
    places = [f"disks/{disk}", "disks", f"snapshots/{snapshot}", "snapshots", "users", "users/mallory", "events"]
    places.append(f"dialog/tags?ResourceType=disk&ResourceId.1={disk}")
    for place in places:
        page = browser.get(f"/console/{place}")
        raw = page.raw.decode()
        assert "<script>alert" not in raw and "<img" not in raw and "<b>key" not in raw, place
    page = browser.get(f"/console/snapshots/{snapshot}")
    assert HOSTILE in page.text and "<b>key</b>\"'" in page.text
    # What comes back from a form and from an address is no safer.
    query = urllib.parse.urlencode({"DiskName": HOSTILE, "Tag.1.Key": HOSTILE, "tab": HOSTILE, "region": HOSTILE})
    raw = browser.get(f"/console/disks?{query}").raw.decode()
    assert "<script>alert" not in raw and "<img" not in raw


def test_a_place_that_is_not_there_says_so(browser):
    for place in ("nowhere", "disks/d-nowhere", "snapshots/s-nowhere", "instances/i-nowhere", "dialog/nothing", "disks/a/b"):
        page = browser.get(f"/console/{place}")
        assert page.status == 404 and page.root.one("div", role="alert"), place
    assert browser.get("/console/disks/").status == 200
    assert browser.send("PUT", "/console/disks", []).status == 405


# Permissions


def test_who_may_only_look_sees_no_button(service, v3):
    _, disk = v3.attached_disk(1)
    snapshot = v3.take_snapshot(disk)
    reader, _ = as_user(service, "reader", "AliyunECSReadOnlyAccess")
    for place in ("", "instances", "disks", f"disks/{disk}", "snapshots", f"snapshots/{snapshot}", "snapshots?tab=policies", "users"):
        page = reader.get(f"/console/{place}")
        assert page.status == 200, place
        dead = [link.text for link in page.main.walk() if link.name == "a" and "data-dialog" in link.attributes]
        assert dead == [], place
    assert any(disk in row["Disk ID/Name"].text for row in reader.get("/console/disks").rows() if "Disk ID/Name" in row)
    # Whoever writes the form by hand is refused as by the API.
    page = reader.get(f"/console/dialog/create-snapshot?DiskId={disk}")
    page = reader.submit(page, page.form("CreateSnapshot"))
    assert page.status == 403 and "Forbidden.RAM" in page.text and "attach a policy" in page.text
    assert len(v3.snapshots(disk)) == 1


def test_who_may_nothing_is_told_so(service):
    nobody, _ = as_user(service, "nobody")
    page = nobody.get("/console/disks")
    assert page.status == 403 and "Forbidden.RAM" in page.text


def test_a_password_lets_a_user_in_until_it_is_taken_away(browser, service):
    service.cli("user", "create", "carol")
    service.cli("permission", "attach", "AliyunECSReadOnlyAccess", "--user", "carol")
    page = browser.get("/console/dialog/set-password?UserName=carol&_then=/console/users/carol")
    short = browser.submit(page, page.form("CreateLoginProfile"), Password="hush")
    assert short.status == 400 and "hush" not in short.raw.decode()
    page = browser.submit(page, page.form("CreateLoginProfile"), Password="hush hush hush")
    assert "The password is set." in page.text
    carol = Browser(service)
    assert carol.sign_in("carol", "hush hush").status == 401
    assert carol.sign_in("carol", "hush hush hush").root.one("h1").text == "Overview"
    assert carol.get("/console/disks").status == 200
    page = browser.get("/console/dialog/set-password?UserName=carol&_has=1&_then=/console/users/carol")
    browser.submit(page, page.form("UpdateLoginProfile"), Password="hush hush hush")
    assert carol.get("/console/disks").root.one("h1").text == "Sign in", "whoever has the old one is out"
    assert carol.sign_in("carol", "hush hush hush").root.one("h1").text == "Overview"
    page = browser.get("/console/dialog/delete-password?UserName=carol&_then=/console/users/carol")
    browser.submit(page, page.form("DeleteLoginProfile"))
    assert carol.get("/console/disks").root.one("h1").text == "Sign in"


def test_a_form_that_is_sent_twice_does_it_once(browser, v3):
    _, disk = v3.attached_disk(1)
    page = browser.get(f"/console/dialog/create-snapshot?DiskId={disk}&_then=/console/disks/{disk}")
    form = page.form("CreateSnapshot")
    for _ in range(2):
        assert browser.submit(page, form, SnapshotName="once").status == 200
    assert [row["SnapshotName"] for row in v3.snapshots(disk)] == ["once"]


def test_no_disk_that_is_ticked_is_no_snapshot_of_all(browser, v3):
    instance, _ = v3.attached_disk(1)
    page = browser.get(f"/console/dialog/create-instance-snapshot?InstanceId={instance}&_then=/console/instances/{instance}")
    form = page.form("CreateSnapshotGroup")
    ticked = [name for name, _ in fields(form) if name.startswith("DiskId.")]
    assert ticked
    refused = browser.submit(page, form, **dict.fromkeys(ticked))
    assert refused.status == 400 and "MissingParameter" in refused.text
    groups = v3.call("DescribeSnapshotGroups", RegionId=REGION, InstanceId=instance)
    assert groups["SnapshotGroups"]["SnapshotGroup"] == []


def test_the_service_says_when_a_page_would_look_different(browser, v3):
    """The stream itself: without it a page would still look now and then."""
    _, disk = v3.attached_disk(1)
    page = browser.get("/console/disks")
    body = page.root.one("body")
    query = urllib.parse.urlencode({"at": "/console/disks", "seen": body["data-version"], "region": body["data-region"]})
    connection = http.client.HTTPConnection(browser.service.endpoint, timeout=20)
    try:
        cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        connection.request("GET", f"/console/live?{query}", headers={"Cookie": cookies, "User-Agent": browser.agent})
        answer = connection.getresponse()
        assert answer.headers["content-type"] == "text/event-stream"
        v3.call("ModifyDiskAttribute", DiskId=disk, DiskName="renamed-for-the-stream")
        said, deadline = [], time.monotonic() + 60
        while b"event: changed\n" not in said:
            line = answer.readline()
            assert time.monotonic() < deadline, f"nothing but signs of life: {said}"
            assert line, f"the stream has ended: {said}"
            said.append(line)
    finally:
        connection.close()


def test_a_new_keys_secret_is_shown_once(browser, service):
    service.cli("user", "create", "dave")
    page = browser.get("/console/dialog/create-key?UserName=dave&_then=/console/users/dave")
    page = browser.submit(page, page.form("CreateAccessKey"))
    secret = page.root.one("code", data_secret="").text
    assert len(secret) == 30
    assert secret not in browser.get("/console/users/dave").raw.decode()
    (row,) = [row for row in browser.get("/console/users/dave").rows() if "Access key ID" in row]
    dave = Browser(service)
    assert dave.sign_in(row["Access key ID"].text, secret).status == 403


# The walk of S30 to S42, without a script


def test_the_walk_from_the_instance_to_its_snapshot(browser, v3):
    instance, disk = v3.attached_disk(1)
    page = browser.get("/console")
    assert "ECS console" in page.root.one("header").text
    pane = page.root.one("nav", aria_label="Console")
    assert [group.text for group in pane.all("p")][:2] == ["Instances & Images", "Storage & Snapshots"]
    page = browser.open(page, "Instances")
    assert page.root.one("select", id="region").one("option", selected="")["value"] == REGION
    # The id and Manage lead to the same place.
    (row,) = [row for row in page.rows() if row["Instance ID/Name"].text.startswith(instance)]
    (manage,) = row["Actions"].labelled("Manage")
    assert manage["href"] == row["Instance ID/Name"].all("a")[0]["href"]
    page = browser.get(manage["href"])
    tabs = page.root.one("nav", aria_label="Instance")
    assert [tab.text for tab in tabs.all("a")][:3] == ["Instance Details", "Cloud Disk", "Snapshot"]
    assert tabs.one("a", aria_current="page").text == "Instance Details"
    page = browser.open(page, "Cloud Disk")
    neutral = [select.all("option")[0].text for select in page.main.all("select")]
    assert neutral == ["Disk Category (All)", "Status (All)", "Type (All)"]
    (row,) = [row for row in page.rows() if disk in row["Disk ID/Name"].text]
    assert row["Status"].text.endswith("In Use") and row["Type"].text == "Data Disk"
    (create,) = row["Actions"].labelled("Create Snapshot")
    page = browser.get(create["href"])
    form = page.form("CreateSnapshot")
    assert page.root.one("h1").text == "Create Snapshot"
    assert "Create Local Snapshot" in form.text and "Instant Access" in form.text
    (button,) = [button for button in form.all("button", type="submit")]
    assert button.text == "Create"
    page = browser.submit(
        page, form, **{"SnapshotName": "by-hand", "Tag.1.Key": "env", "Tag.1.Value": "prod"}
    )
    assert page.path.startswith(f"/console/instances/{instance}")
    told = page.root.one("div", role="status").text
    snapshot = re.search(r"s-\w+", told).group()
    row = v3.snapshot(snapshot)
    assert (row["SnapshotName"], row["SourceDiskId"], row["Category"]) == ("by-hand", disk, "standard")
    assert row["Tags"]["Tag"] == [{"TagKey": "env", "TagValue": "prod"}]
    page = browser.open(page, "Snapshot")
    (row,) = [row for row in page.rows() if snapshot in row["Snapshot ID/Name"].text]
    assert row["Progress"].all("progress") and row["Status"].text
    v3.wait_snapshot(snapshot)
    (row,) = [row for row in browser.get(page.path).rows() if snapshot in row["Snapshot ID/Name"].text]
    assert row["Status"].text.endswith("Accomplished") and "100%" in row["Progress"].text


def test_the_second_entry_offers_the_same_for_disks_of_no_instance(browser, v3):
    instance, disk = v3.attached_disk(1)
    v3.detach(instance, disk)
    page = browser.open(browser.get("/console"), "Disks")
    (row,) = [row for row in page.rows() if disk in row["Disk ID/Name"].text]
    assert row["Status"].text.endswith("Unattached")
    (create,) = row["Actions"].labelled("Create Snapshot")
    page = browser.get(create["href"])
    page = browser.submit(page, page.form("CreateSnapshot"), SnapshotName="from-the-list")
    assert page.root.one("h1").text == "Disks"
    assert [row["SnapshotName"] for row in v3.snapshots(disk)] == ["from-the-list"]


def test_filters_combine(browser, v3):
    instance, disk = v3.attached_disk(1)
    free = v3.new_disk(1)

    def listed(**filters):
        page = browser.get("/console/disks?" + urllib.parse.urlencode(filters))
        assert page.status == 200
        return [row["Disk ID/Name"].text.split()[0] for row in page.rows()]

    assert {disk, free} <= set(listed(Category="cloud_essd"))
    assert free not in listed(Status="In_use") and disk in listed(Status="In_use", DiskType="data")
    assert listed(Status="In_use", DiskType="system", DiskName="no such name") == []
    assert "No disk fits these filters." in browser.get("/console/disks?DiskName=none-such").text
    v3.release(free)


def test_a_region_has_its_own_lists_and_is_remembered(new_service):
    service = new_service(extra=["--region", "cn-hangzhou", "--region", "cn-beijing"])
    disk = Cloud(service).new_disk(1)
    browser = Browser(service)
    browser.sign_in()
    page = browser.get("/console/disks")
    names = [option.text for option in page.root.one("select", id="region").all("option")]
    assert names == ["China (Hangzhou) · cn-hangzhou", "China (Beijing) · cn-beijing"]
    assert disk in page.text
    assert disk not in browser.get("/console/disks?region=cn-beijing").text
    assert browser.get("/console/disks").root.one("select", id="region").one("option", selected="")["value"] == "cn-beijing"
    assert disk in browser.get("/console/disks?region=cn-hangzhou").text


def test_rolling_back_says_what_is_in_the_way_and_starts_afterwards(browser, v3):
    instance, disk = v3.attached_disk(1)
    with v3.service.client(disk) as client:
        client.write(0, b"a" * 4096)
        client.flush()
    snapshot = v3.take_snapshot(disk)
    with v3.service.client(disk) as client:
        client.write(0, b"b" * 4096)
        client.flush()
    place = f"/console/dialog/roll-back?DiskId={disk}&SnapshotId={snapshot}&_then=/console/disks/{disk}"
    page = browser.get(place)
    assert "has to be Stopped" in page.text and not page.form("ResetDisk").all("button", type="submit")
    assert "cannot be undone" in page.text and page.root.labelled("Create Snapshot")
    v3.stop_instance(instance)
    page = browser.get(place)
    page = browser.submit(page, page.form("ResetDisk"), _start="true")
    assert "rolled back" in page.text
    v3.wait_instance(instance, "Running")
    with v3.service.client(disk) as client:
        assert client.read(0, 4096) == b"a" * 4096


def test_deleting_says_what_it_frees_and_can_be_undone(browser, v3):
    instance, disk = v3.attached_disk(1)
    with v3.service.client(disk) as client:
        client.write(0, bytes(range(256)) * 4096)
        client.flush()
    snapshot = v3.take_snapshot(disk)
    v3.take_snapshot(disk)
    page = browser.get(f"/console/dialog/delete-snapshot?SnapshotId={snapshot}")
    assert "Deleting it would free at most about 0 B" in page.text, "the second one shares all of it"
    browser.submit(page, page.form("DeleteSnapshot"))
    assert v3.snapshot(snapshot) is None
    page = browser.get("/console/snapshots?tab=deleted")
    (row,) = [row for row in page.rows() if snapshot in row["Snapshot ID/Name"].text]
    page = browser.get(row["Actions"].labelled("Undelete")[0]["href"])
    browser.submit(page, page.form("UndeleteSnapshot"))
    assert v3.snapshot(snapshot)["Status"] == "accomplished"


def test_what_is_stored_stands_in_the_list_and_at_the_end_of_the_curve(browser, v3):
    _, disk = v3.attached_disk(1)
    with v3.service.client(disk) as client:
        client.write(0, os.urandom(1 << 20))
        client.flush()
    snapshot = v3.take_snapshot(disk)
    (row,) = [row for row in browser.get(f"/console/snapshots?DiskId={disk}").rows() if snapshot in row["Snapshot ID/Name"].text]
    assert re.fullmatch(r"1\.\d\d MiB", row["Stored"].text), row["Stored"].text
    page = browser.get("/console/snapshots?tab=size")
    stored = page.root.all("span", class_="value")[0].text
    assert page.root.one("svg", class_="curve")["aria-label"] == f"Stored by snapshots: {stored} at the end."


def test_several_snapshots_are_deleted_at_once(browser, v3):
    _, disk = v3.attached_disk(1)
    gone = [v3.take_snapshot(disk) for _ in range(2)]
    kept = v3.take_snapshot(disk)
    page = browser.get(f"/console/snapshots?DiskId={disk}")
    boxes = [box["value"] for box in page.root.all("input", type="checkbox", name="_each")]
    assert set(boxes) == {kept, *gone}
    pairs = [("_each", snapshot) for snapshot in [*gone, "s-nowhere"]]
    page = browser.get("/console/dialog/delete-snapshots?" + urllib.parse.urlencode([*pairs, ("_then", "/console/snapshots")]))
    assert "Delete 3 snapshots?" in page.text and "Deleting them would free at most" in page.text
    line = page.root.one("code", data_command_line="").text
    assert line.startswith(f"for id in {gone[0]} ") and line.endswith('--SnapshotId "$id"; done')
    page = browser.submit(page, page.form("DeleteSnapshot"))
    told = page.root.one("div", role="status").text
    assert "2 of 3 snapshots deleted." in told and "s-nowhere: " in told and "InvalidSnapshotId.NotFound" in told
    assert [row["SnapshotId"] for row in v3.snapshots(disk)] == [kept]


def test_what_changed_between_two_snapshots(browser, v3):
    _, disk = v3.attached_disk(1)
    first = v3.take_snapshot(disk)
    with v3.service.client(disk) as client:
        client.write(256 << 20, b"x" * (1 << 20))
        client.flush()
    second = v3.take_snapshot(disk)
    answer = json.loads(
        v3.service.cli("ecs", "DescribeSnapshotChanges", "--SnapshotId", second, "--Parts", "4").stdout
    )
    assert (answer["BaseSnapshotId"], answer["ChangedSize"]) == (first, 1 << 20)
    assert answer["Parts"]["ChangedBytes"] == [0, 1 << 20, 0, 0]
    assert answer["ChangedRanges"]["ChangedRange"] == [{"Offset": 256 << 20, "Length": 1 << 20}]
    page = browser.get(f"/console/snapshots/{second}")
    assert first in page.main.text and "1.00 MiB of 1.00 GiB." in page.text
    assert page.root.all("svg", class_="heat")


def test_how_long_clients_waited_is_drawn_with_the_times_of_snapshots(browser, v3):
    instance, disk = v3.attached_disk(1)
    assert not browser.get(f"/console/disks/{disk}").root.all("svg", class_="latency")
    # A period that began before the disk was opened is not shown, and what happened may be told of as up to a period before.
    time.sleep(21)
    with v3.service.client(disk) as client:
        for piece in range(64):
            client.write(piece << 16, bytes([piece]) * (1 << 16))
        client.read(0, 1 << 16)
        client.flush()
        v3.take_snapshot(disk)

    def drawn():
        # A period is drawn when it is over.
        pictures = browser.get(f"/console/disks/{disk}").root.all("svg", class_="latency")
        return pictures and pictures[0]

    picture = wait_until(drawn, "the latency is drawn", timeout=40)
    assert len(picture.all("rect", class_="window")) == 1
    assert picture.all("path", class_="line") and picture.all("path", class_="second")
    assert browser.get(f"/console/instances/{instance}?tab=monitoring").root.all("svg", class_="latency")
    now = datetime.datetime.now(datetime.UTC)
    times = [f"{now + datetime.timedelta(minutes=by):%Y-%m-%dT%H:%M:00Z}" for by in (-5, 2)]

    def counted():
        # What the end of a period cut in two is all there when the next one is over.
        answer = v3.call("DescribeDiskMonitorData", RegionId=REGION, DiskId=disk, StartTime=times[0], EndTime=times[1], Period=10)
        points = answer["MonitorData"]["DiskMonitorData"]
        assert answer["TotalCount"] == len(points) and {point["DiskId"] for point in points} <= {disk}
        assert all((point["BPSWrite"] > 0) <= (point["LatencyWrite"] > 0) for point in points)
        # Rates are rounded: to a byte in a second.
        return abs(sum(point["BPSWrite"] for point in points) * 10 - (4 << 20)) <= 10 * len(points)

    wait_until(counted, "what was written is all counted, and nothing twice", timeout=40)
    # The slowest hundredth is a field of ours, which the SDK does not know: of these few writes it is the slowest of all.
    words = ["--DiskId", disk, "--StartTime", times[0], "--EndTime", times[1], "--Period", "10"]
    points = json.loads(v3.service.cli("ecs", "DescribeDiskMonitorData", "--RegionId", REGION, *words).stdout)
    points = points["MonitorData"]["DiskMonitorData"]
    assert any(point["LatencyWriteP99"] >= point["LatencyWrite"] > 0 for point in points)
    page = browser.get(f"/console/disks/{disk}?latency=p99")
    assert "99 of 100 requests" in page.root.all("svg", class_="latency")[0]["aria-label"]


def test_a_disk_that_is_being_filled_shows_what_is_here_already(browser, v3):
    instance, disk = v3.attached_disk(1)
    with v3.service.client(disk) as client:
        for piece in range(32):
            client.write(piece << 20, os.urandom(1 << 20))
        client.flush()
    snapshot = v3.take_snapshot(disk)
    with v3.service.client(disk) as client:
        for piece in range(32):
            client.write(piece << 20, os.urandom(1 << 20))
        client.flush()
    assert not browser.get(f"/console/disks/{disk}").root.all("svg", class_="filling")
    # Paused it stays, also when it is rolled back.
    page = browser.get(f"/console/dialog/hydration?DiskId={disk}")
    browser.submit(page, page.form("ModifyDiskHydration"), Paused="true")
    v3.stop_instance(instance)
    page = browser.get(f"/console/dialog/roll-back?DiskId={disk}&SnapshotId={snapshot}")
    browser.submit(page, page.form("ResetDisk"))
    picture = wait_until(
        lambda: browser.get(f"/console/disks/{disk}").root.all("svg", class_="filling"), "what is here is drawn"
    )
    assert "of 512 parts" in picture[0]["aria-label"]
    answer = json.loads(v3.service.cli("ecs", "DescribeDiskHydration", "--DiskId", disk, "--Parts", "16").stdout)
    parts = answer["Parts"]["AbsentBytes"]
    assert len(parts) == 16 and sum(parts) == answer["AbsentBytes"] > 0 and parts[0] >= 32 << 20
    assert "Parts" not in json.loads(v3.service.cli("ecs", "DescribeDiskHydration", "--DiskId", disk).stdout)
    page = browser.get(f"/console/dialog/hydration?DiskId={disk}")
    browser.submit(page, page.form("ModifyDiskHydration"), Paused="false")
    wait_until(lambda: not browser.get(f"/console/disks/{disk}").root.all("svg", class_="filling"), "the disk is whole")


def test_tags_lead_to_what_has_them(browser, v3):
    disk = v3.new_disk(1)
    v3.call("TagResources", RegionId=REGION, ResourceType="disk", ResourceId=[disk], Tag=[{"Key": "team", "Value": "blue & red"}])
    page = browser.get("/console/tags")
    (row,) = [row for row in page.rows() if "Tag key" in row and row["Tag key"].text == "team"]
    assert row["Tag value"].text == "blue & red" and row["Instances"].text == "–"
    listed = browser.get(row["Disks"].all("a")[0]["href"]).rows()
    assert [row["Disk ID/Name"].all("a")[0].text for row in listed if "Disk ID/Name" in row] == [disk]
    v3.release(disk)


def test_an_instance_snapshot_can_be_begun_from_its_list(browser, v3):
    instance, _ = v3.attached_disk(1)
    page = browser.open(browser.get("/console/snapshots?tab=groups"), "Create Instance Snapshot")
    (link,) = [link for link in page.main.all("a") if link.text.startswith(instance)]
    page = browser.get(link["href"])
    page = browser.submit(page, page.form("CreateSnapshotGroup"), Name="of-a-list")
    assert "of-a-list" in page.text


def test_a_command_line_does_what_its_form_does(browser, v3):
    _, disk = v3.attached_disk(1)
    page = browser.get(f"/console/dialog/create-snapshot?DiskId={disk}&Description=it%27s+from+a+shell")
    line = page.root.one("code", data_command_line="").text
    words = shlex.split(line)
    assert words == ["tidemark", "ecs", "CreateSnapshot", "--RegionId", REGION, "--DiskId", disk, "--Description", "it's from a shell"]
    answer = json.loads(v3.service.cli(*words[1:]).stdout)
    assert v3.snapshot(answer["SnapshotId"])["Description"] == "it's from a shell"


def test_a_policy_is_made_and_applied(browser, v3):
    disk = v3.new_disk(1)
    page = browser.get("/console/dialog/create-policy?_then=/console/snapshots?tab=policies")
    form = page.form("CreateAutoSnapshotPolicy")
    hours = [box for box in form.all("input", type="checkbox") if box["name"] == "timePoints[]"]
    assert len(hours) == 24
    page = browser.submit(page, form, autoSnapshotPolicyName="nightly", _keep="always")
    (row,) = [row for row in page.rows() if "Policy ID/Name" in row and "nightly" in row["Policy ID/Name"].text]
    assert row["Executed At"].text == "01:00 UTC+8" and row["Keep Snapshots"].text == "Always Keep"
    page = browser.get(row["Actions"].labelled("Apply Policy")[0]["href"])
    form = page.form("ApplyAutoSnapshotPolicy")
    page = browser.submit(page, form, **{"diskIds[]": disk})
    assert v3.disk(disk)["AutoSnapshotPolicyId"].startswith("sp-")
    page = browser.get("/console/disks/" + disk)
    assert v3.disk(disk)["AutoSnapshotPolicyId"] in page.text
    v3.release(disk)


def test_the_ready_line_names_the_console(service):
    assert f"console http://{service.endpoint}/console" in service.ready_line


def test_a_disk_is_made_of_a_form(browser, v3):
    page = browser.get("/console/dialog/create-disk")
    form = page.form("CreateDisk")
    assert dict(fields(form))["ZoneId"] == ZONE
    (button,) = form.all("button", type="submit")
    assert button.text == "Preview"
    wanted = {"Size": "3", "DiskCategory": "cloud_essd", "PerformanceLevel": "PL0", "DiskName": "of-a-form", "Tag.1.Key": "env"}
    page = browser.submit(page, form, **wanted)
    shown = {item.one("dt").text: item.one("dd").text for item in page.main.one("dl").all("div")}
    assert (shown["Capacity"], shown["Storage"], shown["Disk Name"], shown["Tag"]) == ("3 GiB", "ESSD PL0", "of-a-form", "env")
    assert (shown["Quantity"], shown["Create from Snapshot"]) == ("1", "None: an empty disk")
    assert v3.one("DescribeDisks", DiskName="of-a-form") is None, "a preview makes nothing"
    # Back, with all that was typed; and on again.
    back = browser.post("/console/preview/CreateDisk", [*fields(page.form("CreateDisk")), ("_back", "true")])
    again = dict(fields(back.form("CreateDisk")))
    assert {name: again[name] for name in wanted} == wanted
    page = browser.submit(back, back.form("CreateDisk"))
    page = browser.submit(page, page.form("CreateDisk"))
    disk = re.search(r"d-\w+", page.root.one("div", role="status").text).group()
    v3.wait_disk(disk, "Available")
    assert (v3.disk(disk)["Size"], v3.disk(disk)["DiskName"]) == (3, "of-a-form")
    v3.release(disk)


def test_several_disks_are_made_of_one_form(browser, v3):
    page = browser.get("/console/dialog/create-disk")
    level = {"Size": "1", "DiskCategory": "cloud_essd", "PerformanceLevel": "PL0", "DiskName": "of-three"}
    for wrong in ("0", "-1", "101", "many"):
        refused = browser.submit(page, page.form("CreateDisk"), **level, _Quantity=wrong)
        assert refused.status == 400 and "Quantity" in refused.root.one("div", role="alert").text, wrong
        assert dict(fields(refused.form("CreateDisk")))["_Quantity"] == wrong
    page = browser.submit(page, page.form("CreateDisk"), **level, _Quantity="3")
    assert "1 GiB each, 3 GiB in all" in page.text
    form = page.form("CreateDisk")
    line = page.root.one("code", data_command_line="").text
    assert line.startswith("for n in $(seq 3); do tidemark ecs CreateDisk ") and line.endswith("; done")
    told = browser.submit(page, form).root.one("div", role="status").text
    made = re.findall(r"d-\w+", told)
    assert "3 of 3 disks are being made" in told and len(set(made)) == 3
    # The same form once more makes nothing more.
    assert re.findall(r"d-\w+", browser.submit(page, form).root.one("div", role="status").text) == made
    for disk in made:
        v3.wait_disk(disk, "Available")
        assert v3.disk(disk)["DiskName"] == "of-three"
        v3.release(disk)


def test_a_preview_says_what_is_wrong_already(browser, service):
    page = browser.get("/console/dialog/create-disk")
    refused = browser.submit(page, page.form("CreateDisk"), DiskCategory="cloud_efficiency", Size="5")
    assert refused.status == 400 and "InvalidSize" in refused.text and refused.root.one("h1").text == "Create Disk"
    reader, _ = as_user(service, "previewer", "AliyunECSReadOnlyAccess")
    page = reader.get("/console/dialog/create-disk")
    assert reader.submit(page, page.form("CreateDisk")).status == 403


def test_a_preview_knows_the_snapshot_and_the_instance(browser, v3, service):
    instance, disk = v3.attached_disk(5)
    snapshot = v3.take_snapshot(disk)
    page = browser.get("/console/dialog/create-disk")
    form = page.form("CreateDisk")
    level = {"Size": "1", "PerformanceLevel": "PL0", "DiskName": "previewed"}
    assert "5 GiB each, 10 GiB in all" in browser.submit(page, form, **level, SnapshotId=snapshot, _Quantity="2").text
    refused = browser.submit(page, form, **level, SnapshotId="s-nope")
    assert refused.status == 404 and "s-nope" in refused.root.one("div", role="alert").text
    assert dict(fields(refused.form("CreateDisk")))["DiskName"] == "previewed"
    # 16 data disks, and one is there.
    refused = browser.submit(page, form, **level, _attach=instance, _Quantity="16")
    assert refused.status == 403 and "15 of its 16 data disks are free" in refused.text
    # Another region's choice leads to a page that there is.
    preview = browser.submit(page, form, **level)
    (place,) = [form["action"] for form in preview.root.all("form") if form.all("select", id="region")]
    assert browser.get(place).status == 200
    service.cli("user", "create", "maker")
    document = {"Version": "1", "Statement": [{"Effect": "Allow", "Action": ["ecs:Describe*", "ecs:CreateDisk"], "Resource": "*"}]}
    service.cli("permission", "create", "makers", "--document", "-", input=json.dumps(document))
    service.cli("permission", "attach", "makers", "--user", "maker")
    key = json.loads(service.cli("key", "create", "--user", "maker", "--json").stdout)
    maker = Browser(service)
    maker.sign_in(key["AccessKeyId"], key["AccessKeySecret"])
    page = maker.get("/console/dialog/create-disk")
    assert instance not in page.main.text, "an instance that nothing may be attached to is not offered"
    refused = maker.submit(page, page.form("CreateDisk"), **level, _attach=instance)
    assert refused.status == 403 and "AttachDisk" in refused.text


def test_new_disks_are_attached_and_a_form_sent_twice_says_nothing_else(browser, v3):
    instance = v3.new_instance()
    page = browser.get("/console/dialog/create-disk?_then=/console/disks")
    page = browser.submit(page, page.form("CreateDisk"), Size="1", PerformanceLevel="PL0", _attach=instance, _Quantity="2")
    form = page.form("CreateDisk")
    made = re.findall(r"d-\w+", browser.submit(page, form).root.one("div", role="status").text)
    assert len(made) == 2
    for disk in made:
        v3.wait_disk(disk, "In_use")
    browser.submit(page, form)
    time.sleep(1.5)
    assert "not attached" not in browser.get("/console/disks").text


def test_several_disks_are_resized_at_once(browser, v3):
    small, large = v3.new_disk(1), v3.new_disk(5)
    page = browser.get("/console/disks")
    boxes = [box["value"] for box in page.root.all("input", type="checkbox", name="_each")]
    assert {small, large} <= set(boxes)
    query = urllib.parse.urlencode([("_each", small), ("_each", large), ("_then", "/console/disks")])
    page = browser.get("/console/dialog/resize-disks?" + query)
    assert "1 GiB" in page.text and "5 GiB" in page.text
    page = browser.submit(page, page.form("ResizeDisk"), NewSize="3")
    told = page.root.one("div", role="status").text
    assert "1 of 2 disks being resized." in told and f"{large}: " in told
    wait_until(lambda: v3.disk(small)["Size"] == 3, "the smaller one grows")
    assert v3.disk(large)["Size"] == 5
    # Back in the browser, and with another size: that is another request.
    page = browser.get("/console/dialog/resize-disks?" + query)
    form = page.form("ResizeDisk")
    assert "1 of 2" in browser.submit(page, form, NewSize="4").text
    assert "2 of 2" in browser.submit(page, form, NewSize="6").text
    # All of them refused, the form comes back with what was typed.
    for wrong in ("2", "many"):
        refused = browser.submit(page, form, NewSize=wrong)
        assert refused.status in (400, 403), refused.text
        assert dict(fields(refused.form("ResizeDisk")))["NewSize"] == wrong and refused.root.all("div", role="alert")
    for disk in (small, large):
        v3.release(disk)


def test_a_disks_category_is_changed(browser, v3):
    disk = v3.new_disk(20)
    page = browser.get("/console/disks")
    (row,) = [row for row in page.rows() if disk in row["Disk ID/Name"].text]
    (change,) = row["Actions"].labelled("Change Category")
    page = browser.get(change["href"])
    form = page.form("ModifyDiskSpec")
    assert dict(fields(form))["DiskCategory"] == v3.disk(disk)["Category"]
    refused = browser.submit(page, form, DiskCategory="cloud_auto", PerformanceLevel="PL1")
    assert refused.status == 400 and "PerformanceLevel" in refused.text
    browser.submit(page, form, DiskCategory="cloud_auto", PerformanceLevel=None)
    assert v3.disk(disk)["Category"] == "cloud_auto"
    v3.release(disk)


def test_snapshots_are_found_by_id_and_time(browser, v3):
    _, disk = v3.attached_disk(1)
    first, second = v3.take_snapshot(disk), v3.take_snapshot(disk)

    def found(**query):
        page = browser.get("/console/snapshots?" + urllib.parse.urlencode({"DiskId": disk, **query}))
        assert page.status == 200
        return {snapshot for snapshot in (first, second) if snapshot in page.main.text}

    today = datetime.datetime.now(datetime.UTC).date()
    day = datetime.timedelta(days=1)
    assert found() == {first, second} and found(_id=first) == {first}
    assert found(_from=today - day, _until=today + day) == {first, second}
    assert found(_until=today - day) == set() and found(_from=today + day) == set()
    # What is no day is told where it can be mended.
    page = browser.get("/console/snapshots?_from=yesterday")
    assert "'yesterday'" in page.text.replace('"', "'") and page.root.one("input", name="_from")["value"] == "yesterday"


def test_consistency_is_ticked_and_what_was_reached_is_shown(browser, v3):
    instance, _ = v3.attached_disk(1)
    page = browser.get(f"/console/dialog/create-instance-snapshot?InstanceId={instance}&_then=/console/instances/{instance}?tab=groups")
    assert {"Enable Application-consistent Snapshot", "Enable File System Freeze and Thaw"} <= {
        label.text for label in page.main.all("label")
    }
    pairs = [*fields(page.form("CreateSnapshotGroup")), ("Consistency", "Application"), ("Consistency", "FileSystem")]
    page = browser.post("/console/do/CreateSnapshotGroup", pairs)
    assert page.status == 200
    (group,) = v3.call("DescribeSnapshotGroups", RegionId=REGION, InstanceId=instance)["SnapshotGroups"]["SnapshotGroup"]
    # An instance that others run has no agent of ours: that is said, not passed over.
    members = [member["SnapshotId"] for member in group["Snapshots"]["Snapshot"]]
    for member in members:
        v3.wait_snapshot(member)
        tags = {tag["TagKey"]: tag["TagValue"] for tag in v3.snapshot(member)["Tags"]["Tag"]}
        assert tags["FsConsistent"] == tags["APPConsistent"] == "False" and tags["ConsistencyFallback"]
        page = browser.get(f"/console/snapshots/{member}")
        assert "APPConsistent: False" in page.text
    (row,) = [row for row in browser.get("/console/snapshots?tab=groups").rows() if group["SnapshotGroupId"] in row["Instance Snapshot ID/Name"].text]
    assert "APPConsistent: False" in row["Tag"].text


def test_verify_now_has_a_verdict(browser, v3):
    _, disk = v3.attached_disk(1)
    snapshot = v3.take_snapshot(disk)
    place = f"/console/snapshots/{snapshot}"
    assert "Not verified by itself yet" in browser.get(place).text
    page = browser.get(f"/console/dialog/verify?SnapshotId.1={snapshot}&_then={place}")
    browser.submit(page, page.form("StartVaultScrub"))
    wait_until(lambda: re.search("Whole ?: verified", browser.get(place).text), "the verdict")


def test_a_disk_that_was_never_attached_is_attached_first(browser, v3):
    disk = v3.new_disk(1)
    (row,) = [row for row in browser.get("/console/disks").rows() if disk in row["Disk ID/Name"].text]
    assert row["Actions"].labelled("Attach") and not row["Actions"].labelled("Create Snapshot")
    v3.release(disk)


def test_empty_results_and_events_of_one_thing(browser, service, v3):
    for place, word in (("instances?InstanceName=none-such", "instance"), ("images?ImageName=none-such", "image"), ("events?ResourceId=none", "event")):
        assert f"No {word} fits these filters." in browser.get(f"/console/{place}").text
    instance, disk = v3.attached_disk(1)
    assert browser.get(f"/console/instances/{instance}?tab=events").status == 200
    assert browser.get(f"/console/disks/{disk}").main.labelled("Events")
    reader, _ = as_user(service, "looker", "AliyunECSReadOnlyAccess")
    page = reader.get("/console/users")
    assert "You may not see users" in page.text and not page.root.all("div", role="alert")


def test_rolling_back_says_what_the_newest_snapshot_is_worth(browser, v3):
    _, disk = v3.attached_disk(1)
    target = v3.take_snapshot(disk)
    place = f"/console/dialog/roll-back?DiskId={disk}&SnapshotId={target}"
    assert "newest snapshot" not in browser.get(place).text
    safety = v3.take_snapshot(disk)
    page = browser.get(place)
    assert f"The newest snapshot of {disk} is {safety}" in page.text


def test_rolling_an_instance_back_tells_what_is_left_out_and_offers_to_stop(browser, v3):
    instance, disk = v3.attached_disk(1)
    _, other = v3.attached_disk(1, instance)
    group = v3.call("CreateSnapshotGroup", RegionId=REGION, InstanceId=instance)["SnapshotGroupId"]

    def done():
        (row,) = v3.call("DescribeSnapshotGroups", RegionId=REGION, InstanceId=instance)["SnapshotGroups"]["SnapshotGroup"]
        return row["Status"] == "accomplished"

    wait_until(done, "the group is there")
    v3.detach(instance, other)
    v3.release(other)
    page = browser.get(f"/console/dialog/roll-back-instance?_group={group}")
    assert page.root.labelled("Stop the instance first") and page.root.labelled("Create Instance Snapshot")
    assert f"The disk {other} is no more, so it is left out." in page.text
    assert "has to be set again" in page.text and "grown again" in page.text
    page = browser.get(f"/console/dialog/delete-group?SnapshotGroupId={group}")
    assert disk in page.text and "would free at most" in page.text and "can be brought back" in page.text


def test_forms_count_like_calls_of_the_api(new_service, scratch):
    config = scratch / "tidemark.toml"
    config.write_text("[throttle]\nactions.CreateUser = 1\nactions.CreateDisk = 1\nactions.DescribeDisks = 1\n")
    service = new_service(extra=["--config", str(config)])
    browser = Browser(service)
    browser.sign_in()
    # A bucket holds two seconds' worth.
    page = browser.get("/console/dialog/create-user?_then=/console/users")
    answers = [browser.submit(page, page.form("CreateUser"), UserName=f"user-{number}") for number in range(8)]
    refused = [answer for answer in answers if answer.status != 200]
    assert 1 <= len(refused) <= 6 and all("Throttling" in answer.text for answer in refused)
    # Pages do not count, and one form of several things waits for its turn.
    assert all(browser.get("/console/disks").status == 200 for _ in range(10))
    page = browser.get("/console/dialog/create-disk")
    page = browser.submit(page, page.form("CreateDisk"), Size="1", PerformanceLevel="PL0", _Quantity="4")
    told = browser.submit(page, page.form("CreateDisk")).root.one("div", role="status").text
    assert "4 of 4 disks are being made" in told


def test_second_steps_count_too(new_service, scratch):
    config = scratch / "tidemark.toml"
    config.write_text("[throttle]\nactions.AttachDisk = 1\n")
    service = new_service(extra=["--config", str(config)])
    v3, browser = Cloud(service), Browser(service)
    instance = v3.new_instance()
    browser.sign_in()
    page = browser.get("/console/dialog/create-disk")
    page = browser.submit(page, page.form("CreateDisk"), Size="1", PerformanceLevel="PL0", _Quantity="6", _attach=instance)
    told = browser.submit(page, page.form("CreateDisk")).root.one("div", role="status").text
    made = re.findall(r"d-\w+", told)
    times = []
    for disk in made:
        v3.wait_disk(disk, "In_use")
        times.append(datetime.datetime.fromisoformat(v3.disk(disk)["AttachedTime"]))
    # Two at once, and then one in a second: what the rate allows, however fast or slow the machine is.
    assert len(times) == 6 and max(times) - min(times) >= datetime.timedelta(seconds=3)


def test_no_secret_is_in_the_log(new_service):
    service = new_service()
    browser = Browser(service)
    browser.sign_in(KEY, "not the secret")
    browser.sign_in()
    service.cli("user", "create", "dora")
    page = browser.get("/console/dialog/set-password?UserName=dora")
    browser.submit(page, page.form("CreateLoginProfile"), Password="a phrase of dora's")
    Browser(service).sign_in("dora", "a phrase of dora's")
    page = browser.get("/console/dialog/create-key?UserName=dora")
    form = page.form("CreateAccessKey")
    token = dict(fields(form))["_csrf"]
    shown = browser.submit(page, form)
    (secret,) = [code.text for code in shown.main.all("code") if "data-secret" in code.attributes]
    log = service.log.read_text()
    assert "done from the console" in log
    for hidden in (SECRET, "not the secret", "a phrase of dora", secret, token, *browser.cookies.values()):
        if hidden != REGION:
            assert hidden not in log
    # Whoever reads the pages of others finds none either.
    for place in ("users", "users/dora", "events", "tasks"):
        text = browser.get(f"/console/{place}").raw.decode()
        assert SECRET not in text and secret not in text and "a phrase of dora" not in text
