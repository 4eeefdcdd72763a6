#!/bin/bash
# Makes the Debian package: ./scripts/package.sh [--dev] [DIRECTORY]; prints where it is. Needs cargo-deb, and installs it below target/
# where it is missing.
#
# --dev packs the programs of 'cargo build', which is quick, for tests of the package.
set -euo pipefail

cd "$(dirname "$0")/.."
profile=release
more=()
case ${1-} in
--dev)
    profile=debug
    shift
    ;;
-*)
    echo "usage: scripts/package.sh [--dev] [DIRECTORY]" >&2
    exit 2
    ;;
esac
out=$(realpath -m "${1:-target/debian}")
export CARGO_TARGET_DIR=$PWD/target
export PATH=$PATH:$CARGO_TARGET_DIR/tools/bin
if ! cargo deb --version >/dev/null 2>&1; then
    echo "installing cargo-deb" >&2
    cargo install --locked --quiet --debug --root target/tools cargo-deb@3.8.0 >&2
fi

if [[ $profile == release ]]; then
    cargo build --locked --release --bins
    cargo build --locked --release --example manuals
else
    cargo build --locked --quiet --bins --example manuals
    more+=(--profile dev --fast --no-strip)
fi

# What is generated. Archives and manuals bear no time, so that the same source makes the same package.
made=target/package
rm -rf "$made"
mkdir -p "$made"/{man,bash,zsh,fish} "$out"
"target/$profile/examples/manuals" "$made/man"
for page in "$made"/man/*; do
    section=${page##*.}
    mkdir -p "$made/man$section"
    gzip -9n <"$page" >"$made/man$section/${page##*/}.gz"
done
for program in dfos-forkd dfos-client; do
    "target/$profile/$program" completions bash >"$made/bash/$program"
    "target/$profile/$program" completions zsh >"$made/zsh/_$program"
    "target/$profile/$program" completions fish >"$made/fish/$program.fish"
done
cargo deb --locked --quiet --no-build "${more[@]}" --output "$out"
