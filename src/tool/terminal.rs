//! Terminals and waiting: small functions around termios and poll. No policy.

use super::editor::{Editor, Event};
use super::signals::Signals;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// A descriptor, and what is waited for there.
pub struct Wanted<'a> {
    descriptor: BorrowedFd<'a>,
    events: PollFlags,
}

impl<'a> Wanted<'a> {
    pub fn input_of(descriptor: BorrowedFd<'a>) -> Wanted<'a> {
        let events = PollFlags::IN;
        Wanted { descriptor, events }
    }

    pub fn room_in(descriptor: BorrowedFd<'a>) -> Wanted<'a> {
        let events = PollFlags::OUT;
        Wanted { descriptor, events }
    }

    /// Nothing but that the other side is gone, which is always waited for.
    pub fn end_of(descriptor: BorrowedFd<'a>) -> Wanted<'a> {
        let events = PollFlags::empty();
        Wanted { descriptor, events }
    }
}

/// Waits until at least one of them is ready, at its end or broken, or until the time is over. Which they
/// are.
pub fn wait(wanted: &[Wanted<'_>], patience: Duration) -> io::Result<Vec<bool>> {
    let mut polled: Vec<PollFd<'_>> = wanted
        .iter()
        .map(|one| PollFd::from_borrowed_fd(one.descriptor, one.events))
        .collect();
    let patience = Timespec::try_from(patience).map_err(|_| ErrorKind::InvalidInput)?;
    match poll(&mut polled, Some(&patience)) {
        Ok(_) => {}
        // A signal, such as that the window was resized.
        Err(Errno::INTR) => return Ok(vec![false; wanted.len()]),
        Err(error) => return Err(error.into()),
    }
    Ok(polled.iter().map(|one| !one.revents().is_empty()).collect())
}

/// How long to wait for a client that is due then, and no longer than a few seconds; not at all without a time.
pub fn time_until(due: Option<Instant>) -> Duration {
    const LONGEST: Duration = Duration::from_secs(5);
    let left = due.map(|due| due.saturating_duration_since(Instant::now()));
    // Polls count whole milliseconds on some systems, and would end too early.
    left.map_or(Duration::ZERO, |left| {
        (left + Duration::from_millis(1)).min(LONGEST)
    })
}

/// A terminal that hands over each key as it is typed and shows nothing by itself; as it was before when
/// this is dropped. Signals that end the process do so only then.
pub struct KeyByKey<'a> {
    terminal: BorrowedFd<'a>,
    before: Termios,
    signals: &'a Signals,
}

impl<'a> KeyByKey<'a> {
    pub fn new(terminal: BorrowedFd<'a>, signals: &'a Signals) -> io::Result<KeyByKey<'a>> {
        let before = tcgetattr(terminal)?;
        let mut wanted = before.clone();
        // Ctrl-C comes as a key: else the terminal stayed like this.
        wanted.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
        wanted.special_codes[SpecialCodeIndex::VMIN] = 1;
        wanted.special_codes[SpecialCodeIndex::VTIME] = 0;
        signals.put_off();
        let key_by_key = KeyByKey {
            terminal,
            before,
            signals,
        };
        tcsetattr(terminal, OptionalActions::Now, &wanted)?;
        Ok(key_by_key)
    }
}

impl Drop for KeyByKey<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.terminal, OptionalActions::Now, &self.before);
        self.signals.let_end();
    }
}

/// How many columns the terminal has.
pub fn columns(terminal: BorrowedFd<'_>) -> usize {
    match tcgetwinsize(terminal) {
        Ok(size) if size.ws_col > 0 => usize::from(size.ws_col),
        _ => 80,
    }
}

/// Nobody has to hurry.
const PATIENCE: Duration = Duration::from_secs(3600);

/// A line that is typed on the process's terminal and not shown.
pub fn ask_hidden(question: &str, signals: &Signals) -> io::Result<String> {
    let mut terminal = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
    let keys = terminal.try_clone()?;
    let _key_by_key = KeyByKey::new(keys.as_fd(), signals)?;
    terminal.write_all(question.as_bytes())?;
    let mut editor = Editor::default();
    let mut buffer = [0; 256];
    loop {
        let wanted = [
            Wanted::input_of(signals.as_fd()),
            Wanted::input_of(keys.as_fd()),
        ];
        let ready = wait(&wanted, PATIENCE)?;
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
