//! PUB and HPUB, and the answer to requests that reach nobody.

use super::conversation::Conversation;
use super::frames::max_payload;
use super::{Exchange, may};
use crate::broker::interclacks::{Forwarded, HandedOn, HandedOnGroups};
use crate::broker::operations::{Groups, Signal};
use crate::broker::output::Output;
use crate::broker::subjects::Topic;
use crate::broker::users::Permissions;
use crate::protocol::nats::answer::{self, Message};
use crate::protocol::nats::names::{Named, name_of};
use crate::protocol::nats::request::Publish;
use crate::protocol::nats::{Error, subject};
use crate::protocol::shown::shown;
use crate::protocol::{Language, encode, peer};

/// Subjects for features of NATS that are not spoken anywhere in the tree begin so.
const NEVER_SERVED: [&[u8]; 2] = [b"$JS", b"$SYS"];

impl<O: Output> Exchange<'_, O> {
    pub(super) fn publish(&mut self, publish: &Publish<'_>) {
        let header = publish.header.map_or(0, <[u8]>::len);
        if header + publish.payload.len() > max_payload(&self.broker.settings) {
            return self.fail(Error::PayloadTooLarge);
        }
        let Some(session) = self.broker.sessions.get(self.id) else {
            return;
        };
        let may_write = may(session, Permissions::WRITE);
        let conversation = session.nats.as_deref();
        let is = |option: fn(&Conversation) -> bool| conversation.is_some_and(option);
        if publish.has_header_size && !is(Conversation::takes_headers) {
            return self.fail(Error::Form);
        }
        let (is_pedantic, is_verbose) =
            (is(Conversation::is_pedantic), is(Conversation::is_verbose));
        if !may_write {
            self.append(|to| answer::may_not_publish(to, publish.subject));
            return self.count_refusal("PUB", Permissions::WRITE);
        }
        if is_pedantic && self.is_to_tell_of_subject() && !subject::is_literal(publish.subject) {
            self.fail(Error::InvalidPublishSubject);
        }
        if is_verbose {
            self.append(answer::ok);
        }
        let count = match subject::is_valid(publish.subject) {
            true => self.send(&Message {
                subject: publish.subject,
                reply: publish.reply,
                header: publish.header,
                payload: publish.payload,
            }),
            false => 0,
        };
        if let Some(reply) = publish.reply
            && count == 0
            && !self.is_sent_on(publish.subject)
        {
            self.tell_of_no_responders(reply);
        }
    }

    /// Reports whether a message with that subject may reach somebody at another server.
    fn is_sent_on(&self, subject: &[u8]) -> bool {
        let has_links = self.broker.tree.links.up().next().is_some();
        has_links && subject::is_valid(subject) && !is_never_served(subject)
    }

    /// Reports whether an invalid subject is to be told, which was not done when the line came.
    fn is_to_tell_of_subject(&mut self) -> bool {
        let session = self.broker.sessions.get_mut(self.id);
        let conversation = session.and_then(|session| session.nats.as_mut());
        conversation.is_some_and(|conversation| {
            let is_told = std::mem::take(&mut conversation.is_told);
            conversation.is_pedantic() && !is_told
        })
    }

    /// Sends a message to everybody who listens, at whatever server. Returns the number of deliveries to clients of this
    /// server.
    fn send(&mut self, message: &Message<'_>) -> usize {
        let broker = &mut *self.broker;
        broker.statistics.signals.add(Language::Nats, 1);
        // The name is made only if there is somebody to get it.
        let is_for_clacks = broker.listeners.names() > 0
            || broker.subjects.has_patterns_of_clacks()
            || !broker.tree.links.is_empty()
            || !broker.monitors.is_empty();
        if !is_for_clacks {
            return self.deliver(message, None).0;
        }
        let (named, value) = (name_of(message.subject), shown(message.payload));
        let signal = Signal {
            name: &named.name,
            line: &encode::set(&named.name, &value),
            value: &value,
        };
        let by_name = broker.deliver_to_listeners(self.id, &signal, self.out);
        let (count, handed_on) = self.deliver(message, Some((&named, &signal)));
        self.forward(message, &named, &signal, &handed_on);
        if !self.broker.monitors.is_empty() {
            self.broker.mirror(self.id, &signal.line.concat(), self.out);
        }
        by_name + count
    }

    /// Delivers a message to those at this server who subscribe to a pattern of its name or of its subject. Returns their
    /// number, and the groups that are to be served behind links.
    fn deliver(
        &mut self,
        message: &Message<'_>,
        as_signal: Option<(&Named, &Signal<'_>)>,
    ) -> (usize, HandedOnGroups) {
        let mut count = 0;
        let mut delivery = self.broker.delivery(self.id);
        let topic = Topic::Subject(message.subject);
        match as_signal {
            Some((named, signal)) if named.is_exact => {
                delivery.look_up(topic, Some(signal.name), self.out);
                count += delivery.deliver_line(signal.line, self.out);
            }
            Some((_, signal)) => {
                delivery.look_up(Topic::Name(signal.name), Some(signal.name), self.out);
                count += delivery.deliver_line(signal.line, self.out);
                delivery.look_up(topic, None, self.out);
            }
            None => delivery.look_up(topic, None, self.out),
        }
        let delivered = delivery.deliver_message(message, Groups::All, self.out);
        self.broker.end_spent(&delivered, self.out);
        (count + delivered.count, delivered.handed_on)
    }

    /// Sends a message to the other servers.
    fn forward(
        &mut self,
        message: &Message<'_>,
        named: &Named,
        signal: &Signal<'_>,
        handed_on: &[HandedOn],
    ) {
        if self.broker.tree.links.is_empty() {
            return;
        }
        let subject = (!named.is_exact).then_some(message.subject);
        let mut options = Vec::new();
        peer::encode_options(&mut options, subject, message.reply, message.header);
        let forwarded = Forwarded {
            options: &options,
            handed_on,
            ..Forwarded::plain(signal.line)
        };
        let (id, now) = (self.id, self.now);
        self.broker
            .forward_new_signal(id, &forwarded, now, self.out);
    }

    /// Tells the client that its request has reached nobody, if it wants to know and waits for an answer.
    fn tell_of_no_responders(&mut self, reply: &[u8]) {
        let conversation = self.conversation();
        let wants_it =
            conversation.is_some_and(|conversation| conversation.options.wants_no_responders);
        if !wants_it || !subject::is_valid(reply) {
            return;
        }
        let mut delivery = self.broker.delivery(self.id);
        delivery.look_up(Topic::Subject(reply), None, self.out);
        let subjects = &self.broker.subjects;
        let plain = subjects.found().plain.iter();
        let mut plain = plain.filter_map(|&subscription| subjects.nats(subscription));
        if let Some((_, own)) = plain.find(|(connection, _)| *connection == self.id) {
            self.out
                .append(self.id, |to| answer::no_responders(to, reply, &own.sid));
        }
    }
}

/// Reports whether nobody in a tree of clacksd servers listens to such a subject.
fn is_never_served(published: &[u8]) -> bool {
    let first = subject::tokens(published).next();
    first.is_some_and(|first| NEVER_SERVED.contains(&first))
}
