//! The cache: names, values, tombstones, counters and their stamps. Who may use it, and who hears of
//! it, is decided elsewhere.
//!
//! Behaviour: clacks-protocol(7), CACHE. Everything that grows with the number of entries (growing,
//! ageing, evicting, listing, clearing) is done in slices.
//! All times are the tree's (see `interclacks`). How states of the same name meet: `merge`.

mod attributes;
mod blocks;
mod counter;
mod entry;
mod eviction;
mod header;
mod merge;
mod origins;
mod share;
mod touch;

pub use counter::Added;
pub use merge::{Counted, Effect, Merged};

pub use touch::Touched;

use attributes::Kept;
use merge::Restoring;

use super::table::{Cursor, Part, PrefetchBatch, Table, hash};
use crate::limits::{
    FOLDS_PER_SLICE, LONG_ANSWER, REQUESTS_PREFETCHED, SEGMENTS_PER_SLICE, TIDY_BLOCKS_PER_SLICE,
};
use crate::protocol::attributes::{Attributes, Marks};
use crate::protocol::peer::{Contribution, NodeId, ShareId, Stamp, State};
use crate::protocol::shared::SharedBytes;
use crate::protocol::shown;
use crate::sys::prefetch;
use ahash::RandomState;
use blocks::{Block, Blocks};
use counter::Counting;
use entry::{Content, Entry};
use eviction::Eviction;
use header::Kind;
use share::OwnShare;

/// After which time what is forgotten, in microseconds.
#[derive(Debug, Clone, Copy)]
pub struct Ageing {
    /// Entries that nobody touched.
    pub stale_us: u64,
    /// Tombstones.
    pub deleted_us: u64,
}

impl Ageing {
    /// The time of [`Ageing::stale_us`] after which no entry is dropped: longer than any clock runs.
    pub const NEVER: u64 = u64::MAX;
}

/// Why something was dropped that nobody removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    Stale,
    Deleted,
    /// Its expiry has come. It is a tombstone from that moment, whether or not that was noticed.
    Expired,
    /// Written before the newest CLEARCACHE.
    Cleared,
    /// To make room.
    Evicted,
}

/// An entry is larger than all memory that the cache may take; nothing was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLarge;

/// An entry to look at.
#[derive(Clone, Copy)]
pub struct Found<'a> {
    entry: Entry<'a>,
    /// True if it is a tombstone that still holds its value, because nobody has noticed its expiry.
    has_expired: bool,
}

impl<'a> From<Entry<'a>> for Found<'a> {
    fn from(entry: Entry<'a>) -> Found<'a> {
        Found {
            entry,
            has_expired: false,
        }
    }
}

impl<'a> Found<'a> {
    pub fn name(&self) -> &'a [u8] {
        self.entry.name()
    }

    /// `None` for a tombstone.
    pub fn value(&self) -> Option<&'a [u8]> {
        (self.entry.holds_value() && !self.has_expired).then(|| self.entry.value())
    }

    /// The number that the client stored with the value.
    pub fn client_flags(&self) -> u32 {
        self.entry.attributes().client_flags
    }

    /// When it expires, or has expired; `None`: never.
    pub fn expires_us(&self) -> Option<u64> {
        self.entry.expires_us()
    }

    pub fn attributes(&self) -> Attributes {
        self.entry.attributes()
    }

    pub fn marks(&self) -> Marks {
        self.entry.attributes().marks
    }

    /// The number by which clients of this server tell one state of the entry from another, and which grows with each
    /// change unless a client gives one.
    pub fn version(&self) -> u64 {
        self.entry.version()
    }

    /// Reports whether it was used since it last changed.
    pub fn was_used(&self) -> bool {
        self.entry.accessed_us() > self.entry.changed_us()
    }

    /// The memory that the entry takes in the cache, in bytes.
    pub fn size(&self) -> usize {
        self.entry.size() + PLACE
    }

    /// Reports whether its value is a sum with contributions, and that sum.
    pub fn is_counter(&self) -> bool {
        self.entry.is_counter()
    }

    /// When it was last written or counted.
    pub fn changed_us(&self) -> u64 {
        self.entry.changed_us()
    }

    pub fn accessed_us(&self) -> u64 {
        self.entry.accessed_us()
    }

    pub fn state(&self) -> State<'a> {
        let state = self.entry.state();
        match self.value() {
            None => touch::tombstone(state),
            Some(_) => state,
        }
    }

    /// The text that name and value are parts of, if they are long together: it can be shared.
    pub fn long_text(&self) -> Option<&'a SharedBytes> {
        self.entry.text()
    }

    pub fn stamp(&self) -> Stamp {
        self.entry.stamp()
    }

    /// How many contributions there are.
    pub fn contributions(&self) -> usize {
        self.entry.contributions().count()
    }

    /// Returns the contribution that was counted under that id, if there is one.
    pub fn contribution_of(&self, share: ShareId) -> Option<Contribution> {
        let (_, contribution) = self.entry.contribution_of(share)?;
        Some(contribution)
    }
}

/// An entry of the cache, tombstones included. Valid until its name is written again or the entry is dropped, and no
/// longer than the call of the broker in which it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryId(Block);

/// A write that was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    pub entry: EntryId,
    pub part: WrittenPart,
}

/// The part of an entry that a write has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrittenPart {
    All,
    /// The one contribution of that share.
    Share(ShareId),
    /// The touch, or the mark that a client was told to renew the value.
    Touch,
}

impl From<EntryId> for Written {
    fn from(entry: EntryId) -> Written {
        Written {
            entry,
            part: WrittenPart::All,
        }
    }
}

/// The answer to RETRIEVE.
pub struct Retrieved<'a> {
    pub found: Found<'a>,
    pub value: &'a [u8],
    /// The name as it is kept, and the text that it and the value are parts of, if they are long together.
    pub long_text: Option<(&'a [u8], &'a SharedBytes)>,
    /// True if the previous use of the entry was in another of the periods that [`Cache::record_uses`] sets.
    pub is_first_in_period: bool,
    /// True if clients of Clacks are shown another text than the value.
    pub needs_encoding: bool,
}

impl Retrieved<'_> {
    /// Reports whether an answer takes long to make: it copies a long value, of `LONG_ANSWER` bytes or more, that can't be
    /// shared, or it encodes the value.
    pub fn is_answered_in_slices(&self) -> bool {
        self.value.len() >= LONG_ANSWER && self.long_text.is_none() || self.needs_encoding
    }
}

pub struct Cache {
    /// The entries' blocks by the hashes of their names.
    table: Table<Block>,
    blocks: Blocks,
    hasher: RandomState,
    ageing: Ageing,
    eviction: Eviction,
    /// The id of this node.
    node: NodeId,
    own_share: OwnShare,
    /// Share ids drawn so far.
    drawn: u64,
    /// The marker: shares that began before its time are folded as soon as their counter is touched.
    folded: Stamp,
    /// True if [`Cache::age_slice`] has found, since the last call of [`Cache::take_old_shares`], an unfolded share
    /// that is old enough to be folded.
    has_old_shares: bool,
    /// Time of the newest stamp made or seen here.
    newest_us: u64,
    /// True if this node has made a stamp.
    has_stamped: bool,
    /// The stamp of the newest CLEARCACHE. Entries with an older stamp count as absent.
    cleared: Stamp,
    restoring: Restoring,
    /// The number of entries that hold a value, and the memory of the others, the tombstones, in bytes.
    live: usize,
    tombstone_bytes: usize,
    /// The long line that writes come from: long names and values are shared with it.
    long_line: Option<SharedBytes>,
    /// The number of low bits of a time, in microseconds, that do not matter when two uses are compared: uses whose
    /// times agree in the other bits are in the same period.
    period_bits: u32,
    /// Cleared tables and their blocks, freed in slices.
    garbage: Vec<(Table<Block>, Blocks)>,
}

/// The unit in which processors fetch memory, in bytes.
const CACHE_LINE: usize = 64;
/// Of an entry, in advance.
const LINES_FETCHED: usize = 4;

/// For so many new entries a segment of a cleared table is freed, which has about as many, and some pages.
const FREED_AT_ONCE: usize = 128;

/// The memory of a block's place in the table, in bytes: between 7.5 and 8.2 if nothing was dropped, its share of the
/// segment's header and the directory, and what the allocator of the system loses between segments.
const PLACE: usize = 10;

impl Cache {
    /// `max_bytes` is what all entries may take, if that is limited.
    pub fn new(
        hasher: RandomState,
        ageing: Ageing,
        max_bytes: Option<usize>,
        node: NodeId,
    ) -> Cache {
        Cache {
            table: Table::default(),
            blocks: Blocks::default(),
            hasher,
            ageing,
            eviction: Eviction::new(max_bytes),
            node,
            own_share: OwnShare::default(),
            drawn: 0,
            folded: Stamp::default(),
            has_old_shares: false,
            newest_us: 0,
            has_stamped: false,
            cleared: Stamp::default(),
            restoring: Restoring::default(),
            live: 0,
            tombstone_bytes: 0,
            long_line: None,
            period_bits: u64::BITS - 1,
            garbage: Vec::new(),
        }
    }

    /// Until the next call long names and values that lie in `line` are shared with it instead of copied.
    pub fn share_parts_of(&mut self, line: Option<SharedBytes>) {
        self.long_line = line;
    }

    /// From now on [`Cache::retrieve`] says when an entry is used for the first time in a period. There are
    /// at least eight of them until an entry that is not used goes stale.
    pub fn record_uses(&mut self) {
        self.period_bits = (self.ageing.stale_us / 8).max(1).ilog2();
    }

    /// Entries with a value, those included that are stale but not yet looked for.
    pub fn live(&self) -> usize {
        self.live
    }

    pub fn tombstones(&self) -> usize {
        self.table.len() - self.live
    }

    /// Returns the memory of all entries, in bytes, tombstones included: their blocks, their long texts, and their
    /// places in the table and on the lists of the eviction.
    pub fn bytes(&self) -> usize {
        self.blocks.used()
            + self.blocks.texts_length()
            + self.table.len() * PLACE
            + self.eviction.bytes()
    }

    pub fn is_empty(&self) -> bool {
        self.table.len() == 0
    }

    /// Reports whether this node has made a stamp: whether anything was written here, not only learnt from peers or the
    /// journal.
    pub fn has_stamped(&self) -> bool {
        self.has_stamped
    }

    /// Time of the newest stamp made or seen here.
    pub fn newest_us(&self) -> u64 {
        self.newest_us
    }

    /// The newest CLEARCACHE; the default stamp if there was none.
    pub fn cleared(&self) -> Stamp {
        self.cleared
    }

    /// Returns the entry of a name, which may be a tombstone, unless it is to be forgotten. This does not count as a use.
    pub fn find(&self, name: &[u8], now_us: u64) -> Option<Found<'_>> {
        self.found(self.block(name)?, now_us)
    }

    /// Reports whether the table is so large that [`Cache::prefetch`] saves more time than it costs.
    pub fn prefetch_pays(&self) -> bool {
        self.table.is_beyond_caches()
    }

    /// Names with these hashes will be asked for next: fetches the memory of what is there of them, of all at
    /// once, as far as the processor can. Otherwise each look-up would wait for memory, three times in a row.
    pub fn prefetch(&self, batch: &PrefetchBatch) {
        let blocks = self.table.prefetch(batch);
        for block in blocks.into_iter().flatten() {
            self.fetch(*block);
        }
    }

    /// Prefetches the entries of the first [`REQUESTS_PREFETCHED`] of these names, if that pays.
    pub fn prefetch_names<'a>(&self, names: impl Iterator<Item = &'a [u8]>) {
        if self.prefetch_pays() {
            let mut batch = PrefetchBatch::default();
            for name in names.take(REQUESTS_PREFETCHED) {
                batch.push(self.hash(name));
            }
            self.prefetch(&batch);
        }
    }

    /// The block's memory is fetched, and nothing waits for it.
    fn fetch(&self, block: Block) {
        let bytes = self.blocks.get(block);
        // Of a long one the processor fetches the rest by itself.
        let start = &bytes[..bytes.len().min(LINES_FETCHED * CACHE_LINE)];
        for line in start.chunks(CACHE_LINE) {
            prefetch(&line[0]);
        }
        // It may end in a line more.
        prefetch(&start[start.len() - 1]);
    }

    /// The entry as it is now. It may be old enough to have expired.
    pub fn entry_of(&self, id: EntryId) -> Found<'_> {
        Entry::new(&self.blocks, id.0).into()
    }

    /// The entry as it is now, unless it is to be forgotten.
    pub fn remembered(&self, id: EntryId, now_us: u64) -> Option<Found<'_>> {
        self.found(id.0, now_us)
    }

    /// The value of a live entry; being asked for keeps it from going stale.
    pub fn retrieve(&mut self, name: &[u8], now_us: u64) -> Option<Retrieved<'_>> {
        let block = self.block(name)?;
        let entry = Entry::without_text(&self.blocks, block);
        let (stamped_us, accessed_us) = (entry.stamp().time_us, entry.accessed_us());
        let used_us = entry.used_us(now_us);
        if !entry.holds_value() || expired(entry, &self.ageing, self.cleared, now_us).is_some() {
            return None;
        }
        // The last use may seem to be later than now, since its time is rounded up.
        let is_first_in_period = now_us >> self.period_bits > accessed_us >> self.period_bits;
        header::put_use(self.blocks.get_mut(block), stamped_us, used_us);
        let entry = Entry::new(&self.blocks, block);
        Some(Retrieved {
            found: entry.into(),
            value: entry.value(),
            long_text: entry.text().map(|text| (entry.name(), text)),
            is_first_in_period,
            needs_encoding: entry.needs_encoding(),
        })
    }

    /// Stores the value that a text of a Clacks client stands for.
    #[inline]
    pub fn store_text(
        &mut self,
        name: &[u8],
        text: &[u8],
        now_us: u64,
    ) -> Result<Written, TooLarge> {
        match shown::may_be_encoded(text) {
            true => self.store_decoded(name, text, now_us),
            false => self.store(name, text, now_us),
        }
    }

    #[cold]
    fn store_decoded(
        &mut self,
        name: &[u8],
        text: &[u8],
        now_us: u64,
    ) -> Result<Written, TooLarge> {
        let value = shown::taken(text);
        self.store_with(name, &value, Attributes::default(), now_us)
    }

    /// Stores a value that clients are shown as it is.
    pub fn store(&mut self, name: &[u8], value: &[u8], now_us: u64) -> Result<Written, TooLarge> {
        let stamp = self.new_stamp(now_us);
        // A value of the same length goes where the old one was.
        if let Some(block) = self.block(name)
            && header::overwrite(&mut self.blocks, block, value, stamp, now_us)
        {
            return Ok(EntryId(block).into());
        }
        let content = Content {
            kind: Kind::Value,
            value,
            stamp,
            accessed_us: now_us,
            counter: None,
            kept: None,
            needs_encoding: false,
        };
        let entry = self.put(name, &content)?;
        Ok(entry.into())
    }

    /// Stores a value with attributes. One that has already expired leaves a tombstone.
    pub fn store_with(
        &mut self,
        name: &[u8],
        value: &[u8],
        attributes: Attributes,
        now_us: u64,
    ) -> Result<Written, TooLarge> {
        if attributes.has_expired(now_us) {
            return self.remove(name, now_us);
        }
        if attributes.is_empty() && !shown::needs_encoding(value) {
            return self.store(name, value, now_us);
        }
        let stamp = self.new_stamp(now_us);
        let kept = Kept {
            attributes,
            changed_us: None,
        };
        let kept = Some(&kept).filter(|kept| !kept.is_empty());
        let entry = self.write(name, Kind::Value, value, stamp, now_us, kept)?;
        Ok(entry.into())
    }

    /// Leaves a tombstone, whether or not there was an entry.
    pub fn remove(&mut self, name: &[u8], now_us: u64) -> Result<Written, TooLarge> {
        let stamp = self.new_stamp(now_us);
        let entry = self.write(name, Kind::Removed, b"", stamp, now_us, None)?;
        Ok(entry.into())
    }

    /// Forgets everything, tombstones included. Memory is given back by [`Cache::tidy_slice`].
    pub fn clear(&mut self, now_us: u64) {
        // The newest stamp of all: everything in the table is older.
        self.cleared = self.new_stamp(now_us);
        self.drop_all();
    }

    /// Begins with a new table; a large one is freed in slices.
    fn drop_all(&mut self) {
        let (table, blocks) = (
            std::mem::take(&mut self.table),
            std::mem::take(&mut self.blocks),
        );
        if table.is_large() || blocks.is_large() {
            self.garbage.push((table, blocks));
        }
        self.eviction.forget_all();
        self.live = 0;
        self.tombstone_bytes = 0;
    }

    /// Reports whether memory has to be given back by [`Cache::tidy_slice`] or freed by evictions.
    pub fn is_to_be_tidied(&self) -> bool {
        !self.garbage.is_empty()
            || self.has_emptied_table()
            || self.is_over_limit()
            || self.blocks.is_to_be_tidied()
    }

    /// Reports whether nothing is left in a table that was large. Its small segments would keep the memory between them
    /// from going back to the system.
    fn has_emptied_table(&self) -> bool {
        self.is_empty() && self.table.is_large()
    }

    /// Gives memory back, one slice; see [`Cache::next_victim`] for making room.
    pub fn tidy_slice(&mut self) {
        if self.has_emptied_table() {
            self.drop_all();
        }
        self.free_garbage(SEGMENTS_PER_SLICE);
        if self.blocks.is_to_be_tidied() {
            let Cache {
                table,
                blocks,
                hasher,
                ..
            } = self;
            blocks.tidy_slice(TIDY_BLOCKS_PER_SLICE, |blocks, from, to| {
                let hash = Entry::new(blocks, to).hash(hasher);
                if let Some(block) = table.find_mut(hash, |block| *block == from) {
                    *block = to;
                }
            });
        }
    }

    /// Frees at once what would be freed in slices.
    pub fn free_all_garbage(&mut self) {
        self.garbage.clear();
        self.blocks.free_all_garbage();
    }

    fn free_garbage(&mut self, segments: usize) {
        if let Some((table, blocks)) = self.garbage.last_mut() {
            table.free_slice(segments);
            let has_blocks = blocks.drop_slice();
            if table.is_freed() && !has_blocks {
                self.garbage.pop();
            }
        }
    }

    /// Looks through one slice of the table: drops entries that are older than the newest CLEARCACHE, folds old
    /// shares, and adds entries that have aged to `aged`, which are to be [dropped](Cache::drop_entry). Returns the
    /// cursor of the next slice, if any.
    pub fn age_slice(
        &mut self,
        from: Cursor,
        now_us: u64,
        aged: &mut Vec<(Dropped, EntryId)>,
    ) -> Option<Cursor> {
        let (ageing, cleared) = (self.ageing, self.cleared);
        let (folded_us, foldable_us) = (self.folded.time_us, self.next_marker(now_us).time_us);
        let (mut to_fold, mut folds, mut has_old_shares) = (Vec::new(), 0, false);
        let mut next = Some(from);
        for _ in 0..SEGMENTS_PER_SLICE {
            let Some(cursor) = next else {
                break;
            };
            next = self.retain(cursor, |blocks, block| {
                let entry = Entry::new(blocks, block);
                match expired(entry, &ageing, cleared, now_us) {
                    // The CLEARCACHE said it all.
                    Some(Dropped::Cleared) => return false,
                    Some(kind) => aged.push((kind, EntryId(block))),
                    None if entry.is_counter() && folds < FOLDS_PER_SLICE => {
                        has_old_shares |= entry.begun_before(foldable_us) > 0;
                        let old = entry.begun_before(folded_us);
                        folds += old;
                        if old > 0 {
                            to_fold.push(Box::<[u8]>::from(entry.name()));
                        }
                    }
                    None => {}
                }
                true
            });
        }
        self.has_old_shares |= has_old_shares;
        to_fold.iter().for_each(|name| self.fold_counter(name));
        next
    }

    /// Meets what is not to be forgotten in one segment of the table, tombstones included, in the table's order; the
    /// cursor of the next segment, if any.
    pub fn visit_segment<'a>(
        &'a self,
        cursor: Cursor,
        now_us: u64,
        mut visit: impl FnMut(Found<'a>),
    ) -> Option<Cursor> {
        self.fetch_segment(cursor);
        self.table.visit(cursor, |block| {
            if let Some(found) = self.found(*block, now_us) {
                visit(found);
            }
        })
    }

    /// As [`Cache::visit_segment`], as long as `visit` says that there is room for more; what is left of the
    /// segment.
    pub fn begin_part(
        &self,
        cursor: Cursor,
        now_us: u64,
        mut visit: impl FnMut(Found<'_>) -> bool,
    ) -> Part {
        self.fetch_segment(cursor);
        self.table.begin_part(cursor, |block| {
            self.found(*block, now_us).is_none_or(&mut visit)
        })
    }

    /// Meets the next of what is left. Whether there was one, which may be gone.
    pub fn visit_next(
        &self,
        part: &mut Part,
        now_us: u64,
        mut visit: impl FnMut(Found<'_>),
    ) -> bool {
        self.table.visit_next(part, |block| {
            if let Some(found) = self.found(*block, now_us) {
                visit(found);
            }
        })
    }

    /// Returns the largest of some entries, the largest first, and no more than `count` of them. Which ones are looked at
    /// depends on `place`: those behind this hash in the table.
    pub fn sample_largest(&self, place: u64, count: usize, now_us: u64) -> Vec<Found<'_>> {
        /// So many are looked at, and up to a segment more, in some hundred microseconds.
        const LOOKED_AT: usize = 300;
        let (mut cursor, mut found) = (Cursor::at(place), Vec::new());
        for _ in 0..self.table.segments().min(LOOKED_AT) {
            let next = self.visit_segment(cursor, now_us, |entry| found.push(entry));
            cursor = next.unwrap_or_default();
            if found.len() >= LOOKED_AT {
                break;
            }
        }
        found.retain(|entry| entry.value().is_some());
        found.sort_by_key(|entry| std::cmp::Reverse(entry.size()));
        found.truncate(count);
        found
    }

    /// Returns the entry in a block, unless it is to be forgotten. An expired one is a tombstone.
    fn found(&self, block: Block, now_us: u64) -> Option<Found<'_>> {
        let entry = Entry::new(&self.blocks, block);
        let has_expired = match self.expired(entry, now_us) {
            None => false,
            Some(Dropped::Expired) => true,
            Some(_) => return None,
        };
        Some(Found { entry, has_expired })
    }

    /// All at once, or else each visit would wait for memory.
    fn fetch_segment(&self, cursor: Cursor) {
        self.table.visit(cursor, |block| self.fetch(*block));
    }

    /// A name's hash in the table.
    pub fn hash(&self, name: &[u8]) -> u64 {
        hash(&self.hasher, name)
    }

    /// Panics if what is counted is not what there is; for [`Broker::check`](super::Broker::check).
    pub fn check(&self) {
        let (mut live, mut tombstone_bytes, mut used) = (0, 0, 0);
        let (mut on_probation, mut listed) = (0, 0);
        let (mut texts_length, mut with_origins) = (0, 0);
        let hash_of = |block: &Block| {
            let entry = Entry::new(&self.blocks, *block);
            assert_eq!(entry.hash(&self.hasher), self.hash(entry.name()));
            entry.hash(&self.hasher)
        };
        self.table.check(hash_of, |block| {
            let entry = Entry::new(&self.blocks, *block);
            used += self.blocks.get(*block).len();
            texts_length += entry.text().map_or(0, |text| text.len());
            if entry.holds_value() {
                live += 1;
            } else {
                tombstone_bytes += entry.size() + PLACE;
            }
            with_origins += usize::from(entry.origin().is_some());
            on_probation += usize::from(entry.flags() & header::ON_PROBATION != 0);
            listed += usize::from(entry.flags() & header::LISTED_AS_TOMBSTONE != 0);
            // All of it can be read.
            let _ = entry.state();
        });
        assert_eq!(live, self.live, "live entries are counted");
        assert_eq!(
            tombstone_bytes, self.tombstone_bytes,
            "tombstones are counted"
        );
        assert_eq!(used, self.blocks.used(), "every block is an entry's");
        assert_eq!(texts_length, self.blocks.texts_length());
        assert_eq!(
            with_origins,
            self.blocks.origins().counted(),
            "origins are counted"
        );
        self.blocks.check();
        self.eviction.check(on_probation, listed);
    }

    /// A stamp that is newer than everything seen here.
    fn new_stamp(&mut self, now_us: u64) -> Stamp {
        self.newest_us = now_us.max(self.newest_us + 1);
        self.has_stamped = true;
        Stamp {
            time_us: self.newest_us,
            node: self.node,
        }
    }

    /// A time that is later than everything seen here, for a change that has no stamp of this node.
    fn draw_time(&mut self, now_us: u64) -> u64 {
        self.newest_us = now_us.max(self.newest_us + 1);
        self.newest_us
    }

    fn expired(&self, entry: Entry<'_>, now_us: u64) -> Option<Dropped> {
        expired(entry, &self.ageing, self.cleared, now_us)
    }

    fn block(&self, name: &[u8]) -> Option<Block> {
        let is_it = |block: &Block| Entry::is_named(&self.blocks, *block, name);
        self.table.find(hash(&self.hasher, name), is_it).copied()
    }

    fn entry(&self, name: &[u8]) -> Option<Entry<'_>> {
        self.block(name)
            .map(|block| Entry::new(&self.blocks, block))
    }

    /// Replaces all there is of a name by something without a counter.
    fn write(
        &mut self,
        name: &[u8],
        kind: Kind,
        value: &[u8],
        stamp: Stamp,
        accessed_us: u64,
        kept: Option<&Kept>,
    ) -> Result<EntryId, TooLarge> {
        self.put(
            name,
            &Content {
                kind,
                value,
                stamp,
                accessed_us,
                counter: None,
                kept,
                needs_encoding: kind == Kind::Value && shown::needs_encoding(value),
            },
        )
    }

    /// Replaces all there is of a name by a counter, with the value that it makes.
    fn put_counter(&mut self, name: &[u8], counting: &Counting) -> Result<EntryId, TooLarge> {
        self.put(
            name,
            &Content {
                kind: counting.kind,
                value: counting.counter.print().text(),
                stamp: counting.stamp,
                accessed_us: counting.accessed_us,
                counter: Some(&counting.counter),
                kept: counting.kept.as_ref(),
                needs_encoding: false,
            },
        )
    }

    /// Puts an entry where its name belongs, in place of what was there.
    fn put(&mut self, name: &[u8], content: &Content<'_>) -> Result<EntryId, TooLarge> {
        let hash = hash(&self.hasher, name);
        let text = entry::has_text(name, content)
            .then(|| entry::text(name, content, self.long_line.as_ref()));
        let text_length = text.as_ref().map_or(0, |text| text.len());
        let form = entry::form(self.blocks.origins_mut(), name, content);
        let length = entry::length(form, name, content);
        let size = self.blocks.size_for(length);
        if content.value.len() > header::MAX_VALUE
            || !self.eviction.could_hold(size + text_length + PLACE)
        {
            return Err(TooLarge);
        }
        let is_it = |block: &Block| Entry::is_named(&self.blocks, *block, name);
        let former = self.table.find(hash, is_it).copied();
        let block = match former {
            Some(former) if self.blocks.get(former).len() == size => former,
            _ => self.blocks.allocate(length).ok_or(TooLarge)?,
        };
        let Some(former) = former else {
            let text = text.map(|text| self.blocks.add_text(text));
            let bytes = self.blocks.get_mut(block);
            entry::write(bytes, form, 0, (name, hash), content, text);
            let Cache {
                table,
                blocks,
                hasher,
                ..
            } = self;
            let hash_of = |block: &Block| Entry::new(blocks, *block).hash(hasher);
            let fetch = |block: &Block| prefetch(&blocks.get(*block)[0]);
            table.insert_prefetching(hash, block, hash_of, fetch);
            self.count(block, true);
            self.admit(hash, block);
            // Whoever clears and fills the cache all the time leaves no more behind than there was at once.
            if self.table.len().is_multiple_of(FREED_AT_ONCE) {
                self.free_garbage(1);
            }
            return Ok(EntryId(block));
        };
        let flags = self.blocks.get(former)[0];
        self.count(former, false);
        self.remove_text(former);
        if former != block {
            if let Some(place) = self.table.find_mut(hash, |block| *block == former) {
                *place = block;
            }
            self.blocks.free(former);
        }
        let text = text.map(|text| self.blocks.add_text(text));
        let bytes = self.blocks.get_mut(block);
        entry::write(bytes, form, flags, (name, hash), content, text);
        header::note_use(&mut self.blocks, block, content.accessed_us);
        self.count(block, true);
        self.list_tombstone(hash, block);
        Ok(EntryId(block))
    }

    /// Drops the long text of an entry that is replaced or dropped, if it has one.
    fn remove_text(&mut self, block: Block) {
        if let Some(number) = Entry::without_text(&self.blocks, block).text_number() {
            self.blocks.remove_text(number);
        }
    }

    /// Counts an entry in or out.
    fn count(&mut self, block: Block, comes: bool) {
        let entry = Entry::new(&self.blocks, block);
        let change = |count: usize, by: usize| if comes { count + by } else { count - by };
        if entry.holds_value() {
            self.live = change(self.live, 1);
        } else {
            self.tombstone_bytes = change(self.tombstone_bytes, entry.size() + PLACE);
        }
        if let Some(origin) = entry.origin() {
            self.blocks.origins_mut().count(origin, comes);
        }
    }

    /// Takes an entry out, for one of the reasons of [`Dropped`].
    pub fn drop_entry(&mut self, id: EntryId) {
        let hash = Entry::new(&self.blocks, id.0).hash(&self.hasher);
        self.drop_block(hash, id.0);
    }

    /// Takes an entry out.
    fn drop_block(&mut self, hash: u64, block: Block) {
        self.count(block, false);
        self.table.remove(hash, |found| *found == block);
        self.remove_text(block);
        self.blocks.free(block);
    }

    /// Keeps of one segment of the table what `keep` wants.
    fn retain(
        &mut self,
        cursor: Cursor,
        mut keep: impl FnMut(&mut Blocks, Block) -> bool,
    ) -> Option<Cursor> {
        let Cache {
            table,
            blocks,
            live,
            tombstone_bytes,
            ..
        } = self;
        table.retain(cursor, |&block| {
            if keep(blocks, block) {
                return true;
            }
            let entry = Entry::new(blocks, block);
            if entry.holds_value() {
                *live -= 1;
            } else {
                *tombstone_bytes -= entry.size() + PLACE;
            }
            let (origin, text) = (entry.origin(), entry.text_number());
            if let Some(origin) = origin {
                blocks.origins_mut().count(origin, false);
            }
            if let Some(text) = text {
                blocks.remove_text(text);
            }
            blocks.free(block);
            false
        })
    }
}

/// Inlined, for it reads what those who ask read, too.
#[inline(always)]
fn expired(entry: Entry<'_>, ageing: &Ageing, cleared: Stamp, now_us: u64) -> Option<Dropped> {
    // The clock may have been set back; then the difference is 0.
    let age = |since_us: u64| now_us.saturating_sub(since_us);
    let stamp = entry.stamp();
    // Nearly all are newer by their time alone.
    if stamp.time_us <= cleared.time_us && stamp < cleared {
        Some(Dropped::Cleared)
    } else if entry.has_attributes() {
        expired_by_attributes(entry, ageing, now_us)
    } else if entry.holds_value() {
        (age(entry.accessed_us()) > ageing.stale_us).then_some(Dropped::Stale)
    } else {
        (age(stamp.time_us) > ageing.deleted_us).then_some(Dropped::Deleted)
    }
}

/// An entry with an expiry does not go stale: it lives until then, used or not.
#[cold]
fn expired_by_attributes(entry: Entry<'_>, ageing: &Ageing, now_us: u64) -> Option<Dropped> {
    let age = |since_us: u64| now_us.saturating_sub(since_us);
    match (entry.expires_us(), entry.holds_value()) {
        (Some(expires_us), true) => (expires_us <= now_us).then_some(Dropped::Expired),
        (None, true) => (age(entry.accessed_us()) > ageing.stale_us).then_some(Dropped::Stale),
        (expires_us, false) => {
            let ended_us = expires_us.unwrap_or(entry.stamp().time_us);
            (age(ended_us) > ageing.deleted_us).then_some(Dropped::Deleted)
        }
    }
}

#[cfg(test)]
mod tests;
