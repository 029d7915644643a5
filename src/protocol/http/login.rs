//! The login that a request carries (RFC 7617).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The user and the password of a header Authorization. Neither has been checked.
#[derive(PartialEq, Eq)]
pub struct Login {
    bytes: Vec<u8>,
    colon: usize,
}

impl Login {
    /// Reads the value of the header; `None` if it is none in the form of Basic.
    pub fn of(value: &[u8]) -> Option<Login> {
        const SCHEME: &[u8] = b"Basic";
        let (scheme, rest) = value.split_at_checked(SCHEME.len())?;
        if !scheme.eq_ignore_ascii_case(SCHEME) || !rest.starts_with(b" ") {
            return None;
        }
        let bytes = STANDARD.decode(rest.trim_ascii()).ok()?;
        let colon = memchr::memchr(b':', &bytes)?;
        Some(Login { bytes, colon })
    }

    pub fn user(&self) -> &[u8] {
        &self.bytes[..self.colon]
    }

    pub fn password(&self) -> &[u8] {
        &self.bytes[self.colon + 1..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_password_are_read() {
        for (text, user, password) in [
            ("u:p", "u", "p"),
            ("u:p:q", "u", "p:q"),
            (":", "", ""),
            ("ü:ö", "ü", "ö"),
        ] {
            for scheme in ["Basic ", "basic  ", "BASIC "] {
                let value = format!("{scheme}{}", STANDARD.encode(text));
                let login = Login::of(value.as_bytes()).expect("a login");
                assert_eq!(login.user(), user.as_bytes(), "{text}");
                assert_eq!(login.password(), password.as_bytes(), "{text}");
            }
        }
    }

    #[test]
    fn other_forms_are_none() {
        for value in [
            "",
            "Basic",
            "Basic ",
            "BasicdTpw",
            "Basic dTpw!",
            "Basic dXA=",
            "Bearer dTpw",
            "Basic dTpw dTpw",
        ] {
            assert!(Login::of(value.as_bytes()).is_none(), "{value}");
        }
    }
}
