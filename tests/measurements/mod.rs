//! Measurements of the figures that the server is to reach under load: latency of other clients, memory, turns of the
//! loop, very many connections. They are run by `make measure` on a quiet machine, against the release build, one after
//! the other; each prints lines that begin with "measured:".

mod costs;
mod expiry;
mod groups;
mod looking_once;
mod nats;
mod overload;
mod persist;
mod scrapes;
mod sync;
pub mod tls;
mod turns;

use crate::server::connections::{Round, come_and_go, wake_ups};
use crate::support::{Awake, Client, Crowd, Random, Server, Setup, token, wait_until};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a latency is measured under one kind of load.
const LOAD_TIME: Duration = Duration::from_secs(8);

/// Round trips of one client.
pub struct Latencies(Vec<Duration>);

impl Latencies {
    fn percentile(&self, percent: usize) -> Duration {
        self.0[(self.0.len() - 1) * percent / 100]
    }

    pub fn longest_ms(&self) -> f64 {
        milliseconds(self.percentile(100))
    }

    fn print(&self, what: &str) {
        println!(
            "measured: {what}: median {:.3} ms, 99% {:.3} ms, longest {:.3} ms of {}",
            milliseconds(self.percentile(50)),
            milliseconds(self.percentile(99)),
            milliseconds(self.percentile(100)),
            self.0.len(),
        );
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

pub fn megabytes(kb: u64) -> f64 {
    kb as f64 / 1024.0
}

/// RETRIEVEs, one after the other, until `ended`.
fn probe(server: &Server, ended: &AtomicBool) -> Latencies {
    let mut stream = UnixStream::connect(&server.socket).expect("the server accepts");
    let mut reader = BufReader::new(stream.try_clone().expect("a descriptor"));
    let mut line = String::new();
    let token = token("rw");
    stream
        .write_all(format!("CLACKS probe\r\nOVERHEAD A {token}\r\nNOPING\r\n").as_bytes())
        .expect("the server reads");
    while line != "OVERHEAD O Welcome!\r\n" {
        line.clear();
        assert!(reader.read_line(&mut line).expect("the server answers") > 0);
    }
    let mut times = Vec::new();
    while !ended.load(Ordering::Relaxed) {
        let start = Instant::now();
        stream
            .write_all(b"RETRIEVE probe\r\n")
            .expect("the server reads");
        line.clear();
        reader.read_line(&mut line).expect("the server answers");
        times.push(start.elapsed());
        assert!(
            line.ends_with("RETRIEVED probe\r\n") || line.starts_with("RETRIEVED probe="),
            "{line}"
        );
        // A client that asks now and then, not another load.
        std::thread::sleep(Duration::from_micros(500));
    }
    times.sort();
    Latencies(times)
}

/// Measures a client's round trips while `load` runs, which is to end when it is told so.
pub fn latency_during(
    server: &Server,
    what: &str,
    load: impl FnOnce(&AtomicBool) + Send,
) -> Latencies {
    let _awake = Awake::new();
    let ended = AtomicBool::new(false);
    let latencies = std::thread::scope(|scope| {
        let load = scope.spawn(|| load(&ended));
        let timer = scope.spawn(|| {
            std::thread::sleep(LOAD_TIME);
            ended.store(true, Ordering::Relaxed);
        });
        let latencies = probe(server, &ended);
        timer.join().expect("no panic");
        load.join().expect("no panic");
        latencies
    });
    latencies.print(&format!("RETRIEVE {what}"));
    println!(
        "measured:   longest turn so far {:.3} ms, memory at most {:.1} MB",
        server.status("longest_turn_us") as f64 / 1000.0,
        megabytes(server.proc_status("VmHWM")),
    );
    latencies
}

pub fn assert_fast(latencies: &Latencies, goal_ms: f64) {
    assert!(latencies.0.len() > 100, "too few to say anything");
    let p99 = milliseconds(latencies.percentile(99));
    assert!(
        p99 < goal_ms,
        "99% took up to {p99} ms; the goal is {goal_ms} ms"
    );
}

pub fn goes_on(ended: &AtomicBool) -> bool {
    !ended.load(Ordering::Relaxed)
}

#[test]
#[ignore = "a measurement"]
fn latency_without_load() {
    let server = Server::start();
    let latencies = latency_during(&server, "without any load", |_| ());
    assert_fast(&latencies, 5.0);
}

#[test]
#[ignore = "a measurement"]
fn latency_while_one_sends_a_line_without_end() {
    let server = Server::start();
    let latencies = latency_during(
        &server,
        "while one sends a line without end, over and over",
        |ended| {
            while goes_on(ended) {
                let mut sender = server.client("rw");
                while goes_on(ended) && sender.try_send(&[b'x'; 1 << 16]).is_ok() {}
            }
        },
    );
    server.process.wait_for_log(": line_too_long (");
    assert_fast(&latencies, 5.0);
}

/// They are read for a moment longer, so that they get to know why.
#[test]
#[ignore = "a measurement"]
fn latency_while_a_hundred_send_lines_without_end() {
    let server = Setup::new()
        .flags(&["--max-line", "4K", "--max-output", "1M"])
        .start();
    let latencies = latency_during(
        &server,
        "while 100 go on sending lines without end",
        |ended| {
            let mut senders: Vec<UnixStream> = Vec::new();
            while goes_on(ended) {
                while senders.len() < 100 {
                    let stream = UnixStream::connect(&server.socket).expect("the server accepts");
                    stream.set_nonblocking(true).expect("a fresh socket");
                    senders.push(stream);
                }
                let mut written = 0;
                senders.retain_mut(|stream| match stream.write(&[b'x'; 1 << 16]) {
                    Err(error) => error.kind() == ErrorKind::WouldBlock,
                    Ok(count) => {
                        written += count;
                        true
                    }
                });
                if written == 0 {
                    std::thread::sleep(Duration::from_micros(200));
                }
            }
        },
    );
    assert_fast(&latencies, 5.0);
}

#[test]
#[ignore = "a measurement"]
fn latency_while_a_listener_does_not_read() {
    let server = Server::start();
    let latencies = latency_during(
        &server,
        "while one listener never reads what another sends it",
        |ended| {
            let signal = format!("SET signal={}\r\n", "x".repeat(1 << 16));
            let mut sender = server.client("rw");
            while goes_on(ended) {
                let mut stuck = server.client("ro");
                stuck.ask("LISTEN signal");
                let closed_before = server.status("output_limit");
                while goes_on(ended) && server.status("output_limit") == closed_before {
                    for _ in 0..100 {
                        sender.send_bytes(signal.as_bytes());
                    }
                    sender.flush();
                }
            }
        },
    );
    server.process.wait_for_log(": output_limit (");
    assert_fast(&latencies, 5.0);
}

/// A signal may wait for more signals to be sent with it, but not for the requests of other clients.
#[test]
#[ignore = "a measurement"]
fn latency_of_signals_while_others_only_ask() {
    let server = Server::start();
    let ended = AtomicBool::new(false);
    let mut times = std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut client = server.client("ro");
                let questions = "RETRIEVE nothing\r\n".repeat(2_000);
                while goes_on(&ended) {
                    client.send_bytes(questions.as_bytes());
                    client.flush();
                }
            });
        }
        let (mut one, mut other) = (server.client("rw"), server.client("rw"));
        one.ask("LISTEN pong");
        other.ask("LISTEN ping");
        let (mut times, start) = (Vec::new(), Instant::now());
        while start.elapsed() < LOAD_TIME {
            let start = Instant::now();
            one.send("NOTIFY ping");
            assert_eq!(other.next_line().as_deref(), Some("NOTIFY ping"));
            other.send("NOTIFY pong");
            assert_eq!(one.next_line().as_deref(), Some("NOTIFY pong"));
            times.push(start.elapsed() / 2);
        }
        ended.store(true, Ordering::Relaxed);
        times
    });
    times.sort();
    let latencies = Latencies(times);
    latencies.print("signals while two others only ask");
    assert_fast(&latencies, 5.0);
}

#[test]
#[ignore = "a measurement"]
fn latency_while_one_does_not_read_its_answers() {
    let server = Server::start();
    server
        .client("rw")
        .ask(&format!("STORE large={}", "x".repeat(1 << 20)));
    let latencies = latency_during(
        &server,
        "while one asks for megabytes and reads none of them",
        |ended| {
            while goes_on(ended) {
                let mut stuck = server.client("ro");
                for _ in 0..200 {
                    stuck.send("RETRIEVE large");
                }
                wait_until("it is stopped", || {
                    server.status("buffers") > 32 << 20 || !goes_on(ended)
                });
            }
        },
    );
    assert_fast(&latencies, 5.0);
}

#[test]
#[ignore = "a measurement"]
fn latency_while_thousands_never_log_in() {
    let server = Setup::new().flags(&["--auth-timeout", "1"]).start();
    let latencies = latency_during(&server, "while 5000 at a time never log in", |ended| {
        while goes_on(ended) {
            let mut strangers = Crowd::unix(&server.socket, 5000);
            while strangers.closed() < 5000 && goes_on(ended) {
                strangers.receive(Duration::from_millis(10));
            }
        }
    });
    server.process.wait_for_log(": auth_timeout (");
    assert_fast(&latencies, 5.0);
}

#[test]
#[ignore = "a measurement"]
fn latency_while_one_sends_random_bytes() {
    let server = Server::start();
    let latencies = latency_during(&server, "while one sends random bytes", |ended| {
        let bytes = Random::new(7).bytes(1 << 20);
        let mut answers = [0; 1 << 16];
        while goes_on(ended) {
            let mut stream = UnixStream::connect(&server.socket).expect("the server accepts");
            let login = format!("OVERHEAD A {}\r\nNOPING\r\n", token("ro"));
            stream
                .write_all(login.as_bytes())
                .expect("the server reads");
            stream.set_nonblocking(true).expect("an open socket");
            let mut at = 0;
            // It reads what comes, so that it is never stopped.
            while goes_on(ended) {
                match stream.write(&bytes[at..]) {
                    Ok(count) => at = (at + count) % bytes.len(),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => break,
                }
                while stream.read(&mut answers).is_ok_and(|count| count > 0) {}
            }
        }
    });
    assert!(server.status("bytes_in") > 100 << 20, "much has come");
    assert_fast(&latencies, 5.0);
}

#[test]
#[ignore = "a measurement"]
fn latency_while_one_opens_and_closes_at_full_speed() {
    let server = Server::start();
    let latencies = latency_during(
        &server,
        "while one opens and closes connections at full speed",
        |ended| {
            while goes_on(ended) {
                drop(UnixStream::connect(&server.socket).expect("the server accepts"));
            }
        },
    );
    println!(
        "measured:   {} connections came and went",
        server.status("connections")
    );
    assert_fast(&latencies, 5.0);
}

/// Writes to all of a crowd, round and round, until each has sent so many bytes or is closed.
fn send_unfinished_lines(streams: &mut [UnixStream], bytes_each: usize) {
    let piece = [b'x'; 1 << 16];
    let mut left: Vec<(usize, &mut UnixStream)> = streams
        .iter_mut()
        .map(|stream| (bytes_each, stream))
        .collect();
    while !left.is_empty() {
        let mut written = 0;
        left.retain_mut(
            |(rest, stream)| match stream.write(&piece[..piece.len().min(*rest)]) {
                Ok(count) => {
                    written += count;
                    *rest -= count;
                    *rest > 0
                }
                Err(error) => error.kind() == ErrorKind::WouldBlock,
            },
        );
        if written == 0 {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

#[test]
#[ignore = "a measurement"]
fn latency_and_memory_while_1000_send_15_megabytes_of_an_unfinished_line_each() {
    let server = Server::start();
    clacks::program::process_limits::raise_descriptor_limit().expect("a limit of our own");
    let latencies = latency_during(
        &server,
        "while 1000 send 15 MB of an unfinished line each",
        |ended| {
            let mut rounds = 0;
            while goes_on(ended) || rounds == 0 {
                let login = format!("OVERHEAD A {}\r\nNOPING\r\n", token("rw"));
                let mut streams: Vec<UnixStream> = (0..1000)
                    .map(|_| {
                        let mut stream =
                            UnixStream::connect(&server.socket).expect("the server accepts");
                        stream
                            .write_all(login.as_bytes())
                            .expect("the server reads");
                        stream.set_nonblocking(true).expect("an open socket");
                        stream
                    })
                    .collect();
                send_unfinished_lines(&mut streams, 15 << 20);
                rounds += 1;
            }
        },
    );
    server.process.wait_for_log(": buffers_limit (");
    let (peak_kb, bound_kb) = (
        server.proc_status("VmHWM"),
        (1 << 20) + (1 << 20) / 10 + (64 << 10),
    );
    println!(
        "measured:   {} closed, {} MB came in, {:.1} MB of memory at most, bound {:.1} MB",
        server.status("buffers_limit"),
        server.status("bytes_in") >> 20,
        megabytes(peak_kb),
        megabytes(bound_kb),
    );
    assert!(peak_kb < bound_kb, "{peak_kb} kB");
    assert_fast(&latencies, 5.0);
}

#[test]
#[ignore = "a measurement"]
fn latency_while_one_sends_signals_to_10000_listeners() {
    let server = Setup::new().flags(&["--max-clients", "14000"]).start();
    let mut crowd = Crowd::unix(&server.socket, 10_000);
    crowd.log_in("ro", |_| "NOPING\r\nLISTEN all\r\n".to_owned());
    let mut received = 0;
    let latencies = latency_during(
        &server,
        "while one sends signals to 10000 listeners at full speed",
        |ended| {
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let mut sender = server.client("rw");
                    while goes_on(ended) {
                        sender.send("SET all=of you");
                    }
                });
                while goes_on(ended) {
                    received += crowd.receive(Duration::from_millis(10));
                    crowd.forget();
                }
            });
        },
    );
    println!(
        "measured:   {} signals, {} deliveries, {} MB read, {} listeners closed, {} MB of buffers",
        server.status("signals"),
        server.status("deliveries"),
        received >> 20,
        crowd.closed(),
        server.status("buffers") >> 20,
    );
    assert_fast(&latencies, 10.0);
}

#[test]
#[ignore = "a measurement"]
fn latency_while_large_signals_go_to_many() {
    let server = Server::start();
    let mut crowd = Crowd::unix(&server.socket, 300);
    crowd.log_in("ro", |_| "NOPING\r\nLISTEN all\r\n".to_owned());
    let mut received = 0;
    let latencies = latency_during(
        &server,
        "while signals of 1 MB go to 300 listeners",
        |ended| {
            let mut sender = server.client("rw");
            let signal = format!("SET all={}\r\n", "x".repeat(1 << 20));
            while goes_on(ended) {
                sender.send_bytes(signal.as_bytes());
                let (mut came, end) = (0, Instant::now() + Duration::from_secs(20));
                while came < 300 * signal.len() && Instant::now() < end && goes_on(ended) {
                    came += crowd.receive(Duration::from_millis(10));
                    crowd.forget();
                }
                received += came;
            }
        },
    );
    println!("measured:   {} MB read", received >> 20);
    assert_fast(&latencies, 20.0);
}

/// A server with so many entries, stored by one client as fast as it can.
fn fill(server: &Server, client: &mut Client, entries: usize) {
    let mut batch = Vec::new();
    for number in 0..entries {
        batch
            .extend_from_slice(format!("STORE name::{number:07}=value of {number}\r\n").as_bytes());
        if batch.len() > 1 << 16 {
            client.send_bytes(&batch);
            batch.clear();
        }
    }
    client.send_bytes(&batch);
    client.flush();
    assert_eq!(server.status("entries"), entries as u64);
}

#[test]
#[ignore = "a measurement"]
fn turns_with_a_million_entries() {
    const ENTRIES: usize = 1_000_000;
    /// A plain hash table takes 60 to 100 ms to grow, a sorted list of the names 300 ms. Some of what
    /// is left for us may be another process's turn.
    const GOAL_MS: f64 = 20.0;
    let _awake = Awake::new();
    let server = Server::start();
    let mut client = server.client("admin");
    client.ask("NOPING");
    let longest_turn = |server: &Server, what: &str| {
        let longest = server.status("longest_turn_us") as f64 / 1000.0;
        println!("measured: longest turn so far, after {what}: {longest:.3} ms");
        assert!(longest < GOAL_MS, "{longest} ms");
    };
    let start = Instant::now();
    fill(&server, &mut client, ENTRIES);
    println!(
        "measured: a million STOREs in {:.2} s, {:.1} MB, {:.1} bytes an entry",
        start.elapsed().as_secs_f64(),
        megabytes(server.proc_status("VmRSS")),
        server.proc_status("VmRSS") as f64 * 1024.0 / ENTRIES as f64,
    );
    longest_turn(&server, "growing to a million entries");
    let start = Instant::now();
    assert_eq!(client.ask("KEYLIST").len(), ENTRIES + 2);
    println!(
        "measured: KEYLIST of a million in {:.2} s",
        start.elapsed().as_secs_f64()
    );
    longest_turn(&server, "KEYLIST");
    client.ask("CLEARCACHE");
    client.ask("STORE a=1");
    println!(
        "measured: {:.1} MB after CLEARCACHE",
        megabytes(server.proc_status("VmRSS"))
    );
    longest_turn(&server, "CLEARCACHE");

    let server = Setup::new()
        .flags(&["--stale-time", "6", "--clean-interval", "1"])
        .start();
    let mut client = server.client("admin");
    client.ask("NOPING");
    fill(&server, &mut client, ENTRIES);
    let latencies = latency_during(&server, "while a million entries go stale", |_| ());
    wait_until("all are gone", || server.status("entries") == 0);
    assert_eq!(server.status("expired"), ENTRIES as u64);
    longest_turn(&server, "ageing");
    assert_fast(&latencies, 5.0);
}

#[test]
#[ignore = "a measurement"]
fn ten_thousand_connections_twenty_times() {
    let server = Setup::new().flags(&["--max-clients", "14000"]).start();
    let descriptors = server.open_descriptors();
    let mut rounds: Vec<Round> = Vec::new();
    for _ in 0..20 {
        let start = Instant::now();
        let round = come_and_go(&server, || Crowd::unix(&server.socket, 10_000));
        println!(
            "measured: 10000 connections in {:.2} s, gone {:.3} s after the drop, {:.1} MB, {} descriptors",
            start.elapsed().as_secs_f64(),
            round.gone_after.as_secs_f64(),
            megabytes(round.memory_kb),
            round.descriptors,
        );
        assert_eq!(round.descriptors, descriptors);
        assert!(
            round.gone_after < Duration::from_secs(1),
            "{:?}",
            round.gone_after
        );
        rounds.push(round);
    }
    let first_kb = rounds[0].memory_kb;
    for round in &rounds {
        let change = round.memory_kb as f64 / first_kb as f64;
        assert!(
            (0.9..=1.1).contains(&change),
            "{} kB after {first_kb} kB",
            round.memory_kb
        );
    }
    let round = come_and_go(&server, || Crowd::tcp(server.port, 10_000));
    println!(
        "measured: 10000 connections over TCP, gone {:.3} s after the drop, {:.1} MB",
        round.gone_after.as_secs_f64(),
        megabytes(round.memory_kb)
    );
    assert_eq!(round.descriptors, descriptors);
    assert!(
        round.gone_after < Duration::from_secs(1),
        "{:?}",
        round.gone_after
    );
    println!(
        "measured: longest turn {:.3} ms",
        server.status("longest_turn_us") as f64 / 1000.0
    );
}

#[test]
#[ignore = "a measurement"]
fn memory_of_idle_connections() {
    const CONNECTIONS: usize = 10_000;
    for (what, own_names) in [("one name", false), ("a name of its own each", true)] {
        let server = Setup::new().flags(&["--max-clients", "14000"]).start();
        let before_kb = server.proc_status("VmRSS");
        let mut crowd = Crowd::unix(&server.socket, CONNECTIONS);
        crowd.log_in("ro", |number| {
            let name = if own_names {
                format!("listener::number::{number}")
            } else {
                "all".to_owned()
            };
            format!("NOPING\r\nLISTEN {name}\r\n")
        });
        let used_kb = server.proc_status("VmRSS") - before_kb;
        println!(
            "measured: {:.0} bytes of memory per idle connection that listens to {what} ({:.1} MB before)",
            used_kb as f64 * 1024.0 / CONNECTIONS as f64,
            megabytes(before_kb)
        );
        assert!(used_kb as usize * 1024 / CONNECTIONS < 2048, "{used_kb} kB");
    }
}

#[test]
#[ignore = "a measurement"]
fn wake_ups_of_a_thousand_idle_connections() {
    let server = Server::start();
    let mut crowds: Vec<Crowd> = Vec::new();
    for _ in 0..20 {
        let mut crowd = Crowd::unix(&server.socket, 50);
        crowd.log_in("ro", |_| "NOPING\r\n".to_owned());
        crowds.push(crowd);
        std::thread::sleep(Duration::from_millis(250));
    }
    // Long enough for every keep-alive.
    let (time, cpu_s) = (Duration::from_secs(70), server.process.cpu_s());
    let woken = wake_ups(&server, time);
    println!(
        "measured: {woken} wake-ups and {:.2} s of processor time in {} s with 1000 idle connections",
        server.process.cpu_s() - cpu_s,
        time.as_secs()
    );
    assert!(woken <= time.as_secs() + 2);
}
