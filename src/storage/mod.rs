//! The journal of the cache: a file to which every change is appended, and which is rewritten when much of it is obsolete.
//!
//! The broker decides what is written and when ([`Record`](crate::broker::Record), [`Rewrite`](crate::broker::Rewrite)).
//! [`mod@format`] converts records to bytes, and [`load()`] reads them back. A [`Recorder`] collects the records of one
//! turn of the loop. A [`Writer`] writes them to a [`Disk`] and handles its errors, without a thread or a clock of its
//! own. A [`Journal`] is both, with a thread between them, because disks block.
//!
//! | file | content |
//! |---|---|
//! | `FILE` | the journal |
//! | `FILE.new` | the rewritten journal in progress; it becomes `FILE` when it is complete and on the disk |
//! | `FILE.bad` | a copy of a damaged journal |
//! | `FILE.lock` | nothing; the server that uses the journal locks it |

mod disk;
pub mod format;
mod journal;
mod load;
mod recorder;
mod writer;

pub use disk::{Disk, DiskFile, FileName, Place, SystemDisk, files_of};
pub use journal::Journal;
pub use load::{Damage, LoadError, Loaded, OpenJournal, check, load};
pub use recorder::Recorder;
pub use writer::{Batch, SyncPolicy, Writer};
