#!/bin/bash
# systemd: the units are sound and as narrow as they claim; the server tells a service manager how it goes, takes the sockets that one
# passes, and needs no more of the kernel than the unit gives it. (systemd itself runs nothing here: a socket of the test's is the manager.)
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

UNITS=$ROOT/packaging/systemd
TOLD=$WORK/told
NOTIFY=$WORK/notify

can_analyze() { has systemd-analyze; }
can_activate() { has systemd-socket-activate; }
can_python3() { has python3; }

# --- the units ---

units_are_sound() {
    local unit
    mkdir "$WORK/units"
    for unit in dfos-forkd.service dfos-forkd.socket; do
        sed "s,/usr/bin/dfos-forkd,$BIN/dfos-forkd," "$UNITS/$unit" >"$WORK/units/$unit"
    done
    equal "what systemd says of the units" '' \
        "$(systemd-analyze verify --man=no "$WORK/units/dfos-forkd.service" "$WORK/units/dfos-forkd.socket" 2>&1)"
}

exposure() {
    local line figure
    line=$(systemd-analyze security --offline=true "$UNITS/dfos-forkd.service" 2>/dev/null | grep 'Overall exposure level')
    figure=$(grep -oE '[0-9]+\.[0-9]+' <<<"$line")
    echo "    exposure: $figure"
    awk -v figure="$figure" 'BEGIN { exit !(figure <= 2.0) }' || fail "the exposure is $figure"
    systemd-analyze security --offline=true --threshold=20 "$UNITS/dfos-forkd.service" >/dev/null 2>&1 || fail "above the threshold"
}

users_and_places() {
    has systemd-sysusers && has systemd-tmpfiles || return 0
    mkdir "$WORK/root" "$WORK/root/etc"
    systemd-sysusers --root="$WORK/root" "$ROOT/packaging/sysusers.d/dfos.conf"
    matches "the user" 'dfos:*:/var/lib/dfos:/usr/sbin/nologin' "$(grep ^dfos: "$WORK/root/etc/passwd")"
    systemd-tmpfiles --root="$WORK/root" --create "$ROOT/packaging/tmpfiles.d/dfos.conf"
    equal "the modes of the places" "755 750 700 750 755 " \
        "$(cd "$WORK/root" && stat -c %a etc/dfos srv/dfos var/lib/dfos var/log/dfos run/dfos | tr "\n" " ")"
}

# --- what the manager is told ---

# The manager's ear: each message becomes a line of $TOLD, with spaces between its parts.
cat >"$WORK/ear.py" <<'END'
import os, socket, sys
ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
ear.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o666)
with open(sys.argv[2], "a", buffering=1) as told:
    while True:
        told.write(ear.recv(4096).decode().strip().replace("\n", " ") + "\n")
END
listen_to_the_server() {
    rm -f "$NOTIFY"
    : >"$TOLD"
    python3 "$WORK/ear.py" "$NOTIFY" "$TOLD" &
    EAR=$!
    eventually "the manager to listen" test -S "$NOTIFY"
    UNDER=(env "NOTIFY_SOCKET=$NOTIFY" "$@")
}
stop_listening() {
    kill "$EAR"
    wait "$EAR" 2>/dev/null || true
    UNDER=()
}
told() { grep -qE -- "$1" "$TOLD"; }

how_it_goes() {
    listen_to_the_server
    start_server
    eventually "READY" told '^READY=1 STATUS=0 sessions$'
    login
    eventually "the status" told '^STATUS=1 session$'
    : >"$TOLD"
    kill -HUP "$SERVER_PID"
    eventually "RELOADING" told '^RELOADING=1 MONOTONIC_USEC=[0-9]+ STATUS='
    eventually "READY after it" told '^READY=1 STATUS=1 session$'
    matches "the first word" 'RELOADING=1 *' "$(head -n 1 "$TOLD")"
    : >"$TOLD"
    mv "$USERS" "$USERS.away"
    kill -HUP "$SERVER_PID"
    eventually "READY though the users could not be loaded" told '^READY=1'
    mv "$USERS.away" "$USERS"
    hang_up
    stop_server
    told '^STOPPING=1 EXTEND_TIMEOUT_USEC=[0-9]+ STATUS=ending: ' || fail "STOPPING was not told: $(cat "$TOLD")"
    ! told 'WATCHDOG' || fail "a sign of life that nobody asked for"
    stop_listening
}

# One that stands still gives none: the manager would end it.
signs_of_life() {
    local signs
    listen_to_the_server WATCHDOG_USEC=200000
    start_server
    eventually "signs of life" several_signs
    kill -STOP "$SERVER_PID"
    eventually "the listener to stand still" stands_still
    : >"$TOLD"
    sleep 1 # five times as long as the manager waits: it is the absence that is looked at
    signs=$(grep -c WATCHDOG "$TOLD") || true
    ((signs == 0)) || fail "a listener that stands still gave $signs signs of life"
    kill -CONT "$SERVER_PID"
    eventually "signs of life again" several_signs
    : >"$TOLD"
    kill -USR2 "$SERVER_PID"
    eventually "the upgrade" told '^READY=1'
    eventually "signs of life of the new version" several_signs
    stop_server
    stop_listening
}
several_signs() { (($(grep -c '^WATCHDOG=1$' "$TOLD") >= 4)); }
stands_still() { look_at "$SERVER_PID" && [[ $STATE == T ]]; }

a_manager_that_is_gone() {
    UNDER=(env "NOTIFY_SOCKET=$WORK/nobody" WATCHDOG_USEC=100000)
    start_server
    login
    expect "OK pong *" PING
    hang_up
    stop_server
    UNDER=()
}

# What is meant for the server alone is not for those who come after it.
nothing_for_children() {
    UNDER=(env "NOTIFY_SOCKET=$WORK/nobody" WATCHDOG_PID=1 WATCHDOG_USEC=1000 LISTEN_PID=1 LISTEN_FDS=7 LISTEN_FDNAMES=x)
    start_server # seven sockets are another's: taken for its own they would be an error
    stop_server
    UNDER=()
}

# --- sockets that are passed ---

# launch.py NAMES COMMAND...: passes a listening socket for each name, as systemd does; unix:PATH is one of that name.
cat >"$WORK/launch.py" <<'END'
import fcntl, os, socket, sys
names = sys.argv[1].split(",")
sockets = []
for name in names:
    if name.startswith("unix:"):
        made = socket.socket(socket.AF_UNIX)
        made.bind(name[5:])
    elif name == "datagram":
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind(("127.0.0.1", 0))
    else:
        made = socket.socket()
        made.bind(("0.0.0.0" if name.startswith("open-") else "127.0.0.1", 0))
    if name != "datagram":
        made.listen(100)
    sockets.append(fcntl.fcntl(made.fileno(), fcntl.F_DUPFD, 100)) # out of the way of the numbers to come
    made.detach()
for number, made in enumerate(sockets, 3):
    os.dup2(made, number)
    os.close(made)
os.dup2(1, 50) # something that nobody passed on purpose
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(names)), LISTEN_FDNAMES=":".join(name.split(":")[0].removeprefix("open-") for name in names))
os.execvp(sys.argv[2], sys.argv[2:])
END
listeners() { sed -n 's/^listening //p' "$WORK/server.out" | sed 's,:[0-9]*$,,' | tr '\n' ' '; }

passed() {
    mkdir "$WORK/sockets"
    give "$WORK/sockets" # the server could remove a name there
    UNDER=(python3 "$WORK/launch.py" "tcp,tls,unix:$WORK/sockets/passed")
    start_server
    equal "where it listens" "tcp://127.0.0.1 tls://127.0.0.1 unix:$WORK/sockets/passed tcp://127.0.0.1 " "$(listeners)"
    ((PORT > 0)) || fail "no port"
    login
    expect "OK pong *" PING
    hang_up
    [[ ! -e /proc/$SERVER_PID/fd/50 ]] || fail "what was left open is inherited"
    stop_server
    [[ -S $WORK/sockets/passed ]] || fail "the name of a socket that was passed is removed"
    UNDER=()
}

# Without --listen there is no other listener; and what is passed need not be bound again.
passed_alone() {
    local out=$WORK/alone
    STORAGE=$WORK/storage USERS=$WORK/users LOG=$WORK/server.log
    python3 "$WORK/launch.py" tcp "$BIN/dfos-forkd" --state-dir "$WORK/state" --dir "$STORAGE" --users "$USERS" >"$out" 2>>"$LOG" &
    SERVER_PID=$!
    eventually "the server to listen" listens "$out"
    equal "listeners" 1 "$(wc -l <"$out")"
    PORT=$(sed 's,.*:,,' "$out")
    login
    hang_up
    stop_server
}

# The same rules as for those that the server binds itself.
passed_and_refused() {
    local status why
    for why in "open-tcp:would be reachable from other machines in plain text" "datagram:does not accept connections" \
        "open-tls:demonstration users"; do
        status=0
        python3 "$WORK/launch.py" "${why%%:*}" "$BIN/dfos-forkd" --state-dir "$WORK/state" --dir "$WORK/storage" \
            --users "$WORK/users" >"$WORK/out" 2>&1 || status=$?
        equal "the exit status with ${why%%:*}" 1 "$status"
        grep -qF "${why#*:}" "$WORK/out" || fail "no word of '${why#*:}': $(cat "$WORK/out")"
    done
}

by_systemd() {
    local pid got
    systemd-socket-activate -l "$WORK/by-systemd" "$BIN/dfos-forkd" --state-dir "$WORK/state" --dir "$WORK/storage" \
        --users "$WORK/users" >"$WORK/out" 2>>"$WORK/server.log" &
    pid=$!
    eventually "the socket" test -S "$WORK/by-systemd"
    chmod 666 "$WORK/by-systemd"
    got=$(printf 'PING\nLOGOUT\n' | python3 -c '
import socket, sys
client = socket.socket(socket.AF_UNIX)
client.settimeout(20)
client.connect(sys.argv[1])
client.sendall(sys.stdin.buffer.read())
print("".join(iter(lambda: client.recv(1000).decode(), "")))' "$WORK/by-systemd")
    matches "what it says" 'OK dfos/1*OK pong*OK bye*' "$got"
    kill "$pid"
    wait "$pid" || true
}

# --- the unit's walls ---

# User=, AmbientCapabilities=, CapabilityBoundingSet=, NoNewPrivileges=.
as_dfos() { AS_DFOS=(setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs "--bounding-set=$1" "--inh-caps=$1" "--ambient-caps=$1"); }
as_dfos "-all,+sys_chroot"

capabilities() {
    local chroot=0000000000040000 sets
    give "$WORK/users"
    mkdir -p "$WORK/storage" "$WORK/state"
    give "$WORK/storage" "$WORK/state"
    as_dfos "-all,+sys_chroot,+net_bind_service" # one more than the unit gives, as an operator may who has it bind port 443
    UNDER=("${AS_DFOS[@]}")
    start_server --require-sandbox
    sets=$(awk '/^Cap/ { print $2 }' "/proc/$SERVER_PID/status" | tr '\n' ' ')
    equal "the listener's capabilities" "$chroot $chroot $chroot 0000000000040400 $chroot " "$sets"
    login
    equal "the session's" "0000000000000000 0000000000000000 0000000000000000" \
        "$(awk '/^Cap(Inh|Prm|Eff)/ { print $2 }' "/proc/$SESSION/status" | tr '\n' ' ' | sed 's/ $//')"
    equal "the session's root" "$STORAGE/alice" "$(readlink "/proc/$SESSION/root")"
    hang_up
    grep -q 'is missing here' "$LOG" && fail "a layer is missing"
    # Replaced in place, it has the same.
    local upgraded
    kill -USR2 "$SERVER_PID"
    eventually "the upgrade" grep -q 'upgraded in place' "$LOG"
    upgraded=$(awk '/^Cap/ { print $2 }' "/proc/$SERVER_PID/status" | tr '\n' ' ')
    equal "the listener's capabilities after an upgrade" "$sets" "$upgraded"
    login
    equal "the session's root" "$STORAGE/alice" "$(readlink "/proc/$SESSION/root")"
    hang_up
    stop_server
    UNDER=()
}

# Every call that start, sessions, reload, upgrade and end make is on the unit's list. That is worked out as systemd does, line by line.
cat >"$WORK/list.py" <<'END'
import subprocess, sys
groups, allowed = {}, set()
for line in subprocess.run(["systemd-analyze", "syscall-filter", "--no-pager"], capture_output=True, text=True).stdout.splitlines():
    if line.startswith("@"):
        group = groups.setdefault(line.strip(), [])
    elif line.startswith("    ") and not line.strip().startswith("#"):
        group.append(line.strip())
def names(word):
    if not word.startswith("@"):
        return {word}
    return set().union(*(names(inner) for inner in groups[word]))
for line in open(sys.argv[1]):
    if line.startswith("SystemCallFilter="):
        words = line.strip().split("=", 1)[1]
        found = set().union(*(names(word) for word in words.lstrip("~").split()))
        allowed = allowed - found if words.startswith("~") else allowed | found
allowed |= names("@default") # systemd adds it to every list of what is allowed
used = {line.split()[-1] for line in open(sys.argv[2])}
print(" ".join(sorted(used - allowed)))
END
calls() {
    give "$WORK/users"
    mkdir -p "$WORK/storage" "$WORK/state"
    give "$WORK/storage" "$WORK/state"
    STORAGE=$WORK/storage USERS=$WORK/users LOG=$WORK/server.log
    : >"$WORK/out"
    strace -f -qq -o "$WORK/trace" "${AS_DFOS[@]}" "$BIN/dfos-forkd" --listen tcp://127.0.0.1:0 --listen tls://127.0.0.1:0 \
        --state-dir "$WORK/state" --dir "$STORAGE" --users "$USERS" >"$WORK/out" 2>>"$LOG" &
    local tracer=$!
    eventually "the server to listen" grep -q '^listening tls' "$WORK/out"
    SERVER_PID=$(children_of "$tracer")
    PORT=$(sed -n 's,^listening tcp.*:,,p' "$WORK/out")
    login
    upload f 'of strace' "OK *"
    content f 'of strace'
    expect "OK *" MKDIR d
    expect "OK *" RENAME f d/f
    expect "OK *" DELETE d/f
    hang_up
    kill -HUP "$SERVER_PID"
    eventually "the reload" grep -q 'users reloaded' "$LOG"
    local before
    before=$(grep -c 'upgraded in place' "$LOG") || true
    kill -USR2 "$SERVER_PID"
    eventually "the upgrade" upgraded_since "$before"
    kill -INT "$SERVER_PID"
    wait "$tracer" || fail "it did not end in order"
    SERVER_PID=''
    # What setpriv does is systemd's work; it ends with the execve of the server.
    sed -n '/execve(".*dfos-forkd"/,$p' "$WORK/trace" | grep -oE '^[0-9]+ +[a-z_0-9]+\(' | tr -d '(' | sort -u -k 2,2 >"$WORK/used"
    (($(wc -l <"$WORK/used") > 50)) || fail "there are few calls in the trace"
    equal "calls that the unit does not allow" '' "$(python3 "$WORK/list.py" "$UNITS/dfos-forkd.service" "$WORK/used")"
}
upgraded_since() { (($(grep -c 'upgraded in place' "$LOG") > $1)); }

check "the units are sound in systemd's eyes" units_are_sound analyze
check "the service's exposure is 2.0 or lower, the reasons beside the lines" exposure analyze
check "sysusers.d and tmpfiles.d make the user and the places" users_and_places root
check "READY, RELOADING, STOPPING and how many are served are told" how_it_goes python3
check "a sign of life comes while the listener turns, and none when it stands still" signs_of_life python3
check "a manager that is gone keeps nobody from being served" a_manager_that_is_gone
check "variables that are meant for another process are not believed" nothing_for_children
check "sockets that are passed speak what their names say, beside others" passed python3
check "with sockets that are passed no other need be bound" passed_alone python3
check "for sockets that are passed the same rules hold" passed_and_refused python3
check "systemd-socket-activate starts it" by_systemd activate
check "started as the unit does it holds the right to chroot and nothing else, before and after an upgrade" capabilities setpriv
check "every system call that it makes is on the unit's list" calls trace setpriv analyze python3
finish
