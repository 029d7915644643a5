//! What a turn records, gathered into a batch; and an end to that when the disk can't follow.

use super::format;
use super::writer::Batch;
use crate::broker::{Record, Rewrite, Saved};
use crate::limits::MAX_UNSAVED;

#[derive(Default)]
pub struct Recorder {
    batch: Batch,
    spare: Vec<Batch>,
    /// Bytes that were taken and are not written.
    in_flight: usize,
    /// Too much was on its way: nothing is recorded before the journal is written anew.
    is_overrun: bool,
    /// The number of the last rewrite.
    rewrite: u64,
    /// An overrun that is still to be told, by the rewrite that was the last one then.
    news: Option<u64>,
}

/// Batches kept for their memory.
const SPARE: usize = 8;

impl Recorder {
    pub fn record(&mut self, record: &Record<'_>) {
        if self.is_overrun {
            return;
        }
        format::encode(&mut self.batch.records, record);
        if self.unsaved() > MAX_UNSAVED {
            self.is_overrun = true;
            self.news = Some(self.rewrite);
        }
    }

    pub fn rewrite(&mut self, step: &Rewrite<'_>) {
        match step {
            Rewrite::Begin(number) => {
                self.rewrite = *number;
                self.batch.begins = Some(*number);
                if std::mem::take(&mut self.is_overrun) {
                    self.batch.abandons = true;
                    // What comes with it is older than what is to come, which will be written before it.
                    self.batch.records.clear();
                }
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

    /// What was recorded since the last call, if anything was; with it there have been `recorded` records.
    pub fn take_batch(&mut self, recorded: u64) -> Option<Batch> {
        if self.batch.is_empty() {
            return None;
        }
        let mut batch = std::mem::replace(&mut self.batch, self.spare.pop().unwrap_or_default());
        batch.up_to = recorded;
        self.in_flight += batch.bytes();
        Some(batch)
    }

    /// A batch of so many bytes was written; it comes back for its memory.
    pub fn handle_written(&mut self, bytes: usize, batch: Batch) {
        self.in_flight -= bytes;
        if self.spare.len() < SPARE {
            self.spare.push(batch);
        }
    }

    /// Whether there is something to take.
    pub fn has_news(&self) -> bool {
        self.news.is_some()
    }

    /// To be told before what comes of the batches: nothing that waits is saved by what is still written.
    pub fn take_news(&mut self) -> Vec<Saved> {
        let Some(rewrite) = self.news.take() else {
            return Vec::new();
        };
        let why = "the disk is too slow for what is to be saved".to_owned();
        vec![
            Saved::Failed(why.clone()),
            Saved::NotRewritten(rewrite, why),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records an entry of about so many bytes.
    fn record(recorder: &mut Recorder, bytes: usize) {
        let name = vec![b'n'; bytes];
        recorder.record(&Record::Used {
            name: &name,
            accessed_us: 1,
        });
    }

    #[test]
    fn when_too_much_waits_nothing_is_recorded_until_all_is_written_anew() {
        let mut recorder = Recorder::default();
        let mut taken = Vec::new();
        while !recorder.has_news() {
            record(&mut recorder, MAX_UNSAVED / 10);
            taken.extend(recorder.take_batch(taken.len() as u64 + 1));
        }
        assert_eq!(taken.len(), 10);
        let news = recorder.take_news();
        assert!(matches!(
            news[..],
            [Saved::Failed(_), Saved::NotRewritten(0, _)]
        ));
        record(&mut recorder, 5);
        recorder.rewrite(&Rewrite::End);
        assert!(recorder.take_batch(12).is_none(), "what lacks something");
        for mut batch in taken {
            let bytes = batch.bytes();
            batch.clear();
            recorder.handle_written(bytes, batch);
        }
        assert_eq!(recorder.unsaved(), 0);
        recorder.rewrite(&Rewrite::Begin(1));
        record(&mut recorder, 5);
        let batch = recorder.take_batch(13).expect("it goes on");
        assert!(batch.begins == Some(1) && batch.abandons && !batch.records.is_empty());
        assert!(!recorder.has_news());
    }

    /// What is recorded comes behind what is held when the journal is written anew.
    #[test]
    fn what_came_before_an_overrun_is_not_recorded_behind_what_came_after_it() {
        let mut recorder = Recorder::default();
        record(&mut recorder, 5);
        record(&mut recorder, MAX_UNSAVED + 1);
        recorder.rewrite(&Rewrite::Begin(1));
        let batch = recorder.take_batch(2).expect("a rewrite is begun");
        assert!(batch.abandons && batch.records.is_empty());
    }
}
