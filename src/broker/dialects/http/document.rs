//! The status as JSON: all figures, and the lists, which are cut where they are long.

use super::health;
use crate::broker::Broker;
use crate::broker::dialects::report::{
    Field, Row, Sink, Value, client_row, link_rows, name_rows, report, slow_rows,
};
use crate::broker::events::Now;
use crate::broker::output::Output;
use crate::broker::statistics::{Metric, Turns};
use serde_json::{Map, Value as Json, json};

/// Clients that are shown at most, those with the smallest CIDs: more would make a turn long.
pub const MAX_CLIENTS_SHOWN: usize = 200;

/// The path of the document.
pub const PATH: &str = "/status.json";

/// Returns the status of the node. `place` is any number, by which entries are picked to look for large ones.
pub fn document<O: Output>(
    broker: &Broker,
    place: u64,
    max_clients: usize,
    now: Now,
    out: &O,
) -> Json {
    let faults: Vec<&str> = health::faults(broker).collect();
    let mut figures = Figures(Map::new());
    report(broker, now, out, &mut figures);
    let clients = broker.sessions.after(b"");
    let clients = clients.filter(|session| session.closing.is_none());
    let clients = clients.take(max_clients);
    let clients = clients.map(|session| object(client_row(session, now, out)));
    json!({
        "software": broker.settings.software,
        "healthy": faults.is_empty(),
        "faults": faults,
        "time_seconds": seconds(now.wall_us),
        "figures": figures.0,
        "clients": clients.collect::<Vec<_>>(),
        "links": link_rows(broker, now, out).map(object).collect::<Vec<_>>(),
        "names": name_rows(broker, place, now).map(object).collect::<Vec<_>>(),
        "slow": slow_rows(broker).map(object).collect::<Vec<_>>(),
    })
}

/// The fields of a row by their names in lower case. Bytes that are no UTF-8 are shown as replacement characters.
fn object(row: Row<'_>) -> Json {
    let fields = row.into_iter().map(|(name, field)| {
        let value = match field {
            Field::Text(text) => Json::from(String::from_utf8_lossy(&text)),
            Field::Number(number) => Json::from(number),
            Field::Us(us) => seconds(us),
            Field::Percent(share) => Json::from(share),
            Field::Flag(is_set) => Json::from(is_set),
        };
        (name.to_ascii_lowercase(), value)
    });
    Json::Object(fields.collect())
}

fn seconds(us: u64) -> Json {
    Json::from(us as f64 / 1e6)
}

/// The figures by their names, and within these by the values of their labels.
struct Figures(Map<String, Json>);

impl Sink for Figures {
    fn value(&mut self, metric: &'static Metric, labels: &[&str], value: Value) {
        let value = match value {
            Value::Number(number) => Json::from(number),
            Value::Us(us) => seconds(us),
        };
        let Some((last, before)) = labels.split_last() else {
            self.0.insert(metric.name.to_owned(), value);
            return;
        };
        let mut place = &mut self.0;
        for key in std::iter::once(&metric.name).chain(before) {
            let inner = place
                .entry(*key)
                .or_insert_with(|| Json::Object(Map::new()));
            let Json::Object(inner) = inner else {
                return;
            };
            place = inner;
        }
        place.insert((*last).to_owned(), value);
    }

    fn turns(&mut self, metric: &'static Metric, turns: &Turns) {
        let buckets = turns.cumulative().map(
            |(bound_us, count)| json!({ "at_most_seconds": seconds(bound_us), "count": count }),
        );
        let value = json!({
            "buckets": buckets.collect::<Vec<_>>(),
            "count": turns.count(),
            "sum": seconds(turns.sum_us),
        });
        self.0.insert(metric.name.to_owned(), value);
    }
}
