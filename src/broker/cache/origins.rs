//! Numbers for the origins of stamps, so that an entry's stamp takes seven bytes instead of sixteen.
//!
//! An origin is a node and the part of a time that changes every half year. There are 256 numbers. An origin gets one
//! when it comes for the second time in short succession, and loses it with its last entry. So peers that name a node of
//! its own in every stamp, as Net::Clacks servers seem to do, do not use the numbers up. Stamps whose origin has no number
//! are kept in full.

use crate::protocol::peer::{NodeId, Stamp};

/// The bits of a stamp's time that are kept with the entry: a period of 203 days, in microseconds.
pub const TIME_BITS: u32 = 44;
const TIME: u64 = (1 << TIME_BITS) - 1;
const NUMBERS: usize = 1 << u8::BITS;
/// Origins that are remembered without a number.
const CANDIDATES: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Origin {
    node: NodeId,
    /// The beginning of the period, in microseconds since 1970.
    from_us: u64,
}

impl Origin {
    fn of(stamp: Stamp) -> Origin {
        Origin {
            node: stamp.node,
            from_us: stamp.time_us & !TIME,
        }
    }
}

pub struct Origins {
    /// The origins by their numbers. One that no entry has is free to be replaced.
    numbered: Box<[Origin; NUMBERS]>,
    /// How many entries have each of them.
    entries: Box<[u32; NUMBERS]>,
    /// The numbers from here on have never been given.
    unused: usize,
    candidates: [Option<Origin>; CANDIDATES],
}

impl Default for Origins {
    fn default() -> Origins {
        Origins {
            numbered: Box::new([Origin::default(); NUMBERS]),
            entries: Box::new([0; NUMBERS]),
            unused: 0,
            candidates: [None; CANDIDATES],
        }
    }
}

impl Origins {
    /// The number of a stamp's origin; `None` if it has none. It is free for others until an entry was
    /// [counted](Origins::count).
    pub fn number_of(&mut self, stamp: Stamp) -> Option<u8> {
        let origin = Origin::of(stamp);
        let mut given = self.numbered[..self.unused].iter();
        if let Some(number) = given.position(|numbered| *numbered == origin) {
            return Some(number as u8);
        }
        let candidate = &mut self.candidates[stamp.node.0 as usize % CANDIDATES];
        if *candidate != Some(origin) {
            *candidate = Some(origin);
            return None;
        }
        let mut counts = self.entries[..self.unused].iter();
        let number = counts.position(|count| *count == 0).unwrap_or(self.unused);
        *self.numbered.get_mut(number)? = origin;
        self.unused = self.unused.max(number + 1);
        Some(number as u8)
    }

    /// Reports whether that number is the one of a stamp's origin.
    #[inline]
    pub fn is_of(&self, number: u8, stamp: Stamp) -> bool {
        self.numbered[usize::from(number)] == Origin::of(stamp)
    }

    /// The stamp with that origin and those bits of its time.
    #[inline(always)]
    pub fn stamp(&self, number: u8, time: u64) -> Stamp {
        let origin = self.numbered[usize::from(number)];
        Stamp {
            time_us: origin.from_us | time,
            node: origin.node,
        }
    }

    /// The bits of a stamp's time that are kept with the entry.
    pub fn time_of(stamp: Stamp) -> u64 {
        stamp.time_us & TIME
    }

    /// Counts an entry with that number in or out.
    pub fn count(&mut self, number: u8, comes: bool) {
        let count = &mut self.entries[usize::from(number)];
        *count = if comes { *count + 1 } else { *count - 1 };
    }

    /// How many entries are counted.
    pub fn counted(&self) -> usize {
        self.entries.iter().map(|count| *count as usize).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(node: u64, time_us: u64) -> Stamp {
        Stamp {
            time_us,
            node: NodeId(node),
        }
    }

    #[test]
    fn an_origin_gets_a_number_when_it_comes_again_and_loses_it_with_its_last_entry() {
        let mut origins = Origins::default();
        let time_us = (7 << TIME_BITS) + 5;
        for node in 0..NUMBERS as u64 {
            assert_eq!(origins.number_of(stamp(node, time_us)), None, "it is new");
            let number = origins
                .number_of(stamp(node, time_us))
                .expect("one is left");
            assert_eq!(origins.number_of(stamp(node, time_us + 1)), Some(number));
            assert_eq!(origins.stamp(number, 5), stamp(node, time_us));
            assert!(origins.is_of(number, stamp(node, time_us + 1)));
            assert!(!origins.is_of(number, stamp(node, time_us + TIME)));
            assert!(!origins.is_of(number, stamp(node + 1, time_us)));
            origins.count(number, true);
        }
        let late = stamp(1_000, time_us);
        for _ in 0..3 {
            assert_eq!(origins.number_of(late), None, "all are given");
        }
        let given_up = origins.number_of(stamp(9, time_us)).expect("it has one");
        origins.count(given_up, false);
        assert_eq!(origins.number_of(late), Some(given_up));
        assert_eq!(origins.counted(), NUMBERS - 1);
    }

    #[test]
    fn nodes_that_come_once_take_no_number() {
        let mut origins = Origins::default();
        for node in 0..10_000 {
            assert_eq!(origins.number_of(stamp(node, 1)), None);
        }
        assert_eq!(origins.unused, 0);
    }
}
