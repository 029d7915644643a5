//! The lock of a Net::Clacks master: while it sends its entries, clients' lines wait.

use crate::broker::Broker;
use crate::broker::carrier::Carrier;
use crate::broker::events::ConnectionId;
use crate::protocol::{Command, Request};
use std::collections::BTreeSet;

/// The lock while a Net::Clacks master sends its entries. A master that then says nothing is closed
/// by its ping timeout, and the lock ends with the link.
#[derive(Default)]
pub struct Lock {
    /// Connections that wait.
    pub(super) waiting: BTreeSet<ConnectionId>,
}

impl Broker {
    /// Reports whether the line has to wait. Those who manage the server can still list and close connections.
    #[cold]
    pub(in crate::broker) fn waits_for_lock(
        &mut self,
        id: ConnectionId,
        request: &Request<'_>,
    ) -> bool {
        let Some(lock) = &mut self.lock else {
            return false;
        };
        if let Request::Clacks(line) = request
            && let Some(Command::ClientList | Command::ClientDisconnect(_)) = line.command
        {
            return false;
        }
        lock.waiting.insert(id);
        true
    }

    /// The connection is no more.
    pub(in crate::broker) fn end_wait_for_lock(&mut self, id: ConnectionId) {
        if let Some(lock) = &mut self.lock {
            lock.waiting.remove(&id);
        }
    }

    pub(in crate::broker) fn unlock<O: Carrier>(&mut self, out: &mut O) {
        if let Some(lock) = self.lock.take() {
            for id in lock.waiting {
                out.resume(id);
            }
        }
    }
}
