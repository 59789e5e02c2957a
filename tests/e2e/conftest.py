"""Fixtures: one service for all tests that leave it as they found it, and fresh ones for those that do not."""

import os
import pathlib
import shutil
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import clients  # noqa: E402
import strikes  # noqa: E402
from cloud import Cloud  # noqa: E402
from service import BINARY, Service  # noqa: E402

NEEDED = ["qemu-img", "nbdcopy", "nbdinfo", "fio", "mke2fs", "e2fsck", "debugfs", "mount", "umount", "node"]
NEEDED += ["qemu-system-x86_64", "busybox", "mdadm", "mkfs.fat", "mcopy", "syslinux", "setpriv", "prlimit", "curl", "openssl", "ssh-keygen"]
NEEDED += ["chromium"]


# A cluster takes minutes and packages that only `cargo xtask soak --only ceph` installs.
collect_ignore = [] if any("test_ceph" in word for word in sys.argv) else ["test_ceph.py"]

TALLY = strikes.Tally()


def pytest_addoption(parser):
    parser.addoption("--rounds", type=int, default=int(os.environ.get("TIDEMARK_ROUNDS", "0")) or None)
    parser.addoption("--seed", type=int, default=strikes.default_seed())


def pytest_terminal_summary(terminalreporter):
    if TALLY.rounds or TALLY.losses:
        terminalreporter.write_line(str(TALLY))


def pytest_sessionstart(session):
    # Administrator's tools such as mke2fs are not on every user's search path.
    os.environ["PATH"] += ":/usr/local/sbin:/usr/sbin:/sbin"
    missing = [tool for tool in NEEDED if shutil.which(tool) is None]
    if missing:
        pytest.exit(f"missing tools: {', '.join(missing)} (`cargo xtask test` installs them)", returncode=3)
    if not pathlib.Path(BINARY).is_file():
        pytest.exit(f"no binary at {BINARY}: build it, or run `cargo xtask test --only e2e`", returncode=3)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.when == "call" and report.failed:
        for service in item.funcargs.get("services", []):
            report.sections.append(("log of a service", service.log_tail()))
        if "service" in item.funcargs:
            report.sections.append(("log of the shared service", item.funcargs["service"].log_tail()))
    return report


@pytest.fixture(scope="module")
def service():
    """Shared by a file's tests that make their own disks and leave the service running.

    Of one file and not of all: a disk that is attached has 144 MiB of its log's space taken in advance, and what all tests
    together leave behind would be more than 20 GiB.
    """
    service = Service()
    try:
        yield service.start()
    finally:
        service.destroy()


@pytest.fixture
def services():
    """The services started by `new_service` in this test."""
    started = []
    yield started
    for service in started:
        service.destroy()


@pytest.fixture
def new_service(services):
    """Makes a service of the test's own, to be killed, filled or damaged."""

    def make(**options):
        service = Service(**options)
        services.append(service)
        return service.start()

    return make


@pytest.fixture(params=[clients.V3, clients.V1], ids=lambda sdk: sdk.name)
def cloud(service, request):
    """The shared service through each SDK in turn."""
    return Cloud(service, request.param)


@pytest.fixture
def v3(service):
    """The shared service through the V3 SDK, where the SDK does not matter."""
    return Cloud(service, clients.V3)


@pytest.fixture
def striking(request):
    """Makes the rounds of a test: so many as asked for, else its own number."""

    def make(rounds):
        asked = request.config.getoption("rounds")
        return strikes.Strikes(
            request.node.name, asked or rounds, request.config.getoption("seed"), TALLY, progress=asked is not None
        )

    return make


@pytest.fixture
def scratch(tmp_path):
    """A directory for large files, removed at once when the test ends."""
    yield tmp_path
    shutil.rmtree(tmp_path, ignore_errors=True)
