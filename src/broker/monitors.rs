//! MONITOR: the clients that see all traffic, and the lines that they are shown.

use super::carrier::Carrier;
use super::cid::Cid;
use super::events::ConnectionId;
use super::session::{Session, Sessions};
use super::{Broker, empty};
use crate::protocol::shared::{Lines, SharedBytes};
use crate::protocol::shown::fits_in_line;
use crate::protocol::{encode, token};
use std::fmt;

/// The monitors, and how they are shown something.
#[derive(Default)]
pub struct Monitors {
    ids: Vec<ConnectionId>,
    /// The line that is being shown; kept for its memory.
    line: Vec<u8>,
}

impl Monitors {
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// In no order.
    pub fn ids(&self) -> &[ConnectionId] {
        &self.ids
    }

    /// Adds a session, unless it is a monitor already.
    pub fn add(&mut self, session: &mut Session) {
        if !std::mem::replace(&mut session.is_monitor, true) {
            self.ids.push(session.id);
        }
    }

    /// Removes a session, if it is a monitor.
    pub fn remove(&mut self, id: ConnectionId, sessions: &mut Sessions) {
        if let Some(session) = sessions.get_mut(id)
            && std::mem::take(&mut session.is_monitor)
        {
            self.ids.retain(|monitor| *monitor != id);
        }
    }

    /// Reports whether monitors get a line that is no login, but may be a mistyped one.
    pub fn may_see(&self, line: &[u8]) -> bool {
        !self.is_empty() && !token::may_be_login(line)
    }

    /// Shows a line of the connection of that name. `source` is the long line that it is, if it is one.
    fn show<O: Carrier>(
        &mut self,
        cid: Cid,
        line: &[u8],
        source: Option<&SharedBytes>,
        out: &mut O,
    ) {
        let cid = cid.to_string();
        let parts = [b"DEBUG ", cid.as_bytes(), b"=", line];
        if let Some(source) = source
            && let Some(lines) = Lines::sharing(&parts, source)
        {
            for &monitor in &self.ids {
                out.append_lines(monitor, &lines);
            }
        } else {
            self.append(out, |to| encode::line(to, &parts));
        }
    }

    /// Shows something that has happened.
    pub fn report<O: Carrier>(&mut self, event: fmt::Arguments<'_>, out: &mut O) {
        if !self.is_empty() {
            self.append(out, |to| encode::text(to, format_args!("DEBUG {event}")));
        }
    }

    /// Shows something that has happened to an entry.
    pub fn report_entry<O: Carrier>(&mut self, event: &[u8], name: &[u8], out: &mut O) {
        if !self.is_empty() && fits_in_line(name) {
            self.append(out, |to| {
                encode::line(to, &[b"DEBUG SERVERCACHE=", event, b"=", name])
            });
        }
    }

    fn append<O: Carrier>(&mut self, out: &mut O, encode: impl FnOnce(&mut Vec<u8>)) {
        empty(&mut self.line);
        encode(&mut self.line);
        out.fan_out(self.ids.iter().copied(), &self.line);
    }
}

impl Broker {
    /// Shows the monitors a line that was processed.
    pub(super) fn mirror<O: Carrier>(&mut self, id: ConnectionId, line: &[u8], out: &mut O) {
        if !self.monitors.is_empty()
            && let Some(session) = self.sessions.get(id)
        {
            self.monitors
                .show(session.cid, line, self.long_line.as_ref(), out);
        }
    }
}
