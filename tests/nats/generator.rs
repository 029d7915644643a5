//! Streams of commands for two servers that must answer alike: few connections, few subjects, sids that collide, all
//! kinds of mistakes. The generator knows the state that its commands leave as far as the comparison needs it: the
//! members of groups, and what each connection said in CONNECT.
//!
//! Commands that nats-server is known to answer otherwise on purpose are not made here.

use super::matching::is_valid;
use crate::support::Random;
use std::collections::BTreeMap;

pub const CONNECTIONS: usize = 4;

/// A command, or a few, that one connection sends in one write.
#[derive(Debug, Clone)]
pub struct Command {
    pub connection: usize,
    pub bytes: Vec<u8>,
    /// How often PING is among them.
    pub pings: usize,
}

/// The kinds of commands that a stream may have.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    /// Connections name different users; otherwise none.
    pub has_users: bool,
    /// Commands that nats-server answers otherwise from 2.15 on are there: a second CONNECT, which ends subscriptions
    /// since then, and wrong logins, which are published.
    pub is_for_old: bool,
    /// Commands may close their connection.
    pub closes: bool,
}

/// A member of a group that several may be members of.
#[derive(Debug, Clone)]
pub struct Member {
    pub pattern: String,
    pub group: String,
}

/// The state of a connection, as its commands have set it.
#[derive(Debug, Clone)]
pub struct Said {
    /// Members of groups by sid.
    members: BTreeMap<String, Member>,
    /// All that were members by sid when the last command began, or have become so by it.
    pub candidates: Vec<(String, Member)>,
    pub wants_echo: bool,
    pub has_headers: bool,
    has_connected: bool,
    is_pedantic: bool,
    user: &'static str,
}

pub struct Generator {
    random: Random,
    range: Range,
    connections: usize,
    pub said: Vec<Said>,
    wrong_users: usize,
    /// Payloads have numbers, so that none is taken for another.
    payloads: usize,
    bytes: Vec<u8>,
    pings: usize,
}

/// Users by what they may do: everything, SUB, PUB, nothing.
const USERS: [&str; 6] = ["rw", "rw", "admin", "ro", "wo", "mg"];
const TOKENS: [&str; 9] = ["a", "a", "b", "b", "c", "*", ">", "a*", "é"];
const PATTERN_TOKENS: [&str; 8] = ["a", "a", "b", "b", "c", "*", "*", "a*"];
const SIDS: [&str; 6] = ["1", "2", "3", "0", "x-1", "1234567890"];
/// Sids of members of groups of which others may be members; the group is the first letter.
const MEMBERS: [&str; 4] = ["g1", "g2", "h1", "h2"];
const REPLIES: [&str; 6] = ["r", "r.1", "_INBOX.x.1", "a", "a..b", "b.*"];
/// They end the connection that sends them.
const CLOSING: [&str; 35] = [
    "X",
    "\r\n",
    "\n",
    " PING\r\n",
    "SUX",
    "PUBX a 1\r\n",
    "SUB\r\n",
    "PUB\r\n",
    "UNSUB\r\n",
    "-ERR\r\n",
    "-ERR 'x'\r\n",
    "MSG a 1 1\r\nx\r\n",
    "SUB a\r\n",
    "SUB a b c d\r\n",
    "SUB \r\n",
    "UNSUB \r\n",
    "UNSUB 1 2 3\r\n",
    "PUB a\r\n",
    "PUB a b 1 1\r\n",
    "PUB a x\r\n",
    "PUB a -1\r\n",
    "PUB a +1\r\n",
    "PUB a 0000000001\r\n",
    "PUB a 1\r\nxy\r\n",
    "PUB a 1\r\nx\n",
    "PUB a 1048577\r\n",
    "PUB a 999999999\r\n",
    "GET / HTTP/1.1\r\n\r\n",
    "CONNECT host:1 HTTP/1.1\r\n\r\n",
    "CONNECT {\"verbose\":1}\r\n",
    "CONNECT {\"protocol\":2}\r\n",
    "CONNECT {\"headers\":false,\"no_responders\":true}\r\n",
    "CONNECT {} x\r\n",
    "CONNECT []\r\n",
    "CONNECT\r\n",
];

impl Said {
    fn nothing() -> Said {
        Said {
            members: BTreeMap::new(),
            candidates: Vec::new(),
            wants_echo: true,
            has_headers: false,
            has_connected: false,
            is_pedantic: true,
            user: "rw",
        }
    }

    fn may_subscribe(&self) -> bool {
        !["wo", "mg"].contains(&self.user)
    }

    fn may_publish(&self) -> bool {
        !["ro", "mg"].contains(&self.user)
    }
}

impl Generator {
    pub fn new(seed: u64, range: Range) -> Generator {
        let mut random = Random::new(seed);
        // The first numbers of neighbouring seeds are alike.
        for _ in 0..8 {
            random.next();
        }
        Generator {
            random,
            range,
            connections: CONNECTIONS,
            said: vec![Said::nothing(); CONNECTIONS],
            wrong_users: 0,
            payloads: 0,
            bytes: Vec::new(),
            pings: 0,
        }
    }

    /// As [`Generator::new`], but all commands are of the first connection.
    pub fn for_one_connection(seed: u64, range: Range) -> Generator {
        Generator {
            connections: 1,
            ..Generator::new(seed, range)
        }
    }

    /// Takes note that a connection has ended, and another one has taken its place.
    pub fn begin_anew(&mut self, connection: usize) {
        self.said[connection] = Said::nothing();
    }

    /// Reports whether a connection may send PING before any other command.
    pub fn may_ping(&self, connection: usize) -> bool {
        !self.range.has_users || self.said[connection].has_connected
    }

    pub fn command(&mut self) -> Command {
        let connection = self.random.below(self.connections);
        for said in &mut self.said {
            let members = said.members.iter();
            said.candidates = members
                .map(|(sid, member)| (sid.clone(), member.clone()))
                .collect();
        }
        let connects = match self.said[connection].has_connected {
            true => self.range.is_for_old && self.one_in(30),
            false => self.range.has_users || self.one_in(2),
        };
        if connects {
            self.connect(connection);
        } else if self.range.closes && self.one_in(20) {
            self.closing();
        } else {
            // Several at once, so that their order is seen.
            let count = if self.one_in(4) { 3 } else { 1 };
            for _ in 0..count {
                self.one(connection);
            }
        }
        Command {
            connection,
            bytes: std::mem::take(&mut self.bytes),
            pings: std::mem::take(&mut self.pings),
        }
    }

    fn one(&mut self, connection: usize) {
        match self.random.below(100) {
            0..24 => self.subscribe(connection),
            24..34 => self.unsubscribe(connection),
            34..80 => self.publish(connection),
            80..86 => self.publish_header(connection),
            86..92 => {
                self.pings += 1;
                let ping = self
                    .random
                    .pick(&["PING\r\n", "ping\r\n", "PINGx y\r\n", "PING\n"]);
                self.say(&[ping]);
            }
            _ => {
                let line = self.random.pick(&[
                    "PONG\r\n",
                    "pong \r\n",
                    "+OK\r\n",
                    "+OK x\r\n",
                    "INFO {}\r\n",
                ]);
                self.say(&[line]);
            }
        }
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.random.below(count) == 0
    }

    fn say(&mut self, texts: &[&str]) {
        self.bytes.extend(texts.concat().into_bytes());
    }

    fn blank(&mut self) {
        let blank = self
            .random
            .pick(&[" ", " ", " ", " ", " ", " ", "  ", "\t"]);
        self.say(&[blank]);
    }

    fn line_end(&mut self) {
        let end = self
            .random
            .pick(&["\r\n", "\r\n", "\r\n", "\r\n", " \r\n", "\n"]);
        self.say(&[end]);
    }

    /// A verb and words, with blanks between them.
    fn line(&mut self, verb: &str, words: &[&str]) {
        let verb = match self.one_in(8) {
            true => verb.to_lowercase(),
            false => verb.to_owned(),
        };
        self.say(&[&verb]);
        for word in words {
            self.blank();
            self.say(&[word]);
        }
        self.line_end();
    }

    fn tokens(&mut self, from: &[&str]) -> String {
        let count = 1 + self.random.below(3);
        let mut tokens: Vec<&str> = (0..count).map(|_| self.random.pick(from)).collect();
        if self.one_in(20) {
            let place = self.random.below(tokens.len() + 1);
            tokens.insert(place, "");
        }
        tokens.join(".")
    }

    /// A pattern to subscribe to. nats-server says nothing about permissions where it is not valid.
    fn pattern(&mut self, connection: usize) -> String {
        loop {
            let pattern = self.any_pattern();
            if is_valid(&pattern) || self.said[connection].may_subscribe() {
                return pattern;
            }
        }
    }

    fn any_pattern(&mut self) -> String {
        let mut pattern = self.tokens(&PATTERN_TOKENS);
        if self.one_in(6) {
            pattern += ".>";
        }
        match self.random.below(40) {
            0 => ">".to_owned(),
            1 => ">.a".to_owned(),
            2 => "_INBOX.>".to_owned(),
            3 => "r.*".to_owned(),
            4 => "r".to_owned(),
            _ => pattern,
        }
    }

    fn subscribe(&mut self, connection: usize) {
        let pattern = self.pattern(connection);
        match self.random.below(5) {
            0 => {
                let sid = self.random.pick(&MEMBERS);
                let group = sid[..1].to_owned();
                self.line("SUB", &[&pattern, &group, sid]);
                let said = &mut self.said[connection];
                if is_valid(&pattern) && said.may_subscribe() {
                    let member = Member { pattern, group };
                    let member = said.members.entry(sid.to_owned()).or_insert(member);
                    said.candidates.push((sid.to_owned(), member.clone()));
                }
            }
            1 => {
                // It is alone in its group.
                let sid = self.random.pick(&["s1", "s2"]);
                let group = format!("alone-{connection}-{sid}");
                self.line("SUB", &[&pattern, &group, sid]);
            }
            _ => {
                let sid = self.random.pick(&SIDS);
                self.line("SUB", &[&pattern, sid]);
            }
        }
    }

    fn unsubscribe(&mut self, connection: usize) {
        let max = self.random.pick(&[
            "0",
            "1",
            "2",
            "3",
            "5",
            "x",
            "-1",
            "1000000000",
            "999999999",
        ]);
        match self.random.below(6) {
            0 => {
                let sid = self.random.pick(&MEMBERS);
                self.line("UNSUB", &[sid]);
                self.said[connection].members.remove(sid);
            }
            1 => {
                let sid = self.random.pick(&["s1", "s2", "none"]);
                self.line("UNSUB", &[sid, max]);
            }
            2 => {
                let sid = self.random.pick(&SIDS);
                self.line("UNSUB", &[sid]);
            }
            _ => {
                let sid = self.random.pick(&SIDS);
                self.line("UNSUB", &[sid, max]);
            }
        }
    }

    /// A subject to publish to. nats-server says two errors about a subject with a wildcard to one who may not publish.
    fn subject(&mut self, connection: usize) -> String {
        let said = &self.said[connection];
        let is_plain = said.is_pedantic && !said.may_publish();
        match self.random.below(12) {
            0 => self.random.pick(&["r", "r.1", "_INBOX.x.1"]).to_owned(),
            _ if is_plain => self.random.pick(&["a", "a.b", "b.c.a"]).to_owned(),
            _ => self.tokens(&TOKENS),
        }
    }

    fn payload(&mut self) -> String {
        self.payloads += 1;
        let text = self.random.pick(&[
            "",
            "x",
            "hello",
            "a\r\nb",
            "\r\nPING\r\n",
            "\r\nMSG a 1 1\r\nx\r\n",
        ]);
        format!("{}{text}", self.payloads)
    }

    fn size(&mut self, size: usize) -> String {
        match self.one_in(10) {
            true => format!("0{size}"),
            false => size.to_string(),
        }
    }

    fn publish(&mut self, connection: usize) {
        let (subject, mut payload) = (self.subject(connection), self.payload());
        if self.one_in(8) {
            payload.clear();
        }
        let size = self.size(payload.len());
        if self.one_in(3) {
            let reply = self.random.pick(&REPLIES);
            self.line("PUB", &[&subject, reply, &size]);
        } else {
            self.line("PUB", &[&subject, &size]);
        }
        self.say(&[&payload, "\r\n"]);
    }

    fn publish_header(&mut self, connection: usize) {
        if !self.said[connection].has_headers {
            return self.publish(connection);
        }
        let (subject, payload) = (self.subject(connection), self.payload());
        let header = self.random.pick(&[
            "NATS/1.0\r\n\r\n",
            "NATS/1.0\r\nA: 1\r\n\r\n",
            "NATS/1.0 100 Idle\r\n\r\n",
            "x",
            "",
        ]);
        let header_size = self.size(header.len());
        let size = self.size(header.len() + payload.len());
        if self.one_in(3) {
            let reply = self.random.pick(&REPLIES);
            self.line("HPUB", &[&subject, reply, &header_size, &size]);
        } else {
            self.line("HPUB", &[&subject, &header_size, &size]);
        }
        self.say(&[header, &payload, "\r\n"]);
    }

    fn connect(&mut self, connection: usize) {
        let mut keys: Vec<String> = Vec::new();
        let is_first = !self.said[connection].has_connected;
        for (key, chance) in [("verbose", 2), ("pedantic", 2), ("echo", 4)] {
            if self.one_in(chance) {
                let value = self.one_in(3);
                keys.push(format!("\"{key}\":{value}"));
                match key {
                    "pedantic" => self.said[connection].is_pedantic = value,
                    "echo" => self.said[connection].wants_echo = value,
                    _ => {}
                }
            }
        }
        if !self.one_in(4) {
            keys.push("\"headers\":true".to_owned());
            self.said[connection].has_headers = true;
            if self.one_in(2) {
                keys.push("\"no_responders\":true".to_owned());
            }
        }
        if self.range.has_users && is_first {
            let user = USERS[self.random.below(USERS.len())];
            keys.push(format!("\"user\":\"{user}\",\"pass\":\"{user}pw\""));
            self.said[connection].user = user;
        }
        for _ in 0..self.random.below(3) {
            let key = self.random.pick(&[
                "\"protocol\":1",
                "\"protocol\":0",
                "\"lang\":\"test\"",
                "\"name\":null",
                "\"other\":[{}]",
                "\"echo\":null",
            ]);
            keys.push(key.to_owned());
        }
        self.said[connection].has_connected = true;
        let begin = self.random.pick(&[
            "CONNECT {",
            "CONNECT {",
            "connect {",
            "CONNECT{",
            "CONNECT  { ",
        ]);
        self.say(&[begin, &keys.join(","), "}"]);
        self.line_end();
    }

    /// Something that ends the connection. Wrong users have names of their own, since the next login is answered late.
    fn closing(&mut self) {
        if self.range.has_users && self.range.is_for_old && self.one_in(4) {
            self.wrong_users += 1;
            let user = format!("nobody{}", self.wrong_users);
            return self.say(&["CONNECT {\"user\":\"", &user, "\",\"pass\":\"x\"}\r\n"]);
        }
        let text = self.random.pick(&CLOSING);
        self.say(&[text]);
    }
}
