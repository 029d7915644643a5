//! The figures of the status line in the log.

use super::Statistics;
use crate::broker::close_reason::CloseReason;
use std::fmt;

/// The broker's part of the status line.
pub struct Headline {
    pub clients: usize,
    /// Connections of memcached clients among them.
    pub memcached: u64,
    /// Connections of NATS clients among them.
    pub nats: u64,
    /// Connections of HTTP clients among them.
    pub http: u64,
    pub monitors: usize,
    /// Interclacks links that are up.
    pub links: usize,
    pub uplink: &'static str,
    /// The reasons why the server is not well.
    pub faults: Vec<&'static str>,
    pub names_listened_to: usize,
    pub subscriptions: usize,
    pub entries: usize,
    pub tombstones: usize,
    pub cache_bytes: usize,
    pub journal: &'static str,
}

impl Headline {
    pub fn write(&self, statistics: &Statistics, f: &mut impl fmt::Write) -> fmt::Result {
        let health = match self.faults.is_empty() {
            true => "ok".to_owned(),
            // One word, as the others.
            false => self.faults.join("+").replace(' ', "_"),
        };
        write!(
            f,
            "clients={} memcached={} nats={} http={} monitors={} links={} uplink={} health={health} names_listened_to={} subscriptions={} entries={} tombstones={} cache_bytes={} journal={} connections={} \
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
            statistics.connections.sum(),
            statistics.lines(),
            statistics.signals.sum() + statistics.link_signals,
            statistics.deliveries.sum(),
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
