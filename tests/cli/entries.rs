//! clacks and the entries of the cache: several at once, and numbers that are counted.

use super::commands::assert_fails;
use crate::support::{Client, Server, Setup};
use serde_json::{Value, json};
use std::os::unix::net::UnixListener;

#[test]
fn several_names_are_retrieved_in_their_order() {
    let server = Server::start();
    let does = |arguments: &[&str]| server.clacks_output("rw", arguments);
    does(&["store", "a", "1"]);
    does(&["store", "b", "two\nlines"]);
    does(&["store", "c", "two\nlines\n"]);
    does(&["store", "d", ""]);
    assert_eq!(does(&["retrieve", "d", "c", "a"]), "\ntwo\nlines\n1\n");
    // A value that lacks an end of line gets one only beside others.
    assert_eq!(does(&["retrieve", "b"]), "two\nlines");
    assert_eq!(does(&["retrieve", "b", "a", "a"]), "two\nlines\n1\n1\n");
    assert_eq!(
        does(&["retrieve", "--raw", "b", "a", "d", "c"]),
        "two\nlines1two\nlines\n"
    );
    let lines: Vec<Value> = does(&["--json", "retrieve", "b", "a"])
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let expected = [
        json!({"name": "b", "value": "two\nlines"}),
        json!({"name": "a", "value": "1"}),
    ];
    assert_eq!(lines, expected);
    assert_eq!(server.clacks("wo", &["retrieve", "a", "b"]).status, Some(4));
}

#[test]
fn each_name_without_an_entry_is_reported_and_the_others_are_printed() {
    let server = Server::start();
    server.clacks_output("rw", &["store", "a", "1"]);
    server.clacks_output("rw", &["store", "b", "2"]);
    let ended = server.clacks("rw", &["retrieve", "x", "a", "y", "b"]);
    let complaints = "clacks: there is no entry \"x\"\nclacks: there is no entry \"y\"\n";
    assert_eq!(
        (ended.status, &*ended.stdout, &*ended.stderr),
        (Some(1), "1\n2\n", complaints)
    );
}

#[test]
fn more_names_than_one_exchange_has_are_retrieved() {
    let server = Server::start();
    let names: Vec<String> = (0..2500).map(|number| format!("name {number}")).collect();
    let mut client = server.client("rw");
    for name in &names {
        client.send(&format!("STORE {name}=value of {name}"));
    }
    client.flush();
    let arguments: Vec<&str> = ["retrieve"]
        .into_iter()
        .chain(names.iter().map(String::as_str))
        .collect();
    let expected: String = names
        .iter()
        .map(|name| format!("value of {name}\n"))
        .collect();
    assert!(server.clacks_output("rw", &arguments) == expected);
}

#[test]
fn names_and_prefixes_are_removed() {
    let server = Server::start();
    let mut client = server.client("rw");
    let fill = |client: &mut Client| {
        for name in ["a", "b", "shop::1", "shop::2", "shopping"] {
            client.send(&format!("STORE {name}=1"));
        }
        client.flush();
    };
    fill(&mut client);
    let keys = || server.clacks_output("rw", &["keys"]);
    assert_eq!(
        server.clacks_output("rw", &["remove", "a", "none", "shop::1"]),
        ""
    );
    assert_eq!(keys(), "b\nshop::2\nshopping\n");
    fill(&mut client);
    assert_eq!(
        server.clacks_output("rw", &["remove", "--prefix", "shop::"]),
        ""
    );
    assert_eq!(keys(), "a\nb\nshopping\n");
    server.clacks_output("rw", &["remove", "--prefix", "none"]);
    assert_eq!(keys(), "a\nb\nshopping\n");
    server.clacks_output("rw", &["remove", "--prefix=-", "--json"]);
    for (user, verb, permission) in [("ro", "REMOVE", "write"), ("wo", "KEYLIST", "read")] {
        let why = format!("for {verb} the user \"{user}\" needs the permission to {permission}\n");
        let ended = server.clacks(user, &["remove", "--prefix", "a"]);
        assert!(ended.stderr.ends_with(&why), "{ended:?}");
        assert_eq!(ended.status, Some(4));
        // Whether or not there is anything to remove.
        let ended = server.clacks(user, &["remove", "--prefix", "none"]);
        assert!(ended.stderr.ends_with(&why), "{ended:?}");
        assert_eq!(ended.status, Some(4));
    }
    assert_eq!(keys(), "a\nb\nshopping\n");
}

#[test]
fn counting_prints_the_new_value() {
    let server = Server::start();
    let does = |arguments: &[&str]| server.clacks_output("rw", arguments);
    assert_eq!(does(&["increment", "n"]), "1\n");
    assert_eq!(does(&["increment", "n", "0.5"]), "1.5\n");
    assert_eq!(does(&["decrement", "n", "3"]), "-1.5\n");
    assert_eq!(
        does(&["--json", "decrement", "n"]),
        "{\"name\":\"n\",\"value\":\"-2.5\"}\n"
    );
    // Of what anybody counts, nothing is lost.
    let printed = || -> Vec<u64> {
        let count = || {
            does(&["increment", "m"])
                .trim_end()
                .parse()
                .expect("a number")
        };
        (0..20).map(|_| count()).collect()
    };
    let mut all: Vec<u64> = std::thread::scope(|scope| {
        let counting: Vec<_> = (0..2).map(|_| scope.spawn(printed)).collect();
        let counted = counting.into_iter().map(|one| one.join().expect("numbers"));
        counted.flatten().collect()
    });
    all.sort_unstable();
    assert_eq!(all.last(), Some(&40));
    assert!(all.iter().enumerate().all(|(at, value)| *value > at as u64));
}

#[test]
fn a_count_that_may_not_be_read_says_that_it_was_done() {
    let server = Server::start();
    let why = "permission_denied: for RETRIEVE the user \"wo\" needs the permission to read; it was counted\n";
    let ended = server.clacks("wo", &["increment", "n"]);
    assert!(ended.stderr.ends_with(why), "{ended:?}");
    assert_fails(ended, 4, "the server refused it");
    assert_eq!(server.clacks_output("ro", &["retrieve", "n"]), "1\n");
    // Who may neither write nor read is told of the first.
    let why = "for DECREMENT the user \"mg\" needs the permission to write\n";
    let ended = server.clacks("mg", &["decrement", "n"]);
    assert!(ended.stderr.ends_with(why), "{ended:?}");
    assert_eq!(server.clacks_output("ro", &["retrieve", "n"]), "1\n");
}

#[test]
fn a_count_and_its_question_come_in_one_write_and_once() {
    let setup = Setup::bare();
    let listener = UnixListener::bind(setup.path("played")).expect("a socket of our own");
    let played = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().expect("it dials");
        stream
            .write_all(b"CLACKS played\r\nOVERHEAD O Welcome!\r\n")
            .expect("it reads");
        let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
        while !all.windows(9).any(|some| some == b"INCREMENT") {
            let count = stream.read(&mut buffer).expect("bytes");
            assert!(count > 0, "it goes on");
            all = buffer[..count].to_vec();
        }
        // The connection ends before the answer; nothing more may come.
        drop(stream);
        listener.set_nonblocking(true).expect("a socket of ours");
        let again = listener.accept().is_ok();
        (String::from_utf8(all).expect("text"), again)
    });
    let mut command = crate::support::bare_clacks(&["-s", &setup.unix("played"), "increment", "n"]);
    let ended = crate::support::run(command.env("CLACKS_PASSWORD", "x"));
    assert_fails(ended, 3, "no connection to the server");
    let (written, again) = played.join().expect("it was played");
    let end = written.find("INCREMENT").expect("it was sent");
    assert_eq!(
        &written[end..],
        "INCREMENT n=1\r\nRETRIEVE n\r\nFLUSH clacks-1\r\n"
    );
    assert!(!again, "it is not counted again");
}

#[test]
fn a_counter_without_room_is_refused_with_the_limit() {
    let server = Setup::new().flags(&["--cache-max", "64K"]).start();
    let name = "long".repeat(30_000);
    let ended = server.clacks("rw", &["increment", &name]);
    assert_fails(
        ended,
        4,
        "entry_too_large: the entry is larger than the server's --cache-max",
    );
}

#[test]
fn names_have_figures_before_them() {
    let server = Server::start();
    let does = |arguments: &[&str]| server.clacks_output("rw", arguments);
    assert_eq!(does(&["keys", "--long"]), "");
    does(&["store", "shop::long", "twelve bytes"]);
    does(&["store", "--ttl", "100000", "shop::a b", "1"]);
    does(&["store", "other", ""]);
    let figures = |text: &str| -> Vec<Vec<String>> {
        let rows = text.lines();
        let fields = rows.map(|row| row.split_whitespace().map(str::to_owned).collect());
        fields.collect()
    };
    let long = does(&["keys", "--long", "shop::"]);
    let rows = figures(&long);
    assert_eq!(rows[0][3..], ["shop::a", "b"], "{long}");
    assert_eq!(rows[1][3..], ["shop::long"], "{long}");
    assert_eq!(
        (&*rows[0][0], &*rows[1][0], &*rows[1][2]),
        ("1", "12", "-1")
    );
    let ttl: u64 = rows[0][2].parse().expect("seconds");
    assert!((1..=100_000).contains(&ttl));
    let columns: Vec<usize> = long.lines().filter_map(|row| row.find("shop")).collect();
    assert_eq!(columns[0], columns[1], "{long}");
    assert_eq!(does(&["keys", "--long"]).lines().count(), 3);
    let mut object: Value =
        serde_json::from_str(&does(&["keys", "--long", "--json", "oth"])).expect("JSON");
    assert!(object["age"].take().is_u64());
    let expected = json!({"name": "other", "size": 0, "age": null, "ttl": -1});
    assert_eq!(object, expected);
}
