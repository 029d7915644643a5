//! The last line of a connection arrives before the end of the stream does: Net::Clacks clients drop what they have read
//! when the end is among it.

use crate::support::{Client, DEADLINE, Identity, Server, Setup, Transport, token, wait_until};
use std::thread;

const WRONG_LOGIN: &str = "OVERHEAD A d3Jvbmc=:d3Jvbmc=";

/// A client that reads all there is whenever there is something, and drops it when the end of the stream is among it.
struct DropsAtEnd {
    transport: Box<dyn Transport>,
    seen: Vec<String>,
}

impl DropsAtEnd {
    fn new(transport: Box<dyn Transport>, lines: &str) -> DropsAtEnd {
        let mut client = DropsAtEnd {
            transport,
            seen: Vec::new(),
        };
        client.send(lines);
        client.transport.stop_blocking();
        client
    }

    fn logged_in(transport: Box<dyn Transport>) -> DropsAtEnd {
        let mut client = DropsAtEnd::new(transport, &login("rw"));
        while !client.seen.contains(&"OVERHEAD O Welcome!".to_owned()) {
            assert!(client.read(), "the login is right");
        }
        client
    }

    /// Sends lines that are short enough for the socket's buffer.
    fn send(&mut self, lines: &str) {
        let written = self.transport.write_all(format!("{lines}\r\n").as_bytes());
        let sent = written.and_then(|()| self.transport.flush());
        sent.expect("the server reads");
    }

    /// Reads what is there once there is something; false if the end of the stream was among it.
    fn read(&mut self) -> bool {
        assert!(self.transport.is_readable_within(DEADLINE), "nothing comes");
        let mut input = Vec::new();
        let has_ended = self.transport.read_what_is_there(&mut input);
        if !has_ended {
            let text = String::from_utf8(input).expect("text");
            self.seen.extend(text.lines().map(str::to_owned));
        }
        !has_ended
    }

    /// The last line that it has seen when the end has come.
    fn last_line(mut self) -> String {
        while self.read() {}
        self.seen.pop().expect("lines")
    }
}

fn server(flags: &[&str]) -> Server {
    let setup = Setup::new().with_tls(&Identity::self_signed(&["localhost"]));
    setup.flags(flags).start()
}

/// A connection of each kind.
fn transports(server: &Server) -> [Box<dyn Transport>; 3] {
    [
        server.unix_transport(),
        server.tcp_transport(),
        server.tls_transport(),
    ]
}

fn login(user: &str) -> String {
    format!("CLACKS drops at the end\r\nOVERHEAD A {}", token(user))
}

#[test]
fn a_refused_login_is_seen_before_the_end() {
    let server = server(&[]);
    let again = format!("{}\r\n{WRONG_LOGIN}", login("rw"));
    for lines in [WRONG_LOGIN, &again] {
        for transport in transports(&server) {
            let client = DropsAtEnd::new(transport, lines);
            assert_eq!(client.last_line(), "OVERHEAD F Login failed!");
        }
    }
}

#[test]
fn who_has_no_place_is_told_before_the_end() {
    let server = server(&["--max-clients", "1"]);
    let _first = server.client("rw");
    for transport in transports(&server) {
        let client = DropsAtEnd::new(transport, &login("rw"));
        assert_eq!(client.last_line(), "OVERHEAD E client_limit");
    }
}

#[test]
fn every_other_last_line_is_seen_before_the_end() {
    let long_line = "x".repeat(9000);
    let usual = ["--max-line", "4K"];
    for (flags, line, managers_line, last) in [
        (["--ping-timeout", "1"], "NOP", "NOP", "TIMEOUT"),
        (usual, "NOP", "OVERHEAD C 1", "QUIT"),
        (usual, "NOP", "OVERHEAD S 0.1", "QUIT"),
        (usual, &long_line, "NOP", "OVERHEAD E line_too_long"),
    ] {
        let server = server(&flags);
        let mut clients = transports(&server).map(DropsAtEnd::logged_in);
        for client in &mut clients {
            client.send(line);
        }
        server.client("admin").send(managers_line);
        // All of them at once: over TCP there is some time only.
        thread::scope(|scope| {
            for client in clients {
                scope.spawn(move || assert_eq!(client.last_line(), last));
            }
        });
    }
}

/// On a Unix socket the server sees whether its peer has read the last line, however long that takes.
#[test]
fn at_a_unix_socket_the_end_comes_after_the_last_line_was_read() {
    let server = server(&[]);
    let mut monitor = server.client("mg");
    monitor.ask("MONITOR");
    let mut client = DropsAtEnd::new(server.unix_transport(), WRONG_LOGIN);
    let is_closed = |monitor: &mut Client| {
        let line = monitor.next_line().expect("it lives");
        line.starts_with("DEBUG DISCONNECTED=")
    };
    while !is_closed(&mut monitor) {}
    // Turns of the server, in which it could send the end.
    for _ in 0..100 {
        monitor.flush();
    }
    assert!(client.read(), "the end comes later");
    assert_eq!(client.last_line(), "OVERHEAD F Login failed!");
}

/// A peer that reads nothing keeps its socket for a while, and no longer.
#[test]
fn who_never_reads_its_last_line_is_gone_all_the_same() {
    let server = server(&[]);
    let before = server.open_descriptors();
    let client = DropsAtEnd::new(server.unix_transport(), WRONG_LOGIN);
    wait_until("it is closed", || {
        server.status("login_failed") == 1 && server.open_descriptors() == before
    });
    drop(client);
}
