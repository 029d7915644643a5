//! Any bytes to heads of HTTP requests, and any head to what it says.
//!
//! However a stream is cut, its frames are the same; no frame is longer than a head may be, and one byte; a request that
//! is written again says the same; and only a request with an empty line at its end is one.
//!
//! The first byte chooses where the rest is cut.

use super::decoder::pieces;
use clacks::limits::MAX_HTTP_HEAD;
use clacks::protocol::framing::{Next, Unfinished};
use clacks::protocol::http::login::Login;
use clacks::protocol::http::{Fault, Frame, Method, Request};
use clacks::protocol::{Language, Pending};

pub fn run(data: &[u8]) {
    let Some((&cuts, stream)) = data.split_first() else {
        return;
    };
    let frames = all_at_once(stream);
    assert_eq!(in_pieces(stream, cuts), frames, "cut by {cuts}");
    check_put_back(stream, cuts, &frames);
    for frame in &frames {
        check_frame(frame);
    }
}

fn all_at_once(stream: &[u8]) -> Vec<Vec<u8>> {
    let (mut rest, mut frames) = (stream, Vec::new());
    loop {
        match Language::Http.next(rest, Unfinished::default()) {
            Next::Frame(frame, used) => {
                assert!(rest.starts_with(frame) && frame.len() == used && used > 0);
                assert!(used <= MAX_HTTP_HEAD + 1);
                frames.push(frame.to_vec());
                rest = &rest[used..];
            }
            Next::Scattered(_) => panic!("every byte belongs to a frame"),
            Next::Unfinished(known) => {
                assert_eq!((known.scanned, known.length), (rest.len(), None));
                assert!(rest.len() <= MAX_HTTP_HEAD);
                return frames;
            }
        }
    }
}

fn in_pieces(stream: &[u8], cuts: u8) -> Vec<Vec<u8>> {
    let (mut pending, mut frames, mut came) = (Pending::new(Language::Http), Vec::new(), 0);
    for mut piece in pieces(stream, cuts) {
        came += piece.len();
        while !piece.is_empty() {
            let taken = pending.push_to_frame(piece);
            assert!(taken > 0, "the stream goes on");
            piece = &piece[taken..];
            while let Some(frame) = pending.next_frame() {
                frames.push(frame.to_vec());
            }
        }
        assert!(pending.capacity() <= 2 * came.max(8));
    }
    frames
}

/// Every other frame is put back once.
fn check_put_back(stream: &[u8], cuts: u8, frames: &[Vec<u8>]) {
    let (mut pending, mut found) = (Pending::new(Language::Http), Vec::new());
    for piece in pieces(stream, cuts) {
        pending.push(piece);
        while let Some(frame) = pending.next_frame().map(<[u8]>::to_vec) {
            if found.len() % 2 == 0 {
                pending.put_back(frame.len());
                assert_eq!(pending.next_frame(), Some(&frame[..]));
            }
            found.push(frame);
        }
    }
    assert_eq!(found, frames);
}

fn check_frame(frame: &[u8]) {
    let decoded = Frame::of(frame);
    assert_eq!(decoded.length, frame.len());
    let request = match decoded.request {
        Ok(request) => request,
        Err(fault) => {
            let is_too_long = frame.len() > MAX_HTTP_HEAD;
            assert!(!is_too_long || fault == Fault::TooLong);
            return;
        }
    };
    assert!(frame.ends_with(b"\n\r\n") || frame.ends_with(b"\n\n"));
    assert!(!request.path.contains(['?', ' ', '\r', '\n']));
    assert!(!request.line.contains(&b'\n'));
    if let Some(login) = request.authorization.and_then(Login::of) {
        assert!(!login.user().contains(&b':'));
    }
    let again = again(&request);
    if again.len() > MAX_HTTP_HEAD {
        return;
    }
    let read = Frame::of(&again);
    let expected = Request {
        line: read.request.expect("it was right").line,
        ..request
    };
    assert_eq!(read.request, Ok(expected), "{}", again.escape_ascii());
    assert_eq!(all_at_once(&again), std::slice::from_ref(&again));
}

/// A request that says the same, unless its path is none that can be sent alone.
fn again(request: &Request<'_>) -> Vec<u8> {
    let method = match request.method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Other => "OTHER",
    };
    // An empty path is one before a query.
    let path = match request.path {
        "" => "?",
        path => path,
    };
    let version = u8::from(request.host.is_some());
    let mut text = format!("{method} {path} HTTP/1.{version}\r\n").into_bytes();
    let mut add = |name: &str, value: Option<&[u8]>| {
        if let Some(value) = value {
            text.extend_from_slice(name.as_bytes());
            text.extend_from_slice(b": ");
            text.extend_from_slice(value);
            text.extend_from_slice(b"\r\n");
        }
    };
    add("host", request.host);
    add("AUTHORIZATION", request.authorization);
    add("Accept", request.accept);
    add("User-Agent", request.user_agent);
    add("Content-Length", request.has_body.then_some(b"1"));
    let connection: &[u8] = match request.wants_close {
        true => b"close",
        false => b"keep-alive",
    };
    add("Connection", Some(connection));
    text.extend_from_slice(b"\r\n");
    text
}
