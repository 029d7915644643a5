//! Sees what the clients of a world get, the moment they get it: which signals, and whether a signal
//! overtook a write.

use super::world::World;
use clacks::protocol::Language;
use std::collections::{BTreeMap, BTreeSet};

/// Clients at every node: one that writes and sends, and two that listen.
pub const WRITER: usize = 0;
pub const LISTENERS: [usize; 2] = [1, 2];
/// Names of signals that have a value.
const NAMES: u64 = 3;

/// How a signal is sent.
pub const VERBS: [&str; 4] = ["SET", "SETANDSTORE", "NOTIFY", "OVERHEAD"];

/// Where and when a signal enters a tree.
pub struct Departure {
    pub node: usize,
    pub at_us: u64,
    /// Each node's master at that moment.
    pub masters: Vec<Option<usize>>,
}

struct Signal {
    from: Departure,
    /// Each node's run at that moment.
    runs: Vec<u32>,
}

#[derive(Default)]
pub struct Witness {
    /// A node whose master refuses it.
    pub detached: Option<usize>,
    /// True if clients clear the cache, so that a write that is not found may have been cleared.
    pub clears: bool,
    /// True if a signal may arrive again, or at its sender: one from a Net::Clacks server that has dialled again can't
    /// be told from a new one.
    pub repeats: bool,
    signals: Vec<Signal>,
    /// Signals each client has got, by node and client.
    got: BTreeMap<(usize, usize), BTreeSet<usize>>,
    /// The newest number each node has written for others to read.
    written: BTreeMap<usize, u64>,
    pub faults: Vec<String>,
}

impl Witness {
    pub fn new(clears: bool) -> Witness {
        Witness {
            clears,
            ..Witness::default()
        }
    }

    /// Gives a node its clients.
    pub fn settle_in(&mut self, world: &mut World, node: usize) {
        for _ in 0..3 {
            world.add_client(node, Language::Clacks);
        }
        self.listen(world, node);
    }

    fn listen(&mut self, world: &mut World, node: usize) {
        for client in LISTENERS {
            for name in 0..NAMES {
                world.say(node, client, &format!("LISTEN s{name}"));
            }
            for writer in 0..world.nodes.len() {
                world.say(node, client, &format!("LISTEN changed{writer}"));
            }
        }
        // The writer listens to what it sends: it must never get it.
        world.say(node, WRITER, "LISTEN s0");
    }

    /// A node's process has ended and started anew.
    pub fn restart(&mut self, world: &mut World, node: usize) {
        world.restart(node);
        self.listen(world, node);
        self.got.retain(|(of, _), _| *of != node);
    }

    /// A node's writer sends a signal, which can be told from all others: by its value, or by its
    /// name where it has none.
    pub fn send(&mut self, world: &mut World, node: usize, verb: &str) {
        let name = world.random.below(NAMES);
        self.send_as(world, node, verb, name);
    }

    pub fn send_as(&mut self, world: &mut World, node: usize, verb: &str, name: u64) {
        let number = self.signals.len();
        let line = match verb {
            "NOTIFY" => format!("NOTIFY n{number}"),
            "OVERHEAD" => format!("OVERHEAD GN n{number}"),
            _ => format!("{verb} s{name}={number}"),
        };
        if verb == "NOTIFY" {
            for listening in 0..world.nodes.len() {
                for client in LISTENERS {
                    world.say(listening, client, &format!("LISTEN n{number}"));
                }
            }
        }
        let mut from = Departure::now(world, node);
        if let Some(detached) = self.detached {
            from.masters[detached] = None;
        }
        self.signals.push(Signal {
            from,
            runs: world.nodes.iter().map(|node| node.run).collect(),
        });
        world.say(node, WRITER, &line);
    }

    /// A node's writer writes a number that nobody else does, and tells the others. Often it has
    /// written it long before: then it may have to be told when a link comes up.
    pub fn write_and_notify(&mut self, world: &mut World, node: usize) {
        let number = self.written.entry(node).or_default();
        if world.random.one_in(2) {
            *number += 1;
            world.say(node, WRITER, &format!("STORE g{node}={number}"));
        }
        world.say(node, WRITER, &format!("SET changed{node}={number}"));
    }

    /// Takes what has come to a node's clients.
    pub fn listen_to(&mut self, world: &mut World, node: usize) {
        for client in [WRITER, LISTENERS[0], LISTENERS[1]] {
            while let Some(line) = world.nodes[node].clients[client].lines.pop_front() {
                if let Some(rest) = line.strip_prefix("SET changed") {
                    self.check_notified(world, node, client, rest);
                } else if let Some(number) = number_of(&line) {
                    self.check_signal(world, node, client, number);
                } else if !["NOP", "RETRIEVED", "NOTRETRIEVED"]
                    .contains(&line.split(' ').next().unwrap_or_default())
                {
                    self.faults.push(format!("node {node} got {line:?}"));
                }
            }
        }
    }

    fn check_signal(&mut self, world: &World, node: usize, client: usize, number: usize) {
        let got = self.got.entry((node, client)).or_default();
        let signal = &self.signals[number];
        let sender = signal.from.node;
        let is_of_same_run = |later: &&usize| {
            let later = &self.signals[**later];
            (later.from.node, later.runs[sender]) == (sender, signal.runs[sender])
        };
        let fault = if got.contains(&number) {
            "came twice"
        } else if (sender, WRITER) == (node, client) && signal.runs[node] == world.nodes[node].run {
            "came back to its sender"
        } else if got.range(number..).find(is_of_same_run).is_some() {
            "came after a later one of its sender"
        } else {
            got.insert(number);
            return;
        };
        if self.repeats {
            return;
        }
        let now_us = world.now_us;
        self.faults.push(format!(
            "signal {number} of node {sender} {fault} to node {node} at {now_us} us"
        ));
    }

    /// Whoever hears that node `w` has written number `n` finds it, or a later one.
    fn check_notified(&mut self, world: &mut World, node: usize, client: usize, rest: &str) {
        let (writer, number) = rest.split_once('=').expect("writer and number");
        let found = world.retrieve(node, client, &format!("g{writer}"));
        if world.is_waiting(node, client) {
            return;
        }
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

    /// Checks that each signal has arrived at all nodes to which its way was clear for `settling_us` from the sending
    /// on, the longest that it may take.
    pub fn check_arrivals(&mut self, world: &World, settling_us: u64) {
        for (number, signal) in self.signals.iter().enumerate() {
            for node in 0..world.nodes.len() {
                let is_same_run = signal.runs[node] == world.nodes[node].run;
                if !is_same_run || !signal.from.has_clear_way(world, node, settling_us) {
                    continue;
                }
                for client in LISTENERS {
                    let got = self.got.get(&(node, client));
                    if got.is_none_or(|got| !got.contains(&number)) {
                        let (sender, at_us) = (signal.from.node, signal.from.at_us);
                        self.faults.push(format!(
                            "signal {number} of node {sender} at {at_us} us was lost on its way to {node}"
                        ));
                    }
                }
            }
        }
    }
}

/// Which signal a line is.
fn number_of(line: &str) -> Option<usize> {
    let (verb, rest) = line.split_once(' ')?;
    let number = match verb {
        "SET" => rest.split_once('=')?.1,
        "NOTIFY" => rest.strip_prefix('n')?,
        "OVERHEAD" => rest.strip_prefix("GN n")?,
        _ => return None,
    };
    number.parse().ok()
}

impl Departure {
    pub fn now(world: &World, node: usize) -> Departure {
        Departure {
            node,
            at_us: world.now_us,
            masters: world.nodes.iter().map(|node| node.master).collect(),
        }
    }

    /// The nodes from one up to the root.
    fn path(&self, mut at: usize) -> Vec<usize> {
        let mut path = vec![at];
        while let Some(master) = self.masters[at] {
            path.push(master);
            at = master;
        }
        path
    }

    /// The links between the sender and the node `to`, each as slave and master; `None` if there is no way.
    fn way(&self, to: usize) -> Option<Vec<(usize, usize)>> {
        let (from, to) = (self.path(self.node), self.path(to));
        if from.last() != to.last() {
            return None;
        }
        // Up to their first common master, which both paths end with.
        let steps = |path: &[usize], other: &[usize]| -> Vec<(usize, usize)> {
            let climb = path.windows(2).map(|pair| (pair[0], pair[1]));
            climb
                .take_while(|(slave, _)| !other.contains(slave))
                .collect()
        };
        let mut links = steps(&from, &to);
        links.extend(steps(&to, &from));
        Some(links)
    }

    /// The number of links between the sender and the node `to`.
    pub fn distance(&self, to: usize) -> usize {
        self.way(to).map_or(usize::MAX, |links| links.len())
    }

    /// Reports whether all links between the sender and the node `to` were up for `settling_us` from the sending on.
    pub fn has_clear_way(&self, world: &World, to: usize, settling_us: u64) -> bool {
        let Some(mut links) = self.way(to) else {
            return false;
        };
        // Whom a master has locked passes nothing on, and a master that falls silent then keeps it so for a minute.
        let stops = links.iter().flat_map(|(slave, master)| [*slave, *master]);
        let is_locking = |slave: usize, master: usize| {
            [slave, master]
                .into_iter()
                .any(|node| world.is_net_clacks(node))
        };
        let locks: Vec<(usize, usize)> = stops
            .filter_map(|node| Some((node, self.masters[node]?)))
            .filter(|(slave, master)| is_locking(*slave, *master))
            .collect();
        links.extend(locks);
        let end_us = self.at_us + settling_us;
        links
            .iter()
            .all(|(slave, master)| world.network.was_up(*slave, *master, self.at_us, end_us))
    }
}
