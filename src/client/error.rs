//! Errors of the client library.

use std::fmt;
use std::io;

/// An error of a call of [`Client`](super::Client) or [`Cache`](super::Cache).
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// An argument can't be expressed in the protocol. Nothing was sent.
    Invalid(&'static str),
    /// The server does not accept the user and password.
    LoginRefused,
    /// The server's certificate is not accepted.
    Certificate(String),
    /// The server refused a command; the text is its reason, such as `permission_denied`.
    Refused(String),
    /// The options can't be used: the authorities can't be read, or plain text would leave this machine.
    Options(String),
    /// The time limit of the call was exceeded. It is unknown if the server has processed the call.
    TimedOut,
    /// There is no connection, or it was lost during the call. It is unknown if the server has processed the call. The
    /// kind is `TimedOut` if the server reads nothing, or is silent and has not answered a FLUSH.
    Disconnected(io::Error),
    /// The other end does not speak the Clacks protocol.
    NotClacks(String),
    /// A structure can't be written, or can't be converted to the wanted type. Only with the feature `yaml`.
    Structure(String),
}

impl Error {
    /// Returns true for errors that persist until somebody changes the configuration, so that retrying is useless.
    pub(super) fn is_final(&self) -> bool {
        matches!(
            self,
            Error::LoginRefused | Error::Certificate(_) | Error::Options(_)
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Invalid(what) => f.write_str(what),
            Error::LoginRefused => f.write_str("the server refuses this user or password"),
            Error::Certificate(what) => write!(f, "the server's certificate is refused: {what}"),
            Error::Refused(reason) => write!(f, "the server refused it: {reason}"),
            Error::Options(what) => f.write_str(what),
            Error::TimedOut => f.write_str("the server did not answer in time"),
            Error::Disconnected(error) => write!(f, "no connection to the server: {error}"),
            Error::NotClacks(what) => write!(f, "that is no clacks server: {what}"),
            Error::Structure(what) => write!(f, "the structure: {what}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Disconnected(error) => Some(error),
            _ => None,
        }
    }
}
