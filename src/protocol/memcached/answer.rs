//! Answers: bytes that are appended to a connection's output.

use super::meta::{MetaFlags, append_key};
use crate::protocol::encode::{line, text};
use std::fmt::Display;
use std::io::Write;

/// The facts of an entry that meta commands may return.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Facts<'a> {
    pub key: &'a [u8],
    /// The key is sent in base64.
    pub in_base64: bool,
    pub cas: u64,
    pub client_flags: u32,
    pub length: usize,
    /// Seconds until the expiry, rounded up.
    pub ttl_s: Option<u64>,
    /// Seconds since the last use, rounded down.
    pub idle_s: u64,
    pub was_used: bool,
}

/// The flags that an answer returns, if the request has them.
pub mod returned {
    pub const BY_HIT: &[u8] = b"cfhklOst";
    pub const BY_STORE: &[u8] = b"Okcs";
    pub const BY_COUNT: &[u8] = b"ctOk";
    pub const OTHERWISE: &[u8] = b"Ok";
}

/// The part of a client in renewing an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Renewal {
    #[default]
    None,
    Won,
    WonStale,
    /// The entry is stale, and this client may not renew it.
    Stale,
    Taken,
    TakenStale,
}

impl Renewal {
    fn text(self) -> &'static [u8] {
        match self {
            Renewal::None => b"",
            Renewal::Won => b" W",
            Renewal::WonStale => b" X W",
            Renewal::Stale => b" X",
            Renewal::Taken => b" Z",
            Renewal::TakenStale => b" Z X",
        }
    }
}

/// Appends the line before the value of an entry.
pub fn value_line(to: &mut Vec<u8>, key: &[u8], flags: u32, length: usize, cas: Option<u64>) {
    to.extend_from_slice(b"VALUE ");
    to.extend_from_slice(key);
    match cas {
        Some(cas) => text(to, format_args!(" {flags} {length} {cas}")),
        None => text(to, format_args!(" {flags} {length}")),
    }
}

/// Appends the first line of the answer to a meta command: `VA` if a value follows, which has that length, otherwise
/// `code`; and those flags of the request that are `returned`, in its order.
pub fn meta(
    to: &mut Vec<u8>,
    code: &str,
    value_length: Option<usize>,
    (flags, returned): (&MetaFlags<'_>, &[u8]),
    facts: &Facts<'_>,
    renewal: Renewal,
) {
    match value_length {
        Some(length) => append(to, format_args!("VA {length}")),
        None => to.extend_from_slice(code.as_bytes()),
    }
    for &letter in flags.letters() {
        if returned.contains(&letter) {
            meta_flag(to, letter, flags.opaque, facts);
        }
    }
    line(to, &[renewal.text()]);
}

fn meta_flag(to: &mut Vec<u8>, letter: u8, opaque: &[u8], facts: &Facts<'_>) {
    to.extend_from_slice(&[b' ', letter]);
    match letter {
        b'c' => append(to, facts.cas),
        b'f' => append(to, facts.client_flags),
        b'h' => append(to, u8::from(facts.was_used)),
        b'k' => meta_key(to, facts),
        b'l' => append(to, facts.idle_s),
        b'O' => to.extend_from_slice(opaque),
        b's' => append(to, facts.length),
        b't' => match facts.ttl_s {
            Some(ttl_s) => append(to, ttl_s),
            None => to.extend_from_slice(b"-1"),
        },
        _ => {}
    }
}

fn meta_key(to: &mut Vec<u8>, facts: &Facts<'_>) {
    if facts.in_base64 {
        append_key(to, facts.key);
        to.extend_from_slice(b" b");
    } else {
        to.extend_from_slice(facts.key);
    }
}

/// Appends the answer to `me`; `size` is the memory of the entry in bytes.
pub fn meta_debug(to: &mut Vec<u8>, facts: &Facts<'_>, size: usize) {
    to.extend_from_slice(b"ME ");
    match facts.in_base64 {
        true => append_key(to, facts.key),
        false => to.extend_from_slice(facts.key),
    }
    to.extend_from_slice(b" exp=");
    match facts.ttl_s {
        Some(ttl_s) => append(to, ttl_s),
        None => to.extend_from_slice(b"-1"),
    }
    let (idle_s, cas, fetch) = (facts.idle_s, facts.cas, yes_or_no(facts.was_used));
    text(
        to,
        format_args!(" la={idle_s} cas={cas} fetch={fetch} cls=1 size={size}"),
    );
}

/// An entry in a dump. Times are unix times in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dumped<'a> {
    pub key: &'a [u8],
    /// Rounded up.
    pub expiry_s: Option<u64>,
    pub used_s: u64,
    pub cas: u64,
    pub was_used: bool,
    /// Memory in bytes.
    pub size: usize,
    pub client_flags: u32,
}

/// Appends a line of `lru_crawler metadump`.
pub fn metadump(to: &mut Vec<u8>, entry: &Dumped<'_>) {
    to.extend_from_slice(b"key=");
    percent_encoded(to, entry.key);
    to.extend_from_slice(b" exp=");
    match entry.expiry_s {
        Some(expiry_s) => append(to, expiry_s),
        None => to.extend_from_slice(b"-1"),
    }
    let (used_s, cas, fetch) = (entry.used_s, entry.cas, yes_or_no(entry.was_used));
    let (size, flags) = (entry.size, entry.client_flags);
    append(
        to,
        format_args!(" la={used_s} cas={cas} fetch={fetch} cls=1 size={size} flags={flags} \n"),
    );
}

/// Appends a line of `lru_crawler mgdump`.
pub fn mgdump(to: &mut Vec<u8>, key: &[u8], in_base64: bool) {
    to.extend_from_slice(b"mg ");
    if in_base64 {
        append_key(to, key);
        line(to, &[b" b"]);
    } else {
        line(to, &[key]);
    }
}

/// Appends a line of `stats cachedump`. An expiry of 0 is none.
pub fn cachedump(to: &mut Vec<u8>, key: &[u8], length: usize, expiry_s: u64) {
    to.extend_from_slice(b"ITEM ");
    to.extend_from_slice(key);
    text(to, format_args!(" [{length} b; {expiry_s} s]"));
}

/// Appends one line of statistics.
pub fn stat(to: &mut Vec<u8>, name: impl Display, value: impl Display) {
    text(to, format_args!("STAT {name} {value}"));
}

/// Reports whether a key can't be a word.
pub fn needs_base64(key: &[u8]) -> bool {
    key.iter().any(|byte| matches!(byte, b' ' | b'\r' | b'\n'))
}

/// Appends every byte but letters, digits, `-`, `.`, `_` and `~` as `%XX`.
pub fn percent_encoded(to: &mut Vec<u8>, key: &[u8]) {
    for &byte in key {
        match byte {
            b'-' | b'.' | b'_' | b'~' => to.push(byte),
            _ if byte.is_ascii_alphanumeric() => to.push(byte),
            _ => append(to, format_args!("%{byte:02X}")),
        }
    }
}

fn yes_or_no(is: bool) -> &'static str {
    match is {
        true => "yes",
        false => "no",
    }
}

fn append(to: &mut Vec<u8>, shown: impl Display) {
    write!(to, "{shown}").expect("a Vec takes every write");
}

#[cfg(test)]
mod tests {
    use super::super::meta::{Meta, Verb};
    use super::super::words::Words;
    use super::returned::{BY_COUNT, BY_HIT, BY_STORE, OTHERWISE};
    use super::*;

    const FACTS: Facts<'_> = Facts {
        key: b"k",
        in_base64: false,
        cas: 92,
        client_flags: 5,
        length: 1,
        ttl_s: None,
        idle_s: 0,
        was_used: false,
    };

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut to = Vec::new();
        write(&mut to);
        to.escape_ascii().to_string()
    }

    #[test]
    fn a_line_announces_a_value() {
        let answer = written(|to| value_line(to, b"k", 16, 2, None));
        assert_eq!(answer, r"VALUE k 16 2\r\n");
        let answer = written(|to| value_line(to, b"k", 0, 0, Some(7)));
        assert_eq!(answer, r"VALUE k 0 0 7\r\n");
    }

    const BASE64: Facts<'_> = Facts {
        key: b"foo",
        in_base64: true,
        ttl_s: Some(30),
        was_used: true,
        ..FACTS
    };

    type Row = (
        &'static str,
        Option<&'static str>,
        &'static str,
        &'static [u8],
        Facts<'static>,
        Renewal,
        &'static str,
    );

    const ROWS: &[Row] = &[
        (
            "HD",
            Some("5"),
            "s v t f c k O1 h l",
            BY_HIT,
            FACTS,
            Renewal::None,
            r"VA 1 s1 t-1 f5 c92 kk O1 h0 l0\r\n",
        ),
        (
            "EN",
            None,
            "k O1 v",
            OTHERWISE,
            FACTS,
            Renewal::None,
            r"EN kk O1\r\n",
        ),
        (
            "EN",
            None,
            "O1 k t c",
            OTHERWISE,
            FACTS,
            Renewal::None,
            r"EN O1 kk\r\n",
        ),
        (
            "HD",
            None,
            "b k c q",
            BY_STORE,
            BASE64,
            Renewal::None,
            r"HD kZm9v b c92\r\n",
        ),
        (
            "HD",
            None,
            "t h",
            BY_HIT,
            BASE64,
            Renewal::Won,
            r"HD t30 h1 W\r\n",
        ),
        ("HD", None, "", BY_HIT, FACTS, Renewal::None, r"HD\r\n"),
        (
            "HD",
            None,
            "",
            BY_HIT,
            FACTS,
            Renewal::WonStale,
            r"HD X W\r\n",
        ),
        ("HD", None, "", BY_HIT, FACTS, Renewal::Stale, r"HD X\r\n"),
        ("HD", None, "", BY_HIT, FACTS, Renewal::Taken, r"HD Z\r\n"),
        (
            "HD",
            None,
            "",
            BY_HIT,
            FACTS,
            Renewal::TakenStale,
            r"HD Z X\r\n",
        ),
        (
            "HD",
            Some("13"),
            "N30 v t k",
            BY_COUNT,
            FACTS,
            Renewal::None,
            r"VA 2 t-1 kk\r\n",
        ),
    ];

    #[test]
    fn flags_are_returned_in_the_order_of_the_request() {
        for &(code, value, words, letters, facts, renewal, expected) in ROWS {
            let (key, words) = (&b"Zm9v"[..], Words::new(words.as_bytes()));
            let verb = Verb::Get;
            let flags = Meta { verb, key, words }.flags().expect("flags");
            let length = value.map(str::len);
            let answer = written(|to| meta(to, code, length, (&flags, letters), &facts, renewal));
            assert_eq!(answer, expected);
        }
    }

    #[test]
    fn dumps_have_a_line_for_each_entry() {
        let mut entry = Dumped {
            key: b"a%b=c",
            expiry_s: None,
            used_s: 1_795_886_368,
            cas: 1_795_886_368_123_456,
            was_used: false,
            size: 66,
            client_flags: 0,
        };
        assert_eq!(
            written(|to| metadump(to, &entry)),
            r"key=a%25b%3Dc exp=-1 la=1795886368 cas=1795886368123456 fetch=no cls=1 size=66 flags=0 \n"
        );
        (entry.key, entry.expiry_s, entry.was_used) = (b"-._~\xff", Some(9), true);
        let shown = written(|to| metadump(to, &entry));
        assert!(shown.starts_with("key=-._~%FF exp=9 ") && shown.contains("fetch=yes"));
        assert_eq!(written(|to| mgdump(to, b"k", false)), r"mg k\r\n");
        assert_eq!(written(|to| mgdump(to, b"foo", true)), r"mg Zm9v b\r\n");
        let item = written(|to| cachedump(to, b"k", 5, 0));
        assert_eq!(item, r"ITEM k [5 b; 0 s]\r\n");
        assert!(needs_base64(b"a b") && needs_base64(b"\r") && needs_base64(b"\n"));
        assert!(!needs_base64(b"a\tb\0"));
    }

    #[test]
    fn an_entry_is_described_by_me_and_a_figure_by_stat() {
        let answer = written(|to| meta_debug(to, &FACTS, 66));
        assert_eq!(
            answer,
            r"ME k exp=-1 la=0 cas=92 fetch=no cls=1 size=66\r\n"
        );
        let facts = Facts {
            key: b"foo",
            in_base64: true,
            ttl_s: Some(3),
            ..FACTS
        };
        let answer = written(|to| meta_debug(to, &facts, 66));
        assert!(answer.starts_with("ME Zm9v exp=3 la=0"));
        assert_eq!(written(|to| stat(to, "threads", 1)), r"STAT threads 1\r\n");
    }
}
