//! Keeping the cache within its bounds: entries that have aged are dropped, and what is too much is evicted.

use super::cache::{Cache, Dropped, Found};
use super::output::{ConnectionId, Now, Output};
use super::session::Sessions;
use super::statistics::Statistics;
use super::table::Cursor;
use super::{Broker, empty};
use crate::protocol::encode;

/// Where the search for expired entries stands.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cleaning {
    /// The cache was empty: nothing to look for before something is stored.
    Idle,
    At(u64),
    /// In slices; and then `again`, if something was cleared meanwhile. So clears that never let up don't keep the
    /// search at its beginning.
    Now {
        cursor: Cursor,
        again: bool,
    },
}

impl Cleaning {
    fn from_the_beginning() -> Cleaning {
        Cleaning::Now {
            cursor: Cursor::default(),
            again: false,
        }
    }
}

impl Broker {
    /// Goes on looking for expired entries, one slice.
    pub(super) fn clean<O: Output>(&mut self, now: Now, out: &mut O) {
        let (cursor, again) = match self.cleaning {
            Cleaning::Now { cursor, again } => (cursor, again),
            Cleaning::At(at_us) if at_us <= now.monotonic_us => (Cursor::default(), false),
            _ => return,
        };
        let now_us = self.tree_now_us(now);
        let (cache, mut witness) = self.cache_and_witness(out);
        let next = cache.age_slice(cursor, now_us, |kind, entry| witness.note(kind, entry));
        if next.is_none() {
            self.log_stale_entries();
            self.advance_marker(now, out);
        }
        self.cleaning = match next {
            Some(cursor) => Cleaning::Now { cursor, again },
            None if again => Cleaning::from_the_beginning(),
            None if self.cache.is_empty() => Cleaning::Idle,
            None => Cleaning::At(now.monotonic_us + self.settings.clean_interval_us),
        };
    }

    /// Says how many entries have gone stale since this was said last.
    fn log_stale_entries(&mut self) {
        let count = self.statistics.stale - self.stale_logged;
        if count > 0 {
            log::debug!("{count} entries were dropped that nobody had used for --stale-time");
            self.stale_logged = self.statistics.stale;
        }
    }

    /// Makes room and gives memory back, one slice.
    pub(super) fn tidy<O: Output>(&mut self, now: Now, out: &mut O) {
        let (cache, mut witness) = self.cache_and_witness(out);
        if cache.is_to_be_tidied() {
            cache.tidy_slice(|kind, entry| witness.note(kind, entry));
            self.close_links_that_hold_too_much(now, out);
        }
    }

    fn cache_and_witness<'a, O>(&'a mut self, out: &'a mut O) -> (&'a mut Cache, Witness<'a, O>) {
        let Broker {
            cache,
            statistics,
            monitors,
            payload,
            sessions,
            tree,
            ..
        } = self;
        (
            cache,
            Witness {
                statistics,
                monitors,
                payload,
                sessions,
                links: &tree.links,
                out,
            },
        )
    }

    /// Drops at once what a CLEARCACHE elsewhere left to be dropped.
    pub(super) fn sweep(&mut self) {
        match &mut self.cleaning {
            Cleaning::Now { again, .. } => *again = true,
            cleaning => *cleaning = Cleaning::from_the_beginning(),
        }
    }

    /// To be called when a name was written.
    pub(super) fn written<O: Output>(&mut self, now: Now, out: &mut O) {
        self.record_state(now, out);
        self.schedule_cleaning(now);
    }

    /// To be called when the peers have heard of what was written, and not before: it may be what has to go.
    pub(super) fn evict<O: Output>(&mut self, now: Now, out: &mut O) {
        if self.cache.is_over_limit() {
            // If it is much, the rest goes in later turns.
            let (cache, mut witness) = self.cache_and_witness(out);
            cache.evict_slice(|kind, entry| witness.note(kind, entry));
            self.close_links_that_hold_too_much(now, out);
        }
    }

    fn schedule_cleaning(&mut self, now: Now) {
        if matches!(self.cleaning, Cleaning::Idle) {
            self.cleaning = Cleaning::At(now.monotonic_us + self.settings.clean_interval_us);
        }
    }
}

/// Counts what the cache drops by itself, tells the monitors, and sees to it that peers still hear of it.
struct Witness<'a, O> {
    statistics: &'a mut Statistics,
    monitors: &'a [ConnectionId],
    payload: &'a mut Vec<u8>,
    sessions: &'a mut Sessions,
    links: &'a [ConnectionId],
    out: &'a mut O,
}

impl<O: Output> Witness<'_, O> {
    fn note(&mut self, kind: Dropped, entry: Found<'_>) {
        let event: &[u8] = match kind {
            Dropped::Stale => b"DEBUG SERVERCACHE=CLEANSTALE=",
            Dropped::Deleted => b"DEBUG SERVERCACHE=CLEANDELETED=",
            Dropped::Evicted => b"DEBUG SERVERCACHE=CLEANEVICTED=",
            // The CLEARCACHE said it all.
            Dropped::Cleared => return,
        };
        if kind == Dropped::Evicted {
            self.statistics.evicted += 1;
            for &id in self.links {
                if let Some(more) = self
                    .sessions
                    .link_mut(id)
                    .and_then(|link| link.keep_evicted(entry))
                {
                    self.out.hold(id, more);
                }
            }
        } else {
            self.statistics.expired += 1;
            self.statistics.stale += u64::from(kind == Dropped::Stale);
        }
        if !self.monitors.is_empty() {
            empty(self.payload);
            encode::line(self.payload, &[event, entry.name()]);
            self.out
                .fan_out(self.monitors.iter().copied(), self.payload);
        }
    }
}
