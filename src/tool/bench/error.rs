//! Errors of a load.

use super::super::failure::Failure;
use crate::client::Error;
use std::fmt;
use std::io;

/// The reason for which a load could not be finished.
#[derive(Debug)]
pub enum BenchError {
    /// The server refused a command; the text is its reason.
    Refused(String),
    /// An answer differs from the expected one; the text shows both.
    Wrong(String),
    /// No answer arrived within the time limit.
    Late,
    Lost(io::Error),
    /// A connection could not be made.
    Unreachable(Error),
}

impl BenchError {
    pub(super) fn wrong(line: &[u8], wanted: &[u8]) -> BenchError {
        let shown = |bytes: &[u8]| bytes[..bytes.len().min(80)].escape_ascii().to_string();
        BenchError::Wrong(match wanted.is_empty() {
            true => format!("\"{}\" came, and nothing should", shown(line)),
            false => format!("\"{}\" came instead of \"{}\"", shown(line), shown(wanted)),
        })
    }
}

impl fmt::Display for BenchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BenchError::Refused(reason) => write!(f, "the server refused it: {reason}"),
            BenchError::Wrong(what) => write!(f, "a wrong answer: {what}"),
            BenchError::Late => write!(f, "the server did not answer in time"),
            BenchError::Lost(error) => write!(f, "a connection was lost: {error}"),
            BenchError::Unreachable(error) => error.fmt(f),
        }
    }
}

impl From<BenchError> for Failure {
    fn from(error: BenchError) -> Failure {
        match error {
            BenchError::Refused(reason) => Failure::Refused(reason),
            // A full server counts as one that can't be reached.
            error => Failure::Connection(error.to_string()),
        }
    }
}
