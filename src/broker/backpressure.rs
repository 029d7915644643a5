//! Senders wait for receivers: which connections a line would go to, and whether one of them has no room for it.
//!
//! A line that has to wait is not processed, and its connection is not read meanwhile. The carrier decides for how long
//! ([`Output::wait_for`]).

use super::Broker;
use super::output::{ConnectionId, Output};
use super::session::Session;
use super::users::Permissions;
use crate::limits::{MAX_FORWARDED_LINE, SHORT_LINE};
use crate::protocol::command::Pair;
use crate::protocol::peer::{self, PeerLine};
use crate::protocol::{Command, Flags, decode};

/// Whom a line goes to beside its sender.
enum Receivers<'a> {
    Nobody,
    /// Other servers, which hear of the new state of a name.
    Links,
    /// Those who listen to the name, and other servers.
    Listeners(&'a [u8]),
    /// All clients, and other servers.
    All,
}

impl Receivers<'_> {
    fn of<'a>(command: &Command<'a>) -> Receivers<'a> {
        match *command {
            Command::Set(Pair { name, .. })
            | Command::SetAndStore(Pair { name, .. })
            | Command::Notify(name) => Receivers::Listeners(name),
            Command::Store(_)
            | Command::Remove(_)
            | Command::Increment(_)
            | Command::Decrement(_)
            | Command::ClearCache
            | Command::KeySync(_) => Receivers::Links,
            Command::Overhead(Some(overhead))
                if overhead.is_on() && overhead.flags.intersects(Flags::FORWARD) =>
            {
                Receivers::All
            }
            _ => Receivers::Nobody,
        }
    }
}

impl Broker {
    /// Returns true if the line has to wait before it is processed. To be asked when [`Output::has_full_receivers`] says that
    /// there are any, or when a link has a backlog at this end.
    #[cold]
    pub(super) fn waits_for_receivers<O: Output>(
        &mut self,
        id: ConnectionId,
        line: &[u8],
        out: &mut O,
    ) -> bool {
        let Some(session) = self.sessions.get(id) else {
            return false;
        };
        if !session.is_logged_in() && session.link.is_none() {
            return false;
        }
        let (receivers, is_monitored) = what_becomes_of(session, line);
        let is_short = line.len() <= SHORT_LINE;
        is_monitored
            && self
                .monitors
                .ids()
                .iter()
                .any(|&to| out.wait_for(id, to, 0, is_short))
            || self.wait_for_links(id, &receivers, is_short, out)
            || self.wait_for_clients(id, &receivers, is_short, out)
    }

    fn wait_for_clients<O: Output>(
        &self,
        id: ConnectionId,
        receivers: &Receivers<'_>,
        is_short: bool,
        out: &mut O,
    ) -> bool {
        match receivers {
            Receivers::Nobody | Receivers::Links => false,
            Receivers::Listeners(name) => self.listeners.of(name).is_some_and(|(_, listeners)| {
                let mut listeners = listeners.iter();
                listeners.any(|&to| out.wait_for(id, to, 0, is_short))
            }),
            Receivers::All => {
                let mut clients = self.sessions.clients();
                clients.any(|to| out.wait_for(id, to, 0, is_short))
            }
        }
    }

    fn wait_for_links<O: Output>(
        &mut self,
        id: ConnectionId,
        receivers: &Receivers<'_>,
        is_short: bool,
        out: &mut O,
    ) -> bool {
        if let Receivers::Nobody = receivers {
            return false;
        }
        self.update_backlog();
        let others = self.tree.links.iter().filter(|other| **other != id);
        for &to in others {
            let Some(link) = self.sessions.link(to) else {
                continue;
            };
            // Of a new state a clacksd server is sent no more than it has room for.
            let has_room =
                matches!(receivers, Receivers::Links) && link.is_clacksd() && link.backlog() == 0;
            if !has_room && out.wait_for(id, to, link.backlog(), is_short) {
                return true;
            }
        }
        false
    }
}

/// Whom a line goes to, and whether monitors see it.
fn what_becomes_of<'a>(session: &Session, line: &'a [u8]) -> (Receivers<'a>, bool) {
    let peer_line = session
        .link
        .as_ref()
        .filter(|link| link.is_clacksd())
        .and_then(|_| peer::decode(line));
    let command = match peer_line {
        None => decode(line),
        Some(PeerLine::State { name, signal, .. }) => {
            let receivers = match signal {
                Some(_) => Receivers::Listeners(name),
                None => Receivers::Links,
            };
            return (receivers, true);
        }
        Some(PeerLine::Signal { line, .. }) => decode(line),
        Some(PeerLine::Clear(_) | PeerLine::Count { .. } | PeerLine::Fold(_)) => {
            return (Receivers::Links, true);
        }
        Some(PeerLine::Path(_) | PeerLine::Synced) => return (Receivers::Nobody, true),
    };
    let Some(command) = command else {
        return (Receivers::Nobody, true);
    };
    let is_monitored = match command {
        Command::Clacks(_) => false,
        // Who manages the server can end what holds it up.
        Command::ClientDisconnect(_) => false,
        Command::Overhead(Some(overhead)) => !overhead
            .flags
            .intersects(Flags::LOGIN.with(Flags::NOT_MONITORED)),
        _ => true,
    };
    // Links are not asked for permissions.
    let user = session.user.as_ref().filter(|_| session.link.is_none());
    let is_refused = line.len() > MAX_FORWARDED_LINE && matches!(command, Command::Overhead(_))
        || user.is_some_and(|user| !user.permissions.contains(Permissions::needed_for(&command)));
    let receivers = match is_refused {
        true => Receivers::Nobody,
        false => Receivers::of(&command),
    };
    (receivers, is_monitored)
}
