#!/bin/bash
# Makes the Debian package: ./scripts/package.sh [DIRECTORY]; tells where it is. Needs cargo-deb, and installs it where it is missing.
set -euo pipefail

cd "$(dirname "$0")/.."
out=$(realpath -m "${1:-target/debian}")
export CARGO_TARGET_DIR=$PWD/target
if ! cargo deb --version >/dev/null 2>&1; then
    echo "installing cargo-deb" >&2
    cargo install --locked --quiet cargo-deb
fi

cargo build --locked --release --bins
rm -rf target/package
mkdir -p target/package/{man1,man5,man7,man8,bash,zsh,fish} "$out"
cargo run --locked --quiet --example manuals -- target/package/man
for page in target/package/man/*; do
    gzip -9n <"$page" >"target/package/man${page##*.}/${page##*/}.gz"
done
for program in dfos-forkd dfos-client; do
    "target/release/$program" completions bash >"target/package/bash/$program"
    "target/release/$program" completions zsh >"target/package/zsh/_$program"
    "target/release/$program" completions fish >"target/package/fish/$program.fish"
done
cargo deb --locked --no-build --output "$out"
