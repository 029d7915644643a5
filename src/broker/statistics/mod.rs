//! The counts of a node: past events, for people and for monitoring. [`catalogue`] says what each figure means that is shown
//! of them.

mod busiest;
mod by_language;
pub mod catalogue;
mod headline;
mod slow;
mod turns;
mod verb;

use super::close_reason::CloseReason;
use super::log_limit::LogLimit;
use slow::SlowRequests;
use verb::VERBS;

pub use busiest::Busiest;
pub use by_language::ByLanguage;
pub use catalogue::Metric;
pub use headline::Headline;
pub use slow::{HeavyRequest, LongestTurn, MAX_NAME, SlowRequest};
pub use turns::{Turn, TurnPart, Turns};
pub use verb::Verb;

const REASONS: usize = CloseReason::ALL.len();

pub struct Statistics {
    /// Connections that were made.
    pub connections: ByLanguage,
    requests: [u64; VERBS],
    /// Lines of other servers.
    pub link_lines: u64,
    /// Look-ups of entries for clients, and those that found none.
    pub look_ups: u64,
    pub misses: u64,
    /// Changes of entries, whoever made them.
    pub writes: u64,
    /// Signals that came from clients, and those that came from other servers.
    pub signals: ByLanguage,
    pub link_signals: u64,
    /// Signals that were delivered to clients.
    pub deliveries: ByLanguage,
    pub permission_denied: u64,
    /// Requests that no language knows in that form.
    pub unknown_commands: u64,
    /// Logins with a wrong user or password.
    pub wrong_logins: u64,
    /// Entries and tombstones that were dropped for their age, and the entries among them.
    pub expired: u64,
    pub stale: u64,
    pub evicted: u64,
    /// Tombstones among the expired ones.
    pub deleted: u64,
    /// Entries of clients that were larger than is allowed.
    pub too_large: u64,
    pub slow: SlowRequests,
    pub busiest: Busiest,
    closed: [u64; REASONS],
    log_limits: [LogLimit; REASONS],
}

impl Default for Statistics {
    fn default() -> Statistics {
        Statistics {
            connections: ByLanguage::default(),
            requests: [0; VERBS],
            link_lines: 0,
            look_ups: 0,
            misses: 0,
            writes: 0,
            signals: ByLanguage::default(),
            link_signals: 0,
            deliveries: ByLanguage::default(),
            permission_denied: 0,
            unknown_commands: 0,
            wrong_logins: 0,
            deleted: 0,
            expired: 0,
            stale: 0,
            evicted: 0,
            too_large: 0,
            slow: SlowRequests::default(),
            busiest: Busiest::default(),
            closed: [0; REASONS],
            log_limits: [LogLimit::default(); REASONS],
        }
    }
}

impl Statistics {
    /// Counts a request of a client. If it is to be handed over again, it is counted then.
    #[inline(always)]
    pub fn count_request(&mut self, verb: Verb, is_handled: bool) {
        self.requests[verb as usize] += u64::from(is_handled);
    }

    /// Counts requests of a client that were handled.
    pub fn count_requests(&mut self, verb: Verb, count: u64) {
        self.requests[verb as usize] += count;
    }

    /// Counts a look-up of an entry that found none.
    pub fn count_miss(&mut self) {
        self.look_ups += 1;
        self.misses += 1;
    }

    /// How many requests with that verb came.
    pub fn requests(&self, verb: Verb) -> u64 {
        self.requests[verb as usize]
    }

    /// How many requests came, and lines of other servers.
    pub fn lines(&self) -> u64 {
        self.requests.iter().sum::<u64>() + self.link_lines
    }

    /// Counts the end of a connection. Returns how many like it went unlogged before, if it may be logged.
    pub fn count_closed(&mut self, reason: CloseReason, now_us: u64) -> Option<u64> {
        self.closed[reason as usize] += 1;
        self.log_limits[reason as usize].admit(now_us)
    }

    /// How many connections ended for that reason.
    pub fn closed(&self, reason: CloseReason) -> u64 {
        self.closed[reason as usize]
    }
}
