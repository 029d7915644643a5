//! How often a client that looks for its answer only once, as Net::Clacks clients do, misses it. Run by `make measure`.
//!
//! Such a client writes a question, looks once, without waiting, whether anything has come, and then waits for half a
//! second for more before it looks at what it has read. It loses that half second if the answer was there already.
//! `CLACKSD_SERVER=path` measures another build of the server.

use crate::support::{Identity, Random, Server, Setup, Transport, token};
use std::thread;
use std::time::{Duration, Instant};

const CALLS: usize = 200;
/// How long the client waits before it looks at what it has read.
const WAIT: Duration = Duration::from_millis(500);
/// Of [`CALLS`].
const MOST_WAITS: usize = 1;

struct LooksOnce {
    transport: Box<dyn Transport>,
    input: Vec<u8>,
}

impl LooksOnce {
    /// Logs in over a transport that blocks, and makes it one that does not.
    fn new(transport: Box<dyn Transport>) -> LooksOnce {
        let mut client = LooksOnce {
            transport,
            input: Vec::new(),
        };
        let token = token("rw");
        client.write(&format!(
            "CLACKS looks once\r\nOVERHEAD A {token}\r\nNOPING\r\n"
        ));
        let mut buffer = [0; 4096];
        while !client.input.ends_with(b"Welcome!\r\n") {
            let count = client.transport.read(&mut buffer).expect("an answer");
            client.input.extend_from_slice(&buffer[..count]);
        }
        client.input.clear();
        client.transport.stop_blocking();
        client
    }

    fn write(&mut self, lines: &str) {
        let written = self.transport.write_all(lines.as_bytes());
        written
            .and_then(|()| self.transport.flush())
            .expect("the server reads");
    }

    /// Reads what is there.
    fn look(&mut self) {
        let has_ended = self.transport.read_what_is_there(&mut self.input);
        assert!(!has_ended, "the server goes on");
    }

    /// One question; whether the client waited in vain for an answer that it had.
    fn call(&mut self) -> bool {
        self.write("RETRIEVE a\r\n");
        let mut waited = false;
        loop {
            self.look();
            let is_readable = self.transport.is_readable_within(WAIT);
            waited |= !is_readable;
            if is_readable {
                self.look();
            }
            if self.input.ends_with(b"\r\n") {
                assert_eq!(self.input, b"RETRIEVED a=1\r\n");
                self.input.clear();
                return waited;
            }
        }
    }
}

/// The pauses between calls.
#[derive(Clone, Copy)]
enum Gaps {
    OfMs(u64),
    /// Another one each time, of up to so many milliseconds.
    UpToMs(usize),
}

impl Gaps {
    fn next(self, random: &mut Random) -> Duration {
        match self {
            Gaps::OfMs(ms) => Duration::from_millis(ms),
            Gaps::UpToMs(ms) => Duration::from_micros(random.below(ms * 1000) as u64),
        }
    }

    fn name(self) -> String {
        match self {
            Gaps::OfMs(ms) => format!("{ms} ms"),
            Gaps::UpToMs(ms) => format!("up to {ms} ms"),
        }
    }
}

/// Measures clients of which each makes so many calls.
fn measure(what: &str, gaps: Gaps, calls_of_each: usize, connect: impl Fn() -> Box<dyn Transport>) {
    let mut random = Random::new(7);
    let mut waits = 0;
    let mut times = Vec::with_capacity(CALLS);
    while times.len() < CALLS {
        let mut client = LooksOnce::new(connect());
        for _ in 0..calls_of_each.min(CALLS - times.len()) {
            let start = Instant::now();
            waits += usize::from(client.call());
            times.push(start.elapsed());
            thread::sleep(gaps.next(&mut random));
        }
    }
    times.sort_unstable();
    let mean = times.iter().sum::<Duration>() / CALLS as u32;
    let connections = CALLS.div_ceil(calls_of_each);
    println!(
        "measured: clients over {what} that look once, {connections} connections, {} between calls: {waits} of {CALLS} \
         waited for half a second; median {:.3} ms, mean {:.3} ms",
        gaps.name(),
        times[CALLS / 2].as_secs_f64() * 1000.0,
        mean.as_secs_f64() * 1000.0,
    );
    assert!(waits <= MOST_WAITS, "{waits} of {CALLS} waited");
}

/// Each row with a server that knows nothing of its clients yet.
fn measure_rows(what: &str, connect: impl Fn(&Server) -> Box<dyn Transport>) {
    for gap_ms in [0, 20, 200] {
        let server = start();
        measure(what, Gaps::OfMs(gap_ms), CALLS, || connect(&server));
    }
    for calls_of_each in [CALLS, 5, 1] {
        let server = start();
        measure(what, Gaps::UpToMs(400), calls_of_each, || connect(&server));
    }
    for calls_of_each in [5, 1] {
        let server = start();
        measure(what, Gaps::OfMs(0), calls_of_each, || connect(&server));
    }
}

fn start() -> Server {
    let setup = Setup::new().with_tls(&Identity::self_signed(&["localhost"]));
    let server = setup.with_server_of_environment().start();
    server.client("rw").ask("STORE a=1");
    server
}

#[test]
#[ignore = "a measurement"]
fn clients_that_look_once_find_their_answer_over_a_unix_socket() {
    measure_rows("a Unix socket", Server::unix_transport);
}

#[test]
#[ignore = "a measurement"]
fn clients_that_look_once_find_their_answer_over_tls() {
    measure_rows("TLS", Server::tls_transport);
}
