//! The limits of frames that are not complete.

use super::permissions::may;
use crate::broker::Broker;
use crate::broker::carrier::Carrier;
use crate::broker::close_reason::CloseReason;
use crate::broker::events::{ConnectionId, LongFrame, Now};
use crate::protocol::memcached::decode;
use crate::protocol::memcached::framing::{MAX_UNFINISHED_LINE, names_many, value_length};

/// A frame is long. If it is not complete, `start` has come of it; it will have `length` bytes or more.
pub fn handle_long_frame<O: Carrier>(
    broker: &mut Broker,
    id: ConnectionId,
    start: Option<&[u8]>,
    length: usize,
    now: Now,
    out: &mut O,
) -> LongFrame {
    let Some(session) = broker.sessions.get(id) else {
        return LongFrame::Refused;
    };
    // A line that came whole is answered, and a value that came whole refused by its size.
    let Some(start) = start else {
        return LongFrame::Allowed;
    };
    let conversation = session.memcached.as_ref();
    if conversation.is_some_and(|conversation| conversation.is_watcher) {
        return LongFrame::Skipped;
    }
    if let Some(value) = value_length(start, length) {
        // The block of a login is short.
        let is_dropped =
            session.is_logged_in() && (value > max_value(broker) || !may(session, &decode(start)));
        return match is_dropped {
            true => LongFrame::BlockSkipped,
            false => LongFrame::Allowed,
        };
    }
    let most = match session.is_logged_in() && names_many(start) {
        true => broker.settings.max_line,
        false => MAX_UNFINISHED_LINE,
    };
    if length <= most {
        return LongFrame::Allowed;
    }
    broker.refuse(id, CloseReason::LineTooLong, now, out);
    LongFrame::Refused
}

/// The longest value that can be stored, in bytes, as far as that does not depend on its key.
pub fn max_value(broker: &Broker) -> usize {
    let max_line = broker.settings.max_line;
    let cache_max = broker.settings.cache_max.unwrap_or(max_line);
    cache_max.min(max_line)
}
