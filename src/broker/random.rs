//! The generator of everything that the broker draws at random.

/// SplitMix64: small, and good enough for jitter and names.
pub struct Random(u64);

impl Random {
    pub fn new(seed: [u64; 4]) -> Random {
        let mixed = seed
            .iter()
            .fold(0, |mixed: u64, part| mixed.rotate_left(17) ^ part);
        Random(mixed)
    }

    /// A number below `bound`, each with the same probability, nearly.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
