//! Finds lines in a stream of bytes. What a line means is not known here.
//!
//! A line ends in LF, every CR is dropped wherever it stands (clacks-protocol(7), CONNECTION).

use super::shared::SharedBytes;
use memchr::{memchr, memchr2};
use std::sync::mpsc::Sender;

/// The first line of `input` without its end, and how many bytes of `input` it took; `None` while
/// the line is unfinished.
///
/// The line borrows from `input`, except when a CR stands inside it: then it is put together in
/// `scratch`.
pub fn next_line<'a>(input: &'a [u8], scratch: &'a mut Vec<u8>) -> Option<(&'a [u8], usize)> {
    let end = memchr2(b'\r', b'\n', input)?;
    if input[end] == b'\n' {
        return Some((&input[..end], end + 1));
    }
    if input.get(end + 1) == Some(&b'\n') {
        return Some((&input[..end], end + 2));
    }
    let newline = end + memchr(b'\n', &input[end..])?;
    scratch.clear();
    append_without_cr(&input[..newline], scratch);
    Some((scratch, newline + 1))
}

/// Appends `bytes` to `to`, leaving out every CR.
pub fn append_without_cr(mut bytes: &[u8], to: &mut Vec<u8>) {
    while let Some(cr) = memchr(b'\r', bytes) {
        to.extend_from_slice(&bytes[..cr]);
        bytes = &bytes[cr + 1..];
    }
    to.extend_from_slice(bytes);
}

/// Bytes of a connection that are not worked off yet: an unfinished line, and lines that have to
/// wait. CRs are dropped on the way in, so that a stream of nothing else takes no memory.
#[derive(Debug, Default)]
pub struct Pending {
    bytes: Vec<u8>,
    /// Start of the first line that is not worked off.
    start: usize,
    /// `bytes[start..scanned]` holds no LF; a long line is searched once, however many pieces it
    /// comes in. `start <= scanned <= bytes.len()`.
    scanned: usize,
    /// Whether what comes is dropped up to the next LF.
    skipping: bool,
}

impl Pending {
    /// Adds what came from the peer.
    pub fn push(&mut self, mut bytes: &[u8]) {
        if self.skipping {
            let Some(newline) = memchr(b'\n', bytes) else {
                return;
            };
            self.skipping = false;
            bytes = &bytes[newline + 1..];
        }
        if self.start > 0 && self.start * 2 >= self.bytes.len() {
            self.bytes.drain(..self.start);
            self.scanned -= self.start;
            self.start = 0;
        }
        append_without_cr(bytes, &mut self.bytes);
    }

    /// The next finished line, without its end.
    pub fn next_line(&mut self) -> Option<&[u8]> {
        let Some(newline) = memchr(b'\n', &self.bytes[self.scanned..]) else {
            self.scanned = self.bytes.len();
            return None;
        };
        let line = self.start..self.scanned + newline;
        self.start = line.end + 1;
        self.scanned = self.start;
        Some(&self.bytes[line])
    }

    /// Where the next lines are, as far as nothing is known of them; not the beginning of a long one.
    pub fn unscanned(&self) -> &[u8] {
        &self.bytes[self.scanned..]
    }

    /// Puts the line that [`Pending::next_line`] has just returned back; it had `length` bytes.
    pub fn put_back(&mut self, length: usize) {
        self.start -= length + 1;
        self.scanned = self.start;
    }

    /// Takes the line that [`Pending::next_line`] has just returned, of `length` bytes, out of the buffer without copying
    /// it. The few bytes behind it are copied instead. `reclaim` gets its memory in the end.
    pub fn take_line(&mut self, length: usize, reclaim: Sender<Vec<u8>>) -> SharedBytes {
        let end = self.start - 1;
        let rest = self.bytes[self.start..].to_vec();
        let mut bytes = std::mem::replace(&mut self.bytes, rest);
        (self.start, self.scanned) = (0, 0);
        bytes.truncate(end);
        bytes.shrink_to_fit();
        SharedBytes::new(bytes, Some(reclaim)).slice(end - length, end)
    }

    /// Puts the line that [`Pending::take_line`] has just returned back.
    pub fn put_back_line(&mut self, line: SharedBytes) {
        let length = line.len();
        // Nobody else keeps a line of which nothing was done.
        let mut bytes = line.into_buffer().unwrap_or_default();
        debug_assert!(bytes.len() >= length, "the line is there");
        let start = bytes.len().saturating_sub(length);
        bytes.push(b'\n');
        bytes.extend_from_slice(&self.bytes[self.start..]);
        self.bytes = bytes;
        (self.start, self.scanned) = (start, start);
    }

    /// The buffer with all that waits, for whoever frees it.
    pub fn into_buffer(self) -> Vec<u8> {
        self.bytes
    }

    /// Drops the unfinished line, with what is still to come of it.
    pub fn skip_line(&mut self) {
        *self = Pending {
            skipping: true,
            ..Pending::default()
        };
    }

    /// Whether there is nothing to remember of what came so far.
    pub fn is_idle(&self) -> bool {
        self.waiting() == 0 && !self.skipping
    }

    /// Bytes that are waiting.
    pub fn waiting(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Memory held, in bytes.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8]) -> Vec<Vec<u8>> {
        let (mut rest, mut scratch, mut found) = (input, Vec::new(), Vec::new());
        while let Some((line, used)) = next_line(rest, &mut scratch) {
            found.push(line.to_vec());
            rest = &rest[used..];
        }
        found
    }

    const STREAM: &[u8] = b"one\r\ntwo\n\r\n\nwi\rth\r\r\ncr\r\r\r\n\xff\x00\n=\nunfinished";

    fn expected() -> Vec<Vec<u8>> {
        [
            &b"one"[..],
            b"two",
            b"",
            b"",
            b"with",
            b"cr",
            b"\xff\x00",
            b"=",
        ]
        .map(<[u8]>::to_vec)
        .to_vec()
    }

    #[test]
    fn lines_end_in_lf_and_lose_every_cr() {
        assert_eq!(lines(STREAM), expected());
    }

    #[test]
    fn pending_finds_the_same_lines_however_the_stream_is_cut() {
        for first in 0..STREAM.len() {
            for second in first..STREAM.len() {
                let (mut pending, mut found) = (Pending::default(), Vec::new());
                for piece in [&STREAM[..first], &STREAM[first..second], &STREAM[second..]] {
                    pending.push(piece);
                    while let Some(line) = pending.next_line() {
                        found.push(line.to_vec());
                    }
                }
                assert_eq!(found, expected(), "cut at {first} and {second}");
                assert_eq!(pending.waiting(), b"unfinished".len());
            }
        }
    }

    #[test]
    fn a_line_put_back_comes_again() {
        let mut pending = Pending::default();
        pending.push(b"one\r\ntwo\nthr");
        assert_eq!(pending.next_line(), Some(&b"one"[..]));
        pending.put_back(3);
        pending.push(b"ee\n");
        for line in [&b"one"[..], b"two", b"three"] {
            assert_eq!(pending.next_line(), Some(line));
        }
    }

    #[test]
    fn a_line_that_is_taken_and_put_back_comes_again() {
        let (reclaim, _reclaimed) = std::sync::mpsc::channel();
        let mut pending = Pending::default();
        pending.push(b"one\ntwo\nthree\nfo");
        assert_eq!(pending.next_line(), Some(&b"one"[..]));
        assert_eq!(pending.next_line(), Some(&b"two"[..]));
        let line = pending.take_line(3, reclaim.clone());
        assert_eq!(&line[..], b"two");
        assert_eq!(pending.waiting(), b"three\nfo".len());
        pending.put_back_line(line);
        pending.push(b"ur\n");
        assert_eq!(pending.next_line(), Some(&b"two"[..]));
        drop(pending.take_line(3, reclaim));
        for line in [&b"three"[..], b"four"] {
            assert_eq!(pending.next_line(), Some(line));
        }
        assert!(pending.is_idle());
    }

    #[test]
    fn a_skipped_line_is_dropped_up_to_its_end() {
        let mut pending = Pending::default();
        pending.push(b"much too lo");
        assert_eq!(pending.next_line(), None);
        pending.skip_line();
        assert!(!pending.is_idle());
        pending.push(b"ng to be ");
        pending.push(b"kept\nnext\n");
        assert_eq!(pending.next_line(), Some(&b"next"[..]));
        assert!(pending.is_idle());
    }

    #[test]
    fn carriage_returns_alone_take_no_memory() {
        let mut pending = Pending::default();
        for _ in 0..1000 {
            pending.push(&[b'\r'; 1000]);
        }
        assert!(pending.is_idle());
        assert_eq!(pending.capacity(), 0);
    }
}
