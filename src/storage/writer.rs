//! Writes a journal to a disk: the order of writes and syncs, rewrites, and the handling of errors. It has no thread and no
//! clock of its own; its calls block.

use super::disk::{Disk, DiskFile, FileName, Place};
use super::format::{HEADER, Key, encode, header, seal};
use super::load::OpenJournal;
use crate::broker::{Record, Rewritten, Saved};
use crate::limits::{JOURNAL_LOOK_US, MAX_JOURNAL_RESERVE, MIN_JOURNAL_RESERVE, SYNCED_AT_ONCE};
use std::io::{self, Write};

/// The time at which written records have to be on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Before they count as saved.
    Always,
    /// At most so many microseconds later.
    Within(u64),
    /// When the operating system chooses.
    Never,
}

/// The records of one turn of the loop, or of several.
#[derive(Debug, Default)]
pub struct Batch {
    /// Frames for the journal.
    pub records: Vec<u8>,
    /// Frames of the snapshot, for the rewritten journal only. They are written before the records.
    pub snapshot: Vec<u8>,
    /// A rewrite with this number begins: from this batch on, records go to the new file as well.
    pub begins: Option<u64>,
    /// The rewrite ends: the new file is complete with this batch.
    pub ends: bool,
    /// The number of records since the start, including those in this batch.
    pub up_to: u64,
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.snapshot.is_empty() && self.begins.is_none() && !self.ends
    }

    /// The approximate size of the batch, in bytes.
    pub fn bytes(&self) -> usize {
        self.records.len() + self.snapshot.len()
    }

    /// Empties the batch for reuse. Unusually large buffers are released.
    pub fn clear(&mut self) {
        /// The largest capacity that is kept, in bytes.
        const KEPT: usize = 256 * crate::limits::KIB;
        for bytes in [&mut self.records, &mut self.snapshot] {
            bytes.clear();
            bytes.shrink_to(KEPT);
        }
        (self.begins, self.ends) = (None, false);
    }
}

/// A file to which frames are appended.
struct Appender<F> {
    file: F,
    key: Key,
    length: u64,
    /// The length of the file at its last sync during a rewrite.
    synced: u64,
    /// The end of the reserved disk space, as an offset.
    reserved: u64,
}

impl<F: DiskFile> Appender<F> {
    fn append(&mut self, frames: &mut [u8]) -> io::Result<()> {
        if frames.is_empty() {
            return Ok(());
        }
        seal(frames, self.key, self.length);
        self.file.write_all(frames)?;
        self.length += frames.len() as u64;
        Ok(())
    }

    /// Reserves disk space after the next `incoming` bytes: a quarter of the file's length. When the disk is full, that
    /// space is released for the rewritten file, which is smaller if the cache has shrunk.
    ///
    /// # Errors
    /// The disk is full except for the reserved space.
    fn extend_reserve(&mut self, incoming: usize) -> io::Result<()> {
        let reserve = (self.length / 4).min(MAX_JOURNAL_RESERVE);
        let end = self.length + incoming as u64 + reserve;
        if reserve < MIN_JOURNAL_RESERVE || end <= self.reserved {
            return Ok(());
        }
        let had_reserve = self.reserved > self.length;
        // Twice the reserve, so that this call is seldom necessary.
        match self.reserve(end + reserve).or_else(|_| self.reserve(end)) {
            Err(error) if had_reserve && is_full(&error) => Err(error),
            // The file system can't reserve space, or never had enough of it. The file is written without a reserve.
            _ => Ok(()),
        }
    }

    fn reserve(&mut self, end: u64) -> io::Result<()> {
        self.file.reserve(self.length, end - self.length)?;
        self.reserved = end;
        Ok(())
    }

    /// Truncates the file after the last complete record, which releases the reserved space. A file that was truncated from
    /// outside stays as it is.
    fn give_up_reserve(&mut self) -> io::Result<()> {
        self.reserved = self.length;
        let is_longer = self
            .file
            .length()
            .map_or(true, |length| length >= self.length);
        match is_longer {
            true => self.file.set_length(self.length),
            false => Ok(()),
        }
    }

    /// Returns true if the file has the length that was written to it.
    fn is_as_written(&self) -> bool {
        self.file
            .length()
            .map_or(true, |length| length == self.length)
    }

    /// Syncs a rewritten file now and then, so that its last sync is short: the journal waits meanwhile.
    fn sync_if_much(&mut self) -> io::Result<()> {
        if self.length - self.synced > SYNCED_AT_ONCE {
            self.file.sync()?;
            self.synced = self.length;
        }
        Ok(())
    }
}

/// A journal on a disk, and its rewrite if one is in progress.
pub struct Writer<D: Disk> {
    disk: D,
    sync: SyncPolicy,
    /// The journal; `None` after an error, when it can't be relied on any more.
    journal: Option<Appender<D::File>>,
    /// The rewritten journal in progress.
    new: Option<Appender<D::File>>,
    /// The number of the last rewrite.
    rewrite: u64,
    /// The time of the first write that is not synced yet.
    unsynced_since_us: Option<u64>,
    /// The number of records written so far.
    up_to: u64,
    /// The number of records last reported as saved according to the policy.
    reported_up_to: u64,
    /// The time of the next check that the path still leads to the journal.
    check_path_at_us: u64,
    events: Vec<Saved>,
}

impl<D: Disk> Writer<D> {
    /// Continues an existing journal, and syncs it: its content is served from now on, so it has to be on the disk.
    ///
    /// # Errors
    /// The sync fails.
    pub fn new(disk: D, journal: OpenJournal<D::File>, sync: SyncPolicy) -> io::Result<Writer<D>> {
        let OpenJournal { mut file, key } = journal;
        file.sync()?;
        let length = file.length()?;
        Ok(Writer {
            disk,
            sync,
            journal: Some(Appender {
                file,
                key,
                length,
                synced: length,
                reserved: length,
            }),
            new: None,
            rewrite: 0,
            unsynced_since_us: None,
            up_to: 0,
            reported_up_to: 0,
            check_path_at_us: 0,
            events: Vec::new(),
        })
    }

    /// Continues an existing journal as [`Writer::new`] does, after appending a first record that has to be on the disk
    /// before anything else happens. Returns false with the writer if a full disk has no space for the record.
    ///
    /// # Errors
    /// The sync fails, or an incomplete record can't be cut off.
    pub fn resume(
        disk: D,
        mut journal: OpenJournal<D::File>,
        sync: SyncPolicy,
        first: Option<&Record<'_>>,
    ) -> io::Result<(Writer<D>, bool)> {
        let mut is_written = false;
        if let Some(record) = first {
            let length = journal.file.length()?;
            let mut frame = Vec::new();
            encode(&mut frame, record);
            seal(&mut frame, journal.key, length);
            is_written = journal.file.write_all(&frame).is_ok();
            if !is_written {
                journal.file.set_length(length)?;
            }
        }
        Ok((Writer::new(disk, journal, sync)?, is_written))
    }

    /// Creates an empty journal on the disk. It replaces an existing one.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn create(mut disk: D, sync: SyncPolicy) -> io::Result<Writer<D>> {
        let mut new = create(&mut disk)?;
        new.file.sync()?;
        disk.rename(FileName::New, FileName::Journal)?;
        disk.sync_names()?;
        let Appender { file, key, .. } = new;
        Writer::new(disk, OpenJournal { file, key }, sync)
    }

    /// The path of the journal, for messages.
    pub fn journal_name(&self) -> String {
        self.disk.describe(FileName::Journal)
    }

    /// Writes a batch. [`Writer::commit`] has to follow, and reports the outcome.
    pub fn write(&mut self, batch: &mut Batch, now_us: u64) {
        self.up_to = batch.up_to;
        if let Some(number) = batch.begins {
            self.rewrite = number;
            if let Some(journal) = &mut self.journal {
                // The space is left for the new file.
                let _ = journal.give_up_reserve();
            }
            match create(&mut self.disk) {
                Ok(new) => self.new = Some(new),
                Err(error) => self.give_up_new(&error),
            }
        }
        if let Some(new) = &mut self.new {
            let written = new.append(&mut batch.snapshot);
            let written = written.and_then(|()| new.append(&mut batch.records));
            if let Err(error) = written.and_then(|()| new.sync_if_much()) {
                self.give_up_new(&error);
            }
        }
        if let Some(journal) = &mut self.journal
            && !batch.records.is_empty()
        {
            self.unsynced_since_us.get_or_insert(now_us);
            let has_room = match &self.new {
                None => journal.extend_reserve(batch.records.len()),
                Some(_) => Ok(()),
            };
            if let Err(error) = has_room.and_then(|()| journal.append(&mut batch.records)) {
                self.give_up_journal(&error);
            }
        }
        if batch.ends
            && let Some(new) = self.new.take()
        {
            self.install_new(new);
        }
    }

    /// Replaces the journal by the new file.
    fn install_new(&mut self, mut new: Appender<D::File>) {
        if let Err(error) = new.file.sync() {
            self.new = Some(new);
            self.give_up_new(&error);
            return;
        }
        if let Err(error) = self.rename_new() {
            if matches!(self.disk.path_leads_to(), Ok(Place::Own)) {
                // Nothing has changed: the old journal stays in use, if it is complete.
                self.new = Some(new);
                self.give_up_new(&error);
            } else {
                self.give_up_new(&error);
                self.give_up_journal(&error);
            }
            return;
        }
        if let Err(error) = self.disk.sync_names() {
            // It is unknown which of the two files has the name after a power cut.
            self.give_up_new(&error);
            self.give_up_journal(&error);
            return;
        }
        self.events.push(Saved::Rewritten(Rewritten {
            number: self.rewrite,
            length: new.length,
        }));
        self.journal = Some(new);
        self.unsynced_since_us = None;
    }

    /// Renames the new file to the journal's name. If a foreign file has that name by now, a copy of it is kept.
    fn rename_new(&mut self) -> io::Result<()> {
        if self.disk.path_leads_to()? == Place::Other {
            self.disk.keep(FileName::Journal, FileName::Bad)?;
        }
        self.disk.rename(FileName::New, FileName::Journal)
    }

    /// Abandons the journal if its path leads to another file, or if something else has written to it or truncated it.
    /// Further records would be lost then, since a record is valid only at its own offset.
    fn check_path(&mut self, now_us: u64) {
        self.check_path_at_us = now_us + JOURNAL_LOOK_US;
        if self
            .journal
            .as_ref()
            .is_some_and(|journal| !journal.is_as_written())
        {
            let why = "something else has cut the journal or written to it";
            self.give_up_journal(&io::Error::other(why));
            return;
        }
        let why = match self.disk.path_leads_to() {
            Ok(Place::Other) => "another file has taken the place of the journal",
            Ok(Place::Nothing) => "the journal was removed or moved away",
            Ok(Place::Own) | Err(_) => return,
        };
        self.give_up_journal(&io::Error::other(why));
    }

    /// Syncs the written batches if that is due, and reports how many records are saved. Called after one or several
    /// batches.
    pub fn commit(&mut self, now_us: u64) {
        let is_due = match self.sync {
            SyncPolicy::Always => true,
            // Half the time is left for the sync itself.
            SyncPolicy::Within(us) => self
                .unsynced_since_us
                .is_some_and(|since_us| now_us >= since_us + us / 2),
            SyncPolicy::Never => false,
        };
        if is_due {
            self.sync_journal();
        }
        if self.journal.is_some()
            && (self.reported_up_to != self.up_to || now_us >= self.check_path_at_us)
        {
            self.check_path(now_us);
        }
        if self.journal.is_some() && self.reported_up_to != self.up_to {
            self.reported_up_to = self.up_to;
            self.events.push(Saved::UpTo(self.up_to));
        }
    }

    /// The time at which [`Writer::commit`] is due even without a further batch.
    pub fn deadline_us(&self) -> Option<u64> {
        let sync_us = match self.sync {
            SyncPolicy::Within(us) => self.unsynced_since_us.map(|since_us| since_us + us / 2),
            SyncPolicy::Always | SyncPolicy::Never => None,
        };
        let check_path_at_us = self.journal.is_some().then_some(self.check_path_at_us);
        [sync_us, check_path_at_us].into_iter().flatten().min()
    }

    /// Syncs everything at the end, whatever the policy, and checks the journal's path a last time.
    pub fn finish(&mut self) {
        if let Some(journal) = &mut self.journal {
            let _ = journal.give_up_reserve();
        }
        self.sync_journal();
        self.check_path(self.check_path_at_us);
    }

    /// Takes the events since the last call.
    pub fn take_events(&mut self) -> Vec<Saved> {
        std::mem::take(&mut self.events)
    }

    fn sync_journal(&mut self) {
        if self.unsynced_since_us.take().is_some()
            && let Some(journal) = &mut self.journal
            && let Err(error) = journal.file.sync()
        {
            // The system may have dropped the pages that it could not write, so that another sync would succeed wrongly.
            self.give_up_journal(&error);
        }
    }

    /// Abandons the journal after an error, and reports the error once.
    fn give_up_journal(&mut self, error: &io::Error) {
        if self.abandon_journal() {
            let file = self.disk.describe(FileName::Journal);
            self.events.push(Saved::Failed(format!("{file}: {error}")));
        }
    }

    /// Stops writing to the journal, and syncs its content. Returns false if there was none.
    fn abandon_journal(&mut self) -> bool {
        let Some(mut journal) = self.journal.take() else {
            return false;
        };
        // On a full disk the new file needs this space, including that of an incomplete record.
        let _ = journal.give_up_reserve();
        if self.unsynced_since_us.take().is_some() {
            let _ = journal.file.sync();
        }
        true
    }

    /// Abandons the rewrite after an error, and reports the error.
    fn give_up_new(&mut self, error: &io::Error) {
        if let Some(mut new) = self.new.take() {
            // On a full disk the journal itself needs the space.
            let _ = new.file.set_length(0);
        }
        let file = self.disk.describe(FileName::New);
        self.events.push(Saved::NotRewritten(
            self.rewrite,
            format!("{file}: {error}"),
        ));
    }
}

fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}

/// Creates a new file, with a header and a random key of its own.
fn create<D: Disk>(disk: &mut D) -> io::Result<Appender<D::File>> {
    let key = Key::from_bytes(disk.random()?);
    let mut file = disk.create(FileName::New)?;
    file.write_all(&header(key))?;
    Ok(Appender {
        file,
        key,
        length: HEADER as u64,
        synced: 0,
        reserved: 0,
    })
}
