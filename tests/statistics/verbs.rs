//! The counts of requests: each request counts under its own verb, and under no other.

use super::Figures;
use crate::support::{Client, Conversation, Server, Setup};
use std::collections::{BTreeMap, BTreeSet};

/// A way to let a request come.
enum Way {
    /// A line of the client, and a FLUSH behind it.
    Line(&'static str),
    /// QUIT, of another client.
    Quit,
    /// A command of memcached, with the end of its answer.
    Memcached(&'static str, &'static str),
    /// The login of another memcached client.
    MemcachedLogin,
    /// A request of NATS, and a PING behind it.
    Nats(&'static str),
    /// A request of HTTP for a path.
    Path(&'static str),
}
use Way::*;

/// For each verb a request, in an order in which none disturbs the next one.
const REQUESTS: &[(&str, Way)] = &[
    ("clacks.CLACKS", Line("CLACKS test")),
    ("clacks.STORE", Line("STORE a=1")),
    ("clacks.RETRIEVE", Line("RETRIEVE a")),
    ("clacks.INCREMENT", Line("INCREMENT a")),
    ("clacks.DECREMENT", Line("DECREMENT a")),
    ("clacks.EXPIRE", Line("EXPIRE a=1000")),
    ("clacks.TTL", Line("TTL a")),
    ("clacks.KEYINFO", Line("KEYINFO a")),
    ("clacks.KEYLIST", Line("KEYLIST")),
    ("clacks.REMOVE", Line("REMOVE a")),
    ("clacks.CLEARCACHE", Line("CLEARCACHE")),
    ("clacks.LISTEN", Line("LISTEN b")),
    ("clacks.PLISTEN", Line("PLISTEN c::*")),
    ("clacks.SET", Line("SET b=1")),
    ("clacks.NOTIFY", Line("NOTIFY b")),
    ("clacks.SETANDSTORE", Line("SETANDSTORE b=1")),
    ("clacks.UNLISTEN", Line("UNLISTEN b")),
    ("clacks.PUNLISTEN", Line("PUNLISTEN c::*")),
    ("clacks.MONITOR", Line("MONITOR")),
    ("clacks.UNMONITOR", Line("UNMONITOR")),
    ("clacks.CLIENTLIST", Line("CLIENTLIST")),
    ("clacks.CLIENTDISCONNECT", Line("CLIENTDISCONNECT nobody")),
    ("clacks.KEYSYNC", Line("KEYSYNC 1 1 U a=1")),
    ("clacks.NOPING", Line("NOPING")),
    ("clacks.NOP", Line("NOP")),
    ("clacks.PING", Line("PING")),
    ("clacks.OVERHEAD", Line("OVERHEAD M 1")),
    ("clacks.FLUSH", Line("FLUSH mark")),
    ("clacks.STATUS", Line("STATUS links")),
    ("clacks.unknown", Line("NONSENSE")),
    ("clacks.QUIT", Quit),
    (
        "memcached.set",
        Memcached("set a 0 0 1\r\n1\r\n", "STORED\r\n"),
    ),
    ("memcached.get", Memcached("get a\r\n", "END\r\n")),
    ("memcached.gat", Memcached("gat 0 a\r\n", "END\r\n")),
    (
        "memcached.add",
        Memcached("add a 0 0 1\r\n1\r\n", "NOT_STORED\r\n"),
    ),
    (
        "memcached.replace",
        Memcached("replace a 0 0 1\r\n1\r\n", "STORED\r\n"),
    ),
    (
        "memcached.append",
        Memcached("append a 0 0 1\r\n1\r\n", "STORED\r\n"),
    ),
    (
        "memcached.prepend",
        Memcached("prepend a 0 0 1\r\n1\r\n", "STORED\r\n"),
    ),
    (
        "memcached.cas",
        Memcached("cas a 0 0 1 1\r\n1\r\n", "EXISTS\r\n"),
    ),
    ("memcached.touch", Memcached("touch a 0\r\n", "TOUCHED\r\n")),
    ("memcached.incr", Memcached("incr a 1\r\n", "112\r\n")),
    ("memcached.decr", Memcached("decr a 1\r\n", "111\r\n")),
    ("memcached.delete", Memcached("delete a\r\n", "DELETED\r\n")),
    ("memcached.ms", Memcached("ms a 1\r\n1\r\n", "HD\r\n")),
    ("memcached.mg", Memcached("mg a\r\n", "HD\r\n")),
    ("memcached.ma", Memcached("ma a\r\n", "HD\r\n")),
    ("memcached.md", Memcached("md a\r\n", "HD\r\n")),
    ("memcached.me", Memcached("me a\r\n", "EN\r\n")),
    ("memcached.mn", Memcached("mn\r\n", "MN\r\n")),
    ("memcached.flush_all", Memcached("flush_all\r\n", "OK\r\n")),
    ("memcached.stats", Memcached("stats\r\n", "END\r\n")),
    ("memcached.administration", Memcached("version\r\n", "\r\n")),
    ("memcached.wrong", Memcached("nonsense\r\n", "ERROR\r\n")),
    ("memcached.login", MemcachedLogin),
    ("nats.CONNECT", Nats("CONNECT {\"headers\":true}\r\n")),
    ("nats.SUB", Nats("SUB a 1\r\n")),
    ("nats.UNSUB", Nats("UNSUB 1\r\n")),
    ("nats.PUB", Nats("PUB a 1\r\nx\r\n")),
    ("nats.HPUB", Nats("HPUB a 12 13\r\nNATS/1.0\r\n\r\nx\r\n")),
    ("nats.PING", Nats("PING\r\n")),
    ("nats.PONG", Nats("PONG\r\n")),
    ("nats.other", Nats("+OK\r\n")),
    ("http.healthz", Path("/healthz")),
    ("http.metrics", Path("/metrics")),
    ("http.status.json", Path("/status.json")),
    ("http.events", Path("/events")),
    ("http.page", Path("/")),
    ("http.other", Path("/elsewhere")),
];

struct World {
    server: Server,
    manager: Client,
    client: Client,
    quits: Option<Client>,
    memcached: Conversation,
    memcached_stranger: Conversation,
    nats: Conversation,
}

impl World {
    fn new() -> World {
        let setup = Setup::new();
        let [memcached, nats, http] = ["memcached", "nats", "http"].map(|name| setup.unix(name));
        let server = setup
            .flags(&["--memcached", &memcached])
            .flags(&["--nats", &nats, "--nats-user", "rw"])
            .flags(&["--http", &http, "--http-user", "mg"])
            .start();
        let begin = |name: &str| Conversation::begin(&server.setup.path(name));
        let mut memcached = begin("memcached");
        log_in(&mut memcached);
        let mut nats = begin("nats");
        nats.line();
        nats.ask(b"CONNECT {\"headers\":true}\r\nPING\r\n", b"PONG\r\n");
        World {
            manager: server.client("mg"),
            client: server.client("admin"),
            quits: Some(server.client("rw")),
            memcached,
            memcached_stranger: begin("memcached"),
            nats,
            server,
        }
    }

    /// Lets a request come. Returns the verb of another one that comes with it, if there is one.
    fn request(&mut self, way: &Way) -> Option<&'static str> {
        match way {
            Line(line) => {
                self.client.ask(line);
                return Some("clacks.FLUSH");
            }
            Quit => {
                let mut client = self.quits.take().expect("it quits once");
                client.send("QUIT");
                client.until_closed();
            }
            Memcached(command, end) => {
                self.memcached.ask(command.as_bytes(), end.as_bytes());
            }
            MemcachedLogin => log_in(&mut self.memcached_stranger),
            Nats(request) => {
                self.nats.say(request.as_bytes());
                if *request == "PING\r\n" {
                    self.nats.until(b"PONG\r\n");
                    return None;
                }
                self.nats.ask(b"PING\r\n", b"PONG\r\n");
                return Some("nats.PING");
            }
            Path(path) => {
                let mut http = Conversation::begin(&self.server.setup.path("http"));
                http.say(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
                http.line();
            }
        }
        None
    }

    /// The counts of all verbs.
    fn counts(&mut self) -> BTreeMap<String, u64> {
        let figures = Figures::of(&mut self.manager);
        let names = figures.names().filter_map(|name| {
            let verb = name.strip_prefix("requests.")?;
            Some((verb.to_owned(), figures.get(name) as u64))
        });
        names.collect()
    }
}

fn log_in(memcached: &mut Conversation) {
    memcached.ask(b"set _ _ _ 13\r\nadmin adminpw\r\n", b"STORED\r\n");
}

#[test]
fn each_request_counts_under_its_own_verb_and_no_other() {
    let mut world = World::new();
    let mut before = world.counts();
    let driven: BTreeSet<_> = REQUESTS
        .iter()
        .map(|(verb, _)| (*verb).to_owned())
        .collect();
    assert_eq!(before.keys().cloned().collect::<BTreeSet<_>>(), driven);
    for (verb, way) in REQUESTS {
        let other = world.request(way);
        let after = world.counts();
        // The question for the counts has a FLUSH behind it, too.
        let mut expected = before.clone();
        let requests = [
            Some(*verb),
            other,
            Some("clacks.STATUS"),
            Some("clacks.FLUSH"),
        ];
        for verb in requests.into_iter().flatten() {
            *expected.get_mut(verb).expect("a verb") += 1;
        }
        assert_eq!(after, expected, "{verb}");
        before = after;
    }
}
