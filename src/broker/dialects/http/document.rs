//! The status as JSON: all figures, and the lists, which are cut where they are long.

use crate::broker::Broker;
use crate::broker::dialects::report::{
    Field, Row, Sink, Value, client_row, link_rows, name_rows, report, slow_rows,
};
use crate::broker::events::Now;
use crate::broker::health;
use crate::broker::output::Output;
use crate::broker::statistics::{Metric, Turns};
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::{Map, Value as Json, json};
use std::fmt::{self, Write};

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
) -> String {
    let mut figures = Figures(Map::new());
    report(broker, now, out, &mut figures);
    let document = Document {
        broker,
        figures: figures.0,
        place,
        max_clients,
        now,
        out,
    };
    serde_json::to_string(&document).expect("all keys are texts")
}

/// The document, which is written row by row: a tree of all its values would take several times as long.
struct Document<'a, O> {
    broker: &'a Broker,
    figures: Map<String, Json>,
    place: u64,
    max_clients: usize,
    now: Now,
    out: &'a O,
}

impl<O: Output> Serialize for Document<'_, O> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let &Document {
            broker, now, out, ..
        } = self;
        let faults: Vec<&str> = health::faults(broker).collect();
        let clients = || {
            let clients = broker.sessions.after(b"");
            let clients = clients.filter(|session| session.closing.is_none());
            let clients = clients.take(self.max_clients);
            clients.map(|session| client_row(session, now, out))
        };
        let mut object = serializer.serialize_map(None)?;
        object.serialize_entry("software", &broker.settings.software)?;
        object.serialize_entry("healthy", &faults.is_empty())?;
        object.serialize_entry("faults", &faults)?;
        object.serialize_entry("time_seconds", &us_to_seconds(now.wall_us))?;
        object.serialize_entry("figures", &self.figures)?;
        object.serialize_entry("clients", &List(clients))?;
        object.serialize_entry("links", &List(|| link_rows(broker, now, out)))?;
        object.serialize_entry("names", &List(|| name_rows(broker, self.place, now)))?;
        object.serialize_entry("slow", &List(|| slow_rows(broker)))?;
        object.end()
    }
}

/// An array of the rows that the function returns.
struct List<F>(F);

impl<'a, F: Fn() -> I, I: Iterator<Item = Row<'a>>> Serialize for List<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(rows) = self;
        serializer.collect_seq(rows().map(Object))
    }
}

/// An object of the fields of a row, by their names in lower case.
struct Object<'a>(Row<'a>);

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = self.0.iter();
        serializer.collect_map(fields.map(|(name, field)| (LowerCase(name), Shown(field))))
    }
}

struct LowerCase<'a>(&'a str);

impl Serialize for LowerCase<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for LowerCase<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut characters = self.0.chars();
        characters.try_for_each(|character| f.write_char(character.to_ascii_lowercase()))
    }
}

/// A field. Bytes that are no UTF-8 are shown as replacement characters.
struct Shown<'a>(&'a Field<'a>);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Field::Text(text) => serializer.serialize_str(&String::from_utf8_lossy(text)),
            Field::Number(number) => serializer.serialize_u64(*number),
            Field::Us(us) => serializer.serialize_f64(us_to_seconds(*us)),
            Field::Percent(share) => serializer.serialize_f64(*share),
            Field::Flag(is_set) => serializer.serialize_bool(*is_set),
        }
    }
}

fn us_to_seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

fn seconds(us: u64) -> Json {
    Json::from(us_to_seconds(us))
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
