//! A way through all names of the cache, in slices, while the cache goes on changing.

use super::cache::{Cache, Found};
use super::table::{Cursor, Part};
use crate::limits::{NAMES_PER_SLICE, SEGMENTS_PER_SLICE, SORTED_BYTES, SORTED_KEYS};
use smallvec::SmallVec;
use std::collections::BTreeSet;

/// A name that is kept in a sorted set or map. Usual names, and names of clients, need no memory of their own: millions of
/// small blocks that are freed make the allocator slow for a long moment.
pub type KeptName = SmallVec<[u8; 36]>;

/// In the order of the names where they are few and short enough to be sorted, in the table's order otherwise.
/// Names that are there all the time are met exactly once.
pub struct Walk {
    stage: Stage,
    meets: Meets,
    /// The memory of the names that the walk keeps, about, in bytes.
    memory: usize,
}

/// The memory of a name in a sorted set beside its text, about, in bytes.
const PER_NAME: usize = 48;

/// The kinds of entries that a walk meets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Meets {
    Live,
    /// Tombstones as well as live entries.
    All,
}

enum Stage {
    /// Names sorted so far, and where the next are.
    Sorting(BTreeSet<KeptName>, Cursor),
    /// Names still to be met.
    Sorted(BTreeSet<KeptName>),
    /// The rest of one segment of the table, which is still to be met.
    Unsorted(Part),
    Done,
}

impl Walk {
    pub fn sorted_if_few(cache: &Cache, meets: Meets) -> Walk {
        let count = cache.live()
            + if meets == Meets::All {
                cache.tombstones()
            } else {
                0
            };
        if count > SORTED_KEYS {
            return Walk::unsorted(meets);
        }
        Walk {
            stage: Stage::Sorting(BTreeSet::new(), Cursor::default()),
            meets,
            memory: 0,
        }
    }

    pub fn unsorted(meets: Meets) -> Walk {
        Walk {
            stage: Stage::Unsorted(Part::before_all()),
            meets,
            memory: 0,
        }
    }

    /// A walk that meets nothing.
    pub fn over_nothing() -> Walk {
        Walk {
            stage: Stage::Done,
            meets: Meets::All,
            memory: 0,
        }
    }

    /// Returns the memory of the names that the walk keeps, about, in bytes.
    pub fn memory(&self) -> usize {
        self.memory
    }

    /// Computes the result of [`Walk::memory`] again, from the names themselves; for
    /// [`Broker::check`](super::Broker::check).
    pub fn counted_memory(&self) -> usize {
        match &self.stage {
            Stage::Sorting(names, _) | Stage::Sorted(names) => {
                names.iter().map(|name| name.len() + PER_NAME).sum()
            }
            Stage::Unsorted(_) | Stage::Done => 0,
        }
    }

    /// The names that it would still have met, as far as it keeps them.
    pub fn into_names(self) -> BTreeSet<KeptName> {
        match self.stage {
            Stage::Sorting(names, _) | Stage::Sorted(names) => names,
            Stage::Unsorted(_) | Stage::Done => BTreeSet::new(),
        }
    }

    pub fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }

    /// One slice: `visit` meets entries and says how many bytes of output each made, until these are `slice`.
    pub fn advance(
        &mut self,
        cache: &Cache,
        now_us: u64,
        slice: usize,
        mut visit: impl FnMut(Found<'_>) -> usize,
    ) {
        let is_met = |found: &Found<'_>| self.meets == Meets::All || found.value().is_some();
        match &mut self.stage {
            Stage::Sorting(sorted, cursor) => {
                for _ in 0..SEGMENTS_PER_SLICE {
                    let next = cache.visit_segment(*cursor, now_us, |found| {
                        if self.memory <= SORTED_BYTES
                            && is_met(&found)
                            && sorted.insert(found.name().into())
                        {
                            self.memory += found.name().len() + PER_NAME;
                        }
                    });
                    if self.memory > SORTED_BYTES {
                        *self = Walk::unsorted(self.meets);
                        return;
                    }
                    let Some(next) = next else {
                        self.stage = Stage::Sorted(std::mem::take(sorted));
                        return;
                    };
                    *cursor = next;
                }
            }
            Stage::Sorted(rest) => {
                let mut made = 0;
                for _ in 0..NAMES_PER_SLICE {
                    if made >= slice {
                        return;
                    }
                    let Some(name) = rest.pop_first() else {
                        self.stage = Stage::Done;
                        return;
                    };
                    self.memory = self.memory.saturating_sub(name.len() + PER_NAME);
                    // It may be gone by now.
                    made += cache
                        .find(&name, now_us)
                        .filter(is_met)
                        .map_or(0, &mut visit);
                }
            }
            Stage::Unsorted(part) => {
                let (mut made, mut segments) = (0, 0);
                while made < slice {
                    let mut meet = |found: Found<'_>| {
                        if is_met(&found) {
                            made += visit(found);
                        }
                        made < slice
                    };
                    let is_next = cache.visit_next(part, now_us, |found| {
                        meet(found);
                    });
                    if is_next {
                        continue;
                    }
                    let Some(next) = part.next() else {
                        self.stage = Stage::Done;
                        return;
                    };
                    if segments == SEGMENTS_PER_SLICE {
                        return;
                    }
                    segments += 1;
                    *part = cache.begin_part(next, now_us, meet);
                }
            }
            Stage::Done => {}
        }
    }

    /// A name has changed. Whether the walk is still to meet it.
    pub fn will_meet(&mut self, cache: &Cache, name: &[u8]) -> bool {
        match &mut self.stage {
            Stage::Sorting(sorted, _) => {
                if sorted.insert(name.into()) {
                    self.memory += name.len() + PER_NAME;
                }
                true
            }
            Stage::Sorted(rest) => {
                // A new name beyond the next one was not there when the names were sorted.
                let is_ahead = rest.first().is_some_and(|next| **next <= *name);
                if is_ahead && rest.insert(name.into()) {
                    self.memory += name.len() + PER_NAME;
                }
                is_ahead
            }
            Stage::Unsorted(part) => part.is_before(cache.hash(name)),
            Stage::Done => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Settings;
    use crate::protocol::peer::NodeId;
    use ahash::RandomState;
    use std::collections::HashSet;

    const SLICE: usize = 64 * 1024;

    fn cache_of(names: usize, length: usize) -> Cache {
        let hasher = RandomState::with_seeds(1, 2, 3, 4);
        let mut cache = Cache::new(hasher, Settings::default().ageing, None, NodeId(1));
        for number in 0..names {
            let name = format!("{number:0length$}");
            cache.store(name.as_bytes(), b"", 1).expect("room");
        }
        cache
    }

    #[test]
    fn usual_names_that_are_kept_take_no_block_of_memory_each() {
        let cache = cache_of(2_000, 36);
        let mut walk = Walk::sorted_if_few(&cache, Meets::Live);
        while matches!(walk.stage, Stage::Sorting(..)) {
            walk.advance(&cache, 1, SLICE, |_| 0);
        }
        let names = walk.into_names();
        assert_eq!(names.len(), 2_000);
        assert!(names.iter().all(|name| !name.spilled()));
    }

    #[test]
    fn few_names_are_met_in_their_order() {
        let cache = cache_of(2_000, 10);
        let (mut walk, mut met) = (Walk::sorted_if_few(&cache, Meets::Live), Vec::new());
        while !walk.is_done() {
            walk.advance(&cache, 1, SLICE, |found| {
                met.push(found.name().to_vec());
                found.name().len()
            });
        }
        assert_eq!(met.len(), 2_000);
        assert!(met.is_sorted());
    }

    #[test]
    fn of_long_names_little_is_kept_and_little_is_met_at_once() {
        let (names, length) = (300, 50_000);
        let cache = cache_of(names, length);
        let (mut walk, mut met) = (Walk::sorted_if_few(&cache, Meets::Live), HashSet::new());
        while !walk.is_done() {
            let mut made = 0;
            walk.advance(&cache, 1, SLICE, |found| {
                assert!(met.insert(found.name().to_vec()), "met once");
                made += found.name().len();
                found.name().len()
            });
            assert!(made < SLICE + 2 * length, "{made}");
            assert!(walk.memory() <= SORTED_BYTES, "{}", walk.memory());
            assert_eq!(walk.memory(), walk.counted_memory());
        }
        assert_eq!(met.len(), names);
    }

    #[test]
    fn names_that_are_gone_are_passed_over_in_slices() {
        let mut cache = cache_of(2 * NAMES_PER_SLICE, 10);
        let mut walk = Walk::sorted_if_few(&cache, Meets::All);
        while !matches!(walk.stage, Stage::Sorted(_)) {
            walk.advance(&cache, 1, SLICE, |_| 0);
        }
        cache.clear(2);
        for left in [NAMES_PER_SLICE, 0] {
            walk.advance(&cache, 2, SLICE, |_| panic!("nothing is there"));
            assert_eq!(walk.memory(), left * (10 + PER_NAME));
        }
    }
}
