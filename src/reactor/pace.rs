//! Clients that lose half a second when their answer comes too soon.
//!
//! A Net::Clacks client writes a question, looks once, without waiting, whether there is an answer, and then waits half a
//! second for more before it looks at what it has read. It is recognised by that: its next question comes half a
//! second later than others of its questions did. The next answers to such a client are held for about a millisecond,
//! in which it takes its look. Pure.

use crate::limits::{
    HALF_SECOND_DOUBT_MS, HELD_ANSWERS, MAX_TRIALS, MOST_LONE_LINES, TRIED_PAUSES_MS,
    WAITS_IN_A_ROW,
};

/// How a client asks, and what is done about its answers. Every connection has one: it is small.
#[derive(Debug, Default)]
pub struct Pace {
    /// When the last answer was sent (monotonic); 0 if nothing is to be learnt from the next input.
    answered_us: u64,
    /// Between an answer and the next input, when the client has not waited.
    usual_pause_ms: u16,
    /// Answers that are still to be held.
    to_hold: u16,
    /// Half seconds, one after the other.
    waits: u8,
    /// Answers that were held on trial, because all pauses were long.
    trials: u8,
    stage: Stage,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Stage {
    #[default]
    Idle,
    /// A question was asked alone, or with a few lines that have no answer.
    Asked,
    /// Its answer is held.
    Held,
    /// The client is none of Net::Clacks: no answer is held.
    Off,
}

impl Pace {
    /// The pace of a client that is none of Net::Clacks.
    pub fn off() -> Pace {
        Pace {
            stage: Stage::Off,
            ..Pace::default()
        }
    }

    pub fn is_off(&self) -> bool {
        self.stage == Stage::Off
    }

    /// Something has come from the client. Returns whether an answer is held that it does not wait for.
    pub fn handle_input(&mut self, now_us: u64) -> bool {
        if self.answered_us > 0 {
            let pause_us = now_us - std::mem::take(&mut self.answered_us);
            self.handle_pause(u16::try_from(pause_us / 1000).unwrap_or(u16::MAX));
        }
        let was_held = self.stage == Stage::Held;
        if was_held {
            self.to_hold = 0;
            self.stage = Stage::Idle;
        }
        was_held
    }

    /// Records that `lines` lines of the client, one or more, were processed.
    pub fn handle_lines(&mut self, lines: usize) {
        self.stage = match lines <= MOST_LONE_LINES {
            _ if self.stage == Stage::Off => Stage::Off,
            true => Stage::Asked,
            false => Stage::Idle,
        };
    }

    /// There is an answer. Returns whether it is to be held.
    pub fn handle_answer(&mut self, now_us: u64) -> bool {
        match self.stage {
            Stage::Idle | Stage::Off => self.answered_us = 0,
            Stage::Asked if self.to_hold > 0 => {
                self.to_hold -= 1;
                self.stage = Stage::Held;
            }
            Stage::Asked => self.handle_sent(now_us),
            Stage::Held => {}
        }
        self.stage == Stage::Held
    }

    pub fn is_held(&self) -> bool {
        self.stage == Stage::Held
    }

    /// The answer to a question is sent.
    pub fn handle_sent(&mut self, now_us: u64) {
        self.stage = Stage::Idle;
        self.answered_us = now_us;
    }

    /// Learns from the time between an answer and the next input.
    fn handle_pause(&mut self, pause_ms: u16) {
        let usual_ms = std::mem::replace(&mut self.usual_pause_ms, pause_ms);
        if is_half_second_more(pause_ms, usual_ms) {
            self.waits += 1;
            if self.waits < WAITS_IN_A_ROW {
                self.to_hold = HELD_ANSWERS;
                self.usual_pause_ms = usual_ms;
                return;
            }
            // Holding does not help: that is the client's own pause.
            self.to_hold = 0;
        } else if is_half_second_more(usual_ms, pause_ms) {
            // The time before, it has waited.
            self.to_hold = HELD_ANSWERS;
            self.trials = 0;
        } else if TRIED_PAUSES_MS.contains(&pause_ms) && self.trials < MAX_TRIALS {
            // It may have waited each time.
            self.to_hold = self.to_hold.max(1);
            self.trials += 1;
        }
        self.waits = 0;
    }
}

/// Reports whether one pause is about half a second longer than another.
fn is_half_second_more(longer_ms: u16, shorter_ms: u16) -> bool {
    const HALF_SECOND_MS: u16 = 500;
    let more_ms = longer_ms.saturating_sub(shorter_ms);
    more_ms.abs_diff(HALF_SECOND_MS) <= HALF_SECOND_DOUBT_MS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{ANSWER_HOLD_US, SECOND_US};

    const CALLS: usize = 200;

    /// The numbers of a client's calls whose answer was held, and of those after which the client waited.
    #[derive(Debug, Default)]
    struct Calls {
        held: usize,
        waits: usize,
    }

    /// Calls of a client that asks so long after it has its answer. One of Perl looks once, after some microseconds; the
    /// answer is there by then where `is_early`, unless it is held.
    fn calls(
        pace: &mut Pace,
        is_perl: bool,
        pause_us: impl Fn(usize) -> u64,
        is_early: impl Fn(usize) -> bool,
    ) -> Calls {
        let mut calls = Calls::default();
        let mut now_us = pace.answered_us + 1 + pause_us(0);
        for call in 0..CALLS {
            assert!(!pace.handle_input(now_us), "it waits for its answers");
            pace.handle_lines(1);
            if pace.handle_answer(now_us) {
                calls.held += 1;
                now_us += ANSWER_HOLD_US;
                assert!(pace.is_held());
                pace.handle_sent(now_us);
            } else if is_perl && is_early(call) {
                calls.waits += 1;
                now_us += SECOND_US / 2 + 150;
            }
            assert!(!pace.is_held());
            now_us += 40 + pause_us(call);
        }
        calls
    }

    #[test]
    fn no_answer_to_other_clients_is_held() {
        let found = calls(&mut Pace::off(), true, |_| 40_000, |_| true);
        assert_eq!((found.held, found.waits), (0, CALLS));
    }

    #[test]
    fn a_client_that_looks_once_waits_once_at_most() {
        for pause_ms in [0, 20, 200, 3000] {
            for early_from in [0, 1, 77] {
                // A little unsteady.
                let pause_us = |call: usize| pause_ms * 1000 + (call as u64 * 7919) % 300;
                let is_early = |call: usize| call >= early_from && call % 3 == early_from % 3;
                let mut pace = Pace::default();
                let found = calls(&mut pace, true, pause_us, is_early);
                assert_eq!(found.waits, 1, "{pause_ms} ms: {found:?}");
                assert!(found.held > 100, "{pause_ms} ms: {found:?}");
            }
        }
    }

    #[test]
    fn answers_that_are_always_early_are_held_for_good() {
        for pause_us in [0, 20_000, 200_000] {
            let mut pace = Pace::default();
            let mut waits = 0;
            for _ in 0..10 {
                waits += calls(&mut pace, true, |_| pause_us, |_| true).waits;
            }
            // Of 2000. It is seen again from time to time whether they are still too early.
            assert!(waits <= 10, "{pause_us}: {waits}");
        }
    }

    #[test]
    fn other_clients_get_their_answers_at_once() {
        for pause_us in [0, 1000, 20_000, 200_000, 5_000_000] {
            let found = calls(&mut Pace::default(), false, |_| pause_us, |_| true);
            assert_eq!(found.held, 0, "{pause_us}");
        }
        // Of one that asks each half second or second, a few are held.
        for pause_us in [500_000, 700_000, 1_000_000] {
            let found = calls(&mut Pace::default(), false, |_| pause_us, |_| true);
            assert!(found.held < 8, "{pause_us}: {found:?}");
        }
    }

    #[test]
    fn it_takes_little_of_a_connection() {
        assert_eq!(size_of::<Pace>(), 16);
    }

    #[test]
    fn pipelines_are_not_held() {
        let mut pace = Pace {
            to_hold: HELD_ANSWERS,
            ..Pace::default()
        };
        assert!(!pace.handle_input(1));
        pace.handle_lines(16);
        assert!(!pace.handle_answer(1));
        // Nor is the answer of a client that has more to say meanwhile, now and later.
        pace.handle_lines(1);
        assert!(pace.handle_answer(2));
        assert!(pace.handle_input(3));
        pace.handle_lines(1);
        assert!(!pace.handle_answer(3));
    }
}
