//! All clients at once on one server.

use super::Program;
use crate::nats::servers::{Clacksd, Entry, NatsServer, Version};
use crate::support::Running;
use std::collections::BTreeMap;
use std::io::Write;

/// Messages that each client publishes.
const EACH: usize = 20;

struct Crowd(Vec<(Program, Running)>);

impl Crowd {
    /// Starts all clients, which expect messages of each other and of so many others.
    fn start(port: u16, others: usize) -> Crowd {
        let programs = Program::all();
        let senders = programs.len() + others;
        let clients = programs.into_iter().map(|program| {
            let mut command = program.command(port, &["crowd"]);
            command.env("NATS_NAME", program.name);
            command.env("NATS_SENDERS", senders.to_string());
            let running = Running::start(&mut command);
            (program, running)
        });
        let crowd = Crowd(clients.collect());
        crowd.wait_for("ready");
        crowd
    }

    fn wait_for(&self, word: &str) {
        for (program, running) in &self.0 {
            let line = running.next_line();
            assert_eq!(line, Some(format!("crowd: {word}")), "{}", program.name);
        }
    }

    fn say(&mut self, line: &str) {
        for (_, running) in &mut self.0 {
            let stdin = running.stdin.as_mut().expect("it is taken by nobody");
            writeln!(stdin, "{line}").expect("it reads");
        }
    }

    /// Every client must have all messages once, in the order of each sender, and together they must have each message of
    /// their group once.
    fn check(mut self, names: &[&str]) {
        self.wait_for("all");
        self.say("stop");
        let mut of_group = Vec::new();
        for (program, running) in &mut self.0 {
            let lines = running.rest();
            assert!(running.wait().success(), "{}", program.name);
            let of = |kind: &str| -> Vec<String> {
                let start = format!("crowd: {kind} ");
                let found = lines.iter().filter_map(|line| line.strip_prefix(&start));
                found.map(str::to_owned).collect()
            };
            assert_eq!(by_sender(&of("plain")), expected(names), "{}", program.name);
            of_group.extend(of("group"));
        }
        let mut together = by_sender(&of_group);
        for numbers in together.values_mut() {
            numbers.sort();
        }
        assert_eq!(together, expected(names));
    }
}

fn expected<'a>(names: &[&'a str]) -> BTreeMap<&'a str, Vec<usize>> {
    let all = names.iter().map(|name| (*name, (0..EACH).collect()));
    all.collect()
}

/// The numbers of messages, by sender, in the order in which they came.
fn by_sender(messages: &[String]) -> BTreeMap<&str, Vec<usize>> {
    let mut numbers = BTreeMap::<&str, Vec<usize>>::new();
    for message in messages {
        let (name, number) = message.split_once(' ').expect("a name and a number");
        let number = number.parse().expect("a number");
        numbers.entry(name).or_default().push(number);
    }
    numbers
}

fn names() -> Vec<&'static str> {
    Program::all().iter().map(|program| program.name).collect()
}

#[test]
fn each_message_reaches_every_subscription_and_one_member_of_nats_server() {
    let names = names();
    for version in Version::ALL {
        let server = NatsServer::start(version, Entry::Free);
        let mut crowd = Crowd::start(server.port, 0);
        crowd.say("go");
        crowd.check(&names);
    }
}

/// A Clacks client is in the middle of them.
#[test]
fn each_message_reaches_every_subscription_and_one_member() {
    let mut names = names();
    let server = Clacksd::start(Entry::Free);
    let mut crowd = Crowd::start(server.port, 1);
    let mut clacks = server.server.client("rw");
    for name in &names {
        clacks.send(&format!("LISTEN crowd::{name}"));
    }
    clacks.flush();
    crowd.say("go");
    for number in 0..EACH {
        clacks.send(&format!("SET crowd::clacks=clacks {number}"));
    }
    let heard = names.clone();
    names.push("clacks");
    crowd.check(&names);
    let signals = clacks.flush();
    let values: Vec<String> = signals
        .iter()
        .filter_map(|line| Some(line.split_once('=')?.1.to_owned()))
        .collect();
    assert_eq!(by_sender(&values), expected(&heard));
}
