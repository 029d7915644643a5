//! Invariants of a node between any two calls: data that is kept in two places agrees, and counters match what they
//! count. Tests check them; the daemon doesn't, since it takes time.

use super::Broker;
use super::dialects::memcached::LongAnswer;
use super::events::{ConnectionId, Now};
use super::expiry::ExpiryCycle;
use super::interclacks::Link;
use super::listeners::subscription_memory;
use super::persistence::check_barriers;
use super::session::Session;

impl Broker {
    /// Panics if something is not as it has to be.
    #[doc(hidden)]
    pub fn check(&self) {
        self.sessions.check();
        self.cache.check();
        let own = self.sessions.iter();
        self.listeners
            .check(own.map(|session| (session.id, &session.subscriptions)));
        let own = self.sessions.iter();
        self.subjects
            .check(own.map(|session| (session.id, &session.subjects)));
        self.check_links();
        self.appointments.check(&self.sessions);
        check_barriers(self);
        let is_looked_through = !matches!(self.expiry, ExpiryCycle::Idle);
        assert!(
            is_looked_through || self.cache.is_empty(),
            "what is stored is looked through for what has expired"
        );
        for id in self.monitors.ids() {
            let session = self.sessions.get(*id).expect("a monitor is there");
            assert!(session.is_monitor, "a monitor is known as one");
        }
        let monitors = self.sessions.iter().filter(|session| session.is_monitor);
        assert_eq!(monitors.count(), self.monitors.len(), "monitors are listed");
        for session in self.sessions.iter() {
            let is_open = session.closing.is_none();
            assert!(
                is_open || !session.is_monitor,
                "who is on its way out sees nothing"
            );
            assert!(
                is_open || session.listing.is_none(),
                "who is on its way out lists nothing"
            );
        }
        let is_stranger = |session: &&Session| session.user.is_none() && session.closing.is_none();
        let strangers = self.sessions.iter().filter(is_stranger);
        self.admission.check(strangers.filter_map(|session| {
            let origin = session.origin()?;
            Some((session.cid.serial, origin, session.is_surplus))
        }));
    }

    /// The tree's time as this node knows it, in microseconds: an entry has expired when it has reached the expiry.
    #[doc(hidden)]
    pub fn tree_time_us(&self, now: Now) -> u64 {
        self.tree.now_us(now)
    }

    /// Counts again the memory that the broker keeps for a connection, in bytes: the sum of the amounts that
    /// [`Carrier::charge_memory`](super::Carrier::charge_memory) was called with. `None` if the connection is being
    /// closed, or gone.
    #[doc(hidden)]
    pub fn counted_memory(&self, id: ConnectionId) -> Option<isize> {
        let session = self
            .sessions
            .get(id)
            .filter(|session| session.closing.is_none())?;
        let names = self.listeners.names_of(&session.subscriptions);
        let subscriptions: isize = names.map(subscription_memory).sum();
        let patterns = self.subjects.memory_of(&session.subjects);
        let listing = session
            .listing
            .as_ref()
            .map_or(0, |listing| listing.checked_held());
        let answer = session.memcached.as_ref();
        let answer = answer
            .and_then(|conversation| conversation.answer.as_ref())
            .map_or(0, LongAnswer::memory);
        let link = self.tree.links.get(id).map_or(0, Link::counted_memory);
        Some(subscriptions + patterns + (listing + answer) as isize + link)
    }
}
