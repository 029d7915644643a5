//! Answers: bytes that are appended to a connection's output.

use super::error::Error;
use crate::protocol::encode::{line, text};
use serde_json::Value;
use smallvec::SmallVec;
use std::fmt::Write;

/// The facts of the INFO line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Info<'a> {
    pub server_id: &'a str,
    /// Software and version, separated by a slash.
    pub server_name: &'a str,
    /// The address as bound; `unix` and 0 of a Unix socket.
    pub host: &'a str,
    pub port: u16,
    pub needs_tls: bool,
    /// The most bytes of header and payload together.
    pub max_payload: usize,
    /// The number of the connection.
    pub client_id: u64,
    /// The peer's address; `None` on a Unix socket.
    pub client_ip: Option<&'a str>,
}

/// The level of NATS that is spoken. Clients refuse everything but three numbers.
const VERSION: &str = "2.10.0";

/// Appends the first line of every connection.
pub fn info(to: &mut Vec<u8>, info: &Info<'_>) {
    let json = |text: &str| Value::from(text).to_string();
    let needs_tls = match info.needs_tls {
        true => ",\"tls_required\":true",
        false => "",
    };
    let client_ip = info
        .client_ip
        .map(|ip| format!(",\"client_ip\":{}", json(ip)));
    let (id, name, host) = (
        json(info.server_id),
        json(info.server_name),
        json(info.host),
    );
    text(
        to,
        format_args!(
            "INFO {{\"server_id\":{id},\"server_name\":{name},\"version\":\"{VERSION}\",\"proto\":1,\"go\":\"\",\
             \"host\":{host},\"port\":{},\"headers\":true,\"auth_required\":true{needs_tls},\"max_payload\":{},\
             \"client_id\":{}{}}} ",
            info.port,
            info.max_payload,
            info.client_id,
            client_ip.unwrap_or_default(),
        ),
    );
}

/// A message as it was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    pub subject: &'a [u8],
    pub reply: Option<&'a [u8]>,
    /// The header block.
    pub header: Option<&'a [u8]>,
    pub payload: &'a [u8],
}

/// Appends a message for the subscription with that sid. Returns the place of the sid in `to`.
pub fn message(to: &mut Vec<u8>, sid: &[u8], message: &Message<'_>) -> usize {
    // The verb, two numbers, blanks and line ends are no longer than this.
    const OTHERS: usize = 64;
    let reply = message.reply.unwrap_or_default();
    let header = message.header.unwrap_or_default();
    let texts = message.subject.len() + sid.len() + reply.len();
    to.reserve(OTHERS + texts + header.len() + message.payload.len());
    to.extend_from_slice(match message.header {
        Some(_) => b"HMSG ",
        None => b"MSG ",
    });
    to.extend_from_slice(message.subject);
    to.push(b' ');
    let place = to.len();
    to.extend_from_slice(sid);
    if message.reply.is_some() {
        to.push(b' ');
        to.extend_from_slice(reply);
    }
    let mut number = Number::default();
    if message.header.is_some() {
        to.extend_from_slice(number.before_others(header.len()));
    }
    to.extend_from_slice(number.at_end(header.len() + message.payload.len()));
    if message.header.is_some() {
        to.extend_from_slice(header);
    }
    to.extend_from_slice(message.payload);
    to.extend_from_slice(b"\r\n");
    place
}

/// The line before a message, but for the sid, in which those for different subscriptions differ.
pub struct MessageLine {
    before_sid: SmallVec<[u8; 64]>,
    behind_sid: SmallVec<[u8; 64]>,
}

impl MessageLine {
    pub fn of(message: &Message<'_>) -> MessageLine {
        let verb: &[u8] = match message.header {
            Some(_) => b"HMSG ",
            None => b"MSG ",
        };
        let (mut before_sid, mut behind_sid) = (SmallVec::new(), SmallVec::new());
        for part in [verb, message.subject, b" "] {
            before_sid.extend_from_slice(part);
        }
        if let Some(reply) = message.reply {
            behind_sid.push(b' ');
            behind_sid.extend_from_slice(reply);
        }
        let mut number = Number::default();
        if let Some(header) = message.header {
            behind_sid.extend_from_slice(number.before_others(header.len()));
        }
        let header = message.header.map_or(0, <[u8]>::len);
        behind_sid.extend_from_slice(number.at_end(header + message.payload.len()));
        MessageLine {
            before_sid,
            behind_sid,
        }
    }

    /// The parts of the message for a subscription, without its last CR LF. `header` is empty where the message was given
    /// none.
    pub fn parts<'a>(
        &'a self,
        sid: &'a [u8],
        header: &'a [u8],
        payload: &'a [u8],
    ) -> [&'a [u8]; 5] {
        [&self.before_sid, sid, &self.behind_sid, header, payload]
    }
}

/// Room for a number in a line, a blank before it, and the line's end.
#[derive(Default)]
struct Number([u8; 24]);

impl Number {
    const END: &[u8] = b"\r\n";

    /// A blank and the number, where other words follow.
    fn before_others(&mut self, number: usize) -> &[u8] {
        let end = self.0.len();
        let start = self.write(number, end);
        &self.0[start..]
    }

    /// A blank, the number and the line's end.
    fn at_end(&mut self, number: usize) -> &[u8] {
        let end = self.0.len() - Self::END.len();
        self.0[end..].copy_from_slice(Self::END);
        let start = self.write(number, end);
        &self.0[start..]
    }

    /// Writes a blank and the number up to `end`. Returns where they begin.
    fn write(&mut self, number: usize, end: usize) -> usize {
        let (mut start, mut rest) = (end, number);
        loop {
            start -= 1;
            self.0[start] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        start -= 1;
        self.0[start] = b' ';
        start
    }
}

/// Appends the answer to a request that reaches nobody.
pub fn no_responders(to: &mut Vec<u8>, reply: &[u8], sid: &[u8]) {
    let answer = Message {
        subject: reply,
        reply: None,
        header: Some(b"NATS/1.0 503\r\n\r\n"),
        payload: b"",
    };
    message(to, sid, &answer);
}

pub fn ok(to: &mut Vec<u8>) {
    line(to, &[b"+OK"]);
}

pub fn ping(to: &mut Vec<u8>) {
    line(to, &[b"PING"]);
}

pub fn pong(to: &mut Vec<u8>) {
    line(to, &[b"PONG"]);
}

/// Appends `-ERR`, if the fault has a text.
pub fn error(to: &mut Vec<u8>, error: Error) {
    if let Some(fault) = error.text() {
        text(to, format_args!("-ERR '{fault}'"));
    }
}

/// Appends the refusal of a PUB or HPUB.
pub fn may_not_publish(to: &mut Vec<u8>, subject: &[u8]) {
    let subject = quoted(subject);
    text(
        to,
        format_args!("-ERR 'Permissions Violation for Publish to {subject}'"),
    );
}

/// Appends the refusal of a SUB.
pub fn may_not_subscribe(to: &mut Vec<u8>, pattern: &[u8], group: Option<&[u8]>) {
    let mut refused = quoted(pattern);
    if let Some(group) = group {
        refused += " using queue ";
        refused += &quoted(group);
    }
    text(
        to,
        format_args!("-ERR 'Permissions Violation for Subscription to {refused}'"),
    );
}

/// Bytes in double quotes, with escapes for quotes, control bytes, and bytes that are no UTF-8.
fn quoted(bytes: &[u8]) -> String {
    let mut quoted = String::from("\"");
    let escape = |to: &mut String, byte: u8| {
        write!(to, "\\x{byte:02x}").expect("a String takes every write");
    };
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' => quoted.push_str("\\\""),
                '\\' => quoted.push_str("\\\\"),
                '\x07' => quoted.push_str("\\a"),
                '\x08' => quoted.push_str("\\b"),
                '\x0B' => quoted.push_str("\\v"),
                '\x0C' => quoted.push_str("\\f"),
                '\0'..=' ' | '\x7F' if character != ' ' => escape(&mut quoted, character as u8),
                _ => quoted.push(character),
            }
        }
        for &byte in chunk.invalid() {
            escape(&mut quoted, byte);
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut to = Vec::new();
        write(&mut to);
        String::from_utf8(to).expect("text")
    }

    #[test]
    fn info_is_one_line_of_json() {
        let facts = Info {
            server_id: "9f3c0a1b2d4e5f60",
            server_name: "clacksd/0.1.0",
            host: "127.0.0.1",
            port: 4222,
            needs_tls: false,
            max_payload: 1_048_576,
            client_id: 7,
            client_ip: Some("127.0.0.1"),
        };
        assert_eq!(
            written(|to| info(to, &facts)),
            "INFO {\"server_id\":\"9f3c0a1b2d4e5f60\",\"server_name\":\"clacksd/0.1.0\",\"version\":\"2.10.0\",\
             \"proto\":1,\"go\":\"\",\"host\":\"127.0.0.1\",\"port\":4222,\"headers\":true,\"auth_required\":true,\
             \"max_payload\":1048576,\"client_id\":7,\"client_ip\":\"127.0.0.1\"} \r\n"
        );
        let unix = Info {
            host: "a\"b",
            needs_tls: true,
            client_ip: None,
            ..facts
        };
        let line = written(|to| info(to, &unix));
        assert!(line.contains(",\"auth_required\":true,\"tls_required\":true,\"max_payload\":"));
        let json = line.strip_prefix("INFO ").expect("the verb");
        let json: Value = serde_json::from_str(json).expect("JSON");
        assert_eq!(json["host"], "a\"b");
        assert!(json.get("client_ip").is_none());
    }

    #[test]
    fn messages_have_a_header_for_those_who_take_it() {
        let plain = Message {
            subject: b"a.b",
            reply: None,
            header: None,
            payload: b"hi",
        };
        let with = Message {
            reply: Some(b"r"),
            header: Some(b"NATS/1.0\r\n\r\n"),
            ..plain
        };
        for (published, takes_headers, expected) in [
            (plain, true, "MSG a.b 1 2\r\nhi\r\n"),
            (plain, false, "MSG a.b 1 2\r\nhi\r\n"),
            (with, true, "HMSG a.b 1 r 12 14\r\nNATS/1.0\r\n\r\nhi\r\n"),
            (with, false, "MSG a.b 1 r 2\r\nhi\r\n"),
            (
                Message {
                    reply: None,
                    payload: b"",
                    ..with
                },
                true,
                "HMSG a.b 1 12 12\r\nNATS/1.0\r\n\r\n\r\n",
            ),
        ] {
            let header = published.header.filter(|_| takes_headers);
            let message = Message {
                header,
                ..published
            };
            let message_line = MessageLine::of(&message);
            let parts = message_line.parts(b"1", header.unwrap_or_default(), message.payload);
            let sent = written(|to| line(to, &parts));
            assert_eq!(sent, expected);
            let mut together = b"other".to_vec();
            let place = super::message(&mut together, b"1", &message);
            assert_eq!(together, [b"other", expected.as_bytes()].concat());
            assert_eq!(together[place..].first(), Some(&b'1'));
        }
        assert_eq!(
            written(|to| no_responders(to, b"_INBOX.x", b"0")),
            "HMSG _INBOX.x 0 16 16\r\nNATS/1.0 503\r\n\r\n\r\n"
        );
        let words = written(|to| {
            ok(to);
            ping(to);
            pong(to);
        });
        assert_eq!(words, "+OK\r\nPING\r\nPONG\r\n");
    }

    #[test]
    fn faults_have_their_texts() {
        for (fault, expected, closes) in [
            (Error::UnknownOperation, "Unknown Protocol Operation", true),
            (Error::PayloadTooLarge, "Maximum Payload Violation", true),
            (Error::LineTooLong, "maximum control line exceeded", true),
            (Error::Authorization, "Authorization Violation", true),
            (Error::AuthenticationTimeout, "Authentication Timeout", true),
            (Error::ClientProtocol, "invalid client protocol", true),
            (
                Error::NoRespondersWithoutHeaders,
                "no responders requires headers support",
                true,
            ),
            (
                Error::TooManyConnections,
                "maximum connections exceeded",
                true,
            ),
            (Error::StaleConnection, "Stale Connection", true),
            (Error::InvalidSubject, "Invalid Subject", false),
            (
                Error::InvalidPublishSubject,
                "Invalid Publish Subject",
                false,
            ),
        ] {
            let sent = written(|to| error(to, fault));
            assert_eq!(sent, format!("-ERR '{expected}'\r\n"));
            assert_eq!(fault.closes(), closes, "{expected}");
        }
        assert_eq!(written(|to| error(to, Error::Form)), "");
        assert!(Error::Form.closes());
    }

    #[test]
    fn subjects_and_groups_are_quoted() {
        for (subject, expected) in [
            (&b"foo.bar"[..], r"foo.bar"),
            (b"a\"b\\c", r#"a\"b\\c"#),
            (b"\x07\x08\x0b\x0c", r"\a\b\v\f"),
            (b"\x00\x1f\x7f", r"\x00\x1f\x7f"),
            (b"\xc3\xa9\xff\xc3", "\u{e9}\\xff\\xc3"),
            (b"\xe2\x80\xa8", "\u{2028}"),
        ] {
            assert_eq!(
                written(|to| may_not_publish(to, subject)),
                format!("-ERR 'Permissions Violation for Publish to \"{expected}\"'\r\n")
            );
            assert_eq!(
                written(|to| may_not_subscribe(to, subject, None)),
                format!("-ERR 'Permissions Violation for Subscription to \"{expected}\"'\r\n")
            );
        }
        assert_eq!(
            written(|to| may_not_subscribe(to, b"foo", Some(b"q\""))),
            "-ERR 'Permissions Violation for Subscription to \"foo\" using queue \"q\\\"\"'\r\n"
        );
    }
}
