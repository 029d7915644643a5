//! The database that a connection string describes: its hosts in the order in which they are tried, and the use of TLS.

use super::failure::chain;
use crate::certificates::{self, ServerTrust, Trust};
use std::borrow::Cow;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;
use tokio_postgres::Config;
use tokio_postgres::config::{ChannelBinding, Host, SslMode, SslNegotiation};

/// The time limit for connecting and for an answer, unless the connection string has a `connect_timeout`.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The time of silence after which the database is probed, unless the connection string has `keepalives_idle`.
const IDLE: Duration = Duration::from_secs(30);
/// The driver's default for `keepalives_idle`.
const DRIVERS_IDLE: Duration = Duration::from_secs(2 * 60 * 60);
/// The default port of PostgreSQL.
const PORT: u16 = 5432;

/// A database and the parameters of connections to it.
#[derive(Clone)]
pub struct Target {
    pub config: Config,
    pub hosts: Vec<DatabaseHost>,
    pub tls: Tls,
}

/// One of the hosts of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseHost {
    Unix(PathBuf),
    /// `address` is the address to connect to; the certificate has to be for `name`.
    Tcp {
        name: String,
        address: String,
        port: u16,
    },
}

/// The use of TLS on TCP connections. Connections to Unix sockets have none.
#[derive(Clone)]
pub enum Tls {
    Never,
    /// TLS is used if the server has it.
    Preferred(ServerTrust),
    Required(ServerTrust),
}

impl Target {
    /// Parses a connection string: key words or a URL, as psql(1) accepts them.
    ///
    /// # Errors
    /// A message that says what is wrong. It shows no value that could contain a password.
    pub fn parse(text: &str) -> Result<Target, String> {
        let (rest, own) = extract_own_parameters(text);
        let mut config: Config = rest.parse().map_err(|error| chain(&error))?;
        let tls = own.tls(config.get_ssl_mode())?;
        own.check_session()?;
        if config.get_channel_binding() == ChannelBinding::Require {
            return Err("channel_binding=require is not taken".to_owned());
        }
        if config.get_ssl_negotiation() == SslNegotiation::Direct {
            return Err("sslnegotiation=direct is not taken".to_owned());
        }
        let hosts = hosts(&config)?;
        if config.get_keepalives_idle() == DRIVERS_IDLE {
            config.keepalives_idle(IDLE);
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(TIMEOUT);
        }
        // TLS is set up here; the driver gets encrypted connections.
        config.ssl_mode(SslMode::Disable);
        Ok(Target { config, hosts, tls })
    }

    /// The time limit for an answer.
    pub fn timeout(&self) -> Duration {
        self.config
            .get_connect_timeout()
            .copied()
            .unwrap_or(TIMEOUT)
    }

    /// The time of silence after which the database is probed.
    pub fn idle(&self) -> Duration {
        self.config.get_keepalives_idle()
    }
}

impl std::fmt::Display for DatabaseHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            DatabaseHost::Unix(path) => path.display().fmt(f),
            DatabaseHost::Tcp { address, port, .. } => write!(f, "{address}:{port}"),
        }
    }
}

fn hosts(config: &Config) -> Result<Vec<DatabaseHost>, String> {
    let (names, addresses, ports) = (
        config.get_hosts(),
        config.get_hostaddrs(),
        config.get_ports(),
    );
    let count = names.len().max(addresses.len());
    if count == 0 {
        return Err("host is missing".to_owned());
    }
    if !names.is_empty() && !addresses.is_empty() && names.len() != addresses.len() {
        return Err("host and hostaddr name different numbers of servers".to_owned());
    }
    if ports.len() > 1 && ports.len() != count {
        return Err("port has more or fewer numbers than there are hosts".to_owned());
    }
    let host = |index: usize| {
        let port = ports.get(index).or(ports.first()).copied().unwrap_or(PORT);
        match (names.get(index), addresses.get(index)) {
            (Some(Host::Unix(folder)), None) => {
                DatabaseHost::Unix(folder.join(format!(".s.PGSQL.{port}")))
            }
            (name, address) => {
                let name = match name {
                    Some(Host::Tcp(name)) => Some(name.clone()),
                    _ => None,
                };
                let address = address.map(ToString::to_string).or(name.clone());
                let address = address.unwrap_or_default();
                DatabaseHost::Tcp {
                    name: name.unwrap_or_else(|| address.clone()),
                    address,
                    port,
                }
            }
        }
    };
    Ok((0..count).map(host).collect())
}

/// Parameters of a connection string that the driver does not know, or not with all their values.
#[derive(Default, Debug, PartialEq, Eq)]
struct OwnParameters {
    sslmode: Option<String>,
    sslrootcert: Option<String>,
    target_session_attrs: Option<String>,
}

impl OwnParameters {
    fn parameter(&mut self, word: &str) -> Option<&mut Option<String>> {
        match word {
            "sslmode" => Some(&mut self.sslmode),
            "sslrootcert" => Some(&mut self.sslrootcert),
            "target_session_attrs" => Some(&mut self.target_session_attrs),
            _ => None,
        }
    }

    /// The use of TLS according to `sslmode` and `sslrootcert`, or the driver's default.
    fn tls(&self, default: SslMode) -> Result<Tls, String> {
        let mode = match (self.sslmode.as_deref(), default) {
            (Some(mode), _) => mode,
            (None, SslMode::Disable) => "disable",
            (None, _) => "prefer",
        };
        match mode {
            "disable" => Ok(Tls::Never),
            "prefer" => Ok(Tls::Preferred(certificates::of_server(Trust::Anybody)?)),
            // As in psql, `require` without authorities encrypts without checking the certificate.
            "require" if self.sslrootcert.is_none() => {
                Ok(Tls::Required(certificates::of_server(Trust::Anybody)?))
            }
            "require" | "verify-full" => Ok(Tls::Required(self.trust()?)),
            _ => Err(format!(
                "sslmode={mode} is not taken: it is disable, prefer, require or verify-full"
            )),
        }
    }

    /// The check of the server's certificate.
    fn trust(&self) -> Result<ServerTrust, String> {
        let trust = match self.sslrootcert.as_deref() {
            None | Some("system") => Trust::System,
            Some(file) => {
                let read = fs::read(file).map_err(|error| error.to_string());
                let authorities = read.and_then(|pem| certificates::parse_certificates(&pem));
                Trust::Authorities(
                    authorities.map_err(|error| format!("sslrootcert={file}: {error}"))?,
                )
            }
        };
        certificates::of_server(trust).map_err(|what| format!("sslrootcert: {what}"))
    }

    /// Checks `target_session_attrs`. Only a primary allows LISTEN, so the host has to be one in any case.
    fn check_session(&self) -> Result<(), String> {
        match self.target_session_attrs.as_deref() {
            None | Some("any" | "read-write" | "primary") => Ok(()),
            Some(other) => Err(format!(
                "target_session_attrs={other} is not taken: a standby lets nobody listen"
            )),
        }
    }
}

/// Removes the [`OwnParameters`] from a connection string. A malformed string stays unchanged, and the driver reports the
/// error.
fn extract_own_parameters(text: &str) -> (Cow<'_, str>, OwnParameters) {
    let is_url = ["postgres://", "postgresql://"]
        .iter()
        .any(|start| text.starts_with(start));
    let taken = if is_url {
        extract_from_url(text)
    } else {
        extract_from_words(text)
    };
    match taken {
        Some((rest, own)) => (rest.into(), own),
        None => (text.into(), OwnParameters::default()),
    }
}

fn extract_from_url(text: &str) -> Option<(String, OwnParameters)> {
    let (base, query) = text.split_once('?')?;
    let mut own = OwnParameters::default();
    let mut kept = Vec::new();
    for pair in query.split('&') {
        let (word, value) = pair.split_once('=').unwrap_or((pair, ""));
        match own.parameter(word) {
            Some(parameter) => *parameter = Some(percent_decoded(value)?),
            None => kept.push(pair),
        }
    }
    let rest = match kept.is_empty() {
        true => base.to_owned(),
        false => format!("{base}?{}", kept.join("&")),
    };
    Some((rest, own))
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// Parses `word = value` pairs. A value may stand in quotes, and a backslash escapes the next character.
fn extract_from_words(text: &str) -> Option<(String, OwnParameters)> {
    let mut own = OwnParameters::default();
    let mut kept = String::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let pair = rest;
        let (word, after) = rest.split_once('=')?;
        let (value, after) = word_value(after.trim_start())?;
        rest = after.trim_start();
        match own.parameter(word.trim_end()) {
            Some(parameter) => *parameter = Some(value),
            None => {
                kept.push_str(&pair[..pair.len() - rest.len()]);
                kept.push(' ');
            }
        }
    }
    Some((kept, own))
}

/// The value at the beginning of a text, and the rest of the text; `None` if a quote is not closed.
fn word_value(text: &str) -> Option<(String, &str)> {
    let is_quoted = text.starts_with('\'');
    let mut value = String::new();
    let mut characters = text.char_indices().skip(usize::from(is_quoted));
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.push(characters.next()?.1),
            '\'' if is_quoted => return Some((value, &text[at + 1..])),
            blank if !is_quoted && blank.is_whitespace() => return Some((value, &text[at..])),
            other => value.push(other),
        }
    }
    (!is_quoted).then_some((value, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(text: &str) -> String {
        Target::parse(text).err().unwrap_or_default()
    }

    #[test]
    fn a_word_that_is_not_taken_is_named() {
        for (text, named) in [
            ("host=a sllmode=require", "sllmode"),
            ("postgresql://a/b?servise=c", "servise"),
            ("host=a port=x", "port"),
            ("host=a connect_timeout=soon", "connect_timeout"),
            ("host=a sslmode=verify-ca", "sslmode=verify-ca"),
            (
                "host=a sslmode=require sslrootcert=/is/not/there",
                "sslrootcert=/is/not/there",
            ),
            ("host=a channel_binding=require", "channel_binding=require"),
            (
                "host=a sslnegotiation=direct sslmode=require",
                "sslnegotiation",
            ),
            (
                "host=a target_session_attrs=standby",
                "target_session_attrs=standby",
            ),
            ("host=a,b port=1,2,3", "port"),
            ("host=a,b hostaddr=127.0.0.1", "hostaddr"),
            ("dbname=a", "host"),
        ] {
            let error = error_of(text);
            assert!(error.contains(named), "{text}: {error:?}");
        }
        assert!(!error_of("host=a password='secret word").contains("secret"));
    }

    #[test]
    fn own_words_are_taken_out_of_both_forms() {
        let own = OwnParameters {
            sslmode: Some("require".to_owned()),
            sslrootcert: Some("a b/c".to_owned()),
            target_session_attrs: None,
        };
        let words =
            r"host=x sslmode = require password='a\'b sslmode=no' sslrootcert=a\ b/c dbname=y";
        let (rest, found) = extract_own_parameters(words);
        assert_eq!(
            rest.split_whitespace().collect::<Vec<_>>().join(" "),
            r"host=x password='a\'b sslmode=no' dbname=y"
        );
        assert_eq!(found, own);
        let (rest, found) =
            extract_own_parameters("postgresql://x/y?sslmode=require&user=z&sslrootcert=a%20b/c");
        assert_eq!(rest, "postgresql://x/y?user=z");
        assert_eq!(found, own);
    }

    #[test]
    fn hosts_are_tried_in_their_order() {
        let target = Target::parse("host=/run/postgresql,db.example port=1,2 sslmode=disable");
        let tcp = |name: &str, address: &str, port| DatabaseHost::Tcp {
            name: name.to_owned(),
            address: address.to_owned(),
            port,
        };
        let expected = [
            DatabaseHost::Unix("/run/postgresql/.s.PGSQL.1".into()),
            tcp("db.example", "db.example", 2),
        ];
        assert_eq!(target.expect("right words").hosts, expected);
        let target =
            Target::parse("host=db.example hostaddr=127.0.0.1 target_session_attrs=primary");
        let expected = [tcp("db.example", "127.0.0.1", 5432)];
        assert_eq!(target.expect("right words").hosts, expected);
    }
}
