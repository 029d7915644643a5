//! The seam between the broker and whatever carries its bytes.

use super::close_reason::CloseReason;
use super::events::{Audience, ConnectionId, HostFigures, LabelledAudience, Traffic};
use crate::protocol::Run;
use crate::protocol::encode;
use crate::protocol::shared::{Lines, Piece, SharedBytes};

/// Everything that the broker does to connections. Static dispatch: a call is as cheap as the code behind it.
pub trait Carrier {
    /// Appends to the connection's output, in place. Does nothing once it is being closed.
    fn append(&mut self, to: ConnectionId, encode: impl FnOnce(&mut Vec<u8>));

    /// Appends lines to the connection's output. Their long parts may be shared instead of copied.
    fn append_lines(&mut self, to: ConnectionId, lines: &Lines) {
        for piece in lines.pieces() {
            let bytes: &[u8] = match piece {
                Piece::Copied(bytes) => bytes,
                Piece::Shared(bytes) => bytes,
            };
            if !bytes.is_empty() {
                self.append(to, |output| output.extend_from_slice(bytes));
            }
        }
    }

    /// Appends a line of these parts to the connection's output. If it ends with what lies in `source`, a long line that
    /// is shared, that part is not copied. Inlined, for the answer to RETRIEVE goes through here, and encoding is cheap
    /// where the number of parts is known.
    #[inline(always)]
    fn append_line(&mut self, to: ConnectionId, parts: &[&[u8]], source: Option<&SharedBytes>) {
        if let Some(lines) = source.and_then(|source| Lines::sharing(parts, source)) {
            self.append_lines(to, &lines);
        } else {
            self.append(to, |output| encode::line(output, parts));
        }
    }

    /// Appends as [`Carrier::append`] does, unless the peer has not taken yet what came before. It counts as sent in any case.
    fn append_if_drained(&mut self, to: ConnectionId, encode: impl FnOnce(&mut Vec<u8>)) {
        self.append(to, encode);
    }

    /// Sends bytes that come before the TLS handshake, where there is one. They are few, and the first that the
    /// connection is sent.
    fn send_in_plain(&mut self, to: ConnectionId, bytes: &[u8]) {
        self.append(to, |output| output.extend_from_slice(bytes));
    }

    /// Tries once more to send what waits, for a socket whose peer takes little at a time: the kernel tells of room
    /// only when there is much.
    fn retry_write(&mut self, _connection: ConnectionId) {}

    /// Appends the same bytes to many connections' output.
    fn fan_out(&mut self, to: impl IntoIterator<Item = ConnectionId>, payload: &[u8]);

    /// Appends a signal, a line of these parts, to its receivers' output. Returns the number of receivers.
    fn deliver(&mut self, audience: &Audience<'_>, line: &[&[u8]]) -> usize {
        let mut payload = Vec::new();
        encode::line(&mut payload, line);
        let mut receivers = 0;
        self.fan_out(audience.receivers().inspect(|_| receivers += 1), &payload);
        receivers
    }

    /// Appends signals, which have the same receivers, to their output. Returns the number of receivers.
    fn deliver_run(&mut self, audience: &Audience<'_>, run: &Run<'_>) -> usize {
        let mut receivers = 0;
        self.fan_out(audience.receivers().inspect(|_| receivers += 1), run.lines);
        receivers
    }

    /// Appends a message, which is the same for all of its receivers, to their output. Who gets messages gets no signals
    /// by [`Carrier::deliver`].
    fn deliver_message(&mut self, audience: &Audience<'_>, payload: &[u8]) {
        self.fan_out(audience.receivers(), payload);
    }

    /// Appends a message to its receivers' output as [`Carrier::deliver_message`] does, for each with its label between the two parts.
    fn deliver_labelled(&mut self, audience: &LabelledAudience<'_>, before: &[u8], after: &[u8]) {
        for (receiver, label) in audience.receivers() {
            self.append(receiver, |output| {
                for part in [before, label, after] {
                    output.extend_from_slice(part);
                }
            });
        }
    }

    /// Signals are appended to the output of their receivers one by one. More of them may come before that is sent.
    fn expect_deliveries(&mut self) {}

    /// Ends a connection: the carrier hands over no more of its lines. If the reason [drains](CloseReason::drains), the
    /// carrier sends the queued output first; a second call discards that output. `handle_closed` reports the end.
    fn close(&mut self, connection: ConnectionId, reason: CloseReason);

    /// The connection has logged in: the memory of its buffers counts for that user, with that of the user's other
    /// connections. `program` is what it says that it is.
    fn set_user(&mut self, _connection: ConnectionId, _user: &str, _program: &[u8]) {}

    /// From now on the connection carries the traffic of many, both ways: it gets a larger share, is read
    /// however much waits to be sent to it, since that is no answer to what it says, and its memory counts for itself.
    fn set_link(&mut self, connection: ConnectionId);

    /// Ends a [`Flow::Stop`](super::Flow::Stop).
    fn resume(&mut self, connection: ConnectionId);

    /// The broker keeps so many bytes more (or less) for the connection: they count among its
    /// buffers.
    fn charge_memory(&mut self, connection: ConnectionId, bytes: isize);

    /// Asks for one call of `handle_writable`, in a later turn, when little is queued on the connection.
    fn request_writable(&mut self, connection: ConnectionId);

    /// Reports whether any connection has so much output waiting that its senders should wait: only then is
    /// [`Carrier::wait_for`] to be asked of each receiver of a line.
    fn has_full_receivers(&self) -> bool {
        false
    }

    /// Reports whether `sender` has to wait before its next line is processed, because `receiver`, to which the line would go,
    /// has much output waiting and takes bytes of it; `kept` bytes more wait for it at the broker. A short line may use
    /// room that long ones leave: who says little does not wait for those who send much. If so, the broker
    /// answers [`Flow::StopBefore`](super::Flow::StopBefore), and the carrier hands the line over again when there is room, or when the receiver
    /// takes nothing any more.
    fn wait_for(
        &mut self,
        _sender: ConnectionId,
        _receiver: ConnectionId,
        _kept: usize,
        _is_short: bool,
    ) -> bool {
        false
    }

    /// Asks to make a slice of a long answer at once. Returns false if others have used this turn up: then [`Carrier::request_writable`]
    /// asks for another one.
    fn begin_slice(&mut self) -> bool {
        true
    }

    /// Dials the master of that number. The broker is told what came of it: `handle_connected` or
    /// `handle_dial_failed`.
    fn dial(&mut self, master: usize);

    /// Gives up dialling; the broker is told nothing more of it.
    fn cancel_dial(&mut self);

    fn traffic(&self, connection: ConnectionId) -> Traffic;

    /// The figures of the process that everything runs in.
    fn host_figures(&self) -> HostFigures {
        HostFigures::default()
    }

    /// The line being handled costs more than its bytes; see [`limits`](crate::limits) for the unit.
    fn add_work(&mut self, _work: usize) {}
}
