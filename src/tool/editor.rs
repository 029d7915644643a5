//! An editor for one line of text, fed with the bytes that a terminal sends for keys. No I/O.

use super::printer::printable;
use unicode_width::UnicodeWidthChar;

/// The result of a key that ends the line or the input.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// Enter was pressed; this is the text of the line.
    Line(String),
    /// Ctrl-C was pressed, or Ctrl-D in an empty line.
    End,
}

#[derive(Default)]
pub struct Editor {
    text: String,
    /// The first bytes of a UTF-8 character whose other bytes have not arrived.
    unfinished: Vec<u8>,
    escape: Escape,
}

/// The position in an escape sequence, by which terminals report keys such as arrows.
#[derive(Default, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    /// After ESC.
    Begun,
    /// After ESC and `[` or `O`.
    Inside,
}

impl Editor {
    /// Processes bytes from the terminal. Returns the ended lines, in their order.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        for byte in bytes {
            match (&self.escape, byte) {
                // Arrows and function keys have no effect.
                (Escape::Begun, b'[' | b'O') => self.escape = Escape::Inside,
                (Escape::Begun, _) => self.escape = Escape::None,
                (Escape::Inside, 0x40..=0x7e) => self.escape = Escape::None,
                (Escape::Inside, _) => {}
                (Escape::None, _) => events.extend(self.key(*byte)),
            }
        }
        events
    }

    fn key(&mut self, byte: u8) -> Option<Event> {
        const INTERRUPT: u8 = 0x03;
        const END: u8 = 0x04;
        const KILL_LINE: u8 = 0x15;
        const KILL_WORD: u8 = 0x17;
        match byte {
            b'\r' | b'\n' => return Some(Event::Line(std::mem::take(&mut self.text))),
            INTERRUPT => return Some(Event::End),
            END if self.text.is_empty() => return Some(Event::End),
            KILL_LINE => self.text.clear(),
            KILL_WORD => {
                let kept = self.text.trim_end().trim_end_matches(|c: char| c != ' ');
                self.text.truncate(kept.len());
            }
            0x08 | 0x7f => {
                self.text.pop();
            }
            0x1b => self.escape = Escape::Begun,
            0x00..=0x1f => {}
            byte => {
                self.unfinished.push(byte);
                match str::from_utf8(&self.unfinished) {
                    Ok(text) => self.text.push_str(text),
                    // The other bytes of the character may still arrive.
                    Err(error) if error.error_len().is_none() => return None,
                    Err(_) => {}
                }
                self.unfinished.clear();
            }
        }
        None
    }

    /// The end of the typed text, as much of it as fits into so many columns. Control characters, which pasted text may
    /// hold, are escaped.
    pub fn tail(&self, columns: usize) -> String {
        let shown = printable(self.text.as_bytes());
        let mut left = columns;
        let mut start = shown.len();
        for (index, character) in shown.char_indices().rev() {
            match left.checked_sub(character.width().unwrap_or(0)) {
                Some(rest) => (left, start) = (rest, index),
                None => break,
            }
        }
        shown[start..].to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_make_lines_however_they_are_cut() {
        let keys = "héx\x7fl\x1b[D\x1bOHlo wörld€\x08\x17x\x15 \x01€\u{1F600}\rnext\r";
        let expected = [
            Event::Line(" €\u{1F600}".to_owned()),
            Event::Line("next".to_owned()),
        ];
        let mut editor = Editor::default();
        assert_eq!(editor.feed(keys.as_bytes()), expected);
        let mut editor = Editor::default();
        let events: Vec<Event> = keys.bytes().flat_map(|byte| editor.feed(&[byte])).collect();
        assert_eq!(events, expected);
        editor.feed(b"two words");
        editor.feed(b"\x17");
        assert_eq!(editor.tail(80), "two ");
        editor.feed(b"\xff\x04ok");
        assert_eq!(editor.tail(80), "two ok");
        assert_eq!(editor.feed(b"\x03"), [Event::End]);
        assert_eq!(Editor::default().feed(b"\x04"), [Event::End]);
    }

    #[test]
    fn what_is_too_long_shows_its_end() {
        let mut editor = Editor::default();
        editor.feed("abc漢字".as_bytes());
        for (columns, tail) in [(7, "abc漢字"), (6, "bc漢字"), (3, "字"), (1, ""), (0, "")] {
            assert_eq!(editor.tail(columns), tail);
        }
    }

    #[test]
    fn pasted_control_characters_are_shown_as_escapes() {
        let mut editor = Editor::default();
        editor.feed("a\u{9b}2J\u{202e}b".as_bytes());
        assert_eq!(editor.tail(80), "a\\x9b2J\\u{202e}b");
        assert_eq!(editor.tail(4), "02e}b"[1..]);
    }
}
