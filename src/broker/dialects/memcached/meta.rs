//! Meta commands that read and delete: `mg`, `md`, `me`. The others are in `meta_writes`.

use super::exchange::{Exchange, append_value, seconds_since, seconds_until};
use super::watch::Lookup;
use crate::broker::cache::Found;
use crate::broker::operations::{Put, PutMode, Removed, Spoil, Stored};
use crate::broker::output::Output;
use crate::limits::SECOND_US;
use crate::protocol::attributes::{Attributes, Marks};
use crate::protocol::encode;
use crate::protocol::memcached::answer::{self, Facts, Renewal, needs_base64, returned};
use crate::protocol::memcached::meta::{KeyScratch, Meta, MetaFlags, Verb, decode_key};
use crate::protocol::memcached::request::Debugged;
use crate::protocol::memcached::{Error, Expiry};

impl<O: Output> Exchange<'_, O> {
    /// `mg`, `md` or `ma`.
    pub fn meta(&mut self, meta: &Meta<'_>) {
        let flags = match meta.flags() {
            Ok(flags) => flags,
            Err(error) => return self.fail(error),
        };
        let mut scratch = KeyScratch::default();
        let Some(key) = key_of(meta, &flags, &mut scratch) else {
            return self.fail(Error::MetaKey);
        };
        match meta.verb {
            Verb::Get => self.meta_get(key, &flags),
            Verb::Delete => self.meta_delete(key, &flags),
            Verb::Count => self.meta_count(key, &flags),
            // It has a block, and so another path.
            Verb::Store => {}
        }
    }

    fn meta_get(&mut self, key: &[u8], flags: &MetaFlags<'_>) {
        let touch = flags.expiry.map(|expiry| self.moment(expiry));
        let now_us = self.now_us();
        let may_write = self.may_write();
        // A touch is a use, too. The flags h and l ask for what was before this one.
        let is_use = touch.is_none() && !flags.has(b'u');
        let is_used_at_once = is_use && !flags.has(b'h') && !flags.has(b'l');
        let (broker, now) = (&mut *self.broker, self.now);
        let found = match is_used_at_once {
            true => broker.retrieve(key, now, self.out).map(|one| one.found),
            false => broker.look_up(key, now),
        };
        let Some(found) = found else {
            return self.meta_miss(key, flags);
        };
        let at_flag = |letter| match touch {
            Some(moment) if flags.is_before(b'T', letter) => moment,
            _ => found.expires_us(),
        };
        let wins = |recache| is_due(at_flag(b'R'), recache, now_us);
        let renewal = renewal(&found, may_write, flags.recache.is_some_and(wins));
        let value = found.value().unwrap_or_default();
        let facts = facts(key, &found, at_flag(b't'), now_us);
        let length = (flags.has(b'v') && flags.cas != Some(facts.cas)).then_some(value.len());
        let returned = (flags, returned::BY_HIT);
        let line = |to: &mut Vec<u8>| answer::meta(to, "HD", length, returned, &facts, renewal);
        let value_length = value.len();
        match length {
            Some(_) => {
                let written = append_value(self.out, self.id, line, value, found.long_text());
                self.broker.memcached.counters.bytes_written += written as u64;
            }
            None => self.append(line),
        }
        self.broker.statistics.look_ups += 1;
        let counters = &mut self.broker.memcached.counters;
        match touch {
            Some(_) => {
                counters.cmd_touch += 1;
                counters.touch_hits += 1;
            }
            None => {
                counters.cmd_get += 1;
                counters.get_hits += 1;
            }
        }
        self.watch_lookup(key, Lookup::Found(value_length));
        let by = self.by();
        if let Renewal::Won | Renewal::WonStale = renewal {
            self.broker.win(key, by, self.now, self.out);
        }
        if let Some(moment) = touch {
            self.broker.touch(key, moment, by, self.now, self.out);
        } else if is_use && !is_used_at_once {
            self.broker.note_use(key, self.now, self.out);
        }
    }

    fn meta_miss(&mut self, key: &[u8], flags: &MetaFlags<'_>) {
        if let Some(expiry) = flags.last_expiry().filter(|_| flags.vivify.is_some()) {
            return self.vivify(key, flags, expiry);
        }
        self.broker.memcached.counters.cmd_get += 1;
        let lookup = self.missed(key, true);
        self.watch_lookup(key, lookup);
        if !flags.has(b'q') {
            self.answer_without_entry("EN", key, flags);
        }
    }

    /// Answers a meta command that has found no fitting entry.
    pub fn answer_without_entry(&mut self, code: &str, key: &[u8], flags: &MetaFlags<'_>) {
        let facts = Facts {
            key,
            in_base64: flags.has(b'b'),
            ..Facts::default()
        };
        let returned = (flags, returned::OTHERWISE);
        self.append(|to| answer::meta(to, code, None, returned, &facts, Renewal::None));
    }

    /// Makes an empty entry, which this client is to fill.
    fn vivify(&mut self, key: &[u8], flags: &MetaFlags<'_>, expiry: Expiry) {
        let expires_us = self.moment(expiry);
        let put = Put {
            name: key,
            value: b"",
            mode: PutMode::Add,
            attributes: Attributes {
                expires_us,
                version: flags.new_cas,
                marks: Marks {
                    base64: flags.has(b'b'),
                    won: true,
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
        self.broker.statistics.count_miss();
        let counters = &mut self.broker.memcached.counters;
        counters.cmd_get += 1;
        counters.get_hits += 1;
        counters.total_items += 1;
        let now_us = self.now_us();
        let facts = Facts {
            key,
            in_base64: flags.has(b'b') || needs_base64(key),
            cas: done.version,
            ttl_s: flags
                .expiry_at_t()
                .and_then(|expiry| self.moment(expiry))
                .map(|at_us| seconds_until(at_us, now_us)),
            ..Facts::default()
        };
        let length = flags.has(b'v').then_some(0);
        let returned = (flags, returned::BY_HIT);
        self.append(|to| {
            answer::meta(to, "HD", length, returned, &facts, Renewal::Won);
            if length.is_some() {
                encode::line(to, &[]);
            }
        });
        self.watch_lookup(key, Lookup::Found(0));
        if !flags.has(b'u') {
            self.broker.note_use(key, self.now, self.out);
        }
    }

    fn meta_delete(&mut self, key: &[u8], flags: &MetaFlags<'_>) {
        let (empties, is_stale) = (flags.has(b'x'), flags.has(b'I'));
        let removed = match empties || is_stale {
            true => self.spoil(key, flags, empties, is_stale),
            false => self.remove(key, flags.cas, "md"),
        };
        match removed {
            Removed::Done if flags.has(b'q') => {}
            Removed::Done => self.answer_without_entry("HD", key, flags),
            Removed::NotFound => self.answer_without_entry("NF", key, flags),
            Removed::Exists => self.answer_without_entry("EX", key, flags),
        }
    }

    fn spoil(
        &mut self,
        key: &[u8],
        flags: &MetaFlags<'_>,
        empties: bool,
        is_stale: bool,
    ) -> Removed {
        let spoil = Spoil {
            name: key,
            empties,
            is_stale,
            keeps_expiry: !empties && flags.expiry.is_none(),
            attributes: Attributes {
                client_flags: flags.client_flags,
                expires_us: flags.expiry.and_then(|expiry| self.moment(expiry)),
                version: flags.new_cas,
                ..Attributes::default()
            },
            compare: flags.cas,
        };
        let by = self.by();
        let removed = self.broker.spoil(&spoil, by, self.now, self.out);
        let removed = removed.unwrap_or(Removed::NotFound);
        let counters = &mut self.broker.memcached.counters;
        match removed {
            Removed::Done if is_stale => {}
            Removed::Done => counters.delete_hits += 1,
            Removed::NotFound | Removed::Exists => counters.delete_misses += 1,
        }
        removed
    }

    pub fn meta_debug(&mut self, debugged: &Debugged<'_>) {
        self.broker.memcached.counters.cmd_meta += 1;
        let mut scratch = KeyScratch::default();
        let key = match debugged.is_base64 {
            true => decode_key(debugged.key, &mut scratch),
            false => Some(debugged.key),
        };
        let Some(key) = key else {
            return self.fail(Error::Format);
        };
        let now_us = self.now_us();
        let Some(found) = self.broker.look_up(key, self.now) else {
            return self.answer("EN");
        };
        let facts = facts(key, &found, found.expires_us(), now_us);
        let size = found.size();
        self.append(|to| answer::meta_debug(to, &facts, size));
    }
}

/// The key of a meta command; `None` if it should be base64 and is not.
pub fn key_of<'k>(
    meta: &Meta<'k>,
    flags: &MetaFlags<'_>,
    scratch: &'k mut KeyScratch,
) -> Option<&'k [u8]> {
    match flags.has(b'b') {
        true => decode_key(meta.key, scratch),
        false => Some(meta.key),
    }
}

/// The facts of an entry, with the expiry that is in force at the flag t.
fn facts<'k>(key: &'k [u8], found: &Found<'_>, expires_us: Option<u64>, now_us: u64) -> Facts<'k> {
    Facts {
        key,
        in_base64: found.marks().base64 || needs_base64(key),
        cas: found.version(),
        client_flags: found.client_flags(),
        length: found.value().unwrap_or_default().len(),
        ttl_s: expires_us.map(|at_us| seconds_until(at_us, now_us)),
        idle_s: seconds_since(found.accessed_us(), now_us),
        was_used: found.was_used(),
    }
}

/// The client's part in renewing an entry. Who may not write never wins.
fn renewal(found: &Found<'_>, may_write: bool, is_due: bool) -> Renewal {
    let Marks { stale, won, .. } = found.marks();
    match (stale, won) {
        (false, true) => Renewal::Taken,
        (true, true) => Renewal::TakenStale,
        (true, false) if may_write => Renewal::WonStale,
        (true, false) => Renewal::Stale,
        (false, false) if may_write && is_due => Renewal::Won,
        (false, false) => Renewal::None,
    }
}

/// Reports whether less time is left than R wants, both as they are shown.
fn is_due(expires_us: Option<u64>, recache: Expiry, now_us: u64) -> bool {
    let Some(expires_us) = expires_us else {
        return false;
    };
    match recache {
        Expiry::Never | Expiry::AtOnce => false,
        Expiry::AfterS(seconds) => seconds_until(expires_us, now_us) < u64::from(seconds),
        Expiry::AtS(seconds) => expires_us.div_ceil(SECOND_US) < u64::from(seconds),
    }
}
