//! The client library against the real server.

use crate::support::{Identity, Server, Setup, text, wait_until};
use clacks::{Client, Error, Message, Options, Ttl};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(20);

fn options(server: &Server, user: &str) -> Options {
    Options::new(&format!("unix:{}", text(&server.socket)))
        .expect("an address")
        .login(user, &format!("{user}pw"))
        .call_timeout(SOON)
}

fn client(server: &Server, user: &str) -> Client {
    Client::connect(options(server, user)).expect("the server lets it in")
}

fn next(client: &mut Client) -> Message {
    client
        .next(SOON)
        .expect("a connection")
        .expect("a message in time")
}

/// The next message but the server's CLACKS line.
fn next_signal(client: &mut Client) -> Message {
    loop {
        match next(client) {
            Message::ServerInfo(_) | Message::Informal(_) => {}
            message => return message,
        }
    }
}

fn set(name: &str, value: &str) -> Message {
    Message::Set {
        name: name.into(),
        value: value.into(),
    }
}

#[test]
fn signals_reach_listeners_in_order_and_never_their_sender() {
    let server = Server::start();
    let (mut sender, mut listener) = (client(&server, "rw"), client(&server, "rw"));
    for name in ["a", "b", "c", ""] {
        listener.listen(name).unwrap();
        sender.listen(name).unwrap();
    }
    listener.sync().unwrap();
    sender.sync().unwrap();
    sender.set("a", "1").unwrap();
    sender.notify("b").unwrap();
    sender.set_and_store("c", "x=y").unwrap();
    sender.set("other", "1").unwrap();
    sender.notify("").unwrap();
    sender.sync().unwrap();
    let expected = [
        set("a", "1"),
        Message::Notify { name: "b".into() },
        set("c", "x=y"),
        Message::Notify { name: "".into() },
    ];
    for message in expected {
        assert_eq!(next_signal(&mut listener), message);
    }
    assert_eq!(listener.retrieve("c").unwrap().unwrap(), "x=y");
    listener.unlisten("a").unwrap();
    listener.sync().unwrap();
    sender.set("a", "2").unwrap();
    sender.notify("b").unwrap();
    assert_eq!(
        next_signal(&mut listener),
        Message::Notify { name: "b".into() }
    );
    assert_eq!(sender.next(Duration::ZERO).unwrap(), None);
}

#[test]
fn unchanged_values_are_suppressed_where_that_is_wanted() {
    let server = Server::start();
    let (mut sender, mut listener) = (client(&server, "rw"), client(&server, "rw"));
    listener.listen("a").unwrap();
    listener.sync().unwrap();
    let sent: Vec<bool> = ["1", "1", "2", "2", "1"]
        .map(|value| sender.set_if_changed("a", value).unwrap())
        .into();
    assert_eq!(sent, [true, false, true, false, true]);
    for value in ["1", "2", "1"] {
        assert_eq!(next_signal(&mut listener), set("a", value));
    }
}

#[test]
fn the_cache_holds_what_it_is_told() {
    let server = Server::start();
    let mut client = client(&server, "admin");
    assert_eq!(client.retrieve("a").unwrap(), None);
    client.store("a", "").unwrap();
    assert_eq!(client.retrieve("a").unwrap().unwrap(), "");
    let bytes: Vec<u8> = (0..=255).filter(|byte| ![10, 13].contains(byte)).collect();
    client.store("bytes", &bytes).unwrap();
    assert_eq!(client.retrieve("bytes").unwrap().unwrap(), bytes[..]);
    client.increment("n", 5).unwrap();
    client.increment("n", 0.5).unwrap();
    client.decrement("n", "2").unwrap();
    assert_eq!(client.retrieve("n").unwrap().unwrap(), "3.5");
    let mut keys = client.keys().unwrap();
    keys.sort();
    assert_eq!(keys, ["a", "bytes", "n"]);
    client.remove("a").unwrap();
    assert_eq!(client.retrieve("a").unwrap(), None);
    client.clear().unwrap();
    assert!(client.keys().unwrap().is_empty());
    client.close().unwrap();
}

#[test]
fn answers_are_found_among_signals_that_stream_in() {
    let server = Server::start();
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut sender = client(&server, "rw");
            let mut number = 0;
            while !ended.load(Ordering::Relaxed) {
                number += 1;
                // What looks like an answer must not be taken for one.
                sender
                    .set("RETRIEVED a", format!("{number} NOTRETRIEVED n"))
                    .unwrap();
                if number % 100 == 0 {
                    sender.sync().unwrap();
                }
            }
        });
        let mut asker = client(&server, "rw");
        asker.listen("RETRIEVED a").unwrap();
        for round in 0..2000 {
            let name = format!("n{}", round % 7);
            asker.store(&name, round.to_string()).unwrap();
            assert_eq!(
                asker.retrieve(&name).unwrap().unwrap(),
                *round.to_string().as_str()
            );
            assert_eq!(asker.retrieve("missing").unwrap(), None);
        }
        ended.store(true, Ordering::Relaxed);
        // The first ones may have passed before it listened.
        let mut last = None;
        while let Some(message) = asker.next(Duration::ZERO).unwrap() {
            if let Message::Set { value, .. } = message {
                let number: u64 = value.to_str().split(' ').next().unwrap().parse().unwrap();
                let expected = last.map_or(number, |last| last + 1);
                assert_eq!(number, expected, "in order, and none was lost");
                last = Some(number);
            }
        }
        assert!(last.is_some());
    });
}

#[test]
fn what_others_forward_to_all_is_no_refusal() {
    let server = Server::start();
    let mut writer = client(&server, "rw");
    writer.sync().unwrap();
    server.client("rw").ask("OVERHEAD GE bang");
    writer.store("a", "1").unwrap();
    writer.sync().unwrap();
    let message = writer.next(Duration::ZERO).unwrap();
    let is_theirs = |message: &Message| matches!(message, Message::Overhead { .. });
    assert!(message.as_ref().is_some_and(is_theirs), "{message:?}");
}

#[test]
fn refusals_are_told_to_whoever_is_to_blame() {
    let server = Server::start();
    let mut reader = client(&server, "ro");
    reader.store("a", "1").unwrap();
    assert!(matches!(reader.sync(), Err(Error::Refused(why)) if why == "permission_denied"));
    reader.sync().unwrap();
    // A refused write before a question that is allowed: the question is answered, the refusal told.
    reader.store("a", "1").unwrap();
    assert_eq!(reader.retrieve("a").unwrap(), None);
    let refusal = std::iter::from_fn(|| reader.next(Duration::ZERO).unwrap())
        .find(|message| matches!(message, Message::Error(_)));
    assert_eq!(refusal, Some(Message::Error("permission_denied".into())));
    let mut writer = client(&server, "wo");
    writer.store("a", "1").unwrap();
    assert!(matches!(writer.retrieve("a"), Err(Error::Refused(_))));
    assert!(matches!(writer.keys(), Err(Error::Refused(_))));
    assert!(matches!(writer.clients(), Err(Error::Refused(_))));
    writer.sync().unwrap();
}

#[test]
fn what_no_line_can_hold_is_refused_before_it_is_sent() {
    let server = Server::start();
    let mut client = client(&server, "rw");
    for wrong in ["a\nb", "a\rb", "", "a=b"] {
        assert!(matches!(client.store(wrong, "1"), Err(Error::Invalid(_))));
        assert!(matches!(client.increment(wrong, 1), Err(Error::Invalid(_))));
    }
    assert!(matches!(client.store("a", "x\ny"), Err(Error::Invalid(_))));
    assert!(matches!(client.set("a", "x\r"), Err(Error::Invalid(_))));
    assert!(matches!(client.listen("x\nQUIT"), Err(Error::Invalid(_))));
    assert!(matches!(
        client.increment("a", "1=2"),
        Err(Error::Invalid(_))
    ));
    assert!(matches!(client.overhead("g", "1"), Err(Error::Invalid(_))));
    client.sync().unwrap();
}

#[test]
fn management_shows_and_ends_connections() {
    let server = Server::start();
    let (mut manager, mut other) = (client(&server, "mg"), client(&server, "rw"));
    manager.monitor().unwrap();
    manager.sync().unwrap();
    other.set("a", "1").unwrap();
    let debug = loop {
        if let Message::Debug { about, text } = next(&mut manager)
            && text == "SET a=1"
        {
            break about;
        }
    };
    let clients = manager.clients().unwrap();
    assert_eq!(clients.len(), 2);
    assert!(clients.iter().any(|client| client["CID"] == debug));
    manager.unmonitor().unwrap();
    manager.sync().unwrap();
    while manager.next(Duration::ZERO).unwrap().is_some() {}
    other.set("a", "2").unwrap();
    other.sync().unwrap();
    manager.sync().unwrap();
    assert_eq!(manager.next(Duration::ZERO).unwrap(), None);
    manager.disconnect_client(&debug).unwrap();
    manager.sync().unwrap();
    assert!(matches!(next_signal(&mut other), Message::Disconnected(_)));
    assert_eq!(next_signal(&mut other), Message::Reconnected);
    other.overhead("GNU", "Terry Pratchett").unwrap();
    assert_eq!(
        next_signal(&mut other),
        Message::Overhead {
            flags: "GN".to_owned(),
            value: "Terry Pratchett".into()
        }
    );
}

#[test]
fn a_server_is_shut_down_when_it_is_asked_to() {
    let mut server = Server::start();
    let mut manager = client(&server, "mg");
    manager.shut_down(0.05).unwrap();
    assert!(server.process.wait().success());
    assert!(matches!(
        next_signal(&mut manager),
        Message::Disconnected(_)
    ));
    assert!(!manager.is_connected());
}

#[test]
fn a_lost_connection_is_told_by_one_call_only() {
    let server = Server::start();
    let mut client = client(&server, "rw");
    client.store("a", "1").unwrap();
    let server = server.kill_and_restart();
    // Only now it is noticed, and it is not noticed once more.
    assert!(matches!(client.sync(), Err(Error::Disconnected(_))));
    client.store("a", "3").unwrap();
    client.sync().unwrap();
    assert_eq!(client.connections(), 2);
    drop(server);
}

#[test]
fn a_wrong_login_is_told_at_once() {
    let server = Server::start();
    let wrong = options(&server, "rw").login("rw", "wrong");
    assert!(matches!(Client::connect(wrong), Err(Error::LoginRefused)));
    let tcp = format!("tcp://127.0.0.1:{}", server.port);
    let tcp = Options::new(&tcp).unwrap().login("rw", "rwpw");
    assert_eq!(Client::connect(tcp).unwrap().retrieve("a").unwrap(), None);
    let far = Options::new("tcp://192.0.2.1").unwrap();
    assert!(matches!(Client::connect(far), Err(Error::Options(_))));
}

#[test]
fn a_server_that_says_nothing_is_not_waited_for_longer_than_asked() {
    let folder = Setup::bare();
    let path = folder.path("silent");
    let listener = std::os::unix::net::UnixListener::bind(&path).expect("a socket of our own");
    let options = Options::new(&format!("unix:{}", text(&path)))
        .unwrap()
        .connect_timeout(Duration::from_millis(200));
    let start = Instant::now();
    assert!(matches!(
        Client::connect(options.clone()),
        Err(Error::TimedOut)
    ));
    // Nobody accepts: when its queue is full a connect itself would wait.
    let waiting: Vec<_> = (0..300).map_while(|_| connect_at_once(&path)).collect();
    assert!(matches!(
        Client::connect(options),
        Err(Error::TimedOut | Error::Disconnected(_))
    ));
    assert!(start.elapsed() < SOON);
    drop((waiting, listener));
}

#[test]
fn a_tls_server_that_says_nothing_is_not_waited_for_either() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = format!("tls://{}", listener.local_addr().expect("a bound socket"));
    let options = Options::new(&address)
        .unwrap()
        .insecure()
        .connect_timeout(Duration::from_millis(200));
    let start = Instant::now();
    assert!(matches!(Client::connect(options), Err(Error::TimedOut)));
    assert!(start.elapsed() < SOON);
}

#[test]
fn a_certificate_that_is_refused_is_told_at_once() {
    let server = Setup::new()
        .with_tls(&Identity::self_signed(&["127.0.0.1"]))
        .start();
    let address = format!("tls://127.0.0.1:{}", server.tls_port());
    let options = Options::new(&address).unwrap().login("rw", "rwpw");
    let own = options.clone().authorities(server.setup.path("cert.pem"));
    let mut known = Client::connect(own).unwrap();
    known.store("a", "1").unwrap();
    assert_eq!(known.retrieve("a").unwrap().unwrap(), "1");
    known.close().unwrap();
    let other = Identity::self_signed(&["127.0.0.1"]);
    server.setup.write_secret("other.pem", &other.certificates);
    let options = options.authorities(server.setup.path("other.pem"));
    assert!(matches!(
        Client::connect(options.clone()),
        Err(Error::Certificate(_))
    ));
    // A call that would try again and again doesn't.
    let mut client = Client::new(options).unwrap();
    let start = Instant::now();
    assert!(matches!(client.retrieve("a"), Err(Error::Certificate(_))));
    assert!(matches!(client.next(SOON), Err(Error::Certificate(_))));
    assert!(start.elapsed() < SOON);
}

/// A program with a loop of its own never waits in a call.
#[test]
fn a_client_that_never_waits_is_connected_again_all_the_same() {
    let server = Server::start();
    let mut client = client(&server, "rw");
    let server = server.kill_and_restart();
    wait_until("it is back", || {
        client.next(Duration::ZERO).unwrap() == Some(Message::Reconnected)
    });
    drop(server);
}

#[test]
fn after_a_restart_every_value_is_a_change() {
    let server = Server::start();
    let mut client = client(&server, "rw");
    assert!(client.set_if_changed("a", "1").unwrap());
    assert!(!client.set_if_changed("a", "1").unwrap());
    let server = server.kill_and_restart();
    // Nothing but these calls looks at the connection.
    assert!(client.set_if_changed("a", "1").unwrap());
    assert!(!client.set_if_changed("a", "1").unwrap());
    assert_eq!(client.connections(), 2);
    drop(server);
}

/// `Client::close` also fails if lines may have been lost with an earlier connection.
#[test]
fn a_goodbye_after_lost_lines_is_none() {
    let server = Server::start();
    let mut sender = client(&server, "rw");
    sender.store("a", "1").unwrap();
    let server = server.kill_and_restart();
    while sender.is_connected() {
        sender.next(Duration::ZERO).unwrap();
    }
    assert!(matches!(sender.close(), Err(Error::Disconnected(_))));
    // The same on a new connection.
    let mut sender = client(&server, "rw");
    sender.store("a", "1").unwrap();
    let server = server.kill_and_restart();
    wait_until("it is back", || {
        sender.next(Duration::from_millis(10)).unwrap() == Some(Message::Reconnected)
    });
    assert!(matches!(sender.close(), Err(Error::Disconnected(_))));
    // And without lines nothing is lost.
    let mut idle = client(&server, "rw");
    drop(server);
    while idle.is_connected() {
        idle.next(Duration::ZERO).unwrap();
    }
    idle.close().unwrap();
}

#[test]
fn a_value_set_otherwise_is_a_change_too() {
    let server = Server::start();
    let mut client = client(&server, "rw");
    assert!(client.set_if_changed("a", "1").unwrap());
    client.set("a", "2").unwrap();
    assert!(client.set_if_changed("a", "1").unwrap());
}

fn connect_at_once(path: &std::path::Path) -> Option<socket2::Socket> {
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).ok()?;
    socket.set_nonblocking(true).ok()?;
    socket
        .connect(&socket2::SockAddr::unix(path).ok()?)
        .ok()
        .map(|()| socket)
}

#[test]
fn a_stopped_server_lets_calls_time_out_and_then_goes_on() {
    let server = Server::start();
    let options = options(&server, "rw").call_timeout(Duration::from_millis(100));
    let mut client = Client::connect(options).unwrap();
    client.store("a", "1").unwrap();
    wait_until("it is stored", || client.sync().is_ok());
    server.process.signal(libc::SIGSTOP);
    assert!(matches!(client.retrieve("a"), Err(Error::TimedOut)));
    assert!(matches!(client.keys(), Err(Error::TimedOut)));
    assert_eq!(client.next(Duration::from_millis(10)).unwrap(), None);
    client.store("a", "2").unwrap();
    server.process.signal(libc::SIGCONT);
    // The first answer that counts is the one to the question after the STORE.
    let mut found = None;
    wait_until("the server answers", || {
        found = client.retrieve("a").ok();
        found.is_some()
    });
    assert_eq!(found.unwrap().unwrap(), "2");
    wait_until("the list comes whole", || {
        client.keys().is_ok_and(|keys| keys == ["a"])
    });
    // The late answers were not taken for this one's.
    client.store("b", "2").unwrap();
    let mut found = None;
    wait_until("the right answer", || {
        found = client.retrieve("b").ok();
        found.is_some()
    });
    assert_eq!(found.unwrap().unwrap(), "2");
}

#[test]
fn messages_that_nobody_fetches_are_dropped_from_the_oldest() {
    let server = Server::start();
    let mut sender = client(&server, "rw");
    let mut listener = Client::connect(options(&server, "rw").max_queued(10_000)).unwrap();
    listener.listen("a").unwrap();
    listener.sync().unwrap();
    for number in 0..1000 {
        sender.set("a", number.to_string()).unwrap();
    }
    sender.sync().unwrap();
    listener.sync().unwrap();
    let Message::Lost(lost) = next(&mut listener) else {
        panic!("some were lost");
    };
    let rest: Vec<Message> =
        std::iter::from_fn(|| listener.next(Duration::ZERO).unwrap()).collect();
    assert_eq!(rest.last(), Some(&set("a", "999")));
    // The greeting was among the lost.
    assert!(lost as usize + rest.len() >= 1000);
    assert!(rest.len() < 200);
}

#[test]
fn the_descriptor_tells_when_there_is_something() {
    let server = Server::start();
    let (mut sender, mut listener) = (client(&server, "rw"), client(&server, "rw"));
    listener.listen("a").unwrap();
    listener.sync().unwrap();
    while listener.next(Duration::ZERO).unwrap().is_some() {}
    let readable = |client: &Client, wait_ms: i32| {
        let mut poll = libc::pollfd {
            fd: client.descriptor().expect("a connection").as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one valid pollfd.
        unsafe { libc::poll(&mut poll, 1, wait_ms) == 1 }
    };
    assert!(!readable(&listener, 0));
    sender.notify("a").unwrap();
    assert!(readable(&listener, 20_000));
    assert_eq!(
        listener.next(Duration::ZERO).unwrap(),
        Some(Message::Notify { name: "a".into() })
    );
}

#[test]
fn a_client_that_calls_now_and_then_is_not_taken_for_hung() {
    let server = Setup::new().flags(&["--ping-timeout", "0.4"]).start();
    let mut hung = client(&server, "rw");
    assert_eq!(next_signal(&mut hung), {
        Message::Disconnected("the server says that this client was silent".into())
    });
    let mut quiet = Client::connect(options(&server, "rw").without_ping()).unwrap();
    let quiet_until = Instant::now() + Duration::from_secs(1);
    while Instant::now() < quiet_until {
        quiet.next(Duration::from_millis(50)).unwrap();
    }
    assert!(quiet.is_connected());
}

/// Also if it only sends, or finds nothing to send.
#[test]
fn a_ping_goes_out_from_within_any_call() {
    let server = Setup::new().flags(&["--ping-timeout", "0.4"]).start();
    let calls: [&dyn Fn(&mut Client); 5] = [
        &|client| drop(client.next(Duration::from_millis(20)).unwrap()),
        &|client| drop(client.next(Duration::ZERO).unwrap()),
        &|client| client.set("a", "1").unwrap(),
        &|client| assert!(client.set_if_changed("a", "1").is_ok()),
        &|client| drop(client.retrieve("a").unwrap()),
    ];
    for call in calls {
        let options = options(&server, "rw").ping_interval(Duration::from_millis(100));
        let mut client = Client::connect(options).unwrap();
        let until = Instant::now() + Duration::from_secs(1);
        while Instant::now() < until {
            call(&mut client);
            std::thread::sleep(Duration::from_millis(5));
        }
        client.sync().unwrap();
        assert_eq!(client.connections(), 1);
    }
}

/// Whoever is told that there is a connection again hears all that is sent from then on.
#[test]
fn a_reconnection_is_told_when_the_server_has_taken_the_listens() {
    let folder = Setup::bare();
    let listener = UnixListener::bind(folder.path("played")).expect("a socket of our own");
    let has_taken = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..2 {
                let (stream, _) = listener.accept().expect("the client dials");
                (&stream)
                    .write_all(b"CLACKS played\r\nOVERHEAD O Welcome!\r\n")
                    .expect("it listens");
                let lines = BufReader::new(&stream).lines().map_while(Result::ok);
                for line in lines {
                    let Some(mark) = line.strip_prefix("FLUSH ") else {
                        continue;
                    };
                    if round == 0 {
                        // The LISTEN was taken; and now this server goes.
                        let _ = write!(&stream, "FLUSHED {mark}\r\n");
                        break;
                    }
                    // Time in which a client that doesn't wait would say so.
                    std::thread::sleep(Duration::from_millis(200));
                    has_taken.store(true, Ordering::SeqCst);
                    write!(&stream, "SET a=1\r\nFLUSHED {mark}\r\n").expect("it listens");
                }
            }
        });
        let options = Options::new(&folder.unix("played")).unwrap();
        let mut client = Client::connect(options.call_timeout(SOON)).unwrap();
        client.listen("a").unwrap();
        client.sync().unwrap();
        assert!(matches!(next_signal(&mut client), Message::Disconnected(_)));
        assert_eq!(next_signal(&mut client), Message::Reconnected);
        assert!(has_taken.load(Ordering::SeqCst));
        assert_eq!(next_signal(&mut client), set("a", "1"));
    });
}

#[test]
fn patterns_are_listened_to_again_after_a_reconnection_until_their_end() {
    let server = Server::start();
    let mut listener = client(&server, "rw");
    listener.listen_to_pattern("a::*").unwrap();
    listener.listen_to_pattern("b::>").unwrap();
    listener.sync().unwrap();
    let server = server.kill_and_restart();
    assert!(matches!(
        next_signal(&mut listener),
        Message::Disconnected(_)
    ));
    assert_eq!(next_signal(&mut listener), Message::Reconnected);
    let mut sender = client(&server, "rw");
    let mut send = |value: &str| {
        for name in ["a::x", "a::x::y", "b::x::y"] {
            sender.set(name, value).unwrap();
        }
        sender.sync().unwrap();
    };
    send("1");
    assert_eq!(next_signal(&mut listener), set("a::x", "1"));
    assert_eq!(next_signal(&mut listener), set("b::x::y", "1"));
    listener.unlisten_to_pattern("a::*").unwrap();
    listener.sync().unwrap();
    send("2");
    assert_eq!(next_signal(&mut listener), set("b::x::y", "2"));
}

/// Every call returns within its timeout, no LISTEN is lost, however often the server goes.
#[test]
fn fifty_restarts_under_traffic_lose_no_listen() {
    let mut server = Server::start();
    let timeout = Duration::from_secs(5);
    let make = |server: &Server| options(server, "rw").call_timeout(timeout);
    let (listening, sending) = (make(&server), make(&server));
    let ended = AtomicBool::new(false);
    let (heard, reconnected) = (AtomicU64::new(0), AtomicU64::new(0));
    let longest_us = AtomicU64::new(0);
    let timed = |timeout: Duration, call: &mut dyn FnMut()| {
        let start = Instant::now();
        call();
        let excess = start.elapsed().saturating_sub(timeout);
        longest_us.fetch_max(excess.as_micros() as u64, Ordering::Relaxed);
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut listener = Client::connect(listening).unwrap();
            for number in 0..20 {
                listener.listen(format!("signal{number}")).unwrap();
            }
            let mut names = std::collections::BTreeSet::new();
            while !ended.load(Ordering::Relaxed) {
                let mut message = None;
                let brief = Duration::from_millis(100);
                timed(brief, &mut || message = listener.next(brief).unwrap());
                match message {
                    Some(Message::Reconnected) => {
                        reconnected.fetch_add(1, Ordering::Relaxed);
                        names.clear();
                    }
                    Some(Message::Set { name, .. }) => {
                        names.insert(name);
                        if names.len() == 20 {
                            // All of them, since the last reconnection.
                            heard.fetch_add(1, Ordering::Relaxed);
                            names.clear();
                        }
                    }
                    _ => {}
                }
            }
        });
        scope.spawn(|| {
            let mut sender = Client::connect(sending).unwrap();
            let mut number = 0_u64;
            while !ended.load(Ordering::Relaxed) {
                number += 1;
                timed(timeout, &mut || {
                    let _ = sender.set(format!("signal{}", number % 20), "x");
                });
                if number.is_multiple_of(50) {
                    timed(timeout, &mut || {
                        let _ = sender.retrieve("a");
                    });
                }
            }
        });
        for round in 1..=50 {
            let before = heard.load(Ordering::Relaxed);
            wait_until("the listener hears all its names", || {
                heard.load(Ordering::Relaxed) > before
            });
            server = server.kill_and_restart();
            wait_until("the listener is back", || {
                reconnected.load(Ordering::Relaxed) >= round
            });
        }
        let before = heard.load(Ordering::Relaxed);
        wait_until("the listener hears all its names", || {
            heard.load(Ordering::Relaxed) > before
        });
        ended.store(true, Ordering::Relaxed);
    });
    assert_eq!(reconnected.load(Ordering::Relaxed), 50);
    // Beyond the timeout of the call.
    assert!(longest_us.load(Ordering::Relaxed) < 500_000);
}

#[test]
fn entries_expire_as_they_are_told() {
    let server = Server::start();
    let mut client = client(&server, "rw");
    assert_eq!(client.ttl("a").unwrap(), None);
    client.store("a", "1").unwrap();
    assert_eq!(client.ttl("a").unwrap(), Some(Ttl::Never));
    client
        .store_for("a", "x=y", Duration::from_secs(1000))
        .unwrap();
    let has_expiry = |ttl| matches!(ttl, Some(Ttl::Seconds(1..=1000)));
    assert!(has_expiry(client.ttl("a").unwrap()));
    assert_eq!(client.retrieve("a").unwrap(), Some("x=y".into()));
    client.expire("a", None).unwrap();
    assert_eq!(client.ttl("a").unwrap(), Some(Ttl::Never));
    client.expire("a", Some(Duration::ZERO)).unwrap();
    wait_until("a microsecond has gone by", || {
        client.retrieve("a").unwrap().is_none()
    });
    assert!(matches!(client.ttl("a\n"), Err(Error::Invalid(_))));
    assert!(matches!(
        client.store_for("a=b", "1", SOON),
        Err(Error::Invalid(_))
    ));
}

/// Only who has asked knows which equals sign ends a name.
#[test]
fn a_value_is_what_stands_behind_the_name_that_was_asked_for() {
    let server = Server::start();
    let mut link = server.client("admin");
    link.send("CLACKS clacksd/9.9 interclacks/2");
    link.send("OVERHEAD I 1");
    link.expect_after_others("SYNCED");
    link.send(r"STATE 1:7 1 V - - x99999999999999999 a\eb=c=d");
    link.flush();
    let mut client = client(&server, "rw");
    wait_until("the entry is there", || {
        client.retrieve("a=b").unwrap() == Some("c=d".into())
    });
    wait_until("a microsecond has gone by", || {
        client.retrieve("a").unwrap().is_none()
    });
    assert!(matches!(client.ttl("a=b").unwrap(), Some(Ttl::Seconds(_))));
}
