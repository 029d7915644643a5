//! The figures of links, of the journal and of turns.

use super::Figures;
use crate::support::{Client, Conversation, Server, Setup, text, wait_until};
use std::collections::BTreeSet;

#[test]
fn links_and_their_traffic_are_counted() {
    let master = Server::start();
    let mut at_master = master.client("admin");
    assert!(!Figures::of(&mut at_master).has("uplink_up"));
    let address = master.setup.unix("socket");
    let slave = Setup::new().flags(&["--master", &address]).start();
    let mut at_slave = slave.client("admin");
    wait_until("the link is up", || {
        Figures::of(&mut at_slave).get("uplink_up") == 1.0
            && Figures::of(&mut at_master).get("links.slave") == 1.0
    });
    assert_eq!(Figures::of(&mut at_slave).get("links.master"), 1.0);
    at_master.ask("LISTEN a");
    at_slave.ask("SET a=1");
    at_master.expect_after_others("SET a=1");
    at_slave.ask("STORE b=1");
    at_slave.ask("REMOVE b");
    wait_until("the tombstone is there", || {
        Figures::of(&mut at_master).get("tombstones") == 1.0
    });
    let figures = Figures::of(&mut at_master);
    assert_eq!(figures.get("link_signals"), 1.0);
    assert!(figures.get("link_lines") > 2.0);
    let of_links: BTreeSet<_> = figures
        .names()
        .filter_map(|name| name.strip_prefix("link_queued_bytes."))
        .collect();
    assert_eq!(of_links.len(), 1, "{of_links:?}");
    for link in of_links {
        assert!(link.starts_with("slave "), "{link}");
        assert_eq!(figures.get(&format!("link_queued_bytes.{link}")), 0.0);
        assert_eq!(figures.get(&format!("link_changed_names.{link}")), 0.0);
    }
    let round_trip = |manager: &mut Client| {
        let figures = Figures::of(manager);
        let mut names = figures.names();
        let name = names.find(|name| name.starts_with("link_round_trip_seconds."));
        figures.get(name.expect("its link"))
    };
    let at_first = round_trip(&mut at_slave);
    assert!(at_first > 0.0);
    wait_until("the answer to a PING is measured", || {
        round_trip(&mut at_slave) != at_first
    });
    drop(master);
    wait_until("the link is down", || {
        Figures::of(&mut at_slave).get("uplink_up") == 0.0
    });
}

/// A slave stands still: its master has much to send to it, and remembers names alone after that.
#[test]
fn what_waits_for_a_slave_is_counted() {
    let master = Server::start();
    let mut manager = master.client("mg");
    let slave = Setup::new()
        .flags(&["--master", &master.setup.unix("socket")])
        .start();
    wait_until("the link is up", || {
        Figures::of(&mut manager).get("links.slave") == 1.0
    });
    let mut client = master.client("rw");
    slave.process.signal(libc::SIGSTOP);
    let value = "v".repeat(100_000);
    for number in 0..100 {
        client.ask(&format!("STORE name{number}={value}"));
    }
    let of_link = |figures: &Figures, name: &str| {
        let name = figures.names().find(|shown| shown.starts_with(name));
        figures.get(name.expect("its link"))
    };
    let figures = Figures::of(&mut manager);
    assert!(of_link(&figures, "link_queued_bytes.") > 100_000.0);
    assert!(of_link(&figures, "link_changed_names.") > 10.0);
    slave.process.signal(libc::SIGCONT);
    wait_until("all is sent", || {
        let figures = Figures::of(&mut manager);
        ["link_queued_bytes.", "link_changed_names."]
            .iter()
            .all(|name| of_link(&figures, name) == 0.0)
    });
}

#[test]
fn the_journal_and_its_failures_are_counted() {
    let setup = Setup::new();
    let journal = text(&setup.path("journal"));
    let server = setup.flags(&["--persist", &journal]).start();
    let (mut manager, mut client) = (server.client("admin"), server.client("rw"));
    assert_eq!(Figures::of(&mut manager).get("journal_saving"), 1.0);
    client.ask("STORE a=1");
    let figures = Figures::of(&mut manager);
    assert!(figures.get("journal_records") >= 1.0);
    assert!(figures.get("journal_length_bytes") > 0.0);
    assert_eq!(figures.get("journal_failures"), 0.0);
    assert_eq!(figures.get("journal_rewritten_timestamp_seconds"), 0.0);
    // Both lines are handled in one turn, and the record is written after it.
    let lines = manager.ask("STORE b=2\r\nSTATUS");
    let is_held = |line: &String| {
        let bytes = line.strip_prefix("STATUS memory_bytes.journal=");
        bytes.is_some_and(|bytes| bytes != "0")
    };
    assert!(lines.iter().any(is_held), "{lines:?}");
    wait_until("the record is written", || {
        Figures::of(&mut manager).get("memory_bytes.journal") == 0.0
    });
    server.process.limit_files(20_000);
    client.ask(&format!("STORE b={}", "v".repeat(30_000)));
    wait_until("it has failed", || {
        let figures = Figures::of(&mut manager);
        figures.get("journal_saving") == 0.0
            && figures.get("journal_failures") >= 1.0
            && figures.get("journal_lag_records") >= 1.0
    });
    let figures = Figures::of(&mut manager);
    let error = figures
        .names()
        .find(|name| name.starts_with("journal_error."));
    assert!(
        error.expect("an error").contains("File too large"),
        "{error:?}"
    );
    server.process.limit_files(libc::RLIM64_INFINITY);
    wait_until("it is saved again", || {
        let figures = Figures::of(&mut manager);
        figures.get("journal_saving") == 1.0
            && figures.get("journal_rewrites") >= 1.0
            && figures.get("journal_rewritten_timestamp_seconds") > 1e9
            && figures.get("journal_lag_records") == 0.0
    });
}

#[test]
fn turns_are_counted_by_their_length() {
    let server = Server::start();
    let mut manager = server.client("mg");
    let before = Figures::of(&mut manager);
    for _ in 0..10 {
        manager.ask("PING");
    }
    let after = Figures::of(&mut manager);
    let count = after.get("turn_seconds.count");
    assert!(count >= before.get("turn_seconds.count") + 10.0);
    assert!(after.get("turn_seconds.sum") > before.get("turn_seconds.sum"));
    assert!(after.get("longest_turn_seconds") > 0.0);
    assert!(after.get("longest_turn_work_bytes") > 0.0);
    let buckets = after
        .names()
        .filter(|name| name.starts_with("turn_seconds.le."));
    let most = buckets.map(|name| after.get(name)).fold(0.0, f64::max);
    assert!(most <= count && most > 0.0, "{most}");
}

/// One message goes to very many subscriptions: its turn is long, and STATUS says for what.
#[test]
fn a_request_that_takes_long_is_shown_with_its_name() {
    const SUBSCRIPTIONS: usize = 50_000;
    let setup = Setup::new();
    let address = setup.unix("nats");
    let server = setup
        .flags(&["--nats", &address, "--nats-user", "rw"])
        .start();
    let mut manager = server.client("mg");
    let mut client = Conversation::begin(&server.setup.path("nats"));
    client.line();
    client.say(b"CONNECT {\"verbose\":false,\"echo\":false}\r\n");
    for number in 0..SUBSCRIPTIONS {
        client.say(format!("SUB large.* {number}\r\n").as_bytes());
    }
    client.ask(b"PING\r\n", b"PONG\r\n");
    let mut sender = Conversation::begin(&server.setup.path("nats"));
    sender.line();
    sender.say(b"CONNECT {\"verbose\":false}\r\nPUB large.one 6\r\nsecret\r\n");
    sender.ask(b"PING\r\n", b"PONG\r\n");
    let figures = Figures::of(&mut manager);
    assert_eq!(figures.get("slow_requests"), 1.0);
    assert_eq!(figures.get("deliveries.nats"), SUBSCRIPTIONS as f64);
    assert!(figures.get("longest_turn_seconds") >= 0.002);
    let rows = manager.ask("STATUS slow");
    // That of the longest turn comes first, and this is the only one.
    assert_eq!(rows.len(), 4, "{rows:?}");
    assert!(rows[1].contains(" KIND=longest;") && rows[2].contains(" KIND=latest;"));
    assert!(rows[1].contains(";LANGUAGE=nats;VERB=PUB;"), "{rows:?}");
    assert!(rows[1].ends_with(";NAME=large.one;"), "{rows:?}");
    assert!(!rows[1].contains("secret"), "{rows:?}");
}

#[test]
fn a_connection_that_uses_up_its_share_of_a_turn_is_counted() {
    let server = Server::start();
    let (mut manager, mut client) = (server.client("mg"), server.client("rw"));
    assert_eq!(Figures::of(&mut manager).get("yields"), 0.0);
    client.send_bytes("STORE a=1\r\n".repeat(100_000).as_bytes());
    client.flush();
    assert!(Figures::of(&mut manager).get("yields") > 1.0);
}
