//! The subscriptions that match the name or subject that was looked up last. Messages often come many at once, of one
//! subject.

use super::groups::GroupId;
use super::plain::Together;
use super::subscription::{Kind, Subscription, SubscriptionId};
use super::trie::Walk;
use crate::broker::events::{AudienceId, ConnectionId};
use crate::broker::pages::Pages;
use crate::protocol::pattern::MAX_PATTERN;

/// The text by which subscriptions are looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic<'a> {
    /// The name of a signal.
    Name(&'a [u8]),
    /// The subject of a message.
    Subject(&'a [u8]),
}

impl<'a> Topic<'a> {
    fn text(self) -> &'a [u8] {
        match self {
            Topic::Name(text) | Topic::Subject(text) => text,
        }
    }
}

/// A member of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    pub group: GroupId,
    /// It stands for all members behind a link.
    pub is_link: bool,
    pub connection: ConnectionId,
    pub subscription: SubscriptionId,
}

/// The subscriptions that match.
#[derive(Default)]
pub struct Found {
    /// Clacks clients that listen to a pattern, each once.
    pub clacks: Vec<ConnectionId>,
    /// Those of NATS clients without a group.
    pub plain: Vec<SubscriptionId>,
    /// In the order of their groups, those of this server first.
    pub members: Vec<Member>,
}

impl Found {
    fn clear(&mut self) {
        self.clacks.clear();
        self.plain.clear();
        self.members.clear();
    }

    /// Adds the subscriptions to one pattern.
    pub(super) fn add(&mut self, ids: &[SubscriptionId], subscriptions: &Pages<Subscription>) {
        for &id in ids {
            let subscription = &subscriptions[id.0];
            let connection = subscription.connection;
            let (group, is_link) = match &subscription.kind {
                Kind::Pattern => {
                    self.clacks.push(connection);
                    continue;
                }
                Kind::Sid(own) => match own.group {
                    None => {
                        self.plain.push(id);
                        continue;
                    }
                    Some(group) => (group, false),
                },
                Kind::Link(group) => (*group, true),
            };
            self.members.push(Member {
                group,
                is_link,
                connection,
                subscription: id,
            });
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.clacks.len() + self.plain.len() + self.members.len()
    }

    fn memory(&self) -> usize {
        self.clacks.capacity() * size_of::<ConnectionId>()
            + self.plain.capacity() * size_of::<SubscriptionId>()
            + self.members.capacity() * size_of::<Member>()
    }
}

#[derive(Default)]
pub struct Matched {
    is_name: bool,
    /// Clacks clients that listen to the name itself are left out.
    is_filtered: bool,
    /// The name or subject; `None` if it is too long to be kept.
    text: Option<Vec<u8>>,
    /// How often subscriptions to patterns and to names had changed.
    changes: (u64, u64),
    pub found: Found,
    pub together: Together,
    /// How many lists there were so far.
    lists: u64,
    walk: Walk,
}

impl Matched {
    /// Reports whether the lists are those of `topic`, filtered or not.
    pub fn is_of(&self, topic: Topic<'_>, is_filtered: bool, changes: (u64, u64)) -> bool {
        let is_name = matches!(topic, Topic::Name(_));
        self.changes == changes
            && self.is_name == is_name
            && self.is_filtered == is_filtered
            && self.text.as_deref() == Some(topic.text())
    }

    /// Makes the lists those of `topic`, filtered or not, with `find`, which adds to empty lists and returns the number of nodes that it
    /// visited. Returns that number.
    pub fn update(
        &mut self,
        topic: Topic<'_>,
        is_filtered: bool,
        changes: (u64, u64),
        find: impl FnOnce(&mut Walk, &mut Found) -> usize,
    ) -> usize {
        let text = topic.text();
        self.found.clear();
        self.together.clear();
        let visited = find(&mut self.walk, &mut self.found);
        self.found.members.sort_unstable();
        self.lists += 1;
        self.is_name = matches!(topic, Topic::Name(_));
        (self.changes, self.is_filtered) = (changes, is_filtered);
        if text.len() > MAX_PATTERN {
            self.text = None;
        } else {
            let kept = self.text.get_or_insert_default();
            kept.clear();
            kept.extend_from_slice(text);
        }
        visited
    }

    /// Forgets the lists, with their memory. Those that follow have other numbers.
    pub fn forget(&mut self) {
        *self = Matched {
            lists: self.lists,
            ..Matched::default()
        };
    }

    /// The Clacks clients that were found.
    pub fn audience(&self) -> Option<(AudienceId, &[ConnectionId])> {
        let id = AudienceId {
            // No name that is listened to has this number.
            name: u32::MAX,
            changes: self.lists,
        };
        (!self.found.clacks.is_empty()).then_some((id, &self.found.clacks))
    }

    /// Identifies the list of plain subscriptions that was found.
    pub fn plain_id(&self) -> AudienceId {
        AudienceId {
            // Neither has this one.
            name: u32::MAX - 1,
            changes: self.lists,
        }
    }

    /// Memory in bytes.
    pub fn memory(&self) -> usize {
        self.walk.memory() + self.found.memory() + self.together.memory()
    }
}
