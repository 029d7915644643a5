//! SUB and UNSUB.

use super::Exchange;
use crate::broker::output::Output;
use crate::broker::users::Permissions;
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
        if !subject::is_pattern(pattern) {
            return self.fail(Error::InvalidSubject);
        }
        self.broker
            .subscribe_to_subject(self.id, pattern, group, sid, self.out);
        self.accept();
        self.mirror(line);
    }

    pub(super) fn unsubscribe(&mut self, unsubscribe: &Unsubscribe<'_>, line: &[u8]) {
        let Unsubscribe { sid, max } = *unsubscribe;
        self.broker
            .unsubscribe_from_subject(self.id, sid, max, self.out);
        self.accept();
        self.mirror(line);
    }
}
