//! The language of memcached's clients: its text and meta protocols.
//!
//! A command's form is checked first, then the permission, then everything else. A refused command has no effect.

mod administration;
mod binary_protocol;
mod counting;
mod dumps;
mod exchange;
mod frames;
mod login;
mod long_answers;
mod meta;
mod meta_writes;
mod permissions;
mod retrieval;
mod settings;
mod state;
mod statistics;
mod storage;
mod verb;
mod watch;

use super::{Notice, Plan, Receivers};
use crate::broker::Broker;
use crate::broker::close_reason::CloseReason;
use crate::broker::events::{ConnectionId, Flow, Now};
use crate::broker::output::Output;
use crate::broker::session::Session;
use crate::protocol::memcached::administration::Crawler;
use crate::protocol::memcached::words::Words;
use crate::protocol::memcached::{Frame, Request};
use crate::protocol::{self, Language, encode};
use exchange::Exchange;
use permissions::{is_write, may};
pub use verb::verb_of;

pub use administration::{deadline, handle_deadline};
pub use frames::handle_long_frame;
pub use login::{handle_connected, handle_login};
pub use long_answers::{LongAnswer, handle_writable};
pub use settings::MemcachedSettings;
pub use state::{Conversation, Memcached};
pub use watch::{handle_closed, note_dropped};

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

/// Reports whether a session speaks this language.
pub fn is_spoken(session: &Session) -> bool {
    matches!(
        session.language,
        Language::Memcached | Language::MemcachedLogin
    )
}

/// A frame of a client that is logged in.
pub fn handle_frame<O: Output>(
    broker: &mut Broker,
    id: ConnectionId,
    frame: &Frame<'_>,
    now: Now,
    out: &mut O,
) -> Flow {
    let session = broker.sessions.get_mut(id);
    let Some(session) = session.filter(|session| session.is_served()) else {
        return Flow::Stop;
    };
    let is_permitted = may(session, &frame.request);
    if let Some(conversation) = &mut session.memcached {
        conversation.last_command_us = now.monotonic_us;
        if conversation.is_watcher {
            return Flow::Next;
        }
    }
    let request = protocol::Request::Memcached(*frame);
    if (broker.lock.is_some() && broker.waits_for_lock(id, &request))
        || (broker.persistence.is_some() && broker.waits_for_disk(id, &request, now))
    {
        return Flow::StopBefore;
    }
    broker.memcached.counters.bytes_read += frame.bytes.len() as u64;
    let mut exchange = Exchange {
        broker,
        id,
        now,
        out,
    };
    let flow = match is_permitted {
        true => exchange.execute(frame),
        false => exchange.deny(frame),
    };
    if flow == Flow::Next && !may_be_login(exchange.broker, frame) {
        exchange.mirror(frame.line());
    }
    flow
}

/// Reports whether a line that is no command may be the second one of a mistyped login: a user's name, and more.
fn may_be_login(broker: &Broker, frame: &Frame<'_>) -> bool {
    let is_no_command = matches!(frame.request, Request::Wrong(..));
    let name = Words::new(frame.line()).next().map(str::from_utf8);
    is_no_command && matches!(name, Some(Ok(name)) if broker.users.get(name).is_some())
}

impl<O: Output> Exchange<'_, O> {
    /// A permitted command.
    fn execute(&mut self, frame: &Frame<'_>) -> Flow {
        match frame.request {
            Request::Wrong(error, reply) => {
                self.broker.statistics.unknown_commands += 1;
                self.reply(reply, error.text());
            }
            Request::Get(get) => return self.get(frame.line(), &get),
            Request::Store(store) => self.store(&store),
            Request::Delete(key, reply) => self.delete(key, reply),
            Request::Touch(key, expiry, reply) => self.touch(key, expiry, reply),
            Request::Count(count) => self.count(&count),
            Request::Meta(meta) => self.meta(&meta),
            Request::MetaStore(meta, block) => self.meta_store(&meta, block),
            Request::MetaDebug(debugged) => self.meta_debug(&debugged),
            Request::MetaNoop => self.answer("MN"),
            Request::Quit => self.close(CloseReason::Quit),
            Request::Http => self.close(CloseReason::HttpRequest),
            Request::Stats(page) => return self.statistics(page, frame.line()),
            Request::Crawler(Crawler::Dump { form, is_empty }, reply) => {
                return self.dump(form, is_empty, reply, frame.line());
            }
            Request::Version
            | Request::Verbosity(_)
            | Request::Tune(_)
            | Request::Crawler(Crawler::WithoutEffect, _)
            | Request::FlushAll(..)
            | Request::Watch(_)
            | Request::CacheMemLimit(..)
            | Request::Shutdown(_) => self.administrate(&frame.request),
        }
        Flow::Next
    }
}
