//! Login tokens: `base64(user):base64(password)`, and lines that may hold one without being a login.

use crate::limits::{MAX_CLIENT_INFO, MAX_LINE_BEFORE_LOGIN};
use crate::protocol::command;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The user and the password that a token contains. Neither has been checked.
#[derive(PartialEq, Eq)]
pub struct Token {
    pub user: Vec<u8>,
    pub password: Vec<u8>,
}

impl Token {
    /// `None` if `text` has not the form of a token.
    pub fn decode(text: &[u8]) -> Option<Token> {
        let colon = memchr::memchr(b':', text)?;
        let user = STANDARD.decode(&text[..colon]).ok()?;
        let password = STANDARD.decode(&text[colon + 1..]).ok()?;
        Some(Token { user, password })
    }

    /// The user that a token names; `None` if `text` has not the form of one, or is longer than any right one.
    pub fn user_of(text: &[u8]) -> Option<Vec<u8>> {
        let is_too_long = text.len() > MAX_LINE_BEFORE_LOGIN;
        let token = (!is_too_long).then(|| Token::decode(text)).flatten()?;
        Some(token.user)
    }

    /// The text that stands behind `OVERHEAD A `.
    pub fn encode(user: &[u8], password: &[u8]) -> String {
        format!("{}:{}", STANDARD.encode(user), STANDARD.encode(password))
    }
}

/// The verb that begins a login line.
const OVERHEAD: &[u8] = b"OVERHEAD";

/// Reports whether a line that is not a login may be a mistyped one, so that it may hold a password: a line that is
/// no command in the right form, or an OVERHEAD line without the flag A. A wrong `true` costs monitors a line that
/// had no effect anyway. Only as much of the line is examined as a login may have.
pub fn may_be_login(line: &[u8]) -> bool {
    let line = line.trim_ascii_start();
    let line = &line[..line.len().min(MAX_LINE_BEFORE_LOGIN)];
    if starts_with_overhead(line) {
        match proper_overhead(line) {
            Some((flags, value)) => {
                flags.iter().any(|flag| flag.eq_ignore_ascii_case(&b'A'))
                    || words(value).any(is_token)
            }
            None => true,
        }
    } else {
        words(line).any(has_two_parts)
    }
}

/// The part of a client's identification that is fit to be shown: all up to a login that a missing line break has
/// made a part of it. Of a long one no more is examined than could be shown, and a login behind it.
pub fn without_login(identification: &[u8]) -> &[u8] {
    let examined = identification
        .len()
        .min(MAX_CLIENT_INFO + MAX_LINE_BEFORE_LOGIN);
    let identification = &identification[..examined];
    let login = words(identification).find(|word| starts_with_overhead(word) || is_token(word));
    let end = login.map_or(identification.len(), |word| {
        word.as_ptr() as usize - identification.as_ptr() as usize
    });
    identification[..end].trim_ascii_end()
}

fn starts_with_overhead(line: &[u8]) -> bool {
    line.get(..OVERHEAD.len())
        .is_some_and(|verb| verb.eq_ignore_ascii_case(OVERHEAD))
}

/// Flags and value of a line `OVERHEAD flags value` in the right form.
fn proper_overhead(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = line.strip_prefix(OVERHEAD)?.strip_prefix(b" ")?;
    command::overhead(rest)?;
    let blank = memchr::memchr(b' ', rest)?;
    Some((&rest[..blank], &rest[blank + 1..]))
}

fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control())
        .filter(|word| !word.is_empty())
}

/// Reports whether the word is a token of text: other words with a colon decode to arbitrary bytes.
fn is_token(word: &[u8]) -> bool {
    let is_text = |bytes: &[u8]| {
        std::str::from_utf8(bytes)
            .is_ok_and(|text| !text.is_empty() && !text.contains(char::is_control))
    };
    word.len() <= MAX_LINE_BEFORE_LOGIN
        && Token::decode(word).is_some_and(|token| is_text(&token.user) && is_text(&token.password))
}

/// Reports whether the word may be meant as `user:password`, encoded or not. The `::` in the names of signals and
/// entries parts nothing.
fn has_two_parts(word: &[u8]) -> bool {
    let is_single = |at: usize| {
        at > 0 && word[at - 1] != b':' && word.get(at + 1).is_some_and(|next| *next != b':')
    };
    memchr::memchr_iter(b':', word).any(is_single)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_go_there_and_back() {
        let text = Token::encode(b"admin", b"adminpw");
        assert_eq!(text, "YWRtaW4=:YWRtaW5wdw==");
        let token = Token::decode(text.as_bytes()).expect("a token");
        assert_eq!(
            (&token.user[..], &token.password[..]),
            (&b"admin"[..], &b"adminpw"[..])
        );
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for text in [
            "",
            "YWRtaW4=",
            "YWRtaW4=:x",
            "YWRtaW4=:YWRtaW5wdw==x",
            "!:!",
        ] {
            assert!(Token::decode(text.as_bytes()).is_none(), "{text:?}");
        }
    }

    #[test]
    fn mistyped_logins_are_recognised() {
        let token = Token::encode(b"admin", b"adminpw");
        for line in [
            "OVERHEAD a {}",
            "OVERHEAD  A {}",
            "OVERHEAD   {}",
            "OVERHEAD {}",
            "OVERHEAD\tA {}",
            "OVERHEAD A\t{}",
            "OVERHEAD A",
            "OVERHEAD aM {}",
            "OVERHEAD Ma {}",
            "OVERHEAD S {}",
            "OVERHEAD E {}",
            "OVERHEAD M A {}",
            "OVERHEAD Q {}",
            "OVERHEAD \u{c4} {}",
            "OVERHEAD: A {}",
            "OVERHEADA {}",
            "OVERHEAD a admin adminpw",
            "overhead A {}",
            "Overhead a {}",
            " OVERHEAD A {}",
            "\tOVERHEAD A {}",
            "OVERHED A {}",
            "OVERHED A admin:adminpw",
            "LOGIN admin:p@ss!",
            "PINGOVERHEAD A {}",
            "A {}",
            "{}",
            "store {}",
        ] {
            let line = line.replace("{}", &token);
            assert!(may_be_login(line.as_bytes()), "{line:?}");
        }
    }

    #[test]
    fn other_lines_are_not_taken_for_logins() {
        for line in [
            "OVERHEAD G hello all",
            "OVERHEAD GN Terry Pratchett",
            "OVERHEAD M host:port is up",
            "OVERHEAD S 5",
            "OVERHEAD E unknown_command set a::b=1",
            "NONSENSE here",
            "set a::b=1",
            "store a::b: =1",
            ":",
            "",
            "OVERHEA",
        ] {
            assert!(!may_be_login(line.as_bytes()), "{line:?}");
        }
    }

    #[test]
    fn an_identification_ends_before_a_login() {
        for (text, shown) in [
            ("Net::Clacks host:port 1", "Net::Clacks host:port 1"),
            ("tool OVERHEAD A YWRtaW4=:YWRtaW5wdw==", "tool"),
            ("tool overheadA x", "tool"),
            ("tool YWRtaW4=:YWRtaW5wdw== x", "tool"),
            ("OVERHEAD A x", ""),
            ("", ""),
        ] {
            assert_eq!(without_login(text.as_bytes()), shown.as_bytes(), "{text:?}");
        }
    }
}
