//! Login tokens: `base64(user):base64(password)`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What a token says; nothing about whether it is right.
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

    /// The text that stands behind `OVERHEAD A `.
    pub fn encode(user: &[u8], password: &[u8]) -> String {
        format!("{}:{}", STANDARD.encode(user), STANDARD.encode(password))
    }
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
}
