//! Where frames end: a line ends in LF, and a block has the length that its line announces.

use super::login;
use super::number;
use super::words::{Words, split, split_frame};
use crate::protocol::framing::Unfinished;
use memchr::memchr;

/// The longest unfinished line that may wait, in bytes; lines that name many keys may be longer.
const MAX_UNFINISHED_LINE: usize = 2048;

/// CR LF behind a block.
const BLOCK_END: usize = 2;

/// The facts of a connection that decide where its frames end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub is_logged_in: bool,
    /// The longest value that can be stored, in bytes. Longer blocks are not part of a frame.
    pub max_value: usize,
    /// The longest unfinished line that names many keys, in bytes.
    pub max_line: usize,
}

/// The start of a stream of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next<'a> {
    /// A line with its end, and the block behind it with its own.
    Frame(&'a [u8]),
    /// A line with its end, whose block is too large to be stored. The block, of so many bytes with its end, is to be
    /// dropped as it comes. The line is answered after that.
    Oversized(&'a [u8], usize),
    Unfinished(Unfinished),
}

/// Finds the first frame of `input`, of which something may be known from before.
pub fn next(input: &[u8], known: Unfinished, limits: Limits) -> Next<'_> {
    if known.length.is_some_and(|length| input.len() < length) {
        return Next::Unfinished(known);
    }
    let unsearched = input.get(known.scanned..).unwrap_or_default();
    let Some(end) = memchr(b'\n', unsearched) else {
        return Next::Unfinished(Unfinished {
            scanned: input.len(),
            length: None,
        });
    };
    let line = &input[..known.scanned + end + 1];
    let (text, _) = split_frame(line);
    let block = match limits.is_logged_in {
        true => announced(text),
        false => login::announced(text),
    };
    let Some(block) = block else {
        return Next::Frame(line);
    };
    if limits.is_logged_in && block > limits.max_value {
        return Next::Oversized(line, block + BLOCK_END);
    }
    let length = line.len() + block + BLOCK_END;
    match input.get(..length) {
        Some(frame) => Next::Frame(frame),
        // The end of the line is found again when the block is there.
        None => Next::Unfinished(Unfinished {
            scanned: known.scanned,
            length: Some(length),
        }),
    }
}

/// How long an unfinished line that begins with `start` may be, in bytes.
pub fn max_unfinished_line(start: &[u8], limits: Limits) -> usize {
    let names_many = [&b"get "[..], b"gets ", b"gat ", b"gats "];
    match names_many.iter().any(|command| start.starts_with(command)) {
        true => limits.max_line,
        false => MAX_UNFINISHED_LINE,
    }
}

/// Reports whether a connection that begins so speaks the binary protocol.
pub fn is_binary(start: &[u8]) -> bool {
    start.first() == Some(&0x80)
}

/// The length of the block behind a line, in bytes without the end; `None` if there is no block.
fn announced(line: &[u8]) -> Option<usize> {
    let (command, mut words) = split(line);
    match command {
        b"set" | b"add" | b"replace" | b"append" | b"prepend" | b"cas" => {
            number::length(words.nth(3)?)
        }
        b"ms" => {
            let length = number::length(words.nth(1)?)?;
            are_flags(words).then_some(length)
        }
        _ => None,
    }
}

/// Reports whether all words begin as flags of meta commands may.
pub fn are_flags(mut words: Words<'_>) -> bool {
    words.all(|word| matches!(word.first(), Some(b'A'..=b'z' | b'0'..=b'9')))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        is_logged_in: true,
        max_value: 9,
        max_line: 10_000,
    };

    /// A buffer as a connection has: it keeps what is unfinished, and drops oversized blocks.
    #[derive(Default)]
    struct Buffer {
        bytes: Vec<u8>,
        known: Unfinished,
        to_drop: usize,
    }

    impl Buffer {
        fn push(&mut self, piece: &[u8], limits: Limits, frames: &mut Vec<Vec<u8>>) {
            self.bytes.extend_from_slice(piece);
            loop {
                let dropped = self.to_drop.min(self.bytes.len());
                self.bytes.drain(..dropped);
                self.to_drop -= dropped;
                let (frame, to_drop) = match next(&self.bytes, self.known, limits) {
                    Next::Frame(frame) => (frame.to_vec(), 0),
                    Next::Oversized(line, block) => (line.to_vec(), block),
                    Next::Unfinished(known) => {
                        self.known = known;
                        return;
                    }
                };
                self.bytes.drain(..frame.len());
                (self.known, self.to_drop) = (Unfinished::default(), to_drop);
                frames.push(frame);
            }
        }
    }

    fn frames<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limits: Limits) -> Vec<String> {
        let (mut buffer, mut found) = (Buffer::default(), Vec::new());
        for piece in pieces {
            buffer.push(piece, limits, &mut found);
        }
        let shown = found.iter().map(|frame| frame.escape_ascii().to_string());
        shown.collect()
    }

    /// The frames of a stream, whole, cut in two at every byte, and byte by byte.
    #[track_caller]
    fn check(stream: &[u8], limits: Limits, expected: &[&str]) {
        assert_eq!(frames([stream], limits), expected);
        for cut in 0..stream.len() {
            let (first, second) = stream.split_at(cut);
            assert_eq!(frames([first, second], limits), expected, "cut at {cut}");
        }
        assert_eq!(frames(stream.chunks(1), limits), expected);
    }

    #[test]
    fn a_block_belongs_to_its_line() {
        check(b"mn\r\nget k\n\n", LIMITS, &[r"mn\r\n", r"get k\n", r"\n"]);
        let stream = b"set k 0 0 3\r\na\nb\r\nms k 1 c\nx\r\nmn\r\n";
        let expected = [r"set k 0 0 3\r\na\nb\r\n", r"ms k 1 c\nx\r\n", r"mn\r\n"];
        check(stream, LIMITS, &expected);
        check(
            b"cas k 0 0 0 1\r\n\r\n",
            LIMITS,
            &[r"cas k 0 0 0 1\r\n\r\n"],
        );
        let stream = b"set k 0 0 1 noreply \r\nx\r\nmn\r\n";
        check(
            stream,
            LIMITS,
            &[r"set k 0 0 1 noreply \r\nx\r\n", r"mn\r\n"],
        );
    }

    #[test]
    fn a_block_may_end_wrongly() {
        let stream = b"set k 0 0 3\r\nabcde\r\nmn\r\n";
        check(
            stream,
            LIMITS,
            &[r"set k 0 0 3\r\nabcde", r"\r\n", r"mn\r\n"],
        );
        check(b"set k 0 0 1\nx\nq", LIMITS, &[r"set k 0 0 1\nx\nq"]);
    }

    #[test]
    fn a_line_with_a_wrong_length_has_no_block() {
        for line in [
            "set k 0 0 -1",
            "set k 0 0 x noreply",
            "set k 0 0",
            "set k 0 0 2147483646",
            "ms k S1",
            "ms k",
            "ms k 1 !",
            "ms k 1 c {",
            "mg k 1",
            " set k 0 0 1",
            "SET k 0 0 1",
        ] {
            let stream = format!("{line}\r\nx\r\n");
            let expected = [format!(r"{line}\r\n"), r"x\r\n".to_owned()];
            check(stream.as_bytes(), LIMITS, &[&expected[0], &expected[1]]);
        }
    }

    #[test]
    fn a_line_with_another_error_has_its_block() {
        let long = "k".repeat(251);
        for line in [
            &format!("set {long} 0 0 1"),
            "set k a 0 1",
            "set k 0 a 1",
            "cas k 0 0 1",
            "cas k 0 0 1 x",
            "ms k 1 C",
            "ms k 1 a a",
            &format!("ms {long} 1"),
        ] {
            let stream = format!("{line}\r\nx\r\nmn\r\n");
            let expected = [format!(r"{line}\r\nx\r\n"), r"mn\r\n".to_owned()];
            check(stream.as_bytes(), LIMITS, &[&expected[0], &expected[1]]);
        }
    }

    #[test]
    fn an_oversized_block_is_dropped() {
        let stream = b"set k 0 0 10\r\n0123456789xxmn\r\nset k 0 0 9\r\n012345678\r\n";
        let expected = [
            r"set k 0 0 10\r\n",
            r"mn\r\n",
            r"set k 0 0 9\r\n012345678\r\n",
        ];
        check(stream, LIMITS, &expected);
    }

    #[test]
    fn before_the_login_set_alone_has_a_block() {
        let limits = Limits {
            is_logged_in: false,
            ..LIMITS
        };
        check(
            b"set _ _ _ 11 x\r\nuser a pass\r\nadd k 0 0 1\r\nset a 0 0 4097\r\nx\n",
            limits,
            &[
                r"set _ _ _ 11 x\r\nuser a pass\r\n",
                r"add k 0 0 1\r\n",
                r"set a 0 0 4097\r\n",
                r"x\n",
            ],
        );
    }

    #[test]
    fn lines_of_many_keys_may_be_longer() {
        for start in ["get k", "gets k", "gat 0 k", "gats 0 k"] {
            assert_eq!(max_unfinished_line(start.as_bytes(), LIMITS), 10_000);
        }
        for start in ["get", "getx k", "mg k", "GET k"] {
            assert_eq!(max_unfinished_line(start.as_bytes(), LIMITS), 2048);
        }
        assert!(is_binary(b"\x80\x01") && !is_binary(b"") && !is_binary(b"get"));
    }
}
