//! Admission: who may try to log in, how late the answer comes, and who makes room for whom. It knows no language;
//! every dialect asks it before it answers a login.
//!
//! Both of its parts count per [`Origin`]. What strangers do at one address costs nobody at another one.

mod strangers;
mod wrong_logins;

use super::origin::Origin;
use crate::broker::events::ConnectionId;
use crate::limits::{
    LOGIN_DELAY_MAX_US, MAX_SURPLUS_CLIENTS, MIN_STRANGERS_PER_ORIGIN, PLACES_PER_KEPT_PLACE,
};
use ahash::RandomState;
use strangers::Strangers;
use wrong_logins::WrongLogins;

pub struct Admission {
    /// Places for connections, beside those for logging in at a full server.
    places: usize,
    /// How many of them the strangers of one origin may take.
    places_per_origin: usize,
    /// The longest delay of an answer to a login.
    max_delay_us: u64,
    /// Connections with a place that have not logged in.
    strangers: Strangers,
    /// Connections without a place that have not logged in: only somebody who can manage the server may.
    surplus: Strangers,
    wrong_logins: WrongLogins,
}

/// The place that a new connection gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// It has no place of its own, and so only a few seconds to log in as somebody who can manage the server.
    pub is_surplus: bool,
    /// The connection that has to go for it.
    pub displaced: Option<ConnectionId>,
}

/// All places are taken by clients that are logged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoPlace;

impl Admission {
    pub fn new(places: usize, auth_timeout_us: u64, hasher: RandomState) -> Admission {
        Admission {
            places,
            places_per_origin: (places - places / PLACES_PER_KEPT_PLACE)
                .max(MIN_STRANGERS_PER_ORIGIN),
            // Whoever waits for the longest delay has most of the time left to log in.
            max_delay_us: LOGIN_DELAY_MAX_US.min(auth_timeout_us / 4),
            strangers: Strangers::default(),
            surplus: Strangers::default(),
            wrong_logins: WrongLogins::new(hasher),
        }
    }

    /// A client has connected; there are `connections` now, this one included. `serial` counts connections.
    ///
    /// A client that is logged in is never displaced. Of the strangers the oldest one of an origin goes: of the
    /// newcomer's, if that has more places than its share; of the one that has most, if the server is full.
    pub fn add(
        &mut self,
        id: ConnectionId,
        serial: u64,
        origin: Origin,
        connections: usize,
    ) -> Place {
        let is_full = connections - self.surplus.len() > self.places;
        if !is_full {
            self.strangers.insert(origin, serial, id);
            let has_too_many = self.strangers.of(origin) > self.places_per_origin;
            let displaced = has_too_many.then(|| self.strangers.oldest_of(origin));
            return Place {
                is_surplus: false,
                displaced: displaced.flatten(),
            };
        }
        let is_surplus = self.surplus.len() < MAX_SURPLUS_CLIENTS
            || self.surplus.largest() > self.strangers.largest();
        let kind = match is_surplus {
            true => &mut self.surplus,
            false => &mut self.strangers,
        };
        kind.insert(origin, serial, id);
        let has_too_many = !is_surplus || kind.len() > MAX_SURPLUS_CLIENTS;
        let displaced = has_too_many.then(|| kind.oldest_of_largest());
        Place {
            is_surplus,
            displaced: displaced.flatten(),
        }
    }

    /// The connection is on its way out. More than one call does no harm.
    pub fn remove(&mut self, serial: u64, origin: Origin) {
        self.strangers.remove(origin, serial);
        self.surplus.remove(origin, serial);
    }

    /// A connection that came without a place is to have one, for its user and password are right. There are
    /// `connections`, this one included. Where all places are taken, a stranger goes for it; `Err` if there is none.
    pub fn find_place(
        &self,
        serial: u64,
        origin: Option<Origin>,
        connections: usize,
    ) -> Result<Option<ConnectionId>, NoPlace> {
        let is_surplus = origin.is_some_and(|origin| self.surplus.contains(origin, serial));
        // Once it has logged in, it takes a place itself.
        let taken_by_others = connections - self.surplus.len() - usize::from(!is_surplus);
        if taken_by_others < self.places {
            return Ok(None);
        }
        let displaced = self.strangers.oldest_of_largest();
        displaced.map(Some).ok_or(NoPlace)
    }

    /// The time at which a login that came at `arrived_us` is to be checked and answered: some time after the last
    /// wrong one of that user at that origin, and no later than the longest delay after it came.
    pub fn answer_us(&mut self, origin: Origin, user: &[u8], arrived_us: u64) -> u64 {
        let earliest_us = self.wrong_logins.next_answer_us(origin, user, arrived_us);
        earliest_us.clamp(arrived_us, arrived_us + self.max_delay_us)
    }

    /// Somebody at that origin has tried to log in as that user, and was wrong.
    pub fn count_wrong_login(&mut self, origin: Origin, user: &[u8], now_us: u64) {
        self.wrong_logins.count(origin, user, now_us);
    }

    /// Somebody at that origin has logged in as that user: the connection is no stranger any more, and no answer to
    /// that user is delayed.
    pub fn handle_login(&mut self, serial: u64, origin: Origin, user: &[u8]) {
        self.remove(serial, origin);
        self.wrong_logins.forget(origin, user);
    }

    /// Panics if not exactly these connections are strangers, each with its serial number, its origin and whether it
    /// has no place; for [`Broker::check`](super::Broker::check).
    pub fn check(&self, strangers: impl Iterator<Item = (u64, Origin, bool)>) {
        let mut count = 0;
        for (serial, origin, is_surplus) in strangers {
            let of_its_kind = match is_surplus {
                true => &self.surplus,
                false => &self.strangers,
            };
            assert!(of_its_kind.contains(origin, serial), "a stranger is listed");
            count += 1;
        }
        let listed = self.strangers.checked_len() + self.surplus.checked_len();
        assert_eq!(count, listed, "only strangers are listed");
    }
}
