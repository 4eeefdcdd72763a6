"""The state × word matrix: every verb, every line of a body and every word of a server, in every state of a session.

What is due follows from docs/PROTOCOL.md. After each word the session must be in the state that the manual says, and nobody
is logged in who has not logged in.
"""

import re

import scram
from checks import check
from dfos_speaker import Speaker, sha256
from house import ROOT, house

CONTENT = b"content of x"

# Each verb and alias with harmless arguments, and how its answer begins when it is carried out.
VERBS = {
    "HELP": "OK paths",
    "AUTH SCRAM-SHA-256 AAAA": "ERR bad-request",
    "LOGIN alice secret": "ERR bad-request",
    "LIST empty": "OK entries=0",
    "DIR empty": "OK entries=0",
    "STAT x": "OK type=file",
    "UPLOAD none/x size=1": "ERR not-found",
    "DOWNLOAD x": "READY size=12",
    "VIEW x": "READY size=12",
    "PREVIEW x": "READY size=12",
    "DELETE none": "ERR not-found",
    "RENAME none other": "ERR not-found",
    "MKDIR empty parents": "OK created",
    "SUBFOLDER CREATE empty": "ERR exists",
    "RMDIR none": "ERR not-found",
    "SUBFOLDER DELETE none": "ERR not-found",
    "TRASH list": "OK entries=0",
    "TRASH restore 1-0000000000000000": "ERR not-found",
    "TRASH empty": "OK emptied entries=0",
    "TRASH empty 1-0000000000000000": "ERR not-found",
    "DELETE x trash": "ERR denied",
    "RMDIR empty recursive trash": "ERR denied",
    "DIGEST x": "OK size=12",
    "QUOTA": "OK used=",
    "PASSWD a b": "ERR bad-request",
    "PING": "OK pong",
    "LOGOUT": "OK bye",
    "EXIT": "OK bye",
    "QUIT": "OK bye",
}
BODY_WORDS = ["DATA 1\nZ", "END", "END sha256=" + sha256(b""), "ABORT aborted", "FROM 0", "WAIT", "WAIT a moment"]
SERVER_WORDS = [
    "OK",
    "OK pong",
    "OK welcome alice",
    "OK welcome alice scram=dj1BQUFB",
    "OK dfos/1 ready auth=LOGIN",
    "ERR busy a moment",
    "ERR login-refused no",
    "READY offset=0",
    "READY size=12 offset=0 length=12",
    "ENTRY file 0 0 x",
    "TRASHED 1-0000000000000000 file 0 0 x",
    "INFO text",
    "CHALLENGE AAAA",
]
WITHOUT_LOGIN = ("HELP", "AUTH", "LOGIN", "PING", "LOGOUT", "EXIT", "QUIT")
GOODBYES = ("LOGOUT", "EXIT", "QUIT")
MARK = "STAT mark"
MARKED = "OK type=file size=7919 "
TRESPASS = "STAT x"


def words():
    return [*VERBS, *BODY_WORDS, *SERVER_WORDS]


def verb_of(word):
    return word.split(" ")[0]


def sentences(speaker, last):
    """The answers up to that of the mark, the insides of bodies and of listings left out."""
    heard = []
    while True:
        line = speaker.raw_line()
        if line is None:
            return heard, "closed"
        text = line.decode()
        if text.startswith(last):
            return heard, "in step"
        if text.startswith("DATA "):
            speaker.exactly(int(text[5:]))
        elif not text.startswith(("INFO ", "ENTRY ", "END")):
            heard.append(text)


def say(speaker, word):
    """Sends a word as its line; behind the one byte of a piece the next line follows at once."""
    speaker.try_send(word.encode() + (b"" if word.startswith("DATA ") else b"\n"))


def prepare(server):
    with server.login() as speaker:
        speaker.put("x", CONTENT)
        speaker.put("mark", b"m" * 7919)
        speaker.put("big", bytes(3 << 20))
        assert speaker.ask("MKDIR empty") == "OK created"


# --- strangers ---


def fresh(server):
    return server.speaker(), None


def amid_scram(server):
    """Between the two lines of a login: whatever comes instead of the second drops the exchange."""
    speaker, exchange = server.speaker(), scram.Client("alice", "secret")
    challenge = speaker.ask(f"AUTH SCRAM-SHA-256 {exchange.first()}").split(" ")[1]
    return speaker, f"AUTH SCRAM-SHA-256 {exchange.last(challenge)}"


def refused(server):
    speaker = server.speaker()
    assert speaker.ask("LOGIN alice wrong").startswith("ERR login-refused")
    return speaker, None


@check("before a login, in the midst of one and after a refused one, no word but a login lets anybody in")
def strangers():
    with house() as server:
        prepare(server)
        for state in (fresh, amid_scram, refused):
            for word in words():
                stranger(state, server, word)


def stranger(state, server, word):
    speaker, second = state(server)
    told = f"{state.__name__}: {word!r}"
    with speaker:
        say(speaker, word)
        if second:
            speaker.try_send(second)
        speaker.try_send(TRESPASS)
        speaker.try_send("QUIT")
        lines = [line for line in speaker.rest() if not line.startswith("INFO ")]
        verb = verb_of(word)
        if verb == "LOGIN":
            assert lines[0] == "OK welcome alice", (told, lines)
            assert lines[-2].startswith("OK type=file"), (told, lines)
            return
        assert not any(line.startswith(("OK welcome", "OK type", "OK size", "READY", "ENTRY")) for line in lines), (told, lines)
        if verb in GOODBYES:
            assert lines == ["OK bye"], (told, lines)
        elif verb in {verb_of(one) for one in BODY_WORDS}:
            assert len(lines) == 1 and lines[0].startswith("ERR "), (told, lines)  # and then the end
        else:
            assert lines[0].startswith("OK" if verb in ("HELP", "PING") else "ERR "), (told, lines)
            assert lines[-1] == "OK bye" and lines[-2].startswith("ERR denied"), (told, lines)


# --- members ---


@check("a session that is logged in carries out every verb, refuses every other word, and stays in step")
def members():
    with house() as server:
        prepare(server)
        for word in words():
            with server.login() as speaker:
                expect_as_member(speaker, word, "logged in")
        with server.login() as speaker:  # all in one session; what ends it, last
            for word in [word for word in words() if verb_of(word) not in GOODBYES]:
                expect_as_member(speaker, word, "logged in, one after the other")


def expect_as_member(speaker, word, told):
    say(speaker, word)
    speaker.try_send(MARK)
    heard, state = sentences(speaker, MARKED)
    due = VERBS.get(word, "ERR bad-request")
    if word == TRESPASS:
        due = "OK type=file"
    assert heard and heard[0].startswith(due) and len(heard) == 1, (told, word, heard)
    assert state == ("closed" if verb_of(word) in GOODBYES else "in step"), (told, word, heard, state)


@check("after a complete upload and after one that was given up, every word means what it means in a session")
def after_an_upload():
    with house() as server:
        prepare(server)
        for ending in ("END", "ABORT aborted"):
            for word in words():
                with server.login() as speaker:
                    speaker.send(f"UPLOAD u\nDATA 1\nu{ending}")
                    assert speaker.line() == "READY offset=0"
                    assert speaker.line().startswith("OK size=1" if ending == "END" else "ERR aborted")
                    # Either was the body's end: a line of a body that follows was asked for by nobody.
                    expect_as_member(speaker, word, f"after {ending}")


@check("in an upload, before its first piece and between two, only a line of a body goes on with it")
def amid_an_upload():
    with house() as server:
        prepare(server)
        for sent in (b"", b"DATA 2\nab", b"WAIT\nDATA 2\nab"):
            for word in words():
                amid(server, sent, word)


def amid(server, sent, word):
    told = f"after {sent!r}: {word!r}"
    with server.login() as speaker:
        speaker.send(b"UPLOAD amid size=3\n" + sent)
        assert speaker.line() == "READY offset=0"
        say(speaker, word)
        verb = verb_of(word)
        if verb in ("DATA", "WAIT"):
            missing = 3 - (2 if sent else 0) - (1 if verb == "DATA" else 0)
            speaker.send((b"DATA %d\n" % missing + b"c" * missing if missing else b"") + b"END\n")
            assert speaker.line().startswith("OK size=3"), told
            assert speaker.ask("DELETE amid") == "OK deleted"
            return
        speaker.try_send(MARK)
        heard, state = sentences(speaker, MARKED)
        due = "ERR aborted" if verb == "ABORT" else "ERR bad-request"
        assert heard[0].startswith(due), (told, heard)
        if word in VERBS:
            # The request that broke in is carried out in its turn.
            assert len(heard) >= 2 and heard[1].startswith(VERBS[word]), (told, heard)
        else:
            assert len(heard) == 1, (told, heard)
        assert state == ("closed" if verb in GOODBYES else "in step"), (told, heard, state)
        if state == "in step":
            assert speaker.ask("STAT amid").startswith("ERR not-found"), told


@check("inside a piece every word is content")
def inside_a_piece():
    with house() as server:
        prepare(server)
        with server.login() as speaker:
            for word in words():
                content = b"a" + word.encode() + b"\n" + b"z"
                speaker.send(b"UPLOAD inside\nDATA %d\n" % len(content) + content[:1])
                assert speaker.line() == "READY offset=0"
                speaker.send(content[1:])
                speaker.send("END")
                assert speaker.line() == f"OK size={len(content)} sha256={sha256(content)}", word
                assert speaker.download("inside") == content


@check("after a refused upload the lines of its body are thrown away, and every other word means what it means")
def discarding():
    with house() as server:
        prepare(server)
        for word in words():
            with server.login() as speaker:
                assert speaker.ask("UPLOAD empty size=3").startswith("ERR is-directory")
                if word in BODY_WORDS:
                    say(speaker, word)
                    speaker.send(MARK)
                    heard, state = sentences(speaker, MARKED)
                    assert (heard, state) == ([], "in step"), (word, heard, state)
                else:
                    expect_as_member(speaker, word, "after a refused upload")


@check("every word that is sent while a download runs is answered behind it")
def amid_a_download():
    with house() as server:
        prepare(server)
        for word in words():
            with server.login() as speaker:
                speaker.send("DOWNLOAD big")
                ready = speaker.line()
                say(speaker, word)
                content, end = speaker.take_body(ready)
                assert end == f"END sha256={sha256(bytes(3 << 20))}", end
                speaker.try_send(MARK)
                heard, state = sentences(speaker, MARKED)
                due = VERBS.get(word, "ERR bad-request")
                assert heard[0].startswith(due), (word, heard)


@check("with an upload to be resumed, only FROM or WAIT goes on")
def before_from():
    with house() as server:
        prepare(server)
        for word in words():
            with server.login() as speaker:
                assert speaker.ask("UPLOAD again size=1 resume") == "READY offset=0"
                say(speaker, word)
                if verb_of(word) in ("FROM", "WAIT"):
                    speaker.send(("FROM 0\n" if verb_of(word) == "WAIT" else "").encode() + b"DATA 1\nxEND\n")
                    assert speaker.line().startswith("OK size=1"), word
                    assert speaker.ask("DELETE again") == "OK deleted"
                    continue
                speaker.try_send(MARK)
                heard, state = sentences(speaker, MARKED)
                assert heard[0].startswith("ERR bad-request"), (word, heard)
                assert state == ("closed" if verb_of(word) in GOODBYES else "in step"), (word, heard)


@check("after LOGOUT no word is heard")
def after_logout():
    with house() as server:
        prepare(server)
        for word in words():
            with server.login() as speaker:
                speaker.try_send(f"LOGOUT\n{word}\nDELETE x")
                assert speaker.rest() == ["OK bye"], word
        with server.login() as speaker:
            assert speaker.download("x") == CONTENT


@check("what looks like HTTP or TLS on the clear port ends the connection, and nothing behind it is carried out")
def other_protocols():
    hello = bytes.fromhex("16030100c8010000c40303") + bytes(range(200))
    with house() as server:
        prepare(server)
        for first in (b"GET / HTTP/1.1", b"POST / HTTP/1.1", b"Host: localhost", b"PUT /x HTTP/1.0", hello, b"\x80\x2e\x01"):
            for ending in (b"\r\n", b"\n"):
                with Speaker(server.port) as speaker:
                    speaker.try_send(first + ending + b"LOGIN alice secret\nDELETE x\n")
                    lines = speaker.rest()
                    assert len(lines) <= 1 and all(line.startswith("ERR ") for line in lines), (first, lines)


@check("every verb of the manual stands in the matrix")
def none_forgotten():
    manual = (ROOT / "docs/PROTOCOL.md").read_text()
    rows = re.findall(r"^\| (.*?) \| (.*?) \|", manual.split("## 3.")[1].split("## 4.")[0], re.MULTILINE)
    names = {name for cells in rows for cell in cells for name in re.findall(r"`([A-Z ]+)`", cell)}
    known = {re.match(r"SUBFOLDER \w+|\w+", verb)[0] for verb in VERBS}
    assert names == known, names ^ known
