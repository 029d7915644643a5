//! A language for tests alone: `get KEY`, answered `KEY LENGTH` and the value or `none`; and `put KEY LENGTH` with a block
//! of so many bytes, answered `ok`. Lines end in CR LF, blocks too.

/// A frame, decoded. Anything else is [`Request::Wrong`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request<'a> {
    Get(&'a [u8]),
    Put { key: &'a [u8], value: &'a [u8] },
    Wrong,
}

impl<'a> Request<'a> {
    pub fn length(&self) -> usize {
        match self {
            Request::Put { key, value } => key.len() + value.len(),
            Request::Get(key) => key.len(),
            Request::Wrong => 0,
        }
    }

    pub fn key(&self) -> Option<&'a [u8]> {
        match *self {
            Request::Get(key) | Request::Put { key, .. } => Some(key),
            Request::Wrong => None,
        }
    }
}

/// The block that follows a line, with its CR LF, in bytes.
pub fn block_length(line: &[u8]) -> usize {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    announced(line).map_or(0, |(_, length)| length.saturating_add(2))
}

fn announced(line: &[u8]) -> Option<(&[u8], usize)> {
    let rest = line.strip_prefix(b"put ")?;
    let blank = memchr::memchr(b' ', rest)?;
    let length = std::str::from_utf8(&rest[blank + 1..]).ok()?.parse().ok()?;
    Some((&rest[..blank], length))
}

pub fn decode(frame: &[u8]) -> Request<'_> {
    let end = memchr::memchr(b'\n', frame).unwrap_or(frame.len());
    let line = &frame[..end];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if let Some(key) = line.strip_prefix(b"get ") {
        return Request::Get(key);
    }
    let block = frame
        .get(end + 1..)
        .and_then(|block| block.strip_suffix(b"\r\n"));
    match (announced(line), block) {
        (Some((key, _)), Some(value)) => Request::Put { key, value },
        _ => Request::Wrong,
    }
}
