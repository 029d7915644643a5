//! Wrong logins of late, so that the answers to the next ones come late.

use crate::broker::origin::Origin;
use crate::limits::{
    LOGIN_DELAY_MAX_US, LOGIN_DELAY_STEP_US, WRONG_LOGIN_MEMORY_US, WRONG_LOGIN_ORIGINS,
    WRONG_LOGINS_PER_ORIGIN,
};
use ahash::RandomState;
use std::collections::BTreeMap;

/// Counts of wrong logins per user and origin. They expire, and their memory is bounded: an origin with very many
/// users pushes out its own counts, and very many origins push out the one that was quiet for the longest time.
pub struct WrongLogins {
    hasher: RandomState,
    by_origin: BTreeMap<Origin, Vec<Count>>,
}

/// Wrong logins of one user at one origin. Whoever tries names may not fill the memory with them, so it is their hash
/// that is kept.
struct Count {
    user: u64,
    wrong: u32,
    last_us: u64,
}

impl Count {
    fn has_expired(&self, now_us: u64) -> bool {
        self.last_us + WRONG_LOGIN_MEMORY_US <= now_us
    }

    fn delay_us(&self) -> u64 {
        (u64::from(self.wrong) * LOGIN_DELAY_STEP_US).min(LOGIN_DELAY_MAX_US)
    }
}

impl WrongLogins {
    pub fn new(hasher: RandomState) -> WrongLogins {
        WrongLogins {
            hasher,
            by_origin: BTreeMap::new(),
        }
    }

    /// The earliest time at which the next login of that user at that origin may be answered; 0 if there is nothing
    /// to wait for.
    pub fn next_answer_us(&self, origin: Origin, user: &[u8], now_us: u64) -> u64 {
        let user = self.hasher.hash_one(user);
        let counts = self.by_origin.get(&origin).map_or(&[][..], Vec::as_slice);
        let count = counts.iter().find(|count| count.user == user);
        count
            .filter(|count| !count.has_expired(now_us))
            .map_or(0, |count| count.last_us + count.delay_us())
    }

    pub fn count(&mut self, origin: Origin, user: &[u8], now_us: u64) {
        let user = self.hasher.hash_one(user);
        if self.by_origin.len() == WRONG_LOGIN_ORIGINS && !self.by_origin.contains_key(&origin) {
            self.make_room(now_us);
        }
        let counts = self.by_origin.entry(origin).or_default();
        if let Some(count) = counts.iter_mut().find(|count| count.user == user) {
            if count.has_expired(now_us) {
                count.wrong = 0;
            }
            count.wrong = count.wrong.saturating_add(1);
            count.last_us = now_us;
            return;
        }
        if counts.len() == WRONG_LOGINS_PER_ORIGIN {
            counts.retain(|count| !count.has_expired(now_us));
        }
        if counts.len() == WRONG_LOGINS_PER_ORIGIN {
            // Who guesses the password of one user goes on counting, however many names are tried meanwhile.
            let least = (0..counts.len()).min_by_key(|at| (counts[*at].wrong, counts[*at].last_us));
            least.map(|at| counts.swap_remove(at));
        }
        counts.push(Count {
            user,
            wrong: 1,
            last_us: now_us,
        });
    }

    pub fn forget(&mut self, origin: Origin, user: &[u8]) {
        let user = self.hasher.hash_one(user);
        if let Some(counts) = self.by_origin.get_mut(&origin) {
            counts.retain(|count| count.user != user);
            if counts.is_empty() {
                self.by_origin.remove(&origin);
            }
        }
    }

    /// Drops the origins whose counts have expired, or else the one that was quiet for the longest time.
    fn make_room(&mut self, now_us: u64) {
        let last_us = |counts: &[Count]| counts.iter().map(|count| count.last_us).max();
        self.by_origin
            .retain(|_, counts| counts.iter().any(|count| !count.has_expired(now_us)));
        if self.by_origin.len() == WRONG_LOGIN_ORIGINS {
            let quietest = self
                .by_origin
                .iter()
                .min_by_key(|(_, counts)| last_us(counts));
            let quietest = quietest.map(|(origin, _)| *origin);
            quietest.map(|origin| self.by_origin.remove(&origin));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::SECOND_US;

    const HERE: Origin = Origin::Uid(1);

    fn none() -> WrongLogins {
        WrongLogins::new(RandomState::with_seeds(1, 2, 3, 4))
    }

    #[test]
    fn delays_grow_to_a_bound_and_expire() {
        let mut logins = none();
        let mut delays_us = Vec::new();
        for second in 0..10 {
            let now_us = second * 10 * SECOND_US;
            logins.count(HERE, b"admin", now_us);
            delays_us.push(logins.next_answer_us(HERE, b"admin", now_us) - now_us);
        }
        assert_eq!(delays_us[0], LOGIN_DELAY_STEP_US);
        assert!(delays_us.is_sorted());
        assert_eq!(delays_us.last(), Some(&LOGIN_DELAY_MAX_US));
        let end_us = 90 * SECOND_US + WRONG_LOGIN_MEMORY_US;
        assert_ne!(logins.next_answer_us(HERE, b"admin", end_us - 1), 0);
        assert_eq!(logins.next_answer_us(HERE, b"admin", end_us), 0);
        logins.count(HERE, b"admin", end_us);
        assert_eq!(
            logins.next_answer_us(HERE, b"admin", end_us),
            end_us + LOGIN_DELAY_STEP_US
        );
    }

    #[test]
    fn others_and_who_was_right_wait_for_nothing() {
        let mut logins = none();
        logins.count(HERE, b"admin", 5);
        assert_eq!(logins.next_answer_us(Origin::Uid(2), b"admin", 5), 0);
        assert_eq!(logins.next_answer_us(HERE, b"other", 5), 0);
        logins.forget(HERE, b"other");
        assert_ne!(logins.next_answer_us(HERE, b"admin", 5), 0);
        logins.forget(HERE, b"admin");
        assert_eq!(logins.next_answer_us(HERE, b"admin", 5), 0);
        assert!(logins.by_origin.is_empty());
    }

    #[test]
    fn names_and_origins_without_end_take_bounded_memory() {
        let mut logins = none();
        // Guessed at twice, it outlasts any number of names that were tried once.
        logins.count(HERE, b"admin", 0);
        logins.count(HERE, b"admin", 0);
        for number in 0..10_000_u32 {
            logins.count(HERE, &number.to_be_bytes(), 1);
            logins.count(Origin::Uid(number + 2), b"admin", 1);
            // It goes on at this origin, so that others are the quiet ones.
            logins.count(HERE, b"busy", 2);
        }
        assert_ne!(logins.next_answer_us(HERE, b"admin", 2), 0);
        assert_eq!(logins.by_origin[&HERE].len(), WRONG_LOGINS_PER_ORIGIN);
        assert_eq!(logins.by_origin.len(), WRONG_LOGIN_ORIGINS);
    }
}
