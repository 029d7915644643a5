//! From messages to lines. Every line ends in CR LF, as all senders of this protocol end theirs.

use super::Flags;
use std::fmt;
use std::io::Write;

/// The end of a line.
pub const END: &[u8] = b"\r\n";

/// The parts of a SET.
pub fn set<'a>(name: &'a [u8], value: &'a [u8]) -> [&'a [u8]; 4] {
    [b"SET ", name, b"=", value]
}

/// Returns the length of a line of these parts, its end included, in bytes.
#[inline(always)]
pub fn line_length(parts: &[&[u8]]) -> usize {
    parts.iter().map(|part| part.len()).sum::<usize>() + END.len()
}

/// Appends the parts, one after the other, and the line end. Inlined: where the number of parts is known, that is a few
/// copies.
#[inline(always)]
pub fn line(to: &mut Vec<u8>, parts: &[&[u8]]) {
    to.reserve(line_length(parts));
    for part in parts {
        to.extend_from_slice(part);
    }
    to.extend_from_slice(END);
}

/// Appends formatted text and the line end.
pub fn text(to: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    to.write_fmt(text).expect("a Vec takes every write");
    to.extend_from_slice(END);
}

/// `OVERHEAD <flags> value`, the flags sorted.
pub fn overhead(to: &mut Vec<u8>, flags: Flags, value: &[u8]) {
    to.extend_from_slice(b"OVERHEAD ");
    to.extend(flags.letters());
    line(to, &[b" ", value]);
}

/// `OVERHEAD E word`: what was wrong.
pub fn error(to: &mut Vec<u8>, word: &str) {
    overhead(to, Flags::ERROR, word.as_bytes());
}

/// Appends the lines that a server sends first (clacks-protocol(7), CONNECTION).
pub fn greeting(to: &mut Vec<u8>, software: &str) {
    line(to, &[b"CLACKS ", software.as_bytes()]);
    overhead(to, Flags::INFORMAL, b"Authentication required");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_come_out_sorted() {
        let mut out = Vec::new();
        overhead(&mut out, Flags::parse(b"UNG"), b"Terry Pratchett");
        assert_eq!(out, b"OVERHEAD GNU Terry Pratchett\r\n");
    }
}
