"""Hostile NBD clients get an error or a closed connection; the service and its other clients do not notice.

Each test ends by using the disk from a well-behaved connection that was open all the time.
"""

import socket
import struct
import time

import pytest

import data
import nbd
from cloud import GIB, Cloud
from nbd import Handshake, NbdError

MIB = data.MIB


@pytest.fixture(scope="module")
def disk(service):
    return Cloud(service).attached_disk(1)[1]


@pytest.fixture(autouse=True)
def bystander(service, disk):
    with service.client(disk) as client:
        client.write(0, b"before".ljust(4096, b"."))
        yield client
        assert client.read(0, 6) == b"before"
        client.write(4096, b"after".ljust(4096, b"."), fua=True)
    assert service.process.poll() is None, "the service died"


def closed(sock):
    """The server ends the connection instead of waiting for more."""
    sock.settimeout(20)
    try:
        while sock.recv(65536):
            pass
        return True
    except ConnectionResetError:
        return True


def resident_bytes(service):
    with open(f"/proc/{service.process.pid}/statm") as statm:
        return int(statm.read().split()[1]) * 4096


@pytest.mark.parametrize("option", [nbd.OPT_GO, nbd.OPT_INFO, nbd.OPT_LIST, nbd.OPT_SET_META, nbd.OPT_EXPORT_NAME, 77])
def test_an_option_of_enormous_length(service, option):
    """A length of almost 4 GiB is refused or ends the connection; it is not allocated."""
    before = resident_bytes(service)
    shake = Handshake(service.socket)
    shake.send_option(option, b"x" * 4096, length=0xFFFF_FFF0)
    try:
        shake.sock.settimeout(5)
        reply = shake.sock.recv(20)
        if reply:
            kind = struct.unpack(">QIII", reply.ljust(20, b"\0"))[2]
            assert kind & nbd.REP_ERROR, f"reply type {kind:#x}"
    except (ConnectionResetError, TimeoutError):
        pass  # closed, or it skips what is announced: both are fine as long as it does not keep it
    assert resident_bytes(service) < before + 64 * MIB
    shake.close()


@pytest.mark.parametrize(
    ("option", "body"),
    [
        (nbd.OPT_GO, b""),
        (nbd.OPT_GO, struct.pack(">I", 1000) + b"short" + struct.pack(">H", 0)),
        (nbd.OPT_GO, struct.pack(">I", 4) + b"\xff\xfe\0\0" + struct.pack(">H", 0)),
        (nbd.OPT_GO, struct.pack(">I", 1) + b"x" + struct.pack(">H", 9999)),
        (nbd.OPT_INFO, struct.pack(">I", 0xFFFFFFFF)),
        (nbd.OPT_LIST, b"unexpected"),
        (nbd.OPT_STRUCTURED, b"unexpected"),
        (nbd.OPT_SET_META, struct.pack(">I", 3) + b"abc" + struct.pack(">I", 0xFFFFFFFF)),
        (nbd.OPT_SET_META, struct.pack(">I", 3)),
        (4242, b"who knows"),
    ],
)
def test_options_that_make_no_sense_are_refused(service, disk, option, body):
    """The option is refused by number; where the connection goes on, the next option works."""
    shake = Handshake(service.socket)
    with pytest.raises((nbd.Refused, ConnectionError)) as outcome:
        shake.option(option, body)
    if outcome.type is nbd.Refused:
        assert disk in shake.list()
    shake.close()


def test_an_unknown_export_is_refused(service):
    for name in ("d-nosuchdisk", "../../etc/passwd", "x" * 4096, "d-\n"):
        with pytest.raises((nbd.Refused, ConnectionError)):
            service.client(name)


@pytest.mark.parametrize("structured", [True, False], ids=["structured", "simple"])
@pytest.mark.parametrize(
    ("offset", "length"), [(GIB, 4096), (GIB - 2048, 4096), (2**64 - 4096, 4096), (2**63, 512), (2**64 - 1, 1)]
)
def test_requests_past_the_end(service, disk, structured, offset, length):
    """Past the end is an error for every command, sums that overflow included, and the connection goes on."""
    with service.client(disk, structured) as client:
        for request in (
            lambda: client.read(offset, length),
            lambda: client.write(offset, bytes(length)),
            lambda: client.trim(offset, length),
            lambda: client.write_zeroes(offset, length),
        ):
            with pytest.raises(NbdError):
                request()
        assert client.read(0, 6) == b"before"


def test_unknown_commands_and_flags(service, disk):
    with service.client(disk) as client:
        for command in (8, 99, 0x7FFF):
            with pytest.raises(NbdError):
                client.submit(command, 0, 0).wait()
        with pytest.raises(NbdError):
            client.submit(nbd.WRITE, 0, 4096, bytes(4096), flags=0x8000).wait()
        assert client.read(0, 6) == b"before"


def test_zero_length_requests(service, disk):
    """Nothing defines them; they must not hurt."""
    with service.client(disk) as client:
        for command in (nbd.READ, nbd.WRITE, nbd.TRIM, nbd.WRITE_ZEROES):
            try:
                client.submit(command, 4096, 0).wait()
            except NbdError:
                pass
        assert client.read(0, 6) == b"before"


def test_a_read_of_four_gibibytes(service, disk):
    """An answer that no one should ask for in one piece is refused and not built."""
    before = resident_bytes(service)
    with service.client(disk) as client:
        with pytest.raises((NbdError, ConnectionError)):
            client.submit(nbd.READ, 0, 0xFFFF_F000).wait()
    assert resident_bytes(service) < before + 128 * MIB


def test_a_write_that_announces_more_than_it_may(service, disk):
    """The payload of an oversized write is not collected in memory."""
    before = resident_bytes(service)
    client = service.client(disk)
    try:
        client.sock.sendall(struct.pack(">IHHQQI", nbd.REQUEST_MAGIC, 0, nbd.WRITE, 1, 0, 0x4000_0000))
        for _ in range(256):
            client.sock.sendall(bytes(MIB))
    except OSError:
        pass  # closed on us: fine
    assert resident_bytes(service) < before + 128 * MIB
    client.abandon()


def test_a_wrong_request_magic_ends_the_connection(service, disk):
    client = service.client(disk)
    client.sock.sendall(struct.pack(">IHHQQI", 0xDEADBEEF, 0, nbd.READ, 1, 0, 4096))
    assert closed(client.sock) or client.broken
    client.abandon()


def test_a_wrong_option_magic_ends_the_connection(service):
    shake = Handshake(service.socket)
    shake.sock.sendall(struct.pack(">QII", 0x1122334455667788, nbd.OPT_LIST, 0))
    assert closed(shake.sock)


def test_connections_that_never_finish(service):
    """Many clients that greet and fall silent, at every stage, take nothing from others."""
    idle = []
    for stage in range(60):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(service.socket))
        if stage % 3 >= 1:
            sock.recv(18)
            sock.sendall(struct.pack(">I", nbd.FIXED_NEWSTYLE))
        if stage % 3 == 2:
            sock.sendall(struct.pack(">QII", nbd.OPTION_MAGIC, nbd.OPT_GO, 100) + b"half")
        idle.append(sock)
    assert Handshake(service.socket).list()
    for sock in idle:
        sock.close()


def test_a_client_that_dies_in_the_middle_of_a_write(service, disk, bystander):
    """Half a payload is not a write."""
    bystander.write(64 * MIB, b"whole".ljust(65536, b"-"))
    client = service.client(disk)
    header = struct.pack(">IHHQQI", nbd.REQUEST_MAGIC, 0, nbd.WRITE, 1, 64 * MIB, 65536)
    client.sock.sendall(header + b"half" * 4096)
    client.abandon()
    time.sleep(0.2)
    assert bystander.read(64 * MIB, 65536) == b"whole".ljust(65536, b"-")


def test_a_client_that_asks_and_never_reads(service, disk, bystander):
    """Replies to a client that does not take them wait there, in bounded memory, and hold up nobody else."""
    before = resident_bytes(service)
    client = nbd.Handshake(service.socket)
    client.option(nbd.OPT_GO, struct.pack(">I", len(disk)) + disk.encode() + struct.pack(">H", 0))
    client.sock.settimeout(2)
    try:
        for cookie in range(20000):
            client.sock.sendall(struct.pack(">IHHQQI", nbd.REQUEST_MAGIC, 0, nbd.READ, cookie, 0, MIB))
    except TimeoutError:
        pass  # the server stopped taking requests: that is the bound
    for _ in range(100):
        assert bystander.read(0, 6) == b"before"
    assert resident_bytes(service) < before + 256 * MIB
    client.close()
