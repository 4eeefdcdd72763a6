"""Row 9: many clients at once, files of mixed sizes, both ways at the same time."""

import os
import queue
import shutil
import statistics
import subprocess
import time

import files
import peers
from measure import say, together
from report import Goal, Row, number

JOBS = 64
AT_ONCE = (1, 2, 4, 8, 16, 32, 64)
# What each job moves: number of files, size of each. 13.5 MiB.
MIX = ((1, 8 << 20), (4, 1 << 20), (16, 64 << 10), (128, 4 << 10))


def mixed(path):
    """A tree of mixed sizes; its digest and its bytes."""
    size = 0
    for number_of, each in MIX:
        files.tree(os.path.join(path, f"of{each}"), number_of, 1, each)
        size += number_of * each
    return files.tree_digest(path), size


def many(place, rounds):
    """The same 64 jobs, 32 uploads and 32 downloads, each of a user of its own, so and so many of them at a time."""
    under = place.fresh(place.tmpfs, "many")
    source, back = os.path.join(under, "mix"), os.path.join(under, "back")
    digest, size = mixed(source)
    users = [f"user{number_of:02}" for number_of in range(JOBS)]
    say(f"{JOBS} users")
    dfos = peers.Dfos(place, under, users)
    env = dict(os.environ, **dfos.env())
    downloads = users[JOBS // 2 :]

    def move(user):
        """One job; how long it took."""
        words = ["put", "-r", source] if user not in downloads else ["get", "-r", "mix", "--dir", os.path.join(back, user)]
        begin = time.perf_counter()
        done = subprocess.run(dfos.client(*words, user=user), env=env, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{user}: {done.stderr.decode(errors='replace').strip()}")
        return time.perf_counter() - begin

    def clear():
        for user in users[: JOBS // 2]:
            path = dfos.path("mix", user)
            if os.path.isdir(path):
                shutil.rmtree(path)
        shutil.rmtree(back, ignore_errors=True)
        for user in downloads:
            os.makedirs(os.path.join(back, user))

    try:
        for user in downloads:
            subprocess.run(dfos.client("put", "-r", source, user=user), env=env, check=True, capture_output=True)
        rates, shares = {at_once: [] for at_once in AT_ONCE}, []
        for turn in range(rounds):
            for at_once in AT_ONCE:
                say(f"round {turn + 1}/{rounds}: {at_once} clients at a time")
                clear()
                # Uploads and downloads take turns in the line, so that both are under way at any time.
                line = [user for pair in zip(users, downloads) for user in pair]
                wall, times = at_a_time(move, line, at_once)
                rates[at_once].append(JOBS * size / wall / 1e6)
                if at_once == JOBS:
                    for of in (users[: JOBS // 2], downloads):
                        some = [times[user] for user in of]
                        shares.append(max(some) / statistics.median(some))
                if turn == 0:
                    for user in users:
                        path = os.path.join(back, user, "mix") if user in downloads else dfos.path("mix", user)
                        files.same(digest, files.tree_digest(path), user)
        return report(rates, shares, size)
    finally:
        dfos.stop()
        shutil.rmtree(under)


def at_a_time(move, line, at_once):
    """Has all in a line moved, so and so many at a time; how long all took, and each."""
    waiting, times, failures = queue.SimpleQueue(), {}, []
    for user in line:
        waiting.put(user)

    def work():
        while True:
            try:
                user = waiting.get_nowait()
                times[user] = move(user)
            except queue.Empty:
                return
            except (RuntimeError, OSError) as why:
                failures.append(str(why))
                return

    wall = together(work, at_once)
    if failures:
        raise RuntimeError(failures[0])
    return wall, times


def report(rates, shares, size):
    """The row."""
    row = Row("9", f"{JOBS} jobs (32 up, 32 down, {size / (1 << 20):.1f} MiB in {sum(n for n, _ in MIX)} files each) on tmpfs, C clients at a time")
    row.columns = ["C", "MB/s in all", "least – most"]
    for at_once, found in rates.items():
        row.lines.append([str(at_once), number(statistics.median(found)), f"{number(min(found))} – {number(max(found))}"])
    row.runs = {str(at_once): found for at_once, found in rates.items()}
    best = max(statistics.median(found) for found in rates.values())
    part = statistics.median(rates[JOBS]) / best
    share = statistics.median(shares)
    row.goals = [
        Goal("64 at a time: ≥ 0.9 × the best total", number(part, " ×"), part >= 0.9),
        Goal("slowest client / median of its direction ≤ 2", number(share), share <= 2),
    ]
    return row
