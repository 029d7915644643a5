//! Who is let in: right and wrong logins, and those that come when there are enough clients already.

use super::Broker;
use super::listeners::subscription_memory;
use super::output::{CloseReason, ConnectionId, Flow, Now, Output};
use super::session::LastPing;
use super::users::Permissions;
use crate::limits::MAX_SURPLUS_CLIENTS;
use crate::protocol::{Flags, Overhead, encode};

impl Broker {
    /// Logs in, or in anew: the new user's permissions replace the old one's at once.
    pub(super) fn login<O: Output>(
        &mut self,
        id: ConnectionId,
        overhead: Overhead<'_>,
        now: Now,
        out: &mut O,
    ) -> Flow {
        if !overhead.is_on() {
            return Flow::Next;
        }
        let Some(user) = self.users.login(overhead.value) else {
            self.refuse_login(id, now, out);
            return Flow::Next;
        };
        let user = user.clone();
        let permissions = user.permissions;
        if !self.admit(id, permissions, now, out) {
            return Flow::Next;
        }
        if !permissions.contains(Permissions::READ) && !self.end_subscriptions(id, out) {
            return Flow::StopBefore;
        }
        let stopped_us = out.traffic(id).stopped_us;
        let Some(session) = self.sessions.get_mut(id) else {
            return Flow::Next;
        };
        out.set_user(id, &user.name);
        // Afterwards only a PING renews it.
        if session.user.replace(user).is_none() {
            session.last_ping = Some(LastPing {
                at_us: now.monotonic_us,
                stopped_us,
            });
        }
        if !permissions.contains(Permissions::MANAGE) {
            self.stop_monitoring(id);
        }
        out.append(id, |to| {
            encode::overhead(to, Flags::LOGIN_RIGHT, b"Welcome!")
        });
        self.appoint(id, now, out);
        Flow::Next
    }

    /// Says that it was no right user and password, and ends it.
    pub(super) fn refuse_login<O: Output>(&mut self, id: ConnectionId, now: Now, out: &mut O) {
        out.append(id, |to| {
            encode::overhead(to, Flags::LOGIN_WRONG, b"Login failed!")
        });
        self.close(id, CloseReason::LoginFailed, now, out);
    }

    /// It is to listen to nothing any more. Whether it does so: what is much ends in slices, and the line
    /// that wants it is to be handed over again for each.
    pub(super) fn end_subscriptions<O: Output>(&mut self, id: ConnectionId, out: &mut O) -> bool {
        let Broker {
            sessions,
            listeners,
            ..
        } = self;
        let Some(session) = sessions.get_mut(id) else {
            return true;
        };
        let mut held = 0;
        let is_done = listeners.unlisten_slice(id, &mut session.subscriptions, |name| {
            held += subscription_memory(name)
        });
        out.hold(id, -held);
        session.resumes_with_room = !is_done;
        if !is_done {
            out.want_room(id);
        }
        is_done
    }

    /// A client has connected. Where there are enough already it is one of a few that may show that they
    /// can manage the server; the oldest of those makes room for the next.
    pub(super) fn make_room<O: Output>(&mut self, id: ConnectionId, now: Now, out: &mut O) {
        if self.sessions.len() <= self.settings.max_clients {
            return;
        }
        if let Some(session) = self.sessions.get_mut(id) {
            session.is_surplus = true;
            self.surplus.push_back(id);
        }
        if self.surplus.len() > MAX_SURPLUS_CLIENTS
            && let Some(oldest) = self.surplus.pop_front()
        {
            self.refuse_surplus(oldest, now, out);
        }
    }

    /// Whether somebody with these permissions may come in.
    fn admit<O: Output>(
        &mut self,
        id: ConnectionId,
        permissions: Permissions,
        now: Now,
        out: &mut O,
    ) -> bool {
        let session = self.sessions.get(id);
        let has_place = self.sessions.len() <= self.settings.max_clients
            || session.is_none_or(|session| !session.is_surplus)
            || permissions.contains(Permissions::MANAGE);
        if has_place {
            self.surplus.retain(|other| *other != id);
        } else {
            self.refuse_surplus(id, now, out);
        }
        has_place
    }

    pub(super) fn refuse_surplus<O: Output>(&mut self, id: ConnectionId, now: Now, out: &mut O) {
        let reason = CloseReason::ClientLimit;
        out.append(id, |to| encode::error(to, reason.word()));
        self.close(id, reason, now, out);
    }
}
