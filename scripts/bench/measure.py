"""Timing: wall time and CPU of both ends of one run, rounds in which the contenders alternate, medians, ratios."""

import os
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field

from place import Skip, descendants, stat_fields

TICK = os.sysconf("SC_CLK_TCK")


@dataclass
class Run:
    """One run: seconds. `client` is user and system time of the client with its children, `server` that of the server's processes."""

    wall: float
    client: float
    server: float
    output: bytes = b""


@dataclass
class Contender:
    """Something that does the work of a row, in one way."""

    name: str
    argv: list  # or a function that gives it
    server: object = None  # a peer: whose processes' time counts
    before: object = None  # called before each run, and not measured: removes what the last run made
    check: object = None  # called after the first run: raises what is wrong with what was moved
    env: dict = None
    cwd: str = None
    most: int = None  # rounds, where one takes minutes
    runs: list = field(default_factory=list)
    why_not: str = None

    def median(self, what="wall"):
        """The median over the rounds, or None."""
        return statistics.median(getattr(run, what) for run in self.runs) if self.runs else None


def tree_cpu(pid):
    """User and system time of a process, of all below it, and of those below it that have ended and were waited for."""
    total = 0
    for one in [pid] + [child for child, _ in descendants(pid)]:
        fields = stat_fields(one)
        if fields:
            total += sum(int(ticks) for ticks in fields[11:15])
    return total / TICK


def run(argv, server=None, env=None, cwd=None, output=None):
    """Runs a command to its end, which must be exit status 0."""
    whole = dict(os.environ, **(env or {}))
    before = tree_cpu(server.pid) if server else 0
    at_rest = len(descendants(server.pid)) if server else 0
    begin = time.perf_counter()
    process = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=output or subprocess.DEVNULL, stderr=subprocess.PIPE, env=whole, cwd=cwd
    )
    try:
        said = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:
        process.kill()
        process.wait()
        raise
    wall = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stderr.close()
    if process.returncode != 0:
        text = said.decode(errors="replace").strip().splitlines()
        raise RuntimeError(f"{argv[0]} ended with status {process.returncode}: {' / '.join(text[-3:])}")
    cpu = usage.ru_utime + usage.ru_stime
    return Run(wall, cpu, settled(server, before, at_rest) if server else 0.0)


def settled(server, before, at_rest):
    """The time that a server's processes have spent, once the session's have gone: what they do after the client's end counts too."""
    deadline = time.monotonic() + 2
    while len(descendants(server.pid)) > at_rest and time.monotonic() < deadline:
        time.sleep(0.02)
    return tree_cpu(server.pid) - before


def alternate(contenders, rounds, say):
    """Round after round each contender has its turn, in another order each time, so that what a neighbour on the machine does, or what
    the run before has left behind, falls on all alike."""
    living = list(contenders)
    for number in range(rounds):
        turn = number % max(len(living), 1)
        for one in living[turn:] + living[:turn]:
            if one.why_not or (one.most is not None and number >= one.most):
                continue
            say(f"round {number + 1}/{rounds}: {one.name}")
            try:
                if one.before:
                    one.before()
                argv = one.argv() if callable(one.argv) else one.argv
                one.runs.append(run(argv, one.server, one.env, one.cwd))
                if one.check and len(one.runs) == 1:
                    one.check()
            except (RuntimeError, Skip, OSError) as why:
                one.why_not, one.runs = str(why), []
                say(f"{one.name}: {why}")
                if one.name.startswith("dfos"):
                    raise
    return contenders


def paired(one, other, what="wall"):
    """The median over the rounds of how many times longer `other` took than `one`: neighbours disturb both runs of a round alike."""
    pairs = [getattr(b, what) / getattr(a, what) for a, b in zip(one.runs, other.runs) if getattr(a, what) > 0]
    return statistics.median(pairs) if pairs else None


def together(work, at_once):
    """Has so many threads do the same work; the time until the last of them had done."""
    threads = [threading.Thread(target=work) for _ in range(at_once)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - begin


def say(text):
    """What is going on, on standard error: the report alone is on standard output."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text[:150]}", end="", file=sys.stderr, flush=True)
    elif os.environ.get("BENCH_VERBOSE"):
        print(text, file=sys.stderr, flush=True)
