//! What each command does (clacks-protocol(7)). Form is checked before permission; a refused command
//! has no effect at all.

use super::cache::{TooLarge, Written};
use super::change::{Change, Write};
use super::interclacks::{NEVER_FORWARDED, Reach, Wording, is_too_long_to_forward};
use super::listeners::subscription_memory;
use super::output::{Audience, CloseReason, ConnectionId, Flow, Now, Output};
use super::persistence::Barrier;
use super::session::LastPing;
use super::users::{Permissions, User};
use super::{Broker, Suppressed, empty};
use crate::limits::{MAX_FORWARDED_LINE, WORK_PER_CLEAR};
use crate::protocol::command::Pair;
use crate::protocol::number::Number;
use crate::protocol::shared::{Lines, SharedBytes};
use crate::protocol::{Command, Flags, Overhead, decode, encode};

impl Broker {
    /// Before the login everything but it and the identification is ignored.
    pub(super) fn handle_before_login<O: Output>(
        &mut self,
        id: ConnectionId,
        line: &[u8],
        now: Now,
        out: &mut O,
    ) -> Flow {
        match decode(line) {
            Some(Command::Clacks(text)) => self.sessions.identify(id, text),
            Some(Command::Overhead(Some(overhead))) if overhead.flags.intersects(Flags::LOGIN) => {
                return self.login(id, overhead, now, out);
            }
            _ => {}
        }
        Flow::Next
    }

    /// A line of a logged-in client.
    #[inline(always)]
    pub(super) fn handle_command<O: Output>(
        &mut self,
        id: ConnectionId,
        line: &[u8],
        now: Now,
        out: &mut O,
    ) -> Flow {
        let Some(command) = decode(line) else {
            self.refuse_unknown(id, line, out);
            return Flow::Next;
        };
        let mut monitored = true;
        let mut errors_allowed = true;
        match command {
            // Neither is ever shown to monitors.
            Command::Clacks(text) => {
                self.sessions.identify(id, text);
                return Flow::Next;
            }
            Command::Overhead(Some(overhead)) => {
                if overhead.flags.intersects(Flags::LOGIN) {
                    return self.login(id, overhead, now, out);
                }
                monitored = !(overhead.is_on() && overhead.flags.intersects(Flags::NOT_MONITORED))
                    && self.is_shown(line);
                errors_allowed = !overhead.flags.intersects(Flags::ERROR);
                if is_too_long_to_forward(&overhead, line) {
                    self.refuse_too_long(id, errors_allowed, line, now, out);
                    if monitored {
                        self.mirror(id, line, out);
                    }
                    return Flow::Next;
                }
            }
            Command::Overhead(None) => monitored = self.is_shown(line),
            _ => {}
        }
        let permissions = self
            .sessions
            .get(id)
            .and_then(|session| session.user.as_ref())
            .map(|user| user.permissions);
        let needed = Permissions::needed_for(&command);
        if permissions.is_some_and(|has| has.contains(needed)) {
            if let Executed::Later(flow) = self.execute(id, command, line, now, out) {
                return flow;
            }
        } else {
            self.deny(id, needed, errors_allowed, line, now, out);
        }
        if monitored && !self.monitors.is_empty() {
            self.mirror(id, line, out);
        }
        Flow::Next
    }

    #[cold]
    fn refuse_unknown<O: Output>(&mut self, id: ConnectionId, line: &[u8], out: &mut O) {
        self.statistics.unknown_commands += 1;
        let parts = [b"OVERHEAD E unknown_command ", line];
        out.append_line(id, &parts, self.long_line.as_ref());
        if self.is_shown(line) {
            self.mirror(id, line, out);
        }
    }

    #[cold]
    fn refuse_too_long<O: Output>(
        &mut self,
        id: ConnectionId,
        says_so: bool,
        line: &[u8],
        now: Now,
        out: &mut O,
    ) {
        self.statistics.unknown_commands += 1;
        let reason = CloseReason::LineTooLong.word();
        self.log_refusal(id, reason, now, |_| {
            let length = line.len();
            format!("a line with the flag G has {length} bytes, and {MAX_FORWARDED_LINE} at most")
        });
        if says_so {
            out.append(id, |to| encode::error(to, reason));
        }
    }

    #[cold]
    fn deny<O: Output>(
        &mut self,
        id: ConnectionId,
        needed: Permissions,
        says_so: bool,
        line: &[u8],
        now: Now,
        out: &mut O,
    ) {
        const REASON: &str = "permission_denied";
        self.statistics.permission_denied += 1;
        self.log_refusal(id, REASON, now, |user| {
            // Only a verb is decoded, so that no word of a client gets into the log.
            let verb = line.split(|byte| *byte == b' ').next().unwrap_or_default();
            let missing = needed.without(user.permissions);
            format!("{} needs the permission {missing}", verb.escape_ascii())
        });
        if says_so {
            out.append(id, |to| encode::error(to, REASON));
        }
    }

    /// Logs that a user's command was refused; so many a second.
    fn log_refusal(
        &mut self,
        id: ConnectionId,
        reason: &str,
        now: Now,
        why: impl FnOnce(&User) -> String,
    ) {
        let Some(suppressed) = self.refusal_log.admit(now.monotonic_us) else {
            return;
        };
        if let Some(session) = self.sessions.get(id)
            && let Some(user) = &session.user
        {
            log::warn!(
                "{reason}: {} (user {}, {}){}",
                why(user),
                user.name.escape_debug(),
                session.cid,
                Suppressed(suppressed)
            );
        }
    }

    /// A command that means the same on an interclacks link as from a client.
    pub(super) fn execute_for_link<O: Output>(
        &mut self,
        id: ConnectionId,
        command: Command<'_>,
        line: &[u8],
        now: Now,
        out: &mut O,
    ) -> Flow {
        match self.execute(id, command, line, now, out) {
            Executed::Done => self.mirror(id, line, out),
            Executed::Later(flow) => return flow,
        }
        Flow::Next
    }

    fn execute<O: Output>(
        &mut self,
        id: ConnectionId,
        command: Command<'_>,
        line: &[u8],
        now: Now,
        out: &mut O,
    ) -> Executed {
        let now_us = self.tree_now_us(now);
        match command {
            Command::Retrieve(name) => match self.cache.retrieve(name, now_us) {
                Some(found) if found.is_long_copy() => {
                    if found.is_first_in_period {
                        self.record_use(name, now, out);
                    }
                    return Executed::Later(self.start_long_answer(id, name, line, now, out));
                }
                Some(found) => {
                    if let Some((name, text)) = found.long_text {
                        let parts = [b"RETRIEVED ", name, b"=", found.value];
                        out.append_line(id, &parts, Some(text));
                    } else {
                        out.append(id, |to| {
                            encode::line(to, &[b"RETRIEVED ", name, b"=", found.value])
                        });
                    }
                    if found.is_first_in_period {
                        self.record_use(name, now, out);
                    }
                }
                None => {
                    let parts = [b"NOTRETRIEVED ", name];
                    out.append_line(id, &parts, self.long_line.as_ref());
                }
            },
            Command::Store(Pair { name, value }) => {
                let stored = self.cache.store(name, value, now_us);
                self.changed(id, stored, name, line, now, out);
            }
            // No entry has such a name, and a Net::Clacks server would tell the removal later as that of what stands
            // before the sign.
            Command::Remove(name) if name.contains(&b'=') => {}
            Command::Remove(name) => {
                let removed = self.cache.remove(name, now_us);
                self.changed(id, removed, name, line, now, out);
            }
            Command::Increment(counter) => {
                let step = counter.step.map_or(Number::ONE, Number::from_step);
                self.count(id, &counter, step, line, now, out);
            }
            Command::Decrement(counter) => {
                let step = counter.step.map_or(Number::ONE, Number::from_step);
                self.count(id, &counter, -step, line, now, out);
            }
            Command::ClearCache => {
                out.add_work(WORK_PER_CLEAR);
                self.cache.clear(now_us);
                let line = Some(line);
                self.commit(Change::Clear { from: id, line }, now, out);
            }
            // A signal is the line that brought it.
            Command::Set(Pair { name, .. }) | Command::Notify(name) => {
                self.deliver(Some(id), name, &[line], out);
                self.pass_on_new_signal(id, &[line], Reach::All, now, out);
            }
            Command::SetAndStore(Pair { name, value }) => {
                match self.cache.store(name, value, now_us) {
                    Ok(written) => {
                        self.deliver(Some(id), name, &encode::set(name, value), out);
                        let write = Write {
                            from: id,
                            name,
                            written,
                            wording: Wording::Line(line),
                            signal: self.new_signal(now).map(|signal| (signal, value)),
                        };
                        self.commit(Change::Write(write), now, out);
                    }
                    Err(TooLarge) => self.refuse_too_large(id, name, now, out),
                }
            }
            Command::Listen(name) => {
                let long_line = self.long_line.as_ref();
                if let Some(session) = self.sessions.get_mut(id)
                    && self
                        .listeners
                        .listen(name, long_line, id, &mut session.subscriptions)
                {
                    out.hold(id, subscription_memory(name));
                }
            }
            Command::Unlisten(name) => {
                if let Some(session) = self.sessions.get_mut(id)
                    && self
                        .listeners
                        .unlisten(name, id, &mut session.subscriptions)
                {
                    out.hold(id, -subscription_memory(name));
                }
            }
            Command::Ping => {
                let stopped_us = out.traffic(id).stopped_us;
                if let Some(session) = self.sessions.get_mut(id) {
                    let after_noping = session.last_ping.is_none();
                    session.last_ping = Some(LastPing {
                        at_us: now.monotonic_us,
                        stopped_us,
                    });
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
            Command::Flush(text) => {
                match self.barrier(id) {
                    Barrier::Passed => {}
                    Barrier::Waits => return Executed::Later(Flow::StopBefore),
                    Barrier::NotSaved => out.append(id, |to| encode::error(to, "not_saved")),
                }
                out.append_line(id, &[b"FLUSHED ", text], self.long_line.as_ref());
            }
            Command::Quit => self.close(id, CloseReason::Quit, now, out),
            Command::Monitor => self.start_monitoring(id),
            Command::Unmonitor => self.stop_monitoring(id),
            Command::KeyList => return Executed::Later(self.start_key_list(id, line, now, out)),
            Command::ClientList => {
                return Executed::Later(self.start_client_list(id, line, now, out));
            }
            Command::ClientDisconnect(cid) => {
                if let Some(victim) = self.sessions.find(cid).map(|session| session.id) {
                    self.dismiss(victim, CloseReason::Disconnected, now, out);
                }
            }
            Command::Overhead(Some(overhead)) if overhead.is_on() => {
                // A link gets all signals, whether it listens or not.
                let is_to_be_link = overhead.flags.intersects(Flags::INTERCLACKS)
                    && !overhead.flags.intersects(Flags::DISCARD);
                if is_to_be_link && !self.end_subscriptions(id, out) {
                    return Executed::Later(Flow::StopBefore);
                }
                self.overhead(id, overhead, now, out)
            }
            // It means something on an interclacks link only.
            Command::KeySync(_) | Command::Overhead(_) | Command::Nop | Command::Clacks(_) => {}
        }
        Executed::Done
    }

    /// A name was written by a line of that connection, unless it was too large.
    pub(super) fn changed<O: Output>(
        &mut self,
        from: ConnectionId,
        written: Result<Written, TooLarge>,
        name: &[u8],
        line: &[u8],
        now: Now,
        out: &mut O,
    ) {
        match written {
            Ok(written) => {
                let write = Write {
                    from,
                    name,
                    written,
                    wording: Wording::Line(line),
                    signal: None,
                };
                self.commit(Change::Write(write), now, out);
            }
            Err(TooLarge) => self.refuse_too_large(from, name, now, out),
        }
    }

    /// An entry has no room in the cache: its sender hears of it.
    #[cold]
    pub(super) fn refuse_too_large<O: Output>(
        &mut self,
        from: ConnectionId,
        name: &[u8],
        now: Now,
        out: &mut O,
    ) {
        if self.sessions.link(from).is_some() {
            self.log_too_large(name, now);
        } else {
            self.statistics.too_large += 1;
            out.append(from, |to| encode::error(to, "entry_too_large"));
        }
    }

    /// Delivers a line to everybody here who listens to `name`, but its sender.
    #[inline(always)]
    pub(super) fn deliver<O: Output>(
        &mut self,
        sender: Option<ConnectionId>,
        name: &[u8],
        line: &[&[u8]],
        out: &mut O,
    ) {
        self.statistics.signals += 1;
        if let Some((id, listeners)) = self.listeners.of(name) {
            let audience = Audience {
                id,
                listeners,
                sender,
            };
            let long_line = self.long_line.as_ref();
            let deliveries = deliver_to(&audience, line, long_line, &mut self.payload, out);
            self.statistics.deliveries += deliveries as u64;
        }
    }

    /// An OVERHEAD line that is on, from somebody who may send it.
    pub(super) fn overhead<O: Output>(
        &mut self,
        id: ConnectionId,
        overhead: Overhead<'_>,
        now: Now,
        out: &mut O,
    ) {
        let Overhead { flags, value } = overhead;
        if flags.intersects(Flags::DISCARD) {
            return;
        }
        if flags.intersects(Flags::INTERCLACKS) {
            self.start_downlink(id, now, out);
        }
        if flags.intersects(Flags::FORWARD) && !flags.intersects(NEVER_FORWARDED) {
            let passed_on = flags.without(Flags::BACK_TO_SENDER);
            let sender = if flags.intersects(Flags::BACK_TO_SENDER) {
                None
            } else {
                Some(id)
            };
            self.forward_to_clients(
                sender,
                Overhead {
                    flags: passed_on,
                    value,
                },
                out,
            );
            let mut line = Vec::new();
            encode::overhead(&mut line, passed_on, value);
            let line = line.strip_suffix(b"\r\n").unwrap_or(&line);
            self.pass_on_new_signal(id, &[line], Reach::of_overhead(flags), now, out);
        }
        self.obey(flags, value, now, out);
    }

    /// An OVERHEAD line that comes through the tree; it has been passed on already.
    pub(super) fn handle_forwarded_overhead<O: Output>(
        &mut self,
        overhead: Overhead<'_>,
        now: Now,
        out: &mut O,
    ) {
        if overhead.is_on()
            && overhead.flags.intersects(Flags::FORWARD)
            && !overhead
                .flags
                .intersects(NEVER_FORWARDED.with(Flags::DISCARD))
        {
            self.forward_to_clients(None, overhead, out);
            self.obey(overhead.flags, overhead.value, now, out);
        }
    }

    /// Links get it as a signal.
    fn forward_to_clients<O: Output>(
        &mut self,
        sender: Option<ConnectionId>,
        overhead: Overhead<'_>,
        out: &mut O,
    ) {
        empty(&mut self.payload);
        encode::overhead(&mut self.payload, overhead.flags, overhead.value);
        let receivers = self.sessions.clients().filter(|id| Some(*id) != sender);
        out.fan_out(receivers, &self.payload);
    }

    fn obey<O: Output>(&mut self, flags: Flags, value: &[u8], now: Now, out: &mut O) {
        if flags.intersects(Flags::SHUTDOWN) {
            self.schedule_shutdown(value, now);
        }
        if flags.intersects(Flags::CLOSE_ALL) {
            self.close_all(CloseReason::ClosedAll, now, out);
        }
    }
}

/// What became of a permitted command.
enum Executed {
    Done,
    /// It is still to be answered, and shown to monitors then.
    Later(Flow),
}

/// Delivers a line; to how many. `payload` is kept for its memory.
fn deliver_to<O: Output>(
    audience: &Audience<'_>,
    line: &[&[u8]],
    long_line: Option<&SharedBytes>,
    payload: &mut Vec<u8>,
    out: &mut O,
) -> usize {
    if let Some(source) = long_line
        && let Some(lines) = Lines::sharing(line, source)
    {
        let mut deliveries = 0;
        for receiver in audience.receivers() {
            out.append_lines(receiver, &lines);
            deliveries += 1;
        }
        return deliveries;
    }
    empty(payload);
    encode::line(payload, line);
    out.deliver(audience, payload)
}
