//! The servers that the tests of this folder speak to: clacksd with a listener for NATS clients, and nats-server.

use super::frames::drop_unasked;
use crate::runner::{needs, needs_made, needs_that};
use crate::support::table::Case;
use crate::support::table_run::Answering;
use crate::support::{Conversation, DEADLINE, Ending, Server, Setup, token, wait_until};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;
use tempfile::TempDir;

/// The version of Debian 12.
const DEBIAN: &str = "v2.9.10";

/// Users as clacksd has them in a [`Setup`]: `admin` and `rw` may do everything, `ro` subscribes only, `wo` publishes
/// only, `mg` neither. nats-server takes subjects with empty tokens for such as `>` does not deny, so that only what no
/// test uses is allowed.
const USERS: &str = r#"
    users = [
        {user: admin, password: adminpw}
        {user: rw, password: rwpw}
        {user: ro, password: ropw, permissions: {publish: {allow: unused}}}
        {user: wo, password: wopw, permissions: {subscribe: {allow: unused}}}
        {user: mg, password: mgpw, permissions: {publish: {allow: unused}, subscribe: {allow: unused}}}
    ]
"#;

/// Who may connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    /// Clients without a login are `admin`.
    Optional,
    /// Every client names a user and a password.
    Needed,
}

/// A build of nats-server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Build {
    /// 2.9.10, as Debian 12 has it.
    Debian,
    /// The one that `make nats-clients` has installed.
    Newest,
}

/// A server that NATS clients reach.
pub struct Target {
    pub name: String,
    place: Place,
    running: Running,
}

enum Place {
    Unix(PathBuf),
    Port(u16),
}

enum Running {
    Clacksd(Box<Server>),
    NatsServer { _process: Ending, _folder: TempDir },
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
            place: Place::Unix(socket),
            running: Running::Clacksd(Box::new(setup.flags(flags).start())),
        }
    }

    /// nats-server with the users of clacksd. Debian's needs a CONNECT where a login is optional.
    pub fn nats_server(build: Build, login: Login) -> Target {
        Target::nats_server_with(build, login, "")
    }

    /// As [`Target::nats_server`], with further lines about authorization.
    pub fn nats_server_with(build: Build, login: Login, lines: &str) -> Target {
        let mut configuration = format!("authorization {{\n{USERS}\n{lines}\n}}\n");
        if login == Login::Optional {
            configuration += "no_auth_user: admin\n";
        }
        Target::start_nats_server(build, &format!("login {login:?}"), &configuration)
    }

    /// nats-server without users: all commands are allowed at once.
    pub fn open_nats_server(build: Build, lines: &str) -> Target {
        Target::start_nats_server(build, "open", lines)
    }

    fn start_nats_server(build: Build, name: &str, configuration: &str) -> Target {
        let program = build.program();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("configuration");
        fs::write(&file, configuration).expect("a folder of our own");
        let mut command = Command::new(program);
        command.args(["-a", "127.0.0.1", "-p", "-1", "-c"]);
        command.arg(&file).arg("--ports_file_dir");
        command.arg(folder.path()).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let process = Ending(command.spawn().expect("nats-server is installed"));
        let mut port = None;
        wait_until("nats-server listens", || {
            port = port_in(folder.path());
            port.is_some()
        });
        Target {
            name: format!("nats-server {build:?}, {name}"),
            place: Place::Port(port.expect("it was found")),
            running: Running::NatsServer {
                _process: process,
                _folder: folder,
            },
        }
    }

    pub fn is_clacksd(&self) -> bool {
        matches!(self.running, Running::Clacksd(_))
    }

    pub fn server(&self) -> &Server {
        match &self.running {
            Running::Clacksd(server) => server,
            Running::NatsServer { .. } => panic!("nats-server"),
        }
    }

    pub fn server_mut(&mut self) -> &mut Server {
        match &mut self.running {
            Running::Clacksd(server) => server,
            Running::NatsServer { .. } => panic!("nats-server"),
        }
    }

    /// Begins a connection, and returns it with the line INFO, without its end.
    pub fn begin(&self) -> (Conversation, Vec<u8>) {
        let mut connection = match &self.place {
            Place::Unix(socket) => Conversation::begin(socket),
            Place::Port(port) => Conversation::begin_at(*port),
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

impl Build {
    /// Ends the test as ignored where this build is not installed.
    fn program(self) -> PathBuf {
        match self {
            Build::Debian => {
                needs("nats-server");
                let version = Command::new("nats-server").arg("-v").output();
                let version = String::from_utf8(version.expect("it is installed").stdout);
                let is_meant = version.expect("text").contains(DEBIAN);
                needs_that(is_meant, "nats-server v2.9.10");
                "nats-server".into()
            }
            Build::Newest => {
                let program = folder_of_clients().join("python/bin/nats-server");
                needs_made(program.exists(), "nats-clients");
                program
            }
        }
    }
}

/// The folder in which `make nats-clients` installs what Debian does not have.
fn folder_of_clients() -> PathBuf {
    if let Some(folder) = env::var_os("NATS_CLIENTS") {
        return folder.into();
    }
    let home = env::var("HOME").unwrap_or_default();
    format!("{home}/.cache/clacksd/nats-clients").into()
}

/// The port that nats-server has written to a file of the folder, if it is there whole.
fn port_in(folder: &Path) -> Option<u16> {
    let mut entries = fs::read_dir(folder).ok()?.filter_map(Result::ok);
    let is_meant = |path: &PathBuf| path.extension().is_some_and(|end| end == "ports");
    let file = entries.find_map(|entry| Some(entry.path()).filter(is_meant))?;
    let ports: serde_json::Value = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
    let address = ports["nats"][0].as_str()?;
    address.rsplit(':').next()?.parse().ok()
}
