//! A world of servers: their clocks, the network between them, and the clients at them. Everything
//! happens at a virtual time and by one seed.

use super::carrier::{Carrier, End, Server, work_off};
use super::nats::{self, Heard, Message};
use super::network::{Network, Saboteur};
use crate::support::SimulatedDisk;
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

pub struct Node {
    pub(super) server: Server,
    pub(super) carrier: Carrier,
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
            let (server, journal) = world.new_server(node, *master, disk.as_ref());
            world.nodes.push(Node {
                server,
                carrier: Carrier::with_journal(journal),
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
        if let Server::Clacksd(broker) = &self.nodes[node].server {
            broker.check();
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
        self.serve(at, |server, carrier, now| {
            server.handle_closing(id, CloseReason::EndOfStream, now, carrier);
        });
        let client = &mut self.nodes[at].clients[number];
        client.received.clear();
        client.lines.clear();
        client.messages.clear();
        self.connect_client(at, number);
    }

    fn connect_client(&mut self, at: usize, number: usize) {
        let language = self.nodes[at].clients[number].language;
        self.nodes[at].carrier.now_us = self.now_us;
        let id = self.nodes[at].carrier.add(End::Client(number), language);
        self.nodes[at].clients[number].id = Some(id);
        self.serve(at, |server, carrier, now| {
            let peer = Peer::Unix(Process::default());
            server.handle_connected(id, (peer, language), now, carrier);
        });
        if language == Language::Clacks {
            let login = format!("OVERHEAD A {}", Token::encode(b"admin", b"secret"));
            self.say(at, number, &login);
            self.nodes[at].clients[number].lines.clear();
        }
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
        let node = &mut self.nodes[at];
        let id = node.clients[client].id.expect("it is connected");
        node.carrier
            .get(id)
            .is_some_and(|connection| connection.stopped_since_us.is_some())
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
            Server::NetClacks(perl) => perl.foreign_lines.first().cloned(),
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

    /// Something happens at a node, and everything that follows from it.
    pub(super) fn serve(&mut self, at: usize, act: impl FnOnce(&mut Server, &mut Carrier, Now)) {
        let now = self.time_of(at);
        let Node {
            server, carrier, ..
        } = &mut self.nodes[at];
        carrier.now_us = self.now_us;
        act(server, carrier, now);
        self.settle(at);
    }

    /// Bytes come to a connection of a node.
    pub(super) fn receive(&mut self, at: usize, id: ConnectionId, bytes: &[u8]) {
        self.serve(at, |server, carrier, now| {
            if let Some(connection) = carrier.get(id) {
                connection.input.push(bytes);
            }
            work_off(server, carrier, id, now);
        });
    }

    /// Everything that follows from what a node has just done.
    fn settle(&mut self, at: usize) {
        let now = self.time_of(at);
        let Node {
            server, carrier, ..
        } = &mut self.nodes[at];
        while let Some(id) = carrier.resumed.pop() {
            work_off(server, carrier, id, now);
        }
        let active = carrier.connections.values();
        let active = active.filter(|c| !c.output.is_empty() || c.closing.is_some());
        let ids: Vec<ConnectionId> = active.map(|c| c.id).collect();
        for id in ids {
            self.flush(at, id);
        }
        if std::mem::take(&mut self.nodes[at].carrier.is_dialing) {
            self.dial(at);
        }
        self.hand_over(at);
    }

    fn flush(&mut self, at: usize, id: ConnectionId) {
        let Some(connection) = self.nodes[at].carrier.get(id) else {
            return;
        };
        let bytes = std::mem::take(&mut connection.output);
        let (end, closing) = (connection.end, connection.closing);
        match end {
            End::Client(number) => {
                let client = &mut self.nodes[at].clients[number];
                client.received.extend_from_slice(&bytes);
                client.hear();
            }
            End::Wire(wire, side) => self.send(wire, side, bytes),
        }
        if let Some(reason) = closing {
            use CloseReason::{ClockAhead, Implausible, Ring};
            if matches!(reason, Ring | ClockAhead | Implausible) {
                *self.refused.entry(reason.word()).or_default() += 1;
            }
            let now = self.time_of(at);
            let Node {
                server, carrier, ..
            } = &mut self.nodes[at];
            carrier.connections.remove(&id.slot);
            server.handle_closed(id, reason, now, carrier);
            if let End::Wire(wire, side) = end {
                self.close(wire, side);
            }
            self.settle(at);
        }
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
                if let Some(at_us) = node.carrier.write_due_us() {
                    consider(at_us.max(self.now_us), Step::Write(at));
                }
                if let Some(at_us) = node.server.poll_deadline() {
                    consider(at_us.max(self.now_us), Step::Deadline(at));
                }
                for connection in node.carrier.connections.values() {
                    if let Some(at_us) = connection.room_at_us {
                        consider(at_us, Step::Room(at, connection.id));
                    }
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
                self.serve(at, |server, carrier, now| {
                    server.handle_deadline(now, carrier);
                });
                at
            }
            Step::Room(at, id) => {
                self.serve(at, |server, carrier, now| {
                    if let Some(connection) = carrier.get(id) {
                        connection.room_at_us = None;
                    }
                    server.handle_writable(id, now, carrier);
                });
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
    Room(usize, ConnectionId),
    Write(usize),
}
