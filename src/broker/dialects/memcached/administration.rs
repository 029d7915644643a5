//! Commands that steer the server.

use super::exchange::Exchange;
use super::state::DelayedFlush;
use crate::broker::Broker;
use crate::broker::events::Now;
use crate::broker::interclacks::LegacyForm;
use crate::broker::operations::By;
use crate::broker::output::Output;
use crate::limits::{MIB, SECOND_US};
use crate::protocol::memcached::administration::Watched;
use crate::protocol::memcached::request::Reply;
use crate::protocol::memcached::{Expiry, Request};

/// The version of memcached whose commands are spoken, and this program's. Clients read three numbers at the beginning;
/// some split at blanks.
pub const VERSION: &str = concat!("1.6.45-clacksd-", env!("CARGO_PKG_VERSION"));

/// The bounds of `cache_memlimit`, in MiB.
const SMALLEST_LIMIT: u32 = 8;
const GREATEST_LIMIT: u32 = 1_000_000_000;

/// The longest time for which the tree's clock is not looked at while a `flush_all` waits: it may be set.
const LONGEST_WAIT_US: u64 = 60 * SECOND_US;

impl<O: Output> Exchange<'_, O> {
    pub fn administrate(&mut self, request: &Request<'_>) {
        match *request {
            Request::Version => self.answer(&format!("VERSION {VERSION}")),
            Request::FlushAll(expiry, reply) => self.flush_all(expiry, reply),
            Request::Watch(watched) => self.watch(watched),
            Request::CacheMemLimit(limit, reply) => self.limit_memory(limit, reply),
            Request::Shutdown(_) => {
                log::info!("shutting down, as a memcached client asked");
                self.broker.handle_shutdown(self.now);
            }
            // The others have no effect.
            _ => self.reply(request.reply(), "OK"),
        }
    }

    fn flush_all(&mut self, expiry: Expiry, reply: Reply) {
        self.broker.memcached.counters.cmd_flush += 1;
        let now_us = self.now_us();
        let at_us = match expiry {
            Expiry::Never | Expiry::AtOnce => Some(now_us),
            Expiry::AfterS(seconds) => Some(now_us + u64::from(seconds) * SECOND_US),
            // A date that has gone by clears nothing.
            Expiry::AtS(seconds) => {
                Some(u64::from(seconds) * SECOND_US).filter(|&at_us| at_us > now_us)
            }
        };
        self.broker.memcached.delayed_flush = at_us.map(|at_us| DelayedFlush {
            by: self.id,
            at_us,
            wake_us: self.now.monotonic_us,
        });
        handle_deadline(self.broker, self.now, self.out);
        self.reply(reply, "OK");
    }

    fn watch(&mut self, watched: Watched) {
        self.answer("OK");
        let session = self.broker.sessions.get_mut(self.id);
        if let Some(conversation) = session.and_then(|session| session.memcached.as_mut()) {
            conversation.is_watcher = true;
            self.broker.memcached.watchers.add(self.id, watched);
        }
    }

    /// `cache_memlimit`, in MiB.
    fn limit_memory(&mut self, limit: u32, reply: Reply) {
        if limit < SMALLEST_LIMIT {
            let line = "MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m";
            return self.reply(reply, line);
        }
        if limit > GREATEST_LIMIT {
            let line = "MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes";
            return self.reply(reply, line);
        }
        let bytes = limit as usize * MIB;
        self.broker.settings.cache_max = Some(bytes);
        self.broker.cache.limit(bytes);
        self.reply(reply, "OK");
    }
}

/// The moment at which [`handle_deadline`] is to be called next (monotonic).
pub fn deadline(broker: &Broker) -> Option<u64> {
    let delayed = broker.memcached.delayed_flush;
    delayed.map(|delayed| delayed.wake_us)
}

/// Carries a delayed `flush_all` out when its time has come.
pub fn handle_deadline<O: Output>(broker: &mut Broker, now: Now, out: &mut O) {
    let Some(delayed) = &mut broker.memcached.delayed_flush else {
        return;
    };
    let now_us = broker.tree.now_us(now);
    if now_us < delayed.at_us {
        let left_us = (delayed.at_us - now_us).min(LONGEST_WAIT_US);
        delayed.wake_us = now.monotonic_us + left_us;
        return;
    }
    let by = By {
        connection: delayed.by,
        form: LegacyForm::Line(b"CLEARCACHE"),
    };
    broker.memcached.delayed_flush = None;
    broker.clear(by, now, out);
}
