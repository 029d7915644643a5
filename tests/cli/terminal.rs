//! clacks at real terminals, which tmux provides: chat in two of them, and a password that is typed.

use super::terminals::Terminals;
use crate::support::{Ends, Server, wait_until};
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn two_people_chat_without_disturbing_what_the_other_types() {
    let terminals = Terminals::new();
    let mut server = Server::start();
    terminals.start("ann", (40, 12), &server, "rwpw", "chat ann");
    terminals.start("bob", (20, 12), &server, "rwpw", "chat bob");
    terminals.expect("ann", &["You are ann. Ctrl-D ends this.", ">"]);
    terminals.expect("bob", &["You are bob. Ctrl-D", "ends this.", ">"]);
    terminals.types("bob", "half a thought");
    terminals.expect(
        "bob",
        &["You are bob. Ctrl-D", "ends this.", "> half a thought"],
    );
    terminals.types("ann", "hellp");
    terminals.presses("ann", "BSpace");
    terminals.presses("ann", "Left");
    terminals.types("ann", "o wörld");
    terminals.presses("ann", "Enter");
    terminals.expect(
        "ann",
        &["You are ann. Ctrl-D ends this.", "ann: hello wörld", ">"],
    );
    // What was being typed is still there, below.
    terminals.expect(
        "bob",
        &[
            "You are bob. Ctrl-D",
            "ends this.",
            "ann: hello wörld",
            "> half a thought",
        ],
    );
    // Longer than the terminal is wide: its end is shown, in one line.
    terminals.types("bob", " becomes whole");
    terminals.expect(
        "bob",
        &[
            "You are bob. Ctrl-D",
            "ends this.",
            "ann: hello wörld",
            "> ght becomes whole",
        ],
    );
    terminals.presses("bob", "Enter");
    let bob = "bob: half a thought becomes whole";
    terminals.expect(
        "ann",
        &[
            "You are ann. Ctrl-D ends this.",
            "ann: hello wörld",
            bob,
            ">",
        ],
    );
    // Control characters from elsewhere do nothing to the terminal, nor do those that turn the text around.
    server
        .client("rw")
        .ask("SET example::chat=eve: \u{1b}[2J\u{7}\u{202e}\u{200b}");
    let eve = "eve: \\x1b[2J\\x07\\u{202e}\\u{200b}";
    terminals.expect(
        "ann",
        &[
            "You are ann. Ctrl-D ends this.",
            "ann: hello wörld",
            bob,
            eve,
            ">",
        ],
    );
    // Both ways to the end leave the terminal as it was.
    terminals.types("ann", "never sent");
    terminals.presses("ann", "C-c");
    terminals.expect(
        "ann",
        &[
            "You are ann. Ctrl-D ends this.",
            "ann: hello wörld",
            bob,
            eve,
            "status 0",
            " echo",
        ],
    );
    server = server.kill_and_restart();
    wait_until("bob is told", || {
        let screen = terminals.screen("bob");
        screen.iter().any(|line| line == "* connected again")
    });
    server.client("rw").ask("SET example::chat=eve: you again");
    wait_until("bob hears again", || {
        let screen = terminals.screen("bob");
        screen.ends_with(&["eve: you again".to_owned(), ">".to_owned()])
    });
    terminals.presses("bob", "C-d");
    wait_until("bob has ended it", || {
        let screen = terminals.screen("bob");
        screen.ends_with(&["status 0".to_owned(), " echo".to_owned()])
    });
}

#[test]
fn programs_chat_by_lines() {
    let server = Server::start();
    let mut chat = server.clacks_until("rw", &["chat", "bot"], "LISTEN example::chat");
    let mut other = server.client("rw");
    other.ask("LISTEN example::chat");
    other.ask("SET example::chat=ann: hello");
    assert_eq!(chat.next_line().as_deref(), Some("ann: hello"));
    let mut stdin = chat.stdin.take().expect("a pipe");
    // More than a page at once, and then silence.
    let many: String = (0..600).map(|number| format!("many {number}\n")).collect();
    std::io::Write::write_all(&mut stdin, many.as_bytes()).expect("it reads");
    for number in 0..600 {
        other.expect(&format!("SET example::chat=bot: many {number}"));
    }
    std::io::Write::write_all(&mut stdin, b"one\n\n\r\n two\tthree \x07 \r\n \n\tlast ")
        .expect("it reads");
    drop(stdin);
    // Blanks at both ends stay.
    for line in ["one", " two\tthree \\x07 ", " ", "\tlast "] {
        other.expect(&format!("SET example::chat=bot: {line}"));
    }
    assert_eq!(chat.rest(), [""; 0]);
    assert_eq!(chat.wait().code(), Some(0));
    // Without a name it is the user's.
    let piped = server.clacks_reading("rw", &["chat"], b"hi\n");
    assert_eq!((piped.status, &*piped.stdout), (Some(0), ""));
    other.expect("SET example::chat=rw: hi");
}

#[test]
fn blanks_at_the_ends_of_a_typed_line_stay() {
    let terminals = Terminals::new();
    let server = Server::start();
    terminals.start("ann", (40, 12), &server, "rwpw", "chat ann");
    terminals.expect("ann", &["You are ann. Ctrl-D ends this.", ">"]);
    let mut other = server.client("rw");
    other.ask("LISTEN example::chat");
    for typed in ["  two words   ", "   "] {
        terminals.types("ann", typed);
        terminals.presses("ann", "Enter");
        other.expect(&format!("SET example::chat=ann: {typed}"));
    }
}

#[test]
fn a_password_is_asked_for_and_not_shown() {
    let terminals = Terminals::new();
    let server = Server::start();
    server.clacks_output("rw", &["store", "a", "1"]);
    let asking = |name: &str, typed: &str, shown: &[&str]| {
        let address = format!("tcp://127.0.0.1:{}", server.port);
        let command = format!("-s {address} keys");
        terminals.start(name, (120, 10), &server, "", &command);
        let question = format!("Password of rw at {address}:");
        wait_until("it asks", || terminals.screen(name).contains(&question));
        terminals.types(name, typed);
        terminals.presses(name, "Enter");
        terminals.expect(name, &[&[&*question], shown].concat());
    };
    asking("right", "rwpx\u{7f}w", &["a", "status 0", " echo"]);
    let refused = format!(
        "clacks: tcp://127.0.0.1:{}: the server refuses this user or password: user \"rw\", password from the terminal",
        server.port
    );
    asking("wrong", "wrong", &[&refused, "status 3", " echo"]);
    // Nobody is asked for a server that isn't there.
    terminals.start(
        "alone",
        (110, 10),
        &server,
        "",
        "-s unix:/is/not/there keys",
    );
    let alone = "clacks: unix:/is/not/there: no connection to the server: No such file or directory (os error 2)";
    terminals.expect("alone", &[alone, "status 3", " echo"]);
}

/// The terminal is the shell's again, and the shell knows by what it was ended.
#[test]
fn signals_leave_the_terminal_as_it_was() {
    let terminals = Terminals::new();
    let server = Server::start();
    let ends_with = |name: &str, signal: i32| {
        terminals.signal(name, signal);
        let status = format!("status {}", 128 + signal);
        wait_until("the shell goes on", || {
            terminals
                .screen(name)
                .ends_with(&[status.clone(), " echo".to_owned()])
        });
    };
    for signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGINT] {
        let name = format!("chat{signal}");
        terminals.start(&name, (40, 12), &server, "rwpw", "chat ann");
        terminals.types(&name, "half a thou");
        let shown = ["You are ann. Ctrl-D ends this.", "> half a thou"];
        terminals.expect(&name, &shown);
        ends_with(&name, signal);
        assert!(!terminals.screen(&name).contains(&shown[1].to_owned()));
    }
    // While a password is typed, and, after one was, in a chat and in a command that goes on.
    let asks = |name: &str, command: &str| {
        terminals.start(name, (110, 10), &server, "", command);
        wait_until("it asks", || {
            let screen = terminals.screen(name);
            screen.iter().any(|line| line.starts_with("Password of rw"))
        });
    };
    let answers = |name: &str| {
        terminals.types(name, "rwpw");
        terminals.presses(name, "Enter");
    };
    asks("asked", "keys");
    terminals.types("asked", "rw");
    ends_with("asked", libc::SIGTERM);
    asks("chats", "chat ann");
    answers("chats");
    wait_until("it is a chat", || {
        terminals.screen("chats").ends_with(&[">".to_owned()])
    });
    ends_with("chats", libc::SIGTERM);
    asks("listens", "listen a");
    answers("listens");
    wait_until("it listens", || {
        server.client("rw").ask("NOTIFY a");
        terminals.screen("listens").contains(&"a".to_owned())
    });
    ends_with("listens", libc::SIGTERM);
}

#[test]
fn a_flood_of_messages_leaves_the_keys_their_turn() {
    let terminals = Terminals::new();
    let server = Server::start();
    terminals.start("ann", (40, 12), &server, "rwpw", "chat ann");
    terminals.expect("ann", &["You are ann. Ctrl-D ends this.", ">"]);
    let has_ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut flood = server.client("rw");
            while !has_ended.load(Ordering::Relaxed) {
                flood.send_bytes(
                    "SET example::chat=eve: again and again\r\n"
                        .repeat(1000)
                        .as_bytes(),
                );
                flood.flush();
            }
        });
        let _ends = Ends(&has_ended);
        wait_until("eve is heard", || {
            terminals
                .screen("ann")
                .contains(&"eve: again and again".to_owned())
        });
        terminals.presses("ann", "C-d");
        wait_until("the shell goes on", || {
            terminals
                .screen("ann")
                .ends_with(&["status 0".to_owned(), " echo".to_owned()])
        });
    });
}

/// Runs a command of a manager in a wide terminal, and waits for its end.
fn shows(terminals: &Terminals, server: &Server, name: &str, what: &str) -> Vec<String> {
    terminals.start(name, (160, 200), server, "mgpw", &format!("-u mg {what}"));
    terminals.expect_that(name, "the end", |screen| {
        screen.last().is_some_and(|line| line == " echo")
    });
    let mut screen = terminals.screen(name);
    screen.pop();
    screen
}

#[test]
fn questions_about_the_server_are_answered_at_a_terminal() {
    let terminals = Terminals::new();
    let server = Server::start();
    let mut other = server.client("rw");
    other.ask("LISTEN a");
    other.ask("CLACKS other\u{1b}[2J");
    let ping = shows(&terminals, &server, "ping", "ping");
    assert!(ping[0].starts_with("answered in ") && ping[0].ends_with(" ms"));
    assert_eq!(ping[1..], ["status 0"]);
    let status = shows(&terminals, &server, "status", "status");
    for figure in ["clients.clacks ", "user_clients.rw "] {
        assert!(
            status.iter().any(|line| line.starts_with(figure)),
            "{status:?}"
        );
    }
    assert_eq!(status.last().map(String::as_str), Some("status 0"));
    let clients = shows(&terminals, &server, "clients", "clients");
    assert_eq!(
        clients.len(),
        4,
        "a heading, two clients, the status: {clients:?}"
    );
    let heading: Vec<&str> = clients[0].split_whitespace().collect();
    assert_eq!(heading[..2], ["CID", "USER"]);
    assert!(
        clients.iter().any(|line| line.ends_with("other_[2J")),
        "{clients:?}"
    );
    let wrong = shows(&terminals, &server, "wrong", "clients --jsno");
    let hint = "clacks: there is no flag \"--jsno\"; did you mean \"--json\"?";
    assert_eq!(wrong, [hint, "status 2"]);
}

#[test]
fn signals_of_patterns_appear_at_a_terminal() {
    let terminals = Terminals::new();
    let server = Server::start();
    let what = "listen --patterns -n 2 \"kitchen::*\"";
    terminals.start("listen", (80, 10), &server, "rwpw", what);
    terminals.expect("listen", &["clacks: listening"]);
    let mut other = server.client("rw");
    other.ask("SET kitchen::light=on");
    other.ask("SET garden::light=on");
    terminals.expect("listen", &["clacks: listening", "kitchen::light=on"]);
    other.ask("NOTIFY kitchen::bell");
    let all = [
        "clacks: listening",
        "kitchen::light=on",
        "kitchen::bell",
        "status 0",
        " echo",
    ];
    terminals.expect("listen", &all);
}
