//! The bytes that a server sends to a NATS client, taken apart.

use memchr::memmem;

/// One thing that a server says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Frame {
    /// A line without its end: `+OK`, `PONG`, `-ERR 'text'` and others.
    Line(Vec<u8>),
    Message(Message),
}

/// MSG or HMSG.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Message {
    pub sid: Vec<u8>,
    pub subject: Vec<u8>,
    pub reply: Option<Vec<u8>>,
    /// `None`: MSG.
    pub header: Option<Vec<u8>>,
    pub payload: Vec<u8>,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let show = |bytes: &[u8]| bytes.escape_ascii().to_string();
        write!(to, "{} → {}", show(&self.subject), show(&self.sid))?;
        if let Some(reply) = &self.reply {
            write!(to, ", reply {}", show(reply))?;
        }
        if let Some(header) = &self.header {
            write!(to, ", header \"{}\"", show(header))?;
        }
        write!(to, ": \"{}\"", show(&self.payload))
    }
}

/// Takes the first frame from bytes; `None` while it is not there whole. Sizes are decimals of any form.
pub fn first(bytes: &[u8]) -> Option<(Frame, usize)> {
    let end = memmem::find(bytes, b"\r\n")?;
    let (line, after) = (&bytes[..end], end + 2);
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let Some(announced) = Announced::of(&words) else {
        return Some((Frame::Line(line.to_vec()), after));
    };
    let size = announced.size.max(announced.header_size);
    let block = bytes.get(after..after + size)?;
    let line_end = bytes.get(after + size..after + size + 2)?;
    if line_end != b"\r\n" {
        // What follows is read as lines, which no other server sends.
        return Some((Frame::Line(line.to_vec()), after));
    }
    let (header, payload) = block.split_at(announced.header_size);
    let message = Message {
        sid: announced.sid.to_vec(),
        subject: announced.subject.to_vec(),
        reply: announced.reply.map(<[u8]>::to_vec),
        header: (words[0] == b"HMSG").then(|| header.to_vec()),
        payload: payload.to_vec(),
    };
    Some((Frame::Message(message), after + size + 2))
}

/// The words of a line that announces a block.
struct Announced<'a> {
    subject: &'a [u8],
    sid: &'a [u8],
    reply: Option<&'a [u8]>,
    header_size: usize,
    size: usize,
}

impl<'a> Announced<'a> {
    fn of(words: &[&'a [u8]]) -> Option<Announced<'a>> {
        let (subject, sid, reply, header_size, size) = match *words {
            [b"MSG", subject, sid, size] => (subject, sid, None, None, size),
            [b"MSG", subject, sid, reply, size] => (subject, sid, Some(reply), None, size),
            [b"HMSG", subject, sid, header, size] => (subject, sid, None, Some(header), size),
            [b"HMSG", subject, sid, reply, header, size] => {
                (subject, sid, Some(reply), Some(header), size)
            }
            _ => return None,
        };
        Some(Announced {
            subject,
            sid,
            reply,
            header_size: match header_size {
                Some(digits) => number(digits)?,
                None => 0,
            },
            size: number(size)?,
        })
    }
}

fn number(digits: &[u8]) -> Option<usize> {
    str::from_utf8(digits).ok()?.parse().ok()
}

/// Takes all whole frames from the beginning of bytes. PING and INFO, which a server sends unasked, are dropped.
pub fn take_all(bytes: &mut Vec<u8>) -> Vec<Frame> {
    let mut frames = Vec::new();
    let mut taken = 0;
    while let Some((frame, length)) = first(&bytes[taken..]) {
        taken += length;
        if !frame.is_unasked() {
            frames.push(frame);
        }
    }
    bytes.drain(..taken);
    frames
}

/// Removes PING and INFO from bytes that begin with a frame.
pub fn drop_unasked(bytes: &mut Vec<u8>) {
    let mut place = 0;
    while let Some((frame, length)) = first(&bytes[place..]) {
        match frame.is_unasked() {
            true => drop(bytes.drain(place..place + length)),
            false => place += length,
        }
    }
}

impl Frame {
    fn is_unasked(&self) -> bool {
        matches!(self, Frame::Line(line) if line == b"PING" || line.starts_with(b"INFO "))
    }
}

#[test]
fn frames_are_read_with_their_blocks_and_only_unasked_lines_are_dropped() {
    let bytes = b"+OK\r\nMSG a.b 1 6\r\nPING\r\n\r\nPING\r\nHMSG a 2 r 4 5\r\nh\r\n\r!\r\nINFO {}\r\nPONG\r\nMSG a 1 3\r\nab";
    let message = |sid: &[u8], subject: &[u8], reply: Option<&[u8]>, header, payload: &[u8]| {
        Frame::Message(Message {
            sid: sid.to_vec(),
            subject: subject.to_vec(),
            reply: reply.map(<[u8]>::to_vec),
            header,
            payload: payload.to_vec(),
        })
    };
    let frames = [
        Frame::Line(b"+OK".to_vec()),
        message(b"1", b"a.b", None, None, b"PING\r\n"),
        message(b"2", b"a", Some(b"r"), Some(b"h\r\n\r".to_vec()), b"!"),
        Frame::Line(b"PONG".to_vec()),
    ];
    let mut rest = bytes.to_vec();
    assert_eq!(take_all(&mut rest), frames);
    assert_eq!(rest, b"MSG a 1 3\r\nab");
    let mut kept = bytes.to_vec();
    drop_unasked(&mut kept);
    assert_eq!(
        kept,
        b"+OK\r\nMSG a.b 1 6\r\nPING\r\n\r\nHMSG a 2 r 4 5\r\nh\r\n\r!\r\nPONG\r\nMSG a 1 3\r\nab"
    );
}
