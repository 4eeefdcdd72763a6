"""Servers that attack `dfos-client`: names nobody asked for, ways out of the destination, lies, silence, and floods.

In each, nothing outside the destination changes (`victim` looks), the exit status is the documented one, the client ends
in bounded time, and nothing raw reaches a terminal.
"""

import functools
import os

import scram
from checks import check
from dfos_speaker import body, sha256
from fake_server import GREETING, PASSWORD, FakeServer, answers, says
from house import eventually
from victim import victim

OK, OTHER, IDENTITY, LOGIN, CONFLICT, LOCAL, INTEGRITY, PROTOCOL, TIMEOUT, PARTIAL, INTERRUPTED = (
    0, 1, 4, 5, 8, 10, 11, 12, 13, 14, 17)  # fmt: skip
FILE = "OK type=file size=4 mtime=1.000000000"
READY = b"READY size=4 mtime=1.000000000 offset=0 length=4\n"
EVIL = b"file 4 1.000000000 "
DIR = b"dir 4096 1.000000000 "

# Rows of a listing that break the protocol: not one may become a name, and the client goes no further.
BROKEN_ROWS = [
    EVIL + path
    for path in (
        b"/etc/evil", b"../evil", b"../../evil", b"a/../../evil", b"..", b".", b"", b"/", b"a/", b"/a", b"a//b", b"a/./b",
        b"%2e%2e/evil", b"a/%2E%2E/evil", b"%2F..%2Fevil", b"a%2Fb", b"a%00b", b"%00", b"%zz", b"%", b"%4", b"a b", b"a\tb",
        b"\x1b]0;x\x07", b"a\rb", b"a\x7fb", b"\xff\xfe", b"\xc2", b".dfos/x", b"a/.dfos", b"n" * 256, b"a/" * 2100 + b"a",
    )
] + [
    b"", b"file", b"file 4", b"file 4 1.000000000", b"hole 4 1.000000000 a", b"FILE 4 1.0 a", b"file -1 1.000000000 a",
    b"file 9223372036854775808 1.000000000 a", b"file 99999999999999999999 1.000000000 a", b"file 4 now a", b"file 04 1 a",
    b"file +4 1 a", b"file 4 1.5 a", b"file 4  1.000000000 a",
]  # fmt: skip


@check("a listing that breaks the protocol is believed in nothing")
def broken_rows():
    for row in BROKEN_ROWS:
        with victim() as one, FakeServer(answers(rows=[EVIL + b"good", row])) as server:
            outcome = one.run(server.url, "get", "-r", "tree", "--dir", ".")
            assert outcome.status == PROTOCOL, (row, outcome)
            assert one.names() == set(), (row, one.names())
            assert not any(request.startswith("DOWNLOAD") for request in server.requests), (row, server.requests)
        with victim() as one, FakeServer(answers(rows=[row])) as server:
            outcome = one.run(server.url, "ls", terminal=True)
            assert outcome.status == PROTOCOL, (row, outcome)


@check("a listed name that leads through a local link is refused, and the link stays")
def through_links():
    for rows in (
        [EVIL + b"link/evil"],
        [DIR + b"link", EVIL + b"link/evil"],
        [b"link 0 1.000000000 link", EVIL + b"link/evil"],
        [EVIL + b"link/sub/evil", DIR + b"link/sub"],
        [DIR + b"link/new"],
    ):
        with victim() as one, FakeServer(answers(rows=rows)) as server:
            outcome = one.run(server.url, "get", "-r", "tree", "--dir", ".")
            assert outcome.status == PARTIAL or (outcome.status in (LOCAL, CONFLICT)), (rows, outcome)
    # A link where a file will be is replaced by the file, not written through.
    with victim() as one, FakeServer(answers(rows=[EVIL + b"filelink"])) as server:
        outcome = one.run(server.url, "get", "-r", "tree", "--dir", ".")
        assert outcome.status == OK, outcome
        assert not (one.here / "tree/filelink").is_symlink() and (one.here / "tree/filelink").read_bytes() == b"evil"


@check("a link in a listing is never made, and what is listed below it becomes a directory of ours or nothing")
def planted_links():
    rows = [b"link 4 1.000000000 way", EVIL + b"way/evil", DIR + b"way"]
    with victim() as one, FakeServer(answers(rows=rows)) as server:
        one.run(server.url, "get", "-r", "tree", "--dir", ".")
        assert not (one.here / "tree/way").is_symlink()
        assert one.names() <= {b"tree/way", b"tree/way/evil"}, one.names()


@check("a name listed twice, or as a file and as a directory, harms nothing but itself")
def listed_twice():
    for rows in (
        [EVIL + b"a", EVIL + b"a"],
        [EVIL + b"a", DIR + b"a"],
        [DIR + b"a", EVIL + b"a"],
        [EVIL + b"a", EVIL + b"a/b"],
        [EVIL + b"a/b", EVIL + b"a"],
        [EVIL + b"a", EVIL + b"A"],
    ):
        with victim() as one, FakeServer(answers(rows=rows)) as server:
            outcome = one.run(server.url, "get", "-r", "tree", "--dir", ".")
            assert outcome.status in (OK, PARTIAL, CONFLICT, LOCAL, PROTOCOL), (rows, outcome)
            assert one.names() <= {b"tree/a", b"tree/a/b", b"tree/A"}, (rows, one.names())


@check("names that a shell would obey are names")
def shell_names():
    names = [b"|touch evil", b"-rf", b"~", b"@x", b"!x", b"$(touch evil)", b"`touch evil`", b"a;touch evil", b"--to", b"{x}", b"%s%n"]
    rows = [EVIL + b"".join(b"%%%02X" % byte for byte in name) for name in names]
    with victim() as one, FakeServer(answers(rows=rows)) as server:
        outcome = one.run(server.url, "get", "-r", "tree", "--dir", ".")
        assert outcome.status == OK, outcome
        assert one.names() == {b"tree/" + name for name in names}, one.names()


@check("a file that was asked for gets the name that was asked for, whatever the server answers")
def unasked():
    for extra in (b"ENTRY file 4 1.000000000 other\n", b"READY size=4 name=../evil mtime=1.000000000 offset=0 length=4\n"):
        with victim() as one, FakeServer(says(FILE, extra + READY + body(b"evil"))) as server:
            one.run(server.url, "get", "a")
            assert one.names() <= {b"a"} and (b"a" not in one.names() or (one.here / "a").read_bytes() == b"evil")
    with victim() as one, FakeServer(answers(stat=FILE + " name=../evil path=/etc/evil to=evil")) as server:
        assert one.run(server.url, "get", "a").status == OK
        assert one.names() == {b"a"}, one.names()


# What a server may answer to `get a` once it has told that it is a file of four bytes, and what the client makes of it.
LIES = [
    (b"READY size=4 mtime=1.000000000 offset=1 length=3\nDATA 3\nvil", PROTOCOL),
    (b"READY size=9223372036854775807 mtime=1.000000000 offset=0 length=4\n", PROTOCOL),
    (b"READY size=9223372036854775808 mtime=1.000000000 offset=0 length=4\n", PROTOCOL),
    (b"READY size=-4 mtime=1.000000000 offset=0 length=-4\n", PROTOCOL),
    (b"READY size=4 mtime=never offset=0 length=4\n", PROTOCOL),
    (b"READY\n", PROTOCOL),
    (b"READY size=4 size=4 mtime=1.000000000 offset=0 length=5\n", PROTOCOL),
    (READY + b"DATA 5\nevil!", PROTOCOL),
    (READY + b"DATA 0\nEND\n", PROTOCOL),
    (READY + b"DATA 1048577\n", PROTOCOL),
    (READY + b"DATA 99999999999999999999\n", PROTOCOL),
    (READY + b"DATA -1\n", PROTOCOL),
    (READY + b"DATA 2\nevEND sha256=" + sha256(b"ev").encode() + b"\n", PROTOCOL),
    (READY + b"DATA 4\nevilDATA 4\nevil", PROTOCOL),
    (READY + b"DATA 4\nevilEND\n", PROTOCOL),
    (READY + b"DATA 4\nevilEND sha256=abc\n", PROTOCOL),
    (READY + b"DATA 4\nevilEND sha256=" + b"0" * 63 + b"\n", PROTOCOL),
    (READY + b"DATA 4\nevilEND sha256=" + b"0" * 65 + b"\n", PROTOCOL),
    (READY + b"DATA 4\nevilEND sha256=" + b"0" * 30000 + b"\n", PROTOCOL),
    (READY + b"DATA 4\nevilEND sha256=" + b"g" * 64 + b"\n", PROTOCOL),
    (READY + b"DATA 2\nevABORT changed good=3 more than there was\n", PROTOCOL),
    (READY + b"DATA 2\nevABORT changed good=18446744073709551616 x\n", PROTOCOL),
    (READY + b"DATA 2\nevABORT io-error good=1 a \xc2\x9b31m disk\n", OTHER),
    (READY + b"DATA 2\nevABORT io-error good=1 a disk\n", OTHER),
    (READY + b"DATA 2\nevERR io-error x\n", PROTOCOL),
    (READY + b"OK bye\n", PROTOCOL),
    (READY + b"READY size=4 offset=0 length=4\n", PROTOCOL),
    (b"OK deleted\n", PROTOCOL),
    (b"CHALLENGE AAAA\n", PROTOCOL),
    (b"DOWNLOAD /etc/passwd\n", PROTOCOL),
    (b"UPLOAD /etc/passwd size=1\n", PROTOCOL),
    (b"DATA 4\nevil", PROTOCOL),
    (b"END sha256=" + b"0" * 64 + b"\n", PROTOCOL),
    (b"\n", PROTOCOL),
    (b"\x00\x01\x02\n", PROTOCOL),
    (b"\xff\xfe\n", PROTOCOL),
    (b"ERR not-found \x1b[2J\x1b]0;x\x07\n", None),
    (b"ERR no-such-code x\n", None),
    (b"ERR denied a\xe2\x80\xaeb\n", 6),
    (b"ERR " + b"e" * 32760 + b"\n", None),
    (b"ERR " + b"e" * 32770 + b"\n", PROTOCOL),
    (b"ERR timeout timeout=0\n", TIMEOUT),
    (b"ERR busy again\n", INTERRUPTED),  # it was let in before: the same command goes on later
]


@check("a server that lies about a file leaves nothing under its name, and the exit status says what is wrong")
def lies():
    for terminal in (False, True):
        for lie, due in LIES:
            with victim() as one, FakeServer(functools.partial(after_stat, lie)) as server:
                outcome = one.run(server.url, "get", "a", terminal=terminal)
                assert outcome.status == due or (due is None and outcome.status != OK), (lie[:200], due, outcome)
                assert not (one.here / "a").exists(), lie[:200]
                left = {name for name in one.names() if not name.startswith(b".dfos-")}
                assert not left, (lie[:200], left)


def after_stat(lie, peer, requests):
    requests.append(peer.hear())
    peer.say(FILE)
    requests.append(peer.hear())
    peer.say(lie)
    requests.extend(peer.linger())


@check("a wrong digest is told twice before the file is given up, and nothing takes its name")
def wrong_digest():
    def script(peer, requests):
        requests.append(peer.hear())
        peer.say(FILE)
        while True:
            requests.append(peer.hear())
            peer.say(READY + b"DATA 4\nevilEND sha256=" + b"0" * 64 + b"\n")

    with victim() as one, FakeServer(script) as server:
        outcome = one.run(server.url, "get", "a")
        assert outcome.status == INTEGRITY, outcome
        assert [request for request in server.requests if "DOWNLOAD" in request] == ["DOWNLOAD a", "DOWNLOAD a fresh"]
        assert one.names() == set(), one.names()


@check("a destination that is exchanged for a link in the midst of a download keeps the download, and the link gets nothing")
def exchanged_destination():
    def script(peer, requests):
        requests.append(peer.hear())
        peer.say(FILE)
        requests.append(peer.hear())
        peer.say(READY + b"DATA 2\nev")
        (one.here / "out").rename(one.here / "held")
        (one.here / "out").symlink_to("../outside")
        peer.say(b"DATA 2\nilEND sha256=" + sha256(b"evil").encode() + b"\n")
        requests.extend(peer.linger())

    with victim() as one, FakeServer(script) as server:
        (one.here / "out").mkdir()
        outcome = one.run(server.url, "get", "a", "--to", "out/")
        assert outcome.status == OK, outcome
        assert (one.here / "held/a").read_bytes() == b"evil"


@check("a file of ours is private while it arrives, and keeps the mode of the one that it replaces")
def private_parts():
    def script(peer, requests):
        requests.append(peer.hear())
        peer.say(FILE)
        requests.append(peer.hear())
        peer.say(READY + b"DATA 2\nev")
        eventually("the part is there", lambda: any(one.here.glob(".dfos-*.part")))
        modes.extend(path.stat().st_mode & 0o777 for path in one.here.glob(".dfos-*.part"))
        peer.say(b"DATA 2\nilEND sha256=" + sha256(b"evil").encode() + b"\n")
        requests.extend(peer.linger())

    modes = []
    umask = os.umask(0)
    try:
        with victim() as one, FakeServer(script) as server:
            (one.here / "a").write_bytes(b"old")
            (one.here / "a").chmod(0o640)
            outcome = one.run(server.url, "get", "a")
            assert outcome.status == OK and modes == [0o600], (modes, outcome)
            assert (one.here / "a").stat().st_mode & 0o777 == 0o640
    finally:
        os.umask(umask)


@check("silence ends the client in its own time, whatever time the server names, at every stage of a download")
def silence():
    stages = [
        b"",
        b"OK type=file size=4 mti",
        b"OK type=file size=4 mtime=1.000000000 timeout=0 silence=999999\n",
        (FILE + "\n").encode() + READY,
        (FILE + "\n").encode() + READY + b"DATA 4\nev",
        (FILE + "\n").encode() + READY + b"DATA 4\nevil",
    ]
    for stage in stages:
        with victim() as one, FakeServer(says(stage)) as server:
            outcome = one.run(server.url, "get", "a", timeout=1)
            assert outcome.status == TIMEOUT and outcome.took < 10, (stage, outcome)
            assert not (one.here / "a").exists()
    with victim() as one, FakeServer(lambda peer, _: peer.linger(), login=False) as server:
        outcome = one.run(server.url, "get", "a", timeout=1)
        assert outcome.status in (3, TIMEOUT) and outcome.took < 20, outcome


@check("an endless line ends the client at the line's limit, before and after the login")
def endless_line():
    def script(peer, _):
        while True:
            peer.say(b"A" * 65536)

    for login in (False, True):
        with victim() as one, FakeServer(script, login=login) as server:
            outcome = one.run(server.url, "ls")
            assert outcome.status == PROTOCOL and outcome.took < 10, outcome


@check("WAIT without end holds the client only until Ctrl+C")
def endless_wait():
    def script(peer, requests):
        requests.append(peer.hear())
        while True:
            peer.say(b"WAIT \x1b[2Ja moment\n" if len(requests) > 9 else b"WAIT a moment\n" * 1000)

    with victim() as one, FakeServer(script) as server:
        outcome = one.run(server.url, "get", "a", timeout=1, interrupt_after=2.5)
        assert outcome.status == INTERRUPTED and outcome.took < 8, outcome


@check("answers nobody asked for are taken for no answer of ours")
def unasked_answers():
    for said, due in (
        ("OK deleted", OK),
        ("OK deleted\nOK deleted", OK),
        ("READY offset=0", PROTOCOL),
        ("ENTRY file 4 1.000000000 x", PROTOCOL),
        ("INFO x", PROTOCOL),
        ("DATA 1", PROTOCOL),
        ("CHALLENGE AAAA", PROTOCOL),
        ("DELETE x", PROTOCOL),
        ("pwned", PROTOCOL),
    ):
        with victim() as one, FakeServer(says(said)) as server:
            outcome = one.run(server.url, "rm", "a")
            assert outcome.status == due, (said, outcome)
            assert server.requests[0] == "DELETE a" and len(server.requests) <= 2, server.requests


@check("what is deleted by a pattern is what the pattern names in its own directory, whatever the server lists")
def delete_scope():
    rows = [EVIL + b"a.txt", EVIL + b"b.dat", EVIL + b"sub/c.txt", DIR + b"d.txt", EVIL + b".txt"]
    with victim() as one, FakeServer(answers(rows=rows)) as server:
        one.run(server.url, "rm", "*.txt")
        asked = {request for request in server.requests if request.startswith(("DELETE", "RMDIR"))}
        assert asked <= {"DELETE a.txt", "DELETE d.txt"}, asked
    for row in (b"../x.txt", b"/x.txt", b"..", b"", b"."):
        with victim() as one, FakeServer(answers(rows=[EVIL + row])) as server:
            outcome = one.run(server.url, "rm", "*")
            assert outcome.status == PROTOCOL, outcome
            assert not any(request.startswith(("DELETE", "RMDIR")) for request in server.requests), server.requests


@check("an upload sends the file that the user named, whatever the server asks for")
def upload_lies():
    for said, due in (
        ("READY offset=5", PROTOCOL),
        ("READY offset=18446744073709551616", PROTOCOL),
        ("READY offset=-1", PROTOCOL),
        ("READY offset=0 file=/etc/passwd\nOK size=4 sha256=" + "0" * 64, None),
        ("DOWNLOAD ../outside/file", PROTOCOL),
        ("READY offset=0\nOK size=5 sha256=" + sha256(b"mine!"), None),
        ("OK size=5 sha256=" + sha256(b"mine!"), PROTOCOL),
    ):
        with victim() as one, FakeServer(says(said)) as server:
            (one.here / "up").write_bytes(b"mine!")
            outcome = one.run(server.url, "put", "up")
            assert outcome.status == due or due is None, (said, outcome)
            sent = "\n".join(server.requests)
            assert "root:" not in sent and "file" not in sent.replace("READY", ""), sent
        if due is None and "mine!" not in said and "0000" in said:
            assert outcome.status == INTEGRITY, outcome


# --- the login ---


def login_script(challenge=None, welcome=None, greeting=GREETING, iterations=scram.ITERATIONS):
    """A login in which one message is false."""

    def script(peer, requests):
        peer.say(greeting)
        exchange = scram.Server(PASSWORD, iterations)
        first = peer.hear()
        requests.append(first)
        told = exchange.challenge(first.split(" ")[2])
        peer.say(challenge(exchange) if challenge else f"CHALLENGE {told}")
        last = peer.hear()
        requests.append(last)
        signature = exchange.signature(last.split(" ")[2])
        peer.say(welcome(signature) if welcome else f"OK welcome alice scram={signature}")
        requests.extend(peer.linger())

    return script


def false_challenge(**changes):
    def challenge(exchange):
        parts = {"r": exchange.nonce, "s": scram.b64(exchange.salt), "i": str(exchange.iterations), **changes}
        return "CHALLENGE " + scram.b64(",".join(f"{key}={value}" for key, value in parts.items()).encode())

    return challenge


@check("a server that does not know the password is found out, and is asked for nothing")
def false_logins():
    for script in (
        login_script(challenge=lambda _: "OK welcome alice"),
        login_script(challenge=lambda _: "OK welcome alice scram=dj1BQUFB"),
        login_script(challenge=false_challenge(i="1")),
        login_script(challenge=false_challenge(i="4095")),
        login_script(challenge=false_challenge(i="0")),
        login_script(challenge=false_challenge(i="-4096")),
        login_script(challenge=false_challenge(i="4294967296")),
        login_script(challenge=false_challenge(r="somebody-elses-nonce")),
        login_script(challenge=false_challenge(s="")),
        login_script(challenge=false_challenge(s="!!!")),
        login_script(challenge=lambda _: "CHALLENGE AAAA"),
        login_script(challenge=lambda _: "CHALLENGE !!!!"),
        login_script(welcome=lambda _: "OK welcome alice"),
        login_script(welcome=lambda _: "OK welcome alice scram="),
        login_script(welcome=lambda _: "OK welcome alice scram=" + scram.b64(b"v=" + scram.b64(bytes(32)).encode())),
        login_script(welcome=lambda _: "CHALLENGE AAAA"),
        login_script(greeting=b"OK dfos/1 ready auth=LOGIN\n"),
        login_script(greeting=b"OK dfos/1 ready\n"),
        login_script(greeting=b"OK dfos/2 ready auth=SCRAM-SHA-256\n"),
        login_script(greeting=b"220 ftp ready\n"),
        login_script(greeting=b"SSH-2.0-OpenSSH_9\n"),
    ):
        with victim() as one, FakeServer(script, login=False) as server:
            outcome = one.run(server.url, "get", "a")
            assert outcome.status in (IDENTITY, PROTOCOL), outcome
            assert outcome.took < 8, outcome
            assert all(request.startswith("AUTH SCRAM-SHA-256 ") for request in server.requests), server.requests
            assert PASSWORD not in "".join(server.requests)


@check("an iteration count that would take minutes is refused at once")
def costly_login():
    for iterations in ("1000000000", "2147483647", "4294967295"):
        script = login_script(challenge=false_challenge(i=iterations))
        with victim() as one, FakeServer(script, login=False) as server:
            outcome = one.run(server.url, "ls")
            assert outcome.status == IDENTITY and outcome.took < 5, outcome


@check("a listing without end ends at the limit of entries", long=True)
def endless_listing():
    def script(peer, requests):
        peer.hear()
        peer.say("OK type=dir size=4096 mtime=1.000000000")
        peer.hear()
        at = 0
        while True:
            peer.say(b"".join(b"ENTRY file 4 1.000000000 f%d\n" % (at + n) for n in range(1000)))
            at += 1000

    with victim() as one, FakeServer(script) as server:
        outcome = one.run(server.url, "get", "-r", "tree", "--dir", ".", timeout=5)
        assert outcome.status == OTHER, outcome
        assert one.names() == set()
