//! The path to the root of the tree and the root's time, as this node knows them and sends them to its slaves.

use super::Tree;
use super::encode::{encode_path, seconds};
use crate::broker::carrier::Carrier;
use crate::broker::events::Now;
use crate::protocol::peer::NodeId;
use crate::protocol::{Flags, encode};

impl Tree {
    /// The masters of this node, from the root.
    pub(super) fn masters(&self) -> &[NodeId] {
        self.path.split_last().map_or(&[], |(_, masters)| masters)
    }

    /// Takes `masters` as the way to the root, and sends the path to the slaves.
    pub(super) fn set_path<O: Carrier>(&mut self, masters: Vec<NodeId>, out: &mut O) {
        self.path = masters;
        self.path.push(self.node);
        self.send_path(out);
    }

    /// The tree's time.
    pub fn now_us(&self, now: Now) -> u64 {
        self.clock.now_us(now)
    }

    /// Reports whether this node's time is the tree's: it has no master, or has learnt the time since it started.
    pub fn knows_time(&self) -> bool {
        !self.has_master || self.clock.is_confirmed()
    }

    /// This node's time is the tree's from now on. If that is news, the slaves learn it: first by the path, which says
    /// so of the time behind it.
    pub(super) fn confirm_time<O: Carrier>(&mut self, now: Now, out: &mut O) {
        if !self.clock.is_confirmed() {
            self.clock.confirm();
            self.send_path(out);
            self.send_time(now, out);
        }
    }

    /// The slaves take over this node's time.
    pub(super) fn send_time<O: Carrier>(&self, now: Now, out: &mut O) {
        let time = seconds(self.now_us(now));
        for (id, _) in self.links.slaves() {
            out.append(id, |to| encode::overhead(to, Flags::TIME, time.as_bytes()));
        }
    }

    fn send_path<O: Carrier>(&self, out: &mut O) {
        let knows_time = self.knows_time();
        for (id, link) in self.links.slaves() {
            if link.is_clacksd() {
                out.append(id, |to| encode_path(to, &self.path, knows_time));
            }
        }
    }
}
