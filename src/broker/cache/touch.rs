//! Touches and won marks: what changes of an entry without a new stamp. How states with attributes merge, and the end of
//! entries whose expiry has come.

use super::attributes::Kept;
use super::blocks::Block;
use super::counter::Counting;
use super::entry::{self, Entry};
use super::header::{self, Kind};
use super::{Cache, EntryId, TooLarge, Written, WrittenPart};
use crate::protocol::attributes::{Attributes, Marks};
use crate::protocol::peer::{Register, Stamp, State};
use std::cmp::Ordering;

/// The result of [`Cache::merge_touch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touched {
    /// Nothing was new, or there is no such entry here.
    Nothing,
    Done(Written),
    /// The sender does not know what is here of the name.
    Differs,
}

impl Cache {
    /// Sets the expiry of a live entry; `None`: it never expires. Returns `None` if there is no such entry. This is a use,
    /// and no new version.
    pub fn touch(
        &mut self,
        name: &[u8],
        expires_us: Option<u64>,
        now_us: u64,
    ) -> Option<Result<Written, TooLarge>> {
        let block = self.live_block(name, now_us)?;
        let used_us = Entry::without_text(&self.blocks, block).used_us(now_us);
        header::note_use(&mut self.blocks, block, used_us);
        Some(self.change_attributes(block, |attributes| {
            // Of two touches the later one counts, at other servers too.
            let after = attributes.touched_us.map_or(0, |touched_us| touched_us + 1);
            attributes.touched_us = Some(now_us.max(after));
            attributes.expires_us = expires_us;
        }))
    }

    /// Marks a live entry as won: a client was told to renew its value. Returns `None` if there is no such entry.
    pub fn win(&mut self, name: &[u8], now_us: u64) -> Option<Result<Written, TooLarge>> {
        let block = self.live_block(name, now_us)?;
        Some(self.change_attributes(block, |attributes| attributes.marks.won = true))
    }

    /// Learns of a touch or a won mark of the entry that has that stamp.
    pub fn merge_touch(
        &mut self,
        name: &[u8],
        stamp: Stamp,
        theirs: &Attributes,
        now_us: u64,
    ) -> Result<Touched, TooLarge> {
        self.newest_us = self.newest_us.max(stamp.time_us);
        let held = self.block(name).filter(|block| {
            let entry = Entry::new(&self.blocks, *block);
            stamp >= self.cleared && !self.is_forgotten(entry, now_us)
        });
        let Some(block) = held else {
            return Ok(Touched::Nothing);
        };
        let entry = Entry::new(&self.blocks, block);
        match entry.stamp().cmp(&stamp) {
            Ordering::Greater => return Ok(Touched::Differs),
            Ordering::Less => return Ok(Touched::Nothing),
            Ordering::Equal => {}
        }
        let ours = entry.attributes();
        let both = merged(ours, theirs);
        let knows_less = theirs.touched_us.is_some() && says_less(theirs, &both, now_us);
        let has_ended = !entry.holds_value() && ours.expires_us.is_some();
        let lacks_value = has_ended && !both.has_expired(now_us);
        if knows_less || lacks_value && both != ours {
            return Ok(Touched::Differs);
        }
        if both == ours {
            return Ok(Touched::Nothing);
        }
        let written = self.change_attributes(block, |attributes| *attributes = both)?;
        Ok(Touched::Done(written))
    }

    /// Takes in a touch or a won mark that was recorded here, unless the entry it was recorded of is not there.
    pub fn restore_touch(
        &mut self,
        name: &[u8],
        stamp: Stamp,
        accessed_us: u64,
        recorded: &Attributes,
    ) -> Result<(), TooLarge> {
        let Some(block) = self.block(name) else {
            return Ok(());
        };
        let entry = Entry::new(&self.blocks, block);
        if entry.stamp() != stamp || stamp < self.cleared {
            return Ok(());
        }
        let both = merged(entry.attributes(), recorded);
        header::note_use(&mut self.blocks, block, accessed_us);
        self.change_attributes(block, |attributes| *attributes = both)?;
        Ok(())
    }

    /// Changes attributes of an entry without a new stamp.
    pub(super) fn change_attributes(
        &mut self,
        block: Block,
        change: impl FnOnce(&mut Attributes),
    ) -> Result<Written, TooLarge> {
        let entry = Entry::new(&self.blocks, block);
        let mut kept = entry.kept().unwrap_or_default();
        change(&mut kept.attributes);
        let size = self.blocks.get(block).len();
        let entry = if self.blocks.size_for(entry.length_with(&kept)) == size {
            entry::put_attributes(self.blocks.get_mut(block), &kept);
            EntryId(block)
        } else {
            self.put_with(block, kept)?
        };
        Ok(Written {
            entry,
            part: WrittenPart::Touch,
        })
    }

    /// Puts an entry into another block, with these attributes.
    fn put_with(&mut self, block: Block, kept: Kept) -> Result<EntryId, TooLarge> {
        let entry = Entry::new(&self.blocks, block);
        let name: Box<[u8]> = entry.name().into();
        if entry.is_counter() {
            let mut counting = Counting::of(entry);
            counting.kept = Some(kept);
            return self.put_counter(&name, &counting);
        }
        let (kind, stamp, accessed_us) = (entry.kind(), entry.stamp(), entry.accessed_us());
        let Some(text) = entry.text().cloned() else {
            let value: Box<[u8]> = entry.value().into();
            return self.write(&name, kind, &value, stamp, accessed_us, Some(&kept));
        };
        // The long text stays: it is shared, not copied.
        let value = text.get(name.len() + 1..).unwrap_or_default();
        let former = self.long_line.replace(text.clone());
        let put = self.write(&name, kind, value, stamp, accessed_us, Some(&kept));
        self.long_line = former;
        put
    }

    /// Ends an entry whose expiry has come. A tombstone of its stamp stays if others may still have what it has replaced.
    pub fn expire_entry(&mut self, id: EntryId, leaves_tombstone: bool) {
        if !leaves_tombstone {
            return self.drop_entry(id);
        }
        let entry = Entry::new(&self.blocks, id.0);
        let name: Box<[u8]> = entry.name().into();
        let (stamp, accessed_us) = (entry.stamp(), entry.accessed_us());
        let kept = Kept {
            attributes: of_tombstone(entry.attributes()),
            changed_us: None,
        };
        let put = self.write(&name, Kind::Removed, b"", stamp, accessed_us, Some(&kept));
        debug_assert!(put.is_ok(), "a tombstone takes less room than its value");
    }

    /// The block of an entry that holds a value and has not expired.
    fn live_block(&self, name: &[u8], now_us: u64) -> Option<Block> {
        let block = self.block(name)?;
        let entry = Entry::without_text(&self.blocks, block);
        let is_live = entry.holds_value() && self.expired(entry, now_us).is_none();
        is_live.then_some(block)
    }
}

/// The attributes of two states with the same stamp: of two touches the later one counts, and of two at the same time
/// the one with the later expiry; won is won if either is. All others are the register's, which is the same one.
pub fn merged(ours: Attributes, theirs: &Attributes) -> Attributes {
    let touch = |attributes: &Attributes| {
        let expires_us = attributes.expires_us.unwrap_or(u64::MAX);
        (attributes.touched_us, expires_us)
    };
    let later = match theirs.touched_us.is_some() && touch(theirs) > touch(&ours) {
        true => *theirs,
        false => ours,
    };
    Attributes {
        expires_us: later.expires_us,
        touched_us: later.touched_us,
        marks: Marks {
            won: ours.marks.won || theirs.marks.won,
            ..ours.marks
        },
        ..ours
    }
}

/// Reports whether attributes are not all that both states of the same stamp say together of touches, and of being won,
/// which matters until the entry expires.
pub fn says_less(attributes: &Attributes, both: &Attributes, now_us: u64) -> bool {
    attributes.touched_us != both.touched_us
        || attributes.expires_us != both.expires_us
        || attributes.marks.won != both.marks.won && !both.has_expired(now_us)
}

/// The tombstone of the same stamp as a state, which has expired or is one.
pub fn tombstone(state: State<'_>) -> State<'_> {
    State {
        register: Register::Removed,
        attributes: of_tombstone(state.attributes),
        contributions: Vec::new(),
        ..state
    }
}

/// A tombstone keeps the expiry and the touch that set it: they decide whether the entry was to expire at all.
fn of_tombstone(attributes: Attributes) -> Attributes {
    Attributes {
        expires_us: attributes.expires_us,
        touched_us: attributes.touched_us,
        ..Attributes::default()
    }
}
