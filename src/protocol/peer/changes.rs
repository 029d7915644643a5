//! Lines about a part of a name's state: COUNT and TOUCH.

use super::ids::{Stamp, stamp, text};
use super::state::{Contribution, contribution};
use super::{PeerLine, attributes_word, escape};
use crate::protocol::attributes::Attributes;
use crate::protocol::encode;
use std::io::Write;

pub(super) fn count(bytes: &[u8]) -> Option<PeerLine<'_>> {
    let mut parts = bytes.splitn(4, |byte| *byte == b' ');
    let mut word = || parts.next();
    let (stamp_text, accessed, share, name) = (word()?, word()?, word()?, word()?);
    let contribution = match share {
        b"-" if accessed == b"0" => None,
        share => Some(contribution(text(share)?)?),
    };
    Some(PeerLine::Count {
        name: escape::name(name)?,
        stamp: stamp(stamp_text)?,
        accessed_us: text(accessed)?.parse().ok()?,
        contribution,
    })
}

pub(super) fn touch(bytes: &[u8]) -> Option<PeerLine<'_>> {
    let mut parts = bytes.splitn(3, |byte| *byte == b' ');
    let mut word = || parts.next();
    let (stamp_text, word, name) = (word()?, word()?, word()?);
    let attributes = attributes_word::decode(word)?;
    let has_no_others = attributes == attributes.touch() && !attributes.is_empty();
    has_no_others.then_some(PeerLine::Touch {
        name: escape::name(name)?,
        stamp: stamp(stamp_text)?,
        attributes,
    })
}

/// Appends a COUNT line about one share of a counter.
pub fn encode_count(
    to: &mut Vec<u8>,
    name: &[u8],
    stamp: Stamp,
    accessed_us: u64,
    contribution: &Contribution,
) {
    write!(to, "COUNT {stamp} {accessed_us} {contribution} ").expect("a Vec takes every write");
    append_named(to, name);
}

/// Appends the COUNT line that asks for the state of a name, which has no entry here.
pub fn encode_unknown_count(to: &mut Vec<u8>, name: &[u8], stamp: Stamp) {
    write!(to, "COUNT {stamp} 0 - ").expect("a Vec takes every write");
    append_named(to, name);
}

/// Appends a TOUCH line, with the touch and the won mark among these attributes. One of them is there.
pub fn encode_touch(to: &mut Vec<u8>, name: &[u8], stamp: Stamp, attributes: &Attributes) {
    write!(to, "TOUCH {stamp} ").expect("a Vec takes every write");
    attributes_word::append(to, &attributes.touch());
    to.push(b' ');
    append_named(to, name);
}

/// Appends the name at the end of a line.
fn append_named(to: &mut Vec<u8>, name: &[u8]) {
    escape::append_name(to, name);
    encode::line(to, &[]);
}
