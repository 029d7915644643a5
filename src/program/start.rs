//! Argument parsing and start-up errors, shared by the long-running programs clacksd and clacks-pg.

use crate::program::flag::{Flag, unknown};
use getopts::{Fail, Matches, Options};
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};

/// The reason for which a program did not start. Its text is one line that names the flag.
#[derive(Debug, PartialEq, Eq)]
pub enum StartError {
    /// Wrong or contradicting flags or files.
    Usage(String),
    /// Anything else, such as a port in use or a missing right.
    Failed(String),
}

impl StartError {
    pub fn exit_status(&self) -> u8 {
        match self {
            StartError::Usage(_) => 2,
            StartError::Failed(_) => 1,
        }
    }

    /// The error with this exit status.
    pub fn with_exit_status(status: u8, message: String) -> StartError {
        match status {
            2 => StartError::Usage(message),
            _ => StartError::Failed(message),
        }
    }
}

/// Writes the message as one line, even if it quotes an argument with line breaks.
impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (StartError::Usage(message) | StartError::Failed(message)) = self;
        f.write_str(&message.replace('\n', "\\n"))
    }
}

/// Parses the arguments of a program, without its name. Arguments other than flags are errors.
pub fn parse(program: &str, flags: &[Flag], arguments: &[OsString]) -> Result<Matches, StartError> {
    // A lossy conversion could yield the name of another file.
    if let Some(wrong) = arguments.iter().find(|one| one.to_str().is_none()) {
        return Err(StartError::Usage(format!("{wrong:?} is no UTF-8")));
    }
    let matches = options(flags)
        .parse(arguments)
        .map_err(|error| StartError::Usage(parse_error(program, flags, error)))?;
    match matches.free.first() {
        Some(surplus) => Err(StartError::Usage(format!(
            "unexpected argument \"{surplus}\""
        ))),
        None => Ok(matches),
    }
}

/// The message about a wrong flag, in the words that all programs use.
fn parse_error(program: &str, flags: &[Flag], error: Fail) -> String {
    // For a known flag, the parser's error contains the form that was given, without hyphens.
    let find = |name: &str| {
        let is_it = |flag: &&Flag| flag.long == name || flag.short == name;
        flags
            .iter()
            .find(is_it)
            .expect("the parser has the same table")
    };
    match error {
        Fail::ArgumentMissing(name) => {
            let flag = find(&name);
            format!("{} wants {}", flag.long_form(), flag.value)
        }
        Fail::OptionDuplicated(name) => format!("{} is given twice", find(&name).long_form()),
        Fail::UnexpectedArgument(name) => format!("{} takes no value", find(&name).long_form()),
        Fail::UnrecognizedOption(name) => {
            let hyphens = if name.chars().count() == 1 { "-" } else { "--" };
            let known: Vec<String> = flags.iter().map(Flag::long_form).collect();
            unknown(program, "flag", &format!("{hyphens}{name}"), &known)
        }
        // The tables have no required flags.
        Fail::OptionMissing(name) => format!("--{name} is missing"),
    }
}

/// The text of `--help`: the usage and purpose of the program, and its flags.
pub fn help(purpose: &str, flags: &[Flag]) -> String {
    options(flags).usage(purpose)
}

fn options(flags: &[Flag]) -> Options {
    let mut options = Options::new();
    for flag in flags {
        let help = flag.help_text();
        match (flag.value, flag.repeatable) {
            ("", false) => options.optflag(flag.short, flag.long, &help),
            ("", true) => options.optflagmulti(flag.short, flag.long, &help),
            (value, false) => options.optopt(flag.short, flag.long, &help, value),
            (value, true) => options.optmulti(flag.short, flag.long, &help, value),
        };
    }
    options
}

/// Prints a text that was asked for instead of a start, such as the help.
pub fn print(text: &str) -> Result<(), StartError> {
    let written = io::stdout().write_all(text.as_bytes());
    written.map_err(|error| StartError::Failed(format!("standard output: {error}")))
}
