//! Who listens to which names. Every operation costs the same however many names and listeners there
//! are; delivering costs per listener.

use super::output::ConnectionId;
use super::table::Table;
use ahash::RandomState;
use slab::Slab;

/// A name somebody listens to, for as long as somebody does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NameId(u32);

struct Name {
    text: Box<[u8]>,
    listeners: Vec<ConnectionId>,
}

/// That a connection listens to a name, with its places in the two lists that say so, so that it
/// leaves both without a search.
struct Subscription {
    name: NameId,
    slot: u32,
    /// In [`Name::listeners`].
    in_name: u32,
    /// In [`Subscriptions`].
    in_session: u32,
}

/// The names one connection listens to. It is kept with the session and changed only here.
#[derive(Default)]
pub struct Subscriptions(Vec<NameId>);

pub struct Listeners {
    hasher: RandomState,
    names: Slab<Name>,
    by_text: Table<NameId>,
    by_pair: Table<Subscription>,
}

impl Listeners {
    pub fn new(hasher: RandomState) -> Listeners {
        Listeners { hasher, names: Slab::new(), by_text: Table::default(), by_pair: Table::default() }
    }

    /// Names that somebody listens to.
    pub fn names(&self) -> usize {
        self.names.len()
    }

    /// Pairs of a connection and a name it listens to.
    pub fn subscriptions(&self) -> usize {
        self.by_pair.len()
    }

    /// The connections that listen to `name`, in no order.
    pub fn of(&self, name: &[u8]) -> &[ConnectionId] {
        if self.names.is_empty() {
            return &[];
        }
        self.find(name).map_or(&[], |id| &self.names[id.0 as usize].listeners)
    }

    /// Repeating it changes nothing.
    pub fn listen(&mut self, name: &[u8], connection: ConnectionId, own: &mut Subscriptions) {
        let id = self.find(name).unwrap_or_else(|| self.add_name(name));
        if self.subscription(id, connection.slot).is_some() {
            return;
        }
        let listeners = &mut self.names[id.0 as usize].listeners;
        let subscription = Subscription {
            name: id,
            slot: connection.slot,
            in_name: index(listeners.len()),
            in_session: index(own.0.len()),
        };
        listeners.push(connection);
        own.0.push(id);
        let hasher = &self.hasher;
        self.by_pair
            .insert(pair_hash(hasher, id, connection.slot), subscription, |s| pair_hash(hasher, s.name, s.slot));
    }

    /// Does nothing for who doesn't listen.
    pub fn unlisten(&mut self, name: &[u8], connection: ConnectionId, own: &mut Subscriptions) {
        if let Some(id) = self.find(name) {
            self.remove(id, connection.slot, own);
        }
    }

    pub fn unlisten_all(&mut self, connection: ConnectionId, own: &mut Subscriptions) {
        while let Some(&id) = own.0.last() {
            self.remove(id, connection.slot, own);
        }
        own.0 = Vec::new();
    }

    fn remove(&mut self, id: NameId, slot: u32, own: &mut Subscriptions) {
        let hasher = &self.hasher;
        let removed = self.by_pair.remove(
            pair_hash(hasher, id, slot),
            |s| s.name == id && s.slot == slot,
            |s| pair_hash(hasher, s.name, s.slot),
        );
        let Some(removed) = removed else { return };

        own.0.swap_remove(removed.in_session as usize);
        if let Some(&moved) = own.0.get(removed.in_session as usize) {
            self.subscription_mut(moved, slot).in_session = removed.in_session;
        }
        let listeners = &mut self.names[id.0 as usize].listeners;
        listeners.swap_remove(removed.in_name as usize);
        if listeners.len() * 4 < listeners.capacity() {
            listeners.shrink_to(listeners.len() * 2);
        }
        if let Some(&moved) = listeners.get(removed.in_name as usize) {
            self.subscription_mut(id, moved.slot).in_name = removed.in_name;
        } else if listeners.is_empty() {
            self.remove_name(id);
        }
    }

    fn find(&self, name: &[u8]) -> Option<NameId> {
        let is_it = |id: &NameId| *self.names[id.0 as usize].text == *name;
        self.by_text.find(self.hasher.hash_one(name), is_it).copied()
    }

    fn add_name(&mut self, name: &[u8]) -> NameId {
        let id = NameId(index(self.names.insert(Name { text: name.into(), listeners: Vec::new() })));
        let Listeners { hasher, names, by_text, .. } = self;
        by_text.insert(hasher.hash_one(name), id, |id| hasher.hash_one(&*names[id.0 as usize].text));
        id
    }

    fn remove_name(&mut self, id: NameId) {
        let Listeners { hasher, names, by_text, .. } = self;
        let hash_of = |id: &NameId| hasher.hash_one(&*names[id.0 as usize].text);
        by_text.remove(hash_of(&id), |found| *found == id, hash_of);
        names.remove(id.0 as usize);
    }

    fn subscription(&self, name: NameId, slot: u32) -> Option<&Subscription> {
        self.by_pair.find(pair_hash(&self.hasher, name, slot), |s| s.name == name && s.slot == slot)
    }

    fn subscription_mut(&mut self, name: NameId, slot: u32) -> &mut Subscription {
        let hash = pair_hash(&self.hasher, name, slot);
        let found = self.by_pair.find_mut(hash, |s| s.name == name && s.slot == slot);
        found.expect("every listener of a name has its subscription")
    }
}

fn pair_hash(hasher: &RandomState, name: NameId, slot: u32) -> u64 {
    hasher.hash_one((name, slot))
}

fn index(index: usize) -> u32 {
    u32::try_from(index).expect("memory ends before 2^32 of these do")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn connection(slot: u32) -> ConnectionId {
        ConnectionId { slot, generation: 1 }
    }

    /// Against the obvious model, with a small generator so that a failure replays.
    #[test]
    fn agrees_with_a_set_of_pairs_whatever_comes_and_goes() {
        let mut listeners = Listeners::new(RandomState::with_seeds(1, 2, 3, 4));
        let mut own: BTreeMap<u32, Subscriptions> = BTreeMap::new();
        let mut model: BTreeSet<(u32, u32)> = BTreeSet::new();
        let mut random = 1_u64;
        for _ in 0..20_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (slot, name) = ((random >> 33) as u32 % 20, (random >> 43) as u32 % 30);
            let (own, text) = (own.entry(slot).or_default(), name.to_string());
            match (random >> 60) % 16 {
                0 => {
                    listeners.unlisten_all(connection(slot), own);
                    model.retain(|pair| pair.1 != slot);
                }
                1..6 => {
                    listeners.unlisten(text.as_bytes(), connection(slot), own);
                    model.remove(&(name, slot));
                }
                _ => {
                    listeners.listen(text.as_bytes(), connection(slot), own);
                    model.insert((name, slot));
                }
            }
            for name in 0..30 {
                let found: BTreeSet<u32> = listeners.of(name.to_string().as_bytes()).iter().map(|c| c.slot).collect();
                let expected: BTreeSet<u32> = model.range((name, 0)..(name + 1, 0)).map(|pair| pair.1).collect();
                assert_eq!(found, expected);
            }
            assert_eq!(listeners.subscriptions(), model.len());
        }
        for (slot, own) in &mut own {
            listeners.unlisten_all(connection(*slot), own);
        }
        assert_eq!((listeners.names(), listeners.subscriptions()), (0, 0));
    }
}
