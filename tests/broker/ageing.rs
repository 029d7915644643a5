//! Ageing of the cache with its default times, and clearing in slices.

use super::{World, settings, us};
use clacks::broker::{Ageing, ConnectionId, Settings};
use clacks::limits::SECOND_US;
use std::collections::BTreeSet;

/// Lets time pass by the second until a line comes, without the NOPs between.
fn next_line(world: &mut World, id: ConnectionId, at_most: u32) -> (f64, String) {
    let start_us = world.now_us();
    for _ in 0..at_most {
        world.pass(1.0);
        let came = world.take(id).replace("NOP\r\n", "");
        if !came.is_empty() {
            return ((world.now_us() - start_us) as f64 / SECOND_US as f64, came);
        }
    }
    panic!("nothing came within {at_most} s");
}

#[test]
fn ageing_takes_a_day_for_entries_and_an_hour_for_tombstones() {
    let mut world = World::new();
    let (monitor, client) = (world.quiet_client("admin"), world.quiet_client("rw"));
    for line in ["STORE old=1", "STORE used=1", "REMOVE gone"] {
        world.line(client, line);
    }
    world.line(monitor, "MONITOR");
    world.take(monitor);
    let (after, line) = next_line(&mut world, monitor, 4000);
    assert_eq!(line, "DEBUG SERVERCACHE=CLEANDELETED=gone\r\n");
    assert!((3600.0..=3661.0).contains(&after), "{after}");

    world.pass(40_000.0);
    world.take(client);
    assert_eq!(
        world.answers(client, "RETRIEVE used"),
        "RETRIEVED used=1\r\n"
    );
    world.take(monitor);
    let so_far = world.now_us() as f64 / SECOND_US as f64;
    let (after, line) = next_line(&mut world, monitor, 90_000);
    assert_eq!(line, "DEBUG SERVERCACHE=CLEANSTALE=old\r\n");
    assert!((86_400.0..=86_461.0).contains(&(so_far + after)), "{after}");
    assert_eq!(
        world.answers(client, "RETRIEVE old"),
        "NOTRETRIEVED old\r\n"
    );
    world.take(monitor);

    let (after, line) = next_line(&mut world, monitor, 90_000);
    assert_eq!(line, "DEBUG SERVERCACHE=CLEANSTALE=used\r\n");
    let since_use = (world.now_us() as f64 / SECOND_US as f64) - so_far;
    assert!((86_400.0..=86_461.0).contains(&since_use), "{after}");
    assert_eq!(world.status("expired"), 3);
}

#[test]
fn what_has_expired_is_not_served_before_it_is_cleaned_either() {
    let ageing = Ageing {
        stale_us: us(10.0),
        deleted_us: us(10.0),
    };
    let mut world = World::with(Settings {
        ageing,
        clean_interval_us: us(1000.0),
        ..settings()
    });
    let id = world.quiet_client("rw");
    world.line(id, "STORE a=7");
    world.line(id, "STORE b=7");
    world.pass(9.9);
    assert_eq!(world.answers(id, "RETRIEVE a"), "RETRIEVED a=7\r\n");
    world.pass(0.2);
    assert_eq!(
        world.answers(id, "KEYLIST"),
        "KEYLISTSTART\r\nKEY a\r\nKEYLISTEND\r\n"
    );
    assert_eq!(world.answers(id, "RETRIEVE b"), "NOTRETRIEVED b\r\n");
    world.pass(10.0);
    assert_eq!(world.answers(id, "RETRIEVE a"), "NOTRETRIEVED a\r\n");
    world.line(id, "INCREMENT a");
    assert_eq!(world.answers(id, "RETRIEVE a"), "RETRIEVED a=1\r\n");
    assert_eq!(world.status("expired"), 0, "nothing was cleaned yet");
}

#[test]
fn clearing_and_ageing_a_large_cache_leave_no_deadline_that_stays() {
    let ageing = Ageing {
        stale_us: us(100.0),
        deleted_us: us(100.0),
    };
    let mut world = World::with(Settings {
        ageing,
        ..settings()
    });
    let (id, monitor) = (world.quiet_client("admin"), world.quiet_client("admin"));
    for number in 0..30_000 {
        world.line(id, &format!("STORE name{number}=1"));
    }
    world.line(id, "CLEARCACHE");
    assert_eq!(
        world.broker().poll_deadline(),
        Some(0),
        "the memory is given back at once, in slices"
    );
    assert_eq!(world.status("entries"), 0);
    for number in 0..30_000 {
        world.line(id, &format!("STORE name{number}=1"));
    }
    world.pass(1.0);
    assert_ne!(world.broker().poll_deadline(), Some(0));
    world.line(monitor, "MONITOR");
    world.pass(170.0);
    assert_eq!(
        (world.status("entries"), world.status("expired")),
        (0, 30_000)
    );
    let seen = world.take(monitor);
    let names: BTreeSet<&str> = seen
        .lines()
        .filter_map(|line| line.split_once("=CLEANSTALE="))
        .map(|l| l.1)
        .collect();
    assert_eq!(names.len(), 30_000, "every one is shown");
}
