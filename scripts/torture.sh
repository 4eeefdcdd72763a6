#!/bin/bash
# Breaks what can be broken here, and counts what is lost: ./scripts/torture.sh [--full] [--times N] [--seed N] [--record FILE] [PART...]
#
# The short run takes some minutes and is a part of what every change goes through; --full takes hours. Seeds are printed: the same seed
# makes the same choices again. An unknown PART lists them all. docs/RELIABILITY.md tells what each tries, and what came of the last full run.
set -euo pipefail

cd "$(dirname "$0")/.."
unset DFOS_USER DFOS_PASSWORD
export DFOS_CONFIG=none
export DFOS_FORKD_CONFIG=none # nothing of this machine's own
export PATH=$PATH:/usr/sbin:/sbin
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}

# Everything lies in one directory, which vanishes with this script, also when it is broken off.
OUT=$(mktemp -d "${TMPDIR:-/tmp}/dfos-torture.XXXXXX")
chmod 711 "$OUT" # servers are another user
export TMPDIR=$OUT
RUN=''
clean_up() {
    local status=$?
    trap '' INT TERM HUP
    if [[ -n $RUN ]]; then
        kill -TERM -- "-$RUN" 2>/dev/null || true # it ends what it has started
        wait "$RUN" 2>/dev/null || true
    fi
    # Disks of broken-off runs, the inner ones first. A loop device that was told to take small requests gets its usual ones again.
    awk -v out="$OUT/" 'index($2, out) == 1 { print $1, $2 }' /proc/self/mounts | tac | while read -r device mounted; do
        umount -l "$mounted" || true
        [[ $device != /dev/loop* ]] || echo 0 >"/sys/block/${device#/dev/}/queue/max_sectors_kb" || true
    done
    rm -rf --one-file-system "$OUT"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

setsid cargo test --locked --quiet --test torture -- "$@" &
RUN=$!
wait "$RUN" || { status=$?; RUN=''; exit "$status"; }
RUN=''
