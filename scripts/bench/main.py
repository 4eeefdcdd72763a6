"""The benchmark's command line: which rows, in which order, and that nothing is left behind."""

import argparse
import os
import signal
import subprocess
import sys

import measure
import peers
import report
from place import IS_ROOT, Place, Skip
from report import Row

ROWS = [str(number) for number in range(1, 12)]


def options():
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="scripts/bench.sh", description="Measures DFOS beside its peers and prints a table.")
    parser.add_argument("--peers", action="store_true", help="tell which Debian packages the peers need, and which are installed")
    parser.add_argument("--only", metavar="1,2,7", help="these rows alone")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="rounds in which the contenders alternate [default: 5]")
    parser.add_argument("--json", metavar="FILE", help="write all figures of all runs to FILE")
    parser.add_argument("--disk", metavar="DIR", help="a directory on the disk that rows 4 to 6 are measured on [default: target/bench]")
    parser.add_argument("--size", type=int, default=2048, metavar="MIB", help="size of the large file of rows 1 to 3 [default: 2048]")
    parser.add_argument("--files", type=int, default=10_000, metavar="N", help="files of rows 4 and 5 [default: 10000]")
    parser.add_argument("--quick", action="store_true", help="under two minutes: a few ratios; fails if a count grew against the baseline")
    parser.add_argument("--update", action="store_true", help="with --quick: write the baseline anew")
    asked = parser.parse_args()
    asked.rows = asked.only.split(",") if asked.only else ROWS
    unknown = [row for row in asked.rows if row not in ROWS]
    if unknown or asked.rounds < 1 or (asked.update and not asked.quick):
        parser.error(f"there is no row {', '.join(unknown)}" if unknown else "--rounds begins at 1; --update goes with --quick")
    return asked


def print_peers():
    """`--peers`."""
    rows = [[name, package, version or "not installed"] for name, package, version in peers.packages()]
    print(report.table(["peer or tool", "Debian package", "installed"], rows))
    missing = sorted({package for _, package, version in rows if version == "not installed"})
    if missing:
        print(f"\nto install: apt-get install {' '.join(missing)}")


def groups(place, asked):
    """What is measured together, in its order: the rows, and a function that gives them."""
    # A module is loaded when its row is asked for.
    def big():
        import rows_big

        return rows_big.plain(place, asked.rounds, asked.size << 20, asked.rows)

    def tls():
        import rows_big

        return rows_big.tls(place, asked.rounds, asked.size << 20)

    def small():
        import rows_small

        return rows_small.small(place, asked.rounds, asked.rows, asked.files)

    def logins():
        import rows_sessions

        return [rows_sessions.logins(place, asked.rounds)]

    def idle():
        import rows_sessions

        return [rows_sessions.idle(place)]

    def far():
        import rows_far

        # A quarter: the line is not faster for a longer file.
        return [rows_far.far(place, min(asked.rounds, 3), (asked.size << 20) // 4, asked.files)]

    def many():
        import rows_many

        return [rows_many.many(place, min(asked.rounds, 3))]

    def lists():
        import rows_list

        return [rows_list.lists(place, asked.rounds)]

    def calls():
        import rows_calls

        return [rows_calls.first_upload(place)]

    return [
        (("1", "2"), big), (("3",), tls), (("4", "5"), small), (("6",), far), (("7",), logins), (("8",), idle), (("9",), many),
        (("10",), lists), (("11",), calls),
    ]  # fmt: skip


def full(place, asked):
    """The whole table."""
    facts = report.machine(place)
    print("# DFOS beside its peers\n")
    print(report.table(["", ""], facts))
    print(
        f"\nMedians of {asked.rounds} rounds in which the contenders alternate; `× DFOS` and all ratios are medians of the ratios within a round."
        " Caches are warm for all alike. CPU: user and system seconds of the client, and of all the server's processes."
        + ("" if IS_ROOT else "\nRun as an ordinary user: servers work as this user; row 6 needs root.")
    )
    rows, status = [], 0
    for numbers, work in groups(place, asked):
        wanted = [number for number in numbers if number in asked.rows]
        if not wanted:
            continue
        try:
            made = work()
        except Skip as why:
            made = [Row(number, "", skipped=f"skipped: {why}") for number in wanted]
        except (RuntimeError, subprocess.CalledProcessError) as why:
            # DFOS itself failed, or a digest did not fit; the other rows are measured all the same.
            made, status = [Row(number, "", skipped=f"FAILED: {why}") for number in wanted], 1
        for row in made:
            row.load = " ".join(f"{figure:.1f}" for figure in os.getloadavg())
            measure.say("")
            print(report.show(row), flush=True)
        rows += made
    if asked.json:
        report.as_json(facts, rows, asked.json)
    return status


def interrupted(*_):
    """A signal ends the run as Ctrl+C does."""
    raise KeyboardInterrupt


def main():
    """The exit status: 0, 1 where something failed (missed goals are no failure of a full run), 130 after Ctrl+C."""
    asked = options()
    if asked.peers:
        print_peers()
        return 0
    signal.signal(signal.SIGTERM, interrupted)
    signal.signal(signal.SIGHUP, interrupted)
    place = Place(asked.disk, os.path.abspath(os.environ["DFOS_BIN"]))
    try:
        os.environ["HOME"] = place.tmpfs  # what clients (lftp) keep in a home goes with the rest
        if asked.quick:
            import quick

            return quick.run(place, asked.update)
        return full(place, asked)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    except (RuntimeError, Skip, subprocess.CalledProcessError) as why:
        print(f"\nbench: {why}", file=sys.stderr)
        return 1
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # cleaning up is not interrupted
        place.close()


if __name__ == "__main__":
    sys.exit(main())
