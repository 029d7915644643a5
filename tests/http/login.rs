//! Who may see the status: every kind of login, and of request without one.

use super::target::{HttpConnection, Target, basic, login, request, status};
use crate::runner::needs_localhost;
use clacks::limits::LOGIN_DELAY_STEP_US;
use std::time::{Duration, Instant};

#[test]
fn only_a_user_with_manage_sees_the_status() {
    let target = Target::start(&[]);
    let longest = basic("admin", &"x".repeat(4000));
    let lower = login("admin").replace("Basic", "basic");
    for (headers, status) in [
        (login("admin"), 200),
        (lower, 200),
        (login("mg"), 200),
        (login("rw"), 403),
        (login("ro"), 403),
        (login("wo"), 403),
        (String::new(), 401),
        (basic("nobody", "x"), 401),
        (basic("mg", ""), 401),
        (basic("", ""), 401),
        (longest, 401),
        ("Authorization: Basic\r\n".to_owned(), 401),
        ("Authorization: Basic !\r\n".to_owned(), 401),
        ("Authorization: Basic YWRtaW4=\r\n".to_owned(), 401),
        (
            "Authorization: Bearer YWRtaW46YWRtaW5wdw==\r\n".to_owned(),
            401,
        ),
        ("Authorization:\r\n".to_owned(), 401),
    ] {
        let answer = target.ask(&request("GET", "/status.json", &headers));
        assert_eq!(answer.status, status, "{headers}");
        assert_eq!(answer.body.contains("software"), status == 200);
    }
}

#[test]
fn each_request_carries_its_login() {
    let target = Target::start(&[]);
    let mut connection = target.connect();
    for (headers, status) in [
        (String::new(), 401),
        (login("admin"), 200),
        (String::new(), 401),
        (login("admin"), 200),
        (login("mg"), 200),
        (login("rw"), 403),
        (basic("nobody", "x"), 401),
        (login("mg"), 200),
    ] {
        let answer = connection.ask(&request("GET", "/status.json", &headers));
        assert_eq!(
            (answer.status, answer.closes()),
            (status, false),
            "{headers}"
        );
    }
    for refusal in [
        "login_failed: tried user \"nobody\" (",
        "permission_denied: HTTP needs the permission manage (user rw, ",
    ] {
        target.server.process.wait_for_log(refusal);
        let log = target.server.process.log();
        let lines = log.iter().filter(|line| line.contains(refusal));
        assert_eq!(lines.count(), 1, "{log:?}");
    }
    let process = format!(", process {} of uid ", std::process::id());
    let failed = target.server.process.wait_for_log("login_failed: tried");
    assert!(failed.contains(&process), "{failed}");
}

#[test]
fn the_user_of_the_flag_needs_no_login() {
    let target = Target::start(&["--http-user", "mg"]);
    let mut connection = target.connect();
    for (headers, status) in [
        (String::new(), 200),
        (login("admin"), 200),
        (login("rw"), 403),
        (basic("mg", "x"), 401),
        (String::new(), 200),
    ] {
        let answer = connection.ask(&request("GET", "/status.json", &headers));
        assert_eq!(answer.status, status, "{headers}");
    }
}

#[test]
fn no_foreign_site_is_answered_without_a_login() {
    needs_localhost();
    let flags = ["--http-user", "mg", "--http", "tcp://localhost:0"];
    let target = Target::start(&flags);
    let port = target.port("tcp");
    let ask = |path: &str, host: &str, headers: &str| {
        let mut connection = HttpConnection::at(port);
        connection.ask(&format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n"
        ))
    };
    for host in ["127.0.0.1:49890", "localhost", "[::1]:1", "x.localhost"] {
        assert_eq!(ask("/status.json", host, "").status, 200, "{host}");
    }
    for host in ["example.com", "127.0.0.1.example.com", "", "localhost.x"] {
        let answer = ask("/status.json", host, "");
        assert_eq!(answer.status, 401, "{host}");
        assert!(answer.body.contains("the host of the request"), "{host}");
        assert_eq!(ask("/status.json", host, &login("mg")).status, 200);
        assert_eq!(ask("/healthz", host, "").status, 200, "{host}");
    }
    // The authority of a target wins over the header.
    let target = "http://example.com/status.json";
    assert_eq!(ask(target, "localhost", "").status, 401);
}

#[test]
fn answers_after_wrong_logins_are_delayed() {
    let target = Target::start(&[]);
    let step = Duration::from_micros(LOGIN_DELAY_STEP_US);
    let wrong = request("GET", "/status.json", &basic("mg", "guess"));
    let mut known = target.connect();
    assert_eq!(known.ask(&status("mg")).status, 200);
    let mut connection = target.connect();
    let begun = Instant::now();
    connection.say(&wrong.repeat(3));
    for number in 0..3 {
        assert_eq!(connection.answer().status, 401);
        // After each wrong one the next is answered later: by one step, then by two.
        assert!(begun.elapsed() >= step * (number * (number + 1) / 2));
    }
    // So is a right one on another connection, and others are not.
    let begun = Instant::now();
    assert_eq!(target.ask(&status("admin")).status, 200);
    assert_eq!(known.ask(&status("mg")).status, 200);
    assert!(begun.elapsed() < step * 2);
    assert_eq!(target.ask(&status("mg")).status, 200);
    assert!(begun.elapsed() >= step * 2);
}

#[test]
fn requests_without_a_login_do_not_end_the_delay_of_guesses() {
    let target = Target::start(&["--http-user", "mg"]);
    let step = Duration::from_micros(LOGIN_DELAY_STEP_US);
    let wrong = request("GET", "/status.json", &basic("mg", "guess"));
    let open = request("GET", "/status.json", "");
    assert_eq!(target.ask(&wrong).status, 401);
    let begun = Instant::now();
    assert_eq!(target.ask(&open).status, 200);
    assert_eq!(target.ask(&wrong).status, 401);
    assert!(begun.elapsed() >= step / 2, "{:?}", begun.elapsed());
}

/// Whoever acts as a user without a login has not shown that user's password: guesses at it are delayed all the same.
#[test]
fn a_user_of_the_flag_gets_no_free_guesses() {
    let target = Target::start(&["--http-user", "mg"]);
    let mut connection = target.connect();
    assert_eq!(
        connection.ask(&request("GET", "/status.json", "")).status,
        200
    );
    let wrong = connection.ask(&request("GET", "/status.json", &basic("mg", "wrong")));
    assert_eq!(wrong.status, 401);
    let start = Instant::now();
    assert_eq!(connection.ask(&status("mg")).status, 200);
    let delay = Duration::from_micros(LOGIN_DELAY_STEP_US);
    assert!(start.elapsed() >= delay, "{:?}", start.elapsed());
    // From then on the connection is that user's.
    assert_eq!(connection.ask(&status("mg")).status, 200);
}
