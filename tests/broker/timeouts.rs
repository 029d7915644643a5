//! Timeouts with their default times: NOPs, logins, pings and connections that take nothing; and deadlines that
//! there must not be.

use super::{World, settings, us};
use clacks::broker::{Carrier, CloseReason, ConnectionId, Settings};
use clacks::limits::SECOND_US;

impl World {
    /// A signal of so many bytes, for those who listen to "much".
    fn send_much(&mut self, bytes: usize) {
        let sender = self.client("rw");
        self.line(sender, &format!("SET much={}", "x".repeat(bytes)));
        self.line(sender, "QUIT");
    }
}

/// Lets time pass in small steps until `text` comes, and checks that it comes `after` seconds from
/// now, or in the second behind that: far deadlines are kept on whole seconds.
fn expect_after(world: &mut World, id: ConnectionId, after: f64, text: &str) {
    world.pass(after - 0.001);
    assert_eq!(world.take(id), "", "before its time");
    world.pass(1.002);
    assert_eq!(world.take(id), text);
}

#[test]
fn a_client_that_is_sent_nothing_gets_a_nop_every_60_seconds() {
    let mut world = World::new();
    let id = world.quiet_client("rw");
    let mut last_us = 0;
    for _ in 0..5 {
        let now_us = world.now_us();
        let waited_us = now_us - last_us;
        world.pass(60.0 - waited_us as f64 / SECOND_US as f64 - 0.001);
        assert_eq!(world.take(id), "", "before its time");
        while world.now_us() <= last_us + us(61.0) && !world.has_received(id) {
            world.pass(0.01);
        }
        assert_eq!(world.take(id), "NOP\r\n");
        last_us = world.machine.core.out.traffic(id).last_output_us;
    }
    assert!(last_us <= us(5.0 * 61.0), "{last_us}");
}

#[test]
fn whatever_is_sent_puts_the_nop_off_and_what_the_client_sends_does_not() {
    let mut world = World::new();
    let (id, other) = (world.quiet_client("ro"), world.quiet_client("rw"));
    world.line(id, "LISTEN signal");
    world.pass(45.0);
    world.line(other, "SET signal=1");
    assert_eq!(world.take(id), "SET signal=1\r\n");
    world.pass(30.0);
    world.line(id, "RETRIEVE a");
    assert_eq!(world.take(id), "NOTRETRIEVED a\r\n");
    world.pass(30.0);
    world.line(id, "NOPING");
    world.line(id, "OVERHEAD M 1");
    expect_after(&mut world, id, 30.0, "NOP\r\n");
}

#[test]
fn who_is_not_logged_in_gets_no_nop() {
    let mut world = World::with(Settings {
        auth_timeout_us: us(1000.0),
        ..settings()
    });
    let id = world.connect();
    world.take(id);
    world.pass(999.0);
    assert_eq!((world.take(id).as_str(), world.closed(id)), ("", None));
}

#[test]
fn who_does_not_log_in_is_closed_without_a_word() {
    let mut world = World::new();
    let id = world.connect();
    world.take(id);
    world.pass(7.0);
    world.line(id, "PING");
    world.line(id, "CLACKS I am busy");
    world.pass(7.9);
    assert_eq!(world.closed(id), None);
    world.pass(1.2);
    assert_eq!(
        (world.take(id).as_str(), world.closed(id)),
        ("", Some(CloseReason::AuthTimeout))
    );
}

#[test]
fn a_ping_alone_renews_the_ping_timeout() {
    let mut world = World::new();
    let (pings, talks) = (world.client("rw"), world.client("rw"));
    world.pass(100.0);
    world.line(pings, "PING");
    for line in [
        "RETRIEVE a",
        "STORE a=1",
        "FLUSH x",
        "NOP",
        "CLACKS x",
        "OVERHEAD M 1",
        "PINGS",
    ] {
        world.line(talks, line);
    }
    world.pass(79.9);
    assert_eq!((world.closed(pings), world.closed(talks)), (None, None));
    world.pass(1.2);
    assert_eq!(
        (world.closed(pings), world.closed(talks)),
        (None, Some(CloseReason::PingTimeout))
    );
    assert!(world.take(talks).ends_with("TIMEOUT\r\n"));
    world.pass(98.5);
    assert_eq!(world.closed(pings), None);
    world.pass(1.5);
    assert_eq!(world.closed(pings), Some(CloseReason::PingTimeout));
}

#[test]
fn a_noping_suspends_the_ping_timeout_until_the_next_ping() {
    let mut world = World::new();
    let id = world.client("rw");
    world.pass(170.0);
    world.line(id, "NOPING");
    world.pass(100_000.0);
    assert_eq!(world.closed(id), None);
    world.line(id, "PING");
    world.pass(179.9);
    assert_eq!(world.closed(id), None);
    world.pass(1.2);
    assert_eq!(world.closed(id), Some(CloseReason::PingTimeout));
}

#[test]
fn a_new_login_leaves_the_ping_timeout_as_it_is() {
    let mut world = World::new();
    let id = world.client("rw");
    let suspended = world.quiet_client("rw");
    world.pass(170.0);
    world.log_in(id, "ro");
    world.log_in(suspended, "ro");
    world.pass(9.9);
    assert_eq!(world.closed(id), None);
    world.pass(1.2);
    assert_eq!(world.closed(id), Some(CloseReason::PingTimeout));
    world.pass(1_000.0);
    assert_eq!(world.closed(suspended), None);
}

#[test]
fn timeouts_stand_still_while_the_server_does_not_read() {
    let mut world = World::new();
    let (stranger, client, other) = (world.connect(), world.client("rw"), world.client("rw"));
    world.pass(10.0);
    for id in [stranger, client] {
        world.stop(id);
    }
    world.pass(160.0);
    assert_eq!(
        (
            world.closed(stranger),
            world.closed(client),
            world.closed(other)
        ),
        (None, None, None)
    );
    for id in [stranger, client] {
        world.resume(id);
    }
    world.pass(4.0);
    assert_eq!(world.closed(stranger), None, "5 of 15 seconds are left");
    world.pass(2.1);
    assert_eq!(world.closed(stranger), Some(CloseReason::AuthTimeout));
    world.pass(5.0);
    assert_eq!(
        world.closed(other),
        Some(CloseReason::PingTimeout),
        "181.1 of 180 seconds"
    );
    world.line(client, "RETRIEVE a");
    world.pass(158.8);
    assert_eq!(world.closed(client), None, "179.9 of 180 seconds");
    world.pass(1.2);
    assert_eq!(world.closed(client), Some(CloseReason::PingTimeout));
}

#[test]
fn who_takes_nothing_for_the_stalled_write_timeout_is_closed() {
    let mut world = World::new();
    let id = world.slow_client("rw", 1_000);
    world.line(id, "LISTEN much");
    world.pass(5.0);
    world.send_much(3_000);
    // It takes something now and then.
    world.pass(50.0);
    world.read_on(id);
    world.pass(50.0);
    assert_eq!(world.closed(id), None);
    while world.has_received(id) {
        world.read_on(id);
    }
    world.pass(100.0);
    assert_eq!(world.closed(id), None);
    world.take(id);
    world.send_much(3_000);
    world.pass(59.9);
    assert_eq!(world.closed(id), None);
    world.pass(1.2);
    assert_eq!(world.closed(id), Some(CloseReason::StalledWrite));
    // Of the rest, and of the farewell, it is sent nothing any more.
    assert_eq!(world.take(id), format!("{:x<1000}", "SET much="));
}

#[test]
fn many_idle_clients_wake_the_server_once_a_second_at_most() {
    let mut world = World::new();
    let mut random = 1_u64;
    let ids: Vec<ConnectionId> = (0..1000)
        .map(|_| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            world.pass((random >> 40) as f64 / f64::from(1 << 24) * 0.1);
            world.client("rw")
        })
        .collect();
    world.machine.wake_ups = 0;
    for _ in 0..20 {
        for id in &ids {
            world.line(*id, "PING");
        }
        world.pass(60.0);
    }
    assert!(
        world.machine.wake_ups <= 20 * 60 + 1,
        "{} in 20 minutes",
        world.machine.wake_ups
    );
    assert!(
        world.machine.wake_ups > 20,
        "there is something to be woken for"
    );
    assert_eq!(world.status("clients"), 1000);
}

#[test]
fn nothing_is_due_without_sessions_and_entries() {
    let mut world = World::new();
    assert_eq!(world.broker().poll_deadline(), None);
    for round in 0..100 {
        let id = world.client("admin");
        assert!(world.broker().poll_deadline().is_some());
        world.line(
            id,
            if round % 2 == 0 {
                "QUIT"
            } else {
                "OVERHEAD A wrong"
            },
        );
        assert_eq!(world.broker().poll_deadline(), None);
    }

    // What was stored is looked after until it is gone.
    let id = world.client("admin");
    world.line(id, "STORE a=1");
    world.line(id, "REMOVE b");
    world.line(id, "QUIT");
    assert!(world.broker().poll_deadline().is_some());
    world.pass(86_400.0 + 61.0);
    assert_eq!(
        (world.status("entries"), world.status("tombstones")),
        (0, 0)
    );
    assert_eq!(world.broker().poll_deadline(), None);

    let id = world.client("admin");
    world.line(id, "STORE a=1");
    world.line(id, "CLEARCACHE");
    world.line(id, "QUIT");
    world.pass(61.0);
    assert_eq!(world.broker().poll_deadline(), None);
}

#[test]
fn the_systems_clock_may_be_set_without_touching_timeouts() {
    for (name, change_s) in [("back", -10_000_000_i64), ("forth", 10_000_000)] {
        let mut world = World::new();
        let (stranger, client, quiet) = (
            world.connect(),
            world.client("rw"),
            world.quiet_client("rw"),
        );
        world.take(stranger);
        world.line(quiet, "STORE a=1");
        world.pass(5.0);
        let wall_us = world.machine.now.wall_us;
        world.machine.now.wall_us = wall_us
            .checked_add_signed(change_s * SECOND_US as i64)
            .expect("after 1970");
        world.pass(9.9);
        assert_eq!(world.closed(stranger), None, "{name}");
        world.pass(1.2);
        assert_eq!(
            world.closed(stranger),
            Some(CloseReason::AuthTimeout),
            "{name}"
        );
        assert_eq!(world.take(quiet), "", "{name}");
        world.pass(45.0);
        assert_eq!(world.take(quiet), "NOP\r\n", "{name}");
        world.pass(118.8);
        assert_eq!(world.closed(client), None, "{name}");
        world.pass(1.2);
        assert_eq!(
            world.closed(client),
            Some(CloseReason::PingTimeout),
            "{name}"
        );
        // Stamps do follow that clock: what was stored before it was set forth has gone stale.
        world.take(quiet);
        world.line(quiet, "RETRIEVE a");
        let expected = if change_s < 0 {
            "RETRIEVED a=1\r\n"
        } else {
            "NOTRETRIEVED a\r\n"
        };
        assert_eq!(world.take(quiet), expected, "{name}");
    }
}

#[test]
fn who_has_not_taken_a_nop_gets_no_other() {
    let mut world = World::new();
    let id = world.slow_client("ro", 1_000);
    world.line(id, "RETRIEVE a");
    world.pass(86_400.0);
    assert_eq!(world.take(id), "NOTRETRIEVED a\r\n");
    assert_eq!(world.closed(id), None);
    world.pass(61.0);
    assert_eq!(world.take(id), "NOP\r\n");
}

#[test]
fn who_takes_something_when_it_is_tried_once_more_is_not_closed() {
    let mut world = World::new();
    let id = world.slow_client("ro", 1_000);
    world.line(id, "LISTEN much");
    world.send_much(3_000);
    world.pass(59.0);
    for _ in 0..3 {
        // So little that the kernel would not tell of it.
        world.machine.peer(id).take_some(10);
        world.pass(60.0);
    }
    assert_eq!(world.closed(id), None);
    world.pass(6.0);
    assert_eq!(world.closed(id), Some(CloseReason::StalledWrite));
}

/// To try once more is to write, and many may come to a halt at the same moment.
#[test]
fn of_many_who_take_nothing_few_at_a_time_are_tried_once_more() {
    let mut world = World::new();
    let slow = |_| world.slow_client("ro", 1_000);
    let ids: Vec<ConnectionId> = (0..100).map(slow).collect();
    for &id in &ids {
        world.line(id, "LISTEN much");
    }
    world.send_much(3_000);
    // Each takes one byte, so that what is written in a turn is the number of those who are tried.
    for &id in &ids {
        world.machine.peer(id).take_some(1);
    }
    let mut most_retried = 0;
    let written = |world: &World| world.machine.core.out.connections.host.bytes_out;
    let mut before = written(&world);
    while world.machine.pass_to_next(us(119.0)) {
        let now = written(&world);
        most_retried = most_retried.max(now - before);
        before = now;
    }
    assert!(ids.iter().all(|id| world.closed(*id).is_none()));
    let is_tried = |id: &ConnectionId| world.machine.peer(*id).untaken() == 1_000;
    assert!(ids.iter().all(is_tried));
    world.pass(6.0);
    assert!(ids.iter().all(|id| world.closed(*id).is_some()));
    assert!(most_retried <= 8, "{most_retried}");
}
