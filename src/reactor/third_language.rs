//! A language that only tests know, served by the real loop and the real broker: what a language needs is its framer and
//! decoder (`protocol::toy`), its dialect (`broker::dialects::toy`), and a line in each of the tables of languages.

use super::{
    Files, Host, Listener, Notifier, OutputLimits, Server, Settings, Signals, SocketAccess,
};
use crate::address::Address;
use crate::broker::{self, Broker, Users};
use crate::certificates::Certificates;
use crate::protocol::Language;
use crate::protocol::token::Token;
use crate::storage::{SystemDisk, Writer};
use mio::Events;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

struct NoFiles;

impl Files for NoFiles {
    fn reload(&mut self) -> Option<(Users, Certificates)> {
        None
    }

    fn check_certificates(&mut self) {}
}

/// A server in this thread, with a listener of each language.
struct World {
    server: Server,
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = |name: &str, language| {
            let address = Address::Unix(folder.path().join(name));
            let access = SocketAccess {
                mode: 0o600,
                owner: None,
                group: None,
            };
            Listener::bind(&address, language, access)
                .expect("a socket")
                .remove(0)
        };
        let listeners = vec![
            listener("toy", Language::Toy),
            listener("clacks", Language::Clacks),
            listener("memcached", Language::Memcached),
        ];
        let settings = Settings {
            max_clients: 10,
            max_connections: 20,
            auth_timeout_us: 10_000_000,
            output: OutputLimits {
                max_output: 1 << 20,
                max_buffers: 1 << 24,
            },
        };
        let users = Users::new("admin", b"pw");
        let broker = Broker::new(broker::Settings::default(), users, [1, 2, 3, 4]);
        let host = Host {
            signals: Signals::install().expect("handlers"),
            files: Box::new(NoFiles),
            notifier: Notifier::default(),
        };
        let certificates = Certificates {
            own: None,
            of_master: None,
        };
        let no_journal: Option<Writer<SystemDisk>> = None;
        let server = Server::new(
            listeners,
            Vec::new(),
            certificates,
            settings,
            broker,
            no_journal,
            host,
        );
        World {
            server: server.expect("a server"),
            folder,
        }
    }

    fn connect(&self, name: &str) -> UnixStream {
        let stream = UnixStream::connect(self.folder.path().join(name)).expect("it listens");
        stream.set_nonblocking(true).expect("a socket");
        stream
    }

    fn turn(&mut self) {
        let mut events = Events::with_capacity(16);
        let timeout = Some(Duration::from_millis(1));
        self.server.poll.poll(&mut events, timeout).expect("events");
        self.server.turn(&events);
    }

    /// Lets turns pass until `expected` has come.
    fn expect(&mut self, client: &mut UnixStream, expected: &[u8]) {
        let mut came = Vec::new();
        let mut buffer = [0; 4096];
        for _ in 0..10_000 {
            self.turn();
            match client.read(&mut buffer) {
                Ok(count) => came.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
            if came.len() >= expected.len() {
                break;
            }
        }
        assert_eq!(
            came.escape_ascii().to_string(),
            expected.escape_ascii().to_string()
        );
    }
}

#[test]
fn a_third_language_is_served_however_its_bytes_are_cut() {
    let mut world = World::new();
    let mut client = world.connect("toy");
    for cut in 0..90 {
        let requests = format!(
            "put a 9\r\none\r\ntwo\n\r\nget a\r\nget b{cut}\r\nput b{cut} 0\r\n\r\nput c 2\r\nxyz\r\nget b{cut}\r\n"
        );
        let answers = format!(
            "ok\r\na 9\r\none\r\ntwo\n\r\nnone\r\nok\r\nwrong\r\nwrong\r\nb{cut} 0\r\n\r\n"
        );
        let (first, second) = requests.split_at(cut.min(requests.len()));
        client.write_all(first.as_bytes()).expect("a connection");
        world.turn();
        client.write_all(second.as_bytes()).expect("a connection");
        world.expect(&mut client, answers.as_bytes());
    }
}

#[test]
fn a_frame_that_is_too_long_is_refused_in_the_words_of_its_language() {
    let mut world = World::new();
    let mut client = world.connect("toy");
    client
        .write_all(b"put a 99999999999\r\nx")
        .expect("a connection");
    world.expect(&mut client, b"refused line_too_long\r\n");
}

#[test]
fn clients_of_two_languages_share_the_entries() {
    let mut world = World::new();
    let (mut toy, mut clacks) = (world.connect("toy"), world.connect("clacks"));
    toy.write_all(b"put a 1\r\nx\r\n").expect("a connection");
    world.expect(&mut toy, b"ok\r\n");
    let login = format!(
        "OVERHEAD A {}\r\nRETRIEVE a\r\n",
        Token::encode(b"admin", b"pw")
    );
    clacks.write_all(login.as_bytes()).expect("a connection");
    let version = env!("CARGO_PKG_VERSION");
    let greeting = format!(
        "CLACKS clacksd/{version} interclacks/2\r\nOVERHEAD M Authentication required\r\n\
         OVERHEAD O Welcome!\r\nRETRIEVED a=x\r\n"
    );
    world.expect(&mut clacks, greeting.as_bytes());
}

const UNAUTHENTICATED: &str = "CLIENT_ERROR unauthenticated\r\n";

#[test]
fn a_memcached_client_logs_in_however_its_bytes_are_cut() {
    let mut world = World::new();
    let requests = format!(
        "version\r\nset _ _ _ 4\r\nabcd\r\nset a 0 0 8 noreply\nadmin pw\r\nmn\r\nverbosity 1 noreply\r\n\
         set k 0 0 x\r\nms k 5000\r\n{}\r\nmn \n",
        "x".repeat(5000)
    );
    let answers = format!(
        "{UNAUTHENTICATED}CLIENT_ERROR bad authentication token format\r\nSTORED\r\nMN\r\n\
         CLIENT_ERROR bad command line format\r\nHD\r\nMN\r\n"
    );
    for cut in (0..150).chain([5000, requests.len()]) {
        let mut client = world.connect("memcached");
        let (first, second) = requests.as_bytes().split_at(cut);
        client.write_all(first).expect("a connection");
        world.turn();
        client.write_all(second).expect("a connection");
        world.expect(&mut client, answers.as_bytes());
    }
}

#[test]
fn a_memcached_client_may_try_several_logins() {
    let mut world = World::new();
    let mut client = world.connect("memcached");
    client
        .write_all(b"set a 0 0 4\r\nno x\r\nset a 0 0 8\r\nadmin pw\r\nmn\r\n")
        .expect("a connection");
    let answers = b"CLIENT_ERROR authentication failure\r\nSTORED\r\nMN\r\n";
    world.expect(&mut client, answers);
}

/// Lets turns pass until the server closes the connection, after these bytes.
fn expect_end(world: &mut World, client: &mut UnixStream, expected: &[u8]) {
    let mut came = Vec::new();
    for _ in 0..10_000 {
        world.turn();
        match client.read_to_end(&mut came) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            _ => break,
        }
    }
    assert_eq!(
        came.escape_ascii().to_string(),
        expected.escape_ascii().to_string()
    );
    assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)), "closed");
}

#[test]
fn a_memcached_connection_is_closed_without_a_word() {
    let mut world = World::new();
    let long = "x".repeat(2049);
    let login = "set _ _ _ 8\r\nadmin pw\r\n";
    for (requests, answers) in [
        ("mn\r\nmn\r\n".to_owned(), ""),
        ("quit\r\nmn\r\n".to_owned(), ""),
        ("\u{80}".to_owned(), ""),
        (long.clone(), ""),
        (format!("get {long}"), ""),
        (format!("{login}mn\r\nquit x\r\nmn\r\n"), "STORED\r\nMN\r\n"),
        (format!("{login}GET / HTTP/1.1\r\nmn\r\n"), "STORED\r\n"),
        (format!("{login}{long}"), "STORED\r\n"),
    ] {
        let mut client = world.connect("memcached");
        let bytes = requests.as_bytes();
        // The first byte of the binary protocol is no character of its own.
        let bytes = bytes.strip_prefix(&[0xc2]).unwrap_or(bytes);
        client.write_all(bytes).expect("a connection");
        expect_end(&mut world, &mut client, answers.as_bytes());
    }
}

#[test]
fn a_block_that_nobody_may_store_is_dropped_as_it_comes() {
    let mut world = World::new();
    let mut client = world.connect("memcached");
    let length = 64 << 20;
    let login = format!("set _ _ _ 8\r\nadmin pw\r\nset k 0 0 {length}\r\n");
    client.write_all(login.as_bytes()).expect("a connection");
    world.expect(&mut client, b"STORED\r\n");
    let block = [b'x'; 1 << 16];
    let mut left = length + 2;
    while left > 0 {
        world.turn();
        match client.write(&block[..left.min(block.len())]) {
            Ok(count) => left -= count,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        assert!(world.server.core.out.connections.buffered() < 1 << 20);
    }
    client.write_all(b"mn\r\n").expect("a connection");
    world.expect(
        &mut client,
        b"SERVER_ERROR object too large for cache\r\nMN\r\n",
    );
}

/// Shows the values of many keys, in several slices.
#[test]
fn a_long_answer_is_made_as_the_client_takes_it() {
    let mut world = World::new();
    let (mut reader, mut other) = (world.connect("memcached"), world.connect("memcached"));
    for client in [&mut reader, &mut other] {
        client
            .write_all(b"set _ _ _ 8\r\nadmin pw\r\n")
            .expect("a connection");
        world.expect(client, b"STORED\r\n");
    }
    let value = "v".repeat(1000);
    let mut expected = String::new();
    for key in 0..600 {
        let store = format!("set {key} 7 0 1000 noreply\r\n{value}\r\n");
        reader.write_all(store.as_bytes()).expect("a connection");
        world.turn();
        expected += &format!("VALUE {key} 7 1000\r\n{value}\r\n");
    }
    let keys: Vec<String> = (0..600).map(|key| format!("{key} none")).collect();
    let line = format!("get {}\r\nmn\r\n", keys.join(" "));
    reader.write_all(line.as_bytes()).expect("a connection");
    // A client that reads nothing is made no more of the answer than it has room for, and delays nobody.
    for _ in 0..100 {
        world.turn();
    }
    assert!(world.server.core.out.connections.buffered() < 300_000);
    other.write_all(b"mn\r\n").expect("a connection");
    world.expect(&mut other, b"MN\r\n");
    world.expect(&mut reader, format!("{expected}END\r\nMN\r\n").as_bytes());
    reader
        .write_all(b"lru_crawler mgdump all\r\nmn\r\n")
        .expect("a connection");
    let mut dump = vec![0; 4 + 600 * 8 - 110 + 4 + 4];
    for _ in 0..1000 {
        world.turn();
    }
    reader.read_exact(&mut dump).expect("all of it");
    let lines = String::from_utf8_lossy(&dump).matches("mg ").count();
    assert_eq!(lines, 600);
    assert!(dump.starts_with(b"OK\r\n") && dump.ends_with(b"\r\nEN\r\nMN\r\n"));
}

#[test]
fn monitors_are_shown_command_lines_without_blocks() {
    let mut world = World::new();
    let mut monitor = world.connect("clacks");
    let login = format!(
        "OVERHEAD A {}\r\nMONITOR\r\n",
        Token::encode(b"admin", b"pw")
    );
    monitor.write_all(login.as_bytes()).expect("a connection");
    let read = |world: &mut World, monitor: &mut UnixStream, end: &str| {
        let mut shown = Vec::new();
        for _ in 0..10_000 {
            world.turn();
            // Mostly there is nothing yet.
            let _ = monitor.read_to_end(&mut shown);
            if shown.ends_with(end.as_bytes()) {
                break;
            }
        }
        String::from_utf8_lossy(&shown).into_owned()
    };
    read(&mut world, &mut monitor, "=MONITOR\r\n");
    let mut client = world.connect("memcached");
    client
        .write_all(b"set _ _ _ 8\r\nadmin pw\r\nset k 0 0 6\r\nsecret\r\nget a\rb\r\nget  x\n")
        .expect("a connection");
    world.expect(&mut client, b"STORED\r\nSTORED\r\nEND\r\nEND\r\n");
    let shown = read(&mut world, &mut monitor, "=get  x\r\n");
    let lines: Vec<&str> = shown
        .lines()
        .filter_map(|line| line.split_once('=').map(|(_, line)| line))
        .collect();
    assert_eq!(lines[1..], ["set k 0 0 6", "get ab", "get  x"], "{shown}");
}

#[test]
fn a_memcached_client_is_sent_nothing_that_it_did_not_ask_for() {
    let mut world = World::new();
    let mut client = world.connect("memcached");
    let login = b"set _ _ _ 8\r\nadmin pw\r\n";
    client.write_all(login).expect("a connection");
    world.expect(&mut client, b"STORED\r\n");
    let mut manager = world.connect("clacks");
    let lines = format!(
        "OVERHEAD A {}\r\nOVERHEAD G GNU Terry Pratchett\r\nRETRIEVE none\r\nOVERHEAD C\r\n",
        Token::encode(b"admin", b"pw")
    );
    manager.write_all(lines.as_bytes()).expect("a connection");
    expect_end(&mut world, &mut client, b"");
}

#[test]
fn marking_an_entry_stale_keeps_its_expiry_unless_one_is_given() {
    let mut world = World::new();
    let mut client = world.connect("memcached");
    client
        .write_all(
            b"set _ _ _ 8\r\nadmin pw\r\nset k 0 100 1\r\nx\r\nmd k I q\r\nmg k t\r\nmd k I T0 q\r\nmg k t\r\n",
        )
        .expect("a connection");
    let answers = b"STORED\r\nSTORED\r\nHD t100 X W\r\nHD t-1 X W\r\n";
    world.expect(&mut client, answers);
}
