//! The rule by which subjects match, token by token, for what tests know without asking a server.

/// Reports whether a subject reaches a subscription of a valid pattern.
pub fn matches(pattern: &str, subject: &str) -> bool {
    let subject: Vec<&str> = subject.split('.').collect();
    if subject.contains(&"") {
        return false;
    }
    let pattern: Vec<&str> = pattern.split('.').collect();
    for (place, token) in pattern.iter().enumerate() {
        match (*token, subject.get(place)) {
            (_, None) => return false,
            (">", Some(_)) if place + 1 == pattern.len() => return true,
            ("*", Some(_)) => {}
            (token, Some(other)) if token == *other => {}
            _ => return false,
        }
    }
    pattern.len() == subject.len()
}

/// Reports whether a pattern may be subscribed to.
pub fn is_valid(pattern: &str) -> bool {
    let mut tokens: Vec<&str> = pattern.split('.').collect();
    if tokens.last() == Some(&">") {
        tokens.pop();
    }
    tokens
        .iter()
        .all(|token| !token.is_empty() && *token != ">")
}

#[test]
fn the_rule_is_that_of_the_tables() {
    for (pattern, subject, does) in [
        ("a.b", "a.b", true),
        ("a.*", "a.b", true),
        ("a.*", "a", false),
        ("a.*", "a.b.c", false),
        ("a.>", "a", false),
        ("a.>", "a.b.c", true),
        (">", "a", true),
        ("*.>", "a", false),
        (">", "a..b", false),
        ("a*", "a*", true),
        ("a*", "ab", false),
        ("a", "a.b", false),
    ] {
        assert_eq!(matches(pattern, subject), does, "{pattern} {subject}");
    }
    for (pattern, is) in [
        ("a.>", true),
        (">", true),
        (">>.a", true),
        (">.a", false),
        ("a..b", false),
        ("", false),
        ("a.", false),
    ] {
        assert_eq!(is_valid(pattern), is, "{pattern}");
    }
}
