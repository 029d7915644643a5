//! The pairs of a pattern and a group that have members, and which of them each link was told.
//!
//! A link is told of a pair as long as there is a member on this side of it: a subscription of a client here, or another
//! link that has said so. A pair is compared with what the link was told last when there is room to tell it, so that one
//! that comes and goes meanwhile costs nothing.

use crate::broker::events::ConnectionId;
use crate::limits::MAX_PAIRS_TOLD;
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::rc::Rc;

/// Pairs that are looked at per slice.
const PAIRS_PER_SLICE: usize = 1000;

/// A pattern and the name of a group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pair {
    pub pattern: Vec<u8>,
    pub group: Vec<u8>,
}

/// Who is a member of a pair's group because of its pattern.
#[derive(Default)]
struct Members {
    /// Subscriptions of clients of this server.
    local: usize,
    /// Links behind which there are some.
    links: SmallVec<[ConnectionId; 1]>,
}

impl Members {
    /// Reports whether there are any on this side of a link.
    fn are_before(&self, link: ConnectionId) -> bool {
        self.local > 0 || self.links.iter().any(|other| *other != link)
    }

    fn is_empty(&self) -> bool {
        self.local == 0 && self.links.is_empty()
    }
}

/// A change of a pair's members.
#[derive(Debug, Clone, Copy)]
pub enum Change {
    LocalJoins,
    LocalLeaves,
    LinkJoins(ConnectionId),
    LinkLeaves(ConnectionId),
}

/// The news that a link is told of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    Join,
    Leave,
}

/// The knowledge of a link.
#[derive(Default)]
struct Knowledge {
    told: BTreeSet<Rc<Pair>>,
    /// Pairs that have members, which it was not told.
    to_join: BTreeSet<Rc<Pair>>,
    /// Pairs that it was told, and that have no members.
    to_leave: BTreeSet<Rc<Pair>>,
    /// The pairs that were there when the link came up, up to the last one that was looked at.
    walk: Walk,
}

#[derive(Default)]
enum Walk {
    #[default]
    Beginning,
    Behind(Rc<Pair>),
    Done,
}

impl Walk {
    /// Reports whether it has met a pair, so that changes of it have to be noted.
    fn has_met(&self, pair: &Pair) -> bool {
        match self {
            Walk::Beginning => false,
            Walk::Behind(last) => *pair <= **last,
            Walk::Done => true,
        }
    }
}

impl Knowledge {
    /// Compares what the link was told of a pair with what is true.
    fn note(&mut self, pair: &Rc<Pair>, has_members: bool) {
        match (self.told.contains(pair), has_members) {
            (false, true) => drop(self.to_join.insert(pair.clone())),
            (true, false) => drop(self.to_leave.insert(pair.clone())),
            (true, true) => drop(self.to_leave.remove(pair)),
            (false, false) => drop(self.to_join.remove(pair)),
        }
    }

    fn may_join(&self) -> bool {
        !self.to_join.is_empty() && self.told.len() < MAX_PAIRS_TOLD
    }

    fn has_news(&self) -> bool {
        !matches!(self.walk, Walk::Done) || !self.to_leave.is_empty() || self.may_join()
    }
}

/// All pairs with members, and the links that are told of them.
#[derive(Default)]
pub struct Pairs {
    members: BTreeMap<Rc<Pair>, Members>,
    links: BTreeMap<ConnectionId, Knowledge>,
}

impl Pairs {
    /// The members of a pair have changed.
    pub fn change(&mut self, pair: Pair, change: Change) {
        let pair = Rc::new(pair);
        let members = self.members.entry(pair.clone()).or_default();
        match change {
            Change::LocalJoins => members.local += 1,
            Change::LocalLeaves => members.local -= 1,
            Change::LinkJoins(link) => members.links.push(link),
            Change::LinkLeaves(link) => members.links.retain(|other| *other != link),
        }
        for (link, knowledge) in &mut self.links {
            if knowledge.walk.has_met(&pair) {
                knowledge.note(&pair, members.are_before(*link));
            }
        }
        if members.is_empty() {
            self.members.remove(&pair);
        }
    }

    /// From now on the link is told of all pairs.
    pub fn add_link(&mut self, link: ConnectionId) {
        self.links.insert(link, Knowledge::default());
    }

    pub fn remove_link(&mut self, link: ConnectionId) {
        self.links.remove(&link);
    }

    /// The links that there is something to tell.
    pub fn links_with_news(&self) -> impl Iterator<Item = ConnectionId> {
        let links = self.links.iter();
        links.filter_map(|(link, knowledge)| knowledge.has_news().then_some(*link))
    }

    /// Tells a link some of the news with `tell`, which returns false when that was enough. Returns true if more is left.
    pub fn tell(&mut self, link: ConnectionId, mut tell: impl FnMut(News, &Pair) -> bool) -> bool {
        let Some(knowledge) = self.links.get_mut(&link) else {
            return false;
        };
        for _ in 0..PAIRS_PER_SLICE {
            let goes_on = if let Some(pair) = knowledge.to_leave.pop_first() {
                knowledge.told.remove(&pair);
                tell(News::Leave, &pair)
            } else if knowledge.may_join()
                && let Some(pair) = knowledge.to_join.pop_first()
            {
                let goes_on = tell(News::Join, &pair);
                knowledge.told.insert(pair);
                goes_on
            } else {
                let from = match &knowledge.walk {
                    Walk::Done => return false,
                    Walk::Beginning => Bound::Unbounded,
                    Walk::Behind(last) => Bound::Excluded(last.clone()),
                };
                match self.members.range((from, Bound::Unbounded)).next() {
                    Some((pair, members)) => {
                        knowledge.note(pair, members.are_before(link));
                        knowledge.walk = Walk::Behind(pair.clone());
                    }
                    None => knowledge.walk = Walk::Done,
                }
                true
            };
            if !goes_on {
                break;
            }
        }
        knowledge.has_news()
    }

    /// How many pairs a link is not told, because it was told so many others.
    pub fn untold(&self, link: ConnectionId) -> usize {
        let knowledge = self.links.get(&link);
        let full = knowledge.filter(|knowledge| knowledge.told.len() >= MAX_PAIRS_TOLD);
        full.map_or(0, |knowledge| knowledge.to_join.len())
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Panics if a link that there are no news for was told anything but what is true; for
    /// [`Broker::check`](crate::broker::Broker::check). `count` is the number of subscriptions and links that are members.
    pub fn check(&self, count: usize) {
        let members = self.members.values();
        let counted = members.map(|members| members.local + members.links.len());
        assert_eq!(counted.sum::<usize>(), count, "members are counted");
        for (link, knowledge) in &self.links {
            if knowledge.has_news() || !knowledge.to_join.is_empty() {
                continue;
            }
            let members = self.members.iter();
            let to_tell = members.filter(|(_, members)| members.are_before(*link));
            let to_tell: Vec<&Rc<Pair>> = to_tell.map(|(pair, _)| pair).collect();
            let told: Vec<&Rc<Pair>> = knowledge.told.iter().collect();
            assert_eq!(told, to_tell, "a link knows which groups have members");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(number: usize) -> Pair {
        Pair {
            pattern: format!("a.{number}").into_bytes(),
            group: b"q".to_vec(),
        }
    }

    fn link(slot: u32) -> ConnectionId {
        ConnectionId {
            slot,
            generation: 1,
        }
    }

    /// All that a link is told now.
    fn told(pairs: &mut Pairs, to: ConnectionId) -> Vec<(News, String)> {
        let mut told = Vec::new();
        let is_left = pairs.tell(to, |news, pair| {
            let pattern = String::from_utf8_lossy(&pair.pattern).into_owned();
            told.push((news, pattern));
            true
        });
        assert!(!is_left);
        told
    }

    fn news(news: News, number: usize) -> (News, String) {
        (news, format!("a.{number}"))
    }

    #[test]
    fn a_link_is_told_of_members_on_this_side_of_it_and_once() {
        let mut pairs = Pairs::default();
        pairs.change(pair(1), Change::LocalJoins);
        for slot in [1, 2] {
            pairs.add_link(link(slot));
            assert_eq!(told(&mut pairs, link(slot)), [news(News::Join, 1)]);
        }
        pairs.change(pair(1), Change::LocalJoins);
        pairs.change(pair(1), Change::LinkJoins(link(1)));
        pairs.change(pair(1), Change::LocalLeaves);
        assert_eq!(told(&mut pairs, link(1)), []);
        pairs.change(pair(1), Change::LocalLeaves);
        // The only member is behind the first link.
        assert_eq!(told(&mut pairs, link(1)), [news(News::Leave, 1)]);
        assert_eq!(told(&mut pairs, link(2)), []);
        pairs.change(pair(1), Change::LinkLeaves(link(1)));
        assert_eq!(told(&mut pairs, link(2)), [news(News::Leave, 1)]);
        assert!(pairs.is_empty());
        pairs.check(0);
    }

    #[test]
    fn a_pair_that_comes_and_goes_untold_is_not_told() {
        let mut pairs = Pairs::default();
        pairs.add_link(link(1));
        assert_eq!(told(&mut pairs, link(1)), []);
        pairs.change(pair(1), Change::LocalJoins);
        assert_eq!(pairs.links_with_news().count(), 1);
        pairs.change(pair(1), Change::LocalLeaves);
        assert_eq!(pairs.links_with_news().count(), 0);
        pairs.change(pair(2), Change::LocalJoins);
        assert_eq!(told(&mut pairs, link(1)), [news(News::Join, 2)]);
        pairs.change(pair(2), Change::LocalLeaves);
        pairs.change(pair(2), Change::LocalJoins);
        assert_eq!(told(&mut pairs, link(1)), []);
        pairs.check(1);
    }

    #[test]
    fn pairs_that_change_while_a_new_link_is_told_are_told_right() {
        let mut pairs = Pairs::default();
        for number in 0..10 {
            pairs.change(pair(number), Change::LocalJoins);
        }
        pairs.add_link(link(1));
        let mut left = 4;
        let is_left = pairs.tell(link(1), |_, _| {
            left -= 1;
            left > 0
        });
        assert!(is_left);
        // One that was told, and one that was not.
        pairs.change(pair(1), Change::LocalLeaves);
        pairs.change(pair(8), Change::LocalLeaves);
        let rest = told(&mut pairs, link(1));
        let mut expected = vec![news(News::Leave, 1)];
        expected.extend([4, 5, 6, 7, 9].map(|number| news(News::Join, number)));
        assert_eq!(rest, expected);
        pairs.check(8);
    }

    #[test]
    fn pairs_that_a_link_has_brought_are_passed_over_in_slices() {
        let mut pairs = Pairs::default();
        for number in 0..3 * PAIRS_PER_SLICE {
            pairs.change(pair(number), Change::LinkJoins(link(1)));
        }
        pairs.add_link(link(1));
        let mut calls = 1;
        while pairs.tell(link(1), |_, pair| panic!("{pair:?} is known there")) {
            calls += 1;
        }
        assert!(calls > 3, "{calls}");
        assert_eq!(pairs.links_with_news().count(), 0);
    }
}
