//! The server under test, as a process.

use super::{Client, Identity, wait_until};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use tempfile::TempDir;

/// The folder, the program and the flags that a server is started with. A setup that is not
/// [bare](Setup::bare) has the primary user `admin` with password `adminpw`, and the users of the transcripts.
pub struct Setup {
    pub folder: TempDir,
    program: String,
    arguments: Vec<String>,
}

pub const USERS: &str = "rw:read,write:rwpw\nro:read:ropw\nwo:write:wopw\nmg:manage:mgpw\n";

impl Setup {
    /// A folder and no flags.
    pub fn bare() -> Setup {
        let folder = tempfile::Builder::new()
            .prefix("clacksd-test-")
            .tempdir()
            .expect("a temporary folder");
        Setup {
            folder,
            program: env!("CARGO_BIN_EXE_clacksd").to_owned(),
            arguments: Vec::new(),
        }
    }

    pub fn new() -> Setup {
        let setup = Setup::bare();
        setup.write_secret("password", "adminpw\n");
        setup.write_secret("users", USERS);
        let (password, users) = (setup.path("password"), setup.path("users"));
        setup.flags(&[
            "--user",
            "admin",
            "--password-file",
            &text(&password),
            "--users",
            &text(&users),
        ])
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file that others can't read.
    pub fn write_secret(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).expect("a file in a folder of our own");
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600))
            .expect("a file of our own");
    }

    /// Writes certificate and key to where [`Setup::with_tls`] has them.
    pub fn write_identity(&self, identity: &Identity) {
        self.write_secret("cert.pem", &identity.certificates);
        self.write_secret("key.pem", &identity.key);
    }

    /// Listens for TLS, too.
    pub fn with_tls(self, identity: &Identity) -> Setup {
        self.write_identity(identity);
        let (certificate, key) = (text(&self.path("cert.pem")), text(&self.path("key.pem")));
        self.flags(&[
            "--listen",
            "tls://127.0.0.1:0",
            "--tls-cert",
            &certificate,
            "--tls-key",
            &key,
        ])
    }

    pub fn flags(mut self, flags: &[&str]) -> Setup {
        self.arguments
            .extend(flags.iter().map(|flag| flag.to_string()));
        self
    }

    /// The server with these flags and nothing from the environment of the tests.
    pub fn command(&self) -> Command {
        self.command_of(&self.program)
    }

    /// Takes the build of the server that `CLACKSD_SERVER` names, if it names one.
    pub fn with_server_of_environment(mut self) -> Setup {
        if let Ok(program) = std::env::var("CLACKSD_SERVER") {
            self.program = program;
        }
        self
    }

    /// Returns the command of another build of the server, with these flags and nothing from the environment of the
    /// tests.
    pub fn command_of(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for name in [
            "RUST_LOG",
            "CLACKSD_USER",
            "CLACKSD_PASSWORD",
            "CREDENTIALS_DIRECTORY",
            "JOURNAL_STREAM",
            "LISTEN_FDNAMES",
            "LISTEN_FDS",
            "LISTEN_PID",
            "NOTIFY_SOCKET",
            "WATCHDOG_PID",
            "WATCHDOG_USEC",
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
        ] {
            command.env_remove(name);
        }
        command.args(&self.arguments).stdin(Stdio::null());
        command
    }

    /// The address of the Unix socket of that name in the folder.
    pub fn unix(&self, name: &str) -> String {
        format!("unix:{}", text(&self.path(name)))
    }

    /// Starts with exactly these flags, and waits until the server is ready.
    pub fn spawn(&self) -> Process {
        let process = Process::spawn(&mut self.command());
        process.wait_for_log("ready");
        process
    }

    /// Starts on a Unix socket and on a free TCP port, and waits until the server is ready.
    pub fn start(self) -> Server {
        self.start_changed(|_| ())
    }

    /// As [`Setup::start`], but `change` may do something to the command first.
    pub fn start_changed(self, change: impl FnOnce(&mut Command)) -> Server {
        let (socket, address) = (self.path("socket"), self.unix("socket"));
        let setup = self.flags(&["--listen", &address, "--listen", "tcp://127.0.0.1:0"]);
        let mut command = setup.command();
        change(&mut command);
        let process = Process::spawn(&mut command);
        process.wait_for_log("ready");
        let port = process.port("tcp");
        Server {
            process,
            socket,
            port,
            setup,
        }
    }
}

pub fn text(path: &Path) -> String {
    path.to_str().expect("temporary paths are text").to_owned()
}

/// A child that is ended with the test, however that ends.
pub struct Ending(pub Child);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How a program ended that was waited for.
#[derive(Debug)]
pub struct Ended {
    /// `None`: by a signal.
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Ended {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a process");
    let stdout = read_along(child.stdout.take().expect("a pipe"));
    let stderr = read_along(child.stderr.take().expect("a pipe"));
    let mut process = Process {
        child,
        log: Arc::default(),
        reader: None,
    };
    let status = process.wait().code();
    let finished = |reader: JoinHandle<String>| reader.join().expect("the output is text");
    Ended {
        status,
        stdout: finished(stdout),
        stderr: finished(stderr),
    }
}

fn read_along(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = String::new();
        pipe.read_to_string(&mut text).expect("text");
        text
    })
}

/// A process whose log is read along.
pub struct Process {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    /// Reads the log; `None`: somebody else does.
    reader: Option<JoinHandle<()>>,
}

impl Process {
    pub fn spawn(command: &mut Command) -> Process {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("a process");
        let log = Arc::new(Mutex::new(Vec::new()));
        let (lines, stderr) = (log.clone(), child.stderr.take().expect("a pipe"));
        let reader = Some(std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.lock().expect("no panic while it is held").push(line);
            }
        }));
        Process { child, log, reader }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The log so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().expect("no panic while it is held").clone()
    }

    /// The log from its line of that number on.
    pub fn log_from(&self, line: usize) -> Vec<String> {
        self.log.lock().expect("no panic while it is held")[line..].to_vec()
    }

    pub fn log_line(&self, part: &str) -> Option<String> {
        self.log().into_iter().find(|line| line.contains(part))
    }

    /// The port of its listener of that kind for Clacks clients.
    fn port(&self, kind: &str) -> u16 {
        let start = format!("listening on {kind}://127.0.0.1:");
        self.port_in(|line| line.contains(&start) && !line.contains("memcached listening"))
    }

    /// The port of its TCP listener for memcached clients.
    pub fn memcached_port(&self) -> u16 {
        self.port_in(|line| line.contains("memcached listening on tcp://127.0.0.1:"))
    }

    /// The port at the end of the first such line of the log.
    fn port_in(&self, is_meant: impl Fn(&str) -> bool) -> u16 {
        let line = self.log().into_iter().find(|line| is_meant(line));
        let line = line.expect("the port is logged before \"ready\"");
        let port = line.rsplit(':').next();
        port.and_then(|port| port.parse().ok()).expect("a port")
    }

    pub fn wait_for_log(&self, part: &str) -> String {
        let mut found = None;
        wait_until(&format!("\"{part}\" in the log {:?}", self.log), || {
            found = self.log_line(part);
            found.is_some()
        });
        found.expect("it was found")
    }

    /// Processor time used so far, in seconds.
    pub fn cpu_s(&self) -> f64 {
        let stat =
            fs::read_to_string(format!("/proc/{}/stat", self.id())).expect("a running process");
        // The name in parentheses may hold blanks; the times are the 14th and 15th field.
        let (_, fields) = stat.rsplit_once(')').expect("the name in parentheses");
        let ticks = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|field| field.parse::<u32>().expect("a number"));
        // Linux counts 100 ticks a second on every machine.
        f64::from(ticks.sum::<u32>()) / 100.0
    }

    pub fn signal(&self, signal: i32) {
        let id = i32::try_from(self.child.id()).expect("process ids fit");
        // SAFETY: plain numbers; the child was not waited for, so its id is still its own.
        assert_eq!(unsafe { libc::kill(id, signal) }, 0);
    }

    /// Lets its files grow to so many bytes at most.
    pub fn limit_files(&self, bytes: u64) {
        let limit = libc::rlimit64 {
            rlim_cur: bytes,
            rlim_max: libc::RLIM64_INFINITY,
        };
        let process = i32::try_from(self.id()).expect("process ids fit");
        // SAFETY: `limit` is a valid rlimit64 that the call reads; the process is a child of ours.
        let set =
            unsafe { libc::prlimit64(process, libc::RLIMIT_FSIZE, &limit, std::ptr::null_mut()) };
        assert_eq!(set, 0);
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child of ours").is_some()
    }

    /// Waits for its end, and until its log is read to the end.
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the process has ended, and its log", || {
            status = self.child.try_wait().expect("a child of ours");
            status.is_some() && self.reader.as_ref().is_none_or(JoinHandle::is_finished)
        });
        status.expect("it has ended")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A running server.
pub struct Server {
    pub process: Process,
    pub socket: PathBuf,
    pub port: u16,
    pub setup: Setup,
}

impl Server {
    pub fn start() -> Server {
        Setup::new().start()
    }

    /// The process is killed, and started anew with the same flags.
    pub fn kill_and_restart(self) -> Server {
        let Server {
            process,
            socket,
            port,
            setup,
        } = self;
        // Its end waits for the process.
        drop(process);
        let process = setup.spawn();
        Server {
            process,
            socket,
            port,
            setup,
        }
    }

    /// The process ends in order, and is started anew with the same flags.
    pub fn end_and_restart(mut self) -> Server {
        self.process.signal(libc::SIGTERM);
        let status = self.process.wait();
        assert!(status.success(), "{status}");
        self.kill_and_restart()
    }

    /// A logged-in client on the Unix socket.
    pub fn client(&self, user: &str) -> Client {
        self.stranger().logged_in(user)
    }

    /// A connection that hasn't said anything yet.
    pub fn stranger(&self) -> Client {
        Client::unix(&self.socket)
    }

    pub fn tcp_stranger(&self) -> Client {
        Client::tcp(self.port)
    }

    pub fn tls_port(&self) -> u16 {
        self.process.port("tls")
    }

    /// The line of the log that SIGUSR1 asks for.
    pub fn status_line(&self) -> String {
        let before = self.process.log().len();
        self.process.signal(libc::SIGUSR1);
        let mut found = None;
        wait_until("a status in the log", || {
            found = self
                .process
                .log_from(before)
                .into_iter()
                .find(|line| line.contains("status: "));
            found.is_some()
        });
        found.expect("it was found")
    }

    /// A figure of the server's status; 0 if it isn't mentioned.
    pub fn status(&self, figure: &str) -> u64 {
        let line = self.status_line();
        let value = line
            .split(' ')
            .find_map(|word| word.strip_prefix(figure)?.strip_prefix('='));
        value.map_or(0, |value| value.parse().expect("figures are numbers"))
    }

    /// Most output that waits for one of its clients, in bytes. What many answers share counts in each.
    pub fn most_waiting(&self, manager: &mut Client) -> usize {
        let list = manager.ask("CLIENTLIST");
        let lengths = list.iter().filter_map(|line| {
            let (_, rest) = line.split_once(";OUTBUFFER_LENGTH=")?;
            rest.split(';').next()?.parse().ok()
        });
        lengths.max().expect("a manager at least")
    }

    /// Reports whether the server's link to its master is up.
    pub fn is_slave(&self) -> bool {
        self.status_line().contains(" uplink=up ")
    }

    /// Returns the entries of the server's cache: values by name.
    pub fn entries(&self) -> BTreeMap<String, String> {
        /// So many answers wait in the socket at most.
        const AT_ONCE: usize = 100;
        let mut client = self.client("admin");
        let keys = client.ask("KEYLIST");
        let names: Vec<&str> = keys
            .iter()
            .filter_map(|line| line.strip_prefix("KEY "))
            .collect();
        let mut entries = BTreeMap::new();
        for names in names.chunks(AT_ONCE) {
            let lines = names.iter().map(|name| format!("RETRIEVE {name}\r\n"));
            client.send_bytes(lines.collect::<String>().as_bytes());
            for (name, answer) in names.iter().zip(client.flush()) {
                let value = answer.split_once('=').map_or("", |(_, value)| value);
                entries.insert(name.to_string(), value.to_owned());
            }
        }
        entries
    }

    /// A line of `/proc/PID/status`, as a number.
    pub fn proc_status(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))
            .expect("a running process");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let value = line
            .and_then(|line| line.split_whitespace().next())
            .expect("a line of that name");
        value.parse().expect("a number")
    }

    /// Lets it open descriptors with numbers below this one only; the limit that was there.
    pub fn limit_descriptors(&self, limit: u64) -> u64 {
        let id = i32::try_from(self.process.id()).expect("process ids fit");
        let mut limits = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: `limits` is a valid place for the limits, and none are set.
        let got = unsafe { libc::prlimit(id, libc::RLIMIT_NOFILE, std::ptr::null(), &mut limits) };
        assert_eq!(got, 0);
        let before = std::mem::replace(&mut limits.rlim_cur, limit);
        // SAFETY: `limits` are valid limits, and the old ones aren't asked for.
        let set = unsafe { libc::prlimit(id, libc::RLIMIT_NOFILE, &limits, std::ptr::null_mut()) };
        assert_eq!(set, 0);
        before
    }

    /// Lets it open so many descriptors more; the limit that was there.
    pub fn leave_descriptors(&self, count: usize) -> u64 {
        // The limit is one on their numbers, and it may have inherited some high one.
        let open = self.descriptors();
        let mut free = (0..).filter(|number| !open.contains(number));
        self.limit_descriptors(free.nth(count).expect("free numbers"))
    }

    /// The numbers of its open descriptors.
    pub fn descriptors(&self) -> BTreeSet<u64> {
        let entries =
            fs::read_dir(format!("/proc/{}/fd", self.process.id())).expect("a running process");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        names
            .map(|name| {
                name.to_str()
                    .and_then(|name| name.parse().ok())
                    .expect("a number")
            })
            .collect()
    }

    pub fn open_descriptors(&self) -> usize {
        self.descriptors().len()
    }
}
