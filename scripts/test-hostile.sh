#!/bin/bash
# The second speaker of the protocol, in Python: hostile clients against the server, hostile servers against the client.
# DFOS_TEST_LONG=1 runs the long sweeps as well; arguments name single files of tests/speaker.
set -euo pipefail

HERE=$(cd "$(dirname "$0")" && pwd)
export DFOS_BIN=${DFOS_BIN:-$HERE/../target/debug}
export DFOS_SERVER=unix:/nonexistent/no-default-server LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
unset DFOS_PASSWORD

if ! command -v python3 >/dev/null; then
    echo "  skipped: the second speaker (needs python3)"
    echo "0 passed, 0 failed, 1 skipped"
    exit 0
fi
exec python3 "$HERE/../tests/speaker/run.py" "$@"
