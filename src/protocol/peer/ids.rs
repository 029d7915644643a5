//! The identities of servers, writes, shares and signals.

use crate::limits::SECOND_US;
use std::fmt;

/// One run of one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NodeId(pub u64);

impl NodeId {
    /// Stands at the beginning of a path that doesn't begin at a root yet. No node draws it.
    pub const UNKNOWN: NodeId = NodeId(0);
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// When something was written, in an order that all nodes agree on: hybrid logical time, then who
/// wrote it. No two writes have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Stamp {
    /// Microseconds since 1970 in the tree's time, or a little more where that was needed for the
    /// order.
    pub time_us: u64,
    pub node: NodeId,
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.time_us, self.node)
    }
}

/// Identifies a share of counters: what one server has added under this id. The upper 32 bits are the tree
/// time in seconds when the id began, the lower ones are random.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ShareId(pub u64);

impl ShareId {
    /// The share that all shares of ended runs are folded into.
    pub const FOLDED: ShareId = ShareId(0);

    /// An id that begins at that time; never [`ShareId::FOLDED`].
    pub fn new(begun_us: u64, random: u32) -> ShareId {
        let begun_s = u32::try_from(begun_us / SECOND_US).unwrap_or(u32::MAX);
        ShareId(u64::from(begun_s) << 32 | u64::from(random.max(1)))
    }

    /// When the id began, in microseconds.
    pub fn begun_us(self) -> u64 {
        (self.0 >> 32) * SECOND_US
    }
}

impl fmt::Display for ShareId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// Which of all signals one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignalId {
    pub origin: NodeId,
    /// The tree's time when the signal began, in microseconds, or one more than the number before.
    pub number: u64,
}

impl fmt::Display for SignalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.origin, self.number)
    }
}

pub(super) fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

pub(super) fn node(text: &str) -> Option<NodeId> {
    u64::from_str_radix(text, 16).ok().map(NodeId)
}

pub(super) fn stamp(bytes: &[u8]) -> Option<Stamp> {
    let (time, id) = text(bytes)?.split_once(':')?;
    Some(Stamp {
        time_us: time.parse().ok()?,
        node: node(id)?,
    })
}

pub(super) fn signal_id(bytes: &[u8]) -> Option<SignalId> {
    let (origin, number) = text(bytes)?.split_once(':')?;
    Some(SignalId {
        origin: node(origin)?,
        number: number.parse().ok()?,
    })
}
