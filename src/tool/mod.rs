//! clacks, the command-line client: arguments to one command, its output, and the status it exits with.
//! See clacks(1).

pub mod bench;
mod chat;
mod commands;
mod editor;
mod login;
mod output;
mod refusal;
mod send;
mod signals;
mod table;
mod terminal;
mod watch;

pub use table::{Argument, COMMANDS, Command, FLAGS};

use crate::client::Error;
use crate::program::process_limits;
use output::Output;
use std::borrow::Cow;
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use table::Parsed;

/// Why a command has not done what it should.
#[derive(Debug)]
enum Failure {
    NoEntry(String),
    /// Wrong usage, or a file, standard input or output that doesn't work.
    Usage(String),
    /// No connection, no login, or no answer.
    Connection(String),
    /// The server's reason, a word as a rule.
    Refused(String),
    /// Nobody reads the output any more: then everything is done.
    OutputClosed,
}

impl Failure {
    /// The status to exit with, and what to say.
    fn told(&self) -> (u8, Option<Cow<'_, str>>) {
        match self {
            Failure::OutputClosed => (0, None),
            Failure::NoEntry(what) => (1, Some(what.into())),
            Failure::Usage(what) => (2, Some(what.into())),
            Failure::Connection(what) => (3, Some(what.into())),
            Failure::Refused(reason) => (4, Some(refusal::said(reason).into())),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let what = error.to_string();
        match error {
            Error::Invalid(_) | Error::Options(_) | Error::Structure(_) => Failure::Usage(what),
            Error::Refused(reason) => Failure::Refused(reason),
            Error::LoginRefused
            | Error::Certificate(_)
            | Error::TimedOut
            | Error::Disconnected(_)
            | Error::NotClacks(_) => Failure::Connection(what),
        }
    }
}

/// Standard input and output; what goes wrong with the server is an [`Error`].
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            ErrorKind::BrokenPipe => Failure::OutputClosed,
            _ => Failure::Usage(format!("standard input or output: {error}")),
        }
    }
}

/// Does what the arguments (without the program's name) say; the status to exit with.
pub fn run(arguments: &[OsString]) -> u8 {
    let is_ready = process_limits::report_file_size_as_error().map_err(Failure::from);
    let parsed = is_ready.and_then(|()| table::parse(arguments));
    let done = parsed.and_then(|parsed| match parsed {
        Parsed::Help => print(&table::help()),
        Parsed::Version => print(concat!("clacks ", env!("CARGO_PKG_VERSION"), "\n")),
        Parsed::Run(invocation) => (invocation.command.run)(&invocation)
            .map_err(|failure| refusal::add_permission(failure, &invocation)),
    });
    let Err(failure) = done else {
        return 0;
    };
    let (status, what) = failure.told();
    if let Some(what) = what {
        complain(&what);
    }
    status
}

fn print(text: &str) -> Result<(), Failure> {
    let mut output = Output::new(false);
    output.exactly(text.as_bytes())?;
    output.flush()
}

/// One line on standard error, whatever it quotes. If nobody reads that either, nobody wants to know.
fn complain(what: &str) {
    use std::io::Write;
    let _ = writeln!(
        io::stderr(),
        "clacks: {}",
        output::printable(what.as_bytes())
    );
}
