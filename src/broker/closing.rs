//! The end of a session, at whoever's wish: what it was part of is taken back, and its peer is told.

use super::Broker;
use super::output::{CloseReason, ConnectionId, Now, Output};
use super::session::Closing;
use crate::protocol::{Flags, encode};

impl Broker {
    /// Puts a session on its way out: from now on it takes part in nothing.
    pub(super) fn close<O: Output>(
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
        session.resumes_with_room = false;
        out.close(id, reason);
        self.appoint(id, now, out);
    }

    /// Puts a session on its way out, and says farewell to its peer.
    pub(super) fn dismiss<O: Output>(
        &mut self,
        id: ConnectionId,
        reason: CloseReason,
        now: Now,
        out: &mut O,
    ) {
        out.append(id, |to| encode::line(to, &[b"QUIT"]));
        self.close(id, reason, now, out);
    }

    pub(super) fn close_all<O: Output>(&mut self, reason: CloseReason, now: Now, out: &mut O) {
        // Those on their way out already go on so.
        let open = self
            .sessions
            .iter()
            .filter(|session| session.closing.is_none());
        let all: Vec<ConnectionId> = open.map(|session| session.id).collect();
        for id in all {
            self.dismiss(id, reason, now, out);
        }
    }

    /// Takes the session off every list.
    pub(super) fn leave<O: Output>(
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
        }
    }

    /// Says that it was no right user and password, and ends it.
    pub(super) fn refuse_login<O: Output>(&mut self, id: ConnectionId, now: Now, out: &mut O) {
        out.append(id, |to| {
            encode::overhead(to, Flags::LOGIN_WRONG, b"Login failed!")
        });
        self.close(id, CloseReason::LoginFailed, now, out);
    }

    /// Ends a connection that has no place, or none any more.
    pub(super) fn refuse_place<O: Output>(&mut self, id: ConnectionId, now: Now, out: &mut O) {
        let reason = CloseReason::ClientLimit;
        out.append(id, |to| encode::error(to, reason.word()));
        self.close(id, reason, now, out);
    }
}
