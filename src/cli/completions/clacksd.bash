# bash completion of clacksd. Made from the table of flags by tests/cli/completions.rs: make completions

_clacksd() {
    local current=$2 previous=$3
    COMPREPLY=()
    case $previous in
        -l|--listen|--memcached|--nats|--http|-m|--master)
            compopt -o nospace
            COMPREPLY=($(compgen -W 'unix: tcp:// tls://' -- "$current")) ;;
        # Behind "unix", since bash takes words apart there.
        :|--tls-cert|--tls-key|--password-file|--users|--master-ca|--persist|--pid-file|--log-file)
            compopt -o filenames
            COMPREPLY=($(compgen -f -- "$current")) ;;
        --socket-group)
            COMPREPLY=($(compgen -g -- "$current")) ;;
        --run-as)
            COMPREPLY=($(compgen -u -- "$current")) ;;
        --memcached-user|--nats-user|--http-user|--socket-mode|-u|--user|--max-clients|--max-line|--max-output|--max-buffers|--fsync|--cache-max|--auth-timeout|--ping-timeout|--interclacks-ping-timeout|--interclacks-reconnect|--stalled-write-timeout|--interclacks-stalled-write-timeout|--stale-time|--deleted-time|--clean-interval) ;;
        *)
            COMPREPLY=($(compgen -W '-l --listen --memcached --memcached-user --nats --nats-user --http --http-user --socket-mode --socket-group --allow-plaintext --tls-cert --tls-key -u --user --password-file --users -m --master --master-ca --master-insecure --max-clients --max-line --max-output --max-buffers --persist --fsync --cache-max --auth-timeout --ping-timeout --interclacks-ping-timeout --interclacks-reconnect --stalled-write-timeout --interclacks-stalled-write-timeout --stale-time --deleted-time --clean-interval --daemonize --pid-file --run-as --log-file -v --verbose -q --quiet --check -h --help -V --version' -- "$current")) ;;
    esac
}

complete -F _clacksd clacksd
