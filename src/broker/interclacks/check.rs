//! The invariants of links that hold between any two calls of the broker; for [`Broker::check`].

use super::UplinkState;
use super::link::{DIRTY_NAME, KNOWN_NAME, Link, Role, SyncState};
use crate::broker::Broker;
use crate::broker::session::Session;

impl Link {
    /// The memory that is charged to the link, in bytes, counted from its contents.
    pub fn counted_memory(&self) -> isize {
        let dirty = self.dirty.iter();
        let dirty: isize = dirty.map(|name| name.len() as isize + DIRTY_NAME).sum();
        let known = self.known_to_peer.len() as isize * KNOWN_NAME;
        (self.walk_memory + self.evicted.len() + self.queued_signals.len()) as isize + dirty + known
    }
}

impl Broker {
    /// Panics if the list of links, the sessions and the uplink don't agree.
    pub(in crate::broker) fn check_links(&self) {
        let is_link = |session: &&Session| session.is_link;
        let sessions = self.sessions.iter().filter(is_link).count();
        assert_eq!(
            sessions,
            self.tree.links.iter().count(),
            "links have sessions"
        );
        let mut is_connected = false;
        for (id, link) in self.tree.links.iter() {
            let session = self.sessions.get(id).expect("a link has a session");
            assert!(session.is_link && session.closing.is_none());
            let needs_login = link.role == Role::Uplink;
            assert!(link.is_up || needs_login, "a slave's link is up at once");
            if let SyncState::Running(walk) = &link.sync {
                assert_eq!(walk.memory(), walk.counted_memory());
            }
            if link.role == Role::Uplink {
                let state = self.uplink.as_ref().map(|uplink| uplink.state);
                assert_eq!(state, Some(UplinkState::Connected(id)));
                is_connected = true;
            }
        }
        let state = self.uplink.as_ref().map(|uplink| uplink.state);
        let says_so = matches!(state, Some(UplinkState::Connected(_)));
        assert_eq!(is_connected, says_so, "the uplink has its link");
        assert!(self.lock.is_none() || is_connected, "only a master locks");
        let waiting = self.lock.iter().flat_map(|lock| &lock.waiting);
        self.check_waiting(waiting);
    }
}
