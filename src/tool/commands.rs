//! The commands that send one signal or one request of management, and end. The commands of the cache are in
//! [`super::entries`].

use super::arguments::Invocation;
use super::failure::Failure;
use super::login;
use super::printer::printable;
use crate::client::{Client, Error};
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
