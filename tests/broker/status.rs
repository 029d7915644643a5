//! The status of a server on a clock of the test's own: ages and turns have known lengths.

use super::{World, us};
use crate::support::memory_pair;
use clacks::broker::{ConnectionId, Peer, Process};
use clacks::protocol::Language;

/// The fields of a row.
fn field<'a>(row: &'a str, name: &str) -> &'a str {
    let row = row.strip_prefix("STATUS ").expect("a row");
    let mut fields = row.split(';').filter_map(|field| field.split_once('='));
    fields.find(|field| field.0 == name).expect(name).1
}

/// The rows of a list.
fn rows(world: &mut World, admin: ConnectionId, list: &str) -> Vec<String> {
    let answer = world.answers(admin, &format!("STATUS {list}"));
    let rows = answer.lines().filter(|line| line.starts_with("STATUS "));
    rows.map(str::to_owned).collect()
}

/// Asserts what the longest turn did, and that the figures and the list agree on its length.
fn assert_longest(world: &mut World, admin: ConnectionId, us: u64, language: &str, verb: &str) {
    let longest = rows(world, admin, "slow").swap_remove(0);
    assert_eq!(field(&longest, "KIND"), "longest");
    let seconds = format!("0.{us:06}");
    assert_eq!(field(&longest, "TURN"), seconds);
    assert_eq!(
        [field(&longest, "LANGUAGE"), field(&longest, "VERB")],
        [language, verb]
    );
    let figures = world.answers(admin, "STATUS");
    let figure = format!("STATUS longest_turn_seconds={seconds}\r\n");
    assert!(figures.contains(&figure), "{figures}");
}

#[test]
fn the_longest_turn_is_shown_with_the_part_that_did_most() {
    let mut world = World::new();
    let admin = world.quiet_client("admin");
    assert_eq!(rows(&mut world, admin, "slow"), [""; 0]);
    world.send(admin, &"STORE a=1\r\n".repeat(20));
    world.machine.core.count_turn(100);
    assert_longest(&mut world, admin, 100, "loop", "requests");
    world.machine.turn();
    world.machine.core.count_turn(99);
    assert_longest(&mut world, admin, 100, "loop", "requests");
    world.machine.turn();
    world.machine.core.count_turn(200);
    assert_longest(&mut world, admin, 200, "loop", "maintenance");
    let (core, now) = (&mut world.machine.core, world.machine.now);
    core.begin_turn(now);
    let others = [(); 10].map(|()| {
        let (socket, other_end) = memory_pair(usize::MAX);
        let added = core.add(socket, Peer::Unix(Process::default()), Language::Clacks);
        added.expect("memory takes every socket");
        other_end
    });
    core.serve();
    core.count_turn(300);
    assert_longest(&mut world, admin, 300, "loop", "accepts");
    drop(others);
}

#[test]
fn the_longest_turn_is_shown_with_its_heaviest_request_and_no_older_one() {
    let mut world = World::new();
    let (admin, sender) = (world.quiet_client("admin"), world.quiet_client("rw"));
    let listeners = [(); 200].map(|()| world.quiet_client("ro"));
    for listener in listeners {
        world.line(listener, "LISTEN a");
    }
    let signal = format!("SET a={}", "v".repeat(2_000));
    world.line(sender, &signal);
    world.machine.core.count_turn(5_000);
    assert_longest(&mut world, admin, 5_000, "clacks", "SET");
    let all = rows(&mut world, admin, "slow");
    let kinds: Vec<_> = all.iter().map(|row| field(row, "KIND")).collect();
    assert_eq!(kinds, ["longest", "latest"]);
    assert!(all.iter().all(|row| field(row, "NAME") == "a"), "{all:?}");
    // A longer turn without such a request takes its place among the longest, and not in the list.
    world.machine.turn();
    world.machine.core.count_turn(6_000);
    assert_longest(&mut world, admin, 6_000, "loop", "maintenance");
    let all = rows(&mut world, admin, "slow");
    assert_eq!(field(&all[1], "VERB"), "SET");
    assert_eq!(all.len(), 2);
}

/// Who watches a server often is not to find himself alone in the list.
#[test]
fn questions_for_the_status_are_no_slow_requests() {
    let mut world = World::new();
    let admin = world.quiet_client("admin");
    for turn_us in [3_000, 4_000] {
        world.answers(admin, "STATUS names");
        world.machine.core.count_turn(turn_us);
        assert_longest(&mut world, admin, turn_us, "clacks", "STATUS");
        assert_eq!(rows(&mut world, admin, "slow").len(), 1);
    }
    let figures = world.answers(admin, "STATUS");
    assert!(figures.contains("STATUS slow_requests=0\r\n"), "{figures}");
}

#[test]
fn clients_are_listed_with_their_ages_idle_times_and_what_waits_for_them() {
    let mut world = World::new();
    let admin = world.quiet_client("admin");
    world.quiet_client("ro");
    world.pass(5.0);
    let client = world.slow_client("rw", 1_000);
    world.pass(7.5);
    world.line(client, &format!("STORE a={}", "v".repeat(50_000)));
    world.line(client, "RETRIEVE a");
    world.pass(2.25);
    let all = rows(&mut world, admin, "clients");
    let of = |user: &str| {
        let mut rows = all.iter();
        rows.find(|row| field(row, "USER") == user).expect(user)
    };
    let times = |row: &str| [field(row, "AGE"), field(row, "IDLE")].map(seconds);
    assert_eq!(times(of("rw")), [us(9.75), us(2.25)]);
    assert_eq!(times(of("admin")), [us(14.75), 0]);
    assert_eq!(times(of("ro")), [us(14.75), us(14.75)]);
    let queued: usize = field(of("rw"), "OUTBUFFER_LENGTH").parse().expect("bytes");
    assert!((45_000..60_000).contains(&queued), "{queued}");
    assert_eq!(field(of("ro"), "OUTBUFFER_LENGTH"), "0");
}

/// Seconds as they are shown, in microseconds.
fn seconds(text: &str) -> u64 {
    let (whole, micros) = text.split_once('.').expect("a fraction");
    assert_eq!(micros.len(), 6, "{text}");
    format!("{whole}{micros}").parse().expect("digits")
}
