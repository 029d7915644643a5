//! clacks listen: when it begins and ends, times, present values, and servers that come back.

use super::played::PlayedServer;
use crate::support::{Ends, Running, Server, Setup, bare_clacks, wait_until};
use regex::Regex;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn start(server: &Server, arguments: &[&str]) -> Running {
    Running::start(&mut server.clacks_command("ro", arguments))
}

fn json_line(running: &Running) -> Value {
    let line = running.next_line().expect("a line");
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"))
}

#[test]
fn no_signal_after_the_word_listening_is_missed() {
    let server = Server::start();
    let mut sender = server.client("rw");
    for round in 0..10 {
        let listen = start(&server, &["listen", "a", "b"]);
        assert_eq!(listen.complaint(), "clacks: listening");
        sender.send(&format!("SET b={round}"));
        assert_eq!(listen.next_line(), Some(format!("b={round}")));
        let listen = start(&server, &["--json", "listen", "--patterns", "a::*"]);
        assert_eq!(json_line(&listen), json!({"type": "listening"}));
        sender.send("NOTIFY a::b");
        assert_eq!(
            json_line(&listen),
            json!({"type": "notify", "name": "a::b"})
        );
    }
}

#[test]
fn times_are_printed_where_they_are_wanted() {
    let server = Server::start();
    let mut sender = server.client("rw");
    let time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z";
    let is_like = |text: &str, form: &str| {
        let form = Regex::new(&form.replace("TIME", time)).expect("a pattern");
        assert!(form.is_match(text), "{text}");
    };
    let listen = start(&server, &["listen", "--timestamps", "a"]);
    is_like(&listen.complaint(), "^clacks: TIME listening$");
    let json = start(&server, &["listen", "--json", "--timestamps", "a"]);
    let listening = json_line(&json);
    assert_eq!(listening["type"], "listening");
    sender.send("SET a=1");
    is_like(&listen.next_line().expect("a line"), "^TIME a=1$");
    let set = json_line(&json);
    assert_eq!(set["value"], "1");
    let times = [&listening, &set].map(|line| line["time"].as_str().expect("a text"));
    times.iter().for_each(|one| is_like(one, "^TIME$"));
    assert!(times[0] <= times[1]);
    let mut monitor = server.clacks_command("mg", &["monitor", "--timestamps", "-n", "1"]);
    let monitor = Running::start(&mut monitor);
    wait_until("a line", || {
        sender.send("SET a=2");
        monitor.try_line().is_some_and(|line| {
            is_like(&line, "^TIME ");
            true
        })
    });
}

#[test]
fn it_ends_after_its_time_whatever_happens() {
    let mut server = Server::start();
    let brief = Duration::from_millis(500);
    let begun = Instant::now();
    let mut listen = start(&server, &["listen", "a", "--for", "0.5"]);
    assert_eq!(listen.complaint(), "clacks: listening");
    assert_eq!((listen.wait().code(), listen.rest()), (Some(0), vec![]));
    assert!(begun.elapsed() >= brief);
    // A count that is reached earlier ends it earlier.
    let mut both = start(&server, &["listen", "a", "--for", "3600", "-n", "1"]);
    assert_eq!(both.complaint(), "clacks: listening");
    server.client("rw").ask("NOTIFY a");
    assert_eq!(both.wait().code(), Some(0));
    // In a flood of signals.
    let has_ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut flood = server.client("rw");
            while !has_ended.load(Ordering::Relaxed) {
                flood.send_bytes("SET a=again\r\n".repeat(100).as_bytes());
                flood.flush();
            }
        });
        let _ends = Ends(&has_ended);
        let mut listen = start(&server, &["listen", "a", "--for", "0.5"]);
        assert!(listen.rest().len() > 100);
        assert_eq!(listen.wait().code(), Some(0));
    });
    // Without a server.
    let mut listen = start(&server, &["listen", "a", "--for", "2"]);
    assert_eq!(listen.complaint(), "clacks: listening");
    server.process.signal(libc::SIGKILL);
    server.process.wait();
    assert_eq!(listen.wait().code(), Some(0));
}

#[test]
fn present_values_come_before_signals() {
    let server = Server::start();
    let mut sender = server.client("rw");
    for line in [
        "STORE b=2",
        "STORE a=x = y",
        "STORE lines=PAGECAMELCLACKSB64:dHdvCmxpbmVz",
        "STORE text=PAGECAMELCLACKSB64:eA==",
    ] {
        sender.send(line);
    }
    sender.flush();
    let names = ["listen", "--with-values", "b", "none", "a", "lines", "text"];
    let listen = start(&server, &[&names[..], &["-n", "1"]].concat());
    for line in [
        "b=2",
        "a=x = y",
        "lines=PAGECAMELCLACKSB64:dHdvCmxpbmVz",
        "text=x",
    ] {
        assert_eq!(listen.next_line().as_deref(), Some(line));
    }
    assert_eq!(listen.complaint(), "clacks: listening");
    sender.send("SET none=1");
    assert_eq!(listen.rest(), ["none=1"], "values are not counted");
    let listen = start(&server, &[&names[..], &["--json"]].concat());
    for (name, value) in [
        ("b", "2"),
        ("a", "x = y"),
        ("lines", "two\nlines"),
        ("text", "x"),
    ] {
        let expected = json!({"type": "value", "name": name, "value": value});
        assert_eq!(json_line(&listen), expected);
    }
    assert_eq!(json_line(&listen), json!({"type": "listening"}));
}

#[test]
fn present_values_of_patterns_are_those_of_all_names_that_match() {
    let server = Server::start();
    let mut sender = server.client("rw");
    for name in ["a::1", "a::1::2", "b::1", "c::x::y", "d"] {
        sender.send(&format!("STORE {name}=1"));
    }
    sender.flush();
    let patterns = ["listen", "--with-values", "--patterns", "c::>", "a::*"];
    let listen = start(&server, &patterns);
    assert_eq!(listen.next_line().as_deref(), Some("a::1=1"));
    assert_eq!(listen.next_line().as_deref(), Some("c::x::y=1"));
    assert_eq!(listen.complaint(), "clacks: listening");
    sender.send("SETANDSTORE a::3=1");
    assert_eq!(listen.next_line().as_deref(), Some("a::3=1"));
}

/// A signal between LISTEN and the answer to RETRIEVE.
#[test]
fn a_signal_that_comes_before_the_present_value_is_printed_after_it() {
    let setup = Setup::bare();
    let listener = UnixListener::bind(setup.path("played")).expect("a socket of our own");
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("it dials");
        let reading = stream.try_clone().expect("another handle");
        let welcome = b"CLACKS played\r\nOVERHEAD O Welcome!\r\n";
        stream.write_all(welcome).expect("it reads");
        for line in BufReader::new(reading).lines().map_while(Result::ok) {
            let answer = match line.split_once(' ') {
                Some(("LISTEN", name)) => format!("SET {name}=early\r\n"),
                Some(("RETRIEVE", name)) => {
                    format!("SET {name}=late\r\nRETRIEVED {name}=present\r\n")
                }
                Some(("FLUSH", text)) => format!("FLUSHED {text}\r\n"),
                _ => continue,
            };
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    });
    let mut command = bare_clacks(&[
        "-s",
        &setup.unix("played"),
        "listen",
        "--with-values",
        "-n",
        "2",
        "a",
    ]);
    let listen = Running::start(command.env("CLACKS_PASSWORD", "x"));
    assert_eq!(listen.rest(), ["a=present", "a=early", "a=late"]);
}

/// The present value, and then every later one.
#[test]
fn no_change_is_missed_between_the_present_value_and_the_signals() {
    let server = Server::start();
    let has_ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut writer = server.client("rw");
            for number in 0..u64::MAX {
                if has_ended.load(Ordering::Relaxed) {
                    return;
                }
                writer.send(&format!("SETANDSTORE a={number}"));
                writer.flush();
            }
        });
        let _ends = Ends(&has_ended);
        let mut reader = server.client("rw");
        wait_until("the first value", || {
            reader.ask("RETRIEVE a") != ["NOTRETRIEVED a"]
        });
        for _ in 0..20 {
            let listen = start(&server, &["listen", "a", "--with-values", "-n", "20"]);
            let numbers: Vec<u64> = listen
                .rest()
                .iter()
                .map(|line| line.strip_prefix("a=").expect("a value"))
                .map(|number| number.parse().expect("a number"))
                .collect();
            let [present, signals @ ..] = &numbers[..] else {
                panic!("nothing was printed");
            };
            assert_eq!(signals.len(), 20);
            assert!(signals[0] <= present + 1, "{numbers:?}");
            assert!(signals.windows(2).all(|pair| pair[1] == pair[0] + 1));
        }
    });
}

#[test]
fn present_values_are_printed_again_after_a_reconnection() {
    let setup = Setup::new();
    let journal = crate::support::text(&setup.path("journal"));
    let mut server = setup.flags(&["--persist", &journal]).start();
    server.client("rw").ask("STORE a=1");
    let listen = start(&server, &["listen", "--with-values", "a", "--json"]);
    let value = |value: &str| json!({"type": "value", "name": "a", "value": value});
    assert_eq!(json_line(&listen), value("1"));
    assert_eq!(json_line(&listen)["type"], "listening");
    // Nobody listens at the moment of the change.
    server.process.signal(libc::SIGTERM);
    assert_eq!(json_line(&listen)["type"], "disconnected");
    server = server.kill_and_restart();
    assert_eq!(json_line(&listen), json!({"type": "reconnected"}));
    assert_eq!(json_line(&listen), value("1"));
    server.client("rw").ask("SETANDSTORE a=2");
    assert_eq!(json_line(&listen)["value"], "2");
}

/// However long the server was away.
#[test]
fn it_is_connected_again_within_five_seconds() {
    let server = Server::start();
    let listen = start(&server, &["listen", "a"]);
    assert_eq!(listen.complaint(), "clacks: listening");
    let Server {
        process,
        socket,
        setup,
        ..
    } = server;
    drop(process);
    assert!(listen.complaint().ends_with("; dialling again"));
    std::fs::remove_file(&socket).expect("nobody uses it");
    let played = UnixListener::bind(&socket).expect("a socket of our own");
    // So often that pauses which grow are as long as they get.
    for _ in 0..7 {
        drop(played.accept().expect("it dials"));
    }
    drop(played);
    std::fs::remove_file(&socket).expect("nobody uses it");
    let _process = setup.spawn();
    let back = Instant::now();
    assert_eq!(listen.complaint(), "clacks: connected again");
    assert!(
        back.elapsed() < Duration::from_secs(5),
        "{:?}",
        back.elapsed()
    );
}

/// A server that lets nobody in is not waited for longer than the message says.
#[test]
fn the_time_limit_of_a_dial_is_named() {
    let setup = Setup::bare();
    let _silent = UnixListener::bind(setup.path("silent")).expect("a socket of our own");
    let address = setup.unix("silent");
    let mut command = bare_clacks(&["-s", &address, "listen", "a"]);
    let ended = crate::support::run(command.env("CLACKS_PASSWORD", "x"));
    let why = format!("clacks: {address}: the server did not answer in time (15 s)\n");
    assert_eq!((ended.status, &*ended.stderr), (Some(3), &*why));
}

#[test]
fn a_server_without_patterns_is_named_as_the_reason() {
    let setup = Setup::bare();
    let played = PlayedServer::start(&setup);
    let ended = played.clacks(&["listen", "--patterns", "a::>"]);
    let why = "clacks: the server refused it: unknown_command PLISTEN a::>: a server of Net::Clacks, or an \
        old one, does not have this command\n";
    assert_eq!((ended.status, &*ended.stderr), (Some(4), why));
}
