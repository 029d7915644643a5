//! The header of a journal: its version, and the key of its frames.

use super::frame::checksum;
use std::fmt;
use twox_hash::XxHash3_64;

pub const VERSION: u32 = 2;
pub const HEADER: usize = SECOND_PART + PART;
/// The first bytes of every journal.
pub const MAGIC: &[u8; 16] = b"clacksd journal\n";

/// The length of a part of the header.
pub const PART: usize = 64;
/// The offset of the header's second part. Disks fail in sectors of this size at most.
pub const SECOND_PART: usize = 4096;
/// The number of bytes of a part that all versions have in common.
pub(super) const COMMON: usize = 32;
/// The number of bytes of a part that have a meaning.
pub(super) const KEY_END: usize = 56;

/// The random number that seeds the checksums of one file's frames.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key(pub(super) [u64; 2]);

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
    pub(super) fn seed(self, place: u64) -> u64 {
        XxHash3_64::oneshot_with_seed(self.0[0], &place.to_le_bytes()) ^ self.0[1]
    }
}

/// Hides the key, which is a secret.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
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
pub(super) fn common(version: u32) -> [u8; COMMON] {
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
