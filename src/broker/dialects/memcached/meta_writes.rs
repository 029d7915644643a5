//! Meta commands that store and count: `ms`, `ma`.

use super::counting::{CountWish, Counted};
use super::exchange::{Exchange, seconds_until};
use super::meta::key_of;
use super::storage::Unfit;
use super::watch::StoreStatus;
use crate::broker::cache::TooLarge;
use crate::broker::operations::{Compare, Done, Put, PutMode, Stored};
use crate::broker::output::Output;
use crate::protocol::attributes::{Attributes, Marks};
use crate::protocol::encode;
use crate::protocol::memcached::Error;
use crate::protocol::memcached::answer::{self, Facts, Renewal, returned};
use crate::protocol::memcached::meta::{KeyScratch, Meta, MetaFlags, StoreMode};
use crate::protocol::memcached::request::Block;

impl<O: Output> Exchange<'_, O> {
    pub fn meta_store(&mut self, meta: &Meta<'_>, block: Block<'_>) {
        let flags = match meta.flags() {
            Ok(flags) => flags,
            Err(error) => return self.fail(error),
        };
        let mut scratch = KeyScratch::default();
        let Some(key) = key_of(meta, &flags, &mut scratch) else {
            return self.fail(Error::MetaKey);
        };
        self.broker.memcached.counters.cmd_set += 1;
        match self.value_in(block) {
            Ok(value) => self.meta_store_value(key, value, &flags),
            Err(Unfit::BadEnd) => self.fail(Error::DataChunk),
            Err(Unfit::TooLarge) => {
                self.remove_outdated(key);
                self.note_meta_store(key, &flags, Err(TooLarge), block.length());
                self.fail(Error::TooLarge);
            }
        }
    }

    fn meta_store_value(&mut self, key: &[u8], value: &[u8], flags: &MetaFlags<'_>) {
        let makes = flags.vivify.is_some();
        let (mode, is_joined) = match flags.store_mode {
            StoreMode::Set => (PutMode::Set, false),
            StoreMode::Add => (PutMode::Add, false),
            StoreMode::Replace => (PutMode::Replace, false),
            StoreMode::Append => (PutMode::Append { makes }, true),
            StoreMode::Prepend => (PutMode::Prepend { makes }, true),
        };
        // Only an entry that is made by joining has the expiry of N.
        let expiry = match is_joined {
            true => flags.vivify,
            false => flags.expiry,
        };
        let put = Put {
            name: key,
            value,
            mode,
            attributes: Attributes {
                client_flags: flags.client_flags,
                expires_us: expiry.and_then(|expiry| self.moment(expiry)),
                version: flags.new_cas,
                marks: Marks {
                    base64: flags.has(b'b'),
                    ..Marks::default()
                },
                ..Attributes::default()
            },
            compare: flags.cas.map(|version| Compare {
                version,
                allows_older: flags.has(b'I'),
            }),
        };
        let by = self.by();
        let stored = self.broker.put(&put, by, self.now, self.out);
        if stored.is_err() && mode != PutMode::Set {
            self.remove_outdated(key);
        }
        self.note_meta_store(key, flags, stored, value.len());
        let done = match stored {
            Err(TooLarge) => return self.fail(Error::TooLarge),
            Ok(Stored::Done(_)) if flags.has(b'q') => return,
            Ok(Stored::Done(done)) => done,
            // The cas is 0, and the length that of the block.
            Ok(_) => Done {
                version: 0,
                length: value.len(),
            },
        };
        let facts = Facts {
            key,
            in_base64: flags.has(b'b'),
            cas: done.version,
            length: done.length,
            ..Facts::default()
        };
        let returned = (flags, returned::BY_STORE);
        let code = StoreStatus::of(stored).code();
        self.append(|to| answer::meta(to, code, None, returned, &facts, Renewal::None));
    }

    fn note_meta_store(
        &mut self,
        key: &[u8],
        flags: &MetaFlags<'_>,
        stored: Result<Stored, TooLarge>,
        length: usize,
    ) {
        let status = StoreStatus::of(stored);
        let (command, compares) = match flags.store_mode {
            StoreMode::Set => ("set", true),
            StoreMode::Replace => ("replace", true),
            StoreMode::Add => ("add", false),
            StoreMode::Append => ("append", false),
            StoreMode::Prepend => ("prepend", false),
        };
        if compares && flags.cas.is_some() {
            self.count_cas(status);
        }
        let expires_us = flags.expiry.and_then(|expiry| self.moment(expiry));
        self.note_store(key, status, command, expires_us, length);
    }

    pub fn meta_count(&mut self, key: &[u8], flags: &MetaFlags<'_>) {
        if flags.vivify.is_some() && self.broker.look_up(key, self.now).is_none() {
            return self.vivify_counter(key, flags);
        }
        let wish = CountWish {
            direction: flags.direction,
            delta: flags.delta,
            cas: flags.cas.filter(|&cas| cas != 0),
            new_cas: flags.new_cas,
        };
        match self.step(key, &wish) {
            Counted::Done { number, done } => {
                let mut expires_us = self.expiry_of(key);
                if let Some(expiry) = flags.expiry {
                    let (moment, by) = (self.moment(expiry), self.by());
                    self.broker.touch(key, moment, by, self.now, self.out);
                    if flags.is_before(b'T', b't') {
                        expires_us = moment;
                    }
                }
                if !flags.has(b'q') {
                    self.answer_counted(key, flags, number, done.version, expires_us);
                }
            }
            Counted::NotFound => self.answer_without_entry("NF", key, flags),
            Counted::Exists => self.answer_without_entry("EX", key, flags),
            Counted::Failed(error) => self.fail(error),
        }
    }

    fn expiry_of(&self, key: &[u8]) -> Option<u64> {
        let found = self.broker.look_up(key, self.now);
        found.and_then(|found| found.expires_us())
    }

    /// Makes a counter with the value of J. As with `mg`, q does not hide that.
    fn vivify_counter(&mut self, key: &[u8], flags: &MetaFlags<'_>) {
        let expires_us = flags.last_expiry().and_then(|expiry| self.moment(expiry));
        let value = flags.initial.to_string();
        let put = Put {
            name: key,
            value: value.as_bytes(),
            mode: PutMode::Add,
            attributes: Attributes {
                expires_us,
                version: flags.new_cas,
                marks: Marks {
                    base64: flags.has(b'b'),
                    ..Marks::default()
                },
                ..Attributes::default()
            },
            compare: None,
        };
        let by = self.by();
        let Ok(Stored::Done(done)) = self.broker.put(&put, by, self.now, self.out) else {
            return self.fail(Error::TooLarge);
        };
        self.broker.memcached.counters.total_items += 1;
        let expiry = flags.expiry_at_t();
        let expires_us = expiry.and_then(|expiry| self.moment(expiry));
        self.answer_counted(key, flags, flags.initial, done.version, expires_us);
    }

    fn answer_counted(
        &mut self,
        key: &[u8],
        flags: &MetaFlags<'_>,
        number: u64,
        cas: u64,
        expires_us: Option<u64>,
    ) {
        let (now_us, text) = (self.now_us(), number.to_string());
        let facts = Facts {
            key,
            in_base64: flags.has(b'b'),
            cas,
            ttl_s: expires_us.map(|at_us| seconds_until(at_us, now_us)),
            ..Facts::default()
        };
        let length = flags.has(b'v').then_some(text.len());
        let returned = (flags, returned::BY_COUNT);
        self.append(|to| {
            answer::meta(to, "HD", length, returned, &facts, Renewal::None);
            if length.is_some() {
                encode::line(to, &[text.as_bytes()]);
            }
        });
    }
}
