//! Operations on entries that depend on what there is, and on attributes.

use super::By;
use crate::broker::Broker;
use crate::broker::cache::{Effect, Found, TooLarge};
use crate::broker::events::Now;
use crate::broker::interclacks::LegacyForm;
use crate::broker::output::Output;
use crate::broker::recording::Recording;
use crate::limits::WORK_PER_BYTE_COPIED;
use crate::protocol::attributes::{Attributes, Marks};
use crate::protocol::number::Number;

/// A value that is to be stored, and the condition.
#[derive(Debug, Clone, Copy)]
pub struct Put<'a> {
    pub name: &'a [u8],
    pub value: &'a [u8],
    pub mode: PutMode,
    /// The attributes of the new entry. An entry that is appended to keeps its own flags, expiry and base64 mark.
    pub attributes: Attributes,
    pub compare: Option<Compare>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutMode {
    /// In any case.
    Set,
    /// Only if there is none.
    Add,
    /// Only if there is one.
    Replace,
    /// Behind the value of the entry. If there is none, a new one is made if `makes` is true.
    Append { makes: bool },
    /// Before the value of the entry, as above.
    Prepend { makes: bool },
}

/// The version that an entry must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compare {
    pub version: u64,
    /// True if a smaller version than the entry's is let through, too: the value is stored as out of date then. A version
    /// of 0 never is.
    pub allows_older: bool,
}

/// The outcome of a [`Put`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Stored {
    Done(Done),
    /// There is an entry where there must be none, or none where there must be one, or the joined value is too large.
    Unmet,
    /// The entry has another version.
    Exists,
    /// There is no entry whose version could be compared.
    NotFound,
}

/// The entry after an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    pub version: u64,
    /// The length of the value, in bytes.
    pub length: usize,
}

/// An entry that is to be emptied, or marked as out of date, or both.
#[derive(Debug, Clone, Copy)]
pub struct Spoil<'a> {
    pub name: &'a [u8],
    /// True if the value is emptied. The client flags become those of `attributes`.
    pub empties: bool,
    pub is_stale: bool,
    /// True if the entry keeps its expiry instead of getting that of `attributes`.
    pub keeps_expiry: bool,
    /// The new client flags, expiry and version.
    pub attributes: Attributes,
    /// The version that the entry must have, if that matters.
    pub compare: Option<u64>,
}

/// A step of an entry whose value is to become `result`: the amount is added to the tree's counter if the counter then
/// reads `result`, and otherwise the result is stored, as it is with a given version.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    pub name: &'a [u8],
    pub amount: Number,
    pub result: &'a [u8],
    pub version: Option<u64>,
}

/// The outcome of a removal, or of a [`Spoil`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Removed {
    Done,
    NotFound,
    /// The entry has another version.
    Exists,
}

impl Broker {
    /// The live entry of a name. This is no use of it.
    #[inline]
    pub(in crate::broker) fn look_up(&self, name: &[u8], now: Now) -> Option<Found<'_>> {
        let found = self.cache.find(name, self.tree.now_us(now))?;
        found.value().is_some().then_some(found)
    }

    /// Stores a value if the condition holds. Fails if the entry has no room in the cache: [`PutMode::Set`] removes the
    /// old entry then, so that no old value is read for the new one; the others leave it.
    pub(in crate::broker) fn put<O: Output>(
        &mut self,
        put: &Put<'_>,
        by: By<'_>,
        now: Now,
        out: &mut O,
    ) -> Result<Stored, TooLarge> {
        let held = self.look_up(put.name, now);
        let attributes = match decide(put, held) {
            Ok(attributes) => attributes,
            Err(refused) => return Ok(refused),
        };
        let held_value = held.and_then(|held| held.value()).unwrap_or_default();
        let joined = match put.mode {
            PutMode::Append { .. } => [held_value, put.value].concat(),
            PutMode::Prepend { .. } => [put.value, held_value].concat(),
            _ => return self.put_value(put, put.value, attributes, by, now, out),
        };
        out.add_work(joined.len() * WORK_PER_BYTE_COPIED);
        if joined.len() > self.settings.max_line {
            return Ok(Stored::Unmet);
        }
        match self.put_value(put, &joined, attributes, by, now, out) {
            Err(TooLarge) => Ok(Stored::Unmet),
            stored => stored,
        }
    }

    fn put_value<O: Output>(
        &mut self,
        put: &Put<'_>,
        value: &[u8],
        attributes: Attributes,
        by: By<'_>,
        now: Now,
        out: &mut O,
    ) -> Result<Stored, TooLarge> {
        let now_us = self.tree.now_us(now);
        match self.cache.store_with(put.name, value, attributes, now_us) {
            Ok(written) => {
                let version = self.cache.entry_of(written.entry).version();
                self.commit_write(put.name, written, by, now, out);
                let length = value.len();
                Ok(Stored::Done(Done { version, length }))
            }
            Err(TooLarge) => {
                if put.mode == PutMode::Set {
                    self.remove(put.name, by, now, out)?;
                }
                Err(TooLarge)
            }
        }
    }

    /// Removes an entry if it has that version, where one is given. A server that others may know hands the removal of a
    /// name on that it does not have: the entry may live elsewhere.
    pub(in crate::broker) fn remove_if<O: Output>(
        &mut self,
        name: &[u8],
        compare: Option<u64>,
        by: By<'_>,
        now: Now,
        out: &mut O,
    ) -> Result<Removed, TooLarge> {
        let outcome = match self.look_up(name, now) {
            Some(found) if compare.is_some_and(|version| version != found.version()) => {
                return Ok(Removed::Exists);
            }
            Some(_) => Removed::Done,
            None if self.tree.is_alone() => return Ok(Removed::NotFound),
            None => Removed::NotFound,
        };
        self.remove(name, by, now, out)?;
        Ok(outcome)
    }

    /// Empties an entry, or marks it as out of date. Either is a write: the entry gets a new version.
    pub(in crate::broker) fn spoil<O: Output>(
        &mut self,
        spoil: &Spoil<'_>,
        by: By<'_>,
        now: Now,
        out: &mut O,
    ) -> Result<Removed, TooLarge> {
        let Some(found) = self.look_up(spoil.name, now) else {
            return Ok(Removed::NotFound);
        };
        if spoil
            .compare
            .is_some_and(|version| version != found.version())
        {
            return Ok(Removed::Exists);
        }
        let held = found.attributes();
        let new = spoil.attributes;
        let attributes = Attributes {
            client_flags: match spoil.empties {
                true => new.client_flags,
                false => held.client_flags,
            },
            expires_us: match spoil.keeps_expiry {
                true => held.expires_us,
                false => new.expires_us,
            },
            touched_us: None,
            version: new.version,
            marks: Marks {
                base64: held.marks.base64,
                stale: spoil.is_stale,
                won: false,
            },
        };
        let value = match spoil.empties {
            true => Vec::new(),
            false => found.value().unwrap_or_default().to_vec(),
        };
        out.add_work(value.len() * WORK_PER_BYTE_COPIED);
        let now_us = self.tree.now_us(now);
        let written = self
            .cache
            .store_with(spoil.name, &value, attributes, now_us)?;
        let form = match spoil.empties {
            true => by.form,
            false => LegacyForm::Effect(&Effect::Attributes),
        };
        let by = By { form, ..by };
        self.commit_write(spoil.name, written, by, now, out);
        Ok(Removed::Done)
    }

    /// Sets the expiry of an entry, in microseconds of the tree's time; `None`: never. Returns false if there is no entry.
    pub(in crate::broker) fn touch<O: Output>(
        &mut self,
        name: &[u8],
        expires_us: Option<u64>,
        by: By<'_>,
        now: Now,
        out: &mut O,
    ) -> bool {
        let now_us = self.tree.now_us(now);
        let Some(touched) = self.cache.touch(name, expires_us, now_us) else {
            return false;
        };
        // An entry that has no room for a touch keeps its expiry.
        if let Ok(written) = touched {
            self.commit_write(name, written, by, now, out);
        }
        true
    }

    /// Marks an entry as won: this client is told to renew its value, and no other one.
    pub(in crate::broker) fn win<O: Output>(
        &mut self,
        name: &[u8],
        by: By<'_>,
        now: Now,
        out: &mut O,
    ) {
        let now_us = self.tree.now_us(now);
        if let Some(Ok(written)) = self.cache.win(name, now_us) {
            self.commit_write(name, written, by, now, out);
        }
    }

    /// Notes a use of an entry.
    #[inline]
    pub(in crate::broker) fn note_use<O: Recording>(&mut self, name: &[u8], now: Now, out: &mut O) {
        let _ = self.retrieve(name, now, out);
    }

    /// Counts an entry. Its attributes stay.
    pub(in crate::broker) fn count_to<O: Output>(
        &mut self,
        step: &Step<'_>,
        by: By<'_>,
        now: Now,
        out: &mut O,
    ) -> Result<Done, TooLarge> {
        let Step {
            name,
            amount,
            result,
            version,
        } = *step;
        let now_us = self.tree.now_us(now);
        let held = self.look_up(name, now).map(|found| found.attributes());
        let begun_us = now_us + self.clock_doubt_us();
        let mut written = None;
        if version.is_none() {
            let added = self.cache.add(name, amount, now_us, begun_us)?;
            out.add_work(added.work);
            let reads_so = self.cache.entry_of(added.written.entry).value() == Some(result);
            written = reads_so.then_some(added.written);
        }
        // Net::Clacks servers add a step as well, if it is one.
        let effect = match written {
            Some(_) => Effect::Counter(vec![amount]),
            None => Effect::Register,
        };
        let written = match written {
            Some(written) => written,
            // Nobody has seen the step, and what is stored now ends it.
            None => {
                let attributes = Attributes {
                    touched_us: None,
                    version,
                    ..held.unwrap_or_default()
                };
                self.cache.store_with(name, result, attributes, now_us)?
            }
        };
        let version = self.cache.entry_of(written.entry).version();
        let form = LegacyForm::Effect(&effect);
        self.commit_write(name, written, By { form, ..by }, now, out);
        let length = result.len();
        Ok(Done { version, length })
    }
}

/// The attributes that the entry gets, or why nothing is stored.
fn decide(put: &Put<'_>, held: Option<Found<'_>>) -> Result<Attributes, Stored> {
    let Some(held) = held else {
        return match (put.mode, put.compare) {
            (PutMode::Add, _)
            | (PutMode::Set, None)
            | (PutMode::Append { makes: true } | PutMode::Prepend { makes: true }, _) => {
                Ok(put.attributes)
            }
            (PutMode::Set | PutMode::Replace, Some(_)) => Err(Stored::NotFound),
            _ => Err(Stored::Unmet),
        };
    };
    let own = held.attributes();
    let is_same = |version| version == held.version();
    match (put.mode, put.compare) {
        (PutMode::Add, _) => Err(Stored::Unmet),
        (PutMode::Set | PutMode::Replace, Some(compare)) if !is_same(compare.version) => {
            let is_older = compare.version != 0 && compare.version < held.version();
            if !compare.allows_older || !is_older {
                return Err(Stored::Exists);
            }
            Ok(Attributes {
                expires_us: own.expires_us,
                marks: Marks {
                    stale: true,
                    won: own.marks.won,
                    ..put.attributes.marks
                },
                ..put.attributes
            })
        }
        (PutMode::Set | PutMode::Replace, _) => Ok(put.attributes),
        (PutMode::Append { .. } | PutMode::Prepend { .. }, Some(compare))
            if compare.version != 0 && !is_same(compare.version) =>
        {
            Err(Stored::Exists)
        }
        (PutMode::Append { .. } | PutMode::Prepend { .. }, _) => Ok(Attributes {
            client_flags: own.client_flags,
            expires_us: own.expires_us,
            version: put.attributes.version,
            touched_us: None,
            marks: Marks {
                base64: own.marks.base64,
                ..Marks::default()
            },
        }),
    }
}
