//! The daemon as a process: flags to configuration, logging, background, identity.

mod background;
mod certificates;
mod config;
mod daemon;
mod flags;
mod given_files;
mod logging;
mod pid_file;
mod restore;
mod secrets;
mod served_files;
mod service_manager;

pub use crate::program::start::StartError;
pub use daemon::{End, run};
pub use flags::FLAGS;

use std::io::{self, Write};

/// Says on standard error why the daemon ends.
pub fn complain(error: &StartError) {
    let prefix = if service_manager::stderr_is_journal() {
        logging::journal_prefix(log::Level::Error)
    } else {
        ""
    };
    // Standard error may be a full disk.
    let _ = writeln!(io::stderr(), "{prefix}clacksd: {error}");
}
