//! PUB and HPUB, and the answer to requests that reach nobody.

use super::Exchange;
use super::conversation::Conversation;
use super::frames::max_payload;
use crate::broker::output::Output;
use crate::broker::users::Permissions;
use crate::protocol::nats::answer::{self, Message};
use crate::protocol::nats::request::Publish;
use crate::protocol::nats::{Error, subject};

/// Subjects for features of NATS that are not spoken anywhere in the tree begin so.
const NEVER_SERVED: [&[u8]; 2] = [b"$JS", b"$SYS"];

impl<O: Output> Exchange<'_, O> {
    pub(super) fn publish(&mut self, publish: &Publish<'_>) {
        let header = publish.header.map_or(0, <[u8]>::len);
        if header + publish.payload.len() > max_payload(&self.broker.settings) {
            return self.fail(Error::PayloadTooLarge);
        }
        let takes_headers = self.conversation().is_some_and(Conversation::takes_headers);
        if publish.has_header_size && !takes_headers {
            return self.fail(Error::Form);
        }
        if !self.may(Permissions::WRITE) {
            self.append(|to| answer::may_not_publish(to, publish.subject));
            return self.count_refusal("PUB", Permissions::WRITE);
        }
        let is_pedantic = self
            .conversation()
            .is_some_and(|conversation| conversation.options.is_pedantic);
        if is_pedantic && !subject::is_literal(publish.subject) {
            self.fail(Error::InvalidPublishSubject);
        }
        self.accept();
        let mut is_heard = false;
        if subject::is_valid(publish.subject) {
            let message = Message {
                subject: publish.subject,
                reply: publish.reply,
                header: publish.header,
                payload: publish.payload,
            };
            let (id, now) = (self.id, self.now);
            let count = self.broker.publish_message(id, &message, now, self.out);
            let is_sent_on = self.broker.tree.links.up().next().is_some();
            is_heard = count > 0 || is_sent_on && !is_never_served(publish.subject);
        }
        if let Some(reply) = publish.reply.filter(|_| !is_heard) {
            self.tell_of_no_responders(reply);
        }
    }

    /// Tells the client that its request has reached nobody, if it wants to know and waits for an answer.
    fn tell_of_no_responders(&mut self, reply: &[u8]) {
        let conversation = self.conversation();
        let wants_it =
            conversation.is_some_and(|conversation| conversation.options.wants_no_responders);
        if wants_it && let Some(sid) = self.broker.plain_sid(self.id, reply, self.out) {
            self.append(|to| answer::no_responders(to, reply, &sid));
        }
    }
}

/// Reports whether nobody in a tree of clacksd servers listens to such a subject.
fn is_never_served(published: &[u8]) -> bool {
    let first = subject::tokens(published).next();
    first.is_some_and(|first| NEVER_SERVED.contains(&first))
}
