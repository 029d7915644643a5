//! The merging of two states of a name: the state that is held here, and one that comes from a peer or the journal.
//!
//! States of the same name on different nodes merge to the same result in whatever order and however
//! often they meet: the register with the newest stamp wins; of a register's counter contributions
//! the newest of each share counts, and old shares are folded into one; and nothing older than the newest clear
//! is left.

use super::attributes::Kept;
use super::blocks::Block;
use super::counter::Counting;
use super::entry::{Counter, Entry};
use super::header::{self, Kind};
use super::{Cache, Dropped, EntryId, TooLarge, Written, WrittenPart, share, touch};
use crate::broker::table::Cursor;
use crate::limits::MAX_CONTRIBUTIONS;
use crate::protocol::number::Number;
use crate::protocol::peer::{Contribution, Register, ShareId, Stamp, State};
use std::borrow::Cow;
use std::cmp::Ordering;

/// The result of [`Cache::merge`].
#[derive(Debug, Clone, PartialEq)]
pub struct Merged {
    pub effect: Effect,
    /// The write that was done; `None` without an effect.
    pub written: Option<Written>,
    /// True if the sender does not know the state that this node has of the name after the merge.
    pub differs: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    None,
    /// There is another register now.
    Register,
    /// Contributions grew by these amounts.
    Counter(Vec<Number>),
    /// The value is what it was, but expires at another time, is out of date, or a client was told to renew it.
    Attributes,
}

impl Merged {
    /// Nothing has changed.
    pub fn nothing(differs: bool) -> Merged {
        Merged {
            effect: Effect::None,
            written: None,
            differs,
        }
    }
}

/// The result of [`Cache::merge_contribution`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Counted {
    /// Nothing was new.
    Nothing,
    /// The contribution replaced an older one, and the counter grew by this amount.
    Grown(Number, Written),
    /// There is no such entry here.
    Unknown,
    /// The entry here has another register, a newer contribution, or one that is folded.
    Differs,
}

/// The schedule of the passes that search the cache for cleared entries while it is restored. They are so rare that all
/// passes together take no longer than restoring the entries, however many CLEARCACHEs were recorded.
#[derive(Debug, Default)]
pub(super) struct Restoring {
    /// The number of entries put into the cache since the last pass.
    entries: usize,
    /// True if the cache may contain cleared entries.
    has_cleared: bool,
}

/// A segment of the table is looked through in about the time that so many entries take to be restored.
const ENTRIES_PER_SEGMENT: usize = 32;

impl Restoring {
    fn is_due(&self, segments: usize) -> bool {
        // One segment always costs little.
        self.has_cleared && self.entries >= (segments - 1) * ENTRIES_PER_SEGMENT
    }
}

impl Cache {
    /// Learns of a CLEARCACHE elsewhere; whether it was news. What is older is not found any more,
    /// and dropped by the next walk of [`Cache::age_slice`].
    pub fn merge_clear(&mut self, stamp: Stamp) -> bool {
        self.newest_us = self.newest_us.max(stamp.time_us);
        let is_news = stamp > self.cleared;
        self.cleared = self.cleared.max(stamp);
        is_news
    }

    /// Learns what another node has of a name.
    pub fn merge(
        &mut self,
        name: &[u8],
        state: &State<'_>,
        now_us: u64,
    ) -> Result<Merged, TooLarge> {
        self.newest_us = self.newest_us.max(state.stamp.time_us);
        if state.stamp < self.cleared {
            return Ok(Merged::nothing(true));
        }
        let state = self.folded_state(state);
        let state = state.as_ref();
        self.compare_own_share(name, state.stamp, &state.contributions);
        let entry = self.entry(name);
        let held_version = entry.map_or(0, Entry::version);
        let held = entry.filter(|entry| !self.is_forgotten(*entry, now_us));
        let is_unknown = held.is_none();
        // A value that was only marked as out of date.
        let is_same_value = state.attributes.marks.stale
            && held
                .is_some_and(|held| held.holds_value() && held.value() == state.register.value());
        let order = held.map_or(Ordering::Greater, |entry| state.stamp.cmp(&entry.stamp()));
        match order {
            Ordering::Less => Ok(Merged::nothing(true)),
            Ordering::Equal => self.merge_same_register(name, state, now_us),
            Ordering::Greater => {
                if is_unknown && self.is_past_its_time(state, now_us) {
                    return Ok(Merged::nothing(false));
                }
                let changed_us = self.changed_us_of(held_version, state, now_us);
                let accessed_us = state.accessed_us.min(now_us);
                let entry = self.put_state(name, state, accessed_us, changed_us)?;
                // A counter that begins is told as its steps, for others may begin it as well.
                let begins = state.register == Register::Absent && is_unknown;
                let sums = state.contributions.iter().map(|theirs| theirs.sum);
                Ok(Merged {
                    effect: match begins {
                        true => Effect::Counter(sums.collect()),
                        false if is_same_value => Effect::Attributes,
                        false => Effect::Register,
                    },
                    written: Some(entry.into()),
                    differs: false,
                })
            }
        }
    }

    /// Reports whether a state is a tombstone that is not kept any more, or an expired value whose tombstone would not be.
    fn is_past_its_time(&self, state: &State<'_>, now_us: u64) -> bool {
        let ended_us = match state.attributes.expires_us {
            Some(expires_us) => expires_us,
            None if state.holds_value() => return false,
            None => state.stamp.time_us,
        };
        now_us.saturating_sub(ended_us) > self.ageing.deleted_us
    }

    /// When a state that comes changes the name here: at the time in its stamp, unless the entry that is here has a later
    /// version, or the state is a counter, whose changes have no stamp.
    fn changed_us_of(&mut self, held_version: u64, state: &State<'_>, now_us: u64) -> u64 {
        match state.contributions.is_empty() && state.stamp.time_us > held_version {
            true => state.stamp.time_us,
            false => self.draw_time(now_us),
        }
    }

    /// Of two states with the same register, which may have been touched and counted differently.
    fn merge_same_register(
        &mut self,
        name: &[u8],
        state: &State<'_>,
        now_us: u64,
    ) -> Result<Merged, TooLarge> {
        let held = self.block(name);
        let entry = held.map(|block| Entry::new(&self.blocks, block));
        let Some((block, entry)) = held.zip(entry) else {
            return Ok(Merged::nothing(false));
        };
        if !entry.has_attributes() && state.attributes.is_empty() {
            return self.merge_contributions(name, state, now_us);
        }
        let ours = entry.attributes();
        let has_ended_here = !entry.holds_value() && ours.expires_us.is_some();
        let has_ended_there = !state.holds_value() && state.attributes.expires_us.is_some();
        let both = touch::merged(ours, &state.attributes);
        let has_expired = both.has_expired(now_us);
        let lacks_touch = touch::says_less(&state.attributes, &both, now_us);
        if has_ended_here && !has_ended_there && !has_expired {
            // A touch that this node had not heard of has kept the value alive.
            let (changed_us, mut state) = (self.draw_time(now_us), state.clone());
            state.attributes = both;
            let entry = self.put_state(name, &state, state.accessed_us.min(now_us), changed_us)?;
            return Ok(Merged {
                effect: Effect::Register,
                written: Some(entry.into()),
                differs: lacks_touch,
            });
        }
        let touched = match both == ours {
            true => None,
            false => Some(self.change_attributes(block, |attributes| *attributes = both)?),
        };
        let mut merged = match has_ended_here == has_ended_there {
            true => self.merge_contributions(name, state, now_us)?,
            // One of the two has the tombstone that the other's value is to become, or is not.
            false => Merged::nothing(has_ended_there && !has_expired),
        };
        merged.differs |= lacks_touch;
        match (&merged.effect, touched) {
            (_, None) => {}
            (Effect::None, Some(_)) => {
                (merged.effect, merged.written) = (Effect::Attributes, touched)
            }
            (_, Some(_)) => {
                if let Some(written) = &mut merged.written {
                    written.part = WrittenPart::All;
                }
            }
        }
        Ok(merged)
    }

    /// Of two states of a counter with the same register.
    fn merge_contributions(
        &mut self,
        name: &[u8],
        state: &State<'_>,
        now_us: u64,
    ) -> Result<Merged, TooLarge> {
        let mut grown = Vec::new();
        let mut differs = false;
        let accessed_us = state.accessed_us.min(now_us);
        if state.contributions.is_empty() {
            if let Some(block) = self.block(name) {
                differs = Entry::without_text(&self.blocks, block).is_counter();
                header::note_use(&mut self.blocks, block, accessed_us);
            }
            return Ok(Merged::nothing(differs));
        }
        let Some(entry) = self.entry(name) else {
            return Ok(Merged::nothing(differs));
        };
        let mut counting = Counting::of(entry);
        let accessed_us = accessed_us.max(entry.accessed_us());
        counting.accessed_us = accessed_us;
        let contributions = &mut counting.counter.contributions;
        share::fold(contributions, self.folded);
        let ours = std::mem::take(contributions);
        let mut merged = Vec::with_capacity(ours.len().max(state.contributions.len()));
        let mut ours = ours.into_iter().peekable();
        // Both are in the order of the share ids.
        for theirs in &state.contributions {
            while let Some(before) = ours.next_if(|ours| ours.share < theirs.share) {
                merged.push(before);
            }
            match ours.next_if(|ours| ours.share == theirs.share) {
                Some(ours) if !theirs.supersedes(&ours) => {
                    differs |= ours.supersedes(theirs);
                    merged.push(ours);
                }
                ours => {
                    let former = ours.map_or(Number::ZERO, |ours| ours.sum);
                    grown.push((theirs.share, theirs.sum.accumulate(-former)));
                    merged.push(*theirs);
                }
            }
        }
        merged.extend(ours);
        differs |= merged.len() > state.contributions.len();
        if grown.is_empty() || merged.len() > MAX_CONTRIBUTIONS {
            // No honest servers have made so many shares.
            if let Some(block) = self.block(name) {
                header::note_use(&mut self.blocks, block, accessed_us);
            }
            return Ok(Merged::nothing(differs && grown.is_empty()));
        }
        counting.counter.contributions = merged;
        counting.counter.changed_us = self.draw_time(now_us);
        let entry = self.put_counter(name, &counting)?;
        let part = match grown[..] {
            [(share, _)] if !self.is_old_share(share, now_us) => WrittenPart::Share(share),
            _ => WrittenPart::All,
        };
        let steps = grown.into_iter().map(|(_, step)| step).collect();
        Ok(Merged {
            effect: Effect::Counter(steps),
            written: Some(Written { entry, part }),
            differs,
        })
    }

    /// Learns one contribution to the counter that has that stamp.
    pub fn merge_contribution(
        &mut self,
        name: &[u8],
        stamp: Stamp,
        accessed_us: u64,
        theirs: &Contribution,
        now_us: u64,
    ) -> Result<Counted, TooLarge> {
        self.newest_us = self.newest_us.max(stamp.time_us);
        if stamp < self.cleared {
            return Ok(Counted::Nothing);
        }
        self.compare_own_share(name, stamp, std::slice::from_ref(theirs));
        let block = self.block(name);
        let entry = block.map(|block| Entry::new(&self.blocks, block));
        let Some((block, entry)) = block
            .zip(entry)
            .filter(|(_, entry)| !self.is_forgotten(*entry, now_us))
        else {
            return Ok(Counted::Unknown);
        };
        if entry.stamp() != stamp || self.is_old_share(theirs.share, now_us) {
            return Ok(Counted::Differs);
        }
        let held = entry.contribution_of(theirs.share);
        if let Some((_, ours)) = held
            && !theirs.supersedes(&ours)
        {
            return Ok(match ours.supersedes(theirs) {
                true => Counted::Differs,
                false => Counted::Nothing,
            });
        }
        let former = held.map_or(Number::ZERO, |(_, ours)| ours.sum);
        let is_in_place = entry.begun_before(self.folded.time_us) == 0;
        let (accessed_us, changed_us) = (accessed_us.min(now_us), self.draw_time(now_us));
        let written = match held {
            Some((at, _)) if is_in_place => {
                Some(self.put_contribution(block, at, theirs, changed_us, accessed_us)?)
            }
            _ => self.insert_contribution(block, name, theirs, changed_us, accessed_us)?,
        };
        let step = theirs.sum.accumulate(-former);
        Ok(written.map_or(Counted::Nothing, |written| Counted::Grown(step, written)))
    }

    /// Reports whether a share is folded here, or may be at others by the time that they hear of it: what it has added
    /// is only known of the whole state then.
    fn is_old_share(&self, share: ShareId, now_us: u64) -> bool {
        let marker_us = self.folded.time_us.max(self.next_marker(now_us).time_us);
        share == ShareId::FOLDED || share.begun_us() < marker_us
    }

    /// Puts a contribution into an entry as a whole, folded; `None` if there is no room for it.
    fn insert_contribution(
        &mut self,
        block: Block,
        name: &[u8],
        theirs: &Contribution,
        changed_us: u64,
        accessed_us: u64,
    ) -> Result<Option<Written>, TooLarge> {
        let entry = Entry::new(&self.blocks, block);
        let mut counting = Counting::of(entry);
        counting.accessed_us = accessed_us.max(entry.accessed_us());
        let contributions = &mut counting.counter.contributions;
        share::fold(contributions, self.folded);
        match contributions.binary_search_by_key(&theirs.share, |ours| ours.share) {
            Ok(at) => contributions[at] = *theirs,
            Err(_) if contributions.len() >= MAX_CONTRIBUTIONS => return Ok(None),
            Err(at) => contributions.insert(at, *theirs),
        }
        counting.counter.changed_us = changed_us;
        let entry = self.put_counter(name, &counting)?;
        let part = WrittenPart::Share(theirs.share);
        Ok(Some(Written { entry, part }))
    }

    /// A state as it is once the marker known here was applied to it.
    fn folded_state<'a, 'b>(&self, state: &'a State<'b>) -> Cow<'a, State<'b>> {
        if !share::is_foldable(&state.contributions, self.folded) {
            return Cow::Borrowed(state);
        }
        let mut state = state.clone();
        share::fold(&mut state.contributions, self.folded);
        Cow::Owned(state)
    }

    /// Sees whether others count under this node's share id.
    fn compare_own_share(&mut self, name: &[u8], stamp: Stamp, theirs: &[Contribution]) {
        if theirs.is_empty() {
            return;
        }
        let own = self.own_share.in_use();
        let held = self
            .entry(name)
            .filter(|entry| entry.stamp() == stamp)
            .zip(own)
            .and_then(|(entry, (own, _))| entry.contribution_of(own));
        let held = held.map(|(_, contribution)| contribution);
        self.own_share.compare(theirs, held);
    }

    /// Reports whether an entry counts as forgotten, dropped or not: it is older than the newest CLEARCACHE, or a
    /// tombstone older than the deleted time.
    pub(super) fn is_forgotten(&self, entry: Entry<'_>, now_us: u64) -> bool {
        matches!(
            self.expired(entry, now_us),
            Some(Dropped::Cleared | Dropped::Deleted)
        )
    }

    /// Takes what is said of a name for all there is of it: it was recorded here.
    pub fn restore(
        &mut self,
        name: &[u8],
        state: &State<'_>,
        changed_us: u64,
    ) -> Result<(), TooLarge> {
        self.newest_us = self.newest_us.max(state.stamp.time_us).max(changed_us);
        self.restoring.entries += 1;
        self.drop_cleared_if_due();
        self.put_state(name, state, state.accessed_us, changed_us)?;
        Ok(())
    }

    /// Takes what is said of one contribution, unless the entry it was recorded of is not there.
    pub fn restore_contribution(
        &mut self,
        name: &[u8],
        stamp: Stamp,
        accessed_us: u64,
        changed_us: u64,
        contribution: &Contribution,
    ) -> Result<(), TooLarge> {
        self.newest_us = self.newest_us.max(changed_us);
        let Some(block) = self.block(name) else {
            return Ok(());
        };
        let entry = Entry::new(&self.blocks, block);
        let held = entry.contribution_of(contribution.share);
        let is_older = held.is_some_and(|(_, held)| !contribution.supersedes(&held));
        if entry.stamp() != stamp || stamp < self.cleared || is_older {
            return Ok(());
        }
        match held {
            Some((at, _)) => {
                self.put_contribution(block, at, contribution, changed_us, accessed_us)?;
            }
            None => {
                self.insert_contribution(block, name, contribution, changed_us, accessed_us)?;
            }
        }
        Ok(())
    }

    /// Takes in a CLEARCACHE that was recorded here. Entries that are older count as not there from now on. They are
    /// dropped soon, or else they would push out entries that come after them.
    pub fn restore_clear(&mut self, stamp: Stamp) {
        if self.merge_clear(stamp) {
            self.restoring.has_cleared = true;
            self.drop_cleared_if_due();
        }
    }

    /// Ends the restoring: no cleared entry is left.
    pub fn finish_restoring(&mut self) {
        if self.restoring.has_cleared {
            self.drop_cleared();
        }
    }

    fn drop_cleared_if_due(&mut self) {
        if self.restoring.is_due(self.table.segments()) {
            self.drop_cleared();
        }
    }

    fn drop_cleared(&mut self) {
        self.restoring = Restoring::default();
        // Nothing but what was cleared has expired at time 0.
        let mut cursor = Some(Cursor::default());
        while let Some(from) = cursor {
            cursor = self.age_slice(from, 0, &mut Vec::new());
        }
        if self.is_empty() {
            // A table that has grown once would be looked through by each of many CLEARCACHEs.
            self.drop_all();
        }
    }

    /// Restores a recorded use of an entry at `accessed_us`, if the entry is held. A later time of use is kept.
    pub fn restore_use(&mut self, name: &[u8], accessed_us: u64) {
        if let Some(block) = self.block(name) {
            header::note_use(&mut self.blocks, block, accessed_us);
        }
    }

    /// Drops a name, as if it had been evicted.
    pub fn forget(&mut self, name: &[u8]) {
        if let Some(block) = self.block(name) {
            self.drop_block(self.hash(name), block);
        }
    }

    /// Replaces all there is of a name by that state.
    fn put_state(
        &mut self,
        name: &[u8],
        state: &State<'_>,
        accessed_us: u64,
        changed_us: u64,
    ) -> Result<EntryId, TooLarge> {
        let (kind, value) = match state.register {
            Register::Absent => (Kind::Absent, &b""[..]),
            Register::Removed => (Kind::Removed, &b""[..]),
            Register::Value(value) => (Kind::Value, value),
        };
        let is_counter = !state.contributions.is_empty();
        let kept = Kept {
            attributes: state.attributes,
            changed_us: (!is_counter && changed_us != state.stamp.time_us).then_some(changed_us),
        };
        let kept = Some(kept).filter(|kept| !kept.is_empty());
        if !is_counter {
            return self.write(name, kind, value, state.stamp, accessed_us, kept.as_ref());
        }
        let mut counter = Counter::new(value);
        counter.contributions = state.contributions.clone();
        counter.changed_us = changed_us;
        let counting = Counting {
            kind,
            stamp: state.stamp,
            accessed_us,
            counter,
            kept,
        };
        self.put_counter(name, &counting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CLEARCACHEs of another node, each newer than the last one and older than all entries.
    #[test]
    fn restoring_looks_through_the_cache_in_proportion_to_its_entries_however_often_it_was_cleared()
    {
        const SEGMENTS: usize = 1000;
        let mut restoring = Restoring::default();
        let (mut entries, mut looked_through) = (0, 0);
        for _ in 0..20_000 {
            restoring.has_cleared = true;
            restoring.entries += 40;
            entries += 40;
            if restoring.is_due(SEGMENTS) {
                looked_through += SEGMENTS;
                restoring = Restoring::default();
            }
        }
        assert!((1..=entries).contains(&(looked_through * ENTRIES_PER_SEGMENT)));
        restoring.entries = SEGMENTS * ENTRIES_PER_SEGMENT;
        assert!(!restoring.is_due(SEGMENTS), "nothing was cleared");
        restoring.has_cleared = true;
        assert!(restoring.is_due(SEGMENTS), "all may have been cleared");
    }
}
