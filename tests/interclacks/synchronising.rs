//! Telling a clacksd peer what there was when the link came up.

use super::{Master, unix_time};
use crate::support::{Client, Server, token, wait_until};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

/// The names of the states that a slave tells up to its SYNCED, sorted.
fn told_until_synced(link: &mut Client) -> Vec<String> {
    let mut names = Vec::new();
    loop {
        let line = link.next_line().expect("the slave goes on");
        if line == "SYNCED" {
            names.sort();
            return names;
        }
        if line.starts_with("STATE ") {
            let (_, entry) = line.rsplit_once(' ').expect("an entry");
            names.extend(entry.split_once('=').map(|(name, _)| name.to_owned()));
        }
    }
}

#[test]
fn a_slave_tells_what_is_news_to_its_master_whether_or_not_it_began_with_nothing() {
    let (master, server) = Master::with_slave(&[]);
    let mut client = server.client("rw");
    let stamp = format!("{}000000:7", unix_time());
    let heard = |link: &mut Client, name| {
        link.send(&format!("STATE {stamp} 1 V - - - {name}=1"));
    };
    let mut link = master.accept_as_clacksd(&server);
    heard(&mut link, "a");
    client.ask("STORE own=1");
    heard(&mut link, "b");
    link.send("SYNCED");
    assert_eq!(told_until_synced(&mut link), ["own"]);
    drop(link);
    // Now it has something when the link comes up, which this master may not know.
    let mut link = master.accept_as_clacksd(&server);
    heard(&mut link, "a");
    heard(&mut link, "c");
    client.ask("STORE later=1");
    link.send("SYNCED");
    assert_eq!(told_until_synced(&mut link), ["b", "later", "later", "own"]);
    wait_until("all has come", || server.status("entries") == 5);
}

#[test]
fn short_states_come_some_in_a_line_and_long_ones_by_themselves() {
    let server = Server::start();
    let mut client = server.client("rw");
    for number in 0..100 {
        client.send(&format!("STORE name{number}={number}"));
    }
    client.ask(&format!("STORE long={}", "v".repeat(1000)));
    let mut link = UnixStream::connect(server.setup.path("socket")).expect("the server listens");
    let login = token("admin");
    let lines = format!("CLACKS clacksd/9 interclacks/2\r\nOVERHEAD A {login}\r\nOVERHEAD I 1\r\n");
    link.write_all(lines.as_bytes()).expect("the server reads");
    let mut told = Vec::new();
    while !told.ends_with(b"SYNCED\r\n") {
        let mut part = [0; 4096];
        let count = link.read(&mut part).expect("the server goes on");
        assert!(count > 0, "it is told all");
        told.extend_from_slice(&part[..count]);
    }
    let begin_with = |verb: &[u8]| {
        let lines = told.split(|byte| *byte == b'\n');
        lines.filter(|line| line.starts_with(verb)).count()
    };
    assert_eq!((begin_with(b"STATES "), begin_with(b"STATE ")), (4, 1));
}
