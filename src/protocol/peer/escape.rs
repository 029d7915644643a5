//! Names and values of any bytes in lines, which can't contain CR and LF.

use std::borrow::Cow;

/// The byte that begins each escape.
const ESCAPE: u8 = b'\\';

/// A value in a line, with correct escapes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EscapedValue<'a>(&'a [u8]);

impl<'a> EscapedValue<'a> {
    /// `None`: an escape is wrong.
    pub(super) fn new(text: &'a [u8]) -> Option<EscapedValue<'a>> {
        is_escaped(text, b"\\nr").then_some(EscapedValue(text))
    }

    pub fn unescape(self) -> Cow<'a, [u8]> {
        unescaped(self.0)
    }
}

/// The name that a line has escaped. `None`: an escape is wrong, or there is no name.
pub(super) fn name(text: &[u8]) -> Option<Cow<'_, [u8]>> {
    let is_name = !text.is_empty() && !text.contains(&b'=') && is_escaped(text, b"\\nre");
    is_name.then(|| unescaped(text))
}

/// Reports whether a byte of `letters` follows each byte that begins an escape.
fn is_escaped(text: &[u8], letters: &[u8]) -> bool {
    let mut rest = text;
    while let Some(place) = memchr::memchr(ESCAPE, rest) {
        match rest.get(place + 1) {
            Some(letter) if letters.contains(letter) => rest = &rest[place + 2..],
            _ => return false,
        }
    }
    true
}

/// Undoes escapes, which are correct.
fn unescaped(text: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = memchr::memchr(ESCAPE, text) else {
        return Cow::Borrowed(text);
    };
    let mut plain = Vec::with_capacity(text.len());
    let (mut rest, mut next) = (text, Some(first));
    while let Some(place) = next {
        plain.extend_from_slice(&rest[..place]);
        plain.push(match rest[place + 1] {
            b'n' => b'\n',
            b'r' => b'\r',
            b'e' => b'=',
            other => other,
        });
        rest = &rest[place + 2..];
        next = memchr::memchr(ESCAPE, rest);
    }
    plain.extend_from_slice(rest);
    Cow::Owned(plain)
}

/// Finds the first byte of a value that has to be escaped.
fn place_to_escape(value: &[u8]) -> Option<usize> {
    memchr::memchr3(ESCAPE, b'\n', b'\r', value)
}

/// Reports whether a value is in a line as it is.
pub(super) fn is_plain(value: &[u8]) -> bool {
    place_to_escape(value).is_none()
}

/// Appends a value with its escapes.
pub(super) fn append_value(to: &mut Vec<u8>, value: &[u8]) {
    let mut rest = value;
    while let Some(place) = place_to_escape(rest) {
        to.extend_from_slice(&rest[..place]);
        let letter = match rest[place] {
            b'\n' => b'n',
            b'\r' => b'r',
            other => other,
        };
        to.extend_from_slice(&[ESCAPE, letter]);
        rest = &rest[place + 1..];
    }
    to.extend_from_slice(rest);
}

/// The name with its escapes.
pub(super) fn escape_name(name: &[u8]) -> Cow<'_, [u8]> {
    if is_plain(name) && !name.contains(&b'=') {
        return Cow::Borrowed(name);
    }
    let mut escaped = Vec::with_capacity(2 * name.len());
    append_name(&mut escaped, name);
    Cow::Owned(escaped)
}

/// Appends a name with its escapes.
pub(super) fn append_name(to: &mut Vec<u8>, name: &[u8]) {
    for (index, part) in name.split(|byte| *byte == b'=').enumerate() {
        if index > 0 {
            to.extend_from_slice(&[ESCAPE, b'e']);
        }
        append_value(to, part);
    }
}
