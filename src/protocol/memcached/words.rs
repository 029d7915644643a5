//! A command line as words.

use memchr::{memchr, memrchr};

/// Words separated by one or more blanks. Blanks at either end are ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Words<'a>(&'a [u8]);

impl<'a> Words<'a> {
    pub fn new(text: &'a [u8]) -> Words<'a> {
        Words(text)
    }

    /// All that is left of the text.
    pub fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// Reports whether the last word is `noreply`.
    pub fn end_in_noreply(&self) -> bool {
        self.before_noreply().is_some()
    }

    /// The words before a `noreply` at the end; all if there is none.
    pub fn without_noreply(self) -> Words<'a> {
        Words(self.before_noreply().unwrap_or(self.0))
    }

    fn before_noreply(&self) -> Option<&'a [u8]> {
        let end = self.0.iter().rposition(|&byte| byte != b' ')?;
        let before = self.0[..=end].strip_suffix(b"noreply")?;
        before
            .last()
            .is_none_or(|&byte| byte == b' ')
            .then_some(before)
    }

    /// Reports whether a word is longer than that. A line may have millions of words: only each blank is found that is
    /// the last one within so many bytes.
    pub fn has_longer(&self, length: usize) -> bool {
        let mut rest = self.0;
        while let Some(start) = rest.get(..=length) {
            match memrchr(b' ', start) {
                Some(blank) => rest = &rest[blank + 1..],
                None => return true,
            }
        }
        false
    }

    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|&byte| byte == b' ')
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let start = self.0.iter().position(|&byte| byte != b' ')?;
        let text = &self.0[start..];
        let (word, rest) = text.split_at(memchr(b' ', text).unwrap_or(text.len()));
        self.0 = rest;
        Some(word)
    }
}

/// The command word of a line, empty if the line begins with a blank, and the words behind it.
pub fn split(line: &[u8]) -> (&[u8], Words<'_>) {
    let (command, rest) = line.split_at(memchr(b' ', line).unwrap_or(line.len()));
    (command, Words(rest))
}

/// The line at the start of a frame, without its LF and a CR before it, and the bytes behind it.
pub fn split_frame(frame: &[u8]) -> (&[u8], &[u8]) {
    let (line, rest) = match memchr(b'\n', frame) {
        Some(end) => (&frame[..end], &frame[end + 1..]),
        None => (frame, &frame[frame.len()..]),
    };
    (line.strip_suffix(b"\r").unwrap_or(line), rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_word_decides() {
        let text = |number: u32| -> Vec<u8> {
            let bit = |place| match (number >> place) % 2 {
                0 => b' ',
                _ => b'x',
            };
            (0..12_u32).map(bit).collect()
        };
        for text in (0..1 << 12).map(text) {
            let words = Words::new(&text);
            for length in 1..14 {
                let is_there = { words }.any(|word| word.len() > length);
                assert_eq!(words.has_longer(length), is_there, "{text:?} {length}");
            }
        }
    }

    #[test]
    fn words_are_separated_by_blanks_alone() {
        let words = |line| -> Vec<&[u8]> {
            let (command, words) = split(line);
            std::iter::once(command).chain(words).collect()
        };
        assert_eq!(words(b"get a  b "), [&b"get"[..], b"a", b"b"]);
        assert_eq!(words(b" get a"), [&b""[..], b"get", b"a"]);
        assert_eq!(words(b"get\ta b\rc"), [&b"get\ta"[..], b"b\rc"]);
        assert_eq!(words(b""), [&b""[..]]);
    }

    #[test]
    fn one_cr_before_the_end_is_dropped() {
        assert_eq!(split_frame(b"get k\r\r\n"), (&b"get k\r"[..], &b""[..]));
        assert_eq!(split_frame(b"set\nx\r\n"), (&b"set"[..], &b"x\r\n"[..]));
    }

    #[test]
    fn noreply_is_the_last_word() {
        let ends = |line| split(line).1.end_in_noreply();
        assert!(ends(b"set k 0 0 1 noreply") && ends(b"foo  noreply  "));
        assert!(!ends(b"set k 0 0 1 noreply x") && !ends(b"foo xnoreply") && !ends(b"noreply"));
    }
}
