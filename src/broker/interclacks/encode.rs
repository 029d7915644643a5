//! Lines of links: in the reference's language, and the short ones between clacksd servers.

use crate::broker::cache::Found;
use crate::limits::{MAX_SECONDS_LENGTH, SECOND_US};
use crate::protocol::encode;
use crate::protocol::peer::{self, NodeId, Stamp};
use crate::protocol::shared::Lines;
use crate::protocol::shown::shown;

/// Appends the path to this node. It begins with an unknown node if this node does not know the tree's time.
pub(super) fn encode_path(to: &mut Vec<u8>, path: &[NodeId], knows_time: bool) {
    let unknown = (!knows_time).then_some(&NodeId::UNKNOWN);
    let nodes: Vec<String> = unknown
        .into_iter()
        .chain(path)
        .map(NodeId::to_string)
        .collect();
    encode::text(to, format_args!("PATH {}", nodes.join(" ")));
}

/// Nothing, if there never was a clear.
pub(super) fn encode_clear(to: &mut Vec<u8>, cleared: Stamp) {
    if cleared != Stamp::default() {
        encode::text(to, format_args!("CLEAR {cleared}"));
    }
}

/// Nothing, if nothing was ever folded.
pub(super) fn encode_marker(to: &mut Vec<u8>, folded: Stamp) {
    if folded != Stamp::default() {
        peer::encode_fold(to, folded);
    }
}

/// Appends a KEYSYNC line. A long value is shared with the cache.
pub(super) fn append_key_sync(to: &mut Lines, found: Found<'_>) {
    let cached_us = match (found.value(), found.expires_us()) {
        // The expiry ends the value that the peer was told, so it has to be newer than that.
        (None, Some(expired_us)) => expired_us.max(found.changed_us()),
        _ => found.changed_us(),
    };
    let (cached, accessed) = (seconds(cached_us), seconds(found.accessed_us()));
    let (cached, accessed) = (cached.as_bytes(), accessed.as_bytes());
    let (verb, name) = (b"KEYSYNC ", found.name());
    match found.value() {
        Some(value) => to.append(
            &[
                verb,
                cached,
                b" ",
                accessed,
                b" U ",
                name,
                b"=",
                &shown(value),
            ],
            found.long_text(),
        ),
        None => to.append(&[verb, cached, b" 0 D ", name, b"=REMOVED"], None),
    }
}

/// Appends the STORE or REMOVE line that gives the receiver the same entry. A long value is shared with the cache.
pub(super) fn append_as_write(to: &mut Lines, found: Found<'_>) {
    match found.value() {
        Some(value) => {
            let parts = [b"STORE ", found.name(), b"=", &shown(value)];
            to.append(&parts, found.long_text());
        }
        None => to.append(&[b"REMOVE ", found.name()], found.long_text()),
    }
}

/// Unix seconds with decimals.
pub(super) fn seconds(time_us: u64) -> String {
    format!("{}.{:06}", time_us / SECOND_US, time_us % SECOND_US)
}

/// Thirty thousand years: far from overflow.
const FAR_S: f64 = 1e12;

/// Reads unix seconds as microseconds; a negative number is 0. `None` if the text is no number, not finite, or far too
/// long for a time.
pub(super) fn microseconds(text: &[u8]) -> Option<u64> {
    if text.len() > MAX_SECONDS_LENGTH {
        return None;
    }
    let seconds: f64 = std::str::from_utf8(text).ok()?.trim().parse().ok()?;
    seconds
        .is_finite()
        .then_some((seconds.min(FAR_S) * SECOND_US as f64) as u64)
}
