//! Signals of one name that stand one straight behind the other, handled at once.

use crate::broker::Broker;
use crate::broker::carrier::Carrier;
use crate::broker::dialects::observe_name;
use crate::broker::events::{Audience, ConnectionId};
use crate::broker::statistics::Verb;
use crate::broker::users::Permissions;
use crate::limits::{WORK_PER_DELIVERY_OF_BURST, WORK_PER_LINE_OF_RUN};
use crate::protocol::run::start_of_signal;
use crate::protocol::{Language, Request, Run, encode};

/// Handles the signals at the start of `input` that have the name of `request`, the signal right before them, at once: what
/// [`Broker::handle_request`] would decide for each of them is the same for all, and their lines go to the listeners as they
/// stand. Returns them; `None` where something sets one of them apart from the others, and no more than `work` is enough for.
/// `taken` is the length of the request with its end: a client that ends one line in LF alone does so with the next one.
#[inline(always)]
pub fn handle_run<'a, O: Carrier>(
    broker: &mut Broker,
    id: ConnectionId,
    (request, taken): (&Request<'_>, usize),
    input: &'a [u8],
    work: usize,
    out: &mut O,
) -> Option<Run<'a>> {
    let (start, name) = start_of_signal(request)?;
    if taken != request.length() + encode::END.len() || !input.starts_with(start) {
        return None;
    }
    handle_signals(broker, id, request, (start, name), input, work, out)
}

#[inline(never)]
fn handle_signals<'a, O: Carrier>(
    broker: &mut Broker,
    id: ConnectionId,
    request: &Request<'_>,
    (start, name): (&[u8], &[u8]),
    input: &'a [u8],
    work: usize,
    out: &mut O,
) -> Option<Run<'a>> {
    let (audience, listeners) = broker.listeners.of_again(name)?;
    if !is_plain_sender(broker, id) || has_other_receivers(broker) || out.has_full_receivers() {
        return None;
    }
    let work_of_each =
        WORK_PER_LINE_OF_RUN + request.length() + listeners.len() * WORK_PER_DELIVERY_OF_BURST;
    let run = Run::find(start, input, work / work_of_each)?;
    let audience = Audience {
        id: audience,
        listeners,
        sender: Some(id),
    };
    let receivers = out.deliver_run(&audience, &run);
    let count = run.count as u64;
    let statistics = &mut broker.statistics;
    statistics.count_requests(Verb::Set, count);
    statistics.signals.add(Language::Clacks, count);
    let deliveries = count * receivers as u64;
    statistics.deliveries.add(Language::Clacks, deliveries);
    let mut unobserved = run.count as u32;
    while broker.statistics.busiest.is_due_among(&mut unobserved) {
        observe_name(broker, id, request);
    }
    Some(run)
}

/// Reports whether a connection is one of a client that may send signals, and has to wait for nothing.
fn is_plain_sender(broker: &Broker, id: ConnectionId) -> bool {
    let session = broker.sessions.get(id);
    let session = session.filter(|session| session.is_served() && !session.is_link);
    let user = session.and_then(|session| session.user.as_ref());
    user.is_some_and(|user| user.permissions.contains(Permissions::WRITE))
        && broker.lock.is_none()
        && !broker.tree.has_backlog
}

/// Reports whether signals go to anybody but the listeners of their names.
fn has_other_receivers(broker: &Broker) -> bool {
    !broker.monitors.is_empty() || !broker.subjects.is_empty() || !broker.tree.links.is_empty()
}
