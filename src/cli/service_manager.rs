//! The environment that a service manager provides: the socket for notifications, the watchdog's interval, listening
//! sockets, and the stream of its log. Variables, and the treatment of wrong values, follow sd_notify(3),
//! sd_watchdog_enabled(3), sd_listen_fds(3) and systemd.exec(5).

use crate::program::start::StartError;
use crate::reactor::{Listener, Notifier};
use crate::sys;
use std::env;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, RawFd};
use std::os::unix::fs::MetadataExt;

/// The first inherited descriptor, after standard input, output and error.
const FIRST_DESCRIPTOR: RawFd = 3;

/// The notifier of the service manager. A wrong environment is only logged: the server runs without notifications then.
pub fn notifier() -> Notifier {
    let Some(address) = env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty()) else {
        return Notifier::default();
    };
    Notifier::open(&address, watchdog_us()).unwrap_or_else(|error| {
        log::warn!("NOTIFY_SOCKET={}: {error}", address.display());
        Notifier::default()
    })
}

/// The watchdog's timeout in microseconds, if the service manager watches this process.
fn watchdog_us() -> Option<u64> {
    let text = env::var("WATCHDOG_USEC").ok()?;
    if !is_this_process("WATCHDOG_PID").unwrap_or(true) {
        return None;
    }
    let time_us = text.parse().ok().filter(|time_us| *time_us > 0);
    if time_us.is_none() {
        log::warn!("WATCHDOG_USEC={text}: no number of microseconds");
    }
    time_us
}

/// Takes the inherited listening sockets. Called once, before the process opens any descriptor.
///
/// # Errors
/// The environment is inconsistent, or a descriptor is not a suitable listening socket.
pub fn inherited_listeners() -> Result<Vec<Listener>, StartError> {
    if is_this_process("LISTEN_PID") != Some(true) {
        // The sockets belong to another process, from which this one has inherited the environment.
        return Ok(Vec::new());
    }
    let Ok(text) = env::var("LISTEN_FDS") else {
        return Ok(Vec::new());
    };
    let count: RawFd = text
        .parse()
        .ok()
        .filter(|count| (0..=RawFd::MAX - FIRST_DESCRIPTOR).contains(count))
        .ok_or_else(|| wrong(&format!("LISTEN_FDS={text}: no number of descriptors")))?;
    let names = env::var("LISTEN_FDNAMES").ok();
    let names: Option<Vec<&str>> = names.as_ref().map(|names| names.split(':').collect());
    if let Some(names) = &names
        && count > 0
        && names.len() != count as usize
    {
        return Err(wrong(&format!(
            "LISTEN_FDNAMES has {} names for {count} descriptors",
            names.len()
        )));
    }
    let mut listeners = Vec::new();
    for index in 0..count {
        let number = FIRST_DESCRIPTOR + index;
        let name = names
            .as_ref()
            .map_or("unknown", |names| names[index as usize]);
        let what = format!("descriptor {number} from the service manager (\"{name}\")");
        let descriptor =
            sys::take_descriptor(number).map_err(|error| wrong(&format!("{what}: {error}")))?;
        let listener = Listener::inherit(descriptor, name);
        listeners.push(listener.map_err(|error| wrong(&format!("{what} {error}")))?);
    }
    Ok(listeners)
}

/// Returns true if standard error leads to the journal. The variable identifies the stream, since it may be inherited from
/// a process with another standard error.
pub fn stderr_is_journal() -> bool {
    let Ok(stream) = env::var("JOURNAL_STREAM") else {
        return false;
    };
    let stderr = io::stderr().as_fd().try_clone_to_owned();
    let metadata = stderr.and_then(|stderr| File::from(stderr).metadata());
    metadata.is_ok_and(|file| stream == format!("{}:{}", file.dev(), file.ino()))
}

/// Returns true if the variable contains the id of this process; `None` if the variable is not set.
fn is_this_process(variable: &str) -> Option<bool> {
    let id = env::var(variable).ok()?;
    Some(id.parse() == Ok(std::process::id()))
}

fn wrong(what: &str) -> StartError {
    StartError::Usage(what.to_owned())
}
