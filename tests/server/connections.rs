//! Many connections: all are served, and nothing of them is left when they have gone. And no work
//! while they are idle. With ten thousand of them: `measurements`.

use crate::support::{Client, Crowd, Server, Setup, wait_until};
use socket2::SockRef;
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// The figures of one round of [`come_and_go`].
pub struct Round {
    /// The time from the drop of the crowd until the server had removed all of its connections.
    pub gone_after: Duration,
    pub descriptors: usize,
    pub memory_kb: u64,
}

/// Logs a crowd in, lets everybody listen, sends all one signal, and drops them without a QUIT.
pub fn come_and_go(server: &Server, crowd: impl FnOnce() -> Crowd) -> Round {
    let mut sender = server.client("rw");
    let mut crowd = crowd();
    crowd.log_in("ro", |number| {
        format!("NOPING\r\nLISTEN all\r\nLISTEN own{number}\r\n")
    });
    assert_eq!(server.status("clients"), crowd.len() as u64 + 1);
    assert_eq!(server.status("subscriptions"), 2 * crowd.len() as u64);
    sender.send("SET all=of you");
    crowd.wait_for_all("the signal", |received| received == b"SET all=of you\r\n");
    crowd.forget();
    sender.send("NOTIFY own7");
    sender.flush();
    wait_until("one of them hears it", || {
        crowd.receive(Duration::from_millis(10));
        crowd.received().nth(7) == Some(b"NOTIFY own7\r\n")
    });
    assert_eq!(
        crowd
            .received()
            .filter(|received| !received.is_empty())
            .count(),
        1
    );
    assert_eq!(crowd.closed(), 0);

    let start = Instant::now();
    drop(crowd);
    wait_until("all are forgotten", || server.status("clients") == 1);
    let gone_after = start.elapsed();
    assert_eq!(
        (
            server.status("subscriptions"),
            server.status("names_listened_to")
        ),
        (0, 0)
    );
    assert_eq!(sender.ask("RETRIEVE a"), ["NOTRETRIEVED a"]);
    drop(sender);
    wait_until("all are forgotten", || server.status("clients") == 0);
    assert_eq!(server.status("buffers"), 0);
    Round {
        gone_after,
        descriptors: server.open_descriptors(),
        memory_kb: server.proc_status("VmRSS"),
    }
}

#[test]
fn a_thousand_connections_come_and_go_and_leave_nothing_behind() {
    let server = Server::start();
    let descriptors = server.open_descriptors();
    for _ in 0..3 {
        let round = come_and_go(&server, || Crowd::unix(&server.socket, 1000));
        assert_eq!(round.descriptors, descriptors);
    }
    let round = come_and_go(&server, || Crowd::tcp(server.port, 200));
    assert_eq!(round.descriptors, descriptors);
    assert_eq!(
        server.status("end_of_stream") + server.status("connection_lost"),
        3 * 1001 + 201
    );
}

/// Waits that long, and returns how often the server has gone to sleep meanwhile: each time it was
/// woken for something.
pub fn wake_ups(server: &Server, while_waiting: Duration) -> u64 {
    let before = server.proc_status("voluntary_ctxt_switches");
    std::thread::sleep(while_waiting);
    server.proc_status("voluntary_ctxt_switches") - before
}

#[test]
fn without_connections_the_server_sleeps() {
    let server = Server::start();
    drop(server.client("rw"));
    drop(server.tcp_stranger());
    wait_until("both have gone", || server.status("clients") == 0);
    // The status line may still be on its way.
    wait_until("it sleeps", || {
        wake_ups(&server, Duration::from_millis(100)) == 0
    });
    assert_eq!(wake_ups(&server, Duration::from_secs(3)), 0);
}

/// Each has a deadline of its own, which comes within this time.
#[test]
fn a_thousand_idle_connections_wake_the_server_once_a_second_at_most() {
    let server = Setup::new().flags(&["--auth-timeout", "11"]).start();
    let start = Instant::now();
    let mut crowds: Vec<Crowd> = Vec::new();
    for number in 0..20 {
        wait_until("its turn has come", || {
            start.elapsed() > Duration::from_millis(50 * number)
        });
        let mut crowd = Crowd::unix(&server.socket, 50);
        crowd.log_in("ro", |_| "NOPING\r\n".to_owned());
        crowds.push(crowd);
    }
    let woken = wake_ups(&server, Duration::from_secs(12));
    assert!(woken <= 12 + 2, "{woken} times in 12 s");
    assert!(woken > 0, "there was something to be woken for");
    assert_eq!(server.status("clients"), 1000);
}

/// A connection that ends with a reset when it is dropped.
fn connect_to_reset(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("a listener");
    let socket = SockRef::from(&stream);
    socket.set_linger(Some(Duration::ZERO)).expect("a socket");
    stream
}

/// A client that logs in, does something, and ends with a reset. Returns the line of the log about its end.
fn log_of_reset(act: impl FnOnce(&Server, &mut Client)) -> String {
    let server = Setup::new().flags(&["-v"]).start();
    let mut client = Client::from_tcp(connect_to_reset(server.port)).logged_in("rw");
    act(&server, &mut client);
    drop(client);
    server.process.wait_for_log("closed 127.0.0.1:")
}

#[test]
fn a_health_check_that_logs_in_leaves_no_warning() {
    for said in ["", "CLACKS check\r\nNOPING\r\n", "PING\r\nRETRIEVE a\r\n"] {
        let log = log_of_reset(|_, client| {
            client.send_bytes(said.as_bytes());
            client.flush();
        });
        assert!(log.contains("DEBUG") && log.contains("user rw"), "{log}");
    }
    // What it was in the midst of saying, or has not been sent, is worth a line.
    let unfinished = log_of_reset(|_, client| client.send_bytes(b"STORE a="));
    assert!(unfinished.contains("WARN"), "{unfinished}");
    let untaken = log_of_reset(|server, client| {
        let mut manager = server.client("admin");
        manager.ask(&format!("STORE long={}", "x".repeat(1_000_000)));
        client.send_bytes(&b"RETRIEVE long\r\n".repeat(30));
        wait_until("output waits", || server.most_waiting(&mut manager) > 0);
    });
    assert!(
        untaken.contains("WARN") && untaken.contains("discarded"),
        "{untaken}"
    );
}

/// Load balancers and service monitors look every few seconds whether somebody answers.
#[test]
fn health_checks_leave_no_warning() {
    let authority = crate::support::Authority::new("authority");
    let identity = authority.certify(&["localhost"]);
    let server = Setup::new()
        .with_tls(&identity)
        .flags(&["--auth-timeout", "0.3", "-v"])
        .start();
    let ports = [server.port, server.tls_port()];
    for port in ports {
        // One that leaves, one that resets, and one that stays and is silent.
        let connect = || TcpStream::connect(("127.0.0.1", port)).expect("a listener");
        drop(connect());
        drop(connect_to_reset(port));
        let mut silent = connect();
        let _ = std::io::Read::read_to_end(&mut silent, &mut Vec::new());
    }
    let ended = |log: &[String]| log.iter().filter(|line| line.contains(" closed ")).count();
    wait_until("all have ended", || ended(&server.process.log()) == 6);
    let warnings: Vec<String> = server.process.log();
    let warnings: Vec<&String> = warnings
        .iter()
        .filter(|line| line.contains("WARN"))
        .collect();
    assert!(warnings.is_empty(), "{warnings:?}");
    // One that says something and then nothing more is worth a line.
    let mut speaks = server.tcp_stranger();
    speaks.send("CLACKS somebody");
    server.process.wait_for_log("WARN");
}
