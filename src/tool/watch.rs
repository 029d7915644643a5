//! The commands that print what comes until they are interrupted, or nobody reads it.

use super::output::{Object, Output, printable};
use super::table::Invocation;
use super::terminal::{self, Wanted};
use super::{Failure, complain, login, refusal};
use crate::client::{Client, Message};
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

/// How long to dial at once, before the output is looked at again.
const DIAL: Duration = Duration::from_secs(1);

pub fn listen(invocation: &Invocation) -> Result<(), Failure> {
    let left = count(invocation)?;
    let mut client = login::client(invocation)?;
    for name in &invocation.arguments {
        client.listen(name)?;
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

/// Prints what `shown` makes of each message, as JSON or as text; of so many, if that is limited.
fn watch(
    invocation: &Invocation,
    client: &mut Client,
    mut left: Option<u64>,
    shown: impl Fn(&Message) -> Option<(Object, Vec<u8>)>,
) -> Result<(), Failure> {
    let mut output = Output::new(invocation.is_set("json"));
    loop {
        let patience = if client.is_connected() {
            Duration::ZERO
        } else {
            DIAL
        };
        while let Some(message) = client.next(patience)? {
            let Some((object, text)) = shown(&message) else {
                tell(&mut output, &message)?;
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

/// What befalls the connection: a line of JSON among the others, since signals may have been missed, or a
/// line on standard error.
fn tell(output: &mut Output, message: &Message) -> Result<(), Failure> {
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
            refusal::said(&printable(why)),
        ),
        _ => return Ok(()),
    };
    if !output.is_json {
        complain(&text);
        return Ok(());
    }
    output.json(object)?;
    output.flush()
}

/// Until something comes, or nobody reads the output any more.
fn wait(client: &Client) -> Result<(), Failure> {
    let stdout = io::stdout();
    let mut wanted = vec![Wanted::end_of(stdout.as_fd())];
    let descriptor = client.descriptor();
    // Without a connection the client is asked to dial at once.
    let patience = terminal::time_until(client.next_due());
    wanted.extend(descriptor.map(Wanted::input_of));
    let ready = terminal::wait(&wanted, patience)?;
    if ready[0] {
        return Err(Failure::OutputClosed);
    }
    Ok(())
}
