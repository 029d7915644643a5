//! What is true of links between any two calls; for [`Broker::check`].

use super::UplinkState;
use super::link::{HEARD_NAME, Link, NAME_BEHIND, Role, Telling};
use crate::broker::Broker;

impl Link {
    /// What is kept for it, in bytes, counted anew.
    pub fn counted_held(&self) -> isize {
        let behind = self.behind.iter();
        let behind: isize = behind.map(|name| name.len() as isize + NAME_BEHIND).sum();
        let heard = self.heard.len() as isize * HEARD_NAME;
        (self.walk_held + self.evicted.len() + self.held.len()) as isize + behind + heard
    }
}

impl Broker {
    /// Panics if the list of links, the sessions and the uplink don't agree.
    pub(in crate::broker) fn check_links(&self) {
        for (place, id) in self.tree.links.iter().enumerate() {
            let link = self.sessions.link(*id);
            assert!(
                link.is_some_and(|link| link.is_up),
                "a link on the list is up"
            );
            assert!(
                !self.tree.links[..place].contains(id),
                "no link is listed twice"
            );
        }
        let mut is_connected = false;
        for session in self.sessions.iter() {
            let Some(link) = &session.link else { continue };
            assert!(
                session.closing.is_none(),
                "who is on its way out is no link"
            );
            let is_listed = self.tree.links.contains(&session.id);
            assert_eq!(link.is_up, is_listed, "a link that is up is on the list");
            if let Telling::Now(walk) = &link.telling {
                assert_eq!(walk.memory(), walk.counted_memory());
            }
            if link.role == Role::Uplink {
                let state = self.uplink.as_ref().map(|uplink| uplink.state);
                assert_eq!(state, Some(UplinkState::Connected(session.id)));
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
