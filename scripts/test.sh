#!/bin/bash
# All tests: ./scripts/test.sh [--long]
#
# Builds, runs the Rust tests, then every scripts/test-*.sh. As root it installs the few Debian packages that the tests
# need; otherwise it says what is missing. What is skipped is named with its reason, and a skip without a good one fails.
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
RUNNING=''
clean_up() {
    local status=$?
    trap '' INT TERM
    if [[ -n $RUNNING ]]; then
        kill -TERM -- "-$RUNNING" 2>/dev/null || true # its own trap cleans up
        wait "$RUNNING" 2>/dev/null || true
        kill -KILL -- "-$RUNNING" 2>/dev/null || true
    fi
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

PASSED=0 FAILED=0 SKIPPED=0
SKIPS=$OUT/skips
FAILURES=$OUT/failures
: >"$SKIPS"
: >"$FAILURES"

# step NAME COMMAND...: runs a command in a process group of its own, one line for it; its output is shown if it fails.
step() {
    local name=$1 log=$OUT/log status=0 begin
    shift
    begin=$(date +%s%N)
    printf '%-28s ' "$name"
    setsid "$@" >"$log" 2>&1 </dev/null &
    RUNNING=$!
    wait "$RUNNING" || status=$?
    RUNNING=''
    printf '%6.1f s  ' "$((($(date +%s%N) - begin) / 10000000))e-2"
    return "$status"
}

# --- one build for all ---

# The dev profile optimises enough to test with, and the Rust tests are built in it anyway.
if step build cargo build --locked --all-targets; then
    echo ok
else
    echo FAILED
    cat "$OUT/log"
    exit 1
fi

# --- Rust ---

more=(-- --show-output)
if [[ -n $DFOS_TEST_LONG ]]; then more+=(--include-ignored); fi

# rust_tests NAME ARGUMENT...: runs cargo test.
rust_tests() {
    local name=$1 status passed failed skipped
    shift
    if step "$name" cargo test --locked --no-fail-fast "$@" "${more[@]}"; then status=ok; else status=FAILED; fi
    read -r passed failed < <(awk '/^test result:/ { passed += $4; failed += $6 } END { print passed + 0, failed + 0 }' "$OUT/log")
    # Tests that find out that they cannot run say `skipped: WHY`; the ignored ones are the long ones.
    skipped=$(grep -ac '^ *skipped: ' "$OUT/log") || true
    passed=$((passed - skipped))
    echo "$passed passed, $failed failed, $skipped skipped$([[ $status == ok ]] || echo "  FAILED")"
    PASSED=$((PASSED + passed)) FAILED=$((FAILED + failed)) SKIPPED=$((SKIPPED + skipped))
    if [[ $status != ok ]]; then
        if ((failed == 0)); then FAILED=$((FAILED + 1)); fi
        # Not what the others printed.
        awk '/^successes:$/ { quiet = 1 } /^(failures:|test result:|error)/ { quiet = 0 } !quiet && !/ \.\.\. ok$/' "$OUT/log" >>"$FAILURES"
    fi
    grep -a '^ *skipped: ' "$OUT/log" | sed "s/^ *skipped: /$name: /" >>"$SKIPS" || true
    awk '/^test .* \.\.\. ignored/ { print $2 }' "$OUT/log" >>"$OUT/long"
}
rust_tests "cargo test"

# --- scripts ---

for script in scripts/test-*.sh; do
    if step "$script" "$script"; then status=ok; else status=FAILED; fi
    sum=$(grep -aE '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$OUT/log" | tail -n 1) || true
    echo "${sum:-it did not reach its end}$([[ $status == ok ]] || echo "  FAILED")"
    read -r passed _ failed _ skipped _ <<<"${sum:-0 passed, 1 failed, 0 skipped}"
    PASSED=$((PASSED + passed)) FAILED=$((FAILED + failed)) SKIPPED=$((SKIPPED + skipped))
    if [[ $status != ok ]]; then
        if ((failed == 0)); then FAILED=$((FAILED + 1)); fi
        { echo "--- $script"; cat "$OUT/log"; } >>"$FAILURES"
    fi
    grep -a '^  skipped: ' "$OUT/log" | sed "s|^  skipped: |$script: |" >>"$SKIPS" || true
    sed -n 's/^  long: //p' "$OUT/log" >>"$OUT/long"
done

# --- the walls, from within ---

# Another build of the server: the last, so that all others have met the true one; then the true one is put back.
rust_tests "cargo test (hostile)" --features hostile --test walls
cargo build --locked --all-targets >"$OUT/log" 2>&1 || { cat "$OUT/log"; exit 1; }

# --- shellcheck ---

if command -v shellcheck >/dev/null; then
    if step shellcheck shellcheck -x scripts/*.sh .ci/run; then
        echo ok
        PASSED=$((PASSED + 1))
    else
        echo FAILED
        FAILED=$((FAILED + 1))
        { echo "--- shellcheck"; cat "$OUT/log"; } >>"$FAILURES"
    fi
else
    SKIPPED=$((SKIPPED + 1))
    echo "shellcheck (needs shellcheck)" >>"$SKIPS"
fi

# --- what is left behind ---

left=$(find "$OUT" -mindepth 1 -maxdepth 1 -name 'dfos-*')
if [[ -n $left ]]; then
    FAILED=$((FAILED + 1))
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
        FAILED=$((FAILED + 1))
    fi
    while read -r tool _; do
        if command -v "$tool" >/dev/null && grep -qE "\(needs $tool\)" "$SKIPS"; then
            echo "  skipped for want of $tool, which is there: that is a fault of the test"
            FAILED=$((FAILED + 1))
        fi
    done < <(tools)
fi
if [[ -s $OUT/long && -z $DFOS_TEST_LONG ]]; then
    echo "left to --long:"
    sort -u "$OUT/long" | sed 's/^/  /'
fi
echo "$PASSED passed, $FAILED failed, $SKIPPED skipped"
((FAILED == 0))
