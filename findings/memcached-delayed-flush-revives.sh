#!/bin/bash
# memcached: a delayed flush_all that follows an immediate one brings back what the first one had flushed.
#
# Expected: what "flush_all" has invalidated stays invalid, whatever follows. protocol.txt says of a delay that items
# are invalidated later, and of no command that it makes an invalidated item valid again.
# Seen: after "set", "flush_all" and "flush_all 1000", a get finds the item, which the first flush_all had flushed. (A get
# between the two finds nothing, and removes it.)
#
# Versions: Debian's memcached 1.6.18-1+deb12u1 with libevent-2.1-7 2.1.12-stable-8. Needs Debian 12 with python3.
set -euo pipefail

folder=$(mktemp -d)
server=
trap 'if [ -n "$server" ]; then kill "$server"; fi; rm -rf "$folder"' EXIT
cd "$folder"
chmod 755 .
apt-get -qq -o APT::Sandbox::User=root download memcached=1.6.18-1+deb12u1 libevent-2.1-7=2.1.12-stable-8
for package in *.deb; do dpkg-deb -x "$package" root; done
LD_LIBRARY_PATH=$(dirname "$(find "$PWD/root" -name 'libevent-2.1.so.7')")
export LD_LIBRARY_PATH
root/usr/bin/memcached -u root -s "$PWD/socket" -m 64 &
server=$!

cat > ask.py <<'END'
import socket, sys, time
for _ in range(100):
    client = socket.socket(socket.AF_UNIX)
    try:
        client.connect(sys.argv[1])
        break
    except OSError:
        time.sleep(0.05)
answers = client.makefile("rb")
def ask(line, count):
    client.sendall(line.encode().replace(b"|", b"\r\n") + b"\r\n")
    for _ in range(count):
        print(line.split("|")[0], "->", answers.readline().decode().strip())
ask("set a 7 0 5|hello", 1)
# The server's clock ticks once a second: the flush is to be later than the item.
time.sleep(3)
ask("flush_all", 1)
ask("flush_all 1000", 1)
ask("get a", 1)
END
python3 ask.py "$PWD/socket" > seen
cat > wanted <<'END'
set a 7 0 5 -> STORED
flush_all -> OK
flush_all 1000 -> OK
get a -> VALUE a 7 5
END
diff wanted seen
cat seen
echo "as described"
