"""Row 10: long listings: when the first line comes, when the last, and what memory it takes."""

import os
import shutil
import statistics
import subprocess
import threading
import time

import peers
from measure import Run, paired, say
from place import Skip, descendants
from report import Goal, Row, at_most, number


class Listing:
    """Something that lists, and its runs."""

    def __init__(self, name, argv, server=None, env=None):
        self.name, self.argv, self.server, self.env = name, argv, server, env
        self.runs, self.firsts, self.client_peaks, self.session_peaks, self.lines = [], [], [], [], 0

    def run(self):
        """Lists once; what is printed is read and thrown away."""
        before = {pid for pid, _ in descendants(self.server.pid)} if self.server else None
        begin = time.perf_counter()
        process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=dict(os.environ, **(self.env or {})))
        watch = Watch(process.pid, self.server.pid if self.server else None, before)
        first, lines = None, 0
        while piece := os.read(process.stdout.fileno(), 1 << 20):
            first = first or time.perf_counter() - begin
            lines += piece.count(b"\n")
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        process.stdout.close()
        client, session = watch.end()
        self.client_peaks.append(client)
        if self.server:
            self.session_peaks.append(session)
        if process.returncode != 0:
            raise RuntimeError(f"{self.name}: status {process.returncode}")
        self.runs.append(Run(wall, usage.ru_utime + usage.ru_stime, 0.0))
        self.firsts.append(first or wall)
        self.lines = lines


class Watch:
    """Looks at the peaks of resident memory of a client and of its session until they have gone. (What wait4 tells of a child's peak
    begins with that of the process that it was forked from: ours.)"""

    def __init__(self, client, server, before):
        self.client_pid, self.server, self.before = client, server, before
        self.client, self.session, self.over = 0, 0, threading.Event()
        self.session_pid = None
        self.thread = threading.Thread(target=self._look)
        self.thread.start()

    def _look(self):
        while not self.over.wait(0.01):
            self.client = max(self.client, peak(self.client_pid))
            if self.session_pid is None and self.server:
                new = [pid for pid, _ in descendants(self.server) if pid not in self.before]
                self.session_pid = new[0] if new else None  # once: to look through all processes takes time
            if self.session_pid:
                self.session = max(self.session, peak(self.session_pid))

    def end(self):
        """The peaks of client and session, KiB."""
        self.over.set()
        self.thread.join()
        return self.client, self.session


def peak(pid):
    """VmHWM of a process in KiB; 0 if it has gone."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8") as file:
            for line in file:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1])
    except OSError:
        pass
    return 0


def entries(path, directories, each):
    """Empty files."""
    for number_of in range(directories):
        where = os.path.join(path, f"d{number_of:04}") if directories > 1 else path
        os.makedirs(where, exist_ok=True)
        at = os.open(where, os.O_PATH)
        for name in range(each):
            os.close(os.open(f"file{name:06}", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=at))
        os.close(at)


def lists(place, rounds):
    """Row 10, on tmpfs: the disk's own slowness would hide what is measured."""
    if os.statvfs(place.tmpfs).f_favail < 1_300_000 or shutil.disk_usage(place.tmpfs).free < 3 << 30:
        raise Skip("/dev/shm has no room for 1,100,000 files")
    under = place.fresh(place.tmpfs, "lists")
    dfos = peers.Dfos(place, under)
    try:
        dfos.login("tcp")
        os.makedirs(dfos.path("."), exist_ok=True)
        say("making 1,100,000 files")
        entries(dfos.path("flat"), 1, 100_000)
        entries(dfos.path("deep"), 1000, 1000)
        return listed(dfos, rounds)
    finally:
        dfos.stop()
        say("removing 1,100,000 files")
        shutil.rmtree(under)


def listed(dfos, rounds):
    """Measures both listings."""
    row = Row("10", "`ls` of 100,000 entries, `ls -R` of 1,000,000 files in 1,000 directories, on tmpfs")
    row.columns = ["listing", "lines", "first line ms", "total s", "client CPU s", "peak of the client KiB", "peak of the session KiB"]
    peaks = {}
    long = "%y %s %T@ %P\\n"
    for name, words, find in (("ls 100,000", ["ls", "flat"], ["-maxdepth", "1"]), ("ls -R 1,000,000", ["ls", "-R", "deep"], [])):
        place = dfos.path(words[-1])
        ours = Listing(f"dfos {name}", dfos.client(*words), dfos, dfos.env())
        ours_long = Listing(f"dfos {name}, -l", dfos.client(words[0], "-l", *words[1:]), dfos, dfos.env())
        local = Listing(f"find -printf, {name}", ["find", place, "-mindepth", "1", *find, "-printf", long], None)
        for turn in range(rounds):
            for one in (ours, ours_long, local):
                say(f"round {turn + 1}/{rounds}: {one.name}")
                one.run()
        for one in (ours, ours_long, local):
            first = statistics.median(one.firsts) * 1000
            memory = number(max(one.session_peaks)) if one.session_peaks else "-"
            wall, cpu = (statistics.median(getattr(run, what) for run in one.runs) for what in ("wall", "client"))
            row.lines.append([one.name, f"{one.lines:,}", number(first), number(wall), number(cpu), number(max(one.client_peaks)), memory])
        first = statistics.median(ours.firsts) * 1000
        row.goals += [
            Goal(f"{name}: first line < 50 ms", number(first, " ms"), first < 50),
            at_most(f"find -printf locally ({name})", paired(local, ours), 2),
        ]
        peaks[name] = (max(ours.session_peaks), max(ours.client_peaks))
    (session, client), (session_deep, client_deep) = peaks.values()
    more = (session_deep - session, client_deep - client)
    row.goals.append(Goal("memory flat: < 1 MiB more for ten times as many", f"session {more[0]:+,} KiB, client {more[1]:+,} KiB", max(more) < 1024))
    return row
