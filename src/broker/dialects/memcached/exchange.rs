//! A command that is being answered: how its parts read the clock and append answers.

use crate::broker::Broker;
use crate::broker::cache::Effect;
use crate::broker::close_reason::CloseReason;
use crate::broker::events::{ConnectionId, Now};
use crate::broker::interclacks::LegacyForm;
use crate::broker::operations::By;
use crate::broker::output::Output;
use crate::broker::users::Permissions;
use crate::limits::SECOND_US;
use crate::protocol::memcached::request::Reply;
use crate::protocol::memcached::{Error, Expiry};
use crate::protocol::shared::SharedBytes;
use crate::protocol::{Language, encode};

/// A command that is being answered.
pub struct Exchange<'a, O> {
    pub broker: &'a mut Broker,
    pub id: ConnectionId,
    pub now: Now,
    pub out: &'a mut O,
}

impl<O: Output> Exchange<'_, O> {
    /// The author of writes. Net::Clacks servers are sent what a write has made.
    pub fn by(&self) -> By<'static> {
        By {
            connection: self.id,
            form: LegacyForm::Effect(&Effect::Register),
        }
    }

    /// The tree's time, in microseconds.
    pub fn now_us(&self) -> u64 {
        self.broker.tree.now_us(self.now)
    }

    /// The moment that an exptime stands for; `None` is never.
    pub fn moment(&self, expiry: Expiry) -> Option<u64> {
        expiry.moment_us(self.now_us())
    }

    pub fn may_write(&self) -> bool {
        let session = self.broker.sessions.get(self.id);
        let user = session.and_then(|session| session.user.as_ref());
        user.is_some_and(|user| user.permissions.contains(Permissions::WRITE))
    }

    pub fn close(&mut self, reason: CloseReason) {
        self.broker.close(self.id, reason, self.now, self.out);
    }

    /// Appends a line.
    pub fn answer(&mut self, line: &str) {
        self.append(|to| encode::line(to, &[line.as_bytes()]));
    }

    /// Appends a line, if the client wants an answer.
    pub fn reply(&mut self, reply: Reply, line: &str) {
        if reply == Reply::Wanted {
            self.answer(line);
        }
    }

    pub fn fail(&mut self, error: Error) {
        self.answer(error.text());
    }

    pub fn append(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        let mut length = 0;
        self.out.append(self.id, |to| {
            let before = to.len();
            encode(to);
            length = to.len() - before;
        });
        self.broker.memcached.counters.bytes_written += length as u64;
    }

    /// Shows the monitors a command line, without its CRs: it is a line of theirs.
    pub fn mirror(&mut self, line: &[u8]) {
        if self.broker.monitors.is_empty() {
            return;
        }
        let mut shown = Vec::new();
        Language::Clacks.assemble(line, &mut shown);
        self.broker.mirror(self.id, &shown, self.out);
    }
}

/// Appends a line and the value behind it. A long one that is a part of `text` is shared instead of copied. Returns the
/// number of bytes.
pub fn append_value<O: Output>(
    out: &mut O,
    id: ConnectionId,
    line: impl FnOnce(&mut Vec<u8>),
    value: &[u8],
    text: Option<&SharedBytes>,
) -> usize {
    let mut length = value.len() + 2;
    match text {
        None => out.append(id, |to| {
            let before = to.len();
            line(to);
            length += to.len() - before;
            encode::line(to, &[value]);
        }),
        Some(text) => {
            let mut start = Vec::new();
            line(&mut start);
            length += start.len();
            out.append_line(id, &[&start, value], Some(text));
        }
    }
    length
}

/// The time until a moment in seconds, rounded up.
pub fn seconds_until(moment_us: u64, now_us: u64) -> u64 {
    moment_us.saturating_sub(now_us).div_ceil(SECOND_US)
}

/// The time since a moment in seconds, rounded down.
pub fn seconds_since(moment_us: u64, now_us: u64) -> u64 {
    now_us.saturating_sub(moment_us) / SECOND_US
}
