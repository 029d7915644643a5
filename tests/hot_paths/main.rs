//! The costs of the hottest paths, in instructions: from a line, one of many that were read together, to the writes
//! that it causes. Valgrind counts the instructions, so the figures are the same on a busy machine.
//!
//! `make check-hot-paths` runs it; without valgrind it says so and does nothing. A path that has become
//! dearer fails. One that has become cheaper says so, for its bound to follow.

use clacks::broker::{Broker, ConnectionId, Now, Peer, Process, Settings, Users};
use clacks::protocol::Language;
use clacks::protocol::framing::{Next, Unfinished};
use clacks::protocol::token::Token;
use clacks::reactor::{Connections, OutputLimits, Outputs, Stream};
use clacks::storage::Recorder;
use mio::Poll;
use mio::net::UnixStream;
use std::io::Read;
use std::process::{Command, ExitCode};

/// A path, the lines that take it, one after the other and again, and how many instructions each may take.
struct Path {
    name: &'static str,
    lines: &'static [&'static str],
    bound: u64,
}

const PATHS: [Path; 6] = [
    Path {
        name: "RETRIEVE",
        lines: &["RETRIEVE name:00000042\r\n"],
        bound: 947,
    },
    Path {
        name: "STORE over a value of the same size",
        lines: &[concat!(
            "STORE name:00000042=",
            "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\r\n"
        )],
        bound: 783,
    },
    Path {
        name: "INCREMENT",
        lines: &["INCREMENT counter=3\r\n"],
        bound: 2772,
    },
    Path {
        name: "SET that nobody listens to",
        lines: &["SET nobody=0123456789abcdef\r\n"],
        bound: 571,
    },
    Path {
        name: "SET to ten listeners",
        // After another signal, so that it is no burst.
        lines: &[
            "SET signal=0123456789abcdef\r\n",
            "SET other_=0123456789abcdef\r\n",
        ],
        bound: 2306,
    },
    Path {
        name: "SET to ten listeners in a burst",
        lines: &["SET signal=0123456789abcdef\r\n"],
        bound: 718,
    },
];

/// How much a figure may differ from its bound: compilers change.
const TOLERANCE: f64 = 0.03;
const FEW: u64 = 2_000;
const MANY: u64 = 12_000;
const LINES_PER_READ: usize = 100;
const LISTENERS: usize = 10;
const NOW: Now = Now {
    monotonic_us: 1,
    wall_us: 1_700_000_000_000_000,
};

/// A broker, its connections, and who is at their other ends: one who says the lines, and the listeners.
struct Server {
    broker: Broker,
    out: Outputs<Connections<Stream>, Option<Recorder>>,
    ids: Vec<ConnectionId>,
    peers: Vec<UnixStream>,
    _poll: Poll,
}

impl Server {
    fn new() -> Server {
        let poll = Poll::new().expect("a poll");
        let registry = poll.registry().try_clone().expect("the same one");
        let limits = OutputLimits {
            max_output: usize::MAX,
            max_buffers: usize::MAX,
        };
        let users = Users::new("admin", b"pw");
        let mut server = Server {
            broker: Broker::new(Settings::default(), users, [1, 2, 3, 4]),
            out: Outputs {
                connections: Connections::new(registry, 1 + LISTENERS, limits, NOW),
                journal: None,
            },
            ids: Vec::new(),
            peers: Vec::new(),
            _poll: poll,
        };
        for _ in 0..=LISTENERS {
            let (stream, peer) = UnixStream::pair().expect("two sockets");
            let added = server.out.connections.add(Stream::Unix(stream), None);
            let id = added.expect("the kernel tells of its events");
            server.broker.handle_connected(
                id,
                Peer::Unix(Process::default()),
                Language::Clacks,
                NOW,
                &mut server.out,
            );
            server.ids.push(id);
            server.peers.push(peer);
        }
        server
    }

    /// Works off what was read of one, and ends the turn. The listeners take what they get.
    fn turn(&mut self, id: ConnectionId, mut input: &[u8], buffer: &mut [u8]) {
        self.out.connections.work = 0;
        self.out.connections.set_serving(Some(id));
        while let Next::Frame(frame, taken) = Language::Clacks.next(input, Unfinished::default()) {
            let request = Language::Clacks.decode(frame);
            // Nothing here makes a client wait.
            let _ = self.broker.handle_request(id, &request, NOW, &mut self.out);
            input = &input[taken..];
        }
        self.out.connections.set_serving(None);
        self.out.connections.flush();
        for peer in &mut self.peers {
            // Not all have got something.
            let _ = peer.read(buffer);
        }
    }
}

/// Takes a path so often: what valgrind counts.
fn take(path: &Path, times: u64) {
    let mut buffer = vec![0; 65_536];
    let mut server = Server::new();
    let login = format!("OVERHEAD A {}\n", Token::encode(b"admin", b"pw"));
    let speaker = server.ids[0];
    for id in server.ids.clone() {
        server.turn(id, login.as_bytes(), &mut buffer);
        if id != speaker {
            server.turn(id, b"LISTEN signal\nLISTEN other_\n", &mut buffer);
        }
    }
    for number in 0..1000 {
        let line = format!("STORE name:{number:08}={}\n", "v".repeat(64));
        server.turn(speaker, line.as_bytes(), &mut buffer);
    }
    let lines = path.lines.iter().cycle().take(LINES_PER_READ);
    let input: String = lines.copied().collect();
    for _ in 0..times / LINES_PER_READ as u64 {
        server.turn(speaker, input.as_bytes(), &mut buffer);
    }
}

/// Instructions of a run; `None` if there is no valgrind.
fn count(path: usize, times: u64) -> Option<u64> {
    let this = std::env::current_exe().expect("the program has a path");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(this)
        .args([path.to_string(), times.to_string()])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let found = text
        .lines()
        .find_map(|line| line.split("Collected : ").nth(1));
    let found = found.and_then(|count| count.trim().parse().ok());
    Some(found.unwrap_or_else(|| panic!("valgrind counts: {text}")))
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [path, times] = &arguments[..] {
        let path: usize = path.parse().expect("the number of a path");
        take(&PATHS[path], times.parse().expect("a number"));
        return ExitCode::SUCCESS;
    }
    let mut is_good = true;
    for (number, path) in PATHS.iter().enumerate() {
        let (Some(few), Some(many)) = (count(number, FEW), count(number, MANY)) else {
            println!("valgrind is not installed: the hot paths were not checked");
            return ExitCode::SUCCESS;
        };
        let each = (many - few) as f64 / (MANY - FEW) as f64;
        let bound = path.bound as f64;
        let verdict = if each > bound * (1.0 + TOLERANCE) {
            is_good = false;
            "TOO MANY"
        } else if each < bound * (1.0 - TOLERANCE) {
            "fewer: lower the bound"
        } else {
            "as expected"
        };
        println!(
            "{each:8.1} instructions for {}, {bound} expected: {verdict}",
            path.name
        );
    }
    ExitCode::from(u8::from(!is_good))
}
