//! Brings a journal to a disk: what is written when, and what happens when that fails. It has no thread
//! and no clock; whoever calls it waits.

use super::disk::{Disk, DiskFile, FileName, Place};
use super::format::{HEADER, Key, encode, header, seal};
use super::load::OpenJournal;
use crate::broker::{Record, Rewritten, Saved};
use crate::limits::{JOURNAL_LOOK_US, MAX_JOURNAL_RESERVE, MIN_JOURNAL_RESERVE, SYNCED_AT_ONCE};
use std::io::{self, Write};

/// When what is written has to be on the disk itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Before it counts as saved.
    Always,
    /// So many microseconds later at the latest.
    Within(u64),
    /// When the operating system sees fit.
    Never,
}

/// What the broker recorded in one turn of the loop.
#[derive(Debug, Default)]
pub struct Batch {
    /// Frames for the journal.
    pub records: Vec<u8>,
    /// Frames for the journal that is being written anew. They come before the records.
    pub held: Vec<u8>,
    /// The journal is to be written anew from here on, by the rewrite of that number: all that follows goes
    /// into a new file, too.
    pub begins: Option<u64>,
    /// The new file is whole with this.
    pub ends: bool,
    /// How many records there have been with this, counted from the start.
    pub up_to: u64,
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.held.is_empty() && self.begins.is_none() && !self.ends
    }

    /// What it takes, about.
    pub fn bytes(&self) -> usize {
        self.records.len() + self.held.len()
    }

    /// Empties it, and keeps memory of a usual size for the next one.
    pub fn clear(&mut self) {
        /// More is given back.
        const KEPT: usize = 256 * crate::limits::KIB;
        for bytes in [&mut self.records, &mut self.held] {
            bytes.clear();
            bytes.shrink_to(KEPT);
        }
        (self.begins, self.ends) = (None, false);
    }
}

/// A file that frames are appended to.
struct Appender<F> {
    file: F,
    key: Key,
    length: u64,
    /// How much of it was on the disk when that was last seen to.
    synced: u64,
    /// Up to where room is reserved for it.
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

    /// Reserves a quarter of the file's length behind what is coming. When the disk is full, that room is given up for
    /// the file that replaces this one, which is smaller if the cache has shrunk.
    ///
    /// # Errors
    /// The disk is full but for the room that was reserved.
    fn keep_reserve(&mut self, coming: usize) -> io::Result<()> {
        let reserve = (self.length / 4).min(MAX_JOURNAL_RESERVE);
        let end = self.length + coming as u64 + reserve;
        if reserve < MIN_JOURNAL_RESERVE || end <= self.reserved {
            return Ok(());
        }
        let had_reserve = self.reserved > self.length;
        // More than is needed, so that this is seldom to be done.
        match self.reserve(end + reserve).or_else(|_| self.reserve(end)) {
            Err(error) if had_reserve && is_full(&error) => Err(error),
            // A file system that can't, or has never had so much room: the file goes on without.
            _ => Ok(()),
        }
    }

    fn reserve(&mut self, end: u64) -> io::Result<()> {
        self.file.reserve(self.length, end - self.length)?;
        self.reserved = end;
        Ok(())
    }

    /// Cuts what is behind the last whole record, reserved room too. A file that somebody has cut shorter stays so.
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

    /// Whether the file is as long as what was written to it.
    fn is_as_written(&self) -> bool {
        self.file
            .length()
            .map_or(true, |length| length == self.length)
    }

    /// Keeps the last sync of a long file short: the journal waits for it, too.
    fn sync_if_much(&mut self) -> io::Result<()> {
        if self.length - self.synced > SYNCED_AT_ONCE {
            self.file.sync()?;
            self.synced = self.length;
        }
        Ok(())
    }
}

pub struct Writer<D: Disk> {
    disk: D,
    sync: SyncPolicy,
    /// `None` when it can't be relied on any more.
    journal: Option<Appender<D::File>>,
    new: Option<Appender<D::File>>,
    /// The number of the last rewrite that was begun.
    rewrite: u64,
    /// When the first write was that is not on the disk yet.
    unsynced_since_us: Option<u64>,
    up_to: u64,
    /// How many records are where they were promised to be, as was last said.
    said_up_to: u64,
    /// When the next look is due whether the journal is still in its place.
    look_us: u64,
    news: Vec<Saved>,
}

impl<D: Disk> Writer<D> {
    /// For a journal that is there. What was read of it is served from now on, so it has to stay.
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
            said_up_to: 0,
            look_us: 0,
            news: Vec::new(),
        })
    }

    /// As [`Writer::new`], with a record that has to be on the disk before anything else happens. Whether it is: a full
    /// disk has no room for it.
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

    /// Makes an empty journal, which is on the disk then, in place of one that may be there.
    pub fn create(mut disk: D, sync: SyncPolicy) -> io::Result<Writer<D>> {
        let mut new = create(&mut disk)?;
        new.file.sync()?;
        disk.rename(FileName::New, FileName::Journal)?;
        disk.sync_names()?;
        let Appender { file, key, .. } = new;
        Writer::new(disk, OpenJournal { file, key }, sync)
    }

    /// The journal's file, for messages.
    pub fn journal_name(&self) -> String {
        self.disk.describe(FileName::Journal)
    }

    /// Writes a batch. What came of it is told after [`Writer::commit`].
    pub fn write(&mut self, batch: &mut Batch, now_us: u64) {
        self.up_to = batch.up_to;
        if let Some(number) = batch.begins {
            self.rewrite = number;
            if let Some(journal) = &mut self.journal {
                // It is kept for the new file.
                let _ = journal.give_up_reserve();
            }
            match create(&mut self.disk) {
                Ok(new) => self.new = Some(new),
                Err(error) => self.give_up_new(&error),
            }
        }
        if let Some(new) = &mut self.new {
            let written = new.append(&mut batch.held);
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
                None => journal.keep_reserve(batch.records.len()),
                Some(_) => Ok(()),
            };
            if let Err(error) = has_room.and_then(|()| journal.append(&mut batch.records)) {
                self.give_up_journal(&error);
            }
        }
        if batch.ends
            && let Some(new) = self.new.take()
        {
            self.put_in_place(new);
        }
    }

    /// Makes the new file the journal.
    fn put_in_place(&mut self, mut new: Appender<D::File>) {
        if let Err(error) = new.file.sync() {
            self.new = Some(new);
            self.give_up_new(&error);
            return;
        }
        if let Err(error) = self.rename_new() {
            if matches!(self.disk.place_of_journal(), Ok(Place::Own)) {
                // Nothing has changed: the old journal is gone on with, if it is whole.
                self.new = Some(new);
                self.give_up_new(&error);
            } else {
                self.give_up_new(&error);
                self.give_up_journal(&error);
            }
            return;
        }
        if let Err(error) = self.disk.sync_names() {
            // Which of the two files has the name after a power cut, nobody knows.
            self.give_up_new(&error);
            self.give_up_journal(&error);
            return;
        }
        self.news.push(Saved::Rewritten(Rewritten {
            number: self.rewrite,
            length: new.length,
        }));
        self.journal = Some(new);
        self.unsynced_since_us = None;
    }

    /// Gives the new file the journal's name. A file of somebody else's that has it by now is kept.
    fn rename_new(&mut self) -> io::Result<()> {
        if self.disk.place_of_journal()? == Place::Other {
            self.disk.keep(FileName::Journal, FileName::Bad)?;
        }
        self.disk.rename(FileName::New, FileName::Journal)
    }

    /// Gives the journal up if its name does not lead to it any more, or somebody else writes to it or cuts it: what is
    /// written to it would be lost, for a record is good in its place only.
    fn look_for_journal(&mut self, now_us: u64) {
        self.look_us = now_us + JOURNAL_LOOK_US;
        if self
            .journal
            .as_ref()
            .is_some_and(|journal| !journal.is_as_written())
        {
            let why = "something else has cut the journal or written to it";
            self.give_up_journal(&io::Error::other(why));
            return;
        }
        let why = match self.disk.place_of_journal() {
            Ok(Place::Other) => "another file has taken the place of the journal",
            Ok(Place::Nothing) => "the journal was removed or moved away",
            Ok(Place::Own) | Err(_) => return,
        };
        self.give_up_journal(&io::Error::other(why));
    }

    /// To be called after one or several batches: makes them safe, as far as that is due.
    pub fn commit(&mut self, now_us: u64) {
        let is_due = match self.sync {
            SyncPolicy::Always => true,
            // The sync itself takes its time, too.
            SyncPolicy::Within(us) => self
                .unsynced_since_us
                .is_some_and(|since_us| now_us >= since_us + us / 2),
            SyncPolicy::Never => false,
        };
        if is_due {
            self.sync_journal();
        }
        if self.journal.is_some() && (self.said_up_to != self.up_to || now_us >= self.look_us) {
            self.look_for_journal(now_us);
        }
        if self.journal.is_some() && self.said_up_to != self.up_to {
            self.said_up_to = self.up_to;
            self.news.push(Saved::UpTo(self.up_to));
        }
    }

    /// When [`Writer::commit`] is due even if nothing comes.
    pub fn deadline_us(&self) -> Option<u64> {
        let sync_us = match self.sync {
            SyncPolicy::Within(us) => self.unsynced_since_us.map(|since_us| since_us + us / 2),
            SyncPolicy::Always | SyncPolicy::Never => None,
        };
        let look_us = self.journal.is_some().then_some(self.look_us);
        [sync_us, look_us].into_iter().flatten().min()
    }

    /// The last word: everything written is on the disk, whatever the policy, and in the journal's place.
    pub fn finish(&mut self) {
        if let Some(journal) = &mut self.journal {
            let _ = journal.give_up_reserve();
        }
        self.sync_journal();
        self.look_for_journal(self.look_us);
    }

    pub fn take_news(&mut self) -> Vec<Saved> {
        std::mem::take(&mut self.news)
    }

    fn sync_journal(&mut self) {
        if self.unsynced_since_us.take().is_some()
            && let Some(journal) = &mut self.journal
            && let Err(error) = journal.file.sync()
        {
            // What the failed sync was about the system may have forgotten; another one would succeed.
            self.give_up_journal(&error);
        }
    }

    fn give_up_journal(&mut self, error: &io::Error) {
        if self.part_with_journal() {
            let file = self.disk.describe(FileName::Journal);
            self.news.push(Saved::Failed(format!("{file}: {error}")));
        }
    }

    /// Nothing more comes to the journal; whether there was one. What is in it gets to where it was promised to be.
    fn part_with_journal(&mut self) -> bool {
        let Some(mut journal) = self.journal.take() else {
            return false;
        };
        // On a full disk, the new file needs this room, and that of a record which was written in part.
        let _ = journal.give_up_reserve();
        if self.unsynced_since_us.take().is_some() {
            let _ = journal.file.sync();
        }
        true
    }

    fn give_up_new(&mut self, error: &io::Error) {
        if let Some(mut new) = self.new.take() {
            // If the disk is full, the journal itself needs the room.
            let _ = new.file.set_length(0);
        }
        let file = self.disk.describe(FileName::New);
        self.news.push(Saved::NotRewritten(
            self.rewrite,
            format!("{file}: {error}"),
        ));
    }
}

fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}

/// A new file with a header, and a key that no other file has.
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
