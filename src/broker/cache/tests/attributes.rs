//! Tests of attributes: expiry, touches, versions, and how they merge.

use super::*;
use crate::broker::cache::touch::Touched;
use crate::protocol::peer::Register;

/// A node whose entries never go stale, and whose tombstones stay.
fn keeper(id: u64) -> Cache {
    let mut node = node(id);
    node.ageing = Ageing {
        stale_us: Ageing::NEVER,
        deleted_us: 1_000_000,
    };
    node
}

fn expiring(expires_us: u64) -> Attributes {
    Attributes {
        client_flags: 16,
        expires_us: Some(expires_us),
        ..Attributes::default()
    }
}

/// Ends what has expired, as the broker does.
fn expire(cache: &mut Cache, now_us: u64, leaves_tombstones: bool) -> usize {
    let (mut cursor, mut expired) = (Some(Cursor::default()), 0);
    while let Some(from) = cursor {
        let mut aged = Vec::new();
        cursor = cache.age_slice(from, now_us, &mut aged);
        for (kind, entry) in aged {
            assert_eq!(kind, Dropped::Expired);
            expired += 1;
            cache.expire_entry(entry, leaves_tombstones);
        }
    }
    cache.check();
    expired
}

#[test]
fn an_expired_entry_is_a_tombstone_before_anybody_notices() {
    let mut cache = keeper(1);
    cache.store(b"a", b"old", 1).unwrap();
    cache.store_with(b"a", b"new", expiring(10), 2).unwrap();
    let found = cache.find(b"a", 9).unwrap();
    assert_eq!(
        (found.value(), found.client_flags()),
        (Some(&b"new"[..]), 16)
    );
    let stamp = found.stamp();
    for is_noticed in [false, true] {
        assert_eq!(value(&mut cache, b"a", 10), None);
        let state = cache.find(b"a", 10).unwrap().state();
        assert_eq!((state.stamp, state.register), (stamp, Register::Removed));
        assert_eq!(state.attributes.expires_us, Some(10));
        assert_eq!(
            (cache.live(), cache.tombstones()),
            match is_noticed {
                false => (1, 0),
                true => (0, 1),
            }
        );
        expire(&mut cache, 10, true);
    }
    assert_eq!(age(&mut cache, 1_000_010), []);
    assert_eq!(
        age(&mut cache, 1_000_011),
        [(Dropped::Deleted, b"a".to_vec())]
    );
}

#[test]
fn a_node_that_is_alone_keeps_nothing_of_an_expired_entry() {
    let mut cache = keeper(1);
    cache
        .store_with(b"a", &[b'x'; 100_000], expiring(10), 2)
        .unwrap();
    assert_eq!(expire(&mut cache, 9, false), 0);
    assert_eq!(expire(&mut cache, 10, false), 1);
    assert_eq!((cache.live(), cache.tombstones(), cache.bytes()), (0, 0, 0));
}

#[test]
fn an_entry_with_an_expiry_does_not_go_stale() {
    let mut cache = node(1);
    cache.store_with(b"a", b"1", expiring(5_000), 1).unwrap();
    assert_eq!(age(&mut cache, 4_999), []);
    let flags = Attributes {
        expires_us: None,
        ..expiring(0)
    };
    cache.store_with(b"b", b"1", flags, 2).unwrap();
    assert_eq!(age(&mut cache, 103), [(Dropped::Stale, b"b".to_vec())]);
}

#[test]
fn counting_keeps_attributes_and_a_plain_write_ends_them() {
    let mut cache = keeper(1);
    cache.store_with(b"a", b"5", expiring(1000), 1).unwrap();
    for number in 6..300_u32 {
        cache.step(b"a", Number::ONE, 2);
        let found = cache.find(b"a", 2).unwrap();
        assert_eq!(found.value(), Some(number.to_string().as_bytes()));
        assert_eq!(found.attributes(), expiring(1000));
        cache.check();
    }
    cache.step(b"a", Number::ONE, 1000);
    let found = cache.find(b"a", 1000).unwrap();
    assert_eq!(found.value(), Some(&b"1"[..]), "counting begins anew");
    assert!(found.attributes().is_empty());
    cache.store_with(b"a", b"5", expiring(2000), 1001).unwrap();
    cache.store(b"a", b"6", 1001).unwrap();
    assert!(cache.find(b"a", 1001).unwrap().attributes().is_empty());
}

#[test]
fn a_touch_changes_the_expiry_alone() {
    let mut cache = keeper(1);
    for length in [0, 1, 7, 40, 5_000, 200_000] {
        let text = vec![b'x'; length];
        cache.store(b"a", &text, 1).unwrap();
        let before = cache.find(b"a", 1).unwrap();
        let (version, stamp) = (before.version(), before.stamp());
        for expires_us in [Some(50), None, Some(60)] {
            let written = cache.touch(b"a", expires_us, 5).unwrap().unwrap();
            assert_eq!(written.part, WrittenPart::Touch);
            let found = cache.find(b"a", 5).unwrap();
            assert_eq!(found.expires_us(), expires_us);
            assert_eq!(found.value(), Some(&text[..]));
            assert_eq!((found.version(), found.stamp()), (version, stamp));
            cache.check();
        }
        assert!(cache.touch(b"a", None, 60).is_none(), "it has expired");
    }
    assert!(cache.touch(b"missing", None, 1).is_none());
}

#[test]
fn a_use_is_later_than_the_change_before_it() {
    let mut cache = keeper(1);
    cache.store(b"a", b"1", 5).unwrap();
    assert!(!cache.find(b"a", 5).unwrap().was_used());
    cache.retrieve(b"a", 5).unwrap();
    assert!(cache.find(b"a", 5).unwrap().was_used());
    cache.store(b"a", b"2", 5).unwrap();
    assert!(!cache.find(b"a", 5).unwrap().was_used());
}

/// Versions grow with each change at a node, whatever the stamps of what comes are.
#[test]
fn what_arrives_has_a_version_of_its_own() {
    let (mut a, mut b) = (keeper(1), keeper(2));
    a.store(b"n", b"theirs", 100).unwrap();
    b.store(b"n", b"ours", 50).unwrap();
    let state = a.find(b"n", 100).unwrap().state();
    b.merge(b"n", &state, 100).unwrap();
    assert_eq!(b.find(b"n", 100).unwrap().version(), 100);
    // A counter's steps have made versions beyond the stamp of what replaces it.
    b.step(b"n", Number::ONE, 500);
    let counted = b.find(b"n", 500).unwrap().version();
    assert_eq!(counted, 500);
    a.store(b"n", b"newer", 400).unwrap();
    let state = a.find(b"n", 400).unwrap().state();
    b.merge(b"n", &state, 500).unwrap();
    let found = b.find(b"n", 500).unwrap();
    assert_eq!(found.value(), Some(&b"newer"[..]));
    assert!(found.version() > counted);
    b.step(b"n", Number::ONE, 500);
    assert!(b.find(b"n", 500).unwrap().version() > counted + 1);
}

#[test]
fn a_given_version_counts_until_the_entry_changes() {
    let mut cache = keeper(1);
    let given = Attributes {
        version: Some(77),
        ..Attributes::default()
    };
    cache.store_with(b"n", b"1", given, 5).unwrap();
    assert_eq!(cache.find(b"n", 5).unwrap().version(), 77);
    cache.touch(b"n", None, 6).unwrap().unwrap();
    assert_eq!(cache.find(b"n", 6).unwrap().version(), 77);
    cache.step(b"n", Number::ONE, 7);
    assert_eq!(cache.find(b"n", 7).unwrap().version(), 7);
}

/// A touch that comes late brings back what has expired, if its own expiry has not come.
#[test]
fn a_later_touch_keeps_a_value_alive() {
    for is_noticed in [false, true] {
        let (mut a, mut b) = (keeper(1), keeper(2));
        a.store_with(b"n", b"value", expiring(10), 1).unwrap();
        let state = a.find(b"n", 1).unwrap().state();
        b.merge(b"n", &state, 1).unwrap();
        a.touch(b"n", Some(30), 9).unwrap().unwrap();
        let touched = a.find(b"n", 9).unwrap().state();
        if is_noticed {
            expire(&mut b, 20, true);
        }
        assert_eq!(value(&mut b, b"n", 20), None);
        let merged = b.merge_touch(b"n", touched.stamp, &touched.attributes, 20);
        let merged = merged.unwrap();
        if is_noticed {
            assert_eq!(merged, Touched::Differs, "the value is asked for");
            let theirs = b.find(b"n", 20).unwrap().state();
            let answer = a.merge(b"n", &theirs, 20).unwrap();
            assert!(answer.differs && answer.written.is_none());
            let touched = a.find(b"n", 20).unwrap().state();
            let merged = b.merge(b"n", &touched, 20).unwrap();
            assert_eq!((merged.effect, merged.differs), (Effect::Register, false));
        } else {
            assert!(matches!(merged, Touched::Done(_)));
        }
        assert_eq!(value(&mut b, b"n", 29), Some(b"value".to_vec()));
        assert_eq!(value(&mut b, b"n", 30), None);
    }
}

/// Tells one node all that another one has, and the answers the other way.
fn exchange(from: &mut Cache, to: &mut Cache, now_us: u64) {
    to.merge_clear(from.cleared());
    for name in names(from, now_us) {
        let state = from.find(&name, now_us).unwrap().state();
        if to.merge(&name, &state, now_us).unwrap().differs
            && let Some(answer) = to.find(&name, now_us)
        {
            let answer = answer.state();
            let before = from
                .find(&name, now_us)
                .map(|held| format!("{:?}", held.state()));
            let merged = from.merge(&name, &answer, now_us).unwrap();
            assert!(
                !merged.differs,
                "an answer says all there is: {before:?}, {answer:?}"
            );
        }
    }
}

/// Three nodes store, touch, count and expire, tell each other now and then, and agree in the end, whoever has noticed
/// what.
#[test]
fn touches_and_expiries_merge_in_any_order() {
    for seed in 0..1000_u64 {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = |bound: u64| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % bound
        };
        let mut nodes = [keeper(1), keeper(2), keeper(3)];
        let mut now_us = 1;
        for _ in 0..60 {
            now_us += next(3);
            let (at, name) = (next(3) as usize, [b'a' + next(2) as u8]);
            let expires_us = now_us + next(12);
            let cache = &mut nodes[at];
            match next(9) {
                0 => _ = cache.store(&name, b"plain", now_us).unwrap(),
                1 => _ = cache.remove(&name, now_us).unwrap(),
                2 | 3 => {
                    let attributes = expiring(expires_us);
                    cache.store_with(&name, b"7", attributes, now_us).unwrap();
                }
                4 => _ = cache.touch(&name, Some(expires_us), now_us),
                5 => _ = cache.win(&name, now_us),
                6 => cache.step(&name, Number::ONE, now_us),
                7 => _ = expire(cache, now_us, true),
                _ => {
                    let [a, b, c] = &mut nodes;
                    let pairs = [(0, 1), (1, 2), (2, 0)];
                    match pairs[at] {
                        (0, 1) => exchange(a, b, now_us),
                        (1, 2) => exchange(b, c, now_us),
                        _ => exchange(c, a, now_us),
                    }
                }
            }
        }
        let [a, b, c] = &mut nodes;
        for _ in 0..2 {
            exchange(a, b, now_us);
            exchange(b, c, now_us);
            exchange(c, a, now_us);
        }
        let all = |cache: &Cache| -> Vec<String> {
            let names = names(cache, now_us);
            let state = |name: &Vec<u8>| format!("{:?}", cache.find(name, now_us).unwrap().state());
            let known = |state: String| state.replace(char::is_whitespace, "");
            names.iter().map(state).map(known).collect()
        };
        let without_use = |states: Vec<String>| -> Vec<String> {
            let cut = |state: String| {
                let at = state.find("accessed_us").unwrap();
                let end = at + state[at..].find(',').unwrap();
                format!("{}{}", &state[..at], &state[end..])
            };
            states.into_iter().map(cut).collect()
        };
        let (a, b, c) = (
            without_use(all(a)),
            without_use(all(b)),
            without_use(all(c)),
        );
        assert_eq!(a, b, "seed {seed}");
        assert_eq!(b, c, "seed {seed}");
    }
}

#[test]
fn an_entry_knows_whether_its_value_is_shown_as_it_is() {
    let mut cache = keeper(1);
    let is_shown_otherwise =
        |cache: &mut Cache| cache.retrieve(b"a", 1).expect("an entry").needs_encoding;
    cache.store(b"a", b"plain", 1).unwrap();
    assert!(!is_shown_otherwise(&mut cache));
    let lines = b"a\nb";
    let plain = Attributes::default();
    cache.store_with(b"a", lines, plain, 1).unwrap();
    assert!(is_shown_otherwise(&mut cache));
    assert!(cache.find(b"a", 1).unwrap().attributes().is_empty());
    // A touch moves the entry, and another server is told the state.
    cache.touch(b"a", Some(50), 1).unwrap().unwrap();
    assert!(is_shown_otherwise(&mut cache));
    let mut other = keeper(2);
    other
        .merge(b"a", &cache.find(b"a", 1).unwrap().state(), 1)
        .unwrap();
    assert!(is_shown_otherwise(&mut other));
    cache.store(b"a", b"a b", 1).unwrap();
    assert!(!is_shown_otherwise(&mut cache));
    // The text of a value with line ends is that value, and any other text stays.
    cache
        .store_text(b"a", b"PAGECAMELCLACKSB64:YQpi", 1)
        .unwrap();
    let found = cache.retrieve(b"a", 1).unwrap();
    assert_eq!((found.value, found.needs_encoding), (&lines[..], true));
    cache
        .store_text(b"a", b"PAGECAMELCLACKSB64:eA==", 1)
        .unwrap();
    assert!(!is_shown_otherwise(&mut cache));
    cache.step(b"a", Number::ONE, 1);
    assert!(!is_shown_otherwise(&mut cache));
    cache.check();
}

#[test]
fn a_table_that_was_large_gives_its_memory_back_when_all_has_expired() {
    let mut cache = keeper(1);
    for number in 0..10_000 {
        let name = format!("name{number}");
        let stored = cache.store_with(name.as_bytes(), b"value", expiring(5), 1);
        stored.expect("there is room");
    }
    let full = cache.table.memory();
    assert_eq!(expire(&mut cache, 10, false), 10_000);
    while cache.is_to_be_tidied() {
        cache.tidy_slice();
    }
    cache.check();
    assert!(cache.table.memory() < full / 100);
    let stored = cache.store_with(b"name", b"value", expiring(30), 20);
    stored.expect("there is room");
    assert_eq!(
        cache.find(b"name", 21).map(|found| found.value()),
        Some(Some(&b"value"[..]))
    );
}
