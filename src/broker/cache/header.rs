//! The layout of an entry's header: its flags, the lengths of name and value, its stamp, and its last use.
//!
//! ```text
//! short:  flags   origin   name's length   value's length, time   used
//!           1       1            1           7 (12 and 44 bits)    3
//! long:   flags   name's length   value's length   time   node   accessed
//!           1           4               4           8      8        8
//! ```
//! Numbers are little-endian. A use counts at the time of the stamp at the earliest, and its time is rounded in the short
//! form. Nearly all entries have the short form. The long one is for counters, for long names and
//! values, and where anything else is out of the ordinary; see [`Form::of`].

use super::blocks::{Block, Blocks, MIN_BLOCK};
use super::origins::{Origins, TIME_BITS};
use crate::protocol::peer::{NodeId, Stamp};

/// The kind of the register of a name. No kind is 0, which marks a free block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Absent = 1,
    Removed = 2,
    Value = 3,
}

/// The bits of the first byte.
const KIND: u8 = 0b11;
const IS_LONG: u8 = 1 << 2;
/// The number of its latest uses, up to three. For the eviction, as the two flags that follow.
const USES: u8 = 0b11 << 3;
const ONE_USE: u8 = 1 << 3;
/// It is new, and on the list of those that have to prove themselves.
pub const ON_PROBATION: u8 = 1 << 5;
/// It is on the list of tombstones, or was when it became an entry again.
pub const LISTED_AS_TOMBSTONE: u8 = 1 << 6;
/// Attributes end its block.
const HAS_ATTRIBUTES: u8 = 1 << 7;
/// The flags that are kept when an entry is rewritten.
const KEPT: u8 = USES | ON_PROBATION | LISTED_AS_TOMBSTONE;

/// Of the short form.
const ORIGIN: usize = 1;
const SHORT_NAME_LENGTH: usize = 2;
const VALUE_LENGTH_AND_TIME: usize = 3;
const USED: usize = 10;
pub const SHORT: usize = 13;
const VALUE_LENGTH_BITS: u32 = 56 - TIME_BITS;
const SHORT_NAME_MAX: usize = u8::MAX as usize;
const SHORT_VALUE_MAX: usize = (1 << VALUE_LENGTH_BITS) - 1;

/// Of the long form.
const NAME_LENGTH: usize = 1;
const VALUE_LENGTH: usize = 5;
const TIME: usize = 9;
const NODE: usize = 17;
const ACCESSED: usize = 25;
pub const LONG: usize = 33;
/// The bit of the name's length that says that the name, and the value unless it is a counter's, are a long text beside
/// the blocks.
const HAS_TEXT: u32 = 1 << 31;
/// The bits of the value's length that say that no line can show the value as it is, and that it is a counter's.
const NEEDS_ENCODING: u32 = 1 << 31;
const IS_COUNTER: u32 = 1 << 30;
const LENGTH: u32 = IS_COUNTER - 1;
/// The longest value, in bytes: its length leaves the bits above free.
pub const MAX_VALUE: usize = LENGTH as usize;

/// The form of the header of an entry that is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// With the number of the stamp's origin.
    Short(u8),
    Long,
}

impl Form {
    /// The form for a name and a value of these lengths. The entry is not `special` if it has neither a counter nor a
    /// value that needs encoding, was changed when its stamp says, and was used within the [longest](longest_use_us) time
    /// after that.
    pub fn of(
        origins: &mut Origins,
        name_length: usize,
        value_length: usize,
        stamp: Stamp,
        is_special: bool,
    ) -> Form {
        if is_special || !fits_short(name_length, value_length) {
            return Form::Long;
        }
        origins.number_of(stamp).map_or(Form::Long, Form::Short)
    }

    /// The bytes of a header of this form.
    pub fn length(self) -> usize {
        match self {
            Form::Short(_) => SHORT,
            Form::Long => LONG,
        }
    }
}

fn fits_short(name_length: usize, value_length: usize) -> bool {
    name_length <= SHORT_NAME_MAX && value_length <= SHORT_VALUE_MAX
}

/// A header to be written.
pub struct Fields {
    pub kind: Kind,
    pub name_length: usize,
    pub value_length: usize,
    pub stamp: Stamp,
    pub accessed_us: u64,
    pub is_counter: bool,
    pub has_text: bool,
    pub has_attributes: bool,
    pub needs_encoding: bool,
}

/// Writes a header to the start of a block. `former` is the flags byte of the entry that it takes the place of, or 0.
pub fn write(block: &mut [u8], form: Form, former: u8, fields: &Fields) {
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    block[0] = (former & KEPT)
        | fields.kind as u8
        | flag(fields.has_attributes, HAS_ATTRIBUTES)
        | flag(form == Form::Long, IS_LONG);
    let Form::Short(origin) = form else {
        return write_long(block, fields);
    };
    block[ORIGIN] = origin;
    block[SHORT_NAME_LENGTH] = fields.name_length as u8;
    let time = Origins::time_of(fields.stamp);
    put_time(
        block,
        fields.value_length as u64 | time << VALUE_LENGTH_BITS,
    );
    let used = packed(fields.accessed_us.saturating_sub(fields.stamp.time_us));
    put_used(block, used);
}

fn write_long(block: &mut [u8], fields: &Fields) {
    let length = |length: usize| u32::try_from(length).expect("a line is shorter than 1 GiB");
    let flag = |is_set: bool, flag: u32| if is_set { flag } else { 0 };
    let name_length = length(fields.name_length) | flag(fields.has_text, HAS_TEXT);
    let value_length = length(fields.value_length)
        | flag(fields.needs_encoding, NEEDS_ENCODING)
        | flag(fields.is_counter, IS_COUNTER);
    block[NAME_LENGTH..VALUE_LENGTH].copy_from_slice(&name_length.to_le_bytes());
    block[VALUE_LENGTH..TIME].copy_from_slice(&value_length.to_le_bytes());
    put_long_times(block, fields.stamp, fields.accessed_us);
}

fn put_long_times(block: &mut [u8], stamp: Stamp, accessed_us: u64) {
    block[TIME..NODE].copy_from_slice(&stamp.time_us.to_le_bytes());
    block[NODE..ACCESSED].copy_from_slice(&stamp.node.0.to_le_bytes());
    block[ACCESSED..LONG].copy_from_slice(&accessed_us.to_le_bytes());
}

/// Puts the value's length and the bits of the time.
fn put_time(block: &mut [u8], bits: u64) {
    block[VALUE_LENGTH_AND_TIME..USED].copy_from_slice(&bits.to_le_bytes()[..7]);
}

fn put_used(block: &mut [u8], used: u32) {
    block[USED..SHORT].copy_from_slice(&used.to_le_bytes()[..3]);
}

/// The bits of a mantissa of a [packed] duration; above it are three bits of exponent to the base of 16.
const MANTISSA_BITS: u32 = 21;
const MANTISSA: u32 = (1 << MANTISSA_BITS) - 1;
const EXPONENT_BITS: u32 = 4;
const LONGEST: u32 = (1 << 24) - 1;

/// How long after its stamp an entry was used, in 24 bits: exactly up to two seconds, rounded up to the next second up to
/// 25 days, to 17 s up to a year, and to 4.5 minutes up to 17 years, which is the longest. A later use is a greater
/// number.
#[inline(always)]
fn packed(us: u64) -> u32 {
    match us <= u64::from(MANTISSA) {
        true => us as u32,
        false => packed_long(us),
    }
}

fn packed_long(us: u64) -> u32 {
    let excess_bits = u64::BITS - us.leading_zeros() - MANTISSA_BITS;
    let exponent = excess_bits.div_ceil(EXPONENT_BITS);
    let shift = exponent * EXPONENT_BITS;
    // Rounding up may reach the next power of two, which is in the range of a mantissa except for the greatest.
    let mantissa = us.div_ceil(1 << shift) as u32;
    match (mantissa > MANTISSA, exponent) {
        (false, 0..=7) => exponent << MANTISSA_BITS | mantissa,
        (true, 0..=6) => (exponent + 1) << MANTISSA_BITS | mantissa >> EXPONENT_BITS,
        _ => LONGEST,
    }
}

/// The longest time after its stamp at which an entry with the short form can have been used, in microseconds.
pub fn longest_use_us() -> u64 {
    unpacked(LONGEST)
}

#[inline(always)]
fn unpacked(packed: u32) -> u64 {
    u64::from(packed & MANTISSA) << (EXPONENT_BITS * (packed >> MANTISSA_BITS))
}

/// The header at the start of a block.
#[derive(Clone, Copy)]
pub struct Header<'a> {
    /// The block.
    pub bytes: &'a [u8],
}

#[inline(always)]
pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk().expect("an entry is whole"))
}

#[inline(always)]
pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().expect("an entry is whole"))
}

impl Header<'_> {
    /// All of a short header and more: the length of the block is checked once for all that is read of it.
    #[inline(always)]
    fn start(&self) -> &[u8; MIN_BLOCK] {
        self.bytes.first_chunk().expect("no block is smaller")
    }

    #[inline(always)]
    pub fn flags(self) -> u8 {
        self.start()[0]
    }

    #[inline(always)]
    pub fn is_long(self) -> bool {
        self.flags() & IS_LONG != 0
    }

    /// Its origin's number, if it has the short form.
    pub fn origin(self) -> Option<u8> {
        (!self.is_long()).then(|| self.bytes[ORIGIN])
    }

    #[inline(always)]
    pub fn kind(self) -> Kind {
        match self.flags() & KIND {
            1 => Kind::Absent,
            2 => Kind::Removed,
            _ => Kind::Value,
        }
    }

    pub fn uses(self) -> u8 {
        self.flags() & USES
    }

    #[inline(always)]
    pub fn has_attributes(self) -> bool {
        self.flags() & HAS_ATTRIBUTES != 0
    }

    #[inline(always)]
    pub fn has_text(self) -> bool {
        self.is_long() && u32_at(self.start(), NAME_LENGTH) & HAS_TEXT != 0
    }

    #[inline(always)]
    pub fn is_counter(self) -> bool {
        self.is_long() && u32_at(self.start(), VALUE_LENGTH) & IS_COUNTER != 0
    }

    /// Reports whether clients of Clacks are shown another text than the value.
    #[inline(always)]
    pub fn needs_encoding(self) -> bool {
        self.is_long() && u32_at(self.start(), VALUE_LENGTH) & NEEDS_ENCODING != 0
    }

    #[inline(always)]
    pub fn name_length(self) -> usize {
        match self.is_long() {
            true => (u32_at(self.start(), NAME_LENGTH) & LENGTH) as usize,
            false => usize::from(self.start()[SHORT_NAME_LENGTH]),
        }
    }

    #[inline(always)]
    pub fn value_length(self) -> usize {
        match self.is_long() {
            true => (u32_at(self.start(), VALUE_LENGTH) & LENGTH) as usize,
            false => u64_at(self.start(), VALUE_LENGTH_AND_TIME) as usize & SHORT_VALUE_MAX,
        }
    }

    #[inline(always)]
    pub fn stamp(self, origins: &Origins) -> Stamp {
        if self.is_long() {
            return Stamp {
                time_us: u64_at(self.start(), TIME),
                node: NodeId(u64_at(self.start(), NODE)),
            };
        }
        let bits = u64_at(self.start(), VALUE_LENGTH_AND_TIME) >> VALUE_LENGTH_BITS;
        origins.stamp(self.start()[ORIGIN], bits & ((1 << TIME_BITS) - 1))
    }

    /// When it was last used, at its stamp's time or later.
    #[inline(always)]
    pub fn accessed_us(self, origins: &Origins) -> u64 {
        match self.is_long() {
            true => u64_at(self.bytes, ACCESSED),
            false => self.stamp(origins).time_us + unpacked(self.used()),
        }
    }

    /// Of the short form: how long after its stamp it was used, [packed].
    #[inline(always)]
    fn used(self) -> u32 {
        u32_at(self.start(), USED - 1) >> u8::BITS
    }
}

// Changes that leave an entry where it is.

/// Puts another value of the same length in place of one that has nothing but itself: no attributes, no counter, and the
/// same origin if the header is short. Otherwise this does nothing and returns false.
pub fn overwrite(
    blocks: &mut Blocks,
    block: Block,
    value: &[u8],
    stamp: Stamp,
    now_us: u64,
) -> bool {
    let (bytes, origins) = blocks.get_with_origins(block);
    let header = Header { bytes };
    if header.flags() & (KIND | HAS_ATTRIBUTES) != Kind::Value as u8
        || header.value_length() != value.len()
    {
        return false;
    }
    let name_length = header.name_length();
    if header.is_long() {
        let flags = u32_at(bytes, NAME_LENGTH) & HAS_TEXT
            | u32_at(bytes, VALUE_LENGTH) & (NEEDS_ENCODING | IS_COUNTER);
        // The name's hash is before a name that is long itself.
        if flags != 0 || name_length > SHORT_NAME_MAX || value.len() <= SHORT_VALUE_MAX {
            return false;
        }
        put_long_times(bytes, stamp, now_us);
        bytes[LONG + name_length..][..value.len()].copy_from_slice(value);
    } else {
        if !origins.is_of(bytes[ORIGIN], stamp) {
            return false;
        }
        let time = Origins::time_of(stamp);
        put_time(bytes, value.len() as u64 | time << VALUE_LENGTH_BITS);
        put_used(bytes, packed(now_us.saturating_sub(stamp.time_us)));
        bytes[SHORT + name_length..][..value.len()].copy_from_slice(value);
    }
    add_use(bytes);
    true
}

/// Puts the length of a counter's value.
pub fn put_value_length(block: &mut [u8], length: usize) {
    let flags = u32_at(block, VALUE_LENGTH) & !LENGTH;
    let length = length as u32 | flags;
    block[VALUE_LENGTH..TIME].copy_from_slice(&length.to_le_bytes());
}

/// Puts the flag that says that there are attributes.
pub fn put_has_attributes(block: &mut [u8], has_attributes: bool) {
    match has_attributes {
        true => set_flag(block, HAS_ATTRIBUTES),
        false => reset_flag(block, HAS_ATTRIBUTES),
    }
}

/// It was used: then, and once more.
pub fn note_use(blocks: &mut Blocks, block: Block, used_us: u64) {
    let (bytes, origins) = blocks.get_with_origins(block);
    let stamp = Header { bytes }.stamp(origins);
    put_use(bytes, stamp.time_us, used_us);
}

/// As [`note_use`]; `stamped_us` is the time of its stamp.
#[inline(always)]
pub fn put_use(block: &mut [u8], stamped_us: u64, used_us: u64) {
    let header = Header { bytes: block };
    if header.is_long() {
        let accessed_us = u64_at(block, ACCESSED).max(used_us);
        block[ACCESSED..LONG].copy_from_slice(&accessed_us.to_le_bytes());
    } else {
        let used = packed(used_us.saturating_sub(stamped_us));
        let used = header.used().max(used);
        put_used(block, used);
    }
    add_use(block);
}

#[inline(always)]
fn add_use(block: &mut [u8]) {
    if block[0] & USES != USES {
        block[0] += ONE_USE;
    }
}

/// Takes one use away. Returns true if there was one.
pub fn forget_use(block: &mut [u8]) -> bool {
    let was_used = block[0] & USES != 0;
    if was_used {
        block[0] -= ONE_USE;
    }
    was_used
}

pub fn forget_all_uses(block: &mut [u8]) {
    block[0] &= !USES;
}

pub fn set_flag(block: &mut [u8], flag: u8) {
    block[0] |= flag;
}

pub fn reset_flag(block: &mut [u8], flag: u8) {
    block[0] &= !flag;
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_US: u64 = 1_000_000;
    const DAY_US: u64 = 86_400 * SECOND_US;

    #[test]
    fn the_time_of_a_use_is_rounded_up_a_little_and_keeps_its_order() {
        let longest = unpacked(LONGEST);
        assert!(longest > 17 * 365 * DAY_US);
        let (mut us, mut before) = (8, 0);
        while us < 2 * longest {
            for us in [us - 1, us, us + 1, us + us / 3, us + us / 2] {
                let number = packed(us);
                assert!((before..=LONGEST).contains(&number), "{us}");
                before = number;
                let error_us = match us {
                    0..2_000_000 => 0,
                    _ if us < 25 * DAY_US => 1_100_000,
                    _ if us < 365 * DAY_US => 17 * SECOND_US,
                    _ => 270 * SECOND_US,
                };
                let back_us = unpacked(number);
                if us > longest {
                    assert_eq!(back_us, longest);
                } else {
                    assert!((us..=us + error_us).contains(&back_us), "{us}: {back_us}");
                    assert_eq!(packed(back_us), number, "it is not rounded twice");
                }
            }
            us *= 2;
        }
        assert_eq!(packed(u64::MAX), LONGEST);
        assert_eq!(unpacked(packed(longest_use_us())), longest_use_us());
    }
}
