//! A link: the connection to a master or to a slave, with what is known of the peer and what it is still to be sent.

use super::queue::LineQueue;
use crate::broker::Broker;
use crate::broker::cache::{Cache, Found};
use crate::broker::output::{ConnectionId, Now, Output};
use crate::broker::session::LastPing;
use crate::broker::table::Table;
use crate::broker::walk::{KeptName, Meets, Walk};
use crate::protocol::peer;
use std::collections::{BTreeMap, BTreeSet};

/// A session's other life: the connection to a master or to a slave.
pub struct Link {
    pub(super) role: Role,
    pub(super) peer: Software,
    /// The uplink: whether the master has logged in here. Nothing of it is obeyed before.
    pub is_up: bool,
    /// The uplink: when it is given up if it isn't up by then.
    pub deadline_us: u64,
    pub last_ping: LastPing,
    pub ping_sent_us: u64,
    /// What this node held when the link came up: how much of it is still to be sent.
    pub(super) sync: SyncState,
    /// What the walk of the telling was last said to take, in bytes.
    pub(super) walk_memory: usize,
    /// Names that changed while much was waiting for the link, and are told when there is room.
    pub(super) dirty: BTreeSet<KeptName>,
    /// States of such names whose entries had to go meanwhile: they can't be looked up any more.
    pub(super) evicted: LineQueue,
    /// Whether the peer knows that it has been told everything once.
    pub(super) is_synced: bool,
    /// Encoded signals that wait until all is told.
    pub(super) queued_signals: LineQueue,
    /// Whether the peer, Net::Clacks, is telling what it held when the link came up.
    pub(super) peer_is_syncing: bool,
    /// Counters that the peer, a Net::Clacks slave, has counted before it told what it holds, and when the last of
    /// these steps was counted here.
    pub(super) early_counters: BTreeMap<KeptName, u64>,
    /// Names that the master has just told: it need not hear them from here. Hashes.
    pub(super) known_to_peer: Table<u64>,
    /// The peer's clock minus this node's monotonic one, once it has told its time.
    pub(super) anchor_us: Option<i64>,
    /// When the link was made, by this node's clock (monotonic) and by the tree's.
    pub(super) began_us: u64,
    pub(super) began_tree_us: u64,
    /// How long the peer then took to tell its time: so much newer may be what a Net::Clacks slave sends back of
    /// what it was told.
    pub(super) round_trip_us: u64,
}

/// What a name that was heard takes, about, in bytes.
pub(super) const KNOWN_NAME: isize = 16;
/// What a name that is to be told takes beside its text.
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

pub(super) enum SyncState {
    /// The slave's turn comes when the master has told everything.
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
    /// How many bytes more the walk keeps than when this was asked last.
    pub(super) fn walk_growth(&mut self) -> isize {
        let now = match &self.sync {
            SyncState::Running(walk) => walk.memory(),
            SyncState::Pending | SyncState::Done => 0,
        };
        let before = std::mem::replace(&mut self.walk_memory, now);
        now as isize - before as isize
    }

    /// It no longer matters what the master has told: what there is of it is to be told as well, or has been. How
    /// many bytes more are held.
    pub(super) fn forget_known_to_peer(&mut self) -> isize {
        let heard = std::mem::take(&mut self.known_to_peer);
        -(heard.len() as isize * KNOWN_NAME)
    }

    /// The entry has to go. If the peer was still to be told of it, its state is kept, and so many bytes more are
    /// held.
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

    pub fn is_clacksd(&self) -> bool {
        self.peer == Software::Clacksd
    }

    /// Bytes that wait at this end to be sent, beside names whose states can be looked up.
    pub fn backlog(&self) -> usize {
        self.queued_signals.len() + self.evicted.len()
    }

    /// Whether changes wait to be told.
    pub(super) fn has_dirty_names(&self) -> bool {
        !self.dirty.is_empty() || !self.evicted.is_empty()
    }

    /// Whether everything was told that the cache has held.
    pub(super) fn has_sent_all(&self) -> bool {
        matches!(self.sync, SyncState::Done) && !self.has_dirty_names()
    }

    /// Whether a signal may go at once: it overtakes nothing, no other signal either.
    pub(super) fn is_up_to_date(&self) -> bool {
        self.has_sent_all() && self.queued_signals.is_empty()
    }
}

impl Broker {
    pub(super) fn renew_ping<O: Output>(&mut self, id: ConnectionId, now: Now, out: &O) {
        let stopped_us = out.traffic(id).stopped_us;
        if let Some(link) = self.tree.links.get_mut(id) {
            link.last_ping = LastPing {
                at_us: now.monotonic_us,
                stopped_us,
            };
        }
    }

    pub(super) fn note_known_to_peer<O: Output>(
        &mut self,
        id: ConnectionId,
        name: &[u8],
        out: &mut O,
    ) {
        let hash = self.cache.hash(name);
        if let Some(link) = self.tree.links.get_mut(id)
            && matches!(link.sync, SyncState::Pending)
            && link
                .known_to_peer
                .find(hash, |heard| *heard == hash)
                .is_none()
        {
            link.known_to_peer.insert(hash, hash, |hash| *hash);
            out.hold(id, KNOWN_NAME);
        }
    }
}
