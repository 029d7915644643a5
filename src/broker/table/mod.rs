//! A hash table that never has a long moment: it grows by splitting one small segment at a time.
//!
//! Extendible hashing: the top bits of the hash pick a segment through a directory; a full segment
//! splits in two by the next bit. Segments stand in the order of their hash prefixes, and splitting
//! keeps that order, so a cursor walks the whole table in slices and meets everything that stays in
//! it exactly once, whatever comes, goes or splits meanwhile.
//!
//! Hashes come from the caller, who must key them.

mod lines;

use crate::limits::REQUESTS_PREFETCHED;
use ahash::RandomState;
use lines::Lines;
use std::hash::{BuildHasher, Hasher};

/// Entries at which a segment splits. Splitting takes some tens of microseconds.
const SEGMENT_MAX: usize = 448;
/// How much deeper than the others a segment may get; then only equal hashes can be the cause, and it
/// grows instead. So the directory is at most this power of two larger than it needs to be.
const MAX_EXTRA_DEPTH: u32 = 4;

/// Two halves are joined when they hold so many together: far fewer than would split them again.
const JOINED_MAX: usize = SEGMENT_MAX / 4;

/// So many elements, with what they lead to, are in the processor's own memory anyway. Tests are to look ahead,
/// too, without as many.
const IN_CACHES: usize = if cfg!(debug_assertions) { 16 } else { 4096 };

/// `LANES` elements, at most fifteen, share a line; see [`lines`].
pub struct Table<T, const LANES: usize = 10> {
    /// Segment of each prefix of `depth` bits; a segment of lesser depth stands there repeatedly.
    directory: Vec<u32>,
    depth: u32,
    segments: Vec<Segment<T, LANES>>,
    len: usize,
    /// Memory of the lines of all segments, in bytes.
    lines_memory: usize,
}

struct Segment<T, const LANES: usize> {
    lines: Lines<T, LANES>,
    /// How many of the top bits all its hashes share.
    depth: u32,
    /// Those bits; the others are 0.
    start: u64,
}

/// Hashes of what will be looked up.
pub struct PrefetchBatch {
    hashes: [u64; REQUESTS_PREFETCHED],
    count: usize,
}

impl PrefetchBatch {
    /// Adds a hash, one of [`REQUESTS_PREFETCHED`] at most.
    pub fn push(&mut self, hash: u64) {
        self.hashes[self.count] = hash;
        self.count += 1;
    }
}

impl Default for PrefetchBatch {
    fn default() -> PrefetchBatch {
        PrefetchBatch {
            hashes: [0; REQUESTS_PREFETCHED],
            count: 0,
        }
    }
}

/// A place in the order of the walk: everything with a smaller hash has been met.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cursor(u64);

impl Cursor {
    /// The place of a hash.
    pub fn at(hash: u64) -> Cursor {
        Cursor(hash)
    }

    /// Reports whether the walk has met the elements with that hash.
    pub fn is_after(self, hash: u64) -> bool {
        hash < self.0
    }
}

/// The elements of one segment that a walk has still to meet, even if the segment changes or splits meanwhile. The walk
/// may stop within the segment; a part contains tags, no elements.
pub struct Part {
    /// The tags of the elements that are still to be met, each tag once.
    tags: Vec<u16>,
    start: Cursor,
    end: Option<Cursor>,
}

impl Part {
    /// Nothing, before the first segment.
    pub fn before_all() -> Part {
        Part {
            tags: Vec::new(),
            start: Cursor::default(),
            end: Some(Cursor::default()),
        }
    }

    /// Where the next segment begins; `None` behind the last one.
    pub fn next(&self) -> Option<Cursor> {
        self.end
    }

    /// Reports whether a walk that continues from here will meet an element with that hash, if the table contains one.
    pub fn is_before(&self, hash: u64) -> bool {
        match self.end {
            Some(end) if !end.is_after(hash) => true,
            _ => !self.start.is_after(hash) && self.tags.contains(&tag(hash)),
        }
    }
}

/// A name's hash: of its bytes alone, for nothing comes behind them that their number would tell apart.
pub fn hash(hasher: &RandomState, name: &[u8]) -> u64 {
    let mut state = hasher.build_hasher();
    state.write(name);
    state.finish()
}

/// Returns the tag of a hash: its low bits, which a segment keeps with each element. The top bits choose the segment.
fn tag(hash: u64) -> u16 {
    hash as u16
}

impl<T: Copy + Default, const LANES: usize> Default for Table<T, LANES> {
    fn default() -> Self {
        let segments = vec![Segment {
            lines: Lines::default(),
            depth: 0,
            start: 0,
        }];
        Table {
            lines_memory: segments[0].lines.memory(),
            directory: vec![0],
            depth: 0,
            segments,
            len: 0,
        }
    }
}

impl<T: Copy + Default, const LANES: usize> Table<T, LANES> {
    pub fn len(&self) -> usize {
        self.len
    }

    fn slot(&self, hash: u64) -> usize {
        // A shift by 64 is none.
        hash.checked_shr(64 - self.depth).unwrap_or(0) as usize
    }

    fn segment(&self, hash: u64) -> &Segment<T, LANES> {
        &self.segments[self.directory[self.slot(hash)] as usize]
    }

    fn segment_mut(&mut self, hash: u64) -> &mut Segment<T, LANES> {
        let index = self.directory[self.slot(hash)];
        &mut self.segments[index as usize]
    }

    /// Reports whether the table is so large that look-ups have to wait for memory outside the processor's caches.
    pub fn is_beyond_caches(&self) -> bool {
        self.len >= IN_CACHES
    }

    /// Fetches the memory of look-ups to come; for each hash an element that is probably the one, if there
    /// is any.
    pub fn prefetch(&self, batch: &PrefetchBatch) -> [Option<&T>; REQUESTS_PREFETCHED] {
        let mut found = [None; REQUESTS_PREFETCHED];
        let mut segments = [None; REQUESTS_PREFETCHED];
        let hashes = &batch.hashes[..batch.count];
        // Each step for all of them: the shorter the loops, the more of their fetches go on at once.
        for (segment, hash) in segments.iter_mut().zip(hashes) {
            let lines = &self.segment(*hash).lines;
            lines.fetch(tag(*hash));
            *segment = Some(lines);
        }
        for ((found, lines), hash) in found.iter_mut().zip(segments).zip(hashes) {
            *found = lines.and_then(|lines| lines.candidate(tag(*hash)));
        }
        found
    }

    pub fn find(&self, hash: u64, is_it: impl FnMut(&T) -> bool) -> Option<&T> {
        self.segment(hash).lines.find(tag(hash), is_it)
    }

    pub fn find_mut(&mut self, hash: u64, is_it: impl FnMut(&T) -> bool) -> Option<&mut T> {
        self.segment_mut(hash).lines.find_mut(tag(hash), is_it)
    }

    /// Adds what is known not to be there; `hash_of` gives the hash of any element.
    pub fn insert(&mut self, hash: u64, element: T, hash_of: impl Fn(&T) -> u64) {
        self.insert_prefetching(hash, element, hash_of, |_| ());
    }

    /// Inserts as [`Table::insert`] does. Before the hashes of many elements are needed, `prefetch` is called for each of
    /// them, to fetch the memory that the hashes are made of.
    pub fn insert_prefetching(
        &mut self,
        hash: u64,
        element: T,
        hash_of: impl Fn(&T) -> u64,
        prefetch: impl Fn(&T),
    ) {
        let max_depth = (self.len / SEGMENT_MAX).max(1).ilog2() + MAX_EXTRA_DEPTH;
        while self.segment(hash).lines.len() >= SEGMENT_MAX && self.segment(hash).depth < max_depth
        {
            let lines = &self.segment(hash).lines;
            lines.iter().for_each(|(_, element)| prefetch(element));
            self.split(hash, &hash_of);
        }
        let lines = &mut self.segment_mut(hash).lines;
        let before = lines.memory();
        lines.insert(tag(hash), element);
        let after = lines.memory();
        self.lines_memory = self.lines_memory - before + after;
        self.len += 1;
    }

    pub fn remove(&mut self, hash: u64, is_it: impl FnMut(&T) -> bool) -> Option<T> {
        let lines = &mut self.segment_mut(hash).lines;
        let before = lines.memory();
        let element = lines.remove(tag(hash), is_it)?;
        let after = lines.memory();
        self.lines_memory = self.lines_memory - before + after;
        self.len -= 1;
        Some(element)
    }

    /// Meets every element of the segment at `cursor`; `None` when that was the last one.
    pub fn visit(&self, cursor: Cursor, mut visit: impl FnMut(&T)) -> Option<Cursor> {
        let segment = self.segment(cursor.0);
        segment.lines.iter().for_each(|(_, element)| visit(element));
        segment.end(cursor)
    }

    /// Meets elements of the segment at `start` as long as `visit` says that there is room for more; what is
    /// left of it.
    pub fn begin_part(&self, start: Cursor, mut visit: impl FnMut(&T) -> bool) -> Part {
        let segment = self.segment(start.0);
        let mut has_room = true;
        let (mut met, mut tags) = (Vec::with_capacity(SEGMENT_MAX), Vec::new());
        for (tag, element) in segment.lines.iter() {
            // Those that share a tag can't be told apart later.
            if has_room || met.contains(&tag) {
                has_room &= visit(element);
                met.push(tag);
            } else {
                tags.push(tag);
            }
        }
        tags.sort_unstable();
        tags.dedup();
        Part {
            tags,
            start,
            end: segment.end(start),
        }
    }

    /// Meets the next element of a part; of those that share a tag, which are few, all. Whether there was one
    /// to be met, which may be gone.
    pub fn visit_next(&self, part: &mut Part, mut visit: impl FnMut(&T)) -> bool {
        let Some(tag) = part.tags.pop() else {
            return false;
        };
        // The segment may have been split since.
        let mut cursor = Some(part.start);
        while let Some(at) = cursor.filter(|at| part.end.is_none_or(|end| at.0 < end.0)) {
            let segment = self.segment(at.0);
            segment.lines.find(tag, |element| {
                visit(element);
                false
            });
            cursor = segment.end(at);
        }
        true
    }

    /// As [`Table::visit`], and drops what `keep` doesn't want.
    pub fn retain(&mut self, cursor: Cursor, keep: impl FnMut(&T) -> bool) -> Option<Cursor> {
        let segment = self.segment_mut(cursor.0);
        let before = segment.lines.memory();
        let removed = segment.lines.retain(keep);
        let after = segment.lines.memory();
        let end = segment.end(cursor);
        self.lines_memory = self.lines_memory - before + after;
        self.len -= removed;
        end
    }

    /// Hands every element to `each`. Panics if one is not found where its hash leads, or if they are not so
    /// many as are counted; for [`Broker::check`](super::Broker::check).
    pub fn check(&self, hash_of: impl Fn(&T) -> u64, mut each: impl FnMut(&T)) {
        let (mut cursor, mut met) = (Some(Cursor::default()), 0);
        while let Some(at) = cursor {
            cursor = self.visit(at, |element| {
                let is_it = |found: &T| std::ptr::eq(found, element);
                assert!(self.find(hash_of(element), is_it).is_some(), "it is found");
                each(element);
                met += 1;
            });
        }
        assert_eq!(met, self.len, "elements are counted");
        let memory = self.segments.iter().map(|segment| segment.lines.memory());
        assert_eq!(
            memory.sum::<usize>(),
            self.lines_memory,
            "memory is counted"
        );
        for segment in &self.segments {
            let found = &self.segments[self.directory[self.slot(segment.start)] as usize];
            assert!(std::ptr::eq(found, segment), "a segment is found");
        }
    }

    /// Reports whether freeing the table at once may take long, so that it has to be freed in slices.
    pub fn is_large(&self) -> bool {
        self.segments.len() > 1
    }

    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Frees up to `segments` segments of a table that isn't needed any more.
    pub fn free_slice(&mut self, segments: usize) {
        self.segments
            .truncate(self.segments.len().saturating_sub(segments));
    }

    /// Reports whether [`Table::free_slice`] has freed all segments.
    pub fn is_freed(&self) -> bool {
        self.segments.is_empty()
    }

    fn split(&mut self, hash: u64, hash_of: &impl Fn(&T) -> u64) {
        let index = self.directory[self.slot(hash)];
        let depth = self.segments[index as usize].depth + 1;
        if depth > self.depth {
            self.directory = self
                .directory
                .iter()
                .flat_map(|&segment| [segment, segment])
                .collect();
            self.depth = depth;
        }
        let upper =
            u32::try_from(self.segments.len()).expect("memory ends before 2^32 segments do");
        // The directory slots of the segment are adjacent; their upper half goes to the new one.
        let first = (self.slot(hash) >> (self.depth - depth + 1)) << (self.depth - depth + 1);
        let half = 1 << (self.depth - depth);
        self.directory[first + half..first + 2 * half].fill(upper);

        let bit = 1 << (64 - depth);
        let segment = &mut self.segments[index as usize];
        segment.depth = depth;
        let before = segment.lines.memory();
        let lines = segment
            .lines
            .split_off(|element| hash_of(element) & bit != 0);
        self.lines_memory = self.lines_memory - before + segment.lines.memory() + lines.memory();
        let start = segment.start | bit;
        self.segments.push(Segment {
            lines,
            depth,
            start,
        });
    }

    /// To be called after a removal, with its hash: joins the segment with its other half once both together hold
    /// little, so that a table that was large gives its memory back. Not for tables that somebody walks through, for a
    /// walk would meet a half again.
    pub fn join(&mut self, hash: u64) {
        let index = self.directory[self.slot(hash)];
        let Segment { depth, start, .. } = self.segments[index as usize];
        let few = |table: &Self, index: u32| table.segments[index as usize].lines.len();
        if depth == 0 || few(self, index) > JOINED_MAX {
            return;
        }
        let bit = 1 << (64 - depth);
        let other = self.directory[self.slot(start ^ bit)];
        if self.segments[other as usize].depth != depth
            || few(self, index) + few(self, other) > JOINED_MAX
        {
            return;
        }
        let taken = std::mem::take(&mut self.segments[other as usize].lines);
        let segment = &mut self.segments[index as usize];
        let before = segment.lines.memory() + taken.memory();
        segment.lines.join(&taken);
        segment.depth = depth - 1;
        segment.start = start & !bit;
        self.lines_memory = self.lines_memory - before + segment.lines.memory();
        self.point_to(index);
        // The last segment takes the place of the one that is gone.
        self.segments.swap_remove(other as usize);
        if (other as usize) < self.segments.len() {
            self.point_to(other);
        }
        self.halve_directory();
    }

    /// Enters a segment into the directory.
    fn point_to(&mut self, index: u32) {
        let Segment { depth, start, .. } = self.segments[index as usize];
        let first = self.slot(start);
        let count = 1 << (self.depth - depth);
        self.directory[first..first + count].fill(index);
    }

    fn halve_directory(&mut self) {
        // As long as it is no larger than a few times what it needs to be, a look at all of it is not worth it.
        let is_large = self.directory.len() >= 8 * self.segments.len();
        if is_large && self.segments.iter().all(|it| it.depth < self.depth) {
            self.depth -= 1;
            self.directory = self.directory.iter().copied().step_by(2).collect();
        }
    }

    /// Memory of the table, in bytes.
    pub fn memory(&self) -> usize {
        self.lines_memory
            + self.segments.len() * size_of::<Segment<T, LANES>>()
            + self.directory.len() * size_of::<u32>()
    }
}

impl<T, const LANES: usize> Segment<T, LANES> {
    /// Where the segment behind this one begins.
    fn end(&self, cursor: Cursor) -> Option<Cursor> {
        if self.depth == 0 {
            return None;
        }
        let width = 64 - self.depth;
        (cursor.0 >> width)
            .checked_add(1)
            .filter(|next| next >> self.depth == 0)
            .map(|next| Cursor(next << width))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// A bijection that scatters well, so that every number is an element of its own.
    fn hash(element: &u64) -> u64 {
        let mixed = element.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93)
    }

    fn filled(elements: u64) -> Table<u64> {
        let mut table: Table<_> = Table::default();
        for element in 0..elements {
            table.insert(hash(&element), element, hash);
        }
        table
    }

    #[test]
    fn finds_what_was_inserted_and_nothing_else() {
        let mut table = filled(100_000);
        assert_eq!(table.len(), 100_000);
        for element in 0..100_000 {
            assert_eq!(
                table.find(hash(&element), |found| *found == element),
                Some(&element)
            );
        }
        for element in (0..100_000).step_by(2) {
            assert_eq!(
                table.remove(hash(&element), |found| *found == element),
                Some(element)
            );
            assert_eq!(
                table.remove(hash(&element), |found| *found == element),
                None
            );
        }
        assert_eq!(table.len(), 50_000);
        for element in 0..100_000 {
            assert_eq!(
                table
                    .find(hash(&element), |found| *found == element)
                    .is_some(),
                element % 2 == 1
            );
        }
    }

    #[test]
    fn a_table_that_was_large_gives_its_memory_back() {
        let mut table = filled(200_000);
        let empty = Table::<u64>::default().memory();
        for element in (0..200_000).filter(|element| element % 1_000 != 0) {
            table.remove(hash(&element), |found| *found == element);
            table.join(hash(&element));
            if element % 10_000 == 1 {
                table.check(hash, |_| {});
            }
        }
        table.check(hash, |_| {});
        assert_eq!(table.len(), 200);
        assert!(table.memory() < 16 * 1024, "{}", table.memory());
        for element in (0..200_000).step_by(1_000) {
            assert!(
                table
                    .remove(hash(&element), |found| *found == element)
                    .is_some()
            );
            table.join(hash(&element));
        }
        assert!(table.memory() <= 4 * empty, "{}", table.memory());
        for element in 0..10_000 {
            table.insert(hash(&element), element, hash);
        }
        table.check(hash, |_| {});
    }

    #[test]
    fn a_walk_in_steps_of_one_meets_everything_that_stays_once_while_the_table_grows_and_shrinks() {
        let mut table = filled(5_000);
        let (mut met, mut next) = (HashSet::new(), 5_000);
        let mut part = Part::before_all();
        loop {
            let is_new = |element: &u64| assert!(met.insert(*element), "met once");
            if !table.visit_next(&mut part, is_new) {
                let Some(cursor) = part.next() else { break };
                let mut room = 10;
                part = table.begin_part(cursor, |element| {
                    assert!(met.insert(*element), "met once");
                    room -= 1;
                    room > 0
                });
            }
            if next < 50_000 {
                for _ in 0..40 {
                    table.insert(hash(&next), next, hash);
                    next += 1;
                }
                for element in (next - 20..next).step_by(2) {
                    table.remove(hash(&element), |found| *found == element);
                }
            }
            if met.len() % 1_000 == 0 {
                for element in 0..5_000 {
                    let is_met = met.contains(&element);
                    assert_eq!(part.is_before(hash(&element)), !is_met);
                }
            }
        }
        assert!((0..5_000).all(|element| met.contains(&element)));
    }

    #[test]
    fn a_walk_meets_everything_that_stays_once_while_the_table_grows_and_shrinks() {
        let mut table = filled(5_000);
        let (mut cursor, mut met, mut next) = (Some(Cursor::default()), Vec::new(), 5_000);
        while let Some(at) = cursor {
            cursor = table.visit(at, |element| met.push(*element));
            for _ in 0..2_000 {
                table.insert(hash(&next), next, hash);
                next += 1;
            }
            for element in (next - 1_000..next).step_by(2) {
                table.remove(hash(&element), |found| *found == element);
            }
        }
        let distinct: HashSet<u64> = met.iter().copied().collect();
        assert_eq!(distinct.len(), met.len());
        assert!((0..5_000).all(|element| distinct.contains(&element)));
    }

    #[test]
    fn retain_walks_too_and_memory_is_given_back() {
        let mut table = filled(50_000);
        let mut cursor = Some(Cursor::default());
        while let Some(at) = cursor {
            cursor = table.retain(at, |element| element % 100 == 0);
        }
        assert_eq!(table.len(), 500);
        let capacity: usize = table
            .segments
            .iter()
            .map(|segment| segment.lines.capacity())
            .sum();
        assert!(capacity < 10_000, "{capacity}");
    }

    #[test]
    fn equal_hashes_are_no_endless_split() {
        let mut table: Table<_> = Table::default();
        for element in 0..2_000 {
            table.insert(7, element, |_| 7);
        }
        assert!((0..2_000).all(|element| table.find(7, |found| *found == element).is_some()));
    }
}
