//! The command line of clacks as data: kinds of arguments, commands, and the parser that turns words into an
//! [`Invocation`]. The flags are in [`super::flags`], the commands in [`super::table`].
//!
//! lexopt parses instead of getopts, which the other programs use: getopts takes every word that begins with a hyphen
//! for a flag, and so could not keep values such as `-5` as they are.

use super::failure::Failure;
use super::printer::printable;
use super::unix_signals::UnixSignals;
use crate::client::Ttl;
use crate::program::flag::{Flag, did_you_mean, unknown};
use lexopt::{Arg, Parser};
use std::cell::OnceCell;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

/// The kind of an argument that a command takes after its name. The text is the argument's name in the help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Argument {
    One(&'static str),
    /// An argument that may begin with a hyphen, such as a negative number: a word in its place is never a flag.
    Verbatim(&'static str),
    Optional(&'static str),
    OptionalVerbatim(&'static str),
    /// One or more arguments, up to the end of the command line.
    Several(&'static str),
}

impl Argument {
    pub fn name(&self) -> &'static str {
        match self {
            Argument::One(name)
            | Argument::Verbatim(name)
            | Argument::Optional(name)
            | Argument::OptionalVerbatim(name)
            | Argument::Several(name) => name,
        }
    }

    /// The argument as usage lines show it: optional ones in brackets, repeated ones with dots.
    fn usage(&self) -> String {
        match self {
            Argument::One(name) | Argument::Verbatim(name) => (*name).to_owned(),
            Argument::Optional(name) | Argument::OptionalVerbatim(name) => format!("[{name}]"),
            Argument::Several(name) => format!("{name}..."),
        }
    }

    fn is_required(&self) -> bool {
        !matches!(self, Argument::Optional(_) | Argument::OptionalVerbatim(_))
    }

    fn is_verbatim(&self) -> bool {
        matches!(self, Argument::Verbatim(_) | Argument::OptionalVerbatim(_))
    }
}

/// A command of clacks.
pub struct Command {
    pub name: &'static str,
    pub arguments: &'static [Argument],
    pub help: &'static str,
    /// The verbs that the command sends. Empty for `send`, where the input decides.
    pub sends: &'static str,
    /// The permissions that a server may refuse the command for. Empty for `send`.
    pub needs: &'static str,
    /// The explanation in the help of the command, in lines that fit a terminal.
    pub details: &'static str,
    /// Words that other programs have for the command. They are no commands: the error about them names this one.
    pub other_words: &'static [&'static str],
    /// The long name of a flag that stands in the place of the arguments; empty if there is none.
    pub instead: &'static str,
    pub(super) run: fn(&Invocation) -> Result<(), Failure>,
}

impl Command {
    /// The command's name and its arguments, for usage lines.
    pub(super) fn usage(&self) -> String {
        let arguments = self.arguments.iter().map(Argument::usage);
        let words: Vec<String> = std::iter::once(self.name.to_owned())
            .chain(arguments)
            .collect();
        words.join(" ")
    }

    /// Returns an error if the command can't have these arguments, beside its flag that stands in their place or without
    /// it.
    fn check_arguments(&self, given: usize, has_instead: bool) -> Result<(), Failure> {
        let required = self.arguments.iter().filter(|one| one.is_required());
        let has_end = !matches!(self.arguments.last(), Some(Argument::Several(_)));
        let is_right = match has_instead {
            true => given == 0,
            false => given >= required.count() && !(has_end && given > self.arguments.len()),
        };
        if is_right {
            return Ok(());
        }
        let or = match self.instead {
            "" => String::new(),
            flag => format!(", or {} --{flag} ...", self.name),
        };
        usage(format!("usage: clacks [FLAGS] {}{or}", self.usage()))
    }
}

/// A command with its arguments and flags, as parsed from one command line.
pub struct Invocation {
    pub command: &'static Command,
    pub arguments: Vec<Vec<u8>>,
    /// The values of the given flags by their long names; empty for flags without a value.
    flags: HashMap<&'static str, OsString>,
    signals: OnceCell<UnixSignals>,
}

impl Invocation {
    pub fn is_set(&self, long: &str) -> bool {
        self.flags.contains_key(long)
    }

    /// The value of a flag, or `None` if the flag was not given.
    pub fn value(&self, long: &str) -> Option<&OsStr> {
        self.flags.get(long).map(OsString::as_os_str)
    }

    /// The value of a flag in seconds, or `None` if the flag was not given.
    ///
    /// # Errors
    /// [`Failure::Usage`] if it is no number above 0, or more than a century.
    pub fn seconds(&self, long: &str) -> Result<Option<Duration>, Failure> {
        let Some(text) = self.value(long) else {
            return Ok(None);
        };
        let seconds = text.to_str().and_then(|text| text.parse::<f64>().ok());
        let positive = seconds.filter(|seconds| *seconds > 0.0);
        let time = positive.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        match time {
            Some(time) if time <= Ttl::LONGEST => Ok(Some(time)),
            _ => usage(format!(
                "--{long} \"{}\" wants seconds above 0, a century at most",
                printable(text.as_encoded_bytes())
            )),
        }
    }

    /// A required argument. The index counts from 0.
    pub fn argument(&self, index: usize) -> &[u8] {
        &self.arguments[index]
    }

    /// An optional argument. The index counts from 0.
    pub fn optional(&self, index: usize) -> Option<&[u8]> {
        self.arguments.get(index).map(Vec::as_slice)
    }

    /// The handlers of Unix signals, installed by the first call. Only commands that change the terminal's settings
    /// need them.
    pub fn signals(&self) -> io::Result<&UnixSignals> {
        if self.signals.get().is_none() {
            let installed = UnixSignals::install()?;
            return Ok(self.signals.get_or_init(|| installed));
        }
        Ok(self.signals.get().expect("it is set, as was just checked"))
    }
}

/// The outcome of parsing a command line.
pub enum Parsed {
    /// The help of one command, or of the program.
    Help(Option<&'static Command>),
    Version,
    Run(Invocation),
}

/// Parses a command line, without the program's name. Flags may stand anywhere, except in the place of a verbatim
/// argument; `--` ends the flags.
///
/// # Errors
/// [`Failure::Usage`] for an unknown flag or command, for a flag that does not belong to the command, and for too few
/// or too many arguments.
pub fn parse(
    commands: &'static [Command],
    flags: &'static [Flag],
    arguments: &[OsString],
) -> Result<Parsed, Failure> {
    let mut parser = Parser::from_args(arguments);
    // As getopts has it in the other programs: `-n=3` gives the value `=3`.
    parser.set_short_equals(false);
    let mut command: Option<&'static Command> = None;
    let mut words: Vec<Vec<u8>> = Vec::new();
    let mut given = GivenFlags::new(flags);
    loop {
        let expected = command.and_then(|command| command.arguments.get(words.len()));
        if let Some(mut rest) = parser.try_raw_args() {
            if expected.is_some_and(Argument::is_verbatim) {
                match rest.next() {
                    Some(word) => words.push(word.into_vec()),
                    None => break,
                }
                continue;
            }
            given.word = rest.peek().map(OsStr::to_owned).unwrap_or_default();
        }
        match parser.next() {
            Ok(None) => break,
            Ok(Some(Arg::Value(word))) => match command {
                Some(_) => words.push(word.into_vec()),
                None => command = Some(find_command(commands, &word)?),
            },
            Ok(Some(Arg::Long(name))) => {
                let flag = given.find(|flag| flag.long == name)?;
                if flag.value.is_empty() && parser.optional_value().is_some() {
                    return usage(format!("{} takes no value", flag.long_form()));
                }
                given.add(flag, &mut parser)?;
            }
            Ok(Some(Arg::Short(letter))) => {
                let mut utf8 = [0; 4];
                let letter = &*letter.encode_utf8(&mut utf8);
                let flag = given.find(|flag| flag.short == letter)?;
                given.add(flag, &mut parser)?;
            }
            Err(error) => return usage(error.to_string()),
        }
    }
    let given = given.values;
    if given.contains_key("help") {
        return Ok(Parsed::Help(command));
    }
    if given.contains_key("version") {
        return Ok(Parsed::Version);
    }
    let Some(command) = command else {
        return usage("what shall be done? Try clacks help".to_owned());
    };
    check(command, &words, flags, &given)?;
    Ok(Parsed::Run(Invocation {
        command,
        arguments: words,
        flags: given,
        signals: OnceCell::new(),
    }))
}

/// The flags found so far by [`parse`].
struct GivenFlags {
    known: &'static [Flag],
    values: HashMap<&'static str, OsString>,
    /// The word that is being parsed, for messages. It may hold several short flags.
    word: OsString,
}

impl GivenFlags {
    fn new(known: &'static [Flag]) -> GivenFlags {
        GivenFlags {
            known,
            values: HashMap::new(),
            word: OsString::new(),
        }
    }

    fn find(&self, is_it: impl Fn(&&'static Flag) -> bool) -> Result<&'static Flag, Failure> {
        self.known.iter().find(is_it).ok_or_else(|| {
            let known: Vec<String> = self.known.iter().map(Flag::long_form).collect();
            let given = self.word.display().to_string();
            Failure::Usage(unknown("clacks", "flag", &given, &known))
        })
    }

    /// Adds a flag, and its value if it takes one.
    fn add(&mut self, flag: &'static Flag, parser: &mut Parser) -> Result<(), Failure> {
        let value = match flag.value {
            "" => OsString::new(),
            value => parser
                .value()
                .map_err(|_| Failure::Usage(format!("{} wants {value}", flag.long_form())))?,
        };
        match self.values.insert(flag.long, value) {
            Some(_) => usage(format!("{} is given twice", flag.long_form())),
            None => Ok(()),
        }
    }
}

fn usage<T>(what: String) -> Result<T, Failure> {
    Err(Failure::Usage(what))
}

/// Words of other programs for which no command stands alone, with the way to the same end.
pub(super) const OTHER_WAYS: &[(&[&str], &str)] = &[
    (
        &["expire", "pexpire", "touch"],
        "clacks store has --ttl, and clacks send takes the line EXPIRE NAME=SECONDS",
    ),
    (
        &["version"],
        "clacks --version is its own one, and clacks status shows that of the server",
    ),
];

/// Finds a command by its name.
///
/// # Errors
/// [`Failure::Usage`] with the name that was probably meant.
pub(super) fn find_command(
    commands: &'static [Command],
    name: &OsStr,
) -> Result<&'static Command, Failure> {
    if let Some(found) = commands.iter().find(|command| *command.name == *name) {
        return Ok(found);
    }
    let given = name.display().to_string();
    let word = given.to_lowercase();
    let other_way = OTHER_WAYS.iter().find(|(words, _)| words.contains(&&*word));
    if let Some((_, way)) = other_way {
        return usage(format!("there is no command \"{given}\"; {way}"));
    }
    let meant = commands
        .iter()
        .find(|one| one.other_words.contains(&&*word));
    usage(match meant {
        Some(meant) => did_you_mean("command", &given, meant.name),
        None => {
            let known: Vec<String> = commands.iter().map(|one| one.name.to_owned()).collect();
            unknown("clacks", "command", &given, &known)
        }
    })
}

/// Checks that the command takes these flags, that no two of them contradict each other, and that the number of
/// arguments is right.
fn check(
    command: &Command,
    arguments: &[Vec<u8>],
    flags: &[Flag],
    given: &HashMap<&'static str, OsString>,
) -> Result<(), Failure> {
    for flag in flags.iter().filter(|flag| given.contains_key(flag.long)) {
        if !flag.commands.is_empty() && !flag.commands.contains(&command.name) {
            let (flag, command) = (flag.long_form(), command.name);
            return usage(format!("{flag} means nothing to {command}"));
        }
    }
    for (one, other) in [("ca", "insecure"), ("raw", "json")] {
        if given.contains_key(one) && given.contains_key(other) {
            return usage(format!("--{one} and --{other} contradict each other"));
        }
    }
    let has_instead = !command.instead.is_empty() && given.contains_key(command.instead);
    command.check_arguments(arguments.len(), has_instead)
}
