//! The bytes of an entry's attributes, which end its block: a list of those that there are, and before it each of them.
//!
//! ```text
//! …   version   touched   expires   client flags   list
//!        8         7         7           4           1
//! ```
//! A time that does not fit into seven bytes, as no clock shows it, stands before them in eight.
//! They stand at the end so that neither the value nor the shares of a counter move them, and an entry without
//! attributes has nothing of it.

use crate::protocol::attributes::{Attributes, Marks};

/// The attributes of an entry as they are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kept {
    pub attributes: Attributes,
    /// When this node saw the last change of the entry, if that is neither the time in its stamp nor the last step of a
    /// counter.
    pub changed_us: Option<u64>,
}

/// The bits of the list.
const CLIENT_FLAGS: u8 = 1;
const EXPIRES: u8 = 1 << 1;
const TOUCHED: u8 = 1 << 2;
const VERSION: u8 = 1 << 3;
/// The version is no client's, but [`Kept::changed_us`].
const IS_CHANGE: u8 = 1 << 4;
const BASE64: u8 = 1 << 5;
const STALE: u8 = 1 << 6;
const WON: u8 = 1 << 7;

/// The bytes of a time, in microseconds since 1970.
const TIME: usize = 7;
/// All bits of those bytes are set: the time is before them.
const NO_TIME: u64 = (1 << (8 * TIME)) - 1;

impl Kept {
    pub fn is_empty(&self) -> bool {
        *self == Kept::default()
    }

    /// The bytes that the attributes take in a block; none if there are no attributes.
    pub fn length(&self) -> usize {
        let attributes = &self.attributes;
        let list = usize::from(!self.is_empty());
        let client_flags = if attributes.client_flags != 0 { 4 } else { 0 };
        let has_version = attributes.version.or(self.changed_us).is_some();
        let times = [attributes.expires_us, attributes.touched_us];
        let times = times.into_iter().flatten().map(time_length);
        list + client_flags + times.sum::<usize>() + if has_version { 8 } else { 0 }
    }

    fn list(&self) -> u8 {
        let Attributes {
            client_flags,
            expires_us,
            touched_us,
            version,
            marks,
        } = self.attributes;
        [
            (client_flags != 0, CLIENT_FLAGS),
            (expires_us.is_some(), EXPIRES),
            (touched_us.is_some(), TOUCHED),
            (version.is_some() || self.changed_us.is_some(), VERSION),
            (version.is_none() && self.changed_us.is_some(), IS_CHANGE),
            (marks.base64, BASE64),
            (marks.stale, STALE),
            (marks.won, WON),
        ]
        .into_iter()
        .filter_map(|(is_there, bit)| is_there.then_some(bit))
        .sum()
    }

    /// Writes the attributes to the end of a block that has room for them.
    pub fn write(&self, block: &mut [u8]) {
        let attributes = &self.attributes;
        let mut end = block.len();
        let mut put = |bytes: &[u8]| {
            block[end - bytes.len()..end].copy_from_slice(bytes);
            end -= bytes.len();
        };
        put(&[self.list()]);
        if attributes.client_flags != 0 {
            put(&attributes.client_flags.to_le_bytes());
        }
        let times = [attributes.expires_us, attributes.touched_us];
        for time_us in times.into_iter().flatten() {
            put(&time_us.min(NO_TIME).to_le_bytes()[..TIME]);
            if time_us >= NO_TIME {
                put(&time_us.to_le_bytes());
            }
        }
        if let Some(version) = attributes.version.or(self.changed_us) {
            put(&version.to_le_bytes());
        }
    }

    /// Reads the attributes at the end of a block that has some.
    pub fn read(block: &[u8]) -> Kept {
        Kept::split(block).0
    }

    /// Reads the attributes at the end of a block that has some, and returns what is before them.
    fn split(block: &[u8]) -> (Kept, &[u8]) {
        let (list, mut rest) = split(block);
        let has = |bit: u8| list & bit != 0;
        let client_flags = match has(CLIENT_FLAGS) {
            true => u32::from_le_bytes(take(&mut rest)),
            false => 0,
        };
        let mut time = |bit| has(bit).then(|| take_time(&mut rest));
        let (expires_us, touched_us) = (time(EXPIRES), time(TOUCHED));
        let version = has(VERSION).then(|| u64::from_le_bytes(take(&mut rest)));
        let is_change = has(IS_CHANGE);
        let kept = Kept {
            attributes: Attributes {
                client_flags,
                expires_us,
                touched_us,
                version: version.filter(|_| !is_change),
                marks: Marks {
                    base64: has(BASE64),
                    stale: has(STALE),
                    won: has(WON),
                },
            },
            changed_us: version.filter(|_| is_change),
        };
        (kept, rest)
    }
}

/// The expiry among the attributes at the end of a block that has some; `None`: never.
pub fn expires_us(block: &[u8]) -> Option<u64> {
    let (list, mut rest) = split(block);
    if list & CLIENT_FLAGS != 0 {
        take::<4>(&mut rest);
    }
    (list & EXPIRES != 0).then(|| take_time(&mut rest))
}

/// The bytes that the attributes at the end of a block take, which has some.
pub fn length_in(block: &[u8]) -> usize {
    block.len() - Kept::split(block).1.len()
}

fn time_length(time_us: u64) -> usize {
    match time_us < NO_TIME {
        true => TIME,
        false => TIME + size_of::<u64>(),
    }
}

/// Takes a time off the end.
fn take_time(bytes: &mut &[u8]) -> u64 {
    let mut time = [0; 8];
    time[..TIME].copy_from_slice(&take::<TIME>(bytes));
    match u64::from_le_bytes(time) {
        NO_TIME => u64::from_le_bytes(take(bytes)),
        time_us => time_us,
    }
}

fn split(block: &[u8]) -> (u8, &[u8]) {
    let (list, rest) = block.split_last().expect("a block is not empty");
    (*list, rest)
}

/// Takes the last bytes off.
#[inline]
fn take<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
    let (rest, last) = bytes.split_last_chunk().expect("an entry is whole");
    *bytes = rest;
    *last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_come_back_from_the_end_of_a_block() {
        for bits in 0..=u8::MAX {
            let has = |bit: u8| bits & bit != 0;
            let number = |bit, number| has(bit).then_some(number);
            let kept = Kept {
                attributes: Attributes {
                    client_flags: if has(CLIENT_FLAGS) { u32::MAX } else { 0 },
                    expires_us: number(EXPIRES, if has(STALE) { NO_TIME } else { NO_TIME - 1 }),
                    touched_us: number(TOUCHED, u64::MAX),
                    version: number(VERSION, 3).filter(|_| !has(IS_CHANGE)),
                    marks: Marks {
                        base64: has(BASE64),
                        stale: has(STALE),
                        won: has(WON),
                    },
                },
                changed_us: number(VERSION, 4).filter(|_| has(IS_CHANGE)),
            };
            let mut block = vec![0xaa; 64];
            kept.write(&mut block);
            assert_eq!(Kept::read(&block), kept);
            assert_eq!(expires_us(&block), kept.attributes.expires_us);
            let before = 64 - kept.length();
            if !kept.is_empty() {
                assert_eq!(length_in(&block), kept.length());
                assert!(block[..before].iter().all(|byte| *byte == 0xaa));
            }
        }
    }
}
