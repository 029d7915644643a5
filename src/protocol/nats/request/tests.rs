//! Tests of the decoding of frames.

use super::*;

fn publish(frame: &str) -> Publish<'_> {
    match decode(frame.as_bytes()) {
        Request::Publish(publish) => publish,
        other => panic!("{frame:?}: {other:?}"),
    }
}

#[test]
fn a_publish_has_a_subject_and_perhaps_reply_and_header() {
    let parts = |frame| {
        let Publish {
            subject,
            reply,
            header,
            has_header_size: _,
            payload,
        } = publish(frame);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
        (
            text(subject),
            reply.map(text),
            header.map(text),
            text(payload),
        )
    };
    for (frame, subject, reply, header, payload) in [
        ("PUB a 0\r\n\r\n", "a", None, None, ""),
        ("PUB a.b  5\r\nhello\r\n", "a.b", None, None, "hello"),
        (
            "pub\ta\t r.*..x \t5 \nhello\r\n",
            "a",
            Some("r.*..x"),
            None,
            "hello",
        ),
        ("PUB a 000000002\r\n\r\n\r\n", "a", None, None, "\r\n"),
        (
            "HPUB a 12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
            "a",
            None,
            Some("NATS/1.0\r\n\r\n"),
            "hi",
        ),
        ("hpub a r 3 3\r\nabc\r\n", "a", Some("r"), Some("abc"), ""),
        ("HPUB a  0 2\r\nhi\r\n", "a", None, None, "hi"),
        ("PUB a..b 0\r\n\r\n", "a..b", None, None, ""),
    ] {
        let expected = (
            subject.to_owned(),
            reply.map(str::to_owned),
            header.map(str::to_owned),
            payload.to_owned(),
        );
        assert_eq!(parts(frame), expected, "{frame:?}");
    }
}

#[test]
fn subscriptions_come_and_go() {
    let subscribe = |pattern, group, sid| {
        Request::Subscribe(Subscribe {
            pattern,
            group,
            sid,
        })
    };
    let unsubscribe = |sid, max| Request::Unsubscribe(Unsubscribe { sid, max });
    for (line, expected) in [
        ("SUB foo.*  1", subscribe(b"foo.*", None, b"1")),
        ("SUB foo.> q 2", subscribe(b"foo.>", Some(b"q"), b"2")),
        ("sub\tfoo\tabc-1 ", subscribe(b"foo", None, b"abc-1")),
        ("SUB a..b 0", subscribe(b"a..b", None, b"0")),
        ("UNSUB 1 ", unsubscribe(b"1", None)),
        ("UNSUB 1 5", unsubscribe(b"1", Some(5))),
        (
            "unsub abc-1 999999999",
            unsubscribe(b"abc-1", Some(999_999_999)),
        ),
        ("UNSUB 1 0", unsubscribe(b"1", None)),
        ("UNSUB 1 x", unsubscribe(b"1", None)),
        ("UNSUB 1 -1", unsubscribe(b"1", None)),
        ("UNSUB 1 1234567890", unsubscribe(b"1", None)),
    ] {
        for end in ["\n", "\r\n"] {
            let frame = format!("{line}{end}");
            assert_eq!(decode(frame.as_bytes()), expected, "{line:?}");
        }
    }
}

#[test]
fn other_commands_are_decoded() {
    for (frame, expected) in [
        ("PING", Request::Ping),
        ("ping", Request::Ping),
        ("PONG", Request::Pong),
        ("poNg", Request::Pong),
        ("+OK", Request::Ignored),
        ("+ok", Request::Ignored),
        ("INFO {}\r\n", Request::Ignored),
        ("CONNECT {\"a\": 1} \r\n", Request::Connect(b"{\"a\": 1} ")),
        ("CONNECT{}\n", Request::Connect(b"{}")),
        ("CONNECT\r\n", Request::Connect(b"")),
        ("-ERR 'Some text'\r\n", Request::PeerError(b"'Some text'")),
    ] {
        assert_eq!(decode(frame.as_bytes()), expected, "{frame:?}");
    }
}

#[test]
fn each_verb_has_its_numbers_of_arguments() {
    for (verb, right) in [
        ("PUB", &[2, 3][..]),
        ("HPUB", &[3, 4]),
        ("SUB", &[2, 3]),
        ("UNSUB", &[1, 2]),
    ] {
        for count in 0..=5 {
            let frame = format!("{verb} {}\r\n\r\n", "0 ".repeat(count));
            let is_wrong = decode(frame.as_bytes()) == Request::Wrong(Error::Form);
            assert_eq!(is_wrong, !right.contains(&count), "{frame:?}");
        }
    }
}

#[test]
fn a_payload_with_a_wrong_end_leaves_its_line() {
    let cut = |subject: &'static str, has_header_size, size| {
        Request::Cut(Begun {
            subject: subject.as_bytes(),
            has_header_size,
            size,
        })
    };
    for (frame, expected) in [
        ("PUB a 5\r\nhellox", cut("a", false, 5)),
        ("PUB a 5\r\nhello\r\r", cut("a", false, 5)),
        ("HPUB b.c r 1 2\r\nab\n", cut("b.c", true, 2)),
    ] {
        assert_eq!(decode(frame.as_bytes()), expected, "{frame:?}");
    }
}

#[test]
fn each_fault_has_its_error() {
    for (frame, error) in [
        ("X", Error::UnknownOperation),
        ("SUX", Error::UnknownOperation),
        ("PUB\r", Error::UnknownOperation),
        ("PUB a x\r\n", Error::Form),
        ("PUB a +1\r\n", Error::Form),
        ("PUB a 1234567890\r\n", Error::Form),
        ("HPUB a 6 5\r\n", Error::Form),
        ("HPUB a x 5\r\n", Error::Form),
        ("SUB a\rb", Error::Form),
        ("", Error::Form),
    ] {
        assert_eq!(decode(frame.as_bytes()), Request::Wrong(error), "{frame:?}");
    }
}

#[test]
fn before_the_login_only_connect_is_allowed() {
    let refused = Request::Wrong(Error::Authorization);
    for frame in ["P", "\n", "", "PING"] {
        assert_eq!(decode_before_login(frame.as_bytes()), refused, "{frame:?}");
    }
    assert_eq!(
        decode_before_login(b"connect {}\n"),
        Request::Connect(b"{}")
    );
    let unknown = Request::Wrong(Error::UnknownOperation);
    assert_eq!(decode_before_login(b"CX"), unknown);
}

#[test]
fn a_request_is_small() {
    assert!(size_of::<Request<'_>>() <= 72);
}

/// Whatever the words are, and wherever the line is cut.
#[test]
fn a_line_that_is_read_in_one_pass_is_read_alike_by_words() {
    const VERBS: [&str; 4] = ["PUB", "pub", "HPUB", "hPUB"];
    const BLANKS: [&str; 8] = [" ", " ", " ", " ", " ", " ", "  ", "\t"];
    const WORDS: [&str; 10] = [
        "a",
        "a.b",
        "0",
        "1",
        "12",
        "007",
        "123456789",
        "1234567890",
        "\u{1}",
        "long.subject.of.many.tokens",
    ];
    const ENDS: [&str; 6] = ["\r\n", "\r\n", "\n", "\r", "", " \r\n"];
    let mut random = 1_u64;
    let mut below = |limit: usize| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (random >> 33) as usize % limit
    };
    let mut usual = 0;
    for _ in 0..50_000 {
        let mut input = VERBS[below(4)].to_owned();
        for _ in 0..below(6) {
            input += BLANKS[below(8)];
            input += WORDS[below(10)];
        }
        input += ENDS[below(6)];
        input += WORDS[below(10)];
        let Some(line) = PublishLine::of(input.as_bytes()) else {
            continue;
        };
        usual += 1;
        let Line::Whole {
            verb,
            arguments,
            length,
        } = Line::of(input.as_bytes(), 0)
        else {
            panic!("{input:?}");
        };
        assert_eq!((line.verb, line.length), (verb, length), "{input:?}");
        assert_eq!(Some(line.head), Head::of(verb, arguments), "{input:?}");
    }
    assert!(usual > 500, "{usual}");
    for frame in ["PUB a 2\r\nhi\r\n", "HPUB a r 1 2\nhi\r\n"] {
        assert!(PublishLine::of(frame.as_bytes()).is_some());
    }
    let long = format!("PUB {} 0\r\n\r\n", "a".repeat(MAX_ARGUMENTS));
    assert!(PublishLine::of(long.as_bytes()).is_none());
}
