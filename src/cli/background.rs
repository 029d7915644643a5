//! `--daemonize`: the server continues in a background process. The foreground process waits until the server serves or
//! its start has failed.

use crate::program::start::StartError;
use crate::sys;
use daemonize::{Daemonize, Outcome};
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::path::PathBuf;

/// The longest message of a failed start, in bytes.
const MAX_MESSAGE: u64 = 64 * 1024;

/// One of the two processes after the fork.
pub enum Process {
    /// The process that was called, with the outcome of the start.
    Foreground(Result<(), StartError>),
    /// The process that will serve.
    Background(StartReport),
}

/// Sends the outcome of the start to the foreground process. If it is dropped without an outcome, the foreground process
/// reports that the server died.
pub struct StartReport {
    pipe: PipeWriter,
}

impl StartReport {
    /// Reports that the server serves.
    pub fn succeed(self) {
        self.send(0, "");
    }

    /// Reports the error of a failed start.
    pub fn fail(self, error: &StartError) {
        self.send(error.exit_status(), &error.to_string());
    }

    fn send(mut self, status: u8, message: &str) {
        let mut report = vec![status];
        report.extend_from_slice(message.as_bytes());
        // The write fails only if the foreground process has ended, so that nobody waits for the report.
        let _ = self.pipe.write_all(&report);
    }
}

/// Forks a background process with a session of its own and without a terminal. The process must have one thread. Until
/// [`leave_caller_environment`], the background process keeps the caller's working directory and mask of file modes.
///
/// # Errors
/// The background process could not be created. An error of the start in the background process is the content of
/// [`Process::Foreground`].
pub fn fork() -> Result<Process, StartError> {
    let (outcome, pipe) = io::pipe().map_err(|error| failed(&error))?;
    let report = StartReport { pipe };
    let folder = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    let forked = Daemonize::new()
        .working_directory(folder)
        .umask(sys::umask())
        .execute();
    match forked {
        Outcome::Parent(Ok(_)) => {
            drop(report);
            Ok(Process::Foreground(wait(outcome)))
        }
        Outcome::Parent(Err(error)) => Err(failed(&error)),
        Outcome::Child(Ok(_)) => Ok(Process::Background(report)),
        Outcome::Child(Err(error)) => {
            report.fail(&failed(&error));
            Err(failed(&error))
        }
    }
}

/// Replaces the caller's working directory and mask of file modes, after all files that the flags name are open.
///
/// # Errors
/// The root can't become the working directory.
pub fn leave_caller_environment() -> Result<(), StartError> {
    sys::set_umask(0o027);
    std::env::set_current_dir("/").map_err(|error| failed(&error))
}

fn wait(outcome: PipeReader) -> Result<(), StartError> {
    let mut report = Vec::new();
    outcome
        .take(MAX_MESSAGE)
        .read_to_end(&mut report)
        .map_err(|error| failed(&error))?;
    match report.split_first() {
        Some((0, _)) => Ok(()),
        Some((status, message)) => {
            let message = String::from_utf8_lossy(message).into_owned();
            Err(StartError::with_exit_status(*status, message))
        }
        None => Err(failed(&"the server died during its start")),
    }
}

fn failed(error: &dyn std::fmt::Display) -> StartError {
    StartError::Failed(format!("--daemonize: {error}"))
}
