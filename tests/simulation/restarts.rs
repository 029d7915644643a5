//! Trees of clacksd nodes whose processes end and start again, by hundreds, with a journal and without: no step of a
//! counter counts twice, none is lost that was flushed or has come to a node that lives, and the shares of runs that
//! are over are folded (clacksd(8), KEEPING THE CACHE and INTERCLACKS).
//!
//! Each node adds a power of ten of its own, so that a counter's value shows how many steps of each node are in it.

use super::memcached::{CLIENTS, is_spoken};
use super::network::Saboteur;
use super::processes::Ending;
use super::witness::WRITER;
use super::world::{EPOCH_US, MILLISECOND_US, Node, Plan, Random, SECOND_US, World, any_tree};
use clacks::broker::Ageing;

const MAX_NODES: usize = 4;
/// The last one is stored before it is counted.
const COUNTERS: usize = 3;
const STORED: usize = COUNTERS - 1;
/// Quotient of the steps of two nodes: no node makes as many steps on one counter.
const RADIX: u64 = 10_000;
/// The client of each node that waits for the disk.
const FLUSHER: usize = 1;
/// Time to dial, through all of the tree, and to send everything.
const JOINING_US: u64 = 10 * SECOND_US;
/// Time between two searches for old shares: one of which several fit into [`JOINING_US`], and the default, for which few
/// processes run here.
const CLEAN_INTERVALS_US: [u64; 3] = [2 * SECOND_US, 60 * SECOND_US, 2 * SECOND_US];
/// Time of [`JOINING_US`] by which all nodes are linked, and know all shares.
const LINKING_US: u64 = 5 * SECOND_US;
/// Time by which shares are younger that began before the tree's time was known: an hour, and a clock's error.
const DOUBT_US: u64 = 2 * 3600 * SECOND_US;
const ROUNDS: usize = 16;

/// How long a share id is used.
fn renewal_us(ageing: &Ageing) -> u64 {
    ageing.deleted_us / 4
}

/// A fault that a world has, for the test to see that it is noticed.
#[derive(Clone, Copy)]
pub enum Sabotage {
    Lines(Saboteur),
    /// A server counts under its share id whether its last run has ended in order or not.
    KeptShares,
}

/// Numbers of steps, by the node that has made them.
type Steps = [u64; MAX_NODES];
/// [`Steps`] by the counter.
type Counts = [Steps; COUNTERS];

pub struct Restarts {
    world: World,
    ageing: Ageing,
    clean_interval_us: u64,
    /// True if nodes count before they know the tree's time.
    counts_in_doubt: bool,
    /// True if a clock may be off by nearly an hour, so that two of them may differ by more than one.
    has_wrong_clocks: bool,
    has_power_cuts: bool,
    /// True if nodes get other masters, or none.
    moves: bool,
    /// True if large values are stored, so that journals are rewritten.
    stores: bool,
    has_memcached: bool,
    /// A node was cut off for longer than the deleted time: steps may have been lost.
    is_lossy: bool,
    made: Counts,
    /// Steps that each node has shown, and shows from now on.
    seen: [Counts; MAX_NODES],
    /// Steps that each node's journal is sure to hold.
    saved: [Counts; MAX_NODES],
    /// When processes were started.
    starts_us: Vec<u64>,
    /// When each node was last seen to have learnt the tree's time.
    knew_time_us: [u64; MAX_NODES],
    fault: Option<String>,
}

impl Restarts {
    pub fn new(seed: u64, sabotage: Option<Sabotage>) -> Restarts {
        let mut random = Random(seed ^ 0x4e5);
        let nodes = 1 + random.below(MAX_NODES as u64) as usize;
        let masters = any_tree(&mut random, nodes);
        let share_of_journals = random.below(4);
        let journals: Vec<bool> = (0..nodes)
            .map(|_| random.below(3) < share_of_journals)
            .collect();
        let error_us = random.pick(&[0, 1, 1, 3520]) * SECOND_US;
        let ageing = Ageing {
            stale_us: Ageing::NEVER,
            deleted_us: random.pick(&[60, 120, 300]) * SECOND_US,
        };
        let counts_in_doubt = random.one_in(3);
        let has_power_cuts = random.one_in(2);
        let moves = error_us <= SECOND_US && random.one_in(2);
        let stores = random.one_in(8);
        let clean_interval_us = random.pick(&CLEAN_INTERVALS_US);
        let plan = Plan {
            masters: &masters,
            root_error_us: error_us.min(SECOND_US),
            error_us,
            ageing: Some(ageing),
            clean_interval_us: Some(clean_interval_us),
            journals: &journals,
            is_fixed: true,
            reconnect_us: SECOND_US,
            ..Plan::default()
        };
        let lines = match sabotage {
            Some(Sabotage::Lines(saboteur)) => Some(saboteur),
            _ => None,
        };
        let mut world = World::new(seed, &plan, lines);
        world.keeps_shares = matches!(sabotage, Some(Sabotage::KeptShares));
        for node in 0..nodes {
            for language in CLIENTS {
                world.add_client(node, language);
            }
        }
        Restarts {
            world,
            ageing,
            clean_interval_us,
            counts_in_doubt,
            has_wrong_clocks: error_us > SECOND_US,
            has_power_cuts,
            moves,
            stores,
            has_memcached: is_spoken(seed),
            is_lossy: false,
            made: Counts::default(),
            seen: Default::default(),
            saved: Default::default(),
            starts_us: vec![0; nodes],
            knew_time_us: [0; MAX_NODES],
            fault: None,
        }
    }

    pub fn check(&mut self) -> Result<(), String> {
        self.go_on(JOINING_US);
        self.world.say(0, WRITER, &format!("STORE c{STORED}=0"));
        let lossy_round = match self.world.random.one_in(4) {
            true => self.world.random.below(ROUNDS as u64) as usize,
            false => ROUNDS,
        };
        for round in 0..ROUNDS {
            let length_us = match round == lossy_round {
                true => self.ageing.deleted_us * 3,
                false => self.ageing.deleted_us / 2,
            };
            self.is_lossy |= round == lossy_round;
            let end_us = self.world.now_us + length_us;
            while self.world.now_us < end_us && self.fault.is_none() {
                let pause_us = self.world.random.below(length_us / 40);
                self.go_on(pause_us);
                self.act();
            }
            self.settle();
            if !self.has_wrong_clocks {
                self.check_shares(self.oldest_us(), self.most_shares());
            }
        }
        // Nobody counts until all shares are old.
        let old_us = self.age_us() + 2 * self.clean_interval_us;
        self.go_on(old_us + if self.has_doubts() { DOUBT_US } else { 0 });
        self.settle();
        self.check_shares(self.world.now_us, 1);
        for node in 0..self.world.nodes.len() {
            self.count(node);
        }
        self.settle();
        if let Some(what) = self.world.unjust_refusal(!self.has_wrong_clocks) {
            self.blame(what);
        }
        self.fault.take().map_or(Ok(()), Err)
    }

    /// How often a process was started.
    pub fn starts(&self) -> usize {
        self.starts_us.len()
    }

    /// Reports whether it may take hours until a share is old: the node that counted, or its master, did not know the
    /// tree's time.
    fn has_doubts(&self) -> bool {
        self.counts_in_doubt || self.has_wrong_clocks
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

    fn act(&mut self) {
        self.observe_times();
        let node = self.world.random.below(self.world.nodes.len() as u64) as usize;
        if self.world.nodes[node].is_down {
            return self.start(node);
        }
        match self.world.random.below(100) {
            0..50 => self.count(node),
            50..60 => self.flush(node),
            60..80 => {
                self.end(node);
                self.start(node);
            }
            80..88 => self.end(node),
            88..94 => {
                let is_unreachable = &mut self.world.unreachable[node];
                *is_unreachable = !*is_unreachable;
                if *is_unreachable {
                    self.world.cut_uplink(node);
                }
            }
            94..97 => self.world.cut_any(),
            _ if self.stores => {
                let large = "v".repeat(60_000);
                self.world
                    .say(node, WRITER, &format!("STORE large={large}"));
            }
            _ => self.observe(node),
        }
    }

    /// Takes notice of the nodes that have learnt the tree's time: their master has known it for a while, and the link
    /// has been up for as long. A slave says that it is one before it has read the time.
    fn observe_times(&mut self) {
        let settled_us = self.world.now_us.saturating_sub(SECOND_US);
        for node in 0..self.world.nodes.len() {
            let Some(master) = self.world.nodes[node].master else {
                continue;
            };
            let since_us = self.world.network.up_since_us(node);
            let is_settled = since_us.is_some_and(|since_us| since_us < settled_us);
            let knew_us = self.knew_time_us[master];
            if is_settled
                && self.knows_time(master)
                && knew_us < settled_us
                && !self.knows_time(node)
            {
                self.knew_time_us[node] = self.world.now_us;
            }
        }
    }

    /// Reports whether a node's process knows the tree's time, as far as was observed.
    fn knows_time(&self, node: usize) -> bool {
        let Node {
            master, started_us, ..
        } = &self.world.nodes[node];
        master.is_none() || self.knew_time_us[node] > *started_us
    }

    /// A node's client counts once, or some times at once.
    fn count(&mut self, node: usize) {
        let counter = self.world.random.below(COUNTERS as u64) as usize;
        let name = format!("c{counter}");
        // Where it isn't known to be stored, it would be counted from nothing, and that is older.
        if !(self.counts_in_doubt || self.knows_time(node))
            || counter == STORED && self.world.retrieve(node, WRITER, &name).is_none()
        {
            return;
        }
        let step = RADIX.pow(node as u32);
        for _ in 0..1 + self.world.random.below(3) {
            if self.has_memcached && self.world.random.one_in(2) {
                self.count_by_memcached(node, &name, step);
            } else {
                self.world
                    .say(node, WRITER, &format!("INCREMENT {name}={step}"));
            }
            self.made[counter][node] += 1;
        }
        self.observe(node);
    }

    /// A memcached client counts. If nobody has counted yet, it is told so, and a Clacks client begins.
    fn count_by_memcached(&mut self, node: usize, name: &str, step: u64) {
        let held = self.world.retrieve(node, WRITER, name);
        let answer = self.world.answer(node, &format!("incr {name} {step}"));
        let expected = match held {
            None => "NOT_FOUND".to_owned(),
            Some(held) => (held.parse::<u64>().expect("a whole number") + step).to_string(),
        };
        if answer != expected {
            self.blame(format!(
                "node {node} answers {answer} to incr {name} {step}, not {expected}"
            ));
        }
        if answer == "NOT_FOUND" {
            self.world
                .say(node, WRITER, &format!("INCREMENT {name}={step}"));
        }
    }

    /// Looks at what a node shows: nothing that was never made, and all that it has shown before.
    fn observe(&mut self, node: usize) {
        for counter in 0..COUNTERS {
            let value = self.world.retrieve(node, WRITER, &format!("c{counter}"));
            let value = value.map_or(0, |value| value.parse().expect("a whole number"));
            let found: Steps = std::array::from_fn(|of| value / RADIX.pow(of as u32) % RADIX);
            for (of, found) in found.into_iter().enumerate() {
                let (made, seen) = (self.made[counter][of], self.seen[node][counter][of]);
                if found > made {
                    self.blame(format!(
                        "c{counter} counts {found} steps of node {of} at node {node}, which has made {made}"
                    ));
                } else if found < seen && !self.is_lossy {
                    self.blame(format!(
                        "c{counter} has lost steps of node {of} at node {node}: {found} of {seen}"
                    ));
                }
            }
            self.seen[node][counter] = found;
        }
        self.world.nodes[node].clients[WRITER].lines.clear();
    }

    /// Waits until a node's journal has everything that it shows.
    fn flush(&mut self, node: usize) {
        self.observe(node);
        let seen = self.seen[node];
        self.world.say(node, FLUSHER, "FLUSH all");
        let patience_us = self.world.now_us + 20 * SECOND_US;
        while self.world.now_us < patience_us {
            let lines = &mut self.world.nodes[node].clients[FLUSHER].lines;
            let is_flushed = lines.iter().any(|line| line == "FLUSHED all");
            if is_flushed {
                lines.clear();
                self.saved[node] = seen;
                return;
            }
            self.go_on(5 * MILLISECOND_US);
        }
        self.blame(format!("node {node} does not answer FLUSH"));
    }

    /// Ends a node's process. What it shows next begins with what is sure to be in its journal.
    fn end(&mut self, node: usize) {
        self.observe(node);
        let how = match self.world.random.below(3) {
            0 => Ending::Orderly,
            1 if self.has_power_cuts => Ending::PowerCut,
            _ => Ending::Kill,
        };
        self.world.end_process(node, how);
        if self.world.nodes[node].disk.is_none() {
            self.saved[node] = Counts::default();
        } else if how == Ending::Orderly {
            self.saved[node] = self.seen[node];
        }
        self.seen[node] = self.saved[node];
    }

    /// Starts a node's process, perhaps with another master.
    fn start(&mut self, node: usize) {
        if self.moves && self.world.random.one_in(4) {
            let nodes = self.world.nodes.len() as u64;
            let new = self.world.random.below(nodes + 1) as usize;
            if new as u64 == nodes {
                self.world.nodes[node].master = None;
            } else if !self.world.is_below(new, node) {
                self.world.nodes[node].master = Some(new);
            }
        }
        self.world.start_process(node, &CLIENTS);
        self.starts_us.push(self.world.now_us);
        self.observe(node);
    }

    /// Everything comes up, and all agree.
    fn settle(&mut self) {
        self.world.unreachable.fill(false);
        let nodes = self.world.nodes.len();
        let is_root = |world: &World, node: &usize| world.nodes[*node].master.is_none();
        let roots: Vec<usize> = (0..nodes)
            .filter(|node| is_root(&self.world, node))
            .collect();
        for node in 0..nodes {
            // Of several trees there is one again.
            let joins = roots[1..].contains(&node);
            if joins && !self.world.nodes[node].is_down {
                self.end(node);
            }
            if joins {
                self.world.nodes[node].master = Some(roots[0]);
            }
            if self.world.nodes[node].is_down {
                self.world.start_process(node, &CLIENTS);
                self.starts_us.push(self.world.now_us);
            }
        }
        self.go_on(JOINING_US);
        for node in 0..nodes {
            self.observe(node);
            if self.seen[node] != self.seen[0] {
                let (first, seen) = (self.seen[0], self.seen[node]);
                self.blame(format!(
                    "nodes 0 and {node} disagree: {first:?} and {seen:?}"
                ));
            }
        }
    }

    /// Age of the shares that are to be folded: their ids are used no longer, and have not been for the deleted time.
    fn age_us(&self) -> u64 {
        self.ageing.deleted_us + renewal_us(&self.ageing)
    }

    /// The moment since which a share must have begun if it is not folded when the tree has just settled; 0 if none is
    /// sure to be folded.
    ///
    /// A search of the root finds old shares and moves the marker, each node folds its counters in its next search, and
    /// the first search of a process comes one interval after its first entry (clacks-interclacks(7), How states
    /// merge). So in a tree that has been linked for two intervals, all shares are folded that were old when it began
    /// to settle. Nothing is sure with a longer interval, however long the world has been going on: the processes of
    /// roots may all end before their first search, and the nodes that know a marker may all forget it.
    fn oldest_us(&self) -> u64 {
        match LINKING_US + 2 * self.clean_interval_us < JOINING_US {
            true => self.world.now_us.saturating_sub(self.age_us() + JOINING_US),
            false => 0,
        }
    }

    /// As many shares as a counter may have, with the folded one, if [older](Restarts::oldest_us) ones are folded. A
    /// process begins one when it counts for the first time, and others when the last one has been used for its time.
    fn most_shares(&self) -> usize {
        // An id that began in doubt is old an hour later than others.
        let since_us = match self.counts_in_doubt {
            true => 0,
            false => self.oldest_us(),
        };
        let started = self.starts_us.iter().filter(|at_us| **at_us >= since_us);
        let renewed = (self.world.now_us - since_us) / renewal_us(&self.ageing) + 1;
        1 + started.count() + self.world.nodes.len() * renewed as usize
    }

    /// Sees that all shares that began before that moment are folded, and that a counter has no more than so many.
    fn check_shares(&mut self, oldest_us: u64, most: usize) {
        for node in 0..self.world.nodes.len() {
            for line in self.world.told_to_slave(node) {
                let words: Vec<&str> = line.splitn(7, ' ').collect();
                let shares = match words[..] {
                    ["STATE", _, _, _, shares, ..] if shares != "-" => shares,
                    _ => continue,
                };
                let count = shares.split(',').count();
                if count > most {
                    self.blame(format!(
                        "node {node} has {count} shares, and should have {most}: {line}"
                    ));
                }
                if let Some(old) = shares.split(',').find(|share| is_older(share, oldest_us)) {
                    self.blame(format!("node {node} has not folded {old}: {line}"));
                }
            }
        }
    }
}

/// Reports whether a share began before `than_us`, which counts from [`EPOCH_US`]; never for the folded share.
fn is_older(share: &str, than_us: u64) -> bool {
    let (id, _) = share.split_once(':').expect("an id");
    let begun_s = u64::from_str_radix(id, 16).expect("an id") >> 32;
    begun_s > 0 && begun_s * SECOND_US < EPOCH_US + than_us
}
