"""The limit sweep: one below, at, and one above each limit that can be met from the wire.

The numbers here are those of docs/PROTOCOL.md. Every `pub const` of src/proto/limits.rs must stand in one of the two tables
below, so that a new limit cannot be forgotten.
"""

import re

from checks import check
from dfos_speaker import Refused, body, encode, sha256
from house import ROOT, house

LIMITS = ROOT / "src/proto/limits.rs"
MET = {}

# Those that no bytes can be one below or one above of, and who looks after them.
NOT_MET = {
    "WAIT_EVERY": "a time, of the server's own waiting: tests/patience.rs",
    "STALL": "a time: tests/long.rs",
    "LEEWAY": "a time, at the server's end: tests/shutdown.rs",
    "GOODBYE": "a time, at the server's end: tests/bad_input.rs",
    "PARTIAL_AGE": "a week, of files that the operator's clock dates: tests/resume.rs",
    "LEAST_MOVED": "tests/gate.rs, net/pace.rs: it is counted over a minute",
    "RETRY": "net/wire.rs: how often a full socket is tried",
    "FAIR_SHARE": "tests/gate.rs, server/gate/room.rs",
    "STRANGER": "tests/gate.rs, server/gate/room.rs",
    "OBEDIENCE": "tests/gate.rs",
    "FORGIVEN": "server/gate/penalties.rs, tests/gate.rs",
    "PENALTY_REFUSED": "server/gate/penalties.rs, tests/gate.rs",
    "PENALTY_GUESS": "server/gate/penalties.rs, tests/gate.rs",
    "PENALTY_SILENT": "server/gate/penalties.rs",
    "PENALTY_CRASH": "server/gate/penalties.rs, tests/gate.rs",
    "PENALTY_GROWTH": "server/gate/penalties.rs",
    "PENALISED": "server/gate/penalties.rs: it takes as many addresses",
    "REFUSALS_LOGGED": "server/gate/refusal.rs",
    "UNDER_WAY": "when the disk is told to begin: it changes no answer and no content",
    "WORDS": "server/words.rs: no client's line gets there",
    "PASSWORD_CHANGES": "tests/passwd.rs",
    "WORDS_OF_A_SESSION": "server/children.rs: no client says them; only a session that was taken over says too many",
    "PASSWORDS_AT_A_TIME": "server/listener/passwords.rs: of helpers, and no answer tells it from a failure",
    "PASSWORD_PATIENCE": "a time, of the server's own waiting",
    "REHEARSAL": "a time, of another program's: tests/upgrade.rs",
    "REPORT": "server/listener/upgrade.rs: what a rehearsal says",
    "CONFIGURATION": "tests/config.rs: the operator's file",
    "AUDIT_LINE": "server/report/source.rs: of files that a report reads",
    "REPORT_CHUNK": "server/report/source.rs",
    "REPORT_USERS": "server/report/top.rs",
    "REPORT_ADDRESSES": "server/report/top.rs",
    "REPORT_KINDS": "server/report/top.rs",
    "REPORT_STEPS": "server/report/course.rs",
    "REPORT_NAME": "tests/report.rs",
    "HOOKS_WAITING": "tests/hooks.rs",
    "HOOKS_MOST": "server/options/hooks.rs: an option's bound",
    "HOOK_WORDS": "tests/hooks.rs: of the operator's programs",
    "HOOK_MERCY": "a time, of the operator's programs: tests/hooks.rs",
    "REPORT_PATH": "server/report/slowest.rs",
    "REPORT_SLOWEST": "server/report/slowest.rs",
    "REPORT_ODD": "tests/report.rs",
    "ACTION_WORD": "server/action.rs: what the scribe keeps of a word that is no path",
    "ACTION_TEXT": "server/action.rs",
    "AUDIT_PATIENCE": "a time, of a session that waits for the scribe: tests/audit.rs",
    "AUDIT_ROOM": "tests/audit.rs: the disk is full",
    "LINES_WAITING": "server/scribe/output/file.rs",
    "SYSLOG_WAITING": "server/scribe/output/syslog.rs, tests/syslog.rs",
    "REFUSALS_AUDITED": "server/listener/telling.rs: how many lines a second, as REFUSALS_LOGGED",
    "SHOWN_PATH": "server/scoreboard.rs",
    "VISITS": "server/desk/mod.rs: the operator's socket",
    "VISIT": "a time, of the operator's socket: server/desk/mod.rs",
    "REQUEST": "server/desk/mod.rs: the operator's socket",
    "LOG_QUEUE": "server/inlet.rs: no client's line gets there as it is",
    "LOG_RECORD": "server/inlet.rs",
    "LOG_TURN": "server/inlet.rs",
    "LOG_HELD": "server/scribe.rs",
    "QUIET": "a time, after which memory is given back: tests/idle.rs",
    "SESSION_MEMORY": "tests/confinement.rs: no request takes much",
    "SESSION_FILES": "tests/confinement.rs; BATCH_FILES is the most that a client can have open",
    "LOGIN_CPU": "tests/confinement.rs",
    "SEATS": "auth/limits_file.rs: the operator's",
    "RATE_LEAST": "auth/limits_file.rs: the operator's",
    "TRASH_LEAST": "auth/keep.rs, store/trash.rs: the operator's, and a time",
    "TRASH_MOST": "auth/keep.rs: the operator's",
    "TRASH_SWEEP": "a time, of a login: store/trash/empty.rs",
    "RATE_BURST": "server/rate.rs, tests/limits.rs",
}


def limit(name, value):
    """Makes a function the sweep of one limit; it is called with a server and the limit's value."""

    def keep(function):
        MET[name] = (value, function)
        return function

    return keep


def starts(answer, beginning):
    assert answer.startswith(beginning), f"due was {beginning!r}, came {answer[:200]!r}"


def ends(speaker, beginning):
    """An ERR, then the end, and nothing that followed was carried out."""
    lines = speaker.rest()
    assert len(lines) == 1 and lines[0].startswith(beginning), lines[:5]


@limit("LINE", 32768)
def line_length(server, most):
    for logged_in in (False, True):
        for ending in (b"\n", b"\r\n"):
            for length in (most - 1, most, most + 1):
                with server.login() if logged_in else server.speaker() as speaker:
                    if logged_in:
                        starts(speaker.upload("kept", b""), "OK size=0")
                    head = b"PING x="
                    line = head + b"a" * (length - len(head) - len(ending)) + ending
                    speaker.send(line + (b"DELETE kept\n" if logged_in else b"PING\n"))
                    if length > most:
                        ends(speaker, "ERR bad-request")
                    else:
                        starts(speaker.line(), "OK pong")
                        starts(speaker.line(), "OK deleted" if logged_in else "OK pong")
    with server.login() as speaker:
        assert "kept" in [row[3] for row in speaker.listing()], "what followed a line that is too long was carried out"


@limit("PIECE", 1 << 20)
def piece(server, most):
    for length in (1, most - 1, most):
        with server.login() as speaker:
            content = b"p" * length
            speaker.send(f"UPLOAD piece\nDATA {length}\n".encode() + content + b"END\n")
            starts(speaker.line(), "READY offset=0")
            starts(speaker.line(), f"OK size={length} sha256={sha256(content)}")
    for length in (0, most + 1, 2**31, 2**32, 2**63 - 1, 2**63, 2**64, "-1", "+5", "05", "0x10", "5.0", ""):
        with server.login() as speaker:
            speaker.try_send(f"UPLOAD piece2\nDATA {length}\nDELETE piece\n".encode())
            starts(speaker.line(), "READY offset=0")
            ends(speaker, "ERR ")
    with server.login() as speaker:
        starts(speaker.ask("STAT piece"), "OK type=file")
        starts(speaker.ask("STAT piece2"), "ERR not-found")


@limit("PATH", 4095)
def path(server, most):
    with server.login() as speaker:
        for length in (most - 1, most, most + 1):
            # Fifteen components of 255, and one that makes up the length.
            long = "/".join(["c" * 255] * 15 + ["z" * (length - 15 * 256)])
            due = "ERR name-too-long" if length > most else "ERR not-found"
            for encoded in (long, encode(long.encode()).replace("c", "%63")):
                starts(speaker.ask(f"STAT {encoded}"), due)
                starts(speaker.ask(f"RENAME {encoded} {encoded}"), due)
                starts(speaker.upload(encoded, b"x"), due)
            if length <= most:
                starts(speaker.ask(f"MKDIR {long} parents"), "OK created")
                starts(speaker.ask(f"STAT {long}"), "OK type=dir")
                starts(speaker.ask("RMDIR " + "c" * 255 + " recursive"), "OK removed=16")
            else:
                starts(speaker.ask(f"MKDIR {long} parents"), due)


@limit("NAME", 255)
def name(server, most):
    with server.login() as speaker:
        for length in (most - 1, most, most + 1):
            for one in ("n" * length, "%FF" * length):
                if length > most:
                    starts(speaker.ask(f"MKDIR {one}"), "ERR name-too-long")
                    starts(speaker.upload(one, b""), "ERR name-too-long")
                else:
                    starts(speaker.upload(one, b""), "OK size=0")
                    starts(speaker.ask(f"DELETE {one}"), "OK deleted")


@limit("RESERVED", ".dfos")
def reserved(server, word):
    with server.login() as speaker:
        for one in (word[:-1], word + "x", word.upper(), word + "%20"):
            starts(speaker.upload(one, b""), "OK size=0")
            starts(speaker.ask(f"DELETE {one}"), "OK deleted")
        for one in (word, "%2Edfos", f"{word}/uploads", f"d/{word}", f"{word}/usage"):
            for request in ("STAT {}", "LIST {}", "DOWNLOAD {}", "DELETE {}", "MKDIR {}", "RMDIR {} recursive"):
                starts(speaker.ask(request.format(one)), "ERR bad-path")
            starts(speaker.upload(one, b""), "ERR bad-path")
            starts(speaker.ask(f"RENAME {one} stolen"), "ERR bad-path")


@limit("NUMBER", 2**63 - 1)
def number(server, most):
    with server.login() as speaker:
        speaker.put("five", b"five!")
        for value in (0, 4, 5):
            speaker.download_rest("five", value)
        for value in (6, 2**31 - 1, 2**31, 2**32, most - 1, most):
            starts(speaker.ask(f"DOWNLOAD five offset={value}"), "ERR bad-request")
            content, _ = speaker.take_body(speaker.ask(f"DOWNLOAD five length={value}"))
            assert content == b"five!"
        for value in (most + 1, 2**64, 2**64 + 1, 10**30):
            starts(speaker.ask(f"DOWNLOAD five offset={value}"), "ERR too-large")
            starts(speaker.ask(f"UPLOAD big size={value}"), "ERR too-large")
        for value in ("-1", "+5", "05", "0x10", "1e3", "", "5 ", "%35"):
            starts(speaker.ask(f"DOWNLOAD five offset={value}"), "ERR bad-request")
        for value in (most - 1, most):
            # No disk holds it; and that is said before a byte has come.
            answer = speaker.ask(f"UPLOAD big size={value}")
            assert answer.startswith(("ERR no-space", "ERR too-large")), answer
        for size, sent in ((4, b"five!"), (6, b"five!"), (0, b"x"), (1, b"")):
            speaker.send(f"UPLOAD lie size={size}\n".encode() + body(sent))
            starts(speaker.line(), "READY")
            starts(speaker.line(), "ERR bad-request")
        starts(speaker.ask("STAT lie"), "ERR not-found")


@limit("VIEW_DEFAULT", 1024)
def view_default(server, most):
    with server.login() as speaker:
        for length in (most - 1, most, most + 1):
            speaker.put("seen", b"v" * length)
            content, _ = speaker.take_body(speaker.ask("VIEW seen"))
            assert len(content) == min(length, most), len(content)


@limit("VIEW", 64 * 1024)
def view(server, most):
    with server.login() as speaker:
        speaker.put("seen", b"v" * (most + 10))
        for length in (0, most - 1, most):
            content, _ = speaker.take_body(speaker.ask(f"VIEW seen length={length}"))
            assert len(content) == length, len(content)
        starts(speaker.ask(f"VIEW seen length={most + 1}"), "ERR too-large")


@limit("PASSWORD", 1024)
def password(_, most):
    users = [(f"u{length}", "w" * length) for length in (most - 1, most, most + 1)]
    with house(users=[("alice", "secret"), *users]) as server:
        for user, word in users:
            for encoded in (word, word.replace("w", "%77")):
                with server.speaker() as speaker:
                    due = "ERR login-refused" if len(word) > most else f"OK welcome {user}"
                    starts(speaker.ask(f"LOGIN {user} {encoded}"), due)


@limit("LOGIN_ATTEMPTS", 3)
def login_attempts(server, most):
    for ask in (plain_refusal, scram_refusal, malformed_refusal):
        for attempts in (most - 1, most):
            with server.speaker() as speaker:
                for _ in range(attempts):
                    starts(ask(speaker), "ERR ")
                speaker.try_send("LOGIN alice secret")
                if attempts < most:
                    starts(speaker.line(), "OK welcome alice")
                else:
                    assert speaker.rest() == []
    with server.speaker() as speaker:  # pipelined ones count as well
        speaker.send(b"LOGIN alice wrong\n" * most + b"LOGIN alice secret\n")
        assert [line[:17] for line in speaker.rest()] == ["ERR login-refused"] * most


def plain_refusal(speaker):
    return speaker.ask("LOGIN alice wrong")


def scram_refusal(speaker):
    try:
        speaker.login("alice", "wrong")
    except Refused as refused:
        return str(refused)
    raise AssertionError("a wrong password was taken")


def malformed_refusal(speaker):
    return speaker.ask("AUTH SCRAM-SHA-256 AAAA")


@limit("ERRORS_BEFORE_LOGIN", 10)
def errors_before_login(server, most):
    for request in ("nonsense", "STAT x", "PING x", "HELP nothing", "OK welcome alice"):
        for errors in (most - 1, most):
            with server.speaker() as speaker:
                for _ in range(errors):
                    starts(speaker.ask(request), "ERR ")
                speaker.try_send("LOGIN alice secret")
                if errors < most:
                    starts(speaker.line(), "OK welcome alice")
                else:
                    assert [line[:4] for line in speaker.rest()] in ([], ["ERR "])


@limit("BATCH_FILES", 512)
def batch_files(server, most):
    with server.login() as speaker:
        starts(speaker.ask("MKDIR batch"), "OK created")
        for count in (most - 1, most, most + 1, 2 * most + 1):
            speaker.send(b"".join(b"UPLOAD batch/%d\n" % n + body(b"%d" % n) for n in range(count)))
            for n in range(count):
                starts(speaker.line(), "READY offset=0")
                starts(speaker.line(), f"OK size={len(str(n))} sha256={sha256(b'%d' % n)}")
            assert len(speaker.listing("batch")) == count
            starts(speaker.ask("RMDIR batch recursive"), "OK removed")
            starts(speaker.ask("MKDIR batch"), "OK created")


@limit("BATCH_BYTES", 32 << 20)
def batch_bytes(server, most):
    with server.login() as speaker:
        for total in (most - 1, most, most + 1):
            sizes = [total // 8] * 7
            sizes.append(total - sum(sizes))
            for n, size in enumerate(sizes):
                speaker.send(b"UPLOAD bytes%d\n" % n + body(b"b" * size))
            for size in sizes:
                starts(speaker.line(), "READY offset=0")
                starts(speaker.line(), f"OK size={size} ")
        for n in range(8):
            starts(speaker.ask(f"DELETE bytes{n}"), "OK deleted")


@limit("WALK_OPEN", 32)
def walk_open(server, most):
    with server.login() as speaker:
        for depth in (most - 1, most, most + 1, 3 * most):
            starts(speaker.ask("MKDIR " + "/".join(["w"] * depth) + " parents"), "OK created")
            assert len(speaker.listing("w recursive")) == depth - 1
            starts(speaker.ask("RMDIR w recursive"), f"OK removed={depth}")


@limit("BUFFER", 128 * 1024)
def buffer(server, most):
    with server.login() as speaker:
        for length in (most - 1, most, most + 1, 2 * most + 1):
            content = bytes(n % 251 for n in range(length))
            speaker.put("buffer", content)
            assert speaker.download("buffer") == content
            assert speaker.download("buffer", " fresh") == content


@limit("OUTPUT", 64 * 1024)
def output(server, most):
    with server.login() as speaker:
        speaker.send(b"PING\n")
        answer = len(speaker.line()) + 1
        for count in (most // answer - 1, most // answer, most // answer + 1, 4 * most // answer):
            speaker.send(b"PING\n" * count)
            for _ in range(count):
                starts(speaker.line(), "OK pong")


def sweep(name):
    value, function = MET[name]

    def run():
        with house() as server:
            function(server, value)

    return run


for _name in MET:
    check(f"the limit {_name} holds at one below, at, and one above")(sweep(_name))


@check("every limit of src/proto/limits.rs is swept here, or says who looks after it; the values are the manual's")
def none_forgotten():
    found = dict(re.findall(r"^pub const (\w+): .+? = (.+);$", LIMITS.read_text(), re.MULTILINE))
    assert found, "no limit was found"
    told = set(MET) | set(NOT_MET)
    assert set(found) == told, f"not here: {set(found) - told}; not there: {told - set(found)}"
    for name, (value, _) in MET.items():
        text = found[name].replace("i64::MAX as u64", "2**63 - 1")
        assert re.fullmatch(r'[0-9 *<()_-]+|"[^"]*"', text), f"{name}: {text} cannot be read"
        assert eval(text) == value, f"{name} is {text} there and {value} here"
