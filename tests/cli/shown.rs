//! Commands of clacks as somebody at a terminal sees them.

use super::terminals::Terminals;
use crate::support::{Server, bare_clacks, run, wait_until};
use regex::Regex;

const WIDE: (u32, u32) = (120, 20);

/// Waits until the last lines on the screen match these patterns.
fn expect_end(terminals: &Terminals, name: &str, patterns: &[&str]) {
    let patterns: Vec<Regex> = patterns
        .iter()
        .map(|pattern| Regex::new(&format!("^{pattern}$")).expect("a pattern"))
        .collect();
    wait_until(&format!("{name} shows {patterns:?}"), || {
        let screen = terminals.screen(name);
        let start = screen.len().checked_sub(patterns.len());
        let end = start.map(|start| &screen[start..]);
        end.is_some_and(|end| {
            let mut pairs = end.iter().zip(&patterns);
            pairs.all(|(line, pattern)| pattern.is_match(line))
        })
    });
}

#[test]
fn the_help_of_a_command_fits_a_terminal() {
    let terminals = Terminals::new();
    let server = Server::start();
    for command in ["listen", "remove", "bench"] {
        terminals.start(command, (80, 50), &server, "", &format!("help {command}"));
        let help = run(&mut bare_clacks(&["help", command])).stdout;
        let lines: Vec<&str> = help.lines().chain(["status 0", " echo"]).collect();
        terminals.expect(command, &lines);
    }
    terminals.start("get", WIDE, &server, "", "get a");
    let hint = "clacks: there is no command \"get\"; did you mean \"retrieve\"?";
    terminals.expect("get", &[hint, "status 2", " echo"]);
}

#[test]
fn values_and_figures_are_shown_and_control_characters_escaped() {
    let terminals = Terminals::new();
    let server = Server::start();
    let mut client = server.client("rw");
    client.ask("STORE a=\u{1b}[2Jx");
    client.ask("STORE b=PAGECAMELCLACKSB64:dHdvCmxpbmVz");
    terminals.start("values", WIDE, &server, "rwpw", "retrieve b none a");
    wait_until("all is shown", || {
        let mut lines = terminals.screen("values");
        lines.sort();
        // Standard error is not buffered, so its line comes earlier.
        let missing = "clacks: there is no entry \"none\"";
        lines == [" echo", "\\x1b[2Jx", missing, "lines", "status 1", "two"]
    });
    terminals.start("raw", WIDE, &server, "rwpw", "retrieve --raw b b");
    terminals.expect("raw", &["two", "linestwo", "linesstatus 0", " echo"]);
    terminals.start("long", WIDE, &server, "rwpw", "keys --long");
    let rows = [
        "SIZE  AGE  TTL  NAME",
        r" {3}5 +\d+   -1  a",
        r" {3}9 +\d+   -1  b",
    ];
    expect_end(
        &terminals,
        "long",
        &[&rows[..], &["status 0", " echo"]].concat(),
    );
    terminals.start("count", WIDE, &server, "rwpw", "decrement n 2.5");
    terminals.expect("count", &["-2.5", "status 0", " echo"]);
    terminals.start("remove", WIDE, &server, "rwpw", "remove --prefix a");
    terminals.expect("remove", &["status 0", " echo"]);
    assert_eq!(server.clacks_output("rw", &["keys"]), "b\nn\n");
    terminals.start("refused", WIDE, &server, "rwpw", "clear");
    let refused = "clacks: the server refused it: permission_denied: for CLEARCACHE the user \"rw\" needs the \
        permission to manage";
    terminals.expect("refused", &[refused, "status 4", " echo"]);
}

#[test]
fn a_listener_shows_what_becomes_of_its_connection() {
    let terminals = Terminals::new();
    let mut server = Server::start();
    server.client("rw").ask("STORE a=1");
    terminals.start("listens", WIDE, &server, "rwpw", "listen --with-values a");
    terminals.expect("listens", &["a=1", "clacks: listening"]);
    server.client("rw").ask("SET a=2");
    terminals.expect("listens", &["a=1", "clacks: listening", "a=2"]);
    server = server.kill_and_restart();
    let lost = r"clacks: .*; dialling again";
    expect_end(
        &terminals,
        "listens",
        &["a=2", lost, "clacks: connected again"],
    );
    server.client("rw").ask("SET a=3");
    expect_end(&terminals, "listens", &["clacks: connected again", "a=3"]);
    terminals.signal("listens", libc::SIGINT);
    expect_end(&terminals, "listens", &["a=3", ".*status 130", " echo"]);
}

#[test]
fn a_listener_shows_times_and_ends_after_its_own() {
    let terminals = Terminals::new();
    let server = Server::start();
    let command = "listen --timestamps --for 2 a";
    terminals.start("listens", WIDE, &server, "rwpw", command);
    let time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z";
    let listening = format!("clacks: {time} listening");
    expect_end(&terminals, "listens", &[&listening]);
    server.client("rw").ask("SET a=1");
    let signal = format!("{time} a=1");
    let all = [&*listening, &signal, "status 0", " echo"];
    expect_end(&terminals, "listens", &all);
    let json = "--json listen --for 0.2 a";
    terminals.start("json", WIDE, &server, "rwpw", json);
    terminals.expect("json", &["{\"type\":\"listening\"}", "status 0", " echo"]);
}
