//! The delivery of signals to connections: those to the same receivers, one straight after the other, are gathered into a
//! burst.

use super::{Connections, Share};
use crate::broker::{Audience, Carrier, ConnectionId, LabelledAudience};
use crate::limits::{SHARED_PAYLOAD, WORK_PER_DELIVERY, WORK_PER_DELIVERY_OF_BURST};
use crate::reactor::buffer::{Appended, SharedPayload};
use crate::reactor::burst::Burst;
use crate::reactor::connection::Connection;
use crate::reactor::socket::Socket;
use slab::Slab;
use std::collections::VecDeque;

/// The burst of signals, as lines for Clacks clients. A signal may go to both kinds of clients, and no connection is of
/// both. The numbers are known when the code is compiled, so that the one burst costs the other nothing.
pub(super) const LINES: usize = 0;
/// The burst of messages for NATS clients.
pub(super) const MESSAGES: usize = 1;

impl<S: Socket> Connections<S> {
    /// Delivers `count` signals of `length` bytes together, which `encode` appends; returns to how many. Inlined, since no
    /// more than a copy into the burst is done for most signals.
    #[inline(always)]
    pub(super) fn deliver_to<const BURST: usize>(
        &mut self,
        audience: &Audience<'_>,
        (count, length): (usize, usize),
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> usize {
        self.has_delivered = true;
        let Connections { slab, bursts, .. } = self;
        let includes_sender = || is_in_burst(audience.sender, slab);
        let Some((buffer, receivers)) = bursts[BURST].buffer_for(audience, includes_sender, length)
        else {
            return self.deliver_anew::<BURST>(audience, count, encode);
        };
        encode(buffer);
        self.work += length + count * receivers * WORK_PER_DELIVERY_OF_BURST;
        receivers
    }

    /// Delivers signals that do not belong to the burst, which ends.
    #[inline(never)]
    fn deliver_anew<const BURST: usize>(
        &mut self,
        audience: &Audience<'_>,
        count: usize,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> usize {
        self.end_burst::<BURST>();
        let burst = &mut self.bursts[BURST];
        let is_repeated = burst.is_repeated(audience);
        let mut payload = burst.take_buffer();
        encode(&mut payload);
        // A long signal is shared at once, since others that follow it would be copied as well.
        if is_repeated && payload.len() / count < SHARED_PAYLOAD {
            return self.begin_burst::<BURST>(audience, payload, count);
        }
        let mut receivers = 0;
        self.fan_out(audience.receivers().inspect(|_| receivers += 1), &payload);
        self.bursts[BURST].put_buffer(payload);
        receivers
    }

    /// Delivers a message, to each receiver with its label between the two parts.
    #[inline(never)]
    pub(super) fn deliver_to_labelled(
        &mut self,
        to: &LabelledAudience<'_>,
        before: &[u8],
        after: &[u8],
    ) {
        let audience = &to.audience;
        self.has_delivered = true;
        let length = before.len() + after.len();
        let Connections { slab, bursts, .. } = self;
        let includes_sender = || is_in_burst(audience.sender, slab);
        let added = bursts[MESSAGES].add_labelled(audience, includes_sender, before, after);
        if let Some(receivers) = added {
            // When the burst ends, it is copied for each of them.
            self.work += length + receivers * (WORK_PER_DELIVERY_OF_BURST + length / 4);
            return;
        }
        self.end_burst::<MESSAGES>();
        let is_repeated = self.bursts[MESSAGES].is_repeated(audience);
        if is_repeated && length < SHARED_PAYLOAD {
            self.begin_labelled_burst(to, before, after);
        } else {
            self.fan_out_labelled(to, before, after);
        }
    }

    /// Begins a burst with `count` signals. Returns the number of receivers.
    fn begin_burst<const BURST: usize>(
        &mut self,
        audience: &Audience<'_>,
        payload: Vec<u8>,
        count: usize,
    ) -> usize {
        let Connections {
            slab,
            bursts,
            deliveries,
            ..
        } = self;
        let burst = &mut bursts[BURST];
        let receivers = audience.receivers();
        let receivers = receivers.filter(|id| join_burst(*id, slab, deliveries));
        let length = payload.len();
        burst.begin(receivers, payload);
        let receivers = burst.receivers().len();
        let of_first = length / count;
        self.work += receivers * (WORK_PER_DELIVERY + of_first / 4);
        // The others cost what those cost that are added to the burst later.
        self.work += length - of_first + (count - 1) * receivers * WORK_PER_DELIVERY_OF_BURST;
        receivers
    }

    #[inline(never)]
    fn begin_labelled_burst(&mut self, to: &LabelledAudience<'_>, before: &[u8], after: &[u8]) {
        let Connections {
            slab,
            bursts,
            deliveries,
            ..
        } = self;
        let burst = &mut bursts[MESSAGES];
        let receivers = to.receivers();
        let receivers = receivers.filter(|(id, _)| join_burst(*id, slab, deliveries));
        burst.begin_labelled(receivers, before, after);
        let length = before.len() + after.len();
        self.work += burst.receivers().len() * (WORK_PER_DELIVERY + length / 4);
    }

    /// Bytes of lines that may be added to the burst at once; `None` if it is not open: no two signals to the same receivers
    /// came in a row.
    #[inline(always)]
    pub fn room_for_run(&self) -> Option<usize> {
        let burst = &self.bursts[LINES];
        (!burst.receivers().is_empty()).then_some(burst.max())
    }

    /// Reports whether signals wait in a burst.
    pub(super) fn has_open_burst(&self) -> bool {
        self.bursts
            .iter()
            .any(|burst| !burst.receivers().is_empty())
    }

    /// Appends all bursts to the output of their receivers.
    pub(super) fn end_bursts(&mut self) {
        self.end_burst::<LINES>();
        self.end_burst::<MESSAGES>();
    }

    /// Appends the burst to the output of its receivers.
    fn end_burst<const BURST: usize>(&mut self) {
        if self.bursts[BURST].receivers().is_empty() {
            return;
        }
        let mut burst = std::mem::replace(&mut self.bursts[BURST], Burst::new(0));
        match burst.is_labelled() {
            true => self.append_to_each(&burst),
            false => self.append_to_all::<BURST>(&mut burst),
        }
        burst.clear();
        self.bursts[BURST] = burst;
    }

    /// Appends a burst of which each receiver gets a piece of its own. Apart from the usual one, which is faster so.
    #[inline(never)]
    fn append_to_each(&mut self, burst: &Burst) {
        for (id, label) in burst.labelled_receivers() {
            self.leave_burst(id);
            self.append_with(id, |output, _| {
                output.append(|to| burst.append_labelled(label, to))
            });
        }
    }

    /// Appends a burst that is the same for all of its receivers.
    fn append_to_all<const BURST: usize>(&mut self, burst: &mut Burst) {
        let (receivers, bytes) = burst.parts();
        let is_shared = bytes.len() >= SHARED_PAYLOAD && receivers.len() > 1;
        let shared = is_shared.then(|| SharedPayload::new(bytes, &self.shared));
        for &id in receivers {
            self.leave_burst(id);
            // As work it was counted when it came.
            self.append_with(id, |output, account| match (&shared, receivers.len()) {
                (Some(payload), _) => output.append_shared(Share::of(account, payload)),
                (None, 1) => output.append_buffer(bytes),
                (None, _) => output.append(|to| to.extend_from_slice(bytes)),
            });
        }
    }

    fn leave_burst(&mut self, id: ConnectionId) {
        if let Some(connection) = self.get_mut(id) {
            connection.in_burst = false;
        }
    }

    /// Appends a message to the output of each receiver. The part behind the labels is shared if it is large.
    #[inline(never)]
    fn fan_out_labelled(&mut self, to: &LabelledAudience<'_>, before: &[u8], after: &[u8]) {
        let shared =
            (after.len() >= SHARED_PAYLOAD).then(|| SharedPayload::new(after, &self.shared));
        self.work += after.len();
        for (id, label) in to.receivers() {
            self.work += WORK_PER_DELIVERY;
            let copied = self.append_with(id, |output, account| {
                let start = output.append(|bytes| {
                    bytes.extend_from_slice(before);
                    bytes.extend_from_slice(label);
                    if shared.is_none() {
                        bytes.extend_from_slice(after);
                    }
                });
                let Some(payload) = &shared else {
                    return start;
                };
                let end = output.append_shared(Share::of(account, payload));
                Appended {
                    copied: start.copied + end.copied,
                    grown: start.grown + end.grown,
                }
            });
            self.work += copied / 4;
        }
    }
}

/// Reports whether a connection, if there is one, is among the receivers of a burst.
fn is_in_burst<S>(id: Option<ConnectionId>, slab: &Slab<Connection<S>>) -> bool {
    let found = id.and_then(|id| slab.get(id.slot as usize).filter(|it| it.id == id));
    found.is_some_and(|connection| connection.in_burst)
}

/// Marks a connection as one of the receivers of a burst, if it takes output.
#[inline(always)]
fn join_burst<S: Socket>(
    id: ConnectionId,
    slab: &mut Slab<Connection<S>>,
    deliveries: &mut VecDeque<ConnectionId>,
) -> bool {
    let connection = slab.get_mut(id.slot as usize);
    let Some(connection) = connection.filter(|it| it.id == id && it.takes_output()) else {
        return false;
    };
    connection.in_burst = true;
    if connection.becomes_due() {
        deliveries.push_back(id);
    }
    true
}
