//! Messages: signals to those who subscribe to patterns and subjects, with the parts that no Clacks line has.

use super::delivery::{Delivered, Delivery, Extras, Groups, Signal};
use crate::broker::Broker;
use crate::broker::carrier::Carrier;
use crate::broker::events::ConnectionId;
use crate::broker::interclacks::HandedOnGroups;
use crate::broker::subjects::{SubscriptionId, Topic, work_of_subscription};
use crate::protocol::nats::answer::Message;
use crate::protocol::nats::names::{MAX_SUBJECT, subject_of};
use crate::protocol::shown::taken;
use std::borrow::Cow;

impl Broker {
    /// The delivery of a signal of that connection to subscriptions.
    pub(in crate::broker) fn delivery(&mut self, sender: ConnectionId) -> Delivery<'_> {
        Delivery {
            listeners: &self.listeners,
            subjects: &mut self.subjects,
            sessions: &self.sessions,
            tree: &self.tree,
            random: &mut self.random,
            statistics: &mut self.statistics,
            payload: &mut self.payload,
            source: self.long_line.as_ref(),
            sender,
        }
    }

    /// Delivers a signal to those at this server who subscribe to a pattern of its name or of its subject. Clacks clients
    /// that listen to the name itself have got it already. Returns the groups that are to be served behind links.
    #[cold]
    pub(in crate::broker) fn deliver_to_subscriptions<O: Carrier>(
        &mut self,
        sender: ConnectionId,
        signal: &Signal<'_>,
        extras: &Extras<'_>,
        groups: Groups<'_>,
        out: &mut O,
    ) -> HandedOnGroups {
        let mut delivery = self.delivery(sender);
        delivery.look_up(Topic::Name(signal.name), Some(signal.name), out);
        delivery.deliver_line(signal.line, out);
        if let Some(subject) = extras.subject {
            delivery.look_up(Topic::Subject(subject), None, out);
        }
        if !delivery.reaches_subscriptions() {
            return HandedOnGroups::new();
        }
        let subject = match extras.subject {
            Some(subject) => Cow::Borrowed(subject),
            None => Cow::Owned(subject_of(signal.name)),
        };
        if subject.len() > MAX_SUBJECT {
            return HandedOnGroups::new();
        }
        let message = Message {
            subject: &subject,
            reply: extras.reply,
            header: extras.header,
            payload: &taken(signal.value),
        };
        let delivered = delivery.deliver_message(&message, groups, out);
        self.end_spent(&delivered, out);
        delivered.handed_on
    }

    /// Ends the subscriptions that have got as many messages as they were to get.
    pub(in crate::broker) fn end_spent<O: Carrier>(&mut self, delivered: &Delivered, out: &mut O) {
        for &id in &delivered.spent {
            if let Some((connection, _)) = self.subjects.nats(id) {
                self.end_subscription(connection, id, out);
            }
        }
    }

    /// Ends one subscription of a session.
    pub(in crate::broker) fn end_subscription<O: Carrier>(
        &mut self,
        connection: ConnectionId,
        subscription: SubscriptionId,
        out: &mut O,
    ) {
        let session = self.sessions.get_mut(connection);
        // Those of a session on its way out end with it.
        if let Some(session) = session.filter(|session| session.closing.is_none()) {
            let memory = self.subjects.end(subscription, &mut session.subjects);
            out.charge_memory(connection, -memory);
            out.add_work(work_of_subscription(memory));
            self.announce_groups(out);
        }
    }
}
