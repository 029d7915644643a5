//! Faults of clients, and the texts that tell them.

/// A fault that is told by a fixed text, or by none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// Bytes that can't begin a command, or a payload that does not end in CR LF.
    UnknownOperation,
    /// A command with wrong arguments.
    Form,
    PayloadTooLarge,
    LineTooLong,
    Authorization,
    AuthenticationTimeout,
    /// CONNECT asks for an unknown version of the protocol.
    ClientProtocol,
    /// CONNECT asks for answers without responders, but takes no headers.
    NoRespondersWithoutHeaders,
    TooManyConnections,
    StaleConnection,
    InvalidSubject,
    InvalidPublishSubject,
}

impl Error {
    /// The text of `-ERR`; `None` if the connection is closed without one.
    pub fn text(self) -> Option<&'static str> {
        Some(match self {
            Error::UnknownOperation => "Unknown Protocol Operation",
            Error::Form => return None,
            Error::PayloadTooLarge => "Maximum Payload Violation",
            Error::LineTooLong => "maximum control line exceeded",
            Error::Authorization => "Authorization Violation",
            Error::AuthenticationTimeout => "Authentication Timeout",
            Error::ClientProtocol => "invalid client protocol",
            Error::NoRespondersWithoutHeaders => "no responders requires headers support",
            Error::TooManyConnections => "maximum connections exceeded",
            Error::StaleConnection => "Stale Connection",
            Error::InvalidSubject => "Invalid Subject",
            Error::InvalidPublishSubject => "Invalid Publish Subject",
        })
    }

    /// Reports whether the fault ends the connection.
    pub fn closes(self) -> bool {
        !matches!(self, Error::InvalidSubject | Error::InvalidPublishSubject)
    }
}
