//! Entries that expire: their tombstones stay where another server may have older values, and nowhere else.

use crate::support::{Server, Setup, text, wait_until};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

fn setup() -> Setup {
    let setup = Setup::new();
    let (memcached, journal) = (setup.unix("memcached"), setup.path("journal"));
    let journal = text(&journal);
    let flags = [
        "--memcached",
        &memcached,
        "--memcached-user",
        "rw",
        "--clean-interval",
        "1",
        "--persist",
        &journal,
    ];
    setup.flags(&flags)
}

/// Stores an entry that expires after a second, and waits until the server has noticed.
fn store_and_wait(server: &Server) {
    let stream = UnixStream::connect(server.setup.path("memcached"));
    let mut stream = stream.expect("the server listens there");
    let request = b"set brief 7 1 5\r\nvalue\r\nget brief\r\n";
    stream.write_all(request).expect("the server reads");
    let mut answers = BufReader::new(stream).lines();
    let mut next = || answers.next().expect("an answer").expect("an answer");
    for expected in ["STORED", "VALUE brief 7 5", "value", "END"] {
        assert_eq!(next(), expected);
    }
    wait_until("the entry is gone", || server.status("entries") == 0);
}

#[test]
fn a_server_that_is_alone_keeps_no_tombstone_of_what_expired() {
    let server = setup().start();
    store_and_wait(&server);
    assert_eq!(server.status("tombstones"), 0);
    let server = server.end_and_restart();
    store_and_wait(&server);
    assert_eq!(server.status("tombstones"), 0);
}

#[test]
fn a_server_that_once_had_a_link_keeps_tombstones_after_a_restart_too() {
    let master = setup().start();
    let slave = Setup::new().flags(&["--master", &master.setup.unix("socket")]);
    let slave = slave.start();
    wait_until("the link is up", || slave.is_slave());
    // Once this is answered, everything before is in the journal.
    master.client("rw").flush();
    drop(slave);
    let master = master.kill_and_restart();
    store_and_wait(&master);
    assert_eq!(master.status("tombstones"), 1);
}
