//! The daemon as a process: flags to configuration, logging, background, identity.

mod certificates;
mod config;
mod daemon;
mod flags;
mod logging;
mod secrets;
mod service_manager;

pub use daemon::run;
pub use flags::{FLAGS, Flag};

use std::fmt;

/// Why the daemon didn't start. One line says it, naming the flag.
#[derive(Debug, PartialEq, Eq)]
pub enum StartError {
    /// Wrong or contradicting flags or files.
    Usage(String),
    /// Anything else: a port in use, no right to do something.
    Failed(String),
}

impl StartError {
    pub fn exit_status(&self) -> u8 {
        match self {
            StartError::Usage(_) => 2,
            StartError::Failed(_) => 1,
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (StartError::Usage(message) | StartError::Failed(message)) = self;
        f.write_str(message)
    }
}

/// Says on standard error why the daemon ends: one line, whatever the argument was that it quotes.
pub fn complain(error: &StartError) {
    let prefix = if service_manager::stderr_is_journal() {
        logging::journal_prefix(log::Level::Error)
    } else {
        ""
    };
    eprintln!(
        "{prefix}clacksd: {}",
        error.to_string().replace('\n', "\\n")
    );
}
