//! The frames of a journal: a record each, between lengths and checksums.

use super::header::Key;
use super::record;
use crate::broker::Record;
use crate::limits::MAX_RECORD;
use crate::protocol::peer::packed::length;
use std::ops::Range;
use twox_hash::XxHash3_64;

pub const FRAME: usize = 16;

/// Appends a frame with a record. Its checksums are [filled in](seal) later.
pub fn encode(to: &mut Vec<u8>, record: &Record<'_>) {
    let start = to.len();
    to.extend_from_slice(&[0; FRAME]);
    record::append(to, record);
    let record_length = length(to.len() - start - FRAME);
    to[start..start + 4].copy_from_slice(&record_length.to_le_bytes());
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
    pub(super) seed: u64,
    pub(super) checksum: u64,
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

pub(super) fn checksum(seed: u64, bytes: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(seed, bytes)
}
