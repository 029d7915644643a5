//! The daemon as a process: flags to configuration, logging, background, identity.

mod certificates;
mod config;
mod daemon;
mod flags;
mod given_files;
mod logging;
mod secrets;
mod service_manager;

pub use crate::start::StartError;
pub use daemon::run;
pub use flags::FLAGS;

/// Says on standard error why the daemon ends.
pub fn complain(error: &StartError) {
    let prefix = if service_manager::stderr_is_journal() {
        logging::journal_prefix(log::Level::Error)
    } else {
        ""
    };
    eprintln!("{prefix}clacksd: {error}");
}
