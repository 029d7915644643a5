//! The figures of requests, entries and signals.

use super::Figures;
use crate::support::{Conversation, Server, Setup, wait_until};
use clacks::broker::catalogue::{self, Kind};
use std::time::Instant;

#[test]
fn requests_are_counted_by_verb_and_look_ups_by_what_they_found() {
    let server = Server::start();
    let (mut manager, mut client) = (server.client("mg"), server.client("rw"));
    let before = Figures::of(&mut manager);
    client.ask("STORE a=1");
    client.ask("RETRIEVE a");
    client.ask("RETRIEVE a");
    client.ask("RETRIEVE b");
    client.ask("INCREMENT a=2");
    client.ask("NONSENSE");
    client.ask("CLEARCACHE");
    let after = Figures::of(&mut manager);
    after.assert_growth(
        &before,
        &[
            ("requests.clacks.STORE", 1.0),
            ("requests.clacks.RETRIEVE", 3.0),
            ("requests.clacks.INCREMENT", 1.0),
            ("requests.clacks.CLEARCACHE", 1.0),
            ("requests.clacks.unknown", 1.0),
            ("requests.clacks.FLUSH", 8.0),
            ("requests.clacks.STATUS", 1.0),
            ("requests.clacks.SET", 0.0),
            ("cache_hits", 2.0),
            ("cache_misses", 1.0),
            ("cache_writes", 2.0),
            ("entries", 1.0),
            ("refusals.permission_denied", 1.0),
            ("refusals.unknown_command", 1.0),
        ],
    );
    assert!(after.get("memory_bytes.cache") > before.get("memory_bytes.cache"));
    for name in ["received_bytes", "sent_bytes"] {
        assert!(after.get(name) > before.get(name) + 50.0, "{name}");
    }
}

#[test]
fn requests_of_other_languages_are_counted_by_their_verbs() {
    let setup = Setup::new();
    let (memcached, nats) = (setup.unix("memcached"), setup.unix("nats"));
    let server = setup
        .flags(&["--cache-max", "64K"])
        .flags(&["--memcached", &memcached, "--memcached-user", "rw"])
        .flags(&["--nats", &nats, "--nats-user", "rw"])
        .start();
    let mut manager = server.client("mg");
    let before = Figures::of(&mut manager);
    let mut memcached = Conversation::begin(&server.setup.path("memcached"));
    memcached.ask(b"set a 0 0 1\r\nx\r\n", b"STORED\r\n");
    memcached.ask(b"get a\r\n", b"VALUE a 0 1\r\nx\r\nEND\r\n");
    memcached.ask(b"mg b v\r\n", b"EN\r\n");
    memcached.ask(b"gat 0 b\r\n", b"END\r\n");
    memcached.ask(b"nonsense\r\n", b"ERROR\r\n");
    let too_large = format!("set b 0 0 100000\r\n{}\r\n", "v".repeat(100_000));
    let refused = b"SERVER_ERROR object too large for cache\r\n";
    memcached.ask(too_large.as_bytes(), refused);
    let mut nats = Conversation::begin(&server.setup.path("nats"));
    nats.line();
    nats.say(b"CONNECT {}\r\nSUB a.* 1\r\nPUB a.b 1\r\nx\r\n");
    nats.ask(b"PING\r\n", b"MSG a.b 1 1\r\nx\r\nPONG\r\n");
    let mut wrong = Conversation::begin(&server.setup.path("nats"));
    wrong.line();
    wrong.say(b"NONSENSE\r\n");
    assert_eq!(wrong.line(), b"-ERR 'Unknown Protocol Operation'");
    let after = Figures::of(&mut manager);
    after.assert_growth(
        &before,
        &[
            ("requests.memcached.set", 2.0),
            ("requests.memcached.wrong", 1.0),
            ("requests.memcached.get", 1.0),
            ("requests.memcached.mg", 1.0),
            ("requests.memcached.gat", 1.0),
            ("requests.nats.CONNECT", 1.0),
            ("requests.nats.SUB", 1.0),
            ("requests.nats.PUB", 1.0),
            ("requests.nats.PING", 1.0),
            ("requests.nats.other", 1.0),
            ("refusals.unknown_command", 2.0),
            ("refusals.entry_too_large", 1.0),
            ("cache_hits", 1.0),
            ("cache_misses", 2.0),
            ("signals.nats", 1.0),
            ("deliveries.nats", 1.0),
            ("subscriptions", 1.0),
            ("clients.memcached", 1.0),
            ("clients.nats", 1.0),
            ("user_clients.rw", 2.0),
        ],
    );
}

#[test]
fn signals_and_those_who_get_them_are_counted() {
    let server = Server::start();
    let mut manager = server.client("mg");
    let (mut sender, mut one, mut other) = (
        server.client("rw"),
        server.client("ro"),
        server.client("ro"),
    );
    let before = Figures::of(&mut manager);
    one.ask("LISTEN a");
    other.ask("LISTEN a");
    other.ask("PLISTEN b::*");
    for line in ["SET a=1", "NOTIFY b::c", "SETANDSTORE a=2", "SET nobody=3"] {
        sender.ask(line);
    }
    let after = Figures::of(&mut manager);
    let memory = |figures: &Figures| figures.get("memory_bytes.connections");
    assert!(memory(&after) > memory(&before));
    after.assert_growth(
        &before,
        &[
            ("signals.clacks", 4.0),
            ("deliveries.clacks", 5.0),
            ("names_listened_to", 1.0),
            ("subscriptions", 3.0),
        ],
    );
}

#[test]
fn entries_that_go_are_counted_by_what_they_went_for() {
    let server = Setup::new()
        .flags(&["--cache-max", "64K", "--clean-interval", "0.05"])
        .start();
    let (mut manager, mut client) = (server.client("mg"), server.client("rw"));
    let before = Figures::of(&mut manager);
    client.ask("STORE short=1");
    client.ask("EXPIRE short=0.01");
    wait_until("it expires", || {
        Figures::of(&mut manager).get("expiries") == 1.0
    });
    for number in 0..50 {
        client.ask(&format!("STORE name{number}={}", "v".repeat(2_000)));
    }
    client.ask(&format!("STORE large={}", "v".repeat(100_000)));
    let after = Figures::of(&mut manager);
    after.assert_growth(
        &before,
        &[("refusals.entry_too_large", 1.0), ("stale_entries", 0.0)],
    );
    assert_eq!(after.get("cache_limit_bytes"), 65_536.0);
    let (entries, evictions) = (after.get("entries"), after.get("evictions"));
    assert_eq!(entries + evictions, 50.0);
    assert!(evictions >= 15.0, "{evictions}");
}

#[test]
fn entries_that_nobody_used_are_counted_as_stale() {
    let server = Setup::new()
        .flags(&["--stale-time", "0.2", "--clean-interval", "0.05"])
        .start();
    let mut manager = server.client("mg");
    server.client("rw").ask("STORE a=1");
    wait_until("it is stale", || {
        let figures = Figures::of(&mut manager);
        figures.get("stale_entries") == 1.0 && figures.get("expiries") == 1.0
    });
}

#[test]
fn forgotten_tombstones_are_counted() {
    let server = Setup::new()
        .flags(&["--deleted-time", "0.2", "--clean-interval", "0.05"])
        .start();
    let (mut manager, mut client) = (server.client("mg"), server.client("rw"));
    client.ask("STORE a=1");
    client.ask("REMOVE a");
    wait_until("the tombstone is forgotten", || {
        let figures = Figures::of(&mut manager);
        figures.get("forgotten_tombstones") == 1.0 && figures.get("tombstones") == 0.0
    });
    assert_eq!(Figures::of(&mut manager).get("expiries"), 0.0);
}

#[test]
fn times_and_processor_time_go_on() {
    let server = Server::start();
    let mut manager = server.client("mg");
    let (start, before) = (Instant::now(), Figures::of(&mut manager));
    let mut client = server.client("rw");
    let is_busy = || {
        client.ask(&format!("STORE a={}", "v".repeat(100_000)));
        let figures = Figures::of(&mut manager);
        let used = |figures: &Figures| {
            figures.get("processor_seconds.user") + figures.get("processor_seconds.system")
        };
        used(&figures) >= used(&before) + 0.02
    };
    wait_until("the server has worked", is_busy);
    let after = Figures::of(&mut manager);
    let grown = after.get("uptime_seconds") - before.get("uptime_seconds");
    assert!(
        grown > 0.0 && grown <= start.elapsed().as_secs_f64(),
        "{grown}"
    );
    assert_eq!(
        after.get(&format!("build.{}", env!("CARGO_PKG_VERSION"))),
        1.0
    );
    assert!(after.get("resident_memory_bytes") > 100_000.0);
}

#[test]
fn all_figures_of_the_catalogue_are_shown_in_its_order() {
    let server = Server::start();
    let mut manager = server.client("mg");
    let lines = manager.ask("STATUS");
    let names = lines.iter().filter_map(|line| line.strip_prefix("STATUS "));
    let mut shown: Vec<&str> = names
        .map(|name| name.split(['.', '=']).next().expect("a name"))
        .collect();
    shown.dedup();
    // Those that such a server has none of.
    let is_absent = |name: &str| {
        let others = [
            "uplink_up",
            "link_queued_bytes",
            "link_changed_names",
            "link_round_trip_seconds",
        ];
        name.starts_with("journal_") || others.contains(&name)
    };
    let expected = catalogue::ALL.iter().map(|metric| metric.name);
    let expected: Vec<&str> = expected.filter(|name| !is_absent(name)).collect();
    assert_eq!(shown, expected);
    assert!(
        catalogue::ALL
            .iter()
            .any(|metric| metric.kind == Kind::Histogram)
    );
}
