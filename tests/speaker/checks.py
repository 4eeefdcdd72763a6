"""The runner: each check is a function under a sentence; one line tells how it went."""

import time
import traceback

_checks = []


def check(sentence, long=False):
    """Makes a function a check. A long one runs with --long only."""

    def keep(function):
        _checks.append((sentence, function, long))
        return function

    return keep


def run(with_long):
    """Runs all checks, prints a line for each and the sum; whether all went well."""
    passed = failed = 0
    for sentence, function, long in _checks:
        if long and not with_long:
            print(f"  long: {sentence}")
            continue
        begin = time.monotonic()
        try:
            function()
        except Exception:  # what went wrong is told, and the next check has its turn
            failed += 1
            print(traceback.format_exc())
            print(f"  FAILED: {sentence}", flush=True)
        else:
            passed += 1
            print(f"  ok: {sentence} ({time.monotonic() - begin:.1f} s)", flush=True)
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return failed == 0
