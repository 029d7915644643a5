//! clacks top at real terminals, which tmux provides.

use super::commands::assert_fails;
use super::played::PlayedServer;
use super::terminals::Terminals;
use crate::support::{Server, Setup};

/// A terminal of the usual size, in which the screen of a manager has appeared.
fn start(terminals: &Terminals, name: &str, server: &Server, flags: &str) {
    let command = format!("-u mg top {flags}");
    terminals.start(name, (80, 24), server, "mgpw", &command);
    terminals.expect_that(name, "the screen appears", |screen| has(screen, "q quit"));
}

fn has(screen: &[String], part: &str) -> bool {
    screen.iter().any(|line| line.contains(part))
}

/// The terminal is as the shell left it, but for what the shell prints after the end.
fn expect_end(terminals: &Terminals, name: &str) {
    terminals.expect(name, &["status 0", " echo"]);
}

/// As above, after a signal, whose name the shell may print first.
fn expect_end_by(terminals: &Terminals, name: &str, signal: i32) {
    let end = [format!("status {}", 128 + signal), " echo".to_owned()];
    terminals.expect_that(name, "the shell goes on", |screen| {
        screen.ends_with(&end) && screen.len() <= 3 && !has(screen, "clacks")
    });
}

#[test]
fn the_screen_shows_figures_and_lists_and_obeys_keys() {
    let terminals = Terminals::new();
    let server = Server::start();
    let mut other = server.client("rw");
    other.ask("LISTEN a");
    other.ask("LISTEN b");
    // Texts of others neither turn the text around nor write elsewhere.
    other.ask("CLACKS evil\u{202e}\u{1b}[2J");
    other.ask("STORE big=xxxxxxxxxxxxxxxxxxxxxxxx");
    start(&terminals, "top", &server, "--interval 0.2");
    terminals.expect_that("top", "figures and clients", |screen| {
        screen[0].starts_with("clacks top  clacksd ")
            && screen[0].contains("  well  unix:")
            && screen[1].starts_with("clients 2 of ")
            && !screen[2].starts_with("requests/s -")
            && has(screen, "entries 1  ")
            && has(screen, " 1 clients  2 links  3 names  4 slow")
            && screen[23].starts_with("q quit")
    });
    terminals.expect_that("top", "the other client", |screen| {
        let row = screen.iter().find(|line| line.starts_with("rw "));
        let words: Vec<&str> = row.map_or(Vec::new(), |row| row.split_whitespace().collect());
        words.first() == Some(&"rw")
            && words[1..3] == ["clacks", "unix"]
            && words[5] == "2"
            && words[8] == "evil\\u{202e}_[2J"
    });
    let users = |screen: &[String]| -> Vec<String> {
        let rows = screen
            .iter()
            .map(|line| line.split(' ').next().unwrap_or_default());
        rows.filter(|user| ["mg", "rw"].contains(user))
            .map(str::to_owned)
            .collect()
    };
    terminals.presses("top", "u");
    terminals.expect_that("top", "by user", |screen| users(screen) == ["mg", "rw"]);
    terminals.presses("top", "r");
    terminals.expect_that("top", "the other way", |screen| {
        users(screen) == ["rw", "mg"]
    });
    terminals.presses("top", "Tab");
    terminals.expect_that("top", "links", |screen| has(screen, "LINK  ROLE  STATE"));
    terminals.presses("top", "3");
    terminals.expect_that("top", "names", |screen| {
        has(screen, "BUSY NAME")
            && has(screen, "LARGE ENTRY")
            && screen.iter().any(|line| line.ends_with("  big"))
    });
    terminals.presses("top", "Left");
    terminals.presses("top", "Left");
    terminals.presses("top", "BTab");
    terminals.expect_that("top", "slow requests", |screen| {
        has(screen, "TURN  LANGUAGE")
    });
    terminals.presses("top", "q");
    expect_end(&terminals, "top");
}

#[test]
fn every_end_gives_the_terminal_back() {
    let terminals = Terminals::new();
    let server = Server::start();
    for key in ["q", "Escape", "C-c"] {
        start(&terminals, key, &server, "");
        terminals.presses(key, key);
        expect_end(&terminals, key);
    }
    let signals = [
        libc::SIGTERM,
        libc::SIGINT,
        libc::SIGHUP,
        libc::SIGQUIT,
        libc::SIGABRT,
        libc::SIGUSR1,
        libc::SIGUSR2,
        libc::SIGALRM,
        libc::SIGVTALRM,
        libc::SIGPROF,
        libc::SIGXCPU,
        libc::SIGIO,
        libc::SIGPWR,
        libc::SIGSTKFLT,
        libc::SIGRTMIN(),
        libc::SIGRTMAX(),
    ];
    for signal in signals {
        let name = format!("signal{signal}");
        start(&terminals, &name, &server, "");
        terminals.signal(&name, signal);
        expect_end_by(&terminals, &name, signal);
    }
}

/// Ctrl-S stops no output, for which a signal would have to wait.
#[test]
fn a_key_that_stops_output_elsewhere_does_not_delay_a_signal() {
    let terminals = Terminals::new();
    let server = Server::start();
    start(&terminals, "top", &server, "--interval 0.1");
    terminals.presses("top", "C-s");
    terminals.presses("top", "2");
    terminals.expect_that("top", "links", |screen| has(screen, "LINK  ROLE  STATE"));
    terminals.signal("top", libc::SIGTERM);
    expect_end_by(&terminals, "top", libc::SIGTERM);
}

#[test]
fn it_stops_and_goes_on_like_other_programs() {
    let terminals = Terminals::new();
    let server = Server::start();
    start(&terminals, "top", &server, "");
    let stops = || terminals.expect("top", &[]);
    let goes_on = || {
        terminals.signal("top", libc::SIGCONT);
        terminals.expect_that("top", "it is back", |screen| has(screen, "q quit"));
        // Keys are keys again.
        terminals.presses("top", "2");
        terminals.expect_that("top", "links", |screen| has(screen, "LINK  ROLE  STATE"));
        terminals.presses("top", "1");
        terminals.expect_that("top", "clients", |screen| has(screen, "USER  LANGUAGE"));
    };
    terminals.presses("top", "C-z");
    stops();
    goes_on();
    terminals.signal("top", libc::SIGTSTP);
    stops();
    goes_on();
    // It can't see this one, but it sees that it goes on, and another program has used the terminal meanwhile.
    terminals.signal("top", libc::SIGSTOP);
    terminals.expect_stopped("top");
    terminals.writes("top", "\x1b[?1049l");
    stops();
    goes_on();
    terminals.presses("top", "C-z");
    stops();
    // A signal ends it as soon as it goes on, and the terminal stays the shell's.
    terminals.signal("top", libc::SIGTERM);
    terminals.signal("top", libc::SIGCONT);
    expect_end_by(&terminals, "top", libc::SIGTERM);
}

#[test]
fn the_screen_follows_the_size_of_the_terminal() {
    let terminals = Terminals::new();
    let server = Server::start();
    start(&terminals, "top", &server, "");
    for (columns, rows) in [(40, 10), (120, 40), (80, 24)] {
        terminals.resize("top", (columns, rows));
        terminals.expect_that("top", "the new size", |screen| {
            let last = screen.last().is_some_and(|line| line.starts_with("q quit"));
            last && screen.len() == rows as usize && screen[0].starts_with("clacks top")
        });
    }
    // Sizes without room for anything are no trouble either.
    for size in [(3, 3), (1, 1), (80, 1), (80, 24)] {
        terminals.resize("top", size);
    }
    terminals.expect_that("top", "it is whole again", |screen| has(screen, "q quit"));
    terminals.presses("top", "q");
    terminals.expect_that("top", "the end", |screen| has(screen, "status 0"));
}

#[test]
fn a_lost_server_is_reported_and_dialled_again() {
    let terminals = Terminals::new();
    let mut server = Server::start();
    start(&terminals, "top", &server, "--interval 0.2");
    let lost = |screen: &[String]| screen[0].contains("dialling again");
    let socket = server.socket.clone();
    server = {
        let hidden = socket.with_extension("hidden");
        // Without its socket nobody can dial the server that is killed.
        std::fs::rename(&socket, &hidden).expect("a folder of our own");
        let id = server.process.id();
        let id = i32::try_from(id).expect("process ids fit");
        // SAFETY: plain numbers; the child was not waited for, so its id is still its own.
        assert_eq!(unsafe { libc::kill(id, libc::SIGKILL) }, 0);
        terminals.expect_that("top", "it says so", lost);
        server.kill_and_restart()
    };
    terminals.expect_that("top", "it is connected again", |screen| {
        screen[0].contains("  well  ")
    });
    drop(server);
    terminals.expect_that("top", "it says so again", lost);
    // Keys work without a server, and so do signals.
    terminals.presses("top", "2");
    terminals.expect_that("top", "links", |screen| has(screen, "LINK  ROLE  STATE"));
    terminals.presses("top", "q");
    expect_end(&terminals, "top");
}

/// The server stands still, as one does whose machine is out of memory.
#[test]
fn a_silent_server_is_reported_and_keys_are_obeyed_meanwhile() {
    let terminals = Terminals::new();
    let server = Server::start();
    start(&terminals, "top", &server, "--interval 0.2");
    let id = i32::try_from(server.process.id()).expect("process ids fit");
    // SAFETY: plain numbers; the child was not waited for, so its id is still its own.
    let signal = |signal| assert_eq!(unsafe { libc::kill(id, signal) }, 0);
    signal(libc::SIGSTOP);
    terminals.expect_that("top", "it says so", |screen| {
        screen[0].contains("no answer for ")
    });
    terminals.presses("top", "2");
    terminals.expect_that("top", "links", |screen| has(screen, "LINK  ROLE  STATE"));
    signal(libc::SIGCONT);
    terminals.expect_that("top", "it is well again", |screen| {
        screen[0].contains("  well  ")
    });
    terminals.presses("top", "q");
    expect_end(&terminals, "top");
}

#[test]
fn failures_are_printed_where_the_shell_goes_on() {
    let terminals = Terminals::new();
    let server = Server::start();
    terminals.start("rw", (120, 10), &server, "rwpw", "top");
    let denied = "clacks: the server refused it: permission_denied: for STATUS the user \"rw\" needs the permission to";
    terminals.expect_that("rw", "the reason", |screen| {
        screen.first().is_some_and(|line| line.starts_with(denied))
            && screen.ends_with(&["status 4".to_owned(), " echo".to_owned()])
    });
    let nobody = "-s unix:/is/not/there top";
    terminals.start("nobody", (120, 10), &server, "rwpw", nobody);
    let why = "clacks: unix:/is/not/there: no connection to the server: No such file or directory (os error 2)";
    terminals.expect("nobody", &[why, "status 3", " echo"]);
    let no_terminal = "top needs a terminal: clacks status prints the figures";
    assert_fails(server.clacks("mg", &["top"]), 2, no_terminal);
    assert_fails(
        server.clacks("mg", &["--json", "top"]),
        2,
        "--json means nothing to top",
    );
    let wrong = server.clacks("mg", &["top", "--interval", "0"]);
    assert_fails(wrong, 2, "--interval \"0\" wants seconds");
    let setup = Setup::bare();
    let played = PlayedServer::start(&setup);
    assert_fails(played.clacks(&["top"]), 2, no_terminal);
}
