//! The servers that NATS clients are tried with: clacksd, and nats-server in two versions.

use crate::runner::{needs, needs_made, needs_that};
use crate::support::{Client, Identity, Process, Server, Setup, hand_over, text, wait_until};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};
use tempfile::TempDir;

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

/// The folder in which `make nats-clients` installs what Debian does not have.
pub fn folder() -> PathBuf {
    if let Some(folder) = env::var_os("NATS_CLIENTS") {
        return folder.into();
    }
    let home = env::var("HOME").unwrap_or_default();
    format!("{home}/.cache/clacksd/nats-clients").into()
}

/// The conditions under which a server takes clients.
#[derive(Clone, Copy)]
pub enum Entry<'a> {
    /// Clients without a login are its primary user.
    Free,
    Login,
    /// As with [`Entry::Free`], over TLS.
    Tls(&'a Identity),
}

/// clacksd with a TCP port for NATS clients.
pub struct Clacksd {
    pub server: Server,
    pub port: u16,
}

impl Clacksd {
    pub fn start(entry: Entry<'_>) -> Clacksd {
        Clacksd::start_with(entry, &[])
    }

    /// As [`Clacksd::start`], with further flags.
    pub fn start_with(entry: Entry<'_>, flags: &[&str]) -> Clacksd {
        let setup = clacksd_setup().flags(flags);
        let free = ["--nats", "tcp://127.0.0.1:0", "--nats-user", "admin"];
        let setup = match entry {
            Entry::Free => setup.flags(&free),
            Entry::Login => setup.flags(&free[..2]),
            Entry::Tls(identity) => setup.with_tls(identity).flags(&[
                "--nats",
                "tls://127.0.0.1:0",
                "--nats-user",
                "admin",
            ]),
        };
        let server = setup.start();
        let line = server.process.log_line("nats listening on ");
        let line = line.expect("the listener is logged before \"ready\"");
        let port = line.rsplit(':').next();
        Clacksd {
            port: port.and_then(|port| port.parse().ok()).expect("a port"),
            server,
        }
    }
}

fn clacksd_setup() -> Setup {
    Setup::new().with_server_of_environment()
}

/// clacksd that a service manager has handed the socket for NATS clients. It stays open while the server restarts.
pub struct ActivatedClacksd {
    pub port: u16,
    listener: TcpListener,
    setup: Setup,
    process: Process,
}

impl ActivatedClacksd {
    pub fn start() -> ActivatedClacksd {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let setup = clacksd_setup().flags(&["--nats-user", "admin"]);
        // Not at the default port, which only one server can have.
        let address = setup.unix("socket");
        let setup = setup.flags(&["--listen", &address]);
        ActivatedClacksd {
            port: listener.local_addr().expect("it is bound").port(),
            process: ActivatedClacksd::spawn(&setup, &listener),
            listener,
            setup,
        }
    }

    fn spawn(setup: &Setup, listener: &TcpListener) -> Process {
        let process = Process::spawn(&mut hand_over(
            &setup.command(),
            &[listener.as_fd()],
            "nats",
        ));
        process.wait_for_log(" ready");
        process
    }

    pub fn restart(&mut self) {
        self.process.signal(libc::SIGTERM);
        let status = self.process.wait();
        assert!(status.success(), "{status}");
        self.process = ActivatedClacksd::spawn(&self.setup, &self.listener);
    }
}

/// A version of nats-server that differences are known to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// The package of Debian 12.
    Debian,
    /// One that `make nats-clients` installs.
    Newer,
}

impl Version {
    pub const ALL: [Version; 2] = [Version::Debian, Version::Newer];

    /// Ends the test as ignored where it is not installed.
    fn program(self) -> PathBuf {
        let (program, version) = match self {
            Version::Debian => {
                needs("nats-server");
                ("nats-server".into(), "nats-server: v2.9.10")
            }
            Version::Newer => {
                let program = folder().join("python/bin/nats-server");
                needs_made(program.exists(), "nats-clients");
                (program, "nats-server: v2.15.1")
            }
        };
        let output = Command::new(&program).arg("--version").output();
        let output = output.expect("it is installed").stdout;
        needs_that(output.trim_ascii_end() == version.as_bytes(), version);
        program
    }
}

/// nats-server at a port of its own.
pub struct NatsServer {
    pub port: u16,
    _process: Process,
    _folder: TempDir,
}

impl NatsServer {
    /// Starts it with the users of a [`Setup`].
    pub fn start(version: Version, entry: Entry<'_>) -> NatsServer {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut configuration = with_users(matches!(entry, Entry::Login), "");
        if let Entry::Tls(identity) = entry {
            let paths = ["cert.pem", "key.pem"].map(|name| folder.path().join(name));
            for (path, content) in paths.iter().zip([&identity.certificates, &identity.key]) {
                fs::write(path, content).expect("a folder of our own");
            }
            let [certificate, key] = paths.map(|path| text(&path));
            configuration += &format!("tls {{cert_file: {certificate:?}, key_file: {key:?}}}\n");
        }
        NatsServer::start_in(folder, version, &configuration)
    }

    /// Starts it with that configuration and nothing else.
    pub fn start_with(version: Version, configuration: &str) -> NatsServer {
        let folder = tempfile::tempdir().expect("a temporary folder");
        NatsServer::start_in(folder, version, configuration)
    }

    fn start_in(folder: TempDir, version: Version, configuration: &str) -> NatsServer {
        let program = version.program();
        let file = folder.path().join("configuration");
        fs::write(&file, configuration).expect("a folder of our own");
        let mut command = Command::new(program);
        command.arg("-c").arg(&file);
        command.args(["-a", "127.0.0.1", "-p", "-1", "--ports_file_dir"]);
        let process = Process::spawn(command.arg(folder.path()));
        NatsServer {
            port: port_in(folder.path(), &process),
            _process: process,
            _folder: folder,
        }
    }
}

/// The configuration of a nats-server with the users of a [`Setup`], and further lines about authorization. Clients without
/// a login are `admin`, unless one is needed.
pub fn with_users(needs_login: bool, lines: &str) -> String {
    let anonymous = match needs_login {
        true => "",
        false => "no_auth_user: admin\n",
    };
    format!("authorization {{\n{USERS}\n{lines}\n}}\n{anonymous}")
}

/// The port that nats-server has found and written to a file there.
fn port_in(folder: &Path, process: &Process) -> u16 {
    let mut port = None;
    wait_until("nats-server listens", || {
        port = fs::read_dir(folder)
            .expect("a folder of our own")
            .map(|entry| entry.expect("an entry").path())
            .find(|path| path.extension().is_some_and(|end| end == "ports"))
            .and_then(|path| fs::read(path).ok())
            // The file is there before its content.
            .and_then(|ports| serde_json::from_slice::<serde_json::Value>(&ports).ok())
            .and_then(|ports| {
                let url = ports["nats"][0].as_str()?.to_owned();
                url.rsplit(':').next()?.parse().ok()
            });
        port.is_some()
    });
    port.unwrap_or_else(|| panic!("no port: {:?}", process.log()))
}

/// A connection that speaks to a NATS port by hand, without a login.
pub struct Raw(Client);

impl Raw {
    pub fn connect(port: u16) -> Raw {
        let mut client = Client::tcp(port);
        let info = client.next_line().expect("INFO comes first");
        assert!(info.starts_with("INFO {"), "{info}");
        client.send("CONNECT {\"verbose\":false,\"headers\":true}");
        let mut raw = Raw(client);
        raw.barrier();
        raw
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.0.send_bytes(bytes);
    }

    pub fn publish(&mut self, subject: &str, payload: &[u8]) {
        let mut frame = format!("PUB {subject} {}\r\n", payload.len()).into_bytes();
        frame.extend_from_slice(payload);
        frame.extend_from_slice(b"\r\n");
        self.send(&frame);
    }

    /// Waits until the server has handled all that was sent, and returns the lines that came meanwhile.
    pub fn barrier(&mut self) -> Vec<String> {
        self.0.send("PING");
        let lines = std::iter::from_fn(|| {
            let line = self.0.next_line().expect("the server lives");
            (line != "PONG").then_some(line)
        });
        lines.collect()
    }
}
