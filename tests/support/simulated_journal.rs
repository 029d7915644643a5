//! A journal on a simulated disk, which is written to when the test says so.

use super::SimulatedDisk;
use clacks::broker::{Broker, Record, Recording, Rewrite, Saved};
use clacks::storage::{self, Batch, LoadError, Loaded, Recorder, SyncPolicy, Writer};
use std::collections::VecDeque;
use std::ops::ControlFlow;

pub struct SimulatedJournal {
    pub recorder: Recorder,
    writer: Writer<SimulatedDisk>,
    /// Handed over and not written.
    batches: VecDeque<Batch>,
}

impl Recording for SimulatedJournal {
    fn record(&mut self, record: &Record<'_>) {
        self.recorder.record(record);
    }

    fn rewrite(&mut self, step: &Rewrite<'_>) {
        self.recorder.rewrite(step);
    }

    fn unsaved(&self) -> usize {
        self.recorder.unsaved()
    }
}

impl SimulatedJournal {
    /// Brings what a disk has into a broker, as the daemon does it.
    pub fn start(
        disk: &SimulatedDisk,
        sync: SyncPolicy,
        broker: &mut Broker,
    ) -> Result<(SimulatedJournal, Option<Loaded>), LoadError> {
        let mut disk = disk.clone();
        let loaded = storage::load(&mut disk, |records| {
            broker.restore(records);
            ControlFlow::Continue(())
        })?;
        let (loaded, writer) = match loaded {
            None => {
                broker.handle_restored(0, false);
                (None, Writer::create(disk, sync)?)
            }
            Some((loaded, file)) => {
                broker.handle_restored(loaded.length, loaded.damage.is_some());
                let first = broker.start_of_run();
                let (writer, has_begun) = Writer::resume(disk, file, sync, first.as_ref())?;
                if has_begun && loaded.is_whole() {
                    broker.resume_run();
                }
                (Some(loaded), writer)
            }
        };
        let journal = SimulatedJournal {
            recorder: Recorder::default(),
            writer,
            batches: VecDeque::new(),
        };
        Ok((journal, loaded))
    }

    /// Ends a turn of the loop, until which there have been so many records.
    pub fn hand_over(&mut self, recorded: u64) {
        self.batches.extend(self.recorder.take_batch(recorded));
    }

    /// Batches that were handed over and are not written.
    pub fn waiting(&self) -> usize {
        self.batches.len()
    }

    /// Writes so many batches; what is to be known of that.
    pub fn write(&mut self, batches: usize, now_us: u64) -> Vec<Saved> {
        for _ in 0..batches {
            let Some(mut batch) = self.batches.pop_front() else {
                break;
            };
            let bytes = batch.bytes();
            self.writer.write(&mut batch, now_us);
            batch.clear();
            self.recorder.handle_written(bytes, batch);
        }
        self.writer.commit(now_us);
        self.writer.take_events()
    }

    /// When a write is due even if nothing waits.
    pub fn deadline_us(&self) -> Option<u64> {
        self.writer.deadline_us()
    }

    /// Drops the batches that wait: they are never written.
    pub fn lose_waiting(&mut self) {
        self.batches.clear();
    }

    /// Writes everything, after which there have been so many records.
    pub fn finish(&mut self, recorded: u64, now_us: u64) {
        self.batches.extend(self.recorder.take_all(recorded));
        let _ = self.write(usize::MAX, now_us);
        self.writer.finish();
    }
}
