//! The example programs of clacksd-nats(7), as they are printed there, run beside clacks.

use crate::runner::needs_made;
use crate::support::{Running, Setup};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const PYTHON: &str = "weather.py";
const JAVASCRIPT: &str = "weather.mjs";

fn sources() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn example(name: &str) -> PathBuf {
    sources().join("tests/nats/examples").join(name)
}

/// The folder in which `make nats-clients` installs client libraries.
fn libraries() -> PathBuf {
    if let Some(folder) = env::var_os("NATS_CLIENTS") {
        return folder.into();
    }
    let home = env::var("HOME").unwrap_or_default();
    format!("{home}/.cache/clacksd/nats-clients").into()
}

/// Ends the test as ignored where the libraries of one language are not installed.
fn needs_libraries(installed: &str) {
    needs_made(libraries().join(installed).exists(), "nats-clients");
}

/// Runs a command that prints the messages of `weather.>` and publishes one to `weather.graz`. A Clacks client must get
/// that message, and the program must get one of a Clacks client.
fn talks_with_clacks(mut program: Command) {
    let setup = Setup::new().flags(&["--nats", "tcp://127.0.0.1:0", "--nats-user", "rw"]);
    let server = setup.start();
    let line = server.process.log_line("nats listening on tcp://");
    let line = line.expect("the listener is logged before \"ready\"");
    let port = line.rsplit(':').next().expect("a port");
    let listen = ["listen", "weather::graz"];
    let listener = server.clacks_until("ro", &listen, "LISTEN weather::graz");

    let program = Running::start(program.arg(format!("nats://127.0.0.1:{port}")));
    // The program hears its own message, so its subscription is in place.
    assert_eq!(program.next_line().as_deref(), Some("weather.graz 19.5"));
    assert_eq!(listener.next_line().as_deref(), Some("weather::graz=19.5"));
    server.clacks_output("wo", &["set", "weather::vienna", "21.5"]);
    assert_eq!(program.next_line().as_deref(), Some("weather.vienna 21.5"));
}

#[test]
fn the_manual_shows_the_programs() {
    let page = fs::read_to_string(sources().join("man/clacksd-nats.7")).expect("a manual page");
    for name in [PYTHON, JAVASCRIPT] {
        let program = fs::read_to_string(example(name)).expect("a program");
        let display = format!("\n.Bd -literal -offset indent\n{program}.Ed\n");
        assert!(page.contains(&display), "{name}");
    }
}

#[test]
fn the_program_in_python_talks_with_clacks() {
    needs_libraries("python/installed");
    let mut program = Command::new(libraries().join("python/bin/python"));
    program.arg(example(PYTHON));
    // Each line comes through the pipe at once.
    program.env("PYTHONUNBUFFERED", "1");
    talks_with_clacks(program);
}

#[test]
fn the_program_in_javascript_talks_with_clacks() {
    needs_libraries("node_modules/.package-lock.json");
    // Node.js looks for the libraries of a module beside its file, and in no folder of the environment.
    let folder = tempfile::tempdir().expect("a temporary folder");
    let copy = folder.path().join(JAVASCRIPT);
    fs::copy(example(JAVASCRIPT), &copy).expect("a folder of our own");
    let modules = libraries().join("node_modules");
    symlink(modules, folder.path().join("node_modules")).expect("a folder of our own");
    let mut program = Command::new("node");
    program.arg(copy);
    talks_with_clacks(program);
}
