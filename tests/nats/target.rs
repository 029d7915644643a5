//! The servers that the tests of this folder speak to: clacksd with a listener for NATS clients, and nats-server.

use super::frames::drop_unasked;
use super::servers::{NatsServer, Version, with_users};
use crate::support::table::Case;
use crate::support::table_run::Answering;
use crate::support::{Conversation, DEADLINE, Server, Setup, token};
use std::path::PathBuf;
use std::time::Instant;

/// Who may connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    /// Clients without a login are `admin`.
    Optional,
    /// Every client names a user and a password.
    Needed,
}

/// A server that NATS clients reach.
pub struct Target {
    pub name: String,
    running: Running,
}

enum Running {
    /// With its Unix socket for NATS clients.
    Clacksd(Box<Server>, PathBuf),
    NatsServer(NatsServer),
}

impl Target {
    pub fn clacksd(login: Login) -> Target {
        Target::clacksd_with(login, &[])
    }

    /// As [`Target::clacksd`], with further flags.
    pub fn clacksd_with(login: Login, flags: &[&str]) -> Target {
        let setup = Setup::new().with_server_of_environment();
        let (socket, address) = (setup.path("nats"), setup.unix("nats"));
        let login_flags: &[&str] = match login {
            Login::Optional => &["--nats-user", "admin"],
            Login::Needed => &[],
        };
        let setup = setup.flags(&["--nats", &address]).flags(login_flags);
        Target {
            name: format!("clacksd, login {login:?}"),
            running: Running::Clacksd(Box::new(setup.flags(flags).start()), socket),
        }
    }

    /// nats-server with the users of clacksd. Debian's needs a CONNECT where a login is optional.
    pub fn nats_server(version: Version, login: Login) -> Target {
        Target::nats_server_with(version, login, "")
    }

    /// As [`Target::nats_server`], with further lines about authorization.
    pub fn nats_server_with(version: Version, login: Login, lines: &str) -> Target {
        let configuration = with_users(login == Login::Needed, lines);
        Target::start_nats_server(version, &format!("login {login:?}"), &configuration)
    }

    /// nats-server without users: all commands are allowed at once.
    pub fn open_nats_server(version: Version, lines: &str) -> Target {
        Target::start_nats_server(version, "open", lines)
    }

    fn start_nats_server(version: Version, name: &str, configuration: &str) -> Target {
        Target {
            name: format!("nats-server {version:?}, {name}"),
            running: Running::NatsServer(NatsServer::start_with(version, configuration)),
        }
    }

    pub fn is_clacksd(&self) -> bool {
        matches!(self.running, Running::Clacksd(..))
    }

    pub fn server(&self) -> &Server {
        match &self.running {
            Running::Clacksd(server, _) => server,
            Running::NatsServer(_) => panic!("nats-server"),
        }
    }

    pub fn server_mut(&mut self) -> &mut Server {
        match &mut self.running {
            Running::Clacksd(server, _) => server,
            Running::NatsServer(_) => panic!("nats-server"),
        }
    }

    /// Begins a connection, and returns it with the line INFO, without its end.
    pub fn begin(&self) -> (Conversation, Vec<u8>) {
        let mut connection = match &self.running {
            Running::Clacksd(_, socket) => Conversation::begin(socket),
            Running::NatsServer(server) => Conversation::begin_at(server.port),
        };
        let info = connection.line();
        assert!(info.starts_with(b"INFO {"), "{}", info.escape_ascii());
        (connection, info)
    }

    /// Begins a connection, and drops the line INFO.
    pub fn connect_bare(&self) -> Conversation {
        self.begin().0
    }

    /// Begins a connection with that object after CONNECT, and waits until it is confirmed.
    pub fn connect_with(&self, options: &str) -> Conversation {
        let mut connection = self.connect_bare();
        connection.say(format!("CONNECT {options}\r\nPING\r\n").as_bytes());
        assert_eq!(self.until_pong(&mut connection), b"");
        connection
    }

    /// Begins a connection as libraries do.
    pub fn connect_quietly(&self) -> Conversation {
        self.connect_with(r#"{"verbose":false,"pedantic":false,"headers":true}"#)
    }

    /// Sends bytes and PING, and returns what comes before the PONG.
    pub fn ask(&self, connection: &mut Conversation, bytes: &[u8]) -> Vec<u8> {
        connection.say(bytes);
        connection.say(b"PING\r\n");
        self.until_pong(connection)
    }

    /// Returns what comes before the next PONG.
    pub fn until_pong(&self, connection: &mut Conversation) -> Vec<u8> {
        let end = Instant::now() + DEADLINE;
        loop {
            self.drop_unasked(&mut connection.came);
            if let Some(before) = connection.came.strip_suffix(b"PONG\r\n") {
                let before = before.to_vec();
                connection.came.clear();
                return before;
            }
            let came = connection.came.escape_ascii().to_string();
            assert!(Instant::now() < end, "no PONG, but \"{came}\"");
            let is_there = !connection.is_closed && connection.wait();
            assert!(is_there, "no PONG, but \"{came}\"");
        }
    }

    fn connect_clacks(&self) -> Conversation {
        let mut connection = Conversation::begin(&self.server().socket);
        let login = format!("CLACKS test\r\nOVERHEAD A {}\r\n", token("admin"));
        connection.ask(login.as_bytes(), b"OVERHEAD O Welcome!\r\n");
        connection
    }
}

impl Answering for Target {
    fn name(&self) -> &str {
        &self.name
    }

    /// Nothing outlives the connections of a case.
    fn clear(&self) {}

    /// A connection whose name begins with `clacks` speaks the language of Clacks clients, all others are NATS clients.
    /// In cases with the tag `quiet` these have connected as libraries do.
    fn connect(&self, case: &Case, name: &str) -> Conversation {
        match name.starts_with("clacks") {
            true => self.connect_clacks(),
            false if case.has("quiet") => self.connect_quietly(),
            false => self.connect_bare(),
        }
    }

    fn drop_unasked(&self, came: &mut Vec<u8>) {
        if !self.is_clacksd() {
            drop_unasked(came);
        }
    }
}
