#!/bin/bash
# dfos-client as people and programs use it: every command, every exit status that can be had here, trees, odd names, pipes,
# interrupted transfers, the shell.
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

cd "$WORK"
SCHEME=tls # what people use
export DFOS_PASSWORD=secret DFOS_USER=alice
client() { "$BIN/dfos-client" --server "$URL" "$@"; }

# exits STATUS COMMAND...: what it says is left in $WORK/out and $WORK/err.
exits() {
    local expected=$1 status=0
    shift
    "$@" >"$WORK/out" 2>"$WORK/err" </dev/null || status=$?
    ((status == expected)) || fail "$*: exit status $status instead of $expected, saying: $(tail -n 3 "$WORK/err")"
    if ((expected != 0)); then
        [[ -s $WORK/err ]] || fail "$*: exit status $status without a word"
    fi
    plain_text
}

# Nothing for terminals in a pipe: no escapes, no carriage returns, no bars.
plain_text() {
    if grep -qaE $'\e|\r' "$WORK/err"; then fail "escapes in a pipe: $(cat -v "$WORK/err")"; fi
}

# out EXPECTED: what the last command printed.
out() { equal "the output" "$1" "$(cat "$WORK/out")"; }

every_command() {
    mkdir -p every && cd every
    echo hello >a.txt
    exits 0 client ping
    exits 0 client known
    out "$URL sha256:$(sed -n 's/.*pin is sha256:\(.*\)/\1/p' "$LOG" | tail -n 1)"
    exits 0 client forget "$URL"
    exits 7 client forget "$URL"
    exits 0 client known
    out ''
    exits 0 client put a.txt
    exits 0 client ls
    out a.txt
    exits 0 client ls -l
    matches "a long listing" 'file * a.txt' "$(cat "$WORK/out")"
    exits 0 client view a.txt
    out hello
    exits 0 client view a.txt --offset 1 --length 3
    out ell
    exits 0 client stat a.txt
    grep -q 'a.txt' "$WORK/out" || fail "stat does not name the file"
    exits 0 client digest a.txt
    out "$(sha256sum a.txt)"
    exits 0 client mkdir d
    exits 0 client mkdir -p d/e/f
    exits 0 client mv a.txt d/
    exits 0 client ls -R
    equal "a recursive listing" $'d\nd/a.txt\nd/e\nd/e/f' "$(sort "$WORK/out")"
    exits 0 client get d/a.txt --to b.txt
    cmp a.txt b.txt
    exits 0 client rmdir d/e/f
    exits 8 client rmdir d
    exits 0 client rm --trash d/a.txt
    exits 7 client stat d/a.txt
    exits 0 client trash list
    matches "the trash" '*-* d/a.txt' "$(cat "$WORK/out")"
    exits 0 client trash restore d/a.txt
    exits 0 client rm --trash -r d
    exits 2 client trash empty
    exits 0 client trash restore d
    exits 0 client rm --trash d/a.txt
    exits 0 client trash empty --yes
    exits 7 client trash restore d/a.txt
    exits 0 client put a.txt --to d/a.txt
    exits 0 client rm d/a.txt
    exits 0 client rm -r --yes d
    exits 0 client quota
    exits 0 client passwd --new-password-command 'echo another'
    DFOS_PASSWORD=another exits 0 client passwd --new-password-command 'echo secret'
    exits 0 client bench --clients 2 --files 3 --size 1KiB..8KiB --json figures --html page
    grep -q 'every byte verified' "$WORK/out" || fail "bench says nothing of what it did: $(cat "$WORK/out")"
    grep -q '^{"v":1,"event":"bench",' figures || fail "no figures: $(head -c 200 figures)"
    tail -n 1 page | grep -qx '</html>' || fail "no page: $(tail -n 3 page)"
    exits 0 client ls
    out ''
    exits 0 client logout
    exits 0 client config show
    exits 0 client doctor
    exits 0 client completions bash
    exits 0 client help put
    exits 0 client help
    exits 0 client ls
    out ''
}

# The command named in the help text, and no other, are used here; the rest is seen to.
every_command_is_known() {
    local command
    "$BIN/dfos-client" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p' | while read -r command; do
        case $command in
        put | get | view | ls | rm | mkdir | rmdir | mv | stat | digest | quota | passwd | bench | ping | known | forget | subfolder | trash | config | doctor | completions) ;;
        logout | help | shell) ;;
        *) fail "no test uses the command $command" ;;
        esac
    done
}

old_words() {
    mkdir -p old && cd old
    echo old >o.txt
    exits 0 client upload o.txt
    exits 0 client preview o.txt
    out old
    exits 0 client list
    out o.txt
    exits 0 client dir
    out o.txt
    mkdir got
    exits 0 client download o.txt --dir got
    cmp o.txt got/o.txt
    exits 0 client subfolder create s
    exits 0 client rename o.txt s/p.txt
    exits 0 client subfolder delete --yes s
    exits 7 client delete o.txt
    exits 0 client exit
    exits 0 client quit
    exits 0 "$BIN/dfos-client" --ip 127.0.0.1 --port "$PORT" list
    out ''
}

statuses() {
    mkdir -p codes && cd codes
    echo x >x
    exits 2 client put
    exits 2 client frobnicate
    exits 2 client get .dfos/secret
    exits 3 "$BIN/dfos-client" --server tcp://127.0.0.1:1 --retries 0 ls
    exits 3 "$BIN/dfos-client" --retries 0 ls # no server named, and the environment's is nowhere
    DFOS_PASSWORD=wrong exits 5 client ls
    exits 5 client --user nobody ls
    exits 7 client get missing
    exits 7 client view missing
    exits 7 client ls missing
    exits 0 client put x
    exits 0 client mkdir d
    exits 8 client mkdir d
    exits 8 client mv d x
    exits 8 client get d
    exits 10 client put missing-here
    exits 10 client get x --to no/such/directory/x
    exits 14 client get x missing --dir "$PWD"
    exits 14 client rm x missing
    exits 2 client mkdir "$(printf 'n%.0s' {1..256})"
    exits 0 client rm -r --yes d
}

denied() {
    mkdir -p "$STORAGE/alice/fixed"
    mount -t tmpfs -o ro dfos-fixed "$STORAGE/alice/fixed"
    echo x >denied
    exits 6 client put denied --to fixed/x
    exits 6 client mkdir fixed/d
    umount "$STORAGE/alice/fixed"
    rmdir "$STORAGE/alice/fixed"
}

no_space() {
    mkdir -p "$STORAGE/alice/small"
    mount -t tmpfs -o size=1m dfos-small "$STORAGE/alice/small"
    give "$STORAGE/alice/small"
    head -c 3000000 /dev/zero >big
    exits 9 client put big --to small/big
    client put - --to small/big <big 2>/dev/null && fail "a full disk took a stream"
    exits 0 client ls small
    umount "$STORAGE/alice/small"
    rmdir "$STORAGE/alice/small"
}

over_quota() {
    local STORAGE=$WORK/limited
    start_server --quota 1MB
    head -c 2000000 /dev/zero >big
    exits 9 client put big
    head -c 600000 /dev/zero >fits
    exits 0 client put fits
    exits 0 client quota
    exits 9 client put fits --to one-too-many --retries 0
    stop_server
}

busy() {
    local STORAGE=$WORK/crowded
    start_server --max-clients 1
    exec {RAW}<>"/dev/tcp/127.0.0.1/$PORT" # takes the one place, and says nothing
    eventually "its session" has_sessions
    exits 3 client --retries 0 ls
    hang_up
    stop_server
}

has_sessions() { [[ -n $(sessions) ]]; }

# The whole server stands still: a time-out, not a wait for ever.
timed_out() {
    local STORAGE=$WORK/still
    start_server
    kill -STOP "$SERVER_PID"
    exits 13 client --timeout 1 --retries 0 ls
    kill -CONT "$SERVER_PID"
    stop_server
}

trees() {
    mkdir -p trees && cd trees
    mkdir -p tree/{empty,deep/er/still}
    local i
    for i in {1..40}; do head -c $((i * 977)) /dev/urandom >"tree/deep/file $i"; done
    : >tree/nothing
    head -c 5000000 /dev/urandom >tree/deep/er/still/big
    touch -d '2020-02-02 02:02:02' tree/nothing
    exits 0 client put -r tree
    exits 0 client get -r tree --dir serial
    diff -r tree serial/tree
    exits 0 client put -r -j 4 tree --to copy/
    exits 0 client get -r -j 4 copy/tree --to parallel
    diff -r tree parallel
    [[ -d parallel/empty ]] || fail "an empty directory was lost"
    equal "the time of a file" "$(stat -c %Y tree/nothing)" "$(stat -c %Y parallel/nothing)"
    grep -q '^4[0-9] files' "$WORK/out" "$WORK/err" || fail "no total is told: $(tail -n 2 "$WORK/out" "$WORK/err")"
    mkdir many
    exits 0 client get -j 3 'tree/deep/file *' --dir many
    equal "files got by a pattern" 40 "$(find many -type f | wc -l)"
    exits 0 client rm -r --yes tree copy
}

odd_names() {
    mkdir -p odd && cd odd
    local name names=('with space' $'new\nline' "quote's" 'double"quote' $'not utf-8 \xff\xfe' 'a%41b' '-dash' 'star*' $'tab\there'
        'back\slash' $'esc\e[31m' '~' 'snow☃' '#' ';rm' "$(printf 'n%.0s' {1..255})")
    mkdir names
    for name in "${names[@]}"; do printf '%s' "$name" >"names/$name"; done
    exits 0 client put -r names
    exits 0 client get -r names --to back
    diff -r names back
    for name in "${names[@]}"; do
        [[ $(cat "$STORAGE/alice/names/$name") == "$name" ]] || fail "the server has $(printf %q "$name") wrong"
    done
    exits 0 client ls names
    (($(wc -l <"$WORK/out") >= ${#names[@]})) || fail "names are missing in the listing"
    exits 0 client rm -- $'names/new\nline' "names/quote's" 'names/-dash' 'names/star\*'
    exits 0 client rm -r --yes names
}

standard_streams() {
    head -c 3000000 /dev/urandom >stream
    client put - piped <stream >"$WORK/out" 2>"$WORK/err"
    plain_text
    client get piped - >back 2>"$WORK/err"
    cmp stream back
    client get piped --to - 2>"$WORK/err" | cmp stream -
    client view --length 65536 piped | cmp - <(head -c 65536 stream)
    : | client put - --to nothing >/dev/null 2>&1
    exits 0 client get nothing --to zero
    equal "the size of nothing" 0 "$(stat -c %s zero)"
    client get piped - 2>"$WORK/err" | head -c 10 >/dev/null || true # a reader that has gone is nothing to cry about
    exits 0 client rm piped nothing
}

json() {
    mkdir -p json && cd json
    echo 1 >one
    echo 2 >two
    local command
    for command in 'put one two' 'ls' 'ls -l -R' 'stat one' 'digest one' 'quota' 'ping' 'mkdir d' 'mv one d/' \
        'bench --clients 1 --files 2 --size 1KiB' 'get two --to three' 'get d/one two --dir .' 'rmdir missing' 'get missing' 'view two' 'rm --trash two' 'trash list' 'trash restore two' 'trash empty --yes' 'rm two' 'rm -r --yes d'; do
        # shellcheck disable=SC2086 # several words
        client --json $command >"$WORK/out" 2>"$WORK/err" </dev/null || true
        plain_text
        [[ -s $WORK/out ]] || continue
        jq -es 'all(type == "object") and all(has("version") or has("v"))' "$WORK/out" >/dev/null ||
            fail "--json $command: $(head -n 3 "$WORK/out")"
        equal "--json $command: lines and objects" "$(wc -l <"$WORK/out")" "$(jq -s length "$WORK/out")"
    done
}

passwords() {
    printf 'secret\n' >pass
    chmod 600 pass
    unset DFOS_PASSWORD
    exits 0 client --password-file pass ping
    exits 0 client --password-command 'cat pass' ping
    printf 'secret\n' | client --password-file - ping >/dev/null 2>&1
    chmod 644 pass
    client --password-file pass ping >/dev/null 2>"$WORK/err" && fail "a password file that all can read was taken"
    exits 5 client --password-command 'echo wrong' ping
    client ping </dev/null >/dev/null 2>&1 && fail "logged in without a password"
    true
}

# While it works, the password is on nobody's command line.
password_unseen() {
    printf 'secret\n' >pass
    chmod 600 pass
    unset DFOS_PASSWORD
    local dir line
    held_open
    printf 'the beginning' >&"$HELD"
    "$BIN/dfos-client" --server "$URL" --password-file pass put - slow <&"$HELD" >/dev/null 2>&1 &
    eventually "the upload to be under way" under_way 0
    for dir in /proc/[0-9]*; do
        # What else runs on this machine may say what it likes.
        line=$(tr '\0' ' ' <"$dir/cmdline") 2>/dev/null || continue
        [[ $line != *"$BIN/dfos-"* || $line != *secret* ]] || fail "the password is on a command line: $line"
    done
    kill "$!"
    wait "$!" || true
}
# under_way N: a staged file has more than N bytes.
under_way() { find "$STORAGE/alice/.dfos/uploads" -type f -size "+$1c" 2>/dev/null | grep -q .; }
# Opens a pipe in HELD that does not end while the check runs.
held_open() {
    mkfifo "$WORK/held.$BASHPID"
    exec {HELD}<>"$WORK/held.$BASHPID"
}

# Killed again and again, the upload sends each byte about once.
killed_and_resumed() {
    local size=$((96 << 20)) cut pid sent
    head -c "$size" /dev/urandom >large
    for cut in 20 40 60 80; do
        # Each send waits a little, so that the kill comes before the end however fast the machine is.
        strace -D -f -e trace=sendto,writev -e inject=writev:delay_enter=4000 -e signal=none -o "$WORK/sent.$cut" \
            "$BIN/dfos-client" --server "$URL" -q put large &
        pid=$!
        eventually "$cut MiB to be there" under_way $((cut << 20))
        kill -KILL "$pid"
        wait "$pid" 2>/dev/null || true
        for pid in $(sessions); do eventually "the session to notice" gone "$pid"; done
    done
    strace -D -f -e trace=sendto,writev -e signal=none -o "$WORK/sent.end" \
        "$BIN/dfos-client" --server "$URL" put large >"$WORK/out" 2>"$WORK/err"
    grep -q 'resum' "$WORK/err" "$WORK/out" || fail "it does not say that it resumes"
    cmp large "$STORAGE/alice/large"
    sent=$(awk 'match($0, / = [0-9]+/) { sum += substr($0, RSTART + 3, RLENGTH - 3) } END { printf "%d", sum }' "$WORK"/sent.*)
    ((sent < size * 105 / 100)) || fail "$sent bytes were sent for $size"
    ((sent >= size * 99 / 100)) || fail "$sent bytes cannot have been all of $size"
}

download_resumes() {
    local size=$((96 << 20)) pid
    mkdir -p down && cd down
    "$BIN/dfos-client" --server "$URL" get large >/dev/null 2>&1 &
    pid=$!
    eventually "some of it to be there" partly_here
    kill -KILL "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
    [[ ! -e large ]] || return 0 # it was faster
    exits 0 client get large
    grep -q 'resum' "$WORK/err" "$WORK/out" || fail "it does not say that it resumes"
    cmp ../large large
    equal "what lies beside the file" large "$(ls -A)"
}
partly_here() { find . -type f -size +5M | grep -q .; }

# Ctrl+C: status 17, and what was sent stays.
interrupted() {
    local pid status=0
    held_open
    "$BIN/dfos-client" --server "$URL" put - --to halted <&"$HELD" >"$WORK/out" 2>"$WORK/err" &
    pid=$!
    head -c 3000000 /dev/zero >&"$HELD"
    eventually "some of it to be there" under_way 1000000
    kill -INT "$pid"
    wait "$pid" || status=$?
    equal "the exit status" 17 "$status"
}

# The server is restarted in the middle of an upload: the client tries again and goes on.
server_restarts() {
    local STORAGE=$WORK/restarted pid client status=0 port family
    start_server
    port=$PORT
    truncate -s 400M huge
    "$BIN/dfos-client" --server "$URL" --retries 20 put huge >"$WORK/out" 2>"$WORK/err" &
    client=$!
    eventually "some of it to be there" under_way 1000000
    for pid in $(sessions); do kill -STOP "$pid"; done
    family=$(children_of "$SERVER_PID")
    kill -KILL "$SERVER_PID"
    wait "$SERVER_PID" 2>/dev/null || true
    for pid in $family; do kill -KILL "$pid" 2>/dev/null || true; done # its sessions would finish what they hold
    gone "$client" && fail "the upload was over before the server was killed"
    for pid in $family; do eventually "the killed server's process $pid to end" gone "$pid"; done
    : >"$WORK/server.out" # not what the first one said
    "$BIN/dfos-forkd" --listen "tls://127.0.0.1:$port" --state-dir "$WORK/state" --dir "$STORAGE" --users "$USERS" --control none >"$WORK/server.out" 2>>"$LOG" &
    SERVER_PID=$!
    note_server "$SERVER_PID"
    wait "$client" || status=$?
    equal "the exit status: $(tail -n 2 "$WORK/err")" 0 "$status"
    cmp huge "$STORAGE/alice/huge"
    grep -q resum "$WORK/err" || fail "it does not say that it resumes: $(cat "$WORK/err")"
    stop_server
}

shell_in_a_pipe() {
    mkdir -p shell && cd shell
    echo text >'my file'
    client shell >"$WORK/out" 2>"$WORK/err" <<'END' || fail "exit status $?: $(cat "$WORK/err")"
mkdir 'a dir'
cd "a dir"
put "my file"
ls
pwd
cd ..
ls -R
lpwd
lls
rm -r --yes "a dir"
exit
END
    plain_text
    grep -q '^my file$' "$WORK/out" || fail "the listing in the shell: $(cat "$WORK/out")"
    grep -q '^a dir/my file$' "$WORK/out" || fail "the recursive listing in the shell: $(cat "$WORK/out")"
}

# A terminal: history, completion, Ctrl+C ends the transfer and not the shell.
shell_at_a_terminal() {
    local status=0 terminal TYPE
    mkdir -p term && cd term
    cp "$WORK/large" large-one
    mkfifo keys
    : >screen
    HOME=$PWD TERM=xterm script -qefc "stty cols 120; $BIN/dfos-client --server $URL shell" screen <keys >/dev/null 2>&1 &
    terminal=$!
    exec {TYPE}>keys
    eventually "the prompt" seen '>'
    printf 'mkdir pointless-name\r' >&"$TYPE"
    eventually "the directory" test -d "$STORAGE/alice/pointless-name"
    printf 'rmdir poin\t\r' >&"$TYPE"
    eventually "completion of a remote name" test ! -d "$STORAGE/alice/pointless-name"
    printf '\e[A\e[A\r' >&"$TYPE"
    eventually "the line before the last one of the history" test -d "$STORAGE/alice/pointless-name"
    printf 'mkdir typed\rmkdir typed/ahead\rcd typed\rmkdir in-one-go\rcd\r' >&"$TYPE"
    eventually "lines that were typed ahead" test -d "$STORAGE/alice/typed/in-one-go" -a -d "$STORAGE/alice/typed/ahead"
    # A transfer that would not end by itself: the session stands still.
    for pid in $(sessions); do kill -STOP "$pid"; done
    printf 'put lar\t\r' >&"$TYPE"
    eventually "the transfer to begin" seen 'large-one'
    printf '\003' >&"$TYPE"
    for pid in $(sessions); do kill -CONT "$pid"; done
    printf 'rmdir pointless-name\r' >&"$TYPE"
    eventually "the shell to take another command" test ! -d "$STORAGE/alice/pointless-name"
    [[ ! -e $STORAGE/alice/large-one ]] || fail "the transfer was not ended"
    printf 'exit\r' >&"$TYPE"
    wait "$terminal" || status=$?
    exec {TYPE}>&-
    equal "the exit status of the shell: $(tail -c 300 screen)" 0 "$status"
}
seen() { grep -qaF "$1" screen; }

# A recursive delete asks where somebody can answer, on the command line and in the shell, and is refused elsewhere and in a batch.
asks_before_deleting() {
    local answer status terminal TYPE
    mkdir -p asks && cd asks
    exits 0 client mkdir -p asked/below
    exits 2 client rm -r asked
    grep -q -- '--yes' "$WORK/err" || fail "it does not say what to do: $(cat "$WORK/err")"
    mkfifo keys
    for answer in n y; do
        : >screen
        status=0
        HOME=$PWD TERM=xterm script -qefc "stty cols 80; $BIN/dfos-client --server $URL rm -r asked" screen <keys >/dev/null 2>&1 &
        terminal=$!
        exec {TYPE}>keys
        eventually "the question" seen '[y/N]'
        [[ -d $STORAGE/alice/asked ]] || fail "it was deleted before the answer"
        printf '%s\r' "$answer" >&"$TYPE"
        wait "$terminal" || status=$?
        exec {TYPE}>&-
        case $answer in
        n)
            equal "the status of a no" 1 "$status"
            [[ -d $STORAGE/alice/asked ]] || fail "a no was a yes"
            ;;
        y)
            equal "the status of a yes: $(cat screen)" 0 "$status"
            [[ ! -e $STORAGE/alice/asked ]] || fail "a yes was a no"
            ;;
        esac
    done
    exits 0 client mkdir asked
    echo 'rm -r asked' >./batch
    : >screen
    HOME=$PWD TERM=xterm script -qefc "$BIN/dfos-client --server $URL -b batch" screen </dev/null >/dev/null 2>&1 && fail "a batch was taken at its word"
    seen 'say --yes' || fail "a batch asks: $(cat screen)"
    [[ -d $STORAGE/alice/asked ]] || fail "a batch deleted without a question"
    exits 0 client rm -r --yes asked
}

# At a terminal a limited transfer draws its bar as any other, the shell knows the same options, and tells what was moved.
options_at_a_terminal() {
    local status=0 terminal TYPE
    mkdir -p limited && cd limited
    head -c 1500000 /dev/zero >held-back
    mkfifo keys
    : >screen
    HOME=$PWD TERM=xterm script -qefc "stty cols 40; $BIN/dfos-client --server $URL shell" screen <keys >/dev/null 2>&1 &
    terminal=$!
    exec {TYPE}>keys
    eventually "the prompt" seen '>'
    printf 'put -n held-back\r' >&"$TYPE"
    eventually "the dry run" seen 'nothing was changed'
    [[ ! -e $STORAGE/alice/held-back ]] || fail "a dry run put a file"
    printf 'put --bwlimit 500k held-back\r' >&"$TYPE"
    eventually "the bar" seen '%'
    eventually "the file" test -e "$STORAGE/alice/held-back"
    printf 'put --no-clobber held-back\rsummary\rrm held-back\rexit\r' >&"$TYPE"
    wait "$terminal" || status=$?
    exec {TYPE}>&-
    equal "the exit status of the shell: $(tail -c 300 screen)" 0 "$status"
    { seen '1 file' && seen '1 skipped'; } || fail "the summary: $(tail -c 600 screen)"
}

# Ctrl+C ends a batch, though its line may fail.
batch_interrupted() {
    local pid status=0
    head -c 4000000 /dev/zero >slow
    printf -- '-put --bwlimit 64KiB slow\nmkdir never\n' >./batch
    "$BIN/dfos-client" --server "$URL" -v -b batch >"$WORK/out" 2>"$WORK/err" &
    pid=$!
    eventually "the upload to begin" grep -qs 'put slow -> slow' "$WORK/err"
    kill -INT "$pid"
    wait "$pid" || status=$?
    equal "the exit status" 17 "$status"
    [[ ! -e $STORAGE/alice/never ]] || fail "the batch went on"
}

# A person is asked before the trash is emptied, and can say no.
trash_at_a_terminal() {
    local status terminal TYPE answer
    mkdir -p bin && cd bin
    echo x >kept
    exits 0 client put kept
    exits 0 client rm --trash kept
    for answer in n y; do
        status=0
        rm -f keys
        mkfifo keys
        : >screen
        HOME=$PWD TERM=xterm script -qefc "$BIN/dfos-client --server $URL trash empty" screen <keys >/dev/null 2>&1 &
        terminal=$!
        exec {TYPE}>keys
        eventually "the question" seen 'delete all that is in the trash for good? [y/N]'
        printf '%s\r' "$answer" >&"$TYPE"
        wait "$terminal" || status=$?
        exec {TYPE}>&-
        case $answer in
        n)
            equal "the exit status after no" 1 "$status"
            exits 0 client trash list
            matches "the trash" '*-* kept' "$(cat "$WORK/out")"
            ;;
        y) equal "the exit status after yes" 0 "$status" ;;
        esac
    done
    exits 0 client trash list
    out ''
}

start_server --trash 30d
# What is on its way through a pipe is nobody else's, and what lies on the disk stays what it is.
what_is_not_ours() {
    printf 'content\n' | client -q --password-command "cat >/dev/null; echo secret" put - piped
    client get piped - | cmp - <(printf 'content\n')
    client --json get piped - 2>objects | cmp - <(printf 'content\n')
    grep -q '"event":"end"' objects || fail "the objects are nowhere: $(cat objects)"
    printf 'private\n' >piped && chmod 600 piped
    client -q get piped
    equal "the mode of a private file that was replaced" 600 "$(stat -c %a piped)"
    mkfifo pipe
    exits 10 client -q get piped --to pipe
    test -p pipe || fail "the pipe was replaced"
    equal "leftovers" "" "$(find . -name '.dfos-*')"
}

check "every command of --help does its work" every_command
check "no command of --help is left out" every_command_is_known
check "the words of older systems work" old_words
check "each failure has its exit status" statuses
check "a read-only place is denied: exit status 6" denied mount
check "a full disk: exit status 9" no_space mount
check "a quota that is used up: exit status 9" over_quota
check "a server with too many clients: exit status 3" busy
check "a server that stands still: exit status 13" timed_out
check "trees go up and down, serially and in parallel" trees
check "names with newlines, quotes, escapes, no UTF-8" odd_names
check "standard input and output; 0 bytes" standard_streams
check "what is piped or private stays so" what_is_not_ours
check "--json is one object with a version a line" json jq
check "passwords from files and commands, never from files that others can read" passwords
check "no password on a command line" password_unseen
check "an upload killed four times sends each byte about once" killed_and_resumed strace
check "a download that was killed goes on where it was" download_resumes strace
check "an interrupted transfer: exit status 17" interrupted
check "a server that is restarted in the middle of an upload" server_restarts strace
check "Ctrl+C ends a batch" batch_interrupted
check "the shell fed by a pipe" shell_in_a_pipe
check "emptying the trash asks at a terminal" trash_at_a_terminal pty
check "the shell at a terminal: completion, history, Ctrl+C" shell_at_a_terminal pty
check "a recursive delete asks at a terminal, and nowhere else" asks_before_deleting pty
check "dry runs, limits and summaries at a terminal" options_at_a_terminal pty
finish
