//! The commands that send one signal or one request of management, and end. The commands of the cache are in
//! [`super::entries`].

use super::arguments::Invocation;
use super::failure::Failure;
use super::login;
use super::printer::{Object, Printer, printable};
use crate::client::{Client, Error, Text};
use std::collections::{BTreeSet, HashMap};
use std::io::Read;

/// Sends a writing command and waits until the server has processed it.
pub fn write(
    invocation: &Invocation,
    act: impl FnOnce(&mut Client) -> Result<(), Error>,
) -> Result<(), Failure> {
    let mut client = login::client(invocation)?;
    act(&mut client)?;
    Ok(client.sync()?)
}

/// The argument VALUE, or standard input if VALUE is `-`. The line end of a single line is not part of the value; that
/// of the last of several lines is.
pub fn value(invocation: &Invocation) -> Result<Vec<u8>, Failure> {
    let argument = invocation.argument(1);
    if argument != b"-" {
        return Ok(argument.to_vec());
    }
    let mut value = Vec::new();
    std::io::stdin().read_to_end(&mut value)?;
    if memchr::memchr(b'\n', &value) == Some(value.len().wrapping_sub(1)) && !value.contains(&b'\r')
    {
        value.pop();
    }
    Ok(value)
}

/// The argument VALUE of a signal, which can't hold line breaks.
fn signal_value(invocation: &Invocation) -> Result<Vec<u8>, Failure> {
    let value = value(invocation)?;
    if memchr::memchr2(b'\r', b'\n', &value).is_some() {
        return Err(Failure::Usage(
            "the value of a signal can't hold line breaks; only store encodes them".to_owned(),
        ));
    }
    Ok(value)
}

pub fn set(invocation: &Invocation) -> Result<(), Failure> {
    let value = signal_value(invocation)?;
    write(invocation, |client| {
        client.set(invocation.argument(0), value)
    })
}

pub fn notify(invocation: &Invocation) -> Result<(), Failure> {
    write(invocation, |client| client.notify(invocation.argument(0)))
}

pub fn set_and_store(invocation: &Invocation) -> Result<(), Failure> {
    let value = signal_value(invocation)?;
    write(invocation, |client| {
        client.set_and_store(invocation.argument(0), value)
    })
}

pub fn disconnect(invocation: &Invocation) -> Result<(), Failure> {
    write(invocation, |client| {
        client.disconnect_client(invocation.argument(0))
    })
}

pub fn shutdown(invocation: &Invocation) -> Result<(), Failure> {
    let seconds = match invocation.optional(0) {
        None => 1.0,
        Some(text) => str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse().ok())
            .filter(|seconds: &f64| *seconds > 0.0 && seconds.is_finite())
            .ok_or_else(|| {
                Failure::Usage(format!("S \"{}\" wants seconds above 0", printable(text)))
            })?,
    };
    write(invocation, |client| client.shut_down(seconds))
}

pub fn clients(invocation: &Invocation) -> Result<(), Failure> {
    let clients = login::client(invocation)?.clients()?;
    let mut output = Printer::new(invocation.is_set("json"));
    if output.is_json {
        for client in &clients {
            output.json(client_object(client))?;
        }
        return output.flush();
    }
    let heading = ["CID", "CLIENT", "OUT", "IN", "NOTES"].map(str::to_owned);
    let rows: Vec<[String; 5]> = std::iter::once(heading)
        .chain(clients.iter().map(client_row))
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..5).filter_map(width).collect();
    for row in &rows {
        let cells = row.iter().zip(&widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        output.line(cells.join("  ").trim_end().as_bytes())?;
    }
    output.flush()
}

type Fields = HashMap<String, Text>;

/// One line of the table of clients: the cells of the columns that [`clients`] prints.
fn client_row(client: &Fields) -> [String; 5] {
    let field = |name: &str| {
        let text = client.get(name).map_or(&b""[..], |text| text);
        printable(text).into_owned()
    };
    let notes = [("INTERCLACKS", "interclacks"), ("MONITOR", "monitor")];
    let notes = notes.iter().filter(|(name, _)| field(name) == "1");
    let notes: Vec<&str> = notes.map(|(_, note)| *note).collect();
    [
        field("CID"),
        field("CLIENTINFO"),
        field("OUTBUFFER_LENGTH"),
        field("INBUFFER_LENGTH"),
        notes.join(","),
    ]
}

/// A client as JSON: the CID first, then all fields in alphabetical order.
fn client_object(client: &Fields) -> Object {
    let names: BTreeSet<&String> = client.keys().collect();
    let mut object = Object::new().text("cid", client.get("CID").map_or(b"", |cid| cid));
    for name in names {
        let (field, text) = (name.to_lowercase(), &client[name]);
        object = match name.as_str() {
            "CID" => object,
            "INTERCLACKS" | "MONITOR" => object.field(&field, *text == "1"),
            "HOST" | "PORT" | "CLIENTINFO" => object.text(&field, text),
            // Sizes and times.
            _ => match text.to_str().parse::<serde_json::Number>() {
                Ok(number) => object.field(&field, number),
                Err(_) => object.text(&field, text),
            },
        };
    }
    object
}
