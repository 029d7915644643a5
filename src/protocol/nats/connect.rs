//! The options of CONNECT: a JSON object.

use crate::limits::MAX_CLIENT_INFO;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// The options of a connection: those that its CONNECTs had. Not `Debug`, so that no password is printed by mistake. A
/// session keeps them, so that they are small.
#[derive(Clone, PartialEq, Eq)]
pub struct Options {
    /// The client wants `+OK`.
    pub is_verbose: bool,
    /// The subjects of PUB are checked.
    pub is_pedantic: bool,
    /// The client gets its own messages.
    pub wants_echo: bool,
    pub takes_headers: bool,
    /// The client wants to be told that a request reached nobody.
    pub wants_no_responders: bool,
    pub protocol: i64,
    name: Box<str>,
    language: Box<str>,
    version: Box<str>,
    user: Box<str>,
    password: Box<str>,
    /// Which of [`OTHER_LOGINS`] are not empty.
    other_logins: [bool; 3],
    has_account: bool,
    asks_for_new_account: bool,
}

/// Options for logins that are not known here.
const OTHER_LOGINS: [&str; 3] = ["auth_token", "nkey", "jwt"];

/// The text behind CONNECT is no JSON object, or a known option in it has a wrong type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// The login that the options have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Login<'a> {
    /// No option has to do with a login.
    None,
    Token {
        user: &'a str,
        password: &'a str,
    },
    /// This field can't log in.
    Unknown(&'static str),
}

impl Default for Options {
    fn default() -> Options {
        Options {
            is_verbose: true,
            is_pedantic: true,
            wants_echo: true,
            takes_headers: false,
            wants_no_responders: false,
            protocol: 0,
            name: Box::default(),
            language: Box::default(),
            version: Box::default(),
            user: Box::default(),
            password: Box::default(),
            other_logins: [false; 3],
            has_account: false,
            asks_for_new_account: false,
        }
    }
}

/// The members of a JSON object, in their order. A key may come twice. Of a value only the form was checked: nobody
/// looks at those of unknown keys.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}

impl Options {
    /// The options after a CONNECT with this text. It changes only those that it has; null is none. Bytes that are no
    /// UTF-8 become replacement characters.
    pub fn with(&self, text: &[u8]) -> Result<Options, Malformed> {
        let text = String::from_utf8_lossy(text);
        let Members(members) = serde_json::from_str(&text).map_err(|_| Malformed)?;
        let mut changed = self.clone();
        for (key, value) in members {
            if value.get() != "null" {
                changed.set(&key, &value)?;
            }
        }
        Ok(changed)
    }

    fn set(&mut self, key: &str, value: &RawValue) -> Result<(), Malformed> {
        match key {
            "verbose" => self.is_verbose = read(value)?,
            "pedantic" => self.is_pedantic = read(value)?,
            "echo" => self.wants_echo = read(value)?,
            "headers" => self.takes_headers = read(value)?,
            "no_responders" => self.wants_no_responders = read(value)?,
            "new_account" => self.asks_for_new_account = read(value)?,
            "protocol" => self.protocol = read(value)?,
            "user" => self.user = read(value)?,
            "pass" => self.password = read(value)?,
            "name" => self.name = start_of(read(value)?),
            "lang" => self.language = start_of(read(value)?),
            "version" => self.version = start_of(read(value)?),
            "account" => self.has_account = !read::<Box<str>>(value)?.is_empty(),
            // Nothing is signed here, and the listener decides about TLS.
            "sig" => drop(read::<Box<str>>(value)?),
            "tls_required" => drop(read::<bool>(value)?),
            _ => {
                if let Some(place) = OTHER_LOGINS.iter().position(|other| *other == key) {
                    self.other_logins[place] = !read::<Box<str>>(value)?.is_empty();
                }
            }
        }
        Ok(())
    }

    /// The login. Other ways to log in are ignored beside a user.
    pub fn login(&self) -> Login<'_> {
        let other = OTHER_LOGINS.iter().zip(self.other_logins);
        let other = other.filter_map(|(name, is_used)| is_used.then_some(*name));
        if self.has_account {
            Login::Unknown("account")
        } else if self.asks_for_new_account {
            Login::Unknown("new_account")
        } else if !self.user.is_empty() {
            Login::Token {
                user: &self.user,
                password: &self.password,
            }
        } else if !self.password.is_empty() {
            Login::Unknown("pass")
        } else {
            other.into_iter().next().map_or(Login::None, Login::Unknown)
        }
    }

    /// The name that the client gives itself.
    pub fn identification(&self) -> String {
        let words = ["nats", &self.language, &self.version, &self.name];
        let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
        words.join(" ")
    }
}

/// The part of a text that is shown at most.
fn start_of(text: Box<str>) -> Box<str> {
    let mut end = text.len().min(MAX_CLIENT_INFO);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    match end < text.len() {
        true => text[..end].into(),
        false => text,
    }
}

fn read<T: DeserializeOwned>(value: &RawValue) -> Result<T, Malformed> {
    serde_json::from_str(value.get()).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(texts: &[&str]) -> Options {
        texts.iter().fold(Options::default(), |options, text| {
            let changed = options.with(text.as_bytes());
            changed.unwrap_or_else(|_| panic!("{text}"))
        })
    }

    #[test]
    fn options_have_their_defaults_and_later_ones_win() {
        let options = after(&["{}"]);
        assert!(options.is_verbose && options.is_pedantic && options.wants_echo);
        assert!(!options.takes_headers && !options.wants_no_responders);
        assert_eq!(
            (options.protocol, options.login() == Login::None),
            (0, true)
        );
        let go = r#"{"verbose":false,"pedantic":false,"user":"u","pass":"p","tls_required":false,"name":"","lang":"go",
            "version":"1.22.1","protocol":1,"echo":true,"headers":true,"no_responders":true}"#;
        let options = after(&[go]);
        assert!(!options.is_verbose && !options.is_pedantic && options.wants_echo);
        assert!(options.takes_headers && options.wants_no_responders);
        assert_eq!(
            (options.protocol, options.identification()),
            (1, "nats go 1.22.1".to_owned())
        );
        let options = after(&[
            go,
            r#" {"echo":false,"user":null,"pass":"q","echo":true,"echo":false} "#,
        ]);
        assert!(!options.wants_echo && !options.is_verbose);
        assert!(
            options.login()
                == Login::Token {
                    user: "u",
                    password: "q"
                }
        );
    }

    #[test]
    fn only_user_and_password_log_in() {
        let field = |text| match after(&[text]).login() {
            Login::None => "none".to_owned(),
            Login::Token { user, password } => format!("{user}:{password}"),
            Login::Unknown(field) => format!("unknown {field}"),
        };
        for (text, expected) in [
            (r#"{"user":"u"}"#, "u:"),
            (
                r#"{"user":"u","pass":"p","auth_token":"t","nkey":"n","jwt":"j"}"#,
                "u:p",
            ),
            (r#"{"pass":"p"}"#, "unknown pass"),
            (
                r#"{"user":"","pass":"","auth_token":"","account":"","new_account":false}"#,
                "none",
            ),
            (r#"{"auth_token":"t"}"#, "unknown auth_token"),
            (r#"{"nkey":"n"}"#, "unknown nkey"),
            (r#"{"jwt":"j"}"#, "unknown jwt"),
            (r#"{"sig":"s"}"#, "none"),
            (
                r#"{"user":"u","pass":"p","account":"a"}"#,
                "unknown account",
            ),
            (
                r#"{"user":"u","pass":"p","new_account":true}"#,
                "unknown new_account",
            ),
        ] {
            assert_eq!(field(text), expected, "{text}");
        }
    }

    #[test]
    fn bytes_that_are_no_utf8_and_numbers_without_end_do_no_harm_where_they_mean_nothing() {
        let deep = ["[".repeat(2000), "]".repeat(2000)].concat();
        let text = [
            b"{\"na\xFFme\":1,\"name\":\"a\xFFb\",\"x\":[1e999,{\"verbose\":-1e999}],\"y\":\"\\ud800\",\"z\":",
            deep.as_bytes(),
            b"}",
        ];
        let options = Options::default().with(&text.concat());
        let options = options.unwrap_or_else(|Malformed| panic!("it is an object"));
        assert_eq!(options.identification(), "nats a\u{FFFD}b");
        for text in [&b"{\xFF}"[..], b"{}\xFF"] {
            assert!(Options::default().with(text) == Err(Malformed));
        }
    }

    #[test]
    fn malformed_options_change_nothing() {
        for text in [
            "",
            "[]",
            "1",
            "\"a\"",
            "{",
            "{} x",
            "{}{}",
            "host:1 HTTP/1.1",
            "{\"a\"}",
            r#"{"verbose":1}"#,
            r#"{"verbose":"true"}"#,
            r#"{"pedantic":0}"#,
            r#"{"echo":{}}"#,
            r#"{"headers":[]}"#,
            r#"{"no_responders":1}"#,
            r#"{"new_account":""}"#,
            r#"{"protocol":1.0}"#,
            r#"{"protocol":"1"}"#,
            r#"{"protocol":99999999999999999999}"#,
            r#"{"user":1}"#,
            r#"{"pass":true}"#,
            r#"{"auth_token":1}"#,
            r#"{"nkey":1}"#,
            r#"{"jwt":1}"#,
            r#"{"sig":1}"#,
            r#"{"account":1}"#,
            r#"{"name":1}"#,
            r#"{"lang":1}"#,
            r#"{"version":1}"#,
            r#"{"tls_required":1}"#,
            r#"{"protocol":1e999}"#,
            r#"{"name":1e999}"#,
            r#"{"x":1e}"#,
        ] {
            assert!(
                Options::default().with(text.as_bytes()) == Err(Malformed),
                "{text}"
            );
        }
        for (text, protocol) in [
            (r#"{"protocol":-1}"#, -1),
            (r#"{"protocol":2}"#, 2),
            (r#"{"protocol":1,"protocol":null}"#, 1),
            (r#"{"protocol":null,"verbose":null,"user":null,"x":1.5}"#, 0),
        ] {
            assert_eq!(after(&[text]).protocol, protocol, "{text}");
        }
    }
}
