//! Attributes, touches, and names and values of any bytes: between servers, and in a journal.

use super::counters::{Slave, with_journal};
use super::unix_time;
use crate::support::Server;

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
