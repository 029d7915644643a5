//! Trees of clacksd nodes whose entries expire: no expired value is ever shown, no value longer at one node than at
//! another, and none comes back; and none is gone early (clacksd-memcached(7)).
//!
//! Each value is stored once, so that it shows which write a node has. All expiries that were said of it are known
//! here, and so are those that a node can't have any more, since it knows a later one.

use super::memcached::{CLIENTS, MEMCACHED};
use super::network::Saboteur;
use super::processes::Ending;
use super::witness::WRITER;
use super::world::{Plan, Random, SECOND_US, World, any_tree};
use clacks::broker::Ageing;
use std::collections::{BTreeMap, BTreeSet};

const NAMES: u64 = 5;
const ROUNDS: usize = 8;
const ACTS: usize = 30;
/// Nobody is away for so long, but for the last time.
const DELETED_US: u64 = 600 * SECOND_US;
/// The most that clocks are off by.
const ERROR_US: u64 = SECOND_US;
/// Longer than two nodes' ideas of the tree's time are apart, with the way of what one tells the other, and a second for
/// times that are shown in whole ones.
const SLACK_US: u64 = 2 * ERROR_US + 2 * SECOND_US;
/// Time to dial, through all of the tree, and to send everything.
const JOINING_US: u64 = 10 * SECOND_US;
/// Times to live, in seconds; 0 is for ever.
const TTLS_S: [i64; 8] = [0, 0, 2, 10, 30, 60, 120, -1];

/// An expiry that a write or a touch has said.
#[derive(Debug, Clone, Copy)]
struct Said {
    when_us: u64,
    /// `None` is never.
    expires_us: Option<u64>,
}

impl Said {
    fn new(now_us: u64, ttl_s: i64) -> Said {
        Said {
            when_us: now_us,
            expires_us: (ttl_s != 0).then(|| now_us + ttl_s.max(0) as u64 * SECOND_US),
        }
    }

    /// Reports whether an entry that has so many seconds left, or -1, expires at that time.
    fn agrees_with(&self, left_s: i64, now_us: u64) -> bool {
        let shown = Said::new(now_us, if left_s < 0 { 0 } else { left_s });
        match (self.expires_us, shown.expires_us) {
            (Some(said_us), Some(shown_us)) => said_us.abs_diff(shown_us) <= SLACK_US,
            (said, shown) => said.is_none() && shown.is_none(),
        }
    }
}

struct Write {
    name: String,
    /// `None` removes.
    value: Option<String>,
    /// Writes of that name that its node had seen.
    after: BTreeSet<usize>,
    /// The first is the write's own.
    said: Vec<Said>,
}

impl Write {
    /// Expiries that a node may have which knows all that was said up to that moment.
    fn possible(&self, known_us: u64) -> impl Iterator<Item = &Said> {
        self.said
            .iter()
            .filter(move |said| said.when_us + SLACK_US >= known_us)
    }

    fn newest_us(&self) -> u64 {
        self.said.iter().map(|said| said.when_us).max().unwrap_or(0)
    }
}

/// The write that a node shows, and how many seconds are left.
#[derive(Clone, Copy)]
struct Shown {
    write: usize,
    left_s: i64,
}

/// All that a node has shown or was told.
#[derive(Default, Clone)]
struct Knowledge {
    /// Writes by name.
    writes: BTreeMap<String, BTreeSet<usize>>,
    /// When the newest expiry was said that it knows, by write.
    said_us: BTreeMap<usize, u64>,
}

pub struct Expiring {
    world: World,
    writes: Vec<Write>,
    by_value: BTreeMap<(String, String), usize>,
    knowledge: Vec<Knowledge>,
    /// Writes that some later one's node had seen.
    superseded: BTreeSet<usize>,
    /// A node was away for longer than the deleted time: writes may be lost.
    is_lossy: bool,
    fault: Option<String>,
}

impl Expiring {
    pub fn new(seed: u64, saboteur: Option<Saboteur>) -> Expiring {
        let mut random = Random(seed ^ 0xe4b);
        let nodes = 2 + random.below(4) as usize;
        let masters = any_tree(&mut random, nodes);
        let journals: Vec<bool> = (0..nodes).map(|_| random.one_in(2)).collect();
        let plan = Plan {
            masters: &masters,
            root_error_us: ERROR_US,
            error_us: ERROR_US,
            ageing: Some(Ageing {
                stale_us: Ageing::NEVER,
                deleted_us: DELETED_US,
            }),
            clean_interval_us: Some(random.pick(&[1, 10, 60]) * SECOND_US),
            journals: &journals,
            is_fixed: true,
            reconnect_us: SECOND_US,
            ..Plan::default()
        };
        let mut world = World::new(seed, &plan, saboteur);
        for node in 0..nodes {
            for language in CLIENTS {
                world.add_client(node, language);
            }
        }
        Expiring {
            world,
            writes: Vec::new(),
            by_value: BTreeMap::new(),
            knowledge: vec![Knowledge::default(); nodes],
            superseded: BTreeSet::new(),
            is_lossy: false,
            fault: None,
        }
    }

    pub fn check(mut self) -> Result<(), String> {
        self.go_on(JOINING_US);
        for round in 0..ROUNDS {
            self.is_lossy |= round == ROUNDS - 1;
            self.run_a_round();
            self.settle();
            let rest_us = self.world.random.pick(&[0, 5, 20, 130]) * SECOND_US;
            self.go_on(rest_us);
            self.check_agreement();
            if self.fault.is_some() {
                break;
            }
        }
        if let Some(what) = self.world.unjust_refusal(true) {
            self.blame(what);
        }
        self.fault.map_or(Ok(()), Err)
    }

    fn blame(&mut self, what: String) {
        let now_us = self.world.now_us;
        self.fault
            .get_or_insert_with(|| format!("at {now_us} us: {what}"));
    }

    fn go_on(&mut self, for_us: u64) {
        let end_us = self.world.now_us + for_us;
        self.world.run_until(end_us, &mut |_, _| {});
    }

    fn any_node(&mut self) -> usize {
        self.world.random.below(self.world.nodes.len() as u64) as usize
    }

    fn any_name(&mut self) -> String {
        format!("e{}", self.world.random.below(NAMES))
    }

    /// Some nodes are away meanwhile; the last time for long.
    fn run_a_round(&mut self) {
        for node in 1..self.world.nodes.len() {
            if self.world.random.one_in(3) {
                self.world.unreachable[node] = true;
                self.world.cut_uplink(node);
            }
        }
        let longest_us = self.world.random.pick(&[1, 2, 10]) * SECOND_US;
        for _ in 0..ACTS {
            let pause_us = self.world.random.below(longest_us);
            self.go_on(pause_us);
            self.act();
        }
        if self.is_lossy {
            self.go_on(DELETED_US * 3 / 2);
        }
    }

    fn act(&mut self) {
        let (node, name) = (self.any_node(), self.any_name());
        match self.world.random.below(100) {
            0..35 => self.put(node, &name),
            35..45 => self.store(node, &name),
            45..70 => self.touch(node, &name),
            70..76 => self.remove(node, &name),
            76..80 => self.world.cut_any(),
            80..84 => self.restart(node),
            _ => {
                self.observe(node, &name);
            }
        }
    }

    /// A memcached client stores a value, if what is there allows it.
    fn put(&mut self, node: usize, name: &str) {
        let held = self.observe(node, name);
        let now_us = self.world.now_us;
        let new = format!("v{}", self.writes.len());
        let (ttl_s, command) = (
            self.world.random.pick(&TTLS_S),
            self.world
                .random
                .pick(&["set", "set", "add", "replace", "append", "ms"]),
        );
        let (length, mut value) = (new.len(), new.clone());
        let mut said = Said::new(now_us, ttl_s);
        let line = match command {
            "ms" => format!("ms {name} {length} T{ttl_s} E{now_us}"),
            _ => format!("{command} {name} 0 {ttl_s} {length}"),
        };
        if let ("append", Some(held)) = (command, held) {
            // It keeps the expiry.
            value = self.writes[held.write].value.clone().unwrap_or_default() + &new;
            said = Said::new(now_us, held.left_s.max(0));
        }
        let answer = self.world.answer(node, &format!("{line}\r\n{new}\r"));
        let expected = match (command, held) {
            ("ms", _) => "HD",
            ("set", _) | ("add", None) | ("replace" | "append", Some(_)) => "STORED",
            _ => "NOT_STORED",
        };
        if answer != expected {
            self.blame(format!(
                "node {node} answers {answer} to {line}, not {expected}"
            ));
        }
        if answer != "NOT_STORED" {
            self.write(node, name, Some(value), said);
        }
    }

    /// A Clacks client stores a value, which does not expire.
    fn store(&mut self, node: usize, name: &str) {
        self.observe(node, name);
        let value = format!("v{}", self.writes.len());
        self.world
            .say(node, WRITER, &format!("STORE {name}={value}"));
        let said = Said::new(self.world.now_us, 0);
        self.write(node, name, Some(value), said);
    }

    fn remove(&mut self, node: usize, name: &str) {
        self.observe(node, name);
        self.world.say(node, WRITER, &format!("REMOVE {name}"));
        let said = Said::new(self.world.now_us, 0);
        self.write(node, name, None, said);
    }

    fn touch(&mut self, node: usize, name: &str) {
        let held = self.observe(node, name);
        let ttl_s = self.world.random.pick(&TTLS_S);
        let line = match self.world.random.below(3) {
            0 => format!("touch {name} {ttl_s}"),
            1 => format!("gat {ttl_s} {name}"),
            _ => format!("mg {name} T{ttl_s}"),
        };
        let answer = self.world.ask(node, MEMCACHED, &line);
        let is_hit = !["NOT_FOUND", "END", "EN"].contains(&&*answer[0]);
        if is_hit != held.is_some() {
            self.blame(format!("node {node} answers {answer:?} to {line}"));
        }
        if let Some(held) = held {
            let now_us = self.world.now_us;
            self.writes[held.write].said.push(Said::new(now_us, ttl_s));
            self.knowledge[node].said_us.insert(held.write, now_us);
        }
    }

    /// A node with a journal ends in order and starts again: nothing is lost.
    fn restart(&mut self, node: usize) {
        if self.world.nodes[node].disk.is_some() {
            self.world.end_process(node, Ending::Orderly);
            let pause_us = self.world.random.below(20 * SECOND_US);
            self.go_on(pause_us);
            self.world.start_process(node, &CLIENTS);
        }
    }

    fn write(&mut self, node: usize, name: &str, value: Option<String>, said: Said) {
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
            said: vec![said],
        });
        seen.insert(number);
    }

    /// Looks at what a node shows of a name: its clients of both kinds are told the same, and it is right.
    fn observe(&mut self, node: usize, name: &str) -> Option<Shown> {
        let now_us = self.world.now_us;
        let value = self.world.retrieve(node, WRITER, name);
        let lines = self.world.ask(node, MEMCACHED, &format!("mg {name} v t"));
        let told = lines.get(1).cloned();
        if told != value {
            self.blame(format!(
                "node {node} shows {value:?} of {name}, and {lines:?}"
            ));
        }
        let value = value?;
        let left_s = lines[0]
            .split(" t")
            .nth(1)
            .and_then(|left| left.parse().ok());
        let left_s: i64 = left_s.expect("the seconds that are left");
        let Some(&write) = self.by_value.get(&(name.to_owned(), value.clone())) else {
            self.blame(format!(
                "node {node} shows {value} of {name}, which nobody wrote"
            ));
            return None;
        };
        if left_s == 0 {
            self.blame(format!(
                "node {node} shows {value} of {name}, which has expired"
            ));
        }
        // Who was away for long may bring back what was said before a touch that all others have forgotten.
        let known_us = self.knowledge[node].said_us.get(&write).copied();
        let known_us = known_us.filter(|_| !self.is_lossy);
        let is_said = self.writes[write]
            .possible(known_us.unwrap_or(0))
            .any(|said| said.agrees_with(left_s, now_us));
        if !is_said {
            self.blame(format!(
                "node {node} shows {value} of {name} for {left_s} s, which nobody has said: {:?}",
                self.writes[write].said
            ));
        }
        let seen = self.knowledge[node].writes.entry(name.to_owned());
        let seen = seen.or_default();
        let newer = seen
            .iter()
            .find(|of| self.writes[**of].after.contains(&write));
        if let Some(newer) = newer.copied().filter(|_| !self.is_lossy) {
            self.blame(format!(
                "node {node} shows write {write} of {name} again, after {newer}"
            ));
        } else {
            seen.insert(write);
        }
        Some(Shown { write, left_s })
    }

    /// Everything comes up.
    fn settle(&mut self) {
        self.world.unreachable.fill(false);
        self.go_on(JOINING_US);
    }

    /// All nodes show the same, and for as long; and it may be what is shown.
    fn check_agreement(&mut self) {
        for number in 0..NAMES {
            let name = format!("e{number}");
            let nodes = 0..self.world.nodes.len();
            let shown: Vec<_> = nodes.map(|node| self.observe(node, &name)).collect();
            for (node, there) in shown.iter().enumerate() {
                if !agree(shown[0], *there) {
                    let of = |shown: Option<Shown>| shown.map(|shown| (shown.write, shown.left_s));
                    let (first, other) = (of(shown[0]), of(*there));
                    self.blame(format!(
                        "nodes 0 and {node} disagree about {name}: {first:?} and {other:?}"
                    ));
                }
            }
            for write in shown.iter().flatten().map(|shown| shown.write) {
                let newest_us = self.writes[write].newest_us();
                for knowledge in &mut self.knowledge {
                    knowledge.said_us.insert(write, newest_us);
                }
                if self.superseded.contains(&write) && !self.is_lossy {
                    self.blame(format!(
                        "{name} is write {write}, which a later writer had seen"
                    ));
                }
            }
            if shown.iter().any(Option::is_none) && !self.may_be_gone(&name) {
                self.blame(format!("{name} is gone, though its last write lives"));
            }
        }
    }

    /// Reports whether a name may have no value: one of its last writes removes it or may have expired.
    fn may_be_gone(&self, name: &str) -> bool {
        let now_us = self.world.now_us;
        let of_name = |write: &&(usize, &Write)| write.1.name == name;
        let writes: Vec<(usize, &Write)> = self.writes.iter().enumerate().collect();
        let mut last = writes.iter().filter(of_name);
        let may_have_expired = |write: &Write| {
            let mut possible = write.possible(write.newest_us());
            possible.any(|said| {
                said.expires_us
                    .is_some_and(|at_us| at_us <= now_us + SLACK_US)
            })
        };
        self.is_lossy
            || last.clone().next().is_none()
            || last.any(|(number, write)| {
                let is_over = write.value.is_none() || may_have_expired(write);
                is_over && !self.superseded.contains(number)
            })
    }
}

/// Reports whether two nodes show the same value for as long, or one of them just does not any more.
fn agree(here: Option<Shown>, there: Option<Shown>) -> bool {
    let slack_s = (SLACK_US / SECOND_US) as i64;
    match (here, there) {
        (None, None) => true,
        (Some(here), Some(there)) => {
            let is_never = here.left_s < 0 || there.left_s < 0;
            let apart_s = here.left_s.abs_diff(there.left_s) as i64;
            here.write == there.write && apart_s <= if is_never { 0 } else { slack_s }
        }
        (Some(shown), None) | (None, Some(shown)) => (0..=slack_s).contains(&shown.left_s),
    }
}
