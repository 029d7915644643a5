//! Lines that come from peers: which of them have an effect, and those that concern the link itself.

use super::encode::{microseconds, seconds};
use super::link::{Link, Role, Software};
use super::link_log::start_of;
use super::plausible::Fault;
use super::scope::{is_not_monitored, is_too_long_to_forward};
use super::tree_clock::Differs;
use crate::broker::Broker;
use crate::broker::carrier::Carrier;
use crate::broker::close_reason::CloseReason;
use crate::broker::events::{ConnectionId, Flow, Now};
use crate::broker::output::Output;
use crate::limits::{CLOCK_STEP_US, MAX_CLOCK_LEAD_US, PEER_LINE_EXTRA, SECOND_US};
use crate::protocol::peer::{self, PeerLine};
use crate::protocol::{ClacksLine, Command, Flags, Overhead, encode, token};
use log::Level;

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
        let max = self.settings.max_line + PEER_LINE_EXTRA;
        if line.len() > max && unescaped_length(line, extended.as_ref()) > max {
            let what = format_args!("a line of more than {max} bytes was skipped");
            self.tree.log(Level::Warn, what, now);
            return Flow::Next;
        }
        if let Some(extended) = extended {
            let is_hidden = self.is_hidden_signal(&extended);
            // Monitors are shown a text for each state.
            let states = match &extended {
                PeerLine::States(states) if !self.monitors.is_empty() => Some(states.lines()),
                _ => None,
            };
            if self.is_believed(id, &extended, now, out) {
                self.handle_peer_line(id, extended, now, out);
            }
            match states {
                Some(lines) => lines.iter().for_each(|line| self.mirror(id, line, out)),
                None if is_hidden => {}
                None => self.mirror(id, line, out),
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
            Command::Ping => {
                self.renew_ping(id, now, out);
                if is_clacksd {
                    out.append(id, |to| encode::line(to, &[b"PONG"]));
                }
            }
            Command::KeySync(key_sync) => {
                self.renew_ping(id, now, out);
                self.handle_key_sync(id, key_sync, now, out);
            }
            Command::Listen(_)
            | Command::Unlisten(_)
            | Command::ListenToPattern(_)
            | Command::UnlistenToPattern(_)
            | Command::KeyInfo(_)
            | Command::Expire(_)
            | Command::Ttl(_)
            | Command::Status(_)
            | Command::NoPing
            | Command::Nop => {}
            Command::Overhead(None) if token::may_be_login(line) => monitored = false,
            Command::Overhead(Some(overhead)) => {
                monitored = !is_not_monitored(&overhead) && self.monitors.may_see(line);
                if is_too_long_to_forward(&overhead, line) {
                    self.tree.skip_forwarded_line(line, now);
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
        let is_early = link.is_before_sync();
        // A slave doesn't say where what it has ends; a master does.
        if link.role == Role::Downlink {
            self.end_peers_sync(id);
        }
        match command {
            Command::Increment(counter) | Command::Decrement(counter) if is_early => {
                self.handle_early_step(id, command, counter.name, line, now, out)
            }
            _ => self.execute_for_link(id, command, line, now, out),
        }
    }

    fn handle_link_overhead<O: Carrier>(
        &mut self,
        id: ConnectionId,
        is_uplink: bool,
        overhead: Overhead<'_>,
        now: Now,
        out: &mut O,
    ) {
        let Overhead { flags, value } = overhead;
        // A forwarded line was written by somebody else: a Net::Clacks server sends it to all, its peers included.
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
            let link = self.tree.links.get(id);
            if is_uplink && link.is_some_and(Link::is_clacksd) {
                self.refuse_link(id, &Fault::Lock, now, out);
                return;
            }
            if is_uplink && let Some(link) = self.tree.links.get_mut(id) {
                link.peer_is_syncing = overhead.is_on();
            }
            if is_uplink && overhead.is_on() {
                self.lock.get_or_insert_default();
            } else if is_uplink {
                self.unlock(out);
                let time = seconds(self.tree.now_us(now));
                out.append(id, |to| encode::overhead(to, Flags::TIME, time.as_bytes()));
                self.start_sync(id, now, out);
            }
        } else if overhead.is_on() {
            self.overhead(id, overhead, now, out);
        }
    }

    /// The peer's clock. With a Net::Clacks server this node only translates: what was stamped here before would be
    /// wrong by as much as the clocks differ. A clacksd master's is the tree's, or the best that is known of it.
    fn handle_time<O: Carrier>(
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
        let Some(link) = self.tree.links.get_mut(id) else {
            return;
        };
        let is_first = link.anchor_us.is_none();
        link.anchor_us = Some(theirs_us as i64 - now.monotonic_us as i64);
        link.peer_is_syncing |= !is_uplink;
        if is_first {
            link.round_trip_us = now.monotonic_us - link.began_us;
        }
        match (is_uplink, link.peer) {
            (false, _) => {}
            // This node is the root of the clacksd servers below it.
            (true, Software::NetClacks) => self.tree.confirm_time(now, out),
            (true, Software::Clacksd) => self.handle_masters_time(id, theirs_us, now, out),
        }
    }

    /// The time of a clacksd master. One that has just started, and has not reached its own master, knows less of the
    /// tree's time than a node that has learnt it.
    fn handle_masters_time<O: Carrier>(
        &mut self,
        id: ConnectionId,
        theirs_us: u64,
        now: Now,
        out: &mut O,
    ) {
        let knows_time = (self.tree.links.get(id)).is_some_and(|link| link.peer_knows_time);
        if !knows_time && self.tree.clock.is_confirmed() {
            return;
        }
        let before_us = self.tree.now_us(now);
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
            self.tree.send_time(now, out);
        }
        if knows_time {
            self.tree.confirm_time(now, out);
        }
    }

    /// Reports whether the cached entries would seem far too old or too new by another clock. A clock that is far
    /// behind the restored entries has just been started.
    fn is_used_to_its_time(&self, now_us: u64) -> bool {
        !self.cache.is_empty()
            && (self.cache.has_stamped() || now_us + MAX_CLOCK_LEAD_US >= self.cache.newest_us())
    }
}

/// The length of the name and the value in a line, which may be escaped there; of any other line its own.
fn unescaped_length(line: &[u8], extended: Option<&PeerLine<'_>>) -> usize {
    match extended {
        Some(PeerLine::State { name, value, .. }) => name.len() + value.unescape().len(),
        Some(PeerLine::Count { name, .. } | PeerLine::Touch { name, .. }) => name.len(),
        _ => line.len(),
    }
}
