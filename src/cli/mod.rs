//! The daemon as a process: its flags and configuration, logging, the background process, and the change of user.

mod background;
mod certificate_files;
mod config;
mod daemon;
mod flags;
mod logging;
mod pid_file;
mod privileged_open;
mod restore;
mod secrets;
mod served_files;
mod service_manager;

pub use crate::program::start::StartError;
pub use daemon::{End, run};
pub use flags::FLAGS;

use std::io::{self, Write};

/// Writes the reason for the end of the daemon to standard error.
pub fn report_error(error: &StartError) {
    let prefix = if service_manager::stderr_is_journal() {
        logging::journal_prefix(log::Level::Error)
    } else {
        ""
    };
    // An error of standard error itself, a file on a full disk for example, can't be reported.
    let _ = writeln!(io::stderr(), "{prefix}clacksd: {error}");
}
