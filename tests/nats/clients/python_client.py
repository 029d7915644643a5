"""Does what programs do with nats-py, and prints what comes of it: python_client.py HOST PORT STEP...

The steps have the same names and mean the same in all clients of this folder. Each line of output begins with the name of
its step, and has no port, time or random word in it. Certificates are judged by the file NATS_CA.
"""

import asyncio
import os
import ssl
import sys

import nats
from nats.aio.client import Client

HOST, PORT = sys.argv[1], sys.argv[2]
# So many bytes of payload the servers take.
LIMIT = 1024 * 1024
WAIT_S = 20
# How long an answer is waited for that must not come.
SILENCE_S = 0.5
step = ""


def say(text):
    print(f"{step}: {text}".replace(PORT, "PORT"), flush=True)


def error_text(error):
    return f"{type(error).__name__}: {error}"


async def fails(what, awaitable):
    try:
        await asyncio.wait_for(awaitable, WAIT_S)
        say(f"{what}: no error")
    except Exception as error:
        say(f"{what}: {error_text(error)}")


class Told:
    """What the client says by itself, in order."""

    def __init__(self):
        self.words = asyncio.Queue()

    def options(self):
        async def error(error):
            self.words.put_nowait(f"error {error_text(error)}")

        def word(text):
            async def callback():
                self.words.put_nowait(text)

            return callback

        return {
            "error_cb": error,
            "disconnected_cb": word("disconnected"),
            "reconnected_cb": word("reconnected"),
            "closed_cb": word("closed"),
        }

    async def next(self):
        return await asyncio.wait_for(self.words.get(), WAIT_S)


async def connect(told=None, login="", **options):
    told = told or Told()
    options = {"allow_reconnect": False, **told.options(), **options}
    return await nats.connect(f"nats://{login}{HOST}:{PORT}", **options)


async def barrier(client):
    """Waits until all is done that the server has got of the client, and all is here that it has sent before."""
    # The first PING goes before what waits to be written.
    await client.flush(WAIT_S)
    await client.flush(WAIT_S)


async def until_end(sub):
    """The messages of a subscription before that with the payload "end"."""
    messages = []
    while True:
        message = await sub.next_msg(WAIT_S)
        if message.data == b"end":
            return messages
        messages.append(message)


def waiting(sub):
    """The messages that are here."""
    messages = []
    while sub.pending_msgs:
        messages.append(sub._pending_queue.get_nowait())
        sub._pending_queue.task_done()
    return messages


async def stdin_line():
    return await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


async def delivers(client):
    sub = await client.subscribe("it.works")
    await client.publish("it.works", b"indeed")
    message = await sub.next_msg(WAIT_S)
    say(f"{message.subject} {message.data.decode()}")


async def do_connect():
    told = Told()
    client = await connect(told)
    say(f"max_payload {client.max_payload}")
    await delivers(client)
    await client.close()
    while (word := await told.next()) != "closed":
        say(word)
    say(word)


async def do_login():
    client = await connect(user="rw", password="rwpw")
    await delivers(client)
    await client.close()
    client = await connect(login="rw:rwpw@")
    await delivers(client)
    await client.close()


async def do_wrong_login():
    for login in ["rw:wrong", "nobody:rwpw", "rw"]:
        await fails(login, connect(login=f"{login}@"))
    await fails("no password", connect(user="rw"))
    await fails("token", connect(token="word"))


async def do_login_required():
    await fails("no login", connect())
    client = await connect(user="rw", password="rwpw")
    await delivers(client)
    await client.close()


async def do_wildcards():
    client = await connect()
    patterns = ["w.*", "w.>", "w.*.c", "*.b", "w.b", ">"]
    subs = [await client.subscribe(pattern) for pattern in patterns]
    subjects = ["w", "w.a", "w.b", "w.b.c", "w.x.y.c", "other.b", "w.é", "W.b", "w.b"]
    for subject in subjects:
        await client.publish(subject, subject.encode())
    await barrier(client)
    for pattern, sub in zip(patterns, subs):
        say(f"{pattern} gets {[message.subject for message in waiting(sub)]}")
    await client.close()


async def do_groups():
    one, other = await connect(), await connect()
    members = [await one.subscribe("g.*", "q"), await one.subscribe("g.>", "q"), await other.subscribe("g.a", "q")]
    alone = [await other.subscribe("g.a", "r"), await other.subscribe("g.a")]
    await barrier(one)
    await barrier(other)
    for number in range(300):
        await one.publish("g.a", str(number).encode())
    await barrier(one)
    await barrier(other)
    shares = [[int(message.data) for message in waiting(sub)] for sub in members]
    everything = list(range(300))
    say(f"together each once {sorted(sum(shares, [])) == everything}")
    say(f"each in order {all(share == sorted(share) for share in shares)}")
    say(f"each has a share {all(len(share) > 30 for share in shares)}")
    for sub in alone:
        say(f"alone all {[int(message.data) for message in waiting(sub)] == everything}")
    await one.close()
    await other.close()


async def do_publish():
    client = await connect()
    sub = await client.subscribe("p.>")
    payloads = [b"", b"21.5", bytes(range(256)), b"\r\nPUB p.x 0\r\n\r\n", b"x" * 100_000]
    for number, payload in enumerate(payloads):
        await client.publish(f"p.{number}", payload)
    await client.publish("p.reply", b"with reply", reply="some.where")
    for payload in payloads:
        message = await sub.next_msg(WAIT_S)
        say(f"{message.subject} {len(message.data)} as sent {message.data == payload}")
    message = await sub.next_msg(WAIT_S)
    say(f"{message.subject} {message.data.decode()} {message.reply}")
    await client.close()


async def do_headers():
    client = await connect()
    sub = await client.subscribe("h")
    await client.publish("h", b"one", headers={"A": "1"})
    await client.publish("h", b"", headers={"A": "1", "Long-Name": "with blanks: é"})
    await client.publish("h", b"three", reply="back", headers={"A": "1"})
    await client.publish("h", b"none")
    for _ in range(4):
        message = await sub.next_msg(WAIT_S)
        headers = sorted((message.headers or {}).items())
        say(f"{message.data.decode()} {headers} {message.reply}")
    await client.close()


class Answers:
    """A connection that answers requests to `service`."""

    async def __aenter__(self):
        self.client = await connect()

        async def respond(message):
            headers = message.headers and {"Got": message.headers["A"]}
            await self.client.publish(message.reply, b"re: " + message.data, headers=headers)

        await self.client.subscribe("service", "servers", cb=respond)
        await barrier(self.client)

    async def __aexit__(self, *_):
        await self.client.close()


async def do_request():
    async with Answers():
        client = await connect()
        for number in range(3):
            message = await client.request("service", str(number).encode(), WAIT_S)
            say(f"{message.data.decode()} {message.headers}")
        message = await client.request("service", b"with headers", WAIT_S, headers={"A": "1"})
        say(f"{message.data.decode()} {message.headers}")
        message = await client.request("service", b"old style", WAIT_S, old_style=True)
        say(f"old style: {message.data.decode()}")
        await client.close()


async def do_nobody():
    client = await connect()
    await fails("request", client.request("nobody.here", b"?", WAIT_S))
    await fails("old style", client.request("nobody.here", b"?", WAIT_S, old_style=True))
    await fails("JetStream", client.jetstream().account_info())
    silent = await client.subscribe("silent")
    await fails("silence", client.request("silent", b"?", SILENCE_S))
    say(f"the silent one got {len(waiting(silent))}")
    await client.close()


async def do_auto_unsubscribe():
    client = await connect()
    soon, late, now = [await client.subscribe(f"u.{name}") for name in ["soon", "late", "now"]]
    await soon.unsubscribe(limit=3)
    for _ in range(2):
        await client.publish("u.late")
        await client.publish("u.now")
    await barrier(client)
    await late.unsubscribe(limit=4)
    # It has got so many already.
    await now.unsubscribe(limit=2)
    for _ in range(5):
        for name in ["soon", "late", "now"]:
            await client.publish(f"u.{name}")
    await barrier(client)
    for name, sub in [("soon", soon), ("late", late), ("now", now)]:
        say(f"{name} {sub._received} messages")
    again = await client.subscribe("u.soon")
    await client.publish("u.soon", b"again")
    message = await again.next_msg(WAIT_S)
    say(message.data.decode())
    await again.unsubscribe()
    await client.publish("u.soon")
    await barrier(client)
    say(f"after unsubscribing {again._received}")
    await client.close()


async def do_no_echo():
    client, other = await connect(no_echo=True), await connect()
    own = [await client.subscribe("e"), await client.subscribe("e", "q")]
    others = [await other.subscribe("e"), await other.subscribe("e", "r")]
    await barrier(client)
    await barrier(other)
    await client.publish("e", b"mine")
    await barrier(client)
    await barrier(other)
    await other.publish("e", b"theirs")
    await barrier(other)
    await barrier(client)
    for name, subs in [("own", own), ("others", others)]:
        for sub in subs:
            say(f"{name} {[message.data.decode() for message in waiting(sub)]}")
    await fails("request to itself", client_request_to_itself(client))
    await client.close()
    await other.close()


async def client_request_to_itself(client):
    await client.subscribe("self")
    await client.request("self", b"", WAIT_S)


async def do_flush():
    client = await connect()
    for _ in range(3):
        await client.flush(WAIT_S)
        say("flushed")
    say(f"rtt {0 < await client.rtt(WAIT_S) < WAIT_S}")
    await client.close()


async def do_drain():
    told = Told()
    client, other = await connect(told), await connect()
    got = []

    async def slowly(message):
        await asyncio.sleep(0.001)
        got.append(message)

    sub = await client.subscribe("d.one", cb=slowly)
    await client.subscribe("d.all", "q", cb=slowly)
    await barrier(client)
    for _ in range(50):
        await other.publish("d.one")
    await barrier(other)
    await sub.drain()
    say(f"subscription drained after {len(got)}")
    for _ in range(50):
        await other.publish("d.one")
        await other.publish("d.all")
    last = await other.subscribe("d.last")
    await barrier(other)
    await client.publish("d.last", b"last words")
    await client.drain()
    say((await last.next_msg(WAIT_S)).data.decode())
    say(f"connection drained after {len(got)}, closed {client.is_closed}")
    while (word := await told.next()) != "closed":
        say(word)
    await other.close()


async def do_close():
    client = await connect()
    sub = await client.subscribe("c")
    await barrier(client)
    await client.close()
    say(f"closed {client.is_closed}")
    await fails("publish", client.publish("c"))
    await fails("subscribe", client.subscribe("c"))
    await fails("next message", sub.next_msg(SILENCE_S))


async def do_max_payload():
    told = Told()
    client = await connect(told)
    sub = await client.subscribe("m", pending_bytes_limit=16 * LIMIT)
    await client.publish("m", b"x" * LIMIT)
    say(f"{len((await sub.next_msg(WAIT_S)).data)} bytes arrive")
    header = len("NATS/1.0\r\nA: 1\r\n\r\n")
    await client.publish("m", b"x" * (LIMIT - header), headers={"A": "1"})
    say(f"{len((await sub.next_msg(WAIT_S)).data)} bytes with a header arrive")
    await fails("one more", client.publish("m", b"x" * (LIMIT + 1)))
    await delivers(client)
    # The client does not count the header.
    await fails("one more with a header", client.publish("m", b"x" * (LIMIT - header + 1), headers={"A": "1"}))
    # It may not get the text of the error while it is still sending.
    while (word := await told.next()) != "closed":
        if not word.startswith("error"):
            say(word)
    say(word)


async def do_read_only():
    told = Told()
    client, writer = await connect(told, user="ro", password="ropw"), await connect(user="rw", password="rwpw")
    sub = await client.subscribe("perm.>")
    await barrier(client)
    await client.publish("perm.a", b"refused")
    say(await told.next())
    await client.publish("perm.a", b"refused", headers={"A": "1"})
    say(await told.next())
    await fails("request", client.request("perm.b", b"refused", SILENCE_S))
    say(await told.next())
    await writer.publish("perm.a", b"allowed")
    say((await sub.next_msg(WAIT_S)).data.decode())
    await client.close()
    await writer.close()


async def do_write_only():
    told = Told()
    client, reader = await connect(told, user="wo", password="wopw"), await connect(user="rw", password="rwpw")
    sub = await reader.subscribe("perm.>")
    await barrier(reader)
    await client.subscribe("perm.a")
    say(await told.next())
    await client.subscribe("perm.*", "q")
    say(await told.next())
    await client.publish("perm.a", b"allowed")
    say((await sub.next_msg(WAIT_S)).data.decode())
    await client.close()
    await reader.close()


async def do_tls():
    context = ssl.create_default_context(cafile=os.environ["NATS_CA"])
    client = await connect(tls=context, user="rw", password="rwpw")
    await delivers(client)
    await client.publish("large", b"x" * LIMIT)
    await barrier(client)
    await client.close()
    await fails("unknown authority", connect())


async def do_tls_first():
    context = ssl.create_default_context(cafile=os.environ["NATS_CA"])
    try:
        await connect(tls=context, tls_handshake_first=True)
        say("no error")
    except Exception:
        # The kind of error is left to chance: it may be a time limit.
        say("refused")


async def do_reconnect():
    """Prints the words of the client, and each message that has come to two subscriptions, until "end" has; after
    `reconnected`, all is subscribed again."""
    told = Told()
    client = await connect(told, allow_reconnect=True, name="reconnecting", max_reconnect_attempts=-1)
    once, limited = set(), []

    async def got(message):
        # A flood's payloads are long.
        if len(message.data) > 100:
            return
        if message.data in once:
            told.words.put_nowait(f"got {message.data.decode()}")
        once.add(message.data)

    async def got_limited(message):
        limited.append(message)

    await client.subscribe("news.>", cb=got)
    await client.subscribe("news.>", "q", cb=got)
    await (await client.subscribe("limited", cb=got_limited)).unsubscribe(limit=3)
    await barrier(client)
    say("ready")
    word = ""
    while word != "got end":
        word = await told.next()
        if word == "reconnected":
            await barrier(client)
            await client.publish("heard", b"by others")
        # The kind of error is left to chance.
        if not word.startswith("error"):
            say(word)
    say(f"limited {len(limited)}")
    await client.close()


async def do_crowd():
    """One of several clients at once: publishes at `go`, and lists what it got at `stop`."""
    name = os.environ["NATS_NAME"]
    senders, each = int(os.environ["NATS_SENDERS"]), 20
    client = await connect()
    plain, member = await client.subscribe("crowd.*"), await client.subscribe("crowd.>", "q")
    await barrier(client)
    say("ready")
    await stdin_line()
    for number in range(each):
        await client.publish(f"crowd.{name}", f"{name} {number}".encode())
    messages = [(await plain.next_msg(WAIT_S)).data.decode() for _ in range(senders * each)]
    say("all")
    await stdin_line()
    await barrier(client)
    messages += [message.data.decode() for message in waiting(plain)]
    for message in messages:
        say(f"plain {message}")
    for message in waiting(member):
        say(f"group {message.data.decode()}")
    await client.close()


async def do_relay():
    """Publishes what the lines of standard input say, and prints each message, its own ones too. A line has subject, payload,
    reply and the header A, in hexadecimal digits; what is empty or absent is a hyphen."""

    def written(text):
        return bytes(text or b"").hex() or "-"

    def read(word):
        return b"" if word == "-" else bytes.fromhex(word)

    client = await connect()

    async def show(message):
        header = (message.headers or {}).get("A", "")
        parts = [message.subject.encode(), message.data, message.reply.encode(), header.encode()]
        say(" ".join(written(part) for part in parts))

    await client.subscribe(">", cb=show)
    await barrier(client)
    say("ready")
    while line := await stdin_line():
        subject, payload, reply, header = [read(word) for word in line.split()]
        headers = {"A": header.decode()} if header else None
        try:
            await client.publish(subject.decode(), payload, reply=reply.decode(), headers=headers)
        except Exception as error:
            say(f"refused {written(subject)} {error_text(error)}")
    await client.close()


async def main():
    global step
    for step in sys.argv[3:]:
        try:
            await asyncio.wait_for(globals()[f"do_{step}"](), 3 * WAIT_S)
        except Exception as error:
            say(f"FAILED {error_text(error)}")
            raise


asyncio.run(main())
