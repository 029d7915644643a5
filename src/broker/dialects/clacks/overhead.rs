//! OVERHEAD lines: forwarded to everybody, and obeyed (clacks-protocol(7), OVERHEAD).

use crate::broker::carrier::Carrier;
use crate::broker::close_reason::CloseReason;
use crate::broker::events::{ConnectionId, Now};
use crate::broker::interclacks::{Forwarded, NEVER_FORWARDED, SignalScope};
use crate::broker::{Broker, Lifetime, Suppressed, empty};
use crate::limits::{CENTURY_S, MAX_SECONDS_LENGTH, SECOND_US};
use crate::protocol::{Flags, Overhead, encode};

impl Broker {
    /// An OVERHEAD line that is on, from somebody who may send it.
    pub(in crate::broker) fn overhead<O: Carrier>(
        &mut self,
        id: ConnectionId,
        overhead: Overhead<'_>,
        now: Now,
        out: &mut O,
    ) {
        let Overhead { flags, value } = overhead;
        if flags.intersects(Flags::DISCARD) {
            return;
        }
        if flags.intersects(Flags::INTERCLACKS) {
            self.start_downlink(id, now, out);
        }
        if flags.intersects(Flags::FORWARD) && !flags.intersects(NEVER_FORWARDED) {
            let passed_on = flags.without(Flags::BACK_TO_SENDER);
            let sender = if flags.intersects(Flags::BACK_TO_SENDER) {
                None
            } else {
                Some(id)
            };
            self.forward_to_clients(
                sender,
                Overhead {
                    flags: passed_on,
                    value,
                },
                out,
            );
            let mut line = Vec::new();
            encode::overhead(&mut line, passed_on, value);
            let line = line.strip_suffix(b"\r\n").unwrap_or(&line);
            let parts = [line];
            let forwarded = Forwarded {
                scope: SignalScope::of_overhead(flags),
                ..Forwarded::plain(&parts)
            };
            self.forward_new_signal(id, &forwarded, now, out);
        }
        self.obey(flags, value, now);
    }

    /// An OVERHEAD line that comes through the tree; it has been passed on already.
    pub(in crate::broker) fn handle_forwarded_overhead<O: Carrier>(
        &mut self,
        overhead: Overhead<'_>,
        now: Now,
        out: &mut O,
    ) {
        if overhead.is_on()
            && overhead.flags.intersects(Flags::FORWARD)
            && !overhead
                .flags
                .intersects(NEVER_FORWARDED.with(Flags::DISCARD))
        {
            self.forward_to_clients(None, overhead, out);
            self.obey(overhead.flags, overhead.value, now);
        }
    }

    /// Links get it as a signal.
    fn forward_to_clients<O: Carrier>(
        &mut self,
        sender: Option<ConnectionId>,
        overhead: Overhead<'_>,
        out: &mut O,
    ) {
        empty(&mut self.payload);
        encode::overhead(&mut self.payload, overhead.flags, overhead.value);
        let receivers = self.sessions.clients().filter(|id| Some(*id) != sender);
        out.fan_out(receivers, &self.payload);
    }

    fn obey(&mut self, flags: Flags, value: &[u8], now: Now) {
        if flags.intersects(Flags::SHUTDOWN) {
            self.schedule_shutdown(value, now);
        }
        if flags.intersects(Flags::CLOSE_ALL) {
            self.dismissal
                .add(&mut self.sessions, CloseReason::ClosedAll, |_| true);
        }
    }

    /// OVERHEAD S: shut down in `value` seconds.
    fn schedule_shutdown(&mut self, value: &[u8], now: Now) {
        let is_short = value.len() <= MAX_SECONDS_LENGTH;
        let text = std::str::from_utf8(value).ok().filter(|_| is_short);
        let seconds = text.and_then(|text| text.trim().parse::<f64>().ok());
        if let Some(seconds) = seconds.filter(|seconds| *seconds > 0.0) {
            let seconds = seconds.min(CENTURY_S as f64);
            let delay_us = seconds * SECOND_US as f64;
            self.lifetime = Lifetime::Until(now.monotonic_us + delay_us as u64);
            if let Some(suppressed) = self.shutdown_log.admit(now.monotonic_us) {
                log::info!(
                    "shutting down in {seconds} s, as OVERHEAD S asks{}",
                    Suppressed(suppressed)
                );
            }
        }
    }
}
