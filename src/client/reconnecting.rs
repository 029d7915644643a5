//! The intervals between attempts to reconnect.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

/// An exponential backoff with a random part, so that the clients of a restarted server don't all reconnect at the same
/// moment.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
    at: Option<Instant>,
}

/// The first pause. Each failure doubles it.
const FIRST: Duration = Duration::from_millis(100);
/// The longest pause, before the random part, by which it can become half as long again. A client is connected again
/// within five seconds of its server's return.
const LONGEST: Duration = Duration::from_secs(3);

impl Backoff {
    /// The earliest time of the next dial.
    pub fn at(&mut self) -> Instant {
        *self.at.get_or_insert_with(Instant::now)
    }

    /// Records a lost connection or a failed dial.
    pub fn failed(&mut self) {
        let pause = FIRST
            .saturating_mul(1 << self.failures.min(16))
            .min(LONGEST);
        self.failures += 1;
        self.at = Some(Instant::now() + pause.mul_f64(0.5 + random()));
    }

    /// Records a successful dial.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }
}

/// A random number from 0 to 1. Hash keys are the only source of randomness in the standard library.
fn random() -> f64 {
    let drawn = RandomState::new().build_hasher().finish();
    drawn as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_pause_is_longer_than_five_seconds() {
        let mut backoff = Backoff::default();
        for _ in 0..1000 {
            backoff.failed();
            let pause = backoff.at().saturating_duration_since(Instant::now());
            assert!(pause < Duration::from_secs(5), "{pause:?}");
        }
    }
}
