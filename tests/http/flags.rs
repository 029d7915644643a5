//! The flags.

use super::target::{Target, basic, request, status};
use crate::support::{Setup, run, wait_until};

#[test]
fn wrong_flags_for_http_are_named() {
    for (flags, why) in [
        (&["--http", "x"][..], "--http x"),
        (
            &["--http", "tcp://0.0.0.0:0"],
            "--http tcp://0.0.0.0:0: plain text beyond loopback",
        ),
        (&["--http", "tls://127.0.0.1:0"], "--tls-cert is missing"),
        (
            &["--http-user", "admin"],
            "--http-user goes with --http only",
        ),
        (
            &["--http", "tcp://127.0.0.1:0", "--http-user", "nobody"],
            "--http-user nobody: there is no such user",
        ),
        (
            &["--http", "tcp://127.0.0.1:0", "--http-user", "rw"],
            "--http-user rw: that user lacks the permission manage",
        ),
    ] {
        let ended = run(&mut Setup::new().flags(flags).command());
        assert_eq!(ended.status, Some(2), "{ended:?}");
        assert!(ended.stderr.contains(why), "{ended:?}");
    }
}

#[test]
fn an_address_without_a_port_has_that_of_http() {
    let setup = Setup::new().flags(&["--http", "tcp://127.0.0.1", "--check"]);
    let ended = run(&mut setup.command());
    let expected = "would listen on tcp://127.0.0.1:49888\n\
                    would listen on tcp://127.0.0.1:49890 for HTTP clients\n";
    assert!(ended.stdout.starts_with(expected), "{ended:?}");
}

#[test]
fn everybody_beyond_loopback_is_a_risk_that_is_warned_of() {
    let flags = [
        "--http-user",
        "mg",
        "--allow-plaintext",
        "--http",
        "tcp://0.0.0.0:0",
    ];
    let target = Target::start(&flags);
    let warning = "--http-user mg: everybody who reaches tcp://0.0.0.0:0 acts as that user";
    let log = target.server.process.log();
    assert!(log.iter().any(|line| line.contains(warning)), "{log:?}");
}

#[test]
fn users_are_read_again_and_the_one_of_the_flag_keeps_manage() {
    let target = Target::start(&["--http-user", "mg"]);
    let open = request("GET", "/status.json", "");
    let mut connection = target.connect();
    assert_eq!(connection.ask(&open).status, 200);
    let setup = &target.server.setup;
    setup.write_secret("users", "mg:read:mgpw\n");
    target.server.process.signal(libc::SIGHUP);
    let refused = "not read again, everything stays as it was: --http-user mg: that user lacks the permission manage";
    target.server.process.wait_for_log(refused);
    assert_eq!(connection.ask(&open).status, 200);
    setup.write_secret("users", "mg:manage:other\n");
    target.server.process.signal(libc::SIGHUP);
    connection.expect_end();
    wait_until("its user was changed", || {
        target.server.status("user_changed") == 1
    });
    assert_eq!(target.ask(&open).status, 200);
    assert_eq!(target.ask(&status("mg")).status, 401);
    let other = request("GET", "/status.json", &basic("mg", "other"));
    assert_eq!(target.ask(&other).status, 200);
}
