//! Interclacks: what passes between this node and its master and slaves (clacks-interclacks(7)).
//!
//! Two languages are spoken. Between clacksd servers whole states of names travel
//! ([`protocol::peer`](crate::protocol::peer)), which merge to the same result everywhere; to a
//! Net::Clacks server, which may be master or slave as well, only the reference's lines go.
//!
//! Order is what users rely on: no signal may overtake a write that its sender made before it. Lines
//! of a link arrive in order, and a write goes out at once. But while a link is still being
//! synchronised, a signal could overtake entries; so signals wait until all of them are sent.

mod check;
mod clacksd;
mod counting;
mod early_steps;
mod encode;
mod ending;
mod garbage;
mod groups;
mod inbound;
mod link;
mod link_log;
mod links;
mod lock;
mod net_clacks;
mod plausible;
mod queue;
mod replicate;
mod root;
mod scope;
mod signals;
mod sync;
mod tree_clock;
mod uplink;

use super::cache::Effect;
use super::walk::KeptName;
use crate::broker::events::ConnectionId;
use crate::protocol::peer::NodeId;
use link_log::LinkLog;
use links::Links;
use signals::Signals;
use std::collections::BTreeSet;
use tree_clock::TreeClock;

pub use groups::{Forwarded, HandedOn, HandedOnGroups};
pub use link::Link;
pub use lock::Lock;
pub use scope::{NEVER_FORWARDED, SignalScope, is_too_long_to_forward};

/// The way to the master.
pub struct Uplink {
    /// The number of the master that is dialled, or will be.
    master: usize,
    pub state: UplinkState,
    last_dial_us: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UplinkState {
    /// No connection; the next dial is due then.
    Waiting(u64),
    /// Being dialled, until then at the latest.
    Dialing(u64),
    Connected(ConnectionId),
}

/// The tree, as this node knows it.
pub struct Tree {
    pub node: NodeId,
    /// True if a master is configured, so that this node is to be a slave.
    has_master: bool,
    /// The ids of this node's masters, from the root down, and of this node.
    path: Vec<NodeId>,
    pub links: Links,
    /// Dirty names of links that have ended; their memory is freed in slices.
    garbage_names: Vec<BTreeSet<KeptName>>,
    clock: TreeClock,
    signals: Signals,
    log: LinkLog,
    /// True once there was a link: other servers may have entries of this one.
    was_linked: bool,
    /// True if a link has much waiting at this end: signals, or states of evicted entries.
    pub has_backlog: bool,
}

impl Tree {
    pub fn new(node: NodeId, has_master: bool) -> Tree {
        Tree {
            node,
            has_master,
            path: vec![node],
            links: Links::default(),
            garbage_names: Vec::new(),
            clock: TreeClock::default(),
            signals: Signals::new(node),
            log: LinkLog::default(),
            was_linked: false,
            has_backlog: false,
        }
    }

    /// Reports whether no other server can have heard of the entries here, so that no tombstones are needed.
    pub fn is_alone(&self) -> bool {
        !self.has_master && !self.was_linked && self.links.is_empty()
    }

    /// Reports whether there is a link, or was one since the journal was begun.
    pub fn was_linked(&self) -> bool {
        self.was_linked
    }

    /// There is a link, or there was one in an earlier run.
    pub fn note_linked(&mut self) {
        self.was_linked = true;
    }
}

impl Default for Uplink {
    /// Dials at once.
    fn default() -> Uplink {
        Uplink {
            master: 0,
            state: UplinkState::Waiting(0),
            last_dial_us: 0,
        }
    }
}

/// The form in which Net::Clacks peers are sent a change.
#[derive(Clone, Copy)]
pub enum LegacyForm<'a> {
    /// As the line came.
    Line(&'a [u8]),
    /// From what the change did.
    Effect(&'a Effect),
    /// With its times: it came so from another such peer.
    KeySync,
}
