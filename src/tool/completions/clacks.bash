# bash completion of clacks. Made from the table of flags by tests/completions.rs: make completions

_clacks() {
    local current=$2 previous=$3
    COMPREPLY=()
    case $previous in
        -s|--server)
            compopt -o nospace
            COMPREPLY=($(compgen -W 'unix: tcp:// tls://' -- "$current")) ;;
        # Behind "unix", since bash takes words apart there.
        :|--password-file|--ca)
            compopt -o filenames
            COMPREPLY=($(compgen -f -- "$current")) ;;
        -u|--user|-n|--count) ;;
        *)
            local word words='set notify set-and-store listen store retrieve remove increment decrement keys clear clients disconnect monitor shutdown send chat'
            for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
                case $word in set|notify|set-and-store|listen|store|retrieve|remove|increment|decrement|keys|clear|clients|disconnect|monitor|shutdown|send|chat) words= ;; esac
            done
            case $current in -*) words='-s --server -u --user --password-file --ca --insecure --allow-plaintext --json -n --count -h --help -V --version' ;; esac
            COMPREPLY=($(compgen -W "$words" -- "$current")) ;;
    esac
}

complete -F _clacks clacks
