//! Who listens to which patterns: Clacks clients to patterns of names, NATS clients to subjects, and links for the groups
//! behind them. All patterns are a tree of tokens (`trie`): a signal costs its length, the beginnings of patterns that match
//! so far, and the matches, however many other patterns there are.

mod groups;
mod matched;
mod pairs;
mod plain;
mod subscription;
mod trie;

use super::events::{AudienceId, ConnectionId};
use super::few::Few;
use super::listeners::Listeners;
use super::pages::Pages;
use super::table::Table;
use crate::protocol::nats::names::token_of;
use crate::protocol::nats::subject;
use crate::protocol::pattern::parts;
use ahash::RandomState;
use groups::Groups;
use matched::Matched;
use pairs::{Change, Pair, Pairs};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::collections::HashSet;
use subscription::{Key, Kind, Subscription};
use trie::{End, Trie};

pub use groups::GroupId;
pub use matched::{Found, Member, Topic};
pub use pairs::News;
pub use plain::Sids;
pub use subscription::{NatsSubscription, SubscriptionId};

/// The subscriptions of a connection. They are kept with the session or the link, and changed only here.
#[derive(Default)]
pub struct OwnSubscriptions(Few<SubscriptionId>);

impl OwnSubscriptions {
    /// The number of subscriptions.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

/// The work of adding or removing a subscription that takes so much memory, in bytes: each of its tokens is looked up.
pub fn work_of_subscription(memory: isize) -> usize {
    memory.unsigned_abs() / 2
}

pub struct Subjects {
    hasher: RandomState,
    trie: Trie,
    subscriptions: Pages<Subscription>,
    by_key: Table<SubscriptionId>,
    /// Subscriptions of Clacks clients among them.
    of_clacks: usize,
    groups: Groups,
    pairs: Pairs,
    changes: u64,
    matched: Matched,
    /// Subscriptions of ended connections, to be removed in slices. A delivery to one of them reaches nobody.
    left: Vec<(ConnectionId, OwnSubscriptions)>,
    /// The connections of these.
    departed: HashSet<ConnectionId, RandomState>,
}

/// Tokens of patterns that are removed per slice, about.
const REMOVED_PER_SLICE: usize = 1000;

impl Subjects {
    pub fn new(hasher: RandomState) -> Subjects {
        Subjects {
            trie: Trie::new(hasher.clone()),
            groups: Groups::new(hasher.clone()),
            departed: HashSet::with_hasher(hasher.clone()),
            hasher,
            subscriptions: Pages::default(),
            by_key: Table::default(),
            of_clacks: 0,
            pairs: Pairs::default(),
            changes: 0,
            matched: Matched::default(),
            left: Vec::new(),
        }
    }

    /// Subscriptions of all kinds.
    pub fn subscriptions(&self) -> usize {
        self.subscriptions.len()
    }

    /// Reports whether nobody listens to any pattern.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.subscriptions.is_empty()
    }

    /// Reports whether a Clacks client listens to a pattern.
    pub fn has_patterns_of_clacks(&self) -> bool {
        self.of_clacks > 0
    }

    /// Looks the subscriptions up that match; see [`Subjects::found`]. Clacks clients that listen to `name` itself are left
    /// out. Returns the number of nodes that were visited.
    pub fn find(&mut self, topic: Topic<'_>, name: Option<&[u8]>, listeners: &Listeners) -> usize {
        let changes = (self.changes, listeners.changes());
        if self.matched.is_of(topic, name.is_some(), changes) {
            self.prepare_plain();
            return 0;
        }
        self.count_sent();
        let Subjects {
            trie,
            subscriptions,
            matched,
            ..
        } = self;
        let visited = matched.update(topic, name.is_some(), changes, |walk, found| {
            let mut ends = 0;
            let add = |ids: &[SubscriptionId]| {
                ends += usize::from(!ids.is_empty());
                found.add(ids, subscriptions);
            };
            let visited = match topic {
                Topic::Name(name) => trie.visit(parts(name).map(token_of), walk, add),
                Topic::Subject(subject) => trie.visit(subject_tokens(subject), walk, add),
            };
            let clacks = &mut found.clacks;
            if ends > 1 {
                clacks.sort_unstable();
                clacks.dedup();
            }
            if let Some(name) = name
                && !clacks.is_empty()
                && listeners.of(name).is_some()
            {
                clacks.retain(|connection| !listeners.has(name, *connection));
            }
            visited
        });
        if let [_] = matched.found.plain[..] {
            self.prepare_plain();
        }
        visited
    }

    /// The subscriptions that match the topic that was looked up last.
    pub fn found(&self) -> &Found {
        &self.matched.found
    }

    /// The Clacks clients among them.
    pub fn audience(&self) -> Option<(AudienceId, &[ConnectionId])> {
        self.matched.audience()
    }

    /// The subscription of a NATS client, with its connection.
    pub fn nats(&self, id: SubscriptionId) -> Option<(ConnectionId, &NatsSubscription)> {
        let subscription = self.subscriptions.get(id.0)?;
        match &subscription.kind {
            Kind::Sid(own) => Some((subscription.connection, own)),
            _ => None,
        }
    }

    /// Calls `deliver` with each connection that was found to have a plain subscription, and its sid; if that returns true,
    /// the message counts. Returns the number of messages that count, and the subscriptions that end with this one.
    pub fn deliver_plain(
        &mut self,
        mut deliver: impl FnMut(ConnectionId, &[u8]) -> bool,
    ) -> (usize, SmallVec<[SubscriptionId; 2]>) {
        let (mut count, mut spent) = (0, SmallVec::new());
        for &id in &self.matched.found.plain {
            let subscription = &mut self.subscriptions[id.0];
            let has_left =
                !self.departed.is_empty() && self.departed.contains(&subscription.connection);
            if let Kind::Sid(own) = &mut subscription.kind
                && !has_left
                && deliver(subscription.connection, &own.sid)
            {
                count += 1;
                if own.count_message() {
                    spent.push(id);
                }
            }
        }
        (count, spent)
    }

    /// A message goes to a subscription: it counts. Returns the sid, and whether the subscription ends with this message.
    pub fn count_message(&mut self, id: SubscriptionId) -> Option<(&[u8], bool)> {
        match &mut self.subscriptions.get_mut(id.0)?.kind {
            Kind::Sid(own) => {
                let is_spent = own.count_message();
                Some((&own.sid, is_spent))
            }
            _ => None,
        }
    }

    /// Adds a subscription of a Clacks client to a valid pattern. Returns the memory that it takes, in bytes; `None` if
    /// there was one already.
    pub fn listen(
        &mut self,
        pattern: &[u8],
        connection: ConnectionId,
        own: &mut OwnSubscriptions,
    ) -> Option<isize> {
        let end = self.end_of(pattern_tokens(pattern));
        if self.lookup(connection, Key::Pattern(end)).is_some() {
            return None;
        }
        self.of_clacks += 1;
        Some(self.add(end, connection, Kind::Pattern, own))
    }

    /// Removes the subscription of a Clacks client to a pattern. Returns the memory that it took, in bytes; `None` if
    /// there was none.
    pub fn unlisten(
        &mut self,
        pattern: &[u8],
        connection: ConnectionId,
        own: &mut OwnSubscriptions,
    ) -> Option<isize> {
        let end = self.trie.find(pattern_tokens(pattern))?;
        let id = self.lookup(connection, Key::Pattern(end))?;
        Some(self.end(id, own))
    }

    /// Adds a subscription of a NATS client to a valid pattern of subjects. Returns the memory that it takes, in bytes;
    /// `None` if the client has one with that sid.
    pub fn subscribe(
        &mut self,
        pattern: &[u8],
        group: Option<&[u8]>,
        sid: &[u8],
        connection: ConnectionId,
        own: &mut OwnSubscriptions,
    ) -> Option<isize> {
        if self.lookup(connection, Key::Sid(sid)).is_some() {
            return None;
        }
        let end = self.end_of(subject_tokens(pattern));
        if let Some(group) = group {
            self.pairs.change(pair(pattern, group), Change::LocalJoins);
        }
        let group = group.map(|group| self.groups.enter(group));
        let kind = Kind::Sid(NatsSubscription::new(sid, group));
        Some(self.add(end, connection, kind, own))
    }

    /// The subscription of a NATS client with that sid.
    pub fn with_sid(&self, connection: ConnectionId, sid: &[u8]) -> Option<SubscriptionId> {
        self.lookup(connection, Key::Sid(sid))
    }

    /// The subscription ends after so many messages, counted from its beginning. Returns true if so many have come.
    pub fn limit(&mut self, id: SubscriptionId, max: u32) -> bool {
        self.count_sent();
        // From now on it gets its messages apart from others.
        self.changes += 1;
        match &mut self.subscriptions[id.0].kind {
            Kind::Sid(own) => own.limit(max),
            _ => false,
        }
    }

    /// A group has members behind a link, because of a pattern. Returns the memory that this takes, in bytes; `None` if
    /// it was known.
    pub fn join(
        &mut self,
        pattern: &[u8],
        group: &[u8],
        link: ConnectionId,
        own: &mut OwnSubscriptions,
    ) -> Option<isize> {
        let end = self.end_of(subject_tokens(pattern));
        let group_id = self.groups.enter(group);
        if self.lookup(link, Key::Link(end, group_id)).is_some() {
            self.groups.leave(group_id);
            return None;
        }
        self.pairs
            .change(pair(pattern, group), Change::LinkJoins(link));
        Some(self.add(end, link, Kind::Link(group_id), own))
    }

    /// A group has no member behind a link any more because of a pattern. Returns the memory that this took, in bytes;
    /// `None` if it was known.
    pub fn part(
        &mut self,
        pattern: &[u8],
        group: &[u8],
        link: ConnectionId,
        own: &mut OwnSubscriptions,
    ) -> Option<isize> {
        let end = self.trie.find(subject_tokens(pattern))?;
        let group = self.groups.find(group)?;
        let id = self.lookup(link, Key::Link(end, group))?;
        Some(self.end(id, own))
    }

    /// The groups that are named, and what links are told of them.
    pub fn group_name(&self, id: GroupId) -> &[u8] {
        self.groups.name(id)
    }

    pub fn find_group(&self, name: &[u8]) -> Option<GroupId> {
        self.groups.find(name)
    }

    /// The pairs of patterns and groups that links are told of.
    pub fn pairs(&mut self) -> &mut Pairs {
        &mut self.pairs
    }

    /// Ends a subscription of the connection with that list. Returns the memory that it took, in bytes.
    pub fn end(&mut self, id: SubscriptionId, own: &mut OwnSubscriptions) -> isize {
        let memory = self.memory(id);
        self.remove(id, own);
        memory
    }

    /// Removes a slice of a connection's subscriptions. Returns the memory that they took, in bytes, and whether there
    /// are none left.
    pub fn end_slice(&mut self, own: &mut OwnSubscriptions) -> (isize, bool) {
        let (mut memory, mut removed) = (0, 0);
        while let Some(&id) = own.0.last()
            && removed < REMOVED_PER_SLICE
        {
            memory += self.memory(id);
            removed += self.remove(id, own);
        }
        (memory, own.0.is_empty())
    }

    /// A connection is gone: its subscriptions are removed by [`Subjects::forget_slice`].
    pub fn leave(&mut self, connection: ConnectionId, own: &mut OwnSubscriptions) {
        if !own.0.is_empty() {
            self.departed.insert(connection);
            self.changes += 1;
            self.left.push((connection, std::mem::take(own)));
        }
    }

    /// Reports whether subscriptions of ended connections are still to be removed.
    pub fn has_work(&self) -> bool {
        !self.left.is_empty()
    }

    pub fn forget_slice(&mut self) {
        self.forget(REMOVED_PER_SLICE);
    }

    /// Removes subscriptions of ended connections, with at least so many tokens if there are as many.
    fn forget(&mut self, enough: usize) {
        let mut removed = 0;
        while removed < enough
            && let Some((connection, mut own)) = self.left.pop()
        {
            if let Some(&id) = own.0.last() {
                removed += self.remove(id, &mut own);
            }
            match own.0.is_empty() {
                true => drop(self.departed.remove(&connection)),
                false => self.left.push((connection, own)),
            }
        }
    }

    /// Memory of the tables beyond what the subscriptions are charged, in bytes.
    pub fn surplus(&self) -> usize {
        /// Of tables with few elements.
        const BASE: usize = 1536 * crate::limits::KIB;
        let tables = self.trie.memory()
            + self.subscriptions.memory()
            + self.by_key.memory()
            + self.groups.memory()
            + self.matched.memory();
        let counted = self.subscriptions() * SUBSCRIPTION;
        tables.saturating_sub(BASE + counted)
    }

    /// The memory of all subscriptions of a connection, in bytes.
    pub fn memory_of(&self, own: &OwnSubscriptions) -> isize {
        own.0.iter().map(|id| self.memory(*id)).sum()
    }

    /// The memory of a subscription, about, in bytes: its tokens, and the entries in the tables.
    fn memory(&self, id: SubscriptionId) -> isize {
        let subscription = &self.subscriptions[id.0];
        let (sid, group) = match &subscription.kind {
            Kind::Pattern => (0, None),
            Kind::Sid(own) => (own.sid.len(), own.group),
            Kind::Link(group) => (0, Some(*group)),
        };
        let tokens = self.trie.tokens_of(subscription.end);
        let (count, length) = tokens.fold((0, 0), |(count, length), token| {
            (count + 1, length + token.len())
        });
        // A pair has texts of its own.
        let of_pair = group.map_or(0, |group| {
            let name = self.groups.name(group).len();
            PAIR + 2 * name + length + count
        });
        (SUBSCRIPTION + sid + of_pair + length + count * TOKEN) as isize
    }

    /// Panics if the tree, the lists of the connections (`own`), and the lists that are to be removed don't agree; for
    /// [`Broker::check`](super::Broker::check).
    pub fn check<'a>(&'a self, own: impl Iterator<Item = (ConnectionId, &'a OwnSubscriptions)>) {
        self.trie.check();
        self.by_key.check(|id| self.hash_of(*id), |_| {});
        assert_eq!(self.trie.subscriptions(), self.subscriptions.len());
        assert_eq!(self.by_key.len(), self.subscriptions.len());
        let mut listed = 0;
        for (connection, own) in own {
            for (place, &id) in own.0.iter().enumerate() {
                let subscription = &self.subscriptions[id.0];
                assert_eq!(subscription.connection, connection);
                assert_eq!(subscription.in_own as usize, place);
                let of_end = self.trie.subscriptions_of(subscription.end);
                assert_eq!(of_end[subscription.in_end as usize], id);
                listed += 1;
            }
        }
        let left: usize = self.left.iter().map(|(_, own)| own.0.len()).sum();
        let all = self.subscriptions.len();
        assert_eq!(listed + left, all, "every subscription has a session");
        let kinds = || {
            self.subscriptions
                .iter()
                .map(|subscription| &subscription.kind)
        };
        let of_clacks = kinds().filter(|kind| matches!(kind, Kind::Pattern));
        assert_eq!(of_clacks.count(), self.of_clacks);
        let members = kinds().filter(|kind| kind.group().is_some()).count();
        assert_eq!(self.groups.uses(), members);
        self.pairs.check(members);
    }

    /// The end of a pattern, which somebody has to subscribe to if nobody does yet.
    fn end_of<'a>(&mut self, tokens: impl Iterator<Item = Cow<'a, [u8]>>) -> End {
        // Whoever comes and goes all the time leaves no more behind than there was at once.
        self.forget(2);
        self.trie.end_of(tokens)
    }

    fn add(
        &mut self,
        end: End,
        connection: ConnectionId,
        kind: Kind,
        own: &mut OwnSubscriptions,
    ) -> isize {
        let of_end = self.trie.subscriptions_mut(end);
        let subscription = Subscription {
            connection,
            end,
            in_end: index(of_end.len()),
            in_own: index(own.0.len()),
            kind,
        };
        let id = SubscriptionId(self.subscriptions.insert(subscription));
        of_end.push(id);
        own.0.push(id);
        self.changes += 1;
        let Subjects {
            hasher,
            subscriptions,
            by_key,
            ..
        } = self;
        let hash_of = |id: &SubscriptionId| subscriptions[id.0].hash(hasher);
        by_key.insert(hash_of(&id), id, hash_of);
        self.memory(id)
    }

    /// Removes a subscription; returns how many tokens were removed with it, and one.
    fn remove(&mut self, id: SubscriptionId, own: &mut OwnSubscriptions) -> usize {
        self.count_sent();
        let hash = self.hash_of(id);
        self.by_key.remove(hash, |other| *other == id);
        self.by_key.join(hash);
        let removed = self.subscriptions.remove(id.0);
        let removed = removed.expect("a subscription is removed once");
        self.changes += 1;

        own.0.swap_remove(removed.in_own as usize);
        if let Some(&moved) = own.0.get(removed.in_own as usize) {
            self.subscriptions[moved.0].in_own = removed.in_own;
        }
        let of_end = self.trie.subscriptions_mut(removed.end);
        of_end.swap_remove(removed.in_end as usize);
        if let Some(&moved) = of_end.get(removed.in_end as usize) {
            self.subscriptions[moved.0].in_end = removed.in_end;
        }
        self.leave_group(&removed);
        let pruned = self.trie.prune(removed.end);
        if self.is_empty() {
            self.matched.forget();
        }
        1 + pruned
    }

    /// A subscription is no member of its group any more.
    fn leave_group(&mut self, removed: &Subscription) {
        let Some(group) = removed.kind.group() else {
            self.of_clacks -= usize::from(matches!(removed.kind, Kind::Pattern));
            return;
        };
        let pattern = self.trie.pattern_of(removed.end);
        let pair = pair(&pattern, self.groups.name(group));
        let change = match removed.kind {
            Kind::Link(_) => Change::LinkLeaves(removed.connection),
            _ => Change::LocalLeaves,
        };
        self.pairs.change(pair, change);
        self.groups.leave(group);
    }

    fn lookup(&self, connection: ConnectionId, key: Key<'_>) -> Option<SubscriptionId> {
        let hash = key.hash(connection, &self.hasher);
        let is_it = |id: &SubscriptionId| {
            let subscription = &self.subscriptions[id.0];
            subscription.connection == connection && subscription.key() == key
        };
        self.by_key.find(hash, is_it).copied()
    }

    fn hash_of(&self, id: SubscriptionId) -> u64 {
        self.subscriptions[id.0].hash(&self.hasher)
    }
}

/// The tokens of a pattern of names.
fn pattern_tokens(pattern: &[u8]) -> impl Iterator<Item = Cow<'_, [u8]>> {
    parts(pattern).map(token_of)
}

/// The tokens of a subject or a pattern of subjects.
fn subject_tokens(subject: &[u8]) -> impl Iterator<Item = Cow<'_, [u8]>> {
    subject::tokens(subject).map(Cow::Borrowed)
}

fn pair(pattern: &[u8], group: &[u8]) -> Pair {
    Pair {
        pattern: pattern.to_vec(),
        group: group.to_vec(),
    }
}

fn index(index: usize) -> u32 {
    u32::try_from(index).expect("memory ends before 2^32 of these do")
}

/// The memory of a subscription in the tables, about, in bytes.
const SUBSCRIPTION: usize = 112;

/// The memory of a pair of a pattern and a group, about, in bytes, beside its texts.
const PAIR: usize = 256;

/// The memory of a token in the tree, about, in bytes, beside its text.
const TOKEN: usize = 192;

#[cfg(test)]
mod tests;
