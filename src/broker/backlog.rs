//! Which connections have recorded what is not saved yet, and which of them wait until it is.
//!
//! A disk that is slower than the writers slows the writers. When more than [`SLOW_UNSAVED`] waits for the disk, the
//! next write of a connection waits if its user has recorded more than a user's fair share of it, and the connection
//! more than its fair share of that. Beyond a user's fair share of [`MAX_UNSAVED_OF_USERS`] all writes of that user
//! wait: many connections are no way to the shares of others. Beyond [`MAX_UNSAVED`] every write waits, so memory stays
//! bounded however many users write. A connection that writes nothing never waits.

use super::carrier::Carrier;
use super::events::ConnectionId;
use super::session::Session;
use super::users::User;
use crate::broker::dialects::Plan;
use crate::broker::{Broker, Now};
use crate::limits::{
    LINK_ALLOWANCE, LINK_ALLOWANCE_US, MAX_UNSAVED, MAX_UNSAVED_OF_USERS, MAX_UNSAVED_RUNS,
    SLOW_UNSAVED,
};
use crate::protocol::Request;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;

/// The records that wait for the disk, by their authors.
#[derive(Default)]
pub(super) struct Backlog {
    /// Bytes that wait for the disk, records and what a rewrite of the journal has added.
    unsaved: usize,
    /// The connection whose line is being handled, and what it has recorded since `runs` was last extended.
    author: Author,
    by_author: usize,
    /// Runs of records of one author each, the oldest first.
    runs: VecDeque<Run>,
    /// The sums of the runs.
    shares: HashMap<Owner, Share>,
    /// Connections whose next write waits, first come, first served; and the number of each in that order.
    waiting: BTreeMap<u64, Author>,
    numbers: HashMap<ConnectionId, u64>,
    next_number: u64,
    /// Bytes of lines that links may still write though it is not their turn.
    allowances: HashMap<ConnectionId, usize>,
    /// When waiting links get such an allowance.
    allowance_us: Option<u64>,
}

/// A connection that records, and whose share that is.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Author {
    id: ConnectionId,
    owner: Owner,
}

/// Whose share of the backlog a record is.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Owner {
    /// The user's, whichever of its connections has recorded it.
    User(Rc<User>),
    /// That of a connection alone: a link carries the writes of many users.
    Connection(ConnectionId),
}

impl Default for Owner {
    fn default() -> Owner {
        Owner::Connection(ConnectionId::default())
    }
}

impl Author {
    fn of(session: &Session) -> Author {
        let id = session.id;
        let user = session.user.as_ref().filter(|_| !session.is_link);
        let owner = user.map_or(Owner::Connection(id), |user| Owner::User(user.clone()));
        Author { id, owner }
    }
}

/// The unsaved bytes of one owner.
#[derive(Default)]
struct Share {
    bytes: usize,
    by_connection: HashMap<ConnectionId, usize>,
}

/// Some records in a row of one author.
struct Run {
    author: Author,
    bytes: usize,
    /// The number of the last one of these records.
    up_to: u64,
}

impl Backlog {
    /// From now on that is the author of what is recorded, after the record of that number.
    pub fn set_author(&mut self, author: Author, recorded: u64) {
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
        let Some(share) = self.shares.get_mut(&run.author.owner) else {
            return;
        };
        share.bytes = share.bytes.saturating_sub(run.bytes);
        if let Some(bytes) = share.by_connection.get_mut(&run.author.id) {
            *bytes = bytes.saturating_sub(run.bytes);
            if *bytes == 0 {
                share.by_connection.remove(&run.author.id);
            }
        }
        if share.by_connection.is_empty() {
            self.shares.remove(&run.author.owner);
        }
    }

    fn end_run(&mut self, up_to: u64) {
        let bytes = std::mem::take(&mut self.by_author);
        if bytes == 0 {
            return;
        }
        let author = self.author.clone();
        let share = self.shares.entry(author.owner.clone()).or_default();
        share.bytes += bytes;
        *share.by_connection.entry(author.id).or_default() += bytes;
        self.runs.push_back(Run {
            author,
            bytes,
            up_to,
        });
        if self.runs.len() > MAX_UNSAVED_RUNS.max(2 * self.authors()) {
            self.merge_runs(up_to);
        }
    }

    fn authors(&self) -> usize {
        let shares = self.shares.values();
        shares.map(|share| share.by_connection.len()).sum()
    }

    /// Keeps one run of each author. They count as unsaved for a little longer.
    fn merge_runs(&mut self, up_to: u64) {
        self.runs.clear();
        for (owner, share) in &self.shares {
            let connections = share.by_connection.iter();
            self.runs.extend(connections.map(|(&id, &bytes)| Run {
                author: Author {
                    id,
                    owner: owner.clone(),
                },
                bytes,
                up_to,
            }));
        }
    }

    /// Returns true if the next write of that author has to wait.
    fn is_beyond_share(&self, author: &Author) -> bool {
        if self.unsaved <= SLOW_UNSAVED || self.unsaved > MAX_UNSAVED {
            return self.unsaved > MAX_UNSAVED;
        }
        let owners = self.shares.len().max(1);
        // What was recorded since the last run was ended is in no share yet.
        let current = |is_same: bool| if is_same { self.by_author } else { 0 };
        let mut of_owner = current(author.owner == self.author.owner);
        let mut of_connection = current(author.id == self.author.id);
        let mut connections = 1;
        if let Some(share) = self.shares.get(&author.owner) {
            of_owner += share.bytes;
            of_connection += share.by_connection.get(&author.id).unwrap_or(&0);
            connections = share.by_connection.len();
        }
        of_owner > MAX_UNSAVED_OF_USERS / owners
            || (of_owner > SLOW_UNSAVED / owners
                && of_connection > SLOW_UNSAVED / owners / connections)
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

    fn wait(&mut self, author: Author) {
        let number = self.next_number;
        if self.numbers.insert(author.id, number).is_none() {
            self.waiting.insert(number, author);
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
        let waiting = self.waiting.values();
        let resumed = waiting.filter(|author| !self.is_beyond_share(author));
        let resumed: Vec<ConnectionId> = resumed.map(|author| author.id).collect();
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
        self.waiting.values().map(|author| &author.id)
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
        let Some(session) = self.sessions.get(id) else {
            return false;
        };
        let recorded = persistence.recorded;
        let backlog = &mut persistence.backlog;
        backlog.set_author(Author::of(session), recorded);
        if !backlog.is_beyond_share(&backlog.author) {
            return false;
        }
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
        backlog.wait(backlog.author.clone());
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
        let waiting = backlog.waiting().copied();
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
    use crate::broker::users::Users;

    /// Writers with a disk that stands still until it is told to go on.
    struct Writers {
        backlog: Backlog,
        users: Users,
        recorded: u64,
    }

    impl Writers {
        fn new() -> Writers {
            let mut users = Users::new("primary", b"p");
            users.add_file("w:write:w\nx:write:x\n").expect("users");
            Writers {
                backlog: Backlog::default(),
                users,
                recorded: 0,
            }
        }

        fn author(&self, user: &str, slot: u32) -> Author {
            let id = ConnectionId {
                slot,
                generation: 1,
            };
            let owner = self.users.get(user).cloned();
            let owner = owner.map_or(Owner::Connection(id), Owner::User);
            Author { id, owner }
        }

        /// A connection of the user (or of nobody) records so many bytes.
        fn record(&mut self, user: &str, slot: u32, bytes: usize) {
            let author = self.author(user, slot);
            self.backlog.set_author(author, self.recorded);
            self.recorded += 1;
            self.backlog
                .note_recorded(bytes, self.backlog.unsaved + bytes);
        }

        fn waits(&self, user: &str, slot: u32) -> bool {
            self.backlog.is_beyond_share(&self.author(user, slot))
        }
    }

    #[test]
    fn who_has_more_than_a_fair_share_waits_and_nobody_else() {
        for users in [["w", "x"], ["w", "w"], ["", ""]] {
            let mut writers = Writers::new();
            for _ in 0..4 {
                writers.record(users[0], 1, SLOW_UNSAVED / 4);
                writers.record(users[1], 2, 100);
            }
            assert!(writers.waits(users[0], 1), "{users:?}");
            assert!(!writers.waits(users[1], 2) && !writers.waits(users[1], 3));
            let first = writers.author(users[0], 1);
            let (recorded, backlog) = (writers.recorded, &mut writers.backlog);
            backlog.wait(first.clone());
            backlog.note_saved(recorded - 1, recorded, 100);
            assert_eq!(backlog.take_resumed(), [first.id]);
            assert_eq!(backlog.authors(), 1, "only who has something unsaved");
            backlog.note_saved(recorded, recorded, 0);
            assert!(backlog.shares.is_empty() && backlog.runs.is_empty());
        }
    }

    #[test]
    fn many_connections_of_a_user_leave_the_others_their_shares() {
        let mut writers = Writers::new();
        let mut slot = 0;
        while !writers.waits("w", slot) {
            writers.record("w", slot, 400_000);
            slot += 1;
        }
        assert!(writers.backlog.unsaved < MAX_UNSAVED / 2 + MAX_UNSAVED / 100);
        writers.record("x", slot + 1, 100);
        assert!(!writers.waits("x", slot + 1) && !writers.waits("x", slot + 2));
        assert!(!writers.waits("", slot + 3), "a link");
        assert!(writers.waits("w", slot + 4));
    }

    #[test]
    fn beyond_the_bound_all_writes_wait_and_go_on_in_their_order() {
        let mut writers = Writers::new();
        writers.record("w", 1, MAX_UNSAVED + 1);
        let authors = [("x", 3), ("w", 1), ("", 2)].map(|(user, slot)| writers.author(user, slot));
        let (recorded, backlog) = (writers.recorded, &mut writers.backlog);
        for author in &authors {
            assert!(backlog.is_beyond_share(author));
            backlog.wait(author.clone());
        }
        assert!(backlog.take_resumed().is_empty());
        backlog.note_saved(recorded, recorded, 0);
        let ids = authors.map(|author| author.id);
        assert_eq!(backlog.take_resumed(), ids);
        assert!(!backlog.end_wait(ids[0]));
    }

    #[test]
    fn what_is_kept_of_the_authors_is_bounded() {
        let mut writers = Writers::new();
        for _ in 0..4 * MAX_UNSAVED_RUNS {
            writers.record("w", 1, 100);
            writers.record("x", 2, 50);
        }
        let (recorded, backlog) = (writers.recorded, &mut writers.backlog);
        assert!(backlog.runs.len() <= MAX_UNSAVED_RUNS + 1);
        backlog.note_saved(recorded, recorded, 0);
        assert!(backlog.shares.is_empty() && backlog.runs.is_empty());
    }
}
