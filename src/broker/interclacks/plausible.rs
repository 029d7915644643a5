//! What of a peer is believed.
//!
//! States and signals of the tree are merged by their greatest stamps, versions and numbers, so a single one that is far
//! too great would decide for good. All of them are times, or grow no faster than the time does: what is more than an
//! hour ahead of the tree's clock comes from a clock that is wrong, or from nobody's. A link that brings such a thing is
//! closed before it has any effect, and the log says why.

use super::signals::{Novelty, Signals};
use super::{Reach, Role};
use crate::broker::Broker;
use crate::broker::origin::Origin;
use crate::broker::output::{CloseReason, ConnectionId, Now, Output};
use crate::limits::{MAX_CLOCK_LEAD_US, MAX_FOLDED_WEIGHT, SECOND_US};
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
            Fault::TimeAhead(_) => CloseReason::ClockAhead,
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
                write!(f, "its clock is {ahead_s} s ahead, more than an hour")
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
    /// Whether a line between clacksd servers may have its effect; if not, the link ends.
    pub(super) fn is_believed<O: Output>(
        &mut self,
        id: ConnectionId,
        line: &PeerLine<'_>,
        now: Now,
        out: &mut O,
    ) -> bool {
        let now_us = self.tree_now_us(now);
        let fault = match line {
            PeerLine::State { state, signal, .. } => self
                .fault_of_stamp(state.stamp, now_us)
                .or_else(|| fault_of_versions(&state.contributions, now_us))
                .or_else(|| signal.and_then(|signal| self.fault_of_signal(signal, now_us))),
            PeerLine::Signal { id: signal, .. } => self.fault_of_signal(*signal, now_us),
            PeerLine::Clear(stamp) => self.fault_of_stamp(*stamp, now_us),
            PeerLine::Count {
                stamp,
                contribution,
                ..
            } => self
                .fault_of_stamp(*stamp, now_us)
                .or_else(|| fault_of_versions(contribution.as_slice(), now_us)),
            PeerLine::Fold(marker) => excess_us(marker.time_us, now_us).map(Fault::TimeAhead),
            PeerLine::Path(_) | PeerLine::Synced => None,
        };
        if let Some(fault) = &fault {
            self.refuse_link(id, fault, now, out);
        }
        fault.is_none()
    }

    fn fault_of_stamp(&self, stamp: Stamp, now_us: u64) -> Option<Fault> {
        if let Some(ahead_us) = excess_us(stamp.time_us, now_us) {
            return Some(Fault::TimeAhead(ahead_us));
        }
        let is_forged = stamp.node == self.tree.node && stamp.time_us > self.cache.newest_us();
        is_forged.then_some(Fault::Forged("a stamp"))
    }

    fn fault_of_signal(&self, signal: SignalId, now_us: u64) -> Option<Fault> {
        if let Some(ahead_us) = Signals::excess_us(signal, now_us) {
            return Some(Fault::SignalAhead(ahead_us));
        }
        let is_forged = self.tree.signals.is_forged(signal);
        is_forged.then_some(Fault::Forged("a signal"))
    }

    /// Whether the time of an entry that a Net::Clacks server tells may be true; if not, the link ends.
    pub(super) fn is_time_believed<O: Output>(
        &mut self,
        id: ConnectionId,
        time_us: u64,
        now: Now,
        out: &mut O,
    ) -> bool {
        match excess_us(time_us, self.tree_now_us(now)) {
            None => true,
            Some(ahead_us) => {
                self.refuse_link(id, &Fault::TimeAhead(ahead_us), now, out);
                false
            }
        }
    }

    /// Whether a signal comes for the first time. If it is one of too many new senders, the link ends.
    pub(super) fn is_new_signal<O: Output>(
        &mut self,
        id: ConnectionId,
        signal: SignalId,
        reach: Reach,
        now: Now,
        out: &mut O,
    ) -> bool {
        let peer = self.sessions.get(id).map(|session| session.cid.peer);
        let address = peer.and_then(Origin::of);
        let signals = &mut self.tree.signals;
        match signals.judge(signal, reach, address, now.monotonic_us) {
            Novelty::New => true,
            Novelty::Passed => false,
            Novelty::TooManySenders => {
                self.refuse_link(id, &Fault::TooManySenders, now, out);
                false
            }
        }
    }

    /// Ends the link to a peer that is not to be believed.
    pub(super) fn refuse_link<O: Output>(
        &mut self,
        id: ConnectionId,
        fault: &Fault,
        now: Now,
        out: &mut O,
    ) {
        let role = self.link_mut(id).map_or(Role::Downlink, |link| link.role);
        let (role_word, name) = (role.word(), self.name_of_peer(id, role));
        self.log_of_link(
            Level::Error,
            format_args!("the {role_word} {name} is not believed: {fault}; the link is refused"),
            now,
        );
        self.close(id, fault.reason(), now, out);
    }
}

/// How far a time is ahead of all that a clock shows which is right to an hour, in microseconds.
fn excess_us(time_us: u64, now_us: u64) -> Option<u64> {
    let ahead_us = time_us.saturating_sub(now_us);
    (ahead_us > MAX_CLOCK_LEAD_US).then_some(ahead_us)
}

/// A version is the time of a step, and an id says when it began: an hour later if the tree's time was not known. So
/// they are ahead where a stamp would be: also between two servers whose clocks are right to an hour, one of them ahead
/// and one behind, as long as they have not learnt the time of the same root. The folded share has a weight instead.
fn fault_of_versions(contributions: &[Contribution], now_us: u64) -> Option<Fault> {
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
    excess_us(shares.map(newest_us).max()?, now_us).map(Fault::TimeAhead)
}
