//! The client library with servers and networks that are slow, silent or mad: every call returns in its time,
//! and what one call has begun the next goes on with.

use crate::support::{Ends, Identity, Server, Setup, tls, wait_until};
use clacks::{Cache, Client, Error, Message, Options};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The timeout of a call, and what it may take beyond that on a busy machine.
const BRIEF: Duration = Duration::from_millis(50);
const SLACK: Duration = Duration::from_millis(450);
const SOON: Duration = Duration::from_secs(20);

/// Returns the result of a call. Panics if the call takes longer than `timeout` and [`SLACK`].
fn in_time<T>(timeout: Duration, call: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = call();
    let took = start.elapsed();
    assert!(took < timeout + SLACK, "{took:?} instead of {timeout:?}");
    result
}

const WELCOME: &[u8] = b"CLACKS played\r\nOVERHEAD O Welcome!\r\n";

fn options(setup: &Setup) -> Options {
    Options::new(&setup.unix("played"))
        .expect("an address")
        .call_timeout(BRIEF)
}

/// A server that the test plays at the socket `played`, one connection at a time, until the test has ended.
fn play<T>(setup: &Setup, mut play: impl FnMut(UnixStream) + Send, test: impl FnOnce() -> T) -> T {
    let listener = UnixListener::bind(setup.path("played")).expect("a socket of our own");
    let has_ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while let Ok((stream, _)) = listener.accept() {
                if has_ended.load(Ordering::Relaxed) {
                    return;
                }
                play(stream);
            }
        });
        let wakes = Wakes(setup);
        let ends = Ends(&has_ended);
        let result = test();
        drop(ends);
        drop(wakes);
        result
    })
}

/// Connects when it is dropped, so that whoever accepts looks up.
struct Wakes<'a>(&'a Setup);

impl Drop for Wakes<'_> {
    fn drop(&mut self) {
        let _ = UnixStream::connect(self.0.path("played"));
    }
}

/// The next message but the server's CLACKS line, by brief calls only.
fn wait_for(client: &mut Client, wanted: impl Fn(&Message) -> bool) {
    wait_until("the message", || {
        in_time(BRIEF, || client.next(BRIEF))
            .expect("a dial that goes on")
            .is_some_and(|message| wanted(&message))
    });
}

#[test]
fn a_server_that_is_slow_to_let_in_is_dialled_once_by_many_calls() {
    let setup = Setup::bare();
    let dialled = AtomicU32::new(0);
    let plays = |mut stream: UnixStream| {
        dialled.fetch_add(1, Ordering::Relaxed);
        for byte in WELCOME {
            std::thread::sleep(Duration::from_millis(10));
            if stream.write_all(&[*byte]).is_err() {
                return;
            }
        }
        let _ = stream.read_to_end(&mut Vec::new());
    };
    play(&setup, plays, || {
        let mut client = Client::new(options(&setup)).expect("right options");
        assert_eq!(
            in_time(BRIEF, || client.next(BRIEF)).expect("it waits"),
            None
        );
        let zero = in_time(Duration::ZERO, || client.next(Duration::ZERO));
        assert_eq!(zero.expect("it waits"), None);
        let stored = in_time(BRIEF, || client.store("a", "1"));
        assert!(matches!(stored, Err(Error::TimedOut)));
        wait_until("there is a connection", || {
            let next = in_time(BRIEF, || client.next(BRIEF));
            next.expect("it waits");
            client.is_connected()
        });
        assert_eq!(dialled.load(Ordering::Relaxed), 1);
        assert_eq!(client.connections(), 1);
    });
}

/// Passes bytes on in small pieces, each a while after the other.
fn dawdle(mut from: TcpStream, mut to: TcpStream) {
    let mut piece = [0; 64];
    while let Ok(count) = from.read(&mut piece) {
        std::thread::sleep(Duration::from_millis(10));
        if count == 0 || to.write_all(&piece[..count]).is_err() {
            let _ = to.shutdown(std::net::Shutdown::Write);
            return;
        }
    }
}

#[test]
fn a_handshake_over_a_slow_network_outlives_many_calls() {
    let setup = Setup::new().with_tls(&Identity::self_signed(&["localhost"]));
    let server = setup.start();
    let network = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = network.local_addr().expect("a bound socket");
    let dialled = AtomicU32::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (near, _) = network.accept().expect("the client dials");
            dialled.fetch_add(1, Ordering::Relaxed);
            let far = TcpStream::connect(("127.0.0.1", server.tls_port())).expect("the server");
            let (near_too, far_too) = (near.try_clone(), far.try_clone());
            let back = std::thread::spawn(move || {
                dawdle(far_too.expect("a socket"), near_too.expect("a socket"));
            });
            dawdle(near, far);
            back.join().expect("it doesn't panic");
        });
        let options = Options::new(&format!("tls://{address}"))
            .expect("an address")
            .insecure()
            .login("rw", "rwpw")
            .call_timeout(BRIEF);
        let mut client = Client::new(options).expect("right options");
        client
            .listen("a")
            .expect_err("no handshake is so fast there");
        let mut calls = 0;
        wait_until("there is a connection", || {
            calls += 1;
            let next = in_time(BRIEF, || client.next(BRIEF));
            next.expect("it waits");
            client.is_connected()
        });
        assert!(calls > 3, "it was no slow network: {calls} calls");
        server.client("rw").ask("SET a=1");
        wait_for(&mut client, |message| {
            *message
                == Message::Set {
                    name: "a".into(),
                    value: "1".into(),
                }
        });
        assert_eq!(client.connections(), 1);
        drop(client);
    });
    assert_eq!(dialled.load(Ordering::Relaxed), 1);
}

#[test]
fn a_dial_ends_with_its_client() {
    let setup = Setup::bare();
    let has_ended = AtomicBool::new(false);
    let plays = |mut stream: UnixStream| {
        // Only the end of the client's side ends this.
        let _ = stream.read_to_end(&mut Vec::new());
        has_ended.store(true, Ordering::Relaxed);
    };
    play(&setup, plays, || {
        let mut client = Client::new(options(&setup)).expect("right options");
        assert_eq!(client.next(BRIEF).expect("it waits"), None);
        assert!(!has_ended.load(Ordering::Relaxed));
        drop(client);
        wait_until("the socket is closed", || has_ended.load(Ordering::Relaxed));
    });
}

#[test]
fn a_dial_that_leads_nowhere_ends_after_the_connect_timeout_and_begins_anew() {
    let setup = Setup::bare();
    let dialled = AtomicU32::new(0);
    let plays = |mut stream: UnixStream| {
        dialled.fetch_add(1, Ordering::Relaxed);
        let _ = stream.read_to_end(&mut Vec::new());
    };
    play(&setup, plays, || {
        let options = options(&setup).connect_timeout(4 * BRIEF);
        let start = Instant::now();
        let connected = in_time(4 * BRIEF, || Client::connect(options.clone()).err());
        assert!(matches!(connected, Some(Error::TimedOut)));
        assert!(start.elapsed() >= 4 * BRIEF);
        let mut client = Client::new(options).expect("right options");
        wait_until("it dials again", || {
            let next = in_time(BRIEF, || client.next(BRIEF));
            assert_eq!(next.expect("it waits"), None);
            dialled.load(Ordering::Relaxed) >= 4
        });
    });
}

/// The program may change its subscriptions while a dial is in progress: the new connection gets the changes, too.
#[test]
fn a_listen_during_a_dial_is_told_with_it() {
    let setup = Setup::bare();
    let has_listened = AtomicBool::new(false);
    let plays = |stream: UnixStream| {
        (&stream).write_all(WELCOME).expect("it listens");
        let mut lines = Vec::new();
        for line in BufReader::new(&stream).lines().map_while(Result::ok) {
            if let Some(mark) = line.strip_prefix("FLUSH ") {
                // So that the first of these comes too late for the call that has begun the dial.
                while !has_listened.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                let _ = write!(
                    &stream,
                    "SET told={}\r\nFLUSHED {mark}\r\n",
                    lines.join(",")
                );
            } else if line.contains("LISTEN ") {
                lines.push(line);
            }
        }
    };
    play(&setup, plays, || {
        let mut client = Client::new(options(&setup)).expect("right options");
        for name in ["a", "b"] {
            assert!(matches!(client.listen(name), Err(Error::TimedOut)));
        }
        assert!(matches!(client.unlisten("a"), Err(Error::TimedOut)));
        has_listened.store(true, Ordering::Relaxed);
        let told = |value: &str| Message::Set {
            name: "told".into(),
            value: value.into(),
        };
        wait_for(&mut client, |message| *message == told("LISTEN a"));
        wait_for(&mut client, |message| {
            *message == told("LISTEN a,LISTEN b,UNLISTEN a")
        });
    });
}

/// A server whose output nobody reads may read nothing itself: both would wait for each other.
#[test]
fn a_write_goes_on_while_the_server_has_much_to_say() {
    const SIGNALS: u32 = 100_000;
    let setup = Setup::bare();
    let plays = |stream: UnixStream| {
        let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
        (&stream).write_all(WELCOME).expect("it listens");
        // The big one has begun to come.
        let login = lines.find(|line| line.starts_with("OVERHEAD A"));
        let Some(_) = login else { return };
        let small = lines.next();
        let mut much = String::from("OVERHEAD E permission_denied\r\n");
        for number in 0..SIGNALS {
            much += &format!("SET signal={number}\r\n");
        }
        // All of it before a further byte is read.
        if small.is_none() || (&stream).write_all(much.as_bytes()).is_err() {
            return;
        }
        for line in lines {
            if let Some(mark) = line.strip_prefix("FLUSH ") {
                let _ = write!(&stream, "FLUSHED {mark}\r\n");
            }
        }
    };
    play(&setup, plays, || {
        let options = options(&setup).call_timeout(SOON);
        let mut client = Client::connect(options).expect("it is let in");
        client.store("small", "x").expect("it is sent");
        client
            .store("big", "x".repeat(8 << 20))
            .expect("it is sent, too");
        // The refusal that came meanwhile is told to whoever asks.
        assert!(matches!(client.sync(), Err(Error::Refused(why)) if why == "permission_denied"));
        client.sync().expect("it is told once");
        let mut number = 0;
        while let Some(message) = client.next(Duration::ZERO).expect("a connection") {
            if let Message::Set { value, .. } = message {
                assert_eq!(value, *number.to_string().as_str());
                number += 1;
            }
        }
        assert_eq!(number, SIGNALS);
    });
}

/// A server that lets a client in, and reads nothing of what it says.
fn read_nothing(mut stream: UnixStream, has_ended: &AtomicBool) {
    let _ = stream.write_all(WELCOME);
    while !has_ended.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A server that the test plays: it lets everybody in, answers so many FLUSHes, and says nothing more.
fn answer_some(mut stream: UnixStream, answers: usize, asked: &AtomicU32) {
    let _ = stream.write_all(WELCOME);
    let mut left = answers;
    for line in BufReader::new(stream.try_clone().expect("a socket")).lines() {
        let Ok(line) = line else { return };
        if let Some(mark) = line.strip_prefix("FLUSH ") {
            asked.fetch_add(1, Ordering::SeqCst);
            if left > 0 {
                left -= 1;
                let _ = stream.write_all(format!("FLUSHED {mark}\r\n").as_bytes());
            }
        }
    }
}

const SILENT: &str = "the server is silent, and does not answer a FLUSH";

/// Calls `next` until the connection is lost, for the reason that the server is silent.
fn next_until_silent(client: &mut Client, timeout: Duration) -> Duration {
    let start = Instant::now();
    loop {
        match client.next(timeout).expect("a dial that goes on") {
            Some(Message::Disconnected(why)) => {
                assert!(why.to_str().contains(SILENT), "{why}");
                return start.elapsed();
            }
            Some(Message::Error(why)) => panic!("{why}"),
            _ => assert!(start.elapsed() < SOON, "nobody has noticed"),
        }
    }
}

#[test]
fn a_silent_server_is_noticed_within_two_probe_intervals() {
    const INTERVAL: Duration = Duration::from_millis(300);
    let setup = Setup::bare();
    let asked = AtomicU32::new(0);
    let play_silent = |stream| answer_some(stream, 2, &asked);
    play(&setup, play_silent, || {
        let options = options(&setup).probe_interval(INTERVAL);
        let mut client = Client::connect(options).expect("a server");
        let start = Instant::now();
        // Two of the questions are answered, and keep the connection for an interval each.
        let took = next_until_silent(&mut client, Duration::from_secs(60));
        assert!(took >= 4 * INTERVAL - BRIEF, "{took:?}");
        assert_eq!(asked.load(Ordering::SeqCst), 3);
        // It dials again by itself.
        wait_until("another connection", || {
            matches!(client.next(BRIEF), Ok(Some(Message::Reconnected)))
        });
        assert!(start.elapsed() < SOON);
    });
}

/// Whoever looks only now and then, or only sends, notices it as well.
#[test]
fn a_silent_server_is_noticed_by_brief_calls() {
    const INTERVAL: Duration = Duration::from_millis(100);
    let setup = Setup::bare();
    let asked = AtomicU32::new(0);
    play(
        &setup,
        |stream| answer_some(stream, 0, &asked),
        || {
            let options = options(&setup).without_ping().probe_interval(INTERVAL);
            let mut client = Client::connect(options).expect("a server");
            next_until_silent(&mut client, Duration::ZERO);
            assert_eq!(asked.load(Ordering::SeqCst), 1);
            wait_until("another connection", || {
                matches!(client.next(BRIEF), Ok(Some(Message::Reconnected)))
            });
            // A client that only sends.
            wait_until("the loss", || {
                let _ = client.set_if_changed("a", "1");
                client.connections() > 2
            });
            next_until_silent(&mut client, Duration::ZERO);
        },
    );
}

/// A process that stands still keeps its sockets, and the kernel goes on to take what comes.
#[test]
fn a_server_that_stands_still_is_noticed_and_found_again() {
    let server = Server::start();
    let options = Options::new(&server.address())
        .expect("an address")
        .login("rw", "rwpw")
        .connect_timeout(Duration::from_millis(300))
        .probe_interval(Duration::from_millis(300));
    let mut client = Client::connect(options).expect("a server");
    client.listen("a").expect("a connection");
    client.sync().expect("an answer");
    // One that answers is kept, though it says nothing by itself.
    let until = Instant::now() + Duration::from_millis(1500);
    while Instant::now() < until {
        let message = client.next(BRIEF).expect("a connection");
        assert!(!matches!(
            message,
            Some(Message::Disconnected(_) | Message::Error(_))
        ));
    }
    server.process.signal(libc::SIGSTOP);
    next_until_silent(&mut client, Duration::from_secs(60));
    server.process.signal(libc::SIGCONT);
    wait_until("another connection", || {
        matches!(client.next(BRIEF), Ok(Some(Message::Reconnected)))
    });
    server.client("rw").ask("NOTIFY a");
    wait_for_signal(&mut client);
}

fn wait_for_signal(client: &mut Client) {
    wait_until("the signal", || {
        matches!(client.next(BRIEF), Ok(Some(Message::Notify { .. })))
    });
}

/// Nobody is told that a journal has failed for the reason that the client has asked whether the server is there.
#[test]
fn a_probe_is_no_reason_to_hear_of_a_failed_journal() {
    let setup = Setup::bare();
    let asked = AtomicU32::new(0);
    let not_saved = |mut stream: UnixStream| {
        let _ = stream.write_all(WELCOME);
        for line in BufReader::new(stream.try_clone().expect("a socket")).lines() {
            let Ok(line) = line else { return };
            if let Some(mark) = line.strip_prefix("FLUSH ") {
                asked.fetch_add(1, Ordering::SeqCst);
                let answer = format!("OVERHEAD E not_saved\r\nFLUSHED {mark}\r\n");
                let _ = stream.write_all(answer.as_bytes());
            }
        }
    };
    play(&setup, not_saved, || {
        let options = options(&setup).probe_interval(Duration::from_millis(20));
        let mut client = Client::connect(options).expect("a server");
        wait_until("three questions", || {
            let message = client.next(BRIEF).expect("a connection");
            assert!(
                matches!(message, None | Some(Message::ServerInfo(_))),
                "{message:?}"
            );
            asked.load(Ordering::SeqCst) >= 3
        });
        client.store("a", "1").expect("a connection");
        let refused = client.sync();
        assert!(matches!(&refused, Err(Error::Refused(why)) if why == "not_saved"));
    });
}

#[test]
fn a_server_that_reads_nothing_is_not_waited_for() {
    let setup = Setup::bare();
    let has_ended = AtomicBool::new(false);
    play(
        &setup,
        |stream| read_nothing(stream, &has_ended),
        || {
            let _ends = Ends(&has_ended);
            let mut client = Client::connect(options(&setup)).expect("it is let in");
            let stored = in_time(BRIEF, || client.store("big", "x".repeat(8 << 20)));
            assert!(matches!(stored, Err(Error::Disconnected(_))));
            assert!(!client.is_connected(), "half a line was sent");
        },
    );
}

/// When there is no more room even for the question, the connection is given up, and what was sent before may be
/// lost with it.
#[test]
fn a_sync_that_loses_the_connection_says_so() {
    let setup = Setup::bare();
    let has_ended = AtomicBool::new(false);
    play(
        &setup,
        |stream| read_nothing(stream, &has_ended),
        || {
            let _ends = Ends(&has_ended);
            let options = options(&setup).call_timeout(Duration::from_millis(1));
            let mut client = Client::new(options).expect("right options");
            wait_until("it is let in", || {
                client.next(BRIEF).expect("it waits");
                client.is_connected()
            });
            client.store("a", "1").expect("it is sent");
            let synced = loop {
                let synced = client.sync();
                if !client.is_connected() {
                    break synced;
                }
                assert!(matches!(synced, Err(Error::TimedOut)), "{synced:?}");
            };
            assert!(matches!(synced, Err(Error::Disconnected(_))), "{synced:?}");
        },
    );
}

#[test]
fn a_server_that_never_stops_talking_does_not_hold_calls_up() {
    let setup = Setup::bare();
    for line in ["NOP\r\n", "\r\n", "SET a=1\r\n", "no end"] {
        let plays = |mut stream: UnixStream| {
            let much = line.repeat(10_000);
            let _ = stream.write_all(WELCOME);
            while stream.write_all(much.as_bytes()).is_ok() {}
        };
        play(&setup, plays, || {
            let mut client = Client::connect(options(&setup)).expect("it is let in");
            for timeout in [BRIEF, Duration::ZERO] {
                let next = in_time(timeout, || client.next(timeout));
                let next = next.expect("a connection");
                let is_message = |message: &Message| !matches!(message, Message::ServerInfo(_));
                assert_eq!(
                    next.as_ref().is_some_and(is_message),
                    line.starts_with("SET")
                );
            }
            assert!(matches!(
                in_time(BRIEF, || client.retrieve("a")),
                Err(Error::TimedOut)
            ));
            assert!(matches!(
                in_time(BRIEF, || client.sync()),
                Err(Error::TimedOut)
            ));
            let big = in_time(BRIEF, || client.store("big", "x".repeat(8 << 20)));
            assert!(matches!(big, Err(Error::Disconnected(_))));
            let client = Client::connect(options(&setup));
            drop(client);
        });
        std::fs::remove_file(setup.path("played")).expect("it was there");
    }
}

/// A call that is given up in the midst of signals and refusals leaves all of them to be fetched.
#[test]
fn a_call_that_times_out_loses_nothing_that_has_come() {
    let setup = Setup::bare();
    let is_enough = AtomicBool::new(false);
    let plays = |stream: UnixStream| {
        (&stream).write_all(WELCOME).expect("it listens");
        let mut number = 0;
        while !is_enough.load(Ordering::Relaxed) {
            let lines: String = (number..number + 10)
                .map(|number| format!("SET a={number}\r\nOVERHEAD E {number}\r\n"))
                .collect();
            number += 10;
            if (&stream).write_all(lines.as_bytes()).is_err() {
                return;
            }
        }
        let _ = (&stream).write_all(b"NOTIFY end\r\n");
        let _ = (&stream).read_to_end(&mut Vec::new());
    };
    play(&setup, plays, || {
        let options = options(&setup).max_queued(usize::MAX);
        let mut client = Client::connect(options).expect("it is let in");
        for _ in 0..3 {
            assert!(matches!(client.sync(), Err(Error::TimedOut)));
            assert!(matches!(client.retrieve("a"), Err(Error::TimedOut)));
        }
        is_enough.store(true, Ordering::Relaxed);
        let (mut signals, mut refusals) = (Vec::new(), Vec::new());
        loop {
            let message = client.next(SOON).expect("a connection");
            match message.expect("the end in time") {
                Message::Set { value, .. } => signals.push(value.to_str().into_owned()),
                Message::Error(number) => refusals.push(number.to_str().into_owned()),
                Message::Notify { .. } => break,
                Message::ServerInfo(_) => {}
                message => panic!("{message:?}"),
            }
        }
        assert!(signals.len() > 100);
        let all: Vec<String> = (0..signals.len())
            .map(|number| number.to_string())
            .collect();
        assert!(signals == all, "{} of them", signals.len());
        // The last one could have been a sync's, and comes first.
        refusals.sort_by_key(|number| number.parse::<u32>().ok());
        assert!(refusals == all, "{} of {}", refusals.len(), all.len());
    });
}

/// A refusal that came before an answer was given up is not forgotten.
#[test]
fn a_sync_that_timed_out_leaves_its_refusals_to_the_next() {
    let server = Server::start();
    let options = Options::new(&server.address())
        .expect("an address")
        .login("ro", "ropw")
        .call_timeout(BRIEF);
    let mut client = Client::connect(options).expect("it is let in");
    server.process.signal(libc::SIGSTOP);
    client.store("a", "1").expect("it is sent");
    assert!(matches!(
        in_time(BRIEF, || client.sync()),
        Err(Error::TimedOut)
    ));
    server.process.signal(libc::SIGCONT);
    let mut synced = Err(Error::TimedOut);
    wait_until("the server has worked it off", || {
        synced = client.sync();
        !matches!(synced, Err(Error::TimedOut))
    });
    assert!(matches!(synced, Err(Error::Refused(why)) if why == "permission_denied"));
}

#[test]
fn whoever_waits_for_ever_may_say_so() {
    let server = Server::start();
    let options = Options::new(&server.address())
        .expect("an address")
        .login("rw", "rwpw")
        .connect_timeout(Duration::MAX)
        .call_timeout(Duration::MAX);
    let mut client = Client::connect(options).expect("it is let in");
    client.listen("a").expect("it is sent");
    client.sync().expect("it is worked off");
    server.client("rw").ask("NOTIFY a");
    while client.next(Duration::MAX).expect("a connection")
        != Some(Message::Notify { name: "a".into() })
    {}
}

/// Whatever a call of the cache has to do, connecting and trying again included, ends with its one timeout.
#[test]
fn calls_of_the_cache_return_within_one_timeout() {
    let silent = |stream: UnixStream| {
        let mut lines = BufReader::new(&stream).lines();
        while let Some(Ok(_)) = lines.next() {}
    };
    let welcoming = |stream: UnixStream| {
        let _ = (&stream).write_all(WELCOME);
        silent(stream);
    };
    // Lets everybody in, and then closes after a while.
    let fickle = |stream: UnixStream| {
        let _ = (&stream).write_all(WELCOME);
        let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
        lines.find(|line| line.starts_with("FLUSH "));
        std::thread::sleep(BRIEF / 2);
    };
    let servers: [&(dyn Fn(UnixStream) + Sync); 3] = [&silent, &welcoming, &fickle];
    for server in servers {
        let setup = Setup::bare();
        play(&setup, server, || {
            let mut cache = Cache::new(options(&setup), "test", "1");
            let failed = |result: Result<(), Error>| {
                assert!(
                    matches!(result, Err(Error::TimedOut | Error::Disconnected(_))),
                    "{result:?}"
                );
            };
            failed(in_time(BRIEF, || cache.get("a").map(drop)));
            failed(in_time(BRIEF, || cache.set("a", "1")));
            failed(in_time(BRIEF, || cache.delete("a")));
            failed(in_time(BRIEF, || cache.incr("a", 1)));
            failed(in_time(BRIEF, || cache.decr("a", 1)));
            failed(in_time(BRIEF, || cache.keys().map(drop)));
            failed(in_time(BRIEF, || cache.clear()));
            failed(in_time(BRIEF, || cache.set_structure("a", &[1])));
            failed(in_time(BRIEF, || {
                cache.get_structure::<Vec<u8>>("a").map(drop)
            }));
            let _ = in_time(BRIEF, || cache.client().map(drop));
        });
    }
}

/// The handshake's own time limits hold, too.
#[test]
fn a_tls_server_that_stops_in_the_handshake_is_given_up() {
    let identity = Identity::self_signed(&["localhost"]);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = format!("tls://{}", listener.local_addr().expect("a bound socket"));
    let has_ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = listener.accept().expect("the client dials");
            let mut session = tls::master_session(&identity);
            let mut answer = Vec::new();
            session.read_tls(&mut stream).expect("a hello");
            session.process_new_packets().expect("a right one");
            while session.wants_write() {
                session.write_tls(&mut answer).expect("a Vec takes all");
            }
            // Byte by byte, and never the end of it.
            for byte in &answer[..answer.len() - 1] {
                if has_ended.load(Ordering::Relaxed) || stream.write_all(&[*byte]).is_err() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let _ends = Ends(&has_ended);
        let options = Options::new(&address)
            .expect("an address")
            .insecure()
            .connect_timeout(4 * BRIEF);
        let connected = in_time(4 * BRIEF, || Client::connect(options).err());
        assert!(matches!(connected, Some(Error::TimedOut)));
    });
}
