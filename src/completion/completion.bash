# bash completion of PROGRAM. The program itself knows what may stand at the cursor; this quotes it for readline.
# The answer: its kind, the part of the word that readline keeps (it takes : and = for ends of words), then the choices.
_FUNCTION() {
    local -a lines
    local line
    mapfile -t lines < <(PROGRAM complete -- "${COMP_LINE:0:COMP_POINT}" 2>/dev/null </dev/null)
    COMPREPLY=()
    case ${lines[0]-} in
    files) compopt -o default ;;
    directories) compopt -o dirnames ;;
    words | names)
        for line in "${lines[@]:2}"; do
            line=${line%%$'\t'*}
            line=${line#"${lines[1]}"}
            # Within quotes readline does it; outside it would leave a dollar as it is.
            if [[ ${lines[0]} == names && ${COMP_WORDS[COMP_CWORD]} != [\'\"]* ]]; then printf -v line %q "$line"; fi
            COMPREPLY+=("$line")
        done
        if [[ ${lines[0]} == names && ${COMP_WORDS[COMP_CWORD]} == [\'\"]* ]]; then compopt -o filenames; fi
        if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == */ ]]; then compopt -o nospace; fi
        ;;
    esac
}
complete -F _FUNCTION PROGRAM
