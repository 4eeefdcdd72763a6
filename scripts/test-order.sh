#!/bin/bash
# An OK is a promise: strace sees each change, its data and the directories that hold it on the way to the disk before
# the answer leaves the server.
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

TRACE=$WORK/trace
CALLS=write,pwrite64,writev,ftruncate,fsync,fdatasync,sync,syncfs,rename,renameat,renameat2,link,linkat,unlink,unlinkat
CALLS+=,mkdir,mkdirat,rmdir,sendto,sendmsg

# What a session did, one step a line: calls by what they touch, in the order in which they ended. A call that began before
# another one had ended would be no order at all, and is told as OVERLAP. $1: the first line of the trace to look at.
steps() {
    tail -n "+$1" "${2:-$TRACE}" | awk -v storage="$STORAGE" '
        function name(text) {
            gsub(storage "/", "", text); sub(storage, "storage", text)
            gsub(/[^ ]*\.dfos\/trash\/[0-9a-f]+-[0-9a-f]+\.note/, "note", text)
            gsub(/[^ ]*\.dfos\/trash\/[0-9a-f]+-[0-9a-f]+/, "trashed", text)
            gsub(/[^ ]*\.dfos\/uploads\/[0-9a-f]+\.[0-9a-f]+\.[-0-9]+/, "staged", text)
            return text
        }
        # The path of a descriptor as strace -y shows it, and the quoted name that follows.
        function target(text, named,    dir, file) {
            match(text, /<[^>]*>/); dir = substr(text, RSTART + 1, RLENGTH - 2)
            text = substr(text, RSTART + RLENGTH)
            if (!named) return name(dir)
            match(text, /"[^"]*"/); file = substr(text, RSTART + 1, RLENGTH - 2)
            rest = substr(text, RSTART + RLENGTH)
            return name(dir "/" file)
        }
        # Whether a call concerns the files or makes the client a promise: neither the log matters, nor a READY.
        function matters(text) { return index(text, "<" storage) || index(text, "<TCP") && said(text) != "" }
        # The first words of the lines that a call sends, of those that promise something.
        function said(text,    all, words, n, i) {
            match(text, /"([^"\\]|\\.)*"/); text = substr(text, RSTART + 1, RLENGTH - 2)
            n = split(text, words, /\\n/); all = ""
            for (i = 1; i <= n; i++) {
                if (words[i] ~ /^(READY.*|OK pong|)$/) continue
                sub(/ .*/, "", words[i]); all = all " " words[i]
            }
            return all
        }
        function tell(call, text, result,    step, from) {
            if (!matters(text)) return
            if (call ~ /^send/) step = "say" said(text)
            else if (call ~ /^rename/) { from = target(text, 1); step = "rename " from " " target(rest, 1) }
            else if (call ~ /^mkdir/) step = "mkdir " target(text, 1)
            else if (call ~ /^unlink/) step = (text ~ /AT_REMOVEDIR/ ? "rmdir " : "unlink ") target(text, 1)
            else if (call == "syncfs") step = "syncfs"
            else step = call " " target(text, 0)
            if (result ~ /^ *= -1/) step = step " FAILED"
            if (step != last || step !~ /^write/) print step
            last = step
        }
        { pid = $1; sub(/^[0-9]+ +/, "") }
        /^(---|\+\+\+)/ { next }
        /<unfinished \.\.\.>$/ {
            call = $0; sub(/\(.*/, "", call); text = $0; sub(/<unfinished \.\.\.>$/, "", text)
            begun[pid] = text; if (matters(text)) { for (other in open) print "OVERLAP " call " " open[other]; open[pid] = call }
            next
        }
        /^<\.\.\. / {
            call = $2; result = $0; sub(/.*\) += /, " = ", result)
            delete open[pid]; tell(call, begun[pid], result); next
        }
        /^[a-z0-9_]+\(/ {
            call = $0; sub(/\(.*/, "", call); text = $0; sub(/^[a-z0-9_]+/, "", text)
            result = $0; sub(/.*\) += /, " = ", result)
            if (matters(text)) for (other in open) print "OVERLAP " call " " open[other]
            tell(call, text, result)
        }'
}

# Follows each upload through the trace, however calls of several threads overlap: a call counts from the line where it begins to the
# line where it ends. Before a rename begins a flush of the data has ended that began after the last write; before the answer goes
# out a flush of the directory has ended that began after the rename. The answers come in the order of TARGETS, a file of names.
# $1: the first line of the trace to look at; $2: TARGETS; $3: the trace.
keeps_promise() {
    tail -n "+$1" "${3:-$TRACE}" | awk -v storage="$STORAGE/" -v targets="$2" '
        function bad(why) { print why; failed = 1; exit 1 }
        # The path that follows a descriptor, or the one below a directory that is named after it.
        function path(text, named,    dir, file) {
            match(text, /<[^>]*>/); dir = substr(text, RSTART + 1, RLENGTH - 2); rest = substr(text, RSTART + RLENGTH)
            if (!named) return dir
            match(rest, /"[^"]*"/); file = substr(rest, RSTART + 1, RLENGTH - 2); rest = substr(rest, RSTART + RLENGTH)
            return dir "/" file
        }
        function begins(pid, call, text,    from, words, n, i) {
            since[pid] = NR; what[pid] = text
            if (call ~ /^rename/) {
                from = path(text, 1)
                if (from ~ /\.dfos\/uploads\// && !(from in written && flushed[from])) bad(from " took its name before its data was flushed")
            } else if (call ~ /^send/ && text ~ /<TCP/) {
                match(text, /"([^"\\]|\\.)*"/); n = split(substr(text, RSTART + 1, RLENGTH - 2), words, /\\n/)
                for (i = 1; i <= n; i++) if (words[i] ~ /^OK size=/) {
                    if ((getline target < targets) <= 0) bad("more answers than uploads")
                    if (!durable[storage target]) bad(target " was answered before its directory was flushed")
                    answered++
                }
            }
        }
        function ends(pid, call, result,    text, to, from, name) {
            text = what[pid]
            if (result !~ /^ *= -1/ && result !~ /^ *= \?/) {
                if (call ~ /^p?write/) { written[path(text, 0)] = NR; flushed[path(text, 0)] = 0 }
                else if (call ~ /^f(data)?sync$/) { flush(path(text, 0), since[pid]) }
                else if (call == "syncfs") { for (name in written) if (written[name] < since[pid]) flushed[name] = 1 }
                else if (call ~ /^rename/) {
                    from = path(text, 1); to = path(rest, 1); renamed[to] = NR; delete written[from]
                    name = to; sub(/\/[^\/]*$/, "", name); inside[name] = inside[name] "\n" to
                }
            }
        }
        function flush(name, begun,    i, n, names, left) {
            if (name in written && written[name] < begun) flushed[name] = 1
            n = split(inside[name], names, "\n"); left = ""
            for (i = 2; i <= n; i++) if (renamed[names[i]] < begun) durable[names[i]] = 1; else left = left "\n" names[i]
            inside[name] = left
        }
        { pid = $1; sub(/^[0-9]+ +/, "") }
        /^(---|\+\+\+)/ { next }
        /^<\.\.\. / { call = $2; result = $0; sub(/.*\) += /, " = ", result); overlaps++; ends(pid, call, result); next }
        /^[a-z0-9_]+\(/ {
            call = $0; sub(/\(.*/, "", call); text = $0; sub(/^[a-z0-9_]+/, "", text)
            begins(pid, call, text)
            if (text !~ /<unfinished \.\.\.>$/) { result = $0; sub(/.*\) += /, " = ", result); ends(pid, call, result) }
        }
        END {
            if (!failed && (getline target < targets) > 0) { print "no answer for " target; failed = 1 }
            if (!failed) print answered " answered, " overlaps + 0 " calls overlapped"
            exit failed
        }'
}

# Notes where the trace stands, once it holds all that was answered so far: a PING's answer after it.
mark() {
    local pings
    pings=$(grep -c '"OK pong' "$TRACE") || true
    expect "OK pong*" PING
    eventually "the trace to hold the PING" pinged $((pings + 1))
    MARK=$(($(wc -l <"$TRACE") + 1))
}
pinged() { (($(grep -c '"OK pong' "$TRACE") >= $1)); }

# The steps since `mark`, once the trace has caught up with the answer.
since_mark() {
    eventually "the trace of the answer" answered
    steps "$MARK"
}
answered() { steps "$MARK" | grep -q '^say'; }

# shows WHAT STEPS: exactly these.
shows() { equal "$1" "$2" "$(since_mark)"; }

first_login() {
    connect
    mark
    expect "OK welcome bob*" LOGIN bob builder
    shows "the steps of a first login" $'mkdir bob\nfsync storage\nsay OK'
}

first_upload() {
    login
    mark
    upload first hello "OK size=5 *"
    shows "the steps of the first upload into a tree" "mkdir alice/.dfos
fsync alice
mkdir alice/.dfos/uploads
fsync alice/.dfos
write staged
fsync staged
rename staged alice/first
fsync alice
say OK"
}

new_upload() {
    login
    mark
    upload new hello "OK size=5 *" new
    shows "the steps of a new upload" $'write staged\nfsync staged\nrename staged alice/new\nfsync alice\nsay OK'
}

over_old() {
    login
    mark
    upload first 'another hello' "OK size=13 *"
    shows "the steps of an upload over an old file" \
        $'write staged\nfsync staged\nrename staged alice/first\nfsync alice\nsay OK'
    content first 'another hello'
}

# 20 uploads into two directories in one stroke.
batch() {
    local i requests='' steps
    login
    expect "OK created" MKDIR left
    expect "OK created" MKDIR right
    mark
    for i in {1..10}; do
        requests+=$(printf 'UPLOAD left/%s\nDATA 5\nhelloEND\nUPLOAD right/%s\nDATA 5\nworldEND\n.' "$i" "$i")
        requests=${requests%.}
    done
    printf '%s' "$requests" >&"$RAW"
    for i in {1..20}; do
        hear
        matches "answer $i of the batch" "READY *" "$LINE"
        hear
        matches "answer $i of the batch" "OK size=5 *" "$LINE"
    done
    steps=$(since_mark)
    grep -q OVERLAP <<<"$steps" && fail "calls overlap: $steps"
    # One batch or more, as the bytes arrived: in each all data is flushed, then all names, then the directories once.
    awk '
        function bad(why) { print why " at line " NR ": " $0; failed = 1; exit 1 }
        $1 == "write" { if (phase > 1 && phase < 4) bad("data after a rename and before the answer"); phase = 1; written++ ; next }
        $1 == "syncfs" { if (phase != 1 && phase != 2) bad("a flush out of turn"); phase = 2; flushed = written; next }
        $1 == "fsync" && $2 == "staged" { if (phase != 1 && phase != 2) bad("a flush out of turn"); phase = 2; flushed++; next }
        $1 == "rename" { if (phase != 2 && phase != 3) bad("a rename before the flush"); phase = 3; renamed++; delete known; next }
        $1 == "fsync" { if (phase != 3 && phase != 3.5) bad("a directory out of turn"); phase = 3.5
                        if ($2 in known) bad("a directory twice"); known[$2]; directories++; next }
        $1 == "say" { if (phase == 1 && /OK/) bad("an answer before the flush")
                      if (phase == 3) bad("an answer before the directories"); phase = 4; next }
        { bad("an unknown step") }
        END { if (!failed && (renamed != 20 || directories < 2)) bad(renamed " renames, " directories " directories") }
    ' <<<"$steps" || fail "the order of the batch is broken: $steps"
    equal "renames before the last of the answers" 20 "$(grep -c '^rename staged ' <<<"$steps")"
}

# So many uploads that they are received while others are flushed. Their trace stays in $WORK/overlapping, for `not_blind`.
overlapping() {
    local i said targets=$WORK/targets
    login
    expect "OK created" MKDIR here
    expect "OK created" MKDIR there
    mark
    for i in {1..900}; do
        printf 'UPLOAD here/%s\nDATA 5\nhelloEND\nUPLOAD there/%s\nDATA 5\nworldEND\n' "$i" "$i"
    done >"$WORK/requests"
    for i in {1..900}; do printf 'alice/here/%s\nalice/there/%s\n' "$i" "$i"; done >"$targets"
    cat "$WORK/requests" >&"$RAW" &
    for i in {1..1800}; do
        hear
        matches "answer $i" "READY *" "$LINE"
        hear
        matches "answer $i" "OK size=5 *" "$LINE"
    done
    wait $!
    expect "OK pong*" PING
    eventually "the trace of all answers" all_answered
    tail -n "+$MARK" "$TRACE" >"$WORK/overlapping"
    said=$(keeps_promise 1 "$targets" "$WORK/overlapping") || fail "$said"
    echo "    $said"
    matches "what was said" "1800 answered, *" "$said"
    [[ $said != *" 0 calls overlapped" ]] || fail "nothing was received while something was flushed"
    (($(grep -c 'syncfs(.*= 0' "$WORK/overlapping") < 20)) || fail "there were $(grep -c 'syncfs(' "$WORK/overlapping") flushes"
}
all_answered() { (($(tail -n "+$MARK" "$TRACE" | grep -o 'OK size=' | wc -l) >= 1800)) && pinged 1; }

make_dir() {
    login
    mark
    expect "OK created" MKDIR dir
    shows "the steps of MKDIR" $'mkdir alice/dir\nfsync alice\nsay OK'
}

make_parents() {
    login
    mark
    expect "OK created" MKDIR a/b/c parents
    shows "the steps of MKDIR parents" \
        $'mkdir alice/a\nmkdir alice/a/b\nmkdir alice/a/b/c\nfsync alice\nfsync alice/a\nfsync alice/a/b\nsay OK'
}

# Ten directories in one stroke.
make_many() {
    local i requests='' expected=$'mkdir alice/many'
    login
    mark
    for i in {0..9}; do
        requests+="MKDIR many/$i parents"$'\n'
        expected+=$'\n'"mkdir alice/many/$i"
    done
    printf '%s' "$requests" >&"$RAW"
    for i in {0..9}; do
        hear
        equal "answer $i" "OK created" "$LINE"
    done
    shows "the steps of ten MKDIRs" "$expected"$'\nfsync alice\nfsync alice/many\nsay OK OK OK OK OK OK OK OK OK OK'
}

rename_across() {
    login
    expect "OK *" MKDIR from/x parents
    expect "OK *" MKDIR to parents
    mark
    expect "OK renamed" RENAME from/x to/y
    shows "the steps of RENAME" $'rename alice/from/x alice/to/y\nfsync alice/to\nfsync alice/from\nsay OK'
    upload one 1 "OK *"
    upload to/two 2 "OK *"
    mark
    expect "OK renamed" RENAME one to/two replace
    shows "the steps of RENAME replace" $'rename alice/one alice/to/two\nfsync alice/to\nfsync alice\nsay OK'
}

delete() {
    login
    upload dead 1 "OK *"
    mark
    expect "OK deleted" DELETE dead
    shows "the steps of DELETE" $'unlink alice/dead\nfsync alice\nsay OK'
}

trash() {
    login
    upload lost 1 "OK *"
    expect "OK *" MKDIR deep/er parents
    upload deep/er/lost 2 "OK *"
    mark
    expect "OK deleted id=*" DELETE lost trash
    shows "the steps of the first DELETE to the trash" "mkdir alice/.dfos/trash
fsync alice/.dfos
write note
fsync note
fsync alice/.dfos/trash
rename alice/lost trashed
fsync alice/.dfos/trash
fsync alice
say OK"
    mark
    expect "OK deleted id=*" DELETE deep/er/lost trash
    shows "the steps of DELETE to the trash" "write note
fsync note
fsync alice/.dfos/trash
rename alice/deep/er/lost trashed
fsync alice/.dfos/trash
fsync alice/deep/er
say OK"
    local id=${LINE#*id=}
    expect "OK removed=1" RMDIR deep/er
    expect "OK removed=1" RMDIR deep
    mark
    expect "OK restored path=deep/er/lost" TRASH restore "$id"
    shows "the steps of TRASH restore" "mkdir alice/deep
mkdir alice/deep/er
fsync alice
fsync alice/deep
rename trashed alice/deep/er/lost
fsync alice/deep/er
fsync alice/.dfos/trash
unlink note
say OK"
    mark
    expect "OK emptied entries=1" TRASH empty
    shows "the steps of TRASH empty" $'unlink trashed\nunlink note\nfsync alice/.dfos/trash\nsay OK'
}

remove_dir() {
    login
    expect "OK *" MKDIR empty/inner parents
    mark
    expect "OK removed=1" RMDIR empty/inner
    shows "the steps of RMDIR" $'rmdir alice/empty/inner\nfsync alice/empty\nsay OK'
}

remove_tree() {
    login
    expect "OK *" MKDIR tree/branch parents
    upload tree/branch/leaf 1 "OK *"
    mark
    expect "OK removed=3" RMDIR tree recursive
    shows "the steps of RMDIR recursive" \
        $'unlink alice/tree/branch/leaf\nrmdir alice/tree/branch\nrmdir alice/tree\nfsync alice\nsay OK'
}

# The eye that sees all this is not blind: the same steps without a flush, or out of turn, are told apart.
not_blind() {
    local seen spoil
    login
    mark
    upload seen hello "OK *"
    seen=$(since_mark)
    for spoil in '/fsync.*uploads/d' '/ fsync\([0-9]+<[^>]*alice>/d'; do
        sed -E "$MARK,\$ { $spoil }" "$TRACE" >"$WORK/spoiled"
        [[ $(steps "$MARK" "$WORK/spoiled") != "$seen" ]] || fail "a missing flush ($spoil) was not noticed"
    done
    # Of many at once: no flush of data, none of one of the directories, and each flush only begun when it should have ended.
    for spoil in '/syncfs/d; /fsync\(.*uploads/d' '/ fsync\([0-9]+<[^>]*here>/d' 's/(syncfs|fsync)(.*) = 0$/\1\2 = -1 EIO/'; do
        sed -E "$spoil" "$WORK/overlapping" >"$WORK/spoiled"
        ! keeps_promise 1 "$WORK/targets" "$WORK/spoiled" >/dev/null || fail "of many, a missing flush ($spoil) was not noticed"
    done
}

if can_trace >/dev/null; then
    # -D: the server stays this script's own child.
    UNDER=(strace -D -f -yy -s 100000 -o "$TRACE" -e "trace=$CALLS" -e signal=none)
fi
start_server --trash 30d
check "a user's root is durable before the welcome" first_login trace
check "the reserved directories are durable before they are used" first_upload trace
check "UPLOAD new: data, flush, name, flush of the directory, OK" new_upload trace
check "UPLOAD over an old file: the same" over_old trace
check "20 uploads in one stroke: all data, all names, each directory once, then the answers" batch trace
check "1,800 uploads, received while others are flushed: each is durable before its OK" overlapping trace
check "MKDIR: name, flush of the parent, OK" make_dir trace
check "MKDIR parents: each directory is flushed into its parent, from the top down" make_parents trace
check "ten MKDIRs in one stroke: each directory is flushed once" make_many trace
check "RENAME between directories: both are flushed" rename_across trace
check "DELETE: name, flush, OK" delete trace
check "DELETE to the trash: note, flush, name, flush of both directories, OK" trash trace
check "RMDIR: name, flush of the parent, OK" remove_dir trace
check "RMDIR recursive: all names, flush of the parent, OK" remove_tree trace
check "a missing flush would be noticed" not_blind trace
finish
