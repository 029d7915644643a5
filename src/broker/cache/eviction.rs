//! Who goes when the cache has taken all the memory it may.
//!
//! Newcomers go first: most names are never asked for again, and one that is not used while a tenth of
//! the cache comes in after it makes room at once. Of the others a clock's hand decides, which walks the
//! table: it takes one of up to three uses from each entry it passes, and evicts what has none left. On
//! requests by Zipf's law this keeps more of what is asked for than SIEVE, and much more than LRU (`make
//! measure` shows how much), and it takes five bits of an entry and eight bytes of a newcomer, where a
//! list takes two pointers of each.
//!
//! Tombstones may take an eighth of all memory; then the oldest go. So removing random names
//! can't push entries out.

use super::entry::Entry;
use super::header::{self, LISTED_AS_TOMBSTONE, ON_PROBATION};
use super::{Block, Cache, EntryId, PLACE};
use crate::broker::table::Cursor;
use crate::limits::{EVICTIONS_PER_SLICE, KIB};
use std::collections::VecDeque;

/// The part of all entries that are newcomers, and of all memory that is for tombstones.
const NEWCOMERS: usize = 10;
const TOMBSTONES: usize = 8;
/// A list of tombstones that is no longer than this is not looked through.
const MIN_LISTED: usize = 64;

pub struct Eviction {
    /// The largest number if there is no limit.
    max_bytes: usize,
    /// Hashes of the names that came last, and of those that were removed, the oldest first. An entry may
    /// be gone meanwhile.
    newcomers: VecDeque<u64>,
    tombstones: VecDeque<u64>,
    /// The segment of the table where the hand is, and how many entries it has passed there.
    hand: Cursor,
    passed: usize,
    /// Entries that the hand has chosen, and that are to go next. Empty between two calls of the broker.
    chosen: Vec<EntryId>,
}

impl Eviction {
    pub fn new(max_bytes: Option<usize>) -> Eviction {
        Eviction {
            max_bytes: max_bytes.unwrap_or(usize::MAX),
            newcomers: VecDeque::new(),
            tombstones: VecDeque::new(),
            hand: Cursor::default(),
            passed: 0,
            chosen: Vec::new(),
        }
    }

    fn is_limited(&self) -> bool {
        self.max_bytes != usize::MAX
    }

    /// Reports whether an entry of that size, in bytes, fits into the memory limit of the cache if it is the only one.
    pub fn could_hold(&self, bytes: usize) -> bool {
        // The entry's place on a list is added to its size.
        bytes.saturating_add(size_of::<u64>()) <= self.max_bytes
    }

    /// The cache was cleared.
    pub fn forget_all(&mut self) {
        *self = Eviction::new(Some(self.max_bytes));
    }

    /// Panics if so many entries can't be on the lists; for [`Broker::check`](crate::broker::Broker::check).
    pub fn check(&self, newcomers: usize, tombstones: usize) {
        assert!(newcomers <= self.newcomers.len(), "newcomers are listed");
        assert!(tombstones <= self.tombstones.len(), "tombstones are listed");
    }

    /// Returns the memory of the elements of both lists, in bytes.
    pub fn bytes(&self) -> usize {
        (self.newcomers.len() + self.tombstones.len()) * size_of::<u64>()
    }
}

impl Cache {
    /// Reports whether the memory of the cache is limited, so that entries may be evicted.
    pub fn is_limited(&self) -> bool {
        self.eviction.is_limited()
    }

    /// Limits the memory of the cache from now on, in bytes. Room is made when the cache is tidied.
    pub fn limit(&mut self, max_bytes: usize) {
        self.eviction.max_bytes = max_bytes;
    }

    /// Reports whether the cache takes more memory than its limit, so that entries have to be evicted.
    pub fn is_over_limit(&self) -> bool {
        self.bytes() > self.eviction.max_bytes
    }

    /// An entry is new.
    pub(super) fn admit(&mut self, hash: u64, block: Block) {
        if self.eviction.is_limited() && Entry::without_text(&self.blocks, block).holds_value() {
            header::set_flag(self.blocks.get_mut(block), ON_PROBATION);
            self.eviction.newcomers.push_back(hash);
            // While nothing has to go, those before simply stay.
            if self.eviction.newcomers.len() > self.most_newcomers() + 1
                && let Some((_, block)) = self.take_newcomer()
            {
                header::reset_flag(self.blocks.get_mut(block), ON_PROBATION);
            }
        }
        self.list_tombstone(hash, block);
    }

    /// An entry was written; it may be a tombstone.
    pub(super) fn list_tombstone(&mut self, hash: u64, block: Block) {
        let entry = Entry::without_text(&self.blocks, block);
        if !self.eviction.is_limited()
            || entry.holds_value()
            || entry.flags() & LISTED_AS_TOMBSTONE != 0
        {
            return;
        }
        header::set_flag(self.blocks.get_mut(block), LISTED_AS_TOMBSTONE);
        self.eviction.tombstones.push_back(hash);
        // Some have expired, or are entries again. One that is none of that has been there for long, and
        // may have been renewed since.
        for _ in 0..2 {
            if self.eviction.tombstones.len() > 2 * self.tombstones() + MIN_LISTED
                && let Some(oldest) = self.eviction.tombstones.pop_front()
                && self.find_listed_tombstone(oldest).is_some()
            {
                self.eviction.tombstones.push_back(oldest);
            }
        }
    }

    fn most_newcomers(&self) -> usize {
        // The last one to come may stay, if another one can go.
        (self.live / NEWCOMERS).max(usize::from(self.live > 1))
    }

    /// The next entry that has to go, until all fit or a slice's work is done: `rest` is what is left of that. The
    /// entry is to be [dropped](Cache::drop_entry) before the next call.
    pub fn next_victim(&mut self, rest: &mut usize) -> Option<EntryId> {
        loop {
            if let Some(victim) = self.eviction.chosen.pop() {
                return Some(victim);
            }
            if !self.is_over_limit() || *rest == 0 {
                return None;
            }
            let has_too_many_tombstones =
                self.tombstone_bytes > self.eviction.max_bytes / TOMBSTONES || self.live <= 1;
            let (looked_at, victim) =
                if has_too_many_tombstones && !self.eviction.tombstones.is_empty() {
                    (1, self.oldest_tombstone())
                } else if self.eviction.newcomers.len() > self.most_newcomers() {
                    (1, self.judge_newcomer())
                } else {
                    (self.move_hand(*rest), None)
                };
            *rest = rest.saturating_sub(looked_at.max(1));
            if victim.is_some() {
                return victim;
            }
        }
    }

    /// Drops entries until all fit, without anybody being told.
    pub fn evict_all(&mut self) {
        while self.is_over_limit() {
            let mut rest = EVICTIONS_PER_SLICE;
            while let Some(victim) = self.next_victim(&mut rest) {
                self.drop_entry(victim);
            }
        }
    }

    fn oldest_tombstone(&mut self) -> Option<EntryId> {
        let hash = self.eviction.tombstones.pop_front()?;
        self.find_listed_tombstone(hash).map(EntryId)
    }

    /// The tombstone on the list by that hash. What is an entry again is listed no more.
    fn find_listed_tombstone(&mut self, hash: u64) -> Option<Block> {
        let block = self.find_flagged(hash, LISTED_AS_TOMBSTONE)?;
        if Entry::without_text(&self.blocks, block).holds_value() {
            header::reset_flag(self.blocks.get_mut(block), LISTED_AS_TOMBSTONE);
            return None;
        }
        Some(block)
    }

    fn take_newcomer(&mut self) -> Option<(u64, Block)> {
        let hash = self.eviction.newcomers.pop_front()?;
        let block = self.find_flagged(hash, ON_PROBATION)?;
        Some((hash, block))
    }

    /// The oldest newcomer, which stays if it was used.
    fn judge_newcomer(&mut self) -> Option<EntryId> {
        let (_, block) = self.take_newcomer()?;
        let entry = Entry::without_text(&self.blocks, block);
        let stays = entry.uses() > 0 || !entry.holds_value();
        let bytes = self.blocks.get_mut(block);
        header::reset_flag(bytes, ON_PROBATION);
        if stays {
            header::forget_all_uses(bytes);
            return None;
        }
        Some(EntryId(block))
    }

    fn find_flagged(&self, hash: u64, flag: u8) -> Option<Block> {
        let is_it = |block: &Block| {
            let entry = Entry::new(&self.blocks, *block);
            entry.flags() & flag != 0 && entry.hash(&self.hasher) == hash
        };
        self.table.find(hash, is_it).copied()
    }

    /// Moves the hand over at most `most` entries of one segment, and chooses those that go; over how many it has
    /// gone.
    fn move_hand(&mut self, most: usize) -> usize {
        // Some more than needed, for finding the place in the segment again takes some time.
        let slack = (self.eviction.max_bytes / 256).min(16 * KIB);
        let mut excess = (self.bytes() + slack).saturating_sub(self.eviction.max_bytes);
        let (hand, before) = (self.eviction.hand, self.eviction.passed);
        let (mut met, mut passed) = (0, before);
        let mut chosen = std::mem::take(&mut self.eviction.chosen);
        let Cache { table, blocks, .. } = self;
        let next = table.visit(hand, |&block| {
            met += 1;
            if met <= before || met > before + most || excess == 0 {
                return;
            }
            passed = met;
            let entry = Entry::without_text(blocks, block);
            let is_another_matter = !entry.holds_value() || entry.flags() & ON_PROBATION != 0;
            if is_another_matter || header::forget_use(blocks.get_mut(block)) {
                return;
            }
            excess = excess.saturating_sub(Entry::new(blocks, block).size() + PLACE);
            chosen.push(EntryId(block));
        });
        let looked_at = passed - before.min(passed);
        if passed >= met {
            self.eviction.hand = next.unwrap_or_default();
            self.eviction.passed = 0;
        } else {
            self.eviction.passed = passed - chosen.len();
        }
        self.eviction.chosen = chosen;
        looked_at
    }
}
