//! Memory for entries: blocks of bytes, of a few dozen sizes, cut out of pages. What the bytes mean is
//! not known here.
//!
//! The allocator of the system takes 16 bytes beside each block, keeps what was freed where it was, and
//! can't tell how much that is. Here a block costs its size, pages that are empty go back to the system,
//! and pages that are nearly so are emptied, in slices, when much of all memory is unused.

use super::origins::Origins;
use crate::limits::{FREED_PER_TURN, KIB};
use crate::protocol::shared::SharedBytes;
use crate::sys::memory::{Chunks, Extent};
use slab::Slab;

/// The size of a page that several blocks share, in bytes. Pages are parts of [`Chunks`].
const PAGE: usize = 256 * KIB;
/// The smallest block.
pub const MIN_BLOCK: usize = 32;
/// The largest block that shares its page. A larger one has a page of its own size.
const MAX_BLOCK: usize = PAGE / 4;
/// Blocks up to this size differ least.
const SMALL: usize = 128;
/// Block numbers per page.
const SLOTS: u32 = (PAGE / MIN_BLOCK) as u32;
/// Page numbers: 2^19, so that a block's number fits into 32 bits. With pages full of small blocks that is
/// 128 GiB.
const MAX_PAGES: usize = (u32::MAX / SLOTS) as usize;
/// Pages taken apart at once when all of them go.
const PAGES_PER_SLICE: usize = 16;
/// How many pages are looked at to find one that is worth emptying.
const SAMPLE: usize = 64;
/// No slot, no place: the end of a list.
const NONE: u32 = u32::MAX;
/// Where a free block holds the slot of the next free one. Its first byte is 0, which that of a block in use
/// never is.
const NEXT_FREE: std::ops::Range<usize> = 1..5;

/// A block's number. It stays until the block is freed or moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Block(u32);

impl Block {
    fn page(self) -> usize {
        (self.0 / SLOTS) as usize
    }

    fn slot(self) -> u32 {
        self.0 % SLOTS
    }
}

struct Page {
    bytes: Extent,
    block_size: u32,
    /// Blocks in use.
    used: u32,
    /// Slots from here on have never been used: the operating system has not given their memory yet.
    fresh: u32,
    /// The first free slot before that.
    free: u32,
    /// Its place in its size's list of pages with room, or [`NONE`].
    place: u32,
}

impl Page {
    fn slots(&self) -> u32 {
        (self.bytes.len() / self.block_size as usize) as u32
    }

    fn range(&self, slot: u32) -> std::ops::Range<usize> {
        let start = slot as usize * self.block_size as usize;
        start..start + self.block_size as usize
    }

    fn unused_bytes(&self) -> usize {
        self.bytes.len() - self.used as usize * self.block_size as usize
    }
}

pub struct Blocks {
    /// The sizes of blocks that share pages, ascending.
    sizes: Box<[u32]>,
    /// The memory of pages that blocks share.
    chunks: Chunks<PAGE>,
    pages: Vec<Option<Page>>,
    /// Numbers of pages that were given back.
    vacant: Vec<u32>,
    /// The pages of each size that have room.
    with_room: Box<[Vec<u32>]>,
    /// How many pages there are of each size, and of how many sizes there are any.
    pages_of: Box<[u32]>,
    sizes_in_use: usize,
    /// Bytes of all pages, and of the blocks in use.
    held: usize,
    used: usize,
    /// The origins of the stamps in the blocks.
    origins: Origins,
    /// Long texts, which are shared with others and so have no block, and their length in bytes.
    texts: Slab<SharedBytes>,
    texts_length: usize,
    /// Long texts that are dropped when there is time.
    texts_garbage: Vec<SharedBytes>,
    /// Pages that are given back when there is time: each takes the operating system some.
    garbage: Vec<Extent>,
    /// The page being emptied, and its next slot.
    emptying: Option<(u32, u32)>,
    /// Where the search for a page to be emptied goes on.
    sample_from: usize,
}

impl Default for Blocks {
    fn default() -> Blocks {
        let sizes = sizes();
        Blocks {
            with_room: sizes.iter().map(|_| Vec::new()).collect(),
            pages_of: vec![0; sizes.len()].into(),
            sizes_in_use: 0,
            sizes,
            chunks: Chunks::default(),
            pages: Vec::new(),
            vacant: Vec::new(),
            held: 0,
            used: 0,
            origins: Origins::default(),
            texts: Slab::new(),
            texts_length: 0,
            texts_garbage: Vec::new(),
            garbage: Vec::new(),
            emptying: None,
            sample_from: 0,
        }
    }
}

/// Small ones differ by 2 bytes, larger ones by an eighth, in steps of 8 bytes. Large ones are made to fill their pages.
/// Each size may have a page that is nearly empty, so there are not many.
fn sizes() -> Box<[u32]> {
    let mut sizes = Vec::new();
    let mut size = MIN_BLOCK;
    while size < MAX_BLOCK {
        sizes.push(size as u32);
        let step = if size < SMALL { 2 } else { (size / 8) & !7 };
        let fitting = PAGE / (PAGE / (size + step));
        size = if size < SMALL {
            size + step
        } else {
            fitting & !7
        };
    }
    sizes.push(MAX_BLOCK as u32);
    sizes.into()
}

impl Blocks {
    /// Bytes of all blocks in use.
    pub fn used(&self) -> usize {
        self.used
    }

    pub fn origins(&self) -> &Origins {
        &self.origins
    }

    pub fn origins_mut(&mut self) -> &mut Origins {
        &mut self.origins
    }

    /// Keeps a long text beside the blocks; its number.
    pub fn add_text(&mut self, text: SharedBytes) -> u32 {
        self.texts_length += text.len();
        u32::try_from(self.texts.insert(text)).expect("long texts are fewer than blocks")
    }

    /// The long text of that number.
    pub fn text(&self, number: u32) -> &SharedBytes {
        &self.texts[number as usize]
    }

    /// Drops the long text of that number.
    pub fn remove_text(&mut self, number: u32) {
        let text = self.texts.remove(number as usize);
        self.texts_length -= text.len();
        self.texts_garbage.push(text);
    }

    /// Bytes of all long texts.
    pub fn texts_length(&self) -> usize {
        self.texts_length
    }

    /// How large a block for `length` bytes is.
    pub fn size_for(&self, length: usize) -> usize {
        match self.sizes.get(self.class(length)) {
            Some(&size) => size as usize,
            None => length,
        }
    }

    fn class(&self, length: usize) -> usize {
        self.sizes.partition_point(|&size| (size as usize) < length)
    }

    /// A block of at least `length` bytes, whatever is in it; `None` if there are no more numbers. The first
    /// byte of what is put there is not 0.
    pub fn allocate(&mut self, length: usize) -> Option<Block> {
        let class = self.class(length);
        let number = match self.with_room.get(class) {
            Some(with_room) => match with_room.last() {
                Some(&number) => number,
                None => {
                    let number = self.add_page(PAGE, self.sizes[class])?;
                    self.list(number, class);
                    number
                }
            },
            None => self.add_page(length, u32::try_from(length).ok()?)?,
        };
        let page = self.pages[number as usize]
            .as_mut()
            .expect("a page with room is there");
        let slot = if page.free == NONE {
            page.fresh += 1;
            page.fresh - 1
        } else {
            let free = page.free;
            let next = page.bytes[page.range(free)][NEXT_FREE].first_chunk();
            page.free = u32::from_le_bytes(*next.expect("a slot's number has 4 bytes"));
            free
        };
        page.used += 1;
        self.used += page.block_size as usize;
        if page.used == page.slots() {
            self.unlist(number);
        }
        Some(Block(number * SLOTS + slot))
    }

    pub fn free(&mut self, block: Block) {
        let number = block.page() as u32;
        let Some(page) = &mut self.pages[block.page()] else {
            debug_assert!(false, "a block is freed once");
            return;
        };
        let range = page.range(block.slot());
        let bytes = &mut page.bytes[range];
        bytes[0] = 0;
        bytes[NEXT_FREE].copy_from_slice(&page.free.to_le_bytes());
        page.free = block.slot();
        page.used -= 1;
        let (size, is_empty, is_listed) =
            (page.block_size as usize, page.used == 0, page.place != NONE);
        self.used -= size;
        let class = self.class(size);
        let is_emptied = self.emptying.is_some_and(|(page, _)| page == number);
        // One is kept for the next entry, so that nothing goes back and forth.
        let others = self
            .with_room
            .get(class)
            .map(|with_room| with_room.len() - usize::from(is_listed));
        if is_empty && (is_emptied || others != Some(0)) {
            self.remove_page(number);
        } else if !is_listed && !is_emptied {
            self.list(number, class);
        }
    }

    fn page(&self, block: Block) -> &Page {
        self.pages[block.page()]
            .as_ref()
            .expect("a block's page is there until it is freed")
    }

    pub fn get(&self, block: Block) -> &[u8] {
        let page = self.page(block);
        &page.bytes[page.range(block.slot())]
    }

    pub fn get_mut(&mut self, block: Block) -> &mut [u8] {
        self.get_with_origins(block).0
    }

    #[inline]
    pub fn get_with_origins(&mut self, block: Block) -> (&mut [u8], &Origins) {
        let page = self.pages[block.page()]
            .as_mut()
            .expect("a block's page is there until it is freed");
        let range = page.range(block.slot());
        (&mut page.bytes[range], &self.origins)
    }

    /// Reports whether [`Blocks::tidy_slice`] has work to do.
    pub fn is_to_be_tidied(&self) -> bool {
        self.has_garbage() || self.emptying.is_some() || self.wastes_much() || self.chunks.has_due()
    }

    /// Reports whether pages have to be emptied: the unused bytes exceed the sum of one page for each size in use and
    /// an eighth of the bytes in use. Then the blocks of the emptiest page of some size fit into the others.
    fn wastes_much(&self) -> bool {
        self.held - self.used > self.sizes_in_use * PAGE + self.used / 8
    }

    /// Goes on emptying a page, for up to `slots` of its blocks. `moved` is told of each that was in use,
    /// where it was and where it is now.
    pub fn tidy_slice(&mut self, slots: u32, mut moved: impl FnMut(&Blocks, Block, Block)) {
        self.free_some();
        if self.emptying.is_none() && !self.wastes_much() {
            self.chunks.make_huge();
            return;
        }
        let Some((number, from)) = self.emptying.or_else(|| self.choose_page()) else {
            return;
        };
        self.emptying = Some((number, from));
        self.unlist(number);
        for slot in from..from + slots {
            let Some(page) = &self.pages[number as usize] else {
                // The last one has been moved, or freed by somebody else.
                self.emptying = None;
                return;
            };
            let size = page.block_size as usize;
            let block = Block(number * SLOTS + slot);
            let is_over = slot >= page.fresh;
            if !is_over && self.get(block)[0] == 0 {
                continue;
            }
            let is_empty = page.used == 0;
            let Some(copy) = (!is_over).then(|| self.allocate(size)).flatten() else {
                self.emptying = None;
                if is_empty {
                    self.remove_page(number);
                } else {
                    // There are no numbers for another page.
                    self.list(number, self.class(size));
                }
                return;
            };
            self.copy(block, copy);
            moved(self, block, copy);
            self.free(block);
        }
        self.emptying = self.pages[number as usize]
            .is_some()
            .then_some((number, from + slots));
    }

    fn copy(&mut self, from: Block, to: Block) {
        let bytes = self.get(from).to_vec();
        self.get_mut(to).copy_from_slice(&bytes);
    }

    /// The page among some that wastes most, of those that are not the only one of their size with room.
    fn choose_page(&mut self) -> Option<(u32, u32)> {
        let count = self.pages.len();
        let sample = (0..SAMPLE.min(count)).map(|offset| (self.sample_from + offset) % count);
        let candidates = sample.filter_map(|number| {
            let page = self.pages[number].as_ref()?;
            let with_room = self.with_room.get(self.class(page.block_size as usize))?;
            (page.place != NONE && with_room.len() > 1)
                .then(|| (page.unused_bytes(), number as u32))
        });
        let worst = candidates.max();
        self.sample_from = (self.sample_from + SAMPLE) % count.max(1);
        worst
            .filter(|(unused, _)| *unused > PAGE / 16)
            .map(|(_, number)| (number, 0))
    }

    /// Panics if what is counted is not what there is; for [`Broker::check`](crate::broker::Broker::check).
    pub fn check(&self) {
        let (mut held, mut used, mut with_room) = (0, 0, 0);
        for (number, page) in self.pages.iter().enumerate() {
            let Some(page) = page else { continue };
            held += page.bytes.len();
            used += (page.used * page.block_size) as usize;
            if page.place != NONE {
                let list = &self.with_room[self.class(page.block_size as usize)];
                assert_eq!(list[page.place as usize] as usize, number);
                with_room += 1;
            }
        }
        assert_eq!(held, self.held, "pages are counted");
        assert_eq!(used, self.used, "blocks in use are counted");
        let texts: usize = self.texts.iter().map(|(_, text)| text.len()).sum();
        assert_eq!(texts, self.texts_length, "long texts are counted");
        let listed: usize = self.with_room.iter().map(Vec::len).sum();
        assert_eq!(with_room, listed, "pages with room are there");
        let vacant = self.pages.iter().filter(|page| page.is_none()).count();
        assert_eq!(vacant, self.vacant.len(), "numbers of no page are known");
    }

    /// Reports whether freeing all memory at once may take long, so that it has to be freed in slices.
    pub fn is_large(&self) -> bool {
        self.held > FREED_PER_TURN || self.texts_length > 0 || self.has_garbage()
    }

    /// Gives back all pages with nothing in them.
    pub fn free_all_garbage(&mut self) {
        let pages = self.garbage.drain(..);
        pages.for_each(|page| self.chunks.give_back(page));
        self.texts_garbage.clear();
    }

    /// Gives some pages back, whatever is in them; whether there are any left.
    pub fn drop_slice(&mut self) -> bool {
        if self.texts_length > 0 {
            self.texts_garbage.extend(self.texts.drain());
            self.texts_length = 0;
        }
        if self.garbage.is_empty() {
            let kept = self.pages.len().saturating_sub(PAGES_PER_SLICE);
            let pages = self.pages.drain(kept..).flatten();
            self.garbage.extend(pages.map(|page| page.bytes));
        }
        self.free_some();
        !self.pages.is_empty() || self.has_garbage()
    }

    fn has_garbage(&self) -> bool {
        !self.garbage.is_empty() || !self.texts_garbage.is_empty()
    }

    /// Gives back some of what is not needed any more.
    fn free_some(&mut self) {
        let mut freed = 0;
        while freed < FREED_PER_TURN {
            if let Some(text) = self.texts_garbage.pop() {
                freed += text.len();
            } else if let Some(page) = self.garbage.pop() {
                freed += page.len();
                self.chunks.give_back(page);
            } else {
                return;
            }
        }
    }

    fn add_page(&mut self, size: usize, block_size: u32) -> Option<u32> {
        if self.vacant.is_empty() && self.pages.len() == MAX_PAGES {
            return None;
        }
        let bytes = match block_size as usize > MAX_BLOCK {
            true => Extent::new(size),
            false => self.chunks.part(),
        };
        let page = Page {
            bytes: bytes?,
            block_size,
            used: 0,
            fresh: 0,
            free: NONE,
            place: NONE,
        };
        let number = match self.vacant.pop() {
            Some(number) => {
                self.pages[number as usize] = Some(page);
                number
            }
            None => {
                self.pages.push(Some(page));
                self.pages.len() as u32 - 1
            }
        };
        self.held += size;
        if let Some(count) = self.pages_of.get_mut(self.class(block_size as usize)) {
            self.sizes_in_use += usize::from(*count == 0);
            *count += 1;
        }
        Some(number)
    }

    fn remove_page(&mut self, number: u32) {
        self.unlist(number);
        let Some(page) = self.pages[number as usize].take() else {
            return;
        };
        if self.emptying.is_some_and(|(page, _)| page == number) {
            self.emptying = None;
        }
        self.held -= page.bytes.len();
        self.vacant.push(number);
        if let Some(count) = self.pages_of.get_mut(self.class(page.block_size as usize)) {
            *count -= 1;
            self.sizes_in_use -= usize::from(*count == 0);
        }
        self.garbage.push(page.bytes);
    }

    /// Puts a page on the list of those with room.
    fn list(&mut self, number: u32, class: usize) {
        let Some(with_room) = self.with_room.get_mut(class) else {
            return;
        };
        if let Some(page) = &mut self.pages[number as usize] {
            page.place = with_room.len() as u32;
            with_room.push(number);
        }
    }

    /// Takes it off, if it is there.
    fn unlist(&mut self, number: u32) {
        let Some(page) = &mut self.pages[number as usize] else {
            return;
        };
        let place = std::mem::replace(&mut page.place, NONE);
        if place == NONE {
            return;
        }
        let class = self.sizes.partition_point(|&size| size < page.block_size);
        let with_room = &mut self.with_room[class];
        with_room.swap_remove(place as usize);
        if let Some(&moved) = with_room.get(place as usize)
            && let Some(page) = &mut self.pages[moved as usize]
        {
            page.place = place;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// The expected bytes of each block in use, by the block's number.
    type Expected = HashMap<u32, Vec<u8>>;

    fn put(blocks: &mut Blocks, expected: &mut Expected, length: usize, mark: u8) -> u32 {
        let block = blocks.allocate(length).expect("numbers enough");
        let bytes = blocks.get_mut(block);
        assert!(bytes.len() >= length);
        bytes.fill(mark);
        assert!(
            expected.insert(block.0, bytes.to_vec()).is_none(),
            "given out twice"
        );
        block.0
    }

    fn check(blocks: &Blocks, expected: &Expected) {
        assert!(
            expected
                .iter()
                .all(|(number, bytes)| blocks.get(Block(*number)) == bytes)
        );
        let used: usize = expected.values().map(Vec::len).sum();
        assert_eq!(blocks.used(), used);
        let held: usize = blocks
            .pages
            .iter()
            .flatten()
            .map(|page| page.bytes.len())
            .sum();
        assert_eq!(blocks.held, held);
    }

    #[test]
    fn sizes_waste_little() {
        let sizes = sizes();
        assert!(sizes.is_sorted_by(|a, b| a < b), "{sizes:?}");
        assert_eq!(sizes.last(), Some(&(MAX_BLOCK as u32)));
        let blocks = Blocks::default();
        // As clacksd(8) has it.
        assert_eq!(blocks.sizes.len(), 98);
        for length in 1..=2 * MAX_BLOCK {
            let size = blocks.size_for(length);
            // A page has room for few of the largest.
            let most = match length < 8 * KIB {
                true => MIN_BLOCK.max(length + 2 + length / 6),
                false => (length + length / 4).next_multiple_of(8),
            };
            assert!((length..=most).contains(&size), "{length}: {size}");
        }
    }

    #[test]
    fn blocks_keep_their_bytes_whatever_is_freed_and_moved_around_them() {
        let mut random = 1_u64;
        let mut next = |bound: u64| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % bound
        };
        let (mut blocks, mut expected) = (Blocks::default(), Expected::new());
        for round in 0..60_u64 {
            // Sizes come into fashion and go out of it.
            let typical = [60, 300, 5000, 200_000][(round / 8 % 4) as usize];
            for step in 0..400_u64 {
                let length = 1 + next(typical) as usize;
                put(&mut blocks, &mut expected, length, 1 + (step % 255) as u8);
            }
            let mut victims: Vec<u32> = expected.keys().copied().collect();
            victims.sort_unstable();
            for number in victims {
                // A slice of tidying may come between any two frees, and new blocks as well.
                if next(100) < 40 && expected.remove(&number).is_some() {
                    blocks.free(Block(number));
                }
                if next(4) == 0 {
                    let length = 1 + next(typical) as usize;
                    put(&mut blocks, &mut expected, length, 9);
                }
                if next(2) == 0 && blocks.is_to_be_tidied() {
                    blocks.tidy_slice(8, |_, from, to| {
                        let bytes = expected.remove(&from.0).expect("it was in use");
                        assert!(expected.insert(to.0, bytes).is_none());
                    });
                }
            }
            check(&blocks, &expected);
        }
        for number in expected.keys() {
            blocks.free(Block(*number));
        }
        assert_eq!(blocks.used(), 0);
        assert!(blocks.held <= blocks.sizes.len() * PAGE, "{}", blocks.held);
    }

    /// Tidying gives back the memory of pages that were full of small blocks and are nearly empty.
    #[test]
    fn tidying_gives_back_what_is_unused() {
        let (mut blocks, mut expected) = (Blocks::default(), Expected::new());
        let all: Vec<u32> = (0..100_000)
            .map(|_| put(&mut blocks, &mut expected, 100, 7))
            .collect();
        for (index, number) in all.iter().enumerate() {
            if index % 20 != 0 {
                blocks.free(Block(*number));
                expected.remove(number);
            }
        }
        let mut slices = 0;
        while blocks.is_to_be_tidied() {
            slices += 1;
            assert!(slices < 100_000, "it comes to an end");
            blocks.tidy_slice(64, |_, from, to| {
                let bytes = expected.remove(&from.0).expect("it was in use");
                expected.insert(to.0, bytes);
            });
        }
        check(&blocks, &expected);
        assert!(
            blocks.held <= blocks.used() + blocks.used() / 8 + PAGE,
            "{} for {}",
            blocks.held,
            blocks.used()
        );
    }
}
