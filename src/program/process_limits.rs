//! The limit on the size of files (`ulimit -f`, `LimitFSIZE=`), as an error of the write that passes it.

use signal_hook::consts::SIGXFSZ;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Lets a write beyond the limit fail with `EFBIG`, as one to a full disk fails. By default the system ends a process
/// that passes the limit. To be called by a program, at its start; what it executes has the default again.
///
/// # Errors
/// The handler could not be installed.
pub fn report_file_size_as_error() -> io::Result<()> {
    // The flag is of no use; a handler is what keeps the process alive.
    signal_hook::flag::register(SIGXFSZ, Arc::<AtomicBool>::default()).map(|_| ())
}
