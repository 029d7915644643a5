//! A server with as many clients as it may have.

use super::target::{Target, request, status};
use crate::support::{Client, wait_until};

fn full(flags: &[&str]) -> (Target, Vec<Client>) {
    let flags = [&["--max-clients", "3"], flags].concat();
    let target = Target::start(&flags);
    let clients = (0..3).map(|_| target.server.client("rw")).collect();
    (target, clients)
}

#[test]
fn a_manager_gets_into_a_full_server_and_others_see_its_health() {
    let (target, _clients) = full(&[]);
    let answer = target.ask(&request("GET", "/healthz", ""));
    assert_eq!((answer.status, answer.closes()), (200, true));
    let mut connection = target.connect();
    for _ in 0..2 {
        let answer = connection.ask(&status("mg"));
        assert_eq!((answer.status, answer.closes()), (200, false));
    }
    // Who may not manage takes no place, even with a right password.
    let mut other = target.connect();
    assert_eq!(other.ask(&status("rw")).status, 403);
    let answer = other.answer();
    assert_eq!((answer.status, answer.closes()), (503, true));
    other.expect_end();
    assert_eq!(connection.ask(&status("mg")).status, 200);
}

#[test]
fn who_shows_no_password_does_not_keep_a_place_of_managers() {
    let (target, mut clients) = full(&["--http-user", "mg"]);
    let open = request("GET", "/status.json", "");
    let mut connection = target.connect();
    let answer = connection.ask(&open);
    assert_eq!((answer.status, answer.closes()), (200, true));
    connection.expect_end();
    clients.pop();
    wait_until("there is a place", || !target.ask(&open).closes());
}

#[test]
fn strangers_beyond_all_places_are_refused_by_an_answer() {
    let (target, _clients) = full(&[]);
    // The places for logging in at a full server are sixteen.
    let mut strangers: Vec<_> = (0..16).map(|_| target.connect()).collect();
    wait_until("they are there", || target.server.status("http") == 16);
    let _newcomer = target.connect();
    let mut oldest = strangers.remove(0);
    let answer = oldest.answer();
    assert_eq!((answer.status, answer.closes()), (503, true));
    assert!(answer.body.contains("as many connections"), "{answer:?}");
    oldest.expect_end();
}
