//! The commands and flags: one table behind parsing, `--help`, the completions, and a test against the
//! man page.

use super::signals::Signals;
use super::{Failure, bench, chat, commands, send, watch};
use crate::program::flag::{Flag, flag, unknown};
use std::cell::OnceCell;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;

const BENCH: &[&str] = &["bench"];

/// All flags, in the order of the man page.
pub const FLAGS: &[Flag] = &[
    flag(
        "s",
        "server",
        "ADDRESS",
        "the server: unix:PATH, tcp://HOST:PORT or tls://HOST:PORT",
    )
    .default("$CLACKS_SERVER, or unix:/run/clacksd/clacksd.sock if it is there, or tcp://127.0.0.1:49888"),
    flag("u", "user", "USER", "who logs in").default("$CLACKS_USER or clacks"),
    flag(
        "",
        "password-file",
        "FILE",
        "the user's password, the first line of the file",
    )
    .default("$CLACKS_PASSWORD, or asked for on a terminal"),
    flag(
        "",
        "ca",
        "FILE",
        "authorities that a tls:// server's certificate must come from (PEM)",
    )
    .default("the system's"),
    flag(
        "",
        "insecure",
        "",
        "don't check the certificate of a tls:// server: an impostor gets the password",
    ),
    flag(
        "",
        "allow-plaintext",
        "",
        "allow tcp:// to addresses that aren't loopback",
    ),
    flag("", "json", "", "print a JSON object per line"),
    flag("", "raw", "", "print the value's bytes and nothing else, without a line feed").only(&["retrieve"]),
    flag("n", "count", "N", "end after so many lines; bench: operations").only(&["listen", "monitor", "bench"]),
    flag("", "seconds", "S", "end after that time").default("3, or none with --count").only(BENCH),
    flag("", "connections", "N", "how many there are").default("50; idle: 1000").only(BENCH),
    flag("", "listeners", "N", "how many get each signal").default("100").only(BENCH),
    flag("", "pipeline", "N", "commands sent at once").default("1; fan-out: 64").only(BENCH),
    flag("", "value-size", "SIZE", "bytes in a value").default("64").only(BENCH),
    flag("", "names", "N", "different names").default("1000; fan-out: 1").only(BENCH),
    flag("", "reads", "PERCENT", "share of reads; the rest writes").default("90").only(BENCH),
    flag("", "own-names", "", "idle: each listens to a name of its own").only(BENCH),
    flag("", "pid", "PID", "the server's process").default("found out on this machine").only(BENCH),
    flag("h", "help", "", "show this help"),
    flag("V", "version", "", "show the version"),
];

/// What a command wants behind its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Argument {
    One(&'static str),
    /// One that may begin with a hyphen, such as a negative number: what stands in its place is never a
    /// flag.
    Verbatim(&'static str),
    Optional(&'static str),
    OptionalVerbatim(&'static str),
    /// One or more.
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

    fn shown(&self) -> String {
        match self {
            Argument::One(name) | Argument::Verbatim(name) => (*name).to_owned(),
            Argument::Optional(name) | Argument::OptionalVerbatim(name) => format!("[{name}]"),
            Argument::Several(name) => format!("{name}..."),
        }
    }

    fn is_needed(&self) -> bool {
        !matches!(self, Argument::Optional(_) | Argument::OptionalVerbatim(_))
    }

    fn is_verbatim(&self) -> bool {
        matches!(self, Argument::Verbatim(_) | Argument::OptionalVerbatim(_))
    }
}

/// A command as users see it.
pub struct Command {
    pub name: &'static str,
    pub arguments: &'static [Argument],
    pub help: &'static str,
    /// The verbs that it sends, and the permissions that a server may refuse them for; empty: what the input says.
    pub sends: &'static str,
    pub needs: &'static str,
    pub(super) run: fn(&Invocation) -> Result<(), Failure>,
}

impl Command {
    const fn sends(self, sends: &'static str, needs: &'static str) -> Command {
        Command {
            sends,
            needs,
            ..self
        }
    }
}

const fn command(
    name: &'static str,
    arguments: &'static [Argument],
    help: &'static str,
    run: fn(&Invocation) -> Result<(), Failure>,
) -> Command {
    Command {
        name,
        arguments,
        help,
        sends: "",
        needs: "",
        run,
    }
}

const NAME: Argument = Argument::One("NAME");
const VALUE: Argument = Argument::Verbatim("VALUE");
const STEP: Argument = Argument::OptionalVerbatim("STEP");

/// All commands, in the order of the man page.
pub const COMMANDS: &[Command] = &[
    command(
        "set",
        &[NAME, VALUE],
        "send a signal with a value",
        commands::set,
    )
    .sends("SET", "write"),
    command(
        "notify",
        &[NAME],
        "send a signal without one",
        commands::notify,
    )
    .sends("NOTIFY", "write"),
    command(
        "set-and-store",
        &[NAME, VALUE],
        "send a signal and store its value",
        commands::set_and_store,
    )
    .sends("SETANDSTORE", "write"),
    command(
        "listen",
        &[Argument::Several("NAME")],
        "print signals as they come",
        watch::listen,
    )
    .sends("LISTEN", "read"),
    command(
        "store",
        &[NAME, VALUE],
        "put a value into the cache",
        commands::store,
    )
    .sends("STORE", "write"),
    command(
        "retrieve",
        &[NAME],
        "print a value of the cache",
        commands::retrieve,
    )
    .sends("RETRIEVE", "read"),
    command(
        "remove",
        &[NAME],
        "take a name out of the cache",
        commands::remove,
    )
    .sends("REMOVE", "write"),
    command(
        "increment",
        &[NAME, STEP],
        "add 1 or STEP to a number",
        commands::increment,
    )
    .sends("INCREMENT", "write"),
    command(
        "decrement",
        &[NAME, STEP],
        "subtract 1 or STEP from a number",
        commands::decrement,
    )
    .sends("DECREMENT", "write"),
    command(
        "keys",
        &[Argument::Optional("PREFIX")],
        "print the names in the cache",
        commands::keys,
    )
    .sends("KEYLIST", "read"),
    command("clear", &[], "empty the cache", commands::clear).sends("CLEARCACHE", "manage"),
    command("clients", &[], "print who is connected", commands::clients)
        .sends("CLIENTLIST", "manage"),
    command(
        "disconnect",
        &[Argument::One("CID")],
        "end a connection",
        commands::disconnect,
    )
    .sends("CLIENTDISCONNECT", "manage"),
    command(
        "monitor",
        &[],
        "print all that passes the server",
        watch::monitor,
    )
    .sends("MONITOR", "manage"),
    command(
        "shutdown",
        &[Argument::Optional("S")],
        "let the server end in 1 or S seconds",
        commands::shutdown,
    )
    .sends("OVERHEAD S", "manage"),
    command(
        "send",
        &[],
        "send lines of the protocol from standard input and print the answers",
        send::send,
    ),
    command(
        "chat",
        &[Argument::Optional("NAME")],
        "talk to whoever else does this",
        chat::chat,
    )
    .sends("LISTEN", "read"),
    command(
        "bench",
        &[Argument::One("LOAD")],
        "measure the server under a load: cache, fan-out, ping-pong or idle",
        bench::bench,
    )
    .sends("RETRIEVE, STORE, LISTEN and SET", "read and write"),
];

/// A command with all that was said about it.
pub struct Invocation {
    pub command: &'static Command,
    pub arguments: Vec<Vec<u8>>,
    /// By long form.
    flags: HashMap<&'static str, OsString>,
    signals: OnceCell<Signals>,
}

impl Invocation {
    pub fn is_set(&self, long: &str) -> bool {
        self.flags.contains_key(long)
    }

    pub fn value(&self, long: &str) -> Option<&OsStr> {
        self.flags.get(long).map(OsString::as_os_str)
    }

    /// An argument that is always there.
    pub fn argument(&self, index: usize) -> &[u8] {
        &self.arguments[index]
    }

    /// For whoever changes the terminal.
    pub fn signals(&self) -> io::Result<&Signals> {
        if self.signals.get().is_none() {
            let made = Signals::new()?;
            return Ok(self.signals.get_or_init(|| made));
        }
        Ok(self.signals.get().expect("it was just looked at"))
    }

    pub fn optional(&self, index: usize) -> Option<&[u8]> {
        self.arguments.get(index).map(Vec::as_slice)
    }
}

pub enum Parsed {
    Help,
    Version,
    Run(Invocation),
}

/// Flags may stand anywhere, except where a value or step is expected; `--` ends them.
pub fn parse(arguments: &[OsString]) -> Result<Parsed, Failure> {
    let mut command: Option<&'static Command> = None;
    let mut taken: Vec<Vec<u8>> = Vec::new();
    let mut flags = HashMap::new();
    let mut no_more_flags = false;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let bytes = argument.as_bytes();
        let expected = command.and_then(|command| command.arguments.get(taken.len()));
        let is_flag = bytes.starts_with(b"-")
            && bytes != b"-"
            && !no_more_flags
            && !expected.is_some_and(Argument::is_verbatim);
        if !is_flag {
            match command {
                Some(_) => taken.push(bytes.to_vec()),
                None => command = Some(find_command(argument)?),
            }
        } else if bytes == b"--" {
            no_more_flags = true;
        } else if let Some(long) = bytes.strip_prefix(b"--") {
            let (name, value) = match memchr::memchr(b'=', long) {
                Some(equals) => (&long[..equals], Some(&long[equals + 1..])),
                None => (long, None),
            };
            let flag = find_flag(argument, |flag| flag.long.as_bytes() == name)?;
            if flag.value.is_empty() && value.is_some() {
                return usage(format!("{} takes no value", flag.written()));
            }
            let value = value.map(|value| OsStr::from_bytes(value).to_owned());
            take_flag(&mut flags, flag, value, &mut rest)?;
        } else {
            let mut letters = &bytes[1..];
            while let [letter, others @ ..] = letters {
                let flag = find_flag(argument, |flag| flag.short.as_bytes() == [*letter])?;
                let value = (!flag.value.is_empty() && !others.is_empty())
                    .then(|| OsStr::from_bytes(others).to_owned());
                letters = if value.is_some() { &[] } else { others };
                take_flag(&mut flags, flag, value, &mut rest)?;
            }
        }
    }
    if flags.contains_key("help") {
        return Ok(Parsed::Help);
    }
    if flags.contains_key("version") {
        return Ok(Parsed::Version);
    }
    let Some(command) = command else {
        return usage("what shall be done? Try clacks --help".to_owned());
    };
    check(command, &taken, &flags)?;
    Ok(Parsed::Run(Invocation {
        command,
        arguments: taken,
        flags,
        signals: OnceCell::new(),
    }))
}

fn usage<T>(what: String) -> Result<T, Failure> {
    Err(Failure::Usage(what))
}

fn find_command(name: &OsStr) -> Result<&'static Command, Failure> {
    let found = COMMANDS.iter().find(|command| *command.name == *name);
    found.ok_or_else(|| {
        let known: Vec<String> = COMMANDS.iter().map(|one| one.name.to_owned()).collect();
        let given = name.display().to_string();
        Failure::Usage(unknown("clacks", "command", &given, &known))
    })
}

fn find_flag(
    argument: &OsStr,
    is_it: impl Fn(&&'static Flag) -> bool,
) -> Result<&'static Flag, Failure> {
    FLAGS.iter().find(is_it).ok_or_else(|| {
        let known: Vec<String> = FLAGS.iter().map(Flag::written).collect();
        let given = argument.display().to_string();
        Failure::Usage(unknown("clacks", "flag", &given, &known))
    })
}

fn take_flag<'a>(
    flags: &mut HashMap<&'static str, OsString>,
    flag: &'static Flag,
    value: Option<OsString>,
    rest: &mut impl Iterator<Item = &'a OsString>,
) -> Result<(), Failure> {
    let value = match value {
        Some(value) => value,
        None if flag.value.is_empty() => OsString::new(),
        None => rest
            .next()
            .cloned()
            .ok_or_else(|| Failure::Usage(format!("{} wants {}", flag.written(), flag.value)))?,
    };
    match flags.insert(flag.long, value) {
        Some(_) => usage(format!("{} is given twice", flag.written())),
        None => Ok(()),
    }
}

/// Whether the command can be done with that.
fn check(
    command: &Command,
    arguments: &[Vec<u8>],
    flags: &HashMap<&'static str, OsString>,
) -> Result<(), Failure> {
    let given = FLAGS.iter().filter(|flag| flags.contains_key(flag.long));
    for flag in given {
        if !flag.commands.is_empty() && !flag.commands.contains(&command.name) {
            return usage(format!(
                "{} means nothing to {}",
                flag.written(),
                command.name
            ));
        }
    }
    if flags.contains_key("ca") && flags.contains_key("insecure") {
        return usage("--ca and --insecure contradict each other".to_owned());
    }
    if flags.contains_key("raw") && flags.contains_key("json") {
        return usage("--raw and --json contradict each other".to_owned());
    }
    let needed = command.arguments.iter().filter(|one| one.is_needed());
    let has_end = !matches!(command.arguments.last(), Some(Argument::Several(_)));
    if arguments.len() < needed.count() || has_end && arguments.len() > command.arguments.len() {
        return usage(format!("usage: clacks [FLAGS] {}", shown(command)));
    }
    Ok(())
}

/// The command's name and its arguments.
fn shown(command: &Command) -> String {
    let arguments = command.arguments.iter().map(Argument::shown);
    let words: Vec<String> = std::iter::once(command.name.to_owned())
        .chain(arguments)
        .collect();
    words.join(" ")
}

pub fn help() -> String {
    let mut help =
        "Usage: clacks [FLAGS] COMMAND ...\n\nA client of clacksd. See clacks(1).\n\nCommands:\n"
            .to_owned();
    for command in COMMANDS {
        help += &format!("    {:<28}{}\n", shown(command), command.help);
    }
    help += "\nA VALUE of - is standard input.\n\nFlags:\n";
    for flag in FLAGS {
        let indent = if flag.short.is_empty() { "    " } else { "" };
        let written = format!("{indent}{} {}", flag.forms().join(", "), flag.value);
        help += &format!("    {written:<28}{}", flag.explained());
        help.push('\n');
    }
    help += "\nStatus: 0 done; 1 no such entry; 2 wrong usage; 3 no connection or login; 4 refused by the server.\n";
    help
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Invocation, String> {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        match parse(&arguments) {
            Ok(Parsed::Run(invocation)) => Ok(invocation),
            Ok(_) => Err("help".to_owned()),
            Err(failure) => Err(failure.told().1.expect("a reason").into_owned()),
        }
    }

    #[test]
    fn flags_stand_anywhere_but_in_the_place_of_a_value() {
        for arguments in [
            &["--count", "3", "listen", "a", "b"][..],
            &["listen", "-n3", "a", "b"],
            &["listen", "a", "-n", "3", "b"],
            &["listen", "a", "b", "--count=3"],
            &["listen", "-n", "3", "--", "a", "b"],
        ] {
            let listen = parsed(arguments).expect("it is right");
            assert_eq!(listen.arguments, [b"a", b"b"]);
            assert_eq!(listen.value("count"), Some(OsStr::new("3")));
        }
        for value in ["-5", "--json", "--", "-", "-n", ""] {
            let set = parsed(&["--json", "set", "a", value]).expect("it is right");
            assert_eq!(set.argument(1), value.as_bytes());
        }
        let keys = parsed(&["keys", "--", "-x"]).expect("it is right");
        assert_eq!(keys.argument(0), b"-x");
        let increment = parsed(&["increment", "n", "-5"]).expect("it is right");
        assert_eq!(increment.optional(1), Some(&b"-5"[..]));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (arguments, part) in [
            (&[][..], "what shall be done"),
            (&["sett"], "\"sett\"; did you mean \"set\"?"),
            (&["frobnicate"], "\"frobnicate\"; try clacks --help"),
            (&["set", "a"], "set NAME VALUE"),
            (&["set", "a", "b", "c"], "set NAME VALUE"),
            (&["listen"], "listen NAME..."),
            (&["keys", "a", "b"], "keys [PREFIX]"),
            (&["clear", "-x"], "\"-x\""),
            (&["keys", "--nope=3"], "\"--nope=3\"; try clacks --help"),
            (&["keys", "--jsno"], "\"--jsno\"; did you mean \"--json\"?"),
            (&["keys", "--raw"], "--raw means nothing to keys"),
            (&["retrieve", "a", "--raw", "--json"], "contradict"),
            (&["keys", "--json=yes"], "--json takes no value"),
            (&["keys", "-s"], "--server wants ADDRESS"),
            (&["keys", "-u", "a", "--user=b"], "--user is given twice"),
            (&["keys", "-n", "3"], "--count means nothing to keys"),
            (&["keys", "--ca", "x", "--insecure"], "contradict"),
        ] {
            let error = parsed(arguments).err().expect("it is wrong");
            assert!(error.contains(part), "{arguments:?}: {error}");
        }
        assert_eq!(parsed(&["set", "-h"]).err().as_deref(), Some("help"));
    }
}
