//! Signals as events of the loop.

use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
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
    /// Takes the signals over.
    pub fn register(registry: &Registry, token: Token) -> io::Result<Signals> {
        let (wake, write_end) = std::os::unix::net::UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let raised: [Arc<AtomicBool>; SIGNALS.len()] = Default::default();
        for ((signal, _), raised) in SIGNALS.iter().zip(&raised) {
            // In this order: who wakes up finds the flag set.
            signal_hook::flag::register(*signal, raised.clone())?;
            signal_hook::low_level::pipe::register(*signal, write_end.try_clone()?)?;
        }
        let mut wake = UnixStream::from_std(wake);
        registry.register(&mut wake, token, Interest::READABLE)?;
        Ok(Signals { wake, raised })
    }

    /// What was asked for since the last call.
    pub fn take(&mut self) -> Vec<Request> {
        let mut bytes = [0; 64];
        while matches!(self.wake.read(&mut bytes), Ok(1..)) {}
        let raised = SIGNALS
            .iter()
            .zip(&self.raised)
            .filter(|(_, flag)| flag.swap(false, Ordering::Relaxed));
        raised.map(|((_, request), _)| *request).collect()
    }
}
