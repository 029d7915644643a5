//! Answers as bytes: a status line, headers, and a body whose length is known.

use std::io::Write;

/// The status of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Ok,
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    ContentTooLarge,
    HeadTooLarge,
    ServiceUnavailable,
    VersionNotSupported,
}

impl Status {
    /// The code with its usual phrase.
    pub fn text(self) -> &'static str {
        match self {
            Status::Ok => "200 OK",
            Status::BadRequest => "400 Bad Request",
            Status::Unauthorized => "401 Unauthorized",
            Status::Forbidden => "403 Forbidden",
            Status::NotFound => "404 Not Found",
            Status::MethodNotAllowed => "405 Method Not Allowed",
            Status::ContentTooLarge => "413 Content Too Large",
            Status::HeadTooLarge => "431 Request Header Fields Too Large",
            Status::ServiceUnavailable => "503 Service Unavailable",
            Status::VersionNotSupported => "505 HTTP Version Not Supported",
        }
    }

    /// The header that answers of this status have beside those of all.
    fn header(self) -> &'static str {
        match self {
            Status::Unauthorized => {
                "WWW-Authenticate: Basic realm=\"clacksd\", charset=\"UTF-8\"\r\n"
            }
            Status::MethodNotAllowed => "Allow: GET, HEAD\r\n",
            _ => "",
        }
    }
}

/// The media type of plain text.
pub const TEXT: &str = "text/plain; charset=utf-8";
/// The media type of JSON.
pub const JSON: &str = "application/json";

/// The media type of a stream of events.
const EVENTS: &str = "text/event-stream";

/// A policy, which says what a browser may load and run for a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Nothing.
    Nothing,
    /// Styles, scripts and streams of this server, and images within the page.
    OwnFiles,
}

impl Policy {
    fn text(self) -> &'static str {
        match self {
            Policy::Nothing => "default-src 'none'",
            Policy::OwnFiles => {
                "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                 base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
            }
        }
    }
}

/// Further headers of every answer that keep browsers from taking it for something else, keeping it, showing it within
/// another page, or handing it to one.
const SECURITY: &str = "X-Content-Type-Options: nosniff\r\n\
    Cache-Control: no-store\r\n\
    Referrer-Policy: no-referrer\r\n\
    X-Frame-Options: DENY\r\n\
    Cross-Origin-Resource-Policy: same-origin\r\n";

/// An answer.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    pub status: Status,
    pub media_type: &'a str,
    pub policy: Policy,
    pub body: &'a [u8],
    /// The request wants the headers alone.
    pub is_head: bool,
    /// The connection ends with it.
    pub closes: bool,
}

impl Answer<'_> {
    /// Appends the answer.
    pub fn encode(&self, to: &mut Vec<u8>) {
        let connection = match self.closes {
            true => "close",
            false => "keep-alive",
        };
        // Writing to a vector never fails.
        let _ = write!(
            to,
            "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: {connection}\r\n{}Content-Security-Policy: {}\r\n{SECURITY}\r\n",
            self.status.text(),
            self.media_type,
            self.body.len(),
            self.status.header(),
            self.policy.text(),
        );
        if !self.is_head {
            to.extend_from_slice(self.body);
        }
    }
}

/// Appends an answer of one line of text, after which the connection ends.
pub fn refusal(to: &mut Vec<u8>, status: Status, text: &str) {
    Answer {
        status,
        media_type: TEXT,
        policy: Policy::Nothing,
        body: format!("{text}\n").as_bytes(),
        is_head: false,
        closes: true,
    }
    .encode(to);
}

/// The start of a stream of events: after a break, browsers are to come again in two seconds.
pub const EVENTS_START: &[u8] = b"retry: 2000\n\n";

/// Appends the head of an answer that is a stream of events and ends with the connection.
pub fn events_head(to: &mut Vec<u8>) {
    let policy = Policy::Nothing.text();
    let _ = write!(
        to,
        "HTTP/1.1 200 OK\r\nContent-Type: {EVENTS}\r\nConnection: close\r\nContent-Security-Policy: {policy}\r\n\
         {SECURITY}\r\n",
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_its_length_and_the_headers_of_all() {
        let mut answer = Answer {
            status: Status::Ok,
            media_type: TEXT,
            policy: Policy::Nothing,
            body: b"ok\n",
            is_head: false,
            closes: false,
        };
        let encoded = |answer: &Answer<'_>| {
            let mut to = Vec::new();
            answer.encode(&mut to);
            String::from_utf8(to).expect("text")
        };
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 3\r\n\
            Connection: keep-alive\r\nContent-Security-Policy: default-src 'none'\r\nX-Content-Type-Options: nosniff\r\n\
            Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\nX-Frame-Options: DENY\r\n\
            Cross-Origin-Resource-Policy: same-origin\r\n\r\n";
        assert_eq!(encoded(&answer), format!("{head}ok\n"));
        answer.is_head = true;
        assert_eq!(encoded(&answer), head);
    }

    #[test]
    fn a_stream_has_the_headers_of_all_and_no_length() {
        let mut to = Vec::new();
        events_head(&mut to);
        let text = String::from_utf8(to).expect("text");
        assert!(text.ends_with(&format!("{SECURITY}\r\n")));
        assert!(text.contains("\r\nContent-Security-Policy: default-src 'none'\r\n"));
        assert!(!text.contains("Content-Length"));
    }

    #[test]
    fn a_status_has_its_header() {
        let mut to = Vec::new();
        refusal(&mut to, Status::MethodNotAllowed, "no");
        let text = String::from_utf8(to).expect("text");
        assert!(text.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"));
        assert!(text.contains("\r\nAllow: GET, HEAD\r\n"));
        assert!(text.contains("\r\nConnection: close\r\n") && text.ends_with("\r\n\r\nno\n"));
    }
}
