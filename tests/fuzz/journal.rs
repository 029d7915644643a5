//! Any bytes as a journal's file, and any damage to a valid one; and any bytes as the new file of a rewrite.
//!
//! All records before the first wrong byte are loaded; and the loaded records, rewritten and loaded again, are
//! the same.
//!
//! The first byte chooses. Journals of whole records are made from the bytes: without the right checksums
//! nothing would be read at all. Values may be hostile: they hold frames that are right for the places where they
//! stand, made by somebody who doesn't know the key of the file.

use crate::support::SimulatedDisk;
use clacks::broker::{Broker, Record, Saved, Settings, Users};
use clacks::protocol::attributes::{Attributes, Marks};
use clacks::protocol::number::{NUMBER_BYTES, Number};
use clacks::protocol::peer::{Contribution, NodeId, Register, ShareId, Stamp, State};
use clacks::storage::format::Key;
use clacks::storage::{Batch, Disk, FileName, LoadError, Loaded, SyncPolicy, Writer, format, load};
use std::io::Write;
use std::ops::ControlFlow;

/// The key of the journals, and another one, which is all that those who store hostile values can guess.
const KEY: [u8; 16] = [1; 16];
const GUESSED: [u8; 16] = [0; 16];

/// Where records begin that are whole, and what they say, as a text.
struct Made {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    records: Vec<String>,
}

pub fn run(data: &[u8]) {
    let Some((&how, rest)) = data.split_first() else {
        return;
    };
    match how & 3 {
        0 => check(rest.to_vec(), None),
        1 => {
            // A right beginning, and then anything.
            let bytes = [&format::header(Key::from_bytes(KEY))[..], rest].concat();
            check(bytes, None);
        }
        _ => {
            // Right records, some of their bytes wrong, and an end anywhere.
            let (faults, rest) = rest.split_at(rest.len().min(usize::from(how >> 2 & 7) * 3));
            let made = make(rest);
            let mut bytes = made.bytes.clone();
            let mut first_wrong = bytes.len();
            for fault in faults.chunks_exact(3) {
                let place = usize::from(u16::from_le_bytes([fault[0], fault[1]])) % bytes.len();
                if how & 3 == 3 && place >= format::HEADER {
                    bytes.truncate(place);
                    first_wrong = first_wrong.min(place);
                    break;
                }
                bytes[place] ^= fault[2];
                if fault[2] != 0 {
                    first_wrong = first_wrong.min(place);
                }
            }
            check(
                bytes,
                (first_wrong >= format::HEADER).then_some((&made, first_wrong)),
            );
        }
    }
}

/// Takes numbers and texts from the bytes.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    fn number(&mut self) -> u64 {
        let mut bytes = [0; 8];
        let length = usize::from(self.byte() & 7) + 1;
        let taken = self.take(length);
        bytes[..taken.len()].copy_from_slice(taken);
        u64::from_le_bytes(bytes)
    }
}

/// A journal of whole records. A name is one of a few, as in a cache that lives long.
fn make(data: &[u8]) -> Made {
    let mut fields = Fields(data);
    let mut made = Made {
        bytes: format::header(Key::from_bytes(KEY)).to_vec(),
        ends: Vec::new(),
        records: Vec::new(),
    };
    while !fields.0.is_empty() && made.ends.len() < 200 {
        let kind = fields.byte();
        let name = [b"a", b"b", b"c", b"d"][usize::from(kind >> 6)];
        let stamp = Stamp {
            time_us: fields.number(),
            node: NodeId(u64::from(fields.byte())),
        };
        let hostile;
        let record = match kind & 7 {
            7 if kind & 8 != 0 => Record::Fold(stamp),
            7 if kind & 16 != 0 => Record::Linked,
            7 => Record::Clear(stamp),
            6 if kind & 24 == 8 => Record::Count {
                name,
                stamp,
                accessed_us: fields.number(),
                changed_us: fields.number(),
                contribution: Contribution {
                    share: ShareId(fields.number()),
                    version: fields.number(),
                    sum: Number::ONE,
                },
            },
            6 if kind & 24 == 24 => Record::Touch {
                name,
                stamp,
                accessed_us: fields.number(),
                attributes: Attributes {
                    touched_us: Some(fields.number()),
                    ..attributes(&mut fields)
                }
                .touch(),
            },
            6 if kind & 24 == 16 => Record::Run {
                share: ShareId(fields.number()),
                newest_us: stamp.time_us,
                has_ended: stamp.node.0 & 1 != 0,
            },
            6 => Record::Used {
                name,
                accessed_us: stamp.time_us,
            },
            _ => {
                let count = usize::from(kind >> 3 & 7) % 4;
                let mut contributions = Vec::new();
                for node in 0..count {
                    let mut sum = [0; NUMBER_BYTES];
                    let taken = fields.take(NUMBER_BYTES);
                    sum[..taken.len()].copy_from_slice(taken);
                    contributions.push(Contribution {
                        share: ShareId(node as u64),
                        version: fields.number(),
                        sum: Number::from_bytes(&sum).unwrap_or(Number::ONE),
                    });
                }
                let length = usize::from(fields.byte());
                let accessed_us = fields.number().max(stamp.time_us);
                let mut state = State {
                    stamp,
                    accessed_us,
                    register: Register::Value(b""),
                    attributes: Attributes::default(),
                    contributions,
                };
                state.register = match kind & 7 {
                    0 if count > 0 => Register::Absent,
                    1 => Register::Removed,
                    2 => {
                        let place = made.bytes.len() + frame_of(&state_record(name, &state)).len();
                        hostile = hostile_value(fields.take(length), place);
                        Register::Value(&hostile)
                    }
                    _ => Register::Value(fields.take(length)),
                };
                // The place of a hostile value is that of a value without attributes.
                if kind & 7 != 2 {
                    state.attributes = attributes(&mut fields);
                }
                state_record(name, &state)
            }
        };
        made.records.push(format!("{record:?}"));
        let mut frame = frame_of(&record);
        format::seal(&mut frame, Key::from_bytes(KEY), made.bytes.len() as u64);
        made.bytes.extend_from_slice(&frame);
        made.ends.push(made.bytes.len());
    }
    made
}

fn state_record<'a>(name: &'a [u8], state: &State<'a>) -> Record<'a> {
    Record::State {
        name,
        state: state.clone(),
        changed_us: state.stamp.time_us,
    }
}

fn frame_of(record: &Record<'_>) -> Vec<u8> {
    let mut frame = Vec::new();
    format::encode(&mut frame, record);
    frame
}

/// Those attributes whose bits a byte has.
fn attributes(fields: &mut Fields<'_>) -> Attributes {
    let bits = fields.byte();
    let has = |place: u8| bits & 1 << place != 0;
    let mut number = |place| has(place).then(|| fields.number());
    Attributes {
        client_flags: number(0).unwrap_or(0) as u32,
        expires_us: number(1),
        touched_us: number(2),
        version: number(3),
        marks: Marks {
            base64: has(4),
            stale: has(5),
            won: has(6),
        },
    }
}

/// Frames for the place where the value will stand, as many as there are bytes for.
fn hostile_value(data: &[u8], place: usize) -> Vec<u8> {
    let mut value = Vec::new();
    let mut fields = Fields(data);
    while !fields.0.is_empty() {
        let kind = fields.byte();
        let stamp = Stamp {
            time_us: fields.number(),
            node: NodeId(7),
        };
        let record = match kind & 3 {
            0 => Record::Clear(stamp),
            1 => Record::Used {
                name: b"evil",
                accessed_us: stamp.time_us,
            },
            _ => Record::State {
                name: b"evil",
                state: State {
                    stamp,
                    accessed_us: 0,
                    register: Register::Value(fields.take(usize::from(kind >> 2))),
                    attributes: Attributes::default(),
                    contributions: Vec::new(),
                },
                changed_us: 0,
            },
        };
        let mut frame = Vec::new();
        format::encode(&mut frame, &record);
        format::seal(
            &mut frame,
            Key::from_bytes(GUESSED),
            (place + value.len()) as u64,
        );
        // The head may say more than there is.
        let length = frame.len() - usize::from(kind >> 6).min(frame.len());
        value.extend_from_slice(&frame[..length]);
    }
    value
}

/// A broker that has taken in what a disk has, what was read for it, and what was found.
type Started = (Broker, Vec<String>, Option<Loaded>);

fn start(disk: &SimulatedDisk) -> Result<Started, LoadError> {
    let settings = Settings {
        journal: true,
        cache_max: Some(1 << 20),
        ..Settings::default()
    };
    let mut broker = Broker::new(settings, Users::new("admin", b"pw"), [1, 2, 3, 4]);
    let mut records = Vec::new();
    let mut disk = disk.clone();
    let loaded = load(&mut disk, |some| {
        records.extend(some.iter().map(|record| format!("{record:?}")));
        broker.restore(some);
        ControlFlow::Continue(())
    })?;
    broker.check();
    let loaded = loaded.map(|(loaded, _)| loaded);
    let (length, is_damaged) = loaded.as_ref().map_or((0, false), |loaded| {
        (loaded.length, loaded.damage.is_some())
    });
    broker.handle_restored(length, is_damaged);
    broker.check();
    Ok((broker, records, loaded))
}

fn check(bytes: Vec<u8>, made: Option<(&Made, usize)>) {
    let disk = SimulatedDisk::with_journal(bytes.clone());
    // The new file of a rewrite that a process has not finished changes nothing, whatever is in it.
    let left = disk.clone().create(FileName::New);
    let written = left.and_then(|mut new| new.write_all(&bytes[bytes.len() / 2..]));
    written.expect("the disk is right");
    let (broker, records, loaded) = match start(&disk) {
        Ok(started) => started,
        Err(LoadError::NoJournal | LoadError::OtherVersion(_)) => {
            assert_eq!(
                disk.bytes(FileName::Journal),
                Some(bytes),
                "it is not touched"
            );
            assert!(made.is_none(), "a right beginning is a journal");
            return;
        }
        Err(LoadError::Stopped) => panic!("nobody stops it"),
        Err(LoadError::Io(error)) => panic!("the disk is right: {error}"),
    };
    if let Some((made, first_wrong)) = made {
        let whole = made.ends.partition_point(|end| *end <= first_wrong);
        assert!(
            records.len() >= whole,
            "what is before the damage is loaded"
        );
        assert_eq!(records[..whole], made.records[..whole]);
        let mut rest = made.records.iter();
        let is_made = |record: &String| rest.any(|made| made == record);
        assert!(
            records.iter().all(is_made),
            "nothing is made up, and all in order"
        );
    }
    if let Some(loaded) = &loaded {
        assert_eq!(loaded.records as usize, records.len());
        assert!(loaded.length <= bytes.len() as u64);
        let kept = disk.bytes(FileName::Journal).expect("it stays");
        match loaded.damage {
            None => assert_eq!(kept.len() as u64, loaded.length, "what is torn off is cut"),
            Some(_) => assert_eq!(disk.bytes(FileName::Bad), Some(bytes), "it is kept"),
        }
    }
    check_again(&disk, &broker, &records);
}

/// Loads it once more, and then what is written of it, and compares.
fn check_again(disk: &SimulatedDisk, broker: &Broker, records: &[String]) {
    let (again, records_again, _) = start(disk).expect("what was loaded is a journal");
    assert_eq!(records_again, records);
    assert_eq!(again.entries(), broker.entries());

    // As the server does it: into a new file, in place of one that was left there, which then gets the name.
    let mut disk = disk.clone();
    let mut batch = Batch {
        begins: Some(1),
        ends: true,
        ..Batch::default()
    };
    let found = load(&mut disk, |records| {
        for record in records {
            format::encode(&mut batch.snapshot, record);
        }
        ControlFlow::Continue(())
    });
    let writer = match found.expect("it is a journal") {
        Some((_, file)) => Writer::new(disk.clone(), file, SyncPolicy::Always),
        None => Writer::create(disk.clone(), SyncPolicy::Always),
    };
    let mut writer = writer.expect("the disk is right");
    writer.write(&mut batch, 0);
    writer.commit(0);
    assert!(matches!(writer.take_events()[..], [Saved::Rewritten(_)]));
    assert_eq!(disk.bytes(FileName::New), None, "it has its name");
    let (written, records_written, loaded) = start(&disk).expect("what was written is a journal");
    assert_eq!(records_written, records, "what was written is read");
    assert_eq!(written.entries(), broker.entries());
    assert_eq!(loaded.and_then(|loaded| loaded.damage), None);
}
