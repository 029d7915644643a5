//! The broker behind the real loop, without a kernel and on a clock that the test moves: what takes a minute or a day
//! takes no time here, and happens at exactly the moment when it is due.

mod admission;
mod ageing;
mod closes;
mod listing;
mod management;
mod patterns;
mod status;
mod subscriptions;
mod timeouts;

use crate::support::Machine;
use clacks::broker::{
    Broker, Carrier, CloseReason, ConnectionId, Now, Peer, Process, Settings, Users,
};
use clacks::limits::{MAX_BUFFERS, MAX_OUTPUT, SECOND_US};
use clacks::protocol::Language;
use clacks::protocol::token::Token;
use clacks::reactor::{self, OutputLimits};

/// Some day in 2023, so that stamps and uptimes can't be taken for each other.
const START_WALL_US: u64 = 1_700_000_000 * SECOND_US;

fn us(seconds: f64) -> u64 {
    (seconds * SECOND_US as f64) as u64
}

/// A server, and its clients and their connections.
struct World {
    machine: Machine,
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
        let loop_settings = reactor::Settings {
            max_clients: settings.max_clients,
            max_connections: 2 * settings.max_clients + 100,
            auth_timeout_us: settings.auth_timeout_us,
            output: OutputLimits {
                max_output: MAX_OUTPUT,
                max_buffers: MAX_BUFFERS,
            },
        };
        let users = users("rw:read,write:rwpw\nro:read:ropw\nwo:write:wopw\n");
        let now = Now {
            monotonic_us: 0,
            wall_us: START_WALL_US,
        };
        let broker = Broker::new(settings, users, [1, 2, 3, 4]);
        World {
            machine: Machine::new(loop_settings, broker, None, now),
        }
    }

    fn broker(&mut self) -> &mut Broker {
        &mut self.machine.core.broker
    }

    fn now_us(&self) -> u64 {
        self.machine.now.monotonic_us
    }

    fn connect(&mut self) -> ConnectionId {
        self.connect_from(Peer::Unix(Process::default()))
    }

    fn connect_from(&mut self, peer: Peer) -> ConnectionId {
        self.connect_as(peer, Language::Clacks)
    }

    fn connect_as(&mut self, peer: Peer, language: Language) -> ConnectionId {
        self.machine.connect(peer, language, usize::MAX)
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

    /// A client without a ping timeout that is sent so much at most until the test takes it.
    fn slow_client(&mut self, user: &str, capacity: usize) -> ConnectionId {
        let id = self.quiet_client(user);
        self.machine.peer(id).set_capacity(capacity);
        id
    }

    /// Lets a line come and a turn pass.
    fn line(&mut self, id: ConnectionId, line: &str) {
        assert!(
            !self.machine.is_stopped(id) && self.closed(id).is_none(),
            "a line that would not be read"
        );
        self.send(id, &format!("{line}\r\n"));
    }

    fn send(&mut self, id: ConnectionId, text: &str) {
        self.machine.send(id, text.as_bytes());
        self.machine.turn();
    }

    /// The users were read again, and what follows is done.
    fn reload(&mut self, users: Users) {
        self.broker().handle_users(users);
        self.pass(0.0);
    }

    /// Lets the lines of a connection wait until it is resumed.
    fn stop(&mut self, id: ConnectionId) {
        let now_us = self.now_us();
        let connection = self.machine.core.out.connections.get_mut(id);
        let connection = connection.expect("it is there");
        connection.stops.stop_by_broker(now_us);
    }

    fn resume(&mut self, id: ConnectionId) {
        let core = &mut self.machine.core;
        core.begin_turn(self.machine.now);
        core.out.resume(id);
    }

    /// Ends a connection that has failed.
    fn lose(&mut self, id: ConnectionId) {
        let core = &mut self.machine.core;
        core.begin_turn(self.machine.now);
        let reason = CloseReason::ConnectionLost;
        core.broker
            .handle_closing(id, reason, self.machine.now, &mut core.out);
    }

    /// Removes and returns the output that the peer has received since the last call.
    fn take(&mut self, id: ConnectionId) -> String {
        String::from_utf8(self.machine.take(id)).expect("text")
    }

    /// Takes what a slow client was sent, and lets it be sent more.
    fn read_on(&mut self, id: ConnectionId) -> String {
        let taken = self.take(id);
        self.machine.work_off();
        taken
    }

    fn has_received(&self, id: ConnectionId) -> bool {
        self.machine.peer(id).untaken() > 0
    }

    fn answers(&mut self, id: ConnectionId, line: &str) -> String {
        self.take(id);
        self.line(id, line);
        self.take(id)
    }

    fn closed(&self, id: ConnectionId) -> Option<CloseReason> {
        self.machine.closed(id)
    }

    /// Lets the time pass, on both clocks.
    fn pass(&mut self, seconds: f64) {
        self.machine.pass_until(self.now_us() + us(seconds));
    }

    /// Lets a turn pass if somebody waits for room for more output; returns false if nobody does.
    fn give_room(&mut self) -> bool {
        let open: Vec<ConnectionId> = self.machine.open().collect();
        let is_waited_for = open.iter().any(|id| self.machine.wants_room(*id));
        if is_waited_for {
            self.machine.turn();
        }
        self.broker().check();
        for id in open {
            if let Some(held) = self.machine.core.broker.counted_memory(id) {
                assert_eq!(
                    self.machine.held(id) as isize,
                    held,
                    "what is held is what was said"
                );
            }
        }
        is_waited_for
    }

    fn status(&self, figure: &str) -> u64 {
        let text = self.machine.status();
        let value = text
            .split(' ')
            .find_map(|word| word.strip_prefix(figure)?.strip_prefix('='));
        value.map_or(0, |value| value.parse().expect("a number"))
    }
}
