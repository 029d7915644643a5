//! `incr`, `decr`, and the arithmetic of `ma`.

use super::exchange::Exchange;
use crate::broker::cache::{Found, TooLarge};
use crate::broker::operations::{Done, Step};
use crate::broker::output::Output;
use crate::protocol::memcached::Error;
use crate::protocol::memcached::counting::{self, Direction, number_in};
use crate::protocol::memcached::request::Count;
use crate::protocol::number::Number;

/// The counting that a command asks for.
#[derive(Debug, Clone, Copy)]
pub struct CountWish {
    pub direction: Direction,
    pub delta: u64,
    /// The cas that the entry must have.
    pub cas: Option<u64>,
    /// The cas that the entry gets.
    pub new_cas: Option<u64>,
}

/// The outcome of a step.
pub enum Counted {
    Done {
        number: u64,
        done: Done,
    },
    NotFound,
    /// The entry has another cas.
    Exists,
    Failed(Error),
}

impl<O: Output> Exchange<'_, O> {
    pub fn count(&mut self, count: &Count<'_>) {
        let wish = CountWish {
            direction: count.direction,
            delta: count.delta,
            cas: None,
            new_cas: None,
        };
        match self.step(count.key, &wish) {
            Counted::Done { number, .. } => self.reply(count.reply, &number.to_string()),
            Counted::NotFound | Counted::Exists => self.reply(count.reply, "NOT_FOUND"),
            Counted::Failed(error) => self.reply(count.reply, error.text()),
        }
    }

    /// Counts an entry, if there is one that holds a number.
    pub fn step(&mut self, key: &[u8], wish: &CountWish) -> Counted {
        let outcome = self.try_step(key, wish);
        let counters = &mut self.broker.memcached.counters;
        let (hits, misses) = match wish.direction {
            Direction::Up => (&mut counters.incr_hits, &mut counters.incr_misses),
            Direction::Down => (&mut counters.decr_hits, &mut counters.decr_misses),
        };
        match outcome {
            Counted::Done { .. } => *hits += 1,
            Counted::NotFound => *misses += 1,
            Counted::Exists | Counted::Failed(_) => {}
        }
        outcome
    }

    fn try_step(&mut self, key: &[u8], wish: &CountWish) -> Counted {
        let Some(found) = self.broker.look_up(key, self.now) else {
            return Counted::NotFound;
        };
        // memcached looks at the version of a value that has any bytes.
        let is_empty = found.value().is_some_and(<[u8]>::is_empty);
        if !is_empty && wish.cas.is_some_and(|cas| cas != found.version()) {
            return Counted::Exists;
        }
        // All of it may have to be read: blanks or zeros may be long.
        self.out.add_work(found.value().map_or(0, <[u8]>::len));
        let Some(number) = number_of(&found) else {
            return Counted::Failed(Error::NotANumber);
        };
        let counted = counting::count(number, wish.delta, wish.direction);
        let delta = Number::from_step(wish.delta.to_string().as_bytes());
        let delta = match wish.direction {
            Direction::Up => delta,
            Direction::Down => -delta,
        };
        let (result, by) = (counted.number.to_string(), self.by());
        let step = Step {
            name: key,
            amount: delta,
            result: result.as_bytes(),
            version: wish.new_cas,
        };
        match self.broker.count_to(&step, by, self.now, self.out) {
            Ok(done) => Counted::Done {
                number: counted.number,
                done,
            },
            Err(TooLarge) => {
                self.broker.statistics.too_large += 1;
                Counted::Failed(Error::TooLarge)
            }
        }
    }
}

/// The number that an entry holds. Two servers that both decrement 1 make -1 together, which counts as 0.
fn number_of(found: &Found<'_>) -> Option<u64> {
    let value = found.value()?;
    let is_negative = |value: &[u8]| {
        let digits = value.strip_prefix(b"-");
        digits.is_some_and(|digits| !digits.is_empty() && digits.iter().all(u8::is_ascii_digit))
    };
    match found.is_counter() && is_negative(value) {
        true => Some(0),
        false => number_in(value),
    }
}
