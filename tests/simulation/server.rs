//! The server at a node, whichever it is, as the network of a world sees it.

use super::net_clacks::NetClacks;
use crate::support::Machine;
use clacks::broker::{CloseReason, ConnectionId, Now, Peer};
use clacks::protocol::Language;

pub enum Server {
    Clacksd(Box<Machine>),
    NetClacks(Box<NetClacks>),
}

macro_rules! either {
    ($server:expr, $is:ident => $call:expr) => {
        match $server {
            Server::Clacksd($is) => $call,
            Server::NetClacks($is) => $call,
        }
    };
}

impl Server {
    pub fn set_time(&mut self, now: Now) {
        either!(self, server => server.now = now);
    }

    /// Does all that is to be done at this time.
    pub fn work_off(&mut self) {
        either!(self, server => server.work_off());
    }

    /// When there is something to do next.
    pub fn poll_deadline(&mut self) -> Option<u64> {
        match self {
            Server::Clacksd(machine) => machine.core.poll_deadline(),
            Server::NetClacks(server) => server.poll_deadline(),
        }
    }

    pub fn connect(&mut self, peer: Peer, language: Language) -> ConnectionId {
        match self {
            Server::Clacksd(machine) => machine.connect(peer, language, usize::MAX),
            Server::NetClacks(server) => server.connect(peer),
        }
    }

    pub fn connect_master(&mut self) -> ConnectionId {
        match self {
            Server::Clacksd(machine) => machine.connect_master(),
            Server::NetClacks(server) => server.connect(Peer::Master(None)),
        }
    }

    pub fn fail_dial(&mut self) {
        either!(self, server => server.fail_dial());
    }

    /// Reports whether the server has asked for its master to be dialled.
    pub fn take_dial(&mut self) -> bool {
        match self {
            Server::Clacksd(machine) => machine.take_dial().is_some(),
            Server::NetClacks(server) => server.take_dial(),
        }
    }

    /// Bytes come from a peer.
    pub fn send(&mut self, id: ConnectionId, bytes: &[u8]) {
        either!(self, server => server.send(id, bytes));
    }

    /// A peer has closed its side.
    pub fn hang_up(&mut self, id: ConnectionId) {
        either!(self, server => server.hang_up(id));
    }

    /// Takes what is on its way to a peer.
    pub fn take(&mut self, id: ConnectionId) -> Vec<u8> {
        either!(self, server => server.take(id))
    }

    /// Reports whether the server has closed its side, and why if it was not its peer's doing.
    pub fn has_closed(&self, id: ConnectionId) -> Option<Option<CloseReason>> {
        match self {
            Server::Clacksd(machine) => {
                let has_closed = machine.peer(id).is_closed();
                has_closed.then(|| machine.closed(id))
            }
            Server::NetClacks(server) => server.has_closed(id).then_some(None),
        }
    }

    /// Forgets a connection that is closed on both sides.
    pub fn forget(&mut self, id: ConnectionId) {
        either!(self, server => server.forget(id));
    }

    pub fn is_stopped(&self, id: ConnectionId) -> bool {
        either!(self, server => server.is_stopped(id))
    }
}
