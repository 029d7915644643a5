//! The flags and sockets of listeners for memcached clients.

use crate::support::tls::{VERSIONS, session};
use crate::support::{Client, DEADLINE, Identity, Process, Setup, hand_over, run, wait_until};
use rustls::StreamOwned;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};

/// The answer to a request, as long as that is expected.
fn ask(mut stream: impl Read + Write, request: &str, expected: &str) {
    stream.write_all(request.as_bytes()).expect("a connection");
    let mut answer = vec![0; expected.len()];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(String::from_utf8_lossy(&answer), expected);
}

fn port(process: &Process, prefix: &str) -> u16 {
    let line = process.log_line(prefix).expect("a listener");
    let port = line.rsplit(':').next().expect("a port");
    port.parse().expect("a number")
}

/// Logs in at a port that speaks TLS, in each of its versions, and asks for more with the same bytes.
fn log_in_with_tls(port: u16) {
    for version in VERSIONS {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        let limited = stream.set_read_timeout(Some(DEADLINE));
        limited.expect("a fresh socket");
        let request = format!("{LOGIN}set k 0 0 1\r\nx\r\nget k\r\n");
        let answer = "STORED\r\nSTORED\r\nVALUE k 0 1\r\nx\r\nEND\r\n";
        ask(StreamOwned::new(session(version), stream), &request, answer);
    }
}

const LOGIN: &str = "set _ _ _ 13\r\nadmin adminpw\r\n";

#[test]
fn memcached_clients_are_served_at_every_kind_of_address() {
    let identity = Identity::self_signed(&["localhost"]);
    let setup = Setup::new().with_tls(&identity);
    let unix = setup.unix("memcached");
    let setup = setup.flags(&["--memcached", &unix, "--memcached", "tcp://127.0.0.1:0"]);
    let setup = setup.flags(&["--memcached", "tls://127.0.0.1:0"]);
    let socket = setup.path("memcached");
    let server = setup.start();
    let log = server.process.log();
    let place = |part: &str| log.iter().position(|line| line.contains(part));
    let ready = place("ready").expect("ready");
    for kind in [&unix, "tcp://127.0.0.1:", "tls://127.0.0.1:"] {
        let listening = place(&format!("memcached listening on {kind}"));
        assert!(listening.expect("a listener") < ready, "{log:?}");
    }
    ask(
        UnixStream::connect(&socket).expect("it listens"),
        LOGIN,
        "STORED\r\n",
    );
    let port = port(&server.process, "memcached listening on tcp://");
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    ask(stream, &format!("{LOGIN}mn\r\n"), "STORED\r\nMN\r\n");
    log_in_with_tls(self::port(&server.process, "memcached listening on tls://"));
    // The status counts connections, and nobody is greeted or asked for a PING.
    let stream = UnixStream::connect(&socket).expect("it listens");
    ask(&stream, "version\r\n", "CLIENT_ERROR unauthenticated\r\n");
    wait_until("the others are gone", || server.status("memcached") == 1);
    let mut admin = Client::unix(&server.socket).logged_in("admin");
    let clients = admin.ask("CLIENTLIST");
    let line = clients
        .iter()
        .find(|line| line.contains("CLIENTINFO=memcached;"));
    assert!(
        line.expect("its line").contains(";LASTPING=0;"),
        "{clients:?}"
    );
}

#[test]
fn who_is_named_by_the_flag_needs_no_login() {
    let setup = Setup::new();
    let socket = setup.path("memcached");
    let unix = setup.unix("memcached");
    let setup = setup.flags(&["--memcached", &unix, "--memcached-user", "rw"]);
    let server = setup.start();
    let ask_now = |request, expected| {
        ask(
            UnixStream::connect(&socket).expect("it listens"),
            request,
            expected,
        );
    };
    ask_now("mn\r\n", "MN\r\n");
    ask_now("verbosity 1\r\n", "CLIENT_ERROR permission denied\r\n");
    let denied = "permission_denied: verbosity needs the permission manage (user rw";
    server.process.wait_for_log(denied);
    let users = server.setup.path("users");
    server.setup.write_secret("users", "ro:read:ropw\n");
    server.process.signal(libc::SIGHUP);
    let refused =
        "not read again, everything stays as it was: --memcached-user rw: there is no such user";
    server.process.wait_for_log(refused);
    ask_now("mn\r\n", "MN\r\n");
    fs::write(users, "rw:read,manage:other\n").expect("a file of our own");
    server.process.signal(libc::SIGHUP);
    server.process.wait_for_log("read again: 2 users");
    ask_now("verbosity 1\r\n", "OK\r\n");
}

#[test]
fn an_address_without_a_port_has_memcacheds() {
    let setup = Setup::new().flags(&["--memcached", "tcp://127.0.0.1", "--check"]);
    let ended = run(&mut setup.command());
    let expected = "would listen on tcp://127.0.0.1:49888\n\
                    would listen on tcp://127.0.0.1:11211 for memcached clients\n";
    assert!(ended.stdout.starts_with(expected), "{ended:?}");
}

#[test]
fn sockets_named_for_memcached_are_served_so() {
    let identity = Identity::self_signed(&["localhost"]);
    let setup = Setup::new().with_tls(&identity);
    let unix = UnixListener::bind(setup.path("activated")).expect("a folder of our own");
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let tls = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let sockets = [unix.as_fd(), tcp.as_fd(), tls.as_fd()];
    let names = "memcached.socket:memcached:memcached-tls";
    let process = Process::spawn(&mut hand_over(&setup.command(), &sockets, names));
    process.wait_for_log("ready");
    let port = |listener: &TcpListener| listener.local_addr().expect("a socket").port();
    for address in [
        setup.unix("activated"),
        format!("tcp://127.0.0.1:{}", port(&tcp)),
        format!("tls://127.0.0.1:{}", port(&tls)),
    ] {
        let line = format!("memcached listening on {address}");
        assert!(process.log_line(&line).is_some(), "{:?}", process.log());
    }
    let stream = UnixStream::connect(setup.path("activated")).expect("it listens");
    ask(stream, LOGIN, "STORED\r\n");
    let stream = TcpStream::connect(("127.0.0.1", port(&tcp))).expect("it listens");
    ask(stream, &format!("{LOGIN}mn\r\n"), "STORED\r\nMN\r\n");
    log_in_with_tls(port(&tls));
}

#[test]
fn the_log_names_the_limit_of_a_line_that_does_not_end() {
    let setup = Setup::new();
    let socket = setup.path("memcached");
    let unix = setup.unix("memcached");
    let setup = setup.flags(&["--memcached", &unix, "--memcached-user", "rw"]);
    let server = setup.start();
    let mut stream = UnixStream::connect(&socket).expect("it listens");
    stream.write_all(&[b'x'; 2049]).expect("a connection");
    let limit = "line_too_long (client \"memcached\", user rw; a line that is not complete has at most 2048 bytes";
    server.process.wait_for_log(limit);
}
