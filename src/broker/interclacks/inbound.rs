//! What a peer says, and what it changes here.

use super::Wording;
use super::counting::Count;
use super::encode::{append_as_write, microseconds, seconds};
use super::link::{Link, Role, Software, Telling};
use super::link_log::start_of;
use super::plausible::Fault;
use super::reach::{Reach, is_too_long_to_forward};
use super::tree_clock::Differs;
use crate::broker::Broker;
use crate::broker::cache::{Effect, Merged, TooLarge};
use crate::broker::change::{Change, Write};
use crate::broker::operations::By;
use crate::broker::output::{CloseReason, ConnectionId, Flow, Now, Output};
use crate::limits::{
    CLOCK_STEP_US, MAX_CLOCK_LEAD_US, MAX_FORWARDED_LINE, MAX_PATH, SECOND_US,
    WORK_PER_CONTRIBUTION,
};
use crate::protocol::command::{KeySync, Pair};
use crate::protocol::number::work_of;
use crate::protocol::peer::{self, NodeId, PeerLine, Register, SignalId, Stamp, State};
use crate::protocol::shared::Lines;
use crate::protocol::{ClacksLine, Command, Flags, Overhead, decode, encode, token};
use log::Level;
use sha2::{Digest, Sha256};

impl Broker {
    /// A line of a link that is up.
    pub(in crate::broker) fn handle_link_line<O: Output>(
        &mut self,
        id: ConnectionId,
        line: &ClacksLine<'_>,
        now: Now,
        out: &mut O,
    ) -> Flow {
        let ClacksLine {
            text: line,
            command,
        } = *line;
        let Some(link) = self.tree.links.get(id) else {
            return Flow::Stop;
        };
        let is_uplink = link.role == Role::Uplink;
        let is_clacksd = link.peer == Software::Clacksd;
        let extended = (is_clacksd && command.is_none())
            .then(|| peer::decode(line))
            .flatten();
        if let Some(extended) = extended {
            let is_hidden = self.is_hidden_signal(&extended);
            if self.is_believed(id, &extended, now, out) {
                self.handle_peer_line(id, extended, now, out);
            }
            if !is_hidden {
                self.mirror(id, line, out);
            }
            return Flow::Next;
        }
        let Some(command) = command else {
            if is_clacksd && peer::has_verb(line) {
                self.refuse_link(id, &Fault::Form(start_of(line)), now, out);
            } else if line == b"TIMEOUT" {
                self.close(id, CloseReason::PeerTimeout, now, out);
            } else if token::may_be_login(line) {
                let what = format_args!("a line that may be a mistyped login was ignored");
                self.tree.log(Level::Warn, what, now);
                return Flow::Next;
            } else {
                let line = start_of(line);
                self.tree.log(
                    Level::Warn,
                    format_args!("a line that is no command was ignored: {line}"),
                    now,
                );
            }
            self.mirror(id, line, out);
            return Flow::Next;
        };
        let mut monitored = true;
        match command {
            Command::Clacks(text) => {
                monitored = false;
                self.sessions.identify(id, text);
            }
            Command::Ping => self.renew_ping(id, now, out),
            Command::KeySync(key_sync) => {
                self.renew_ping(id, now, out);
                self.handle_key_sync(id, key_sync, now, out);
            }
            Command::Listen(_) | Command::Unlisten(_) | Command::NoPing | Command::Nop => {}
            Command::Overhead(None) if token::may_be_login(line) => monitored = false,
            Command::Overhead(Some(overhead)) => {
                monitored = !is_not_monitored(&overhead) && self.monitors.may_see(line);
                if is_too_long_to_forward(&overhead, line) {
                    self.skip_forwarded_line(line, now);
                } else {
                    self.handle_link_overhead(id, is_uplink, overhead, now, out);
                }
            }
            _ => return self.handle_link_command(id, command, line, now, out),
        }
        if monitored {
            self.mirror(id, line, out);
        }
        Flow::Next
    }

    /// A command that means on a link what it means from a client, but for steps that come too early.
    fn handle_link_command<O: Output>(
        &mut self,
        id: ConnectionId,
        command: Command<'_>,
        line: &[u8],
        now: Now,
        out: &mut O,
    ) -> Flow {
        let Some(link) = self.tree.links.get(id) else {
            return Flow::Stop;
        };
        let is_early = link.is_before_telling();
        // A slave doesn't say where what it has ends; a master does.
        if link.role == Role::Downlink {
            self.end_peers_telling(id);
        }
        match command {
            Command::Increment(counter) | Command::Decrement(counter) if is_early => {
                self.handle_early_step(id, command, counter.name, line, now, out)
            }
            _ => self.execute_for_link(id, command, line, now, out),
        }
    }

    /// Reports whether monitors do not get a line because of the OVERHEAD line in it, which comes as a signal.
    fn is_hidden_signal(&self, line: &PeerLine<'_>) -> bool {
        let PeerLine::Signal { line, .. } = line else {
            return false;
        };
        !self.monitors.is_empty()
            && matches!(
                decode(line),
                Some(Command::Overhead(Some(overhead)))
                    if is_not_monitored(&overhead) || !self.monitors.may_see(line)
            )
    }

    fn handle_link_overhead<O: Output>(
        &mut self,
        id: ConnectionId,
        is_uplink: bool,
        overhead: Overhead<'_>,
        now: Now,
        out: &mut O,
    ) {
        let Overhead { flags, value } = overhead;
        // What is forwarded somebody else has said: a Net::Clacks server sends it to all, and its peers are among
        // them.
        let is_own = !flags.intersects(Flags::FORWARD);
        if is_own && flags.intersects(Flags::LOGIN_WRONG) {
            self.tree.log(
                Level::Error,
                format_args!("the peer refuses this server's user or password"),
                now,
            );
            self.close(id, CloseReason::LoginFailed, now, out);
        } else if flags.intersects(Flags::LOGIN) {
            // A peer that logs in again is asked to be the same again.
            if self
                .users
                .login(value)
                .is_none_or(|user| !user.is_primary())
            {
                self.refuse(id, CloseReason::LoginFailed, now, out);
            }
        } else if flags.intersects(Flags::TIME) {
            self.handle_time(id, is_uplink, value, now, out);
        } else if is_own && flags.intersects(Flags::LOCK) {
            if is_uplink && self.is_clacksd(id) {
                self.refuse_link(id, &Fault::Lock, now, out);
                return;
            }
            if is_uplink && let Some(link) = self.tree.links.get_mut(id) {
                link.peer_is_telling = overhead.is_on();
            }
            if is_uplink && overhead.is_on() {
                self.lock.get_or_insert_default();
            } else if is_uplink {
                self.unlock(out);
                let time = seconds(self.tree.now_us(now));
                out.append(id, |to| encode::overhead(to, Flags::TIME, time.as_bytes()));
                self.start_telling(id, now, out);
            }
        } else if overhead.is_on() {
            self.overhead(id, overhead, now, out);
        }
    }

    /// The peer's clock. A clacksd master's is the tree's. With a Net::Clacks server this node only
    /// translates: what was stamped here before would be wrong by as much as the clocks differ.
    fn handle_time<O: Output>(
        &mut self,
        id: ConnectionId,
        is_uplink: bool,
        value: &[u8],
        now: Now,
        out: &mut O,
    ) {
        let Some(theirs_us) = microseconds(value).filter(|theirs_us| *theirs_us > 0) else {
            let value = start_of(value);
            self.tree.log(
                Level::Warn,
                format_args!("a clock that shows no time was ignored: {value}"),
                now,
            );
            return;
        };
        let before_us = self.tree.now_us(now);
        let Some(link) = self.tree.links.get_mut(id) else {
            return;
        };
        let is_first = link.anchor_us.is_none();
        link.anchor_us = Some(theirs_us as i64 - now.monotonic_us as i64);
        link.peer_is_telling |= !is_uplink;
        if is_first {
            link.round_trip_us = now.monotonic_us - link.began_us;
        }
        if !is_uplink || link.peer == Software::NetClacks {
            return;
        }
        // By a time that agrees with nothing here everything would seem to be far too old or too new. An empty server
        // takes any time: it may be a machine that has just started, without a clock of its own.
        let trusts_any = !self.is_used_to_its_time(before_us);
        if let Err(Differs(difference_us)) = self.tree.clock.learn(theirs_us, trusts_any, now) {
            let difference_s = difference_us / SECOND_US;
            self.tree.log(
                Level::Error,
                format_args!(
                    "the master's clock and this server's differ by {difference_s} s, more than an hour: the link is refused"
                ),
                now,
            );
            self.close(id, CloseReason::ClockAhead, now, out);
            return;
        }
        if before_us.abs_diff(theirs_us) > CLOCK_STEP_US {
            self.tell_slaves_the_time(now, out);
        }
    }

    /// This node has learnt the tree's time; those below it follow.
    fn tell_slaves_the_time<O: Output>(&mut self, now: Now, out: &mut O) {
        let time = seconds(self.tree.now_us(now));
        for id in self.tree.links.ids_up() {
            if self
                .tree
                .links
                .get_mut(id)
                .is_some_and(|link| link.role == Role::Downlink)
            {
                out.append(id, |to| encode::overhead(to, Flags::TIME, time.as_bytes()));
            }
        }
    }

    fn handle_peer_line<O: Output>(
        &mut self,
        id: ConnectionId,
        line: PeerLine<'_>,
        now: Now,
        out: &mut O,
    ) {
        match line {
            PeerLine::State {
                name,
                mut state,
                signal,
            } => {
                // It was used when it was written, or else somebody could make it stale by writing it.
                state.accessed_us = state.accessed_us.max(state.stamp.time_us);
                self.handle_state(id, name, &state, signal, now, out);
            }
            PeerLine::Signal { id: signal, line } => self.handle_signal(id, signal, line, now, out),
            PeerLine::Clear(stamp) => {
                if self.cache.merge_clear(stamp) {
                    // What has gone is dropped at once.
                    self.expiry.run_now();
                    let by = By {
                        connection: id,
                        wording: Wording::Effect(&Effect::Register),
                    };
                    self.commit(Change::Clear { by }, now, out);
                }
            }
            PeerLine::Count {
                name,
                stamp,
                accessed_us,
                contribution: Some(contribution),
            } => {
                let count = Count {
                    name,
                    stamp,
                    accessed_us,
                    contribution,
                };
                self.handle_count(id, &count, now, out);
            }
            PeerLine::Count {
                name,
                contribution: None,
                ..
            } => {
                self.renew_ping(id, now, out);
                self.answer_state(id, name, now, out);
            }
            PeerLine::Fold(marker) => self.handle_fold(id, marker, now, out),
            PeerLine::Path(path) => self.handle_path(id, path, now, out),
            PeerLine::Synced => {
                if self
                    .tree
                    .links
                    .get_mut(id)
                    .is_some_and(|link| link.role == Role::Uplink)
                {
                    self.start_telling(id, now, out);
                }
            }
        }
    }

    fn handle_state<O: Output>(
        &mut self,
        id: ConnectionId,
        name: &[u8],
        state: &State<'_>,
        signal: Option<SignalId>,
        now: Now,
        out: &mut O,
    ) {
        self.renew_ping(id, now, out);
        if !state.contributions.is_empty() {
            let contributions = state.contributions.len() * WORK_PER_CONTRIBUTION;
            out.add_work(contributions + work_of(state.register.value()));
        }
        let merged = self.cache.merge(name, state, self.tree.now_us(now));
        self.report_share_contest(now);
        let merged = merged.unwrap_or_else(|TooLarge| {
            self.log_too_large(name, now);
            // The old value is nobody's any more. The signal is for whoever listens all the same.
            self.cache.forget(name);
            Merged::nothing(false)
        });
        // What this node has still to tell it tells at its own pace, not line for line; unless it may have to go
        // before.
        let is_to_be_told = !self.cache.is_limited()
            && self
                .tree
                .links
                .get_mut(id)
                .is_some_and(|link| matches!(link.telling, Telling::NotYet));
        if !merged.differs {
            self.note_heard(id, name, out);
        }
        let signal = signal.filter(|signal| self.is_new_signal(id, *signal, Reach::All, now, out));
        let value = state.register.value();
        if merged.differs && !is_to_be_told {
            self.answer_state(id, name, now, out);
        }
        if let Some(written) = merged.written {
            let write = Write {
                by: By {
                    connection: id,
                    wording: Wording::Effect(&merged.effect),
                },
                name,
                written,
                signal: signal.map(|id| (id, value)),
            };
            self.commit(Change::Write(write), now, out);
        } else if let Some(signal) = signal {
            let line = encode::set(name, value);
            self.pass_on_signal(Some(id), signal, &line, Reach::All, now, out);
        }
        if signal.is_some() {
            self.deliver_set(None, name, value, out);
        }
    }

    fn handle_signal<O: Output>(
        &mut self,
        id: ConnectionId,
        signal: SignalId,
        line: &[u8],
        now: Now,
        out: &mut O,
    ) {
        let command = decode(line);
        if let Some(Command::Overhead(Some(overhead))) = command
            && is_too_long_to_forward(&overhead, line)
        {
            self.skip_forwarded_line(line, now);
            return;
        }
        let reach = Reach::of(command.as_ref());
        if !self.is_new_signal(id, signal, reach, now, out) {
            return;
        }
        self.pass_on_signal(Some(id), signal, &[line], reach, now, out);
        match command {
            Some(Command::Set(Pair { name, .. }) | Command::Notify(name)) => {
                self.deliver(None, name, &[line], out);
            }
            Some(Command::Overhead(Some(overhead))) => {
                self.handle_forwarded_overhead(overhead, now, out)
            }
            _ => self.tree.log(
                Level::Warn,
                format_args!("a signal of an unknown kind was passed on"),
                now,
            ),
        }
    }

    /// A peer asks to forward a line that is too long for that. A Net::Clacks server passes on any length.
    fn skip_forwarded_line(&mut self, line: &[u8], now: Now) {
        let length = line.len();
        self.tree.log(
            Level::Warn,
            format_args!(
                "a line of {length} bytes that was to be forwarded to everybody was skipped: it has more than {MAX_FORWARDED_LINE}"
            ),
            now,
        );
    }

    fn handle_path<O: Output>(
        &mut self,
        id: ConnectionId,
        path: Vec<NodeId>,
        now: Now,
        out: &mut O,
    ) {
        if self
            .tree
            .links
            .get_mut(id)
            .is_none_or(|link| link.role != Role::Uplink)
        {
            // A slave's masters are this node and its masters; what it says is of its time before.
            return;
        }
        let is_ring = |node: &NodeId| {
            *node == self.tree.node || path.iter().filter(|other| *other == node).count() > 1
        };
        if path.iter().any(is_ring) {
            self.tree.log(
                Level::Error,
                format_args!("the servers form a ring: a server is its own master's master; the link is refused"),
                now,
            );
            self.close(id, CloseReason::Ring, now, out);
        } else if path.len() >= MAX_PATH {
            self.tree.log(
                Level::Error,
                format_args!("more than {MAX_PATH} servers in a row: the link is refused"),
                now,
            );
            self.close(id, CloseReason::Ring, now, out);
        } else if self.tree.masters() != path {
            self.set_path(path, out);
        }
    }

    /// A state in the reference's language, with the sender's times.
    fn handle_key_sync<O: Output>(
        &mut self,
        id: ConnectionId,
        line: KeySync<'_>,
        now: Now,
        out: &mut O,
    ) {
        let now_us = self.tree.now_us(now);
        let Some(link) = self.tree.links.get(id) else {
            return;
        };
        let Some((cached_us, accessed_us)) = tree_times(link, &line, now, now_us) else {
            self.tree.log(
                Level::Warn,
                format_args!("a KEYSYNC whose times are no numbers was ignored"),
                now,
            );
            return;
        };
        let peer_is_telling = link.peer_is_telling;
        let name = line.entry.name;
        let value = (line.mode != b"D").then_some(line.entry.value);
        if value.is_none() && line.entry.value.contains(&b'=') {
            // Net::Clacks removes what can't be stored: the name has a sign in it, and is not that before the first.
            return;
        }
        // What a Net::Clacks server only passes on has somebody else's times.
        if peer_is_telling && !self.is_time_believed(id, cached_us, now, out) {
            return;
        }
        // Net::Clacks passes times on as the first sender's clock has them. What seems to be of the future
        // must not pull this node's stamps along: they would come back the same way, and gain each time.
        let cached_us = cached_us.min(now_us);
        if cached_us < self.cache.cleared().time_us {
            // It was away when the cache was cleared. What it only passes on it may have got since.
            if peer_is_telling && value.is_some() && self.cache.find(name, now_us).is_none() {
                out.append(id, |to| encode::line(to, &[b"REMOVE ", name]));
            }
            return;
        }
        if !self.is_news(id, name, value, cached_us, now, out) {
            return;
        }
        let state = State {
            stamp: Stamp {
                time_us: cached_us,
                node: author(value),
            },
            accessed_us,
            register: value.map_or(Register::Removed, Register::Value),
            contributions: Vec::new(),
        };
        self.note_heard(id, name, out);
        match self.cache.merge(name, &state, now_us) {
            Err(TooLarge) => self.log_too_large(name, now),
            Ok(merged) => {
                if let Some(written) = merged.written {
                    let write = Write {
                        by: By {
                            connection: id,
                            wording: Wording::KeySync,
                        },
                        name,
                        written,
                        signal: None,
                    };
                    self.commit(Change::Write(write), now, out);
                }
            }
        }
    }

    /// Reports whether a KEYSYNC brings something else than what is here, and something newer. A slave that does not know yet
    /// what is here is told.
    fn is_news<O: Output>(
        &mut self,
        id: ConnectionId,
        name: &[u8],
        value: Option<&[u8]>,
        cached_us: u64,
        now: Now,
        out: &mut O,
    ) -> bool {
        let early_us = self.take_early_counter(id, name);
        let now_us = self.tree.now_us(now);
        let (Some(link), Some(found)) = (self.tree.links.get(id), self.cache.find(name, now_us))
        else {
            return true;
        };
        if found.value() == value {
            self.note_heard(id, name, out);
            return false;
        }
        // Nothing has changed here but by steps that the line contains.
        if early_us == Some(found.changed_us()) {
            return true;
        }
        if cached_us <= found.changed_us() {
            return false;
        }
        // A Net::Clacks slave sends everything back that it was just told, a little newer. What
        // has changed here since then is newer all the same, and the slave has to hear it.
        let changed_since = link.role == Role::Downlink
            && link.peer_is_telling
            && found.changed_us() >= link.began_tree_us;
        if changed_since && cached_us <= found.changed_us() + link.round_trip_us {
            let mut lines = Lines::default();
            append_as_write(&mut lines, found);
            out.append_lines(id, &lines);
            return false;
        }
        true
    }

    /// Whether what is held would seem to be far too old or too new by another clock. A clock that is far
    /// behind what was kept has just been started.
    fn is_used_to_its_time(&self, now_us: u64) -> bool {
        !self.cache.is_empty()
            && (self.cache.has_stamped() || now_us + MAX_CLOCK_LEAD_US >= self.cache.newest_us())
    }

    fn is_clacksd(&self, id: ConnectionId) -> bool {
        let link = self.tree.links.get(id);
        link.is_some_and(|link| link.peer == Software::Clacksd)
    }
}

/// Whether monitors don't see such a line.
fn is_not_monitored(overhead: &Overhead<'_>) -> bool {
    let not_monitored = Flags::LOGIN.with(Flags::NOT_MONITORED);
    overhead.flags.intersects(not_monitored)
}

/// When the entry of a KEYSYNC was written and used, by the tree's clock; `None` if that are no numbers. Before the
/// peer has told its time, it is taken to be this node's.
fn tree_times(link: &Link, line: &KeySync<'_>, now: Now, now_us: u64) -> Option<(u64, u64)> {
    let cached_us = microseconds(line.cache_time)?;
    let accessed_us = match microseconds(line.access_time)? {
        0 => cached_us,
        accessed_us => accessed_us,
    };
    let theirs_us = |anchor_us: i64| now.monotonic_us as i64 + anchor_us;
    let offset_us = link
        .anchor_us
        .map_or(0, |anchor_us| now_us as i64 - theirs_us(anchor_us));
    let to_tree = |time_us: u64| time_us.saturating_add_signed(offset_us);
    Some((to_tree(cached_us), to_tree(accessed_us)))
}

/// Whose write a KEYSYNC is taken for, which doesn't say it: somebody who only ever writes this value. So
/// it is the same write wherever and however often it comes, and of two values with the same time the same
/// one wins everywhere.
fn author(value: Option<&[u8]>) -> NodeId {
    let mut digest = Sha256::new();
    digest.update([u8::from(value.is_some())]);
    digest.update(value.unwrap_or_default());
    let digest: [u8; 32] = digest.finalize().into();
    let (first, _) = digest
        .split_first_chunk()
        .expect("a SHA-256 has more than 8 bytes");
    NodeId(u64::from_be_bytes(*first))
}
