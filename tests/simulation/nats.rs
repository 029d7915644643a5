//! The NATS clients of a world: what a server sends them, taken apart.

/// A MSG or HMSG.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub subject: String,
    pub sid: String,
    pub reply: Option<String>,
    /// The header block.
    pub header: Option<Vec<u8>>,
    pub payload: Vec<u8>,
}

/// One thing that a server sends to a NATS client.
pub enum Heard {
    Message(Message),
    /// A line without its end.
    Line(String),
}

/// Takes the first line or message off the bytes that a client has received; `None` if none has come whole.
pub fn take(received: &mut Vec<u8>) -> Option<Heard> {
    let end = received.windows(2).position(|pair| pair == b"\r\n")?;
    let line = String::from_utf8_lossy(&received[..end]).into_owned();
    let behind = end + 2;
    let mut words = line.split(' ');
    let has_header = match words.next() {
        Some("MSG") => false,
        Some("HMSG") => true,
        _ => {
            received.drain(..behind);
            return Some(Heard::Line(line));
        }
    };
    let mut words: Vec<&str> = words.collect();
    let mut size = || -> usize {
        let last = words.pop().expect("a size");
        last.parse().expect("a size is a number")
    };
    let size_of_all = size();
    let size_of_header = if has_header { size() } else { 0 };
    let block_end = behind + size_of_all;
    let block = received.get(behind..block_end + 2)?;
    assert_eq!(&block[size_of_all..], b"\r\n", "the end of {line}");
    let (header, payload) = block[..size_of_all].split_at(size_of_header);
    let (subject, sid, reply) = match words[..] {
        [subject, sid] => (subject, sid, None),
        [subject, sid, reply] => (subject, sid, Some(reply.to_owned())),
        _ => panic!("no message begins with {line:?}"),
    };
    let message = Message {
        subject: subject.to_owned(),
        sid: sid.to_owned(),
        reply,
        header: has_header.then(|| header.to_vec()),
        payload: payload.to_vec(),
    };
    received.drain(..block_end + 2);
    Some(Heard::Message(message))
}
