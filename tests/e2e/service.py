"""Runs `tidemark up` as a user would, and hands out what a test needs to reach it."""

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import nbd

BINARY = os.path.abspath(os.environ.get("TIDEMARK_BIN", "target/debug/tidemark"))
KEY, SECRET = "testkey", "testsecret"
REGION, ZONE = "cn-hangzhou", "cn-hangzhou-g"


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def run(*command, check=True, **options):
    """Runs a tool; a failure shows all that it printed."""
    options.setdefault("timeout", 300)
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    if check and done.returncode != 0:
        raise AssertionError(
            f"{' '.join(map(str, command))}\nended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
    return done


def wait_until(condition, what, timeout=120, step=0.05):
    """Polls until `condition()` is true and returns what it returned. The time-out only ends a test that hangs."""
    deadline = time.monotonic() + timeout
    while True:
        outcome = condition()
        if outcome:
            return outcome
        assert time.monotonic() < deadline, f"in {timeout} s this did not happen: {what}"
        time.sleep(step)


class Service:
    """One `tidemark up` with a data directory of its own."""

    def __init__(self, directory=None, extra=(), env=None):
        # A unix socket's path holds about 100 bytes, so the directory is made right below the temporary one.
        self.directory = pathlib.Path(directory or tempfile.mkdtemp(prefix="tm"))
        # The default name, so that `tidemark` started here finds its credentials as a user's would.
        self.data = self.directory / "tidemark-data"
        self.port, self.metadata_port = free_port(), free_port()
        self.extra, self.extra_env = list(extra), env or {}
        self.process, self.log = None, self.directory / "log"

    # Life and death.

    def launch(self):
        """Starts it and does not wait."""
        env = dict(os.environ, TIDEMARK_ACCESS_KEY_ID=KEY, TIDEMARK_ACCESS_KEY_SECRET=SECRET, **self.extra_env)
        out = self.directory / "out"
        with open(out, "wb") as stdout, open(self.log, "ab") as stderr:
            self.process = subprocess.Popen(
                [BINARY, "up", "--data-dir", str(self.data)]
                + ["--listen", f"127.0.0.1:{self.port}", "--metadata-listen", f"127.0.0.1:{self.metadata_port}"]
                + self.extra,
                stdout=stdout,
                stderr=stderr,
                stdin=subprocess.DEVNULL,
                env=env,
                cwd=self.directory,
            )

    def start(self, timeout=60):
        self.launch()
        return self.wait_ready(timeout)

    def wait_ready(self, timeout=60):
        """Until it says that it is ready."""
        out = self.directory / "out"

        def ready():
            assert self.process.poll() is None, f"tidemark up ended at once:\n{out.read_text()}\n{self.log_tail()}"
            return [line for line in out.read_text().splitlines() if line.startswith("ready:")]

        self.ready_line = wait_until(ready, "tidemark up prints its ready line", timeout)[0]
        return self

    def stop(self):
        """Ends it as an operator would; it must leave by itself, without an error."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0, f"SIGTERM was not a clean end:\n{self.log_tail()}"

    def kill(self):
        """Ends it as a power cut of the process: kill -9."""
        self.process.kill()
        self.process.wait(60)

    def destroy(self):
        if self.process is not None and self.process.poll() is None:
            self.kill()
        self.end_guests()
        shutil.rmtree(self.directory, ignore_errors=True)

    def end_guests(self):
        """Ends the machines that the service has left running, as it should when it ends itself."""
        for pid in self.guests():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def guests(self, instance=""):
        """Processes of machines that the service runs, of all instances or of one."""
        found = []
        place = os.fsencode(self.data / "guests" / instance)
        for command in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = command.read_bytes().split(b"\0")
                if b"qemu" in words[0] and any(place in word for word in words):
                    found.append(int(command.parent.name))
        return found

    def log_tail(self, lines=60):
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def show_log(self):
        print(f"--- log of the service ---\n{self.log_tail()}", file=sys.stderr)

    # Reaching it.

    @property
    def endpoint(self):
        return f"127.0.0.1:{self.port}"

    @property
    def socket(self):
        return self.data / "run" / "nbd.sock"

    @property
    def vault(self):
        return self.data / "vault"

    def uri(self, export):
        return f"nbd+unix:///{export}?socket={self.socket}"

    def client(self, export, structured=True):
        return nbd.Client(self.socket, export, structured)

    def get(self, path):
        """A plain HTTP GET: (status, body)."""
        try:
            with urllib.request.urlopen(f"http://{self.endpoint}{path}", timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def cli(self, *words, check=True, env=None, **options):
        """`tidemark` as a user runs it beside the service, with the credentials file that `up` left there."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("TIDEMARK_", "ALIBABA_"))}
        environment.update(env or {})
        return run(BINARY, *words, check=check, env=environment, cwd=self.directory, **options)
