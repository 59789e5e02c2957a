"""Instances that the service runs, from an image of our own that writes and prints what it has made durable.

The image is built once for each target directory. Its markers on the console: READY, INSTANCE-ID, FOUND (the highest record that
was there at boot), DURABLE (the highest that is synced), DAMAGED.
"""

import base64
import hashlib
import pathlib
import re

from guest import TARGET
from service import BINARY, REGION, ZONE, run, wait_until

SOURCES = pathlib.Path(__file__).parents[2] / "crates" / "cli" / "src" / "image"
SMALL = "ecs.t5-lc2m1.nano"


def image_file():
    """The raw image; made anew when what it is made from has changed."""
    content = hashlib.sha256()
    for file in sorted(SOURCES.rglob("*")):
        content.update(file.read_bytes() if file.is_file() else b"")
    path = TARGET / "guest-image" / f"{content.hexdigest()[:16]}.raw"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        for old in path.parent.glob("*.raw"):
            old.unlink()
        made = path.with_suffix(".new")
        made.unlink(missing_ok=True)
        run(BINARY, "image", "build", made, "--cache", path.parent / "cache", timeout=600)
        made.rename(path)
    return path


def import_image(service):
    """The id of an image of it in the service."""
    said = service.cli("image", "import", image_file(), "--name", "guest", "--json").stdout
    (image,) = set(re.findall(r"m-[a-z0-9]{20}", said))
    return image


def launch(cloud, image, **more):
    """The id of a new instance of the image; it is not waited for."""
    parameters = dict(RegionId=REGION, ZoneId=ZONE, InstanceType=SMALL, ImageId=image, **more)
    (instance,) = cloud.call("RunInstances", **parameters)["InstanceIdSets"]["InstanceIdSet"]
    return instance


def console(cloud, instance):
    answer = cloud.call("GetInstanceConsoleOutput", RegionId=REGION, InstanceId=instance)
    return base64.b64decode(answer["ConsoleOutput"]).decode(errors="replace")


def said(cloud, instance, pattern, timeout=120, after=0):
    """The last match of the pattern in the console behind the first `after` characters, once there is one."""

    def look():
        text = console(cloud, instance)[after:]
        found = list(re.finditer(pattern, text))
        return found[-1] if found else None

    try:
        return wait_until(look, f"the console says {pattern!r}", timeout, step=0.3)
    except AssertionError:
        print(console(cloud, instance)[-3000:])
        raise


def durable(cloud, instance, least=1, timeout=120):
    """The highest record that the guest says is durable, once that is `least`."""

    def look():
        found = re.findall(r"DURABLE (\d+)", console(cloud, instance))
        return int(found[-1]) if found and int(found[-1]) >= least else None

    return wait_until(look, f"record {least} is durable", timeout, step=0.2)


def data_partition(service, snapshot, file):
    """The second partition of a disk, as it is in a snapshot, as a sparse file."""
    with service.client(snapshot) as export:
        entry = export.read(0, 512)[446 + 16 :]
        start, count = (int.from_bytes(entry[at : at + 4], "little") * 512 for at in (8, 12))
        with open(file, "wb") as out:
            out.truncate(count)
            for at in range(0, count, 1 << 20):
                part = export.read(start + at, min(1 << 20, count - at))
                if part.strip(b"\0"):
                    out.seek(at)
                    out.write(part)
    return file


def record(number):
    """A line of the guest's file, as `records.awk` in the image makes it."""
    text = f"{number:08d} {number * 7919 % 99999989:08d}{number * 104729 % 99999971:08d}"
    checksum = 7
    for byte in text.encode():
        checksum = (checksum * 31 + byte) % 2147483647
    return f"{text} {checksum}"


def records(partition):
    """How many records the file system in a file holds, after its journal was replayed as a boot would; all must be right, and the
    file system sound. A last line that was cut off does not count."""
    # 1: something was mended, as the replay is.
    checked = run("e2fsck", "-fy", partition, check=False)
    assert checked.returncode in (0, 1), checked.stdout
    again = run("e2fsck", "-fn", partition, check=False)
    assert again.returncode == 0, again.stdout
    dumped = partition.with_suffix(".records")
    run("debugfs", "-R", f"dump /records {dumped}", partition)
    *whole, torn = dumped.read_text().split("\n")
    for number, line in enumerate(whole, 1):
        assert line == record(number), f"record {number} reads {line!r}"
    assert len(torn) < len(record(1)) + 1
    return len(whole)
