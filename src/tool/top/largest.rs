//! The largest entries among those that the samples of the last minute or so have met. The server looks at other entries
//! each time. No I/O.

use crate::client::{Fields, Text};
use crate::tool::columns::amount;
use std::collections::HashMap;

/// Samples after which an entry is forgotten that they have not met again: it may have been removed.
const KEPT_SAMPLES: u64 = 60;
/// Entries that are kept.
const KEPT: usize = 100;

#[derive(Debug, Default)]
pub struct Largest {
    samples: u64,
    /// The sample that has met the name last.
    met: HashMap<Text, u64>,
    /// The largest entry first.
    rows: Vec<Fields>,
}

impl Largest {
    /// Adds the rows of a sample.
    pub fn add(&mut self, sample: Vec<Fields>) {
        self.samples += 1;
        let name = |row: &Fields| row.get("NAME").cloned().unwrap_or_default();
        let newest = self.samples;
        self.met
            .extend(sample.iter().map(|row| (name(row), newest)));
        let met = &self.met;
        let is_met_now = |row: &Fields| met.get(&name(row)) == Some(&newest);
        let is_kept = |row: &Fields| {
            let last = met.get(&name(row)).copied().unwrap_or(0);
            last + KEPT_SAMPLES > newest
        };
        self.rows.retain(|row| is_kept(row) && !is_met_now(row));
        self.rows.extend(sample);
        let size = |row: &Fields| amount(row, "SIZE").unwrap_or(0.0);
        self.rows.sort_by(|one, other| {
            let by_size = size(other).total_cmp(&size(one));
            by_size.then_with(|| name(one).cmp(&name(other)))
        });
        self.rows.truncate(KEPT);
        let kept: HashMap<Text, u64> = self
            .rows
            .iter()
            .filter_map(|row| self.met.remove_entry(&name(row)))
            .collect();
        self.met = kept;
    }

    pub fn rows(&self) -> &[Fields] {
        &self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::columns::field;

    fn sample(entries: &[(&str, usize)]) -> Vec<Fields> {
        let entries = entries.iter();
        entries
            .map(|(name, size)| {
                let fields = [("NAME", (*name).to_owned()), ("SIZE", size.to_string())];
                fields
                    .map(|(name, text)| (name.to_owned(), text.as_str().into()))
                    .into()
            })
            .collect()
    }

    fn names(largest: &Largest) -> String {
        let names = largest
            .rows()
            .iter()
            .map(|row| field(row, "NAME").into_owned());
        names.collect()
    }

    #[test]
    fn samples_add_up_and_the_newest_size_counts() {
        let mut largest = Largest::default();
        largest.add(sample(&[("a", 10), ("b", 20)]));
        largest.add(sample(&[("c", 15), ("b", 5)]));
        assert_eq!(names(&largest), "cab");
        for _ in 0..KEPT_SAMPLES - 1 {
            largest.add(sample(&[("b", 5)]));
        }
        assert_eq!(names(&largest), "cb");
        largest.add(sample(&[]));
        assert_eq!(names(&largest), "b");
        let many: Vec<(String, usize)> = (0..200).map(|size| (size.to_string(), size)).collect();
        let many: Vec<(&str, usize)> = many.iter().map(|(name, size)| (&**name, *size)).collect();
        largest.add(sample(&many));
        assert_eq!((largest.rows().len(), largest.met.len()), (KEPT, KEPT));
        assert!(names(&largest).starts_with("199198"));
    }
}
