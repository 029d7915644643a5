//! clacks send: lines of the protocol there, and the answers back.

use crate::support::{Running, Server};
use std::io::Write;

#[test]
fn lines_are_answered_in_order() {
    let server = Server::start();
    let send = |input: &str| {
        let ended = server.clacks_reading("rw", &["send"], input.as_bytes());
        assert_eq!((ended.status, &*ended.stderr), (Some(0), ""));
        ended.stdout
    };
    assert_eq!(send(""), "");
    assert_eq!(
        send("STORE a=1\nINCREMENT a\n\nRETRIEVE a\nRETRIEVE b\nFLUSH x\nnonsense\nCLEARCACHE\n"),
        "RETRIEVED a=2\nNOTRETRIEVED b\nFLUSHED x\nOVERHEAD E unknown_command nonsense\n\
         OVERHEAD E permission_denied\n"
    );
    assert_eq!(
        send("RETRIEVE a\r\nRETRIEVE a"),
        "RETRIEVED a=2\nRETRIEVED a=2\n"
    );
    // After a goodbye the server closes, as it was asked to.
    assert_eq!(send("RETRIEVE a\nQUIT\nRETRIEVE a\n"), "RETRIEVED a=2\n");
    assert_eq!(send("QUIT\r\n"), "");
}

#[test]
fn a_hundred_thousand_answers_come_complete() {
    let server = Server::start();
    server
        .client("rw")
        .ask(&format!("STORE a={}", "x".repeat(1000)));
    let input: String = (0..100_000)
        .map(|number| format!("FLUSH {number}\nRETRIEVE a\n"))
        .collect();
    let ended = server.clacks_reading("rw", &["send"], input.as_bytes());
    assert_eq!((ended.status, &*ended.stderr), (Some(0), ""));
    let answer = format!("RETRIEVED a={}", "x".repeat(1000));
    let mut lines = ended.stdout.lines();
    for number in 0..100_000 {
        assert_eq!(lines.next(), Some(&*format!("FLUSHED {number}")));
        assert_eq!(lines.next(), Some(&*answer));
    }
    assert_eq!(lines.next(), None);
}

#[test]
fn answers_and_signals_come_while_somebody_types() {
    let server = Server::start();
    let mut send = server.clacks_until("rw", &["send"], "NOPING");
    let mut stdin = send.stdin.take().expect("a pipe");
    stdin.write_all(b"LISTEN a\nFLUSH 1\n").expect("it reads");
    assert_eq!(send.next_line().as_deref(), Some("FLUSHED 1"));
    server.client("rw").ask("NOTIFY a");
    assert_eq!(send.next_line().as_deref(), Some("NOTIFY a"));
    // Half a line is not sent.
    stdin.write_all(b"FLUSH 2\nRETRI").expect("it reads");
    assert_eq!(send.next_line().as_deref(), Some("FLUSHED 2"));
    stdin.write_all(b"EVE a\n").expect("it reads");
    assert_eq!(send.next_line().as_deref(), Some("NOTRETRIEVED a"));
    drop(stdin);
    assert_eq!(send.rest(), [""; 0]);
    assert_eq!(send.wait().code(), Some(0));
}

#[test]
fn a_connection_that_ends_unasked_is_an_error() {
    let server = Server::start();
    let mut send = server.clacks_until("rw", &["send"], "NOPING");
    server.client("admin").ask("OVERHEAD C 1");
    assert_eq!(send.rest(), ["QUIT"]);
    assert!(send.complaint().contains("no connection to the server"));
    assert_eq!(send.wait().code(), Some(3));
}

#[test]
fn it_ends_when_nobody_reads_the_answers() {
    let server = Server::start();
    let mut send = Running::start_unread(&mut server.clacks_command("rw", &["send"]));
    drop(send.stdout());
    assert_eq!(send.wait().code(), Some(0));
}
