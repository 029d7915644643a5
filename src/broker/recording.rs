//! The seam between the broker and its journal.

use crate::protocol::peer::{Contribution, ShareId, Stamp, State};

/// A fact that is to outlive the process.
#[derive(Debug, Clone, PartialEq)]
pub enum Record<'a> {
    /// All there is of a name now, in place of what there was; and when a counter last changed.
    State {
        name: &'a [u8],
        state: State<'a>,
        changed_us: u64,
    },
    /// When a name was used, coarsely.
    Used { name: &'a [u8], accessed_us: u64 },
    /// One contribution to the counter that has that stamp; its other contributions stay.
    Count {
        name: &'a [u8],
        stamp: Stamp,
        accessed_us: u64,
        changed_us: u64,
        contribution: Contribution,
    },
    /// A CLEARCACHE: what is older is not there any more.
    Clear(Stamp),
    /// The marker: shares of counters that began before it are folded.
    Fold(Stamp),
    /// The share id that a run counts under and the version of its last step. If the run has ended in order, this is
    /// its last record, and the next run may take the id over.
    Run {
        share: ShareId,
        newest_us: u64,
        has_ended: bool,
    },
}

/// A journal is written anew, to be without what no longer matters.
#[derive(Debug, Clone, PartialEq)]
pub enum Rewrite<'a> {
    /// From now on the new journal gets what the old one gets, too. Rewrites are numbered, for
    /// [`Saved`] to say which one it is about.
    Begin(u64),
    /// This was there before, in whatever order.
    Held(Record<'a>),
    /// That was all: the new journal takes the old one's place when it is on the disk.
    End,
}

/// How it stands with what was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Saved {
    /// So many records, counted from the start, are where they were promised to be.
    UpTo(u64),
    /// Nothing is saved any more, until the journal is written anew.
    Failed(String),
    /// The journal was written anew.
    Rewritten(Rewritten),
    /// The rewrite of that number came to nothing.
    NotRewritten(u64, String),
}

/// A rewrite that is done. When it had been given up, the next one may have begun meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rewritten {
    /// As [`Rewrite::Begin`] said it.
    pub number: u64,
    /// Bytes of the new journal.
    pub length: u64,
}

/// Takes the records of what is to outlive the process. A broker without a journal calls none of this; see
/// [`Settings::journal`](super::Settings::journal).
pub trait Recording {
    /// Appends to the journal. `handle_saved` says when that is done.
    fn record(&mut self, record: &Record<'_>);

    /// Writes the journal anew.
    fn rewrite(&mut self, step: &Rewrite<'_>);

    /// Bytes that are on their way to the journal.
    fn unsaved(&self) -> usize;
}

impl<R: Recording> Recording for Option<R> {
    fn record(&mut self, record: &Record<'_>) {
        if let Some(recording) = self {
            recording.record(record);
        }
    }

    fn rewrite(&mut self, step: &Rewrite<'_>) {
        if let Some(recording) = self {
            recording.rewrite(step);
        }
    }

    fn unsaved(&self) -> usize {
        self.as_ref().map_or(0, R::unsaved)
    }
}
