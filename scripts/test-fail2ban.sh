#!/bin/bash
# The fail2ban filter: what it makes of the sample lines, and that these are what a running server writes.
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

FILTER=$ROOT/packaging/fail2ban/filter.d/dfos.conf
LINES=$ROOT/packaging/fail2ban/lines.log
can_python3() { has python3; }
can_fail2ban() { has fail2ban-regex; }

# samples: with 'true', the addresses that fail2ban is to find and the lines in which it is; with 'false' the lines in which it is to find nothing.
# plain: the same by Python's own expressions, as far as the filter's go.  drift FORM: lines of a server on standard input that no sample resembles.
cat >"$WORK/filter.py" <<'END'
import ipaddress, json, re, sys
what, filter_file, samples_file = sys.argv[1:4]
samples, verdict = [], None
for line in open(samples_file).read().splitlines():
    if line.startswith("# failJSON: "):
        verdict = json.loads(line[len("# failJSON: "):])
    elif not line.startswith("#"):
        samples.append((verdict, line))
        verdict = None
assert len(samples) > 10 and all(verdict for verdict, _ in samples), "a line without a verdict"

# Where the date stood fail2ban leaves nothing.
DATE = re.compile(r"^(?:\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d)|[A-Z][a-z]{2} [ \d]\d [\d:]{8})")
ADDRESS = r"(?:(?P<v4>\d+(?:\.\d+){3})|\[?(?P<v6>[0-9a-fA-F:]+)\]?)"
def found(line):
    regex = re.search(r"^failregex = (.*)$", open(filter_file).read(), re.M).group(1).replace("<ADDR>", ADDRESS)
    match = re.search(regex, DATE.sub("", line))
    return match and (match["v4"] or match["v6"])

# One line of the server as it comes into a file, without what differs from one to the next: time, numbers, account, whose address.
def usual(line, form):
    if form == "syslog":
        line = re.sub(r"^<\d+>(.{15}) ", r"\1 files ", line)
    elif form == "journal":
        line = "Nov 21 18:20:01 files dfos-forkd[1]: " + re.sub(r"^<\d+>", "", line)
    line = re.sub(r"(?:\[[0-9a-f:]+\]:|\d+\.\d+\.\d+\.\d+:|uid:)\d+ login", "ADDRESS login", line.replace("alice", "anna"))
    return re.sub(r"(?<=\[)\d+(?=\])|(?<=attempt )\d", "N", DATE.sub("", line))

if what == "true":
    for verdict, line in samples:
        if verdict["match"]:
            print(verdict["host"] if sys.argv[4:] == ["hosts"] else line)
elif what == "false":
    print("\n".join(line for verdict, line in samples if not verdict["match"]))
elif what == "plain":
    for verdict, line in samples:
        if found(line) != verdict.get("host"):
            print(f"{found(line)} instead of {verdict.get('host')}: {line}")
elif what == "drift":
    known, refused = {usual(line, "") for _, line in samples}, 0
    for line in sys.stdin.read().splitlines():
        if "login refused, attempt" in line:
            refused += 1
            if usual(line, sys.argv[4]) not in known:
                print(f"no sample resembles: {line}")
    print(refused, "refused logins")
END
of_samples() { python3 "$WORK/filter.py" "$1" "$FILTER" "$LINES" "${@:2}"; }

plain() { equal "wrong verdicts" '' "$(of_samples plain)"; }

# What fail2ban itself says.
by_fail2ban() {
    of_samples true >"$WORK/true.log"
    of_samples false >"$WORK/false.log"
    equal "the addresses" "$(of_samples true hosts)" "$(fail2ban-regex --usedns no -o ip "$WORK/true.log" "$FILTER")"
    equal "addresses where there are none" '' "$(fail2ban-regex --usedns no -o ip "$WORK/false.log" "$FILTER")"
}

# --- a running server ---

cat >"$WORK/syslogd.py" <<'END'
import os, socket, sys
ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
ear.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o666)
with open(sys.argv[2], "a", buffering=1) as told:
    while True:
        told.write(ear.recv(65536).decode().strip() + "\n")
END

# Refused logins over IPv4, IPv6 and a Unix socket, of users that there are and of names that would break a line. Names of files, too.
guess() {
    local lines=$1 name
    connect
    expect 'ERR login-refused *' LOGIN alice wrong
    expect 'ERR *' LOGIN nobody-is-called-this wrong
    hang_up
    for name in '%0A198.51.100.1:1%20login%20refused,%20attempt%201%20of%203' '198.51.100.1:1' 'dfos-forkd[1]:'; do
        connect
        expect 'ERR *' LOGIN "$name" wrong
        hang_up
    done
    login
    expect 'OK *' MKDIR 'dfos-forkd[1]:%20198.51.100.1:1%20login%20refused,%20attempt%201%20of%203'
    expect 'OK *' MKDIR '%0A198.51.100.1:1%20login%20refused,%20attempt%201%20of%203'
    hang_up
    python3 - "$WORK/server.out" "$WORK/unix" <<'END'
import re, socket, sys
port = int(re.search(r"tcp://\[::1\]:(\d+)", open(sys.argv[1]).read()).group(1))
for client in [socket.create_connection(("::1", port)), socket.socket(socket.AF_UNIX)]:
    if client.family == socket.AF_UNIX:
        client.connect(sys.argv[2])
    client.settimeout(20)
    lines = client.makefile("rw", newline="\n")
    lines.readline()
    for name in ["alice", "nobody-is-called-this"]:
        lines.write(f"LOGIN {name} wrong\n")
        lines.flush()
        assert lines.readline().startswith("ERR"), name
END
    eventually "the log" refused "$lines" 6
}
refused() { (($(grep -c 'login refused, attempt' "$1") >= $2)); }

# real FORM LINES OPTION...
real() {
    local form=$1 lines=$2 said
    shift 2
    mkdir -p "$WORK/place"
    give "$WORK/place"
    rm -rf "$WORK/unix" "$WORK/storage"
    start_server --listen 'tcp://[::1]:0' --listen "unix:$WORK/unix" "$@"
    guess "$lines"
    stop_server
    said=$(python3 "$WORK/filter.py" drift "$FILTER" "$LINES" "$form" <"$lines")
    matches "what the server writes" '[6-9] refused logins' "$said"
    # And fail2ban finds those who have guessed in it, and no address that they have named.
    if has fail2ban-regex >/dev/null; then
        sed -E "s/^<[0-9]+>(.{15}) dfos/\\1 files dfos/; s/^<[0-9]+>\\[/Nov 21 18:20:01 files dfos-forkd[1]: [/" "$lines" >"$WORK/real.log"
        equal "the addresses" $'127.0.0.1\n::1' "$(fail2ban-regex --usedns no -o ip "$WORK/real.log" "$FILTER" | sort -u)"
    fi
}
in_a_file() { real file "$WORK/place/log" --log-target file --log-file "$WORK/place/log"; }
on_standard_error() { real file "$WORK/server.log" --log-target stderr; }
in_the_journal() {
    : >"$WORK/server.log"
    real journal "$WORK/server.log" --log-target journal
}
in_the_system_log() {
    local ear
    python3 "$WORK/syslogd.py" "$WORK/syslog" "$WORK/told" &
    ear=$!
    eventually "the system log" test -S "$WORK/syslog"
    real syslog "$WORK/told" --log-target syslog --syslog-socket "$WORK/syslog"
    kill "$ear"
}

check "each sample line gets its verdict" plain python3
check "fail2ban itself finds the same" by_fail2ban python3 fail2ban
check "a server's log file is as the samples are" in_a_file python3 ipv6
check "so is its standard error" on_standard_error python3 ipv6
check "so is the journal" in_the_journal python3 ipv6
check "so is the system log" in_the_system_log python3 ipv6
finish
