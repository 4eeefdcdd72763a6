#!/bin/bash
# DFOS beside its peers, on the same files, in one go: ./scripts/bench.sh [--quick] [--only 1,2,7] [--peers] [--help]
#
# Builds what is measured, then hands over to scripts/bench/ (Python 3, nothing but its standard library). DFOS_BIN names a
# directory with the release binaries and, below it, examples/, if they are built already.
set -euo pipefail

cd "$(dirname "$0")/.."
command -v python3 >/dev/null || { echo "scripts/bench.sh needs python3" >&2; exit 1; }
export PATH=$PATH:/usr/sbin:/sbin # where sshd, vsftpd, nginx and tc lie; an ordinary user's path does not lead there
case " $* " in
*' --peers '* | *' --help '* | *' -h '*) ;;
*)
    if [[ -z ${DFOS_BIN-} ]]; then
        export CARGO_TARGET_DIR=$PWD/target
        cargo build --locked --release --bins --examples
        DFOS_BIN=$CARGO_TARGET_DIR/release
    fi
    ;;
esac
export DFOS_BIN=${DFOS_BIN-}
export DFOS_FORKD_CONFIG=none # nothing of this machine's own
# No tracebacks of Python's own upon Ctrl+C, no compiled files in the tree.
exec python3 -B scripts/bench/main.py "$@"
