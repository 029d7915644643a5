//! Counts for each language.

use crate::protocol::Language;

/// A count for each language; a language before its login counts as the one after it.
#[derive(Debug, Clone, Copy, Default)]
pub struct ByLanguage([u64; Language::SPOKEN.len()]);

impl ByLanguage {
    #[inline(always)]
    pub fn add(&mut self, language: Language, count: u64) {
        self.0[language.number()] += count;
    }

    /// Subtracts one.
    pub fn subtract_one(&mut self, language: Language) {
        self.0[language.number()] -= 1;
    }

    pub fn sum(&self) -> u64 {
        self.0.iter().sum()
    }

    pub fn of(&self, language: Language) -> u64 {
        self.0[language.number()]
    }

    /// The words of the languages with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let words = Language::SPOKEN.iter().map(|language| language.word());
        words.zip(self.0.iter().copied())
    }
}
