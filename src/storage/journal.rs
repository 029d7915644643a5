//! The journal as the loop sees it: what a turn has recorded is handed to a thread, which writes and
//! syncs, and says what came of it.

use super::disk::Disk;
use super::format;
use super::writer::{Batch, Writer};
use crate::broker::{Record, Rewrite, Saved};
use crate::limits::MAX_UNSAVED;
use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

/// What the thread answers.
struct Report {
    news: Vec<Saved>,
    /// Batches that were written, emptied; and how much was in them.
    batches: Vec<Batch>,
    bytes: usize,
    /// It has ended.
    is_last: bool,
}

pub struct Journal {
    /// `None` when there is nothing more to come.
    batches: Option<Sender<Batch>>,
    reports: Receiver<Report>,
    /// What this turn records.
    batch: Batch,
    spare: Vec<Batch>,
    /// Bytes handed over and not written.
    in_flight: usize,
    /// Too much was on its way: nothing is recorded before the journal is written anew.
    is_overrun: bool,
    /// That is still to be said.
    overrun_news: bool,
    is_over: bool,
}

/// Batches kept for their memory.
const SPARE: usize = 8;

impl Journal {
    /// Starts the thread. `wake` is called from there whenever there is something to
    /// [take](Journal::take_news).
    pub fn start<D>(
        writer: Writer<D>,
        wake: impl Fn() -> io::Result<()> + Send + 'static,
    ) -> io::Result<Journal>
    where
        D: Disk + Send + 'static,
        D::File: Send,
    {
        let (batches, coming) = mpsc::channel();
        let (reporting, reports) = mpsc::channel();
        thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || write_all(writer, &coming, &reporting, &wake))?;
        Ok(Journal {
            batches: Some(batches),
            reports,
            batch: Batch::default(),
            spare: Vec::new(),
            in_flight: 0,
            is_overrun: false,
            overrun_news: false,
            is_over: false,
        })
    }

    pub fn record(&mut self, record: &Record<'_>) {
        if self.is_overrun {
            return;
        }
        format::encode(&mut self.batch.records, record);
        if self.unsaved() > MAX_UNSAVED {
            self.is_overrun = true;
            self.overrun_news = true;
        }
    }

    pub fn rewrite(&mut self, step: &Rewrite<'_>) {
        match step {
            Rewrite::Begin => {
                self.batch.held.clear();
                self.batch.begins = true;
                self.batch.ends = false;
                self.batch.abandons |= std::mem::take(&mut self.is_overrun);
            }
            _ if self.is_overrun => {}
            Rewrite::Held(record) => format::encode(&mut self.batch.held, record),
            Rewrite::End => self.batch.ends = true,
        }
    }

    /// Bytes that are on their way to the disk.
    pub fn unsaved(&self) -> usize {
        self.in_flight + self.batch.bytes()
    }

    /// Hands over what the turn has recorded; with it there have been `recorded` records.
    pub fn hand_over(&mut self, recorded: u64) {
        if self.batch.is_empty() {
            return;
        }
        let Some(batches) = &self.batches else {
            return;
        };
        let mut batch = std::mem::replace(&mut self.batch, self.spare.pop().unwrap_or_default());
        batch.up_to = recorded;
        self.in_flight += batch.bytes();
        // A thread that is gone has said so; see `take_news`.
        let _ = batches.send(batch);
    }

    /// Whether there is something to take that nobody has been woken for.
    pub fn has_news(&self) -> bool {
        self.overrun_news
    }

    /// What has come of what was handed over.
    pub fn take_news(&mut self) -> Vec<Saved> {
        let mut all = Vec::new();
        if std::mem::take(&mut self.overrun_news) {
            // First of all: nothing that waits is saved by what is written from now on.
            let why = "the disk is too slow for what is to be saved".to_owned();
            all.push(Saved::Failed(why.clone()));
            all.push(Saved::NotRewritten(why));
        }
        for report in self.reports.try_iter() {
            self.in_flight -= report.bytes;
            all.extend(report.news);
            self.is_over |= report.is_last;
            for batch in report.batches {
                if self.spare.len() < SPARE {
                    self.spare.push(batch);
                }
            }
        }
        all
    }

    /// Nothing more will be recorded: what was is to be saved for good. [`Journal::is_over`] tells when that
    /// is done.
    pub fn finish(&mut self) {
        self.batches = None;
    }

    pub fn is_over(&self) -> bool {
        self.is_over
    }
}

/// The thread's work: writes what comes, all that waits at once, until nothing more can come.
fn write_all<D: Disk>(
    mut writer: Writer<D>,
    coming: &Receiver<Batch>,
    reporting: &Sender<Report>,
    wake: &impl Fn() -> io::Result<()>,
) {
    let start = Instant::now();
    let now_us = || start.elapsed().as_micros() as u64;
    loop {
        let next = match writer.deadline_us() {
            None => coming.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(at_us) => {
                coming.recv_timeout(Duration::from_micros(at_us.saturating_sub(now_us())))
            }
        };
        let is_last = matches!(next, Err(RecvTimeoutError::Disconnected));
        let mut report = Report {
            news: Vec::new(),
            batches: Vec::new(),
            bytes: 0,
            is_last,
        };
        for mut batch in next.into_iter().chain(coming.try_iter()) {
            report.bytes += batch.bytes();
            writer.write(&mut batch, now_us());
            batch.clear();
            report.batches.push(batch);
        }
        writer.commit(now_us());
        if is_last {
            writer.finish();
        }
        report.news = writer.take_news();
        let is_worth_telling = is_last || !report.news.is_empty() || !report.batches.is_empty();
        if is_worth_telling && (reporting.send(report).is_err() || wake().is_err()) || is_last {
            return;
        }
    }
}
