//! Tests of the frames of streams.

use super::*;
use crate::protocol::nats::request::{Request, decode};

/// The frames of a stream of pieces, up to a wrong one, each with the number of bytes that it took.
fn frames<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<(String, usize)> {
    let (mut input, mut found, mut known) = (Vec::new(), Vec::new(), Unfinished::default());
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            let taken = match next(&input, known) {
                Next::Frame(frame, taken) => {
                    found.push((frame.escape_ascii().to_string(), taken));
                    if matches!(decode(frame), Request::Wrong(_) | Request::Cut(_)) {
                        return found;
                    }
                    taken
                }
                Next::Scattered(_) => unreachable!("frames are whole"),
                Next::Unfinished(unfinished) => {
                    known = unfinished;
                    break;
                }
            };
            input.drain(..taken);
            known = Unfinished::default();
        }
    }
    found
}

/// The frames of a stream, whole, cut in two at every byte, and byte by byte.
#[track_caller]
fn check(stream: &[u8], expected: &[&str]) {
    let whole = frames([stream]);
    let texts: Vec<&str> = whole.iter().map(|(frame, _)| &frame[..]).collect();
    assert_eq!(texts, expected, "{}", stream.escape_ascii());
    for cut in 0..stream.len() {
        let (first, second) = stream.split_at(cut);
        assert_eq!(frames([first, second]), whole, "cut at {cut}");
    }
    assert_eq!(frames(stream.chunks(1)), whole);
}

#[test]
fn a_line_ends_in_lf_and_a_payload_belongs_to_its_line() {
    check(
        b"SUB a  1\r\nunsub 1 \nPuB a.b 5\r\nhello\r\nPUB a r 0\n\r\nCONNECT{}\r\n",
        &[
            r"SUB a  1\r\n",
            r"unsub 1 \n",
            r"PuB a.b 5\r\nhello\r\n",
            r"PUB a r 0\n\r\n",
            r"CONNECT{}\r\n",
        ],
    );
}

#[test]
fn a_payload_may_look_like_commands() {
    check(
        b"HPUB a 4 8\r\nh\r\n\nPING\r\nPUB a 9\r\nPUB b 1\r\n\r\nHPUB a r 0 0\r\n\r\n",
        &[
            r"HPUB a 4 8\r\nh\r\n\nPING\r\n",
            r"PUB a 9\r\nPUB b 1\r\n\r\n",
            r"HPUB a r 0 0\r\n\r\n",
        ],
    );
}

#[test]
fn the_rest_of_some_lines_is_no_part_of_the_frame() {
    let stream =
        b"PINGxyz\r\npong \r\r\n+OK \0\nPING\n+okay\ninfo{\"a\":1}\r\nINFO\r\n-ERR 'x y'\r\n";
    let expected = [
        "PING",
        "pong",
        "+OK",
        "PING",
        "+ok",
        r#"info{\"a\":1}\r\n"#,
        r"INFO\r\n",
        r"-ERR \'x y\'\r\n",
    ];
    check(stream, &expected);
    for (start, kept) in [
        (&b"PINGx"[..], Some(4)),
        (b"ponG", Some(4)),
        (b"+OK xx", Some(3)),
        (b"PIN", None),
        (b"SUB a", None),
        (b"", None),
    ] {
        assert_eq!(kept_of_tail(start), kept);
    }
}

#[test]
fn a_wrong_frame_ends_at_the_first_byte_that_shows_the_fault() {
    for (stream, frame) in [
        ("X", "X"),
        ("SUX a", "SUX"),
        ("PUT / HTTP/1.1\r\n", "PUT"),
        ("POST / HTTP/1.1\r\n", "POS"),
        ("GET / HTTP/1.1\r\n", "G"),
        ("\r\n", r"\r"),
        ("\n", r"\n"),
        (" PING\r\n", " "),
        ("PUB\r\n", r"PUB\r"),
        ("SUB\n", r"SUB\n"),
        ("UNSUB\r\n", r"UNSUB\r"),
        ("HPUB\r\n", r"HPUB\r"),
        ("-ERR\r\n", r"-ERR\r"),
        ("-ERRx", "-ERRx"),
        ("SUBa 1\r\n", "SUBa"),
        ("MSG a 1 0\r\n", "M"),
        ("HMSG a 1 0\r\n", "HM"),
        ("+OX", "+OX"),
        ("PUB a 2\r\nabc\r\n", r"PUB a 2\r\nabc"),
        ("PUB a 2\r\nab\n", r"PUB a 2\r\nab\n"),
        ("PUB a 2\r\nab\rx", r"PUB a 2\r\nab\rx"),
        ("SUB a\rb 1\r\n", r"SUB a\rb"),
        ("SUB a 1\r\r\n", r"SUB a 1\r\r"),
        ("\u{16}\u{3}\u{1}", r"\x16"),
    ] {
        check(format!("{stream}never read").as_bytes(), &[frame]);
        let before = format!("PING\r\n{stream}");
        check(before.as_bytes(), &["PING", frame]);
    }
}

#[test]
fn a_line_with_wrong_arguments_has_no_payload() {
    for line in [
        "PUB a",
        "PUB  ",
        "PUB a b c 1",
        "PUB a x",
        "PUB a -1",
        "PUB a 1234567890",
        "HPUB a 5",
        "HPUB a 6 5",
        "HPUB a r x 5",
        "HPUB a b c 1 5",
    ] {
        check(
            format!("{line}\r\nPING\r\n").as_bytes(),
            &[&format!(r"{line}\r\n")],
        );
    }
}

#[test]
fn arguments_have_4096_bytes_at_most() {
    let line = |arguments: usize, end: &str| {
        let subject = "s".repeat(arguments - 2);
        format!("SUB \t {subject} 1{end}")
    };
    for end in ["\n", "\r\n"] {
        let whole = line(MAX_ARGUMENTS, end);
        let stream = format!("{whole}PING\n");
        let shown = whole.as_bytes().escape_ascii().to_string();
        assert_eq!(
            frames([stream.as_bytes()]),
            [(shown, whole.len()), ("PING".into(), 5)]
        );
        assert_eq!(frames(stream.as_bytes().chunks(1)).len(), 2);
        let (before, behind) = stream.as_bytes().split_at(whole.len() - 1);
        assert_eq!(frames([before, behind]).len(), 2);
    }
    for stream in [
        line(MAX_ARGUMENTS + 1, "\r\n"),
        line(MAX_ARGUMENTS, " \n"),
        line(MAX_ARGUMENTS + 1, ""),
        line(MAX_ARGUMENTS * 3, "\n"),
    ] {
        let length = "SUB \t ".len() + MAX_ARGUMENTS + 1;
        for found in [
            frames([stream.as_bytes()]),
            frames(stream.as_bytes().chunks(1)),
            frames(stream.as_bytes().chunks(1000)),
        ] {
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].1, length);
        }
        let frame = &stream.as_bytes()[..length];
        assert_eq!(decode(frame), Request::Wrong(Error::LineTooLong));
    }
    let unfinished = line(MAX_ARGUMENTS, "\r");
    assert!(frames([unfinished.as_bytes()]).is_empty());
    let wrong = format!("{unfinished}x");
    assert_eq!(decode(wrong.as_bytes()), Request::Wrong(Error::Form));
    assert_eq!(frames([wrong.as_bytes()])[0].1, wrong.len());
    let blanks = format!("SUB{}", " ".repeat(MAX_ARGUMENTS + 1));
    assert_eq!(frames([blanks.as_bytes()]).len(), 1);
    assert_eq!(
        decode(blanks.as_bytes()),
        Request::Wrong(Error::LineTooLong)
    );
    assert_eq!(frames([&blanks.as_bytes()[..blanks.len() - 1]]).len(), 0);
}

#[test]
fn the_length_of_a_payload_is_known_with_its_line() {
    let line = b"HPUB a 100 999999999\r\n";
    let Next::Unfinished(known) = next(line, Unfinished::default()) else {
        panic!("it is unfinished");
    };
    let length = line.len() + 999_999_999 + 2;
    assert_eq!(known.length, Some(length));
    assert_eq!(payload_length(line, length), Some(999_999_999));
    assert_eq!(payload_length(b"HPUB a", length), None);
}

#[test]
fn before_the_login_all_but_connect_is_wrong_at_once() {
    let first = |stream| match next_before_login(stream, Unfinished::default()) {
        Next::Frame(frame, _) => Some(frame),
        _ => None,
    };
    assert_eq!(first(b"PING\r\n"), Some(&b"P"[..]));
    assert_eq!(first(b"\n"), Some(&b"\n"[..]));
    assert_eq!(first(b"connect {}\r\nPING\n"), Some(&b"connect {}\r\n"[..]));
    assert_eq!(first(b"CX"), Some(&b"CX"[..]));
    assert_eq!(first(b"C"), None);
    assert_eq!(first(b""), None);
}
