//! Senders wait for receivers: which connections a line would go to, and whether one of them has no room for it.
//!
//! A line that has to wait is not processed, and its connection is not read meanwhile. The carrier decides for how long
//! ([`Carrier::wait_for`]).

use super::Broker;
use super::carrier::Carrier;
use super::dialects::{Plan, Receivers};
use super::events::ConnectionId;
use super::subjects::Topic;
use crate::limits::SHORT_LINE;
use crate::protocol::Request;
use crate::protocol::nats::names::{Named, name_of};

impl Broker {
    /// Returns true if the line has to wait before it is processed. To be asked when [`Carrier::has_full_receivers`] says that
    /// there are any, or when a link has a backlog at this end.
    #[cold]
    pub(super) fn waits_for_receivers<O: Carrier>(
        &mut self,
        id: ConnectionId,
        request: &Request<'_>,
        out: &mut O,
    ) -> bool {
        let Some(session) = self.sessions.get(id) else {
            return false;
        };
        if !session.is_logged_in() && !session.is_link {
            return false;
        }
        let Plan {
            receivers,
            is_monitored,
            ..
        } = Plan::of(session, self.tree.links.get(id), request);
        let is_short = request.length() <= SHORT_LINE;
        is_monitored
            && self
                .monitors
                .ids()
                .iter()
                .any(|&to| out.wait_for(id, to, 0, is_short))
            || self.wait_for_links(id, &receivers, is_short, out)
            || self.wait_for_clients(id, &receivers, is_short, out)
    }

    fn wait_for_clients<O: Carrier>(
        &mut self,
        id: ConnectionId,
        receivers: &Receivers<'_>,
        is_short: bool,
        out: &mut O,
    ) -> bool {
        match receivers {
            Receivers::Nobody | Receivers::Links => false,
            Receivers::Listeners(name) => {
                self.wait_for_listeners(id, name, Topic::Name(name), is_short, out)
            }
            Receivers::Subscribers(subject) => {
                let Named { name, .. } = name_of(subject);
                self.wait_for_listeners(id, &name, Topic::Subject(subject), is_short, out)
            }
            Receivers::All => {
                let mut clients = self.sessions.clients();
                clients.any(|to| out.wait_for(id, to, 0, is_short))
            }
        }
    }

    fn wait_for_listeners<O: Carrier>(
        &mut self,
        id: ConnectionId,
        name: &[u8],
        topic: Topic<'_>,
        is_short: bool,
        out: &mut O,
    ) -> bool {
        self.subjects.find(topic, Some(name), &self.listeners);
        let by_name = self.listeners.of(name);
        let by_name = by_name.into_iter().flat_map(|(_, listeners)| listeners);
        let found = self.subjects.found();
        let plain = found.plain.iter();
        let plain = plain.filter_map(|&plain| Some(self.subjects.nats(plain)?.0));
        let members = found.members.iter();
        let members = members.filter(|member| !member.is_link);
        let members = members.map(|member| member.connection);
        let clacks = by_name.chain(&found.clacks).copied();
        let mut receivers = clacks.chain(plain).chain(members);
        receivers.any(|to| out.wait_for(id, to, 0, is_short))
    }

    fn wait_for_links<O: Carrier>(
        &mut self,
        id: ConnectionId,
        receivers: &Receivers<'_>,
        is_short: bool,
        out: &mut O,
    ) -> bool {
        if let Receivers::Nobody = receivers {
            return false;
        }
        self.update_backlog();
        let others = self.tree.links.up().filter(|(other, _)| *other != id);
        for (to, link) in others {
            // Of a new state a clacksd server is sent no more than it has room for.
            let has_room =
                matches!(receivers, Receivers::Links) && link.is_clacksd() && link.backlog() == 0;
            if !has_room && out.wait_for(id, to, link.backlog(), is_short) {
                return true;
            }
        }
        false
    }
}
