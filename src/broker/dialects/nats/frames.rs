//! The limits of frames that are not complete.

use super::Exchange;
use crate::broker::events::{ConnectionId, LongFrame, Now};
use crate::broker::output::Output;
use crate::broker::users::Permissions;
use crate::broker::{Broker, Settings};
use crate::limits::{MAX_LINE_BEFORE_LOGIN, MAX_PAYLOAD};
use crate::protocol::nats::Error;
use crate::protocol::nats::framing::{kept_of_tail, payload_length};
use crate::protocol::nats::request::{Begun, begun_publish};
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
    if payload_length(start, length).is_none() {
        // The framer ends a line that is too long, unless all behind its verb is ignored.
        return match length > MAX_LINE_BEFORE_LOGIN {
            true => kept_of_tail(start).map_or(LongFrame::Allowed, LongFrame::TailSkipped),
            false => LongFrame::Allowed,
        };
    }
    let mut exchange = Exchange {
        broker,
        id,
        now,
        out,
    };
    let is_right = begun_publish(start).is_none_or(|begun| exchange.check_begun(&begun));
    match is_right {
        true => LongFrame::Allowed,
        false => LongFrame::Refused,
    }
}

impl<O: Output> Exchange<'_, O> {
    /// Answers the faults that the line of a message has, before its payload is looked at. Returns false if they end the
    /// connection.
    pub(super) fn check_begun(&mut self, begun: &Begun<'_>) -> bool {
        if begun.size > max_payload(&self.broker.settings) {
            self.fail(Error::PayloadTooLarge);
            return false;
        }
        let may_write = self.may(Permissions::WRITE);
        let session = self.broker.sessions.get_mut(self.id);
        let Some(conversation) = session.and_then(|session| session.nats.as_mut()) else {
            return false;
        };
        if begun.has_header_size && !conversation.takes_headers() {
            self.fail(Error::Form);
            return false;
        }
        let is_wrong = conversation.is_pedantic() && !is_literal(begun.subject);
        if is_wrong && may_write && !std::mem::replace(&mut conversation.is_told, true) {
            self.fail(Error::InvalidPublishSubject);
        }
        true
    }
}

/// The most bytes of header and payload together.
pub fn max_payload(settings: &Settings) -> usize {
    settings.max_line.min(MAX_PAYLOAD)
}
