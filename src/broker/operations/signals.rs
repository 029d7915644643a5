//! Operations on signals: to send one, and to listen.

use super::delivery::{Extras, Groups, Signal, deliver_to};
use crate::broker::Broker;
use crate::broker::carrier::Carrier;
use crate::broker::events::{Audience, ConnectionId, Now};
use crate::broker::interclacks::{Forwarded, HandedOnGroups};
use crate::broker::listeners::subscription_memory;
use crate::broker::subjects::work_of_subscription;
use crate::protocol::Language;
use crate::protocol::encode;

impl Broker {
    /// Sends a signal to everybody else who listens to its name, at whatever server.
    #[inline(always)]
    pub(in crate::broker) fn publish<O: Carrier>(
        &mut self,
        sender: ConnectionId,
        signal: &Signal<'_>,
        now: Now,
        out: &mut O,
    ) {
        self.statistics.signals.add(Language::Clacks, 1);
        self.deliver_to_listeners(sender, signal, out);
        if !self.subjects.is_empty() || !self.tree.links.is_empty() {
            self.publish_beyond_listeners(sender, signal, now, out);
        }
    }

    /// Sends a signal to those who subscribe to patterns and subjects, and to other servers. Apart from the usual delivery,
    /// which is faster so.
    #[inline(never)]
    fn publish_beyond_listeners<O: Carrier>(
        &mut self,
        sender: ConnectionId,
        signal: &Signal<'_>,
        now: Now,
        out: &mut O,
    ) {
        let extras = Extras::default();
        let handed_on = match self.subjects.is_empty() {
            true => HandedOnGroups::new(),
            false => self.deliver_to_subscriptions(sender, signal, &extras, Groups::All, out),
        };
        let forwarded = Forwarded {
            handed_on: &handed_on,
            ..Forwarded::plain(signal.line)
        };
        self.forward_new_signal(sender, &forwarded, now, out);
    }

    /// Delivers a signal to everybody at this server who listens to its name, but its sender. Returns the groups that are
    /// to be served behind links.
    #[inline(always)]
    pub(in crate::broker) fn deliver<O: Carrier>(
        &mut self,
        sender: ConnectionId,
        signal: &Signal<'_>,
        extras: &Extras<'_>,
        groups: Groups<'_>,
        out: &mut O,
    ) -> HandedOnGroups {
        self.deliver_to_listeners(sender, signal, out);
        match self.subjects.is_empty() {
            true => HandedOnGroups::new(),
            false => self.deliver_to_subscriptions(sender, signal, extras, groups, out),
        }
    }

    /// Delivers a signal to everybody at this server who listens to its name itself, but its sender. Returns to how many.
    #[inline(always)]
    pub(in crate::broker) fn deliver_to_listeners<O: Carrier>(
        &mut self,
        sender: ConnectionId,
        signal: &Signal<'_>,
        out: &mut O,
    ) -> usize {
        let Some((id, listeners)) = self.listeners.of(signal.name) else {
            return 0;
        };
        let audience = Audience {
            id,
            listeners,
            sender: Some(sender),
        };
        let long_line = self.long_line.as_ref();
        let deliveries = deliver_to(&audience, signal.line, long_line, out);
        self.statistics
            .deliveries
            .add(Language::Clacks, deliveries as u64);
        deliveries
    }

    /// Delivers the signal of a SETANDSTORE to everybody at this server who listens to `name`, but its sender. Returns the
    /// groups that are to be served behind links.
    pub(in crate::broker) fn deliver_set<O: Carrier>(
        &mut self,
        sender: ConnectionId,
        name: &[u8],
        value: &[u8],
        groups: Groups<'_>,
        out: &mut O,
    ) -> HandedOnGroups {
        let signal = Signal {
            name,
            line: &encode::set(name, value),
            value,
        };
        self.deliver(sender, &signal, &Extras::default(), groups, out)
    }

    /// From now on the session gets the signals of that name.
    pub(in crate::broker) fn subscribe<O: Carrier>(
        &mut self,
        id: ConnectionId,
        name: &[u8],
        out: &mut O,
    ) {
        let source = self.long_line.as_ref();
        if let Some(session) = self.sessions.get_mut(id)
            && self
                .listeners
                .listen(name, source, id, &mut session.subscriptions)
        {
            out.charge_memory(id, subscription_memory(name));
        }
    }

    /// The session no longer gets the signals of that name.
    pub(in crate::broker) fn unsubscribe<O: Carrier>(
        &mut self,
        id: ConnectionId,
        name: &[u8],
        out: &mut O,
    ) {
        if let Some(session) = self.sessions.get_mut(id)
            && self
                .listeners
                .unlisten(name, id, &mut session.subscriptions)
        {
            out.charge_memory(id, -subscription_memory(name));
        }
    }

    /// From now on the session gets the signals of all names that match the pattern, or no longer gets them because of it.
    pub(in crate::broker) fn listen_to_pattern<O: Carrier>(
        &mut self,
        id: ConnectionId,
        pattern: &[u8],
        is_wanted: bool,
        out: &mut O,
    ) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let (subjects, own) = (&mut self.subjects, &mut session.subjects);
        let growth = match is_wanted {
            true => subjects.listen(pattern, id, own),
            false => subjects.unlisten(pattern, id, own).map(|memory| -memory),
        };
        let growth = growth.unwrap_or(0);
        out.charge_memory(id, growth);
        out.add_work(work_of_subscription(growth));
        self.announce_groups(out);
    }

    /// Ends all subscriptions of a session, one slice; returns true if that was all. If not, the request that wants it
    /// is to be handed over again.
    pub(in crate::broker) fn end_subscriptions<O: Carrier>(
        &mut self,
        id: ConnectionId,
        out: &mut O,
    ) -> bool {
        let Broker {
            sessions,
            listeners,
            subjects,
            ..
        } = self;
        let Some(session) = sessions.get_mut(id) else {
            return true;
        };
        let mut freed = 0;
        let mut is_done = listeners.unlisten_slice(id, &mut session.subscriptions, |name| {
            freed += subscription_memory(name)
        });
        if is_done {
            let (of_patterns, are_done) = subjects.end_slice(&mut session.subjects);
            freed += of_patterns;
            is_done = are_done;
        }
        out.charge_memory(id, -freed);
        session.resumes_with_room = !is_done;
        if !is_done {
            out.request_writable(id);
        }
        self.announce_groups(out);
        is_done
    }
}
