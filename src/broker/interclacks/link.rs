//! A link: the connection to a master or to a slave, with what is known of the peer and what it is still to be sent.

use super::queue::LineQueue;
use crate::broker::Broker;
use crate::broker::cache::{Cache, Found};
use crate::broker::carrier::Carrier;
use crate::broker::events::{ConnectionId, Now};
use crate::broker::session::LastPing;
use crate::broker::table::Table;
use crate::broker::walk::{KeptName, Meets, Walk};
use crate::protocol::peer::{self, NodeId};
use std::collections::{BTreeMap, BTreeSet};

/// The connection to a master or to a slave.
pub struct Link {
    pub(super) role: Role,
    pub(super) peer: Software,
    /// True if the link is up: a downlink from the beginning, an uplink once the master has logged in here. The
    /// master's lines have no effect before.
    pub is_up: bool,
    /// On an uplink: the time at which it is given up if it is not up by then (monotonic).
    pub deadline_us: u64,
    pub last_ping: LastPing,
    pub ping_sent_us: u64,
    /// When the first PING that a clacksd peer has not answered yet was sent (monotonic).
    pub(super) unanswered_ping_us: Option<u64>,
    /// The progress of sending the entries that were cached when the link came up.
    pub(super) sync: SyncState,
    /// True if nothing was cached here when the link to a clacksd master came up. So the master has said, or is sent as it
    /// changes, all that there is when it is this node's turn to synchronise.
    pub(super) began_empty: bool,
    /// The memory of the walk that was last charged to the connection, in bytes.
    pub(super) walk_memory: usize,
    /// Names that changed while much output was queued. Their states are sent when there is room.
    pub(super) dirty: BTreeSet<KeptName>,
    /// States of dirty names whose entries were evicted meanwhile, so that they can't be looked up any more.
    pub(super) evicted: LineQueue,
    /// When the end of the synchronisation was sent to the peer (monotonic).
    pub(super) synced_us: Option<u64>,
    /// Encoded signals that wait until the synchronisation is done.
    pub(super) queued_signals: LineQueue,
    /// True while a Net::Clacks peer sends the entries that it had when the link came up.
    pub(super) peer_is_syncing: bool,
    /// Counters that a Net::Clacks slave has counted before it synchronised, with the time of the last such step here.
    pub(super) early_counters: BTreeMap<KeptName, u64>,
    /// Hashes of names whose states the master has just sent: they need not be sent back to it.
    pub(super) known_to_peer: Table<u64>,
    /// The peer's clock minus this node's monotonic one, once the peer has sent its time.
    pub(super) anchor_us: Option<i64>,
    /// On an uplink: true if the master knows the time of the tree's root, according to the path that it has sent.
    pub(super) peer_knows_time: bool,
    /// Of a slave: the node that it says it is.
    pub(super) node: Option<NodeId>,
    /// The time at which the link was made, by this node's clock (monotonic) and by the tree's.
    pub(super) began_us: u64,
    pub(super) began_tree_us: u64,
    /// The time that the last answer of the peer took, in microseconds: to a PING, or, from a Net::Clacks peer, to the making
    /// of the link. A Net::Clacks slave sends the entries that it receives back, with times that are newer by at most this
    /// interval.
    pub(super) round_trip_us: u64,
}

/// The memory of a name that is known to the peer, about, in bytes.
pub(super) const KNOWN_NAME: isize = 16;
/// The memory of a dirty name beside its text, in bytes.
pub(super) const DIRTY_NAME: isize = 48;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Uplink,
    Downlink,
}

impl Role {
    /// The peer's word in the log.
    pub(super) fn word(self) -> &'static str {
        match self {
            Role::Uplink => "master",
            Role::Downlink => "slave",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Software {
    Clacksd,
    NetClacks,
}

impl Software {
    /// A walk over all that such a peer is to be sent when its link comes up.
    pub(super) fn new_walk(self, cache: &Cache) -> Walk {
        match self {
            Software::Clacksd => Walk::unsorted(Meets::All),
            Software::NetClacks => Walk::sorted_if_few(cache, Meets::All),
        }
    }
}

/// How far the entries are sent that were cached when the link came up.
pub(super) enum SyncState {
    /// A slave begins when its master has sent everything.
    Pending,
    Running(Walk),
    Done,
}

/// The version that a clacksd server announces is too old to be spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OldVersion(pub u32);

/// The language of the peer that identifies itself so.
pub(super) fn software(client_info: &[u8]) -> Result<Software, OldVersion> {
    match peer::announced_version(client_info) {
        None => Ok(Software::NetClacks),
        Some(version) if version < peer::VERSION => Err(OldVersion(version)),
        Some(_) => Ok(Software::Clacksd),
    }
}

impl Link {
    /// Returns the growth of the walk's memory since the last call, in bytes.
    pub(super) fn walk_growth(&mut self) -> isize {
        let now = match &self.sync {
            SyncState::Running(walk) => walk.memory(),
            SyncState::Pending | SyncState::Done => 0,
        };
        let before = std::mem::replace(&mut self.walk_memory, now);
        now as isize - before as isize
    }

    /// Forgets which names are known to the peer, since all entries are to be sent, or have been. Returns the growth
    /// of the charged memory, in bytes.
    pub(super) fn forget_known_to_peer(&mut self) -> isize {
        let heard = std::mem::take(&mut self.known_to_peer);
        -(heard.len() as isize * KNOWN_NAME)
    }

    /// Queues the state of an entry that is being evicted, if its name is dirty. Returns the growth of the charged
    /// memory, in bytes.
    pub fn queue_evicted(&mut self, entry: Found<'_>) -> Option<isize> {
        let name = entry.name();
        if !self.dirty.remove(name) {
            return None;
        }
        let state = entry.state();
        let more = self
            .evicted
            .append(|to| peer::append_state(to, name, &state, None, entry.long_text()));
        Some(more - (name.len() as isize + DIRTY_NAME))
    }

    /// Names that have changed and whose states the peer has not been sent yet.
    pub fn changed_names(&self) -> usize {
        self.dirty.len()
    }

    /// `master` or `slave`.
    pub fn role_word(&self) -> &'static str {
        self.role.word()
    }

    /// The state in a word.
    pub fn state_word(&self) -> &'static str {
        match (self.is_up, &self.sync) {
            (false, _) => "logging_in",
            (true, SyncState::Pending) => "receiving",
            (true, SyncState::Running(_)) => "synchronising",
            (true, SyncState::Done) if self.is_up_to_date() => "up_to_date",
            (true, SyncState::Done) => "behind",
        }
    }

    /// The node that a slave says it is; empty if it is not known.
    pub fn node_text(&self) -> String {
        self.node.map_or(String::new(), |node| node.to_string())
    }

    /// When all entries had been sent that were cached when the link came up (monotonic).
    pub fn synced_us(&self) -> Option<u64> {
        self.synced_us
    }

    /// The time from the making of the link to the first line of the peer, in microseconds; 0 before.
    pub fn round_trip_us(&self) -> u64 {
        self.round_trip_us
    }

    pub fn is_clacksd(&self) -> bool {
        self.peer == Software::Clacksd
    }

    /// Bytes that wait at this end to be sent, beside names whose states can be looked up.
    pub fn backlog(&self) -> usize {
        self.queued_signals.len() + self.evicted.len()
    }

    /// A PING is sent to the peer. A clacksd peer answers it.
    pub fn note_ping(&mut self, now: Now) {
        self.ping_sent_us = now.monotonic_us;
        if self.is_clacksd() {
            self.unanswered_ping_us.get_or_insert(now.monotonic_us);
        }
    }

    /// The answer to the oldest PING that has none. An answer that was not asked for is ignored.
    pub(super) fn handle_pong(&mut self, now: Now) {
        if let Some(sent_us) = self.unanswered_ping_us.take() {
            self.round_trip_us = now.monotonic_us - sent_us;
        }
    }

    /// Reports whether changes wait to be sent.
    pub(super) fn has_dirty_names(&self) -> bool {
        !self.dirty.is_empty() || !self.evicted.is_empty()
    }

    /// Reports whether the synchronisation is done and no change waits.
    pub(super) fn has_sent_all(&self) -> bool {
        matches!(self.sync, SyncState::Done) && !self.has_dirty_names()
    }

    /// Reports whether a signal for a group is best sent there: it is sent at once.
    pub fn is_prompt(&self) -> bool {
        self.is_up_to_date()
    }

    /// Reports whether a signal may be sent at once: it overtakes no write and no other signal.
    pub(super) fn is_up_to_date(&self) -> bool {
        self.has_sent_all() && self.queued_signals.is_empty()
    }
}

impl Broker {
    pub(super) fn renew_ping<O: Carrier>(&mut self, id: ConnectionId, now: Now, out: &O) {
        let stopped_us = out.traffic(id).stopped_us;
        if let Some(link) = self.tree.links.get_mut(id) {
            link.last_ping = LastPing::new(now.monotonic_us, stopped_us);
        }
    }

    pub(super) fn note_known_to_peer<O: Carrier>(
        &mut self,
        id: ConnectionId,
        name: &[u8],
        out: &mut O,
    ) {
        let Some(link) = self.tree.links.get_mut(id) else {
            return;
        };
        if !matches!(link.sync, SyncState::Pending) || link.began_empty {
            return;
        }
        let hash = self.cache.hash(name);
        let known = link.known_to_peer.find(hash, |heard| *heard == hash);
        if known.is_none() {
            link.known_to_peer.insert(hash, hash, |hash| *hash);
            out.charge_memory(id, KNOWN_NAME);
        }
    }
}
