//! What clients do in a world, and what has to come of it.

use super::world::{MILLISECOND_US, SECOND_US, Saboteur, World};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Clients at every node: one that writes and sends, and two that listen.
const WRITER: usize = 0;
const LISTENERS: [usize; 2] = [1, 2];
/// Names that are written as a whole; counters; names that one node alone writes before it notifies.
const REGISTERS: u64 = 6;
const COUNTERS: u64 = 4;
const SIGNALS: u64 = 3;
/// A counter's base is a multiple of it; increments of a whole run stay below.
const BASE: u64 = 1_000_000;
/// Longer than anything takes on its way through the tree.
const SETTLING_US: u64 = 3 * SECOND_US;

/// A STORE, SETANDSTORE, REMOVE or CLEARCACHE.
struct Write {
    name: Option<String>,
    /// `None` removes.
    value: Option<String>,
}

/// A SET that was sent.
struct Signal {
    name: String,
    sender: usize,
    at_us: u64,
    /// Each node's master at that moment, and each node's run.
    masters: Vec<Option<usize>>,
    runs: Vec<u32>,
}

/// Sees what listeners get, the moment they get it.
struct Witness {
    clears: bool,
    signals: Vec<Signal>,
    /// Signals each listener has got, in order.
    got: BTreeMap<(usize, usize), Vec<usize>>,
    faults: Vec<String>,
}

impl Witness {
    /// Takes what has come to a node's clients, at once.
    fn listen_to(&mut self, world: &mut World, node: usize) {
        for client in [WRITER, LISTENERS[0], LISTENERS[1]] {
            while let Some(line) = world.nodes[node].clients[client].lines.pop_front() {
                if let Some(rest) = line.strip_prefix("SET changed") {
                    self.check_notified(world, node, client, rest);
                } else if let Some((name, number)) = line
                    .strip_prefix("SET ")
                    .and_then(|rest| rest.split_once('='))
                {
                    let number: usize = number.parse().expect("signals have numbers");
                    let got = self.got.entry((node, client)).or_default();
                    if got.contains(&number) {
                        self.faults
                            .push(format!("signal {number} came twice to node {node}"));
                    } else if self.signals[number].sender == node && client == WRITER {
                        self.faults
                            .push(format!("signal {number} came back to its sender"));
                    } else {
                        let sender = self.signals[number].sender;
                        let overtaken = got.iter().any(|&earlier| {
                            earlier > number && self.signals[earlier].sender == sender
                        });
                        if overtaken {
                            self.faults.push(format!(
                                "signal {number} came after a later one of its sender"
                            ));
                        }
                    }
                    assert_eq!(self.signals[number].name, name);
                    self.got.entry((node, client)).or_default().push(number);
                } else if line != "NOP"
                    && !line.starts_with("OVERHEAD")
                    && !line.starts_with("CLACKS")
                {
                    self.faults.push(format!("node {node} got {line:?}"));
                }
            }
        }
    }

    /// Whoever hears that node `w` has written number `n` finds it, or a later one.
    fn check_notified(&mut self, world: &mut World, node: usize, client: usize, rest: &str) {
        let (writer, number) = rest.split_once('=').expect("writer and number");
        let found = world.retrieve(node, client, &format!("g{writer}"));
        let found: Option<u64> = found.and_then(|value| value.parse().ok());
        let number: u64 = number.parse().expect("a number");
        let writer: usize = writer.parse().expect("a node");
        // A restarted writer doesn't know its own earlier stamps; a clear is newer than any number.
        let may_be_missing = world.nodes[writer].run > 0 || (self.clears && found.is_none());
        if number > 0 && found.is_none_or(|found| found < number) && !may_be_missing {
            self.faults.push(format!(
                "a signal overtook write {number} of node {writer}: node {node} has {found:?}"
            ));
        }
    }
}

pub struct Run {
    world: World,
    witness: Witness,
    restarts: bool,
    topology_changes: bool,
    writes: Vec<Write>,
    /// Writes that some later one's node had seen: they can't be the last.
    superseded: HashSet<usize>,
    by_value: HashMap<(String, String), usize>,
    /// Writes each node has made or shown since it started, by name.
    seen: Vec<BTreeMap<String, BTreeSet<usize>>>,
    /// Increments by counter and the base they were added to.
    increments: HashMap<(String, u64), u64>,
    /// The newest number each node has written for others to read.
    written: Vec<u64>,
}

impl Run {
    pub fn new(seed: u64, saboteur: Option<Saboteur>) -> Run {
        let mut random = super::world::Random(seed ^ 0x5eed);
        let nodes = 2 + random.below(7) as usize;
        let masters: Vec<Option<usize>> = (0..nodes)
            .map(|node| (node > 0).then(|| random.below(node as u64) as usize))
            .collect();
        let skew_us = [0, SECOND_US, 1800 * SECOND_US][random.below(3) as usize];
        let mut world = World::new(seed, &masters, skew_us, saboteur);
        for node in 0..nodes {
            for _ in 0..3 {
                world.add_client(node);
            }
        }
        let (restarts, clears) = (random.one_in(3), random.one_in(3));
        let mut run = Run {
            world,
            witness: Witness {
                clears,
                signals: Vec::new(),
                got: BTreeMap::new(),
                faults: Vec::new(),
            },
            restarts,
            topology_changes: random.one_in(2),
            writes: Vec::new(),
            superseded: HashSet::new(),
            by_value: HashMap::new(),
            seen: vec![BTreeMap::new(); nodes],
            increments: HashMap::new(),
            written: vec![0; nodes],
        };
        for node in 0..nodes {
            run.listen(node);
        }
        if random.one_in(4) {
            // A cache that takes several slices to tell.
            let node = random.below(nodes as u64) as usize;
            for number in 0..4000 {
                run.world
                    .say(node, WRITER, &format!("STORE bulk{number}={number}"));
            }
        }
        run
    }

    fn listen(&mut self, node: usize) {
        for client in LISTENERS {
            for signal in 0..SIGNALS {
                self.world.say(node, client, &format!("LISTEN s{signal}"));
            }
            for writer in 0..self.world.nodes.len() {
                self.world
                    .say(node, client, &format!("LISTEN changed{writer}"));
            }
        }
        // The writer listens to what it sends: it must never get it.
        self.world.say(node, WRITER, "LISTEN s0");
    }

    pub fn check(mut self) -> Result<(), String> {
        for _ in 0..500 {
            let pause_us = self.world.random.below(60) * MILLISECOND_US;
            self.go_on(pause_us);
            self.act();
        }
        // At least five cuts, wherever they fall.
        for _ in 0..5 {
            self.world.cut_any();
            self.go_on(700 * MILLISECOND_US);
            self.act();
        }
        self.world.unreachable.fill(false);
        self.go_on(30 * SECOND_US);
        self.check_agreement();
        self.check_last_writes();
        self.check_counters();
        self.check_signals();
        match self.witness.faults.first() {
            None => Ok(()),
            Some(fault) => Err(fault.clone()),
        }
    }

    fn fault(&mut self, what: String) {
        self.witness
            .faults
            .push(format!("at {} us: {what}", self.world.now_us));
    }

    fn go_on(&mut self, for_us: u64) {
        let end_us = self.world.now_us + for_us;
        let Run { world, witness, .. } = self;
        world.run_until(end_us, &mut |world, node| witness.listen_to(world, node));
    }

    fn act(&mut self) {
        let node = self.world.random.below(self.world.nodes.len() as u64) as usize;
        match self.world.random.below(100) {
            0..20 => self.store(node, "STORE"),
            20..26 => self.store(node, "SETANDSTORE"),
            26..34 => self.remove(node),
            34..54 => self.increment(node),
            54..58 => self.store_counter(node),
            58..76 => self.signal(node),
            76..88 => self.write_and_notify(node),
            88..90 if self.witness.clears => self.clear(node),
            90..93 => {
                self.world.cut_any();
            }
            93..95 => {
                let slave = node;
                self.world.unreachable[slave] = !self.world.unreachable[slave];
                if self.world.unreachable[slave] {
                    self.world.cut_uplink(slave);
                }
            }
            95..96 if self.restarts => {
                self.world.restart(node);
                self.seen[node].clear();
                self.listen(node);
                self.witness.got.retain(|(of, _), _| *of != node);
            }
            96..98 if self.topology_changes => self.change_master(node),
            _ => {
                let step = [0.1, 0.25, 1e15, -0.3][self.world.random.below(4) as usize];
                self.world
                    .say(node, WRITER, &format!("INCREMENT decimal={step}"));
            }
        }
        // What that did at the node itself is heard at once.
        self.go_on(0);
        self.witness.listen_to(&mut self.world, node);
    }

    /// Moves a node, with all below it, under another one.
    fn change_master(&mut self, node: usize) {
        let nodes = self.world.nodes.len();
        let new = self.world.random.below(nodes as u64) as usize;
        let is_below = |mut at: usize| {
            while at != node {
                match self.world.nodes[at].master {
                    Some(master) => at = master,
                    None => return false,
                }
            }
            true
        };
        if self.world.nodes[node].master.is_some() && !is_below(new) {
            self.world.nodes[node].master = Some(new);
            self.world.cut_uplink(node);
        }
    }

    /// Notes what a node shows of a name; what it has seen, a write there supersedes.
    fn look(&mut self, node: usize, name: &str) -> Option<String> {
        let value = self.world.retrieve(node, WRITER, name);
        if let Some(write) = value
            .as_ref()
            .and_then(|value| self.by_value.get(&(name.to_owned(), value.clone())))
        {
            self.seen[node]
                .entry(name.to_owned())
                .or_default()
                .insert(*write);
        }
        value
    }

    fn write(&mut self, node: usize, name: &str, value: Option<String>) {
        let number = self.writes.len();
        if let Some(value) = &value {
            self.by_value
                .insert((name.to_owned(), value.clone()), number);
        }
        self.writes.push(Write {
            name: Some(name.to_owned()),
            value,
        });
        let seen = self.seen[node].entry(name.to_owned()).or_default();
        self.superseded.extend(seen.iter());
        seen.insert(number);
    }

    fn store(&mut self, node: usize, verb: &str) {
        let name = format!("r{}", self.world.random.below(REGISTERS));
        self.look(node, &name);
        let value = format!("v{}", self.writes.len());
        self.world
            .say(node, WRITER, &format!("{verb} {name}={value}"));
        self.write(node, &name, Some(value));
    }

    fn remove(&mut self, node: usize) {
        let name = format!("r{}", self.world.random.below(REGISTERS));
        self.look(node, &name);
        self.world.say(node, WRITER, &format!("REMOVE {name}"));
        self.write(node, &name, None);
    }

    fn clear(&mut self, node: usize) {
        let registers = (0..REGISTERS).map(|number| format!("r{number}"));
        let names: Vec<String> = registers
            .chain((0..COUNTERS).map(|number| format!("c{number}")))
            .collect();
        for name in &names {
            self.look_at_counter_or_register(node, name);
        }
        self.world.say(node, WRITER, "CLEARCACHE");
        for name in &names {
            self.write(node, name, None);
        }
    }

    fn look_at_counter_or_register(&mut self, node: usize, name: &str) {
        if name.starts_with('c') {
            self.look_at_counter(node, name);
        } else {
            self.look(node, name);
        }
    }

    /// The base that a counter counts from at a node.
    fn look_at_counter(&mut self, node: usize, name: &str) -> u64 {
        let value = self
            .world
            .retrieve(node, WRITER, name)
            .map_or(0, |value| value.parse().expect("a counter"));
        let base: u64 = value / BASE * BASE;
        if let Some(write) = self.by_value.get(&(name.to_owned(), base.to_string())) {
            self.seen[node]
                .entry(name.to_owned())
                .or_default()
                .insert(*write);
        }
        base
    }

    fn increment(&mut self, node: usize) {
        let name = format!("c{}", self.world.random.below(COUNTERS));
        let base = self.look_at_counter(node, &name);
        let step = 1 + self.world.random.below(9);
        self.world
            .say(node, WRITER, &format!("INCREMENT {name}={step}"));
        *self.increments.entry((name, base)).or_default() += step;
    }

    /// Only the upper half of the counters is ever set.
    fn store_counter(&mut self, node: usize) {
        let name = format!("c{}", COUNTERS / 2 + self.world.random.below(COUNTERS / 2));
        self.look_at_counter(node, &name);
        let base = (self.writes.len() as u64 + 1) * BASE;
        self.world
            .say(node, WRITER, &format!("STORE {name}={base}"));
        self.write(node, &name, Some(base.to_string()));
    }

    fn signal(&mut self, node: usize) {
        let verb = ["SET", "SETANDSTORE"][self.world.random.below(2) as usize];
        let name = format!("s{}", self.world.random.below(SIGNALS));
        let number = self.witness.signals.len();
        self.witness.signals.push(Signal {
            name: name.clone(),
            sender: node,
            at_us: self.world.now_us,
            masters: self.world.nodes.iter().map(|node| node.master).collect(),
            runs: self.world.nodes.iter().map(|node| node.run).collect(),
        });
        self.world
            .say(node, WRITER, &format!("{verb} {name}={number}"));
    }

    fn write_and_notify(&mut self, node: usize) {
        // Often long before: the write may have to be told when a link comes up.
        if self.world.random.one_in(2) {
            self.written[node] += 1;
            let number = self.written[node];
            self.world
                .say(node, WRITER, &format!("STORE g{node}={number}"));
        }
        let number = self.written[node];
        self.world
            .say(node, WRITER, &format!("SET changed{node}={number}"));
    }

    /// All nodes hold the same.
    fn check_agreement(&mut self) {
        let mut all = Vec::new();
        for node in 0..self.world.nodes.len() {
            let names = self.world.keys(node, WRITER);
            let entries: BTreeMap<String, Option<String>> = names
                .into_iter()
                .map(|name| (name.clone(), self.world.retrieve(node, WRITER, &name)))
                .collect();
            all.push(entries);
        }
        for node in 1..all.len() {
            if all[node] != all[0] {
                let differing = all[0]
                    .keys()
                    .chain(all[node].keys())
                    .find(|name| all[0].get(*name) != all[node].get(*name));
                let name = differing.cloned().unwrap_or_default();
                let what = format!(
                    "nodes 0 and {node} disagree about {name}: {:?} and {:?}",
                    all[0].get(&name),
                    all[node].get(&name)
                );
                self.fault(what);
            }
        }
    }

    /// No write is the last one that a later writer had seen.
    fn check_last_writes(&mut self) {
        for number in 0..REGISTERS {
            let name = format!("r{number}");
            let Some(value) = self.world.retrieve(0, WRITER, &name) else {
                // Somebody must have removed it without its being stored again by one who knew.
                let is_possible = self.writes.iter().all(|w| w.name.as_deref() != Some(&name))
                    || self.writes.iter().enumerate().any(|(number, w)| {
                        w.name.as_deref() == Some(&name)
                            && w.value.is_none()
                            && !self.superseded.contains(&number)
                    });
                if !is_possible && !self.restarts {
                    self.fault(format!("{name} is gone, though its last writes stored it"));
                }
                continue;
            };
            match self.by_value.get(&(name.clone(), value.clone())) {
                Some(write) if self.superseded.contains(write) && !self.restarts => {
                    self.fault(format!(
                        "{name} is {value}, though a later writer had seen that"
                    ));
                }
                Some(_) => {}
                None => self.fault(format!("{name} is {value}, which nobody wrote")),
            }
        }
    }

    /// Every increment made on the register that won counts once.
    fn check_counters(&mut self) {
        for number in 0..COUNTERS {
            let name = format!("c{number}");
            let value: u64 = self
                .world
                .retrieve(0, WRITER, &name)
                .map_or(0, |value| value.parse().expect("a counter"));
            let base = value / BASE * BASE;
            let counted = value - base;
            let expected = self
                .increments
                .get(&(name.clone(), base))
                .copied()
                .unwrap_or(0);
            let is_exact = !(self.restarts || self.witness.clears && base == 0);
            if counted > expected || (is_exact && counted != expected) {
                self.fault(format!("{name} counted {counted} of {expected} on {base}"));
            }
        }
    }

    /// What nothing was in the way of has arrived.
    fn check_signals(&mut self) {
        for number in 0..self.witness.signals.len() {
            for node in 0..self.world.nodes.len() {
                let signal = &self.witness.signals[number];
                let unchanged = signal.runs[node] == self.world.nodes[node].run;
                if unchanged && self.is_way_clear(signal, node) {
                    for client in LISTENERS {
                        let got = self
                            .witness
                            .got
                            .get(&(node, client))
                            .is_some_and(|got| got.contains(&number));
                        if !got {
                            let (sender, at_us) = (signal.sender, signal.at_us);
                            self.witness.faults.push(format!(
                                "signal {number} of node {sender} at {at_us} us was lost on its way to {node}"
                            ));
                        }
                    }
                }
            }
        }
    }

    /// Whether all wires between were up from the sending on.
    fn is_way_clear(&self, signal: &Signal, to: usize) -> bool {
        let path = |mut at: usize| {
            let mut path = vec![at];
            while let Some(master) = signal.masters[at] {
                path.push(master);
                at = master;
            }
            path
        };
        let (from, to) = (path(signal.sender), path(to));
        // Up to their first common master, which both paths end with.
        let steps = |path: &[usize], other: &[usize]| -> Vec<(usize, usize)> {
            let climb = path.windows(2).map(|pair| (pair[0], pair[1]));
            climb
                .take_while(|(slave, _)| !other.contains(slave))
                .collect()
        };
        let mut wires = steps(&from, &to);
        wires.extend(steps(&to, &from));
        let end_us = signal.at_us + SETTLING_US;
        wires
            .iter()
            .all(|(slave, master)| self.world.was_up(*slave, *master, signal.at_us, end_us))
    }
}
