//! Counters of past events, for the status line, and a limit on the log lines about such events.

use super::close_reason::CloseReason;
use crate::limits::{LOG_LINES_PER_SECOND, SECOND_US};
use std::fmt;

const REASONS: usize = CloseReason::ALL.len();

#[derive(Default)]
pub struct Statistics {
    pub connections: u64,
    pub lines: u64,
    /// SETs and NOTIFYs that came, and how often one was delivered.
    pub signals: u64,
    pub deliveries: u64,
    pub permission_denied: u64,
    pub unknown_commands: u64,
    /// Entries and tombstones that were dropped for their age, and the entries among them.
    pub expired: u64,
    pub stale: u64,
    pub evicted: u64,
    /// Entries larger than the cache.
    pub too_large: u64,
    closed: [u64; REASONS],
    log_limits: [LogLimit; REASONS],
}

impl Statistics {
    /// Counts it; says whether it may be logged, and how many like it went unlogged before.
    pub fn count_closed(&mut self, reason: CloseReason, now_us: u64) -> Option<u64> {
        self.closed[reason as usize] += 1;
        self.log_limits[reason as usize].admit(now_us)
    }

    /// How many connections ended so.
    pub fn closed(&self, reason: CloseReason) -> u64 {
        self.closed[reason as usize]
    }
}

/// Some lines a second; what is beyond is counted for the next line.
#[derive(Clone, Copy, Default)]
pub struct LogLimit {
    second: u64,
    admitted: u32,
    suppressed: u64,
}

impl LogLimit {
    pub fn admit(&mut self, now_us: u64) -> Option<u64> {
        let second = now_us / SECOND_US;
        if second != self.second {
            self.second = second;
            self.admitted = 0;
        }
        if self.admitted == LOG_LINES_PER_SECOND {
            self.suppressed += 1;
            return None;
        }
        self.admitted += 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

/// Says how many lines were left out, if any.
pub struct Suppressed(pub u64);

impl fmt::Display for Suppressed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            count => write!(f, " ({count} more not logged)"),
        }
    }
}

/// The broker's part of the status line.
pub struct Status {
    pub clients: usize,
    /// Connections of memcached clients among them.
    pub memcached: usize,
    /// Connections of NATS clients among them.
    pub nats: usize,
    /// Connections of HTTP clients among them.
    pub http: usize,
    pub monitors: usize,
    /// Interclacks links that are up.
    pub links: usize,
    pub uplink: &'static str,
    pub names_listened_to: usize,
    pub subscriptions: usize,
    pub entries: usize,
    pub tombstones: usize,
    pub cache_bytes: usize,
    pub journal: &'static str,
}

impl Status {
    pub(super) fn write(&self, statistics: &Statistics, f: &mut impl fmt::Write) -> fmt::Result {
        write!(
            f,
            "clients={} memcached={} nats={} http={} monitors={} links={} uplink={} names_listened_to={} subscriptions={} entries={} tombstones={} cache_bytes={} journal={} connections={} \
             lines={} signals={} deliveries={} expired={} stale={} evicted={} too_large={} permission_denied={} unknown_commands={}",
            self.clients,
            self.memcached,
            self.nats,
            self.http,
            self.monitors,
            self.links,
            self.uplink,
            self.names_listened_to,
            self.subscriptions,
            self.entries,
            self.tombstones,
            self.cache_bytes,
            self.journal,
            statistics.connections,
            statistics.lines,
            statistics.signals,
            statistics.deliveries,
            statistics.expired,
            statistics.stale,
            statistics.evicted,
            statistics.too_large,
            statistics.permission_denied,
            statistics.unknown_commands,
        )?;
        let closed = CloseReason::ALL
            .iter()
            .filter(|reason| statistics.closed(**reason) > 0);
        closed
            .into_iter()
            .try_for_each(|reason| write!(f, " {reason}={}", statistics.closed(*reason)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_lines_are_limited_per_second_and_the_rest_is_counted() {
        let mut limit = LogLimit::default();
        let admitted: Vec<_> = (0..100)
            .filter_map(|_| limit.admit(5 * SECOND_US))
            .collect();
        assert_eq!(admitted, [0; LOG_LINES_PER_SECOND as usize]);
        assert_eq!(
            limit.admit(6 * SECOND_US),
            Some(100 - u64::from(LOG_LINES_PER_SECOND))
        );
        assert_eq!(limit.admit(6 * SECOND_US), Some(0));
    }
}
