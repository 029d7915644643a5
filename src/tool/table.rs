//! The commands of clacks. Parsing, `--help`, the shell completions and a test against the man page follow from this
//! table.

use super::arguments::{self, Argument, Command, Invocation, Parsed};
use super::failure::Failure;
use super::flags::FLAGS;
use super::{bench, chat, commands, send, watch};
use std::ffi::OsString;

impl Command {
    /// Adds the verbs that the command sends and the permissions that it needs.
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
        "ttl",
        &[NAME],
        "print in how many seconds a name expires",
        commands::ttl,
    )
    .sends("TTL", "read"),
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

/// Parses the arguments of clacks, without the program's name; see [`arguments::parse`].
pub fn parse(arguments: &[OsString]) -> Result<Parsed, Failure> {
    arguments::parse(COMMANDS, FLAGS, arguments)
}

/// The text of `--help`.
pub fn help() -> String {
    let mut help =
        "Usage: clacks [FLAGS] COMMAND ...\n\nA client of clacksd. See clacks(1).\n\nCommands:\n"
            .to_owned();
    for command in COMMANDS {
        help += &format!("    {:<28}{}\n", command.usage(), command.help);
    }
    help += "\nA VALUE of - is standard input.\n\nFlags:\n";
    for flag in FLAGS {
        let indent = if flag.short.is_empty() { "    " } else { "" };
        let forms = format!("{indent}{} {}", flag.forms().join(", "), flag.value);
        help += &format!("    {forms:<28}{}", flag.help_text());
        help.push('\n');
    }
    help += "\nStatus: 0 done; 1 no such entry; 2 wrong usage; 3 no connection or login; 4 refused by the server.\n";
    help
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    fn parsed(arguments: &[&str]) -> Result<Invocation, String> {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        match parse(&arguments) {
            Ok(Parsed::Run(invocation)) => Ok(invocation),
            Ok(_) => Err("help".to_owned()),
            Err(failure) => Err(failure
                .exit_status_and_message()
                .1
                .expect("a reason")
                .into_owned()),
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
            (
                &["set", "a", "1", "--ttl", "5"],
                "--ttl means nothing to set",
            ),
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
