//! A million entries that expire in the same second: the turns of the loop meanwhile, and the memory that is back. Run by
//! `make measure`.

use crate::measurements::{goes_on, latency_during, megabytes};
use crate::support::{Server, Setup, run_on_servers_core, stay_on_our_core, text, wait_until};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const ENTRIES: usize = 1_000_000;
/// Length of a value, in bytes.
const VALUE: usize = 64;
/// Time to store all of them, in seconds.
const FILL_S: u64 = 20;
const TURN_GOAL_MS: f64 = 5.0;
/// The largest tombstone of a name of 13 bytes, in bytes.
const TOMBSTONE_GOAL: u64 = 100;
/// Time between two searches for entries whose time is over, and the most that a search takes, in seconds.
const CLEAN_INTERVAL_S: u64 = 4;
const SEARCH_S: f64 = 1.0;
/// Tombstones stay for so long after the expiry, in seconds.
const DELETED_S: u64 = 60;
/// Bytes for each entry that the C library may keep of the memory of the index, for entries to come.
const INDEX_KEPT: u64 = 10;
/// Memory that a server may have besides, and besides what it had when its cache was empty, in KiB.
const SLACK_KB: u64 = 4 * 1024;

fn setup() -> Setup {
    let setup = Setup::new().with_server_of_environment();
    let memcached = setup.unix("memcached");
    let (interval, deleted) = (CLEAN_INTERVAL_S.to_string(), DELETED_S.to_string());
    let flags = [
        ["--memcached", &memcached],
        ["--memcached-user", "rw"],
        ["--clean-interval", &interval],
        ["--deleted-time", &deleted],
    ];
    setup.flags(flags.as_flattened())
}

fn start() -> Server {
    setup().start_changed(run_on_servers_core)
}

fn slave_of(master: &Server) -> Setup {
    setup().flags(&["--master", &master.setup.unix("socket")])
}

fn unix_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("it is after 1970").as_secs()
}

/// Stores entries that all expire at that moment; 0: never.
fn fill(server: &Server, entries: usize, expires_s: u64) {
    let path = server.setup.path("memcached");
    let stream = UnixStream::connect(path).expect("the server listens there");
    let mut answers = BufReader::new(stream.try_clone().expect("a descriptor"));
    let mut stream = stream;
    let value = "x".repeat(VALUE);
    let mut batch = Vec::new();
    for start in (0..entries).step_by(1000) {
        batch.clear();
        for number in start..entries.min(start + 1000) {
            let line =
                format!("set expiry:{number:06} 7 {expires_s} {VALUE} noreply\r\n{value}\r\n");
            batch.extend_from_slice(line.as_bytes());
        }
        batch.extend_from_slice(b"mn\r\n");
        stream.write_all(&batch).expect("the server reads");
        let mut answer = String::new();
        answers.read_line(&mut answer).expect("the server answers");
        assert_eq!(answer, "MN\r\n");
    }
}

fn sleep_until(moment_s: u64) {
    while unix_s() < moment_s {
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn assert_short_turns(server: &Server, what: &str) {
    let turn = server.status("longest_turn_us") as f64 / 1000.0;
    println!("measured: {what}: longest turn {turn:.3} ms");
    assert!(turn < TURN_GOAL_MS, "{what}: a turn of {turn} ms");
}

/// A server, with the memory that it had before anything was stored.
struct Measured<'a> {
    server: &'a Server,
    name: &'static str,
    empty_kb: u64,
    full_kb: u64,
}

impl<'a> Measured<'a> {
    fn empty(server: &'a Server, name: &'static str) -> Measured<'a> {
        Measured {
            server,
            name,
            empty_kb: server.proc_status("RssAnon"),
            full_kb: 0,
        }
    }

    /// Notes the memory with all entries.
    fn is_full(&mut self) {
        self.full_kb = self.server.proc_status("RssAnon");
        let values_kb = (ENTRIES * VALUE / 1024) as u64;
        assert!(self.full_kb > self.empty_kb + values_kb);
    }

    /// Waits until no entry is left, and no more memory than that of tombstones of the largest size. Returns the seconds
    /// since the expiry.
    fn wait_for_memory(&self, tombstones: usize, expires_s: u64, ended: &AtomicBool) -> f64 {
        let tombstones_kb = tombstones as u64 * TOMBSTONE_GOAL / 1024;
        let index_kb = ENTRIES as u64 * INDEX_KEPT / 1024;
        let allowed_kb = self.empty_kb + tombstones_kb + index_kb + SLACK_KB;
        let is_back = || {
            self.server.proc_status("RssAnon") <= allowed_kb && self.server.status("entries") == 0
        };
        while !is_back() && goes_on(ended) {
            std::thread::sleep(Duration::from_millis(50));
        }
        self.print_memory("when all has expired");
        assert!(is_back(), "{}: more than {allowed_kb} KiB", self.name);
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.expect("it is after 1970").as_secs_f64() - expires_s as f64
    }

    fn print_memory(&self, when: &str) {
        let now_kb = self.server.proc_status("RssAnon");
        let [empty, full, now] = [self.empty_kb, self.full_kb, now_kb].map(megabytes);
        println!(
            "measured: {}: {empty:.1} MB when empty, {full:.1} MB when full, {now:.1} MB {when}",
            self.name
        );
    }
}

fn assert_within_an_interval(seconds: f64, name: &str) {
    println!("measured: {name}: the memory is back after {seconds:.1} s");
    let most_s = CLEAN_INTERVAL_S as f64 + SEARCH_S;
    assert!(seconds < most_s, "{name}: {seconds} s");
}

#[test]
#[ignore = "a measurement"]
fn a_million_entries_expire_in_one_second_on_a_server_that_is_alone() {
    stay_on_our_core();
    let server = start();
    let mut measured = Measured::empty(&server, "alone");
    let expires_s = unix_s() + FILL_S;
    fill(&server, ENTRIES, expires_s);
    assert_eq!(server.status("entries"), ENTRIES as u64);
    measured.is_full();
    let full = server.status("cache_bytes");
    sleep_until(expires_s - 1);
    let mut seconds = 0.0;
    latency_during(&server, "while a million entries expire", |ended| {
        sleep_until(expires_s);
        seconds = measured.wait_for_memory(0, expires_s, ended);
    });
    assert_within_an_interval(seconds, "alone");
    let (entries, tombstones) = (server.status("entries"), server.status("tombstones"));
    assert_eq!(
        (entries, tombstones, server.status("cache_bytes")),
        (0, 0, 0)
    );
    println!("measured: alone: {full} bytes before, 0 after");
    assert_short_turns(&server, "alone");
}

#[test]
#[ignore = "a measurement"]
fn a_million_entries_expire_in_one_second_in_a_tree() {
    stay_on_our_core();
    let master = start();
    let slave = slave_of(&master).start();
    let away = slave_of(&master);
    let journal = away.path("journal");
    let away = away.flags(&["--persist", &text(&journal)]).start();
    wait_until("the links are up", || slave.is_slave() && away.is_slave());
    let mut measured = [(&master, "master"), (&slave, "slave")]
        .map(|(server, name)| Measured::empty(server, name));
    const OLDER: usize = 100_000;
    fill(&master, OLDER, 0);
    wait_until("the third server has the older values", || {
        away.status("entries") == OLDER as u64
    });
    away.client("rw").flush();
    let Server {
        process,
        socket,
        port,
        setup,
    } = away;
    drop(process);
    let expires_s = unix_s() + 2 * FILL_S;
    fill(&master, ENTRIES, expires_s);
    wait_until("the slave has all", || {
        slave.status("entries") == ENTRIES as u64
    });
    measured.iter_mut().for_each(Measured::is_full);
    sleep_until(expires_s - 1);
    let mut seconds = [0.0; 2];
    latency_during(
        &master,
        "while a million entries expire in a tree",
        |ended| {
            sleep_until(expires_s);
            seconds = measured
                .each_ref()
                .map(|one| one.wait_for_memory(ENTRIES, expires_s, ended));
        },
    );
    for (one, seconds) in measured.iter().zip(seconds) {
        let Measured { server, name, .. } = one;
        assert_within_an_interval(seconds, name);
        assert_eq!(server.status("tombstones"), ENTRIES as u64);
        let each = server.status("cache_bytes") / ENTRIES as u64;
        println!("measured: {name}: {each} bytes for a tombstone");
        assert!(each <= TOMBSTONE_GOAL);
        assert_short_turns(server, name);
    }
    let away = Server {
        process: setup.spawn(),
        socket,
        port,
        setup,
    };
    assert_nothing_comes_back([&master, &slave, &away]);
    assert!(unix_s() < expires_s + DELETED_S, "it was back in time");
    sleep_until(expires_s + DELETED_S + CLEAN_INTERVAL_S + 1);
    for one in &measured {
        one.wait_for_memory(0, expires_s, &AtomicBool::new(true));
        assert_short_turns(one.server, one.name);
    }
    for server in [&master, &slave, &away] {
        let figures = ["entries", "tombstones", "cache_bytes"];
        assert_eq!(figures.map(|figure| server.status(figure)), [0; 3]);
    }
}

/// The last server has been away, and has values that are older.
fn assert_nothing_comes_back(servers: [&Server; 3]) {
    let away = servers[2];
    wait_until("the third server is back", || {
        away.is_slave() && away.status("tombstones") == ENTRIES as u64
    });
    for server in servers {
        assert_eq!(server.status("entries"), 0, "nothing comes back");
    }
}
