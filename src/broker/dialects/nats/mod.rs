//! The language of NATS clients: messages to subjects, which are signals here.
//!
//! Permission is checked before the form of a subject. What a client did wrong is told by `-ERR` only where it should not
//! simply come back: several clients give up for good at most of these texts.

mod conversation;
mod frames;
mod greeting;
mod keep_alive;
mod login;
mod publish;
mod subscribe;
mod verb;

use super::{Notice, Plan, Receivers};
use crate::broker::Broker;
use crate::broker::close_reason::CloseReason;
use crate::broker::events::{ConnectionId, Flow, Now};
use crate::broker::output::Output;
use crate::broker::session::Session;
use crate::broker::users::Permissions;
use crate::protocol::Language;
use crate::protocol::nats::{Error, Frame, Request, answer, subject};
pub use verb::verb_of;

pub use conversation::{Conversation, LatestOptions};
pub use frames::{handle_long_frame, max_payload};
pub use greeting::{NatsSettings, encode_info, handle_connected};
pub use keep_alive::{due, handle_silence, heard_us};

/// Appends the text of a refusal. The language has no farewell: a client that is closed without a word comes back.
pub fn encode_notice(notice: Notice<'_>, to: &mut Vec<u8>) {
    let error = match notice {
        Notice::Refused(CloseReason::ClientLimit) => Error::TooManyConnections,
        Notice::Refused(CloseReason::LoginFailed) => Error::Authorization,
        Notice::Refused(CloseReason::TlsToPlain) => Error::UnknownOperation,
        Notice::TimedOut(CloseReason::AuthTimeout) => Error::AuthenticationTimeout,
        Notice::TimedOut(CloseReason::PingTimeout) => Error::StaleConnection,
        _ => return,
    };
    answer::error(to, error);
}

/// The effects that a command of a session will have.
pub fn plan<'a>(session: &Session, request: &Request<'a>) -> Plan<'a> {
    let receivers = match request {
        Request::Publish(publish)
            if subject::is_valid(publish.subject) && may(session, Permissions::WRITE) =>
        {
            Receivers::Subscribers(publish.subject)
        }
        _ => Receivers::Nobody,
    };
    let is_monitored = matches!(
        request,
        Request::Publish(_) | Request::Subscribe(_) | Request::Unsubscribe(_)
    );
    Plan {
        receivers,
        is_monitored,
        may_write: false,
    }
}

/// Reports whether a session speaks this language.
pub fn is_spoken(session: &Session) -> bool {
    matches!(session.language, Language::Nats | Language::NatsLogin)
}

/// A frame of a client.
pub fn handle_frame<O: Output>(
    broker: &mut Broker,
    id: ConnectionId,
    frame: &Frame<'_>,
    now: Now,
    out: &mut O,
) -> Flow {
    let session = broker.sessions.get_mut(id);
    let Some(session) = session.filter(|session| session.is_served()) else {
        return Flow::Stop;
    };
    session.has_spoken = true;
    if let Some(conversation) = &mut session.nats {
        conversation.heard_us = now.monotonic_us;
        conversation.unanswered = 0;
    }
    let mut exchange = Exchange {
        broker,
        id,
        now,
        out,
    };
    match &frame.request {
        Request::Publish(publish) => exchange.publish(publish),
        Request::Subscribe(subscribe) => exchange.subscribe(subscribe, frame.line()),
        Request::Unsubscribe(unsubscribe) => exchange.unsubscribe(unsubscribe, frame.line()),
        Request::Ping => exchange.append(answer::pong),
        Request::Pong | Request::Ignored => {}
        Request::Connect(options) => return exchange.connect(options),
        Request::PeerError(text) => exchange.end_by_peer(text),
        Request::Cut(begun) => {
            if exchange.check_begun(begun) {
                exchange.fail(Error::UnknownOperation);
            }
        }
        Request::Wrong(error) => exchange.fail(*error),
    }
    Flow::Next
}

/// A command that is being handled.
struct Exchange<'a, O> {
    broker: &'a mut Broker,
    id: ConnectionId,
    now: Now,
    out: &'a mut O,
}

impl<O: Output> Exchange<'_, O> {
    fn conversation(&self) -> Option<&Conversation> {
        self.broker.sessions.get(self.id)?.nats.as_deref()
    }

    fn append(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        self.out.append(self.id, encode);
    }

    /// Answers an accepted command, if the client wants that.
    fn accept(&mut self) {
        if self.conversation().is_some_and(Conversation::is_verbose) {
            self.append(answer::ok);
        }
    }

    /// Tells a fault, if it has a text, and closes the connection if the fault is one of those that do.
    fn fail(&mut self, error: Error) {
        self.append(|to| answer::error(to, error));
        let reason = match error {
            Error::InvalidSubject | Error::InvalidPublishSubject => return,
            Error::PayloadTooLarge => CloseReason::PayloadTooLarge,
            Error::LineTooLong => CloseReason::LineTooLong,
            Error::Authorization => CloseReason::LoginFailed,
            Error::UnknownOperation => {
                self.broker.statistics.unknown_commands += 1;
                CloseReason::ProtocolError
            }
            _ => CloseReason::ProtocolError,
        };
        self.broker.close(self.id, reason, self.now, self.out);
    }

    /// The client says that something went wrong at its side.
    fn end_by_peer(&mut self, text: &[u8]) {
        const SHOWN: usize = 200;
        let shown = &text[..text.len().min(SHOWN)];
        log::debug!("a client reports an error: {}", shown.escape_ascii());
        let reason = CloseReason::PeerError;
        self.broker.close(self.id, reason, self.now, self.out);
    }

    fn may(&self, permission: Permissions) -> bool {
        let session = self.broker.sessions.get(self.id);
        session.is_some_and(|session| may(session, permission))
    }

    /// Counts and logs that a command was refused for want of a permission.
    fn count_refusal(&mut self, verb: &str, needed: Permissions) {
        self.broker.statistics.permission_denied += 1;
        self.broker
            .log_refusal(self.id, "permission_denied", self.now, |_| {
                format!("{verb} needs the permission {needed}")
            });
    }

    /// Shows the monitors a control line, without its CRs: it is a line of theirs.
    fn mirror(&mut self, line: &[u8]) {
        if self.broker.monitors.is_empty() {
            return;
        }
        let mut shown = Vec::new();
        Language::Clacks.assemble(line, &mut shown);
        self.broker.mirror(self.id, &shown, self.out);
    }
}

fn may(session: &Session, permission: Permissions) -> bool {
    let user = session.user.as_ref();
    user.is_some_and(|user| user.permissions.contains(permission))
}
