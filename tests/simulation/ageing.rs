//! Trees of clacksd nodes over hours and days, with the usual ageing: whether they judge all ages by
//! one clock, the tree's, whatever their own ones show.

use super::witness::WRITER;
use super::world::{Plan, Random, SECOND_US, World};
use clacks::broker::Ageing;
use clacks::protocol::Language;
use std::collections::{BTreeMap, BTreeSet};

const STALE_US: u64 = 86_400 * SECOND_US;
/// A short one, where links stay up all the time.
const SHORT_STALE_US: u64 = 7_200 * SECOND_US;
const DELETED_US: u64 = 3_600 * SECOND_US;
/// To dial again, and to tell everything.
const JOINING_US: u64 = 100 * SECOND_US;
/// Time allowed for sweeping, for the drift of clocks and for the way through the tree.
const SLACK_US: u64 = 300 * SECOND_US;

pub struct Ages {
    world: World,
    /// How far two nodes' ideas of the tree's time may be apart: the root's clock is set now and
    /// then, and is followed only by those who connect.
    spread_us: u64,
    stale_us: u64,
    /// Names that a node has seen removed, by node.
    gone: BTreeMap<usize, BTreeSet<String>>,
    names: u64,
    fault: Option<String>,
}

impl Ages {
    pub fn new(seed: u64) -> Ages {
        let mut random = Random(seed ^ 0xa9e);
        let nodes = 2 + random.below(4) as usize;
        // Deep rather than wide.
        let masters: Vec<Option<usize>> = (0..nodes)
            .map(|node| (node > 0).then(|| node - 1 - random.below(2.min(node as u64)) as usize))
            .collect();
        let (root_error_us, error_us) = random.pick(
            &[(0, 3520), (0, 3520), (700, 700)]
                .map(|(root, others): (u64, u64)| (root * SECOND_US, others * SECOND_US)),
        );
        let stale_us = random.pick(&[STALE_US, SHORT_STALE_US]);
        let plan = Plan {
            masters: &masters,
            root_error_us,
            error_us,
            ageing: Some(Ageing {
                stale_us,
                deleted_us: DELETED_US,
            }),
            reconnect_us: 30 * SECOND_US,
            ..Plan::default()
        };
        let mut world = World::new(seed, &plan, None);
        for node in 0..nodes {
            world.add_client(node, Language::Clacks);
            // Some masters find their own master only after they have been found.
            world.unreachable[node] = random.one_in(3);
        }
        Ages {
            world,
            spread_us: 2 * root_error_us,
            stale_us,
            gone: BTreeMap::new(),
            names: 0,
            fault: None,
        }
    }

    pub fn check(mut self) -> Result<(), String> {
        self.go_on(SECOND_US);
        self.join_all();
        for _ in 0..2 {
            self.remove_while_some_are_away();
            self.check_agreement();
        }
        if self.stale_us == STALE_US {
            self.let_entries_go_stale();
        } else {
            self.use_what_is_stale_elsewhere();
        }
        if let Some(what) = self.world.unjust_refusal(true) {
            self.blame(what);
        }
        self.fault.map_or(Ok(()), Err)
    }

    fn blame(&mut self, what: String) {
        self.fault.get_or_insert(what);
    }

    /// Watches meanwhile that what was removed stays so, wherever that is known.
    fn go_on(&mut self, for_us: u64) {
        let end_us = self.world.now_us + for_us;
        let Ages {
            world, gone, fault, ..
        } = self;
        world.run_until(end_us, &mut |world, node| {
            for name in gone.get(&node).into_iter().flatten() {
                if world.retrieve(node, WRITER, name).is_some() {
                    fault.get_or_insert(format!(
                        "{name} was removed, and is back at node {node} at {} us",
                        world.now_us
                    ));
                }
            }
        });
    }

    fn join_all(&mut self) {
        self.world.unreachable.fill(false);
        self.go_on(JOINING_US);
    }

    fn any_node(&mut self) -> usize {
        self.world.random.below(self.world.nodes.len() as u64) as usize
    }

    fn store(&mut self) -> String {
        let node = self.any_node();
        self.names += 1;
        let name = format!("name{}", self.names);
        self.world.say(node, WRITER, &format!("STORE {name}=1"));
        name
    }

    /// For less than the deleted time: they come back with what was removed meanwhile.
    fn remove_while_some_are_away(&mut self) {
        let names: Vec<String> = (0..4).map(|_| self.store()).collect();
        self.go_on(10 * SECOND_US);
        let nodes = self.world.nodes.len();
        for node in 1..nodes {
            if self.world.random.one_in(2) {
                self.world.unreachable[node] = true;
                self.world.cut_uplink(node);
            }
        }
        let node = self.any_node();
        let is_clear = self.world.random.one_in(4);
        let lines = if is_clear {
            vec!["CLEARCACHE".to_owned()]
        } else {
            names.iter().map(|name| format!("REMOVE {name}")).collect()
        };
        for line in lines {
            self.world.say(node, WRITER, &line);
        }
        self.go_on(10 * SECOND_US);
        for node in 0..nodes {
            for name in &names {
                if self.world.retrieve(node, WRITER, name).is_none() {
                    self.gone.entry(node).or_default().insert(name.clone());
                }
            }
        }
        let longest_us = DELETED_US - self.spread_us - SLACK_US - JOINING_US;
        let away_us = self.world.random.below(longest_us);
        for _ in 0..3 {
            self.go_on(away_us / 3);
            let node = self.any_node();
            self.world.set_clock(node);
        }
        self.join_all();
        for node in 0..nodes {
            for name in &names {
                if self.world.retrieve(node, WRITER, name).is_some() {
                    self.blame(format!("{name} was removed, and is still at node {node}"));
                }
            }
        }
        self.gone.clear();
    }

    fn check_agreement(&mut self) {
        let all: Vec<usize> = (0..self.world.nodes.len()).collect();
        if let Some(what) = self.world.disagreement(&all, WRITER) {
            self.blame(what);
        }
    }

    /// Everybody forgets an entry after the stale time, a day, and nobody earlier.
    fn let_entries_go_stale(&mut self) {
        let names: BTreeSet<String> = (0..4).map(|_| self.store()).collect();
        self.go_on(10 * SECOND_US);
        // A day of PINGs would show nothing more.
        for node in 0..self.world.nodes.len() {
            self.world.unreachable[node] = true;
            self.world.cut_uplink(node);
        }
        let early_us = self.spread_us + SLACK_US;
        self.go_on(self.stale_us - early_us);
        self.check_kept(&names, true);
        let node = self.any_node();
        self.world.set_clock(node);
        self.go_on(early_us + self.spread_us + SLACK_US);
        self.check_kept(&names, false);
    }

    /// Where an entry is used, it stays, while others forget it; they take an older one from a node
    /// that was away, until they are told better.
    fn use_what_is_stale_elsewhere(&mut self) {
        let nodes = self.world.nodes.len();
        let away = 1 + self.world.random.below(nodes as u64 - 1) as usize;
        // A node above or beside it.
        let keeper = self.world.random.below(away as u64) as usize;
        self.world.say(away, WRITER, "STORE kept=older");
        self.go_on(10 * SECOND_US);
        self.world.unreachable[away] = true;
        self.world.cut_uplink(away);
        self.world.say(keeper, WRITER, "STORE kept=newer");
        self.go_on(self.stale_us / 10 * 7);
        for node in [away, keeper] {
            self.world.retrieve(node, WRITER, "kept");
        }
        self.go_on(self.stale_us / 10 * 6);
        self.join_all();
        for node in 0..nodes {
            let found = self.world.retrieve(node, WRITER, "kept");
            let must_have = node == away || node == keeper;
            if found.as_deref() == Some("older") || (must_have && found.is_none()) {
                self.blame(format!(
                    "node {node} has {found:?}, kept at {keeper} while {away} was away"
                ));
            }
        }
    }

    /// By the lists: being asked for would keep them.
    fn check_kept(&mut self, names: &BTreeSet<String>, is_kept: bool) {
        for node in 0..self.world.nodes.len() {
            let keys = self.world.keys(node, WRITER);
            if let Some(name) = names.iter().find(|name| keys.contains(*name) != is_kept) {
                self.blame(format!(
                    "{name} at node {node}: kept should be {is_kept} at {} us",
                    self.world.now_us
                ));
            }
        }
    }
}
