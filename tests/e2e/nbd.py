"""A small NBD client, so that a test decides what is sent and sees exactly when it is acknowledged.

Requests are pipelined: `submit` returns a `Pending` at once, a reader thread fills in its outcome and
the moment it came. Every request counts its own order: `Pending.issued` and `Pending.acknowledged` are
readings of one monotonic clock, taken before the request's first byte leaves and after its last reply
byte arrived, so `a.acknowledged < b.issued` proves that `a` was over before `b` began.

Speaks fixed newstyle, GO, LIST, INFO, structured replies and `base:allocation`. Numbers are from the
NBD protocol document. Not here: TLS, extended headers.
"""

import errno
import socket
import struct
import threading
import time

MAGIC, OPTION_MAGIC, OPTION_REPLY_MAGIC = 0x4E42444D41474943, 0x49484156454F5054, 0x0003E889045565A9
REQUEST_MAGIC, SIMPLE_MAGIC, STRUCTURED_MAGIC = 0x25609513, 0x67446698, 0x668E33EF
FIXED_NEWSTYLE, NO_ZEROES = 1, 2
OPT_EXPORT_NAME, OPT_ABORT, OPT_LIST, OPT_INFO, OPT_GO, OPT_STRUCTURED, OPT_LIST_META, OPT_SET_META = 1, 2, 3, 6, 7, 8, 9, 10
REP_ACK, REP_SERVER, REP_INFO, REP_META, REP_ERROR = 1, 2, 3, 4, 1 << 31
READ, WRITE, DISCONNECT, FLUSH, TRIM, CACHE, WRITE_ZEROES, BLOCK_STATUS = 0, 1, 2, 3, 4, 5, 6, 7
FLAG_FUA, FLAG_NO_HOLE, FLAG_REQUEST_ONE = 1, 2, 8
CAN_READ_ONLY, CAN_FLUSH, CAN_FUA, CAN_TRIM, CAN_ZERO, CAN_MULTI_CONN, CAN_CACHE = 2, 4, 8, 32, 64, 256, 1024
CHUNK_DONE, CHUNK_NONE, CHUNK_DATA, CHUNK_HOLE, CHUNK_STATUS, CHUNK_ERROR = 1, 0, 1, 2, 5, 1 << 15
STATUS_HOLE, STATUS_ZERO = 1, 2


class NbdError(OSError):
    """The server refused a request; `errno` is the one it sent."""


class Refused(Exception):
    """The server refused an option; `code` is the reply type without its error bit."""

    def __init__(self, code, text):
        super().__init__(f"option refused: {code} {text}")
        self.code, self.text = code, text


class Pending:
    """One request on its way."""

    def __init__(self, command, offset, length):
        self.command, self.offset, self.length = command, offset, length
        self.issued, self.acknowledged = None, None
        self.error, self.data, self.extents = None, None, []
        self.done = threading.Event()

    def wait(self, timeout=60):
        """The outcome: data of a read, extents of a block status. Raises what the server answered."""
        if not self.done.wait(timeout):
            raise TimeoutError(f"no reply to command {self.command} at {self.offset} in {timeout} s")
        if self.error is not None:
            raise self.error
        return self.extents if self.command == BLOCK_STATUS else self.data


def receive_exactly(sock, count):
    pieces = []
    while count:
        piece = sock.recv(min(count, 1 << 20))
        if not piece:
            raise ConnectionError("the server closed the connection")
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


class Handshake:
    """A connection in its option phase."""

    def __init__(self, path, timeout=30):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(timeout)
        self.sock.connect(str(path))
        magic, option_magic, self.flags = struct.unpack(">QQH", receive_exactly(self.sock, 18))
        assert (magic, option_magic) == (MAGIC, OPTION_MAGIC), "the greeting is not newstyle NBD"
        assert self.flags & FIXED_NEWSTYLE, "the server does not speak fixed newstyle"
        self.sock.sendall(struct.pack(">I", FIXED_NEWSTYLE | NO_ZEROES))

    def send_option(self, option, body=b"", length=None):
        header = struct.pack(">QII", OPTION_MAGIC, option, len(body) if length is None else length)
        self.sock.sendall(header + body)

    def replies(self, option):
        """The replies to one option up to its acknowledgement, as (type, body)."""
        replies = []
        while True:
            magic, answered, kind, length = struct.unpack(">QIII", receive_exactly(self.sock, 20))
            assert (magic, answered) == (OPTION_REPLY_MAGIC, option), (hex(magic), answered)
            body = receive_exactly(self.sock, length)
            if kind & REP_ERROR:
                raise Refused(kind & ~REP_ERROR, body.decode(errors="replace"))
            if kind == REP_ACK:
                return replies
            replies.append((kind, body))

    def option(self, option, body=b""):
        self.send_option(option, body)
        return self.replies(option)

    def list(self):
        names = []
        for kind, body in self.option(OPT_LIST):
            assert kind == REP_SERVER
            (length,) = struct.unpack_from(">I", body)
            names.append(body[4 : 4 + length].decode())
        return names

    def close(self):
        self.sock.close()


class Client:
    """A connection in its transmission phase."""

    def __init__(self, path, export, structured=True, timeout=30):
        handshake = Handshake(path, timeout)
        self.sock, self.status_context = handshake.sock, None
        name = export.encode()
        try:
            if structured:
                handshake.option(OPT_STRUCTURED)
                context = b"base:allocation"
                body = struct.pack(">I", len(name)) + name + struct.pack(">II", 1, len(context)) + context
                for kind, reply in handshake.option(OPT_SET_META, body):
                    assert kind == REP_META and reply[4:] == context, reply
                    self.status_context = struct.unpack_from(">I", reply)[0]
            for kind, body in handshake.option(OPT_GO, struct.pack(">I", len(name)) + name + struct.pack(">H", 0)):
                if kind == REP_INFO and struct.unpack_from(">H", body)[0] == 0:
                    _, self.size, self.flags = struct.unpack(">HQH", body)
        except BaseException:
            handshake.close()
            raise
        self.sock.settimeout(None)
        self.pending, self.next_cookie, self.broken = {}, 1, None
        # Two locks: a sender that waits for room in the socket must not keep the reader from making it.
        self.sending, self.lock = threading.Lock(), threading.Lock()
        self.reader = threading.Thread(target=self._read_replies, daemon=True)
        self.reader.start()

    # Requests.

    def submit(self, command, offset=0, length=0, data=b"", flags=0):
        pending = Pending(command, offset, length)
        with self.sending:
            with self.lock:
                if self.broken is not None:
                    raise ConnectionError(f"connection is gone: {self.broken}")
                cookie, self.next_cookie = self.next_cookie, self.next_cookie + 1
                self.pending[cookie] = pending
            header = struct.pack(">IHHQQI", REQUEST_MAGIC, flags, command, cookie, offset, length)
            pending.issued = time.monotonic()
            self.sock.sendall(header + data)
        return pending

    def write_later(self, offset, data, fua=False):
        return self.submit(WRITE, offset, len(data), data, FLAG_FUA if fua else 0)

    def zero_later(self, offset, length, trim=False):
        return self.submit(TRIM if trim else WRITE_ZEROES, offset, length)

    def flush_later(self):
        return self.submit(FLUSH)

    def write(self, offset, data, fua=False):
        self.write_later(offset, data, fua).wait()

    def read(self, offset, length):
        return self.submit(READ, offset, length).wait()

    def flush(self):
        self.flush_later().wait()

    def trim(self, offset, length):
        self.submit(TRIM, offset, length).wait()

    def write_zeroes(self, offset, length, flags=0):
        self.submit(WRITE_ZEROES, offset, length, flags=flags).wait()

    def block_status(self, offset, length):
        """Extents from `offset` on, as (length, flags)."""
        return self.submit(BLOCK_STATUS, offset, length).wait()

    def read_all(self, offset, length, step=1 << 20, depth=8):
        """A large range, read in pieces."""
        pieces, flight = [], []
        for at in range(offset, offset + length, step):
            flight.append(self.submit(READ, at, min(step, offset + length - at)))
            if len(flight) == depth:
                pieces.append(flight.pop(0).wait())
        pieces.extend(pending.wait() for pending in flight)
        return b"".join(pieces)

    def write_all(self, offset, data, step=1 << 20, depth=8):
        """A large range, written in pieces and flushed."""
        flight = []
        for at in range(0, len(data), step):
            flight.append(self.write_later(offset + at, data[at : at + step]))
            if len(flight) == depth:
                flight.pop(0).wait()
        for pending in flight:
            pending.wait()
        self.flush()

    def close(self):
        try:
            with self.sending:
                self.sock.sendall(struct.pack(">IHHQQI", REQUEST_MAGIC, 0, DISCONNECT, 0, 0, 0))
        except OSError:
            pass
        # The reader ends when the server has closed its side, or now.
        self.reader.join(5)
        self.abandon()

    def abandon(self):
        """Drops the connection as a dying client would."""
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # Replies.

    def _read_replies(self):
        try:
            while True:
                self._read_one()
        except (OSError, AssertionError, KeyError, struct.error) as failure:
            with self.lock:
                self.broken = failure
                orphans, self.pending = list(self.pending.values()), {}
            for pending in orphans:
                pending.error = ConnectionError(f"connection is gone: {failure}")
                pending.done.set()

    def _read_one(self):
        (magic,) = struct.unpack(">I", receive_exactly(self.sock, 4))
        if magic == SIMPLE_MAGIC:
            code, cookie = struct.unpack(">IQ", receive_exactly(self.sock, 12))
            pending = self.pending[cookie]
            if code:
                pending.error = refusal(code)
            elif pending.command == READ:
                pending.data = receive_exactly(self.sock, pending.length)
            self._finish(cookie, pending)
            return
        assert magic == STRUCTURED_MAGIC, f"reply magic {magic:#x}"
        flags, kind, cookie, length = struct.unpack(">HHQI", receive_exactly(self.sock, 16))
        pending, body = self.pending[cookie], receive_exactly(self.sock, length)
        if kind in (CHUNK_DATA, CHUNK_HOLE) and pending.data is None:
            pending.data = bytearray(pending.length)
        if kind == CHUNK_DATA:
            (at,) = struct.unpack_from(">Q", body)
            pending.data[at - pending.offset : at - pending.offset + length - 8] = body[8:]
        elif kind == CHUNK_HOLE:
            at, count = struct.unpack(">QI", body)
            pending.data[at - pending.offset : at - pending.offset + count] = bytes(count)
        elif kind == CHUNK_STATUS:
            assert struct.unpack_from(">I", body)[0] == self.status_context
            pending.extents += [struct.unpack_from(">II", body, at) for at in range(4, length, 8)]
        elif kind & CHUNK_ERROR:
            code, text_length = struct.unpack_from(">IH", body)
            pending.error = refusal(code, body[6 : 6 + text_length].decode(errors="replace"))
        else:
            assert kind == CHUNK_NONE, f"reply chunk type {kind}"
        if flags & CHUNK_DONE:
            if pending.command == READ and pending.error is None:
                assert len(pending.data or b"") == pending.length, "a read's reply has the wrong length"
                pending.data = bytes(pending.data or b"")
            self._finish(cookie, pending)

    def _finish(self, cookie, pending):
        pending.acknowledged = time.monotonic()
        with self.lock:
            self.pending.pop(cookie, None)
        pending.done.set()


def refusal(code, text=""):
    return NbdError(code, f"{errno.errorcode.get(code, code)} {text}".strip())
