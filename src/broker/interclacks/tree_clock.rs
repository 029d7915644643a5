//! The tree's clock, as this node knows it: its root's.
//!
//! A node takes the time over from its master, and ages its cache by it. So a master that is wrong, or lies, must not
//! be able to move it far: neither at once nor in many small steps.

use crate::broker::events::Now;
use crate::limits::{CLOCK_DRIFT_DIVISOR, MAX_CLOCK_LEAD_US};

/// The time that all nodes of the tree share.
#[derive(Default)]
pub struct TreeClock {
    /// The time that was learnt from a master. `None` where there never was one: then the tree's clock is this node's own. Once
    /// learnt, it doesn't follow this node's clock any more, which may be set.
    learnt: Option<Anchor>,
    /// The time that a master's may differ from by an hour if this node's own clock seems to be wrong: that clock when it
    /// last agreed with a master, or else the first time that was learnt. It does not follow what masters say.
    reference: Option<Anchor>,
    /// The time was learnt from a master that knew the root's.
    is_confirmed: bool,
}

/// A clock: what it showed at a moment of the monotonic clock, and goes on from there.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Anchor {
    time_us: u64,
    monotonic_us: u64,
}

impl Anchor {
    fn now_us(self, now: Now) -> u64 {
        self.time_us + self.age_us(now)
    }

    fn age_us(self, now: Now) -> u64 {
        now.monotonic_us.saturating_sub(self.monotonic_us)
    }
}

/// A master's clock and this node's differ by so many microseconds: too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Differs(pub u64);

impl TreeClock {
    /// Reports whether this time is known to be that of the tree's root.
    pub fn is_confirmed(&self) -> bool {
        self.is_confirmed
    }

    pub fn confirm(&mut self) {
        self.is_confirmed = true;
    }

    pub fn now_us(&self, now: Now) -> u64 {
        self.learnt.map_or(now.wall_us, |learnt| learnt.now_us(now))
    }

    /// Takes over the time of a master, unless it differs by more than an hour from this node's own clock and from the
    /// reference. A node `trusts_any` time while its cache knows of no other.
    ///
    /// The tree's time as it was learnt stands still while the machine sleeps, and may have been wrong: then this
    /// machine's clock agrees with the master's.
    pub fn learn(&mut self, theirs_us: u64, trusts_any: bool, now: Now) -> Result<(), Differs> {
        let of_now = |time_us| Anchor {
            time_us,
            monotonic_us: now.monotonic_us,
        };
        let from_own_us = theirs_us.abs_diff(now.wall_us);
        // Without a reference there never was another time than this node's own.
        let from_reference_us = self.reference.map_or(from_own_us, |reference| {
            let drift_us = reference.age_us(now) / CLOCK_DRIFT_DIVISOR;
            let difference_us = theirs_us.abs_diff(reference.now_us(now));
            difference_us.saturating_sub(drift_us)
        });
        if from_own_us <= MAX_CLOCK_LEAD_US {
            self.reference = Some(of_now(now.wall_us));
        } else if from_reference_us > MAX_CLOCK_LEAD_US {
            if !trusts_any {
                return Err(Differs(from_own_us.min(from_reference_us)));
            }
            self.reference = Some(of_now(theirs_us));
        }
        self.learnt = Some(of_now(theirs_us));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::SECOND_US;

    const START_US: u64 = 1_790_000_000 * SECOND_US;
    const MINUTE_US: u64 = 60 * SECOND_US;
    const HOUR_US: u64 = 60 * MINUTE_US;
    const YEAR_US: u64 = 365 * 24 * HOUR_US;

    /// After so much time, by a right clock.
    fn after(elapsed_us: u64) -> Now {
        Now {
            monotonic_us: elapsed_us,
            wall_us: START_US + elapsed_us,
        }
    }

    /// By a clock that is a year ahead.
    fn wrong(elapsed_us: u64) -> Now {
        Now {
            wall_us: START_US + elapsed_us + YEAR_US,
            ..after(elapsed_us)
        }
    }

    #[test]
    fn many_small_steps_come_no_further_than_one() {
        for clock_of in [after, wrong] {
            for step in [58 * MINUTE_US as i64, -(58 * MINUTE_US as i64), 1_000_000] {
                let mut clock = TreeClock::default();
                assert_eq!(clock.learn(START_US, true, clock_of(0)), Ok(()));
                let mut theirs_us = START_US;
                let mut steps = 0;
                let is_refused = (0..100_000).any(|number| {
                    theirs_us = theirs_us.saturating_add_signed(step);
                    steps = number;
                    clock.learn(theirs_us, false, clock_of(0)).is_err()
                });
                assert!(is_refused);
                assert_eq!(steps, (HOUR_US as i64 / step.abs()) as u64);
                assert!(clock.now_us(clock_of(0)).abs_diff(START_US) <= HOUR_US);
            }
        }
    }

    #[test]
    fn a_clock_may_drift_for_years() {
        let mut clock = TreeClock::default();
        assert_eq!(clock.learn(START_US, true, wrong(0)), Ok(()));
        // A five-thousandth, which is 17 s a day: nearly two hours in a year.
        for day in 1..4 * 365 {
            let now = wrong(day * 24 * HOUR_US);
            let theirs_us = START_US + now.monotonic_us + now.monotonic_us / 5_000;
            assert_eq!(clock.learn(theirs_us, false, now), Ok(()), "{day}");
        }
    }

    #[test]
    fn a_machine_that_has_slept_or_whose_clock_is_set_finds_the_time() {
        let mut clock = TreeClock::default();
        assert_eq!(clock.learn(START_US, false, after(0)), Ok(()));
        // Its monotonic clock stood still for a week.
        let awake = Now {
            monotonic_us: 0,
            ..after(7 * 24 * HOUR_US)
        };
        assert_eq!(clock.learn(awake.wall_us, false, awake), Ok(()));
        let set = Now {
            monotonic_us: MINUTE_US,
            wall_us: START_US + YEAR_US,
        };
        assert_eq!(clock.learn(awake.wall_us + MINUTE_US, false, set), Ok(()));
    }

    #[test]
    fn a_time_that_nothing_agrees_with_is_for_those_without_a_time_of_their_own() {
        let mut clock = TreeClock::default();
        let theirs_us = START_US + YEAR_US;
        assert_eq!(
            clock.learn(theirs_us, false, after(0)),
            Err(Differs(YEAR_US))
        );
        assert_eq!(clock.now_us(after(5)), START_US + 5);
        assert_eq!(clock.learn(theirs_us, true, after(0)), Ok(()));
        assert_eq!(clock.now_us(after(5)), theirs_us + 5);
        // From now on it has one.
        assert_eq!(
            clock.learn(theirs_us + 2 * HOUR_US, false, after(0)),
            Err(Differs(2 * HOUR_US))
        );
    }
}
