//! The end of a session, at whoever's wish: what it was part of is taken back, and its peer is told.

use super::Broker;
use super::carrier::Carrier;
use super::close_reason::CloseReason;
use super::dialects::Notice;
use super::events::{ConnectionId, Now};
use super::session::Closing;

impl Broker {
    /// Puts a session on its way out: from now on it takes part in nothing.
    pub(super) fn close<O: Carrier>(
        &mut self,
        id: ConnectionId,
        reason: CloseReason,
        now: Now,
        out: &mut O,
    ) {
        self.leave(id, reason, now, out);
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        match &mut session.closing {
            Some(closing) => closing.is_given_up = true,
            none => {
                *none = Some(Box::new(Closing {
                    since_us: now.monotonic_us,
                    reason,
                    is_given_up: false,
                }))
            }
        }
        if let Some(listing) = session.listing.take() {
            self.ended_listings.push(*listing);
        }
        if let Some(conversation) = &mut session.memcached {
            conversation.answer = None;
        }
        session.resumes_with_room = false;
        out.close(id, reason);
        self.appoint(id, now, out);
    }

    /// Puts a session on its way out, and says farewell to its peer.
    pub(super) fn dismiss<O: Carrier>(
        &mut self,
        id: ConnectionId,
        reason: CloseReason,
        now: Now,
        out: &mut O,
    ) {
        self.send_notice(id, Notice::Farewell, out);
        self.close(id, reason, now, out);
    }

    /// Takes the session off every list.
    pub(super) fn leave<O: Carrier>(
        &mut self,
        id: ConnectionId,
        reason: CloseReason,
        now: Now,
        out: &mut O,
    ) {
        self.end_link(id, reason, now, out);
        self.end_barrier(id);
        self.end_wait_for_lock(id);
        self.end_wait_for_disk(id);
        self.monitors.remove(id, &mut self.sessions);
        if let Some(session) = self.sessions.get_mut(id) {
            if let Some(origin) = session.origin() {
                self.admission.remove(session.cid.serial, origin);
            }
            self.listeners.leave(id, &mut session.subscriptions);
            self.subjects.leave(id, &mut session.subjects);
        }
    }

    /// Puts a session on its way out, and tells its peer the reason.
    pub(super) fn refuse<O: Carrier>(
        &mut self,
        id: ConnectionId,
        reason: CloseReason,
        now: Now,
        out: &mut O,
    ) {
        self.send_notice(id, Notice::Refused(reason), out);
        self.close(id, reason, now, out);
    }

    /// Sends something that every language has its own words for.
    pub(super) fn send_notice<O: Carrier>(
        &self,
        id: ConnectionId,
        notice: Notice<'_>,
        out: &mut O,
    ) {
        if let Some(session) = self.sessions.get(id) {
            out.append(id, |to| notice.encode(session.language, to));
        }
    }
}
