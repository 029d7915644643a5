//! Clients that are slow, stuck or greedy: they end some time, and cost others nothing.

use super::target::{HttpConnection, Target, login, request, status};
use crate::support::wait_until;
use std::time::Duration;

/// Sends a byte of a head again and again, until the server closes the connection. Returns how many were sent.
fn drip(mut connection: HttpConnection) -> usize {
    connection.say("GET /healthz HTTP/1.1\r\nX: ");
    let mut count = 0;
    while !connection.conversation.ends_within(PAUSE) {
        connection.say("x");
        count += 1;
        assert!(count < 5000, "it goes on");
    }
    count
}

/// The time between two bytes.
const PAUSE: Duration = Duration::from_millis(5);

#[test]
fn a_head_that_comes_byte_by_byte_ends_with_the_time_to_log_in() {
    let target = Target::start(&["--auth-timeout", "0.4"]);
    assert!(drip(target.connect()) > 10);
    wait_until("it is counted", || {
        target.server.status("auth_timeout") == 1
    });
    // Whoever was asked for a login, and is slow to type it, is no fault.
    let mut connection = target.connect();
    assert_eq!(
        connection.ask(&request("GET", "/status.json", "")).status,
        401
    );
    connection.expect_end();
    wait_until("it is counted", || {
        target.server.status("auth_timeout") == 2
    });
    let log = target.server.process.log();
    assert!(
        !log.iter().any(|line| line.contains("auth_timeout (")),
        "{log:?}"
    );
}

#[test]
fn a_second_head_that_comes_byte_by_byte_ends_with_the_ping_timeout() {
    let target = Target::start(&["--ping-timeout", "0.4"]);
    let mut connection = target.connect();
    assert_eq!(connection.ask(&status("admin")).status, 200);
    assert!(drip(connection) > 10);
    wait_until("it is counted", || {
        target.server.status("ping_timeout") == 1
    });
}

#[test]
fn a_client_that_takes_no_answers_is_not_read_and_ends() {
    let target = Target::start(&["--stalled-write-timeout", "1"]);
    let mut connection = target.connect();
    assert_eq!(connection.ask(&status("admin")).status, 200);
    let requests = status("admin").repeat(100_000);
    let stuck = &connection.conversation;
    // The server resets the connection in the midst of it.
    let writer = stuck.say_until_closed_beside(requests.into_bytes());
    let mut manager = target.server.client("admin");
    let mut most = 0;
    wait_until("it is closed", || {
        most = most.max(target.server.most_waiting(&mut manager));
        // Others are served meanwhile.
        assert_eq!(target.ask(&request("GET", "/healthz", "")).status, 200);
        target.server.status("stalled_write") == 1
    });
    assert!(most < 200_000, "{most} bytes waited");
    writer.join().expect("it has ended");
}

#[test]
fn many_half_open_requests_leave_others_alone() {
    let target = Target::start(&[]);
    let start = request("GET", "/status.json", &login("admin"));
    let (start, end) = start.split_at(start.len() - 1);
    let mut waiting: Vec<_> = (0..100)
        .map(|_| {
            let mut connection = target.connect();
            connection.say(start);
            connection
        })
        .collect();
    assert_eq!(target.ask(&status("mg")).status, 200);
    for connection in &mut waiting {
        assert_eq!(connection.ask(end).status, 200);
    }
}

#[test]
fn a_stranger_that_takes_no_answers_gets_few() {
    let target = Target::start(&[]);
    let mut connection = target.connect();
    connection.say(&request("GET", "/nothing", "").repeat(1000));
    let came = connection.conversation.until_closed();
    let came = String::from_utf8(came).expect("text");
    assert!(came.len() < 10_000, "{} bytes came", came.len());
    assert!(came.ends_with("there is no such page\n"), "{came}");
    assert_eq!(came.matches("Connection: close").count(), 1, "{came}");
}
