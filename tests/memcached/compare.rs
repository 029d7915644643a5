//! Comparison of two servers' answers to the same command. What need not be equal is replaced here, and nothing else:
//! cas numbers by how many others of the key came before; times by the seconds between the answers; versions, sizes and times of use. Of
//! numbers that were counted, memcached keeps blanks behind the digits. It counts neither counting nor making stale as a
//! change that an earlier use does not outlive.

use super::generator::KEYS;
use std::collections::BTreeMap;

/// The cas numbers of each key that a server has named, in the order in which they came.
#[derive(Default)]
pub struct Versions(BTreeMap<Vec<u8>, Vec<u64>>);

impl Versions {
    /// The number that came so many before the latest one; one that no entry has if none came.
    pub fn before_latest(&self, key: &[u8], back: usize) -> u64 {
        let known = self.0.get(key).map_or(&[][..], |known| known);
        let wanted = known.iter().rev().nth(back).or(known.first());
        wanted.copied().unwrap_or(u64::MAX)
    }

    /// The place of a number among those of its key, and whether it is new and greater than all of them.
    fn place(&mut self, key: &[u8], cas: u64) -> (usize, bool) {
        let known = self.0.entry(key.to_owned()).or_default();
        if let Some(place) = known.iter().position(|one| *one == cas) {
            return (place, false);
        }
        let is_greater = known.iter().all(|one| *one < cas);
        known.push(cas);
        (known.len() - 1, is_greater)
    }
}

/// A part of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Word(Vec<u8>),
    /// A time in seconds, which may differ by those between the answers.
    Seconds(i64),
    /// A cas, by its place among those of its key.
    Version(usize, bool),
    Value(Vec<u8>),
    /// A word that need not be equal, by its beginning.
    Masked(&'static str),
    LineEnd,
}

/// One server's answer, taken apart.
struct Reader<'a> {
    versions: &'a mut Versions,
    /// The key of the command.
    key: &'a [u8],
    parts: Vec<Part>,
}

/// The most seconds by which the times of two answers differ that were waited for one after the other.
pub const SIDE_BY_SIDE_S: i64 = 1;

/// Compares the answers of two servers to a command about that key. The answers came at most so many seconds one after
/// the other.
pub fn compare(
    key: usize,
    apart_s: i64,
    ours: (&[u8], &mut Versions),
    theirs: (&[u8], &mut Versions),
) -> Result<(), String> {
    let parts = |(answer, versions)| Reader::read(key_name(key), answer, versions);
    let (our_parts, their_parts) = (parts(ours), parts(theirs));
    let is_equal = our_parts.len() == their_parts.len()
        && our_parts.iter().zip(&their_parts).all(|pair| match pair {
            (Part::Seconds(one), Part::Seconds(other)) => {
                one == other || *one >= 0 && *other >= 0 && (one - other).abs() <= apart_s
            }
            (one, other) => one == other,
        });
    match is_equal {
        true => Ok(()),
        false => Err(format!("{our_parts:?}\nand {their_parts:?}")),
    }
}

/// The key as the server knows it.
pub fn key_name(key: usize) -> &'static [u8] {
    match KEYS[key].text {
        Some(text) => text.as_bytes(),
        None => b"a b",
    }
}

fn is_number_key(key: &[u8]) -> bool {
    KEYS.iter()
        .any(|one| one.is_number && one.text.map(str::as_bytes) == Some(key))
}

impl<'a> Reader<'a> {
    fn read(key: &'a [u8], answer: &[u8], versions: &'a mut Versions) -> Vec<Part> {
        let mut reader = Reader {
            versions,
            key,
            parts: Vec::new(),
        };
        let mut rest = answer;
        while let Some(end) = memchr::memmem::find(rest, b"\r\n") {
            let line = &rest[..end];
            rest = &rest[end + 2..];
            let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
            let length = match &words[..] {
                [b"VALUE", _, _, length, ..] | [b"VA", length, ..] => number(length),
                _ => None,
            };
            let key = match &words[..] {
                [b"VALUE", key, ..] => key,
                _ => reader.key,
            };
            reader.line(&words, key);
            if let Some(length) = length {
                let length = usize::try_from(length).expect("a short value");
                reader.value(rest.get(..length).unwrap_or(rest), key);
                rest = rest.get(length + 2..).unwrap_or_default();
            }
        }
        reader.parts.push(Part::Word(rest.to_owned()));
        reader.parts
    }

    fn line(&mut self, words: &[&[u8]], key: &[u8]) {
        match words {
            [b"VERSION", ..] => self.parts.push(Part::Masked("version")),
            [b"VALUE", name, flags, _, cas @ ..] => {
                self.words(&[b"VALUE", name, flags]);
                for cas in cas {
                    self.version(cas, key);
                }
            }
            [b"VA", _, flags @ ..] => {
                self.words(&[b"VA"]);
                self.flags(flags, key, true);
            }
            [code @ (b"HD" | b"EN" | b"NS" | b"NF" | b"EX"), flags @ ..] => {
                self.words(&[code]);
                self.flags(flags, key, *code == b"HD");
            }
            [b"ME", name, facts @ ..] => {
                self.words(&[b"ME", name]);
                facts.iter().for_each(|fact| self.fact(fact, key));
            }
            other => self.words(other),
        }
        self.parts.push(Part::LineEnd);
    }

    fn words(&mut self, words: &[&[u8]]) {
        let words = words.iter().map(|word| Part::Word(word.to_vec()));
        self.parts.extend(words);
    }

    fn version(&mut self, digits: &[u8], key: &[u8]) {
        let cas = number(digits).unwrap_or_default();
        let (place, is_greater) = self.versions.place(key, cas);
        self.parts.push(Part::Version(place, is_greater));
    }

    /// The flags that a meta command returns.
    fn flags(&mut self, flags: &[&[u8]], key: &[u8], is_there: bool) {
        let is_number = is_number_key(key);
        let is_stale = flags.contains(&&b"X"[..]);
        for flag in flags {
            match flag {
                [b'c', digits @ ..] if is_there => self.version(digits, key),
                // Newer versions say c0 where nothing is stored.
                [b'c', ..] => {}
                [b't', digits @ ..] => {
                    let seconds = str::from_utf8(digits).map(str::parse);
                    match seconds {
                        Ok(Ok(seconds)) => self.parts.push(Part::Seconds(seconds)),
                        _ => self.words(&[flag]),
                    }
                }
                [b'l', digits @ ..] if number(digits).is_some() => {
                    self.parts.push(Part::Masked("l"));
                }
                [b's', ..] if is_number => self.parts.push(Part::Masked("s")),
                [b'h', ..] if is_number || is_stale => self.parts.push(Part::Masked("h")),
                _ => self.words(&[flag]),
            }
        }
    }

    /// A word of the answer to `me`.
    fn fact(&mut self, fact: &[u8], key: &[u8]) {
        match fact {
            [b'c', b'a', b's', b'=', digits @ ..] => self.version(digits, key),
            // 1.6.18 shows the time that is left as a negative number.
            [b'e', b'x', b'p', b'=', ..] => self.parts.push(Part::Masked("exp")),
            [b'l', b'a', b'=', ..] => self.parts.push(Part::Masked("la")),
            [b'c', b'l', b's', b'=', ..] => self.parts.push(Part::Masked("cls")),
            [b's', b'i', b'z', b'e', b'=', ..] => self.parts.push(Part::Masked("size")),
            [b'f', b'e', b't', b'c', b'h', b'=', ..] => self.parts.push(Part::Masked("fetch")),
            _ => self.words(&[fact]),
        }
    }

    fn value(&mut self, value: &[u8], key: &[u8]) {
        let value = match is_number_key(key) {
            true => value.trim_ascii_end(),
            false => value,
        };
        self.parts.push(Part::Value(value.to_owned()));
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    str::from_utf8(digits).ok()?.parse().ok()
}

#[test]
fn the_comparison_knows_what_need_not_be_equal() {
    let number = KEYS.iter().position(|key| key.is_number).expect("one");
    let text = 0;
    for (key, one, other) in [
        (text, "HD c7 t30 l4\r\n", "HD c9000 t29 l0\r\n"),
        (
            text,
            "VALUE a 1 1 5\r\nx\r\nEND\r\n",
            "VALUE a 1 1 6\r\nx\r\nEND\r\n",
        ),
        (text, "NS c0 O1\r\n", "NS O1\r\n"),
        (text, "HD h0 X W\r\n", "HD h1 X W\r\n"),
        (text, "VERSION 1\r\n", "VERSION 2\r\n"),
        (number, "VA 1 s1 h0\r\n9\r\n", "VA 2 s2 h1\r\n9 \r\n"),
    ] {
        let equal = compare(
            key,
            SIDE_BY_SIDE_S,
            (one.as_bytes(), &mut Versions::default()),
            (other.as_bytes(), &mut Versions::default()),
        );
        assert_eq!(equal, Ok(()), "{one} {other}");
    }
}

#[test]
fn the_comparison_notices_everything_else() {
    for (one, other) in [
        ("STORED\r\n", "NOT_STORED\r\n"),
        ("STORED\r\n", ""),
        ("STORED\r\n", "STORED\r\nEND\r\n"),
        ("HD t30\r\n", "HD t28\r\n"),
        ("HD t-1\r\n", "HD t0\r\n"),
        ("HD t-1\r\n", "HD\r\n"),
        ("HD f1\r\n", "HD f2\r\n"),
        ("HD h0\r\n", "HD h1\r\n"),
        ("HD kk s1\r\n", "HD s1 kk\r\n"),
        ("HD W\r\n", "HD Z\r\n"),
        ("HD c7\r\nHD c7\r\n", "HD c7\r\nHD c8\r\n"),
        ("HD c7\r\nHD c8\r\n", "HD c8\r\nHD c7\r\n"),
        ("VA 1\r\nx\r\n", "VA 1\r\ny\r\n"),
        ("VA 1\r\n9\r\n", "VA 2\r\n9 \r\n"),
        ("VALUE a 1 1\r\nx\r\nEND\r\n", "VALUE a 2 1\r\nx\r\nEND\r\n"),
        ("VALUE a 1 1\r\nx\r\nEND\r\n", "VALUE b 1 1\r\nx\r\nEND\r\n"),
        (
            "VALUE a 1 1 5\r\nx\r\nEND\r\n",
            "VALUE a 1 1\r\nx\r\nEND\r\n",
        ),
        ("5\r\n", "6\r\n"),
        ("5\r\n", "5\n"),
    ] {
        let equal = compare(
            0,
            SIDE_BY_SIDE_S,
            (one.as_bytes(), &mut Versions::default()),
            (other.as_bytes(), &mut Versions::default()),
        );
        assert!(equal.is_err(), "{one} {other}");
    }
}
