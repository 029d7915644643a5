//! The dates of certificates, and what may stand in the files.

use crate::support::tls::VERSIONS;
use crate::support::{
    Authority, Client, Identity, Server, SetClock, Setup, Validity, run, text, wait_until,
};
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

const DAY_S: i64 = 86_400;

/// Seconds since the beginning of 1970, so many days from now.
fn days_from_now(days: i64) -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock");
    now.as_secs().saturating_add_signed(days * DAY_S)
}

fn date(time_s: u64) -> String {
    let time_s = i64::try_from(time_s).expect("a time of this century");
    jiff::Timestamp::from_second(time_s)
        .expect("a time of this century")
        .to_string()
}

/// A server for TLS that is also a slave, at an address where nobody is.
fn setup(own: &Identity, of_master: &str) -> Setup {
    let setup = Setup::new().with_tls(own);
    setup.write_secret("ca.pem", of_master);
    let file = text(&setup.path("ca.pem"));
    setup.flags(&["--master", "tls://localhost:1", "--master-ca", &file])
}

/// The warnings about certificates among the lines.
fn warnings<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let is_warning = |line: &&str| line.contains("WARN") && line.contains("certificate");
    lines.into_iter().filter(is_warning).collect()
}

#[test]
fn certificates_that_end_soon_are_warned_of_wherever_they_are_read() {
    let authority = Authority::new("authority");
    let fine = authority.certify(&["localhost"]);
    let of_server = |until_s| authority.certify_with(&["localhost"], Validity::Until(until_s));
    let of_master =
        |until_s| Identity::self_signed_with(&["localhost"], Validity::Until(until_s)).certificates;
    for (days, word) in [(-1, "expired"), (13, "expires")] {
        let until_s = days_from_now(days);
        let said = format!("the certificate {word} at {}", date(until_s));
        for (name, flag) in [("cert.pem", "--tls-cert"), ("ca.pem", "--master-ca")] {
            let setup = match name {
                "cert.pem" => setup(&of_server(until_s), &fine.certificates),
                _ => setup(&fine, &of_master(until_s)),
            };
            let said = format!("{flag} {}: {said}", text(&setup.path(name)));
            let is_said = |warnings: &[&str]| {
                assert!(
                    matches!(warnings, [one] if one.ends_with(&said)),
                    "{said}: {warnings:?}"
                );
            };
            let checked = run(setup.command().arg("--check"));
            assert_eq!(checked.status, Some(0), "{checked:?}");
            is_said(&warnings(checked.stderr.lines()));

            let server = setup.start();
            let log = server.process.log();
            is_said(&warnings(log.iter().map(String::as_str)));
            // Once more while it is there, and no more once it has been replaced.
            let reload = |times: usize| {
                let before = server.process.log().len();
                server.process.signal(libc::SIGHUP);
                // The signal after it is dealt with later.
                wait_until("it has been read again", || {
                    let log = server.process.log();
                    log.iter()
                        .filter(|line| line.contains(" read again: "))
                        .count()
                        == times
                });
                server.status_line();
                server.process.log_from(before)
            };
            let log = reload(1);
            is_said(&warnings(log.iter().map(String::as_str)));
            server.setup.write_identity(&fine);
            server.setup.write_secret("ca.pem", &fine.certificates);
            let log = reload(2);
            assert_eq!(warnings(log.iter().map(String::as_str)), [""; 0]);
        }
    }
}

#[test]
fn certificates_that_last_are_not_warned_of() {
    let authority = Authority::new("authority");
    let own = authority.certify_with(&["localhost"], Validity::Until(days_from_now(15)));
    let checked = run(setup(&own, &authority.certificate).command().arg("--check"));
    assert_eq!((checked.status, &*checked.stderr), (Some(0), ""));
}

#[test]
fn certificates_in_use_are_looked_at_once_a_day() {
    let until_s = days_from_now(16);
    let own = Identity::self_signed_with(&["localhost"], Validity::Until(until_s));
    let setup = setup(&own, &own.certificates);
    let clock = SetClock::new(&setup);
    let server = setup.start_changed(|command| clock.apply_to(command));
    let warned = || {
        let log = server.process.log();
        warnings(log.iter().map(String::as_str)).len()
    };
    // Something happens, and then the loop has made a turn.
    let wake = || drop(server.client("admin"));
    for (days, warnings_so_far) in [(1, 0), (3, 2), (4, 4), (17, 6)] {
        clock.let_pass(days * DAY_S + 1);
        wake();
        wait_until("it has looked", || warned() == warnings_so_far);
        // Within the day it doesn't look again.
        clock.let_pass(days * DAY_S + DAY_S / 2);
        wake();
        assert_eq!(warned(), warnings_so_far);
    }
    let log = server.process.log();
    let all = warnings(log.iter().map(String::as_str));
    let (until, last) = (date(until_s), all[5]);
    for part in ["expires at", "expires at", "expired at"].map(|word| format!("{word} {until}")) {
        assert!(
            all.iter().any(|line| line.ends_with(&part)),
            "{part}: {all:?}"
        );
    }
    assert!(last.contains("expired at"), "{last}");
}

#[test]
fn a_reload_says_what_it_has_read() {
    let own = Identity::self_signed(&["localhost"]);
    let server = setup(&own, &own.certificates).start();
    server.process.signal(libc::SIGHUP);
    let said = server.process.wait_for_log(" read again: ");
    let file = |name: &str| text(&server.setup.path(name));
    let files = format!(
        "5 users; --password-file {}; --users {}; --tls-cert {}; --tls-key {}; --master-ca {}",
        file("password"),
        file("users"),
        file("cert.pem"),
        file("key.pem"),
        file("ca.pem"),
    );
    assert!(said.ends_with(&files), "{said}");
}

/// As other programs write them, and as editors save them.
#[test]
fn other_text_may_stand_beside_key_and_certificate() {
    const PARAMETERS: &str =
        "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
    let own = Identity::self_signed(&["localhost"]);
    let (certificate, key) = (own.certificates.as_bytes(), own.key.as_bytes());
    let latin_1 =
        b"Bag Attributes\n    friendlyName: Schl\xfcssel\nKey Attributes: <No Attributes>\n";
    let cases: [[&[u8]; 3]; 5] = [
        [latin_1, key, latin_1],
        [PARAMETERS.as_bytes(), key, b""],
        [certificate, key, certificate],
        [b"\xef\xbb\xbf", key, b""],
        [
            b"-----BEGIN of my notes\n",
            key,
            b"-----BEGIN PRIVATE KEY-----\nold\n",
        ],
    ];
    for content in cases {
        let setup = Setup::new().with_tls(&own);
        fs::write(setup.path("key.pem"), content.concat()).expect("a file of our own");
        let shown = [b"\xef\xbb\xbf", certificate, latin_1].concat();
        fs::write(setup.path("cert.pem"), shown).expect("a file of our own");
        let server: Server = setup.start();
        let mut client = Client::tls(server.tls_port(), VERSIONS[0]).logged_in("rw");
        assert_eq!(client.certificate(), own.shown());
    }
}
