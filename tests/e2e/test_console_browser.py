"""The console in a real browser: the walk of S30 to S42 with its labels and its results by the API, dialogs, two tabs, a lost
service, keyboard, narrow and wide screens, and what an accessibility checker says (axe-core).

Chromium is Debian's; nothing is fetched from a network but the service's own files.
"""

import json
import os
import pathlib
import re

import pytest
from cloud import Cloud
from playwright.sync_api import expect, sync_playwright
from service import KEY, SECRET, wait_until

CHROMIUM = os.environ.get("TIDEMARK_CHROMIUM", "/usr/bin/chromium")
AXE = pathlib.Path(os.environ.get("TIDEMARK_NODE_MODULES", "target/node/node_modules")) / "axe-core" / "axe.min.js"
WAIT = 30_000
# A page that took long to make is looked at less often.
expect.set_options(timeout=20_000)


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            # A container has no sandbox of its own to nest, and little shared memory.
            args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
        )
        yield browser
        browser.close()


@pytest.fixture
def new_page(chromium, service):
    """Makes a signed-in page; what the browser's console says against it fails the test."""
    contexts, said = [], []

    def make(to=service, name=KEY, secret=SECRET, **options):
        # Scripts are checked against the policy, so axe is injected past it only where a test asks for that.
        context = chromium.new_context(base_url=f"http://{to.endpoint}", **options)
        context.set_default_timeout(WAIT)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("console", lambda line: said.append(line.text) if "Content Security Policy" in line.text else None)
        sign_in(page, name, secret)
        return page

    yield make
    for context in contexts:
        context.close()
    assert said == []


def sign_in(page, name=KEY, secret=SECRET):
    page.goto("/console/sign-in")
    page.get_by_label("Access key ID or user name").fill(name)
    page.get_by_label("Access key secret or password").fill(secret)
    page.get_by_role("button", name="Sign in").click()


def row_of(page, text):
    return page.get_by_role("row").filter(has_text=text)


@pytest.fixture
def page(new_page):
    return new_page()


def test_the_walk_as_the_manual_has_it(page, v3):
    instance, disk = v3.attached_disk(1)
    # S31 to S34: the left pane, the list, Manage, the tab that is open first.
    expect(page.get_by_role("navigation", name="Console")).to_contain_text("Instances & Images")
    page.get_by_role("link", name="Instances", exact=True).click()
    expect(page.get_by_label("Region")).to_have_value("cn-hangzhou")
    row_of(page, instance).get_by_role("link", name=re.compile("^Manage")).click()
    tabs = page.get_by_role("navigation", name="Instance")
    expect(tabs.get_by_role("link", name="Instance Details")).to_have_attribute("aria-current", "page")
    # S35 and S36: the disks, narrowed without a reload.
    tabs.get_by_role("link", name="Cloud Disk").click()
    for label in ("Disk Category", "Status", "Type"):
        expect(page.get_by_label(label, exact=True).locator("option").first).to_have_text(f"{label} (All)")
    page.evaluate("window.notReloaded = true")
    page.get_by_label("Type", exact=True).select_option("System Disk")
    expect(row_of(page, disk)).to_have_count(0)
    page.get_by_label("Type", exact=True).select_option("Data Disk")
    page.get_by_label("Status", exact=True).select_option("In Use")
    expect(row_of(page, disk)).to_have_count(1)
    assert "DiskType=data" in page.url and "Status=In_use" in page.url and page.evaluate("window.notReloaded")
    # S37 to S39: the dialog.
    row_of(page, disk).get_by_role("link", name=re.compile("^Create Snapshot")).click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading", name="Create Snapshot")).to_be_visible()
    dialog.get_by_label("Snapshot Name").fill("as-the-manual")
    dialog.get_by_label("Tag key 1").fill("env")
    dialog.get_by_label("Tag value 1").fill("prod")
    expect(dialog.get_by_label("Create Local Snapshot")).not_to_be_checked()
    expect(dialog.locator("[data-command-line]")).to_contain_text("--SnapshotName as-the-manual --Tag.1.Key env --Tag.1.Value prod")
    dialog.get_by_role("button", name="Create", exact=True).click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    told = page.locator("main > .notice")
    expect(told).to_contain_text("The snapshot is being created.")
    snapshot = re.search(r"s-\w+", told.inner_text()).group()
    row = v3.snapshot(snapshot)
    assert (row["SnapshotName"], row["SourceDiskId"], row["Category"]) == ("as-the-manual", disk, "standard")
    assert row["Tags"]["Tag"] == [{"TagKey": "env", "TagValue": "prod"}]
    # S40: the Snapshot tab, which moves by itself.
    page.get_by_role("navigation", name="Instance").get_by_role("link", name="Snapshot", exact=True).click()
    expect(row_of(page, snapshot)).to_contain_text("Accomplished")
    expect(row_of(page, snapshot)).to_contain_text("100%")
    # S41: the second entry.
    page.get_by_role("link", name="Disks", exact=True).click()
    expect(row_of(page, disk).get_by_role("link", name=re.compile("^Create Snapshot"))).to_be_visible()


def test_a_refusal_stays_in_the_dialog_with_what_was_typed(page, v3):
    _, disk = v3.attached_disk(1)
    page.goto(f"/console/disks/{disk}")
    page.get_by_role("link", name=re.compile("^Create Snapshot")).first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Snapshot Name").fill("auto-no")
    dialog.get_by_role("button", name="Create", exact=True).click()
    expect(dialog.get_by_role("alert")).to_contain_text("InvalidSnapshotName.Malformed")
    expect(dialog.get_by_label("Snapshot Name")).to_have_value("auto-no")
    dialog.get_by_label("Snapshot Name").fill("fine")
    dialog.get_by_role("button", name="Create", exact=True).click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert [row["SnapshotName"] for row in v3.snapshots(disk)] == ["fine"]


def test_a_disk_is_looked_at_before_it_is_made(page, v3):
    page.goto("/console/disks")
    page.get_by_role("link", name="Create Disk").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Capacity, GiB").fill("3")
    dialog.get_by_label("Performance Level").select_option("PL0")
    dialog.get_by_label("Disk Name").fill("looked-at")
    dialog.get_by_label("Quantity").fill("2")
    expect(dialog.locator("[data-command-line]")).to_contain_text("for n in $(seq 2); do tidemark ecs CreateDisk")
    dialog.get_by_role("button", name="Preview").click()
    expect(dialog.get_by_role("heading", name="Create Disk: Preview")).to_be_focused()
    expect(dialog).to_contain_text("3 GiB each, 6 GiB in all")
    dialog.get_by_role("button", name="Back").click()
    expect(dialog.get_by_label("Disk Name")).to_have_value("looked-at")
    dialog.get_by_label("Quantity").fill("0")
    dialog.get_by_role("button", name="Preview").click()
    expect(dialog.get_by_role("alert")).to_contain_text("Quantity")
    dialog.get_by_label("Quantity").fill("1")
    dialog.get_by_role("button", name="Preview").click()
    dialog.get_by_role("button", name="Create", exact=True).click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.locator("tbody tr").filter(has_text="looked-at")).to_have_count(1)
    assert v3.call("DescribeDisks", RegionId="cn-hangzhou", DiskName="looked-at")["TotalCount"] == 1


def test_progress_status_and_actions_are_in_sight(new_page, things):
    page = new_page(viewport={"width": 1280, "height": 900})
    for place in (f"/console/instances/{things['instance']}?tab=snapshots", "/console/snapshots"):
        page.goto(place)
        row = row_of(page, things["snapshot"])
        for label in ("Progress", "Status", "Actions"):
            box = row.locator(f"[data-label={label}]").bounding_box()
            assert box["x"] >= 0 and box["x"] + box["width"] <= 1280, (place, label, box)


def test_a_day_can_be_typed(page, things):
    page.goto("/console/snapshots")
    page.get_by_text("By ID and time").click()
    # As it is typed here: month, day, year.
    page.get_by_label("Created from (UTC)").press_sequentially("01152026")
    page.get_by_label("Created until (UTC)").focus()
    expect(page.get_by_label("Created from (UTC)")).to_have_value("2026-01-15")
    page.wait_for_url("**_from=2026-01-15**")
    expect(row_of(page, things["snapshot"])).to_have_count(1)


def test_a_page_follows_what_others_do(page, v3):
    _, disk = v3.attached_disk(1)
    page.goto("/console/disks")
    expect(row_of(page, disk)).to_have_count(1)
    v3.call("ModifyDiskAttribute", DiskId=disk, DiskName="renamed-elsewhere")
    expect(row_of(page, disk)).to_contain_text("renamed-elsewhere")
    # What somebody is typing stays.
    page.get_by_label("Name", exact=True).fill("half a wor")
    v3.call("ModifyDiskAttribute", DiskId=disk, DiskName="renamed-again")
    expect(row_of(page, disk)).to_contain_text("renamed-again")
    expect(page.get_by_label("Name", exact=True)).to_have_value("half a wor")


@pytest.mark.parametrize("as_page", [False, True], ids=["dialog", "page"])
def test_a_new_keys_secret_stays_until_it_is_left(page, service, as_page):
    name = f"holder-{'page' if as_page else 'dialog'}"
    service.cli("user", "create", name)
    if as_page:
        page.goto(f"/console/dialog/create-key?UserName={name}&_then=/console/users/{name}")
        form = page.locator("[data-dialog-page]")
    else:
        page.goto(f"/console/users/{name}")
        page.get_by_role("link", name=re.compile("^Create Access Key")).click()
        form = page.get_by_role("dialog")
    form.get_by_role("button").and_(page.locator("[type=submit]")).click()
    secret = page.locator("[data-secret]")
    expect(secret).to_have_count(1)
    shown = secret.text_content()
    # To a password manager and back.
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for_timeout(3000)
    expect(secret).to_have_text(shown)


def test_two_tabs_do_not_disturb_each_other(page, v3):
    _, disk = v3.attached_disk(1)
    other = page.context.new_page()
    page.goto(f"/console/disks/{disk}")
    other.goto("/console/disks")
    page.get_by_role("link", name=re.compile("^Create Snapshot")).first.click()
    page.get_by_role("dialog").get_by_role("button", name="Create", exact=True).click()
    expect(page.locator("main > .notice")).to_contain_text("being created")
    other.bring_to_front()
    expect(row_of(other, disk)).to_have_count(1)
    # Signing out in one ends the other.
    other.get_by_role("button", name="Sign out").click()
    expect(other.get_by_role("heading", name="Sign in")).to_be_visible()
    page.bring_to_front()
    page.reload()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_a_lost_service_is_told_and_found_again(new_service, new_page):
    service = new_service()
    page = new_page(to=service)
    page.goto("/console/disks")
    service.kill()
    expect(page.locator("#connection")).to_be_visible()
    service.start()
    # Sessions ended with the process: the page says so by leading to the way in.
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_rolling_back_waits_for_what_is_in_the_way(page, v3):
    instance, disk = v3.attached_disk(1)
    snapshot = v3.take_snapshot(disk)
    page.goto(f"/console/disks/{disk}")
    row_of(page, snapshot).get_by_role("link", name=re.compile("^Roll Back Disk")).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("has to be Stopped")
    expect(dialog.get_by_role("button", name="OK")).to_have_count(0)
    dialog.get_by_role("link", name="Stop the instance first").click()
    expect(dialog.get_by_role("heading", name="Stop")).to_be_visible()
    dialog.get_by_role("button", name="OK").click()
    # Back in the first dialog; its button comes when the instance has stopped.
    expect(dialog.get_by_role("heading", name="Roll Back Disk")).to_be_visible()
    expect(dialog.get_by_role("button", name="OK")).to_be_visible()
    dialog.get_by_label("Start Instance Immediately after Rollback").check()
    dialog.get_by_role("button", name="OK").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    v3.wait_instance(instance, "Running")


def test_everything_can_be_reached_with_the_keyboard(page, v3):
    _, disk = v3.attached_disk(1)
    page.goto(f"/console/disks/{disk}")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    opener = page.get_by_role("link", name=re.compile("^Create Snapshot")).first
    opener.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("Snapshot Name")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(opener).to_be_focused()


DIALOGS = [
    "create-instance",
    "start-instance?InstanceId={instance}",
    "stop-instance?InstanceId={instance}",
    "restart-instance?InstanceId={instance}",
    "release-instance?InstanceId={instance}",
    "rename-instance?InstanceId={instance}",
    "create-disk",
    "create-disk?SnapshotId={snapshot}",
    "create-disk?_step=preview&Size=3&DiskCategory=cloud_essd&PerformanceLevel=PL0&ZoneId=cn-hangzhou-g&_Quantity=2&DiskName=of-two",
    "resize-disks?_each={disk}",
    "change-category?DiskId={disk}",
    "attach-disk?InstanceId={instance}",
    "attach-disk?DiskId={disk}",
    "detach-disk?DiskId={disk}&InstanceId={instance}",
    "release-disk?DiskId={disk}",
    "resize-disk?DiskId={disk}",
    "reinitialize-disk?DiskId={disk}",
    "modify-disk?DiskId={disk}",
    "hydration?DiskId={disk}",
    "create-snapshot?DiskId={disk}",
    "delete-snapshot?SnapshotId={snapshot}",
    "copy-snapshot?SnapshotId={snapshot}",
    "modify-snapshot?SnapshotId={snapshot}",
    "lock-snapshot?SnapshotId={snapshot}",
    "unlock-snapshot?SnapshotId={snapshot}",
    "undelete?SnapshotId={snapshot}",
    "verify?SnapshotId.1={snapshot}",
    "create-instance-snapshot",
    "create-instance-snapshot?InstanceId={instance}",
    "delete-group?SnapshotGroupId={group}",
    "roll-back?DiskId={disk}&SnapshotId={snapshot}",
    "roll-back-instance?_group={group}",
    "delete-snapshots?_each={snapshot}",
    "replace-system-disk?InstanceId={instance}",
    "create-policy",
    "modify-policy?autoSnapshotPolicyId={policy}",
    "delete-policy?autoSnapshotPolicyId={policy}",
    "apply-policy?autoSnapshotPolicyId={policy}",
    "apply-policy?autoSnapshotPolicyId={policy}&_list=with",
    "disk-policy?DiskId={disk}",
    "cancel-policy?diskIds=%5B%22{disk}%22%5D",
    "create-image?InstanceId={instance}",
    "tags?ResourceType=disk&ResourceId.1={disk}",
    "untag?ResourceType=disk&ResourceId.1={disk}&TagKey.1=env",
    "delete-image?ImageId=m-1",
    "create-user",
    "delete-user?UserName=erin",
    "set-password?UserName=erin",
    "delete-password?UserName=erin",
    "create-key",
    "change-key?UserName=erin&UserAccessKeyId={key}&Status=Inactive",
    "delete-key?UserName=erin&UserAccessKeyId={key}",
    "attach-policy?UserName=erin",
    "attach-policy?UserName=erin&PolicyType=Custom",
    "detach-policy?UserName=erin&PolicyName=AliyunECSReadOnlyAccess&PolicyType=System",
]
# A task is over before anybody could cancel it here.
NOT_SHOWN = {"cancel-task"}
PAGES = ["users/erin", "", "tags", "instances", "images", "disks", "snapshots", "tasks", "events", "users", "disks/{disk}", "chains/{disk}"]
PAGES += ["snapshots/{snapshot}", "instances/{instance}", "instances/{instance}?tab=disks", "instances/{instance}?tab=snapshots", "instances/{instance}?tab=groups"]
PAGES += ["instances/{instance}?tab=monitoring"]
PAGES += [f"snapshots?tab={tab}" for tab in ("groups", "chains", "size", "policies", "deleted")]


@pytest.fixture(scope="module")
def things(service):
    v3 = Cloud(service)
    instance, disk = v3.attached_disk(1)
    snapshot = v3.take_snapshot(disk)
    group = v3.call("CreateSnapshotGroup", RegionId="cn-hangzhou", InstanceId=instance)["SnapshotGroupId"]

    def settled():
        (row,) = v3.call("DescribeSnapshotGroups", RegionId="cn-hangzhou", SnapshotGroupId=[group])["SnapshotGroups"]["SnapshotGroup"]
        return row["Status"] == "accomplished"

    wait_until(settled, "the group is accomplished")
    policy = v3.call(
        "CreateAutoSnapshotPolicy",
        regionId="cn-hangzhou",
        autoSnapshotPolicyName="nightly",
        timePoints='["2"]',
        repeatWeekdays='["1"]',
        retentionDays=30,
    )["AutoSnapshotPolicyId"]
    service.cli("user", "create", "erin")
    service.cli("permission", "attach", "AliyunECSReadOnlyAccess", "--user", "erin")
    key = json.loads(service.cli("key", "create", "--user", "erin", "--json").stdout)["AccessKeyId"]
    return {"instance": instance, "disk": disk, "snapshot": snapshot, "group": group, "policy": policy, "key": key}


def test_every_dialog_is_among_those_that_are_looked_at():
    source = pathlib.Path(__file__).parents[2] / "crates" / "console" / "src" / "dialogs" / "mod.rs"
    known = set(re.findall(r'^        "([a-z-]+)" => [a-z]+::', source.read_text(), re.MULTILINE))
    assert len(known) > 40
    assert known - NOT_SHOWN == {dialog.split("?")[0] for dialog in DIALOGS}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_checker_finds_nothing_serious_on_any_page_or_dialog(new_page, things, scheme):
    page = new_page(bypass_csp=True, color_scheme=scheme)
    found = []
    for place in PAGES + [f"dialog/{dialog}" for dialog in DIALOGS]:
        answer = page.goto("/console/" + place.format(**things))
        assert answer.status == 200, place
        page.add_script_tag(path=AXE)
        tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
        report = page.evaluate("tags => axe.run(document, {runOnly: {type: 'tag', values: tags}})", tags)
        for violation in report["violations"]:
            if violation["impact"] in ("serious", "critical"):
                nodes = [node["html"] for node in violation["nodes"][:3]]
                found.append((place, violation["id"], nodes))
    assert found == []


@pytest.mark.parametrize("width", [360, 768, 1280, 2560])
def test_no_page_is_wider_than_the_screen(new_page, things, width):
    page = new_page(viewport={"width": width, "height": 800})
    for place in PAGES + ["dialog/create-policy"]:
        page.goto("/console/" + place.format(**things))
        widest = page.evaluate("document.documentElement.scrollWidth")
        assert widest <= width, (place, widest)


def test_without_a_script_the_same_is_there(new_page, things, v3):
    page = new_page(java_script_enabled=False)
    page.goto(f"/console/disks/{things['disk']}")
    page.get_by_role("link", name=re.compile("^Create Snapshot")).first.click()
    page.get_by_label("Snapshot Name").fill("without-a-script")
    page.get_by_role("button", name="Create", exact=True).click()
    expect(page.locator("main > .notice")).to_contain_text("being created")
    assert "without-a-script" in [row["SnapshotName"] for row in v3.snapshots(things["disk"])]


@pytest.mark.parametrize("width", [360, 1280])
def test_a_dialogs_buttons_are_in_sight_and_hide_no_field(new_page, things, width):
    page = new_page(viewport={"width": width, "height": 800})
    page.goto(f"/console/disks/{things['disk']}")
    page.get_by_role("link", name=re.compile("^Create Snapshot")).first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="Create", exact=True)).to_be_in_viewport()
    for field in dialog.locator("input:visible").all():
        field.focus()
        above = "item => item.getBoundingClientRect().bottom <= document.querySelector('dialog footer').getBoundingClientRect().top + 1"
        assert field.evaluate(above), field.get_attribute("name")
    for place in DIALOGS:
        if width == 360:
            page.goto("/console/dialog/" + place.format(**things))
            assert page.evaluate("document.documentElement.scrollWidth") <= width, place


def test_texts_of_pictures_can_be_read_on_every_screen(new_page, things):
    for width in (360, 1280, 2560):
        page = new_page(viewport={"width": width, "height": 900})
        for place in (f"disks/{things['disk']}", "snapshots?tab=size"):
            page.goto("/console/" + place)
            sizes = page.evaluate(
                "[...document.querySelectorAll('svg.picture .axis')].filter(text => text.checkVisibility())"
                ".map(text => parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().d)"
            )
            assert sizes and all(9.5 <= size <= 20 for size in sizes), (width, place, sizes)


def test_a_newcomer_reaches_a_first_snapshot_without_reading_anything(new_service, new_page):
    service = new_service()
    v3 = Cloud(service)
    page = new_page(to=service)
    page.get_by_role("link", name="Create Instance").click()
    page.get_by_role("dialog").get_by_label("Data disk, GiB").fill("20")
    page.get_by_role("dialog").get_by_role("button", name="Create").click()
    page.get_by_role("link", name="Disks", exact=True).click()
    row = row_of(page, "Data Disk").filter(has_text="In Use")
    row.get_by_role("link", name=re.compile("^Create Snapshot")).click()
    page.get_by_role("dialog").get_by_role("button", name="Create", exact=True).click()
    page.get_by_role("link", name="Snapshots", exact=True).click()
    expect(page.locator("tbody tr").filter(has_text="Accomplished")).to_have_count(1)
    assert v3.call("DescribeSnapshots", RegionId="cn-hangzhou")["TotalCount"] == 1
