//! The commands `listen` and `monitor`, which print messages until they are interrupted, have printed enough, or nobody
//! reads their output.

use super::arguments::Invocation;
use super::entries::value_object;
use super::failure::{CALL_TIMEOUT, Failure};
use super::printer::{Object, Printer, printable, report_error};
use super::terminal::{self, Interest};
use super::{login, refusal};
use crate::client::encoding;
use crate::client::{Client, Error, Message, Text};
use jiff::Timestamp;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// The longest single wait for a connection, before standard output is checked again.
const DIAL_SLICE: Duration = Duration::from_secs(1);
/// The time limit for the answers to the questions for present values.
const ANSWER: Duration = CALL_TIMEOUT;
/// Values that are retrieved before they are printed.
const VALUES: usize = 1000;

/// The output of a command that watches, and the conditions for its end.
struct Watch<'a> {
    invocation: &'a Invocation,
    user: String,
    output: Printer,
    has_timestamps: bool,
    /// The number of messages that are still to be printed; `None`: no limit.
    left: Option<u64>,
    /// The time after which it ends.
    end: Option<Instant>,
    /// The present values have to be printed.
    wants_values: bool,
}

/// A line of JSON and the text that stands for it.
type Line = (Object, Vec<u8>);

/// Runs `clacks listen`.
pub fn listen(invocation: &Invocation) -> Result<(), Failure> {
    let mut watch = Watch::new(invocation)?;
    let mut client = login::client(invocation)?;
    let takes_patterns = invocation.is_set("patterns");
    for name in &invocation.arguments {
        match takes_patterns {
            true => client.listen_to_pattern(name)?,
            false => client.listen(name)?,
        }
    }
    client.sync()?;
    watch.begin()?;
    watch.print_values_if_wanted(&mut client)?;
    watch.print_event(Object::of_type("listening"), "listening")?;
    watch.run(&mut client, |message| match message {
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
    let mut watch = Watch::new(invocation)?;
    let mut client = login::client(invocation)?;
    client.monitor()?;
    client.sync()?;
    watch.begin()?;
    watch.run(&mut client, |message| match message {
        Message::Debug { about, text } => Some((
            Object::of_type("debug")
                .text("about", about)
                .text("text", text),
            [about, &b" "[..], text].concat(),
        )),
        _ => None,
    })
}

impl Watch<'_> {
    fn new(invocation: &Invocation) -> Result<Watch<'_>, Failure> {
        // A wrong value is an error before anybody is asked.
        invocation.seconds("for")?;
        Ok(Watch {
            invocation,
            user: login::user(invocation)?,
            output: Printer::new(invocation.is_set("json")),
            has_timestamps: invocation.is_set("timestamps"),
            left: count(invocation)?,
            end: None,
            wants_values: invocation.is_set("with-values"),
        })
    }

    /// Starts the time of --for.
    fn begin(&mut self) -> Result<(), Failure> {
        let time = self.invocation.seconds("for")?;
        self.end = time.and_then(|time| Instant::now().checked_add(time));
        Ok(())
    }

    fn has_ended(&self) -> bool {
        self.left == Some(0) || self.end.is_some_and(|end| Instant::now() >= end)
    }

    /// The time to the end of --for, at most `longest`.
    fn time_left(&self, longest: Duration) -> Duration {
        let left = self
            .end
            .map(|end| end.saturating_duration_since(Instant::now()));
        left.map_or(longest, |left| left.min(longest))
    }

    /// Prints each message for which `format` returns a line, and events of the connection.
    fn run(
        &mut self,
        client: &mut Client,
        format: impl Fn(&Message) -> Option<Line>,
    ) -> Result<(), Failure> {
        while !self.has_ended() {
            let timeout = match client.is_connected() {
                true => Duration::ZERO,
                false => self.time_left(DIAL_SLICE),
            };
            while let Some(message) = self.next(client, timeout)? {
                if let Some((object, text)) = format(&message) {
                    self.print(object, &text)?;
                    self.output.flush()?;
                    self.left = self.left.map(|left| left - 1);
                } else {
                    self.handle_event(client, &message)?;
                }
                if self.has_ended() {
                    return Ok(());
                }
            }
            if client.is_connected() {
                self.print_values_if_wanted(client)?;
            }
            self.wait(client)?;
        }
        Ok(())
    }

    fn next(&self, client: &mut Client, timeout: Duration) -> Result<Option<Message>, Failure> {
        let next = client.next(timeout);
        next.map_err(|error| login::lost(&self.user, error))
    }

    /// Prints a line on standard output.
    fn print(&mut self, object: Object, text: &[u8]) -> Result<(), Failure> {
        if self.output.is_json {
            let object = match self.has_timestamps {
                true => object.field("time", present_time()),
                false => object,
            };
            return self.output.json(object);
        }
        match self.has_timestamps {
            true => {
                let time = present_time();
                self.output.line(&[time.as_bytes(), b" ", text].concat())
            }
            false => self.output.line(text),
        }
    }

    /// Prints an event, as a line of JSON on standard output or as text on standard error. Readers of the JSON have to
    /// know about a lost connection, since signals may have been missed.
    fn print_event(&mut self, object: Object, text: &str) -> Result<(), Failure> {
        if self.output.is_json {
            self.print(object, text.as_bytes())?;
            return self.output.flush();
        }
        match self.has_timestamps {
            true => report_error(&format!("{} {text}", present_time())),
            false => report_error(text),
        }
        Ok(())
    }

    fn handle_event(&mut self, client: &mut Client, message: &Message) -> Result<(), Failure> {
        match message {
            Message::Disconnected(why) => {
                let text = format!("{}; dialling again", printable(why));
                self.print_event(Object::of_type("disconnected").text("reason", why), &text)
            }
            Message::Reconnected => {
                self.print_event(Object::of_type("reconnected"), "connected again")?;
                // Signals may have been missed that have changed the values.
                self.wants_values = self.invocation.is_set("with-values");
                self.print_values_if_wanted(client)
            }
            Message::Lost(count) => {
                let text = format!("{count} lines were lost: they came too fast");
                self.print_event(Object::of_type("lost").field("count", *count), &text)
            }
            Message::Error(why) => {
                let text = refusal::message(&printable(why));
                self.print_event(Object::of_type("error").text("reason", why), &text)
            }
            _ => Ok(()),
        }
    }

    /// Prints the present values that belong to the subscriptions, if they are wanted. They stay wanted if the server does
    /// not answer.
    ///
    /// The server has taken the subscriptions before. Signals that arrive before the answers are queued by the client, and
    /// printed later: so no change is missed, and none is printed before the values.
    fn print_values_if_wanted(&mut self, client: &mut Client) -> Result<(), Failure> {
        if !self.wants_values {
            return Ok(());
        }
        let names = &self.invocation.arguments;
        let names: Vec<Text> = match self.invocation.is_set("patterns") {
            false => names.iter().map(|name| name.as_slice().into()).collect(),
            true => {
                let found = self.ask(client, |client| client.keys_matching(names))?;
                let Some(found) = found else {
                    return Ok(());
                };
                found
            }
        };
        for some in names.chunks(VALUES) {
            let values = self.ask(client, |client| client.retrieve_all(some))?;
            let Some(values) = values else {
                return Ok(());
            };
            for (name, value) in some.iter().zip(values) {
                if let Some(value) = value {
                    let (object, text) = value_line(name, &value);
                    self.print(object, &text)?;
                }
            }
        }
        self.wants_values = false;
        self.output.flush()
    }

    /// Asks the server. Returns `None` if there was no answer in time or the connection was lost.
    fn ask<T>(
        &self,
        client: &mut Client,
        question: impl FnOnce(&mut Client) -> Result<T, Error>,
    ) -> Result<Option<T>, Failure> {
        let until = Instant::now() + self.time_left(ANSWER);
        match client.within(until, question) {
            Ok(answer) => Ok(Some(answer)),
            Err(Error::TimedOut | Error::Disconnected(_)) => Ok(None),
            Err(error) => Err(login::lost(&self.user, error)),
        }
    }

    /// Waits until a message may have arrived.
    ///
    /// # Errors
    /// [`Failure::OutputClosed`] if the reader of standard output has gone.
    fn wait(&self, client: &Client) -> Result<(), Failure> {
        let stdout = io::stdout();
        let mut wanted = vec![Interest::hang_up(stdout.as_fd())];
        let descriptor = client.descriptor();
        // Without a connection there is no wait here: the client dials in its calls.
        let timeout = self.time_left(terminal::time_until(client.next_due()));
        wanted.extend(descriptor.map(Interest::readable));
        let ready = terminal::wait(&wanted, timeout)?;
        if ready[0] {
            return Err(Failure::OutputClosed);
        }
        Ok(())
    }
}

/// A present value as a line. A decoded value with line breaks would be several lines, so the text shows it as it is stored.
fn value_line(name: &[u8], stored: &[u8]) -> Line {
    let decoded = encoding::decode(stored);
    let object = Object::of_type("value").text("name", name);
    let object = value_object(object, decoded.clone());
    let bytes = decoded.into_bytes();
    let has_breaks = memchr::memchr2(b'\r', b'\n', &bytes).is_some();
    let shown = if has_breaks { stored } else { &bytes };
    (object, [name, b"=", shown].concat())
}

/// The present time in UTC with milliseconds, as RFC 3339 writes it.
fn present_time() -> String {
    format!("{:.3}", Timestamp::now())
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
