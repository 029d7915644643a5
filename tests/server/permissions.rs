//! The permission table, every command with every combination of permissions: what is answered, and
//! whether it had its effect.

use crate::support::{Client, Server, Setup, wait_until};

/// A command, the permission it needs, and how to see its effect.
struct Case {
    command: &'static str,
    needs: &'static str,
    /// Sent by the primary user before.
    before: &'static [&'static str],
    /// Asked by the primary user afterwards.
    question: &'static str,
    /// The answers when the command was permitted, and when it wasn't.
    permitted: &'static [&'static str],
    refused: &'static [&'static str],
    /// The lines that the client itself receives when the command is permitted.
    answer: &'static [&'static str],
}

const fn case(command: &'static str, needs: &'static str) -> Case {
    Case {
        command,
        needs,
        before: &[],
        question: "PING",
        permitted: &[],
        refused: &[],
        answer: &[],
    }
}

fn reading_cases() -> Vec<Case> {
    vec![
        Case {
            before: &["STORE v=5"],
            answer: &["RETRIEVED v=5"],
            ..case("RETRIEVE v", "read")
        },
        Case {
            before: &["CLEARCACHE", "STORE v=5"],
            answer: &["KEYLISTSTART", "KEY v", "KEYLISTEND"],
            ..case("KEYLIST", "read")
        },
        Case {
            answer: &["KEYINFOSTART", "KEYINFOEND"],
            ..case("KEYINFO none", "read")
        },
        Case {
            before: &["STORE v=5"],
            answer: &["TTL v=-1"],
            ..case("TTL v", "read")
        },
        case("PLISTEN a::*", "read"),
        case("PUNLISTEN a::*", "read"),
    ]
}

fn cases() -> Vec<Case> {
    let stored = |command, permitted| Case {
        before: &["STORE v=5"],
        question: "RETRIEVE v",
        permitted,
        refused: &["RETRIEVED v=5"],
        ..case(command, "write")
    };
    let writing_and_others = vec![
        stored("EXPIRE v=0.000001", &["NOTRETRIEVED v"]),
        stored("STORE v=6", &["RETRIEVED v=6"]),
        stored("REMOVE v", &["NOTRETRIEVED v"]),
        stored("INCREMENT v=2", &["RETRIEVED v=7"]),
        stored("DECREMENT v=2", &["RETRIEVED v=3"]),
        stored("SETANDSTORE v=8", &["RETRIEVED v=8"]),
        Case {
            before: &["LISTEN s"],
            permitted: &["SET s=1"],
            ..case("SET s=1", "write")
        },
        Case {
            before: &["LISTEN s"],
            permitted: &["NOTIFY s"],
            ..case("NOTIFY s", "write")
        },
        Case {
            permitted: &["OVERHEAD GN name"],
            ..case("OVERHEAD GN name", "write")
        },
        Case {
            before: &["STORE v=5"],
            question: "RETRIEVE v",
            permitted: &["NOTRETRIEVED v"],
            refused: &["RETRIEVED v=5"],
            ..case("CLEARCACHE", "manage")
        },
        case("CLIENTDISCONNECT nobody", "manage"),
        case("OVERHEAD S 3000", "manage"),
        case("KEYSYNC 1 1 U v=1", "interclacks"),
        case("PING", ""),
        case("NOPING", ""),
        case("NOP", ""),
        Case {
            answer: &["FLUSHED x"],
            ..case("FLUSH x", "")
        },
        case("CLACKS again", ""),
        case("OVERHEAD M text", ""),
        case("OVERHEAD N text", ""),
        case("OVERHEAD DGCSI 1", ""),
        case("OVERHEAD GCSI 0", ""),
    ];
    reading_cases()
        .into_iter()
        .chain(writing_and_others)
        .collect()
}

/// Every combination, and what the primary user has.
fn combinations() -> Vec<Vec<&'static str>> {
    let mut all: Vec<Vec<&str>> = (0..8)
        .map(|bits| {
            let permissions = ["read", "write", "manage"].into_iter().enumerate();
            permissions
                .filter(|(bit, _)| bits >> bit & 1 == 1)
                .map(|(_, permission)| permission)
                .collect()
        })
        .collect();
    all.push(vec!["read", "write", "manage", "interclacks"]);
    all
}

fn server_with_all_users() -> Server {
    let setup = Setup::new();
    let mut users = String::new();
    for permissions in combinations()
        .iter()
        .filter(|permissions| !permissions.contains(&"interclacks"))
    {
        let name = user_name(permissions);
        users += &format!("{name}:{}:{name}pw\n", permissions.join(","));
    }
    setup.write_secret("users", &users);
    setup.start()
}

fn user_name(permissions: &[&str]) -> String {
    if permissions.contains(&"interclacks") {
        "admin".to_owned()
    } else {
        format!("may-{}", permissions.join("-"))
    }
}

#[test]
fn every_command_with_every_combination_of_permissions() {
    let server = server_with_all_users();
    let mut checked = 0;
    for permissions in combinations() {
        let mut admin = server.client("admin");
        let mut client = server.client(&user_name(&permissions));
        for case in cases() {
            for line in case.before {
                assert_eq!(admin.ask(line), [""; 0], "{line}");
            }
            let is_permitted = case.needs.is_empty() || permissions.contains(&case.needs);
            let answer = if is_permitted {
                case.answer
            } else {
                &["OVERHEAD E permission_denied"]
            };
            assert_eq!(
                client.ask(case.command),
                answer,
                "{} with {permissions:?}",
                case.command
            );
            let effect = if is_permitted {
                case.permitted
            } else {
                case.refused
            };
            assert_eq!(
                admin.ask(case.question),
                effect,
                "after {} with {permissions:?}",
                case.command
            );
            assert_eq!(admin.ask("UNLISTEN s"), [""; 0]);
            checked += 1;
        }
    }
    assert_eq!(checked, 9 * 28);
}

/// The commands whose effect is on the connection itself, or on others'.
#[test]
fn listening_monitoring_and_managing_with_every_combination_of_permissions() {
    let server = server_with_all_users();
    const DENIED: [&str; 1] = ["OVERHEAD E permission_denied"];
    for permissions in combinations() {
        let user = user_name(&permissions);
        let may = |permission: &str| permissions.contains(&permission);
        let mut admin = server.client("admin");
        let mut client = server.client(&user);

        let answer = client.ask("LISTEN s");
        assert_eq!(answer.is_empty(), may("read"), "{answer:?}");
        admin.ask("SET s=heard");
        let heard = client.flush();
        assert_eq!(
            heard,
            if may("read") {
                vec!["SET s=heard"]
            } else {
                vec![]
            },
            "{permissions:?}"
        );
        let answer = client.ask("UNLISTEN s");
        assert_eq!(
            answer,
            if may("read") { &[][..] } else { &DENIED },
            "{permissions:?}"
        );
        admin.ask("SET s=unheard");
        assert_eq!(client.flush(), [""; 0]);

        let mut victim = server.client("admin");
        let cid = cid_of(&mut admin, "test of admin");
        let answer = client.ask(&format!("CLIENTDISCONNECT {cid}"));
        if may("manage") {
            assert!(answer.is_empty() || user == "admin", "{answer:?}");
            // Of the two connections of the primary user, the list's last one of that name was meant.
            let ended = [victim.until_closed()];
            assert_eq!(ended, [vec!["QUIT"]]);
        } else {
            assert_eq!(answer, DENIED);
            assert_eq!(victim.flush(), [""; 0]);
        }

        let answer = client.ask("CLIENTLIST");
        if may("manage") {
            assert_eq!(
                (
                    answer.first().map(String::as_str),
                    answer.last().map(String::as_str)
                ),
                (Some("CLIENTLISTSTART"), Some("CLIENTLISTEND"))
            );
        } else {
            assert_eq!(answer, DENIED);
        }

        let answer = client.ask("MONITOR");
        admin.ask("NOTIFY seen");
        let seen = client.flush();
        if may("manage") {
            assert!(
                answer.iter().any(|line| line.ends_with("=MONITOR")),
                "{answer:?}"
            );
            assert!(
                seen.iter().any(|line| line.ends_with("=NOTIFY seen")),
                "{seen:?}"
            );
        } else {
            assert_eq!((answer, seen), (vec![DENIED[0].to_owned()], vec![]));
        }
        let answer = client.ask("UNMONITOR");
        assert_eq!(answer.contains(&DENIED[0].to_owned()), !may("manage"));
        client.flush();
        admin.ask("NOTIFY unseen");
        assert_eq!(client.flush(), [""; 0]);

        let mut other = server.client("admin");
        let answer = client.ask("OVERHEAD C 1");
        if may("manage") {
            assert_eq!(answer, ["QUIT"]);
            assert_eq!(other.until_closed(), ["QUIT"]);
            assert_eq!(admin.until_closed(), ["QUIT"]);
        } else {
            assert_eq!(answer, DENIED);
            assert_eq!(other.flush(), [""; 0]);
        }
    }
}

/// The CID of the newest connection that calls itself so.
fn cid_of(admin: &mut Client, client_info: &str) -> String {
    let list = admin.ask("CLIENTLIST");
    let is_it = |line: &&String| line.contains(&format!("CLIENTINFO={client_info};"));
    let serial = |line: &&String| -> u64 {
        let cid = line.split(';').next().expect("fields");
        cid.rsplit(':')
            .next()
            .and_then(|serial| serial.parse().ok())
            .expect("a serial number")
    };
    let newest = list
        .iter()
        .filter(is_it)
        .max_by_key(serial)
        .expect("a connection of that name");
    newest
        .split(';')
        .next()
        .and_then(|field| field.strip_prefix("CLIENT CID="))
        .expect("the first field")
        .to_owned()
}

/// The answer is one word; whoever runs the server sees the rest.
#[test]
fn the_log_says_who_lacks_which_permission_for_what() {
    for (user, line, verb, permission) in [
        ("ro", "STORE secret-name=secret-value", "STORE", "write"),
        ("wo", "KEYLIST", "KEYLIST", "read"),
        ("rw", "CLEARCACHE", "CLEARCACHE", "manage"),
        ("ro", "OVERHEAD GS 5", "OVERHEAD", "write and manage"),
        ("mg", "OVERHEAD GS 5", "OVERHEAD", "write"),
        ("mg", "OVERHEAD I 1", "OVERHEAD", "interclacks"),
    ] {
        // One for each: so few lines a second are logged.
        let server = Server::start();
        assert_eq!(
            server.client(user).ask(line),
            ["OVERHEAD E permission_denied"]
        );
        let said = format!("permission_denied: {verb} needs the permission {permission} ");
        let by = format!("(user {user}, unixdomainsocket:");
        wait_until("the log says so", || {
            let log = server.process.log();
            let is_it = |line: &String| line.contains(&said) && line.contains(&by);
            log.iter().any(|line| line.contains("WARN") && is_it(line))
        });
        let log = server.process.log().concat();
        assert!(!log.contains("secret-"), "{log}");
    }
    // Many in a moment are a few lines, and a number.
    let server = Server::start();
    let mut client = server.client("ro");
    let lines = "STORE a=1\r\n".repeat(1000);
    client.send_bytes(lines.as_bytes());
    assert_eq!(client.flush().len(), 1000);
    let log = server.process.log();
    let logged = log
        .iter()
        .filter(|line| line.contains("permission_denied: "));
    assert!(logged.count() < 100, "{log:?}");
}

#[test]
fn a_new_login_replaces_the_permissions() {
    let server = Server::start();
    let mut admin = server.client("admin");
    let mut client = server.client("admin");
    client.ask("LISTEN s");
    client.ask("MONITOR");
    client.send(&format!("OVERHEAD A {}", crate::support::token("wo")));
    client.expect_after_others("OVERHEAD O Welcome!");
    admin.ask("SET s=1");
    assert_eq!(
        client.flush(),
        [""; 0],
        "neither a listener nor a monitor any more"
    );
    assert_eq!(client.ask("RETRIEVE s"), ["OVERHEAD E permission_denied"]);
    assert_eq!(client.ask("STORE s=2"), [""; 0]);
    client.send("OVERHEAD A wrong");
    assert_eq!(client.until_closed(), ["OVERHEAD F Login failed!"]);
}
