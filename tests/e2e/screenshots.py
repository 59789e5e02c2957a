"""Pictures of the console's main pages, for the documentation: `cargo xtask screenshots` runs this, and somebody looks at them.

A service of its own is filled with what makes pages worth showing; nothing in a picture depends on the machine.
"""

import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from cloud import Cloud  # noqa: E402
from playwright.sync_api import sync_playwright  # noqa: E402
from service import KEY, REGION, SECRET, Service  # noqa: E402

CHROMIUM = os.environ.get("TIDEMARK_CHROMIUM", "/usr/bin/chromium")
MIB = 1 << 20


def fill(service):
    """Two instances, disks with a history, a policy, a group."""
    v3 = Cloud(service)
    shop = v3.new_instance("shop")
    v3.new_instance("reports")
    database = v3.new_disk(40, DiskName="database")
    media = v3.new_disk(100, DiskName="media")
    for disk in (database, media):
        v3.attach(shop, disk)
    v3.call("TagResources", RegionId=REGION, ResourceType="disk", ResourceId=[database], Tag=[{"Key": "env", "Value": "prod"}])
    snapshots = []
    with service.client(database) as client:
        for number, name in enumerate(["before-launch", "after-launch", "before-upgrade", "after-upgrade", "monday"]):
            for piece in range(48 if number == 0 else 6 + 4 * number):
                place = (piece * 97 + number * 31) % 640
                client.write(place * 64 * MIB, os.urandom(MIB // 4))
            client.flush()
            snapshots.append(v3.take_snapshot(database, SnapshotName=name))
    v3.call("CreateSnapshotGroup", RegionId=REGION, InstanceId=shop, Name="shop-all-disks")
    v3.call(
        "CreateAutoSnapshotPolicy",
        regionId=REGION,
        autoSnapshotPolicyName="nightly",
        timePoints='["2"]',
        repeatWeekdays='["1","2","3","4","5","6","7"]',
        retentionDays=30,
    )
    return {"instance": shop, "disk": database, "snapshot": snapshots[-1]}


SHOTS = [
    ("overview", ""),
    ("instances", "instances"),
    ("cloud-disk", "instances/{instance}?tab=disks"),
    ("create-snapshot", "disks/{disk}", "Create Snapshot"),
    ("snapshot-tab", "instances/{instance}?tab=snapshots"),
    ("disk", "disks/{disk}"),
    ("changes", "snapshots/{snapshot}"),
    ("chain", "chains/{disk}"),
]


def main(to):
    to.mkdir(parents=True, exist_ok=True)
    service = Service(extra=["--snapshot-price", "0.12 CNY"])
    try:
        service.start()
        things = fill(service)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
            )
            for scheme in ("light", "dark"):
                context = browser.new_context(
                    base_url=f"http://{service.endpoint}",
                    viewport={"width": 1280, "height": 800},
                    color_scheme=scheme,
                    reduced_motion="reduce",
                )
                page = context.new_page()
                page.goto("/console/sign-in")
                page.get_by_label("Access key ID or user name").fill(KEY)
                page.get_by_label("Access key secret or password").fill(SECRET)
                page.get_by_role("button", name="Sign in").click()
                for name, place, *opened in SHOTS:
                    page.goto("/console/" + place.format(**things))
                    for label in opened:
                        page.get_by_role("link", name=label).first.click()
                        page.get_by_role("dialog").get_by_role("heading", name=label).wait_for()
                    suffix = "" if scheme == "light" else "-dark"
                    page.screenshot(path=to / f"console-{name}{suffix}.png")
                    print(to / f"console-{name}{suffix}.png")
                context.close()
            browser.close()
    finally:
        service.destroy()


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
