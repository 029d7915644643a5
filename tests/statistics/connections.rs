//! The figures of connections.

use super::Figures;
use crate::support::{Conversation, Server, Setup, USERS, token, wait_until};

#[test]
fn connections_are_counted_by_language_user_and_end() {
    let server = Setup::new().flags(&["--max-clients", "77"]).start();
    let mut manager = server.client("mg");
    let before = Figures::of(&mut manager);
    assert_eq!(before.get("clients_limit"), 77.0);
    let (one, mut other) = (server.client("rw"), server.client("rw"));
    let stranger = server.stranger();
    let mut monitor = server.client("mg");
    monitor.ask("MONITOR");
    let during = Figures::of(&mut manager);
    during.assert_growth(
        &before,
        &[
            ("clients.clacks", 4.0),
            ("connections.clacks", 4.0),
            ("user_clients.rw", 2.0),
            ("user_clients.mg", 1.0),
            ("monitors", 1.0),
        ],
    );
    other.send("QUIT");
    other.until_closed();
    drop((one, stranger, monitor));
    wait_until("they have gone", || {
        Figures::of(&mut manager).get("clients.clacks") == 1.0
    });
    let after = Figures::of(&mut manager);
    after.assert_growth(
        &before,
        &[("closes.quit", 1.0), ("connections.clacks", 4.0)],
    );
    let closes = |name| after.get(name) - before.get(name);
    assert_eq!(
        closes("closes.end_of_stream") + closes("closes.connection_lost"),
        3.0
    );
    assert!(!after.has("user_clients.rw"));
    assert_eq!(after.get("monitors"), 0.0);
}

/// A session that logs in as somebody else is not counted twice.
#[test]
fn a_connection_counts_for_its_latest_user() {
    let server = Server::start();
    let mut manager = server.client("mg");
    let client = server.client("rw").logged_in("ro");
    let figures = Figures::of(&mut manager);
    assert_eq!(figures.get("user_clients.ro"), 1.0);
    assert!(!figures.has("user_clients.rw"));
    drop(client);
}

#[test]
fn a_rest_from_accepting_is_counted() {
    let server = Server::start();
    let mut manager = server.client("mg");
    assert_eq!(Figures::of(&mut manager).get("accept_rests"), 0.0);
    let before = server.leave_descriptors(0);
    let waiting = std::os::unix::net::UnixStream::connect(&server.socket).expect("a listener");
    wait_until("accepting rests", || {
        Figures::of(&mut manager).get("accept_rests") >= 1.0
    });
    server.limit_descriptors(before);
    drop(waiting);
}

/// There may be as many users as connections.
#[test]
fn of_many_users_those_with_most_connections_are_shown() {
    let setup = Setup::new();
    let many = (0..150).map(|number| format!("u{number}:read:u{number}pw\n"));
    let many: String = many.collect();
    let others = "(others):read:(others)pw\n";
    setup.write_secret("users", &format!("{USERS}{many}{others}"));
    let server = setup.start();
    let mut manager = server.client("mg");
    let log_in = |user: &str| {
        let mut client = server.stranger();
        client.send(&format!("OVERHEAD A {}", token(user)));
        client.flush();
        client
    };
    let mut clients: Vec<_> = (0..150)
        .map(|number| log_in(&format!("u{number}")))
        .collect();
    clients.extend(["u149", "(others)", "(others)"].map(log_in));
    let figures = Figures::of(&mut manager);
    let shown = figures
        .names()
        .filter(|name| name.starts_with("user_clients."))
        .count();
    // The user called "(others)" is one of the hundred, and is shown together with the 52 that are not.
    assert_eq!(shown, 100);
    assert_eq!(figures.get("user_clients.u149"), 2.0);
    let others = figures.get("user_clients.(others)");
    assert_eq!(others, 54.0);
}

#[test]
fn users_whose_names_begin_alike_share_a_label() {
    let setup = Setup::new();
    let start = "n".repeat(128);
    let names = ["1", "2"].map(|end| format!("{start}{end}"));
    let lines = names
        .each_ref()
        .map(|name| format!("{name}:read:{name}pw\n"));
    setup.write_secret("users", &format!("{USERS}{}", lines.concat()));
    let server = setup.start();
    let clients = names.each_ref().map(|name| server.client(name));
    let lines = server.client("mg").ask("STATUS");
    let of_users: Vec<_> = lines
        .iter()
        .filter(|line| line.starts_with("STATUS user_clients."))
        .collect();
    let expected = ["mg=1".to_owned(), format!("{start}=2")];
    let expected = expected.map(|end| format!("STATUS user_clients.{end}"));
    assert_eq!(of_users, expected.each_ref());
    drop(clients);
}

/// Connections that own no buffer take memory, too.
#[test]
fn the_memory_of_idle_connections_is_counted() {
    const COUNT: usize = 500;
    let server = Server::start();
    let mut manager = server.client("mg");
    let before = Figures::of(&mut manager).get("memory_bytes.connections");
    let idle: Vec<_> = (0..COUNT).map(|_| server.client("ro")).collect();
    let after = Figures::of(&mut manager).get("memory_bytes.connections");
    let each = (after - before) / COUNT as f64;
    assert!((250.0..1_000.0).contains(&each), "{each}");
    drop(idle);
    wait_until("they have gone", || {
        Figures::of(&mut manager).get("memory_bytes.connections") <= before + 1_000.0
    });
}

#[test]
fn wrong_logins_are_counted_in_every_language() {
    let setup = Setup::new();
    let address = setup.unix("memcached");
    let server = setup.flags(&["--memcached", &address]).start();
    let mut manager = server.client("mg");
    let mut stranger = server.stranger();
    stranger.send("OVERHEAD A bm9ib2R5:bm90aGluZw==");
    stranger.until_closed();
    let mut memcached = Conversation::begin(&server.setup.path("memcached"));
    memcached.ask(
        b"set _ _ _ 10\r\nnobody xyz\r\n",
        b"CLIENT_ERROR authentication failure\r\n",
    );
    assert_eq!(Figures::of(&mut manager).get("refusals.login_failed"), 2.0);
}
