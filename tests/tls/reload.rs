//! SIGHUP with certificates and keys: a new one for new connections, or, if anything is wrong with
//! anything, the old ones for everybody.

use crate::support::tls::VERSIONS;
use crate::support::{Authority, Client, Ends, Identity, Server, Setup, USERS, text, wait_until};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

#[test]
fn a_certificate_is_changed_while_many_are_talking() {
    const CLIENTS: usize = 50;
    let old = Identity::self_signed(&["localhost"]);
    let server = Setup::new().with_tls(&old).start();
    let mut clients: Vec<Client> = (0..CLIENTS)
        .map(|number| Client::tls(server.tls_port(), VERSIONS[number % 2]).logged_in("rw"))
        .collect();
    let (ended, rounds) = (AtomicBool::new(false), AtomicUsize::new(0));
    let wait_for_rounds = || {
        let before = rounds.load(Ordering::Relaxed);
        wait_until("they go on talking", || {
            rounds.load(Ordering::Relaxed) > before + 20 * CLIENTS
        });
    };
    std::thread::scope(|scope| {
        let _ends = Ends(&ended);
        for part in clients.chunks_mut(CLIENTS / 5) {
            let (ended, rounds) = (&ended, &rounds);
            scope.spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    for client in &mut *part {
                        assert_eq!(client.ask("RETRIEVE a"), ["NOTRETRIEVED a"]);
                        rounds.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        for version in VERSIONS {
            wait_for_rounds();
            let new = Identity::self_signed(&["localhost"]);
            server.setup.write_identity(&new);
            server.process.signal(libc::SIGHUP);
            wait_until("a new connection sees the new certificate", || {
                let mut client = Client::tls(server.tls_port(), version).logged_in("rw");
                client.certificate() == new.shown()
            });
            wait_for_rounds();
        }
    });
    for client in &mut clients {
        assert_eq!(client.certificate(), old.shown(), "its connection stayed");
        assert_eq!(client.ask("RETRIEVE a"), ["NOTRETRIEVED a"]);
    }
    let log = server.process.log();
    assert!(!log.iter().any(|line| line.contains("WARN")), "{log:?}");
}

fn count(server: &Server, part: &str) -> usize {
    let log = server.process.log();
    log.iter().filter(|line| line.contains(part)).count()
}

#[test]
fn whatever_is_wrong_with_one_file_all_stay_as_they_were() {
    let authority = Authority::new("authority");
    let old = authority.certify(&["localhost"]);
    let setup = Setup::new().with_tls(&old);
    setup.write_secret("ca.pem", &authority.certificate);
    let file = text(&setup.path("ca.pem"));
    let server = setup
        .flags(&["--master", "tls://localhost:1", "--master-ca", &file])
        .start();
    let mut clients = [
        Client::tls(server.tls_port(), VERSIONS[0]).logged_in("ro"),
        Client::tls(server.tls_port(), VERSIONS[1]).logged_in("ro"),
        server.client("ro"),
    ];
    let new = authority.certify(&["localhost"]);
    let half = |pem: &str| pem[..pem.len() / 2].to_owned();
    let whole = |text: &str| Some(text.to_owned());
    // File, what becomes of it (nothing: it is removed), and what is said of it.
    let cases: Vec<(&str, Option<String>, &str)> = vec![
        ("cert.pem", None, "--tls-cert"),
        ("cert.pem", whole(""), "no certificate in it"),
        ("cert.pem", whole(&half(&new.certificates)), "--tls-cert"),
        ("cert.pem", whole(&new.key), "no certificate in it"),
        (
            "cert.pem",
            whole(&old.certificates),
            "keys may not be consistent",
        ),
        ("key.pem", None, "--tls-key"),
        ("key.pem", whole(""), "no private key in it"),
        ("key.pem", whole(&half(&new.key)), "no private key in it"),
        ("key.pem", whole("hidden-secret"), "no private key in it"),
        ("key.pem", whole(&new.certificates), "no private key in it"),
        ("key.pem", whole(&old.key), "keys may not be consistent"),
        ("users", whole("rw:read"), "--users"),
        ("password", whole("\n"), "--password-file"),
        ("ca.pem", None, "--master-ca"),
        ("ca.pem", whole("hidden-secret"), "no certificate in it"),
    ];
    let check = |clients: &mut [Client], failures: usize, said: &str, name: &str| {
        server.process.signal(libc::SIGHUP);
        wait_until("the log says so", || {
            count(&server, "not read again, everything stays as it was") == failures
        });
        let log = server.process.log();
        let line = log.iter().rfind(|line| line.contains("not read again"));
        let line = line.expect("it was found");
        assert!(
            line.contains(said) && line.contains(&text(server.setup.folder.path())),
            "{name}: {line}"
        );
        assert!(
            !line.contains("hidden-secret") && line.contains("ERROR"),
            "{line}"
        );
        // Who would be gone with the new users file is not; who would be new isn't there.
        for client in clients {
            assert_eq!(client.ask("RETRIEVE a"), ["NOTRETRIEVED a"]);
        }
        for version in VERSIONS {
            let mut fresh = Client::tls(server.tls_port(), version).logged_in("ro");
            assert_eq!(fresh.certificate(), old.shown(), "{name}: {said}");
        }
        let mut unknown = server.stranger();
        unknown.send(&format!("OVERHEAD A {}", crate::support::token("new")));
        let answers = unknown.until_closed();
        assert_eq!(
            answers.last().map(String::as_str),
            Some("OVERHEAD F Login failed!")
        );
    };
    let mut failures = 0;
    let everything_new = || {
        server.setup.write_identity(&new);
        server.setup.write_secret("password", "adminpw\n");
        server.setup.write_secret("ca.pem", &authority.certificate);
        let users = USERS.replace("ro:read:ropw", "new:read:newpw");
        server.setup.write_secret("users", &users);
    };
    for (name, content, said) in cases {
        everything_new();
        match content {
            Some(content) => server.setup.write_secret(name, &content),
            None => fs::remove_file(server.setup.path(name)).expect("a file of our own"),
        }
        failures += 1;
        check(&mut clients, failures, said, name);
    }
    for mode in [0o604, 0o644, 0o602] {
        everything_new();
        let key = server.setup.path("key.pem");
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).expect("a file of our own");
        failures += 1;
        let said = format!("other users have access (mode {mode:03o})");
        check(&mut clients, failures, &said, "key.pem");
    }
    // A certificate is for everybody to read.
    everything_new();
    let certificate = server.setup.path("cert.pem");
    fs::set_permissions(certificate, fs::Permissions::from_mode(0o644)).expect("a file of our own");
    server.process.signal(libc::SIGHUP);
    server.process.wait_for_log(" read again: 5 users");
    for client in &mut clients {
        assert_eq!(client.until_closed(), ["QUIT"]);
    }
    for version in VERSIONS {
        let mut fresh = Client::tls(server.tls_port(), version).logged_in("new");
        assert_eq!(fresh.certificate(), new.shown());
    }
}
