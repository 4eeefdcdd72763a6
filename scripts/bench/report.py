"""The report: a Markdown table that can be read in a terminal too, and the same as JSON."""

import json
import os
import platform
import re
import subprocess
from dataclasses import dataclass, field

import peers
from place import ROOT


@dataclass
class Goal:
    """What is to be reached, and whether it was. `reached` is None where it could not be measured."""

    text: str
    found: str
    reached: object


@dataclass
class Row:
    """One row of the benchmark."""

    number: str
    title: str
    # Column headings after the contender's name, and a list of cells for each contender.
    columns: list = field(default_factory=list)
    lines: list = field(default_factory=list)
    goals: list = field(default_factory=list)
    notes: list = field(default_factory=list)
    # Why there are no figures.
    skipped: str = None
    load: str = ""
    # Every run's figures, for the JSON.
    runs: dict = field(default_factory=dict)


def number(value, unit="", digits=3):
    """A figure with as many digits as mean something, or `-`."""
    if value is None:
        return "-"
    if value >= 10 ** (digits - 1):
        return f"{value:,.0f}{unit}"
    return f"{value:.{max(0, digits - len(str(int(value))))}f}{unit}"


def at_least(what, ratio, goal):
    """A goal of at least `goal` times."""
    return Goal(f"≥ {goal} × {what}", number(ratio, " ×"), None if ratio is None else ratio >= goal)


def at_most(what, ratio, goal):
    """A goal of at most `goal` times."""
    return Goal(f"≤ {goal} × {what}", number(ratio, " ×"), None if ratio is None else ratio <= goal)


def either(first, second):
    """A goal that has two ways."""
    known = [goal.reached for goal in (first, second) if goal.reached is not None]
    return Goal(f"{first.text}, or {second.text}", f"{first.found}; {second.found}", any(known) if known else None)


def both(first, second):
    """A goal of two parts."""
    parts = [goal.reached for goal in (first, second)]
    reached = False if False in parts else None if None in parts else True
    return Goal(f"{first.text} and {second.text}", f"{first.found}; {second.found}", reached)


def table(heading, lines):
    """A Markdown table, its columns aligned."""
    rows = [heading] + [[str(cell) for cell in line] for line in lines]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heading))]

    def show(row):
        cells = [cell.ljust(width) if place == 0 else cell.rjust(width) for place, (cell, width) in enumerate(zip(row, widths))]
        return "| " + " | ".join(cells) + " |"

    rule = ["-" * width if place == 0 else "-" * (width - 1) + ":" for place, width in enumerate(widths)]
    return "\n".join([show(rows[0]), "| " + " | ".join(rule) + " |"] + [show(row) for row in rows[1:]])


def show(row):
    """A row of the benchmark as Markdown."""
    out = [f"\n## {row.number}. {row.title}\n"]
    if row.skipped:
        out.append(row.skipped)
        return "\n".join(out)
    if row.lines:
        out.append(table(row.columns, row.lines))
    if row.goals:
        words = {True: "reached", False: "**missed**", None: "not measured"}
        out += ["", table(["to reach", "measured", ""], [[goal.text, goal.found, words[goal.reached]] for goal in row.goals])]
    out += ["\n" + note for note in row.notes]
    if row.load:
        out.append(f"\nLoad average meanwhile: {row.load}.")
    return "\n".join(out)


def first_line(argv):
    """The first line that a program says about itself."""
    try:
        # vsftpd tells its version on standard input.
        said = subprocess.run(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False).stdout
        return (said.splitlines() or ["?"])[0].strip()
    except OSError:
        return None


def machine(place):
    """The machine and the versions: a list of two texts each."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        text = file.read()
    model = re.search(r"model name\s*: (.*)", text)
    flags = re.search(r"flags\s*: (.*)", text)
    has = [flag for flag in ("sha_ni", "aes", "vaes", "avx512f") if flags and flag in flags.group(1).split()]
    with open("/proc/meminfo", encoding="utf-8") as file:
        memory = int(re.search(r"MemTotal:\s*(\d+)", file.read()).group(1)) / (1 << 20)
    found = [
        ("processor", f"{model.group(1) if model else platform.machine()}, {len(os.sched_getaffinity(0))} cores for all ends; {' '.join(has)}"),
        ("memory", f"{memory:.1f} GiB"),
        ("kernel", platform.release()),
        ("tmpfs", file_system("/dev/shm")),
        ("disk", file_system(place.disk)),
        ("DFOS", f"{first_line([place.program('dfos-forkd'), '--version'])}, commit {commit()}"),
    ]
    for peer in peers.PEERS:
        versions = [f"{package} {peers.version(package) or 'missing'}" for package in peer.packages]
        found.append((peer.name, ", ".join(versions)))
    return found


def commit():
    """The commit that is measured, if this is a clone."""
    asked = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False)
    return asked.stdout.strip() or "unknown"


def file_system(path):
    """Type and options of the file system that a path lies on."""
    path, best = os.path.realpath(path), ("", "?", "")
    with open("/proc/mounts", encoding="utf-8") as file:
        for line in file:
            _, point, kind, options = line.split()[:4]
            if (path + "/").startswith(point.rstrip("/") + "/") and len(point) >= len(best[0]):
                best = (point, kind, options)
    return f"{best[1]} ({best[2]})"


def as_json(facts, rows, path):
    """Writes the whole report as JSON."""
    whole = {"machine": dict(facts), "rows": []}
    for row in rows:
        lines = [dict(zip(row.columns, line)) for line in row.lines]
        goals = [vars(goal) for goal in row.goals]
        whole["rows"].append(
            {"row": row.number, "title": row.title, "skipped": row.skipped, "lines": lines, "goals": goals,
             "notes": row.notes, "load": row.load, "runs": row.runs}
        )  # fmt: skip
    with open(path, "w", encoding="utf-8") as file:
        json.dump(whole, file, indent=1)
        file.write("\n")


def timed(row, contenders, size=None, other=None):
    """Fills a row with what contenders took; `other` is what the rest is compared with (DFOS)."""
    from measure import paired

    row.columns = ["contender", "wall s"] + (["MB/s"] if size else []) + ["least – most s", "CPU client s", "CPU server s", "× DFOS"]
    for one in contenders:
        if one.why_not:
            row.lines.append([one.name] + ["-"] * (len(row.columns) - 1))
            row.notes.append(f"{one.name}: {one.why_not}.")
            continue
        wall = one.median()
        walls = [run.wall for run in one.runs]
        ratio = paired(other, one) if other and one is not other else None
        server = number(one.median("server")) if one.server else "-"
        row.lines.append(
            [one.name, number(wall)] + ([number(size / wall / 1e6)] if size else [])
            + [f"{number(min(walls))} – {number(max(walls))}", number(one.median("client")), server, number(ratio)]
        )  # fmt: skip
        row.runs[one.name] = [vars(run) | {"output": None} for run in one.runs]
