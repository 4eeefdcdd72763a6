#!/bin/bash
# Memory does not grow with files: a session and a client need the same for 64 MiB as for a file beyond 4 GiB, both ways.
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

export DFOS_PASSWORD=secret DFOS_USER=alice
SMALL=$((64 << 20)) LARGE=$((4608 << 20)) # 4.5 GiB
KIB_MORE=1024

# Room for two copies: the server's and the one that comes back.
room() { (($(df --output=avail -k "$1" 2>/dev/null | tail -n 1) > (2 * LARGE >> 10) + 1000000)); }
can_room() {
    [[ -n $PLACE ]] || { echo "needs $((2 * LARGE >> 30)) GiB of free space in ${TMPDIR:-/tmp} or in memory"; return 1; }
}
can_memory_figures() { grep -q '^VmHWM:' /proc/self/status || { echo "needs VmHWM in /proc"; return 1; }; }

PLACE=''
if room "$WORK"; then PLACE=$WORK; fi
cd "$WORK"

peak() { awk '/^VmHWM:/ { print $2 }' "/proc/$1/status" 2>/dev/null || true; }
pss() { awk '/^Pss:/ { print $2 }' "/proc/$1/smaps_rollup" 2>/dev/null || true; }

# watched WORD...: runs the client, watching it and its session. Leaves the highest figures, in KiB.
watched() {
    local client figure
    CLIENT_PEAK=0 SESSION_PEAK=0 SESSION_PSS=0
    "$BIN/dfos-client" --server "$URL" -q "$@" &
    client=$!
    while look_at "$client"; do
        figure=$(peak "$client")
        if ((${figure:-0} > CLIENT_PEAK)); then CLIENT_PEAK=$figure; fi
        for pid in $(sessions); do
            figure=$(peak "$pid")
            if ((${figure:-0} > SESSION_PEAK)); then SESSION_PEAK=$figure; fi
            figure=$(pss "$pid")
            if ((${figure:-0} > SESSION_PSS)); then SESSION_PSS=$figure; fi
        done
        sleep 0.05
    done
    wait "$client" || fail "dfos-client $*: exit status $?"
}

# alike WHAT SMALL LARGE
alike() {
    (($2 > 0 && $3 > 0)) || fail "$1 was not measured"
    (($3 - $2 < KIB_MORE)) || fail "$1: $2 KiB for the small file, $3 KiB for the large one"
}

both_ways() {
    local way small_client small_session small_pss
    # Data at both ends and in the middle, holes between.
    truncate -s "$SMALL" small
    truncate -s "$LARGE" large
    for file in small large; do
        head -c 100000 /dev/urandom | dd of=$file conv=notrunc status=none
        head -c 100000 /dev/urandom | dd of=$file conv=notrunc oflag=seek_bytes seek=$(($(stat -c %s $file) - 100000)) status=none
    done
    head -c 100000 /dev/urandom | dd of=large conv=notrunc oflag=seek_bytes seek=$(((4 << 30) - 50000)) status=none
    for way in put get; do
        if [[ $way == get ]]; then mkdir back && cd back; fi
        watched "$way" small
        small_client=$CLIENT_PEAK small_session=$SESSION_PEAK small_pss=$SESSION_PSS
        watched "$way" large
        echo "    $way: session ${small_session} KiB at most for 64 MiB, $SESSION_PEAK for 4.5 GiB" \
            "(its own share $small_pss and $SESSION_PSS); client $small_client and $CLIENT_PEAK"
        alike "the session's memory ($way)" "$small_session" "$SESSION_PEAK"
        alike "the client's memory ($way)" "$small_client" "$CLIENT_PEAK"
    done
    cmp ../small small
    cmp ../large large
    cmp ../large "$STORAGE/alice/large"
}

start_server
check "memory stays the same from 64 MiB to 4.5 GiB, and every byte arrives, up and down" both_ways room memory_figures
finish
