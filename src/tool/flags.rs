//! The flags of clacks. Parsing, `--help`, the shell completions and a test against the man page follow from this table.

use crate::program::flag::{ALLOW_PLAINTEXT, CA, Flag, INSECURE, flag};

const BENCH: &[&str] = &["bench"];
const WATCH: &[&str] = &["listen", "monitor"];

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
    CA,
    INSECURE,
    ALLOW_PLAINTEXT,
    flag("", "json", "", "print a JSON object per line"),
    flag("", "raw", "", "print the value's bytes and nothing else, without a line feed").only(&["retrieve"]),
    flag("", "ttl", "S", "let the value expire after that time").only(&["store"]),
    flag("", "prefix", "PREFIX", "remove all names that begin with it").only(&["remove"]),
    flag("", "long", "", "print size, age and time to expiry before each name").only(&["keys"]),
    flag("", "patterns", "", "names are patterns, with * for a part and > for the rest").only(&["listen"]),
    flag("", "with-values", "", "print the present values first").only(&["listen"]),
    flag("", "timestamps", "", "print the time (UTC) in each line").only(WATCH),
    flag("", "for", "S", "end after that time").only(WATCH),
    flag("", "interval", "S", "time between two samples").default("1").only(&["top"]),
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
