//! Which servers and clients a signal is for.

use crate::limits::MAX_FORWARDED_LINE;
use crate::protocol::{Command, Flags, Overhead};

/// OVERHEAD flags whose lines are never passed on: they mean something between two ends only, and
/// every Perl client would end its connection for an F.
pub const NEVER_FORWARDED: Flags = Flags::LOGIN
    .with(Flags::TIME)
    .with(Flags::INTERCLACKS)
    .with(Flags::LOCK)
    .with(Flags::LOGIN_WRONG)
    .with(Flags::LOGIN_RIGHT);

/// Reports whether the line asks to be forwarded to everybody, and is longer than such a line may be.
pub fn is_too_long_to_forward(overhead: &Overhead<'_>, line: &[u8]) -> bool {
    let is_forwarded = overhead.is_on()
        && overhead.flags.intersects(Flags::FORWARD)
        && !overhead
            .flags
            .intersects(NEVER_FORWARDED.with(Flags::DISCARD));
    is_forwarded && line.len() > MAX_FORWARDED_LINE
}

/// Whom a signal is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalScope {
    /// Everybody, after the writes before it.
    All,
    /// Everybody, at once, before signals that wait: it is to end the links.
    AtOnce,
    /// clacksd servers: of a kind that this version doesn't know.
    Clacksd,
}

impl SignalScope {
    /// Of an OVERHEAD line that is forwarded.
    pub fn of_overhead(flags: Flags) -> SignalScope {
        if flags.intersects(NEVER_FORWARDED) || !flags.intersects(Flags::FORWARD) {
            SignalScope::Clacksd
        } else if flags.intersects(Flags::CLOSE_ALL.with(Flags::SHUTDOWN)) {
            SignalScope::AtOnce
        } else {
            SignalScope::All
        }
    }

    pub fn of(command: Option<&Command<'_>>) -> SignalScope {
        match command {
            Some(Command::Set(_) | Command::Notify(_)) => SignalScope::All,
            Some(Command::Overhead(Some(overhead))) => SignalScope::of_overhead(overhead.flags),
            _ => SignalScope::Clacksd,
        }
    }
}

/// Reports whether monitors are not shown such a line.
pub fn is_not_monitored(overhead: &Overhead<'_>) -> bool {
    let not_monitored = Flags::LOGIN.with(Flags::NOT_MONITORED);
    overhead.flags.intersects(not_monitored)
}
