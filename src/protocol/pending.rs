//! Input of a connection that waits.

use super::framing::{Language, Next, Unfinished};
use super::shared::SharedBytes;
use memchr::memchr;
use std::sync::mpsc::Sender;

/// Bytes of a connection that are not processed yet: an unfinished frame, and frames that have to wait.
#[derive(Debug, Default)]
pub struct Pending {
    language: Language,
    bytes: Vec<u8>,
    /// Start of the first frame that is not processed. `start <= bytes.len()`.
    start: usize,
    /// The facts that are known of that frame: a long one is searched once, however many pieces it comes in.
    known: Unfinished,
    /// The length of the first frame, if that is a line whose block was dropped.
    line_alone: Option<usize>,
    skip: Skip,
}

/// The bytes that are dropped when they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Skip {
    #[default]
    Nothing,
    /// All up to the next LF.
    Line,
    /// All before the next LF.
    Tail,
    /// So many bytes.
    Bytes(usize),
}

impl Pending {
    pub fn new(language: Language) -> Pending {
        Pending {
            language,
            ..Pending::default()
        }
    }

    pub fn language(&self) -> Language {
        self.language
    }

    /// The bytes that wait are of that language from now on. To be called between two frames only.
    pub fn set_language(&mut self, language: Language) {
        self.language = language;
    }

    /// Adds bytes that came from the peer.
    pub fn push(&mut self, bytes: &[u8]) {
        let bytes = &bytes[self.skip_of(bytes)..];
        if bytes.is_empty() {
            return;
        }
        if self.start > 0 && self.start * 2 >= self.bytes.len() {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.language.keep(bytes, &mut self.bytes);
    }

    /// Adds as many bytes as belong to the unfinished frame, as far as that is known; returns how many.
    pub fn push_to_frame(&mut self, bytes: &[u8]) -> usize {
        let missing = match (self.skip, self.known.length) {
            (Skip::Bytes(length), _) => length,
            (Skip::Nothing, Some(length)) => length - self.waiting(),
            (Skip::Nothing, None) | (Skip::Line | Skip::Tail, _) => {
                memchr(b'\n', bytes).map_or(bytes.len(), |newline| newline + 1)
            }
        };
        let length = missing.min(bytes.len());
        self.push(&bytes[..length]);
        length
    }

    /// Takes note of bytes that are to be dropped; returns how many of these.
    fn skip_of(&mut self, bytes: &[u8]) -> usize {
        match self.skip {
            Skip::Nothing => 0,
            Skip::Line | Skip::Tail => match memchr(b'\n', bytes) {
                Some(newline) => {
                    let end = usize::from(self.skip == Skip::Line);
                    self.skip = Skip::Nothing;
                    newline + end
                }
                None => bytes.len(),
            },
            Skip::Bytes(length) => {
                let skipped = length.min(bytes.len());
                self.skip = match length - skipped {
                    0 => Skip::Nothing,
                    rest => Skip::Bytes(rest),
                };
                skipped
            }
        }
    }

    /// All bytes that wait, from the start of a frame.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// The facts that are known of the first frame.
    pub fn known(&self) -> Unfinished {
        match self.line_alone {
            Some(_) => Unfinished {
                scanned: 0,
                length: self.line_alone,
            },
            None => self.known,
        }
    }

    /// So many bytes of frames were processed, and of the next one so much is known.
    pub fn advance(&mut self, length: usize, known: Unfinished) {
        self.start += length;
        self.known = known;
        if length > 0 {
            self.line_alone = None;
        }
    }

    /// The next finished frame, without its end.
    pub fn next_frame(&mut self) -> Option<&[u8]> {
        let (length, frame) = match self.language.next(&self.bytes[self.start..], self.known()) {
            Next::Frame(frame, length) => (length, frame.len()),
            // No CR is kept.
            Next::Scattered(_) => return None,
            Next::Unfinished(known) => {
                self.known = known;
                return None;
            }
        };
        let start = self.start;
        self.advance(length, Unfinished::default());
        Some(&self.bytes[start..start + frame])
    }

    /// Puts the frame that [`Pending::next_frame`] has just returned back; it had `length` bytes.
    pub fn put_back(&mut self, length: usize) {
        self.start -= length + self.language.end_length();
        self.known = Unfinished::default();
    }

    /// Takes the first frame, of `length` bytes without its end, out of the buffer without copying it. The few bytes
    /// behind it are copied instead. `reclaim` gets its memory in the end.
    pub fn take_frame(&mut self, length: usize, reclaim: Sender<Vec<u8>>) -> SharedBytes {
        let (start, end) = (self.start, self.start + length);
        let rest = self.bytes[end + self.language.end_length()..].to_vec();
        let mut bytes = std::mem::replace(&mut self.bytes, rest);
        self.start = 0;
        self.known = Unfinished::default();
        self.line_alone = None;
        bytes.truncate(end);
        bytes.shrink_to_fit();
        SharedBytes::new(bytes, Some(reclaim)).slice(start, end)
    }

    /// Puts the frame that [`Pending::take_frame`] has just returned back.
    pub fn put_back_frame(&mut self, frame: SharedBytes) {
        let length = frame.len();
        // Nobody else keeps a frame of which nothing was done.
        let mut bytes = frame.into_buffer().unwrap_or_default();
        debug_assert!(bytes.len() >= length, "the frame is there");
        let start = bytes.len().saturating_sub(length);
        if self.language.end_length() > 0 {
            bytes.push(b'\n');
        }
        bytes.extend_from_slice(&self.bytes[self.start..]);
        self.bytes = bytes;
        self.start = start;
        self.known = Unfinished {
            scanned: 0,
            // A line whose block was dropped announces more than it has.
            length: (self.language.end_length() == 0).then_some(length),
        };
    }

    /// The buffer with all that waits, for whoever frees it.
    pub fn into_buffer(self) -> Vec<u8> {
        self.bytes
    }

    /// Drops the unfinished frame, with what is still to come of it.
    pub fn skip_frame(&mut self) {
        let skip = match self.known.length {
            Some(length) => Skip::Bytes(length - self.waiting()),
            None => Skip::Line,
        };
        *self = Pending {
            skip,
            ..Pending::new(self.language)
        };
    }

    /// Drops the block of the unfinished frame, with what is still to come of it. Its line is a frame after that.
    pub fn skip_block(&mut self) {
        let line = memchr(b'\n', self.bytes()).map_or(self.waiting(), |end| end + 1);
        let length = self.known.length.unwrap_or(line);
        self.skip = Skip::Bytes(length - self.waiting());
        self.bytes.truncate(self.start + line);
        self.line_alone = Some(line);
    }

    /// Drops all but the first `kept` bytes of the unfinished line, and what is still to come of it before its LF.
    pub fn skip_tail(&mut self, kept: usize) {
        self.bytes.truncate(self.start + kept);
        self.known.scanned = self.known.scanned.min(kept);
        self.skip = Skip::Tail;
    }

    /// Reports whether the next bytes that come are dropped.
    pub fn is_skipping(&self) -> bool {
        self.skip != Skip::Nothing
    }

    /// Reports whether nothing waits and nothing is to be dropped.
    pub fn is_idle(&self) -> bool {
        self.waiting() == 0 && self.skip == Skip::Nothing
    }

    /// Bytes that are waiting.
    pub fn waiting(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// The length of the frame that is still unfinished, as far as it is known.
    pub fn frame_length(&self) -> usize {
        self.waiting().max(self.known.length.unwrap_or(0))
    }

    /// The bytes that are known to be still to come of the unfinished frame.
    pub fn missing(&self) -> usize {
        match self.skip {
            Skip::Bytes(length) => length,
            _ => self
                .known()
                .length
                .map_or(0, |length| length.saturating_sub(self.waiting())),
        }
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
        let (mut rest, mut found) = (input, Vec::new());
        loop {
            let used = match Language::Clacks.next(rest, Unfinished::default()) {
                Next::Frame(line, used) => {
                    found.push(line.to_vec());
                    used
                }
                Next::Scattered(used) => {
                    let mut line = Vec::new();
                    Language::Clacks.assemble(&rest[..used], &mut line);
                    found.push(line);
                    used
                }
                Next::Unfinished(_) => return found,
            };
            rest = &rest[used..];
        }
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
                    while let Some(line) = pending.next_frame() {
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
        assert_eq!(pending.next_frame(), Some(&b"one"[..]));
        pending.put_back(3);
        pending.push(b"ee\n");
        for line in [&b"one"[..], b"two", b"three"] {
            assert_eq!(pending.next_frame(), Some(line));
        }
    }

    #[test]
    fn a_line_that_is_taken_and_put_back_comes_again() {
        let (reclaim, _reclaimed) = std::sync::mpsc::channel();
        let mut pending = Pending::default();
        pending.push(b"one\ntwo\nthree\nfo");
        assert_eq!(pending.next_frame(), Some(&b"one"[..]));
        let line = pending.take_frame(3, reclaim.clone());
        assert_eq!(&line[..], b"two");
        assert_eq!(pending.waiting(), b"three\nfo".len());
        pending.put_back_frame(line);
        pending.push(b"ur\n");
        drop(pending.take_frame(3, reclaim));
        for line in [&b"three"[..], b"four"] {
            assert_eq!(pending.next_frame(), Some(line));
        }
        assert!(pending.is_idle());
    }

    #[test]
    fn a_skipped_line_is_dropped_up_to_its_end() {
        let mut pending = Pending::default();
        pending.push(b"much too lo");
        assert_eq!(pending.next_frame(), None);
        pending.skip_frame();
        assert!(!pending.is_idle());
        pending.push(b"ng to be ");
        pending.push(b"kept\nnext\n");
        assert_eq!(pending.next_frame(), Some(&b"next"[..]));
        assert!(pending.is_idle());
    }

    #[test]
    fn a_skipped_tail_leaves_the_start_of_its_line() {
        let mut pending = Pending::default();
        pending.push(b"one\nPING and mu");
        assert_eq!(pending.next_frame(), Some(&b"one"[..]));
        assert_eq!(pending.next_frame(), None);
        pending.skip_tail(4);
        for _ in 0..1000 {
            assert_eq!(pending.push_to_frame(&[b'x'; 1000]), 1000);
            assert!(pending.is_skipping() && pending.capacity() < 100);
        }
        assert_eq!(pending.push_to_frame(b"xx\ntwo\n"), 3);
        assert!(!pending.is_skipping());
        assert_eq!(pending.next_frame(), Some(&b"PING"[..]));
        pending.push(b"two\n");
        assert_eq!(pending.next_frame(), Some(&b"two"[..]));
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
