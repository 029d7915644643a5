//! Senders wait for receivers: which connections a line would go to, and whether one of them has no room for it.
//!
//! A line that has to wait is not processed, and its connection is not read meanwhile. The carrier decides for how long
//! ([`Carrier::wait_for`]).

use super::Broker;
use super::carrier::Carrier;
use super::dialects::{Plan, Receivers};
use super::events::ConnectionId;
use super::interclacks::Tree;
use super::listeners::Listeners;
use super::session::Sessions;
use super::subjects::{Subjects, Topic};
use crate::limits::{SHORT_LINE, WORK_PER_NODE};
use crate::protocol::Request;
use crate::protocol::nats::names::{Named, name_of};
use std::borrow::Cow;

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
        let sender = Sender {
            id,
            is_short: request.length() <= SHORT_LINE,
        };
        let monitors = self.monitors.ids();
        let mut waits_for_monitor = || {
            let mut monitors = monitors.iter();
            monitors.any(|&to| out.wait_for(id, to, 0, sender.is_short))
        };
        if is_monitored && waits_for_monitor() {
            return true;
        }
        self.tree.update_backlog(self.settings.max_held);
        let Broker {
            tree,
            sessions,
            listeners,
            subjects,
            ..
        } = self;
        sender.waits_for_links(&receivers, tree, out)
            || sender.waits_for_clients(&receivers, sessions, listeners, subjects, out)
    }
}

/// Somebody whose line may have to wait.
#[derive(Clone, Copy)]
struct Sender {
    id: ConnectionId,
    /// It sends a short line.
    is_short: bool,
}

impl Sender {
    fn waits_for_clients<O: Carrier>(
        self,
        receivers: &Receivers<'_>,
        sessions: &Sessions,
        listeners: &Listeners,
        subjects: &mut Subjects,
        out: &mut O,
    ) -> bool {
        let (topic, name, is_exact) = match receivers {
            Receivers::Nobody | Receivers::Links => return false,
            Receivers::All => {
                let mut clients = sessions.clients();
                return clients.any(|to| out.wait_for(self.id, to, 0, self.is_short));
            }
            Receivers::Listeners(name) => (Topic::Name(name), Cow::Borrowed(&**name), true),
            Receivers::Subscribers(subject) => {
                let Named { name, is_exact } = name_of(subject);
                (Topic::Subject(subject), Cow::Owned(name), is_exact)
            }
        };
        let by_name = listeners.of(&name);
        let by_name = by_name.into_iter().flat_map(|(_, listeners)| listeners);
        let waits_for = |to: ConnectionId, out: &mut O| out.wait_for(self.id, to, 0, self.is_short);
        if by_name.copied().any(|to| waits_for(to, out)) {
            return true;
        }
        // Clacks clients listen to patterns of names.
        if !is_exact {
            look_up(subjects, Topic::Name(&name), Some(&name), listeners, out);
            if subjects.found().clacks.iter().any(|to| waits_for(*to, out)) {
                return true;
            }
        }
        look_up(subjects, topic, is_exact.then_some(&*name), listeners, out);
        let found = subjects.found();
        let plain = found.plain.iter();
        let plain = plain.filter_map(|&plain| Some(subjects.nats(plain)?.0));
        let members = found.members.iter();
        let members = members.filter(|member| !member.is_link);
        let members = members.map(|member| member.connection);
        let clacks = found.clacks.iter().copied().filter(|_| is_exact);
        let mut receivers = clacks.chain(plain).chain(members);
        receivers.any(|to| waits_for(to, out))
    }

    fn waits_for_links<O: Carrier>(
        self,
        receivers: &Receivers<'_>,
        tree: &Tree,
        out: &mut O,
    ) -> bool {
        if let Receivers::Nobody = receivers {
            return false;
        }
        let mut others = tree.links.up().filter(|(other, _)| *other != self.id);
        others.any(|(to, link)| {
            // Of a new state a clacksd server is sent no more than it has room for.
            let has_room =
                matches!(receivers, Receivers::Links) && link.is_clacksd() && link.backlog() == 0;
            !has_room && out.wait_for(self.id, to, link.backlog(), self.is_short)
        })
    }
}

/// Looks up who subscribes to patterns that match, as for a delivery, and counts the work.
fn look_up<O: Carrier>(
    subjects: &mut Subjects,
    topic: Topic<'_>,
    name: Option<&[u8]>,
    listeners: &Listeners,
    out: &mut O,
) {
    let visited = subjects.find(topic, name, listeners);
    out.add_work(visited * WORK_PER_NODE);
}
