//! The network between the nodes of a world: wires that are slow, that are cut at any byte, and that
//! fall silent without anybody being told.

use super::world::{End, MILLISECOND_US, Random, World};
use crate::support::states_in;
use clacks::broker::{ConnectionId, Peer, Process};
use clacks::protocol::{Language, Pending};
use std::collections::VecDeque;

/// A fault of the network, for a test to see that it is noticed: maps a line between servers to those sent instead.
pub type Saboteur = fn(&mut Random, Vec<u8>) -> Vec<Vec<u8>>;

enum Packet {
    Bytes(Vec<u8>),
    /// The other side has closed.
    End,
}

/// One side of a connection between two nodes.
struct Side {
    node: usize,
    connection: ConnectionId,
    /// Packets on their way to this side, each with its time of arrival in microseconds.
    coming: VecDeque<(u64, Packet)>,
    /// Nothing comes here any more, not even the end.
    is_dead: bool,
    is_closed: bool,
    /// The bytes sent from this side that have not reached the saboteur yet: the beginning of a line.
    unsabotaged: Pending,
}

pub struct Wire {
    /// The slave's side is 0.
    sides: [Side; 2],
    latency_us: u64,
    /// When both sides had logged in.
    up_since_us: Option<u64>,
    /// When it was cut, closed, or fell silent.
    cut_us: Option<u64>,
}

#[derive(Default)]
pub struct Network {
    wires: Vec<Wire>,
    /// Those that are not closed at both sides.
    open: Vec<usize>,
    /// True if packets take much longer now and then.
    pub has_spikes: bool,
    saboteur: Option<Saboteur>,
    /// Packets sent so far.
    pub sent: u64,
}

impl Network {
    pub fn new(saboteur: Option<Saboteur>) -> Network {
        Network {
            saboteur,
            ..Network::default()
        }
    }

    /// The next arrival: when, on which wire, at which side.
    pub fn next_arrival(&self) -> Option<(u64, usize, usize)> {
        let sides = self.open.iter().flat_map(|&wire| [(wire, 0), (wire, 1)]);
        let arrivals = sides.filter_map(|(wire, side)| {
            let (at_us, _) = self.wires[wire].sides[side].coming.front()?;
            Some((*at_us, wire, side))
        });
        arrivals.min_by_key(|(at_us, _, _)| *at_us)
    }

    /// Reports whether a wire from `slave` to `master` was up all the time from `from_us` to `to_us`.
    pub fn was_up(&self, slave: usize, master: usize, from_us: u64, to_us: u64) -> bool {
        self.wires.iter().any(|wire| {
            (wire.sides[0].node, wire.sides[1].node) == (slave, master)
                && wire.up_since_us.is_some_and(|since_us| since_us < from_us)
                && wire.cut_us.is_none_or(|cut_us| cut_us > to_us)
        })
    }

    /// The moment since which the wire to `slave`'s master is up.
    pub fn up_since_us(&self, slave: usize) -> Option<u64> {
        let is_current = |wire: &&Wire| wire.sides[0].node == slave && wire.cut_us.is_none();
        self.wires.iter().find(is_current)?.up_since_us
    }

    /// The longest that a wire between the two was up.
    pub fn longest_up_us(&self, slave: usize, master: usize, from_us: u64, to_us: u64) -> u64 {
        let ours = self.wires.iter().filter(|wire| {
            (wire.sides[0].node, wire.sides[1].node) == (slave, master)
                && wire.cut_us.is_none_or(|cut_us| cut_us > from_us)
        });
        let times = ours.filter_map(|wire| {
            let since_us = wire.up_since_us?.max(from_us);
            Some(wire.cut_us.unwrap_or(to_us).saturating_sub(since_us))
        });
        times.max().unwrap_or(0)
    }

    /// Reports whether a Net::Clacks master is sending its entries to `slave`: the lock has arrived, and the unlock
    /// is still on its way.
    pub fn is_being_told(&self, slave: usize) -> bool {
        let own = self.open.iter().map(|wire| &self.wires[*wire].sides[0]);
        own.filter(|side| side.node == slave).any(|side| {
            let coming = side.coming.iter().flat_map(|(_, packet)| match packet {
                Packet::Bytes(bytes) => &bytes[..],
                Packet::End => &[],
            });
            let coming: Vec<u8> = coming.copied().collect();
            let contains = |part: &[u8]| coming.windows(part.len()).any(|found| found == part);
            // The clock comes right after the lock.
            contains(b"OVERHEAD L 0\r\n") && !contains(b"OVERHEAD T ")
        })
    }

    /// The wires that nobody has cut, of one node or of all.
    fn whole(&self, of: Option<usize>) -> Vec<usize> {
        let is_whole = |wire: &&usize| {
            let wire = &self.wires[**wire];
            wire.cut_us.is_none()
                && of.is_none_or(|node| wire.sides.iter().any(|side| side.node == node))
        };
        self.open.iter().filter(is_whole).copied().collect()
    }

    /// Drops what can't arrive any more, and forgets the wire when both sides are closed.
    fn tidy(&mut self, number: usize) {
        let wire = &mut self.wires[number];
        for side in &mut wire.sides {
            if side.is_closed || side.is_dead {
                side.coming.clear();
            }
        }
        if wire.sides.iter().all(|side| side.is_closed) {
            self.open.retain(|open| *open != number);
        }
    }
}

impl World {
    /// A side sends bytes.
    pub(super) fn send(&mut self, number: usize, from: usize, bytes: Vec<u8>) {
        let (now_us, random) = (self.now_us, &mut self.random);
        let wire = &mut self.network.wires[number];
        if bytes.is_empty() || wire.sides[1 - from].is_closed || wire.sides[1 - from].is_dead {
            return;
        }
        if from == 0 && says_welcome(&bytes) {
            wire.up_since_us.get_or_insert(now_us);
        }
        let mut sent = bytes;
        if let Some(saboteur) = self.network.saboteur {
            let pending = &mut wire.sides[from].unsabotaged;
            pending.push(&sent);
            sent = Vec::new();
            while let Some(line) = pending.next_frame().map(<[u8]>::to_vec) {
                // The saboteur sees the states that go together one by one.
                let lines = states_in(&line).unwrap_or_else(|| vec![line]);
                for mut line in lines.into_iter().flat_map(|line| saboteur(random, line)) {
                    line.push(b'\n');
                    sent.extend_from_slice(&line);
                }
            }
        }
        let mut latency_us = wire.latency_us + random.below(wire.latency_us + 1);
        if self.network.has_spikes && random.one_in(100) {
            latency_us += random.below(2000) * MILLISECOND_US;
        }
        self.network.sent += 1;
        let coming = &mut wire.sides[1 - from].coming;
        let earliest_us = coming.back().map_or(0, |(at_us, _)| *at_us);
        coming.push_back(((now_us + latency_us).max(earliest_us), Packet::Bytes(sent)));
    }

    /// Delivers the first packet on its way to a side, or a part of it. Returns the node at that side.
    pub(super) fn arrive(&mut self, number: usize, side: usize) -> usize {
        let random = &mut self.random;
        let Side {
            node,
            connection,
            coming,
            ..
        } = &mut self.network.wires[number].sides[side];
        let (node, connection) = (*node, *connection);
        match coming.pop_front() {
            Some((at_us, Packet::Bytes(mut bytes))) => {
                // It arrives in pieces, cut anywhere, one after the other. Most PINGs stay whole.
                if bytes.len() > 6 || random.one_in(4) {
                    let piece = 1 + random.below(bytes.len().max(1) as u64) as usize;
                    if piece < bytes.len() {
                        let rest = bytes.split_off(piece);
                        let at_us = at_us + random.below(5 * MILLISECOND_US);
                        coming.push_front((at_us, Packet::Bytes(rest)));
                    }
                }
                self.receive(node, connection, &bytes);
            }
            Some((_, Packet::End)) => self.end(node, connection),
            None => {}
        }
        node
    }

    /// A node is told that a connection has ended.
    fn end(&mut self, at: usize, id: ConnectionId) {
        self.serve(at, |node| {
            if node.ends.contains_key(&id) {
                node.server.hang_up(id);
            }
        });
    }

    /// A side has closed: what it sent before still gets to the other one, and then the end does.
    pub(super) fn close(&mut self, number: usize, from: usize) {
        let now_us = self.now_us;
        let wire = &mut self.network.wires[number];
        wire.cut_us.get_or_insert(now_us);
        if !std::mem::replace(&mut wire.sides[from].is_closed, true)
            && !wire.sides[1 - from].is_closed
        {
            let latency_us = wire.latency_us;
            let coming = &mut wire.sides[1 - from].coming;
            let earliest_us = coming.back().map_or(0, |(at_us, _)| *at_us);
            coming.push_back(((now_us + latency_us).max(earliest_us), Packet::End));
        }
        self.network.tidy(number);
    }

    /// Connects a node with its master.
    pub(super) fn dial(&mut self, slave: usize) {
        let now = self.time_of(slave);
        let Some(master) = self.nodes[slave]
            .master
            .filter(|master| !self.unreachable[slave] && !self.nodes[*master].is_down)
        else {
            let server = &mut self.nodes[slave].server;
            server.set_time(now);
            server.fail_dial();
            return;
        };
        let number = self.network.wires.len();
        let sides = [slave, master].map(|node| Side {
            node,
            connection: ConnectionId::default(),
            coming: VecDeque::new(),
            is_dead: false,
            is_closed: false,
            unsabotaged: Pending::default(),
        });
        self.network.open.push(number);
        self.network.wires.push(Wire {
            sides,
            latency_us: (1 + self.random.below(100)) * MILLISECOND_US,
            up_since_us: None,
            cut_us: None,
        });
        for (side, at) in [slave, master].into_iter().enumerate() {
            let now = self.time_of(at);
            let node = &mut self.nodes[at];
            node.server.set_time(now);
            let id = match side {
                0 => node.server.connect_master(),
                _ => {
                    let peer = Peer::Unix(Process::default());
                    node.server.connect(peer, Language::Clacks)
                }
            };
            node.ends.insert(id, End::Wire(number, side));
            self.network.wires[number].sides[side].connection = id;
            self.serve(at, |_| {});
        }
    }

    /// Cuts a wire: of what is on its way some arrives, up to any byte, and the rest never does. A
    /// side that had fallen silent before isn't told.
    fn cut(&mut self, number: usize) {
        self.network.wires[number].cut_us.get_or_insert(self.now_us);
        let told = [0, 1].map(|side| !self.network.wires[number].sides[side].is_dead);
        let last = [0, 1].map(|side| self.silence(number, side));
        for (side, bytes) in last.into_iter().enumerate() {
            let Side {
                node, connection, ..
            } = self.network.wires[number].sides[side];
            self.receive(node, connection, &bytes);
            if told[side] && !self.network.wires[number].sides[side].is_closed {
                self.end(node, connection);
            }
        }
        self.network.tidy(number);
    }

    /// Nothing comes to that side any more, but these bytes.
    fn silence(&mut self, number: usize, side: usize) -> Vec<u8> {
        let side = &mut self.network.wires[number].sides[side];
        side.is_dead = true;
        let coming = std::mem::take(&mut side.coming).into_iter();
        let bytes = coming.flat_map(|(_, packet)| match packet {
            Packet::Bytes(bytes) if !side.is_closed => bytes,
            _ => Vec::new(),
        });
        let mut bytes: Vec<u8> = bytes.collect();
        bytes.truncate(self.random.below(bytes.len() as u64 + 1) as usize);
        bytes
    }

    /// Cuts one of the wires that are whole, if there is one.
    pub fn cut_any(&mut self) {
        let whole = self.network.whole(None);
        if !whole.is_empty() {
            let number = self.random.pick(&whole);
            self.cut(number);
        }
    }

    /// Silences one of the wires that are whole, in one direction or in both: nobody is told.
    pub fn silence_any(&mut self) {
        let whole = self.network.whole(None);
        if whole.is_empty() {
            return;
        }
        let number = self.random.pick(&whole);
        self.network.wires[number].cut_us = Some(self.now_us);
        let dead: &[usize] = [&[0][..], &[1], &[0, 1]][self.random.below(3) as usize];
        for &side in dead {
            let last = self.silence(number, side);
            let Side {
                node, connection, ..
            } = self.network.wires[number].sides[side];
            self.receive(node, connection, &last);
        }
    }

    /// A node's link to its master ends, and the master does not notice: it takes the link for alive when the node dials
    /// again.
    pub fn end_uplink_unnoticed(&mut self, slave: usize) {
        let is_uplink = |number: &usize| self.network.wires[*number].sides[0].node == slave;
        let Some(number) = self.network.whole(Some(slave)).into_iter().find(is_uplink) else {
            return;
        };
        self.network.wires[number].cut_us = Some(self.now_us);
        let last = self.silence(number, 1);
        let [own, masters] = &self.network.wires[number].sides;
        let (own, master, of_master) = (own.connection, masters.node, masters.connection);
        self.receive(master, of_master, &last);
        self.end(slave, own);
    }

    pub fn cut_uplink(&mut self, slave: usize) {
        for number in self.network.whole(Some(slave)) {
            if self.network.wires[number].sides[0].node == slave {
                self.cut(number);
            }
        }
    }

    /// Cuts everything of a node whose process has ended.
    pub(super) fn cut_all(&mut self, node: usize) {
        for number in self.network.open.clone() {
            if self.network.wires[number]
                .sides
                .iter()
                .any(|side| side.node == node)
            {
                self.cut(number);
                let sides = &mut self.network.wires[number].sides;
                let own = sides.iter_mut().filter(|side| side.node == node);
                own.for_each(|side| side.is_closed = true);
                self.network.tidy(number);
            }
        }
    }
}

/// Reports whether a slave sends a welcome, with which it answers its master's login: from then on it passes
/// everything on.
fn says_welcome(bytes: &[u8]) -> bool {
    let contains = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    contains(b"OVERHEAD O Welcome!\r")
}
