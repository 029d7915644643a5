//! The costs of the hottest paths, in instructions: from a line, one of many that were read together, to the writes
//! that it causes. Valgrind counts the instructions, so the figures are the same on a busy machine.
//!
//! `make check-hot-paths` runs it; without valgrind it says so and does nothing. A path that has become
//! dearer fails. One that has become cheaper says so, for its bound to follow. All languages are in one program, as they
//! are in the server: the compiler inlines less than for one language alone.

use clacks::broker::{Broker, ConnectionId, Now, Peer, Process, Settings, Users, handle_run};
use clacks::protocol::Language;
use clacks::protocol::framing::{Next, Unfinished};
use clacks::protocol::token::Token;
use clacks::reactor::{Connections, OutputLimits, Outputs, Stream};
use clacks::storage::Recorder;
use mio::Poll;
use mio::net::UnixStream;
use std::io::Read;
use std::process::{Command, ExitCode};

/// A path, the clients that take part, the lines that take it, one after the other and again, and how many instructions
/// each may take.
struct Path {
    name: &'static str,
    clients: Clients,
    lines: &'static [&'static str],
    bound: u64,
}

/// The languages of the clients, and what differs between the listeners.
#[derive(Clone, Copy, PartialEq)]
enum Clients {
    Clacks,
    /// The last one subscribes by NATS to what nobody says.
    ClacksBesideNats,
    Nats,
    /// Each knows its subscriptions by other sids.
    NatsWithOwnSids,
}

const PATHS: [Path; 13] = [
    Path {
        name: "RETRIEVE",
        clients: Clients::Clacks,
        lines: &["RETRIEVE name:00000042\r\n"],
        bound: 915,
    },
    Path {
        name: "STORE over a value of the same size",
        clients: Clients::Clacks,
        lines: &[concat!(
            "STORE name:00000042=",
            "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\r\n"
        )],
        bound: 737,
    },
    Path {
        name: "INCREMENT",
        clients: Clients::Clacks,
        lines: &["INCREMENT counter=3\r\n"],
        bound: 2603,
    },
    Path {
        name: "SET that nobody listens to",
        clients: Clients::Clacks,
        lines: &["SET nobody=0123456789abcdef\r\n"],
        bound: 504,
    },
    Path {
        name: "SET to ten listeners",
        clients: Clients::Clacks,
        // After another signal, so that it is no burst.
        lines: &[
            "SET signal=0123456789abcdef\r\n",
            "SET other_=0123456789abcdef\r\n",
        ],
        bound: 2262,
    },
    Path {
        name: "SET to ten listeners in a burst",
        clients: Clients::Clacks,
        lines: &["SET signal=0123456789abcdef\r\n"],
        bound: 166,
    },
    Path {
        name: "SET that nobody listens to, beside NATS subscriptions",
        clients: Clients::ClacksBesideNats,
        lines: &["SET nobody=0123456789abcdef\r\n"],
        bound: 738,
    },
    Path {
        name: "SET to nine listeners, beside NATS subscriptions",
        clients: Clients::ClacksBesideNats,
        lines: &[
            "SET signal=0123456789abcdef\r\n",
            "SET other_=0123456789abcdef\r\n",
        ],
        bound: 2987,
    },
    Path {
        name: "PUB that nobody listens to",
        clients: Clients::Nats,
        lines: &["PUB nobody 16\r\n0123456789abcdef\r\n"],
        bound: 869,
    },
    Path {
        name: "PUB to one subscription",
        clients: Clients::Nats,
        lines: &["PUB lone__ 16\r\n0123456789abcdef\r\n"],
        bound: 1307,
    },
    Path {
        name: "PUB to ten subscriptions",
        clients: Clients::Nats,
        // After another message, so that it is no burst.
        lines: &[
            "PUB signal 16\r\n0123456789abcdef\r\n",
            "PUB other_ 16\r\n0123456789abcdef\r\n",
        ],
        bound: 6764,
    },
    Path {
        name: "PUB to ten subscriptions in a burst",
        clients: Clients::Nats,
        lines: &["PUB signal 16\r\n0123456789abcdef\r\n"],
        bound: 1374,
    },
    Path {
        name: "PUB to ten subscriptions with differing sids in a burst",
        clients: Clients::NatsWithOwnSids,
        lines: &["PUB signal 16\r\n0123456789abcdef\r\n"],
        bound: 2166,
    },
];

/// How much a figure may differ from its bound: compilers change.
const TOLERANCE: f64 = 0.03;
const FEW: u64 = 2_000;
const MANY: u64 = 12_000;
const LINES_PER_READ: usize = 100;
const LISTENERS: usize = 10;
/// More than all lines of a read are.
const MAX_WORK: usize = usize::MAX;
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
    fn new(clients: Clients) -> Server {
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
        for number in 0..=LISTENERS {
            let (stream, peer) = UnixStream::pair().expect("two sockets");
            let added = server.out.connections.add(Stream::Unix(stream), None);
            let id = added.expect("the kernel tells of its events");
            server.broker.handle_connected(
                id,
                Peer::Unix(Process::default()),
                clients.language_of(number),
                NOW,
                &mut server.out,
            );
            server.ids.push(id);
            server.peers.push(peer);
        }
        server
    }

    /// Works off what was read of one, and ends the turn. The listeners take what they get.
    fn turn(&mut self, id: ConnectionId, input: &[u8], buffer: &mut [u8]) {
        self.out.connections.work = 0;
        self.out.connections.set_serving(Some(id));
        match self.broker.language_of(id) {
            Language::Clacks => self.handle(id, Language::Clacks, input),
            Language::Nats => self.handle(id, Language::Nats, input),
            language => self.handle(id, language, input),
        }
        self.out.connections.set_serving(None);
        self.out.connections.flush();
        for peer in &mut self.peers {
            // Not all have got something.
            let _ = peer.read(buffer);
        }
    }

    /// Inlined for each language, which is known then.
    #[inline(always)]
    fn handle(&mut self, id: ConnectionId, language: Language, mut input: &[u8]) {
        while let Next::Frame(frame, taken) = language.next(input, Unfinished::default()) {
            let request = language.decode(frame);
            // Nothing here makes a client wait.
            let _ = self.broker.handle_request(id, &request, NOW, &mut self.out);
            input = &input[taken..];
            let last = (&request, taken);
            if self.out.connections.room_for_run().is_some()
                && let Some(run) =
                    handle_run(&mut self.broker, id, last, input, MAX_WORK, &mut self.out)
            {
                input = &input[run.lines.len()..];
            }
        }
    }
}

impl Clients {
    /// The language of the client of that number; 0 is the one who says the lines.
    fn language_of(self, number: usize) -> Language {
        match self {
            Clients::Clacks => Language::Clacks,
            Clients::ClacksBesideNats if number < LISTENERS => Language::Clacks,
            Clients::ClacksBesideNats => Language::Nats,
            Clients::Nats | Clients::NatsWithOwnSids => Language::Nats,
        }
    }

    fn login(self, number: usize) -> String {
        match self.language_of(number) {
            Language::Nats => {
                "CONNECT {\"verbose\":false,\"pedantic\":false,\"user\":\"admin\",\"pass\":\"pw\"}\r\n".to_owned()
            }
            _ => format!("OVERHEAD A {}\n", Token::encode(b"admin", b"pw")),
        }
    }

    /// The lines of the listener of that number, from 1.
    fn listen(self, number: usize) -> String {
        let sid = match self {
            Clients::ClacksBesideNats if number == LISTENERS => {
                return "SUB unheard 1\r\nSUB signal.* 2\r\nSUB other_.> 3\r\n".to_owned();
            }
            Clients::Clacks | Clients::ClacksBesideNats => {
                return "LISTEN signal\nLISTEN other_\n".to_owned();
            }
            Clients::Nats => 1,
            Clients::NatsWithOwnSids => 3 * number,
        };
        let subscribe = |subject, sid| format!("SUB {subject} {sid}\r\n");
        let lone = if number == 1 { "lone__" } else { "unheard" };
        subscribe("signal", sid) + &subscribe("other_", sid + 1) + &subscribe(lone, sid + 2)
    }
}

/// Takes a path so often: what valgrind counts.
fn take(path: &Path, times: u64) {
    let mut buffer = vec![0; 65_536];
    let mut server = Server::new(path.clients);
    let speaker = server.ids[0];
    for (number, id) in server.ids.clone().into_iter().enumerate() {
        server.turn(id, path.clients.login(number).as_bytes(), &mut buffer);
        if id != speaker {
            server.turn(id, path.clients.listen(number).as_bytes(), &mut buffer);
        }
    }
    for number in 0..1000 {
        let line = format!("STORE name:{number:08}={}\n", "v".repeat(64));
        if path.clients == Clients::Clacks {
            server.turn(speaker, line.as_bytes(), &mut buffer);
        }
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
