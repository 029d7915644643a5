//! clacks, the command-line client: parses the arguments, runs one command, prints its output, and returns the exit
//! status. See clacks(1).

mod arguments;
pub mod bench;
mod chat;
mod columns;
mod commands;
mod editor;
mod entries;
mod failure;
mod flags;
mod help;
mod login;
mod printer;
mod refusal;
mod send;
mod status;
mod table;
mod terminal;
mod top;
mod unix_signals;
mod watch;

pub use arguments::{Argument, Command};
pub use flags::FLAGS;
pub use table::COMMANDS;

use crate::program::signals;
use arguments::{Invocation, Parsed};
use failure::Failure;
use printer::{print, report_error};
use std::ffi::OsString;

/// Runs the command that the arguments (without the program's name) ask for. Returns the exit status.
pub fn run(arguments: &[OsString]) -> u8 {
    let prepared = signals::prepare().map_err(Failure::from);
    let parsed = prepared.and_then(|()| table::parse(arguments));
    let done = parsed.and_then(|parsed| match parsed {
        Parsed::Help(command) => table::print_help(command),
        Parsed::Version => print(concat!("clacks ", env!("CARGO_PKG_VERSION"), "\n")),
        Parsed::Run(invocation) => (invocation.command.run)(&invocation)
            .map_err(|failure| name_missing_permission(failure, &invocation)),
    });
    let Err(failure) = done else {
        return 0;
    };
    let (status, message) = failure.exit_status_and_message();
    if let Some(message) = message {
        report_error(&message);
    }
    status
}

/// Adds the permission that the user lacks to the refusal of a command. Other failures stay as they are.
fn name_missing_permission(failure: Failure, invocation: &Invocation) -> Failure {
    let Failure::Refused(reason) = failure else {
        return failure;
    };
    let user = login::user(invocation).unwrap_or_default();
    let (sends, needs) = (invocation.command.sends, invocation.command.needs);
    Failure::Refused(refusal::with_permission(reason, sends, needs, &user))
}
