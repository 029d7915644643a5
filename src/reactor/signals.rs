//! Signals as events of the loop, and as flags for the start, which has no loop yet.

use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The request that a Unix signal makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    Terminate,
    Reload,
    Status,
}

const SIGNALS: [(i32, Request); 4] = [
    (SIGTERM, Request::Terminate),
    (SIGINT, Request::Terminate),
    (SIGHUP, Request::Reload),
    (SIGUSR1, Request::Status),
];

pub struct Signals {
    /// Readable when a signal came.
    wake: UnixStream,
    raised: [Arc<AtomicBool>; SIGNALS.len()],
}

impl Signals {
    /// Installs the handlers, in the process that serves: a process forked later has flags of its own. From now on
    /// a signal ends nothing by itself, so that files which the start has made can be removed again.
    pub fn install() -> io::Result<Signals> {
        let (wake, write_end) = std::os::unix::net::UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let raised: [Arc<AtomicBool>; SIGNALS.len()] = Default::default();
        for ((signal, _), raised) in SIGNALS.iter().zip(&raised) {
            // In this order: who wakes up finds the flag set.
            signal_hook::flag::register(*signal, raised.clone())?;
            signal_hook::low_level::pipe::register(*signal, write_end.try_clone()?)?;
        }
        Ok(Signals {
            wake: UnixStream::from_std(wake),
            raised,
        })
    }

    /// Makes signals events of the poll, also those that have come before.
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.wake, token, Interest::READABLE)
    }

    /// Reports a request to end that nobody has taken yet. The request stays, for the loop.
    pub fn asks_to_end(&self) -> bool {
        let mut flags = SIGNALS.iter().zip(&self.raised);
        flags.any(|((_, request), flag)| {
            *request == Request::Terminate && flag.load(Ordering::Relaxed)
        })
    }

    /// Takes a request for a status, if there is one.
    pub fn take_status(&self) -> bool {
        let mut flags = SIGNALS.iter().zip(&self.raised);
        flags.any(|((_, request), flag)| {
            *request == Request::Status
                && flag.load(Ordering::Relaxed)
                && flag.swap(false, Ordering::Relaxed)
        })
    }

    /// Takes all requests that were made since the last call.
    pub(super) fn take(&mut self) -> Vec<Request> {
        let mut bytes = [0; 64];
        while matches!(self.wake.read(&mut bytes), Ok(1..)) {}
        let raised = SIGNALS
            .iter()
            .zip(&self.raised)
            .filter(|(_, flag)| flag.swap(false, Ordering::Relaxed));
        raised.map(|((_, request), _)| *request).collect()
    }
}
