//! Subjects and patterns: tokens joined by dots.

use crate::protocol::pattern::{ONE, REST};

/// The tokens of a subject or a pattern.
pub fn tokens(subject: &[u8]) -> impl Iterator<Item = &[u8]> {
    subject.split(|byte| *byte == b'.')
}

/// Reports whether messages with this subject reach anybody: no token is empty.
pub fn is_valid(subject: &[u8]) -> bool {
    tokens(subject).all(|token| !token.is_empty())
}

/// Reports whether a subject names no more than one: it is valid, and no token of it would be a wildcard in a pattern.
pub fn is_literal(subject: &[u8]) -> bool {
    tokens(subject).all(|token| ![&b""[..], ONE, REST].contains(&token))
}

/// Reports whether SUB may have this subject: it is valid, and `>` is at most its last token.
pub fn is_pattern(pattern: &[u8]) -> bool {
    let mut has_ended = false;
    tokens(pattern).all(|token| {
        let may_follow = !has_ended;
        has_ended = token == REST;
        may_follow && !token.is_empty()
    })
}

/// The rule that says which subjects a pattern matches.
#[cfg(test)]
pub fn matches(pattern: &[u8], subject: &[u8]) -> bool {
    let (mut pattern, mut subject) = (tokens(pattern), tokens(subject));
    loop {
        match (pattern.next(), subject.next()) {
            (Some(REST), Some(token)) => {
                return !token.is_empty() && subject.all(|token| !token.is_empty());
            }
            (Some(_), Some(b"")) => return false,
            (Some(wanted), Some(token)) if wanted == ONE || wanted == token => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_have_wildcards_as_whole_tokens() {
        for (subject, for_sub, names_one) in [
            ("foo.bar", true, true),
            ("*", true, false),
            ("*.a.*", true, false),
            (">", true, false),
            ("foo.>", true, false),
            (">.a", false, false),
            ("a.>.b", false, false),
            (">.>", false, false),
            ("foo*", true, true),
            ("fo>o", true, true),
            ("**", true, true),
            (">>", true, true),
            ("a\0.\x7f.\u{c3}", true, true),
            ("foo..bar", false, false),
            (".a", false, false),
            ("a.", false, false),
            (".", false, false),
            ("", false, false),
        ] {
            assert_eq!(is_pattern(subject.as_bytes()), for_sub, "{subject:?}");
            assert_eq!(is_literal(subject.as_bytes()), names_one, "{subject:?}");
        }
        assert!(is_valid(b"a.>.b") && is_valid(b"*") && !is_valid(b"a..b") && !is_valid(b""));
    }

    #[test]
    fn patterns_match_token_by_token() {
        for pattern in ["foo.bar", "foo.*", "*.bar", "foo.>", ">", "*.>", "*.*"] {
            assert!(matches(pattern.as_bytes(), b"foo.bar"), "{pattern}");
        }
        for (pattern, subject, expected) in [
            ("foo.>", "foo", false),
            ("foo.>", "foo.a.b", true),
            ("*", "a.b", false),
            ("a.b", "a", false),
            ("a", "a.b", false),
            ("a*", "ab", false),
            ("a*", "a*", true),
            ("*", "*", true),
            ("a", "*", false),
            ("a.*.b", "a.>.b", true),
            (">", "a..b", false),
            (">", ".a", false),
            ("*.*", "a.", false),
            ("a.>", "a.b.", false),
            ("A", "a", false),
        ] {
            let matched = matches(pattern.as_bytes(), subject.as_bytes());
            assert_eq!(matched, expected, "{pattern} {subject}");
        }
    }
}
