//! A node's side of the seam between server and network: its connections, and whichever server is
//! behind them.

use super::perl::Perl;
use crate::support::SimulatedJournal;
use clacks::broker::{
    Broker, CloseReason, ConnectionId, Flow, Now, Peer, Record, Recording, Rewrite, Traffic,
};
use clacks::protocol::{Language, Pending};
use std::collections::BTreeMap;

/// How long a connection that wants room waits for it.
const ROOM_US: u64 = 5_000;

/// The server at a node.
pub enum Server {
    Clacksd(Box<Broker>),
    NetClacks(Box<Perl>),
}

macro_rules! either {
    ($server:expr, $is:ident => $call:expr) => {
        match $server {
            Server::Clacksd($is) => $call,
            Server::NetClacks($is) => $call,
        }
    };
}

impl Server {
    pub fn handle_connected(
        &mut self,
        id: ConnectionId,
        (peer, language): (Peer, Language),
        now: Now,
        out: &mut Carrier,
    ) {
        match self {
            Server::Clacksd(broker) => broker.handle_connected(id, peer, language, now, out),
            Server::NetClacks(server) => server.handle_connected(id, peer, now, out),
        }
    }

    fn handle_frame(
        &mut self,
        id: ConnectionId,
        (frame, language): (&[u8], Language),
        now: Now,
        out: &mut Carrier,
    ) -> Flow {
        match self {
            Server::Clacksd(broker) => broker.handle_request(id, &language.decode(frame), now, out),
            Server::NetClacks(server) => server.handle_line(id, frame, now, out),
        }
    }

    pub fn handle_writable(&mut self, id: ConnectionId, now: Now, out: &mut Carrier) {
        if let Server::Clacksd(broker) = self {
            broker.handle_writable(id, now, out);
        }
    }

    pub fn handle_deadline(&mut self, now: Now, out: &mut Carrier) {
        either!(self, server => server.handle_deadline(now, out))
    }

    pub fn poll_deadline(&mut self) -> Option<u64> {
        either!(self, server => server.poll_deadline())
    }

    pub fn handle_dial_failed(&mut self, now: Now) {
        either!(self, server => server.handle_dial_failed("out of reach", now))
    }

    pub fn handle_closing(
        &mut self,
        id: ConnectionId,
        reason: CloseReason,
        now: Now,
        out: &mut Carrier,
    ) {
        either!(self, server => server.handle_closing(id, reason, now, out))
    }

    pub fn handle_closed(
        &mut self,
        id: ConnectionId,
        reason: CloseReason,
        now: Now,
        out: &mut Carrier,
    ) {
        either!(self, server => server.handle_closed(id, reason, 0, now, out))
    }
}

/// Where the other end of a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The client of that number at this node.
    Client(usize),
    /// A side of the wire of that number.
    Wire(usize, usize),
}

pub struct Connection {
    pub id: ConnectionId,
    pub end: End,
    pub input: Pending,
    pub output: Vec<u8>,
    /// Since when its lines wait, and how long they did so before.
    pub stopped_since_us: Option<u64>,
    stopped_us: u64,
    /// When it gets the room that it wants.
    pub room_at_us: Option<u64>,
    pub closing: Option<CloseReason>,
    last_output_us: u64,
}

/// Links are congested so often, and for so long.
const CONGESTION_EVERY_US: u64 = 3_000_000;
const CONGESTION_US: u64 = 200_000;
/// More than anything waits for.
const FULL: usize = 1 << 40;

#[derive(Default)]
pub struct Carrier {
    pub connections: BTreeMap<u32, Connection>,
    generation: u32,
    pub now_us: u64,
    pub resumed: Vec<ConnectionId>,
    pub is_dialing: bool,
    pub journal: Option<SimulatedJournal>,
    /// When what waits for the disk gets there.
    pub write_at_us: Option<u64>,
}

impl Carrier {
    pub fn with_journal(journal: Option<SimulatedJournal>) -> Carrier {
        Carrier {
            journal,
            ..Carrier::default()
        }
    }

    /// The process has ended: all connections and the journal are closed.
    pub fn forget(&mut self) {
        self.connections.clear();
        self.resumed.clear();
        self.is_dialing = false;
        (self.journal, self.write_at_us) = (None, None);
    }

    /// When the journal is to be written next.
    pub fn write_due_us(&self) -> Option<u64> {
        let sync_us = self
            .journal
            .as_ref()
            .and_then(SimulatedJournal::deadline_us);
        [self.write_at_us, sync_us].into_iter().flatten().min()
    }

    /// The connection that ends there.
    pub fn id_of(&self, end: End) -> ConnectionId {
        let found = self.connections.values().find(|found| found.end == end);
        found.expect("it is connected").id
    }

    pub fn get(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.connections
            .get_mut(&id.slot)
            .filter(|connection| connection.id == id)
    }

    pub fn add(&mut self, end: End, language: Language) -> ConnectionId {
        let slot = (0..)
            .find(|slot| !self.connections.contains_key(slot))
            .expect("a free slot");
        self.generation += 1;
        let id = ConnectionId {
            slot,
            generation: self.generation,
        };
        let connection = Connection {
            id,
            end,
            input: Pending::new(language),
            output: Vec::new(),
            stopped_since_us: None,
            stopped_us: 0,
            room_at_us: None,
            closing: None,
            last_output_us: self.now_us,
        };
        self.connections.insert(slot, connection);
        id
    }
}

impl Carrier {
    /// Every now and then a link takes nothing for some time: how much longer.
    fn congested_us(&self, id: ConnectionId) -> u64 {
        let is_link = self
            .connections
            .get(&id.slot)
            .is_some_and(|connection| matches!(connection.end, End::Wire(..)));
        let phase_us = (self.now_us + u64::from(id.generation) * 700_000) % CONGESTION_EVERY_US;
        if is_link {
            CONGESTION_US.saturating_sub(phase_us)
        } else {
            0
        }
    }
}

impl clacks::broker::Carrier for Carrier {
    fn append(&mut self, to: ConnectionId, encode: impl FnOnce(&mut Vec<u8>)) {
        let now_us = self.now_us;
        if let Some(connection) = self
            .get(to)
            .filter(|connection| connection.closing.is_none())
        {
            encode(&mut connection.output);
            connection.last_output_us = now_us;
        }
    }

    fn fan_out(&mut self, to: impl IntoIterator<Item = ConnectionId>, payload: &[u8]) {
        for id in to {
            self.append(id, |output| output.extend_from_slice(payload));
        }
    }

    fn close(&mut self, id: ConnectionId, reason: CloseReason) {
        if let Some(connection) = self.get(id) {
            connection.closing.get_or_insert(reason);
        }
    }

    fn set_link(&mut self, _: ConnectionId) {}

    fn resume(&mut self, id: ConnectionId) {
        let now_us = self.now_us;
        if let Some(connection) = self.get(id)
            && let Some(since_us) = connection.stopped_since_us.take()
        {
            connection.stopped_us += now_us - since_us;
            self.resumed.push(id);
        }
    }

    fn charge_memory(&mut self, _: ConnectionId, _: isize) {}

    fn request_writable(&mut self, id: ConnectionId) {
        let at_us = self.now_us + ROOM_US.max(self.congested_us(id));
        if let Some(connection) = self.get(id) {
            connection.room_at_us.get_or_insert(at_us);
        }
    }

    fn dial(&mut self, _: usize) {
        self.is_dialing = true;
    }

    fn cancel_dial(&mut self) {
        self.is_dialing = false;
    }

    fn traffic(&self, id: ConnectionId) -> Traffic {
        let found = self
            .connections
            .get(&id.slot)
            .filter(|connection| connection.id == id);
        found.map_or_else(Traffic::default, |connection| Traffic {
            queued: if self.congested_us(id) > 0 { FULL } else { 0 },
            last_output_us: connection.last_output_us,
            stopped_us: connection.stopped_us
                + connection
                    .stopped_since_us
                    .map_or(0, |since_us| self.now_us - since_us),
            ..Traffic::default()
        })
    }
}

impl Recording for Carrier {
    fn record(&mut self, record: &Record<'_>) {
        if let Some(journal) = &mut self.journal {
            journal.recorder.record(record);
        }
    }

    fn rewrite(&mut self, step: &Rewrite<'_>) {
        if let Some(journal) = &mut self.journal {
            journal.recorder.rewrite(step);
        }
    }

    fn unsaved(&self) -> usize {
        let journal = self.journal.as_ref();
        journal.map_or(0, |journal| journal.recorder.unsaved())
    }
}

/// Hands a connection's finished frames to the server, up to one that has to wait.
pub fn work_off(server: &mut Server, carrier: &mut Carrier, id: ConnectionId, now: Now) {
    loop {
        let Some(connection) = carrier
            .get(id)
            .filter(|c| c.stopped_since_us.is_none() && c.closing.is_none())
        else {
            return;
        };
        let language = connection.input.language();
        let Some(frame) = connection.input.next_frame().map(<[u8]>::to_vec) else {
            return;
        };
        let flow = server.handle_frame(id, (&frame, language), now, carrier);
        let now_us = carrier.now_us;
        if let Some(connection) = carrier.get(id)
            && flow != Flow::Next
        {
            connection.stopped_since_us = Some(now_us);
            if flow == Flow::StopBefore {
                connection.input.put_back(frame.len());
            }
        }
    }
}
