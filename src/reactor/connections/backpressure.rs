//! Senders wait for receivers: nobody is closed because others send faster than it reads.
//!
//! A connection is a full receiver while more waits for it than [`Connections::room_for_receiver`] allows, beside the
//! answers to its own lines, and its peer takes bytes. Lines of others that would add to that wait in their senders'
//! input, which is not read meanwhile. A peer that takes nothing for [`RECEIVER_PATIENCE_US`] holds nobody up: what is
//! sent to it goes on to its own limit.

use super::Connections;
use crate::broker::{Carrier, CloseReason, ConnectionId};
use crate::limits::{
    LINK_PATIENCE_US, LOW_ROOM_SHARE, RECEIVER_CHECK_US, RECEIVER_PATIENCE_US, RECEIVERS_PER_CHECK,
    RESUMED_SENDERS, ROOM_HYSTERESIS, ROOM_SHARE, WORK_PER_DELIVERY, WORK_PER_TURN,
};
use crate::reactor::connection::{Connection, Writing};
use crate::reactor::socket::Socket;
use std::collections::VecDeque;

/// A connection for which much has waited.
#[derive(Default)]
pub struct Backpressure {
    /// True if so much of its output waits that senders who would add to it have to wait.
    pub is_full: bool,
    /// Links wait for it no more until it has room.
    is_too_slow_for_links: bool,
    /// On the list of receivers to be looked at, and when it was looked at last.
    in_checks: bool,
    checked_us: u64,
    /// On the list of receivers whose senders may go on.
    in_released: bool,
    /// The senders that wait for it, the oldest first.
    waiters: VecDeque<Waiter>,
}

impl Backpressure {
    /// Senders have to wait for it. Returns false if that was so.
    fn become_full(&mut self) -> bool {
        !std::mem::replace(&mut self.is_full, true)
    }
}

struct Waiter {
    sender: ConnectionId,
    since_us: u64,
}

impl<S: Socket> Connection<S> {
    /// Reports whether the connection takes output and its peer is not stuck. A stuck peer has taken none of
    /// the waiting output for [`RECEIVER_PATIENCE_US`].
    fn takes_bytes(&self, now_us: u64) -> bool {
        let is_stuck = match self.writing {
            Writing::Blocked { since_us } => {
                now_us >= since_us.saturating_add(RECEIVER_PATIENCE_US)
            }
            _ => false,
        };
        self.takes_output() && !is_stuck
    }

    /// Reports whether links wait for this receiver: not while it, or another connection of its account, counts as too
    /// slow for a link.
    fn may_slow_links(&self, now_us: u64) -> bool {
        let backpressure = self.backpressure.as_ref();
        !backpressure.is_some_and(|it| it.is_too_slow_for_links)
            && self.account.may_slow_links(now_us)
    }

    fn backpressure(&mut self) -> &mut Backpressure {
        self.backpressure.get_or_insert_default()
    }
}

impl<S: Socket> Connections<S> {
    /// Bytes that may wait for a connection before its senders have to wait, given the memory that is left for all:
    /// the less that is, the less each may use of it.
    pub(super) fn room_for_receiver(&self) -> usize {
        let left = (self.limits.max_buffers / 2).saturating_sub(self.buffered());
        (left / ROOM_SHARE)
            .max(self.limits.max_buffers / LOW_ROOM_SHARE)
            .min(self.limits.max_output / 4)
    }

    /// Somebody else's line has made the output of a connection longer than a full receiver's.
    #[cold]
    pub(super) fn handle_much_output(&mut self, id: ConnectionId, queued: usize) {
        let (limits, now_us) = (self.limits, self.now.monotonic_us);
        let room = self.full_from;
        let Some(connection) = self.get_mut(id) else {
            return;
        };
        if queued > limits.of(connection) {
            connection.over_limit = true;
            self.leave_full(id);
            self.end(id, CloseReason::OutputLimit);
            return;
        }
        if connection.unasked() <= room {
            return;
        }
        let takes_bytes = connection.takes_bytes(now_us);
        let backpressure = connection.backpressure();
        if takes_bytes {
            if backpressure.become_full() {
                self.full += 1;
                // What it takes at once is not held back for more of it.
                self.has_much = true;
            }
        } else if now_us >= backpressure.checked_us + RECEIVER_CHECK_US && !backpressure.in_checks {
            // The kernel tells of room only when there is much: the peer may take bytes all the same.
            backpressure.in_checks = true;
            self.checks.push_front((now_us, id));
        }
    }

    /// The connection is no full receiver any more, or never was: those who wait for it go on.
    pub(super) fn leave_full(&mut self, id: ConnectionId) {
        let Some(backpressure) = self.backpressure_of(id) else {
            return;
        };
        let was_full = std::mem::take(&mut backpressure.is_full);
        backpressure.is_too_slow_for_links = false;
        let is_released = !backpressure.waiters.is_empty() && !backpressure.in_released;
        backpressure.in_released |= is_released;
        self.full -= usize::from(was_full);
        if is_released {
            self.released.push_back(id);
        }
    }

    /// Something was written to a full receiver, or to one that others wait for.
    pub(super) fn handle_taken(&mut self, id: ConnectionId) {
        let room = self.room_for_receiver();
        let resume_at = room - (room / 4).min(ROOM_HYSTERESIS);
        if self
            .get(id)
            .is_some_and(|connection| connection.unasked() <= resume_at)
        {
            self.leave_full(id);
        }
    }

    /// Lets some senders go on whose receivers are not full any more. Called once a turn.
    pub fn resume_senders(&mut self) {
        let now_us = self.now.monotonic_us;
        for _ in 0..self.released.len() {
            let Some(receiver) = self.released.pop_front() else {
                return;
            };
            let Some(found) = self.backpressure_of(receiver) else {
                continue;
            };
            found.in_released = false;
            if found.is_full {
                continue;
            }
            let mut waiters = std::mem::take(&mut found.waiters);
            for _ in 0..RESUMED_SENDERS {
                let Some(waiter) = waiters.pop_front() else {
                    break;
                };
                self.resume_sender(waiter.sender, now_us);
            }
            if !waiters.is_empty()
                && let Some(found) = self.backpressure_of(receiver)
            {
                found.waiters = waiters;
                found.in_released = true;
                self.released.push_back(receiver);
            }
        }
    }

    fn backpressure_of(&mut self, id: ConnectionId) -> Option<&mut Backpressure> {
        self.get_mut(id)?.backpressure.as_deref_mut()
    }

    fn resume_sender(&mut self, sender: ConnectionId, now_us: u64) {
        if self
            .get_mut(sender)
            .is_some_and(|connection| connection.stops.resume_by_receiver(now_us))
        {
            self.make_ready(sender);
        }
    }

    /// The connection is gone: nobody waits for it any more.
    pub(super) fn resume_all_senders(&mut self, backpressure: Backpressure) {
        let now_us = self.now.monotonic_us;
        for waiter in backpressure.waiters {
            self.resume_sender(waiter.sender, now_us);
        }
    }

    /// When [`Connections::check_receivers`] is to be called next.
    pub fn next_check(&self) -> Option<u64> {
        self.checks.front().map(|(at_us, _)| *at_us)
    }

    /// Looks at receivers that senders wait for, whether their peers still take bytes. The rest has its turn in the next
    /// turn of the loop when much was written.
    pub fn check_receivers(&mut self) {
        let now_us = self.now.monotonic_us;
        for _ in 0..RECEIVERS_PER_CHECK {
            let has_time = self.writing < WORK_PER_TURN;
            if !has_time || self.next_check().is_none_or(|at_us| at_us > now_us) {
                return;
            }
            let Some((_, id)) = self.checks.pop_front() else {
                return;
            };
            if let Some(backpressure) = self.backpressure_of(id) {
                backpressure.in_checks = false;
                backpressure.checked_us = now_us;
                self.retry_write(id);
                self.check_receiver(id);
            }
        }
    }

    fn check_receiver(&mut self, id: ConnectionId) {
        let now_us = self.now.monotonic_us;
        let room = self.room_for_receiver();
        let Some(connection) = self.get_mut(id) else {
            return;
        };
        if !connection.takes_bytes(now_us) {
            self.leave_full(id);
            return;
        }
        if connection.unasked() > room && connection.backpressure().become_full() {
            self.full += 1;
        }
        let backpressure = self.backpressure_of(id);
        let waiters = backpressure.map(|it| std::mem::take(&mut it.waiters));
        let Some(mut waiters) = waiters.filter(|waiters| !waiters.is_empty()) else {
            return;
        };
        let mut has_slowed_link = false;
        waiters.retain(|waiter| {
            let Some(sender) = self.get(waiter.sender) else {
                return false;
            };
            let is_over = sender.is_link && now_us >= waiter.since_us + LINK_PATIENCE_US;
            if is_over {
                has_slowed_link = true;
                self.resume_sender(waiter.sender, now_us);
            }
            !is_over
        });
        let Some(connection) = self.get_mut(id) else {
            return;
        };
        if has_slowed_link {
            connection.backpressure().is_too_slow_for_links = true;
            connection.account.handle_link_slowed(now_us);
        }
        if !waiters.is_empty() {
            connection.backpressure().waiters = waiters;
            self.check_later(id);
            // What waits for it at the broker may have gone, and nothing of its output is written.
            self.handle_taken(id);
        }
    }

    fn check_later(&mut self, id: ConnectionId) {
        let at_us = self.now.monotonic_us + RECEIVER_CHECK_US;
        if let Some(connection) = self.get_mut(id)
            && !std::mem::replace(&mut connection.backpressure().in_checks, true)
        {
            self.checks.push_back((at_us, id));
        }
    }

    /// See [`Carrier::wait_for`].
    pub(super) fn wait_for_receiver(
        &mut self,
        sender: ConnectionId,
        receiver: ConnectionId,
        kept: usize,
        is_short: bool,
    ) -> bool {
        self.work += WORK_PER_DELIVERY / 2;
        if sender == receiver {
            return false;
        }
        let (now_us, room) = (self.now.monotonic_us, self.room_for_receiver());
        let is_link = self.get(sender).is_some_and(|sender| sender.is_link);
        let Some(connection) = self.get_mut(receiver) else {
            return false;
        };
        if !connection.takes_bytes(now_us) {
            if connection.is_full() {
                self.leave_full(receiver);
            }
            return false;
        }
        let waiting = connection.unasked() + kept;
        if is_short && waiting <= 2 * room
            || !(connection.is_full() || waiting > room)
            || (is_link && !connection.may_slow_links(now_us))
        {
            return false;
        }
        let found = connection.backpressure();
        let becomes_full = found.become_full();
        found.waiters.push_back(Waiter {
            sender,
            since_us: now_us,
        });
        self.full += usize::from(becomes_full);
        self.check_later(receiver);
        if let Some(connection) = self.get_mut(sender) {
            connection.stops.stop_by_receiver(now_us);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Now;
    use crate::limits::{LINK_IMPATIENCE_US, MIB, WRITE_PER_CONNECTION};
    use crate::reactor::connections::OutputLimits;
    use crate::reactor::stream::Stream;
    use mio::Poll;
    use mio::net::UnixStream;
    use std::io::Read;

    /// Connections without a loop: nothing is written unless the test does it.
    struct World {
        connections: Connections<Stream>,
        peers: Vec<UnixStream>,
        _poll: Poll,
    }

    impl World {
        fn new() -> World {
            let poll = Poll::new().expect("a poll");
            let registry = poll.registry().try_clone().expect("the same one");
            let limits = OutputLimits {
                max_output: MIB,
                max_buffers: usize::MAX,
            };
            let now = Now {
                monotonic_us: 1,
                wall_us: 1,
            };
            World {
                connections: Connections::new(registry, 32, limits, now),
                peers: Vec::new(),
                _poll: poll,
            }
        }

        fn add(&mut self, user: &str) -> ConnectionId {
            let (stream, peer) = UnixStream::pair().expect("two sockets");
            self.peers.push(peer);
            let added = self.connections.add(Stream::Unix(stream), None);
            let id = added.expect("the kernel tells of its events");
            self.connections.set_user(id, user, b"program");
            id
        }

        /// A connection for which so much waits that senders have to wait, too.
        fn add_full(&mut self, user: &str) -> ConnectionId {
            let id = self.add(user);
            let much = self.connections.room_for_receiver() + 1;
            self.connections
                .append(id, |output| output.resize(output.len() + much, b'x'));
            id
        }

        fn waits(&mut self, sender: ConnectionId, receiver: ConnectionId) -> bool {
            self.connections.wait_for(sender, receiver, 0, false)
        }

        fn is_stopped(&self, sender: ConnectionId) -> bool {
            let sender = self.connections.get(sender).expect("it is there");
            sender.stops.is_by_receiver()
        }

        fn advance(&mut self, by_us: u64) {
            self.connections.now.monotonic_us += by_us;
            self.connections.check_receivers();
        }
    }

    #[test]
    fn a_link_waits_once_for_a_user_with_many_slow_connections() {
        let mut world = World::new();
        let link = world.add("server");
        world.connections.set_link(link);
        let slow: Vec<ConnectionId> = (0..20).map(|_| world.add_full("slow")).collect();
        let other = world.add_full("other");
        assert!(world.waits(link, slow[0]));
        world.advance(LINK_PATIENCE_US - 1);
        assert!(world.is_stopped(link));
        world.advance(RECEIVER_CHECK_US);
        assert!(!world.is_stopped(link));
        assert!(!slow.iter().any(|receiver| world.waits(link, *receiver)));
        // Not even for one that is full only now; but clients wait for each, and the link for others.
        let late = world.add_full("slow");
        assert!(!world.waits(link, late));
        let client = world.add("client");
        assert!(world.waits(client, late));
        assert!(world.waits(link, other));
        world.advance(LINK_IMPATIENCE_US);
        assert!(!world.waits(link, slow[0]), "it had no room since");
        let late = world.add_full("slow");
        assert!(world.waits(link, late));
    }

    /// Whoever asks for much and reads little would hold up everybody who sends it something.
    #[test]
    fn nobody_waits_because_a_receiver_has_asked_for_much() {
        let mut world = World::new();
        let (asker, client) = (world.add("asker"), world.add("client"));
        world.connections.flush();
        let room = world.connections.room_for_receiver();
        let append = |world: &mut World, count: usize| {
            world
                .connections
                .append(asker, |output| output.resize(output.len() + count, b'x'));
        };
        world.connections.set_serving(Some(asker));
        append(&mut world, 3 * room / 2);
        append(&mut world, room);
        world.connections.set_serving(None);
        append(&mut world, room / 2);
        assert!(!world.connections.has_full_receivers());
        assert!(!world.waits(client, asker));
        // Of what it has taken it is not known which part was answers.
        world.connections.flush();
        append(&mut world, room / 3);
        assert!(!world.connections.has_full_receivers());
        append(&mut world, room / 2);
        assert!(world.connections.has_full_receivers());
        assert!(world.waits(client, asker));
    }

    /// The kernel tells of room only when there is much; receivers that are looked at may have any amount of it.
    #[test]
    fn receivers_that_are_looked_at_are_written_no_more_than_a_turn_may_write() {
        let mut world = World::new();
        let client = world.add("client");
        let receivers: Vec<ConnectionId> = (0..RECEIVERS_PER_CHECK)
            .map(|_| world.add_full("slow"))
            .collect();
        while world.connections.has_work() {
            world.connections.flush();
        }
        for &id in &receivers {
            let much = world.connections.room_for_receiver();
            world
                .connections
                .append(id, |output| output.resize(output.len() + much, b'x'));
            assert!(world.waits(client, id));
        }
        for peer in &mut world.peers[1..] {
            let mut half = [0; 100_000];
            peer.read_exact(&mut half).expect("so much was written");
        }
        let written = |world: &mut World| std::mem::take(&mut world.connections.writing);
        written(&mut world);
        world.advance(RECEIVER_CHECK_US);
        let first = written(&mut world);
        assert!(first > WORK_PER_TURN, "{first}: some took their part");
        assert!(first < WORK_PER_TURN + 2 * WRITE_PER_CONNECTION, "{first}");
        let due = world.connections.next_check();
        assert!(due.is_some_and(|at_us| at_us <= world.connections.now.monotonic_us));
        world.advance(0);
        assert!(written(&mut world) > WORK_PER_TURN / 2);
    }
}
