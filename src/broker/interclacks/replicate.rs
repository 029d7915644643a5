//! Changes and signals on their way to the peers.

use super::encode::{append_as_write, append_key_sync, encode_clear, encode_marker};
use super::groups::{Forwarded, HandedOn};
use super::link::{DIRTY_NAME, KNOWN_NAME, Link, Software, SyncState};
use super::scope::SignalScope;
use super::{LegacyForm, Tree};
use crate::broker::Broker;
use crate::broker::cache::{Cache, Dropped, Effect, EntryId, Found, WrittenPart};
use crate::broker::carrier::Carrier;
use crate::broker::change::{Change, Write, WrittenSignal};
use crate::broker::close_reason::CloseReason;
use crate::broker::events::{ConnectionId, Now};
use crate::broker::operations::By;
use crate::broker::random::Random;
use crate::broker::subjects::Subjects;
use crate::limits::LINK_BACKLOG;
use crate::protocol::encode;
use crate::protocol::peer::{self, NodeId, SignalId};
use crate::protocol::shared::{Lines, SharedBytes};
use crate::protocol::shown::is_nameable;
use log::Level;
use smallvec::SmallVec;

impl Broker {
    /// Sends a change to all peers but the one it came from.
    pub(in crate::broker) fn replicate<O: Carrier>(
        &mut self,
        change: Change<'_>,
        now: Now,
        out: &mut O,
    ) {
        match change {
            Change::Write(write) if self.tree.links.is_only(write.by.connection) => {}
            Change::Write(write) => self.replicate_write(&write, now, out),
            Change::Clear { by } => self.replicate_clear(by, out),
            Change::Fold { from } => self.replicate_fold(from, out),
            Change::Drop(Dropped::Evicted, entry) => {
                self.tree.queue_evicted(&self.cache, entry, out)
            }
            Change::Drop(Dropped::Expired, entry) => {
                self.tree.tell_expired(&self.cache, entry, out)
            }
            // The others drop it at the same time.
            Change::Drop(..) => {}
        }
    }

    fn replicate_write<O: Carrier>(&mut self, write: &Write<'_>, now: Now, out: &mut O) {
        let Write {
            by,
            name,
            written,
            signal,
        } = *write;
        let (from, form) = (by.connection, by.form);
        let now_us = self.tree.now_us(now);
        let Broker {
            cache,
            tree,
            long_line,
            subjects,
            ..
        } = self;
        let long_line = long_line.as_ref();
        let found = cache.remembered(written.entry, now_us);
        for (id, link) in tree.links.up_mut().filter(|(id, _)| *id != from) {
            let may_signal = link.is_up_to_date();
            // A STATE line has no room for groups: the signal comes behind it then.
            let is_for_groups = signal.is_some_and(|signal| {
                let handed_on = signal.handed_on.iter();
                handed_on.into_iter().any(|one| one.link == id)
            });
            let carried = signal.filter(|_| may_signal && !is_for_groups);
            let carried = carried.map(|signal| (signal.id, signal.value));
            if link.peer == Software::Clacksd {
                let beside = Beside {
                    signal: carried,
                    part: written.part,
                };
                send_or_mark_dirty(link, id, name, found, beside, out);
            } else if written.part != WrittenPart::Touch
                && is_nameable(name)
                && is_to_hear_now(link, id, cache, name, out)
            {
                match form {
                    // They know no attributes.
                    LegacyForm::Effect(Effect::Attributes) if carried.is_none() => {}
                    // The line as it came may be a signal, too, which has to wait if others do.
                    LegacyForm::Line(line) if carried.is_some() || signal.is_none() => {
                        out.append_line(id, &[line], long_line);
                    }
                    _ => send_change(id, name, found, form, carried, long_line, out),
                }
            }
            let is_held = !may_signal || !link.is_up_to_date();
            if let Some(WrittenSignal {
                id: signal,
                value,
                handed_on,
            }) = signal
                && (is_held || is_for_groups)
            {
                let line = SignalLine {
                    id: signal,
                    options: b"",
                    groups: groups_for(subjects, handed_on, id),
                    line: &encode::set(name, value),
                    source: long_line,
                };
                match is_held {
                    true => out.charge_memory(id, line.queue(link)),
                    false => line.send(id, out),
                }
            }
        }
        self.close_links_that_hold_too_much(now, out);
    }

    /// Sends a signal to all peers but the one it came from.
    pub(in crate::broker) fn forward_signal<O: Carrier>(
        &mut self,
        from: ConnectionId,
        signal: SignalId,
        forwarded: &Forwarded<'_>,
        now: Now,
        out: &mut O,
    ) {
        let Forwarded {
            line,
            scope,
            options,
            handed_on,
        } = *forwarded;
        let Broker {
            tree,
            long_line,
            subjects,
            ..
        } = self;
        let long_line = long_line.as_ref();
        for (id, link) in tree.links.up_mut().filter(|(id, _)| *id != from) {
            if link.peer == Software::NetClacks && scope == SignalScope::Clacksd {
                continue;
            }
            let is_to_wait = !link.is_up_to_date() && scope != SignalScope::AtOnce;
            if is_to_wait || link.peer == Software::Clacksd {
                let line = SignalLine {
                    id: signal,
                    options,
                    groups: groups_for(subjects, handed_on, id),
                    line,
                    source: long_line,
                };
                match is_to_wait {
                    true => out.charge_memory(id, line.queue(link)),
                    false => line.send(id, out),
                }
            } else {
                out.append_line(id, line, long_line);
            }
        }
        let names = handed_on.iter().map(|one| subjects.group_name(one.group));
        let length: usize = names.map(|name| name.len() + "q= ".len()).sum();
        if length > peer::MAX_GROUPS_LENGTH {
            let what = format_args!(
                "groups of a signal are not served at other servers: their names have {length} bytes together"
            );
            tree.log(Level::Warn, what, now);
        }
        self.close_links_that_hold_too_much(now, out);
    }

    /// Signals that wait, and states that were evicted, are output that waits: the same limit applies.
    pub(in crate::broker) fn close_links_that_hold_too_much<O: Carrier>(
        &mut self,
        now: Now,
        out: &mut O,
    ) {
        let max = self.settings.max_held;
        self.tree.update_backlog(max);
        if !self.tree.has_backlog {
            return;
        }
        let too_full = {
            let mut links = self.tree.links.up();
            links.find(|(_, link)| link.backlog() > max)
        };
        if let Some(id) = too_full.map(|(id, _)| id) {
            self.close(id, CloseReason::OutputLimit, now, out);
        }
    }

    /// A signal of a client here, or of a Net::Clacks peer: it gets its number.
    pub(in crate::broker) fn forward_new_signal<O: Carrier>(
        &mut self,
        from: ConnectionId,
        forwarded: &Forwarded<'_>,
        now: Now,
        out: &mut O,
    ) {
        if let Some(signal) = self.tree.new_signal(&mut self.random, now) {
            self.forward_signal(from, signal, forwarded, now, out);
        }
    }

    /// Sends a clear to all peers but the one it came from.
    fn replicate_clear<O: Carrier>(&mut self, by: By<'_>, out: &mut O) {
        let from = by.connection;
        let line = match by.form {
            LegacyForm::Line(line) => Some(line),
            LegacyForm::Effect(_) | LegacyForm::KeySync => None,
        };
        let cleared = self.cache.cleared();
        for id in self.tree.links.ids_up() {
            let Some(peer) = self
                .tree
                .links
                .get_mut(id)
                .filter(|_| id != from)
                .map(|link| link.peer)
            else {
                continue;
            };
            match peer {
                Software::Clacksd => out.append(id, |to| encode_clear(to, cleared)),
                Software::NetClacks => {
                    out.append(id, |to| encode::line(to, &[line.unwrap_or(b"CLEARCACHE")]));
                    if line.is_none() {
                        // Entries that are newer than a clear of another server stay here. The Net::Clacks peer
                        // loses them, also those that it has sent.
                        let walk = peer.new_walk(&self.cache);
                        let Some(link) = self.tree.links.get_mut(id) else {
                            continue;
                        };
                        out.charge_memory(id, link.forget_known_to_peer());
                        if !matches!(link.sync, SyncState::Pending) {
                            let former =
                                std::mem::replace(&mut link.sync, SyncState::Running(walk));
                            self.tree.free_walk_later(former);
                            // In a later turn: so many clears cost no more than one.
                            out.request_writable(id);
                        }
                    }
                }
            }
        }
    }

    /// Sends the marker to all clacksd peers but the one it came from, at once: no state that was folded by
    /// it may come before it.
    pub(super) fn replicate_fold<O: Carrier>(&mut self, from: Option<ConnectionId>, out: &mut O) {
        let folded = self.cache.folded();
        for id in self.tree.links.ids_up() {
            let is_to_know = Some(id) != from
                && self
                    .tree
                    .links
                    .get_mut(id)
                    .is_some_and(|link| link.peer == Software::Clacksd);
            if is_to_know {
                out.append(id, |to| encode_marker(to, folded));
            }
        }
    }

    /// Sends the state of a name to a peer that has just sent an older one, unless the synchronisation is still to begin
    /// and will send it. It can't be relied on if the entry may be evicted before.
    pub(super) fn answer_older_state<O: Carrier>(
        &mut self,
        id: ConnectionId,
        name: &[u8],
        now: Now,
        out: &mut O,
    ) {
        let link = self.tree.links.get(id);
        let is_pending = link.is_some_and(|link| matches!(link.sync, SyncState::Pending));
        if self.cache.is_limited() || !is_pending {
            self.answer_state(id, name, now, out);
        }
    }

    /// Sends the state of a name to a peer that does not know it. The peer knows of every clear: clears are
    /// sent when the link comes up, and at once from then on.
    pub(super) fn answer_state<O: Carrier>(
        &mut self,
        id: ConnectionId,
        name: &[u8],
        now: Now,
        out: &mut O,
    ) {
        let now_us = self.tree.now_us(now);
        if let Some(link) = self.tree.links.get_mut(id)
            && let Some(found) = self.cache.find(name, now_us)
        {
            let beside = Beside {
                signal: None,
                part: WrittenPart::All,
            };
            send_or_mark_dirty(link, id, name, Some(found), beside, out);
        }
    }
}

impl Tree {
    /// Looks again whether any link has so much waiting at this end that senders may have to wait. Of each there may wait
    /// `max_held` bytes.
    pub fn update_backlog(&mut self, max_held: usize) {
        let much = max_held / 8;
        let mut links = self.links.up();
        self.has_backlog = links.any(|(_, link)| link.backlog() > much);
    }

    /// The id of a signal that enters the tree here; `None` if there are no links that it could go to.
    pub fn new_signal(&mut self, random: &mut Random, now: Now) -> Option<SignalId> {
        if self.links.is_empty() {
            return None;
        }
        let now_us = self.now_us(now);
        Some(self.signals.next(now_us, || NodeId(random.next())))
    }

    /// Queues the state of an entry that is being evicted for each peer to which its name is dirty.
    fn queue_evicted<O: Carrier>(&mut self, cache: &Cache, entry: EntryId, out: &mut O) {
        let found = cache.entry_of(entry);
        for (id, link) in self.links.up_mut() {
            if let Some(more) = link.queue_evicted(found) {
                out.charge_memory(id, more);
            }
        }
    }

    /// Removes an entry that has expired at the Net::Clacks peers, which know no expiry. The others see it for themselves.
    fn tell_expired<O: Carrier>(&mut self, cache: &Cache, entry: EntryId, out: &mut O) {
        let name = cache.entry_of(entry).name();
        for (id, link) in self.links.up_mut() {
            if link.peer == Software::NetClacks
                && is_nameable(name)
                && is_to_hear_now(link, id, cache, name, out)
            {
                out.append(id, |to| encode::line(to, &[b"REMOVE ", name]));
            }
        }
    }
}

/// The details of a change that is sent to a clacksd server.
#[derive(Clone, Copy)]
pub(super) struct Beside<'a> {
    /// The signal that a SETANDSTORE is too, with its value.
    pub signal: Option<(SignalId, &'a [u8])>,
    pub part: WrittenPart,
}

/// Sends a clacksd server the state of a name, or the one share that has changed, and its signal; or marks the name as
/// dirty if much output is queued.
pub(super) fn send_or_mark_dirty<O: Carrier>(
    link: &mut Link,
    id: ConnectionId,
    name: &[u8],
    found: Option<Found<'_>>,
    Beside { signal, part }: Beside<'_>,
    out: &mut O,
) {
    if link.has_dirty_names() || out.traffic(id).queued > LINK_BACKLOG {
        if link.dirty.insert(name.into()) {
            out.charge_memory(id, name.len() as isize + DIRTY_NAME);
            out.request_writable(id);
        }
        return;
    }
    // A peer that is still being synchronised may not have the entry.
    if let Some(found) = found.filter(|_| matches!(link.sync, SyncState::Done))
        && send_part(id, name, found, part, out)
    {
        return;
    }
    match (found, signal) {
        (Some(found), _) => send_state(id, name, found, signal.map(|(signal, _)| signal), out),
        // It has aged on its way here. Its signal has not.
        (None, Some((signal, value))) => {
            let line = encode::set(name, value);
            out.append(id, |to| {
                peer::encode_signal(to, signal, b"", [], &line);
            });
        }
        (None, None) => {}
    }
}

/// Sends the line about a part of an entry; false if there is none, since more has changed.
fn send_part<O: Carrier>(
    id: ConnectionId,
    name: &[u8],
    found: Found<'_>,
    part: WrittenPart,
    out: &mut O,
) -> bool {
    let stamp = found.stamp();
    match part {
        WrittenPart::All => false,
        WrittenPart::Share(share) => match found.contribution_of(share) {
            None => false,
            Some(contribution) => {
                let accessed_us = found.accessed_us();
                out.append(id, |to| {
                    peer::encode_count(to, name, stamp, accessed_us, &contribution)
                });
                true
            }
        },
        WrittenPart::Touch => {
            out.append(id, |to| {
                peer::encode_touch(to, name, stamp, &found.attributes())
            });
            true
        }
    }
}

/// Sends a STATE line. A long value is shared with the cache.
fn send_state<O: Carrier>(
    id: ConnectionId,
    name: &[u8],
    found: Found<'_>,
    signal: Option<SignalId>,
    out: &mut O,
) {
    let Some(text) = found.long_text() else {
        out.append(id, |to| {
            peer::encode_state(to, name, &found.state(), signal)
        });
        return;
    };
    let mut lines = Lines::default();
    peer::append_state(&mut lines, found.name(), &found.state(), signal, Some(text));
    out.append_lines(id, &lines);
}

/// A signal on its way to one link.
struct SignalLine<'a> {
    id: SignalId,
    /// The options that all links are sent.
    options: &'a [u8],
    /// The names of the groups that are to be served behind the link.
    groups: SmallVec<[&'a [u8]; 2]>,
    line: &'a [&'a [u8]],
    /// The long line that it comes from, if it comes from one.
    source: Option<&'a SharedBytes>,
}

impl SignalLine<'_> {
    /// Sends it to a clacksd server. The end of a long one is shared.
    fn send<O: Carrier>(self, to: ConnectionId, out: &mut O) {
        if self.source.is_none() {
            out.append(to, |to| {
                peer::encode_signal(to, self.id, self.options, self.groups, self.line);
            });
            return;
        }
        let mut lines = Lines::default();
        self.append(&mut lines);
        out.append_lines(to, &lines);
    }

    /// Queues it until the synchronisation is done; returns its bytes.
    fn queue(self, link: &mut Link) -> isize {
        let peer = link.peer;
        link.queued_signals.append(|to| match peer {
            Software::Clacksd => self.append(to),
            Software::NetClacks => to.append(self.line, self.source),
        })
    }

    fn append(self, to: &mut Lines) {
        let SignalLine {
            id,
            options,
            groups,
            line,
            source,
        } = self;
        peer::append_signal(to, id, options, groups, line, source);
    }
}

/// The names of the groups of a signal that are to be served behind a link.
fn groups_for<'a>(
    subjects: &'a Subjects,
    handed_on: &[HandedOn],
    link: ConnectionId,
) -> SmallVec<[&'a [u8]; 2]> {
    let here = handed_on.iter().filter(|one| one.link == link);
    here.map(|one| subjects.group_name(one.group)).collect()
}

/// Reports whether a Net::Clacks server is to be sent a change of that name at once: the synchronisation does not
/// visit the name any more.
fn is_to_hear_now<O: Carrier>(
    link: &mut Link,
    id: ConnectionId,
    cache: &Cache,
    name: &[u8],
    out: &mut O,
) -> bool {
    // The state that the master has sent is no longer the newest one.
    let hash = cache.hash(name);
    if link
        .known_to_peer
        .remove(hash, |heard| *heard == hash)
        .is_some()
    {
        out.charge_memory(id, -KNOWN_NAME);
    }
    let is_still_to_come = match &mut link.sync {
        SyncState::Pending => true,
        SyncState::Running(walk) => walk.will_meet(cache, name),
        SyncState::Done => false,
    };
    if matches!(link.sync, SyncState::Running(_)) {
        out.charge_memory(id, link.walk_growth());
    }
    !is_still_to_come
}

/// Sends a change as a line of Net::Clacks, where the line that made it can't be sent.
fn send_change<O: Carrier>(
    id: ConnectionId,
    name: &[u8],
    found: Option<Found<'_>>,
    form: LegacyForm<'_>,
    signal: Option<(SignalId, &[u8])>,
    long_line: Option<&SharedBytes>,
    out: &mut O,
) {
    let mut lines = Lines::default();
    match (form, signal, found) {
        (LegacyForm::KeySync, _, Some(found)) => append_key_sync(&mut lines, found),
        (LegacyForm::Effect(Effect::Counter(steps)), _, _) => {
            for step in steps {
                let step = step.exact().to_string();
                lines.append(&[b"INCREMENT ", name, b"=", step.as_bytes()], None);
            }
        }
        (LegacyForm::Effect(_), Some((_, value)), _) => {
            lines.append(&[b"SETANDSTORE ", name, b"=", value], long_line);
        }
        (_, _, Some(found)) => append_as_write(&mut lines, found),
        (_, _, None) => {}
    }
    out.append_lines(id, &lines);
}
