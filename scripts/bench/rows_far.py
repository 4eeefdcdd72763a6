"""Row 6: a server 50 ms away: whether one connection fills the line, and whether many small files wait for each other."""

import json
import os
import shutil
import statistics
import subprocess
import time

import files
import peers
from far import FAR, Link
from measure import Contender, run, say
from place import Skip, put_aside
from report import Goal, Row, number, timed

RTT = 0.05


def iperf(link, server, reverse, size):
    """iperf3's one stream, and what it itself measured, without its own connecting: bytes a second."""
    argv = [*link.near, *server.send(size), "-J"] + (["-R"] if reverse else [])
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    try:
        return json.loads(done.stdout)["end"]["sum_received"]["bits_per_second"] / 8
    except (ValueError, KeyError):
        raise RuntimeError(f"iperf3: {(done.stdout + done.stderr).strip()[-200:]}") from None


def far(place, rounds, size, count):
    """Row 6."""
    link = Link(place)
    under = place.fresh(place.disk, "far")
    memory = place.fresh(place.tmpfs, "far")
    servers = []
    try:
        dfos = peers.Dfos(place, memory, host=FAR, wrap=link.far)
        on_disk = peers.Dfos(place, under, host=FAR, wrap=link.far, name="dfos.disk")
        servers += [dfos, on_disk]
        try:
            limit = peers.Iperf3(place, memory, host=FAR, wrap=link.far)
            servers.append(limit)
            time.sleep(0.5)
        except Skip:
            limit = None
        return measured(link, dfos, on_disk, limit, under, memory, rounds, size, count)
    finally:
        for server in servers:
            server.stop()
        shutil.rmtree(under)
        shutil.rmtree(memory)
        link.remove()


def measured(link, dfos, on_disk, limit, under, memory, rounds, size, count):
    """The runs, alternating."""
    source, back, tree = os.path.join(memory, "source"), os.path.join(memory, "back"), os.path.join(under, "tree")
    say("making files")
    digest, tree_digest = files.big(source, size), files.tree(tree, count, 100, 4096)
    run([*link.far, *dfos.put(source, "file")], env=dfos.env())
    down = Contender("dfos, download", [*link.near, *dfos.get("file", back)], dfos)
    up = Contender("dfos, upload", [*link.near, *dfos.put(source, "up")], dfos)
    small_far = Contender(f"dfos, {count:,} files, upload", [*link.near, *on_disk.put_tree(tree)], on_disk)
    small_near = Contender(f"dfos, {count:,} files, upload, 0 ms", [*link.far, *on_disk.put_tree(tree)], on_disk)
    rates = {"download": [], "upload": []}
    for turn in range(rounds):
        say(f"round {turn + 1}/{rounds}: 50 ms away")
        for path in (back, dfos.path("up")):
            if os.path.exists(path):
                os.unlink(path)
        if limit:
            rates["download"].append(iperf(link, limit, True, size))
        down.runs.append(run(down.argv, dfos, dfos.env()))
        if limit:
            rates["upload"].append(iperf(link, limit, False, size))
        up.runs.append(run(up.argv, dfos, dfos.env()))
        for one in (small_far, small_near):
            put_aside(on_disk.path("tree"), under)
            os.sync()
            one.runs.append(run(one.argv, on_disk, on_disk.env()))
            if turn == 0:
                files.same(tree_digest, files.tree_digest(on_disk.path("tree")), one.name)
        if turn == 0:
            files.same(digest, files.file_digest(back), "download")
            files.same(digest, files.file_digest(dfos.path("up")), "upload")
    return report(link, [down, up, small_far, small_near], rates, size)


def report(link, contenders, rates, size):
    """The row."""
    down, up, small_far, small_near = contenders
    row = Row("6", f"50 ms of round trip ({link.how}): {size >> 20} MiB on tmpfs, one connection; small files on the disk")
    timed(row, contenders)
    for way, one in (("download", down), ("upload", up)):
        parts = [size / run.wall / rate for run, rate in zip(one.runs, rates[way])]
        part = statistics.median(parts) if parts else None
        if rates[way]:
            row.notes.append(f"iperf3's one stream, {way}: {statistics.median(rates[way]) / 1e6:.0f} MB/s; DFOS: {size / one.median() / 1e6:.0f} MB/s.")
        row.goals.append(Goal(f"{way}: ≥ 80 % of iperf3's one stream", number(part, " ×"), None if part is None else part >= 0.8))
    most = 2 * small_near.median() + 10 * RTT
    found = small_far.median()
    row.goals.append(Goal("small files: ≤ 2 × the 0 ms figure and ten round trips", f"{number(found)} s of {number(most)} s", found <= most))
    return row
