//! MONITOR: who sees everything, and what they are shown.

use super::output::{ConnectionId, Output};
use super::{Broker, empty};
use crate::protocol::shared::Lines;
use crate::protocol::{encode, token};
use std::fmt;

impl Broker {
    pub(super) fn start_monitoring(&mut self, id: ConnectionId) {
        let place = self.monitors.len() as u32;
        if let Some(session) = self.sessions.get_mut(id)
            && session.monitor.is_none()
        {
            session.monitor = Some(place);
            self.monitors.push(id);
        }
    }

    pub(super) fn stop_monitoring(&mut self, id: ConnectionId) {
        let Some(place) = self
            .sessions
            .get_mut(id)
            .and_then(|session| session.monitor.take())
        else {
            return;
        };
        self.monitors.swap_remove(place as usize);
        if let Some(&moved) = self.monitors.get(place as usize)
            && let Some(session) = self.sessions.get_mut(moved)
        {
            session.monitor = Some(place);
        }
    }

    /// Shows the monitors a line that was worked off.
    pub(super) fn mirror<O: Output>(&mut self, id: ConnectionId, line: &[u8], out: &mut O) {
        if self.monitors.is_empty() {
            return;
        }
        let Some(session) = self.sessions.get(id) else {
            return;
        };
        let cid = session.cid.to_string();
        let parts = [b"DEBUG ", cid.as_bytes(), b"=", line];
        if let Some(source) = &self.long_line
            && let Some(lines) = Lines::sharing(&parts, source)
        {
            for &monitor in &self.monitors {
                out.append_lines(monitor, &lines);
            }
            return;
        }
        empty(&mut self.payload);
        encode::line(&mut self.payload, &parts);
        out.fan_out(self.monitors.iter().copied(), &self.payload);
    }

    /// Reports whether monitors get a line that is no login, but may be a mistyped one.
    pub(super) fn is_shown(&self, line: &[u8]) -> bool {
        !self.monitors.is_empty() && !token::may_be_login(line)
    }

    /// Tells the monitors what happened.
    pub(super) fn debug<O: Output>(&mut self, event: fmt::Arguments<'_>, out: &mut O) {
        if self.monitors.is_empty() {
            return;
        }
        empty(&mut self.payload);
        encode::text(&mut self.payload, format_args!("DEBUG {event}"));
        out.fan_out(self.monitors.iter().copied(), &self.payload);
    }
}
