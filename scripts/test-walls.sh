#!/bin/bash
# After login a session names files by descriptor alone: strace sees no absolute path and none relative to a working directory,
# whatever it is asked to do. On a start as root and on one without.
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

TRACE=$WORK/trace

# Everything that a session can be asked, once.
all_verbs() {
    login
    expect "OK created" MKDIR a
    expect "OK created" MKDIR a/b/c parents
    upload a/b/one 'one' "OK size=3 *"
    upload a/b/one 'once more' "OK size=9 *"
    upload a/two 'two' "OK size=3 *" new
    upload a/none/x 'x' "ERR not-found *"
    content a/b/one 'once more'
    content a/two 'two'
    expect "OK *" STAT a/b/one
    expect "INFO *" HELP PING
    hear
    expect "OK *sha256=*" DIGEST a/b/one
    expect "OK used=*" QUOTA
    expect "READY *" VIEW a/b/one
    hear
    head -c 9 <&"$RAW" >/dev/null
    hear
    say LIST a recursive
    until [[ $LINE == OK\ entries=* ]]; do hear; done
    expect "OK renamed*" RENAME a/b/one a/moved
    expect "OK renamed*" RENAME a/moved a/two replace
    expect "OK deleted" DELETE a/two
    expect "ERR over-quota *" UPLOAD big size=90000000
    expect "OK *" RMDIR a recursive
    # One that breaks off, and is continued by the next session.
    printf 'UPLOAD half size=10\nDATA 5\nhello' >&"$RAW"
    hear
    hang_up
    eventually "the session to end" idle
    login
    say UPLOAD half size=10 resume
    hear
    matches READY "READY offset=5 *" "$LINE"
    printf 'FROM 5\nDATA 5\nworldEND\n' >&"$RAW"
    hear
    matches "the end of a resumed upload" "OK size=10 *" "$LINE"
    expect "OK bye" LOGOUT
    hang_up
}
idle() { [[ -z $(sessions) ]]; }

# What the sessions asked the kernel for after their second layer. The first who chroots is the child that tries the layers at start.
after_login() {
    awk '/ chroot\("\."\) += 0$/ { if (!probe) probe = $1; inside[$1] = $1 != probe; next }
        inside[$1] && !/^[0-9]+ +(---|\+\+\+)/' "$TRACE"
}

by_descriptor() {
    local bad
    UNDER=(strace -D -f -s 300 -o "$TRACE" -e "trace=%file,fchdir" -e signal=none "$@")
    start_server --quota 1MB
    all_verbs
    stop_server
    bad=$(after_login | grep -E 'AT_FDCWD|[(,] *"/|fchdir|chroot' | head -n 3) || true
    equal "calls by a path of the session's own" "" "$bad"
    (($(after_login | wc -l) > 60)) || fail "the trace shows next to nothing"
    rm -rf "$TRACE" "$STORAGE"
}

as_root() { by_descriptor; }

without_root() {
    # The program may lie where only root can go.
    install -m 755 "$BIN/dfos-forkd" "$WORK/dfos-forkd"
    install -d -o nobody "$WORK/theirs"
    BIN=$WORK STORAGE=$WORK/theirs/storage
    USERS=$WORK/theirs/users
    install -o nobody -m 600 "$ROOT/id_passwd.txt" "$USERS"
    by_descriptor setpriv --reuid=65534 --regid=65534 --clear-groups
}

check "started as root: every file is named by a descriptor" as_root trace
check "started without root: the same" without_root trace setpriv
finish
