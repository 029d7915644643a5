//! Unix signals as a program takes them over from its parent, which may have blocked or ignored some.

use crate::sys;
use signal_hook::consts::SIGXFSZ;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Prepares the process for signals. Each program calls this at its start, before it has threads.
///
/// - All signals are unblocked, since a process that inherits a blocked SIGTERM can't be ended with it.
/// - SIGCHLD has its default action, so that ended children can be waited for.
/// - SIGXFSZ ends nothing: a write beyond the limit on the size of files (`ulimit -f`, `LimitFSIZE=`) fails with
///   `EFBIG`, as a write to a full disk fails. Programs that this one executes have the default action again.
/// - SIGPIPE stays ignored, as the standard library sets it.
///
/// # Errors
/// The system refuses one of these settings.
pub fn prepare() -> io::Result<()> {
    // The flag has no reader: a signal with a handler does not end the process.
    signal_hook::flag::register(SIGXFSZ, Arc::<AtomicBool>::default())?;
    sys::reset_signals()
}
