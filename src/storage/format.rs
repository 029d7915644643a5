//! What a journal looks like. All numbers are little-endian.
//!
//! ```text
//! header: "clacksd journal\n"   version u32   0 u32   checksum of these 24 bytes u64
//! frame:  length u32   checksum of the length u32   checksum of the record u64   record
//! record: kind u8, and then
//!   state  register u8   time u64   node u64   accessed u64   changed u64   name's length u32
//!          contributions u32   name   (node u64   version u64   sum 17) …   value
//!   used   accessed u64   name
//!   clear  time u64   node u64
//! ```
//! Checksums are XXH3 of 64 bits, seeded with the frame's place in the file: what looks like a frame but
//! stands elsewhere, within a value say, is none. So what is behind a damaged place can be found again.

use crate::broker::Record;
use crate::protocol::number::{NUMBER_BYTES, Number};
use crate::protocol::peer::{Contribution, NodeId, Register, Stamp, State};
use twox_hash::XxHash3_64;

pub const VERSION: u32 = 1;
pub const HEADER: usize = 32;
pub const FRAME: usize = 16;
/// The first bytes of every journal.
pub const MAGIC: &[u8; 16] = b"clacksd journal\n";

const STATE: u8 = 1;
const USED: u8 = 2;
const CLEAR: u8 = 3;

const ABSENT: u8 = 0;
const REMOVED: u8 = 1;
const VALUE: u8 = 2;

fn checksum(place: u64, bytes: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(place, bytes)
}

pub fn header() -> [u8; HEADER] {
    header_of(VERSION)
}

fn header_of(version: u32) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..16].copy_from_slice(MAGIC);
    header[16..20].copy_from_slice(&version.to_le_bytes());
    let sum = checksum(0, &header[..24]);
    header[24..].copy_from_slice(&sum.to_le_bytes());
    header
}

/// The version of a journal with that header; `None` if it is none, or damaged.
pub fn version(header: &[u8; HEADER]) -> Option<u32> {
    let version = u32::from_le_bytes(*header[16..].first_chunk()?);
    (header_of(version) == *header).then_some(version)
}

/// Appends a frame whose checksums are still to be [filled in](seal).
pub fn encode(to: &mut Vec<u8>, record: &Record<'_>) {
    let start = to.len();
    to.extend_from_slice(&[0; FRAME]);
    match record {
        Record::State {
            name,
            state,
            changed_us,
        } => {
            let (register, value): (u8, &[u8]) = match state.register {
                Register::Absent => (ABSENT, b""),
                Register::Removed => (REMOVED, b""),
                Register::Value(value) => (VALUE, value),
            };
            to.extend_from_slice(&[STATE, register]);
            put_stamp(to, state.stamp);
            to.extend_from_slice(&state.accessed_us.to_le_bytes());
            to.extend_from_slice(&changed_us.to_le_bytes());
            to.extend_from_slice(&length(name.len()).to_le_bytes());
            to.extend_from_slice(&length(state.contributions.len()).to_le_bytes());
            to.extend_from_slice(name);
            for contribution in &state.contributions {
                to.extend_from_slice(&contribution.node.0.to_le_bytes());
                to.extend_from_slice(&contribution.version.to_le_bytes());
                to.extend_from_slice(&contribution.sum.to_bytes());
            }
            to.extend_from_slice(value);
        }
        Record::Used { name, accessed_us } => {
            to.push(USED);
            to.extend_from_slice(&accessed_us.to_le_bytes());
            to.extend_from_slice(name);
        }
        Record::Clear(stamp) => {
            to.push(CLEAR);
            put_stamp(to, *stamp);
        }
    }
    let length = length(to.len() - start - FRAME);
    to[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("a line is shorter than 4 GiB")
}

fn put_stamp(to: &mut Vec<u8>, stamp: Stamp) {
    to.extend_from_slice(&stamp.time_us.to_le_bytes());
    to.extend_from_slice(&stamp.node.0.to_le_bytes());
}

/// Fills in the checksums of frames that will stand at that place in the file.
pub fn seal(mut frames: &mut [u8], mut place: u64) {
    while let Some((head, rest)) = frames.split_first_chunk_mut::<FRAME>() {
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
        let Some((record, next)) = rest.split_at_mut_checked(length as usize) else {
            debug_assert!(false, "frames are whole");
            return;
        };
        head[4..8].copy_from_slice(&length_checksum(place, length).to_le_bytes());
        head[8..].copy_from_slice(&checksum(place, record).to_le_bytes());
        place += (FRAME + record.len()) as u64;
        frames = next;
    }
}

fn length_checksum(place: u64, length: u32) -> u32 {
    checksum(place, &length.to_le_bytes()) as u32
}

/// What a frame's first bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Of the record behind it.
    pub length: usize,
    checksum: u64,
}

impl Head {
    /// `None` if there is no frame at that place.
    pub fn decode(bytes: &[u8; FRAME], place: u64) -> Option<Head> {
        let length = u32::from_le_bytes(*bytes.first_chunk()?);
        let check = u32::from_le_bytes(*bytes[4..].first_chunk()?);
        let checksum = u64::from_le_bytes(*bytes[8..].first_chunk()?);
        (check == length_checksum(place, length)).then_some(Head {
            length: length as usize,
            checksum,
        })
    }

    /// The record; `None` if it isn't the one that was written there.
    pub fn record(self, bytes: &[u8], place: u64) -> Option<Record<'_>> {
        if checksum(place, bytes) != self.checksum {
            return None;
        }
        decode(bytes)
    }
}

fn decode(bytes: &[u8]) -> Option<Record<'_>> {
    let (kind, rest) = bytes.split_first()?;
    let mut rest = Fields(rest);
    match *kind {
        STATE => {
            let register = rest.take(1)?[0];
            let stamp = rest.stamp()?;
            let accessed_us = rest.u64()?;
            let changed_us = rest.u64()?;
            let name_length = rest.u32()? as usize;
            let count = rest.u32()? as usize;
            let name = rest.take(name_length)?;
            let each = 16 + NUMBER_BYTES;
            let contributions = rest.take(count.checked_mul(each)?)?.chunks_exact(each);
            let contributions = contributions.map(|bytes| {
                let mut fields = Fields(bytes);
                Some(Contribution {
                    node: NodeId(fields.u64()?),
                    version: fields.u64()?,
                    sum: Number::from_bytes(fields.0.first_chunk()?)?,
                })
            });
            let contributions = contributions.collect::<Option<Vec<_>>>()?;
            let register = match register {
                ABSENT => Register::Absent,
                REMOVED => Register::Removed,
                VALUE => Register::Value(rest.0),
                _ => return None,
            };
            let is_whole = matches!(register, Register::Value(_)) || rest.0.is_empty();
            let state = State {
                stamp,
                accessed_us,
                register,
                contributions,
            };
            is_whole.then_some(Record::State {
                name,
                state,
                changed_us,
            })
        }
        USED => Some(Record::Used {
            accessed_us: rest.u64()?,
            name: rest.0,
        }),
        CLEAR => {
            let stamp = rest.stamp()?;
            rest.0.is_empty().then_some(Record::Clear(stamp))
        }
        _ => None,
    }
}

/// What is left of a record.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(*self.take(4)?.first_chunk()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(*self.take(8)?.first_chunk()?))
    }

    fn stamp(&mut self) -> Option<Stamp> {
        Some(Stamp {
            time_us: self.u64()?,
            node: NodeId(self.u64()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> Vec<Record<'static>> {
        let stamp = Stamp {
            time_us: 1_700_000_000_000_000,
            node: NodeId(u64::MAX),
        };
        let contributions = vec![
            Contribution {
                node: NodeId(1),
                version: 7,
                sum: Number::from_value(b"-3"),
            },
            Contribution {
                node: NodeId(2),
                version: 1,
                sum: Number::from_value(b"0.1"),
            },
        ];
        let state = |register, contributions| Record::State {
            name: b"na me",
            changed_us: 7,
            state: State {
                stamp,
                accessed_us: 5,
                register,
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
        ]
    }

    #[test]
    fn records_go_there_and_back_at_their_place_only() {
        for record in records() {
            let mut frame = Vec::new();
            encode(&mut frame, &record);
            seal(&mut frame, 1000);
            let (head, bytes) = frame.split_first_chunk::<FRAME>().unwrap();
            let decoded = Head::decode(head, 1000).unwrap();
            assert_eq!(decoded.length, bytes.len());
            assert_eq!(decoded.record(bytes, 1000), Some(record));
            assert_eq!(decoded.record(bytes, 1001), None);
            assert_eq!(Head::decode(head, 1001), None);
        }
    }

    #[test]
    fn a_record_that_is_cut_is_none() {
        for record in records() {
            let mut frame = Vec::new();
            encode(&mut frame, &record);
            let bytes = &frame[FRAME..];
            for length in 0..bytes.len() {
                // A value and a name that end the record may be shorter; then they are others.
                assert_ne!(decode(&bytes[..length]), Some(record.clone()));
            }
        }
    }

    #[test]
    fn headers_tell_versions() {
        assert_eq!(version(&header()), Some(VERSION));
        assert_eq!(version(&header_of(9)), Some(9));
        for at in 0..HEADER {
            let mut damaged = header();
            damaged[at] ^= 1;
            assert_eq!(version(&damaged), None);
        }
    }
}
