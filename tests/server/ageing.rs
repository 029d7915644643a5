//! Ageing of the cache in the real server, with short times. The default times are in
//! `broker`.

use crate::support::{Client, SetClock, Setup, hand_over, text, wait_until};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::time::Duration;

/// KEYLIST doesn't count as use, so that one can look without changing anything.
fn is_listed(client: &mut Client, name: &str) -> bool {
    client.ask("KEYLIST").contains(&format!("KEY {name}"))
}

#[test]
fn what_has_expired_is_not_served_even_before_it_is_cleaned() {
    let server = Setup::new()
        .flags(&["--stale-time", "0.5", "--clean-interval", "3600"])
        .start();
    let mut client = server.client("admin");
    client.ask("STORE entry=1");
    client.ask("STORE counter=41");
    wait_until("it expires", || {
        !is_listed(&mut client, "entry") && !is_listed(&mut client, "counter")
    });
    assert_eq!(client.ask("RETRIEVE entry"), ["NOTRETRIEVED entry"]);
    client.ask("INCREMENT counter");
    assert_eq!(client.ask("RETRIEVE counter"), ["RETRIEVED counter=1"]);
    assert_eq!(
        (server.status("expired"), server.status("entries")),
        (0, 2),
        "nothing was cleaned"
    );
}

#[test]
fn a_retrieve_keeps_an_entry_from_going_stale() {
    let server = Setup::new()
        .flags(&["--stale-time", "2", "--clean-interval", "0.1"])
        .start();
    let mut client = server.client("rw");
    client.ask("STORE used=1");
    client.ask("STORE unused=1");
    wait_until("the other one goes stale", || {
        assert_eq!(client.ask("RETRIEVE used"), ["RETRIEVED used=1"]);
        server.status("expired") == 1
    });
    assert!(is_listed(&mut client, "used"));
    assert_eq!(client.ask("RETRIEVE unused"), ["NOTRETRIEVED unused"]);
    wait_until("nobody uses it any more", || server.status("entries") == 0);
    assert_eq!(client.ask("RETRIEVE used"), ["NOTRETRIEVED used"]);
}

#[test]
fn monitors_see_what_is_dropped_and_why() {
    let times = [
        "--stale-time",
        "1.25",
        "--deleted-time",
        "0.25",
        "--clean-interval",
        "0.125",
    ];
    let server = Setup::new().flags(&times).start();
    let mut monitor = server.client("admin");
    monitor.ask("MONITOR");
    let mut client = server.client("rw");
    for line in [
        "STORE stale=1",
        "STORE removed=1",
        "REMOVE removed",
        "REMOVE never there",
    ] {
        client.ask(line);
    }
    let mut seen = Vec::new();
    wait_until("all three are dropped", || {
        let came = monitor.whatever_came(Duration::from_millis(50));
        seen.extend(came.into_iter().filter(|line| line.contains("SERVERCACHE")));
        seen.len() == 3
    });
    // Tombstones go in the order of the table.
    seen[..2].sort();
    assert_eq!(
        seen,
        [
            "DEBUG SERVERCACHE=CLEANDELETED=never there",
            "DEBUG SERVERCACHE=CLEANDELETED=removed",
            "DEBUG SERVERCACHE=CLEANSTALE=stale"
        ]
    );
    assert_eq!(
        (
            server.status("entries"),
            server.status("tombstones"),
            server.status("cache_bytes")
        ),
        (0, 0, 0)
    );
    assert_eq!(server.status("expired"), 3);
}

/// Reports whether an entry is still there after a year without use. `FILE` in flags stands for a file of the setup; an
/// activated socket has that name.
fn outlives_a_year(flags: &[&str], activated: Option<&str>) -> bool {
    const YEAR_S: i64 = 365 * 86_400;
    let setup = Setup::new();
    let (clock, file) = (SetClock::new(&setup), text(&setup.path("file")));
    let flags: Vec<String> = flags
        .iter()
        .map(|flag| flag.replace("FILE", &file))
        .collect();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let socket = UnixListener::bind(setup.path("activated")).expect("a folder of our own");
    let server = setup.flags(&flags).start_changed(|command| {
        clock.apply_to(command);
        if let Some(name) = activated {
            *command = hand_over(command, &[socket.as_fd()], name);
        }
    });
    let mut client = server.client("rw");
    client.ask("STORE a=1");
    clock.set_ahead(YEAR_S);
    is_listed(&mut client, "a")
}

#[test]
fn entries_stay_where_the_cache_is_kept_or_has_a_limit() {
    for flags in [
        &["--persist", "FILE"][..],
        &["--cache-max", "1M"],
        &["--stale-time", "never"],
        &["--memcached", "unix:FILE"],
    ] {
        assert!(outlives_a_year(flags, None), "{flags:?}");
    }
    for flags in [
        &[][..],
        &["--cache-max", "0"],
        &["--persist", "FILE", "--stale-time", "86400"],
        &["--memcached", "unix:FILE", "--stale-time", "86400"],
    ] {
        assert!(!outlives_a_year(flags, None), "{flags:?}");
    }
    assert!(outlives_a_year(&[], Some("memcached")));
    assert!(!outlives_a_year(&[], Some("unix")));
}

#[test]
fn entries_that_went_stale_are_counted_and_logged() {
    let server = Setup::new()
        .flags(&["--stale-time", "0.3", "--clean-interval", "0.1", "-v"])
        .start();
    server.client("rw").ask("STORE a=1");
    wait_until("it goes stale", || server.status("stale") == 1);
    let said = "1 entries were dropped that nobody had used for --stale-time";
    server.process.wait_for_log(said);
}
