#!/bin/bash
# Completions in the shells themselves: what bash, zsh and fish make of a line when Tab is pressed.
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

can_bash() { has bash; }
can_zsh() { has zsh && can_python3; }
can_fish() { has fish; }
can_python3() { has python3; }

mkdir -p "$WORK/place/home/.config/dfos" "$WORK/scripts"
cd "$WORK/place"
export HOME=$WORK/place/home XDG_CONFIG_HOME=$WORK/place/home/.config LC_ALL=C.UTF-8 TERM=xterm
PATH=$BIN:$PATH
SCHEME=tls
unset DFOS_SERVER DFOS_USER DFOS_CONFIG
start_server
(umask 077 && echo secret >"$HOME/password")
cat >"$HOME/.config/dfos/client.toml" <<END
default-server = "work"
[servers.work]
url = "alice@127.0.0.1:$PORT"
password-file = "~/password"
[servers.other]
url = "tls://127.0.0.1:$PORT"
user = "alice"
[servers.nobody]
url = "tls://127.0.0.1:1"
user = "alice"
password-file = "~/password"
END
for shell in bash zsh fish; do dfos-client completions $shell >"$WORK/scripts/$shell"; done
dfos-forkd completions bash >"$WORK/scripts/forkd.bash"

# Names that shells, patterns and options have opinions about.
mkdir -p 'up/my dir' up/plain
# shellcheck disable=SC2016 # a dollar in a name
touch 'up/my dir/it'"'"'s "a" b' 'up/my dir/inner' up/notes.txt 'up/two words' 'up/a:b=c' 'up/cost$HOME' up/öl 'up/star*'
printf x >$'up/bell\a'
touch 'here file' herefile
mkdir here-dir
upload() { (cd up && dfos-client put -q -r -- * >/dev/null); }
upload

# complete LINE: what the program answers, without its first two lines.
program() { dfos-client complete -- "$1" | tail -n +3; }

what_the_program_answers() {
    equal "commands" $'put\t' "$(program 'dfos-client pu' | sed 's/\t.*/\t/')"
    equal "remote names" $'my dir/\nplain/' "$(program 'dfos-client rmdir ')"
    equal "a name in quotes" $'my dir/inner\nmy dir/it'"'"'s "a" b' "$(program 'dfos-client get "my dir/')"
    equal "an escaped blank" 'my dir/' "$(program 'dfos-client ls my\ ')"
    equal "a star is a letter" 'star\*' "$(program 'dfos-client get st')"
    equal "no name that rings" '' "$(program 'dfos-client get be')"
    equal "servers" $'nobody\nother\nwork' "$(program 'dfos-client --server ' | cut -f1)"
    equal "known servers" "$URL" "$(program 'dfos-client forget tl' | cut -f1)"
    equal "the option's value" '--to=notes.txt' "$(program 'dfos-client put x --to=no')"
    equal "local files" files "$(dfos-client complete -- 'dfos-client put ' | head -n 1)"
    equal "the server's options" --listen "$(dfos-forkd complete -- 'dfos-forkd serve --lis' | tail -n +3 | cut -f1)"
}

# A session is had without a question and with known servers only; otherwise there is silence, and that soon.
what_it_keeps_from() {
    local before
    equal "without a password" '' "$(program 'dfos-client --server other get ')"
    equal "with one in the environment" 'notes.txt' "$(DFOS_PASSWORD=secret program 'dfos-client --server other get no')"
    equal "with a wrong one" '' "$(DFOS_PASSWORD=wrong program 'dfos-client --server other get no')"
    equal "where nobody listens" '' "$(program 'dfos-client --server nobody get ' 2>&1)"
    equal "a server that is not known" '' "$(program "dfos-client --known-servers $WORK/none get ")"
    [[ ! -e $WORK/none ]] || fail "a completion has made a server known"
    before=$SECONDS
    equal "a command that hangs" '' "$(program "dfos-client --password-command 'exec sleep 30' --server other get ")"
    ((SECONDS - before <= 5)) || fail "a completion took $((SECONDS - before)) seconds"
    echo 'nonsense = 1' >"$WORK/broken"
    equal "a broken configuration" '' "$(DFOS_CONFIG=$WORK/broken program 'dfos-client get ' 2>&1)"
    equal "commands with it" put "$(DFOS_CONFIG=$WORK/broken program 'dfos-client pu' | cut -f1)"
}

# in_shell SHELL LINE: types LINE and Tab into a real interactive shell on a pseudo-terminal, ends the line, and prints the
# arguments that a program of that name then gets, one a line.
in_shell() { python3 "$HERE/press-tab.py" "$1" "$WORK/scripts/$1" "$2"; }

each_shell_inserts_what_means_the_name() {
    local shell=$1
    equal "$shell: a plain name" $'get\nnotes.txt' "$(in_shell "$shell" 'dfos-client get no')"
    equal "$shell: a blank" $'get\ntwo words' "$(in_shell "$shell" 'dfos-client get two')"
    equal "$shell: a blank after a backslash" $'get\ntwo words' "$(in_shell "$shell" 'dfos-client get two\ w')"
    equal "$shell: a blank in quotes" $'get\ntwo words' "$(in_shell "$shell" "dfos-client get 'two w")"
    equal "$shell: quotes" $'get\nmy dir/it'"'"'s "a" b' "$(in_shell "$shell" 'dfos-client get my\ dir/it')"
    equal "$shell: a dollar" $'get\ncost$HOME' "$(in_shell "$shell" 'dfos-client get co')"
    equal "$shell: colon and equals sign" $'get\na:b=c' "$(in_shell "$shell" 'dfos-client get a')"
    equal "$shell: behind a colon" $'get\na:b=c' "$(in_shell "$shell" 'dfos-client get a:b')"
    equal "$shell: a letter of several bytes" $'get\nöl' "$(in_shell "$shell" 'dfos-client get ö')"
    equal "$shell: a star" $'get\nstar\\*' "$(in_shell "$shell" 'dfos-client get sta')"
    equal "$shell: a directory stays open" $'ls\nplain/' "$(in_shell "$shell" 'dfos-client ls pl')"
    equal "$shell: a local name" $'put\nhere file' "$(in_shell "$shell" 'dfos-client put here\ ')"
    equal "$shell: a command" $'quota' "$(in_shell "$shell" 'dfos-client quo')"
    equal "$shell: a server" $'--server\nwork' "$(in_shell "$shell" 'dfos-client --server wo')"
    equal "$shell: an option" $'get\n--recursive' "$(in_shell "$shell" 'dfos-client get --rec')"
    equal "$shell: a URL" $'forget\n'"$URL" "$(in_shell "$shell" 'dfos-client forget tls://12')"
}
in_bash() { each_shell_inserts_what_means_the_name bash; }
in_zsh() { each_shell_inserts_what_means_the_name zsh; }
in_fish() { each_shell_inserts_what_means_the_name fish; }

fish_says_what_words_mean() {
    fish --no-config -c "source $WORK/scripts/fish; complete -C 'dfos-client quo'" >"$WORK/out"
    matches "a description" $'quota\tTell how much space*' "$(cat "$WORK/out")"
}

check "the program knows what may stand at the cursor" what_the_program_answers
check "no question, no stranger, no long wait, no words" what_it_keeps_from
check "bash inserts names so that they mean themselves" in_bash bash python3
check "zsh inserts names so that they mean themselves" in_zsh zsh
check "fish inserts names so that they mean themselves" in_fish fish python3
check "fish says what words mean" fish_says_what_words_mean fish
finish
