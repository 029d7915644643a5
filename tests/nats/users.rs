//! Every permission with every command, and the secrets of users.

use super::servers::Version;
use super::target::{Login, Target};
use crate::support::Conversation;

/// A user, if it may subscribe, and if it may publish.
const USERS: [(&str, bool, bool); 4] = [
    ("rw", true, true),
    ("ro", true, false),
    ("wo", false, true),
    ("mg", false, false),
];

/// The permission that a command needs.
#[derive(Clone, Copy)]
enum Needs {
    Read,
    Write,
    Login,
}

/// A command, what it needs, and the answer where that is missing.
const COMMANDS: [(&str, Needs, &str); 9] = [
    (
        "SUB b 1\r\n",
        Needs::Read,
        "-ERR 'Permissions Violation for Subscription to \"b\"'\r\n",
    ),
    (
        "SUB b.> q 2\r\n",
        Needs::Read,
        "-ERR 'Permissions Violation for Subscription to \"b.>\" using queue \"q\"'\r\n",
    ),
    (
        "PUB c 1\r\nx\r\n",
        Needs::Write,
        "-ERR 'Permissions Violation for Publish to \"c\"'\r\n",
    ),
    (
        "PUB c r 1\r\nx\r\n",
        Needs::Write,
        "-ERR 'Permissions Violation for Publish to \"c\"'\r\n",
    ),
    (
        "HPUB c 12 13\r\nNATS/1.0\r\n\r\nx\r\n",
        Needs::Write,
        "-ERR 'Permissions Violation for Publish to \"c\"'\r\n",
    ),
    ("UNSUB 1\r\n", Needs::Login, ""),
    ("UNSUB 1 5\r\n", Needs::Login, ""),
    ("PONG\r\n", Needs::Login, ""),
    ("CONNECT {}\r\n", Needs::Login, ""),
];

fn connect(target: &Target, user: &str, verbose: bool) -> Conversation {
    let mut connection = target.connect_bare();
    let options =
        format!(r#"{{"verbose":{verbose},"headers":true,"user":"{user}","pass":"{user}pw"}}"#);
    let came = target.ask(&mut connection, format!("CONNECT {options}\r\n").as_bytes());
    assert_eq!(came, if verbose { &b"+OK\r\n"[..] } else { b"" });
    connection
}

/// Sends each command as each user, and looks at the answer and at what others hear of it.
fn every_permission_with_every_command(target: &Target) {
    let mut listener = connect(target, "rw", false);
    target.ask(&mut listener, b"SUB c 9\r\n");
    for (user, may_read, may_write) in USERS {
        for (command, needs, refusal) in COMMANDS {
            for verbose in [false, true] {
                let mut connection = connect(target, user, verbose);
                let is_allowed = match needs {
                    Needs::Read => may_read,
                    Needs::Write => may_write,
                    Needs::Login => true,
                };
                let confirmation = match verbose && command != "PONG\r\n" {
                    true => "+OK\r\n",
                    false => "",
                };
                let expected = if is_allowed { confirmation } else { refusal };
                let answer = target.ask(&mut connection, command.as_bytes());
                let answer = String::from_utf8(answer).expect("text");
                assert_eq!(answer, expected, "{}: {user}, {command}", target.name);
                let heard = target.ask(&mut listener, b"");
                let is_heard = is_allowed && matches!(needs, Needs::Write);
                assert_eq!(
                    !heard.is_empty(),
                    is_heard,
                    "{}: {user}, {command}",
                    target.name
                );
            }
        }
    }
}

#[test]
fn each_command_needs_its_permission() {
    every_permission_with_every_command(&Target::clacksd(Login::Needed));
}

#[test]
fn each_command_of_nats_server_needs_its_permission() {
    every_permission_with_every_command(&Target::nats_server(Version::Debian, Login::Needed));
}

const SECRETS: [&str; 5] = [
    "rwpw",
    "adminpw",
    "wrong-secret",
    "secret-token",
    "secret-jwt",
];

#[test]
fn no_secret_is_in_the_log_or_shown_to_monitors() {
    let target = Target::clacksd_with(Login::Needed, &["-v", "-v"]);
    let mut monitor = target.server().client("admin");
    monitor.ask("MONITOR");
    for options in [
        r#"{"user":"rw","pass":"rwpw"}"#,
        r#"{"user":"rw","pass":"wrong-secret"}"#,
        r#"{"user":"nobody","pass":"wrong-secret"}"#,
        r#"{"pass":"wrong-secret"}"#,
        r#"{"user":"rw"}"#,
        r#"{"auth_token":"secret-token"}"#,
        r#"{"nkey":"secret-token","sig":"secret-token"}"#,
        r#"{"jwt":"secret-jwt"}"#,
        r#"{"user":"rw","pass":"rwpw","auth_token":"secret-token","jwt":"secret-jwt"}"#,
        r#"{"user":"rw","pass":"rwpw""#,
        r#"{"user":"rw","pass":["rwpw"]}"#,
        r#"{"user":"rw","pass":"rwpw"} rwpw"#,
    ] {
        let mut connection = target.connect_bare();
        connection.say(format!("CONNECT {options}\r\n").as_bytes());
        connection.end();
        let mut connection = target.connect_bare();
        connection.say(options.as_bytes());
        connection.end();
    }
    target.connect_bare().say(b"PASS rwpw\r\n");
    let log = target.server().process.log();
    let shown = monitor.ask("PING");
    for line in log.iter().chain(&shown) {
        for secret in SECRETS {
            assert!(!line.contains(secret), "{line}");
        }
    }
    assert!(
        log.iter().any(|line| line.contains("auth_token")),
        "{log:?}"
    );
}
