"""Row 11: the system calls of a user's first upload, for one more small file and for one more MiB, at both ends."""

import os
import shutil

import calls
import files
from measure import say
from report import Row, number

FILES = 512
MIB = 64


def first_upload(place):
    """Row 11, on the real disk: what a flush needs is counted too."""
    under = place.fresh(place.disk, "calls")
    trees = [os.path.join(under, name) for name in ("one", "two")]
    bigs = [os.path.join(under, name) for name in ("small", "large")]
    for path, count in zip(trees, (FILES, 2 * FILES)):
        files.tree(path, count, 8, 4096)
    for path, size in zip(bigs, (MIB, 2 * MIB)):
        files.big(path, size << 20)
    found = {}
    traced = calls.Traced(place, under, ["-j", "1"])
    try:
        for end, dfos, count in (("session", traced.server, traced.session), ("client", traced.plain, traced.client)):
            say(f"calls of the {end}")
            one = count(dfos.put_tree(trees[0]))
            two = count(dfos.put_tree(trees[1]))
            found["small file", end] = calls.slope(one, two, FILES)
            one, two = (count(dfos.put(path, os.path.basename(path))) for path in bigs)
            found["MiB", end] = calls.slope(one, two, MIB)
    finally:
        traced.stop()
        shutil.rmtree(under)
    row = Row("11", f"system calls of an upload (strace): the difference of {FILES} and {2 * FILES} files, {MIB} and {2 * MIB} MiB")
    row.columns = ["one more", "at the", "calls", "which"]
    for (what, end), costs in found.items():
        names = sorted(costs.items(), key=lambda item: -item[1])
        told = ", ".join(f"{name} {number(cost)}" for name, cost in names if cost >= 0.05)
        row.lines.append([what, end, number(sum(costs.values())), told])
    row.notes.append("Only one end is traced at a time. What happens less than once in twenty files is counted and not named.")
    return row
