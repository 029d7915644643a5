//! Collects the records of a turn in a batch. While the disk is busy, batches accumulate here, and only the newest records
//! of each name are kept, so that the waiting bytes do not depend on how often a name is written meanwhile.

use super::format::{self, Subject};
use super::writer::Batch;
use crate::broker::{Record, Recording, Rewrite};
use crate::limits::{COMPACTED_FROM, HANDED_OVER_AT_ONCE};
use ahash::RandomState;
use std::collections::HashSet;
use std::hash::BuildHasher;

/// The present batch, and the count of bytes that are being written.
#[derive(Default)]
pub struct Recorder {
    batch: Batch,
    spare: Vec<Batch>,
    /// The number of bytes in batches that were taken and not written yet.
    in_flight: usize,
    /// The size of the records in the batch after superseded ones were last dropped, in bytes.
    compacted: usize,
    /// The batch contains a [`Record::Fold`].
    has_fold: bool,
}

/// The number of empty batches that are kept for reuse.
const SPARE: usize = 8;

impl Recording for Recorder {
    /// Adds a record to the batch.
    fn record(&mut self, record: &Record<'_>) {
        self.has_fold |= matches!(record, Record::Fold(_));
        format::encode(&mut self.batch.records, record);
    }

    /// Adds a step of a rewrite to the batch.
    fn rewrite(&mut self, step: &Rewrite<'_>) {
        match step {
            Rewrite::Begin(number) => self.batch.begins = Some(*number),
            // The state may have been folded by now. If a count of a share that it contains were read after it, the count
            // would be added twice. So the state comes after the counts of the batch, in both files.
            Rewrite::Held(record) if self.has_fold => {
                format::encode(&mut self.batch.records, record);
            }
            Rewrite::Held(record) => format::encode(&mut self.batch.snapshot, record),
            Rewrite::End => self.batch.ends = true,
        }
    }

    /// The number of bytes that were recorded and not written yet.
    fn unsaved(&self) -> usize {
        self.in_flight + self.batch.bytes()
    }
}

impl Recorder {
    /// Takes the batch at the end of a turn, unless enough bytes are being written already. `recorded` is the number of
    /// records so far, including those in the batch.
    pub fn take_batch(&mut self, recorded: u64) -> Option<Batch> {
        if self.in_flight < HANDED_OVER_AT_ONCE {
            return self.take_all(recorded);
        }
        // The batch has doubled in size each time, so each record is examined about twice.
        if self.batch.records.len() >= COMPACTED_FROM.max(2 * self.compacted) {
            drop_superseded(&mut self.batch.records);
            self.compacted = self.batch.records.len();
        }
        None
    }

    /// Takes the batch in any case; otherwise as [`Recorder::take_batch`].
    pub fn take_all(&mut self, recorded: u64) -> Option<Batch> {
        if self.batch.is_empty() {
            return None;
        }
        let mut batch = std::mem::replace(&mut self.batch, self.spare.pop().unwrap_or_default());
        (self.compacted, self.has_fold) = (0, false);
        batch.up_to = recorded;
        self.in_flight += batch.bytes();
        Some(batch)
    }

    /// Takes back an emptied batch whose `bytes` bytes were written.
    pub fn handle_written(&mut self, bytes: usize, batch: Batch) {
        self.in_flight -= bytes;
        if self.spare.len() < SPARE {
            self.spare.push(batch);
        }
    }
}

/// Drops the frames whose records are superseded by later records of their names. Records on different sides of a CLEAR
/// are not compared.
fn drop_superseded(frames: &mut Vec<u8>) {
    let places = format::frames(frames);
    let mut is_kept = vec![true; places.len()];
    {
        let hasher = RandomState::with_seed(random_seed());
        let mut later: HashSet<(&[u8], Subject), _> =
            HashSet::with_capacity_and_hasher(places.len(), hasher);
        for (place, is_kept) in places.iter().zip(&mut is_kept).rev() {
            let Some((name, subject)) = format::subject(&frames[place.clone()]) else {
                later.clear();
                continue;
            };
            let is_superseded = subject != Subject::All && later.contains(&(name, Subject::All));
            *is_kept = !is_superseded && later.insert((name, subject));
        }
    }
    let mut end = 0;
    for (place, is_kept) in places.into_iter().zip(is_kept) {
        if is_kept {
            let length = place.len();
            frames.copy_within(place, end);
            end += length;
        }
    }
    frames.truncate(end);
}

/// An unpredictable seed, since clients choose the names and could choose colliding ones.
fn random_seed() -> usize {
    std::hash::RandomState::new().hash_one(0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::attributes::Attributes;
    use crate::protocol::number::Number;
    use crate::protocol::peer::{Contribution, NodeId, Register, ShareId, Stamp, State};
    use crate::storage::format::{FRAME, decode};

    fn state<'a>(name: &'a str, value: &'a str) -> Record<'a> {
        Record::State {
            name: name.as_bytes(),
            state: State {
                stamp: Stamp::default(),
                accessed_us: 0,
                register: Register::Value(value.as_bytes()),
                attributes: Attributes::default(),
                contributions: Vec::new(),
            },
            changed_us: 0,
        }
    }

    fn used(name: &str, accessed_us: u64) -> Record<'_> {
        Record::Used {
            name: name.as_bytes(),
            accessed_us,
        }
    }

    fn clear(time_us: u64) -> Record<'static> {
        Record::Clear(Stamp {
            time_us,
            node: NodeId(1),
        })
    }

    fn frames_of(records: &[Record<'_>]) -> Vec<u8> {
        let mut frames = Vec::new();
        records
            .iter()
            .for_each(|record| format::encode(&mut frames, record));
        frames
    }

    fn records_of(frames: &[u8]) -> Vec<Record<'_>> {
        let places = format::frames(frames).into_iter();
        let records = places.map(|place| decode(&frames[place][FRAME..]));
        records.collect::<Option<_>>().expect("frames are whole")
    }

    #[test]
    fn the_newest_records_of_each_name_stay_in_their_order() {
        let mut frames = frames_of(&[
            state("a", "1"),
            used("a", 1),
            state("b", "1"),
            state("a", "22"),
            used("b", 2),
            used("a", 2),
            used("b", 3),
        ]);
        drop_superseded(&mut frames);
        let left = [
            state("b", "1"),
            state("a", "22"),
            used("a", 2),
            used("b", 3),
        ];
        assert_eq!(records_of(&frames), left);
    }

    /// A later state says all there is of the counter; a later count says only the same share of it.
    #[test]
    fn of_each_share_of_a_counter_the_newest_count_stays() {
        let count = |share: u64, version: u64| Record::Count {
            name: b"n",
            stamp: Stamp::default(),
            accessed_us: 1,
            changed_us: version,
            contribution: Contribution {
                share: ShareId(share),
                version,
                sum: Number::ONE,
            },
        };
        let mut frames = frames_of(&[
            count(1, 1),
            state("n", "1"),
            count(1, 2),
            count(2, 3),
            count(1, 4),
            count(1, 5),
        ]);
        drop_superseded(&mut frames);
        assert_eq!(
            records_of(&frames),
            [state("n", "1"), count(2, 3), count(1, 5)]
        );
    }

    #[test]
    fn nothing_is_superseded_across_a_clear() {
        let records = [
            state("a", "1"),
            clear(1),
            used("a", 2),
            clear(1),
            state("a", "3"),
        ];
        let mut frames = frames_of(&records);
        drop_superseded(&mut frames);
        assert_eq!(records_of(&frames), records);
    }

    /// Then the state may contain the share, folded, and the count must not come after it.
    #[test]
    fn what_is_held_after_a_fold_comes_after_the_counts_before_it() {
        let count = Record::Count {
            name: b"n",
            stamp: Stamp::default(),
            accessed_us: 1,
            changed_us: 1,
            contribution: Contribution {
                share: ShareId::new(1, 1),
                version: 1,
                sum: Number::ONE,
            },
        };
        let fold = Record::Fold(Stamp {
            time_us: 2_000_000,
            node: NodeId(1),
        });
        let mut recorder = Recorder::default();
        recorder.rewrite(&Rewrite::Begin(1));
        recorder.rewrite(&Rewrite::Held(state("before", "0")));
        recorder.record(&count);
        recorder.record(&fold);
        recorder.rewrite(&Rewrite::Held(state("n", "1")));
        let batch = recorder.take_batch(2).expect("nothing was on its way");
        assert_eq!(records_of(&batch.snapshot), [state("before", "0")]);
        assert_eq!(records_of(&batch.records), [count, fold, state("n", "1")]);
        recorder.rewrite(&Rewrite::Held(state("after", "0")));
        let batch = recorder.take_batch(2).expect("nothing was on its way");
        assert_eq!(records_of(&batch.snapshot), [state("after", "0")]);
    }

    /// The disk does nothing meanwhile.
    #[test]
    fn however_often_a_name_is_written_little_waits() {
        let mut recorder = Recorder::default();
        let value = "v".repeat(HANDED_OVER_AT_ONCE);
        recorder.record(&state("first", &value));
        let first = recorder.take_batch(1).expect("nothing was on its way");
        let value = "v".repeat(500);
        let mut recorded = 1;
        for _ in 0..1000 {
            for _ in 0..200 {
                recorded += 1;
                recorder.record(&state("big", &value));
            }
            assert!(recorder.take_batch(recorded).is_none());
            let waiting = recorder.unsaved() - first.bytes();
            assert!(waiting < 2 * COMPACTED_FROM, "{waiting}");
        }
        recorder.record(&state("big", "last"));
        let bytes = first.bytes();
        recorder.handle_written(bytes, Batch::default());
        let batch = recorder
            .take_batch(recorded + 1)
            .expect("its turn has come");
        assert_eq!(batch.up_to, recorded + 1);
        assert_eq!(
            records_of(&batch.records).last(),
            Some(&state("big", "last"))
        );
    }

    #[test]
    fn at_the_end_all_is_taken_whatever_is_on_its_way() {
        let mut recorder = Recorder::default();
        let value = "v".repeat(HANDED_OVER_AT_ONCE);
        recorder.record(&state("first", &value));
        assert!(recorder.take_batch(1).is_some());
        recorder.record(&state("second", "1"));
        assert!(recorder.take_batch(2).is_none());
        assert!(recorder.take_all(2).is_some_and(|batch| batch.up_to == 2));
        assert!(recorder.take_all(2).is_none());
    }
}
