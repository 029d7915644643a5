//! Names and values of any bytes in lines, which can't contain CR and LF.

use std::borrow::Cow;

/// The byte that begins each escape.
const ESCAPE: u8 = b'\\';

/// The number of bytes that are looked at one by one behind an escape, before the next is searched for.
const STEP: usize = 64;

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
        rest = &rest[place..];
        // Where escapes are dense, a search for each of them would take longer than a look at each byte.
        let mut looked_at = 0;
        while looked_at < STEP && looked_at < rest.len() {
            let is_escape = rest[looked_at] == ESCAPE;
            if is_escape && !has_letter(&rest[looked_at..], letters) {
                return false;
            }
            looked_at += 1 + usize::from(is_escape);
        }
        rest = &rest[looked_at..];
    }
    true
}

/// Reports whether one of the letters follows the first byte.
fn has_letter(escape: &[u8], letters: &[u8]) -> bool {
    escape.get(1).is_some_and(|letter| letters.contains(letter))
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
        rest = &rest[place..];
        let mut bytes = [0; STEP];
        let (mut length, mut taken) = (0, 0);
        while length < STEP && taken < rest.len() {
            let is_escape = rest[taken] == ESCAPE;
            bytes[length] = match is_escape {
                true => meaning(rest[taken + 1]),
                false => rest[taken],
            };
            length += 1;
            taken += 1 + usize::from(is_escape);
        }
        plain.extend_from_slice(&bytes[..length]);
        rest = &rest[taken..];
        next = memchr::memchr(ESCAPE, rest);
    }
    plain.extend_from_slice(rest);
    Cow::Owned(plain)
}

/// The byte that an escape with this letter stands for.
fn meaning(letter: u8) -> u8 {
    match letter {
        b'n' => b'\n',
        b'r' => b'\r',
        b'e' => b'=',
        other => other,
    }
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
        let (step, others) = rest[place..].split_at(STEP.min(rest.len() - place));
        let mut bytes = [ESCAPE; 2 * STEP];
        let mut length = 0;
        for byte in step {
            let (letter, is_escape) = match byte {
                b'\n' => (b'n', true),
                b'\r' => (b'r', true),
                other => (*other, *other == ESCAPE),
            };
            bytes[length] = ESCAPE;
            length += usize::from(is_escape);
            bytes[length] = letter;
            length += 1;
        }
        to.extend_from_slice(&bytes[..length]);
        rest = others;
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
