//! Keeping the cache within its bounds: entries that have aged are dropped, and what is too much is evicted.

use super::Broker;
use super::cache::Dropped;
use super::change::Change;
use super::output::{Now, Output};
use super::table::Cursor;
use crate::limits::EVICTIONS_PER_SLICE;

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
        let mut aged = Vec::new();
        let next = self.cache.age_slice(cursor, now_us, &mut aged);
        for (kind, entry) in aged {
            self.commit(Change::Drop(kind, entry), now, out);
            self.cache.drop_entry(entry);
        }
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
        if self.cache.is_to_be_tidied() {
            self.evict(now, out);
            self.cache.tidy_slice();
        }
    }

    /// Drops at once what a CLEARCACHE elsewhere left to be dropped.
    pub(super) fn sweep(&mut self) {
        match &mut self.cleaning {
            Cleaning::Now { again, .. } => *again = true,
            cleaning => *cleaning = Cleaning::from_the_beginning(),
        }
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

    pub(super) fn schedule_cleaning(&mut self, now: Now) {
        if matches!(self.cleaning, Cleaning::Idle) {
            self.cleaning = Cleaning::At(now.monotonic_us + self.settings.clean_interval_us);
        }
    }
}
