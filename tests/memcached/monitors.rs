//! Managers and the log see the lines of memcached clients, and none that holds a password.

use super::servers::Target;

#[test]
fn monitors_see_the_lines_of_commands_and_no_login() {
    let target = Target::clacksd_with_login();
    let mut monitor = target.server().client("admin");
    monitor.ask("MONITOR");
    let mut client = target.connect(None, "admin");
    client.ask(b"set k 3 0 5\r\nvalue\r\n", b"STORED\r\n");
    client.ask(b"get k  other\n", b"END\r\n");
    for wrong in [
        "Set login 0 0 13\r\nadmin adminpw\r\n",
        " rw rwpw\r\nadmin\r\n",
    ] {
        client.ask(wrong.as_bytes(), b"ERROR\r\nERROR\r\n");
    }
    client.ask(b"nonsense of a client\r\n", b"ERROR\r\n");
    let shown = monitor.ask("PING");
    let lines = shown.iter().filter_map(|line| {
        let (connection, line) = line.strip_prefix("DEBUG ")?.split_once('=')?;
        connection.ends_with(":3").then_some(line)
    });
    let expected = [
        "set k 3 0 5",
        "get k  other",
        "Set login 0 0 13",
        "nonsense of a client",
    ];
    assert_eq!(lines.collect::<Vec<_>>(), expected, "{shown:?}");
}

#[test]
fn the_log_says_which_process_was_wrong() {
    let target = Target::clacksd_with_login();
    let mut client = target.connect(None, "");
    let wrong = b"set a 0 0 7\r\nadmin x\r\n";
    client.ask(wrong, b"CLIENT_ERROR authentication failure\r\n");
    let process = target.server().process.wait_for_log("login_failed: tried");
    let own = format!(", process {} of uid ", std::process::id());
    assert!(
        process.contains("user \"admin\" (") && process.contains(&own),
        "{process}"
    );
}
