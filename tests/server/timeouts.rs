//! Timeouts of the real server, with short times: what ends a connection, with which words, and what
//! keeps it alive. The default times are in `broker`.

use crate::support::{Client, Setup, wait_until};
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::time::Duration;

const GREETING_LINES: usize = 2;

/// Sends lines until the server has closed the connection; what came.
fn send_until_closed(client: &mut Client, line: &str, mut also: impl FnMut()) -> Vec<String> {
    let mut came = Vec::new();
    wait_until("the connection is closed", || {
        also();
        let _ = client.try_send(format!("{line}\r\n").as_bytes());
        came.extend(client.whatever_came(Duration::from_millis(20)));
        client.is_closed()
    });
    came
}

#[test]
fn who_does_not_log_in_in_time_is_closed_without_a_word() {
    let server = Setup::new().flags(&["--auth-timeout", "0.3"]).start();
    let mut client = server.client("rw");
    let mut silent = server.stranger();
    let mut busy = server.tcp_stranger();
    let came = send_until_closed(&mut busy, "PING", || ());
    assert_eq!(came.len(), GREETING_LINES, "{came:?}");
    assert_eq!(silent.until_closed().len(), GREETING_LINES);
    let log = server.process.wait_for_log(": auth_timeout (");
    assert!(log.ends_with("; --auth-timeout is 0.3)"), "{log}");
    wait_until("both are counted", || server.status("auth_timeout") == 2);
    assert_eq!(
        client.ask("RETRIEVE a"),
        ["NOTRETRIEVED a"],
        "who is logged in stays"
    );
}

#[test]
fn a_ping_timeout_says_so_and_other_traffic_does_not_renew_it() {
    let server = Setup::new().flags(&["--ping-timeout", "2"]).start();
    let mut talks = server.client("rw");
    let mut silent = server.client("rw");
    let mut suspended = server.client("rw");
    suspended.ask("NOPING");
    let mut pings = server.client("rw");

    let came = send_until_closed(&mut talks, "RETRIEVE a", || {
        pings.ask("PING");
    });
    assert_eq!(came.last().map(String::as_str), Some("TIMEOUT"));
    assert!(
        came[..came.len() - 1]
            .iter()
            .all(|line| line == "NOTRETRIEVED a"),
        "{came:?}"
    );
    assert_eq!(silent.until_closed(), ["TIMEOUT"]);
    let log = server.process.wait_for_log(": ping_timeout (");
    assert!(log.ends_with("user rw; --ping-timeout is 2)"), "{log}");

    // It pinged just now, and the other one said that it won't.
    assert_eq!(pings.ask("RETRIEVE a"), ["NOTRETRIEVED a"]);
    assert_eq!(suspended.ask("RETRIEVE a"), ["NOTRETRIEVED a"]);
    suspended.send("PING");
    assert_eq!(
        suspended.until_closed(),
        ["TIMEOUT"],
        "a PING ends the suspension"
    );
    assert_eq!(pings.until_closed(), ["TIMEOUT"], "it pings no more");
    wait_until("all are counted", || server.status("ping_timeout") == 4);
}

#[test]
fn who_takes_nothing_is_closed_and_the_others_are_served() {
    let server = Setup::new()
        .flags(&["--stalled-write-timeout", "0.5"])
        .start();
    let mut stuck = server.client("ro");
    stuck.ask("LISTEN signal");
    let mut listener = server.client("ro");
    listener.ask("LISTEN signal");
    let mut monitor = server.client("mg");
    monitor.ask("MONITOR");
    let mut monitored = |is_it: &dyn Fn(&str) -> bool| loop {
        let line = monitor.next_line().expect("the server lives");
        if is_it(&line) {
            return line;
        }
    };
    let mut sender = server.client("rw");
    // More than a socket's buffers take, less than the output limit.
    let value = "x".repeat(1 << 20);
    for _ in 0..8 {
        sender.ask(&format!("SET signal={value}"));
        listener.expect(&format!("SET signal={value}"));
        monitored(&|line| line.ends_with(&value));
    }
    wait_until("the log says so", || {
        sender.ask("SET signal=still here");
        listener.expect("SET signal=still here");
        server.process.log_line(": stalled_write (").is_some()
    });
    // The log says why it was closed, and a monitor sees that it was, and how much it has missed.
    let logged = server.process.log_line(": stalled_write (");
    let logged = logged.expect("it was there a moment ago");
    let (closed, rest) = logged
        .split_once(": stalled_write (")
        .expect("it is in that line");
    let (_, cid) = closed.rsplit_once("closed ").expect("so it begins");
    let (limit, discarded) = rest.rsplit_once("): ").expect("so it goes on");
    assert!(limit.contains("; --stalled-write-timeout is "), "{logged}");
    let discarded = discarded
        .strip_suffix(" bytes of output discarded")
        .expect("so it ends");
    let seen = monitored(&|line| line.starts_with("DEBUG DISCONNECTED="));
    assert_eq!(
        seen,
        format!("DEBUG DISCONNECTED={cid} ({discarded} bytes discarded from outbuffer)")
    );
    let came = stuck.until_closed();
    assert!(came.len() < 8, "not all can have arrived: {}", came.len());
    assert_eq!(server.status("stalled_write"), 1);
    assert_eq!(server.status("clients"), 3);
}

/// Reading slowly is no stall.
#[test]
fn who_takes_something_now_and_then_is_not_closed() {
    let server = Setup::new()
        .flags(&["--stalled-write-timeout", "3"])
        .start();
    let mut stuck = server.client("ro");
    stuck.ask("LISTEN signal");
    let mut slow = server.client("ro");
    slow.ask("LISTEN signal");
    let mut sender = server.client("rw");
    let value = "x".repeat(1 << 20);
    const SIGNALS: usize = 24;
    for _ in 0..SIGNALS {
        sender.ask(&format!("SET signal={value}"));
    }
    // The other one, which got the same, sets the measure of time.
    wait_until("the stuck one is closed", || {
        slow.receive(Duration::from_millis(20));
        std::thread::sleep(Duration::from_millis(20));
        server.process.log_line(": stalled_write (").is_some()
    });
    assert!(!slow.is_closed());
    for _ in 0..SIGNALS {
        slow.expect(&format!("SET signal={value}"));
    }
    assert_eq!(server.status("stalled_write"), 1);
    drop(stuck);
}

/// Sockets are called writable only when much of their buffer is free; who takes less than that in the time, but
/// takes something, is served.
#[test]
fn who_takes_little_at_a_time_stays() {
    let server = Setup::new()
        .flags(&["--stalled-write-timeout", "2"])
        .start();
    let mut socket = UnixStream::connect(&server.socket).expect("the server listens there");
    let slow = Client::from_unix(socket.try_clone().expect("a descriptor"));
    slow.logged_in("ro").ask("LISTEN signal");
    let mut sender = server.client("rw");
    let value = "x".repeat(1 << 20);
    for _ in 0..4 {
        sender.ask(&format!("SET signal={value}"));
    }
    let mut received = vec![0; 4 * format!("SET signal={value}\r\n").len()];
    // The kernel frees the memory of some 32 KiB at once: the server sees that something was taken once in eight reads.
    let (slowly, rest) = received.split_at_mut(80 * 4_096);
    for some in slowly.chunks_mut(4_096) {
        socket.read_exact(some).expect("it is there");
        std::thread::sleep(Duration::from_millis(100));
    }
    socket.read_exact(rest).expect("the server serves it");
    assert!(received.ends_with(b"x\r\n"));
    assert_eq!(server.status("stalled_write"), 0);
}
