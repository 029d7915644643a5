//! No secret is ever shown: not in the argument list, the log, the status, to a monitor or in an
//! answer.

use crate::support::tls::VERSIONS;
use crate::support::{Client, Identity, Server, Setup, run, text, wait_until};
use clacks::protocol::token::Token;
use std::fs;
use std::time::Duration;

const PRIMARY: &str = "primary-secret-of-both";
const PLAIN: &str = "plain-secret-in-the-file";
const HASHED: &str = "hashed-secret-in-the-file";
/// The SHA-256 of [`HASHED`].
const HASH: &str = "8356d8f79b81b7779e2b7b33cff9c54fb0b9d4f1afde1e4c2173df41e7b27f7c";
const WRONG: &str = "wrong-secret-of-a-stranger";
const BROKEN: &str = "broken-secret-in-a-line";
const LATER: &str = "later-secret-after-a-signal";

fn tokens() -> Vec<String> {
    [
        ("admin", PRIMARY),
        ("plain", PLAIN),
        ("hashed", HASHED),
        ("plain", WRONG),
        ("nobody", WRONG),
        ("admin", LATER),
    ]
    .into_iter()
    .map(|(user, password)| Token::encode(user.as_bytes(), password.as_bytes()))
    .collect()
}

/// Everything that may not be shown, in every form it has.
fn secrets(keys: &[&str]) -> Vec<String> {
    let passwords = [PRIMARY, PLAIN, HASHED, WRONG, BROKEN, LATER];
    let mut secrets: Vec<String> = passwords.map(str::to_owned).to_vec();
    secrets.push(HASH.to_owned());
    for token in tokens() {
        let (_, password) = token.split_once(':').expect("two parts");
        secrets.push(password.to_owned());
        secrets.push(token);
    }
    for key in keys {
        let lines = key.lines().filter(|line| !line.starts_with("-----"));
        secrets.extend(lines.map(str::to_owned));
    }
    secrets
}

fn log_in(mut client: Client, token: &str) -> Client {
    client.send("CLACKS somebody");
    client.send(&format!("OVERHEAD A {token}"));
    client.expect_after_others("OVERHEAD O Welcome!");
    client
}

/// Returns a client that has logged in with the token and monitors the server.
fn monitor(server: &Server, token: &str) -> Client {
    let mut monitor = log_in(server.stranger(), token);
    monitor.ask("MONITOR");
    monitor
}

fn fail(mut client: Client, line: &str) -> Vec<String> {
    client.send(line);
    client.until_closed()
}

#[test]
fn no_secret_is_shown_anywhere() {
    let tokens = tokens();
    let [primary, plain, hashed, wrong, nobody, later] = &tokens[..] else {
        panic!("as many as there are");
    };
    let (identity, another) = (
        Identity::self_signed(&["127.0.0.1"]),
        Identity::self_signed(&["127.0.0.1"]),
    );
    let users = format!("plain:read,write:{PLAIN}\nhashed:manage:sha256:{HASH}\n");

    // Everything is logged, the one way and the other.
    let setup = Setup::new().with_tls(&identity).flags(&["-v", "-v"]);
    setup.write_secret("password", &format!("{PRIMARY}\n"));
    setup.write_secret("users", &users);
    let master = setup.start();
    let setup = Setup::bare().with_tls(&another);
    setup.write_secret("users", &users);
    setup.write_secret("ca.pem", &identity.certificates);
    let (users_file, ca) = (text(&setup.path("users")), text(&setup.path("ca.pem")));
    let address = format!("tls://127.0.0.1:{}", master.tls_port());
    let slave = setup
        .flags(&["--users", &users_file, "--interclacks-reconnect", "0.2"])
        .flags(&["--master", &address, "--master-ca", &ca])
        .start_changed(|command| {
            command
                .env("CLACKSD_USER", "admin")
                .env("CLACKSD_PASSWORD", PRIMARY)
                .env("RUST_LOG", "trace");
        });
    let mut shown: Vec<String> = Vec::new();
    let mut monitors = [monitor(&master, primary), monitor(&slave, primary)];
    wait_until("the link is up", || {
        slave.status_line().contains(" uplink=up ")
    });

    for server in [&master, &slave] {
        let connect = |kind: usize| match kind {
            0 => server.stranger(),
            1 => server.tcp_stranger(),
            _ => Client::tls(server.tls_port(), VERSIONS[kind % 2]),
        };
        for kind in 0..4 {
            for token in [primary, plain] {
                let mut client = log_in(connect(kind), token);
                client.ask("STORE a=1");
                // In anew, as somebody else, and with flags that would have it shown or passed on.
                client.send(&format!("OVERHEAD A {plain}"));
                client.send(&format!("OVERHEAD AGU {plain}"));
                client.send(&format!("OVERHEAD GA {primary}"));
                client.send(&format!("OVERHEAD AD {primary}"));
                shown.extend(client.flush());
                shown.extend(fail(client, &format!("OVERHEAD AG {wrong}")));
            }
            for line in [
                format!("OVERHEAD A {wrong}"),
                format!("OVERHEAD A {nobody}"),
                format!("OVERHEAD A {}", WRONG),
                format!("OVERHEAD A {primary}:{primary}"),
                format!("OVERHEAD A admin:{PRIMARY}"),
            ] {
                shown.extend(fail(connect(kind), &line));
            }
            // Before the login nothing counts and nothing is shown.
            let mut client = connect(kind);
            client.send(&format!("SET a={PRIMARY}"));
            client.send(&format!("overhead a {primary}"));
            client.send(PRIMARY);
            let mut client = log_in(client, plain);
            shown.extend(client.ask("PING"));
        }
        // The hash is no password.
        shown.extend(fail(
            server.stranger(),
            &format!(
                "OVERHEAD A {}",
                Token::encode(b"hashed", format!("sha256:{HASH}").as_bytes())
            ),
        ));
        let mut manager = log_in(server.stranger(), primary);
        shown.extend(manager.ask("CLIENTLIST"));
    }
    // Passwords are wrong between servers too, and come right again.
    let broken = [
        ("users", format!("plain:read:{PLAIN}\nbroken {BROKEN}\n")),
        ("users", format!("plain:{BROKEN}\n")),
        ("users", format!("plain:{BROKEN}:read\n")),
        ("users", format!("plain:read:sha256:{BROKEN}\n")),
        (
            "users",
            format!("plain:read:{BROKEN}\nplain:read:{BROKEN}\n"),
        ),
        ("users", format!("admin:read:{BROKEN}\n")),
        ("key.pem", BROKEN.to_owned()),
        ("key.pem", another.key.clone()),
        ("key.pem", another.key.replace('A', "*")),
        ("cert.pem", another.key.clone()),
    ];
    for (number, (name, content)) in broken.iter().enumerate() {
        let before = fs::read_to_string(master.setup.path(name)).expect("a file of our own");
        master.setup.write_secret(name, content);
        master.process.signal(libc::SIGHUP);
        wait_until("the log says so", || {
            let log = master.process.log();
            let said = log.iter().filter(|line| line.contains("not read again"));
            said.count() == number + 1
        });
        // --check and a start say it too.
        let mut command = master.setup.command();
        let ended = run(command.arg("--check"));
        assert_eq!(ended.status, Some(2));
        shown.extend([ended.stdout, ended.stderr]);
        master.setup.write_secret(name, &before);
    }
    master.setup.write_secret("password", &format!("{LATER}\n"));
    master.process.signal(libc::SIGHUP);
    master.process.wait_for_log(" read again: ");
    slave
        .process
        .wait_for_log("the master refuses this server's user or password");
    log_in(master.stranger(), later).ask("PING");
    monitors[0] = {
        shown.extend(monitors[0].until_closed());
        monitor(&master, later)
    };
    master
        .setup
        .write_secret("password", &format!("{PRIMARY}\n"));
    master.process.signal(libc::SIGHUP);
    wait_until("the link is up again", || {
        slave.status_line().contains(" uplink=up ")
    });
    let ended = run(master.setup.command().arg("--check"));
    assert_eq!(ended.status, Some(0), "{ended:?}");
    shown.extend([ended.stdout, ended.stderr]);

    for server in [&master, &slave] {
        shown.push(server.status_line());
        let folder = format!("/proc/{}", server.process.id());
        shown.push(fs::read_to_string(format!("{folder}/cmdline")).expect("a running process"));
        shown.push(fs::read_to_string(format!("{folder}/comm")).expect("a running process"));
    }
    for monitor in &mut monitors {
        shown.extend(monitor.whatever_came(Duration::from_millis(200)));
    }
    shown.extend(master.process.log());
    shown.extend(slave.process.log());
    assert!(
        shown
            .iter()
            .any(|line| line.starts_with("DEBUG ") && line.contains("=STORE a=1")),
        "the monitors have seen something"
    );
    assert!(
        shown.iter().any(|line| line.contains("DEBUG]")),
        "the log was at its highest level"
    );
    for secret in secrets(&[&identity.key, &another.key]) {
        for line in &shown {
            assert!(!line.contains(&secret), "{secret} is in {line}");
        }
    }
    // Even so, all of them were right or wrong as they were meant.
    log_in(slave.stranger(), hashed).ask("CLIENTLIST");
}

/// Lines that are meant as a login, with the token in the place of `{}`; the server takes none of them for one.
const MISTYPED: &[&str] = &[
    "OVERHEAD a {}",
    "OVERHEAD  A {}",
    "OVERHEAD {}",
    "OVERHEAD\tA {}",
    "OVERHEAD Q {}",
    "OVERHEAD aM {}",
    "OVERHEAD M {}",
    "OVERHEAD E {}",
    "overhead A {}",
    "Overhead\ta {}",
    " OVERHEAD A {}",
    "OVERHEADA {}",
    "OVERHED A {}",
    "OVERHED A admin:plain-password-in-a-line",
    "A {}",
    "{}",
    "store token={}",
    "CLACKS somebody OVERHEAD A {}",
    "CLACKS somebody {}",
];

/// A relogin that is mistyped is none of the lines that are never shown, and holds a password all the same.
#[test]
fn a_mistyped_login_is_shown_to_nobody() {
    let server = Setup::new().flags(&["-v", "-v"]).start();
    let mut monitor = server.client("mg");
    monitor.ask("MONITOR");
    let token = Token::encode(b"admin", PRIMARY.as_bytes());
    let mut client = server.client("rw");
    // To other servers' lines the rules of links apply.
    let mut link = server.client("admin");
    link.send("OVERHEAD I 1");
    for line in MISTYPED {
        client.send(&line.replace("{}", &token));
        link.send(&line.replace("{}", &token));
    }
    // Other lines are shown, those without effect too.
    let others = [
        "OVERHEAD M hello host:port",
        "nonsense a::b",
        "STORE a=YWRtaW4=:YQ==",
    ];
    for line in others {
        client.ask(line);
    }
    link.send("nonsense of a server");
    let mut shown = Vec::new();
    while !shown
        .last()
        .is_some_and(|line: &String| line.ends_with("=nonsense of a server"))
    {
        shown.push(monitor.next_line().expect("a monitor stays connected"));
    }
    for line in others {
        let is_shown = |shown: &String| shown.ends_with(&format!("={line}"));
        assert!(shown.iter().any(is_shown), "{line} is in {shown:?}");
    }
    shown.extend(monitor.ask("CLIENTLIST"));
    assert!(shown.iter().any(|line| line.contains("=somebody;")));
    shown.extend(server.process.log());
    let (_, secret) = token.split_once(':').expect("two parts");
    for secret in [secret, "plain-password-in-a-line"] {
        for line in &shown {
            assert!(!line.contains(secret), "{secret} is in {line}");
        }
    }
}

/// A wrong login ends its own connection, at once, and little of it stays: no delay for other users, and no
/// list of names or addresses that whoever knocks could make grow.
#[test]
fn wrong_logins_delay_nobody_and_leave_nothing_behind() {
    const WRONG_LOGINS: usize = 10_000;
    let server = Server::start();
    let mut client = server.client("rw");
    let knock = |from: usize, to: usize| {
        for number in from..to {
            let mut stranger = server.stranger();
            let name = format!("user number {number}");
            let token = Token::encode(name.as_bytes(), b"guessed");
            stranger.send(&format!("OVERHEAD A {token}"));
            stranger.expect_after_others("OVERHEAD F Login failed!");
        }
    };
    knock(0, WRONG_LOGINS / 10);
    let settled = |server: &Server| {
        wait_until("all are gone", || server.status("clients") == 1);
        server.proc_status("VmRSS")
    };
    let before_kb = settled(&server);
    knock(WRONG_LOGINS / 10, WRONG_LOGINS);
    assert_eq!(client.ask("RETRIEVE a"), ["NOTRETRIEVED a"]);
    let after_kb = settled(&server);
    assert_eq!(server.status("login_failed"), WRONG_LOGINS as u64);
    assert!(
        after_kb < before_kb + 1024,
        "{after_kb} kB after {before_kb} kB"
    );
    let log = server.process.log();
    assert!(log.len() < 1_000, "{} lines of the log", log.len());
}
