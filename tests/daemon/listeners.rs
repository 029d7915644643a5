//! The flags that the listeners for memcached and for NATS clients have in common.

use crate::support::{Setup, run};

/// The flags of the listeners; behind each, `-user` names whom its clients act as.
const LISTENERS: [&str; 2] = ["--memcached", "--nats"];
const LOCAL: &str = "tcp://127.0.0.1:0";
const EVERYWHERE: &str = "tcp://0.0.0.0:0";

#[test]
fn wrong_flags_for_listeners_are_named() {
    for listener in LISTENERS {
        let user = &*format!("{listener}-user");
        for (flags, why) in [
            (&[listener, "x"][..], format!("{listener} x")),
            (
                &[listener, EVERYWHERE],
                format!("{listener} {EVERYWHERE}: plain text beyond loopback"),
            ),
            (
                &[listener, "tls://127.0.0.1:0"],
                "--tls-cert is missing".to_owned(),
            ),
            (&[user, "rw"], format!("{user} goes with {listener} only")),
            (
                &[listener, LOCAL, user, "nobody"],
                format!("{user} nobody: there is no such user"),
            ),
        ] {
            let ended = run(&mut Setup::new().flags(flags).command());
            assert_eq!(ended.status, Some(2), "{ended:?}");
            assert!(ended.stderr.contains(&why), "{ended:?}");
        }
    }
}

#[test]
fn everybody_who_acts_as_a_user_beyond_loopback_is_warned_of() {
    for listener in LISTENERS {
        let user = &*format!("{listener}-user");
        let setup = Setup::new().flags(&[user, "ro", "--allow-plaintext"]);
        let server = setup.flags(&[listener, EVERYWHERE]).start();
        let warning = format!("{user} ro: everybody who reaches {EVERYWHERE} acts as that user");
        let log = server.process.log();
        assert!(log.iter().any(|line| line.contains(&warning)), "{log:?}");
        let server = Setup::new().flags(&[user, "ro", listener, LOCAL]).start();
        assert_eq!(server.process.log_line(user), None);
    }
}
