//! The seam between the broker and its journal.

use crate::protocol::attributes::Attributes;
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
    /// The touch and the won mark of the entry that has that stamp, as they are now.
    Touch {
        name: &'a [u8],
        stamp: Stamp,
        accessed_us: u64,
        attributes: Attributes,
    },
    /// A CLEARCACHE: what is older is not there any more.
    Clear(Stamp),
    /// The marker: shares of counters that began before it are folded.
    Fold(Stamp),
    /// There is, or was, a link to another server: tombstones of what has expired are kept.
    Linked,
    /// The share id that a run counts under and the version of its last step. If the run has ended in order, this is
    /// its last record, and the next run may take the id over.
    Run {
        share: ShareId,
        newest_us: u64,
        has_ended: bool,
    },
}

impl<'a> Record<'a> {
    /// The name that the record is about; `None` if it is about more than one.
    pub fn name(&self) -> Option<&'a [u8]> {
        match self {
            Record::State { name, .. }
            | Record::Used { name, .. }
            | Record::Count { name, .. }
            | Record::Touch { name, .. } => Some(name),
            Record::Clear(_) | Record::Fold(_) | Record::Linked | Record::Run { .. } => None,
        }
    }
}

/// A step of a rewrite, which rids the journal of records that no longer matter.
#[derive(Debug, Clone, PartialEq)]
pub enum Rewrite<'a> {
    /// Begins the rewrite of this number: from now on each record goes to the old journal and to the new one. [`Saved`]
    /// names the rewrite by its number.
    Begin(u64),
    /// Adds a record of something that the broker has stored already, to the new journal alone. The order of these
    /// records doesn't matter.
    Held(Record<'a>),
    /// Ends the rewrite: the new journal takes the old one's place when it is on the disk.
    End,
}

/// An event of the journal: a success or a failure to save records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Saved {
    /// So many records, counted from the start, are as safe as was promised: written, or on the disk.
    UpTo(u64),
    /// The journal has failed, for this reason: no record is saved any more until the journal is rewritten.
    Failed(String),
    /// The journal was rewritten.
    Rewritten(Rewritten),
    /// The rewrite of this number has failed, for this reason.
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
