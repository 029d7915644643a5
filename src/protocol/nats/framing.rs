//! Where frames end: a control line at its LF, the frame of PUB and HPUB behind the payload that its line announces, and
//! a wrong frame at the first byte that shows the fault.

use super::error::Error;
use super::request::{self, PublishLine};
use crate::protocol::frame::{Next, Unfinished};
use memchr::{memchr, memchr2};

/// The most bytes from the first argument of a line to its end, the line's end not counted.
pub const MAX_ARGUMENTS: usize = 4096;

/// CR LF behind a payload.
const BLOCK_END: &[u8] = b"\r\n";

/// The first word of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Pub,
    HPub,
    Sub,
    Unsub,
    Ping,
    Pong,
    Connect,
    Info,
    Ok,
    Err,
}

/// No verb begins with another one.
const VERBS: [(&[u8], Verb); 10] = [
    (b"PUB", Verb::Pub),
    (b"HPUB", Verb::HPub),
    (b"SUB", Verb::Sub),
    (b"UNSUB", Verb::Unsub),
    (b"PING", Verb::Ping),
    (b"PONG", Verb::Pong),
    (b"CONNECT", Verb::Connect),
    (b"INFO", Verb::Info),
    (b"+OK", Verb::Ok),
    (b"-ERR", Verb::Err),
];

impl Verb {
    /// Reports whether all between the verb and LF is ignored.
    pub(super) fn ignores_rest(self) -> bool {
        matches!(self, Verb::Ping | Verb::Pong | Verb::Ok)
    }

    /// Reports whether the first argument may follow without a blank.
    fn needs_no_blank(self) -> bool {
        matches!(self, Verb::Connect | Verb::Info)
    }
}

/// The start of a line.
enum Start {
    /// A verb of so many bytes.
    Verb(Verb, usize),
    Unfinished,
    /// The last of so many bytes can't be part of a verb.
    Wrong(usize),
}

impl Start {
    fn of(input: &[u8]) -> Start {
        let mut longest = 0;
        for (text, verb) in VERBS {
            let pairs = text.iter().zip(input);
            let common = pairs.take_while(|(a, b)| a.eq_ignore_ascii_case(b)).count();
            if common == text.len() {
                return Start::Verb(verb, common);
            }
            longest = longest.max(common);
        }
        match longest == input.len() {
            true => Start::Unfinished,
            false => Start::Wrong(longest + 1),
        }
    }
}

/// The control line at the start of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    Whole {
        verb: Verb,
        /// All behind the blanks after the verb, without the line's end. Empty where it is ignored.
        arguments: &'a [u8],
        /// The length of the line with its end.
        length: usize,
    },
    /// The last of so many bytes shows the fault.
    Wrong(Error, usize),
    Unfinished,
}

impl Line<'_> {
    /// Reads the line at the start of `input`, of which the first `scanned` bytes have no LF.
    pub(super) fn of(input: &[u8], scanned: usize) -> Line<'_> {
        let (verb, verb_length) = match Start::of(input) {
            Start::Verb(verb, length) => (verb, length),
            Start::Unfinished => return Line::Unfinished,
            Start::Wrong(length) => return Line::Wrong(Error::UnknownOperation, length),
        };
        if verb.ignores_rest() {
            let from = scanned.max(verb_length);
            return match memchr(b'\n', input.get(from..).unwrap_or_default()) {
                Some(end) => Line::Whole {
                    verb,
                    arguments: b"",
                    length: from + end + 1,
                },
                None => Line::Unfinished,
            };
        }
        match input.get(verb_length) {
            None => Line::Unfinished,
            Some(&byte) if is_blank(byte) || verb.needs_no_blank() => {
                Line::with_arguments(input, scanned, verb, verb_length)
            }
            Some(_) => Line::Wrong(Error::UnknownOperation, verb_length + 1),
        }
    }

    fn with_arguments(input: &[u8], scanned: usize, verb: Verb, verb_length: usize) -> Line<'_> {
        let behind_verb = input[verb_length..].iter().take(MAX_ARGUMENTS + 1);
        let blanks = behind_verb.take_while(|byte| is_blank(**byte)).count();
        let start = verb_length + blanks;
        if blanks > MAX_ARGUMENTS {
            return Line::Wrong(Error::LineTooLong, start);
        }
        let last_end = start + MAX_ARGUMENTS;
        // A CR may be the last byte that was there before.
        let from = scanned.saturating_sub(1).max(start);
        let unsearched = &input[..input.len().min(last_end + 1)];
        let end = memchr2(b'\r', b'\n', unsearched.get(from..).unwrap_or_default());
        let Some(end) = end.map(|end| from + end) else {
            return match input.len() > last_end {
                true => Line::Wrong(Error::LineTooLong, last_end + 1),
                false => Line::Unfinished,
            };
        };
        let end_length = match (input[end], input.get(end + 1)) {
            (b'\n', _) => 1,
            (_, Some(b'\n')) => 2,
            (_, Some(_)) => return Line::Wrong(Error::Form, end + 2),
            (_, None) => return Line::Unfinished,
        };
        Line::Whole {
            verb,
            arguments: &input[start..end],
            length: end + end_length,
        }
    }
}

/// Finds the first frame of `input`, of which something may be known from before.
pub fn next(input: &[u8], known: Unfinished) -> Next<'_> {
    if let Some(length) = known.length {
        return with_payload(input, length);
    }
    if known.scanned == 0
        && let Some(line) = PublishLine::of(input)
    {
        return with_payload(input, line.frame_length() + BLOCK_END.len());
    }
    match Line::of(input, known.scanned) {
        Line::Whole {
            verb,
            arguments,
            length,
        } => {
            if let Some(announced) = request::announced(verb, arguments) {
                return with_payload(input, length + announced + BLOCK_END.len());
            }
            // Of a line whose rest is ignored the verb is the frame.
            let frame = kept_of_tail(input).unwrap_or(length);
            Next::Frame(&input[..frame], length)
        }
        Line::Wrong(_, length) => Next::Frame(&input[..length], length),
        Line::Unfinished => Next::Unfinished(Unfinished {
            scanned: input.len(),
            length: None,
        }),
    }
}

/// Finds the first frame where a login is needed and did not happen yet. All but CONNECT is refused at its first byte.
pub fn next_before_login(input: &[u8], known: Unfinished) -> Next<'_> {
    match input.first() {
        Some(&first) if !begins_login(first) => Next::Frame(&input[..1], 1),
        _ => next(input, known),
    }
}

/// Reports whether a line with this first byte may be CONNECT.
pub(super) fn begins_login(first: u8) -> bool {
    first.eq_ignore_ascii_case(&b'C')
}

/// A frame of `length` bytes, which ends in CR LF.
fn with_payload(input: &[u8], length: usize) -> Next<'_> {
    let end = length - BLOCK_END.len();
    for (place, expected) in (end..).zip(BLOCK_END) {
        match input.get(place) {
            Some(byte) if byte == expected => {}
            Some(_) => return Next::Frame(&input[..=place], place + 1),
            None => {
                return Next::Unfinished(Unfinished {
                    scanned: 0,
                    length: Some(length),
                });
            }
        }
    }
    Next::Frame(&input[..length], length)
}

/// The length of header and payload that a frame of `length` bytes in all will have, if `start` has its whole line.
pub fn payload_length(start: &[u8], length: usize) -> Option<usize> {
    let line = memchr(b'\n', start)? + 1;
    Some(length.saturating_sub(line + BLOCK_END.len()))
}

/// How many bytes at the start of an unfinished line have to be kept, if the rest up to LF is ignored.
pub fn kept_of_tail(start: &[u8]) -> Option<usize> {
    match Start::of(start) {
        Start::Verb(verb, length) if verb.ignores_rest() => Some(length),
        _ => None,
    }
}

/// Reports whether a byte separates arguments.
pub(super) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

#[cfg(test)]
mod tests;
