//! Connections that have not logged in, by where they come from.

use crate::broker::events::ConnectionId;
use crate::broker::origin::Origin;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// A set of connections. Each call costs a few look-ups in trees, however many connections and origins there are.
#[derive(Default)]
pub struct Strangers {
    /// Of each origin with any, by the serial numbers of the connections: the oldest first.
    by_origin: BTreeMap<Origin, BTreeMap<u64, ConnectionId>>,
    /// The origins by how many they have; of those with as many, the one with the oldest connection is the last.
    by_size: BTreeSet<(usize, Reverse<u64>, Origin)>,
    len: usize,
}

impl Strangers {
    pub fn len(&self) -> usize {
        self.len
    }

    /// How many connections of that origin there are.
    pub fn of(&self, origin: Origin) -> usize {
        self.by_origin.get(&origin).map_or(0, BTreeMap::len)
    }

    pub fn insert(&mut self, origin: Origin, serial: u64, id: ConnectionId) {
        self.change(origin, |connections| {
            connections.insert(serial, id).is_none()
        });
    }

    pub fn remove(&mut self, origin: Origin, serial: u64) {
        self.change(origin, |connections| connections.remove(&serial).is_some());
    }

    pub fn oldest_of(&self, origin: Origin) -> Option<ConnectionId> {
        let (_, id) = self.by_origin.get(&origin)?.first_key_value()?;
        Some(*id)
    }

    /// How many connections the origin has that has most.
    pub fn largest(&self) -> usize {
        self.by_size.last().map_or(0, |(count, _, _)| *count)
    }

    /// The oldest connection of the origin that has most.
    pub fn oldest_of_largest(&self) -> Option<ConnectionId> {
        let (_, _, origin) = self.by_size.last()?;
        self.oldest_of(*origin)
    }

    pub fn contains(&self, origin: Origin, serial: u64) -> bool {
        let of_origin = self.by_origin.get(&origin);
        of_origin.is_some_and(|connections| connections.contains_key(&serial))
    }

    /// As [`Strangers::len`]. Panics if the two orders differ.
    pub fn checked_len(&self) -> usize {
        let sizes = self.by_origin.iter().map(|(origin, connections)| {
            size(*origin, connections).expect("an origin has connections")
        });
        let sizes: BTreeSet<_> = sizes.collect();
        assert!(sizes == self.by_size, "the sizes of origins are right");
        let counted: usize = sizes.iter().map(|(count, _, _)| count).sum();
        assert_eq!(counted, self.len, "strangers are counted");
        counted
    }

    /// Changes the connections of an origin, and its place among the others if `change` says that it did something.
    fn change(
        &mut self,
        origin: Origin,
        change: impl FnOnce(&mut BTreeMap<u64, ConnectionId>) -> bool,
    ) {
        let connections = self.by_origin.entry(origin).or_default();
        let before = size(origin, connections);
        if change(connections) {
            let (count_before, count) = (before.map_or(0, |size| size.0), connections.len());
            self.len = self.len - count_before + count;
            if let Some(before) = before {
                self.by_size.remove(&before);
            }
            self.by_size.extend(size(origin, connections));
        }
        if connections.is_empty() {
            self.by_origin.remove(&origin);
        }
    }
}

fn size(
    origin: Origin,
    connections: &BTreeMap<u64, ConnectionId>,
) -> Option<(usize, Reverse<u64>, Origin)> {
    let (oldest, _) = connections.first_key_value()?;
    Some((connections.len(), Reverse(*oldest), origin))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(serial: u64) -> ConnectionId {
        ConnectionId {
            slot: serial as u32,
            generation: 1,
        }
    }

    #[test]
    fn the_oldest_of_the_largest_is_found_whatever_comes_and_goes() {
        let [a, b] = [Origin::Uid(1), Origin::Uid(2)];
        let mut strangers = Strangers::default();
        assert_eq!(strangers.oldest_of_largest(), None);
        for (serial, origin) in [(1, b), (2, a), (3, a), (4, b), (5, a)] {
            strangers.insert(origin, serial, id(serial));
            strangers.checked_len();
        }
        assert_eq!((strangers.of(a), strangers.of(b)), (3, 2));
        assert_eq!(strangers.oldest_of_largest(), Some(id(2)));
        strangers.remove(a, 2);
        strangers.remove(a, 2);
        // As many as the other origin, whose oldest is older.
        assert_eq!(strangers.checked_len(), 4);
        assert_eq!(strangers.oldest_of_largest(), Some(id(1)));
        strangers.remove(b, 1);
        assert_eq!(strangers.oldest_of_largest(), Some(id(3)));
        for (serial, origin) in [(4, b), (5, a), (3, a)] {
            strangers.remove(origin, serial);
        }
        assert_eq!((strangers.checked_len(), strangers.len()), (0, 0));
        assert!(strangers.by_origin.is_empty());
    }
}
