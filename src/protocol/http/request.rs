//! Requests: a frame decoded, as far as any answer depends on it.

use crate::limits::{MAX_HTTP_HEAD, MAX_HTTP_HEADERS};
use httparse::{Error, Header, Status};

/// The method of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Get,
    Head,
    Other,
}

/// A request whose head is in the right form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    pub method: Method,
    /// The path as it was sent, without the query. Empty for a target that has none.
    pub path: &'a str,
    /// The host that the request is for, with its port. `None` is for HTTP/1.0 only.
    pub host: Option<&'a [u8]>,
    /// The value of the header Authorization.
    pub authorization: Option<&'a [u8]>,
    /// The value of the header Accept.
    pub accept: Option<&'a [u8]>,
    /// The value of the header User-Agent.
    pub user_agent: Option<&'a [u8]>,
    /// A body follows, whose end is not looked for.
    pub has_body: bool,
    /// The client wants no further answer on this connection.
    pub wants_close: bool,
    /// Method, target and version, as they were sent.
    pub line: &'a [u8],
}

/// A fault of a head, after which the connection can't go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Malformed,
    /// The head has too many bytes or too many headers.
    TooLong,
    /// The version is another one than HTTP/1.0 and HTTP/1.1.
    Version,
}

/// A frame, decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The length of the frame, in bytes.
    pub length: usize,
    pub request: Result<Request<'a>, Fault>,
}

impl<'a> Frame<'a> {
    pub fn of(bytes: &'a [u8]) -> Frame<'a> {
        Frame {
            length: bytes.len(),
            request: decode(bytes),
        }
    }
}

/// The head at the start of some bytes.
pub(super) enum Head<'a> {
    /// A head with so many headers, and the bytes that it takes.
    Whole(Line<'a>, usize),
    Wrong(Fault),
    Unfinished,
}

/// The first line of a head.
pub(super) struct Line<'a> {
    method: &'a str,
    target: &'a str,
    /// 1 for HTTP/1.1.
    minor_version: u8,
    headers: usize,
}

/// The most bytes of empty lines before a head. Old clients send a line end behind a body that nobody asked for.
pub(super) const MAX_BLANK: usize = 4;

pub(super) fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

/// Reads the head at the start of `bytes`; its headers are the first of `headers`.
pub(super) fn parse<'a>(bytes: &'a [u8], headers: &mut [Header<'a>]) -> Head<'a> {
    if bytes.len() > MAX_BLANK && bytes[..=MAX_BLANK].iter().all(|&byte| is_line_end(byte)) {
        return Head::Wrong(Fault::Malformed);
    }
    let mut request = httparse::Request::new(headers);
    let length = match request.parse(bytes) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Head::Unfinished,
        Err(Error::TooManyHeaders) => return Head::Wrong(Fault::TooLong),
        Err(Error::Version) => return Head::Wrong(Fault::Version),
        Err(_) => return Head::Wrong(Fault::Malformed),
    };
    match (request.method, request.path, request.version) {
        (Some(method), Some(target), Some(minor_version)) => {
            let line = Line {
                method,
                target,
                minor_version,
                headers: request.headers.len(),
            };
            Head::Whole(line, length)
        }
        _ => Head::Wrong(Fault::Malformed),
    }
}

fn decode(bytes: &[u8]) -> Result<Request<'_>, Fault> {
    if bytes.len() > MAX_HTTP_HEAD {
        return Err(Fault::TooLong);
    }
    let mut headers = [httparse::EMPTY_HEADER; MAX_HTTP_HEADERS];
    let line = match parse(bytes, &mut headers) {
        Head::Whole(line, length) if length == bytes.len() => line,
        Head::Wrong(fault) => return Err(fault),
        Head::Whole(..) | Head::Unfinished => return Err(Fault::Malformed),
    };
    let headers = headers.get(..line.headers).unwrap_or_default();
    let is_old = line.minor_version == 0;
    let host = only_value(headers, "host")?;
    if host.is_none() && !is_old {
        return Err(Fault::Malformed);
    }
    let (authority, path) = split_target(line.target);
    // A user and a password in an address (RFC 9110, 4.2.4).
    if authority.is_some_and(|authority| authority.contains('@')) {
        return Err(Fault::Malformed);
    }
    Ok(Request {
        method: match line.method {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            _ => Method::Other,
        },
        path,
        host: authority.map(str::as_bytes).or(host),
        authorization: only_value(headers, "authorization")?,
        accept: values(headers, "accept").next(),
        user_agent: values(headers, "user-agent").next(),
        has_body: has_body(headers)?,
        wants_close: wants_close(headers, is_old),
        line: first_line(bytes),
    })
}

/// The values of the headers of that name, without the blanks around them.
fn values<'h, 'a>(headers: &'h [Header<'a>], name: &'h str) -> impl Iterator<Item = &'a [u8]> + 'h {
    let of_it = headers.iter();
    let of_it = of_it.filter(move |header| header.name.eq_ignore_ascii_case(name));
    of_it.map(|header| header.value.trim_ascii())
}

/// The value of a header that may come once only.
fn only_value<'a>(headers: &[Header<'a>], name: &str) -> Result<Option<&'a [u8]>, Fault> {
    let mut values = values(headers, name);
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        (_, Some(_)) => Err(Fault::Malformed),
    }
}

/// Reports whether a body follows.
fn has_body(headers: &[Header<'_>]) -> Result<bool, Fault> {
    let mut has_body = values(headers, "transfer-encoding").next().is_some();
    for length in values(headers, "content-length") {
        if length.is_empty() || !length.iter().all(u8::is_ascii_digit) {
            return Err(Fault::Malformed);
        }
        has_body |= length.iter().any(|digit| *digit != b'0');
    }
    Ok(has_body)
}

fn wants_close(headers: &[Header<'_>], is_old: bool) -> bool {
    let has_option = |option: &[u8]| {
        let mut options = values(headers, "connection").flat_map(|value| value.split(is_comma));
        options.any(|found| found.trim_ascii().eq_ignore_ascii_case(option))
    };
    has_option(b"close") || (is_old && !has_option(b"keep-alive"))
}

fn is_comma(byte: &u8) -> bool {
    *byte == b','
}

/// Splits a target into its authority, which only a request to a proxy has, and its path.
fn split_target(target: &str) -> (Option<&str>, &str) {
    let without = |scheme: &str| {
        let start = target.get(..scheme.len())?;
        start
            .eq_ignore_ascii_case(scheme)
            .then(|| &target[scheme.len()..])
    };
    let (authority, rest) = match without("http://").or_else(|| without("https://")) {
        Some(rest) => {
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            let (authority, rest) = rest.split_at(end);
            let rest = if rest.starts_with('/') { rest } else { "/" };
            (Some(authority), rest)
        }
        None => (None, target),
    };
    let end = rest.find('?').unwrap_or(rest.len());
    (authority, &rest[..end])
}

/// The first line that is not empty, without its end.
fn first_line(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.trim_ascii_start();
    let end = memchr::memchr(b'\n', bytes).unwrap_or(bytes.len());
    bytes[..end].trim_ascii_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(head: &str) -> Request<'_> {
        Frame::of(head.as_bytes())
            .request
            .unwrap_or_else(|fault| panic!("{fault:?}: {head}"))
    }

    #[test]
    fn a_request_is_read() {
        let request = decoded(
            "\r\nGET /status.json?a=b HTTP/1.1\r\nhost:  x:1 \r\nAuthorization: Basic eA==\r\nUSER-AGENT: me\r\n\r\n",
        );
        let expected = Request {
            method: Method::Get,
            path: "/status.json",
            host: Some(b"x:1"),
            authorization: Some(b"Basic eA=="),
            accept: None,
            user_agent: Some(b"me"),
            has_body: false,
            wants_close: false,
            line: b"GET /status.json?a=b HTTP/1.1",
        };
        assert_eq!(request, expected);
    }

    #[test]
    fn a_target_may_have_an_authority() {
        for (target, host, path) in [
            ("/", "x", "/"),
            ("/?", "x", "/"),
            ("/a/b?c?d", "x", "/a/b"),
            ("http://y:2/a?b", "y:2", "/a"),
            ("HTTPS://y", "y", "/"),
            ("http://y?a", "y", "/"),
            ("*", "x", "*"),
            ("?a", "x", ""),
            ("y:443", "x", "y:443"),
        ] {
            let head = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
            let request = decoded(&head);
            assert_eq!(request.host, Some(host.as_bytes()), "{target}");
            assert_eq!(request.path, path, "{target}");
        }
    }

    #[test]
    fn methods_are_told_apart_by_their_case_too() {
        for (method, expected) in [
            ("GET", Method::Get),
            ("HEAD", Method::Head),
            ("POST", Method::Other),
            ("get", Method::Other),
        ] {
            let head = format!("{method} / HTTP/1.0\r\n\r\n");
            assert_eq!(decoded(&head).method, expected, "{method}");
        }
    }

    #[test]
    fn the_connection_goes_on_as_the_version_and_the_client_say() {
        for (version, header, expected) in [
            ("1.1", "", false),
            ("1.1", "Connection: close\r\n", true),
            ("1.1", "Connection: x, CLOSE\r\n", true),
            ("1.1", "Connection: x\r\nConnection: close\r\n", true),
            ("1.1", "Connection: closed\r\n", false),
            ("1.0", "", true),
            ("1.0", "Connection: Keep-Alive\r\n", false),
            ("1.0", "Connection: keep-alive, close\r\n", true),
        ] {
            let head = format!("GET / HTTP/{version}\r\nHost: x\r\n{header}\r\n");
            assert_eq!(decoded(&head).wants_close, expected, "{version} {header}");
        }
    }

    #[test]
    fn bodies_are_seen() {
        for (header, expected) in [
            ("Content-Length: 0\r\n", false),
            ("Content-Length: 00\r\n", false),
            ("Content-Length: 1\r\n", true),
            ("Content-Length: 0\r\nContent-Length: 5\r\n", true),
            ("Transfer-Encoding: chunked\r\n", true),
            ("Transfer-Encoding: x\r\nContent-Length: 0\r\n", true),
        ] {
            let head = format!("GET / HTTP/1.0\r\n{header}\r\n");
            assert_eq!(decoded(&head).has_body, expected, "{header}");
        }
    }

    #[test]
    fn faults_are_told_apart() {
        for (head, fault) in [
            ("GET / HTTP/1.1\r\n\r\n", Fault::Malformed),
            (
                "GET http://mg:mgpw@localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
                Fault::Malformed,
            ),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
                Fault::Malformed,
            ),
            (
                "GET / HTTP/1.0\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n",
                Fault::Malformed,
            ),
            (
                "GET / HTTP/1.0\r\nContent-Length: -1\r\n\r\n",
                Fault::Malformed,
            ),
            (
                "GET / HTTP/1.0\r\nContent-Length:\r\n\r\n",
                Fault::Malformed,
            ),
            (
                "GET / HTTP/1.0\r\nContent-Length: 5, 5\r\n\r\n",
                Fault::Malformed,
            ),
            ("GET / HTTP/1.0\r\n", Fault::Malformed),
            ("GET\r\n", Fault::Malformed),
            ("PRI * HTTP/2.0\r\n", Fault::Version),
            ("GET / HTTP/1.2\r\n", Fault::Version),
        ] {
            assert_eq!(Frame::of(head.as_bytes()).request, Err(fault), "{head}");
        }
    }
}
