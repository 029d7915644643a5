//! The languages of clients, each in a folder of its own: from a request to the operation that it asks for, and from
//! the outcome to the answer. Nothing is decided here about entries, signals or sessions.

pub mod clacks;
pub mod http;
pub mod memcached;
pub mod nats;
mod observation;
mod plan;
mod report;
#[cfg(test)]
mod toy;

use crate::broker::close_reason::CloseReason;
use crate::broker::statistics::Verb;
use crate::protocol::{Language, Request};

pub use observation::{describe, observe_name};
pub use plan::{Plan, Receivers};

/// Returns the verb that a request counts under in the statistics.
pub fn verb_of(request: &Request<'_>) -> Verb {
    match request {
        Request::Clacks(line) => clacks::verb_of(line),
        Request::Memcached(frame) => memcached::verb_of(&frame.request),
        Request::MemcachedLogin(_) => Verb::Login,
        Request::Nats(frame) => nats::verb_of(&frame.request),
        Request::Http(frame) => http::verb_of(frame),
        #[cfg(test)]
        Request::Toy(_) => Verb::Unknown,
    }
}

/// Something that a server tells a client unasked, in whatever language.
#[derive(Debug, Clone, Copy)]
pub enum Notice<'a> {
    /// The first line, with the name of the software.
    Greeting(&'a str),
    /// Nothing was said for long.
    KeepAlive,
    /// The connection ends because the client let a time pass that the reason names.
    TimedOut(CloseReason),
    /// The connection ends for that reason, which is the client's fault or a limit of the server.
    Refused(CloseReason),
    /// The connection ends at the wish of the server or of somebody who manages it.
    Farewell,
}

impl Notice<'_> {
    /// Appends the notice; nothing where the language has no words for it.
    pub fn encode(self, language: Language, to: &mut Vec<u8>) {
        match language {
            Language::Clacks => clacks::encode_notice(self, to),
            Language::Memcached | Language::MemcachedLogin => memcached::encode_notice(self, to),
            Language::Nats | Language::NatsLogin => nats::encode_notice(self, to),
            Language::Http => http::encode_notice(self, to),
            #[cfg(test)]
            Language::Toy => toy::encode_notice(self, to),
        }
    }
}
