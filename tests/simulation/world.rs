//! A world of servers: their clocks, the network between them, and the clients at them. Everything
//! happens at a virtual time and by one seed.

use super::nats::{self, Heard, Message};
use super::network::{Network, Saboteur};
use super::server::Server;
use crate::support::{SimulatedDisk, SimulatedJournal};
use clacks::broker::{Ageing, CloseReason, ConnectionId, Now, Peer, Process, Settings};
use clacks::protocol::Language;
use clacks::protocol::token::Token;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub const MILLISECOND_US: u64 = 1_000;
pub const SECOND_US: u64 = 1_000_000;
/// When worlds begin: some day in 2026.
pub const EPOCH_US: u64 = 1_790_000_000 * SECOND_US;

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// Up to `bound` more or less than nothing.
    pub fn error(&mut self, bound: u64) -> i64 {
        self.below(2 * bound + 1) as i64 - bound as i64
    }
}

/// A client at a node, played by the test.
#[derive(Default)]
pub struct Client {
    id: Option<ConnectionId>,
    pub language: Language,
    received: Vec<u8>,
    /// Lines that the client has received and the test has not taken yet.
    pub lines: VecDeque<String>,
    /// Messages that a NATS client has received and the test has not taken yet.
    pub messages: VecDeque<Message>,
}

impl Client {
    /// Takes the lines and messages that have come whole.
    fn hear(&mut self) {
        if self.language == Language::Nats {
            while let Some(heard) = nats::take(&mut self.received) {
                match heard {
                    Heard::Message(message) => self.messages.push_back(message),
                    Heard::Line(line) => self.lines.push_back(line),
                }
            }
            return;
        }
        while let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.received.drain(..=end).collect();
            self.lines
                .push_back(String::from_utf8_lossy(line.trim_ascii_end()).into_owned());
        }
    }
}

/// A clock against the true time, and how much that grows in a million seconds.
#[derive(Clone, Copy)]
struct Clock {
    error_us: i64,
    drift_per_million: i64,
}

/// Where the other end of a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The client of that number at this node.
    Client(usize),
    /// A side of the wire of that number.
    Wire(usize, usize),
}

/// Links are congested so often, and for so long.
const CONGESTION_EVERY_US: u64 = 3_000_000;
const CONGESTION_US: u64 = 200_000;

/// Every now and then a link takes nothing for some time: how much longer.
fn congested_us(id: ConnectionId, now_us: u64) -> u64 {
    let phase_us = (now_us + u64::from(id.generation) * 700_000) % CONGESTION_EVERY_US;
    CONGESTION_US.saturating_sub(phase_us)
}

pub struct Node {
    pub(super) server: Server,
    /// Its connections.
    pub(super) ends: BTreeMap<ConnectionId, End>,
    /// When what waits for its disk gets there.
    pub(super) write_at_us: Option<u64>,
    /// Where it keeps its journal, if it has one.
    pub(super) disk: Option<SimulatedDisk>,
    /// Its process has ended.
    pub is_down: bool,
    pub clients: Vec<Client>,
    clock: Clock,
    /// How far off its clock may be. A root's stays so when it is given a master, which is its slave.
    error_us: u64,
    pub master: Option<usize>,
    /// Counts its runs.
    pub run: u32,
    /// When the last one began.
    pub started_us: u64,
}

impl Node {
    /// Clogs the links that take nothing at this moment, and no others.
    fn congest(&mut self, now_us: u64) {
        let Server::Clacksd(machine) = &mut self.server else {
            return;
        };
        for (id, end) in &self.ends {
            let is_congested = matches!(end, End::Wire(..)) && congested_us(*id, now_us) > 0;
            if is_congested != machine.peer(*id).is_clogged() {
                machine.clog(*id, is_congested);
            }
        }
    }

    /// When a link takes something again for which something waits.
    fn room_at_us(&self, now_us: u64) -> Option<u64> {
        let Server::Clacksd(machine) = &self.server else {
            return None;
        };
        let clogged = self.ends.keys().filter(|id| {
            let is_clogged = machine.peer(**id).is_clogged();
            is_clogged && (machine.peer(**id).is_waited_for() || machine.wants_room(**id))
        });
        clogged.map(|id| now_us + congested_us(*id, now_us)).min()
    }

    /// When the journal is to be written next.
    fn write_due_us(&self) -> Option<u64> {
        let Server::Clacksd(machine) = &self.server else {
            return None;
        };
        let journal = machine.core.out.journal.as_ref();
        let sync_us = journal.and_then(SimulatedJournal::deadline_us);
        [self.write_at_us, sync_us].into_iter().flatten().min()
    }
}

/// The parameters of a world: its nodes and their settings.
#[derive(Default)]
pub struct Plan<'a> {
    pub masters: &'a [Option<usize>],
    /// The node that is no clacksd.
    pub net_clacks: Option<usize>,
    /// How far off the root's clock and all others may be.
    pub root_error_us: u64,
    pub error_us: u64,
    /// `None`: nothing is ever forgotten.
    pub ageing: Option<Ageing>,
    /// Time between two searches for what has aged; `None`: the default.
    pub clean_interval_us: Option<u64>,
    /// The largest size of each node's cache, in bytes; `None`, and for nodes beyond the list: no limit.
    pub rooms: &'a [Option<usize>],
    /// Which nodes keep journals; those beyond the list don't.
    pub journals: &'a [bool],
    /// Roots are sure to be roots: what has no master does not dial.
    pub is_fixed: bool,
    pub reconnect_us: u64,
}

/// The masters of so many nodes, of which the first is the root.
pub fn any_tree(random: &mut Random, nodes: usize) -> Vec<Option<usize>> {
    let master = |node| (node > 0).then(|| random.below(node as u64) as usize);
    (0..nodes).map(master).collect()
}

pub struct World {
    pub random: Random,
    pub now_us: u64,
    pub nodes: Vec<Node>,
    pub network: Network,
    /// Nodes that can't reach their masters now.
    pub unreachable: Vec<bool>,
    /// Links closed by a server because they can't be: as a ring, or for a peer's clock.
    pub refused: BTreeMap<&'static str, u64>,
    /// Journals say of every run that it has ended in order, for the test to see that this is noticed.
    pub keeps_shares: bool,
    pub(super) net_clacks: Option<usize>,
    pub(super) moves: bool,
    pub(super) ageing: Ageing,
    pub(super) clean_interval_us: u64,
    pub(super) rooms: Vec<Option<usize>>,
    pub(super) reconnect_us: u64,
}

impl World {
    pub fn new(seed: u64, plan: &Plan<'_>, saboteur: Option<Saboteur>) -> World {
        let mut world = World {
            random: Random(seed),
            now_us: 0,
            nodes: Vec::new(),
            network: Network::new(saboteur),
            unreachable: vec![false; plan.masters.len()],
            refused: BTreeMap::new(),
            keeps_shares: false,
            net_clacks: plan.net_clacks,
            moves: !plan.is_fixed,
            ageing: plan.ageing.unwrap_or(Ageing {
                stale_us: u64::MAX >> 1,
                deleted_us: u64::MAX >> 1,
            }),
            clean_interval_us: plan
                .clean_interval_us
                .unwrap_or(Settings::default().clean_interval_us),
            rooms: plan.rooms.to_vec(),
            reconnect_us: plan.reconnect_us,
        };
        for (node, master) in plan.masters.iter().enumerate() {
            let bound_us = if master.is_none() {
                plan.root_error_us
            } else {
                plan.error_us
            };
            let clock = Clock {
                error_us: world.random.error(bound_us),
                drift_per_million: world.random.error(100),
            };
            let has_journal = plan.journals.get(node) == Some(&true);
            let disk = has_journal.then(SimulatedDisk::default);
            let server = world.new_server(node, *master, disk.as_ref());
            world.nodes.push(Node {
                server,
                ends: BTreeMap::new(),
                write_at_us: None,
                disk,
                is_down: false,
                clients: Vec::new(),
                clock,
                error_us: bound_us,
                master: *master,
                run: 0,
                started_us: 0,
            });
        }
        world
    }

    pub fn is_net_clacks(&self, node: usize) -> bool {
        matches!(self.nodes[node].server, Server::NetClacks(_))
    }

    pub fn any_node(&mut self) -> usize {
        self.random.below(self.nodes.len() as u64) as usize
    }

    /// Panics if a node is not as it has to be.
    pub fn check(&self, node: usize) {
        if let Server::Clacksd(machine) = &self.nodes[node].server {
            machine.core.broker.check();
        }
    }

    /// Reports whether the node `at` is `node`, or is below it in the tree.
    pub fn is_below(&self, mut at: usize, node: usize) -> bool {
        while at != node {
            match self.nodes[at].master {
                Some(master) => at = master,
                None => return false,
            }
        }
        true
    }

    pub(super) fn time_of(&self, node: usize) -> Now {
        let Clock {
            error_us,
            drift_per_million,
        } = self.nodes[node].clock;
        let error_us = error_us + self.now_us as i64 / 1_000_000 * drift_per_million;
        Now {
            monotonic_us: self.now_us,
            wall_us: (EPOCH_US + self.now_us).saturating_add_signed(error_us),
        }
    }

    /// Somebody sets a node's clock, not better than it was.
    pub fn set_clock(&mut self, node: usize) {
        let bound_us = self.nodes[node].error_us;
        self.nodes[node].clock.error_us = self.random.error(bound_us);
    }

    /// Connects a client; its number at that node. One of memcached or NATS needs no login.
    pub fn add_client(&mut self, at: usize, language: Language) -> usize {
        let number = self.nodes[at].clients.len();
        self.nodes[at].clients.push(Client {
            language,
            ..Client::default()
        });
        self.connect_client(at, number);
        number
    }

    /// A client ends its connection, and makes a new one.
    pub fn reconnect_client(&mut self, at: usize, number: usize) {
        let id = self.nodes[at].clients[number].id.take();
        let id = id.expect("it is connected");
        self.leave(at, id);
        let client = &mut self.nodes[at].clients[number];
        client.received.clear();
        client.lines.clear();
        client.messages.clear();
        self.connect_client(at, number);
    }

    fn connect_client(&mut self, at: usize, number: usize) {
        let language = self.nodes[at].clients[number].language;
        self.serve(at, |node| {
            let peer = Peer::Unix(Process::default());
            let id = node.server.connect(peer, language);
            node.ends.insert(id, End::Client(number));
            node.clients[number].id = Some(id);
        });
        if language == Language::Clacks {
            let login = format!("OVERHEAD A {}", Token::encode(b"admin", b"secret"));
            self.say(at, number, &login);
            self.nodes[at].clients[number].lines.clear();
        }
    }

    /// A client ends its connection, of which it gets nothing more.
    pub(super) fn leave(&mut self, at: usize, id: ConnectionId) {
        self.serve(at, |node| {
            node.ends.remove(&id);
            node.server.hang_up(id);
        });
        self.nodes[at].server.forget(id);
    }

    /// A client sends a line, and gets what comes of it at once. One of memcached may have a block behind it.
    pub fn say(&mut self, at: usize, client: usize, line: &str) {
        self.send_bytes(at, client, format!("{line}\n").as_bytes());
    }

    /// A client sends bytes, and gets what comes of them at once.
    pub fn send_bytes(&mut self, at: usize, client: usize, bytes: &[u8]) {
        let id = self.nodes[at].clients[client].id.expect("it is connected");
        self.receive(at, id, bytes);
    }

    /// Sends a client's line to a node and returns the lines that answer it at once. Lines received earlier are kept.
    pub fn ask(&mut self, at: usize, client: usize, line: &str) -> Vec<String> {
        let kept = std::mem::take(&mut self.nodes[at].clients[client].lines);
        self.say(at, client, line);
        std::mem::replace(&mut self.nodes[at].clients[client].lines, kept).into()
    }

    /// Reports whether a node lets the lines of that client wait.
    pub fn is_waiting(&mut self, at: usize, client: usize) -> bool {
        let node = &self.nodes[at];
        let id = node.clients[client].id.expect("it is connected");
        node.server.is_stopped(id)
    }

    /// Returns a message if an honest server was refused as implausible; with `by_clock`, also if it was refused for
    /// its clock, which is less than an hour off.
    pub fn unjust_refusal(&self, by_clock: bool) -> Option<String> {
        let unjust: &[_] = if by_clock {
            &["clock_ahead", "implausible"]
        } else {
            &["implausible"]
        };
        let refused = unjust
            .iter()
            .find(|word| self.refused.contains_key(**word))?;
        Some(format!("an honest server was refused: {refused}"))
    }

    /// A line that a Net::Clacks server got from another server and does not know.
    pub fn foreign_line(&self, node: usize) -> Option<String> {
        match &self.nodes[node].server {
            Server::NetClacks(server) => server.perl.foreign_lines.first().cloned(),
            Server::Clacksd(_) => None,
        }
    }

    /// The value of a name at a node.
    pub fn retrieve(&mut self, at: usize, client: usize, name: &str) -> Option<String> {
        let answer = self.ask(at, client, &format!("RETRIEVE {name}"));
        answer
            .iter()
            .find_map(|line| line.strip_prefix(&format!("RETRIEVED {name}=")))
            .map(str::to_owned)
    }

    /// The names a node lists. A long list comes in slices.
    pub fn keys(&mut self, at: usize, client: usize) -> BTreeSet<String> {
        self.say(at, client, "KEYLIST");
        let patience_us = self.now_us + 20 * SECOND_US;
        while self.nodes[at].clients[client]
            .lines
            .back()
            .is_none_or(|line| line != "KEYLISTEND")
        {
            assert!(self.now_us < patience_us, "node {at} answers no KEYLIST");
            self.run_until(self.now_us + 5 * MILLISECOND_US, &mut |_, _| {});
        }
        let lines = std::mem::take(&mut self.nodes[at].clients[client].lines);
        lines
            .iter()
            .filter_map(|line| line.strip_prefix("KEY "))
            .map(str::to_owned)
            .collect()
    }

    /// The entries of a node.
    pub fn entries(&mut self, at: usize, client: usize) -> BTreeMap<String, String> {
        let names = self.keys(at, client);
        let entries = names.into_iter().filter_map(|name| {
            let value = self.retrieve(at, client, &name)?;
            Some((name, value))
        });
        entries.collect()
    }

    /// Nodes that do not hold the same as the first of them, and what they disagree about.
    pub fn disagreement(&mut self, nodes: &[usize], client: usize) -> Option<String> {
        let (&first, others) = nodes.split_first()?;
        let expected = self.entries(first, client);
        others.iter().find_map(|&node| {
            let found = self.entries(node, client);
            let mut names = expected.keys().chain(found.keys());
            let name = names.find(|name| expected.get(*name) != found.get(*name))?;
            let (here, there) = (expected.get(name), found.get(name));
            Some(format!(
                "nodes {first} and {node} disagree about {name}: {here:?} and {there:?}"
            ))
        })
    }

    /// Something happens at a node, and everything that follows from it. Nothing happens at one that is down.
    pub(super) fn serve(&mut self, at: usize, act: impl FnOnce(&mut Node)) {
        let now = self.time_of(at);
        let node = &mut self.nodes[at];
        if node.is_down {
            return;
        }
        node.server.set_time(now);
        node.congest(self.now_us);
        act(node);
        self.settle(at);
    }

    /// Bytes come to a connection of a node.
    pub(super) fn receive(&mut self, at: usize, id: ConnectionId, bytes: &[u8]) {
        self.serve(at, |node| {
            if node.ends.contains_key(&id) {
                node.server.send(id, bytes);
            }
        });
    }

    /// Everything that follows from what a node has just done.
    fn settle(&mut self, at: usize) {
        loop {
            let node = &mut self.nodes[at];
            node.server.work_off();
            let ends: Vec<(ConnectionId, End)> =
                node.ends.iter().map(|(id, end)| (*id, *end)).collect();
            let mut is_done = true;
            for (id, end) in ends {
                is_done &= !self.flush(at, id, end);
            }
            if self.nodes[at].server.take_dial() {
                self.dial(at);
            } else if is_done {
                break;
            }
        }
        self.hand_over(at);
    }

    /// Sends the output of a node's connection on its way. Returns true if the connection has ended with that.
    fn flush(&mut self, at: usize, id: ConnectionId, end: End) -> bool {
        let bytes = self.nodes[at].server.take(id);
        match end {
            _ if bytes.is_empty() => {}
            End::Client(number) => {
                let client = &mut self.nodes[at].clients[number];
                client.received.extend_from_slice(&bytes);
                client.hear();
            }
            End::Wire(wire, side) => self.send(wire, side, bytes),
        }
        let node = &mut self.nodes[at];
        let Some(reason) = node.server.has_closed(id) else {
            return false;
        };
        use CloseReason::{ClockAhead, Implausible, Ring};
        if let Some(reason @ (Ring | ClockAhead | Implausible)) = reason {
            *self.refused.entry(reason.word()).or_default() += 1;
        }
        node.ends.remove(&id);
        node.server.hang_up(id);
        node.server.forget(id);
        if let End::Wire(wire, side) = end {
            self.close(wire, side);
        }
        true
    }

    /// Lets the world go on up to a moment; `after_each` looks at it after everything that happens.
    pub fn run_until(&mut self, end_us: u64, after_each: &mut impl FnMut(&mut World, usize)) {
        loop {
            let arrival = self.network.next_arrival();
            let mut next = arrival.map(|(at_us, wire, side)| (at_us, Step::Arrival(wire, side)));
            let mut consider = |at_us: u64, step: Step| {
                if next.as_ref().is_none_or(|(best_us, _)| at_us < *best_us) {
                    next = Some((at_us, step));
                }
            };
            for (at, node) in self.nodes.iter_mut().enumerate() {
                if node.is_down {
                    continue;
                }
                if let Some(at_us) = node.write_due_us() {
                    consider(at_us.max(self.now_us), Step::Write(at));
                }
                let deadline_us = node.server.poll_deadline();
                let room_us = node.room_at_us(self.now_us);
                if let Some(at_us) = deadline_us.into_iter().chain(room_us).min() {
                    consider(at_us.max(self.now_us), Step::Deadline(at));
                }
            }
            let Some((at_us, step)) = next.filter(|(at_us, _)| *at_us <= end_us) else {
                self.now_us = end_us;
                return;
            };
            self.now_us = self.now_us.max(at_us);
            let at = self.take(step);
            after_each(self, at);
        }
    }

    fn take(&mut self, step: Step) -> usize {
        match step {
            Step::Arrival(wire, side) => self.arrive(wire, side),
            Step::Deadline(at) => {
                self.serve(at, |_| {});
                at
            }
            Step::Write(at) => {
                self.write_journal(at);
                at
            }
        }
    }
}

enum Step {
    Arrival(usize, usize),
    Deadline(usize),
    Write(usize),
}
