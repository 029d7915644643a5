//! How long a turn of the loop lasts, and how long another client waits, while somebody sends or asks for much: values
//! of 16 MB to many, long listings of many at once, long names. Run by `make measure`.
//!
//! The server has a core for itself: what is measured is its turns, not how the kernel shares a core with the load.
//! Each row prints the round trips of another client and the longest turn, and fails beyond the goals.

use crate::measurements::{assert_fast, goes_on, latency_during};
use crate::support::{
    Client, Crowd, Server, Setup, run_on_servers_core, stay_on_our_core, token, wait_until,
};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const LARGE: usize = 16_000_000;
/// Of another client's round trips.
const P99_GOAL_MS: f64 = 5.0;
const WAIT_GOAL_MS: f64 = 50.0;
const TURN_GOAL_MS: f64 = 10.0;

/// Room for all that the rows let wait.
const FLAGS: [&str; 4] = ["--max-buffers", "4G", "--max-clients", "11000"];

fn setup() -> Setup {
    Setup::new().with_server_of_environment().flags(&FLAGS)
}

/// Starts the server on a core of its own; the load, and other servers, have the other ones.
fn start(setup: Setup) -> Server {
    stay_on_our_core();
    setup.start_changed(run_on_servers_core)
}

/// Measures another client while `load` runs, and compares with the goals.
fn row(server: &Server, what: &str, load: impl FnOnce(&AtomicBool) + Send) {
    let latencies = latency_during(server, what, load);
    assert_fast(&latencies, P99_GOAL_MS);
    let longest = latencies.longest_ms();
    assert!(longest < WAIT_GOAL_MS, "one waited for {longest} ms");
    let turn = longest_turn_ms(server);
    assert!(turn < TURN_GOAL_MS, "a turn of {turn} ms");
}

fn longest_turn_ms(server: &Server) -> f64 {
    server.status("longest_turn_us") as f64 / 1000.0
}

/// A slave of another server.
fn slave_of(master: &Server) -> Setup {
    setup().flags(&["--master", &master.setup.unix("socket")])
}

/// Starts a slave beside the load, and waits until it is one.
fn start_slave_of(master: &Server) -> Server {
    let slave = slave_of(master).start();
    wait_until("the link is up", || slave.is_slave());
    slave
}

fn line(start: &str, length: usize) -> Vec<u8> {
    let mut line = start.as_bytes().to_vec();
    line.resize(start.len() + length, b'x');
    line.extend_from_slice(b"\r\n");
    line
}

/// Takes all that comes to a crowd for a moment.
fn drain(crowd: &mut Crowd) -> usize {
    let count = crowd.receive(Duration::from_millis(10));
    crowd.forget();
    count
}

/// Sends the same line over and over, each time when everybody has got it.
fn send_to_readers(
    sender: &mut Client,
    line: &[u8],
    crowd: &mut Crowd,
    receivers: usize,
    ended: &AtomicBool,
) {
    let received = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut sent = 0;
            while goes_on(ended) {
                sender.send_bytes(line);
                sent += line.len();
                if receivers == 0 {
                    sender.flush();
                }
                // What they get differs from the line by some bytes.
                while goes_on(ended) && received.load(Ordering::Relaxed) < receivers * sent / 10 * 9
                {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        });
        while goes_on(ended) {
            received.fetch_add(drain(crowd), Ordering::Relaxed);
        }
        // What the sender is still to send has to be read.
        let end = Instant::now() + Duration::from_secs(1);
        while Instant::now() < end {
            drain(crowd);
        }
    });
}

/// Three listeners, monitors and slaves, all of which read.
fn large_lines(verb: &str, monitors: usize, slaves: usize) {
    let server = start(setup());
    let slaves: Vec<Server> = (0..slaves).map(|_| start_slave_of(&server)).collect();
    let mut crowd = Crowd::unix(&server.socket, 3 + monitors);
    crowd.log_in("admin", |number| match number {
        0..3 => "NOPING\r\nLISTEN large\r\n".to_owned(),
        _ => "NOPING\r\n".to_owned(),
    });
    crowd.send(|number| match number {
        0..3 => Vec::new(),
        _ => b"MONITOR\r\n".to_vec(),
    });
    let what = format!(
        "while {verb}s of 16 MB go to three listeners, {monitors} monitors and {} slaves",
        slaves.len()
    );
    row(&server, &what, |ended| {
        let mut sender = server.client("rw");
        sender.ask("NOPING");
        let line = line(&format!("{verb} large="), LARGE);
        let listeners = if verb.starts_with("SET") { 3 } else { 0 };
        send_to_readers(&mut sender, &line, &mut crowd, listeners + monitors, ended);
    });
}

#[test]
#[ignore = "a measurement"]
fn turns_while_large_values_are_set_and_stored() {
    large_lines("SETANDSTORE", 1, 1);
}

#[test]
#[ignore = "a measurement"]
fn turns_while_large_values_are_set() {
    large_lines("SET", 0, 0);
}

#[test]
#[ignore = "a measurement"]
fn turns_while_large_lines_are_monitored() {
    large_lines("STORE", 3, 0);
}

#[test]
#[ignore = "a measurement"]
fn turns_while_large_values_go_to_slaves() {
    large_lines("STORE", 0, 3);
}

#[test]
#[ignore = "a measurement"]
fn turns_of_a_slave_that_gets_large_values() {
    let master = setup().start();
    let slave = start(slave_of(&master));
    wait_until("the link is up", || slave.is_slave());
    row(
        &slave,
        "while the master gets SETANDSTOREs of 16 MB",
        |ended| {
            let mut sender = master.client("rw");
            sender.ask("NOPING");
            let line = line("SETANDSTORE large=", LARGE);
            while goes_on(ended) {
                sender.send_bytes(&line);
                sender.flush();
            }
        },
    );
}

/// Its line comes back with the error.
#[test]
#[ignore = "a measurement"]
fn turns_while_large_lines_are_no_commands() {
    let server = start(setup());
    let mut crowd = Crowd::unix(&server.socket, 1);
    crowd.log_in("rw", |_| "NOPING\r\n".to_owned());
    let line = line("NONSENSE ", LARGE);
    row(&server, "while unknown commands of 16 MB come", |ended| {
        while goes_on(ended) {
            crowd.send(|_| line.clone());
            let mut came = 0;
            while came < line.len() && goes_on(ended) {
                came += drain(&mut crowd);
            }
        }
    });
}

#[test]
#[ignore = "a measurement"]
fn turns_while_many_retrieve_large_values() {
    let server = start(setup());
    server.client("rw").send_bytes(&line("STORE large=", LARGE));
    let mut crowd = Crowd::unix(&server.socket, 40);
    crowd.log_in("ro", |_| "NOPING\r\n".to_owned());
    row(&server, "while 40 retrieve 16 MB each", |ended| {
        while goes_on(ended) {
            crowd.send(|_| b"RETRIEVE large\r\n".to_vec());
            let mut came = 0;
            while came < 40 * LARGE && goes_on(ended) {
                came += drain(&mut crowd);
            }
        }
    });
}

#[test]
#[ignore = "a measurement"]
fn turns_while_one_retrieves_large_values_without_waiting() {
    let server = start(setup());
    server.client("rw").send_bytes(&line("STORE large=", LARGE));
    let mut crowd = Crowd::unix(&server.socket, 1);
    crowd.log_in("ro", |_| "NOPING\r\n".to_owned());
    row(&server, "while one pipelines RETRIEVEs of 16 MB", |ended| {
        crowd.send(|_| "RETRIEVE large\r\n".repeat(500).into_bytes());
        while goes_on(ended) {
            drain(&mut crowd);
        }
    });
}

/// Signals to a listener do not wait behind the values that others get.
#[test]
#[ignore = "a measurement"]
fn signals_while_hundreds_retrieve_large_values() {
    let server = start(setup());
    server.client("rw").send_bytes(&line("STORE large=", LARGE));
    let mut crowd = Crowd::unix(&server.socket, 300);
    crowd.log_in("ro", |_| "NOPING\r\n".to_owned());
    let (mut sender, mut listener) = (server.client("rw"), server.client("rw"));
    listener.ask("LISTEN signal");
    let mut longest = Duration::ZERO;
    let mut signals = |ended: &AtomicBool, longest: &mut Duration| {
        while goes_on(ended) {
            let start = Instant::now();
            sender.send("NOTIFY signal");
            assert_eq!(listener.next_line().as_deref(), Some("NOTIFY signal"));
            *longest = start.elapsed().max(*longest);
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    row(&server, "while 300 retrieve 16 MB each", |ended| {
        std::thread::scope(|scope| {
            scope.spawn(|| signals(ended, &mut longest));
            crowd.send(|_| b"RETRIEVE large\r\n".to_vec());
            while goes_on(ended) {
                drain(&mut crowd);
            }
        });
    });
    println!("measured:   a signal took {longest:?} at most");
    assert!(longest.as_secs_f64() * 1000.0 < WAIT_GOAL_MS);
}

/// All of a crowd ask the same again as soon as some have their answers.
fn ask_all(crowd: &mut Crowd, question: &'static [u8], ended: &AtomicBool) {
    crowd.send(|_| question.to_vec());
    let mut round = Instant::now();
    while goes_on(ended) {
        drain(crowd);
        if round.elapsed() > Duration::from_secs(2) {
            crowd.send(|_| question.to_vec());
            round = Instant::now();
        }
    }
}

#[test]
#[ignore = "a measurement"]
fn turns_while_a_thousand_list_the_names() {
    let server = start(setup());
    let mut client = server.client("admin");
    for start in (0..100_000).step_by(1000) {
        let lines = (start..start + 1000).map(|number| format!("STORE name::{number:06}=v\r\n"));
        client.send_bytes(lines.collect::<String>().as_bytes());
    }
    client.flush();
    let mut crowd = Crowd::unix(&server.socket, 1000);
    crowd.log_in("ro", |_| "NOPING\r\n".to_owned());
    row(&server, "while 1000 ask for KEYLIST", |ended| {
        ask_all(&mut crowd, b"KEYLIST\r\n", ended);
    });
}

#[test]
#[ignore = "a measurement"]
fn turns_while_a_thousand_list_a_few_names() {
    let server = start(setup());
    let mut client = server.client("admin");
    let lines = (0..5000).map(|number| format!("STORE name::{number:06}=v\r\n"));
    client.send_bytes(lines.collect::<String>().as_bytes());
    client.flush();
    let mut crowd = Crowd::unix(&server.socket, 1000);
    crowd.log_in("ro", |_| "NOPING\r\n".to_owned());
    row(&server, "while 1000 ask for KEYLIST of 5000", |ended| {
        ask_all(&mut crowd, b"KEYLIST\r\n", ended);
    });
}

#[test]
#[ignore = "a measurement"]
fn turns_while_a_thousand_of_ten_thousand_list_the_clients() {
    let server = start(setup());
    // One after the other: strangers of one address may take only a share of the places.
    let _others: Vec<Crowd> = (0..9)
        .map(|_| {
            let mut crowd = Crowd::unix(&server.socket, 1000);
            crowd.log_in("ro", |_| "NOPING\r\n".to_owned());
            crowd
        })
        .collect();
    let mut crowd = Crowd::unix(&server.socket, 1000);
    crowd.log_in("mg", |_| "NOPING\r\n".to_owned());
    row(&server, "while 1000 of 10000 ask for CLIENTLIST", |ended| {
        ask_all(&mut crowd, b"CLIENTLIST\r\n", ended);
    });
}

/// Of 400 kB each: the tables of the cache and of the listeners grow meanwhile.
#[test]
#[ignore = "a measurement"]
fn turns_while_tables_grow_with_long_names() {
    let server = start(setup().flags(&["--cache-max", "600M"]));
    row(&server, "while names of 400 kB come", |ended| {
        let mut client = server.client("rw");
        client.ask("NOPING");
        for number in 0..1000 {
            if goes_on(ended) {
                let name = format!("{number:04}{}", "n".repeat(400_000));
                client.send_bytes(format!("STORE {name}=v\r\n").as_bytes());
                client.send_bytes(format!("LISTEN {name}\r\n").as_bytes());
            }
        }
        while goes_on(ended) {
            std::thread::sleep(Duration::from_millis(10));
        }
    });
}

/// A new slave learns twenty values of 16 MB.
#[test]
#[ignore = "a measurement"]
fn turns_while_a_slave_learns_large_values() {
    let server = start(setup());
    let mut client = server.client("rw");
    for number in 0..20 {
        client.send_bytes(&line(&format!("STORE large{number}="), LARGE));
    }
    client.flush();
    drop(client);
    let mut slave = None;
    row(
        &server,
        "while a slave learns 20 values of 16 MB",
        |ended| {
            let started = start_slave_of(&server);
            wait_until("it has learnt them", || started.status("entries") == 20);
            slave = Some(longest_turn_ms(&started));
            while goes_on(ended) {
                std::thread::sleep(Duration::from_millis(10));
            }
        },
    );
    let slave = slave.expect("it was measured");
    println!("measured:   longest turn of the slave {slave:.3} ms");
    assert!(slave < TURN_GOAL_MS);
}

/// Each has a value of its own waiting, and all go at once.
#[test]
#[ignore = "a measurement"]
fn turns_while_many_go_with_much_waiting() {
    let server = start(setup());
    let mut client = server.client("rw");
    for number in 0..20 {
        client.send_bytes(&line(&format!("STORE large{number}="), LARGE));
    }
    client.flush();
    row(
        &server,
        "while 100 go before they have read 16 MB",
        |ended| {
            while goes_on(ended) {
                let mut crowd = Crowd::unix(&server.socket, 100);
                crowd.log_in("ro", |_| "NOPING\r\n".to_owned());
                crowd.send(|number| format!("RETRIEVE large{}\r\n", number % 20).into_bytes());
                std::thread::sleep(Duration::from_millis(300));
            }
        },
    );
}

#[test]
#[ignore = "a measurement"]
fn turns_while_many_clear_the_cache() {
    let server = start(setup());
    let mut crowd = Crowd::unix(&server.socket, 100);
    crowd.log_in("admin", |_| "NOPING\r\n".to_owned());
    row(
        &server,
        "while 100 store 1 MB and clear the cache",
        |ended| {
            while goes_on(ended) {
                crowd.send(|number| {
                    let mut lines = line(&format!("STORE large{number}="), 1_000_000);
                    lines.extend_from_slice(b"CLEARCACHE\r\nFLUSH x\r\n");
                    lines
                });
                crowd.wait_for_all("the end", |received| received.ends_with(b"FLUSHED x\r\n"));
                crowd.forget();
            }
        },
    );
}

/// OVERHEAD G goes to those that are there, whoever was there before.
#[test]
#[ignore = "a measurement"]
fn cost_of_overhead_after_thousands_of_connections() {
    let server = start(setup());
    let measure = |what: &str| {
        let mut client = UnixStream::connect(&server.socket).expect("the server accepts");
        let lines = "OVERHEAD G x\r\n".repeat(50_000);
        let start_s = server.process.cpu_s();
        let login = format!("OVERHEAD A {}\r\nNOPING\r\n", token("rw"));
        client
            .write_all((login + &lines).as_bytes())
            .expect("the server reads");
        let mut probe = server.client("rw");
        wait_until("it is done", || server.status("lines") >= 50_000);
        probe.flush();
        let each_us = (server.process.cpu_s() - start_s) * 1e6 / 50_000.0;
        println!("measured: {each_us:.2} us of the server's time for an OVERHEAD G {what}");
        each_us
    };
    drop(Crowd::unix(&server.socket, 9900));
    wait_until("they are gone", || server.status("clients") == 0);
    assert!(measure("after 9900 connections were once open") < 4.0);
}
