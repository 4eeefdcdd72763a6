"""Rows 7 and 8: what a session costs: to begin and end, and to be there."""

import json
import os
import random
import resource
import statistics
import subprocess
import time

import peers
from measure import say, together
from place import Skip, descendants, stat_fields
from report import Goal, Row, at_least, number
from vsftpd_local import USER, VsftpdLocal

# A listing of a home directory that is not empty.
ENTRIES = 10
MANY = 16
BOUND = "bound: fork, four answers, exit"


def knock(place, dfos, *words):
    """Runs the load program against DFOS or, as `ftp`, against vsftpd; what it measured."""
    argv = [place.program("examples/knock"), *[str(word) for word in words]]
    done = subprocess.run(argv, env=dict(os.environ, **dfos.env()), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"knock {words[0]}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def bare_sessions(place, sessions, at_once):
    """The bound: a process for each client, a greeting, four answers, and nothing else."""
    argv = [place.program("examples/bare_sessions"), "--sessions", str(sessions), "--at-once", str(at_once)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"bare_sessions: {done.stderr.strip()}")
    return json.loads(done.stdout)


def ssh_sessions(openssh, sessions, at_once):
    """The same with OpenSSH: a process of its own client for each session, as there is no other way; `ls` by sftp."""
    argv, turn, times = openssh.sftp(f"ls {openssh.served}"), iter(range(sessions)), []

    def work():
        for _ in turn:
            begin = time.perf_counter()
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
            if done.returncode != 0:
                return  # seen below: one time is missing
            times.append((time.perf_counter() - begin) * 1000)

    wall = together(work, at_once)
    if len(times) != sessions:
        raise RuntimeError("a session of OpenSSH failed")
    times.sort()
    return {"rate": sessions / wall, "p50": times[len(times) // 2], "p99": times[min(len(times) * 99 // 100, len(times) - 1)]}


def logins(place, rounds):
    """Row 7."""
    under = place.fresh(place.tmpfs, "sessions")
    dfos = peers.Dfos(place, under)
    dfos.login()
    fill(dfos)
    servers, missing = {}, {}
    for kind in (peers.Vsftpd, VsftpdLocal, peers.Openssh):
        try:
            servers[kind.name] = kind(place, under)
            # Where a login ends up: vsftpd's is above what may be written to.
            home = getattr(servers[kind.name], "root", servers[kind.name].served)
            for entry in range(ENTRIES):
                with open(os.path.join(home, f"file{entry}"), "w", encoding="utf-8"):
                    pass
        except Skip as why:
            missing[kind.name] = str(why)
    work = {"dfos, plain": lambda c: knock(place, dfos, "run", dfos.urls["tcp"], "--sessions", 1000, "--at-once", c),
            "dfos, tls": lambda c: knock(place, dfos, "run", dfos.urls["tls"], "--sessions", 400, "--at-once", c)}  # fmt: skip
    if "vsftpd" in servers:
        ftp = f"127.0.0.1:{servers['vsftpd'].port}"
        work["vsftpd, anonymous"] = lambda c: knock(place, dfos, "ftp", ftp, "--user", "anonymous", "--sessions", 300, "--at-once", c)
    if "vsftpd.local" in servers:
        local = f"127.0.0.1:{servers['vsftpd.local'].port}"
        work["vsftpd, password"] = lambda c: knock(place, dfos, "ftp", local, "--user", USER, "--sessions", 200, "--at-once", c)
    if "openssh" in servers:
        work["openssh sftp, by key"] = lambda c: ssh_sessions(servers["openssh"], 20, c)
    work[BOUND] = lambda c: bare_sessions(place, 2000, c)
    found = {(name, c): [] for name in work for c in (1, MANY)}
    for turn in range(rounds):
        for name, c in found:
            if name in missing:
                continue
            say(f"round {turn + 1}/{rounds}: sessions of {name}, {c} at a time")
            try:
                found[name, c].append(work[name](c))
            except (RuntimeError, subprocess.CalledProcessError) as why:
                if name.startswith("dfos"):
                    raise
                missing[name] = str(why)
    for server in [dfos, *servers.values()]:
        server.stop()
    row = Row("7", "connect + login + list + logout")
    row.columns = ["contender"] + [f"{what}, {c} at a time" for c in (1, MANY) for what in ("sessions/s", "p50 ms", "p99 ms")]
    for name in (name for name in work if name not in missing):
        cells = [number(median(found[name, c], what)) for c in (1, MANY) for what in ("rate", "p50", "p99")]
        row.lines.append([name] + cells)
    for name, why in missing.items():
        row.lines.append([name] + ["-"] * 6)
        row.notes.append(f"{name}: {why}.")
    row.runs = {f"{name}, {c} at a time": runs for (name, c), runs in found.items()}

    def best(name):
        return max((median(found[name, c], "rate") for c in (1, MANY)), default=None) if name in work else None

    row.goals = [
        rate("plain, at its best", best("dfos, plain"), 1000),
        rate("TLS, at its best", best("dfos, tls"), 400),
        at_least("vsftpd with a password (plain)", over(found, "dfos, plain", "vsftpd, password"), 20),
        at_least("sshd (TLS against SSH)", over(found, "dfos, tls", "openssh sftp, by key"), 50),
    ]
    row.notes.append(
        "DFOS logs in by SCRAM-SHA-256, checked at both ends; vsftpd by a local user's password through PAM, and, as"
        " anonymous, by no password at all, which is its cheapest login; both are driven by the same program;"
        " OpenSSH by key, and its figure has the start of a client process in it, as every user's has."
    )
    return row


def fill(dfos):
    """Something to list."""
    for entry in range(ENTRIES):
        subprocess.run(dfos.put("/dev/null", f"file{entry}"), env=dict(os.environ, **dfos.env()), check=False, stderr=subprocess.DEVNULL)


def median(runs, what):
    """The median of one figure over runs."""
    return statistics.median(run[what] for run in runs) if runs else None


def over(found, one, other):
    """The rate of one in rates of the other: the median over the rounds, the better of both numbers at a time."""
    ratios = []
    for c in (1, MANY):
        pairs = [a["rate"] / b["rate"] for a, b in zip(found.get((one, c), []), found.get((other, c), []))]
        ratios += [statistics.median(pairs)] if pairs else []
    return max(ratios, default=None)


def rate(what, found, goal):
    """A goal of so many a second."""
    return Goal(f"{what}: ≥ {goal:,}/s", number(found, "/s"), None if found is None else found >= goal)


# --- row 8 ---


def rollup(pid):
    """Figures of /proc/PID/smaps_rollup, KiB."""
    figures = {}
    with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as file:
        for line in file:
            words = line.split()
            if len(words) == 3 and words[2] == "kB":
                figures[words[0].rstrip(":")] = int(words[1])
    return figures


def idle(place, counts=(100, 1000, 10_000)):
    """Row 8."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = max(counts) + 1000
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, need)), max(hard, need) if os.geteuid() == 0 else hard))
    except (ValueError, OSError):
        pass
    row = Row("8", "idle sessions, logged in")
    row.columns = ["sessions", "channel", "PSS a session KiB", "private KiB", "listener RSS KiB", "login of all s", "one more p50 ms", "p99 ms",
                   f"× one more with {counts[0]}"]  # fmt: skip
    for scheme, goal in (("tcp", 300), ("tls", 500)):
        found = []
        # A second server, with the fewest sessions, is there all the time: what one more takes is measured at both in turn.
        with Crowd(place, scheme, counts[0], "few") as few:
            for count in counts:
                if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < count + 500:
                    row.notes.append(f"{count:,} sessions: no more than {soft:,} open files are allowed (ulimit -n).")
                    row.lines.append([f"{count:,}", scheme] + ["-"] * 7)
                    continue
                say(f"{count:,} idle sessions, {scheme}")
                try:
                    with Crowd(place, scheme, count, "many") as crowd:
                        line, *figures = one_idle(crowd, few)
                except RuntimeError as why:
                    row.notes.append(f"{count:,} sessions, {scheme}: {why}.")
                    line, figures = [f"{count:,}", scheme] + ["-"] * 7, None
                row.lines.append(line)
                found.append(figures)
        known = [figures for figures in found if figures]
        pss = max((figures[0] for figures in known), default=None)
        row.goals.append(Goal(f"PSS a session, {scheme}: ≤ {goal} KiB", number(pss, " KiB"), None if pss is None else pss <= goal))
        ratio = found[-1][1] if found and found[-1] else None
        text = f"one more, {scheme}: with {counts[-1]:,} there as fast as with {counts[0]:,} (± 20 %)"
        row.goals.append(Goal(text, number(ratio, " × the time"), None if ratio is None else ratio <= 1.2))
    return row


class Crowd:
    """A server, and so many sessions that are logged in and stay."""

    def __init__(self, place, scheme, count, name):
        self.place, self.scheme, self.count = place, scheme, count
        self.dfos = peers.Dfos(place, place.fresh(place.tmpfs, f"idle.{name}"))
        argv = [place.program("examples/knock"), "hold", self.dfos.urls[scheme], "--sessions", str(count), "--at-once", "8"]
        pipe = subprocess.PIPE
        self.holder = place.start(argv, env=dict(os.environ, **self.dfos.env()), stdin=pipe, stdout=pipe, stderr=pipe)
        said = self.holder.stdout.readline()
        if not said:
            why = self.holder.stderr.read().decode(errors="replace").strip()
            self.__exit__()
            raise RuntimeError(why or "the load program ended")
        self.held = json.loads(said)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.holder.stdin.close()
        try:
            self.holder.wait(60)
        except subprocess.TimeoutExpired:
            pass
        self.place.stop(self.holder)
        for pipe in (self.holder.stdout, self.holder.stderr):
            pipe.close()
        self.dfos.stop()

    def sessions(self):
        """Pids of the sessions. The scribe leads their process group; it is none of them."""
        found = [pid for pid, _ in descendants(self.dfos.pid) if int(stat_fields(pid)[2]) != pid]
        if len(found) < self.count:
            raise RuntimeError(f"only {len(found)} sessions are there")
        return found

    def one_more(self):
        """What it takes to log in beside them."""
        return knock(self.place, self.dfos, "run", self.dfos.urls[self.scheme], "--sessions", 60)


def quiet(longest=60):
    """Waits until the machine has little to do: sessions that have just logged in give memory back a moment later."""
    deadline = time.monotonic() + longest
    while time.monotonic() < deadline:
        before = idle_and_all()
        time.sleep(0.5)
        idle_time, all_time = (after - earlier for after, earlier in zip(idle_and_all(), before))
        if idle_time > 0.9 * all_time:
            return


def idle_and_all():
    """Ticks that the processors have idled, and ticks in all (proc_stat(5))."""
    with open("/proc/stat", encoding="ascii") as file:
        ticks = [int(word) for word in file.readline().split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def one_idle(crowd, few):
    """What a number of idle sessions costs: its line, the PSS, and the time of one more in that of one more with few."""
    quiet()
    sample = [rollup(pid) for pid in random.Random(1).sample(crowd.sessions(), min(50, crowd.count))]
    pss = statistics.mean(one["Pss"] for one in sample)
    private = statistics.mean(one["Private_Dirty"] + one["Private_Clean"] for one in sample)
    turns = [(crowd.one_more(), few.one_more()) for _ in range(5)]
    ratio = statistics.median(more["p50"] / less["p50"] for more, less in turns)
    p50, p99 = (statistics.median(more[what] for more, _ in turns) for what in ("p50", "p99"))
    figures = (pss, private, rollup(crowd.dfos.pid)["Rss"], crowd.held["seconds"], p50, p99, ratio)
    return [f"{crowd.count:,}", crowd.scheme] + [number(figure) for figure in figures], pss, ratio
