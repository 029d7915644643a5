//! The flags and sockets of listeners for NATS clients.

use crate::support::{Identity, Process, Setup, hand_over, run, wait_until};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};

const CONNECT: &str = "CONNECT {\"user\":\"admin\",\"pass\":\"adminpw\"}\r\nPING\r\n";

/// Reads a line, and nothing behind it: that may be the answer to a handshake.
fn line(stream: &mut impl Read) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a line");
        line.push(byte[0]);
    }
    String::from_utf8(line).expect("text")
}

/// Reads all there is up to the end. A reset is an end, too.
fn rest(stream: &mut impl Read) -> String {
    let mut rest = Vec::new();
    if let Err(error) = stream.read_to_end(&mut rest) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    String::from_utf8(rest).expect("text")
}

fn logs_in(mut stream: impl Read + Write) {
    assert!(line(&mut stream).starts_with("INFO {"));
    stream.write_all(CONNECT.as_bytes()).expect("it reads");
    assert_eq!(line(&mut stream), "+OK\r\n");
    assert_eq!(line(&mut stream), "PONG\r\n");
}

#[test]
fn sockets_named_for_nats_are_served_so() {
    let identity = Identity::self_signed(&["localhost"]);
    let setup = Setup::new().with_tls(&identity);
    let unix = UnixListener::bind(setup.path("activated")).expect("a folder of our own");
    let [tcp, tls] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let sockets = [unix.as_fd(), tcp.as_fd(), tls.as_fd()];
    let names = "nats.socket:nats:nats-tls";
    let process = Process::spawn(&mut hand_over(&setup.command(), &sockets, names));
    process.wait_for_log("ready");
    let address = |listener: &TcpListener| listener.local_addr().expect("a socket");
    for place in [
        setup.unix("activated"),
        format!("tcp://{}", address(&tcp)),
        format!("tls://{}", address(&tls)),
    ] {
        let listening = format!("nats listening on {place}");
        assert!(
            process.log_line(&listening).is_some(),
            "{:?}",
            process.log()
        );
    }
    logs_in(UnixStream::connect(setup.path("activated")).expect("it listens"));
    logs_in(TcpStream::connect(address(&tcp)).expect("it listens"));
    let mut stream = TcpStream::connect(address(&tls)).expect("it listens");
    assert!(line(&mut stream).contains("\"tls_required\":true"));
}

/// A server with a TLS listener for NATS clients, and the port of that.
fn with_tls_listener(flags: &[&str]) -> (crate::support::Server, u16) {
    let setup = Setup::new().with_tls(&Identity::self_signed(&["localhost"]));
    let server = setup
        .flags(&["--nats", "tls://127.0.0.1:0", "-v"])
        .flags(flags)
        .start();
    let line = server
        .process
        .log_line("nats listening on tls://")
        .expect("a listener");
    let port = line.rsplit(':').next().expect("a port").parse();
    (server, port.expect("a number"))
}

#[test]
fn plain_text_and_silence_at_a_tls_listener_get_nothing_but_info() {
    let (server, port) = with_tls_listener(&["--auth-timeout", "0.3"]);
    for (said, reason) in [(CONNECT, "plain_text_to_tls_port"), ("", "auth_timeout")] {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        assert!(line(&mut stream).starts_with("INFO {"));
        stream.write_all(said.as_bytes()).expect("it reads");
        assert_eq!(rest(&mut stream), "", "{reason}");
        wait_until(reason, || server.status(reason) == 1);
    }
}

#[test]
fn a_full_server_says_so_in_plain_text_at_a_tls_listener() {
    let (server, port) = with_tls_listener(&["--max-clients", "2"]);
    let _clients = [server.client("rw"), server.client("rw")];
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    assert!(line(&mut stream).starts_with("INFO {"));
    assert_eq!(rest(&mut stream), "-ERR 'maximum connections exceeded'\r\n");
}

#[test]
fn an_address_without_a_port_has_that_of_nats() {
    let setup = Setup::new().flags(&["--nats", "tcp://127.0.0.1", "--check"]);
    let ended = run(&mut setup.command());
    let expected = "would listen on tcp://127.0.0.1:49888\n\
                    would listen on tcp://127.0.0.1:4222 for NATS clients\n";
    assert!(ended.stdout.starts_with(expected), "{ended:?}");
}
