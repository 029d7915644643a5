//! A broker with a journal on a simulated disk, on a clock of the test's own, and what it promised.

use crate::support::{SimulatedDisk, SimulatedJournal};
use clacks::broker::{
    Broker, Carrier, CloseReason, ConnectionId, Flow, Now, Peer, Process, Record, Recording,
    Rewrite, Settings, Traffic, Users,
};
use clacks::limits::SECOND_US;
use clacks::protocol::Language;
use clacks::protocol::token::Token;
use clacks::storage::{LoadError, Loaded, SyncPolicy};
use std::collections::{BTreeMap, VecDeque};

pub const START_WALL_US: u64 = 1_700_000_000 * SECOND_US;

struct Wires {
    received: BTreeMap<u32, Vec<u8>>,
    resumed: Vec<u32>,
    journal: SimulatedJournal,
}

impl Carrier for Wires {
    fn append(&mut self, to: ConnectionId, encode: impl FnOnce(&mut Vec<u8>)) {
        encode(self.received.entry(to.slot).or_default());
    }

    fn fan_out(&mut self, to: impl IntoIterator<Item = ConnectionId>, payload: &[u8]) {
        for id in to {
            self.append(id, |bytes| bytes.extend_from_slice(payload));
        }
    }

    fn close(&mut self, _: ConnectionId, reason: CloseReason) {
        panic!("nobody is closed here: {reason}");
    }

    fn set_link(&mut self, _: ConnectionId) {}

    fn resume(&mut self, connection: ConnectionId) {
        self.resumed.push(connection.slot);
    }

    fn charge_memory(&mut self, _: ConnectionId, _: isize) {}
    fn request_writable(&mut self, _: ConnectionId) {}
    fn dial(&mut self, _: usize) {}
    fn cancel_dial(&mut self) {}

    fn traffic(&self, _: ConnectionId) -> Traffic {
        Traffic::default()
    }
}

impl Recording for Wires {
    fn record(&mut self, record: &Record<'_>) {
        self.journal.recorder.record(record);
    }

    fn rewrite(&mut self, step: &Rewrite<'_>) {
        self.journal.recorder.rewrite(step);
    }

    fn unsaved(&self) -> usize {
        self.journal.recorder.unsaved()
    }
}

/// The values of all names, change by change.
#[derive(Default, Clone)]
pub struct History {
    /// The values of each name, `None` for no entry, each with the number of the change from which on the name had it.
    names: BTreeMap<String, Vec<(usize, Option<String>)>>,
    /// The monotonic time of each change, in microseconds.
    times_us: Vec<u64>,
    /// The number of changes that are safe on the disk, according to a FLUSHED.
    pub flushed: usize,
}

impl History {
    pub fn changes(&self) -> usize {
        self.times_us.len()
    }

    fn set(&mut self, name: &str, value: Option<String>) {
        let changes = self.times_us.len();
        let values = self.names.entry(name.to_owned()).or_default();
        if values.is_empty() {
            values.push((0, None));
        }
        values.push((changes, value));
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.names.get(name)?.last()?.1.as_deref()
    }

    /// Records the changes of a line that the broker has handled.
    fn apply(&mut self, line: &str, now_us: u64) {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        self.times_us.push(now_us);
        match verb {
            "STORE" => {
                let (name, value) = rest.split_once('=').expect("a pair");
                self.set(name, Some(value.to_owned()));
            }
            "REMOVE" => self.set(rest, None),
            "INCREMENT" => {
                let count: i64 = self
                    .value(rest)
                    .map_or(0, |value| value.parse().unwrap_or(0));
                self.set(rest, Some((count + 1).to_string()));
            }
            "CLEARCACHE" => {
                let all: Vec<String> = self.names.keys().cloned().collect();
                all.iter().for_each(|name| self.set(name, None));
            }
            _ => {
                self.times_us.pop();
            }
        }
    }

    /// So many changes had been made by then.
    pub fn changes_until(&self, time_us: u64) -> usize {
        self.times_us.partition_point(|at_us| *at_us <= time_us)
    }

    /// Everything as it was after so many changes.
    pub fn state_after(&self, changes: usize) -> BTreeMap<String, String> {
        let value_then = |values: &Vec<(usize, Option<String>)>| {
            let then = values.partition_point(|(at, _)| *at <= changes);
            values[..then].last().and_then(|(_, value)| value.clone())
        };
        let names = self.names.iter();
        names
            .filter_map(|(name, values)| Some((name.clone(), value_then(values)?)))
            .collect()
    }

    /// Checks that each name has a value that it had at some time since so many changes.
    pub fn check_each(&self, found: &BTreeMap<String, String>, since: usize, what: &str) {
        for name in found.keys() {
            assert!(self.names.contains_key(name), "{what}: {name} was made up");
        }
        for (name, values) in &self.names {
            let first = values.partition_point(|(at, _)| *at <= since) - 1;
            let found = found.get(name);
            assert!(
                values[first..]
                    .iter()
                    .any(|(_, value)| value.as_ref() == found),
                "{what}: {name} has {:?}, which it had at no time since change {since}",
                found.map(|value| &value[..value.len().min(20)]),
            );
        }
    }

    /// Returns a history that begins with the entries found, before any change.
    pub fn starting_with(found: &BTreeMap<String, String>) -> History {
        let names = found
            .iter()
            .map(|(name, value)| (name.clone(), vec![(0, Some(value.clone()))]));
        History {
            names: names.collect(),
            ..History::default()
        }
    }
}

pub struct Node {
    broker: Broker,
    wires: Wires,
    pub now_us: u64,
    /// The lines of each client, by its slot, that the broker has not handled yet.
    lines: BTreeMap<u32, VecDeque<String>>,
    stopped: BTreeMap<u32, bool>,
    /// How many changes there were when a client asked for a FLUSH.
    asked: BTreeMap<u32, usize>,
    pub history: History,
}

pub const CLIENTS: u32 = 3;

impl Node {
    /// Starts from what the disk has, at a time.
    pub fn start(
        disk: &SimulatedDisk,
        sync: SyncPolicy,
        settings: Settings,
        now_us: u64,
    ) -> Result<(Node, Option<Loaded>), LoadError> {
        let users = Users::new("admin", b"pw");
        let settings = Settings {
            journal: true,
            ..settings
        };
        let mut broker = Broker::new(settings, users, [now_us, 2, 3, 4]);
        let (journal, loaded) = SimulatedJournal::start(disk, sync, &mut broker)?;
        let wires = Wires {
            received: BTreeMap::new(),
            resumed: Vec::new(),
            journal,
        };
        let mut node = Node {
            broker,
            wires,
            now_us,
            lines: BTreeMap::new(),
            stopped: BTreeMap::new(),
            asked: BTreeMap::new(),
            history: History::default(),
        };
        let token = Token::encode(b"admin", b"pw");
        for slot in 0..CLIENTS {
            let now = node.now();
            node.broker.handle_connected(
                id(slot),
                Peer::Unix(Process::default()),
                Language::Clacks,
                now,
                &mut node.wires,
            );
            node.say(slot, &format!("OVERHEAD A {token}"));
            node.say(slot, "NOPING");
        }
        node.work_off();
        node.history = History::starting_with(&node.contents());
        Ok((node, loaded))
    }

    fn now(&self) -> Now {
        Now {
            monotonic_us: self.now_us,
            wall_us: START_WALL_US + self.now_us,
        }
    }

    pub fn say(&mut self, slot: u32, line: &str) {
        self.lines
            .entry(slot)
            .or_default()
            .push_back(line.to_owned());
    }

    /// Reports whether lines of a client are still to be handled.
    pub fn has_lines(&self, slot: u32) -> bool {
        self.lines.get(&slot).is_some_and(|lines| !lines.is_empty())
    }

    /// Reports whether a client is stopped: its next line waits until the broker resumes it.
    pub fn is_stopped(&self, slot: u32) -> bool {
        self.stopped.get(&slot).copied().unwrap_or(false)
    }

    /// Runs one turn of the loop: the broker handles the clients' lines, and its records are handed to the journal.
    pub fn work_off(&mut self) {
        for slot in 0..CLIENTS {
            while !self.is_stopped(slot)
                && let Some(line) = self.lines.entry(slot).or_default().pop_front()
            {
                let now = self.now();
                if line.starts_with("FLUSH") {
                    self.asked.entry(slot).or_insert(self.history.changes());
                }
                let flow = self.broker.handle_request(
                    id(slot),
                    &Language::Clacks.decode(line.as_bytes()),
                    now,
                    &mut self.wires,
                );
                if flow == Flow::Next {
                    self.history.apply(&line, self.now_us);
                    self.note_answers(slot);
                    continue;
                }
                self.lines.entry(slot).or_default().push_front(line);
                self.stopped.insert(slot, true);
            }
        }
        let now = self.now();
        if self
            .broker
            .poll_deadline()
            .is_some_and(|at_us| at_us <= self.now_us)
        {
            self.broker.handle_deadline(now, &mut self.wires);
        }
        self.wires.journal.hand_over(self.broker.recorded());
    }

    fn note_answers(&mut self, slot: u32) {
        let received = self.wires.received.entry(slot).or_default();
        let text = String::from_utf8_lossy(received).into_owned();
        if text.contains("FLUSHED") {
            let asked = self.asked.remove(&slot).expect("it has asked");
            if !text.contains("not_saved") {
                self.history.flushed = self.history.flushed.max(asked);
            }
        }
        received.clear();
    }

    /// Batches that were handed over and are not written.
    pub fn waiting(&self) -> usize {
        self.wires.journal.waiting()
    }

    /// The journal's thread gets to write so many batches.
    pub fn write(&mut self, batches: usize) {
        let news = self.wires.journal.write(batches, self.now_us);
        let now = self.now();
        self.broker.handle_saved(news, now, &mut self.wires);
        for slot in std::mem::take(&mut self.wires.resumed) {
            self.stopped.insert(slot, false);
        }
    }

    pub fn write_is_due(&self) -> bool {
        self.wires
            .journal
            .deadline_us()
            .is_some_and(|at_us| at_us <= self.now_us)
    }

    /// Returns the entries that clients find: each name with its value.
    pub fn contents(&mut self) -> BTreeMap<String, String> {
        let slot = CLIENTS;
        let now = self.now();
        let mut ask = |line: &str| {
            if !self.wires.received.contains_key(&slot) {
                self.broker.handle_connected(
                    id(slot),
                    Peer::Unix(Process::default()),
                    Language::Clacks,
                    now,
                    &mut self.wires,
                );
                let login = format!("OVERHEAD A {}", Token::encode(b"admin", b"pw"));
                let _ = self.broker.handle_request(
                    id(slot),
                    &Language::Clacks.decode(login.as_bytes()),
                    now,
                    &mut self.wires,
                );
                let _ = self.broker.handle_request(
                    id(slot),
                    &Language::Clacks.decode(b"NOPING"),
                    now,
                    &mut self.wires,
                );
            }
            self.wires.received.insert(slot, Vec::new());
            let flow = self.broker.handle_request(
                id(slot),
                &Language::Clacks.decode(line.as_bytes()),
                now,
                &mut self.wires,
            );
            assert_eq!(flow, Flow::Next, "the list is short");
            String::from_utf8_lossy(&self.wires.received[&slot]).into_owned()
        };
        let names: Vec<String> = ask("KEYLIST")
            .lines()
            .filter_map(|line| line.strip_prefix("KEY "))
            .map(str::to_owned)
            .collect();
        names
            .into_iter()
            .map(|name| {
                let answer = ask(&format!("RETRIEVE {name}"));
                let value = answer
                    .trim_end()
                    .strip_prefix(&format!("RETRIEVED {name}="));
                let value = value.expect("what is listed is there").to_owned();
                (name, value)
            })
            .collect()
    }

    /// Bytes that wait for the disk.
    pub fn unsaved(&self) -> usize {
        self.wires.journal.recorder.unsaved()
    }

    /// Entries in the cache, found or not.
    pub fn live(&self) -> usize {
        self.broker.entries()
    }

    pub fn status(&self) -> String {
        let mut status = String::new();
        self.broker
            .write_status(&mut status)
            .expect("a String takes every write");
        status
    }
}

fn id(slot: u32) -> ConnectionId {
    ConnectionId {
        slot,
        generation: 1,
    }
}
