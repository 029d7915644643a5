//! The plain subscriptions of a list as one audience: a message is encoded once for all of them, and counted for all of
//! them together.

use super::subscription::{Kind, SubscriptionId};
use super::{Subjects, Subscription};
use crate::broker::events::{AudienceId, ConnectionId};
use crate::broker::labels::Labels;
use crate::broker::pages::Pages;

/// The connections that have the plain subscriptions which match, each once.
pub struct PlainAudience<'a> {
    pub id: AudienceId,
    pub connections: &'a [ConnectionId],
    pub sids: Sids<'a>,
}

/// The names by which these connections know their subscriptions.
pub enum Sids<'a> {
    Equal(&'a [u8]),
    /// In the order of the connections.
    Differing(&'a Labels),
}

/// The way in which the plain subscriptions of a list get their messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Form {
    /// Nothing is known of them yet. A list that is looked up once is not worth more.
    #[default]
    Unknown,
    /// Each by itself: one of them ends after some messages, its connection is gone, or has another one of them.
    Apart,
    /// All together; they have the same sid.
    Alike,
    /// All together; their sids differ.
    Labelled,
}

#[derive(Default)]
pub struct Together {
    form: Form,
    /// In the order of the list.
    connections: Vec<ConnectionId>,
    /// Their sids.
    sids: Labels,
    /// Messages to all of them but `silent` that are not counted yet.
    uncounted: u32,
    silent: Option<ConnectionId>,
    /// How many they are without `silent`.
    receivers: usize,
}

impl Together {
    /// Another list begins. All messages have been counted.
    pub fn clear(&mut self) {
        debug_assert_eq!(self.uncounted, 0, "messages are counted before");
        self.form = Form::Unknown;
        self.connections.clear();
        self.sids.clear();
    }

    /// Looks at the subscriptions of the list.
    fn prepare(
        &mut self,
        plain: &[SubscriptionId],
        subscriptions: &Pages<Subscription>,
        has_left: impl Fn(ConnectionId) -> bool,
    ) {
        self.form = Form::Apart;
        for &SubscriptionId(id) in plain {
            let subscription = &subscriptions[id];
            let connection = subscription.connection;
            match &subscription.kind {
                Kind::Sid(own) if !own.is_limited() && !has_left(connection) => {
                    self.connections.push(connection);
                    self.sids.push(&own.sid);
                }
                _ => return,
            }
        }
        let Some(first) = self.sids.first() else {
            return;
        };
        if self.sids.iter().all(|sid| sid == first) {
            // No connection has two subscriptions with the same sid.
            self.form = Form::Alike;
            return;
        }
        let mut sorted = self.connections.clone();
        sorted.sort_unstable();
        if sorted.windows(2).all(|pair| pair[0] != pair[1]) {
            self.form = Form::Labelled;
        }
    }

    /// Memory in bytes.
    pub fn memory(&self) -> usize {
        self.connections.capacity() * size_of::<ConnectionId>() + self.sids.memory()
    }
}

impl Subjects {
    /// The plain subscriptions that were looked up last as one audience. `None` if there are none, if the list is new, or
    /// if one of them is to get its messages apart from the others.
    pub fn plain_audience(&self) -> Option<PlainAudience<'_>> {
        let together = &self.matched.together;
        let sids = match together.form {
            Form::Alike => Sids::Equal(together.sids.first()?),
            Form::Labelled => Sids::Differing(&together.sids),
            Form::Unknown | Form::Apart => return None,
        };
        Some(PlainAudience {
            id: self.matched.plain_id(),
            connections: &together.connections,
            sids,
        })
    }

    /// A message went to that audience, but for `silent`. Returns to how many.
    pub fn count_for_all(&mut self, silent: Option<ConnectionId>) -> usize {
        let together = &self.matched.together;
        if together.uncounted == 0 || together.silent != silent || together.uncounted == u32::MAX {
            self.count_sent();
            let together = &mut self.matched.together;
            let is_other = |connection: &&ConnectionId| Some(**connection) != silent;
            together.receivers = match silent {
                None => together.connections.len(),
                Some(_) => together.connections.iter().filter(is_other).count(),
            };
            together.silent = silent;
        }
        let together = &mut self.matched.together;
        together.uncounted += 1;
        together.receivers
    }

    /// Looks at the plain subscriptions of a list that is new, or has come again.
    #[inline(always)]
    pub(super) fn prepare_plain(&mut self) {
        if self.matched.together.form == Form::Unknown {
            self.prepare();
        }
    }

    #[cold]
    fn prepare(&mut self) {
        let Subjects {
            subscriptions,
            departed,
            matched,
            ..
        } = self;
        let has_left = |connection| !departed.is_empty() && departed.contains(&connection);
        matched
            .together
            .prepare(&matched.found.plain, subscriptions, has_left);
    }

    /// Counts the messages that went to all plain subscriptions of the list. To be called before the list or one of its
    /// subscriptions changes.
    pub(super) fn count_sent(&mut self) {
        let together = &mut self.matched.together;
        let (sent, silent) = (std::mem::take(&mut together.uncounted), together.silent);
        if sent == 0 {
            return;
        }
        for &id in &self.matched.found.plain {
            let subscription = &mut self.subscriptions[id.0];
            if let Kind::Sid(own) = &mut subscription.kind
                && Some(subscription.connection) != silent
            {
                own.count_messages(sent);
            }
        }
    }
}
