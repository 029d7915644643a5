//! clacks listen and clacks monitor: line by line, until nobody wants more.

use crate::support::{Running, Server};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};

/// The last line that `clacks listen` sends to the server before it only waits for signals.
const LISTENING: &str = "FLUSH clacks-1";

fn json_line(running: &Running) -> Value {
    let line = running.next_line().expect("a line");
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"))
}

#[test]
fn each_signal_is_printed_when_it_comes() {
    let server = Server::start();
    let mut sender = server.client("rw");
    let listen = server.clacks_until("ro", &["listen", "lamp", "door bell"], "LISTEN door bell");
    for (line, printed) in [
        ("SET lamp=on", "lamp=on"),
        ("SET lamp=a=b c", "lamp=a=b c"),
        ("SET other=1", ""),
        ("NOTIFY door bell", "door bell"),
        ("SETANDSTORE lamp=", "lamp="),
    ] {
        sender.send(line);
        if !printed.is_empty() {
            // The next one is not sent before.
            assert_eq!(listen.next_line().as_deref(), Some(printed));
        }
    }
}

#[test]
fn patterns_are_listened_to() {
    let server = Server::start();
    let mut sender = server.client("rw");
    let listen = server.clacks_until(
        "ro",
        &["listen", "--patterns", "lamp::*", "door::>"],
        "PLISTEN door::>",
    );
    sender.send("SET lamp::kitchen::x=1");
    sender.send("SET lamp::kitchen=on");
    assert_eq!(listen.next_line().as_deref(), Some("lamp::kitchen=on"));
    sender.send("NOTIFY door::bell::front");
    assert_eq!(listen.next_line().as_deref(), Some("door::bell::front"));
    let wrong = server.clacks("ro", &["listen", "--patterns", "a*"]);
    assert_ne!(wrong.status, Some(0));
    assert!(
        wrong.stderr.contains("a pattern has no empty part"),
        "{}",
        wrong.stderr
    );
}

#[test]
fn a_count_ends_it() {
    let server = Server::start();
    let mut sender = server.client("rw");
    let mut listen = server.clacks_until("ro", &["listen", "a", "-n", "3"], "LISTEN a");
    for number in 1..=5 {
        sender.send(&format!("SET a={number}"));
    }
    assert_eq!(listen.rest(), ["a=1", "a=2", "a=3"]);
    assert_eq!(listen.wait().code(), Some(0));
}

#[test]
fn signals_are_json_that_can_be_parsed() {
    let server = Server::start();
    let mut sender = server.client("rw");
    let listen = server.clacks_until("ro", &["--json", "listen", "a", "\"b\\"], "LISTEN \"b\\");
    assert_eq!(json_line(&listen), json!({"type": "listening"}));
    sender.send_bytes(b"SET a=\"\\\t\x01\xc3\xa9\r\nNOTIFY \"b\\\r\nSET a=\xff\r\n");
    assert_eq!(
        json_line(&listen),
        json!({"type": "set", "name": "a", "value": "\"\\\t\u{1}é"})
    );
    assert_eq!(
        json_line(&listen),
        json!({"type": "notify", "name": "\"b\\"})
    );
    assert_eq!(
        json_line(&listen),
        json!({"type": "set", "name": "a", "value_base64": "/w=="})
    );
}

#[test]
fn many_signals_come_complete_and_in_order() {
    let server = Server::start();
    let mut sender = server.client("rw");
    let mut listen = server.clacks_until("ro", &["listen", "a", "-n", "20000"], "LISTEN a");
    let lines: String = (0..20_000)
        .map(|number| format!("SET a={number}\r\n"))
        .collect();
    sender.send_bytes(lines.as_bytes());
    let expected: Vec<String> = (0..20_000).map(|number| format!("a={number}")).collect();
    assert!(listen.rest() == expected);
    assert_eq!(listen.wait().code(), Some(0));
}

#[test]
fn it_ends_when_nobody_reads_any_more() {
    let server = Server::start();
    for arguments in [
        &["listen", "a"][..],
        &["monitor"],
        &["listen", "--json", "a"],
    ] {
        // Without a further line.
        let mut running = Running::start_unread(&mut server.clacks_command("admin", arguments));
        drop(running.stdout());
        assert_eq!(running.wait().code(), Some(0), "{arguments:?}");
    }
    // As in `clacks listen a | head -n 1`.
    let mut monitor = server.client("mg");
    monitor.ask("MONITOR");
    let mut running = Running::start_unread(&mut server.clacks_command("rw", &["listen", "a"]));
    while !monitor
        .next_line()
        .expect("it lives")
        .ends_with("=LISTEN a")
    {}
    server.client("rw").ask("SET a=1");
    let mut first = String::new();
    let mut stdout = BufReader::new(running.stdout());
    stdout.read_line(&mut first).expect("a line");
    assert_eq!(first, "a=1\n");
    drop(stdout);
    assert_eq!(running.wait().code(), Some(0));
    // What is printed at once and is more than a pipe holds.
    for number in 0..200 {
        monitor.flush();
        let line = format!("STORE {}{number}=1", "long".repeat(500));
        server.client("rw").ask(&line);
    }
    let mut keys = Running::start_unread(&mut server.clacks_command("rw", &["keys"]));
    drop(keys.stdout());
    assert_eq!(keys.wait().code(), Some(0));
}

#[test]
fn a_lost_connection_is_told_and_renewed() {
    let mut server = Server::start();
    let listen = server.clacks_until("ro", &["listen", "a"], LISTENING);
    let listen_json = server.clacks_until("ro", &["listen", "a", "--json"], LISTENING);
    assert_eq!(listen.complaint(), "clacks: listening");
    assert_eq!(json_line(&listen_json), json!({"type": "listening"}));
    server = server.kill_and_restart();
    assert!(listen.complaint().ends_with("; dialling again"));
    assert_eq!(listen.complaint(), "clacks: connected again");
    assert_eq!(json_line(&listen_json)["type"], "disconnected");
    assert_eq!(json_line(&listen_json), json!({"type": "reconnected"}));
    let mut sender = server.client("rw");
    // A signal that one of them hears, it hears because it listens again.
    sender.ask("SET a=1");
    assert_eq!(listen.next_line().as_deref(), Some("a=1"));
    assert_eq!(json_line(&listen_json)["value"], "1");
}

#[test]
fn a_login_that_is_no_longer_right_ends_it() {
    let server = Server::start();
    let mut listen = server.clacks_until("ro", &["listen", "a"], LISTENING);
    assert_eq!(listen.complaint(), "clacks: listening");
    server.setup.write_secret("users", "rw:read,write:rwpw\n");
    server.process.signal(libc::SIGHUP);
    let complaint = listen.complaint();
    assert!(complaint.ends_with("; dialling again"), "{complaint}");
    let complaint = listen.complaint();
    let refused = "clacks: the server refuses this user or password: user \"ro\"";
    assert_eq!(complaint, refused);
    assert_eq!(listen.wait().code(), Some(3));
}

#[test]
fn monitors_see_what_passes() {
    let server = Server::start();
    let mut sender = server.client("rw");
    let monitor = server.clacks_until("mg", &["monitor"], "MONITOR");
    let monitor_json = server.clacks_until("mg", &["monitor", "--json"], "MONITOR");
    sender.send("SET a=b=c");
    let line = loop {
        let line = monitor.next_line().expect("a line");
        if line.ends_with(" SET a=b=c") {
            break line;
        }
    };
    let cid = line.split(' ').next().expect("a CID");
    assert!(cid.starts_with("unixdomainsocket:"), "{line}");
    loop {
        let line = json_line(&monitor_json);
        assert_eq!(line["type"], "debug");
        if line["text"] == "SET a=b=c" {
            assert_eq!(line["about"], cid);
            break;
        }
    }
    drop(sender);
    while monitor
        .next_line()
        .is_some_and(|line| !line.starts_with("DISCONNECTED unix"))
    {}
}
