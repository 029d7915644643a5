//! The language of memcached's clients: its text and meta protocols.
//!
//! A command's form is checked first, then the permission, then everything else. A refused command has no effect.

mod administration;
mod binary_protocol;
mod frames;
mod login;
mod permissions;

use super::{Notice, Plan, Receivers};
use crate::broker::Broker;
use crate::broker::close_reason::CloseReason;
use crate::broker::events::{ConnectionId, Flow, Now};
use crate::broker::output::Output;
use crate::broker::session::{Session, Sessions};
use crate::protocol::memcached::request::Reply;
use crate::protocol::memcached::{Error, Frame, Request};
use crate::protocol::{self, Language, encode};
use permissions::{is_write, may};

pub use binary_protocol::BinaryPeers;
pub use frames::handle_long_frame;
pub use login::{handle_connected, handle_login};

/// Appends what a server says unasked: nothing but why a connection is refused.
pub fn encode_notice(notice: Notice<'_>, to: &mut Vec<u8>) {
    if let Notice::Refused(CloseReason::ClientLimit) = notice {
        encode::line(to, &[b"ERROR Too many open connections"]);
    }
}

/// The effects that a command of a session will have.
pub fn plan<'a>(session: &Session, request: &Request<'a>) -> Plan<'a> {
    let may_write = is_write(request) && may(session, request);
    Plan {
        receivers: match may_write {
            true => Receivers::Links,
            false => Receivers::Nobody,
        },
        is_monitored: true,
        may_write,
    }
}

/// The connections of memcached clients.
pub fn connections(sessions: &Sessions) -> impl Iterator<Item = &Session> {
    let speaks = |language| matches!(language, Language::Memcached | Language::MemcachedLogin);
    sessions
        .iter()
        .filter(move |session| speaks(session.language))
}

/// A frame of a client that is logged in.
pub fn handle_frame<O: Output>(
    broker: &mut Broker,
    id: ConnectionId,
    frame: &Frame<'_>,
    now: Now,
    out: &mut O,
) -> Flow {
    broker.statistics.lines += 1;
    let session = broker.sessions.get(id);
    let Some(session) = session.filter(|session| session.is_served()) else {
        return Flow::Stop;
    };
    let is_permitted = may(session, &frame.request);
    let request = protocol::Request::Memcached(*frame);
    if (broker.lock.is_some() && broker.waits_for_lock(id, &request))
        || (broker.persistence.is_some() && broker.waits_for_disk(id, &request, now))
    {
        return Flow::StopBefore;
    }
    let mut exchange = Exchange {
        broker,
        id,
        now,
        out,
    };
    match is_permitted {
        true => exchange.execute(&frame.request),
        false => exchange.deny(frame),
    }
    exchange.mirror(frame.line());
    Flow::Next
}

/// A command that is being answered.
struct Exchange<'a, O> {
    broker: &'a mut Broker,
    id: ConnectionId,
    now: Now,
    out: &'a mut O,
}

impl<O: Output> Exchange<'_, O> {
    /// A permitted command.
    fn execute(&mut self, request: &Request<'_>) {
        match *request {
            Request::Wrong(error, reply) => self.reply(reply, error.text()),
            Request::MetaNoop => self.answer("MN"),
            Request::Quit => self.close(CloseReason::Quit),
            Request::Http => self.close(CloseReason::HttpRequest),
            Request::Version => self.answer(administration::VERSION),
            Request::Verbosity(reply) | Request::Tune(reply) => self.reply(reply, "OK"),
            _ => self.answer(Error::NoSuchCommand.text()),
        }
    }

    fn close(&mut self, reason: CloseReason) {
        self.broker.close(self.id, reason, self.now, self.out);
    }

    /// Appends a line.
    fn answer(&mut self, line: &str) {
        self.append(|to| encode::line(to, &[line.as_bytes()]));
    }

    /// Appends a line, if the client wants an answer.
    fn reply(&mut self, reply: Reply, line: &str) {
        if reply == Reply::Wanted {
            self.answer(line);
        }
    }

    fn append(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        self.out.append(self.id, encode);
    }

    /// Shows the monitors a command line, without its CRs: it is a line of theirs.
    fn mirror(&mut self, line: &[u8]) {
        if self.broker.monitors.is_empty() {
            return;
        }
        let mut shown = Vec::new();
        Language::Clacks.assemble(line, &mut shown);
        self.broker.mirror(self.id, &shown, self.out);
    }
}
