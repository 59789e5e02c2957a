"""Pictures of the console's main pages, for the documentation: `cargo xtask screenshots` runs this, and somebody looks at them.

A service of its own is filled with what makes pages worth showing; nothing in a picture depends on the machine.
"""

import itertools
import os
import pathlib
import random
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from cloud import Cloud  # noqa: E402
from playwright.sync_api import sync_playwright  # noqa: E402
from service import KEY, REGION, SECRET, Service  # noqa: E402

CHROMIUM = os.environ.get("TIDEMARK_CHROMIUM", "/usr/bin/chromium")
MIB = 1 << 20


def busy(service, disk, ended):
    """What a database does all the time: small reads and writes, flushed now and then."""
    dice = random.Random(7)
    with service.client(disk) as client:
        for number in itertools.count():
            if ended.is_set():
                return
            place = dice.randrange(0, 1024 * MIB, 4096)
            client.read(place, 4096)
            client.write(place, dice.randbytes(4096))
            if number % 16 == 0:
                client.flush()
            time.sleep(0.004)


def changed(client, dice, pieces):
    """Some places of the disk, a MiB or a few at a time."""
    for _ in range(pieces):
        place = int(dice.betavariate(1.2, 4) * 3900)
        for piece in range(dice.randrange(1, 7)):
            client.write((place + piece) * MIB, dice.randbytes(MIB))
    client.flush()


def fill(service):
    """Two instances, disks with a history, a policy, a group."""
    v3 = Cloud(service)
    dice = random.Random(5)
    shop = v3.new_instance("shop")
    v3.new_instance("reports")
    database = v3.new_disk(4, DiskName="database")
    media = v3.new_disk(100, DiskName="media")
    for disk in (database, media):
        v3.attach(shop, disk)
    v3.call("TagResources", RegionId=REGION, ResourceType="disk", ResourceId=[database], Tag=[{"Key": "env", "Value": "prod"}])
    snapshots = []
    ended = threading.Event()
    worker = threading.Thread(target=busy, args=(service, database, ended))
    with service.client(database) as client:
        changed(client, dice, 60)
        worker.start()
        names = ["before-launch", "after-launch", "monday", "tuesday", "before-upgrade", "after-upgrade", "wednesday", "thursday", "friday"]
        for number, name in enumerate(names):
            # Times between snapshots are as they come: in a picture of some minutes they stand for days.
            time.sleep(dice.choice([6, 9, 14]))
            changed(client, dice, dice.randrange(3, 16))
            snapshots.append(v3.take_snapshot(database, SnapshotName=name))
    time.sleep(12)
    ended.set()
    worker.join()
    v3.call("CreateSnapshotGroup", RegionId=REGION, InstanceId=shop, Name="shop-all-disks")
    v3.call(
        "CreateAutoSnapshotPolicy",
        regionId=REGION,
        autoSnapshotPolicyName="nightly",
        timePoints='["2"]',
        repeatWeekdays='["1","2","3","4","5","6","7"]',
        retentionDays=30,
    )
    return {"instance": shop, "disk": database, "snapshot": snapshots[4]}


SHOTS = [
    ("overview", ""),
    ("instances", "instances"),
    ("cloud-disk", "instances/{instance}?tab=disks"),
    ("create-snapshot", "disks/{disk}", "Create Snapshot"),
    ("snapshot-tab", "instances/{instance}?tab=snapshots"),
    ("disk", "disks/{disk}"),
    ("changes", "snapshots/{snapshot}"),
    ("chain", "chains/{disk}"),
    ("size", "snapshots?tab=size"),
    ("monitoring", "instances/{instance}?tab=monitoring"),
]


# Shown in the dark, too.
DARK = {"overview", "changes"}


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
                    viewport={"width": 1280, "height": 1000},
                    color_scheme=scheme,
                    reduced_motion="reduce",
                )
                page = context.new_page()
                page.goto("/console/sign-in")
                page.get_by_label("Access key ID or user name").fill(KEY)
                page.get_by_label("Access key secret or password").fill(SECRET)
                page.get_by_role("button", name="Sign in").click()
                for name, place, *opened in SHOTS:
                    if scheme == "dark" and name not in DARK:
                        continue
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
