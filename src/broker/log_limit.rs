//! A limit on the log lines about events that can come very often.

use crate::limits::{LOG_LINES_PER_SECOND, SECOND_US};
use std::fmt;

/// Some lines a second; what is beyond is counted for the next line.
#[derive(Clone, Copy, Default)]
pub struct LogLimit {
    second: u64,
    admitted: u32,
    suppressed: u64,
}

impl LogLimit {
    /// Returns the number of lines that were left out before, if a line may be logged now.
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

    /// When the lines that were left out are to be counted in a line of their own, unless another one is logged until
    /// then.
    pub fn deadline(&self) -> Option<u64> {
        (self.suppressed > 0).then_some((self.second + 1) * SECOND_US)
    }

    /// Takes their number when that time has come.
    pub fn take_due(&mut self, now_us: u64) -> Option<Suppressed> {
        self.deadline()
            .filter(|at_us| *at_us <= now_us)
            .map(|_| Suppressed(std::mem::take(&mut self.suppressed)))
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

    #[test]
    fn lines_that_were_left_out_are_counted_in_the_next_second() {
        let mut limit = LogLimit::default();
        assert_eq!(limit.deadline(), None);
        for _ in 0..LOG_LINES_PER_SECOND + 3 {
            limit.admit(5 * SECOND_US);
        }
        assert_eq!(limit.deadline(), Some(6 * SECOND_US));
        assert!(limit.take_due(6 * SECOND_US - 1).is_none());
        let count = limit.take_due(6 * SECOND_US).map(|count| count.0);
        assert_eq!((count, limit.deadline()), (Some(3), None));
        assert_eq!(limit.admit(6 * SECOND_US), Some(0));
    }
}
