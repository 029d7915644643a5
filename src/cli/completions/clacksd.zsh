#compdef clacksd
# zsh completion of clacksd. Made from the table of flags by tests/cli/completions.rs: make completions

_arguments -s -S \
    '*'{-l+,--listen=}'[listen there\: unix\:PATH, tcp\://HOST\:PORT or tls\://HOST\:PORT; may be repeated]:ADDRESS:(unix\: tcp\:// tls\://)' \
    '*--memcached=[listen there for memcached clients, at port 11211 if none is given; may be repeated]:ADDRESS:(unix\: tcp\:// tls\://)' \
    '(--memcached-user)--memcached-user=[whom memcached clients act as, without a login]:NAME: ' \
    '*--nats=[listen there for NATS clients, at port 4222 if none is given; may be repeated]:ADDRESS:(unix\: tcp\:// tls\://)' \
    '(--nats-user)--nats-user=[whom NATS clients act as that give no login]:NAME: ' \
    '*--http=[listen there for browsers and monitoring, at port 49890 if none is given; may be repeated]:ADDRESS:(unix\: tcp\:// tls\://)' \
    '(--http-user)--http-user=[whom HTTP requests without a login act as; needs the permission manage]:NAME: ' \
    '(--socket-mode)--socket-mode=[octal mode of Unix sockets]:MODE: ' \
    '(--socket-group)--socket-group=[group of Unix sockets]:GROUP:_groups' \
    '(--allow-plaintext)--allow-plaintext[allow tcp\:// on addresses that aren'\''t loopback]' \
    '(--tls-cert)--tls-cert=[certificate for tls\:// listeners (PEM, with those that lead to its authority)]:FILE:_files' \
    '(--tls-key)--tls-key=[its private key (PEM)]:FILE:_files' \
    '(-u --user)'{-u+,--user=}'[primary user]:NAME: ' \
    '(--password-file)--password-file=[its password, the first line of the file]:FILE:_files' \
    '(--users)--users=[further users, a line each\: name\:permissions\:secret]:FILE:_files' \
    '*'{-m+,--master=}'[be a slave of that server; repeated\: tried in turn]:ADDRESS:(unix\: tcp\:// tls\://)' \
    '(--master-ca)--master-ca=[authorities that a tls\:// master'\''s certificate must come from (PEM)]:FILE:_files' \
    '(--master-insecure)--master-insecure[don'\''t check the certificate of a tls\:// master\: an impostor gets the login]' \
    '(--max-clients)--max-clients=[connections at once]:N: ' \
    '(--max-line)--max-line=[longest line of a logged-in client]:SIZE: ' \
    '(--max-output)--max-output=[most output waiting for one client]:SIZE: ' \
    '(--max-buffers)--max-buffers=[most memory in all connections'\'' buffers together]:SIZE: ' \
    '(--persist)--persist=[keep the cache in this file]:FILE:_files' \
    '(--fsync)--fsync=[when changes reach the disk\: at once, when the system likes, or after S seconds at most]:always|never|S: ' \
    '(--cache-max)--cache-max=[most memory for the cache; 0\: no limit]:SIZE: ' \
    '(--auth-timeout)--auth-timeout=[seconds to connect and log in]:S: ' \
    '(--ping-timeout)--ping-timeout=[seconds without PING]:S: ' \
    '(--interclacks-ping-timeout)--interclacks-ping-timeout=[seconds without PING on a link between servers]:S: ' \
    '(--interclacks-reconnect)--interclacks-reconnect=[seconds between two dials of the master, and as much again at random]:S: ' \
    '(--stalled-write-timeout)--stalled-write-timeout=[seconds in which a client takes nothing]:S: ' \
    '(--interclacks-stalled-write-timeout)--interclacks-stalled-write-timeout=[seconds in which another server takes nothing]:S: ' \
    '(--stale-time)--stale-time=[seconds after which entries nobody uses are dropped, or never, which is the default with --persist, --cache-max or a memcached listener]:S: ' \
    '(--deleted-time)--deleted-time=[seconds for which removals are remembered]:S: ' \
    '(--clean-interval)--clean-interval=[seconds between two searches for such entries]:S: ' \
    '(--daemonize)--daemonize[go into the background]' \
    '(--pid-file)--pid-file=[write the process id there]:FILE:_files' \
    '(--run-as)--run-as=[become that user when listening]:USER:_users' \
    '(--log-file)--log-file=[log there instead of standard error]:FILE:_files' \
    '*'{-v,--verbose}'[log more; twice\: everything]' \
    '(-q --quiet)'{-q,--quiet}'[log warnings and errors only]' \
    '(--check)--check[check flags and files, say what would run, and exit]' \
    '(-h --help)'{-h,--help}'[show this help]' \
    '(-V --version)'{-V,--version}'[show the version]'
