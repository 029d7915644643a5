//! Costs of what a client with few permissions can do: steps of counters with slow numbers, subscriptions and
//! handshakes that leave memory behind, and signals to a server that reads its journal. Run by `make measure`;
//! `CLACKSD_SERVER` chooses another build of the server to compare with.

use crate::measurements::megabytes;
use crate::support::{Client, Identity, Process, Server, Setup, text, wait_until};
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

fn setup() -> Setup {
    Setup::new().with_server_of_environment()
}

/// Processor time of the server for each of `count` times that a client sends the line, in microseconds.
fn cost_us(server: &Server, client: &mut Client, line: &str, count: usize) -> f64 {
    let lines = line.repeat(count);
    let start_s = server.process.cpu_s();
    client.send_bytes(lines.as_bytes());
    client.flush();
    (server.process.cpu_s() - start_s) * 1e6 / count as f64
}

/// An INCREMENT with numbers that are slow to parse costs at most four times as much as one with short numbers, and
/// 10 ns more for each byte of the step.
#[test]
#[ignore = "a measurement"]
fn cost_of_steps_of_slow_numbers() {
    const STEPS: usize = 100_000;
    let server = setup().start();
    let mut client = server.client("rw");
    client.ask("NOPING");
    let plain_us = cost_us(&server, &mut client, "INCREMENT plain\r\n", STEPS);
    println!("measured: an INCREMENT costs {plain_us:.2} us");
    let digits = format!("0.{}", "1234567".repeat(101));
    for (what, base, step) in [
        (
            "from 2.47032822920623272088e-324",
            "2.47032822920623272088e-324",
            "1",
        ),
        ("from a number of 707 digits", &digits[..], "1"),
        ("by a number of 707 digits", "0", &digits[..]),
    ] {
        client.ask(&format!("STORE n={base}"));
        let each_us = cost_us(
            &server,
            &mut client,
            &format!("INCREMENT n={step}\r\n"),
            STEPS,
        );
        println!("measured: an INCREMENT {what} costs {each_us:.2} us");
        // What is sent costs too.
        assert!(
            each_us < 4.0 * plain_us + step.len() as f64 / 100.0,
            "{each_us}"
        );
    }
}

#[test]
#[ignore = "a measurement"]
fn memory_after_subscriptions_that_are_gone() {
    const NAMES: usize = 1_900_000;
    let server = setup().flags(&["--max-buffers", "512M"]).start();
    let before_kb = server.proc_status("VmRSS");
    for round in 1..=2 {
        let mut client = server.client("rw");
        client.ask("NOPING");
        for start in (0..NAMES).step_by(10_000) {
            let names = start..start + 10_000;
            let lines = names.map(|name| format!("LISTEN name{name:07}\r\n"));
            client.send_bytes(lines.collect::<String>().as_bytes());
            client.flush();
        }
        let full_kb = server.proc_status("VmRSS");
        drop(client);
        wait_until("it is gone", || server.status("clients") == 0);
        let left_kb = steady_memory_kb(&server);
        println!(
            "measured: {NAMES} subscriptions, round {round}: {:.1} MB before, {:.1} MB with them, {:.1} MB after their end",
            megabytes(before_kb),
            megabytes(full_kb),
            megabytes(left_kb)
        );
        let most_kb = before_kb + (full_kb - before_kb) / 2;
        assert!(left_kb < most_kb, "{left_kb} kB");
    }
}

/// The server's memory when it has not changed for two seconds: pages are given back in slices.
pub fn steady_memory_kb(server: &Server) -> u64 {
    let (mut since, mut last_kb) = (Instant::now(), 0);
    wait_until("the memory stays the same", || {
        let kb = server.proc_status("VmRSS");
        if kb != last_kb {
            (since, last_kb) = (Instant::now(), kb);
        }
        since.elapsed() > Duration::from_secs(2)
    });
    last_kb
}

/// 300 connections that have sent the head of a TLS record of 16 kB and most of what it announces.
#[test]
#[ignore = "a measurement"]
fn memory_of_unfinished_handshakes() {
    const CONNECTIONS: usize = 300;
    let identity = Identity::self_signed(&["localhost"]);
    let server = setup().with_tls(&identity).start();
    let before_kb = server.proc_status("VmRSS");
    let before = server.status("buffers");
    let mut hello = b"\x16\x03\x01\x3f\xf0\x01\x00\x3f\xec".to_vec();
    hello.resize(16_000, 0);
    let connect = |_| {
        let mut stream = TcpStream::connect(("127.0.0.1", server.tls_port())).expect("it listens");
        stream.write_all(&hello).expect("it reads");
        stream
    };
    let streams: Vec<TcpStream> = (0..CONNECTIONS).map(connect).collect();
    std::thread::sleep(Duration::from_secs(2));
    let each = |now: u64, before: u64| now.saturating_sub(before) as f64 / CONNECTIONS as f64;
    println!(
        "measured: an unfinished hello takes {:.0} bytes of memory, and is counted as {:.0}",
        each(server.proc_status("VmRSS"), before_kb) * 1024.0,
        each(server.status("buffers"), before),
    );
    drop(streams);
}

#[test]
#[ignore = "a measurement"]
fn end_while_the_journal_is_read() {
    const ENTRIES: usize = 2_000_000;
    let setup = setup();
    let journal = text(&setup.path("journal"));
    let mut server = setup.flags(&["--persist", &journal]).start();
    let mut client = server.client("admin");
    client.ask("NOPING");
    for start in (0..ENTRIES).step_by(10_000) {
        let names = start..start + 10_000;
        let lines = names.map(|name| format!("STORE name{name}={name}\r\n"));
        client.send_bytes(lines.collect::<String>().as_bytes());
        client.flush();
    }
    server.process.signal(libc::SIGTERM);
    assert!(server.process.wait().success());
    for (name, signal) in [
        ("SIGHUP", libc::SIGHUP),
        ("SIGUSR1", libc::SIGUSR1),
        ("SIGTERM", libc::SIGTERM),
    ] {
        let mut process = Process::spawn(&mut server.setup.command());
        std::thread::sleep(Duration::from_millis(150));
        let start = Instant::now();
        process.signal(signal);
        if signal != libc::SIGTERM {
            wait_until("it serves or has ended", || {
                process.has_ended() || process.log_line("ready").is_some()
            });
            println!(
                "measured: {name} while a journal of {ENTRIES} entries is read: ready {:.2} s later: {}",
                start.elapsed().as_secs_f64(),
                process.log_line("ready").is_some(),
            );
            if !process.has_ended() {
                process.signal(libc::SIGTERM);
            }
            process.wait();
            continue;
        }
        let status = process.wait();
        println!(
            "measured: {name} while a journal of {ENTRIES} entries is read: ended after {:.3} s, status {:?}, killed by {:?}, the socket is left: {}",
            start.elapsed().as_secs_f64(),
            status.code(),
            status.signal(),
            server.socket.exists()
        );
        assert!(status.success() && !server.socket.exists());
    }
}
