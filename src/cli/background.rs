//! `--daemonize`: the server goes on in the background, and the process that was called waits until it serves, or
//! has failed to start.

use crate::cli::StartError;
use crate::sys;
use daemonize::{Daemonize, Outcome};
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::path::PathBuf;

/// More than this is no message of a failed start.
const MAX_MESSAGE: u64 = 64 * 1024;

/// Which of the two processes this one is.
pub enum Process {
    /// The one that was called, with the outcome of the start.
    Foreground(Result<(), StartError>),
    /// The one that is to serve.
    Background(StartReport),
}

/// Carries the outcome of the start to the process that waits for it. Dropped without a word, it says that the server
/// has died.
pub struct StartReport {
    pipe: PipeWriter,
}

impl StartReport {
    /// The server serves.
    pub fn succeed(self) {
        self.send(0, "");
    }

    pub fn fail(self, error: &StartError) {
        self.send(error.exit_status(), &error.to_string());
    }

    fn send(mut self, status: u8, message: &str) {
        let mut report = vec![status];
        report.extend_from_slice(message.as_bytes());
        // If the process that waited was ended, nobody wants to know.
        let _ = self.pipe.write_all(&report);
    }
}

/// Goes on in the background, in a session of its own, without a terminal. Only one thread may exist. Until
/// [`settle`], paths and the mode of new files mean what they mean to the caller.
///
/// # Errors
/// There was no second process. In the foreground, what went wrong in the other one is the [`Process::Foreground`].
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

/// Leaves the caller's folder and mode of new files. To be called when all that the flags name is open.
pub fn settle() -> Result<(), StartError> {
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
