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
    subjects.find(Topic::Name(name), Some(name), listeners);
    let found = &subjects.found().clacks;
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
    let mut own: BTreeMap<u32, OwnSubscriptions> = BTreeMap::new();
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
                    let (_, is_done) = subjects.end_slice(own);
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
        let mut own = OwnSubscriptions::default();
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
        let mut find = || subjects.find(Topic::Name(b"a::b::c"), None, &listeners);
        visited.push(find());
        let again = find();
        assert_eq!(subjects.found().clacks, [connection(1)]);
        assert_eq!(again, 0, "the last name is not looked up again");
    }
    // The first one; a and *; a::b and a::*; a::b::c and a::*::c.
    assert_eq!(visited, [7, 7, 7]);
}

#[test]
fn equal_identities_have_equal_lists() {
    let (mut subjects, mut listeners) = (Subjects::new(hasher()), Listeners::new(hasher()));
    let mut own = OwnSubscriptions::default();
    let mut by_name = crate::broker::listeners::Subscriptions::default();
    let mut seen = BTreeMap::new();
    let mut look = |subjects: &mut Subjects, listeners: &Listeners, name: &[u8]| {
        subjects.find(Topic::Name(name), Some(name), listeners);
        if let Some((id, found)) = subjects.audience() {
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
    let mut own = OwnSubscriptions::default();
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

/// A subscription of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Modelled {
    slot: u32,
    sid: String,
    pattern: Vec<u8>,
    group: Option<String>,
}

/// The sids of those that a message reaches without a group, and those of each group's members.
fn reached(
    subjects: &mut Subjects,
    subject: &[u8],
    listeners: &Listeners,
) -> (Vec<String>, Vec<(String, Vec<String>)>) {
    subjects.find(Topic::Subject(subject), None, listeners);
    let sid_of = |id: SubscriptionId| {
        let (connection, own) = subjects.nats(id).expect("it is one of NATS");
        format!("{}/{}", connection.slot, String::from_utf8_lossy(&own.sid))
    };
    let found = subjects.found();
    let mut plain: Vec<String> = found.plain.iter().map(|id| sid_of(*id)).collect();
    plain.sort_unstable();
    let members = found
        .members
        .chunk_by(|one, other| one.group == other.group);
    let mut groups: Vec<(String, Vec<String>)> = members
        .map(|members| {
            let group = subjects.group_name(members[0].group);
            let mut sids: Vec<String> = members
                .iter()
                .map(|member| match member.is_link {
                    true => format!("{}", member.connection.slot),
                    false => sid_of(member.subscription),
                })
                .collect();
            sids.sort_unstable();
            (String::from_utf8_lossy(group).into_owned(), sids)
        })
        .collect();
    groups.sort_unstable();
    (plain, groups)
}

const LINK: u32 = 99;

/// Subjects beside what is true of them.
struct Checked {
    subjects: Subjects,
    listeners: Listeners,
    own: BTreeMap<u32, OwnSubscriptions>,
    model: Vec<Modelled>,
}

impl Checked {
    /// Ends a subscription, or what is known of a group behind the link. Returns the memory that it took.
    fn end(&mut self, wanted: &Modelled) -> Option<isize> {
        let own = self.own.entry(wanted.slot).or_default();
        let id = connection(wanted.slot);
        let place = self.model.iter().position(|one| one.is_known_as(wanted));
        let ended = match (wanted.slot, &wanted.group) {
            (LINK, None) => None,
            (LINK, Some(group)) => self
                .subjects
                .part(&wanted.pattern, group.as_bytes(), id, own),
            _ => {
                let found = self.subjects.with_sid(id, wanted.sid.as_bytes());
                found.map(|found| self.subjects.end(found, own))
            }
        };
        assert_eq!(ended.is_some(), place.is_some());
        place.map(|place| self.model.remove(place));
        ended
    }

    /// Adds a subscription, or that the group has members behind the link. Returns the memory that it takes.
    fn add(&mut self, new: &Modelled) -> Option<isize> {
        let own = self.own.entry(new.slot).or_default();
        let id = connection(new.slot);
        let group = new.group.as_deref().map(str::as_bytes);
        let is_known = self.model.iter().any(|one| one.is_known_as(new));
        let added = match (new.slot, group) {
            (LINK, None) => return None,
            (LINK, Some(group)) => self.subjects.join(&new.pattern, group, id, own),
            _ => {
                let sid = new.sid.as_bytes();
                self.subjects.subscribe(&new.pattern, group, sid, id, own)
            }
        };
        assert_eq!(added.is_none(), is_known);
        if added.is_some() {
            self.model.push(new.clone());
        }
        added
    }

    fn memory_of(&self, slot: u32) -> isize {
        let own = self.own.get(&slot);
        own.map_or(0, |own| self.subjects.memory_of(own))
    }

    /// Compares what a subject reaches with the rule.
    fn compare(&mut self, subject: &[u8]) {
        let matching = self.model.iter();
        let matching = matching.filter(|one| matches(&one.pattern, subject));
        let mut plain = Vec::new();
        let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for one in matching {
            let shown = match one.slot {
                LINK => LINK.to_string(),
                slot => format!("{slot}/{}", one.sid),
            };
            match &one.group {
                None => plain.push(shown),
                Some(group) => groups.entry(group.clone()).or_default().push(shown),
            }
        }
        plain.sort_unstable();
        groups.values_mut().for_each(|sids| sids.sort_unstable());
        let found = reached(&mut self.subjects, subject, &self.listeners);
        let expected = (plain, groups.into_iter().collect::<Vec<_>>());
        assert_eq!(found, expected, "{}", subject.escape_ascii());
    }
}

impl Modelled {
    /// Both go by the same sid, or by the same pattern and group.
    fn is_known_as(&self, other: &Modelled) -> bool {
        self.slot == other.slot
            && match self.slot {
                LINK => self.group == other.group && self.pattern == other.pattern,
                _ => self.sid == other.sid,
            }
    }
}

#[test]
fn subjects_reach_subscriptions_and_groups_by_the_rule_whatever_comes_and_goes() {
    const TOKENS: [&str; 6] = ["a", "b", "*", "a*", "*>", "%"];
    let mut random = Random(7);
    let mut checked = Checked {
        subjects: Subjects::new(hasher()),
        listeners: Listeners::new(hasher()),
        own: BTreeMap::new(),
        model: Vec::new(),
    };
    for _ in 0..20_000 {
        let mut text = |extra: &[&str]| {
            let name = random.text(&[&TOKENS[..], extra].concat());
            name.escape_ascii().to_string().replace("::", ".")
        };
        let (mut pattern, subject) = (text(&[]), text(&[">"]));
        if random.below(4) == 0 {
            pattern += ".>";
        }
        let slot = [1, 2, 3, LINK][random.below(4)];
        let wanted = Modelled {
            slot,
            sid: random.below(12).to_string(),
            pattern: pattern.into_bytes(),
            group: [None, Some("q"), Some("r")][random.below(3)].map(str::to_owned),
        };
        let before = checked.memory_of(slot);
        let growth = match random.below(3) {
            0 => checked.end(&wanted).map(|memory| -memory),
            _ => checked.add(&wanted),
        };
        assert_eq!(before + growth.unwrap_or(0), checked.memory_of(slot));
        checked.compare(subject.as_bytes());
    }
    let Checked {
        mut subjects,
        mut own,
        ..
    } = checked;
    subjects.check(own.iter().map(|(slot, own)| (connection(*slot), own)));
    for own in own.values_mut() {
        while !subjects.end_slice(own).1 {}
    }
    assert!(subjects.is_empty() && subjects.pairs().is_empty());
}

#[test]
fn a_subscription_ends_with_the_message_that_reaches_its_max() {
    let (mut subjects, listeners) = (Subjects::new(hasher()), Listeners::new(hasher()));
    let mut own = OwnSubscriptions::default();
    subjects.subscribe(b"a", None, b"1", connection(1), &mut own);
    let deliver = |subjects: &mut Subjects| {
        subjects.find(Topic::Subject(b"a"), None, &listeners);
        let (count, spent) = subjects.deliver_plain(|_, _| true);
        (count, spent.len())
    };
    assert_eq!(deliver(&mut subjects), (1, 0));
    let id = subjects.with_sid(connection(1), b"1").expect("it is there");
    assert!(!subjects.limit(id, 3));
    assert_eq!(deliver(&mut subjects), (1, 0));
    assert_eq!(deliver(&mut subjects), (1, 1));
    assert!(subjects.limit(id, 2) && !subjects.limit(id, 4));
}

/// A request that reaches nobody looks its reply up without a name.
#[test]
fn who_listens_to_the_name_is_left_out_whatever_was_looked_up_before() {
    let (mut subjects, mut listeners) = (Subjects::new(hasher()), Listeners::new(hasher()));
    let mut own = OwnSubscriptions::default();
    let mut by_name = crate::broker::listeners::Subscriptions::default();
    subjects.listen(b"a::*", connection(1), &mut own);
    listeners.listen(b"a::b", None, connection(1), &mut by_name);
    let topic = Topic::Subject(b"a.b");
    subjects.find(topic, None, &listeners);
    assert_eq!(subjects.found().clacks, [connection(1)]);
    subjects.find(topic, Some(b"a::b"), &listeners);
    assert_eq!(subjects.found().clacks, []);
}

#[test]
fn subscriptions_of_who_is_gone_get_nothing_that_counts() {
    let (mut subjects, listeners) = (Subjects::new(hasher()), Listeners::new(hasher()));
    let mut own = OwnSubscriptions::default();
    for number in 0..5_000 {
        let sid = number.to_string();
        subjects.subscribe(b"a", None, sid.as_bytes(), connection(1), &mut own);
    }
    let mut other = OwnSubscriptions::default();
    subjects.subscribe(b"a", None, b"1", connection(2), &mut other);
    subjects.find(Topic::Subject(b"a"), None, &listeners);
    subjects.leave(connection(1), &mut own);
    assert!(subjects.has_work());
    let mut reached = Vec::new();
    let (count, _) = subjects.deliver_plain(|connection, _| {
        reached.push(connection);
        true
    });
    assert_eq!((count, reached), (1, vec![connection(2)]));
    while subjects.has_work() {
        subjects.forget_slice();
    }
    assert!(subjects.departed.is_empty());
}

/// The sids of the audience that the plain subscriptions to a subject are, each with its slot; `None` if they are none.
fn audience(subjects: &mut Subjects, subject: &[u8]) -> Option<Vec<(u32, String)>> {
    let listeners = Listeners::new(hasher());
    subjects.find(Topic::Subject(subject), None, &listeners);
    let plain = subjects.plain_audience()?;
    let slots = plain.connections.iter().map(|connection| connection.slot);
    let text = |sid: &[u8]| String::from_utf8(sid.to_vec()).expect("text");
    let mut found: Vec<(u32, String)> = match plain.sids {
        Sids::Equal(sid) => slots.map(|slot| (slot, text(sid))).collect(),
        Sids::Differing(labels) => slots.zip(labels.iter().map(text)).collect(),
    };
    found.sort();
    Some(found)
}

#[test]
fn subscriptions_that_get_the_same_messages_are_one_audience() {
    let mut subjects = Subjects::new(hasher());
    let mut own: [OwnSubscriptions; 3] = Default::default();
    let mut subscribe = |subjects: &mut Subjects, slot: usize, subject: &[u8], sid: &[u8]| {
        subjects.subscribe(subject, None, sid, connection(slot as u32), &mut own[slot]);
    };
    assert_eq!(audience(&mut subjects, b"a"), None);
    subscribe(&mut subjects, 0, b"a", b"1");
    let pair = |slot, sid: &str| (slot, sid.to_owned());
    assert_eq!(audience(&mut subjects, b"a"), Some(vec![pair(0, "1")]));
    subscribe(&mut subjects, 1, b"*", b"1");
    // Who comes once is not worth more.
    assert_eq!(audience(&mut subjects, b"a"), None);
    let both = Some(vec![pair(0, "1"), pair(1, "1")]);
    assert_eq!(audience(&mut subjects, b"a"), both);
    assert_eq!(audience(&mut subjects, b"a"), both);
    subscribe(&mut subjects, 2, b">", b"22");
    assert_eq!(audience(&mut subjects, b"a"), None);
    let all = Some(vec![pair(0, "1"), pair(1, "1"), pair(2, "22")]);
    assert_eq!(audience(&mut subjects, b"a"), all);
    // Two subscriptions of one connection get each message one straight after the other.
    subscribe(&mut subjects, 2, b"a.>", b"23");
    subscribe(&mut subjects, 2, b"a", b"24");
    assert_eq!(audience(&mut subjects, b"a"), None);
    assert_eq!(audience(&mut subjects, b"a"), None);
    let id = subjects
        .with_sid(connection(2), b"24")
        .expect("it is there");
    subjects.end(id, &mut own[2]);
    audience(&mut subjects, b"a");
    assert_eq!(audience(&mut subjects, b"a"), all);
    let id = subjects.with_sid(connection(1), b"1").expect("it is there");
    assert!(!subjects.limit(id, 5));
    audience(&mut subjects, b"a");
    assert_eq!(audience(&mut subjects, b"a"), None);
    subjects.end(id, &mut own[1]);
    let [_, _, gone] = &mut own;
    subjects.leave(connection(2), gone);
    audience(&mut subjects, b"a");
    assert_eq!(audience(&mut subjects, b"a"), None);
    while subjects.has_work() {
        subjects.forget_slice();
    }
    assert_eq!(audience(&mut subjects, b"a"), Some(vec![pair(0, "1")]));
}

#[test]
fn messages_to_an_audience_count_for_each_subscription() {
    let mut subjects = Subjects::new(hasher());
    let mut own: [OwnSubscriptions; 2] = Default::default();
    for (slot, own) in own.iter_mut().enumerate() {
        subjects.subscribe(b"a", None, b"1", connection(slot as u32), own);
    }
    let limit = |subjects: &mut Subjects, slot, max| {
        let id = subjects.with_sid(connection(slot), b"1");
        subjects.limit(id.expect("it is there"), max)
    };
    audience(&mut subjects, b"a");
    for (silent, reached) in [(None, 2), (None, 2), (Some(connection(1)), 1), (None, 2)] {
        assert!(audience(&mut subjects, b"a").is_some());
        assert_eq!(subjects.count_for_all(silent), reached);
    }
    assert_eq!(subjects.count_for_all(Some(connection(7))), 2);
    // Another list, another subscription and its end change nothing of what went to them.
    audience(&mut subjects, b"b");
    let mut other = OwnSubscriptions::default();
    subjects.subscribe(b"a", None, b"1", connection(9), &mut other);
    let id = subjects.with_sid(connection(9), b"1").expect("it is there");
    audience(&mut subjects, b"a");
    audience(&mut subjects, b"a");
    assert_eq!(subjects.count_for_all(None), 3);
    subjects.end(id, &mut other);
    assert!(!limit(&mut subjects, 0, 7));
    assert!(limit(&mut subjects, 0, 6));
    assert!(!limit(&mut subjects, 1, 6));
    assert!(limit(&mut subjects, 1, 5));
}

/// A burst to those of the last list may be open.
#[test]
fn lists_have_other_identities_when_all_subscriptions_have_ended() {
    let mut subjects = Subjects::new(hasher());
    let mut ids = BTreeSet::new();
    for slot in 0..3 {
        let mut own = OwnSubscriptions::default();
        subjects.subscribe(b"a", None, b"1", connection(slot), &mut own);
        assert!(audience(&mut subjects, b"a").is_some());
        let id = subjects.plain_audience().expect("one").id;
        assert!(ids.insert((id.name, id.changes)), "{ids:?}");
        while !subjects.end_slice(&mut own).1 {}
        assert!(subjects.is_empty());
    }
}
