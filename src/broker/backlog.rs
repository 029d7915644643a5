//! Which connections have recorded what is not saved yet, and which of them wait until it is.
//!
//! A disk that is slower than the writers slows the writers. When more than [`SLOW_UNSAVED`] waits for the disk, the
//! next write of each connection waits that has recorded more than its fair share of it. Beyond [`MAX_UNSAVED`] every
//! write waits, so memory stays bounded however many connections write. A connection that writes nothing never waits.

use super::carrier::Carrier;
use super::events::ConnectionId;
use crate::broker::dialects::Plan;
use crate::broker::{Broker, Now};
use crate::limits::{
    LINK_ALLOWANCE, LINK_ALLOWANCE_US, MAX_UNSAVED, MAX_UNSAVED_RUNS, SLOW_UNSAVED,
};
use crate::protocol::Request;
use std::collections::{BTreeMap, HashMap, VecDeque};

/// The records that wait for the disk, by their authors.
#[derive(Default)]
pub(super) struct Backlog {
    /// Bytes that wait for the disk, records and what a rewrite of the journal has added.
    unsaved: usize,
    /// The connection whose line is being handled, and what it has recorded since `runs` was last extended.
    author: ConnectionId,
    by_author: usize,
    /// Runs of records of one author each, the oldest first.
    runs: VecDeque<Run>,
    /// The sums of the runs of each author.
    shares: HashMap<ConnectionId, usize>,
    /// Connections whose next write waits, first come, first served; and the number of each in that order.
    waiting: BTreeMap<u64, ConnectionId>,
    numbers: HashMap<ConnectionId, u64>,
    next_number: u64,
    /// Bytes of lines that links may still write though it is not their turn.
    allowances: HashMap<ConnectionId, usize>,
    /// When waiting links get such an allowance.
    allowance_us: Option<u64>,
}

/// Some records in a row of one author.
struct Run {
    author: ConnectionId,
    bytes: usize,
    /// The number of the last one of these records.
    up_to: u64,
}

impl Backlog {
    /// From now on this connection is the author of what is recorded, after the record of that number.
    pub fn set_author(&mut self, author: ConnectionId, recorded: u64) {
        if author != self.author {
            self.end_run(recorded);
            self.author = author;
        }
    }

    /// Something was recorded, and so much more waits now.
    pub fn note_recorded(&mut self, grown: usize, unsaved: usize) {
        self.by_author += grown;
        self.unsaved = unsaved;
    }

    /// Takes in how much waits. The records up to that number are saved, of `recorded`.
    pub fn note_saved(&mut self, saved: u64, recorded: u64, unsaved: usize) {
        self.unsaved = unsaved;
        self.end_run(recorded);
        while let Some(run) = self.runs.front()
            && run.up_to <= saved
            && let Some(run) = self.runs.pop_front()
        {
            self.take_from_share(&run);
        }
    }

    fn take_from_share(&mut self, run: &Run) {
        if let Some(share) = self.shares.get_mut(&run.author) {
            *share = share.saturating_sub(run.bytes);
            if *share == 0 {
                self.shares.remove(&run.author);
            }
        }
    }

    fn end_run(&mut self, up_to: u64) {
        let bytes = std::mem::take(&mut self.by_author);
        if bytes == 0 {
            return;
        }
        let author = self.author;
        *self.shares.entry(author).or_default() += bytes;
        self.runs.push_back(Run {
            author,
            bytes,
            up_to,
        });
        if self.runs.len() > MAX_UNSAVED_RUNS.max(2 * self.shares.len()) {
            self.merge_runs(up_to);
        }
    }

    /// Keeps one run of each author. They count as unsaved for a little longer.
    fn merge_runs(&mut self, up_to: u64) {
        self.runs.clear();
        let shares = self.shares.iter();
        self.runs.extend(shares.map(|(&author, &bytes)| Run {
            author,
            bytes,
            up_to,
        }));
    }

    /// Returns true if the next write of that connection has to wait.
    fn is_beyond_share(&self, id: ConnectionId) -> bool {
        if self.unsaved <= SLOW_UNSAVED {
            return false;
        }
        let current = if id == self.author { self.by_author } else { 0 };
        let share = self.shares.get(&id).map_or(0, |share| *share) + current;
        self.unsaved > MAX_UNSAVED || share > SLOW_UNSAVED / self.shares.len().max(1)
    }

    /// Takes a line's bytes from what the link may write though others wait; false if it may not.
    fn use_allowance(&mut self, id: ConnectionId, bytes: usize) -> bool {
        let Some(left) = self.allowances.get_mut(&id) else {
            return false;
        };
        *left = left.saturating_sub(bytes);
        if *left == 0 {
            self.allowances.remove(&id);
        }
        true
    }

    fn wait(&mut self, id: ConnectionId) {
        let number = self.next_number;
        if self.numbers.insert(id, number).is_none() {
            self.waiting.insert(number, id);
            self.next_number += 1;
        }
    }

    /// The connection waits no more; whether it did.
    pub fn end_wait(&mut self, id: ConnectionId) -> bool {
        self.allowances.remove(&id);
        let number = self.numbers.remove(&id);
        number.is_some_and(|number| self.waiting.remove(&number).is_some())
    }

    /// Takes out those that have waited longest, as far as they may go on.
    pub fn take_resumed(&mut self) -> Vec<ConnectionId> {
        if self.waiting.is_empty() {
            return Vec::new();
        }
        let waiting = self.waiting.values().copied();
        let resumed: Vec<ConnectionId> = waiting.filter(|id| !self.is_beyond_share(*id)).collect();
        for id in &resumed {
            self.end_wait(*id);
        }
        resumed
    }

    /// When something is to be done, if ever.
    pub fn deadline(&self) -> Option<u64> {
        self.allowance_us
    }

    pub fn waiting(&self) -> impl Iterator<Item = &ConnectionId> {
        self.waiting.values()
    }
}

impl Broker {
    /// Returns true if the line has to wait until more records are saved.
    #[inline(never)]
    pub(super) fn waits_for_disk(
        &mut self,
        id: ConnectionId,
        request: &Request<'_>,
        now: Now,
    ) -> bool {
        let Some(persistence) = &mut self.persistence else {
            return false;
        };
        let recorded = persistence.recorded;
        let backlog = &mut persistence.backlog;
        backlog.set_author(id, recorded);
        if !backlog.is_beyond_share(id) {
            return false;
        }
        let Some(session) = self.sessions.get(id) else {
            return false;
        };
        let link = self.tree.links.get(id);
        if !Plan::of(session, link, request).may_write {
            return false;
        }
        let is_link = session.is_link;
        if is_link {
            if backlog.use_allowance(id, request.length()) {
                return false;
            }
            let due_us = now.monotonic_us + LINK_ALLOWANCE_US;
            backlog.allowance_us.get_or_insert(due_us);
        }
        backlog.wait(id);
        true
    }

    /// Lets links that wait write a little when they have waited long: a peer whose output nobody takes would end the
    /// link. Beyond twice the bound not even they go on.
    pub(super) fn tend_backlog<O: Carrier>(&mut self, now: Now, out: &mut O) {
        let Some(persistence) = &mut self.persistence else {
            return;
        };
        let backlog = &mut persistence.backlog;
        if backlog
            .allowance_us
            .is_none_or(|due_us| now.monotonic_us < due_us)
        {
            return;
        }
        backlog.allowance_us = None;
        let waiting = backlog.waiting.values().copied();
        let links: Vec<ConnectionId> = waiting
            .filter(|id| self.tree.links.get(*id).is_some())
            .collect();
        if links.is_empty() {
            return;
        }
        if backlog.unsaved > 2 * MAX_UNSAVED {
            backlog.allowance_us = Some(now.monotonic_us + LINK_ALLOWANCE_US);
            return;
        }
        for id in links {
            backlog.end_wait(id);
            backlog.allowances.insert(id, LINK_ALLOWANCE);
            out.resume(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(slot: u32) -> ConnectionId {
        ConnectionId {
            slot,
            generation: 1,
        }
    }

    /// The connection records so many bytes; what is recorded in all.
    fn record(backlog: &mut Backlog, slot: u32, bytes: usize, recorded: &mut u64) {
        backlog.set_author(id(slot), *recorded);
        *recorded += 1;
        backlog.note_recorded(bytes, backlog.unsaved + bytes);
    }

    #[test]
    fn who_has_more_than_a_fair_share_waits_and_nobody_else() {
        let (mut backlog, mut recorded) = (Backlog::default(), 0);
        for _ in 0..4 {
            record(&mut backlog, 1, SLOW_UNSAVED / 4, &mut recorded);
            record(&mut backlog, 2, 100, &mut recorded);
        }
        assert!(
            backlog.is_beyond_share(id(1))
                && !backlog.is_beyond_share(id(2))
                && !backlog.is_beyond_share(id(3))
        );
        backlog.wait(id(1));
        backlog.note_saved(recorded - 1, recorded, 100);
        assert_eq!(backlog.take_resumed(), [id(1)]);
        assert_eq!(
            backlog.shares.len(),
            1,
            "who has nothing unsaved has no share"
        );
        backlog.note_saved(recorded, recorded, 0);
        assert!(backlog.shares.is_empty() && backlog.runs.is_empty());
    }

    #[test]
    fn beyond_the_bound_all_writes_wait_and_go_on_in_their_order() {
        let (mut backlog, mut recorded) = (Backlog::default(), 0);
        record(&mut backlog, 1, MAX_UNSAVED + 1, &mut recorded);
        for slot in [3, 1, 2] {
            assert!(backlog.is_beyond_share(id(slot)));
            backlog.wait(id(slot));
        }
        assert!(backlog.take_resumed().is_empty());
        backlog.note_saved(recorded, recorded, 0);
        assert_eq!(backlog.take_resumed(), [id(3), id(1), id(2)]);
        assert!(!backlog.end_wait(id(3)));
    }

    #[test]
    fn what_is_kept_of_the_authors_is_bounded() {
        let (mut backlog, mut recorded) = (Backlog::default(), 0);
        for _ in 0..4 * MAX_UNSAVED_RUNS {
            record(&mut backlog, 1, 100, &mut recorded);
            record(&mut backlog, 2, 50, &mut recorded);
        }
        assert!(backlog.runs.len() <= MAX_UNSAVED_RUNS + 1);
        backlog.note_saved(recorded, recorded, 0);
        assert!(backlog.shares.is_empty() && backlog.runs.is_empty());
    }
}
