//! Which lines of peers are believed.
//!
//! States and signals of the tree are merged by their greatest stamps, versions and numbers, so a single one that is far
//! too great would decide for good. All of them are times, or grow no faster than the time does: what is more than an
//! hour ahead of the tree's clock comes from a clock that is wrong, or from nobody's. A link that brings such a thing is
//! closed before it has any effect, and the log says why.
//!
//! What is believed is passed on, and must not end a link at the next server, or a slave could have other servers end
//! their links to this one. So the bounds are a little wider at each server on the way of a line, which is up to some
//! server and down from there: narrower for what slaves say the deeper this server is in the tree, and wider for what
//! its master says. And a forged stamp of this node is a fault of a slave, or of a server behind it, but not of the
//! master, which can't know: a stamp that another one has made does no more harm than under any other name.

use super::link::Role;
use super::scope::SignalScope;
use super::signals::Novelty;
use crate::broker::Broker;
use crate::broker::carrier::Carrier;
use crate::broker::close_reason::CloseReason;
use crate::broker::events::{ConnectionId, Now};
use crate::broker::origin::Origin;
use crate::limits::{
    CLOCK_LEAD_PER_HOP_US, MAX_CLOCK_LEAD_US, MAX_FOLDED_WEIGHT, MAX_NEW_SENDERS,
    NEW_SENDERS_PER_HOP, SECOND_US,
};
use crate::protocol::attributes::Attributes;
use crate::protocol::peer::packed::NamedState;
use crate::protocol::peer::{Contribution, PeerLine, ShareId, SignalId, Stamp};
use log::Level;
use std::fmt;

/// Something that no server says whose clock is right to an hour, and which works as it should.
pub(super) enum Fault {
    /// A stamp, or the version or the beginning of a share, is so many microseconds ahead.
    TimeAhead(u64),
    /// A stamp or a signal names this node as its maker, and was not made here.
    Forged(&'static str),
    /// The folded share of a counter weighs more than all shares can.
    TooHeavy,
    /// The number of a signal is so many microseconds ahead.
    SignalAhead(u64),
    TooManySenders,
    /// A line between clacksd servers has not the form that it should have; how it begins.
    Form(String),
    /// A clacksd master locks its slaves, which needs no lock.
    Lock,
}

impl Fault {
    fn reason(&self) -> CloseReason {
        match self {
            Fault::TimeAhead(_) | Fault::SignalAhead(_) => CloseReason::ClockAhead,
            _ => CloseReason::Implausible,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |us: &u64| us / SECOND_US;
        match self {
            Fault::TimeAhead(us) => {
                let ahead_s = seconds(us);
                let how_far = match *us > MAX_CLOCK_LEAD_US {
                    true => "more than an hour",
                    false => "nearly an hour",
                };
                write!(f, "its clock is {ahead_s} s ahead, {how_far}")
            }
            Fault::Forged(what) => write!(f, "{what} of this server that it has not made"),
            Fault::TooHeavy => f.write_str("more in one share of a counter than can be counted"),
            Fault::SignalAhead(us) => {
                let ahead_s = seconds(us);
                write!(f, "the number of a signal is {ahead_s} s ahead of the time")
            }
            Fault::TooManySenders => {
                f.write_str("more new senders of signals than servers can have been started")
            }
            Fault::Form(start) => write!(f, "a line that is not in the right form: {start}"),
            Fault::Lock => f.write_str("a lock, which is for Net::Clacks servers"),
        }
    }
}

impl Broker {
    /// Reports whether a line between clacksd servers may have its effect; if not, the link ends.
    pub(super) fn is_believed<O: Carrier>(
        &mut self,
        id: ConnectionId,
        line: &PeerLine<'_>,
        now: Now,
        out: &mut O,
    ) -> bool {
        let bound = self.bound_of(id, now);
        let fault = match line {
            PeerLine::State { head, signal, .. } => self
                .fault_of_stamp(head.stamp, bound)
                .or_else(|| fault_of_touch(&head.attributes, bound))
                .or_else(|| fault_of_versions(&head.contributions, bound))
                .or_else(|| signal.and_then(|signal| self.fault_of_signal(signal, bound))),
            PeerLine::Signal { id: signal, .. } => self.fault_of_signal(*signal, bound),
            PeerLine::Clear(stamp) => self.fault_of_stamp(*stamp, bound),
            PeerLine::Count {
                stamp,
                contribution,
                ..
            } => self
                .fault_of_stamp(*stamp, bound)
                .or_else(|| fault_of_versions(contribution.as_slice(), bound)),
            PeerLine::Touch {
                stamp, attributes, ..
            } => self
                .fault_of_stamp(*stamp, bound)
                .or_else(|| fault_of_touch(attributes, bound)),
            PeerLine::Fold(marker) => bound.excess_us(marker.time_us).map(Fault::TimeAhead),
            // They are looked at when they are unpacked.
            PeerLine::States(_) => None,
            PeerLine::Path(_)
            | PeerLine::Join(_)
            | PeerLine::Leave(_)
            | PeerLine::Reserved
            | PeerLine::Synced
            | PeerLine::Pong => None,
        };
        if let Some(fault) = &fault {
            self.refuse_link(id, fault, now, out);
        }
        fault.is_none()
    }

    /// The bound for the times that a link may send.
    fn bound_of(&self, id: ConnectionId, now: Now) -> Bound {
        let masters = self.tree.masters().len() as u64;
        let link = self.tree.links.get(id);
        let is_master = link.is_some_and(|link| link.role == Role::Uplink);
        let lead_us = if is_master {
            // It may not have said yet where it is itself.
            MAX_CLOCK_LEAD_US + masters.max(1) * CLOCK_LEAD_PER_HOP_US
        } else {
            MAX_CLOCK_LEAD_US - masters * CLOCK_LEAD_PER_HOP_US
        };
        Bound {
            now_us: self.tree.now_us(now),
            lead_us,
            is_master,
        }
    }

    fn fault_of_stamp(&self, stamp: Stamp, bound: Bound) -> Option<Fault> {
        if let Some(ahead_us) = bound.excess_us(stamp.time_us) {
            return Some(Fault::TimeAhead(ahead_us));
        }
        let is_forged = stamp.node == self.tree.node && stamp.time_us > self.cache.newest_us();
        (is_forged && !bound.is_master).then_some(Fault::Forged("a stamp"))
    }

    fn fault_of_signal(&self, signal: SignalId, bound: Bound) -> Option<Fault> {
        if let Some(ahead_us) = bound.excess_us(signal.number) {
            return Some(Fault::SignalAhead(ahead_us));
        }
        let is_forged = self.tree.signals.is_forged(signal);
        (is_forged && !bound.is_master).then_some(Fault::Forged("a signal"))
    }

    /// Reports whether the time of a KEYSYNC is plausible; if not, the link ends.
    pub(super) fn is_time_believed<O: Carrier>(
        &mut self,
        id: ConnectionId,
        time_us: u64,
        now: Now,
        out: &mut O,
    ) -> bool {
        match self.bound_of(id, now).excess_us(time_us) {
            None => true,
            Some(ahead_us) => {
                self.refuse_link(id, &Fault::TimeAhead(ahead_us), now, out);
                false
            }
        }
    }

    /// Reports whether a signal comes for the first time. If it is one of too many new senders, the link ends.
    pub(super) fn is_new_signal<O: Carrier>(
        &mut self,
        id: ConnectionId,
        signal: SignalId,
        scope: SignalScope,
        now: Now,
        out: &mut O,
    ) -> bool {
        let peer = self.sessions.get(id).map(|session| session.cid.peer);
        let address = peer.and_then(Origin::of);
        let kept = NEW_SENDERS_PER_HOP * self.tree.masters().len() as u64;
        let source = address.map(|address| (address, kept.min(MAX_NEW_SENDERS / 2)));
        let signals = &mut self.tree.signals;
        match signals.judge(signal, scope, source, now.monotonic_us) {
            Novelty::New => true,
            Novelty::Passed => false,
            Novelty::TooManySenders => {
                self.refuse_link(id, &Fault::TooManySenders, now, out);
                false
            }
        }
    }

    /// Ends the link to a peer that is not to be believed.
    pub(super) fn refuse_link<O: Carrier>(
        &mut self,
        id: ConnectionId,
        fault: &Fault,
        now: Now,
        out: &mut O,
    ) {
        let role = self
            .tree
            .links
            .get_mut(id)
            .map_or(Role::Downlink, |link| link.role);
        let (role_word, name) = (role.word(), self.name_of_peer(id, role));
        self.tree.log(
            Level::Error,
            format_args!("the {role_word} {name} is not believed: {fault}; the link is refused"),
            now,
        );
        self.close(id, fault.reason(), now, out);
    }
}

/// The first fault of states that came in one line.
pub(super) fn fault_of_states(
    broker: &Broker,
    id: ConnectionId,
    states: &[NamedState<'_>],
    now: Now,
) -> Option<Fault> {
    let bound = broker.bound_of(id, now);
    states.iter().find_map(|NamedState { state, .. }| {
        broker
            .fault_of_stamp(state.stamp, bound)
            .or_else(|| fault_of_touch(&state.attributes, bound))
            .or_else(|| fault_of_versions(&state.contributions, bound))
    })
}

/// The bound for the times that a link may send.
#[derive(Debug, Clone, Copy)]
struct Bound {
    /// The tree's time, and how far ahead of it other times may be.
    now_us: u64,
    lead_us: u64,
    /// True if the link is the uplink.
    is_master: bool,
}

impl Bound {
    /// How far a time that is beyond the bound is ahead of the tree's, in microseconds.
    fn excess_us(self, time_us: u64) -> Option<u64> {
        let ahead_us = time_us.saturating_sub(self.now_us);
        (ahead_us > self.lead_us).then_some(ahead_us)
    }
}

/// A touch is later than all that are made until its time.
fn fault_of_touch(attributes: &Attributes, bound: Bound) -> Option<Fault> {
    let touched_us = attributes.touched_us?;
    bound.excess_us(touched_us).map(Fault::TimeAhead)
}

/// A version is the time of a step, and an id says when it began: an hour later if the tree's time was not known. So
/// they are ahead where a stamp would be: also between two servers whose clocks are right to an hour, one of them ahead
/// and one behind, as long as they have not learnt the time of the same root. The folded share has a weight instead.
fn fault_of_versions(contributions: &[Contribution], bound: Bound) -> Option<Fault> {
    let is_folded = |contribution: &&Contribution| contribution.share == ShareId::FOLDED;
    let is_heavy = |contribution: &Contribution| contribution.version > MAX_FOLDED_WEIGHT;
    if contributions.iter().filter(is_folded).any(is_heavy) {
        return Some(Fault::TooHeavy);
    }
    let newest_us = |contribution: &Contribution| {
        let begun_us = contribution.share.begun_us();
        contribution
            .version
            .max(begun_us.saturating_sub(MAX_CLOCK_LEAD_US))
    };
    let shares = contributions
        .iter()
        .filter(|contribution| !is_folded(contribution));
    bound
        .excess_us(shares.map(newest_us).max()?)
        .map(Fault::TimeAhead)
}
