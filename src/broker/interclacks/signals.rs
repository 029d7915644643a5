//! The ids of signals: those that this node gives, and the memory of those that have passed.
//!
//! The number of a signal is the tree's time of its beginning, in microseconds, or one more than the number before.
//! So a receiver knows how great a number can be. A peer that lies about it can keep the signals of another node from
//! passing until the tree's time has come to that number, and not for good.

use super::SignalScope;
use crate::broker::origin::Origin;
use crate::limits::{
    MAX_CLOCK_LEAD_US, MAX_NEW_SENDERS, MAX_SENDER_BUDGETS, MAX_SIGNAL_ORIGINS, SECOND_US,
};
use crate::protocol::peer::{NodeId, SignalId};
use std::collections::{HashMap, VecDeque};

/// The ids of signals, as one node gives and remembers them.
pub struct Signals {
    /// The id under which this node numbers its signals: its own at first.
    sender: NodeId,
    /// Ids that it has used before, the newest last.
    former_senders: VecDeque<NodeId>,
    /// The number given last.
    last: u64,
    /// The newest signal of each sender that has passed here since this map was begun.
    seen: HashMap<Sequence, u64>,
    /// The map before that one.
    seen_before: HashMap<Sequence, u64>,
    budgets: Budgets,
}

/// Signals of one sender that keep their order: those that wait for the writes before them, or those that overtake.
type Sequence = (NodeId, bool);

/// Ids that are kept of those that this node has used: it takes a new one only when its clock is set back.
const MAX_FORMER_SENDERS: usize = 64;

/// The result of looking at the id of a signal that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Novelty {
    /// It comes for the first time.
    New,
    /// It has come before, or a later one of the same sender has: then it took a way that was cut, and counts as lost.
    Passed,
    /// More senders have begun at that address than servers can have been started there.
    TooManySenders,
}

impl Signals {
    pub fn new(node: NodeId) -> Signals {
        Signals {
            sender: node,
            former_senders: VecDeque::new(),
            last: 0,
            seen: HashMap::new(),
            seen_before: HashMap::new(),
            budgets: Budgets::default(),
        }
    }

    /// The id of a signal that begins here now. When the clock was set back by more than the numbers may be ahead,
    /// they begin again with the time, under an id that `draw` makes. Nothing keeps a late signal of the former id from
    /// being delivered after one of the new id, so a clock that is set to the time of a master must not get so far.
    pub fn next(&mut self, now_us: u64, draw: impl FnOnce() -> NodeId) -> SignalId {
        if self.last > now_us + MAX_CLOCK_LEAD_US {
            if self.former_senders.len() == MAX_FORMER_SENDERS {
                self.former_senders.pop_front();
            }
            self.former_senders.push_back(self.sender);
            self.sender = draw();
            self.last = 0;
        }
        self.last = now_us.max(self.last + 1);
        SignalId {
            origin: self.sender,
            number: self.last,
        }
    }

    /// Reports whether the signal names this node as its sender, but its number was not given here.
    pub fn is_forged(&self, id: SignalId) -> bool {
        id.origin == self.sender && id.number > self.last
    }

    /// Judges whether a signal of a link is new, at that moment of the monotonic clock, and remembers it. `source`
    /// is a slave's address, and how much of its budget of new senders it has to leave; `None` for the master, which
    /// minds the budgets of all others.
    pub fn judge(
        &mut self,
        id: SignalId,
        scope: SignalScope,
        source: Option<(Origin, u64)>,
        monotonic_us: u64,
    ) -> Novelty {
        if id.origin == self.sender || self.former_senders.contains(&id.origin) {
            return Novelty::Passed;
        }
        let sequence = (id.origin, scope == SignalScope::AtOnce);
        let novelty = |newest: u64| match id.number > newest {
            true => Novelty::New,
            false => Novelty::Passed,
        };
        if let Some(newest) = self.seen.get_mut(&sequence) {
            let novelty = novelty(*newest);
            *newest = id.number.max(*newest);
            return novelty;
        }
        let before = self.seen_before.get(&sequence).copied();
        if before.is_none()
            && let Some((address, kept)) = source
            && !self.budgets.spend(address, kept, monotonic_us)
        {
            return Novelty::TooManySenders;
        }
        if self.seen.len() >= MAX_SIGNAL_ORIGINS {
            // Those that send nothing for as long as it takes to fill this again are forgotten.
            self.seen_before = std::mem::take(&mut self.seen);
        }
        let before = before.unwrap_or(0);
        self.seen.insert(sequence, id.number.max(before));
        novelty(before)
    }
}

/// How many new senders of signals each address may still bring: every second earns one. So nobody makes this node
/// forget the signals of others by inventing senders.
#[derive(Default)]
struct Budgets {
    by_address: HashMap<Origin, Budget>,
}

struct Budget {
    left: u64,
    /// The second of the monotonic clock up to which it was earned.
    earned_s: u64,
}

impl Budget {
    fn earn(&mut self, now_s: u64) {
        self.left = (self.left + now_s - self.earned_s).min(MAX_NEW_SENDERS);
        self.earned_s = now_s;
    }
}

impl Budgets {
    /// Takes one new sender from the budget; whether it had one left beside those that are kept.
    fn spend(&mut self, address: Origin, kept: u64, monotonic_us: u64) -> bool {
        let now_s = monotonic_us / SECOND_US;
        if !self.by_address.contains_key(&address) {
            self.make_room(now_s);
        }
        let budget = self.by_address.entry(address).or_insert(Budget {
            left: MAX_NEW_SENDERS,
            earned_s: now_s,
        });
        budget.earn(now_s);
        let has_left = budget.left > kept;
        budget.left = budget.left.saturating_sub(1);
        has_left
    }

    /// Forgets the budgets that are full again when there are many.
    fn make_room(&mut self, now_s: u64) {
        if self.by_address.len() < MAX_SENDER_BUDGETS {
            return;
        }
        self.by_address.retain(|_, budget| {
            budget.earn(now_s);
            budget.left < MAX_NEW_SENDERS
        });
        if self.by_address.len() >= MAX_SENDER_BUDGETS {
            // Better that some begin with a full budget again than that others get none.
            self.by_address.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_US: u64 = 1_790_000_000 * SECOND_US;
    const HOUR_US: u64 = 3600 * SECOND_US;

    fn id(origin: u64, number: u64) -> SignalId {
        SignalId {
            origin: NodeId(origin),
            number,
        }
    }

    fn uid(uid: u32) -> Option<(Origin, u64)> {
        Some((Origin::Uid(uid), 0))
    }

    #[test]
    fn numbers_are_times_and_grow_whatever_the_clock_does() {
        let mut signals = Signals::new(NodeId(7));
        let mut next = |now_us| signals.next(now_us, || NodeId(8));
        assert_eq!(next(NOW_US), id(7, NOW_US));
        assert_eq!(next(NOW_US), id(7, NOW_US + 1));
        assert_eq!(next(NOW_US - 30 * SECOND_US), id(7, NOW_US + 2));
        assert_eq!(next(NOW_US + HOUR_US), id(7, NOW_US + HOUR_US));
        // Set back by an hour, as by a master.
        assert_eq!(next(NOW_US + 1), id(7, NOW_US + HOUR_US + 1));
        // Set back by so much that others would not believe the next number.
        assert_eq!(next(NOW_US), id(8, NOW_US));
        assert_eq!(next(NOW_US), id(8, NOW_US + 1));
    }

    #[test]
    fn signals_of_its_own_are_not_new_under_whatever_id() {
        let mut signals = Signals::new(NodeId(7));
        let before = signals.next(NOW_US + 2 * HOUR_US, || NodeId(8));
        let after = signals.next(NOW_US, || NodeId(8));
        assert_ne!(before.origin, after.origin);
        for id in [before, after] {
            let novelty = signals.judge(id, SignalScope::All, None, 0);
            assert_eq!(novelty, Novelty::Passed);
            assert!(!signals.is_forged(id));
        }
        assert!(signals.is_forged(id(8, after.number + 1)));
    }

    /// With the greatest number that is believed, of somebody else's signals.
    #[test]
    fn nobody_is_muted_for_longer_than_a_clock_may_be_wrong() {
        let (mut honest, mut receiver) = (Signals::new(NodeId(1)), Signals::new(NodeId(2)));
        let mut hear = |id| receiver.judge(id, SignalScope::All, None, 0);
        let forged = id(1, NOW_US + MAX_CLOCK_LEAD_US);
        assert_eq!(hear(honest.next(NOW_US, || NodeId(3))), Novelty::New);
        assert_eq!(hear(forged), Novelty::New);
        for (later_us, novelty) in [(1, Novelty::Passed), (MAX_CLOCK_LEAD_US + 1, Novelty::New)] {
            let signal = honest.next(NOW_US + later_us, || NodeId(3));
            assert_eq!(hear(signal), novelty, "{later_us}");
        }
    }

    #[test]
    fn inventing_senders_ends_before_others_are_forgotten() {
        let mut signals = Signals::new(NodeId(7));
        let honest = id(1, NOW_US);
        let mut judge = |id, who, at_us| signals.judge(id, SignalScope::All, uid(who), at_us);
        assert_eq!(judge(honest, 1, 0), Novelty::New);
        let mut sender = 1_000;
        let mut invent = |at_us: u64| {
            sender += 1;
            judge(id(sender, NOW_US), 2, at_us)
        };
        for _ in 0..MAX_NEW_SENDERS {
            assert_eq!(invent(0), Novelty::New);
        }
        assert_eq!(invent(0), Novelty::TooManySenders);
        // A second earns one.
        assert_eq!(invent(SECOND_US), Novelty::New);
        assert_eq!(invent(SECOND_US), Novelty::TooManySenders);
        // Those that are known go on, others may come, and nothing is forgotten.
        assert_eq!(judge(id(1_001, NOW_US + 1), 2, SECOND_US), Novelty::New);
        assert_eq!(judge(id(2, NOW_US), 3, SECOND_US), Novelty::New);
        assert_eq!(judge(honest, 2, SECOND_US), Novelty::Passed);
    }

    /// The server above always has room for the new senders that a slave may introduce, although it receives them from
    /// one address together with all others.
    #[test]
    fn a_slave_leaves_a_part_of_its_budget_and_the_master_needs_none() {
        let mut signals = Signals::new(NodeId(7));
        let mut judge =
            |sender, source| signals.judge(id(sender, NOW_US), SignalScope::All, source, 0);
        let source = Some((Origin::Uid(1), 512));
        for sender in 0..MAX_NEW_SENDERS - 512 {
            assert_eq!(judge(1_000 + sender, source), Novelty::New);
        }
        assert_eq!(judge(1, source), Novelty::TooManySenders);
        for sender in 0..2 * MAX_NEW_SENDERS {
            assert_eq!(judge(100_000 + sender, None), Novelty::New);
        }
    }

    #[test]
    fn very_many_addresses_have_bounded_budgets() {
        let mut budgets = Budgets::default();
        for number in 0..3 * MAX_SENDER_BUDGETS as u32 {
            assert!(budgets.spend(Origin::Uid(number), 0, 0));
            assert!(budgets.by_address.len() <= MAX_SENDER_BUDGETS);
        }
        // Those that are full again need no memory.
        budgets.spend(Origin::Uid(1), 0, 2 * SECOND_US);
        for number in 0..MAX_SENDER_BUDGETS as u32 {
            assert!(budgets.spend(Origin::Uid(number), 0, 5 * SECOND_US));
        }
        assert!(budgets.by_address.len() <= MAX_SENDER_BUDGETS);
    }
}
