//! From a line of a server to what it says. The counterpart of [`decode`](super::decode), for clients.

use super::command::{Overhead, Pair, overhead, pair};

/// A line that a server sends, borrowed from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply<'a> {
    /// `CLACKS text`: what the server is.
    Clacks(&'a [u8]),
    /// `CLIENT fields`, one of a CLIENTLIST.
    Client(&'a [u8]),
    ClientListEnd,
    ClientListStart,
    /// `DEBUG about=text`: what a monitor sees.
    Debug(Pair<'a>),
    Flushed(&'a [u8]),
    /// One of a KEYLIST.
    Key(&'a [u8]),
    /// `KEYINFO size age ttl name`.
    KeyInfo(KeyInfo<'a>),
    KeyInfoEnd,
    KeyInfoStart,
    KeyListEnd,
    KeyListStart,
    Nop,
    NotRetrieved(&'a [u8]),
    Notify(&'a [u8]),
    Overhead(Overhead<'a>),
    Quit,
    /// `RETRIEVED name=value`: what follows the verb. A name may contain `=`, so only who has asked knows where it ends.
    Retrieved(&'a [u8]),
    Set(Pair<'a>),
    /// `STATUS text`: a figure, or the fields of a row, of an answer to STATUS.
    Status(&'a [u8]),
    StatusEnd,
    StatusStart,
    Timeout,
    /// `TTL name=seconds`: what follows the verb.
    Ttl(&'a [u8]),
}

/// The figures of an entry, and its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyInfo<'a> {
    pub name: &'a [u8],
    /// Bytes of the value.
    pub size: u64,
    /// Seconds since the entry was last written.
    pub age_s: u64,
    /// Whole seconds to the expiry, as they stand in the line: `-1` for never.
    pub ttl: &'a [u8],
}

impl<'a> KeyInfo<'a> {
    fn parse(text: &'a [u8]) -> Option<KeyInfo<'a>> {
        let mut words = text.splitn(4, |byte| *byte == b' ');
        let (size, age, ttl) = (words.next()?, words.next()?, words.next()?);
        let number = |word| str::from_utf8(word).ok()?.parse().ok();
        Some(KeyInfo {
            name: words.next()?,
            size: number(size)?,
            age_s: number(age)?,
            ttl,
        })
    }
}

/// The part of an answer behind the name that was asked for; `None`: it is about another one.
pub fn said_of<'a>(answer: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    answer.strip_prefix(name)?.strip_prefix(b"=")
}

/// Decodes `line`, which comes without its end and without CR. Returns `None` if servers send no such line.
pub fn decode(line: &[u8]) -> Option<Reply<'_>> {
    let (word, rest) = match memchr::memchr(b' ', line) {
        Some(blank) => (&line[..blank], Some(&line[blank + 1..])),
        None => (line, None),
    };
    Some(match word {
        b"SET" => Reply::Set(pair(rest?)?),
        b"NOTIFY" => Reply::Notify(rest?),
        b"RETRIEVED" => Reply::Retrieved(rest?),
        b"NOTRETRIEVED" => Reply::NotRetrieved(rest?),
        b"FLUSHED" => Reply::Flushed(rest?),
        b"KEYLISTSTART" => Reply::KeyListStart,
        b"KEY" => Reply::Key(rest?),
        b"KEYLISTEND" => Reply::KeyListEnd,
        b"KEYINFOSTART" => Reply::KeyInfoStart,
        b"KEYINFO" => Reply::KeyInfo(KeyInfo::parse(rest?)?),
        b"KEYINFOEND" => Reply::KeyInfoEnd,
        b"CLIENTLISTSTART" => Reply::ClientListStart,
        b"CLIENT" => Reply::Client(rest?),
        b"CLIENTLISTEND" => Reply::ClientListEnd,
        b"DEBUG" => Reply::Debug(pair(rest?)?),
        b"STATUSSTART" => Reply::StatusStart,
        b"STATUS" => Reply::Status(rest?),
        b"STATUSEND" => Reply::StatusEnd,
        b"CLACKS" => Reply::Clacks(rest?),
        b"OVERHEAD" => Reply::Overhead(overhead(rest?)?),
        b"NOP" => Reply::Nop,
        b"QUIT" => Reply::Quit,
        b"TIMEOUT" => Reply::Timeout,
        b"TTL" => Reply::Ttl(rest?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Flags;

    #[test]
    fn replies_are_told_apart() {
        let pair = |name: &'static str, value: &'static str| Pair {
            name: name.as_bytes(),
            value: value.as_bytes(),
        };
        for (line, reply) in [
            ("SET a=b=c", Reply::Set(pair("a", "b=c"))),
            ("NOTIFY a b", Reply::Notify(b"a b")),
            ("RETRIEVED a=", Reply::Retrieved(b"a=")),
            ("NOTRETRIEVED a=b", Reply::NotRetrieved(b"a=b")),
            ("FLUSHED 1", Reply::Flushed(b"1")),
            ("KEYLISTSTART", Reply::KeyListStart),
            ("KEY x y", Reply::Key(b"x y")),
            ("KEYLISTEND", Reply::KeyListEnd),
            ("KEYINFOSTART", Reply::KeyInfoStart),
            (
                "KEYINFO 5 20 -1 a b",
                Reply::KeyInfo(KeyInfo {
                    name: b"a b",
                    size: 5,
                    age_s: 20,
                    ttl: b"-1",
                }),
            ),
            ("KEYINFOEND", Reply::KeyInfoEnd),
            ("CLIENTLISTSTART", Reply::ClientListStart),
            ("CLIENT CID=1;", Reply::Client(b"CID=1;")),
            ("CLIENTLISTEND", Reply::ClientListEnd),
            (
                "DEBUG 1:2:3=SET a=b",
                Reply::Debug(pair("1:2:3", "SET a=b")),
            ),
            ("STATUSSTART", Reply::StatusStart),
            ("STATUS a.b=1", Reply::Status(b"a.b=1")),
            ("STATUSEND", Reply::StatusEnd),
            ("CLACKS x", Reply::Clacks(b"x")),
            (
                "OVERHEAD E no",
                Reply::Overhead(Overhead {
                    flags: Flags::ERROR,
                    value: b"no",
                }),
            ),
            ("NOP", Reply::Nop),
            ("QUIT", Reply::Quit),
            ("TIMEOUT", Reply::Timeout),
            ("TTL a=b=-1", Reply::Ttl(b"a=b=-1")),
        ] {
            assert_eq!(decode(line.as_bytes()), Some(reply), "{line}");
        }
    }

    #[test]
    fn an_answer_is_of_the_name_that_was_asked_for() {
        assert_eq!(said_of(b"a=b=c", b"a=b"), Some(&b"c"[..]));
        assert_eq!(said_of(b"a=b=c", b"a"), Some(&b"b=c"[..]));
        assert_eq!(said_of(b"a=", b"a"), Some(&b""[..]));
        assert_eq!(said_of(b"ab=c", b"a"), None);
        assert_eq!(said_of(b"a", b"a"), None);
    }

    #[test]
    fn what_no_server_says_is_none() {
        for line in [
            "",
            "SET a",
            "RETRIEVED",
            "OVERHEAD",
            "STORE a=1",
            "set a=1",
            "KEY",
            "KEYINFO 5 20 -1",
            "KEYINFO -5 20 -1 a",
        ] {
            assert_eq!(decode(line.as_bytes()), None, "{line}");
        }
    }
}
