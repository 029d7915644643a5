//! Messages: signals and other lines of the server that are no answers, and events of the connection.

use super::text::Text;
use crate::protocol::command::Pair;
use crate::protocol::reply::Reply;
use crate::protocol::{Flags, Overhead};

/// A signal, another line of the server, or an event of the connection. Messages come in the order of these events.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Message {
    /// A signal with a value.
    Set { name: Text, value: Text },
    /// A signal without one.
    Notify { name: Text },
    /// The name and version of the server.
    ServerInfo(Text),
    /// A line of monitoring. `about` is the CID of the connection that has sent the line `text`, or `CONNECTED`,
    /// `DISCONNECTED` or `SERVERCACHE` for an event of the server.
    Debug { about: Text, text: Text },
    /// The server refused an earlier command; the text is its reason.
    Error(Text),
    /// A text for people to read.
    Informal(Text),
    /// Any other OVERHEAD line, such as one that a client had forwarded to all: `GN` `Terry Pratchett`.
    Overhead { flags: String, value: Text },
    /// The connection was lost; the text says why. A server that is silent, and does not answer a FLUSH, counts as lost
    /// after two [probe intervals](super::Options::probe_interval). Signals sent from now on are missed.
    Disconnected(Text),
    /// There is a connection again, with all subscriptions.
    Reconnected,
    /// The number of messages that were dropped, the oldest first, because they arrived faster than they were fetched.
    Lost(u64),
}

impl Message {
    /// The message of a reply, or `None` if the reply does not concern the program.
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
                // A forwarded line comes from another client, so its flags say nothing about this one.
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

    /// The approximate memory of the message, in bytes.
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
