//! The commands of clacks. Parsing, help, the shell completions and a test against the man page follow from this table.

use super::arguments::{self, Argument, Command, Invocation, Parsed, find_command};
use super::failure::Failure;
use super::flags::FLAGS;
use super::printer::print;
use super::{bench, chat, commands, entries, help, send, status, top, watch};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

impl Command {
    /// Adds the verbs that the command sends and the permissions that it needs.
    const fn sends(self, sends: &'static str, needs: &'static str) -> Command {
        Command {
            sends,
            needs,
            ..self
        }
    }

    /// Adds the explanation for the help of the command.
    const fn explained(self, details: &'static str) -> Command {
        Command { details, ..self }
    }

    /// Adds the words that other programs have for the command.
    const fn elsewhere(self, other_words: &'static [&'static str]) -> Command {
        Command {
            other_words,
            ..self
        }
    }

    /// Adds a flag that stands in the place of the arguments.
    const fn or_flag(self, instead: &'static str) -> Command {
        Command { instead, ..self }
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
        details: "",
        other_words: &[],
        instead: "",
        run,
    }
}

const NAME: Argument = Argument::One("NAME");
const NAMES: Argument = Argument::Several("NAME");
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
    .sends("SET", "write")
    .elsewhere(&["pub", "publish", "emit", "signal"])
    .explained(
        "All clients that listen to NAME get the signal. It is not stored: store and\n\
             set-and-store do that. A VALUE of - is standard input. A value with line breaks\n\
             is refused.",
    ),
    command(
        "notify",
        &[NAME],
        "send a signal without one",
        commands::notify,
    )
    .sends("NOTIFY", "write")
    .elsewhere(&["trigger"])
    .explained("All clients that listen to NAME get the signal."),
    command(
        "set-and-store",
        &[NAME, VALUE],
        "send a signal and store its value",
        commands::set_and_store,
    )
    .sends("SETANDSTORE", "write")
    .elsewhere(&["setandstore"])
    .explained(
        "One step: nobody sees the signal without the entry. A VALUE of - is standard\n\
             input. A value with line breaks is refused.",
    ),
    command(
        "listen",
        &[NAMES],
        "print signals as they come",
        watch::listen,
    )
    .sends("LISTEN", "read")
    .elsewhere(&["sub", "subscribe", "psubscribe", "watch", "tail"])
    .explained(
        "A line is NAME=VALUE, or NAME alone for a signal without a value. It says\n\
             \"listening\" on standard error (in JSON as an object of that type) when the\n\
             server has taken the subscriptions: no later signal is missed. It goes on until\n\
             it is interrupted, or as long as -n or --for say. A lost connection is reported\n\
             and made again within seconds; signals are missed meanwhile.\n\
             \n\
             With --with-values the present values of the cache come first, and again after\n\
             a reconnection. They are read after the subscriptions are in force, and every\n\
             signal that has come until then is printed after them: nothing is missed, but\n\
             such a signal may be older than the value before it.",
    ),
    command(
        "store",
        &[NAME, VALUE],
        "put a value into the cache",
        entries::store,
    )
    .sends("STORE", "write")
    .elsewhere(&["put", "save", "write", "setex"])
    .explained(
        "A VALUE of - is standard input: a single line without its end, anything else\n\
             unchanged. Nobody is notified: set-and-store does that.",
    ),
    command(
        "retrieve",
        &[NAMES],
        "print values of the cache",
        entries::retrieve,
    )
    .sends("RETRIEVE", "read")
    .elsewhere(&["get", "gets", "mget", "read", "fetch", "cat"])
    .explained(
        "A value without line breaks gets an end of line; one with line breaks is printed\n\
             unchanged, but several values are kept apart by line ends. With --raw nothing is\n\
             added at all. The values come in the order of the names. For a name without an\n\
             entry there is a line on standard error, and the status is 1.",
    ),
    command(
        "remove",
        &[NAMES],
        "take names out of the cache",
        entries::remove,
    )
    .sends("REMOVE", "write")
    .or_flag("prefix")
    .elsewhere(&["del", "delete", "rm", "unset", "unlink"])
    .explained(
        "A name that is not there is no error. With --prefix all names that begin so are\n\
             listed, which needs the permission to read, and removed.",
    ),
    command(
        "ttl",
        &[NAME],
        "print in how many seconds a name expires",
        entries::ttl,
    )
    .sends("TTL", "read")
    .elsewhere(&["expiry", "expires", "exists", "pttl"])
    .explained("-1 stands for never. If there is no such name, the status is 1."),
    command(
        "increment",
        &[NAME, STEP],
        "add 1 or STEP to a number, and print it",
        entries::increment,
    )
    .sends("INCREMENT", "write")
    .elsewhere(&["incr", "incrby", "inc"])
    .explained(
        "Prints the new value, which needs the permission to read. It is read right after\n\
             the counting: if others count at the same time, it may contain their steps. A\n\
             missing value, or one that is no number, counts as 0.",
    ),
    command(
        "decrement",
        &[NAME, STEP],
        "subtract 1 or STEP from a number, and print it",
        entries::decrement,
    )
    .sends("DECREMENT", "write")
    .elsewhere(&["decr", "decrby", "dec", "subtract"])
    .explained("Prints the new value, as increment does."),
    command(
        "keys",
        &[Argument::Optional("PREFIX")],
        "print the names in the cache",
        entries::keys,
    )
    .sends("KEYLIST", "read")
    .elsewhere(&["list", "ls", "scan", "names"])
    .explained(
        "Those that begin with PREFIX, or all, sorted bytewise. With --long, each name\n\
             comes after the bytes of its value, the seconds since it was last written, and\n\
             the seconds until it expires, or -1 for never. A terminal gets a heading.",
    ),
    command("clear", &[], "empty the cache", entries::clear)
        .sends("CLEARCACHE", "manage")
        .elsewhere(&["flush", "flushall", "flush_all", "flushdb"])
        .explained("All entries go, at all servers of the tree, and there is no question before."),
    command(
        "ping",
        &[],
        "measure a round trip to the server",
        status::ping,
    )
    .sends("FLUSH", "")
    .elsewhere(&["alive", "healthz"])
    .explained(
        "Logs in, sends a FLUSH and prints in how many milliseconds it was answered. The\n\
             status is 0 if it was, else 3. No permission is needed.",
    ),
    command(
        "status",
        &[Argument::Optional("LIST")],
        "print the figures of the server, or a list",
        status::status,
    )
    .sends("STATUS", "manage")
    .elsewhere(&["stats", "info", "varz", "statistics"])
    .explained(
        "A figure a line: its name and its value. clacksd(8), STATISTICS explains them.\n\
             Figures that have labels and are 0 are left out; --json has all of them, in one\n\
             object.\n\
             LIST is links: connections to other servers; names: the busiest names, and the\n\
             largest of some entries; or slow: the last requests that made others wait.",
    ),
    command("top", &[], "watch the server on a live screen", top::top)
        .sends("STATUS", "manage")
        .elsewhere(&["dashboard"])
        .explained(
            "Shows rates, clients, links, the busiest names, the largest entries and slow\n\
             requests. Tab and 1 to 4 choose the list, the letters at the bottom its order;\n\
             q, Esc and Ctrl-C end it. A lost connection is reported and made again.",
        ),
    command("clients", &[], "print who is connected", status::clients)
        .sends("CLIENTLIST", "manage")
        .elsewhere(&["who", "connections", "connz"])
        .explained(
            "A connection a line: its CID, user, language and address, its age and the time\n\
             since it sent something, its subscriptions, the bytes that wait for it and from\n\
             it, if it is another server or a monitor, and what it says it is. A server of\n\
             Net::Clacks knows less. With --json there is more.",
        ),
    command(
        "disconnect",
        &[Argument::One("CID")],
        "end a connection",
        commands::disconnect,
    )
    .sends("CLIENTDISCONNECT", "manage")
    .elsewhere(&["kick", "kill"])
    .explained("CID is in the first column of clients. An unknown one is no error."),
    command(
        "monitor",
        &[],
        "print all that passes the server",
        watch::monitor,
    )
    .sends("MONITOR", "manage")
    .elsewhere(&["debug", "trace"])
    .explained(
        "A line is the CID of a connection and a line that the server received from it,\n\
             or CONNECTED, DISCONNECTED or SERVERCACHE and an event.",
    ),
    command(
        "shutdown",
        &[Argument::Optional("S")],
        "let the server end in 1 or S seconds",
        commands::shutdown,
    )
    .sends("OVERHEAD S", "manage")
    .elsewhere(&["stop", "halt"])
    .explained("Its clients are told to leave. A service manager may start it again."),
    command(
        "send",
        &[],
        "send lines of the protocol from standard input and print the answers",
        send::send,
    )
    .elsewhere(&["telnet", "nc", "raw"])
    .explained(
        "A better telnet: it logs in, passes each line on, prints whatever comes, and\n\
             ends when standard input has ended and all was answered.",
    ),
    command(
        "chat",
        &[Argument::Optional("NAME")],
        "talk to whoever else does this",
        chat::chat,
    )
    .sends("LISTEN", "read")
    .elsewhere(&["talk"])
    .explained(
        "Lines are sent as the signal example::chat, after NAME or the user's name.\n\
             Ctrl-D ends it.",
    ),
    command(
        "bench",
        &[Argument::One("LOAD")],
        "measure the server under a load: cache, fan-out, ping-pong or idle",
        bench::bench,
    )
    .sends("RETRIEVE, STORE, LISTEN and SET", "read and write")
    .elsewhere(&["benchmark", "measure"])
    .explained(
        "LOAD is cache, fan-out, ping-pong or idle; clacks(1), LOADS explains them. Names\n\
             begin with bench:: and are removed at the end.",
    ),
    command(
        "help",
        &[Argument::Optional("COMMAND")],
        "show this help, or that of a command",
        help,
    )
    .elsewhere(&["man", "usage"])
    .explained("clacks COMMAND --help does the same."),
];

/// Runs `clacks help`.
fn help(invocation: &Invocation) -> Result<(), Failure> {
    if invocation.is_set("json") {
        return Err(Failure::Usage("--json means nothing to help".to_owned()));
    }
    let command = match invocation.optional(0) {
        None => None,
        Some(name) => Some(find_command(COMMANDS, OsStr::from_bytes(name))?),
    };
    print_help(command)
}

/// Prints the help of one command, or of the program.
pub fn print_help(command: Option<&Command>) -> Result<(), Failure> {
    print(&match command {
        None => help::of_program(COMMANDS, FLAGS),
        Some(command) => help::of_command(command, FLAGS),
    })
}

/// Parses the arguments of clacks, without the program's name; see [`arguments::parse`].
pub fn parse(arguments: &[OsString]) -> Result<Parsed, Failure> {
    arguments::parse(COMMANDS, FLAGS, arguments)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::arguments::OTHER_WAYS;

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
            (&["gets", "a"], "\"gets\"; did you mean \"retrieve\"?"),
            (&["exists", "a"], "\"exists\"; did you mean \"ttl\"?"),
            (&["expire", "a", "5"], "\"expire\"; clacks store has --ttl"),
            (&["touch", "a", "5"], "the line EXPIRE NAME=SECONDS"),
            (&["VERSION"], "\"VERSION\"; clacks --version is"),
            // Nothing does what these do elsewhere, and a wrong answer does harm.
            (&["quit"], "\"quit\"; try clacks --help"),
            (&["exit"], "\"exit\"; try clacks --help"),
            (&["add", "a", "1"], "\"add\"; try clacks --help"),
            (&["append", "a", "1"], "\"append\"; try clacks --help"),
            (&["replace", "a", "1"], "\"replace\"; try clacks --help"),
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

    #[test]
    fn the_help_of_each_command_fits_a_terminal() {
        for command in COMMANDS {
            let help = help::of_command(command, FLAGS);
            for line in help.lines() {
                assert!(line.chars().count() <= 80, "{}: {line}", command.name);
            }
            assert!(help.contains(&command.usage()) && !command.details.is_empty());
        }
    }

    #[test]
    fn words_of_other_programs_are_no_commands_and_name_one_command_each() {
        let mut seen = std::collections::HashSet::new();
        let other_ways = OTHER_WAYS.iter().flat_map(|(words, _)| words.iter());
        seen.extend(other_ways);
        for command in COMMANDS {
            for word in command.other_words {
                assert!(seen.insert(word), "{word} names two commands");
                assert!(COMMANDS.iter().all(|one| one.name != *word), "{word}");
            }
            let instead = FLAGS.iter().find(|flag| flag.long == command.instead);
            assert_eq!(instead.is_none(), command.instead.is_empty());
        }
    }
}
