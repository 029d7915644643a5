//! The journal as the loop sees it: what a turn has recorded is handed to a thread, which writes and
//! syncs, and says what came of it.

use super::disk::Disk;
use super::recorder::Recorder;
use super::writer::{Batch, Writer};
use crate::broker::{Record, Rewrite, Saved};
use crate::limits::{COMMITTED_AT_ONCE, JOURNAL_NICENESS};
use crate::sys::lower_priority;
use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

/// What the thread answers.
struct Report {
    news: Vec<Saved>,
    /// Batches that were written, emptied, and how much was in each.
    written: Vec<(usize, Batch)>,
    /// It has ended.
    is_last: bool,
}

pub struct Journal {
    recorder: Recorder,
    /// `None` when there is nothing more to come.
    batches: Option<Sender<Batch>>,
    reports: Receiver<Report>,
    is_over: bool,
    name: String,
}

impl Journal {
    /// Starts the thread. `wake` is called from there whenever there is something to
    /// [take](Journal::take_news).
    pub fn start<D>(
        writer: Writer<D>,
        wake: impl Fn() -> io::Result<()> + Send + 'static,
    ) -> io::Result<Journal>
    where
        D: Disk<File: Send> + Send + 'static,
    {
        let name = writer.journal_name();
        let (batches, coming) = mpsc::channel();
        let (reporting, reports) = mpsc::channel();
        thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || write_all(writer, &coming, &reporting, &wake))?;
        Ok(Journal {
            recorder: Recorder::default(),
            batches: Some(batches),
            reports,
            is_over: false,
            name,
        })
    }

    /// The journal's file, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn record(&mut self, record: &Record<'_>) {
        self.recorder.record(record);
    }

    pub fn rewrite(&mut self, step: &Rewrite<'_>) {
        self.recorder.rewrite(step);
    }

    /// Bytes that are on their way to the disk.
    pub fn unsaved(&self) -> usize {
        self.recorder.unsaved()
    }

    /// Hands over what was recorded, unless the disk has enough to do; with it there have been `recorded` records.
    pub fn hand_over(&mut self, recorded: u64) {
        if let Some(batches) = &self.batches
            && let Some(batch) = self.recorder.take_batch(recorded)
        {
            // The thread ends when this end of the channel is gone, and not before.
            let _ = batches.send(batch);
        }
    }

    /// What has come of what was handed over.
    pub fn take_news(&mut self) -> Vec<Saved> {
        let mut all = Vec::new();
        for report in self.reports.try_iter() {
            all.extend(report.news);
            self.is_over |= report.is_last;
            for (bytes, batch) in report.written {
                self.recorder.handle_written(bytes, batch);
            }
        }
        all
    }

    /// Nothing more will be recorded than these `recorded` records: they are to be saved for good.
    /// [`Journal::is_over`] tells when that is done.
    pub fn finish(&mut self, recorded: u64) {
        if let Some(batches) = self.batches.take()
            && let Some(batch) = self.recorder.take_all(recorded)
        {
            // As in `hand_over`.
            let _ = batches.send(batch);
        }
    }

    pub fn is_over(&self) -> bool {
        self.is_over
    }
}

/// The thread's work: writes what comes, all that waits at once up to a bound, until nothing more can come.
fn write_all<D: Disk>(
    mut writer: Writer<D>,
    coming: &Receiver<Batch>,
    reporting: &Sender<Report>,
    wake: &impl Fn() -> io::Result<()>,
) {
    if let Err(error) = lower_priority(JOURNAL_NICENESS) {
        log::debug!("the journal's thread keeps its priority: {error}");
    }
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
            written: Vec::new(),
            is_last,
        };
        let mut written = 0;
        for mut batch in next.into_iter().chain(coming.try_iter()) {
            let bytes = batch.bytes();
            writer.write(&mut batch, now_us());
            batch.clear();
            report.written.push((bytes, batch));
            written += bytes;
            if written >= COMMITTED_AT_ONCE {
                break;
            }
        }
        writer.commit(now_us());
        if is_last {
            writer.finish();
        }
        report.news = writer.take_news();
        let is_worth_telling = is_last || !report.news.is_empty() || !report.written.is_empty();
        if is_worth_telling && (reporting.send(report).is_err() || wake().is_err()) || is_last {
            return;
        }
    }
}
