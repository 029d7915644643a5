//! Tests of the tree of patterns.

use super::*;
use crate::protocol::nats::names::subject_of;
use crate::protocol::nats::subject::matches;
use std::collections::{BTreeMap, BTreeSet};

fn hasher() -> RandomState {
    RandomState::with_seeds(1, 2, 3, 4)
}

fn connection(slot: u32) -> ConnectionId {
    ConnectionId {
        slot,
        generation: 1,
    }
}

fn found(subjects: &mut Subjects, name: &[u8], listeners: &Listeners) -> Vec<u32> {
    let (_, found) = subjects.of(name, listeners);
    let found = found.map_or(&[][..], |(_, found)| found);
    let mut slots: Vec<u32> = found.iter().map(|connection| connection.slot).collect();
    slots.sort_unstable();
    slots
}

/// A small generator, so that a failure replays.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    fn text(&mut self, parts: &[&str]) -> Vec<u8> {
        let count = 1 + self.below(4);
        let parts: Vec<&str> = (0..count).map(|_| parts[self.below(parts.len())]).collect();
        parts.join("::").into_bytes()
    }
}

#[test]
fn agrees_with_the_rule_whatever_comes_and_goes() {
    let mut random = Random(1);
    let (mut subjects, mut listeners) = (Subjects::new(hasher()), Listeners::new(hasher()));
    let mut own: BTreeMap<u32, PatternSubscriptions> = BTreeMap::new();
    let mut model: BTreeSet<(u32, Vec<u8>)> = BTreeSet::new();
    let mut by_name = crate::broker::listeners::Subscriptions::default();
    listeners.listen(b"a::b", None, connection(0), &mut by_name);
    for _ in 0..20_000 {
        let slot = random.below(10) as u32;
        let mut pattern = random.text(&["a", "b", "*", "a.b", "%"]);
        if random.below(4) == 0 {
            pattern.extend_from_slice(b"::>");
        }
        let own = own.entry(slot).or_default();
        match random.below(16) {
            0 => {
                let is_done = loop {
                    let (_, is_done) = subjects.unlisten_slice(connection(slot), own);
                    if is_done {
                        break is_done;
                    }
                };
                assert!(is_done && subjects.memory_of(own) == 0);
                model.retain(|pair| pair.0 != slot);
            }
            1..8 => {
                let memory = subjects.memory_of(own);
                let freed = subjects.unlisten(&pattern, connection(slot), own);
                assert_eq!(freed.is_some(), model.remove(&(slot, pattern)));
                assert_eq!(memory - freed.unwrap_or(0), subjects.memory_of(own));
            }
            _ => {
                let memory = subjects.memory_of(own);
                let taken = subjects.listen(&pattern, connection(slot), own);
                assert_eq!(taken.is_some(), model.insert((slot, pattern)));
                assert_eq!(memory + taken.unwrap_or(0), subjects.memory_of(own));
            }
        }
        for _ in 0..3 {
            let name = random.text(&["a", "b", "*", ">", "", "a.b", "%", ":", "a%2Eb"]);
            let subject = subject_of(&name);
            let is_it = |pair: &&(u32, Vec<u8>)| {
                let listens_to_name = pair.0 == 0 && name == b"a::b";
                !listens_to_name && matches(&subject_of(&pair.1), &subject)
            };
            let expected: BTreeSet<u32> = model.iter().filter(is_it).map(|pair| pair.0).collect();
            let expected: Vec<u32> = expected.into_iter().collect();
            let found = found(&mut subjects, &name, &listeners);
            assert_eq!(found, expected, "{}", name.escape_ascii());
        }
        assert_eq!(subjects.subscriptions(), model.len());
    }
    subjects.check(own.iter().map(|(slot, own)| (connection(*slot), own)));
    for (slot, own) in &mut own {
        subjects.leave(connection(*slot), own);
    }
    while subjects.has_work() {
        subjects.forget_slice();
        subjects.check(std::iter::empty());
    }
    assert!(subjects.is_empty());
    assert_eq!(found(&mut subjects, b"a::b", &listeners), [0; 0]);
}

#[test]
fn other_patterns_cost_a_signal_nothing() {
    let listeners = Listeners::new(hasher());
    let mut visited = Vec::new();
    for others in [1, 1_000, 100_000] {
        let mut subjects = Subjects::new(hasher());
        let mut own = PatternSubscriptions::default();
        let matching = ["a::b::c", "a::*::c", "*::>", "a::b::>"];
        for pattern in matching {
            subjects.listen(pattern.as_bytes(), connection(1), &mut own);
        }
        for other in 0..others {
            let pattern = match other % 4 {
                0 => format!("a::b::{other}"),
                1 => format!("{other}::*::c"),
                2 => format!("a::{other}::>"),
                _ => format!("*::{other}::c"),
            };
            subjects.listen(pattern.as_bytes(), connection(2), &mut own);
        }
        let (nodes, found) = subjects.of(b"a::b::c", &listeners);
        assert_eq!(found.map(|(_, found)| found), Some(&[connection(1)][..]));
        visited.push(nodes);
        let (again, _) = subjects.of(b"a::b::c", &listeners);
        assert_eq!(again, 0, "the last name is not looked up again");
    }
    // The first one; a and *; a::b and a::*; a::b::c and a::*::c.
    assert_eq!(visited, [7, 7, 7]);
}

#[test]
fn equal_identities_have_equal_lists() {
    let (mut subjects, mut listeners) = (Subjects::new(hasher()), Listeners::new(hasher()));
    let mut own = PatternSubscriptions::default();
    let mut by_name = crate::broker::listeners::Subscriptions::default();
    let mut seen = BTreeMap::new();
    let mut look = |subjects: &mut Subjects, listeners: &Listeners, name: &[u8]| {
        if let Some((id, found)) = subjects.of(name, listeners).1 {
            let known = seen
                .entry((id.name, id.changes))
                .or_insert_with(|| found.to_vec());
            assert_eq!(known, found);
        }
    };
    for slot in 0..4 {
        subjects.listen(b"a::*", connection(slot), &mut own);
        look(&mut subjects, &listeners, b"a::b");
        listeners.listen(b"a::b", None, connection(slot), &mut by_name);
        look(&mut subjects, &listeners, b"a::b");
        look(&mut subjects, &listeners, b"a::c");
        look(&mut subjects, &listeners, &[b'x'; 5000]);
        subjects.listen(b"*", connection(slot), &mut own);
        look(&mut subjects, &listeners, &[b'x'; 5000]);
        look(&mut subjects, &listeners, &[b'y'; 5000]);
    }
    assert!(seen.len() > 8, "{seen:?}");
}

#[test]
fn patterns_of_who_is_gone_are_removed_some_at_a_time() {
    let mut subjects = Subjects::new(hasher());
    let mut own = PatternSubscriptions::default();
    for number in 0..10_000 {
        let pattern = format!("{number}::*::c::d");
        subjects.listen(pattern.as_bytes(), connection(1), &mut own);
    }
    subjects.leave(connection(1), &mut own);
    let mut slices = 0;
    while subjects.has_work() {
        let before = subjects.subscriptions();
        subjects.forget_slice();
        assert!(before - subjects.subscriptions() <= 201);
        slices += 1;
    }
    assert!(slices >= 50 && subjects.is_empty());
    assert_eq!(subjects.surplus(), 0);
}
