//! Commands, decoded from frames. A request borrows from its frame.

use super::error::Error;
use super::framing::{Line, MAX_ARGUMENTS, Verb, begins_login, is_blank, kept_of_tail};

/// A frame with the command that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    pub bytes: &'a [u8],
    pub request: Request<'a>,
}

impl<'a> Frame<'a> {
    pub fn of(bytes: &'a [u8]) -> Frame<'a> {
        Frame {
            bytes,
            request: decode(bytes),
        }
    }

    /// A frame where a login is needed and did not happen yet.
    pub fn before_login(bytes: &'a [u8]) -> Frame<'a> {
        Frame {
            bytes,
            request: decode_before_login(bytes),
        }
    }

    /// The control line, without its end.
    pub fn line(&self) -> &'a [u8] {
        let end = memchr::memchr(b'\n', self.bytes).unwrap_or(self.bytes.len());
        let line = &self.bytes[..end];
        line.strip_suffix(b"\r").unwrap_or(line)
    }
}

/// A frame, decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request<'a> {
    Publish(Publish<'a>),
    /// A PUB or HPUB whose payload does not end in CR LF.
    Cut(Begun<'a>),
    Subscribe(Subscribe<'a>),
    Unsubscribe(Unsubscribe<'a>),
    Ping,
    Pong,
    /// The text of CONNECT; see [`Options`](super::connect::Options).
    Connect(&'a [u8]),
    /// INFO or +OK: ignored.
    Ignored,
    /// The text of the client's `-ERR`: the connection is closed.
    PeerError(&'a [u8]),
    Wrong(Error),
}

impl<'a> Request<'a> {
    /// The subject or pattern that the request is about.
    pub fn subject(&self) -> Option<&'a [u8]> {
        match self {
            Request::Publish(publish) => Some(publish.subject),
            Request::Cut(begun) => Some(begun.subject),
            Request::Subscribe(subscribe) => Some(subscribe.pattern),
            _ => None,
        }
    }
}

/// PUB or HPUB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publish<'a> {
    pub subject: &'a [u8],
    pub reply: Option<&'a [u8]>,
    /// It was HPUB, which says how long the header block is.
    pub has_header_size: bool,
    /// The header block, unless it is empty.
    pub header: Option<&'a [u8]>,
    pub payload: &'a [u8],
}

/// The line of a PUB or HPUB, of which the payload is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begun<'a> {
    pub subject: &'a [u8],
    /// It was HPUB.
    pub has_header_size: bool,
    /// Bytes of header and payload.
    pub size: usize,
}

/// SUB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscribe<'a> {
    pub pattern: &'a [u8],
    pub group: Option<&'a [u8]>,
    pub sid: &'a [u8],
}

/// UNSUB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    pub sid: &'a [u8],
    /// The subscription ends after so many messages; `None`: at once.
    pub max: Option<u32>,
}

/// The command that a frame is.
pub fn decode(frame: &[u8]) -> Request<'_> {
    if let Some(line) = PublishLine::of(frame) {
        return line.head.request(line.verb, &frame[line.length..]);
    }
    if kept_of_tail(frame).is_some() {
        return match frame.get(1).map(u8::to_ascii_uppercase) {
            Some(b'I') => Request::Ping,
            // Of PONG.
            Some(b'O') if frame[0] != b'+' => Request::Pong,
            _ => Request::Ignored,
        };
    }
    match Line::of(frame, 0) {
        Line::Whole {
            verb,
            arguments,
            length,
        } => of_line(verb, arguments, &frame[length..]).unwrap_or_else(Request::Wrong),
        Line::Wrong(error, _) => Request::Wrong(error),
        // No frame is.
        Line::Unfinished => Request::Wrong(Error::Form),
    }
}

/// The command that a frame is where a login is needed and did not happen yet.
pub fn decode_before_login(frame: &[u8]) -> Request<'_> {
    match frame.first() {
        Some(&first) if begins_login(first) => decode(frame),
        _ => Request::Wrong(Error::Authorization),
    }
}

fn of_line<'a>(verb: Verb, arguments: &'a [u8], block: &'a [u8]) -> Result<Request<'a>, Error> {
    Ok(match verb {
        Verb::Pub | Verb::HPub => {
            let head = Head::of(verb, arguments).ok_or(Error::Form)?;
            head.request(verb, block)
        }
        Verb::Sub => Request::Subscribe(subscribe(arguments).ok_or(Error::Form)?),
        Verb::Unsub => Request::Unsubscribe(unsubscribe(arguments).ok_or(Error::Form)?),
        Verb::Connect => Request::Connect(arguments),
        Verb::Err => Request::PeerError(arguments),
        Verb::Ping => Request::Ping,
        Verb::Pong => Request::Pong,
        Verb::Info | Verb::Ok => Request::Ignored,
    })
}

fn subscribe(arguments: &[u8]) -> Option<Subscribe<'_>> {
    let (words, count) = split(arguments)?;
    let (group, sid) = match count {
        2 => (None, words[1]),
        3 => (Some(words[1]), words[2]),
        _ => return None,
    };
    Some(Subscribe {
        pattern: words[0],
        group,
        sid,
    })
}

fn unsubscribe(arguments: &[u8]) -> Option<Unsubscribe<'_>> {
    let (words, count) = split(arguments)?;
    let max = match count {
        1 => None,
        2 => size(words[1]).filter(|max| *max > 0),
        _ => return None,
    };
    Some(Unsubscribe { sid: words[0], max })
}

/// The line of PUB or HPUB.
#[derive(Debug, PartialEq, Eq)]
struct Head<'a> {
    subject: &'a [u8],
    reply: Option<&'a [u8]>,
    header_size: usize,
    /// Bytes of header and payload.
    size: usize,
}

impl<'a> Head<'a> {
    fn begun(&self, verb: Verb) -> Begun<'a> {
        Begun {
            subject: self.subject,
            has_header_size: verb == Verb::HPub,
            size: self.size,
        }
    }

    /// The command with the block behind its line.
    fn request(&self, verb: Verb, block: &'a [u8]) -> Request<'a> {
        let block = block.strip_suffix(b"\r\n");
        let block = block.filter(|block| block.len() == self.size);
        let parts = block.and_then(|block| block.split_at_checked(self.header_size));
        let Some((header, payload)) = parts else {
            return Request::Cut(self.begun(verb));
        };
        Request::Publish(Publish {
            subject: self.subject,
            reply: self.reply,
            has_header_size: verb == Verb::HPub,
            header: (!header.is_empty()).then_some(header),
            payload,
        })
    }

    fn of(verb: Verb, arguments: &'a [u8]) -> Option<Head<'a>> {
        let (words, count) = split(arguments)?;
        let sizes = match verb {
            Verb::HPub => 2,
            _ => 1,
        };
        let reply = match count.checked_sub(sizes)? {
            1 => None,
            2 => Some(words[1]),
            _ => return None,
        };
        let header_size = (verb == Verb::HPub).then_some(words[count - sizes]);
        Head::of_words(words[0], reply, header_size, words[count - 1])
    }

    #[inline(always)]
    fn of_words(
        subject: &'a [u8],
        reply: Option<&'a [u8]>,
        header_size: Option<&'a [u8]>,
        total: &'a [u8],
    ) -> Option<Head<'a>> {
        let total = size(total)?;
        let header_size = match header_size {
            Some(word) => size(word)?,
            None => 0,
        };
        (header_size <= total).then_some(Head {
            subject,
            reply,
            header_size: header_size as usize,
            size: total as usize,
        })
    }
}

/// The whole line of a PUB or HPUB in the usual form. All others are read by [`Line`], which would read this one alike.
pub(super) struct PublishLine<'a> {
    verb: Verb,
    head: Head<'a>,
    /// The length of the line with its end.
    length: usize,
}

impl<'a> PublishLine<'a> {
    /// Finds words and end of the line in one pass, if single blanks separate the words: most of what clients send is this.
    #[inline(always)]
    pub(super) fn of(input: &'a [u8]) -> Option<PublishLine<'a>> {
        let (verb, mut start) = match input {
            [b'P' | b'p', b'U' | b'u', b'B' | b'b', b' ', ..] => (Verb::Pub, 4),
            [b'H' | b'h', b'P' | b'p', b'U' | b'u', b'B' | b'b', b' ', ..] => (Verb::HPub, 5),
            _ => return None,
        };
        // Arguments that may be too long are not usual.
        let searched = &input[..input.len().min(MAX_ARGUMENTS)];
        // A word, and the byte behind it.
        let mut next = || {
            let end = word_end(searched, start)?;
            let word = searched.get(start..end)?;
            start = end + 1;
            (!word.is_empty()).then_some((word, *searched.get(end)?))
        };
        let (subject, _) = next().filter(|(_, end)| *end == b' ')?;
        let (mut size, mut end) = next()?;
        let (mut header_size, mut reply) = (None, None);
        if verb == Verb::HPub && end == b' ' {
            header_size = Some(size);
            (size, end) = next()?;
        }
        if end == b' ' {
            reply = header_size.or(Some(size));
            header_size = header_size.map(|_| size);
            (size, end) = next()?;
        }
        let length = match (end, input.get(start)) {
            (b'\r', Some(b'\n')) => start + 1,
            (b'\n', _) => start,
            _ => return None,
        };
        let is_whole = (verb == Verb::HPub) == header_size.is_some();
        let head = Head::of_words(subject, reply, header_size, size)?;
        is_whole.then_some(PublishLine { verb, head, length })
    }

    /// The length of the frame without the CR LF behind its payload.
    pub(super) fn frame_length(&self) -> usize {
        self.length + self.head.size
    }
}

/// How many bytes of header and payload follow a line, if it is one of PUB or HPUB in the right form.
pub(super) fn announced(verb: Verb, arguments: &[u8]) -> Option<usize> {
    match verb {
        Verb::Pub | Verb::HPub => Head::of(verb, arguments).map(|head| head.size),
        _ => None,
    }
}

/// The line of a PUB or HPUB whose payload has not come yet. `None`: it is no such line, or not complete.
pub fn begun_publish(start: &[u8]) -> Option<Begun<'_>> {
    let Line::Whole {
        verb: verb @ (Verb::Pub | Verb::HPub),
        arguments,
        ..
    } = Line::of(start, 0)
    else {
        return None;
    };
    Some(Head::of(verb, arguments)?.begun(verb))
}

/// The place of the first blank or control byte from `start` on. Eight bytes are looked at in one step.
#[inline(always)]
fn word_end(input: &[u8], start: usize) -> Option<usize> {
    const STEP: usize = size_of::<u64>();
    const FIRST_OF_WORDS: u64 = u64::from_le_bytes([b' ' + 1; STEP]);
    const HIGH_BITS: u64 = u64::from_le_bytes([0x80; STEP]);
    let mut place = start;
    while let Some(bytes) = input.get(place..)?.first_chunk::<STEP>() {
        let bytes = u64::from_le_bytes(*bytes);
        // The lowest of these bits is right; those above it may come of the borrow.
        let ends = bytes.wrapping_sub(FIRST_OF_WORDS) & !bytes & HIGH_BITS;
        if ends != 0 {
            return Some(place + (ends.trailing_zeros() / u8::BITS) as usize);
        }
        place += STEP;
    }
    let found = input.get(place..)?.iter().position(|byte| *byte <= b' ')?;
    Some(place + found)
}

/// HPUB has so many arguments at most.
const MOST_WORDS: usize = 4;

/// The arguments of a line and how many there are; `None` if there are too many for every command.
fn split(arguments: &[u8]) -> Option<([&[u8]; MOST_WORDS], usize)> {
    let words = arguments.split(|byte| is_blank(*byte));
    let (mut found, mut count) = ([&b""[..]; MOST_WORDS], 0);
    for word in words.filter(|word| !word.is_empty()) {
        *found.get_mut(count)? = word;
        count += 1;
    }
    Some((found, count))
}

/// A number of one to nine digits.
fn size(word: &[u8]) -> Option<u32> {
    const MOST_DIGITS: usize = 9;
    if word.is_empty() || word.len() > MOST_DIGITS {
        return None;
    }
    word.iter().try_fold(0, |number, byte| {
        byte.is_ascii_digit()
            .then(|| number * 10 + u32::from(byte - b'0'))
    })
}

#[cfg(test)]
mod tests;
