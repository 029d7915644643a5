//! The journal behind the cache: a file that every change is appended to, and that is written anew when
//! much of it no longer matters.
//!
//! What is written, and when, the broker says ([`Record`](crate::broker::Record),
//! [`Rewrite`](crate::broker::Rewrite)). Here records become bytes ([`mod@format`]) and bytes become
//! records again ([`load()`]); a [`Recorder`] gathers what a turn records; a [`Writer`] brings it to a
//! [`Disk`] and knows what to do when that fails, without a thread or a clock of its own; and a
//! [`Journal`] is both, with a thread between them, since disks make wait.
//!
//! | file | what it is |
//! |---|---|
//! | `FILE` | the journal |
//! | `FILE.new` | the journal being written anew; it becomes `FILE` when it is whole and on the disk |
//! | `FILE.bad` | a journal that had been damaged |
//! | `FILE.lock` | empty; whoever serves the journal holds a lock on it |

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
