//! From the bytes of a terminal to keys. No I/O.
//!
//! The event reader of crossterm is not used: it has a poll of its own, which does not wait for the signals of
//! [`super::super::unix_signals`] and for the server, and it reads without end from a terminal that is gone.

/// A key that means something to the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    Letter(char),
    Escape,
    Next,
    Previous,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    Interrupt,
    Suspend,
    Redraw,
}

/// Splits bytes into keys, wherever a read has cut them.
#[derive(Debug, Default)]
pub struct Keys {
    /// The beginning of a sequence that begins with ESC.
    pending: Vec<u8>,
}

const ESC: u8 = 0x1b;
/// The longest sequence of a key. Longer ones are none.
const MAX_SEQUENCE: usize = 16;

impl Keys {
    /// Processes bytes and returns the keys that they complete.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Key> {
        let mut keys = Vec::new();
        for &byte in bytes {
            self.pending.push(byte);
            keys.extend(self.complete());
        }
        keys
    }

    /// Returns true if a sequence has begun. If nothing follows it for a moment, it is the key Escape.
    pub fn is_unfinished(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Ends an unfinished sequence: nothing has followed it.
    pub fn finish(&mut self) -> Option<Key> {
        let pending = std::mem::take(&mut self.pending);
        (pending == [ESC]).then_some(Key::Escape)
    }

    fn complete(&mut self) -> Option<Key> {
        let key = match self.pending[..] {
            [ESC] | [ESC, b'[' | b'O'] => return None,
            [ESC, ESC] => {
                self.pending.pop();
                return Some(Key::Escape);
            }
            [ESC, b'[', .., 0x40..=0x7e] | [ESC, b'O', _] => sequence(&self.pending[2..]),
            [ESC, b'[', ..] if self.pending.len() < MAX_SEQUENCE => return None,
            [byte] => single(byte),
            _ => None,
        };
        self.pending.clear();
        key
    }
}

/// The key of one byte.
fn single(byte: u8) -> Option<Key> {
    Some(match byte {
        0x03 => Key::Interrupt,
        0x09 => Key::Next,
        0x0c => Key::Redraw,
        0x1a => Key::Suspend,
        b' '..=b'~' => Key::Letter(char::from(byte)),
        _ => return None,
    })
}

/// The key of a sequence, by what follows `ESC [` or `ESC O`.
fn sequence(rest: &[u8]) -> Option<Key> {
    Some(match rest {
        b"A" => Key::Up,
        b"B" => Key::Down,
        b"C" => Key::Next,
        b"D" | b"Z" => Key::Previous,
        b"H" | b"1~" | b"7~" => Key::Home,
        b"F" | b"4~" | b"8~" => Key::End,
        b"5~" => Key::PageUp,
        b"6~" => Key::PageDown,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_however_they_are_cut() {
        let bytes = b"q\x1b[A\x1bOB\x1b[6~\x1b[1;5C\x1bx\xc3\xa9\t\x1b[Z\x03\x1a\x0c7";
        let expected = [
            Key::Letter('q'),
            Key::Up,
            Key::Down,
            Key::PageDown,
            Key::Next,
            Key::Previous,
            Key::Interrupt,
            Key::Suspend,
            Key::Redraw,
            Key::Letter('7'),
        ];
        assert_eq!(Keys::default().feed(bytes), expected);
        let mut keys = Keys::default();
        let cut: Vec<Key> = bytes.iter().flat_map(|byte| keys.feed(&[*byte])).collect();
        assert_eq!(cut, expected);
        assert!(!keys.is_unfinished());
    }

    #[test]
    fn an_escape_is_a_key_if_nothing_follows() {
        let mut keys = Keys::default();
        assert_eq!(keys.feed(b"\x1b"), []);
        assert!(keys.is_unfinished());
        assert_eq!(keys.finish(), Some(Key::Escape));
        assert_eq!(keys.feed(b"\x1b\x1b[B"), [Key::Escape, Key::Down]);
        assert_eq!(keys.feed(b"\x1b["), []);
        assert_eq!(keys.finish(), None);
        // A sequence without end ends.
        assert_eq!(
            keys.feed(b"\x1b[11111111111111111q").last(),
            Some(&Key::Letter('q'))
        );
    }
}
