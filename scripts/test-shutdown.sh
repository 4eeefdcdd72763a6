#!/bin/bash
# The controlled end: Ctrl+C at a terminal, kill -INT from a script, in a pipeline, idle and in the middle of transfers.
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

STORAGE=$WORK/storage USERS=$WORK/users
cp "$ROOT/id_passwd.txt" "$USERS"
chmod 600 "$USERS"
SERVE=("$BIN/dfos-forkd" --listen tcp://127.0.0.1:0 --dir "$STORAGE" --users "$USERS" --grace 1 --control "$WORK/control/socket")
SIZE=$((32 << 20))
yes 'nothing is lost' | head -c "$SIZE" >"$WORK/file" || true
DIGEST=$(sha256sum <"$WORK/file")
DIGEST=${DIGEST%% *}

# Sets URL, PORT and SERVER_PID from what a server that this script did not start itself has printed. $1: the file.
find_server() {
    local line
    eventually "the server to listen" grep -q '^listening ' "$1"
    line=$(grep -m 1 '^listening ' "$1" | tr -d '\r')
    URL=${line#listening }
    PORT=${URL##*:}
    if [[ -z $SERVER_PID ]]; then
        line=$("$BIN/dfos-forkd" status --json --control "$WORK/control/socket" | grep -o '"pid":[0-9]*' | head -n 1)
        SERVER_PID=${line#*:}
        note_server "$SERVER_PID"
    fi
    [[ -n $SERVER_PID ]] || fail "the server was not found"
    FAMILY=$(children_of "$SERVER_PID")
}

# Four sessions: one in the middle of an upload, one of a download that is read slowly, one of a download that nobody reads,
# one that waits. One upload has been acknowledged.
in_the_middle() {
    login
    upload acknowledged 'safe and sound' "OK size=14 *"
    expect "OK *" MKDIR dir parents
    cp "$WORK/file" "$STORAGE/alice/dir/down"
    say UPLOAD dir/up "size=$SIZE"
    hear
    { printf 'DATA 1000000\n'; head -c 1000000 "$WORK/file"; printf 'DATA 1000000\n'; head -c 500000 <(tail -c +1000001 "$WORK/file"); } >&"$RAW"
    UPLOADING=$RAW
    eventually "the bytes to be staged" staged
    download
    DOWNLOADING=$RAW
    : >"$WORK/slow"
    while [[ -e $WORK/slow ]] && head -c 65536 >>"$WORK/slow" && sleep 0.02; do :; done <&"$DOWNLOADING" 2>/dev/null &
    download
    STALLED=$RAW
    login bob builder
    WAITING=$RAW
    FAMILY=$(children_of "$SERVER_PID")
    (($(wc -w <<<"$FAMILY") == 5)) || fail "four sessions and a scribe were expected"
}
download() {
    login
    say DOWNLOAD dir/down
    hear
    matches READY "READY size=$SIZE *" "$LINE"
    hear
    matches "the first piece" "DATA *" "$LINE"
}
staged() { (($(find "$STORAGE/alice/.dfos/uploads" -type f -printf '%s\n' | sort -n | tail -n 1) >= 1500000)); }

# After the signal each session says goodbye in words, where words can be told from a file's bytes.
goodbyes() {
    RAW=$UPLOADING
    hear
    matches "the end of the upload" "ERR shutting-down *" "$LINE"
    hang_up
    RAW=$WAITING
    hear
    matches "the end of the idle session" "ERR shutting-down *" "$LINE"
    ends
    hang_up
    eventually "the ABORT of the download that was read" aborted
    equal "what the reader of nothing found that is not the file's" "" \
        "$(grep -av -e '^nothing is lost$' -e '^DATA [0-9]*$' <&"$STALLED" | grep -aE 'ERR|ABORT')"
    exec {DOWNLOADING}>&- {STALLED}>&-
}
aborted() { tail -c 200 "$WORK/slow" | grep -qa '^ABORT shutting-down good=[0-9]* '; }

# Nobody is left; what was acknowledged is there, what was not is not.
ended_well() {
    local pid
    for pid in $SERVER_PID $FAMILY; do eventually "process $pid to end" gone "$pid"; done
    equal "the acknowledged file" 'safe and sound' "$(cat "$STORAGE/alice/acknowledged")"
    [[ ! -e $STORAGE/alice/dir/up ]] || fail "the unfinished upload has its name"
}

# After a restart the upload goes on where it was.
resumes() {
    local offset
    rm "$WORK/slow"
    start_server
    login
    say UPLOAD dir/up "size=$SIZE" resume
    hear
    matches "READY after the restart" "READY offset=* sha256=*" "$LINE"
    offset=${LINE#READY offset=}
    offset=${offset%% *}
    ((offset >= 1500000)) || fail "only $offset bytes were kept"
    equal "the digest of what was kept" "READY offset=$offset sha256=$(head -c "$offset" "$WORK/file" | sha256sum | cut -d ' ' -f 1)" "$LINE"
    say FROM "$offset"
    while ((offset < SIZE)); do
        local piece=$((SIZE - offset < 1048576 ? SIZE - offset : 1048576))
        { printf 'DATA %s\n' "$piece"; tail -c "+$((offset + 1))" "$WORK/file" | head -c "$piece"; } >&"$RAW" || true
        offset=$((offset + piece))
    done
    say END "sha256=$DIGEST"
    hear
    equal "the answer to the resumed upload" "OK size=$SIZE sha256=$DIGEST" "$LINE"
    hang_up
    stop_server
    rm -r "$STORAGE"
}

# A terminal: what is written to the descriptor TYPE is typed there, what it shows is in $WORK/screen. $1: what runs in it.
terminal() {
    mkfifo "$WORK/keys"
    : >"$WORK/screen"
    script -qefc "$1" "$WORK/screen" <"$WORK/keys" >/dev/null 2>&1 &
    TERMINAL=$!
    exec {TYPE}>"$WORK/keys"
    rm "$WORK/keys"
}

# Ends the terminal. $1: the exit status of what ran there.
terminal_ends() {
    local status=0
    wait "$TERMINAL" || status=$?
    exec {TYPE}>&-
    equal "the exit status at the terminal" "$1" "$status"
}

words() { printf '%q ' "${SERVE[@]}"; }

control_c_idle() {
    terminal "$(words)"
    find_server "$WORK/screen"
    printf '\003' >&"$TYPE"
    terminal_ends 0
    for pid in $SERVER_PID $FAMILY; do eventually "process $pid to end" gone "$pid"; done
    grep -q 'ended: 0 connections' "$WORK/screen" || fail "no totals were told"
}

# The shell script that runs the server gets Ctrl+C too, as all of the foreground does, and goes on when it traps it.
control_c_busy() {
    terminal "bash -c $(printf %q "trap : INT; $(words); echo \"status \$?\"; exit 7")"
    find_server "$WORK/screen"
    in_the_middle
    printf '\003' >&"$TYPE"
    goodbyes
    terminal_ends 7
    ended_well
    grep -q '^status 0' "$WORK/screen" || fail "the server's exit status at the terminal: $(tail -n 3 "$WORK/screen")"
    resumes
}

# As a job of a script: SIGINT is inherited as ignored there, and must end the server all the same.
background_of_a_script() {
    local status=0
    # shellcheck disable=SC2016 # the inner shell expands it
    WORK=$WORK "$BASH" -c '
        set +m
        "$@" >"$WORK/out" 2>>"$WORK/server.log" &
        server=$!
        echo "$server" >"$WORK/pid"
        wait "$server"
        echo "status $?"
        exit 9' bash "${SERVE[@]}" >"$WORK/said" &
    local outer=$!
    eventually "the script to start" test -s "$WORK/pid"
    find_server "$WORK/out"
    equal "the listener" "$(cat "$WORK/pid")" "$SERVER_PID"
    in_the_middle
    kill -INT "$SERVER_PID"
    goodbyes
    wait "$outer" || status=$?
    equal "the exit status of the script, which no signal reached" 9 "$status"
    equal "the server's" "status 0" "$(cat "$WORK/said")"
    ended_well
    resumes
}

in_a_pipeline() {
    local statuses
    : >"$WORK/out"
    # shellcheck disable=SC2016 # the inner shell expands it
    WORK=$WORK "$BASH" -c '
        "$@" 2>>"$WORK/server.log" | cat >"$WORK/out"
        echo "${PIPESTATUS[*]}" >"$WORK/said"' bash "${SERVE[@]}" &
    local outer=$!
    find_server "$WORK/out"
    in_the_middle
    kill -INT "$SERVER_PID"
    goodbyes
    wait "$outer"
    statuses=$(cat "$WORK/said")
    equal "the exit statuses of the pipeline" "0 0" "$statuses"
    ended_well
    rm -r "$STORAGE" "$WORK/slow"
}

# The reader of the pipeline is gone already: no reason to die, nor to end otherwise.
reader_gone() {
    mkfifo "$WORK/pipe"
    "${SERVE[@]}" >"$WORK/pipe" 2>>"$WORK/server.log" &
    SERVER_PID=$!
    local line
    read -r line <"$WORK/pipe"
    URL=${line#listening } PORT=${line##*:}
    rm "$WORK/pipe"
    login
    expect "OK pong*" PING
    stop_server
}

terminated() {
    start_server --grace 1
    find_server "$WORK/server.out"
    in_the_middle
    local pid=$SERVER_PID status=0
    kill -TERM "$pid"
    goodbyes
    wait "$pid" || status=$?
    equal "the exit status after SIGTERM" 0 "$status"
    ended_well
    resumes
}

# An upload whose end is on its way when the signal comes is finished within the grace period.
grace() {
    start_server
    find_server "$WORK/server.out"
    login
    say UPLOAD late size=10
    hear
    printf 'DATA 10\nhello' >&"$RAW"
    FAMILY=$(children_of "$SERVER_PID")
    kill -INT "$SERVER_PID"
    eventually "the server to hear it" grep -q 'ending: 1 active' "$LOG"
    printf 'worldEND\n' >&"$RAW"
    hear
    matches "an upload finished in the grace period" "OK size=10 *" "$LINE"
    hear
    matches "the farewell" "ERR shutting-down *" "$LINE"
    local status=0 pid
    wait "$SERVER_PID" || status=$?
    equal "the exit status" 0 "$status"
    for pid in $FAMILY; do eventually "process $pid to end" gone "$pid"; done
    equal "the file" helloworld "$(cat "$STORAGE/alice/late")"
    rm -r "$STORAGE"
}

# Nobody can bind or connect any more once the end has begun; at once after it, somebody can bind again.
port_is_free_again() {
    start_server
    login
    upload kept 1 "OK *"
    stop_server
    { : <>"/dev/tcp/127.0.0.1/$PORT"; } 2>/dev/null && fail "somebody still listens"
    : >"$WORK/server.out" # not what the first one said
    "$BIN/dfos-forkd" --listen "tcp://127.0.0.1:$PORT" --dir "$STORAGE" --users "$USERS" --control none >"$WORK/server.out" 2>>"$LOG" &
    SERVER_PID=$!
    eventually "the server to listen on the same port" listens "$WORK/server.out"
    login
    content kept 1
    stop_server
}

# A listener that is killed outright leaves no session and no scribe behind.
killed() {
    start_server
    find_server "$WORK/server.out"
    in_the_middle
    local pid
    kill -KILL "$SERVER_PID"
    wait "$SERVER_PID" 2>/dev/null || true
    for pid in $FAMILY; do eventually "process $pid to end after the listener was killed" gone "$pid"; done
    SERVER_PID=''
    resumes
}

second_signal() {
    start_server --grace 60
    find_server "$WORK/server.out"
    in_the_middle
    local pid=$SERVER_PID begin=$SECONDS
    kill -INT "$pid"
    eventually "the server to hear it" grep -q 'ending: ' "$LOG"
    kill -INT "$pid"
    wait "$pid" || true
    ((SECONDS - begin < 10)) || fail "a second signal did not shorten the end"
    for pid in $FAMILY; do eventually "process $pid to end" gone "$pid"; done
    SERVER_PID=''
    resumes
}

check "Ctrl+C at a terminal ends an idle server with status 0 and totals" control_c_idle pty
check "Ctrl+C at a terminal in the middle of transfers: status 0, nothing acknowledged lost, the rest resumes" control_c_busy pty
check "kill -INT ends a job that a script started with &, and the script goes on" background_of_a_script
check "in a pipeline the server ends alone, and the pipeline with it" in_a_pipeline
check "a server whose output nobody reads any more serves on" reader_gone
check "SIGTERM is the same controlled end" terminated
check "an upload that ends within the grace period is kept and answered" grace
check "the port is free at the end, and can be bound at once" port_is_free_again
check "a listener killed outright takes its children along; a restart goes on" killed
check "a second signal ends at once, and what was unfinished still resumes" second_signal
finish
