//! Shares of counters: the id that this node counts under, and the folding of shares whose runs are over.
//!
//! Each counter keeps one share, with a sum, for each id that has counted it. An id is used for a limited time
//! ([`renewal_us`]), by one node, and by one run of it unless the run has ended in order and kept a journal. So
//! the number of shares would grow for ever if old ones were not folded: all nodes of a tree know a marker, and
//! the shares that began before it are part of one share with a reserved id. Folding shares gives the same sum on
//! all nodes that know the same steps; of two folded shares that differ, the one with the greater weight, which
//! grows with each step that it contains, replaces the other. So nothing is counted twice.

use super::Ageing;
use crate::limits::{MAX_CLOCK_LEAD_US, MAX_FOLDED_WEIGHT, MIN_SHARE_RENEWAL_US};
use crate::protocol::number::Number;
use crate::protocol::peer::{Contribution, ShareId, Stamp};
use std::cmp::Ordering;

/// How long a node counts under the same id. So a share has not changed for the deleted time when its id is that
/// much older than the deleted time.
pub fn renewal_us(ageing: &Ageing) -> u64 {
    (ageing.deleted_us / 4).max(MIN_SHARE_RENEWAL_US)
}

/// Age of an id whose share may be folded: it has not changed for the deleted time.
pub fn age_us(ageing: &Ageing) -> u64 {
    ageing.deleted_us.saturating_add(renewal_us(ageing))
}

/// The id that a node counts under, and what is known of it.
#[derive(Debug, Default)]
pub struct OwnShare {
    id: Option<ShareId>,
    /// Version of the last step under this id.
    newest_us: u64,
    /// A contribution of this id has come that was not made here.
    is_contested: bool,
}

impl OwnShare {
    /// Goes on with the id of an earlier run of this node.
    pub fn resume(&mut self, id: ShareId, newest_us: u64) {
        (self.id, self.newest_us) = (Some(id), newest_us);
    }

    /// The id and the version of its last step, if it has been used and nobody else uses it.
    pub fn in_use(&self) -> Option<(ShareId, u64)> {
        Some((self.id?, self.newest_us))
    }

    /// Reports whether a new id is needed before the next step: none is in use, or the one in use began before the
    /// marker `folded` or longer ago than [`renewal_us`].
    pub fn is_due(&self, now_us: u64, folded: Stamp, ageing: &Ageing) -> bool {
        self.id.is_none_or(|id| {
            let begun_us = id.begun_us();
            begun_us < folded.time_us || now_us.saturating_sub(begun_us) > renewal_us(ageing)
        })
    }

    /// Begins with a new id.
    pub fn begin(&mut self, id: ShareId) {
        (self.id, self.newest_us) = (Some(id), 0);
    }

    /// Makes a step under the id in use.
    pub fn step(&mut self, version: u64) -> Option<ShareId> {
        self.newest_us = version;
        self.id
    }

    /// Takes notice of contributions that come from elsewhere. `held` is this node's own contribution to the same
    /// register. If another node counts under the same id, the id is given up.
    pub fn compare(&mut self, theirs: &[Contribution], held: Option<Contribution>) {
        let Some(id) = self.id else {
            return;
        };
        let Ok(at) = theirs.binary_search_by_key(&id, |contribution| contribution.share) else {
            return;
        };
        let theirs = &theirs[at];
        let is_foreign = |held: Contribution| match theirs.version.cmp(&held.version) {
            Ordering::Less => false,
            Ordering::Equal => held.sum.to_bytes() != theirs.sum.to_bytes(),
            Ordering::Greater => true,
        };
        if theirs.version > self.newest_us || held.is_some_and(is_foreign) {
            self.is_contested = true;
            self.id = None;
        }
    }

    /// Reports whether an id was given up since the last call because another node counts under it.
    pub fn take_contest(&mut self) -> bool {
        std::mem::take(&mut self.is_contested)
    }
}

/// Returns the weight of a contribution when it is folded: the newer its last step, the greater the weight. A share id
/// may begin ahead of the tree's time by as much as that time is uncertain, so its first steps may be older than its
/// beginning.
fn weight(contribution: &Contribution) -> u64 {
    if contribution.share == ShareId::FOLDED {
        return contribution.version;
    }
    let begun_us = contribution.share.begun_us();
    contribution
        .version
        .saturating_add(MAX_CLOCK_LEAD_US)
        .saturating_sub(begun_us)
        .saturating_add(1)
}

/// Reports whether [`fold`] has work to do: a share other than the folded one began before the marker.
pub fn is_foldable(contributions: &[Contribution], marker: Stamp) -> bool {
    let mut old = contributions.iter();
    old.find(|contribution| contribution.share != ShareId::FOLDED)
        .is_some_and(|contribution| contribution.share.begun_us() < marker.time_us)
}

/// Folds the contributions of shares that began before the marker. They are in the order of their ids, which is
/// that of their beginnings.
pub fn fold(contributions: &mut Vec<Contribution>, marker: Stamp) {
    if !is_foldable(contributions, marker) {
        return;
    }
    let begun_before = |contribution: &Contribution| contribution.share.begun_us() < marker.time_us;
    let old = contributions.partition_point(begun_before);
    let weights = contributions[..old].iter().map(weight);
    let sums = contributions[..old]
        .iter()
        .map(|contribution| contribution.sum);
    let folded = Contribution {
        share: ShareId::FOLDED,
        version: weights.fold(0, u64::saturating_add).min(MAX_FOLDED_WEIGHT),
        sum: sums.fold(Number::ZERO, Number::accumulate),
    };
    contributions.splice(..old, [folded]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::SECOND_US;
    use crate::protocol::peer::NodeId;

    fn contribution(begun_s: u64, version: u64, sum: &str) -> Contribution {
        Contribution {
            share: ShareId::new(begun_s * SECOND_US, 1),
            version,
            sum: Number::from_value(sum.as_bytes()),
        }
    }

    fn marker(time_s: u64) -> Stamp {
        Stamp {
            time_us: time_s * SECOND_US,
            node: NodeId(1),
        }
    }

    #[test]
    fn shares_fold_to_the_same_in_whatever_steps() {
        let all: Vec<Contribution> = (1..6)
            .map(|begun_s| contribution(begun_s, begun_s * SECOND_US + 10, "0.1"))
            .collect();
        let mut at_once = all.clone();
        fold(&mut at_once, marker(5));
        let mut in_steps = all.clone();
        for time_s in 0..6 {
            fold(&mut in_steps, marker(time_s));
        }
        assert_eq!(at_once, in_steps);
        assert_eq!(at_once.len(), 2);
        assert_eq!(at_once[0].version, 4 * (MAX_CLOCK_LEAD_US + 11));
        assert_eq!(at_once[1], all[4]);
    }

    #[test]
    fn what_knows_more_weighs_more() {
        let folded = |versions: [u64; 2]| {
            let mut both = vec![
                contribution(1, versions[0], "1"),
                contribution(2, versions[1], "1"),
            ];
            fold(&mut both, marker(9));
            both[0]
        };
        let less = folded([2 * SECOND_US, 3 * SECOND_US]);
        assert!(folded([2 * SECOND_US + 1, 3 * SECOND_US]).supersedes(&less));
        assert!(folded([2 * SECOND_US, 3 * SECOND_US + 1]).supersedes(&less));
    }

    /// The id of a server that does not know the tree's time yet begins an hour later.
    #[test]
    fn what_knows_more_weighs_more_before_the_beginning_of_its_share() {
        let hour_s = MAX_CLOCK_LEAD_US / SECOND_US;
        let folded = |version, sum| {
            let mut one = vec![contribution(2 * hour_s, version, sum)];
            fold(&mut one, marker(3 * hour_s));
            one[0]
        };
        let drawn_us = MAX_CLOCK_LEAD_US;
        let (less, more) = (folded(drawn_us + 1, "255"), folded(drawn_us + 2, "266"));
        assert!(more.supersedes(&less));
    }

    #[test]
    fn weights_end_below_what_overflows() {
        let mut many: Vec<Contribution> = (1..9).map(|s| contribution(s, u64::MAX, "1")).collect();
        fold(&mut many, marker(99));
        assert_eq!(many[0].version, MAX_FOLDED_WEIGHT);
    }

    #[test]
    fn an_id_is_renewed_in_time_and_given_up_when_somebody_else_uses_it() {
        let ageing = Ageing {
            stale_us: u64::MAX,
            deleted_us: 40 * SECOND_US,
        };
        let mut own = OwnShare::default();
        assert!(own.is_due(0, Stamp::default(), &ageing));
        let made = contribution(100, 100 * SECOND_US + 7, "5");
        own.begin(made.share);
        own.step(made.version);
        assert!(!own.is_due(110 * SECOND_US, Stamp::default(), &ageing));
        assert!(own.is_due(110 * SECOND_US + 1, Stamp::default(), &ageing));
        assert!(own.is_due(100 * SECOND_US, marker(101), &ageing));
        own.compare(&[made], None);
        own.compare(&[contribution(99, u64::MAX, "1"), made], Some(made));
        assert!(!own.take_contest());
        own.compare(&[contribution(100, made.version + 1, "6")], Some(made));
        assert!(own.take_contest() && own.in_use().is_none());
        own.resume(made.share, made.version);
        own.compare(&[contribution(100, made.version, "6")], Some(made));
        assert!(own.take_contest() && own.in_use().is_none() && !own.take_contest());
        // It was not made here, though a step of another counter was made later.
        own.resume(made.share, made.version + 2);
        own.compare(&[made, contribution(101, 1, "1")], Some(made));
        own.compare(&[contribution(100, made.version - 1, "4")], Some(made));
        assert!(!own.take_contest());
        own.compare(&[contribution(100, made.version + 1, "6")], Some(made));
        assert!(own.take_contest());
    }
}
