// The steps of both clients for Node. They have the same names and mean the same in all clients of this folder. Each line of
// output begins with the name of its step, and has no port, time or random word in it. Certificates are judged by the file
// NATS_CA.
"use strict";

const readline = require("node:readline");

const [HOST, PORT] = process.argv.slice(2);
// So many bytes of payload the servers take.
const LIMIT = 1024 * 1024;
const WAIT_MS = 20_000;
// How long an answer is waited for that must not come.
const SILENCE_MS = 500;

let nats;
let jetStream;
let step = "";

function say(text) {
  console.log(`${step}: ${text}`.replaceAll(PORT, "PORT"));
}

function errorText(error) {
  // OpenSSL's text has an address in it.
  if (error.library === "SSL routines") return error.code;
  const code = error.code === undefined ? "" : ` ${error.code}`;
  return `${error.name}${code}: ${error.message}`;
}

async function fails(what, call) {
  try {
    await call();
    say(`${what}: no error`);
  } catch (error) {
    say(`${what}: ${errorText(error)}`);
  }
}

function inTime(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no ${what} in time`)), WAIT_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// Things that come one after the other.
class Queue {
  items = [];
  waiting = null;

  push(item) {
    this.items.push(item);
    this.waiting?.();
  }

  async next() {
    while (this.items.length === 0) {
      await inTime(new Promise((resolve) => (this.waiting = resolve)), "item");
    }
    return this.items.shift();
  }

  // Those that are here.
  rest() {
    return this.items.splice(0);
  }
}

async function connect(options = {}) {
  const client = await nats.connect({ servers: `${HOST}:${PORT}`, reconnect: false, ...options });
  client.words = new Queue();
  (async () => {
    for await (const status of client.status()) {
      // The number of attempts is left to chance, and some servers have more to tell about themselves.
      if (status.type === "reconnecting" || status.type === "update") continue;
      // Version 2 has a text or a code there, version 3 an error.
      const error = status.type === "error" ? ` ${status.error?.message ?? status.data}` : "";
      // Version 2 has the error's kind and subject in another place.
      const about = status.permissionContext;
      client.words.push(`${status.type}${error}${about ? ` ${about.operation} ${about.subject}` : ""}`);
    }
  })();
  return client;
}

// The messages of a subscription, and its errors as texts.
function subscribe(client, subject, options = {}) {
  const messages = new Queue();
  const callback = (error, message) => messages.push(error ? errorText(error) : message);
  messages.subscription = client.subscribe(subject, { callback, ...options });
  return messages;
}

async function delivers(client) {
  const messages = subscribe(client, "it.works");
  client.publish("it.works", "indeed");
  const message = await messages.next();
  say(`${message.subject} ${message.string()}`);
}

function headersOf(message) {
  const headers = [...(message.headers ?? [])];
  return JSON.stringify(headers.sort());
}

function headers(entries) {
  const all = nats.headers();
  for (const [key, value] of entries) all.append(key, value);
  return all;
}

const texts = (messages) => JSON.stringify(messages.rest().map((message) => message.string?.() ?? message));

async function linesOfStdin() {
  const lines = new Queue();
  readline.createInterface({ input: process.stdin }).on("line", (line) => lines.push(line));
  return lines;
}

const STEPS = {
  async connect() {
    const client = await connect();
    say(`max_payload ${client.info.max_payload}`);
    await delivers(client);
    await client.close();
    say(`closed ${client.isClosed()} ${await client.closed()}`);
  },

  async login() {
    const client = await connect({ user: "rw", pass: "rwpw" });
    await delivers(client);
    await client.close();
  },

  async wrong_login() {
    await fails("wrong password", () => connect({ user: "rw", pass: "wrong" }));
    await fails("no such user", () => connect({ user: "nobody", pass: "rwpw" }));
    await fails("no password", () => connect({ user: "rw" }));
    await fails("token", () => connect({ token: "word" }));
  },

  async login_required() {
    await fails("no login", () => connect());
    const client = await connect({ user: "rw", pass: "rwpw" });
    await delivers(client);
    await client.close();
  },

  async wildcards() {
    const client = await connect();
    const patterns = ["w.*", "w.>", "w.*.c", "*.b", "w.b", ">"];
    const all = patterns.map((pattern) => subscribe(client, pattern));
    const subjects = ["w", "w.a", "w.b", "w.b.c", "w.x.y.c", "other.b", "w.é", "W.b", "w.b"];
    for (const subject of subjects) client.publish(subject, subject);
    await client.flush();
    patterns.forEach((pattern, index) => say(`${pattern} gets ${texts(all[index])}`));
    await client.close();
  },

  async groups() {
    const [one, other] = [await connect(), await connect()];
    const members = [
      subscribe(one, "g.*", { queue: "q" }),
      subscribe(one, "g.>", { queue: "q" }),
      subscribe(other, "g.a", { queue: "q" }),
    ];
    const alone = [subscribe(other, "g.a", { queue: "r" }), subscribe(other, "g.a")];
    await one.flush();
    await other.flush();
    for (let number = 0; number < 300; number++) one.publish("g.a", `${number}`);
    await one.flush();
    await other.flush();
    const shares = members.map((member) => member.rest().map((message) => Number(message.string())));
    const sorted = (share) => `${[...share].sort((a, b) => a - b)}`;
    const everything = `${Array.from({ length: 300 }, (_, number) => number)}`;
    say(`together each once ${sorted(shares.flat()) === everything}`);
    say(`each in order ${shares.every((share) => `${share}` === sorted(share))}`);
    say(`each has a share ${shares.every((share) => share.length > 30)}`);
    for (const messages of alone) {
      say(`alone all ${`${messages.rest().map((message) => message.string())}` === everything}`);
    }
    await one.close();
    await other.close();
  },

  async publish() {
    const client = await connect();
    const messages = subscribe(client, "p.>");
    const payloads = [
      Buffer.alloc(0),
      Buffer.from("21.5"),
      Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)),
      Buffer.from("\r\nPUB p.x 0\r\n\r\n"),
      Buffer.alloc(100_000, "x"),
    ];
    payloads.forEach((payload, number) => client.publish(`p.${number}`, payload));
    client.publish("p.reply", "with reply", { reply: "some.where" });
    for (const payload of payloads) {
      const message = await messages.next();
      say(`${message.subject} ${message.data.length} as sent ${payload.equals(message.data)}`);
    }
    const message = await messages.next();
    say(`${message.subject} ${message.string()} ${message.reply}`);
    await client.close();
  },

  async headers() {
    const client = await connect();
    const messages = subscribe(client, "h");
    client.publish("h", "one", { headers: headers([["A", "1"]]) });
    client.publish("h", "", { headers: headers([["A", "1"], ["Long-Name", "with blanks: é"], ["A", "2"]]) });
    client.publish("h", "three", { headers: headers([["A", "1"]]), reply: "back" });
    client.publish("h", "none");
    for (let count = 0; count < 4; count++) {
      const message = await messages.next();
      say(`${message.string()} ${headersOf(message)} ${message.reply}`);
    }
    await client.close();
  },

  async request() {
    const [client, other] = [await connect(), await connect()];
    const callback = (_, message) => {
      const options = message.headers && { headers: headers([["Got", message.headers.get("A")]]) };
      message.respond(`re: ${message.string()}`, options);
    };
    other.subscribe("service", { queue: "servers", callback });
    await other.flush();
    for (let number = 0; number < 3; number++) {
      const message = await client.request("service", `${number}`, { timeout: WAIT_MS });
      say(`${message.string()} ${headersOf(message)}`);
    }
    let options = { timeout: WAIT_MS, headers: headers([["A", "1"]]) };
    let message = await client.request("service", "with headers", options);
    say(`${message.string()} ${headersOf(message)}`);
    message = await client.request("service", "old style", { timeout: WAIT_MS, noMux: true });
    say(`old style: ${message.string()}`);
    await client.close();
    await other.close();
  },

  async nobody() {
    const client = await connect();
    const request = (subject, options) => () => client.request(subject, "?", { timeout: WAIT_MS, ...options });
    await fails("request", request("nobody.here"));
    await fails("old style", request("nobody.here", { noMux: true }));
    await fails("JetStream", () => jetStream(client));
    const silent = subscribe(client, "silent");
    await fails("silence", request("silent", { timeout: SILENCE_MS }));
    say(`the silent one got ${silent.rest().length}`);
    await client.close();
  },

  async auto_unsubscribe() {
    const client = await connect();
    const names = ["soon", "late", "now"];
    const [soon, late, now] = names.map((name) => subscribe(client, `u.${name}`));
    soon.subscription.unsubscribe(3);
    for (let count = 0; count < 2; count++) {
      client.publish("u.late");
      client.publish("u.now");
    }
    await client.flush();
    late.subscription.unsubscribe(4);
    // It has got so many already.
    now.subscription.unsubscribe(2);
    for (let count = 0; count < 5; count++) for (const name of names) client.publish(`u.${name}`);
    await client.flush();
    [soon, late, now].forEach((messages, index) => {
      say(`${names[index]} ${messages.rest().length} messages, closed ${messages.subscription.isClosed()}`);
    });
    const again = subscribe(client, "u.soon");
    client.publish("u.soon", "again");
    say((await again.next()).string());
    again.subscription.unsubscribe();
    client.publish("u.soon");
    await client.flush();
    say(`after unsubscribing ${again.rest().length}`);
    await client.close();
  },

  async no_echo() {
    const [client, other] = [await connect({ noEcho: true }), await connect()];
    const own = [subscribe(client, "e"), subscribe(client, "e", { queue: "q" })];
    const others = [subscribe(other, "e"), subscribe(other, "e", { queue: "r" })];
    await client.flush();
    await other.flush();
    client.publish("e", "mine");
    await client.flush();
    await other.flush();
    other.publish("e", "theirs");
    await other.flush();
    await client.flush();
    for (const messages of own) say(`own ${texts(messages)}`);
    for (const messages of others) say(`others ${texts(messages)}`);
    subscribe(client, "self");
    await fails("request to itself", () => client.request("self", "", { timeout: WAIT_MS }));
    await client.close();
    await other.close();
  },

  async flush() {
    const client = await connect();
    for (let count = 0; count < 3; count++) {
      await client.flush();
      say("flushed");
    }
    say(`rtt ${(await client.rtt()) >= 0}`);
    await client.close();
  },

  async drain() {
    const [client, other] = [await connect(), await connect()];
    const [one, all] = [subscribe(client, "d.one"), subscribe(client, "d.all", { queue: "q" })];
    const last = subscribe(other, "d.last");
    await client.flush();
    await other.flush();
    for (let count = 0; count < 50; count++) other.publish("d.one");
    await other.flush();
    await one.subscription.drain();
    say(`subscription drained after ${one.rest().length}`);
    for (let count = 0; count < 50; count++) {
      other.publish("d.one");
      other.publish("d.all");
    }
    await other.flush();
    client.publish("d.last", "last words");
    await client.drain();
    say((await last.next()).string());
    say(`connection drained after ${one.rest().length + all.rest().length}, closed ${client.isClosed()}`);
    await other.close();
  },

  async close() {
    const client = await connect();
    const messages = subscribe(client, "c");
    await client.flush();
    await client.close();
    say(`closed ${client.isClosed()}, subscription ${messages.subscription.isClosed()}`);
    await fails("publish", () => client.publish("c"));
    await fails("subscribe", () => client.subscribe("c"));
    await fails("flush", () => client.flush());
  },

  async max_payload() {
    const client = await connect();
    const messages = subscribe(client, "m");
    client.publish("m", Buffer.alloc(LIMIT, "x"));
    say(`${(await messages.next()).data.length} bytes arrive`);
    const header = "NATS/1.0\r\nA: 1\r\n\r\n".length;
    const options = { headers: headers([["A", "1"]]) };
    client.publish("m", Buffer.alloc(LIMIT - header, "x"), options);
    say(`${(await messages.next()).data.length} bytes with a header arrive`);
    await fails("one more", () => client.publish("m", Buffer.alloc(LIMIT + 1, "x")));
    await fails("one more with a header", () => client.publish("m", Buffer.alloc(LIMIT - header + 1, "x"), options));
    await delivers(client);
    await client.close();
  },

  async read_only() {
    const [client, writer] = [await connect({ user: "ro", pass: "ropw" }), await connect({ user: "rw", pass: "rwpw" })];
    const messages = subscribe(client, "perm.>");
    await client.flush();
    client.publish("perm.a", "refused");
    say(await client.words.next());
    client.publish("perm.a", "refused", { headers: headers([["A", "1"]]) });
    say(await client.words.next());
    await fails("request", () => client.request("perm.b", "refused", { timeout: SILENCE_MS }));
    say(await client.words.next());
    writer.publish("perm.a", "allowed");
    say((await messages.next()).string());
    await client.close();
    await writer.close();
  },

  async write_only() {
    const [client, reader] = [await connect({ user: "wo", pass: "wopw" }), await connect({ user: "rw", pass: "rwpw" })];
    const messages = subscribe(reader, "perm.>");
    await reader.flush();
    for (const [subject, options] of [["perm.a", {}], ["perm.*", { queue: "q" }]]) {
      const refused = subscribe(client, subject, options);
      say(await client.words.next());
      say(`${await refused.next()}, closed ${refused.subscription.isClosed()}`);
    }
    client.publish("perm.a", "allowed");
    say((await messages.next()).string());
    await client.close();
    await reader.close();
  },

  async tls() {
    const client = await connect({ tls: { caFile: process.env.NATS_CA }, user: "rw", pass: "rwpw" });
    await delivers(client);
    client.publish("large", Buffer.alloc(LIMIT, "x"));
    await client.flush();
    await client.close();
    await fails("unknown authority", () => connect());
  },

  async tls_first() {
    const tls = { caFile: process.env.NATS_CA, handshakeFirst: true };
    // The kind of error is left to chance: it may be a time limit.
    say(await connect({ tls }).then(() => "no error", () => "refused"));
  },

  // Prints the words of the client, and each message that has come to two subscriptions, until "end" has; after `reconnect`,
  // all is subscribed again.
  async reconnect() {
    const options = { name: "reconnecting", reconnect: true, maxReconnectAttempts: -1 };
    const client = await connect(options);
    const { words } = client;
    const once = new Set();
    const callback = (_, message) => {
      // A flood's payloads are long.
      if (message.data.length > 100) return;
      const text = message.string();
      if (once.has(text)) words.push(`got ${text}`);
      once.add(text);
    };
    client.subscribe("news.>", { callback });
    client.subscribe("news.>", { callback, queue: "q" });
    const limited = subscribe(client, "limited");
    limited.subscription.unsubscribe(3);
    await client.flush();
    say("ready");
    for (let word = ""; word !== "got end"; ) {
      word = await words.next();
      if (word === "reconnect") {
        await client.flush();
        client.publish("heard", "by others");
      }
      say(word);
    }
    say(`limited ${limited.rest().length}`);
    await client.close();
  },

  // One of several clients at once: publishes at `go`, and lists what it got at `stop`.
  async crowd() {
    const name = process.env.NATS_NAME;
    const each = 20;
    const count = Number(process.env.NATS_SENDERS) * each;
    const lines = await linesOfStdin();
    const client = await connect();
    const [plain, member] = [subscribe(client, "crowd.*"), subscribe(client, "crowd.>", { queue: "q" })];
    await client.flush();
    say("ready");
    await lines.next();
    for (let number = 0; number < each; number++) client.publish(`crowd.${name}`, `${name} ${number}`);
    const messages = [];
    while (messages.length < count) messages.push(await plain.next());
    say("all");
    await lines.next();
    await client.flush();
    for (const message of [...messages, ...plain.rest()]) say(`plain ${message.string()}`);
    for (const message of member.rest()) say(`group ${message.string()}`);
    await client.close();
  },

  // Publishes what the lines of standard input say, and prints each message, its own ones too. A line has subject, payload,
  // reply and the header A, in hexadecimal digits; what is empty or absent is a hyphen.
  async relay() {
    const written = (bytes) => Buffer.from(bytes ?? "").toString("hex") || "-";
    const read = (word) => Buffer.from(word === "-" ? "" : word, "hex");
    const client = await connect();
    const callback = (_, message) => {
      const parts = [message.subject, message.data, message.reply, message.headers?.get("A")];
      say(parts.map(written).join(" "));
    };
    client.subscribe(">", { callback });
    await client.flush();
    const lines = readline.createInterface({ input: process.stdin });
    say("ready");
    for await (const line of lines) {
      const [subject, payload, reply, header] = line.split(" ").map(read);
      const options = {};
      if (reply.length > 0) options.reply = reply.toString();
      if (header.length > 0) options.headers = headers([["A", header.toString()]]);
      try {
        client.publish(subject.toString(), payload, options);
      } catch (error) {
        say(`refused ${written(subject)} ${errorText(error)}`);
      }
    }
    await client.close();
  },
};

module.exports = async (library, firstRequestToJetStream) => {
  nats = library;
  jetStream = firstRequestToJetStream;
  for (step of process.argv.slice(4)) {
    try {
      await STEPS[step]();
    } catch (error) {
      say(`FAILED ${errorText(error)}`);
      console.error(error);
      process.exit(1);
    }
  }
  process.exit(0);
};
