//! Commands of managers that concern the server as a whole, and a new list of users.

use super::{World, users};
use clacks::broker::{CloseReason, Users};

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
        assert!(!world.broker.is_over());
        world.pass(delay - 0.000_5);
        assert!(!world.broker.is_over(), "{value}");
        world.pass(0.001);
        assert!(world.broker.is_over(), "{value}");
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
    assert!(!world.broker.is_over());
    // A later one counts.
    world.line(admin, "OVERHEAD S 5");
    world.line(admin, "OVERHEAD S 100");
    world.pass(99.0);
    assert!(!world.broker.is_over());
    world.pass(1.1);
    assert!(world.broker.is_over());
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
    world.broker.handle_users(
        users("rw:read,write:rwpw\nro:read:ropw\n"),
        world.now,
        &mut world.wires,
    );
    assert!(
        [admin, rw, ro, stranger]
            .into_iter()
            .all(|id| world.closed(id).is_none()),
        "the same again"
    );
    world.broker.handle_users(
        users("rw:read:rwpw\nro:read:ropw\n"),
        world.now,
        &mut world.wires,
    );
    assert_eq!(
        (world.closed(rw), world.closed(ro)),
        (Some(CloseReason::UserChanged), None)
    );
    assert_eq!(world.take(rw), "QUIT\r\n");
    world.broker.handle_users(
        users("rw:read:rwpw\nro:read:otherpw\n"),
        world.now,
        &mut world.wires,
    );
    assert_eq!(
        (world.closed(ro), world.closed(admin)),
        (Some(CloseReason::UserChanged), None)
    );
    let changed = Users::new("admin", b"otherpw");
    world
        .broker
        .handle_users(changed, world.now, &mut world.wires);
    assert_eq!(
        (world.closed(admin), world.closed(stranger)),
        (Some(CloseReason::UserChanged), None)
    );
}
