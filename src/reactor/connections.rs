//! All connections and their output: the carrier's side of the broker's seam.

use crate::broker::{Audience, CloseReason, ConnectionId, Now, Output, Record, Rewrite, Traffic};
use crate::limits::{
    FREED_PER_TURN, MAPPED_BLOCK, MUCH_OUTPUT, OUTPUT_CHUNK, ROOM, SHARED_PAYLOAD, SPARE_BUFFERS,
    WORK_BEFORE_DELIVERIES, WORK_PER_BYTE_RECORDED, WORK_PER_DELIVERY, WORK_PER_DELIVERY_OF_BURST,
    WORK_PER_STEP, WORK_PER_SYSCALL, WORK_PER_TURN, WRITE_PER_CONNECTION,
};
use crate::protocol::line::Pending;
use crate::reactor::buffer::{Appended, OutputQueue, SharedPayload};
use crate::reactor::burst::Burst;
use crate::reactor::connection::Connection;
use crate::reactor::stream::Stream;
use crate::storage::Journal;
use mio::{Interest, Registry, Token};
use slab::Slab;
use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::rc::Rc;

/// Caps on output, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct OutputLimits {
    /// Waiting for one connection.
    pub max_output: usize,
    /// Memory of all connections' buffers together.
    pub max_buffers: usize,
}

pub struct Connections {
    slab: Slab<Connection>,
    registry: Registry,
    limits: OutputLimits,
    generation: u32,
    pub now: Now,
    /// To be served: input may be waiting, or room was asked for.
    ready: VecDeque<ConnectionId>,
    /// To be served after those, because they send much: a short question doesn't wait behind a
    /// thousand long lines.
    bulk: VecDeque<ConnectionId>,
    /// Got an answer to their own lines this turn.
    replies: Vec<ConnectionId>,
    /// Got something else.
    deliveries: VecDeque<ConnectionId>,
    /// Signals that are not in their receivers' output yet.
    burst: Burst,
    /// How many of these are to be written to now, and what work was done on lines while they waited.
    due: usize,
    work_before_due: usize,
    /// A signal was delivered since they were last thought of.
    has_delivered: bool,
    /// One of them has so much that more of it would make a write to it no cheaper.
    has_much: bool,
    /// Whose lines are being worked off.
    serving: Option<ConnectionId>,
    /// Whose TLS handshake can go on.
    handshakes: VecDeque<ConnectionId>,
    /// Passed a limit, failed or are through: for the end of the turn.
    ending: Vec<(ConnectionId, CloseReason)>,
    finished: VecDeque<ConnectionId>,
    stalled: Vec<ConnectionId>,
    /// Large buffers of connections that were closed, to be freed in slices: when a hundred clients go
    /// at once, in the midst of long lines, that is a gigabyte.
    garbage: Vec<Garbage>,
    /// Work done this turn, in bytes moved or what counts as such: all but writing.
    pub work: usize,
    /// The same of writing.
    pub writing: usize,
    /// Memory of the buffers of all connections, without what is shared.
    owned: usize,
    /// What is shared.
    shared: Rc<Cell<usize>>,
    /// Empty queues, with their memory, for whoever needs one next. Boxed, because a connection holds
    /// no more than a pointer while it is idle.
    #[allow(clippy::vec_box)]
    spare: Vec<Box<OutputQueue>>,
    pub bytes_out: u64,
    /// What the broker wants of the dialler.
    dial_request: Option<DialRequest>,
    /// Where the broker's records go.
    pub journal: Option<Journal>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DialRequest {
    Dial(usize),
    HangUp,
}

enum Garbage {
    Input(Pending),
    Output(OutputQueue),
}

/// What came of a flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flushed {
    All,
    Some,
    Failed,
}

impl Connections {
    pub fn new(
        registry: Registry,
        capacity: usize,
        limits: OutputLimits,
        journal: Option<Journal>,
        now: Now,
    ) -> Connections {
        Connections {
            slab: Slab::with_capacity(capacity),
            registry,
            limits,
            generation: 0,
            now,
            ready: VecDeque::new(),
            bulk: VecDeque::new(),
            replies: Vec::new(),
            deliveries: VecDeque::new(),
            burst: Burst::default(),
            due: 0,
            work_before_due: 0,
            has_delivered: false,
            has_much: false,
            serving: None,
            handshakes: VecDeque::new(),
            ending: Vec::new(),
            finished: VecDeque::new(),
            stalled: Vec::new(),
            garbage: Vec::new(),
            work: 0,
            writing: 0,
            owned: 0,
            shared: Rc::default(),
            spare: Vec::new(),
            bytes_out: 0,
            dial_request: None,
            journal,
        }
    }

    pub fn count(&self) -> usize {
        self.slab.len()
    }

    /// Memory in all buffers, in bytes.
    pub fn buffered(&self) -> usize {
        self.owned + self.shared.get()
    }

    /// Takes a new connection in and asks the kernel for its events.
    pub fn add(&mut self, mut stream: Stream) -> io::Result<ConnectionId> {
        let slot = self.slab.vacant_key();
        // 0 is no connection's: tokens of other things have it.
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        let id = ConnectionId {
            slot: slot as u32,
            generation: self.generation,
        };
        self.registry
            .register(&mut stream, token(id), Interest::READABLE)?;
        self.owned += stream.memory();
        self.slab
            .insert(Connection::new(id, stream, self.now.monotonic_us));
        Ok(id)
    }

    pub fn get(&self, id: ConnectionId) -> Option<&Connection> {
        self.slab
            .get(id.slot as usize)
            .filter(|connection| connection.id == id)
    }

    pub fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.slab
            .get_mut(id.slot as usize)
            .filter(|connection| connection.id == id)
    }

    /// Forgets a connection and closes its socket.
    pub fn remove(&mut self, id: ConnectionId) -> Option<Connection> {
        self.get(id)?;
        let mut connection = self.slab.remove(id.slot as usize);
        self.owned -= connection.own_memory();
        if let Some(pending) = connection.pending.take() {
            self.discard(Garbage::Input(*pending));
        }
        if let Some(output) = connection.output.take() {
            self.discard(Garbage::Output(*output));
        }
        // Closing the descriptor takes it out of the poll as well.
        Some(connection)
    }

    /// Frees a buffer: a large one not at once.
    fn discard(&mut self, buffer: Garbage) {
        let size = match &buffer {
            Garbage::Input(pending) => pending.capacity(),
            Garbage::Output(output) => output.queued(),
        };
        if size >= MAPPED_BLOCK {
            self.garbage.push(buffer);
        }
    }

    /// Frees some of what is to be freed.
    pub fn free_slice(&mut self) {
        let mut freed = 0;
        while freed < FREED_PER_TURN {
            let chunk = match self.garbage.last_mut() {
                Some(Garbage::Input(pending)) => {
                    freed += pending.capacity();
                    None
                }
                Some(Garbage::Output(output)) => output.free_chunk(),
                None => return,
            };
            match chunk {
                Some(chunk) => freed += chunk,
                None => drop(self.garbage.pop()),
            }
        }
    }

    /// Leaves a connection open only to be read until its peer closes; false if that can't be done.
    pub fn linger(&mut self, id: ConnectionId) -> bool {
        let Some(connection) = self.get_mut(id) else {
            return false;
        };
        if connection.stream.shutdown_write().is_err() {
            return false;
        }
        connection.lingering = true;
        if let Some(output) = connection.output.take() {
            self.owned -= output.capacity();
            self.discard(Garbage::Output(*output));
        }
        self.make_ready(id);
        true
    }

    /// The lines of this connection are being worked off from now on; `None` ends that.
    pub fn set_serving(&mut self, id: Option<ConnectionId>) {
        self.serving = id;
    }

    /// Puts a connection on one of the two lists of those to be served.
    pub fn make_ready(&mut self, id: ConnectionId) {
        let Some(connection) = self.get_mut(id) else {
            return;
        };
        if std::mem::replace(&mut connection.in_ready, true) {
            return;
        }
        if connection.is_bulk() {
            self.bulk.push_back(id);
        } else {
            self.ready.push_back(id);
        }
    }

    /// Whether lines can come from the connection: the handshake of its TLS, if it has one, is done.
    pub fn is_open(&self, id: ConnectionId) -> bool {
        self.get(id)
            .is_some_and(|connection| connection.stream.is_open())
    }

    /// Puts a connection on the list of those whose TLS handshake can go on.
    pub fn await_handshake(&mut self, id: ConnectionId) {
        if let Some(connection) = self.get_mut(id)
            && connection.readable
            && !std::mem::replace(&mut connection.in_handshakes, true)
        {
            self.handshakes.push_back(id);
        }
    }

    /// To be called when TLS may have made something of its own to be sent, or let lines through.
    pub fn write_later(&mut self, id: ConnectionId) {
        let is_tls = |connection: &Connection| matches!(connection.stream, Stream::Tls(_));
        if self
            .get(id)
            .is_some_and(|connection| is_tls(connection) && connection.has_output())
        {
            self.deliver_later(id);
        }
    }

    pub fn next_handshake(&mut self) -> Option<ConnectionId> {
        self.handshakes.pop_front()
    }

    /// How many connections wait to be served: those that send little, and those that send much.
    pub fn waiting(&self) -> (usize, usize) {
        (self.ready.len(), self.bulk.len())
    }

    pub fn next_ready(&mut self) -> Option<ConnectionId> {
        self.ready.pop_front()
    }

    pub fn next_bulk(&mut self) -> Option<ConnectionId> {
        self.bulk.pop_front()
    }

    /// Takes the connection's input out for working on it.
    pub fn take_pending(&mut self, id: ConnectionId) -> Pending {
        let taken = self
            .get_mut(id)
            .and_then(|connection| connection.pending.take());
        let pending = taken.map_or_else(Pending::default, |pending| *pending);
        self.owned -= pending.capacity();
        pending
    }

    /// Gives it back; what is empty is freed.
    pub fn put_pending(&mut self, id: ConnectionId, pending: Pending) {
        let capacity = pending.capacity();
        if let Some(connection) = self.get_mut(id)
            && connection.closing.is_none()
            && !pending.is_idle()
        {
            connection.pending = Some(Box::new(pending));
            self.owned += capacity;
        } else {
            self.discard(Garbage::Input(pending));
        }
    }

    /// Whether lines of the connection may be handed over now. It is stopped if it has too many
    /// answers waiting already: half of what would close it.
    pub fn may_go_on(&mut self, id: ConnectionId) -> bool {
        let (max_output, now_us) = (self.limits.max_output, self.now.monotonic_us);
        let Some(connection) = self.get_mut(id) else {
            return false;
        };
        // A link is read whatever waits for it, up to twice the limit: what was held back for it may come all
        // at once.
        if connection.queued() > max_output / 2 && !connection.is_trunk {
            connection.stops.stop_by_output(now_us);
        } else if connection.queued() > 2 * max_output && !connection.over_limit {
            connection.over_limit = true;
            self.ending.push((id, CloseReason::OutputLimit));
            return false;
        }
        connection.closing.is_none() && !connection.over_limit && !connection.stops.any()
    }

    /// Ends a connection at the end of the turn; the broker is told then.
    pub fn end(&mut self, id: ConnectionId, reason: CloseReason) {
        self.ending.push((id, reason));
    }

    /// Connections to be ended, for the broker to decide on.
    pub fn take_ending(&mut self) -> Vec<(ConnectionId, CloseReason)> {
        std::mem::take(&mut self.ending)
    }

    /// What the broker wants of the dialler since the last call.
    pub fn take_dial_request(&mut self) -> Option<DialRequest> {
        self.dial_request.take()
    }

    /// The next connection that has nothing more to do.
    pub fn next_finished(&mut self) -> Option<ConnectionId> {
        self.finished.pop_front()
    }

    /// Connections whose peers have just stopped taking output.
    pub fn take_stalled(&mut self) -> Vec<ConnectionId> {
        std::mem::take(&mut self.stalled)
    }

    /// The connections that hold most, as many as must go for all together to keep their limit.
    pub fn largest_beyond_limit(&self) -> Vec<ConnectionId> {
        let mut excess = self.buffered().saturating_sub(self.limits.max_buffers);
        if excess == 0 {
            return Vec::new();
        }
        // What is over its own limit goes already.
        let going = self.slab.iter().filter(|(_, c)| c.over_limit);
        excess = excess.saturating_sub(going.map(|(_, c)| c.held()).sum());
        let candidates = self
            .slab
            .iter()
            .filter(|(_, c)| !c.over_limit && !c.lingering);
        let mut by_size: Vec<(usize, ConnectionId)> =
            candidates.map(|(_, c)| (c.held(), c.id)).collect();
        by_size.sort_unstable_by_key(|(held, _)| std::cmp::Reverse(*held));
        let is_needed = |(held, _): &(usize, ConnectionId)| {
            let needed = excess > 0 && *held > 0;
            excess = excess.saturating_sub(*held);
            needed
        };
        by_size
            .into_iter()
            .take_while(is_needed)
            .map(|(_, id)| id)
            .collect()
    }

    /// Whether there is something to do that no event will remind of.
    pub fn has_work(&self) -> bool {
        !(self.ready.is_empty()
            && self.bulk.is_empty()
            && self.garbage.is_empty()
            && self.deliveries.is_empty()
            && self.handshakes.is_empty()
            && self.ending.is_empty()
            && self.finished.is_empty())
    }

    /// Writes the answers to the connections that were served so far.
    pub fn flush_replies(&mut self) {
        let mut replies = std::mem::take(&mut self.replies);
        for id in replies.drain(..) {
            self.flush_one(id);
        }
        self.replies = replies;
    }

    /// Writes what is left of the answers, and then deliveries, until this turn has written enough.
    pub fn flush(&mut self) {
        self.flush_replies();
        let has_delivered = std::mem::take(&mut self.has_delivered);
        if self.due == 0 && !self.deliveries.is_empty() {
            // As long as signals come, and lines wait to be worked off, more may come for the same connections.
            let more_come = has_delivered && !(self.ready.is_empty() && self.bulk.is_empty());
            self.work_before_due += self.work + self.writing;
            let has_much = std::mem::take(&mut self.has_much);
            if more_come && !has_much && self.work_before_due < WORK_BEFORE_DELIVERIES {
                return;
            }
            self.work_before_due = 0;
        }
        self.end_burst();
        if self.due == 0 {
            // What is put on the list from now on has its turn after these.
            self.due = self.deliveries.len();
        }
        while self.due > 0
            && let Some(id) = self.deliveries.pop_front()
        {
            self.due -= 1;
            if let Some(connection) = self.get_mut(id) {
                connection.in_deliveries = false;
                self.flush_one(id);
            }
            if self.writing >= WORK_PER_TURN {
                return;
            }
        }
    }

    /// The kernel says that the socket takes output again.
    pub fn unblock(&mut self, id: ConnectionId) {
        if let Some(connection) = self.get_mut(id) {
            connection.blocked = false;
            self.deliver_later(id);
        }
    }

    /// One last try, without waiting, to write what is queued. Returns how much of it a peer misses: none
    /// if its TLS handshake never came to an end.
    pub fn flush_last(&mut self, id: ConnectionId) -> usize {
        if let Some(connection) = self.get_mut(id)
            && !connection.blocked
        {
            self.write(id);
        }
        self.get(id)
            .filter(|connection| connection.stream.has_carried())
            .map_or(0, |connection| connection.queued() + connection.discarded)
    }

    /// The connection was flushed for the last time.
    pub fn say_goodbye(&mut self, id: ConnectionId) {
        if let Some(connection) = self.get_mut(id) {
            connection.stream.say_goodbye();
        }
    }

    fn flush_one(&mut self, id: ConnectionId) {
        let Some(connection) = self.get(id) else {
            return;
        };
        if connection.blocked || !connection.has_output() {
            return;
        }
        let result = self.write(id);
        let now_us = self.now.monotonic_us;
        let resume_below = self.limits.max_output / 4;
        let Some(connection) = self.slab.get_mut(id.slot as usize) else {
            return;
        };
        if result == Flushed::Failed {
            self.deafen(id);
            return;
        }
        let queued = connection.queued();
        if queued > 0 && !connection.blocked {
            // Its share of the turn is used up, unless the handshake of its TLS is not.
            if connection.has_output() {
                self.deliver_later(id);
            }
            return;
        }
        if connection.closing.is_some() {
            if queued == 0 {
                self.finished.push_back(id);
            }
            return;
        }
        let resumed = queued < resume_below && connection.stops.resume_by_output(now_us);
        if resumed || (connection.wants_room && queued < ROOM) {
            self.make_ready(id);
        }
    }

    /// The peer takes no more output. What it has sent is worked off all the same, unless that has to wait for
    /// so long that it counts as stalled.
    pub fn deafen(&mut self, id: ConnectionId) {
        let now_us = self.now.monotonic_us;
        let Some(connection) = self.get_mut(id) else {
            return;
        };
        if connection.closing.is_some() {
            self.finished.push_back(id);
        } else if !std::mem::replace(&mut connection.is_deaf, true) {
            // Reading tells how it ended, after what there is to be read.
            connection.readable = true;
            connection.hung_up = true;
            connection.stops.resume_by_output(now_us);
            connection.stalled_since_us.get_or_insert(now_us);
            connection.discarded = connection.queued();
            let output = connection.output.take();
            self.stalled.push(id);
            if let Some(output) = output {
                self.owned -= output.capacity();
                self.discard(Garbage::Output(*output));
            }
            self.make_ready(id);
        }
    }

    /// Writes until all is written or the socket takes no more.
    fn write(&mut self, id: ConnectionId) -> Flushed {
        let Some(connection) = self.slab.get_mut(id.slot as usize) else {
            return Flushed::Failed;
        };
        if !connection.has_output() {
            return Flushed::All;
        }
        let mut output = connection.output.take().unwrap_or_default();
        let before = (output.capacity(), output.queued());
        let mut result = Flushed::Some;
        while result == Flushed::Some
            && !connection.blocked
            && before.1 - output.queued() < WRITE_PER_CONNECTION
        {
            self.writing += WORK_PER_SYSCALL;
            let written = if output.queued() > 0 && connection.stream.is_open() {
                output.write_to(&mut connection.stream)
            } else {
                connection.stream.flush().map(|()| 1)
            };
            result = match written {
                Ok(0) => Flushed::Failed,
                Ok(_) if !connection.stream.is_open() => break,
                Ok(_) if output.queued() + connection.stream.unsent() == 0 => Flushed::All,
                Ok(_) => Flushed::Some,
                Err(error) if error.kind() == ErrorKind::Interrupted => Flushed::Some,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    connection.blocked = true;
                    Flushed::Some
                }
                Err(_) => Flushed::Failed,
            };
        }
        let written = before.1 - output.queued();
        self.bytes_out += written as u64;
        self.writing += written;
        self.owned -= before.0;
        if connection.blocked {
            if connection.stalled_since_us.is_none() {
                self.stalled.push(id);
                let interests = Interest::READABLE | Interest::WRITABLE;
                if self
                    .registry
                    .reregister(&mut connection.stream, token(id), interests)
                    .is_err()
                {
                    result = Flushed::Failed;
                }
            }
            if connection.stalled_since_us.is_none() || written > 0 {
                connection.stalled_since_us = Some(self.now.monotonic_us);
            }
        } else if connection.stalled_since_us.take().is_some() {
            // Writable events are of no more interest, and each would be a wake-up.
            let _ = self
                .registry
                .reregister(&mut connection.stream, token(id), Interest::READABLE);
        }
        if output.queued() > 0 {
            self.owned += output.capacity();
            connection.output = Some(output);
        } else if output.capacity() <= 2 * OUTPUT_CHUNK && self.spare.len() < SPARE_BUFFERS {
            self.spare.push(output);
        }
        result
    }

    /// Puts a connection on the list of those to be written to when their turn comes.
    fn deliver_later(&mut self, id: ConnectionId) {
        let Some(connection) = self.get_mut(id) else {
            return;
        };
        if !connection.blocked && !std::mem::replace(&mut connection.in_deliveries, true) {
            self.deliveries.push_back(id);
        }
    }

    /// Begins a burst with this signal; for how many receivers.
    fn begin_burst(&mut self, audience: &Audience<'_>, payload: &[u8]) -> usize {
        let Connections {
            slab,
            burst,
            deliveries,
            ..
        } = self;
        let receivers = audience.receivers().filter(|id| {
            let Some(connection) = slab
                .get_mut(id.slot as usize)
                .filter(|c| c.id == *id && c.takes_output())
            else {
                return false;
            };
            connection.in_burst = true;
            if !connection.blocked && !std::mem::replace(&mut connection.in_deliveries, true) {
                deliveries.push_back(*id);
            }
            true
        });
        burst.begin(receivers, payload);
        let receivers = burst.receivers().len();
        self.work += receivers * (WORK_PER_DELIVERY + payload.len() / 4);
        receivers
    }

    /// Appends the burst to the output of its receivers.
    fn end_burst(&mut self) {
        if self.burst.receivers().is_empty() {
            return;
        }
        let mut burst = std::mem::take(&mut self.burst);
        let (receivers, bytes) = burst.end();
        let is_shared = bytes.len() >= SHARED_PAYLOAD && receivers.len() > 1;
        let shared = is_shared.then(|| SharedPayload::new(bytes, &self.shared));
        for &id in &*receivers {
            if let Some(connection) = self.get_mut(id) {
                connection.in_burst = false;
            }
            // As work it was counted when it came.
            self.append_with(id, |output| match (&shared, receivers.len()) {
                (Some(payload), _) => output.append_shared(payload),
                (None, 1) => output.append_buffer(bytes),
                (None, _) => output.append(|to| to.extend_from_slice(bytes)),
            });
        }
        // Their memory is for the next one.
        receivers.clear();
        bytes.clear();
        self.burst = burst;
    }

    /// Appends to the output of a connection that takes any; how many bytes were copied. What work that is
    /// the caller counts. One pass over the connection's memory: a signal to thousands goes through here.
    fn append_with(
        &mut self,
        to: ConnectionId,
        append: impl FnOnce(&mut OutputQueue) -> Appended,
    ) -> usize {
        let in_burst = match self.slab.get(to.slot as usize) {
            Some(connection) if connection.id == to && connection.takes_output() => {
                connection.in_burst
            }
            _ => return 0,
        };
        if in_burst {
            // What came before goes before.
            self.end_burst();
        }
        let connection = &mut self.slab[to.slot as usize];
        let output = connection.output.get_or_insert_with(|| {
            let output = self.spare.pop().unwrap_or_default();
            self.owned += output.capacity();
            output
        });
        let appended = append(output);
        self.owned = self.owned.saturating_add_signed(appended.grown);
        connection.last_output_us = self.now.monotonic_us;
        let is_serving = self.serving == Some(to);
        // Its own answers close no connection: after each line it is seen whether they are too many for
        // another one, so what goes beyond the limit here is one answer.
        if output.queued() > self.limits.max_output && !is_serving {
            connection.over_limit = true;
            self.ending.push((to, CloseReason::OutputLimit));
        }
        if is_serving {
            // Once per turn is enough, and the same connection answers many lines in a row.
            if self.replies.last() != Some(&to) {
                self.replies.push(to);
            }
        } else if !connection.blocked {
            self.has_much |= output.queued() >= MUCH_OUTPUT;
            if !std::mem::replace(&mut connection.in_deliveries, true) {
                self.deliveries.push_back(to);
            }
        }
        appended.copied
    }
}

impl Output for Connections {
    fn append(&mut self, to: ConnectionId, encode: impl FnOnce(&mut Vec<u8>)) {
        self.work += WORK_PER_STEP + self.append_with(to, |output| output.append(encode));
    }

    fn fan_out(&mut self, to: impl IntoIterator<Item = ConnectionId>, payload: &[u8]) {
        if payload.len() < SHARED_PAYLOAD {
            // It is the same bytes each time, and they are near.
            for id in to {
                self.work += WORK_PER_DELIVERY + payload.len() / 4;
                self.append_with(id, |output| {
                    output.append(|bytes| bytes.extend_from_slice(payload))
                });
            }
            return;
        }
        let mut receivers = to.into_iter().peekable();
        if receivers.peek().is_none() {
            return;
        }
        let shared = SharedPayload::new(payload, &self.shared);
        self.work += payload.len();
        for id in receivers {
            self.work += WORK_PER_DELIVERY;
            self.append_with(id, |output| output.append_shared(&shared));
        }
    }

    fn deliver(&mut self, audience: &Audience<'_>, payload: &[u8]) -> usize {
        let includes_sender = audience
            .sender
            .and_then(|sender| self.get(sender))
            .is_some_and(|sender| sender.in_burst);
        self.has_delivered = true;
        if let Some(receivers) = self.burst.add(audience, includes_sender, payload) {
            self.work += payload.len() + receivers * WORK_PER_DELIVERY_OF_BURST;
            return receivers;
        }
        self.end_burst();
        if self.burst.is_repeated(audience) && payload.len() < SHARED_PAYLOAD {
            return self.begin_burst(audience, payload);
        }
        let mut receivers = 0;
        self.fan_out(audience.receivers().inspect(|_| receivers += 1), payload);
        receivers
    }

    fn close(&mut self, id: ConnectionId, reason: CloseReason) {
        if self.get(id).is_some_and(|connection| connection.in_burst) {
            self.end_burst();
        }
        let Some(connection) = self.get_mut(id) else {
            return;
        };
        if connection.closing.is_some() {
            self.finished.push_back(id);
            return;
        }
        connection.closing = Some(reason);
        let pending = connection.pending.take();
        let can_drain = reason.drains() && !connection.over_limit && connection.stream.is_open();
        let is_through = !can_drain || connection.queued() == 0;
        if let Some(pending) = pending {
            self.owned -= pending.capacity();
            self.discard(Garbage::Input(*pending));
        }
        if is_through {
            self.finished.push_back(id);
        } else {
            self.write_later(id);
        }
    }

    fn make_trunk(&mut self, id: ConnectionId) {
        if let Some(connection) = self.get_mut(id) {
            connection.is_trunk = true;
        }
    }

    fn resume(&mut self, id: ConnectionId) {
        let now_us = self.now.monotonic_us;
        if self
            .get_mut(id)
            .is_some_and(|connection| connection.stops.resume_by_broker(now_us))
        {
            self.make_ready(id);
        }
    }

    fn hold(&mut self, id: ConnectionId, bytes: isize) {
        if let Some(connection) = self.get_mut(id) {
            connection.held_by_broker = connection.held_by_broker.saturating_add_signed(bytes);
            self.owned = self.owned.saturating_add_signed(bytes);
        }
    }

    fn want_room(&mut self, id: ConnectionId) {
        let Some(connection) = self.get_mut(id) else {
            return;
        };
        connection.wants_room = true;
        if connection.queued() < ROOM {
            self.make_ready(id);
        }
    }

    fn dial(&mut self, master: usize) {
        self.dial_request = Some(DialRequest::Dial(master));
    }

    fn hang_up(&mut self) {
        self.dial_request = Some(DialRequest::HangUp);
    }

    fn traffic(&self, id: ConnectionId) -> Traffic {
        self.get(id).map_or_else(Traffic::default, |connection| {
            connection.traffic(self.now.monotonic_us)
        })
    }

    fn record(&mut self, record: &Record<'_>) {
        if let Some(journal) = &mut self.journal {
            let before = journal.unsaved();
            journal.record(record);
            self.work += WORK_PER_BYTE_RECORDED * (journal.unsaved() - before);
        }
    }

    fn rewrite(&mut self, step: &Rewrite<'_>) {
        if let Some(journal) = &mut self.journal {
            journal.rewrite(step);
        }
    }

    fn unsaved(&self) -> usize {
        self.journal.as_ref().map_or(0, Journal::unsaved)
    }
}

// A token holds slot and generation.
const _: () = assert!(usize::BITS >= 64, "clacksd needs a 64-bit machine");

/// What the kernel's events of a connection carry. The slot alone would let a late event reach the
/// slot's next connection.
pub fn token(id: ConnectionId) -> Token {
    Token((id.generation as usize) << 32 | id.slot as usize)
}

/// The reverse of [`token`].
pub fn id_of(token: Token) -> ConnectionId {
    ConnectionId {
        slot: token.0 as u32,
        generation: (token.0 >> 32) as u32,
    }
}
