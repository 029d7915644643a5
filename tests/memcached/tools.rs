//! The tools of libmemcached and of memcached, which administrators and scripts use.

use super::servers::Clacksd;
use crate::runner::needs;
use crate::support::{Ended, run};
use std::fs;
use std::process::Command;

/// Where Debian has memcached's own tool.
const MEMCACHED_TOOL: &str = "/usr/share/memcached/scripts/memcached-tool";

/// A tool of libmemcached.
fn tool(server: &Clacksd, name: &str, arguments: &[&str]) -> Ended {
    let mut command = Command::new(name);
    command.arg(format!("--servers=127.0.0.1:{}", server.port));
    run(command.args(arguments))
}

#[track_caller]
fn succeeds(ended: Ended) -> String {
    assert_eq!((ended.status, &*ended.stderr), (Some(0), ""));
    ended.stdout
}

#[test]
fn a_file_is_copied_shown_looked_for_touched_and_removed() {
    needs("libmemcached-tools");
    let server = Clacksd::start();
    let file = server.path("afile");
    fs::write(&file, "content").expect("a folder of our own");
    let path = file.to_str().expect("a plain path");
    let prints = |name, arguments: &[&str]| succeeds(tool(&server, name, arguments));
    let fails = |name, arguments: &[&str]| {
        let ended = tool(&server, name, arguments);
        assert_eq!(ended.status, Some(1), "{name}: {ended:?}");
    };
    prints("memcping", &[]);
    fails("memcexist", &["afile"]);
    prints("memccp", &[path]);
    assert_eq!(prints("memccat", &["afile"]), "content\n");
    prints("memcexist", &["afile"]);
    assert_eq!(prints("memcdump", &[]), "afile\n");
    prints("memctouch", &["--expire=100", "afile"]);
    fails("memctouch", &["nothing"]);
    // It asks by storing what has expired long ago.
    prints("memcexist", &["afile"]);
    assert_eq!(prints("memccat", &["afile"]), "content\n");
    prints("memcrm", &["afile"]);
    fails("memcrm", &["afile"]);
    fails("memccat", &["afile"]);
    prints("memccp", &[path]);
    prints("memcflush", &[]);
    fails("memccat", &["afile"]);
}

#[test]
fn memcstat_prints_the_figures() {
    needs("libmemcached-tools");
    let server = Clacksd::start();
    let printed = succeeds(tool(&server, "memcstat", &[]));
    for figure in [
        "pid: ",
        "version: 1.6.45-clacksd-",
        "curr_items: 0",
        "threads: 1",
    ] {
        assert!(printed.contains(figure), "no {figure}in {printed}");
    }
}

#[test]
fn memccapable_passes_all_tests_but_those_of_surplus_words_of_delete() {
    needs("libmemcached-tools");
    let server = Clacksd::start();
    let mut command = Command::new("memccapable");
    command.args(["-a", "-h", "127.0.0.1", "-p"]);
    let ended = run(command.arg(server.port.to_string()));
    assert_eq!(ended.stdout.matches("[pass]").count(), 25, "{ended:?}");
    // The names are on standard output, and those of failed tests do not end their line there.
    let failed = format!("{:<40}{:<40}", "ascii delete", "ascii delete noreply");
    assert!(ended.stdout.contains(&failed), "{ended:?}");
    assert_eq!(ended.stderr, "[FAIL]\n[FAIL]\n2 of 27 tests failed\n");
}

#[test]
fn memcaslap_gets_every_value_as_it_was_set() {
    needs("libmemcached-tools");
    let server = Clacksd::start();
    let mut command = Command::new("memcaslap");
    command.args(["-x", "20000", "-T", "1", "-c", "16", "-v", "1", "-e", "0.1"]);
    let ended = run(command.args(["-s", &format!("127.0.0.1:{}", server.port)]));
    assert_eq!(ended.status, Some(0), "{ended:?}");
    for figure in [
        "get_misses: 0\n",
        "verify_misses: 0\n",
        "verify_failed: 0\n",
    ] {
        assert!(ended.stdout.contains(figure), "{ended:?}");
    }
}

/// Output of memcached's own tool. It says on standard error what it is about to print.
fn memcached_tool(port: u16, arguments: &[&str]) -> String {
    let mut command = Command::new(MEMCACHED_TOOL);
    command.arg(format!("127.0.0.1:{port}")).args(arguments);
    let ended = run(&mut command);
    assert_eq!(ended.status, Some(0), "{ended:?}");
    ended.stdout
}

/// The words of a line, at most one of which begins with that one.
fn line_of<'a>(printed: &'a str, first: &str) -> Vec<&'a str> {
    let mut lines = printed
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let found = lines.find(|words| words.first() == Some(&first));
    found.unwrap_or_else(|| panic!("no {first} in {printed}"))
}

#[test]
fn memcached_tool_shows_classes_figures_settings_and_entries() {
    needs("memcached");
    let server = Clacksd::start();
    server.ask("set k 7 0 5\r\nvalue\r\n", "STORED\r\n");
    let prints = |arguments: &[&str]| memcached_tool(server.port, arguments);
    let class = prints(&["display"]);
    assert_eq!(line_of(&class, "1")[4], "1", "entries in {class}");
    assert_eq!(
        line_of(&prints(&["stats"]), "curr_items"),
        ["curr_items", "1"]
    );
    assert_eq!(line_of(&prints(&["settings"]), "num_threads")[1], "1");
    assert_eq!(line_of(&prints(&["sizes"]), "sizes_status")[1], "disabled");
    let dump = prints(&["dump"]);
    let lines: Vec<&str> = dump.lines().map(str::trim_end).collect();
    assert_eq!(lines, ["add k 7 0 5", "value"]);
    assert!(prints(&["keys"]).contains("key=k exp=-1 la="));
}
