//! The names that come most often in requests, found by looking at some requests only.

use crate::broker::random::Random;
use crate::limits::SECOND_US;

/// Names that are counted at once.
const COUNTED: usize = 64;
/// One request in so many is looked at, on average.
const INTERVAL: u32 = 256;
/// After so many requests looked at, all counts are halved: names that are not busy any more give way.
const HALVING: u32 = 16 * 1024;
/// They are halved after so much time, too: on a quiet server so many requests may take months.
const HALVING_US: u64 = 60 * SECOND_US;
/// Bytes of a name that are kept.
const MAX_NAME: usize = 128;

/// Estimates how often names come, in the space-saving way: a name that is not counted yet takes the place of the one with
/// the smallest count, and that count. So each count is too large by at most what it began with.
#[derive(Debug)]
pub struct Busiest {
    /// Requests until the next one is looked at.
    left: u32,
    names: Vec<Counted>,
    looked_at: u32,
    /// When the counts were last halved for the time that had passed (monotonic).
    halved_us: u64,
    /// Requests that were looked at, halved as the counts are.
    all: u64,
}

#[derive(Debug)]
struct Counted {
    name: Box<[u8]>,
    count: u64,
    /// The count that the name took over from another one.
    inherited: u64,
}

impl Default for Busiest {
    fn default() -> Busiest {
        Busiest {
            left: 1,
            names: Vec::new(),
            looked_at: 0,
            halved_us: 0,
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
            self.halve(1);
        }
        let Some(name) = name else {
            return;
        };
        let name = &name[..name.len().min(MAX_NAME)];
        let new = |inherited| Counted {
            name: name.into(),
            count: inherited + 1,
            inherited,
        };
        let mut names = self.names.iter_mut();
        if let Some(counted) = names.find(|counted| *counted.name == *name) {
            counted.count += 1;
        } else if self.names.len() < COUNTED {
            self.names.push(new(0));
        } else if let Some(least) = self.names.iter_mut().min_by_key(|counted| counted.count) {
            *least = new(least.count);
        }
    }

    /// Halves the counts for the time that has passed.
    pub fn age(&mut self, now_us: u64) {
        let due = self.due_halvings(now_us);
        if due > 0 {
            self.halved_us += u64::from(due) * HALVING_US;
            self.halve(due);
        }
    }

    /// How often the counts are to be halved for the time that has passed. An idle server is not woken for that.
    fn due_halvings(&self, now_us: u64) -> u32 {
        let due = now_us.saturating_sub(self.halved_us) / HALVING_US;
        u32::try_from(due).unwrap_or(u32::MAX)
    }

    fn halve(&mut self, times: u32) {
        let halved = |count: u64| count.checked_shr(times).unwrap_or(0);
        self.all = halved(self.all);
        for counted in &mut self.names {
            counted.count = halved(counted.count);
            counted.inherited = halved(counted.inherited);
        }
    }

    /// The names with their shares of all requests that were looked at lately, in percent, the busiest first. No share is too
    /// large, and names that were seen only once while they were counted are left out.
    pub fn shares(&self, now_us: u64) -> Vec<(&[u8], f64)> {
        let due = self.due_halvings(now_us);
        let seen = self.names.iter().map(|counted| {
            let seen = counted.count - counted.inherited;
            (&*counted.name, seen.checked_shr(due).unwrap_or(0))
        });
        let mut counted: Vec<_> = seen.filter(|(_, count)| *count > 1).collect();
        counted.sort_by(|one, other| other.1.cmp(&one.1).then(one.0.cmp(other.0)));
        let all = self.all.checked_shr(due).unwrap_or(0);
        let share = |(name, count)| (name, count as f64 * 100.0 / all.max(1) as f64);
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
        let shares = busiest.shares(0);
        assert_eq!(shares[0].0, b"busy");
        assert!((20.0..50.0).contains(&shares[0].1), "{:?}", shares[0]);
        let others = shares[1..].iter().map(|(_, share)| share);
        assert!(others.clone().all(|share| *share < 2.0), "{shares:?}");
    }

    /// Names that come once each take over the counts of others, which are not their own.
    #[test]
    fn names_that_come_once_are_not_busy() {
        let (mut busiest, mut random) = (Busiest::default(), Random::new([1, 2, 3, 4]));
        for number in 0..20_000 {
            let name = match number % 20 {
                0 => "busy".to_owned(),
                _ => format!("name {number}"),
            };
            busiest.look_at(Some(name.as_bytes()), &mut random);
        }
        let shares = busiest.shares(0);
        assert_eq!(shares.len(), 1, "{shares:?}");
        assert_eq!(shares[0].0, b"busy");
        assert!((4.0..=5.0).contains(&shares[0].1), "{shares:?}");
    }

    #[test]
    fn a_name_that_is_no_longer_busy_gives_way() {
        let (mut busiest, mut random) = (Busiest::default(), Random::new([1, 2, 3, 4]));
        for name in ["old", "new"] {
            (0..2 * HALVING).for_each(|_| busiest.look_at(Some(name.as_bytes()), &mut random));
        }
        assert_eq!(busiest.shares(0)[0].0, b"new");
    }

    /// On a server that does little, as on one that does much.
    #[test]
    fn names_that_were_busy_long_ago_give_way() {
        let (mut busiest, mut random) = (Busiest::default(), Random::new([1, 2, 3, 4]));
        let mut look = |busiest: &mut Busiest, name: &str, now_us, times| {
            busiest.age(now_us);
            for _ in 0..times {
                busiest.look_at(Some(name.as_bytes()), &mut random);
            }
        };
        look(&mut busiest, "old", 0, 1_000);
        assert_eq!(busiest.shares(HALVING_US - 1), [(&b"old"[..], 100.0)]);
        look(&mut busiest, "new", 5 * HALVING_US, 100);
        let shares = busiest.shares(5 * HALVING_US);
        assert_eq!((shares[0].0, shares[1].0), (&b"new"[..], &b"old"[..]));
        // A thousand, halved five times, is 31.
        assert!((shares[0].1 - 10_000.0 / 131.0).abs() < 0.1, "{shares:?}");
        // Nothing is left after an hour without requests, or a year.
        for minutes in [60, 60 * 24 * 365] {
            assert_eq!(busiest.shares(minutes * HALVING_US), []);
        }
        look(&mut busiest, "late", 60 * 24 * 365 * HALVING_US, 2);
        let shares = busiest.shares(60 * 24 * 365 * HALVING_US);
        assert_eq!(shares, [(&b"late"[..], 100.0)]);
    }
}
