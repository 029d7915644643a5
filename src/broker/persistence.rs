//! Persistence of the cache: which changes are recorded, what waits until they are saved, and when the journal is
//! rewritten. How bytes get to a disk is not known here.
//!
//! A record has the whole state of a name, or of one contribution to a counter; the last record counts. So the
//! journal can be rewritten while the cache goes on changing: the new journal gets the entries of the cache, in the
//! order of the table, and every change meanwhile, and it doesn't matter which comes first.
//!
//! Entries that the cache drops by itself, for their age or for want of room, are not recorded as dropped. After a
//! start the expired ones are dropped again, and evicted ones may be back, as any entry may that nobody removed.

use super::backlog::Backlog;
use super::cache::{Found, TooLarge, WrittenPart};
use super::change::Change;
use super::events::{ConnectionId, Now};
use super::expiry::ExpiryCycle;
use super::output::Output;
use super::recording::{Record, Recording, Rewrite, Saved};
use super::walk::{Meets, Walk};
use super::{Broker, LogLimit, Suppressed};
use crate::limits::{
    JOURNAL_RETRY_MAX_US, JOURNAL_RETRY_US, MAX_REWRITE_SLICE, MAX_UNSAVED, MIN_REWRITE,
    OVERDUE_REWRITE_BACKLOG, REWRITE_BACKLOG, REWRITE_SLICE,
};
use crate::protocol::peer::Stamp;
use std::collections::{BTreeSet, HashMap};
use std::fmt;

/// Where recording stands.
pub struct Persistence {
    /// Records made so far, and how many of them are saved.
    pub(super) recorded: u64,
    saved: u64,
    /// True while records are saved: false from a failure of the journal until it has been rewritten.
    is_saving: bool,
    rewriting: Rewriting,
    /// The number of rewrites that were begun, which is also the number of the last one.
    rewrites: u64,
    /// True if few enough bytes are on their way to the disk for the next slice of a rewrite.
    has_room: bool,
    /// The length of the records since the journal was last rewritten, about, in bytes; after a start, half of the
    /// journal's length counts as such.
    grown: u64,
    /// The length of the journal when it was last rewritten, in bytes; after a start, half of its length.
    rewritten_length: u64,
    retry_us: u64,
    /// True once the server is to end: after a failure no further rewrite is tried.
    is_last_try: bool,
    /// A link has come up, the first of all, and that is not recorded yet.
    has_link_to_record: bool,
    /// The last record of the run was made.
    has_recorded_end: bool,
    /// Connections whose FLUSH waits, in the order of the numbers of saved records that they wait for.
    waiting: BTreeSet<(u64, ConnectionId)>,
    /// The number of records that have to be saved before a connection's FLUSH is answered.
    barriers: HashMap<ConnectionId, u64>,
    /// Whose records wait for the disk, and who waits with further ones.
    pub(super) backlog: Backlog,
    log: LogLimit,
    /// The reason why something is not saved, as long as that is so.
    failure: Option<String>,
    /// Rewrites that succeeded, and when the last one did (wall).
    rewritten: u64,
    rewritten_us: Option<u64>,
    /// Failures to save or to rewrite, and the reason of the last one.
    failures: u64,
    last_error: Option<String>,
}

/// The figures of a journal.
pub struct Figures<'a> {
    pub is_saving: bool,
    /// Records made, and those of them that are saved.
    pub recorded: u64,
    pub saved: u64,
    /// About the length of the journal, in bytes.
    pub length: u64,
    /// Successful rewrites, and when the last one ended, in microseconds since 1970.
    pub rewritten: u64,
    pub rewritten_us: Option<u64>,
    /// Failures to save or to rewrite, and the reason of the last one.
    pub failures: u64,
    pub last_error: Option<&'a str>,
}

/// Changes that are in no file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsaved {
    /// 0 if all were written, but may not have reached the disk.
    changes: u64,
    reason: String,
}

impl fmt::Display for Unsaved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.changes {
            0 => f.write_str("the last changes may not be on the disk")?,
            1 => f.write_str("1 change is not saved")?,
            changes => write!(f, "{changes} changes are not saved")?,
        }
        write!(f, ": {}", self.reason)
    }
}

enum Rewriting {
    No,
    /// At that moment (monotonic).
    At(u64),
    /// As far as it has come, and what [`Persistence::grown`] was then.
    Walk(Walk, u64),
    /// All was said.
    Ending,
}

/// The treatment of a FLUSH.
pub(super) enum Barrier {
    /// It is answered.
    Passed,
    /// It waits until all changes before it are saved.
    Waits,
    /// It is answered, after an error: changes before it are not saved.
    NotSaved,
}

impl Default for Persistence {
    fn default() -> Persistence {
        Persistence {
            recorded: 0,
            saved: 0,
            is_saving: true,
            rewriting: Rewriting::No,
            rewrites: 0,
            has_room: true,
            grown: 0,
            rewritten_length: 0,
            retry_us: JOURNAL_RETRY_US,
            is_last_try: false,
            has_link_to_record: false,
            has_recorded_end: false,
            waiting: BTreeSet::new(),
            barriers: HashMap::new(),
            backlog: Backlog::default(),
            log: LogLimit::default(),
            failure: None,
            rewritten: 0,
            rewritten_us: None,
            failures: 0,
            last_error: None,
        }
    }
}

impl Persistence {
    /// Reports whether records are saved: not from a failure of the journal until it has been rewritten.
    pub fn is_saving(&self) -> bool {
        self.is_saving
    }

    /// In a word, for the status.
    pub fn state(&self) -> &'static str {
        match (self.is_saving, &self.rewriting) {
            (false, _) => "failed",
            (true, Rewriting::No | Rewriting::At(_)) => "saving",
            (true, Rewriting::Walk(..) | Rewriting::Ending) => "rewriting",
        }
    }

    pub fn figures(&self) -> Figures<'_> {
        Figures {
            is_saving: self.is_saving,
            recorded: self.recorded,
            saved: self.saved,
            length: self.rewritten_length + self.grown,
            rewritten: self.rewritten,
            rewritten_us: self.rewritten_us,
            failures: self.failures,
            last_error: self.last_error.as_deref(),
        }
    }

    /// When there is something to do.
    pub fn deadline(&self) -> Option<u64> {
        let rewriting = match self.rewriting {
            Rewriting::At(at_us) if self.has_room => Some(at_us),
            Rewriting::Walk(..) if self.has_room => Some(0),
            _ => None,
        };
        let link = self.has_link_to_record.then_some(0);
        [rewriting, link, self.backlog.deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// So much is on its way to the disk. A disk that always has more to do than that gets on with a rewrite all the
    /// same when that is overdue: else the journal would grow for as long as the load lasts.
    fn note_room(&mut self, unsaved: usize) {
        let is_overdue = self.grown > 2 * self.rewritten_length.max(MIN_REWRITE);
        let backlog = match is_overdue {
            true => OVERDUE_REWRITE_BACKLOG,
            false => REWRITE_BACKLOG,
        };
        self.has_room = unsaved < backlog;
    }

    /// Records when a name was used, unless so much waits for the disk that only what was promised is worth a record:
    /// who only reads never waits.
    pub fn record_use<O: Recording>(
        &mut self,
        name: &[u8],
        accessed_us: u64,
        now: Now,
        out: &mut O,
    ) {
        if out.unsaved() < MAX_UNSAVED {
            self.record(&Record::Used { name, accessed_us }, now, out);
        }
    }

    fn record<O: Recording>(&mut self, record: &Record<'_>, now: Now, out: &mut O) {
        let before = out.unsaved();
        out.record(record);
        let unsaved = out.unsaved();
        self.backlog
            .note_recorded(unsaved.saturating_sub(before), unsaved);
        self.recorded += 1;
        self.grown += length(record) as u64;
        let is_long = self.grown > self.rewritten_length.max(MIN_REWRITE);
        if is_long && matches!(self.rewriting, Rewriting::No) {
            self.rewriting = Rewriting::At(now.monotonic_us);
        }
    }
}

/// About what a record takes in a journal.
fn length(record: &Record<'_>) -> usize {
    /// Its frame, its kind, stamps and lengths.
    const REST: usize = 34;
    REST + match record {
        Record::State { name, state, .. } => {
            name.len() + state.register.value().len() + state.contributions.len() * 33
        }
        Record::Used { name, .. } => name.len(),
        Record::Count { name, .. } => name.len() + 33,
        Record::Touch { name, .. } => name.len(),
        Record::Clear(_) | Record::Fold(_) | Record::Linked | Record::Run { .. } => 0,
    }
}

fn state_record<'a>(found: &Found<'a>) -> Record<'a> {
    Record::State {
        name: found.name(),
        state: found.state(),
        changed_us: found.changed_us(),
    }
}

/// Returns the record of a write: of the part that has changed if nothing else has, or of the whole state of the name.
fn written_record(found: Found<'_>, part: WrittenPart) -> Record<'_> {
    let (name, stamp, accessed_us) = (found.name(), found.stamp(), found.accessed_us());
    match part {
        WrittenPart::All => state_record(&found),
        WrittenPart::Share(share) => match found.contribution_of(share) {
            None => state_record(&found),
            Some(contribution) => Record::Count {
                name,
                stamp,
                accessed_us,
                changed_us: found.changed_us(),
                contribution,
            },
        },
        WrittenPart::Touch => Record::Touch {
            name,
            stamp,
            accessed_us,
            attributes: found.attributes().touch(),
        },
    }
}

fn restore_record(broker: &mut Broker, record: &Record<'_>) {
    match record {
        Record::State {
            name,
            state,
            changed_us,
        } => {
            // What has no room any more is as good as evicted, and with it what it has replaced.
            if let Err(TooLarge) = broker.cache.restore(name, state, *changed_us) {
                broker.cache.forget(name);
            }
            broker.cache.evict_all();
            broker.expiry = ExpiryCycle::At(broker.settings.clean_interval_us);
        }
        Record::Used { name, accessed_us } => broker.cache.restore_use(name, *accessed_us),
        Record::Count {
            name,
            stamp,
            accessed_us,
            changed_us,
            contribution,
        } => {
            let restored = broker.cache.restore_contribution(
                name,
                *stamp,
                *accessed_us,
                *changed_us,
                contribution,
            );
            if let Err(TooLarge) = restored {
                broker.cache.forget(name);
            }
        }
        Record::Touch {
            name,
            stamp,
            accessed_us,
            attributes,
        } => {
            let restored = broker
                .cache
                .restore_touch(name, *stamp, *accessed_us, attributes);
            if let Err(TooLarge) = restored {
                broker.cache.forget(name);
            }
        }
        Record::Clear(stamp) => broker.cache.restore_clear(*stamp),
        Record::Fold(marker) => {
            broker.cache.merge_fold(*marker);
        }
        Record::Linked => broker.tree.note_linked(),
        Record::Run {
            share,
            newest_us,
            has_ended,
        } => broker.last_run = has_ended.then_some((*share, *newest_us)),
    }
    // Nobody waits yet.
    broker.cache.free_all_garbage();
}

impl Broker {
    /// Restores the records of an earlier process, in their order. To be called before everything else, with a few at once,
    /// whose memory is fetched together.
    pub fn restore(&mut self, records: &[Record<'_>]) {
        let names = records.iter().filter_map(Record::name);
        self.cache.prefetch_names(names);
        for record in records {
            restore_record(self, record);
        }
    }

    /// Ends the restoring: all records of a journal of `length` bytes were given to [`Broker::restore`]. If `rewrites`
    /// is true, the journal is rewritten soon, since something is wrong with it.
    pub fn handle_restored(&mut self, length: u64, rewrites: bool) {
        self.cache.finish_restoring();
        self.cache.free_all_garbage();
        let Some(persistence) = &mut self.persistence else {
            return;
        };
        persistence.rewritten_length = length / 2;
        persistence.grown = length - persistence.rewritten_length;
        if rewrites {
            persistence.rewriting = Rewriting::At(0);
        }
    }

    /// Entries in the cache.
    pub fn entries(&self) -> usize {
        self.cache.live()
    }

    /// Records made so far.
    pub fn recorded(&self) -> u64 {
        self.persistence
            .as_ref()
            .map_or(0, |persistence| persistence.recorded)
    }

    /// Records a change. What the cache drops by itself is not recorded.
    pub(super) fn record_change<O: Recording>(
        &mut self,
        change: Change<'_>,
        now: Now,
        out: &mut O,
    ) {
        let Broker {
            persistence, cache, ..
        } = self;
        let record = match change {
            Change::Write(write) => {
                written_record(cache.entry_of(write.written.entry), write.written.part)
            }
            Change::Clear { .. } => Record::Clear(cache.cleared()),
            Change::Fold { .. } => Record::Fold(cache.folded()),
            Change::Drop(..) => return,
        };
        if let Some(persistence) = persistence {
            persistence.record(&record, now, out);
        }
    }

    /// A link has come up: other servers know entries of this one from now on, also after a restart.
    pub(super) fn note_linked(&mut self) {
        if !self.tree.was_linked()
            && let Some(persistence) = &mut self.persistence
        {
            persistence.has_link_to_record = true;
        }
        self.tree.note_linked();
    }

    /// Records that the run has ended in order, once, if everything before is being saved.
    pub(super) fn record_last<O: Recording>(&mut self, record: &Record<'_>, now: Now, out: &mut O) {
        if let Some(persistence) = &mut self.persistence
            && persistence.is_saving
            && !std::mem::replace(&mut persistence.has_recorded_end, true)
        {
            persistence.record(record, now, out);
        }
    }

    /// The record that takes back what the last record of the journal says, that the run before has ended in
    /// order. It has to be on the disk before this run counts under the same share id, and
    /// [`Broker::resume_run`] is called.
    pub fn start_of_run(&self) -> Option<Record<'static>> {
        let (share, newest_us) = self.last_run?;
        Some(Record::Run {
            share,
            newest_us,
            has_ended: false,
        })
    }

    /// Goes on counting under the share id of the run before, which has ended in order and whose journal was read
    /// as a whole.
    pub fn resume_run(&mut self) {
        if let Some((share, newest_us)) = self.last_run.take() {
            self.cache.resume_share(share, newest_us);
        }
    }

    /// Decides how a FLUSH of a connection is treated. The first call for a FLUSH fixes the number of records that have
    /// to be saved before its answer.
    pub(super) fn barrier(&mut self, id: ConnectionId) -> Barrier {
        // A link carries what others wait for as well.
        let is_link = self.tree.links.get(id).is_some();
        let Some(persistence) = self.persistence.as_mut().filter(|_| !is_link) else {
            return Barrier::Passed;
        };
        let needed = *persistence
            .barriers
            .entry(id)
            .or_insert(persistence.recorded);
        if persistence.is_saving && needed > persistence.saved {
            persistence.waiting.insert((needed, id));
            return Barrier::Waits;
        }
        persistence.barriers.remove(&id);
        match persistence.is_saving {
            true => Barrier::Passed,
            false => Barrier::NotSaved,
        }
    }

    /// Panics if one of these is not there any more; for [`Broker::check`].
    pub(super) fn check_waiting<'a>(&self, waiting: impl IntoIterator<Item = &'a ConnectionId>) {
        for id in waiting {
            let session = self.sessions.get(*id).expect("who waits is there");
            assert!(
                session.closing.is_none(),
                "who is on its way out doesn't wait"
            );
        }
    }

    /// The connection is no more.
    pub(super) fn end_barrier(&mut self, id: ConnectionId) {
        if let Some(persistence) = &mut self.persistence
            && let Some(needed) = persistence.barriers.remove(&id)
        {
            persistence.waiting.remove(&(needed, id));
        }
    }

    /// The connection is no more.
    pub(super) fn end_wait_for_disk(&mut self, id: ConnectionId) {
        if let Some(persistence) = &mut self.persistence {
            persistence.backlog.end_wait(id);
        }
    }

    /// Something was written, or came to nothing; what is to be known of it.
    pub fn handle_saved<O: Output>(
        &mut self,
        news: impl IntoIterator<Item = Saved>,
        now: Now,
        out: &mut O,
    ) {
        let Some(persistence) = &mut self.persistence else {
            return;
        };
        persistence.note_room(out.unsaved());
        for news in news {
            persistence.note(news, now);
        }
        let (saved, recorded) = (persistence.saved, persistence.recorded);
        persistence
            .backlog
            .note_saved(saved, recorded, out.unsaved());
        for id in persistence.backlog.take_resumed() {
            out.resume(id);
        }
        // Those that wait for what can't be saved are told so.
        while let Some(&(needed, id)) = persistence.waiting.first()
            && (needed <= persistence.saved || !persistence.is_saving)
        {
            persistence.waiting.pop_first();
            out.resume(id);
        }
    }

    /// The server is to end: what could not be saved is tried once more.
    pub(super) fn save_at_last(&mut self, now: Now) {
        if let Some(persistence) = &mut self.persistence {
            persistence.is_last_try = true;
            if let Rewriting::At(at_us) = &mut persistence.rewriting
                && !persistence.is_saving
            {
                *at_us = now.monotonic_us;
            }
        }
    }

    /// Returns the changes that would be lost if the server ended now, even with the journal finished in order; `None`
    /// as long as records are saved.
    pub fn unsaved(&self) -> Option<Unsaved> {
        let persistence = self.persistence.as_ref()?;
        let changes = persistence.recorded.saturating_sub(persistence.saved);
        (!persistence.is_saving).then(|| Unsaved {
            changes,
            reason: persistence.failure.clone().unwrap_or_default(),
        })
    }

    /// True once nothing more is to be recorded: all sessions that were to be closed are, and no rewrite is under way.
    pub fn has_recorded_all(&self) -> bool {
        self.dismissal.is_empty()
            && self.persistence.as_ref().is_none_or(|persistence| {
                persistence.is_saving || matches!(persistence.rewriting, Rewriting::No)
            })
    }

    /// Goes on writing the journal anew, one slice.
    pub(super) fn tend_journal<O: Recording>(&mut self, now: Now, out: &mut O) {
        let now_us = self.tree.now_us(now);
        let Broker {
            persistence,
            cache,
            tree,
            ..
        } = self;
        let Some(persistence) = persistence else {
            return;
        };
        if std::mem::take(&mut persistence.has_link_to_record) {
            persistence.record(&Record::Linked, now, out);
        }
        let (mut walk, grown_before) =
            match std::mem::replace(&mut persistence.rewriting, Rewriting::No) {
                Rewriting::At(at_us) if at_us <= now.monotonic_us && persistence.has_room => {
                    persistence.rewrites += 1;
                    out.rewrite(&Rewrite::Begin(persistence.rewrites));
                    if cache.cleared() != Stamp::default() {
                        out.rewrite(&Rewrite::Held(Record::Clear(cache.cleared())));
                    }
                    if cache.folded() != Stamp::default() {
                        out.rewrite(&Rewrite::Held(Record::Fold(cache.folded())));
                    }
                    if tree.was_linked() {
                        out.rewrite(&Rewrite::Held(Record::Linked));
                    }
                    (Walk::unsorted(Meets::All), persistence.grown)
                }
                Rewriting::Walk(walk, grown) if persistence.has_room => (walk, grown),
                other => {
                    persistence.rewriting = other;
                    return;
                }
            };
        // As much as what came meanwhile, which goes into the new journal as well, or else that would be long.
        let more = (persistence.grown - grown_before) as usize;
        walk.advance(
            cache,
            now_us,
            more.clamp(REWRITE_SLICE, MAX_REWRITE_SLICE),
            |found| {
                let record = state_record(&found);
                let length = length(&record);
                out.rewrite(&Rewrite::Held(record));
                length
            },
        );
        persistence.note_room(out.unsaved());
        persistence.rewriting = if walk.is_done() {
            out.rewrite(&Rewrite::End);
            Rewriting::Ending
        } else {
            Rewriting::Walk(walk, persistence.grown)
        };
    }
}

/// Panics if somebody who waits is not there any more; for [`Broker::check`].
pub(super) fn check_barriers(broker: &Broker) {
    let Some(persistence) = &broker.persistence else {
        return;
    };
    broker.check_waiting(persistence.barriers.keys());
    broker.check_waiting(persistence.backlog.waiting());
    for (needed, id) in &persistence.waiting {
        assert_eq!(persistence.barriers.get(id), Some(needed));
    }
}

impl Persistence {
    fn note(&mut self, news: Saved, now: Now) {
        match news {
            Saved::UpTo(count) => self.saved = count,
            Saved::Failed(why) => {
                self.is_saving = false;
                if !self.is_rewriting(self.rewrites) {
                    self.retry_later(now);
                }
                self.failure = Some(why.clone());
                self.note_failure(&why);
                if let Some(suppressed) = self.log.admit(now.monotonic_us) {
                    log::error!("nothing is being saved: {why}{}", Suppressed(suppressed));
                }
            }
            // One that was given up may come to its end all the same, even when the next one has been
            // handed over. Its journal lacks records, and the next one takes its place.
            Saved::Rewritten(new) if !self.is_rewriting(new.number) => {}
            Saved::NotRewritten(number, _) if !self.is_rewriting(number) => {}
            Saved::Rewritten(new) => {
                if !std::mem::replace(&mut self.is_saving, true) {
                    log::info!("everything is being saved again");
                }
                self.failure = None;
                self.rewritten += 1;
                self.rewritten_us = Some(now.wall_us);
                self.rewriting = Rewriting::No;
                self.rewritten_length = new.length;
                self.grown = 0;
                self.retry_us = JOURNAL_RETRY_US;
            }
            Saved::NotRewritten(_, why) => {
                self.retry_later(now);
                self.note_failure(&why);
                if let Some(suppressed) = self.log.admit(now.monotonic_us) {
                    log::warn!(
                        "the journal could not be written anew: {why}{}",
                        Suppressed(suppressed)
                    );
                }
            }
        }
    }

    fn note_failure(&mut self, why: &str) {
        self.failures += 1;
        self.last_error = Some(why.to_owned());
    }

    /// Reports whether the rewrite with that number is under way, and not given up.
    fn is_rewriting(&self, number: u64) -> bool {
        number == self.rewrites && matches!(self.rewriting, Rewriting::Walk(..) | Rewriting::Ending)
    }

    /// Sets the next try to write the journal anew: soon at first, then less and less often.
    fn retry_later(&mut self, now: Now) {
        if self.is_last_try {
            self.rewriting = Rewriting::No;
            return;
        }
        self.rewriting = Rewriting::At(now.monotonic_us + self.retry_us);
        self.retry_us = (self.retry_us * 2).min(JOURNAL_RETRY_MAX_US);
    }
}
