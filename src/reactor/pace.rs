//! Clients that lose half a second when their answer comes too soon.
//!
//! A Net::Clacks client writes a question, looks once, without waiting, whether there is an answer, and then waits half a
//! second for more before it looks at what it has read. It is recognised by that: its next question comes half a
//! second later than others of its questions did. The next answers to such a client are held for about a millisecond,
//! in which it takes its look. Of those whose connections are short there is a memory: [`Recognised`]. Pure.

use crate::broker::Origin;
use crate::limits::{
    HALF_SECOND_DOUBT_MS, HELD_ANSWERS, MAX_TRIALS, MOST_HASTE, MOST_LONE_LINES, RECOGNISED,
    RECOGNISED_FOR_US, TRIED_PAUSES_MS, WAIT_AND_PAUSE_MS, WAITS_IN_A_ROW,
};
use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};

/// How a client asks, and what is done about its answers. Every connection has one: it is small.
#[derive(Debug)]
pub struct Pace {
    /// When the last answer was sent (monotonic); 0 if nothing is to be learnt from the next input.
    answered_us: u64,
    /// The client's key in [`Recognised`].
    pub key: u64,
    /// The smallest of the recent pauses between an answer and the next input; `u16::MAX` before the first.
    least_pause_ms: u16,
    /// Answers that are still to be held.
    to_hold: u16,
    /// Of its next questions, so many may come at once after a held answer: who waits for answers loses by a hold.
    haste_left: u8,
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

/// The outcome of input.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// An answer is held that the client does not wait for.
    pub is_released: bool,
    /// The client has shown just now that it looks once.
    pub is_recognised: bool,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            answered_us: 0,
            key: 0,
            least_pause_ms: u16::MAX,
            to_hold: 0,
            haste_left: 0,
            waits: 0,
            trials: 0,
            stage: Stage::default(),
        }
    }
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

    /// Something has come from the client, or its end.
    pub fn handle_input(&mut self, now_us: u64) -> Heard {
        let mut heard = Heard::default();
        if self.answered_us > 0 {
            let pause_us = now_us - std::mem::take(&mut self.answered_us);
            let pause_ms = u16::try_from(pause_us / 1000).unwrap_or(u16::MAX);
            heard.is_recognised = self.handle_pause(pause_ms);
        }
        if self.stage == Stage::Held {
            self.to_hold = 0;
            self.stage = Stage::Idle;
            heard.is_released = true;
        }
        heard
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

    /// The client may be one that looks once: its answers are held until it asks as one that waits for them.
    pub fn expect_looks(&mut self) {
        self.hold_next(MOST_HASTE);
    }

    fn hold_next(&mut self, haste: u8) {
        self.to_hold = HELD_ANSWERS;
        self.haste_left = haste;
    }

    /// Learns from the time between an answer and the next input. Returns true if the client has waited in vain.
    fn handle_pause(&mut self, pause_ms: u16) -> bool {
        let least_ms = self.least_pause_ms;
        // Rises slowly, for a client may change its pace.
        let is_first = least_ms == u16::MAX;
        let risen_ms = least_ms + pause_ms.saturating_sub(least_ms) / 16;
        self.least_pause_ms = pause_ms.min(risen_ms);
        if let Some(haste) = half_second_more(pause_ms, least_ms) {
            self.waits += 1;
            if self.waits < WAITS_IN_A_ROW {
                self.hold_next(haste);
                return true;
            }
            // Holding does not help: that is the client's own pause.
            self.to_hold = 0;
        } else if !is_first && let Some(haste) = half_second_more(least_ms, pause_ms) {
            // Until now, it has waited each time.
            self.hold_next(haste);
            self.trials = 0;
        } else if TRIED_PAUSES_MS.contains(&pause_ms) && self.trials < MAX_TRIALS {
            // It may have waited each time.
            self.to_hold = self.to_hold.max(1);
            self.trials += 1;
        } else if pause_ms == 0 && self.to_hold > 0 {
            self.haste_left = self.haste_left.saturating_sub(1);
            if self.haste_left == 0 {
                self.to_hold = 0;
            }
        }
        self.waits = 0;
        // Of one that asks a single question, nothing else is seen.
        is_first && half_second_more(pause_ms, 0) == Some(u8::MAX)
    }
}

/// How much haste does not matter yet in a client that has paused so much longer than it can; `None` if it has not waited
/// for half a second. That with a pause of its own, each time another one, is seen in other clients, too.
fn half_second_more(longer_ms: u16, shorter_ms: u16) -> Option<u8> {
    const HALF_SECOND_MS: u16 = 500;
    let more_ms = longer_ms.saturating_sub(shorter_ms);
    if more_ms.abs_diff(HALF_SECOND_MS) <= HALF_SECOND_DOUBT_MS {
        return Some(u8::MAX);
    }
    let is_long = longer_ms >= HALF_SECOND_MS - HALF_SECOND_DOUBT_MS;
    (is_long && WAIT_AND_PAUSE_MS.contains(&more_ms)).then_some(MOST_HASTE)
}

/// The clients that were last seen to look once, by origin, user and name: scripts that ask little, each time over
/// another connection.
#[derive(Debug, Default)]
pub struct Recognised {
    hasher: RandomState,
    /// The key of each, and when it was seen (monotonic); the latest one last.
    clients: VecDeque<(u64, u64)>,
}

impl Recognised {
    pub fn key_of_origin(&self, origin: Option<Origin>) -> u64 {
        self.hasher.hash_one(origin)
    }

    pub fn key_of_user(&self, origin: u64, user: &str, program: &[u8]) -> u64 {
        self.hasher.hash_one((origin, user, program))
    }

    pub fn add(&mut self, key: u64, now_us: u64) {
        self.clients.retain(|(known, _)| *known != key);
        if self.clients.len() == RECOGNISED {
            self.clients.pop_front();
        }
        self.clients.push_back((key, now_us));
    }

    pub fn contains(&self, key: u64, now_us: u64) -> bool {
        let is_it =
            |&(known, seen_us): &(u64, u64)| known == key && now_us - seen_us < RECOGNISED_FOR_US;
        self.clients.iter().any(is_it)
    }
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
            let heard = pace.handle_input(now_us);
            assert!(!heard.is_released, "it waits for its answers");
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
        assert_eq!(size_of::<Pace>(), 24);
    }

    #[test]
    fn pipelines_are_not_held() {
        let mut pace = Pace {
            to_hold: HELD_ANSWERS,
            ..Pace::default()
        };
        assert!(!pace.handle_input(1).is_released);
        pace.handle_lines(16);
        assert!(!pace.handle_answer(1));
        // Nor is the answer of a client that has more to say meanwhile, now and later.
        pace.handle_lines(1);
        assert!(pace.handle_answer(2));
        assert!(pace.handle_input(3).is_released);
        pace.handle_lines(1);
        assert!(!pace.handle_answer(3));
    }

    #[test]
    fn pauses_that_vary_hide_no_wait() {
        let mut waits = 0;
        for start in 0..10 {
            let pause_us = |call: usize| ((call + start) as u64 * 7_919_317) % 400_000;
            let mut pace = Pace::default();
            let found = calls(&mut pace, true, pause_us, |call| call % 60 == 3 + start);
            assert!(found.waits >= 1, "{found:?}");
            waits += found.waits;
        }
        assert!(waits <= 11, "{waits}");
    }

    /// Each question of such a script comes over a connection of its own; it ends when it has its answer.
    fn ends_after(wait_us: u64, is_expected: bool) -> (bool, bool) {
        let mut pace = Pace::default();
        if is_expected {
            pace.expect_looks();
        }
        pace.handle_lines(2);
        let is_held = pace.handle_answer(1);
        if is_held {
            pace.handle_sent(1 + ANSWER_HOLD_US);
        }
        let heard = pace.handle_input(1 + ANSWER_HOLD_US + wait_us);
        (is_held, heard.is_recognised)
    }

    #[test]
    fn a_script_with_one_question_is_recognised_by_its_end() {
        assert_eq!(ends_after(SECOND_US / 2, false), (false, true));
        assert_eq!(ends_after(200, true), (true, false));
        for other_us in [0, SECOND_US / 10, SECOND_US, 100 * SECOND_US] {
            assert_eq!(ends_after(other_us, false), (false, false), "{other_us}");
        }
    }

    #[test]
    fn clients_that_ask_at_once_are_soon_held_no_more() {
        let mut pace = Pace::default();
        pace.expect_looks();
        let found = calls(&mut pace, false, |_| 0, |_| true);
        assert_eq!(found.held, usize::from(MOST_HASTE));
        // Nor are those that ask much at once, time and again.
        let pause_us = |call: usize| if call % 50 == 49 { 800_000 } else { 0 };
        let found = calls(&mut Pace::default(), false, pause_us, |_| true);
        assert!(found.held <= 4 * usize::from(MOST_HASTE), "{found:?}");
    }

    #[test]
    fn clients_are_remembered_for_a_time_and_not_too_many() {
        let mut recognised = Recognised::default();
        let origins = [None, Some(Origin::Uid(1)), Some(Origin::Uid(2))];
        let [first, second, third] = origins.map(|origin| {
            let origin = recognised.key_of_origin(origin);
            recognised.key_of_user(origin, "user", b"program")
        });
        assert!(first != second && second != third && first != third);
        recognised.add(first, 5);
        assert!(recognised.contains(first, 5) && !recognised.contains(second, 5));
        assert!(recognised.contains(first, 4 + RECOGNISED_FOR_US));
        assert!(!recognised.contains(first, 5 + RECOGNISED_FOR_US));
        for key in 0..RECOGNISED as u64 {
            recognised.add(second, 6);
            recognised.add(key, 6);
        }
        assert!(recognised.contains(second, 6) && !recognised.contains(first, 6));
        assert_eq!(recognised.clients.len(), RECOGNISED);
    }
}
