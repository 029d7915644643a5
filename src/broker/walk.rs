//! A way through all names of the cache, in slices, while the cache goes on changing.

use super::cache::{Cache, Found};
use super::table::Cursor;
use crate::limits::{SEGMENTS_PER_SLICE, SORTED_KEYS};
use std::collections::BTreeSet;

/// In the order of the names where they are few enough to be sorted, in the table's order otherwise.
/// Names that are there all the time are met exactly once.
pub struct Walk {
    stage: Stage,
    meets: Meets,
    /// What the names that are kept take, in bytes.
    memory: usize,
}

/// What a name in a sorted set takes beside its text, about.
const PER_NAME: usize = 48;

/// What a walk is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Meets {
    Live,
    /// Tombstones too.
    All,
}

enum Stage {
    /// Names sorted so far, and where the next are.
    Sorting(BTreeSet<Box<[u8]>>, Cursor),
    /// Names still to be met.
    Sorted(BTreeSet<Box<[u8]>>),
    /// Names of one segment of the table that are still to be met, since the rest of it was much, and where the
    /// next segment begins.
    Unsorted(Vec<Box<[u8]>>, Option<Cursor>),
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
            stage: Stage::Unsorted(Vec::new(), Some(Cursor::default())),
            meets,
            memory: 0,
        }
    }

    /// What is kept for it, in bytes.
    pub fn memory(&self) -> usize {
        self.memory
    }

    /// The same, counted anew; for [`Broker::check`](super::Broker::check).
    pub fn counted_memory(&self) -> usize {
        match &self.stage {
            Stage::Sorting(names, _) | Stage::Sorted(names) => {
                names.iter().map(|name| name.len() + PER_NAME).sum()
            }
            Stage::Unsorted(names, _) => names.iter().map(|name| name.len() + PER_NAME).sum(),
            Stage::Done => 0,
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
                        if is_met(&found) && sorted.insert(found.name().into()) {
                            self.memory += found.name().len() + PER_NAME;
                        }
                    });
                    let Some(next) = next else {
                        self.stage = Stage::Sorted(std::mem::take(sorted));
                        return;
                    };
                    *cursor = next;
                }
            }
            Stage::Sorted(rest) => {
                let mut made = 0;
                while made < slice {
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
            Stage::Unsorted(rest, next) => {
                let mut made = 0;
                while made < slice
                    && let Some(name) = rest.pop()
                {
                    self.memory = self.memory.saturating_sub(name.len() + PER_NAME);
                    made += cache
                        .find(&name, now_us)
                        .filter(is_met)
                        .map_or(0, &mut visit);
                }
                for _ in 0..SEGMENTS_PER_SLICE {
                    let Some(cursor) = *next else { break };
                    if made >= slice {
                        break;
                    }
                    *next = cache.visit_segment(cursor, now_us, |found| {
                        if !is_met(&found) {
                            return;
                        }
                        if made < slice {
                            made += visit(found);
                        } else {
                            rest.push(found.name().into());
                            self.memory += found.name().len() + PER_NAME;
                        }
                    });
                }
                if rest.is_empty() && next.is_none() {
                    self.stage = Stage::Done;
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
            Stage::Unsorted(rest, next) => {
                next.is_some_and(|next| !cache.is_behind(next, name))
                    || rest.iter().any(|ahead| **ahead == *name)
            }
            Stage::Done => false,
        }
    }
}
