//! Trees with one Net::Clacks server in them: what is left there of the guarantees
//! (clacks-interclacks(7), MIXED TREES).

use super::witness::{VERBS, WRITER, Witness};
use super::world::{MILLISECOND_US, Plan, Random, SECOND_US, World, any_tree};

const REGISTERS: u64 = 4;
const COUNTERS: u64 = 3;
/// Longer than anything takes on its way through the tree.
const SETTLING_US: u64 = 3 * SECOND_US;
/// To dial again, and to tell everything.
const JOINING_US: u64 = 8 * SECOND_US;

pub struct Mixed {
    world: World,
    witness: Witness,
    net_clacks: usize,
    /// Clocks are off by a second at most, and not by much more.
    has_right_clocks: bool,
    counted: [u64; COUNTERS as usize],
    writes: u64,
}

impl Mixed {
    pub fn new(seed: u64) -> Mixed {
        let mut random = Random(seed ^ 0x3a1);
        let nodes = 2 + random.below(5) as usize;
        let masters = any_tree(&mut random, nodes);
        let net_clacks = random.below(nodes as u64) as usize;
        let has_right_clocks = random.one_in(2);
        let error_us = if has_right_clocks { 1 } else { 1200 } * SECOND_US;
        let plan = Plan {
            masters: &masters,
            net_clacks: Some(net_clacks),
            root_error_us: error_us,
            error_us,
            reconnect_us: SECOND_US,
            ..Plan::default()
        };
        let mut world = World::new(seed, &plan, None);
        let mut witness = Witness::new(true);
        for node in 0..nodes {
            witness.settle_in(&mut world, node);
        }
        Mixed {
            world,
            witness,
            net_clacks,
            has_right_clocks,
            counted: [0; COUNTERS as usize],
            writes: 0,
        }
    }

    pub fn check(mut self) -> Result<(), String> {
        self.go_on(JOINING_US);
        if self.world.random.one_in(4) {
            self.run_on_a_bad_network();
        } else {
            self.run_on_a_quiet_network();
        }
        self.witness.check_arrivals(&self.world, SETTLING_US);
        if let Some(line) = self.world.foreign_line(self.net_clacks) {
            self.blame(format!("Net::Clacks was sent {line:?}"));
        }
        if let Some(what) = self.world.unjust_refusal(true) {
            self.blame(what);
        }
        match self.witness.faults.first() {
            None => Ok(()),
            Some(fault) => Err(fault.clone()),
        }
    }

    fn blame(&mut self, what: String) {
        self.witness.faults.push(what);
    }

    fn go_on(&mut self, for_us: u64) {
        let end_us = self.world.now_us + for_us;
        let Mixed { world, witness, .. } = self;
        world.run_until(end_us, &mut |world, node| witness.listen_to(world, node));
    }

    fn any_node(&mut self) -> usize {
        self.world.random.below(self.world.nodes.len() as u64) as usize
    }

    fn say(&mut self, node: usize, line: &str) {
        self.world.say(node, WRITER, line);
        self.go_on(0);
        self.witness.listen_to(&mut self.world, node);
    }

    fn new_value(&mut self) -> u64 {
        self.writes += 1;
        self.writes
    }

    /// Increments, signals, and what one node alone writes, all at once; other writes one by one.
    fn run_on_a_quiet_network(&mut self) {
        for _ in 0..100 {
            let node = self.any_node();
            match self.world.random.below(20) {
                0..8 => self.increment(node),
                8..13 => {
                    let verb = self.world.random.pick(&["SET", "NOTIFY", "OVERHEAD"]);
                    self.witness.send(&mut self.world, node, verb);
                }
                13..17 => self.witness.write_and_notify(&mut self.world, node),
                _ => {
                    self.go_on(SETTLING_US);
                    self.write(node);
                    self.go_on(SETTLING_US);
                }
            }
            let pause_us = self.world.random.below(60) * MILLISECOND_US;
            self.go_on(pause_us);
        }
        self.go_on(SETTLING_US);
        self.check_all("after all was quiet");
        let nodes = 0..self.world.nodes.len();
        let links: Vec<(usize, usize)> = nodes
            .filter_map(|slave| Some((slave, self.world.nodes[slave].master?)))
            .filter(|(slave, master)| [*slave, *master].contains(&self.net_clacks))
            .collect();
        for _ in 0..2 {
            let (slave, master) = self.world.random.pick(&links);
            self.part(slave);
            self.world.unreachable[slave] = false;
            if slave == self.net_clacks {
                self.write_while_it_syncs(slave, master);
            } else {
                self.count_while_locked(slave);
            }
        }
        let (slave, master) = self.world.random.pick(&links);
        if master == self.net_clacks && self.world.random.one_in(2) {
            self.lose_the_link_while_locked(slave);
        } else if self.has_right_clocks && self.world.random.one_in(2) {
            self.clear_while_apart(slave, master);
        } else {
            self.write_while_apart(slave, master);
        }
    }

    fn increment(&mut self, node: usize) {
        let (counter, step) = (
            self.world.random.below(COUNTERS),
            1 + self.world.random.below(9),
        );
        self.counted[counter as usize] += step;
        self.say(node, &format!("INCREMENT c{counter}={step}"));
    }

    fn write(&mut self, node: usize) {
        let name = self.world.random.below(REGISTERS);
        let value = self.new_value();
        match self.world.random.below(8) {
            0..4 => self.say(node, &format!("STORE r{name}={value}")),
            4..6 => self.witness.send(&mut self.world, node, "SETANDSTORE"),
            6 => {
                self.counted.fill(0);
                self.say(node, "CLEARCACHE");
                self.go_on(SETTLING_US);
            }
            _ => self.say(node, &format!("REMOVE r{name}")),
        }
    }

    /// Cuts a link while all is quiet.
    fn part(&mut self, slave: usize) {
        self.world.unreachable[slave] = true;
        self.world.cut_uplink(slave);
        self.go_on(SETTLING_US);
    }

    /// Everybody holds the same, and every increment.
    fn check_all(&mut self, when: &str) {
        let all: Vec<usize> = (0..self.world.nodes.len()).collect();
        if let Some(what) = self.world.disagreement(&all, WRITER) {
            self.blame(format!("{when}: {what}"));
        }
        for (counter, expected) in self.counted.into_iter().enumerate() {
            let found = self.world.retrieve(0, WRITER, &format!("c{counter}"));
            let found = found.map_or(0, |value| value.parse().expect("a counter"));
            if found != expected {
                self.blame(format!("{when}: c{counter} counted {found} of {expected}"));
            }
        }
    }

    /// Counts at a slave while it is locked: the lines of its clients wait, and none of them is lost. Sometimes the
    /// slave has just started, and knows only the entries that its master sends.
    fn count_while_locked(&mut self, slave: usize) {
        let has_slaves = self
            .world
            .nodes
            .iter()
            .any(|node| node.master == Some(slave));
        if !has_slaves && self.world.random.one_in(2) {
            self.witness.restart(&mut self.world, slave);
        }
        for _ in 0..3000 {
            self.go_on(MILLISECOND_US);
            if self.world.network.is_being_told(slave) {
                self.increment(slave);
            }
        }
        self.world.say(slave, WRITER, "NOP");
        self.go_on(JOINING_US);
        if self.world.is_waiting(slave, WRITER) {
            self.blame(format!("node {slave} stays locked"));
        } else {
            self.check_all("after a lock");
        }
    }

    /// A slave whose master is gone is not locked any more.
    fn lose_the_link_while_locked(&mut self, slave: usize) {
        self.part(slave);
        self.world.unreachable[slave] = false;
        for _ in 0..3000 {
            self.go_on(MILLISECOND_US);
            if self.world.network.is_being_told(slave) {
                self.world.say(slave, WRITER, "STORE waits=1");
                self.world.unreachable[slave] = true;
                self.world.cut_uplink(slave);
                break;
            }
        }
        self.go_on(SECOND_US);
        let is_written = self.world.unreachable[slave];
        if is_written && self.world.retrieve(slave, WRITER, "waits").is_none() {
            self.blame(format!(
                "what a client said at node {slave} was lost with the link that had locked it"
            ));
        }
    }

    /// Writes at the master while a Net::Clacks slave sends all entries back, with slightly newer times: the
    /// master's values stay.
    fn write_while_it_syncs(&mut self, slave: usize, master: usize) {
        let rest_us = 200 * MILLISECOND_US;
        for _ in 0..150 {
            let value = self.new_value();
            self.say(master, &format!("STORE echo={value}"));
            let is_last = self.world.network.is_being_told(slave) && self.world.random.one_in(3);
            let pause_us = self.world.random.below(30) * MILLISECOND_US;
            self.go_on(if is_last { rest_us } else { pause_us });
            let found = self.world.retrieve(master, WRITER, "echo");
            if found != Some(value.to_string()) {
                self.blame(format!(
                    "node {master} has {found:?} where it wrote {value} while {slave} synchronised"
                ));
            }
            if is_last {
                break;
            }
        }
        self.go_on(JOINING_US);
        self.check_all("after writes during a synchronisation");
        let last = self.writes.to_string();
        if self.world.retrieve(slave, WRITER, "echo") != Some(last) {
            self.blame("what was written during a synchronisation is undone".to_owned());
        }
    }

    /// Of what was written on both sides of a cut link, the newer one stays.
    fn write_while_apart(&mut self, slave: usize, master: usize) {
        let name = self.world.random.below(REGISTERS);
        self.part(slave);
        let mut sides = [slave, master];
        if self.world.random.one_in(2) {
            sides.reverse();
        }
        let is_removed = self.world.random.one_in(4);
        let older = self.new_value();
        self.say(sides[0], &format!("STORE r{name}={older}"));
        self.go_on(SETTLING_US);
        let newer = self.new_value();
        if is_removed {
            self.say(sides[1], &format!("REMOVE r{name}"));
        } else {
            self.say(sides[1], &format!("STORE r{name}={newer}"));
        }
        self.go_on(SETTLING_US);
        self.world.unreachable[slave] = false;
        self.go_on(JOINING_US);
        for node in sides {
            let found = self.world.retrieve(node, WRITER, &format!("r{name}"));
            if found != (!is_removed).then(|| newer.to_string()) {
                self.blame(format!(
                    "node {node} has {found:?} after {older} at node {} and later {newer} (removed: {is_removed}) at node {}",
                    sides[0], sides[1]
                ));
            }
        }
        // Through a Net::Clacks server times pass as the first sender's clock showed them.
        if self.has_right_clocks {
            self.check_all("after writes while apart");
        }
        self.check_sides();
    }

    /// Cuts the link between Net::Clacks and a clacksd node, and clears the cache there: Net::Clacks removes the
    /// entries when the link is up again.
    fn clear_while_apart(&mut self, slave: usize, master: usize) {
        self.part(slave);
        let clearing = if slave == self.net_clacks {
            master
        } else {
            slave
        };
        self.counted.fill(0);
        self.say(clearing, "CLEARCACHE");
        self.go_on(SETTLING_US);
        self.world.unreachable[slave] = false;
        self.go_on(JOINING_US);
        self.check_all("after a clear while apart");
    }

    /// The clacksd nodes that are linked directly hold the same.
    fn check_sides(&mut self) {
        let nodes = self.world.nodes.len();
        // The node that is nearest to the root on each side stands for it.
        let mut top: Vec<usize> = (0..nodes).collect();
        for node in 0..nodes {
            if let Some(master) = self.world.nodes[node].master
                && ![node, master].contains(&self.net_clacks)
            {
                top[node] = top[master];
            }
        }
        for side in 0..nodes {
            let of_side: Vec<usize> = (0..nodes).filter(|node| top[*node] == side).collect();
            if let Some(what) = self.world.disagreement(&of_side, WRITER) {
                self.blame(format!("on one side of Net::Clacks {what}"));
            }
        }
    }

    /// Everything at once, with links cut and gone silent.
    fn run_on_a_bad_network(&mut self) {
        self.witness.repeats = true;
        for _ in 0..200 {
            let node = self.any_node();
            match self.world.random.below(20) {
                0..6 => self.write(node),
                6..10 => self.increment(node),
                10..16 => {
                    let verb = self.world.random.pick(&VERBS);
                    // While a node is locked, nobody can begin to listen there.
                    let verb = if verb == "NOTIFY" { "SET" } else { verb };
                    self.witness.send(&mut self.world, node, verb);
                }
                16 => self.world.cut_any(),
                17 if self.world.random.one_in(4) => self.world.silence_any(),
                _ => {}
            }
            let pause_us = self.world.random.below(100) * MILLISECOND_US;
            self.go_on(pause_us);
        }
        // What fell silent is noticed after a minute.
        self.go_on(160 * SECOND_US);
        self.check_sides();
    }
}
