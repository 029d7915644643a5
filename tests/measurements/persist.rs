//! Measurements of the journal and of a limited cache: kills by the thousand, memory per entry beside memcached's and
//! Redis's, latency while the journal is synced and rewritten, and hit rates.
//! Run by `make measure`.

use crate::journal::process::{Tampering, journal_thread, kill};
use crate::support::{
    Awake, Client, Server, Setup, move_to_our_core, run_on_servers_core, stay_on_our_core, text,
    wait_until,
};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

#[test]
#[ignore = "takes minutes: make measure"]
fn a_thousand_kills() {
    let start = Instant::now();
    for (rounds, sync) in [(400, "always"), (300, "1"), (300, "never")] {
        kill(rounds, &["--fsync", sync]);
        println!(
            "measured: {rounds} kills with --fsync {sync}: nothing lost that was flushed ({:.0} s so far)",
            start.elapsed().as_secs_f64()
        );
    }
}

const VALUE: usize = 64;

/// Stores entries with names of 13 bytes and values of 64.
fn store(client: &mut Client, from: usize, to: usize) {
    let value = "v".repeat(VALUE);
    for start in (from..to).step_by(1000) {
        let lines: Vec<String> = (start..(start + 1000).min(to))
            .map(|number| format!("STORE name:{number:08}={value}\r\n"))
            .collect();
        client.send_bytes(lines.concat().as_bytes());
    }
    client.flush();
}

/// Memory of a process in kB.
fn memory_kb(process: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("a process");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kb = line.and_then(|line| line.split_whitespace().nth(1));
    kb.and_then(|kb| kb.parse().ok()).expect("a number")
}

/// A free port, most likely: nobody else here opens any.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("it is bound").port()
}

/// A process of somebody else's that is ended with the value.
struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a peer and connects to it; `None` where it is not installed.
fn peer(program: &str, arguments: &[&str], port: u16) -> Option<(Peer, TcpStream)> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let peer = Peer(command.spawn().ok()?);
    let mut stream = None;
    wait_until("the peer listens", || {
        stream = TcpStream::connect(("127.0.0.1", port)).ok();
        stream.is_some()
    });
    Some((peer, stream?))
}

/// Sends requests in batches and waits for as many answers, each of which ends so.
fn exchange(stream: &mut (impl Read + Write), requests: &str, answers: usize, answer: &[u8]) {
    stream.write_all(requests.as_bytes()).expect("it reads");
    let mut left = answers * answer.len();
    let mut buffer = [0; 65536];
    while left > 0 {
        let count = stream.read(&mut buffer).expect("it answers");
        assert!(count > 0, "it goes on");
        left = left.saturating_sub(count);
    }
}

/// Stores values for these numbers in memcached's language, with these flags and this expiry.
fn set(stream: &mut (impl Read + Write), numbers: Range<usize>, arguments: &str, value: &str) {
    const BATCH: usize = 1000;
    let length = value.len();
    for start in numbers.step_by(BATCH) {
        let requests: Vec<String> = (start..start + BATCH)
            .map(|number| format!("set name:{number:08} {arguments} {length}\r\n{value}\r\n"))
            .collect();
        exchange(stream, &requests.concat(), BATCH, b"STORED\r\n");
    }
}

/// The bytes by which the process grows for each entry, with names of 13 bytes.
#[test]
#[ignore = "a measurement"]
fn growth_with_each_kind_of_entry() {
    for (arguments, length, goal) in [("0 0", 64, 100.0), ("7 86400", 64, 113.0), ("0 0", 8, 45.0)]
    {
        let setup = Setup::new();
        let address = setup.unix("memcached");
        let server = setup
            .flags(&["--memcached", &address, "--memcached-user", "rw"])
            .start();
        let socket = server.setup.path("memcached");
        let mut stream = UnixStream::connect(socket).expect("it listens");
        let value = "v".repeat(length);
        // What the first entries take is that of the connection, and of pages that are nearly empty.
        let mut done = 1000;
        set(&mut stream, 0..done, arguments, &value);
        let first = done;
        let before_kb = memory_kb(server.process.id());
        for entries in [900_000, 1_000_000, 1_100_000] {
            set(&mut stream, done..entries, arguments, &value);
            done = entries;
            let grown_kb = memory_kb(server.process.id()) - before_kb;
            let each = grown_kb * 1024.0 / (entries - first) as f64;
            println!(
                "measured: {each:.1} bytes an entry of 13 + {length} bytes with flags and expiry {arguments} at {entries}"
            );
            assert!(each <= goal, "{each}");
        }
    }
}

#[test]
#[ignore = "a measurement"]
fn memory_of_a_million_entries() {
    const GOAL: f64 = 108.0;
    let steps = [900_000, 1_000_000, 1_100_000];
    let value = "v".repeat(VALUE);
    let server = Server::start();
    let mut client = server.client("admin");
    client.ask("NOPING");
    let mut done = 0;
    for entries in steps {
        store(&mut client, done, entries);
        done = entries;
        let each = memory_kb(server.process.id()) * 1024.0 / entries as f64;
        println!("measured: clacksd: {each:.1} bytes of resident memory per entry at {entries}");
        assert!(each <= GOAL, "{each}");
    }
    drop(server);
    let port = free_port().to_string();
    let number: u16 = port.parse().expect("a port");
    let memcached = ["-u", "nobody", "-m", "2048", "-l", "127.0.0.1", "-p", &port];
    if let Some((peer, mut stream)) = peer("memcached", &memcached, number) {
        set(&mut stream, 0..1_000_000, "0 0", &value);
        println!(
            "measured: memcached: {:.1} at 1000000",
            memory_kb(peer.0.id()) * 1024.0 / 1e6
        );
    }
    let port = free_port().to_string();
    let number: u16 = port.parse().expect("a port");
    let redis = ["--port", &port, "--save", "", "--appendonly", "no"];
    if let Some((peer, mut stream)) = peer("redis-server", &redis, number) {
        for start in (0..1_000_000).step_by(1000) {
            let requests: Vec<String> = (start..start + 1000)
                .map(|number| {
                    format!("*3\r\n$3\r\nSET\r\n$13\r\nname:{number:08}\r\n${VALUE}\r\n{value}\r\n")
                })
                .collect();
            exchange(&mut stream, &requests.concat(), 1000, b"+OK\r\n");
        }
        println!(
            "measured: Redis: {:.1} at 1000000",
            memory_kb(peer.0.id()) * 1024.0 / 1e6
        );
    }
}

fn with_journal(flags: &[&str]) -> Setup {
    let setup = Setup::new();
    let journal = text(&setup.path("journal"));
    setup.flags(&["--persist", &journal]).flags(flags)
}

#[test]
#[ignore = "a measurement"]
fn loading_a_million_entries() {
    let mut server = with_journal(&[]).start();
    let mut client = server.client("admin");
    client.ask("NOPING");
    let start = Instant::now();
    store(&mut client, 0, 1_000_000);
    println!(
        "measured: a million entries stored and written in {:.2} s",
        start.elapsed().as_secs_f64()
    );
    let journal = server.setup.path("journal");
    let length = || std::fs::metadata(&journal).expect("a journal").len();
    wait_until("no rewrite", || {
        server.status_line().contains(" journal=saving ")
    });
    println!(
        "measured: journal of {} bytes, {:.1} per entry; longest turn {} us",
        length(),
        length() as f64 / 1e6,
        server.status("longest_turn_us")
    );
    drop(client);
    server.process.signal(libc::SIGTERM);
    assert!(server.process.wait().success());
    let start = Instant::now();
    let server = server.kill_and_restart();
    server.process.wait_for_log("ready");
    println!(
        "measured: ready after {:.2} s: {}",
        start.elapsed().as_secs_f64(),
        server.process.wait_for_log("records read")
    );
    assert_eq!(server.status("entries"), 1_000_000);
    println!(
        "measured: {:.1} bytes of resident memory per entry after that",
        memory_kb(server.process.id()) * 1024.0 / 1e6
    );
}

/// Measures a server that one client asks while another one stores. Returns the 99th percentile of the time for an
/// answer, and the longest turn of the server in microseconds.
fn ask_while_storing(server: &Server) -> (Duration, u64) {
    const ENTRIES: usize = 200_000;
    let mut writer = server.client("admin");
    writer.ask("NOPING");
    store(&mut writer, 0, ENTRIES);
    // What came before doesn't count; there is no way to forget it, so it must be less.
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let mut latencies = std::thread::scope(|scope| {
        let asker = scope.spawn(|| {
            let mut client = server.client("admin");
            let mut latencies = Vec::new();
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                let start = Instant::now();
                client.send("RETRIEVE name:00000500");
                assert!(client.next_line().is_some());
                latencies.push(start.elapsed());
                std::thread::sleep(Duration::from_micros(300));
            }
            latencies
        });
        let start = Instant::now();
        let mut round = 0;
        // 50,000 entries a second: 6 MB of journal, so that it is rewritten every few seconds.
        while start.elapsed() < Duration::from_secs(5) {
            let from = round * 500 % ENTRIES;
            store(&mut writer, from, from + 500);
            round += 1;
            let due = Duration::from_millis(10 * round as u64);
            std::thread::sleep(due.saturating_sub(start.elapsed()));
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        asker.join().expect("no panic")
    });
    latencies.sort();
    (
        latencies[latencies.len() * 99 / 100],
        server.status("longest_turn_us"),
    )
}

fn median<T: Ord + Copy>(values: &mut [T]) -> T {
    values.sort();
    values[values.len() / 2]
}

#[test]
#[ignore = "a measurement"]
fn latency_while_the_journal_is_synced_and_written_anew() {
    // A thread of its own: only this measurement is to stay on one core.
    let measuring = std::thread::spawn(latency_with_a_journal_and_without);
    measuring.join().expect("no panic");
}

/// The loop has a core, and all that may run beside it has another one: or else the longest turn is that of
/// whoever came between.
fn latency_with_a_journal_and_without() {
    let _awake = Awake::new();
    assert!(stay_on_our_core(), "this takes two cores");
    let start = |setup: Setup| setup.start_changed(run_on_servers_core);
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for round in 0..11 {
        let plain = ask_while_storing(&start(Setup::new()));
        let server = start(with_journal(&["--fsync", "1"]));
        assert!(move_to_our_core(journal_thread(&server)));
        let kept = ask_while_storing(&server);
        println!(
            "measured: round {round}: p99 of RETRIEVE {:?} without a journal, {:?} with it; longest turn {} and {} us",
            plain.0, kept.0, plain.1, kept.1
        );
        without.push(plain);
        with.push(kept);
    }
    let ratio = |a: f64, b: f64| a / b;
    let p99 = |rounds: &[(Duration, u64)]| {
        median(&mut rounds.iter().map(|round| round.0).collect::<Vec<_>>())
    };
    let turn = |rounds: &[(Duration, u64)]| {
        median(&mut rounds.iter().map(|round| round.1).collect::<Vec<_>>())
    };
    let (p99, turn) = (
        ratio(p99(&with).as_secs_f64(), p99(&without).as_secs_f64()),
        ratio(turn(&with) as f64, turn(&without) as f64),
    );
    println!(
        "measured: medians with a journal: p99 {p99:.2} times, longest turn {turn:.2} times those without"
    );
    assert!(p99 <= 1.5 && turn <= 1.5, "{p99} {turn}");
}

#[test]
#[ignore = "a measurement"]
fn turns_while_the_disk_is_slow() {
    let _awake = Awake::new();
    let server = with_journal(&["--fsync", "1"]).start();
    let mut client = server.client("admin");
    client.ask("NOPING");
    store(&mut client, 0, 50_000);
    let tampering = Tampering::start(
        journal_thread(&server),
        &[
            "fdatasync:delay_exit=500000",
            "write:delay_exit=500000",
            "rename:delay_exit=500000",
            "openat:delay_exit=500000",
            "fsync:delay_exit=500000",
        ],
    );
    let value = "v".repeat(VALUE);
    let start = Instant::now();
    let mut stored = 0;
    while start.elapsed() < Duration::from_secs(15) {
        // Without FLUSH, which would wait.
        let lines: Vec<String> = (0..500)
            .map(|number| format!("STORE name:{number:08}={value}\r\n"))
            .collect();
        client.send_bytes(lines.concat().as_bytes());
        stored += 500;
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(tampering);
    client.flush();
    println!(
        "measured: {stored} STOREs while every call to the disk took 0.5 s: longest turn {} us; {}",
        server.status("longest_turn_us"),
        server
            .status_line()
            .split(' ')
            .find(|figure| figure.starts_with("journal="))
            .unwrap_or_default()
    );
    assert!(server.status("longest_turn_us") < 10_000);
}

/// Draws ranks by Zipf's law in constant time (Walker's alias method).
struct Zipf {
    keep: Vec<f64>,
    alias: Vec<u32>,
    random: u64,
}

impl Zipf {
    fn new(ranks: usize, exponent: f64) -> Zipf {
        let weights: Vec<f64> = (1..=ranks)
            .map(|rank| (rank as f64).powf(-exponent))
            .collect();
        let mean = weights.iter().sum::<f64>() / ranks as f64;
        let mut keep: Vec<f64> = weights.iter().map(|weight| weight / mean).collect();
        let mut alias: Vec<u32> = (0..ranks as u32).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..ranks).partition(|rank| keep[*rank] < 1.0);
        while let (Some(&less), Some(&more)) = (small.last(), large.last()) {
            small.pop();
            alias[less] = more as u32;
            keep[more] -= 1.0 - keep[less];
            if keep[more] < 1.0 {
                large.pop();
                small.push(more);
            }
        }
        Zipf {
            keep,
            alias,
            random: 1,
        }
    }

    fn next(&mut self) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let rank = (self.random >> 32) as usize % self.keep.len();
        let fraction = (self.random & 0xffff_ffff) as f64 / 4_294_967_296.0;
        if fraction < self.keep[rank] {
            rank
        } else {
            self.alias[rank] as usize
        }
    }
}

/// An exact LRU of ranks: a list through arrays.
struct Lru {
    next: Vec<u32>,
    before: Vec<u32>,
    len: usize,
    room: usize,
}

const NOT_IN: u32 = u32::MAX;

impl Lru {
    fn new(ranks: usize, room: usize) -> Lru {
        // The last place is the ends of the list.
        let mut lru = Lru {
            next: vec![NOT_IN; ranks + 1],
            before: vec![NOT_IN; ranks + 1],
            len: 0,
            room,
        };
        lru.next[ranks] = ranks as u32;
        lru.before[ranks] = ranks as u32;
        lru
    }

    fn take_out(&mut self, rank: usize) {
        let (before, next) = (self.before[rank], self.next[rank]);
        self.next[before as usize] = next;
        self.before[next as usize] = before;
        self.next[rank] = NOT_IN;
        self.len -= 1;
    }

    /// Makes a rank the most recently used one, and reports whether it was in the list before. If it was not and the
    /// list is full, the least recently used rank is removed.
    fn use_it(&mut self, rank: usize) -> bool {
        let ends = self.next.len() - 1;
        let was_in = self.next[rank] != NOT_IN;
        if was_in {
            self.take_out(rank);
        } else if self.len == self.room {
            self.take_out(self.before[ends] as usize);
        }
        let first = self.next[ends];
        self.next[rank] = first;
        self.before[rank] = ends as u32;
        self.before[first as usize] = rank as u32;
        self.next[ends] = rank as u32;
        self.len += 1;
        was_in
    }
}

/// CLACKSD_OPERATIONS=n for another number of operations.
#[test]
#[ignore = "a measurement of minutes"]
fn a_limited_cache_under_a_hundred_million_operations() {
    const MAX: f64 = 64.0 * 1024.0 * 1024.0;
    let operations: usize = std::env::var("CLACKSD_OPERATIONS")
        .map_or(100_000_000, |text| text.parse().expect("a number"));
    // Blocks of 112 bytes, and 12 in the table.
    let room = (MAX / 124.8) as usize;
    let names = room * 10;
    let mut zipf = Zipf::new(names, 0.99);
    let mut lru = Lru::new(names, room);
    let server = Setup::new().flags(&["--cache-max", "64M"]).start();
    let mut client = server.client("admin");
    client.ask("NOPING");
    let base_kb = memory_kb(server.process.id());
    let value = "v".repeat(VALUE);
    let (mut hits, mut lru_hits, mut counted, mut done, mut shown) = (0_u64, 0_u64, 0_u64, 0, 0);
    let (mut most_kb, start) = (0.0_f64, Instant::now());
    let mut requests = String::new();
    while done < operations {
        requests.clear();
        let ranks: Vec<usize> = (0..500).map(|_| zipf.next()).collect();
        for rank in &ranks {
            use std::fmt::Write;
            write!(requests, "RETRIEVE name:{rank:08}\r\n").expect("a String takes it");
        }
        client.send_bytes(requests.as_bytes());
        requests.clear();
        let counts = done > operations / 4;
        for rank in &ranks {
            let answer = client.next_line().expect("an answer");
            let is_hit = answer.starts_with("RETRIEVED ");
            let lru_hit = lru.use_it(*rank);
            if counts {
                hits += u64::from(is_hit);
                lru_hits += u64::from(lru_hit);
                counted += 1;
            }
            if !is_hit {
                use std::fmt::Write;
                write!(requests, "STORE name:{rank:08}={value}\r\n").expect("a String takes it");
                done += 1;
            }
            done += 1;
        }
        client.send_bytes(requests.as_bytes());
        if done / (operations / 10) > shown {
            shown = done / (operations / 10);
            let kb = memory_kb(server.process.id());
            most_kb = most_kb.max(kb);
            println!(
                "measured: after {done} operations, {:.0} s: {:.1} MiB, {} entries",
                start.elapsed().as_secs_f64(),
                kb / 1024.0,
                server.status("entries")
            );
        }
    }
    let (ours, lru) = (
        hits as f64 / counted as f64,
        lru_hits as f64 / counted as f64,
    );
    println!(
        "measured: hit rate {ours:.4}, exact LRU of {room} entries {lru:.4}; {:.1} MiB at most beyond {:.1} at the start; longest turn {} us",
        (most_kb - base_kb) / 1024.0,
        base_kb / 1024.0,
        server.status("longest_turn_us"),
    );
    assert!(ours >= lru);
    assert!((most_kb - base_kb) * 1024.0 <= MAX * 1.1);
}
