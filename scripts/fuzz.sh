#!/bin/bash
# Fuzzes the parsers: ./scripts/fuzz.sh [SECONDS [TARGET...]]: each target for SECONDS (60), or those named.
#
# Needs cargo-fuzz (`cargo install --locked cargo-fuzz`) and g++. No nightly compiler: RUSTC_BOOTSTRAP lets the stable one take the
# flags, and it brings its own AddressSanitizer. What is found lies in fuzz/artifacts/TARGET; put it into fuzz/corpus/TARGET
# once it is mended, and `cargo test --test corpus` keeps it. The seeds there are written by hand; what a run finds of use
# besides stays out of the repository (fuzz/.gitignore).
set -euo pipefail

cd "$(dirname "$0")/.."
seconds=${1:-60}
shift $(($# > 0 ? 1 : 0))
for tool in cargo-fuzz g++; do
    command -v "$tool" >/dev/null || { echo "fuzz.sh needs $tool (see the head of this script)" >&2; exit 2; }
done
if (($# > 0)); then targets=("$@"); else mapfile -t targets < <(cd fuzz/fuzz_targets && printf '%s\n' *.rs | sed 's/\.rs$//'); fi

export RUSTC_BOOTSTRAP=1
unset CARGO_TARGET_DIR
cargo fuzz build
status=0
for target in "${targets[@]}"; do
    log=$(mktemp)
    if cargo fuzz run "$target" -- -max_total_time="$seconds" -max_len=4096 -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 >"$log" 2>&1; then
        echo "$target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") executions, nothing found"
    else
        status=1
        echo "$target: FAILED"
        tail -n 40 "$log"
    fi
    rm -f "$log"
done
exit $status
