//! The lists of a status: clients, links, names and slow requests, a row each.

use crate::broker::Broker;
use crate::broker::carrier::Carrier;
use crate::broker::events::Now;
use crate::broker::interclacks::Link;
use crate::broker::session::Session;
use crate::broker::statistics::{HeavyRequest, LongestTurn, MAX_NAME};
use crate::limits::{LARGEST_ENTRIES_SHOWN, SECOND_US};
use std::borrow::Cow;

/// A field of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Field<'a> {
    Text(Cow<'a, [u8]>),
    Number(u64),
    /// Microseconds, to be shown in seconds.
    Us(u64),
    /// A share in percent.
    Percent(f64),
    Flag(bool),
}

/// The fields of a row with their names, in the order in which they are shown.
pub type Row<'a> = Vec<(&'static str, Field<'a>)>;

fn text<'a>(text: impl Into<Cow<'a, str>>) -> Field<'a> {
    Field::Text(match text.into() {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    })
}

/// The part of a name that is shown: names may be as long as lines.
fn start_of(name: &[u8]) -> &[u8] {
    &name[..name.len().min(MAX_NAME)]
}

/// The row of a client.
pub fn client_row<'a, O: Carrier>(session: &'a Session, now: Now, out: &O) -> Row<'a> {
    let traffic = out.traffic(session.id);
    let (host, port) = session.cid.host_and_port();
    let user = session.user.as_ref().map_or("", |user| &user.name);
    let since = |at_us: u64| Field::Us(now.monotonic_us.saturating_sub(at_us));
    let subscriptions = session.subscriptions.count() + session.subjects.count();
    vec![
        ("CID", text(session.cid.to_string())),
        ("USER", text(user)),
        ("LANGUAGE", text(session.language.word())),
        ("HOST", text(host)),
        ("PORT", text(port)),
        ("AGE", since(session.opened_us)),
        ("IDLE", since(traffic.last_input_us.max(session.opened_us))),
        ("SUBSCRIPTIONS", Field::Number(subscriptions as u64)),
        ("OUTBUFFER_LENGTH", Field::Number(traffic.queued as u64)),
        ("INBUFFER_LENGTH", Field::Number(traffic.unread as u64)),
        ("INTERCLACKS", Field::Flag(session.is_link)),
        ("MONITOR", Field::Flag(session.is_monitor)),
        ("CLIENTINFO", Field::Text(session.client_info().into())),
    ]
}

/// The rows of all links, also of those that are not up yet.
pub fn link_rows<'a, O: Carrier>(
    broker: &'a Broker,
    now: Now,
    out: &'a O,
) -> impl Iterator<Item = Row<'a>> {
    let named = |(id, link)| Some((broker.sessions.get(id)?, link));
    let links = broker.tree.links.iter().filter_map(named);
    links.map(move |(session, link)| link_row(session, link, now, out))
}

fn link_row<'a, O: Carrier>(session: &'a Session, link: &Link, now: Now, out: &O) -> Row<'a> {
    let queued = out.traffic(session.id).queued + link.backlog();
    let (host, port) = session.cid.host_and_port();
    let synced = match link.synced_us() {
        None => text("no"),
        Some(at_us) => Field::Us(now.wall_at(at_us) / SECOND_US * SECOND_US),
    };
    let round_trip = match link.round_trip_us() {
        0 => text("unknown"),
        us => Field::Us(us),
    };
    vec![
        ("LINK", text(session.cid.to_string())),
        ("ROLE", text(link.role_word())),
        ("STATE", text(link.state_word())),
        ("HOST", text(host)),
        ("PORT", text(port)),
        ("NODE", text(link.node_text())),
        (
            "AGE",
            Field::Us(now.monotonic_us.saturating_sub(session.opened_us)),
        ),
        ("ROUND_TRIP", round_trip),
        ("CHANGED", Field::Number(link.changed_names() as u64)),
        ("QUEUED", Field::Number(queued as u64)),
        ("SYNCED", synced),
        ("VERSION", Field::Text(session.client_info().into())),
    ]
}

/// The rows of slow requests: the longest turn, and then the latest requests, the last of them first.
pub fn slow_rows(broker: &Broker) -> impl Iterator<Item = Row<'_>> {
    let slow = &broker.statistics.slow;
    let longest = slow.longest.as_ref().map(longest_row);
    let latest = slow.iter().rev();
    let latest =
        latest.map(|request| slow_row("latest", request.at_us, request.turn_us, &request.heavy));
    longest.into_iter().chain(latest)
}

fn longest_row(longest: &LongestTurn) -> Row<'_> {
    let LongestTurn { turn, heavy, at_us } = longest;
    if let Some(heavy) = heavy {
        return slow_row("longest", *at_us, turn.us, heavy);
    }
    vec![
        ("KIND", text("longest")),
        ("TIME", Field::Us(*at_us)),
        ("TURN", Field::Us(turn.us)),
        // No request did much; the part of the loop that did most stands in its place.
        ("LANGUAGE", text("loop")),
        ("VERB", text(turn.part.word())),
        ("SIZE", Field::Number(0)),
        ("WORK", Field::Number(turn.work as u64)),
        ("NAME", text("")),
    ]
}

fn slow_row<'a>(kind: &'static str, at_us: u64, turn_us: u64, heavy: &'a HeavyRequest) -> Row<'a> {
    let (language, word) = heavy.verb.words();
    vec![
        ("KIND", text(kind)),
        ("TIME", Field::Us(at_us)),
        ("TURN", Field::Us(turn_us)),
        ("LANGUAGE", text(language.word())),
        ("VERB", text(word)),
        ("SIZE", Field::Number(heavy.size as u64)),
        ("WORK", Field::Number(heavy.work as u64)),
        ("NAME", Field::Text((&*heavy.name).into())),
    ]
}

/// The rows of the busiest names, and of the largest among some entries that are looked at from `place` on, which is any
/// number.
pub fn name_rows(broker: &Broker, place: u64, now: Now) -> impl Iterator<Item = Row<'_>> {
    let busy = broker
        .statistics
        .busiest
        .shares(now.monotonic_us)
        .into_iter();
    let busy = busy.map(|(name, share)| {
        vec![
            ("KIND", text("busy")),
            ("SHARE", Field::Percent(share)),
            ("NAME", Field::Text(name.into())),
        ]
    });
    let now_us = broker.tree.now_us(now);
    let largest = broker
        .cache
        .sample_largest(place, LARGEST_ENTRIES_SHOWN, now_us);
    let largest = largest.into_iter().map(|found| {
        vec![
            ("KIND", text("large")),
            ("SIZE", Field::Number(found.size() as u64)),
            ("NAME", Field::Text(start_of(found.name()).into())),
        ]
    });
    busy.chain(largest)
}
