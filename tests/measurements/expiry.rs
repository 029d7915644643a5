//! A million entries that expire in the same second: the turns of the loop meanwhile, and the memory that is back. Run by
//! `make measure`.

use crate::measurements::latency_during;
use crate::support::{Server, Setup, run_on_servers_core, stay_on_our_core, text, wait_until};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const ENTRIES: usize = 1_000_000;
/// Time to store all of them, in seconds.
const FILL_S: u64 = 20;
const TURN_GOAL_MS: f64 = 5.0;
/// The largest tombstone of a name of 13 bytes, in bytes.
const TOMBSTONE_GOAL: u64 = 100;

fn setup() -> Setup {
    let setup = Setup::new().with_server_of_environment();
    let memcached = setup.unix("memcached");
    let flags = [
        "--memcached",
        &memcached,
        "--memcached-user",
        "rw",
        "--clean-interval",
        "1",
    ];
    setup.flags(&flags)
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
    let value = "x".repeat(64);
    let mut batch = Vec::new();
    for start in (0..entries).step_by(1000) {
        batch.clear();
        for number in start..entries.min(start + 1000) {
            let line = format!("set expiry:{number:06} 7 {expires_s} 64 noreply\r\n{value}\r\n");
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

#[test]
#[ignore = "a measurement"]
fn a_million_entries_expire_in_one_second_on_a_server_that_is_alone() {
    stay_on_our_core();
    let server = start();
    let expires_s = unix_s() + FILL_S;
    fill(&server, ENTRIES, expires_s);
    assert_eq!(server.status("entries"), ENTRIES as u64);
    let full = server.status("cache_bytes");
    sleep_until(expires_s - 2);
    latency_during(&server, "while a million entries expire", |_| ());
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
    sleep_until(expires_s - 2);
    latency_during(&master, "while a million entries expire in a tree", |_| ());
    for (server, what) in [(&master, "master"), (&slave, "slave")] {
        assert_eq!(server.status("entries"), 0);
        assert_eq!(server.status("tombstones"), ENTRIES as u64);
        let each = server.status("cache_bytes") / ENTRIES as u64;
        println!("measured: {what}: {each} bytes for a tombstone");
        assert!(each <= TOMBSTONE_GOAL);
        assert_short_turns(server, what);
    }
    let away = Server {
        process: setup.spawn(),
        socket,
        port,
        setup,
    };
    wait_until("the third server is back", || {
        away.is_slave() && away.status("tombstones") == ENTRIES as u64
    });
    for server in [&master, &slave, &away] {
        assert_eq!(server.status("entries"), 0, "nothing comes back");
    }
}
