"""The file system that can lose its power (`tests/powercut`), mounted for a test; needs root.

`cut()` is the power cut: of everything that was not synced a part is lost, and what still runs gets EIO.
`mount()` brings the power back. What a cut keeps follows from the seed and from the history before it.
"""

import os
import pathlib
import subprocess

from service import BINARY

LAYER = os.environ.get("TIDEMARK_POWERCUT_BIN", str(pathlib.Path(BINARY).parent / "tidemark-powercut"))


class PowerCut:
    def __init__(self, mountpoint, seed, capacity_mib=16384):
        assert os.geteuid() == 0, "this test mounts a file system: run it as root"
        assert os.path.isfile(LAYER), f"no binary at {LAYER}: cargo build -p tidemark-powercut"
        self.mountpoint = pathlib.Path(mountpoint)
        self.mountpoint.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(
            [LAYER, str(self.mountpoint), "--seed", str(seed), "--capacity-mib", str(capacity_mib)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            self._expect("mounted")
        except BaseException:
            self.close()
            raise

    def cut(self):
        """Returns what it did: sectors_kept, sectors_lost, names_kept, names_lost."""
        return {key: int(value) for key, value in self._ask("cut", "cut").items()}

    def mount(self):
        self._ask("mount", "mounted")

    def status(self):
        """power (on, off), used_pages, unsynced (true, false): whether a cut could lose something now."""
        return self._ask("status", "status")

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(30)
        self.process.stdout.close()
        # Only if it died: it takes its mount along.
        subprocess.run(["umount", "-l", str(self.mountpoint)], capture_output=True, check=False)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _ask(self, command, answer):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self._expect(answer)

    def _expect(self, answer):
        line = self.process.stdout.readline().split()
        assert line and line[0] == answer, f"the power-cut layer said {' '.join(line) or 'nothing (did it end?)'}"
        return dict(word.split("=", 1) for word in line[1:])
