//! HTTP for browsers and monitoring: pages that show the state of the server, and change nothing.
//!
//! Each request carries its login, so that a connection without one is a stranger's, however much it has asked. Only users
//! with the permission manage see more than that the server is well. The live page is HTML, and nothing else that is shown is.

mod document;
mod events;
mod health;
mod hosts;
mod login;
mod metrics;
mod page;
mod verb;

use super::{Notice, Plan, Receivers};
use crate::broker::Broker;
use crate::broker::close_reason::CloseReason;
use crate::broker::entrance::EntranceAddress;
use crate::broker::events::{ConnectionId, Flow, Now};
use crate::broker::output::Output;
use crate::broker::session::{LastPing, Session};
use crate::limits::{KIB, WORK_PER_BYTE_OF_PAGE};
use crate::protocol::Language;
use crate::protocol::http::{Answer, Fault, Frame, Method, Policy, Request, Status, answer};
use document::{MAX_CLIENTS_SHOWN, document};
use login::Access;
use page::File;
use std::borrow::Cow;

pub use events::{Watchers, deadline, handle_deadline};
pub use verb::verb_of;

/// The text in CLIENTLIST by which people know these connections.
const CLIENT_INFO: &[u8] = b"http";

/// The most bytes of answers that wait for a client whose further requests are handled.
const MAX_QUEUED: usize = 64 * KIB;
/// The most bytes of answers that wait for a client without a login whose connection stays: those to a few requests.
const MAX_QUEUED_OF_STRANGER: usize = 4 * KIB;

/// The settings of listeners for HTTP clients.
#[derive(Debug, Clone, Default)]
pub struct HttpSettings {
    /// The user that requests without a login act as; `None`: each needs one.
    pub user: Option<String>,
    pub addresses: Vec<EntranceAddress>,
    /// The names and addresses of hosts that the operator has given to the listeners.
    pub hosts: Vec<String>,
}

/// Appends a refusal as an answer. Where nothing was asked and nothing is wrong, a connection is closed without a word:
/// clients take that for the end of an idle one, and ask again on another.
pub fn encode_notice(notice: Notice<'_>, to: &mut Vec<u8>) {
    let (status, text) = match notice {
        Notice::Refused(CloseReason::ClientLimit) => (
            Status::ServiceUnavailable,
            "there are as many connections as there may be",
        ),
        Notice::Refused(CloseReason::BuffersLimit) => (
            Status::ServiceUnavailable,
            "all connections together need too much memory",
        ),
        Notice::Refused(CloseReason::TlsToPlain) => {
            (Status::BadRequest, "this port is for plain HTTP, not TLS")
        }
        _ => return,
    };
    answer::refusal(to, status, text);
}

/// The effects that a request of a session will have.
pub fn plan<'a>(session: &Session, frame: &Frame<'a>) -> Plan<'a> {
    Plan {
        receivers: Receivers::Nobody,
        is_monitored: frame.request.is_ok() && session.user.is_some(),
        may_write: false,
    }
}

/// Reports whether a session speaks this language.
pub fn is_spoken(session: &Session) -> bool {
    session.language == Language::Http
}

/// An HTTP client has connected.
pub fn handle_connected(broker: &mut Broker, id: ConnectionId) {
    broker.sessions.identify(id, CLIENT_INFO);
}

/// A frame of a client.
pub fn handle_frame<O: Output>(
    broker: &mut Broker,
    id: ConnectionId,
    frame: &Frame<'_>,
    now: Now,
    out: &mut O,
) -> Flow {
    let stopped_us = out.traffic(id).stopped_us;
    let session = broker.sessions.get_mut(id);
    let Some(session) = session.filter(|session| session.is_served()) else {
        return Flow::Stop;
    };
    session.has_spoken = true;
    if broker.http_watchers.contains(id) {
        // No answer could follow the stream.
        broker.close(id, CloseReason::ProtocolError, now, out);
        return Flow::Stop;
    }
    session.last_ping = Some(LastPing::new(now.monotonic_us, stopped_us));
    let mut exchange = Exchange {
        broker,
        id,
        now,
        out,
    };
    match &frame.request {
        Ok(request) => match exchange.handle(request) {
            Flow::Next => exchange.wait_for_room(),
            stopped => stopped,
        },
        Err(fault) => {
            exchange.fail(*fault);
            Flow::Next
        }
    }
}

/// The content of an answer.
struct Page {
    status: Status,
    media_type: &'static str,
    policy: Policy,
    body: Cow<'static, str>,
}

impl Page {
    /// A page of text. Its last line gets an end.
    fn text(status: Status, text: &str) -> Page {
        Page {
            status,
            media_type: answer::TEXT,
            policy: Policy::Nothing,
            body: Cow::Owned(format!("{text}\n")),
        }
    }
}

/// The things that there are to see.
enum Resource {
    Health,
    Metrics,
    Document,
    Events,
    File(&'static File),
}

impl Resource {
    fn at(path: &str) -> Option<Resource> {
        match path {
            health::PATH => Some(Resource::Health),
            metrics::PATH => Some(Resource::Metrics),
            document::PATH => Some(Resource::Document),
            events::PATH => Some(Resource::Events),
            _ => File::at(path).map(Resource::File),
        }
    }

    /// Reports whether everybody may see it.
    fn is_open(&self) -> bool {
        matches!(self, Resource::Health)
    }
}

/// A request that is being handled.
struct Exchange<'a, O> {
    broker: &'a mut Broker,
    id: ConnectionId,
    now: Now,
    out: &'a mut O,
}

impl<O: Output> Exchange<'_, O> {
    fn handle(&mut self, request: &Request<'_>) -> Flow {
        if request.method == Method::Other {
            let page = Page::text(Status::MethodNotAllowed, "there are GET and HEAD");
            self.answer(request, &page);
            return Flow::Next;
        }
        if request.has_body {
            let page = Page::text(Status::ContentTooLarge, "no request has a body");
            self.answer(request, &page);
            return Flow::Next;
        }
        let Some(resource) = Resource::at(request.path) else {
            self.answer(
                request,
                &Page::text(Status::NotFound, "there is no such page"),
            );
            return Flow::Next;
        };
        if !resource.is_open() {
            match self.admit(request) {
                Access::Granted => {}
                Access::Denied(page) => {
                    self.answer(request, &page);
                    return Flow::Next;
                }
                Access::Later => return Flow::StopBefore,
                Access::Refused => return Flow::Next,
            }
        }
        let page = match resource {
            Resource::Health => health::page(self.broker),
            Resource::Metrics => metrics::page(self.broker, request.accept, self.now, self.out),
            Resource::Document => self.document(),
            Resource::File(file) => file.page(),
            Resource::Events => return self.watch(request),
        };
        if let Cow::Owned(body) = &page.body {
            self.out.add_work(WORK_PER_BYTE_OF_PAGE * body.len());
        }
        self.answer(request, &page);
        Flow::Next
    }

    fn document(&mut self) -> Page {
        let place = self.broker.random.next();
        let document = document(self.broker, place, MAX_CLIENTS_SHOWN, self.now, self.out);
        Page {
            status: Status::Ok,
            media_type: answer::JSON,
            policy: Policy::Nothing,
            body: Cow::Owned(format!("{document}\n")),
        }
    }

    /// Puts off further requests of a client that does not take the answers to those that it has sent.
    fn wait_for_room(&mut self) -> Flow {
        if self.out.traffic(self.id).queued < MAX_QUEUED {
            return Flow::Next;
        }
        let session = self.broker.sessions.get_mut(self.id);
        let Some(session) = session.filter(|session| session.closing.is_none()) else {
            return Flow::Stop;
        };
        session.resumes_with_room = true;
        self.out.request_writable(self.id);
        Flow::Stop
    }

    /// Answers, and closes the connection if it does not stay.
    fn answer(&mut self, request: &Request<'_>, page: &Page) {
        let end = self.end_after(request);
        let answer = Answer {
            status: page.status,
            media_type: page.media_type,
            policy: page.policy,
            body: page.body.as_bytes(),
            is_head: request.method == Method::Head,
            closes: end.is_some(),
        };
        self.out.append(self.id, |to| answer.encode(to));
        if let Some(reason) = end {
            self.broker.close(self.id, reason, self.now, self.out);
        }
    }

    /// The reason to close the connection behind the answer to a request, if there is one.
    fn end_after(&self, request: &Request<'_>) -> Option<CloseReason> {
        if request.has_body {
            return Some(CloseReason::PayloadTooLarge);
        }
        if request.wants_close {
            return Some(CloseReason::Quit);
        }
        let session = self.broker.sessions.get(self.id)?;
        let may_stay = match &session.user {
            // Whoever only looks at the health takes no place for longer. Others may log in with the next request.
            None => {
                request.path != health::PATH
                    && self.out.traffic(self.id).queued < MAX_QUEUED_OF_STRANGER
            }
            Some(_) => may_keep_place(session, request),
        };
        (!may_stay).then_some(CloseReason::Answered)
    }

    /// Answers a head with a fault. The next one can't be found behind it.
    fn fail(&mut self, fault: Fault) {
        let (status, text, reason) = match fault {
            Fault::Malformed => (
                Status::BadRequest,
                "that is no request of HTTP in the right form",
                CloseReason::ProtocolError,
            ),
            Fault::Version => (
                Status::VersionNotSupported,
                "there are HTTP/1.0 and HTTP/1.1",
                CloseReason::ProtocolError,
            ),
            Fault::TooLong => (
                Status::HeadTooLarge,
                "the head of the request is too long",
                CloseReason::LineTooLong,
            ),
        };
        self.out
            .append(self.id, |to| answer::refusal(to, status, text));
        self.broker.close(self.id, reason, self.now, self.out);
    }
}

/// Reports whether a connection that has logged in may take its place for longer: one that is kept for managers is for those
/// who prove that they are.
fn may_keep_place(session: &Session, request: &Request<'_>) -> bool {
    !session.is_surplus || request.authorization.is_some()
}
