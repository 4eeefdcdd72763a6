#!/bin/bash
# All tests: ./scripts/test.sh [--long]
#
# Builds, then runs the Rust tests and, beside them, every scripts/test-*.sh: both wait more than they work. As root it installs the few
# Debian packages that the tests need; otherwise it says what is missing. What is skipped is named with its reason, and a skip without
# a good one fails.
set -euo pipefail

cd "$(dirname "$0")/.."
export DFOS_TEST_LONG=
case ${1-} in
'') ;;
--long) DFOS_TEST_LONG=1 ;;
*)
    echo "usage: scripts/test.sh [--long]" >&2
    exit 2
    ;;
esac
unset DFOS_USER DFOS_PASSWORD
export DFOS_CONFIG=none
export PATH=$PATH:/usr/sbin:/sbin # where mkfs lies; an ordinary user's path does not lead there
export DFOS_SERVER=unix:/nonexistent/no-default-server
export CARGO_TARGET_DIR=$PWD/target
export DFOS_BIN=$CARGO_TARGET_DIR/debug

# Everything here lies in one directory, which vanishes with this script; the scripts do the same for what they start.
OUT=$(mktemp -d "${TMPDIR:-/tmp}/dfos-test-all.XXXXXX")
chmod 711 "$OUT" # some tests are another user for a while
export TMPDIR=$OUT
RUNNING='' # the group of processes of the step that this shell runs
LANE=''    # the shell that runs steps beside this one
end_step() {
    [[ -n $RUNNING ]] || return 0
    kill -TERM -- "-$RUNNING" 2>/dev/null || true # its own trap cleans up
    wait "$RUNNING" 2>/dev/null || true
    kill -KILL -- "-$RUNNING" 2>/dev/null || true
}
clean_up() {
    local status=$?
    trap '' INT TERM
    if [[ -n $LANE ]]; then kill -TERM "$LANE" 2>/dev/null || true; fi
    end_step
    wait
    rm -rf --one-file-system "$OUT"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# What the tests use beyond Rust, a C compiler and what every Debian has: command, package.
tools() {
    cat <<'END'
strace strace
jq jq
script bsdutils
setpriv util-linux
mkfs.ext4 e2fsprogs
shellcheck shellcheck
python3 python3
mandoc mandoc
logrotate logrotate
adduser adduser
pgrep procps
ip iproute2
losetup mount
END
}

missing=$(tools | while read -r tool package; do command -v "$tool" >/dev/null || echo "$package"; done)
if [[ -n $missing ]]; then
    # shellcheck disable=SC2086 # several words
    if ((EUID == 0)) && command -v apt-get >/dev/null; then
        echo "installing:" $missing
        export DEBIAN_FRONTEND=noninteractive
        { apt-get install -y --no-install-recommends $missing ||
            { apt-get update && apt-get install -y --no-install-recommends $missing; }; } >"$OUT/apt" 2>&1 ||
            { echo "could not install:" $missing; tail -n 3 "$OUT/apt"; }
    else
        echo "for all tests install these Debian packages:" $missing
    fi
fi

COUNTS=$OUT/counts # a line a step: how many passed, failed, were skipped
SKIPS=$OUT/skips
FAILURES=$OUT/failures
: >"$COUNTS"
: >"$SKIPS"
: >"$FAILURES"

# step COMMAND...: runs a command in a process group of its own; its output is in $LOG, how long it took in $TOOK.
LOG=$OUT/log
step() {
    local status=0 begin
    begin=$(date +%s%N)
    setsid "$@" >"$LOG" 2>&1 </dev/null &
    RUNNING=$!
    wait "$RUNNING" || status=$?
    RUNNING=''
    TOOK=$(printf '%.1f' "$((($(date +%s%N) - begin) / 10000000))e-2")
    return "$status"
}

# told NAME WHAT: the line for a step that has ended.
told() { printf '%-28s %6s s  %s\n' "$1" "$TOOK" "$2"; }

# counted NAME PASSED FAILED SKIPPED STATUS: the same with what is counted. A step that failed without a failed test is a failure too.
counted() {
    local name=$1 passed=$2 failed=$3 skipped=$4 status=$5
    told "$name" "$passed passed, $failed failed, $skipped skipped$([[ $status == ok ]] || echo "  FAILED")"
    if [[ $status != ok ]] && ((failed == 0)); then failed=1; fi
    echo "$passed $failed $skipped" >>"$COUNTS"
}

# --- one build for all ---

# The dev profile optimises enough to test with, and the Rust tests are built in it anyway.
if step cargo build --locked --all-targets; then
    told build ok
else
    told build FAILED
    cat "$LOG"
    exit 1
fi

# --- Rust ---

more=(-- --show-output)
if [[ -n $DFOS_TEST_LONG ]]; then more+=(--include-ignored); fi

# rust_tests NAME ARGUMENT...: runs cargo test.
rust_tests() {
    local name=$1 status passed failed skipped
    shift
    if step cargo test --locked --no-fail-fast "$@" "${more[@]}"; then status=ok; else status=FAILED; fi
    read -r passed failed < <(awk '/^test result:/ { passed += $4; failed += $6 } END { print passed + 0, failed + 0 }' "$LOG")
    # Tests that find out that they cannot run say `skipped: WHY`; the ignored ones are the long ones.
    skipped=$(grep -ac '^ *skipped: ' "$LOG") || true
    counted "$name" "$((passed - skipped))" "$failed" "$skipped" "$status"
    if [[ $status != ok ]]; then
        # Not what the others printed.
        awk '/^successes:$/ { quiet = 1 } /^(failures:|test result:|error)/ { quiet = 0 } !quiet && !/ \.\.\. ok$/' "$LOG" >>"$FAILURES"
    fi
    grep -a '^ *skipped: ' "$LOG" | sed "s/^ *skipped: /$name: /" >>"$SKIPS" || true
    awk '/^test .* \.\.\. ignored/ { print $2 }' "$LOG" >>"$OUT/long"
}
beside() {
    local LOG=$OUT/log-of-rust
    trap 'end_step; exit 143' TERM
    rust_tests "cargo test"
}
beside &
LANE=$!

# --- scripts, meanwhile ---

for script in scripts/test-*.sh; do
    if step "$script"; then status=ok; else status=FAILED; fi
    sum=$(grep -aE '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$LOG" | tail -n 1) || true
    read -r passed _ failed _ skipped _ <<<"${sum:-0 passed, 1 failed, 0 skipped}"
    counted "$script" "$passed" "$failed" "$skipped" "$status"
    if [[ -z $sum ]]; then echo "$script did not reach its end" >>"$FAILURES"; fi
    if [[ $status != ok ]]; then { echo "--- $script"; cat "$LOG"; } >>"$FAILURES"; fi
    grep -a '^  skipped: ' "$LOG" | sed "s|^  skipped: |$script: |" >>"$SKIPS" || true
    sed -n 's/^  long: //p' "$LOG" >>"$OUT/long"
done
wait "$LANE" || { echo "the Rust tests did not reach their end" >>"$FAILURES"; echo 0 1 0 >>"$COUNTS"; }
LANE=''

# --- the walls, from within ---

# Another build of the server: the last, so that all others have met the true one; then the true one is put back.
rust_tests "cargo test (hostile)" --features hostile --test walls
cargo build --locked --all-targets >"$LOG" 2>&1 || { cat "$LOG"; exit 1; }

# --- shellcheck ---

if command -v shellcheck >/dev/null; then
    if step shellcheck -x scripts/*.sh .ci/run; then
        counted shellcheck 1 0 0 ok
    else
        counted shellcheck 0 1 0 FAILED
        { echo "--- shellcheck"; cat "$LOG"; } >>"$FAILURES"
    fi
else
    echo 0 0 1 >>"$COUNTS"
    echo "shellcheck (needs shellcheck)" >>"$SKIPS"
fi

# --- what is left behind ---

left=$(find "$OUT" -mindepth 1 -maxdepth 1 -name 'dfos-*')
if [[ -n $left ]]; then
    echo 0 1 0 >>"$COUNTS"
    echo "left behind: $left" >>"$FAILURES"
fi

# --- the summary ---

if [[ -s $FAILURES ]]; then
    echo
    cat "$FAILURES"
fi
echo
if [[ -s $SKIPS ]]; then
    echo "skipped:"
    sort -u "$SKIPS" | sed 's/^/  /'
    # Root on a machine with the tools skips nothing for want of either.
    if ((EUID == 0)) && grep -q 'needs root' "$SKIPS"; then
        echo "  skipped for want of root, by root: that is a fault of the test"
        echo 0 1 0 >>"$COUNTS"
    fi
    while read -r tool _; do
        if command -v "$tool" >/dev/null && grep -qE "\(needs $tool\)" "$SKIPS"; then
            echo "  skipped for want of $tool, which is there: that is a fault of the test"
            echo 0 1 0 >>"$COUNTS"
        fi
    done < <(tools)
fi
if [[ -s $OUT/long && -z $DFOS_TEST_LONG ]]; then
    echo "left to --long:"
    sort -u "$OUT/long" | sed 's/^/  /'
fi
read -r passed failed skipped < <(awk '{ p += $1; f += $2; s += $3 } END { print p + 0, f + 0, s + 0 }' "$COUNTS")
echo "$passed passed, $failed failed, $skipped skipped"
((failed == 0))
