"""The corpus of hostile names, through all that takes or shows a name.

They come back unchanged, and no raw control character comes out where it does not belong. Raw is right in one place: data in a
pipe, which is `ls` into a pipe (one name a line, as find -print has it) and the content of files.
"""

import base64
import json
import os
import re

from checks import check
from dfos_speaker import decode, encode
from house import RAW, ROOT, house
from victim import victim

NAMES = [decode(line) for line in (ROOT / "tests/hostile_names.txt").read_text().splitlines() if not line.startswith("#")]
LOG_LINE = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z dfos-forkd\[\d+\] (error|warning|info|debug) ")


def harmful():
    """The names that hold something a terminal might obey, those apart that are the end of any line."""
    return [name for name in NAMES if (RAW.search(name) or b"\n" in name) and name not in (b"\n", b"\r")]


def loose(name):
    """The name on the wire with as little encoding as the manual allows: only space, %, control bytes, what is not UTF-8."""
    text = name.decode("utf-8", "surrogateescape")
    keep = lambda char: char > " " and char != "%" and char != "\x7f" and not "\udc80" <= char <= "\udcff"
    return "".join(char if keep(char) else encode(char.encode("utf-8", "surrogateescape")) for char in text)


@check("hostile names go through every verb unchanged, and the log shows none of them raw")
def through_the_server():
    with house("-v", "--trash", "1d") as server, server.login() as speaker:
        for form in (lambda name: encode(name), loose):
            for name in NAMES:
                path = form(name)
                speaker.put(path, name)
                assert speaker.download(path) == name
                trashed = speaker.ask(f"DELETE {path} trash").removeprefix("OK deleted id=")
                row = speaker.ask("TRASH list").split(" ")
                assert row[:4] == ["TRASHED", trashed, "file", str(len(name))] and decode(row[5]) == name, row
                assert speaker.line() == "OK entries=1"
                assert speaker.ask(f"TRASH restore {trashed}").startswith("OK restored path=")
                assert speaker.ask(f"STAT {path}").startswith(f"OK type=file size={len(name)} ")
                assert speaker.ask(f"DIGEST {path}").startswith("OK size=")
                content, _ = speaker.take_body(speaker.ask(f"VIEW {path}"))
                assert content == name
            listed = sorted(decode(row[3]) for row in speaker.listing())
            assert listed == sorted(NAMES), set(listed) ^ set(NAMES)
            for name in NAMES:
                path = form(name)
                assert speaker.ask(f"MKDIR d{path[:150]}x").startswith(("OK created", "ERR ")), name
                assert speaker.ask(f"RENAME {path} moved") == "OK renamed"
                assert speaker.ask(f"RENAME moved {path}") == "OK renamed"
                # Errors that speak of it.
                assert speaker.ask(f"STAT {path}/x").startswith("ERR not-directory")
                assert speaker.ask(f"MKDIR {path}").startswith("ERR exists")
                assert speaker.ask(f"STAT none/{path}").startswith("ERR not-found")
                assert speaker.ask(f"LIST {path}").startswith("ERR not-directory")
                assert speaker.ask(f"DELETE {path}") == "OK deleted"
            for row in speaker.listing():
                assert speaker.ask(f"RMDIR {row[3]}") == "OK removed=1"
        for line in server.log().splitlines():
            assert LOG_LINE.match(line), f"this line of the log was forged: {line!r}"


@check("hostile names and texts before a login are refused, and the log shows none of them raw")
def before_login():
    with house("-v") as server:
        for name in NAMES:
            for form in (encode(name), loose(name)):
                for request in (f"LOGIN {form} secret", f"LOGIN alice {form}", f"HELP {form}", f"AUTH {form} AAAA", form):
                    with server.speaker() as speaker:
                        speaker.try_send(request.encode() + b"\nQUIT\n")
                        lines = speaker.rest()
                        assert lines and not any(line.startswith("OK welcome") for line in lines), (request, lines)
        for line in server.log().splitlines():
            assert LOG_LINE.match(line), f"this line of the log was forged: {line!r}"


def shows_no(output, what):
    for name in harmful():
        assert name not in output, f"{what} shows {name!r} raw: {output[:2000]!r}"


@check("hostile names go up and down by the client unchanged, and terminals, messages and JSON show none of them raw")
def through_the_client():
    with house("-v") as server, victim() as one:
        run = lambda *arguments, **more: one.run(f"tcp://127.0.0.1:{server.port}", *arguments, timeout=20, **more)
        names = [name for name in NAMES if not name.startswith(b".dfos-")]  # the client's own for unfinished downloads
        (one.here / "up").mkdir()
        for name in names:
            (one.here / "up" / os.fsdecode(name)).write_bytes(name)
        for terminal in (False, True):
            put = run("put", "-r", "up", terminal=terminal)
            assert put.status == 0, put
            get = run("get", "-r", "up", "--dir", f"down{terminal}", terminal=terminal)
            assert get.status == 0, get
            for outcome in (put, get):
                shows_no(outcome.out + outcome.error, "a transfer")
            down = {os.fsencode(path.name): path.read_bytes() for path in (one.here / f"down{terminal}/up").iterdir()}
            assert down == {name: name for name in names}, down.keys() ^ set(names)
            for arguments in (("ls", "up"), ("ls", "-l", "up"), ("ls", "up/*"), ("-v", "ls", "up")):
                outcome = run(*arguments, terminal=terminal)
                assert outcome.status == 0, outcome
                if terminal:
                    shows_no(outcome.out, "ls")
        assert sorted(run("ls", "up").out.split(b"\n")[:-1]) == sorted(b"\n".join(names).split(b"\n")), "a pipe gets the names"
        json_lines(run, names)
        errors(run, names)
        assert not any("pwned" in path.name and path.stat().st_size == 0 for path in one.here.iterdir())


def json_lines(run, names):
    """JSON is text without raw control characters, and gives each name back exactly."""
    found = set()
    for arguments in (("ls", "up"), ("stat", "up/*"), ("get", "-r", "up", "--dir", "down"), ("put", "-r", "up")):
        outcome = run("--json", *arguments)
        assert outcome.status == 0, outcome
        raw = RAW.search(outcome.out)
        assert raw is None, f"{arguments}: {outcome.out[raw.start() - 80 : raw.end() + 20]!r}"
        for line in outcome.out.decode().split("\n")[:-1]:
            told = json.loads(line)
            if arguments == ("ls", "up"):
                name = base64.b64decode(told["path_b64"]) if "path_b64" in told else told.get("path", "").encode()
                found.add(name.removeprefix(b"up/"))
    assert set(names) <= found, set(names) - found


def errors(run, names):
    """Messages about names that are not there, and about names that cannot be."""
    for name in harmful()[:12]:
        argument = os.fsdecode(b"none" + name.replace(b"\0", b""))
        for arguments in (("stat", argument), ("get", argument), ("rm", argument), ("mv", argument, "x"), ("put", argument)):
            for more in ((), ("--json",)):
                outcome = run(*more, *arguments, terminal=not more)
                assert outcome.status != 0, (arguments, outcome)
                shows_no(outcome.out + outcome.error, "a message")


@check("the shell shows hostile names escaped, and takes what it shows")
def through_the_shell():
    with house() as server, victim() as one:
        with server.login() as speaker:
            assert speaker.ask("MKDIR d") == "OK created"
            for name in NAMES:
                speaker.put("d/" + encode(name), b"x")
        script = b"ls d\nls -l d\ncd d\nls\nstat none\\x1b[2J\nexit\n"
        outcome = one.run(f"tcp://127.0.0.1:{server.port}", "shell", typed=script, timeout=20)
        assert outcome.status in (0, 7), outcome
        assert b"plain" in outcome.out, outcome
        shows_no(outcome.out, "the shell")
