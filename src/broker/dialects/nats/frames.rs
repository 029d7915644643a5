//! The limits of frames that are not complete.

use super::Exchange;
use crate::broker::events::{ConnectionId, LongFrame, Now};
use crate::broker::output::Output;
use crate::broker::users::Permissions;
use crate::broker::{Broker, Settings};
use crate::limits::{MAX_LINE_BEFORE_LOGIN, MAX_PAYLOAD};
use crate::protocol::nats::Error;
use crate::protocol::nats::framing::{kept_of_tail, payload_length};
use crate::protocol::nats::request::begun_publish;
use crate::protocol::nats::subject::is_literal;

/// A frame is not complete, of which `start` has come, and which will have `length` bytes or more. Without `start` it is
/// long and complete.
pub fn handle_long_frame<O: Output>(
    broker: &mut Broker,
    id: ConnectionId,
    start: Option<&[u8]>,
    length: usize,
    now: Now,
    out: &mut O,
) -> LongFrame {
    // A message that came whole is looked at when its turn comes.
    let Some(start) = start else {
        return LongFrame::Allowed;
    };
    let Some(payload) = payload_length(start, length) else {
        // The framer ends a line that is too long, unless all behind its verb is ignored.
        return match length > MAX_LINE_BEFORE_LOGIN {
            true => kept_of_tail(start).map_or(LongFrame::Allowed, LongFrame::TailSkipped),
            false => LongFrame::Allowed,
        };
    };
    let is_too_long = payload > max_payload(&broker.settings);
    let mut exchange = Exchange {
        broker,
        id,
        now,
        out,
    };
    if is_too_long {
        exchange.fail(Error::PayloadTooLarge);
        return LongFrame::Refused;
    }
    match begun_publish(start) {
        Some((subject, has_header_size)) => exchange.check_begun(subject, has_header_size),
        None => LongFrame::Allowed,
    }
}

impl<O: Output> Exchange<'_, O> {
    /// Tells the faults of the line of a message whose payload has not come yet.
    fn check_begun(&mut self, subject: &[u8], has_header_size: bool) -> LongFrame {
        let may_write = self.may(Permissions::WRITE);
        let session = self.broker.sessions.get_mut(self.id);
        let Some(conversation) = session.and_then(|session| session.nats.as_mut()) else {
            return LongFrame::Refused;
        };
        if has_header_size && !conversation.takes_headers() {
            self.fail(Error::Form);
            return LongFrame::Refused;
        }
        let is_wrong = conversation.options.is_pedantic && !is_literal(subject);
        if is_wrong && may_write && !std::mem::replace(&mut conversation.is_told, true) {
            self.fail(Error::InvalidPublishSubject);
        }
        LongFrame::Allowed
    }
}

/// The most bytes of header and payload together.
pub fn max_payload(settings: &Settings) -> usize {
    settings.max_line.min(MAX_PAYLOAD)
}
