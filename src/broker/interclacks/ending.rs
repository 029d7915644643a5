//! The end of a link, and what follows it: the next dial, and another way to the root.

use super::UplinkState;
use super::link::Role;
use crate::broker::Broker;
use crate::broker::carrier::Carrier;
use crate::broker::close_reason::CloseReason;
use crate::broker::events::{ConnectionId, Now};
use log::Level;

impl Broker {
    /// A link is no more.
    pub(in crate::broker) fn end_link<O: Carrier>(
        &mut self,
        id: ConnectionId,
        reason: CloseReason,
        now: Now,
        out: &mut O,
    ) {
        let Some(mut link) = self.tree.links.remove(id) else {
            return;
        };
        if let Some(session) = self.sessions.get_mut(id) {
            session.is_link = false;
        }
        self.subjects.pairs().remove_link(id);
        self.tree.free_later(std::mem::take(&mut link.dirty));
        self.tree.free_walk_later(link.sync);
        let name = self.name_of_peer(id, link.role);
        let role = link.role.word();
        if link.role == Role::Uplink {
            self.unlock(out);
            self.schedule_dial(now);
            self.tree.set_path(Vec::new(), out);
        }
        let how = reason.word();
        if link.is_up {
            let what = format_args!("the link to the {role} {name} has ended: {how}");
            self.tree.log(Level::Info, what, now);
        } else {
            let what = format_args!(
                "the connection to the {role} {name} ended before it had logged in: {how}"
            );
            self.tree.log(Level::Warn, what, now);
        }
    }

    /// Sets the next dial: some time after the last one, at the next master.
    pub(super) fn schedule_dial(&mut self, now: Now) {
        let interval_us = self.settings.interclacks_reconnect_us;
        let jitter_us = self.random.next() % interval_us.max(1);
        let Some(uplink) = &mut self.uplink else {
            return;
        };
        uplink.master = (uplink.master + 1) % self.settings.masters.len();
        let at_us = (uplink.last_dial_us + interval_us + jitter_us).max(now.monotonic_us);
        uplink.state = UplinkState::Waiting(at_us);
    }

    /// The name of a peer in the log. A master by Unix socket has no name of its own in its CID.
    pub(super) fn name_of_peer(&self, id: ConnectionId, role: Role) -> String {
        let cid = self.sessions.get(id).map(|session| session.cid.to_string());
        match (role, &self.uplink) {
            (Role::Uplink, Some(uplink)) => self.settings.masters[uplink.master].clone(),
            _ => cid.unwrap_or_default(),
        }
    }
}
