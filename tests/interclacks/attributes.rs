//! Attributes, touches, and names and values of any bytes: between servers, and in a journal.

use super::counters::{Slave, with_journal};
use super::{Master, unix_time};
use crate::support::{Client, Conversation, Server, wait_until};

/// The name `a=b` and a value of two lines, as lines between servers contain them.
const ENTRY: &str = r"a\eb=two\nlines";
const NAME: &str = r"a\eb";

fn stamp_of(time_us: u64) -> String {
    format!("{time_us}:7")
}

/// A server with the entry, two slaves, the time of its stamp, and its expiry.
fn stored() -> (Server, [Slave; 2], u64, u64) {
    let server = with_journal(&[]).start();
    let [mut first, mut second] = [Slave::of(&server), Slave::of(&server)];
    let stored_us = unix_time() * 1_000_000;
    let expires_us = stored_us + 600_000_000;
    let stamp = stamp_of(stored_us);
    let line = format!("STATE {stamp} {stored_us} V - - f7,x{expires_us},b,s {ENTRY}");
    first.link.send(&line);
    assert_eq!(second.next(), line);
    (server, [first, second], stored_us, expires_us)
}

#[test]
fn a_touch_goes_on_to_other_servers_and_is_in_the_journal() {
    let (server, [mut first, mut second], stored_us, expires_us) = stored();
    let (touched_us, later_us) = (stored_us + 5, expires_us + 5);
    let stamp = stamp_of(stored_us);
    let touch = format!("TOUCH {stamp} x{later_us},t{touched_us} {NAME}");
    first.link.send(&touch);
    assert_eq!(second.next(), touch);
    first.link.send(&format!("TOUCH {stamp} w {NAME}"));
    let won = format!("TOUCH {stamp} x{later_us},t{touched_us},w {NAME}");
    assert_eq!(second.next(), won);
    server.client("rw").flush();
    let server = server.kill_and_restart();
    let told = Slave::of(&server).told;
    let attributes = format!(" f7,x{later_us},t{touched_us},b,s,w {ENTRY}");
    let is_there = |line: &String| line.starts_with("STATE ") && line.ends_with(&attributes);
    assert!(told.iter().any(is_there), "{told:?}");
}

#[test]
fn who_knows_less_of_an_entry_than_its_touch_gets_its_state() {
    let (_server, [mut first, mut second], stored_us, expires_us) = stored();
    let stamp = stamp_of(stored_us);
    let touched_us = stored_us + 5;
    first
        .link
        .send(&format!("TOUCH {stamp} t{touched_us} {NAME}"));
    assert_eq!(second.next(), format!("TOUCH {stamp} t{touched_us} {NAME}"));
    // An earlier touch, and a touch of what was there before.
    let older = stamp_of(stored_us - 1);
    for less in [
        format!("TOUCH {stamp} x{expires_us},t{} {NAME}", touched_us - 1),
        format!("TOUCH {older} t{touched_us} {NAME}"),
    ] {
        second.link.send(&less);
        let state = second.next();
        assert!(state.starts_with(&format!("STATE {stamp} ")), "{state}");
        assert!(state.ends_with(&format!(" f7,t{touched_us},b,s {ENTRY}")));
    }
    // What is not here has no touch.
    let newer = stamp_of(stored_us + 1);
    for unknown in [
        format!("TOUCH {newer} t{touched_us} {NAME}"),
        format!("TOUCH {stamp} t{touched_us} other"),
    ] {
        second.link.send(&unknown);
    }
    second.link.send(&format!("COUNT {stamp} 0 - {NAME}"));
    let state = second.next();
    assert!(state.starts_with(&format!("STATE {stamp} ")), "{state}");
}

#[test]
fn clients_see_texts_of_values_and_name_what_they_can() {
    let (server, [mut first, mut second], stored_us, _) = stored();
    let mut client = server.client("rw");
    let text = "PAGECAMELCLACKSB64:dHdvCmxpbmVz";
    wait_for(
        &mut client,
        "RETRIEVE a=b",
        &format!("RETRIEVED a=b={text}"),
    );
    let stamp = stamp_of(stored_us);
    first
        .link
        .send(&format!(r"STATE {stamp} {stored_us} V - - - c\nd=1"));
    second.next();
    let keys = client.ask("KEYLIST");
    assert_eq!(keys, ["KEYLISTSTART", "KEY a=b", "KEYLISTEND"]);
    assert!(client.ask("TTL a=b")[0].starts_with("TTL a=b="));
    client.ask("EXPIRE a=b=0");
    assert!(first.next().starts_with("TOUCH "));
    assert_eq!(client.ask("TTL a=b"), ["TTL a=b=-1"]);
    client.ask("REMOVE a=b");
    assert!(first.next().ends_with(&format!(" R - - - {NAME}=")));
    assert_eq!(client.ask("RETRIEVE a=b"), ["NOTRETRIEVED a=b"]);
}

/// Asks until that is the answer.
fn wait_for(client: &mut Client, question: &str, answer: &str) {
    wait_until(answer, || client.ask(question) == [answer]);
}

#[test]
fn a_text_that_is_set_and_stored_is_the_value_between_servers_and_a_text_for_listeners() {
    let server = with_journal(&[]).start();
    let mut slave = Slave::of(&server);
    let mut client = server.client("rw");
    client.ask("LISTEN back");
    let text = "PAGECAMELCLACKSB64:dHdvCmxpbmVz";
    client.ask(&format!("SETANDSTORE a={text}"));
    let line = slave.next();
    assert!(line.ends_with(r" - a=two\nlines"), "{line}");
    let now_us = unix_time() * 1_000_000;
    let stamp = stamp_of(now_us);
    let line = format!(r"STATE {stamp} {now_us} V - 77:{now_us} - back=two\nlines");
    slave.link.send(&line);
    client.expect(&format!("SET back={text}"));
}

#[test]
fn net_clacks_servers_are_sent_texts_and_nothing_of_names_that_they_can_not_have() {
    let (master, server) = Master::with_slave(&[]);
    let mut link = master.accept_and_hear();
    let mut slave = Slave::of(&server);
    let now_us = unix_time() * 1_000_000;
    let stamp = stamp_of(now_us);
    for entry in [r"a\eb=1", r"c\nd=1", r"e=two\nlines"] {
        let line = format!("STATE {stamp} {now_us} V - - - {entry}");
        slave.link.send(&line);
    }
    let text = "PAGECAMELCLACKSB64:dHdvCmxpbmVz";
    link.expect_after_others(&format!("STORE e={text}"));
    slave.link.send(&format!(
        r"STATE {} {now_us} R - - - a\eb=",
        stamp_of(now_us + 1)
    ));
    slave
        .link
        .send(&format!("STATE {stamp} {now_us} V - - - end=1"));
    link.expect("STORE end=1");
    link.send(&format!("STORE f={text}"));
    let line = slave.next();
    assert!(line.ends_with(r" - f=two\nlines"), "{line}");
    // The value that is here already, and later.
    let later = unix_time() + 5;
    link.send(&format!("KEYSYNC {later} {later} U f={text}"));
    link.send("STORE end=2");
    assert!(slave.next().ends_with(" end=2"));
    // A master that comes back is sent all that it can name.
    drop(link);
    let mut link = master.accept_and_log_in();
    link.send("OVERHEAD L 1");
    link.send("OVERHEAD L 0");
    let mut told = Vec::new();
    while told.len() < 3 {
        let line = link.next_line().expect("there is more to tell");
        if line.starts_with("KEYSYNC ") {
            told.push(line);
        }
    }
    for (line, entry) in told.iter().zip([
        format!(" U e={text}"),
        " U end=2".to_owned(),
        format!(" U f={text}"),
    ]) {
        assert!(line.ends_with(&entry), "{told:?}");
    }
}

#[test]
fn net_clacks_servers_are_not_told_that_a_value_is_out_of_date() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let socket = folder.path().join("memcached");
    let address = format!("unix:{}", socket.display());
    let flags = ["--memcached", &address, "--memcached-user", "admin"];
    let (master, server) = Master::with_slave(&flags);
    let mut link = master.accept_and_hear();
    let mut slave = Slave::of(&server);
    let now_us = unix_time() * 1_000_000;
    let mut tell = |number: u64, rest: &str| {
        let stamp = stamp_of(now_us + number);
        slave
            .link
            .send(&format!("STATE {stamp} {now_us} V - - {rest}"));
    };
    tell(0, "- a=1");
    link.expect_after_others("STORE a=1");
    // Made elsewhere, and here.
    tell(1, "s a=1");
    let mut client = Conversation::begin(&socket);
    client.ask(b"md a I T50\r\nmg a v\r\n", b"VA 1 X W\r\n1\r\n");
    tell(2, "- b=1");
    link.expect("STORE b=1");
    // Another value is told, out of date or not.
    tell(3, "s b=2");
    link.expect("STORE b=2");
    client.ask(b"md a I x\r\n", b"HD\r\n");
    link.expect("STORE a=");
    drop(server);
}
