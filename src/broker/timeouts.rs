//! The actions when a session's deadline has come: keep-alive, logins that had to wait, and the end.

use super::Broker;
use super::carrier::Carrier;
use super::close_reason::CloseReason;
use super::dialects::{Notice, nats};
use super::events::{ConnectionId, Now};
use super::timers::{Due, due};
use crate::protocol::encode;
use std::cmp::Reverse;

/// Sessions looked at per call of `handle_deadline`.
const LOOKS_PER_SLICE: usize = 256;
/// To write to one takes as long as so many looks.
const LOOKS_PER_RETRY: usize = 32;

impl Broker {
    /// Keeps the appointments that are due, so many at a time.
    pub(super) fn keep_appointments<O: Carrier>(&mut self, now: Now, out: &mut O) {
        let mut looks = LOOKS_PER_SLICE;
        while looks > 0 {
            looks -= 1;
            if self
                .appointments
                .next(&self.sessions)
                .is_none_or(|at_us| at_us > now.monotonic_us)
            {
                return;
            }
            let Some(Reverse((_, id))) = self.appointments.0.pop() else {
                return;
            };
            if let Some(session) = self.sessions.get_mut(id) {
                session.wake_us = u64::MAX;
                let link = self.tree.links.get(id);
                let mut what = due(
                    session,
                    link,
                    &self.settings,
                    out.traffic(id),
                    now.monotonic_us,
                );
                if let Due::CloseStalled(_) = what {
                    out.retry_write(id);
                    looks = looks.saturating_sub(LOOKS_PER_RETRY);
                    what = due(
                        session,
                        link,
                        &self.settings,
                        out.traffic(id),
                        now.monotonic_us,
                    );
                }
                match what {
                    Due::Later(_) => {}
                    Due::Nop => {
                        let language = session.language;
                        out.append_if_drained(id, |to| Notice::KeepAlive.encode(language, to));
                    }
                    Due::Silence => nats::handle_silence(self, id, now, out),
                    Due::Login => self.resume_login(id, out),
                    Due::Ping => {
                        if let Some(link) = self.tree.links.get_mut(id) {
                            link.note_ping(now);
                        }
                        out.append(id, |to| encode::line(to, &[b"PING"]));
                    }
                    Due::Close(CloseReason::ClientLimit) => {
                        self.refuse(id, CloseReason::ClientLimit, now, out)
                    }
                    Due::Close(reason) | Due::CloseStalled(reason) => {
                        self.time_out(id, reason, now, out)
                    }
                }
            }
            self.appoint(id, now, out);
        }
    }

    pub(super) fn time_out<O: Carrier>(
        &mut self,
        id: ConnectionId,
        reason: CloseReason,
        now: Now,
        out: &mut O,
    ) {
        self.send_notice(id, Notice::TimedOut(reason), out);
        self.close(id, reason, now, out);
    }
}
