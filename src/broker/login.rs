//! Who is let in: right and wrong logins, and those that come when there are enough clients already.

use super::Broker;
use super::admission::NoPlace;
use super::listeners::subscription_memory;
use super::output::{CloseReason, ConnectionId, Flow, Now, Output};
use super::session::{LastPing, LoginAttempt};
use super::users::Permissions;
use crate::limits::{MAX_TRIED_USER, WORK_PER_LOGIN};
use crate::protocol::token::Token;
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
        out.add_work(WORK_PER_LOGIN);
        let name = Token::user_of(overhead.value);
        if let Some(name) = &name
            && self.delay_login(id, name, now, out)
        {
            return Flow::StopBefore;
        }
        let Some(user) = self.users.login(overhead.value) else {
            self.count_wrong_login(id, name.as_deref(), now);
            self.refuse_login(id, now, out);
            return Flow::Next;
        };
        let user = user.clone();
        let permissions = user.permissions;
        if !self.admit_user(id, permissions, now, out) {
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
        session.login = None;
        if let Some(origin) = session.origin() {
            self.admission
                .handle_login(session.cid.serial, origin, user.name.as_bytes());
        }
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

    /// Reports whether a login has to wait: after a wrong one of the same user from the same address it is checked and
    /// answered later. Its line is handed over again then, and lines behind it wait.
    fn delay_login<O: Output>(
        &mut self,
        id: ConnectionId,
        user: &[u8],
        now: Now,
        out: &mut O,
    ) -> bool {
        let Some(session) = self.sessions.get_mut(id) else {
            return false;
        };
        let Some(origin) = session.origin() else {
            return false;
        };
        let arrived_us = match session.login.take().as_deref() {
            Some(LoginAttempt::Waits { arrived_us, .. }) => *arrived_us,
            _ => now.monotonic_us,
        };
        let answer_us = self.admission.answer_us(origin, user, arrived_us);
        if answer_us <= now.monotonic_us {
            return false;
        }
        session.login = Some(Box::new(LoginAttempt::Waits {
            arrived_us,
            answer_us,
        }));
        self.appoint(id, now, out);
        true
    }

    /// The delay of a login is over: asks for its line again.
    pub(super) fn resume_login<O: Output>(&mut self, id: ConnectionId, out: &mut O) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        if let Some(LoginAttempt::Waits { answer_us, .. }) = session.login.as_deref_mut() {
            *answer_us = u64::MAX;
            out.resume(id);
        }
    }

    /// The user and password of a login were wrong: the next ones of that user are answered later, and the log says
    /// who was tried.
    fn count_wrong_login(&mut self, id: ConnectionId, user: Option<&[u8]>, now: Now) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let name = user.map(|name| {
            let start = &name[..name.len().min(MAX_TRIED_USER)];
            start.escape_ascii().to_string()
        });
        session.login = Some(Box::new(LoginAttempt::Refused(name)));
        // A malformed token guesses at nobody's password.
        if let (Some(origin), Some(user)) = (session.origin(), user) {
            self.admission
                .count_wrong_login(origin, user, now.monotonic_us);
        }
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

    /// A client has connected: it gets a place, and another connection that has not logged in may have to go for it.
    pub(super) fn admit_stranger<O: Output>(&mut self, id: ConnectionId, now: Now, out: &mut O) {
        let connections = self.sessions.len();
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let Some(origin) = session.origin() else {
            return;
        };
        let place = self
            .admission
            .add(id, session.cid.serial, origin, connections);
        session.is_surplus = place.is_surplus;
        if let Some(displaced) = place.displaced {
            self.refuse_place(displaced, now, out);
        }
    }

    /// Somebody with these permissions logs in: on a connection without a place it takes one, or manages the full
    /// server. Otherwise it is refused.
    fn admit_user<O: Output>(
        &mut self,
        id: ConnectionId,
        permissions: Permissions,
        now: Now,
        out: &mut O,
    ) -> bool {
        let Some(session) = self.sessions.get(id) else {
            return false;
        };
        if !session.is_surplus || permissions.contains(Permissions::MANAGE) {
            return true;
        }
        let (serial, origin) = (session.cid.serial, session.origin());
        match self
            .admission
            .find_place(serial, origin, self.sessions.len())
        {
            Ok(None) => true,
            Ok(Some(displaced)) => {
                self.refuse_place(displaced, now, out);
                true
            }
            Err(NoPlace) => {
                self.refuse_place(id, now, out);
                false
            }
        }
    }

    /// Ends a connection that has no place, or none any more.
    pub(super) fn refuse_place<O: Output>(&mut self, id: ConnectionId, now: Now, out: &mut O) {
        let reason = CloseReason::ClientLimit;
        out.append(id, |to| encode::error(to, reason.word()));
        self.close(id, reason, now, out);
    }
}
