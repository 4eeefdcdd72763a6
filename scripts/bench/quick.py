"""The guard: a few ratios to look at, and counts that must not grow.

It fails on what cannot be noise and on nothing else: a digest that does not fit, or a count of system calls, of bytes on the wire or of
allocations for one more file (or MiB) that is higher than in baseline.json by more than its margin. `--update` writes that file anew.
Everything is on tmpfs and over one connection: which file system a machine has, and how files fall to several connections, would count too.
"""

import json
import os
import time

import allocations
import calls
import files
import measure
import peers
import report
import rows_big
import rows_small
from measure import paired, say
from place import Skip, empty
from relay import Relay
from report import number

BASELINE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "baseline.json")
ONE_CONNECTION = ["-j", "1"]
# Two groups of a server's flushes, and four: only whole ones, so that none is cut short in one run and not in the other.
FILES = 2 * 256
DIRECTORIES = 4
MIB = 32

# By how much a count may grow: a part of it, and an amount. One call more for each file is 1.0, so an amount below that finds it.
MARGINS = {
    # What each file needs: the same in every run but for what happens once a batch (a flush, a directory), and a batch may be cut short.
    "calls a file, certain": (0, 0.4),
    # Reading and waiting: how much one call moves depends on how the two processes take turns.
    "calls a file, by chance": (0.25, 0.4),
    # How much a socket holds when it is asked depends on the kernel's buffers, and those on its memory and version; and what comes in
    # pieces is written in pieces. So this finds nothing but a buffer that has become much smaller.
    "calls a MiB": (1.0, 8),
    # Exactly the same in every run.
    "bytes a file": (0, 0.5),
    # Nearly the same: a list that grows does so by its length, not by its content, and a server's groups may fall otherwise.
    "allocations a file": (0.02, 0.6),
}


def run(place, update):
    """Everything; the exit status."""
    begin = time.monotonic()
    ratios(place)
    under = place.fresh(place.tmpfs, "quick")
    one, two = os.path.join(under, "one"), os.path.join(under, "two")
    for path, count in ((one, FILES), (two, 2 * FILES)):
        files.tree(path, count, DIRECTORIES, 4096)
        same_time(path)
    found, skipped = {}, []
    for what, work in (("system calls", system_calls), ("bytes on the wire", wire), ("allocations", heap)):
        say(what)
        try:
            found |= work(place, under, one, two)
        except Skip as why:
            skipped.append(f"{what}: {why}")
    say("")
    status = write(found, skipped) if update else compare(found, skipped)
    print(f"\n{time.monotonic() - begin:.0f} s.")
    return status


def same_time(path):
    """Gives all files one time of change: its digits are on the wire too."""
    for where, _, names in os.walk(path):
        for name in names:
            os.utime(os.path.join(where, name), (1_700_000_000, 1_700_000_000))


# --- ratios: for people, nothing fails for them ---


def ratios(place):
    """A few figures of rows 1, 2, 4 and 5, small."""
    lines = []
    scene = rows_big.Large(place, rows_big.sized(place, 256 << 20), [peers.Rsyncd])
    try:
        scene.serve()
        for way, make, bare in (("download", scene.down, []), ("upload", scene.up, ["--sender-hashes"])):
            def argv(at, way=way):
                return at.get("file", scene.back) if way == "download" else at.put(scene.source, "up")

            three = [make("dfos", "dfos", argv), make("rsyncd", "rsyncd", argv), scene.bare("bound", *bare)]
            measure.alternate(three, 2, say)
            lines += [[f"{scene.size >> 20} MiB, {way}", *against(three)]]
            scene.clear_back()
    finally:
        scene.close()
    scene = rows_small.Small(place, 1000, 10, [peers.Rsyncd])
    try:
        for way in ("upload", "download"):
            def argv_tree(at, way=way):
                return at.put_tree(scene.source) if way == "upload" else at.get_tree(rows_small.TREE, scene.back)

            if way == "download":
                rows_small.scene_serve(scene)
            two = [scene.contender(name, name, argv_tree, "up" if way == "upload" else "down") for name in ("dfos", "rsyncd")]
            measure.alternate(two, 2, say)
            lines += [[f"1,000 small files, {way}", *against(two)]]
    finally:
        scene.close()
    say("")
    print("Ratios, for orientation (every digest was compared):\n")
    print(report.table(["work", "time in that of rsync", "in that of the bound"], lines))


def against(contenders):
    """DFOS's time in that of the others."""
    dfos, *others = contenders
    cells = [number(paired(one, dfos)) if one.runs else "-" for one in others]
    return cells + ["-"] * (2 - len(cells))


# --- counts ---


def least(pairs, count):
    """What one more costs, from several counts of one thing and of twice as many: the least of each, as chance only ever adds."""
    one, two = (min(counts, key=lambda found: sum(found.values())) for counts in zip(*pairs))
    return calls.slope(one, two, count)


def system_calls(place, under, one, two):
    """System calls for one more file, and for one more MiB, of the session and of the client, up and down."""
    traced = calls.Traced(place, under, ONE_CONNECTION)
    found = {}
    small, large = os.path.join(under, "small"), os.path.join(under, "large")
    digests = {"one": files.tree_digest(one), "two": files.tree_digest(two)}
    digests |= {"small": files.big(small, MIB << 20), "large": files.big(large, 2 * MIB << 20)}
    back = os.path.join(under, "back")
    try:
        for end, dfos, count in (("session", traced.server, traced.session), ("client", traced.plain, traced.client)):
            costs = {"file up": [], "file down": [], "MiB up": [], "MiB down": []}
            for _ in range(3):
                for name in ("one", "two", "small", "large"):
                    empty(dfos.path(name))
                costs["file up"].append([count(dfos.put_tree(tree)) for tree in (one, two)])
                costs["MiB up"].append([count(dfos.put(file, os.path.basename(file))) for file in (small, large)])
                place.fresh(under, "back")
                costs["file down"].append([count(dfos.get_tree(name, back)) for name in ("one", "two")])
                costs["MiB down"].append([count(dfos.get(name, os.path.join(back, name))) for name in ("small", "large")])
                for name, digest in digests.items():
                    for side, path in (("upload", dfos.path(name)), ("download", os.path.join(back, name))):
                        digest_of = files.tree_digest if os.path.isdir(path) else files.file_digest
                        files.same(digest, digest_of(path), f"{side} of {name}")
            for what, pairs in costs.items():
                found |= figures(what, end, least(pairs, FILES if what.startswith("file") else MIB))
    finally:
        traced.stop()
    return found


def figures(what, end, costs):
    """What is compared of the calls for `what`, "file up" or "MiB down"."""
    unit, way = what.split()
    chance = {name: cost for name, cost in costs.items() if name in calls.BY_CHANCE}
    certain = {name: cost for name, cost in costs.items() if name not in calls.BY_CHANCE}
    kinds = {", certain": certain, ", by chance": chance} if unit == "file" else {"": costs}
    told = {}
    for kind, of in kinds.items():
        names = {name: round(cost, 2) for name, cost in of.items() if abs(cost) >= 0.01}
        told[f"{way}, {end}: calls a {unit}{kind}"] = (sum(of.values()), names)
    return told


def wire(place, under, one, two):
    """Bytes on the wire for one more file of 4,096 bytes, of both directions, in plain text."""
    dfos = peers.Dfos(place, under, name="dfos.wire")
    dfos.login("tcp")
    dfos.more_words = ONE_CONNECTION
    relay = Relay(int(dfos.urls["tcp"].rsplit(":", 1)[1]))
    dfos.urls["tcp"] = f"tcp://127.0.0.1:{relay.port}"
    found = {}
    back = place.fresh(under, "back")
    try:
        for way, argvs in (("up", [dfos.put_tree(one), dfos.put_tree(two)]), ("down", [dfos.get_tree("one", back), dfos.get_tree("two", back)])):
            sent = []
            for argv in argvs:
                calls.must(argv, dfos)
                sent.append(relay.done())
            for end, first, second in zip(("client", "session"), *sent):
                found[f"{way}, {end}: bytes a file"] = ((second - first) / FILES, {})
    finally:
        relay.close()
        dfos.stop()
    return found


def heap(place, under, one, two):
    """Allocations for one more file, of the session and of the client."""
    counters = {end: allocations.Counter(place, under, end) for end in ("session", "client")}
    dfos = peers.Dfos(place, under, name="dfos.heap", env=counters["session"].env)
    dfos.login("tcp")
    dfos.more_words = ONE_CONNECTION
    runs = 1
    told(dfos, runs)
    least_of = {}
    try:
        for _ in range(3):
            for tree in (one, two):
                empty(dfos.path(os.path.basename(tree)))
            back = place.fresh(under, "back")
            for way, tree in (("up", one), ("up", two), ("down", one), ("down", two)):
                argv = dfos.put_tree(tree) if way == "up" else dfos.get_tree(os.path.basename(tree), back)
                before = {end: counter.now() for end, counter in counters.items()}
                calls.must(argv, dfos, counters["client"].env)
                runs += 1
                told(dfos, runs)
                for end, counter in counters.items():
                    made = counter.now() - before[end]
                    least_of[way, end, tree] = min(made, least_of.get((way, end, tree), made))
    finally:
        dfos.stop()
    if 0 in least_of.values():
        raise Skip("the counting library counts nothing here")
    return {
        f"{way}, {end}: allocations a file": ((least_of[way, end, two] - least_of[way, end, one]) / FILES, {})
        for way in ("up", "down")
        for end in counters
    }


def told(dfos, runs):
    """Waits until all of so many sessions is in the log: what the scribe still has to write would count for the next one."""
    deadline = time.monotonic() + 20
    while dfos.ended() < runs:
        if time.monotonic() > deadline:
            raise RuntimeError(f"the log tells of {dfos.ended()} sessions that ended, not of {runs}")
        time.sleep(0.01)


# --- the baseline ---


def write(found, skipped):
    """`--update`."""
    if skipped:
        print("\nthe baseline is not written, for not all could be counted: " + "; ".join(skipped))
        return 1
    figures = {what: {"count": round(value, 3)} | ({"of": names} if names else {}) for what, (value, names) in sorted(found.items())}
    with open(BASELINE, "w", encoding="utf-8") as file:
        json.dump(figures, file, indent=1)
        file.write("\n")
    print(f"\n{len(figures)} counts are the new baseline.")
    return 0


def compare(found, skipped):
    """Whether nothing grew."""
    with open(BASELINE, encoding="utf-8") as file:
        baseline = json.load(file)
    lines, grown, fallen = [], [], False
    for what in sorted(found):
        value, names = found[what]
        known = baseline.get(what)
        if known is None:
            grown.append(f"{what}: {number(value)}, and the baseline does not know it")
            continue
        part, amount = MARGINS[what.split(": ")[1]]
        most = known["count"] * (1 + part) + amount
        fallen |= value < known["count"] * (1 - part) - amount
        lines.append([what, f"{known['count']:.2f}", f"{value:.2f}", f"{most:.2f}", "ok" if value <= most else "**more**"])
        if value > most:
            grown.append(f"{what}: {value:.2f}, was {known['count']:.2f}{difference(known.get('of', {}), names)}")
    print("\nCounts for one more file of 4 KiB, or one more MiB of a large file:\n")
    print(report.table(["count", "baseline", "now", "at most", ""], lines))
    for text in skipped:
        print(f"\nskipped: {text}")
    if fallen:
        print("\nSome have fallen: `scripts/bench.sh --quick --update` holds on to that.")
    for text in grown:
        print(f"\nFAILED: {text}")
    if grown:
        print("\nIf that is meant, `scripts/bench.sh --quick --update` writes the baseline anew; the commit says why.")
    return 1 if grown else 0


def difference(before, now):
    """Which calls there are more of."""
    more = {name: now.get(name, 0) - before.get(name, 0) for name in set(before) | set(now)}
    text = ", ".join(f"{name} {change:+.2f}" for name, change in sorted(more.items(), key=lambda item: -item[1]) if change > 0.05)
    return f" ({text})" if text else ""
