//! Memory that comes straight from the operating system, in chunks of which each can be one huge page.
//!
//! A look-up in a large cache touches memory that the processor has no address translation for: with pages of 4 KiB, that
//! costs more than fetching the memory itself. A chunk is as large and as aligned as a huge page, and becomes one once all
//! of it is in use, so that no memory is taken that nobody needs. A thread asks the kernel for that, because it takes
//! milliseconds.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};
use std::ptr::{NonNull, null_mut};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// The size of a chunk and its alignment, in bytes: those of a huge page on x86-64 and, as a rule, on ARM.
pub const CHUNK: usize = 2 << 20;

/// The stack of a thread that makes one system call.
const STACK: usize = 64 << 10;

/// Fresh memory of the process. It goes back to the operating system when it is dropped.
struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: a mapping is a range of addresses, which any thread may unmap or give advice about. Its bytes are reached through
// extents only, which stay in their thread.
unsafe impl Send for Mapping {}
// SAFETY: as above; what a shared mapping is asked to do changes neither its range nor its bytes.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps zeroed memory. `None` if the system has none.
    fn new(length: usize) -> Option<Mapping> {
        let (protection, kind) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        );
        // SAFETY: a mapping at an address that the system chooses changes no memory of this process.
        let start = unsafe { libc::mmap(null_mut(), length, protection, kind, -1, 0) };
        if start == libc::MAP_FAILED {
            return None;
        }
        let start = NonNull::new(start.cast())?;
        Some(Mapping { start, length })
    }

    /// Maps the memory of a chunk, at a multiple of its size.
    fn chunk() -> Option<Mapping> {
        // Newer kernels align mappings of this size by themselves.
        let mapping = Mapping::new(CHUNK)?;
        if mapping.start.addr().get().is_multiple_of(CHUNK) {
            return Some(mapping);
        }
        drop(mapping);
        Some(Mapping::new(2 * CHUNK)?.aligned_part())
    }

    /// Returns its first part that can be a chunk. The rest goes back to the system. It has at least twice that length.
    fn aligned_part(self) -> Mapping {
        let before = self.start.addr().get().wrapping_neg() % CHUNK;
        let (_, rest) = self.split(before);
        let (chunk, _) = rest.split(CHUNK);
        chunk
    }

    /// Makes two mappings of one, each of which may be empty. `at` is a multiple of the system's page size.
    fn split(self, at: usize) -> (Mapping, Mapping) {
        let Mapping { start, length } = self;
        std::mem::forget(self);
        assert!(at <= length, "a mapping is split within its length");
        // SAFETY: the place is inside the mapping, or at its end.
        let middle = unsafe { start.add(at) };
        let part = |start, length| Mapping { start, length };
        (part(start, at), part(middle, length - at))
    }

    /// Gives a part of the memory that nobody has to the system; who gets it next finds other bytes in it.
    fn release(&self, at: usize, length: usize) {
        assert!(at + length <= self.length, "a part of the mapping");
        // SAFETY: the part is inside the mapping, as was just checked, and is plain bytes, of which any are valid.
        unsafe {
            let start = self.start.add(at);
            libc::madvise(start.as_ptr().cast(), length, libc::MADV_DONTNEED);
        }
    }

    /// Makes the memory one huge page, if the system can. That takes milliseconds, for the kernel waits for every processor.
    /// Elsewhere than on Linux this does nothing.
    fn collapse(&self) {
        #[cfg(target_os = "linux")]
        // SAFETY: the advice changes no bytes, only the kind of pages that they are in.
        unsafe {
            libc::madvise(self.start.as_ptr().cast(), self.length, libc::MADV_COLLAPSE);
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.length > 0 {
            // SAFETY: the memory is that of this mapping, and whoever uses it holds the mapping.
            unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
        }
    }
}

/// Memory of one owner: a part of a chunk, or a mapping of its own. What is in it at first is arbitrary.
pub struct Extent {
    start: NonNull<u8>,
    length: usize,
    /// It holds the memory for as long as it is used.
    mapping: Arc<Mapping>,
}

impl Extent {
    /// Memory of its own, `length` bytes that are more than none. `None` if the system has none.
    pub fn new(length: usize) -> Option<Extent> {
        let mapping = Arc::new(Mapping::new(length)?);
        Some(Extent {
            start: mapping.start,
            length,
            mapping,
        })
    }
}

impl Deref for Extent {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: the memory is mapped, readable and initialised by the kernel for as long as `mapping` is held, and no
        // other extent has any of it.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl DerefMut for Extent {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; and this extent is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }
}

struct Chunk {
    mapping: Arc<Mapping>,
    /// A bit for each part that is not given out.
    free: u64,
}

/// Chunks, given out in parts of `PART` bytes, at most 64 to a chunk.
#[derive(Default)]
pub struct Chunks<const PART: usize> {
    /// By their addresses.
    chunks: BTreeMap<usize, Chunk>,
    /// Those with a free part. The first of them is filled first, so that others become empty.
    with_room: BTreeSet<usize>,
    /// The chunk that was filled last. Its last part may not be in use yet.
    filled: Option<usize>,
    /// Chunks that were filled before that, and are to become huge pages.
    due: BTreeSet<usize>,
    /// The chunk that is becoming one, and the thread that sees to it.
    becoming: Option<(usize, JoinHandle<()>)>,
}

impl<const PART: usize> Chunks<PART> {
    const PARTS: usize = CHUNK / PART;
    const ALL_FREE: u64 = u64::MAX >> (64 - Self::PARTS);

    /// Gives out a part; `None` if the system has no memory.
    pub fn part(&mut self) -> Option<Extent> {
        let address = match self.with_room.first() {
            Some(&address) => address,
            None => self.add()?,
        };
        self.due.extend(self.filled.take());
        let chunk = self.chunks.get_mut(&address)?;
        let index = chunk.free.trailing_zeros() as usize;
        chunk.free &= chunk.free - 1;
        if chunk.free == 0 {
            self.with_room.remove(&address);
            self.filled = Some(address);
        }
        let mapping = Arc::clone(&chunk.mapping);
        assert!((index + 1) * PART <= mapping.length, "a part of the chunk");
        // SAFETY: the part lies inside the mapping, as was just checked.
        let start = unsafe { mapping.start.add(index * PART) };
        Some(Extent {
            start,
            length: PART,
            mapping,
        })
    }

    fn add(&mut self) -> Option<usize> {
        let mapping = Arc::new(Mapping::chunk()?);
        let address = mapping.start.addr().get();
        let free = Self::ALL_FREE;
        self.chunks.insert(address, Chunk { mapping, free });
        self.with_room.insert(address);
        Some(address)
    }

    /// Takes an extent back. Its memory goes to the system, also if it has a mapping of its own.
    pub fn give_back(&mut self, extent: Extent) {
        let start = extent.start.addr().get();
        let address = start - start % CHUNK;
        let chunk = self.chunks.get_mut(&address);
        let Some(chunk) = chunk.filter(|chunk| Arc::ptr_eq(&chunk.mapping, &extent.mapping)) else {
            return;
        };
        let at = start - address;
        chunk.free |= 1 << (at / PART);
        self.filled = self.filled.filter(|filled| *filled != address);
        self.due.remove(&address);
        if chunk.free == Self::ALL_FREE {
            self.chunks.remove(&address);
            self.with_room.remove(&address);
        } else {
            self.with_room.insert(address);
            chunk.mapping.release(at, PART);
        }
    }

    /// Reports whether [`Chunks::make_huge`] has something to do.
    pub fn has_due(&self) -> bool {
        match &self.becoming {
            Some((_, thread)) => thread.is_finished(),
            None => !self.due.is_empty(),
        }
    }

    /// Lets a thread make a chunk that is full one huge page, unless the one before it is still at work. The system may have
    /// no memory for that, or no such pages (before Linux 6.1); the chunk stays as it is then.
    pub fn make_huge(&mut self) {
        if !self.has_due() {
            return;
        }
        if let Some((address, _)) = self.becoming.take() {
            self.release_free_parts(address);
        }
        let Some(address) = self.due.pop_first() else {
            return;
        };
        if let Some(chunk) = self.chunks.get(&address) {
            let mapping = Arc::clone(&chunk.mapping);
            let thread = thread::Builder::new().stack_size(STACK);
            let started = thread.spawn(move || mapping.collapse());
            self.becoming = started.ok().map(|thread| (address, thread));
        }
    }

    /// Parts of a chunk that were given back while it became a huge page have memory again, which goes to the system.
    fn release_free_parts(&self, address: usize) {
        let Some(chunk) = self.chunks.get(&address) else {
            return;
        };
        let free = (0..Self::PARTS).filter(|index| chunk.free & (1 << index) != 0);
        free.for_each(|index| chunk.mapping.release(index * PART, PART));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PART: usize = CHUNK / 8;

    fn fill(extent: &mut Extent, mark: u8) {
        extent.fill(mark);
    }

    fn holds(extent: &Extent, mark: u8) -> bool {
        extent.iter().all(|byte| *byte == mark)
    }

    #[test]
    fn parts_are_apart_and_come_back() {
        let mut chunks = Chunks::<PART>::default();
        let mut parts: Vec<Extent> = (0..20).map(|_| chunks.part().expect("memory")).collect();
        for (mark, part) in (1..).zip(&mut parts) {
            fill(part, mark);
        }
        for (mark, part) in (1..).zip(&parts) {
            assert_eq!(part.len(), PART);
            assert!(holds(part, mark), "{mark}");
        }
        assert_eq!(chunks.chunks.len(), 3);
        let mut own = Extent::new(3 * CHUNK).expect("memory");
        fill(&mut own, 99);
        chunks.give_back(own);
        // Of each chunk one part stays.
        let mut seen = BTreeSet::new();
        let (kept, gone): (Vec<_>, Vec<_>) = parts.into_iter().partition(|part| {
            let address = part.start.addr().get();
            seen.insert(address - address % CHUNK)
        });
        gone.into_iter().for_each(|part| chunks.give_back(part));
        assert_eq!((kept.len(), chunks.chunks.len()), (3, 3));
        let marks: Vec<u8> = kept.iter().map(|part| part[PART - 1]).collect();
        let mut again: Vec<Extent> = (0..21).map(|_| chunks.part().expect("memory")).collect();
        assert_eq!(
            chunks.chunks.len(),
            3,
            "the parts that came back are used first"
        );
        again.iter_mut().for_each(|part| fill(part, 77));
        assert!(kept.iter().zip(marks).all(|(part, mark)| holds(part, mark)));
        for part in kept.into_iter().chain(again) {
            chunks.give_back(part);
        }
        assert!(chunks.chunks.is_empty() && chunks.with_room.is_empty());
    }

    #[test]
    fn an_extent_outlives_the_chunks_that_it_came_from() {
        let mut chunks = Chunks::<PART>::default();
        let mut part = chunks.part().expect("memory");
        drop(chunks);
        fill(&mut part, 5);
        assert!(holds(&part, 5));
    }

    /// Waits until the thread has done its work.
    fn wait(chunks: &Chunks<PART>) {
        while !chunks.has_due() {
            thread::yield_now();
        }
    }

    #[test]
    fn a_chunk_keeps_its_bytes_when_it_becomes_a_huge_page() {
        let mut chunks = Chunks::<PART>::default();
        let mut parts: Vec<Extent> = (0..8).map(|_| chunks.part().expect("memory")).collect();
        assert!(!chunks.has_due(), "the last part may not be in use yet");
        for (mark, part) in (1..).zip(&mut parts) {
            fill(part, mark);
        }
        parts.push(chunks.part().expect("memory"));
        assert!(chunks.has_due());
        chunks.make_huge();
        // Meanwhile one is given back.
        chunks.give_back(parts.remove(0));
        wait(&chunks);
        assert!((2..).zip(&parts[..7]).all(|(mark, part)| holds(part, mark)));
        chunks.make_huge();
        assert!(!chunks.has_due() && chunks.becoming.is_none());
        assert!((2..).zip(&parts[..7]).all(|(mark, part)| holds(part, mark)));
    }

    #[test]
    fn a_chunk_is_cut_out_of_a_mapping_that_begins_anywhere() {
        let larger = Mapping::new(4 * CHUNK).expect("memory").aligned_part();
        let next_to_it = Mapping::new(3 * CHUNK).expect("memory");
        for mapping in [larger, next_to_it.split(4096).1.aligned_part()] {
            assert!(mapping.start.addr().get().is_multiple_of(CHUNK));
            assert_eq!(mapping.length, CHUNK);
            let (start, length) = (mapping.start, mapping.length);
            let mapping = Arc::new(mapping);
            let mut extent = Extent {
                start,
                length,
                mapping,
            };
            fill(&mut extent, 3);
            assert!(holds(&extent, 3));
        }
    }

    #[test]
    fn a_chunk_that_has_room_again_is_not_made_huge() {
        let mut chunks = Chunks::<PART>::default();
        let mut parts: Vec<Extent> = (0..9).map(|_| chunks.part().expect("memory")).collect();
        assert!(chunks.has_due());
        chunks.give_back(parts.swap_remove(3));
        assert!(!chunks.has_due());
        let more = (0..9).map(|_| chunks.part().expect("memory"));
        parts.extend(more);
        assert!(chunks.has_due(), "it is full again");
    }
}
