//! Terminals for tests of clacks, which tmux provides.

use crate::runner::needs;
use crate::support::{DEADLINE, Server, Setup, VARIABLES, run, text, wait_until};
use std::cell::RefCell;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// A tmux of its own, ended with the test.
pub struct Terminals {
    setup: Setup,
}

impl Terminals {
    pub fn new() -> Terminals {
        needs("tmux");
        Terminals {
            setup: Setup::bare(),
        }
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let socket = text(&self.setup.path("tmux"));
        let mut command = Command::new("tmux");
        // UTF-8 whatever the locale, and no configuration of anybody's.
        command
            .args(["-u", "-f", "/dev/null", "-S", &socket])
            .args(arguments);
        let ended = run(command
            .env_remove("TMUX")
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null()));
        assert_eq!(
            (ended.status, &*ended.stderr),
            (Some(0), ""),
            "{arguments:?}"
        );
        ended.stdout
    }

    /// A terminal of that size in which a command runs; afterwards it shows its status.
    pub fn start(&self, name: &str, size: (u32, u32), server: &Server, password: &str, what: &str) {
        let program = env!("CARGO_BIN_EXE_clacks");
        let values = [server.address(), "rw".to_owned(), password.to_owned()];
        let variables: Vec<String> = VARIABLES
            .iter()
            .zip(values)
            .map(|(name, value)| format!("{name}='{value}'"))
            .collect();
        let command = format!(
            "{} sh -c '{program} {what}; echo \"status $?\"; stty -a | grep -o \" -\\?echo \"; exec cat'",
            variables.join(" ")
        );
        let (columns, rows) = (size.0.to_string(), size.1.to_string());
        self.tmux(&[
            "new-session",
            "-d",
            "-s",
            name,
            "-x",
            &columns,
            "-y",
            &rows,
            &command,
        ]);
    }

    pub fn types(&self, name: &str, keys: &str) {
        self.tmux(&["send-keys", "-t", name, "-l", keys]);
    }

    pub fn presses(&self, name: &str, key: &str) {
        self.tmux(&["send-keys", "-t", name, key]);
    }

    pub fn resize(&self, name: &str, size: (u32, u32)) {
        let (columns, rows) = (size.0.to_string(), size.1.to_string());
        self.tmux(&["resize-window", "-t", name, "-x", &columns, "-y", &rows]);
    }

    /// Waits until the screen is as `is_right` wants it.
    pub fn expect_that(&self, name: &str, what: &str, is_right: impl Fn(&[String]) -> bool) {
        let end = std::time::Instant::now() + DEADLINE;
        loop {
            let screen = self.screen(name);
            if is_right(&screen) {
                return;
            }
            let is_late = std::time::Instant::now() >= end;
            assert!(!is_late, "{what}: the screen of {name}: {screen:#?}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// Writes to the terminal, as another program there would.
    pub fn writes(&self, name: &str, text: &str) {
        let path = self.tmux(&["display-message", "-p", "-t", name, "#{pane_tty}"]);
        fs::write(path.trim(), text).expect("a terminal of our own");
    }

    /// Sends a signal to the clacks there, as somebody would elsewhere.
    pub fn signal(&self, name: &str, signal: i32) {
        let process = self.process(name).parse().expect("a number");
        // SAFETY: plain numbers; its parent has not waited for it.
        assert_eq!(unsafe { libc::kill(process, signal) }, 0);
    }

    /// Waits until the clacks there is stopped.
    pub fn expect_stopped(&self, name: &str) {
        let path = format!("/proc/{}/stat", self.process(name));
        wait_until("it is stopped", || {
            let fields = fs::read_to_string(&path).expect("a process");
            // The state comes after the name in parentheses.
            fields
                .rsplit(") ")
                .next()
                .is_some_and(|rest| rest.starts_with('T'))
        });
    }

    /// The process of the clacks there.
    fn process(&self, name: &str) -> String {
        let shell = self.tmux(&["display-message", "-p", "-t", name, "#{pane_pid}"]);
        let mut process = shell.trim().to_owned();
        // It is the last of the shells' only children.
        while let Some(child) = only_child(&process) {
            process = child;
        }
        let program = fs::read_link(format!("/proc/{process}/exe")).expect("a running process");
        assert_eq!(program, Path::new(env!("CARGO_BIN_EXE_clacks")));
        process
    }

    /// The lines on the screen, without empty ones at the end.
    pub fn screen(&self, name: &str) -> Vec<String> {
        let screen = self.tmux(&["capture-pane", "-p", "-t", name]);
        let lines: Vec<String> = screen
            .lines()
            .map(|line| line.trim_end().to_owned())
            .collect();
        let end = lines.iter().rposition(|line| !line.is_empty());
        lines[..end.map_or(0, |end| end + 1)].to_vec()
    }

    pub fn expect(&self, name: &str, expected: &[&str]) {
        let last = RefCell::new(Vec::new());
        let end = std::time::Instant::now() + DEADLINE;
        while std::time::Instant::now() < end {
            last.replace(self.screen(name));
            if *last.borrow() == expected {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        assert_eq!(*last.borrow(), expected, "the screen of {name}");
    }
}

fn only_child(process: &str) -> Option<String> {
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children"));
    let children = children.expect("a running process");
    children.split_whitespace().next().map(str::to_owned)
}

impl Drop for Terminals {
    fn drop(&mut self) {
        let socket = text(&self.setup.path("tmux"));
        let mut command = Command::new("tmux");
        command.args(["-S", &socket, "kill-server"]);
        let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}
