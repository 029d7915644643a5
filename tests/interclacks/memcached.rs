//! Memcached clients of a server beside Net::Clacks servers.

use super::counters::Slave;
use super::{Master, unix_time};
use crate::support::{Client, Conversation, Server, wait_until};
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

/// A Net::Clacks master with a slave that memcached clients speak to.
struct Pair {
    master: Master,
    server: Server,
    socket: PathBuf,
    _folder: TempDir,
}

impl Pair {
    fn start(flags: &[&str]) -> Pair {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let socket = folder.path().join("memcached");
        let address = format!("unix:{}", socket.display());
        let own = ["--memcached", &address, "--memcached-user", "admin"];
        let (master, server) = Master::with_slave(&[&own, flags].concat());
        Pair {
            master,
            server,
            socket,
            _folder: folder,
        }
    }

    fn client(&self) -> Conversation {
        Conversation::begin(&self.socket)
    }
}

/// The next line of a synchronisation about that name.
fn synchronised(link: &mut Client, name: &str) -> String {
    let mark = format!(" {name}=");
    loop {
        let line = link.next_line().expect("there is more to tell");
        if line.starts_with("KEYSYNC ") && line.contains(&mark) {
            return line;
        }
    }
}

#[test]
fn net_clacks_servers_are_told_to_remove_what_has_expired() {
    let pair = Pair::start(&["--clean-interval", "0.2"]);
    let mut link = pair.master.accept_and_hear();
    let mut client = pair.client();
    client.ask(b"set a 7 1 1\r\nx\r\n", b"STORED\r\n");
    link.expect_after_others("STORE a=x");
    link.expect_after_others("REMOVE a");
    assert_eq!(client.ask(b"get a\r\n", b"END\r\n"), b"");
}

#[test]
fn a_net_clacks_server_that_was_away_is_told_when_an_entry_has_expired() {
    let pair = Pair::start(&["--clean-interval", "0.2"]);
    let mut link = pair.master.accept_and_hear();
    let mut client = pair.client();
    let stored_s = unix_time() as f64;
    client.ask(b"set a 7 1 1\r\nx\r\n", b"STORED\r\n");
    link.expect_after_others("STORE a=x");
    drop(link);
    wait_until("it has expired", || pair.server.status("entries") == 0);
    let mut link = pair.master.accept_and_log_in();
    link.send("OVERHEAD L 1");
    link.send("OVERHEAD L 0");
    let line = synchronised(&mut link, "a");
    assert!(line.ends_with(" D a=REMOVED"), "{line}");
    let time_s = line.split(' ').nth(1).map(str::parse::<f64>);
    let Some(Ok(time_s)) = time_s else {
        panic!("{line}");
    };
    // Its time is the expiry: later than that of the value, and not that of the removal.
    assert!(
        time_s >= stored_s + 1.0 && time_s < stored_s + 5.0,
        "{line}"
    );
}

#[test]
fn a_net_clacks_server_that_tells_the_value_of_an_entry_leaves_its_flags_and_expiry() {
    let pair = Pair::start(&[]);
    let mut link = pair.master.accept_and_hear();
    let mut slave = Slave::of(&pair.server);
    let mut client = pair.client();
    client.ask(b"set a 7 1000 1\r\nx\r\n", b"STORED\r\n");
    link.expect_after_others("STORE a=x");
    assert!(slave.next().ends_with(" a=x"));
    let later = unix_time() + 5;
    link.send(&format!("KEYSYNC {later} {later} U a=x"));
    link.send("STORE end=1");
    // Other servers are told nothing of it either.
    assert!(slave.next().ends_with(" - end=1"));
    let answer = client.ask(b"mg a v f t\r\n", b"\r\nx\r\n");
    let answer = String::from_utf8(answer).expect("text");
    let left_s = answer.strip_prefix("VA 1 f7 t").map(str::parse);
    let Some(Ok(left_s)) = left_s else {
        panic!("{answer}");
    };
    assert!((900..=1000).contains(&left_s), "{answer}");
    // Another value has neither.
    let later = later + 1;
    link.send(&format!("KEYSYNC {later} {later} U a=y"));
    assert!(slave.next().ends_with(" - a=y"));
    assert_eq!(client.ask(b"mg a f t\r\n", b"\r\n"), b"HD f0 t-1");
}

#[test]
fn memcached_clients_of_a_locked_slave_wait_too() {
    let pair = Pair::start(&[]);
    let mut link = pair.master.accept_and_log_in();
    let mut client = pair.client();
    client.ask(b"mn\r\n", b"MN\r\n");
    link.send("OVERHEAD L 1");
    let mut other = pair.server.client("rw");
    super::wait_for_lock(&mut other);
    client.say(b"set a 0 0 1\r\nx\r\nget a\r\nquit\r\n");
    assert!(!client.ends_within(Duration::from_millis(300)));
    link.send("OVERHEAD L 0");
    assert_eq!(
        client.until_closed(),
        b"STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n"
    );
}
