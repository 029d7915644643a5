//! Serving connections: from what a socket has to the lines that the broker is handed.

use super::Server;
use super::stream::Stream;
use super::tls;
use crate::broker::{CloseReason, ConnectionId, Flow, LongLine};
use crate::limits::{
    BULK_WORK_PER_TURN, FIRST_SHARE, LONG_LINE, MAX_LINE_BEFORE_LOGIN, ROOM, SCRATCH,
    WORK_PER_BYTE_READ, WORK_PER_CONNECTION, WORK_PER_SLICE, WORK_PER_STEP, WORK_PER_SYSCALL,
    WORK_PER_TRUNK, WORK_PER_TURN,
};
use crate::protocol::line::{Pending, next_line};
use crate::protocol::shared::SharedBytes;
use std::io::{ErrorKind, Read};

/// How far a connection's lines were worked off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// As far as there were any.
    Done,
    /// Its share of the turn is used up.
    Yield,
    /// It has to wait, or is being closed.
    Stopped,
    /// It has to wait before this line.
    StoppedBefore,
}

impl Server {
    /// Serves the connections that are ready, until this turn has done enough.
    pub(super) fn serve_ready(&mut self) {
        let (ready, _) = self.connections.waiting();
        for _ in 0..ready {
            let Some(id) = self.connections.next_ready() else {
                break;
            };
            self.serve(id);
            if self.connections.work >= WORK_PER_TURN {
                break;
            }
        }
        // Who asks little waits neither for those who send much nor for the broker's own slices.
        self.connections.flush_replies();
        let (_, bulk) = self.connections.waiting();
        // At least one of these even if the turn has done enough: they are to get on too.
        let enough = WORK_PER_TURN.min(self.connections.work + BULK_WORK_PER_TURN);
        for _ in 0..bulk {
            let Some(id) = self.connections.next_bulk() else {
                break;
            };
            self.serve(id);
            if self.connections.work >= enough {
                break;
            }
        }
    }

    fn serve(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        connection.in_ready = false;
        if connection.is_departing {
            self.read_to_discard(id);
            return;
        }
        let has_room = connection.wants_room && connection.queued() < ROOM;
        connection.wants_room &= !has_room;
        let share = match connection.is_bulk() {
            _ if connection.is_trunk => WORK_PER_TRUNK,
            true => WORK_PER_CONNECTION,
            false => FIRST_SHARE,
        };
        self.connections.set_serving(Some(id));
        if has_room {
            self.broker
                .handle_room(id, self.connections.now, &mut self.connections);
            self.connections.work += WORK_PER_SLICE;
        }
        if !self.connections.is_open(id) {
            self.connections.await_handshake(id);
        } else if self.connections.may_go_on(id) {
            let mut pending = self.connections.take_pending(id);
            let progress = self.work_off(id, &mut pending, share);
            self.connections.put_pending(id, pending);
            if let Some(connection) = self.connections.get_mut(id) {
                connection.used_up_share = progress == Progress::Yield;
            }
            if progress == Progress::Yield {
                self.connections.make_ready(id);
            }
        }
        self.connections.flush_tls_later(id);
        self.connections.set_serving(None);
    }

    /// Works off the lines that wait, and then reads more.
    fn work_off(&mut self, id: ConnectionId, pending: &mut Pending, share: usize) -> Progress {
        let enough = self.connections.work + share;
        // Taken out of `self` for as long as lines borrow from them.
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut line = std::mem::take(&mut self.line);
        let progress = loop {
            let progress = self.work_off_pending(id, pending, enough);
            if progress != Progress::Done {
                break progress;
            }
            // No more than the share is probably enough for, because what is left would be copied; but of
            // a long line all that there is.
            let part = share / WORK_PER_BYTE_READ;
            let room = if pending.waiting() < part {
                part
            } else {
                share
            };
            let Some(count) = self.read(id, &mut scratch[..room.min(SCRATCH)]) else {
                break Progress::Done;
            };
            let mut rest = &scratch[..count];
            if !pending.is_idle() {
                // The unfinished line first; what follows it can be worked off in place again.
                let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |newline| newline + 1);
                pending.push(&rest[..end]);
                rest = &rest[end..];
                let progress = self.work_off_pending(id, pending, enough);
                if progress != Progress::Done {
                    pending.push(rest);
                    break progress;
                }
            }
            let mut progress = Progress::Done;
            let mut foreseen = 0;
            loop {
                if foreseen == 0 {
                    foreseen = self.broker.handle_foresight(rest);
                }
                let Some((found, used)) = next_line(rest, &mut line) else {
                    break;
                };
                foreseen = foreseen.saturating_sub(used);
                progress = self.hand_over(id, found, None, enough);
                if progress == Progress::StoppedBefore {
                    break;
                }
                rest = &rest[used..];
                if progress != Progress::Done {
                    break;
                }
            }
            pending.push(rest);
            if progress != Progress::Done {
                break progress;
            }
            if self.connections.work + share / 2 >= enough {
                break Progress::Yield;
            }
        };
        self.scratch = scratch;
        // Of a long one no more is kept than of what is read.
        line.clear();
        line.shrink_to(SCRATCH);
        self.line = line;
        progress
    }

    /// Works off what has been kept, up to an unfinished line.
    fn work_off_pending(
        &mut self,
        id: ConnectionId,
        pending: &mut Pending,
        enough: usize,
    ) -> Progress {
        let mut foreseen = 0;
        loop {
            if foreseen == 0 {
                foreseen = self.broker.handle_foresight(pending.unscanned());
            }
            let Some(line) = pending.next_line() else {
                break;
            };
            let length = line.len();
            foreseen = foreseen.saturating_sub(length + 1);
            let progress = if length >= LONG_LINE {
                self.hand_over_long(id, pending, length, enough)
            } else {
                let progress = self.hand_over(id, line, None, enough);
                if progress == Progress::StoppedBefore {
                    pending.put_back(length);
                }
                progress
            };
            if progress != Progress::Done {
                return progress;
            }
        }
        if pending.waiting() > MAX_LINE_BEFORE_LOGIN {
            match self.check_length(id, pending.waiting()) {
                LongLine::Allowed => {}
                LongLine::Skipped => pending.skip_line(),
                LongLine::Refused => return Progress::Stopped,
            }
        }
        Progress::Done
    }

    /// Hands the long line that `pending` has just returned to the broker, which may keep it without copying it.
    fn hand_over_long(
        &mut self,
        id: ConnectionId,
        pending: &mut Pending,
        length: usize,
        enough: usize,
    ) -> Progress {
        let line = pending.take_line(length, self.connections.reclaim.clone());
        let progress = self.hand_over(id, &line, Some(&line), enough);
        if progress == Progress::StoppedBefore {
            pending.put_back_line(line);
        }
        progress
    }

    /// Hands one line to the broker. `shared` is the same line if it can be kept without copying it.
    fn hand_over(
        &mut self,
        id: ConnectionId,
        line: &[u8],
        shared: Option<&SharedBytes>,
        enough: usize,
    ) -> Progress {
        if line.len() > MAX_LINE_BEFORE_LOGIN {
            match self.check_length(id, line.len()) {
                LongLine::Allowed => {}
                LongLine::Skipped => return Progress::Done,
                LongLine::Refused => return Progress::Stopped,
            }
        }
        self.connections.work += WORK_PER_STEP;
        self.connections.lines += 1;
        let now = self.connections.now;
        let (broker, out) = (&mut self.broker, &mut self.connections);
        let flow = match shared {
            None => broker.handle_line(id, line, now, out),
            Some(shared) => broker.handle_shared_line(id, shared, now, out),
        };
        if flow != Flow::Next
            && let Some(connection) = self.connections.get_mut(id)
            && !connection.stops.is_by_receiver()
        {
            connection.stops.stop_by_broker(now.monotonic_us);
        }
        if flow == Flow::StopBefore {
            self.connections.work += WORK_PER_SLICE;
        }
        if flow == Flow::StopBefore {
            Progress::StoppedBefore
        } else if !self.connections.may_go_on(id) {
            Progress::Stopped
        } else if self.connections.work >= enough {
            Progress::Yield
        } else {
            Progress::Done
        }
    }

    fn check_length(&mut self, id: ConnectionId, length: usize) -> LongLine {
        let now = self.connections.now;
        self.broker
            .handle_long_line(id, length, now, &mut self.connections)
    }

    /// Reads what there is; `None` when that is nothing for now, or nothing more ever.
    fn read(&mut self, id: ConnectionId, scratch: &mut [u8]) -> Option<usize> {
        let connection = self.connections.get_mut(id)?;
        let ended = loop {
            if !connection.readable {
                return None;
            }
            match connection.stream.read(scratch) {
                Ok(0) => break CloseReason::EndOfStream,
                Ok(_)
                    if !std::mem::replace(&mut connection.has_spoken, true)
                        && !matches!(connection.stream, Stream::Tls(_))
                        && tls::is_tls(scratch[0]) =>
                {
                    break CloseReason::TlsToPlain;
                }
                Ok(count) => {
                    // Only the end of the stream may have been told already.
                    connection.readable =
                        !connection.stream.is_drained(count, scratch.len()) || connection.hung_up;
                    self.bytes_in += count as u64;
                    self.connections.work += WORK_PER_SYSCALL + count;
                    self.connections.note_input(id);
                    return Some(count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => connection.readable = false,
                Err(error) => {
                    connection.readable = false;
                    self.end_tls(id, &error);
                    return None;
                }
            }
        };
        connection.readable = false;
        self.connections.work += WORK_PER_SYSCALL;
        self.connections.end(id, ended);
        None
    }

    /// Reads what a connection still sends that has got its last line, and drops it.
    fn read_to_discard(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        match connection.stream.read(&mut self.scratch) {
            Ok(count @ 1..) => {
                self.connections.work += WORK_PER_SYSCALL + count;
                self.connections.make_ready(id);
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            _ => drop(self.connections.remove(id)),
        }
    }
}
