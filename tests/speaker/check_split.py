"""The byte-split sweep: how the bytes of a session fall into packets changes no answer."""

import itertools
import re
import time

import scram
from checks import check
from dfos_speaker import Speaker, body
from house import house

HELLO = b"hello\n"

# Every verb and alias, with bodies. It leaves the tree as it found it, so that every run meets the same.
SCRIPT = [
    b"PING\n",
    b"HELP STAT\n",
    b"MKDIR d\n",
    b"SUBFOLDER CREATE d/e\n",
    b"MKDIR d/e/f/g parents\r\n",
    b"UPLOAD d/a size=6 mtime=1700000000.000000001\n" + body(HELLO),
    b"STAT d/a\n",  # until something asks, an upload may wait for others to be committed with
    b"UPLOAD d/a new\n" + body(HELLO),  # refused; its body is thrown away
    b"UPLOAD d/b\nWAIT a moment\n" + body(HELLO, piece=2),
    b"UPLOAD d/c resume\nWAIT\nFROM 0\n" + body(HELLO),
    b"UPLOAD d/h\nDATA 6\nhello\nABORT aborted enough\n",
    b"UPLOAD d/i size=6\nDATA 6\nhello\nEND sha256=" + b"0" * 64 + b"\n",
    b"LIST d\n",
    b"DIR\n",
    b"STAT d/a\n",
    b"DOWNLOAD d/a offset=1 length=3\n",
    b"DOWNLOAD d/%61\r\n",
    b"VIEW d/a length=2\n",
    b"PREVIEW d/a\n",
    b"DIGEST d/b\n",
    b"RENAME d/a d/z\n",
    b"RENAME d/b d/z replace\n",
    b"QUOTA\n",
    b"DELETE d/z\n",
    b"STAT caf\xc3\xa9\n",
    b"nonsense\n",
    b"END\n",
    b"DATA 6\nhello\nEND\n",
    b"AUTH SCRAM-SHA-256 AAAA\n",
    b"SUBFOLDER DELETE d/e\n",
    b"RMDIR d recursive\n",
    b"PING\n",
]
GOODBYE = b"LOGOUT\n"
LOGIN = b"LOGIN alice secret\n"
LAST = b"OK bye"


def normal(lines):
    """Answers without what differs from run to run: the time, the order of a listing, and how much the disk has left."""
    rows = itertools.groupby(lines, key=lambda line: line.startswith(b"ENTRY "))
    text = b"\n".join(line for entries, group in rows for line in (sorted(group, key=row_path) if entries else group))
    text = re.sub(rb"mtime=(?!1700000000\.000000001)\S+", b"mtime=T", text)
    text = re.sub(rb"(ENTRY \w+ \d+) \S+", rb"\1 T", text)
    text = re.sub(rb"pong time=\S+", b"pong time=T", text)
    return re.sub(rb"free=\d+", b"free=N", text)


def row_path(row):
    return row.split(b" ")[-1]


def everything(speaker):
    """All that the server says up to its end, as lines; bodies here are lines, too."""
    return [line for line in iter(speaker.raw_line, None)]


def undivided(port):
    """What one session of whole requests, each sent when the one before was answered, hears."""
    with Speaker(port) as speaker:
        for request in [LOGIN, *SCRIPT, GOODBYE]:
            speaker.send(request)
            time.sleep(0.005)
        answers = everything(speaker)
    assert answers[-1] == LAST, answers
    return normal(answers)


@check("each request of a session may be cut at each byte into two packets")
def cut_once():
    longest = max(len(request) for request in SCRIPT)
    with house() as server:
        due = undivided(server.port)
        # Session k cuts every request at its byte k.
        for at in range(1, longest):
            with Speaker(server.port) as speaker:
                for request in [LOGIN, *SCRIPT, GOODBYE]:
                    speaker.send(request[:at])
                    if at < len(request):
                        time.sleep(0.0004)
                        speaker.send(request[at:])
                answers = normal(everything(speaker))
            assert answers == due, f"cut at {at}:\n{answers.decode()}\nwhole:\n{due.decode()}"


@check("all requests of a session may come in one packet, or each byte in one of its own")
def one_packet():
    session = LOGIN + b"".join(SCRIPT) + GOODBYE
    with house() as server:
        due = undivided(server.port)
        for _ in range(5):
            with Speaker(server.port) as speaker:
                speaker.send(session)
                answers = normal(everything(speaker))
            assert answers == due, f"{answers.decode()}\nwhole:\n{due.decode()}"
        with Speaker(server.port) as speaker:
            for byte in session:
                speaker.send(bytes([byte]))
            answers = normal(everything(speaker))
        assert answers == due, answers.decode()


@check("the two lines of a SCRAM login may be cut at each byte")
def cut_login():
    with house() as server:
        for at in range(1, 200):
            with Speaker(server.port) as speaker:
                exchange = scram.Client("alice", "secret")
                challenge = ask_in_two(speaker, f"AUTH SCRAM-SHA-256 {exchange.first()}\n".encode(), at)
                last = exchange.last(challenge.split(" ")[1])
                welcome = ask_in_two(speaker, f"AUTH SCRAM-SHA-256 {last}\n".encode(), at)
                assert welcome == f"OK welcome alice scram={exchange.signature}", welcome


def ask_in_two(speaker, line, at):
    speaker.send(line[:at])
    if at < len(line):
        time.sleep(0.0004)
        speaker.send(line[at:])
    return speaker.line()
