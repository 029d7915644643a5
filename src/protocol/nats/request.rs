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
        Head::of_words(verb, &words, count)
    }

    #[inline(always)]
    fn of_words(verb: Verb, words: &[&'a [u8]; MOST_WORDS], count: usize) -> Option<Head<'a>> {
        let sizes = match verb {
            Verb::HPub => 2,
            _ => 1,
        };
        let reply = match count.checked_sub(sizes)? {
            1 => None,
            2 => Some(words[1]),
            _ => return None,
        };
        let total = size(words[count - 1])?;
        let header_size = match verb {
            Verb::HPub => size(words[count - 2])?,
            _ => 0,
        };
        (header_size <= total).then_some(Head {
            subject: words[0],
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
    /// Finds verb, words and end of the line in one pass: most of what clients send is this.
    #[inline(always)]
    pub(super) fn of(input: &'a [u8]) -> Option<PublishLine<'a>> {
        let (verb, mut place) = match input {
            [b'P' | b'p', b'U' | b'u', b'B' | b'b', b' ', ..] => (Verb::Pub, 3),
            [b'H' | b'h', b'P' | b'p', b'U' | b'u', b'B' | b'b', b' ', ..] => (Verb::HPub, 4),
            _ => return None,
        };
        // Arguments that may be too long are not usual.
        let searched = &input[..input.len().min(MAX_ARGUMENTS)];
        let (mut words, mut count) = ([&b""[..]; MOST_WORDS], 0);
        let mut start = place;
        let end = loop {
            let byte = *searched.get(place)?;
            // Other control bytes are parts of words.
            if byte > b' ' || !matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                place += 1;
                continue;
            }
            if start < place {
                *words.get_mut(count)? = &searched[start..place];
                count += 1;
            }
            if !is_blank(byte) {
                break place;
            }
            place += 1;
            start = place;
        };
        let end_length = match (input[end], input.get(end + 1)) {
            (b'\n', _) => 1,
            (_, Some(b'\n')) => 2,
            _ => return None,
        };
        Some(PublishLine {
            verb,
            head: Head::of_words(verb, &words, count)?,
            length: end + end_length,
        })
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
