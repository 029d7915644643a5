#!/bin/bash
# npm memcache: an item that is to expire at once, or was to expire in the past, is stored for ever.
#
# Expected: an expiry of -1, which memcached takes as "expired already", is sent to the server as it is, or refused.
# Seen: set(key, value, -1) sends the exptime 0, which means never. The item is there and stays.
#
# Versions: npm memcache 1.7.0. Needs node 18 with npm; the server is a few lines of node that print the command line.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund memcache@1.7.0
cat > try.mjs <<'END'
import net from "node:net";
import { Memcache } from "memcache";
const server = net.createServer((socket) => {
    socket.on("error", () => {});
    socket.on("data", (data) => {
        const line = data.toString().split("\r\n")[0];
        if (line.startsWith("set")) {
            console.log(line);
            socket.write("STORED\r\n");
        } else if (line.startsWith("version")) {
            socket.write("VERSION 1.6.18\r\n");
        }
    });
});
server.listen(0, "127.0.0.1", async () => {
    const client = new Memcache(`127.0.0.1:${server.address().port}`);
    await client.set("a", "x", 5);
    await client.set("a", "x", -1);
    process.exit(0);
});
END
node try.mjs > seen
cat > wanted <<'END'
set a 0 5 1
set a 0 0 1
END
diff wanted seen
cat seen
echo "as described"
