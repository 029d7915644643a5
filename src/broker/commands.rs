//! What each command does (clacks-protocol(7)). Form is checked before permission; a refused command
//! has no effect at all.

use super::Broker;
use super::cache::Cache;
use super::output::{CloseReason, ConnectionId, Flow, Now, Output};
use super::session::LastPing;
use super::users::Permissions;
use crate::protocol::command::{Counter, Pair};
use crate::protocol::number::Number;
use crate::protocol::{Command, Flags, Overhead, encode};

/// OVERHEAD flags whose lines are never passed on: they mean something between two ends only, and
/// every Perl client would end its connection for an F.
const NEVER_FORWARDED: Flags = Flags::LOGIN
    .with(Flags::TIME)
    .with(Flags::INTERCLACKS)
    .with(Flags::LOCK)
    .with(Flags::LOGIN_WRONG)
    .with(Flags::LOGIN_RIGHT);

impl Broker {
    /// Before the login everything but it and the identification is ignored.
    pub(super) fn handle_before_login<O: Output>(
        &mut self,
        id: ConnectionId,
        command: Option<Command<'_>>,
        now: Now,
        out: &mut O,
    ) {
        match command {
            Some(Command::Clacks(text)) => self.identify(id, text),
            Some(Command::Overhead(Some(overhead))) if overhead.flags.intersects(Flags::LOGIN) => {
                self.login(id, overhead, now, out);
            }
            _ => {}
        }
    }

    /// A line of a logged-in client; `None` is none in the right form.
    pub(super) fn handle_command<O: Output>(
        &mut self,
        id: ConnectionId,
        command: Option<Command<'_>>,
        line: &[u8],
        now: Now,
        out: &mut O,
    ) -> Flow {
        let Some(command) = command else {
            self.statistics.unknown_commands += 1;
            out.append(id, |to| encode::line(to, &[b"OVERHEAD E unknown_command ", line]));
            self.mirror(id, line, out);
            return Flow::Next;
        };
        let mut monitored = true;
        let mut errors_allowed = true;
        match command {
            // Neither is ever shown to monitors.
            Command::Clacks(text) => {
                self.identify(id, text);
                return Flow::Next;
            }
            Command::Overhead(Some(overhead)) => {
                if overhead.flags.intersects(Flags::LOGIN) {
                    self.login(id, overhead, now, out);
                    return Flow::Next;
                }
                monitored = !(overhead.is_on() && overhead.flags.intersects(Flags::NOT_MONITORED));
                errors_allowed = !overhead.flags.intersects(Flags::ERROR);
            }
            _ => {}
        }

        let permissions = self.sessions.get(id).and_then(|session| session.user.as_ref()).map(|user| user.permissions);
        let flow = if permissions.is_some_and(|has| has.contains(Permissions::needed_for(&command))) {
            match self.execute(id, command, line, now, out) {
                Executed::Done => Flow::Next,
                Executed::NotSupported => {
                    self.statistics.not_supported += 1;
                    if errors_allowed {
                        out.append(id, |to| encode::error(to, "not_supported"));
                    }
                    Flow::Next
                }
                // A listing shows its line when it is complete.
                Executed::Listing(flow) => return flow,
            }
        } else {
            self.statistics.permission_denied += 1;
            if errors_allowed {
                out.append(id, |to| encode::error(to, "permission_denied"));
            }
            Flow::Next
        };
        if monitored {
            self.mirror(id, line, out);
        }
        flow
    }

    fn execute<O: Output>(
        &mut self,
        id: ConnectionId,
        command: Command<'_>,
        line: &[u8],
        now: Now,
        out: &mut O,
    ) -> Executed {
        match command {
            Command::Retrieve(name) => match self.cache.retrieve(name, now.wall_us) {
                Some(value) => out.append(id, |to| encode::line(to, &[b"RETRIEVED ", name, b"=", value])),
                None => out.append(id, |to| encode::line(to, &[b"NOTRETRIEVED ", name])),
            },
            Command::Store(Pair { name, value }) => self.change(now, |cache| cache.store(name, value, now.wall_us)),
            Command::Remove(name) => self.change(now, |cache| cache.remove(name, now.wall_us)),
            Command::Increment(Counter { name, step }) => {
                let step = step.map_or(Number::ONE, Number::from_step);
                self.change(now, |cache| cache.add(name, step, now.wall_us));
            }
            Command::Decrement(Counter { name, step }) => {
                let step = step.map_or(Number::ONE, Number::from_step);
                self.change(now, |cache| cache.add(name, -step, now.wall_us));
            }
            Command::ClearCache => self.cache.clear(),
            // A signal is the line that brought it.
            Command::Set(Pair { name, .. }) | Command::Notify(name) => self.signal(id, name, &[line], out),
            Command::SetAndStore(Pair { name, value }) => {
                self.change(now, |cache| cache.store(name, value, now.wall_us));
                self.signal(id, name, &[b"SET ", name, b"=", value], out);
            }
            Command::Listen(name) => {
                if let Some(session) = self.sessions.get_mut(id) {
                    self.listeners.listen(name, id, &mut session.subscriptions);
                }
            }
            Command::Unlisten(name) => {
                if let Some(session) = self.sessions.get_mut(id) {
                    self.listeners.unlisten(name, id, &mut session.subscriptions);
                }
            }
            Command::Ping => {
                let stopped_us = out.traffic(id).stopped_us;
                if let Some(session) = self.sessions.get_mut(id) {
                    let after_noping = session.last_ping.is_none();
                    session.last_ping = Some(LastPing { at_us: now.monotonic_us, stopped_us });
                    if after_noping {
                        self.appoint(id, now, out);
                    }
                }
            }
            Command::NoPing => {
                if let Some(session) = self.sessions.get_mut(id) {
                    session.last_ping = None;
                }
            }
            Command::Flush(text) => out.append(id, |to| encode::line(to, &[b"FLUSHED ", text])),
            Command::Quit => self.close(id, CloseReason::Quit, now, out),
            Command::Monitor => self.start_monitoring(id),
            Command::Unmonitor => self.stop_monitoring(id),
            Command::KeyList => return Executed::Listing(self.start_key_list(id, line, now, out)),
            Command::ClientList => return Executed::Listing(self.start_client_list(id, line, now, out)),
            Command::ClientDisconnect(cid) => {
                if let Some(victim) = self.sessions.find(cid).map(|session| session.id) {
                    out.append(victim, |to| encode::line(to, &[b"QUIT"]));
                    self.close(victim, CloseReason::Disconnected, now, out);
                }
            }
            Command::Overhead(Some(overhead)) if overhead.is_on() => return self.overhead(id, overhead, now, out),
            Command::KeySync(_) => return Executed::NotSupported,
            Command::Overhead(_) | Command::Nop | Command::Clacks(_) => {}
        }
        Executed::Done
    }

    fn change(&mut self, now: Now, change: impl FnOnce(&mut Cache)) {
        change(&mut self.cache);
        self.schedule_cleaning(now);
    }

    /// Delivers a line to everybody who listens to `name`, but its sender.
    fn signal<O: Output>(&mut self, sender: ConnectionId, name: &[u8], line: &[&[u8]], out: &mut O) {
        self.statistics.signals += 1;
        let listeners = self.listeners.of(name);
        if listeners.is_empty() {
            return;
        }
        self.payload.clear();
        encode::line(&mut self.payload, line);
        self.statistics.deliveries += listeners.len() as u64;
        out.fan_out(listeners.iter().copied().filter(|listener| *listener != sender), &self.payload);
    }

    fn overhead<O: Output>(&mut self, id: ConnectionId, overhead: Overhead<'_>, now: Now, out: &mut O) -> Executed {
        let Overhead { flags, value } = overhead;
        if flags.intersects(Flags::DISCARD) {
            return Executed::Done;
        }
        if flags.intersects(Flags::INTERCLACKS.with(Flags::LOCK).with(Flags::TIME)) {
            return Executed::NotSupported;
        }
        if flags.intersects(Flags::FORWARD) && !flags.intersects(NEVER_FORWARDED) {
            self.payload.clear();
            encode::overhead(&mut self.payload, flags.without(Flags::BACK_TO_SENDER), value);
            let back = flags.intersects(Flags::BACK_TO_SENDER);
            let receivers = self.sessions.iter().filter(|s| s.is_logged_in() && (back || s.id != id));
            out.fan_out(receivers.map(|session| session.id), &self.payload);
        }
        if flags.intersects(Flags::SHUTDOWN) {
            self.schedule_shutdown(value, now);
        }
        if flags.intersects(Flags::CLOSE_ALL) {
            self.close_all(CloseReason::ClosedAll, now, out);
        }
        Executed::Done
    }

    fn identify(&mut self, id: ConnectionId, text: &[u8]) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.identify(text);
        }
    }

    /// Logs in, or in anew: the new user's permissions replace the old one's at once.
    fn login<O: Output>(&mut self, id: ConnectionId, overhead: Overhead<'_>, now: Now, out: &mut O) {
        if !overhead.is_on() {
            return;
        }
        let Some(user) = self.users.login(overhead.value) else {
            out.append(id, |to| encode::overhead(to, Flags::LOGIN_WRONG, b"Login failed!"));
            self.close(id, CloseReason::LoginFailed, now, out);
            return;
        };
        let permissions = user.permissions;
        let stopped_us = out.traffic(id).stopped_us;
        let Some(session) = self.sessions.get_mut(id) else { return };
        session.user = Some(user.clone());
        session.last_ping = Some(LastPing { at_us: now.monotonic_us, stopped_us });
        if !permissions.contains(Permissions::READ) {
            self.listeners.unlisten_all(id, &mut session.subscriptions);
        }
        if !permissions.contains(Permissions::MANAGE) {
            self.stop_monitoring(id);
        }
        out.append(id, |to| encode::overhead(to, Flags::LOGIN_RIGHT, b"Welcome!"));
        self.appoint(id, now, out);
    }
}

/// What became of a permitted command.
enum Executed {
    Done,
    NotSupported,
    Listing(Flow),
}
