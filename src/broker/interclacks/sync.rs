//! The synchronisation of a peer with the entries of this node, a slice at a time.

use super::encode::append_key_sync;
use super::link::{DIRTY_NAME, Role, Software, SyncState};
use crate::broker::Broker;
use crate::broker::cache::{Cache, Found};
use crate::broker::carrier::Carrier;
use crate::broker::events::{ConnectionId, Now};
use crate::broker::table::Table;
use crate::broker::walk::{KeptName, Walk};
use crate::limits::{LISTING_SLICE, NAMES_PER_SLICE};
use crate::protocol::peer::StatesLine;
use crate::protocol::shared::Lines;
use crate::protocol::shown::is_nameable;
use crate::protocol::{Flags, encode, peer};
use std::collections::BTreeSet;

impl Broker {
    /// Begins the synchronisation with a master, which has sent all of its own entries.
    pub(super) fn start_sync<O: Carrier>(&mut self, id: ConnectionId, now: Now, out: &mut O) {
        if let Some(link) = self.tree.links.get_mut(id)
            && matches!(link.sync, SyncState::Pending)
        {
            link.sync = SyncState::Running(match link.began_empty {
                true => Walk::over_nothing(),
                false => link.peer.new_walk(&self.cache),
            });
            self.sync_at_once(id, now, out);
        }
    }

    /// Synchronises few entries at once: their sorting and their output are a slice each.
    pub(super) fn sync_at_once<O: Carrier>(&mut self, id: ConnectionId, now: Now, out: &mut O) {
        self.advance_sync(id, now, out);
        self.advance_sync(id, now, out);
    }

    /// Sends one slice of the synchronisation: first the entries that were cached when the link came up, then the dirty
    /// names, and then the signals that had to wait for both.
    pub(in crate::broker) fn advance_sync<O: Carrier>(
        &mut self,
        id: ConnectionId,
        now: Now,
        out: &mut O,
    ) {
        let now_us = self.tree.now_us(now);
        let Broker { tree, cache, .. } = self;
        let Some(link) = tree.links.get_mut(id) else {
            return;
        };
        let (known, peer) = (&link.known_to_peer, link.peer);
        let mut slice = link.evicted.take();
        out.charge_memory(id, -(slice.len() as isize));
        // Dirty names are sent even before our turn to synchronise.
        if let SyncState::Running(walk) = &mut link.sync {
            slice.bytes().reserve(LISTING_SLICE);
            append_walked(&mut slice, walk, (cache, now_us), known, peer);
            if walk.is_done() {
                link.sync = SyncState::Done;
                out.charge_memory(id, link.forget_known_to_peer());
                if link.synced_us.is_none() {
                    link.synced_us = Some(now.monotonic_us);
                    encode_end(slice.bytes(), peer, link.role);
                }
            }
        } else {
            let memory = append_dirty(&mut slice, &mut link.dirty, (cache, now_us));
            out.charge_memory(id, -memory);
        }
        out.charge_memory(id, link.walk_growth());
        let signals = match link.has_sent_all() {
            true => link.queued_signals.take(),
            false => Lines::default(),
        };
        // Queued signals wait for the synchronisation, or one could overtake a write.
        let is_to_go_on = match link.sync {
            SyncState::Pending => link.has_dirty_names(),
            SyncState::Running(_) | SyncState::Done => !link.is_up_to_date(),
        };
        if !slice.is_empty() || !signals.is_empty() {
            out.charge_memory(id, -(signals.len() as isize));
            out.append_lines(id, &slice);
            out.append_lines(id, &signals);
        }
        if is_to_go_on {
            out.request_writable(id);
        }
    }
}

/// Appends one slice of a walk, without the names that are known to the peer.
fn append_walked(
    to: &mut Lines,
    walk: &mut Walk,
    (cache, now_us): (&Cache, u64),
    known: &Table<u64>,
    peer: Software,
) {
    let mut states = StatesLine::default();
    walk.advance(cache, now_us, LISTING_SLICE, |found| {
        let before = to.len() + states.len();
        let hash = cache.hash(found.name());
        if known.find(hash, |known| *known == hash).is_none() {
            match peer {
                Software::Clacksd => append_state(to, &mut states, found),
                Software::NetClacks if !is_nameable(found.name()) => {}
                Software::NetClacks => append_key_sync(to, found),
            }
        }
        to.len() + states.len() - before
    });
    states.finish(to.bytes());
}

/// Appends one slice of the states of dirty names, which are clean then. Returns the memory that they had, in bytes.
fn append_dirty(
    to: &mut Lines,
    dirty: &mut BTreeSet<KeptName>,
    (cache, now_us): (&Cache, u64),
) -> isize {
    let (mut states, mut memory) = (StatesLine::default(), 0);
    for _ in 0..NAMES_PER_SLICE {
        if to.len() + states.len() >= LISTING_SLICE {
            break;
        }
        let Some(name) = dirty.pop_first() else {
            break;
        };
        memory += name.len() as isize + DIRTY_NAME;
        if let Some(found) = cache.find(&name, now_us) {
            append_state(to, &mut states, found);
        }
    }
    states.finish(to.bytes());
    memory
}

/// Adds the state of an entry to those that are to be sent in one line, if it may stand there, or else a line of its own,
/// whose value, if it is long, is shared with the cache.
fn append_state(to: &mut Lines, states: &mut StatesLine, found: Found<'_>) {
    let (name, state) = (found.name(), found.state());
    if !StatesLine::may_hold(name, &state) {
        peer::append_state(to, name, &state, None, found.long_text());
        return;
    }
    states.push(name, &state);
    if states.is_full() {
        states.finish(to.bytes());
    }
}

/// Everything that was held when the link came up has been sent.
fn encode_end(to: &mut Vec<u8>, peer: Software, role: Role) {
    match (peer, role) {
        (Software::Clacksd, _) => encode::line(to, &[b"SYNCED"]),
        (Software::NetClacks, Role::Downlink) => {
            encode::overhead(to, Flags::LOCK, b"0");
            encode::line(to, &[b"PING"]);
        }
        (Software::NetClacks, Role::Uplink) => {}
    }
}
