//! Terminal settings, the password prompt, and waiting for several descriptors: small functions around termios and poll.
//!
//! The prompt is not rpassword's, and the line editor of the chat ([`super::editor`]) is not rustyline's. Both were tried:
//! a SIGTERM or SIGHUP ends them while the terminal still has no echo, and their blocking reads leave no room for the
//! deferred signals of [`super::unix_signals`]. rustyline also wraps a long line over several rows instead of showing its
//! end.

use super::editor::{Editor, Event};
use super::unix_signals::UnixSignals;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize,
    tcsetattr,
};
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// A descriptor, and the event that [`wait`] waits for there.
pub struct Interest<'a> {
    descriptor: BorrowedFd<'a>,
    events: PollFlags,
}

impl<'a> Interest<'a> {
    pub fn readable(descriptor: BorrowedFd<'a>) -> Interest<'a> {
        let events = PollFlags::IN;
        Interest { descriptor, events }
    }

    pub fn writable(descriptor: BorrowedFd<'a>) -> Interest<'a> {
        let events = PollFlags::OUT;
        Interest { descriptor, events }
    }

    /// Waits only for the end of the other side, which every poll reports.
    pub fn hang_up(descriptor: BorrowedFd<'a>) -> Interest<'a> {
        let events = PollFlags::empty();
        Interest { descriptor, events }
    }
}

/// Waits until at least one of the descriptors is ready, has reached its end, or is broken, and no longer than
/// `timeout`. Returns for each descriptor if it is so.
///
/// # Errors
/// The system call fails, or `timeout` is too large for it.
pub fn wait(wanted: &[Interest<'_>], timeout: Duration) -> io::Result<Vec<bool>> {
    let mut polled: Vec<PollFd<'_>> = wanted
        .iter()
        .map(|one| PollFd::from_borrowed_fd(one.descriptor, one.events))
        .collect();
    let timeout = Timespec::try_from(timeout).map_err(|_| ErrorKind::InvalidInput)?;
    match poll(&mut polled, Some(&timeout)) {
        Ok(_) => {}
        // A signal arrived, SIGWINCH for example.
        Err(Errno::INTR) => return Ok(vec![false; wanted.len()]),
        Err(error) => return Err(error.into()),
    }
    Ok(polled.iter().map(|one| !one.revents().is_empty()).collect())
}

/// The time left until the client has to be called again, at most a few seconds; zero without a time.
pub fn time_until(due: Option<Instant>) -> Duration {
    const LONGEST: Duration = Duration::from_secs(5);
    let left = due.map(|due| due.saturating_duration_since(Instant::now()));
    // Some systems round the timeout of a poll down to milliseconds, so that it would end too early.
    left.map_or(Duration::ZERO, |left| {
        (left + Duration::from_millis(1)).min(LONGEST)
    })
}

/// A terminal that passes on each key when it is typed, and echoes nothing. Dropping this restores the settings.
/// Signals that end the process are deferred until then.
pub struct RawMode<'a> {
    terminal: BorrowedFd<'a>,
    before: Termios,
    signals: &'a UnixSignals,
}

impl<'a> RawMode<'a> {
    pub fn new(terminal: BorrowedFd<'a>, signals: &'a UnixSignals) -> io::Result<RawMode<'a>> {
        let before = tcgetattr(terminal)?;
        let mut wanted = before.clone();
        // Ctrl-C has to arrive as a key: as a signal it would end the process before the settings are restored.
        wanted.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
        // Ctrl-S would stop the output, and a write that waits for Ctrl-Q lets no deferred signal end the process.
        wanted.input_modes -= InputModes::IXON;
        wanted.special_codes[SpecialCodeIndex::VMIN] = 1;
        wanted.special_codes[SpecialCodeIndex::VTIME] = 0;
        signals.defer();
        let raw_mode = RawMode {
            terminal,
            before,
            signals,
        };
        tcsetattr(terminal, OptionalActions::Now, &wanted)?;
        Ok(raw_mode)
    }
}

impl Drop for RawMode<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.terminal, OptionalActions::Now, &self.before);
        self.signals.stop_deferring();
    }
}

/// The width of the terminal in columns; 80 if the terminal does not say.
pub fn columns(terminal: BorrowedFd<'_>) -> usize {
    match tcgetwinsize(terminal) {
        Ok(size) if size.ws_col > 0 => usize::from(size.ws_col),
        _ => 80,
    }
}

/// The longest single poll while a password is typed. The loop polls again: typing has no time limit.
const POLL_TIMEOUT: Duration = Duration::from_secs(3600);

/// Asks for a password on the controlling terminal, without echo.
///
/// # Errors
/// [`ErrorKind::Interrupted`] if the user presses Ctrl-C or Ctrl-D or a signal arrives; others if the process has no
/// terminal.
pub fn ask_password(question: &str, signals: &UnixSignals) -> io::Result<String> {
    let mut terminal = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
    let keys = terminal.try_clone()?;
    let _raw_mode = RawMode::new(keys.as_fd(), signals)?;
    terminal.write_all(question.as_bytes())?;
    let mut editor = Editor::default();
    let mut buffer = [0; 256];
    loop {
        let wanted = [
            Interest::readable(signals.as_fd()),
            Interest::readable(keys.as_fd()),
        ];
        let ready = wait(&wanted, POLL_TIMEOUT)?;
        if ready[0] {
            terminal.write_all(b"\r\n")?;
            return Err(ErrorKind::Interrupted.into());
        }
        if !ready[1] {
            continue;
        }
        let count = terminal.read(&mut buffer)?;
        let mut events = editor.feed(&buffer[..count]).into_iter();
        let event = if count == 0 {
            Some(Event::End)
        } else {
            events.next()
        };
        match event {
            None => {}
            Some(Event::Line(line)) => {
                terminal.write_all(b"\r\n")?;
                return Ok(line);
            }
            Some(Event::End) => {
                terminal.write_all(b"\r\n")?;
                return Err(ErrorKind::Interrupted.into());
            }
        }
    }
}
