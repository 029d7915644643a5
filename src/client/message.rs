//! What a server says unasked.

use super::Text;
use crate::protocol::command::Pair;
use crate::protocol::reply::Reply;
use crate::protocol::{Flags, Overhead};

/// Something that happened, in the order in which it did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Message {
    /// A signal with a value.
    Set { name: Text, value: Text },
    /// A signal without one.
    Notify { name: Text },
    /// What the server is.
    ServerInfo(Text),
    /// Monitoring: a connection (`about` is its CID) has sent a line, or the server tells something:
    /// then `about` is `CONNECTED`, `DISCONNECTED` or `SERVERCACHE`.
    Debug { about: Text, text: Text },
    /// Something sent earlier was refused; the text is the server's reason.
    Error(Text),
    /// For people to read.
    Informal(Text),
    /// An OVERHEAD line that somebody had forwarded, such as `GN` `Terry Pratchett`.
    Overhead { flags: String, value: Text },
    /// The connection was lost; the text says why: also because the server was silent, and did not answer a FLUSH, for two
    /// [probe intervals](super::Options::probe_interval). Signals that pass from now on are missed.
    Disconnected(Text),
    /// There is a connection again, and all names are listened to as before.
    Reconnected,
    /// So many messages were dropped, the oldest first: they came faster than they were fetched.
    Lost(u64),
}

impl Message {
    /// `None`: nothing that a program has to know.
    pub(super) fn from_reply(reply: Reply<'_>) -> Option<Message> {
        Some(match reply {
            Reply::Set(Pair { name, value }) => Message::Set {
                name: name.into(),
                value: value.into(),
            },
            Reply::Notify(name) => Message::Notify { name: name.into() },
            Reply::Clacks(text) => Message::ServerInfo(text.into()),
            Reply::Debug(Pair { name, value }) => Message::Debug {
                about: name.into(),
                text: value.into(),
            },
            Reply::Overhead(Overhead { flags, value }) => {
                // What other clients forward to all is theirs, whatever it is called.
                let is_own = !flags.intersects(Flags::FORWARD);
                if is_own && flags.intersects(Flags::ERROR) {
                    Message::Error(value.into())
                } else if is_own && flags.intersects(Flags::INFORMAL) {
                    Message::Informal(value.into())
                } else {
                    Message::Overhead {
                        flags: flags.letters().map(char::from).collect(),
                        value: value.into(),
                    }
                }
            }
            _ => return None,
        })
    }

    /// What it takes in memory, about, in bytes.
    pub(super) fn size(&self) -> usize {
        let text = match self {
            Message::Set { name, value } => name.len() + value.len(),
            Message::Debug { about, text } => about.len() + text.len(),
            Message::Notify { name: text }
            | Message::ServerInfo(text)
            | Message::Error(text)
            | Message::Informal(text)
            | Message::Overhead { value: text, .. }
            | Message::Disconnected(text) => text.len(),
            Message::Reconnected | Message::Lost(_) => 0,
        };
        size_of::<Message>() + text
    }
}
