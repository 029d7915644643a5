//! A small Net::Clacks 36 as the other servers see it on their links (clacks-interclacks(7)): one table without stamps, raw lines that are passed on as they came, a lock while the
//! master tells what it has, and a slave that sends everything back.
//!
//! It notes every line that is not for its ears.

use super::net_clacks::Sockets;
use super::world::SECOND_US;
use clacks::broker::{ConnectionId, Flow, Now, Peer};
use clacks::protocol::token::Token;
use std::collections::{BTreeMap, BTreeSet};

const PING_INTERVAL_US: u64 = 3 * SECOND_US;
const PING_TIMEOUT_US: u64 = 60 * SECOND_US;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Client,
    Master,
    Slave,
}

struct Connection {
    role: Role,
    is_logged_in: bool,
    listens_to: BTreeSet<String>,
    /// Its clock is behind this one by so much, as far as is known.
    offset_s: f64,
    ping_sent_us: u64,
    ping_us: u64,
}

struct Entry {
    /// `None`: removed.
    value: Option<String>,
    cached_s: f64,
    accessed_s: f64,
}

pub struct Perl {
    connections: BTreeMap<ConnectionId, Connection>,
    cache: BTreeMap<String, Entry>,
    reconnect_us: u64,
    /// `None` while there is a connection to the master, or one is being made.
    dial_at_us: Option<u64>,
    last_dial_us: u64,
    is_locked: bool,
    /// Connections that wait for the unlock.
    waiting: Vec<ConnectionId>,
    /// Lines on links that Net::Clacks does not know.
    pub foreign_lines: Vec<String>,
}

impl Perl {
    pub fn new(reconnect_us: u64) -> Perl {
        Perl {
            connections: BTreeMap::new(),
            cache: BTreeMap::new(),
            reconnect_us,
            dial_at_us: Some(0),
            last_dial_us: 0,
            is_locked: false,
            waiting: Vec::new(),
            foreign_lines: Vec::new(),
        }
    }

    pub fn handle_connected(&mut self, id: ConnectionId, peer: Peer, now: Now, out: &mut Sockets) {
        let role = match peer {
            Peer::Master(_) => Role::Master,
            _ => Role::Client,
        };
        let connection = Connection {
            role,
            is_logged_in: role == Role::Master,
            listens_to: BTreeSet::new(),
            offset_s: 0.0,
            ping_sent_us: now.monotonic_us,
            ping_us: now.monotonic_us,
        };
        self.connections.insert(id, connection);
        out.say(id, "CLACKS Net::Clacks");
        if role == Role::Master {
            out.say(id, &login());
            out.say(id, "OVERHEAD I 1");
        } else {
            out.say(id, "OVERHEAD M Authentication required");
        }
    }

    pub fn handle_dial_failed(&mut self, now: Now) {
        self.schedule_dial(now);
    }

    fn schedule_dial(&mut self, now: Now) {
        let at_us = self.last_dial_us + self.reconnect_us;
        self.dial_at_us = Some(at_us.max(now.monotonic_us));
    }

    pub fn handle_closed(&mut self, id: ConnectionId, now: Now, out: &mut Sockets) {
        let closed = self.connections.remove(&id);
        if closed.is_some_and(|connection| connection.role == Role::Master) {
            self.unlock(out);
            self.schedule_dial(now);
        }
    }

    pub fn poll_deadline(&self) -> Option<u64> {
        let links = self.links(None);
        let pings = links
            .iter()
            .map(|id| self.connections[id].ping_sent_us + PING_INTERVAL_US);
        pings.chain(self.dial_at_us).min()
    }

    pub fn handle_deadline(&mut self, now: Now, out: &mut Sockets) {
        if self
            .dial_at_us
            .is_some_and(|at_us| at_us <= now.monotonic_us)
        {
            self.dial_at_us = None;
            self.last_dial_us = now.monotonic_us;
            out.dial();
        }
        for id in self.links(None) {
            let Some(link) = self.connections.get_mut(&id) else {
                continue;
            };
            if link.ping_us + PING_TIMEOUT_US <= now.monotonic_us {
                out.say(id, "TIMEOUT");
                out.close(id);
            } else if link.ping_sent_us + PING_INTERVAL_US <= now.monotonic_us {
                link.ping_sent_us = now.monotonic_us;
                out.say(id, "PING");
            }
        }
    }

    /// Every master and slave but one.
    fn links(&self, but: Option<ConnectionId>) -> Vec<ConnectionId> {
        let links = self
            .connections
            .iter()
            .filter(|(id, connection)| connection.role != Role::Client && Some(**id) != but);
        links.map(|(id, _)| *id).collect()
    }

    fn pass_on(&self, from: ConnectionId, line: &str, out: &mut Sockets) {
        for id in self.links(Some(from)) {
            out.say(id, line);
        }
    }

    fn deliver(&self, from: ConnectionId, name: &str, line: &str, out: &mut Sockets) {
        for (id, connection) in &self.connections {
            if *id != from && connection.listens_to.contains(name) {
                out.say(*id, line);
            }
        }
    }

    fn unlock(&mut self, out: &mut Sockets) {
        self.is_locked = false;
        for id in std::mem::take(&mut self.waiting) {
            out.resume(id);
        }
    }

    pub fn handle_line(
        &mut self,
        id: ConnectionId,
        line: &[u8],
        now: Now,
        out: &mut Sockets,
    ) -> Flow {
        let line = String::from_utf8_lossy(line).into_owned();
        let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let Some(connection) = self.connections.get_mut(&id) else {
            return Flow::Stop;
        };
        let is_link = connection.role != Role::Client;
        if self.is_locked && connection.role != Role::Master {
            self.waiting.push(id);
            return Flow::StopBefore;
        }
        if !connection.is_logged_in && verb != "OVERHEAD" {
            return Flow::Next;
        }
        let (name, value) = rest.split_once('=').unwrap_or((rest, ""));
        let now_s = wall_s(now);
        match verb {
            "CLACKS" => {}
            "OVERHEAD" => self.handle_overhead(id, rest, now, out),
            "PING" => connection.ping_us = now.monotonic_us,
            "QUIT" | "TIMEOUT" => out.close(id),
            "KEYSYNC" => {
                connection.ping_us = now.monotonic_us;
                let offset_s = connection.offset_s;
                self.merge(rest, offset_s);
                // As it came, whether or not it was news.
                self.pass_on(id, &line, out);
            }
            "SET" | "NOTIFY" => {
                self.deliver(id, name, &line, out);
                self.pass_on(id, &line, out);
            }
            "STORE" | "SETANDSTORE" | "REMOVE" | "INCREMENT" | "CLEARCACHE" => {
                self.write(verb, name, value, now_s);
                if verb == "SETANDSTORE" {
                    self.deliver(id, name, &format!("SET {name}={value}"), out);
                }
                self.pass_on(id, &line, out);
            }
            _ if is_link => self.foreign_lines.push(line),
            "LISTEN" => {
                connection.listens_to.insert(name.to_owned());
            }
            "FLUSH" => out.say(id, &format!("FLUSHED {rest}")),
            "RETRIEVE" => match self.cache.get(name).and_then(|entry| entry.value.as_ref()) {
                Some(value) => out.say(id, &format!("RETRIEVED {name}={value}")),
                None => out.say(id, &format!("NOTRETRIEVED {name}")),
            },
            "KEYLIST" => {
                out.say(id, "KEYLISTSTART");
                for name in self.cache.keys() {
                    out.say(id, &format!("KEY {name}"));
                }
                out.say(id, "KEYLISTEND");
            }
            _ => panic!("no client of a simulation says {line:?}"),
        }
        Flow::Next
    }

    fn handle_overhead(&mut self, id: ConnectionId, rest: &str, now: Now, out: &mut Sockets) {
        let (flags, value) = rest.split_once(' ').unwrap_or((rest, ""));
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        match flags {
            "A" => {
                connection.is_logged_in = true;
                out.say(id, "OVERHEAD O Welcome!");
            }
            "I" => {
                connection.role = Role::Slave;
                connection.ping_us = now.monotonic_us;
                out.say(id, "CLACKS Net::Clacks");
                out.say(id, "OVERHEAD M Authentication required");
                out.say(id, &login());
                out.say(id, "OVERHEAD L 1");
                self.tell(id, now, out);
                out.say(id, "OVERHEAD L 0");
                out.say(id, "PING");
            }
            "T" => {
                connection.offset_s = wall_s(now) - value.parse::<f64>().expect("a time");
            }
            "L" if connection.role == Role::Master => {
                if value == "1" {
                    self.is_locked = true;
                } else {
                    self.unlock(out);
                    self.tell(id, now, out);
                }
            }
            _ if flags.contains('G') => {
                for other in self.connections.keys().filter(|other| **other != id) {
                    out.say(*other, &format!("OVERHEAD {flags} {value}"));
                }
            }
            _ => {}
        }
    }

    /// All there is, with this node's times.
    fn tell(&self, to: ConnectionId, now: Now, out: &mut Sockets) {
        out.say(to, &format!("OVERHEAD T {:.6}", wall_s(now)));
        for (name, entry) in &self.cache {
            let (cached_s, accessed_s) = (entry.cached_s, entry.accessed_s);
            let line = match &entry.value {
                Some(value) => format!("KEYSYNC {cached_s:.6} {accessed_s:.6} U {name}={value}"),
                None => format!("KEYSYNC {cached_s:.6} 0 D {name}=REMOVED"),
            };
            out.say(to, &line);
        }
    }

    /// A KEYSYNC: the newer time wins.
    fn merge(&mut self, rest: &str, offset_s: f64) {
        let mut words = rest.splitn(4, ' ');
        let mut word = || words.next().expect("a KEYSYNC has four parts");
        let (cached, accessed, mode, entry) = (word(), word(), word(), word());
        let (name, value) = entry.split_once('=').expect("an entry");
        let cached_s = cached.parse::<f64>().expect("a time") + offset_s;
        let held = self.cache.get(name);
        if held.is_none_or(|held| held.cached_s < cached_s) {
            let entry = Entry {
                value: (mode != "D").then(|| value.to_owned()),
                cached_s,
                accessed_s: accessed.parse::<f64>().expect("a time") + offset_s,
            };
            self.cache.insert(name.to_owned(), entry);
        }
    }

    fn write(&mut self, verb: &str, name: &str, value: &str, now_s: f64) {
        let value = match verb {
            "CLEARCACHE" => return self.cache.clear(),
            "REMOVE" => None,
            "INCREMENT" => {
                let whole = |text: &str| text.parse::<i64>().expect("counters are whole");
                let held = self.cache.get(name).and_then(|held| held.value.as_deref());
                let step = if value.is_empty() { "1" } else { value };
                Some((held.map_or(0, whole) + whole(step)).to_string())
            }
            _ => Some(value.to_owned()),
        };
        let entry = Entry {
            value,
            cached_s: now_s,
            accessed_s: now_s,
        };
        self.cache.insert(name.to_owned(), entry);
    }
}

fn wall_s(now: Now) -> f64 {
    now.wall_us as f64 / SECOND_US as f64
}

fn login() -> String {
    format!("OVERHEAD A {}", Token::encode(b"admin", b"secret"))
}
