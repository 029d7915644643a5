//! The options of CONNECT: a JSON object.

use serde_json::{Map, Value};

/// The options of a connection: those that its CONNECTs had. Not `Debug`, so that no password is printed by mistake.
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
    pub name: String,
    pub language: String,
    pub version: String,
    user: String,
    password: String,
    auth_token: String,
    nkey: String,
    jwt: String,
    account: String,
    asks_for_new_account: bool,
}

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
            name: String::new(),
            language: String::new(),
            version: String::new(),
            user: String::new(),
            password: String::new(),
            auth_token: String::new(),
            nkey: String::new(),
            jwt: String::new(),
            account: String::new(),
            asks_for_new_account: false,
        }
    }
}

impl Options {
    /// The options after a CONNECT with this text. It changes only those that it has; null is none.
    pub fn with(&self, text: &[u8]) -> Result<Options, Malformed> {
        let mut fields: Map<String, Value> = serde_json::from_slice(text).map_err(|_| Malformed)?;
        let mut changed = self.clone();
        for (key, option) in [
            ("verbose", &mut changed.is_verbose),
            ("pedantic", &mut changed.is_pedantic),
            ("echo", &mut changed.wants_echo),
            ("headers", &mut changed.takes_headers),
            ("no_responders", &mut changed.wants_no_responders),
            ("new_account", &mut changed.asks_for_new_account),
        ] {
            match fields.get(key) {
                None | Some(Value::Null) => {}
                Some(Value::Bool(value)) => *option = *value,
                Some(_) => return Err(Malformed),
            }
        }
        // Nothing is signed here.
        let mut signature = String::new();
        for (key, option) in [
            ("user", &mut changed.user),
            ("pass", &mut changed.password),
            ("auth_token", &mut changed.auth_token),
            ("nkey", &mut changed.nkey),
            ("jwt", &mut changed.jwt),
            ("sig", &mut signature),
            ("account", &mut changed.account),
            ("name", &mut changed.name),
            ("lang", &mut changed.language),
            ("version", &mut changed.version),
        ] {
            match fields.get_mut(key) {
                None | Some(Value::Null) => {}
                Some(Value::String(value)) => *option = std::mem::take(value),
                Some(_) => return Err(Malformed),
            }
        }
        match fields.get("protocol") {
            None | Some(Value::Null) => {}
            Some(value) => changed.protocol = value.as_i64().ok_or(Malformed)?,
        }
        Ok(changed)
    }

    /// The login. Other ways to log in are ignored beside a user.
    pub fn login(&self) -> Login<'_> {
        let is_used = |field: &&(&'static str, &String)| !field.1.is_empty();
        let unknown = [
            ("pass", &self.password),
            ("auth_token", &self.auth_token),
            ("nkey", &self.nkey),
            ("jwt", &self.jwt),
        ];
        if !self.account.is_empty() {
            Login::Unknown("account")
        } else if self.asks_for_new_account {
            Login::Unknown("new_account")
        } else if !self.user.is_empty() {
            Login::Token {
                user: &self.user,
                password: &self.password,
            }
        } else {
            let field = unknown.iter().find(is_used);
            field.map_or(Login::None, |(name, _)| Login::Unknown(name))
        }
    }

    /// The name that the client gives itself.
    pub fn identification(&self) -> String {
        let words = ["nats", &self.language, &self.version, &self.name];
        let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
        words.join(" ")
    }
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
        ] {
            assert!(
                Options::default().with(text.as_bytes()) == Err(Malformed),
                "{text}"
            );
        }
        for (text, protocol) in [
            (r#"{"protocol":-1}"#, -1),
            (r#"{"protocol":2}"#, 2),
            (r#"{"protocol":null,"verbose":null,"user":null,"x":1.5}"#, 0),
        ] {
            assert_eq!(after(&[text]).protocol, protocol, "{text}");
        }
    }
}
