//! Changes of the cache, and what follows each of them, whoever has made it: a client, another server, age, or want
//! of room.

use super::Broker;
use super::cache::{Dropped, EntryId, Written};
use super::carrier::Carrier;
use super::dialects::memcached;
use super::events::{ConnectionId, Now};
use super::interclacks::HandedOn;
use super::operations::By;
use super::output::Output;
use crate::limits::EVICTIONS_PER_SLICE;
use crate::protocol::peer::SignalId;

/// A change that the cache has made, and that is to be [committed](Broker::commit) before anything else is done with
/// the cache.
#[derive(Clone, Copy)]
pub(super) enum Change<'a> {
    /// A name was stored, removed, counted, or merged with what another server has of it.
    Write(Write<'a>),
    /// All names were cleared.
    Clear { by: By<'a> },
    /// The marker up to which shares of counters are folded has moved on.
    Fold { from: Option<ConnectionId> },
    /// The cache gives an entry up. It is dropped after the commit.
    Drop(Dropped, EntryId),
}

/// A name that has another state.
#[derive(Clone, Copy)]
pub(super) struct Write<'a> {
    /// The author, whose connection is not sent the change.
    pub by: By<'a>,
    pub name: &'a [u8],
    pub written: Written,
    /// The signal that a SETANDSTORE is too.
    pub signal: Option<WrittenSignal<'a>>,
}

/// The signal that a SETANDSTORE is, beside a write.
#[derive(Clone, Copy)]
pub(super) struct WrittenSignal<'a> {
    pub id: SignalId,
    pub value: &'a [u8],
    /// The groups that are to be served behind links.
    pub handed_on: &'a [HandedOn],
}

impl Broker {
    /// Makes a change known, in this order: to the journal, to the other servers, by evicting what has no room any
    /// more, and to the monitors. A write must reach the servers before it can be evicted.
    #[inline]
    pub(super) fn commit<O: Output>(&mut self, change: Change<'_>, now: Now, out: &mut O) {
        if self.persistence.is_some() {
            self.record_change(change, now, out);
        }
        if !self.tree.links.is_empty() {
            self.replicate(change, now, out);
        }
        match change {
            Change::Write(_) => {
                self.statistics.writes += 1;
                self.expiry
                    .schedule(now.monotonic_us + self.settings.clean_interval_us);
                self.evict(now, out);
            }
            Change::Drop(kind, entry) => {
                self.report_drop(kind, entry, out);
                memcached::note_dropped(self, kind, entry, now, out);
            }
            Change::Clear { .. } | Change::Fold { .. } => {}
        }
    }

    /// Counts a dropped entry, and shows it to the monitors.
    fn report_drop<O: Carrier>(&mut self, kind: Dropped, entry: EntryId, out: &mut O) {
        let event: &[u8] = match kind {
            Dropped::Stale => b"CLEANSTALE",
            Dropped::Deleted => b"CLEANDELETED",
            Dropped::Evicted => b"CLEANEVICTED",
            Dropped::Expired => b"CLEANEXPIRED",
            // The CLEARCACHE said it all.
            Dropped::Cleared => return,
        };
        match kind {
            Dropped::Evicted => self.statistics.evicted += 1,
            _ => self.statistics.expired += 1,
        }
        self.statistics.stale += u64::from(kind == Dropped::Stale);
        self.statistics.deleted += u64::from(kind == Dropped::Deleted);
        let name = self.cache.entry_of(entry).name();
        self.monitors.report_entry(event, name, out);
    }

    /// Makes room for what was written. If it takes much, the rest goes in later turns.
    #[inline]
    pub(super) fn evict<O: Output>(&mut self, now: Now, out: &mut O) {
        if self.cache.is_over_limit() {
            self.evict_slice(now, out);
        }
    }

    #[inline(never)]
    fn evict_slice<O: Output>(&mut self, now: Now, out: &mut O) {
        let mut rest = EVICTIONS_PER_SLICE;
        while let Some(victim) = self.cache.next_victim(&mut rest) {
            self.commit(Change::Drop(Dropped::Evicted, victim), now, out);
            self.cache.drop_entry(victim);
        }
        self.close_links_that_hold_too_much(now, out);
    }
}
