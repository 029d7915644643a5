//! Lines of clacksd peers: states that merge, and signals with ids.

use super::counting::Count;
use super::groups::{Forwarded, HandedOnGroups};
use super::link::Role;
use super::plausible::{Fault, fault_of_states};
use super::scope::{SignalScope, is_not_monitored, is_too_long_to_forward};
use super::{LegacyForm, Tree};
use crate::broker::Broker;
use crate::broker::cache::{Effect, Merged, TooLarge, Touched};
use crate::broker::carrier::Carrier;
use crate::broker::change::{Change, Write, WrittenSignal};
use crate::broker::close_reason::CloseReason;
use crate::broker::events::{ConnectionId, Now};
use crate::broker::operations::{By, Extras, Groups, Signal};
use crate::broker::output::Output;
use crate::broker::subjects::{GroupId, News};
use crate::limits::{MAX_FORWARDED_LINE, MAX_PATH, WORK_PER_CONTRIBUTION, WORK_PER_STEP};
use crate::protocol::attributes::Attributes;
use crate::protocol::command::Pair;
use crate::protocol::nats::subject;
use crate::protocol::number::work_of;
use crate::protocol::peer::packed::NamedState;
use crate::protocol::peer::{
    EscapedValue, NodeId, Options, PackedStates, PeerLine, SignalId, Stamp, State, StateHead,
};
use crate::protocol::shown::shown;
use crate::protocol::{Command, decode, encode};
use log::Level;
use smallvec::SmallVec;
use std::borrow::Cow;

impl Broker {
    /// Reports whether monitors do not get a line because of the OVERHEAD line in it, which comes as a signal.
    pub(super) fn is_hidden_signal(&self, line: &PeerLine<'_>) -> bool {
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

    pub(super) fn handle_peer_line<O: Output>(
        &mut self,
        id: ConnectionId,
        line: PeerLine<'_>,
        now: Now,
        out: &mut O,
    ) {
        match line {
            PeerLine::State {
                name,
                head,
                value,
                signal,
            } => self.handle_state(id, &name, (head, &value), signal, now, out),
            PeerLine::States(states) => handle_states(self, id, &states, now, out),
            PeerLine::Signal {
                id: signal,
                options,
                line,
            } => self.handle_signal(id, signal, options, line, now, out),
            PeerLine::Clear(stamp) if self.cache.merge_clear(stamp) => {
                // Cleared entries are dropped at once.
                self.expiry.run_now();
                let by = By {
                    connection: id,
                    form: LegacyForm::Effect(&Effect::Register),
                };
                self.commit(Change::Clear { by }, now, out);
            }
            PeerLine::Clear(_) | PeerLine::Reserved => {}
            PeerLine::Count {
                name,
                stamp,
                accessed_us,
                contribution,
            } => {
                let Some(contribution) = contribution else {
                    self.renew_ping(id, now, out);
                    return self.answer_state(id, &name, now, out);
                };
                let count = Count {
                    name: &name,
                    stamp,
                    accessed_us,
                    contribution,
                };
                self.handle_count(id, &count, now, out);
            }
            PeerLine::Touch {
                name,
                stamp,
                attributes,
            } => self.handle_touch(id, &name, stamp, &attributes, now, out),
            PeerLine::Fold(marker) => self.handle_fold(id, marker, now, out),
            PeerLine::Path(path) => self.handle_path(id, path, now, out),
            PeerLine::Join(joined) => self.handle_membership(id, News::Join, joined, now, out),
            PeerLine::Leave(left) => self.handle_membership(id, News::Leave, left, now, out),
            PeerLine::Synced => {
                let link = self.tree.links.get(id);
                if link.is_some_and(|link| link.role == Role::Uplink) {
                    self.start_sync(id, now, out);
                }
            }
            PeerLine::Pong => {
                if let Some(link) = self.tree.links.get_mut(id) {
                    link.handle_pong(now);
                }
            }
        }
    }

    fn handle_state<O: Output>(
        &mut self,
        id: ConnectionId,
        name: &[u8],
        (head, value): (StateHead, &EscapedValue<'_>),
        signal: Option<SignalId>,
        now: Now,
        out: &mut O,
    ) {
        let value = value.unescape();
        let mut state = head.into_state(&value);
        // It was used when it was written, or else somebody could make it stale by writing it.
        state.accessed_us = state.accessed_us.max(state.stamp.time_us);
        self.renew_ping(id, now, out);
        merge_state(self, (id, name), &state, signal, now, out);
    }

    /// A touch or a won mark of an entry. A peer that knows less of it gets the whole state.
    fn handle_touch<O: Output>(
        &mut self,
        id: ConnectionId,
        name: &[u8],
        stamp: Stamp,
        attributes: &Attributes,
        now: Now,
        out: &mut O,
    ) {
        self.renew_ping(id, now, out);
        let now_us = self.tree.now_us(now);
        match self.cache.merge_touch(name, stamp, attributes, now_us) {
            Ok(Touched::Nothing) => {}
            Ok(Touched::Differs) => self.answer_older_state(id, name, now, out),
            Ok(Touched::Done(written)) => {
                let write = Write {
                    by: By {
                        connection: id,
                        form: LegacyForm::Effect(&Effect::Attributes),
                    },
                    name,
                    written,
                    signal: None,
                };
                self.commit(Change::Write(write), now, out);
            }
            Err(TooLarge) => {
                self.log_too_large(name, now);
                self.cache.forget(name);
            }
        }
    }

    fn handle_signal<O: Carrier>(
        &mut self,
        id: ConnectionId,
        signal: SignalId,
        options: Options<'_>,
        line: &[u8],
        now: Now,
        out: &mut O,
    ) {
        let command = decode(line);
        if let Some(Command::Overhead(Some(overhead))) = command
            && is_too_long_to_forward(&overhead, line)
        {
            self.tree.skip_forwarded_line(line, now);
            return;
        }
        let scope = SignalScope::of(command.as_ref());
        if !self.is_new_signal(id, signal, scope, now, out) {
            return;
        }
        let handed_on = match command {
            Some(Command::Set(Pair { name, value })) => {
                let line = &[line];
                let signal = Signal { name, line, value };
                self.deliver_of_peer(id, &signal, options, out)
            }
            Some(Command::Notify(name)) => {
                let (line, value) = (&[line], &b""[..]);
                let signal = Signal { name, line, value };
                self.deliver_of_peer(id, &signal, options, out)
            }
            _ => HandedOnGroups::new(),
        };
        let forwarded = Forwarded {
            line: &[line],
            scope,
            options: &options.common(),
            handed_on: &handed_on,
        };
        self.forward_signal(id, signal, &forwarded, now, out);
        match command {
            Some(Command::Set(_) | Command::Notify(_)) => {}
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

    /// Delivers a signal of a peer at this server. Returns the groups that are to be served behind other links.
    fn deliver_of_peer<O: Carrier>(
        &mut self,
        id: ConnectionId,
        signal: &Signal<'_>,
        options: Options<'_>,
        out: &mut O,
    ) -> HandedOnGroups {
        // To decode it for nobody would be in vain.
        let is_for_subscriptions = !self.subjects.is_empty();
        let header = is_for_subscriptions.then(|| options.header()).flatten();
        let extras = Extras {
            subject: options
                .subject()
                .filter(|subject| subject::is_valid(subject)),
            reply: options.reply(),
            header: header.as_deref(),
        };
        let named = options.groups();
        let found = named.filter_map(|name| self.subjects.find_group(name));
        let mut groups: SmallVec<[GroupId; 4]> = found.collect();
        groups.sort_unstable();
        self.statistics.link_signals += 1;
        self.deliver(id, signal, &extras, Groups::Named(&groups), out)
    }

    fn handle_path<O: Carrier>(
        &mut self,
        id: ConnectionId,
        mut path: Vec<NodeId>,
        now: Now,
        out: &mut O,
    ) {
        let link = self.tree.links.get_mut(id);
        let Some(link) = link.filter(|link| link.role == Role::Uplink) else {
            // A slave's masters are this node and its masters: only its own node is news.
            if let [node] = path[..] {
                self.note_node_of_slave(id, node, now, out);
            }
            return;
        };
        link.peer_knows_time = path.first() != Some(&NodeId::UNKNOWN);
        if !link.peer_knows_time {
            path.remove(0);
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
            self.tree.set_path(path, out);
        }
    }
}

/// States that came in one line. None of them has an effect unless all are believed.
fn handle_states<O: Output>(
    broker: &mut Broker,
    id: ConnectionId,
    packed: &PackedStates<'_>,
    now: Now,
    out: &mut O,
) {
    let Some(states) = packed.unpack() else {
        broker.refuse_link(id, &Fault::Form("STATES".to_owned()), now, out);
        return;
    };
    if let Some(fault) = fault_of_states(broker, id, &states, now) {
        broker.refuse_link(id, &fault, now, out);
        return;
    }
    broker.renew_ping(id, now, out);
    // The line has counted as one step.
    out.add_work((states.len() - 1) * WORK_PER_STEP);
    broker
        .cache
        .prefetch_names(states.iter().map(|named| named.name));
    for NamedState { name, state, .. } in &states {
        merge_state(broker, (id, name), state, None, now, out);
    }
}

/// A state that a peer has of a name, with the signal that a SETANDSTORE is too.
fn merge_state<O: Output>(
    broker: &mut Broker,
    (id, name): (ConnectionId, &[u8]),
    state: &State<'_>,
    signal: Option<SignalId>,
    now: Now,
    out: &mut O,
) {
    if !state.contributions.is_empty() {
        let contributions = state.contributions.len() * WORK_PER_CONTRIBUTION;
        out.add_work(contributions + work_of(state.register.value()));
    }
    let merged = broker.cache.merge(name, state, broker.tree.now_us(now));
    broker.report_share_contest(now);
    let merged = merged.unwrap_or_else(|TooLarge| {
        broker.log_too_large(name, now);
        // The old value is nobody's any more. The signal is for whoever listens all the same.
        broker.cache.forget(name);
        Merged::nothing(false)
    });
    if !merged.differs {
        broker.note_known_to_peer(id, name, out);
    }
    let signal =
        signal.filter(|signal| broker.is_new_signal(id, *signal, SignalScope::All, now, out));
    let value = match signal {
        Some(_) => shown(state.register.value()),
        None => Cow::Borrowed(&b""[..]),
    };
    if merged.differs {
        broker.answer_older_state(id, name, now, out);
    }
    // A STATE line names no groups: those that are to be served here come in a line of their own.
    if signal.is_some() {
        broker.statistics.link_signals += 1;
        broker.deliver_set(id, name, &value, Groups::Named(&[]), out);
    }
    if let Some(written) = merged.written {
        let write = Write {
            by: By {
                connection: id,
                form: LegacyForm::Effect(&merged.effect),
            },
            name,
            written,
            signal: signal.map(|id| WrittenSignal {
                id,
                value: &value,
                handed_on: &[],
            }),
        };
        broker.commit(Change::Write(write), now, out);
    } else if let Some(signal) = signal {
        let line = encode::set(name, &value);
        broker.forward_signal(id, signal, &Forwarded::plain(&line), now, out);
    }
}

impl Tree {
    /// A peer asks to forward a line that is too long for that. A Net::Clacks server passes on any length.
    pub(super) fn skip_forwarded_line(&mut self, line: &[u8], now: Now) {
        let length = line.len();
        self.log(
            Level::Warn,
            format_args!(
                "a line of {length} bytes that was to be forwarded to everybody was skipped: it has more than {MAX_FORWARDED_LINE}"
            ),
            now,
        );
    }
}
