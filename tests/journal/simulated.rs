//! The restoring of entries from a journal: after power cuts, after faults of the disk, and from damaged files. The
//! real process is killed in `process`.

use super::node::{CLIENTS, History, Node, START_WALL_US};
use crate::support::{Fault, Random, SimulatedDisk};
use clacks::broker::{Record, Settings};
use clacks::limits::SECOND_US;
use clacks::protocol::attributes::Attributes;
use clacks::protocol::peer::{NodeId, Register, Stamp, State};
use clacks::storage::format::{Header, Key};
use clacks::storage::{FileName, LoadError, SyncPolicy, format};
use std::collections::BTreeMap;

/// Returns a random line of a client. Large values let the journal grow until it is rewritten.
fn any_line(random: &mut Random, serial: usize) -> String {
    let name = format!("name{}", random.below(12));
    match random.below(100) {
        0 => "CLEARCACHE".to_owned(),
        1..12 => format!("REMOVE {name}"),
        12..30 => format!("INCREMENT counter{}", random.below(3)),
        30..45 => "FLUSH".to_owned() + &format!(" {serial}"),
        _ => {
            let size = [10, 100, 5_000, 60_000][random.below(4)];
            format!("STORE {name}={serial}:{}", "v".repeat(random.below(size)))
        }
    }
}

/// Lets clients talk and the disk work, in any order, for so many steps.
fn live(node: &mut Node, random: &mut Random, steps: usize) {
    for serial in 0..steps {
        let slot = random.below(CLIENTS as usize) as u32;
        if !node.is_stopped(slot) {
            node.say(slot, &any_line(random, serial));
        }
        node.now_us += random.below(30_000) as u64;
        if random.below(3) > 0 {
            node.work_off();
        }
        // A batch is with the thread for a tenth of a second at most, in this world.
        if node.write_is_due() || random.below(3) == 0 {
            node.write(if random.below(2) == 0 { 1 } else { usize::MAX });
        }
    }
}

/// Some lives of a server, each ended by a power cut.
fn lives_with_power_cuts(seed: u64, sync: SyncPolicy) {
    let mut random = Random::new(seed);
    let mut disk = SimulatedDisk::default();
    let mut now_us = SECOND_US;
    let mut before: Option<(History, usize)> = None;
    for life in 0..3 {
        let started = Node::start(&disk, sync, Settings::default(), now_us);
        let (mut node, _) = started.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        if let Some((history, since)) = &before {
            let what = format!("seed {seed}, life {life}");
            history.check_each(&node.contents(), *since, &what);
        }
        let steps = random.below(400);
        live(&mut node, &mut random, steps);
        let promised = match sync {
            SyncPolicy::Always => 0,
            SyncPolicy::Within(us) => node.history.changes_until(node.now_us.saturating_sub(us)),
            SyncPolicy::Never => unreachable!("nothing is promised"),
        };
        let since = match sync {
            SyncPolicy::Always => node.history.flushed,
            _ => promised,
        };
        now_us = node.now_us + SECOND_US;
        disk = disk.cut_power(&mut random);
        before = Some((node.history, since));
    }
}

/// How many cuts are tried; CLACKSD_CUTS=n for another number.
fn cuts() -> u64 {
    let text = std::env::var("CLACKSD_CUTS").ok();
    text.map_or(500, |text| text.parse().expect("a number"))
}

#[test]
fn no_power_cut_loses_what_was_flushed() {
    // Two cuts that are looked at in each.
    for seed in 0..cuts() {
        lives_with_power_cuts(seed, SyncPolicy::Always);
    }
}

#[test]
fn no_power_cut_loses_what_is_older_than_a_second() {
    for seed in 0..cuts() {
        lives_with_power_cuts(1_000_000 + seed, SyncPolicy::Within(SECOND_US));
    }
}

/// Lets everything be written and said.
fn settle(node: &mut Node) {
    for _ in 0..200 {
        node.work_off();
        node.write(usize::MAX);
        if !(0..CLIENTS).any(|slot| node.is_stopped(slot) || node.has_lines(slot))
            && node.status().contains("journal=saving")
        {
            return;
        }
        node.now_us += SECOND_US;
    }
    panic!("it doesn't come to rest: {}", node.status());
}

/// Lets a node write a new journal, rewrite it, and write all kinds of records.
fn eventful_life(node: &mut Node) {
    let value = "v".repeat(100_000);
    for round in 0..60 {
        node.say(0, &format!("STORE a{}={round}:{value}", round % 5));
        node.say(0, &format!("STORE b=before{round}"));
        node.say(1, "INCREMENT counter");
        node.say(2, &format!("REMOVE a{}", (round + 2) % 5));
        if round % 4 == 3 {
            node.say(0, "FLUSH x");
        }
        if round == 30 {
            node.say(1, "CLEARCACHE");
        }
        node.now_us += 50_000;
        node.work_off();
        node.write(1 + round % 3);
        node.work_off();
    }
}

#[test]
fn whatever_fails_a_start_finds_the_old_or_the_new() {
    let sync = SyncPolicy::Always;
    let disk = SimulatedDisk::default();
    let (mut node, _) = Node::start(&disk, sync, Settings::default(), 1).expect("an empty disk");
    let first_call = disk.calls();
    eventful_life(&mut node);
    let calls = disk.calls();
    assert!(
        disk.bytes(FileName::Journal)
            .is_some_and(|bytes| bytes.len() < 5_000_000),
        "it was written anew"
    );
    let (mut failures_seen, mut random) = (0, Random::new(1));
    for call in first_call..calls {
        for (fault, count) in [
            (Fault::Fails, 1),
            (Fault::Fails, 12),
            (Fault::CutShort, 1),
            (Fault::CutShort, 2),
            (Fault::DoneAndFails, 1),
        ] {
            let what = format!("call {call}: {fault:?}, {count} times");
            let disk = SimulatedDisk::default();
            let (mut node, _) =
                Node::start(&disk, sync, Settings::default(), 1).expect("an empty disk");
            disk.set_fault(call, count, fault);
            eventful_life(&mut node);
            failures_seen += usize::from(node.status().contains("journal=failed"));
            disk.clear_fault();
            // The process is killed now: every state as it was at some time, not before the last FLUSHED.
            let (mut after, _) = Node::start(&disk, sync, Settings::default(), node.now_us)
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            let found = after.contents();
            let (history, flushed) = (node.history.clone(), node.history.flushed);
            assert!(
                (flushed..=history.changes()).any(|changes| history.state_after(changes) == found),
                "{what}: a state that never was"
            );
            // The power fails, too: what was flushed is there.
            let cut = disk.cut_power(&mut random);
            let (mut after, _) = Node::start(&cut, sync, Settings::default(), node.now_us)
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            history.check_each(&after.contents(), flushed, &what);
            // Or nothing of the kind happens: saving resumes by itself.
            settle(&mut node);
            node.say(0, "FLUSH again");
            settle(&mut node);
            assert_eq!(node.history.flushed, node.history.changes(), "{what}");
            let cut = disk.cut_power(&mut random);
            let (mut after, _) = Node::start(&cut, sync, Settings::default(), node.now_us)
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(after.contents(), node.contents(), "{what}");
        }
    }
    assert!(failures_seen > 20, "{failures_seen}");
}

/// A small journal with a bit of everything, and what it says.
fn small_journal() -> (Vec<u8>, BTreeMap<String, String>) {
    let disk = SimulatedDisk::default();
    let (mut node, _) =
        Node::start(&disk, SyncPolicy::Always, Settings::default(), 1).expect("an empty disk");
    for line in [
        "STORE early=1",
        "CLEARCACHE",
        "STORE first=value",
        "STORE second=another value",
        "INCREMENT counter=5",
        "REMOVE second",
        "STORE last=of all",
        "FLUSH x",
    ] {
        node.say(0, line);
    }
    settle(&mut node);
    let bytes = disk.bytes(FileName::Journal).expect("a journal");
    (bytes, node.contents())
}

/// Entries that the small journal holds at some place of it.
const EVER: [(&str, &str); 5] = [
    ("early", "1"),
    ("first", "value"),
    ("second", "another value"),
    ("counter", "5"),
    ("last", "of all"),
];

fn nothing_is_made_up(found: &BTreeMap<String, String>, what: &str) {
    for (name, value) in found {
        assert!(
            EVER.contains(&(name.as_str(), value.as_str())),
            "{what}: {name}={value}"
        );
    }
}

/// The places of a journal's bytes that mean something: between the parts of the header nothing stands.
fn meaningful_places(journal: &[u8]) -> impl Iterator<Item = usize> {
    (0..format::PART).chain(format::SECOND_PART..journal.len())
}

#[test]
fn every_byte_of_a_journal_may_be_wrong() {
    let (bytes, contents) = small_journal();
    let mut lost = 0;
    for at in meaningful_places(&bytes) {
        for bits in [1, 0x80, 0xff, bytes[at]] {
            let what = format!("byte {at} ^ {bits:#x}");
            let mut damaged = bytes.clone();
            damaged[at] ^= bits;
            if damaged == bytes {
                continue;
            }
            let disk = SimulatedDisk::with_journal(damaged.clone());
            let started = Node::start(&disk, SyncPolicy::Always, Settings::default(), 2);
            let (mut node, loaded) = started.unwrap_or_else(|error| panic!("{what}: {error}"));
            let loaded = loaded.expect("it is not empty");
            let found = node.contents();
            nothing_is_made_up(&found, &what);
            lost += usize::from(found != contents);
            // One record at most is lost: 7 were written.
            assert!(loaded.records >= 6, "{what}: {loaded:?}");
            if loaded.damage.is_some() {
                assert_eq!(
                    disk.bytes(FileName::Bad),
                    Some(damaged),
                    "{what}: it is kept"
                );
                settle(&mut node);
                let (mut again, loaded) =
                    Node::start(&disk, SyncPolicy::Always, Settings::default(), 3)
                        .unwrap_or_else(|error| panic!("{what}: {error}"));
                assert_eq!(loaded.and_then(|loaded| loaded.damage), None, "{what}");
                assert_eq!(again.contents(), found, "{what}");
            }
        }
    }
    let records = bytes.len() - format::HEADER;
    assert!(lost > records, "damage is noticed: {lost}");
}

#[test]
fn every_beginning_of_a_journal_is_one() {
    let (bytes, contents) = small_journal();
    let mut last = 0;
    for length in meaningful_places(&bytes).chain([bytes.len()]) {
        let what = format!("{length} bytes");
        let disk = SimulatedDisk::with_journal(bytes[..length].to_vec());
        let started = Node::start(&disk, SyncPolicy::Always, Settings::default(), 2);
        let (mut node, loaded) = started.unwrap_or_else(|error| panic!("{what}: {error}"));
        let found = node.contents();
        nothing_is_made_up(&found, &what);
        let records = loaded.as_ref().map_or(0, |loaded| loaded.records);
        assert!(records >= last && records <= 7, "{what}");
        last = records;
        if let Some(loaded) = loaded {
            assert_eq!(loaded.damage, None, "{what}");
            assert_eq!(loaded.length + loaded.torn, length as u64, "{what}");
        }
        if length == bytes.len() {
            assert_eq!(found, contents);
        }
        node.say(0, "STORE new=1");
        node.say(0, "FLUSH x");
        settle(&mut node);
        let (mut again, _) = Node::start(&disk, SyncPolicy::Always, Settings::default(), 3)
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(again.contents(), node.contents(), "{what}: and it goes on");
    }
    assert_eq!(last, 7);
}

/// A journal of that key with those records.
fn journal_of(key: Key, records: &[Record<'_>]) -> Vec<u8> {
    let mut bytes = format::header(key).to_vec();
    for record in records {
        let mut frame = Vec::new();
        format::encode(&mut frame, record);
        format::seal(&mut frame, key, bytes.len() as u64);
        bytes.extend_from_slice(&frame);
    }
    bytes
}

/// The record of an entry that is as old as can be.
fn entry<'a>(name: &'a [u8], value: &'a [u8]) -> Record<'a> {
    Record::State {
        name,
        changed_us: 0,
        state: State {
            stamp: Stamp::default(),
            accessed_us: 0,
            register: Register::Value(value),
            attributes: Attributes::default(),
            contributions: Vec::new(),
        },
    }
}

/// Cuts and damages a journal everywhere in its first record's head and fields, and expects an empty cache each time.
fn nothing_is_found_within_the_first_record(journal: &[u8]) {
    for at in format::HEADER..format::HEADER + format::FRAME + 16 {
        let mut damaged = journal.to_vec();
        damaged[at] ^= 1;
        let cut = journal[..journal.len() - 1].to_vec();
        for bytes in [damaged, cut] {
            let disk = SimulatedDisk::with_journal(bytes);
            let (mut node, _) = Node::start(&disk, SyncPolicy::Always, Settings::default(), 2)
                .unwrap_or_else(|error| panic!("byte {at}: {error}"));
            assert_eq!(node.contents(), BTreeMap::new(), "byte {at}");
        }
    }
}

#[test]
fn what_only_looks_like_a_record_is_none() {
    let (bytes, _) = small_journal();
    // A value that is all the records of another journal.
    let copy = &bytes[format::HEADER..];
    let key = Key::from_bytes([1; 16]);
    nothing_is_found_within_the_first_record(&journal_of(key, &[entry(b"copy", copy)]));
}

/// Who may write knows where its value will stand, and can compute any checksum but those with the file's key.
#[test]
fn a_value_that_holds_frames_right_for_their_places_plants_nothing() {
    let (key, guessed) = (Key::from_bytes([1; 16]), Key::from_bytes([0; 16]));
    let before_value = journal_of(key, &[entry(b"planted", b"")]).len();
    let clear = Record::Clear(Stamp {
        time_us: START_WALL_US,
        node: NodeId(1),
    });
    let mut value = Vec::new();
    for record in [&clear, &entry(b"evil", b"obeyed")] {
        let place = before_value + value.len();
        let mut frame = Vec::new();
        format::encode(&mut frame, record);
        format::seal(&mut frame, guessed, place as u64);
        value.extend_from_slice(&frame);
    }
    value.extend_from_slice(b"and the write was not finished");
    let record = entry(b"planted", &value);
    let planted = |key| {
        let mut journal = journal_of(key, std::slice::from_ref(&record));
        journal.pop();
        let disk = SimulatedDisk::with_journal(journal);
        let started = Node::start(&disk, SyncPolicy::Always, Settings::default(), 2);
        let (mut node, loaded) = started.unwrap_or_else(|error| panic!("{error}"));
        (node.contents(), loaded.expect("a journal").records)
    };
    assert_eq!(planted(key), (BTreeMap::new(), 0));
    // The places were right: with the key the frames would be read.
    assert_eq!(planted(guessed).1, 2);
    nothing_is_found_within_the_first_record(&journal_of(key, &[record]));
}

/// A key that was guessed once, from a copy of the file for example, is of no use for long.
#[test]
fn each_journal_has_a_key_of_its_own() {
    let disk = SimulatedDisk::default();
    let (mut node, _) =
        Node::start(&disk, SyncPolicy::Always, Settings::default(), 1).expect("an empty disk");
    let key = || {
        let bytes = disk.bytes(FileName::Journal).expect("a journal");
        match Header::decode(&bytes) {
            Header::Good(key) => key,
            other => panic!("{other:?}"),
        }
    };
    let first = key();
    let value = "v".repeat(1_000_000);
    for number in 0..12 {
        node.say(0, &format!("STORE name={number}{value}"));
        node.work_off();
        node.write(usize::MAX);
    }
    settle(&mut node);
    let length = disk.bytes(FileName::Journal).map_or(0, |bytes| bytes.len());
    assert!(length < 8_000_000, "it was rewritten: {length}");
    assert!(key() != first, "with a new key");
    node.say(0, "STORE last=1");
    settle(&mut node);
    let (mut again, loaded) = Node::start(&disk, SyncPolicy::Always, Settings::default(), 2)
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(loaded.and_then(|loaded| loaded.damage), None);
    assert_eq!(again.contents(), node.contents());
}

/// Each CLEARCACHE is newer than the last one, and older than nearly all that there is.
#[test]
fn many_clears_of_old_times_leave_what_is_newer_and_drop_what_is_older() {
    const ENTRIES: usize = 500;
    let key = Key::from_bytes([1; 16]);
    let stamp = |number: usize| Stamp {
        time_us: START_WALL_US + 2 * number as u64,
        node: NodeId(1),
    };
    let names: Vec<String> = (0..ENTRIES).map(|number| format!("name{number}")).collect();
    let mut records: Vec<Record<'_>> = Vec::new();
    for (number, name) in names.iter().enumerate() {
        let Record::State { name, state, .. } = entry(name.as_bytes(), b"value") else {
            unreachable!("it is a state");
        };
        records.push(Record::State {
            name,
            state: State {
                stamp: stamp(number),
                accessed_us: START_WALL_US,
                ..state
            },
            changed_us: START_WALL_US,
        });
    }
    // Every tenth entry is older than one of them.
    records.extend((1..=ENTRIES / 10).map(|number| Record::Clear(stamp(number))));
    for cache_max in [None, Some(15_000)] {
        let settings = Settings {
            cache_max,
            ..Settings::default()
        };
        let disk = SimulatedDisk::with_journal(journal_of(key, &records));
        let started = Node::start(&disk, SyncPolicy::Always, settings, SECOND_US);
        let (mut node, _) = started.unwrap_or_else(|error| panic!("{error}"));
        let left = node.live();
        let found = node.contents();
        assert_eq!(left, found.len(), "none is left that is not found");
        for cleared in &names[..ENTRIES / 10] {
            assert!(!found.contains_key(cleared), "{cleared}");
        }
        match cache_max {
            None => assert_eq!(left, ENTRIES - ENTRIES / 10),
            Some(_) => assert!((100..ENTRIES / 2).contains(&left), "{left}"),
        }
    }
}

#[test]
fn what_is_no_journal_or_one_of_another_version_is_not_touched() {
    /// A header of version 1: its records began at once, and there was no key.
    fn version_1() -> Vec<u8> {
        let mut header = [&format::MAGIC[..], &[1, 0, 0, 0, 0, 0, 0, 0]].concat();
        let sum = twox_hash::XxHash3_64::oneshot_with_seed(0, &header);
        header.extend_from_slice(&sum.to_le_bytes());
        header
    }
    let (bytes, _) = small_journal();
    let mut newer = bytes.clone();
    newer[16] = 3;
    let sum = twox_hash::XxHash3_64::oneshot_with_seed(0, &newer[..24]);
    newer[24..32].copy_from_slice(&sum.to_le_bytes());
    let mut without_key = bytes.clone();
    for part in [0, format::SECOND_PART] {
        without_key[part + 40] ^= 1;
    }
    let passwords = b"root:x:0:0:root:/root:/bin/bash\n".repeat(200);
    for (bytes, version) in [
        (newer, Some(3)),
        (version_1(), Some(1)),
        ([version_1(), vec![7; 10_000]].concat(), Some(1)),
        (passwords, None),
        (b"x".to_vec(), None),
        (without_key, None),
    ] {
        let disk = SimulatedDisk::with_journal(bytes.clone());
        let started = Node::start(&disk, SyncPolicy::Always, Settings::default(), 2);
        match (started.err(), version) {
            (Some(LoadError::OtherVersion(found)), Some(version)) if found == version => {}
            (Some(LoadError::NoJournal), None) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(disk.bytes(FileName::Journal), Some(bytes));
        assert_eq!(disk.bytes(FileName::New), None);
        assert_eq!(disk.bytes(FileName::Bad), None);
    }
}

/// While much is on its way to the disk a rewrite rests; nothing but that it was written lets it go on.
#[test]
fn a_rewrite_of_much_comes_to_its_end() {
    let disk = SimulatedDisk::default();
    let (mut node, _) =
        Node::start(&disk, SyncPolicy::Never, Settings::default(), 1).expect("an empty disk");
    let value = "v".repeat(100_000);
    for number in 0..80 {
        node.say(0, &format!("STORE name{number}={value}"));
    }
    node.work_off();
    node.write(usize::MAX);
    for _ in 0..50 {
        // More than may be on its way, before anything is written.
        for _ in 0..40 {
            node.work_off();
        }
        node.write(usize::MAX);
    }
    assert!(
        node.status().contains(" journal=saving "),
        "{}",
        node.status()
    );
    let length = disk.bytes(FileName::Journal).map_or(0, |bytes| bytes.len());
    // What was recorded in the turn in which it began is in it, too.
    assert!((8_000_000..16_100_000).contains(&length), "{length}");
}

/// The records of changes during a rewrite add no more to the journal than about the size of the rewritten entries.
#[test]
fn a_rewrite_keeps_pace_with_what_is_recorded() {
    let disk = SimulatedDisk::default();
    let (mut node, _) =
        Node::start(&disk, SyncPolicy::Never, Settings::default(), 1).expect("an empty disk");
    let value = "v".repeat(1_000);
    let mut numbers = (0..5_000).cycle();
    let mut turn = |node: &mut Node| {
        for number in numbers.by_ref().take(100) {
            node.say(0, &format!("STORE name{number}={value}"));
        }
        node.work_off();
        node.write(usize::MAX);
    };
    let held = 5_000 * value.len();
    while !node.status().contains(" journal=rewriting ") {
        turn(&mut node);
    }
    while node.status().contains(" journal=rewriting ") {
        turn(&mut node);
    }
    let length = disk.bytes(FileName::Journal).map_or(0, |bytes| bytes.len());
    assert!((held..held * 5 / 2).contains(&length), "{length} of {held}");
}

/// If the disk falls behind, during a rewrite of the journal or at another time, clients that write much are stopped,
/// nothing is given up, and each FLUSHED is true.
#[test]
fn a_disk_that_stands_still_stops_who_writes_much_and_loses_nothing() {
    let value = "v".repeat(1_000_000);
    for written_before in 0..12 {
        let disk = SimulatedDisk::default();
        let sync = SyncPolicy::Always;
        let (mut node, _) =
            Node::start(&disk, sync, Settings::default(), 1).expect("an empty disk");
        for number in 0..90 {
            node.say(0, &format!("STORE name{number}={number}:{value}"));
            node.now_us += 1000;
            node.work_off();
            if number < written_before {
                node.write(1);
            }
        }
        assert!(!node.status().contains(" journal=failed "));
        assert!(node.is_stopped(0), "it writes much");
        assert!(node.unsaved() < 20_000_000, "{}", node.unsaved());
        // Who has written little goes on, and waits only for the disk.
        node.say(1, "INCREMENT counter");
        node.say(2, "RETRIEVE counter");
        node.work_off();
        assert!(!node.is_stopped(1) && !node.is_stopped(2));
        node.say(1, "FLUSH x");
        for _ in 0..6 {
            node.write(1);
            node.now_us += SECOND_US / 4;
            node.work_off();
            let cut = disk.cut_power(&mut Random::new(written_before));
            let (mut after, _) = Node::start(&cut, sync, Settings::default(), node.now_us)
                .unwrap_or_else(|error| panic!("{error}"));
            let what = format!("{written_before} written before");
            node.history
                .check_each(&after.contents(), node.history.flushed, &what);
        }
        settle(&mut node);
        node.say(0, "FLUSH again");
        settle(&mut node);
        assert_eq!(node.history.flushed, node.history.changes());
        assert_eq!(node.contents().len(), 91, "all was stored in the end");
        let cut = disk.cut_power(&mut Random::new(written_before));
        let (mut after, _) = Node::start(&cut, sync, Settings::default(), node.now_us)
            .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(after.contents(), node.contents());
    }
}

/// Of a name that is written all the time only the newest record waits, so nobody is stopped for it.
#[test]
fn a_name_that_is_written_all_the_time_neither_stops_anybody_nor_fails() {
    let disk = SimulatedDisk::default();
    let sync = SyncPolicy::Always;
    let (mut node, _) = Node::start(&disk, sync, Settings::default(), 1).expect("an empty disk");
    let value = "v".repeat(500);
    // Something for the disk to be busy with.
    node.say(1, &format!("STORE first={}", "v".repeat(2_000_000)));
    node.work_off();
    for round in 0..1000 {
        for number in 0..200 {
            node.say(0, &format!("STORE big={round}:{number}:{value}"));
        }
        node.work_off();
        assert!(!node.is_stopped(0));
        assert!(node.unsaved() < 6_000_000, "{}", node.unsaved());
    }
    node.say(2, "FLUSH x");
    settle(&mut node);
    assert_eq!(node.history.flushed, node.history.changes());
    let cut = disk.cut_power(&mut Random::new(1));
    let (mut after, _) =
        Node::start(&cut, sync, Settings::default(), 2).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(after.contents(), node.contents());
}

/// Many clients, each with a line of some size: all of them together are stopped in time, and all get on.
#[test]
fn what_waits_for_the_disk_is_bounded_whoever_writes() {
    let disk = SimulatedDisk::default();
    let (mut node, _) =
        Node::start(&disk, SyncPolicy::Always, Settings::default(), 1).expect("an empty disk");
    let value = "v".repeat(10_000_000);
    for round in 0..8 {
        for slot in 0..CLIENTS {
            node.say(slot, &format!("STORE name{slot}:{round}={value}"));
        }
        node.work_off();
        assert!(node.unsaved() < 80_000_000, "{}", node.unsaved());
    }
    assert!((0..CLIENTS).any(|slot| node.is_stopped(slot)));
    for slot in 0..CLIENTS {
        node.say(slot, "FLUSH x");
    }
    settle(&mut node);
    assert_eq!(node.contents().len(), 8 * CLIENTS as usize);
    assert_eq!(node.history.flushed, node.history.changes());
}

#[test]
fn a_limited_cache_is_restored_within_its_limit() {
    let disk = SimulatedDisk::default();
    let (mut node, _) =
        Node::start(&disk, SyncPolicy::Always, Settings::default(), 1).expect("an empty disk");
    for number in 0..500 {
        node.say(0, &format!("STORE name{number}={}", "v".repeat(1000)));
    }
    node.say(0, "FLUSH x");
    settle(&mut node);
    let settings = Settings {
        cache_max: Some(100_000),
        ..Settings::default()
    };
    let (mut node, _) = Node::start(&disk, SyncPolicy::Always, settings, 2).expect("it is good");
    let left = node.contents();
    assert!((60..100).contains(&left.len()), "{}", left.len());
    assert!(left.values().all(|value| value.len() == 1000));
}

#[test]
fn a_used_entry_is_not_stale_after_a_start() {
    let settings = Settings::default();
    let stale_us = settings.ageing.stale_us;
    let disk = SimulatedDisk::default();
    let (mut node, _) =
        Node::start(&disk, SyncPolicy::Always, settings.clone(), 1).expect("an empty disk");
    node.say(0, "STORE used=1");
    node.say(0, "STORE unused=1");
    node.work_off();
    for _ in 0..20 {
        node.now_us += stale_us / 10;
        node.say(0, "RETRIEVE used");
        node.work_off();
        node.write(usize::MAX);
    }
    let now_us = node.now_us + stale_us * 6 / 10;
    let (mut node, _) =
        Node::start(&disk, SyncPolicy::Always, settings, now_us).expect("it is good");
    assert_eq!(
        node.contents().into_keys().collect::<Vec<_>>(),
        ["used".to_owned()]
    );
}

/// A disk that has more to do each time it reports than a rewrite waits for.
#[test]
fn a_load_that_never_lets_up_does_not_keep_the_journal_from_being_written_anew() {
    let disk = SimulatedDisk::default();
    let (mut node, _) =
        Node::start(&disk, SyncPolicy::Never, Settings::default(), 1).expect("an empty disk");
    let value = "v".repeat(100_000);
    let mut numbers = (0..20).cycle();
    for _ in 0..240 {
        for number in numbers.by_ref().take(5) {
            node.say(0, &format!("STORE name{number}={value}"));
        }
        node.work_off();
        // Something is never done when it reports.
        node.write(node.waiting().saturating_sub(1));
    }
    let length = disk.bytes(FileName::Journal).map_or(0, |bytes| bytes.len());
    assert!(length < 30_000_000, "{length} of 120 MB");
}

/// Changes that were flushed before a write to the journal fails are not lost by the failure.
#[test]
fn a_journal_that_can_not_be_written_any_more_keeps_what_was_promised() {
    let sync = SyncPolicy::Within(SECOND_US);
    for seed in 0..20 {
        let disk = SimulatedDisk::default();
        let (mut node, _) =
            Node::start(&disk, sync, Settings::default(), 1).expect("an empty disk");
        node.say(0, "STORE before=1");
        node.say(0, "FLUSH x");
        settle(&mut node);
        node.say(0, "STORE more=1");
        node.say(0, "FLUSH y");
        node.work_off();
        node.write(usize::MAX);
        node.work_off();
        assert_eq!(node.history.flushed, 2);
        node.now_us += SECOND_US / 10;
        disk.set_fault(disk.calls(), 1, Fault::Fails);
        node.say(0, "STORE after=1");
        node.work_off();
        node.write(usize::MAX);
        assert!(
            node.status().contains("journal=failed"),
            "{}",
            node.status()
        );
        let cut = disk.cut_power(&mut Random::new(seed));
        let (mut after, _) = Node::start(&cut, sync, Settings::default(), 60 * SECOND_US)
            .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let found = after.contents();
        assert!(
            found.contains_key("before") && found.contains_key("more"),
            "seed {seed}"
        );
    }
}
