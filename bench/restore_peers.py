"""restic, borg and qemu-img, each with a copy of one image that it can restore."""

import os

from report import timed
from service import run as tool

NEEDS = {"restic": "restic", "borg": "borgbackup", "qemu-img": "qemu-utils"}


class Peers:
    """Their repositories are on the file system that they restore to, as our vault in a directory is."""

    def __init__(self, directory, image):
        directory.mkdir()
        self.directory, self.image, self.out = directory, image, directory / "out"
        self.env = dict(
            os.environ,
            RESTIC_REPOSITORY=str(directory / "restic"),
            RESTIC_PASSWORD="bench",
            BORG_REPO=str(directory / "borg"),
            BORG_BASE_DIR=str(directory / "borg-base"),
        )
        self.ways = {"restic restore": self.restic, "borg extract": self.borg, "qemu-img convert": self.qemu_img}
        self.run("restic", "init", "--repository-version", "2")
        self.run("restic", "backup", "--no-cache", "--quiet", image)
        self.run("borg", "init", "--encryption=none")
        self.run("borg", "create", "::image", image)
        self.packed = directory / "image.qcow2"
        self.run("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", image, self.packed)

    def run(self, *words, **more):
        tool(*words, env=self.env, timeout=3600, **more)

    def restore(self, name):
        """Seconds until all is there. What was restored is compared, and goes away."""
        self.out.mkdir()
        os.sync()
        seconds, _ = timed(self.ways[name])
        (restored,) = [path for path in self.out.rglob("*") if path.is_file()]
        tool("cmp", restored, self.image)
        tool("rm", "-rf", self.out)
        return seconds

    def restic(self):
        self.run("restic", "restore", "--no-cache", "--quiet", "latest", "--target", self.out)

    def borg(self):
        self.run("borg", "extract", "--sparse", "::image", cwd=self.out)

    def qemu_img(self):
        self.run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", self.packed, self.out / "image.raw")
