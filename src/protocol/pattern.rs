//! Patterns of names: parts joined by `::`, of which some stand for any.

/// A part of a pattern for exactly one part, whatever it is.
pub const ONE: &[u8] = b"*";

/// The last part of a pattern, for one part or more.
pub const REST: &[u8] = b">";

/// The longest pattern, in bytes.
pub const MAX_PATTERN: usize = 4096;

const SEPARATOR: &[u8] = b"::";

/// The parts of a name. The first two of several `:` are the separator.
pub fn parts(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(name);
    std::iter::from_fn(move || {
        let text = rest?;
        let (part, behind) = match text.windows(2).position(|pair| pair == SEPARATOR) {
            Some(end) => (&text[..end], Some(&text[end + SEPARATOR.len()..])),
            None => (text, None),
        };
        rest = behind;
        Some(part)
    })
}

/// Reports whether a client may listen to the pattern: no part is empty, and `*` and `>` are whole parts, `>` the last one.
pub fn is_valid(pattern: &[u8]) -> bool {
    let mut has_ended = false;
    pattern.len() <= MAX_PATTERN
        && parts(pattern).all(|part| {
            let may_follow = !has_ended;
            has_ended = part == REST;
            let is_literal = !part.iter().any(|byte| matches!(byte, b'*' | b'>'));
            may_follow && !part.is_empty() && (is_literal || part == ONE || part == REST)
        })
}

/// Reports whether the name matches a valid pattern.
pub fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let mut rest = parts(name);
    for wanted in parts(pattern) {
        match rest.next() {
            None => return false,
            Some(_) if wanted == REST => return true,
            Some(part) if wanted != ONE && wanted != part => return false,
            Some(_) => {}
        }
    }
    rest.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_part_by_part() {
        for (pattern, matching, others) in [
            ("a::b", &["a::b"][..], &["a", "a::b::c", "a::c", ""][..]),
            ("a::*", &["a::b", "a::b:", "a::"], &["a", "a::b::c", "b::b"]),
            ("*::b", &["a::b", "::b"], &["b", "a::a::b"]),
            ("a::>", &["a::b", "a::b::c", "a::"], &["a", "b::a::c"]),
            ("*::>", &["a::b", "a::b::c"], &["a", ""]),
            (">", &["a", "a::b", ""], &[]),
        ] {
            for (names, is_expected) in [(matching, true), (others, false)] {
                for name in names {
                    let is_match = matches(pattern.as_bytes(), name.as_bytes());
                    assert_eq!(is_match, is_expected, "{pattern} {name}");
                }
            }
        }
    }

    #[test]
    fn parts_are_cut_from_the_left() {
        for (name, expected) in [
            ("weather::vienna", &["weather", "vienna"][..]),
            ("a:b", &["a:b"]),
            ("a:::b", &["a", ":b"]),
            ("a::::b", &["a", "", "b"]),
            ("::a", &["", "a"]),
            ("a::", &["a", ""]),
            ("", &[""]),
        ] {
            let found: Vec<&[u8]> = parts(name.as_bytes()).collect();
            let expected: Vec<&[u8]> = expected.iter().map(|part| part.as_bytes()).collect();
            assert_eq!(found, expected, "{name:?}");
        }
    }

    #[test]
    fn wildcards_are_whole_parts() {
        for pattern in [
            "a", "a::b", "*", ">", "a::*::b", "a::>", "*::>", "a b=c", "a:::b", "%",
        ] {
            assert!(is_valid(pattern.as_bytes()), "{pattern:?}");
        }
        for pattern in [
            "", "::", "a::", "::a", "a::::b", "a*", "**", ">>", ">::a", ">::>", "a::b>",
        ] {
            assert!(!is_valid(pattern.as_bytes()), "{pattern:?}");
        }
        assert!(is_valid(&[b'a'; MAX_PATTERN]));
        assert!(!is_valid(&[b'a'; MAX_PATTERN + 1]));
    }
}
