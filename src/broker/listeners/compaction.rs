//! Names move together when most of their places are free, so that the memory of the others can be given back.

use super::{
    ENDED_PER_SLICE, Listeners, Name, NameId, Subscription, Subscriptions, is_pair, pair_hash,
};
use crate::broker::events::ConnectionId;
use crate::broker::pages::Pages;

/// Names with more listeners are not moved: they account for the memory of their places themselves.
const MOST_LISTENERS: usize = 16;

/// A pass from the last name to the first: each goes to the first free place.
#[derive(Default)]
pub(super) struct Compaction {
    /// Where the pass goes on, downwards; `None` between two passes.
    end: Option<u32>,
    /// Names that went since the last pass began. A pass that could move little is not repeated at once.
    gone: usize,
}

impl Compaction {
    pub(super) fn is_under_way(&self) -> bool {
        self.end.is_some()
    }

    /// A name has gone.
    pub(super) fn start_if(&mut self, names: &Pages<Name>) {
        self.gone += 1;
        if self.end.is_none() && self.gone > names.len() && names.is_sparse() {
            self.end = Some(u32::MAX);
            self.gone = 0;
        }
    }
}

impl Subscriptions {
    /// The name at that place of the list has got another number.
    pub(in crate::broker) fn renumber(&mut self, place: u32, name: NameId) {
        self.0[place as usize] = name;
    }
}

impl Listeners {
    /// Moves a slice of the names. `renumber` is told of each listener whose list has to name another number, and where.
    pub fn compact_slice(&mut self, mut renumber: impl FnMut(ConnectionId, u32, NameId)) {
        // Lists of connections that are gone are to be empty by then.
        let Some(end) = self.compaction.end.filter(|_| self.left.is_empty()) else {
            return;
        };
        let indices = self.names.last_below(end, ENDED_PER_SLICE / 4);
        let mut moved = 0;
        self.compaction.end = None;
        for &index in &indices {
            if !self.names.has_room_before(index) {
                return;
            }
            let listeners = self.names[index].listeners.len();
            if listeners <= MOST_LISTENERS {
                self.move_name(NameId(index), &mut renumber);
            }
            moved += listeners.min(MOST_LISTENERS);
            self.compaction.end = Some(index);
            if moved >= ENDED_PER_SLICE {
                return;
            }
        }
    }

    fn move_name(&mut self, from: NameId, renumber: &mut impl FnMut(ConnectionId, u32, NameId)) {
        let Listeners {
            hasher,
            names,
            by_text,
            by_pair,
            ..
        } = self;
        let Name {
            text,
            hash,
            listeners,
        } = &names[from.0];
        let text_hash = *hash;
        let copy = Name {
            text: text.clone(),
            hash: *hash,
            listeners: listeners.clone(),
        };
        let connections = listeners.clone();
        let to = NameId(names.insert(copy));
        if let Some(found) = by_text.find_mut(text_hash, |found| *found == from) {
            *found = to;
        }
        for connection in connections {
            let before = pair_hash(hasher, from, connection);
            let Some(subscription) = by_pair.remove(before, is_pair(names, from, connection))
            else {
                continue;
            };
            renumber(connection, subscription.in_session, to);
            let subscription = Subscription {
                name: to,
                ..subscription
            };
            by_pair.insert(pair_hash(hasher, to, connection), subscription, |s| {
                pair_hash(hasher, s.name, s.connection(names))
            });
        }
        names.remove(from.0);
        // Whoever was found by the old number is to be looked up again.
        self.changes += 1;
        self.last.set(to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ahash::RandomState;
    use std::collections::BTreeMap;

    #[test]
    fn few_that_are_left_of_many_are_still_found_and_take_little() {
        let connection = |slot| ConnectionId {
            slot,
            generation: 1,
        };
        let mut listeners = Listeners::new(RandomState::with_seeds(1, 2, 3, 4));
        let mut own: BTreeMap<ConnectionId, Subscriptions> = BTreeMap::new();
        let names = || (0..200_000_u32).map(|number| number.to_string());
        let stays = |number: u32| number.is_multiple_of(64);
        for (number, name) in names().enumerate() {
            let slots = if stays(number as u32) { 0..3 } else { 2..3 };
            for slot in slots {
                let own = own.entry(connection(slot)).or_default();
                assert!(listeners.listen(name.as_bytes(), None, connection(slot), own));
            }
        }
        let before = listeners.names.memory();
        let mut gone = own.remove(&connection(2)).expect("it listens");
        listeners.leave(connection(2), &mut gone);
        while listeners.has_work() {
            listeners.forget_slice();
            listeners.compact_slice(|connection, place, name| {
                let own = own.get_mut(&connection).expect("who is still there");
                own.renumber(place, name);
            });
        }
        listeners.check(own.iter().map(|(connection, own)| (*connection, own)));
        for (number, name) in names().enumerate() {
            let found = listeners
                .of(name.as_bytes())
                .map_or(0, |(_, all)| all.len());
            assert_eq!(found, if stays(number as u32) { 2 } else { 0 });
        }
        let after = listeners.names.memory();
        assert!(after * 16 < before, "{after} bytes of {before}");
        assert_eq!(listeners.surplus(), 0);
    }
}
