//! Commands of managers that concern the server as a whole, and a new list of users.

use super::{World, users};
use crate::support::take_log;
use clacks::broker::{CloseReason, ConnectionId, NatsSettings, Peer, Process, Settings, Users};
use clacks::limits::{CLOSES_PER_TURN, LOG_LINES_PER_SECOND};
use clacks::protocol::Language;

#[test]
fn overhead_s_ends_the_server_at_its_moment() {
    for (value, delay) in [
        ("1.5", 1.5),
        ("0.001", 0.001),
        ("3600", 3600.0),
        ("1e1", 10.0),
    ] {
        let mut world = World::new();
        let (admin, stranger) = (world.quiet_client("admin"), world.connect());
        world.line(admin, &format!("OVERHEAD S {value}"));
        assert!(!world.broker().is_over());
        world.pass(delay - 0.000_5);
        assert!(!world.broker().is_over(), "{value}");
        world.pass(0.001);
        assert!(world.broker().is_over(), "{value}");
        for id in [admin, stranger]
            .into_iter()
            .filter(|id| world.closed(*id) != Some(CloseReason::AuthTimeout))
        {
            assert_eq!(world.closed(id), Some(CloseReason::Shutdown), "{value}");
        }
        assert!(world.take(admin).ends_with("QUIT\r\n"), "{value}");
        // Who comes now gets the greeting and is closed.
        let late = world.connect();
        assert_eq!(world.closed(late), Some(CloseReason::Shutdown));
    }
}

/// Refusals that come too often are not all logged, and the last ones must not wait for the next one to be counted.
#[test]
fn refusals_that_were_not_logged_are_counted_a_second_later() {
    const MORE: usize = 7;
    let mut world = World::new();
    let client = world.quiet_client("ro");
    world.pass(1.0);
    take_log();
    for _ in 0..LOG_LINES_PER_SECOND as usize + MORE {
        world.line(client, "STORE a=1");
    }
    let refused = |log: &[String]| {
        let refused = log
            .iter()
            .filter(|line| line.starts_with("permission_denied"));
        refused.count()
    };
    assert_eq!(refused(&take_log()), LOG_LINES_PER_SECOND as usize);
    world.pass(1.0);
    let count = format!("requests and logins were refused ({MORE} more not logged)");
    assert_eq!(take_log(), [count]);
    world.pass(3600.0);
    assert_eq!(take_log(), [""; 0]);
    world.line(client, "STORE a=1");
    let log = take_log();
    assert!(
        refused(&log) == 1 && !log[0].contains("not logged"),
        "{log:?}"
    );
}

#[test]
fn overhead_g_is_forwarded_unless_its_value_is_0() {
    let mut world = World::new();
    let (admin, other) = (world.quiet_client("admin"), world.quiet_client("rw"));
    world.take(other);
    for value in ["1", "00", "0.0", "text"] {
        let line = format!("OVERHEAD GM {value}");
        world.line(admin, &line);
        assert_eq!(world.take(other), format!("{line}\r\n"));
    }
    for line in ["OVERHEAD GM 0", "OVERHEAD G 0", "OVERHEAD GBN 0"] {
        assert_eq!(world.answers(admin, line), "", "{line}");
        assert_eq!(world.take(other), "", "{line}");
    }
}

#[test]
fn overhead_s_with_no_time_to_wait_is_ignored() {
    let mut world = World::new();
    let (admin, other) = (world.quiet_client("admin"), world.quiet_client("rw"));
    for value in ["0", "0.0", "-1", "soon", "nan", "-inf"] {
        assert_eq!(
            world.answers(admin, &format!("OVERHEAD S {value}")),
            "",
            "{value}"
        );
    }
    assert_eq!(
        world.answers(other, "OVERHEAD S 1"),
        "OVERHEAD E permission_denied\r\n"
    );
    assert_eq!(world.answers(admin, "OVERHEAD DS 1"), "", "D discards it");
    world.pass(1_000_000.0);
    assert!(!world.broker().is_over());
    // A later one counts.
    world.line(admin, "OVERHEAD S 5");
    world.line(admin, "OVERHEAD S 100");
    world.pass(99.0);
    assert!(!world.broker().is_over());
    world.pass(1.1);
    assert!(world.broker().is_over());
}

#[test]
fn users_that_are_gone_or_changed_are_sent_away() {
    let mut world = World::new();
    let (admin, rw, ro, stranger) = (
        world.client("admin"),
        world.client("rw"),
        world.client("ro"),
        world.connect(),
    );
    world.reload(users("rw:read,write:rwpw\nro:read:ropw\n"));
    assert!(
        [admin, rw, ro, stranger]
            .into_iter()
            .all(|id| world.closed(id).is_none()),
        "the same again"
    );
    world.reload(users("rw:read:rwpw\nro:read:ropw\n"));
    assert_eq!(
        (world.closed(rw), world.closed(ro)),
        (Some(CloseReason::UserChanged), None)
    );
    assert_eq!(world.take(rw), "QUIT\r\n");
    world.reload(users("rw:read:rwpw\nro:read:otherpw\n"));
    assert_eq!(
        (world.closed(ro), world.closed(admin)),
        (Some(CloseReason::UserChanged), None)
    );
    let changed = Users::new("admin", b"otherpw");
    world.reload(changed);
    assert_eq!(
        (world.closed(admin), world.closed(stranger)),
        (Some(CloseReason::UserChanged), None)
    );
}

/// Clients for some slices and a part of one.
const MANY: usize = 2 * CLOSES_PER_TURN + 10;

/// Lets `begin` dismiss many clients, and one more who sends a line meanwhile. Each slice closes so many at most, and
/// each client gets a farewell and nothing else. Returns a client that has come in the meantime.
fn dismiss_many(reason: CloseReason, begin: impl FnOnce(&mut World)) -> (World, ConnectionId) {
    let mut world = World::new();
    let mut clients: Vec<ConnectionId> = (0..MANY).map(|_| world.quiet_client("ro")).collect();
    begin(&mut world);
    let open = |world: &World| {
        MANY - clients
            .iter()
            .filter(|id| world.closed(**id).is_some())
            .count()
    };
    assert_eq!(open(&world), MANY);
    let mut late = None;
    let mut left = MANY;
    while left > 0 {
        assert_eq!(world.broker().poll_deadline(), Some(0));
        let last = clients.iter().rfind(|id| world.closed(**id).is_none());
        let waiting = *last.expect("one is left");
        world.machine.send(waiting, b"RETRIEVE a\r\n");
        match late {
            None => late = Some(world.connect()),
            Some(_) => drop(world.machine.turn()),
        }
        assert!(world.machine.is_stopped(waiting));
        let rest = open(&world);
        assert!(
            (1..=CLOSES_PER_TURN).contains(&(left - rest)),
            "{left} {rest}"
        );
        left = rest;
    }
    for id in clients.drain(..) {
        assert_eq!(world.closed(id), Some(reason));
        assert_eq!(world.take(id), "QUIT\r\n");
    }
    (world, late.expect("a turn has passed"))
}

#[test]
fn many_whose_user_has_changed_are_closed_in_slices() {
    let (world, late) = dismiss_many(CloseReason::UserChanged, |world| {
        world.broker().handle_users(users("ro:read:otherpw\n"));
    });
    assert_eq!(world.closed(late), None);
}

#[test]
fn many_are_closed_in_slices_when_a_client_closes_all() {
    let (world, late) = dismiss_many(CloseReason::ClosedAll, |world| {
        let admin = world.client("admin");
        // The rest of the turn would close the first of them.
        world.machine.send(admin, b"OVERHEAD C 1\r\n");
        world.machine.hear();
    });
    assert_eq!(world.closed(late), None);
}

#[test]
fn many_are_closed_in_slices_at_the_end_of_the_server() {
    let (mut world, late) = dismiss_many(CloseReason::Shutdown, |world| {
        let now = world.machine.now;
        world.broker().handle_shutdown(now);
        assert!(world.broker().is_over() && !world.broker().has_recorded_all());
    });
    assert_eq!(world.closed(late), Some(CloseReason::Shutdown));
    assert!(world.broker().has_recorded_all());
}

/// The strings of CONNECT may contain any character.
#[test]
fn a_nats_client_adds_no_line_to_a_list_by_its_name() {
    let nats = NatsSettings {
        user: Some("rw".to_owned()),
        ..NatsSettings::default()
    };
    let mut world = World::with(Settings {
        nats,
        ..super::settings()
    });
    let manager = world.client("admin");
    let id = world.connect_as(Peer::Unix(Process::default()), Language::Nats);
    let connect = br#"CONNECT {"verbose":false,"lang":"c","version":"1;","name":"a\r\nQUIT"}"#;
    world.machine.send(id, &[&connect[..], b"\r\n"].concat());
    world.machine.work_off();
    assert!(!world.machine.is_stopped(id));
    let list = world.answers(manager, "CLIENTLIST");
    let shown = ";CLIENTINFO=nats c 1_ a__QUIT;";
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines.len(), 4, "{list}");
    assert!(lines[2].contains(shown), "{list}");
}
