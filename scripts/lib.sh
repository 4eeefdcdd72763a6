# shellcheck shell=bash disable=SC2034,SC2119,SC2120
# What the shell tests share: a scratch directory, servers, the raw protocol, checks and their needs.
#
# A test script sources this file, starts servers, and calls `check "a sentence" function [need...]` for each thing
# that it shows. A check runs in a subshell, stops at its first failing command, and is skipped only if the probe of a need
# fails. Whatever happens, no process and no file is left behind.

set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(dirname "$HERE")
BIN=${DFOS_BIN:-$ROOT/target/debug}
# A command that forgets to name its server finds none.
export DFOS_SERVER=unix:/nonexistent/no-default-server
export DFOS_USER=nobody-in-particular
export LC_ALL=C
unset DFOS_PASSWORD
# Nor do servers read this machine's own configuration.
export DFOS_FORKD_CONFIG=none
export DFOS_CONFIG=none # nor is the configuration of who runs the tests used

WORK=$(mktemp -d "${TMPDIR:-/tmp}/dfos-test.XXXXXX")
PASSED=0 FAILED=0 SKIPPED=0
SERVER_PID='' LOG=/dev/null

# --- the end: no process, no mount, no file stays ---

# Pids of all processes that have the scratch directory in their command line: everything that a test starts has. But a server's say what they
# do instead: of these all that stood below a server when it had started, and whoever has one of them as parent or leader.
leftovers() {
    local dir pid arguments servers=' ' STATE PARENT GROUP
    if [[ -e $WORK/servers ]]; then servers=" $(tr '\n' ' ' <"$WORK/servers") "; fi
    for dir in /proc/[0-9]*; do
        pid=${dir#/proc/}
        [[ $pid != "$BASHPID" && $pid != "$$" ]] || continue
        { arguments=$(tr '\0' '\n' <"$dir/cmdline"); } 2>/dev/null || continue
        if [[ $arguments == *"$WORK"* ]]; then
            echo "$pid"
        elif [[ $arguments == 'dfos-forkd: '* ]] && look_at "$pid" &&
            [[ $servers == *" $pid "* || $servers == *" $PARENT "* || $servers == *" $GROUP "* ]]; then
            echo "$pid"
        fi
    done
    return 0
}

# Notes a process of a server and all below it, for `leftovers`.
note_server() {
    local pid
    echo "$1" >>"$WORK/servers"
    for pid in $(children_of "$1"); do note_server "$pid"; done
}

clean_up() {
    local status=$? pid point
    trap '' INT TERM
    set +e
    for pid in $(leftovers); do kill -KILL "$pid" 2>/dev/null; done
    awk -v work="$WORK/" 'index($2, work) == 1 { print $2 }' /proc/mounts | sort -r | while read -r point; do
        umount -l "$point"
    done
    rm -rf --one-file-system "$WORK"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# --- checks ---

# Ends the check in hand with a sentence, and shows what the server said last.
fail() {
    echo "    $*" >&2
    if [[ -s $LOG ]]; then
        echo "    the server's log ends with:" >&2
        tail -n 8 "$LOG" | sed 's/^/      /' >&2
    fi
    exit 1
}

# check SENTENCE FUNCTION [NEED...]: runs FUNCTION, unless the probe can_NEED fails; that it says on standard output.
check() {
    local sentence=$1 function=$2 need why status server=$SERVER_PID
    shift 2
    for need in "$@"; do
        if ! why=$("can_$need" 2>&1); then
            SKIPPED=$((SKIPPED + 1))
            echo "  skipped: $sentence ($why)"
            return
        fi
    done
    set +e
    (
        trap '[[ -z $SERVER_PID || $SERVER_PID == "$server" ]] || kill -KILL "$SERVER_PID" 2>/dev/null || true' EXIT # one of its own, if the check failed
        set -e
        "$function"
    )
    status=$?
    set -e
    if ((status == 0)); then
        PASSED=$((PASSED + 1))
        echo "  ok: $sentence"
    else
        FAILED=$((FAILED + 1))
        echo "  FAILED: $sentence"
    fi
}

# The last line of every test script: the sum, and the exit status.
finish() {
    local left
    if [[ -n $SERVER_PID ]]; then stop_server; fi
    left=$(leftovers)
    if [[ -n $left ]]; then
        FAILED=$((FAILED + 1))
        echo "  FAILED: no process is left behind (there is $(for pid in $left; do tr '\0' ' ' <"/proc/$pid/cmdline"; done 2>/dev/null))"
    fi
    echo "$PASSED passed, $FAILED failed, $SKIPPED skipped"
    ((FAILED == 0))
}

# equal WHAT EXPECTED FOUND
equal() {
    [[ $2 == "$3" ]] || fail "$1: expected $(printf %q "$2"), found $(printf %q "$3")"
}

# matches WHAT PATTERN FOUND: PATTERN is one of the shell's.
matches() {
    # shellcheck disable=SC2053
    [[ $3 == $2 ]] || fail "$1: expected $2, found $(printf %q "$3")"
}

# eventually WHAT COMMAND...: waits until COMMAND succeeds, 20 seconds at most.
eventually() {
    local what=$1 end=$((SECONDS + 20))
    shift
    until "$@"; do
        ((SECONDS < end)) || fail "in 20 seconds there was no end to waiting for: $what"
        sleep 0.02
    done
}

# The state, parent and process group of process $1, in STATE, PARENT and GROUP; fails if it is gone.
look_at() {
    local line
    { IFS= read -r line <"/proc/$1/stat"; } 2>/dev/null || return 1
    read -r STATE PARENT GROUP line <<<"${line##*) }"
    [[ $STATE != [ZX] ]]
}

gone() { ! look_at "$1"; }

# Pids of the children of $1; with $2, of those alone that lead (scribe) or do not lead (sessions) their process group.
children_of() {
    local dir pid STATE PARENT GROUP
    for dir in /proc/[0-9]*; do
        pid=${dir#/proc/}
        if ! look_at "$pid" || ((PARENT != $1)); then continue; fi
        case ${2-} in
        leading) ((pid == GROUP)) || continue ;;
        following) ((pid != GROUP)) || continue ;;
        esac
        echo "$pid"
    done
}

# --- needs: each prints why it fails ---

has() { command -v "$1" >/dev/null || { echo "needs $1"; return 1; }; }
can_root() { ((EUID == 0)) || { echo "needs root"; return 1; }; }
can_jq() { has jq; }
can_strace() {
    has strace || return 1
    strace -o /dev/null true 2>/dev/null || { echo "needs the permission to trace (ptrace)"; return 1; }
}
# No process of the server can be traced by its own user.
can_trace() { can_root && can_strace; }
can_mount() {
    can_root || return 1
    mkdir -p "$WORK/probe"
    mount -t tmpfs dfos-probe "$WORK/probe" 2>/dev/null || { echo "needs the permission to mount"; return 1; }
    umount "$WORK/probe"
}
can_ramfs() {
    can_mount || return 1
    mount -t ramfs dfos-probe "$WORK/probe" 2>/dev/null || { echo "needs ramfs in the kernel"; return 1; }
    umount "$WORK/probe"
}
can_ext4() {
    can_mount && has mkfs.ext4 || return 1
    truncate -s 8M "$WORK/probe.img"
    if ! { mkfs.ext4 -q -F "$WORK/probe.img" && mount -o loop "$WORK/probe.img" "$WORK/probe"; } 2>/dev/null; then
        echo "needs a loop device and ext4 in the kernel"
        return 1
    fi
    umount "$WORK/probe"
    rm "$WORK/probe.img"
}
can_ipv6() {
    grep -q '^00000000000000000000000000000001 ' /proc/net/if_inet6 2>/dev/null || { echo "needs ::1"; return 1; }
}
can_pty() {
    has script || return 1
    script -qec true /dev/null </dev/null >/dev/null 2>&1 || { echo "needs a pseudo-terminal"; return 1; }
}
# A check of a file's mode means nothing as root: it needs somebody else to be.
can_setpriv() { can_root && has setpriv; }

# --- servers ---

# give PATH...: to whom a server runs as that root starts; what a check puts into a storage by hand is given too.
give() {
    ((EUID == 0)) || return 0
    chmod go+x "$WORK"
    chown -Rh nobody: "$@"
}

# start_server [OPTION...]: a server of its own on a free port. Sets SERVER_PID, URL, PORT, LOG. UNDER holds words before
# it, such as strace and its options; STORAGE and USERS may be set before.
start_server() {
    local out line control=(--control none) # the usual one is the machine's
    if [[ " $* " == *' --control '* ]]; then control=(); fi
    STORAGE=${STORAGE:-$WORK/storage}
    USERS=${USERS:-$WORK/users}
    if [[ ! -e $USERS ]]; then
        cp "$ROOT/id_passwd.txt" "$USERS"
        chmod 600 "$USERS"
    fi
    give "$USERS"
    LOG=$WORK/server.log
    out=$WORK/server.out
    : >"$out"
    "${UNDER[@]}" "$BIN/dfos-forkd" --listen "$SCHEME://127.0.0.1:0" --state-dir "$WORK/state" \
        --dir "$STORAGE" --users "$USERS" --max-penalty 0 "${control[@]}" "$@" >"$out" 2>>"$LOG" &
    SERVER_PID=$!
    eventually "the server to listen" listens "$out"
    read -r line <"$out"
    URL=${line#listening }
    PORT=${URL##*:}
    note_server "$SERVER_PID"
}
UNDER=()
# tls for scripts that use dfos-client alone.
SCHEME=tcp
# The keys of servers that a test's clients meet are nobody else's.
export XDG_STATE_HOME=$WORK/client-state

listens() {
    grep -q '^listening ' "$1" || ! gone "$SERVER_PID" || fail "the server did not start"
    grep -q '^listening ' "$1"
}

# stop_server [SIGNAL]: ends the server as Ctrl+C does; it must exit with status 0 and leave nobody.
stop_server() {
    local family status=0 pid=$SERVER_PID
    family=$(children_of "$pid")
    SERVER_PID=''
    kill "-${1:-INT}" "$pid"
    wait "$pid" || status=$?
    equal "the server's exit status" 0 "$status"
    for pid in $family; do
        eventually "process $pid of the server to end" gone "$pid"
    done
}

# The scribe is the one child that is always there; it leads the process group of the sessions.
scribe() { children_of "$SERVER_PID" leading; }

# Pids of the sessions.
sessions() { children_of "$SERVER_PID" following; }

# --- the raw protocol ---

# connect: opens a connection, hears the greeting. The descriptor is in RAW.
connect() {
    exec {RAW}<>"/dev/tcp/127.0.0.1/$PORT"
    hear
    matches "the greeting" "OK dfos/1 *" "$LINE"
}

# login [USER PASSWORD]: connects as well. The session's pid is in SESSION.
login() {
    local before
    before=$(sessions)
    connect
    SESSION=$(comm -13 <(sort <<<"$before") <(sessions | sort) | head -n 1)
    expect "OK welcome *" LOGIN "${1:-alice}" "${2:-secret}"
}

hang_up() { exec {RAW}>&-; }

# say WORD...: sends one line.
say() { printf '%s\n' "$*" >&"$RAW"; }

# hear: takes one line of the server into LINE, skipping WAIT.
hear() {
    while true; do
        LINE=
        IFS= read -r -t 20 -u "$RAW" LINE || { [[ -n $LINE ]] || fail "the server said nothing more"; }
        [[ $LINE == WAIT* ]] || return 0
    done
}

# ends: the server closes, having said nothing more.
ends() {
    local status=0
    IFS= read -r -t 20 -u "$RAW" LINE || status=$?
    ((status == 1)) || fail "the connection is still open; the server said '$LINE'"
}

# expect PATTERN WORD...: sends a line; the answer must match.
expect() {
    local pattern=$1
    shift
    say "$@"
    hear
    matches "the answer to $*" "$pattern" "$LINE"
}

# upload NAME CONTENT PATTERN [OPTION...]: a small upload in one go; its last answer must match.
upload() {
    local name=$1 content=$2 pattern=$3
    shift 3
    printf 'UPLOAD %s size=%s%s\nDATA %s\n%sEND\n' "$name" "${#content}" "${*:+ $*}" "${#content}" "$content" >&"$RAW"
    hear
    if [[ $LINE == READY* ]]; then hear; fi
    matches "the answer to UPLOAD $name" "$pattern" "$LINE"
}

# content NAME EXPECTED: what a download gives.
content() {
    local length got='' piece
    say "DOWNLOAD $1"
    hear
    matches "the answer to DOWNLOAD $1" "READY size=*" "$LINE"
    while true; do
        hear
        [[ $LINE == DATA* ]] || break
        length=${LINE#DATA }
        piece=$(head -c "$length" <&"$RAW"; echo .)
        got+=${piece%.}
    done
    matches "the end of DOWNLOAD $1" "END sha256=*" "$LINE"
    equal "the content of $1" "$2" "$got"
}
