"""Runs `tidemark volume serve`: one volume over NBD without a service around it."""

import pathlib
import subprocess

import nbd
from service import BINARY, run, wait_until


class Served:
    """A volume in `directory`; its socket, its log and what it prints are kept beside, in `outside`."""

    def __init__(self, directory, outside):
        self.directory, outside = pathlib.Path(directory), pathlib.Path(outside)
        self.socket, self.log, self.out = outside / "v.sock", outside / "volume.log", outside / "volume.out"
        self.process = None

    def create(self, size="1G"):
        run(BINARY, "volume", "create", self.directory, "--size", size)

    def launch(self):
        """Starts it and does not wait."""
        with open(self.out, "wb") as stdout, open(self.log, "ab") as stderr:
            self.process = subprocess.Popen(
                [BINARY, "volume", "serve", str(self.directory), "--socket", str(self.socket)],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
            )

    def start(self, timeout=60):
        self.launch()

        def ready():
            assert self.process.poll() is None, f"it ended at once:\n{self.log_tail()}"
            return self.out.read_text().startswith("ready:")

        wait_until(ready, "the volume is served", timeout, step=0.01)
        return self

    def client(self):
        return nbd.Client(self.socket, "disk")

    @property
    def uri(self):
        return f"nbd+unix:///disk?socket={self.socket}"

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait(60)
        # Left behind by the dead; whoever waits for it must not find it.
        self.socket.unlink(missing_ok=True)

    def stop(self):
        """A clean end."""
        self.process.terminate()
        assert self.process.wait(120) == 0, f"SIGTERM was not a clean end:\n{self.log_tail()}"

    def log_tail(self, lines=40):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""
