//! The commands that ask a server how it is: `ping`, `status` and `clients`.

use super::arguments::Invocation;
use super::columns::{self, CLIENTS, Column, LINKS, NAMES, SLOW};
use super::failure::Failure;
use super::login;
use super::printer::{Object, Printer, printable};
use crate::client::{Error, Fields, Figure, Text};
use std::collections::{BTreeSet, HashMap};

/// Fields that are texts, also if they look like numbers.
const TEXTS: &[&str] = &[
    "CID",
    "CLIENTINFO",
    "HOST",
    "KIND",
    "LANGUAGE",
    "LINK",
    "NAME",
    "NODE",
    "PORT",
    "ROLE",
    "STATE",
    "USER",
    "VERB",
    "VERSION",
];
/// Fields that are true or false.
const FLAGS: &[&str] = &["INTERCLACKS", "MONITOR"];

/// The lists of `clacks status`, with their columns.
const LISTS: &[(&str, &[Column])] = &[("links", LINKS), ("names", NAMES), ("slow", SLOW)];

/// Runs `clacks ping`. A server that refuses to answer counts as one that can't be reached.
pub fn ping(invocation: &Invocation) -> Result<(), Failure> {
    let answered = login::client(invocation)?.round_trip();
    let time = answered.map_err(|error| match error {
        Error::Refused(_) => Failure::Connection(error.to_string()),
        error => error.into(),
    })?;
    let ms = time.as_secs_f64() * 1e3;
    let mut output = Printer::new(invocation.is_set("json"));
    if output.is_json {
        let rounded = (ms * 1e3).round() / 1e3;
        output.json(Object::new().field("round_trip_ms", rounded))?;
    } else {
        output.line(format!("answered in {ms:.3} ms").as_bytes())?;
    }
    output.flush()
}

/// Runs `clacks status`: prints the figures, or a list.
pub fn status(invocation: &Invocation) -> Result<(), Failure> {
    let mut output = Printer::new(invocation.is_set("json"));
    let Some(list) = invocation.optional(0) else {
        return print_figures(&login::client(invocation)?.status()?, output);
    };
    let known = LISTS.iter().find(|(name, _)| name.as_bytes() == list);
    let Some((list, columns)) = known else {
        if list == b"clients" {
            let what = "LIST \"clients\" is what the command clacks clients prints";
            return Err(Failure::Usage(what.to_owned()));
        }
        return Err(Failure::Usage(format!(
            "LIST \"{}\" wants links, names or slow",
            printable(list)
        )));
    };
    let rows = login::client(invocation)?.status_list(list)?;
    print_rows(columns, &rows, &mut output)
}

fn print_figures(figures: &[Figure], mut output: Printer) -> Result<(), Failure> {
    if output.is_json {
        let object = figures.iter().fold(Object::new(), |object, (name, value)| {
            with_number(object, name, value)
        });
        output.json(object)?;
        return output.flush();
    }
    let cells = figures.iter().filter(|figure| is_news(figure));
    let cells = cells.map(|(name, value)| {
        let (name, value) = (printable(name.as_bytes()), printable(value));
        vec![name.into_owned(), value.into_owned()]
    });
    let cells: Vec<Vec<String>> = cells.collect();
    for line in columns::aligned(&cells, &[false, true]) {
        output.line(line.as_bytes())?;
    }
    output.flush()
}

/// Returns false for a figure with labels that is zero. There are more than a hundred of them, one for each verb and each
/// reason of a close.
fn is_news((name, value): &Figure) -> bool {
    let is_zero = value.iter().all(|byte| matches!(byte, b'0' | b'.'));
    !(is_zero && name.contains('.'))
}

/// Runs `clacks clients`. The fields of CLIENTLIST come with those of STATUS, if the server knows that.
pub fn clients(invocation: &Invocation) -> Result<(), Failure> {
    let mut client = login::client(invocation)?;
    let mut rows = client.clients()?;
    match client.status_list("clients") {
        Ok(known) => rows = combined(rows, known),
        Err(Error::Refused(reason)) if reason.starts_with("unknown_command") => {}
        Err(error) => return Err(error.into()),
    }
    let mut output = Printer::new(invocation.is_set("json"));
    print_rows(CLIENTS, &rows, &mut output)
}

/// The rows of the second list, each with the fields that only the first list has.
fn combined(first: Vec<Fields>, mut second: Vec<Fields>) -> Vec<Fields> {
    let cid = |row: &Fields| row.get("CID").cloned().unwrap_or_default();
    let mut first: HashMap<Text, Fields> = first.into_iter().map(|row| (cid(&row), row)).collect();
    for row in &mut second {
        for (name, text) in first.remove(&cid(row)).into_iter().flatten() {
            row.entry(name).or_insert(text);
        }
    }
    second
}

/// Prints rows as a table, or as objects.
fn print_rows(columns: &[Column], rows: &[Fields], output: &mut Printer) -> Result<(), Failure> {
    if output.is_json {
        for row in rows {
            output.json(object(row))?;
        }
        return output.flush();
    }
    for line in columns::table(columns, rows, usize::MAX) {
        output.line(line.as_bytes())?;
    }
    output.flush()
}

/// A row as JSON: the CID first, then all fields in alphabetical order.
fn object(row: &Fields) -> Object {
    let names: BTreeSet<&String> = row.keys().collect();
    let (first, others): (Vec<&String>, Vec<&String>) =
        names.into_iter().partition(|name| *name == "CID");
    let names = first.into_iter().chain(others);
    names.fold(Object::new(), |object, name| {
        let (field, text) = (name.to_lowercase(), &row[name]);
        match &**name {
            name if FLAGS.contains(&name) => object.field(&field, *text == "1"),
            name if TEXTS.contains(&name) => object.text(&field, text),
            // Sizes and times.
            _ => with_number(object, &field, text),
        }
    })
}

/// Adds a number, or the text that stands in its place.
fn with_number(object: Object, name: &str, text: &Text) -> Object {
    match text.to_str().parse::<serde_json::Number>() {
        Ok(number) => object.field(name, number),
        Err(_) => object.text(name, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_without_news_are_those_with_labels_that_are_zero() {
        for (name, value, expected) in [
            ("entries", "0", true),
            ("uptime_seconds", "0.000000", true),
            ("requests.clacks.SET", "0", false),
            ("turn_seconds.le.0.000016", "0", false),
            ("processor_seconds.user", "0.000000", false),
            ("processor_seconds.user", "0.010000", true),
        ] {
            assert_eq!(
                is_news(&(name.to_owned(), value.into())),
                expected,
                "{name}"
            );
        }
    }
}
