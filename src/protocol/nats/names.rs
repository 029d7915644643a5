//! Subjects of names and names of subjects: `.` for `::`, and `%` with two upper-case hex digits for bytes that can't stand
//! in a subject. No two names have one subject. CR and LF never come out of an escape.

use crate::protocol::pattern::parts;
use std::borrow::Cow;

/// The longest subject that is shown to NATS clients, in bytes.
pub const MAX_SUBJECT: usize = 4096;

const SEPARATOR: &[u8] = b"::";

/// The part of a name that is empty, and the name that is.
const EMPTY: &[u8] = b"%";

/// The name of a subject that a client published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub name: Vec<u8>,
    /// The subject of this name is the published one.
    pub is_exact: bool,
}

/// The subject of a name.
pub fn subject_of(name: &[u8]) -> Vec<u8> {
    let mut subject = Vec::with_capacity(name.len());
    for (index, part) in parts(name).enumerate() {
        if index > 0 {
            subject.push(b'.');
        }
        subject.extend_from_slice(&token_of(part));
    }
    subject
}

/// The token of a part of a name: the part itself unless something in it has to be escaped.
pub fn token_of(part: &[u8]) -> Cow<'_, [u8]> {
    if part.is_empty() {
        return Cow::Borrowed(EMPTY);
    }
    let is_escaped = |at: &usize| match part[*at] {
        b'%' => part.len() == 1 || escaped(&part[*at..]).is_some(),
        byte => is_escapable(byte),
    };
    let Some(first) = (0..part.len()).find(is_escaped) else {
        return Cow::Borrowed(part);
    };
    let (before, rest) = part.split_at(first);
    let mut token = before.to_vec();
    for (at, &byte) in (first..).zip(rest) {
        match is_escaped(&at) {
            true => token.extend_from_slice(&escape(byte)),
            false => token.push(byte),
        }
    }
    Cow::Owned(token)
}

/// The name of a valid subject.
pub fn name_of(subject: &[u8]) -> Named {
    let mut name = Vec::with_capacity(subject.len());
    for (index, token) in super::subject::tokens(subject).enumerate() {
        if index > 0 {
            name.extend_from_slice(SEPARATOR);
        }
        for &byte in part_of(token).iter() {
            match byte {
                b'=' => name.extend_from_slice(&escape(b'=')),
                _ => name.push(byte),
            }
        }
    }
    if name.is_empty() {
        name.extend_from_slice(EMPTY);
    }
    let is_exact = subject_of(&name) == subject;
    Named { name, is_exact }
}

/// The part of a name that a token is.
fn part_of(token: &[u8]) -> Cow<'_, [u8]> {
    if token == EMPTY {
        return Cow::Borrowed(b"");
    }
    // Most tokens have nothing to undo.
    if memchr::memchr(b'%', token).is_none() {
        return Cow::Borrowed(token);
    }
    let (mut part, mut rest) = (Vec::new(), token);
    while let Some(percent) = memchr::memchr(b'%', rest) {
        let (before, from) = rest.split_at(percent);
        part.extend_from_slice(before);
        let (byte, length) = match escaped(from) {
            Some(byte) => (byte, 3),
            None => (b'%', 1),
        };
        part.push(byte);
        rest = &from[length..];
    }
    part.extend_from_slice(rest);
    match *token_of(&part) == *token {
        true => Cow::Owned(part),
        false => Cow::Borrowed(token),
    }
}

/// The byte that an escape at the start of a text is.
fn escaped(text: &[u8]) -> Option<u8> {
    let &[b'%', high, low, ..] = text else {
        return None;
    };
    let byte = hex_digit(high)? << 4 | hex_digit(low)?;
    is_escapable(byte).then_some(byte)
}

/// Reports whether a byte is escaped in subjects. CR and LF are in no name.
fn is_escapable(byte: u8) -> bool {
    matches!(byte, 0..=b' ' | 0x7F | b'.' | b'%') && !matches!(byte, b'\r' | b'\n')
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

fn escape(byte: u8) -> [u8; 3] {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |half: u8| DIGITS[usize::from(half)];
    [b'%', digit(byte >> 4), digit(byte & 0xF)]
}

#[cfg(test)]
mod tests;
