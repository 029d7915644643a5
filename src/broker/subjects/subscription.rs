//! Subscriptions, and what each is known by.

use super::groups::GroupId;
use super::trie::End;
use crate::broker::events::ConnectionId;
use ahash::RandomState;
use std::num::NonZeroU32;
use std::ops::Deref;

/// The number of a subscription among those that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SubscriptionId(pub(super) u32);

/// A subscription to a pattern.
pub struct Subscription {
    pub connection: ConnectionId,
    pub end: End,
    /// Its place among those to the same pattern.
    pub in_end: u32,
    /// Its place among those of the connection.
    pub in_own: u32,
    pub kind: Kind,
}

pub enum Kind {
    /// Of a Clacks client.
    Pattern,
    /// Of a NATS client.
    Sid(NatsSubscription),
    /// Of a link: the group has members behind it.
    Link(GroupId),
}

/// A client's name for its subscription, mostly a number of a few digits.
pub enum Sid {
    Short {
        length: u8,
        bytes: [u8; 14],
    },
    /// A box of one word, so that the name takes two.
    Long(Box<Box<[u8]>>),
}

impl Sid {
    fn new(sid: &[u8]) -> Sid {
        let mut bytes = [0; 14];
        match bytes.get_mut(..sid.len()) {
            Some(start) => {
                start.copy_from_slice(sid);
                let length = sid.len() as u8;
                Sid::Short { length, bytes }
            }
            None => Sid::Long(Box::new(sid.into())),
        }
    }
}

impl Deref for Sid {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Sid::Short { length, bytes } => &bytes[..usize::from(*length)],
            Sid::Long(bytes) => bytes,
        }
    }
}

/// The part of a subscription that only those of NATS clients have.
pub struct NatsSubscription {
    /// The client's name for it.
    pub sid: Sid,
    pub group: Option<GroupId>,
    /// Messages that it has got; no more than fit.
    received: u32,
    /// It ends after so many.
    max: Option<NonZeroU32>,
}

/// The words by which a connection's subscription is found again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Key<'a> {
    Pattern(End),
    Sid(&'a [u8]),
    Link(End, GroupId),
}

impl Key<'_> {
    pub fn hash(&self, connection: ConnectionId, hasher: &RandomState) -> u64 {
        hasher.hash_one((connection, self))
    }
}

impl Subscription {
    pub fn key(&self) -> Key<'_> {
        match &self.kind {
            Kind::Pattern => Key::Pattern(self.end),
            Kind::Sid(own) => Key::Sid(&own.sid),
            Kind::Link(group) => Key::Link(self.end, *group),
        }
    }

    pub fn hash(&self, hasher: &RandomState) -> u64 {
        self.key().hash(self.connection, hasher)
    }
}

impl Kind {
    pub fn group(&self) -> Option<GroupId> {
        match self {
            Kind::Pattern => None,
            Kind::Sid(own) => own.group,
            Kind::Link(group) => Some(*group),
        }
    }
}

impl NatsSubscription {
    pub fn new(sid: &[u8], group: Option<GroupId>) -> NatsSubscription {
        NatsSubscription {
            sid: Sid::new(sid),
            group,
            received: 0,
            max: None,
        }
    }

    /// One more message goes to it. Returns true if it is the last one.
    pub fn count_message(&mut self) -> bool {
        self.received = self.received.saturating_add(1);
        self.is_spent()
    }

    /// So many more messages went to it, which has no end.
    pub fn count_messages(&mut self, messages: u32) {
        self.received = self.received.saturating_add(messages);
    }

    /// Reports whether it ends after some messages.
    pub fn is_limited(&self) -> bool {
        self.max.is_some()
    }

    /// It ends after so many messages, counted from its beginning. Returns true if so many have come.
    pub fn limit(&mut self, max: u32) -> bool {
        self.max = NonZeroU32::new(max);
        self.is_spent()
    }

    fn is_spent(&self) -> bool {
        self.max.is_some_and(|max| self.received >= max.get())
    }
}
