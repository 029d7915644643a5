//! Log lines about links. Peers may cause any number of such lines, so they are limited.

use super::Tree;
use crate::broker::Broker;
use crate::broker::events::Now;
use crate::broker::log_limit::{LogLimit, Suppressed};
use log::Level;
use std::fmt;

/// The limits for what is logged of links, by severity.
#[derive(Default)]
pub struct LinkLog {
    /// Links that come and go.
    news: LogLimit,
    /// Faults of single lines.
    faults: LogLimit,
    /// Links that can't be.
    errors: LogLimit,
}

impl Tree {
    /// Logs something of a link, unless there was much of that severity lately.
    pub fn log(&mut self, level: Level, what: fmt::Arguments<'_>, now: Now) {
        let limit = match level {
            Level::Error => &mut self.log.errors,
            Level::Warn => &mut self.log.faults,
            _ => &mut self.log.news,
        };
        if let Some(suppressed) = limit.admit(now.monotonic_us) {
            log::log!(level, "interclacks: {what}{}", Suppressed(suppressed));
        }
    }
}

impl Broker {
    /// Logs it when another server counts under this server's share id.
    pub(in crate::broker) fn report_share_contest(&mut self, now: Now) {
        if self.cache.take_share_contest() {
            self.tree.log(
                Level::Warn,
                format_args!(
                    "another server counts under this server's share id, as with a copy of its journal: this server goes on with a new one"
                ),
                now,
            );
        }
    }

    /// Counts and logs an entry of another server that has no room here.
    pub(in crate::broker) fn log_too_large(&mut self, name: &[u8], now: Now) {
        self.statistics.too_large += 1;
        let name = start_of(name);
        self.tree.log(
            Level::Warn,
            format_args!("an entry larger than the cache was not taken: {name}"),
            now,
        );
    }
}

/// The start of a line or a name, in a form for the log.
pub(super) fn start_of(line: &[u8]) -> String {
    line[..line.len().min(80)].escape_ascii().to_string()
}
