//! The memory of the dialect: of the node, and of each connection.

use super::binary_protocol::BinaryPeers;
use super::long_answers::LongAnswer;
use super::watch::Watchers;
use crate::broker::events::ConnectionId;

/// All that a node keeps for memcached clients beside its entries and sessions.
#[derive(Default)]
pub struct Memcached {
    pub counters: Counters,
    pub binary_peers: BinaryPeers,
    pub watchers: Watchers,
    /// A `flush_all` that waits for its time.
    pub delayed_flush: Option<DelayedFlush>,
}

/// A `flush_all` that waits.
#[derive(Debug, Clone, Copy)]
pub struct DelayedFlush {
    /// The client that asked for it, who may be gone.
    pub by: ConnectionId,
    /// In microseconds of the tree's time.
    pub at_us: u64,
    /// When the tree's time is looked at next (monotonic).
    pub wake_us: u64,
}

/// The session of a memcached client, beside what every session has.
#[derive(Default)]
pub struct Conversation {
    pub answer: Option<LongAnswer>,
    /// When a command came last (monotonic).
    pub last_command_us: u64,
    /// It gets lines of the log, and what it sends is dropped.
    pub is_watcher: bool,
}

/// Events since the start or the last `stats reset`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    pub cmd_get: u64,
    pub get_hits: u64,
    pub get_misses: u64,
    pub get_expired: u64,
    pub cmd_touch: u64,
    pub touch_hits: u64,
    pub touch_misses: u64,
    pub cmd_set: u64,
    pub cas_hits: u64,
    pub cas_misses: u64,
    pub cas_badval: u64,
    pub delete_hits: u64,
    pub delete_misses: u64,
    pub incr_hits: u64,
    pub incr_misses: u64,
    pub decr_hits: u64,
    pub decr_misses: u64,
    pub cmd_flush: u64,
    pub cmd_meta: u64,
    pub auth_cmds: u64,
    pub auth_errors: u64,
    pub store_too_large: u64,
    pub bytes_read: u64,
    pub bytes_written: u64,
    pub total_items: u64,
    pub evictions: u64,
    /// Those of entries that had an expiry.
    pub evictions_with_expiry: u64,
    /// For how many seconds the entry that was evicted last had not been used.
    pub evicted_idle_s: u64,
    /// Entries found expired.
    pub reclaimed: u64,
    /// Connections made, and those refused, before the last `stats reset`.
    pub connections_before: u64,
    pub rejected_before: u64,
}
