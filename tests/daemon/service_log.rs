//! The log under systemd: standard error is a stream socket to the journal.

use crate::support::{Client, DEADLINE, Ending, Setup, text, wait_until};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The two ends of a journal's stream: the reader's, and the one for the server's standard error.
fn stream() -> (UnixStream, OwnedFd) {
    let (reader, stderr) = UnixStream::pair().expect("two sockets");
    (reader, stderr.into())
}

/// Has the command write to the stream, as a service of systemd.
fn write_to(command: &mut Command, stderr: OwnedFd) {
    let file = File::from(stderr);
    let metadata = file.metadata().expect("an open descriptor");
    command
        .env(
            "JOURNAL_STREAM",
            format!("{}:{}", metadata.dev(), metadata.ino()),
        )
        .stderr(Stdio::from(file));
}

#[test]
fn lines_for_the_journal_have_a_priority_and_neither_time_nor_level() {
    let setup = Setup::new();
    let listen = setup.unix("socket");
    let setup = setup.flags(&["--listen", &listen, "-v"]);
    let (reader, stderr) = stream();
    let mut command = setup.command();
    write_to(&mut command, stderr);
    let mut server = Ending(command.spawn().expect("a process"));
    drop(command);
    reader
        .set_read_timeout(Some(DEADLINE))
        .expect("a time above zero");
    let mut lines = BufReader::new(reader).lines();
    let mut wait_for = |start: &str| {
        loop {
            let line = lines
                .next()
                .and_then(Result::ok)
                .unwrap_or_else(|| panic!("{start} is missing"));
            let level = ["<3>", "<4>", "<6>", "<7>"];
            assert!(level.iter().any(|level| line.starts_with(level)), "{line}");
            if line.starts_with(start) {
                return;
            }
        }
    };
    wait_for(&format!("<6>listening on {listen}"));
    wait_for("<6>ready");
    // A warning, an ordinary end, an error.
    let mut stranger = Client::unix(&setup.path("socket"));
    stranger.send("OVERHEAD A wrong");
    stranger.until_closed();
    wait_for("<4>closed ");
    let mut client = Client::unix(&setup.path("socket")).logged_in("admin");
    client.ask("QUIT");
    wait_for("<7>closed ");
    setup.write_secret("users", "broken\n");
    let id = i32::try_from(server.0.id()).expect("process ids fit");
    // SAFETY: plain numbers; the child was not waited for.
    assert_eq!(unsafe { libc::kill(id, libc::SIGHUP) }, 0);
    wait_for("<3>not read again");
    // SAFETY: as above.
    assert_eq!(unsafe { libc::kill(id, libc::SIGTERM) }, 0);
    assert!(server.0.wait().expect("a child of ours").success());
}

#[test]
fn a_start_that_fails_says_so_with_a_priority() {
    let setup = Setup::new().flags(&["--no-such-flag"]);
    let (mut reader, stderr) = stream();
    let mut command = setup.command();
    write_to(&mut command, stderr);
    let status = command.status().expect("a process");
    drop(command);
    assert_eq!(status.code(), Some(2));
    let mut said = String::new();
    reader.read_to_string(&mut said).expect("text");
    assert!(said.starts_with("<3>clacksd: "), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn what_is_not_the_journal_gets_time_and_level() {
    // The variable of a parent, whose standard error is another.
    let server = Setup::new().start_changed(|command| {
        command.env("JOURNAL_STREAM", "8:1");
    });
    let line = server.process.log_line("ready").expect("it is ready");
    assert!(line.contains(" INFO ") && !line.contains("<6>"), "{line}");

    let setup = Setup::new();
    let (listen, log) = (setup.unix("socket"), text(&setup.path("log")));
    let setup = setup.flags(&["--listen", &listen, "--log-file", &log]);
    let (_reader, stderr) = stream();
    let mut command = setup.command();
    write_to(&mut command, stderr);
    let _server = Ending(command.spawn().expect("a process"));
    let read = || fs::read_to_string(&log).unwrap_or_default();
    wait_until("the log says ready", || read().contains("ready\n"));
    assert!(read().contains(" INFO ") && !read().contains("<6>"));
}

#[test]
fn a_journal_that_stands_still_stops_nobody_and_lost_lines_are_counted() {
    let setup = Setup::new();
    let listen = setup.unix("socket");
    let setup = setup.flags(&["--listen", &listen]);
    let (mut reader, stderr) = stream();
    let mut command = setup.command();
    write_to(&mut command, stderr);
    let server = Ending(command.spawn().expect("a process"));
    drop(command);
    let id = i32::try_from(server.0.id()).expect("process ids fit");
    wait_until("the server listens", || setup.path("socket").exists());
    let mut connected = None;
    wait_until("the server accepts", || {
        connected = UnixStream::connect(setup.path("socket")).ok();
        connected.is_some()
    });
    let client = Client::from_unix(connected.expect("it is connected"));
    let mut client = client.logged_in("admin");

    // More than a socket's buffer takes, by far.
    let mut longest = Duration::ZERO;
    for _ in 0..2000 {
        // SAFETY: plain numbers; the child was not waited for.
        assert_eq!(unsafe { libc::kill(id, libc::SIGUSR1) }, 0);
        let start = Instant::now();
        assert_eq!(client.ask("RETRIEVE a"), ["NOTRETRIEVED a"]);
        longest = longest.max(start.elapsed());
    }
    assert!(longest < Duration::from_secs(5), "{longest:?}");

    // Somebody reads again.
    let mut said = String::new();
    reader
        .set_read_timeout(Some(Duration::from_millis(10)))
        .expect("a time above zero");
    let mut read_on = || {
        let mut buffer = [0; 65536];
        match reader.read(&mut buffer) {
            Ok(count) => said.push_str(std::str::from_utf8(&buffer[..count]).expect("ASCII")),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        said.clone()
    };
    wait_until("lost lines are told of", || {
        // SAFETY: as above.
        assert_eq!(unsafe { libc::kill(id, libc::SIGUSR1) }, 0);
        read_on().contains(" log lines were lost")
    });
    let said = read_on();
    let line = said
        .lines()
        .find(|line| line.contains("were lost"))
        .expect("it is there");
    let count = line
        .strip_prefix("<4>(")
        .and_then(|rest| rest.split(' ').next())
        .and_then(|count| count.parse::<u32>().ok())
        .expect("a number");
    assert!(count > 100, "{line}");
    // Nothing is cut in the middle.
    for line in said.lines() {
        let whole = ["<6>listening", "<6>ready", "<6>status: clients=", "<4>("];
        assert!(whole.iter().any(|start| line.starts_with(start)), "{line}");
    }
    assert_eq!(client.ask("RETRIEVE a"), ["NOTRETRIEVED a"]);
}
