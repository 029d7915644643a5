//! Commands that clacksd and memcached get alike, and must answer alike. Each is followed by `mn`, and the next is sent
//! when that is answered, so that silence is noticed and memcached's padding depends on nothing else.
//!
//! `CLACKSD_SEEDS=n` takes n streams instead of a few, `CLACKSD_SEED=n` the one of that seed.

use super::compare::{SIDE_BY_SIDE_S, Versions, compare, key_name};
use super::generator::{CONNECTIONS, Command, Generator, Part};
use super::servers::Target;
use crate::support::{Conversation, Random};
use std::env;
use std::ops::Range;
use std::time::Instant;

/// Commands of a stream.
const COMMANDS: usize = 1000;
/// Streams of the tests.
const STREAMS: u64 = 8;
/// So many commands before a difference are printed.
const SHOWN: usize = 12;

/// A server with the connections of a stream.
struct Side<'a> {
    target: &'a Target,
    connections: Vec<Conversation>,
    versions: Versions,
}

impl<'a> Side<'a> {
    fn new(target: &'a Target) -> Side<'a> {
        target.clear();
        let connections = (0..CONNECTIONS).map(|_| target.connect(None, ""));
        Side {
            target,
            connections: connections.collect(),
            versions: Versions::default(),
        }
    }

    /// The bytes of a command for this server.
    fn bytes(&self, command: &Command) -> Vec<u8> {
        let key = key_name(command.key);
        let parts = command.parts.iter().map(|part| match part {
            Part::Bytes(bytes) => bytes.clone(),
            Part::Cas(back) => {
                let cas = self.versions.before_latest(key, *back);
                cas.to_string().into_bytes()
            }
        });
        parts.collect::<Vec<_>>().concat()
    }

    fn say(&mut self, command: &Command) {
        let mut bytes = self.bytes(command);
        bytes.extend(b"mn\r\n");
        self.connections[command.connection].say(&bytes);
    }

    /// The answer to the command without that to `mn`.
    fn hear(&mut self, command: &Command) -> Vec<u8> {
        self.connections[command.connection].until(b"MN\r\n")
    }
}

/// The answer that a server is known to have for a fault.
fn known<'a>(target: &Target, command: &'a Command) -> Option<&'a [u8]> {
    let fault = command.fault?;
    Some(match target.is_clacksd() {
        true => &fault.ours,
        false => &fault.theirs,
    })
}

/// A server, its answer to a command, and the cas numbers that it has named.
type Answer<'a> = (&'a Target, &'a [u8], &'a mut Versions);

/// Compares the answers of two servers with each other, which came at most so many seconds one after the other, or with
/// those that are known.
fn compare_answers(
    command: &Command,
    apart_s: i64,
    ours: Answer<'_>,
    theirs: Answer<'_>,
) -> Result<(), String> {
    let Some(fault) = command.fault else {
        return compare(command.key, apart_s, (ours.1, ours.2), (theirs.1, theirs.2));
    };
    let is_known = |(target, answer, _): &Answer<'_>| known(target, command) == Some(*answer);
    match is_known(&ours) && is_known(&theirs) {
        true => Ok(()),
        false => Err(format!("not as known: {}", fault.title)),
    }
}

/// Sends a stream to both servers. An error tells the first difference, and what was sent before it.
fn differences(seed: u64, ours: &Target, theirs: &Target) -> Result<(), String> {
    let mut generator = Generator::new(seed);
    let (mut ours, mut theirs) = (Side::new(ours), Side::new(theirs));
    let mut sent: Vec<String> = Vec::new();
    for number in 0..COMMANDS {
        let command = generator.command();
        sent.push(shown(&ours.bytes(&command)));
        ours.say(&command);
        theirs.say(&command);
        let answers = (ours.hear(&command), theirs.hear(&command));
        let compared = compare_answers(
            &command,
            SIDE_BY_SIDE_S,
            (ours.target, &answers.0, &mut ours.versions),
            (theirs.target, &answers.1, &mut theirs.versions),
        );
        if let Err(why) = compared {
            let before = &sent[sent.len().saturating_sub(SHOWN)..];
            let (one, other) = (answers.0.escape_ascii(), answers.1.escape_ascii());
            return Err(format!(
                "seed {seed}, command {number}, connection {}:\n{}\n{}: \"{one}\"\n{}: \"{other}\"\n{why}\n",
                command.connection,
                before.join("\n"),
                ours.target.name,
                theirs.target.name,
            ));
        }
    }
    Ok(())
}

/// A command as a difference prints it.
fn shown(bytes: &[u8]) -> String {
    let text = bytes.escape_ascii().to_string();
    text.replace(&"k".repeat(250), "K")
}

fn number_of(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().expect("a number in the environment"))
}

/// The seeds that the environment asks for, or the first few.
fn seeds() -> Range<u64> {
    match number_of("CLACKSD_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number_of("CLACKSD_SEEDS").unwrap_or(STREAMS),
    }
}

#[test]
fn clacksd_answers_as_memcached_does() {
    let (ours, theirs) = (Target::clacksd(), Target::memcached());
    for seed in seeds() {
        if let Err(difference) = differences(seed, &ours, &theirs) {
            panic!("{difference}");
        }
    }
}

/// Commands that are sent without waiting for answers to memcached: it reads no more while many of these wait.
const AT_ONCE: usize = 50;

/// A stream to one connection, in pieces of random lengths that have nothing to do with the commands. Answers are waited
/// for after so many commands. Returns all of them.
fn pipelined(seed: u64, commands: &[Command], at_once: usize, target: &Target) -> Vec<u8> {
    let mut side = Side::new(target);
    let mut connection = side.connections.remove(0);
    let mut random = Random::new(seed);
    let mut answers = Vec::new();
    for commands in commands.chunks(at_once) {
        let mut bytes = Vec::new();
        for command in commands {
            bytes.extend(side.bytes(command));
            bytes.extend(b"mn\r\n");
        }
        say_in_pieces(&mut connection, &bytes, &mut random);
        while memchr::memmem::find_iter(&connection.came, b"MN\r\n").count() < commands.len() {
            assert!(!connection.is_closed && connection.wait(), "no answer");
        }
        answers.append(&mut connection.came);
    }
    answers.extend(connection.end());
    answers
}

fn say_in_pieces(connection: &mut Conversation, bytes: &[u8], random: &mut Random) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let length = match random.below(4) {
            0 => 1 + random.below(3),
            1 => 1 + random.below(5000),
            _ => 1 + random.below(100),
        };
        let (piece, others) = rest.split_at(length.min(rest.len()));
        connection.say_alone(piece);
        rest = others;
    }
}

/// The commands of a stream that can be sent without waiting for answers, all from one connection.
fn blind_commands(seed: u64) -> Vec<Command> {
    let mut generator = Generator::new(seed);
    generator.is_blind = true;
    let commands = (0..COMMANDS).map(|_| Command {
        connection: 0,
        ..generator.command()
    });
    commands.collect()
}

/// The seconds since then, rounded up: the most by which the clocks of two servers' answers differ.
fn seconds_since(start: Instant) -> i64 {
    start.elapsed().as_secs() as i64 + SIDE_BY_SIDE_S
}

/// Takes the answer to the next command, without that to `mn`.
fn next_answer<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let end = memchr::memmem::find(rest, b"MN\r\n").expect("an answer for each command");
    let (answer, others) = rest.split_at(end);
    *rest = &others[b"MN\r\n".len()..];
    answer
}

#[test]
fn clacksd_answers_commands_in_pieces_and_together_as_memcached_does() {
    let (ours, theirs) = (Target::clacksd(), Target::memcached());
    for seed in seeds() {
        let commands = blind_commands(seed);
        let start = Instant::now();
        let answers = [&ours, &theirs].map(|target| pipelined(seed, &commands, AT_ONCE, target));
        let apart_s = seconds_since(start);
        let [mut our_rest, mut their_rest] = [&answers[0][..], &answers[1][..]];
        let (mut one, mut other) = (Versions::default(), Versions::default());
        for (number, command) in commands.iter().enumerate() {
            let (our_answer, their_answer) =
                (next_answer(&mut our_rest), next_answer(&mut their_rest));
            let compared = compare_answers(
                command,
                apart_s,
                (&ours, our_answer, &mut one),
                (&theirs, their_answer, &mut other),
            );
            let place = format!("seed {seed}, command {number}: {command:?}");
            compared.unwrap_or_else(|why| panic!("{place}: {why}"));
        }
        assert!(our_rest.is_empty() && their_rest.is_empty());
    }
}

#[test]
fn commands_in_pieces_and_together_get_the_answers_of_each_alone() {
    let target = Target::clacksd();
    for seed in seeds() {
        let commands = blind_commands(seed);
        let start = Instant::now();
        let mut alone = Side::new(&target);
        let mut answers = Vec::new();
        for command in &commands {
            alone.say(command);
            answers.push(alone.hear(command));
        }
        let together = pipelined(seed, &commands, COMMANDS, &target);
        let apart_s = seconds_since(start);
        let mut rest = &together[..];
        let (mut one, mut other) = (Versions::default(), Versions::default());
        for (command, answer) in commands.iter().zip(answers) {
            let in_pieces = next_answer(&mut rest);
            let (answer, in_pieces) = ((&answer[..], &mut one), (in_pieces, &mut other));
            let compared = compare(command.key, apart_s, answer, in_pieces);
            let place = shown(&alone.bytes(command));
            compared.unwrap_or_else(|why| panic!("seed {seed}, {place}: {why}"));
        }
        assert!(rest.is_empty(), "{}", rest.escape_ascii());
    }
}

/// The known answers and the comparison are right where there is nothing to compare.
#[test]
fn two_memcacheds_answer_alike() {
    let (one, other) = (Target::memcached(), Target::memcached());
    for seed in 0..2 {
        if let Err(difference) = differences(seed, &one, &other) {
            panic!("{difference}");
        }
    }
}
