//! When to dial again after a connection was lost.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

/// Waits longer each time, and a little at random: when a server restarts, its clients must not all come
/// in the same moment.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
    at: Option<Instant>,
}

/// The first pause, doubled with each failure.
const FIRST: Duration = Duration::from_millis(100);
/// The longest.
const LONGEST: Duration = Duration::from_secs(15);

impl Backoff {
    /// When to dial; never before.
    pub fn at(&mut self) -> Instant {
        *self.at.get_or_insert_with(Instant::now)
    }

    /// The connection was lost, or dialling has failed.
    pub fn failed(&mut self) {
        let pause = FIRST
            .saturating_mul(1 << self.failures.min(16))
            .min(LONGEST);
        self.failures += 1;
        self.at = Some(Instant::now() + pause.mul_f64(0.5 + random()));
    }

    pub fn succeeded(&mut self) {
        self.failures = 0;
    }
}

/// From 0 to 1. The standard library's hash keys are the only random thing it offers.
fn random() -> f64 {
    let drawn = RandomState::new().build_hasher().finish();
    drawn as f64 / u64::MAX as f64
}
