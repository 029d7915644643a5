//! `watch`: connections that get lines of a log, and the events in it.

use super::exchange::{Exchange, seconds_since, seconds_until};
use super::is_spoken;
use crate::broker::Broker;
use crate::broker::cache::{Dropped, EntryId, Found, TooLarge};
use crate::broker::carrier::Carrier;
use crate::broker::close_reason::CloseReason;
use crate::broker::events::{ConnectionId, Now, Peer};
use crate::broker::operations::Stored;
use crate::broker::output::Output;
use crate::broker::session::Session;
use crate::limits::{KIB, SECOND_US};
use crate::protocol::memcached::administration::Watched;
use crate::protocol::memcached::answer::percent_encoded;
use std::fmt;
use std::io::Write;

/// The output that may wait for a watcher; lines beyond are lost.
const MAX_WAITING: usize = 256 * KIB;

/// The connections that watch.
#[derive(Default)]
pub struct Watchers {
    all: Vec<(ConnectionId, Watched)>,
    /// Lines of the log so far.
    lines: u64,
}

/// The kind of an event, by which watchers choose.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Fetch,
    Mutation,
    Eviction,
    Connection,
    Deletion,
}

/// The outcome of looking for an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// There is one, with a value of that length.
    Found(usize),
    NotFound,
    Expired,
}

/// The outcome of storing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreStatus {
    Stored,
    NotStored,
    Exists,
    NotFound,
    TooLarge,
}

impl StoreStatus {
    pub fn of(stored: Result<Stored, TooLarge>) -> StoreStatus {
        match stored {
            Ok(Stored::Done(_)) => StoreStatus::Stored,
            Ok(Stored::Unmet) => StoreStatus::NotStored,
            Ok(Stored::Exists) => StoreStatus::Exists,
            Ok(Stored::NotFound) => StoreStatus::NotFound,
            Err(TooLarge) => StoreStatus::TooLarge,
        }
    }

    /// The code of meta commands.
    pub fn code(self) -> &'static str {
        match self {
            StoreStatus::Stored => "HD",
            StoreStatus::NotStored | StoreStatus::TooLarge => "NS",
            StoreStatus::Exists => "EX",
            StoreStatus::NotFound => "NF",
        }
    }

    fn word(self) -> &'static str {
        match self {
            StoreStatus::Stored => "stored",
            StoreStatus::NotStored => "not_stored",
            StoreStatus::Exists => "exists",
            StoreStatus::NotFound => "not_found",
            StoreStatus::TooLarge => "too_large",
        }
    }
}

impl Watchers {
    pub fn add(&mut self, id: ConnectionId, watched: Watched) {
        self.all.push((id, watched));
    }

    fn remove(&mut self, id: ConnectionId) {
        self.all.retain(|(watcher, _)| *watcher != id);
    }

    /// Sends a line to those who watch such events. A watcher that reads too slowly loses it.
    fn send<O: Carrier>(&mut self, kind: Kind, event: &[u8], now: Now, out: &mut O) {
        let wants = |watched: &Watched| match kind {
            Kind::Fetch => watched.fetchers,
            Kind::Mutation => watched.mutations,
            Kind::Eviction => watched.evictions,
            Kind::Connection => watched.connections,
            Kind::Deletion => watched.deletions,
        };
        let (seconds, rest) = (now.wall_us / SECOND_US, now.wall_us % SECOND_US);
        self.lines += 1;
        let gid = self.lines;
        for (id, _) in self.all.iter().filter(|(_, watched)| wants(watched)) {
            if out.traffic(*id).queued <= MAX_WAITING {
                out.append(*id, |to| {
                    write!(to, "ts={seconds}.{rest:06} gid={gid} ")
                        .expect("a Vec takes every write");
                    to.extend_from_slice(event);
                    to.push(b'\n');
                });
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

/// The event of a key: its type, the key, and further fields.
fn event(kind: &str, key: &[u8], fields: fmt::Arguments<'_>) -> Vec<u8> {
    let mut event = format!("type={kind} key=").into_bytes();
    percent_encoded(&mut event, key);
    write!(event, " {fields}").expect("a Vec takes every write");
    event
}

impl<O: Output> Exchange<'_, O> {
    /// Reports whether nobody watches.
    pub fn is_unwatched(&self) -> bool {
        self.broker.memcached.watchers.is_empty()
    }

    /// The number of the connection in the log.
    fn serial(&self) -> u64 {
        let session = self.broker.sessions.get(self.id);
        session.map_or(0, |session| session.cid.serial)
    }

    fn watch_event(&mut self, kind: Kind, event: &[u8]) {
        let watchers = &mut self.broker.memcached.watchers;
        watchers.send(kind, event, self.now, self.out);
    }

    pub fn watch_lookup(&mut self, key: &[u8], lookup: Lookup) {
        if self.is_unwatched() {
            return;
        }
        let (status, class, size) = match lookup {
            Lookup::Found(length) => ("found", 1, length),
            Lookup::NotFound => ("not_found", 0, 0),
            Lookup::Expired => ("expired", 0, 0),
        };
        let cfd = self.serial();
        let fields = format_args!("status={status} clsid={class} cfd={cfd} size={size}");
        self.watch_event(Kind::Fetch, &event("item_get", key, fields));
    }

    pub fn watch_store(
        &mut self,
        key: &[u8],
        status: StoreStatus,
        command: &str,
        expires_us: Option<u64>,
        size: usize,
    ) {
        if self.is_unwatched() {
            return;
        }
        let now_us = self.now_us();
        let ttl = expires_us.map_or(0, |at_us| seconds_until(at_us, now_us));
        let (status, cfd) = (status.word(), self.serial());
        let fields =
            format_args!("status={status} cmd={command} ttl={ttl} clsid=1 cfd={cfd} size={size}");
        self.watch_event(Kind::Mutation, &event("item_store", key, fields));
    }

    pub fn watch_deletion(&mut self, key: &[u8], command: &str, size: usize) {
        if self.is_unwatched() {
            return;
        }
        let fields = format_args!("cmd={command} clsid=1 size={size}");
        self.watch_event(Kind::Deletion, &event("deleted", key, fields));
    }
}

/// A client has connected: tells watchers.
pub fn watch_connected<O: Carrier>(broker: &mut Broker, id: ConnectionId, now: Now, out: &mut O) {
    if let Some(session) = broker.sessions.get(id)
        && !broker.memcached.watchers.is_empty()
    {
        let event = connection_event("conn_new", session, "");
        let watchers = &mut broker.memcached.watchers;
        watchers.send(Kind::Connection, event.as_bytes(), now, out);
    }
}

/// A connection is closed, of whatever language.
pub fn handle_closed<O: Carrier>(
    broker: &mut Broker,
    session: &Session,
    reason: CloseReason,
    now: Now,
    out: &mut O,
) {
    let watchers = &mut broker.memcached.watchers;
    if !is_spoken(session) || watchers.is_empty() {
        return;
    }
    watchers.remove(session.id);
    let reason = match reason {
        CloseReason::Quit => "normal",
        CloseReason::Shutdown => "shutdown",
        _ => "error",
    };
    let event = connection_event("conn_close", session, &format!(" reason={reason}"));
    watchers.send(Kind::Connection, event.as_bytes(), now, out);
}

fn connection_event(kind: &str, session: &Session, reason: &str) -> String {
    let cfd = session.cid.serial;
    match session.cid.peer {
        Peer::Tcp(address) => {
            let (ip, port) = (address.ip(), address.port());
            format!("type={kind} rip={ip} rport={port} transport=tcp{reason} cfd={cfd}")
        }
        _ => format!("type={kind} rip=unix rport=0 transport=local{reason} cfd={cfd}"),
    }
}

/// The cache gives an entry up: counts it, and tells watchers of an eviction.
pub fn note_dropped<O: Carrier>(
    broker: &mut Broker,
    kind: Dropped,
    entry: EntryId,
    now: Now,
    out: &mut O,
) {
    match kind {
        Dropped::Expired => broker.memcached.counters.reclaimed += 1,
        Dropped::Evicted => {
            let now_us = broker.tree.now_us(now);
            let found = broker.cache.entry_of(entry);
            if found.value().is_none() {
                return;
            }
            let idle_s = seconds_since(found.accessed_us(), now_us);
            let counters = &mut broker.memcached.counters;
            counters.evictions += 1;
            counters.evictions_with_expiry += u64::from(found.expires_us().is_some());
            counters.evicted_idle_s = idle_s;
            let watchers = &mut broker.memcached.watchers;
            if !watchers.is_empty() {
                let event = eviction(&found, idle_s, now_us);
                watchers.send(Kind::Eviction, &event, now, out);
            }
        }
        _ => {}
    }
}

fn eviction(found: &Found<'_>, idle_s: u64, now_us: u64) -> Vec<u8> {
    let fetch = if found.was_used() { "yes" } else { "no" };
    let expires_us = found.expires_us();
    let ttl = expires_us.map_or(0, |at_us| seconds_until(at_us, now_us));
    let size = found.value().map_or(0, |value| value.len());
    let fields = format_args!("fetch={fetch} ttl={ttl} la={idle_s} clsid=1 size={size}");
    event("eviction", found.name(), fields)
}
