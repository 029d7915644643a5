//! The journal as seen by the event loop: the records of each turn are submitted to a thread, which writes and syncs them
//! and reports the outcome.

use super::disk::Disk;
use super::recorder::Recorder;
use super::writer::{Batch, Writer};
use crate::broker::{Record, Recording, Rewrite, Saved};
use crate::limits::{COMMITTED_AT_ONCE, JOURNAL_NICENESS};
use crate::sys::lower_priority;
use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

/// A report of the thread.
struct Report {
    events: Vec<Saved>,
    /// The processed batches, emptied, and the number of bytes that each contained.
    written: Vec<(usize, Batch)>,
    /// The thread has ended.
    is_last: bool,
}

/// A recorder, and the thread with the writer.
pub struct Journal {
    recorder: Recorder,
    /// `None` after [`Journal::finish`].
    batches: Option<Sender<Batch>>,
    reports: Receiver<Report>,
    is_over: bool,
    name: String,
}

impl Journal {
    /// Starts the thread. The thread calls `wake` whenever there are events to [take](Journal::take_events).
    ///
    /// # Errors
    /// The system can't start a thread.
    pub fn start<D>(
        writer: Writer<D>,
        wake: impl Fn() -> io::Result<()> + Send + 'static,
    ) -> io::Result<Journal>
    where
        D: Disk<File: Send> + Send + 'static,
    {
        let name = writer.journal_name();
        let (batches, incoming) = mpsc::channel();
        let (report_sender, reports) = mpsc::channel();
        thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || write_all(writer, &incoming, &report_sender, &wake))?;
        Ok(Journal {
            recorder: Recorder::default(),
            batches: Some(batches),
            reports,
            is_over: false,
            name,
        })
    }

    /// The path of the journal, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Submits the present batch to the thread, unless enough bytes are being written already. `recorded` is the number of
    /// records so far, including those in the batch.
    pub fn submit(&mut self, recorded: u64) {
        if let Some(batches) = &self.batches
            && let Some(batch) = self.recorder.take_batch(recorded)
        {
            // The thread ends only when this end of the channel is dropped.
            let _ = batches.send(batch);
        }
    }

    /// Takes the events that the thread has reported.
    pub fn take_events(&mut self) -> Vec<Saved> {
        let mut all = Vec::new();
        for report in self.reports.try_iter() {
            all.extend(report.events);
            self.is_over |= report.is_last;
            for (bytes, batch) in report.written {
                self.recorder.handle_written(bytes, batch);
            }
        }
        all
    }

    /// Submits the last records and asks the thread to sync the journal and end. `recorded` is the number of all records.
    /// [`Journal::is_over`] returns true when the thread has ended.
    pub fn finish(&mut self, recorded: u64) {
        if let Some(batches) = self.batches.take()
            && let Some(batch) = self.recorder.take_all(recorded)
        {
            // As in `submit`.
            let _ = batches.send(batch);
        }
    }

    /// Returns true if the thread has ended.
    pub fn is_over(&self) -> bool {
        self.is_over
    }
}

impl Recording for Journal {
    /// Adds a record to the present batch.
    fn record(&mut self, record: &Record<'_>) {
        self.recorder.record(record);
    }

    /// Adds a step of a rewrite to the present batch.
    fn rewrite(&mut self, step: &Rewrite<'_>) {
        self.recorder.rewrite(step);
    }

    /// The number of bytes that were recorded and not written yet.
    fn unsaved(&self) -> usize {
        self.recorder.unsaved()
    }
}

/// The main function of the thread. It writes the batches that wait, up to a bound of bytes, before each commit, and ends
/// when the channel is closed.
fn write_all<D: Disk>(
    mut writer: Writer<D>,
    incoming: &Receiver<Batch>,
    report_sender: &Sender<Report>,
    wake: &impl Fn() -> io::Result<()>,
) {
    if let Err(error) = lower_priority(JOURNAL_NICENESS) {
        log::debug!("the journal's thread keeps its priority: {error}");
    }
    let start = Instant::now();
    let now_us = || start.elapsed().as_micros() as u64;
    loop {
        let next = match writer.deadline_us() {
            None => incoming.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(at_us) => {
                incoming.recv_timeout(Duration::from_micros(at_us.saturating_sub(now_us())))
            }
        };
        let is_last = matches!(next, Err(RecvTimeoutError::Disconnected));
        let mut report = Report {
            events: Vec::new(),
            written: Vec::new(),
            is_last,
        };
        let mut written = 0;
        for mut batch in next.into_iter().chain(incoming.try_iter()) {
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
        report.events = writer.take_events();
        let has_report = is_last || !report.events.is_empty() || !report.written.is_empty();
        if has_report && (report_sender.send(report).is_err() || wake().is_err()) || is_last {
            return;
        }
    }
}
