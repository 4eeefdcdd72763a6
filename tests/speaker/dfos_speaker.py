"""A second speaker of the DFOS protocol, written from docs/PROTOCOL.md alone and sharing no line with the Rust code.

It sends what it is told to, right or wrong. Every read has a time limit, so nothing here can hang.
"""

import hashlib
import itertools
import re
import socket

import scram

PATIENCE = 30.0
UNRESERVED = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/")

# Each connection comes from a loopback address of its own: what one attempt earns (a penalty, a full room) is not the
# next one's trouble.
_sources = (f"127.{a}.{b}.{c}" for a in range(1, 255) for b in range(1, 255) for c in range(1, 255))


class Ended(Exception):
    """The server closed the connection where a line or a body was due."""


class Refused(Exception):
    """The server answered ERR; the argument is the line."""


def encode(name):
    """A name's bytes as a path of the protocol (section 2)."""
    return "".join(chr(byte) if byte in UNRESERVED else f"%{byte:02X}" for byte in name)


def decode(path):
    """A path of the protocol as bytes."""
    return re.sub(rb"%([0-9A-Fa-f]{2})", lambda hit: bytes([int(hit[1], 16)]), path.encode())


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def fields(line):
    """The key=value words of an answer."""
    return dict(word.split("=", 1) for word in line.split(" ") if "=" in word)


def body(content, piece=1 << 20):
    """A body (section 6) with its END."""
    cuts = (content[at : at + piece] for at in range(0, len(content), piece))
    pieces = b"".join(b"DATA %d\n" % len(cut) + cut for cut in cuts)
    return pieces + b"END sha256=%s\n" % sha256(content).encode()


class Speaker:
    """One connection."""

    def __init__(self, port, greeted=True):
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE, (next(_sources), 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        if greeted:
            greeting = self.line()
            assert greeting.startswith("OK dfos/1 ready auth="), greeting

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    # --- bytes ---

    def send(self, data):
        """Sends bytes, or text as a line."""
        self.socket.sendall(data if isinstance(data, bytes) else data.encode() + b"\n")

    def try_send(self, data):
        """Sends what the other end may no longer want."""
        try:
            self.send(data)
        except OSError:
            pass

    def finish_sending(self):
        """Says that no more will come, and goes on reading."""
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def _more(self):
        """Takes in what has come; False at the end of the connection. Silence raises TimeoutError."""
        try:
            data = self.socket.recv(1 << 16)
        except ConnectionResetError:
            data = b""
        self.buffer += data
        return bool(data)

    def exactly(self, count):
        while len(self.buffer) < count:
            if not self._more():
                raise Ended(f"{len(self.buffer)} of {count} bytes")
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    # --- lines ---

    def raw_line(self):
        """The next line as bytes without its LF; None at the end of the connection. WAIT is skipped (section 4)."""
        while True:
            while b"\n" not in self.buffer:
                if not self._more():
                    if self.buffer:
                        raise Ended(f"half a line: {self.buffer!r}")
                    return None
            line, self.buffer = self.buffer.split(b"\n", 1)
            if line != b"WAIT" and not line.startswith(b"WAIT "):
                return line

    def line(self):
        """The next line as text, which must keep the rules of section 1."""
        line = self.raw_line()
        if line is None:
            raise Ended("a line was due")
        return lawful(line)

    def rest(self):
        """All lines up to the end of the connection."""
        return [lawful(line) for line in iter(self.raw_line, None)]

    def ask(self, request):
        """Sends a request; the first line of its answer."""
        self.send(request)
        return self.line()

    # --- whole exchanges ---

    def login(self, user="alice", password="secret"):
        """Logs in by SCRAM-SHA-256 and checks the server's signature."""
        exchange = scram.Client(user, password)
        answer = self.ask(f"AUTH SCRAM-SHA-256 {exchange.first()}")
        if not answer.startswith("CHALLENGE "):
            raise Refused(answer)
        answer = self.ask(f"AUTH SCRAM-SHA-256 {exchange.last(answer.split(' ')[1])}")
        if not answer.startswith("OK welcome "):
            raise Refused(answer)
        assert fields(answer)["scram"] == exchange.signature, "the server does not know the password"
        return self

    def upload(self, path, content, options=""):
        """Uploads without waiting; the final answer."""
        self.send(f"UPLOAD {path} size={len(content)}{options}\n".encode() + body(content))
        answer = self.line()
        return self.line() if answer.startswith("READY ") else answer

    def put(self, path, content):
        """Uploads, and it must be done."""
        answer = self.upload(path, content)
        assert answer == f"OK size={len(content)} sha256={sha256(content)}", (path[:80], answer)

    def download(self, path, options=""):
        """Downloads; the digest is checked."""
        content, end = self.take_body(self.ask(f"DOWNLOAD {path}{options}"))
        assert end == f"END sha256={sha256(content)}", end
        return content

    def download_rest(self, path, offset):
        """Downloads from `offset` on; the READY must say so."""
        ready = self.ask(f"DOWNLOAD {path} offset={offset}")
        content, _ = self.take_body(ready)
        assert fields(ready)["offset"] == str(offset) and fields(ready)["length"] == str(len(content)), ready
        return content

    def take_body(self, ready):
        """The body behind a READY, and the line that ends it."""
        if not ready.startswith("READY "):
            raise Refused(ready)
        content = b""
        while True:
            line = self.line()
            if not line.startswith("DATA "):
                return content, line
            content += self.exactly(int(line[5:]))

    def listing(self, arguments="."):
        """The rows of a LIST as (type, size, time, path)."""
        rows, line = [], self.ask(f"LIST {arguments}")
        while line.startswith("ENTRY "):
            rows.append(tuple(line.split(" ")[1:]))
            line = self.line()
        if not line.startswith("OK entries="):
            raise Refused(line)
        return rows


def lawful(line):
    """Text of a line; a server's line is UTF-8 without control bytes, and has a beginning that the protocol knows."""
    text = line.decode()
    assert not any(byte < 0x20 or byte == 0x7F for byte in line), f"a control byte in {line!r}"
    assert len(line) < 32768, f"a line of {len(line)} bytes"
    word = text.split(" ", 1)[0]
    assert word in {"OK", "ERR", "READY", "ENTRY", "TRASHED", "INFO", "CHALLENGE", "DATA", "END", "ABORT"}, text
    return text


def batches(things, size):
    """Lists of at most `size` things."""
    things = iter(things)
    return iter(lambda: list(itertools.islice(things, size)), [])
