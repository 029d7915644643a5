//! The status of a node as it is now, for all languages that show it: its figures, in the order of the catalogue, and its
//! lists.

mod rows;

use crate::broker::Broker;
use crate::broker::carrier::Carrier;
use crate::broker::close_reason::CloseReason;
use crate::broker::events::{HostFigures, Now};
use crate::broker::interclacks::Link;
use crate::broker::output::Output;
use crate::broker::persistence::Persistence;
use crate::broker::session::Session;
use crate::broker::statistics::catalogue::{self as of, Metric};
use crate::broker::statistics::{MAX_NAME, Turns, Verb};
use crate::limits::{SECOND_US, USERS_SHOWN};
use std::cmp::Reverse;
use std::fmt;

pub use rows::{Field, Row, client_row, link_rows, name_rows, slow_rows};

/// A value of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    Number(u64),
    /// A length of time or a moment in microseconds, to be shown in seconds.
    Us(u64),
}

/// Microseconds, shown in seconds.
pub struct Seconds(pub u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / SECOND_US, self.0 % SECOND_US)
    }
}

/// A receiver of the figures of a report.
pub trait Sink {
    /// A value of a figure, with the values of its labels. All values of one figure come one after the other.
    fn value(&mut self, metric: &'static Metric, labels: &[&str], value: Value);

    /// The value of a histogram.
    fn turns(&mut self, metric: &'static Metric, turns: &Turns);
}

/// Hands all figures to a sink. The time that it takes depends on the numbers of users and links alone.
pub fn report<O: Output>(broker: &Broker, now: Now, out: &O, sink: &mut impl Sink) {
    let host = out.host_figures();
    report_process(broker, &host, now, out, sink);
    report_connections(broker, &host, sink);
    report_requests(broker, &host, sink);
    report_cache(broker, sink);
    report_signals(broker, sink);
    report_links(broker, out, sink);
    if let Some(persistence) = &broker.persistence {
        report_journal(persistence, sink);
    }
    report_turns(broker, &host, sink);
}

fn number(metric: &'static Metric, value: u64, sink: &mut impl Sink) {
    sink.value(metric, &[], Value::Number(value));
}

fn report_process<O: Output>(
    broker: &Broker,
    host: &HostFigures,
    now: Now,
    out: &O,
    sink: &mut impl Sink,
) {
    let version = env!("CARGO_PKG_VERSION");
    sink.value(&of::BUILD, &[version], Value::Number(1));
    sink.value(&of::UPTIME, &[], Value::Us(now.monotonic_us));
    for (mode, us) in [("user", host.user_us), ("system", host.system_us)] {
        sink.value(&of::PROCESSOR, &[mode], Value::Us(us));
    }
    for (part, bytes) in [
        ("cache", broker.cache.bytes()),
        ("connections", host.held + broker.sessions.memory()),
        ("journal", out.unsaved()),
    ] {
        sink.value(&of::MEMORY, &[part], Value::Number(bytes as u64));
    }
    number(&of::RESIDENT, host.resident as u64, sink);
}

fn report_connections(broker: &Broker, host: &HostFigures, sink: &mut impl Sink) {
    for (language, count) in broker.sessions.by_language().iter() {
        sink.value(&of::CLIENTS, &[language], Value::Number(count));
    }
    number(&of::CLIENTS_MAX, broker.settings.max_clients as u64, sink);
    report_users(broker, sink);
    number(&of::MONITORS, broker.monitors.len() as u64, sink);
    for (language, count) in broker.statistics.connections.iter() {
        sink.value(&of::CONNECTIONS, &[language], Value::Number(count));
    }
    for &reason in CloseReason::ALL {
        let count = broker.statistics.closed(reason);
        sink.value(&of::CLOSES, &[reason.word()], Value::Number(count));
    }
    number(&of::ACCEPT_RESTS, host.accept_rests, sink);
}

/// The users with most connections, in the order of their names, and the sum of the others: there may be as many users as
/// connections.
fn report_users(broker: &Broker, sink: &mut impl Sink) {
    let mut users: Vec<(&str, usize)> = broker.sessions.by_user().collect();
    let mut others = 0;
    if users.len() > USERS_SHOWN {
        users.select_nth_unstable_by_key(USERS_SHOWN, |(_, count)| Reverse(*count));
        others = users[USERS_SHOWN..].iter().map(|(_, count)| count).sum();
        users.truncate(USERS_SHOWN);
    }
    let mut labels: Vec<(&str, usize)> = users
        .into_iter()
        .map(|(user, count)| (start_of_name(user), count))
        .collect();
    if others > 0 {
        labels.push(("(others)", others));
    }
    // Two names may begin alike, and a user may be called as the others are. Monitoring accepts each label once.
    labels.sort_unstable();
    labels.dedup_by(|later, first| {
        let is_same = later.0 == first.0;
        first.1 += if is_same { later.1 } else { 0 };
        is_same
    });
    for (label, count) in labels {
        sink.value(&of::USERS, &[label], Value::Number(count as u64));
    }
}

/// The part of a user's name that is shown.
fn start_of_name(user: &str) -> &str {
    let ends = (0..=user.len().min(MAX_NAME)).rev();
    let mut ends = ends.filter(|end| user.is_char_boundary(*end));
    &user[..ends.next().unwrap_or(0)]
}

fn report_requests(broker: &Broker, host: &HostFigures, sink: &mut impl Sink) {
    let statistics = &broker.statistics;
    for &verb in Verb::ALL {
        let (language, word) = verb.words();
        let count = Value::Number(statistics.requests(verb));
        sink.value(&of::REQUESTS, &[language.word(), word], count);
    }
    for (reason, count) in [
        ("permission_denied", statistics.permission_denied),
        ("unknown_command", statistics.unknown_commands),
        ("entry_too_large", statistics.too_large),
        ("login_failed", statistics.wrong_logins),
    ] {
        sink.value(&of::REFUSALS, &[reason], Value::Number(count));
    }
    number(&of::RECEIVED, host.bytes_in, sink);
    number(&of::SENT, host.bytes_out, sink);
}

fn report_cache(broker: &Broker, sink: &mut impl Sink) {
    let (cache, statistics) = (&broker.cache, &broker.statistics);
    number(&of::ENTRIES, cache.live() as u64, sink);
    number(&of::TOMBSTONES, cache.tombstones() as u64, sink);
    let limit = broker.settings.cache_max.unwrap_or(0);
    number(&of::CACHE_MAX, limit as u64, sink);
    number(&of::HITS, statistics.look_ups - statistics.misses, sink);
    number(&of::MISSES, statistics.misses, sink);
    number(&of::WRITES, statistics.writes, sink);
    number(&of::EVICTIONS, statistics.evicted, sink);
    number(&of::EXPIRIES, statistics.expired - statistics.deleted, sink);
    number(&of::FORGOTTEN, statistics.deleted, sink);
    number(&of::STALE, statistics.stale, sink);
}

fn report_signals(broker: &Broker, sink: &mut impl Sink) {
    let statistics = &broker.statistics;
    number(&of::NAMES, broker.listeners.names() as u64, sink);
    let subscriptions = broker.listeners.subscriptions() + broker.subjects.subscriptions();
    number(&of::SUBSCRIPTIONS, subscriptions as u64, sink);
    for (language, count) in statistics.signals.iter() {
        sink.value(&of::SIGNALS, &[language], Value::Number(count));
    }
    for (language, count) in statistics.deliveries.iter() {
        sink.value(&of::DELIVERIES, &[language], Value::Number(count));
    }
    number(&of::LINK_SIGNALS, statistics.link_signals, sink);
}

fn report_links<O: Carrier>(broker: &Broker, out: &O, sink: &mut impl Sink) {
    let links = &broker.tree.links;
    let slaves = links.slaves().count();
    let masters = links.up().count() - slaves;
    for (role, count) in [("master", masters), ("slave", slaves)] {
        sink.value(&of::LINKS, &[role], Value::Number(count as u64));
    }
    if broker.uplink.is_some() {
        number(&of::UPLINK, u64::from(masters > 0), sink);
    }
    number(&of::LINK_LINES, broker.statistics.link_lines, sink);
    let named = || {
        let links = links.up();
        links.filter_map(|(id, link)| Some((label_of(broker.sessions.get(id)?, link), id, link)))
    };
    for (label, id, link) in named() {
        let queued = out.traffic(id).queued + link.backlog();
        sink.value(&of::LINK_QUEUED, &[&label], Value::Number(queued as u64));
    }
    for (label, _, link) in named() {
        let changed = Value::Number(link.changed_names() as u64);
        sink.value(&of::LINK_CHANGED, &[&label], changed);
    }
    for (label, _, link) in named().filter(|(_, _, link)| link.round_trip_us() > 0) {
        let round_trip = Value::Us(link.round_trip_us());
        sink.value(&of::LINK_ROUND_TRIP, &[&label], round_trip);
    }
}

/// A label of a link that is the same after a reconnection, as far as the peer says who it is.
fn label_of(session: &Session, link: &Link) -> String {
    match (link.role_word(), link.node_text()) {
        ("master", _) => "master".to_owned(),
        (_, node) if node.is_empty() => session.cid.to_string(),
        (role, node) => format!("{role} {node}"),
    }
}

fn report_journal(persistence: &Persistence, sink: &mut impl Sink) {
    let figures = persistence.figures();
    number(&of::JOURNAL_SAVING, u64::from(figures.is_saving), sink);
    number(&of::JOURNAL_RECORDS, figures.recorded, sink);
    number(
        &of::JOURNAL_LAG,
        figures.recorded.saturating_sub(figures.saved),
        sink,
    );
    number(&of::JOURNAL_LENGTH, figures.length, sink);
    number(&of::JOURNAL_REWRITES, figures.rewritten, sink);
    let at_us = figures.rewritten_us.unwrap_or(0);
    sink.value(
        &of::JOURNAL_REWRITTEN,
        &[],
        Value::Us(at_us - at_us % SECOND_US),
    );
    number(&of::JOURNAL_FAILURES, figures.failures, sink);
    if let Some(error) = figures.last_error {
        sink.value(&of::JOURNAL_ERROR, &[error], Value::Number(1));
    }
}

fn report_turns(broker: &Broker, host: &HostFigures, sink: &mut impl Sink) {
    let longest = &host.turns.longest;
    sink.turns(&of::TURNS, &host.turns);
    sink.value(&of::LONGEST_TURN, &[], Value::Us(longest.us));
    number(&of::LONGEST_TURN_WORK, longest.work as u64, sink);
    number(&of::YIELDS, host.yields, sink);
    number(&of::SLOW, broker.statistics.slow.count(), sink);
}
