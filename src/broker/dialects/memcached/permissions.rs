//! The permissions that commands need, and the refusal of those that a user lacks.

use super::exchange::Exchange;
use crate::broker::events::Flow;
use crate::broker::output::Output;
use crate::broker::session::Session;
use crate::broker::users::Permissions;
use crate::protocol::memcached::request::Need;
use crate::protocol::memcached::{Error, Frame, Request};

/// Reports whether the session's user has the permission that a command needs.
pub fn may(session: &Session, request: &Request<'_>) -> bool {
    let user = session.user.as_ref();
    user.is_some_and(|user| user.permissions.contains(needed_for(request)))
}

/// Reports whether the command may change something that other servers and the journal hear of.
pub fn is_write(request: &Request<'_>) -> bool {
    let needed = needed_for(request);
    needed.contains(Permissions::WRITE) || matches!(request, Request::FlushAll(..))
}

fn needed_for(request: &Request<'_>) -> Permissions {
    match request.need() {
        Need::Login => Permissions::NONE,
        Need::Read => Permissions::READ,
        Need::Write => Permissions::WRITE,
        Need::ReadAndWrite => Permissions::READ.with(Permissions::WRITE),
        Need::Manage => Permissions::MANAGE,
    }
}

impl<O: Output> Exchange<'_, O> {
    /// The form of a refused command is checked even so.
    #[cold]
    pub fn deny(&mut self, frame: &Frame<'_>) -> Flow {
        if let Request::Meta(meta) | Request::MetaStore(meta, _) = frame.request
            && let Err(error) = meta.flags()
        {
            self.fail(error);
            return Flow::Next;
        }
        self.broker.statistics.permission_denied += 1;
        let needed = needed_for(&frame.request);
        let now = self.now;
        self.broker
            .log_refusal(self.id, "permission_denied", now, |user| {
                // Only a command is decoded, so that no word of a client gets into the log.
                let command = frame.line().split(|byte| *byte == b' ').next();
                let missing = needed.without(user.permissions);
                let command = command.unwrap_or_default().escape_ascii();
                format!("{command} needs the permission {missing}")
            });
        self.reply(frame.request.reply(), Error::Permission.text());
        Flow::Next
    }
}
