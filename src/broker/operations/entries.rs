//! Operations on entries of the cache.

use super::{By, Groups};
use crate::broker::Broker;
use crate::broker::cache::{Added, Retrieved, TooLarge, Written};
use crate::broker::change::{Change, Write, WrittenSignal};
use crate::broker::events::Now;
use crate::broker::output::Output;
use crate::broker::recording::Recording;
use crate::limits::WORK_PER_CLEAR;
use crate::protocol::Language;
use crate::protocol::number::Number;

impl Broker {
    /// The value of a name, which counts as a use of it. `None` if there is none.
    #[inline]
    pub(in crate::broker) fn retrieve<O: Recording>(
        &mut self,
        name: &[u8],
        now: Now,
        out: &mut O,
    ) -> Option<Retrieved<'_>> {
        let now_us = self.tree.now_us(now);
        let retrieved = self.cache.retrieve(name, now_us)?;
        if retrieved.is_first_in_period
            && let Some(persistence) = &mut self.persistence
        {
            persistence.record_use(name, now_us, now, out);
        }
        Some(retrieved)
    }

    /// Stores the value that a text stands for, in place of whatever there was. Fails if the entry has no room in the cache; the old value is
    /// gone then, too.
    #[inline]
    pub(in crate::broker) fn store<O: Output>(
        &mut self,
        name: &[u8],
        text: &[u8],
        by: By<'_>,
        now: Now,
        out: &mut O,
    ) -> Result<(), TooLarge> {
        let written = self.cache.store_text(name, text, self.tree.now_us(now))?;
        self.commit_write(name, written, by, now, out);
        Ok(())
    }

    /// Stores the value that a text stands for, and sends the signal of that name with the text to everybody else who
    /// listens. Other servers are told of both at once.
    pub(in crate::broker) fn store_and_publish<O: Output>(
        &mut self,
        name: &[u8],
        value: &[u8],
        by: By<'_>,
        now: Now,
        out: &mut O,
    ) -> Result<(), TooLarge> {
        let written = self.cache.store_text(name, value, self.tree.now_us(now))?;
        self.statistics.signals.add(Language::Clacks, 1);
        let handed_on = self.deliver_set(by.connection, name, value, Groups::All, out);
        let write = Write {
            by,
            name,
            written,
            signal: self
                .tree
                .new_signal(&mut self.random, now)
                .map(|id| WrittenSignal {
                    id,
                    value,
                    handed_on: &handed_on,
                }),
        };
        self.commit(Change::Write(write), now, out);
        Ok(())
    }

    /// Removes an entry. A tombstone remains for a while, so that other servers hear of it. Fails if that has no room.
    pub(in crate::broker) fn remove<O: Output>(
        &mut self,
        name: &[u8],
        by: By<'_>,
        now: Now,
        out: &mut O,
    ) -> Result<(), TooLarge> {
        let written = self.cache.remove(name, self.tree.now_us(now))?;
        self.commit_write(name, written, by, now, out);
        Ok(())
    }

    /// Adds `step` to the number of a name, which begins at 0. Fails if the entry has no room in the cache.
    pub(in crate::broker) fn count<O: Output>(
        &mut self,
        name: &[u8],
        step: Number,
        by: By<'_>,
        now: Now,
        out: &mut O,
    ) -> Result<(), TooLarge> {
        let now_us = self.tree.now_us(now);
        let begun_us = now_us + self.clock_doubt_us();
        let Added { written, work } = self.cache.add(name, step, now_us, begun_us)?;
        out.add_work(work);
        self.commit_write(name, written, by, now, out);
        Ok(())
    }

    /// Removes all entries.
    pub(in crate::broker) fn clear<O: Output>(&mut self, by: By<'_>, now: Now, out: &mut O) {
        out.add_work(WORK_PER_CLEAR);
        self.cache.clear(self.tree.now_us(now));
        self.commit(Change::Clear { by }, now, out);
    }

    #[inline]
    pub(super) fn commit_write<O: Output>(
        &mut self,
        name: &[u8],
        written: Written,
        by: By<'_>,
        now: Now,
        out: &mut O,
    ) {
        let write = Write {
            by,
            name,
            written,
            signal: None,
        };
        self.commit(Change::Write(write), now, out);
    }
}
