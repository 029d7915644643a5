//! How bytes become frames, and frames requests: the one place that knows all languages of clients. A frame is what a
//! client says at once: a line of Clacks, or in other languages a line with the block of bytes that it announces.
//!
//! A language is added with a variant of [`Language`] and one of [`Request`], and a dialect in the broker.

use super::command::{Command, decode};
#[cfg(feature = "server")]
use super::http;
use super::memcached;
#[cfg(feature = "server")]
use super::nats;
#[cfg(test)]
use super::toy;
#[cfg(feature = "server")]
use crate::limits::MAX_HTTP_HEAD;
use crate::limits::MAX_LINE_BEFORE_LOGIN;
use memchr::{memchr, memchr2};

pub use super::frame::{Next, Unfinished};

/// A language of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Language {
    #[default]
    Clacks,
    Memcached,
    /// memcached's before the login: only a login has a block.
    MemcachedLogin,
    #[cfg(feature = "server")]
    Nats,
    /// NATS's before the login, where one is needed.
    #[cfg(feature = "server")]
    NatsLogin,
    /// Each of its requests carries its login.
    #[cfg(feature = "server")]
    Http,
    #[cfg(test)]
    Toy,
}

/// A frame that was decoded, in its language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request<'a> {
    Clacks(ClacksLine<'a>),
    Memcached(memcached::Frame<'a>),
    /// A frame before the login.
    MemcachedLogin(&'a [u8]),
    #[cfg(feature = "server")]
    Nats(nats::Frame<'a>),
    #[cfg(feature = "server")]
    Http(http::Frame<'a>),
    #[cfg(test)]
    Toy(toy::Request<'a>),
}

/// A line of Clacks, without its end and without CR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClacksLine<'a> {
    pub text: &'a [u8],
    /// `None` if it is none in the right form.
    pub command: Option<Command<'a>>,
}

/// The name that a request will look up first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key<'a> {
    Entry(&'a [u8]),
    Listeners(&'a [u8]),
}

impl Language {
    /// The languages that have listeners of their own beside those of Clacks.
    #[cfg(feature = "server")]
    pub const OTHERS: [Language; 3] = [Language::Memcached, Language::Nats, Language::Http];

    /// All languages, one of each pair that stands for a language and the same before its login; in the order of their
    /// [numbers](Language::number).
    #[cfg(feature = "server")]
    pub const SPOKEN: [Language; 4] = [
        Language::Clacks,
        Language::Memcached,
        Language::Nats,
        Language::Http,
    ];

    /// The index among [`Language::SPOKEN`].
    #[cfg(feature = "server")]
    pub fn number(self) -> usize {
        match self {
            Language::Clacks => 0,
            Language::Memcached | Language::MemcachedLogin => 1,
            Language::Nats | Language::NatsLogin => 2,
            Language::Http => 3,
            #[cfg(test)]
            Language::Toy => 0,
        }
    }

    /// The word for it in flags, in names of inherited sockets and in the log.
    pub fn word(self) -> &'static str {
        match self {
            Language::Clacks => "clacks",
            Language::Memcached | Language::MemcachedLogin => "memcached",
            #[cfg(feature = "server")]
            Language::Nats | Language::NatsLogin => "nats",
            #[cfg(feature = "server")]
            Language::Http => "http",
            #[cfg(test)]
            Language::Toy => "toy",
        }
    }

    /// Reports whether the greeting comes before the TLS handshake, where there is one.
    pub fn greets_in_plain(self) -> bool {
        #[cfg(feature = "server")]
        if let Language::Nats | Language::NatsLogin = self {
            return true;
        }
        false
    }

    /// Finds the first frame of `input`, of which something may be known from before.
    ///
    /// A line of Clacks ends in LF, and every CR is dropped wherever it stands (clacks-protocol(7), CONNECTION).
    #[inline(always)]
    pub fn next(self, input: &[u8], known: Unfinished) -> Next<'_> {
        match self {
            Language::Clacks => next_line(input, known.scanned),
            Language::Memcached => next_with_block(input, known, memcached::framing::block_length),
            Language::MemcachedLogin => {
                next_with_block(input, known, memcached::login::block_length)
            }
            #[cfg(feature = "server")]
            Language::Nats => nats::framing::next(input, known),
            #[cfg(feature = "server")]
            Language::NatsLogin => nats::framing::next_before_login(input, known),
            #[cfg(feature = "server")]
            Language::Http => http::framing::next(input, known),
            #[cfg(test)]
            Language::Toy => next_with_block(input, known, toy::block_length),
        }
    }

    /// Appends the bytes of a scattered frame that belong to it.
    pub fn assemble(self, frame: &[u8], to: &mut Vec<u8>) {
        let line = frame.strip_suffix(b"\n").unwrap_or(frame);
        append_without_cr(line, to);
    }

    /// Appends input that has to wait, as it is, but for the CRs of Clacks: a stream of nothing else takes no memory.
    pub(super) fn keep(self, input: &[u8], to: &mut Vec<u8>) {
        match self {
            Language::Clacks => append_without_cr(input, to),
            _ => to.extend_from_slice(input),
        }
    }

    /// How many bytes of the end of a frame are kept behind it while it waits.
    pub(super) fn end_length(self) -> usize {
        match self {
            Language::Clacks => 1,
            _ => 0,
        }
    }

    /// How many bytes of an unfinished frame may wait before the broker is asked.
    pub fn max_unasked(self) -> usize {
        match self {
            Language::Memcached | Language::MemcachedLogin => {
                memcached::framing::MAX_UNFINISHED_LINE
            }
            // Faults of a control line are told before its payload comes.
            #[cfg(feature = "server")]
            Language::Nats => 0,
            // Its framer ends a head that is too long.
            #[cfg(feature = "server")]
            Language::Http => MAX_HTTP_HEAD + 1,
            _ => MAX_LINE_BEFORE_LOGIN,
        }
    }

    /// The request that a frame is.
    #[inline(always)]
    pub fn decode(self, frame: &[u8]) -> Request<'_> {
        match self {
            Language::Clacks => Request::Clacks(ClacksLine {
                text: frame,
                command: decode(frame),
            }),
            Language::Memcached => Request::Memcached(memcached::Frame::of(frame)),
            Language::MemcachedLogin => Request::MemcachedLogin(frame),
            #[cfg(feature = "server")]
            Language::Nats => Request::Nats(nats::Frame::of(frame)),
            #[cfg(feature = "server")]
            Language::NatsLogin => Request::Nats(nats::Frame::before_login(frame)),
            #[cfg(feature = "server")]
            Language::Http => Request::Http(http::Frame::of(frame)),
            #[cfg(test)]
            Language::Toy => Request::Toy(toy::decode(frame)),
        }
    }
}

impl<'a> Request<'a> {
    /// The length of its frame, in bytes.
    pub fn length(&self) -> usize {
        match self {
            Request::Clacks(line) => line.text.len(),
            Request::Memcached(frame) => frame.bytes.len(),
            Request::MemcachedLogin(frame) => frame.len(),
            #[cfg(feature = "server")]
            Request::Nats(frame) => frame.bytes.len(),
            #[cfg(feature = "server")]
            Request::Http(frame) => frame.length,
            #[cfg(test)]
            Request::Toy(request) => request.length(),
        }
    }

    /// The name that is looked up first; for the most usual requests only.
    pub fn key(&self) -> Option<Key<'a>> {
        match self {
            Request::Clacks(line) => match line.command? {
                Command::Retrieve(name) => Some(Key::Entry(name)),
                Command::Store(pair) => Some(Key::Entry(pair.name)),
                Command::Set(pair) => Some(Key::Listeners(pair.name)),
                Command::Notify(name) => Some(Key::Listeners(name)),
                _ => None,
            },
            Request::Memcached(frame) => frame.request.key().map(Key::Entry),
            Request::MemcachedLogin(_) => None,
            #[cfg(feature = "server")]
            Request::Nats(_) | Request::Http(_) => None,
            #[cfg(test)]
            Request::Toy(request) => request.key().map(Key::Entry),
        }
    }
}

#[inline(always)]
fn next_line(input: &[u8], scanned: usize) -> Next<'_> {
    let unfinished = Next::Unfinished(Unfinished {
        scanned: input.len(),
        length: None,
    });
    let Some(end) = memchr2(b'\r', b'\n', &input[scanned..]).map(|end| scanned + end) else {
        return unfinished;
    };
    if input[end] == b'\n' {
        return Next::Frame(&input[..end], end + 1);
    }
    if input.get(end + 1) == Some(&b'\n') {
        return Next::Frame(&input[..end], end + 2);
    }
    match memchr(b'\n', &input[end..]) {
        Some(newline) => Next::Scattered(end + newline + 1),
        None => unfinished,
    }
}

/// Finds a line with the block of bytes behind it that it announces. `block_length` reads the line, without its LF, and
/// returns how many bytes follow it, their end included.
fn next_with_block(
    input: &[u8],
    known: Unfinished,
    block_length: impl Fn(&[u8]) -> usize,
) -> Next<'_> {
    let length = match known.length {
        Some(length) => length,
        None => {
            let unsearched = input.get(known.scanned..).unwrap_or_default();
            let Some(end) = memchr(b'\n', unsearched) else {
                return Next::Unfinished(Unfinished {
                    scanned: input.len(),
                    length: None,
                });
            };
            let end = known.scanned + end;
            (end + 1).saturating_add(block_length(&input[..end]))
        }
    };
    match input.get(..length) {
        Some(frame) => Next::Frame(frame, length),
        None => Next::Unfinished(Unfinished {
            scanned: known.scanned,
            length: Some(length),
        }),
    }
}

/// Appends `bytes` to `to`, leaving out every CR.
fn append_without_cr(mut bytes: &[u8], to: &mut Vec<u8>) {
    while let Some(cr) = memchr(b'\r', bytes) {
        to.extend_from_slice(&bytes[..cr]);
        bytes = &bytes[cr + 1..];
    }
    to.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_in_lf_and_loses_the_cr_before_it() {
        let next = |input| Language::Clacks.next(input, Unfinished::default());
        assert_eq!(next(b"one\r\ntwo"), Next::Frame(b"one", 5));
        assert_eq!(next(b"one\ntwo\r\n"), Next::Frame(b"one", 4));
        assert_eq!(next(b"\n"), Next::Frame(b"", 1));
        assert_eq!(next(b"a\rb\n"), Next::Scattered(4));
        let mut assembled = Vec::new();
        Language::Clacks.assemble(b"a\rb\r\r\n", &mut assembled);
        assert_eq!(assembled, b"ab");
    }

    #[test]
    fn an_unfinished_frame_is_not_searched_again() {
        let known = |input, known| match Language::Clacks.next(input, known) {
            Next::Unfinished(unfinished) => unfinished,
            next => panic!("{next:?}"),
        };
        let first = known(b"unfin", Unfinished::default());
        assert_eq!((first.scanned, first.length), (5, None));
        let next = Language::Clacks.next(b"unfinished\n", first);
        assert_eq!(next, Next::Frame(b"unfinished", 11));
    }

    #[test]
    fn a_block_belongs_to_the_line_that_announces_it() {
        let input = b"put a 3\r\nx\ny\r\nget a\r\n";
        let mut known = Unfinished::default();
        for end in 0..14 {
            match Language::Toy.next(&input[..end], known) {
                Next::Unfinished(unfinished) => known = unfinished,
                next => panic!("{next:?} of {end} bytes"),
            }
        }
        assert_eq!(known.length, Some(14));
        let next = Language::Toy.next(input, known);
        assert_eq!(next, Next::Frame(b"put a 3\r\nx\ny\r\n", 14));
    }
}
