//! The names and values of a load. Each name always has the same value, so that every answer is known in advance,
//! whichever connection stored the value last.

/// The number of digits in a name.
const DIGITS: usize = 6;
const PREFIX: &[u8] = b"bench::";
const LENGTH: usize = PREFIX.len() + DIGITS;

/// The number of different names.
pub const MAX_NAMES: usize = 1_000_000;

/// Generates names such as `bench::000042` and their values, which begin with the same number and are filled with `x`.
pub struct Names {
    name: [u8; LENGTH],
    value: Vec<u8>,
}

impl Names {
    pub fn new(value_size: usize) -> Names {
        let mut name = [b'0'; LENGTH];
        name[..PREFIX.len()].copy_from_slice(PREFIX);
        Names {
            name,
            value: vec![b'x'; value_size],
        }
    }

    /// The name and value of a number below [`MAX_NAMES`].
    pub fn at(&mut self, number: usize) -> (&[u8], &[u8]) {
        let mut rest = number;
        for digit in self.name[PREFIX.len()..].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        let digits = &self.name[PREFIX.len()..];
        let shown = self.value.len().min(DIGITS);
        self.value[..shown].copy_from_slice(&digits[..shown]);
        (&self.name, &self.value)
    }
}

/// A pseudorandom generator (xorshift64*), which yields the same numbers in every run.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        // The state is never 0, which the generator could not leave, and similar seeds give very different states.
        Rng((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A pseudorandom number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        ((high * bound as u64) >> 32) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_thirteen_bytes_and_values_begin_with_their_number() {
        let mut names = Names::new(8);
        assert_eq!(names.at(42), (&b"bench::000042"[..], &b"000042xx"[..]));
        assert_eq!(names.at(999_999), (&b"bench::999999"[..], &b"999999xx"[..]));
        assert_eq!(
            Names::new(3).at(123_456),
            (&b"bench::123456"[..], &b"123"[..])
        );
        assert_eq!(Names::new(0).at(0).1, b"");
    }

    #[test]
    fn dice_reach_everything() {
        let mut rng = Rng::new(0);
        let mut seen = [false; 100];
        (0..2000).for_each(|_| seen[rng.below(100)] = true);
        assert!(seen.iter().all(|seen| *seen));
    }
}
