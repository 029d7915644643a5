//! The permissions that a line of Clacks needs, and the effects that it will have.

use crate::broker::dialects::{Plan, Receivers};
use crate::broker::interclacks::Link;
use crate::broker::session::Session;
use crate::broker::users::Permissions;
use crate::limits::MAX_FORWARDED_LINE;
use crate::protocol::command::Pair;
use crate::protocol::peer::{self, PeerLine};
use crate::protocol::{ClacksLine, Command, Flags, decode};

/// The effects that a line of a session, a client's or a link's, will have.
pub fn plan<'a>(session: &Session, link: Option<&Link>, line: &ClacksLine<'a>) -> Plan<'a> {
    let is_clacksd = link.is_some_and(Link::is_clacksd);
    let peer_line = is_clacksd.then(|| peer::decode(line.text)).flatten();
    let of_peer = |receivers, may_write| Plan {
        receivers,
        is_monitored: true,
        may_write,
    };
    let command = match peer_line {
        None => line.command,
        Some(PeerLine::State { name, signal, .. }) => {
            let receivers = match signal {
                Some(_) => Receivers::Listeners(name),
                None => Receivers::Links,
            };
            return of_peer(receivers, true);
        }
        Some(PeerLine::Signal { line, .. }) => decode(line),
        Some(
            PeerLine::Clear(_)
            | PeerLine::States(_)
            | PeerLine::Count { .. }
            | PeerLine::Touch { .. }
            | PeerLine::Fold(_),
        ) => {
            return of_peer(Receivers::Links, true);
        }
        Some(
            PeerLine::Path(_)
            | PeerLine::Join(_)
            | PeerLine::Leave(_)
            | PeerLine::Reserved
            | PeerLine::Synced
            | PeerLine::Pong,
        ) => return of_peer(Receivers::Nobody, false),
    };
    let Some(command) = command else {
        return Plan {
            receivers: Receivers::Nobody,
            // An empty line does nothing at all.
            is_monitored: !line.text.is_empty(),
            may_write: false,
        };
    };
    // Links are not asked for permissions.
    let user = session.user.as_ref().filter(|_| link.is_none());
    let is_refused = line.text.len() > MAX_FORWARDED_LINE
        && matches!(command, Command::Overhead(_))
        || user.is_some_and(|user| !user.permissions.contains(needed_for(&command)));
    Plan {
        receivers: match is_refused {
            true => Receivers::Nobody,
            false => receivers_of(&command),
        },
        is_monitored: is_monitored(&command),
        may_write: may_write(&command),
    }
}

fn receivers_of<'a>(command: &Command<'a>) -> Receivers<'a> {
    match *command {
        Command::Set(Pair { name, .. })
        | Command::SetAndStore(Pair { name, .. })
        | Command::Notify(name) => Receivers::Listeners(name.into()),
        Command::Store(_)
        | Command::Remove(_)
        | Command::Increment(_)
        | Command::Decrement(_)
        | Command::Expire(_)
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

fn is_monitored(command: &Command<'_>) -> bool {
    match command {
        Command::Clacks(_) => false,
        // Who manages the server can end what holds it up.
        Command::ClientDisconnect(_) => false,
        Command::Overhead(Some(overhead)) => !overhead
            .flags
            .intersects(Flags::LOGIN.with(Flags::NOT_MONITORED)),
        _ => true,
    }
}

fn may_write(command: &Command<'_>) -> bool {
    matches!(
        command,
        Command::Store(_)
            | Command::Remove(_)
            | Command::Increment(_)
            | Command::Decrement(_)
            | Command::SetAndStore(_)
            | Command::Expire(_)
            | Command::ClearCache
            | Command::KeySync(_)
    )
}

/// The permissions that a command needs (clacks-protocol(7), PERMISSIONS).
pub fn needed_for(command: &Command<'_>) -> Permissions {
    match command {
        Command::Retrieve(_)
        | Command::Ttl(_)
        | Command::KeyInfo(_)
        | Command::KeyList
        | Command::Listen(_)
        | Command::Unlisten(_)
        | Command::ListenToPattern(_)
        | Command::UnlistenToPattern(_) => Permissions::READ,
        Command::Store(_)
        | Command::Remove(_)
        | Command::Increment(_)
        | Command::Decrement(_)
        | Command::Set(_)
        | Command::Notify(_)
        | Command::SetAndStore(_)
        | Command::Expire(_) => Permissions::WRITE,
        Command::Monitor
        | Command::Unmonitor
        | Command::ClientList
        | Command::ClientDisconnect(_)
        | Command::Status(_)
        | Command::ClearCache => Permissions::MANAGE,
        Command::KeySync(_) => Permissions::INTERCLACKS,
        Command::Overhead(Some(overhead)) if overhead.is_on() => needed_for_flags(overhead.flags),
        Command::Overhead(_)
        | Command::Ping
        | Command::NoPing
        | Command::Nop
        | Command::Flush(_)
        | Command::Quit
        | Command::Clacks(_) => Permissions::NONE,
    }
}

fn needed_for_flags(flags: Flags) -> Permissions {
    if flags.intersects(Flags::DISCARD) {
        return Permissions::NONE;
    }
    let mut needed = Permissions::NONE;
    if flags.intersects(Flags::FORWARD) {
        needed = needed.with(Permissions::WRITE);
    }
    if flags.intersects(Flags::CLOSE_ALL.with(Flags::SHUTDOWN)) {
        needed = needed.with(Permissions::MANAGE);
    }
    if flags.intersects(Flags::INTERCLACKS) {
        needed = needed.with(Permissions::INTERCLACKS);
    }
    needed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::events::Process;
    use crate::broker::events::{ConnectionId, Now, Peer};
    use crate::protocol::{Language, Request};

    #[test]
    fn an_empty_line_waits_for_no_monitor() {
        let now = Now {
            monotonic_us: 1,
            wall_us: 1,
        };
        let peer = Peer::Unix(Process::default());
        let session = Session::new(
            ConnectionId::default(),
            peer,
            Language::Clacks.into(),
            1,
            now,
        );
        let is_monitored = |text: &str| {
            let Request::Clacks(line) = Language::Clacks.decode(text.as_bytes()) else {
                panic!("it is of that language");
            };
            plan(&session, None, &line).is_monitored
        };
        assert!(!is_monitored(""));
        assert!(is_monitored("PING") && is_monitored("nonsense"));
    }

    #[test]
    fn only_writes_wait_for_the_disk() {
        let writes =
            |line: &str| decode(line.as_bytes()).is_some_and(|command| may_write(&command));
        for line in [
            "STORE a=1",
            "REMOVE a",
            "INCREMENT a",
            "SETANDSTORE a=1",
            "EXPIRE a=1",
            "CLEARCACHE",
            "CLEARCACHE now",
            "KEYSYNC 1 1 U a=b",
        ] {
            assert!(writes(line), "{line}");
        }
        for line in [
            "RETRIEVE a",
            "TTL a",
            "FLUSH",
            "PING",
            "SET a=b",
            "CLEARED",
            "STOREa=1",
        ] {
            assert!(!writes(line), "{line}");
        }
    }
}
