//! The broker alone, on a clock that the test moves: what takes a minute or a day takes no time
//! here, and happens at exactly the moment it is due.

mod admission;
mod ageing;
mod listing;
mod management;
mod patterns;
mod subscriptions;
mod timeouts;

use clacks::broker::{
    Broker, Carrier, CloseReason, ConnectionId, Flow, Now, Peer, Process, Record, Recording,
    Rewrite, Settings, Traffic, Users,
};
use clacks::limits::SECOND_US;
use clacks::protocol::Language;
use clacks::protocol::token::Token;
use std::collections::BTreeMap;

/// Some day in 2023, so that stamps and uptimes can't be taken for each other.
const START_WALL_US: u64 = 1_700_000_000 * SECOND_US;

fn us(seconds: f64) -> u64 {
    (seconds * SECOND_US as f64) as u64
}

/// A connection: the output that its peer has received, and the broker's requests to its carrier.
#[derive(Default)]
struct Wire {
    received: Vec<u8>,
    closing: Option<CloseReason>,
    /// The broker wants no line before it resumes.
    stopped_since_us: Option<u64>,
    stopped_us: u64,
    /// The line that is handed to the broker again once it has resumed the connection.
    stopped_before: Option<String>,
    wants_writable: bool,
    /// Memory that the broker keeps for it.
    held: isize,
    last_output_us: u64,
    /// As if the peer read nothing.
    stalled_since_us: Option<u64>,
    /// As if it had not read what came last.
    takes_nothing: bool,
    /// How often it still takes something when that is tried once more.
    retries: u32,
}

#[derive(Default)]
struct Wires {
    now_us: u64,
    /// How often the broker has tried once more to write, in the call that it was given last.
    retried: usize,
    by_id: BTreeMap<ConnectionId, Wire>,
    /// Senders have to wait for it.
    full: Option<ConnectionId>,
}

impl Wires {
    fn open(&mut self, id: ConnectionId) -> Option<&mut Wire> {
        self.by_id
            .get_mut(&id)
            .filter(|wire| wire.closing.is_none())
    }
}

impl Recording for Wires {
    fn record(&mut self, _: &Record<'_>) {
        panic!("there is no journal");
    }

    fn rewrite(&mut self, _: &Rewrite<'_>) {
        panic!("there is no journal");
    }

    fn unsaved(&self) -> usize {
        0
    }
}

impl Carrier for Wires {
    fn append(&mut self, to: ConnectionId, encode: impl FnOnce(&mut Vec<u8>)) {
        let now_us = self.now_us;
        if let Some(wire) = self.open(to) {
            encode(&mut wire.received);
            wire.last_output_us = now_us;
        }
    }

    fn append_if_drained(&mut self, to: ConnectionId, encode: impl FnOnce(&mut Vec<u8>)) {
        let now_us = self.now_us;
        match self.open(to) {
            Some(wire) if wire.takes_nothing => wire.last_output_us = now_us,
            _ => self.append(to, encode),
        }
    }

    fn retry_write(&mut self, id: ConnectionId) {
        let now_us = self.now_us;
        self.retried += 1;
        if let Some(wire) = self.open(id)
            && wire.retries > 0
        {
            wire.retries -= 1;
            wire.stalled_since_us = Some(now_us);
        }
    }

    fn fan_out(&mut self, to: impl IntoIterator<Item = ConnectionId>, payload: &[u8]) {
        for id in to {
            self.append(id, |bytes| bytes.extend_from_slice(payload));
        }
    }

    fn close(&mut self, id: ConnectionId, reason: CloseReason) {
        if let Some(wire) = self.open(id) {
            wire.closing = Some(reason);
        }
    }

    fn set_link(&mut self, _: ConnectionId) {}

    fn resume(&mut self, id: ConnectionId) {
        let now_us = self.now_us;
        let wire = self.open(id).expect("only open connections go on");
        let since_us = wire
            .stopped_since_us
            .take()
            .expect("only what was stopped goes on");
        wire.stopped_us += now_us - since_us;
    }

    fn charge_memory(&mut self, id: ConnectionId, bytes: isize) {
        if let Some(wire) = self.open(id) {
            wire.held += bytes;
        }
    }

    fn dial(&mut self, _: usize) {
        panic!("there is no master");
    }

    fn cancel_dial(&mut self) {}

    fn request_writable(&mut self, id: ConnectionId) {
        self.open(id)
            .expect("only open connections want room")
            .wants_writable = true;
    }

    fn has_full_receivers(&self) -> bool {
        self.full.is_some()
    }

    fn wait_for(&mut self, _: ConnectionId, to: ConnectionId, _: usize, _: bool) -> bool {
        self.full == Some(to)
    }

    fn traffic(&self, id: ConnectionId) -> Traffic {
        let Some(wire) = self.by_id.get(&id) else {
            return Traffic::default();
        };
        Traffic {
            stalled_since_us: wire.stalled_since_us,
            last_output_us: wire.last_output_us,
            stopped_us: wire.stopped_us
                + wire
                    .stopped_since_us
                    .map_or(0, |since_us| self.now_us - since_us),
            ..Traffic::default()
        }
    }
}

/// A broker, its connections and the time.
struct World {
    broker: Broker,
    wires: Wires,
    now: Now,
    /// Calls of `handle_deadline`: what would wake the process.
    wake_ups: u64,
    /// How often, at most, one of them has tried once more to write.
    most_retried: usize,
    connections: u32,
}

fn settings() -> Settings {
    Settings {
        max_clients: 2_000,
        ..Settings::default()
    }
}

fn users(file: &str) -> Users {
    let mut users = Users::new("admin", b"adminpw");
    users.add_file(file).expect("right lines");
    users
}

impl World {
    fn new() -> World {
        World::with(settings())
    }

    fn with(settings: Settings) -> World {
        World {
            broker: Broker::new(
                settings,
                users("rw:read,write:rwpw\nro:read:ropw\nwo:write:wopw\n"),
                [1, 2, 3, 4],
            ),
            wires: Wires::default(),
            now: Now {
                monotonic_us: 0,
                wall_us: START_WALL_US,
            },
            wake_ups: 0,
            most_retried: 0,
            connections: 0,
        }
    }

    fn connect(&mut self) -> ConnectionId {
        self.connect_from(Peer::Unix(Process::default()))
    }

    fn connect_from(&mut self, peer: Peer) -> ConnectionId {
        self.connect_as(peer, Language::Clacks)
    }

    fn connect_as(&mut self, peer: Peer, language: Language) -> ConnectionId {
        self.connections += 1;
        let id = ConnectionId {
            slot: self.connections - 1,
            generation: self.connections,
        };
        let wire = Wire {
            last_output_us: self.now.monotonic_us,
            ..Wire::default()
        };
        self.wires.by_id.insert(id, wire);
        self.broker
            .handle_connected(id, peer, language, self.now, &mut self.wires);
        self.close_finished();
        id
    }

    /// A connection that is logged in and has read the welcome.
    fn client(&mut self, user: &str) -> ConnectionId {
        let id = self.connect();
        self.log_in(id, user);
        id
    }

    fn log_in(&mut self, id: ConnectionId, user: &str) {
        let token = Token::encode(user.as_bytes(), format!("{user}pw").as_bytes());
        self.line(id, &format!("OVERHEAD A {token}"));
        assert!(self.take(id).ends_with("OVERHEAD O Welcome!\r\n"));
    }

    /// A client without a ping timeout.
    fn quiet_client(&mut self, user: &str) -> ConnectionId {
        let id = self.client(user);
        self.line(id, "NOPING");
        id
    }

    fn line(&mut self, id: ConnectionId, line: &str) {
        let wire = &self.wires.by_id[&id];
        assert!(
            wire.stopped_since_us.is_none() && wire.closing.is_none(),
            "a line that may not be handed over"
        );
        let flow = self.request(id, line);
        if flow != Flow::Next {
            self.stop(id);
        }
        if flow == Flow::StopBefore
            && let Some(wire) = self.wires.open(id)
        {
            wire.stopped_before = Some(line.to_owned());
        }
        self.close_finished();
    }

    fn request(&mut self, id: ConnectionId, line: &str) -> Flow {
        self.broker.handle_request(
            id,
            &Language::Clacks.decode(line.as_bytes()),
            self.now,
            &mut self.wires,
        )
    }

    /// The users were read again, and what follows is done.
    fn reload(&mut self, users: Users) {
        self.broker.handle_users(users);
        self.pass(0.0);
    }

    fn stop(&mut self, id: ConnectionId) {
        if let Some(wire) = self.wires.open(id) {
            wire.stopped_since_us = Some(self.now.monotonic_us);
        }
    }

    /// Removes and returns the output that the peer has received since the last call.
    fn take(&mut self, id: ConnectionId) -> String {
        let received = std::mem::take(
            &mut self
                .wires
                .by_id
                .get_mut(&id)
                .expect("a connection")
                .received,
        );
        String::from_utf8(received).expect("text")
    }

    fn answers(&mut self, id: ConnectionId, line: &str) -> String {
        self.take(id);
        self.line(id, line);
        self.take(id)
    }

    fn closed(&self, id: ConnectionId) -> Option<CloseReason> {
        self.wires.by_id[&id].closing
    }

    /// Lets the time pass, on both clocks.
    fn pass(&mut self, seconds: f64) {
        let end_us = self.now.monotonic_us + us(seconds);
        let mut calls_at_once = 0;
        while let Some(at_us) = self.broker.poll_deadline().filter(|at_us| *at_us <= end_us) {
            calls_at_once = if at_us > self.now.monotonic_us {
                0
            } else {
                calls_at_once + 1
            };
            assert!(calls_at_once < 10_000, "a deadline that doesn't go away");
            self.set_time(at_us.max(self.now.monotonic_us));
            self.wake_ups += 1;
            self.wires.retried = 0;
            self.broker.handle_deadline(self.now, &mut self.wires);
            self.most_retried = self.most_retried.max(self.wires.retried);
            self.close_finished();
            self.hand_over_again();
        }
        self.set_time(end_us);
    }

    /// Hands over the lines that had to wait and have no more to.
    fn hand_over_again(&mut self) {
        let wires = self.wires.by_id.iter_mut();
        let resumed = wires.filter(|(_, wire)| {
            wire.closing.is_none() && wire.stopped_since_us.is_none() && !wire.wants_writable
        });
        let lines: Vec<(ConnectionId, String)> = resumed
            .filter_map(|(id, wire)| Some((*id, wire.stopped_before.take()?)))
            .collect();
        for (id, line) in lines {
            self.line(id, &line);
        }
    }

    fn set_time(&mut self, monotonic_us: u64) {
        self.now.wall_us += monotonic_us - self.now.monotonic_us;
        self.now.monotonic_us = monotonic_us;
        self.wires.now_us = monotonic_us;
    }

    /// Peers take the last words at once, except those who read nothing.
    fn close_finished(&mut self) {
        let ended = |wire: &Wire| {
            wire.closing
                .filter(|reason| !reason.drains() || wire.stalled_since_us.is_none())
        };
        let all = self
            .wires
            .by_id
            .iter()
            .filter_map(|(id, wire)| Some((*id, ended(wire)?)))
            .collect::<Vec<_>>();
        for (id, reason) in all {
            self.broker
                .handle_closed(id, reason, 0, self.now, &mut self.wires);
        }
    }

    /// Gives room to whoever waits for it, once; false if nobody does.
    fn give_room(&mut self) -> bool {
        let wires = self.wires.by_id.iter_mut();
        let waiting =
            wires.filter_map(|(id, wire)| std::mem::take(&mut wire.wants_writable).then_some(*id));
        let waiting: Vec<ConnectionId> = waiting.collect();
        for id in &waiting {
            self.broker.handle_writable(*id, self.now, &mut self.wires);
            if let Some(wire) = self.wires.open(*id)
                && wire.stopped_since_us.is_none()
                && let Some(line) = wire.stopped_before.take()
            {
                self.line(*id, &line);
            }
        }
        self.broker.check();
        for (id, wire) in &self.wires.by_id {
            if let Some(held) = self.broker.counted_memory(*id) {
                assert_eq!(wire.held, held, "what is held is what was said");
            }
        }
        !waiting.is_empty()
    }

    fn status(&self, figure: &str) -> u64 {
        let mut text = String::new();
        self.broker
            .write_status(&mut text)
            .expect("a String takes every write");
        let value = text
            .split(' ')
            .find_map(|word| word.strip_prefix(figure)?.strip_prefix('='));
        value.map_or(0, |value| value.parse().expect("a number"))
    }
}
