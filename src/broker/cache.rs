//! The cache: names, values, tombstones and their times. Who may use it, and who hears of it, is
//! decided elsewhere.
//!
//! Behaviour: clacks-protocol(7), CACHE. Everything that grows with the number of entries (growing,
//! ageing, listing, clearing) is done in slices.

use super::table::{Cursor, Table};
use crate::limits::SEGMENTS_PER_SLICE;
use crate::protocol::number::Number;
use ahash::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Write};

/// After which time what is forgotten, in microseconds.
#[derive(Debug, Clone, Copy)]
pub struct Ageing {
    /// Entries that nobody touched.
    pub stale_us: u64,
    /// Tombstones.
    pub deleted_us: u64,
}

/// What ageing dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expired {
    Stale,
    Deleted,
}

/// One name: its value, or a tombstone where the value was removed.
struct Entry {
    /// The name and then the value: one allocation for both.
    text: Box<[u8]>,
    name_length: u32,
    removed: bool,
    changed_us: u64,
    accessed_us: u64,
}

impl Entry {
    fn name(&self) -> &[u8] {
        &self.text[..self.name_length as usize]
    }

    fn value(&self) -> &[u8] {
        &self.text[self.name_length as usize..]
    }

    fn expired(&self, ageing: &Ageing, now_us: u64) -> Option<Expired> {
        // The clock may have been set back; then the difference is 0.
        if self.removed {
            (now_us.saturating_sub(self.changed_us) > ageing.deleted_us).then_some(Expired::Deleted)
        } else {
            (now_us.saturating_sub(self.accessed_us) > ageing.stale_us).then_some(Expired::Stale)
        }
    }

    fn is_live(&self, ageing: &Ageing, now_us: u64) -> bool {
        !self.removed && self.expired(ageing, now_us).is_none()
    }
}

pub struct Cache {
    table: Table<Entry>,
    hasher: RandomState,
    ageing: Ageing,
    /// Entries that are no tombstones.
    live: usize,
    /// Bytes of names and values, tombstones included.
    bytes: usize,
    /// Cleared tables, freed in slices.
    cleared: Vec<Table<Entry>>,
}

fn hash(hasher: &RandomState, name: &[u8]) -> u64 {
    let mut state = hasher.build_hasher();
    state.write(name);
    state.finish()
}

impl Cache {
    pub fn new(hasher: RandomState, ageing: Ageing) -> Cache {
        Cache { table: Table::default(), hasher, ageing, live: 0, bytes: 0, cleared: Vec::new() }
    }

    /// Live entries, those included that are stale but not yet looked for.
    pub fn live(&self) -> usize {
        self.live
    }

    pub fn tombstones(&self) -> usize {
        self.table.len() - self.live
    }

    /// Bytes of all names and values.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.table.len() == 0
    }

    /// The value of a live entry; being asked for keeps it from going stale.
    pub fn retrieve(&mut self, name: &[u8], now_us: u64) -> Option<&[u8]> {
        let ageing = self.ageing;
        let entry = self.table.find_mut(hash(&self.hasher, name), |entry| entry.name() == name)?;
        if !entry.is_live(&ageing, now_us) {
            return None;
        }
        entry.accessed_us = now_us;
        Some(entry.value())
    }

    /// Whether there is a live entry. Doesn't count as use.
    pub fn contains(&self, name: &[u8], now_us: u64) -> bool {
        let found = self.table.find(hash(&self.hasher, name), |entry| entry.name() == name);
        found.is_some_and(|entry| entry.is_live(&self.ageing, now_us))
    }

    pub fn store(&mut self, name: &[u8], value: &[u8], now_us: u64) {
        self.put(name, value, false, now_us);
    }

    /// Leaves a tombstone, whether or not there was an entry.
    pub fn remove(&mut self, name: &[u8], now_us: u64) {
        self.put(name, b"", true, now_us);
    }

    /// Adds `step` to the value, in the protocol's arithmetic.
    pub fn add(&mut self, name: &[u8], step: Number, now_us: u64) {
        let value = self.retrieve(name, now_us).map_or(Number::from_value(b""), Number::from_value);
        // 24 bytes for a double, 20 digits and a sign for an integer.
        let mut text = io::Cursor::new([0; 32]);
        write!(text, "{}", value + step).expect("a printed number fits into 32 bytes");
        let text = &text.get_ref()[..text.position() as usize];
        self.put(name, text, false, now_us);
    }

    /// Forgets everything, tombstones included. Memory is given back by [`Cache::free_slice`].
    pub fn clear(&mut self) {
        self.cleared.push(std::mem::take(&mut self.table));
        self.live = 0;
        self.bytes = 0;
    }

    /// Whether a cleared table is still to be freed.
    pub fn has_garbage(&self) -> bool {
        !self.cleared.is_empty()
    }

    pub fn free_slice(&mut self) {
        if let Some(table) = self.cleared.last_mut()
            && !table.free_slice(SEGMENTS_PER_SLICE)
        {
            self.cleared.pop();
        }
    }

    /// Drops what has expired in one slice of the table; the cursor of the next slice, if any.
    pub fn age_slice(&mut self, from: Cursor, now_us: u64, mut expired: impl FnMut(Expired, &[u8])) -> Option<Cursor> {
        let Cache { table, hasher, ageing, live, bytes, .. } = self;
        let keep = |entry: &Entry| {
            let Some(kind) = entry.expired(ageing, now_us) else { return true };
            expired(kind, entry.name());
            *live -= usize::from(!entry.removed);
            *bytes -= entry.text.len();
            false
        };
        in_slices(from, keep, |cursor, keep| table.retain(cursor, keep, |entry| hash(hasher, entry.name())))
    }

    /// Meets the names of the live entries in one slice of the table, in no order.
    pub fn visit_slice(&self, from: Cursor, now_us: u64, mut visit: impl FnMut(&[u8])) -> Option<Cursor> {
        let visit = |entry: &Entry| {
            if entry.is_live(&self.ageing, now_us) {
                visit(entry.name());
            }
        };
        in_slices(from, visit, |cursor, visit| self.table.visit(cursor, visit))
    }

    fn put(&mut self, name: &[u8], value: &[u8], removed: bool, now_us: u64) {
        let hash_of_name = hash(&self.hasher, name);
        if let Some(entry) = self.table.find_mut(hash_of_name, |entry| entry.name() == name) {
            let length = name.len() + value.len();
            self.bytes = self.bytes - entry.text.len() + length;
            if entry.text.len() == length {
                entry.text[name.len()..].copy_from_slice(value);
            } else {
                entry.text = [name, value].concat().into_boxed_slice();
            }
            self.live = self.live + usize::from(!removed) - usize::from(!entry.removed);
            entry.removed = removed;
            entry.changed_us = now_us;
            entry.accessed_us = now_us;
            return;
        }
        let text = [name, value].concat().into_boxed_slice();
        self.bytes += text.len();
        self.live += usize::from(!removed);
        let name_length = u32::try_from(name.len()).expect("a line is shorter than 4 GiB");
        let entry = Entry { text, name_length, removed, changed_us: now_us, accessed_us: now_us };
        let hasher = &self.hasher;
        self.table.insert(hash_of_name, entry, |entry| hash(hasher, entry.name()));
    }
}

/// Applies `step` to as many segments as a slice has.
fn in_slices<V>(from: Cursor, mut visit: V, mut step: impl FnMut(Cursor, &mut V) -> Option<Cursor>) -> Option<Cursor> {
    let mut cursor = from;
    for _ in 0..SEGMENTS_PER_SLICE {
        cursor = step(cursor, &mut visit)?;
    }
    Some(cursor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> Cache {
        Cache::new(RandomState::with_seeds(1, 2, 3, 4), Ageing { stale_us: 100, deleted_us: 10 })
    }

    fn names(cache: &Cache, now_us: u64) -> Vec<Vec<u8>> {
        let (mut cursor, mut names) = (Some(Cursor::default()), Vec::new());
        while let Some(from) = cursor {
            cursor = cache.visit_slice(from, now_us, |name| names.push(name.to_vec()));
        }
        names.sort();
        names
    }

    fn age(cache: &mut Cache, now_us: u64) -> Vec<(Expired, Vec<u8>)> {
        let (mut cursor, mut gone) = (Some(Cursor::default()), Vec::new());
        while let Some(from) = cursor {
            cursor = cache.age_slice(from, now_us, |kind, name| gone.push((kind, name.to_vec())));
        }
        gone
    }

    #[test]
    fn counts_entries_and_bytes() {
        let mut cache = cache();
        cache.store(b"a", b"12", 1);
        cache.store(b"a", b"123", 1);
        cache.store(b"b", b"", 1);
        assert_eq!((cache.live(), cache.tombstones(), cache.bytes()), (2, 0, 5));
        cache.remove(b"a", 1);
        cache.remove(b"c", 1);
        assert_eq!((cache.live(), cache.tombstones(), cache.bytes()), (1, 2, 3));
        cache.store(b"c", b"x", 1);
        assert_eq!((cache.live(), cache.tombstones(), cache.bytes()), (2, 1, 4));
        cache.clear();
        assert_eq!((cache.live(), cache.tombstones(), cache.bytes()), (0, 0, 0));
    }

    #[test]
    fn what_has_expired_is_never_served_even_before_it_is_looked_for() {
        let mut cache = cache();
        cache.store(b"used", b"1", 0);
        cache.store(b"unused", b"1", 0);
        assert_eq!(cache.retrieve(b"used", 60), Some(&b"1"[..]));
        assert_eq!(names(&cache, 101), [b"used".to_vec()]);
        assert_eq!(cache.retrieve(b"unused", 101), None);
        cache.add(b"unused", Number::ONE, 101);
        assert_eq!(cache.retrieve(b"unused", 101), Some(&b"1"[..]), "an expired counter starts at 0");
        assert_eq!(cache.retrieve(b"used", 161), None);
    }

    #[test]
    fn ageing_drops_stale_entries_and_old_tombstones_and_says_which() {
        let mut cache = cache();
        cache.store(b"stale", b"1", 0);
        cache.store(b"fresh", b"1", 50);
        cache.remove(b"old", 80);
        cache.remove(b"young", 95);
        let mut gone = age(&mut cache, 101);
        gone.sort_by(|a, b| a.1.cmp(&b.1));
        assert_eq!(gone, [(Expired::Deleted, b"old".to_vec()), (Expired::Stale, b"stale".to_vec())]);
        assert_eq!((cache.live(), cache.tombstones()), (1, 1));
        assert_eq!(age(&mut cache, 0), [], "a clock set back ages nothing");
    }

    #[test]
    fn clearing_frees_in_slices() {
        let mut cache = cache();
        for number in 0..20_000 {
            cache.store(format!("name{number}").as_bytes(), b"value", 1);
        }
        cache.clear();
        cache.store(b"new", b"1", 1);
        let mut slices = 0;
        while cache.has_garbage() {
            cache.free_slice();
            slices += 1;
        }
        assert!(slices > 10, "{slices}");
        assert_eq!(names(&cache, 1), [b"new".to_vec()]);
    }
}
