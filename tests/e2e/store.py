"""Runs `tidemark-s3light`: an S3 store over a directory, with a proxy in front that breaks things if asked to."""

import os
import pathlib
import subprocess

from service import free_port, wait_until

BINARY = os.path.abspath(os.environ.get("TIDEMARK_S3LIGHT_BIN", "target/debug/tidemark-s3light"))
# Not the service's own: whose secret a text holds must be seen.
KEY, SECRET, BUCKET = "storekey", "storesecret", "vault-bucket"


class Store:
    """One store; what it keeps outlives its process."""

    def __init__(self, directory, *options):
        self.directory, self.options = pathlib.Path(directory), options
        self.directory.mkdir(parents=True, exist_ok=True)
        self.port, self.process = free_port(), None

    def start(self):
        out = self.directory / "out"
        with open(out, "wb") as stdout, open(self.directory / "log", "ab") as stderr:
            command = [BINARY, "--root", self.root, "--bucket", BUCKET, "--listen", f"127.0.0.1:{self.port}"]
            command += ["--key", KEY, "--secret", SECRET]
            self.process = subprocess.Popen(
                [str(word) for word in [*command, *self.options]],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
            )

        def ready():
            assert self.process.poll() is None, (self.directory / "log").read_text()
            return out.read_text().startswith("ready:")

        wait_until(ready, "the store listens", 30)
        return self

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait(60)

    @property
    def root(self):
        return self.directory / "objects"

    def url(self, options=""):
        return f"s3://{BUCKET}/tidemark?endpoint=http://127.0.0.1:{self.port}{options}"

    @property
    def env(self):
        """What a program needs to be let in."""
        return {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}

    def keys(self):
        """Every object's key in the vault."""
        vault = self.root / BUCKET / "tidemark"
        return sorted(str(path.relative_to(vault)) for path in vault.rglob("*") if path.is_file())
