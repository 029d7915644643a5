//! Latency of others while a NATS client does what costs the server much, and the memory that very many groups leave behind.
//! Run by `make measure`; `CLACKSD_SERVER` chooses another build of the server to compare with.

use super::costs::steady_memory_kb;
use super::{assert_fast, goes_on, latency_during, megabytes};
use crate::nats::target::{Login, Target};
use crate::support::{Server, wait_until};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

const GOAL_MS: f64 = 5.0;

fn clacksd(flags: &[&str]) -> Target {
    Target::clacksd_with(Login::Optional, flags)
}

/// A connection that says nothing more of its commands.
fn connect(target: &Target) -> UnixStream {
    let socket = target.server().setup.path("nats");
    let mut stream = UnixStream::connect(socket).expect("the server accepts");
    stream
        .write_all(b"CONNECT {\"verbose\":false}\r\n")
        .expect("the server reads");
    stream
}

/// Waits until the server has handled all that was sent, and drops what comes until then.
fn barrier(stream: &UnixStream) {
    (&*stream).write_all(b"PING\r\n").expect("the server reads");
    let lines = BufReader::new(stream).lines();
    let mut lines = lines.map(|line| line.expect("the server answers"));
    assert!(lines.any(|line| line == "PONG"));
}

/// SUBs of `count` patterns of three tokens, from the one of that number on.
fn subscriptions(first: usize, count: usize, group: &str) -> String {
    let numbers = first..first + count;
    let lines = numbers.map(|number| {
        let group = match group {
            "" => String::new(),
            group => format!(" {group}{number}"),
        };
        format!("SUB much.*.{number}{group} {number}\r\n")
    });
    lines.collect()
}

#[test]
#[ignore = "a measurement"]
fn latency_while_one_subscribes_without_end() {
    let target = clacksd(&["--max-buffers", "128M"]);
    let server = target.server();
    let what = "while a NATS client subscribes without end";
    let latencies = latency_during(server, what, |ended| {
        while goes_on(ended) {
            let mut stream = connect(&target);
            let mut pieces = (0..).step_by(1000);
            let mut goes_well = true;
            while goes_on(ended) && goes_well {
                let first = pieces.next().expect("numbers don't end");
                let lines = subscriptions(first, 1000, "");
                goes_well = stream.write_all(lines.as_bytes()).is_ok();
            }
        }
    });
    server.process.wait_for_log(": buffers_limit (");
    assert_fast(&latencies, GOAL_MS);
}

#[test]
#[ignore = "a measurement"]
fn latency_while_payloads_never_come() {
    let target = clacksd(&[]);
    let what = "while 200 NATS clients send all of a message but its end";
    let latencies = latency_during(target.server(), what, |ended| {
        let mut message = b"PUB much 1048576\r\n".to_vec();
        message.resize(message.len() + (1 << 20) - 1, b'x');
        while goes_on(ended) {
            let mut streams: Vec<UnixStream> = (0..200).map(|_| connect(&target)).collect();
            for stream in &mut streams {
                stream.write_all(&message).expect("the server reads");
            }
        }
    });
    assert_fast(&latencies, GOAL_MS);
}

/// A client with 100,000 subscriptions comes and goes. `group` begins the names of their groups, if they have any.
fn latency_while_subscriptions_end(group: &str, prober: &Server, target: &Target) {
    const SUBSCRIPTIONS: usize = 100_000;
    let what = match group {
        "" => "while a NATS client with 100000 subscriptions comes and goes",
        _ => "while a NATS client with 100000 groups comes and goes",
    };
    let mut rounds = 0;
    let latencies = latency_during(prober, what, |ended| {
        while goes_on(ended) || rounds == 0 {
            let mut stream = connect(target);
            for first in (0..SUBSCRIPTIONS).step_by(1000) {
                let lines = subscriptions(first, 1000, group);
                stream.write_all(lines.as_bytes()).expect("it reads");
            }
            barrier(&stream);
            rounds += 1;
        }
    });
    println!("measured:   it came and went {rounds} times");
    assert_fast(&latencies, GOAL_MS);
}

#[test]
#[ignore = "a measurement"]
fn latency_while_100000_subscriptions_end_at_once() {
    let target = clacksd(&[]);
    latency_while_subscriptions_end("", target.server(), &target);
}

/// The master is told of each group, and measured as well.
#[test]
#[ignore = "a measurement"]
fn latency_while_100000_groups_of_a_slave_end_at_once() {
    let master = clacksd(&[]);
    let address = master.server().setup.unix("socket");
    let slave = clacksd(&["--master", &address]);
    wait_until("the link is up", || slave.server().is_slave());
    for server in [&slave, &master] {
        latency_while_subscriptions_end("group", server.server(), &slave);
    }
}

/// The memory that is not given back is used again.
#[test]
#[ignore = "a measurement"]
fn memory_after_a_million_groups_that_are_gone() {
    const GROUPS: usize = 1_000_000;
    const CONNECTIONS: usize = 10;
    let target = clacksd(&["--max-buffers", "2G"]);
    let server = target.server();
    let before_kb = server.proc_status("VmRSS");
    let mut first_full_kb = None;
    for round in 1..=2 {
        let streams: Vec<UnixStream> = (0..CONNECTIONS).map(|_| connect(&target)).collect();
        for (number, mut stream) in streams.iter().enumerate() {
            let each = GROUPS / CONNECTIONS;
            for first in (number * each..(number + 1) * each).step_by(1000) {
                let lines = subscriptions(first, 1000, "group");
                stream.write_all(lines.as_bytes()).expect("it reads");
            }
            barrier(stream);
        }
        let full_kb = server.proc_status("VmRSS");
        drop(streams);
        wait_until("they are gone", || server.status("clients") == 0);
        let left_kb = steady_memory_kb(server);
        println!(
            "measured: {GROUPS} groups, round {round}: {:.1} MB before, {:.1} MB with them, {:.1} MB after their end",
            megabytes(before_kb),
            megabytes(full_kb),
            megabytes(left_kb)
        );
        let most_kb = *first_full_kb.get_or_insert(full_kb) / 20 * 21;
        assert!(full_kb <= most_kb, "{full_kb} kB");
    }
}
