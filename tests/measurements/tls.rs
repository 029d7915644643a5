//! Measurements of the costs of TLS: the latency of other clients while many shake hands, and memory. Run by
//! `make measure`.

use crate::measurements::{assert_fast, goes_on, latency_during, megabytes};
use crate::runner::needs;
use crate::support::tls::{VERSIONS, replay_hellos, session};
use crate::support::{Client, Crowd, Handshakes, Identity, Server, Setup, token, wait_until};
use clacks::limits::TLS_MEMORY;
use rustls::SupportedProtocolVersion;
use std::fs;
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::{Duration, Instant};

const CLIENTS: usize = 1_000;

#[test]
#[ignore = "a measurement"]
fn latency_while_a_thousand_stop_in_the_midst_of_their_client_hello() {
    const AUTH_TIMEOUT: Duration = Duration::from_secs(2);
    let server = Setup::new()
        .with_tls(&Identity::self_signed(&["localhost"]))
        .flags(&["--auth-timeout", "2"])
        .start();
    let mut hello = Vec::new();
    session(VERSIONS[1])
        .write_tls(&mut hello)
        .expect("room in memory");
    hello.truncate(hello.len() / 2);
    let mut rounds = 0;
    let latencies = latency_during(
        &server,
        "while 1000 at a time send half a ClientHello",
        |ended| {
            while goes_on(ended) {
                let start = Instant::now();
                let mut crowd = Crowd::tcp(server.tls_port(), CLIENTS);
                crowd.send(|_| hello.clone());
                wait_until("all are closed", || {
                    crowd.receive(Duration::from_millis(10));
                    crowd.closed() == CLIENTS
                });
                println!(
                    "measured:   the last of {CLIENTS} was closed {:.3} s after the first came",
                    start.elapsed().as_secs_f64()
                );
                assert!(start.elapsed() < AUTH_TIMEOUT + Duration::from_secs(1));
                rounds += 1;
            }
        },
    );
    assert_eq!(
        server.status("auth_timeout"),
        (rounds * CLIENTS) as u64,
        "each was closed for that"
    );
    assert_fast(&latencies, 5.0);
}

/// A certificate with a key of that algorithm.
pub fn of_openssl(algorithm: &[&str]) -> Identity {
    let setup = Setup::bare();
    let (key, certificate) = (setup.path("key"), setup.path("certificate"));
    needs("openssl");
    let output = Command::new("openssl")
        .args(["req", "-x509", "-nodes", "-days", "10"])
        .args(["-subj", "/CN=localhost", "-newkey"])
        .args(algorithm)
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .expect("openssl (Debian: openssl)");
    assert!(output.status.success(), "{output:?}");
    let read = |path| fs::read_to_string(path).expect("openssl has written it");
    Identity {
        certificates: read(certificate),
        key: read(key),
    }
}

fn latency_during_handshakes(
    what: &str,
    algorithm: &[&str],
    version: &'static SupportedProtocolVersion,
) {
    let server = Setup::new().with_tls(&of_openssl(algorithm)).start();
    let (mut done, mut failed, start) = (0, 0, Instant::now());
    let latencies = latency_during(
        &server,
        &format!("while 1000 shake hands as fast as they can, {what}, {version:?}"),
        |ended| {
            let mut crowd = Handshakes::new(server.tls_port(), CLIENTS, version);
            while goes_on(ended) {
                crowd.go_on(Duration::from_millis(10));
            }
            (done, failed) = (crowd.done, crowd.failed);
        },
    );
    println!(
        "measured:   {done} handshakes done, {:.0} a second, {failed} failed, {:.2} s of processor time of the server",
        done as f64 / start.elapsed().as_secs_f64(),
        server.process.cpu_s(),
    );
    assert!(done > CLIENTS, "each has its turn");
    assert_fast(&latencies, 20.0);
    wait_until("all are gone", || server.status("clients") == 0);
}

#[test]
#[ignore = "a measurement"]
fn latency_while_a_thousand_shake_hands_with_p_256() {
    let algorithm = ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
    for version in VERSIONS {
        latency_during_handshakes("ECDSA P-256", &algorithm, version);
    }
}

#[test]
#[ignore = "a measurement"]
fn latency_while_a_thousand_shake_hands_with_rsa_2048() {
    for version in VERSIONS {
        latency_during_handshakes("RSA-2048", &["rsa:2048"], version);
    }
}

#[test]
#[ignore = "a measurement"]
fn latency_while_a_thousand_shake_hands_with_rsa_4096() {
    for version in VERSIONS {
        latency_during_handshakes("RSA-4096", &["rsa:4096"], version);
    }
}

#[test]
#[ignore = "a measurement"]
fn a_login_behind_a_flood_of_replayed_hellos_with_rsa_4096() {
    const HELLOS: usize = 4_200;
    const FLOOD_FROM: Ipv4Addr = Ipv4Addr::LOCALHOST;
    const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
    let identity = of_openssl(&["rsa:4096"]);
    for from in [ELSEWHERE, FLOOD_FROM] {
        let server = Setup::new().with_tls(&identity).start();
        let port = server.tls_port();
        let start = Instant::now();
        let flood = replay_hellos(FLOOD_FROM, port, HELLOS);
        println!(
            "measured: {HELLOS} hellos from {FLOOD_FROM} with RSA-4096 in {:.2} s",
            start.elapsed().as_secs_f64()
        );
        let start = Instant::now();
        let mut client = Client::tls_from(from, port, VERSIONS[1]);
        let login = format!("OVERHEAD A {}\r\n", token("rw"));
        // Where the handshake fails, nothing is sent.
        let is_sent = client.try_send(login.as_bytes()).is_ok();
        let answers = if is_sent {
            std::iter::from_fn(|| client.next_line()).find(|line| line.starts_with("OVERHEAD O "))
        } else {
            None
        };
        println!(
            "measured:   a login from {from}: {:?} after {:.3} s; longest turn {} us",
            answers,
            start.elapsed().as_secs_f64(),
            server.status("longest_turn_us"),
        );
        assert!(answers.is_some(), "the login from {from} is right");
        assert!(start.elapsed() < Duration::from_secs(2));
        drop(flood);
    }
}

/// Bytes per connection that is logged in and idle, without and with a history.
fn idle_memory(connect: impl Fn(&Server) -> Client) -> (usize, usize) {
    const CONNECTIONS: usize = 2_000;
    let server = Setup::new()
        .with_tls(&Identity::self_signed(&["localhost"]))
        .start();
    // What is needed once is there already.
    drop(connect(&server).logged_in("rw"));
    wait_until("it is gone", || server.status("clients") == 0);
    let before_kb = server.proc_status("VmRSS");
    let each = |server: &Server| {
        let used_kb = server.proc_status("VmRSS") - before_kb;
        used_kb as usize * 1024 / CONNECTIONS
    };
    let mut clients: Vec<Client> = (0..CONNECTIONS)
        .map(|_| {
            let mut client = connect(&server).logged_in("rw");
            client.ask("NOPING");
            client
        })
        .collect();
    let fresh = each(&server);
    let value = "x".repeat(60_000);
    for client in &mut clients {
        client.ask(&format!("STORE large={value}"));
        assert!(client.ask("RETRIEVE large") == [format!("RETRIEVED large={value}")]);
    }
    let used = each(&server);
    println!(
        "measured:   {:.1} MB in all",
        megabytes(server.proc_status("VmRSS"))
    );
    (fresh, used)
}

#[test]
#[ignore = "a measurement"]
fn memory_of_idle_tls_connections() {
    clacks::program::process_limits::raise_descriptor_limit().expect("a limit of our own");
    let (plain, plain_used) = idle_memory(|server| server.tcp_stranger());
    println!(
        "measured: {plain} bytes of memory per idle plain TCP connection, {plain_used} after 60 kB both ways"
    );
    let mut most = 0;
    for version in VERSIONS {
        let (fresh, used) = idle_memory(|server| Client::tls(server.tls_port(), version));
        println!(
            "measured: {fresh} bytes of memory per idle connection with {version:?}, {used} after 60 kB both ways: {} and {} more than plain",
            fresh - plain,
            used - plain_used
        );
        most = most.max(fresh - plain).max(used - plain_used);
    }
    assert!(
        (TLS_MEMORY * 9 / 10..=TLS_MEMORY * 11 / 10).contains(&most),
        "{most} bytes; counted are {TLS_MEMORY}"
    );
}
