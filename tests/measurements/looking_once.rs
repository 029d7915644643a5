//! How often a client that looks for its answer only once, as Net::Clacks clients do, misses it. Run by `make measure`.
//!
//! Such a client writes a question, looks once, without waiting, whether anything has come, and then waits for half a
//! second for more before it looks at what it has read. It loses that half second if the answer was there already.
//! `CLACKSD_SERVER=path` measures another build of the server.

use crate::support::{Identity, Server, Setup, Transport, token};
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

    fn measure(&mut self, what: &str) {
        for gap_ms in [0, 20, 200] {
            let mut waits = 0;
            let mut times = Vec::with_capacity(CALLS);
            for _ in 0..CALLS {
                let start = Instant::now();
                waits += usize::from(self.call());
                times.push(start.elapsed());
                thread::sleep(Duration::from_millis(gap_ms));
            }
            times.sort_unstable();
            let mean = times.iter().sum::<Duration>() / CALLS as u32;
            println!(
                "measured: a client over {what} that looks once, {gap_ms} ms between calls: {waits} of {CALLS} waited \
                 for half a second; median {:.3} ms, mean {:.3} ms",
                times[CALLS / 2].as_secs_f64() * 1000.0,
                mean.as_secs_f64() * 1000.0,
            );
            assert!(waits <= MOST_WAITS, "{waits} of {CALLS} waited");
        }
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
    let server = start();
    LooksOnce::new(server.unix_transport()).measure("a Unix socket");
}

#[test]
#[ignore = "a measurement"]
fn clients_that_look_once_find_their_answer_over_tls() {
    let server = start();
    LooksOnce::new(server.tls_transport()).measure("TLS");
}
