//! No turn of the loop does much, whatever is asked for. The bounds are proved by what the server counts as its work, in
//! bytes; `measurements::turns` has the times.

use crate::support::{Client, Crowd, Server, Setup, wait_until};
use clacks::broker::{Broker, Carrier, ConnectionId, Flow, Now, Peer, Process, Settings, Users};
use clacks::limits;
use clacks::protocol::Language;
use clacks::protocol::token::Token;
use clacks::reactor::{Connections, OutputLimits, Outputs, Stream};
use clacks::storage::Recorder;
use mio::Poll;
use mio::net::UnixStream;
use std::io::{ErrorKind, Read};

const LARGE: usize = 16_000_000;
/// A bound of the work that the server counts in one turn, in bytes: the work for which the turn has room, the output
/// that is written in addition to it, and one more line of each.
const MOST_WORK: u64 = 4 << 20;

fn line(start: &str, length: usize) -> String {
    format!("{start}{}\r\n", "x".repeat(length))
}

fn assert_turns_are_small(server: &Server) {
    let largest = server.status("largest_turn");
    assert!(largest > 0, "it is counted");
    assert!(largest < MOST_WORK, "a turn of {largest} bytes");
}

fn slave_of(master: &Server) -> Server {
    let slave = Setup::new()
        .flags(&["--master", &master.setup.unix("socket")])
        .start();
    wait_until("the link is up", || slave.is_slave());
    slave
}

#[test]
fn a_large_value_is_copied_for_nobody_who_gets_it() {
    let server = Server::start();
    let slaves = [slave_of(&server), slave_of(&server)];
    let mut listeners: Vec<Client> = (0..3).map(|_| server.client("ro")).collect();
    let mut far = slaves[1].client("ro");
    for listener in listeners.iter_mut().chain([&mut far]) {
        listener.ask("LISTEN large");
    }
    let mut monitor = server.client("admin");
    monitor.ask("MONITOR");
    let mut sender = server.client("rw");
    for verb in ["SETANDSTORE", "STORE", "SET", "NONSENSE"] {
        let line = line(&format!("{verb} large="), LARGE);
        sender.send_bytes(line.as_bytes());
        // It sees the slaves' PINGs, too.
        let shown = loop {
            let shown = monitor.next_line().expect("a monitor sees it");
            if shown.len() >= LARGE {
                break shown;
            }
        };
        let (cid, seen) = shown.split_once('=').expect("DEBUG and who it was");
        assert!(cid.starts_with("DEBUG ") && seen == line.trim_end());
        if verb.starts_with("SET") {
            let signal = line.replacen(verb, "SET", 1);
            for listener in listeners.iter_mut().chain([&mut far]) {
                assert!(listener.next_line().as_deref() == Some(signal.trim_end()));
            }
        }
        if verb == "NONSENSE" {
            let error = format!("OVERHEAD E unknown_command {}", line.trim_end());
            assert!(sender.next_line() == Some(error));
        }
    }
    // The slaves share it among their own clients, too.
    for server in [&server, &slaves[0], &slaves[1]] {
        let mut reader = server.client("ro");
        reader.send("RETRIEVE large");
        let answer = reader.next_line().expect("an answer");
        assert!(answer == line("RETRIEVED large=", LARGE).trim_end());
        assert_turns_are_small(server);
    }
}

#[test]
fn a_slave_learns_large_values_without_a_copy() {
    let server = Server::start();
    let mut client = server.client("rw");
    for number in 0..6 {
        client.send_bytes(line(&format!("STORE large{number}="), LARGE).as_bytes());
    }
    client.flush();
    let slave = slave_of(&server);
    wait_until("it has learnt them", || slave.status("entries") == 6);
    for server in [&server, &slave] {
        assert_turns_are_small(server);
    }
    let mut reader = slave.client("ro");
    reader.send("RETRIEVE large5");
    let answer = reader.next_line().expect("an answer");
    assert!(answer == line("RETRIEVED large5=", LARGE).trim_end());
}

#[test]
fn many_who_retrieve_a_large_value_share_its_memory() {
    const READERS: usize = 20;
    let server = Server::start();
    let mut client = server.client("rw");
    client.send_bytes(line("STORE large=", LARGE).as_bytes());
    client.flush();
    let mut crowd = Crowd::unix(&server.socket, READERS);
    crowd.log_in("ro", |_| String::new());
    crowd.send(|_| b"RETRIEVE large\r\n".to_vec());
    let length = line("RETRIEVED large=", LARGE).len();
    crowd.wait_for_all("the value", |received| received.len() == length);
    assert_turns_are_small(&server);
    let peak_kb = server.proc_status("VmHWM");
    assert!(peak_kb < 64 * 1024, "{peak_kb} kB");
    // What was replaced while it is sent is still that for who asked for it.
    crowd.forget();
    crowd.send(|_| b"RETRIEVE large\r\nRETRIEVE large\r\n".to_vec());
    wait_until("they are being answered", || {
        server.status("bytes_out") > 20 * LARGE as u64
    });
    client.ask("STORE large=small");
    let small = "RETRIEVED large=small\r\n".len();
    // Looking through all their bytes again and again would take longer than sending them.
    crowd.wait_for_all("all answers", |received| {
        received.ends_with(b"\n")
            && [2 * length, length + small, 2 * small].contains(&received.len())
    });
    for received in crowd.received() {
        let mut answers = received.split_inclusive(|byte| *byte == b'\n');
        assert_eq!(answers.clone().count(), 2);
        let is_value =
            |answer: &[u8]| answer.len() == length || answer == b"RETRIEVED large=small\r\n";
        assert!(answers.all(is_value));
    }
    wait_until("nothing is kept for them", || {
        server.status("buffers") < 100_000
    });
}

#[test]
fn short_lines_that_take_long_count_as_the_work_that_they_are() {
    let mut world = World::new(1);
    let (id, _) = world.members[0];
    let login = format!("OVERHEAD A {}", Token::encode(b"admin", b"pw"));
    for (line, least) in [
        (&*login, limits::WORK_PER_LOGIN),
        ("CLEARCACHE", limits::WORK_PER_CLEAR),
    ] {
        let before = world.out.connections.work;
        assert_eq!(world.line(id, line), Flow::Next);
        assert!(world.out.connections.work >= before + least, "{line}");
    }
}

const NOW: Now = Now {
    monotonic_us: 1,
    wall_us: 1_700_000_000_000_000,
};

/// A broker and its connections without the loop around them.
struct World {
    broker: Broker,
    out: Outputs<Connections<Stream>, Option<Recorder>>,
    members: Vec<(ConnectionId, UnixStream)>,
    _poll: Poll,
}

impl World {
    fn new(members: usize) -> World {
        World::with_max_output(members, usize::MAX)
    }

    fn with_max_output(members: usize, max_output: usize) -> World {
        let poll = Poll::new().expect("a poll");
        let registry = poll.registry().try_clone().expect("the same one");
        let limits = OutputLimits {
            max_output,
            max_buffers: usize::MAX,
        };
        let users = Users::new("admin", b"pw");
        let mut world = World {
            broker: Broker::new(Settings::default(), users, [1, 2, 3, 4]),
            out: Outputs {
                connections: Connections::new(registry, members, limits, NOW),
                journal: None,
            },
            members: Vec::new(),
            _poll: poll,
        };
        let login = format!("OVERHEAD A {}", Token::encode(b"admin", b"pw"));
        for _ in 0..members {
            let (stream, peer) = UnixStream::pair().expect("two sockets");
            let id = world
                .out
                .connections
                .add(Stream::Unix(stream), None)
                .expect("the kernel tells of its events");
            world.broker.handle_connected(
                id,
                Peer::Unix(Process::default()),
                Language::Clacks,
                NOW,
                &mut world.out,
            );
            world.members.push((id, peer));
            let _ = world.line(id, &login);
        }
        while world.out.connections.has_work() {
            world.out.connections.flush();
        }
        for member in 0..members {
            assert!(world.read(member) > 0);
        }
        world
    }

    fn line(&mut self, id: ConnectionId, line: &str) -> Flow {
        self.out.connections.set_serving(Some(id));
        let flow = self.broker.handle_request(
            id,
            &Language::Clacks.decode(line.as_bytes()),
            NOW,
            &mut self.out,
        );
        self.out.connections.set_serving(None);
        flow
    }

    /// Reads all that a member has got; how many bytes that are.
    fn read(&mut self, member: usize) -> usize {
        let mut buffer = vec![0; 1 << 20];
        let mut total = 0;
        loop {
            match self.members[member].1.read(&mut buffer) {
                Ok(count) => total += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return total,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[test]
fn short_output_is_written_before_long_output_and_a_turn_writes_a_bounded_amount() {
    const LONG: usize = 150_000;
    const MEMBERS: usize = 60;
    let mut world = World::new(MEMBERS + 1);
    let ids: Vec<ConnectionId> = world.members.iter().map(|(id, _)| *id).collect();
    for id in &ids[..MEMBERS] {
        let text = vec![b'x'; LONG];
        world
            .out
            .connections
            .append(*id, |to| to.extend_from_slice(&text));
    }
    world
        .out
        .connections
        .append(ids[MEMBERS], |to| to.extend_from_slice(b"short"));
    let (mut turns, mut received) = (0, 0);
    while received < MEMBERS * LONG {
        world.out.connections.writing = 0;
        world.out.connections.flush();
        turns += 1;
        let written = world.out.connections.writing;
        assert!(written < 2 << 20, "{written} bytes in one turn");
        assert_eq!(world.read(MEMBERS), if turns == 1 { 5 } else { 0 });
        for (member, id) in ids.iter().enumerate().take(MEMBERS) {
            received += world.read(member);
            world.out.connections.unblock(*id);
        }
        assert!(turns < 1000, "it comes to an end");
    }
    assert!(turns > 4, "{turns}");
}

#[test]
fn who_asks_for_a_list_is_served_after_who_asks_little() {
    const MEMBERS: usize = 100;
    let mut world = World::new(MEMBERS);
    let ids: Vec<ConnectionId> = world.members.iter().map(|(id, _)| *id).collect();
    for number in 0..5000 {
        let _ = world.line(ids[0], &format!("STORE name{number}=v"));
    }
    // The first one is begun in this turn.
    world.out.connections.work = 0;
    let _ = world.line(ids[0], "KEYLIST");
    for (number, id) in ids.iter().enumerate().skip(1) {
        let before = world.out.connections.work;
        let verb = ["KEYLIST", "CLIENTLIST"][number % 2];
        let _ = world.line(*id, verb);
        let work = world.out.connections.work - before;
        assert!(work < 1000, "{verb} begins with {work} bytes of work");
    }
    assert_eq!(world.out.connections.waiting(), (0, MEMBERS));
}

/// So long a value is copied for each who asks for it, when its turn for a slice comes.
#[test]
fn who_asks_for_a_value_that_is_copied_is_served_after_who_asks_little() {
    const MEMBERS: usize = 100;
    let mut world = World::new(MEMBERS);
    let ids: Vec<ConnectionId> = world.members.iter().map(|(id, _)| *id).collect();
    let _ = world.line(ids[0], &format!("STORE long={}", "v".repeat(200_000)));
    world.out.connections.work = 0;
    let _ = world.line(ids[0], "RETRIEVE long");
    for id in &ids[1..] {
        let before = world.out.connections.work;
        let _ = world.line(*id, "RETRIEVE long");
        let work = world.out.connections.work - before;
        assert!(work < 1000, "it begins with {work} bytes of work");
    }
    assert_eq!(world.out.connections.waiting(), (0, MEMBERS - 1));
    for id in &ids[1..] {
        world.broker.handle_writable(*id, NOW, &mut world.out);
    }
    let answer = "RETRIEVED long=\r\n".len() + 200_000;
    let mut received = vec![0; MEMBERS];
    while received.iter().any(|received| *received < answer) {
        world.out.connections.writing = 0;
        world.out.connections.flush();
        for (member, id) in ids.iter().enumerate() {
            received[member] += world.read(member);
            world.out.connections.unblock(*id);
        }
    }
    assert!(received.iter().all(|received| *received == answer));
}

#[test]
fn overhead_flags_without_end_are_ignored() {
    let server = Server::start();
    let mut client = server.client("rw");
    let mut listener = server.client("ro");
    client.send(&format!("OVERHEAD G{} x", "N".repeat(2_000_000)));
    assert_eq!(client.flush(), [""; 0]);
    client.send("OVERHEAD G y");
    listener.expect("OVERHEAD G y");
}

/// Monitors see every line, so that every client would wait for one that is still being sent what somebody else has
/// stored.
#[test]
fn a_short_line_does_not_wait_because_a_monitor_is_being_sent_much() {
    const MAX_OUTPUT: usize = 8 << 20;
    let mut world = World::with_max_output(2, MAX_OUTPUT);
    let (monitor, client) = (world.members[0].0, world.members[1].0);
    assert_eq!(world.line(monitor, "MONITOR"), Flow::Next);
    let long = format!("STORE name={}", "v".repeat(100_000));
    let send_much = |world: &mut World| {
        let much = vec![b'x'; 3 << 20];
        world
            .out
            .connections
            .append(monitor, |to| to.extend_from_slice(&much));
    };
    assert_eq!(world.line(client, &long), Flow::Next);
    send_much(&mut world);
    assert_eq!(world.line(client, "RETRIEVE nothing"), Flow::Next);
    assert_eq!(world.line(client, &long), Flow::StopBefore);
    // The room for short lines ends, too.
    send_much(&mut world);
    assert_eq!(world.line(client, "RETRIEVE nothing"), Flow::StopBefore);
}
