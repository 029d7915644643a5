//! All connections: which there are, which of them have something to do, and what memory their buffers take.

mod accounts;
mod backpressure;
mod bursts;
mod output;

pub use accounts::{Account, Share};
pub use backpressure::Backpressure;

use crate::broker::{CloseReason, ConnectionId, HostFigures, Now, Origin};
use crate::limits::{AUTH_TIMEOUT_S, FREED_PER_TURN, LINK_BACKLOG, MAPPED_BLOCK, SECOND_US};
use crate::protocol::{Language, Pending};
use crate::reactor::buffer::{OutputQueue, SharedPayload};
use crate::reactor::burst::Burst;
use crate::reactor::connection::{Connection, TlsPart};
use crate::reactor::handshakes::{Handshakes, Step};
use crate::reactor::pace::Recognised;
use crate::reactor::socket::Socket;
use accounts::Accounts;
use slab::Slab;
use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::rc::{Rc, Weak};
use std::sync::mpsc::{self, Receiver, Sender};

/// Caps on output, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct OutputLimits {
    /// The largest output that may wait for one client.
    pub max_output: usize,
    /// The largest memory of all connections' buffers together.
    pub max_buffers: usize,
}

impl OutputLimits {
    /// Returns the largest output that may wait for that connection, in bytes. For a link it is at least twice the
    /// output that the broker appends before it holds anything back.
    fn of<S>(self, connection: &Connection<S>) -> usize {
        match connection.is_link {
            true => self.max_output.max(2 * LINK_BACKLOG),
            false => self.max_output,
        }
    }
}

pub struct Connections<S: Socket> {
    slab: Slab<Connection<S>>,
    poller: S::Poller,
    limits: OutputLimits,
    generation: u32,
    pub now: Now,
    pub host: HostFigures,
    /// To be served: input may be waiting, or room was asked for.
    ready: VecDeque<ConnectionId>,
    /// To be served after those, because they send much: a short question doesn't wait behind a
    /// thousand long lines.
    bulk: VecDeque<ConnectionId>,
    /// Got an answer to their own lines this turn.
    replies: Vec<ConnectionId>,
    /// Answers that are held, and until when; see [`pace`](super::pace).
    held_answers: VecDeque<(u64, ConnectionId)>,
    recognised: Recognised,
    /// Got something else.
    deliveries: VecDeque<ConnectionId>,
    /// To be written to after those, because much waits for each: a short answer or signal doesn't wait behind a
    /// hundred long ones.
    long_outputs: VecDeque<ConnectionId>,
    /// How many of these are to be written to now, and what work was done on lines while they waited.
    due: usize,
    work_before_due: usize,
    /// A signal was delivered since they were last thought of.
    has_delivered: bool,
    /// One of them has so much that more of it would make a write to it no cheaper.
    has_much: bool,
    /// Lines and messages that are not in their receivers' output yet.
    bursts: [Burst; 2],
    /// The connection whose lines are being processed, if any.
    serving: Option<ConnectionId>,
    /// The number of lines of that connection that were processed in its current share.
    pub lines: usize,
    /// Whose TLS handshake can go on.
    pub handshakes: Handshakes,
    /// Passed a limit, failed or are through: for the end of the turn.
    ending: Vec<(ConnectionId, CloseReason)>,
    finished: VecDeque<ConnectionId>,
    stalled: Vec<ConnectionId>,
    /// Large buffers of connections that were closed, to be freed in slices: when a hundred clients go
    /// at once, in the midst of long lines, that is a gigabyte.
    garbage: Vec<Garbage>,
    /// Memory of long lines that nobody needs any more comes here, to be freed in slices.
    pub reclaim: Sender<Vec<u8>>,
    reclaimed: Receiver<Vec<u8>>,
    /// The work done this turn except for writing, in bytes moved or what takes as long.
    pub work: usize,
    /// The work of writing done this turn, in bytes written or what takes as long.
    pub writing: usize,
    /// Memory of all connections' buffers except shared payloads, in bytes.
    owned: usize,
    /// Memory that connections which are gone have left behind in the broker, in bytes.
    pub retained: usize,
    /// Memory of the payloads that connections share, in bytes, each buffer counted once.
    shared: Rc<Cell<usize>>,
    accounts: Accounts,
    /// The part of a long line or value that was appended last.
    last_long: Weak<SharedPayload>,
    /// Empty queues, with their memory, for whoever needs one next. Boxed, because a connection holds
    /// no more than a pointer while it is idle.
    #[allow(clippy::vec_box)]
    spare: Vec<Box<OutputQueue>>,
    /// Connections that are full receivers, and how much output makes one.
    full: usize,
    full_from: usize,
    /// Receivers to be looked at, and when.
    checks: VecDeque<(u64, ConnectionId)>,
    /// Receivers whose senders may go on.
    released: VecDeque<ConnectionId>,
    /// The latest request of the broker to the dialler, until it is taken.
    dial_request: Option<DialRequest>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DialRequest {
    Dial(usize),
    Cancel,
}

enum Garbage {
    Bytes(Vec<u8>),
    Output(OutputQueue),
}

/// Frees up to `most` bytes at the end of a large buffer; how many that were. The system takes pages back without copying
/// those that stay.
fn free_end(bytes: &mut Vec<u8>, most: usize) -> usize {
    let before = bytes.capacity();
    let kept = before.saturating_sub(most);
    bytes.truncate(kept);
    bytes.shrink_to(kept);
    before - bytes.capacity()
}

impl<S: Socket> Connections<S> {
    pub fn new(
        poller: S::Poller,
        capacity: usize,
        limits: OutputLimits,
        now: Now,
    ) -> Connections<S> {
        let (reclaim, reclaimed) = mpsc::channel();
        Connections {
            slab: Slab::with_capacity(capacity),
            poller,
            limits,
            generation: 0,
            now,
            host: HostFigures::default(),
            ready: VecDeque::new(),
            bulk: VecDeque::new(),
            replies: Vec::new(),
            held_answers: VecDeque::new(),
            recognised: Recognised::default(),
            deliveries: VecDeque::new(),
            long_outputs: VecDeque::new(),
            bursts: [(); 2].map(|()| Burst::new(limits.max_output)),
            due: 0,
            work_before_due: 0,
            has_delivered: false,
            has_much: false,
            serving: None,
            lines: 0,
            handshakes: Handshakes::new((AUTH_TIMEOUT_S / 2.0 * SECOND_US as f64) as u64),
            ending: Vec::new(),
            finished: VecDeque::new(),
            stalled: Vec::new(),
            garbage: Vec::new(),
            reclaim,
            reclaimed,
            work: 0,
            writing: 0,
            owned: 0,
            retained: 0,
            shared: Rc::default(),
            last_long: Weak::new(),
            accounts: Accounts::default(),
            spare: Vec::new(),
            full: 0,
            full_from: 0,
            checks: VecDeque::new(),
            released: VecDeque::new(),
            dial_request: None,
        }
    }

    pub fn count(&self) -> usize {
        self.slab.len()
    }

    /// Memory in all buffers, in bytes.
    pub fn buffered(&self) -> usize {
        self.owned + self.shared.get() + self.retained
    }

    /// Takes a new connection in and asks the kernel for its events. What it takes counts for its origin, if it has
    /// one, until its user is known.
    pub fn add(&mut self, mut socket: S, origin: Option<Origin>) -> io::Result<ConnectionId> {
        let slot = self.slab.vacant_key();
        // 0 is no connection's: tokens of other things have it.
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        let id = ConnectionId {
            slot: slot as u32,
            generation: self.generation,
        };
        socket.register(&self.poller, id)?;
        self.owned += socket.memory();
        let account = self.accounts.of_origin(origin);
        let mut connection = Connection::new(id, socket, origin, account, self.now.monotonic_us);
        connection.pace.key = self.recognised.key_of_origin(origin);
        self.slab.insert(connection);
        Ok(id)
    }

    pub fn get(&self, id: ConnectionId) -> Option<&Connection<S>> {
        self.slab
            .get(id.slot as usize)
            .filter(|connection| connection.id == id)
    }

    pub fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Connection<S>> {
        self.slab
            .get_mut(id.slot as usize)
            .filter(|connection| connection.id == id)
    }

    /// Forgets a connection and closes its socket.
    pub fn remove(&mut self, id: ConnectionId) -> Option<Connection<S>> {
        self.get(id)?;
        self.leave_full(id);
        self.leave_handshakes(id);
        let mut connection = self.slab.remove(id.slot as usize);
        if let Some(backpressure) = connection.backpressure.take() {
            self.resume_all_senders(*backpressure);
        }
        self.owned -= connection.own_memory();
        if let Some(pending) = connection.pending.take() {
            self.discard(Garbage::Bytes(pending.into_buffer()));
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
            Garbage::Bytes(bytes) => bytes.capacity(),
            Garbage::Output(output) => output.queued(),
        };
        if size >= MAPPED_BLOCK {
            self.garbage.push(buffer);
        }
    }

    /// Frees some of what is to be freed.
    pub fn free_slice(&mut self) {
        self.garbage
            .extend(self.reclaimed.try_iter().map(Garbage::Bytes));
        let mut freed = 0;
        while freed < FREED_PER_TURN {
            let part = match self.garbage.last_mut() {
                Some(Garbage::Bytes(bytes)) => free_end(bytes, FREED_PER_TURN - freed),
                Some(Garbage::Output(output)) => output.free_chunk().unwrap_or(0),
                None => return,
            };
            freed += part;
            if part == 0 {
                self.garbage.pop();
            }
        }
    }

    /// Leaves a connection open only for its peer to see the last line: what it sends is read and dropped.
    pub fn depart(&mut self, id: ConnectionId) {
        self.leave_full(id);
        let Some(connection) = self.get_mut(id) else {
            return;
        };
        connection.is_departing = true;
        if let Some(output) = connection.output.take() {
            self.owned -= output.capacity();
            self.discard(Garbage::Output(*output));
        }
        self.make_ready(id);
    }

    /// Reports whether the peer has not yet taken everything that was written to it.
    pub fn has_untaken(&self, id: ConnectionId) -> bool {
        self.get(id)
            .is_some_and(|connection| connection.socket.has_untaken())
    }

    /// Sends the end of the stream; false if the connection is gone.
    pub fn shutdown_write(&mut self, id: ConnectionId) -> bool {
        self.get_mut(id)
            .is_some_and(|connection| connection.socket.shutdown_write().is_ok())
    }

    /// Sets the connection whose lines are processed from now on; `None` if there is none. The number of processed
    /// lines of the previous one goes to its pace.
    pub fn set_serving(&mut self, id: Option<ConnectionId>) {
        if let Some(served) = self.serving.filter(|_| self.lines > 0) {
            let lines = std::mem::take(&mut self.lines);
            if let Some(connection) = self.get_mut(served) {
                connection.pace.handle_lines(lines);
            }
        }
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

    /// Reports whether lines can come from the connection: its TLS handshake, if it has one, is done.
    pub fn is_open(&self, id: ConnectionId) -> bool {
        self.get(id)
            .is_some_and(|connection| connection.socket.is_open())
    }

    /// Lets the TLS handshake of a connection go on when its turn comes.
    pub fn await_handshake(&mut self, id: ConnectionId) {
        let Some(connection) = self.get_mut(id) else {
            return;
        };
        let (Some(tls), Some(step)) = (&connection.tls, connection.socket.next_step()) else {
            return;
        };
        let (origin, is_waiting) = (tls.origin, tls.waiting.is_some());
        if connection.closing.is_some() || !connection.readable {
            return;
        }
        if step == Step::Sign && connection.hung_up {
            // A signature for nobody.
            self.leave_handshakes(id);
            self.end(id, CloseReason::TlsFailed);
            return;
        }
        if is_waiting {
            return;
        }
        let waiting = self.handshakes.push(id, origin, step);
        if let Some(tls) = self.tls_part(id) {
            tls.waiting = Some(waiting);
        }
    }

    /// The connection whose TLS handshake is to take such a step next.
    pub fn next_handshake(&mut self, step: Step, now_us: u64) -> Option<ConnectionId> {
        let id = self.handshakes.pop(step, now_us)?;
        if let Some(tls) = self.tls_part(id) {
            tls.waiting = None;
        }
        Some(id)
    }

    /// The TLS handshake of the connection does not go on.
    fn leave_handshakes(&mut self, id: ConnectionId) {
        if let Some(tls) = self.tls_part(id)
            && let Some(waiting) = tls.waiting.take()
        {
            let origin = tls.origin;
            self.handshakes.remove(origin, waiting);
        }
    }

    fn tls_part(&mut self, id: ConnectionId) -> Option<&mut TlsPart> {
        self.get_mut(id)?.tls.as_deref_mut()
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
    pub fn take_pending(&mut self, id: ConnectionId, language: Language) -> Pending {
        let taken = self
            .get_mut(id)
            .and_then(|connection| connection.pending.take());
        let mut pending = taken.map_or_else(|| Pending::new(language), |pending| *pending);
        // A login may have changed it.
        pending.set_language(language);
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
            self.discard(Garbage::Bytes(pending.into_buffer()));
        }
    }

    /// Reports whether lines of the connection may be handed to the broker now. Stops a connection, unless it is a
    /// link, if more than half of the output that would close it waits already.
    pub fn may_go_on(&mut self, id: ConnectionId) -> bool {
        let (limits, now_us) = (self.limits, self.now.monotonic_us);
        let Some(connection) = self.get_mut(id) else {
            return false;
        };
        let queued = connection.queued();
        if queued > limits.max_output / 2 {
            // A link is read whatever waits for it, up to twice the limit: what was held back for it may come
            // all at once.
            if !connection.is_link {
                connection.stops.stop_by_output(now_us);
            } else if queued > 2 * limits.of(connection) && !connection.over_limit {
                connection.over_limit = true;
                self.ending.push((id, CloseReason::OutputLimit));
                return false;
            }
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

    /// Takes the latest request of the broker to the dialler, if there was any since the last call.
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

    /// Reports whether there is something to do that no event will announce.
    pub fn has_work(&self) -> bool {
        !(self.ready.is_empty()
            && self.bulk.is_empty()
            && self.garbage.is_empty()
            && self.deliveries.is_empty()
            && self.long_outputs.is_empty()
            && !self.has_open_burst()
            && self.handshakes.is_empty()
            && self.released.is_empty()
            && self.ending.is_empty()
            && self.finished.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_buffer_is_freed_in_slices() {
        let mut bytes = vec![1; 3 * FREED_PER_TURN + 1000];
        let mut freed = Vec::new();
        while bytes.capacity() > 0 {
            freed.push(free_end(&mut bytes, FREED_PER_TURN));
            assert!(bytes.iter().all(|byte| *byte == 1));
        }
        assert_eq!(freed.len(), 4);
        assert!(freed.iter().all(|part| *part <= FREED_PER_TURN));
        assert_eq!(free_end(&mut bytes, FREED_PER_TURN), 0);
    }
}
