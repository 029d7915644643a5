//! The commands of clients, one by one (clacks-protocol(7)). Form is checked before permission; a refused command has
//! no effect at all.

use super::listing::{ClientForm, seconds_to_expiry};
use super::plan::needed_for;
use super::status::answer_status;
use crate::broker::Broker;
use crate::broker::cache::TooLarge;
use crate::broker::carrier::Carrier;
use crate::broker::close_reason::CloseReason;
use crate::broker::events::{ConnectionId, Flow, Now};
use crate::broker::interclacks::{LegacyForm, is_too_long_to_forward};
use crate::broker::operations::{By, Signal};
use crate::broker::output::Output;
use crate::broker::persistence::Barrier;
use crate::broker::session::LastPing;
use crate::broker::users::Permissions;
use crate::limits::MAX_FORWARDED_LINE;
use crate::protocol::command::{Counter, Expire, Pair, StatusList};
use crate::protocol::number::{Number, work_of};
use crate::protocol::{ClacksLine, Command, Flags, encode};

impl Broker {
    /// A line of a logged-in client whose user has these permissions.
    #[inline(always)]
    pub(super) fn handle_command<O: Output>(
        &mut self,
        id: ConnectionId,
        permissions: Option<Permissions>,
        line: &ClacksLine<'_>,
        now: Now,
        out: &mut O,
    ) -> Flow {
        let ClacksLine {
            text: line,
            ref command,
        } = *line;
        let Some(command) = command else {
            self.refuse_unknown(id, line, out);
            return Flow::Next;
        };
        let mut monitored = true;
        let mut errors_allowed = true;
        match *command {
            // Neither is ever shown to monitors.
            Command::Clacks(text) => {
                self.sessions.identify(id, text);
                return Flow::Next;
            }
            Command::Overhead(Some(overhead)) => {
                if overhead.flags.intersects(Flags::LOGIN) {
                    return self.handle_login(id, overhead, now, out);
                }
                monitored = !(overhead.is_on() && overhead.flags.intersects(Flags::NOT_MONITORED))
                    && self.monitors.may_see(line);
                errors_allowed = !overhead.flags.intersects(Flags::ERROR);
                if is_too_long_to_forward(&overhead, line) {
                    self.refuse_too_long(id, errors_allowed, line, now, out);
                    if monitored {
                        self.mirror(id, line, out);
                    }
                    return Flow::Next;
                }
            }
            Command::Overhead(None) => monitored = self.monitors.may_see(line),
            _ => {}
        }
        let needed = needed_for(command);
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
    fn refuse_unknown<O: Carrier>(&mut self, id: ConnectionId, line: &[u8], out: &mut O) {
        self.statistics.unknown_commands += 1;
        let parts = [b"OVERHEAD E unknown_command ", line];
        out.append_line(id, &parts, self.long_line.as_ref());
        if self.monitors.may_see(line) {
            self.mirror(id, line, out);
        }
    }

    #[cold]
    fn refuse_too_long<O: Carrier>(
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
    fn deny<O: Carrier>(
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

    /// A command that means the same on an interclacks link as from a client.
    pub(in crate::broker) fn execute_for_link<O: Output>(
        &mut self,
        id: ConnectionId,
        command: Command<'_>,
        line: &[u8],
        now: Now,
        out: &mut O,
    ) -> Flow {
        let of_clients = self.statistics.signals;
        let executed = self.execute(id, &command, line, now, out);
        // The operations take every signal for one of a client.
        self.statistics.link_signals += self.statistics.signals.sum() - of_clients.sum();
        self.statistics.signals = of_clients;
        match executed {
            Executed::Done => self.mirror(id, line, out),
            Executed::Later(flow) => return flow,
        }
        Flow::Next
    }

    /// A permitted command on entries and signals, or another one.
    fn execute<O: Output>(
        &mut self,
        id: ConnectionId,
        command: &Command<'_>,
        line: &[u8],
        now: Now,
        out: &mut O,
    ) -> Executed {
        let by = By {
            connection: id,
            form: LegacyForm::Line(line),
        };
        match *command {
            Command::Retrieve(name) => {
                self.statistics.look_ups += 1;
                match self.retrieve(name, now, out) {
                    Some(found) if found.is_answered_in_slices() => {
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
                    }
                    None => {
                        self.statistics.misses += 1;
                        let parts = [b"NOTRETRIEVED ", name];
                        out.append_line(id, &parts, self.long_line.as_ref());
                    }
                }
            }
            Command::Store(Pair { name, value }) => {
                let stored = self.store(name, value, by, now, out);
                self.answer_written(stored, id, name, now, out);
            }
            Command::Remove(name) => {
                let removed = self.remove(name, by, now, out);
                self.answer_written(removed, id, name, now, out);
            }
            Command::Increment(ref counter) => self.count_by(counter, false, by, now, out),
            Command::Decrement(ref counter) => self.count_by(counter, true, by, now, out),
            Command::ClearCache => self.clear(by, now, out),
            // A signal is the line that brought it.
            Command::Set(Pair { name, value }) => {
                let line = &[line];
                self.publish(id, &Signal { name, line, value }, now, out);
            }
            Command::Notify(name) => {
                let (line, value) = (&[line], &b""[..]);
                self.publish(id, &Signal { name, line, value }, now, out);
            }
            Command::SetAndStore(Pair { name, value }) => {
                let stored = self.store_and_publish(name, value, by, now, out);
                self.answer_written(stored, id, name, now, out);
            }
            Command::Listen(name) => self.subscribe(id, name, out),
            Command::Unlisten(name) => self.unsubscribe(id, name, out),
            _ => return self.execute_rare(id, command, line, now, out),
        }
        Executed::Done
    }

    /// The rarer commands on entries and signals, apart from the usual ones, which are faster so.
    #[cold]
    fn execute_rare<O: Output>(
        &mut self,
        id: ConnectionId,
        command: &Command<'_>,
        line: &[u8],
        now: Now,
        out: &mut O,
    ) -> Executed {
        let by = By {
            connection: id,
            form: LegacyForm::Line(line),
        };
        match *command {
            Command::Expire(Expire { name, after_us }) => {
                let expires_us = after_us.map(|after_us| self.tree.now_us(now) + after_us);
                self.touch(name, expires_us, by, now, out);
            }
            Command::Ttl(name) => answer_ttl(self, id, name, now, out),
            Command::Status(StatusList::Clients) => {
                let form = ClientForm::Status;
                return Executed::Later(self.start_client_list(id, form, line, now, out));
            }
            Command::Status(list) => {
                return Executed::Later(answer_status(self, id, list, line, now, out));
            }
            Command::ListenToPattern(pattern) => self.listen_to_pattern(id, pattern, true, out),
            Command::UnlistenToPattern(pattern) => self.listen_to_pattern(id, pattern, false, out),
            _ => return self.execute_on_session(id, command, line, now, out),
        }
        Executed::Done
    }

    /// The commands that concern no entry and no signal, but sessions or the server.
    fn execute_on_session<O: Carrier>(
        &mut self,
        id: ConnectionId,
        command: &Command<'_>,
        line: &[u8],
        now: Now,
        out: &mut O,
    ) -> Executed {
        match *command {
            Command::Ping => note_ping(self, id, now, out),
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
            Command::Monitor => {
                if let Some(session) = self.sessions.get_mut(id) {
                    self.monitors.add(session);
                }
            }
            Command::Unmonitor => self.monitors.remove(id, &mut self.sessions),
            Command::KeyList => {
                return Executed::Later(self.start_key_list(id, None, line, now, out));
            }
            Command::KeyInfo(prefix) => {
                return Executed::Later(self.start_key_list(id, Some(prefix), line, now, out));
            }
            Command::ClientList => {
                let form = ClientForm::Client;
                return Executed::Later(self.start_client_list(id, form, line, now, out));
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
            // KEYSYNC means something on an interclacks link only, and the others nothing.
            _ => {}
        }
        Executed::Done
    }

    /// INCREMENT and DECREMENT.
    fn count_by<O: Output>(
        &mut self,
        counter: &Counter<'_>,
        is_down: bool,
        by: By<'_>,
        now: Now,
        out: &mut O,
    ) {
        let Counter { name, step } = *counter;
        let number = step.map_or(Number::ONE, Number::from_step);
        let signed = if is_down { -number } else { number };
        let counted = self.count(name, signed, by, now, out);
        if counted.is_ok() {
            out.add_work(step.map_or(0, work_of));
        }
        self.answer_written(counted, by.connection, name, now, out);
    }

    /// A write has no answer, unless the entry had no room in the cache.
    #[inline(always)]
    fn answer_written<O: Carrier>(
        &mut self,
        outcome: Result<(), TooLarge>,
        to: ConnectionId,
        name: &[u8],
        now: Now,
        out: &mut O,
    ) {
        if let Err(TooLarge) = outcome {
            self.refuse_too_large(to, name, now, out);
        }
    }

    #[cold]
    fn refuse_too_large<O: Carrier>(
        &mut self,
        from: ConnectionId,
        name: &[u8],
        now: Now,
        out: &mut O,
    ) {
        if self.tree.links.get(from).is_some() {
            self.log_too_large(name, now);
        } else {
            self.statistics.too_large += 1;
            out.append(from, |to| encode::error(to, "entry_too_large"));
        }
    }
}

/// The client is there: its ping timeout begins anew.
fn note_ping<O: Carrier>(broker: &mut Broker, id: ConnectionId, now: Now, out: &O) {
    let stopped_us = out.traffic(id).stopped_us;
    if let Some(session) = broker.sessions.get_mut(id) {
        let after_noping = session.last_ping.is_none();
        session.last_ping = Some(LastPing::new(now.monotonic_us, stopped_us));
        if after_noping {
            broker.appoint(id, now, out);
        }
    }
}

/// Answers with the time to the expiry of an entry.
fn answer_ttl<O: Carrier>(
    broker: &mut Broker,
    id: ConnectionId,
    name: &[u8],
    now: Now,
    out: &mut O,
) {
    let seconds = broker
        .look_up(name, now)
        .map(|found| seconds_to_expiry(found.expires_us(), broker.tree.now_us(now)));
    match seconds {
        Some(seconds) => out.append_line(id, &[b"TTL ", name, b"=", seconds.as_bytes()], None),
        None => {
            let parts = [b"NOTRETRIEVED ", name];
            out.append_line(id, &parts, broker.long_line.as_ref());
        }
    }
}

/// The outcome of a permitted command.
enum Executed {
    Done,
    /// The command is answered later, and shown to monitors then.
    Later(Flow),
}
