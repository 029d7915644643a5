//! KEYLIST, KEYINFO and CLIENTLIST in slices.

use super::{World, settings};
use clacks::broker::{ConnectionId, Settings};
use clacks::limits::{self};
use std::collections::BTreeSet;

fn keys(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.split_terminator("\r\n").collect();
    assert_eq!(
        (lines.remove(0), lines.pop()),
        ("KEYLISTSTART", Some("KEYLISTEND"))
    );
    lines
        .into_iter()
        .map(|line| line.strip_prefix("KEY ").expect("a name"))
        .collect()
}

#[test]
fn a_long_keylist_comes_in_slices_and_names_that_stay_are_in_it_once() {
    let mut world = World::new();
    let (reader, writer, monitor) = (
        world.slow_client("ro", limits::LISTING_SLICE),
        world.client("rw"),
        world.client("admin"),
    );
    for number in 0..50_000 {
        world.line(writer, &format!("STORE stays{number}=1"));
        if number % 5 == 0 {
            world.line(writer, &format!("STORE goes{number}=1"));
        }
    }
    world.line(monitor, "MONITOR");
    world.take(monitor);
    world.take(writer);

    world.line(reader, "KEYLIST");
    assert!(
        world.machine.is_stopped(reader),
        "its next line has to wait"
    );
    let (mut list, mut slices, mut number) = (world.take(reader), 1, 0);
    assert!(list.len() < 4 * limits::LISTING_SLICE, "{}", list.len());
    while world.machine.is_stopped(reader) {
        // Others go on, and change the table.
        for _ in 0..200 {
            world.line(writer, &format!("REMOVE goes{}", number % 50_000));
            world.line(writer, &format!("STORE comes{number}=1"));
            number += 5;
        }
        assert_eq!(
            world.answers(writer, "RETRIEVE stays0"),
            "RETRIEVED stays0=1\r\n"
        );
        let wants_room = world.machine.wants_room(reader);
        assert!(wants_room, "a list that isn't complete wants room");
        let slice = world.read_on(reader);
        assert!(slice.len() < 4 * limits::LISTING_SLICE, "{}", slice.len());
        list += &slice;
        slices += 1;
    }
    assert!(slices > 10, "{slices}");
    assert!(!world.give_room());
    while world.has_received(reader) {
        list += &world.read_on(reader);
    }

    let all = keys(&list);
    let distinct: BTreeSet<&str> = all.iter().copied().collect();
    assert_eq!(distinct.len(), all.len(), "a name is listed once");
    let staying = all.iter().filter(|name| name.starts_with("stays")).count();
    assert_eq!(staying, 50_000);
    assert!(all.len() < 50_000 + 10_000 + slices * 200);

    // Monitors see a line once it has been handled, as the KEYLIST has been now.
    let seen = world.take(monitor);
    assert!(
        seen.trim_end().ends_with("=KEYLIST"),
        "{:?}",
        seen.lines().last()
    );
    assert_eq!(
        world.answers(reader, "RETRIEVE stays1"),
        "RETRIEVED stays1=1\r\n"
    );
}

#[test]
fn the_figures_of_many_names_come_in_slices_however_few_of_them_are_wanted() {
    let mut world = World::new();
    let id = world.client("rw");
    for number in 0..50_000 {
        world.line(id, &format!("STORE name{number}={number}"));
    }
    world.take(id);
    for (prefix, count) in [("", 50_000), ("name1", 11_111), ("name49999", 1), ("x", 0)] {
        world.line(id, &format!("KEYINFO {prefix}"));
        let (mut list, mut slices) = (world.take(id), 1);
        while world.machine.is_stopped(id) {
            assert!(world.give_room(), "a list that isn't complete wants room");
            let slice = world.take(id);
            assert!(slice.len() < 8 * limits::LISTING_SLICE, "{}", slice.len());
            list += &slice;
            slices += 1;
        }
        assert!(slices > 5, "{slices} slices for {prefix}");
        let mut lines: Vec<&str> = list.split_terminator("\r\n").collect();
        assert_eq!(
            (lines.remove(0), lines.pop()),
            ("KEYINFOSTART", Some("KEYINFOEND"))
        );
        let distinct: BTreeSet<&str> = lines.iter().copied().collect();
        assert_eq!((lines.len(), distinct.len()), (count, count), "{prefix}");
        let begins = format!(" 0 -1 {prefix}");
        assert!(lines.iter().all(|line| line.contains(&begins)));
    }
}

#[test]
fn a_keylist_is_sorted_up_to_10000_names() {
    let mut world = World::new();
    let id = world.client("rw");
    for number in (0..10_000).rev() {
        world.line(id, &format!("STORE name{number}=1"));
    }
    let list = |world: &mut World| {
        world.take(id);
        world.line(id, "KEYLIST");
        while world.give_room() {}
        world.take(id)
    };
    let text = list(&mut world);
    let names = keys(&text);
    assert_eq!(names.len(), 10_000);
    assert!(names.is_sorted(), "bytewise");
    world.line(id, "STORE one more=1");
    let text = list(&mut world);
    let names: BTreeSet<&str> = keys(&text).into_iter().collect();
    assert_eq!(names.len(), 10_001);
}

#[test]
fn a_list_is_completed_whatever_becomes_of_what_it_lists() {
    for names in [5_000, 20_000] {
        let mut world = World::new();
        let (reader, admin) = (world.client("ro"), world.client("admin"));
        for number in 0..names {
            world.line(admin, &format!("STORE name{number}=1"));
        }
        world.line(reader, "KEYLIST");
        world.give_room();
        world.line(admin, "CLEARCACHE");
        while world.give_room() {}
        let text = world.take(reader);
        assert!(keys(&text).len() < names, "{names}");
        assert_eq!(
            world.answers(reader, "KEYLIST"),
            "KEYLISTSTART\r\nKEYLISTEND\r\n"
        );

        // A client that goes in the midst of its list is no trouble.
        for number in 0..names {
            world.line(admin, &format!("STORE name{number}=1"));
        }
        world.line(reader, "KEYLIST");
        world.lose(reader);
        while world.give_room() {}
        assert_eq!(world.status("clients"), 1);
    }
}

/// Hundreds may go in the midst of their lists at once.
#[test]
fn the_lists_of_who_is_gone_are_freed_in_slices() {
    const READERS: usize = 20;
    let mut world = World::new();
    let slow = |_| world.slow_client("ro", 1_000);
    let readers: Vec<ConnectionId> = (0..READERS).map(slow).collect();
    let admin = world.client("admin");
    for number in 0..9_000 {
        world.line(admin, &format!("STORE name{number}=1"));
    }
    for reader in &readers {
        world.line(*reader, "KEYLIST");
    }
    for _ in 0..2 {
        assert!(world.give_room());
    }
    assert_ne!(world.broker().poll_deadline(), Some(0));
    for reader in readers {
        world.lose(reader);
    }
    // One list a slice, of which each has a bounded size.
    let mut slices = 0;
    while world.broker().poll_deadline() == Some(0) {
        world.machine.turn();
        slices += 1;
    }
    assert!((READERS..2 * READERS).contains(&slices), "{slices}");
}

#[test]
fn a_long_clientlist_comes_in_slices_sorted_with_every_client_once() {
    let mut world = World::with(Settings {
        max_clients: 3_000,
        ..settings()
    });
    let admin = world.slow_client("admin", limits::LISTING_SLICE);
    let others: Vec<ConnectionId> = (0..2_999).map(|_| world.client("ro")).collect();
    world.line(admin, "CLIENTLIST");
    let (mut text, mut slices) = (String::new(), 1);
    while world.machine.is_stopped(admin) {
        if slices == 2 {
            for id in &others[..100] {
                world.line(*id, "QUIT");
            }
        }
        assert!(world.machine.held(admin) > 0, "the list takes memory");
        assert!(world.machine.wants_room(admin));
        text += &world.read_on(admin);
        slices += 1;
    }
    assert!(slices > 3, "{slices}");
    assert_eq!(world.machine.held(admin), 0);
    while world.has_received(admin) {
        text += &world.read_on(admin);
    }
    let mut lines: Vec<&str> = text.split_terminator("\r\n").collect();
    assert_eq!(
        (lines.remove(0), lines.pop()),
        ("CLIENTLISTSTART", Some("CLIENTLISTEND"))
    );
    let cids: Vec<&str> = lines
        .iter()
        .map(|line| line.split(';').next().expect("fields"))
        .collect();
    let listed: BTreeSet<&str> = cids.iter().copied().collect();
    assert!(cids.is_sorted() && listed.len() == cids.len());
    // Who went meanwhile may have been listed before.
    world.line(admin, "CLIENTLIST");
    let mut text = String::new();
    while world.machine.is_stopped(admin) || world.has_received(admin) {
        text += &world.read_on(admin);
    }
    let stayed: BTreeSet<&str> = text
        .lines()
        .filter(|line| line.starts_with("CLIENT "))
        .map(|line| line.split(';').next().expect("fields"))
        .collect();
    assert_eq!(stayed.len(), 2_900);
    assert!(stayed.is_subset(&listed) && listed.len() < 3_000);
}
