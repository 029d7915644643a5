//! The lines that clacksd servers send to each other in addition to those of the reference (clacks-interclacks(7)). A
//! Net::Clacks peer never gets any of them.
//!
//! | line | meaning |
//! |---|---|
//! | `PATH node…` | the sender's masters, from the root, and itself |
//! | `CLEAR stamp` | the newest CLEARCACHE the sender knows |
//! | `STATE stamp accessed kind contributions signal attributes name=value` | all there is to know of a name |
//! | `STATES states` | some states in binary form |
//! | `COUNT stamp accessed share:version:sum name` | one share of a counter |
//! | `COUNT stamp 0 - name` | the answer of a server that does not know the counter |
//! | `TOUCH stamp attributes name` | a touch or a won mark of an entry |
//! | `FOLD stamp` | shares of runs that began before that are part of the folded share |
//! | `SIGNAL origin:number option… line` | a SET, NOTIFY or OVERHEAD line on its way through the tree |
//! | `JOIN pattern group` | the group has members on the sender's side that subscribe to the pattern |
//! | `LEAVE pattern group` | it has no such members there any more |
//! | `SYNCED` | everything the sender held when the link came up has been sent |
//! | `PONG` | the answer to a PING |

mod attributes_word;
mod changes;
mod escape;
mod ids;
mod membership;
pub mod packed;
mod signal;
mod state;
mod states;
#[cfg(test)]
mod tests;

pub use changes::{encode_count, encode_touch, encode_unknown_count};
pub use escape::EscapedValue;
pub use ids::{NodeId, ShareId, SignalId, Stamp};
pub use membership::{Membership, encode_join, encode_leave};
pub use signal::{MAX_GROUPS_LENGTH, Options, append_signal, encode_options, encode_signal};
pub use state::{Contribution, Register, State, StateHead, append_state, encode_state};
pub use states::{PackedStates, StatesLine};

use super::attributes::Attributes;
use super::encode;
use crate::limits::MAX_PATH;
use ids::{node, stamp, text};
use std::borrow::Cow;

/// The version of this extension that follows `interclacks/` in the CLACKS line. It is spoken to every server that
/// announces this version or a greater one.
pub const VERSION: u32 = 2;

#[derive(Debug, Clone, PartialEq)]
pub enum PeerLine<'a> {
    Path(Vec<NodeId>),
    Clear(Stamp),
    /// With the signal that a SETANDSTORE is too.
    State {
        name: Cow<'a, [u8]>,
        head: StateHead,
        value: EscapedValue<'a>,
        signal: Option<SignalId>,
    },
    States(PackedStates<'a>),
    /// One share of the counter that has this stamp; `None`: the sender has no entry of that name.
    Count {
        name: Cow<'a, [u8]>,
        stamp: Stamp,
        accessed_us: u64,
        contribution: Option<Contribution>,
    },
    /// The touch of the entry that has this stamp, its won mark, or both. The other attributes are not there.
    Touch {
        name: Cow<'a, [u8]>,
        stamp: Stamp,
        attributes: Attributes,
    },
    Fold(Stamp),
    Signal {
        id: SignalId,
        options: Options<'a>,
        line: &'a [u8],
    },
    Join(Membership<'a>),
    Leave(Membership<'a>),
    /// JOIN or LEAVE with a pattern alone, which has no meaning yet. It is ignored.
    Reserved,
    Synced,
    Pong,
}

/// The greatest version of this extension that the text of a CLACKS line announces; `None` if it announces none.
/// A word whose number is 0, or is not written in decimal digits without leading zeros, is part of the free text.
pub fn announced_version(software: &[u8]) -> Option<u32> {
    let words = software.split(|byte| *byte == b' ');
    let versions = words.filter_map(|word| word.strip_prefix(b"interclacks/"));
    versions.filter_map(version_number).max()
}

/// A number beyond 32 bits is the greatest one.
fn version_number(digits: &[u8]) -> Option<u32> {
    let is_number =
        matches!(digits.first(), Some(b'1'..=b'9')) && digits.iter().all(u8::is_ascii_digit);
    is_number
        .then(|| text(digits).and_then(|digits| digits.parse().ok()))?
        .or(Some(u32::MAX))
}

/// `None`: no line of this extension, or none in the right form.
pub fn decode(line: &[u8]) -> Option<PeerLine<'_>> {
    let (verb, rest) = split(line);
    Some(match verb {
        b"STATE" => state::decode(rest?)?,
        b"STATES" => states::decode(rest?)?,
        b"SIGNAL" => signal::decode(rest?)?,
        b"COUNT" => changes::count(rest?)?,
        b"TOUCH" => changes::touch(rest?)?,
        b"CLEAR" => PeerLine::Clear(stamp(rest?)?),
        b"FOLD" => PeerLine::Fold(stamp(rest?)?),
        b"JOIN" => membership::decode(rest?, PeerLine::Join)?,
        b"LEAVE" => membership::decode(rest?, PeerLine::Leave)?,
        b"SYNCED" => PeerLine::Synced,
        b"PONG" => PeerLine::Pong,
        b"PATH" => PeerLine::Path(path(rest?)?),
        _ => return None,
    })
}

/// Reports whether the line begins with a verb of this extension, whether or not the rest has the right form.
pub fn has_verb(line: &[u8]) -> bool {
    let (verb, _) = split(line);
    matches!(
        verb,
        b"STATE"
            | b"STATES"
            | b"COUNT"
            | b"TOUCH"
            | b"SIGNAL"
            | b"CLEAR"
            | b"FOLD"
            | b"JOIN"
            | b"LEAVE"
            | b"SYNCED"
            | b"PONG"
            | b"PATH"
    )
}

/// Of a path that is too long its beginning.
fn path(nodes: &[u8]) -> Option<Vec<NodeId>> {
    let nodes = text(nodes)?.split(' ').take(MAX_PATH + 1);
    nodes.map(node).collect()
}

/// Appends a FOLD line.
pub fn encode_fold(to: &mut Vec<u8>, folded: Stamp) {
    encode::text(to, format_args!("FOLD {folded}"));
}

fn split(bytes: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b' ', bytes) {
        Some(blank) => (&bytes[..blank], Some(&bytes[blank + 1..])),
        None => (bytes, None),
    }
}

/// Reports whether a text is a word of a line as it is: it is not empty, and has no blanks or line ends in it.
fn is_word(text: &[u8]) -> bool {
    !text.is_empty() && !text.iter().any(|byte| b" \t\r\n".contains(byte))
}
