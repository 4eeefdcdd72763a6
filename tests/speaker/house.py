"""A real `dfos-forkd` in a scratch directory, and what can be seen of it from outside."""

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import time

import scram
from dfos_speaker import PATIENCE, Speaker

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("DFOS_BIN", ROOT / "target/debug"))
SERVICE = 65534
LONG = bool(os.environ.get("DFOS_TEST_LONG"))

# What no line of a log may hold, its LF apart: C0, DEL, C1 as UTF-8, the marks that turn the direction of text, and what cannot be
# seen or is a new line to some (U+200B, U+2028, U+2029, U+FEFF).
RAW = re.compile(
    rb"[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xd8\x9c|\xe2\x80[\x8b\x8e\x8f\xa8-\xae]|\xe2\x81[\xa6-\xa9]|\xef\xbb\xbf"
)


class House:
    """The server, the storage, and beside it what no session may touch."""

    def __init__(self, home, users, options):
        self.home = pathlib.Path(home)
        self.storage, self.log_file = self.home / "storage", self.home / "log"
        self.names = {user for user, _ in users} | {"bob", ".dfos"}
        (self.home / "users").write_text("".join(scram.entry(*user) for user in users))
        (self.home / "users").chmod(0o600)
        (self.storage / "bob").mkdir(parents=True)
        (self.storage / "bob/private").write_text("bob's alone")
        (self.home / "outside").write_text("nobody's")
        if os.geteuid() == 0:
            self.give_away()
        command = [BIN / "dfos-forkd", "--listen", "tcp://127.0.0.1:0", "--dir", self.storage]
        command += ["--users", self.home / "users", "--max-clients", "64", "--max-penalty", "0", *options]
        with open(self.log_file, "wb") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, cwd=self.home,
                                            env={**os.environ, "DFOS_FORKD_CONFIG": "none"})
        line = self.process.stdout.readline().decode()
        assert line.startswith("listening tcp://"), line
        self.port = int(line.rsplit(":", 1)[1])

    def give_away(self):
        """A server that root starts runs as the owner of the storage."""
        for path in [self.storage, *self.storage.rglob("*")]:
            os.chown(path, SERVICE, SERVICE)

    def speaker(self):
        return Speaker(self.port)

    def login(self):
        return Speaker(self.port).login()

    def log(self):
        return self.log_file.read_bytes()

    def foreign(self):
        """All that nobody here may touch, with content, time and mode: what is bob's, and what is not in the storage."""
        found = {}
        for path in sorted(self.home.rglob("*")):
            theirs = path.is_relative_to(self.storage) and not path.is_relative_to(self.storage / "bob")
            if path.is_file() and not theirs and path != self.log_file:
                found[path] = (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_mode)
            elif not theirs:
                found[path] = None
        return found

    def stop(self):
        """Ends as Ctrl+C does: in order, with nothing alarming in the log."""
        self.process.send_signal(signal.SIGINT)
        status = self.process.wait(PATIENCE)
        assert {path.name for path in self.storage.iterdir()} <= self.names, "a name beside the users' directories"
        assert status == 0, f"the server's exit status is {status}"
        log = self.log()
        for sign in (b"unexpected exit status", b"killed by", b"panicked", b"session failed"):
            assert sign not in log, [line for line in log.split(b"\n") if sign in line][:3]
        raw = RAW.search(log)
        assert raw is None, f"a raw control character in the log: {log[raw.start() - 100 : raw.end() + 40]!r}"
        log.decode()  # UTF-8


@contextlib.contextmanager
def house(*options, users=(("alice", "secret"), ("bob", "builder"))):
    """A server for one test. Whatever happens, it is gone afterwards; after success, in order, and nothing foreign changed."""
    with tempfile.TemporaryDirectory(prefix="dfos-speaker-") as home:
        it = House(home, users, options)
        try:
            it.login().close()  # alice's directory is made
            before = it.foreign()
            yield it
            eventually("what nobody may touch is as it was", lambda: it.foreign() == before)
            it.stop()
        except BaseException:
            print("the server's log ends with:\n" + it.log()[-1500:].decode(errors="backslashreplace"))
            raise
        finally:
            if it.process.poll() is None:
                it.process.kill()
            it.process.wait()
            it.process.stdout.close()


def eventually(what, condition):
    """Polls until the condition holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"never happened: {what}"
        time.sleep(0.005)
