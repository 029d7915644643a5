//! The names of KEYLIST, in slices, while the cache goes on changing.
//!
//! Few and short names are met in their order. They are not all kept for that, since a client may ask on many
//! connections and read nothing: each pass through the table selects the names that come next.

use super::cache::{Cache, Found};
use super::table::Cursor;
use super::walk::{Meets, Walk};
use crate::limits::{
    NAMES_PER_SLICE, SEGMENTS_PER_SLICE, SELECTED_BYTES, SORTED_KEY_BYTES, SORTED_KEYS,
};
use std::collections::BinaryHeap;

/// Names that are there all the time are met exactly once.
pub struct KeyList {
    stage: Stage,
    /// The name that was met last in order: only those behind it are still to be met.
    last: Option<Box<[u8]>>,
}

enum Stage {
    /// A pass through the table, and where it goes on.
    Selecting(Selection, Cursor),
    /// Names that were selected, the next one at the end.
    Selected {
        names: Vec<Box<[u8]>>,
        bytes: usize,
        is_last_pass: bool,
    },
    /// There are many names, or long ones.
    Unsorted(Walk),
    Done,
}

/// The first names, in order, of those that a pass has seen.
#[derive(Default)]
struct Selection {
    names: BinaryHeap<Box<[u8]>>,
    /// The memory of the names, about, in bytes.
    bytes: usize,
    /// The first name that found no room: it is left to the next pass, with all names after it in order.
    bound: Option<Box<[u8]>>,
    /// Bytes of all names that the pass has seen.
    seen: usize,
}

/// The memory of a selected name beside its text, about, in bytes.
const PER_NAME: usize = 48;

impl Selection {
    fn add(&mut self, name: &[u8]) {
        if self.bound.as_ref().is_some_and(|bound| **bound <= *name) {
            return;
        }
        self.names.push(name.into());
        self.bytes += name.len() + PER_NAME;
        while self.bytes > SELECTED_BYTES
            && self.names.len() > 1
            && let Some(name) = self.names.pop()
        {
            self.bytes -= name.len() + PER_NAME;
            self.bound = Some(name);
        }
    }

    fn memory(&self) -> usize {
        self.bytes + self.bound.as_ref().map_or(0, |bound| bound.len())
    }
}

impl KeyList {
    pub fn new(cache: &Cache) -> KeyList {
        let stage = match cache.live() > SORTED_KEYS {
            true => Stage::Unsorted(Walk::unsorted(Meets::Live)),
            false => Stage::Selecting(Selection::default(), Cursor::default()),
        };
        KeyList { stage, last: None }
    }

    pub fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }

    /// Returns the memory of the names that the listing keeps, about, in bytes.
    pub fn memory(&self) -> usize {
        let stage = match &self.stage {
            Stage::Selecting(selection, _) => selection.memory(),
            Stage::Selected { bytes, .. } => *bytes,
            Stage::Unsorted(walk) => walk.memory(),
            Stage::Done => 0,
        };
        stage + self.last.as_ref().map_or(0, |last| last.len())
    }

    /// Computes the result of [`KeyList::memory`] again, from the names themselves; for
    /// [`Broker::check`](super::Broker::check).
    pub fn counted_memory(&self) -> usize {
        let of = |name: &[u8]| name.len() + PER_NAME;
        let (names, bound): (usize, _) = match &self.stage {
            Stage::Selecting(selection, _) => {
                let names = selection.names.iter();
                (names.map(|name| of(name)).sum(), &selection.bound)
            }
            Stage::Selected { names, .. } => (names.iter().map(|name| of(name)).sum(), &None),
            Stage::Unsorted(walk) => (walk.counted_memory(), &None),
            Stage::Done => (0, &None),
        };
        let others = [bound, &self.last].into_iter().flatten();
        names + others.map(|name| name.len()).sum::<usize>()
    }

    /// One slice: `visit` meets entries and returns how many bytes of output each made, until these are `slice`.
    pub fn advance(
        &mut self,
        cache: &Cache,
        now_us: u64,
        slice: usize,
        mut visit: impl FnMut(Found<'_>) -> usize,
    ) {
        let KeyList { stage, last } = self;
        match stage {
            Stage::Selecting(selection, cursor) => {
                let end = select(cache, now_us, last.as_deref(), selection, cursor);
                // Nothing was met yet: the order is still free.
                if last.is_none() && selection.seen > SORTED_KEY_BYTES {
                    *stage = Stage::Unsorted(Walk::unsorted(Meets::Live));
                } else if end {
                    let Selection {
                        names,
                        bytes,
                        bound,
                        ..
                    } = std::mem::take(selection);
                    let mut names = names.into_sorted_vec();
                    names.reverse();
                    *stage = Stage::Selected {
                        names,
                        bytes,
                        is_last_pass: bound.is_none(),
                    };
                }
            }
            Stage::Selected {
                names,
                bytes,
                is_last_pass,
            } => {
                let mut made = 0;
                for _ in 0..NAMES_PER_SLICE {
                    if made >= slice {
                        return;
                    }
                    let Some(name) = names.pop() else {
                        *stage = match *is_last_pass {
                            true => Stage::Done,
                            // So many came meanwhile that a pass for some of them would take long.
                            false if cache.live() > 2 * SORTED_KEYS => {
                                Stage::Unsorted(Walk::unsorted(Meets::Live))
                            }
                            false => Stage::Selecting(Selection::default(), Cursor::default()),
                        };
                        return;
                    };
                    *bytes -= name.len() + PER_NAME;
                    // It may be gone by now.
                    let found = cache.find(&name, now_us);
                    let found = found.filter(|found| found.value().is_some());
                    made += found.map_or(0, &mut visit);
                    *last = Some(name);
                }
            }
            Stage::Unsorted(walk) => {
                let is_met = |name: &[u8]| last.as_ref().is_none_or(|last| **last < *name);
                walk.advance(cache, now_us, slice, |found| match is_met(found.name()) {
                    true => visit(found),
                    false => 0,
                });
                if walk.is_done() {
                    *stage = Stage::Done;
                    *last = None;
                }
            }
            Stage::Done => {}
        }
    }
}

/// Goes on with a pass, one slice. Whether it has come to its end.
fn select(
    cache: &Cache,
    now_us: u64,
    last: Option<&[u8]>,
    selection: &mut Selection,
    cursor: &mut Cursor,
) -> bool {
    for _ in 0..SEGMENTS_PER_SLICE {
        let next = cache.visit_segment(*cursor, now_us, |found| {
            if found.value().is_none() || selection.seen > SORTED_KEY_BYTES && last.is_none() {
                return;
            }
            selection.seen += found.name().len();
            if last.is_none_or(|last| *last < *found.name()) {
                selection.add(found.name());
            }
        });
        let Some(next) = next else {
            return true;
        };
        *cursor = next;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Settings;
    use crate::limits::LISTING_SLICE;
    use crate::protocol::peer::NodeId;
    use ahash::RandomState;
    use std::collections::HashSet;

    fn cache_of(names: impl IntoIterator<Item = String>) -> Cache {
        let hasher = RandomState::with_seeds(1, 2, 3, 4);
        let mut cache = Cache::new(hasher, Settings::default().ageing, None, NodeId(1));
        for name in names {
            cache.store(name.as_bytes(), b"", 1).expect("room");
        }
        cache
    }

    /// Meets all names; `between` is called after each slice. Returns the names, and the most memory that was kept.
    fn list(cache: &mut Cache, mut between: impl FnMut(&mut Cache, usize)) -> (Vec<String>, usize) {
        let (mut list, mut met, mut most) = (KeyList::new(cache), Vec::new(), 0);
        while !list.is_done() {
            let mut made = 0;
            list.advance(cache, 2, LISTING_SLICE, |found| {
                met.push(String::from_utf8(found.name().to_vec()).expect("text"));
                made += found.name().len();
                found.name().len()
            });
            assert!(made < 3 * LISTING_SLICE, "a slice is a slice");
            assert_eq!(list.memory(), list.counted_memory());
            most = most.max(list.memory());
            between(cache, met.len());
        }
        (met, most)
    }

    #[test]
    fn few_names_are_met_in_their_order_and_few_of_them_are_kept() {
        for (count, length) in [(0, 1), (1, 5), (2_000, 10), (SORTED_KEYS, 50), (50, 10_000)] {
            let names: Vec<_> = (0..count)
                .map(|number| format!("{number:0length$}"))
                .collect();
            let (met, most) = list(&mut cache_of(names.clone()), |_, _| {});
            assert!(met == names, "{count} names of {length} bytes");
            assert!(most <= SELECTED_BYTES + 2 * (length + PER_NAME), "{most}");
        }
    }

    #[test]
    fn many_or_long_names_are_met_once_each_and_none_is_kept() {
        for (count, length) in [(SORTED_KEYS + 1, 10), (SORTED_KEYS, 53), (300, 50_000)] {
            let names: HashSet<_> = (0..count)
                .map(|number| format!("{number:0length$}"))
                .collect();
            let (met, most) = list(&mut cache_of(names.clone()), |_, _| {});
            assert_eq!(met.len(), count);
            assert!(met.into_iter().collect::<HashSet<_>>() == names);
            assert!(most <= SELECTED_BYTES + 2 * (length + PER_NAME), "{most}");
        }
    }

    #[test]
    fn what_stays_is_met_once_while_much_comes_and_goes() {
        let stays = || (0..5_000).map(|number| format!("stays {number:05}"));
        for more in [2_000, 60_000] {
            let goes = (0..2_000).map(|number| format!("goes {number}"));
            let mut cache = cache_of(stays().chain(goes));
            let mut slices = 0;
            let (met, _) = list(&mut cache, |cache, met| {
                if met == 0 {
                    return;
                }
                slices += 1;
                if slices == 1 {
                    for number in 0..more {
                        let name = format!("{number:07}");
                        cache.store(name.as_bytes(), b"", 2).expect("room");
                        let name = format!("stays 00000 {number:07}");
                        cache.store(name.as_bytes(), b"", 2).expect("room");
                    }
                    for number in 0..2_000 {
                        let name = format!("goes {number}");
                        cache.remove(name.as_bytes(), 2).expect("room");
                    }
                }
            });
            let mut once = HashSet::new();
            assert!(met.iter().all(|name| once.insert(name.clone())), "met once");
            assert!(stays().all(|name| once.contains(&name)));
        }
    }
}
