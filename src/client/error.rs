//! What can go wrong with a client's call.

use std::fmt;
use std::io;

/// Why a call of [`Client`](super::Client) or [`Cache`](super::Cache) has not done what it should.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// An argument can't be said in the protocol: nothing was sent.
    Invalid(&'static str),
    /// The server doesn't take this user and password.
    LoginRefused,
    /// The server's certificate doesn't show that it is the one that is meant.
    Certificate(String),
    /// The server refused a command; the text is its reason, such as `permission_denied`.
    Refused(String),
    /// What the options ask for can't be done: the authorities can't be read, plain text would leave this
    /// machine.
    Options(String),
    /// The call's time was up. Whether the server has worked it off is not known.
    TimedOut,
    /// There is no connection, or it was lost during the call. Whether the server has worked it off is
    /// not known. Of kind `TimedOut` if the server takes nothing, or is silent and has not answered a FLUSH.
    Disconnected(io::Error),
    /// What is at the other end doesn't speak this protocol.
    NotClacks(String),
    /// A structure can't be written, or is not what the program wants; only with the feature `yaml`.
    Structure(String),
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
