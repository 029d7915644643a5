//! Frames before the login: a `set` whose block is the user, one blank and the password.

use super::framing::BLOCK_END;
use super::number;
use super::words::{split, split_frame};
use memchr::memchr;

/// The longest block of a login, in bytes.
const MAX_BLOCK: usize = 4096;

/// The shortest line that is answered before the login, in bytes: its CR counts, its LF does not.
const MIN_LINE: usize = 6;

/// A frame before the login, decoded. Not `Debug`, so that no password is printed by mistake.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Login<'a> {
    Token {
        user: &'a [u8],
        password: &'a [u8],
    },
    /// The line is `quit`: the connection is closed.
    Quit,
    /// The line is too short for an answer: the connection is closed.
    TooShort,
    Wrong(Fault),
}

/// A fault that leaves the connection open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Unauthenticated,
    TooLong,
    Termination,
    Format,
}

impl Fault {
    /// The line that tells the client, without its end.
    pub fn text(self) -> &'static str {
        match self {
            Fault::Unauthenticated => "CLIENT_ERROR unauthenticated",
            Fault::TooLong => "CLIENT_ERROR auth token too long",
            Fault::Termination => "CLIENT_ERROR bad command line termination",
            Fault::Format => "CLIENT_ERROR bad authentication token format",
        }
    }
}

/// The line that refuses a user or a password.
pub const FAILURE: &str = "CLIENT_ERROR authentication failure";

/// The length of the block behind a line that is given without its LF, in bytes with the block's end; 0 if there is none.
pub fn block_length(line: &[u8]) -> usize {
    let (line, _) = split_frame(line);
    match length(line) {
        Some(length) if length <= MAX_BLOCK => length + BLOCK_END,
        _ => 0,
    }
}

/// The length that a login line names.
fn length(line: &[u8]) -> Option<usize> {
    match split(line) {
        (b"set", mut words) => number::length(words.nth(3)?),
        _ => None,
    }
}

pub fn decode(frame: &[u8]) -> Login<'_> {
    let (line, block) = split_frame(frame);
    let length_with_cr = memchr(b'\n', frame).unwrap_or(frame.len());
    if length_with_cr < MIN_LINE {
        return match split(line) {
            (b"quit", _) => Login::Quit,
            _ => Login::TooShort,
        };
    }
    match length(line) {
        None => return Login::Wrong(Fault::Unauthenticated),
        Some(length) if length > MAX_BLOCK => return Login::Wrong(Fault::TooLong),
        Some(_) => {}
    }
    let Some(token) = block.strip_suffix(b"\r\n") else {
        return Login::Wrong(Fault::Termination);
    };
    match memchr(b' ', token) {
        Some(blank) => Login::Token {
            user: &token[..blank],
            password: &token[blank + 1..],
        },
        None => Login::Wrong(Fault::Format),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_a_set_of_user_and_password() {
        let is = |frame, user, password| decode(frame) == Login::Token { user, password };
        assert!(is(b"set _ _ _ 9\r\nuser pass\r\n", b"user", b"pass"));
        assert!(is(b"set k 0 0 7 x y\nu a  b \r\n", b"u", b"a  b "));
        assert!(is(b"set k 0 0 1\r\n \r\n", b"", b""));
    }

    #[test]
    fn other_frames_are_refused() {
        for (frame, expected) in [
            ("version\r\n", Login::Wrong(Fault::Unauthenticated)),
            ("stats\r\n", Login::Wrong(Fault::Unauthenticated)),
            ("get k\r\n", Login::Wrong(Fault::Unauthenticated)),
            ("set a\r\n", Login::Wrong(Fault::Unauthenticated)),
            ("set a 0 0 x\r\n", Login::Wrong(Fault::Unauthenticated)),
            ("set a 0 0 4097\r\n", Login::Wrong(Fault::TooLong)),
            ("set a 0 0 3\r\na bcd", Login::Wrong(Fault::Termination)),
            ("set a 0 0 3\r\nabc\r\n", Login::Wrong(Fault::Format)),
            ("quit\r\n", Login::Quit),
            ("quit\n", Login::Quit),
            ("mn\r\n", Login::TooShort),
            ("mg k\r\n", Login::TooShort),
            ("get k\n", Login::TooShort),
            ("\n", Login::TooShort),
        ] {
            assert!(decode(frame.as_bytes()) == expected, "{frame:?}");
        }
    }
}
