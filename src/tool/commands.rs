//! The commands that send one request, print its answer if there is one, and end.

use super::arguments::Invocation;
use super::failure::Failure;
use super::login;
use super::printer::{Object, Printer, printable};
use crate::client::encoding::{self, Decoded};
use crate::client::{Client, Error, Text, Ttl};
use std::collections::{BTreeSet, HashMap};
use std::io::Read;
use std::time::Duration;

/// Sends a writing command and waits until the server has processed it.
fn write(
    invocation: &Invocation,
    act: impl FnOnce(&mut Client) -> Result<(), Error>,
) -> Result<(), Failure> {
    let mut client = login::client(invocation)?;
    act(&mut client)?;
    Ok(client.sync()?)
}

/// The argument VALUE, or standard input if VALUE is `-`. The line end of a single line is not part of the value; that
/// of the last of several lines is.
fn value(invocation: &Invocation) -> Result<Vec<u8>, Failure> {
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

pub fn store(invocation: &Invocation) -> Result<(), Failure> {
    let time = ttl_flag(invocation)?;
    let value = value(invocation)?;
    let (name, stored) = (invocation.argument(0), encoding::encode(&value));
    write(invocation, |client| match time {
        Some(time) => client.store_for(name, stored, time),
        None => client.store(name, stored),
    })
}

/// The time of the flag --ttl.
fn ttl_flag(invocation: &Invocation) -> Result<Option<Duration>, Failure> {
    let Some(text) = invocation.value("ttl") else {
        return Ok(None);
    };
    let seconds = text.to_str().and_then(|text| text.parse::<f64>().ok());
    let positive = seconds.filter(|seconds| *seconds > 0.0);
    let time = positive.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    match time {
        Some(time) if time <= Ttl::LONGEST => Ok(Some(time)),
        _ => Err(Failure::Usage(format!(
            "--ttl \"{}\" wants seconds above 0, a century at most",
            printable(text.as_encoded_bytes())
        ))),
    }
}

pub fn ttl(invocation: &Invocation) -> Result<(), Failure> {
    let name = invocation.argument(0);
    let seconds = match login::client(invocation)?.ttl(name)? {
        Some(Ttl::Seconds(seconds)) => seconds.to_string(),
        Some(Ttl::Never) => "-1".to_owned(),
        None => return Err(no_entry(name)),
    };
    let mut output = Printer::new(invocation.is_set("json"));
    if output.is_json {
        let number: serde_json::Number = seconds.parse().expect("it is an integer");
        output.json(Object::new().text("name", name).field("ttl", number))?;
    } else {
        output.line(seconds.as_bytes())?;
    }
    output.flush()
}

fn no_entry(name: &[u8]) -> Failure {
    Failure::NoEntry(format!("there is no entry \"{}\"", printable(name)))
}

pub fn retrieve(invocation: &Invocation) -> Result<(), Failure> {
    let name = invocation.argument(0);
    let mut client = login::client(invocation)?;
    let Some(stored) = client.retrieve(name)? else {
        return Err(no_entry(name));
    };
    let decoded = encoding::decode(&stored);
    let mut output = Printer::new(invocation.is_set("json"));
    if invocation.is_set("raw") {
        output.bytes(&decoded.into_bytes())?;
    } else if output.is_json {
        let field = match decoded {
            Decoded::Structure(_) => "yaml",
            _ => "value",
        };
        let object = Object::new().text("name", name);
        output.json(object.text(field, &decoded.into_bytes()))?;
    } else {
        output.value(&decoded.into_bytes())?;
    }
    output.flush()
}

pub fn remove(invocation: &Invocation) -> Result<(), Failure> {
    write(invocation, |client| client.remove(invocation.argument(0)))
}

pub fn increment(invocation: &Invocation) -> Result<(), Failure> {
    let step = step(invocation)?;
    write(invocation, |client| {
        client.increment(invocation.argument(0), step)
    })
}

pub fn decrement(invocation: &Invocation) -> Result<(), Failure> {
    let step = step(invocation)?;
    write(invocation, |client| {
        client.decrement(invocation.argument(0), step)
    })
}

/// The argument STEP as it was written: a number of the server may have more digits than an `f64`.
fn step(invocation: &Invocation) -> Result<&str, Failure> {
    let Some(step) = invocation.optional(1) else {
        return Ok("1");
    };
    str::from_utf8(step)
        .ok()
        .filter(|step| step.parse::<f64>().is_ok())
        .ok_or_else(|| Failure::Usage(format!("STEP \"{}\" is no number", printable(step))))
}

pub fn keys(invocation: &Invocation) -> Result<(), Failure> {
    let prefix = invocation.optional(0).unwrap_or_default();
    let mut keys = login::client(invocation)?.keys()?;
    keys.retain(|name| name.starts_with(prefix));
    keys.sort_unstable();
    let mut output = Printer::new(invocation.is_set("json"));
    for name in keys {
        if output.is_json {
            output.json(Object::new().text("name", &name))?;
        } else {
            output.line(&name)?;
        }
    }
    output.flush()
}

pub fn clear(invocation: &Invocation) -> Result<(), Failure> {
    write(invocation, Client::clear)
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
