//! `get`, `gets`, `gat` and `gats`.

use super::exchange::{Exchange, append_value};
use super::long_answers::{LongAnswer, Stage};
use super::watch::Lookup;
use crate::broker::events::Flow;
use crate::broker::output::Output;
use crate::limits::{LISTING_SLICE, REQUESTS_PREFETCHED, WORK_PER_STEP};
use crate::protocol::encode;
use crate::protocol::memcached::Expiry;
use crate::protocol::memcached::answer;
use crate::protocol::memcached::request::Get;
use crate::protocol::memcached::words::Words;

/// Keys that are looked up in one slice. A look-up takes some hundreds of nanoseconds.
const KEYS_PER_SLICE: usize = 256;

/// The form of the answer to a `get`.
#[derive(Debug, Clone, Copy)]
pub struct GetForm {
    pub with_cas: bool,
    /// The expiry that the entries get.
    pub expiry: Option<Expiry>,
}

impl<O: Output> Exchange<'_, O> {
    pub fn get(&mut self, line: &[u8], get: &Get<'_>) -> Flow {
        let form = GetForm {
            with_cas: get.with_cas,
            expiry: get.expiry,
        };
        let mut keys = get.keys;
        if self.append_values(&mut keys, form) {
            return Flow::Next;
        }
        let place = line.len() - keys.rest().len();
        self.start_long_answer(LongAnswer {
            line: line.into(),
            stage: Stage::Values { place, form },
        })
    }

    /// Answers for so many of the keys as a slice holds; true if these were all.
    pub fn append_values(&mut self, keys: &mut Words<'_>, form: GetForm) -> bool {
        let (mut count, mut written) = (0, 0);
        loop {
            if count % REQUESTS_PREFETCHED == 0 {
                self.broker.cache.prefetch_names(*keys);
            }
            if count == KEYS_PER_SLICE || written >= LISTING_SLICE {
                return false;
            }
            let Some(key) = keys.next() else {
                self.append(|to| encode::line(to, &[b"END"]));
                return true;
            };
            if count > 0 {
                self.out.add_work(WORK_PER_STEP);
            }
            count += 1;
            written += self.append_entry(key, form);
        }
    }

    /// Appends the value of a key, if there is one; returns the number of bytes.
    fn append_entry(&mut self, key: &[u8], form: GetForm) -> usize {
        let Exchange {
            broker,
            id,
            now,
            out,
        } = self;
        // A touch is a use, too.
        let found = match form.expiry {
            None => broker.retrieve(key, *now, *out).map(|one| one.found),
            Some(_) => broker.look_up(key, *now),
        };
        let Some(found) = found else {
            self.miss(key, form);
            return 0;
        };
        let value = found.value().unwrap_or_default();
        let cas = form.with_cas.then(|| found.version());
        let (flags, length) = (found.client_flags(), value.len());
        let line = |to: &mut Vec<u8>| answer::value_line(to, key, flags, length, cas);
        let written = append_value(*out, *id, line, value, found.long_text());
        self.broker.statistics.look_ups += 1;
        let counters = &mut self.broker.memcached.counters;
        counters.bytes_written += written as u64;
        match form.expiry {
            None => {
                counters.cmd_get += 1;
                counters.get_hits += 1;
            }
            Some(expiry) => {
                counters.cmd_touch += 1;
                counters.touch_hits += 1;
                let (moment, by) = (self.moment(expiry), self.by());
                self.broker.touch(key, moment, by, self.now, self.out);
            }
        }
        self.watch_lookup(key, Lookup::Found(length));
        written
    }

    fn miss(&mut self, key: &[u8], form: GetForm) {
        let counters = &mut self.broker.memcached.counters;
        match form.expiry {
            None => counters.cmd_get += 1,
            Some(_) => {
                counters.cmd_touch += 1;
                counters.touch_misses += 1;
            }
        }
        let lookup = self.missed(key, form.expiry.is_none());
        self.watch_lookup(key, lookup);
    }

    /// Finds why there is no entry, and counts a miss of `get` or `mg`.
    pub fn missed(&mut self, key: &[u8], counts: bool) -> Lookup {
        let now_us = self.now_us();
        let found = self.broker.cache.find(key, now_us);
        let expires_us = found.and_then(|found| found.expires_us());
        let has_expired = expires_us.is_some_and(|expires_us| expires_us <= now_us);
        self.broker.statistics.count_miss();
        if counts {
            let counters = &mut self.broker.memcached.counters;
            counters.get_misses += 1;
            counters.get_expired += u64::from(has_expired);
        }
        match has_expired {
            true => Lookup::Expired,
            false => Lookup::NotFound,
        }
    }
}
