//! Trees of clacksd nodes whose entries expire, with clients of Clacks and of memcached that store, compare, append,
//! count, touch and remove, and with nodes that restart: no expired value is ever shown, no node shows a value for
//! longer than another one but by the difference of their clocks, none comes back, and none is gone early
//! (clacksd-memcached(7)).

use super::lifetimes::{Ledger, Lifetime, NEVER_US, Shown, is_counter};
use super::memcached::{CLIENTS, MEMCACHED};
use super::network::Saboteur;
use super::processes::Ending;
use super::server::Server;
use super::witness::WRITER;
use super::world::{Plan, Random, SECOND_US, World, any_tree};
use clacks::broker::Ageing;

/// Names of values, and of counters.
const NAMES: [&str; 7] = ["e0", "e1", "e2", "e3", "n0", "n1", "n2"];
const ROUNDS: usize = 8;
const ACTS: usize = 30;
/// Nobody is away for so long, but for the last time.
const DELETED_US: u64 = 600 * SECOND_US;
/// The most that clocks are off by.
const ERROR_US: u64 = SECOND_US;
/// The most that two nodes' ideas of the tree's time may be apart when it has settled: as their clocks may be.
const CLOCKS_US: u64 = 2 * ERROR_US;
/// Time to dial, through all of the tree, and to send everything.
const JOINING_US: u64 = 10 * SECOND_US;
/// Times to live, in seconds; 0 is for ever.
const TTLS_S: [i64; 8] = [0, 0, 2, 10, 30, 60, 120, -1];
/// An end that is so near that it can be waited for, and the time by which all nodes have heard of it.
const SOON_US: u64 = 3_500_000;
const SPREADING_US: u64 = 2 * SECOND_US;
/// An end that is later is not waited for.
const PATIENCE_US: u64 = 130 * SECOND_US;

/// A fault that a world has, for the test to see that it is noticed.
#[derive(Clone, Copy)]
pub enum Sabotage {
    Lines(Saboteur),
    /// A server that does something else with clients' requests: maps each to those that it follows instead.
    Requests(fn(&str) -> Vec<String>),
}

pub struct Expiring {
    world: World,
    ledger: Ledger,
    sabotage: Option<Sabotage>,
    fault: Option<String>,
}

impl Expiring {
    pub fn new(seed: u64, sabotage: Option<Sabotage>) -> Expiring {
        let mut random = Random(seed ^ 0xe4b);
        let nodes = 2 + random.below(4) as usize;
        let masters = any_tree(&mut random, nodes);
        let journals: Vec<bool> = (0..nodes).map(|_| random.one_in(2)).collect();
        let plan = Plan {
            masters: &masters,
            root_error_us: ERROR_US,
            error_us: ERROR_US,
            ageing: Some(Ageing {
                stale_us: Ageing::NEVER,
                deleted_us: DELETED_US,
            }),
            clean_interval_us: Some(random.pick(&[1, 10, 60]) * SECOND_US),
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
        for node in 0..nodes {
            for language in CLIENTS {
                world.add_client(node, language);
            }
        }
        Expiring {
            world,
            ledger: Ledger::new(nodes),
            sabotage,
            fault: None,
        }
    }

    pub fn check(mut self) -> Result<(), String> {
        self.go_on(JOINING_US);
        for round in 0..ROUNDS {
            self.ledger.is_lossy |= round == ROUNDS - 1;
            self.run_a_round();
            self.settle();
            if self.world.random.one_in(3) {
                self.restart_any_settled();
            }
            let rest_us = self.world.random.pick(&[0, 5, 20, 130]) * SECOND_US;
            self.go_on(rest_us);
            NAMES.iter().for_each(|name| self.check_agreement(name));
            for _ in 0..2 {
                self.watch_an_end();
            }
            if self.fault.is_some() {
                break;
            }
        }
        if let Some(what) = self.world.unjust_refusal(true) {
            self.blame(what);
        }
        self.fault.map_or(Ok(()), Err)
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

    fn any_name(&mut self) -> &'static str {
        self.world.random.pick(&NAMES)
    }

    fn nodes(&self) -> std::ops::Range<usize> {
        0..self.world.nodes.len()
    }

    /// The tree's time as a node knows it.
    fn tree_us(&self, node: usize) -> u64 {
        let now = self.world.time_of(node);
        match &self.world.nodes[node].server {
            Server::Clacksd(machine) => machine.core.broker.tree_time_us(now),
            Server::NetClacks(_) => unreachable!("all nodes are clacksd"),
        }
    }

    /// A client asks, and is answered at once.
    fn request(&mut self, node: usize, client: usize, request: &str) -> Vec<String> {
        let requests = match self.sabotage {
            Some(Sabotage::Requests(change)) => change(request),
            _ => vec![request.to_owned()],
        };
        let requests = requests.iter();
        requests
            .flat_map(|request| self.world.ask(node, client, request))
            .collect()
    }

    /// The line that answers a node's memcached client.
    fn answer(&mut self, node: usize, request: &str) -> String {
        let mut lines = self.request(node, MEMCACHED, request);
        assert_eq!(lines.len(), 1, "node {node} answers {request:?}: {lines:?}");
        lines.remove(0)
    }

    fn expect(&mut self, node: usize, request: &str, expected: &str) {
        let answer = self.answer(node, request);
        if answer != expected {
            let line = request.lines().next().unwrap_or_default();
            self.blame(format!(
                "node {node} answers {answer} to {line}, not {expected}"
            ));
        }
    }

    /// Some nodes are away meanwhile; the last time for long.
    fn run_a_round(&mut self) {
        for node in 1..self.world.nodes.len() {
            if self.world.random.one_in(3) {
                self.world.unreachable[node] = true;
                self.world.cut_uplink(node);
            }
        }
        let longest_us = self.world.random.pick(&[1, 2, 10]) * SECOND_US;
        for _ in 0..ACTS {
            let pause_us = self.world.random.below(longest_us);
            self.go_on(pause_us);
            self.act();
        }
        if self.ledger.is_lossy {
            self.go_on(DELETED_US * 3 / 2);
        }
    }

    fn act(&mut self) {
        let (node, name) = (self.world.any_node(), self.any_name());
        match self.world.random.below(100) {
            0..22 => self.put(node, name),
            22..30 => self.store(node, name),
            30..36 => self.compare_and_swap(node, name),
            36..52 if is_counter(name) => self.count(node, name),
            36..68 => self.touch(node, name),
            68..74 => self.remove(node, name),
            74..78 => self.world.cut_any(),
            78..82 => self.restart(node),
            82..88 => self.wait_for_an_end(node, name),
            _ => {
                self.observe(node, name);
            }
        }
    }

    /// A memcached client's exptime, and the lifetime that it stands for.
    fn any_exptime(&mut self, node: usize) -> (i64, u64) {
        let (tree_us, ttl_s) = (self.tree_us(node), self.world.random.pick(&TTLS_S));
        match ttl_s {
            0 => (0, NEVER_US),
            ..0 => (ttl_s, tree_us),
            _ if self.world.random.one_in(4) => {
                let at_s = tree_us / SECOND_US + ttl_s as u64;
                (at_s as i64, at_s * SECOND_US)
            }
            _ => (ttl_s, tree_us + ttl_s as u64 * SECOND_US),
        }
    }

    /// A memcached client stores a value, if what is there allows it.
    fn put(&mut self, node: usize, name: &str) {
        let held = self.observe(node, name);
        let (exptime, expires_us) = self.any_exptime(node);
        let commands = ["set", "set", "add", "replace", "append", "prepend", "ms"];
        let command = self.world.random.pick(&commands);
        let new = self.ledger.new_value(name);
        if let ("append" | "prepend", Some(held)) = (command, &held) {
            return match is_counter(name) {
                true => self.count_by_a_write(node, name, held),
                false => self.lengthen(node, name, held, command),
            };
        }
        let line = match command {
            "ms" => format!("ms {name} {} T{exptime} E{}", new.len(), self.world.now_us),
            _ => format!("{command} {name} 0 {exptime} {}", new.len()),
        };
        let is_stored = matches!(
            (command, held),
            ("set" | "ms", _) | ("add", None) | ("replace", Some(_))
        );
        let expected = match (is_stored, command) {
            (true, "ms") => "HD",
            (true, _) => "STORED",
            (false, _) => "NOT_STORED",
        };
        self.expect(node, &format!("{line}\r\n{new}\r"), expected);
        if is_stored {
            let lifetimes = vec![Lifetime::of_write(expires_us)];
            self.write(node, name, Some(new), lifetimes);
        }
    }

    /// A memcached client puts something before or behind a value, which keeps its expiry.
    fn lengthen(&mut self, node: usize, name: &str, held: &Shown, command: &str) {
        let new = self.ledger.new_value(name);
        let line = format!("{command} {name} 0 77 {}\r\n{new}\r", new.len());
        self.expect(node, &line, "STORED");
        let value = match command {
            "append" => format!("{}{new}", held.value),
            _ => format!("{new}{}", held.value),
        };
        self.write(node, name, Some(value), kept(held));
    }

    /// A memcached client counts in a way that is a write, which keeps the expiry.
    fn count_by_a_write(&mut self, node: usize, name: &str, held: &Shown) {
        let new = self.ledger.new_value(name);
        let number = |text: &str| text.parse::<u64>().expect("a counter");
        // A write that came by another node may have a greater number.
        let (mode, step) = match number(&new).checked_sub(number(&held.value)) {
            Some(step) => ("MI", step),
            None => ("MD", number(&held.value) - number(&new)),
        };
        let line = format!("ma {name} {mode} D{step} E{}", self.world.now_us);
        self.expect(node, &line, "HD");
        self.write(node, name, Some(new), kept(held));
    }

    /// A memcached client stores a value if it has not changed since the client saw it. A touch meanwhile is no change.
    fn compare_and_swap(&mut self, node: usize, name: &str) {
        let held = self.observe(node, name);
        let mut cas = self.world.gets(node, name).map_or(1, |shown| shown.cas);
        let has_changed = match self.world.random.below(4) {
            0 => {
                self.touch(node, name);
                false
            }
            1 if held.is_some() && is_counter(name) => {
                self.count(node, name);
                true
            }
            2 => {
                cas += 1;
                true
            }
            _ => false,
        };
        let is_there = self.observe(node, name).is_some();
        let (exptime, expires_us) = self.any_exptime(node);
        let new = self.ledger.new_value(name);
        let length = new.len();
        let (line, [stored, exists, not_found]) = match self.world.random.one_in(2) {
            true => (
                format!("cas {name} 0 {exptime} {length} {cas}"),
                ["STORED", "EXISTS", "NOT_FOUND"],
            ),
            false => (
                format!("ms {name} {length} T{exptime} C{cas}"),
                ["HD", "EX", "NF"],
            ),
        };
        let expected = match (is_there, has_changed) {
            (true, false) => stored,
            (true, true) => exists,
            (false, _) => not_found,
        };
        self.expect(node, &format!("{line}\r\n{new}\r"), expected);
        if expected == stored {
            let lifetimes = vec![Lifetime::of_write(expires_us)];
            self.write(node, name, Some(new), lifetimes);
        }
    }

    /// A Clacks client stores a value, which does not expire.
    fn store(&mut self, node: usize, name: &str) {
        self.observe(node, name);
        let new = self.ledger.new_value(name);
        self.request(node, WRITER, &format!("STORE {name}={new}"));
        let lifetimes = vec![Lifetime::of_write(NEVER_US)];
        self.write(node, name, Some(new), lifetimes);
    }

    fn remove(&mut self, node: usize, name: &str) {
        let is_there = self.observe(node, name).is_some();
        let (deleted, not_found) = match self.world.random.below(3) {
            0 => ("DELETED", "NOT_FOUND"),
            1 => ("HD", "NF"),
            _ => ("", ""),
        };
        let expected = if is_there { deleted } else { not_found };
        match deleted {
            "DELETED" => self.expect(node, &format!("delete {name}"), expected),
            "HD" => self.expect(node, &format!("md {name}"), expected),
            _ => {
                self.request(node, WRITER, &format!("REMOVE {name}"));
            }
        }
        self.write(node, name, None, Vec::new());
    }

    /// A client counts a counter that is there, which keeps its expiry.
    fn count(&mut self, node: usize, name: &str) {
        let held = self.observe(node, name);
        let step = 1 + self.world.random.below(9) as i64;
        let is_up = self.world.random.one_in(2);
        let sum = |held: &Shown| {
            let value: i64 = held.value.parse().expect("a counter");
            (value + if is_up { step } else { -step }).to_string()
        };
        match (self.world.random.below(3), &held) {
            (0, _) => {
                let verb = if is_up { "incr" } else { "decr" };
                let expected = held.as_ref().map_or("NOT_FOUND".to_owned(), sum);
                self.expect(node, &format!("{verb} {name} {step}"), &expected);
            }
            (1, _) => {
                let mode = if is_up { "MI" } else { "MD" };
                let expected = if held.is_some() { "HD" } else { "NF" };
                self.expect(node, &format!("ma {name} {mode} D{step}"), expected);
            }
            // Where nothing is, a Clacks client would begin a counter.
            (_, None) => return,
            _ => {
                let verb = if is_up { "INCREMENT" } else { "DECREMENT" };
                self.request(node, WRITER, &format!("{verb} {name}={step}"));
            }
        }
        if let Some(held) = held {
            self.ledger
                .count(held.write, if is_up { step } else { -step });
            let now_has = self.observe(node, name).map(|shown| shown.value);
            if now_has != Some(sum(&held)) {
                let had = &held.value;
                self.blame(format!("{name} counts {now_has:?} after {had} and {step}"));
            }
        }
    }

    fn touch(&mut self, node: usize, name: &str) {
        let held = self.observe(node, name);
        let (exptime, mut expires_us) = self.any_exptime(node);
        let line = match self.world.random.below(4) {
            0 => format!("touch {name} {exptime}"),
            1 => format!("gat {exptime} {name}"),
            2 => format!("mg {name} T{exptime}"),
            _ => {
                let after_us = self.world.random.pick(&[0, 1, 1_500_000, 20_250_000]);
                expires_us = self.expire(node, name, after_us);
                String::new()
            }
        };
        if !line.is_empty() {
            let answer = self.request(node, MEMCACHED, &line);
            let is_hit = !["NOT_FOUND", "END", "EN"].contains(&&*answer[0]);
            if is_hit != held.is_some() {
                self.blame(format!("node {node} answers {answer:?} to {line}"));
            }
        }
        if let Some(held) = held {
            let tree_us = self.tree_us(node);
            self.ledger.touch(node, &held, expires_us, tree_us);
            self.observe(node, name);
        }
    }

    /// A Clacks client sets an expiry, in seconds with decimals; 0: never. Returns it.
    fn expire(&mut self, node: usize, name: &str, after_us: u64) -> u64 {
        let (seconds, rest_us) = (after_us / SECOND_US, after_us % SECOND_US);
        let request = format!("EXPIRE {name}={seconds}.{rest_us:06}");
        self.request(node, WRITER, &request);
        match after_us {
            0 => NEVER_US,
            _ => self.tree_us(node) + after_us,
        }
    }

    /// A node with a journal ends in order and starts again: nothing is lost.
    fn restart(&mut self, node: usize) {
        if self.world.nodes[node].disk.is_some() {
            self.world.end_process(node, Ending::Orderly);
            let pause_us = self.world.random.below(20 * SECOND_US);
            self.go_on(pause_us);
            self.world.start_process(node, &CLIENTS);
        }
    }

    /// A node ends, in whatever way and with a journal or without, and starts again: the others have everything.
    fn restart_any_settled(&mut self) {
        let node = self.world.any_node();
        let endings = [Ending::Orderly, Ending::Kill, Ending::PowerCut];
        let how = self.world.random.pick(&endings);
        self.world.end_process(node, how);
        let pause_us = self.world.random.pick(&[1, 20, 100]) * SECOND_US;
        self.go_on(pause_us);
        self.world.start_process(node, &CLIENTS);
        self.go_on(JOINING_US);
    }

    fn write(&mut self, node: usize, name: &str, value: Option<String>, lifetimes: Vec<Lifetime>) {
        self.ledger.write(node, name, value, lifetimes);
        // The node shows it, and for as long.
        self.observe(node, name);
    }

    /// Looks at what a node shows of a name: its clients of both kinds are told the same, and it is right.
    fn observe(&mut self, node: usize, name: &str) -> Option<Shown> {
        let value = self.world.retrieve(node, WRITER, name);
        let lines = self.world.ask(node, MEMCACHED, &format!("mg {name} v t"));
        let ttl = self.world.ask(node, WRITER, &format!("TTL {name}"));
        let keys = self.world.ask(node, WRITER, &format!("KEYLIST {name}"));
        let told = lines.get(1).cloned();
        let is_listed = keys.contains(&format!("KEY {name}"));
        let is_dumped = self.is_dumped(node, name);
        if told != value || [is_listed, is_dumped] != [value.is_some(); 2] {
            self.blame(format!(
                "node {node} shows {value:?} of {name}, and {lines:?}, and lists {keys:?}, dumped: {is_dumped}"
            ));
        }
        let value = value?;
        let left = lines[0].split(" t").nth(1).unwrap_or_default();
        let left_s: i64 = left.parse().expect("the seconds that are left");
        if ttl != [format!("TTL {name}={left_s}")] {
            self.blame(format!(
                "node {node} shows {name} for {left_s} s, and {ttl:?}"
            ));
        }
        let tree_us = self.tree_us(node);
        let learnt = self.ledger.learn(node, name, &value, left_s, tree_us);
        match learnt {
            Ok(shown) => Some(shown),
            Err(what) => {
                self.blame(what);
                None
            }
        }
    }

    /// Reports whether the dumps of a node have a name.
    fn is_dumped(&mut self, node: usize, name: &str) -> bool {
        let metadata = self.world.ask(node, MEMCACHED, "lru_crawler metadump all");
        let items = self.world.ask(node, MEMCACHED, "stats cachedump 1 0");
        let has = |lines: &[String], start: &str| lines.iter().any(|line| line.starts_with(start));
        let in_dumps = [
            has(&metadata, &format!("key={name} ")),
            has(&items, &format!("ITEM {name} ")),
        ];
        if in_dumps[0] != in_dumps[1] {
            self.blame(format!("node {node} dumps {metadata:?} and {items:?}"));
        }
        in_dumps[0]
    }

    /// Looks at a name at all nodes a microsecond before a node is to show it no longer, and at that moment.
    fn wait_for_an_end(&mut self, node: usize, name: &str) {
        let end_us = |run: &mut Expiring| run.observe(node, name)?.lifetimes[0].end_us();
        let left_us = end_us(self).map(|end_us| end_us - self.tree_us(node));
        if let Some(left_us) = left_us.filter(|left_us| *left_us < 12 * SECOND_US) {
            for pause_us in [left_us - 1, 1, 1] {
                self.go_on(pause_us);
                for node in self.nodes() {
                    self.observe(node, name);
                }
            }
        }
    }

    /// Everything comes up.
    fn settle(&mut self) {
        self.world.unreachable.fill(false);
        self.go_on(JOINING_US);
    }

    /// All nodes show the same, each until the end of the same lifetime; and it may be what is shown.
    fn check_agreement(&mut self, name: &str) {
        let trees_us: Vec<u64> = self.nodes().map(|node| self.tree_us(node)).collect();
        let shown: Vec<_> = self.nodes().map(|node| self.observe(node, name)).collect();
        if let Err(what) = self.ledger.check_agreement(name, &shown, &trees_us) {
            self.blame(what);
        }
        let (first_us, last_us) = (trees_us.iter().min(), trees_us.iter().max());
        if first_us
            .zip(last_us)
            .is_none_or(|(first, last)| last - first > CLOCKS_US)
        {
            self.blame(format!("the tree's times are {trees_us:?}"));
        }
    }

    /// Watches a settled tree while an entry expires, at one node after the other, as their clocks get there. Perhaps a
    /// client has just said when.
    fn watch_an_end(&mut self) {
        let (node, name) = (self.world.any_node(), self.any_name());
        let Some(held) = self.observe(node, name) else {
            return;
        };
        if self.world.random.one_in(2) {
            let tree_us = self.tree_us(node);
            let expires_us = self.expire(node, name, SOON_US);
            self.ledger.touch(node, &held, expires_us, tree_us);
            self.go_on(SPREADING_US);
        }
        let Some(shown) = self.observe(node, name) else {
            return self.check_agreement(name);
        };
        let Some(end_us) = shown.lifetimes[0].end_us() else {
            return;
        };
        let now_us = self.world.now_us;
        let left = self
            .nodes()
            .map(|node| end_us.saturating_sub(self.tree_us(node)));
        let mut ends_us: Vec<u64> = left.map(|left_us| now_us + left_us).collect();
        ends_us.sort();
        if ends_us.iter().any(|at_us| *at_us > now_us + PATIENCE_US) {
            return;
        }
        for at_us in ends_us {
            for at_us in [at_us - 1, at_us] {
                self.go_on(at_us.saturating_sub(self.world.now_us));
                self.check_agreement(name);
            }
        }
    }
}

/// The lifetimes of a write that takes over those of an entry.
fn kept(held: &Shown) -> Vec<Lifetime> {
    let ends = held.lifetimes.iter().map(|lifetime| lifetime.end_us());
    ends.map(|end_us| Lifetime::of_write(end_us.unwrap_or(NEVER_US)))
        .collect()
}
