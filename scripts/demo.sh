#!/bin/bash
# A real session, shown: ./scripts/demo.sh [--keep]
#
# Builds, starts a server with the demonstration users in a directory of its own, and works with it as a user would. At the end
# everything is gone again; with --keep the server stays until Ctrl+C.
# shellcheck disable=SC2317 # functions that `show` and traps call
set -euo pipefail

cd "$(dirname "$0")/.."
KEEP=
case ${1-} in
'') ;;
--keep) KEEP=1 ;;
*)
    echo "usage: scripts/demo.sh [--keep]" >&2
    exit 2
    ;;
esac

BOLD='' DIM='' PLAIN=''
if [[ -t 1 && -z ${NO_COLOR-} ]]; then BOLD=$'\e[1m' DIM=$'\e[2m' PLAIN=$'\e[0m'; fi

echo "${DIM}Building (a minute or two the first time) ...$PLAIN"
cargo build --quiet --locked --release
BIN=$PWD/target/release
export DFOS_FORKD_CONFIG=none # nothing of this machine's own
USERS=$PWD/id_passwd.txt

PLACE=$(mktemp -d "${TMPDIR:-/tmp}/dfos-demo.XXXXXX")
SERVER=''
clean_up() {
    local status=$?
    trap '' INT TERM
    if [[ -n $SERVER ]]; then
        kill -INT "$SERVER" 2>/dev/null || true
        wait "$SERVER" 2>/dev/null || true
    fi
    rm -rf "$PLACE"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# say SENTENCE: what comes next, and why.
say() { printf '\n%s\n' "$BOLD# $*$PLAIN"; }

# show COMMAND...: a command as one would type it, then what it prints.
show() {
    printf '%s$ %s%s\n' "$DIM" "$(plain "$@")" "$PLAIN"
    "$@"
}

# refused STATUS COMMAND...: the same for one that is meant to fail.
refused() {
    local expected=$1 status=0
    shift
    show "$@" || status=$?
    echo "exit status $status"
    ((status == expected))
}

# A command line for reading: quotes only where they are needed.
plain() {
    local word line=''
    for word in "$@"; do
        if [[ $word =~ ^[A-Za-z0-9_./:=@%+-]+$ ]]; then line+="$word "; else line+="'$word' "; fi
    done
    echo "${line% }"
}

dfos-forkd() { "$BIN/dfos-forkd" "$@"; }
dfos-client() { "$BIN/dfos-client" "$@"; }

cp "$USERS" "$PLACE/users"
chmod 600 "$PLACE/users"
cd "$PLACE"

say "The server: any free port, files in a directory of its own, three demonstration users."
echo "$DIM\$ dfos-forkd --port 0 --dir storage --users users --state-dir state$PLAIN"
mkfifo out
"$BIN/dfos-forkd" --port 0 --dir storage --users users --state-dir state --control none >out 2>log &
SERVER=$!
read -r line <out || { cat log; exit 1; }
rm out
echo "$line"
export XDG_STATE_HOME=$PWD/known DFOS_SERVER=${line#listening } DFOS_USER=alice DFOS_PASSWORD=secret

say "Some files to work with."
mkdir -p photos/2024 back
for i in 1 2 3 4 5 6; do head -c $((i * 900000)) /dev/urandom >"photos/2024/picture $i.jpg"; done
printf 'Dear diary,\ntoday I put a file on a server, and it said OK only when the disk had it.\n' >notes.txt
head -c 60000000 /dev/urandom >film.mkv
show ls -l notes.txt film.mkv photos/2024

say "Upload: a file, then a tree over four connections at once."
echo "$DIM(DFOS_SERVER, DFOS_USER and DFOS_PASSWORD say where, who and how.)$PLAIN"
show dfos-client put notes.txt
show dfos-client put -r -j 4 photos

say "Look around: a listing, the beginning of a text, the beginning of what is no text."
show dfos-client ls -l
show dfos-client ls -l -R photos
show dfos-client view notes.txt
show dfos-client view --length 64 'photos/2024/picture 1.jpg'

say "Download, over three connections at once; every file is checked against its SHA-256 before it gets its name."
show dfos-client get -r -j 3 photos --dir back
show diff -r photos back/photos

say "An upload that is cut off in the middle goes on where it was."
echo "$DIM\$ dfos-client put film.mkv     # and killed half way$PLAIN"
partial() { find storage/alice/.dfos/uploads -type f -size +"$1"M 2>/dev/null | grep -q .; }
"$BIN/dfos-client" -q put film.mkv &
client=$!
until partial 10 || [[ -e storage/alice/film.mkv ]]; do sleep 0.001; done
kill -KILL "$client" 2>/dev/null || true
wait "$client" 2>/dev/null || true
show dfos-client put film.mkv
show dfos-client digest film.mkv
show sha256sum film.mkv

say "Organise: directories, names, old words too."
show dfos-client mkdir -p letters/2024
show dfos-client mv notes.txt letters/2024/
show dfos-client subfolder create drafts
show dfos-client list
show dfos-client subfolder delete --yes drafts
show dfos-client rm film.mkv

say "Users see their own files only."
export DFOS_USER=bob DFOS_PASSWORD=builder
show dfos-client ls -l
refused 7 dfos-client get letters/2024/notes.txt
export DFOS_USER=alice DFOS_PASSWORD=secret

say "Pipes work, and the files on the server are plain files."
echo "$DIM\$ tar c photos | dfos-client put - photos.tar$PLAIN"
tar c photos | dfos-client put - photos.tar
echo "$DIM\$ dfos-client get photos.tar - | tar t | wc -l$PLAIN"
dfos-client get photos.tar - | tar t | wc -l
show ls -l storage/alice

go_on() {
    cat <<END

${BOLD}To go on by hand$PLAIN, in $PWD:

    target/release/dfos-forkd                          # serves on tls://127.0.0.1:9000
    target/release/dfos-client --user alice            # in another terminal: the shell; the password is "secret"

Users of your own: remove all lines of id_passwd.txt, then \`target/release/dfos-forkd user add NAME\`.
Every command and option: \`target/release/dfos-client --help\`, \`target/release/dfos-forkd --help\`.
END
}

if [[ -n $KEEP ]]; then
    cd - >/dev/null
    cat <<END

${BOLD}The server goes on until Ctrl+C.$PLAIN In another terminal, in $PWD:

    target/release/dfos-client --server $DFOS_SERVER --user alice    # the password is "secret"
END
    trap 'echo' INT
    while kill -0 "$SERVER" 2>/dev/null; do wait "$SERVER" || true; kill -INT "$SERVER" 2>/dev/null || true; done
    SERVER=''
    exit 0
fi

say "The end: Ctrl+C for the server. What it said meanwhile ends with:"
echo "$DIM\$ kill -INT $SERVER     # what Ctrl+C does$PLAIN"
kill -INT "$SERVER"
status=0
wait "$SERVER" || status=$?
SERVER=''
tail -n 3 log
echo "exit status $status"
cd - >/dev/null
go_on
exit "$status"
