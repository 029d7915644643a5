//! Transcripts of conversations with the reference server, replayed against this one (tests/transcripts/README.md says
//! how to read them).

use crate::support::{Client, Server, Setup, token};
use regex::Regex;
use std::collections::BTreeMap;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// How the lines of a transcript reach the server.
#[derive(Clone, Copy)]
enum Sending {
    /// One write each.
    Lines,
    /// Two writes each, cut somewhere.
    Halves,
    /// All lines of a connection between two syncs in one write.
    Batches,
}

struct Replay {
    server: Server,
    sending: Sending,
    clients: BTreeMap<String, Peer>,
    random: u64,
}

struct Peer {
    client: Client,
    logged_in: bool,
    /// At the last sync.
    was_logged_in: bool,
    batch: Vec<u8>,
    /// Came since the last sync, and was not expected yet.
    came: Vec<String>,
}

impl Replay {
    fn run(path: &Path, sending: Sending) {
        let text = std::fs::read_to_string(path).expect("a transcript");
        let setup = Setup::new();
        let master = format!("unix:{}", setup.path("master").display());
        let setup = if text.contains("\nuplink ") {
            setup.flags(&["--master", &master, "--interclacks-reconnect", "0.5"])
        } else {
            setup
        };
        let mut replay = Replay {
            server: setup.start(),
            sending,
            clients: BTreeMap::new(),
            random: 1,
        };
        for (index, line) in text.lines().enumerate() {
            let place = format!("{}:{}: {line}", path.display(), index + 1);
            replay.step(line, &place);
        }
        replay.sync();
        replay.expect_nothing_more("at the end");
    }

    fn step(&mut self, line: &str, place: &str) {
        if line.is_empty() || line.starts_with('#') {
            return;
        }
        let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
        match first {
            "sync" => {
                self.expect_nothing_more(place);
                self.sync();
            }
            "wait" => {
                self.send_batches();
                std::thread::sleep(Duration::from_secs_f64(rest.parse().expect(place)));
            }
            "open" => {
                let (name, user) = rest.split_once(' ').expect(place);
                let mut client = self.server.stranger();
                client.send(&format!("CLACKS {name}"));
                client.send(&format!("OVERHEAD A {}", token(user)));
                client.expect_after_others("OVERHEAD O Welcome!");
                self.add(name, client, true);
            }
            "raw" => {
                let client = self.server.stranger();
                self.add(rest, client, false);
            }
            "uplink" => {
                let master = UnixListener::bind(self.server.setup.path("master"))
                    .expect("a socket of our own");
                let (stream, _) = master.accept().expect("the server dials");
                self.add(rest, Client::accepted(stream), false);
            }
            "authed" => self.peer(rest).logged_in = true,
            _ if rest == "closed" => assert!(self.peer(first).client.is_closed(), "{place}"),
            _ => {
                if let Some(name) = first.strip_suffix(">>") {
                    self.send(name, unescape(rest));
                } else if let Some(name) = first.strip_suffix('>') {
                    self.send(name, format!("{}\r\n", fill_in(rest)).into_bytes());
                } else if let Some(name) = first.strip_suffix('<') {
                    let came = &mut self.peer(name).came;
                    assert!(!came.is_empty(), "{place}: nothing came");
                    let line = came.remove(0);
                    assert!(pattern(rest).is_match(&line), "{place}: {line:?} came");
                } else {
                    panic!("{place}: what is that?");
                }
            }
        }
    }

    fn add(&mut self, name: &str, client: Client, logged_in: bool) {
        let peer = Peer {
            client,
            logged_in,
            was_logged_in: false,
            batch: Vec::new(),
            came: Vec::new(),
        };
        self.clients.insert(name.to_owned(), peer);
    }

    fn peer(&mut self, name: &str) -> &mut Peer {
        self.clients
            .get_mut(name)
            .expect("a connection of that name")
    }

    fn send(&mut self, name: &str, bytes: Vec<u8>) {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let cut = (self.random >> 33) as usize % bytes.len();
        let sending = self.sending;
        let peer = self.peer(name);
        match sending {
            Sending::Lines => peer.client.send_bytes(&bytes),
            Sending::Halves => {
                peer.client.send_bytes(&bytes[..cut]);
                std::thread::sleep(Duration::from_millis(2));
                peer.client.send_bytes(&bytes[cut..]);
            }
            Sending::Batches => peer.batch.extend_from_slice(&bytes),
        }
    }

    fn send_batches(&mut self) {
        for peer in self.clients.values_mut() {
            let batch = std::mem::take(&mut peer.batch);
            if !batch.is_empty() {
                peer.client.send_bytes(&batch);
            }
        }
    }

    /// The first round works everything off, the second collects what it sent to others.
    fn sync(&mut self) {
        self.send_batches();
        for _ in 0..2 {
            for peer in self.clients.values_mut().filter(|peer| peer.logged_in) {
                peer.client.start_flush();
            }
            for peer in self.clients.values_mut() {
                peer.was_logged_in = peer.logged_in;
                let came = if peer.logged_in {
                    peer.client.finish_flush()
                } else {
                    peer.client.whatever_came(Duration::from_millis(150))
                };
                // A slave PINGs every few seconds, whenever that is.
                let is_noise = |line: &str| line == "NOP" || (line == "PING" && !peer.logged_in);
                let is_of_the_test = |line: &str| line.contains("=FLUSH sync-");
                peer.came.extend(
                    came.into_iter()
                        .filter(|line| !is_noise(line) && !is_of_the_test(line)),
                );
            }
        }
    }

    /// A connection that isn't logged in can't say when it has got everything: what came to it may be
    /// expected after a later sync.
    fn expect_nothing_more(&mut self, place: &str) {
        for (name, peer) in self.clients.iter().filter(|(_, peer)| peer.was_logged_in) {
            assert!(
                peer.came.is_empty(),
                "{place}: {name} got {:?} too",
                peer.came
            );
        }
    }
}

fn fill_in(text: &str) -> String {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("a clock after 1970")
        .as_secs_f64();
    let placeholder =
        Regex::new(r"\{(\w+)(?::([^:}]*)(?::(\d+))?)?([+-]\d+)?\}").expect("a pattern");
    let replace = |found: &regex::Captures<'_>| match &found[1] {
        "token" => token(&found[2]),
        "repeat" => found[2].repeat(found[3].parse().expect("a number")),
        "now" => (now
            + found
                .get(4)
                .map_or(0.0, |offset| offset.as_str().parse().expect("a number")))
        .to_string(),
        other => panic!("unknown placeholder {other}"),
    };
    placeholder.replace_all(text, replace).into_owned()
}

/// A pattern that the answer must match as a whole.
fn pattern(text: &str) -> Regex {
    let mut pattern = regex::escape(&text.replace("{time}", "{t}"));
    for (name, meaning) in [
        ("banner", ".+"),
        ("cid", "[^=; ]+"),
        ("port", "[^;]+"),
        ("t", r"\d+(\.\d+)?"),
        ("n", r"\d+"),
    ] {
        pattern = pattern.replace(&regex::escape(&format!("{{{name}}}")), meaning);
    }
    Regex::new(&format!("^{pattern}$")).expect("a pattern")
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let (&escape, after) = rest.split_first().expect("something behind the backslash");
        rest = after;
        match escape {
            b'r' => bytes.push(b'\r'),
            b'n' => bytes.push(b'\n'),
            b't' => bytes.push(b'\t'),
            b'x' => {
                let digits = std::str::from_utf8(&rest[..2]).expect("two hex digits");
                bytes.push(u8::from_str_radix(digits, 16).expect("two hex digits"));
                rest = &rest[2..];
            }
            other => panic!("unknown escape \\{}", other as char),
        }
    }
    bytes
}

fn replay_all(sending: Sending) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("a file").path())
        .collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    assert!(paths.len() >= 20, "transcripts are missing");
    for path in paths {
        Replay::run(&path, sending);
    }
}

#[test]
fn transcripts_line_by_line() {
    replay_all(Sending::Lines);
}

#[test]
fn transcripts_with_every_line_cut_in_two() {
    replay_all(Sending::Halves);
}

#[test]
fn transcripts_in_one_write_between_two_syncs() {
    replay_all(Sending::Batches);
}
