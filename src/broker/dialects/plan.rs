//! What a request is about to do, as far as that must be known before it is done.

use super::clacks;
use crate::broker::interclacks::Link;
use crate::broker::session::Session;
use crate::protocol::Request;

/// What a request of some session would do.
pub struct Plan<'a> {
    /// Whom its output goes to, beside its sender.
    pub receivers: Receivers<'a>,
    /// Whether the monitors are shown it.
    pub is_monitored: bool,
    /// Whether it may change something that the journal records.
    pub may_write: bool,
}

/// Whom the effect of a request goes to, beside its sender and the monitors.
pub enum Receivers<'a> {
    Nobody,
    /// Other servers, which are told the new state of a name.
    Links,
    /// Those who listen to the name, and other servers.
    Listeners(&'a [u8]),
    /// All clients, and other servers.
    All,
}

impl<'a> Plan<'a> {
    pub fn of(session: &Session, link: Option<&Link>, request: &Request<'a>) -> Plan<'a> {
        match request {
            Request::Clacks(line) => clacks::plan(session, link, line),
            #[cfg(test)]
            Request::Toy(request) => super::toy::plan(request),
        }
    }
}
