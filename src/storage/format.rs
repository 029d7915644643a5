//! The binary format of a journal. All numbers are little-endian.
//!
//! ```text
//! header: part   zeros up to offset 4096   the same part again
//! part:   "clacksd journal\n"   version u32   0 u32   checksum of these 24 bytes u64
//!         key 16 bytes   checksum of the key u64   0 u64
//! frame:  length u32   checksum of the length u32   checksum of the record u64   record
//! record: kind u8, and then
//!   state  register u8   time u64   node u64   accessed u64   changed u64   name's length u32
//!          contributions u32   name   attributes   (node u64   version u64   sum 17) …   value
//!   used   accessed u64   name
//!   clear  time u64   node u64
//!   count  time u64   node u64   accessed u64   changed u64   share u64   version u64   sum 17   name
//!   fold   time u64   node u64
//!   run    has ended u8   share u64   newest version u64
//!   touch  time u64   node u64   accessed u64   attributes   name
//! attributes: a bit for each that is there u8   client flags u32   expiry u64   touch u64   version u64
//! ```
//! Of the attributes only those are there whose bits are set.
//!
//! In every version a part begins with the same 32 bytes, so that each version recognises all others. The header has two
//! copies of the part, in two sectors of a disk, because nothing can be read without the key.
//!
//! Checksums are XXH3 with 64 bits. Those of the header detect faults of the disk. Those of frames are seeded with the key
//! and with the frame's offset in the file, for two reasons. A frame at any other offset, inside a value for example, is
//! invalid, so the frames after damage can be found again. And clients can't forge a frame: they choose the bytes of
//! values and may know their offsets, but the key is random for each file, and neither the key nor any checksum is ever
//! shown. XXH3 is not a cryptographic hash. A secret seed suffices here, because a forger has nothing to learn the seed
//! from and only one attempt per offset.

use crate::broker::Record;
use crate::limits::{MAX_CONTRIBUTIONS, MAX_RECORD, MAX_RECORD_NAME};
use crate::protocol::attributes::{Attributes, Marks};
use crate::protocol::number::{NUMBER_BYTES, Number};
use crate::protocol::peer::{Contribution, NodeId, Register, ShareId, Stamp, State};
use std::fmt;
use std::ops::Range;
use twox_hash::XxHash3_64;

pub const VERSION: u32 = 2;
pub const HEADER: usize = SECOND_PART + PART;
pub const FRAME: usize = 16;
/// The first bytes of every journal.
pub const MAGIC: &[u8; 16] = b"clacksd journal\n";

/// The length of a part of the header.
pub const PART: usize = 64;
/// The offset of the header's second part. Disks fail in sectors of this size at most.
pub const SECOND_PART: usize = 4096;
/// The number of bytes of a part that all versions have in common.
const COMMON: usize = 32;
/// The number of bytes of a part that have a meaning.
const KEY_END: usize = 56;

/// The number of bytes of a state before the length of its name: the register and four numbers.
const STATE_NUMBERS: usize = 1 + 4 * 8;

const STATE: u8 = 1;
const USED: u8 = 2;
const CLEAR: u8 = 3;
const COUNT: u8 = 4;
const FOLD: u8 = 5;
const RUN: u8 = 6;
const TOUCH: u8 = 7;
const LINKED: u8 = 8;

/// The bits of attributes.
const CLIENT_FLAGS: u8 = 1;
const EXPIRES: u8 = 1 << 1;
const TOUCHED: u8 = 1 << 2;
const VERSIONED: u8 = 1 << 3;
const BASE64: u8 = 1 << 4;
const STALE: u8 = 1 << 5;
const WON: u8 = 1 << 6;
const ALL_ATTRIBUTES: u8 = WON | (WON - 1);

const ABSENT: u8 = 0;
const REMOVED: u8 = 1;
const VALUE: u8 = 2;

/// The random number that seeds the checksums of one file's frames.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key([u64; 2]);

impl Key {
    pub fn from_bytes(bytes: [u8; 16]) -> Key {
        let number = u128::from_le_bytes(bytes);
        Key([number as u64, (number >> 64) as u64])
    }

    fn to_bytes(self) -> [u8; 16] {
        let [low, high] = self.0;
        (u128::from(high) << 64 | u128::from(low)).to_le_bytes()
    }

    /// The seed of the checksums of the frame at an offset.
    fn seed(self, place: u64) -> u64 {
        XxHash3_64::oneshot_with_seed(self.0[0], &place.to_le_bytes()) ^ self.0[1]
    }
}

/// Hides the key, which is a secret.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

fn checksum(seed: u64, bytes: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(seed, bytes)
}

pub fn header(key: Key) -> [u8; HEADER] {
    let mut part = [0; PART];
    part[..COMMON].copy_from_slice(&common(VERSION));
    part[COMMON..COMMON + 16].copy_from_slice(&key.to_bytes());
    let sum = checksum(0, &key.to_bytes());
    part[COMMON + 16..KEY_END].copy_from_slice(&sum.to_le_bytes());
    let mut header = [0; HEADER];
    header[..PART].copy_from_slice(&part);
    header[SECOND_PART..].copy_from_slice(&part);
    header
}

/// The common bytes of a part in a header of a version.
fn common(version: u32) -> [u8; COMMON] {
    let mut common = [0; COMMON];
    common[..16].copy_from_slice(MAGIC);
    common[16..20].copy_from_slice(&version.to_le_bytes());
    let sum = checksum(0, &common[..24]);
    common[24..].copy_from_slice(&sum.to_le_bytes());
    common
}

/// The kind of a file according to its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    Good(Key),
    /// One part is damaged; the other one contains the key.
    Damaged(Key),
    /// The beginning of a header: the file was cut before a record was written to it.
    Torn,
    /// A journal of another version.
    OtherVersion(u32),
    /// No header, or one with both parts damaged.
    Unknown,
}

impl Header {
    /// Decodes the first [`HEADER`] bytes of a file, or all of a shorter file.
    pub fn decode(bytes: &[u8]) -> Header {
        if let Some(version) = version(bytes)
            && version != VERSION
        {
            return Header::OtherVersion(version);
        }
        let first = key(bytes);
        if bytes.len() < HEADER {
            let common = common(VERSION);
            let is_beginning = match bytes.len() {
                ..COMMON => common.starts_with(bytes),
                COMMON..KEY_END => bytes.starts_with(&common),
                _ => first.is_some(),
            };
            return match is_beginning {
                true => Header::Torn,
                false => Header::Unknown,
            };
        }
        match (first, key(&bytes[SECOND_PART..])) {
            (Some(key), Some(same)) if key == same => Header::Good(key),
            (Some(key), _) | (None, Some(key)) => Header::Damaged(key),
            (None, None) => Header::Unknown,
        }
    }
}

/// The version in a part of a header; `None` if the part is missing or damaged.
fn version(part: &[u8]) -> Option<u32> {
    let version = u32::from_le_bytes(*part.get(16..)?.first_chunk()?);
    part.starts_with(&common(version)).then_some(version)
}

/// The key in a part of a header of this version; `None` if the part is damaged.
fn key(part: &[u8]) -> Option<Key> {
    let key = part.get(COMMON..)?.first_chunk::<16>()?;
    let sum = u64::from_le_bytes(*part.get(COMMON + 16..)?.first_chunk()?);
    let is_whole = version(part) == Some(VERSION) && sum == checksum(0, key);
    is_whole.then_some(Key::from_bytes(*key))
}

/// Appends a frame with a record. Its checksums are [filled in](seal) later.
pub fn encode(to: &mut Vec<u8>, record: &Record<'_>) {
    let start = to.len();
    to.extend_from_slice(&[0; FRAME]);
    match record {
        Record::State {
            name,
            state,
            changed_us,
        } => put_state(to, name, state, *changed_us),
        Record::Used { name, accessed_us } => {
            to.push(USED);
            to.extend_from_slice(&accessed_us.to_le_bytes());
            to.extend_from_slice(name);
        }
        Record::Clear(stamp) => {
            to.push(CLEAR);
            put_stamp(to, *stamp);
        }
        Record::Count {
            name,
            stamp,
            accessed_us,
            changed_us,
            contribution,
        } => {
            to.push(COUNT);
            put_stamp(to, *stamp);
            to.extend_from_slice(&accessed_us.to_le_bytes());
            to.extend_from_slice(&changed_us.to_le_bytes());
            put_contribution(to, contribution);
            to.extend_from_slice(name);
        }
        Record::Touch {
            name,
            stamp,
            accessed_us,
            attributes,
        } => {
            to.push(TOUCH);
            put_stamp(to, *stamp);
            to.extend_from_slice(&accessed_us.to_le_bytes());
            put_attributes(to, attributes);
            to.extend_from_slice(name);
        }
        Record::Fold(marker) => {
            to.push(FOLD);
            put_stamp(to, *marker);
        }
        Record::Linked => to.push(LINKED),
        Record::Run {
            share,
            newest_us,
            has_ended,
        } => {
            to.extend_from_slice(&[RUN, u8::from(*has_ended)]);
            to.extend_from_slice(&share.0.to_le_bytes());
            to.extend_from_slice(&newest_us.to_le_bytes());
        }
    }
    let length = length(to.len() - start - FRAME);
    to[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("a line is shorter than 4 GiB")
}

/// Appends the record of a state.
fn put_state(to: &mut Vec<u8>, name: &[u8], state: &State<'_>, changed_us: u64) {
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
    put_attributes(to, &state.attributes);
    for contribution in &state.contributions {
        put_contribution(to, contribution);
    }
    to.extend_from_slice(value);
}

fn put_attributes(to: &mut Vec<u8>, attributes: &Attributes) {
    let Attributes {
        client_flags,
        expires_us,
        touched_us,
        version,
        marks: Marks { base64, stale, won },
    } = *attributes;
    let parts = [
        (CLIENT_FLAGS, client_flags != 0),
        (EXPIRES, expires_us.is_some()),
        (TOUCHED, touched_us.is_some()),
        (VERSIONED, version.is_some()),
        (BASE64, base64),
        (STALE, stale),
        (WON, won),
    ];
    let there = parts.iter().filter(|(_, is_there)| *is_there);
    to.push(there.fold(0, |bits, (bit, _)| bits | bit));
    if client_flags != 0 {
        to.extend_from_slice(&client_flags.to_le_bytes());
    }
    for number in [expires_us, touched_us, version].into_iter().flatten() {
        to.extend_from_slice(&number.to_le_bytes());
    }
}

fn put_contribution(to: &mut Vec<u8>, contribution: &Contribution) {
    to.extend_from_slice(&contribution.share.0.to_le_bytes());
    to.extend_from_slice(&contribution.version.to_le_bytes());
    to.extend_from_slice(&contribution.sum.to_bytes());
}

fn put_stamp(to: &mut Vec<u8>, stamp: Stamp) {
    to.extend_from_slice(&stamp.time_us.to_le_bytes());
    to.extend_from_slice(&stamp.node.0.to_le_bytes());
}

/// Fills in the checksums of consecutive frames that will be written at an offset in the file with that key.
pub fn seal(mut frames: &mut [u8], key: Key, mut place: u64) {
    while let Some((head, rest)) = frames.split_first_chunk_mut::<FRAME>() {
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
        let Some((record, next)) = rest.split_at_mut_checked(length as usize) else {
            debug_assert!(false, "frames are whole");
            return;
        };
        let seed = key.seed(place);
        head[4..8].copy_from_slice(&length_checksum(seed, length).to_le_bytes());
        head[8..].copy_from_slice(&checksum(seed, record).to_le_bytes());
        place += (FRAME + record.len()) as u64;
        frames = next;
    }
}

fn length_checksum(seed: u64, length: u32) -> u32 {
    checksum(seed, &length.to_le_bytes()) as u32
}

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The length of the record after the head, in bytes.
    pub length: usize,
    seed: u64,
    checksum: u64,
}

impl Head {
    /// Decodes the head of a frame at an offset. `None` if the bytes are no valid head, or if the record is longer than
    /// `room`.
    pub fn decode(bytes: &[u8; FRAME], key: Key, place: u64, room: u64) -> Option<Head> {
        let length = u32::from_le_bytes(*bytes.first_chunk()?);
        // This check is cheaper than the checksum and rejects nearly all bytes that are no frame. No record is empty:
        // a disk contains zeros where nothing was written.
        if length == 0 || u64::from(length) > room || length as usize > MAX_RECORD {
            return None;
        }
        let check = u32::from_le_bytes(*bytes[4..].first_chunk()?);
        let seed = key.seed(place);
        (check == length_checksum(seed, length)).then_some(Head {
            length: length as usize,
            seed,
            checksum: u64::from_le_bytes(*bytes[8..].first_chunk()?),
        })
    }

    /// Returns true if the bytes are the record that was written after this head.
    pub fn matches(self, record: &[u8]) -> bool {
        checksum(self.seed, record) == self.checksum
    }
}

/// The part of a name's state that a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject {
    /// The whole state: earlier records of the name have no effect any more.
    All,
    /// One share of the counter with that stamp.
    Share(Stamp, ShareId),
    /// The touch and the won mark of the entry with that stamp.
    Touch(Stamp),
    /// The time of the last use.
    Use,
}

/// The name that a frame's record is about, and the part of its state that the record replaces; `None` if the record is
/// about more than one name.
pub fn subject(frame: &[u8]) -> Option<(&[u8], Subject)> {
    let (kind, rest) = frame.get(FRAME..)?.split_first()?;
    let mut rest = Fields(rest);
    match *kind {
        STATE => {
            rest.take(STATE_NUMBERS)?;
            let length = rest.u32()? as usize;
            rest.u32()?;
            Some((rest.take(length)?, Subject::All))
        }
        USED => {
            rest.u64()?;
            Some((rest.0, Subject::Use))
        }
        COUNT => {
            let stamp = rest.stamp()?;
            rest.take(16)?;
            let share = rest.contribution()?.share;
            Some((rest.0, Subject::Share(stamp, share)))
        }
        TOUCH => {
            let stamp = rest.stamp()?;
            rest.u64()?;
            rest.attributes()?;
            Some((rest.0, Subject::Touch(stamp)))
        }
        _ => None,
    }
}

/// The ranges of consecutive complete frames.
pub fn frames(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut places = Vec::new();
    let mut start = 0;
    while let Some(length) = bytes.get(start..).and_then(|rest| rest.first_chunk()) {
        let end = start + FRAME + u32::from_le_bytes(*length) as usize;
        places.push(start..end);
        start = end;
    }
    debug_assert_eq!(start, bytes.len(), "frames are whole");
    places
}

/// Decodes a record; `None` if no server can have written it.
pub fn decode(bytes: &[u8]) -> Option<Record<'_>> {
    let (kind, rest) = bytes.split_first()?;
    let mut rest = Fields(rest);
    match *kind {
        STATE => state_record(rest),
        USED => Some(Record::Used {
            accessed_us: rest.u64()?,
            name: possible_name(rest.0)?,
        }),
        CLEAR => {
            let stamp = rest.stamp()?;
            rest.0.is_empty().then_some(Record::Clear(stamp))
        }
        COUNT => {
            let (stamp, accessed_us, changed_us) = (rest.stamp()?, rest.u64()?, rest.u64()?);
            let contribution = rest.contribution()?;
            Some(Record::Count {
                name: possible_name(rest.0)?,
                stamp,
                accessed_us,
                changed_us,
                contribution,
            })
        }
        TOUCH => {
            let (stamp, accessed_us) = (rest.stamp()?, rest.u64()?);
            let attributes = rest.attributes()?;
            let is_touch = attributes == attributes.touch() && !attributes.is_empty();
            is_touch.then_some(Record::Touch {
                name: possible_name(rest.0)?,
                stamp,
                accessed_us,
                attributes,
            })
        }
        FOLD => {
            let marker = rest.stamp()?;
            rest.0.is_empty().then_some(Record::Fold(marker))
        }
        LINKED => rest.0.is_empty().then_some(Record::Linked),
        RUN => {
            let has_ended = match rest.take(1)? {
                [0] => false,
                [1] => true,
                _ => return None,
            };
            let (share, newest_us) = (ShareId(rest.u64()?), rest.u64()?);
            rest.0.is_empty().then_some(Record::Run {
                share,
                newest_us,
                has_ended,
            })
        }
        _ => None,
    }
}

/// Decodes the record of a state.
fn state_record(mut rest: Fields<'_>) -> Option<Record<'_>> {
    let register = rest.take(1)?[0];
    let stamp = rest.stamp()?;
    let accessed_us = rest.u64()?;
    let changed_us = rest.u64()?;
    let name_length = rest.u32()? as usize;
    let count = rest.u32()? as usize;
    if count > MAX_CONTRIBUTIONS {
        return None;
    }
    let name = possible_name(rest.take(name_length)?)?;
    let attributes = rest.attributes()?;
    let each = 16 + NUMBER_BYTES;
    let contributions = rest.take(count.checked_mul(each)?)?.chunks_exact(each);
    let contributions = contributions.map(|bytes| Fields(bytes).contribution());
    let contributions = contributions.collect::<Option<Vec<_>>>()?;
    let is_in_order = contributions.is_sorted_by(|a, b| a.share < b.share);
    let register = match register {
        ABSENT => Register::Absent,
        REMOVED => Register::Removed,
        VALUE => Register::Value(rest.0),
        _ => return None,
    };
    let is_whole = match register {
        Register::Value(_) => true,
        Register::Removed => rest.0.is_empty(),
        Register::Absent => rest.0.is_empty() && !contributions.is_empty(),
    };
    let state = State {
        stamp,
        accessed_us,
        register,
        attributes,
        contributions,
    };
    (is_whole && is_in_order).then_some(Record::State {
        name,
        state,
        changed_us,
    })
}

/// Returns the name if its length is allowed by some value of the flags. The name may contain any bytes.
fn possible_name(name: &[u8]) -> Option<&[u8]> {
    (1..=MAX_RECORD_NAME).contains(&name.len()).then_some(name)
}

/// The bytes of a record that are not decoded yet.
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

    fn attributes(&mut self) -> Option<Attributes> {
        let bits = self.take(1)?[0];
        let has = |bit| bits & bit != 0;
        let client_flags = match has(CLIENT_FLAGS) {
            true => self.u32().filter(|flags| *flags != 0)?,
            false => 0,
        };
        let mut number = |bit| match has(bit) {
            true => self.u64().map(Some),
            false => Some(None),
        };
        let attributes = Attributes {
            client_flags,
            expires_us: number(EXPIRES)?,
            touched_us: number(TOUCHED)?,
            version: number(VERSIONED)?,
            marks: Marks {
                base64: has(BASE64),
                stale: has(STALE),
                won: has(WON),
            },
        };
        (bits & !ALL_ATTRIBUTES == 0).then_some(attributes)
    }

    fn contribution(&mut self) -> Option<Contribution> {
        Some(Contribution {
            share: ShareId(self.u64()?),
            version: self.u64()?,
            sum: Number::from_bytes(self.take(NUMBER_BYTES)?.first_chunk()?)?,
        })
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
                accessed_us: 5,
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
}
