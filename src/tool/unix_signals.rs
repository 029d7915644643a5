//! Signals that end the process, put off for as long as a terminal is not as it was.

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::low_level::{emulate_default_handler, pipe};
use signal_hook::{SigId, flag};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Once made, it stays: what signals do is the process's.
pub struct Signals {
    /// They end the process at once, as ever.
    end_at_once: Arc<AtomicBool>,
    /// One that has not ended it yet; 0 if there is none.
    put_off: Arc<AtomicUsize>,
    /// Readable when there is one.
    woken: UnixStream,
}

impl Signals {
    pub fn new() -> io::Result<Signals> {
        let (woken, wakes) = UnixStream::pair()?;
        let signals = Signals {
            end_at_once: Arc::new(AtomicBool::new(true)),
            put_off: Arc::default(),
            woken,
        };
        for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
            signals.register(signal, wakes.try_clone()?)?;
        }
        Ok(signals)
    }

    /// In this order: who is woken finds the signal.
    fn register(&self, signal: i32, wakes: UnixStream) -> io::Result<SigId> {
        flag::register_conditional_default(signal, self.end_at_once.clone())?;
        let number = usize::try_from(signal).expect("signals are small numbers");
        flag::register_usize(signal, self.put_off.clone(), number)?;
        pipe::register(signal, wakes)
    }

    /// From now on they only wake whoever waits for [`Signals::as_fd`].
    pub fn put_off(&self) {
        self.end_at_once.store(false, Ordering::SeqCst);
    }

    /// Ends the process if one of them has come, and lets them do so from now on.
    pub fn let_end(&self) {
        self.end_at_once.store(true, Ordering::SeqCst);
        if let Ok(signal @ 1..) = i32::try_from(self.put_off.load(Ordering::SeqCst)) {
            // If that is not possible, the process goes on to its ordinary end.
            let _ = emulate_default_handler(signal);
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.woken.as_fd()
    }
}
