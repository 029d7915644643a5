//! Who listens to which patterns. The patterns are a tree of tokens (`trie`): a signal costs its length, the beginnings of
//! patterns that match so far, and the matches, however many other patterns there are.

mod matched;
mod trie;

use super::events::{AudienceId, ConnectionId};
use super::listeners::Listeners;
use super::table::Table;
use crate::protocol::nats::names::token_of;
use crate::protocol::pattern::parts;
use ahash::RandomState;
use matched::Matched;
use std::borrow::Cow;
use trie::{End, Trie};

/// A connection's listening to a pattern: its places in the two lists that say so.
#[derive(Debug, Clone, Copy, Default)]
struct Subscription {
    end: End,
    /// In the list of the end.
    in_end: u32,
    /// In [`PatternSubscriptions`].
    in_session: u32,
}

/// The patterns that a connection listens to. It is kept with the session and changed only here.
#[derive(Default)]
pub struct PatternSubscriptions(Vec<End>);

pub struct Subjects {
    hasher: RandomState,
    trie: Trie,
    by_pair: Table<Subscription, 13>,
    changes: u64,
    matched: Matched,
    /// Subscriptions of ended connections, to be removed in slices. A delivery to one of them reaches nobody.
    left: Vec<(ConnectionId, PatternSubscriptions)>,
}

/// Tokens of patterns that are removed per slice, about.
const REMOVED_PER_SLICE: usize = 1000;

impl Subjects {
    pub fn new(hasher: RandomState) -> Subjects {
        Subjects {
            trie: Trie::new(hasher.clone()),
            hasher,
            by_pair: Table::default(),
            changes: 0,
            matched: Matched::default(),
            left: Vec::new(),
        }
    }

    /// Pairs of a connection and a pattern it listens to.
    pub fn subscriptions(&self) -> usize {
        self.by_pair.len()
    }

    /// Reports whether nobody listens to any pattern.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.by_pair.len() == 0
    }

    /// The connections that listen to a pattern that matches `name`, each once, without those that listen to the name
    /// itself; `None` if there are none. The number is that of the nodes that were visited.
    pub fn of(
        &mut self,
        name: &[u8],
        listeners: &Listeners,
    ) -> (usize, Option<(AudienceId, &[ConnectionId])>) {
        if self.is_empty() {
            return (0, None);
        }
        let Subjects {
            trie,
            changes,
            matched,
            ..
        } = self;
        let visited = matched.update(name, (*changes, listeners.changes()), |walk, found| {
            let mut ends = 0;
            let visited = trie.visit(parts(name).map(token_of), walk, |listeners| {
                ends += usize::from(!listeners.is_empty());
                found.extend_from_slice(listeners);
            });
            if ends > 1 {
                found.sort_unstable();
                found.dedup();
            }
            if listeners.of(name).is_some() {
                found.retain(|connection| !listeners.has(name, *connection));
            }
            visited
        });
        (visited, matched.audience())
    }

    /// Adds a subscription of the connection to a valid pattern. Returns the memory that it takes, in bytes; `None` if
    /// there was one already.
    pub fn listen(
        &mut self,
        pattern: &[u8],
        connection: ConnectionId,
        own: &mut PatternSubscriptions,
    ) -> Option<isize> {
        // Whoever comes and goes all the time leaves no more behind than there was at once.
        self.forget(2);
        let end = self.trie.end_of(tokens(pattern));
        let hasher = &self.hasher;
        let hash = pair_hash(hasher, end, connection);
        let is_it = is_pair(&self.trie, end, connection);
        if self.by_pair.find(hash, is_it).is_some() {
            return None;
        }
        let listeners = self.trie.listeners_mut(end);
        let subscription = Subscription {
            end,
            in_end: index(listeners.len()),
            in_session: index(own.0.len()),
        };
        listeners.push(connection);
        own.0.push(end);
        self.changes += 1;
        let trie = &self.trie;
        self.by_pair.insert(hash, subscription, |s| {
            pair_hash(hasher, s.end, s.connection(trie))
        });
        Some(self.memory(end))
    }

    /// Removes the subscription of the connection to a pattern. Returns the memory that it took, in bytes; `None` if
    /// there was none.
    pub fn unlisten(
        &mut self,
        pattern: &[u8],
        connection: ConnectionId,
        own: &mut PatternSubscriptions,
    ) -> Option<isize> {
        let end = self.trie.find(tokens(pattern))?;
        let memory = self.memory(end);
        self.remove(end, connection, own).map(|_| memory)
    }

    /// Removes a slice of the connection's subscriptions. Returns the memory that they took, in bytes, and whether there
    /// are none left.
    pub fn unlisten_slice(
        &mut self,
        connection: ConnectionId,
        own: &mut PatternSubscriptions,
    ) -> (isize, bool) {
        let (mut memory, mut removed) = (0, 0);
        while let Some(&end) = own.0.last() {
            if removed >= REMOVED_PER_SLICE {
                break;
            }
            memory += self.memory(end);
            removed += self.remove(end, connection, own).unwrap_or(1);
        }
        (memory, own.0.is_empty())
    }

    /// The connection is gone: its subscriptions are removed by [`Subjects::forget_slice`].
    pub fn leave(&mut self, connection: ConnectionId, own: &mut PatternSubscriptions) {
        if !own.0.is_empty() {
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
            if let Some(&end) = own.0.last() {
                removed += self.remove(end, connection, &mut own).unwrap_or(1);
            }
            if !own.0.is_empty() {
                self.left.push((connection, own));
            }
        }
    }

    /// Memory of the tables beyond what the subscriptions are charged, in bytes.
    pub fn surplus(&self) -> usize {
        /// Of tables with few elements.
        const BASE: usize = 576 * crate::limits::KIB;
        let tables = self.trie.memory() + self.by_pair.memory() + self.matched.memory();
        let counted = self.subscriptions() * SUBSCRIPTION;
        tables.saturating_sub(BASE + counted)
    }

    /// The memory of all subscriptions of a connection, in bytes.
    pub fn memory_of(&self, own: &PatternSubscriptions) -> isize {
        own.0.iter().map(|end| self.memory(*end)).sum()
    }

    /// The memory of a subscription, about, in bytes: its tokens, and the entries in the tables.
    fn memory(&self, end: End) -> isize {
        let tokens = self.trie.tokens_of(end);
        let memory = tokens.fold(SUBSCRIPTION, |sum, token| sum + token.len() + TOKEN);
        memory as isize
    }

    /// Panics if the tree, the lists of the connections (`own`), and the lists that are to be removed don't agree; for
    /// [`Broker::check`](super::Broker::check).
    pub fn check<'a>(
        &'a self,
        own: impl Iterator<Item = (ConnectionId, &'a PatternSubscriptions)>,
    ) {
        self.trie.check();
        let hash_of = |s: &Subscription| pair_hash(&self.hasher, s.end, s.connection(&self.trie));
        self.by_pair.check(hash_of, |_| {});
        assert_eq!(self.trie.listeners(), self.by_pair.len());
        let left = self.left.iter().map(|(connection, own)| (*connection, own));
        let mut of_connections = 0;
        for (connection, own) in own.chain(left) {
            for (place, &end) in own.0.iter().enumerate() {
                let hash = pair_hash(&self.hasher, end, connection);
                let found = self
                    .by_pair
                    .find(hash, is_pair(&self.trie, end, connection));
                assert_eq!(found.map(|s| s.in_session as usize), Some(place));
                of_connections += 1;
            }
        }
        assert_eq!(
            of_connections,
            self.by_pair.len(),
            "every listener has a session"
        );
    }

    /// Removes a subscription; returns how many tokens were removed with it, and one; `None` if there was none.
    fn remove(
        &mut self,
        end: End,
        connection: ConnectionId,
        own: &mut PatternSubscriptions,
    ) -> Option<usize> {
        let hash = pair_hash(&self.hasher, end, connection);
        let is_it = is_pair(&self.trie, end, connection);
        let removed = self.by_pair.remove(hash, is_it)?;
        self.by_pair.join(hash);
        self.changes += 1;

        own.0.swap_remove(removed.in_session as usize);
        if own.0.len() * 4 < own.0.capacity() {
            own.0.shrink_to_fit();
        }
        if let Some(&moved) = own.0.get(removed.in_session as usize) {
            self.subscription_mut(moved, connection).in_session = removed.in_session;
        }
        // The last listener takes the place; until it has, it is found at its old one.
        let listeners = self.trie.listeners_of(end);
        if removed.in_end as usize + 1 < listeners.len() {
            let moved = listeners[listeners.len() - 1];
            self.subscription_mut(end, moved).in_end = removed.in_end;
        }
        let listeners = self.trie.listeners_mut(end);
        listeners.swap_remove(removed.in_end as usize);
        if listeners.len() * 4 < listeners.capacity() {
            listeners.shrink_to_fit();
        }
        let pruned = self.trie.prune(end);
        if self.is_empty() {
            self.matched = Matched::default();
        }
        Some(1 + pruned)
    }

    fn subscription_mut(&mut self, end: End, connection: ConnectionId) -> &mut Subscription {
        let hash = pair_hash(&self.hasher, end, connection);
        let is_it = is_pair(&self.trie, end, connection);
        let found = self.by_pair.find_mut(hash, is_it);
        found.expect("every listener of a pattern has its subscription")
    }
}

impl Subscription {
    fn connection(&self, trie: &Trie) -> ConnectionId {
        trie.listeners_of(self.end)[self.in_end as usize]
    }
}

/// The tokens of a pattern of names.
fn tokens(pattern: &[u8]) -> impl Iterator<Item = Cow<'_, [u8]>> {
    parts(pattern).map(token_of)
}

/// Returns a predicate that is true for the subscription of `connection` to the pattern that ends there.
fn is_pair(trie: &Trie, end: End, connection: ConnectionId) -> impl Fn(&Subscription) -> bool {
    move |s| s.end == end && s.connection(trie) == connection
}

fn pair_hash(hasher: &RandomState, end: End, connection: ConnectionId) -> u64 {
    hasher.hash_one((end, connection))
}

fn index(index: usize) -> u32 {
    u32::try_from(index).expect("memory ends before 2^32 of these do")
}

/// The memory of a subscription in the tables, about, in bytes.
const SUBSCRIPTION: usize = 96;

/// The memory of a token in the tree, about, in bytes, beside its text.
const TOKEN: usize = 192;

#[cfg(test)]
mod tests;
