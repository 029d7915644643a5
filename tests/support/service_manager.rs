//! The tests in the role of the service manager.

use super::{DEADLINE, Setup};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Hears what a server tells its manager.
pub struct ServiceManager {
    pub socket: UnixDatagram,
    pub path: PathBuf,
}

impl ServiceManager {
    /// With its socket in the folder of the setup.
    pub fn new(setup: &Setup) -> ServiceManager {
        let path = setup.path("notify");
        let socket = UnixDatagram::bind(&path).expect("a folder of our own");
        ServiceManager { socket, path }
    }

    /// The next message, unless nothing comes for so long.
    pub fn receive(&self, wait: Duration) -> Option<String> {
        let mut buffer = [0; 4096];
        self.socket
            .set_read_timeout(Some(wait))
            .expect("a time above zero");
        let count = self.socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..count]).into_owned())
    }

    /// The next message that begins so; what came before it.
    pub fn wait_for(&self, start: &str) -> (String, Vec<String>) {
        let mut before = Vec::new();
        let end = Instant::now() + DEADLINE;
        while Instant::now() < end {
            match self.receive(Duration::from_millis(100)) {
                Some(message) if message.starts_with(start) => return (message, before),
                Some(message) => before.push(message),
                None => {}
            }
        }
        panic!("no {start}, only {before:?}");
    }
}

/// The command as a service manager would run it that hands over these sockets. An empty list of names
/// is none.
pub fn hand_over(command: &Command, sockets: &[BorrowedFd<'_>], names: &str) -> Command {
    // Only the process itself knows its number, and keeps it when it becomes the server.
    let mut activated = Command::new("sh");
    activated
        .arg("-c")
        .arg("LISTEN_PID=$$ exec \"$0\" \"$@\"")
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::null());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => activated.env(name, value),
            None => activated.env_remove(name),
        };
    }
    activated.env("LISTEN_FDS", sockets.len().to_string());
    if !names.is_empty() {
        activated.env("LISTEN_FDNAMES", names);
    }
    let numbers: Vec<RawFd> = sockets.iter().map(|socket| socket.as_raw_fd()).collect();
    // SAFETY: between fork and exec, only these two calls are made, which are safe to make there; the
    // vector's memory was allocated before.
    unsafe {
        activated.pre_exec(move || {
            let first_free = 100;
            let mut copies = [0; 8];
            for (copy, number) in copies.iter_mut().zip(&numbers) {
                *copy = libc::fcntl(*number, libc::F_DUPFD_CLOEXEC, first_free);
            }
            for (copy, place) in copies.iter().zip(3..).take(numbers.len()) {
                if libc::dup2(*copy, place) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        })
    };
    activated
}
