//! Deadlines of calls.

use crate::limits::CENTURY_S;
use std::time::{Duration, Instant};

/// The time after `timeout`, at most a century from now.
pub fn deadline_after(timeout: Duration) -> Instant {
    /// `Instant` overflows for `Duration::MAX`.
    const LONGEST: Duration = Duration::from_secs(CENTURY_S);
    Instant::now() + timeout.min(LONGEST)
}
