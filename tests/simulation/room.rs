//! Trees of clacksd nodes some of which have room for little, and drop what nobody asks for: what is held at both
//! ends of a link is the same, as long as that is up.

use super::witness::WRITER;
use super::world::{Plan, Random, SECOND_US, World, any_tree};
use clacks::protocol::Language;

/// Longer than anything takes on its way through the tree.
const SETTLING_US: u64 = 3 * SECOND_US;

pub struct Room {
    world: World,
}

impl Room {
    pub fn new(seed: u64) -> Room {
        let mut random = Random(seed ^ 0x400);
        let nodes = 2 + random.below(4) as usize;
        let masters = any_tree(&mut random, nodes);
        let rooms: Vec<Option<usize>> = (0..nodes)
            .map(|_| random.pick(&[None, Some(1_000), Some(3_000), Some(8_000)]))
            .collect();
        let plan = Plan {
            masters: &masters,
            root_error_us: SECOND_US,
            error_us: SECOND_US,
            rooms: &rooms,
            reconnect_us: SECOND_US,
            ..Plan::default()
        };
        let mut world = World::new(seed, &plan, None);
        for node in 0..nodes {
            world.add_client(node, Language::Clacks);
        }
        Room { world }
    }

    pub fn check(mut self) -> Result<(), String> {
        self.go_on(10 * SECOND_US);
        for _ in 0..200 {
            self.act();
            // What is on its way, and forgotten where it comes from, may lose there against something older.
            self.go_on(SETTLING_US);
        }
        for slave in 0..self.world.nodes.len() {
            let Some(master) = self.world.nodes[slave].master else {
                continue;
            };
            let [here, there] = [slave, master].map(|node| self.world.entries(node, WRITER));
            let mut both = here
                .iter()
                .filter_map(|(name, value)| Some((name, value, there.get(name)?)));
            if let Some((name, here, there)) = both.find(|(_, here, there)| here != there) {
                return Err(format!(
                    "nodes {slave} and {master} disagree about {name}: {here} and {there}"
                ));
            }
        }
        Ok(())
    }

    fn go_on(&mut self, for_us: u64) {
        let end_us = self.world.now_us + for_us;
        self.world.run_until(end_us, &mut |_, _| {});
    }

    fn act(&mut self) {
        let random = &mut self.world.random;
        let node = random.below(self.world.nodes.len() as u64) as usize;
        let (name, counter) = (random.below(30), random.below(6));
        let value = "v".repeat(random.pick(&[1, 20, 60, 200]));
        let number = random.below(1_000);
        let line = match random.below(100) {
            0 => "CLEARCACHE".to_owned(),
            1..10 => format!("REMOVE r{name}"),
            10..60 => format!("STORE r{name}={number}{value}"),
            60..85 => format!("INCREMENT c{counter}={number}"),
            85..90 => format!("STORE c{counter}={number}"),
            _ => format!("RETRIEVE c{counter}"),
        };
        self.world.say(node, WRITER, &line);
    }
}
