# bash completion of clacks. Made from the table of flags by tests/cli/completions.rs: make completions

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
        -u|--user|--ttl|--prefix|--for|--interval|-n|--count|--seconds|--connections|--listeners|--pipeline|--value-size|--names|--reads|--pid) ;;
        *)
            local word words='set notify set-and-store listen store retrieve remove ttl increment decrement keys clear ping status top clients disconnect monitor shutdown send chat bench help'
            for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
                case $word in help) ;; set|notify|set-and-store|listen|store|retrieve|remove|ttl|increment|decrement|keys|clear|ping|status|top|clients|disconnect|monitor|shutdown|send|chat|bench|help) words= ;; esac
            done
            case $current in -*) words='-s --server -u --user --password-file --ca --insecure --allow-plaintext --json --raw --ttl --prefix --long --patterns --with-values --timestamps --for --interval -n --count --seconds --connections --listeners --pipeline --value-size --names --reads --own-names --pid -h --help -V --version' ;; esac
            COMPREPLY=($(compgen -W "$words" -- "$current")) ;;
    esac
}

complete -F _clacks clacks
