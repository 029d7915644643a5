//! The writes, touches and counts of a tree whose entries expire, and which of them a node may show.
//!
//! Each value is stored once, so that it shows which write a node has. Lifetimes are known to the microsecond of the
//! tree's time, by the clock of the node at which they were said; so what a node shows is right or wrong, and nothing
//! in between.

use std::collections::{BTreeMap, BTreeSet};

pub const NEVER_US: u64 = u64::MAX;
/// Steps of a counter stay below the half of this. Its bases are halves of it above multiples.
const BASE: u64 = 1_000_000;

/// How long an entry lives, as a write or a touch has said.
#[derive(Debug, Clone, Copy)]
pub struct Lifetime {
    /// Bounds of the touch's time; 0 for what the write itself said. Of two touches the later one counts.
    touched_us: (u64, u64),
    expires_us: u64,
}

impl Lifetime {
    pub fn of_write(expires_us: u64) -> Lifetime {
        Lifetime {
            touched_us: (0, 0),
            expires_us,
        }
    }

    /// A touch at a node that shows an entry with one of these lifetimes: it comes later than the one before it, even
    /// if that was said by a clock which is ahead.
    pub fn of_touch(held: &[Lifetime], expires_us: u64, tree_us: u64) -> Lifetime {
        let after = |touched_us: u64| if touched_us == 0 { 0 } else { touched_us + 1 };
        let froms = held.iter().map(|lifetime| after(lifetime.touched_us.0));
        let tos = held.iter().map(|lifetime| after(lifetime.touched_us.1));
        let from_us = froms.min().unwrap_or(0).max(tree_us);
        let to_us = tos.max().unwrap_or(0).max(tree_us);
        Lifetime {
            touched_us: (from_us, to_us),
            expires_us,
        }
    }

    pub fn has_ended(self, tree_us: u64) -> bool {
        self.expires_us <= tree_us
    }

    /// When it ends, if it does.
    pub fn end_us(self) -> Option<u64> {
        (self.expires_us != NEVER_US).then_some(self.expires_us)
    }

    /// The seconds that are left, as clients are told: rounded up, and -1 for ever. `None`: there are none left.
    fn left_s(self, tree_us: u64) -> Option<i64> {
        match self.end_us() {
            None => Some(-1),
            Some(end_us) => {
                let left_us = end_us.checked_sub(tree_us).filter(|left_us| *left_us > 0)?;
                Some(left_us.div_ceil(1_000_000) as i64)
            }
        }
    }
}

/// A value, or its removal, and all that was said of it.
pub struct Write {
    pub name: String,
    /// `None` removes.
    pub value: Option<String>,
    /// Writes of that name that its node had seen.
    after: BTreeSet<usize>,
    lifetimes: Vec<Lifetime>,
    /// Steps of a counter: the sum of those up, and of those down.
    steps: (u64, u64),
}

impl Write {
    /// Lifetimes that a node may have which knows of a touch of that time.
    fn possible(&self, known_us: u64) -> impl Iterator<Item = Lifetime> {
        let all = self.lifetimes.iter();
        all.filter(move |lifetime| lifetime.touched_us.1 >= known_us)
            .copied()
    }

    fn newest_us(&self) -> u64 {
        let touched = self.lifetimes.iter().map(|lifetime| lifetime.touched_us.0);
        touched.max().unwrap_or(0)
    }
}

/// An entry as a node shows it.
#[derive(Debug, Clone)]
pub struct Shown {
    pub write: usize,
    pub value: String,
    pub left_s: i64,
    /// Lifetimes that make it show so much.
    pub lifetimes: Vec<Lifetime>,
}

/// All that a node has shown or was told.
#[derive(Default, Clone)]
struct Knowledge {
    /// Writes by name.
    writes: BTreeMap<String, BTreeSet<usize>>,
    /// The time of the latest touch that it knows, by write.
    touched_us: BTreeMap<usize, u64>,
}

pub struct Ledger {
    pub writes: Vec<Write>,
    by_value: BTreeMap<(String, String), usize>,
    knowledge: Vec<Knowledge>,
    /// Writes that some later one's node had seen.
    superseded: BTreeSet<usize>,
    /// A node was away for longer than the deleted time: writes and touches may be lost, and others come back.
    pub is_lossy: bool,
}

impl Ledger {
    pub fn new(nodes: usize) -> Ledger {
        Ledger {
            writes: Vec::new(),
            by_value: BTreeMap::new(),
            knowledge: vec![Knowledge::default(); nodes],
            superseded: BTreeSet::new(),
            is_lossy: false,
        }
    }

    /// The value that nobody has written yet.
    pub fn new_value(&self, name: &str) -> String {
        let number = self.writes.len() as u64;
        match is_counter(name) {
            true => base(number).to_string(),
            false => format!("v{number}"),
        }
    }

    /// A node writes.
    pub fn write(
        &mut self,
        node: usize,
        name: &str,
        value: Option<String>,
        lifetimes: Vec<Lifetime>,
    ) {
        let number = self.writes.len();
        if let Some(value) = &value {
            let key = (name.to_owned(), value.clone());
            self.by_value.insert(key, number);
        }
        let seen = self.knowledge[node].writes.entry(name.to_owned());
        let seen = seen.or_default();
        self.superseded.extend(seen.iter());
        self.writes.push(Write {
            name: name.to_owned(),
            value,
            after: seen.clone(),
            lifetimes,
            steps: (0, 0),
        });
        seen.insert(number);
    }

    /// A node touches what it shows.
    pub fn touch(&mut self, node: usize, held: &Shown, expires_us: u64, tree_us: u64) {
        let touch = Lifetime::of_touch(&held.lifetimes, expires_us, tree_us);
        self.writes[held.write].lifetimes.push(touch);
        let touched = &mut self.knowledge[node].touched_us;
        touched.insert(held.write, touch.touched_us.0);
    }

    /// Somebody counts a write up, or down.
    pub fn count(&mut self, write: usize, step: i64) {
        let steps = &mut self.writes[write].steps;
        match step {
            0.. => steps.0 += step.unsigned_abs(),
            _ => steps.1 += step.unsigned_abs(),
        }
    }

    /// Learns what a node shows. An error tells why it may not.
    pub fn learn(
        &mut self,
        node: usize,
        name: &str,
        value: &str,
        left_s: i64,
        tree_us: u64,
    ) -> Result<Shown, String> {
        let unknown = || format!("node {node} shows {value} of {name}, which nobody wrote");
        let written = match is_counter(name) {
            true => base_of(value).ok_or_else(unknown)?.to_string(),
            false => value.to_owned(),
        };
        let key = (name.to_owned(), written);
        let write = *self.by_value.get(&key).ok_or_else(unknown)?;
        self.check_steps(write, value)
            .map_err(|why| format!("node {node} shows {value} of {name}: {why}"))?;
        // Who was away for long may bring back what was said before a touch that all others have forgotten.
        let known_us = self.knowledge[node].touched_us.get(&write).copied();
        let known_us = known_us.filter(|_| !self.is_lossy).unwrap_or(0);
        let possible = self.writes[write].possible(known_us);
        let lifetimes: Vec<Lifetime> = possible
            .filter(|lifetime| lifetime.left_s(tree_us) == Some(left_s))
            .collect();
        let froms = lifetimes.iter().map(|lifetime| lifetime.touched_us.0);
        let Some(known_us) = froms.min() else {
            return Err(format!(
                "node {node} shows {value} of {name} for {left_s} s at {tree_us} us, which nobody has said: {:?}",
                self.writes[write].lifetimes
            ));
        };
        let knowledge = &mut self.knowledge[node];
        let touched_us = knowledge.touched_us.entry(write).or_default();
        *touched_us = known_us.max(*touched_us);
        let seen = knowledge.writes.entry(name.to_owned()).or_default();
        let newer = seen
            .iter()
            .find(|of| self.writes[**of].after.contains(&write));
        if let Some(newer) = newer.filter(|_| !self.is_lossy) {
            return Err(format!(
                "node {node} shows write {write} of {name} again, after {newer}"
            ));
        }
        seen.insert(write);
        Ok(Shown {
            write,
            value: value.to_owned(),
            left_s,
            lifetimes,
        })
    }

    fn check_steps(&self, write: usize, value: &str) -> Result<(), String> {
        let Some(base) = base_of(value).filter(|_| is_counter(&self.writes[write].name)) else {
            return Ok(());
        };
        let (up, down) = self.writes[write].steps;
        let counted: u64 = value.parse().expect("a counter");
        match (base - down..=base + up).contains(&counted) {
            true => Ok(()),
            false => Err(format!("it counts more than {up} up and {down} down")),
        }
    }

    /// Looks at what all nodes show of a name when the tree has settled, each at its own time. An error tells why that
    /// may not be.
    pub fn check_agreement(
        &mut self,
        name: &str,
        shown: &[Option<Shown>],
        trees_us: &[u64],
    ) -> Result<(), String> {
        let of = |shown: &Option<Shown>| {
            let shown = shown.as_ref()?;
            Some((shown.write, shown.value.clone(), shown.left_s))
        };
        let disagree = |why: &str| {
            let shown: Vec<_> = shown.iter().map(of).collect();
            Err(format!(
                "nodes disagree about {name}: {shown:?} at {trees_us:?}: {why}"
            ))
        };
        let Some(first) = shown.iter().flatten().next() else {
            return match self.may_be_gone(name, trees_us) {
                true => Ok(()),
                false => Err(format!("{name} is gone, though its last write lives")),
            };
        };
        let mut all = shown.iter().flatten();
        if !all.all(|one| one.write == first.write && one.value == first.value) {
            return disagree("these are two values");
        }
        let write = &self.writes[first.write];
        let newest_us = write.newest_us();
        let explains = |lifetime: Lifetime| {
            let mut nodes = shown.iter().zip(trees_us);
            nodes.all(|(shown, tree_us)| {
                lifetime.left_s(*tree_us) == shown.as_ref().map(|one| one.left_s)
            })
        };
        let known_us = if self.is_lossy { 0 } else { newest_us };
        if !write.possible(known_us).any(explains) {
            let possible: Vec<Lifetime> = write.possible(known_us).collect();
            return disagree(&format!(
                "one of them shows it for longer than by {possible:?}"
            ));
        }
        self.check_all_steps(first, trees_us)?;
        if self.superseded.contains(&first.write) && !self.is_lossy {
            let (write, value) = (first.write, &first.value);
            return Err(format!(
                "{name} is {value} of write {write}, which a later writer had seen"
            ));
        }
        for knowledge in &mut self.knowledge {
            knowledge.touched_us.insert(first.write, newest_us);
        }
        Ok(())
    }

    /// A counter that no node can have taken for expired has all steps.
    fn check_all_steps(&self, shown: &Shown, trees_us: &[u64]) -> Result<(), String> {
        let write = &self.writes[shown.write];
        let latest_us = trees_us.iter().copied().max().unwrap_or(0);
        let mut lifetimes = write.lifetimes.iter();
        let has_lived = lifetimes.all(|lifetime| !lifetime.has_ended(latest_us));
        if !is_counter(&write.name) || !has_lived || self.is_lossy {
            return Ok(());
        }
        let base = base_of(&shown.value).expect("a counter");
        let expected = base + write.steps.0 - write.steps.1;
        match shown.value == expected.to_string() {
            true => Ok(()),
            false => Err(format!(
                "{} counts {}, not {expected}",
                write.name, shown.value
            )),
        }
    }

    /// Reports whether a name may have no value: one of its last writes removes it, or has expired at all nodes.
    fn may_be_gone(&self, name: &str, trees_us: &[u64]) -> bool {
        let earliest_us = trees_us.iter().copied().min().unwrap_or(0);
        let has_expired = |write: &Write| {
            let mut possible = write.possible(write.newest_us());
            possible.any(|lifetime| lifetime.has_ended(earliest_us))
        };
        let all = self.writes.iter().enumerate();
        let mut last = all.filter(|(_, write)| write.name == name);
        self.is_lossy
            || last.clone().next().is_none()
            || last.any(|(number, write)| {
                let is_over = write.value.is_none() || has_expired(write);
                is_over && !self.superseded.contains(&number)
            })
    }
}

/// Reports whether entries of that name are counted.
pub fn is_counter(name: &str) -> bool {
    name.starts_with('n')
}

/// The value that the write of that number gives to a counter.
fn base(number: u64) -> u64 {
    number * BASE + BASE / 2
}

/// The value that a counter was counted from.
fn base_of(value: &str) -> Option<u64> {
    let value: u64 = value.parse().ok()?;
    Some(base(value / BASE))
}
