#!/bin/bash
# What a session asks the kernel for after its login: names below directories that it holds open, and nothing else.
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

traced() { ! grep -q '^TracerPid:[[:space:]]*0$' "/proc/$SESSION/status"; }

# Every verb that touches the tree, each at the top and below a directory.
every_verb() {
    expect "OK created" MKDIR d
    expect "OK created" MKDIR d/e/f parents
    upload top 'at the top' "OK *"
    upload d/e/file 'below' "OK *"
    upload d/e/file 'once more' "OK *"
    upload d/e/file 'taken' "ERR exists *" new
    content d/e/file 'once more'
    expect "OK type=file *" STAT d/e/file
    expect "OK size=* sha256=*" DIGEST d/e/file
    expect "ERR bad-request *" DOWNLOAD d/e/file offset=100
    expect "READY *" UPLOAD d/e/again resume
    expect "OK size=1 *" $'FROM 0\nDATA 1\nxEND'
    expect "OK renamed" RENAME d/e/file d/moved
    expect "OK renamed" RENAME top d/moved replace
    expect "ERR not-found *" LIST none
    say LIST . recursive
    until [[ $LINE == OK* ]]; do hear; done
    expect "OK deleted" DELETE d/moved
    upload d/e/lost 'to be had back' "OK *"
    expect "OK deleted id=*" DELETE d/e/lost trash
    expect "OK restored path=d/again/lost" TRASH restore "${LINE#*id=}" to=d/again/lost
    expect "OK removed=1 id=*" RMDIR d/again recursive trash
    say TRASH list
    LINE=
    until [[ $LINE == OK* ]]; do hear; done
    expect "OK emptied entries=1" TRASH empty
    expect "OK used=*" QUOTA
    expect "OK removed=1" RMDIR d/e/f
    expect "OK removed=*" RMDIR d recursive
}

names_below_held_directories() {
    local trace=$WORK/trace tracer strays
    login
    strace -f -p "$SESSION" -o "$trace" -e trace=%file,%desc 2>/dev/null &
    tracer=$!
    eventually "strace to hold the session" traced
    every_verb
    kill "$tracer"
    wait "$tracer" || true
    grep -q 'openat2(' "$trace" || fail "no openat2 was seen"
    # No path from the top, none from the working directory, none that climbs, and no openat2 that would follow a link.
    strays=$(grep -E 'AT_FDCWD|[(,] ?"/|"\.\./[^"]' "$trace" || true)
    equal "calls with a path of their own" "" "$strays"
    strays=$(grep 'openat2(' "$trace" | grep -v 'RESOLVE_NO_SYMLINKS' || true)
    equal "calls of openat2 that follow links" "" "$strays"
    # Everything else names one component.
    strays=$(grep -E '^[0-9]+ +(mkdirat|unlinkat|renameat2?|linkat|symlinkat|openat|newfstatat|statx)\(' "$trace" | grep -E '"[^"]+/[^"]*"' || true)
    equal "calls with more than one component" "" "$strays"
    # Modes, times and attributes through descriptors alone.
    strays=$(grep -E '^[0-9]+ +(chmod|fchmodat2?|chown|lchown|fchownat|l?setxattr|l?removexattr|utimes?|truncate)\(' "$trace" || true)
    equal "changes by name" "" "$strays"
    strays=$(grep -E '^[0-9]+ +utimensat\([0-9]+, "' "$trace" || true)
    equal "times set by name" "" "$strays"
}

start_server --trash 30d
check "after its login a session names only what lies below directories that it holds open" names_below_held_directories trace
finish
