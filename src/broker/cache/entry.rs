//! What an entry looks like in its block: everything about a name in one piece of memory.
//!
//! ```text
//! flags   name's length   value's length   stamp: time, node   accessed   name   value
//!   1           4                4               8      8          8       …      …
//! ```
//! A counter has more behind its value, which is then only what it prints as:
//! ```text
//! changed   base's length   contributions: count   base   node, version, sum …
//!    8            4                 4                …      8     8      17
//! ```
//! Numbers are little-endian.

use crate::protocol::number::{NUMBER_BYTES, Number};
use crate::protocol::peer::{Contribution, NodeId, Register, Stamp, State};
use std::io::{self, Write};

/// What was last written to a name as a whole. Never 0, which marks a free block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Absent = 1,
    Removed = 2,
    Value = 3,
}

/// The bits of the first byte.
const KIND: u8 = 0b11;
const IS_COUNTER: u8 = 1 << 2;
/// How often it was used lately, up to three times. For whoever evicts, as all that follow.
const USES: u8 = 0b11 << 3;
const ONE_USE: u8 = 1 << 3;
/// It is new, and on the list of those that have to prove themselves.
pub const ON_PROBATION: u8 = 1 << 5;
/// It is on the list of tombstones, or was when it became an entry again.
pub const LISTED_AS_TOMBSTONE: u8 = 1 << 6;
/// What stays when an entry is written anew.
const KEPT: u8 = USES | ON_PROBATION | LISTED_AS_TOMBSTONE;

const NAME_LENGTH: usize = 1;
const VALUE_LENGTH: usize = 5;
const TIME: usize = 9;
const NODE: usize = 17;
const ACCESSED: usize = 25;
const NAME: usize = 33;

const COUNTER_HEADER: usize = 16;
const CONTRIBUTION: usize = 16 + NUMBER_BYTES;
/// Longer texts are no numbers as people write them.
const LONG_NUMBER: usize = 32;

/// A register with its counter, to be written.
pub struct Content<'a> {
    pub kind: Kind,
    /// What RETRIEVE answers.
    pub value: &'a [u8],
    pub stamp: Stamp,
    pub accessed_us: u64,
    pub counter: Option<&'a Counter>,
}

/// What INCREMENT and DECREMENT have made of a register.
pub struct Counter {
    /// The value that is counted from, as it was written.
    pub base: Box<[u8]>,
    /// In the order of the nodes, so that floating-point sums are the same everywhere.
    pub contributions: Vec<Contribution>,
    /// When this node last saw it change: what a KEYSYNC says of it, for that knows no counters.
    pub changed_us: u64,
}

/// A printed number: 24 bytes for a double, 20 digits and a sign for an integer.
pub struct Printed {
    text: [u8; 32],
    length: usize,
}

impl Printed {
    pub fn text(&self) -> &[u8] {
        &self.text[..self.length]
    }
}

impl Counter {
    /// That nobody has counted yet.
    pub fn new(base: &[u8]) -> Counter {
        // It goes along with every step from now on, and only its number counts.
        let base = if base.len() > LONG_NUMBER {
            let number = Number::from_value(base).exact().to_string();
            number.into_bytes().into()
        } else {
            base.into()
        };
        Counter {
            base,
            contributions: Vec::new(),
            changed_us: 0,
        }
    }

    pub fn print(&self) -> Printed {
        let base = Number::from_value(&self.base);
        let sums = self
            .contributions
            .iter()
            .map(|contribution| contribution.sum);
        let total = sums.fold(base, Number::accumulate).result();
        let mut text = io::Cursor::new([0; 32]);
        write!(text, "{total}").expect("a printed number fits into 32 bytes");
        Printed {
            length: text.position() as usize,
            text: text.into_inner(),
        }
    }

    fn length(&self) -> usize {
        COUNTER_HEADER + self.base.len() + self.contributions.len() * CONTRIBUTION
    }
}

/// How many bytes an entry takes.
pub fn length(name: &[u8], content: &Content<'_>) -> usize {
    NAME + name.len() + content.value.len() + content.counter.map_or(0, Counter::length)
}

/// Writes an entry into a block, which is large enough. `former` is the flags byte of the entry that it
/// takes the place of, or 0.
pub fn write(block: &mut [u8], former: u8, name: &[u8], content: &Content<'_>) {
    let counter_flag = if content.counter.is_some() {
        IS_COUNTER
    } else {
        0
    };
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("a line is shorter than 4 GiB");
    let mut to = io::Cursor::new(block);
    let written = (|| {
        to.write_all(&[(former & KEPT) | content.kind as u8 | counter_flag])?;
        to.write_all(&length(name).to_le_bytes())?;
        to.write_all(&length(content.value).to_le_bytes())?;
        to.write_all(&content.stamp.time_us.to_le_bytes())?;
        to.write_all(&content.stamp.node.0.to_le_bytes())?;
        to.write_all(&content.accessed_us.to_le_bytes())?;
        to.write_all(name)?;
        to.write_all(content.value)?;
        let Some(counter) = content.counter else {
            return Ok(());
        };
        let count = counter.contributions.len() as u32;
        to.write_all(&counter.changed_us.to_le_bytes())?;
        to.write_all(&length(&counter.base).to_le_bytes())?;
        to.write_all(&count.to_le_bytes())?;
        to.write_all(&counter.base)?;
        for contribution in &counter.contributions {
            to.write_all(&contribution.node.0.to_le_bytes())?;
            to.write_all(&contribution.version.to_le_bytes())?;
            to.write_all(&contribution.sum.to_bytes())?;
        }
        io::Result::Ok(())
    })();
    written.expect("the block is large enough");
}

/// An entry in its block.
#[derive(Clone, Copy)]
pub struct Entry<'a>(pub &'a [u8]);

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk().expect("an entry is whole"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().expect("an entry is whole"))
}

impl<'a> Entry<'a> {
    pub fn flags(self) -> u8 {
        self.0[0]
    }

    pub fn uses(self) -> u8 {
        self.flags() & USES
    }

    pub fn kind(self) -> Kind {
        match self.flags() & KIND {
            1 => Kind::Absent,
            2 => Kind::Removed,
            _ => Kind::Value,
        }
    }

    fn name_end(self) -> usize {
        NAME + u32_at(self.0, NAME_LENGTH) as usize
    }

    fn value_end(self) -> usize {
        self.name_end() + u32_at(self.0, VALUE_LENGTH) as usize
    }

    pub fn name(self) -> &'a [u8] {
        &self.0[NAME..self.name_end()]
    }

    /// What RETRIEVE answers, if it [`Entry::holds_value`].
    pub fn value(self) -> &'a [u8] {
        &self.0[self.name_end()..self.value_end()]
    }

    pub fn is_counter(self) -> bool {
        self.flags() & IS_COUNTER != 0
    }

    pub fn holds_value(self) -> bool {
        self.flags() & IS_COUNTER != 0 || self.kind() == Kind::Value
    }

    pub fn stamp(self) -> Stamp {
        Stamp {
            time_us: u64_at(self.0, TIME),
            node: NodeId(u64_at(self.0, NODE)),
        }
    }

    pub fn accessed_us(self) -> u64 {
        u64_at(self.0, ACCESSED)
    }

    /// When it was last written or counted.
    pub fn changed_us(self) -> u64 {
        let counted_us = if self.is_counter() {
            u64_at(self.0, self.value_end())
        } else {
            0
        };
        self.stamp().time_us.max(counted_us)
    }

    fn contributions_count(self) -> usize {
        u32_at(self.0, self.value_end() + 12) as usize
    }

    pub fn has_many_contributions(self, many: usize) -> bool {
        self.is_counter() && self.contributions_count() >= many
    }

    fn base(self) -> &'a [u8] {
        let at = self.value_end();
        let length = u32_at(self.0, at + 8) as usize;
        &self.0[at + COUNTER_HEADER..at + COUNTER_HEADER + length]
    }

    fn contributions(self) -> Vec<Contribution> {
        if !self.is_counter() {
            return Vec::new();
        }
        let first = self.value_end() + COUNTER_HEADER + self.base().len();
        let all = self.0[first..].chunks_exact(CONTRIBUTION);
        all.take(self.contributions_count())
            .map(|bytes| Contribution {
                node: NodeId(u64_at(bytes, 0)),
                version: u64_at(bytes, 8),
                sum: Number::from_bytes(bytes[16..].first_chunk().expect("a chunk is whole"))
                    .expect("what was written is read"),
            })
            .collect()
    }

    /// The counter, or one that begins from the value there is.
    pub fn counter(self) -> Counter {
        if self.is_counter() {
            return Counter {
                base: self.base().into(),
                contributions: self.contributions(),
                changed_us: u64_at(self.0, self.value_end()),
            };
        }
        Counter::new(match self.kind() {
            Kind::Value => self.value(),
            Kind::Absent | Kind::Removed => b"",
        })
    }

    pub fn state(self) -> State<'a> {
        let register = match self.kind() {
            Kind::Absent => Register::Absent,
            Kind::Removed => Register::Removed,
            Kind::Value if self.is_counter() => Register::Value(self.base()),
            Kind::Value => Register::Value(self.value()),
        };
        State {
            stamp: self.stamp(),
            accessed_us: self.accessed_us(),
            register,
            contributions: self.contributions(),
        }
    }
}

// Changes that leave an entry where it is.

/// Puts another value of the same length in place of one that is no counter's; false if there is none.
pub fn overwrite(block: &mut [u8], value: &[u8], stamp: Stamp, now_us: u64) -> bool {
    let entry = Entry(block);
    let at = entry.name_end()..entry.value_end();
    if entry.is_counter() || entry.kind() != Kind::Value || at.len() != value.len() {
        return false;
    }
    block[at].copy_from_slice(value);
    block[TIME..NODE].copy_from_slice(&stamp.time_us.to_le_bytes());
    block[NODE..ACCESSED].copy_from_slice(&stamp.node.0.to_le_bytes());
    block[ACCESSED..NAME].copy_from_slice(&now_us.to_le_bytes());
    note_use(block, now_us);
    true
}

/// It was used: then, and once more.
pub fn note_use(block: &mut [u8], now_us: u64) {
    let accessed_us = u64_at(block, ACCESSED).max(now_us);
    block[ACCESSED..NAME].copy_from_slice(&accessed_us.to_le_bytes());
    if block[0] & USES != USES {
        block[0] += ONE_USE;
    }
}

/// One use less; whether there was any.
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
