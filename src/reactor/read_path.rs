//! Serving connections: from the bytes that a socket has to the requests that the broker handles.

use super::batch::{Batch, BatchEnd};
use super::core::Core;
use super::fault;
use super::socket::Socket;
use crate::broker::{CloseReason, ConnectionId, Flow, LongFrame, Recording, describe, handle_run};
use crate::limits::{
    BULK_WORK_PER_TURN, FIRST_SHARE, HEAVY_WORK, LONG_LINE, LOW_WATER_MARK, MAX_LINE_BEFORE_LOGIN,
    SCRATCH, WORK_PER_BYTE_READ, WORK_PER_CONNECTION, WORK_PER_LINE_OF_RUN, WORK_PER_LINK,
    WORK_PER_SLICE, WORK_PER_STEP, WORK_PER_SYSCALL, WORK_PER_TURN,
};
use crate::protocol::framing::{Next, Unfinished};
use crate::protocol::shared::SharedBytes;
use crate::protocol::{Language, Pending, Request, memcached};
use std::io::ErrorKind;

/// How far a connection's frames were processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// As far as there were any.
    Done,
    /// Its share of the turn is used up.
    Yield,
    /// It has to wait, or is being closed.
    Stopped,
    /// It has to wait before this frame.
    StoppedBefore,
}

/// The outcome of processing some input.
struct Processed {
    /// How many of its bytes were processed.
    length: usize,
    progress: Progress,
    /// The facts that are known of the frame behind these.
    known: Unfinished,
    /// The length of that frame without its end, if it is complete and long.
    long_frame: Option<usize>,
}

impl Processed {
    fn nothing(known: Unfinished) -> Processed {
        Processed {
            length: 0,
            progress: Progress::Done,
            known,
            long_frame: None,
        }
    }

    /// A frame was handled that takes so many bytes; returns whether the next one may be.
    #[inline(always)]
    fn add(&mut self, progress: Progress, taken: usize) -> bool {
        if progress != Progress::StoppedBefore {
            self.length += taken;
        }
        self.progress = progress;
        progress == Progress::Done
    }
}

impl<S: Socket, R: Recording> Core<S, R> {
    /// Serves the connections that are ready, until this turn has done enough.
    pub(super) fn serve_ready(&mut self) {
        let (ready, _) = self.out.connections.waiting();
        for _ in 0..ready {
            let Some(id) = self.out.connections.next_ready() else {
                break;
            };
            self.serve_one(id);
            if self.out.connections.work >= WORK_PER_TURN {
                break;
            }
        }
        // Who asks little waits neither for those who send much nor for the broker's own slices.
        self.out.connections.flush_replies();
        let (_, bulk) = self.out.connections.waiting();
        // At least one of these even if the turn has done enough: they are to get on too.
        let enough = WORK_PER_TURN.min(self.out.connections.work + BULK_WORK_PER_TURN);
        for _ in 0..bulk {
            let Some(id) = self.out.connections.next_bulk() else {
                break;
            };
            self.serve_one(id);
            if self.out.connections.work >= enough {
                break;
            }
        }
    }

    fn serve_one(&mut self, id: ConnectionId) {
        let Some(connection) = self.out.connections.get_mut(id) else {
            return;
        };
        connection.in_ready = false;
        if connection.is_departing {
            self.read_to_discard(id);
            return;
        }
        let has_room = connection.wants_writable && connection.queued() < LOW_WATER_MARK;
        connection.wants_writable &= !has_room;
        let share = match connection.is_bulk() {
            _ if connection.is_link => WORK_PER_LINK,
            true => WORK_PER_CONNECTION,
            false => FIRST_SHARE,
        };
        self.out.connections.set_serving(Some(id));
        if has_room {
            self.broker
                .handle_writable(id, self.out.connections.now, &mut self.out);
            self.out.connections.work += WORK_PER_SLICE;
        }
        if !self.out.connections.is_open(id) {
            self.out.connections.await_handshake(id);
        } else if self.out.connections.may_go_on(id) {
            let language = self.broker.language_of(id);
            let mut pending = self.out.connections.take_pending(id, language);
            let progress = self.process_input(id, &mut pending, share);
            self.out.connections.put_pending(id, pending);
            if let Some(connection) = self.out.connections.get_mut(id) {
                connection.used_up_share = progress == Progress::Yield;
            }
            if progress == Progress::Yield {
                self.out.connections.host.yields += 1;
                self.out.connections.make_ready(id);
            }
        }
        self.out.connections.flush_tls_later(id);
        self.out.connections.set_serving(None);
    }

    /// Processes the frames that wait, and then reads more.
    fn process_input(&mut self, id: ConnectionId, pending: &mut Pending, share: usize) -> Progress {
        let enough = self.out.connections.work + share;
        // Taken out of `self` for as long as requests borrow from them.
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut assembled = std::mem::take(&mut self.assembled);
        let progress = loop {
            let progress = self.process_pending(id, pending, &mut assembled, enough);
            if progress != Progress::Done {
                break progress;
            }
            if self.out.connections.work + share / 2 >= enough {
                break Progress::Yield;
            }
            // No more than the share is probably enough for, because what is left would be copied; but of
            // a long frame all that there is.
            let part = share / WORK_PER_BYTE_READ;
            let room = if pending.waiting() < part {
                part
            } else {
                share
            };
            let language = pending.language();
            let Some(count) = self.read(id, language, &mut scratch[..room.min(SCRATCH)]) else {
                break Progress::Done;
            };
            let progress =
                self.process_read(id, pending, &scratch[..count], &mut assembled, enough);
            if progress != Progress::Done {
                break progress;
            }
        };
        self.scratch = scratch;
        // Of a long one no more is kept than of what is read.
        assembled.clear();
        assembled.shrink_to(SCRATCH);
        self.assembled = assembled;
        progress
    }

    /// Processes what was just read, behind what waits. What can't be processed yet is added to that.
    fn process_read(
        &mut self,
        id: ConnectionId,
        pending: &mut Pending,
        mut input: &[u8],
        assembled: &mut Vec<u8>,
        enough: usize,
    ) -> Progress {
        // The unfinished frame first; what follows it can be processed in place again.
        while !pending.is_idle() && !input.is_empty() {
            let taken = pending.push_to_frame(input);
            input = &input[taken..];
            let progress = self.process_pending(id, pending, assembled, enough);
            if progress != Progress::Done {
                pending.push(input);
                return progress;
            }
        }
        let language = pending.language();
        let processed = self.process(
            id,
            language,
            input,
            Unfinished::default(),
            assembled,
            enough,
        );
        pending.push(&input[processed.length..]);
        processed.progress
    }

    /// Processes frames that have waited, up to an unfinished one.
    fn process_pending(
        &mut self,
        id: ConnectionId,
        pending: &mut Pending,
        assembled: &mut Vec<u8>,
        enough: usize,
    ) -> Progress {
        if pending.is_skipping() {
            return Progress::Done;
        }
        loop {
            let (language, known) = (pending.language(), pending.known());
            let processed = self.process(id, language, pending.bytes(), known, assembled, enough);
            pending.advance(processed.length, processed.known);
            let progress = match processed.long_frame {
                Some(length) if processed.progress == Progress::Done => {
                    self.process_long(id, pending, length, enough)
                }
                _ if processed.progress == Progress::Done => break,
                _ => processed.progress,
            };
            if progress != Progress::Done {
                return progress;
            }
        }
        let length = pending.frame_length();
        if length > pending.language().max_unasked() {
            match self.check_length(id, Some(pending.bytes()), length) {
                LongFrame::Allowed => {}
                LongFrame::Skipped => pending.skip_frame(),
                LongFrame::BlockSkipped => pending.skip_block(),
                LongFrame::TailSkipped(kept) => pending.skip_tail(kept),
                LongFrame::Refused => return Progress::Stopped,
            }
        }
        Progress::Done
    }

    /// Processes the frames at the start of `input`, of which the first may be known in part. Stops before a long one.
    #[inline(always)]
    fn process(
        &mut self,
        id: ConnectionId,
        language: Language,
        input: &[u8],
        known: Unfinished,
        assembled: &mut Vec<u8>,
        enough: usize,
    ) -> Processed {
        match self.broker.prefetch_pays() {
            true => self.process_batches(id, language, input, known, assembled, enough),
            false => self.process_each(id, language, input, known, assembled, enough),
        }
    }

    /// Decodes and handles one frame after the other, as [`Core::process`] does. A batch of one would do the same, and
    /// cost 75 instructions more for each frame.
    fn process_each(
        &mut self,
        id: ConnectionId,
        language: Language,
        input: &[u8],
        known: Unfinished,
        assembled: &mut Vec<u8>,
        enough: usize,
    ) -> Processed {
        let mut processed = Processed::nothing(known);
        loop {
            let rest = &input[processed.length..];
            let (frame, taken) = match language.next(rest, processed.known) {
                Next::Frame(frame, _) if frame.len() >= LONG_LINE => {
                    processed.long_frame = Some(frame.len());
                    return processed;
                }
                Next::Frame(frame, taken) => (frame, taken),
                Next::Scattered(taken) => {
                    assembled.clear();
                    language.assemble(&rest[..taken], assembled);
                    (&assembled[..], taken)
                }
                Next::Unfinished(known) => {
                    processed.known = known;
                    return processed;
                }
            };
            processed.known = Unfinished::default();
            let request = language.decode(frame);
            let progress = self.dispatch(id, &request, None, enough);
            if !processed.add(progress, taken) {
                return processed;
            }
            let rest = &input[processed.length..];
            processed.length += self.process_run(id, (&request, taken), rest, enough);
        }
    }

    /// Handles the requests at the start of `input` that can be handled at once because they are like the one before them,
    /// which takes so many bytes. Returns the number of bytes that they take.
    #[inline(always)]
    fn process_run(
        &mut self,
        id: ConnectionId,
        request: (&Request<'_>, usize),
        input: &[u8],
        enough: usize,
    ) -> usize {
        let Some(room) = self.out.connections.room_for_run() else {
            return 0;
        };
        let work = enough.saturating_sub(self.out.connections.work);
        let input = &input[..input.len().min(room).min(work)];
        let Some(run) = handle_run(&mut self.broker, id, request, input, work, &mut self.out)
        else {
            return 0;
        };
        self.out.connections.work += run.count * WORK_PER_LINE_OF_RUN;
        self.out.connections.lines += run.count;
        run.lines.len()
    }

    /// Decodes some frames, fetches the memory that they will need, and handles them, as [`Core::process`] does.
    fn process_batches(
        &mut self,
        id: ConnectionId,
        language: Language,
        input: &[u8],
        known: Unfinished,
        assembled: &mut Vec<u8>,
        enough: usize,
    ) -> Processed {
        let mut processed = Processed::nothing(known);
        loop {
            let mut batch = Batch::default();
            let rest = &input[processed.length..];
            let ended = batch.fill(language, rest, processed.known, assembled);
            processed.known = Unfinished::default();
            if batch.is_several() {
                self.broker.prefetch(batch.requests());
            }
            for frame in batch.iter() {
                let progress = self.dispatch(id, &frame.request, None, enough);
                if !processed.add(progress, frame.taken) {
                    return processed;
                }
            }
            match ended {
                BatchEnd::Full => {
                    if let Some(last) = batch.iter().last() {
                        let (last, rest) =
                            ((&last.request, last.taken), &input[processed.length..]);
                        processed.length += self.process_run(id, last, rest, enough);
                    }
                }
                BatchEnd::Unfinished(known) => {
                    processed.known = known;
                    return processed;
                }
                BatchEnd::Long(length) => {
                    processed.long_frame = Some(length);
                    return processed;
                }
            }
        }
    }

    /// Hands a long frame, the first that waits, to the broker, which may keep it without copying it. It has `length`
    /// bytes without its end.
    fn process_long(
        &mut self,
        id: ConnectionId,
        pending: &mut Pending,
        length: usize,
        enough: usize,
    ) -> Progress {
        let frame = pending.take_frame(length, self.out.connections.reclaim.clone());
        let request = pending.language().decode(&frame);
        let progress = self.dispatch(id, &request, Some(&frame), enough);
        if progress == Progress::StoppedBefore {
            pending.put_back_frame(frame);
        }
        progress
    }

    /// Hands one request to the broker. `shared` is its frame if that can be kept without copying it.
    #[inline(always)]
    fn dispatch(
        &mut self,
        id: ConnectionId,
        request: &Request<'_>,
        shared: Option<&SharedBytes>,
        enough: usize,
    ) -> Progress {
        if request.length() > MAX_LINE_BEFORE_LOGIN {
            match self.check_length(id, None, request.length()) {
                // The block of a whole frame is there already.
                LongFrame::Allowed | LongFrame::BlockSkipped | LongFrame::TailSkipped(_) => {}
                LongFrame::Skipped => return Progress::Done,
                LongFrame::Refused => return Progress::Stopped,
            }
        }
        self.out.connections.work += WORK_PER_STEP;
        self.out.connections.lines += 1;
        let now = self.out.connections.now;
        let (broker, out) = (&mut self.broker, &mut self.out);
        let flow = match shared {
            None => broker.handle_request(id, request, now, out),
            Some(shared) => broker.handle_long_request(id, request, shared, now, out),
        };
        if flow != Flow::Next
            && let Some(connection) = self.out.connections.get_mut(id)
            && !connection.stops.is_by_receiver()
        {
            connection.stops.stop_by_broker(now.monotonic_us);
        }
        if flow == Flow::StopBefore {
            self.out.connections.work += WORK_PER_SLICE;
            return Progress::StoppedBefore;
        }
        let has_done_enough = self.out.connections.work >= enough;
        if has_done_enough {
            self.note_heavy(request, enough);
        }
        match self.out.connections.may_go_on(id) {
            false => Progress::Stopped,
            true if has_done_enough => Progress::Yield,
            true => Progress::Done,
        }
    }

    /// A request has used up a share of the turn. If it has done much more than that, it is remembered: it may be the reason
    /// why the turn is long.
    #[cold]
    fn note_heavy(&mut self, request: &Request<'_>, enough: usize) {
        let beyond = self.out.connections.work - enough;
        let heaviest = self
            .heaviest
            .as_ref()
            .map_or(HEAVY_WORK, |heavy| heavy.work);
        if beyond > heaviest {
            self.heaviest = Some(describe(request, beyond));
        }
    }

    #[cold]
    fn check_length(&mut self, id: ConnectionId, start: Option<&[u8]>, length: usize) -> LongFrame {
        let now = self.out.connections.now;
        self.broker
            .handle_long_frame(id, start, length, now, &mut self.out)
    }

    /// Reads what there is; `None` when that is nothing for now, or nothing more ever.
    fn read(&mut self, id: ConnectionId, language: Language, scratch: &mut [u8]) -> Option<usize> {
        let connection = self.out.connections.get_mut(id)?;
        let ended = loop {
            if !connection.readable {
                return None;
            }
            match connection.socket.read(scratch) {
                Ok(0) => break CloseReason::EndOfStream,
                Ok(count) => {
                    if !std::mem::replace(&mut connection.has_spoken, true)
                        && let Some(reason) =
                            foreign_protocol(language, connection.socket.is_tls(), scratch[0])
                    {
                        break reason;
                    }
                    // Only the end of the stream may have been told already.
                    connection.readable =
                        !connection.socket.is_drained(count, scratch.len()) || connection.hung_up;
                    self.out.connections.host.bytes_in += count as u64;
                    self.out.connections.work += WORK_PER_SYSCALL + count;
                    self.out.connections.note_input(id);
                    return Some(count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => connection.readable = false,
                Err(error) => {
                    connection.readable = false;
                    self.end_failed(id, &error);
                    return None;
                }
            }
        };
        connection.readable = false;
        self.out.connections.work += WORK_PER_SYSCALL;
        self.out.connections.note_input(id);
        self.out.connections.end(id, ended);
        None
    }

    /// Reads what a connection still sends that has got its last line, and drops it.
    fn read_to_discard(&mut self, id: ConnectionId) {
        let Some(connection) = self.out.connections.get_mut(id) else {
            return;
        };
        match connection.socket.read(&mut self.scratch) {
            Ok(count @ 1..) => {
                self.out.connections.work += WORK_PER_SYSCALL + count;
                self.out.connections.make_ready(id);
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            _ => drop(self.out.connections.remove(id)),
        }
    }
}

/// The reason to end a connection whose first byte shows that its peer speaks something else.
fn foreign_protocol(language: Language, is_tls: bool, first: u8) -> Option<CloseReason> {
    match language {
        _ if !is_tls && fault::is_tls(first) => Some(CloseReason::TlsToPlain),
        Language::Memcached | Language::MemcachedLogin if memcached::framing::is_binary(first) => {
            Some(CloseReason::BinaryProtocol)
        }
        _ => None,
    }
}
