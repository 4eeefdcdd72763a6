# fish completion of PROGRAM. The program itself knows what may stand at the cursor; fish quotes it.
# The answer: its kind, a line for bash alone, then the choices.
function __FUNCTION_complete
    set -l lines (PROGRAM complete -- (commandline -cp | string collect) 2>/dev/null </dev/null)
    switch "$lines[1]"
        case files
            complete -C "'' "(commandline -ct) # as behind a command that nothing is known of
        case directories
            __fish_complete_directories (commandline -ct)
        case words names
            if test (count $lines) -gt 2
                printf '%s\n' $lines[3..-1]
            end
    end
end
complete -c PROGRAM -f -a '(__FUNCTION_complete)'
