//! The layout of an entry in its block: everything about a name in one piece of memory.
//!
//! ```text
//! flags   name's length   value's length   stamp: time, node   accessed   name   value
//!   1           4                4               8      8          8       …      …
//! ```
//! A long name has its hash before it. Name and value that are long together are kept beside the blocks, as one text
//! `name=value` that is shared with others, and its number stands in their place.
//!
//! A counter has more behind its value, which is then only what it prints as:
//! ```text
//! changed   base's length   contributions: count   base's number   base   share, version, sum …
//!    8            4                 4                   17          …       8      8      17
//! ```
//! Attributes, if there are any, end the block (`attributes`); a bit of the value's length says so. Numbers are
//! little-endian.

use super::attributes::{self, Kept};
use super::blocks::{Block, Blocks};
use crate::broker::table::hash;
use crate::limits::{KIB, LONG_LINE};
use crate::protocol::attributes::Attributes;
use crate::protocol::number::{NUMBER_BYTES, Number, work_of};
use crate::protocol::peer::{Contribution, NodeId, Register, ShareId, Stamp, State};
use crate::protocol::shared::SharedBytes;
use ahash::RandomState;
use std::io::{self, Write};
use std::ops::Range;
use std::slice::ChunksExact;

/// The kind of the register of a name. No kind is 0, which marks a free block.
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
/// Its name, and its value unless it is a counter's, are a long text beside the blocks.
const HAS_TEXT: u8 = 1 << 7;
/// The flags that are kept when an entry is rewritten.
const KEPT: u8 = USES | ON_PROBATION | LISTED_AS_TOMBSTONE;

const NAME_LENGTH: usize = 1;
const VALUE_LENGTH: usize = 5;
const TIME: usize = 9;
const NODE: usize = 17;
const ACCESSED: usize = 25;
const NAME: usize = 33;
/// The bits of the value's length that say that there are attributes, and that no line can show the value as it is.
const HAS_ATTRIBUTES: u32 = 1 << 31;
const NEEDS_ENCODING: u32 = 1 << 30;
const FLAGS_OF_LENGTH: u32 = HAS_ATTRIBUTES | NEEDS_ENCODING;
/// The longest value, in bytes: its length leaves the bits above free.
pub const MAX_VALUE: usize = (NEEDS_ENCODING - 1) as usize;
/// Names from this length on have their hash before them: hundreds of them are hashed again when a segment of the table
/// splits.
const LONG_NAME: usize = KIB;
const HASH_BYTES: usize = 8;
/// Of the number of a long text.
const TEXT_BYTES: usize = 4;

/// Within what a counter has behind its value.
const BASE_LENGTH: usize = 8;
const COUNT: usize = 12;
const BASE_NUMBER: usize = 16;
const COUNTER_HEADER: usize = BASE_NUMBER + NUMBER_BYTES;
const CONTRIBUTION: usize = 16 + NUMBER_BYTES;
/// Longer texts are no numbers as people write them.
const LONG_NUMBER: usize = 32;

/// A register with its counter, to be written.
pub struct Content<'a> {
    pub kind: Kind,
    /// The value that RETRIEVE returns: the printed number of a counter, an empty text for a tombstone.
    pub value: &'a [u8],
    pub stamp: Stamp,
    pub accessed_us: u64,
    pub counter: Option<&'a Counter>,
    /// `None` if there are no attributes.
    pub kept: Option<&'a Kept>,
    /// True if clients of Clacks are shown another text than the value.
    pub needs_encoding: bool,
}

/// A counter: the value of a register, and the contributions that INCREMENT and DECREMENT have added to it.
pub struct Counter {
    /// The value that is counted from, as it was written, and its number.
    base: Box<[u8]>,
    base_number: Number,
    /// The contributions in the order of their share ids, so that floating-point sums are the same everywhere.
    pub contributions: Vec<Contribution>,
    /// The time at which this node last saw the counter change, in microseconds. A KEYSYNC, which knows no counters,
    /// sends it as the time of the value.
    pub changed_us: u64,
    /// The work of parsing the base, beyond its bytes; see [`limits`](crate::limits) for the unit.
    pub work: usize,
}

/// A printed number: 24 bytes for a double, 20 digits and a sign for an integer.
pub struct Printed {
    text: [u8; 32],
    length: usize,
}

impl Printed {
    fn new(number: Number) -> Printed {
        let mut text = io::Cursor::new([0; 32]);
        write!(text, "{number}").expect("a printed number fits into 32 bytes");
        Printed {
            length: text.position() as usize,
            text: text.into_inner(),
        }
    }

    pub fn text(&self) -> &[u8] {
        &self.text[..self.length]
    }
}

impl Counter {
    /// A counter without any contribution.
    pub fn new(base: &[u8]) -> Counter {
        let base_number = Number::from_value(base);
        let work = work_of(base);
        // The base goes along with every state from now on, and only its number counts.
        let base = if base.len() > LONG_NUMBER {
            let number = base_number.exact().to_string();
            number.into_bytes().into()
        } else {
            base.into()
        };
        Counter {
            base,
            base_number,
            contributions: Vec::new(),
            changed_us: 0,
            work,
        }
    }

    pub fn print(&self) -> Printed {
        let sums = self.contributions.iter();
        let sums = sums.map(|contribution| contribution.sum);
        let total = sums.fold(self.base_number, Number::accumulate).result();
        Printed::new(total)
    }

    fn length(&self) -> usize {
        COUNTER_HEADER + self.base.len() + self.contributions.len() * CONTRIBUTION
    }
}

/// Reports whether name and value together are long enough to be kept as a long text beside the blocks.
pub fn has_text(name: &[u8], content: &Content<'_>) -> bool {
    name.len() + content.value.len() >= LONG_LINE
}

/// The long text of an entry: name and value, or the name alone. It is shared with `line`, the long line that it comes
/// from, as far as it lies there.
pub fn text(name: &[u8], content: &Content<'_>, line: Option<&SharedBytes>) -> SharedBytes {
    let all: &[&[u8]] = &[name, b"=", content.value];
    let is_name_alone = content.kind != Kind::Value || content.counter.is_some();
    let parts = if is_name_alone { &all[..1] } else { all };
    match line.and_then(|line| line.find_tail(parts)) {
        Some((0, text)) => text,
        _ => SharedBytes::copy_of(parts),
    }
}

/// How many bytes an entry takes in its block.
pub fn length(name: &[u8], content: &Content<'_>) -> usize {
    let hash = if name.len() >= LONG_NAME {
        HASH_BYTES
    } else {
        0
    };
    let texts = match (has_text(name, content), content.counter) {
        (false, _) => name.len() + content.value.len(),
        (true, None) => TEXT_BYTES,
        (true, Some(_)) => TEXT_BYTES + content.value.len(),
    };
    let behind = content.counter.map_or(0, Counter::length) + content.kept.map_or(0, Kept::length);
    NAME + hash + texts + behind
}

/// Writes an entry into a block, which is large enough. `former` is the flags byte of the entry that it
/// takes the place of, or 0; `hash` is its name's, and `text` the number of its long text, if it has one.
pub fn write(
    block: &mut [u8],
    former: u8,
    name: &[u8],
    hash: u64,
    content: &Content<'_>,
    text: Option<u32>,
) {
    let counter_flag = if content.counter.is_some() {
        IS_COUNTER
    } else {
        0
    };
    let text_flag = if text.is_some() { HAS_TEXT } else { 0 };
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("a line is shorter than 4 GiB");
    let attributes_flag = match content.kept.filter(|kept| !kept.is_empty()) {
        Some(kept) => {
            kept.write(block);
            HAS_ATTRIBUTES
        }
        None => 0,
    };
    let encoding_flag = match content.needs_encoding {
        true => NEEDS_ENCODING,
        false => 0,
    };
    let mut to = io::Cursor::new(block);
    let written = (|| {
        to.write_all(&[(former & KEPT) | content.kind as u8 | counter_flag | text_flag])?;
        to.write_all(&length(name).to_le_bytes())?;
        let flags = attributes_flag | encoding_flag;
        to.write_all(&(length(content.value) | flags).to_le_bytes())?;
        to.write_all(&content.stamp.time_us.to_le_bytes())?;
        to.write_all(&content.stamp.node.0.to_le_bytes())?;
        to.write_all(&content.accessed_us.to_le_bytes())?;
        if name.len() >= LONG_NAME {
            to.write_all(&hash.to_le_bytes())?;
        }
        match text {
            None => to.write_all(name)?,
            Some(number) => to.write_all(&number.to_le_bytes())?,
        }
        if text.is_none() || content.counter.is_some() {
            to.write_all(content.value)?;
        }
        let Some(counter) = content.counter else {
            return Ok(());
        };
        let count = counter.contributions.len() as u32;
        to.write_all(&counter.changed_us.to_le_bytes())?;
        to.write_all(&length(&counter.base).to_le_bytes())?;
        to.write_all(&count.to_le_bytes())?;
        to.write_all(&counter.base_number.to_bytes())?;
        to.write_all(&counter.base)?;
        for contribution in &counter.contributions {
            to.write_all(&contribution_bytes(contribution))?;
        }
        io::Result::Ok(())
    })();
    written.expect("the block is large enough");
}

fn contribution_bytes(contribution: &Contribution) -> [u8; CONTRIBUTION] {
    let mut bytes = [0; CONTRIBUTION];
    bytes[..8].copy_from_slice(&contribution.share.0.to_le_bytes());
    bytes[8..16].copy_from_slice(&contribution.version.to_le_bytes());
    bytes[16..].copy_from_slice(&contribution.sum.to_bytes());
    bytes
}

fn contribution(bytes: &[u8]) -> Contribution {
    Contribution {
        share: ShareId(u64_at(bytes, 0)),
        version: u64_at(bytes, 8),
        sum: number_at(bytes, 16),
    }
}

fn number_at(bytes: &[u8], at: usize) -> Number {
    let bytes = bytes[at..].first_chunk().expect("an entry is whole");
    Number::from_bytes(bytes).expect("what was written is read")
}

/// An entry in its block, with its long text if it has one.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    bytes: &'a [u8],
    text: Option<&'a SharedBytes>,
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk().expect("an entry is whole"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().expect("an entry is whole"))
}

impl<'a> Entry<'a> {
    #[inline(always)]
    pub fn new(blocks: &'a Blocks, block: Block) -> Entry<'a> {
        let bytes = blocks.get(block);
        if bytes[0] & HAS_TEXT != 0 {
            return Entry::with_text(blocks, bytes);
        }
        Entry { bytes, text: None }
    }

    /// An entry whose name and value are a long text. Kept out of line, for few are.
    #[cold]
    fn with_text(blocks: &'a Blocks, bytes: &'a [u8]) -> Entry<'a> {
        let number = Entry::header(bytes).text_number();
        Entry {
            bytes,
            text: number.map(|number| blocks.text(number)),
        }
    }

    /// An entry that is asked for neither name nor value, which may be elsewhere.
    pub fn header(bytes: &'a [u8]) -> Entry<'a> {
        Entry { bytes, text: None }
    }

    pub fn flags(self) -> u8 {
        self.bytes[0]
    }

    /// The number of its long text, if it has one.
    pub fn text_number(self) -> Option<u32> {
        (self.flags() & HAS_TEXT != 0).then(|| u32_at(self.bytes, self.name_start() - TEXT_BYTES))
    }

    pub fn text(self) -> Option<&'a SharedBytes> {
        self.text
    }

    /// Memory of the block and of the long text, in bytes.
    pub fn size(self) -> usize {
        self.bytes.len() + self.text.map_or(0, |text| text.len())
    }

    fn has_text(self) -> bool {
        self.flags() & HAS_TEXT != 0
    }

    /// The hash of its name in the table.
    pub fn hash(self, hasher: &RandomState) -> u64 {
        if self.name_length() < LONG_NAME {
            hash(hasher, self.name())
        } else {
            u64_at(self.bytes, NAME)
        }
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

    fn name_length(self) -> usize {
        u32_at(self.bytes, NAME_LENGTH) as usize
    }

    /// Where in the block the name begins, or else what comes behind the number of a long text.
    fn name_start(self) -> usize {
        let hash = if self.name_length() < LONG_NAME {
            0
        } else {
            HASH_BYTES
        };
        NAME + hash + if self.has_text() { TEXT_BYTES } else { 0 }
    }

    fn name_end(self) -> usize {
        self.name_start()
            + if self.has_text() {
                0
            } else {
                self.name_length()
            }
    }

    fn value_length(self) -> usize {
        (u32_at(self.bytes, VALUE_LENGTH) & !FLAGS_OF_LENGTH) as usize
    }

    pub fn has_attributes(self) -> bool {
        u32_at(self.bytes, VALUE_LENGTH) & HAS_ATTRIBUTES != 0
    }

    /// Reports whether clients of Clacks are shown another text than the value.
    pub fn needs_encoding(self) -> bool {
        u32_at(self.bytes, VALUE_LENGTH) & NEEDS_ENCODING != 0
    }

    /// The attributes; `None` if there are none.
    pub fn kept(self) -> Option<Kept> {
        self.has_attributes().then(|| Kept::read(self.bytes))
    }

    pub fn attributes(self) -> Attributes {
        self.kept().unwrap_or_default().attributes
    }

    /// When it expires; `None`: never.
    #[inline]
    pub fn expires_us(self) -> Option<u64> {
        match self.has_attributes() {
            true => attributes::expires_us(self.bytes),
            false => None,
        }
    }

    /// The bytes of its attributes.
    fn attributes_length(self) -> usize {
        match self.has_attributes() {
            true => attributes::length_in(self.bytes),
            false => 0,
        }
    }

    /// How many bytes of its block it needs with these attributes.
    pub fn length_with(self, kept: &Kept) -> usize {
        let end = match self.is_counter() {
            true => self.contributions_range().end,
            false => self.value_end(),
        };
        end + kept.length()
    }

    /// Inlined, for counting asks for it many times.
    #[inline(always)]
    fn value_end(self) -> usize {
        if self.has_text() {
            return self.value_end_of_text();
        }
        let name = self.name_length();
        let hash = if name < LONG_NAME { 0 } else { HASH_BYTES };
        NAME + hash + name + self.value_length()
    }

    #[cold]
    fn value_end_of_text(self) -> usize {
        match self.is_counter() {
            true => self.name_end() + self.value_length(),
            false => self.name_end(),
        }
    }

    /// Reports whether the entry in a block has that name.
    #[inline(always)]
    pub fn is_named(blocks: &Blocks, block: Block, name: &[u8]) -> bool {
        let bytes = blocks.get(block);
        if name.len() >= LONG_NAME || bytes[0] & HAS_TEXT != 0 {
            return Entry::is_long_and_named(blocks, block, name);
        }
        u32_at(bytes, NAME_LENGTH) as usize == name.len() && bytes[NAME..].starts_with(name)
    }

    #[cold]
    fn is_long_and_named(blocks: &Blocks, block: Block, name: &[u8]) -> bool {
        Entry::new(blocks, block).name() == name
    }

    pub fn name(self) -> &'a [u8] {
        let length = self.name_length();
        match self.text {
            None => {
                let start = NAME + if length < LONG_NAME { 0 } else { HASH_BYTES };
                &self.bytes[start..start + length]
            }
            Some(text) => &text[..length],
        }
    }

    /// Returns the value that RETRIEVE answers with. It is meaningful only if [`Entry::holds_value`] is true.
    #[inline]
    pub fn value(self) -> &'a [u8] {
        let name = self.name_length();
        match self.text {
            None => {
                let start = NAME + if name < LONG_NAME { 0 } else { HASH_BYTES } + name;
                &self.bytes[start..start + self.value_length()]
            }
            Some(_) if self.is_counter() => &self.bytes[self.name_end()..self.value_end()],
            // Between the two stands a sign.
            Some(text) => text.get(name + 1..).unwrap_or_default(),
        }
    }

    pub fn is_counter(self) -> bool {
        self.flags() & IS_COUNTER != 0
    }

    pub fn holds_value(self) -> bool {
        self.flags() & IS_COUNTER != 0 || self.kind() == Kind::Value
    }

    pub fn stamp(self) -> Stamp {
        Stamp {
            time_us: u64_at(self.bytes, TIME),
            node: NodeId(u64_at(self.bytes, NODE)),
        }
    }

    pub fn accessed_us(self) -> u64 {
        u64_at(self.bytes, ACCESSED)
    }

    /// When it was last written or counted.
    #[inline]
    pub fn changed_us(self) -> u64 {
        match self.is_counter() || self.has_attributes() {
            true => self.changed_beside_stamp_us(),
            false => u64_at(self.bytes, TIME),
        }
    }

    #[cold]
    fn changed_beside_stamp_us(self) -> u64 {
        let stamped_us = u64_at(self.bytes, TIME);
        if self.is_counter() {
            return stamped_us.max(u64_at(self.bytes, self.value_end()));
        }
        let changed_us = self.kept().and_then(|kept| kept.changed_us);
        changed_us.unwrap_or(stamped_us)
    }

    /// The time of a use that is made now. It is later than the change before it, from which the time may not have moved
    /// on.
    #[inline]
    pub fn used_us(self, now_us: u64) -> u64 {
        now_us.max(self.changed_us() + 1)
    }

    /// The number by which clients of this server tell one state of the entry from another: the time of its last change, or
    /// a number that a client gave.
    pub fn version(self) -> u64 {
        let given = match self.is_counter() {
            true => None,
            false => self.attributes().version,
        };
        given.unwrap_or_else(|| self.changed_us())
    }

    /// How many contributions a counter has.
    pub fn contributions_count(self) -> usize {
        u32_at(self.bytes, self.value_end() + COUNT) as usize
    }

    pub fn has_many_contributions(self, many: usize) -> bool {
        self.is_counter() && self.contributions_count() >= many
    }

    fn base(self) -> &'a [u8] {
        let at = self.value_end();
        let length = u32_at(self.bytes, at + BASE_LENGTH) as usize;
        &self.bytes[at + COUNTER_HEADER..at + COUNTER_HEADER + length]
    }

    /// Where a counter's contributions are.
    fn contributions_range(self) -> Range<usize> {
        let first = self.value_end() + COUNTER_HEADER + self.base().len();
        first..first + self.contributions_count() * CONTRIBUTION
    }

    /// The encoded contributions; none where there is no counter.
    fn encoded_contributions(self) -> ChunksExact<'a, u8> {
        let range = if self.is_counter() {
            self.contributions_range()
        } else {
            0..0
        };
        self.bytes[range].chunks_exact(CONTRIBUTION)
    }

    pub fn contributions(self) -> impl Iterator<Item = Contribution> + use<'a> {
        self.encoded_contributions().map(contribution)
    }

    /// A share's place among the contributions, and what it is.
    pub fn contribution_of(self, share: ShareId) -> Option<(usize, Contribution)> {
        let mut encoded = self.encoded_contributions().enumerate();
        let (at, bytes) = encoded.find(|(_, bytes)| u64_at(bytes, 0) == share.0)?;
        Some((at, contribution(bytes)))
    }

    /// How many contributions are of shares that began before that time and are not the folded one.
    pub fn begun_before(self, time_us: u64) -> usize {
        let ids = self.encoded_contributions();
        let ids = ids.map(|bytes| ShareId(u64_at(bytes, 0)));
        // They are in order.
        ids.skip_while(|share| *share == ShareId::FOLDED)
            .take_while(|share| share.begun_us() < time_us)
            .count()
    }

    /// The value of a counter from its base and contributions.
    fn print(self) -> Printed {
        let base = number_at(self.bytes, self.value_end() + BASE_NUMBER);
        let sums = self.contributions().map(|contribution| contribution.sum);
        Printed::new(sums.fold(base, Number::accumulate).result())
    }

    /// The counter, or one that begins from the value there is.
    pub fn counter(self) -> Counter {
        if self.is_counter() {
            return Counter {
                base: self.base().into(),
                base_number: number_at(self.bytes, self.value_end() + BASE_NUMBER),
                contributions: self.contributions().collect(),
                changed_us: u64_at(self.bytes, self.value_end()),
                work: 0,
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
            attributes: self.attributes(),
            contributions: self.contributions().collect(),
        }
    }
}

// Changes that leave an entry where it is.

/// Puts another value of the same length in place of one that is no counter's; false if there is none.
pub fn overwrite(block: &mut [u8], value: &[u8], stamp: Stamp, now_us: u64) -> bool {
    let entry = Entry::header(block);
    if entry.has_text() {
        return false;
    }
    let at = entry.name_end()..entry.value_end();
    let has_flags = u32_at(block, VALUE_LENGTH) & FLAGS_OF_LENGTH != 0;
    let is_plain = entry.kind() == Kind::Value && !entry.is_counter() && !has_flags;
    if !is_plain || at.len() != value.len() {
        return false;
    }
    block[at].copy_from_slice(value);
    block[TIME..NODE].copy_from_slice(&stamp.time_us.to_le_bytes());
    block[NODE..ACCESSED].copy_from_slice(&stamp.node.0.to_le_bytes());
    block[ACCESSED..NAME].copy_from_slice(&now_us.to_le_bytes());
    note_use(block, now_us);
    true
}

/// Replaces the contribution at that place of a counter by one of the same share. What the counter prints as then
/// is not its value yet.
pub fn put_contribution(
    block: &mut [u8],
    at: usize,
    contribution: &Contribution,
    changed_us: u64,
) -> Printed {
    let entry = Entry::header(block);
    let (changed, range) = (entry.value_end(), entry.contributions_range());
    let at = range.start + at * CONTRIBUTION;
    block[at..at + CONTRIBUTION].copy_from_slice(&contribution_bytes(contribution));
    block[changed..changed + 8].copy_from_slice(&changed_us.to_le_bytes());
    Entry::header(block).print()
}

/// How many bytes a counter takes in its block with a value of so many; `None` if it has to be written as a whole then.
pub fn length_with_value(block: &[u8], value_length: usize) -> Option<usize> {
    let entry = Entry::header(block);
    let has_text = entry.name_length() + value_length >= LONG_LINE;
    (has_text == entry.has_text())
        .then(|| entry.contributions_range().end - entry.value_length() + value_length)
        .map(|length| length + entry.attributes_length())
}

/// Replaces the value of a counter, whose block is large enough.
pub fn put_value(block: &mut [u8], value: &[u8]) {
    let entry = Entry::header(block);
    let (start, end) = (entry.name_end(), entry.value_end());
    let rest = end..entry.contributions_range().end;
    if value.len() != end - start {
        block.copy_within(rest, start + value.len());
        let flag = u32_at(block, VALUE_LENGTH) & HAS_ATTRIBUTES;
        let length = value.len() as u32 | flag;
        block[VALUE_LENGTH..TIME].copy_from_slice(&length.to_le_bytes());
    }
    block[start..start + value.len()].copy_from_slice(value);
}

/// Replaces the attributes of an entry, whose block is large enough.
pub fn put_attributes(block: &mut [u8], kept: &Kept) {
    let length = u32_at(block, VALUE_LENGTH) & !HAS_ATTRIBUTES;
    let flag = if kept.is_empty() { 0 } else { HAS_ATTRIBUTES };
    block[VALUE_LENGTH..TIME].copy_from_slice(&(length | flag).to_le_bytes());
    if flag != 0 {
        kept.write(block);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A segment of the table that splits takes as long for long names as for short ones.
    #[test]
    fn the_hash_of_a_long_name_is_kept_and_not_computed_again() {
        let hasher = RandomState::with_seeds(1, 2, 3, 4);
        let content = Content {
            kind: Kind::Value,
            value: b"value",
            stamp: Stamp::default(),
            accessed_us: 1,
            counter: None,
            kept: None,
            needs_encoding: false,
        };
        for length in [1, LONG_NAME - 1, LONG_NAME, LONG_NAME + 1, 60_000] {
            let name = vec![b'n'; length];
            let mut block = vec![0; super::length(&name, &content)];
            let kept = 12_345;
            write(&mut block, 0, &name, kept, &content, None);
            let entry = Entry::header(&block);
            assert_eq!((entry.name(), entry.value()), (&name[..], &b"value"[..]));
            let computed = hash(&hasher, &name);
            let expected = if length < LONG_NAME { computed } else { kept };
            assert_eq!(entry.hash(&hasher), expected);
        }
    }
}
