//! The reasons for which a peer's TLS fails, and the signs of TLS in a stream.

use std::fmt;
use std::io::{self, ErrorKind};

/// Why a peer can't be talked to.
#[derive(Debug)]
pub enum Fault {
    /// The peer sends bytes that are not TLS.
    PlainText,
    Protocol(rustls::Error),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::PlainText => f.write_str("the peer speaks plain text"),
            Fault::Protocol(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Fault {}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> io::Error {
        io::Error::new(ErrorKind::InvalidData, fault)
    }
}

/// The first byte of every TLS handshake (RFC 8446, 5.1).
pub const HANDSHAKE: u8 = 0x16;
/// That of an alert, which is how a TLS client answers plain text.
const ALERT: u8 = 0x15;

/// Reports whether a stream with this first byte is TLS rather than plain text: a handshake or an alert.
pub fn is_tls(first: u8) -> bool {
    matches!(first, HANDSHAKE | ALERT)
}
