//! Ends of connections that memcached clients have, and what the server counts them as.

use super::servers::Target;
use crate::support::{Conversation, wait_until};

/// Says something on a new connection, which the server then closes for that reason. Returns its answers.
fn closes(target: &Target, said: &[u8], reason: &str) -> String {
    let before = target.server().status(reason);
    let mut connection = target.connect(None, "");
    connection.say(said);
    let answers = connection.until_closed();
    wait_until(reason, || target.server().status(reason) > before);
    String::from_utf8(answers).expect("text")
}

#[test]
fn each_end_has_its_reason() {
    let target = Target::clacksd();
    for (said, answers, reason) in [
        (&b"mn\r\nquit\r\nmn\r\n"[..], "MN\r\n", "quit"),
        (b"quit now noreply\r\n", "", "quit"),
        (b"\x80\x0b\0\0\0\0\0\0", "", "binary_protocol"),
        (b"\x80", "", "binary_protocol"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "", "http_request"),
    ] {
        assert_eq!(closes(&target, said, reason), answers, "{reason}");
    }
}

#[test]
fn an_end_before_the_login_has_its_reason() {
    let target = Target::clacksd_with_login();
    for (said, answers, reason) in [
        (&b"quit\r\n"[..], "", "quit"),
        (b"mg k\r\n", "", "login_failed"),
        (b"\r\n", "", "login_failed"),
        (b"\x80\x0b\0\0\0\0\0\0", "", "binary_protocol"),
        (b"\x80", "", "binary_protocol"),
    ] {
        assert_eq!(closes(&target, said, reason), answers, "{reason}");
    }
}

#[test]
fn a_client_that_sends_no_more_gets_its_answers_and_is_let_go() {
    let target = Target::clacksd();
    let mut connection = target.connect(None, "");
    connection.say(b"mn\r\nset k 0 0 10\r\nabc");
    assert_eq!(connection.end(), b"MN\r\n");
    wait_until("it has ended", || {
        target.server().status("end_of_stream") > 0
    });
}

#[test]
fn who_does_not_log_in_is_closed_without_a_word() {
    let target = Target::clacksd_with_login_and(&["--auth-timeout", "0.3"]);
    assert_eq!(closes(&target, b"", "auth_timeout"), "");
    let wrong = b"set a 0 0 7\r\nadmin x\r\n";
    let answer = "CLIENT_ERROR authentication failure\r\n";
    assert_eq!(closes(&target, wrong, "auth_timeout"), answer);
}

#[test]
fn an_unfinished_line_of_2048_bytes_waits_and_a_longer_one_closes() {
    let target = Target::clacksd();
    let mut connection = target.connect(None, "");
    connection.say_alone(&[b'x'; 2048]);
    assert_eq!(connection.ask(b"\r\nmn\r\n", b"MN\r\n"), b"ERROR\r\n");
    assert_eq!(closes(&target, &[b'x'; 2049], "line_too_long"), "");
}

#[test]
fn a_line_that_comes_whole_is_answered_whatever_its_length() {
    let target = Target::clacksd();
    let mut connection = target.connect(None, "");
    let line = [&[b'x'; 5000][..], b"\r\nmn\r\n"].concat();
    assert_eq!(connection.ask(&line, b"MN\r\n"), b"ERROR\r\n");
}

#[test]
fn an_unfinished_line_that_names_many_keys_may_be_as_long_as_a_line_of_clacks() {
    let target = Target::clacksd_with(&["--max-line", "8192"]);
    for command in ["get", "gets", "gat 0", "gats 0"] {
        let mut connection = target.connect(None, "");
        let keys = [command, &" k".repeat(3000)].concat();
        connection.say_alone(keys.as_bytes());
        assert_eq!(connection.ask(b"\r\nmn\r\n", b"MN\r\n"), b"END\r\n");
        let longer = [command, &" k".repeat(5000)].concat();
        assert_eq!(closes(&target, longer.as_bytes(), "line_too_long"), "");
    }
}

#[test]
fn one_connection_too_many_is_refused() {
    let target = Target::clacksd_with(&["--max-clients", "3"]);
    let mut connections: Vec<Conversation> = Vec::new();
    for _ in 0..3 {
        let mut connection = target.connect(None, "");
        connection.ask(b"mn\r\n", b"MN\r\n");
        connections.push(connection);
    }
    let refused = closes(&target, b"", "client_limit");
    assert_eq!(refused, "ERROR Too many open connections\r\n");
    drop(connections);
}

#[test]
fn shutdown_ends_the_server_without_a_word() {
    for line in [&b"shutdown\r\n"[..], b"shutdown graceful\r\n"] {
        let target = Target::clacksd();
        let mut other = target.connect(None, "");
        other.ask(b"mn\r\n", b"MN\r\n");
        let mut connection = target.connect(None, "");
        connection.say(line);
        assert_eq!(connection.until_closed(), b"");
        assert_eq!(other.until_closed(), b"");
        assert!(target.end_of_server().success());
    }
}

#[test]
fn clients_of_the_binary_protocol_are_named_in_the_log_once() {
    let target = Target::clacksd();
    for _ in 0..2 {
        closes(&target, b"\x80\x0b\0\0\0\0\0\0", "binary_protocol");
    }
    let log = target.server().process.log();
    let told = log.iter().filter(|line| line.contains("protocol=\"Text\""));
    assert_eq!(told.count(), 1, "{log:#?}");
}
