//! The names that come most often in requests, found by looking at some requests only.

use crate::broker::random::Random;

/// Names that are counted at once.
const COUNTED: usize = 64;
/// One request in so many is looked at, on average.
const INTERVAL: u32 = 256;
/// After so many requests looked at, all counts are halved: names that are not busy any more give way.
const HALVING: u32 = 16 * 1024;
/// Bytes of a name that are kept.
const MAX_NAME: usize = 128;

/// Estimates how often names come, in the space-saving way: a name that is not counted yet takes the place of the one with
/// the smallest count, and that count. So each count is too large by at most the smallest one.
#[derive(Debug)]
pub struct Busiest {
    /// Requests until the next one is looked at.
    left: u32,
    names: Vec<(Box<[u8]>, u64)>,
    looked_at: u32,
    /// Requests that were looked at, halved as the counts are.
    all: u64,
}

impl Default for Busiest {
    fn default() -> Busiest {
        Busiest {
            left: 1,
            names: Vec::new(),
            looked_at: 0,
            all: 0,
        }
    }
}

impl Busiest {
    /// Returns true if this request is one to be looked at. Its place among the others is drawn at random, so that a client
    /// that sends names in turn does not show the same ones again and again.
    #[inline(always)]
    pub fn is_due(&mut self) -> bool {
        self.left -= 1;
        self.left == 0
    }

    /// Takes away of so many further requests, which are about the same name, all up to the next one to be looked at. Returns
    /// true if there is one.
    pub fn is_due_among(&mut self, requests: &mut u32) -> bool {
        let passed = self.left.min(*requests);
        self.left -= passed;
        *requests -= passed;
        self.left == 0
    }

    /// Looks at a request with that name.
    pub fn look_at(&mut self, name: Option<&[u8]>, random: &mut Random) {
        self.left = 1 + random.below(2 * INTERVAL as usize - 1) as u32;
        self.looked_at += 1;
        self.all += 1;
        if self.looked_at == HALVING {
            self.looked_at = 0;
            self.all /= 2;
            self.names.iter_mut().for_each(|(_, count)| *count /= 2);
        }
        let Some(name) = name else {
            return;
        };
        let name = &name[..name.len().min(MAX_NAME)];
        if let Some((_, count)) = self.names.iter_mut().find(|(other, _)| **other == *name) {
            *count += 1;
        } else if self.names.len() < COUNTED {
            self.names.push((name.into(), 1));
        } else if let Some(least) = self.names.iter_mut().min_by_key(|(_, count)| *count) {
            *least = (name.into(), least.1 + 1);
        }
    }

    /// The names with their shares of all requests that were looked at lately, in percent, the busiest first.
    pub fn shares(&self) -> Vec<(&[u8], f64)> {
        let mut counted: Vec<_> = self
            .names
            .iter()
            .map(|(name, count)| (&**name, *count))
            .collect();
        counted.sort_by(|one, other| other.1.cmp(&one.1).then(one.0.cmp(other.0)));
        let share = |(name, count)| (name, count as f64 * 100.0 / self.all.max(1) as f64);
        counted.into_iter().map(share).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_that_come_together_are_looked_at_as_often_as_others() {
        const REQUESTS: u32 = 1_000_000;
        for together in [1, 100, 10_000] {
            let (mut busiest, mut random) = (Busiest::default(), Random::new([1, 2, 3, 4]));
            let mut looks = 0;
            for _ in 0..REQUESTS / together {
                let mut requests = together;
                while busiest.is_due_among(&mut requests) {
                    busiest.look_at(Some(b"name"), &mut random);
                    looks += 1;
                }
            }
            let expected = REQUESTS / INTERVAL;
            assert!(
                (expected * 9 / 10..expected * 11 / 10).contains(&looks),
                "{looks}"
            );
        }
    }

    #[test]
    fn a_busy_name_is_found_among_many() {
        let (mut busiest, mut random) = (Busiest::default(), Random::new([1, 2, 3, 4]));
        for number in 0..200_000_u32 {
            if busiest.is_due() {
                let name = match number % 3 {
                    0 => "busy".to_owned(),
                    _ => format!("name {}", number % 5000),
                };
                busiest.look_at(Some(name.as_bytes()), &mut random);
            }
        }
        let shares = busiest.shares();
        assert_eq!(shares.len(), COUNTED);
        assert_eq!(shares[0].0, b"busy");
        assert!((20.0..50.0).contains(&shares[0].1), "{:?}", shares[0]);
    }

    #[test]
    fn a_name_that_is_no_longer_busy_gives_way() {
        let (mut busiest, mut random) = (Busiest::default(), Random::new([1, 2, 3, 4]));
        for name in ["old", "new"] {
            (0..2 * HALVING).for_each(|_| busiest.look_at(Some(name.as_bytes()), &mut random));
        }
        assert_eq!(busiest.shares()[0].0, b"new");
    }
}
