//! Maintenance of the cache and the lists, in slices: expired entries are dropped, room is made, and memory is given
//! back.

use super::Broker;
use super::cache::Dropped;
use super::change::Change;
use super::events::Now;
use super::expiry::ExpiryCycle;
use super::output::Output;
use super::table::Cursor;

impl Broker {
    /// One slice of everything that is to be done.
    pub(super) fn run_maintenance<O: Output>(&mut self, now: Now, out: &mut O) {
        self.expire_slice(now, out);
        if self.cache.is_to_be_tidied() {
            self.evict(now, out);
            self.cache.tidy_slice();
        }
        self.listeners.forget_slice();
        if self.subjects.has_work() {
            self.subjects.forget_slice();
            self.announce_groups(out);
        }
        self.compact_listeners();
        self.tree.free_garbage_slice();
        self.ended_listings.pop();
        if let Some(count) = self.refusal_log.take_due(now.monotonic_us) {
            log::warn!("requests and logins were refused{count}");
        }
    }

    /// When the next slice is due; `None` if nothing is to be done.
    pub(super) fn maintenance_deadline(&self) -> Option<u64> {
        let is_due = self.cache.is_to_be_tidied()
            || self.listeners.has_work()
            || self.subjects.has_work()
            || self.tree.has_garbage()
            || !self.ended_listings.is_empty();
        match is_due {
            true => Some(0),
            false => {
                let deadlines = [self.expiry.deadline(), self.refusal_log.deadline()];
                deadlines.into_iter().flatten().min()
            }
        }
    }

    /// Goes on with the search for expired entries, one slice.
    fn expire_slice<O: Output>(&mut self, now: Now, out: &mut O) {
        let (cursor, again) = match self.expiry {
            ExpiryCycle::Running { cursor, again } => (cursor, again),
            ExpiryCycle::At(at_us) if at_us <= now.monotonic_us => (Cursor::default(), false),
            _ => return,
        };
        let now_us = self.tree.now_us(now);
        let mut aged = Vec::new();
        let next = self.cache.age_slice(cursor, now_us, &mut aged);
        for (kind, entry) in aged {
            self.commit(Change::Drop(kind, entry), now, out);
            match kind {
                Dropped::Expired => {
                    let leaves_tombstone = !self.tree.is_alone();
                    self.cache.expire_entry(entry, leaves_tombstone);
                }
                _ => self.cache.drop_entry(entry),
            }
        }
        if next.is_none() {
            self.log_stale_entries();
            self.advance_marker(now, out);
        }
        self.expiry = match next {
            Some(cursor) => ExpiryCycle::Running { cursor, again },
            None if again => ExpiryCycle::run(),
            None if self.cache.is_empty() => ExpiryCycle::Idle,
            None => ExpiryCycle::At(now.monotonic_us + self.settings.clean_interval_us),
        };
    }

    /// Logs how many entries have gone stale since the last time.
    fn log_stale_entries(&mut self) {
        let count = self.statistics.stale - self.stale_logged;
        if count > 0 {
            log::debug!("{count} entries were dropped that nobody had used for --stale-time");
            self.stale_logged = self.statistics.stale;
        }
    }

    fn compact_listeners(&mut self) {
        let Broker {
            listeners,
            sessions,
            ..
        } = self;
        listeners.compact_slice(|id, place, name| {
            if let Some(session) = sessions.get_mut(id) {
                session.subscriptions.renumber(place, name);
            }
        });
    }
}
