//! The commands of the cache: each reads or writes entries, prints what there is to print, and ends.

use super::arguments::Invocation;
use super::commands::{value, write};
use super::failure::Failure;
use super::login;
use super::printer::{Object, Printer, printable, report_error};
use super::refusal;
use crate::client::encoding::{self, Decoded};
use crate::client::{Client, Counted, KeyInfo, Text, Ttl};

pub fn store(invocation: &Invocation) -> Result<(), Failure> {
    let time = invocation.seconds("ttl")?;
    let value = value(invocation)?;
    let (name, stored) = (invocation.argument(0), encoding::encode(&value));
    write(invocation, |client| match time {
        Some(time) => client.store_for(name, stored, time),
        None => client.store(name, stored),
    })
}

pub fn ttl(invocation: &Invocation) -> Result<(), Failure> {
    let name = invocation.argument(0);
    let Some(ttl) = login::client(invocation)?.ttl(name)? else {
        return Err(Failure::NoEntry(no_entry(name)));
    };
    let seconds = seconds_of(ttl);
    let mut output = Printer::new(invocation.is_set("json"));
    if output.is_json {
        output.json(Object::new().text("name", name).field("ttl", seconds))?;
    } else {
        output.line(seconds.to_string().as_bytes())?;
    }
    output.flush()
}

fn no_entry(name: &[u8]) -> String {
    format!("there is no entry \"{}\"", printable(name))
}

/// Prints the values in the order of the names. Each name without an entry is reported, the last one by the error.
pub fn retrieve(invocation: &Invocation) -> Result<(), Failure> {
    let names = &invocation.arguments;
    let values = login::client(invocation)?.retrieve_all(names)?;
    let mut output = Printer::new(invocation.is_set("json"));
    let mut missing: Option<String> = None;
    for (name, stored) in names.iter().zip(values) {
        match stored {
            Some(stored) => print_value(invocation, &mut output, name, &stored)?,
            None => {
                if let Some(earlier) = missing.replace(no_entry(name)) {
                    report_error(&earlier);
                }
            }
        }
    }
    output.flush()?;
    missing.map_or(Ok(()), |last| Err(Failure::NoEntry(last)))
}

/// Prints a value as stored, decoded. Several values are kept apart by line ends, unless only their bytes are wanted.
fn print_value(
    invocation: &Invocation,
    output: &mut Printer,
    name: &[u8],
    stored: &[u8],
) -> Result<(), Failure> {
    let decoded = encoding::decode(stored);
    if invocation.is_set("raw") {
        return output.bytes(&decoded.into_bytes());
    }
    if output.is_json {
        return output.json(value_object(Object::new().text("name", name), decoded));
    }
    let bytes = decoded.into_bytes();
    output.value(&bytes)?;
    let has_breaks = memchr::memchr2(b'\r', b'\n', &bytes).is_some();
    if invocation.arguments.len() > 1
        && has_breaks
        && !output.is_terminal
        && !bytes.ends_with(b"\n")
    {
        return output.bytes(b"\n");
    }
    Ok(())
}

/// Adds a decoded value to an object.
pub fn value_object(object: Object, decoded: Decoded<'_>) -> Object {
    let field = match decoded {
        Decoded::Structure(_) => "yaml",
        _ => "value",
    };
    object.text(field, &decoded.into_bytes())
}

pub fn remove(invocation: &Invocation) -> Result<(), Failure> {
    let Some(prefix) = invocation.value("prefix") else {
        return write(invocation, |client| {
            let mut names = invocation.arguments.iter();
            names.try_for_each(|name| client.remove(name))
        });
    };
    let prefix = prefix.as_encoded_bytes();
    if prefix.is_empty() {
        let what = "--prefix \"\" is the beginning of every name: clacks clear empties the cache";
        return Err(Failure::Usage(what.to_owned()));
    }
    let mut client = login::client(invocation)?;
    let names = names_with(&mut client, prefix).map_err(|failure| match failure {
        Failure::Refused(reason) => refused(invocation, reason, "KEYLIST", "read"),
        failure => failure,
    })?;
    // Without any such name, the beginning itself stands for them: the server says if the user may not remove it.
    if names.is_empty() && !prefix.iter().any(|byte| b"\r\n".contains(byte)) {
        client.remove(prefix)?;
    }
    for name in names {
        client.remove(name)?;
    }
    Ok(client.sync()?)
}

/// A refusal of another verb than that of the command.
fn refused(invocation: &Invocation, reason: String, verb: &str, permission: &str) -> Failure {
    let user = login::user(invocation).unwrap_or_default();
    Failure::Refused(refusal::with_permission(reason, verb, permission, &user))
}

pub fn increment(invocation: &Invocation) -> Result<(), Failure> {
    count(invocation, Client::increment_and_retrieve)
}

pub fn decrement(invocation: &Invocation) -> Result<(), Failure> {
    count(invocation, Client::decrement_and_retrieve)
}

/// Counts, and prints the new value.
fn count(
    invocation: &Invocation,
    act: impl FnOnce(&mut Client, &[u8], &str) -> Result<Counted, crate::client::Error>,
) -> Result<(), Failure> {
    let step = step(invocation)?;
    let name = invocation.argument(0);
    let value = match act(&mut login::client(invocation)?, name, step)? {
        Counted::Value(value) => value,
        Counted::Gone => {
            let what = format!("{}: it was counted, and is gone again", no_entry(name));
            return Err(Failure::NoEntry(what));
        }
        Counted::Unreadable(reason) => {
            return Err(match refused(invocation, reason, "RETRIEVE", "read") {
                Failure::Refused(reason) => Failure::Refused(format!("{reason}; it was counted")),
                failure => failure,
            });
        }
    };
    let mut output = Printer::new(invocation.is_set("json"));
    if output.is_json {
        output.json(Object::new().text("name", name).text("value", &value))?;
    } else {
        output.line(&value)?;
    }
    output.flush()
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

/// The names in the cache that begin with a prefix, sorted bytewise.
fn names_with(client: &mut Client, prefix: &[u8]) -> Result<Vec<Text>, Failure> {
    let mut names = client.keys()?;
    names.retain(|name| name.starts_with(prefix));
    names.sort_unstable();
    Ok(names)
}

pub fn keys(invocation: &Invocation) -> Result<(), Failure> {
    let prefix = invocation.optional(0).unwrap_or_default();
    if invocation.is_set("long") {
        return long_keys(invocation, prefix);
    }
    let names = names_with(&mut login::client(invocation)?, prefix)?;
    let mut output = Printer::new(invocation.is_set("json"));
    for name in names {
        if output.is_json {
            output.json(Object::new().text("name", &name))?;
        } else {
            output.line(&name)?;
        }
    }
    output.flush()
}

/// Prints the names with their sizes, their ages and the times to their expiry. A terminal gets a heading.
fn long_keys(invocation: &Invocation, prefix: &[u8]) -> Result<(), Failure> {
    let asked = login::client(invocation)?.key_info(prefix);
    let mut entries = asked.map_err(|error| match error.into() {
        Failure::Refused(reason) => refused(invocation, reason, "KEYINFO", "read"),
        failure => failure,
    })?;
    entries.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    let mut output = Printer::new(invocation.is_set("json"));
    if output.is_json {
        for KeyInfo {
            name,
            size,
            age_s,
            ttl,
            ..
        } in &entries
        {
            let object = Object::new().text("name", name).field("size", *size);
            output.json(object.field("age", *age_s).field("ttl", seconds_of(*ttl)))?;
        }
        return output.flush();
    }
    let heading = output.is_terminal.then(|| {
        let words = ["SIZE", "AGE", "TTL"].map(str::to_owned);
        (words, &b"NAME"[..])
    });
    let rows = entries.iter().map(|entry| {
        let ttl = seconds_of(entry.ttl).to_string();
        let figures = [entry.size.to_string(), entry.age_s.to_string(), ttl];
        (figures, &entry.name[..])
    });
    let rows: Vec<([String; 3], &[u8])> = heading.into_iter().chain(rows).collect();
    let width = |column: usize| rows.iter().map(|(row, _)| row[column].len()).max();
    let widths: Vec<usize> = (0..3).filter_map(width).collect();
    for (figures, name) in &rows {
        let cells = figures.iter().zip(&widths);
        let cells: String = cells
            .map(|(cell, width)| format!("{cell:>width$}  "))
            .collect();
        output.line(&[cells.as_bytes(), name].concat())?;
    }
    output.flush()
}

/// The seconds to an expiry as they are printed: -1 stands for never.
fn seconds_of(ttl: Ttl) -> i64 {
    match ttl {
        Ttl::Never => -1,
        Ttl::Seconds(seconds) => i64::try_from(seconds).unwrap_or(i64::MAX),
    }
}

pub fn clear(invocation: &Invocation) -> Result<(), Failure> {
    write(invocation, Client::clear)
}
