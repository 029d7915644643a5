//! The servers that the tests of this folder speak to: clacksd with a listener for memcached clients, and memcached.

use crate::runner::needs_that;
use crate::support::table::Case;
use crate::support::table_run::Answering;
use crate::support::{Conversation, Ending, Server, SetClock, Setup, USERS, token, wait_until};
use std::cell::RefCell;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use tempfile::TempDir;

/// The version of memcached that differences are known to.
const VERSION: &str = "memcached 1.6.18";

/// A server that memcached clients reach over a Unix socket.
pub struct Target {
    pub name: &'static str,
    socket: PathBuf,
    /// Clients log in.
    has_login: bool,
    running: Running,
    /// Clears the server between two cases.
    manager: RefCell<Option<Conversation>>,
}

enum Running {
    Clacksd(Box<Server>),
    Memcached { _process: Ending, _folder: TempDir },
}

impl Target {
    /// clacksd, all of whose memcached clients are its primary user.
    pub fn clacksd() -> Target {
        Target::clacksd_with(&[])
    }

    /// As [`Target::clacksd`], with further flags.
    pub fn clacksd_with(flags: &[&str]) -> Target {
        Target::start_clacksd("clacksd", &[flags, &["--memcached-user", "admin"]].concat())
    }

    /// clacksd, whose clients log in.
    pub fn clacksd_with_login() -> Target {
        Target::clacksd_with_login_and(&[])
    }

    /// As [`Target::clacksd_with_login`], with further flags.
    pub fn clacksd_with_login_and(flags: &[&str]) -> Target {
        Target {
            has_login: true,
            ..Target::start_clacksd("clacksd with login", flags)
        }
    }

    /// As [`Target::clacksd_with`], by a clock that the test sets.
    pub fn clacksd_by_clock(flags: &[&str]) -> (Target, SetClock) {
        let setup = Setup::new();
        let clock = SetClock::new(&setup);
        let flags = [flags, &["--memcached-user", "admin"]].concat();
        let target =
            Target::start_setup("clacksd", setup, &flags, |command| clock.apply_to(command));
        (target, clock)
    }

    fn start_clacksd(name: &'static str, flags: &[&str]) -> Target {
        Target::start_setup(name, Setup::new(), flags, |_| ())
    }

    fn start_setup(
        name: &'static str,
        setup: Setup,
        flags: &[&str],
        change: impl FnOnce(&mut Command),
    ) -> Target {
        let (socket, address) = (setup.path("memcached"), setup.unix("memcached"));
        let setup = setup.flags(&["--memcached", &address]).flags(flags);
        let server = setup.start_changed(change);
        Target {
            name,
            socket,
            has_login: false,
            running: Running::Clacksd(Box::new(server)),
            manager: RefCell::default(),
        }
    }

    pub fn memcached() -> Target {
        Target::start_memcached("memcached", false)
    }

    /// memcached, whose clients log in.
    pub fn memcached_with_login() -> Target {
        Target::start_memcached("memcached with login", true)
    }

    fn start_memcached(name: &'static str, has_login: bool) -> Target {
        needs_memcached();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (socket, users) = (folder.path().join("socket"), folder.path().join("users"));
        let mut command = Command::new("memcached");
        command.arg("-A").arg("-s").arg(&socket);
        if has_login {
            fs::write(&users, logins()).expect("a folder of our own");
            command.arg("-Y").arg(&users);
        }
        let process = spawn_memcached(&mut command);
        wait_until("memcached listens", || UnixStream::connect(&socket).is_ok());
        Target {
            name,
            socket,
            has_login,
            running: Running::Memcached {
                _process: process,
                _folder: folder,
            },
            manager: RefCell::default(),
        }
    }

    pub fn server(&self) -> &Server {
        match &self.running {
            Running::Clacksd(server) => server,
            Running::Memcached { .. } => panic!("memcached"),
        }
    }

    /// Waits until clacksd has ended.
    pub fn end_of_server(self) -> ExitStatus {
        match self.running {
            Running::Clacksd(mut server) => server.process.wait(),
            Running::Memcached { .. } => panic!("memcached"),
        }
    }

    pub fn is_clacksd(&self) -> bool {
        matches!(self.running, Running::Clacksd(_))
    }

    /// A connection of that name in a table: one named `clacks` speaks the language of Clacks clients, all others are
    /// memcached clients. Where clients log in, `admin` is the primary user, and others are `user`, if there is one.
    pub fn connect(&self, user: Option<&str>, name: &str) -> Conversation {
        if name == "clacks" {
            return self.connect_clacks();
        }
        let user = if name == "admin" { Some(name) } else { user };
        let mut connection = Conversation::begin(&self.socket);
        if let Some(user) = user.filter(|_| self.has_login) {
            let block = format!("{user} {user}pw");
            let line = format!("set login 0 0 {}\r\n{block}\r\n", block.len());
            connection.ask(line.as_bytes(), b"STORED\r\n");
        }
        connection
    }

    fn connect_clacks(&self) -> Conversation {
        let mut connection = Conversation::begin(&self.server().socket);
        let login = format!("CLACKS test\r\nOVERHEAD A {}\r\n", token("admin"));
        connection.ask(login.as_bytes(), b"OVERHEAD O Welcome!\r\n");
        connection
    }

    /// Empties the cache.
    pub fn clear(&self) {
        let mut manager = self.manager.borrow_mut();
        let manager = manager.get_or_insert_with(|| self.connect(None, "admin"));
        manager.ask(b"flush_all\r\n", b"OK\r\n");
    }
}

impl Answering for Target {
    fn name(&self) -> &str {
        self.name
    }

    fn clear(&self) {
        Target::clear(self);
    }

    fn connect(&self, case: &Case, name: &str) -> Conversation {
        Target::connect(self, case.user(), name)
    }
}

/// clacksd, as memcached clients find it at a TCP port. Its values may be as large as those of memcached.
pub struct Clacksd {
    pub port: u16,
    server: Server,
}

impl Clacksd {
    pub fn start() -> Clacksd {
        let flags = [
            "--memcached",
            "tcp://127.0.0.1:0",
            "--memcached-user",
            "admin",
        ];
        let setup = Setup::new().flags(&flags).flags(&["--max-line", "1M"]);
        let server = setup.start();
        Clacksd {
            port: server.process.memcached_port(),
            server,
        }
    }

    pub fn server(&self) -> &Server {
        &self.server
    }

    /// A place for a file that goes away with the server.
    pub fn path(&self, name: &str) -> PathBuf {
        self.server.setup.path(name)
    }

    pub fn ask(&self, request: &str, end: &str) -> String {
        ask(self.port, request, end)
    }
}

/// memcached at a TCP port.
pub struct Memcached {
    pub port: u16,
    _process: Ending,
}

impl Memcached {
    pub fn start() -> Memcached {
        needs_memcached();
        let folder = tempfile::tempdir().expect("a temporary folder");
        // memcached writes the port that it has found to the file, which then appears at once.
        let file = folder.path().join("port");
        let mut command = Command::new("memcached");
        command.args(["-l", "127.0.0.1", "-p", "-1"]);
        command.env("MEMCACHED_PORT_FILENAME", &file);
        let process = spawn_memcached(&mut command);
        wait_until("memcached listens", || file.exists());
        let ports = fs::read_to_string(file).expect("memcached has written it");
        let port = ports.trim().rsplit(' ').next();
        Memcached {
            port: port.and_then(|port| port.parse().ok()).expect("a port"),
            _process: process,
        }
    }
}

/// A request over a connection of its own, and the answer up to its end.
fn ask(port: u16, request: &str, end: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the server listens there");
    let sent = stream.write_all(request.as_bytes());
    sent.expect("the server reads");
    let mut answer = Vec::new();
    while !answer.ends_with(end.as_bytes()) {
        let mut buffer = [0; 4096];
        let count = stream.read(&mut buffer).expect("an answer");
        assert!(count > 0, "closed after \"{}\"", answer.escape_ascii());
        answer.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8(answer).expect("text")
}

/// The users of a [`Setup`], as memcached reads them.
fn logins() -> String {
    let names = USERS.lines().filter_map(|line| line.split(':').next());
    let lines = ["admin"].into_iter().chain(names);
    lines.map(|name| format!("{name}:{name}pw\n")).collect()
}

/// Ends the test as ignored without the memcached that it was written for.
fn needs_memcached() {
    crate::runner::needs("memcached");
    let version = Command::new("memcached").arg("-V").output();
    let version = version.expect("it is installed").stdout;
    needs_that(version.starts_with(VERSION.as_bytes()), VERSION);
}

fn spawn_memcached(command: &mut Command) -> Ending {
    // It doesn't run as root otherwise.
    let command = command.args(["-u", "root", "-t", "1", "-U", "0"]);
    let command = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Ending(command.spawn().expect("memcached is installed"))
}
