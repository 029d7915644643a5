//! Where frames end: the head of a request at its empty line, and a wrong first line at its end.

use super::request::{Head, MAX_BLANK, is_line_end, parse};
use crate::limits::{MAX_HTTP_HEAD, MAX_HTTP_HEADERS};
use crate::protocol::frame::{Next, Unfinished};
use memchr::{memchr, memchr_iter};

/// Finds the first frame of `input`, of which something may be known from before.
pub fn next(input: &[u8], known: Unfinished) -> Next<'_> {
    let allowed = &input[..input.len().min(MAX_HTTP_HEAD)];
    let length = match frame_length(allowed, known.scanned) {
        Some(length) => length,
        None if input.len() > MAX_HTTP_HEAD => MAX_HTTP_HEAD + 1,
        None => {
            return Next::Unfinished(Unfinished {
                scanned: input.len(),
                length: None,
            });
        }
    };
    Next::Frame(&input[..length], length)
}

/// The length of the frame at the start of some bytes, of which the first `scanned` are none; `None` if it goes on behind
/// them.
fn frame_length(bytes: &[u8], scanned: usize) -> Option<usize> {
    let blank = bytes.iter().take(MAX_BLANK + 1);
    let blank = blank.take_while(|byte| is_line_end(**byte)).count();
    if blank > MAX_BLANK {
        return Some(blank);
    }
    let line = blank + memchr(b'\n', &bytes[blank..])? + 1;
    // Whoever speaks another protocol waits for an answer to its first line.
    if line > scanned && is_wrong(&bytes[..line]) {
        return Some(line);
    }
    // The end of a line and a CR behind it may be the last bytes that were there before.
    let from = scanned.saturating_sub(2).max(line - 1);
    memchr_iter(b'\n', &bytes[from..]).find_map(|end| {
        let behind = from + end + 1;
        match bytes[behind..] {
            [b'\n', ..] => Some(behind + 1),
            [b'\r', b'\n', ..] => Some(behind + 2),
            _ => None,
        }
    })
}

fn is_wrong(line: &[u8]) -> bool {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HTTP_HEADERS];
    matches!(parse(line, &mut headers), Head::Wrong(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::http::Fault;
    use crate::protocol::http::request::Frame;

    /// Frames of a stream that comes in two pieces.
    fn frames(stream: &[u8], cut: usize) -> Vec<Vec<u8>> {
        let (mut frames, mut start, mut known) = (Vec::new(), 0, Unfinished::default());
        for end in [cut, stream.len()] {
            loop {
                match next(&stream[start..end], known) {
                    Next::Frame(frame, length) => {
                        assert_eq!(frame.len(), length, "nothing is left out");
                        frames.push(frame.to_vec());
                        start += length;
                        known = Unfinished::default();
                    }
                    Next::Scattered(_) => panic!("every byte belongs to a frame"),
                    Next::Unfinished(unfinished) => {
                        known = unfinished;
                        break;
                    }
                }
            }
        }
        frames
    }

    /// The frames of a stream, which must be the same wherever it is cut.
    fn at_every_cut(stream: &[u8]) -> Vec<Vec<u8>> {
        let whole = frames(stream, stream.len());
        for cut in 0..stream.len() {
            assert_eq!(frames(stream, cut), whole, "cut at {cut}");
        }
        whole
    }

    #[test]
    fn a_head_ends_at_its_empty_line() {
        let heads: [&[u8]; 5] = [
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"\r\n\r\nGET /healthz HTTP/1.0\r\n\r\n",
            b"HEAD /?x=1 HTTP/1.1\nHost: b\nAccept: */*\n\n",
            b"POST /x HTTP/1.1\r\nHost: c\r\n\r\n",
            b"\nGET http://d/ HTTP/1.1\r\nHost:\r\n\r\n",
        ];
        let unfinished: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n";
        let stream = [&heads.concat(), unfinished].concat();
        assert_eq!(at_every_cut(&stream), heads);
    }

    #[test]
    fn a_wrong_first_line_ends_the_frame() {
        for (stream, length) in [
            (&b"CLACKS test\r\nPING\r\n"[..], 13),
            (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 16),
            (b"GET /\r\nHost: a\r\n\r\n", 7),
            (b"\r\nGET  / HTTP/1.1\r\nHost: a\r\n\r\n", 19),
            (b"\r\n\r\n\r\n\r\n", 5),
            (b"\n\n\n\n\nGET / HTTP/1.0\n\n", 5),
        ] {
            let frames = at_every_cut(stream);
            let shown = stream.escape_ascii();
            assert_eq!(frames.first().map(Vec::len), Some(length), "{shown}");
            assert!(Frame::of(&frames[0]).request.is_err(), "{shown}");
        }
    }

    #[test]
    fn a_wrong_header_ends_no_frame() {
        for header in [
            "Host : a",
            "Host: a\r\n folded: c",
            "Host: \0",
            ": a",
            "a",
            "\ra",
        ] {
            let head = format!("GET / HTTP/1.0\r\n{header}\r\nb: c\r\n\r\n").into_bytes();
            assert_eq!(at_every_cut(&head), std::slice::from_ref(&head));
            assert_eq!(Frame::of(&head).request, Err(Fault::Malformed), "{header}");
        }
    }

    #[test]
    fn a_head_has_at_most_8_kib() {
        let head = |length: usize| {
            let start = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
            let filler = "x".repeat(length - start.len() - 4);
            format!("{start}{filler}\r\n\r\n").into_bytes()
        };
        let longest = head(MAX_HTTP_HEAD);
        assert_eq!(at_every_cut(&longest), std::slice::from_ref(&longest));
        let too_long = head(MAX_HTTP_HEAD + 1);
        for stream in [&too_long[..], &[b'x'; MAX_HTTP_HEAD + 1]] {
            let frames = at_every_cut(stream);
            assert_eq!(frames, [stream]);
            let decoded = Frame::of(stream);
            assert_eq!(decoded.request, Err(Fault::TooLong));
        }
    }

    #[test]
    fn a_head_has_at_most_64_headers() {
        let head = |count: usize| {
            let headers = "a: b\r\n".repeat(count - 1);
            format!("GET / HTTP/1.1\r\nHost: x\r\n{headers}\r\n").into_bytes()
        };
        let most = head(MAX_HTTP_HEADERS);
        assert_eq!(at_every_cut(&most), std::slice::from_ref(&most));
        let frames = at_every_cut(&head(MAX_HTTP_HEADERS + 1));
        assert_eq!(Frame::of(&frames[0]).request, Err(Fault::TooLong));
    }
}
