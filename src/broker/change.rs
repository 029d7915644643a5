//! Changes of the cache, and what follows each of them, whoever has made it: a client, another server, age, or want
//! of room.

use super::cache::{Dropped, EntryId, Written};
use super::interclacks::Wording;
use super::output::{ConnectionId, Now, Output};
use super::{Broker, empty};
use crate::protocol::encode;
use crate::protocol::peer::SignalId;

/// A change that the cache has made, and that is to be [committed](Broker::commit) before anything else is done with
/// the cache.
#[derive(Clone, Copy)]
pub(super) enum Change<'a> {
    /// A name was stored, removed, counted, or merged with what another server has of it.
    Write(Write<'a>),
    /// All names were cleared.
    Clear {
        from: ConnectionId,
        /// The line with which a client here, or a Net::Clacks server, did it.
        line: Option<&'a [u8]>,
    },
    /// The marker up to which shares of counters are folded has moved on.
    Fold { from: Option<ConnectionId> },
    /// The cache gives an entry up. It is dropped after the commit.
    Drop(Dropped, EntryId),
}

/// A name that has another state.
#[derive(Clone, Copy)]
pub(super) struct Write<'a> {
    /// The connection whose line did it, which is not told of it.
    pub from: ConnectionId,
    pub name: &'a [u8],
    pub written: Written,
    pub wording: Wording<'a>,
    /// The signal that a SETANDSTORE is too, with its value.
    pub signal: Option<(SignalId, &'a [u8])>,
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
                self.schedule_cleaning(now);
                self.evict(now, out);
            }
            Change::Drop(kind, entry) => self.report_drop(kind, entry, out),
            Change::Clear { .. } | Change::Fold { .. } => {}
        }
    }

    /// Counts a dropped entry, and shows it to the monitors.
    fn report_drop<O: Output>(&mut self, kind: Dropped, entry: EntryId, out: &mut O) {
        let event: &[u8] = match kind {
            Dropped::Stale => b"DEBUG SERVERCACHE=CLEANSTALE=",
            Dropped::Deleted => b"DEBUG SERVERCACHE=CLEANDELETED=",
            Dropped::Evicted => b"DEBUG SERVERCACHE=CLEANEVICTED=",
            // The CLEARCACHE said it all.
            Dropped::Cleared => return,
        };
        match kind {
            Dropped::Evicted => self.statistics.evicted += 1,
            _ => self.statistics.expired += 1,
        }
        self.statistics.stale += u64::from(kind == Dropped::Stale);
        if !self.monitors.is_empty() {
            empty(&mut self.payload);
            let name = self.cache.entry_of(entry).name();
            encode::line(&mut self.payload, &[event, name]);
            out.fan_out(self.monitors.iter().copied(), &self.payload);
        }
    }
}
