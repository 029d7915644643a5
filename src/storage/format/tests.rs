//! The format as a whole: what is written is read, and nothing else.

use super::header::{KEY_END, common};
use super::*;
use crate::broker::Record;
use crate::limits::{MAX_CONTRIBUTIONS, MAX_RECORD_NAME};
use crate::protocol::attributes::{Attributes, Marks};
use crate::protocol::number::Number;
use crate::protocol::peer::{Contribution, NodeId, Register, ShareId, Stamp, State};

fn every_attribute() -> Attributes {
    Attributes {
        client_flags: 1 << 31,
        expires_us: Some(0),
        touched_us: Some(u64::MAX),
        version: Some(5),
        marks: Marks {
            base64: true,
            stale: true,
            won: true,
        },
    }
}

/// A state with each set of attributes.
fn states_with_attributes() -> Vec<Record<'static>> {
    let all = every_attribute();
    let state = |set: u32| {
        let has = |place: u32| set & 1 << place != 0;
        let attributes = Attributes {
            client_flags: if has(0) { all.client_flags } else { 0 },
            expires_us: all.expires_us.filter(|_| has(1)),
            touched_us: all.touched_us.filter(|_| has(2)),
            version: all.version.filter(|_| has(3)),
            marks: Marks {
                base64: has(4),
                stale: has(5),
                won: has(6),
            },
        };
        Record::State {
            name: b"n",
            changed_us: 7,
            state: State {
                stamp: Stamp::default(),
                accessed_us: 5,
                register: Register::Value(b"v"),
                attributes,
                contributions: Vec::new(),
            },
        }
    };
    (0..1 << 7).map(state).collect()
}

fn touch(attributes: Attributes) -> Record<'static> {
    Record::Touch {
        name: b"n=\n",
        stamp: Stamp {
            time_us: 7,
            node: NodeId(9),
        },
        accessed_us: 5,
        attributes,
    }
}

#[test]
fn every_set_of_attributes_goes_there_and_back() {
    for record in states_with_attributes() {
        let mut frame = Vec::new();
        encode(&mut frame, &record);
        assert_eq!(decode(&frame[FRAME..]), Some(record));
    }
}

/// A record of a new entry, as most are.
#[test]
fn a_short_state_takes_few_bytes() {
    let time_us = 1_700_000_000_000_000;
    let state = |stamp: Stamp, accessed_us, changed_us, name| Record::State {
        name,
        changed_us,
        state: State {
            stamp,
            accessed_us,
            register: Register::Value(b"v"),
            attributes: Attributes::default(),
            contributions: Vec::new(),
        },
    };
    let stamp = |time_us| Stamp {
        time_us,
        node: NodeId(u64::MAX),
    };
    let (long, longest) = ([b'n'; 254], [b'n'; 255]);
    let late_us = 1 << 56;
    for (record, beside_name) in [
        (state(stamp(time_us), time_us, time_us, b"n".as_slice()), 18),
        (state(stamp(time_us), time_us + 1, time_us, b"n"), 26),
        (state(stamp(time_us), time_us, time_us + 1, b"n"), 26),
        (state(stamp(time_us), time_us, time_us, &long), 18),
        (state(stamp(time_us), time_us, time_us, &longest), 22),
        (
            state(stamp(late_us - 1), late_us - 1, late_us - 1, b"n"),
            18,
        ),
        (state(stamp(late_us), late_us, late_us, b"n"), 19),
        (state(stamp(u64::MAX), u64::MAX, u64::MAX, b"n"), 19),
    ] {
        let mut frame = Vec::new();
        encode(&mut frame, &record);
        let Record::State { name, .. } = record else {
            unreachable!("all are states");
        };
        assert_eq!(frame.len() - FRAME - name.len(), beside_name, "{record:?}");
        assert_eq!(decode(&frame[FRAME..]), Some(record));
    }
}

/// An entry counts as used when it was written.
#[test]
fn a_use_before_the_stamp_is_not_recorded() {
    let mut frame = Vec::new();
    let stamp = Stamp {
        time_us: 9,
        node: NodeId(1),
    };
    let of = |accessed_us| Record::State {
        name: b"n",
        changed_us: 9,
        state: State {
            stamp,
            accessed_us,
            register: Register::Removed,
            attributes: Attributes::default(),
            contributions: Vec::new(),
        },
    };
    encode(&mut frame, &of(5));
    assert_eq!(decode(&frame[FRAME..]), Some(of(9)));
}

#[test]
fn each_record_has_its_subject() {
    let subjects = records().into_iter().map(|record| {
        let mut frame = Vec::new();
        encode(&mut frame, &record);
        subject(&frame).map(|(name, subject)| (name.to_vec(), subject))
    });
    let stamp = Stamp {
        time_us: 1_700_000_000_000_000,
        node: NodeId(u64::MAX),
    };
    let touched = Subject::Touch(Stamp {
        time_us: 7,
        node: NodeId(9),
    });
    let of = |name: &[u8], subject| Some((name.to_vec(), subject));
    let expected = [
        of(b"na me", Subject::All),
        of(b"na me", Subject::All),
        of(b"na me", Subject::All),
        of(b"na me", Subject::All),
        of(b"n", Subject::Use),
        None,
        of(b"n=\n", Subject::Share(stamp, ShareId(3))),
        of(b"n=\n", touched),
        of(b"n=\n", touched),
        None,
        None,
        None,
        None,
    ];
    assert_eq!(subjects.collect::<Vec<_>>(), expected);
}

/// Touches are of no other attributes, and of one at least; and no bits have no meaning.
#[test]
fn attributes_that_no_server_writes_are_none() {
    let all = every_attribute();
    for attributes in [
        Attributes::default(),
        all,
        Attributes {
            touched_us: None,
            ..all.touch()
        },
    ] {
        let mut frame = Vec::new();
        encode(&mut frame, &touch(attributes));
        assert_eq!(decode(&frame[FRAME..]), None);
    }
    let mut frame = Vec::new();
    encode(&mut frame, &touch(all.touch()));
    frame[FRAME + 25] |= 1 << 7;
    assert_eq!(decode(&frame[FRAME..]), None);
}

fn records() -> Vec<Record<'static>> {
    let stamp = Stamp {
        time_us: 1_700_000_000_000_000,
        node: NodeId(u64::MAX),
    };
    let contributions = vec![
        Contribution {
            share: ShareId(1),
            version: 7,
            sum: Number::from_value(b"-3"),
        },
        Contribution {
            share: ShareId(2),
            version: 1,
            sum: Number::from_value(b"0.1"),
        },
    ];
    let state = |register, contributions| Record::State {
        name: b"na me",
        changed_us: 7,
        state: State {
            stamp,
            accessed_us: stamp.time_us + 5,
            register,
            attributes: Attributes::default(),
            contributions,
        },
    };
    vec![
        state(Register::Value(b"v a=l"), Vec::new()),
        state(Register::Value(b""), contributions.clone()),
        state(Register::Absent, contributions),
        state(Register::Removed, Vec::new()),
        Record::Used {
            name: b"n",
            accessed_us: 9,
        },
        Record::Clear(stamp),
        Record::Count {
            name: b"n=\n",
            stamp,
            accessed_us: 5,
            changed_us: 6,
            contribution: Contribution {
                share: ShareId(3),
                version: 8,
                sum: Number::from_value(b"0.1"),
            },
        },
        touch(Attributes {
            touched_us: Some(3),
            ..Attributes::default()
        }),
        touch(every_attribute().touch()),
        Record::Fold(stamp),
        Record::Linked,
        Record::Run {
            share: ShareId(3),
            newest_us: 8,
            has_ended: true,
        },
        Record::Run {
            share: ShareId(3),
            newest_us: 8,
            has_ended: false,
        },
    ]
}

fn key(number: u8) -> Key {
    Key::from_bytes([number; 16])
}

#[test]
fn records_are_read_with_the_key_and_at_the_place_of_their_frames_only() {
    for record in records() {
        let mut frame = Vec::new();
        encode(&mut frame, &record);
        seal(&mut frame, key(1), 1000);
        let (head, bytes) = frame.split_first_chunk::<FRAME>().unwrap();
        let room = bytes.len() as u64;
        let decoded = Head::decode(head, key(1), 1000, room).unwrap();
        assert_eq!(decoded.length, bytes.len());
        assert!(decoded.matches(bytes));
        assert_eq!(decode(bytes), Some(record));
        assert_eq!(Head::decode(head, key(1), 1001, room), None);
        assert_eq!(Head::decode(head, key(2), 1000, room), None);
        assert_eq!(Head::decode(head, key(1), 1000, room - 1), None);
        let elsewhere = Head {
            seed: key(2).seed(1000),
            ..decoded
        };
        assert!(!elsewhere.matches(bytes));
    }
}

#[test]
fn both_halves_of_the_key_count() {
    let seeds = [[1, 1], [1, 2], [2, 1], [2, 2]].map(|key| Key(key).seed(7));
    for (index, seed) in seeds.iter().enumerate() {
        assert!(!seeds[..index].contains(seed));
    }
}

#[test]
fn a_record_that_is_cut_is_none() {
    for record in records() {
        let mut frame = Vec::new();
        encode(&mut frame, &record);
        let bytes = &frame[FRAME..];
        for length in 0..bytes.len() {
            // A record that ends in a value or a name can be cut to a valid record with a shorter one.
            assert_ne!(decode(&bytes[..length]), Some(record.clone()));
        }
    }
}

#[test]
fn a_record_that_no_line_can_make_is_none() {
    let share = |node| Contribution {
        share: ShareId(node),
        version: 1,
        sum: Number::ONE,
    };
    let state = |name, register, nodes: &[u64]| Record::State {
        name,
        changed_us: 7,
        state: State {
            stamp: Stamp::default(),
            accessed_us: 5,
            register,
            attributes: Attributes::default(),
            contributions: nodes.iter().map(|node| share(*node)).collect(),
        },
    };
    let many: Vec<u64> = (0..=MAX_CONTRIBUTIONS as u64).collect();
    let long = vec![b'n'; MAX_RECORD_NAME + 1];
    let used = |name| Record::Used {
        name,
        accessed_us: 9,
    };
    let count = |name| Record::Count {
        name,
        stamp: Stamp::default(),
        accessed_us: 9,
        changed_us: 9,
        contribution: share(1),
    };
    let impossible = [
        state(b"", Register::Value(b"v"), &[]),
        state(b"", Register::Removed, &[]),
        state(b"n", Register::Absent, &[]),
        state(b"n", Register::Value(b"1"), &[2, 1]),
        state(b"n", Register::Value(b"1"), &[1, 1]),
        state(b"n", Register::Value(b"1"), &many),
        used(b""),
        used(&long),
        count(b""),
        count(&long),
    ];
    let possible = [
        state(b"a\r\n=b", Register::Value(b"\r\n"), &[]),
        state(b"n", Register::Removed, &[]),
        state(b"n", Register::Value(b"1"), &many[1..]),
        used(&long[1..]),
        count(&long[1..]),
    ];
    for (records, is_possible) in [(&impossible[..], false), (&possible[..], true)] {
        for record in records {
            let mut frame = Vec::new();
            encode(&mut frame, record);
            let name = match record {
                Record::State { name, .. }
                | Record::Used { name, .. }
                | Record::Count { name, .. }
                | Record::Touch { name, .. } => name.len(),
                Record::Clear(_) | Record::Fold(_) | Record::Linked | Record::Run { .. } => 0,
            };
            assert_eq!(decode(&frame[FRAME..]).is_some(), is_possible, "{name}");
        }
    }
}

#[test]
fn a_header_is_read_though_any_byte_of_it_is_wrong() {
    let header = header(key(3));
    assert_eq!(Header::decode(&header), Header::Good(key(3)));
    for at in (0..PART).chain(SECOND_PART..HEADER) {
        let mut damaged = header;
        damaged[at] ^= 1;
        let is_of_no_use = (KEY_END..PART).contains(&(at % SECOND_PART));
        let expected = match is_of_no_use {
            true => Header::Good(key(3)),
            false => Header::Damaged(key(3)),
        };
        assert_eq!(Header::decode(&damaged), expected, "byte {at}");
        damaged[(at + SECOND_PART) % (2 * SECOND_PART)] ^= 1;
        if !is_of_no_use {
            assert_eq!(Header::decode(&damaged), Header::Unknown, "byte {at}");
        }
    }
    for length in 0..HEADER {
        assert_eq!(Header::decode(&header[..length]), Header::Torn);
    }
}

#[test]
fn headers_of_other_versions_are_recognised() {
    for version in [0, 1, 3, u32::MAX] {
        // Version 1 has no key, and its records begin right after the common bytes.
        let mut bytes = common(version).to_vec();
        assert_eq!(Header::decode(&bytes), Header::OtherVersion(version));
        bytes.resize(2 * HEADER, 7);
        assert_eq!(Header::decode(&bytes), Header::OtherVersion(version));
        assert_eq!(Header::decode(&bytes[..24]), Header::Unknown);
    }
}
