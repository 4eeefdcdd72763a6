"""A server that lies. It does the login truly, so that the client believes it, and then what a test tells it to."""

import socket
import threading

import scram
from dfos_speaker import body

PASSWORD = "secret"
GREETING = b"OK dfos/1 ready auth=SCRAM-SHA-256\n"


class Gone(Exception):
    """The client has closed."""


class Peer:
    """A connection to a client."""

    def __init__(self, connection):
        self.socket, self.buffer = connection, b""
        connection.settimeout(30)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def say(self, data):
        """Sends bytes as they are, or text as a line."""
        try:
            self.socket.sendall(data if isinstance(data, bytes) else data.encode() + b"\n")
        except OSError as why:
            raise Gone from why

    def hear(self):
        """The next line of the client."""
        while b"\n" not in self.buffer:
            try:
                data = self.socket.recv(1 << 16)
            except OSError as why:
                raise Gone from why
            if not data:
                raise Gone
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.decode()

    def linger(self):
        """Hears the client out, until it goes; what it said. It need not wait for its goodbye."""
        said = []
        try:
            while said[-1:] != ["LOGOUT"]:
                said.append(self.hear())
            self.say("OK bye")
        except Gone:
            pass
        return said

    def login(self):
        """The login as it should be."""
        self.say(GREETING)
        exchange = scram.Server(PASSWORD)
        self.say(f"CHALLENGE {exchange.challenge(self.hear().split(' ')[2])}")
        self.say(f"OK welcome alice scram={exchange.signature(self.hear().split(' ')[2])}")


class FakeServer:
    """Listens, and gives each connection to `script(peer, requests)`, after a true login unless told otherwise."""

    def __init__(self, script, login=True):
        self.script, self.login = script, login
        self.requests, self.faults, self.peers = [], [], []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=16)
        self.url = f"tcp://127.0.0.1:{self.listener.getsockname()[1]}"
        self.accepting = threading.Thread(target=self._accept, daemon=True)
        self.accepting.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # Closed under a thread that is about to accept, its number could be the next server's by then.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.accepting.join()
        self.listener.close()
        for peer in self.peers:
            peer.socket.close()
        if self.faults:
            raise self.faults[0]

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            peer = Peer(connection)
            self.peers.append(peer)
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer):
        try:
            if self.login:
                peer.login()
            self.script(peer, self.requests)
        except Gone:
            pass
        except OSError:
            pass
        except Exception as why:  # a fault of the test itself
            self.faults.append(why)
        finally:
            try:
                peer.socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def answers(rows=(), content=b"evil", stat="OK type=dir size=4096 mtime=1.000000000", files=None):
    """A script that answers as a server would: STAT thus, LIST with these rows, every DOWNLOAD with this content."""

    def script(peer, requests):
        while True:
            request = peer.hear()
            requests.append(request)
            verb = request.split(" ")[0]
            if verb == "STAT":
                peer.say(stat)
            elif verb == "LIST":
                peer.say(b"".join(b"ENTRY " + row + b"\n" for row in rows) + b"OK entries=%d skipped=0\n" % len(rows))
            elif verb == "DOWNLOAD":
                peer.say(b"READY size=%d mtime=1.000000000 offset=0 length=%d\n" % (len(content), len(content)) + body(content))
            elif verb == "LOGOUT":
                peer.say("OK bye")
                return
            elif verb == "QUOTA":
                peer.say("OK used=0 limit=none free=1")
            else:
                peer.say("OK deleted")

    return script


def says(*lines):
    """A script that answers the first request with these lines, whatever it was, and then only listens."""

    def script(peer, requests):
        requests.append(peer.hear())
        for line in lines:
            peer.say(line)
        requests.extend(peer.linger())

    return script
