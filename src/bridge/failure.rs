//! Errors of the database.

use std::error::Error;
use std::fmt;
use std::io;
use tokio_postgres::error::SqlState;

/// The reason for which a database can't be used.
#[derive(Debug)]
pub enum Failure {
    Postgres(tokio_postgres::Error),
    Closed,
    Silent,
    /// The session may listen, but notifications don't arrive.
    NoNotifications,
    /// There is no connection, or it was lost before the login.
    Unreachable(io::Error),
    Tls(String),
    /// The failures of several hosts.
    Hosts(String),
    /// The runtime could not be started, which has nothing to do with the database.
    System(io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Postgres(error) => f.write_str(&chain(error)),
            Failure::Closed => f.write_str("it has closed the connection"),
            Failure::Silent => f.write_str("it doesn't answer"),
            Failure::NoNotifications => f.write_str(
                "its notifications don't arrive, as behind a pooler in transaction mode; \
                 the bridge needs a session of its own",
            ),
            Failure::Unreachable(error) => write!(f, "error connecting to server: {error}"),
            Failure::Tls(what) => write!(f, "TLS: {what}"),
            Failure::Hosts(text) => f.write_str(text),
            Failure::System(error) => error.fmt(f),
        }
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Failure {
        Failure::Postgres(error)
    }
}

impl Failure {
    /// Returns true if another host may do better: this one lets nobody log in, or it is a standby.
    pub fn is_of_host(&self) -> bool {
        match self {
            Failure::Postgres(error) => {
                let code = error.code();
                code.is_none_or(|code| {
                    *code == SqlState::READ_ONLY_SQL_TRANSACTION || is_of_login(code.code())
                })
            }
            Failure::System(_) => false,
            _ => true,
        }
    }
}

/// Returns true for classes of errors with which a server refuses a session: connections, logins, catalogs, resources,
/// shutdown.
fn is_of_login(code: &str) -> bool {
    ["08", "28", "3D", "53", "57"]
        .iter()
        .any(|class| code.starts_with(class))
}

/// The text of an error and of its causes. The errors of tokio-postgres alone say little.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += ": ";
        text += &cause.to_string();
        source = cause.source();
    }
    text
}
