//! The commands that the README and clacks(1) show, run by a shell as they are printed there; and the library's example
//! programs.

use crate::support::{Running, Server, Setup, text};
use clacks::{Client, Options};
use regex::Regex;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

#[allow(dead_code)]
#[path = "../../src/client/examples/chatbot.rs"]
mod chatbot;
#[allow(dead_code)]
#[path = "../../src/client/examples/clock.rs"]
mod clock;

/// A command as it is shown, and what it prints.
#[derive(Debug)]
struct Shown {
    command: String,
    output: Vec<String>,
}

/// The commands in blocks of text, behind `$ `, each with the lines below it.
fn shown(blocks: &[Vec<String>]) -> Vec<Shown> {
    let mut all: Vec<Shown> = Vec::new();
    for block in blocks.iter().filter(|block| block[0].starts_with("$ ")) {
        for line in block {
            match (line.strip_prefix("$ "), all.last_mut()) {
                (Some(command), _) => all.push(Shown {
                    command: command.to_owned(),
                    output: Vec::new(),
                }),
                (None, Some(last)) => last.output.push(line.clone()),
                (None, None) => unreachable!("a block begins with a command"),
            }
        }
    }
    all
}

fn file(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).expect("a source file")
}

/// Returns the blocks of a text: consecutive lines for which `is_inside` returns a line, as it returns them.
fn blocks(text: &str, mut is_inside: impl FnMut(&str) -> Option<String>) -> Vec<Vec<String>> {
    let mut blocks = vec![Vec::new()];
    for line in text.lines() {
        match is_inside(line) {
            Some(line) => blocks.last_mut().expect("there is always one").push(line),
            None => blocks.push(Vec::new()),
        }
    }
    blocks.retain(|block| !block.is_empty());
    blocks
}

/// A shell in which `clacks` is the one under test, in a folder of its own.
fn shell(server: &Server, command: &str) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_clacks"));
    let folder = program.parent().expect("it is in a folder");
    let path = format!(
        "{}:{}",
        text(folder),
        std::env::var("PATH").unwrap_or_default()
    );
    let mut shell = Command::new("sh");
    shell.args(["-c", command]);
    shell.current_dir(server.setup.folder.path());
    shell.env("CLACKS_SERVER", server.address());
    shell
        .env_remove("CLACKS_USER")
        .env_remove("CLACKS_PASSWORD");
    shell.env("PATH", path);
    shell
}

/// Does all of it in one shell, but what goes on until it is interrupted, which gets one of its own.
fn try_out(commands: &[Shown]) {
    let setup = Setup::bare();
    setup.write_secret("password", "secret\n");
    setup.write_secret("users", "mg:manage:mgpw\n");
    let (password, users) = (text(&setup.path("password")), text(&setup.path("users")));
    let flags = [
        "--user",
        "clacks",
        "--password-file",
        &password,
        "--users",
        &users,
    ];
    let server = setup.flags(&flags).start();
    let mut main = Running::start(&mut shell(&server, "exec 2>&1; exec sh"));
    let mut stdin = main.stdin.take().expect("a pipe");
    let mut listeners = Vec::new();
    for Shown { command, output } in commands {
        if command.starts_with("clacks listen") {
            let mut monitor = server.client("mg");
            monitor.ask("MONITOR");
            let mut listen = shell(&server, &format!("exec {command}"));
            listeners.push((
                Running::start(listen.env("CLACKS_PASSWORD", "secret")),
                output,
            ));
            while !monitor.next_line().expect("it lives").contains("=LISTEN ") {}
            continue;
        }
        writeln!(stdin, "{command}\necho \"end of it\"").expect("a shell that reads");
        let mut lines = Vec::new();
        loop {
            match main.next_line().expect("a line of the shell") {
                line if line == "end of it" => break,
                line => lines.push(line),
            }
        }
        assert_eq!(&lines, output, "{command}");
    }
    for (listener, output) in listeners {
        for line in output {
            assert_eq!(listener.next_line().as_deref(), Some(&**line));
        }
    }
}

#[test]
fn the_readme_shows_what_happens() {
    let readme = file("README.md");
    let (_, section) = readme
        .split_once("\n## The command-line client\n")
        .expect("that section");
    let (section, _) = section.split_once("\n## ").expect("another one");
    let mut is_inside = false;
    let commands = shown(&blocks(section, |line| {
        let is_fence = line.starts_with("```");
        is_inside ^= is_fence;
        (is_inside && !is_fence).then(|| line.to_owned())
    }));
    assert!(commands.len() > 10, "{commands:?}");
    assert_eq!(section.matches("\n$ ").count(), commands.len());
    try_out(&commands);
}

#[test]
fn the_manual_shows_what_happens() {
    let page = file("man/clacks.1");
    let (_, section) = page.split_once(".Sh EXAMPLES\n").expect("that section");
    let (section, _) = section.split_once(".Sh ").expect("another one");
    let block = Regex::new(r"(?s)\.Bd -literal -offset indent\n(.*?)\n\.Ed").expect("a pattern");
    let blocks: Vec<Vec<String>> = block
        .captures_iter(section)
        .map(|found| {
            found[1]
                .lines()
                .map(|line| line.replace("\\e", "\\"))
                .collect()
        })
        .collect();
    let commands = shown(&blocks);
    assert!(commands.len() > 20, "{commands:?}");
    assert_eq!(section.matches("\n$ ").count(), commands.len());
    assert!(!section.contains(".Dl clacks"));
    try_out(&commands);
}

fn client(server: &Server) -> Client {
    let options = Options::new(&server.address()).expect("an address");
    Client::connect(options.login("rw", "rwpw")).expect("the server lets it in")
}

#[test]
fn the_clock_tells_the_time_each_second() {
    let server = Server::start();
    let mut listener = server.client("rw");
    listener.ask("LISTEN example::clock");
    listener.ask("LISTEN example::notify");
    let mut clock = client(&server);
    let time = Regex::new(r"^SET example::clock=\d\d:\d\d:\d\d$").expect("a pattern");
    let mut times = Vec::new();
    for _ in 0..3 {
        clock::tick(&mut clock).expect("it goes on");
        times.push(listener.next_line().expect("it lives"));
        // The chat among the examples of Net::Clacks listens to it.
        listener.expect("NOTIFY example::notify");
    }
    assert!(times.iter().all(|line| time.is_match(line)), "{times:?}");
    times.dedup();
    assert_eq!(times.len(), 3, "{times:?}");
    assert!(listener.ask("RETRIEVE example::clock")[0].starts_with("RETRIEVED example::clock="));
}

#[test]
fn the_robot_answers_who_greets_it() {
    let server = Server::start();
    let mut ann = server.client("rw");
    ann.ask("LISTEN example::chat");
    let mut robot = client(&server);
    robot.listen("example::chat").expect("it is sent");
    robot.sync().expect("it is worked off");
    while robot.next(Duration::ZERO).expect("it lives").is_some() {}
    for line in [
        "ann: Hello all",
        "ann: good",
        "robot: hello",
        "ann: how long?",
    ] {
        ann.send(&format!("SET example::chat={line}"));
        chatbot::attend(&mut robot).expect("it goes on");
    }
    ann.expect("SET example::chat=robot: hello ann");
    ann.expect("SET example::chat=robot: ann has said 9 letters");
}
