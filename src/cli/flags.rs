//! The flags of clacksd and the types of their values. Parsing, `--help`, the shell completions and a test against the man
//! page follow from one table.

use crate::limits;
use crate::program::flag::{Flag, flag, parse_size};
use crate::program::start::{self, StartError};
use getopts::Matches;
use std::ffi::OsString;
use std::path::PathBuf;

/// All flags.
pub const FLAGS: &[Flag] = &[
    flag(
        "l",
        "listen",
        "ADDRESS",
        "listen there: unix:PATH, tcp://HOST:PORT or tls://HOST:PORT; may be repeated",
    )
    .default("tcp://127.0.0.1:49888")
    .repeatable(),
    flag(
        "",
        "memcached",
        "ADDRESS",
        "listen there for memcached clients, at port 11211 if none is given; may be repeated",
    )
    .repeatable(),
    flag(
        "",
        "memcached-user",
        "NAME",
        "whom memcached clients act as, without a login",
    )
    .default("they must log in"),
    flag(
        "",
        "nats",
        "ADDRESS",
        "listen there for NATS clients, at port 4222 if none is given; may be repeated",
    )
    .repeatable(),
    flag(
        "",
        "nats-user",
        "NAME",
        "whom NATS clients act as that give no login",
    )
    .default("they must log in"),
    flag(
        "",
        "http",
        "ADDRESS",
        "listen there for browsers and monitoring, at port 49890 if none is given; may be repeated",
    )
    .repeatable(),
    flag(
        "",
        "http-user",
        "NAME",
        "whom HTTP requests without a login act as; needs the permission manage",
    )
    .default("they must log in"),
    flag("", "socket-mode", "MODE", "octal mode of Unix sockets").default("660"),
    flag("", "socket-group", "GROUP", "group of Unix sockets"),
    flag(
        "",
        "allow-plaintext",
        "",
        "allow tcp:// on addresses that aren't loopback",
    ),
    flag(
        "",
        "tls-cert",
        "FILE",
        "certificate for tls:// listeners (PEM, with those that lead to its authority)",
    ),
    flag("", "tls-key", "FILE", "its private key (PEM)"),
    flag("u", "user", "NAME", "primary user").default("$CLACKSD_USER"),
    flag(
        "",
        "password-file",
        "FILE",
        "its password, the first line of the file",
    )
    .default("$CLACKSD_PASSWORD or the systemd credential \"password\""),
    flag(
        "",
        "users",
        "FILE",
        "further users, a line each: name:permissions:secret",
    ),
    flag(
        "m",
        "master",
        "ADDRESS",
        "be a slave of that server; repeated: tried in turn",
    )
    .repeatable(),
    flag(
        "",
        "master-ca",
        "FILE",
        "authorities that a tls:// master's certificate must come from (PEM)",
    )
    .default("the system's"),
    flag(
        "",
        "master-insecure",
        "",
        "don't check the certificate of a tls:// master: an impostor gets the login",
    ),
    flag("", "max-clients", "N", "connections at once").default("10000"),
    flag("", "max-line", "SIZE", "longest line of a logged-in client").default("16M"),
    flag(
        "",
        "max-output",
        "SIZE",
        "most output waiting for one client",
    )
    .default("64M"),
    flag(
        "",
        "max-buffers",
        "SIZE",
        "most memory in all connections' buffers together",
    )
    .default("1G"),
    flag("", "persist", "FILE", "keep the cache in this file"),
    flag(
        "",
        "fsync",
        "always|never|S",
        "when changes reach the disk: at once, when the system likes, or after S seconds at most",
    )
    .default("1"),
    flag(
        "",
        "cache-max",
        "SIZE",
        "most memory for the cache; 0: no limit",
    )
    .default("0"),
    flag("", "auth-timeout", "S", "seconds to connect and log in").default("15"),
    flag("", "ping-timeout", "S", "seconds without PING").default("180"),
    flag(
        "",
        "interclacks-ping-timeout",
        "S",
        "seconds without PING on a link between servers",
    )
    .default("60"),
    flag(
        "",
        "interclacks-reconnect",
        "S",
        "seconds between two dials of the master, and as much again at random",
    )
    .default("30"),
    flag(
        "",
        "stalled-write-timeout",
        "S",
        "seconds in which a client takes nothing",
    )
    .default("60"),
    flag(
        "",
        "interclacks-stalled-write-timeout",
        "S",
        "seconds in which another server takes nothing",
    )
    .default("120"),
    flag(
        "",
        "stale-time",
        "S",
        "seconds after which entries nobody uses are dropped, or never, which is the default with --persist, \
         --cache-max or a memcached listener",
    )
    .default("86400"),
    flag(
        "",
        "deleted-time",
        "S",
        "seconds for which removals are remembered",
    )
    .default("3600"),
    flag(
        "",
        "clean-interval",
        "S",
        "seconds between two searches for such entries",
    )
    .default("60"),
    flag("", "daemonize", "", "go into the background"),
    flag("", "pid-file", "FILE", "write the process id there"),
    flag(
        "",
        "run-as",
        "USER[:GROUP]",
        "become that user when listening",
    ),
    flag(
        "",
        "log-file",
        "FILE",
        "log there instead of standard error",
    ),
    flag("v", "verbose", "", "log more; twice: everything").repeatable(),
    flag("q", "quiet", "", "log warnings and errors only"),
    flag(
        "",
        "check",
        "",
        "check flags and files, say what would run, and exit",
    ),
    flag("h", "help", "", "show this help"),
    flag("V", "version", "", "show the version"),
];

/// Parses the arguments, without the program's name.
pub fn parse(arguments: &[OsString]) -> Result<Matches, StartError> {
    start::parse("clacksd", FLAGS, arguments)
}

/// The text of `--help`.
pub fn help() -> String {
    let purpose = "Usage: clacksd [FLAGS]\n\nMessaging and caching for processes, compatible with Net::Clacks. See clacksd(8).";
    start::help(purpose, FLAGS)
}

/// The size in bytes that a flag gives, above 0.
pub fn size(matches: &Matches, name: &str, default: usize) -> Result<usize, StartError> {
    match size_or_zero(matches, name, default)? {
        0 => Err(refused(matches, name, WANTED_SIZE)),
        size => Ok(size),
    }
}

/// The size in bytes that a flag gives, or `None` for no limit: without the flag, or with 0.
pub fn size_or_unlimited(matches: &Matches, name: &str) -> Result<Option<usize>, StartError> {
    size_or_zero(matches, name, 0).map(|size| (size > 0).then_some(size))
}

const WANTED_SIZE: &str = "wants a size such as 4096, 64K, 16M or 1G";

fn size_or_zero(matches: &Matches, name: &str, default: usize) -> Result<usize, StartError> {
    let Some(text) = matches.opt_str(name) else {
        return Ok(default);
    };
    let size = parse_size(&text).and_then(|size| usize::try_from(size).ok());
    size.ok_or_else(|| refused(matches, name, WANTED_SIZE))
}

/// The time that a flag gives in seconds, possibly with decimals; returned in microseconds.
pub fn seconds(matches: &Matches, name: &str, default: f64) -> Result<u64, StartError> {
    /// The shortest time, in seconds. A shorter interval would keep the process busy with nothing else.
    const MIN_S: f64 = 0.001;
    const MAX_S: f64 = limits::CENTURY_S as f64;
    let seconds = match matches.opt_str(name) {
        Some(text) => text
            .parse::<f64>()
            .ok()
            .filter(|seconds| (MIN_S..=MAX_S).contains(seconds)),
        None => Some(default),
    };
    let seconds = seconds
        .ok_or_else(|| refused(matches, name, "wants seconds, from 0.001 up to a century"))?;
    Ok((seconds * limits::SECOND_US as f64) as u64)
}

/// The whole number that a flag gives, at least 1.
pub fn count(matches: &Matches, name: &str, default: usize) -> Result<usize, StartError> {
    let Some(text) = matches.opt_str(name) else {
        return Ok(default);
    };
    let count = text
        .parse()
        .ok()
        .filter(|count| (1..=usize::try_from(u32::MAX).unwrap_or(usize::MAX)).contains(count));
    count.ok_or_else(|| refused(matches, name, "wants a whole number from 1"))
}

/// The path that a flag gives, made absolute, or `None` without the flag.
pub fn path(matches: &Matches, name: &str) -> Result<Option<PathBuf>, StartError> {
    let path = matches.opt_str(name).map(PathBuf::from);
    path.map(absolute).transpose()
}

/// Makes a path absolute, because the working directory of a daemon becomes the root.
pub fn absolute(path: PathBuf) -> Result<PathBuf, StartError> {
    std::path::absolute(&path)
        .map_err(|error| StartError::Usage(format!("{}: {error}", path.display())))
}

/// The error of a flag whose value can't be used. In the message `why` follows the value.
pub fn refused(matches: &Matches, name: &str, why: &str) -> StartError {
    wrong(name, &format!("\"{}\" {why}", text_of(matches, name)))
}

/// The value of a flag as text: from the arguments, or else the default from the table.
pub fn text_of(matches: &Matches, name: &str) -> String {
    let default = || {
        let flag = FLAGS.iter().find(|flag| flag.long == name);
        flag.expect("a flag of the table").default.to_owned()
    };
    matches.opt_str(name).unwrap_or_else(default)
}

/// The error of a flag. In the message `what` follows its name.
pub fn wrong(name: &str, what: &str) -> StartError {
    StartError::Usage(format!("--{name} {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Matches {
        parse(&arguments.iter().map(OsString::from).collect::<Vec<_>>()).expect("flags")
    }

    #[test]
    fn sizes_have_suffixes() {
        for (text, bytes) in [
            ("1", 1),
            ("4K", 4096),
            ("16M", 16 << 20),
            ("64m", 64 << 20),
            ("64MB", 64 << 20),
            ("2G", 2 << 30),
        ] {
            assert_eq!(
                size(&parsed(&["--max-line", text]), "max-line", 7),
                Ok(bytes)
            );
        }
        assert_eq!(size(&parsed(&[]), "max-line", 7), Ok(7));
        for text in ["", "0", "0M", "K", "-1", "1.5M", "1T", "99999999999G"] {
            let why = format!("--max-line \"{text}\" wants a size such as 4096, 64K, 16M or 1G");
            assert_eq!(
                size(&parsed(&["--max-line", text]), "max-line", 7),
                Err(StartError::Usage(why))
            );
        }
        for (text, limit) in [("0", None), ("0M", None), ("1m", Some(1 << 20))] {
            let matches = parsed(&["--cache-max", text]);
            assert_eq!(size_or_unlimited(&matches, "cache-max"), Ok(limit));
        }
    }

    #[test]
    fn times_have_decimals() {
        assert_eq!(
            seconds(&parsed(&["--auth-timeout", "0.25"]), "auth-timeout", 1.0),
            Ok(250_000)
        );
        for text in ["", "0", "0.0000001", "-1", "nan", "inf", "1e99", "1s"] {
            assert!(
                seconds(&parsed(&["--auth-timeout", text]), "auth-timeout", 1.0).is_err(),
                "{text}"
            );
        }
    }

    #[test]
    fn defaults_in_the_help_are_the_limits() {
        let matches = |name: &str| {
            let default = FLAGS
                .iter()
                .find(|flag| flag.long == name)
                .expect("a flag")
                .default;
            parsed(&[&format!("--{name}"), default])
        };
        for (name, bytes) in [
            ("max-line", limits::MAX_LINE),
            ("max-output", limits::MAX_OUTPUT),
            ("max-buffers", limits::MAX_BUFFERS),
        ] {
            assert_eq!(size(&matches(name), name, 0), Ok(bytes));
        }
        for (name, default) in [
            ("auth-timeout", limits::AUTH_TIMEOUT_S),
            ("ping-timeout", limits::PING_TIMEOUT_S),
            ("stalled-write-timeout", limits::STALLED_WRITE_TIMEOUT_S),
            (
                "interclacks-ping-timeout",
                limits::INTERCLACKS_PING_TIMEOUT_S,
            ),
            ("interclacks-reconnect", limits::INTERCLACKS_RECONNECT_S),
            (
                "interclacks-stalled-write-timeout",
                limits::INTERCLACKS_STALLED_WRITE_TIMEOUT_S,
            ),
            ("stale-time", limits::STALE_TIME_S),
            ("deleted-time", limits::DELETED_TIME_S),
            ("clean-interval", limits::CLEAN_INTERVAL_S),
        ] {
            assert_eq!(
                seconds(&matches(name), name, 0.0),
                seconds(&parsed(&[]), name, default)
            );
        }
        assert_eq!(
            count(&matches("max-clients"), "max-clients", 0),
            Ok(limits::MAX_CLIENTS)
        );
    }
}
