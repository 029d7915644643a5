//! From a line to a command. Permissions and effects belong to the broker.

use super::pattern;
use crate::limits::{CENTURY_S, KIB, MAX_SECONDS_LENGTH, SECOND_US};
use std::fmt;

/// A line in the right form, borrowed from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command<'a> {
    /// `CLACKS text`: who the client says it is.
    Clacks(&'a [u8]),
    ClearCache,
    ClientDisconnect(&'a [u8]),
    ClientList,
    Decrement(Counter<'a>),
    Expire(Expire<'a>),
    Flush(&'a [u8]),
    Increment(Counter<'a>),
    /// `KEYINFO` or `KEYINFO prefix`; the prefix may be empty.
    KeyInfo(&'a [u8]),
    KeyList,
    KeySync(KeySync<'a>),
    Listen(&'a [u8]),
    Monitor,
    NoPing,
    Nop,
    Notify(&'a [u8]),
    /// `None`: a part is missing, or no known flag is in it; such a line is ignored.
    Overhead(Option<Overhead<'a>>),
    Ping,
    /// `PLISTEN pattern`.
    ListenToPattern(&'a [u8]),
    /// `PUNLISTEN pattern`.
    UnlistenToPattern(&'a [u8]),
    Quit,
    Remove(&'a [u8]),
    Retrieve(&'a [u8]),
    Set(Pair<'a>),
    SetAndStore(Pair<'a>),
    /// `STATUS`, `STATUS list`.
    Status(StatusList),
    Store(Pair<'a>),
    Ttl(&'a [u8]),
    Unlisten(&'a [u8]),
    Unmonitor,
}

/// The part of the status that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusList {
    /// All figures.
    Figures,
    Clients,
    Links,
    /// The names that come most often in requests, and the largest entries.
    Names,
    /// Slow requests.
    Slow,
}

/// `name=value`, split at the first `=`; the name is not empty, the value may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair<'a> {
    pub name: &'a [u8],
    pub value: &'a [u8],
}

/// `name` or `name=step`, split at the last `=`; there is none in the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counter<'a> {
    pub name: &'a [u8],
    /// As written; `None` means 1.
    pub step: Option<&'a [u8]>,
}

/// `name=seconds`, split at the last `=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expire<'a> {
    pub name: &'a [u8],
    /// The time from now to the expiry; `None`: the entry never expires.
    pub after_us: Option<u64>,
}

/// `KEYSYNC cachetime accesstime mode name=value`. The times are checked by whoever uses them: a wrong one is logged,
/// not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeySync<'a> {
    /// All behind the verb.
    text: &'a [u8],
    /// The places of the blanks that separate the parts. Kept instead of the parts, because this largest of the
    /// commands would make all others large.
    blanks: [u32; 3],
}

impl<'a> KeySync<'a> {
    /// `None` if a part is missing or empty, or the last one is no pair.
    fn parse(text: &'a [u8]) -> Option<KeySync<'a>> {
        let mut places = memchr::memchr_iter(b' ', text).map(|place| place as u32);
        let blanks = [places.next()?, places.next()?, places.next()?];
        let key_sync = KeySync { text, blanks };
        let words = [
            key_sync.cache_time(),
            key_sync.access_time(),
            key_sync.mode(),
        ];
        let is_whole = words.iter().all(|word| !word.is_empty());
        is_whole.then_some(())?;
        pair(key_sync.last()).map(|_| key_sync)
    }

    pub fn cache_time(&self) -> &'a [u8] {
        &self.text[..self.blanks[0] as usize]
    }

    pub fn access_time(&self) -> &'a [u8] {
        &self.text[self.blanks[0] as usize + 1..self.blanks[1] as usize]
    }

    pub fn mode(&self) -> &'a [u8] {
        &self.text[self.blanks[1] as usize + 1..self.blanks[2] as usize]
    }

    pub fn entry(&self) -> Pair<'a> {
        pair(self.last()).expect("it was a pair when it was parsed")
    }

    fn last(&self) -> &'a [u8] {
        &self.text[self.blanks[2] as usize + 1..]
    }
}

/// `OVERHEAD flags value`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overhead<'a> {
    /// The known ones; they are set, whatever the value.
    pub flags: Flags,
    pub value: &'a [u8],
}

impl Overhead<'_> {
    /// Reports whether the value turns the flags on: every value but `0` does.
    pub fn is_on(&self) -> bool {
        self.value != b"0"
    }
}

/// A set of OVERHEAD's single-letter flags (clacks-protocol(7), OVERHEAD).
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(u32);

impl Flags {
    pub const LOGIN: Flags = Flags::letter(b'A');
    pub const CLOSE_ALL: Flags = Flags::letter(b'C');
    pub const DISCARD: Flags = Flags::letter(b'D');
    pub const ERROR: Flags = Flags::letter(b'E');
    pub const LOGIN_WRONG: Flags = Flags::letter(b'F');
    pub const FORWARD: Flags = Flags::letter(b'G');
    pub const INTERCLACKS: Flags = Flags::letter(b'I');
    pub const LOCK: Flags = Flags::letter(b'L');
    pub const INFORMAL: Flags = Flags::letter(b'M');
    pub const NOT_MONITORED: Flags = Flags::letter(b'N');
    pub const LOGIN_RIGHT: Flags = Flags::letter(b'O');
    pub const SHUTDOWN: Flags = Flags::letter(b'S');
    pub const TIME: Flags = Flags::letter(b'T');
    pub const BACK_TO_SENDER: Flags = Flags::letter(b'U');

    const KNOWN: Flags = Flags::LOGIN
        .with(Flags::CLOSE_ALL)
        .with(Flags::DISCARD)
        .with(Flags::ERROR)
        .with(Flags::LOGIN_WRONG)
        .with(Flags::FORWARD)
        .with(Flags::INTERCLACKS)
        .with(Flags::LOCK)
        .with(Flags::INFORMAL)
        .with(Flags::NOT_MONITORED)
        .with(Flags::LOGIN_RIGHT)
        .with(Flags::SHUTDOWN)
        .with(Flags::TIME)
        .with(Flags::BACK_TO_SENDER);

    const fn letter(letter: u8) -> Flags {
        Flags(1 << (letter - b'A'))
    }

    /// The known flags among `letters`, in whatever order; the others are dropped.
    pub fn parse(letters: &[u8]) -> Flags {
        let named = letters.iter().filter(|letter| letter.is_ascii_uppercase());
        let all = named.fold(Flags::default(), |set, &letter| {
            set.with(Flags::letter(letter))
        });
        Flags(all.0 & Flags::KNOWN.0)
    }

    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    pub const fn without(self, other: Flags) -> Flags {
        Flags(self.0 & !other.0)
    }

    /// Reports whether any flag of `other` is set.
    pub const fn intersects(self, other: Flags) -> bool {
        self.0 & other.0 != 0
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The letters, sorted.
    pub fn letters(self) -> impl Iterator<Item = u8> {
        (b'A'..=b'Z').filter(move |&letter| self.intersects(Flags::letter(letter)))
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.letters()
            .try_for_each(|letter| write!(f, "{}", letter as char))
    }
}

/// CLIENTDISCONNECT.
const LONGEST_VERB: usize = 16;

/// The command that `line` (without its end, without CR) is; `None` if it is none in the right form.
pub fn decode(line: &[u8]) -> Option<Command<'_>> {
    // The usual ones are recognised without a search for the end of the verb.
    if let Some(rest) = line.strip_prefix(b"RETRIEVE ") {
        return not_empty(rest).map(Command::Retrieve);
    }
    if let Some(rest) = line.strip_prefix(b"SET ") {
        return pair(rest).map(Command::Set);
    }
    if let Some(rest) = line.strip_prefix(b"STORE ") {
        return pair(rest).map(Command::Store);
    }
    decode_other(line)
}

fn decode_other(line: &[u8]) -> Option<Command<'_>> {
    // A verb is so short that a search for many bytes at once would take longer.
    let start = &line[..line.len().min(LONGEST_VERB + 1)];
    let (verb, rest) = match start.iter().position(|byte| *byte == b' ') {
        Some(blank) => (&line[..blank], Some(&line[blank + 1..])),
        None => (line, None),
    };
    Some(match verb {
        b"NOTIFY" => Command::Notify(rest?),
        b"INCREMENT" => Command::Increment(counter(rest?)?),
        b"DECREMENT" => Command::Decrement(counter(rest?)?),
        b"SETANDSTORE" => Command::SetAndStore(pair(rest?)?),
        b"EXPIRE" => Command::Expire(expire(rest?)?),
        b"TTL" => Command::Ttl(not_empty(rest?)?),
        b"REMOVE" => Command::Remove(not_empty(rest?)?),
        b"LISTEN" => Command::Listen(rest?),
        b"UNLISTEN" => Command::Unlisten(rest?),
        b"PLISTEN" => Command::ListenToPattern(valid_pattern(rest?)?),
        b"PUNLISTEN" => Command::UnlistenToPattern(valid_pattern(rest?)?),
        b"FLUSH" => Command::Flush(rest?),
        b"KEYSYNC" => Command::KeySync(KeySync::parse(rest?)?),
        b"PING" => Command::Ping,
        b"NOPING" => Command::NoPing,
        b"NOP" => Command::Nop,
        b"QUIT" => Command::Quit,
        b"CLACKS" => Command::Clacks(rest?),
        b"OVERHEAD" => Command::Overhead(overhead(rest?)),
        b"STATUS" => Command::Status(status_list(rest)?),
        b"KEYLIST" => Command::KeyList,
        b"KEYINFO" => Command::KeyInfo(rest.unwrap_or_default()),
        b"CLEARCACHE" => Command::ClearCache,
        b"MONITOR" => Command::Monitor,
        b"UNMONITOR" => Command::Unmonitor,
        b"CLIENTLIST" => Command::ClientList,
        b"CLIENTDISCONNECT" => Command::ClientDisconnect(not_empty(rest?)?),
        _ => return None,
    })
}

/// Returns the place of the first such byte, which is usually near: names are so short that a search in many bytes at once
/// takes longer than one in words.
#[inline(always)]
fn find_near(byte: u8, bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const NEAR: usize = 32;
    let mut place = 0;
    while place < NEAR
        && let Some(word) = bytes[place..].first_chunk()
    {
        // A byte of 0 for each such byte. The subtraction borrows from the sign of the first of them.
        let others = u64::from_le_bytes(*word) ^ (ONES * u64::from(byte));
        let found = others.wrapping_sub(ONES) & !others & (ONES << 7);
        if found != 0 {
            return Some(place + found.trailing_zeros() as usize / 8);
        }
        place += 8;
    }
    memchr::memchr(byte, &bytes[place..]).map(|behind| place + behind)
}

#[cold]
#[inline(never)]
fn status_list(rest: Option<&[u8]>) -> Option<StatusList> {
    Some(match rest {
        None => StatusList::Figures,
        Some(b"clients") => StatusList::Clients,
        Some(b"links") => StatusList::Links,
        Some(b"names") => StatusList::Names,
        Some(b"slow") => StatusList::Slow,
        Some(_) => return None,
    })
}

fn not_empty(bytes: &[u8]) -> Option<&[u8]> {
    (!bytes.is_empty()).then_some(bytes)
}

// The usual commands are decoded faster without the code of the rarer ones among theirs.
#[cold]
#[inline(never)]
fn valid_pattern(bytes: &[u8]) -> Option<&[u8]> {
    pattern::is_valid(bytes).then_some(bytes)
}

#[inline(always)]
pub(super) fn pair(bytes: &[u8]) -> Option<Pair<'_>> {
    let equals = find_near(b'=', bytes)?;
    let (name, value) = (not_empty(&bytes[..equals])?, &bytes[equals + 1..]);
    Some(Pair { name, value })
}

fn counter(bytes: &[u8]) -> Option<Counter<'_>> {
    let Some(equals) = find_near(b'=', bytes) else {
        return Some(Counter {
            name: not_empty(bytes)?,
            step: None,
        });
    };
    let (name, step) = (
        not_empty(&bytes[..equals])?,
        not_empty(&bytes[equals + 1..])?,
    );
    // Split at the last `=`, the name would hold this first one: no name of a counter.
    (!step.contains(&b'=')).then_some(Counter {
        name,
        step: Some(step),
    })
}

#[cold]
#[inline(never)]
fn expire(bytes: &[u8]) -> Option<Expire<'_>> {
    let equals = memchr::memrchr(b'=', bytes)?;
    let name = not_empty(&bytes[..equals])?;
    let after_us = microseconds(&bytes[equals + 1..])?;
    Some(Expire {
        name,
        after_us: (after_us > 0).then_some(after_us),
    })
}

/// Seconds in decimal digits, with a point or without. More than a century is a century; less than a microsecond, but
/// not 0, is one.
fn microseconds(seconds: &[u8]) -> Option<u64> {
    let is_decimal = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
    if seconds.len() > MAX_SECONDS_LENGTH || !seconds.iter().all(is_decimal) {
        return None;
    }
    let seconds: f64 = std::str::from_utf8(seconds).ok()?.parse().ok()?;
    let microseconds = seconds.min(CENTURY_S as f64) * SECOND_US as f64;
    Some(microseconds.ceil() as u64)
}

/// Longest word of flags that is read. There are 26 letters, and repeating one means nothing.
const MAX_FLAGS: usize = KIB;

pub(super) fn overhead(bytes: &[u8]) -> Option<Overhead<'_>> {
    let blank = memchr::memchr(b' ', bytes)?;
    if blank > MAX_FLAGS {
        return None;
    }
    let flags = Flags::parse(&bytes[..blank]);
    let value = not_empty(&bytes[blank + 1..])?;
    (!flags.is_empty()).then_some(Overhead { flags, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named<'a>(name: &'a str, value: &'a str) -> Pair<'a> {
        Pair {
            name: name.as_bytes(),
            value: value.as_bytes(),
        }
    }

    #[test]
    fn a_value_is_all_after_the_first_equals_sign() {
        assert_eq!(
            decode(b"STORE a=b=c"),
            Some(Command::Store(named("a", "b=c")))
        );
        assert_eq!(decode(b"SET a b=1"), Some(Command::Set(named("a b", "1"))));
        assert_eq!(
            decode(b"SETANDSTORE a="),
            Some(Command::SetAndStore(named("a", "")))
        );
        assert_eq!(decode(b"STORE =5"), None);
        assert_eq!(decode(b"STORE a"), None);
        assert_eq!(decode(b"STORE"), None);
    }

    #[test]
    fn a_near_byte_is_found_wherever_it_stands() {
        // A neighbour that differs in the lowest bit, and the sign bit, must not be taken for it.
        for filler in [b'<', b'=' | 0x80, 0, 0xFF] {
            for length in 0..70 {
                let mut bytes = vec![filler; length];
                assert_eq!(find_near(b'=', &bytes), None, "{length}");
                for place in (0..length).rev() {
                    bytes[place] = b'=';
                    assert_eq!(find_near(b'=', &bytes), Some(place), "{length}");
                }
            }
        }
    }

    #[test]
    fn verbs_are_whole_words_in_upper_case() {
        for line in [
            "PINGxyz", "ping", "PIN", "", " PING", "\u{fc}", "SETx a=1", "NOTIFY", "LISTEN",
        ] {
            assert_eq!(decode(line.as_bytes()), None, "{line:?}");
        }
        for line in ["PING", "PING ", "PING and more"] {
            assert_eq!(decode(line.as_bytes()), Some(Command::Ping), "{line:?}");
        }
    }

    #[test]
    fn names_that_may_be_empty() {
        assert_eq!(decode(b"LISTEN "), Some(Command::Listen(b"")));
        assert_eq!(decode(b"UNLISTEN "), Some(Command::Unlisten(b"")));
        assert_eq!(decode(b"NOTIFY "), Some(Command::Notify(b"")));
        for (line, prefix) in [("KEYINFO", ""), ("KEYINFO ", ""), ("KEYINFO a =", "a =")] {
            let key_info = Command::KeyInfo(prefix.as_bytes());
            assert_eq!(decode(line.as_bytes()), Some(key_info), "{line}");
        }
        assert_eq!(decode(b"RETRIEVE "), None);
        assert_eq!(decode(b"REMOVE "), None);
    }

    #[test]
    fn the_seconds_of_an_expiry_stand_behind_the_last_equals_sign() {
        let expire = |name: &'static str, after_us| {
            Some(Command::Expire(Expire {
                name: name.as_bytes(),
                after_us,
            }))
        };
        let century_us = CENTURY_S * SECOND_US;
        for (line, expected) in [
            ("EXPIRE a=60", expire("a", Some(60_000_000))),
            ("EXPIRE a=b=0.25", expire("a=b", Some(250_000))),
            ("EXPIRE ===1.", expire("==", Some(1_000_000))),
            ("EXPIRE a=0", expire("a", None)),
            ("EXPIRE a=0.000", expire("a", None)),
            ("EXPIRE a=.0000001", expire("a", Some(1))),
            ("EXPIRE a=99999999999", expire("a", Some(century_us))),
            ("TTL a=b c", Some(Command::Ttl(b"a=b c"))),
        ] {
            assert_eq!(decode(line.as_bytes()), expected, "{line}");
        }
        let long = format!("EXPIRE a={}", "1".repeat(MAX_SECONDS_LENGTH + 1));
        for line in [
            "EXPIRE",
            "EXPIRE a",
            "EXPIRE =5",
            "EXPIRE a=",
            "EXPIRE a=.",
            "EXPIRE a=-1",
            "EXPIRE a=+1",
            "EXPIRE a=1e5",
            "EXPIRE a=inf",
            "EXPIRE a=nan",
            "EXPIRE a= 1",
            "EXPIRE a=1.2.3",
            "TTL",
            "TTL ",
            &long,
        ] {
            assert_eq!(decode(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn patterns_are_checked() {
        let pattern: &[u8] = b"a::*::>";
        let line = b"PLISTEN a::*::>";
        assert_eq!(decode(line), Some(Command::ListenToPattern(pattern)));
        let line = b"PUNLISTEN a::*::>";
        assert_eq!(decode(line), Some(Command::UnlistenToPattern(pattern)));
        for line in [
            "PLISTEN",
            "PLISTEN ",
            "PLISTEN a*",
            "PLISTEN >::a",
            "PUNLISTEN a::",
        ] {
            assert_eq!(decode(line.as_bytes()), None, "{line:?}");
        }
    }

    #[test]
    fn counters_have_no_equals_sign_in_the_name_and_no_empty_step() {
        let counter = |name: &'static str, step: Option<&'static str>| {
            Some(Command::Increment(Counter {
                name: name.as_bytes(),
                step: step.map(str::as_bytes),
            }))
        };
        assert_eq!(decode(b"INCREMENT c"), counter("c", None));
        assert_eq!(decode(b"INCREMENT c=5"), counter("c", Some("5")));
        for line in [
            "INCREMENT c=",
            "INCREMENT a=b=5",
            "INCREMENT =5",
            "INCREMENT ",
            "INCREMENT",
        ] {
            assert_eq!(decode(line.as_bytes()), None, "{line:?}");
        }
    }

    #[test]
    fn overhead_needs_flags_and_a_value() {
        let flags = |line: &'static str| match decode(line.as_bytes()) {
            Some(Command::Overhead(overhead)) => overhead.map(|o| format!("{:?}", o.flags)),
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(
            flags("OVERHEAD UNG Terry Pratchett").as_deref(),
            Some("GNU")
        );
        assert_eq!(flags("OVERHEAD GgQ0ZG x").as_deref(), Some("G"));
        for line in [
            "OVERHEAD O",
            "OVERHEAD ",
            "OVERHEAD G ",
            "OVERHEAD Q unknown",
            "OVERHEAD  x",
        ] {
            assert_eq!(flags(line), None, "{line}");
        }
        assert_eq!(decode(b"OVERHEAD"), None);
    }

    /// Many commands are kept at once, and most are short.
    #[test]
    fn commands_are_small() {
        assert!(size_of::<Command<'_>>() <= 40);
    }

    #[test]
    fn keysync_has_four_parts() {
        let line = b"KEYSYNC 1.5 2.5 U a b=c d=e";
        let Some(Command::KeySync(key_sync)) = decode(line) else {
            panic!("it is a KEYSYNC");
        };
        assert_eq!(key_sync.cache_time(), b"1.5");
        assert_eq!(key_sync.access_time(), b"2.5");
        assert_eq!(key_sync.mode(), b"U");
        assert_eq!(key_sync.entry(), named("a b", "c d=e"));
        for line in [
            "KEYSYNC broken",
            "KEYSYNC 1 2 U a",
            "KEYSYNC 1 2 a=b",
            "KEYSYNC 1  U a=b",
        ] {
            assert_eq!(decode(line.as_bytes()), None, "{line:?}");
        }
    }
}
