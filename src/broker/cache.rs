//! The cache: names, values, tombstones, counters and their stamps. Who may use it, and who hears of
//! it, is decided elsewhere.
//!
//! Behaviour: clacks-protocol(7), CACHE. Everything that grows with the number of entries (growing,
//! ageing, listing, clearing) is done in slices.
//!
//! States of the same name on different nodes merge to the same result in whatever order and however
//! often they meet: the register with the newest stamp wins; of a register's counter contributions
//! each node's newest counts; and nothing older than the newest clear is left. All times are the
//! tree's (see `interclacks`).

use super::table::{Cursor, Table};
use crate::limits::{MANY_CONTRIBUTIONS, SEGMENTS_PER_SLICE};
use crate::protocol::number::Number;
use crate::protocol::peer::{Contribution, NodeId, Register, Stamp, State};
use ahash::RandomState;
use std::cmp::Ordering;
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
    /// Written before the newest CLEARCACHE.
    Cleared,
}

/// What a merge did.
#[derive(Debug, Clone, PartialEq)]
pub struct Merged {
    pub effect: Effect,
    /// Whether the sender doesn't know what is here now.
    pub differs: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    None,
    /// There is another register now.
    Register,
    /// Contributions grew by these amounts.
    Counter(Vec<Number>),
}

/// Longer texts are no numbers as people write them.
const LONG_NUMBER: usize = 32;

/// What was last written to a name as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Absent,
    Removed,
    Value,
}

struct Counter {
    /// The value that is counted from, as it was written.
    base: Box<[u8]>,
    /// In the order of the nodes, so that floating-point sums are the same everywhere.
    contributions: Vec<Contribution>,
    /// When this node last saw it change: what a KEYSYNC says of it, for that knows no counters.
    changed_us: u64,
}

struct Entry {
    /// The name, and then what RETRIEVE answers: one allocation for both.
    text: Box<[u8]>,
    name_length: u32,
    kind: Kind,
    stamp: Stamp,
    accessed_us: u64,
    counter: Option<Box<Counter>>,
}

impl Entry {
    fn name(&self) -> &[u8] {
        &self.text[..self.name_length as usize]
    }

    fn value(&self) -> &[u8] {
        &self.text[self.name_length as usize..]
    }

    fn holds_value(&self) -> bool {
        self.kind == Kind::Value || self.counter.is_some()
    }

    fn bytes(&self) -> usize {
        let counter = self.counter.as_ref();
        let counted = |counter: &Counter| {
            counter.base.len() + counter.contributions.len() * size_of::<Contribution>()
        };
        self.text.len() + counter.map_or(0, |counter| counted(counter))
    }

    fn has_many_contributions(&self) -> bool {
        let counter = self.counter.as_ref();
        counter.is_some_and(|counter| counter.contributions.len() >= MANY_CONTRIBUTIONS)
    }

    fn set_value(&mut self, value: &[u8]) {
        let name_length = self.name_length as usize;
        if self.value().len() == value.len() {
            self.text[name_length..].copy_from_slice(value);
        } else {
            self.text = [self.name(), value].concat().into_boxed_slice();
        }
    }

    /// Brings the printed value up to date with the counter.
    fn recount(&mut self) {
        let Some(counter) = &self.counter else { return };
        let base = Number::from_value(&counter.base);
        let sums = counter
            .contributions
            .iter()
            .map(|contribution| contribution.sum);
        let total = sums.fold(base, Number::accumulate).result();
        // 24 bytes for a double, 20 digits and a sign for an integer.
        let mut text = io::Cursor::new([0; 32]);
        write!(text, "{total}").expect("a printed number fits into 32 bytes");
        let length = text.position() as usize;
        self.set_value(&text.into_inner()[..length]);
    }

    /// The counter, made if need be from the value there is.
    fn counter_mut(&mut self) -> &mut Counter {
        if self.counter.is_none() {
            let base = match self.kind {
                // It goes along with every step from now on, and only its number counts.
                Kind::Value if self.value().len() > LONG_NUMBER => {
                    let number = Number::from_value(self.value()).exact().to_string();
                    number.into_bytes().into()
                }
                Kind::Value => self.value().into(),
                Kind::Absent | Kind::Removed => Box::default(),
            };
            self.counter = Some(Box::new(Counter {
                base,
                contributions: Vec::new(),
                changed_us: 0,
            }));
        }
        self.counter.as_mut().expect("it was just made")
    }

    fn state(&self) -> State<'_> {
        let register = match (self.kind, &self.counter) {
            (Kind::Absent, _) => Register::Absent,
            (Kind::Removed, _) => Register::Removed,
            (Kind::Value, Some(counter)) => Register::Value(&counter.base),
            (Kind::Value, None) => Register::Value(self.value()),
        };
        let contributions = self
            .counter
            .as_ref()
            .map_or_else(Vec::new, |counter| counter.contributions.clone());
        State {
            stamp: self.stamp,
            accessed_us: self.accessed_us,
            register,
            contributions,
        }
    }
}

/// An entry to look at.
#[derive(Clone, Copy)]
pub struct Found<'a> {
    entry: &'a Entry,
}

impl<'a> Found<'a> {
    pub fn name(&self) -> &'a [u8] {
        self.entry.name()
    }

    /// `None` for a tombstone.
    pub fn value(&self) -> Option<&'a [u8]> {
        self.entry.holds_value().then(|| self.entry.value())
    }

    /// When it was last written or counted.
    pub fn changed_us(&self) -> u64 {
        let counted_us = self
            .entry
            .counter
            .as_ref()
            .map_or(0, |counter| counter.changed_us);
        self.entry.stamp.time_us.max(counted_us)
    }

    pub fn accessed_us(&self) -> u64 {
        self.entry.accessed_us
    }

    pub fn state(&self) -> State<'a> {
        self.entry.state()
    }
}

pub struct Cache {
    table: Table<Entry>,
    hasher: RandomState,
    ageing: Ageing,
    /// Who this node is.
    node: NodeId,
    /// Time of the newest stamp made or seen here.
    newest_us: u64,
    /// The newest CLEARCACHE. What is older counts as not there.
    cleared: Stamp,
    /// Entries that hold a value.
    live: usize,
    /// Bytes of names, values and counters, tombstones included.
    bytes: usize,
    /// Cleared tables, freed in slices.
    garbage: Vec<Table<Entry>>,
}

fn hash(hasher: &RandomState, name: &[u8]) -> u64 {
    let mut state = hasher.build_hasher();
    state.write(name);
    state.finish()
}

impl Cache {
    pub fn new(hasher: RandomState, ageing: Ageing, node: NodeId) -> Cache {
        Cache {
            table: Table::default(),
            hasher,
            ageing,
            node,
            newest_us: 0,
            cleared: Stamp::default(),
            live: 0,
            bytes: 0,
            garbage: Vec::new(),
        }
    }

    /// Entries with a value, those included that are stale but not yet looked for.
    pub fn live(&self) -> usize {
        self.live
    }

    pub fn tombstones(&self) -> usize {
        self.table.len() - self.live
    }

    /// Bytes of all names, values and counters.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.table.len() == 0
    }

    /// The newest CLEARCACHE; the default stamp if there was none.
    pub fn cleared(&self) -> Stamp {
        self.cleared
    }

    /// What there is of a name, tombstones included, unless it has expired. Doesn't count as use.
    pub fn find(&self, name: &[u8], now_us: u64) -> Option<Found<'_>> {
        let entry = self
            .table
            .find(hash(&self.hasher, name), |entry| entry.name() == name)?;
        self.expired(entry, now_us)
            .is_none()
            .then_some(Found { entry })
    }

    /// The value of a live entry; being asked for keeps it from going stale.
    pub fn retrieve(&mut self, name: &[u8], now_us: u64) -> Option<&[u8]> {
        let Cache {
            table,
            hasher,
            ageing,
            cleared,
            ..
        } = self;
        let entry = table.find_mut(hash(hasher, name), |entry| entry.name() == name)?;
        if !entry.holds_value() || expired(entry, ageing, *cleared, now_us).is_some() {
            return None;
        }
        entry.accessed_us = entry.accessed_us.max(now_us);
        Some(entry.value())
    }

    pub fn store(&mut self, name: &[u8], value: &[u8], now_us: u64) {
        let stamp = self.new_stamp(now_us);
        self.write(name, Kind::Value, value, stamp, now_us);
    }

    /// Leaves a tombstone, whether or not there was an entry. A name with `=` in it can't be stored,
    /// so there is nothing to remember of it.
    pub fn remove(&mut self, name: &[u8], now_us: u64) {
        if !name.contains(&b'=') {
            let stamp = self.new_stamp(now_us);
            self.write(name, Kind::Removed, b"", stamp, now_us);
        }
    }

    /// Adds `step` to this node's contribution to the counter.
    pub fn add(&mut self, name: &[u8], step: Number, now_us: u64) {
        match self
            .table
            .find(hash(&self.hasher, name), |entry| entry.name() == name)
        {
            None => self.write(name, Kind::Absent, b"", self.cleared, now_us),
            Some(entry) => match self.expired(entry, now_us) {
                // Nobody knows which of the runs that have counted are over, so all begin anew.
                None if entry.has_many_contributions() => {
                    let (sum, stamp) = (entry.value().to_vec(), self.new_stamp(now_us));
                    self.write(name, Kind::Value, &sum, stamp, now_us);
                }
                None => {}
                Some(Expired::Cleared) => self.write(name, Kind::Absent, b"", self.cleared, now_us),
                // Others may not have let it expire yet: it takes a newer stamp to start anew.
                Some(Expired::Stale | Expired::Deleted) => {
                    let stamp = self.new_stamp(now_us);
                    self.write(name, Kind::Absent, b"", stamp, now_us);
                }
            },
        }
        let Stamp {
            time_us: changed_us,
            node,
        } = self.new_stamp(now_us);
        self.update(name, |entry| {
            let counter = entry.counter_mut();
            counter.changed_us = changed_us;
            let contributions = &mut counter.contributions;
            match contributions.binary_search_by_key(&node, |contribution| contribution.node) {
                Ok(at) => {
                    // A peer could have named this node with any number.
                    let version = &mut contributions[at].version;
                    *version = version.saturating_add(1);
                    contributions[at].sum = contributions[at].sum.accumulate(step);
                }
                Err(at) => contributions.insert(
                    at,
                    Contribution {
                        node,
                        version: 1,
                        sum: step,
                    },
                ),
            }
            entry.recount();
            entry.accessed_us = entry.accessed_us.max(now_us);
        });
    }

    /// Forgets everything, tombstones included. Memory is given back by [`Cache::free_slice`].
    pub fn clear(&mut self, now_us: u64) {
        // The newest stamp of all: everything in the table is older.
        self.cleared = self.new_stamp(now_us);
        let table = std::mem::take(&mut self.table);
        if table.is_large() {
            self.garbage.push(table);
        }
        self.live = 0;
        self.bytes = 0;
    }

    /// Learns of a CLEARCACHE elsewhere; whether it was news. What is older is not found any more,
    /// and dropped by the next walk of [`Cache::age_slice`].
    pub fn merge_clear(&mut self, stamp: Stamp) -> bool {
        self.newest_us = self.newest_us.max(stamp.time_us);
        let is_news = stamp > self.cleared;
        self.cleared = self.cleared.max(stamp);
        is_news
    }

    /// Learns what another node has of a name.
    pub fn merge(&mut self, name: &[u8], state: &State<'_>, now_us: u64) -> Merged {
        self.newest_us = self.newest_us.max(state.stamp.time_us);
        if state.stamp < self.cleared {
            return Merged {
                effect: Effect::None,
                differs: true,
            };
        }
        let held = self
            .table
            .find(hash(&self.hasher, name), |entry| entry.name() == name);
        // A tombstone that is past its time counts as forgotten, swept or not.
        let is_forgotten = |entry: &&Entry| {
            matches!(
                self.expired(entry, now_us),
                Some(Expired::Cleared | Expired::Deleted)
            )
        };
        let held = held.filter(|entry| !is_forgotten(entry));
        let is_unknown = held.is_none();
        let order = held.map_or(Ordering::Greater, |entry| state.stamp.cmp(&entry.stamp));
        match order {
            Ordering::Less => Merged {
                effect: Effect::None,
                differs: true,
            },
            Ordering::Equal => self.merge_contributions(name, state, now_us),
            Ordering::Greater => {
                let is_tombstone =
                    state.register == Register::Removed && state.contributions.is_empty();
                let is_forgotten =
                    now_us.saturating_sub(state.stamp.time_us) > self.ageing.deleted_us;
                if is_tombstone && is_forgotten && is_unknown {
                    return Merged {
                        effect: Effect::None,
                        differs: false,
                    };
                }
                let (kind, value) = match state.register {
                    Register::Absent => (Kind::Absent, &b""[..]),
                    Register::Removed => (Kind::Removed, &b""[..]),
                    Register::Value(value) => (Kind::Value, value),
                };
                self.write(
                    name,
                    kind,
                    value,
                    state.stamp,
                    state.accessed_us.min(now_us),
                );
                let merged = self.merge_contributions(name, state, now_us);
                // A counter that begins is told as its steps, for others may begin it as well.
                let begins = state.register == Register::Absent && is_unknown;
                Merged {
                    effect: if begins {
                        merged.effect
                    } else {
                        Effect::Register
                    },
                    differs: false,
                }
            }
        }
    }

    /// Of two states with the same register.
    fn merge_contributions(&mut self, name: &[u8], state: &State<'_>, now_us: u64) -> Merged {
        let mut grown = Vec::new();
        let mut differs = false;
        let changed_us = now_us.max(self.newest_us);
        self.update(name, |entry| {
            entry.accessed_us = entry.accessed_us.max(state.accessed_us.min(now_us));
            if state.contributions.is_empty() {
                differs = entry.counter.is_some();
                return;
            }
            let counter = entry.counter_mut();
            let mut merged =
                Vec::with_capacity(counter.contributions.len().max(state.contributions.len()));
            let mut ours = std::mem::take(&mut counter.contributions)
                .into_iter()
                .peekable();
            // Both are in the order of the nodes.
            for theirs in &state.contributions {
                while let Some(before) = ours.next_if(|ours| ours.node < theirs.node) {
                    merged.push(before);
                }
                match ours.next_if(|ours| ours.node == theirs.node) {
                    Some(ours) if ours.version >= theirs.version => {
                        differs |= ours.version > theirs.version;
                        merged.push(ours);
                    }
                    ours => {
                        let former = ours.map_or(Number::ZERO, |ours| ours.sum);
                        grown.push(theirs.sum.accumulate(-former));
                        merged.push(*theirs);
                    }
                }
            }
            merged.extend(ours);
            differs |= merged.len() > state.contributions.len();
            counter.contributions = merged;
            if !grown.is_empty() {
                entry.counter_mut().changed_us = changed_us;
                entry.recount();
            }
        });
        let effect = if grown.is_empty() {
            Effect::None
        } else {
            Effect::Counter(grown)
        };
        Merged { effect, differs }
    }

    /// Whether a cleared table is still to be freed.
    pub fn has_garbage(&self) -> bool {
        !self.garbage.is_empty()
    }

    pub fn free_slice(&mut self) {
        let mut segments = SEGMENTS_PER_SLICE;
        while let Some(table) = self.garbage.last_mut()
            && segments > 0
        {
            segments = table.free_slice(segments);
            if table.is_freed() {
                self.garbage.pop();
            }
        }
    }

    /// Drops what has expired in one slice of the table; the cursor of the next slice, if any.
    pub fn age_slice(
        &mut self,
        from: Cursor,
        now_us: u64,
        mut dropped: impl FnMut(Expired, &[u8]),
    ) -> Option<Cursor> {
        let Cache {
            table,
            hasher,
            ageing,
            cleared,
            live,
            bytes,
            ..
        } = self;
        let keep = |entry: &Entry| {
            let Some(kind) = expired(entry, ageing, *cleared, now_us) else {
                return true;
            };
            dropped(kind, entry.name());
            *live -= usize::from(entry.holds_value());
            *bytes -= entry.bytes();
            false
        };
        in_slices(from, keep, |cursor, keep| {
            table.retain(cursor, keep, |entry| hash(hasher, entry.name()))
        })
    }

    /// Meets what has not expired in one slice of the table, tombstones included, in the table's order.
    pub fn visit_slice(
        &self,
        from: Cursor,
        now_us: u64,
        mut visit: impl FnMut(Found<'_>),
    ) -> Option<Cursor> {
        let visit = |entry: &Entry| {
            if self.expired(entry, now_us).is_none() {
                visit(Found { entry });
            }
        };
        in_slices(from, visit, |cursor, visit| self.table.visit(cursor, visit))
    }

    /// A name's hash in the table.
    pub fn hash(&self, name: &[u8]) -> u64 {
        hash(&self.hasher, name)
    }

    /// Whether a walk that is at `cursor` has met that name, if it is there.
    pub fn is_behind(&self, cursor: Cursor, name: &[u8]) -> bool {
        cursor.is_after(hash(&self.hasher, name))
    }

    /// A stamp that is newer than everything seen here.
    fn new_stamp(&mut self, now_us: u64) -> Stamp {
        self.newest_us = now_us.max(self.newest_us + 1);
        Stamp {
            time_us: self.newest_us,
            node: self.node,
        }
    }

    fn expired(&self, entry: &Entry, now_us: u64) -> Option<Expired> {
        expired(entry, &self.ageing, self.cleared, now_us)
    }

    /// Replaces all there is of a name.
    fn write(&mut self, name: &[u8], kind: Kind, value: &[u8], stamp: Stamp, accessed_us: u64) {
        let exists = self.update(name, |entry| {
            entry.set_value(value);
            entry.kind = kind;
            entry.stamp = stamp;
            entry.accessed_us = accessed_us;
            entry.counter = None;
        });
        if exists {
            return;
        }
        let text = [name, value].concat().into_boxed_slice();
        let name_length = u32::try_from(name.len()).expect("a line is shorter than 4 GiB");
        let entry = Entry {
            text,
            name_length,
            kind,
            stamp,
            accessed_us,
            counter: None,
        };
        self.bytes += entry.bytes();
        self.live += usize::from(entry.holds_value());
        let hasher = &self.hasher;
        self.table.insert(hash(hasher, name), entry, |entry| {
            hash(hasher, entry.name())
        });
    }

    /// Changes an entry and keeps count; false if there is none.
    fn update(&mut self, name: &[u8], change: impl FnOnce(&mut Entry)) -> bool {
        let Some(entry) = self
            .table
            .find_mut(hash(&self.hasher, name), |entry| entry.name() == name)
        else {
            return false;
        };
        let before = (entry.bytes(), usize::from(entry.holds_value()));
        change(entry);
        self.bytes = self.bytes - before.0 + entry.bytes();
        self.live = self.live - before.1 + usize::from(entry.holds_value());
        true
    }
}

fn expired(entry: &Entry, ageing: &Ageing, cleared: Stamp, now_us: u64) -> Option<Expired> {
    // The clock may have been set back; then the difference is 0.
    let age = |since_us: u64| now_us.saturating_sub(since_us);
    if entry.stamp < cleared {
        Some(Expired::Cleared)
    } else if entry.holds_value() {
        (age(entry.accessed_us) > ageing.stale_us).then_some(Expired::Stale)
    } else {
        (age(entry.stamp.time_us) > ageing.deleted_us).then_some(Expired::Deleted)
    }
}

/// Applies `step` to as many segments as a slice has.
fn in_slices<V>(
    from: Cursor,
    mut visit: V,
    mut step: impl FnMut(Cursor, &mut V) -> Option<Cursor>,
) -> Option<Cursor> {
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
        node(1)
    }

    fn node(id: u64) -> Cache {
        Cache::new(
            RandomState::with_seeds(1, 2, 3, 4),
            Ageing {
                stale_us: 100,
                deleted_us: 10,
            },
            NodeId(id),
        )
    }

    fn names(cache: &Cache, now_us: u64) -> Vec<Vec<u8>> {
        let (mut cursor, mut names) = (Some(Cursor::default()), Vec::new());
        while let Some(from) = cursor {
            cursor = cache.visit_slice(from, now_us, |found| names.push(found.name().to_vec()));
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
        cache.clear(1);
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
        assert_eq!(
            cache.retrieve(b"unused", 101),
            Some(&b"1"[..]),
            "an expired counter starts at 0"
        );
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
        assert_eq!(
            gone,
            [
                (Expired::Deleted, b"old".to_vec()),
                (Expired::Stale, b"stale".to_vec())
            ]
        );
        assert_eq!((cache.live(), cache.tombstones()), (1, 1));
        assert_eq!(age(&mut cache, 0), [], "a clock set back ages nothing");
    }

    #[test]
    fn clearing_frees_in_slices() {
        let mut cache = cache();
        for number in 0..20_000 {
            cache.store(format!("name{number}").as_bytes(), b"value", 1);
        }
        cache.clear(1);
        cache.store(b"new", b"1", 1);
        let mut slices = 0;
        while cache.has_garbage() {
            cache.free_slice();
            slices += 1;
        }
        assert!(slices > 10, "{slices}");
        assert_eq!(names(&cache, 1), [b"new".to_vec()]);
    }

    /// All of a cache, as it would be told to another node.
    fn states(cache: &Cache) -> Vec<(Vec<u8>, String)> {
        let (mut cursor, mut states) = (Some(Cursor::default()), Vec::new());
        while let Some(from) = cursor {
            cursor = cache.visit_slice(from, 0, |found| {
                let State {
                    stamp,
                    register,
                    contributions,
                    ..
                } = found.state();
                let value = found.value().map(<[u8]>::to_vec);
                states.push((
                    found.name().to_vec(),
                    format!("{stamp} {register:?} {contributions:?} {value:?}"),
                ));
            });
        }
        states.sort();
        states
    }

    fn tell(from: &Cache, to: &mut Cache) {
        to.merge_clear(from.cleared());
        let mut cursor = Some(Cursor::default());
        while let Some(at) = cursor {
            cursor = from.visit_slice(at, 0, |found| {
                to.merge(found.name(), &found.state(), 0);
            });
        }
    }

    /// Three nodes do this and that, tell each other now and then in any order, and agree in the end.
    #[test]
    fn merging_has_no_order_and_repeats_do_nothing() {
        for seed in 0..300_u64 {
            let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let mut next = |bound: u64| {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (random >> 33) % bound
            };
            let mut nodes = [node(1), node(2), node(3)];
            for step in 0..60 {
                let (at, name) = (next(3) as usize, [b'a' + next(3) as u8]);
                // Clocks of their own: one is slow, one is fast.
                let now_us = step + [0, 5, 90][at];
                match next(16) {
                    0 => nodes[at].clear(now_us),
                    1 | 2 => nodes[at].remove(&name, now_us),
                    3..6 => nodes[at].store(&name, next(100).to_string().as_bytes(), now_us),
                    6..11 => nodes[at].add(
                        &name,
                        Number::from_step(next(9).to_string().as_bytes()),
                        now_us,
                    ),
                    _ => {
                        let [a, b] = nodes
                            .get_disjoint_mut([at, (at + 1) % 3])
                            .expect("two of three");
                        tell(a, b);
                    }
                }
            }
            for (a, b) in [(0, 1), (1, 2), (2, 0), (0, 1), (1, 2)] {
                let [a, b] = nodes.get_disjoint_mut([a, b]).expect("two of three");
                tell(a, b);
            }
            let [a, b, c] = &nodes;
            assert_eq!(states(a), states(b), "seed {seed}");
            assert_eq!(states(b), states(c), "seed {seed}");
            let before = states(a);
            let [a, b, _] = &mut nodes;
            tell(b, a);
            assert_eq!(states(a), before);
        }
    }

    #[test]
    fn counts_on_both_sides_of_a_cut_add_up() {
        let (mut a, mut b) = (node(1), node(2));
        a.store(b"n", b"10", 1);
        tell(&a, &mut b);
        a.add(b"n", Number::from_step(b"1"), 2);
        b.add(b"n", Number::from_step(b"100"), 2);
        b.add(b"fresh", Number::ONE, 2);
        a.add(b"fresh", Number::ONE, 3);
        tell(&a, &mut b);
        tell(&b, &mut a);
        for node in [&mut a, &mut b] {
            assert_eq!(node.retrieve(b"n", 3), Some(&b"111"[..]));
            assert_eq!(node.retrieve(b"fresh", 3), Some(&b"2"[..]));
        }
    }

    #[test]
    fn a_counter_is_exact_where_its_result_is_however_large_the_steps_add_up() {
        let mut cache = cache();
        cache.store(b"n", b"18446744073709551615", 1);
        cache.add(b"n", -Number::from_step(b"10000000000000000000"), 1);
        assert_eq!(cache.retrieve(b"n", 1), Some(&b"8446744073709551615"[..]));
        cache.add(b"n", -Number::from_step(b"10000000000000000000"), 1);
        cache.add(b"n", -Number::from_step(b"10000000000000000000"), 1);
        assert_eq!(cache.retrieve(b"n", 1), Some(&b"-1.15532559262904e+19"[..]));
    }

    #[test]
    fn a_merge_says_what_changed_and_whether_the_sender_knows_less() {
        let (mut a, mut b) = (node(1), node(2));
        a.store(b"n", b"1", 1);
        let first = a.find(b"n", 1).unwrap().state().stamp;
        let told = |a: &Cache, b: &mut Cache| b.merge(b"n", &a.find(b"n", 1).unwrap().state(), 1);
        assert_eq!(
            told(&a, &mut b),
            Merged {
                effect: Effect::Register,
                differs: false
            }
        );
        assert_eq!(
            told(&a, &mut b),
            Merged {
                effect: Effect::None,
                differs: false
            }
        );
        b.add(b"n", Number::from_step(b"5"), 1);
        assert_eq!(
            told(&a, &mut b),
            Merged {
                effect: Effect::None,
                differs: true
            }
        );
        assert_eq!(
            told(&b, &mut a),
            Merged {
                effect: Effect::Counter(vec![Number::from_step(b"5")]),
                differs: false
            }
        );
        a.store(b"n", b"2", 1);
        assert!(
            a.find(b"n", 1).unwrap().state().stamp > first,
            "newer, though the clock has not moved"
        );
        assert_eq!(
            told(&b, &mut a),
            Merged {
                effect: Effect::None,
                differs: true
            }
        );
        b.clear(50);
        assert_eq!(
            told(&a, &mut b),
            Merged {
                effect: Effect::None,
                differs: true
            }
        );
    }
}
