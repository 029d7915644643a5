//! Unix signals that end the process, and those that concern a screen. The former can be deferred while the settings of a
//! terminal are changed, so that the settings are restored before the process ends.

use signal_hook::consts::{
    SIGABRT, SIGALRM, SIGCONT, SIGHUP, SIGINT, SIGIO, SIGPROF, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1,
    SIGUSR2, SIGVTALRM, SIGWINCH, SIGXCPU,
};
use signal_hook::low_level::{emulate_default_handler, pipe};
use signal_hook::{SigId, flag};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Signals that end a process which does not handle them, but for those that report a fault of the process itself: the
/// fault would be reported again and again.
const ENDING: [i32; 11] = [
    SIGHUP, SIGINT, SIGQUIT, SIGABRT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF,
    SIGXCPU,
];

/// The other signals of that kind. The library does not know that they end a process.
fn ending_for_the_system_alone() -> impl Iterator<Item = i32> {
    #[cfg(target_os = "linux")]
    let others = [libc::SIGPWR, libc::SIGSTKFLT]
        .into_iter()
        .chain(libc::SIGRTMIN()..=libc::SIGRTMAX());
    #[cfg(not(target_os = "linux"))]
    let others = std::iter::empty();
    others.chain([SIGIO])
}

/// Handlers of all signals that end a process. They stay installed until the process ends, since handlers belong to the
/// process.
pub struct UnixSignals {
    /// True while a signal ends the process at once, as without a handler.
    ends_at_once: Arc<AtomicBool>,
    /// The number of a deferred signal; 0 if there is none.
    deferred: Arc<AtomicUsize>,
    /// Readable when a signal has arrived.
    wake: UnixStream,
}

impl UnixSignals {
    /// Installs the handlers. Signals still end the process at once.
    ///
    /// # Errors
    /// The system refuses a handler or a socket.
    pub fn install() -> io::Result<UnixSignals> {
        let (wake, write_end) = UnixStream::pair()?;
        let signals = UnixSignals {
            ends_at_once: Arc::new(AtomicBool::new(true)),
            deferred: Arc::default(),
            wake,
        };
        for signal in ENDING {
            flag::register_conditional_default(signal, signals.ends_at_once.clone())?;
            signals.register(signal, write_end.try_clone()?)?;
        }
        for signal in ending_for_the_system_alone() {
            let ends_at_once = signals.ends_at_once.clone();
            flag::register_conditional_shutdown(signal, status_of(signal), ends_at_once)?;
            signals.register(signal, write_end.try_clone()?)?;
        }
        Ok(signals)
    }

    /// Registers the actions in the order in which they run: the number is stored before the socket wakes the reader.
    fn register(&self, signal: i32, write_end: UnixStream) -> io::Result<SigId> {
        let number = usize::try_from(signal).expect("signals are small numbers");
        flag::register_usize(signal, self.deferred.clone(), number)?;
        pipe::register(signal, write_end)
    }

    /// Defers signals: from now on they only make [`UnixSignals::as_fd`] readable.
    pub fn defer(&self) {
        self.ends_at_once.store(false, Ordering::SeqCst);
    }

    /// Ends the process if a signal was deferred. Later signals end it at once.
    pub fn stop_deferring(&self) {
        self.ends_at_once.store(true, Ordering::SeqCst);
        if let Ok(signal @ 1..) = i32::try_from(self.deferred.load(Ordering::SeqCst)) {
            // This returns if the library does not know that the signal ends a process.
            let _ = emulate_default_handler(signal);
            process::exit(status_of(signal));
        }
    }
}

/// The status that shells have for a process which a signal has ended.
fn status_of(signal: i32) -> i32 {
    128 + signal
}

impl AsFd for UnixSignals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

/// Handlers of SIGTSTP, SIGCONT and SIGWINCH, for a program that uses the whole screen. They stay installed until the
/// process ends.
pub struct ScreenSignals {
    wants_stop: Arc<AtomicBool>,
    has_continued: Arc<AtomicBool>,
    /// Readable when one of them has arrived.
    wake: UnixStream,
}

/// The signals that have arrived since the last look.
pub struct Arrived {
    /// SIGTSTP: the process shall stop.
    pub wants_stop: bool,
    /// SIGCONT: the process was stopped, and others have used the terminal.
    pub has_continued: bool,
}

impl ScreenSignals {
    /// Installs the handlers.
    ///
    /// # Errors
    /// The system refuses a handler or a socket.
    pub fn install() -> io::Result<ScreenSignals> {
        let (wake, write_end) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let signals = ScreenSignals {
            wants_stop: Arc::default(),
            has_continued: Arc::default(),
            wake,
        };
        flag::register(SIGTSTP, signals.wants_stop.clone())?;
        flag::register(SIGCONT, signals.has_continued.clone())?;
        for signal in [SIGTSTP, SIGCONT, SIGWINCH] {
            pipe::register(signal, write_end.try_clone()?)?;
        }
        Ok(signals)
    }

    /// The signals that have arrived since the last call.
    pub fn take(&mut self) -> Arrived {
        let mut buffer = [0; 64];
        while matches!(self.wake.read(&mut buffer), Ok(1..)) {}
        Arrived {
            wants_stop: self.wants_stop.swap(false, Ordering::SeqCst),
            has_continued: self.has_continued.swap(false, Ordering::SeqCst),
        }
    }
}

impl AsFd for ScreenSignals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}
