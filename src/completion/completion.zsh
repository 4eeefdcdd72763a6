#compdef PROGRAM
# zsh completion of PROGRAM. The program itself knows what may stand at the cursor; zsh quotes it.
# The answer: its kind, a line for bash alone, then the choices.
_PROGRAM() {
    local -a lines described directories files
    local line
    lines=("${(@f)$(PROGRAM complete -- "${(j: :)words[1,CURRENT-1]} $QIPREFIX$PREFIX" 2>/dev/null </dev/null)}")
    case $lines[1] in
    files)
        if [[ $PREFIX == --*=* ]]; then compset -P '*='; fi
        _files
        ;;
    directories)
        if [[ $PREFIX == --*=* ]]; then compset -P '*='; fi
        _files -/
        ;;
    words)
        for line in "${(@)lines[3,-1]}"; do
            described+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
        done
        _describe -V PROGRAM described
        ;;
    names)
        for line in "${(@)lines[3,-1]}"; do
            if [[ $line == */ ]]; then directories+=("$line"); else files+=("$line"); fi
        done
        compadd -S '' -a directories
        compadd -a files
        ;;
    esac
}
if [[ $funcstack[1] == _PROGRAM ]]; then
    _PROGRAM "$@"
else
    compdef _PROGRAM PROGRAM
fi
