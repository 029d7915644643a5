//! The requests that did most work in long turns, and the longest turn.

use super::{Turn, Verb};
use std::collections::VecDeque;

/// Requests that are kept.
const KEPT: usize = 128;
/// Bytes of a name that are kept.
pub const MAX_NAME: usize = 128;

/// A request that did much in a long turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlowRequest {
    pub heavy: HeavyRequest,
    /// The length of its turn, in microseconds.
    pub turn_us: u64,
    /// When the turn began, in microseconds since 1970.
    pub at_us: u64,
}

/// A request that did much work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeavyRequest {
    pub verb: Verb,
    /// The start of the name that it was about; empty if it was about none.
    pub name: Box<[u8]>,
    /// Its bytes.
    pub size: usize,
    /// The work that it did beyond its share of the turn, in bytes moved or what counts as such.
    pub work: usize,
}

/// The longest turn so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LongestTurn {
    pub turn: Turn,
    /// The request that did most work in it, if one did much.
    pub heavy: Option<HeavyRequest>,
    /// When it began, in microseconds since 1970.
    pub at_us: u64,
}

/// The last slow requests, the oldest first, and the longest turn.
#[derive(Debug, Default)]
pub struct SlowRequests {
    latest: VecDeque<SlowRequest>,
    pub longest: Option<LongestTurn>,
    count: u64,
}

impl SlowRequests {
    pub fn add(&mut self, request: SlowRequest) {
        if self.latest.len() == KEPT {
            self.latest.pop_front();
        }
        self.latest.push_back(request);
        self.count += 1;
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &SlowRequest> {
        self.latest.iter()
    }

    /// The number of all slow requests so far.
    pub fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_requests_give_way() {
        let mut requests = SlowRequests::default();
        for turn_us in 0..KEPT as u64 + 2 {
            requests.add(SlowRequest {
                heavy: HeavyRequest {
                    verb: Verb::Set,
                    name: Box::default(),
                    size: 1,
                    work: 1,
                },
                turn_us,
                at_us: 0,
            });
        }
        let lengths: Vec<_> = requests.iter().map(|request| request.turn_us).collect();
        assert_eq!(lengths.len(), KEPT);
        assert_eq!((lengths[0], lengths[KEPT - 1]), (2, KEPT as u64 + 1));
    }
}
