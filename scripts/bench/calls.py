"""Counting instead of timing: system calls of a session and of the client, by strace, a call a line.

A total says little, as starting and logging in have their calls too; so the same is done with N and with 2 N files (or MiB), and the
difference is divided by N. What remains is what one more file (or MiB) costs."""

import os
import re
import shutil
import subprocess
import time
from collections import Counter

import peers
from place import Skip, descendants

# How often these happen depends on how two processes happen to take turns: one call may move one answer or a hundred, and may find
# nothing; and threads and memory come and go. (Files are read and written by other calls than sockets.)
BY_CHANCE = {
    "ppoll", "poll", "recvfrom", "recvmsg", "sendto", "sendmsg", "writev", "sendfile", "splice", "tee", "futex", "sched_yield", "nanosleep",
    "clock_nanosleep", "restart_syscall", "brk", "mmap", "munmap", "mremap", "madvise", "mprotect", "clone", "clone3", "exit", "rseq",
    "set_robust_list", "sigaltstack", "rt_sigprocmask", "gettid", "tgkill", "sync_file_range", "prctl", "sched_getaffinity",
}  # fmt: skip

STRACE = ["strace", "-f", "-qq", "-e", "signal=none", "-s", "0", "-o"]


def can_trace():
    """Raises if nothing can be traced here."""
    if not shutil.which("strace"):
        raise Skip("strace not installed")
    if subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, check=False).returncode != 0:
        raise Skip("strace may not trace here")


class Traced:
    """DFOS whose processes are traced from their birth on, and one of which nothing is traced, for the calls of a client. Only one end
    is traced at a time: that end is so slow that the other is always ready, and chance has less of a say."""

    def __init__(self, place, under, words=()):
        can_trace()
        self.output = os.path.join(place.fresh(under, "trace"), "server")
        self.of_client = os.path.join(under, "trace", "client")
        self.server = peers.Dfos(place, under, wrap=[*STRACE, self.output], name="dfos.traced")
        self.plain = peers.Dfos(place, under, name="dfos.plain")
        for one in (self.server, self.plain):
            one.login("tcp")
            one.more_words = list(words)
        self.settle()

    def settle(self):
        """Waits until the session of a client that has gone has gone too, and all its calls are written."""
        deadline = time.monotonic() + 30
        # Below strace: the listener, the scribe.
        while len(descendants(self.server.pid)) > 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        size = -1
        while size != os.path.getsize(self.output):
            size = os.path.getsize(self.output)
            time.sleep(0.05)

    def session(self, argv):
        """Runs a client of `server`: the calls of its session."""
        begin = os.path.getsize(self.output)
        others = {pid for pid, _ in descendants(self.server.pid)}
        must(argv, self.server)
        self.settle()
        return calls_in(self.output, begin, others)

    def client(self, argv):
        """Runs a client of `plain`: its calls."""
        must([*STRACE, self.of_client, *argv], self.plain)
        return calls_in(self.of_client)

    def stop(self):
        """Ends the servers."""
        self.server.stop()
        self.plain.stop()


def must(argv, server, env=None):
    """Runs a client, which must succeed."""
    whole = dict(os.environ, **server.env(), **(env or {}))
    done = subprocess.run(argv, env=whole, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv[-4:])}: status {done.returncode}: {done.stderr.strip()}")


def calls_in(path, begin=0, others=()):
    """The calls in a trace from `begin` on, of all processes but `others`."""
    found = Counter()
    with open(path, encoding="utf-8", errors="replace") as file:
        file.seek(begin)
        for line in file:
            # `123 openat(...`, or `123 <... openat resumed>`, which has been counted when it began.
            match = re.match(r"(\d+)\s+(\w+)\(", line)
            # Before it closes a descriptor, a build with debug assertions looks whether it is open.
            if match and int(match.group(1)) not in others and "F_GETFD" not in line:
                found[match.group(2)] += 1
    return found


def slope(one, two, count):
    """What each of `count` more costs: by name of the call."""
    return {name: (two[name] - one[name]) / count for name in sorted(set(one) | set(two)) if two[name] != one[name]}


def parts(costs):
    """The sum of those calls whose number is certain, and of those that chance has a hand in."""
    certain = sum(cost for name, cost in costs.items() if name not in BY_CHANCE)
    return certain, sum(cost for name, cost in costs.items() if name in BY_CHANCE)
