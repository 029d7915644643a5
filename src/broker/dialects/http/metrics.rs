//! The figures as Prometheus and its relatives read them: OpenMetrics 1.0, and the older text format 0.0.4 for those who do
//! not ask for it. The formats differ in the names of counters and in the last line.

use super::Page;
use crate::broker::Broker;
use crate::broker::dialects::report::{Seconds, Sink, Value, report};
use crate::broker::events::Now;
use crate::broker::output::Output;
use crate::broker::statistics::catalogue::Kind;
use crate::broker::statistics::{Metric, Turns};
use crate::protocol::http::{Policy, Status};
use std::borrow::Cow;
use std::fmt::{self, Write};

/// A format of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    OpenMetrics,
    Text,
}

impl Format {
    /// The format for a client that sends this Accept header.
    fn accepted(accept: &[u8]) -> Format {
        match memchr::memmem::find(accept, b"application/openmetrics-text").is_some() {
            true => Format::OpenMetrics,
            false => Format::Text,
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// The path of the page.
pub const PATH: &str = "/metrics";

/// All figures in the format that the client accepts.
pub fn page<O: Output>(broker: &Broker, accept: Option<&[u8]>, now: Now, out: &O) -> Page {
    let format = Format::accepted(accept.unwrap_or_default());
    Page {
        status: Status::Ok,
        media_type: format.content_type(),
        policy: Policy::Nothing,
        body: Cow::Owned(metrics(broker, format, now, out)),
    }
}

fn metrics<O: Output>(broker: &Broker, format: Format, now: Now, out: &O) -> String {
    let mut metrics = MetricsText {
        format,
        text: String::new(),
        family: None,
    };
    report(broker, now, out, &mut metrics);
    if format == Format::OpenMetrics {
        metrics.text.push_str("# EOF\n");
    }
    metrics.text
}

struct MetricsText {
    format: Format,
    text: String,
    /// The name of the figure that the last lines are about.
    family: Option<&'static str>,
}

impl MetricsText {
    /// Describes a figure before its first value.
    fn describe(&mut self, metric: &'static Metric) {
        if self.family.replace(metric.name) == Some(metric.name) {
            return;
        }
        let suffix = match self.format {
            Format::OpenMetrics => "",
            Format::Text => suffix(metric.kind),
        };
        let name = format_args!("clacksd_{}{suffix}", metric.name);
        let kind = match (metric.kind, self.format) {
            (Kind::Counter, _) => "counter",
            (Kind::Histogram, _) => "histogram",
            (Kind::Info, Format::OpenMetrics) => "info",
            (Kind::Gauge, _) | (Kind::Info, Format::Text) => "gauge",
        };
        let text = &mut self.text;
        writeln!(text, "# HELP {name} {}", metric.help).expect("a String takes every write");
        writeln!(text, "# TYPE {name} {kind}").expect("a String takes every write");
        let unit = metric.name.rsplit('_').next().unwrap_or_default();
        if self.format == Format::OpenMetrics && ["seconds", "bytes"].contains(&unit) {
            writeln!(text, "# UNIT {name} {unit}").expect("a String takes every write");
        }
    }

    fn sample(&mut self, metric: &Metric, suffix: &str, labels: Labels<'_>, value: Value) {
        let name = metric.name;
        writeln!(self.text, "clacksd_{name}{suffix}{labels} {}", Shown(value))
            .expect("a String takes every write");
    }
}

/// The end of the names of a figure's values.
fn suffix(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "_total",
        Kind::Info => "_info",
        Kind::Gauge | Kind::Histogram => "",
    }
}

impl Sink for MetricsText {
    fn value(&mut self, metric: &'static Metric, labels: &[&str], value: Value) {
        self.describe(metric);
        let labels = Labels(metric.labels, labels);
        self.sample(metric, suffix(metric.kind), labels, value);
    }

    fn turns(&mut self, metric: &'static Metric, turns: &Turns) {
        self.describe(metric);
        for (bound_us, count) in turns.cumulative() {
            let bound = Seconds(bound_us).to_string();
            let labels = Labels(&["le"], &[&bound]);
            self.sample(metric, "_bucket", labels, Value::Number(count));
        }
        let count = Value::Number(turns.count());
        self.sample(metric, "_bucket", Labels(&["le"], &["+Inf"]), count);
        self.sample(metric, "_count", Labels(&[], &[]), count);
        self.sample(metric, "_sum", Labels(&[], &[]), Value::Us(turns.sum_us));
    }
}

struct Shown(Value);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Number(number) => number.fmt(f),
            Value::Us(us) => Seconds(us).fmt(f),
        }
    }
}

/// The names and the values of labels.
struct Labels<'a>(&'a [&'a str], &'a [&'a str]);

impl fmt::Display for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = '{';
        for (name, value) in self.0.iter().zip(self.1) {
            write!(f, "{separator}{name}=\"")?;
            for character in value.chars() {
                match character {
                    '\\' => f.write_str("\\\\")?,
                    '"' => f.write_str("\\\"")?,
                    '\n' => f.write_str("\\n")?,
                    other => f.write_char(other)?,
                }
            }
            f.write_char('"')?;
            separator = ',';
        }
        match separator {
            ',' => f.write_char('}'),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_labels_are_escaped() {
        let labels = Labels(&["one", "two"], &["a\"b\\c\nd", "é"]);
        assert_eq!(labels.to_string(), "{one=\"a\\\"b\\\\c\\nd\",two=\"é\"}");
        assert_eq!(Labels(&[], &[]).to_string(), "");
    }

    #[test]
    fn prometheus_gets_open_metrics_and_others_text() {
        let prometheus =
            "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;q=0.3,*/*;q=0.1";
        assert_eq!(Format::accepted(prometheus.as_bytes()), Format::OpenMetrics);
        assert_eq!(Format::accepted(b"*/*"), Format::Text);
    }
}
