//! Tests of the translation between names and subjects.

use super::*;
use std::collections::HashMap;

fn subject(name: &[u8]) -> String {
    String::from_utf8(subject_of(name)).expect("text")
}

fn named(subject: &[u8]) -> (String, bool) {
    let Named { name, is_exact } = name_of(subject);
    (name.escape_ascii().to_string(), is_exact)
}

#[test]
fn names_are_shown_as_subjects() {
    for (name, expected) in [
        ("weather::vienna", "weather.vienna"),
        ("a:b", "a:b"),
        ("a:::b", "a.:b"),
        ("a::*", "a.*"),
        ("\u{e9}", "\u{e9}"),
        ("50%", "50%"),
        ("a.b", "a%2Eb"),
        ("my room", "my%20room"),
        ("room 1::lamp.2", "room%201.lamp%2E2"),
        ("a\tb", "a%09b"),
        ("\x01", "%01"),
        ("\x7f", "%7F"),
        ("::a", "%.a"),
        ("a::", "a.%"),
        ("a::::b", "a.%.b"),
        ("::", "%.%"),
        ("%", "%25"),
        ("%20", "%2520"),
        ("100%2E", "100%252E"),
        ("%0A", "%0A"),
        ("", "%"),
        ("a=b", "a=b"),
    ] {
        assert_eq!(subject(name.as_bytes()), expected, "{name:?}");
        let back = name_of(expected.as_bytes());
        if name.is_empty() {
            assert_eq!((&back.name[..], back.is_exact), (&b"%"[..], false));
        } else if name.contains('=') {
            assert_eq!((&back.name[..], back.is_exact), (&b"a%3Db"[..], false));
        } else {
            assert_eq!(
                (&back.name[..], back.is_exact),
                (name.as_bytes(), true),
                "{name:?}"
            );
        }
    }
}

#[test]
fn published_subjects_have_names() {
    for (subject, name, is_exact) in [
        ("weather.vienna", "weather::vienna", true),
        ("a.:b", "a:::b", true),
        ("my%20room", "my room", true),
        ("a%41", "a%41", true),
        ("a%2e", "a%2e", true),
        ("a%0Ab", "a%0Ab", true),
        ("a%0Db", "a%0Db", true),
        ("*.>", "*::>", true),
        ("a::b", "a::b", false),
        ("a:.b", "a:::b", false),
        ("a=b", "a%3Db", false),
        ("%", "%", false),
        ("a%25", "a%25", false),
        ("a\x01", r"a\x01", false),
        ("a\x7f.b", r"a\x7f::b", false),
    ] {
        assert_eq!(
            named(subject.as_bytes()),
            (name.to_owned(), is_exact),
            "{subject:?}"
        );
    }
}

/// Calls `check` with each text of up to `most` of the symbols.
fn each_text(symbols: &[&[u8]], most: usize, check: &mut impl FnMut(&[u8])) {
    let mut level = vec![Vec::new()];
    for length in 0..=most {
        level.iter().for_each(|text: &Vec<u8>| check(text));
        if length < most {
            let longer = |text: &Vec<u8>| {
                let text = text.clone();
                symbols.iter().map(move |symbol| [&text, *symbol].concat())
            };
            level = level.iter().flat_map(longer).collect();
        }
    }
}

const AWKWARD: [&[u8]; 11] = [
    b":", b".", b"%", b"2", b"0", b"5", b"E", b" ", b"=", b"a", b"\x7f",
];

#[test]
fn no_two_names_share_a_subject_and_every_name_can_be_published() {
    let mut names: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
    let mut count = 0;
    each_text(&AWKWARD, 5, &mut |name| {
        count += 1;
        let subject = subject_of(name);
        assert!(crate::protocol::nats::subject::is_valid(&subject));
        if !name.is_empty() && !name.contains(&b'=') {
            let expected = Named {
                name: name.to_vec(),
                is_exact: true,
            };
            assert_eq!(name_of(&subject), expected, "{}", name.escape_ascii());
        }
        let other = names.insert(subject, name.to_vec());
        assert_eq!(other, None, "{}", name.escape_ascii());
    });
    assert_eq!(count, 177_156);
}

#[test]
fn no_line_end_and_no_equals_sign_comes_out_of_a_subject() {
    let mut random = 1_u64;
    let mut next = |below: u64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    for _ in 0..100_000 {
        let length = next(12);
        let subject: Vec<u8> = (0..length)
            .map(|_| match next(3) {
                0 => b"%0DAdan.:=2"[next(11) as usize],
                _ => next(256) as u8,
            })
            .filter(|byte| !b"\r\n \t".contains(byte))
            .collect();
        let named = name_of(&subject);
        let is_forbidden = |byte: &u8| b"\r\n=".contains(byte);
        assert!(
            !named.name.iter().any(is_forbidden),
            "{}",
            subject.escape_ascii()
        );
        assert!(!named.name.is_empty());
        assert_eq!(named.is_exact, subject_of(&named.name) == subject);
        let shown = subject_of(&named.name);
        assert!(!shown.iter().any(|byte| b"\r\n \t".contains(byte)));
        assert_eq!(name_of(&shown).name, named.name);
    }
}
