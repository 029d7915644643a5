//! Commands that clacksd and nats-server get alike, and must answer alike. Each command is followed by PING, and when that
//! is answered by PING on all other connections, so that silence is noticed.
//!
//! `CLACKSD_SEEDS=n` takes n streams instead of a few, `CLACKSD_SEED=n` the one of that seed.

use super::compare::{Heard, compare};
use super::frames::{Frame, Message, take_all};
use super::generator::{CONNECTIONS, Command, Generator, Range};
use super::servers::Version;
use super::target::{Login, Target};
use crate::support::{Conversation, Random};
use std::env;

/// Commands of a stream.
const COMMANDS: usize = 1000;
/// Streams of the tests.
const STREAMS: u64 = 8;
/// So many commands before a difference are printed.
const SHOWN: usize = 25;
/// Nobody is closed for being slow to log in.
const TIME_TO_LOG_IN: &str = "300";

/// Changes something in what a connection has heard, and returns true; or finds nothing that it could change.
type Spoiler = fn(&mut Heard) -> bool;

/// A server with the connections of a stream.
struct Side<'a> {
    target: &'a Target,
    connections: Vec<Conversation>,
    /// Taken away when it has changed something.
    spoiler: Option<Spoiler>,
}

impl<'a> Side<'a> {
    fn new(target: &'a Target) -> Side<'a> {
        let connections = (0..CONNECTIONS).map(|_| target.connect_bare());
        Side {
            target,
            connections: connections.collect(),
            spoiler: None,
        }
    }

    fn say(&mut self, connection: usize, bytes: &[u8]) {
        self.connections[connection].say(bytes);
    }

    /// Returns what comes up to so many PONGs, or to the end of the connection.
    fn hear(&mut self, connection: usize, pongs: usize) -> Result<Heard, String> {
        let conversation = &mut self.connections[connection];
        let mut heard = Heard::default();
        loop {
            heard.frames.extend(take_all(&mut conversation.came));
            let is_pong = |frame: &&Frame| **frame == Frame::Line(b"PONG".to_vec());
            let is_complete = heard.frames.iter().filter(is_pong).count() >= pongs;
            if is_complete || conversation.is_closed {
                break;
            }
            if !conversation.wait() {
                return Err(format!("no PONG: {}, {heard:?}", self.target.name));
            }
        }
        heard.is_closed = conversation.is_closed;
        let came = &mut conversation.came;
        if heard.is_closed && !came.is_empty() {
            let rest = std::mem::take(came);
            heard.frames.push(Frame::Line(rest));
        }
        if self.spoiler.is_some_and(|spoiler| spoiler(&mut heard)) {
            self.spoiler = None;
        }
        Ok(heard)
    }

    /// Another connection in place of one that was closed.
    fn begin_anew(&mut self, connection: usize) {
        self.connections[connection] = self.target.connect_bare();
    }
}

/// The streams of a seed. Every other one has users with different permissions.
fn range_of(seed: u64, is_for_old: bool) -> Range {
    Range {
        has_users: seed % 2 == 1,
        is_for_old,
        closes: true,
    }
}

/// The frames of all connections, of both sides.
type Answers = (Vec<Heard>, Vec<Heard>);

/// Sends a command to both sides and waits until every connection has its answers.
fn exchange(
    command: &Command,
    generator: &Generator,
    ours: &mut Side<'_>,
    theirs: &mut Side<'_>,
) -> Result<Answers, String> {
    let Command {
        connection,
        bytes,
        pings,
    } = command;
    let with_ping = [&bytes[..], b"PING\r\n"].concat();
    ours.say(*connection, &with_ping);
    theirs.say(*connection, &with_ping);
    let mut answers = (
        vec![Heard::default(); CONNECTIONS],
        vec![Heard::default(); CONNECTIONS],
    );
    answers.0[*connection] = ours.hear(*connection, pings + 1)?;
    answers.1[*connection] = theirs.hear(*connection, pings + 1)?;
    let others = (0..CONNECTIONS).filter(|other| other != connection && generator.may_ping(*other));
    let others: Vec<usize> = others.collect();
    for other in &others {
        ours.say(*other, b"PING\r\n");
        theirs.say(*other, b"PING\r\n");
    }
    for other in others {
        answers.0[other] = ours.hear(other, 1)?;
        answers.1[other] = theirs.hear(other, 1)?;
    }
    Ok(answers)
}

/// Sends a stream to both sides. An error tells the first difference, and what was sent before it.
fn compare_sides(
    seed: u64,
    range: Range,
    ours: &mut Side<'_>,
    theirs: &mut Side<'_>,
) -> Result<(), String> {
    let mut generator = Generator::new(seed, range);
    let mut sent: Vec<String> = Vec::new();
    for number in 0..COMMANDS {
        let command = generator.command();
        sent.push(format!(
            "{}: {}",
            command.connection,
            command.bytes.escape_ascii()
        ));
        let compared = exchange(&command, &generator, ours, theirs).and_then(|answers| {
            compare(&generator.said, command.connection, &answers.0, &answers.1)?;
            Ok(answers)
        });
        let answers = compared.map_err(|why| {
            let before = &sent[sent.len().saturating_sub(SHOWN)..];
            format!(
                "seed {seed}, command {number}:\n{}\n{} and {}:\n{why}\n",
                before.join("\n"),
                ours.target.name,
                theirs.target.name,
            )
        })?;
        for (connection, heard) in answers.0.iter().enumerate() {
            if heard.is_closed {
                generator.begin_anew(connection);
                ours.begin_anew(connection);
                theirs.begin_anew(connection);
            }
        }
    }
    Ok(())
}

fn number_of(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().expect("a number in the environment"))
}

/// The seeds that the environment asks for, or the first few.
fn seeds() -> std::ops::Range<u64> {
    match number_of("CLACKSD_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number_of("CLACKSD_SEEDS").unwrap_or(STREAMS),
    }
}

/// Servers of one kind, without and with users.
struct Pair([Target; 2]);

impl Pair {
    fn clacksd() -> Pair {
        let flags = ["--auth-timeout", TIME_TO_LOG_IN];
        let start = |login| Target::clacksd_with(login, &flags);
        Pair([start(Login::Optional), start(Login::Needed)])
    }

    fn nats_server(version: Version) -> Pair {
        let timeout = format!("timeout: {TIME_TO_LOG_IN}");
        Pair([
            Target::open_nats_server(version, ""),
            Target::nats_server_with(version, Login::Needed, &timeout),
        ])
    }

    fn of(&self, range: Range) -> &Target {
        &self.0[usize::from(range.has_users)]
    }
}

fn assert_alike(seeds: std::ops::Range<u64>, is_for_old: bool, ours: &Pair, theirs: &Pair) {
    for seed in seeds {
        let range = range_of(seed, is_for_old);
        let (mut one, mut other) = (Side::new(ours.of(range)), Side::new(theirs.of(range)));
        if let Err(difference) = compare_sides(seed, range, &mut one, &mut other) {
            panic!("{difference}");
        }
    }
}

#[test]
fn clacksd_answers_as_nats_server_does() {
    let theirs = Pair::nats_server(Version::Debian);
    assert_alike(seeds(), true, &Pair::clacksd(), &theirs);
}

#[test]
fn clacksd_answers_as_the_newest_nats_server_does() {
    let theirs = Pair::nats_server(Version::Newer);
    assert_alike(seeds(), false, &Pair::clacksd(), &theirs);
}

/// The comparison and the generator's knowledge are right where there is nothing to compare.
#[test]
fn two_nats_servers_answer_alike() {
    let (one, other) = (
        Pair::nats_server(Version::Debian),
        Pair::nats_server(Version::Debian),
    );
    assert_alike(0..2, true, &one, &other);
}

#[test]
fn nats_servers_of_different_versions_answer_alike() {
    let (one, other) = (
        Pair::nats_server(Version::Debian),
        Pair::nats_server(Version::Newer),
    );
    assert_alike(seeds(), false, &one, &other);
}

/// The first message that is of one subscription alone.
fn message(heard: &mut Heard) -> Option<&mut Message> {
    heard.frames.iter_mut().find_map(|frame| match frame {
        Frame::Message(message)
            if !message.sid.starts_with(b"g") && !message.sid.starts_with(b"h") =>
        {
            Some(message)
        }
        _ => None,
    })
}

/// The first message to a member of a group.
fn message_to_group(heard: &mut Heard) -> Option<&mut Message> {
    heard.frames.iter_mut().find_map(|frame| match frame {
        Frame::Message(message) if message.sid.starts_with(b"g") => Some(message),
        _ => None,
    })
}

/// Removes the first frame that is meant.
fn remove(heard: &mut Heard, is_meant: impl Fn(&Frame) -> bool) -> bool {
    let place = heard.frames.iter().position(is_meant);
    place.map(|place| heard.frames.remove(place)).is_some()
}

/// Faults that a server could have, each once in a stream.
const SPOILERS: [(&str, Spoiler); 12] = [
    ("a message is lost", |heard| {
        remove(heard, |frame| matches!(frame, Frame::Message(_)))
    }),
    ("a message comes twice", |heard| {
        let is_message = |frame: &&Frame| matches!(frame, Frame::Message(_));
        let found = heard.frames.iter().find(is_message).cloned();
        heard.frames.extend(found.clone());
        found.is_some()
    }),
    ("a payload is changed", |heard| {
        message(heard)
            .map(|message| message.payload.push(b'x'))
            .is_some()
    }),
    ("a message has another subject", |heard| {
        message(heard)
            .map(|message| message.subject.push(b'x'))
            .is_some()
    }),
    ("a message goes to another subscription", |heard| {
        message(heard)
            .map(|message| message.sid.push(b'1'))
            .is_some()
    }),
    ("a reply is lost", |heard| {
        message(heard)
            .and_then(|message| message.reply.take())
            .is_some()
    }),
    ("a header is lost", |heard| {
        message(heard)
            .and_then(|message| message.header.take())
            .is_some()
    }),
    ("somebody who is no member gets the message", |heard| {
        let found = message_to_group(heard);
        found.map(|message| message.sid = b"g9".to_vec()).is_some()
    }),
    ("a message to a group is changed", |heard| {
        let found = message_to_group(heard);
        found.map(|message| message.payload.push(b'x')).is_some()
    }),
    ("a confirmation is lost", |heard| {
        remove(heard, |frame| *frame == Frame::Line(b"+OK".to_vec()))
    }),
    ("an error is lost", |heard| {
        remove(
            heard,
            |frame| matches!(frame, Frame::Line(line) if line.starts_with(b"-ERR")),
        )
    }),
    ("messages come in another order", |heard| {
        let frames = heard.frames.clone();
        let sid = |frame: &Frame| match frame {
            Frame::Message(message) if message.sid[0].is_ascii_digit() => Some(message.sid.clone()),
            _ => None,
        };
        let same = |pair: &[Frame]| {
            let sids = (sid(&pair[0]), sid(&pair[1]));
            pair[0] != pair[1] && sids.0.is_some() && sids.0 == sids.1
        };
        let place = frames.windows(2).position(same);
        place
            .map(|place| heard.frames.swap(place, place + 1))
            .is_some()
    }),
];

#[test]
fn a_disturbed_stream_is_noticed() {
    let (one, other) = (
        Pair::nats_server(Version::Debian),
        Pair::nats_server(Version::Debian),
    );
    for (fault, spoiler) in SPOILERS {
        let range = range_of(0, true);
        let (mut ours, mut theirs) = (Side::new(one.of(range)), Side::new(other.of(range)));
        theirs.spoiler = Some(spoiler);
        let compared = compare_sides(0, range, &mut ours, &mut theirs);
        assert!(
            theirs.spoiler.is_none(),
            "nothing to try this with: {fault}"
        );
        assert!(compared.is_err(), "not noticed: {fault}");
    }
}

/// Messages to a group whose members are three connections, one of which is in it twice.
fn shares(target: &Target) -> [usize; 4] {
    const MESSAGES: usize = 4000;
    let mut members: Vec<Conversation> = (0..3).map(|_| target.connect_quietly()).collect();
    let subscriptions: [&[u8]; 3] = [
        b"SUB a.* q 0\r\n",
        b"SUB a.> q 1\r\n",
        b"SUB a.b q 2\r\nSUB *.b q 3\r\n",
    ];
    for (member, subscription) in members.iter_mut().zip(subscriptions) {
        target.ask(member, subscription);
    }
    let mut publisher = target.connect_quietly();
    target.ask(&mut publisher, &b"PUB a.b 1\r\nx\r\n".repeat(MESSAGES));
    let mut shares = [0; 4];
    for member in &mut members {
        let mut came = target.ask(member, b"");
        for frame in take_all(&mut came) {
            let Frame::Message(message) = frame else {
                panic!("{frame:?}");
            };
            shares[usize::from(message.sid[0] - b'0')] += 1;
        }
    }
    assert_eq!(shares.iter().sum::<usize>(), MESSAGES, "{shares:?}");
    shares
}

/// Each of four subscriptions gets a quarter. The standard deviation is 27.
fn assert_even(target: &Target) {
    let shares = shares(target);
    let is_even = shares.iter().all(|share| (820..=1180).contains(share));
    assert!(is_even, "{}: {shares:?}", target.name);
}

#[test]
fn members_of_a_group_get_equal_shares() {
    assert_even(&Target::clacksd(Login::Optional));
}

#[test]
fn members_of_a_group_get_equal_shares_from_nats_server() {
    assert_even(&Target::open_nats_server(Version::Debian, ""));
}

/// Commands to one connection, in pieces of random lengths, without waiting for answers.
fn pipelined(seed: u64, commands: &[Command], target: &Target) -> Vec<Frame> {
    let mut connection = target.connect_bare();
    let mut bytes = Vec::new();
    for command in commands {
        bytes.extend(&command.bytes);
        bytes.extend(b"PING\r\n");
    }
    let mut random = Random::new(seed);
    let mut rest = &bytes[..];
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
    let mut came = connection.end();
    let frames = take_all(&mut came);
    assert!(came.is_empty(), "{}", came.escape_ascii());
    frames
}

#[test]
fn commands_in_pieces_and_together_get_the_answers_of_each_alone() {
    let target = Target::clacksd(Login::Optional);
    let range = Range {
        has_users: false,
        is_for_old: true,
        closes: false,
    };
    for seed in seeds() {
        let mut generator = Generator::for_one_connection(seed, range);
        let mut alone = Side::new(&target);
        let mut commands = Vec::new();
        let mut answers = Vec::new();
        for _ in 0..COMMANDS {
            let command = generator.command();
            alone.say(0, &[&command.bytes[..], b"PING\r\n"].concat());
            let heard = alone.hear(0, command.pings + 1);
            answers.push((heard.expect("an answer"), generator.said.clone()));
            commands.push(command);
        }
        // It would hear what is published to the other one.
        alone.connections.swap_remove(0).end();
        let mut together = pipelined(seed, &commands, &target).into_iter();
        for (command, (answer, said)) in commands.iter().zip(answers) {
            let heard = Heard {
                frames: together.by_ref().take(answer.frames.len()).collect(),
                is_closed: false,
            };
            let place = command.bytes.escape_ascii();
            let compared = compare(&said, 0, &[answer], &[heard]);
            compared.unwrap_or_else(|why| panic!("seed {seed}, {place}: {why}"));
        }
        assert_eq!(together.next(), None, "seed {seed}");
    }
}
