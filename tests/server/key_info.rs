//! KEYINFO: size, age and time to expiry of entries.

use crate::interclacks::slave_of;
use crate::support::{Server, wait_until};
use std::time::Instant;

/// The figures of a line, and the name.
fn fields(line: &str) -> (u64, u64, i64, &str) {
    let text = line.strip_prefix("KEYINFO ").expect("a line of the list");
    let words: Vec<&str> = text.splitn(4, ' ').collect();
    let [size, age, ttl, name] = words[..] else {
        panic!("{line}");
    };
    let number = |word: &str| word.parse().expect("a number");
    (
        number(size),
        number(age),
        ttl.parse().expect("a number"),
        name,
    )
}

#[test]
fn entries_are_listed_with_their_figures_and_sorted() {
    let server = Server::start();
    let mut client = server.client("rw");
    assert_eq!(client.ask("KEYINFO"), ["KEYINFOSTART", "KEYINFOEND"]);
    for line in [
        "STORE shop::b=12345",
        "STORE shop::a=",
        "INCREMENT shop::n=-10",
        "STORE other a=1",
        "STORE gone=1",
        "REMOVE gone",
        "EXPIRE shop::b=1000",
    ] {
        client.send(line);
    }
    let all = client.ask("KEYINFO");
    let names: Vec<&str> = all[1..all.len() - 1]
        .iter()
        .map(|line| fields(line).3)
        .collect();
    assert_eq!(names, ["other a", "shop::a", "shop::b", "shop::n"]);
    let some = client.ask("KEYINFO shop::");
    assert_eq!(some[1..4], all[2..5]);
    assert_eq!((some.len(), &*some[4]), (5, "KEYINFOEND"));
    let sizes: Vec<u64> = some[1..4].iter().map(|line| fields(line).0).collect();
    assert_eq!(sizes, [0, 5, 3]);
    assert_eq!(fields(&some[1]).2, -1);
    assert!((1..=1000).contains(&fields(&some[2]).2), "{some:?}");
    assert_eq!(client.ask("KEYINFO none"), ["KEYINFOSTART", "KEYINFOEND"]);
}

#[test]
fn the_age_is_that_of_the_last_write_and_no_use_changes_it() {
    let server = Server::start();
    let mut client = server.client("rw");
    client.ask("STORE a=1");
    let mut age = 0;
    wait_until("it gets older", || {
        client.ask("RETRIEVE a");
        age = fields(&client.ask("KEYINFO")[1]).1;
        age > 0
    });
    client.ask("EXPIRE a=100");
    assert!(fields(&client.ask("KEYINFO")[1]).1 >= age);
    let begun = Instant::now();
    client.ask("INCREMENT a");
    age = fields(&client.ask("KEYINFO")[1]).1;
    assert!(age <= begun.elapsed().as_secs(), "{age}");
}

#[test]
fn entries_of_other_servers_have_the_same_figures() {
    let root = Server::start();
    let slave = slave_of(&root.setup.unix("socket")).start();
    root.client("rw").ask("STORE a=12345");
    let mut client = slave.client("rw");
    wait_until("it arrives", || client.ask("KEYINFO").len() == 3);
    let list = client.ask("KEYINFO");
    let (size, _, ttl, name) = fields(&list[1]);
    assert_eq!((size, ttl, name), (5, -1, "a"));
}
