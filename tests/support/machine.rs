//! A server in memory: the real broker and the real scheduling of the reactor, over sockets in memory and on a clock of
//! the test's own, with a journal on a simulated disk if it has one. A minute or a day takes no time here, and all that
//! is due happens at exactly its moment.

use super::{MemoryPeer, MemorySocket, SimulatedJournal, memory_pair};
use clacks::broker::{Broker, CloseReason, ConnectionId, Now, Peer};
use clacks::protocol::Language;
use clacks::reactor::{Core, DialRequest, Readiness, Settings};
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// Turns at one moment: each of them does a slice of whatever there is to do.
const MAX_TURNS_AT_ONCE: u32 = 10_000;

pub struct Machine {
    pub core: Core<MemorySocket, Option<SimulatedJournal>>,
    pub now: Now,
    /// The other ends of all connections that there have been.
    peers: BTreeMap<ConnectionId, MemoryPeer>,
    /// The connections of which the broker knows.
    open: BTreeSet<ConnectionId>,
    closed: BTreeMap<ConnectionId, CloseReason>,
    /// How often the server was woken by a deadline.
    pub wake_ups: u64,
    /// Answers are held as they are for clients that look once, and then not for half a second. Else each is seen when
    /// it has come.
    pub holds_answers: bool,
}

impl Machine {
    pub fn new(
        settings: Settings,
        broker: Broker,
        journal: Option<SimulatedJournal>,
        now: Now,
    ) -> Machine {
        Machine {
            core: Core::new(settings, broker, journal, (), now),
            now,
            peers: BTreeMap::new(),
            open: BTreeSet::new(),
            closed: BTreeMap::new(),
            wake_ups: 0,
            holds_answers: false,
        }
    }

    /// Lets a peer connect that takes so many bytes before it reads them, and a turn pass.
    pub fn connect(&mut self, peer: Peer, language: Language, capacity: usize) -> ConnectionId {
        let (socket, other_end) = memory_pair(capacity);
        self.core.begin_turn(self.now);
        self.core
            .add(socket, peer, language)
            .expect("memory takes every socket");
        self.welcome(other_end)
    }

    /// Lets the connection to a master be made that the server has dialled, and a turn pass.
    pub fn connect_master(&mut self) -> ConnectionId {
        let (socket, other_end) = memory_pair(usize::MAX);
        self.core.begin_turn(self.now);
        self.core.handle_dialed(Ok((socket, Peer::Master(None))));
        self.welcome(other_end)
    }

    fn welcome(&mut self, other_end: MemoryPeer) -> ConnectionId {
        let id = other_end.id();
        self.peers.insert(id, other_end);
        self.open.insert(id);
        self.end_turn();
        id
    }

    /// Lets the server know that no master could be dialled.
    pub fn fail_dial(&mut self) {
        self.core.begin_turn(self.now);
        let error = io::Error::other("out of reach");
        self.core.handle_dialed(Err(error));
    }

    /// Takes the request to dial a master, if there is one.
    pub fn take_dial(&mut self) -> Option<usize> {
        match self.core.out.connections.take_dial_request()? {
            DialRequest::Dial(master) => Some(master),
            DialRequest::Cancel => None,
        }
    }

    /// Lets the journal write so many batches, and the server know what came of that.
    pub fn write_journal(&mut self, batches: usize) {
        self.core.begin_turn(self.now);
        if let Some(journal) = &mut self.core.out.journal {
            let news = journal.write(batches, self.now.monotonic_us);
            self.core.handle_saved(news);
        }
    }

    pub fn peer(&self, id: ConnectionId) -> &MemoryPeer {
        &self.peers[&id]
    }

    /// Lets bytes come from a peer; the next turn reads them.
    pub fn send(&mut self, id: ConnectionId, bytes: &[u8]) {
        self.peers[&id].write(bytes);
        if !self.holds_answers
            && let Some(connection) = self.core.out.connections.get_mut(id)
        {
            connection.pace = Default::default();
        }
        let readiness = Readiness {
            is_readable: true,
            ..Readiness::default()
        };
        self.core.handle_ready(id, readiness);
    }

    /// Lets a peer close its side; the next turn notices that, unless the connection's lines wait.
    pub fn hang_up(&mut self, id: ConnectionId) {
        self.peers[&id].hang_up();
        let readiness = Readiness {
            is_read_closed: true,
            ..Readiness::default()
        };
        self.core.handle_ready(id, readiness);
    }

    /// Forgets a peer whose connection has ended.
    pub fn forget(&mut self, id: ConnectionId) {
        self.peers.remove(&id);
        self.closed.remove(&id);
    }

    /// Begins a turn, up to its deadlines: connections are served.
    pub fn hear(&mut self) {
        self.core.begin_turn(self.now);
        self.core.serve();
    }

    /// Lets a turn pass. Returns whether there is more to do at once.
    pub fn turn(&mut self) -> bool {
        self.core.begin_turn(self.now);
        self.end_turn()
    }

    /// The rest of a turn that was begun, after what has happened in it.
    fn end_turn(&mut self) -> bool {
        self.core.serve();
        self.core.handle_deadlines();
        if let Some(journal) = &mut self.core.out.journal {
            journal.hand_over(self.core.broker.recorded());
        }
        self.core.flush();
        self.note_closing();
        self.core.end_turn();
        self.core.has_work()
    }

    /// Lets turns pass until there is nothing more to do at once.
    pub fn work_off(&mut self) {
        let mut turns = 0;
        while self.turn() {
            turns += 1;
            assert!(turns < MAX_TURNS_AT_ONCE, "work that doesn't end");
        }
    }

    /// Notes why connections end, before they do.
    fn note_closing(&mut self) {
        let (connections, closed) = (&self.core.out.connections, &mut self.closed);
        self.open.retain(|id| {
            let reason = connections.get(*id).map(|connection| connection.closing);
            if let Some(Some(reason)) = reason {
                closed.insert(*id, reason);
            }
            reason == Some(None)
        });
    }

    /// Returns why the connection has ended, if it has and that was not its peer's doing.
    pub fn closed(&self, id: ConnectionId) -> Option<CloseReason> {
        self.closed.get(&id).copied()
    }

    /// The connections that have not ended.
    pub fn open(&self) -> impl Iterator<Item = ConnectionId> {
        self.open.iter().copied()
    }

    /// Takes what a peer has got; the next turn writes more of it, if there is more.
    pub fn take(&mut self, id: ConnectionId) -> Vec<u8> {
        let taken = self.peers[&id].take();
        if !taken.is_empty() {
            self.tell_of_room(id);
        }
        taken
    }

    /// The server may write more to a peer, and is told so if it has waited for that.
    pub fn tell_of_room(&mut self, id: ConnectionId) {
        if self.peers[&id].is_waited_for() {
            self.note_room(id);
        }
    }

    /// The way to a peer is clogged, or is no longer.
    pub fn clog(&mut self, id: ConnectionId, is_clogged: bool) {
        self.peers[&id].clog(is_clogged);
        if !is_clogged {
            self.note_room(id);
        }
    }

    fn note_room(&mut self, id: ConnectionId) {
        let readiness = Readiness {
            is_writable: true,
            ..Readiness::default()
        };
        self.core.handle_ready(id, readiness);
    }

    /// Reports whether the lines of a connection wait.
    pub fn is_stopped(&self, id: ConnectionId) -> bool {
        let connection = self.core.out.connections.get(id);
        connection.is_some_and(|connection| connection.stops.any())
    }

    /// Reports whether the broker has more to say to a connection as soon as there is room.
    pub fn wants_room(&self, id: ConnectionId) -> bool {
        let connection = self.core.out.connections.get(id);
        connection.is_some_and(|connection| connection.wants_writable)
    }

    /// Memory that the broker holds for a connection, in bytes.
    pub fn held(&self, id: ConnectionId) -> usize {
        let connection = self.core.out.connections.get(id);
        connection.map_or(0, |connection| connection.broker_memory)
    }

    /// Lets the time pass on both clocks, and everything happen that is due meanwhile.
    pub fn pass_until(&mut self, end_us: u64) {
        let mut turns_at_once = 0;
        let mut last_us = self.now.monotonic_us;
        while self.pass_to_next(end_us) {
            let now_us = self.now.monotonic_us;
            turns_at_once = match std::mem::replace(&mut last_us, now_us) == now_us {
                true => turns_at_once + 1,
                false => 0,
            };
            assert!(
                turns_at_once < MAX_TURNS_AT_ONCE,
                "a deadline that doesn't go away"
            );
        }
    }

    /// Lets the time pass to the next turn. Returns false if there is none until then: then it is that time.
    pub fn pass_to_next(&mut self, end_us: u64) -> bool {
        let Some(at_us) = self.next_turn_us().filter(|at_us| *at_us <= end_us) else {
            self.set_time(end_us);
            return false;
        };
        self.wake_ups += u64::from(!self.core.has_work());
        self.set_time(at_us);
        self.turn();
        true
    }

    /// When there is something to do next.
    fn next_turn_us(&mut self) -> Option<u64> {
        let now_us = self.now.monotonic_us;
        match self.core.has_work() {
            true => Some(now_us),
            false => self.core.poll_deadline().map(|at_us| at_us.max(now_us)),
        }
    }

    fn set_time(&mut self, monotonic_us: u64) {
        self.now.wall_us += monotonic_us - self.now.monotonic_us;
        self.now.monotonic_us = monotonic_us;
    }

    pub fn status(&self) -> String {
        let mut status = String::new();
        self.core
            .broker
            .write_status(&mut status)
            .expect("a String takes every write");
        status
    }
}
