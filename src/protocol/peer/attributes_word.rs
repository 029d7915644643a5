//! The word of a line that contains the attributes of an entry.

use crate::protocol::attributes::Attributes;
use std::io::{self, Write};
use std::str::FromStr;

/// The word of an entry without attributes.
const NONE: &[u8] = b"-";

/// `None`: the word is not in the one form that it may have.
pub(super) fn decode(word: &[u8]) -> Option<Attributes> {
    let mut attributes = Attributes::default();
    if word == NONE {
        return Some(attributes);
    }
    let mut parts = word.split(|byte| *byte == b',').peekable();
    let mut numbered = |letter: u8| parts.next_if(|part| part.first() == Some(&letter));
    if let Some(part) = numbered(b'f') {
        attributes.client_flags = number(part).filter(|flags| *flags != 0)?;
    }
    let mut optional = |letter| numbered(letter).map(|part| number(part).ok_or(()));
    attributes.expires_us = optional(b'x').transpose().ok()?;
    attributes.touched_us = optional(b't').transpose().ok()?;
    attributes.version = optional(b'c').transpose().ok()?;
    let mut marked = |letter| parts.next_if(|part| *part == [letter]).is_some();
    attributes.marks.base64 = marked(b'b');
    attributes.marks.stale = marked(b's');
    attributes.marks.won = marked(b'w');
    parts.next().is_none().then_some(attributes)
}

/// The number behind the letter of a part, in decimal digits without leading zeros.
fn number<T: FromStr>(part: &[u8]) -> Option<T> {
    let digits = &part[1..];
    let is_regular = match digits {
        [b'0'] => true,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    is_regular
        .then(|| std::str::from_utf8(digits).ok()?.parse().ok())
        .flatten()
}

/// Appends the word.
pub(super) fn append(to: &mut Vec<u8>, attributes: &Attributes) {
    if attributes.is_empty() {
        to.extend_from_slice(NONE);
        return;
    }
    let start = to.len();
    append_parts(to, attributes).expect("a Vec takes every write");
    debug_assert_eq!(to.get(start), Some(&b','), "each part begins with a comma");
    to.remove(start);
}

/// Appends each part with a comma before it.
fn append_parts(to: &mut Vec<u8>, attributes: &Attributes) -> io::Result<()> {
    let Attributes {
        client_flags,
        expires_us,
        touched_us,
        version,
        marks,
    } = attributes;
    let client_flags = Some(u64::from(*client_flags)).filter(|flags| *flags != 0);
    for (letter, number) in [
        ('f', client_flags),
        ('x', *expires_us),
        ('t', *touched_us),
        ('c', *version),
    ] {
        if let Some(number) = number {
            write!(to, ",{letter}{number}")?;
        }
    }
    for (letter, is_there) in [('b', marks.base64), ('s', marks.stale), ('w', marks.won)] {
        if is_there {
            write!(to, ",{letter}")?;
        }
    }
    Ok(())
}
