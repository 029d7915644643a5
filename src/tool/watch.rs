//! The commands `listen` and `monitor`, which print messages until they are interrupted or nobody reads their output.

use super::arguments::Invocation;
use super::failure::Failure;
use super::printer::{Object, Printer, printable, report_error};
use super::terminal::{self, Interest};
use super::{login, refusal};
use crate::client::{Client, Message};
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

/// The longest single wait for a connection, before standard output is checked again.
const DIAL_SLICE: Duration = Duration::from_secs(1);

/// Runs `clacks listen`.
pub fn listen(invocation: &Invocation) -> Result<(), Failure> {
    let left = count(invocation)?;
    let mut client = login::client(invocation)?;
    let takes_patterns = invocation.is_set("patterns");
    for name in &invocation.arguments {
        match takes_patterns {
            true => client.listen_to_pattern(name)?,
            false => client.listen(name)?,
        }
    }
    client.sync()?;
    watch(invocation, &mut client, left, |message| match message {
        Message::Set { name, value } => Some((
            Object::of_type("set")
                .text("name", name)
                .text("value", value),
            [name, &b"="[..], value].concat(),
        )),
        Message::Notify { name } => {
            Some((Object::of_type("notify").text("name", name), name.to_vec()))
        }
        _ => None,
    })
}

/// Runs `clacks monitor`.
pub fn monitor(invocation: &Invocation) -> Result<(), Failure> {
    let left = count(invocation)?;
    let mut client = login::client(invocation)?;
    client.monitor()?;
    client.sync()?;
    watch(invocation, &mut client, left, |message| match message {
        Message::Debug { about, text } => Some((
            Object::of_type("debug")
                .text("about", about)
                .text("text", text),
            [about, &b" "[..], text].concat(),
        )),
        _ => None,
    })
}

/// Prints each message for which `format` returns a JSON object and a text. `left` is the number of messages to print,
/// or `None` for no limit.
fn watch(
    invocation: &Invocation,
    client: &mut Client,
    mut left: Option<u64>,
    format: impl Fn(&Message) -> Option<(Object, Vec<u8>)>,
) -> Result<(), Failure> {
    let mut output = Printer::new(invocation.is_set("json"));
    loop {
        let timeout = if client.is_connected() {
            Duration::ZERO
        } else {
            DIAL_SLICE
        };
        while let Some(message) = client.next(timeout)? {
            let Some((object, text)) = format(&message) else {
                print_event(&mut output, &message)?;
                continue;
            };
            if output.is_json {
                output.json(object)?;
            } else {
                output.line(&text)?;
            }
            output.flush()?;
            left = left.map(|left| left - 1);
            if left == Some(0) {
                return Ok(());
            }
        }
        wait(client)?;
    }
}

/// The value of `--count`.
fn count(invocation: &Invocation) -> Result<Option<u64>, Failure> {
    let Some(text) = invocation.value("count") else {
        return Ok(None);
    };
    let count = text.to_str().and_then(|text| text.parse().ok());
    match count.filter(|count| *count > 0) {
        Some(count) => Ok(Some(count)),
        None => Err(Failure::Usage(format!(
            "--count \"{}\" wants a whole number from 1",
            text.display()
        ))),
    }
}

/// Reports an event of the connection, as a line of JSON on standard output or as text on standard error. Readers of
/// the JSON have to know about it, since signals may have been missed.
fn print_event(output: &mut Printer, message: &Message) -> Result<(), Failure> {
    let (object, text) = match message {
        Message::Disconnected(why) => (
            Object::of_type("disconnected").text("reason", why),
            format!("{}; dialling again", printable(why)),
        ),
        Message::Reconnected => (Object::of_type("reconnected"), "connected again".to_owned()),
        Message::Lost(count) => (
            Object::of_type("lost").field("count", *count),
            format!("{count} lines were lost: they came too fast"),
        ),
        Message::Error(why) => (
            Object::of_type("error").text("reason", why),
            refusal::message(&printable(why)),
        ),
        _ => return Ok(()),
    };
    if !output.is_json {
        report_error(&text);
        return Ok(());
    }
    output.json(object)?;
    output.flush()
}

/// Waits until a message may have arrived.
///
/// # Errors
/// [`Failure::OutputClosed`] if the reader of standard output has gone.
fn wait(client: &Client) -> Result<(), Failure> {
    let stdout = io::stdout();
    let mut wanted = vec![Interest::hang_up(stdout.as_fd())];
    let descriptor = client.descriptor();
    // Without a connection there is no wait here: the client dials in its calls.
    let timeout = terminal::time_until(client.next_due());
    wanted.extend(descriptor.map(Interest::readable));
    let ready = terminal::wait(&wanted, timeout)?;
    if ready[0] {
        return Err(Failure::OutputClosed);
    }
    Ok(())
}
