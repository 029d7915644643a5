//! Trees with NATS clients, groups and requests, beside Clacks clients that listen to names and patterns
//! (clacksd-nats(7)): each subscription gets each message once at most and in the order of its sender, and each group
//! does in each part of the tree that is joined by clacksd servers alone. While nothing changes, none is lost.
//!
//! Each message has a payload like no other, or a name, so that it shows where it came from.

mod contents;
mod oracle;
mod talk;

use super::network::Saboteur;
use super::world::{MILLISECOND_US, Plan, Random, SECOND_US, World, any_tree};
use talk::{Talk, WORKERS};

const ROUNDS: usize = 5;
const ACTS: usize = 50;
/// Messages that are sent while all is quiet.
const QUIET_MESSAGES: usize = 15;
/// Longer than anything takes on its way through the tree.
const SETTLING_US: u64 = 5 * SECOND_US;
/// Time to dial, through all of the tree, and to send everything.
const JOINING_US: u64 = 10 * SECOND_US;
/// A link that has fallen silent is given up after a minute.
const SILENCE_US: u64 = 150 * SECOND_US;

/// Disturbances that can happen besides the acts of clients.
struct Weather {
    /// Disturbances of the network in a thousand acts.
    cuts: u64,
    silences: bool,
    restarts: bool,
    moves: bool,
}

pub struct Messages {
    world: World,
    talk: Talk,
    weather: Weather,
    /// Longer than anything takes on its way.
    settling_us: u64,
}

/// The part of the tree that each node is in, by the nearest node to the root that no Net::Clacks server is in between.
fn parts(masters: &[Option<usize>], net_clacks: Option<usize>) -> Vec<usize> {
    let mut parts: Vec<usize> = (0..masters.len()).collect();
    for (node, master) in masters.iter().enumerate() {
        // Masters have lower numbers than their slaves.
        if let Some(master) = *master
            && ![node, master].map(Some).contains(&net_clacks)
        {
            parts[node] = parts[master];
        }
    }
    parts
}

impl Messages {
    pub fn new(seed: u64, saboteur: Option<Saboteur>) -> Messages {
        let mut random = Random(seed ^ 0x4a75);
        let nodes = 2 + random.below(5) as usize;
        let masters = any_tree(&mut random, nodes);
        let net_clacks = random.one_in(3);
        let net_clacks = net_clacks.then(|| random.below(nodes as u64) as usize);
        let cuts = random.pick(&[0, 20, 60, 150]);
        // A signal that a Net::Clacks server sends again can't be told from a new one.
        let weather = Weather {
            cuts,
            silences: cuts > 0 && net_clacks.is_none() && random.one_in(2),
            restarts: random.one_in(2),
            moves: net_clacks.is_none() && random.one_in(2),
        };
        let error_us = random.pick(&[0, 1, 1200]) * SECOND_US;
        let plan = Plan {
            masters: &masters,
            net_clacks,
            root_error_us: error_us,
            error_us,
            is_fixed: !weather.moves,
            reconnect_us: SECOND_US,
            ..Plan::default()
        };
        let mut world = World::new(seed, &plan, saboteur);
        world.network.has_spikes = net_clacks.is_none() && random.one_in(6);
        let settling_us = if world.network.has_spikes { 4 } else { 1 } * SETTLING_US;
        // Where no Net::Clacks server is, nodes move, and all are in one part.
        let parts = match net_clacks {
            Some(_) => parts(&masters, net_clacks),
            None => vec![0; nodes],
        };
        let talk = Talk::begin(&mut world, parts, net_clacks);
        Messages {
            world,
            talk,
            weather,
            settling_us,
        }
    }

    /// Returns the number of deliveries to groups that were sure to be made.
    pub fn check(mut self) -> Result<u64, String> {
        for _ in 0..ROUNDS {
            for _ in 0..ACTS {
                let pause_us = self.world.random.below(80) * MILLISECOND_US;
                self.go_on(pause_us);
                self.act();
            }
            self.settle();
            self.send_while_quiet();
            if self.talk.oracle.fault.is_some() {
                break;
            }
        }
        let Messages {
            world,
            talk,
            settling_us,
            ..
        } = &mut self;
        talk.oracle.check_arrivals(world, *settling_us);
        let foreign = talk.net_clacks.and_then(|node| world.foreign_line(node));
        if let Some(line) = foreign {
            let what = format!("Net::Clacks was sent {line:?}");
            talk.oracle.blame(world.now_us, what);
        }
        if let Some(what) = world.unjust_refusal(true) {
            talk.oracle.blame(world.now_us, what);
        }
        match self.talk.oracle.fault {
            None => Ok(self.talk.oracle.sure),
            Some(fault) => Err(fault),
        }
    }

    fn go_on(&mut self, for_us: u64) {
        let end_us = self.world.now_us + for_us;
        let Messages { world, talk, .. } = self;
        world.run_until(end_us, &mut |world, node| talk.attend(world, node));
    }

    fn act(&mut self) {
        if self.world.random.below(1000) < self.weather.cuts {
            self.disturb();
        }
        self.hear_all();
        let Messages { world, talk, .. } = self;
        let (node, client) = talk.any_client(world);
        match world.random.below(100) {
            0..40 => talk.send_any(world),
            40..46 => (0..5).for_each(|_| talk.send_any(world)),
            46..52 => drop(talk.request(world, node, client)),
            52..66 => talk.subscribe_any(world, node, client),
            66..80 => talk.unsubscribe(world, node, client),
            80..83 => talk.reconnect(world, node, client),
            83..87 => talk.change_patterns(world, node),
            87..89 if self.weather.restarts => {
                let node = world.any_node();
                talk.restart(world, node);
            }
            89..91 if self.weather.moves => self.change_master(node),
            91..93 => world.set_clock(node),
            _ => {}
        }
        self.hear_all();
    }

    /// Whatever has come to clients meanwhile is heard before they do anything else.
    fn hear_all(&mut self) {
        for node in 0..self.world.nodes.len() {
            self.talk.attend(&mut self.world, node);
        }
    }

    /// Something happens to the network.
    fn disturb(&mut self) {
        let slave = self.world.any_node();
        match self.world.random.below(6) {
            0..2 => {
                let is_unreachable = &mut self.world.unreachable[slave];
                *is_unreachable = !*is_unreachable;
                if *is_unreachable {
                    self.world.cut_uplink(slave);
                }
            }
            2 if self.weather.silences => self.world.silence_any(),
            3 => self.world.end_uplink_unnoticed(slave),
            _ => self.world.cut_any(),
        }
    }

    /// Moves a node, with all below it, under another one.
    fn change_master(&mut self, node: usize) {
        let new = self.world.any_node();
        if self.world.nodes[node].master.is_some() && !self.world.is_below(new, node) {
            self.world.nodes[node].master = Some(new);
            match self.world.random.one_in(2) {
                true => self.world.cut_uplink(node),
                false => self.world.end_uplink_unnoticed(node),
            }
        }
    }

    /// Everything comes up. A slave that has dialled again replaces its old link if it is still the same process and has the
    /// same master. Otherwise the master ends the old link after a long silence.
    fn settle(&mut self) {
        self.world.unreachable.fill(false);
        let Weather {
            silences,
            restarts,
            moves,
            ..
        } = self.weather;
        let is_silent = silences || restarts || moves;
        self.go_on(if is_silent { SILENCE_US } else { JOINING_US } + self.settling_us);
    }

    /// Sends messages while nothing else happens, and sees who gets them.
    fn send_while_quiet(&mut self) {
        let from = self.talk.oracle.sent.len();
        let mut requests = Vec::new();
        for _ in 0..QUIET_MESSAGES {
            let Messages { world, talk, .. } = self;
            if world.random.one_in(4) {
                let (node, client) = talk.any_client(world);
                let message = talk.oracle.sent.len();
                requests.push((message, talk.request(world, node, client)));
            } else {
                talk.send_any(world);
            }
            let pause_us = self.world.random.below(100) * MILLISECOND_US;
            self.go_on(pause_us);
        }
        // For requests, and for the answers.
        self.go_on(2 * self.settling_us);
        let Messages { world, talk, .. } = self;
        let oracle = &mut talk.oracle;
        oracle.check_groups(world, from, self.settling_us);
        for (message, reply) in requests {
            oracle.check_answer(world, message, WORKERS, &reply, self.settling_us);
        }
        for node in 0..world.nodes.len() {
            world.check(node);
        }
    }
}
