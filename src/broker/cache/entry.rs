//! The layout of an entry in its block: everything about a name in one piece of memory.
//!
//! ```text
//! header   name   value
//! 13, 33    …       …
//! ```
//! A long name has its hash before it. Name and value that are long together are kept beside the blocks, as one text
//! `name=value` that is shared with others, and its number stands in their place.
//!
//! A counter has more behind its value, which is then only what it prints as:
//! ```text
//! changed   base's length   contributions: count   base's number   base   share, version, sum …
//!    8            4                 4                   17          …       8      8      17
//! ```
//! Attributes, if there are any, end the block (`attributes`). Numbers are little-endian. The header: `header`.

use super::attributes::{self, Kept};
use super::blocks::{Block, Blocks};
use super::header::{self, Fields, Form, Header, Kind, LONG, SHORT, u32_at, u64_at};
use super::origins::Origins;
use crate::broker::table::hash;
use crate::limits::{KIB, LONG_LINE};
use crate::protocol::attributes::Attributes;
use crate::protocol::number::{NUMBER_BYTES, Number, work_of};
use crate::protocol::peer::{Contribution, Register, ShareId, Stamp, State};
use crate::protocol::shared::SharedBytes;
use ahash::RandomState;
use std::io::{self, Write};
use std::ops::Range;
use std::slice::ChunksExact;

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

/// The form of the header of an entry that is to be written.
pub fn form(origins: &mut Origins, name: &[u8], content: &Content<'_>) -> Form {
    let is_special = content.counter.is_some()
        || content.needs_encoding
        || content.kept.is_some_and(|kept| kept.changed_us.is_some())
        || content.accessed_us.saturating_sub(content.stamp.time_us) > header::longest_use_us();
    let lengths = (name.len(), content.value.len());
    Form::of(origins, lengths.0, lengths.1, content.stamp, is_special)
}

/// How many bytes an entry takes in its block.
pub fn length(form: Form, name: &[u8], content: &Content<'_>) -> usize {
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
    form.length() + hash + texts + behind
}

/// Writes an entry into a block, which is large enough. `former` is the flags byte of the entry that it
/// takes the place of, or 0; `hash` is its name's, and `text` the number of its long text, if it has one.
pub fn write(
    block: &mut [u8],
    form: Form,
    former: u8,
    (name, hash): (&[u8], u64),
    content: &Content<'_>,
    text: Option<u32>,
) {
    let kept = content.kept.filter(|kept| !kept.is_empty());
    if let Some(kept) = kept {
        kept.write(block);
    }
    let fields = Fields {
        kind: content.kind,
        name_length: name.len(),
        value_length: content.value.len(),
        stamp: content.stamp,
        accessed_us: content.accessed_us,
        is_counter: content.counter.is_some(),
        has_text: text.is_some(),
        has_attributes: kept.is_some(),
        needs_encoding: content.needs_encoding,
    };
    header::write(block, form, former, &fields);
    let mut to = io::Cursor::new(&mut block[form.length()..]);
    let written = (|| {
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
        match content.counter {
            Some(counter) => write_counter(counter, &mut to),
            None => Ok(()),
        }
    })();
    written.expect("the block is large enough");
}

fn write_counter(counter: &Counter, to: &mut impl Write) -> io::Result<()> {
    let count = counter.contributions.len() as u32;
    to.write_all(&counter.changed_us.to_le_bytes())?;
    to.write_all(&(counter.base.len() as u32).to_le_bytes())?;
    to.write_all(&count.to_le_bytes())?;
    to.write_all(&counter.base_number.to_bytes())?;
    to.write_all(&counter.base)?;
    for contribution in &counter.contributions {
        to.write_all(&contribution_bytes(contribution))?;
    }
    Ok(())
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
    header: Header<'a>,
    origins: &'a Origins,
    text: Option<&'a SharedBytes>,
}

impl<'a> Entry<'a> {
    #[inline(always)]
    pub fn new(blocks: &'a Blocks, block: Block) -> Entry<'a> {
        let entry = Entry::without_text(blocks, block);
        match entry.has_text() {
            true => entry.with_text(blocks),
            false => entry,
        }
    }

    /// An entry that is asked for neither name nor value, which may be elsewhere.
    #[inline(always)]
    pub fn without_text(blocks: &'a Blocks, block: Block) -> Entry<'a> {
        let bytes = blocks.get(block);
        Entry {
            header: Header { bytes },
            origins: blocks.origins(),
            text: None,
        }
    }

    /// Kept out of line, for few have a text.
    #[cold]
    fn with_text(self, blocks: &'a Blocks) -> Entry<'a> {
        let number = self.text_number();
        Entry {
            text: number.map(|number| blocks.text(number)),
            ..self
        }
    }

    fn bytes(self) -> &'a [u8] {
        self.header.bytes
    }

    pub fn flags(self) -> u8 {
        self.header.flags()
    }

    /// The number of the origin of its stamp, if it has one.
    pub fn origin(self) -> Option<u8> {
        self.header.origin()
    }

    /// The number of its long text, if it has one.
    pub fn text_number(self) -> Option<u32> {
        self.has_text()
            .then(|| u32_at(self.bytes(), self.name_start() - TEXT_BYTES))
    }

    pub fn text(self) -> Option<&'a SharedBytes> {
        self.text
    }

    /// Memory of the block and of the long text, in bytes.
    pub fn size(self) -> usize {
        self.bytes().len() + self.text.map_or(0, |text| text.len())
    }

    #[inline(always)]
    fn has_text(self) -> bool {
        self.header.has_text()
    }

    /// The hash of its name in the table.
    pub fn hash(self, hasher: &RandomState) -> u64 {
        if self.name_length() < LONG_NAME {
            hash(hasher, self.name())
        } else {
            u64_at(self.bytes(), LONG)
        }
    }

    pub fn uses(self) -> u8 {
        self.header.uses()
    }

    pub fn kind(self) -> Kind {
        self.header.kind()
    }

    #[inline(always)]
    fn name_length(self) -> usize {
        self.header.name_length()
    }

    /// Where in the block the name begins, or else what comes behind the number of a long text.
    #[inline(always)]
    fn name_start(self) -> usize {
        if !self.header.is_long() {
            return SHORT;
        }
        let has_hash = self.name_length() >= LONG_NAME;
        let hash = if has_hash { HASH_BYTES } else { 0 };
        LONG + hash + if self.has_text() { TEXT_BYTES } else { 0 }
    }

    fn name_end(self) -> usize {
        let start = self.name_start();
        match self.has_text() {
            true => start,
            false => start + self.name_length(),
        }
    }

    fn value_length(self) -> usize {
        self.header.value_length()
    }

    pub fn has_attributes(self) -> bool {
        self.header.has_attributes()
    }

    /// Reports whether clients of Clacks are shown another text than the value.
    pub fn needs_encoding(self) -> bool {
        self.header.needs_encoding()
    }

    /// The attributes; `None` if there are none.
    pub fn kept(self) -> Option<Kept> {
        self.has_attributes().then(|| Kept::read(self.bytes()))
    }

    pub fn attributes(self) -> Attributes {
        self.kept().unwrap_or_default().attributes
    }

    /// When it expires; `None`: never.
    #[inline]
    pub fn expires_us(self) -> Option<u64> {
        match self.has_attributes() {
            true => attributes::expires_us(self.bytes()),
            false => None,
        }
    }

    /// The bytes of its attributes.
    fn attributes_length(self) -> usize {
        match self.has_attributes() {
            true => attributes::length_in(self.bytes()),
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

    /// How many bytes a counter takes in its block with a value of so many; `None` if it has to be written as a whole
    /// then.
    pub fn length_with_value(self, value_length: usize) -> Option<usize> {
        let has_text = self.name_length() + value_length >= LONG_LINE;
        let end = self.contributions_range().end - self.value_length() + value_length;
        (has_text == self.has_text()).then(|| end + self.attributes_length())
    }

    /// Inlined, for counting asks for it many times.
    #[inline(always)]
    fn value_end(self) -> usize {
        match self.has_text() {
            true => self.value_end_of_text(),
            false => self.name_start() + self.name_length() + self.value_length(),
        }
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
        let header = Header { bytes };
        if name.len() >= LONG_NAME || header.has_text() {
            return Entry::is_long_and_named(blocks, block, name);
        }
        let start = if header.is_long() { LONG } else { SHORT };
        header.name_length() == name.len() && bytes[start..].starts_with(name)
    }

    #[cold]
    fn is_long_and_named(blocks: &Blocks, block: Block, name: &[u8]) -> bool {
        Entry::new(blocks, block).name() == name
    }

    #[inline]
    pub fn name(self) -> &'a [u8] {
        let length = self.name_length();
        match self.text {
            None => &self.bytes()[self.name_start()..][..length],
            Some(text) => &text[..length],
        }
    }

    /// Returns the value that RETRIEVE answers with. It is meaningful only if [`Entry::holds_value`] is true.
    #[inline(always)]
    pub fn value(self) -> &'a [u8] {
        match self.text {
            None => {
                let start = self.name_start() + self.name_length();
                &self.bytes()[start..][..self.value_length()]
            }
            Some(text) => self.value_beside(text),
        }
    }

    #[cold]
    fn value_beside(self, text: &'a SharedBytes) -> &'a [u8] {
        match self.is_counter() {
            true => &self.bytes()[self.name_end()..self.value_end()],
            // Between the two stands a sign.
            false => text.get(self.name_length() + 1..).unwrap_or_default(),
        }
    }

    pub fn is_counter(self) -> bool {
        self.header.is_counter()
    }

    #[inline(always)]
    pub fn holds_value(self) -> bool {
        self.kind() == Kind::Value || self.is_counter()
    }

    #[inline(always)]
    pub fn stamp(self) -> Stamp {
        self.header.stamp(self.origins)
    }

    #[inline(always)]
    pub fn accessed_us(self) -> u64 {
        self.header.accessed_us(self.origins)
    }

    /// When it was last written or counted.
    #[inline(always)]
    pub fn changed_us(self) -> u64 {
        match self.header.is_long() {
            true => self.changed_beside_stamp_us(),
            false => self.stamp().time_us,
        }
    }

    fn changed_beside_stamp_us(self) -> u64 {
        let stamped_us = self.stamp().time_us;
        if self.is_counter() {
            return stamped_us.max(u64_at(self.bytes(), self.value_end()));
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
        u32_at(self.bytes(), self.value_end() + COUNT) as usize
    }

    pub fn has_many_contributions(self, many: usize) -> bool {
        self.is_counter() && self.contributions_count() >= many
    }

    fn base(self) -> &'a [u8] {
        let at = self.value_end();
        let length = u32_at(self.bytes(), at + BASE_LENGTH) as usize;
        &self.bytes()[at + COUNTER_HEADER..at + COUNTER_HEADER + length]
    }

    /// Where a counter's contributions are.
    fn contributions_range(self) -> Range<usize> {
        let at = self.value_end();
        let base_length = u32_at(self.bytes(), at + BASE_LENGTH) as usize;
        let count = u32_at(self.bytes(), at + COUNT) as usize;
        let first = at + COUNTER_HEADER + base_length;
        first..first + count * CONTRIBUTION
    }

    /// The encoded contributions; none where there is no counter.
    fn encoded_contributions(self) -> ChunksExact<'a, u8> {
        let range = if self.is_counter() {
            self.contributions_range()
        } else {
            0..0
        };
        self.bytes()[range].chunks_exact(CONTRIBUTION)
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
        let base = number_at(self.bytes(), self.value_end() + BASE_NUMBER);
        let sums = self.contributions().map(|contribution| contribution.sum);
        Printed::new(sums.fold(base, Number::accumulate).result())
    }

    /// The counter, or one that begins from the value there is.
    pub fn counter(self) -> Counter {
        if self.is_counter() {
            return Counter {
                base: self.base().into(),
                base_number: number_at(self.bytes(), self.value_end() + BASE_NUMBER),
                contributions: self.contributions().collect(),
                changed_us: u64_at(self.bytes(), self.value_end()),
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

/// Replaces the contribution at that place of a counter by one of the same share. What the counter prints as then
/// is not its value yet.
pub fn put_contribution(
    blocks: &mut Blocks,
    block: Block,
    at: usize,
    contribution: &Contribution,
    changed_us: u64,
) -> Printed {
    let entry = Entry::without_text(blocks, block);
    let (changed, range) = (entry.value_end(), entry.contributions_range());
    let bytes = blocks.get_mut(block);
    let at = range.start + at * CONTRIBUTION;
    bytes[at..at + CONTRIBUTION].copy_from_slice(&contribution_bytes(contribution));
    bytes[changed..changed + 8].copy_from_slice(&changed_us.to_le_bytes());
    Entry::without_text(blocks, block).print()
}

/// Replaces the value of a counter, whose block is large enough.
pub fn put_value(blocks: &mut Blocks, block: Block, value: &[u8]) {
    let entry = Entry::without_text(blocks, block);
    let (start, end) = (entry.name_end(), entry.value_end());
    let rest = end..entry.contributions_range().end;
    let bytes = blocks.get_mut(block);
    if value.len() != end - start {
        bytes.copy_within(rest, start + value.len());
        header::put_value_length(bytes, value.len());
    }
    bytes[start..start + value.len()].copy_from_slice(value);
}

/// Replaces the attributes of an entry, whose block is large enough.
pub fn put_attributes(block: &mut [u8], kept: &Kept) {
    header::put_has_attributes(block, !kept.is_empty());
    if !kept.is_empty() {
        kept.write(block);
    }
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
        let mut blocks = Blocks::default();
        for length in [1, LONG_NAME - 1, LONG_NAME, LONG_NAME + 1, 60_000] {
            let name = vec![b'n'; length];
            let form = form(blocks.origins_mut(), &name, &content);
            let block = blocks.allocate(super::length(form, &name, &content));
            let block = block.expect("numbers enough");
            let (kept, bytes) = (12_345, blocks.get_mut(block));
            write(bytes, form, 0, (&name, kept), &content, None);
            let entry = Entry::new(&blocks, block);
            assert_eq!((entry.name(), entry.value()), (&name[..], &b"value"[..]));
            let computed = hash(&hasher, &name);
            let expected = if length < LONG_NAME { computed } else { kept };
            assert_eq!(entry.hash(&hasher), expected);
        }
    }
}
