//! Comparison of what two servers have said to the connections of a stream between two barriers. What need not be equal
//! is replaced here, and nothing else: the sizes as they are written; the order among the subscriptions of a connection;
//! which member of a group gets a message, as long as it is one; of a 503 what follows its first line, and which of the
//! subscriptions to the reply gets it; and how often the error of a publish is said that nats-server repeats for each
//! piece in which it reads the payload.

use super::frames::{Frame, Message, take_all};
use super::generator::{Generator, Member, Range, Said};
use super::matching::matches;
use std::collections::BTreeMap;

const REPEATED: &str = r"-ERR \'Invalid Publish Subject\'";

/// The frames that a server has sent to one connection.
#[derive(Debug, Clone, Default)]
pub struct Heard {
    pub frames: Vec<Frame>,
    pub is_closed: bool,
}

/// The frames of one connection in the form that is compared.
#[derive(Debug, Default, PartialEq, Eq)]
struct Got {
    /// Lines, and `503` with a reply.
    lines: Vec<String>,
    /// Messages by sid.
    messages: BTreeMap<Vec<u8>, Vec<Message>>,
    is_closed: bool,
}

/// A message to a group.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ToGroup {
    group: String,
    subject: Vec<u8>,
    reply: Option<Vec<u8>>,
    payload: Vec<u8>,
    /// `None`: the member takes none.
    header: Option<Option<Vec<u8>>>,
}

/// Compares what two servers have said to all connections of a stream after a command of one of them. `said` is the
/// generator's knowledge of the connections.
pub fn compare(said: &[Said], from: usize, ours: &[Heard], theirs: &[Heard]) -> Result<(), String> {
    let (our_got, our_groups) = sorted(said, from, ours)?;
    let (their_got, their_groups) = sorted(said, from, theirs)?;
    for (connection, (one, other)) in our_got.iter().zip(&their_got).enumerate() {
        if one != other {
            return Err(format!("connection {connection}: {one:?}\nand {other:?}"));
        }
    }
    let are_alike = |(one, other): (&ToGroup, &ToGroup)| match (&one.header, &other.header) {
        (Some(one_header), Some(other_header)) if one_header != other_header => false,
        _ => {
            (&one.group, &one.subject, &one.reply, &one.payload)
                == (&other.group, &other.subject, &other.reply, &other.payload)
        }
    };
    let is_equal = our_groups.len() == their_groups.len()
        && our_groups.iter().zip(&their_groups).all(are_alike);
    match is_equal {
        true => Ok(()),
        false => Err(format!("groups: {our_groups:?}\nand {their_groups:?}")),
    }
}

fn sorted(said: &[Said], from: usize, heard: &[Heard]) -> Result<(Vec<Got>, Vec<ToGroup>), String> {
    let mut all = Vec::new();
    let mut groups = Vec::new();
    for (connection, heard) in heard.iter().enumerate() {
        let mut got = Got {
            is_closed: heard.is_closed,
            ..Got::default()
        };
        for frame in &heard.frames {
            match frame {
                Frame::Line(line) => got.lines.push(line.escape_ascii().to_string()),
                Frame::Message(message) if message.is_no_responders() => {
                    got.lines.push(no_responders(message)?);
                }
                Frame::Message(message) if is_of_group(&message.sid) => {
                    let to_group = to_group(&said[connection], connection == from, message);
                    groups.push(to_group.ok_or_else(|| {
                        format!("connection {connection} is no such member: {message:?}")
                    })?);
                }
                Frame::Message(message) => {
                    let messages = got.messages.entry(message.sid.clone()).or_default();
                    messages.push(message.clone());
                }
            }
        }
        got.lines
            .dedup_by(|line, before| line == before && *line == REPEATED);
        all.push(got);
    }
    groups.sort();
    Ok((all, groups))
}

/// Reports whether a sid is one of those that the generator gives to members of groups with several members.
fn is_of_group(sid: &[u8]) -> bool {
    matches!(sid, [b'g' | b'h', _])
}

/// A 503 in the form that is compared.
fn no_responders(message: &Message) -> Result<String, String> {
    let is_plain = message
        .sid
        .first()
        .is_some_and(|first| !b"ghs".contains(first));
    if !is_plain || message.reply.is_some() || !message.payload.is_empty() {
        return Err(format!("no such 503: {message:?}"));
    }
    Ok(format!("503 {}", message.subject.escape_ascii()))
}

/// A message to a member of a group; `None` if it should not have got it.
fn to_group(said: &Said, is_publisher: bool, message: &Message) -> Option<ToGroup> {
    let subject = str::from_utf8(&message.subject).ok()?;
    let (_, member) = said
        .candidates
        .iter()
        .find(|(sid, member)| sid.as_bytes() == message.sid && matches(&member.pattern, subject))?;
    let is_own = is_publisher && !said.wants_echo;
    if is_own || !said.has_headers && message.header.is_some() {
        return None;
    }
    Some(ToGroup {
        group: member.group.clone(),
        subject: message.subject.clone(),
        reply: message.reply.clone(),
        payload: message.payload.clone(),
        header: said.has_headers.then(|| message.header.clone()),
    })
}

impl Message {
    fn is_no_responders(&self) -> bool {
        let header = self.header.as_deref().unwrap_or_default();
        header.starts_with(b"NATS/1.0 503\r\n")
    }
}

/// Compares what two servers have sent to the first of two connections. The second one has sent the command; both are
/// members of a group, with the sids `g1` and `g2`.
fn compared(ours: &str, theirs: &str) -> Result<(), String> {
    let range = Range {
        has_users: false,
        is_for_old: true,
        closes: true,
    };
    let mut said = Generator::new(0, range).said[..2].to_vec();
    for (sid, pattern) in [("g1", "a.*"), ("g2", "a.>")] {
        let member = Member {
            pattern: pattern.to_owned(),
            group: "g".to_owned(),
        };
        said[0].candidates.push((sid.to_owned(), member));
    }
    said[0].has_headers = true;
    let heard = |text: &str| {
        let (text, is_closed) = match text.strip_suffix('!') {
            Some(text) => (text, true),
            None => (text, false),
        };
        let mut bytes = text.replace('\n', "\r\n").into_bytes();
        let frames = take_all(&mut bytes);
        assert!(bytes.is_empty(), "{text}");
        [Heard { frames, is_closed }, Heard::default()]
    };
    compare(&said, 1, &heard(ours), &heard(theirs))
}

#[test]
fn the_comparison_knows_what_need_not_be_equal() {
    for (one, other) in [
        (
            "MSG a 1 1\nx\nMSG a 2 1\nx\n",
            "MSG a 2 1\nx\nMSG a 1 1\nx\n",
        ),
        ("MSG a 1 1\nx\n", "MSG a 1 01\nx\n"),
        ("MSG a.b g1 1\nx\n", "MSG a.b g2 1\nx\n"),
        (
            "HMSG r 1 16 16\nNATS/1.0 503\n\n\n",
            "HMSG r 2 33 33\nNATS/1.0 503\nNats-Subject: a\n\n\n",
        ),
        (
            "-ERR 'Invalid Publish Subject'\n+OK\n",
            "-ERR 'Invalid Publish Subject'\n-ERR 'Invalid Publish Subject'\n+OK\n",
        ),
        ("PING\nPONG\n", "PONG\nINFO {}\n"),
    ] {
        assert_eq!(compared(one, other), Ok(()), "{one} {other}");
    }
}

#[test]
fn the_comparison_notices_everything_else() {
    for (one, other) in [
        ("+OK\n", ""),
        ("+OK\n", "+OK\n+OK\n"),
        ("+OK\nPONG\n", "PONG\n+OK\n"),
        ("PONG\n", "PONG\nPONG\n"),
        ("", "!"),
        ("-ERR 'Invalid Subject'\n", "-ERR 'invalid subject'\n"),
        ("MSG a 1 1\nx\n", ""),
        ("MSG a 1 1\nx\n", "MSG a 1 1\nx\nMSG a 1 1\nx\n"),
        ("MSG a 1 1\nx\n", "MSG a 1 1\ny\n"),
        ("MSG a 1 1\nx\n", "MSG b 1 1\nx\n"),
        ("MSG a 1 1\nx\n", "MSG a 2 1\nx\n"),
        ("MSG a 1 1\nx\n", "MSG a 1 r 1\nx\n"),
        ("MSG a 1 1\nx\n", "HMSG a 1 0 1\nx\n"),
        ("HMSG a 1 1 2\nhx\n", "HMSG a 1 2 2\nhx\n"),
        (
            "MSG a 1 1\nx\nMSG a 1 1\ny\n",
            "MSG a 1 1\ny\nMSG a 1 1\nx\n",
        ),
        ("MSG a.b g1 1\nx\n", ""),
        ("MSG a.b g1 1\nx\n", "MSG a.b g1 1\nx\nMSG a.b g2 1\nx\n"),
        ("MSG a.b g1 1\nx\n", "MSG a.b g3 1\nx\n"),
        ("MSG a.b.c g2 1\nx\n", "MSG a.b.c g1 1\nx\n"),
        ("MSG a.b g1 1\nx\n", "MSG a.b g2 1\ny\n"),
        ("HMSG a.b g1 1 2\nhx\n", "MSG a.b g2 1\nx\n"),
        ("HMSG r 1 16 16\nNATS/1.0 503\n\n\n", ""),
        (
            "HMSG r 1 16 16\nNATS/1.0 503\n\n\n",
            "HMSG s 1 16 16\nNATS/1.0 503\n\n\n",
        ),
        (
            "HMSG r 1 16 16\nNATS/1.0 503\n\n\n",
            "HMSG r g1 16 16\nNATS/1.0 503\n\n\n",
        ),
    ] {
        assert!(compared(one, other).is_err(), "{one} {other}");
    }
}
