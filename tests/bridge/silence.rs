//! clacks-pg and databases that are there and say nothing: it gives them up in time, says so, and dials again.
//! The database is one that the test plays.

use crate::bridge::bridge;
use crate::support::{DEADLINE, Process, Server, Setup, run, text, wait_until};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How far a connection goes before the database says nothing more.
#[derive(Clone, Copy, PartialEq)]
enum Until {
    Accepted,
    LoggedIn,
    /// It lets the bridge listen, and passes no notification on, as a pooler does.
    Deaf,
    Listening,
    /// It notifies, and answers all that is asked.
    TheEnd,
}

const LOGGED_IN: &[u8] = b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I";
const DONE: &[u8] = b"C\0\0\0\x08SET\0Z\0\0\0\x05I";
const NOTHING_ASKED: &[u8] = b"I\0\0\0\x04Z\0\0\0\x05I";

/// A message of the database's or of its client's: a letter, unless it is the first, a length and a body.
fn read_message(stream: &mut UnixStream, has_letter: bool) -> Option<(u8, Vec<u8>)> {
    let (mut letter, mut length) = ([0], [0; 4]);
    if has_letter {
        stream.read_exact(&mut letter).ok()?;
    }
    stream.read_exact(&mut length).ok()?;
    let mut body = vec![0; u32::from_be_bytes(length) as usize - 4];
    stream.read_exact(&mut body).ok()?;
    Some((letter[0], body))
}

fn notification(channel: &str, payload: &str) -> Vec<u8> {
    let body = [
        &[0, 0, 0, 1],
        channel.as_bytes(),
        b"\0",
        payload.as_bytes(),
        b"\0",
    ]
    .concat();
    let length = u32::try_from(body.len() + 4).expect("it is short");
    [b"A", &length.to_be_bytes()[..], &body].concat()
}

/// The connection that listens, until somebody notifies.
type Listening = Arc<Mutex<Option<UnixStream>>>;

/// The text of a query.
fn read_query(stream: &mut UnixStream) -> Option<String> {
    match read_message(stream, true)? {
        (b'Q', query) => Some(String::from_utf8(query).expect("UTF-8").replace('\0', "")),
        _ => None,
    }
}

/// The conversation, as far as it goes; then silence, up to the other side's end.
fn play(
    mut stream: UnixStream,
    until: Until,
    answered: &AtomicU32,
    listening: &Listening,
) -> Option<()> {
    read_message(&mut stream, false)?;
    if until != Until::Accepted {
        stream.write_all(LOGGED_IN).ok()?;
        let query = read_query(&mut stream)?;
        assert!(
            query.starts_with("LISTEN clacksmessage; LISTEN clackspg_"),
            "{query}"
        );
        if until != Until::LoggedIn {
            let clone = stream.try_clone().expect("a socket");
            *listening.lock().expect("nobody panics") = Some(clone);
            stream.write_all(DONE).ok()?;
        }
        if matches!(until, Until::Listening | Until::TheEnd) {
            let query = read_query(&mut stream)?;
            assert!(query.starts_with("UNLISTEN clackspg_"), "{query}");
            stream.write_all(DONE).ok()?;
        }
        if until == Until::TheEnd {
            let payload = "NOTIFY§§§CLACKSDELIMETER§§§end";
            stream
                .write_all(&notification("clacksmessage", payload))
                .ok()?;
            while let Some(query) = read_query(&mut stream) {
                assert_eq!(query, "");
                stream.write_all(NOTHING_ASKED).ok()?;
                answered.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
    let _ = stream.read_to_end(&mut Vec::new());
    Some(())
}

/// Another session, which notifies the one that listens; a pooler would pass that on to nobody.
fn play_notifier(mut stream: UnixStream, mut listening: UnixStream, passes_on: bool) -> Option<()> {
    read_message(&mut stream, false)?;
    stream.write_all(LOGGED_IN).ok()?;
    let query = read_query(&mut stream)?;
    let channel = query.strip_prefix("NOTIFY ").expect("a NOTIFY");
    if passes_on {
        listening.write_all(&notification(channel, "")).ok()?;
    }
    stream.write_all(DONE).ok()?;
    let _ = stream.read_to_end(&mut Vec::new());
    Some(())
}

struct Database {
    setup: Setup,
    /// Connections, and answers to the question whether it is still there.
    accepted: Arc<AtomicU32>,
    answered: Arc<AtomicU32>,
}

impl Database {
    /// The last of the conversations is had again and again.
    fn start(conversations: &'static [Until]) -> Database {
        let setup = Setup::bare();
        let listener =
            UnixListener::bind(setup.path(".s.PGSQL.5432")).expect("a socket of our own");
        let database = Database {
            setup,
            accepted: Arc::default(),
            answered: Arc::default(),
        };
        let (accepted, answered) = (database.accepted.clone(), database.answered.clone());
        std::thread::spawn(move || {
            let listening = Listening::default();
            let mut until = conversations[0];
            for stream in listener.incoming().flatten() {
                let listens = listening.lock().expect("nobody panics").take();
                if let Some(listens) = listens {
                    let passes_on = until != Until::Deaf;
                    std::thread::spawn(move || play_notifier(stream, listens, passes_on));
                    continue;
                }
                let number = accepted.fetch_add(1, Ordering::SeqCst) as usize;
                until = conversations[number.min(conversations.len() - 1)];
                let (answered, listening) = (answered.clone(), listening.clone());
                std::thread::spawn(move || play(stream, until, &answered, &listening));
            }
        });
        database
    }

    fn address(&self) -> String {
        let folder = text(self.setup.folder.path());
        format!("host={folder} user=x connect_timeout=1 keepalives_idle=1")
    }

    fn accepted(&self) -> u32 {
        self.accepted.load(Ordering::SeqCst)
    }
}

fn bridge_from(database: &Database, server: &Server) -> Command {
    let mut command = bridge(&["--postgres", &database.address(), "-s", &server.address()]);
    command.args(["-u", "rw"]).env("CLACKS_PASSWORD", "rwpw");
    command
}

/// It is told, the database is dialled again, and in the end it works.
fn assert_recovers(conversations: &'static [Until], told: &str) {
    let server = Server::start();
    let database = Database::start(conversations);
    let mut listener = server.client("rw");
    listener.ask("LISTEN end");
    let mut bridge = Process::spawn(&mut bridge_from(&database, &server));
    bridge.wait_for_log(told);
    assert_eq!(listener.next_line().as_deref(), Some("NOTIFY end"));
    assert_eq!(database.accepted() as usize, conversations.len());
    // A database that answers is not taken for silent.
    wait_until("it says that it listens", || {
        let last = bridge.log().pop();
        last.is_some_and(|line| line.ends_with("listening to the database"))
    });
    let before = bridge.log();
    wait_until("it was asked several times", || {
        database.answered.load(Ordering::SeqCst) >= 3
    });
    assert_eq!(bridge.log(), before);
    bridge.signal(libc::SIGTERM);
    assert_eq!(bridge.wait().code(), Some(0));
}

#[test]
fn a_database_that_only_accepts_is_dialled_again() {
    assert_recovers(
        &[Until::Accepted, Until::Accepted, Until::TheEnd],
        "the database can't be reached: it doesn't answer",
    );
}

#[test]
fn a_database_that_does_not_answer_to_listen_is_dialled_again() {
    assert_recovers(
        &[Until::LoggedIn, Until::TheEnd],
        "the database can't be reached: it doesn't answer",
    );
}

/// As behind a pooler in transaction mode: LISTEN succeeds, and somebody else's session listens.
#[test]
fn a_database_whose_notifications_do_not_arrive_is_told_and_dialled_again() {
    assert_recovers(
        &[Until::Deaf, Until::Deaf, Until::TheEnd],
        "the database can't be reached: its notifications don't arrive",
    );
}

#[test]
fn a_database_that_becomes_silent_is_dialled_again() {
    assert_recovers(
        &[Until::Listening, Until::TheEnd],
        "the database is lost: it doesn't answer",
    );
}

#[test]
fn a_silent_database_does_not_keep_the_bridge_from_ending() {
    let server = Server::start();
    for conversations in [
        &[Until::Accepted],
        &[Until::LoggedIn],
        &[Until::Deaf],
        &[Until::Listening],
    ] {
        let database = Database::start(conversations);
        // Without limits of the test's own.
        let folder = text(database.setup.folder.path());
        let address = format!("host={folder} user=x");
        let mut command = bridge(&["--postgres", &address, "-s", &server.address()]);
        command.args(["-u", "rw"]).env("CLACKS_PASSWORD", "rwpw");
        let mut bridge = Process::spawn(&mut command);
        wait_until("it has dialled", || database.accepted() == 1);
        bridge.signal(libc::SIGTERM);
        let start = Instant::now();
        assert_eq!(bridge.wait().code(), Some(0));
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}

#[test]
fn installing_the_functions_ends_at_a_silent_database() {
    let database = Database::start(&[Until::Accepted]);
    let start = Instant::now();
    let ended = run(&mut bridge(&["--postgres", &database.address(), "--init"]));
    assert_eq!(
        (ended.status, &*ended.stderr),
        (Some(1), "clacks-pg: --init: it doesn't answer\n")
    );
    assert!(start.elapsed() < DEADLINE / 2);
}

#[test]
fn a_server_that_cannot_be_reached_is_told_once() {
    let database = Database::start(&[Until::TheEnd]);
    let setup = Setup::new();
    let address = setup.unix("socket");
    let mut command = bridge(&["--postgres", &database.address(), "-s", &address]);
    command.args(["-u", "rw"]).env("CLACKS_PASSWORD", "rwpw");
    let bridge = Process::spawn(&mut command);
    bridge.wait_for_log("the server can't be reached: no connection to the server: No such file");
    let server = setup.start();
    let mut manager = server.client("mg");
    wait_until("the bridge is there", || {
        let clients = manager.ask("CLIENTLIST");
        clients
            .iter()
            .any(|line| line.contains("CLIENTINFO=clacks-pg/"))
    });
    // There may be a second reason, while the server makes its socket.
    let told = bridge.log();
    let times = told.iter().filter(|line| line.contains("can't be reached"));
    assert!(times.count() <= 2, "{told:?}");
}

#[test]
fn a_password_of_the_environment_is_the_first_line() {
    let database = Database::start(&[Until::TheEnd]);
    let server = Server::start();
    for written in ["rwpw\n", "rwpw\r\nmore", "\u{feff}rwpw\n"] {
        let mut listener = server.client("rw");
        listener.ask("LISTEN end");
        let mut command = bridge_from(&database, &server);
        let _bridge = Process::spawn(command.env("CLACKS_PASSWORD", written));
        assert_eq!(listener.next_line().as_deref(), Some("NOTIFY end"));
    }
}

/// Its log is a file that is as large as may be (SIGXFSZ).
#[test]
fn a_log_that_reaches_the_limit_of_its_size_ends_no_bridge() {
    let server = Server::start();
    let database = Database::start(&[Until::TheEnd]);
    let log = server.setup.path("log");
    fs::write(&log, "full").expect("a folder of our own");
    let mut listener = server.client("rw");
    listener.ask("LISTEN end");
    let flags = bridge_from(&database, &server);
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "ulimit -f 0; exec \"$@\" 2>>\"$0\""])
        .arg(&log)
        .arg(flags.get_program())
        .args(flags.get_args())
        .env("CLACKS_PASSWORD", "rwpw")
        .env_remove("RUST_LOG");
    let mut bridge = Process::spawn(&mut shell);
    assert_eq!(listener.next_line().as_deref(), Some("NOTIFY end"));
    bridge.signal(libc::SIGTERM);
    assert_eq!(bridge.wait().code(), Some(0));
    assert_eq!(fs::read(&log).expect("a file"), b"full");
}
