//! Who may see a page: a user with the permission manage, by the login that the request carries or by `--http-user`.

use super::{CLIENT_INFO, Exchange, Page, hosts};
use crate::broker::Suppressed;
use crate::broker::close_reason::CloseReason;
use crate::broker::entrance::EntranceAddress;
use crate::broker::events::Peer;
use crate::broker::operations::{Login as Outcome, authenticate, enter, log_wrong_login};
use crate::broker::output::Output;
use crate::broker::users::{Permissions, User, Users};
use crate::limits::WORK_PER_LOGIN;
use crate::protocol::http::login::Login;
use crate::protocol::http::{Request, Status};
use std::rc::Rc;

/// The outcome of a request for a page that not everybody may see.
pub(super) enum Access {
    Granted,
    Denied(Page),
    /// The request is to be handed over again, which the broker asks for when it is time.
    Later,
    /// The connection was closed.
    Refused,
}

impl Access {
    fn needs_login(why: &str) -> Access {
        Access::Denied(Page::text(Status::Unauthorized, why))
    }
}

impl<O: Output> Exchange<'_, O> {
    /// Logs in by the login that the request carries, or as the user of `--http-user` if it carries none.
    pub(super) fn admit(&mut self, request: &Request<'_>) -> Access {
        let Some(value) = request.authorization else {
            return self.admit_without_login(request);
        };
        let Some(login) = Login::of(value) else {
            // It names nobody whose password it might guess.
            let verified = authenticate(self.broker, self.id, None, |_| None, self.now, self.out);
            debug_assert!(verified.is_err(), "nobody is found");
            return Access::needs_login("the login is none in the form of Basic");
        };
        let verify = |users: &Users| users.verify(login.user(), login.password()).cloned();
        // Guesses at that user from the same address delay only connections on which nobody has shown the password.
        if self.has_shown_password(login.user()) {
            self.out.add_work(WORK_PER_LOGIN);
            if let Some(user) = verify(&self.broker.users) {
                return self.admit_user(request, user);
            }
        }
        let (id, now) = (self.id, self.now);
        match authenticate(self.broker, id, Some(login.user()), verify, now, self.out) {
            Ok(user) => self.admit_user(request, user),
            Err(Outcome::Later) => Access::Later,
            Err(_) => {
                log_wrong_login(self.broker, id, login.user(), now);
                Access::needs_login("the user or the password is wrong")
            }
        }
    }

    fn admit_without_login(&mut self, request: &Request<'_>) -> Access {
        let Some(name) = self.broker.settings.http.user.clone() else {
            return Access::needs_login("a login is needed, of a user who may manage the server");
        };
        if !self.is_asked_by_own_name(request) {
            return Access::needs_login(
                "without a login, the host of the request must be an address, localhost or a host of --http",
            );
        }
        match self.broker.users.get(&name).cloned() {
            Some(user) => self.admit_user(request, user),
            None => Access::needs_login("a login is needed"),
        }
    }

    fn has_shown_password(&self, name: &[u8]) -> bool {
        let session = self.broker.sessions.get(self.id);
        session.is_some_and(|session| session.has_shown_password) && self.is_logged_in_as(name)
    }

    fn is_logged_in_as(&self, name: &[u8]) -> bool {
        let session = self.broker.sessions.get(self.id);
        let user = session.and_then(|session| session.user.as_ref());
        user.is_some_and(|user| user.name.as_bytes() == name)
    }

    /// Reports whether no foreign site can have sent the request. Such a site has no certificate for the name of its host
    /// that this server shows, and no browser reaches a Unix socket.
    fn is_asked_by_own_name(&self, request: &Request<'_>) -> bool {
        let Some(session) = self.broker.sessions.get(self.id) else {
            return false;
        };
        let settings = &self.broker.settings.http;
        let entrance = settings.addresses.get(usize::from(session.entrance));
        let is_tls = entrance.is_some_and(EntranceAddress::is_tls);
        let is_unix = matches!(session.cid.peer, Peer::Unix(_));
        let host = request.host;
        is_tls || is_unix || host.is_none_or(|host| hosts::is_own(host, &settings.hosts))
    }

    /// Lets a user in whose login was right, or not needed.
    fn admit_user(&mut self, request: &Request<'_>, user: Rc<User>) -> Access {
        if !user.permissions.contains(Permissions::MANAGE) {
            self.count_refusal(&user);
            let page = Page::text(Status::Forbidden, "that user lacks the permission manage");
            return Access::Denied(page);
        }
        let has_password = request.authorization.is_some();
        let is_known = match has_password {
            true => self.has_shown_password(user.name.as_bytes()),
            false => self.is_logged_in_as(user.name.as_bytes()),
        };
        if !is_known {
            match enter(
                self.broker,
                self.id,
                (user, has_password),
                self.now,
                self.out,
            ) {
                Outcome::Done => self.identify(request),
                Outcome::Later => return Access::Later,
                Outcome::Wrong | Outcome::NoPlace => {
                    let reason = CloseReason::ClientLimit;
                    self.broker.refuse(self.id, reason, self.now, self.out);
                    return Access::Refused;
                }
            }
        }
        self.broker.mirror(self.id, request.line, self.out);
        Access::Granted
    }

    /// Counts and logs that a user may not see what was asked for; logs so many a second.
    fn count_refusal(&mut self, user: &User) {
        self.broker.statistics.permission_denied += 1;
        let admitted = self.broker.refusal_log.admit(self.now.monotonic_us);
        if let (Some(session), Some(suppressed)) = (self.broker.sessions.get(self.id), admitted) {
            let (name, needed) = (user.name.escape_debug(), Permissions::MANAGE);
            let (cid, suppressed) = (session.cid, Suppressed(suppressed));
            log::warn!(
                "permission_denied: HTTP needs the permission {needed} (user {name}, {cid}){suppressed}"
            );
        }
    }

    /// Shows in CLIENTLIST which program asks.
    fn identify(&mut self, request: &Request<'_>) {
        if let Some(program) = request.user_agent {
            let text = [CLIENT_INFO, b" ", program].concat();
            self.broker.sessions.identify(self.id, &text);
        }
    }
}
