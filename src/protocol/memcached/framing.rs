//! Where frames end: a line ends in LF, and a block has the length that its line announces.

use super::number;
use super::words::{Words, split, split_frame};
use memchr::memchr;

/// The longest unfinished line that may wait, in bytes; lines that name many keys may be longer.
pub const MAX_UNFINISHED_LINE: usize = 2048;

/// CR LF behind a block.
pub(super) const BLOCK_END: usize = 2;

/// The length of the block behind a line that is given without its LF, in bytes with the block's end; 0 if there is none.
pub fn block_length(line: &[u8]) -> usize {
    let (line, _) = split_frame(line);
    announced(line).map_or(0, |length| length + BLOCK_END)
}

/// The length of the block that a frame of `length` bytes in all will have, in bytes without its end, if `start` has
/// its whole line.
pub fn value_length(start: &[u8], length: usize) -> Option<usize> {
    let line = memchr(b'\n', start)? + 1;
    Some(length.saturating_sub(line + BLOCK_END))
}

/// Reports whether the unfinished line that begins with `start` names many keys, and so may be long.
pub fn names_many(start: &[u8]) -> bool {
    let names_many = [&b"get "[..], b"gets ", b"gat ", b"gats "];
    names_many.iter().any(|command| start.starts_with(command))
}

/// Reports whether a connection whose first byte is this speaks the binary protocol.
pub fn is_binary(first: u8) -> bool {
    first == 0x80
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
    use crate::protocol::framing::{Next, Unfinished};
    use crate::protocol::{Language, Pending};

    const LOGGED_IN: Language = Language::Memcached;

    /// The longest block that is kept here, in bytes.
    const MAX_VALUE: usize = 9;

    /// The frames of a stream of pieces; longer blocks are dropped as they come.
    fn frames<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, language: Language) -> Vec<String> {
        let (mut pending, mut found) = (Pending::new(language), Vec::new());
        for mut piece in pieces {
            while !piece.is_empty() {
                let taken = pending.push_to_frame(piece);
                piece = &piece[taken..];
                while !pending.is_skipping()
                    && let Some(frame) = pending.next_frame()
                {
                    found.push(frame.escape_ascii().to_string());
                }
                let value = value_length(pending.bytes(), pending.frame_length());
                if language == LOGGED_IN && !pending.is_skipping() && value > Some(MAX_VALUE) {
                    pending.skip_block();
                }
            }
        }
        found
    }

    /// The frames of a stream, whole, cut in two at every byte, and byte by byte.
    #[track_caller]
    fn check(stream: &[u8], language: Language, expected: &[&str]) {
        assert_eq!(frames([stream], language), expected);
        for cut in 0..stream.len() {
            let (first, second) = stream.split_at(cut);
            assert_eq!(frames([first, second], language), expected, "cut at {cut}");
        }
        assert_eq!(frames(stream.chunks(1), language), expected);
    }

    #[test]
    fn a_block_belongs_to_its_line() {
        check(
            b"mn\r\nget k\n\n",
            LOGGED_IN,
            &[r"mn\r\n", r"get k\n", r"\n"],
        );
        let stream = b"set k 0 0 3\r\na\nb\r\nms k 1 c\nx\r\nmn\r\n";
        let expected = [r"set k 0 0 3\r\na\nb\r\n", r"ms k 1 c\nx\r\n", r"mn\r\n"];
        check(stream, LOGGED_IN, &expected);
        check(
            b"cas k 0 0 0 1\r\n\r\n",
            LOGGED_IN,
            &[r"cas k 0 0 0 1\r\n\r\n"],
        );
        let stream = b"set k 0 0 1 noreply \r\nx\r\nmn\r\n";
        check(
            stream,
            LOGGED_IN,
            &[r"set k 0 0 1 noreply \r\nx\r\n", r"mn\r\n"],
        );
    }

    #[test]
    fn a_block_may_end_wrongly() {
        let stream = b"set k 0 0 3\r\nabcde\r\nmn\r\n";
        check(
            stream,
            LOGGED_IN,
            &[r"set k 0 0 3\r\nabcde", r"\r\n", r"mn\r\n"],
        );
        check(b"set k 0 0 1\nx\nq", LOGGED_IN, &[r"set k 0 0 1\nx\nq"]);
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
            check(stream.as_bytes(), LOGGED_IN, &[&expected[0], &expected[1]]);
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
            check(stream.as_bytes(), LOGGED_IN, &[&expected[0], &expected[1]]);
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
        check(stream, LOGGED_IN, &expected);
    }

    #[test]
    fn before_the_login_set_alone_has_a_block() {
        check(
            b"set _ _ _ 11 x\r\nuser a pass\r\nadd k 0 0 1\r\nset a 0 0 4097\r\nx\n",
            Language::MemcachedLogin,
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
            assert!(names_many(start.as_bytes()), "{start}");
        }
        for start in ["get", "getx k", "mg k", "GET k"] {
            assert!(!names_many(start.as_bytes()), "{start}");
        }
        assert!(is_binary(0x80) && !is_binary(b'g'));
    }

    #[test]
    fn a_line_whose_block_was_dropped_may_wait() {
        let mut pending = Pending::new(LOGGED_IN);
        pending.push(b"set k 0 0 20\r\n01234");
        assert_eq!(pending.next_frame(), None);
        assert_eq!(pending.missing(), 17);
        pending.skip_block();
        pending.push(b"56789");
        assert_eq!(pending.missing(), 12);
        pending.push(b"0123456789\r\nmn\r\n");
        assert_eq!(pending.missing(), 0);
        let line = b"set k 0 0 20\r\n";
        for _ in 0..2 {
            // Nothing was done about it.
            pending.advance(0, Unfinished::default());
            let known = pending.known();
            let next = LOGGED_IN.next(pending.bytes(), known);
            assert_eq!(next, Next::Frame(line, line.len()));
        }
        let (reclaim, _reclaimed) = std::sync::mpsc::channel();
        let taken = pending.take_frame(line.len(), reclaim);
        pending.put_back_frame(taken);
        assert_eq!(pending.next_frame(), Some(&line[..]));
        assert_eq!(pending.next_frame(), Some(&b"mn\r\n"[..]));
    }
}
