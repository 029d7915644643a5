//! Tests of the cache's guarantees, on the cache alone.

mod attributes;

use super::*;
use crate::limits::{EVICTIONS_PER_SLICE, SECOND_US, WORK_PER_CONTRIBUTION};
use crate::protocol::number::Number;
use crate::protocol::peer::Register;

impl Cache {
    /// Counts once.
    fn step(&mut self, name: &[u8], step: Number, now_us: u64) {
        self.add(name, step, now_us, now_us).unwrap();
    }
}

fn cache() -> Cache {
    node(1)
}

fn node(id: u64) -> Cache {
    cache_of(id, 100, None)
}

fn cache_of(id: u64, stale_us: u64, max_bytes: Option<usize>) -> Cache {
    let ageing = Ageing {
        stale_us,
        deleted_us: 10,
    };
    let hasher = RandomState::with_seeds(1, 2, 3, 4);
    Cache::new(hasher, ageing, max_bytes, NodeId(id))
}

fn value(cache: &mut Cache, name: &[u8], now_us: u64) -> Option<Vec<u8>> {
    cache
        .retrieve(name, now_us)
        .map(|found| found.value.to_vec())
}

fn names(cache: &Cache, now_us: u64) -> Vec<Vec<u8>> {
    let (mut cursor, mut names) = (Some(Cursor::default()), Vec::new());
    while let Some(from) = cursor {
        cursor = cache.visit_segment(from, now_us, |found| names.push(found.name().to_vec()));
    }
    names.sort();
    names
}

fn age(cache: &mut Cache, now_us: u64) -> Vec<(Dropped, Vec<u8>)> {
    let (mut cursor, mut gone) = (Some(Cursor::default()), Vec::new());
    while let Some(from) = cursor {
        let mut aged = Vec::new();
        cursor = cache.age_slice(from, now_us, &mut aged);
        for (kind, entry) in aged {
            gone.push((kind, cache.entry_of(entry).name().to_vec()));
            cache.drop_entry(entry);
        }
    }
    gone
}

#[test]
fn counts_entries_and_bytes() {
    /// The memory of an entry with a name and a value as short as in this test, in bytes.
    const SMALL: usize = 32 + PLACE;
    let counts = |cache: &Cache| (cache.live(), cache.tombstones(), cache.bytes());
    let mut cache = cache();
    cache.store(b"a", b"12", 1).unwrap();
    cache.store(b"a", b"123", 1).unwrap();
    cache.store(b"b", b"", 1).unwrap();
    assert_eq!(counts(&cache), (2, 0, 2 * SMALL));
    cache.remove(b"a", 1).unwrap();
    cache.remove(b"c", 1).unwrap();
    assert_eq!(counts(&cache), (1, 2, 3 * SMALL));
    cache.store(b"c", b"x", 1).unwrap();
    assert_eq!(counts(&cache), (2, 1, 3 * SMALL));
    cache.store(b"c", &[b'x'; 66], 1).unwrap();
    assert_eq!(counts(&cache), (2, 1, 2 * SMALL + 80 + PLACE));
    cache.clear(1);
    assert_eq!(counts(&cache), (0, 0, 0));
}

#[test]
fn what_has_expired_is_never_served_even_before_it_is_looked_for() {
    let mut cache = cache();
    cache.store(b"used", b"1", 1).unwrap();
    cache.store(b"unused", b"1", 2).unwrap();
    assert_eq!(value(&mut cache, b"used", 60), Some(b"1".to_vec()));
    assert_eq!(names(&cache, 103), [b"used".to_vec()]);
    assert_eq!(value(&mut cache, b"unused", 103), None);
    cache.step(b"unused", Number::ONE, 103);
    assert_eq!(
        value(&mut cache, b"unused", 103),
        Some(b"1".to_vec()),
        "an expired counter starts at 0"
    );
    assert_eq!(value(&mut cache, b"used", 161), None);
}

#[test]
fn ageing_drops_stale_entries_and_old_tombstones_and_says_which() {
    let mut cache = cache();
    cache.store(b"stale", b"1", 0).unwrap();
    cache.store(b"fresh", b"1", 50).unwrap();
    cache.remove(b"old", 80).unwrap();
    cache.remove(b"young", 95).unwrap();
    let mut gone = age(&mut cache, 101);
    gone.sort_by(|a, b| a.1.cmp(&b.1));
    assert_eq!(
        gone,
        [
            (Dropped::Deleted, b"old".to_vec()),
            (Dropped::Stale, b"stale".to_vec())
        ]
    );
    assert_eq!((cache.live(), cache.tombstones()), (1, 1));
    assert_eq!(age(&mut cache, 0), [], "a clock set back ages nothing");
}

#[test]
fn clearing_frees_in_slices() {
    let mut cache = cache();
    for number in 0..20_000 {
        cache
            .store(format!("name{number}").as_bytes(), b"value", 1)
            .unwrap();
    }
    cache.clear(1);
    cache.store(b"new", b"1", 1).unwrap();
    let mut slices = 0;
    while cache.is_to_be_tidied() {
        cache.tidy_slice();
        slices += 1;
    }
    assert!(slices > 10, "{slices}");
    assert_eq!(names(&cache, 1), [b"new".to_vec()]);
}

/// All of a cache, as it would be told to another node.
fn states(cache: &Cache) -> Vec<(Vec<u8>, String)> {
    let (mut cursor, mut states) = (Some(Cursor::default()), Vec::new());
    while let Some(from) = cursor {
        cursor = cache.visit_segment(from, 0, |found| {
            let State {
                stamp,
                register,
                contributions,
                ..
            } = found.state();
            let value = found.value().map(<[u8]>::to_vec);
            states.push((
                found.name().to_vec(),
                format!("{stamp} {register:?} {contributions:?} {value:?}"),
            ));
        });
    }
    states.sort();
    states
}

fn tell(from: &Cache, to: &mut Cache) {
    to.merge_clear(from.cleared());
    let mut cursor = Some(Cursor::default());
    while let Some(at) = cursor {
        cursor = from.visit_segment(at, 0, |found| {
            to.merge(found.name(), &found.state(), 0).unwrap();
        });
    }
}

/// Three nodes do this and that, tell each other now and then in any order, and agree in the end.
#[test]
fn merging_has_no_order_and_repeats_do_nothing() {
    for seed in 0..300_u64 {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = |bound: u64| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % bound
        };
        let mut nodes = [node(1), node(2), node(3)];
        for step in 0..60 {
            let (at, name) = (next(3) as usize, [b'a' + next(3) as u8]);
            // Clocks of their own: one is slow, one is fast.
            let now_us = step + [0, 5, 90][at];
            match next(16) {
                0 => nodes[at].clear(now_us),
                1 | 2 => {
                    nodes[at].remove(&name, now_us).unwrap();
                }
                3..6 => {
                    let value = next(100).to_string();
                    nodes[at].store(&name, value.as_bytes(), now_us).unwrap();
                }
                6..11 => nodes[at].step(
                    &name,
                    Number::from_step(next(9).to_string().as_bytes()),
                    now_us,
                ),
                _ => {
                    let [a, b] = nodes
                        .get_disjoint_mut([at, (at + 1) % 3])
                        .expect("two of three");
                    tell(a, b);
                }
            }
        }
        for (a, b) in [(0, 1), (1, 2), (2, 0), (0, 1), (1, 2)] {
            let [a, b] = nodes.get_disjoint_mut([a, b]).expect("two of three");
            tell(a, b);
        }
        let [a, b, c] = &nodes;
        assert_eq!(states(a), states(b), "seed {seed}");
        assert_eq!(states(b), states(c), "seed {seed}");
        let before = states(a);
        let [a, b, _] = &mut nodes;
        tell(b, a);
        assert_eq!(states(a), before);
    }
}

#[test]
fn counts_on_both_sides_of_a_cut_add_up() {
    let (mut a, mut b) = (node(1), node(2));
    a.store(b"n", b"10", 1).unwrap();
    tell(&a, &mut b);
    a.step(b"n", Number::from_step(b"1"), 2);
    b.step(b"n", Number::from_step(b"100"), 2);
    b.step(b"fresh", Number::ONE, 2);
    a.step(b"fresh", Number::ONE, 3);
    tell(&a, &mut b);
    tell(&b, &mut a);
    for node in [&mut a, &mut b] {
        assert_eq!(value(node, b"n", 3), Some(b"111".to_vec()));
        assert_eq!(value(node, b"fresh", 3), Some(b"2".to_vec()));
    }
}

#[test]
fn a_share_begins_when_it_is_asked_to_and_behind_the_marker() {
    let now_us = 1_000_000 * SECOND_US;
    let begins_us = |marker_us: Option<u64>| {
        let mut cache = cache();
        if let Some(time_us) = marker_us {
            let node = NodeId(2);
            cache.merge_fold(Stamp { time_us, node });
        }
        cache.step(b"n", Number::ONE, now_us);
        let (share, _) = cache.own_share().expect("it has counted");
        share.begun_us()
    };
    assert_eq!(begins_us(None), now_us);
    assert_eq!(begins_us(Some(now_us - SECOND_US)), now_us);
    let later_us = now_us + 60 * SECOND_US;
    assert_eq!(begins_us(Some(later_us)), later_us + SECOND_US);
}

#[test]
fn a_step_counts_as_the_work_that_the_shares_of_its_counter_are() {
    const OTHERS: usize = 200;
    let mut cache = cache();
    for id in 0..OTHERS {
        let mut other = node(2 + id as u64);
        other.step(b"n", Number::ONE, 1);
        tell(&other, &mut cache);
    }
    for _ in 0..2 {
        let added = cache.add(b"n", Number::ONE, 2, 2).unwrap();
        assert!(matches!(added.written.part, WrittenPart::Share(_)));
        assert_eq!(added.work, (OTHERS + 1) * WORK_PER_CONTRIBUTION);
    }
}

#[test]
fn a_counter_is_exact_where_its_result_is_however_large_the_steps_add_up() {
    let mut cache = cache();
    cache.store(b"n", b"18446744073709551615", 1).unwrap();
    cache.step(b"n", -Number::from_step(b"10000000000000000000"), 1);
    assert_eq!(
        value(&mut cache, b"n", 1),
        Some(b"8446744073709551615".to_vec())
    );
    cache.step(b"n", -Number::from_step(b"10000000000000000000"), 1);
    cache.step(b"n", -Number::from_step(b"10000000000000000000"), 1);
    assert_eq!(
        value(&mut cache, b"n", 1),
        Some(b"-1.15532559262904e+19".to_vec())
    );
}

#[test]
fn a_merge_says_what_changed_and_whether_the_sender_knows_less() {
    let (mut a, mut b) = (node(1), node(2));
    a.store(b"n", b"1", 1).unwrap();
    let first = a.find(b"n", 1).unwrap().state().stamp;
    let told =
        |a: &Cache, b: &mut Cache| b.merge(b"n", &a.find(b"n", 1).unwrap().state(), 1).unwrap();
    let merged = |merged: Merged| {
        let only = merged.written.and_then(|written| match written.part {
            WrittenPart::Share(share) => Some(share),
            WrittenPart::All | WrittenPart::Touch => None,
        });
        assert_eq!(merged.written.is_some(), merged.effect != Effect::None);
        (merged.effect, only, merged.differs)
    };
    assert_eq!(merged(told(&a, &mut b)), (Effect::Register, None, false));
    assert_eq!(merged(told(&a, &mut b)), (Effect::None, None, false));
    b.step(b"n", Number::from_step(b"5"), 1);
    assert_eq!(merged(told(&a, &mut b)), (Effect::None, None, true));
    let only = b.own_share().map(|(share, _)| share);
    let steps = vec![Number::from_step(b"5")];
    assert_eq!(
        merged(told(&b, &mut a)),
        (Effect::Counter(steps), only, false)
    );
    a.store(b"n", b"2", 1).unwrap();
    assert!(
        a.find(b"n", 1).unwrap().state().stamp > first,
        "newer, though the clock has not moved"
    );
    assert_eq!(merged(told(&b, &mut a)), (Effect::None, None, true));
    b.clear(50);
    assert_eq!(merged(told(&a, &mut b)), (Effect::None, None, true));
}

fn limited(max_bytes: usize) -> Cache {
    Cache::new(
        RandomState::with_seeds(1, 2, 3, 4),
        Ageing {
            stale_us: u64::MAX,
            deleted_us: u64::MAX,
        },
        Some(max_bytes),
        NodeId(1),
    )
}

struct Random(u64);

impl Random {
    fn next(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Drops all that has to go. Returns the names.
fn evicted_names(cache: &mut Cache) -> Vec<String> {
    let mut evicted = Vec::new();
    while cache.is_over_limit() {
        let mut rest = EVICTIONS_PER_SLICE;
        while let Some(victim) = cache.next_victim(&mut rest) {
            let name = cache.entry_of(victim).name();
            evicted.push(String::from_utf8_lossy(name).into_owned());
            cache.drop_entry(victim);
        }
    }
    evicted
}

/// All that has to go; how many that were.
fn evict(cache: &mut Cache) -> usize {
    evicted_names(cache).len()
}

#[test]
fn a_limited_cache_holds_its_limit_and_little_less() {
    const MAX: usize = 1 << 20;
    let (mut cache, mut random) = (limited(MAX), Random(1));
    for step in 0..60_000_u64 {
        let name = random.next(30_000).to_string();
        let typical = 1 << (4 + step / 10_000);
        match random.next(10) {
            0 => {
                cache.remove(name.as_bytes(), step).unwrap();
            }
            1 => cache.step(name.as_bytes(), Number::ONE, step),
            _ => {
                let value = vec![b'v'; random.next(typical) as usize];
                cache.store(name.as_bytes(), &value, step).unwrap();
            }
        }
        let evicted = evict(&mut cache);
        assert!(cache.bytes() <= MAX);
        if evicted > 0 {
            assert!(
                cache.bytes() > MAX - MAX / 64 - 2048,
                "{evicted} were too many"
            );
        }
        cache.tidy_slice();
    }
    assert_eq!(
        cache.store(b"large", &vec![b'v'; MAX], 1),
        Err(TooLarge),
        "what can't fit"
    );
    assert_eq!(value(&mut cache, b"large", 1), None);
    cache.store(b"large", &vec![b'v'; MAX / 2], 1).unwrap();
    evict(&mut cache);
    cache.clear(100_000);
    assert_eq!((cache.bytes(), cache.live(), cache.tombstones()), (0, 0, 0));
}

#[test]
fn a_full_cache_of_a_few_large_entries_takes_new_ones() {
    let mut cache = limited(8 << 20);
    for size in [
        800_000, 1_000_000, 2_000_000, 3_000_000, 4_500_000, 8_000_000,
    ] {
        for number in 0..20 {
            let name = format!("of {size}: {number}");
            cache
                .store(name.as_bytes(), &vec![b'v'; size], number)
                .unwrap();
            evict(&mut cache);
            assert!(
                value(&mut cache, name.as_bytes(), number).is_some(),
                "{name}"
            );
        }
        // With tombstones beside the only entry.
        cache.remove(b"removed", 100).unwrap();
        evict(&mut cache);
    }
}

#[test]
fn what_was_cleared_does_not_pile_up() {
    let mut cache = cache();
    for round in 0..50 {
        for number in 0..2000 {
            let name = format!("name{number}");
            cache.store(name.as_bytes(), b"value", round).unwrap();
        }
        cache.clear(round);
        assert!(cache.garbage.len() <= 2, "{}", cache.garbage.len());
    }
}

#[test]
fn what_is_not_too_large_stays() {
    const MAX: usize = 100_000;
    let (mut held, mut refused) = (0, 0);
    for size in MAX - 200..MAX {
        let mut cache = limited(MAX);
        match cache.store(b"name", &vec![b'v'; size], 1) {
            Ok(_) => {
                evict(&mut cache);
                assert!(value(&mut cache, b"name", 1).is_some(), "{size}");
                held += 1;
            }
            Err(TooLarge) => refused += 1,
        }
    }
    assert!(held > 100 && refused > 20, "{held} {refused}");
}

#[test]
fn removing_random_names_pushes_no_entry_out_and_the_oldest_tombstones_go() {
    let mut cache = limited(1 << 20);
    for number in 0..5000 {
        let name = format!("entry{number}");
        cache.store(name.as_bytes(), b"value", 1).unwrap();
    }
    let mut gone = Vec::new();
    for number in 0..100_000_u64 {
        let name = format!("removed{number}");
        cache.remove(name.as_bytes(), number).unwrap();
        cache.remove(b"removed again and again", number).unwrap();
        gone.append(&mut evicted_names(&mut cache));
    }
    assert_eq!(cache.live(), 5000);
    assert!(cache.tombstones() > 2000, "{}", cache.tombstones());
    let again = gone.iter().filter(|name| name.contains("again")).count();
    assert!(
        again < 60,
        "renewed tombstones have a place as well: {again}"
    );
    let in_order = gone.iter().filter(|name| !name.contains("again"));
    let expected: Vec<String> = (0..gone.len() - again)
        .map(|number| format!("removed{number}"))
        .collect();
    assert!(in_order.eq(expected.iter()));
}

#[test]
fn lists_of_tombstones_stay_short_without_eviction() {
    let mut cache = cache_of(1, 100, Some(1 << 30));
    for now_us in (0..200_000_u64).step_by(10) {
        cache
            .remove(format!("n{now_us}").as_bytes(), now_us)
            .unwrap();
        cache.remove(b"same", now_us).unwrap();
        cache.store(b"same", b"1", now_us).unwrap();
        // The first of all, and there all the time.
        cache.remove(b"again and again", now_us).unwrap();
        if now_us % 200 == 0 {
            age(&mut cache, now_us);
        }
    }
    assert!(cache.tombstones() < 50);
    assert!(cache.bytes() < 100 * (40 + PLACE), "{}", cache.bytes());
}

/// Tombstones and newcomers may be most of what there is; something can go all the same.
#[test]
fn whatever_there_is_something_can_go() {
    const MAX: usize = 1 << 20;
    let mut cache = limited(MAX);
    for number in 0..2000 {
        let name = format!("removed{number}");
        cache.remove(name.as_bytes(), 1).unwrap();
    }
    for number in 0..150 {
        let name = format!("large{number}");
        cache.store(name.as_bytes(), &[b'v'; 20_000], 1).unwrap();
        for _ in 0..1000 {
            let mut rest = EVICTIONS_PER_SLICE;
            while let Some(victim) = cache.next_victim(&mut rest) {
                cache.drop_entry(victim);
            }
        }
        assert!(!cache.is_over_limit(), "{number}: {}", cache.bytes());
    }
}

#[test]
fn new_counters_are_newcomers_as_well() {
    let mut cache = limited(1 << 20);
    for number in 0..2000 {
        let name = format!("used{number}");
        cache.store(name.as_bytes(), b"1", 1).unwrap();
        cache.retrieve(name.as_bytes(), 1).unwrap();
    }
    cache.remove(b"removed", 1).unwrap();
    for number in 0..100_000 {
        let name = format!("counter{number}");
        cache.step(name.as_bytes(), Number::ONE, 1);
        if number % 5000 == 0 {
            for number in 0..2000 {
                cache.retrieve(format!("used{number}").as_bytes(), 1);
            }
        }
        evict(&mut cache);
    }
    let left = (0..2000).filter(|number| {
        cache
            .retrieve(format!("used{number}").as_bytes(), 1)
            .is_some()
    });
    assert!(left.count() > 1900);
}

#[test]
fn what_is_restored_is_what_was_recorded() {
    let mut before = node(1);
    before.store(b"text", b"value", 5).unwrap();
    before.remove(b"removed", 6).unwrap();
    before.step(b"counter", Number::from_step(b"2.5"), 50);
    before.store(b"both", b"10", 7).unwrap();
    before.step(b"both", Number::ONE, 60);
    let mut after = node(2);
    let all = |cache: &Cache| {
        let mut all = Vec::new();
        let mut cursor = Some(Cursor::default());
        while let Some(from) = cursor {
            cursor = cache.visit_segment(from, 0, |found| {
                let (state, value) = (format!("{:?}", found.state()), found.value());
                let value = value.map(<[u8]>::to_vec);
                all.push((found.name().to_vec(), state, value, found.changed_us()));
            });
        }
        all.sort();
        all
    };
    let mut cursor = Some(Cursor::default());
    while let Some(from) = cursor {
        cursor = before.visit_segment(from, 0, |found| {
            let (state, changed_us) = (found.state(), found.changed_us());
            after.restore(found.name(), &state, changed_us).unwrap();
        });
    }
    assert_eq!(all(&before), all(&after));
    // It counts on as a node of its own.
    after.step(b"counter", Number::ONE, 70);
    assert_eq!(value(&mut after, b"counter", 70), Some(b"3.5".to_vec()));
    assert_eq!(
        after
            .find(b"counter", 70)
            .unwrap()
            .state()
            .contributions
            .len(),
        2
    );
    after.restore_clear(Stamp {
        time_us: 1000,
        node: NodeId(1),
    });
    assert_eq!((after.live(), after.tombstones(), after.bytes()), (0, 0, 0));
}

/// Requests by Zipf's law over ten times as many names as there is room for, and what is asked for and not
/// there is stored: how many of them the cache answers, and how many an exact LRU of the same size would.
fn hit_rates(exponent: f64) -> (f64, f64) {
    const NAMES: usize = 50_000;
    const ROOM: usize = NAMES / 10;
    const REQUESTS: usize = 600_000;
    let mut weights = Vec::with_capacity(NAMES);
    let mut sum = 0.0;
    for rank in 1..=NAMES {
        sum += (rank as f64).powf(-exponent);
        weights.push(sum);
    }
    let mut cache = limited(ROOM * (90 + PLACE) + ROOM / 10 * 8);
    let (mut last_used, mut order) = (vec![0; NAMES], std::collections::BTreeMap::new());
    let (mut random, mut hits, mut lru_hits) = (Random(7), 0, 0);
    for request in 1..=REQUESTS {
        let drawn = random.next(1 << 31) as f64 / (1_u64 << 31) as f64 * sum;
        let rank = weights.partition_point(|weight| *weight < drawn);
        let counts = request > REQUESTS / 4;
        let name = format!("name:{rank:08}");
        if cache.retrieve(name.as_bytes(), 1).is_some() {
            hits += usize::from(counts);
        } else {
            cache.store(name.as_bytes(), &[b'v'; 64], 1).unwrap();
            evict(&mut cache);
        }
        if order.remove(&last_used[rank]).is_some() {
            lru_hits += usize::from(counts);
        } else if order.len() == ROOM {
            order.pop_first();
        }
        last_used[rank] = request;
        order.insert(request, rank);
    }
    assert!(cache.live() <= ROOM && cache.live() > ROOM * 9 / 10);
    let counted = (REQUESTS - REQUESTS / 4) as f64;
    (hits as f64 / counted, lru_hits as f64 / counted)
}

#[test]
fn eviction_keeps_more_of_what_is_asked_for_than_exact_lru() {
    for exponent in [0.6, 0.8, 0.99, 1.1] {
        let (ours, lru) = hit_rates(exponent);
        println!("exponent {exponent}: hit rate {ours:.4}, exact LRU {lru:.4}");
        assert!(ours >= lru, "exponent {exponent}: {ours} < {lru}");
    }
}

/// A node that has forgotten a counter, by age or for want of room, may count on before it hears of it again.
#[test]
fn a_counter_that_one_node_has_forgotten_is_the_same_everywhere_in_the_end() {
    let tell = |from: &Cache, to: &mut Cache, now_us| {
        let state = from.find(b"n", now_us).unwrap().state();
        to.merge(b"n", &state, now_us).unwrap()
    };
    // By how many steps it was counted before, and after.
    for (before, after) in [(1, 1), (5, 1), (1, 5), (3, 3)] {
        let (mut a, mut b) = (node(1), node(2));
        for _ in 0..before {
            a.step(b"n", Number::from_step(b"5"), 1);
        }
        tell(&a, &mut b, 1);
        a.forget(b"n");
        for _ in 0..after {
            a.step(b"n", Number::from_step(b"7"), 2);
        }
        let merged = tell(&a, &mut b, 2);
        assert!(
            matches!(merged.effect, Effect::Counter { .. }),
            "it is news"
        );
        tell(&b, &mut a, 2);
        let values = [&mut a, &mut b].map(|cache| value(cache, b"n", 2).unwrap());
        assert_eq!(values[0], values[1]);
        assert_eq!(values[0], (7 * after).to_string().into_bytes());
    }
}

#[test]
fn a_counter_with_a_name_that_is_a_long_text_is_counted_again() {
    let mut cache = cache();
    let name = vec![b'n'; crate::limits::LONG_LINE];
    for step in 1..=12 {
        cache.step(&name, Number::ONE, 1);
        let expected = step.to_string().into_bytes();
        assert_eq!(value(&mut cache, &name, 1), Some(expected));
    }
    cache.check();
}

/// The times of uses are rounded up, further than to the end of a period for old entries.
#[test]
fn an_old_entry_is_used_first_once_in_a_period() {
    const DAY_US: u64 = 86_400 * SECOND_US;
    let mut cache = cache_of(1, 3 * DAY_US, None);
    cache.record_uses();
    let written_us = 20_000 * DAY_US;
    // The second one of these names has the short form.
    for name in [b"a", b"b"] {
        cache.store(name, b"1", written_us).unwrap();
    }
    let mut now_us = written_us;
    for _ in 0..40 {
        now_us += DAY_US;
        assert!(cache.retrieve(b"b", now_us).is_some());
    }
    let period_us = 1 << cache.period_bits;
    let end_us = (now_us / period_us + 1) * period_us;
    let times = (0..20).map(|second| end_us - 10 * SECOND_US + second * SECOND_US);
    let firsts = times.filter(|now_us| {
        let found = cache.retrieve(b"b", *now_us).expect("it is there");
        found.is_first_in_period
    });
    assert!(firsts.count() <= 2);
}

/// Net::Clacks servers may send any time of the stamp.
#[test]
fn an_entry_that_is_used_long_after_its_stamp_is_not_stale() {
    const NOW_US: u64 = 1_795_000_000 * SECOND_US;
    let mut cache = cache_of(1, 60 * SECOND_US, None);
    for (name, time_us) in [(b"a", 1), (b"b", 2), (b"c", 3)] {
        let node = NodeId(2);
        let state = State {
            stamp: Stamp { time_us, node },
            accessed_us: NOW_US,
            register: Register::Value(b"v"),
            attributes: Default::default(),
            contributions: Vec::new(),
        };
        cache.merge(name, &state, NOW_US).unwrap();
        assert!(cache.retrieve(name, NOW_US).is_some(), "{time_us}");
    }
}
