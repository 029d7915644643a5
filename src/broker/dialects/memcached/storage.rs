//! Text commands that store, delete and touch entries.

use super::exchange::Exchange;
use super::frames::max_value;
use super::watch::StoreStatus;
use crate::broker::cache::TooLarge;
use crate::broker::operations::{Compare, Put, PutMode, Removed, Stored};
use crate::broker::output::Output;
use crate::protocol::attributes::Attributes;
use crate::protocol::memcached::request::{Block, Reply, Store, StoreVerb};
use crate::protocol::memcached::{Error, Expiry};

/// The reason for which a block can't be stored.
pub enum Unfit {
    TooLarge,
    BadEnd,
}

impl<O: Output> Exchange<'_, O> {
    /// The value in a block.
    pub fn value_in<'b>(&self, block: Block<'b>) -> Result<&'b [u8], Unfit> {
        let max = max_value(self.broker);
        match block {
            Block::Value(value) if value.len() <= max => Ok(value),
            Block::BadEnd(length) if length <= max => Err(Unfit::BadEnd),
            _ => Err(Unfit::TooLarge),
        }
    }

    pub fn store(&mut self, store: &Store<'_>) {
        self.broker.memcached.counters.cmd_set += 1;
        let Store { key, reply, .. } = *store;
        let outcome = match self.value_in(store.block) {
            Ok(value) => self.store_value(store, value),
            Err(Unfit::BadEnd) => return self.reply(reply, Error::DataChunk.text()),
            Err(Unfit::TooLarge) => {
                if store.verb == StoreVerb::Set {
                    self.remove_outdated(key);
                }
                Err(TooLarge)
            }
        };
        let status = StoreStatus::of(outcome);
        if let StoreVerb::Cas(_) = store.verb {
            self.count_cas(status);
        }
        let command = match store.verb {
            StoreVerb::Set => "set",
            StoreVerb::Add => "add",
            StoreVerb::Replace => "replace",
            StoreVerb::Append => "append",
            StoreVerb::Prepend => "prepend",
            StoreVerb::Cas(_) => "cas",
        };
        let (expires_us, length) = (self.moment(store.expiry), store.block.length());
        self.note_store(key, status, command, expires_us, length);
        let line = match status {
            StoreStatus::Stored => "STORED",
            StoreStatus::NotStored => "NOT_STORED",
            StoreStatus::Exists => "EXISTS",
            StoreStatus::NotFound => "NOT_FOUND",
            StoreStatus::TooLarge => Error::TooLarge.text(),
        };
        self.reply(reply, line);
    }

    fn store_value(&mut self, store: &Store<'_>, value: &[u8]) -> Result<Stored, TooLarge> {
        let compare = match store.verb {
            StoreVerb::Cas(version) => Some(Compare {
                version,
                allows_older: false,
            }),
            _ => None,
        };
        let put = Put {
            name: store.key,
            value,
            mode: match store.verb {
                StoreVerb::Set | StoreVerb::Cas(_) => PutMode::Set,
                StoreVerb::Add => PutMode::Add,
                StoreVerb::Replace => PutMode::Replace,
                StoreVerb::Append => PutMode::Append { makes: false },
                StoreVerb::Prepend => PutMode::Prepend { makes: false },
            },
            attributes: Attributes {
                client_flags: store.flags,
                expires_us: self.moment(store.expiry),
                ..Attributes::default()
            },
            compare,
        };
        let by = self.by();
        self.broker.put(&put, by, self.now, self.out)
    }

    /// Removes the entry whose new value was too large, so that its old value is not read for it.
    pub fn remove_outdated(&mut self, key: &[u8]) {
        let by = self.by();
        // A tombstone that has no room leaves nothing to read either.
        let _ = self.broker.remove_if(key, None, by, self.now, self.out);
    }

    /// Counts a store with a condition on the cas.
    pub fn count_cas(&mut self, status: StoreStatus) {
        let counters = &mut self.broker.memcached.counters;
        match status {
            StoreStatus::Stored => counters.cas_hits += 1,
            StoreStatus::Exists => counters.cas_badval += 1,
            StoreStatus::NotFound => counters.cas_misses += 1,
            StoreStatus::NotStored | StoreStatus::TooLarge => {}
        }
    }

    /// Counts a store, and tells watchers of it.
    pub fn note_store(
        &mut self,
        key: &[u8],
        status: StoreStatus,
        command: &str,
        expires_us: Option<u64>,
        length: usize,
    ) {
        let counters = &mut self.broker.memcached.counters;
        match status {
            StoreStatus::Stored => counters.total_items += 1,
            StoreStatus::TooLarge => {
                counters.store_too_large += 1;
                self.broker.statistics.too_large += 1;
            }
            _ => {}
        }
        self.watch_store(key, status, command, expires_us, length);
    }

    pub fn delete(&mut self, key: &[u8], reply: Reply) {
        let removed = self.remove(key, None, "delete");
        self.reply(
            reply,
            match removed {
                Removed::Done => "DELETED",
                Removed::NotFound | Removed::Exists => "NOT_FOUND",
            },
        );
    }

    /// Removes an entry if it has that cas, where one is given.
    pub fn remove(&mut self, key: &[u8], cas: Option<u64>, command: &str) -> Removed {
        let length = self.length_of(key);
        let by = self.by();
        let removed = self.broker.remove_if(key, cas, by, self.now, self.out);
        // Without room for a tombstone nothing is left either.
        let removed = removed.unwrap_or(Removed::Done);
        let counters = &mut self.broker.memcached.counters;
        match removed {
            Removed::Done => {
                counters.delete_hits += 1;
                self.watch_deletion(key, command, length);
            }
            Removed::NotFound | Removed::Exists => counters.delete_misses += 1,
        }
        removed
    }

    /// The length of a value, for watchers.
    fn length_of(&self, key: &[u8]) -> usize {
        if self.is_unwatched() {
            return 0;
        }
        let found = self.broker.look_up(key, self.now);
        found
            .and_then(|found| found.value())
            .map_or(0, |value| value.len())
    }

    pub fn touch(&mut self, key: &[u8], expiry: Expiry, reply: Reply) {
        let (moment, by) = (self.moment(expiry), self.by());
        let is_hit = self.broker.touch(key, moment, by, self.now, self.out);
        let counters = &mut self.broker.memcached.counters;
        counters.cmd_touch += 1;
        counters.touch_hits += u64::from(is_hit);
        counters.touch_misses += u64::from(!is_hit);
        self.reply(reply, if is_hit { "TOUCHED" } else { "NOT_FOUND" });
    }
}
