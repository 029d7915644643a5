//! Limits that the system sets for the process: on the size of files and on the number of descriptors.

use rustix::process::{Resource, getrlimit, setrlimit};
use signal_hook::consts::SIGXFSZ;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Makes a write beyond the limit on the size of files (`ulimit -f`, `LimitFSIZE=`) fail with `EFBIG`, as a write to a
/// full disk fails. By default the system ends a process that exceeds the limit. A program calls this at its start; the
/// programs that it executes have the default again.
///
/// # Errors
/// The handler could not be installed.
pub fn report_file_size_as_error() -> io::Result<()> {
    // The flag is of no use; a handler is what keeps the process alive.
    signal_hook::flag::register(SIGXFSZ, Arc::<AtomicBool>::default()).map(|_| ())
}

/// Raises the soft limit on descriptors to the hard limit. Returns the new limit.
///
/// # Errors
/// The system refuses it.
pub fn raise_descriptor_limit() -> io::Result<usize> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    // No limit is the largest number.
    let limit = limit.current.and_then(|limit| usize::try_from(limit).ok());
    Ok(limit.unwrap_or(usize::MAX))
}
