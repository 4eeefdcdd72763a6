"""The byte-value sweep: each of the 256 values at every position of a request.

What comes back is a well-formed answer or an orderly end; the session stays in step or is over. The house that a check
runs in looks for raw bytes in the log and for changes outside of alice's directory.
"""

from checks import check
from dfos_speaker import Speaker, batches, body, lawful
from house import house

PLAIN = b"content of plain"
DIGEST = b"5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"

# Every verb, and a user name, a path, a size, a time, a digest, with what must follow.
REQUESTS = [
    (b"HELP STAT", b""),
    (b"LIST d recursive", b""),
    (b"DIR d", b""),
    (b"STAT d/a%20b", b""),
    (b"UPLOAD u size=3", b"DATA 3\nabc\nEND\n"),
    (b"UPLOAD u mtime=-12.000000001", b"DATA 3\nabc\nEND\n"),
    (b"UPLOAD v new", b"DATA 3\nabc\nABORT aborted\n"),
    (b"DOWNLOAD plain offset=12", b""),
    (b"DOWNLOAD plain length=3 fresh", b""),
    (b"VIEW plain", b""),
    (b"PREVIEW plain length=1", b""),
    (b"DELETE none", b""),
    (b"RENAME none d/no replace", b""),
    (b"MKDIR m parents", b""),
    (b"RMDIR m recursive", b""),
    (b"SUBFOLDER CREATE s", b""),
    (b"SUBFOLDER DELETE s", b""),
    (b"DIGEST plain", b""),
    (b"QUOTA k=v", b""),
    (b"PING", b""),
    (b"AUTH SCRAM-SHA-256 AA==", b""),
    (b"LOGIN alice secret", b""),
    (b"END sha256=00", b""),
    (b"WAIT a", b""),
]
# Those in which a digest stands; only its ends are swept, as its middle is all alike.
WITH_DIGEST = [
    (b"DOWNLOAD plain if=" + DIGEST, b"", range(15, 22)),
    (b"DOWNLOAD plain if=" + DIGEST, b"", range(78, 82)),
]
MARK = b"STAT mark\n"
MARKED = b"OK type=file size=7919 "


def variants(request, positions=None):
    """The request with each value at each position."""
    for at in positions or range(len(request)):
        for value in range(256):
            yield request[:at] + bytes([value]) + request[at + 1 :]


class Session:
    """A logged-in session that survives as long as the server lets it."""

    def __init__(self, server):
        self.server, self.speaker = server, server.login()
        self.ends = 0

    def play(self, requests):
        """Sends requests, each followed by the mark, and hears what comes. Where the server ends, goes on after that one."""
        requests = list(requests)
        while requests:
            self.speaker.try_send(b"".join(line + b"\n" + rest + MARK for line, rest in requests))
            done = self.hear(len(requests))
            if done == len(requests):
                return
            # The server ended in answer to this one, in order.
            self.ends += 1
            self.speaker.close()
            self.speaker = self.server.login()
            requests = requests[done + 1 :]

    def hear(self, marks):
        """How many marks come before the end."""
        for heard in range(marks):
            while True:
                line = self.speaker.raw_line()
                if line is None:
                    return heard
                text = lawful(line)
                if text.startswith("DATA "):
                    self.speaker.exactly(int(text[5:]))
                if line.startswith(MARKED):
                    break
        return marks


@check("each byte value at each position of each request of a session is answered, and the session stays in step")
def logged_in():
    with house("-v") as server:
        session = Session(server)
        session.speaker.put("plain", PLAIN)
        session.speaker.put("mark", b"m" * 7919)
        session.speaker.ask("MKDIR d")
        session.speaker.put("d/a%20b", b"")
        sweep = [(request, rest, None) for request, rest in REQUESTS] + WITH_DIGEST
        for request, rest, positions in sweep:
            for batch in batches(variants(request, positions), 256):
                session.play((line, rest) for line in batch)
        # A changed byte can break a DATA line, which ends the session, or hardly anything else here.
        assert session.ends < 10, f"{session.ends} sessions ended"
        assert session.speaker.download("plain") == PLAIN
        # What the sweep made is alice's, and can be listed.
        names = [row[3] for row in session.speaker.listing(". recursive")]
        assert "mark" in names, names


@check("each byte value at each position of the lines of a body is answered, or ends the session")
def in_a_body():
    whole = b"UPLOAD u size=3\nDATA 3\nabcEND sha256=" + b"00" + b"\n"
    with house("-v") as server:
        session = Session(server)
        session.speaker.put("mark", b"m" * 7919)
        for at in range(16, len(whole) - 1):
            for value in range(256):
                request = whole[:at] + bytes([value]) + whole[at + 1 :]
                if request.startswith(b"UPLOAD u size=3\nDATA 3"):
                    session.play([(request, b"")])
                else:
                    in_a_session_of_its_own(server, request)


def in_a_session_of_its_own(server, request):
    """A DATA line that counts otherwise swallows or leaves what follows: then all that can be asked is an orderly end."""
    with server.login() as speaker:
        speaker.try_send(request + b"\nLOGOUT\n")
        speaker.finish_sending()
        speaker.rest()


@check("each byte value at each position of a login is answered or ends the connection, and never lets anybody in")
def before_login():
    requests = [b"LOGIN alice sweeps", b"AUTH SCRAM-SHA-256 biwsbj0=", b"HELP PING", b"PING"]
    with house("-v") as server:
        for request in requests:
            for batch in batches(variants(request), 2):
                stranger(server, batch)


def stranger(server, requests):
    """Two tries at most: the third refused login would end the connection."""
    with Speaker(server.port) as speaker:
        speaker.try_send(b"".join(line + b"\nSTAT secret\n" for line in requests) + b"LOGOUT\n")
        for line in speaker.rest():
            assert not line.startswith(("OK welcome", "OK type", "ERR not-found no such file")), (requests, line)
