//! Errors of a command, with the exit status and the message of each.

use super::refusal;
use crate::client::Error;
use std::borrow::Cow;
use std::io::{self, ErrorKind};
use std::time::Duration;

/// The time limit of a call, beside connecting and the login. Failures name it.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The reason for which a command did not do what it was asked to.
#[derive(Debug)]
pub enum Failure {
    NoEntry(String),
    /// Wrong usage, or a file, standard input or standard output that doesn't work.
    Usage(String),
    /// No connection, no login, or no answer.
    Connection(String),
    /// The reason that the server gave, one word as a rule.
    Refused(String),
    /// The reader of standard output has gone. The command has nothing left to do and counts as done.
    OutputClosed,
}

impl Failure {
    /// The exit status of the process, and the message for standard error.
    pub fn exit_status_and_message(&self) -> (u8, Option<Cow<'_, str>>) {
        match self {
            Failure::OutputClosed => (0, None),
            Failure::NoEntry(what) => (1, Some(what.into())),
            Failure::Usage(what) => (2, Some(what.into())),
            Failure::Connection(what) => (3, Some(what.into())),
            Failure::Refused(reason) => (4, Some(refusal::message(reason).into())),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let what = error.to_string();
        match error {
            Error::Invalid(_) | Error::Options(_) | Error::Structure(_) => Failure::Usage(what),
            Error::Refused(reason) => Failure::Refused(reason),
            Error::TimedOut => {
                Failure::Connection(format!("{what} ({} s)", CALL_TIMEOUT.as_secs()))
            }
            Error::LoginRefused
            | Error::Certificate(_)
            | Error::Disconnected(_)
            | Error::NotClacks(_) => Failure::Connection(what),
        }
    }
}

/// Converts errors of standard input and output. Errors of the connection to the server come as [`Error`].
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            ErrorKind::BrokenPipe => Failure::OutputClosed,
            _ => Failure::Usage(format!("standard input or output: {error}")),
        }
    }
}
