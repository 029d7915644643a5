//! The limits of frames that are not complete.

use crate::broker::carrier::Carrier;
use crate::broker::close_reason::CloseReason;
use crate::broker::events::{ConnectionId, LongFrame, Now};
use crate::broker::{Broker, Settings};
use crate::limits::MAX_PAYLOAD;
use crate::protocol::nats::framing::{kept_of_tail, payload_length};
use crate::protocol::nats::{Error, answer};

/// A frame is long. If it is not complete, `start` has come of it; it will have `length` bytes or more.
pub fn handle_long_frame<O: Carrier>(
    broker: &mut Broker,
    id: ConnectionId,
    start: Option<&[u8]>,
    length: usize,
    now: Now,
    out: &mut O,
) -> LongFrame {
    // A message that came whole is measured when its turn comes.
    let Some(start) = start else {
        return LongFrame::Allowed;
    };
    match payload_length(start, length) {
        Some(payload) if payload > max_payload(&broker.settings) => {
            out.append(id, |to| answer::error(to, Error::PayloadTooLarge));
            broker.close(id, CloseReason::PayloadTooLarge, now, out);
            LongFrame::Refused
        }
        Some(_) => LongFrame::Allowed,
        // The framer ends a line that is too long, unless all behind its verb is ignored.
        None => kept_of_tail(start).map_or(LongFrame::Allowed, LongFrame::TailSkipped),
    }
}

/// The most bytes of header and payload together.
pub fn max_payload(settings: &Settings) -> usize {
    settings.max_line.min(MAX_PAYLOAD)
}
