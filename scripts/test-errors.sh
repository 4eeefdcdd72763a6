#!/bin/bash
# What a session says, and keeps whole, when the file system fails it: full and read-only mounts, and errors that strace
# puts in the place of a system call's result.
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

FAULT=''

# with_fault FAULT [OPTION...]: until heal, the session's system calls fail as strace's inject option FAULT says. (A flush
# runs in a thread of its own, and strace counts `when` a thread.)
with_fault() {
    local fault=$1
    shift
    strace -f -p "$SESSION" -o "$WORK/fault.$SESSION" -e "trace=${fault%%:*}" -e "inject=$fault" "$@" 2>/dev/null &
    FAULT=$!
    eventually "strace to hold the session" traced
}
traced() { ! grep -q '^TracerPid:[[:space:]]*0$' "/proc/$SESSION/status"; }

# The call failed, and strace lets the session go.
heal() {
    kill "$FAULT"
    wait "$FAULT" || true
    grep -qE 'INJECTED|DELAYED' "$WORK/fault.$SESSION" || fail "the fault never came"
}

# in_one_stroke REQUESTS: sends them so that the session has them all at once.
in_one_stroke() { printf '%s' "$1" | dd bs=64k status=none >&"$RAW"; }

# answered WHAT PATTERN: READY to an upload, and then its answer, which must match.
answered() {
    hear
    matches READY "READY *" "$LINE"
    hear
    matches "$1" "$2" "$LINE"
}

# The session goes on, its old file is as it was, and nothing unfinished stays behind.
unharmed() {
    expect "OK pong*" PING
    content old 'as it was'
    equal "files left in staging" "" "$(ls -A "$STORAGE/alice/.dfos/uploads")"
}

# --- real mounts ---

disk_full() {
    login
    upload small/old 'as it was' "OK *"
    say UPLOAD small/big size=8000000
    hear
    matches "an announced size beyond the disk" "ERR no-space *disk is full*" "$LINE"
    say UPLOAD small/big
    hear
    matches READY "READY offset=0" "$LINE"
    { printf 'DATA 1000000\n'; head -c 1000000 /dev/zero; } >&"$RAW"
    { printf 'DATA 1000000\n'; head -c 1000000 /dev/zero; printf 'END\n'; } >&"$RAW"
    hear
    matches "a disk that fills up" "ERR no-space *disk is full*" "$LINE"
    expect "OK pong*" PING
    content small/old 'as it was'
    say UPLOAD small/fits size=100000
    { printf 'DATA 100000\n'; head -c 100000 /dev/zero; printf 'END\n'; } >&"$RAW"
    hear
    hear
    matches "an upload that fits: what failed takes no room" "OK size=100000 *" "$LINE"
}

no_inodes() {
    login
    local i
    for i in {1..40}; do
        say MKDIR "inodes/$i"
        hear
        [[ $LINE == "OK created" ]] || break
    done
    matches "MKDIR without inodes" "ERR no-space *disk is full*" "$LINE"
    upload inodes/x x "ERR no-space *"
    for i in {1..4}; do expect "OK removed=1" RMDIR "inodes/$i"; done
    upload inodes/x x "OK size=1 *"
}

read_only() {
    login
    upload fixed/new 1 "ERR read-only *read-only*"
    upload fixed/old 1 "ERR read-only *"
    expect "ERR read-only *" MKDIR fixed/dir
    expect "OK *" MKDIR fixed/there parents
    expect "ERR read-only *" DELETE fixed/old
    expect "ERR read-only *" RENAME fixed/old fixed/other
    content fixed/old 'read me'
    expect "OK *sha256=*" DIGEST fixed/old
}

mount_in_tree() {
    login
    expect "OK *" MKDIR second/deep/er parents
    say UPLOAD second/deep/er/part
    hear
    printf 'DATA 4\npart' >&"$RAW"
    eventually "the staged bytes at the top of the mount" staged_in "$STORAGE/alice/second/.dfos/uploads"
    say END
    hear
    matches "an upload into the mount" "OK size=4 *" "$LINE"
    upload home 1 "OK *"
    expect "ERR cross-device *" RENAME home second/home
    expect "ERR cross-device *" RENAME home second/home replace
    expect "OK renamed" RENAME second/deep/er/part second/part
    content home 1
    # What is in it goes, the mount itself stays: it is not the user's to remove.
    expect "ERR busy *in use*" RMDIR second recursive
    expect "OK pong*" PING
    expect "OK entries=0 *" LIST second
}
# Each mount has a trash of its own, since nothing is renamed between two; the notes of all lie in one.
trash_of_a_mount() {
    local there
    login
    expect "OK *" MKDIR second/place parents
    upload second/place/there 'on the second disk' "OK *"
    upload at-home 'at home' "OK *"
    expect "OK deleted id=*" DELETE second/place/there trash
    there=${LINE#*id=}
    expect "OK deleted id=*" DELETE at-home trash
    test -e "$STORAGE/alice/second/.dfos/trash/$there" || fail "it does not lie on its own mount"
    test -e "$STORAGE/alice/.dfos/trash/$there.note" || fail "its note does not lie with the others"
    expect "ERR busy *in use*" RMDIR second recursive trash
    expect "ERR cross-device *" TRASH restore "$there" to=there
    in_trash 2
    # A disk that is away takes its things with it, and brings them back.
    mount -t tmpfs dfos-cover "$STORAGE/alice/second"
    give "$STORAGE/alice/second"
    in_trash 1
    expect "ERR not-found *disk*" TRASH restore "$there"
    expect "OK emptied entries=1" TRASH empty
    umount "$STORAGE/alice/second"
    in_trash 1
    expect "OK restored path=second/place/there" TRASH restore "$there"
    content second/place/there 'on the second disk'
    expect "OK removed=1 id=*" RMDIR second/place recursive trash
    expect "OK emptied entries=1" TRASH empty "${LINE#*id=}"
    equal "what is left on the mount" "" "$(find "$STORAGE/alice/second/.dfos/trash" -mindepth 1)"
}
in_trash() {
    local n=0
    say TRASH list
    hear
    while [[ $LINE == TRASHED* ]]; do
        n=$((n + 1))
        hear
    done
    matches "the trash" "OK entries=$1" "$LINE"
    equal "things in the trash" "$1" "$n"
}
staged_in() { [[ -n $(find "$1" -type f -size +0 2>/dev/null) ]]; }

without_attributes() {
    login
    upload plain/file 'no attributes' "OK size=13 *" new
    upload plain/file 'no attributes' "ERR exists *" new
    content plain/file 'no attributes'
    content plain/file 'no attributes'
    expect "OK renamed" RENAME plain/file plain/moved
    expect "ERR exists *" RENAME plain/moved plain/moved
    expect "OK *sha256=*" DIGEST plain/moved
}

on_ext4() {
    login
    mkdir "$STORAGE/alice/disk/there"
    mount -o remount,ro "$STORAGE/alice/disk"
    expect "ERR read-only *" MKDIR disk/there/new parents
    expect "OK *" MKDIR disk/there parents
    mount -o remount,rw "$STORAGE/alice/disk"
    rmdir "$STORAGE/alice/disk/there"
    upload disk/file 'a disk of its own' "OK size=17 *"
    content disk/file 'a disk of its own'
    expect "ERR cross-device *" RENAME disk/file file
    expect "OK deleted" DELETE disk/file
}

# An ext4 whose journal has stopped says that all is flushed which it has lost, and refuses the next change.
stopped_journal() {
    login
    upload disk/old 'as it was' "OK *"
    expect "OK *" MKDIR disk/made
    with_fault fsetxattr:error=EROFS -P "$STORAGE/alice/disk"
    upload disk/old 'all of it' "ERR uncertain *"
    expect "ERR uncertain *" MKDIR disk/made-now
    expect "ERR uncertain *" RENAME disk/made disk/moved
    expect "ERR uncertain *" RMDIR disk/moved
    expect "ERR uncertain *" DELETE disk/old
    heal
    expect "OK removed=1" RMDIR disk/made-now
}

# A server that is not root, and files that root keeps to itself.
not_mine() {
    local storage=$WORK/theirs USERS=$WORK/their-users
    chmod 711 "$WORK"
    install -d -o 65534 -g 65534 "$storage"
    install -o 65534 -g 65534 -m 600 "$ROOT/id_passwd.txt" "$USERS"
    install -d -o 65534 -g 65534 "$storage/alice"
    install -m 600 /dev/null "$storage/alice/secret"
    install -d -m 700 "$storage/alice/closed"
    install -d -m 755 "$storage/alice/open"
    install -m 644 /dev/null "$storage/alice/open/file"
    # The program may lie where only root can go.
    install -m 755 "$BIN/dfos-forkd" "$WORK/dfos-forkd"
    BIN=$WORK STORAGE=$storage UNDER=(setpriv --reuid=65534 --regid=65534 --clear-groups)
    start_server
    login
    expect "ERR denied *owner or mode*" DOWNLOAD secret
    expect "ERR denied *" VIEW secret
    expect "ERR denied *" LIST closed
    expect "ERR denied *" DOWNLOAD closed/x
    expect "ERR denied *" DELETE open/file
    expect "ERR denied *" MKDIR open/dir
    expect "ERR denied *" RENAME open/file file
    upload open/file 1 "ERR denied *"
    upload secret 'mine now' "OK size=8 *"
    content secret 'mine now'
    say LIST . recursive
    hear
    while [[ $LINE == ENTRY* ]]; do hear; done
    matches "the end of the listing" "OK entries=* skipped=1" "$LINE"
    hang_up
    stop_server
}

# --- injected errors ---

# fault FAULT PATTERN: while FAULT holds, an upload over the old file is refused as PATTERN says.
fault() {
    login
    upload old 'as it was' "OK *"
    with_fault "$1"
    upload old 'something else' "$2"
    heal
    unharmed
    upload after 'it goes on' "OK *"
}

quota_on_write() { fault write:error=EDQUOT:when=1 "ERR over-quota *disk quota*"; }
space_on_write() { fault write:error=ENOSPC:when=1 "ERR no-space *disk is full*"; }
disk_on_write() { fault write:error=EIO:when=1 "ERR io-error *input/output error*"; }
size_on_write() { fault write:error=EFBIG:when=1 "ERR too-large *"; }
disk_on_flush() { fault fsync:error=EIO:when=1 "ERR io-error *input/output error*"; }
# What arrived is hashed as it is read back: what a failing disk has lost is not the client's fault.
disk_on_hash() {
    local other
    other=$(printf other | sha256sum | cut -d' ' -f1)
    login
    upload old 'as it was' "OK *"
    expect "READY *" UPLOAD old
    printf 'DATA 2\nhiEND sha256=%s\n' "$other" >&"$RAW"
    hear
    matches "a digest that does not fit" "ERR checksum-mismatch *" "$LINE"
    with_fault fsync:error=EIO:when=1
    expect "READY *" UPLOAD old
    printf 'DATA 2\nhiEND sha256=%s\n' "$other" >&"$RAW"
    hear
    matches "the same on a disk that fails" "ERR io-error *" "$LINE"
    heal
    unharmed
}
space_on_flush() { fault fsync:error=ENOSPC:when=1 "ERR no-space *"; }
quota_on_rename() { fault renameat:error=EDQUOT "ERR over-quota *"; }
disk_on_rename() { fault renameat:error=EIO "ERR io-error *"; }
files_on_open() { fault openat2:error=EMFILE "ERR busy *too many files*"; }
all_files_on_open() { fault openat2:error=ENFILE "ERR busy *too many files*"; }
read_only_on_open() { fault openat2:error=EROFS:when=2 "ERR read-only *"; }
name_on_open() { fault openat2:error=ENAMETOOLONG "ERR name-too-long *"; }
denied_on_open() { fault openat2:error=EACCES "ERR denied *owner or mode*"; }
interrupted_write() {
    login
    upload old 'as it was' "OK *"
    with_fault write:error=EINTR:when=1
    upload other 'something else' "OK size=14 *"
    heal
    content other 'something else'
}

# The rename is made, the flush of its directory fails: old or new, whole, and nobody claims to know which.
uncertain_name() {
    login
    upload old 'as it was' "OK *"
    with_fault fsync:error=EIO -P "$STORAGE/alice"
    upload old 'all of it' "ERR uncertain *"
    heal
    content old 'all of it'
    upload old 'as it was' "OK *"
    unharmed
}

uncertain_changes() {
    login
    upload old 'as it was' "OK *"
    upload dead 1 "OK *"
    expect "OK *" MKDIR gone parents
    with_fault fsync:error=EIO
    expect "ERR uncertain *" MKDIR made
    expect "ERR uncertain *" DELETE dead
    expect "ERR uncertain *" RENAME made moved
    expect "ERR uncertain *" RMDIR gone
    heal
    expect "OK removed=1" RMDIR moved
    unharmed
}

# Of uploads in one stroke into two directories those are uncertain whose directory is.
uncertain_directory() {
    local i requests=''
    login
    upload old 'as it was' "OK *"
    expect "OK *" MKDIR left
    expect "OK *" MKDIR right
    with_fault fsync:error=EIO -P "$STORAGE/alice/left"
    for i in {1..10}; do requests+="UPLOAD left/$i"$'\nDATA 2\nhiEND\n'"UPLOAD right/$i"$'\nDATA 2\nhiEND\n'; done
    in_one_stroke "$requests"
    for i in {1..10}; do
        answered "answer $i of the left" "ERR uncertain *"
        answered "answer $i of the right" "OK size=2 *"
    done
    heal
    unharmed
}

# The uploads on their way hold descriptors: who needs one waits for them.
few_descriptors() {
    local i requests=''
    login
    upload old 'as it was' "OK *"
    with_fault openat2:error=EMFILE:when=6
    for i in {1..10}; do requests+="UPLOAD $i"$'\nDATA 2\nhiEND\n'; done
    in_one_stroke "$requests"
    for i in {1..10}; do answered "answer $i" "OK size=2 *"; done
    heal
    unharmed
}

# Without threads all is done by the one that there is.
no_threads() {
    login
    upload old 'as it was' "OK *"
    with_fault clone:error=EAGAIN
    upload other 'something else' "OK size=14 *"
    expect "OK *" MKDIR made
    say UPLOAD long size=3000000
    { printf 'DATA 1000000\n'; head -c 1000000 /dev/zero; } >&"$RAW"
    { printf 'DATA 1000000\n'; head -c 1000000 /dev/zero; } >&"$RAW"
    { printf 'DATA 1000000\n'; head -c 1000000 /dev/zero; printf 'END\n'; } >&"$RAW"
    hear
    hear
    matches "a long one" "OK size=3000000 sha256=$(head -c 3000000 /dev/zero | sha256sum | cut -d' ' -f1)" "$LINE"
    heal
    unharmed
}

# Two flushes one after the other, each too short to speak up: together they are not.
slow_disk() {
    login
    upload old 'as it was' "OK *"
    with_fault fsync:delay_enter=2900000
    say UPLOAD slow size=2
    printf 'DATA 2\nhiEND\n' >&"$RAW"
    hear
    matches READY "READY *" "$LINE"
    IFS= read -r -t 20 -u "$RAW" LINE
    equal "the line while it lasts" WAIT "$LINE"
    hear
    matches "the answer" "OK size=2 *" "$LINE"
    heal
    unharmed
}

# waits_for WHAT PATTERN: a WAIT within ten seconds, and then the answer.
waits_for() {
    IFS= read -r -t 10 -u "$RAW" LINE || fail "$1: silence"
    equal "$1: the line while it lasts" WAIT "$LINE"
    hear
    matches "$1" "$2" "$LINE"
}

# Nobody between the two ends, and no client, gives up on a request that takes long: hashing, and deleting a tree.
long_work() {
    local i
    login
    upload old 'as it was' "OK *"
    mkdir -p "$STORAGE/alice/tree"
    for i in {1..12}; do : >"$STORAGE/alice/tree/$i"; done
    head -c 3000000 /dev/zero >"$STORAGE/alice/large"
    give "$STORAGE/alice/tree" "$STORAGE/alice/large"
    with_fault unlinkat:delay_enter=550000
    say RMDIR tree recursive
    waits_for "deleting" "OK *"
    heal
    with_fault pread64,read:delay_enter=550000
    say DIGEST large
    waits_for "hashing" "OK *"
    heal
    rm "$STORAGE/alice/large"
    unharmed
}

# Of ten uploads in one stroke none is answered OK when the one flush for all fails.
flush_of_a_batch() {
    local i requests=''
    login
    upload old 'as it was' "OK *"
    with_fault syncfs,fsync:error=EIO
    for i in {1..10}; do requests+=$'UPLOAD old\nDATA 5\nhelloEND\n'; done
    in_one_stroke "$requests"
    for i in {1..10}; do answered "answer $i" "ERR io-error *"; done
    heal
    unharmed
}

# RENAME_NOREPLACE as FUSE and NFS answer it.
no_noreplace() {
    login
    upload old 'as it was' "OK *"
    with_fault renameat2:error=EINVAL
    upload fresh 1 "OK *" new
    upload fresh 2 "ERR exists *" new
    expect "ERR exists *" RENAME fresh old
    expect "OK renamed" RENAME fresh fresher
    expect "OK deleted" DELETE fresher
    heal
    unharmed
}

no_attributes() {
    login
    with_fault fsetxattr,fgetxattr:error=EOPNOTSUPP
    upload old 'as it was' "OK *"
    content old 'as it was'
    expect "OK size=9 *" DIGEST old
    heal
    unharmed
}

# A disk that fails under a download: ABORT with what was good, never invented bytes, and the session goes on.
disk_on_read() {
    local length
    login
    printf '%s' "$(head -c 300000 /dev/zero | tr '\0' x)" >"$STORAGE/alice/plain"
    with_fault pread64:error=EIO:when=2
    say DOWNLOAD plain
    hear
    matches READY "READY size=300000 *" "$LINE"
    hear
    while [[ $LINE == DATA* ]]; do
        length=${LINE#DATA }
        equal "bytes that are not the file's" 0 "$(head -c "$length" <&"$RAW" | tr -d x | wc -c)"
        hear
    done
    matches "the end of the body" "ABORT io-error good=$length *" "$LINE"
    heal
    expect "OK pong*" PING
}

disk_on_sendfile() {
    login
    say UPLOAD big
    { printf 'DATA 1000000\n'; head -c 1000000 /dev/zero; printf 'END\n'; } >&"$RAW"
    hear
    hear
    matches "an upload" "OK size=1000000 *" "$LINE"
    with_fault sendfile:error=EIO
    say DOWNLOAD big
    hear
    hear
    matches "the piece" "DATA 1000000" "$LINE"
    equal "the bytes owed" 1000000 "$(head -c 1000000 <&"$RAW" | wc -c)"
    hear
    matches "the end of the body" "ABORT io-error good=0 *" "$LINE"
    heal
    expect "OK pong*" PING
    expect "OK deleted" DELETE big
}

# No session can be forked: the client is told so, and the next one is served.
no_fork() {
    UNDER=(strace -D -f -o "$WORK/fork" -e "inject=clone,clone3,fork:error=EAGAIN:when=4")
    start_server
    exec {RAW}<>"/dev/tcp/127.0.0.1/$PORT"
    hear
    if [[ $LINE == OK* ]]; then # the count differs by how the libraries fork at start-up
        exec {RAW}<>"/dev/tcp/127.0.0.1/$PORT"
        hear
    fi
    matches "the refusal" "ERR busy *cannot start another session*" "$LINE"
    login
    expect "OK pong*" PING
    hang_up
    stop_server
}

start_server --trash 30d
if can_mount >/dev/null; then
    mkdir -p "$STORAGE/alice"/{small,inodes,fixed,second}
    mount -t tmpfs -o size=1m dfos-small "$STORAGE/alice/small"
    mount -t tmpfs -o size=1m,nr_inodes=12 dfos-inodes "$STORAGE/alice/inodes"
    mount -t tmpfs -o size=1m dfos-fixed "$STORAGE/alice/fixed"
    mkdir "$STORAGE/alice/fixed/there"
    printf 'read me' >"$STORAGE/alice/fixed/old"
    give "$STORAGE/alice"
    mount -o remount,ro "$STORAGE/alice/fixed"
    mount -t tmpfs -o size=8m dfos-second "$STORAGE/alice/second"
    give "$STORAGE/alice/second"
fi
if can_ramfs >/dev/null; then
    mkdir -p "$STORAGE/alice/plain"
    mount -t ramfs dfos-ram "$STORAGE/alice/plain"
    give "$STORAGE/alice/plain"
fi
if can_ext4 >/dev/null; then
    mkdir -p "$STORAGE/alice/disk"
    truncate -s 8M "$WORK/disk.img"
    mkfs.ext4 -q -F "$WORK/disk.img"
    mount -o loop "$WORK/disk.img" "$STORAGE/alice/disk"
    give "$STORAGE/alice/disk"
fi
check "a full disk is no-space, and what failed takes no room" disk_full mount
check "no inodes left is no-space" no_inodes mount
check "a read-only mount is read-only, and can be read" read_only mount
check "a mount in a user's tree has a trash of its own" trash_of_a_mount mount
check "a mount in a user's tree: staged at its top, cross-device from outside, not removed" mount_in_tree mount
check "a tree that is deleted for long, and a file that is hashed for long, are not silent either" long_work trace
check "a file system without extended attributes serves as well" without_attributes ramfs
check "a disk of its own in a user's tree (ext4)" on_ext4 ext4
check "an ext4 that has stopped is not believed when it says flushed" stopped_journal ext4 trace
check "files that are not the server's are denied" not_mine setpriv
awk -v storage="$STORAGE/" 'index($2, storage) == 1 { print $2 }' /proc/mounts | while read -r point; do
    umount "$point"
    rmdir "$point"
done

check "EDQUOT while writing is over-quota; the old file stays, the session goes on" quota_on_write trace
check "ENOSPC while writing is no-space" space_on_write trace
check "EIO while writing is io-error" disk_on_write trace
check "EFBIG while writing is too-large" size_on_write trace
check "EINTR while writing is nothing" interrupted_write trace
check "EIO in the flush is io-error; what was staged is gone" disk_on_flush trace
check "what a disk has lost before it was hashed is io-error, not checksum-mismatch" disk_on_hash trace
check "ENOSPC in the flush is no-space" space_on_flush trace
check "EDQUOT in the rename is over-quota" quota_on_rename trace
check "EIO in the rename is io-error" disk_on_rename trace
check "EMFILE is busy" files_on_open trace
check "ENFILE is busy" all_files_on_open trace
check "EROFS is read-only" read_only_on_open trace
check "ENAMETOOLONG is name-too-long" name_on_open trace
check "EACCES is denied" denied_on_open trace
check "a flush of the directory that fails after the rename is uncertain: new, whole" uncertain_name trace
check "MKDIR, DELETE, RENAME, RMDIR whose flush fails are uncertain" uncertain_changes trace
check "a failed flush fails the whole batch" flush_of_a_batch trace
check "of uploads to two directories those are uncertain whose directory is" uncertain_directory trace
check "without descriptors left an upload waits for those before it" few_descriptors trace
check "without threads everything works" no_threads trace
check "a slow disk is not silent for long" slow_disk trace
check "without RENAME_NOREPLACE, new and RENAME still refuse a taken name" no_noreplace trace
check "without extended attributes digests are right" no_attributes trace
check "EIO while reading is an ABORT with what was good" disk_on_read trace
check "EIO in sendfile is an ABORT with io-error" disk_on_sendfile trace
check "a fork that fails is busy, and the next one is served" no_fork trace
finish
