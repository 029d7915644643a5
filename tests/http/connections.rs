//! Connections: how long they stay, what clients and monitors are shown of them, and every kind of address.

use super::target::{HttpConnection, Target, login, request, status};
use crate::support::tls::{VERSIONS, session};
use crate::support::{Identity, Process, Setup, hand_over, wait_until};
use rustls::StreamOwned;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;

/// The answer to one request over TLS, after which the server closes the connection.
fn ask_over_tls(port: u16, request: &str) -> String {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    let mut stream = StreamOwned::new(session(VERSIONS[1]), stream);
    stream.write_all(request.as_bytes()).expect("a connection");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

const CLOSE: &str = "Connection: close\r\n";

#[test]
fn http_clients_are_served_at_every_kind_of_address() {
    let identity = Identity::self_signed(&["localhost"]);
    let setup = Setup::new().with_tls(&identity);
    let flags = ["--http", "tcp://127.0.0.1:0", "--http", "tls://127.0.0.1:0"];
    let target = Target::start_in(setup, &flags);
    let log = target.server.process.log();
    let place = |part: &str| log.iter().position(|line| line.contains(part));
    let ready = place("ready").expect("ready");
    let unix = target.server.setup.unix("http");
    for kind in [&unix, "tcp://127.0.0.1:", "tls://127.0.0.1:"] {
        let listening = place(&format!("http listening on {kind}"));
        assert!(listening.expect("a listener") < ready, "{log:?}");
    }
    assert_eq!(target.ask(&status("admin")).status, 200);
    let mut connection = HttpConnection::at(target.port("tcp"));
    assert_eq!(connection.ask(&status("admin")).status, 200);
    wait_until("its own is left", || target.server.status("http") == 1);
    for (headers, answer) in [
        (login("admin"), "HTTP/1.1 200 OK\r\n"),
        (login("ro"), "HTTP/1.1 403 Forbidden\r\n"),
        (String::new(), "HTTP/1.1 401 Unauthorized\r\n"),
    ] {
        let request = request("GET", "/status.json", &format!("{headers}{CLOSE}"));
        let came = ask_over_tls(target.port("tls"), &request);
        assert!(came.starts_with(answer), "{came}");
    }
    // Plain text to the port for TLS gets no answer.
    let mut connection = HttpConnection::at(target.port("tls"));
    connection.say(&request("GET", "/healthz", ""));
    let _alert = connection.conversation.until_closed();
    wait_until("it is counted", || {
        target.server.status("plain_text_to_tls_port") == 1
    });
}

#[test]
fn sockets_named_for_http_are_served_so() {
    let identity = Identity::self_signed(&["localhost"]);
    let setup = Setup::new().with_tls(&identity);
    let unix = UnixListener::bind(setup.path("activated")).expect("a folder of our own");
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let tls = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let sockets = [unix.as_fd(), tcp.as_fd(), tls.as_fd()];
    let setup = setup.flags(&["--http-user", "admin"]);
    let names = "http.socket:http:http-tls";
    let process = Process::spawn(&mut hand_over(&setup.command(), &sockets, names));
    process.wait_for_log("ready");
    let port = |listener: &TcpListener| listener.local_addr().expect("a socket").port();
    for address in [
        format!("tcp://127.0.0.1:{}", port(&tcp)),
        format!("tls://127.0.0.1:{}", port(&tls)),
    ] {
        let line = format!("http listening on {address}");
        assert!(process.log_line(&line).is_some(), "{:?}", process.log());
    }
    let mut connection = HttpConnection::at(port(&tcp));
    let foreign = "GET /status.json HTTP/1.1\r\nHost: example.com\r\n\r\n";
    assert_eq!(connection.ask(foreign).status, 401);
    assert_eq!(
        connection.ask(&request("GET", "/status.json", "")).status,
        200
    );
    // Nobody has a certificate for somebody else's name.
    let foreign = format!("GET /status.json HTTP/1.1\r\nHost: example.com\r\n{CLOSE}\r\n");
    let came = ask_over_tls(port(&tls), &foreign);
    assert!(came.starts_with("HTTP/1.1 200 OK\r\n"), "{came}");
}

#[test]
fn requests_in_one_write_are_answered_in_their_order() {
    const COUNT: usize = 1000;
    let target = Target::start(&[]);
    let mut connection = target.connect();
    let writer = {
        let requests = [status("admin"), request("GET", "/nothing", "")].concat();
        let bytes = requests.repeat(COUNT).into_bytes();
        connection.conversation.say_beside(bytes)
    };
    for _ in 0..COUNT {
        assert_eq!(connection.answer().status, 200);
        assert_eq!(connection.answer().status, 404);
    }
    writer.join().expect("all was sent");
}

#[test]
fn the_client_decides_if_its_connection_goes_on() {
    let target = Target::start(&[]);
    let admin = login("admin");
    for (version, header, stays) in [
        ("1.1", "", true),
        ("1.1", CLOSE, false),
        ("1.0", "", false),
        ("1.0", "Connection: keep-alive\r\n", true),
    ] {
        let head = format!("GET /status.json HTTP/{version}\r\nHost: localhost\r\n{admin}");
        let mut connection = target.connect();
        let answer = connection.ask(&format!("{head}{header}\r\n"));
        let expected = if stays { "keep-alive" } else { "close" };
        assert_eq!(answer.header("Connection"), Some(expected));
        match stays {
            true => assert_eq!(connection.ask(&status("admin")).status, 200),
            false => connection.expect_end(),
        }
    }
}

#[test]
fn a_client_that_sends_no_more_gets_its_answers() {
    let target = Target::start(&[]);
    let mut connection = target.connect();
    connection.say(&request("GET", "/nothing", "").repeat(3));
    connection.say("GET /unfinished");
    let came = connection.conversation.end();
    let came = String::from_utf8(came).expect("text");
    assert_eq!(came.matches("HTTP/1.1 404 Not Found\r\n").count(), 3);
}

#[test]
fn an_idle_connection_ends_without_a_word_by_the_ping_timeout() {
    let target = Target::start(&["--ping-timeout", "0.5", "--auth-timeout", "0.2"]);
    let mut connection = target.connect();
    assert_eq!(connection.ask(&status("admin")).status, 200);
    // Each request begins the time anew.
    for _ in 0..4 {
        let begun = std::time::Instant::now();
        while begun.elapsed().as_millis() < 200 {
            assert_eq!(connection.ask(&status("admin")).status, 200);
        }
    }
    connection.expect_end();
    wait_until("it is counted", || {
        target.server.status("ping_timeout") == 1
    });
}

#[test]
fn managers_and_monitors_see_connections_and_requests_but_no_login() {
    let target = Target::start(&["-v", "-v"]);
    let mut manager = target.server.client("admin");
    manager.ask("MONITOR");
    let mut stranger = target.connect();
    assert_eq!(stranger.ask(&request("GET", "/unseen", "")).status, 404);
    let mut connection = target.connect();
    let program = "User-Agent: browser; <b>1\r\n";
    let headers = format!("{}{program}", login("mg"));
    let path = "/status.json?<script>";
    assert_eq!(connection.ask(&request("GET", path, &headers)).status, 200);
    let shown = manager.ask("PING");
    let is_request = |line: &&String| line.contains("GET ");
    let requests: Vec<&String> = shown.iter().filter(is_request).collect();
    assert_eq!(requests.len(), 1, "{shown:?}");
    let line = "=GET /status.json?<script> HTTP/1.1";
    assert!(requests[0].ends_with(line), "{shown:?}");
    let clients = manager.ask("CLIENTLIST");
    let infos = ["CLIENTINFO=http;", "CLIENTINFO=http browser_ <b>1;"];
    for info in infos {
        assert!(
            clients.iter().any(|line| line.contains(info)),
            "{clients:?}"
        );
    }
    let log = target.server.process.log();
    let secret = login("mg");
    let secret = secret.trim_end().rsplit(' ').next().expect("a word");
    for line in log.iter().chain(&shown).chain(&clients) {
        assert!(!line.contains(secret) && !line.contains("mgpw"), "{line}");
    }
}

#[test]
fn a_manager_disconnects_a_client() {
    let target = Target::start(&[]);
    let mut connection = target.connect();
    assert_eq!(connection.ask(&status("admin")).status, 200);
    let mut manager = target.server.client("admin");
    let clients = manager.ask("CLIENTLIST");
    let line = clients.iter().find(|line| line.contains("CLIENTINFO=http"));
    let line = line.expect("its line");
    let cid = line
        .strip_prefix("CLIENT CID=")
        .and_then(|line| line.split(';').next());
    manager.send(&format!("CLIENTDISCONNECT {}", cid.expect("a CID")));
    connection.expect_end();
}
