//! Who is let in: right and wrong logins, and those that come when there are enough clients already.

use crate::broker::admission::NoPlace;
use crate::broker::carrier::Carrier;
use crate::broker::close_reason::CloseReason;
use crate::broker::events::{ConnectionId, Now, Peer};
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

/// Finds the user of a login, as [`Broker::log_in`] does, and starts nothing. An error is [`Login::Later`] or
/// [`Login::Wrong`].
pub fn authenticate<O: Carrier>(
    broker: &mut Broker,
    id: ConnectionId,
    name: Option<&[u8]>,
    verify: impl FnOnce(&Users) -> Option<Rc<User>>,
    now: Now,
    out: &mut O,
) -> Result<Rc<User>, Login> {
    out.add_work(WORK_PER_LOGIN);
    if let Some(name) = name
        && broker.delay_login(id, name, now, out)
    {
        return Err(Login::Later);
    }
    verify(&broker.users).ok_or_else(|| {
        broker.count_wrong_login(id, name, now);
        Login::Wrong
    })
}

/// Starts or changes the session of a user who was found by [`authenticate`], and says if that one has shown a password.
/// Never returns [`Login::Wrong`].
pub fn enter<O: Carrier>(
    broker: &mut Broker,
    id: ConnectionId,
    (user, has_password): (Rc<User>, bool),
    now: Now,
    out: &mut O,
) -> Login {
    let permissions = user.permissions;
    if !broker.admit_user(id, permissions, now, out) {
        return Login::NoPlace;
    }
    if !permissions.contains(Permissions::READ) && !broker.end_subscriptions(id, out) {
        return Login::Later;
    }
    broker.start_session(id, (user, has_password), now, out);
    if !permissions.contains(Permissions::MANAGE) {
        broker.monitors.remove(id, &mut broker.sessions);
    }
    broker.appoint(id, now, out);
    Login::Done
}

/// Logs a wrong login after which the connection goes on; so many a second. `name` is the tried user's.
pub fn log_wrong_login(broker: &mut Broker, id: ConnectionId, name: &[u8], now: Now) {
    if let Some(session) = broker.sessions.get(id)
        && let Some(suppressed) = broker.refusal_log.admit(now.monotonic_us)
    {
        let tried = name[..name.len().min(MAX_TRIED_USER)].escape_ascii();
        let (cid, suppressed) = (session.cid, Suppressed(suppressed));
        let process = match cid.peer {
            Peer::Unix(process) => format!(", {process}"),
            Peer::Tcp(_) | Peer::Master(_) => String::new(),
        };
        log::warn!("login_failed: tried user \"{tried}\" ({cid}{process}){suppressed}");
    }
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
        match authenticate(self, id, name, verify, now, out) {
            Ok(user) => enter(self, id, (user, name.is_some()), now, out),
            Err(login) => login,
        }
    }

    fn start_session<O: Carrier>(
        &mut self,
        id: ConnectionId,
        (user, has_password): (Rc<User>, bool),
        now: Now,
        out: &mut O,
    ) {
        let stopped_us = out.traffic(id).stopped_us;
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        out.set_user(id, &user.name, session.client_info());
        session.login = None;
        session.has_shown_password = has_password;
        if let Some(origin) = session.origin() {
            let serial = session.cid.serial;
            match has_password {
                true => self
                    .admission
                    .handle_login(serial, origin, user.name.as_bytes()),
                // Whoever needs no password gets no further guesses at it by that.
                false => self.admission.remove(serial, origin),
            }
        }
        // Afterwards only a PING renews it.
        if self.sessions.set_user(id, user).is_none()
            && let Some(session) = self.sessions.get_mut(id)
        {
            session.last_ping = Some(LastPing::new(now.monotonic_us, stopped_us));
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
        self.statistics.wrong_logins += 1;
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
