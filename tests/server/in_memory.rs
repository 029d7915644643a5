//! The scheduling of the reactor without a kernel: the turns that the server takes, over sockets in memory and on a clock of
//! the test's own.

use crate::support::Machine;
use clacks::broker::{Broker, Carrier, ConnectionId, Now, Peer, Process, Settings, Users};
use clacks::limits::{LINGER_US, MAX_LINE_BEFORE_LOGIN, MIB, MUCH_OUTPUT, SECOND_US};
use clacks::protocol::Language;
use clacks::protocol::token::Token;
use clacks::reactor::{self, OutputLimits};

/// Bytes of output that a socket takes before its peer reads.
const CAPACITY: usize = 64 * 1024;
const MAX_OUTPUT: usize = MIB;

pub(super) struct World {
    pub machine: Machine,
}

impl World {
    pub fn new() -> World {
        let now = Now {
            monotonic_us: 1,
            wall_us: 1_700_000_000 * SECOND_US,
        };
        let settings = reactor::Settings {
            max_clients: 10,
            max_connections: 20,
            auth_timeout_us: 10 * SECOND_US,
            output: OutputLimits {
                max_output: MAX_OUTPUT,
                max_buffers: usize::MAX,
            },
        };
        let users = Users::new("admin", b"pw");
        let broker = Broker::new(Settings::default(), users, [1, 2, 3, 4]);
        World {
            machine: Machine::new(settings, broker, None, now),
        }
    }

    /// A client that has logged in, and has read all answers to that.
    fn client(&mut self) -> ConnectionId {
        self.client_with_room(CAPACITY)
    }

    /// A client whose socket takes that many bytes of output before its peer reads.
    fn client_with_room(&mut self, capacity: usize) -> ConnectionId {
        let peer = Peer::Unix(Process::default());
        let id = self.machine.connect(peer, Language::Clacks, capacity);
        let token = Token::encode(b"admin", b"pw");
        self.say(id, format!("OVERHEAD A {token}\r\n").as_bytes());
        let answers = String::from_utf8(self.machine.take(id)).expect("text");
        assert!(answers.ends_with("OVERHEAD O Welcome!\r\n"), "{answers}");
        id
    }

    /// A memcached client that has logged in.
    pub fn memcached_client(&mut self) -> ConnectionId {
        let peer = Peer::Unix(Process::default());
        let id = self
            .machine
            .connect(peer, Language::MemcachedLogin, CAPACITY);
        self.say(id, b"set auth 0 0 8\r\nadmin pw\r\n");
        assert_eq!(self.machine.take(id), b"STORED\r\n");
        id
    }

    pub fn say(&mut self, client: ConnectionId, bytes: &[u8]) {
        self.machine.send(client, bytes);
        self.machine.work_off();
    }

    /// Takes what a client has got, and lets the server write more of it.
    fn take(&mut self, client: ConnectionId) -> usize {
        let taken = self.machine.take(client).len();
        self.machine.work_off();
        taken
    }
}

#[test]
fn requests_cut_at_any_byte_get_the_same_answers() {
    let requests = b"STORE name=value\r\nRETRIEVE name\r\nRETRIEVE nothing\r\nQUIT\r\n";
    for cut in 0..requests.len() {
        let mut world = World::new();
        let client = world.client();
        world.say(client, &requests[..cut]);
        world.say(client, &requests[cut..]);
        let answers = String::from_utf8(world.machine.take(client)).expect("text");
        assert_eq!(answers, "RETRIEVED name=value\r\nNOTRETRIEVED nothing\r\n");
        assert!(world.machine.peer(client).is_closed());
    }
}

#[test]
fn a_client_that_takes_no_answers_is_not_read_until_it_does() {
    let mut world = World::new();
    let client = world.client();
    let value = "v".repeat(1000);
    world.say(client, format!("STORE name={value}\r\n").as_bytes());
    let request = b"RETRIEVE name\r\n";
    let answer = "RETRIEVED name=\r\n".len() + value.len();
    let asked = 10 * MAX_OUTPUT / answer;
    world.say(client, &request.repeat(asked));
    assert!(world.machine.peer(client).unread() > 0, "all was read");
    let queued = world.machine.core.out.traffic(client).queued;
    assert!(queued < MAX_OUTPUT, "{queued} bytes wait");
    let mut taken = 0;
    while taken < asked * answer {
        let part = world.take(client);
        assert!(part > 0, "it has to go on");
        taken += part;
    }
    let unread = world.machine.peer(client).unread();
    assert_eq!((taken, unread), (asked * answer, 0));
}

#[test]
fn signals_without_a_pause_are_written_in_large_pieces() {
    let mut world = World::new();
    let sender = world.client();
    let listeners: Vec<ConnectionId> = (0..2).map(|_| world.client_with_room(MIB)).collect();
    for listener in &listeners {
        world.say(*listener, b"LISTEN name\r\n");
    }
    let signals = format!("SET name={}\r\n", "v".repeat(70)).repeat(10_000);
    world.machine.send(sender, signals.as_bytes());
    let mut pieces = vec![Vec::new(); listeners.len()];
    let mut has_work = true;
    while has_work {
        has_work = world.machine.turn();
        for (listener, pieces) in listeners.iter().zip(&mut pieces) {
            pieces.push(world.machine.take(*listener));
        }
    }
    for mut pieces in pieces {
        assert!(pieces.concat() == signals.as_bytes());
        pieces.retain(|piece| !piece.is_empty());
        // The last one is what was left.
        pieces.pop();
        let lengths: Vec<usize> = pieces.iter().map(Vec::len).collect();
        assert!(
            lengths.iter().all(|length| *length >= MUCH_OUTPUT),
            "{lengths:?}"
        );
    }
}

/// Lets lines come in such pieces from the second of two listeners. Returns the output of both, of a monitor, and the counts.
fn effects(pieces: &[&[u8]], is_monitored: bool) -> (Vec<Vec<u8>>, String) {
    let mut world = World::new();
    let peers: Vec<ConnectionId> = (0..3).map(|_| world.client_with_room(MIB)).collect();
    for listener in &peers[..2] {
        world.say(*listener, b"LISTEN a\r\n");
    }
    if is_monitored {
        world.say(peers[2], b"MONITOR\r\n");
    }
    for piece in pieces {
        world.say(peers[1], piece);
    }
    let output = peers.iter().map(|peer| world.machine.take(*peer)).collect();
    (output, world.machine.status())
}

#[test]
fn lines_that_are_read_together_have_the_effects_of_single_ones() {
    let long = format!("SET a={}\r\n", "v".repeat(MAX_LINE_BEFORE_LOGIN));
    let others = [
        "SET b=1\r\n",
        "SET a=4\n",
        "SET a=5\r6\r\n",
        "SET aa=7\r\n",
        "SET a\r\n",
        "NOTIFY a\r\n",
        "SETANDSTORE a=8\r\n",
        "RETRIEVE a\r\n",
        "LISTEN aa\r\n",
        "\r\n",
        &long,
    ];
    for (number, other) in others.into_iter().enumerate() {
        for run in [1, 2, 40, 3000] {
            let signals = (0..run).map(|value| format!("SET a={value}\r\n"));
            let mut lines: Vec<String> = signals.collect();
            lines.insert(run / 2, other.to_owned());
            lines.extend(["SET a=1\r\n".to_owned(), other.to_owned()]);
            let single: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
            let is_monitored = (number + run) % 5 == 0;
            let together = effects(&[&single.concat()], is_monitored);
            assert!(together == effects(&single, is_monitored), "{other} {run}");
            assert!(!together.0[0].is_empty());
        }
    }
}

/// A command of a few bytes that reads or copies a long value is much work, and ends the client's share of the turn.
#[test]
fn commands_on_a_long_value_wait_for_their_turns() {
    for (command, value, answer) in [
        ("append long 0 0 1\r\nx\r\n", "v", "STORED\r\n"),
        ("prepend long 0 0 1\r\nx\r\n", "v", "STORED\r\n"),
        ("md long I\r\n", "v", "HD\r\n"),
        (
            "incr long 1\r\n",
            " ",
            "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n",
        ),
        (
            "ma long\r\n",
            " ",
            "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n",
        ),
    ] {
        const COMMANDS: usize = 20;
        let mut world = World::new();
        let client = world.memcached_client();
        let value = value.repeat(200_000);
        world.say(
            client,
            format!("set long 0 0 200000\r\n{value}\r\n").as_bytes(),
        );
        assert_eq!(world.machine.take(client), b"STORED\r\n");
        world
            .machine
            .send(client, command.repeat(COMMANDS).as_bytes());
        let mut most = 0;
        let mut answers = String::new();
        while world.machine.turn() {
            let text = String::from_utf8(world.machine.take(client)).expect("text");
            most = most.max(text.matches(answer).count());
            answers += &text;
        }
        answers += &String::from_utf8(world.machine.take(client)).expect("text");
        assert_eq!(answers, answer.repeat(COMMANDS));
        assert!(most <= 2, "{command}: {most} in one turn");
    }
}

/// The value has bytes that no line of Clacks clients can have, so that it is encoded for the answer.
#[test]
fn a_long_value_is_encoded_in_slices() {
    const LINES: usize = 1_000_000;
    const MOST_IN_A_TURN: usize = 128 * 1024;
    let mut world = World::new();
    let writer = world.memcached_client();
    let value = "v\n".repeat(LINES);
    let command = format!("set long 0 0 {}\r\n{value}\r\n", value.len());
    world.say(writer, command.as_bytes());
    assert_eq!(world.machine.take(writer), b"STORED\r\n");
    let reader = world.client_with_room(4 * MIB);
    let other = world.client();
    world.machine.send(reader, b"RETRIEVE long\r\n");
    let mut turns = 0;
    let mut answer = Vec::new();
    let mut has_work = true;
    while has_work {
        // Others are answered in each turn.
        world.machine.send(other, b"RETRIEVE none\r\n");
        has_work = world.machine.turn();
        assert_eq!(world.machine.take(other), b"NOTRETRIEVED none\r\n");
        turns += usize::from(answer.is_empty());
        answer.extend(world.machine.take(reader));
        if turns == 2 {
            // The answer is the value that was there when it began.
            world.machine.send(writer, b"delete long\r\n");
        }
    }
    assert_eq!(world.machine.take(writer), b"DELETED\r\n");
    assert!(turns >= value.len() / MOST_IN_A_TURN, "{turns}");
    // Three repetitions are six bytes, which make eight characters.
    let encoded = "dgp2CnYK".repeat(LINES / 3) + "dgo=";
    let answer = String::from_utf8(answer).expect("text");
    assert!(answer == format!("RETRIEVED long=PAGECAMELCLACKSB64:{encoded}\r\n"));
}

/// A Net::Clacks client drops what it reads together with the end.
#[test]
fn only_a_clacks_client_gets_the_end_after_it_has_taken_the_last_line() {
    let mut world = World::new();
    world.machine.holds_answers = true;
    for (language, wrong, last_line) in [
        (
            Language::Clacks,
            "OVERHEAD A x\r\n",
            "OVERHEAD F Login failed!\r\n",
        ),
        (
            Language::Nats,
            "PUB a 1\r\n",
            "-ERR 'Authorization Violation'\r\n",
        ),
    ] {
        let peer = Peer::Unix(Process::default());
        let id = world.machine.connect(peer, language, CAPACITY);
        world.say(id, wrong.as_bytes());
        let has_ended = world.machine.peer(id).is_closed();
        assert_eq!(has_ended, language == Language::Nats);
        let answers = world.machine.take(id);
        assert!(answers.ends_with(last_line.as_bytes()));
        let now_us = world.machine.now.monotonic_us;
        world.machine.pass_until(now_us + LINGER_US / 2);
        assert!(world.machine.peer(id).is_closed());
    }
}
