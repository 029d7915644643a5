//! Steps of counters that a Net::Clacks slave forwards before it synchronises its entries.
//!
//! Such a slave passes on its clients' lines from its dial up to the lock, and has counted their steps itself: the
//! KEYSYNC of the counter that follows the slave's OVERHEAD T contains them.

use super::link::{Link, Role, Software};
use crate::broker::Broker;
use crate::broker::events::{ConnectionId, Flow, Now};
use crate::broker::output::Output;
use crate::limits::{MAX_EARLY_COUNTERS, MAX_EARLY_NAME};
use crate::protocol::Command;

impl Link {
    /// Reports whether the peer is a Net::Clacks slave that has not begun to send its KEYSYNC lines.
    pub(super) fn is_before_sync(&self) -> bool {
        let is_slave = self.role == Role::Downlink && self.peer == Software::NetClacks;
        is_slave && self.anchor_us.is_none()
    }
}

impl Broker {
    /// INCREMENT or DECREMENT of a Net::Clacks slave before it synchronises its entries. A counter that is unknown here
    /// is left alone: the step would begin it, with a newer time than the slave's state has. A known one is counted at
    /// once, for others may count it before the KEYSYNC comes, and it is noted that the KEYSYNC contains the step.
    pub(super) fn handle_early_step<O: Output>(
        &mut self,
        id: ConnectionId,
        command: Command<'_>,
        name: &[u8],
        line: &[u8],
        now: Now,
        out: &mut O,
    ) -> Flow {
        let Some(before_us) = self.counter_changed_us(name, now) else {
            self.mirror(id, line, out);
            return Flow::Next;
        };
        let flow = self.execute_for_link(id, command, line, now, out);
        let after_us = self.counter_changed_us(name, now);
        let Some(link) = self.tree.links.get_mut(id) else {
            return flow;
        };
        let noted_us = link.early_counters.remove(name);
        let is_only_writer = before_us < link.began_tree_us || noted_us == Some(before_us);
        if let Some(after_us) = after_us.filter(|_| is_only_writer)
            && link.early_counters.len() < MAX_EARLY_COUNTERS
            && name.len() <= MAX_EARLY_NAME
        {
            link.early_counters.insert(name.into(), after_us);
        }
        flow
    }

    /// When the value of that name changed last; `None` if there is none.
    fn counter_changed_us(&self, name: &[u8], now: Now) -> Option<u64> {
        let found = self.cache.find(name, self.tree.now_us(now))?;
        found.value().map(|_| found.changed_us())
    }

    /// Forgets the early steps of a counter. Returns when the last of them was counted, if nobody else had written the
    /// name since the link began.
    pub(super) fn take_early_counter(&mut self, id: ConnectionId, name: &[u8]) -> Option<u64> {
        self.tree.links.get_mut(id)?.early_counters.remove(name)
    }

    /// A slave has sent a line that is no KEYSYNC: its synchronisation is over, if it had begun.
    pub(super) fn end_peers_sync(&mut self, id: ConnectionId) {
        if let Some(link) = self.tree.links.get_mut(id)
            && std::mem::take(&mut link.peer_is_syncing)
        {
            link.early_counters.clear();
        }
    }
}
