//! The lines about members of queue groups: JOIN and LEAVE.

use super::{PeerLine, is_word};
use crate::protocol::encode;

/// A queue group of a pattern: members of the group subscribe to that subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Membership<'a> {
    /// As a NATS client wrote it. The decoder does not check that it is a pattern.
    pub pattern: &'a [u8],
    pub group: &'a [u8],
}

/// Decodes a line from its pattern on. `line` makes it of a pattern and a group. `None`: there are no words, or more than
/// two.
pub(super) fn decode<'a>(
    bytes: &'a [u8],
    line: fn(Membership<'a>) -> PeerLine<'a>,
) -> Option<PeerLine<'a>> {
    let mut words = bytes.split(|byte| matches!(byte, b' ' | b'\t'));
    let (pattern, group, end) = (words.next()?, words.next(), words.next());
    if pattern.is_empty() || group == Some(b"") || end.is_some() {
        return None;
    }
    Some(match group {
        Some(group) => line(Membership { pattern, group }),
        None => PeerLine::Reserved,
    })
}

/// Appends a JOIN line. Pattern and group are not empty, and have no blanks or line ends in them.
pub fn encode_join(to: &mut Vec<u8>, membership: Membership<'_>) {
    encode(to, b"JOIN ", membership);
}

/// Appends a LEAVE line, of words as [`encode_join`] takes them.
pub fn encode_leave(to: &mut Vec<u8>, membership: Membership<'_>) {
    encode(to, b"LEAVE ", membership);
}

fn encode(to: &mut Vec<u8>, verb: &[u8], Membership { pattern, group }: Membership<'_>) {
    debug_assert!(is_word(pattern) && is_word(group));
    encode::line(to, &[verb, pattern, b" ", group]);
}
