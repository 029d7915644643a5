//! Clients that programs use, in several languages. The programs of `clients/` do in named steps what is done with a client,
//! and print what comes of it; with clacksd in the place of nats-server they must print the same.

mod coming_back;
mod crowd;
mod with_clacks;

use super::servers::{Clacksd, Entry, NatsServer, Version, folder};
use crate::runner::needs_made;
use crate::support::{Ended, Identity, run};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// The steps of clients with one server that takes them without a login.
const STEPS: [&str; 17] = [
    "connect",
    "login",
    "wrong_login",
    "wildcards",
    "groups",
    "publish",
    "headers",
    "request",
    "nobody",
    "auto_unsubscribe",
    "no_echo",
    "flush",
    "drain",
    "close",
    "max_payload",
    "read_only",
    "write_only",
];

/// A program that uses a client.
struct Program {
    name: &'static str,
    program: PathBuf,
    script: Option<PathBuf>,
    /// The library can begin with the handshake of TLS.
    has_handshake_first: bool,
}

impl Program {
    fn all() -> [Program; 6] {
        [
            Program::nats_py(),
            Program::nats_js_2(),
            Program::nats_js_3(),
            Program::async_nats(),
            Program::libnats(),
            Program::nats_go(),
        ]
    }

    fn nats_py() -> Program {
        let python = Program::installed("nats-py", "python/bin/python", "python/installed");
        python.with_script("python_client.py")
    }

    fn nats_js_2() -> Program {
        Program::node("nats-js-2", "javascript_2_client.js")
    }

    fn nats_js_3() -> Program {
        Program::node("nats-js-3", "javascript_3_client.js")
    }

    fn async_nats() -> Program {
        Program::installed("async-nats", "rust_client", "rust_client")
    }

    fn libnats() -> Program {
        Program::built("libnats", "c_client")
    }

    fn nats_go() -> Program {
        Program::built("nats-go", "go_client")
    }

    /// One of the folder, in which that file must be.
    fn installed(name: &'static str, program: &str, file: &str) -> Program {
        needs_made(folder().join(file).exists(), "nats-clients");
        Program {
            name,
            program: folder().join(program),
            script: None,
            has_handshake_first: true,
        }
    }

    /// One in a version of Debian 12, which can't begin with a handshake.
    fn built(name: &'static str, program: &str) -> Program {
        Program {
            has_handshake_first: false,
            ..Program::installed(name, program, program)
        }
    }

    fn node(name: &'static str, script: &str) -> Program {
        let node = Program::installed(name, "", "node_modules/.package-lock.json");
        Program {
            program: "node".into(),
            ..node.with_script(script)
        }
    }

    fn with_script(self, name: &str) -> Program {
        let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nats/clients");
        Program {
            script: Some(clients.join(name)),
            ..self
        }
    }

    fn command(&self, port: u16, steps: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.script);
        command.arg("127.0.0.1").arg(port.to_string()).args(steps);
        // The tree stays as it is.
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command.env("NODE_PATH", folder().join("node_modules"));
        command
    }

    /// Does everything with servers of one kind, which are given by their ports: one for each [`Entry`].
    fn do_all(&self, [free, login, tls]: [u16; 3], authority: &Path) -> Vec<Ended> {
        let of_tls: &[&str] = match self.has_handshake_first {
            true => &["tls", "tls_first"],
            false => &["tls"],
        };
        let runs = [
            (free, &STEPS[..]),
            (login, &["login_required"]),
            (tls, of_tls),
        ];
        let runs = runs.into_iter().map(|(port, steps)| {
            let mut command = self.command(port, steps);
            let ended = run(command.env("NATS_CA", authority));
            assert_eq!(ended.status, Some(0), "{}: {ended:#?}", self.name);
            for step in steps {
                let start = format!("{step}: ");
                let is_there = ended.stdout.lines().any(|line| line.starts_with(&start));
                assert!(is_there, "{} has not done {step}: {ended:#?}", self.name);
            }
            ended
        });
        runs.collect()
    }
}

/// Does everything that clients do, with clacksd and with both versions of nats-server.
fn prints_the_same(program: &Program) {
    let identity = Identity::self_signed_server(&["localhost", "127.0.0.1"]);
    let entries = [Entry::Free, Entry::Login, Entry::Tls(&identity)];
    let place = tempfile::tempdir().expect("a temporary folder");
    let authority = place.path().join("authority.pem");
    fs::write(&authority, &identity.certificates).expect("a folder of our own");

    let servers = entries.map(Clacksd::start);
    let ports = servers.each_ref().map(|server| server.port);
    let ours = program.do_all(ports, &authority);
    if program.has_handshake_first {
        servers[2].server.process.wait_for_log(": tls_failed (");
    }
    for version in Version::ALL {
        let servers = entries.map(|entry| NatsServer::start(version, entry));
        let ports = servers.each_ref().map(|server| server.port);
        let theirs = program.do_all(ports, &authority);
        for (ours, theirs) in ours.iter().zip(&theirs) {
            let lines = |ended: &Ended| -> Vec<String> {
                let lines = ended.stdout.lines();
                lines.map(str::to_owned).collect()
            };
            let complaints = format!("{version:?}:\n{}\n{}", ours.stderr, theirs.stderr);
            assert_eq!(
                lines(ours),
                lines(theirs),
                "{} and {complaints}",
                program.name
            );
        }
    }
}

/// A test of that name for each client.
macro_rules! for_each_client {
    ($test:path) => {
        use super::Program;

        #[test]
        fn nats_py() {
            $test(&Program::nats_py());
        }

        #[test]
        fn nats_js_2() {
            $test(&Program::nats_js_2());
        }

        #[test]
        fn nats_js_3() {
            $test(&Program::nats_js_3());
        }

        #[test]
        fn async_nats() {
            $test(&Program::async_nats());
        }

        #[test]
        fn libnats() {
            $test(&Program::libnats());
        }

        #[test]
        fn nats_go() {
            $test(&Program::nats_go());
        }
    };
}

mod outcomes_as_with_nats_server {
    for_each_client!(super::prints_the_same);
}
mod back_after_a_disconnect {
    for_each_client!(super::coming_back::after_a_disconnect);
}
mod back_after_a_restart {
    for_each_client!(super::coming_back::after_a_restart);
}
mod back_after_having_been_slow {
    for_each_client!(super::coming_back::after_having_been_slow);
}
mod pings_answered {
    for_each_client!(super::coming_back::never_while_pings_are_answered);
}
mod signals_of_clacks_clients_and_theirs {
    for_each_client!(super::with_clacks::hear_each_other);
}
mod talks_with_the_tool {
    for_each_client!(super::with_clacks::talk_with_the_tool);
}
