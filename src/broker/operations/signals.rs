//! Operations on signals: to send one, and to listen.

use crate::broker::carrier::Carrier;
use crate::broker::events::{Audience, ConnectionId, Now};
use crate::broker::interclacks::SignalScope;
use crate::broker::listeners::subscription_memory;
use crate::broker::{Broker, empty};
use crate::limits::WORK_PER_NODE;
use crate::protocol::encode;
use crate::protocol::shared::{Lines, SharedBytes};

impl Broker {
    /// Sends a signal to everybody else who listens to its name, at whatever server. `line` is its form for Clacks
    /// clients and other servers, in parts.
    #[inline(always)]
    pub(in crate::broker) fn publish<O: Carrier>(
        &mut self,
        sender: ConnectionId,
        name: &[u8],
        line: &[&[u8]],
        now: Now,
        out: &mut O,
    ) {
        self.deliver(Some(sender), name, line, out);
        self.forward_new_signal(sender, line, SignalScope::All, now, out);
    }

    /// Delivers a signal to everybody at this server who listens to `name`, but its sender.
    #[inline(always)]
    pub(in crate::broker) fn deliver<O: Carrier>(
        &mut self,
        sender: Option<ConnectionId>,
        name: &[u8],
        line: &[&[u8]],
        out: &mut O,
    ) {
        self.statistics.signals += 1;
        if let Some((id, listeners)) = self.listeners.of(name) {
            let audience = Audience {
                id,
                listeners,
                sender,
            };
            let long_line = self.long_line.as_ref();
            let deliveries = deliver_to(&audience, line, long_line, &mut self.payload, out);
            self.statistics.deliveries += deliveries as u64;
        }
        if !self.subjects.is_empty() {
            self.deliver_to_patterns(sender, name, line, out);
        }
    }

    /// Delivers a signal to everybody at this server who listens to a pattern of its name and not to the name itself, but
    /// its sender.
    #[cold]
    fn deliver_to_patterns<O: Carrier>(
        &mut self,
        sender: Option<ConnectionId>,
        name: &[u8],
        line: &[&[u8]],
        out: &mut O,
    ) {
        let (visited, found) = self.subjects.of(name, &self.listeners);
        out.add_work(visited * WORK_PER_NODE);
        if let Some((id, listeners)) = found {
            let audience = Audience {
                id,
                listeners,
                sender,
            };
            let long_line = self.long_line.as_ref();
            let deliveries = deliver_to(&audience, line, long_line, &mut self.payload, out);
            self.statistics.deliveries += deliveries as u64;
        }
    }

    /// Delivers the signal of a SET to everybody at this server who listens to `name`, but its sender.
    pub(in crate::broker) fn deliver_set<O: Carrier>(
        &mut self,
        sender: Option<ConnectionId>,
        name: &[u8],
        value: &[u8],
        out: &mut O,
    ) {
        self.deliver(sender, name, &encode::set(name, value), out);
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

    /// From now on the session gets the signals of all names that match the pattern.
    pub(in crate::broker) fn subscribe_to_pattern<O: Carrier>(
        &mut self,
        id: ConnectionId,
        pattern: &[u8],
        out: &mut O,
    ) {
        if let Some(session) = self.sessions.get_mut(id)
            && let Some(memory) = self.subjects.listen(pattern, id, &mut session.patterns)
        {
            out.charge_memory(id, memory);
        }
    }

    /// The session no longer gets signals because of the pattern.
    pub(in crate::broker) fn unsubscribe_from_pattern<O: Carrier>(
        &mut self,
        id: ConnectionId,
        pattern: &[u8],
        out: &mut O,
    ) {
        if let Some(session) = self.sessions.get_mut(id)
            && let Some(memory) = self.subjects.unlisten(pattern, id, &mut session.patterns)
        {
            out.charge_memory(id, -memory);
        }
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
            let (of_patterns, are_done) = subjects.unlisten_slice(id, &mut session.patterns);
            freed += of_patterns;
            is_done = are_done;
        }
        out.charge_memory(id, -freed);
        session.resumes_with_room = !is_done;
        if !is_done {
            out.request_writable(id);
        }
        is_done
    }
}

/// Delivers a line; returns to how many. `payload` is kept for its memory.
fn deliver_to<O: Carrier>(
    audience: &Audience<'_>,
    line: &[&[u8]],
    long_line: Option<&SharedBytes>,
    payload: &mut Vec<u8>,
    out: &mut O,
) -> usize {
    if let Some(source) = long_line
        && let Some(lines) = Lines::sharing(line, source)
    {
        let mut deliveries = 0;
        for receiver in audience.receivers() {
            out.append_lines(receiver, &lines);
            deliveries += 1;
        }
        return deliveries;
    }
    empty(payload);
    encode::line(payload, line);
    out.deliver(audience, payload)
}
