//! STATUS: the figures of the node, and its lists (clacks-protocol(7), MONITORING).

use crate::broker::Broker;
use crate::broker::dialects::report::{
    Field, Row, Seconds, Sink, Value, link_rows, name_rows, report, slow_rows,
};
use crate::broker::events::{ConnectionId, Flow, Now};
use crate::broker::output::Output;
use crate::broker::statistics::{Metric, Turns};
use crate::limits::{WORK_PER_BYTE_OF_PAGE, WORK_PER_SAMPLE};
use crate::protocol::command::StatusList;
use crate::protocol::encode;
use std::io::Write;

pub const START: &[u8] = b"STATUSSTART";
pub const END: &[u8] = b"STATUSEND";

/// Answers STATUS, but for the list of the clients, which may be long.
pub fn answer_status<O: Output>(
    broker: &mut Broker,
    id: ConnectionId,
    list: StatusList,
    line: &[u8],
    now: Now,
    out: &mut O,
) -> Flow {
    let lines = encode_list(broker, list, now, out);
    out.add_work(WORK_PER_SAMPLE + WORK_PER_BYTE_OF_PAGE * lines.len());
    out.append(id, |to| to.extend_from_slice(&lines));
    broker.mirror(id, line, out);
    Flow::Next
}

/// The figures, or a list other than that of the clients.
fn encode_list<O: Output>(broker: &mut Broker, list: StatusList, now: Now, out: &O) -> Vec<u8> {
    let place = broker.random.next();
    let broker = &*broker;
    let mut lines = Vec::new();
    encode::line(&mut lines, &[START]);
    let mut add = |row: Row<'_>| encode::line(&mut lines, &[&row_line(&row)]);
    match list {
        StatusList::Figures | StatusList::Clients => {
            report(broker, now, out, &mut Lines(&mut lines));
        }
        StatusList::Links => link_rows(broker, now, out).for_each(&mut add),
        StatusList::Names => name_rows(broker, place, now).for_each(&mut add),
        StatusList::Slow => slow_rows(broker).for_each(&mut add),
    }
    encode::line(&mut lines, &[END]);
    lines
}

/// The lines of the figures.
struct Lines<'a>(&'a mut Vec<u8>);

impl Lines<'_> {
    fn line(&mut self, metric: &Metric, labels: &[&str], value: std::fmt::Arguments<'_>) {
        self.0.extend_from_slice(b"STATUS ");
        self.0.extend_from_slice(metric.name.as_bytes());
        for label in labels {
            self.0.push(b'.');
            // The value begins after the only `=`.
            append_shown(label.replace('=', "_").as_bytes(), self.0);
        }
        write!(self.0, "={value}\r\n").expect("a Vec takes every write");
    }
}

impl Sink for Lines<'_> {
    fn value(&mut self, metric: &'static Metric, labels: &[&str], value: Value) {
        match value {
            Value::Number(number) => self.line(metric, labels, format_args!("{number}")),
            Value::Us(us) => self.line(metric, labels, format_args!("{}", Seconds(us))),
        }
    }

    fn turns(&mut self, metric: &'static Metric, turns: &Turns) {
        for (bound_us, count) in turns.cumulative() {
            let bound = Seconds(bound_us).to_string();
            self.line(metric, &["le", &bound], format_args!("{count}"));
        }
        self.line(metric, &["count"], format_args!("{}", turns.count()));
        self.line(metric, &["sum"], format_args!("{}", Seconds(turns.sum_us)));
    }
}

/// The line of a row, without its end.
pub fn row_line(row: &Row<'_>) -> Vec<u8> {
    let mut line = Vec::new();
    let to = &mut line;
    to.extend_from_slice(b"STATUS ");
    for (name, field) in row {
        to.extend_from_slice(name.as_bytes());
        to.push(b'=');
        match field {
            Field::Text(text) => append_shown(text, to),
            Field::Number(number) => write!(to, "{number}").expect("a Vec takes every write"),
            Field::Us(us) => write!(to, "{}", Seconds(*us)).expect("a Vec takes every write"),
            Field::Percent(share) => write!(to, "{share:.2}").expect("a Vec takes every write"),
            Field::Flag(is_set) => to.push(b'0' + u8::from(*is_set)),
        }
        to.push(b';');
    }
    line
}

/// Appends a text of somebody else: its control bytes are shown as escapes, and the `;` that would end the field as `_`.
fn append_shown(text: &[u8], to: &mut Vec<u8>) {
    for &byte in text {
        match byte {
            0..=0x1F | 0x7F => to.extend(byte.escape_ascii()),
            b';' => to.push(b'_'),
            _ => to.push(byte),
        }
    }
}
