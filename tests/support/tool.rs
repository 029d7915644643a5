//! clacks, the command-line client, as a process.

use super::{DEADLINE, Ended, Server, run, text};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

/// The variables that it goes by.
pub const VARIABLES: [&str; 3] = ["CLACKS_SERVER", "CLACKS_USER", "CLACKS_PASSWORD"];

/// clacks with nothing from the environment of the tests.
pub fn bare_clacks(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clacks"));
    for name in VARIABLES {
        command.env_remove(name);
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

impl Server {
    pub fn address(&self) -> String {
        format!("unix:{}", text(&self.socket))
    }

    /// clacks as that user of this server.
    pub fn clacks_command(&self, user: &str, arguments: &[&str]) -> Command {
        let mut command = bare_clacks(arguments);
        let values = [self.address(), user.to_owned(), format!("{user}pw")];
        command.envs(VARIABLES.iter().zip(values));
        command
    }

    pub fn clacks(&self, user: &str, arguments: &[&str]) -> Ended {
        run(&mut self.clacks_command(user, arguments))
    }

    /// Runs clacks as that user of this server, with `input` on standard input.
    pub fn clacks_reading(&self, user: &str, arguments: &[&str], input: &[u8]) -> Ended {
        let path = self.setup.path("input");
        fs::write(&path, input).expect("a folder of our own");
        let input = File::open(path).expect("it was just written");
        run(self.clacks_command(user, arguments).stdin(input))
    }

    /// Runs clacks as that user of this server and returns its output. It must succeed and print no errors.
    pub fn clacks_output(&self, user: &str, arguments: &[&str]) -> String {
        let ended = self.clacks(user, arguments);
        assert_eq!(
            (ended.status, &*ended.stderr),
            (Some(0), ""),
            "{arguments:?}"
        );
        ended.stdout
    }

    /// Starts it, and waits until the server has got that line from it.
    pub fn clacks_until(&self, user: &str, arguments: &[&str], line: &str) -> Running {
        let mut monitor = self.client("mg");
        monitor.ask("MONITOR");
        let running = Running::start(&mut self.clacks_command(user, arguments));
        let end = format!("={line}");
        while !monitor
            .next_line()
            .expect("the server lives")
            .ends_with(&end)
        {}
        // The server has handled that line when it handles the monitor's own next one.
        monitor.flush();
        running
    }
}

/// A process whose output is read line by line.
pub struct Running {
    child: Child,
    pub stdin: Option<ChildStdin>,
    lines: Option<Receiver<String>>,
    stderr: Receiver<String>,
}

fn lines_of(pipe: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sending, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if sending.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

impl Running {
    pub fn start(command: &mut Command) -> Running {
        let mut running = Running::start_unread(command);
        let stdout = running.stdout();
        running.lines = Some(lines_of(stdout));
        running
    }

    /// Nobody reads its output until [`Running::stdout`] does.
    pub fn start_unread(command: &mut Command) -> Running {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("a process");
        let stderr = lines_of(child.stderr.take().expect("a pipe"));
        Running {
            stdin: child.stdin.take(),
            child,
            lines: None,
            stderr,
        }
    }

    pub fn stdout(&mut self) -> ChildStdout {
        self.child.stdout.take().expect("it is taken once")
    }

    /// The next line that it prints; `None` at the end.
    pub fn next_line(&self) -> Option<String> {
        let lines = self.lines.as_ref().expect("its output is read");
        lines.recv_timeout(DEADLINE).ok()
    }

    /// The next line, if one was printed already.
    pub fn try_line(&self) -> Option<String> {
        let lines = self.lines.as_ref().expect("its output is read");
        lines.try_recv().ok()
    }

    /// The next line on standard error.
    pub fn complaint(&self) -> String {
        self.stderr.recv_timeout(DEADLINE).expect("a line in time")
    }

    pub fn rest(&self) -> Vec<String> {
        std::iter::from_fn(|| self.next_line()).collect()
    }

    pub fn signal(&self, signal: i32) {
        let id = i32::try_from(self.child.id()).expect("process ids fit");
        // SAFETY: plain numbers; the child was not waited for, so its id is still its own.
        assert_eq!(unsafe { libc::kill(id, signal) }, 0);
    }

    pub fn wait(&mut self) -> ExitStatus {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                return status;
            }
            assert!(Instant::now() < end, "it doesn't end");
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
