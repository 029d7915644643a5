//! All figures of a node: their names, kinds and meanings. STATUS, the status in JSON, and the metrics for Prometheus show
//! all of them by these names; a test compares the list with clacksd(8).

/// A figure, or several with labels.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// Words joined by underscores, with the unit at the end, if there is one.
    pub name: &'static str,
    pub kind: Kind,
    /// The names of the labels of each value.
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

/// The kinds of figures, as monitoring distinguishes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A number that only grows, from the start of the process.
    Counter,
    /// A present value.
    Gauge,
    /// The distribution of a length of time.
    Histogram,
    /// A constant 1 whose labels carry the information.
    Info,
}

macro_rules! metrics {
    ($($id:ident $kind:ident $name:literal [$($label:literal)*] $help:literal;)*) => {
        $(pub static $id: Metric = Metric {
            name: $name,
            kind: Kind::$kind,
            labels: &[$($label),*],
            help: $help,
        };)*

        /// All of them, in the order in which they are shown.
        pub static ALL: &[&Metric] = &[$(&$id),*];
    };
}

metrics! {
    BUILD Info "build" ["version"] "The version of the server.";
    UPTIME Gauge "uptime_seconds" [] "The time since the start.";
    PROCESSOR Counter "processor_seconds" ["mode"] "Processor time, of the program (user) and of the system for it.";
    MEMORY Gauge "memory_bytes" ["part"] "Memory: of the cache, of connections with their sessions, buffers and subscriptions, of records on their way to the journal.";
    RESIDENT Gauge "resident_memory_bytes" [] "All memory of the process.";

    CLIENTS Gauge "clients" ["language"] "Connections, also those that have not logged in.";
    CLIENTS_MAX Gauge "clients_limit" [] "The most connections at once, as --max-clients sets it.";
    USERS Gauge "user_clients" ["user"] "Connections of a user who has logged in; of the hundred users with most, and of all others together.";
    MONITORS Gauge "monitors" [] "Connections that see all traffic.";
    CONNECTIONS Counter "connections" ["language"] "Connections that were accepted, and dialled masters.";
    CLOSES Counter "closes" ["reason"] "Connections that ended or were refused, by the reason in the log.";
    ACCEPT_RESTS Counter "accept_rests" [] "How often no connections were accepted for a moment, because descriptors or memory had run out.";

    REQUESTS Counter "requests" ["language" "verb"] "Requests of clients.";
    REFUSALS Counter "refusals" ["reason"] "Requests that were refused: for want of a permission, as unknown or in a wrong form, because an entry was too large, or because user or password were wrong.";
    RECEIVED Counter "received_bytes" [] "Bytes read from connections.";
    SENT Counter "sent_bytes" [] "Bytes written to connections.";

    ENTRIES Gauge "entries" [] "Entries in the cache.";
    TOMBSTONES Gauge "tombstones" [] "Names of removed entries that are remembered, so that other servers remove them too.";
    CACHE_MAX Gauge "cache_limit_bytes" [] "The most memory for the cache, as --cache-max sets it; 0 if there is no limit.";
    HITS Counter "cache_hits" [] "Look-ups of entries by clients that found one.";
    MISSES Counter "cache_misses" [] "Look-ups of entries by clients that found none.";
    WRITES Counter "cache_writes" [] "Changes of entries, by clients and by other servers.";
    EVICTIONS Counter "evictions" [] "Entries and tombstones that were dropped to make room.";
    EXPIRIES Counter "expiries" [] "Entries that were dropped because they had expired or had not been used for long.";
    FORGOTTEN Counter "forgotten_tombstones" [] "Tombstones that were dropped because their time was over.";
    STALE Counter "stale_entries" [] "Entries among the expiries that had not been used for long.";

    NAMES Gauge "names_listened_to" [] "Names that somebody listens to.";
    SUBSCRIPTIONS Gauge "subscriptions" [] "Subscriptions to names, patterns and subjects.";
    SIGNALS Counter "signals" ["language"] "Signals that clients sent.";
    DELIVERIES Counter "deliveries" ["language"] "Signals that were delivered to clients.";
    LINK_SIGNALS Counter "link_signals" [] "Signals that came from other servers.";

    LINKS Gauge "links" ["role"] "Links to other servers that are up, to masters and to slaves.";
    UPLINK Gauge "uplink_up" [] "1 if the link to the master is up, else 0; only of servers that have a master.";
    LINK_LINES Counter "link_lines" [] "Lines of other servers.";
    LINK_QUEUED Gauge "link_queued_bytes" ["link"] "Bytes that wait to be sent on a link.";
    LINK_CHANGED Gauge "link_changed_names" ["link"] "Names that have changed while much waited to be sent on a link; they are sent when there is room.";
    LINK_ROUND_TRIP Gauge "link_round_trip_seconds" ["link"] "The time that the last answer of a peer took: to a PING, or to the making of the link; only of peers that have answered.";

    JOURNAL_SAVING Gauge "journal_saving" [] "1 if the changes of the cache are being saved, 0 after a failure; only with --persist.";
    JOURNAL_RECORDS Counter "journal_records" [] "Changes that were recorded.";
    JOURNAL_LAG Gauge "journal_lag_records" [] "Changes that were recorded and are not as safe yet as --fsync says.";
    JOURNAL_LENGTH Gauge "journal_length_bytes" [] "The length of the journal, about.";
    JOURNAL_REWRITES Counter "journal_rewrites" [] "How often the journal was rewritten.";
    JOURNAL_REWRITTEN Gauge "journal_rewritten_timestamp_seconds" [] "When the journal was last rewritten, in seconds since 1970; 0 if it was not since the start.";
    JOURNAL_FAILURES Counter "journal_failures" [] "How often saving or rewriting failed.";
    JOURNAL_ERROR Info "journal_error" ["error"] "The last failure to save or to rewrite; only if there was one.";

    TURNS Histogram "turn_seconds" [] "The lengths of turns of the loop.";
    LONGEST_TURN Gauge "longest_turn_seconds" [] "The length of the longest turn.";
    LONGEST_TURN_WORK Gauge "longest_turn_work_bytes" [] "The work of that turn, in bytes moved or what takes as long.";
    YIELDS Counter "yields" [] "How often a connection had to wait for its next turn, because it had used up its share of one.";
    SLOW Counter "slow_requests" [] "Long turns with a request that did much more work than its share, and did not ask for the status.";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_end_in_no_suffix_that_a_format_adds() {
        let names: BTreeSet<_> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len());
        for metric in ALL {
            let suffixes = ["_total", "_info", "_bucket", "_sum", "_count"];
            assert!(
                !suffixes.iter().any(|suffix| metric.name.ends_with(suffix)),
                "{metric:?}"
            );
            assert!(metric.help.ends_with('.'), "{metric:?}");
        }
    }
}
