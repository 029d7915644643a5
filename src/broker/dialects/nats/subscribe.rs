//! SUB and UNSUB.

use super::Exchange;
use crate::broker::output::Output;
use crate::broker::subjects::work_of_subscription;
use crate::broker::users::Permissions;
use crate::limits::WORK_PER_PAIR;
use crate::protocol::nats::request::{Subscribe, Unsubscribe};
use crate::protocol::nats::{Error, answer, subject};

impl<O: Output> Exchange<'_, O> {
    pub(super) fn subscribe(&mut self, subscribe: &Subscribe<'_>, line: &[u8]) {
        let Subscribe {
            pattern,
            group,
            sid,
        } = *subscribe;
        if !self.may(Permissions::READ) {
            self.append(|to| answer::may_not_subscribe(to, pattern, group));
            return self.count_refusal("SUB", Permissions::READ);
        }
        let subjects = &mut self.broker.subjects;
        // A second SUB with a sid is ignored, whatever its subject.
        if subjects.with_sid(self.id, sid).is_none() && !subject::is_pattern(pattern) {
            return self.fail(Error::InvalidSubject);
        }
        if let Some(session) = self.broker.sessions.get_mut(self.id)
            && let Some(memory) =
                subjects.subscribe(pattern, group, sid, self.id, &mut session.subjects)
        {
            self.out.charge_memory(self.id, memory);
            let of_pair = group.map_or(0, |_| WORK_PER_PAIR);
            self.out.add_work(work_of_subscription(memory) + of_pair);
            self.broker.announce_groups(self.out);
        }
        self.accept();
        self.mirror(line);
    }

    /// The subscription with the sid ends: now, or after so many messages, counted from its beginning.
    pub(super) fn unsubscribe(&mut self, unsubscribe: &Unsubscribe<'_>, line: &[u8]) {
        let Unsubscribe { sid, max } = *unsubscribe;
        let subjects = &mut self.broker.subjects;
        let subscription = subjects.with_sid(self.id, sid);
        if let Some(subscription) = subscription
            && max.is_none_or(|max| subjects.limit(subscription, max))
        {
            self.broker
                .end_subscription(self.id, subscription, self.out);
        }
        self.accept();
        self.mirror(line);
    }
}
