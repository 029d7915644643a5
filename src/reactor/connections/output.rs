//! The output of connections, as the broker needs it from a [`Carrier`]: bytes are appended, and all output is written
//! when its turn comes.

use super::bursts::{LINES, MESSAGES};
use super::{Account, Connections, DialRequest, Garbage, Share};
use crate::broker::{
    Audience, Carrier, CloseReason, ConnectionId, HostFigures, LabelledAudience, Traffic,
};
use crate::limits::{
    ANSWER_HOLD_US, LOW_WATER_MARK, MUCH_OUTPUT, OUTPUT_CHUNK, SHARED_PAYLOAD, SPARE_BUFFERS,
    WORK_BEFORE_DELIVERIES, WORK_PER_DELIVERY, WORK_PER_SLICE, WORK_PER_STEP, WORK_PER_SYSCALL,
    WORK_PER_TURN, WRITE_PER_CONNECTION,
};
use crate::protocol::Run;
use crate::protocol::encode;
use crate::protocol::shared::{Lines, Piece, SharedBytes};
use crate::reactor::buffer::{Appended, OutputQueue, SharedPayload};
use crate::reactor::connection::{Connection, Writing};
use crate::reactor::socket::Socket;
use crate::sys;
use smallvec::SmallVec;
use std::io::ErrorKind;
use std::rc::Rc;

/// The result of writing the output of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flushed {
    All,
    Some,
    Failed,
}

impl<S: Socket> Connections<S> {
    /// To be called when TLS may have made something of its own to be sent, or let lines through.
    pub fn flush_tls_later(&mut self, id: ConnectionId) {
        let is_tls = |connection: &Connection<S>| connection.socket.is_tls();
        if !self.get(id).is_some_and(is_tls) {
            return;
        }
        self.recount_socket(id);
        if self.get(id).is_some_and(Connection::has_output) {
            self.write_later(id);
        }
    }

    /// Counts again what a TLS socket takes, after it has read or written something.
    fn recount_socket(&mut self, id: ConnectionId) {
        if let Some(connection) = self.slab.get_mut(id.slot as usize) {
            let (before, now) = connection.recount_socket();
            self.owned = self.owned - before + now;
        }
    }

    /// Writes the answers to the connections that were served so far; long ones have their turn with other long
    /// output.
    pub fn flush_replies(&mut self) {
        let mut replies = std::mem::take(&mut self.replies);
        for id in replies.drain(..) {
            if self.get(id).is_some_and(Connection::has_long_output) {
                self.write_later(id);
            } else if !self.hold_answer(id) {
                self.flush_one(id);
            }
        }
        self.replies = replies;
    }

    /// Puts the answer to a client off that loses time if it comes at once.
    fn hold_answer(&mut self, id: ConnectionId) -> bool {
        let now_us = self.now.monotonic_us;
        let Some(connection) = self.get_mut(id) else {
            return false;
        };
        if connection.is_link || connection.closing.is_some() {
            return false;
        }
        let is_held = connection.pace.handle_answer(now_us);
        if is_held {
            self.held_answers.push_back((now_us + ANSWER_HOLD_US, id));
        }
        is_held
    }

    /// When the next held answer is to be sent.
    pub fn next_held_answer(&self) -> Option<u64> {
        self.held_answers.front().map(|(at_us, _)| *at_us)
    }

    /// Sends the answers that were held for long enough.
    pub fn send_held_answers(&mut self) {
        let now_us = self.now.monotonic_us;
        while let Some(&(at_us, id)) = self.held_answers.front()
            && at_us <= now_us
        {
            self.held_answers.pop_front();
            if let Some(connection) = self.get_mut(id)
                && connection.pace.is_held()
            {
                connection.pace.handle_sent(now_us);
                self.flush_one(id);
            }
        }
    }

    /// Something has come from a connection, or its end.
    pub fn note_input(&mut self, id: ConnectionId) {
        let now_us = self.now.monotonic_us;
        let Some(connection) = self.get_mut(id) else {
            return;
        };
        connection.last_input_us = now_us;
        let (heard, key) = (connection.pace.handle_input(now_us), connection.pace.key);
        if heard.is_released {
            self.replies.push(id);
        }
        if heard.is_recognised {
            self.recognised.add(key, now_us);
        }
    }

    /// Writes what is left of the answers, then deliveries, and then long output, until this turn has written enough.
    pub fn flush(&mut self) {
        self.full_from = self.room_for_receiver();
        self.flush_replies();
        self.flush_deliveries();
        self.flush_long_outputs();
    }

    fn flush_deliveries(&mut self) {
        let has_delivered = std::mem::take(&mut self.has_delivered);
        if self.due == 0 && (!self.deliveries.is_empty() || self.has_open_burst()) {
            // As long as signals come, and lines wait to be processed, more output may come for the same connections.
            let more_come = has_delivered && !(self.ready.is_empty() && self.bulk.is_empty());
            self.work_before_due += self.work + self.writing;
            if !more_come || self.work_before_due >= WORK_BEFORE_DELIVERIES {
                self.work_before_due = 0;
                self.end_bursts();
            } else if !self.has_much {
                return;
            }
            // What is put on the list from now on has its turn after these. A burst that is still open grows on.
            self.has_much = false;
            self.due = self.deliveries.len();
        }
        while self.due > 0
            && let Some(id) = self.deliveries.pop_front()
        {
            self.due -= 1;
            if let Some(connection) = self.get_mut(id) {
                if connection.has_long_output() {
                    self.long_outputs.push_back(id);
                    continue;
                }
                connection.in_deliveries = false;
                self.flush_one(id);
            }
            if self.writing >= WORK_PER_TURN {
                return;
            }
        }
    }

    /// Writes to at least one connection with long output, whatever else was written: it is to get on, too.
    fn flush_long_outputs(&mut self) {
        for _ in 0..self.long_outputs.len() {
            let Some(id) = self.long_outputs.pop_front() else {
                return;
            };
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
            connection.writing.retry();
            self.write_later(id);
        }
    }

    /// One last try, without waiting, to write what is queued. Returns how much of it a peer misses: none
    /// if its TLS handshake never came to an end.
    pub fn flush_last(&mut self, id: ConnectionId) -> usize {
        if let Some(connection) = self.get_mut(id)
            && !connection.writing.is_blocked()
        {
            self.write(id);
        }
        self.get(id)
            .filter(|connection| connection.socket.has_carried())
            .map_or(0, |connection| {
                connection.queued() + connection.writing.discarded()
            })
    }

    /// The connection was flushed for the last time.
    pub fn say_goodbye(&mut self, id: ConnectionId) {
        if let Some(connection) = self.get_mut(id) {
            connection.socket.say_goodbye();
        }
    }

    fn flush_one(&mut self, id: ConnectionId) {
        let Some(connection) = self.get(id) else {
            return;
        };
        if connection.writing.is_blocked() || connection.pace.is_held() || !connection.has_output()
        {
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
        let is_full = connection.is_full();
        if queued > 0 && !connection.writing.is_blocked() {
            // Its share of the turn is used up, unless the handshake of its TLS is not.
            if connection.has_output() {
                self.write_later(id);
            }
            if is_full {
                self.handle_taken(id);
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
        if resumed || (connection.wants_writable && queued < LOW_WATER_MARK) {
            self.make_ready(id);
        }
        if is_full {
            self.handle_taken(id);
        }
    }

    /// Handles a peer that takes no more output: queued output is discarded. Input that the peer has sent is still
    /// processed, unless it has to wait for so long that the connection counts as stalled.
    pub fn deafen(&mut self, id: ConnectionId) {
        let now_us = self.now.monotonic_us;
        let Some(connection) = self.get_mut(id) else {
            return;
        };
        if connection.closing.is_some() {
            self.finished.push_back(id);
        } else if !connection.writing.is_deaf() {
            connection.writing.deafen(connection.queued(), now_us);
            // Reading tells how it ended, after what there is to be read.
            connection.readable = true;
            connection.hung_up = true;
            connection.stops.resume_by_output(now_us);
            let output = connection.output.take();
            self.leave_full(id);
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
        let moved_before = connection.socket.moved();
        let mut result = Flushed::Some;
        let mut is_blocked = connection.writing.is_blocked();
        while result == Flushed::Some
            && !is_blocked
            && before.1 - output.queued() < WRITE_PER_CONNECTION
        {
            self.writing += WORK_PER_SYSCALL;
            let written = if output.queued() > 0 && connection.socket.is_open() {
                let most = WRITE_PER_CONNECTION - (before.1 - output.queued());
                output.write_to(&mut connection.socket, most)
            } else {
                connection.socket.flush().map(|()| 1)
            };
            result = match written {
                Ok(0) => Flushed::Failed,
                Ok(_) if !connection.socket.is_open() => break,
                Ok(_) if output.queued() + connection.socket.unsent() == 0 => Flushed::All,
                Ok(_) => Flushed::Some,
                Err(error) if error.kind() == ErrorKind::Interrupted => Flushed::Some,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    is_blocked = true;
                    Flushed::Some
                }
                Err(_) => Flushed::Failed,
            };
        }
        let written = before.1 - output.queued();
        self.host.bytes_out += written as u64;
        self.writing += written;
        self.owned -= before.0;
        let stalled_since_us = connection.writing.stalled_since_us();
        if is_blocked {
            if stalled_since_us.is_none() {
                self.stalled.push(id);
                let watched = connection.socket.watch_writable(&self.poller, id, true);
                if watched.is_err() {
                    result = Flushed::Failed;
                }
            }
            let has_taken = written > 0 || connection.socket.moved() > moved_before;
            connection.writing.block(has_taken, self.now.monotonic_us);
        } else if result != Flushed::Failed && stalled_since_us.is_some() {
            connection.writing = Writing::Open;
            // Writable events are of no more interest, and each would be a wake-up.
            let _ = connection.socket.watch_writable(&self.poller, id, false);
        }
        if connection.socket.is_tls() {
            let (before, now) = connection.recount_socket();
            self.owned = self.owned - before + now;
        }
        if output.queued() > 0 {
            self.owned += output.capacity();
            connection.output = Some(output);
        } else if output.capacity() <= 2 * OUTPUT_CHUNK && self.spare.len() < SPARE_BUFFERS {
            self.spare.push(output);
        }
        result
    }

    /// Puts a connection on one of the lists of those to be written to when their turn comes.
    fn write_later(&mut self, id: ConnectionId) {
        let Some(connection) = self.get_mut(id) else {
            return;
        };
        if !connection.becomes_due() {
            return;
        }
        if connection.has_long_output() {
            self.long_outputs.push_back(id);
        } else {
            self.deliveries.push_back(id);
        }
    }

    /// The payload of a part of a long line or value: the same one for all who get that part one after the other.
    fn long_payload(&mut self, part: &SharedBytes) -> Rc<SharedPayload> {
        let last = self.last_long.upgrade();
        if let Some(payload) = last.filter(|payload| payload.is(part)) {
            return payload;
        }
        let payload = SharedPayload::of_long(part, &self.shared);
        self.last_long = Rc::downgrade(&payload);
        payload
    }

    /// Appends to a connection's output unless it takes none; returns how many bytes were copied. The caller
    /// counts the work. A signal to thousands goes through here, so it touches the connection's memory once.
    pub(super) fn append_with(
        &mut self,
        to: ConnectionId,
        append: impl FnOnce(&mut OutputQueue, &Rc<Account>) -> Appended,
    ) -> usize {
        let in_burst = match self.slab.get(to.slot as usize) {
            Some(connection) if connection.id == to && connection.takes_output() => {
                connection.in_burst
            }
            _ => return 0,
        };
        if in_burst {
            // What came before goes before.
            self.end_bursts();
        }
        let connection = &mut self.slab[to.slot as usize];
        let output = connection.output.get_or_insert_with(|| {
            let output = self.spare.pop().unwrap_or_default();
            self.owned += output.capacity();
            output
        });
        let before = output.queued();
        let appended = append(output, &connection.account);
        self.owned = self.owned.saturating_add_signed(appended.grown);
        connection.last_output_us = self.now.monotonic_us;
        let is_serving = self.serving == Some(to);
        // Its own answers close no connection: after each line it is seen whether they are too many for
        // another one, so what goes beyond the limit here is one answer.
        let queued = output.queued();
        if is_serving {
            if queued > MUCH_OUTPUT {
                output.count_answer(queued - before);
            }
            // Once per turn is enough, and the same connection answers many lines in a row.
            if self.replies.last() != Some(&to) {
                self.replies.push(to);
            }
        } else {
            self.has_much |= !connection.writing.is_blocked() && queued >= MUCH_OUTPUT;
            if connection.becomes_due() {
                self.deliveries.push_back(to);
            }
            if queued > self.full_from {
                self.handle_much_output(to, queued);
            }
        }
        appended.copied
    }
}

impl<S: Socket> Carrier for Connections<S> {
    fn append(&mut self, to: ConnectionId, encode: impl FnOnce(&mut Vec<u8>)) {
        self.work += WORK_PER_STEP + self.append_with(to, |output, _| output.append(encode));
    }

    fn append_lines(&mut self, to: ConnectionId, lines: &Lines) {
        if lines.is_empty() {
            return;
        }
        let payloads: SmallVec<[Rc<SharedPayload>; 1]> = lines
            .pieces()
            .filter_map(|piece| match piece {
                Piece::Copied(_) => None,
                Piece::Shared(part) => Some(self.long_payload(part)),
            })
            .collect();
        let copied = self.append_with(to, |output, account| {
            let shares = payloads.iter().map(|payload| Share::of(account, payload));
            output.append_lines(lines, shares)
        });
        self.work += WORK_PER_STEP + copied;
    }

    fn append_if_drained(&mut self, to: ConnectionId, encode: impl FnOnce(&mut Vec<u8>)) {
        let now_us = self.now.monotonic_us;
        let Some(connection) = self.get_mut(to) else {
            return;
        };
        connection.last_output_us = now_us;
        if connection.queued() == 0 && !connection.socket.has_untaken() {
            self.append(to, encode);
        }
    }

    fn send_in_plain(&mut self, to: ConnectionId, bytes: &[u8]) {
        if let Some(connection) = self.get_mut(to) {
            // A peer that is gone already is noticed when it is read.
            let _ = connection.socket.write_in_plain(bytes);
        }
    }

    fn retry_write(&mut self, id: ConnectionId) {
        if let Some(connection) = self.get_mut(id)
            && connection.writing.retry()
        {
            self.flush_one(id);
        }
    }

    fn fan_out(&mut self, to: impl IntoIterator<Item = ConnectionId>, payload: &[u8]) {
        if payload.len() < SHARED_PAYLOAD {
            // It is the same bytes each time, and they are near.
            for id in to {
                self.work += WORK_PER_DELIVERY + payload.len() / 4;
                self.append_with(id, |output, _| {
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
            self.append_with(id, |output, account| {
                output.append_shared(Share::of(account, &shared))
            });
        }
    }

    #[inline(always)]
    fn deliver(&mut self, audience: &Audience<'_>, line: &[&[u8]]) -> usize {
        let length = encode::line_length(line);
        self.deliver_to::<LINES>(audience, (1, length), |to| encode::line(to, line))
    }

    fn deliver_run(&mut self, audience: &Audience<'_>, run: &Run<'_>) -> usize {
        let encode = |to: &mut Vec<u8>| to.extend_from_slice(run.lines);
        self.deliver_to::<LINES>(audience, (run.count, run.lines.len()), encode)
    }

    fn deliver_message(&mut self, audience: &Audience<'_>, payload: &[u8]) {
        let encode = |to: &mut Vec<u8>| to.extend_from_slice(payload);
        self.deliver_to::<MESSAGES>(audience, (1, payload.len()), encode);
    }

    fn deliver_labelled(&mut self, audience: &LabelledAudience<'_>, before: &[u8], after: &[u8]) {
        self.deliver_to_labelled(audience, before, after);
    }

    fn expect_deliveries(&mut self) {
        self.has_delivered = true;
    }

    fn close(&mut self, id: ConnectionId, reason: CloseReason) {
        if self.get(id).is_some_and(|connection| connection.in_burst) {
            self.end_bursts();
        }
        let Some(connection) = self.get_mut(id) else {
            return;
        };
        if connection.closing.is_some() {
            self.finished.push_back(id);
            return;
        }
        connection.closing = Some(reason);
        let held = std::mem::take(&mut connection.broker_memory);
        let pending = connection.pending.take();
        self.leave_full(id);
        self.leave_handshakes(id);
        let Some(connection) = self.get_mut(id) else {
            return;
        };
        let can_drain = reason.drains() && !connection.over_limit && connection.socket.is_open();
        let is_through = !can_drain || connection.queued() == 0;
        self.owned -= held;
        if let Some(pending) = pending {
            self.owned -= pending.capacity();
            self.discard(Garbage::Bytes(pending.into_buffer()));
        }
        if is_through {
            self.finished.push_back(id);
        } else {
            self.flush_tls_later(id);
        }
    }

    fn set_user(&mut self, id: ConnectionId, user: &str, program: &[u8]) {
        let account = self.accounts.of_user(user);
        let now_us = self.now.monotonic_us;
        if let Some(connection) = self.slab.get_mut(id.slot as usize).filter(|it| it.id == id) {
            connection.account = account;
            let key = self
                .recognised
                .key_of_user(connection.pace.key, user, program);
            connection.pace.key = key;
            if self.recognised.contains(key, now_us) {
                connection.pace.expect_looks();
            }
        }
    }

    fn set_link(&mut self, id: ConnectionId) {
        if let Some(connection) = self.get_mut(id) {
            connection.is_link = true;
            connection.account = Rc::default();
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

    fn charge_memory(&mut self, id: ConnectionId, bytes: isize) {
        // Of one that is on its way out the broker has forgotten everything.
        if let Some(connection) = self.get_mut(id).filter(|it| it.closing.is_none()) {
            connection.broker_memory = connection.broker_memory.saturating_add_signed(bytes);
            self.owned = self.owned.saturating_add_signed(bytes);
        }
    }

    fn request_writable(&mut self, id: ConnectionId) {
        let Some(connection) = self.get_mut(id) else {
            return;
        };
        connection.wants_writable = true;
        if connection.queued() < LOW_WATER_MARK {
            self.make_ready(id);
        }
    }

    fn has_full_receivers(&self) -> bool {
        self.full > 0
    }

    fn wait_for(
        &mut self,
        sender: ConnectionId,
        receiver: ConnectionId,
        kept: usize,
        is_short: bool,
    ) -> bool {
        self.wait_for_receiver(sender, receiver, kept, is_short)
    }

    fn begin_slice(&mut self) -> bool {
        let has_time = self.work < WORK_PER_SLICE;
        if has_time {
            self.work += WORK_PER_SLICE;
        }
        has_time
    }

    fn dial(&mut self, master: usize) {
        self.dial_request = Some(DialRequest::Dial(master));
    }

    fn cancel_dial(&mut self) {
        self.dial_request = Some(DialRequest::Cancel);
    }

    fn host_figures(&self) -> HostFigures {
        let (user_us, system_us) = sys::processor_time_us();
        HostFigures {
            process_id: std::process::id(),
            user_us,
            system_us,
            held: self.buffered() + self.slab.len() * size_of::<Connection<S>>(),
            resident: sys::resident_memory(),
            ..self.host
        }
    }

    fn traffic(&self, id: ConnectionId) -> Traffic {
        self.get(id).map_or_else(Traffic::default, |connection| {
            connection.traffic(self.now.monotonic_us)
        })
    }

    fn add_work(&mut self, work: usize) {
        self.work += work;
    }
}
