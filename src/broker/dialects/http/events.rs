//! The stream of events that feeds the live page: once a second the status of the server, to all who watch. It is made once
//! for all of them, and not at all while nobody takes any.

use super::document::document;
use super::{Exchange, Page, may_keep_place};
use crate::broker::Broker;
use crate::broker::close_reason::CloseReason;
use crate::broker::events::{ConnectionId, Flow, Now};
use crate::broker::output::Output;
use crate::broker::session::{LastPing, Sessions};
use crate::limits::{SECOND_US, WORK_PER_BYTE_OF_PAGE, WORK_PER_SAMPLE};
use crate::protocol::http::{Method, Request, Status, answer};

/// The path of the stream.
pub const PATH: &str = "/events";

const INTERVAL_US: u64 = SECOND_US;
/// Connections that watch at most: each is sent up to some ten kilobytes a second.
const MAX_WATCHERS: usize = 32;
/// Clients that an event shows at most.
const MAX_CLIENTS_SHOWN: usize = 100;

/// The connections that watch.
#[derive(Debug, Default)]
pub struct Watchers {
    /// Those that are closed meanwhile are dropped when the next one comes, or with the next event.
    all: Vec<ConnectionId>,
    /// When the next event is due (monotonic).
    due_us: u64,
}

impl Watchers {
    pub fn contains(&self, id: ConnectionId) -> bool {
        self.all.contains(&id)
    }

    /// Adds a connection, unless there are as many as there may be. The first one gets an event at once.
    fn add(&mut self, id: ConnectionId, sessions: &Sessions, now: Now) -> bool {
        self.drop_closed(sessions);
        if self.all.len() >= MAX_WATCHERS {
            return false;
        }
        if self.all.is_empty() {
            self.due_us = now.monotonic_us;
        }
        self.all.push(id);
        true
    }

    fn drop_closed(&mut self, sessions: &Sessions) {
        self.all.retain(|id| {
            let session = sessions.get(*id);
            session.is_some_and(|session| session.closing.is_none())
        });
    }
}

/// The moment at which [`handle_deadline`] is to be called next (monotonic).
pub fn deadline(broker: &Broker) -> Option<u64> {
    let watchers = &broker.http_watchers;
    (!watchers.all.is_empty()).then_some(watchers.due_us)
}

/// Sends an event when its time has come. Connections that have not taken the last one yet get none.
pub fn handle_deadline<O: Output>(broker: &mut Broker, now: Now, out: &mut O) {
    let now_us = now.monotonic_us;
    if deadline(broker).is_none_or(|due_us| due_us > now_us) {
        return;
    }
    let Broker {
        http_watchers: watchers,
        sessions,
        settings,
        ..
    } = broker;
    watchers.drop_closed(sessions);
    // A watcher that takes events is not to be taken for idle between two of them.
    let interval_us = INTERVAL_US.min(settings.ping_timeout_us / 2);
    watchers.due_us = now_us + interval_us;
    let ready = watchers.all.iter().copied();
    let ready: Vec<_> = ready.filter(|id| out.traffic(*id).queued == 0).collect();
    if ready.is_empty() {
        return;
    }
    let place = broker.random.next();
    let document = document(broker, place, MAX_CLIENTS_SHOWN, now, out);
    let event = format!("data: {document}\n\n");
    out.add_work(WORK_PER_SAMPLE + WORK_PER_BYTE_OF_PAGE * event.len());
    for id in ready {
        let mut is_taken = false;
        out.append_if_drained(id, |to| {
            to.extend_from_slice(event.as_bytes());
            is_taken = true;
        });
        // Whoever takes events is there; others end as those do who send no requests.
        if is_taken && let Some(session) = broker.sessions.get_mut(id) {
            let stopped_us = out.traffic(id).stopped_us;
            session.last_ping = Some(LastPing::new(now_us, stopped_us));
        }
    }
}

impl<O: Output> Exchange<'_, O> {
    /// Begins the stream. It is the last answer on its connection.
    pub(super) fn watch(&mut self, request: &Request<'_>) -> Flow {
        if request.method == Method::Head {
            self.out.append(self.id, answer::events_head);
            let reason = CloseReason::Answered;
            self.broker.close(self.id, reason, self.now, self.out);
            return Flow::Next;
        }
        let Broker {
            http_watchers: watchers,
            sessions,
            ..
        } = &mut *self.broker;
        let session = sessions.get(self.id);
        let may_stay = session.is_some_and(|session| may_keep_place(session, request));
        if may_stay && watchers.add(self.id, sessions, self.now) {
            self.out.append(self.id, |to| {
                answer::events_head(to);
                to.extend_from_slice(answer::EVENTS_START);
            });
            return Flow::Next;
        }
        let text = "as many connections watch as may do so";
        self.answer(request, &Page::text(Status::ServiceUnavailable, text));
        Flow::Next
    }
}
