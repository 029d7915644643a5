//! Trees of clacksd nodes: what clients do there, and what has to come of it.

use super::memcached::{MEMCACHED, is_spoken};
use super::network::Saboteur;
use super::witness::{VERBS, WRITER, Witness};
use super::world::{MILLISECOND_US, Plan, Random, SECOND_US, World, any_tree};
use clacks::protocol::Language;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Names that are written as a whole; counters.
const REGISTERS: u64 = 6;
const COUNTERS: u64 = 4;
/// Names of entries that expire.
const LOANS: u64 = 3;
/// A counter's base is a multiple of it; increments of a whole run stay below.
const BASE: u64 = 1_000_000;
/// A ring is refused at once; up to here its news may take to get around.
const RING_UP_US: u64 = 2 * SECOND_US;
/// How long a ring is watched, and the most that is sent meanwhile, a dial each second included.
const RING_WATCHED_US: u64 = 12 * SECOND_US;
const RING_PACKETS: u64 = 1500;

/// A STORE, SETANDSTORE, REMOVE or CLEARCACHE.
struct Write {
    name: Option<String>,
    /// `None` removes.
    value: Option<String>,
    /// Writes of that name that its node had seen.
    after: BTreeSet<usize>,
}

/// Disturbances that can happen besides the acts of clients.
struct Weather {
    /// Cuts in a thousand acts.
    cuts: u64,
    silences: bool,
    restarts: bool,
    moves: bool,
    clock_steps: bool,
    ring: bool,
}

pub struct Run {
    world: World,
    witness: Witness,
    weather: Weather,
    /// Some of what clients do is done by memcached clients.
    has_memcached: bool,
    /// Two clocks may differ by nearly an hour, or more.
    has_wrong_clocks: bool,
    /// Longer than anything takes on its way through the tree.
    settling_us: u64,
    writes: Vec<Write>,
    /// Writes that some later one's node had seen: they can't be the last.
    superseded: HashSet<usize>,
    by_value: HashMap<(String, String), usize>,
    /// Writes each node has made or shown since it started, by name.
    seen: Vec<BTreeMap<String, BTreeSet<usize>>>,
    /// Increments by counter and the base they were added to.
    increments: HashMap<(String, u64), u64>,
}

impl Run {
    pub fn new(seed: u64, saboteur: Option<Saboteur>) -> Run {
        let mut random = Random(seed ^ 0x5eed);
        let nodes = 2 + random.below(7) as usize;
        let masters = any_tree(&mut random, nodes);
        // Half an hour each makes an hour between two; or the root is right and the others are off by an hour, less ten
        // seconds for each of up to seven servers above one, and some left for drifting.
        let second = SECOND_US;
        let (root_error_us, error_us) = random.pick(&[
            (0, 0),
            (second, second),
            (1790 * second, 1790 * second),
            (0, 3520 * second),
        ]);
        // Most networks are quiet most of the time.
        let cuts = random.pick(&[0, 0, 0, 0, 0, 0, 10, 10, 50, 50]);
        let weather = Weather {
            cuts,
            silences: cuts > 0 && random.one_in(2),
            restarts: random.one_in(4),
            moves: random.one_in(2),
            clock_steps: random.one_in(2),
            ring: random.one_in(5),
        };
        let plan = Plan {
            masters: &masters,
            root_error_us,
            error_us,
            reconnect_us: SECOND_US,
            ..Plan::default()
        };
        let mut world = World::new(seed, &plan, saboteur);
        world.network.has_spikes = random.one_in(4);
        let settling_us = if world.network.has_spikes { 20 } else { 3 } * SECOND_US;
        let witness = Witness::new(random.one_in(3));
        let mut run = Run {
            world,
            witness,
            weather,
            has_memcached: is_spoken(seed),
            has_wrong_clocks: error_us > second,
            settling_us,
            writes: Vec::new(),
            superseded: HashSet::new(),
            by_value: HashMap::new(),
            seen: vec![BTreeMap::new(); nodes],
            increments: HashMap::new(),
        };
        for node in 0..nodes {
            run.witness.settle_in(&mut run.world, node);
            if run.has_memcached {
                let number = run.world.add_client(node, Language::Memcached);
                assert_eq!(number, MEMCACHED);
            }
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

    pub fn check(mut self) -> Result<(), String> {
        let ring_at = self.weather.ring.then(|| self.world.random.below(400));
        for number in 0..500 {
            let pause_us = self.world.random.below(60) * MILLISECOND_US;
            self.go_on(pause_us);
            self.act();
            if Some(number) == ring_at {
                self.make_ring();
            }
        }
        self.go_on(self.settling_us);
        // At least five cuts, wherever they fall.
        for _ in 0..5 {
            self.world.cut_any();
            self.go_on(700 * MILLISECOND_US);
            self.act();
        }
        self.world.unreachable.fill(false);
        // What fell silent is noticed after a minute.
        let rest_s = if self.weather.silences { 160 } else { 30 };
        self.go_on(rest_s * SECOND_US);
        let all: Vec<usize> = (0..self.world.nodes.len()).collect();
        if let Some(what) = self.world.disagreement(&all, WRITER) {
            self.fault(what);
        }
        self.check_loans();
        self.check_last_writes();
        self.check_counters();
        // Two servers may differ by more than an hour before they have learnt the root's time.
        if let Some(what) = self.world.unjust_refusal(!self.has_wrong_clocks) {
            self.fault(what);
        }
        self.witness.check_arrivals(&self.world, self.settling_us);
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

    fn any_node(&mut self) -> usize {
        self.world.random.below(self.world.nodes.len() as u64) as usize
    }

    fn act(&mut self) {
        let node = self.any_node();
        if self.world.random.below(1000) < self.weather.cuts {
            self.disturb(node);
        }
        match self.world.random.below(100) {
            0..20 => self.store(node, "STORE"),
            20..26 => self.store(node, "SETANDSTORE"),
            26..34 => self.remove(node),
            34..54 => self.increment(node),
            54..58 => self.store_counter(node),
            58..74 => {
                let verb = self.world.random.pick(&VERBS);
                self.witness.send(&mut self.world, node, verb);
            }
            74..78 => self.contend(node),
            78..89 => self.witness.write_and_notify(&mut self.world, node),
            89..91 if self.witness.clears => self.clear(node),
            91..92 if self.weather.restarts => {
                self.witness.restart(&mut self.world, node);
                self.seen[node].clear();
            }
            92..94 if self.weather.moves && self.witness.detached.is_none() => {
                self.change_master(node);
            }
            94..96 if self.weather.clock_steps => self.world.set_clock(node),
            96..98 if self.has_memcached && !self.has_wrong_clocks => self.lend(node),
            _ => {
                let step = self.world.random.pick(&[0.1, 0.25, 1e15, -0.3]);
                self.world
                    .say(node, WRITER, &format!("INCREMENT decimal={step}"));
            }
        }
        // What that did at the node itself is heard at once.
        self.go_on(0);
        self.witness.listen_to(&mut self.world, node);
    }

    /// Something happens to the network.
    fn disturb(&mut self, slave: usize) {
        match self.world.random.below(5) {
            0..2 => {
                let is_unreachable = &mut self.world.unreachable[slave];
                *is_unreachable = !*is_unreachable;
                if *is_unreachable {
                    self.world.cut_uplink(slave);
                }
            }
            2 if self.weather.silences => self.world.silence_any(),
            _ => self.world.cut_any(),
        }
    }

    /// Two nodes say the same name at once: one of the states is lost, but neither signal.
    fn contend(&mut self, node: usize) {
        let (other, name) = (self.any_node(), self.world.random.below(2));
        for node in [node, other] {
            self.witness
                .send_as(&mut self.world, node, "SETANDSTORE", name);
        }
    }

    /// Moves a node, with all below it, under another one, while what it has just said is still on
    /// its way.
    fn change_master(&mut self, node: usize) {
        let new = self.any_node();
        if self.world.nodes[node].master.is_some() && !self.world.is_below(new, node) {
            for _ in 0..3 {
                let verb = self.world.random.pick(&VERBS);
                self.witness.send(&mut self.world, node, verb);
                self.go_on(20 * MILLISECOND_US);
            }
            self.world.nodes[node].master = Some(new);
            self.world.cut_uplink(node);
        }
    }

    /// Somebody makes a node the slave of one below it, and undoes that after a while. What ends up
    /// in a ring is cut off from the rest, but goes on by itself.
    fn make_ring(&mut self) {
        let slave = self.any_node();
        let others = 0..self.world.nodes.len();
        let below: Vec<usize> = others
            .filter(|node| *node != slave && self.world.is_below(*node, slave))
            .collect();
        if below.is_empty() || self.world.network.has_spikes || self.weather.silences {
            return;
        }
        self.world.unreachable.fill(false);
        self.go_on(5 * SECOND_US);
        let (since_us, sent) = (self.world.now_us, self.world.network.sent);
        let refused_before = self.rings_refused();
        let old = self.world.nodes[slave].master;
        let new = self.world.random.pick(&below);
        self.witness.detached = Some(slave);
        self.world.nodes[slave].master = Some(new);
        self.world.cut_uplink(slave);
        self.go_on(RING_WATCHED_US);
        let (network, now_us) = (&self.world.network, self.world.now_us);
        if network.longest_up_us(slave, new, since_us, now_us) > RING_UP_US {
            self.fault(format!("a ring of {slave} and {new} is not refused"));
        } else if self.rings_refused() == refused_before {
            self.fault(format!("a ring of {slave} and {new} is refused as none"));
        } else if network.sent - sent > RING_PACKETS {
            self.fault(format!("a ring of {slave} and {new} is a storm"));
        }
        for _ in 0..30 {
            self.go_on(20 * MILLISECOND_US);
            self.act();
        }
        self.witness.detached = None;
        self.world.nodes[slave].master = old;
        self.world.cut_uplink(slave);
    }

    fn rings_refused(&self) -> u64 {
        self.world.refused.get("ring").copied().unwrap_or(0)
    }

    /// Notes what a node shows of a name; what it has seen, a write there supersedes.
    fn look(&mut self, node: usize, name: &str) -> Option<String> {
        let value = self.world.retrieve(node, WRITER, name);
        if self.is_by_memcached() {
            let shown = self.world.gets(node, name).map(|shown| shown.value);
            if shown != value {
                self.fault(format!(
                    "node {node} shows {shown:?} and {value:?} of {name}"
                ));
            }
        }
        if let Some(write) = value
            .as_ref()
            .and_then(|value| self.by_value.get(&(name.to_owned(), value.clone())))
        {
            let write = *write;
            self.see(node, name, write);
        }
        value
    }

    /// A node shows a write. It can't be one that is older than what the node has seen before.
    fn see(&mut self, node: usize, name: &str, write: usize) {
        let seen = self.seen[node].entry(name.to_owned()).or_default();
        let newer = seen
            .iter()
            .find(|newer| self.writes[**newer].after.contains(&write));
        if let Some(newer) = newer.copied() {
            self.fault(format!(
                "node {node} shows write {write} of {name} again, after {newer}"
            ));
        } else {
            seen.insert(write);
        }
    }

    fn write(&mut self, node: usize, name: &str, value: Option<String>) {
        let number = self.writes.len();
        let after = self.seen[node].get(name).cloned().unwrap_or_default();
        if let Some(value) = &value {
            self.by_value
                .insert((name.to_owned(), value.clone()), number);
        }
        self.writes.push(Write {
            name: Some(name.to_owned()),
            value,
            after,
        });
        let seen = self.seen[node].entry(name.to_owned()).or_default();
        self.superseded.extend(seen.iter());
        seen.insert(number);
    }

    /// Chooses who does the next thing: a memcached client or one of Clacks.
    fn is_by_memcached(&mut self) -> bool {
        self.has_memcached && self.world.random.one_in(2)
    }

    fn store(&mut self, node: usize, verb: &str) {
        let name = format!("r{}", self.world.random.below(REGISTERS));
        let held = self.look(node, &name);
        if self.is_by_memcached() {
            return self.put(node, &name, held);
        }
        let value = format!("v{}", self.writes.len());
        self.world
            .say(node, WRITER, &format!("{verb} {name}={value}"));
        self.write(node, &name, Some(value));
    }

    /// A memcached client stores a value, if what is there allows it.
    fn put(&mut self, node: usize, name: &str, held: Option<String>) {
        let new = format!("v{}", self.writes.len());
        let is_there = held.is_some();
        let held = held.unwrap_or_default();
        let commands = ["set", "add", "replace", "append", "prepend", "cas"];
        let command = self.world.random.pick(&commands);
        let value = match command {
            "append" => format!("{held}{new}"),
            "prepend" => format!("{new}{held}"),
            _ => new.clone(),
        };
        let (cas, is_right) = match command {
            "cas" => {
                let cas = self.world.gets(node, name).map_or(1, |shown| shown.cas);
                let error = u64::from(self.world.random.one_in(4));
                ((cas + error).to_string(), error == 0)
            }
            _ => (String::new(), true),
        };
        let answer = self.world.put(node, command, name, &new, &cas);
        let expected = match (command, is_there) {
            ("set", _) | ("add", false) | ("replace" | "append" | "prepend", true) => "STORED",
            ("cas", true) if is_right => "STORED",
            ("cas", true) => "EXISTS",
            ("cas", false) => "NOT_FOUND",
            _ => "NOT_STORED",
        };
        if answer != expected {
            self.fault(format!(
                "node {node} answers {answer} to {command} {name}, not {expected}"
            ));
        }
        if answer == "STORED" {
            self.write(node, name, Some(value));
        }
    }

    /// A client stores, lengthens or touches an entry that expires within seconds.
    fn lend(&mut self, node: usize) {
        let name = format!("x{}", self.world.random.below(LOANS));
        let is_there = self.world.gets(node, &name).is_some();
        let ttl_s = 1 + self.world.random.below(4);
        let (request, done, not_done) = match self.world.random.below(4) {
            0 => {
                let line = format!("set {name} 0 {ttl_s} 1\r\nx\r");
                (line, "STORED", "STORED")
            }
            1 => {
                let line = format!("append {name} 0 0 1\r\ny\r");
                (line, "STORED", "NOT_STORED")
            }
            2 => (format!("touch {name} {ttl_s}"), "TOUCHED", "NOT_FOUND"),
            _ => {
                let line = format!("EXPIRE {name}={ttl_s}");
                return self.world.say(node, WRITER, &line);
            }
        };
        let answer = self.world.answer(node, &request);
        if answer != if is_there { done } else { not_done } {
            self.fault(format!("node {node} answers {answer} to {request}"));
        }
    }

    /// Everything that was to expire within seconds has done so.
    fn check_loans(&mut self) {
        for node in 0..self.world.nodes.len() {
            let keys = self.world.keys(node, WRITER);
            if let Some(name) = keys.iter().find(|name| name.starts_with('x')) {
                self.fault(format!("node {node} has {name}, which has expired"));
            }
        }
    }

    fn remove(&mut self, node: usize) {
        let name = format!("r{}", self.world.random.below(REGISTERS));
        let held = self.look(node, &name);
        if self.is_by_memcached() {
            let answer = self.world.answer(node, &format!("delete {name}"));
            if (answer == "DELETED") != held.is_some() {
                self.fault(format!(
                    "node {node} answers {answer} to delete {name}: {held:?}"
                ));
            }
        } else {
            self.world.say(node, WRITER, &format!("REMOVE {name}"));
        }
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
        if self.is_by_memcached() {
            self.world.answer(node, "flush_all");
        } else {
            self.world.say(node, WRITER, "CLEARCACHE");
        }
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
            let write = *write;
            self.see(node, name, write);
        }
        base
    }

    fn increment(&mut self, node: usize) {
        let name = format!("c{}", self.world.random.below(COUNTERS));
        let base = self.look_at_counter(node, &name);
        let step = 1 + self.world.random.below(9);
        if self.is_by_memcached() {
            let held = self.world.retrieve(node, WRITER, &name);
            let answer = self.world.answer(node, &format!("incr {name} {step}"));
            let Some(held) = held else {
                return assert_eq!(answer, "NOT_FOUND");
            };
            let held: u64 = held.parse().expect("a counter");
            if answer != (held + step).to_string() {
                self.fault(format!(
                    "node {node} answers {answer} to incr {name} {step} of {held}"
                ));
            }
        } else {
            self.world
                .say(node, WRITER, &format!("INCREMENT {name}={step}"));
        }
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
                if !is_possible && !self.weather.restarts {
                    self.fault(format!("{name} is gone, though its last writes stored it"));
                }
                continue;
            };
            match self.by_value.get(&(name.clone(), value.clone())) {
                Some(write) if self.superseded.contains(write) && !self.weather.restarts => {
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
            let is_exact = !(self.weather.restarts || self.witness.clears && base == 0);
            if counted > expected || (is_exact && counted != expected) {
                self.fault(format!("{name} counted {counted} of {expected} on {base}"));
            }
        }
    }
}
