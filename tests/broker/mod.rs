//! The broker alone, on a clock that the test moves: what takes a minute or a day takes no time
//! here, and happens at exactly the moment it is due.

mod admission;

use clacks::broker::{
    Ageing, Broker, CloseReason, ConnectionId, Flow, LongLine, Now, Output, Peer, Process,
    Settings, Traffic, Users,
};
use clacks::limits::{self, SECOND_US};
use clacks::protocol::token::Token;
use std::collections::{BTreeMap, BTreeSet};

/// Some day in 2023, so that stamps and uptimes can't be taken for each other.
const START_WALL_US: u64 = 1_700_000_000 * SECOND_US;

fn us(seconds: f64) -> u64 {
    (seconds * SECOND_US as f64) as u64
}

/// What the other end of a connection sees, and what its carrier was asked for.
#[derive(Default)]
struct Wire {
    received: Vec<u8>,
    closing: Option<CloseReason>,
    /// The broker wants no line before it resumes.
    stopped_since_us: Option<u64>,
    stopped_us: u64,
    /// What is to be handed over again then.
    stopped_before: Option<String>,
    wants_room: bool,
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
}

impl Wires {
    fn open(&mut self, id: ConnectionId) -> Option<&mut Wire> {
        self.by_id
            .get_mut(&id)
            .filter(|wire| wire.closing.is_none())
    }
}

impl Output for Wires {
    fn append(&mut self, to: ConnectionId, encode: impl FnOnce(&mut Vec<u8>)) {
        let now_us = self.now_us;
        if let Some(wire) = self.open(to) {
            encode(&mut wire.received);
            wire.last_output_us = now_us;
        }
    }

    fn append_if_taken(&mut self, to: ConnectionId, encode: impl FnOnce(&mut Vec<u8>)) {
        let now_us = self.now_us;
        match self.open(to) {
            Some(wire) if wire.takes_nothing => wire.last_output_us = now_us,
            _ => self.append(to, encode),
        }
    }

    fn retry(&mut self, id: ConnectionId) {
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

    fn make_trunk(&mut self, _: ConnectionId) {}

    fn resume(&mut self, id: ConnectionId) {
        let now_us = self.now_us;
        let wire = self.open(id).expect("only open connections go on");
        let since_us = wire
            .stopped_since_us
            .take()
            .expect("only what was stopped goes on");
        wire.stopped_us += now_us - since_us;
    }

    fn hold(&mut self, id: ConnectionId, bytes: isize) {
        if let Some(wire) = self.open(id) {
            wire.held += bytes;
        }
    }

    fn dial(&mut self, _: usize) {
        panic!("there is no master");
    }

    fn hang_up(&mut self) {}

    fn want_room(&mut self, id: ConnectionId) {
        self.open(id)
            .expect("only open connections want room")
            .wants_room = true;
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
            .handle_connected(id, peer, self.now, &mut self.wires);
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
        let flow = self
            .broker
            .handle_line(id, line.as_bytes(), self.now, &mut self.wires);
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

    fn stop(&mut self, id: ConnectionId) {
        if let Some(wire) = self.wires.open(id) {
            wire.stopped_since_us = Some(self.now.monotonic_us);
        }
    }

    /// What has come since the last call.
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
            wire.closing.is_none() && wire.stopped_since_us.is_none() && !wire.wants_room
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
            wires.filter_map(|(id, wire)| std::mem::take(&mut wire.wants_room).then_some(*id));
        let waiting: Vec<ConnectionId> = waiting.collect();
        for id in &waiting {
            self.broker.handle_room(*id, self.now, &mut self.wires);
            if let Some(wire) = self.wires.open(*id)
                && wire.stopped_since_us.is_none()
                && let Some(line) = wire.stopped_before.take()
            {
                self.line(*id, &line);
            }
        }
        self.broker.check();
        for (id, wire) in &self.wires.by_id {
            if let Some(held) = self.broker.counted_held(*id) {
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

/// Lets time pass in small steps until `text` comes, and checks that it comes `after` seconds from
/// now, or in the second behind that: far deadlines are kept on whole seconds.
fn expect_after(world: &mut World, id: ConnectionId, after: f64, text: &str) {
    world.pass(after - 0.001);
    assert_eq!(world.take(id), "", "before its time");
    world.pass(1.002);
    assert_eq!(world.take(id), text);
}

#[test]
fn a_client_that_is_sent_nothing_gets_a_nop_every_60_seconds() {
    let mut world = World::new();
    let id = world.quiet_client("rw");
    let mut last_us = 0;
    for _ in 0..5 {
        let now_us = world.now.monotonic_us;
        let waited_us = now_us - last_us;
        world.pass(60.0 - waited_us as f64 / SECOND_US as f64 - 0.001);
        assert_eq!(world.take(id), "", "before its time");
        while world.now.monotonic_us <= last_us + us(61.0)
            && world.wires.by_id[&id].received.is_empty()
        {
            world.pass(0.01);
        }
        assert_eq!(world.take(id), "NOP\r\n");
        last_us = world.wires.by_id[&id].last_output_us;
    }
    assert!(last_us <= us(5.0 * 61.0), "{last_us}");
}

#[test]
fn whatever_is_sent_puts_the_nop_off_and_what_the_client_sends_does_not() {
    let mut world = World::new();
    let (id, other) = (world.quiet_client("ro"), world.quiet_client("rw"));
    world.line(id, "LISTEN signal");
    world.pass(45.0);
    world.line(other, "SET signal=1");
    assert_eq!(world.take(id), "SET signal=1\r\n");
    world.pass(30.0);
    world.line(id, "RETRIEVE a");
    assert_eq!(world.take(id), "NOTRETRIEVED a\r\n");
    world.pass(30.0);
    world.line(id, "NOPING");
    world.line(id, "OVERHEAD M 1");
    expect_after(&mut world, id, 30.0, "NOP\r\n");
}

#[test]
fn who_is_not_logged_in_gets_no_nop() {
    let mut world = World::with(Settings {
        auth_timeout_us: us(1000.0),
        ..settings()
    });
    let id = world.connect();
    world.take(id);
    world.pass(999.0);
    assert_eq!((world.take(id).as_str(), world.closed(id)), ("", None));
}

#[test]
fn who_does_not_log_in_is_closed_without_a_word() {
    let mut world = World::new();
    let id = world.connect();
    world.take(id);
    world.pass(7.0);
    world.line(id, "PING");
    world.line(id, "CLACKS I am busy");
    world.pass(7.9);
    assert_eq!(world.closed(id), None);
    world.pass(1.2);
    assert_eq!(
        (world.take(id).as_str(), world.closed(id)),
        ("", Some(CloseReason::AuthTimeout))
    );
}

#[test]
fn a_ping_alone_renews_the_ping_timeout() {
    let mut world = World::new();
    let (pings, talks) = (world.client("rw"), world.client("rw"));
    world.pass(100.0);
    world.line(pings, "PING");
    for line in [
        "RETRIEVE a",
        "STORE a=1",
        "FLUSH x",
        "NOP",
        "CLACKS x",
        "OVERHEAD M 1",
        "PINGS",
    ] {
        world.line(talks, line);
    }
    world.pass(79.9);
    assert_eq!((world.closed(pings), world.closed(talks)), (None, None));
    world.pass(1.2);
    assert_eq!(
        (world.closed(pings), world.closed(talks)),
        (None, Some(CloseReason::PingTimeout))
    );
    assert!(world.take(talks).ends_with("TIMEOUT\r\n"));
    world.pass(98.5);
    assert_eq!(world.closed(pings), None);
    world.pass(1.5);
    assert_eq!(world.closed(pings), Some(CloseReason::PingTimeout));
}

#[test]
fn a_noping_suspends_the_ping_timeout_until_the_next_ping() {
    let mut world = World::new();
    let id = world.client("rw");
    world.pass(170.0);
    world.line(id, "NOPING");
    world.pass(100_000.0);
    assert_eq!(world.closed(id), None);
    world.line(id, "PING");
    world.pass(179.9);
    assert_eq!(world.closed(id), None);
    world.pass(1.2);
    assert_eq!(world.closed(id), Some(CloseReason::PingTimeout));
}

#[test]
fn a_new_login_leaves_the_ping_timeout_as_it_is() {
    let mut world = World::new();
    let id = world.client("rw");
    let suspended = world.quiet_client("rw");
    world.pass(170.0);
    world.log_in(id, "ro");
    world.log_in(suspended, "ro");
    world.pass(9.9);
    assert_eq!(world.closed(id), None);
    world.pass(1.2);
    assert_eq!(world.closed(id), Some(CloseReason::PingTimeout));
    world.pass(1_000.0);
    assert_eq!(world.closed(suspended), None);
}

#[test]
fn timeouts_stand_still_while_the_server_does_not_read() {
    let mut world = World::new();
    let (stranger, client, other) = (world.connect(), world.client("rw"), world.client("rw"));
    world.pass(10.0);
    for id in [stranger, client] {
        world.stop(id);
    }
    world.pass(160.0);
    assert_eq!(
        (
            world.closed(stranger),
            world.closed(client),
            world.closed(other)
        ),
        (None, None, None)
    );
    for id in [stranger, client] {
        world.wires.resume(id);
    }
    world.pass(4.0);
    assert_eq!(world.closed(stranger), None, "5 of 15 seconds are left");
    world.pass(2.1);
    assert_eq!(world.closed(stranger), Some(CloseReason::AuthTimeout));
    world.pass(5.0);
    assert_eq!(
        world.closed(other),
        Some(CloseReason::PingTimeout),
        "181.1 of 180 seconds"
    );
    world.line(client, "RETRIEVE a");
    world.pass(158.8);
    assert_eq!(world.closed(client), None, "179.9 of 180 seconds");
    world.pass(1.2);
    assert_eq!(world.closed(client), Some(CloseReason::PingTimeout));
}

#[test]
fn who_takes_nothing_for_the_stalled_write_timeout_is_closed() {
    let mut world = World::new();
    let id = world.quiet_client("rw");
    let stall = |world: &mut World, since_us| {
        world
            .wires
            .by_id
            .get_mut(&id)
            .expect("a connection")
            .stalled_since_us = since_us;
    };
    world.pass(5.0);
    stall(&mut world, Some(us(5.0)));
    world.broker.handle_stalled(id, world.now, &mut world.wires);
    // It takes something now and then.
    world.pass(50.0);
    stall(&mut world, Some(us(55.0)));
    world.pass(50.0);
    assert_eq!(world.closed(id), None);
    stall(&mut world, None);
    world.pass(100.0);
    assert_eq!(world.closed(id), None);
    stall(&mut world, Some(us(205.0)));
    world.broker.handle_stalled(id, world.now, &mut world.wires);
    world.pass(59.9);
    assert_eq!(world.closed(id), None);
    world.take(id);
    world.pass(1.2);
    assert_eq!(world.closed(id), Some(CloseReason::StalledWrite));
    assert!(world.take(id).ends_with("TIMEOUT\r\n"));
}

#[test]
fn many_idle_clients_wake_the_server_once_a_second_at_most() {
    let mut world = World::new();
    let mut random = 1_u64;
    let ids: Vec<ConnectionId> = (0..1000)
        .map(|_| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            world.pass((random >> 40) as f64 / f64::from(1 << 24) * 0.1);
            world.client("rw")
        })
        .collect();
    world.wake_ups = 0;
    for _ in 0..20 {
        for id in &ids {
            world.line(*id, "PING");
        }
        world.pass(60.0);
    }
    assert!(
        world.wake_ups <= 20 * 60 + 1,
        "{} in 20 minutes",
        world.wake_ups
    );
    assert!(world.wake_ups > 20, "there is something to be woken for");
    assert_eq!(world.status("clients"), 1000);
}

#[test]
fn nothing_is_due_without_sessions_and_entries() {
    let mut world = World::new();
    assert_eq!(world.broker.poll_deadline(), None);
    for round in 0..100 {
        let id = world.client("admin");
        assert!(world.broker.poll_deadline().is_some());
        world.line(
            id,
            if round % 2 == 0 {
                "QUIT"
            } else {
                "OVERHEAD A wrong"
            },
        );
        assert_eq!(world.broker.poll_deadline(), None);
    }

    // What was stored is looked after until it is gone.
    let id = world.client("admin");
    world.line(id, "STORE a=1");
    world.line(id, "REMOVE b");
    world.line(id, "QUIT");
    assert!(world.broker.poll_deadline().is_some());
    world.pass(86_400.0 + 61.0);
    assert_eq!(
        (world.status("entries"), world.status("tombstones")),
        (0, 0)
    );
    assert_eq!(world.broker.poll_deadline(), None);

    let id = world.client("admin");
    world.line(id, "STORE a=1");
    world.line(id, "CLEARCACHE");
    world.line(id, "QUIT");
    world.pass(61.0);
    assert_eq!(world.broker.poll_deadline(), None);
}

/// Lets time pass by the second until a line comes, without the NOPs between.
fn next_line(world: &mut World, id: ConnectionId, at_most: u32) -> (f64, String) {
    let start_us = world.now.monotonic_us;
    for _ in 0..at_most {
        world.pass(1.0);
        let came = world.take(id).replace("NOP\r\n", "");
        if !came.is_empty() {
            return (
                (world.now.monotonic_us - start_us) as f64 / SECOND_US as f64,
                came,
            );
        }
    }
    panic!("nothing came within {at_most} s");
}

#[test]
fn ageing_takes_a_day_for_entries_and_an_hour_for_tombstones() {
    let mut world = World::new();
    let (monitor, client) = (world.quiet_client("admin"), world.quiet_client("rw"));
    for line in ["STORE old=1", "STORE used=1", "REMOVE gone"] {
        world.line(client, line);
    }
    world.line(monitor, "MONITOR");
    world.take(monitor);
    let (after, line) = next_line(&mut world, monitor, 4000);
    assert_eq!(line, "DEBUG SERVERCACHE=CLEANDELETED=gone\r\n");
    assert!((3600.0..=3661.0).contains(&after), "{after}");

    world.pass(40_000.0);
    world.take(client);
    assert_eq!(
        world.answers(client, "RETRIEVE used"),
        "RETRIEVED used=1\r\n"
    );
    world.take(monitor);
    let so_far = world.now.monotonic_us as f64 / SECOND_US as f64;
    let (after, line) = next_line(&mut world, monitor, 90_000);
    assert_eq!(line, "DEBUG SERVERCACHE=CLEANSTALE=old\r\n");
    assert!((86_400.0..=86_461.0).contains(&(so_far + after)), "{after}");
    assert_eq!(
        world.answers(client, "RETRIEVE old"),
        "NOTRETRIEVED old\r\n"
    );
    world.take(monitor);

    let (after, line) = next_line(&mut world, monitor, 90_000);
    assert_eq!(line, "DEBUG SERVERCACHE=CLEANSTALE=used\r\n");
    let since_use = (world.now.monotonic_us as f64 / SECOND_US as f64) - so_far;
    assert!((86_400.0..=86_461.0).contains(&since_use), "{after}");
    assert_eq!(world.status("expired"), 3);
}

#[test]
fn what_has_expired_is_not_served_before_it_is_cleaned_either() {
    let ageing = Ageing {
        stale_us: us(10.0),
        deleted_us: us(10.0),
    };
    let mut world = World::with(Settings {
        ageing,
        clean_interval_us: us(1000.0),
        ..settings()
    });
    let id = world.quiet_client("rw");
    world.line(id, "STORE a=7");
    world.line(id, "STORE b=7");
    world.pass(9.9);
    assert_eq!(world.answers(id, "RETRIEVE a"), "RETRIEVED a=7\r\n");
    world.pass(0.2);
    assert_eq!(
        world.answers(id, "KEYLIST"),
        "KEYLISTSTART\r\nKEY a\r\nKEYLISTEND\r\n"
    );
    assert_eq!(world.answers(id, "RETRIEVE b"), "NOTRETRIEVED b\r\n");
    world.pass(10.0);
    assert_eq!(world.answers(id, "RETRIEVE a"), "NOTRETRIEVED a\r\n");
    world.line(id, "INCREMENT a");
    assert_eq!(world.answers(id, "RETRIEVE a"), "RETRIEVED a=1\r\n");
    assert_eq!(world.status("expired"), 0, "nothing was cleaned yet");
}

#[test]
fn the_systems_clock_may_be_set_without_touching_timeouts() {
    for (name, change_s) in [("back", -10_000_000_i64), ("forth", 10_000_000)] {
        let mut world = World::new();
        let (stranger, client, quiet) = (
            world.connect(),
            world.client("rw"),
            world.quiet_client("rw"),
        );
        world.take(stranger);
        world.line(quiet, "STORE a=1");
        world.pass(5.0);
        world.now.wall_us = world
            .now
            .wall_us
            .checked_add_signed(change_s * SECOND_US as i64)
            .expect("after 1970");
        world.pass(9.9);
        assert_eq!(world.closed(stranger), None, "{name}");
        world.pass(1.2);
        assert_eq!(
            world.closed(stranger),
            Some(CloseReason::AuthTimeout),
            "{name}"
        );
        assert_eq!(world.take(quiet), "", "{name}");
        world.pass(45.0);
        assert_eq!(world.take(quiet), "NOP\r\n", "{name}");
        world.pass(118.8);
        assert_eq!(world.closed(client), None, "{name}");
        world.pass(1.2);
        assert_eq!(
            world.closed(client),
            Some(CloseReason::PingTimeout),
            "{name}"
        );
        // Stamps do follow that clock: what was stored before it was set forth has gone stale.
        world.take(quiet);
        world.line(quiet, "RETRIEVE a");
        let expected = if change_s < 0 {
            "RETRIEVED a=1\r\n"
        } else {
            "NOTRETRIEVED a\r\n"
        };
        assert_eq!(world.take(quiet), expected, "{name}");
    }
}

#[test]
fn overhead_s_ends_the_server_at_its_moment() {
    for (value, delay) in [
        ("1.5", 1.5),
        ("0.001", 0.001),
        ("3600", 3600.0),
        ("1e1", 10.0),
    ] {
        let mut world = World::new();
        let (admin, stranger) = (world.quiet_client("admin"), world.connect());
        world.line(admin, &format!("OVERHEAD S {value}"));
        assert!(!world.broker.is_over());
        world.pass(delay - 0.000_5);
        assert!(!world.broker.is_over(), "{value}");
        world.pass(0.001);
        assert!(world.broker.is_over(), "{value}");
        for id in [admin, stranger]
            .into_iter()
            .filter(|id| world.closed(*id) != Some(CloseReason::AuthTimeout))
        {
            assert_eq!(world.closed(id), Some(CloseReason::Shutdown), "{value}");
        }
        assert!(world.take(admin).ends_with("QUIT\r\n"), "{value}");
        // Who comes now gets the greeting and is closed.
        let late = world.connect();
        assert_eq!(world.closed(late), Some(CloseReason::Shutdown));
    }
}

#[test]
fn overhead_s_with_no_time_to_wait_is_ignored() {
    let mut world = World::new();
    let (admin, other) = (world.quiet_client("admin"), world.quiet_client("rw"));
    for value in ["0", "0.0", "-1", "soon", "nan", "-inf"] {
        assert_eq!(
            world.answers(admin, &format!("OVERHEAD S {value}")),
            "",
            "{value}"
        );
    }
    assert_eq!(
        world.answers(other, "OVERHEAD S 1"),
        "OVERHEAD E permission_denied\r\n"
    );
    assert_eq!(world.answers(admin, "OVERHEAD DS 1"), "", "D discards it");
    world.pass(1_000_000.0);
    assert!(!world.broker.is_over());
    // A later one counts.
    world.line(admin, "OVERHEAD S 5");
    world.line(admin, "OVERHEAD S 100");
    world.pass(99.0);
    assert!(!world.broker.is_over());
    world.pass(1.1);
    assert!(world.broker.is_over());
}

fn keys(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.split_terminator("\r\n").collect();
    assert_eq!(
        (lines.remove(0), lines.pop()),
        ("KEYLISTSTART", Some("KEYLISTEND"))
    );
    lines
        .into_iter()
        .map(|line| line.strip_prefix("KEY ").expect("a name"))
        .collect()
}

#[test]
fn a_long_keylist_comes_in_slices_and_names_that_stay_are_in_it_once() {
    let mut world = World::new();
    let (reader, writer, monitor) = (
        world.client("ro"),
        world.client("rw"),
        world.client("admin"),
    );
    for number in 0..50_000 {
        world.line(writer, &format!("STORE stays{number}=1"));
        if number % 5 == 0 {
            world.line(writer, &format!("STORE goes{number}=1"));
        }
    }
    world.line(monitor, "MONITOR");
    world.take(monitor);
    world.take(writer);

    world.line(reader, "KEYLIST");
    assert!(
        world.wires.by_id[&reader].stopped_since_us.is_some(),
        "its next line has to wait"
    );
    let (mut list, mut slices, mut number) = (world.take(reader), 1, 0);
    assert!(list.len() < 4 * limits::LISTING_SLICE, "{}", list.len());
    while world.wires.by_id[&reader].stopped_since_us.is_some() {
        // Others go on, and change the table.
        for _ in 0..200 {
            world.line(writer, &format!("REMOVE goes{}", number % 50_000));
            world.line(writer, &format!("STORE comes{number}=1"));
            number += 5;
        }
        assert_eq!(
            world.answers(writer, "RETRIEVE stays0"),
            "RETRIEVED stays0=1\r\n"
        );
        assert!(world.give_room(), "a list that isn't complete wants room");
        let slice = world.take(reader);
        assert!(slice.len() < 4 * limits::LISTING_SLICE, "{}", slice.len());
        list += &slice;
        slices += 1;
    }
    assert!(slices > 10, "{slices}");
    assert!(!world.give_room());

    let all = keys(&list);
    let distinct: BTreeSet<&str> = all.iter().copied().collect();
    assert_eq!(distinct.len(), all.len(), "a name is listed once");
    let staying = all.iter().filter(|name| name.starts_with("stays")).count();
    assert_eq!(staying, 50_000);
    assert!(all.len() < 50_000 + 10_000 + slices * 200);

    // Monitors see the line when it has been worked off, which is now.
    let seen = world.take(monitor);
    assert!(
        seen.trim_end().ends_with("=KEYLIST"),
        "{:?}",
        seen.lines().last()
    );
    assert_eq!(
        world.answers(reader, "RETRIEVE stays1"),
        "RETRIEVED stays1=1\r\n"
    );
}

#[test]
fn a_keylist_is_sorted_up_to_10000_names() {
    let mut world = World::new();
    let id = world.client("rw");
    for number in (0..10_000).rev() {
        world.line(id, &format!("STORE name{number}=1"));
    }
    let list = |world: &mut World| {
        world.take(id);
        world.line(id, "KEYLIST");
        while world.give_room() {}
        world.take(id)
    };
    let text = list(&mut world);
    let names = keys(&text);
    assert_eq!(names.len(), 10_000);
    assert!(names.is_sorted(), "bytewise");
    world.line(id, "STORE one more=1");
    let text = list(&mut world);
    let names: BTreeSet<&str> = keys(&text).into_iter().collect();
    assert_eq!(names.len(), 10_001);
}

#[test]
fn a_list_is_completed_whatever_becomes_of_what_it_lists() {
    for names in [5_000, 20_000] {
        let mut world = World::new();
        let (reader, admin) = (world.client("ro"), world.client("admin"));
        for number in 0..names {
            world.line(admin, &format!("STORE name{number}=1"));
        }
        world.line(reader, "KEYLIST");
        world.give_room();
        world.line(admin, "CLEARCACHE");
        while world.give_room() {}
        let text = world.take(reader);
        assert!(keys(&text).len() < names, "{names}");
        assert_eq!(
            world.answers(reader, "KEYLIST"),
            "KEYLISTSTART\r\nKEYLISTEND\r\n"
        );

        // A client that goes in the midst of its list is no trouble.
        for number in 0..names {
            world.line(admin, &format!("STORE name{number}=1"));
        }
        world.line(reader, "KEYLIST");
        world.broker.handle_closing(
            reader,
            CloseReason::ConnectionLost,
            world.now,
            &mut world.wires,
        );
        world.close_finished();
        while world.give_room() {}
        assert_eq!(world.status("clients"), 1);
    }
}

/// Hundreds may go in the midst of their lists at once.
#[test]
fn the_lists_of_who_is_gone_are_freed_in_slices() {
    const READERS: usize = 20;
    let mut world = World::new();
    let readers: Vec<ConnectionId> = (0..READERS).map(|_| world.client("ro")).collect();
    let admin = world.client("admin");
    for number in 0..9_000 {
        world.line(admin, &format!("STORE name{number}=1"));
    }
    for reader in &readers {
        world.line(*reader, "KEYLIST");
    }
    for _ in 0..2 {
        assert!(world.give_room());
    }
    assert_ne!(world.broker.poll_deadline(), Some(0));
    for reader in readers {
        world.broker.handle_closing(
            reader,
            CloseReason::ConnectionLost,
            world.now,
            &mut world.wires,
        );
    }
    world.close_finished();
    // One list a slice, of which each has a bounded size.
    let mut slices = 0;
    while world.broker.poll_deadline() == Some(0) {
        world.broker.handle_deadline(world.now, &mut world.wires);
        slices += 1;
    }
    assert!((READERS..2 * READERS).contains(&slices), "{slices}");
}

#[test]
fn a_long_clientlist_comes_in_slices_sorted_with_every_client_once() {
    let mut world = World::with(Settings {
        max_clients: 3_000,
        ..settings()
    });
    let admin = world.client("admin");
    let others: Vec<ConnectionId> = (0..2_999).map(|_| world.client("ro")).collect();
    world.line(admin, "CLIENTLIST");
    let mut slices = 1;
    while world.wires.by_id[&admin].stopped_since_us.is_some() {
        if slices == 2 {
            for id in &others[..100] {
                world.line(*id, "QUIT");
            }
        }
        assert!(world.wires.by_id[&admin].held > 0, "the list takes memory");
        assert!(world.give_room());
        slices += 1;
    }
    assert!(slices > 3, "{slices}");
    assert_eq!(world.wires.by_id[&admin].held, 0);
    let text = world.take(admin);
    let mut lines: Vec<&str> = text.split_terminator("\r\n").collect();
    assert_eq!(
        (lines.remove(0), lines.pop()),
        ("CLIENTLISTSTART", Some("CLIENTLISTEND"))
    );
    let cids: Vec<&str> = lines
        .iter()
        .map(|line| line.split(';').next().expect("fields"))
        .collect();
    let listed: BTreeSet<&str> = cids.iter().copied().collect();
    assert!(cids.is_sorted() && listed.len() == cids.len());
    // Who went meanwhile may have been listed before.
    world.line(admin, "CLIENTLIST");
    while world.wires.by_id[&admin].stopped_since_us.is_some() {
        assert!(world.give_room());
    }
    let text = world.take(admin);
    let stayed: BTreeSet<&str> = text
        .lines()
        .filter(|line| line.starts_with("CLIENT "))
        .map(|line| line.split(';').next().expect("fields"))
        .collect();
    assert_eq!(stayed.len(), 2_900);
    assert!(stayed.is_subset(&listed) && listed.len() < 3_000);
}

#[test]
fn clearing_and_ageing_a_large_cache_leave_no_deadline_that_stays() {
    let ageing = Ageing {
        stale_us: us(100.0),
        deleted_us: us(100.0),
    };
    let mut world = World::with(Settings {
        ageing,
        ..settings()
    });
    let (id, monitor) = (world.quiet_client("admin"), world.quiet_client("admin"));
    for number in 0..30_000 {
        world.line(id, &format!("STORE name{number}=1"));
    }
    world.line(id, "CLEARCACHE");
    assert_eq!(
        world.broker.poll_deadline(),
        Some(0),
        "the memory is given back at once, in slices"
    );
    assert_eq!(world.status("entries"), 0);
    for number in 0..30_000 {
        world.line(id, &format!("STORE name{number}=1"));
    }
    world.pass(1.0);
    assert_ne!(world.broker.poll_deadline(), Some(0));
    world.line(monitor, "MONITOR");
    world.pass(170.0);
    assert_eq!(
        (world.status("entries"), world.status("expired")),
        (0, 30_000)
    );
    let seen = world.take(monitor);
    let names: BTreeSet<&str> = seen
        .lines()
        .filter_map(|line| line.split_once("=CLEANSTALE="))
        .map(|l| l.1)
        .collect();
    assert_eq!(names.len(), 30_000, "every one is shown");
}

#[test]
fn users_that_are_gone_or_changed_are_sent_away() {
    let mut world = World::new();
    let (admin, rw, ro, stranger) = (
        world.client("admin"),
        world.client("rw"),
        world.client("ro"),
        world.connect(),
    );
    world.broker.handle_users(
        users("rw:read,write:rwpw\nro:read:ropw\n"),
        world.now,
        &mut world.wires,
    );
    assert!(
        [admin, rw, ro, stranger]
            .into_iter()
            .all(|id| world.closed(id).is_none()),
        "the same again"
    );
    world.broker.handle_users(
        users("rw:read:rwpw\nro:read:ropw\n"),
        world.now,
        &mut world.wires,
    );
    assert_eq!(
        (world.closed(rw), world.closed(ro)),
        (Some(CloseReason::UserChanged), None)
    );
    assert_eq!(world.take(rw), "QUIT\r\n");
    world.broker.handle_users(
        users("rw:read:rwpw\nro:read:otherpw\n"),
        world.now,
        &mut world.wires,
    );
    assert_eq!(
        (world.closed(ro), world.closed(admin)),
        (Some(CloseReason::UserChanged), None)
    );
    let changed = Users::new("admin", b"otherpw");
    world
        .broker
        .handle_users(changed, world.now, &mut world.wires);
    assert_eq!(
        (world.closed(admin), world.closed(stranger)),
        (Some(CloseReason::UserChanged), None)
    );
}

#[test]
fn a_long_line_is_judged_by_whether_its_sender_has_logged_in() {
    let mut world = World::with(Settings {
        max_line: 100_000,
        ..settings()
    });
    let (stranger, client) = (world.connect(), world.client("rw"));
    let mut judge = |id, length| {
        let judged = world
            .broker
            .handle_long_line(id, length, world.now, &mut world.wires);
        (judged, world.wires.by_id[&id].closing)
    };
    assert_eq!(judge(client, 100_000), (LongLine::Allowed, None));
    assert_eq!(
        judge(client, 100_001),
        (LongLine::Refused, Some(CloseReason::LineTooLong))
    );
    assert_eq!(
        judge(stranger, limits::MAX_LINE_BEFORE_LOGIN),
        (LongLine::Allowed, None)
    );
    assert_eq!(
        judge(stranger, limits::MAX_LINE_BEFORE_LOGIN + 1),
        (LongLine::Refused, Some(CloseReason::LineTooLong))
    );
    assert!(world.take(client).ends_with("OVERHEAD E line_too_long\r\n"));
    assert!(
        world
            .take(stranger)
            .ends_with("OVERHEAD E line_too_long\r\n")
    );
}

/// A world with two places, both taken, and its manager outside.
fn full_world() -> (World, [ConnectionId; 2]) {
    let mut world = World::with(Settings {
        max_clients: 2,
        ..settings()
    });
    world.broker.handle_users(
        users("rw:read,write:rwpw\nro:read:ropw\nmg:manage:mgpw\n"),
        world.now,
        &mut world.wires,
    );
    let clients = [world.quiet_client("rw"), world.quiet_client("ro")];
    (world, clients)
}

const GREETED: &str = "OVERHEAD M Authentication required\r\n";

#[test]
fn a_stranger_who_says_nothing_to_a_full_server_is_closed_after_5_seconds() {
    let (mut world, clients) = full_world();
    let stranger = world.connect();
    assert!(world.take(stranger).ends_with(GREETED));
    world.pass(4.999);
    assert_eq!(
        (world.take(stranger).as_str(), world.closed(stranger)),
        ("", None)
    );
    world.pass(0.001);
    assert_eq!(
        (world.take(stranger).as_str(), world.closed(stranger)),
        (
            "OVERHEAD E client_limit\r\n",
            Some(CloseReason::ClientLimit)
        )
    );
    // What isn't a login changes nothing.
    let stranger = world.connect();
    world.pass(3.0);
    world.line(stranger, "PING");
    world.line(stranger, "CLACKS I am busy");
    world.pass(2.0);
    assert_eq!(world.closed(stranger), Some(CloseReason::ClientLimit));
    assert!(clients.iter().all(|id| world.closed(*id).is_none()));
    assert_eq!(world.status("client_limit"), 2);

    // Who has a place may take the auth timeout, also when the server is full afterwards.
    world.line(clients[0], "QUIT");
    let late = world.connect();
    let surplus = world.connect();
    world.pass(5.1);
    assert_eq!(
        (world.closed(late), world.closed(surplus)),
        (None, Some(CloseReason::ClientLimit))
    );
    world.log_in(late, "rw");
}

#[test]
fn a_manager_of_a_full_server_stays_in_and_others_get_no_further_than_the_login() {
    let (mut world, clients) = full_world();
    let managers: Vec<ConnectionId> = (0..40).map(|_| world.quiet_client("mg")).collect();
    world.pass(3600.0);
    for id in managers.iter().chain(&clients) {
        assert_eq!(world.closed(*id), None);
    }
    for user in ["rw", "ro"] {
        let id = world.connect();
        world.take(id);
        let token = Token::encode(user.as_bytes(), format!("{user}pw").as_bytes());
        assert_eq!(
            world.answers(id, &format!("OVERHEAD A {token}")),
            "OVERHEAD E client_limit\r\n"
        );
        assert_eq!(world.closed(id), Some(CloseReason::ClientLimit));
    }
    let id = world.connect();
    world.take(id);
    world.line(id, "OVERHEAD A wrong:wrong");
    assert_eq!(world.closed(id), Some(CloseReason::LoginFailed));
    world.client("admin");
}

/// The one who came first makes room, and who got in is none of them any more.
#[test]
fn of_too_many_strangers_at_a_full_server_the_first_goes() {
    let (mut world, _) = full_world();
    let strangers: Vec<ConnectionId> = (0..limits::MAX_SURPLUS_CLIENTS)
        .map(|_| world.connect())
        .collect();
    assert!(strangers.iter().all(|id| world.closed(*id).is_none()));
    world.log_in(strangers[0], "mg");
    let next = world.connect();
    assert!(strangers.iter().all(|id| world.closed(*id).is_none()));
    let last = world.connect();
    let closed: Vec<ConnectionId> = strangers
        .iter()
        .copied()
        .filter(|id| world.closed(*id).is_some())
        .collect();
    assert_eq!(closed, [strangers[1]]);
    assert!(
        world
            .take(strangers[1])
            .ends_with("OVERHEAD E client_limit\r\n")
    );
    assert!(world.closed(next).is_none() && world.closed(last).is_none());
    world.log_in(last, "admin");
}

/// A login without the right to listen, and becoming a link, end all subscriptions: of very many, some at a
/// time.
#[test]
fn very_many_subscriptions_end_in_slices() {
    let token = Token::encode(b"wo", b"wopw");
    for (line, answer) in [
        (format!("OVERHEAD A {token}"), "OVERHEAD O Welcome!\r\n"),
        ("OVERHEAD I 1".to_owned(), "OVERHEAD A "),
    ] {
        let mut world = World::new();
        let (other, id) = (world.client("rw"), world.client("admin"));
        world.line(other, "LISTEN other");
        for number in 0..5_000 {
            world.line(id, &format!("LISTEN {number}"));
        }
        world.take(id);
        world.line(id, &line);
        let mut slices = 1;
        loop {
            let before = world.status("subscriptions");
            if !world.give_room() {
                break;
            }
            assert!(before - world.status("subscriptions") <= 1_000);
            slices += 1;
        }
        assert!(slices >= 5, "{slices}");
        assert_eq!(world.status("subscriptions"), 1, "the other client's");
        assert_eq!(world.take(id).matches(answer).count(), 1, "{line}");
        world.broker.check();
    }
}

#[test]
fn who_has_not_taken_a_nop_gets_no_other() {
    let mut world = World::new();
    let id = world.quiet_client("ro");
    let takes = |world: &mut World, takes: bool| {
        let wire = world.wires.by_id.get_mut(&id).expect("a connection");
        wire.takes_nothing = !takes;
    };
    takes(&mut world, false);
    world.pass(86_400.0);
    assert_eq!(world.take(id), "");
    assert_eq!(world.closed(id), None);
    takes(&mut world, true);
    world.pass(61.0);
    assert_eq!(world.take(id), "NOP\r\n");
}

#[test]
fn who_takes_something_when_it_is_tried_once_more_is_not_closed() {
    let mut world = World::new();
    let id = world.quiet_client("ro");
    let wire = world.wires.by_id.get_mut(&id).expect("a connection");
    wire.stalled_since_us = Some(0);
    wire.retries = 3;
    world.broker.handle_stalled(id, world.now, &mut world.wires);
    world.pass(239.0);
    assert_eq!(world.closed(id), None);
    world.pass(6.0);
    assert_eq!(world.closed(id), Some(CloseReason::StalledWrite));
}

/// To try once more is to write, and many may come to a halt at the same moment.
#[test]
fn of_many_who_take_nothing_few_at_a_time_are_tried_once_more() {
    let mut world = World::new();
    let ids: Vec<ConnectionId> = (0..100).map(|_| world.quiet_client("ro")).collect();
    for &id in &ids {
        let wire = world.wires.by_id.get_mut(&id).expect("a connection");
        wire.stalled_since_us = Some(0);
        wire.retries = 1;
        world.broker.handle_stalled(id, world.now, &mut world.wires);
    }
    world.pass(119.0);
    assert!(ids.iter().all(|id| world.closed(*id).is_none()));
    assert!(world.wires.by_id.values().all(|wire| wire.retries == 0));
    world.pass(6.0);
    assert!(ids.iter().all(|id| world.closed(*id).is_some()));
    assert!(world.most_retried <= 8, "{}", world.most_retried);
}
