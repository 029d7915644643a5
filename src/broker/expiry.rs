//! When the cache is searched for entries whose time is over, and how far the search has come.

use super::table::Cursor;

/// The search for expired entries, which returns every `--clean-interval`.
#[derive(Debug, Clone, Copy)]
pub(super) enum ExpiryCycle {
    /// The cache was empty: nothing to look for before something is stored.
    Idle,
    /// It begins at that moment (monotonic).
    At(u64),
    /// It proceeds in slices; and then begins `again`, if something was cleared meanwhile. So clears that never let up
    /// don't keep the search at its beginning.
    Running { cursor: Cursor, again: bool },
}

impl ExpiryCycle {
    /// From the beginning.
    pub fn run() -> ExpiryCycle {
        ExpiryCycle::Running {
            cursor: Cursor::default(),
            again: false,
        }
    }

    /// Something was stored: there may be something to find at that moment.
    pub fn schedule(&mut self, at_us: u64) {
        if matches!(self, ExpiryCycle::Idle) {
            *self = ExpiryCycle::At(at_us);
        }
    }

    /// Searches everything from now on, also what was searched already.
    pub fn run_now(&mut self) {
        match self {
            ExpiryCycle::Running { again, .. } => *again = true,
            cycle => *cycle = ExpiryCycle::run(),
        }
    }

    /// The moment of the next slice; `None` if there is nothing to do.
    pub fn deadline(&self) -> Option<u64> {
        match self {
            ExpiryCycle::Idle => None,
            ExpiryCycle::At(at_us) => Some(*at_us),
            ExpiryCycle::Running { .. } => Some(0),
        }
    }
}
