//! Counters: the steps made at this node, the share id that they are counted under, and the folding of shares that are
//! old. How shares fold: `share`. How states of a counter meet: `merge`.

use super::attributes::Kept;
use super::blocks::Block;
use super::entry::{self, Counter, Entry};
use super::header::{self, Kind};
use super::share::{self, age_us};
use super::{Cache, Dropped, EntryId, TooLarge, Written, WrittenPart};
use crate::limits::{MANY_CONTRIBUTIONS, SECOND_US, WORK_PER_CONTRIBUTION};
use crate::protocol::number::Number;
use crate::protocol::peer::{Contribution, ShareId, Stamp};

/// The result of INCREMENT or DECREMENT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Added {
    /// The write that was done. It names the share of the step as the only change if the entry existed before with the
    /// same register.
    pub written: Written,
    /// The work of the step, in bytes, beyond the bytes of its line; see [`limits`](crate::limits).
    pub work: usize,
}

/// An entry that is a counter, to be put into the cache.
pub(super) struct Counting {
    pub kind: Kind,
    pub stamp: Stamp,
    pub accessed_us: u64,
    pub counter: Counter,
    pub kept: Option<Kept>,
}

impl Counting {
    /// The counter that an entry is, or the one that begins from its value.
    pub fn of(entry: Entry<'_>) -> Counting {
        let kept = entry.kept().map(|kept| Kept {
            // A counter knows when it changed.
            changed_us: None,
            ..kept
        });
        Counting {
            kind: entry.kind(),
            stamp: entry.stamp(),
            accessed_us: entry.accessed_us(),
            counter: entry.counter(),
            kept: kept.filter(|kept| !kept.is_empty()),
        }
    }

    /// A counter that begins from a value, or from nothing.
    fn new(kind: Kind, stamp: Stamp, base: &[u8]) -> Counting {
        Counting {
            kind,
            stamp,
            accessed_us: 0,
            counter: Counter::new(base),
            kept: None,
        }
    }
}

impl Cache {
    /// Adds `step` to this node's contribution to the counter. If this node needs a new share id for it, that one
    /// begins at `begun_us`.
    pub fn add(
        &mut self,
        name: &[u8],
        step: Number,
        now_us: u64,
        begun_us: u64,
    ) -> Result<Added, TooLarge> {
        if self.own_share.is_due(now_us, self.folded, &self.ageing) {
            self.begin_share(begun_us);
        }
        let block = self.block(name);
        if let Some(added) = block.and_then(|block| self.add_in_place(block, step, now_us)) {
            return added;
        }
        let mut counting = self.begin_counting(block, now_us);
        let held = block.map(|block| Entry::new(&self.blocks, block));
        let had_register = held.is_some_and(|entry| entry.stamp() == counting.stamp);
        let held_us = held.map_or(0, Entry::accessed_us);
        counting.accessed_us = held_us.max(now_us);
        let version = self.new_stamp(now_us).time_us;
        let share = self.own_share.step(version).expect("an id was begun above");
        let counter = &mut counting.counter;
        counter.changed_us = version;
        share::fold(&mut counter.contributions, self.folded);
        let contributions = &mut counter.contributions;
        match contributions.binary_search_by_key(&share, |contribution| contribution.share) {
            Ok(at) => {
                contributions[at].version = version;
                contributions[at].sum = contributions[at].sum.accumulate(step);
            }
            Err(at) => contributions.insert(
                at,
                Contribution {
                    share,
                    version,
                    sum: step,
                },
            ),
        }
        let work = counter.work + contributions.len() * WORK_PER_CONTRIBUTION;
        let entry = self.put_counter(name, &counting)?;
        let part = match had_register {
            true => WrittenPart::Share(share),
            false => WrittenPart::All,
        };
        let written = Written { entry, part };
        Ok(Added { written, work })
    }

    /// The counter that a step is added to: the one in that block, or a new one.
    fn begin_counting(&mut self, block: Option<Block>, now_us: u64) -> Counting {
        let held = block.map(|block| Entry::new(&self.blocks, block));
        let (kind, base) = match held {
            None => return Counting::new(Kind::Absent, self.cleared, b""),
            Some(entry) => match self.expired(entry, now_us) {
                // It was not folded for so long that its state has become large.
                None if entry.has_many_contributions(MANY_CONTRIBUTIONS) => {
                    (Kind::Value, entry.value().to_vec())
                }
                None => return Counting::of(entry),
                Some(Dropped::Cleared) => {
                    return Counting::new(Kind::Absent, self.cleared, b"");
                }
                // Others may not have let it expire yet: it takes a newer stamp to start anew.
                Some(_) => (Kind::Absent, Vec::new()),
            },
        };
        let kept = match kind {
            Kind::Value => held.and_then(Entry::kept),
            Kind::Absent | Kind::Removed => None,
        };
        Counting {
            kept,
            ..Counting::new(kind, self.new_stamp(now_us), &base)
        }
    }

    /// Adds to the contribution that a counter has of this node, where nothing else changes; `None` if there is
    /// more to do.
    fn add_in_place(
        &mut self,
        block: Block,
        step: Number,
        now_us: u64,
    ) -> Option<Result<Added, TooLarge>> {
        let entry = Entry::new(&self.blocks, block);
        let (own, _) = self.own_share.in_use()?;
        let (at, held) = entry.contribution_of(own)?;
        if entry.has_many_contributions(MANY_CONTRIBUTIONS)
            || entry.begun_before(self.folded.time_us) > 0
            || self.expired(entry, now_us).is_some()
        {
            return None;
        }
        // All of them are added up for the value.
        let work = entry.contributions_count() * WORK_PER_CONTRIBUTION;
        let version = self.new_stamp(now_us).time_us;
        let share = self.own_share.step(version)?;
        let changed = Contribution {
            share,
            version,
            sum: held.sum.accumulate(step),
        };
        let put = self.put_contribution(block, at, &changed, version, now_us);
        Some(put.map(|written| Added { written, work }))
    }

    /// Replaces the contribution at that place of a counter, and the counter's value.
    pub(super) fn put_contribution(
        &mut self,
        block: Block,
        at: usize,
        changed: &Contribution,
        changed_us: u64,
        accessed_us: u64,
    ) -> Result<Written, TooLarge> {
        let value = entry::put_contribution(&mut self.blocks, block, at, changed, changed_us);
        let entry = Entry::new(&self.blocks, block);
        let length = entry.length_with_value(value.text().len());
        let size = self.blocks.get(block).len();
        let entry = if length.is_some_and(|length| self.blocks.size_for(length) == size) {
            entry::put_value(&mut self.blocks, block, value.text());
            header::note_use(&mut self.blocks, block, accessed_us);
            EntryId(block)
        } else {
            let mut counting = Counting::of(entry);
            counting.accessed_us = accessed_us.max(entry.accessed_us());
            let name: Box<[u8]> = entry.name().into();
            self.put_counter(&name, &counting)?
        };
        let part = WrittenPart::Share(changed.share);
        Ok(Written { entry, part })
    }

    /// Draws a share id that begins at `begun_us`, or behind the marker if that is later: what begins before the marker
    /// is folded at once.
    fn begin_share(&mut self, begun_us: u64) {
        self.drawn += 1;
        let random = self.hasher.hash_one((self.node, self.drawn)) as u32;
        let begun_us = match self.folded.time_us {
            0 => begun_us,
            marker_us => begun_us.max(marker_us.saturating_add(SECOND_US)),
        };
        self.own_share.begin(ShareId::new(begun_us, random));
    }

    /// The share id that this node counts under and the version of its last step, if it has counted.
    pub fn own_share(&self) -> Option<(ShareId, u64)> {
        self.own_share.in_use()
    }

    /// Goes on with the share id of an earlier run of this node, whose last step had that version.
    pub fn resume_share(&mut self, share: ShareId, newest_us: u64) {
        self.newest_us = self.newest_us.max(newest_us);
        self.own_share.resume(share, newest_us);
    }

    /// Reports whether this node has given up its share id since the last call because another node counts under it.
    pub fn take_share_contest(&mut self) -> bool {
        self.own_share.take_contest()
    }

    /// The marker; the default stamp if nothing was ever folded.
    pub fn folded(&self) -> Stamp {
        self.folded
    }

    /// Moves the marker on, if it is a later one: the shares of all runs that began before it are folded, each as
    /// soon as its counter is touched. Whether it is.
    pub fn merge_fold(&mut self, marker: Stamp) -> bool {
        let is_news = marker > self.folded;
        self.folded = self.folded.max(marker);
        is_news
    }

    /// Where the marker may be now: before the beginning of each share that has changed within the deleted time.
    pub fn next_marker(&self, now_us: u64) -> Stamp {
        Stamp {
            time_us: now_us.saturating_sub(age_us(&self.ageing)),
            node: self.node,
        }
    }

    /// Reports whether [`Cache::age_slice`] has found, since the last call, a share that is not folded and that
    /// [`Cache::next_marker`] includes.
    pub fn take_old_shares(&mut self) -> bool {
        std::mem::take(&mut self.has_old_shares)
    }

    /// Folds the old shares of a counter. That is no change to tell of: whoever else has the state folds it too.
    pub(super) fn fold_counter(&mut self, name: &[u8]) {
        let Some(entry) = self.entry(name).filter(|entry| entry.is_counter()) else {
            return;
        };
        let mut counting = Counting::of(entry);
        share::fold(&mut counting.counter.contributions, self.folded);
        let folded = self.put_counter(name, &counting);
        debug_assert!(folded.is_ok(), "what is folded takes less room than before");
    }
}
