#!/bin/bash
# Breaks what can be broken here, and counts what is lost: ./scripts/torture.sh [--full] [--times N] [--seed N] [--record FILE] [PART...]
#
# The short run takes some minutes, --full hours. Seeds are printed: the same seed does the
# same again. An unknown PART lists them all. docs/RELIABILITY.md tells what each tries, and what came of the last full run.
set -euo pipefail

cd "$(dirname "$0")/.."
unset DFOS_USER DFOS_PASSWORD
export DFOS_CONFIG=none
export DFOS_FORKD_CONFIG=none # nothing of this machine's own
export PATH=$PATH:/usr/sbin:/sbin
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
exec cargo test --locked --quiet --test torture -- "$@"
