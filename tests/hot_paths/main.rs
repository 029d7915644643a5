//! What the five hottest paths cost, in instructions: from a line to the bytes of what it causes. Counted
//! by valgrind, so the figures are the same on a busy machine.
//!
//! `make check-hot-paths` runs it; without valgrind it says so and does nothing. A path that has become
//! dearer fails. One that has become cheaper says so, for its bound to follow.

use clacks::broker::{
    Broker, CloseReason, ConnectionId, Now, Output, Peer, Settings, Traffic, Users,
};
use clacks::protocol::line::next_line;
use clacks::protocol::token::Token;
use std::process::{Command, ExitCode};

/// A path, the line that takes it, and how many instructions one such line may take.
struct Path {
    name: &'static str,
    line: &'static str,
    bound: u64,
}

const PATHS: [Path; 5] = [
    Path {
        name: "RETRIEVE",
        line: "RETRIEVE name:00000042\r\n",
        bound: 906,
    },
    Path {
        name: "STORE over a value of the same size",
        line: concat!(
            "STORE name:00000042=",
            "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\r\n"
        ),
        bound: 835,
    },
    Path {
        name: "INCREMENT",
        line: "INCREMENT counter=3\r\n",
        bound: 3090,
    },
    Path {
        name: "SET that nobody listens to",
        line: "SET nobody=0123456789abcdef\r\n",
        bound: 656,
    },
    Path {
        name: "SET to ten listeners (what the broker does of it)",
        line: "SET signal=0123456789abcdef\r\n",
        bound: 1066,
    },
];

/// How much a figure may differ from its bound: compilers change.
const TOLERANCE: f64 = 0.03;
const FEW: u64 = 2_000;
const MANY: u64 = 12_000;

#[derive(Default)]
struct Buffers(Vec<Vec<u8>>);

impl Output for Buffers {
    fn append(&mut self, to: ConnectionId, encode: impl FnOnce(&mut Vec<u8>)) {
        if let Some(buffer) = self.0.get_mut(to.slot as usize) {
            if buffer.len() > 16_384 {
                buffer.clear();
            }
            encode(buffer);
        }
    }

    fn fan_out(&mut self, to: impl IntoIterator<Item = ConnectionId>, payload: &[u8]) {
        for id in to {
            self.append(id, |bytes| bytes.extend_from_slice(payload));
        }
    }

    fn close(&mut self, _: ConnectionId, _: CloseReason) {}
    fn make_trunk(&mut self, _: ConnectionId) {}
    fn resume(&mut self, _: ConnectionId) {}
    fn hold(&mut self, _: ConnectionId, _: isize) {}
    fn want_room(&mut self, _: ConnectionId) {}
    fn dial(&mut self, _: usize) {}
    fn hang_up(&mut self) {}

    fn traffic(&self, _: ConnectionId) -> Traffic {
        Traffic::default()
    }
}

fn id(slot: u32) -> ConnectionId {
    ConnectionId {
        slot,
        generation: 1,
    }
}

/// Takes a path so often: what valgrind counts.
fn take(path: &Path, times: u64) {
    const NOW: Now = Now {
        monotonic_us: 1,
        wall_us: 1_700_000_000_000_000,
    };
    let mut broker = Broker::new(
        Settings::default(),
        Users::new("admin", b"pw"),
        [1, 2, 3, 4],
    );
    let mut out = Buffers((0..11).map(|_| Vec::with_capacity(32_768)).collect());
    let login = format!("OVERHEAD A {}", Token::encode(b"admin", b"pw"));
    let mut say = |broker: &mut Broker, slot: u32, line: &[u8]| {
        // Nothing here makes a client wait.
        let _ = broker.handle_line(id(slot), line, NOW, &mut out);
    };
    let mut greetings = Buffers::default();
    for slot in 0..11 {
        broker.handle_connected(id(slot), Peer::Unix, NOW, &mut greetings);
        say(&mut broker, slot, login.as_bytes());
        if slot > 0 {
            say(&mut broker, slot, b"LISTEN signal");
        }
    }
    for number in 0..1000 {
        let line = format!("STORE name:{number:08}={}", "v".repeat(64));
        say(&mut broker, 0, line.as_bytes());
    }
    let mut scratch = Vec::new();
    for _ in 0..times {
        if let Some((line, _)) = next_line(std::hint::black_box(path.line.as_bytes()), &mut scratch)
        {
            say(&mut broker, 0, line);
        }
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
