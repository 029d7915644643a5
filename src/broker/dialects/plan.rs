//! The effects of a request, as far as they must be known before it is handled.

use super::{clacks, http, memcached, nats};
use crate::broker::interclacks::Link;
use crate::broker::session::Session;
use crate::protocol::Request;
use std::borrow::Cow;

/// The effects that a request of some session will have.
pub struct Plan<'a> {
    /// The connections that its output goes to, beside its sender.
    pub receivers: Receivers<'a>,
    /// True if the monitors are shown the request.
    pub is_monitored: bool,
    /// True if the request may change something that the journal records.
    pub may_write: bool,
}

/// The connections that the effect of a request goes to, beside its sender and the monitors.
pub enum Receivers<'a> {
    Nobody,
    /// Other servers, which are told the new state of a name.
    Links,
    /// Those who listen to the name, and other servers.
    Listeners(Cow<'a, [u8]>),
    /// Those who listen to the name of the subject or subscribe to it, and other servers.
    Subscribers(&'a [u8]),
    /// All clients, and other servers.
    All,
}

impl<'a> Plan<'a> {
    pub fn of(session: &Session, link: Option<&Link>, request: &Request<'a>) -> Plan<'a> {
        match request {
            Request::Clacks(line) => clacks::plan(session, link, line),
            Request::Memcached(frame) => memcached::plan(session, &frame.request),
            Request::MemcachedLogin(_) => Plan {
                receivers: Receivers::Nobody,
                is_monitored: false,
                may_write: false,
            },
            Request::Nats(frame) => nats::plan(session, &frame.request),
            Request::Http(frame) => http::plan(session, frame),
            #[cfg(test)]
            Request::Toy(request) => super::toy::plan(request),
        }
    }
}
