//! The lengths of turns of the loop.

/// The bounds of the histogram's buckets: powers of two from 16 microseconds to half a second.
pub const BUCKETS: usize = 16;

/// A histogram of the lengths of turns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Turns {
    /// Turns that took at most 16, 32, 64 … microseconds and more than the bound before; the last ones are the longer ones.
    counts: [u64; BUCKETS + 1],
    /// The length of all turns, in microseconds.
    pub sum_us: u64,
    pub longest: Turn,
}

/// A turn, as far as it is counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Turn {
    pub us: u64,
    /// The work that was done in it, in bytes moved or what counts as such.
    pub work: usize,
    /// The part of it that did most work.
    pub part: TurnPart,
}

/// The parts of a turn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TurnPart {
    /// Connections were accepted.
    Accepts,
    Requests,
    /// Output was written to connections.
    Writes,
    /// Deadlines, and everything that counts as no work.
    #[default]
    Maintenance,
}

impl TurnPart {
    pub fn word(self) -> &'static str {
        match self {
            TurnPart::Accepts => "accepts",
            TurnPart::Requests => "requests",
            TurnPart::Writes => "writes",
            TurnPart::Maintenance => "maintenance",
        }
    }
}

impl Turns {
    /// The upper bound of a bucket, in microseconds.
    pub fn bound_us(bucket: usize) -> u64 {
        16 << bucket
    }

    /// Counts a turn. Returns true if it is the longest one so far.
    #[inline]
    pub fn add(&mut self, turn: Turn) -> bool {
        let bucket = (turn.us.saturating_sub(1) >> 4).checked_ilog2();
        let bucket = bucket.map_or(0, |bits| bits as usize + 1);
        self.counts[bucket.min(BUCKETS)] += 1;
        self.sum_us += turn.us;
        let is_longest = turn.us > self.longest.us;
        if is_longest {
            self.longest = turn;
        }
        is_longest
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// For each bucket its upper bound in microseconds and the number of turns that took no longer.
    pub fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> {
        let counts = self.counts[..BUCKETS].iter().enumerate();
        counts.scan(0, |sum, (bucket, count)| {
            *sum += count;
            Some((Turns::bound_us(bucket), *sum))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_counts_in_the_bucket_of_the_next_power_of_two() {
        let mut turns = Turns::default();
        for us in [0, 16, 17, 32, 33, 500_000, 524_288, 524_289, 10_000_000] {
            turns.add(Turn {
                us,
                ..Turn::default()
            });
        }
        let cumulative: Vec<_> = turns.cumulative().collect();
        assert_eq!(cumulative[..3], [(16, 2), (32, 4), (64, 5)]);
        assert_eq!(cumulative[BUCKETS - 1], (524_288, 7));
        assert_eq!(turns.count(), 9);
        assert_eq!(turns.longest.us, 10_000_000);
    }
}
