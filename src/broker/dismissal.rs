//! Sessions that are to be closed together: at the end of the server, at OVERHEAD C, and when their users have changed.
//! They are closed in slices, since closing thousands of them at once would hold the loop.

use super::Broker;
use super::carrier::Carrier;
use super::close_reason::CloseReason;
use super::events::{ConnectionId, Now};
use super::session::{Session, Sessions};
use crate::limits::CLOSES_PER_TURN;
use std::collections::VecDeque;

/// The sessions that are still to be closed, in their order. Some may have ended since.
#[derive(Default)]
pub struct Dismissal {
    queue: VecDeque<(ConnectionId, CloseReason)>,
}

impl Dismissal {
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Adds the open sessions that `is_meant` selects. From now on their requests are not handled, and
    /// [`Broker::poll_deadline`] asks for the next slice.
    pub fn add(
        &mut self,
        sessions: &mut Sessions,
        reason: CloseReason,
        is_meant: impl Fn(&Session) -> bool,
    ) {
        for session in sessions.iter_mut() {
            if session.is_served() && is_meant(session) {
                session.is_dismissed = true;
                self.queue.push_back((session.id, reason));
            }
        }
    }
}

impl Broker {
    /// Closes some of the sessions that are to be closed, each with a farewell.
    pub(super) fn dismiss_slice<O: Carrier>(&mut self, now: Now, out: &mut O) {
        for _ in 0..CLOSES_PER_TURN {
            let Some((id, reason)) = self.dismissal.queue.pop_front() else {
                return;
            };
            let session = self.sessions.get(id);
            if session.is_some_and(|session| session.closing.is_none()) {
                self.dismiss(id, reason, now, out);
            }
        }
    }
}
