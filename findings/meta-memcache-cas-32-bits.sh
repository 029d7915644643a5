#!/bin/bash
# meta-memcache (Python): a cas number beyond 32 bits is taken as no cas at all.
#
# Expected: memcached's protocol.txt calls the cas a unique 64-bit value. A client hands it back as it came, or says that
# it can't.
# Seen: for an item whose cas is 5000000000, get_cas returns the value with None as its cas, without any error. That is
# what it returns where there is no cas, and a set with it is unconditional. Up to 4294967295 the cas is returned.
#
# Versions: meta-memcache 4.3.0 with meta-memcache-socket 0.3.1 (PyPI). Needs python3-venv. The server is a few lines of
# Python that answer an "mg" with the flags that it asks for.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv python
python/bin/pip -q --disable-pip-version-check install meta-memcache==4.3.0 meta-memcache-socket==0.3.1
cat > try.py <<'END'
import socket, threading
from meta_memcache import CacheClient, Key, ServerAddress, connection_pool_factory_builder

listener = socket.create_server(("127.0.0.1", 0))
cas = 0

def serve(connection):
    for line in connection.makefile("rb"):
        words = line.decode().split()
        if words[0] == "mn":
            connection.sendall(b"MN\r\n")
        elif words[0] == "mg":
            known = {"c": f"c{cas}", "f": "f16", "t": "t-1"}
            flags = [known[word[0]] for word in words[2:] if word[0] in known]
            connection.sendall(" ".join(["VA 5", *flags]).encode() + b"\r\nhello\r\n")

def accept():
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()

threading.Thread(target=accept, daemon=True).start()
client = CacheClient.cache_client_from_servers(
    servers=[ServerAddress("127.0.0.1", listener.getsockname()[1])],
    connection_pool_factory_fn=connection_pool_factory_builder(recv_timeout=5),
)
for cas in [4294967295, 5000000000]:
    print(cas, client.get_cas(Key("k")))
END
python/bin/python try.py > seen
cat > wanted <<'END'
4294967295 (b'hello', 4294967295)
5000000000 (b'hello', None)
END
diff wanted seen
cat seen
echo "as described"
