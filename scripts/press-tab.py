"""press-tab.py SHELL SCRIPT LINE: types LINE and Tab into an interactive SHELL that has loaded the completions in SCRIPT, presses
Enter, and prints the arguments that dfos-client is then called with, one a line."""

import os
import pty
import select
import shutil
import sys
import tempfile
import time

SHELL, SCRIPT, LINE = sys.argv[1:4]
PATIENCE = 20
PROMPT = b"@ready@"


def read_until(master, mark, begin, patience):
    """Reads what the shell draws until it holds mark, or until the patience ends; all that came."""
    seen, end = begin, time.monotonic() + patience
    while mark not in seen and time.monotonic() < end:
        if select.select([master], [], [], 0.05)[0]:
            try:
                seen += os.read(master, 65536)
            except OSError:
                break
            # fish asks the terminal who it is, and waits for the answer.
            if b"\x1b[c" in seen or b"\x1b[0c" in seen:
                os.write(master, b"\x1b[?62c")
                seen = seen.replace(b"\x1b[c", b"").replace(b"\x1b[0c", b"")
    return seen


def settle(master):
    """Waits until the shell has drawn nothing for a while after it drew something."""
    end, last = time.monotonic() + PATIENCE, None
    while time.monotonic() < end:
        if select.select([master], [], [], 0.05)[0]:
            if not os.read(master, 65536):
                return
            last = time.monotonic()
        elif last and time.monotonic() - last > 0.7:
            return


def commands(shell, told):
    """What makes the shell one with completions and a dfos-client that tells its arguments; and how it is started."""
    if shell == "fish":
        tell = f"function dfos-client; if test \"$argv[1]\" = complete; command dfos-client $argv; else; printf '%s\\n' $argv >{told}.new; and mv {told}.new {told}; end; end"
        return ["fish", "--no-config"], f"function fish_prompt; echo '@rea''dy@'; end; function fish_greeting; end; source {SCRIPT}; {tell}"
    tell = f"dfos-client() {{ if [[ $1 == complete ]]; then command dfos-client \"$@\"; else printf '%s\\n' \"$@\" >{told}.new; mv {told}.new {told}; fi; }}"
    if shell == "zsh":
        prepare = f"autoload -Uz compinit; compinit -u -D; source {SCRIPT}; {tell}; PS1='@rea''dy@'"
        return ["zsh", "-f", "-i"], prepare
    return ["bash", "--norc", "--noprofile", "-i"], f"bind 'set enable-bracketed-paste off'; source {SCRIPT}; {tell}; PS1='@rea''dy@'"


def main():
    place = tempfile.mkdtemp(prefix="dfos-tab.")
    told = os.path.join(place, "told")
    words, prepare = commands(SHELL, told)
    pid, master = pty.fork()
    if pid == 0:
        os.execvp(words[0], words)
    try:
        settle(master)
        os.write(master, prepare.encode() + b"\r")
        if PROMPT not in read_until(master, PROMPT, b"", PATIENCE):
            sys.exit(f"{SHELL} does not come up")
        os.write(master, LINE.encode() + b"\t")
        settle(master)
        os.write(master, b"\r")
        end, drawn = time.monotonic() + PATIENCE, b""
        while not os.path.exists(told) and time.monotonic() < end:
            drawn = read_until(master, b"\0", drawn, 0.1)
        if not os.path.exists(told):
            sys.exit(f"{SHELL} did not run it: {drawn!r}")
        print(open(told, encoding="utf-8", errors="surrogateescape").read(), end="")
    finally:
        os.kill(pid, 9)
        os.close(master)
        os.waitpid(pid, 0)
        shutil.rmtree(place, ignore_errors=True)


main()
