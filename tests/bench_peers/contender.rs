//! A server under comparison, started anew for each measurement, on a core of its own.

use super::{bare, clacksd, memcached, nats, redis};
use crate::support::{DEADLINE, Ending, Setup, run_on_servers_core};
use clacks::tool::bench::connection::Socket;
use clacks::tool::bench::error::BenchError;
use clacks::tool::bench::process::Process;
use clacks::tool::bench::protocol::BenchProtocol;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Clacksd,
    ClacksdOverUnix,
    /// Keeping the cache on disk.
    ClacksdWithJournal,
    /// Spoken to as memcached is.
    ClacksdForMemcached,
    /// Spoken to as NATS is.
    ClacksdForNats,
    Redis,
    Memcached,
    Nats,
    /// A newer version than that of the distribution.
    NewerNats,
    /// Reading and writing, and nothing else.
    Bare,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Clacksd => "clacksd",
            Kind::ClacksdOverUnix => "clacksd, Unix socket",
            Kind::ClacksdWithJournal => "clacksd, journal",
            Kind::ClacksdForMemcached | Kind::ClacksdForNats => "clacksd",
            Kind::Redis => "redis",
            Kind::Memcached => "memcached",
            Kind::Nats => "nats",
            Kind::NewerNats => "newer nats",
            Kind::Bare => "system calls alone",
        }
    }

    /// Returns the program's output for `--version`, or an empty text for the bare server; `None` if the program isn't
    /// there.
    pub fn version(self) -> Option<String> {
        let program: PathBuf = match self {
            Kind::Bare => return bare::program().exists().then(String::new),
            Kind::Clacksd
            | Kind::ClacksdOverUnix
            | Kind::ClacksdWithJournal
            | Kind::ClacksdForMemcached
            | Kind::ClacksdForNats => clacksd::program().into(),
            Kind::Redis => "redis-server".into(),
            Kind::Memcached => "memcached".into(),
            Kind::Nats => nats::program(),
            Kind::NewerNats => nats::newer_program(),
        };
        let output = Command::new(program).arg("--version").output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Some(text)
    }

    /// Starts it on the server's core, and waits until it takes connections.
    pub fn start(self) -> Contender {
        let port = free_port();
        let spawn = |mut command: Command| {
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            run_on_servers_core(&mut command);
            Ending(command.spawn().expect("the program is there"))
        };
        let contender = match self {
            Kind::Clacksd | Kind::ClacksdOverUnix => {
                let setup = Setup::new();
                let process = spawn(clacksd::command(&setup, port));
                clacksd::start(setup, process, port)
            }
            Kind::ClacksdWithJournal => {
                let setup = Setup::new();
                let process = spawn(clacksd::command_with_journal(&setup, port));
                clacksd::start(setup, process, port)
            }
            Kind::ClacksdForMemcached => {
                let setup = Setup::new();
                let process = spawn(clacksd::command_for_memcached(&setup, port));
                clacksd::start_for_memcached(setup, process, port)
            }
            Kind::ClacksdForNats => {
                let setup = Setup::new();
                let process = spawn(clacksd::command_for_nats(&setup, port));
                clacksd::start_for_nats(setup, process, port)
            }
            Kind::Redis => redis::start(spawn(redis::command(port)), port),
            Kind::Memcached => memcached::start(spawn(memcached::command(port)), port),
            Kind::Nats => nats::start(spawn(nats::command(nats::program(), port)), port),
            Kind::NewerNats => {
                let command = nats::command(nats::newer_program(), port);
                nats::start(spawn(command), port)
            }
            Kind::Bare => bare::start(spawn(bare::command(port)), port),
        };
        let end = Instant::now() + DEADLINE;
        while contender.connect().is_err() {
            assert!(Instant::now() < end, "{} doesn't start", self.name());
            std::thread::sleep(Duration::from_millis(10));
        }
        match self {
            Kind::ClacksdOverUnix => clacksd::over_unix(contender),
            _ => contender,
        }
    }
}

pub enum Reached {
    Tcp(u16),
    Unix(PathBuf),
}

pub struct Contender {
    pub speaker: Box<dyn BenchProtocol>,
    pub reached: Reached,
    /// The bytes that a client sends first; none if there is no login.
    pub hello: Vec<u8>,
    /// The end of the server's answer to `hello`.
    pub welcome: Vec<u8>,
    process: Ending,
    /// The folder of a clacksd.
    pub setup: Option<Setup>,
}

impl Contender {
    pub fn new(process: Ending, port: u16, speaker: Box<dyn BenchProtocol>) -> Contender {
        Contender {
            speaker,
            reached: Reached::Tcp(port),
            hello: Vec::new(),
            welcome: Vec::new(),
            process,
            setup: None,
        }
    }

    pub fn process(&self) -> Process {
        Process::new(self.process.0.id()).expect("it runs")
    }

    /// A connection that is logged in.
    pub fn connect(&self) -> Result<Box<dyn Socket>, BenchError> {
        match &self.reached {
            Reached::Tcp(port) => {
                let stream = TcpStream::connect(("127.0.0.1", *port)).map_err(BenchError::Lost)?;
                let _ = stream.set_nodelay(true);
                self.log_in(&stream)?;
                stream.set_nonblocking(true).map_err(BenchError::Lost)?;
                Ok(Box::new(socket2::Socket::from(stream)))
            }
            Reached::Unix(path) => {
                let stream = UnixStream::connect(path).map_err(BenchError::Lost)?;
                self.log_in(&stream)?;
                stream.set_nonblocking(true).map_err(BenchError::Lost)?;
                Ok(Box::new(socket2::Socket::from(stream)))
            }
        }
    }

    fn log_in<S>(&self, mut stream: &S) -> Result<(), BenchError>
    where
        for<'a> &'a S: Read + Write,
    {
        stream.write_all(&self.hello).map_err(BenchError::Lost)?;
        let mut received = Vec::new();
        let mut buffer = [0; 4096];
        while !received.ends_with(&self.welcome) {
            let count = stream.read(&mut buffer).map_err(BenchError::Lost)?;
            if count == 0 {
                return Err(BenchError::Lost(ErrorKind::UnexpectedEof.into()));
            }
            received.extend_from_slice(&buffer[..count]);
        }
        Ok(())
    }
}

/// Somebody else may take it before the server does; then that one doesn't start.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback is there");
    listener.local_addr().expect("a listener").port()
}
