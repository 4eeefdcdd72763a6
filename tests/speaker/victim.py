"""`dfos-client` in a scratch directory, run against a server that is not to be trusted."""

import contextlib
import os
import pathlib
import pty
import re
import signal
import subprocess
import tempfile
import time

from fake_server import PASSWORD
from house import BIN, RAW

# What the client's own progress bars send to a terminal: moves of the cursor, erasing, and new lines.
OWN = re.compile(rb"\x1b\[\d*[A-GJK]|\r\n|\r|\n|\x1b\[\?25[lh]")


class Outcome:
    """How the client ended, what it printed, and how long it took."""

    def __init__(self, status, out, error, took):
        self.status, self.out, self.error, self.took = status, out, error, took

    def __repr__(self):
        return f"status {self.status} after {self.took:.1f} s\nout: {self.out[-600:]!r}\nerror: {self.error[-600:]!r}"


class Victim:
    """A directory `here` that the client works in, and beside it what it must leave alone."""

    def __init__(self, home):
        self.home = pathlib.Path(home)
        self.here, self.outside = self.home / "here", self.home / "outside"
        (self.here / "tree").mkdir(parents=True)
        (self.outside / "sub").mkdir(parents=True)
        (self.outside / "file").write_text("mine")
        (self.here / "tree/link").symlink_to("../../outside")
        (self.here / "tree/filelink").symlink_to("../../outside/file")
        self.before = self.around()

    def around(self):
        """Everything that is not in `here`."""
        found = {}
        for path in sorted(self.home.rglob("*")):
            if not path.is_relative_to(self.here):
                seen = path.lstat()
                found[path] = (path.read_bytes() if path.is_file() else None, seen.st_mode, seen.st_mtime_ns)
        return found

    def names(self):
        """The names in `here`, those of the start apart."""
        paths = (os.fsencode(path.relative_to(self.here)) for path in self.here.rglob("*"))
        return set(paths) - {b"tree", b"tree/link", b"tree/filelink"}

    def unharmed(self):
        assert self.around() == self.before, "something outside was changed"
        assert (self.here / "tree/link").is_symlink() and os.readlink(self.here / "tree/link") == "../../outside"

    def run(self, url, *arguments, terminal=False, interrupt_after=None, timeout=2, typed=None):
        """Runs the client to its end; half a minute is an age. What is typed is typed on its terminal."""
        terminal = terminal or typed is not None
        command = [BIN / "dfos-client", "--server", url, "--retries", "0", "--timeout", str(timeout), *arguments]
        environment = {**os.environ, "DFOS_USER": "alice", "DFOS_PASSWORD": PASSWORD, "TERM": "xterm"}
        begin = time.monotonic()
        master, slave = pty.openpty() if terminal else (None, subprocess.PIPE)
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE if typed is None else slave, stdout=slave, stderr=slave, cwd=self.here, env=environment
        )
        if interrupt_after is not None:
            time.sleep(interrupt_after)  # not to wait for something: to let something go on for so long
            process.send_signal(signal.SIGINT)
        try:
            if terminal:
                os.close(slave)
                if typed is None:
                    process.stdin.close()
                else:
                    os.write(master, typed)
                out, error = all_of(master), b""
                process.wait(30)
            else:
                out, error = process.communicate(b"", 30)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        outcome = Outcome(process.returncode, out, error, time.monotonic() - begin)
        if terminal and typed is None:
            raw = RAW.search(OWN.sub(b"", out))
            assert raw is None, f"raw on the terminal: {out!r}"
        elif not terminal:
            assert not RAW.search(error), f"raw in a message: {error!r}"
        return outcome


def all_of(master):
    """What comes out of a terminal until nobody holds its other end (EIO then)."""
    found = b""
    with contextlib.suppress(OSError):
        while data := os.read(master, 1 << 16):
            found += data
    os.close(master)
    return found


@contextlib.contextmanager
def victim():
    """One for one test; afterwards nothing outside has changed."""
    with tempfile.TemporaryDirectory(prefix="dfos-victim-") as home:
        it = Victim(home)
        yield it
        it.unharmed()
