//! The listening sockets that clients come in at, as far as a language tells its clients of them.

use crate::protocol::Language;

/// The listening socket that a connection came in at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entrance {
    /// The language of its clients.
    pub language: Language,
    /// Its index among those of that language, in the order of the settings.
    pub number: u16,
}

/// The first one of its language.
impl From<Language> for Entrance {
    fn from(language: Language) -> Entrance {
        Entrance {
            language,
            number: 0,
        }
    }
}

/// The address of a listening socket, with the port that was really bound.
#[derive(Debug, Clone)]
pub enum EntranceAddress {
    /// A Unix socket with its path.
    Unix(String),
    Tcp {
        host: String,
        port: u16,
        is_tls: bool,
    },
}

impl EntranceAddress {
    pub fn is_tls(&self) -> bool {
        matches!(self, EntranceAddress::Tcp { is_tls: true, .. })
    }
}
