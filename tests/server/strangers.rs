//! Those who have not logged in: what they can do to others, and what the log says of them.

use crate::measurements::tls::of_openssl;
use crate::support::tls::{VERSIONS, replay_hellos};
use crate::support::{Client, Ends, Server, Setup, connect_from, token, wait_until};
use clacks::limits::{LOGIN_DELAY_STEP_US, MAX_SURPLUS_CLIENTS, MAX_TRIED_USER};
use clacks::protocol::token::Token;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

fn wrong_login(mut client: Client, user: &[u8]) {
    let token = Token::encode(user, b"guessed");
    client.send(&format!("OVERHEAD A {token}"));
    client.expect_after_others("OVERHEAD F Login failed!");
}

#[test]
fn the_answer_after_a_wrong_login_is_late_and_answers_keep_their_order() {
    let server = Server::start();
    wrong_login(server.tcp_stranger(), b"rw");
    let start = Instant::now();
    let mut client = server.tcp_stranger();
    // All in one go, and no more: what comes late is the whole of the answers.
    let lines = format!(
        "OVERHEAD A {}\r\nSTORE a=1\r\nRETRIEVE a\r\nFLUSH end\r\n",
        token("rw")
    );
    client.send_bytes(lines.as_bytes());
    client.shutdown_write();
    assert!(
        client
            .next_line()
            .is_some_and(|line| line.starts_with("CLACKS "))
    );
    client.expect("OVERHEAD M Authentication required");
    // Meanwhile nobody else waits.
    server.client("rw").ask("PING");
    Client::tcp_from(ELSEWHERE, server.port).logged_in("rw");
    server.tcp_stranger().logged_in("ro");
    client.expect("OVERHEAD O Welcome!");
    assert!(start.elapsed() >= Duration::from_micros(LOGIN_DELAY_STEP_US) / 2);
    assert_eq!(client.until_closed(), ["RETRIEVED a=1", "FLUSHED end"]);
}

#[test]
fn the_log_says_who_was_tried_and_which_process_did() {
    let server = Server::start();
    let process = format!("process {} of uid {}", std::process::id(), own_uid());
    for (user, shown) in [
        (&b"admin"[..], "\"admin\"".to_owned()),
        (b"a\"\r\n\x1b[2J\xff", r#""a\"\r\n\x1b[2J\xff""#.to_owned()),
        (
            &[b'x'; 1_000],
            format!("\"{}\"", "x".repeat(MAX_TRIED_USER)),
        ),
    ] {
        wrong_login(server.stranger(), user);
        let tried =
            format!(": login_failed (client \"UNKNOWN\", not logged in, tried user {shown}");
        server.process.wait_for_log(&format!("{tried}, {process})"));
    }
    // More than five lines a second of one kind are not logged.
    wrong_login(server.tcp_stranger(), b"nobody");
    server
        .process
        .wait_for_log("not logged in, tried user \"nobody\")");
    let mut relogin = server.client("rw");
    relogin.send("OVERHEAD A wrong");
    relogin.until_closed();
    let tried = "user rw, tried a malformed token";
    server.process.wait_for_log(&format!("{tried}, {process})"));
}

/// The user that this test runs as.
fn own_uid() -> u32 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").expect("a process").uid()
}

/// They come over and over, from one address, and never log in; users come from another one and by Unix socket.
#[test]
fn strangers_that_never_log_in_keep_no_users_out() {
    const PLACES: usize = 200;
    const STRANGERS: usize = 2_000;
    const USERS: usize = 50;
    clacks::program::process_limits::raise_descriptor_limit().expect("a limit of our own");
    let server = Setup::new()
        .flags(&["--max-clients", &PLACES.to_string()])
        .start();
    let (ended, came) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let _ends = Ends(&ended);
        scope.spawn(|| {
            let mut held = std::collections::VecDeque::new();
            while !ended.load(Ordering::Relaxed) {
                held.push_back(connect_from(Ipv4Addr::LOCALHOST, server.port));
                came.fetch_add(1, Ordering::Relaxed);
                // As many as would fill the server several times.
                if held.len() > STRANGERS {
                    held.pop_front();
                    std::thread::sleep(Duration::from_micros(200));
                }
            }
        });
        wait_until("they have come", || {
            came.load(Ordering::Relaxed) > PLACES * 5
        });
        let mut users: Vec<Client> = Vec::new();
        for _ in 0..USERS {
            users.push(Client::tcp_from(ELSEWHERE, server.port).logged_in("rw"));
            users.push(server.client("ro"));
        }
        assert!(server.status("clients") as usize <= PLACES + MAX_SURPLUS_CLIENTS);
        for user in &mut users {
            assert_eq!(
                user.ask("RETRIEVE a").last().map(String::as_str),
                Some("NOTRETRIEVED a")
            );
        }
        assert!(server.status("client_limit") > 0);
    });
}

/// Each costs the server a signature, which nobody waits for. They take longer than there is to log in.
#[test]
fn a_flood_of_replayed_hellos_keeps_nobody_out() {
    const HELLOS: usize = 3_000;
    let server = Setup::new()
        .with_tls(&of_openssl(&["rsa:4096"]))
        .flags(&["--auth-timeout", "5"])
        .start();
    let port = server.tls_port();
    let _flood = replay_hellos(Ipv4Addr::LOCALHOST, port, HELLOS);
    // From the same address and from another one.
    for from in [ELSEWHERE, Ipv4Addr::LOCALHOST] {
        for version in VERSIONS {
            let mut client = Client::tls_from(from, port, version).logged_in("rw");
            assert_eq!(client.ask("RETRIEVE a"), ["NOTRETRIEVED a"]);
        }
    }
    let line = server
        .process
        .wait_for_log("TLS handshakes come faster than they can be done: ");
    assert!(line.contains(" of them from 127.0.0.1; "), "{line}");
    // What was never signed went without a word when its time was over.
    wait_until("they are gone", || server.status("clients") == 0);
    assert!(server.status("auth_timeout") > 0);
}
