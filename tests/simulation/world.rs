//! A world of brokers: their clocks, their network, and the clients at them. Everything happens at a
//! virtual time and by one seed.

use clacks::broker::{
    Ageing, Broker, CloseReason, ConnectionId, Flow, Now, Output, Peer, Settings, Traffic, Users,
};
use clacks::protocol::line::Pending;
use clacks::protocol::token::Token;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub const MILLISECOND_US: u64 = 1_000;
pub const SECOND_US: u64 = 1_000_000;
/// When worlds begin: some day in 2026.
const EPOCH_US: u64 = 1_790_000_000 * SECOND_US;

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
}

/// Where the other end of a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The client of that number at this node.
    Client(usize),
    /// A side of the wire of that number.
    Wire(usize, usize),
}

struct Connection {
    id: ConnectionId,
    end: End,
    input: Pending,
    output: Vec<u8>,
    stopped: bool,
    wants_room: bool,
    closing: Option<CloseReason>,
    last_output_us: u64,
}

/// A node's side of the broker's seam.
#[derive(Default)]
struct Carrier {
    connections: BTreeMap<u32, Connection>,
    generation: u32,
    now_us: u64,
    resumed: Vec<ConnectionId>,
    dialing: Option<usize>,
}

impl Carrier {
    fn get(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.connections
            .get_mut(&id.slot)
            .filter(|connection| connection.id == id)
    }

    fn add(&mut self, end: End) -> ConnectionId {
        let slot = (0..)
            .find(|slot| !self.connections.contains_key(slot))
            .expect("a free slot");
        self.generation += 1;
        let id = ConnectionId {
            slot,
            generation: self.generation,
        };
        let connection = Connection {
            id,
            end,
            input: Pending::default(),
            output: Vec::new(),
            stopped: false,
            wants_room: false,
            closing: None,
            last_output_us: self.now_us,
        };
        self.connections.insert(slot, connection);
        id
    }
}

impl Output for Carrier {
    fn append(&mut self, to: ConnectionId, encode: impl FnOnce(&mut Vec<u8>)) {
        let now_us = self.now_us;
        if let Some(connection) = self
            .get(to)
            .filter(|connection| connection.closing.is_none())
        {
            encode(&mut connection.output);
            connection.last_output_us = now_us;
        }
    }

    fn fan_out(&mut self, to: impl IntoIterator<Item = ConnectionId>, payload: &[u8]) {
        for id in to {
            self.append(id, |output| output.extend_from_slice(payload));
        }
    }

    fn close(&mut self, id: ConnectionId, reason: CloseReason) {
        if let Some(connection) = self.get(id) {
            connection.closing.get_or_insert(reason);
        }
    }

    fn resume(&mut self, id: ConnectionId) {
        if self
            .get(id)
            .is_some_and(|connection| std::mem::take(&mut connection.stopped))
        {
            self.resumed.push(id);
        }
    }

    fn hold(&mut self, _: ConnectionId, _: isize) {}

    fn want_room(&mut self, id: ConnectionId) {
        if let Some(connection) = self.get(id) {
            connection.wants_room = true;
        }
    }

    fn dial(&mut self, master: usize) {
        self.dialing = Some(master);
    }

    fn hang_up(&mut self) {
        self.dialing = None;
    }

    fn traffic(&self, id: ConnectionId) -> Traffic {
        let found = self
            .connections
            .get(&id.slot)
            .filter(|connection| connection.id == id);
        found.map_or_else(Traffic::default, |connection| Traffic {
            last_output_us: connection.last_output_us,
            ..Traffic::default()
        })
    }
}

/// A client at a node, played by the test.
#[derive(Default)]
pub struct Client {
    id: Option<ConnectionId>,
    received: Vec<u8>,
    /// What has come to it and was not taken yet.
    pub lines: VecDeque<String>,
}

pub struct Node {
    broker: Broker,
    carrier: Carrier,
    pub clients: Vec<Client>,
    /// Its clock against the true time, and how fast that grows.
    skew_us: i64,
    drift_per_million: i64,
    /// Its masters, by number: dialled in turn.
    pub master: Option<usize>,
    /// Counts its runs.
    pub run: u32,
}

/// A connection between two nodes.
struct Wire {
    /// The slave's side is 0.
    ends: [(usize, ConnectionId); 2],
    /// Bytes on their way to each side, with their times of arrival.
    in_flight: [VecDeque<(u64, Vec<u8>)>; 2],
    latency_us: u64,
    /// When both sides had logged in.
    up_since_us: Option<u64>,
    cut_us: Option<u64>,
}

/// What the network does to lines between servers, if the test wants to see that it notices.
pub type Saboteur = fn(&mut Random, Vec<u8>) -> Vec<Vec<u8>>;

pub struct World {
    pub random: Random,
    pub now_us: u64,
    pub nodes: Vec<Node>,
    wires: Vec<Wire>,
    /// Master links that can't be dialled now, by slave.
    pub unreachable: Vec<bool>,
    saboteur: Option<Saboteur>,
    /// Lines on their way to the saboteur, by wire and side.
    unsabotaged: BTreeMap<(usize, usize), Pending>,
}

fn settings() -> Settings {
    Settings {
        max_clients: 16,
        ping_timeout_us: u64::MAX >> 20,
        interclacks_reconnect_us: SECOND_US,
        masters: vec!["the master".to_owned()],
        // Strictly, the guarantees hold while nothing is forgotten.
        ageing: Ageing {
            stale_us: u64::MAX >> 1,
            deleted_us: u64::MAX >> 1,
        },
        ..Settings::default()
    }
}

impl World {
    pub fn new(
        seed: u64,
        masters: &[Option<usize>],
        skew_us: u64,
        saboteur: Option<Saboteur>,
    ) -> World {
        let mut random = Random(seed);
        let nodes = masters.iter().map(|master| {
            let skew_us = random.below(2 * skew_us + 1) as i64 - skew_us as i64;
            let drift_per_million = random.below(201) as i64 - 100;
            new_node(&mut random, *master, skew_us, drift_per_million, 0)
        });
        let nodes = nodes.collect();
        let unreachable = vec![false; masters.len()];
        World {
            random,
            now_us: 0,
            nodes,
            wires: Vec::new(),
            unreachable,
            saboteur,
            unsabotaged: BTreeMap::new(),
        }
    }

    fn time_of(&self, node: usize) -> Now {
        let Node {
            skew_us,
            drift_per_million,
            ..
        } = self.nodes[node];
        let error_us = skew_us + self.now_us as i64 * drift_per_million / 1_000_000;
        Now {
            monotonic_us: self.now_us,
            wall_us: (EPOCH_US + self.now_us).saturating_add_signed(error_us),
        }
    }

    /// Connects a client; its number at that node.
    pub fn add_client(&mut self, node: usize) -> usize {
        let number = self.nodes[node].clients.len();
        self.nodes[node].clients.push(Client::default());
        self.connect_client(node, number);
        number
    }

    fn connect_client(&mut self, at: usize, number: usize) {
        let now = self.time_of(at);
        let node = &mut self.nodes[at];
        node.carrier.now_us = self.now_us;
        let id = node.carrier.add(End::Client(number));
        node.clients[number].id = Some(id);
        node.broker
            .handle_connected(id, Peer::Unix, now, &mut node.carrier);
        let login = format!("OVERHEAD A {}", Token::encode(b"admin", b"secret"));
        self.say(at, number, &login);
        self.nodes[at].clients[number].lines.clear();
    }

    /// A client sends a line, and gets what comes of it at once.
    pub fn say(&mut self, at: usize, client: usize, line: &str) {
        let id = self.nodes[at].clients[client].id.expect("it is connected");
        self.receive(at, id, format!("{line}\n").as_bytes());
    }

    /// What a node answers to a client's question.
    pub fn ask(&mut self, at: usize, client: usize, line: &str) -> Vec<String> {
        let kept = std::mem::take(&mut self.nodes[at].clients[client].lines);
        self.say(at, client, line);
        std::mem::replace(&mut self.nodes[at].clients[client].lines, kept).into()
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
        while self.nodes[at].clients[client]
            .lines
            .back()
            .is_none_or(|line| line != "KEYLISTEND")
        {
            self.run_until(self.now_us + 5 * MILLISECOND_US, &mut |_, _| {});
        }
        let lines = std::mem::take(&mut self.nodes[at].clients[client].lines);
        lines
            .iter()
            .filter_map(|line| line.strip_prefix("KEY "))
            .map(str::to_owned)
            .collect()
    }

    /// Bytes come to a connection of a node.
    fn receive(&mut self, at: usize, id: ConnectionId, bytes: &[u8]) {
        let now = self.time_of(at);
        let node = &mut self.nodes[at];
        node.carrier.now_us = self.now_us;
        if let Some(connection) = node.carrier.get(id) {
            connection.input.push(bytes);
        }
        work_off(node, id, now);
        self.settle(at);
    }

    /// Everything that follows from what a node has just done.
    fn settle(&mut self, at: usize) {
        let now = self.time_of(at);
        while let Some(id) = self.nodes[at].carrier.resumed.pop() {
            work_off(&mut self.nodes[at], id, now);
        }
        let ids: Vec<ConnectionId> = self.nodes[at]
            .carrier
            .connections
            .values()
            .map(|c| c.id)
            .collect();
        for id in ids {
            self.flush(at, id);
        }
        if let Some(_number) = self.nodes[at].carrier.dialing.take() {
            self.dial(at);
        }
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
                while let Some(end) = client.received.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = client.received.drain(..=end).collect();
                    client
                        .lines
                        .push_back(String::from_utf8_lossy(line.trim_ascii_end()).into_owned());
                }
            }
            End::Wire(wire, side) => self.send(wire, side, bytes),
        }
        if let Some(reason) = closing {
            let now = self.time_of(at);
            let node = &mut self.nodes[at];
            node.carrier.connections.remove(&id.slot);
            node.broker
                .handle_closed(id, reason, 0, now, &mut node.carrier);
            if let End::Wire(wire, _) = end {
                self.cut(wire);
            }
            self.settle(at);
        }
    }

    fn send(&mut self, number: usize, side: usize, bytes: Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        if side == 0
            && bytes
                .windows(20)
                .any(|part| part == b"OVERHEAD O Welcome!\r")
        {
            self.wires[number].up_since_us.get_or_insert(self.now_us);
        }
        let mut sent = bytes;
        if let Some(saboteur) = self.saboteur {
            let pending = self.unsabotaged.entry((number, side)).or_default();
            pending.push(&sent);
            sent = Vec::new();
            while let Some(line) = pending.next_line().map(<[u8]>::to_vec) {
                for mut line in saboteur(&mut self.random, line) {
                    line.push(b'\n');
                    sent.extend_from_slice(&line);
                }
            }
        }
        let wire = &mut self.wires[number];
        if wire.cut_us.is_none() {
            let jitter_us = self.random.below(wire.latency_us + 1);
            let other = 1 - side;
            let earliest_us = wire.in_flight[other].back().map_or(0, |(at_us, _)| *at_us);
            let arrival_us = (self.now_us + wire.latency_us + jitter_us).max(earliest_us);
            wire.in_flight[other].push_back((arrival_us, sent));
        }
    }

    fn dial(&mut self, slave: usize) {
        let now = self.time_of(slave);
        let Some(master) = self.nodes[slave]
            .master
            .filter(|_| !self.unreachable[slave])
        else {
            self.nodes[slave]
                .broker
                .handle_dial_failed("out of reach", now);
            return;
        };
        let wire = self.wires.len();
        let mut ends =
            [(slave, End::Wire(wire, 0)), (master, End::Wire(wire, 1))].map(|(node, end)| {
                self.nodes[node].carrier.now_us = self.now_us;
                (node, self.nodes[node].carrier.add(end))
            });
        ends.sort_by_key(|(node, _)| usize::from(*node != slave));
        let latency_us = (1 + self.random.below(100)) * MILLISECOND_US;
        self.wires.push(Wire {
            ends,
            in_flight: Default::default(),
            latency_us,
            up_since_us: None,
            cut_us: None,
        });
        for (node, id) in ends {
            let peer = if node == slave {
                Peer::Master(None)
            } else {
                Peer::Unix
            };
            let now = self.time_of(node);
            let Node {
                broker, carrier, ..
            } = &mut self.nodes[node];
            broker.handle_connected(id, peer, now, carrier);
            self.settle(node);
        }
    }

    /// Cuts a wire: of what is on its way some arrives, up to any byte, and the rest never does.
    fn cut(&mut self, number: usize) {
        if self.wires[number].cut_us.is_some() {
            return;
        }
        self.wires[number].cut_us = Some(self.now_us);
        for side in 0..2 {
            let wire = &mut self.wires[number];
            let (at, id) = wire.ends[side];
            let bytes: Vec<u8> = std::mem::take(&mut wire.in_flight[side])
                .into_iter()
                .flat_map(|(_, b)| b)
                .collect();
            let arrives = self.random.below(bytes.len() as u64 + 1) as usize;
            self.receive(at, id, &bytes[..arrives]);
            let now = self.time_of(at);
            let node = &mut self.nodes[at];
            if node.carrier.get(id).is_some() {
                node.broker
                    .handle_closing(id, CloseReason::EndOfStream, now, &mut node.carrier);
            }
            self.settle(at);
        }
    }

    /// Cuts one of the wires that are up, or none if there is none.
    pub fn cut_any(&mut self) -> bool {
        let whole: Vec<usize> = (0..self.wires.len())
            .filter(|wire| self.wires[*wire].cut_us.is_none())
            .collect();
        if whole.is_empty() {
            return false;
        }
        let chosen = whole[self.random.below(whole.len() as u64) as usize];
        self.cut(chosen);
        true
    }

    pub fn cut_uplink(&mut self, slave: usize) {
        let wires = 0..self.wires.len();
        let own: Vec<usize> = wires
            .filter(|wire| self.wires[*wire].ends[0].0 == slave)
            .collect();
        own.into_iter().for_each(|wire| self.cut(wire));
    }

    /// A node's process ends and starts anew, with nothing in its cache.
    pub fn restart(&mut self, at: usize) {
        for wire in 0..self.wires.len() {
            if self.wires[wire].ends.iter().any(|(node, _)| *node == at) {
                self.cut(wire);
            }
        }
        let Node {
            master,
            skew_us,
            drift_per_million,
            run,
            ..
        } = self.nodes[at];
        let clients = self.nodes[at].clients.len();
        self.nodes[at] = new_node(
            &mut self.random,
            master,
            skew_us,
            drift_per_million,
            run + 1,
        );
        for _ in 0..clients {
            self.add_client(at);
        }
    }

    /// Whether `slave`'s wire to its master was up all the time between.
    pub fn was_up(&self, slave: usize, master: usize, from_us: u64, to_us: u64) -> bool {
        self.wires.iter().any(|wire| {
            (wire.ends[0].0, wire.ends[1].0) == (slave, master)
                && wire.up_since_us.is_some_and(|since_us| since_us < from_us)
                && wire.cut_us.is_none_or(|cut_us| cut_us > to_us)
        })
    }

    /// Lets the world go on up to a moment; `after_each` looks at it after everything that happens.
    pub fn run_until(&mut self, end_us: u64, after_each: &mut impl FnMut(&mut World, usize)) {
        loop {
            let mut next: Option<(u64, Step)> = None;
            let mut consider = |at_us: u64, step: Step| {
                if next.as_ref().is_none_or(|(best_us, _)| at_us < *best_us) {
                    next = Some((at_us, step));
                }
            };
            for (number, wire) in self
                .wires
                .iter()
                .enumerate()
                .filter(|(_, wire)| wire.cut_us.is_none())
            {
                for side in 0..2 {
                    if let Some((at_us, _)) = wire.in_flight[side].front() {
                        consider(*at_us, Step::Arrival(number, side));
                    }
                }
            }
            for at in 0..self.nodes.len() {
                let node = &mut self.nodes[at];
                if let Some(at_us) = node.broker.poll_deadline() {
                    consider(at_us.max(self.now_us), Step::Deadline(at));
                }
                if let Some(connection) = node.carrier.connections.values().find(|c| c.wants_room) {
                    consider(
                        self.now_us + 5 * MILLISECOND_US,
                        Step::Room(at, connection.id),
                    );
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
            Step::Arrival(number, side) => {
                let (at, id) = self.wires[number].ends[side];
                let (at_us, mut bytes) = self.wires[number].in_flight[side]
                    .pop_front()
                    .expect("it was there");
                // It arrives in pieces, cut anywhere.
                let piece = 1 + self.random.below(bytes.len().max(1) as u64) as usize;
                if piece < bytes.len() {
                    let rest = bytes.split_off(piece);
                    self.wires[number].in_flight[side].push_front((at_us, rest));
                }
                self.receive(at, id, &bytes);
                at
            }
            Step::Deadline(at) => {
                let now = self.time_of(at);
                let Node {
                    broker, carrier, ..
                } = &mut self.nodes[at];
                carrier.now_us = self.now_us;
                broker.handle_deadline(now, carrier);
                self.settle(at);
                at
            }
            Step::Room(at, id) => {
                let now = self.time_of(at);
                let Node {
                    broker, carrier, ..
                } = &mut self.nodes[at];
                carrier.now_us = self.now_us;
                if let Some(connection) = carrier.get(id) {
                    connection.wants_room = false;
                }
                broker.handle_room(id, now, carrier);
                self.settle(at);
                at
            }
        }
    }
}

enum Step {
    Arrival(usize, usize),
    Deadline(usize),
    Room(usize, ConnectionId),
}

fn new_node(
    random: &mut Random,
    master: Option<usize>,
    skew_us: i64,
    drift_per_million: i64,
    run: u32,
) -> Node {
    let seed = [random.next(), random.next(), random.next(), random.next()];
    Node {
        // Every node can be given a master later; without one its dials fail.
        broker: Broker::new(settings(), Users::new("admin", b"secret"), seed),
        carrier: Carrier::default(),
        clients: Vec::new(),
        skew_us,
        drift_per_million,
        master,
        run,
    }
}

fn work_off(node: &mut Node, id: ConnectionId, now: Now) {
    loop {
        let Some(connection) = node
            .carrier
            .get(id)
            .filter(|c| !c.stopped && c.closing.is_none())
        else {
            return;
        };
        let Some(line) = connection.input.next_line().map(<[u8]>::to_vec) else {
            return;
        };
        let flow = node.broker.handle_line(id, &line, now, &mut node.carrier);
        if let Some(connection) = node.carrier.get(id)
            && flow != Flow::Next
        {
            connection.stopped = true;
            if flow == Flow::StopBefore {
                connection.input.put_back(line.len());
            }
        }
    }
}
