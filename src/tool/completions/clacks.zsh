#compdef clacks
# zsh completion of clacks. Made from the table of flags by tests/cli/completions.rs: make completions

local -a commands=(
    'set:send a signal with a value'
    'notify:send a signal without one'
    'set-and-store:send a signal and store its value'
    'listen:print signals as they come'
    'store:put a value into the cache'
    'retrieve:print values of the cache'
    'remove:take names out of the cache'
    'ttl:print in how many seconds a name expires'
    'increment:add 1 or STEP to a number, and print it'
    'decrement:subtract 1 or STEP from a number, and print it'
    'keys:print the names in the cache'
    'clear:empty the cache'
    'ping:measure a round trip to the server'
    'status:print the figures of the server, or a list'
    'top:watch the server on a live screen'
    'clients:print who is connected'
    'disconnect:end a connection'
    'monitor:print all that passes the server'
    'shutdown:let the server end in 1 or S seconds'
    'send:send lines of the protocol from standard input and print the answers'
    'chat:talk to whoever else does this'
    'bench:measure the server under a load\: cache, fan-out, ping-pong or idle'
    'help:show this help, or that of a command'
)
_arguments -s -S \
    '(-s --server)'{-s+,--server=}'[the server\: unix\:PATH, tcp\://HOST\:PORT or tls\://HOST\:PORT]:ADDRESS:(unix\: tcp\:// tls\://)' \
    '(-u --user)'{-u+,--user=}'[who logs in]:USER: ' \
    '(--password-file)--password-file=[the user'\''s password, the first line of the file]:FILE:_files' \
    '(--ca)--ca=[authorities that a tls\:// server'\''s certificate must come from (PEM)]:FILE:_files' \
    '(--insecure)--insecure[don'\''t check the certificate of a tls\:// server\: an impostor gets the password]' \
    '(--allow-plaintext)--allow-plaintext[allow tcp\:// to addresses that aren'\''t loopback]' \
    '(--json)--json[print a JSON object per line]' \
    '(--raw)--raw[print the value'\''s bytes and nothing else, without a line feed]' \
    '(--ttl)--ttl=[let the value expire after that time]:S: ' \
    '(--prefix)--prefix=[remove all names that begin with it]:PREFIX: ' \
    '(--long)--long[print size, age and time to expiry before each name]' \
    '(--patterns)--patterns[names are patterns, with * for a part and > for the rest]' \
    '(--with-values)--with-values[print the present values first]' \
    '(--timestamps)--timestamps[print the time (UTC) in each line]' \
    '(--for)--for=[end after that time]:S: ' \
    '(--interval)--interval=[time between two samples]:S: ' \
    '(-n --count)'{-n+,--count=}'[end after so many lines; bench\: operations]:N: ' \
    '(--seconds)--seconds=[end after that time]:S: ' \
    '(--connections)--connections=[how many there are]:N: ' \
    '(--listeners)--listeners=[how many get each signal]:N: ' \
    '(--pipeline)--pipeline=[commands sent at once]:N: ' \
    '(--value-size)--value-size=[bytes in a value]:SIZE: ' \
    '(--names)--names=[different names]:N: ' \
    '(--reads)--reads=[share of reads; the rest writes]:PERCENT: ' \
    '(--own-names)--own-names[idle\: each listens to a name of its own]' \
    '(--pid)--pid=[the server'\''s process]:PID: ' \
    '(-h --help)'{-h,--help}'[show this help]' \
    '(-V --version)'{-V,--version}'[show the version]' \
    '1:command:{ _describe command commands }' \
    '*:argument:{ [[ $words[CURRENT-1] == help ]] && _describe command commands }'
