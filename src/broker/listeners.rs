//! Who listens to which names. Every operation costs the same however many names and listeners there
//! are; delivering costs per listener.

mod compaction;

use super::events::{AudienceId, ConnectionId};
use super::few::Few;
use super::pages::Pages;
use super::table::{PrefetchBatch, Table, hash};
use crate::limits::{FREED_PER_TURN, KIB, LONG_LINE};
use crate::protocol::shared::SharedBytes;
use crate::sys::prefetch;
use ahash::RandomState;
use compaction::Compaction;
use smallvec::SmallVec;
use std::cell::Cell;
use std::ops::Deref;

/// A name somebody listens to, for as long as somebody does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct NameId(u32);

/// Usual names, and the listeners of most, are found where this is, and need no memory of their own.
struct Name {
    text: Text,
    /// Of the text, which may be long: hundreds of names are asked for theirs when a segment of the table splits.
    hash: u64,
    listeners: SmallVec<[ConnectionId; 2]>,
}

/// The text of a name.
#[derive(Clone)]
enum Text {
    Copied(SmallVec<[u8; 24]>),
    /// It is so long that copying it would take milliseconds.
    Shared(SharedBytes),
}

impl Text {
    /// Of a name that was read in that line, if the line can be kept without copying it.
    fn new(name: &[u8], long_line: Option<&SharedBytes>) -> Text {
        match long_line.and_then(|line| line.find_tail(&[name])) {
            Some((_, text)) => Text::Shared(text),
            None => Text::Copied(SmallVec::from_slice(name)),
        }
    }
}

impl Deref for Text {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Text::Copied(text) => text,
            Text::Shared(text) => text,
        }
    }
}

/// That a connection listens to a name: its places in the two lists that say so, so that it leaves both
/// without a search. Which connection it is the first of them says.
#[derive(Clone, Copy, Default)]
struct Subscription {
    name: NameId,
    /// In [`Name::listeners`].
    in_name: u32,
    /// In [`Subscriptions`].
    in_session: u32,
}

/// The names one connection listens to, for most only a few. It is kept with the session and changed only
/// here.
#[derive(Default)]
pub struct Subscriptions(Few<NameId>);

impl Subscriptions {
    /// The number of names.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

pub struct Listeners {
    hasher: RandomState,
    names: Pages<Name>,
    by_text: Table<NameId>,
    /// With so many to a line, lines are full.
    by_pair: Table<Subscription, 13>,
    changes: u64,
    /// The name that was looked up last, if it is still there.
    last: Cell<NameId>,
    /// Subscriptions of connections that are gone, forgotten in slices. Delivering to one of them
    /// reaches nobody.
    left: Vec<(ConnectionId, Subscriptions)>,
    compaction: Compaction,
}

/// Subscriptions ended or forgotten per slice.
const ENDED_PER_SLICE: usize = 1000;

impl Listeners {
    pub fn new(hasher: RandomState) -> Listeners {
        Listeners {
            hasher,
            names: Pages::default(),
            by_text: Table::default(),
            by_pair: Table::default(),
            changes: 0,
            last: Cell::default(),
            left: Vec::new(),
            compaction: Compaction::default(),
        }
    }

    /// Reports whether the table is so large that [`Listeners::prefetch`] saves more time than it costs.
    pub fn prefetch_pays(&self) -> bool {
        self.by_text.is_beyond_caches()
    }

    /// A name's hash.
    pub fn hash(&self, name: &[u8]) -> u64 {
        hash(&self.hasher, name)
    }

    /// Signals of names with these hashes come next: fetches the memory that leads to their listeners, of all
    /// at once.
    pub fn prefetch(&self, batch: &PrefetchBatch) {
        let ids = self.by_text.prefetch(batch);
        let names = || {
            let found = ids.iter().flatten();
            found.map(|id| &self.names[id.0])
        };
        for name in names() {
            prefetch(name);
        }
        // What is not in place.
        for name in names() {
            // Names may be empty.
            name.text.first().into_iter().for_each(prefetch);
            prefetch(&name.listeners[0]);
        }
    }

    /// Names that somebody listens to.
    pub fn names(&self) -> usize {
        self.names.len()
    }

    /// Pairs of a connection and a name it listens to.
    pub fn subscriptions(&self) -> usize {
        self.by_pair.len()
    }

    /// The connections that listen to `name`, in no order; `None` if there are none.
    #[inline(always)]
    pub fn of(&self, name: &[u8]) -> Option<(AudienceId, &[ConnectionId])> {
        // Signals often come many at once, of one name.
        self.of_again(name).or_else(|| self.look_up(name))
    }

    /// As [`Listeners::of`] does, but finds only the name that was found last.
    #[inline(always)]
    pub fn of_again(&self, name: &[u8]) -> Option<(AudienceId, &[ConnectionId])> {
        let last = self.last.get();
        let found = self.names.get(last.0);
        let found = found.filter(|found| *found.text == *name)?;
        Some((self.audience_id(last), &found.listeners))
    }

    #[inline(never)]
    fn look_up(&self, name: &[u8]) -> Option<(AudienceId, &[ConnectionId])> {
        if self.names.is_empty() {
            return None;
        }
        let found = self.find(name)?;
        self.last.set(found);
        Some((self.audience_id(found), &self.names[found.0].listeners))
    }

    fn audience_id(&self, name: NameId) -> AudienceId {
        AudienceId {
            name: name.0,
            changes: self.changes,
        }
    }

    /// Reports whether a connection listens to `name`.
    pub fn has(&self, name: &[u8], connection: ConnectionId) -> bool {
        self.find(name).is_some_and(|id| {
            let hash = pair_hash(&self.hasher, id, connection);
            let is_it = is_pair(&self.names, id, connection);
            self.by_pair.find(hash, is_it).is_some()
        })
    }

    /// How often anybody has begun or ended to listen to a name.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Adds a subscription of the connection to `name`. Returns false, and changes no subscription, if there was one
    /// already. `long_line` is the line that contains the name, if it can be kept without copying it.
    pub fn listen(
        &mut self,
        name: &[u8],
        long_line: Option<&SharedBytes>,
        connection: ConnectionId,
        own: &mut Subscriptions,
    ) -> bool {
        // Whoever comes and goes all the time leaves no more behind than there was at once.
        self.forget(2);
        let id = self
            .find(name)
            .unwrap_or_else(|| self.add_name(name, long_line));
        let hasher = &self.hasher;
        let hash = pair_hash(hasher, id, connection);
        let is_it = is_pair(&self.names, id, connection);
        if self.by_pair.find(hash, is_it).is_some() {
            return false;
        }
        let listeners = &mut self.names[id.0].listeners;
        let subscription = Subscription {
            name: id,
            in_name: index(listeners.len()),
            in_session: index(own.0.len()),
        };
        listeners.push(connection);
        self.changes += 1;
        own.0.push(id);
        let names = &self.names;
        self.by_pair.insert(hash, subscription, |s| {
            pair_hash(hasher, s.name, s.connection(names))
        });
        true
    }

    /// Removes the subscription of the connection to `name`. Returns false if there was none.
    pub fn unlisten(
        &mut self,
        name: &[u8],
        connection: ConnectionId,
        own: &mut Subscriptions,
    ) -> bool {
        self.find(name)
            .is_some_and(|id| self.remove(id, connection, own))
    }

    /// Ends a slice of them, and tells which names they were of. Whether there are none left.
    pub fn unlisten_slice(
        &mut self,
        connection: ConnectionId,
        own: &mut Subscriptions,
        mut ended: impl FnMut(&[u8]),
    ) -> bool {
        let mut freed = 0;
        for _ in 0..ENDED_PER_SLICE {
            let Some(&id) = own.0.last() else { break };
            let name = &self.names[id.0].text;
            freed += name.len();
            ended(name);
            self.remove(id, connection, own);
            if freed >= FREED_PER_TURN {
                break;
            }
        }
        own.0.is_empty()
    }

    /// The connection is gone: what it listened to is forgotten by [`Listeners::forget_slice`].
    pub fn leave(&mut self, connection: ConnectionId, own: &mut Subscriptions) {
        if !own.0.is_empty() {
            self.left.push((connection, std::mem::take(own)));
        }
    }

    /// Reports whether subscriptions of ended connections are still to be removed, or memory is to be given back.
    pub fn has_work(&self) -> bool {
        !self.left.is_empty() || self.compaction.is_under_way()
    }

    /// Memory of the tables beyond what [`subscription_memory`] says of the subscriptions, in bytes: places of names
    /// and subscriptions that are gone.
    pub fn surplus(&self) -> usize {
        /// Of tables that hold little: two pages of names, most of it.
        const BASE: usize = 576 * KIB;
        let tables = self.names.memory() + self.by_text.memory() + self.by_pair.memory();
        let counted = self.subscriptions() * SUBSCRIPTION;
        tables.saturating_sub(BASE + counted)
    }

    pub fn forget_slice(&mut self) {
        self.forget(ENDED_PER_SLICE);
    }

    fn forget(&mut self, subscriptions: usize) {
        let mut freed = 0;
        for _ in 0..subscriptions {
            let Some((connection, mut own)) = self.left.pop() else {
                return;
            };
            if let Some(&id) = own.0.last() {
                freed += self.names[id.0].text.len();
                self.remove(id, connection, &mut own);
            }
            if !own.0.is_empty() {
                self.left.push((connection, own));
            }
            // Of long names few are as much.
            if freed >= FREED_PER_TURN {
                return;
            }
        }
    }

    /// The names that a connection listens to.
    pub fn names_of<'a>(&'a self, own: &'a Subscriptions) -> impl Iterator<Item = &'a [u8]> {
        let names = own.0.iter();
        names.map(|id| &*self.names[id.0].text)
    }

    /// Panics if the lists by names, the lists of the connections (`own`), and what was left to be forgotten
    /// don't agree; for [`Broker::check`](super::Broker::check).
    pub fn check<'a>(&'a self, own: impl Iterator<Item = (ConnectionId, &'a Subscriptions)>) {
        let hash_of = |id: &NameId| self.hash(&self.names[id.0].text);
        self.by_text.check(hash_of, |_| {});
        assert_eq!(self.by_text.len(), self.names.len(), "names are found");
        let hash_of = |s: &Subscription| pair_hash(&self.hasher, s.name, s.connection(&self.names));
        self.by_pair.check(hash_of, |_| {});
        let of_names = self.names.iter().map(|name| name.listeners.len());
        assert!(
            of_names.clone().all(|listeners| listeners > 0),
            "no name is left over"
        );
        assert_eq!(of_names.sum::<usize>(), self.by_pair.len());

        let left = self.left.iter().map(|(connection, own)| (*connection, own));
        let mut of_connections = 0;
        for (connection, own) in own.chain(left) {
            for (place, &name) in own.0.iter().enumerate() {
                let hash = pair_hash(&self.hasher, name, connection);
                let is_it = is_pair(&self.names, name, connection);
                let found = self.by_pair.find(hash, is_it);
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

    fn remove(&mut self, id: NameId, connection: ConnectionId, own: &mut Subscriptions) -> bool {
        let hash = pair_hash(&self.hasher, id, connection);
        let is_it = is_pair(&self.names, id, connection);
        let Some(removed) = self.by_pair.remove(hash, is_it) else {
            return false;
        };
        self.by_pair.join(hash);
        self.changes += 1;

        own.0.swap_remove(removed.in_session as usize);
        if let Some(&moved) = own.0.get(removed.in_session as usize) {
            self.subscription_mut(moved, connection).in_session = removed.in_session;
        }
        // The last listener takes the place; until it has, it is found at its old one.
        let listeners = &self.names[id.0].listeners;
        if removed.in_name as usize + 1 < listeners.len() {
            let moved = listeners[listeners.len() - 1];
            self.subscription_mut(id, moved).in_name = removed.in_name;
        }
        let listeners = &mut self.names[id.0].listeners;
        listeners.swap_remove(removed.in_name as usize);
        if listeners.len() * 4 < listeners.capacity() {
            listeners.shrink_to_fit();
        }
        if listeners.is_empty() {
            self.remove_name(id);
        }
        true
    }

    fn find(&self, name: &[u8]) -> Option<NameId> {
        let is_it = |id: &NameId| *self.names[id.0].text == *name;
        self.by_text.find(self.hash(name), is_it).copied()
    }

    fn add_name(&mut self, name: &[u8], long_line: Option<&SharedBytes>) -> NameId {
        let hash = self.hash(name);
        let id = NameId(self.names.insert(Name {
            text: Text::new(name, long_line),
            hash,
            listeners: SmallVec::new(),
        }));
        let Listeners { names, by_text, .. } = self;
        by_text.insert(hash, id, |id| names[id.0].hash);
        id
    }

    fn remove_name(&mut self, id: NameId) {
        if let Some(name) = self.names.remove(id.0) {
            self.by_text.remove(name.hash, |found| *found == id);
            self.by_text.join(name.hash);
            self.compaction.start_if(&self.names);
        }
    }

    fn subscription_mut(&mut self, name: NameId, connection: ConnectionId) -> &mut Subscription {
        let hash = pair_hash(&self.hasher, name, connection);
        let is_it = is_pair(&self.names, name, connection);
        let found = self.by_pair.find_mut(hash, is_it);
        found.expect("every listener of a name has its subscription")
    }
}

impl Subscription {
    fn connection(&self, names: &Pages<Name>) -> ConnectionId {
        names[self.name.0].listeners[self.in_name as usize]
    }
}

/// Returns a predicate that is true for the subscription of `connection` to `name`.
fn is_pair(
    names: &Pages<Name>,
    name: NameId,
    connection: ConnectionId,
) -> impl Fn(&Subscription) -> bool {
    move |s| s.name == name && s.connection(names) == connection
}

fn pair_hash(hasher: &RandomState, name: NameId, connection: ConnectionId) -> u64 {
    hasher.hash_one((name, connection))
}

fn index(index: usize) -> u32 {
    u32::try_from(index).expect("memory ends before 2^32 of these do")
}

/// The memory of a subscription in the tables, about, in bytes.
const SUBSCRIPTION: usize = 128;

/// Returns the memory of a subscription to `name`, about, in bytes: the name's text, and the entries in the tables. A
/// long text may be only three quarters of the buffer that is kept for it ([`SharedBytes::find_tail`]).
pub(super) fn subscription_memory(name: &[u8]) -> isize {
    let text = match name.len() >= LONG_LINE {
        true => name.len().div_ceil(3) * 4,
        false => name.len(),
    };
    (text + SUBSCRIPTION) as isize
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn connection(slot: u32) -> ConnectionId {
        ConnectionId {
            slot,
            generation: 1,
        }
    }

    /// Against the obvious model, with a small generator so that a failure replays.
    #[test]
    fn agrees_with_a_set_of_pairs_whatever_comes_and_goes() {
        let mut listeners = Listeners::new(RandomState::with_seeds(1, 2, 3, 4));
        let mut own: BTreeMap<u32, Subscriptions> = BTreeMap::new();
        let mut model: BTreeSet<(u32, u32)> = BTreeSet::new();
        let mut random = 1_u64;
        for _ in 0..20_000 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let (slot, name) = ((random >> 33) as u32 % 20, (random >> 43) as u32 % 30);
            let (own, text) = (own.entry(slot).or_default(), name.to_string());
            match (random >> 60) % 16 {
                0 => {
                    let mut ended = 0;
                    assert!(listeners.unlisten_slice(connection(slot), own, |_| ended += 1));
                    let before = model.len();
                    model.retain(|pair| pair.1 != slot);
                    assert_eq!(ended, before - model.len());
                }
                1..6 => {
                    let listened = listeners.unlisten(text.as_bytes(), connection(slot), own);
                    assert_eq!(listened, model.remove(&(name, slot)));
                }
                _ => {
                    let is_new = listeners.listen(text.as_bytes(), None, connection(slot), own);
                    assert_eq!(is_new, model.insert((name, slot)));
                }
            }
            for name in 0..30 {
                let found = listeners.of(name.to_string().as_bytes());
                let all = found.map_or(&[][..], |(_, all)| all);
                let found: BTreeSet<u32> = all.iter().map(|c| c.slot).collect();
                let expected: BTreeSet<u32> = model
                    .range((name, 0)..(name + 1, 0))
                    .map(|pair| pair.1)
                    .collect();
                assert_eq!(found, expected);
            }
            assert_eq!(listeners.subscriptions(), model.len());
        }
        // Many come and go; little more is left to be forgotten than listens at once.
        for generation in 10..1_000 {
            let guest = ConnectionId {
                slot: 100,
                generation,
            };
            let mut own = Subscriptions::default();
            for name in 0..30 {
                listeners.listen(format!("guest {name}").as_bytes(), None, guest, &mut own);
            }
            listeners.leave(guest, &mut own);
            assert!(listeners.subscriptions() < model.len() + 100);
        }
        for (slot, own) in &mut own {
            listeners.leave(connection(*slot), own);
        }
        // The same slot's next connection is another one, though the old one is not forgotten yet.
        let (next, mut own) = (
            ConnectionId {
                slot: 0,
                generation: 2,
            },
            Subscriptions::default(),
        );
        assert!(listeners.listen(b"0", None, next, &mut own));
        while listeners.has_work() {
            listeners.forget_slice();
        }
        let (before, all) = listeners.of(b"0").expect("one listens");
        assert_eq!(all, [next]);
        // Whoever remembers who got a signal has to see that they are no longer the same.
        assert_eq!(listeners.of(b"0").map(|(id, _)| id), Some(before));
        assert!(listeners.unlisten(b"0", next, &mut own));
        assert!(listeners.of(b"0").is_none());
        assert!(listeners.listen(b"0", None, next, &mut own));
        assert_ne!(listeners.of(b"0").map(|(id, _)| id), Some(before));
        listeners.leave(next, &mut own);
        listeners.forget_slice();
        assert_eq!((listeners.names(), listeners.subscriptions()), (0, 0));
    }

    #[test]
    fn a_long_name_is_kept_without_a_copy() {
        let mut listeners = Listeners::new(RandomState::with_seeds(1, 2, 3, 4));
        let (id, mut own) = (ConnectionId::default(), Subscriptions::default());
        let line = [b"LISTEN ", &*vec![b'x'; LONG_LINE]].concat();
        let line = SharedBytes::new(line, None);
        let name = &line[b"LISTEN ".len()..];
        assert!(listeners.listen(name, Some(&line), id, &mut own));
        assert!(!listeners.listen(name, None, id, &mut own));
        let kept = listeners.names_of(&own).next().expect("it listens");
        assert!(std::ptr::eq(kept, name));
        assert!(listeners.unlisten(name, id, &mut own));
        assert!(line.into_buffer().is_some(), "nobody keeps it any more");
    }

    #[test]
    fn long_names_of_who_is_gone_are_freed_a_few_megabytes_at_a_time() {
        const NAME: usize = FREED_PER_TURN / 8;
        let mut listeners = Listeners::new(RandomState::with_seeds(1, 2, 3, 4));
        let (id, mut own) = (ConnectionId::default(), Subscriptions::default());
        for number in 0..40_u8 {
            assert!(listeners.listen(&vec![number; NAME], None, id, &mut own));
        }
        listeners.leave(id, &mut own);
        for left in [32, 24, 16, 8, 0] {
            listeners.forget_slice();
            assert_eq!(listeners.names(), left);
        }
    }
}
