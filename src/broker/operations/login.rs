//! Who is let in: right and wrong logins, and those that come when there are enough clients already.

use crate::broker::admission::NoPlace;
use crate::broker::carrier::Carrier;
use crate::broker::close_reason::CloseReason;
use crate::broker::events::{ConnectionId, Now};
use crate::broker::session::{LastPing, LoginAttempt};
use crate::broker::users::{Permissions, User, Users};
use crate::broker::{Broker, Suppressed};
use crate::limits::{MAX_TRIED_USER, WORK_PER_LOGIN};
use std::rc::Rc;

/// The outcome of a login.
#[must_use]
pub enum Login {
    Done,
    /// The request is to be handed over again, which the broker asks for when it is time.
    Later,
    /// The user or the password is wrong.
    Wrong,
    /// There are as many clients as there may be.
    NoPlace,
}

impl Broker {
    /// Logs in, or in anew: the new user's permissions replace the old one's at once. `name` is the user's, if the request
    /// names one in the right form; `verify` finds the user if the password is right.
    pub(in crate::broker) fn log_in<O: Carrier>(
        &mut self,
        id: ConnectionId,
        name: Option<&[u8]>,
        verify: impl FnOnce(&Users) -> Option<Rc<User>>,
        now: Now,
        out: &mut O,
    ) -> Login {
        out.add_work(WORK_PER_LOGIN);
        if let Some(name) = name
            && self.delay_login(id, name, now, out)
        {
            return Login::Later;
        }
        let Some(user) = verify(&self.users) else {
            self.count_wrong_login(id, name, now);
            return Login::Wrong;
        };
        let permissions = user.permissions;
        if !self.admit_user(id, permissions, now, out) {
            return Login::NoPlace;
        }
        if !permissions.contains(Permissions::READ) && !self.end_subscriptions(id, out) {
            return Login::Later;
        }
        self.start_session(id, user, now, out);
        if !permissions.contains(Permissions::MANAGE) {
            self.monitors.remove(id, &mut self.sessions);
        }
        self.appoint(id, now, out);
        Login::Done
    }

    fn start_session<O: Carrier>(
        &mut self,
        id: ConnectionId,
        user: Rc<User>,
        now: Now,
        out: &mut O,
    ) {
        let stopped_us = out.traffic(id).stopped_us;
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        out.set_user(id, &user.name);
        session.login = None;
        if let Some(origin) = session.origin() {
            self.admission
                .handle_login(session.cid.serial, origin, user.name.as_bytes());
        }
        // Afterwards only a PING renews it.
        if self.sessions.set_user(id, user).is_none()
            && let Some(session) = self.sessions.get_mut(id)
        {
            session.last_ping = Some(LastPing {
                at_us: now.monotonic_us,
                stopped_us,
            });
        }
    }

    /// Reports whether a login has to wait: after a wrong one of the same user from the same address it is checked and
    /// answered later. Its line is handed over again then, and lines behind it wait.
    fn delay_login<O: Carrier>(
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
    pub(in crate::broker) fn resume_login<O: Carrier>(&mut self, id: ConnectionId, out: &mut O) {
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

    /// A client has connected: it gets a place, and another connection that has not logged in may have to go for it.
    pub(in crate::broker) fn admit_stranger<O: Carrier>(
        &mut self,
        id: ConnectionId,
        now: Now,
        out: &mut O,
    ) {
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
            self.refuse(displaced, CloseReason::ClientLimit, now, out);
        }
    }

    /// Somebody with these permissions logs in: on a connection without a place it takes one, or manages the full
    /// server. Returns false if there is none.
    fn admit_user<O: Carrier>(
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
                self.refuse(displaced, CloseReason::ClientLimit, now, out);
                true
            }
            Err(NoPlace) => false,
        }
    }

    /// Logs that a user's command was refused; so many a second.
    pub(in crate::broker) fn log_refusal(
        &mut self,
        id: ConnectionId,
        reason: &str,
        now: Now,
        why: impl FnOnce(&User) -> String,
    ) {
        let Some(suppressed) = self.refusal_log.admit(now.monotonic_us) else {
            return;
        };
        if let Some(session) = self.sessions.get(id)
            && let Some(user) = &session.user
        {
            log::warn!(
                "{reason}: {} (user {}, {}){}",
                why(user),
                user.name.escape_debug(),
                session.cid,
                Suppressed(suppressed)
            );
        }
    }
}
